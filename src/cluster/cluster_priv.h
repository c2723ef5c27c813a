/* What the files of a cluster share. Everything is under `lock`, but for what says otherwise. */
#ifndef CLUSTER_CLUSTER_PRIV_H
#define CLUSTER_CLUSTER_PRIV_H

#include "cluster/cluster.h"

#include "base/json.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/timeutil.h"
#include "cluster/facts.h"
#include "cluster/health.h"
#include "cluster/seal.h"
#include "deploy/deploy.h"
#include "image/nodes.h"
#include "store/store.h"

#include <pthread.h>

enum {
    ID_BYTES = 26, /* 25 characters of base 36 */
    OBJECTS_MAX = 100000,
    SECRET_MAX = 500 * 1024, /* one byte more is too many, as with swarmkit */
    CONFIG_MAX = 1000 * 1024,
    WORKERS = 8,
    CLUSTER_PORT = 2377,
    PLACE_HOLDS = 256, /* containers placed and not yet made */
    BELLS = 64,
};

/* What this node is in its cluster. A manager that leads has the whole state in its memory and decides. On
 * one that follows and on a worker, `objects` holds only what the leader has assigned to this node, for the
 * agent (agent.c), which does the same everywhere. */
enum cluster_role { ROLE_NONE, ROLE_LEADS, ROLE_FOLLOWS, ROLE_WORKS };

struct object {
    enum cluster_kind kind;
    char id[ID_BYTES];
    char *name; /* "" for a task */
    int64_t index;
    int64_t created_ns, updated_ns;
    json_t *spec;
};

#define NODE_HAS_LEFT "left the swarm" /* a lost node's message: its tasks ended before it went */
struct node {
    struct object o; /* first */
    json_t *description;
    char *address; /* without port: where its containers' ports are */
    char *door;    /* "HOST:PORT" of its cluster's port */
    bool manager;
    bool lost;            /* not heard, or it has left: its tasks are replaced */
    char *message;        /* why */
    bool dirty;           /* to be written */
    bool welcomed;        /* since it has come: rebalance.c */
    bool votes;           /* a manager's member of the store, as the leader last saw it */
    bool role_failed;     /* its change of role; not tried again by this leader */
    int64_t seen_ns;      /* when it was heard, of the monotonic clock */
    int64_t assigned;     /* counts what is assigned to it */
    json_t *needs;        /* {network id: true}: as it was last told facts; NULL: not yet */
    int64_t needs_stamp;  /* who knows the facts up to an earlier one does not know those of all of them */
    int64_t news_stamp;   /* of the newest that concerns it */
    json_t *certificates; /* revoke.h; or NULL */
    json_t *attachments;  /* attach.h; or NULL */
    struct vitals vitals; /* as it told them last, */
    bool measured;        /* if it did */
    struct health health; /* condition.c: as this leader judges them, */
    char *ails;           /* and what is wrong, in words; NULL: nothing */
};

struct secret { /* or config */
    struct object o;
    struct str data; /* a secret's: encrypted */
};

/* What a service's labels say beyond its spec (labels.c). */
struct service_labels {
    int32_t priority;  /* sh.drover.priority: lower ones may have to make room */
    int64_t drain_ns;  /* sh.drover.drain: between leaving the traffic and being told to stop */
    bool stays;        /* sh.drover.rebalance=off: its tasks are not moved to even out nodes */
    bool volumes_move; /* sh.drover.volumes=move: a lost node's tasks that write volumes run elsewhere at once
                        */
};

