/* What the files of the engine share.
 *
 * Locks, outermost first; whoever holds a later one never takes an earlier one:
 *     container.op    serialises what changes a container's life: start, exit, remove, rename, update,
 * connect engine.lock     the tables: containers, names, networks with their addresses, volumes, execs
 *     container.lock  a container's fields; short, never held over a call that can block
 * The keeper's exits are handled on its client's dispatching thread, which no request waits for (answers come
 * on another), so that it may wait for a lock that is held by a request to the keeper.
 *
 * A container is counted: container__find() gives a reference, container__unref() returns it; the table holds
 * one. Its documents are kept as text and parsed on demand: a container costs a few kilobytes at rest. */
#ifndef ENGINE_ENGINE_PRIV_H
#define ENGINE_ENGINE_PRIV_H

#include "base/json.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "engine/engine.h"
#include "keeper/keeper.h"
#include "logdriver/shipper.h"
#include "net/net.h"
#include "store/store.h"

#include <pthread.h>
#include <stdatomic.h>

enum container_status {
    STATUS_CREATED,
    STATUS_RUNNING,
    STATUS_PAUSED,
    STATUS_RESTARTING,
    STATUS_REMOVING,
    STATUS_EXITED,
    STATUS_DEAD,
};

struct container_state {
    enum container_status status;
    pid_t pid;
    int exit_code;
    int restart_count;
    bool oom_killed;
    bool stopped_by_user; /* since its last start: restart policies respect it */
    int64_t started_ns, finished_ns;
    char *error; /* of the last start, or NULL */
};

struct health; /* health.c */

enum { PENDING_ATTACH_MAX = 4, SPARES_MAX = 128 };

/* In a container's directory, see image_snapshot_create(): without it there is no container. */
#define CONTAINER_UPPER "upper"

struct container {
    atomic_int refs;
    struct engine *engine;
    char id[65];
    char *name; /* guarded by engine.lock */
    int64_t created_ns;
    pthread_mutex_t op, lock;
    pthread_cond_t changed;
    char *doc;             /* {"Config","HostConfig","Image","MountPoints",...}, as text */
    json_t *parsed;        /* the same, for the first who asks after the creation; or NULL */
    char *net;             /* {"Networks","Ports"}: Docker's endpoint settings, as text */
    bool net_has_run;      /* there is something of a run in it: see endpoint__release_all() */
    uint64_t revision;     /* of doc and net, which goes up with each change */
    char *line, *line_key; /* in the list, as text, and what it was made of; see list.c */
    struct {
        char *text, *key; /* an answer to an inspection, and what it was made of; see inspect.c */
    } answers[3];
    struct keeper_counters lost; /* as the keeper told last, of which run, and until when that will do */
    int64_t lost_run_ns, lost_until_ns;
    char *image_id; /* or "" */
    char **volumes; /* names of the named volumes it uses */
    char **images;  /* ids of those that it has mounted */
    struct container_state state;
    uint64_t exits; /* how often it has ended, for "next-exit" */
    bool removing, removed;
    unsigned log_readers; /* that its removal waits for (remove.c) */
    bool forget_due;      /* the keeper still has its last exit; guarded by container.op */
    enum logdriver_type log_driver;
    bool tty, auto_remove, restarts; /* restarts: its policy is other than "no" */
    /* What it writes to its root need not outlive the machine's going down, since its files are removed at
     * its end, and after a crash before anybody could look. Its root is mounted without ever being synced,
     * but by another runtime. */
    bool is_volatile;
    json_t *labels; /* of Config; what events tell without the whole document */
    char *image_name, *hostname;
    int64_t backoff_ns;    /* before the next automatic restart */
    int64_t restart_at_ns; /* monotonic; 0: none is due */
    struct health *health; /* or NULL */
    char *last_health;     /* of its last run, as shown; guarded as `health` is */
    struct {
        int fd, flags;
    } pending[PENDING_ATTACH_MAX]; /* attached before the start */
    size_t pending_count;
    char **execs; /* ids */
    struct build_mounts
        *build;     /* what a build's step has besides, until it has been started; see build_mounts.h */
    char **links;   /* "alias=id", see links.c */
    bool has_links; /* those, or an endpoint's */
};

