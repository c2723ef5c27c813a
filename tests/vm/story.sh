#!/bin/busybox sh
# The engine and drover-oci on a cgroup v2 host, from outside: what they print and what the kernel shows below
# /sys/fs/cgroup. Each promise is a function; it holds when the function gets to its end.
ROOT=/tmp/story
GROUPS_DIR=/sys/fs/cgroup/drover
export DROVER_SOCKET=$ROOT/drover.sock DOCKER_HOST=unix://$ROOT/drover.sock DOCKER_CONFIG=$ROOT/docker
mkdir -p $ROOT $DOCKER_CONFIG

DIR=$ROOT
. /tests/promise.sh

status_is() { # wanted status, command...
    want=$1
    shift
    status=0
    "$@" || status=$?
    same "the exit status of: $*" "$status" "$want"
}

now() {
    cut -d. -f1 /proc/uptime
}

# Polls, and gives up after ten minutes: an emulated machine on a loaded host is slow.
eventually() {
    deadline=$(($(now) + 600))
    until "$@"; do
        [ $(now) -lt $deadline ] || fail "waited in vain for: $*"
        usleep 100000
    done
}

group_of() {
    echo "$GROUPS_DIR/$(docker inspect -f '{{.Id}}' "$1")"
}

promise() { # text, function; more than the other scripts' after each
    (set -e; $2) >$ROOT/out 2>&1 # not as a condition: there -e has no effect, nor in what is below it
    if [ $? = 0 ]; then
        echo "@ok $1"
    else
        sed 's/^/| /' $ROOT/out
        tail -5 $ROOT/serve.log | sed 's/^/serve| /'
        echo "@FAILED $1"
    fi
    left=$(drover ps -aq 2>/dev/null)
    [ -z "$left" ] || drover rm -f $left >/dev/null 2>&1
}

# --- the engine ---

starts() {
    (exec setsid drover serve --root $ROOT/data --socket $DROVER_SOCKET >$ROOT/serve.log 2>&1 </dev/null &)
    eventually test -S $DROVER_SOCKET
    drover import /tests/busybox.tar busybox
    drover images | grep -q busybox
    same "the cgroup version" "$(docker info -f '{{.CgroupVersion}}')" 2
}

exit_codes_and_logs() {
    status_is 0 drover run --rm busybox true
    status_is 37 drover run --rm busybox sh -c 'exit 37'
    status_is 127 drover run --rm busybox /no/such/program
    same "the output" "$(drover run --name talks busybox sh -c 'echo out; echo err >&2' 2>/dev/null)" out
    same "the log" "$(drover logs talks 2>&1 | sort | tr '\n' ' ')" "err out "
}

memory_is_limited() {
    status_is 137 docker run --name big -m 16m --network none busybox sh -c 'dd if=/dev/zero of=/dev/null bs=64M count=1'
    same "OOMKilled" "$(docker inspect -f '{{.State.OOMKilled}}' big)" true
    docker run -d --name limited -m 32m --memory-swap 48m --memory-reservation 24m busybox sleep 1000
    dir=$(group_of limited)
    same memory.max "$(cat $dir/memory.max)" 33554432
    same memory.low "$(cat $dir/memory.low)" 25165824
    [ ! -e $dir/memory.swap.max ] || same memory.swap.max "$(cat $dir/memory.swap.max)" 16777216
}

pids_are_limited() {
    docker run --name forks --pids-limit 5 busybox sh -c 'for i in 1 2 3 4 5 6 7 8; do sleep 2 & done; wait' || true
    drover logs forks 2>&1 | grep -qi "can't fork"
}

cpu_is_shared() {
    docker run -d --name shares --cpu-shares 512 --cpus 0.5 --cpuset-cpus 1 busybox sleep 1000
    dir=$(group_of shares)
    weight=$(cat $dir/cpu.weight)
    [ "$weight" -ge 20 ] && [ "$weight" -le 60 ] || fail "cpu.weight is $weight for 512 shares"
    same cpu.max "$(cat $dir/cpu.max)" "50000 100000"
    same cpuset.cpus "$(cat $dir/cpuset.cpus)" 1
    same "the cpus of the process" "$(docker exec shares grep Cpus_allowed_list /proc/self/status | tr -d '\t')" "Cpus_allowed_list:1"
}

updates() {
    docker run -d --name grows -m 32m --memory-swap -1 busybox sleep 1000
    docker update -m 64m --memory-swap -1 --cpu-shares 2048 --pids-limit 50 grows
    dir=$(group_of grows)
    same memory.max "$(cat $dir/memory.max)" 67108864
    same pids.max "$(cat $dir/pids.max)" 50
    [ "$(cat $dir/cpu.weight)" -gt 60 ]
}

