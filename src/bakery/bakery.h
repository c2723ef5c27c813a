/* Building images from Dockerfiles.
 *
 * Stages that do not need each other are built at the same time; what is told of them is in the order of the
 * file all the same, and so are the results. SOURCE_DATE_EPOCH among the build arguments gives every time
 * that would be later this one, so that equal inputs make equal digests.
 *
 * Parsing (dockerfile.h) is pure; building walks the stages, asks the cache, and runs RUN steps through the
 * caller's `run` function, so that the bakery needs no engine. Errors name file, line and instruction:
 * `Dockerfile:7: The command '/bin/sh -c make' returned a non-zero code: 2`. */
#ifndef BAKERY_BAKERY_H
#define BAKERY_BAKERY_H

#include "bakery/cache_spec.h"
#include "base/err.h"
#include "image/image.h"
#include "image/tar.h"

/* What is mounted while a RUN runs, see mount.h. Nothing of it, not even the places it is mounted at, is in
 * the step's snapshot. */
enum bakery_mount_type { BAKERY_BIND, BAKERY_CACHE, BAKERY_TMPFS, BAKERY_SECRET, BAKERY_SSH };
enum bakery_sharing { BAKERY_SHARED, BAKERY_PRIVATE, BAKERY_LOCKED };
struct bakery_mount {
    enum bakery_mount_type type;
    char *target; /* absolute, clean; NULL: a secret that is a variable only */
    bool read_only;
    const struct image_snapshot
        *from;    /* bind: a directory or file of it; cache: its first content, or NULL */
    char *source; /* in it; NULL: all of it */
    char *id;     /* cache, secret, ssh */
    char *env;    /* secret: the variable's name, or NULL */
    enum bakery_sharing sharing;
    int mode;
    uint32_t uid, gid;
    int64_t size_bytes;      /* tmpfs; 0: the kernel's default */
    const struct str *value; /* secret */
};

/* One RUN: a process in a container over the snapshot. Output goes to `output` as it comes. Returns 0 and the
 * exit status, or a negative code when it could not run. */
struct bakery_run {
    const struct image_snapshot *snapshot;
    const char *snapshot_dir;
    const char *image_id; /* what the snapshot stands on, or NULL (scratch) */
    char *const *argv;
    char *const *env;
    const char *user; /* as in the image config; "" is root */
    const char *workdir;
    const char *network; /* "default", "none", "host" */
    bool insecure;       /* --security=insecure */
    const struct bakery_mount *mounts;
    size_t mount_count;
    /* A connection to the agent behind an ssh mount. */
    int (*ssh_agent)(void *ssh_context, const char *id, int *ret_fd, struct err *err);
    void *ssh_context;
    const json_t
        *host_config; /* limits asked with the build (Memory, ...), extra hosts, shm size; may be NULL */
    void *output_context;
    /* A non-zero return ends the run. Call it now and then with no bytes while nothing comes: whoever asked
     * for the build may have gone. */
    int (*output)(void *context, int stream, const void *bytes, size_t n);
    /* Told the container's id once there is one. */
    int (*running)(void *context, const char *container_id);
    void *running_context;
    /* Whether the container stays: of every step, or of one that failed (with what it wrote). */
    bool keep, keep_failed;
    bool *ret_kept; /* set when it stays */
};
typedef int (*bakery_run_fn)(void *context, const struct bakery_run *run, int *ret_status, struct err *err);

/* What happens, for a display: stages are at work at the same time. */
enum bakery_event_kind {
    BAKERY_STEP_BEGUN,
    BAKERY_STEP_CACHED, /* it came from the cache */
    BAKERY_STEP_DONE,
    BAKERY_STEP_FAILED,
    BAKERY_LOG,  /* output of a RUN */
    BAKERY_NOTE, /* something the builder has to say, a line */
};
struct bakery_event {
    enum bakery_event_kind kind;
    size_t stage;           /* its number */
    const char *stage_name; /* or its number as text; not with BAKERY_LOG */
    int step, steps;        /* in the stage, from 1, and how many it has */
    const char *text;       /* the instruction */
    int stream;
    const void *bytes;
    size_t byte_count;
};

/* A cache to import or to export; `dir` is where one of type=local is on this machine, an OCI layout. */
struct bakery_cache {
    struct cache_spec spec;
    char *dir;
};

/* Attestations, as BuildKit's --provenance and --sbom ask for them. They go with the image wherever it is
 * pushed. None are made unless asked for: with one an image's name stands for an index, whose digest is
 * another one at each build (a time is in it) where that of the image stays, and some old clients pull no
 * index. */
struct bakery_attest {
    bool provenance, sbom;
    bool max;         /* arguments, labels, the Dockerfile, the names of secrets too */
    bool old_version; /* SLSA v0.2, not v1 */
    bool reproducible;
    char *builder_id; /* or NULL */
};
/* "true", "false", "mode=min|max[,version=v1|v0.2][,reproducible=true][,builder-id=URL]"; sbom stays. */
int bakery_attest_parse(const char *text, struct bakery_attest *ret, struct err *err);
void bakery_attest_done(struct bakery_attest *a);

