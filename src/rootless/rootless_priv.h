/* What the files of src/rootless share. */
#ifndef ROOTLESS_ROOTLESS_PRIV_H
#define ROOTLESS_ROOTLESS_PRIV_H

#include "base/str.h"
#include "rootless/rootless.h"

#include <sys/types.h>

/* slirp4netns' own addresses (slirp4netns(1)). */
#define ROOTLESS_GUEST "10.0.2.100"
#define ROOTLESS_DNS   "10.0.2.3"

enum {
    ROOTLESS_MESSAGE_BYTES = 2048,
    ROOTLESS_PORTS_MAX = 4096,
    ROOTLESS_REPORT_FD = 3 /* the uplink's, to who started it */
};

/* --- world.c: the namespaces and the process that keeps them --- */
/* Makes them; *ret_pid is of a child that has executed `drover rootless hold`. *ret_one_id: why only one id
 * is there (the caller frees), or NULL. */
int rootless__world_make(const char *root, pid_t *ret_pid, char **ret_one_id, struct err *err);
/* Another process that keeps the namespaces behind these descriptors. */
int rootless__world_hold(const char *root, const int *namespaces, size_t count, pid_t *ret_pid,
                         struct err *err);
_Noreturn void rootless__hold(void);

/* --- delegation.c --- */
/* Inside: makes /sys/fs/cgroup the part of the v2 tree that this user was given, when there is one. */
int rootless__own_cgroup(struct err *err);
/* Inside: takes the calling process to where the instance's own processes are. Best effort. */
void rootless__join_cgroup(void);

/* --- slirp.c --- */
struct slirp {
    char *api; /* its socket */
    pid_t pid; /* 0: not running */
    int pidfd;
    int life; /* our end of the pipe whose end ends it */
};
/* Returns when the network inside is up. `holder` is a process of the namespaces. */
int slirp_start(struct slirp *s, const char *root, pid_t holder, struct err *err);
void slirp_stop(struct slirp *s);
/* *ret_id names the forward for its removal. */
int slirp_forward(const struct slirp *s, const char *protocol, const char *host_ip, uint16_t port,
                  int64_t *ret_id, struct err *err);
int slirp_forget(const struct slirp *s, int64_t id, struct err *err);

/* --- spare.c --- */
struct spare {
    pid_t pid; /* 0: there is none */
    int pidfd;
};
void rootless__spare_start(struct spare *s, const char *root);
void rootless__spare_stop(struct spare *s);

/* --- enter.c --- */
char *rootless__path(const char *root, const char *name); /* <root>/rootless/name */

#endif