pauses() {
    docker run -d --name pauses busybox sh -c 'while :; do echo tick; usleep 50000; done'
    eventually sh -c 'drover logs pauses | grep -q tick'
    docker pause pauses
    dir=$(group_of pauses)
    grep -q "frozen 1" $dir/cgroup.events
    before=$(drover logs pauses | wc -l)
    usleep 500000
    same "the number of lines while paused" "$(drover logs pauses | wc -l)" "$before"
    docker unpause pauses
    eventually sh -c "[ \$(drover logs pauses | wc -l) -gt $before ]"
}

counts() {
    docker run -d --name counts -m 64m busybox sh -c 'i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000'
    docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' counts | grep -q '/ 64MiB [12]$'
    docker top counts | grep -q 'sleep\|sh'
    curl -s --unix-socket $DROVER_SOCKET 'http://d/containers/counts/stats?stream=false&one-shot=true' >$ROOT/stats.json
    [ -e $(group_of counts)/cpu.pressure ] || fail "this kernel has no pressure stall information"
    same "the number of resources with pressure" "$(grep -o '"psi":{"some":{"avg10":' $ROOT/stats.json | wc -l)" 3
}

enters() {
    docker run -d --name enters -m 64m busybox sleep 1000
    same "the group that an exec sees" "$(docker exec enters cat /proc/self/cgroup)" "0::/"
    status_is 9 drover exec enters sh -c 'exit 9'
    docker exec -d enters sleep 999
    dir=$(group_of enters)
    eventually sh -c "[ \$(wc -l <$dir/cgroup.procs) = 2 ]"
}

# An init system inside passes controllers on to groups of its own, so that its root group takes no process.
enters_beside_an_init_system() {
    docker run -d --name boss --privileged busybox sh -c 'mkdir /sys/fs/cgroup/inner && echo $$ >/sys/fs/cgroup/inner/cgroup.procs &&
        echo +memory >/sys/fs/cgroup/cgroup.subtree_control && exec sleep 1000'
    eventually grep -q memory "$(group_of boss)/cgroup.subtree_control"
    same "the group of an exec" "$(docker exec boss cat /proc/self/cgroup)" "0::/inner"
}

stops() {
    docker run -d --name stops busybox sh -c 'trap "exit 5" TERM; while :; do usleep 10000; done'
    dir=$(group_of stops)
    drover stop stops
    same "the exit code" "$(docker inspect -f '{{.State.ExitCode}}' stops)" 5
    [ ! -d $dir ] || fail "$dir is left"
    docker run -d --name deaf busybox sh -c 'trap "" TERM; while :; do usleep 10000; done'
    drover stop -t 0 deaf
    same "the exit code" "$(docker inspect -f '{{.State.ExitCode}}' deaf)" 137
}

devices_are_refused() {
    number=$(stat -c '%t %T' /dev/nullb0 | while read a b; do echo $((0x$a)) $((0x$b)); done)
    status_is 1 docker run --rm --cap-add MKNOD busybox sh -c "mknod /x b $number && cat /x >/dev/null"
    docker run --rm --device /dev/nullb0 busybox sh -c 'dd if=/dev/nullb0 of=/dev/null bs=4k count=1'
    docker run --rm busybox sh -c 'echo x >/dev/null; head -c 1 /dev/urandom >/dev/null; echo >/dev/full && exit 1 || exit 0'
}

speaks_through_a_bridge() {
    docker run -d --name web busybox sh -c 'mkdir /www; echo hello >/www/index.html; httpd -f -h /www'
    address=$(docker inspect -f '{{.NetworkSettings.IPAddress}}' web)
    [ -n "$address" ]
    eventually sh -c "docker run --rm busybox wget -q -O - http://$address/ | grep -q hello"
}

# A profile of AppArmor for the whole of a container's life, and none where none was wanted.
profile_of() {
    docker run --rm "$@" busybox cat /proc/self/attr/current
}

apparmor_confines() {
    same "a container's profile" "$(profile_of)" "drover-default (enforce)"
    same "a privileged container's" "$(profile_of --privileged)" unconfined
    same "one that wants none" "$(profile_of --security-opt apparmor=unconfined)" unconfined
    docker info -f '{{.SecurityOptions}}' | grep -q name=apparmor
    echo 'profile own flags=(attach_disconnected,mediate_deleted) { file, capability, network, deny /etc/secret rw, }' | apparmor_parser -r -K
    docker run -d --name own --security-opt apparmor=own --security-opt no-new-privileges busybox sh -c 'echo x >/etc/secret; sleep 1000'
    same "inspect's word" "$(docker inspect -f '{{.AppArmorProfile}}' own)" own
    same "an exec's profile" "$(docker exec own cat /proc/self/attr/current)" "own (enforce)"
    status_is 1 docker exec own sh -c 'echo x >/etc/secret'
    status_is 0 docker exec own sh -c 'echo x >/etc/other'
    status_is 125 docker run --rm --security-opt apparmor=nobodys busybox true 2>$ROOT/err
    grep -q nobodys $ROOT/err || fail "$(cat $ROOT/err)"
}

