/* What the resources share. */
#ifndef API_API_PRIV_H
#define API_API_PRIV_H

#include "api/api.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"
#include "image/image.h"

struct api {
    struct engine *engine;
    struct cluster *cluster;
    struct images *images;
    struct registry *registry; /* or NULL */
    struct build_sessions *builds;
    struct build_limit *limit;
    struct http_server_config of_nodes; /* how requests are answered that other nodes of the swarm pass on */
};

/* The need of routes that the swarm's leader answers. */
#define API_NEEDS_LEADER "leader"

enum { API_BODY_MAX = 4 << 20 };

/* common.c */
/* The version to answer in: of the path, or the newest when it has none; 1047 for 1.47. */
int api__version(struct http_request *q);
/* The same where 1.52 takes something away: programs that name no version were written when it was there. */
int api__shown_version(struct http_request *q);
bool api__gone(void *request); /* http_peer_gone for the engine's callbacks */
/* The query's "filters" (JSON), NULL when absent. */
int api__filters(struct http_request *q, json_t **ret, struct err *err);
/* Whether `filters` has the name, and (value not NULL) this value of it. Both of Docker's forms. */
bool api__filter_has(const json_t *filters, const char *name, const char *value);
char **api__filter_values(const json_t *filters, const char *name); /* the caller frees */
/* A filter that is a boolean, in Docker's words ("1", "true", "0", "false"); untouched when absent. */
int api__filter_bool(const json_t *filters, const char *name, bool *ret, struct err *err);
int api__filters_known(const json_t *filters, const char *const *names, struct err *err);
int api__query_i64(struct http_request *q, const char *name, int64_t min, int64_t max, int64_t *ret,
                   struct err *err);
/* A terminal's size, "h" and "w", both needed. */
int api__query_size(struct http_request *q, int *ret_rows, int *ret_columns, struct err *err);
/* A point in time as Docker's clients send it: "1700000000[.123456789]", RFC 3339, or a duration that ended
 * now ("10m"). Untouched when absent or empty. */
int api__query_time(struct http_request *q, const char *name, int64_t *ret_ns, struct err *err);
int api__time(const char *text, int64_t *ret_ns, struct err *err);
/* The body as a JSON object; an absent one is ERR_INVALID, or NULL when `optional`. */
int api__body(struct http_request *q, bool optional, json_t **ret, struct err *err);
/* The same, with the names of Docker's fields as Docker writes them: clients write them in any case. */
int api__docker_body(struct http_request *q, bool optional, json_t **ret, struct err *err);
/* Adds to an error of a full disk what to do. */
void api__advise(struct err *err);
/* Dockerfile references of a query apart: "repo" and "tag" (which may be a digest) as one reference. */
int api__join_reference(const char *name, const char *tag, char **ret, struct err *err);
int api__refuse_query(struct http_request *q, const char *name, struct err *err); /* 501 when set */
int api__base64_decode(const char *text, struct str *ret, struct err *err);       /* plain or URL alphabet */

/* Puts the query's "changes" (Dockerfile instructions, for commit and import) into *config, a Docker "config"
 * object that is made when NULL. */
int api__apply_changes(struct http_request *q, json_t **config, struct err *err);

/* create_version.c: makes `body` mean in this version what its client means by it in its own. *ret_flags:
 * enum engine_create_flags; to `warnings` goes what the answer warns of. */
int api__fit_create(json_t *body, int version, unsigned *ret_flags, json_t *warnings, struct err *err);

/* forward.c: when the route is the leader's to answer and this node is not it, has it do that: true. */
bool api__forward(struct http_request *q, struct api *a);
/* Another request in its place, which the leader answers. */
int api__pass_on(struct http_request *q, struct api *a, const char *method, const char *target,
                 const json_t *body, struct err *err);

/* buildkit.c */
#define API_NO_BUILDKIT                                                                                      \
    "BuildKit's protocol is not spoken by Drover: build with DOCKER_BUILDKIT=0, or drover build"
/* Answers each gRPC call of an HTTP/2 connection with an error, until the client has gone. */
void api__buildkit_refuse(int fd, const char *early, size_t early_bytes);

