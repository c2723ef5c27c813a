/* Compose files (the Compose Specification) to a project: its services with the Docker API bodies of their
 * containers, its networks and volumes, in the order of their dependencies.
 *
 *     files and environment -> model.h: yaml.h (parse), interpolate.h, schema.h (check), canonical.h,
 * extends, include, merge.h -> compose_load() -> struct compose_project -> plan.h (what to do, given what is
 * there)
 *
 * Everything here only reads files; nothing talks to a server. What is wrong is listed whole, each with file,
 * line and column. A key that is not supported is an error that names it. */
#ifndef COMPOSE_COMPOSE_H
#define COMPOSE_COMPOSE_H

#include "base/err.h"
#include "base/map.h"
#include "base/str.h"

#include <jansson.h>

struct yaml_arena;
struct yaml_node;

/* Labels that Docker Compose puts on what it makes, and other tools look for. */
#define COMPOSE_LABEL_PROJECT "com.docker.compose.project"
#define COMPOSE_LABEL_SERVICE "com.docker.compose.service"
#define COMPOSE_LABEL_NUMBER  "com.docker.compose.container-number"
#define COMPOSE_LABEL_ONEOFF  "com.docker.compose.oneoff"
#define COMPOSE_LABEL_HASH    "com.docker.compose.config-hash"
#define COMPOSE_LABEL_IMAGE   "com.docker.compose.image"
#define COMPOSE_LABEL_DEPENDS "com.docker.compose.depends_on"
#define COMPOSE_LABEL_NETWORK "com.docker.compose.network"
#define COMPOSE_LABEL_VOLUME  "com.docker.compose.volume"
#define COMPOSE_LABEL_VERSION "com.docker.compose.version"
#define COMPOSE_LABEL_DIR     "com.docker.compose.project.working_dir"
#define COMPOSE_LABEL_FILES   "com.docker.compose.project.config_files"
#define COMPOSE_LABEL_EXTRA   "sh.drover.compose.extra-hash" /* what docker compose's digest does not see */

enum compose_condition { COMPOSE_STARTED, COMPOSE_HEALTHY, COMPOSE_COMPLETED };

struct compose_dependency {
    const char *service;
    enum compose_condition condition;
    bool required, restart;
    bool shares; /* a namespace of its container: goes with it */
    bool linked; /* by `links`; such a one is restarted by `restart`, as docker compose says */
};

/* One of the two has the value. */
struct compose_build_secret {
    const char *id, *file, *content;
};

/* Whether a build context is not a directory here but a URL, of a git repository or of an archive, which the
 * engine fetches; as docker compose tells them. */
bool compose_context_is_remote(const char *text);

struct compose_build {
    const char *context;    /* absolute directory, or a URL */
    const char *dockerfile; /* in the context, or absolute; "" is Dockerfile */
    const char *target, *network;
    json_t *args, *labels; /* of strings; may be NULL */
    char **tags, **extra_hosts;
    char **cache_from, **cache_to;            /* see bakery/cache_spec.h */
    const char *dockerfile_inline, *platform; /* "" for none */
    char **platforms; /* all that it can be built for; `platform` is what containers are made from */
    const char *provenance, *sbom; /* as `drover build` takes them; "" for none */
    json_t *ulimits;               /* as HostConfig has them; NULL for none */
    /* As `drover build` takes --ssh, --build-context and --allow. */
    char **agents, **contexts, **allow;
    char **bases; /* services whose images must be there before */
    int depth;    /* of bases below bases */
    struct compose_build_secret *secrets;
    size_t secret_count;
    int64_t shm_size;
    bool no_cache, pull;
};

enum { COMPOSE_MAX_COPY_BYTES = 1 << 20 };

/* A file that is copied into a container before it starts: a secret or config that is not a plain bind. */
struct compose_copy {
    const char *target; /* absolute */
    const char *file;   /* read when the container is made; NULL: `content` */
    const char *content;
    int64_t uid, gid;
    int mode;
};

/* A command of post_start or pre_stop, as the body of POST /containers/X/exec. */
struct compose_hook {
    json_t *body;
};

struct compose_watch {
    const struct yaml_node *node;
    const char *path, *action, *target;
    char **ignore, **include;
    const struct compose_hook *exec; /* NULL unless sync+exec */
    bool initial_sync;
};

