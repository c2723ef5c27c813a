#!/bin/busybox sh
# drover-oci on a cgroup v2 host: what a config's "linux.resources", an update, and a container that makes groups of its own come to below
# /sys/fs/cgroup.
DIR=/tmp/oci-cgroups
CG=/sys/fs/cgroup
mkdir -p $DIR/rootfs
. /tests/promise.sh
tar -xf /tests/busybox.tar -C $DIR/rootfs
cd $DIR || exit 1
NUMBERS=$(stat -c '%t %T' /dev/nullb0 | while read -r a b; do echo $((0x$a)):$((0x$b)); done)
MAJOR=${NUMBERS%:*} MINOR=${NUMBERS#*:}

config() { # cgroupsPath, resources, a command line for sh -c
    resources=$(echo "$2" | tr -d '\n')
    rm -f config.json
    drover-oci spec
    sed -i -e 's/"terminal": *true/"terminal":false/' -e "s#^ *\"sh\"\$#\"sh\",\"-c\",\"${3:-exec sleep 1000}\"#" \
        -e "s#\"resources\": *{#\"cgroupsPath\":\"$1\",\"resources\":{$resources#" config.json
}

writable() { # the container's groups, in that config
    sed -i -e '/"destination": *"\/sys\/fs\/cgroup"/,/\]/{' -e '/"ro"/d' -e 's/"relatime",/"relatime"/' -e '}' config.json
}

begin() { # name; the rest as config
    config "/drover-vm/$1" "$2" "$3"
    drover-oci run -d "$1" </dev/null >/dev/null 2>err || fail "$(cat err)"
    group=$CG/drover-vm/$1
}

gone() { # name
    holds drover-oci delete -f "$1"
    [ ! -d "$CG/drover-vm/$1" ] || fail "the group of $1 is left"
}

holds() { # command...
    "$@" || fail "failed: $*"
}

says() { # word, command...
    pattern=$1
    shift
    "$@" >said 2>&1 || fail "failed: $*: $(cat said)"
    grep -q -- "$pattern" said || fail "\"$pattern\" is not in: $(cat said)"
}

is() { # file, value
    same "$1" "$(cat "$group/$1")" "$2"
}

try_update() { # name, resources
    echo "$2" | drover-oci update -r - "$1"
}

update() {
    try_update "$@" || fail "this update failed: $2"
}

refused() { # word, command...
    word=$1
    shift
    if "$@" </dev/null >/dev/null 2>err; then fail "was not refused: $*"; fi
    grep -q -- "$word" err || fail "\"$word\" is not in: $(cat err)"
}

soon() {
    tries=0
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt 3000 ] || fail "waited in vain for: $*"
        usleep 100000
    done
}

unified_arrives() {
    begin uni '"unified":{"memory.min":"131072","memory.low":"524288","memory.high":"20971520","memory.max":"41943040",
        "memory.oom.group":"1","pids.max":"99","cpu.max":"10000 100000","cpu.weight":"42","cpuset.cpus":"0"},'
    is memory.min 131072
    is memory.low 524288
    is memory.high 20971520
    is memory.max 41943040
    is memory.oom.group 1
    is pids.max 99
    is cpu.max "10000 100000"
    is cpu.weight 42
    is cpuset.cpus 0
    same "what is seen inside" "$(drover-oci exec uni cat /sys/fs/cgroup/memory.high)" 20971520
    update uni '{"unified":{"cpu.max":"max 100000","cpu.weight":"16","pids.max":"10","cpuset.cpus":"1"}}'
    is cpu.max "max 100000"
    is cpu.weight 16
    is pids.max 10
    is cpuset.cpus 1
    is memory.max 41943040
    gone uni
}

unified_wins() {
    begin wins '"memory":{"limit":33554432},"cpu":{"shares":3333,"quota":40000,"period":100000},"pids":{"limit":7},
        "unified":{"memory.max":"41943040","pids.max":"42","cpu.max":"5000 50000","cpu.weight":"42"},'
    is memory.max 41943040
    is pids.max 42
    is cpu.max "5000 50000"
    is cpu.weight 42
    gone wins
}

unified_is_checked() {
    config /drover-vm/bad '"unified":{"nosuch.max":"1"},'
    refused nosuch drover-oci run -d bad
    config /drover-vm/bad '"unified":{"memory.nosuch":"1"},'
    refused memory.nosuch drover-oci run -d bad
    config /drover-vm/bad '"unified":{"../memory.max":"1"},'
    refused unified drover-oci run -d bad
    [ ! -d $CG/drover-vm/bad ] || fail "a group is left"
    same "the containers left" "$(drover-oci list -q)" ""
}

swap_is_what_is_above() {
    [ -e $CG/init.scope/memory.swap.max ] || {
        echo "this kernel counts no swap"
        return 0
    }
    begin swap '"memory":{"limit":33554432,"swap":33554432},'
    is memory.swap.max 0
    update swap '{"memory":{"swap":50331648,"limit":33554432}}'
    is memory.swap.max 16777216
    update swap '{"memory":{"limit":33554432,"swap":-1}}'
    is memory.swap.max max
    gone swap
}