struct sched_shape;
struct service {
    struct object o;
    struct deploy_spec parsed;
    struct service_labels labels;
    struct sched_shape *known;         /* to the model, so that it remembers failures; or NULL */
    json_t *previous;                  /* spec, or NULL */
    int64_t version, previous_version; /* of the task template */
    int64_t next_version;
    json_t *history; /* history.c: the versions of the whole spec, each with a number: */
    int64_t revision, previous_revision, next_revision;
    int64_t iteration; /* of a job */
    int64_t executed_ns;
    struct deploy_rollout_status status;
    json_t *ports;              /* as published: EndpointPortConfig, numbers chosen */
    json_t *addresses;          /* {network id: "10.0.1.2/24"} */
    char *auth, *previous_auth; /* X-Registry-Auth, encrypted, in base64; or NULL */
    bool removed;
    bool dirty;
    int64_t told_index; /* of what is among the facts */
    int64_t next_ns;
    struct map tasks;  /* id -> task, in order of creation */
    char *spread_text; /* what was last told to the engine */
    char **spread_networks;
    bool write;        /* behind */
    int pending_frees; /* forgotten tasks that a worker still has */
    int held;          /* tasks that workers still have though all objects were replaced meanwhile */
    bool left;         /* the last of them frees it */
};

struct task {
    struct object o; /* spec: its TaskTemplate */
    struct service *service;
    int64_t slot, version;
    char *node; /* or NULL */
    enum task_state state, desired;
    int64_t stated_ns, running_ns, ended_ns, start_at_ns;
    int64_t failures;   /* in a row, of those before it in its slot */
    int64_t told_index; /* of what is among the facts */
    bool told_serving;
    bool settled;
    bool moves; /* rebalance.c: a successor on another node is to take its place */
    /* When its node starts it again, having no leader; when it last did, and how often. */
    int64_t revive_ns, revived_ns, revived, revived_in_a_row;
    int64_t stop_at_ns; /* of the monotonic clock: when its connections are drained; 0: it is not to stop */
    bool unknown;       /* to this node, which has just been assigned it */
    bool queued, busy;  /* for a worker, with one */
    struct task *next_held; /* of c->held, while busy */
    bool left;              /* the objects were replaced meanwhile: who has it frees it */
    bool gone;              /* forgotten: to be freed by a worker */
    bool halt;              /* ended, but its container is to be stopped */
    char *message, *error;
    char *why;         /* the cluster ended it, or NULL */
    char *gives_way;   /* id of the task that it first made room for, or NULL */
    bool made_room;    /* others made room for it: it waits for all on its node that do so for anybody */
    char *container;   /* id, or NULL */
    json_t *ports;     /* the service's as the task was made */
    json_t *addresses; /* {network id: "10.0.1.5/24"}, from when it is placed; or NULL */
    int64_t pid;
    int64_t exit_code;
    bool dirty;     /* to be written */
    int32_t placed; /* in the scheduler's model */
};

/* Statements to come, with the texts they need. */
struct change {
    struct store_statement *statements;
    struct store_value (*values)[3];
    char **texts;
    size_t count, capacity;
};

/* What a node reports of itself: its session's thread's, or its loop's while it leads. */
struct own_vitals {
    struct vitals vitals;
    int64_t measured_ns, sent_ms, clock_ms;
    bool clock_known;
};