# With the rights and without the other walls, the profile is what refuses.
apparmor_is_a_wall() {
    free="--cap-add SYS_ADMIN --security-opt systempaths=unconfined --security-opt seccomp=unconfined"
    status_is 0 docker run --rm $free --security-opt apparmor=unconfined busybox sh -c 'mount -t tmpfs t /tmp && echo 1 >/proc/sys/vm/drop_caches'
    status_is 1 docker run --rm $free busybox sh -c 'mount -t tmpfs t /tmp 2>/dev/null || exit 1'
    status_is 1 docker run --rm $free busybox sh -c 'echo 1 >/proc/sys/vm/drop_caches'
    status_is 0 docker run --rm $free busybox sh -c 'umask 022; echo x >/tmp/x; ip link show lo >/dev/null; kill -0 1; ls /proc/1/fd >/dev/null'
    docker run -d --name obeys busybox sh -c 'trap "exit 3" TERM; while :; do usleep 10000; done'
    docker exec obeys sh -c 'kill -0 1'
    docker stop obeys
    same "the exit code" "$(docker inspect -f '{{.State.ExitCode}}' obeys)" 3
}

oci_has_a_profile() {
    mkdir -p $ROOT/oci/rootfs
    tar -xf /tests/busybox.tar -C $ROOT/oci/rootfs
    cd $ROOT/oci
    drover-oci spec
    sed -i -e 's/"terminal": *true/"terminal":false/' -e 's#^ *"sh"$#"cat","/proc/self/attr/current"#' \
        -e 's#"process": *{#"process":{"apparmorProfile":"own",#' config.json
    same "the profile" "$(drover-oci run oci)" "own (enforce)"
    sed -i -e 's/"own"/"nobodys"/' config.json
    status_is 1 drover-oci run oci 2>err
    grep -q 'apparmor profile `nobodys`: profile not loaded' err || fail "$(cat err)"
    sed -i -e 's/"nobodys"/"own"/' -e 's#"cat","/proc/self/attr/current"#"sleep","1000"#' config.json
    drover-oci run -d oci </dev/null >/dev/null 2>&1
    same "an exec's profile" "$(drover-oci exec oci cat /proc/self/attr/current)" "own (enforce)"
    same "another one for it" "$(drover-oci exec --apparmor drover-default oci cat /proc/self/attr/current)" "drover-default (enforce)"
    drover-oci delete -f oci
}

survives() {
    docker run -d --name lives busybox sh -c 'while :; do echo tick; usleep 100000; done'
    for pid in $(pidof drover); do
        tr '\0' ' ' </proc/$pid/cmdline | grep -q "drover serve" && kill -9 $pid
    done
    (exec setsid drover serve --root $ROOT/data --socket $DROVER_SOCKET >>$ROOT/serve.log 2>&1 </dev/null &)
    eventually drover ps
    same "the state" "$(docker inspect -f '{{.State.Status}}' lives)" running
    docker exec lives true
}

ends() {
    drover rm -f $(drover ps -aq) 2>/dev/null || true
    same "the groups left" "$(find $GROUPS_DIR -mindepth 1 -type d | wc -l)" 0
    for pid in $(pidof drover); do
        tr '\0' ' ' </proc/$pid/cmdline | grep -q "drover serve" && kill -TERM $pid
    done
    drover shutdown --root $ROOT/data || true
}

echo "@story"
promise "serve starts and sees cgroup v2" starts
promise "a container's exit code and output come back" exit_codes_and_logs
promise "memory is limited, and its excess kills with 137" memory_is_limited
promise "processes are limited" pids_are_limited
promise "cpu shares, quota and set arrive in the kernel" cpu_is_shared
promise "an update changes a running container" updates
promise "a paused container does nothing until it goes on" pauses
promise "stats, with pressure, and top tell what a container uses" counts
promise "an exec runs in the container's group" enters
promise "an exec goes to the first process's group where the container's takes none" enters_beside_an_init_system
promise "a stop asks, then kills, and leaves no group" stops
promise "only the devices that were given can be opened" devices_are_refused
promise "containers speak through a bridge" speaks_through_a_bridge
promise "AppArmor confines containers by the default profile, their own, or none" apparmor_confines
promise "the default profile refuses what the other walls would" apparmor_is_a_wall
promise "drover-oci starts programs under their AppArmor profile" oci_has_a_profile
promise "a container outlives a killed server" survives
promise "nothing is left" ends