oom_group_kills_all() {
    begin oom '"memory":{"limit":16777216,"swap":16777216},"unified":{"memory.oom.group":"1"},' \
        'sleep 1000 \& exec dd if=/dev/zero of=/dev/null bs=64M count=1'
    soon sh -c "drover-oci state oom | grep -q stopped"
    grep -q "^oom_group_kill 1" $group/memory.events || fail "$(cat $group/memory.events)"
    is cgroup.procs ""
    gone oom
}

check_before_update() {
    begin check '"memory":{"limit":67108864},'
    refused "limit" try_update check '{"memory":{"limit":4096,"checkBeforeUpdate":true}}'
    is memory.max 67108864
    says running drover-oci state check
    gone check
}

cpu_idle_and_weight() {
    begin idle '"cpu":{"idle":1},'
    is cpu.idle 1
    update idle '{"cpu":{"idle":0,"shares":2048}}'
    is cpu.idle 0
    is cpu.weight 79
    holds drover-oci update --cpu-idle 1 idle
    is cpu.idle 1
    refused idle drover-oci update --cpu-idle 2 idle
    gone idle
}

cpu_quota_and_burst() {
    begin burst '"cpu":{"quota":50000,"period":100000,"burst":10000},'
    is cpu.max.burst 10000
    holds drover-oci update --cpu-burst 20000 burst
    is cpu.max.burst 20000
    refused burst drover-oci update --cpu-burst 60000 burst
    is cpu.max.burst 20000
    holds drover-oci update --cpu-quota -1 burst
    is cpu.max "max 100000"
    gone burst
}

cpuset_is_obeyed() {
    begin set '"cpu":{"cpus":"0","mems":"0"},'
    is cpuset.cpus 0
    is cpuset.mems 0
    same "the cpus of an exec" "$(drover-oci exec set grep Cpus_allowed_list /proc/self/status | tr -d '\t')" Cpus_allowed_list:0
    holds drover-oci update --cpuset-cpus 1 set
    same "those after an update" "$(drover-oci exec set grep Cpus_allowed_list /proc/self/status | tr -d '\t')" Cpus_allowed_list:1
    refused cpuset drover-oci update --cpuset-cpus 77 set
    is cpuset.cpus 1
    gone set
}

io_is_limited() {
    rate="\"major\":$MAJOR,\"minor\":$MINOR,\"rate\""
    begin io "\"blockIO\":{\"throttleReadBpsDevice\":[{$rate:1048576}],\"throttleWriteIOPSDevice\":[{$rate:77}]},"
    is io.max "$NUMBERS rbps=1048576 wbps=max riops=max wiops=77"
    update io "{\"blockIO\":{\"throttleWriteBpsDevice\":[{$rate:2097152}]}}"
    is io.max "$NUMBERS rbps=1048576 wbps=2097152 riops=max wiops=77"
    gone io
}

io_has_weights() {
    grep -qw bfq /sys/block/nullb0/queue/scheduler || fail "no bfq: $(cat /sys/block/nullb0/queue/scheduler)"
    echo bfq >/sys/block/nullb0/queue/scheduler
    weight="\"weightDevice\":[{\"major\":$MAJOR,\"minor\":$MINOR,\"weight\""
    begin weights "\"blockIO\":{\"weight\":333,$weight:444}]},"
    same io.bfq.weight "$(tr '\n' ' ' <$group/io.bfq.weight)" "default 333 $NUMBERS 444 "
    update weights "{\"blockIO\":{\"weight\":111,$weight:222}]}}"
    same io.bfq.weight "$(tr '\n' ' ' <$group/io.bfq.weight)" "default 111 $NUMBERS 222 "
    gone weights
    echo none >/sys/block/nullb0/queue/scheduler
}

hugetlb_is_limited() {
    begin huge '"hugepageLimits":[{"pageSize":"2MB","limit":4194304}],'
    is hugetlb.2MB.max 4194304
    is hugetlb.2MB.rsvd.max 4194304
    gone huge
}

opens() { # container
    drover-oci exec --cap CAP_MKNOD "$1" sh -c "rm -f /dev/x; mknod /dev/x b $MAJOR $MINOR && dd if=/dev/x of=/dev/null bs=4k count=1 2>/dev/null"
}

closed() { # container
    if opens "$1" >/dev/null 2>&1; then fail "the device can be read"; fi
}

devices_follow_an_update() {
    begin devices '"pids":{"limit":50},'
    closed devices
    update devices "{\"devices\":[{\"allow\":false,\"access\":\"rwm\"},{\"allow\":true,\"type\":\"b\",\"major\":$MAJOR,\"minor\":$MINOR,\"access\":\"rwm\"}]}"
    holds opens devices
    update devices '{"pids":{"limit":60}}'
    holds opens devices
    update devices '{"devices":[{"allow":false,"access":"rwm"}]}'
    closed devices
    drover-oci exec devices sh -c 'echo x >/dev/null' || fail "the usual devices are refused"
    gone devices
}

