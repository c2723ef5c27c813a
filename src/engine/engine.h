/* The engine of one machine: containers with their networks, volumes, logs, health and restarts.
 *
 * Its documents are Docker's: a container is created from the body of `POST /containers/create` (Docker
 * Engine API, version 1.52), kept as validated, and shown as `GET /containers/{id}/json` shows it; the same
 * for networks and volumes. A field that is not supported and is set to other than its default is
 * ERR_UNSUPPORTED naming it, never ignored.
 *
 * State is <root>/engine.db (src/store); what runs is the keeper's. engine_open() brings both together:
 * containers the keeper still holds are running, those that ended meanwhile get their exit code, those that a
 * reboot took are started again when their restart policy says so. Any thread may call anything; a
 * container's changes are serialised by its own lock.
 *
 * JSON results are new references. `ref` is a name, a full id or a unique prefix. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "base/err.h"
#include "base/str.h"
#include "image/image.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct engine;

struct engine_config {
    const char *root;
    char *const *insecure_registries;
    const char *certs_dir; /* see images_trust() */
    /* Other OCI runtimes, as daemon.json has them: {NAME: {"path": ..., "runtimeArgs": [...]}}; or NULL. */
    const json_t *runtimes;
    const char *default_runtime; /* NULL: "native", our own */
    /* daemon.json's default-address-pools, [{"base": "10.10.0.0/16", "size": 24}]; NULL: Docker's own. */
    const json_t *address_pools;
    const char *userns_remap;  /* see engine/userns.h; NULL: no user namespaces unless a container asks */
    const char *log_driver;    /* of containers that name none; NULL: json-file */
    const json_t *log_options; /* of that driver; or NULL */
};
int engine_open(const struct engine_config *config, struct engine **ret, struct err *err);
void engine_close(struct engine *e); /* containers live on */
/* Ends what an instance leaves running on purpose: keeper, DNS process, bridges, rules. ERR_CONFLICT while
 * serve or a container runs on `root`. */
int engine_shutdown(const char *root, struct err *err);
/* Replaces the keeper, which holds the containers, by the binary at `path`; they run on. */
int engine_upgrade_keeper(struct engine *e, const char *path, struct err *err);
struct images *engine_images(struct engine *e);
const char *engine_root(struct engine *e);
int64_t engine_keeper_silence_ns(struct engine *e); /* keeper_silence_ns() */
/* A directory in memory for what must not reach a disk; it outlives serve, not the machine. */
int engine_memory(struct engine *e, char **ret_path, struct err *err);

/* A name for what was given none, as Docker makes them; another one for each attempt. The caller frees. */
char *engine_random_name(unsigned attempt);

/* --- containers --- */
enum engine_create_flags {
    ENGINE_CREATE_SHALLOW_READ_ONLY = 1, /* a read-only bind leaves what is mounted below it writable */
    ENGINE_CREATE_TASK = 2, /* a service's: it may be on overlay networks that are not attachable */
    ENGINE_CREATE_STEP = 4, /* of a build: goes at a start of serve unless it has been kept */
};
int engine_container_create(struct engine *e, const char *name_or_null, const json_t *body,
                            const char *platform, unsigned flags, char **ret_id, json_t **ret_warnings,
                            struct err *err);
int engine_container_start(struct engine *e, const char *ref,
                           struct err *err); /* ERR_NOT_MODIFIED when running */
/* timeout_s: <0 the container's own (default 10); signal NULL: its own. ERR_NOT_MODIFIED when not running. */
int engine_container_stop(struct engine *e, const char *ref, int timeout_s, const char *signal,
                          struct err *err);
int engine_container_restart(struct engine *e, const char *ref, int timeout_s, const char *signal,
                             struct err *err);
int engine_container_kill(struct engine *e, const char *ref, const char *signal, struct err *err);
int engine_container_pause(struct engine *e, const char *ref, bool paused, struct err *err);
int engine_container_rename(struct engine *e, const char *ref, const char *name, struct err *err);
int engine_container_update(struct engine *e, const char *ref, const json_t *body, json_t **ret,
                            struct err *err);
