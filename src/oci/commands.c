#include "oci/commands.h"

#define AT(member) offsetof(struct oci_args, member)

const struct oci_option oci_global_options[] = {
    {0, "root", OCI_TEXT, AT(root), "DIR",
     "Where containers are remembered (default /run/drover-oci, or below $XDG_RUNTIME_DIR for a user)"},
    {0, "log", OCI_TEXT, AT(log), "FILE", "Write errors and warnings here (default stderr)"},
    {0, "log-format", OCI_TEXT, AT(log_format), "FORMAT", "Form of the log: text (default) or json"},
    {0, "debug", OCI_FLAG, AT(debug), NULL, "Write what is done into the log too"},
    {0, "systemd-cgroup", OCI_FLAG, AT(systemd_cgroup), NULL,
     "Have systemd make the cgroup; \"linux.cgroupsPath\" is slice:prefix:name"},
    {0, "cgroup-manager", OCI_TEXT, AT(cgroup_manager), "NAME",
     "Who makes cgroups: cgroupfs (default) or systemd"},
    {0, "rootless", OCI_TEXT, AT(rootless), "WORD",
     "Without root's rights: true, false or auto (default: as it is found)"},
    {0, "criu", OCI_TEXT, AT(criu), "FILE", "Taken for the sake of old callers; there is no checkpoint"},
    {'h', "help", OCI_FLAG, AT(help), NULL, "Print this text"},
    {'v', "version", OCI_FLAG, AT(version), NULL, "Print the version"},
    {0},
};

#define BUNDLE                                                                                               \
    {                                                                                                        \
        'b', "bundle", OCI_TEXT, AT(bundle), "DIR", "The bundle (default the working directory)"             \
    }
#define CONFIG                                                                                               \
    {                                                                                                        \
        'f', "config", OCI_TEXT, AT(config), "FILE", "Instead of the bundle's config.json"                   \
    }
#define PID_FILE                                                                                             \
    {                                                                                                        \
        0, "pid-file", OCI_TEXT, AT(pid_file), "FILE", "Write the process's pid here"                        \
    }
#define CONSOLE_SOCKET                                                                                       \
    {                                                                                                        \
        0, "console-socket", OCI_TEXT, AT(console_socket), "FILE",                                           \
            "Unix socket that is sent the terminal's master side"                                            \
    }
#define PIDFD_SOCKET                                                                                         \
    {                                                                                                        \
        0, "pidfd-socket", OCI_TEXT, AT(pidfd_socket), "FILE",                                               \
            "Unix socket that is sent a descriptor of the process (pidfd_open(2))"                           \
    }
#define PRESERVE_FDS                                                                                         \
    {                                                                                                        \
        0, "preserve-fds", OCI_INT, AT(preserve_fds), "N",                                                   \
            "Pass on so many more descriptors, after those of $LISTEN_FDS"                                   \
    }
#define NO_PIVOT                                                                                             \
    {                                                                                                        \
        0, "no-pivot", OCI_FLAG, AT(no_pivot), NULL,                                                         \
            "Move the root mount and chroot, where pivot_root cannot work"                                   \
    }
#define NO_NEW_KEYRING                                                                                       \
    {                                                                                                        \
        0, "no-new-keyring", OCI_FLAG, AT(no_new_keyring), NULL, "Keep the caller's session keyring"         \
    }
#define NO_SUBREAPER                                                                                         \
    {                                                                                                        \
        0, "no-subreaper", OCI_FLAG, AT(no_subreaper), NULL,                                                 \
            "Do not take over processes the container leaves"                                                \
    }
#define DETACH                                                                                               \
    {                                                                                                        \
        'd', "detach", OCI_FLAG, AT(detach), NULL, "Return when the program runs"                            \
    }

static const struct oci_option none[] = {{0}};

/* clang-format off */
static const struct oci_option create_options[] = {
    BUNDLE,
    CONFIG,
    PID_FILE,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    NO_PIVOT,
    NO_NEW_KEYRING,
    {0},
};

static const struct oci_option run_options[] = {
    BUNDLE,
    CONFIG,
    PID_FILE,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    NO_PIVOT,
    NO_NEW_KEYRING,
    NO_SUBREAPER,
    DETACH,
    {0, "keep", OCI_FLAG, AT(keep), NULL, "Do not delete the container when it ends"},
    {0},
};
/* clang-format on */

static const struct oci_option exec_options[] = {
    {'p', "process", OCI_TEXT, AT(process), "FILE",
     "The process as JSON (\"process\" of config.json); the options about it then do not count"},
    {'t', "tty", OCI_FLAG, AT(tty), NULL, "With a terminal"},
    {'u', "user", OCI_TEXT, AT(user), "UID[:GID]", "As this user"},
    {'g', "additional-gids", OCI_LIST, AT(groups), "GID", "One more group; may be repeated"},
    {0, "cwd", OCI_TEXT, AT(cwd), "DIR", "Working directory in the container"},
    {'e', "env", OCI_LIST, AT(env), "NAME=VALUE", "One more variable; may be repeated"},
    {'c', "cap", OCI_LIST, AT(caps), "CAP_NAME", "One more capability; may be repeated"},
    {0, "apparmor", OCI_TEXT, AT(apparmor), "NAME", "AppArmor profile"},
    {0, "process-label", OCI_TEXT, AT(process_label), "LABEL", "SELinux label"},
    {0, "no-new-privs", OCI_FLAG, AT(no_new_privs), NULL, "Set no_new_privs"},
    {0, "cgroup", OCI_LIST, AT(cgroups), "[CONTROLLER,...:]PATH",
     "A cgroup below the container's; may be repeated"},
    {0, "ignore-paused", OCI_FLAG, AT(ignore_paused), NULL, "Also in a paused container"},
    PID_FILE,
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    NO_SUBREAPER,
    DETACH,
    {0},
};