/* platform.c: the query's "platform", an OCI platform as JSON; NULL: none, or before the version. */
int api__platform_asked(struct http_request *q, int since_version, json_t **ret, struct err *err);
/* Likewise "platforms", which may be given several times, as a list. */
int api__platforms_asked(struct http_request *q, int since_version, json_t **ret, struct err *err);
char *api__platform_text(const json_t *platform); /* "linux/arm64/v8" */
/* ERR_NOT_FOUND in Docker's words unless the image is for it; NULL: any will do. */
int api__platform_check(const struct image_info *info, const char *reference, const json_t *platform,
                        struct err *err);
/* The image of the route's "name", which has to be for the platform that is asked for. */
int api__image_of(struct http_request *q, struct api *a, int since_version, struct image_info *ret,
                  struct err *err);

/* image_json.c: images in Docker's forms. */
json_t *api__image_inspect(struct images *im, const struct image_info *info, int version);
/* As GET /images/json lists it, under those of its names that are given. */
json_t *api__image_summary(const struct image_info *info, char *const *tags, char *const *digests,
                           int version);
json_t *api__familiar_list(char *const *references);

/* docker_images.c: the event of a prune, which says what it gave back. */
void api__tell_pruned(struct api *a, const char *type, int64_t reclaimed);

/* docker_usage.c: how many containers each image has, by its id, as an intptr_t. */
struct map;
int api__count_image_users(struct api *a, struct map *users, struct err *err);

/* usage_count.c: adds the form of 1.52 to an answer of /system/df; `verbose`: in place of the older one,
 * which who asks so does not need. `layers`: what all images' layers take. */
void api__add_usages(json_t *out, int64_t layers, bool verbose);

/* The least recently used of the build cache goes until it takes no more than `max_bytes` (0:
 * no bound), and what was not used since then (0: no bound). */
int api__limit_build_cache(struct api *a, int64_t max_bytes, int64_t unused_since_ns, struct err *err);

/* Caches that RUN mounted and that no build has used since then go, the oldest first, until so much is free.
 */
int api__reclaim_build_mounts(struct api *a, int64_t bytes, int64_t unused_since_ns, int64_t *freed,
                              struct err *err);

/* auth.c: credentials that come with a request. */
struct api_auth {
    json_t *document;
    struct image_auth auth; /* points into it */
};
void api__auth_done(struct api_auth *a);
/* X-Registry-Auth; empty when absent. */
int api__auth_of_request(struct http_request *q, struct api_auth *ret, struct err *err);
/* The same for a push, whose body holds them in the form of the oldest clients. */
int api__auth_of_push(struct http_request *q, struct api_auth *ret, struct err *err);
int api__registry_config(struct http_request *q, json_t **ret, struct err *err); /* NULL when absent */
/* One entry of X-Registry-Config ({"registry": {...}}) for the registry of `reference`. `config` may be NULL.
 */
struct image_auth api__auth_of_config(const json_t *config, const char *reference);

/* progress.c: a stream of JSON messages, begun with its first one, so that an error before it is still an
 * HTTP status. Its functions may be called from several threads. */
struct api_progress;
struct api_progress *api__progress_new(struct http_request *q, bool quiet);
void api__progress_free(struct api_progress *p);
static inline void api__progress_free_p(struct api_progress **p)
{
    api__progress_free(*p);
}
#define _cleanup_progress_ _cleanup_(api__progress_free_p)
/* Takes `message`, which goes before the first one there will be. */
void api__progress_open_with(struct api_progress *p, json_t *message);
/* Takes `message`; non-zero when the client has gone. */
int api__progress_send(struct api_progress *p, json_t *message);
int api__progress_status(struct api_progress *p, const char *id, const char *status);
/* For the image functions: limits the rate; `context` is the progress. */
struct image_progress api__progress_image(struct api_progress *p);
/* Ends the stream with an error; returns 0, or the error itself when nothing was sent yet (then it is the
 * request's answer). */
int api__progress_fail(struct api_progress *p, struct err *err);
/* The same with the exit code of a program that failed, which becomes the client's own; 0: none did. */
int api__progress_fail_with(struct api_progress *p, struct err *err, int exit_code);
void api__progress_end(struct api_progress *p);

/* docker_archives.c: POST /images/create?fromSrc=... */
int api__image_import(struct http_request *q, struct api *a, const char *source, struct api_progress *p,
                      struct err *err);

