#!/bin/busybox sh
# drover-oci on a host that SELinux guards, by the policy of selinux.te: the label of a process and of what is mounted for it.
DIR=/tmp/selinux
mkdir -p $DIR/rootfs
. /tests/promise.sh
tar -xf /tests/busybox.tar -C $DIR/rootfs
cd $DIR || exit 1
mount -t selinuxfs selinuxfs /sys/fs/selinux
PROCESS=system_u:system_r:contained_t FILES=system_u:object_r:contained_file_t

config() { # a command line for sh -c, mountLabel
    rm -f config.json
    drover-oci spec
    sed -i -e 's/"terminal": *true/"terminal":false/' -e "s#^ *\"sh\"\$#\"sh\",\"-c\",\"$1\"#" \
        -e "s#\"process\": *{#\"process\":{\"selinuxLabel\":\"$PROCESS\",#" \
        -e "s#\"linux\": *{#\"linux\":{\"mountLabel\":\"$2\",#" config.json
}

policy_is_loaded() {
    dd if=/tests/selinux.policy of=/sys/fs/selinux/load bs=1M 2>/dev/null
    echo 1 >/sys/fs/selinux/enforce
    same "our own label" "$(tr -d '\0' </proc/self/attr/current)" system_u:system_r:base_t
    drover-oci features | tr -d ' \n' | grep -q '"selinux":{"enabled":true}'
}

process_has_its_label() {
    config 'cat /proc/self/attr/current' $FILES
    same "the label" "$(drover-oci run one | tr -d '\0')" $PROCESS
}

exec_has_its_label() {
    config 'sleep 1000' $FILES
    drover-oci run -d one </dev/null >/dev/null 2>&1
    same "an exec's label" "$(drover-oci exec one cat /proc/self/attr/current | tr -d '\0')" $PROCESS
    same "another one for it" "$(drover-oci exec --process-label system_u:system_r:base_t one cat /proc/self/attr/current | tr -d '\0')" \
        system_u:system_r:base_t
    drover-oci delete -f one
}

mounts_have_theirs() {
    config 'cat /proc/self/mountinfo' $FILES
    mounts=$(drover-oci run one) # a file of ours it could not write
    for place in /dev /dev/shm /dev/pts; do
        echo "$mounts" | grep " $place " | grep -q "context=$FILES" || fail "$place: $mounts"
    done
}

labels_decide() {
    config 'echo mine >/dev/shm/a || exit 1; cat /dev/shm/a' $FILES
    same "what it wrote to its own file" "$(drover-oci run one)" mine
    config 'echo mine >/dev/shm/a || exit 1; cat /dev/shm/a' system_u:object_r:base_t
    if said=$(drover-oci run one 2>&1); then fail "it wrote to the machine's file"; fi
    echo "$said" | grep -q 'Permission denied' || fail "$said"
}

unknown_labels_are_named() {
    config true $FILES
    sed -i "s/contained_t/nobodys_t/" config.json
    if drover-oci run one 2>err; then fail "it ran"; fi
    grep -q 'SELinux label "system_u:system_r:nobodys_t"' err || fail "$(cat err)"
    config true system_u:object_r:nobodys_t
    if drover-oci run one 2>err; then fail "it ran"; fi
    grep -q nobodys_t err || fail "$(cat err)"
    same "what is left" "$(drover-oci list -q)" ""
}

echo "@story"
promise "a machine with SELinux enforces the least policy" policy_is_loaded
promise "drover-oci starts a program under its SELinux label" process_has_its_label
promise "and an exec under the container's, or its own" exec_has_its_label
promise "what is mounted for a container has the config's SELinux label" mounts_have_theirs
promise "SELinux decides by these labels what a container may write" labels_decide
promise "an SELinux label that the policy does not know is an error that names it" unknown_labels_are_named
echo "@done"