int engine_container_remove(struct engine *e, const char *ref, bool force, bool volumes, struct err *err);
/* `ref`: "parent/alias". The container behind the alias stays. */
int engine_container_unlink(struct engine *e, const char *ref, struct err *err);
enum engine_inspect_flags {
    ENGINE_INSPECT_SIZES = 1,     /* SizeRw and SizeRootFs */
    ENGINE_INSPECT_ALIAS_IDS = 2, /* Aliases have the short id and the host name too, as before API 1.45 */
    ENGINE_INSPECT_REPEATED = 4,  /* what other fields say again, or nothing has said for long: before 1.52 */
};
int engine_container_inspect(struct engine *e, const char *ref, unsigned flags, json_t **ret,
                             struct err *err);
/* The same without sizes, as a line of JSON text: one that has not changed is not made again; appends to
 * `ret`. */
int engine_container_inspect_text(struct engine *e, const char *ref, unsigned flags, struct str *ret,
                                  struct err *err);
/* filters: Docker's {"label":{"x=y":true}} or {"label":["x=y"]}, already parsed, or NULL. */
/* The list without filters and sizes, as JSON text: lines that have not changed are not made again. False
 * when it cannot be had so (engine_container_list then); appends to `ret`. */
bool engine_container_list_text(struct engine *e, bool all, int limit, struct str *ret);
int engine_container_list(struct engine *e, bool all, int limit, bool size, const json_t *filters,
                          json_t **ret, struct err *err);
int engine_container_prune(struct engine *e, const json_t *filters, json_t **ret, struct err *err);
int engine_container_top(struct engine *e, const char *ref, const char *ps_args, json_t **ret,
                         struct err *err);
int engine_container_changes(struct engine *e, const char *ref, json_t **ret, struct err *err);
/* One sample in the form of GET /containers/{id}/stats; `previous` (may be NULL) fills precpu_stats. */
int engine_container_stats(struct engine *e, const char *ref, const json_t *previous, json_t **ret,
                           struct err *err);
/* `config`: the image's, completed from the container's; NULL for the container's. */
int engine_container_commit(struct engine *e, const char *ref, const char *reference, const char *comment,
                            const char *author, const json_t *config, bool pause, char **ret_image_id,
                            struct err *err);

/* condition: "not-running", "next-exit", "removed". Registers at once (so that a start after the call's begin
 * is seen); `gone` (may be NULL) is asked every second or so whether the waiter has left. `ready` (may be
 * NULL) is called once registered. */
int engine_container_wait(struct engine *e, const char *ref, const char *condition, bool (*gone)(void *),
                          void *gone_context, void (*ready)(void *), int *ret_status, struct err *err);

/* Returns when the container does not run, or has run for a fifth of a second: for what a short program has
 * printed or changed. */
void engine_container_settle(struct engine *e, const char *ref);
/* Returns when somebody listens on a TCP port that it publishes, when it does not run, or has run for a
 * tenth of a second. At once when it publishes none. */
void engine_container_await_port(struct engine *e, const char *ref);

/* A stream to the container's first process (may be attached before start): see keeper_attach for its form.
 * The caller closes *ret_fd. tty tells whether frames' headers are to be taken off. */
int engine_container_attach(struct engine *e, const char *ref, int keeper_attach_flags, int *ret_fd,
                            bool *ret_tty, struct err *err);
/* Tells, as an event, that a client has left a running process by its detach keys. exec_id may be NULL. */
void engine_container_detached(struct engine *e, const char *ref, const char *exec_id);
int engine_container_resize(struct engine *e, const char *ref, int rows, int columns, struct err *err);

/* Logs: calls `line` for each kept piece of output (stream 1 or 2; time; bytes, usually with their newline).
 * follow ends with the container, or when `line` returns non-zero or `gone` says so. */
struct engine_logs {
    bool follow, out, err_stream;
    int64_t since_ns, until_ns; /* 0: unbounded */
    int64_t tail;               /* <0: all */
    void *context;
    /* May be NULL. Called once, before the first line: from here on all that was logged is told, also when
     * the container is removed meanwhile. */
    void (*begin)(void *context, bool tty);
    /* May be NULL. What the log options choose to be told with each line: an object of strings. */
    void (*details)(void *context, const json_t *attributes);
    int (*line)(void *context, int stream, int64_t at_ns, const void *bytes, size_t n);
    bool (*gone)(void *context);
};
int engine_container_logs(struct engine *e, const char *ref, const struct engine_logs *logs, bool *ret_tty,
                          struct err *err);
