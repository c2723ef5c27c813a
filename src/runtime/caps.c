#include "runtime/caps.h"

#include "base/str.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const names[] = {
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
};

/* What the kernel knows, also by numbers newer than our names; and of it what this process may hand on: a
 * capability outside its bounding set is out of reach for its children. */
static struct {
    uint64_t known, available;
} kernel;

static void ask_kernel(void)
{
    for (unsigned i = 0; i < 64 && !(kernel.known >> 63); i++) {
        int answer = prctl(PR_CAPBSET_READ, i, 0, 0, 0);
        if (answer < 0)
            break;
        kernel.known |= UINT64_C(1) << i;
        if (answer == 1)
            kernel.available |= UINT64_C(1) << i;
    }
}

static uint64_t available(bool mapped)
{
    if (!kernel.known)
        ask_kernel();
    return mapped ? kernel.known : kernel.available;
}

const char *caps_name(unsigned number)
{
    return number < ARRAY_SIZE(names) ? names[number] : NULL;
}

char *const *runtime_all_capabilities(void)
{
    static char *list[ARRAY_SIZE(names) + 1];
    if (!list[0]) {
        size_t n = 0;
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            if (available(false) & UINT64_C(1) << i)
                list[n++] = (char *)names[i];
    }
    return list;
}

int caps_parse(const char *name, bool mapped, uint64_t *set, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (!str_eq(name, names[i]))
            continue;
        if (!(available(mapped) & UINT64_C(1) << i))
            return err_set(
                err, ERR_DENIED,
                "capability %s cannot be given: the engine itself does not have it on this machine", name);
        *set |= UINT64_C(1) << i;
        return 0;
    }
    return err_set(err, ERR_INVALID, "unknown capability \"%s\"", name);
}

int caps_drop_bounding(const struct plan_process *process, bool mapped, struct err *err)
{
    uint64_t drop = available(mapped) & ~process->capabilities[CAPS_BOUNDING];
    for (unsigned i = 0; i < 64; i++)
        if (drop & UINT64_C(1) << i && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) < 0)
            return err_sys(err, errno, "drop capability %u from the bounding set", i);
    return 0;
}

static int set_all(const struct plan_process *process, struct err *err)
{
    const uint64_t *sets = process->capabilities;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    for (int i = 0; i < 2; i++)
        data[i] = (struct __user_cap_data_struct){
            .effective = (uint32_t)(sets[CAPS_EFFECTIVE] >> (32 * i)),
            .permitted = (uint32_t)(sets[CAPS_PERMITTED] >> (32 * i)),
            .inheritable = (uint32_t)(sets[CAPS_INHERITABLE] >> (32 * i)),
        };
    if (syscall(SYS_capset, &header, data) < 0)
        return err_sys(
            err, errno,
            "set capabilities (effective ones must be permitted, inheritable ones in the bounding set)");
    return 0;
}

int caps_apply(const struct plan_process *process, struct err *err)
{
    int r = set_all(process, err);
    if (r < 0)
        return r;
    /* The engine may itself have been started with ambient capabilities. */
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return err_sys(err, errno, "clear ambient capabilities");
    for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
        if (process->capabilities[CAPS_AMBIENT] & UINT64_C(1) << i &&
            prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) < 0)
            return err_sys(err, errno, "raise ambient %s (it must be permitted and inheritable)", names[i]);
    return 0;
}
