#!/bin/busybox sh
# The first program of the machine: from the initramfs to a root of its own, since a container's pivot_root cannot leave
# an initramfs. The root comes as a tar on the first disk.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
echo "@boot"
for module in virtio_pci virtio_blk; do
    /bin/busybox modprobe $module || echo "@FAILED module $module"
done
until [ -b /dev/vda ]; do /bin/busybox usleep 20000; done
/bin/busybox mount -t tmpfs -o size=90%,mode=755 root /root
/bin/busybox tar -xf /dev/vda -C /root || echo "@FAILED the root is unpacked"
/bin/busybox umount /proc
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /tests/guest.sh