/* Only whether the container has a terminal, so that the answer's head can be sent before the first line. */
int engine_container_tty(struct engine *e, const char *ref, bool *ret_tty, struct err *err);

/* docker cp. stat: the JSON of X-Docker-Container-Path-Stat. */
int engine_archive_stat(struct engine *e, const char *ref, const char *path, json_t **ret, struct err *err);
typedef int (*engine_write_fn)(void *context, const void *bytes, size_t n, struct err *err);
typedef ssize_t (*engine_read_fn)(void *context, void *buffer, size_t n, struct err *err);
int engine_archive_get(struct engine *e, const char *ref, const char *path, engine_write_fn write,
                       void *context, struct err *err);
int engine_archive_put(struct engine *e, const char *ref, const char *path, bool no_overwrite,
                       bool copy_owner, engine_read_fn read, void *context, struct err *err);
int engine_container_export(struct engine *e, const char *ref, engine_write_fn write, void *context,
                            struct err *err);

/* --- exec --- */
int engine_exec_create(struct engine *e, const char *ref, const json_t *body, char **ret_exec_id,
                       struct err *err);
/* detach: *ret_fd is -EBADF. missing_code: the exit code of an exec whose program is not there. */
int engine_exec_start(struct engine *e, const char *exec_id, bool detach, int missing_code, int rows,
                      int columns, int *ret_fd, struct err *err);
/* ERR_UNAVAILABLE: it is still to be started. */
int engine_exec_resize(struct engine *e, const char *exec_id, int rows, int columns, struct err *err);
int engine_exec_inspect(struct engine *e, const char *exec_id, json_t **ret, struct err *err);

/* --- networks, volumes: Docker's bodies in, Docker's documents out --- */
int engine_network_create(struct engine *e, const json_t *body, char **ret_id, json_t **ret_warning,
                          struct err *err);
/* A network of scope "swarm" (the driver is "overlay", also when the body names none): for the part that has
 * services, since engine_network_create() refuses those of a machine that is in no swarm. It is a bridge of
 * this machine's; nothing is encapsulated. The body may have an "Id" of 1 to 64 of [a-z0-9], so that it is
 * one network on all machines. Without a subnet it gets one of engine_swarm_pools(). ERR_CONFLICT: the name
 * is taken. */
int engine_network_create_swarm(struct engine *e, const json_t *body, char **ret_id, json_t **ret_warning,
                                struct err *err);
/* The pools that these subnets are of `size` bits from: ["10.0.0.0/8"], of IPv4. What was not checked is not
 * given. */
int engine_swarm_pools_check(const json_t *bases, int size, struct err *err);
void engine_swarm_pools(struct engine *e, const json_t *bases, int size);
int engine_network_list(struct engine *e, const json_t *filters, json_t **ret, struct err *err);
int engine_network_inspect(struct engine *e, const char *ref, json_t **ret, struct err *err);
int engine_network_remove(struct engine *e, const char *ref, struct err *err);
int engine_network_connect(struct engine *e, const char *ref, const json_t *body, struct err *err);
int engine_network_disconnect(struct engine *e, const char *ref, const json_t *body, struct err *err);
int engine_network_prune(struct engine *e, const json_t *filters, json_t **ret, struct err *err);
int engine_volume_create(struct engine *e, const json_t *body, json_t **ret, struct err *err);
int engine_volume_list(struct engine *e, const json_t *filters, json_t **ret, struct err *err);
int engine_volume_inspect(struct engine *e, const char *name, json_t **ret, struct err *err);
int engine_volume_remove(struct engine *e, const char *name, bool force, struct err *err);
int engine_volume_prune(struct engine *e, const json_t *filters, json_t **ret, struct err *err);

