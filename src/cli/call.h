/* Calls of the Docker Engine API over the server's unix socket. Each call has a connection of its own, so
 * that any thread may make one. */
#ifndef CLI_CALL_H
#define CLI_CALL_H

#include "base/err.h"
#include "base/str.h"
#include "http/client.h"

#include <jansson.h>

#define CLI_DEFAULT_SOCKET "/run/drover.sock"
#define CLI_API_VERSION    "/v1.51"

/* --dry-run: nothing is changed. A request that would change something is an error that names it. */
extern bool cli_dry_run;

/* Which server. Without a word: $DROVER_SOCKET, $DOCKER_HOST (unix:// only), the default. */
void cli_set_socket(const char *path);
int cli_set_host(const char *host, struct err *err);
int cli_socket(const char **ret, struct err *err);

/* Sends `body` (may be NULL) and gives the answer's JSON to `ret` (may be NULL; NULL for an empty answer).
 * The path is below the API version; parts of it that are not literals are escaped by cli_escape(). 304 is
 * -ERR_NOT_MODIFIED without a message. */
int cli_call(const char *method, const json_t *body, json_t **ret, struct err *err, const char *path, ...)
    __attribute__((format(printf, 5, 6)));
int cli_get(json_t **ret, struct err *err, const char *path, ...) __attribute__((format(printf, 3, 4)));

/* A call as struct http_call has it; `call->url` is filled in from `path`. A status that is no success is an
 * error. */
int cli_exchange(struct http_call *call, const char *path, struct http_response *ret, struct err *err);

/* A POST (or GET) whose answer is a stream of JSON lines; an {"error": ...} line becomes the error. */
typedef int (*cli_line_fn)(void *context, const json_t *line, struct err *err);
int cli_lines(struct http_call *call, const char *path, cli_line_fn line, void *context, struct err *err);

/* A raw stream, as attach and exec have. */
int cli_hijack(const json_t *body, int *ret_fd, struct str *ret_early, struct err *err, const char *path, ...)
    __attribute__((format(printf, 5, 6)));

char *cli_escape(const char *text); /* for a path or a query; the caller frees */
char *cli_escape_json(const json_t *value);

/* Prints the error as "drover: message" and gives the exit status. */
int cli_fail(const struct err *err);

#endif