/* relay.c: a taken-over connection and a process's stream (keeper.h, keeper_attach) until either ends. */
struct api_relay {
    int client_fd, process_fd; /* both stay the caller's */
    bool raw;                  /* the client gets plain bytes instead of frames */
    bool tty;                  /* the process has a terminal, and the client's keys may detach */
    bool want_stdin;           /* the client's bytes go to the process */
    unsigned leave_out;        /* bit n: stream n is not passed on */
    bool ends_with_input;      /* when these end, so does the stream; the process is told nothing */
    struct api_ws *ws;         /* the client speaks WebSocket; NULL: bytes */
    const char *detach_keys;   /* NULL: Docker's ctrl-p,ctrl-q; only with tty and want_stdin */
    const struct str *early;   /* what the client had sent before */
};
/* How it ended: the process's side did, the client typed its detach keys, or the client's side did. */
enum api_relay_end { RELAY_PROCESS_ENDED, RELAY_DETACHED, RELAY_CLIENT_ENDED };
int api__relay(const struct api_relay *r, enum api_relay_end *ret_end, struct err *err);
int api__detach_keys_parse(const char *text, struct str *ret, struct err *err);
/* ERR_INVALID in Docker's words when these are none; `what` is "detach" or "escape". */
int api__detach_keys_check(const char *text, const char *what, struct err *err);
/* One frame of Docker's stream format. */
void api__frame(struct str *out, int stream, const void *bytes, size_t n);

/* ws.c: the server's side of WebSocket (RFC 6455), as a codec of bytes. Frames of a client may come in any
 * pieces and fragments; its text and binary frames are one stream of bytes here. */
struct api_ws {
    bool binary; /* the form of our own frames */
    unsigned char head[14];
    size_t head_have;
    uint64_t left; /* of the present frame */
    size_t mask_at;
    bool in_message, ended;
    struct str control; /* a control frame's content */
};
/* Switches the connection to the protocol; see http_hijack. ERR_INVALID when the request does not ask for it.
 */
int api__ws_accept(struct http_request *q, int *ret_fd, struct str *ret_early, struct err *err);
/* Takes what has come: the stream's bytes go to `in`, frames to be sent to `out`. False at the connection's
 * end: closed by the client, or for nonsense. */
bool api__ws_decode(struct api_ws *ws, const char *bytes, size_t n, struct str *in, struct str *out);
void api__ws_encode(struct api_ws *ws, const void *bytes, size_t n, struct str *out);
void api__ws_close(struct api_ws *ws, struct str *out); /* once, unless the client has */
void api__ws_done(struct api_ws *ws);

/* pipe.c: functions that want a descriptor, over a request's body or answer. */
/* Runs `produce(context, fd)` and sends what it writes as a stream of `content_type`. */
int api__stream_out(struct http_request *q, const char *content_type,
                    int (*produce)(void *context, int fd, struct err *err), void *context, struct err *err);
/* Runs `consume(context, fd)` where fd gives the request's body. */
int api__stream_in(struct http_request *q, int (*consume)(void *context, int fd, struct err *err),
                   void *context, struct err *err);