/* One container on one network, while it runs. */
struct endpoint {
    char id[65];
    char *address, *address6, *mac, *ifname, **names;
    char **links; /* "container:alias": names that this container alone knows */
    char host_if[16];
    bool spread;   /* rules of a service lead to it: see spread__leave() */
    bool attached; /* network_attach.c; it has no address yet while that is asked for */
};

/* A subnet of a network: what its containers' addresses are taken from. */
struct subnet {
    char *cidr, *gateway;
    char *range; /* NULL: all of it */
    char **aux;  /* addresses that no container gets */
    bool ipv6;
};

struct network {
    char id[65];
    char *name, *driver, *doc; /* doc: the body as created, with what was chosen for it */
    struct subnet *subnets;    /* none of host, none, and configuration networks */
    size_t subnet_count;
    char bridge[16]; /* or, of macvlan and ipvlan, the parent interface */
    char *parent, *mode, *flag, *host_binding, *ifprefix;
    bool is_bridge, internal, icc, routed, predefined, config_only;
    bool swarm, attachable, ingress; /* swarm: its scope; the driver is "overlay" */
    int mtu;
    char *far;            /* network_far.c: containers of other machines, as last told; or NULL, */
    json_t *far_names;    /* and what those are called: [{"Address", "Names"}] */
    struct map endpoints; /* container id -> struct endpoint */
    struct map reserved;  /* key -> struct reservation, see network_reserve.c */
};

struct volume {
    char *name, *driver, *path; /* path: of a plug-in's volume "", it is known only while it is mounted */
    char *doc;                  /* {"Driver","Labels","Options","CreatedAt","Anonymous"} */
    char **mounted;             /* ids of the containers that it is mounted for */
};

struct exec {
    char id[65];
    char container_id[65];
    char *doc; /* the body */
    bool running, started;
    int exit_code;
    pid_t pid;
};

struct exit_record {
    struct exit_record *next;
    struct keeper_exit exit;
    char id[129], exec_id[129];
};

/* network_attach.c: who gives addresses of a swarm's networks. Held for reading while it is asked. */
struct attacher {
    pthread_rwlock_t lock;
    engine_attach_fn *ask; /* NULL: not known yet, or not any more */
    void *context;
};

struct event_ring; /* events.c */
struct health_thread;

struct engine {
    char *root;
    char *files;                /* see files.c, or NULL */
    pthread_mutex_t spare_lock; /* see spare.c */
    uint64_t spares[SPARES_MAX], spare_next;
    size_t spare_count;
    struct images *images;
    struct store *store;
    struct net *net;
    struct keeper *keeper;
    pthread_mutex_t lock;
    struct map containers; /* id -> struct container, in order of creation */
    struct map names;      /* name -> struct container */
    struct map networks;   /* id -> struct network */
    struct map spreads;    /* "network id/service id" -> struct spread, see spread.c */
    struct map volumes;    /* name -> struct volume */
    struct map execs;      /* id -> struct exec */
    struct event_ring *events;
    json_t *runtimes; /* never changed after the start */
    char *default_runtime;
    pthread_mutex_t features_lock;
    json_t *features; /* name -> features.md of a runtime, or null: of those that were asked; by its lock */
    char *log_driver; /* what a container gets that names none */
    json_t *log_options; /* of that driver; never changes after the start */
    struct shippers *shippers;
    uint32_t remap_uid, remap_gid, remap_count; /* of all containers; count 0: none. Set at the start */
    uint32_t id_pool_first, id_pool_count;      /* where containers' own ranges are taken from */
    struct net_pool *pools;         /* what subnets are taken from when nobody chooses; set at the start */
    size_t pool_count, pools_shown; /* shown: all but the prefix that nobody configured */
    struct net_pool *swarm_pools;   /* the same for a swarm's networks; by lock. None: 10.0.0.0/8 in /24s */
    size_t swarm_pool_count;
    struct attacher attacher;
    struct map id_ranges; /* container id -> struct userns, see userns.h; by lock */

