/* System call filters: from "linux.seccomp" of a config (config-linux.md, "Seccomp") to a BPF program.
 *
 * A policy is read and checked (seccomp.c), then made into a program by code of our own (seccomp_program.c):
 * a search tree over the ranges of call numbers for each architecture, whose compiling, checking by the
 * kernel and running cost a tenth of libseccomp's. The numbers of calls are libseccomp's. What our own code
 * does not do (architectures with more kinds of multiplexed calls than x86, rules for one call with different
 * actions) libseccomp compiles as a whole (seccomp_library.c). Both decide alike; the unit test holds them
 * against each other. */
#ifndef RUNTIME_FILTER_H
#define RUNTIME_FILTER_H

#include "base/err.h"

#include <jansson.h>
#include <linux/filter.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>

/* Compiles, or finds the program that was compiled for an equal policy: a handful are kept for the life of
 * the process. The program stays this module's. `ret_flags` are those of seccomp(2); with
 * SECCOMP_FILTER_FLAG_NEW_LISTENER among them, loading gives a descriptor that "listenerPath" is for. */
int seccomp_compile(const json_t *policy, const struct sock_fprog **ret, unsigned *ret_flags,
                    struct err *err);
/* In the child. Without no_new_privs this needs CAP_SYS_ADMIN. A policy with a listener is listener.h's. */
int seccomp_apply(const struct sock_fprog *program, unsigned flags, struct err *err);

/* --- within the module --- */

enum { FILTER_MAX_ARCHES = 16, FILTER_MAX_ARGS = 6 };

struct filter_rule {
    const json_t *names; /* an array of strings */
    uint32_t action;
    struct scmp_arg_cmp args[FILTER_MAX_ARGS]; /* all must hold; alternatives when one is named twice */
    unsigned arg_count;
    bool alternatives;
};

struct filter_policy {
    uint32_t default_action;
    uint32_t arches[FILTER_MAX_ARCHES]; /* libseccomp's tokens, the native one first */
    size_t arch_count;
    struct filter_rule *rules; /* without those that say what is the default */
    size_t rule_count;
    const json_t *syscalls; /* all of them, for what the policy knows of */
    unsigned flags;
    bool notifies;
};

int filter__parse(const json_t *policy, struct filter_policy *ret, struct err *err);
void filter__done(struct filter_policy *p);
/* Calls that are younger than the policy do not exist, rather than being refused as the default says: a
 * library that tries one then takes the older call. Not where the default allows. */
bool filter__hides_new_calls(const struct filter_policy *p);
/* The newest call on `arch` that the policy names; negative: none. */
int filter__newest(const struct filter_policy *p, uint32_t arch);
/* ERR_UNSUPPORTED: let the library do it. The program's instructions are the caller's to free. */
int filter__compile(const struct filter_policy *p, struct sock_fprog *ret, struct err *err);
int filter__compile_with_library(const struct filter_policy *p, struct sock_fprog *ret, struct err *err);

#endif
