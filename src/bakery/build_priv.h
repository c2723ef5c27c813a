/* What the files of the builder share: the build, a stage in work, and how a step becomes an image.
 *
 * Each instruction turns the stage's image into the next one: image_cache_get() by a key of all that
 * determines the result, else the work and image_create(). The key is a hash of the image before, the
 * instruction with its variables expanded, and for COPY and ADD the content of the sources (names, modes,
 * bytes, and owners where they are kept), for RUN the build arguments that it sees.
 *
 * A stage is one thread's; those that do not need each other are built at the same time (schedule.c), and
 * what they say is put in order (output.c). Everything temporary is below `work_dir`, removed at the end
 * whatever happens. */
#ifndef BAKERY_BUILD_PRIV_H
#define BAKERY_BUILD_PRIV_H

#include "bakery/bakery.h"
#include "bakery/context.h"
#include "bakery/dockerfile.h"
#include "bakery/ignore.h"
#include "bakery/platform.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/lock.h"
#include "base/map.h"
#include "base/timeutil.h"

#include <pthread.h>
#include <stdatomic.h>

/* What a key's step made, for exports of the cache. */
struct made_step {
    char key[DIGEST_BYTES];
    char *image_id;
    bool layer_alone; /* the key is of its top layer, upon whatever */
};

struct stage {
    size_t first, end;  /* its steps; the first is the FROM */
    const char *name;   /* borrowed, or NULL */
    char *base;         /* FROM's image, expanded */
    ssize_t base_stage; /* FROM names an earlier stage; or -1 */
    bool needed;
    int first_number;       /* of its first step in the whole build */
    char *image_id;         /* result; NULL: scratch with nothing in it */
    bool claimed, done;     /* guarded by builder.lock: some thread builds it; it is built */
    bool said;              /* guarded by builder.out_lock, as are: it has no more to say */
    bool held_clipped;      /* ... */
    struct made_step *made; /* its thread's, until it is done */
    size_t made_count, made_capacity;
    struct str held; /* what it has said while it was not its turn, see output.c */
};

/* A stage that was asked for by the name of a TARGET. */
struct wanted {
    size_t stage;
    const char *name, *tag; /* borrowed; tag may be NULL */
};

struct builder {
    struct images *im;
    const struct bakery_options *o;
    struct dockerfile file;
    int context_fd; /* -EBADF with options.context while that is not unpacked: see context.h */
    struct ignore *ignore;
    char *work_dir;
    atomic_uint work_count; /* numbers directories below work_dir */
    struct stage *stages;
    size_t stage_count, target; /* the stage asked for, or the last of those */
    struct wanted *wanted;      /* NULL: the target alone */
    size_t wanted_count, wanted_capacity;
    struct platform target_platform, build_platform;
    struct map global_args;   /* ARGs before the first FROM; guarded by args_lock while stages are built */
    struct map used_args;     /* names of build arguments that some ARG took; likewise */
    struct map cache_sources; /* ids that may come from the cache, when it is limited */
    bool cache_limited;
    struct cache_source *sources; /* of cache_import.c */
    size_t source_count, source_capacity;
    int step_total;
    int *exit_status; /* of the RUN that failed first */
    int64_t epoch;    /* SOURCE_DATE_EPOCH, in seconds; <0: not given */
    int64_t began_ns;
    json_t *materials; /* {URI: digests} for the provenance, guarded by fetch_lock; NULL: none is asked for */
    char *source_text; /* the Dockerfile in base64, where the provenance has it; or NULL */
    bool cancelled;    /* atomic: nobody wants the result any more, or a stage has failed */

    pthread_mutex_t lock;   /* of the stages' states, and: */
    pthread_cond_t changed; /* ... one of these has */
    size_t next_stage;      /* that no thread has looked at */
    int slots;              /* free ones: how many stages may work at the same time, see schedule.c */
    int helpers;            /* threads that prepare steps, see ahead.c */
    struct err failed;      /* of the stage that failed first; code 0: none has */
    ssize_t failed_stage;

    pthread_mutex_t args_lock, fetch_lock;
    pthread_cond_t fetch_ended;
    struct map fetched;  /* name -> id of base images, guarded by fetch_lock */
    struct map fetching; /* names that a thread is about to bring */

    pthread_mutex_t out_lock;
    size_t turn; /* the stage that speaks at once */
};