    /* The supervisor thread: exits, restarts, the DNS table. */
    pthread_t supervisor;
    pthread_mutex_t queue_lock;
    pthread_cond_t queue_changed;
    struct exit_record *exits, **exits_end;
    char **forgets;   /* ids whose exit has been saved: the keeper may forget them */
    bool supervising; /* the thread is there */
    bool comparing;   /* it is at work with the keeper's list or with queued exits */
    bool closing, reconcile_due, names_due, restarts_due;
    atomic_bool linked;         /* some container has links */
    atomic_size_t kept_answers; /* bytes, of all containers */
    atomic_int kept_parsed;     /* containers with `parsed` */
    atomic_int restarting;      /* non-zero: a container waits for its restart */
    bool supervisor_started;
    struct health_thread *health;
    struct build_caches *build_caches;
};

/* --- engine.c --- */
char *engine__instance_prefix(const char *root); /* tells one instance's interfaces from another's */

/* --- spare.c --- */
/* True: the directory has been taken, or has become `dir`. */
bool spare__put(struct engine *e, const char *dir);
bool spare__take(struct engine *e, const char *dir);
void spare__clear(const char *root);

/* --- init_file.c --- */
char *init_file__path(struct engine *e);
int init_file__write(struct engine *e, struct err *err);

/* --- files.c --- */
/* Where a run's /etc/hosts, hostname and resolv.conf are written anew at each start: in memory where the
 * machine has a tmpfs of its own for that, else in the container's directory. */
char *
files__root(const char *engine_root); /* <tmpfs>/drover-<instance>, made and ours; NULL: there is none */
char *files__dir(struct container *c);
int files__make(struct container *c, char **ret_dir, struct err *err);
void files__remove(struct container *c);
void files__sweep(struct engine *e);        /* those of containers that are no more */
void files__clear(const char *engine_root); /* all of them */

/* --- container.c --- */
int container__find(struct engine *e, const char *ref, struct container **ret, struct err *err);
struct container *container__ref(struct container *c);
void container__unref(struct container *c);
static inline void container_unref_p(struct container **c)
{
    if (*c)
        container__unref(*c);
}
#define _cleanup_container_ _cleanup_(container_unref_p)
/* All containers now, each with a reference; NULL-terminated. */
struct container **container__all(struct engine *e);
void container__all_free(struct container **list);
struct container *container__new(struct engine *e, const char *id, const char *name, json_t *doc,
                                 json_t *net);
/* Into the tables, when its name is free; takes the new reference for the table. */
int container__register(struct container *c, struct err *err);
void container__unregister(struct container *c);
char *container__name(struct container *c); /* a copy */
json_t *container__doc(struct container *c);
void container__keep_parsed(struct container *c, json_t *doc);
json_t *container__labels(struct container *c); /* of Config, without reading the document; or NULL */
json_t *container__net(struct container *c);
void container__set_doc(struct container *c, json_t *doc);    /* takes; the caller saves */
void container__set_net(struct container *c, json_t *net);    /* takes */
struct container_state container__state(struct container *c); /* a copy; its error is NULL */
bool container__running(struct container *c);                 /* running, paused */
int container__insert(struct container *c, struct err *err);  /* a new row */
void container__save(struct container *c);                    /* state and documents, lazily */
void container__save_state(struct container *c);
/* The state soon, without waiting: what a restart learns from the keeper. Then the keeper may forget the
 * exit. */
void container__save_behind(struct container *c, bool then_forget);
int container__load_all(struct engine *e, struct err *err);
char *container__dir(struct container *c);                       /* <root>/containers/<id> */
char *container__cgroup(struct container *c, const json_t *doc); /* its path; `doc` may be NULL */
const char *container__status_name(enum container_status s);
void container__event(struct container *c, const char *action, const char *key, const char *value);
void container__event_with(struct container *c, const char *action, const json_t *more); /* borrowed */

