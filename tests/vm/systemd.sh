#!/bin/busybox sh
# drover-oci on a host that systemd runs: the scope, its limits, and its end.
export PATH=/usr/bin:/usr/sbin:/bin HOME=/root
DIR=/tmp/systemd
CG=/sys/fs/cgroup
mkdir -p $DIR/rootfs/bin $DIR/rootfs/proc $DIR/rootfs/sys $DIR/rootfs/dev
cp /bin/busybox $DIR/rootfs/bin/
for name in sh sleep cat; do ln -sf busybox $DIR/rootfs/bin/$name; done
cd $DIR || exit 1

. /tests/promise.sh

# Debian's config has more than is needed here; ours is changed by hand, since there is no jq.
config() { # cgroupsPath, resources
    drover-oci spec
    sed -i -e 's/"terminal": *true/"terminal":false/' -e 's/^ *"sh"$/"sleep","1000"/' \
        -e "s#\"resources\": *{#\"cgroupsPath\":\"$1\",\"resources\":{$2#" config.json
}

scope_is_made() {
    rm -f config.json
    config system.slice:drover:one '"memory":{"limit":33554432},"pids":{"limit":20},"cpu":{"shares":512,"quota":50000,"period":100000},'
    drover-oci --systemd-cgroup run -d one </dev/null >/dev/null 2>$DIR/run.err || { cat $DIR/run.err config.json; exit 1; }
    dir=$CG/system.slice/drover-one.scope
    [ "$(cat $dir/memory.max)" = 33554432 ] || fail "memory.max is $(cat $dir/memory.max)"
    [ "$(cat $dir/pids.max)" = 20 ] || fail "pids.max is $(cat $dir/pids.max)"
    [ "$(cat $dir/cpu.max)" = "50000 100000" ] || fail "cpu.max is $(cat $dir/cpu.max)"
    [ "$(wc -l <$dir/cgroup.procs)" = 1 ] || fail "more than the container is in the scope: $(cat $dir/cgroup.procs)"
    pid=$(cat $dir/cgroup.procs)
    grep -q "0::/system.slice/drover-one.scope" /proc/$pid/cgroup
}

reload_keeps_limits() {
    kill -HUP 1
    usleep 500000
    [ "$(cat $CG/system.slice/drover-one.scope/memory.max)" = 33554432 ]
}

update_is_told_to_systemd() {
    drover-oci update --pids-limit 33 --memory 67108864 one
    [ "$(cat $CG/system.slice/drover-one.scope/pids.max)" = 33 ]
    kill -HUP 1
    usleep 500000
    [ "$(cat $CG/system.slice/drover-one.scope/pids.max)" = 33 ]
    [ "$(cat $CG/system.slice/drover-one.scope/memory.max)" = 67108864 ]
}

container_ends() {
    drover-oci --systemd-cgroup kill one KILL
    tries=0
    while [ -d $CG/system.slice/drover-one.scope ] && [ $tries -lt 100 ]; do
        drover-oci --systemd-cgroup delete one 2>/dev/null || true
        tries=$((tries + 1))
        usleep 100000
    done
    [ ! -d $CG/system.slice/drover-one.scope ]
}

bad_paths() {
    rm -f config.json
    config /not/a/triple ''
    if drover-oci --systemd-cgroup run two </dev/null 2>err; then fail "a plain path was taken"; fi
    grep -q "slice:prefix:name" err || fail "$(cat err)"
}

promise "drover-oci has systemd make its scope, with its limits" scope_is_made
promise "a reload of systemd keeps a container's limits" reload_keeps_limits
promise "systemd keeps an update too" update_is_told_to_systemd
promise "the scope goes with its container" container_ends
promise "a path that is not slice:prefix:name is refused" bad_paths
echo "@done"