freezes() {
    begin frozen '' 'while :; do echo x; usleep 1000; done'
    holds drover-oci pause frozen
    is cgroup.freeze 1
    says "frozen 1" cat $group/cgroup.events
    says paused drover-oci state frozen
    refused paused drover-oci exec frozen true
    holds drover-oci update --pids-limit 44 frozen
    is pids.max 44
    is cgroup.freeze 1
    holds drover-oci resume frozen
    says "frozen 0" cat $group/cgroup.events
    holds drover-oci exec frozen true
    holds drover-oci pause frozen
    gone frozen
}

frozen_group_is_refused() {
    mkdir -p $CG/drover-vm/ice
    echo 1 >$CG/drover-vm/ice/cgroup.freeze
    config /drover-vm/ice ''
    refused frozen drover-oci run -d ice
    rmdir $CG/drover-vm/ice
}

killed_group_is_stopped() {
    begin killed '' 'sleep 999 \& exec sleep 1000'
    holds drover-oci exec -d killed sleep 998
    echo 1 >$group/cgroup.kill
    soon sh -c "drover-oci state killed | grep -q stopped"
    refused "not running" drover-oci exec killed true
    holds drover-oci delete killed
    [ ! -d $group ] || fail "its group is left"
}

# The container has its groups writable, and makes one with a thread of its own in it.
threaded_group() {
    config /drover-vm/threads ''
    writable
    drover-oci run -d threads </dev/null >/dev/null 2>err || fail "$(cat err)"
    group=$CG/drover-vm/threads
    holds drover-oci exec -d threads sleep 999
    holds drover-oci exec threads sh -c 'set -e; cd /sys/fs/cgroup; echo +pids >cgroup.subtree_control; mkdir foo; echo threaded >foo/cgroup.type
        pidof sleep | cut -d" " -f1 >foo/cgroup.threads; [ "$(wc -l <foo/cgroup.threads)" = 1 ]'
    is cgroup.type "domain threaded"
    same "the group of an exec" "$(drover-oci exec threads cat /proc/self/cgroup)" 0::/
    holds drover-oci pause threads
    holds drover-oci resume threads
    gone threads
}

# An init system in the container hands its controllers on, after which its root takes no process.
delegated_group() {
    config /drover-vm/boss '' 'set -e; mkdir /sys/fs/cgroup/inner; echo $$ >/sys/fs/cgroup/inner/cgroup.procs; echo +memory +pids >/sys/fs/cgroup/cgroup.subtree_control; exec sleep 1000'
    writable
    drover-oci run -d boss </dev/null >/dev/null 2>err || fail "$(cat err)"
    group=$CG/drover-vm/boss
    soon grep -q pids $group/cgroup.subtree_control
    same "the group of an exec" "$(drover-oci exec boss cat /proc/self/cgroup)" 0::/inner
    holds drover-oci update --memory 67108864 boss
    is memory.max 67108864
    says '"pids"' drover-oci events --stats boss
    gone boss
}

only_its_own_group_is_seen() {
    begin seen ''
    same "the directories" "$(drover-oci exec seen find /sys/fs/cgroup -type d | wc -l)" 1
    refused "ead-only" drover-oci exec seen mkdir /sys/fs/cgroup/x
    gone seen
}

systemd_is_missing() {
    config system.slice:drover:none ''
    refused systemd drover-oci --systemd-cgroup run -d none
    same "the containers left" "$(drover-oci list -q)" ""
}

promise "\"unified\" arrives, at the start and by an update" unified_arrives
promise "\"unified\" decides where another field says the same" unified_wins
promise "\"unified\" is refused by name, and leaves nothing" unified_is_checked
promise "swap is what may be used besides memory" swap_is_what_is_above
promise "an oom group dies as a whole" oom_group_kills_all
promise "a limit below what is used is refused where that is asked for" check_before_update
promise "cpu.idle comes, goes, and gives way to a weight" cpu_idle_and_weight
promise "quota and burst arrive, and a burst above the quota is refused" cpu_quota_and_burst
promise "a cpuset holds for who is there and who comes" cpuset_is_obeyed
promise "io.max has each device's limits, and an update adds to them" io_is_limited
promise "bfq's weights are the group's and the device's" io_has_weights
promise "huge pages are limited, reserved ones too" hugetlb_is_limited
promise "an update of devices replaces the program that guards them" devices_follow_an_update
promise "a paused container takes limits but no exec, and can be deleted" freezes
promise "a frozen group takes no container" frozen_group_is_refused
promise "a group that is killed from outside is a stopped container" killed_group_is_stopped
promise "an exec enters a group with threaded ones below, and all go" threaded_group
promise "an exec follows an init system into the group that it made" delegated_group
promise "a container sees its own group and may not make others" only_its_own_group_is_seen
promise "without systemd its cgroups are refused" systemd_is_missing
rmdir $CG/drover-vm
