/* The words of an OCI runtime's command line as tables: parsing, errors, help texts and docs/oci.md come from
 * them.
 *
 * As engines write them for runc: `--name=value`, `--name value`, `-n value`; a flag may be given as
 * --flag=false; a single dash before a long name is taken too; the first other word, or "--", ends them. */
#ifndef OCI_OPTIONS_H
#define OCI_OPTIONS_H

#include "base/err.h"
#include "base/str.h"

enum oci_kind {
    OCI_FLAG, /* bool */
    OCI_TEXT, /* const char *: the last one counts; borrowed from argv */
    OCI_LIST, /* char **: may be given again */
    OCI_INT,  /* int64_t: a whole number */
};

/* Every value that any command takes; what a command's options mean is said in its table. */
struct oci_args {
    /* before the command */
    const char *root, *log, *log_format, *criu, *rootless, *cgroup_manager;
    bool debug, systemd_cgroup, help, version;
    /* create, run, exec */
    const char *bundle, *config, *pid_file, *console_socket, *pidfd_socket;
    int64_t preserve_fds;
    bool no_pivot, no_new_keyring, detach, keep, no_subreaper;
    /* exec */
    const char *process, *user, *cwd, *apparmor, *process_label;
    char **env, **caps, **groups, **cgroups;
    bool tty, no_new_privs, ignore_paused;
    /* kill, delete, list, ps, events */
    bool all, force, regex, quiet, stats;
    const char *format, *interval;
    /* update */
    const char *resources;
    struct oci_limits {
        const char *blkio_weight, *cpu_period, *cpu_quota, *cpu_burst, *cpu_share, *cpu_rt_period,
            *cpu_rt_runtime, *cpu_idle, *cpuset_cpus, *cpuset_mems, *kernel_memory, *kernel_memory_tcp,
            *memory, *memory_reservation, *memory_swap, *pids_limit, *l3_cache_schema, *mem_bw_schema;
    } limits;
    /* help */
    bool markdown;
    /* spec */
    bool spec_rootless;

    char **words; /* what follows the options: a part of argv, NULL-terminated */
    size_t word_count;
};

struct oci_option {
    char letter; /* 0: none */
    const char *name;
    enum oci_kind kind;
    size_t offset;     /* in struct oci_args */
    const char *value; /* what help calls the value */
    const char *help;
};

struct oci_command {
    const char *name;
    const char *words; /* "<container-id> [signal]" */
    const char *summary;
    const struct oci_option *options; /* ends with a NULL name */
    size_t least, most;               /* other words */
#define OCI_ANY_WORDS ((size_t)-1)
    /* Does it. *ret_status is the exit status when there is no error. */
    int (*run)(const struct oci_args *args, int *ret_status, struct err *err);
};

/* Takes the options from argv[*at] on, leaving *at behind them. */
int oci_options_parse(const struct oci_option *table, int argc, char **argv, int *at, struct oci_args *ret,
                      struct err *err);
void oci_options_print(const struct oci_option *table);
void oci_options_print_markdown(const struct oci_option *table);
void oci_args_done(struct oci_args *args);

#endif
