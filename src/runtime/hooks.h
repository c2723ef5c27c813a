/* Hooks of a config (config.md, "POSIX-platform Hooks"): programs of the host, or for startContainer of the
 * container, that are run at fixed points of a container's life with its state on their stdin. */
#ifndef RUNTIME_HOOKS_H
#define RUNTIME_HOOKS_H

#include "base/str.h"

#include <jansson.h>
#include <sys/types.h>

struct err;

enum hook_kind {
    HOOK_PRESTART,
    HOOK_CREATE_RUNTIME,
    HOOK_CREATE_CONTAINER,
    HOOK_START_CONTAINER,
    HOOK_POSTSTART,
    HOOK_POSTSTOP,
    HOOK_KINDS_
};

struct hook {
    const char *path;
    char **args, **env;
    int timeout_s; /* 0: none */
};

struct hooks {
    struct hook *lists[HOOK_KINDS_];
    size_t counts[HOOK_KINDS_];
    bool any;
};

/* Paths are borrowed from `spec`. */
int hooks_parse(const json_t *spec, struct hooks *ret, struct err *err);
void hooks_done(struct hooks *hooks);
const char *hooks_kind_name(enum hook_kind kind);

/* One after the other; stops at the first that fails. A hook that takes longer than its timeout is killed
 * with all that it started. A hook that has no "env" of its own gets `env`. Callable in a process that was
 * cloned. */
int hooks_run(const struct hooks *hooks, enum hook_kind kind, const char *state, char **env, struct err *err);

/* The state of runtime.md up to and from the value of "pid", so that a child can complete it. */
struct hook_state {
    char *before, *after;
};
struct hook_state hooks_state(const char *id, const char *bundle, const char *status, const json_t *spec);
char *hooks_state_of(const struct hook_state *state, pid_t pid); /* the caller frees */
void hooks_state_done(struct hook_state *state);

#endif