struct sched;
struct http_client;
struct managers;
struct cluster {
    struct engine *engine;
    struct image_nodes image_nodes; /* images.h */
    struct store *store;
    struct managers *manager, *retired; /* managers.h; NULL: the state is in a file, or elsewhere */
    int64_t epoch;                      /* of our lead, in a store of members */
    pthread_mutex_t lock;
    pthread_mutex_t change_lock; /* taken before `lock`: one swarm at a time is made or left */
    pthread_cond_t decide, work;
    pthread_cond_t bells[BELLS];       /* assign.c: each of some nodes */
    _Atomic int64_t swept_ns;          /* the watcher's */
    struct map objects[CLUSTER_KINDS]; /* id -> object */
    struct map names[CLUSTER_KINDS];   /* name -> object */
    struct map leaving;                /* id -> service that was removed and still has tasks */
    int64_t index;                     /* of the last change */
    enum cluster_role role;
    json_t *swarm; /* the cluster's own document; only who leads has it */
    char *self;    /* id of this node */
    char *swarm_id;
    char *revocations;        /* PEM, of the leader; NULL: there are none */
    char *listen, *address;   /* "HOST:PORT": of its port, and where others reach that */
    json_t *managers;         /* [{node, address}]: those known */
    size_t manager_at;        /* the one that answered last */
    char *leader;             /* its address, when another leads; NULL: not known */
    struct http_server *port; /* of the cluster (port.c); with change_lock */
    struct http_tls *port_tls;
    pthread_mutex_t port_lock;    /* while these two are used by who has no change_lock */
    pthread_mutex_t clients_lock; /* of those to the leader that are kept (forward.c) */
    struct http_client *clients[16];
    size_t client_count;
    unsigned clients_identity;            /* another with each identity of this node */
    char *socket;                         /* of this node's engine, reach.h */
    const struct http_server_config *api; /* for what other nodes pass on; NULL: nothing */
    char *trouble;                        /* why the managers do not hear this node; NULL: they do */
    _Atomic bool cancel;                  /* calls to other nodes are to end */
    char *dir;                            /* <root>/cluster: keys, certificates (identity.h) */
    unsigned char key[32];                /* of the secrets at rest */
    struct seal seal;                     /* of what is secret in `dir` */
    _Atomic bool locked;                  /* autolock.h: this node has a role, and cannot read its keys */
    _Atomic bool renews;                  /* its certificate is to be another soon */
    _Atomic bool describes;               /* the leader is to be told anew what it is */
    char lead_id[17];              /* of this process's leading: tells its assignments from another's */
    char heard_lead[17];           /* session.h: whom this node heard last, */
    int64_t heard_epoch, heard_ns; /* and when, of the monotonic clock */
    int64_t ticked_ns;             /* assign__tick() */
    int64_t renew_told_ns;
    int session_ms; /* the session's thread: how long it waits for an answer */
    struct own_vitals own_vitals;
    struct health_limits limits; /* what the swarm's label says, */
    char *limits_text;           /* which is this; NULL: not read yet */
    int64_t common_clock_ms;     /* that most nodes go by, ahead of this leader's */
    int64_t wall_ahead_ns;  /* this leader's wall clock, of its monotonic one, as it was looked at last */
    int64_t clocks_from_ns; /* of the monotonic one: until then no clock is compared */
    json_t *summary;        /* swarm__summary(), as a manager that follows last heard it; or NULL */
    bool assignment_known;  /* what this node is to run, be it from its disk */
    bool assignment_fresh;  /* and from a leader, with the secrets */
    bool stopping, loop_runs;
    bool follows;                                   /* the loop's threads are a session's */
    bool role_changes, role_thread_made, role_kept; /* roles.c */
    int64_t voters_ns;                              /* when they were looked at; the managers' thread's */
    pthread_t role_thread;
    bool all_dirty; /* every service is to be looked at */
    pthread_t loop, watcher, session;
    int workers;         /* that run; those of an earlier turn end when they have done what they are at */
    int64_t turn;        /* of the loop */
    pthread_cond_t idle; /* the last worker has ended */
    struct task *held;   /* those that workers have */
    struct task **queue; /* for the workers */
    size_t queue_count, queue_capacity;
    struct map containers; /* container id -> task */
    struct sched *model;   /* place.c; NULL: to be made */
    bool tasks_wait;       /* for a node: some found none */
    int64_t balance_ns;    /* of the monotonic clock: when it is looked whether tasks should move; 0: not */
    struct place_hold *holds[PLACE_HOLDS]; /* place_alone.h; NULL: free */
    int64_t hold_number;
    struct gateway_known *known; /* gateway_find.c; or NULL */
    struct map pools;            /* addresses.c: network id -> which addresses are taken */
    struct facts facts;          /* traffic.c; on who leads */
    bool facts_known, facts_urgent;
    int64_t facts_told, facts_told_ns; /* up to which nodes were told of news, and when */
    bool far_dirty;                    /* something of them may have changed */
    bool attach_dirty;                 /* this node's attachments may have changed (attach.h) */
    json_t *learned;                   /* facts as a leader told them */
    json_t *traffic;       /* what a leader described last; NULL: this node leads, or was told nothing */
    char *traffic_trouble; /* of it, what could not be done; or NULL */
};

/* swarm.c */
int swarm__already(struct err *err); /* this node is in a swarm: the refusal */
int swarm__set_addresses(struct cluster *c, const json_t *body, bool told_later, struct err *err);
char *swarm__host_of(const char *address); /* of "HOST:PORT", bare; the caller frees */

