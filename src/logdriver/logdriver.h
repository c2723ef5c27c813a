/* Log drivers: where a container's output goes besides its local log.
 *
 * The keeper writes every container's output to its local log (keeper/log_file.h), which is what `docker
 * logs` reads whatever the driver is. A driver that sends output elsewhere is a *shipper* here: it reads that
 * log behind the keeper and brings each line to its destination once (shipper.h). So no destination can hold
 * a container, or the keeper, back.
 *
 * The names, options and messages are Docker's. All functions may be called from any thread. */
#ifndef LOGDRIVER_LOGDRIVER_H
#define LOGDRIVER_LOGDRIVER_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum logdriver_type {
    LOGDRIVER_FLUENTD,
    LOGDRIVER_GELF,
    LOGDRIVER_JOURNALD,
    LOGDRIVER_JSON_FILE,
    LOGDRIVER_LOCAL,
    LOGDRIVER_NONE,
    LOGDRIVER_SYSLOG,
    LOGDRIVER_COUNT,
};

/* What drivers may tell of a container along with its lines. Borrowed. */
struct logdriver_info {
    const char *id, *name, *image_id, *image_name, *command;
    int64_t created_ns;
    const json_t *labels;  /* object, or NULL */
    const json_t *env;     /* array of "NAME=value", or NULL */
    const json_t *options; /* "LogConfig.Config" */
};

const char *const *logdriver_names(void); /* sorted, NULL-terminated */
int logdriver_find(const char *name, enum logdriver_type *ret, struct err *err);
/* Whether it has a destination besides the local log. */
bool logdriver_ships(enum logdriver_type type);

/* Checks a "LogConfig" as Docker does, with its messages. `options` may be NULL. */
int logdriver_check(const char *name, const json_t *options, struct err *err);

/* How the local log is kept. */
struct logdriver_local {
    int64_t max_bytes; /* 0: the default */
    int max_files;     /* 0: the default */
    bool compress;     /* rotated files: of json-file its own, otherwise the local log's */
    bool readable;     /* false: `docker logs` is refused, as without dual logging */
    bool kept;         /* false: there is none */
};
/* `options` have been checked. */
struct logdriver_local logdriver_local(enum logdriver_type type, const json_t *options);

/* The container's labels and environment variables that "labels", "labels-regex", "env" and "env-regex"
 * choose: an object of strings, empty when there are none. */
json_t *logdriver_attributes(const struct logdriver_info *info);
/* The option "tag", or `fallback`, with its {{...}} filled in. The caller frees. */
int logdriver_tag(const struct logdriver_info *info, const char *fallback, char **ret, struct err *err);

#endif
