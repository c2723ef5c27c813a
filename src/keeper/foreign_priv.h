/* Shared by foreign.c (in the keeper) and foreign_helper.c (in the helper). */
#ifndef KEEPER_FOREIGN_PRIV_H
#define KEEPER_FOREIGN_PRIV_H

#include "keeper/foreign.h"

struct foreign {
    struct container *c;
    char *path, **args; /* the runtime */
    char *bundle, *state;
    char *cgroup;          /* as a runtime is told: from the hierarchy's root */
    struct watch deletion; /* pidfd of the helper that runs `delete` */
    pid_t deleter;
    bool gone;
};

/* A process while its helper is at work; p->pid and p->pidfd are the helper's until it has been reaped. */
struct foreign_launch {
    pid_t pid; /* of the container's process */
    uint64_t start;
    int pidfd;
    bool done;
};
static inline void foreign_launch_free_p(struct foreign_launch **l)
{
    foreign_launch_free(*l);
}

/* What is asked of a helper; it was forked, so that all of the keeper's memory is still there. */
struct foreign_job {
    const struct foreign *f;
    int status_fd; /* to the keeper */
    const struct runtime_launch *launch;
    const json_t *process; /* exec; NULL: create */
    const char *exec_id;
    int oom_score_adj;
};

enum foreign_said { FOREIGN_PID, FOREIGN_DONE, FOREIGN_FAILED };
struct foreign_message {
    enum foreign_said said;
    pid_t pid;
    struct err err;
};

/* foreign_mounts.c, in a mount namespace of the helper's own: for a container with a user namespace. Where
 * its root goes; and those of the config's mounts that are to have its ids. */
int foreign__open_places(struct runtime_launch *launch, struct err *err);
int foreign__map_mounts(json_t *spec, int userns_fd, struct err *err);

/* Never return. */
_Noreturn void foreign__launch_main(const struct foreign_job *job);
_Noreturn void foreign__delete_main(const struct foreign *f);

#endif