static const struct oci_option kill_options[] = {
    {'a', "all", OCI_FLAG, AT(all), NULL, "Signal every process of the container"},
    {0},
};

static const struct oci_option delete_options[] = {
    {'f', "force", OCI_FLAG, AT(force), NULL, "Kill it first; a container that does not exist is no error"},
    {0, "regex", OCI_FLAG, AT(regex), NULL, "Delete every container whose id this regular expression finds"},
    {0},
};

#define FORMAT                                                                                               \
    {                                                                                                        \
        'f', "format", OCI_TEXT, AT(format), "FORMAT", "table (default) or json"                             \
    }

static const struct oci_option list_options[] = {
    FORMAT,
    {'q', "quiet", OCI_FLAG, AT(quiet), NULL, "Only ids"},
    {0},
};

static const struct oci_option ps_options[] = {FORMAT, {0}};

static const struct oci_option events_options[] = {
    {0, "stats", OCI_FLAG, AT(stats), NULL, "Print the usage once and end"},
    {0, "interval", OCI_TEXT, AT(interval), "DURATION", "Between two reports (default 5s)"},
    {0},
};

#define LIMIT(name, member, help)                                                                            \
    {                                                                                                        \
        0, name, OCI_TEXT, AT(limits.member), "N", help                                                      \
    }

static const struct oci_option update_options[] = {
    {'r', "resources", OCI_TEXT, AT(resources), "FILE",
     "\"linux.resources\" as JSON, or - for stdin; the options about limits then do not count"},
    LIMIT("blkio-weight", blkio_weight, "Block IO weight, 10 to 1000"),
    LIMIT("cpu-period", cpu_period, "Length of a CFS period in microseconds"),
    LIMIT("cpu-quota", cpu_quota, "CPU time in a period in microseconds"),
    LIMIT("cpu-burst", cpu_burst, "Quota saved up for bursts in microseconds"),
    LIMIT("cpu-share", cpu_share, "Relative weight of CPU time"),
    LIMIT("cpu-rt-period", cpu_rt_period, "Length of a realtime period in microseconds"),
    LIMIT("cpu-rt-runtime", cpu_rt_runtime, "Realtime CPU time in a period in microseconds"),
    LIMIT("cpu-idle", cpu_idle, "1: only when nobody else wants the CPU"),
    LIMIT("cpuset-cpus", cpuset_cpus, "CPUs, such as 0-2,7"),
    LIMIT("cpuset-mems", cpuset_mems, "Memory nodes, such as 0"),
    LIMIT("kernel-memory", kernel_memory, "Kernel memory in bytes"),
    LIMIT("kernel-memory-tcp", kernel_memory_tcp, "Memory of TCP buffers in bytes"),
    LIMIT("memory", memory, "Memory in bytes; -1: no limit"),
    LIMIT("memory-reservation", memory_reservation, "Soft limit of memory in bytes"),
    LIMIT("memory-swap", memory_swap, "Memory and swap together in bytes; -1: no limit"),
    LIMIT("pids-limit", pids_limit, "Number of processes; -1: no limit"),
    LIMIT("l3-cache-schema", l3_cache_schema, "Refused: Intel RDT"),
    LIMIT("mem-bw-schema", mem_bw_schema, "Refused: Intel RDT"),
    {0},
};

static const struct oci_option spec_options[] = {
    BUNDLE,
    {0, "rootless", OCI_FLAG, AT(spec_rootless), NULL, "For a user without root's rights"},
    {0},
};

static const struct oci_option help_options[] = {
    {0, "markdown", OCI_FLAG, AT(markdown), NULL, "All commands and options as a table for a page"},
    {0},
};

#define ID   "<container-id>"
#define MANY OCI_ANY_WORDS

const struct oci_command oci_commands[] = {
    {"create", ID, "Set a container up from a bundle, to be started later", create_options, 1, 1,
     command_create},
    {"start", ID, "Run the program of a created container", none, 1, 1, command_start},
    {"run", ID, "Create and start a container; in the foreground, wait for it and delete it", run_options, 1,
     1, command_run},
    {"exec", ID " [command [argument...]]", "Run one more process in a container", exec_options, 1, MANY,
     command_exec},
    {"state", ID, "Print a container's state as JSON", none, 1, 1, command_state},
    {"kill", ID " [signal]", "Send a signal (default SIGTERM) to a container's first process", kill_options,
     1, 2, command_kill},
    {"delete", ID, "Remove what is left of a container", delete_options, 1, 1, command_delete},
    {"list", "", "List containers", list_options, 0, 0, command_list},
    {"ps", ID " [word of ps(1)...]", "Show a container's processes", ps_options, 1, MANY, command_ps},
    {"pause", ID, "Freeze all processes of a container", none, 1, 1, command_pause},
    {"resume", ID, "Let a paused container go on", none, 1, 1, command_resume},
    {"update", ID, "Change a container's limits", update_options, 1, 1, command_update},
    {"events", ID, "Report usage and out-of-memory events as JSON", events_options, 1, 1, command_events},
    {"spec", "", "Write a config.json to start from", spec_options, 0, 0, command_spec},
    {"features", "", "Print what this runtime can do as JSON", none, 0, 0, command_features},
    {"checkpoint", ID, "Refused: containers cannot be saved", none, 0, MANY, command_checkpoint},
    {"restore", ID, "Refused: containers cannot be saved", none, 0, MANY, command_checkpoint},
    {"help", "[command]", "Print help", help_options, 0, 1, command_help},
    {0},
};