/* --- create.c --- */
/* What the fields of a body say together: limits, policies, the log's options. */
/* Fills in what `config` leaves out from an image's configuration, or another container's, as Docker does:
 * texts, lists and commands whole; variables, ports, volumes and labels one by one. */
void image_config__merge(json_t *config, const json_t *image);
int create__check(const json_t *config, const json_t *host, struct err *err);

/* --- check_limits.c, check_modes.c --- */
enum { IO_WEIGHT_MIN = 10, IO_WEIGHT_MAX = 1000 };
int check__limits(const json_t *config, const json_t *host, struct err *err);
/* What Docker takes and leaves out, once all is checked; `warnings` (a list, or NULL) tells of it. */
void check__adjust_limits(json_t *host, json_t *warnings);
/* `body`: the request's, without what comes from the image. */
int check__modes(const json_t *body, const json_t *host, struct err *err);
int check__device_drivers(const json_t *host, struct err *err); /* at start: there are none for GPUs */

/* --- runtimes.c: other OCI runtimes by name --- */
struct runtime_choice {
    char *path, **args; /* path NULL: our own */
};
int runtimes__configure(struct engine *e, const json_t *runtimes, const char *chosen, struct err *err);
int runtimes__check(struct engine *e, const char *name, struct err *err); /* whether there is such a name */
int runtimes__find(struct engine *e, const char *name, struct runtime_choice *ret, struct err *err);
void runtimes__choice_done(struct runtime_choice *c);
void runtimes__show(struct engine *e, bool features, json_t *info);
/* Whether it knows the mount option "rro": read-only with all that is mounted below. */
bool runtimes__mounts_deep(struct engine *e, const char *name);

/* --- names.c --- */
int names__check(const char *name, struct err *err);
char *names__random(unsigned attempt);

/* --- schema.c: which fields of the bodies are done --- */
int schema__check_container(const json_t *body, struct err *err);
bool schema__is_of_host(const char *name); /* a field of HostConfig */
int schema__check_network(const json_t *body, struct err *err);
int schema__check_volume(const json_t *body, struct err *err);

/* --- mounts.c: Binds, Mounts, Volumes, VolumesFrom, Tmpfs --- */
int mounts__resolve(struct engine *e, const json_t *config, const json_t *host, bool shallow_read_only,
                    json_t **ret_points, char ***ret_volumes, struct err *err);
int mounts__fill_volumes(struct container *c, const json_t *points, struct err *err);

/* --- rootview.c: a container's files while it is not running --- */
int rootview__read(struct container *c, char *const *lowers, const char *path, size_t max, struct str *ret,
                   struct err *err);
/* An O_PATH-like descriptor of the container's root: /proc/PID/root when running, else a snapshot's mount.
 * -ERR_BUSY: it has just ended, and its state does not say so yet: see container__await_end(). Not read-only
 * under container.op alone: overlayfs takes a layer's work directory from whoever had mounted it before. */
int rootview__open(struct container *c, bool read_only, int *ret_fd, struct err *err);
/* Of one that does not run, with the places below the image that a run mounts over. */
int rootview__open_with_places(struct container *c, int *ret_fd, struct err *err);
/* The same for looking, whatever happens to the container: what is made there is made in `scratch`, whose
 * XXXXXX is replaced as mkdtemp(3) does and which the caller removes. */
int rootview__open_over(struct container *c, char *scratch, int *ret_fd, struct err *err);
struct tar_ids;
/* The same, and as which ids outside its files are seen there. */
int rootview__open_ids(struct container *c, bool read_only, int *ret_fd, struct tar_ids *ret_ids,
                       struct err *err);

