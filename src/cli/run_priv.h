/* Inside `drover run`: what its options ask for (run.c reads them), the body of the container that this makes
 * (run_body.c), a container of a service of a project (run_service.c), and its start and end (run_follow.c).
 */
#ifndef CLI_RUN_PRIV_H
#define CLI_RUN_PRIV_H

#include "base/json.h"
#include "compose/compose.h"

/* The exit statuses of docker run: the container could not be made, its command could not be started. */
enum { STATUS_FAILED = 125, STATUS_CANNOT_RUN = 126, STATUS_NOT_FOUND = 127 };

struct run_options {
    bool interactive, tty, no_tty, no_deps, use_aliases, build, quiet_pull, remove_orphans, detach, remove,
        privileged, read_only, init, publish_all;
    char **env, **env_files, **ports, **expose, **volumes, **labels, **hosts, **dns, **cap_add, **cap_drop,
        **security, **tmpfs, **groups, **aliases, **ulimits, **sysctls, **devices;
    const char *name, *network, *memory, *swap, *cpus, *user, *entrypoint, *workdir, *hostname, *restart,
        *pull, *stop_signal, *shm_size, *ip, *pid, *ipc, *platform, *runtime, *userns, *cpuset;
    int stop_timeout_s, pids_limit;
};

/* The body of POST /containers/create; words: the image, its command and arguments. */
int run__body(const struct run_options *o, char **words, json_t **ret, struct err *err);
/* Of that body alone: variables, ports and volumes; labels; user, directory and capabilities. */
int run__add_given(const struct run_options *o, json_t *body, json_t *host, struct err *err);
json_t *run__labels(const struct run_options *o);
void run__add_identity(const struct run_options *o, json_t *body, json_t *host);

/* With --dry-run. Returns the exit status. */
int run__would(const char *what, const char *name, char **words);
/* Starts what was created, with the terminal or the streams unless detached. Returns the exit status. */
int run__start(const struct run_options *o, const char *id);
/* A container of the service of its own, with what it depends on. Returns the exit status. */
int run__service(struct run_options *o, struct compose_project *p, struct compose_service *s, char **words);

#endif