/* The handlers. */
#define API_HANDLER(name) int name(struct http_request *q, void *context, struct err *err)
API_HANDLER(api_ping);
API_HANDLER(api_version);
API_HANDLER(api_info);
API_HANDLER(api_events);
API_HANDLER(api_disk_usage);
API_HANDLER(api_login);
API_HANDLER(api_upgrade);
API_HANDLER(api_robot_list);
API_HANDLER(api_robot_create);
API_HANDLER(api_robot_revoke);
API_HANDLER(api_registry_usage);
API_HANDLER(api_registry_gc);
API_HANDLER(api_registry_deliveries);
API_HANDLER(api_registry_replication);
API_HANDLER(api_registry_replicate_all);
API_HANDLER(api_registry_retention);
API_HANDLER(api_container_list);
API_HANDLER(api_container_create);
API_HANDLER(api_container_inspect);
API_HANDLER(api_container_start);
API_HANDLER(api_container_stop);
API_HANDLER(api_container_restart);
API_HANDLER(api_container_kill);
API_HANDLER(api_container_pause);
API_HANDLER(api_container_unpause);
API_HANDLER(api_container_rename);
API_HANDLER(api_container_update);
API_HANDLER(api_container_remove);
API_HANDLER(api_container_prune);
API_HANDLER(api_container_top);
API_HANDLER(api_container_changes);
API_HANDLER(api_container_commit);
API_HANDLER(api_container_wait);
API_HANDLER(api_container_attach);
API_HANDLER(api_container_attach_ws);
API_HANDLER(api_container_logs);
API_HANDLER(api_container_resize);
API_HANDLER(api_container_stats);
API_HANDLER(api_container_export);
API_HANDLER(api_archive_stat);
API_HANDLER(api_archive_get);
API_HANDLER(api_archive_put);
API_HANDLER(api_container_copy);
API_HANDLER(api_exec_create);
API_HANDLER(api_exec_start);
API_HANDLER(api_exec_resize);
API_HANDLER(api_exec_inspect);
API_HANDLER(api_image_list);
API_HANDLER(api_image_inspect);
API_HANDLER(api_image_history);
API_HANDLER(api_image_tag);
API_HANDLER(api_image_remove);
API_HANDLER(api_image_prune);
API_HANDLER(api_image_create);
API_HANDLER(api_image_push);
API_HANDLER(api_image_load);
API_HANDLER(api_image_search);
API_HANDLER(api_image_save);
API_HANDLER(api_distribution);
API_HANDLER(api_build);
API_HANDLER(api_build_prune);
API_HANDLER(api_builds_open);
API_HANDLER(api_builds_close);
API_HANDLER(api_builds_context);
API_HANDLER(api_index_get);
API_HANDLER(api_index_push);
API_HANDLER(api_builds_cache_in);
API_HANDLER(api_builds_cache_out);
API_HANDLER(api_builds_agent);
API_HANDLER(api_image_sbom);
API_HANDLER(api_image_tree);
API_HANDLER(api_image_verify);
API_HANDLER(api_content_image);
API_HANDLER(api_content_get);
API_HANDLER(api_content_missing);
API_HANDLER(api_content_put);
API_HANDLER(api_content_install);
API_HANDLER(api_build_cancel);
API_HANDLER(api_buildkit_session);
API_HANDLER(api_buildkit_grpc);
API_HANDLER(api_swarm_inspect);
API_HANDLER(api_swarm_unlock_key);
API_HANDLER(api_swarm_init);
API_HANDLER(api_swarm_join);
API_HANDLER(api_swarm_leave);
API_HANDLER(api_swarm_update);
API_HANDLER(api_swarm_unlock);
API_HANDLER(api_swarm_client);
API_HANDLER(api_swarm_client_list);
API_HANDLER(api_swarm_client_revoke);
API_HANDLER(api_occupied);
API_HANDLER(api_service_versions);
API_HANDLER(api_service_rollback);
API_HANDLER(api_explain);
API_HANDLER(api_plan);
API_HANDLER(api_strategy_list);
API_HANDLER(api_strategy_get);
API_HANDLER(api_strategy_put);
API_HANDLER(api_strategy_remove);
API_HANDLER(api_strategy_choose);
API_HANDLER(api_rebalance_get);
API_HANDLER(api_rebalance_set);
API_HANDLER(api_health_get);
API_HANDLER(api_health_set);
API_HANDLER(api_node_list);
API_HANDLER(api_node_inspect);
API_HANDLER(api_node_remove);
API_HANDLER(api_node_update);
API_HANDLER(api_service_list);
API_HANDLER(api_service_create);
API_HANDLER(api_service_inspect);
API_HANDLER(api_service_remove);
API_HANDLER(api_service_update);
API_HANDLER(api_service_logs);
API_HANDLER(api_task_list);
API_HANDLER(api_task_inspect);
API_HANDLER(api_task_logs);
API_HANDLER(api_secret_list);
API_HANDLER(api_secret_create);
API_HANDLER(api_secret_inspect);
API_HANDLER(api_secret_remove);
API_HANDLER(api_secret_update);
API_HANDLER(api_config_list);
API_HANDLER(api_config_create);
API_HANDLER(api_config_inspect);
API_HANDLER(api_config_remove);
API_HANDLER(api_config_update);
API_HANDLER(api_plugin_list);
API_HANDLER(api_plugin_missing);
API_HANDLER(api_plugin_set);
API_HANDLER(api_plugin_install);
API_HANDLER(api_network_list);
API_HANDLER(api_network_inspect);
API_HANDLER(api_network_create);
API_HANDLER(api_network_remove);
API_HANDLER(api_network_connect);
API_HANDLER(api_network_disconnect);
API_HANDLER(api_network_prune);
API_HANDLER(api_swarm_network_create);
API_HANDLER(api_swarm_network_remove);
API_HANDLER(api_volume_list);
API_HANDLER(api_volume_inspect);
API_HANDLER(api_volume_create);
API_HANDLER(api_volume_remove);
API_HANDLER(api_volume_prune);

#endif
