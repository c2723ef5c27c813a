/* The file that says to `drover serve` what its options say too, in the form of dockerd's daemon.json:
 *
 *     {"runtimes": {"crun": {"path": "/usr/bin/crun", "runtimeArgs": ["--debug"]}}, "default-runtime":
 * "crun", "insecure-registries": ["host:5000"], "log-level": "info", "userns-remap": "default",
 * "default-address-pools": [{"base": "10.10.0.0/16", "size": 24}], "log-driver": "syslog",
 * "log-opts": {"tag": "{{.Name}}"}}
 *
 * and what dockerd has not: {"registry-peers": ["node2.example:5000"]}.
 *
 * A key that is not done here is refused by its name. An option given on the command line goes before the
 * file; lists are added up. */
#ifndef CLI_SERVE_CONFIG_H
#define CLI_SERVE_CONFIG_H

#include "base/err.h"
#include "base/json.h"

#define SERVE_CONFIG_PATH "/etc/drover/serve.json"

struct serve_config {
    json_t *doc;           /* what the texts point into */
    json_t *runtimes;      /* never NULL */
    json_t *log_options;   /* never NULL */
    json_t *address_pools; /* [{"base", "size"}], never NULL */
    char **insecure_registries, **registry_peers;
    const char *default_runtime, *log_level, *userns_remap, *log_driver; /* or NULL */
};

/* `path` NULL: SERVE_CONFIG_PATH, which need not be there. */
int serve_config_load(const char *path, struct serve_config *ret, struct err *err);
/* "NAME=PATH" of --add-runtime. */
int serve_config_add_runtime(struct serve_config *c, const char *text, struct err *err);
/* "base=10.10.0.0/16,size=24" of --default-address-pool. */
int serve_config_add_pool(struct serve_config *c, const char *text, struct err *err);
/* "NAME=VALUE" of --log-opt. */
int serve_config_add_log_option(struct serve_config *c, const char *text, struct err *err);
void serve_config_done(struct serve_config *c);

#endif