/* --- containers that are no tasks, on networks of a swarm --- */
/* One of them: {"Network": id, "Container": id, "Run": id of the endpoint, "Names": [], "Address":
 * "10.0.1.7", or "" when it has none yet}. The swarm chooses the address, for all machines: as a container
 * starts or is connected it is asked for, with the one that is wished as "Address". `wait`: it may take
 * seconds; otherwise ERR_UNAVAILABLE when it would, and the swarm sees to it (engine_attachments() lists it)
 * until it is asked again. No lock is held but the container's own. */
typedef int engine_attach_fn(void *context, const json_t *attachment, bool wait, char **ret_address,
                             struct err *err);
/* NULL: waits until nobody is asking. Before the first, no container on such a network is started. */
void engine_set_attach(struct engine *e, engine_attach_fn *ask, void *context);
/* All that there are now, or will be soon: of containers that run, start, or wait for their restart. Whenever
 * that changes there is an event: "connect" or "disconnect" of a network, "rename" of a container. */
json_t *engine_attachments(struct engine *e);

/* --- the rest --- */
/* Events in Docker's form. Past ones (bounded memory of them) since `since_ns`, then live ones until
 * `until_ns` (0: for ever), until `event` returns non-zero or `gone` says so. */
/* ERR_INVALID for a filter that there is not; to be asked before the first event is sent. */
int engine_events_check(const json_t *filters, struct err *err);
int engine_events(struct engine *e, int64_t since_ns, int64_t until_ns, const json_t *filters, void *context,
                  int (*event)(void *context, const json_t *event), bool (*gone)(void *context),
                  struct err *err);
/* Publishes one: for what happens above the engine (image pull, tag, ...). actor_attributes may be NULL;
 * borrowed. */
void engine_event(struct engine *e, const char *type, const char *action, const char *actor_id,
                  const json_t *actor_attributes);
/* What containers take of this machine, for who places others: [{Id, Name, Image, Labels, Stays}], and of
 * those that stay (they run, or may be started at any time) NanoCPUs, MemoryBytes, Ports: ["8080/tcp"]. */
json_t *engine_occupied(struct engine *e);
/* What the HostConfig of a container has kept free for it: its --cpus; its --memory-reservation, else its
 * --memory. 0: nothing. */
void engine_reservations(const json_t *host, int64_t *ret_cpu_nano, int64_t *ret_memory_bytes);
/* GET /info; `features`: with what each runtime says of itself. */
int engine_info(struct engine *e, bool features, json_t **ret, struct err *err);
/* The containers and volumes of GET /system/df with their sizes; null for what is not asked. */
int engine_disk_usage(struct engine *e, bool containers, bool volumes, json_t **ret, struct err *err);
/* Adds the ids of images that containers have mounted. */
struct map;
void engine_images_mounted(struct engine *e, struct map *ids);
/* docker rmi with the engine's knowledge of which containers use an image. `freed`: see struct image_removal.
 */
int engine_image_remove(struct engine *e, const char *name, bool force, bool keep_parents, json_t **ret_log,
                        int64_t *freed, struct err *err);
/* An event of an image, with its labels. `id` is what the event is about: an image's id, or for what comes
 * and goes by name (pull, push) its name. */
void engine_image_event(struct engine *e, const char *action, const char *id, const char *name);

/* A bakery's run function: context is the engine. */
struct bakery_run;
int engine_build_run(void *engine, const struct bakery_run *run, int *ret_status, struct err *err);

/* Directories of RUN --mount=type=cache: they outlive builds, in no image. */
struct engine_build_cache {
    char *id, *mount_id; /* its own name; what the mount calls it */
    int64_t created_ns, used_ns, uses, size_bytes;
    bool in_use; /* by a step that runs */
};
int engine_build_caches(struct engine *e, struct engine_build_cache **ret, size_t *ret_count,
                        struct err *err);
void engine_build_caches_free(struct engine_build_cache *list, size_t count);
/* ERR_CONFLICT while a step uses it. */
int engine_build_cache_remove(struct engine *e, const char *id, struct err *err);

/* The fields of Docker's bodies and whether they are done, as tables in Markdown. */
void engine_schema_document(struct str *out);
/* Gives fields of one of Docker's bodies that were named in small letters their own names. NULL does nothing.
 */
void engine_fit_names(json_t *body);

#endif
