/* A Compose project against a server: its options, what is there, and carrying out a plan. */
#ifndef CLI_PROJECT_H
#define CLI_PROJECT_H

#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "compose/plan.h"

/* The options every verb on a project has; PROJECT_OPTIONS goes into its table. */
struct project_options {
    char **files, **env_files, **profiles;
    const char *name, *dir;
};
/* How every verb on a project goes about it. */
struct project_manner {
    int parallel; /* how much is done at the same time; <1: as much as there is */
    bool compatibility;
};
extern struct project_manner project_manner;
/* At most `most`. */
size_t project_at_once(size_t most);
/* clang-format off */
#define PROJECT_OPTIONS(o)                                                                               \
    {'f', "file", CLI_LIST, &(o).files, "FILE", "Compose file (again for more; \"-\" is standard input)"}, \
    {'p', "project-name", CLI_TEXT, &(o).name, "NAME", "Project name"},                                   \
    PROJECT_OPTIONS_WITHOUT_SHORT(o)
#define PROJECT_OPTIONS_WITHOUT_SHORT(o)                                                                 \
    {0, "project-directory", CLI_TEXT, &(o).dir, "DIR", "Where relative paths start"},                     \
    {0, "env-file", CLI_LIST, &(o).env_files, "FILE", "File of variables instead of .env"},                \
    {0, "profile", CLI_LIST, &(o).profiles, "NAME", "Turn a profile on"},                                   \
    {0, "dry-run", CLI_FLAG, &cli_dry_run, NULL, "Print what would be done; change nothing"},              \
    {0, "parallel", CLI_INT, &project_manner.parallel, "N", "Do at most N things at the same time"},       \
    {0, "compatibility", CLI_FLAG, &project_manner.compatibility, NULL,                                    \
     "Names with \"_\" between their parts, as docker-compose 1 gave them"}
/* clang-format on */

struct variable_use;

struct project_load_options {
    char *const *services; /* as in struct compose_options */
    bool no_deps;
    bool
        as_stack; /* for services of a swarm: notes that deploy: says nothing to one machine are not for it */
    bool to_run;  /* to make containers: files that they need have to be there */
    bool no_interpolate;
    void (*note_use)(void *context, const struct variable_use *use);
    void *context;
};

/* Loads; prints every problem and note to stderr. On failure the exit status is returned (positive), else 0.
 */
int project_load_with(const struct project_options *o, const struct project_load_options *how,
                      struct compose_project **ret);
int project_load(const struct project_options *o, char *const *services, bool no_deps,
                 struct compose_project **ret);
/* The name that was asked for, without a look into files; NULL when none was. */
const char *project_given_name(const struct project_options *o);
/* Options before the verb: they hold where the verb's own do not say otherwise. */
extern const struct cli_option project_global_options[];
void project_options_done(struct project_options *o);
bool project_present(const struct project_options *o);

/* What is there: lists of the API, owned. */
struct project_world {
    json_t *containers, *networks, *volumes, *images, *fetched;
};
int project_observe(const struct compose_project *p, struct project_world *ret, struct err *err);
void project_world_done(struct project_world *w);
struct plan_observed project_observed(const struct project_world *w);

struct project_run {
    const struct compose_project *project;
    const struct project_world *world;
    struct progress *progress;
    int stop_timeout_s;    /* <0: each container's own */
    bool remove_volumes;   /* anonymous ones, with their container */
    bool renew_volumes;    /* new containers do not take over the anonymous volumes of the old */
    int64_t wait_until_ns; /* time_monotonic_ns() at which waiting is given up; 0: never */
};
/* Does the actions stage by stage, those of a stage at the same time. The first error ends it after its
 * stage. */
int project_carry_out(const struct project_run *run, const struct plan *plan, struct err *err);

/* A container of a service on all its networks, with its secrets and configs in it. */
int project_create_container(const struct compose_service *s, const json_t *body, const char *name,
                             char **ret_id, struct err *err);

/* Containers of a project as the API lists them; `service` NULL: all. Sorted by name. */
int project_containers(const char *project, const char *service, bool all, json_t **ret, struct err *err);
/* "web-1": how a container of the project is called in lists and log prefixes. */
char *project_short_name(const json_t *container);

/* Builds one service's image, showing progress. `how` may be NULL. */
struct project_build_how {
    bool no_cache, pull;
    int64_t memory;           /* bytes of a step; 0: no limit */
    bool all_platforms, push; /* of several platforms an image for each, and their index to its registry */
    char **agents;            /* instead of the file's; as `drover build --ssh` takes them */
};
int project_build(const struct compose_service *s, const struct project_build_how *how,
                  struct progress *progress, struct err *err);

#endif