/* A stage in work. */
struct build {
    struct builder *b;
    struct stage *stage;
    const struct dockerfile *file; /* the Dockerfile, or a trigger's text */
    char *image_id;                /* so far; NULL: scratch */
    json_t *config;                /* config document of the image so far, as the next step changes it */
    struct map args;               /* ARGs of the stage; a NULL value: declared, without one */
    bool command_set;              /* CMD given in this stage */
    int number, step, steps;       /* of the present step: in the build, in the stage, of how many there */
    bool cached;                   /* the present step came from the cache */
    struct ahead *ahead;           /* what is prepared for its later steps, or NULL */
    struct ahead *helps;           /* not the stage itself, but what a helper of it sees of it; else NULL */
};

/* --- build.c --- */
char *build__work_path(struct builder *b); /* a fresh name below work_dir */

/* --- output.c --- */
/* These fail when the build is cancelled. `stage` NULL: of the whole build. No bytes only ask. */
int build__out(struct builder *b, struct stage *stage, int stream, const void *bytes, size_t n);
int build__say(struct builder *b, struct stage *stage, const char *format, ...) _printf_(3, 4);
/* A line for whoever looks on, in the text and as an event. */
void build__note(struct builder *b, struct stage *stage, const char *format, ...) _printf_(3, 4);
bool build__cancelled(struct builder *b);
void build__first_turn(struct builder *b);
void build__said_all(struct builder *b, struct stage *stage); /* it is done */
void build__say_held(struct builder *b, struct stage *stage); /* out of turn: it has failed */
void build__event(struct builder *b, const struct bakery_event *event);

/* --- schedule.c --- */
/* All stages that the target needs, those that do not wait for each other at the same time. */
int build__stages(struct builder *b, struct err *err);
/* Another stage that the stage in work needs; builds it when nobody does, else waits for it. */
int build__need(struct build *s, size_t index, struct err *err);
/* Around a wait, with the lock held. */
void build__give_slot(struct builder *b);
void build__take_slot(struct builder *b);
/* The stage has failed: the first failure is the build's, and ends it. */
void build__stage_failed(struct builder *b, size_t index, const struct err *why);

/* --- plan.c --- */
/* What a named context stands for, or NULL. */
const char *build__context_of(const struct builder *b, const char *name);
int build__plan(struct builder *b, struct err *err);
bool build__is_wanted(const struct builder *b, const struct stage *stage); /* its image was asked for */
ssize_t build__find_stage(const struct builder *b, const char *name, size_t before); /* -1: none */

/* --- args.c --- */
int build__platforms(struct builder *b, struct err *err);
/* The value an ARG has: the caller's build argument, its default, the global one, a platform's. */
const char *build__arg_value(struct builder *b, const char *name, const char *fallback);
bool build__arg_given(struct builder *b, const char *name); /* then a default may be one that has no value */
int build__expand_global(struct builder *b, const char *text, char **ret, struct err *err);
int build__expand(struct build *s, const char *text, char **ret, struct err *err);
int build__expand_words(struct build *s, const char *text, char ***ret, struct err *err);
int build__expand_heredoc(struct build *s, const char *text, char **ret, struct err *err);
/* NAME=value of the stage's arguments that ENV does not hide, sorted; what RUN sees and its key holds. */
char **build__effective_args(struct build *s);

/* --- ahead.c --- */
bool build__stopped(const struct build *s); /* the build is cancelled, or the helper's stage has ended */

/* --- stage.c --- */
/* An ARG's values become the stage's; its text is added to *text. */
int build__take_args(struct build *s, const struct df_step *step, struct str *text, struct err *err);
int build__stage(struct builder *b, size_t index, struct err *err); /* called by schedule.c alone */
/* An image by name: the local one, else as the caller fetches it. */
int build__find_image(struct builder *b, const char *name, char **ret_id, struct err *err);
bool build__is_named(char *const *list, const struct stage *stage); /* its name is in the list */
int build__load_config(struct build *s, const char *id, struct err *err);

/* --- commit.c --- */
/* A key for the step: hash of the image so far, `text` and `extra` (may be NULL). */
void build__cache_key(const struct build *s, const char *text, const char *extra, char ret[DIGEST_BYTES]);
bool build__no_cache(const struct build *s); /* asked for, for this stage or all */
int build__say_cached(struct build *s, struct err *err);
/* A key for a layer over nothing. */
void build__link_key(const struct build *s, const char *text, char ret[DIGEST_BYTES]);
/* On a hit the stage goes on with the image found, *ret_hit is true, and it was said. `created_by` is the
 * step's entry in the history; `by_history`: an image whose history has it may be a hit, see cache_import.c.
 */
