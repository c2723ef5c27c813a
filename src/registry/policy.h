/* Who may do what with which repository: a policy, as a file says it, that is put in place whole and never
 * changed afterwards. Who holds a reference has it unchanged while another takes its place.
 *
 * Rules are asked in their order, and the first whose pattern fits the repository decides alone. Without
 * rules every user may do everything; where there are some and none fits, the administrators alone may.
 * Rights imply others: push and delete imply pull, admin implies all.
 *
 * Patterns: base/name_pattern.h.
 *
 * Robots are not of the file: they are made and revoked while the registry runs (robots.c), each for itself,
 * with rights and patterns of its own. Pure but for them. */
#ifndef REGISTRY_POLICY_H
#define REGISTRY_POLICY_H

#include "base/err.h"
#include "base/map.h"
#include "base/name_pattern.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct registry;

enum { REGISTRY_MAX_WEBHOOKS = 16, REGISTRY_MAX_REPLICATIONS = 16 };

enum registry_right {
    REGISTRY_PULL = 1,
    REGISTRY_PUSH = 2,
    REGISTRY_DELETE = 4,
    REGISTRY_ADMIN = 8,
    REGISTRY_ALL = 15,
};

/* One entry of a rule's list: "alice", "@group", "anonymous" (everybody), "authenticated" (every user). */
struct registry_rule {
    char **match; /* repositories */
    char **pull, **push, **delete, **admin;
    char **immutable;            /* tags that stay what they were pushed as */
    int64_t keep_count, keep_ns; /* retention.c; 0: not by that */
    char **keep;                 /* tags that retention keeps for ever */
    int64_t quota;               /* bytes of each repository; 0: none */
};

/* Bytes of all repositories that fit together. */
struct registry_quota {
    char **match;
    int64_t bytes;
};

/* Repositories below a prefix that are another registry's (mirror.h). */
struct registry_mirror {
    char *prefix, *upstream;   /* "hub", "docker.io" */
    char *username, *password; /* or NULL */
    int64_t ttl_ns, bytes;     /* bytes 0: no bound */
};

/* Who hears of pushes and deletions (notify.h). */
struct registry_webhook {
    char *name, *url, *secret; /* secret NULL: unsigned */
    char **match;              /* NULL: of all repositories */
    char **events;             /* "push", "delete"; NULL: of all */
};

/* What is copied to another registry (replicate.h). */
struct registry_replication {
    char *name, *target, *prefix; /* "west", "registry.west.example", before the names there or NULL */
    char *username, *password;    /* or NULL */
    char **match;                 /* NULL: all repositories */
    char **tags;                  /* NULL: all, and what has no tag */
    bool delete;                  /* what goes here goes there */
};

struct registry_policy {
    _Atomic int references;
    struct map users;  /* name -> crypt(3) hash */
    struct map groups; /* name -> list of users, through policy_free_list */
    char **admins;
    struct registry_rule *rules;
    size_t rule_count;
    struct registry_quota *quotas;
    size_t quota_count;
    struct registry_mirror *mirrors;
    size_t mirror_count;
    struct registry_webhook *webhooks;
    size_t webhook_count;
    struct registry_replication *replications;
    size_t replication_count;
    char *realm, *service; /* of tokens; NULL: from the request's Host */
    int64_t token_ns;      /* how long one holds */
    bool basic;            /* clients are asked for HTTP Basic authentication, not for a token */
};

struct registry_policy *registry_policy_new(void); /* one reference */
struct registry_policy *registry_policy_ref(struct registry_policy *p);
void registry_policy_unref(struct registry_policy *p);
static inline void registry_policy_unref_p(struct registry_policy **p)
{
    registry_policy_unref(*p);
}
#define _cleanup_policy_ _cleanup_(registry_policy_unref_p)
void registry_policy_free_list(void *list); /* a map's free_value for lists of strings */

/* The policy in place (a reference of the caller's), or NULL: everybody may do everything. */
struct registry_policy *registry_policy_get(struct registry *r);
void registry_policy_set(struct registry *r, struct registry_policy *p); /* takes the reference */

/* The rule that decides of a repository; NULL: none. */
const struct registry_rule *registry_policy_rule(const struct registry_policy *p, const char *repository);

/* A user's rights (enum registry_right) in a repository, NULL for who has not said who he is. */
unsigned registry_policy_rights(const struct registry_policy *p, const char *user, const char *repository);
bool registry_policy_is_admin(const struct registry_policy *p, const char *user);

const char *registry_right_name(enum registry_right right); /* "pull" */
/* "pull", "push", "delete", "admin", and the token specification's "*": with what it implies. 0: none. */
unsigned registry_right_parse(const char *name);

/* --- robots: accounts of programs --- */
enum { ROBOT_MAX = 10000, ROBOT_MAX_PATTERNS = 64, ROBOT_SECRET_BYTES = 4 + 64 + 1 };
#define ROBOT_PREFIX "robot+" /* before its name, where it logs in */

/* Makes one; its secret is told this once. ERR_CONFLICT when there is one of the name. `expires_ns` 0: never.
 */
int registry_robot_new(struct registry *r, const char *name, char *const *patterns, unsigned rights,
                       int64_t expires_ns, char ret_secret[ROBOT_SECRET_BYTES], struct err *err);
int registry_robot_revoke(struct registry *r, const char *name, struct err *err); /* ERR_NOT_FOUND */
/* [{"name", "repositories", "rights", "created", "expires"}], sorted by name. */
int registry_robot_list(struct registry *r, json_t **ret, struct err *err);
/* False: there is no such robot any more, or that is not its secret. */
bool registry_robot_accepts(struct registry *r, const char *name, const char *secret);
/* 0 as well for a robot that is no more. */
unsigned registry_robot_rights(struct registry *r, const char *name, const char *repository);

#endif
