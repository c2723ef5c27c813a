/* The registry's configuration file (`--registry-config FILE`, docs/registry.md), read into a policy.
 *
 * YAML; every key is known or an error, which names file, line and column. The file is read again when it, or
 * a file that it names, has changed, at the next request, and on SIGHUP. A version that is wrong changes
 * nothing: it is logged, once, and the policy before it stays in place. Any thread. */
#ifndef API_REGISTRY_CONFIG_H
#define API_REGISTRY_CONFIG_H

#include "base/err.h"

struct registry;
struct registry_config;
struct registry_policy;

/* A policy out of the text of such a file; `path` is for messages and for the names in it. `ret_files` gets
 * the other files that were read. Both are the caller's. */
int registry_config_parse(const char *path, const char *text, size_t n, struct registry_policy **ret,
                          char ***ret_files, struct err *err);
/* A policy of nothing but users, who may do everything: a file as htpasswd -B makes it. */
int registry_config_of_users(const char *path, struct registry_policy **ret, struct err *err);

/* Reads it and puts the policy in place; then watches it. `config` or `users` is given. */
int registry_config_open(struct registry *r, const char *config, const char *users,
                         struct registry_config **ret, struct err *err);
void registry_config_free(struct registry_config *c);
/* Reads again what has changed. */
void registry_config_refresh(struct registry_config *c);
/* The same whether it has changed or not, and tells what is wrong with it. */
int registry_config_reload(struct registry_config *c, struct err *err);

#endif
