#!/bin/busybox sh
# Process 1 of the machine: mounts what a cgroup v2 host has mounted, runs the tests, says so on the console and turns the
# machine off. tests/vm/run.py reads what is printed here.
export PATH=/usr/bin:/usr/sbin:/bin HOME=/root TMPDIR=/tmp TERM=dumb CMOCKA_MESSAGE_OUTPUT=TAP
export DROVER_SECCOMP_REFERENCE=/tests/docker-seccomp-default.json
/bin/busybox --install -s /bin 2>/dev/null
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t securityfs security /sys/kernel/security
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue /run /tmp
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
mount -t tmpfs run /run
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mount --make-rshared / # as systemd leaves it
ip link set lo up
hostname vm
echo 0 >/proc/sys/kernel/printk
echo 16 >/proc/sys/vm/nr_hugepages
for module in overlay loop bridge br_netfilter veth nf_tables null_blk bfq; do
    modprobe $module || echo "@FAILED module $module"
done
# As on a booted host: no process stays in the root group, which would keep controllers from being passed down.
mkdir /sys/fs/cgroup/init.scope
echo $$ >/sys/fs/cgroup/init.scope/cgroup.procs

if grep -q security=selinux /proc/cmdline; then
    /tests/selinux.sh
    poweroff -f
fi

# Everything printed is a sign of life; what prints nothing for long is taken for a hang by the host.
for program in /tests/unit/test-*; do
    [ -x "$program" ] || continue # no unit tests were asked for
    name=${program##*/test-}
    echo "@unit $name"
    (cd /tests && "$program" 2>&1 </dev/null)
    echo "@end $name $?"
done
/tests/story.sh
/tests/oci_cgroups.sh
if [ -x /usr/lib/systemd/systemd ]; then
    umount /run
    exec /usr/lib/systemd/systemd --unit=tests.service --show-status=no --log-target=console --log-level=warning
fi
echo "@skipped drover-oci asks systemd for its cgroups | systemd is not installed on the machine that made the root"
echo "@done"
poweroff -f