/* --- spec.c, spec_*.c --- */
/* Descriptors of namespaces and of mounts that go to the keeper along with the spec. */
enum { START_FDS_MAX = 24 };
struct start_fds {
    int fd[START_FDS_MAX];
    size_t count;
};
struct spec_input {
    struct container *c;
    const json_t *doc, *net;
    char *const *lowers;
    struct start_fds *fds; /* namespaces to join are added here */
    int netns_index;       /* which of them is the container's own network, or -1 */
    int userns_index;      /* and its user namespace, or -1 */
};
int spec__build(const struct spec_input *in, json_t **ret, struct err *err);
/* `own_list`: an exec's Env, or NULL. */
int spec__environment(struct container *c, const json_t *config, const json_t *own_list, bool tty,
                      const char *home, json_t **ret, struct err *err);
/* A file of files__dir(), in place: a container may have it mounted. */
int spec__write_file(const char *dir, const char *name, const char *text, struct err *err);
int spec__process(const struct spec_input *in, json_t *spec, struct err *err);
bool spec__swap_can_be_limited(void);
int spec__resources(const json_t *host, json_t *spec, struct err *err);
int spec__resources_object(const json_t *host, json_t *resources, struct err *err);
int spec__check_security(const json_t *host, struct err *err); /* at create: what can be read at all */
int spec__security(const json_t *host, json_t *spec, char ***ret_caps, struct err *err);
void spec__oom_score(const json_t *host, json_t *process);
bool spec__has_init(const json_t *host); /* with a pid namespace of its own only, as Docker has it */
int spec__mounts(const struct spec_input *in, json_t *spec, struct err *err);
int spec__namespaces(const struct spec_input *in, json_t *spec, struct err *err);
int spec__network_files(const struct spec_input *in, json_t *spec, struct err *err);
/* "1000:docker" of an exec or a build step, resolved by the container's own files. */
int spec__account_file(struct container *c, char *const *lowers, const char *path, struct str *ret,
                       struct err *err);
/* Both, as spec__account_file() gives them. NULL lowers: the container may be running. */
int accounts__read(struct container *c, char *const *lowers, struct str *passwd, struct str *group,
                   struct err *err);
int spec__user(struct container *c, char *const *lowers, const char *user, char *const *group_add,
               json_t *process, char **ret_home, struct err *err);

/* --- start.c, exit.c, stop.c, remove.c --- */
int container__start(struct container *c, bool by_policy, struct err *err);
void container__release(struct container *c); /* network and ports of a run that has ended */
void container__exited(struct container *c, const struct keeper_exit *exit);
/* By SIGKILL, for a removal: no "stop" is told. One that does not run is left as it is. */
int container__end(struct container *c, struct err *err);
uint64_t container__exits(struct container *c); /* how often it has ended */
/* Waits until an end after the first `exits` ones is in the state of a container whose process has gone.
 * container.op must not be held, since the end is recorded under it. */
int container__await_end(struct container *c, uint64_t exits, struct err *err);
int container__stop(struct container *c, int timeout_s, const char *signal, struct err *err);
int container__remove(struct container *c, bool force, bool volumes, struct err *err);
int signal__parse(const char *text, int *ret, struct err *err);
int64_t restart__next_backoff(int64_t backoff_ns, int64_t ran_ns);
bool restart__wanted(const json_t *policy, int exit_code, int count, bool stopped_by_user, bool daemon_start);
void restart__schedule(struct container *c);

/* --- supervisor.c --- */
int supervisor__start(struct engine *e, struct err *err);
void supervisor__stop(struct engine *e);
void supervisor__on_exit(void *context, const struct keeper_exit *exit);
void supervisor__on_restart(void *context);
void supervisor__names_due(struct engine *e);
void supervisor__restarts_due(struct engine *e);
void supervisor__forget_due(struct engine *e, const char *id); /* an exit has been saved */
int recover__run(struct engine *e, bool at_open, struct err *err);
void users__sweep_images(struct engine *e); /* image_users.c: images that only gone containers kept */