int build__cache_try(struct build *s, const char *key, const char *created_by, bool by_history, bool *ret_hit,
                     struct err *err);
/* s->config and a layer (or NULL) become the stage's image. */
int build__commit(struct build *s, const char *created_by, const char *layer_digest, const char *key,
                  struct err *err);
/* The same with the time (RFC 3339) at which the step was done elsewhere. */
int build__commit_at(struct build *s, const char *created_by, const char *layer_digest, const char *key,
                     const char *created, struct err *err);
const char *build__now(const struct build *s, char out[TIME_RFC3339_BYTES]); /* or the epoch's time */
/* A step that changes the config only: cache or commit. `key_text` NULL: created_by. */
int build__commit_config(struct build *s, const char *created_by, struct err *err);

/* --- cache_import.c --- */
void build__import_begin(struct builder *b);
void build__import_done(struct builder *b);
/* As build__cache_try(), of what was imported; *ret_hit stays false on a miss. */
int build__import_try(struct build *s, const char *key, const char *created_by, bool by_history,
                      bool *ret_hit, struct err *err);
int build__import_linked(struct build *s, const char *key, const char *link_key, const char *created_by,
                         bool *ret_hit, struct err *err);

/* --- cache_export.c --- */
void build__remember(struct build *s, const char *key, bool layer_alone);
void build__forget_made(struct stage *stage);
int build__export(struct builder *b, struct err *err);
int build__inline_cache(struct builder *b, json_t *annotations, struct err *err);

/* A writable snapshot over the stage's image, for one step. */
struct layer {
    char *dir;
    struct image_snapshot snapshot;
    int root_fd; /* once mounted */
};
#define LAYER_INIT                                                                                           \
    {                                                                                                        \
        .root_fd = -EBADF                                                                                    \
    }
int build__layer_begin(struct build *s, struct layer *l, struct err *err);
int build__layer_begin_empty(struct build *s, struct layer *l, struct err *err); /* over nothing */
int build__layer_mount(struct build *s, struct layer *l, bool read_only, struct err *err);
void build__layer_unmount(struct layer *l);
int build__layer_commit(struct build *s, struct layer *l, const char *created_by, const char *key,
                        struct err *err);
/* A layer over nothing goes upon the stage's image. `link_key` is of the layer alone, `key` of it upon that
 * image. */
int build__link_commit(struct build *s, struct layer *l, const char *created_by, const char *key,
                       const char *link_key, struct err *err);
/* The same of a layer that is in the store; NULL: nothing was copied. */
int build__link_keep(struct build *s, const char *layer_digest, const char *created_by, const char *key,
                     const char *link_key, struct err *err);
/* On a hit the layer found goes upon the stage's image, whatever it stood upon when it was made. */
int build__link_try(struct build *s, const char *created_by, const char *key, const char *link_key,
                    bool *ret_hit, struct err *err);
void build__layer_done(struct layer *l);
#define _cleanup_layer_ _cleanup_(build__layer_done)

/* --- the instructions: config.c, metadata.c, run.c, copy.c --- */
json_t *build__config(struct build *s); /* the "config" object */
const char *build__env_get(struct build *s, const char *name);
void build__env_set(struct build *s, const char *name, const char *value);
char **build__shell(struct build *s); /* ["/bin/sh", "-c"] */

int build__metadata(struct build *s, const struct df_step *step, struct err *err);
int build__workdir(struct build *s, const struct df_step *step, struct err *err);
/* What ENV and WORKDIR set, without an image of it; what ENV says is added to *text. */
int build__take_env(struct build *s, const struct df_step *step, struct str *text, struct err *err);
int build__take_workdir(struct build *s, const struct df_step *step, struct err *err);
int build__run(struct build *s, const struct df_step *step, struct err *err);
int build__copy(struct build *s, const struct df_step *step, struct err *err);
int build__labels(struct build *s, char *const *labels, struct err *err);

/* --- dirs.c --- */
/* As mkdir -p inside the root, also behind links that lead to what is not there yet: those that are made have
 * the mode, whatever the umask, and belong to uid and gid. */
int build__make_dirs(int root_fd, const char *wanted, mode_t mode, uid_t uid, gid_t gid, struct err *err);

/* --- owner.c --- */
/* "user", "user:group", numbers or names of the root's own /etc/passwd and /etc/group. */
int build__owner(int root_fd, const char *text, uid_t *ret_uid, gid_t *ret_gid, struct err *err);

#endif