json_t *swarm__make_tokens(const char *fingerprint);
void swarm__touch(struct cluster *c, json_t *document); /* next version, now */
json_t *swarm__summary(struct cluster *c);              /* on the leader: what `docker info` says of all */
int swarm__set_label(struct cluster *c, const char *key, const char *value, struct err *err);
int swarm__make_ingress(struct cluster *c, struct err *err);

/* cluster.c; with the change_lock. What the disk has of a swarm is gone on with, or that is undone. */
int cluster__take_up(struct cluster *c, struct err *err);
void cluster__put_down(struct cluster *c);

/* objects.c */
void cluster__new_id(char ret[ID_BYTES]);
int cluster__no_swarm(const struct cluster *c, struct err *err); /* 0: this node leads one */
void *cluster__lookup(struct cluster *c, enum cluster_kind kind, const char *ref, struct err *err);
void cluster__add(struct cluster *c, struct object *o);
void cluster__drop(struct cluster *c, struct object *o); /* out of the maps; the caller frees */
void cluster__object_done(struct object *o);
void cluster__free_object(struct object *o);
void cluster__free_all(struct cluster *c); /* all objects, and c->swarm; no other thread uses them */
const char *cluster__kind_name(enum cluster_kind kind);
void cluster__touch(struct cluster *c, struct object *o); /* next index, now */
json_t *cluster__head(const struct object *o);            /* ID, Version, CreatedAt, UpdatedAt */
void cluster__set_time(json_t *to, const char *key, int64_t ns);
int cluster__check_name(const char *name, struct err *err); /* of a service */
int cluster__check_file_name(const char *name, struct err *err);
int cluster__check_labels(const json_t *spec, struct err *err);
void change_put(struct change *ch, const struct object *o); /* its row */
void change_put_swarm(struct change *ch, const struct cluster *c);
void change_remove(struct change *ch, const struct object *o);
int change_commit(struct cluster *c, struct change *ch, bool durable, struct err *err);
void change_done(struct change *ch);
extern const char *const cluster__migrations[]; /* of the state's store */
char *cluster__db_path(const struct cluster *c);
int cluster__open_file(struct cluster *c, struct err *err); /* the state of a swarm with one manager */
int cluster__load(struct cluster *c, struct err *err);      /* everything in c->store */
void cluster__event(struct cluster *c, const struct object *o, const char *action, const json_t *more);
/* Docker's filters: whether one of the values given for `key` fits. True when none is given. */
bool cluster__filter(const json_t *filters, const char *key,
                     bool (*fits)(const void *object, const char *value), const void *object);

/* Each kind: its stored form, and as GET shows it. */
json_t *cluster__store_form(const struct object *o);
struct object *cluster__restore(struct cluster *c, enum cluster_kind kind, const json_t *row,
                                struct err *err);
json_t *cluster__show(struct cluster *c, const struct object *o);

/* node.c */
const char *node__name(struct cluster *c, const char *id); /* its machine's; its id, when nothing is known */
json_t *node__show(struct cluster *c, const struct node *n); /* on the leader */
json_t *node__default_spec(void);
/* `text`: an address or an interface, with a port or without; or "": the only one that leads out. */
bool node__is_address(const char *text);
int node__resolve_address(const char *text, char **ret, struct err *err);
json_t *node__describe(struct cluster *c, struct err *err); /* this machine; NULL */
/* Takes `description`. */
struct node *node__new(struct cluster *c, json_t *description, const char *address, bool manager,
                       const char *availability);
bool node__available(const struct node *n, bool *ret_stays);
int node__change(struct cluster *c, struct node *n, const json_t *spec, struct err *err);
int node__remove(struct cluster *c, struct node *n, bool force, struct err *err);
void node__free(struct node *n);

/* secret.c */
json_t *secret__show(const struct secret *s);
int secret__create(struct cluster *c, enum cluster_kind kind, const json_t *spec, struct secret **ret,
                   struct err *err);