/* --- network.c, endpoint.c --- */
int network__load_all(struct engine *e, struct err *err);
struct network *network__find(struct engine *e, const char *ref, struct err *err); /* engine.lock held */
void network__free(void *network);
struct network *network__of(const json_t *doc); /* the struct from a stored document */
void ipam__done(struct network *n);
const struct subnet *network__subnet(const struct network *n, bool ipv6); /* the first of a family, or NULL */
const struct subnet *network__subnet_of(const struct network *n, const char *address); /* NULL gives NULL */
void network__describe_bridge(const struct network *n, struct net_bridge *ret);        /* borrows from `n` */
/* Docker's default pools, and the ones of a configuration instead. */
int pools__configure(struct engine *e, const json_t *pools, struct err *err);
void pools__done(struct engine *e);
int network__defaults(struct engine *e, struct err *err);
int network__push_names(struct engine *e, struct err *err);

/* --- spread.c, network_reserve.c --- */
int spread__load_all(struct engine *e, struct err *err); /* after the networks */
/* Once the running containers have their networks again. */
void spread__restore_all(struct engine *e);
char **spread__keys(struct engine *e); /* as src/net knows them */
void spread__free(void *spread);
/* A container's interface is there: it becomes a target where it is one. engine.lock held. */
void spread__joined(struct engine *e, struct network *n, const char *container_id);
/* Takes a container out of the network's table, and out of the rules before its address is free for another.
 * False: it was not there. engine.lock held. */
bool spread__leave(struct engine *e, struct network *n, const char *container_id);
/* By which a container is known on a network: its name, its aliases, its short id, its host name; each once.
 * `name` and `hostname` may be NULL. The caller frees. */
char **network__names_of(const char *name, char *const *aliases, const char *id, const char *hostname);
/* The networks a new container names, as Docker's endpoint settings by network name. */
int endpoint__plan(struct engine *e, const json_t *body, bool task, json_t **ret, struct err *err);
int endpoint__check_settings(const json_t *settings, const char *where, struct err *err);
/* Connects all of a container's networks to a namespace and publishes its ports; fills `net`. */
int endpoint__connect_all(struct container *c, const json_t *doc, json_t *net, int netns_fd, struct err *err);
/* Gives up addresses and ports. What it leaves is for endpoint__tell_left(), which takes it and says so:
 * three texts for each network. */
char **endpoint__release_all(struct container *c);
void endpoint__tell_left(struct container *c, char **left);
/* Whether a run has what only its net document tells: an address, or ports. */
bool endpoint__wired(const json_t *net);
/* Addresses, ports, and what else is of one run. */
bool endpoint__has_run(const json_t *net);
int endpoint__restore(struct container *c, struct err *err); /* the tables again after a restart of ours */
/* network_attach.c: the container waits for its restart, and the swarm has not given its addresses yet. */
bool attach__is_awaited(struct container *c);
void endpoint__free(void *endpoint);
const char *network__mode(const json_t *host); /* "bridge" for "default" */

/* --- volume.c --- */
int volume__load_all(struct engine *e, struct err *err);
/* The volume, made when it is not there. `name` NULL: an anonymous one. What is returned may be NULL. */
int volume__ensure(struct engine *e, const char *name, const char *driver, const json_t *labels,
                   const json_t *options, char **ret_name, char **ret_path, char **ret_driver,
                   struct err *err);
/* While `id` has it mounted its directory is at *ret_path. */
int volume__mount(struct engine *e, const char *name, const char *id, char **ret_path, struct err *err);
void volume__unmount(struct engine *e, const char *name, const char *id);
/* A part of a volume whose directory is `path`, as a descriptor (O_PATH). */
int volume__open_part(const char *path, const char *subpath, int *ret_fd, struct err *err);
/* The same mounted at a place of the container's own for its `index`-th mount point, for a run. */
int volume__mount_part(struct container *c, const char *path, const char *subpath, size_t index, char **ret,
                       struct err *err);