struct bakery_context;
struct bakery_options {
    const char *context_dir; /* the build context, unpacked; with `context` where that is unpacked to */
    struct bakery_context *context; /* one that came as a tar; NULL: it is in context_dir */
    const char *dockerfile;         /* path in the context; NULL: "Dockerfile" */
    const char *dockerfile_text;    /* instead, when given (docker build -f -) */
    char *const *tags;
    char *const *build_args; /* "NAME=value" or "NAME" */
    char *const *labels;     /* "name=value" */
    const char *target;      /* stage name or number; NULL: the last */
    const char *platform;    /* NULL: this machine's */
    const char *network;     /* for RUN; NULL: "default" */
    char *const *allow;      /* entitlements: "security.insecure"; NULL: none */
    char *const *contexts; /* named ones that are images here, "name=id"; they go before stages and images */
    const json_t *aliases; /* likewise {"name": "docker-image://reference"}; NULL: none */
    const json_t *annotations;          /* of the manifest, texts; NULL: none */
    const struct bakery_attest *attest; /* NULL: none */
    bool no_cache, pull;
    char *const *no_cache_filter;      /* names of stages that take nothing from the cache; NULL: none */
    int64_t timeout_ns;                /* of each RUN; 0: none */
    int parallel;                      /* stages at work at the same time; 0: what the machine takes */
    bool keep_steps, keep_failed_step; /* containers of RUN steps: see struct bakery_run */
    /* Images of the store: only what they stand on is taken from the cache, and what their history and layers
     * show to be a step's; NULL: any. As Docker's classic builder does it. */
    char *const *cache_from;
    const struct bakery_cache *import, *export;
    size_t import_count, export_count;
    const json_t *host_config;
    const char *scratch_dir; /* for snapshots; on the same file system as the images */
    /* Finds or pulls a base image for a platform (NULL: this machine's); NULL: only local ones. */
    int (*fetch)(void *context, const char *reference, const char *platform, bool always, char **ret_id,
                 struct err *err);
    /* Who to be at the registry of a reference, for caches; NULL: nobody. Borrows from the context. */
    struct image_auth (*auth)(void *fetch_context, const char *reference);
    void *fetch_context;
    bakery_run_fn run;
    void *run_context;
    /* What RUN --mount=type=secret and ssh give the steps; ERR_NOT_FOUND for an id that is not known. A
     * secret's value is never written anywhere. Either may be NULL: there are none. */
    int (*secret)(void *secret_context, const char *id, struct str *ret, struct err *err);
    int (*ssh_agent)(void *secret_context, const char *id, int *ret_fd, struct err *err);
    bool (*has_ssh)(void *secret_context, const char *id);
    void *secret_context;
    /* Progress text as the classic builder prints it ("Step 1/5 : FROM busybox\n", " ---> 1a2b3c\n", RUN's
     * output). A non-zero return cancels the build; no bytes only ask for that. */
    void *output_context;
    int (*output)(void *context, int stream, const void *bytes, size_t n);
    /* The same, told at once and not put in order, from any thread; may be NULL. */
    void (*event)(void *output_context, const struct bakery_event *event);
    /* At the end of each stage that made an image; may be NULL. */
    void (*built)(void *context, const char *id);
    int *ret_exit_status; /* of the RUN whose failure ended the build; untouched else; may be NULL */
};

/* A build context as a tar, perhaps compressed, read to its end. It is unpacked into the empty directory
 * `dir` if and when a step needs its files; `dockerfile` (NULL: "Dockerfile") is in memory. "<dir>.tar" is
 * used meanwhile. More than `max_entries` files, directories and links (0: a million) are refused, before the
 * rest is read: ERR_LIMIT. Given back by _free(), after the builds that take it. */
int bakery_context_receive(const char *dir, const char *dockerfile, int64_t max_entries, tar_read_fn read_fn,
                           void *read_context, struct bakery_context **ret, struct err *err);
void bakery_context_free(struct bakery_context *c);

int bakery_build(struct images *im, const struct bakery_options *options, char **ret_image_id,
                 struct err *err);

/* A build context from afar, into the empty directory `dir`: a git repository ("URL#ref:folder", by the git
 * program), an archive, or a text, which is then the Dockerfile. *ret_dir is the context's directory, dir or
 * one below it; *ret_dockerfile the text, or NULL. */
int bakery_remote_context(const char *url, const char *dir, char **ret_dir, char **ret_dockerfile,
                          struct err *err);

/* Applies one instruction, as `docker commit --change` takes it, to the "config" object of an image: CMD,
 * ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR. On an error the
 * object is as it was. */
int bakery_config_change(json_t *config, const char *instruction, struct err *err);

#endif