int secret__change(struct cluster *c, struct secret *s, const json_t *spec, struct err *err);
int secret__remove(struct cluster *c, struct secret *s, struct err *err);
int secret__reveal(struct cluster *c, const struct secret *s, struct str *ret, struct err *err);
void secret__free(struct secret *s);

/* keys.c */
/* Those that come after the first have names of their own: who follows names tells them apart. */
int keys__make_authority(bool first, char **ret_pem, char **ret_key_pem, struct err *err);
char *keys__fingerprint(const char *pem);                     /* 50 characters of base 36 */
json_t *keys__tls_info(const char *root, const char *issuer); /* TLSInfo */
char *keys__token(const char *fingerprint);                   /* "SWMTKN-1-..." */
int keys__load(struct cluster *c, struct err *err); /* the key of secrets at rest, made when missing */
int keys__take(struct cluster *c, const void *bytes, size_t n, struct err *err); /* it is this from now on */
int keys__renew(struct cluster *c, struct err *err); /* for a swarm that has no secrets yet, or none */
/* The swarm's goes from the disk of who is no manager any more; what is encrypted in memory stays readable.
 */
int keys__leave(struct cluster *c, struct err *err);
/* `id`: must be the same to open it. */
int keys__seal(const struct cluster *c, const char *id, const void *bytes, size_t n, struct str *ret,
               struct err *err);
int keys__open(const struct cluster *c, const char *id, const struct str *sealed, struct str *ret,
               struct err *err);
/* As a text for a document, in base64. */
char *keys__seal_text(const struct cluster *c, const char *id, const void *bytes, size_t n);
int keys__open_text(const struct cluster *c, const char *id, const char *text, struct str *ret,
                    struct err *err);
/* The same with another key, of 32 bytes; the latter is ERR_CORRUPT, and says nothing. */
int keys__seal_with(const unsigned char *key, const char *id, const void *bytes, size_t n, struct str *ret,
                    struct err *err);
int keys__open_with(const unsigned char *key, const char *id, const char *sealed, size_t n, struct str *ret);
void keys__random(void *bytes, size_t n);

/* service.c */
json_t *service__show(struct cluster *c, const struct service *s);
void service__add_status(struct cluster *c, const struct service *s, json_t *shown);
int service__create(struct cluster *c, const json_t *spec, const char *auth, struct service **ret,
                    struct err *err);
int service__update(struct cluster *c, struct service *s, const struct cluster_service_update *u,
                    struct err *err);
int service__remove(struct cluster *c, struct service *s, struct err *err);
void service__revert(struct cluster *c, struct service *s); /* spec and previous one change places */
void service__leave_networks(struct cluster *c,
                             const struct service *s); /* its traffic, then its addresses */
/* history.c */
int history__check(const json_t *labels, struct err *err);
void history__note(struct service *s);   /* the present spec is among the versions afterwards */
void history__stable(struct service *s); /* the present one has proved itself */
void history__leave(struct service *s);  /* before another spec takes the present one's place */
/* Before a rollout that failed goes back: to the last version that was stable, if the previous one was not.
 */
void history__aim_at_stable(struct service *s);
/* A spec as it would be kept, and the ports it would have. `s`: the present one, or NULL. */
/* Its spec, which was checked, as it is read: `parsed` and `labels`. */
void service__read_spec(struct service *s);
int service__foresee(struct cluster *c, const struct service *s, const json_t *given, json_t **ret_spec,
                     json_t **ret_ports, struct err *err);
bool service__same_tasks(const json_t *a, const json_t *b); /* no task is made anew from one to the other */
void service__free(struct service *s);
void service__wake(struct cluster *c, struct service *s);
bool service__uses(const struct service *s, enum cluster_kind kind, const char *id);

/* labels.c */
int labels__read(const json_t *labels, struct service_labels *ret, struct err *err);
bool labels__has_data(const json_t *task_template);       /* of its node: volumes, binds */
bool labels__writes_volumes(const json_t *task_template); /* named ones, which outlive a task */

/* links.c: the label sh.drover.links */
int links__check(struct cluster *c, const json_t *spec, struct err *err); /* networks by id */
json_t *links__into(struct cluster *c, const json_t *spec); /* the template of a task that is made now */