/* All of a container's volumes for a run: their places go into `doc`'s mount points and are kept. */
int volumes__mount(struct container *c, json_t *doc, struct err *err);
void volumes__unmount(struct container *c);                               /* and its images */
void volumes__tell(struct container *c, const json_t *doc, bool mounted); /* the events of its volumes */
void volumes__restore(struct container *c); /* that it has them mounted, after a restart of ours */
bool volume__anonymous(struct engine *e, const char *name);
int volume__remove(struct engine *e, const char *name, bool force, struct err *err);
void volume__free(void *volume);

/* --- image_mount.c --- */
/* As volumes__mount(), of the images that a container has mounted. `mapping` NULL: owners as they are. */
int image_mounts__mount(struct container *c, json_t *doc, const struct image_mapping *mapping,
                        struct err *err);
void image_mounts__unmount(struct container *c, const json_t *points);

/* --- exec.c, health.c, events.c, filter.c, inspect.c --- */
int exec__process(struct container *c, const json_t *doc, const json_t *body, json_t **ret, struct err *err);
void exec__event(struct container *c, const char *action, const json_t *body, const char *exec_id);
void exec__die_event(struct container *c, const struct keeper_exit *exit);
void exec__exited(struct engine *e, const struct keeper_exit *exit);
void exec__free(void *exec);
void session__kill(struct container *c, pid_t leader); /* session.c: what an exec has started */
int health__thread_start(struct engine *e, struct err *err);
void health__thread_stop(struct engine *e);
void health__begin(struct container *c, const json_t *doc); /* container.op held; the container runs */
void health__end(struct container *c);
bool health__exited(struct engine *e, const struct keeper_exit *exit); /* true: it was a probe */
json_t *health__json(struct container *c);                             /* NULL when it has none */
const char *health__status(struct container *c);                       /* "", "starting", ... */
struct event_ring *events__new(void);
void events__free(struct event_ring *ring);
void events__close(struct event_ring *ring);
int events__listeners(struct event_ring *ring);

/* One key of Docker's filters; true when the key is absent or one of its values is accepted. */
bool filter__any(const json_t *filters, const char *key, bool (*match)(void *, const char *value),
                 void *context);
bool filter__has(const json_t *filters, const char *key);
bool filter__labels(const json_t *filters, const json_t *labels); /* label and label! */
int filter__check_keys(const json_t *filters, const char *const *known, struct err *err);
/* The time of the filter "until"; the end of time when it is not given. */
int filter__until(const json_t *filters, int64_t *ret_ns, struct err *err);
char **filter__values(const json_t *filters, const char *key);

/* --- logs.c --- */
char *logs__path(struct container *c); /* the keeper's log file: <dir>/log; the caller frees */

/* --- shipping.c: log drivers --- */
#define LOGDRIVER_DEFAULT "json-file"
int logs__driver(const json_t *doc, enum logdriver_type *ret, struct err *err);
char *logs__json_path(struct container *c);    /* of json-file; the caller frees */
json_t *logs__attributes(struct container *c); /* what goes along with its lines */
int shipping__open(struct engine *e, struct err *err);
void shipping__resume(struct engine *e); /* after recovery: what was not sent */
int shipping__check(struct container *c, const json_t *doc, struct err *err); /* before a start by hand */
void shipping__begin(struct container *c);
void shipping__ended(struct container *c);
void shipping__removed(struct container *c); /* its files are about to go */
void shipping__show(struct container *c, json_t *lost);

void inspect__set_time(json_t *object, const char *key, int64_t ns);
json_t *inspect__networks_listed(const json_t *net); /* what a list of containers shows of each network */
json_t *inspect__ports_list(const json_t *net, const json_t *config);
json_t *inspect__mounts(const json_t *points);                /* as Docker shows them */
void inspect__set_sizes(json_t *object, struct container *c); /* SizeRw, SizeRootFs */
void inspect__forget_answers(struct container *c);            /* the kept ones; with its lock, or alone */

/* memory.c */
void memory__clear(const char *root);

#endif