struct compose_service {
    const char *name;
    const struct yaml_node *node;
    bool active; /* a profile of it is on, or it was asked for, or is needed */
    int replicas;
    const char *container_name;  /* NULL: project-service-number */
    const char *image;           /* what containers are made from; set for builds too */
    const char *pull_policy;     /* "always", "missing", "never", "build", "refresh", or "" */
    int64_t refresh_ns;          /* "refresh": always when it was fetched longer ago than this */
    const char *platform;        /* "" for the machine's own */
    bool has_build, image_given; /* image_given: by an "image" key, not made up */
    struct compose_build build;
    struct compose_dependency *depends;
    size_t depend_count;
    int depth;          /* 0: depends on nothing; else one more than the deepest it depends on */
    char **networks;    /* full names, the first is the one it is created on; empty with network_mode */
    json_t *endpoints;  /* network's full name -> EndpointSettings */
    json_t *body;       /* POST /containers/create, without name, number and image labels */
    char *hash;         /* render_service_hash(), what is shared of other containers not looked up */
    char *extra;        /* digest of what it has from elsewhere: files' contents, aliases by others' links */
    int stop_timeout_s; /* -1: the default */
    bool attach;        /* its output is shown by `up` */
    struct compose_copy *copies;
    size_t copy_count;
    char **image_mounts; /* images that are mounted, and need be none that a service is made from */
    struct compose_hook *post_start, *pre_stop;
    size_t post_start_count, pre_stop_count;
    struct compose_watch *watch;
    size_t watch_count;
};

struct compose_resource { /* a network or a volume */
    const char *key, *name;
    const struct yaml_node *node;
    bool external, used;
    json_t *body; /* to create it with; NULL when external */
};

struct compose_project {
    struct yaml_arena *arena;
    const char *name, *dir;
    const char *separator; /* of the parts of a container's or image's name */
    char **files;
    struct yaml_node *root; /* the merged document */
    struct compose_service *services;
    size_t service_count;
    struct compose_resource *networks, *volumes;
    size_t network_count, volume_count;
    int max_depth;
};

struct variable_use;

struct compose_options {
    char *const *files;     /* empty: COMPOSE_FILE, else searched from the working directory upwards */
    const char *text;       /* instead of files: this, called compose.yaml, in `dir` */
    const char *name;       /* -p; NULL: COMPOSE_PROJECT_NAME, name:, the directory's name */
    const char *dir;        /* --project-directory; NULL: that of the first file */
    char *const *env_files; /* instead of .env */
    char *const *profiles;  /* also those of COMPOSE_PROFILES */
    char *const *services;  /* asked for by name; empty: all with an active profile */
    bool compatibility;     /* names have "_" between their parts, as docker-compose 1 gave them */
    bool no_deps;           /* with `services`: not what they depend on */
    bool check_files;       /* the files of secrets and configs have to be there */
    bool stack;             /* for services of a swarm: it has secrets and configs of its own */
    const char *cwd;        /* NULL: the process's */
    char *const *environ;   /* "NAME=value"; NULL: the process's */
    const char *api_socket; /* what use_api_socket binds; NULL: /run/drover.sock */
    bool no_interpolate;    /* variables stay as they are written: only `root` is there then */
    void (*variable)(void *context, const struct variable_use *use); /* interpolate.h; may be NULL */
    void *context;
};

/* ERR_NOT_FOUND when there is no Compose file. When the files are wrong, ERR_INVALID (ERR_UNSUPPORTED) with
 * the first problem, and all of them, a line each, in `ret_problems` (also filled with notes on success). */
int compose_load(const struct compose_options *options, struct compose_project **ret,
                 struct str *ret_problems, struct err *err);
void compose_project_free(struct compose_project *p);
static inline void compose_project_free_p(struct compose_project **p)
{
    compose_project_free(*p);
}
#define _cleanup_compose_ _cleanup_(compose_project_free_p)

struct compose_service *compose_find_service(const struct compose_project *p, const char *name);
/* Whether a Compose file would be found. */
bool compose_present(const struct compose_options *options);
/* Makes a name of lower-case letters, digits, '-' and '_'; "" if nothing is left. The caller frees. */
char *compose_normalize_name(const char *text);

/* A port as `-p` and `ports:` take it ("127.0.0.1:8080-8081:80-81/udp") into ExposedPorts and PortBindings.
 */
int compose_add_port(const char *text, json_t *exposed, json_t *bindings, struct err *err);
/* "80", "80/udp" or "8000-8010" into ExposedPorts. */
int compose_add_exposed(const char *text, json_t *exposed, struct err *err);

/* Where in the files stands what the engine refused: puts "file:line:column: path: " before a message that
 * names a field of the API ("HostConfig.X"), when the field comes from a key of this service. */
void compose_blame(const struct compose_service *s, struct err *err);

/* The environment compose works with: the process's over .env or --env-file. */
int compose_environment(const struct compose_options *options, const char *dir, struct map *into,
                        struct err *err);

#endif