/* service_check.c: a spec in the form that is kept: names of networks, secrets and configs become ids. */
int service__check(struct cluster *c, const struct service *present, json_t *spec, struct err *err);
int service__publish(struct cluster *c, const struct service *s, const json_t *spec, json_t **ret,
                     struct err *err);
bool service__has_ingress(const json_t *ports);
const json_t *task__networks(const struct task *t);
const json_t *service__networks(const json_t *spec); /* of the template, or the older place */

/* task.c */
json_t *task__show(struct cluster *c, const struct task *t);
struct task *task__new(struct cluster *c, struct service *s, int64_t slot, const char *node);
void task__set(struct cluster *c, struct task *t, enum task_state state, const char *message,
               const char *error);
void task__free(struct task *t);
char *task__container_name(const struct task *t);                /* "web.1.ID" */
bool task__matches(const struct task *t, const json_t *filters); /* services and nodes in them by id */

/* task_spec.c: the body that makes a task's container. Lock held. */
int task__container_body(struct cluster *c, const struct task *t, json_t **ret, struct err *err);
/* Secrets and configs as files of a tmpfs. */
int task_files__write(struct cluster *c, const struct task *t, json_t *mounts, struct err *err);
void task_files__remove(struct cluster *c, const char *task_id);

/* template.c: "{{.Service.Name}}" and the like, and with `payload`, which a secret or config is, the
 * functions that show other files of the task. NULL: `err` says what it cannot be. */
char *template__expand(struct cluster *c, const struct task *t, const char *text, bool payload,
                       struct err *err);

/* place.c */
struct task *place__task_at(struct cluster *c, int32_t placed); /* a sched_task; NULL */
int place__check(const json_t *placement, struct err *err);
/* Chooses t->node. ERR_UNAVAILABLE: there is none now, or others have yet to leave it (t->placed is not
 * SCHED_NONE then), and `why` says so. */
int place__task(struct cluster *c, struct task *t, struct err *why);
void place__left(struct cluster *c, struct task *t); /* it no longer takes room on its node */
bool place__fits(struct cluster *c, const struct service *s, const struct node *n, bool *ret_stays);
void place__forget(struct cluster *c); /* after what the model cannot be told has changed */
/* Whether it is new, lost, back, or described otherwise. What has failed where stays known. */
void place__node_changed(struct cluster *c, const struct node *n);
void place__forgive(struct cluster *c, const struct service *s); /* its new version has not failed anywhere */
struct sched_action;
struct sched_label;
struct sched_port;
int place__model(struct cluster *c, struct err *err); /* c->model is there afterwards */
/* What a service of this spec asks the model for; `s`: the present one, or NULL. */
int place__shape(struct cluster *c, const struct service *s, const json_t *spec, const json_t *ports,
                 struct sched_shape **ret, struct err *err);
/* Calls `look` while the task, if it is in the model, is not. */
int place__without(struct cluster *c, struct task *t, void (*look)(void *context, struct sched_shape *shape),
                   void *context, struct err *err);
/* What would happen if the node had this spec: sched_plan(). */
int place__node_change(struct cluster *c, const struct node *n, json_t *spec, struct sched_action *actions,
                       size_t capacity, size_t *ret_count, struct err *err);

/* One node as it is seen for one choice, beyond what the state has: borrowed by the calls. */
struct place_sight {
    bool hidden; /* it is none of those to choose from */
    const struct sched_label *labels;
    size_t label_count;
    int64_t cpu_nano, memory_bytes; /* taken by what is no task */
    const struct sched_port *ports;
    size_t port_count;
    char *const *images, *const *volumes;
};
int place__look_at(struct cluster *c, const struct node *n, const struct place_sight *sight, struct err *err);
int place__look_away(struct cluster *c, const struct node *n,
                     struct err *err); /* as the state has it again */

/* preempt.c; the model is there. */
struct sched_preemption;
/* Which tasks would have to make room for one of the service. */
bool preempt__find(struct cluster *c, const struct service *s, struct sched_shape *shape,
                   struct sched_preemption *ret);
