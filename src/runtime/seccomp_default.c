/* Docker's default policy: everything is refused with EPERM but what is listed here. What a capability makes
 * harmless comes with that capability. */
#include "runtime/runtime.h"

#include "base/json.h"
#include "base/str.h"

#include <sched.h>
#include <seccomp.h>
#include <sys/personality.h>
#include <sys/socket.h>

static const char always[] =
    "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod "
    "chown chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime "
    "clock_gettime64 clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range "
    "creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 "
    "epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 "
    "fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 "
    "fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat "
    "fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 "
    "futex_wait futex_waitv futex_wake futimesat get_robust_list get_thread_area getcpu getcwd getdents "
    "getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer "
    "getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid "
    "getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getuid32 "
    "getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel "
    "io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get "
    "ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 "
    "lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr "
    "lstat lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat "
    "mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open "
    "mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal "
    "msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat "
    "open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect "
    "poll ppoll ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv "
    "process_vm_writev pselect6 pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink "
    "readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr "
    "removexattrat rename renameat renameat2 restart_syscall riscv_hwprobe rmdir rseq rt_sigaction "
    "rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait "
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min "
    "sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval "
    "sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler "
    "sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send sendfile sendfile64 "
    "sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid "
    "setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 "
    "setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid "
    "setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 "
    "sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx "
    "symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete "
    "timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create "
    "timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 "
    "ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork "
    "vmsplice wait4 waitid waitpid write writev";

/* Capability -> calls, besides those above. "" stands for every container on the architectures named. */
static const struct {
    const char *capability;
    const char *calls;
} by_capability[] = {
    {"CAP_DAC_READ_SEARCH", "open_by_handle_at"},
    {"CAP_SYS_ADMIN",
     "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
     "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl "
     "quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"},
    {"CAP_SYS_BOOT", "reboot"},
    {"CAP_SYS_CHROOT", "chroot"},
    {"CAP_SYS_MODULE", "delete_module init_module finit_module"},
    {"CAP_SYS_PACCT", "acct"},
    {"CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"},
    {"CAP_SYS_RAWIO", "iopl ioperm"},
    {"CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"},
    {"CAP_SYS_TTY_CONFIG", "vhangup"},
    {"CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"},
    {"CAP_SYSLOG", "syslog"},
    {"CAP_BPF", "bpf"},
    {"CAP_PERFMON", "perf_event_open"},
};

/* The architecture this is built for: its own name, those whose programs it also runs, and its own calls. */
#if defined(__x86_64__)
static const char *const architectures[] = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", NULL};
static const char native[] = "arch_prctl modify_ldt";
#elif defined(__aarch64__)
static const char *const architectures[] = {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", NULL};
static const char native[] =
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls";
#elif defined(__riscv)
static const char *const architectures[] = {"SCMP_ARCH_RISCV64", NULL};
static const char native[] = "riscv_flush_icache";
#elif defined(__s390x__)
static const char *const architectures[] = {"SCMP_ARCH_S390X", "SCMP_ARCH_S390", NULL};
static const char native[] = "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr";
#elif defined(__powerpc64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
static const char *const architectures[] = {"SCMP_ARCH_PPC64LE", NULL};
static const char native[] = "sync_file_range2 swapcontext";
#else
#error "add this architecture's names to the default seccomp policy"
#endif

static json_t *allow_rule(json_t *names)
{
    return json_pack("{s:o,s:s}", "names", names, "action", "SCMP_ACT_ALLOW");
}

static json_t *allow(const char *calls)
{
    _cleanup_strv_ char **names = strv_split(calls, ' ');
    return allow_rule(json_of_strv(names));
}

static json_t *allow_if(const char *call, unsigned index, const char *op, uint32_t value, uint32_t second)
{
    json_t *rule = allow(call);
    json_object_set_new(rule, "args",
                        json_pack("[{s:i,s:I,s:I,s:s}]", "index", (int)index, "value", (json_int_t)value,
                                  "valueTwo", (json_int_t)second, "op", op));
    return rule;
}

/* Every socket family but AF_ALG (the kernel's cryptography, 38) and AF_VSOCK (the hypervisor, 40). */
static void add_sockets(json_t *rules)
{
    json_array_append_new(rules, allow_if("socket", 0, "SCMP_CMP_LT", AF_ALG, 0));
    json_array_append_new(rules, allow_if("socket", 0, "SCMP_CMP_EQ", AF_NFC, 0));
    json_array_append_new(rules, allow_if("socket", 0, "SCMP_CMP_GT", AF_VSOCK, 0));
}

static void add_personalities(json_t *rules)
{
    static const uint32_t known[] = {PER_LINUX, PER_LINUX32, UNAME26, PER_LINUX32 | UNAME26, 0xffffffff};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        json_array_append_new(rules, allow_if("personality", 0, "SCMP_CMP_EQ", known[i], 0));
}

/* Threads and processes, but no new namespaces. The flags of clone3 are in memory, where a filter cannot
 * look: it is said not to exist, so that libraries take clone. */
static void add_clone(json_t *rules)
{
    const uint32_t namespaces = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                                CLONE_NEWPID | CLONE_NEWNET;
#if defined(__s390x__)
    const unsigned flags_argument = 1;
#else
    const unsigned flags_argument = 0;
#endif
    json_array_append_new(rules, allow_if("clone", flags_argument, "SCMP_CMP_MASKED_EQ", namespaces, 0));
    json_array_append_new(rules, json_pack("{s:[s],s:s,s:i}", "names", "clone3", "action", "SCMP_ACT_ERRNO",
                                           "errnoRet", ENOSYS));
}

json_t *runtime_default_seccomp(char *const *capabilities)
{
    json_t *rules = json_array();
    json_array_append_new(rules, allow(always));
    json_array_append_new(rules, allow(native));
    add_sockets(rules);
    add_personalities(rules);
    for (size_t i = 0; i < ARRAY_SIZE(by_capability); i++)
        if (strv_has(capabilities, by_capability[i].capability))
            json_array_append_new(rules, allow(by_capability[i].calls));
    if (!strv_has(capabilities, "CAP_SYS_ADMIN"))
        add_clone(rules);
    return json_pack("{s:s,s:i,s:o,s:o}", "defaultAction", "SCMP_ACT_ERRNO", "defaultErrnoRet", EPERM,
                     "architectures", json_of_strv((char *const *)architectures), "syscalls", rules);
}