json_t *preempt__describe(struct cluster *c, const struct service *s, struct sched_shape *shape);
/* Gives the task a node whose lower tasks are told to end. */
int preempt__make_room(struct cluster *c, struct task *t, struct sched_shape *shape, struct err *err);
/* ERR_UNAVAILABLE while one of those that make room for the task has not ended. */
int preempt__wait(struct cluster *c, const struct task *t, struct err *why);

/* rebalance.c: tasks move to nodes that have come. The swarm's label of this key: "off", or how many at once.
 */
#define CLUSTER_REBALANCE_LABEL "sh.drover.rebalance"
int64_t balance__tick(struct cluster *c); /* when it wants to be called again, as assign__tick(); 0: never */
void balance__stay(struct task *t);
int balance__check(const json_t *labels, struct err *err);

/* condition.c: health.h for all nodes. The swarm's label of this key: its limits. */
#define CLUSTER_HEALTH_LABEL "sh.drover.health"
json_t *
condition__report(struct cluster *c); /* this node's, as it is about to be sent; the session's thread */
void condition__answered(struct cluster *c, const json_t *answer);
/* On the leader, with the lock. */
void condition__heard(struct cluster *c, struct node *n, const json_t *list);
void condition__tick(struct cluster *c); /* its loop's; lets go of the lock while it measures */
void condition__tell(struct cluster *c, struct node *n); /* the model, what its health is */
void condition__refresh(struct cluster *c); /* the model has today's numbers of who is not well */
char *condition__message(struct cluster *c, const struct node *n); /* NULL: it is well; the caller frees */
const struct health_limits *condition__limits(struct cluster *c);
int condition__check(const json_t *labels, struct err *err);

/* loop.c: as src/deploy is shown them, without nodes; the caller frees the tasks. */
struct deploy_task loop__task_view(struct task *t);
struct deploy_task *loop__view(const struct service *s, struct deploy_view *ret);

/* revive.c: nobody could replace what ends, as no leader hears this node; whether it starts the container
 * again, which ended with `code`; from when; and that, with the lock let go in between. */
bool revive__is_alone(const struct cluster *c);
bool revive__wanted(const struct cluster *c, const struct task *t, int code);
void revive__later(struct task *t, int code);
void revive__do(struct cluster *c, struct task *t);

/* failures.c */
void failures__note(struct cluster *c, const struct task *t); /* which has just ended */
void failures__fill(struct cluster *c);                       /* a new model, from the tasks */
void failures__unkeep(struct service *s);

/* strategy.c: scripts are configs with the label below, whose value is the strategy's name; a service's and
 * the swarm's own label of that key choose one. */
#define CLUSTER_STRATEGY_LABEL "sh.drover.strategy"
void strategy__fill(struct cluster *c, struct sched *model); /* makes all of them known to it */
int strategy__check(struct cluster *c, const json_t *labels, struct err *err);
const char *strategy__default(const struct cluster *c);

/* explain.c: how the model answers for a shape. */
json_t *explain__shape(struct cluster *c, struct sched_shape *shape);

/* loop.c, agent.c */
void loop__desire(struct cluster *c, struct task *t, enum task_state desired);
int loop__start(struct cluster *c, struct err *err);
bool loop__stop(struct cluster *c, int grace_ms); /* see cluster_close() */
/* The same, but for workers: what they are at, be it a long pull, they end by themselves (agent.c). */
void loop__pause(struct cluster *c);
void agent__give(struct cluster *c, struct task *t); /* to a worker, when there is something to do */
void *agent__work(void *cluster);
void *agent__watch(void *cluster);
/* How a task's container ended, or is by an inspection. */
void agent__ended(struct cluster *c, struct task *t, int code, const char *error);
void agent__observe(struct cluster *c, struct task *t, const json_t *inspection);
/* recover.c */
void agent__recover(struct cluster *c);
void agent__recover_task(struct cluster *c, struct task *t);
void agent__find_containers(struct cluster *c);
void agent__remove_strays(struct cluster *c);
void agent__forget(struct cluster *c, struct task *t); /* its container goes, and then it is freed */
char *agent__open_auth(struct cluster *c, const char *sealed_text); /* NULL; the caller frees */

#endif
