#include "bakery/bakery.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/build.h"
#include "cli/build_output.h"
#include "cli/build_progress.h"
#include "cli/build_session.h"
#include "cli/call.h"
#include "cli/project.h"
#include "cli/pull.h"

/* --- A service's image --- */

struct service_output {
    struct progress *progress;
    struct str line, all;
    char *key;
    const char *service;
};

enum { MAX_KEPT_OUTPUT = 1 << 20, MAX_LINE = 4096 };

static void show_line(struct service_output *o)
{
    if (!o->line.len)
        return;
    _cleanup_free_ char *safe = output_safe(str_get(&o->line));
    if (progress_live(o->progress)) {
        _cleanup_free_ char *shown = str_printf("Building: %s", safe);
        progress_detail(o->progress, o->key, shown);
    } else {
        _cleanup_free_ char *shown = str_printf(" %s | %s\n", o->service, safe);
        progress_print(o->progress, shown);
    }
    str_clear(&o->line);
}

/* On a terminal the last line of output is the detail, and all of it is shown when the build fails; elsewhere
 * each line is printed as it comes. */
static void take_output(void *context, const char *text)
{
    struct service_output *o = context;
    if (o->all.len < MAX_KEPT_OUTPUT)
        str_add(&o->all, text);
    for (; *text; text++) {
        if (*text == '\n' || *text == '\r' || o->line.len > MAX_LINE)
            show_line(o);
        if (*text != '\n' && *text != '\r')
            str_addc(&o->line, *text);
    }
}

/* With a session where the build is given what Docker's API has no place for. */
static int build_with_session(const struct compose_build *b, char **agents, struct build_request *q,
                              char **ret_id, struct err *err)
{
    struct build_session *session = NULL;
    struct build_session_request request = {.cache_from = b->cache_from,
                                            .cache_to = b->cache_to,
                                            .agents = agents ? agents : b->agents,
                                            .contexts = b->contexts,
                                            .given = b->secrets,
                                            .given_count = b->secret_count};
    bool sends_text = !str_empty(q->dockerfile_text) && compose_context_is_remote(q->context);
    if (!b->cache_from && !b->cache_to && !request.agents && !b->contexts && !b->secret_count && !b->allow &&
        str_empty(b->provenance) && str_empty(b->sbom) && !sends_text)
        return build_image(q, ret_id, err);
    request.options = json_pack("{s:o}", "Allow", json_of_strv(b->allow));
    if (sends_text) /* else it is packed with the context */
        json_set_str(request.options, "Dockerfile", q->dockerfile_text);
    build_session_attest(request.options, b->provenance, b->sbom);
    int r = build_session_open(&request, &session, err);
    if (r < 0)
        return r;
    q->session = build_session_id(session);
    _cleanup_free_ char *id = NULL;
    r = build_image(q, &id, err);
    if (r == 0)
        r = build_session_take_caches(session, b->cache_to, err);
    build_session_close(session);
    if (r == 0)
        *ret_id = take_ptr(id);
    return r;
}

/* Each build would put its cache in the place of the one before. */
static int check_caches(char *const *cache_to, struct err *err)
{
    for (char *const *text = cache_to; text && *text; text++)
        if (!str_eq(*text, "type=inline"))
            return err_set(err, ERR_UNSUPPORTED,
                           "cache-to %.100s: a build for several platforms has only type=inline; export "
                           "the others' by a build for each platform, with a name of its own",
                           *text);
    return 0;
}

static int build_each_platform(const struct compose_service *s, const struct project_build_how *how,
                               struct build_request *q, struct err *err)
{
    _cleanup_strv_ char **ids = NULL;
    char *const *tags = q->tags;
    int r = check_caches(s->build.cache_to, err);
    q->tags = NULL;
    for (char **platform = s->build.platforms; r == 0 && *platform; platform++) {
        char *id = NULL;
        q->platform = *platform;
        r = build_with_session(&s->build, how->agents, q, &id, err);
        if (r < 0)
            return err_wrap(err, "%s", *platform);
        strv_take(&ids, id);
    }
    const struct build_index index = {ids, s->build.platforms};
    char *const name[] = {(char *)s->image, NULL};
    if (r == 0)
        r = build_index_tag(&index, tags, err);
    return r == 0 && how->push ? build_index_push(&index, name, err) : r;
}

int project_build(const struct compose_service *s, const struct project_build_how *how,
                  struct progress *progress, struct err *err)
{
    static const struct project_build_how usual;
    const struct compose_build *b = &s->build;
    _cleanup_strv_ char **tags = strv_dup(b->tags);
    _cleanup_free_ char *key = str_printf("%-9s %s", "Image", s->image);
    struct service_output output = {.progress = progress, .key = key, .service = s->name};
    strv_add(&tags, s->image);
    how = how ? how : &usual;
    struct build_request request = {.context = b->context,
                                    .dockerfile = b->dockerfile,
                                    .target = b->target,
                                    .network = b->network,
                                    .tags = tags,
                                    .args = b->args,
                                    .labels = b->labels,
                                    .extra_hosts = b->extra_hosts,
                                    .dockerfile_text = b->dockerfile_inline,
                                    .platform = b->platform,
                                    .ulimits = b->ulimits,
                                    .shm_size = b->shm_size,
                                    .memory = how->memory,
                                    .no_cache = b->no_cache || how->no_cache,
                                    .pull = b->pull || how->pull,
                                    .context_of_output = &output,
                                    .output = take_output};
    _cleanup_free_ char *id = NULL;
    int r = how->all_platforms && strv_len(b->platforms) > 1
                ? build_each_platform(s, how, &request, err)
                : build_with_session(b, how->agents, &request, &id, err);
    show_line(&output);
    if (r < 0 && progress_live(progress))
        progress_print(progress, str_get(&output.all));
    str_free(&output.line);
    str_free(&output.all);
    return r < 0 ? err_wrap(err, "build service %s", s->name) : 0;
}

/* --- drover build --- */

enum { OUTPUTS_MAX = 16 };

struct build_options {
    struct project_options project;
    char **tags, **args, **labels, **hosts, **platforms, **outputs, **ulimits;
    char **secrets, **agents, **contexts, **no_cache_filter, **allow, **annotations, **cache_from, **cache_to;
    const char *file, *target, *network, *shm_size, *progress, *timeout, *id_file, *metadata_file, *memory,
        *builder, *call, *provenance, *sbom;
    struct build_call method;
    bool load, no_cache, pull, quiet, push, print, check, with_dependencies;
    bool attested; /* provenance or sbom say so */
};

static void options_done(struct build_options *o)
{
    char **lists[] = {o->tags,        o->args,       o->labels,  o->hosts,    o->platforms,       o->outputs,
                      o->ulimits,     o->secrets,    o->agents,  o->contexts, o->no_cache_filter, o->allow,
                      o->annotations, o->cache_from, o->cache_to};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        strv_free(lists[i]);
    project_options_done(&o->project);
}

static json_t *pairs(char *const *list, bool from_environment)
{
    json_t *object = json_object();
    for (char *const *item = list; item && *item; item++) {
        size_t n = strcspn(*item, "=");
        _cleanup_free_ char *name = mem_strndup(*item, n);
        const char *value = (*item)[n] ? *item + n + 1 : from_environment ? getenv(name) : "";
        if (value)
            json_set_str(object, name, value);
    }
    return object;
}

/* "nofile=1024[:2048]" as HostConfig has it. */
static int read_ulimits(char *const *list, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *all = json_array();
    STRV_FOREACH (text, (char **)list) {
        size_t n = strcspn(*text, "=");
        _cleanup_free_ char *name = mem_strndup(*text, n);
        const char *value = (*text)[n] ? *text + n + 1 : "", *colon = strchr(value, ':');
        _cleanup_free_ char *soft = mem_strndup(value, strcspn(value, ":"));
        int64_t low, high;
        if (!n || parse_i64(soft, -1, INT64_MAX, &low, NULL) < 0 ||
            parse_i64(colon ? colon + 1 : soft, -1, INT64_MAX, &high, NULL) < 0)
            return err_set(err, ERR_INVALID, "--ulimit %.100s: it must be NAME=SOFT[:HARD]", *text);
        json_array_append_new(all, json_pack("{s:s, s:I, s:I}", "Name", name, "Soft", (json_int_t)low, "Hard",
                                             (json_int_t)high));
    }
    *ret = take_ptr(all);
    return 0;
}

/* One build, from its options to its last output. */
struct building {
    const struct build_options *o;
    struct build_request request;
    struct build_output outputs[OUTPUTS_MAX];
    size_t output_count;
    char **tags, **platforms;
    char **ids; /* of a build for several platforms */
    json_t *args, *labels, *ulimits, *result;
    struct build_progress *progress;
    struct build_session *session;
    char *id;
};

static void building_done(struct building *b)
{
    for (size_t i = 0; i < b->output_count; i++)
        build_output_done(&b->outputs[i]);
    strv_free(b->tags);
    strv_free(b->platforms);
    strv_free(b->ids);
    json_decref(b->args);
    json_decref(b->labels);
    json_decref(b->ulimits);
    json_decref(b->result);
    build_session_close(b->session);
    build_progress_free(b->progress);
    free(b->id);
}

static void take_event(void *context, const json_t *event)
{
    struct building *b = context;
    if (str_eq(json_str(event, "Kind"), "result")) {
        json_decref(b->result);
        b->result = json_deep_copy(event);
    }
    build_progress_event(b->progress, event);
}

static void take_text(void *context, const char *text)
{
    struct building *b = context;
    build_progress_text(b->progress, text);
}

static int read_outputs(struct building *b, struct err *err)
{
    b->tags = strv_dup(b->o->tags);
    STRV_FOREACH (text, b->o->outputs) {
        if (b->output_count == OUTPUTS_MAX)
            return err_set(err, ERR_LIMIT, "more than %d outputs", OUTPUTS_MAX);
        struct build_output *out = &b->outputs[b->output_count];
        int r = build_output_parse(*text, out, err);
        if (r < 0)
            return r;
        b->output_count++;
        STRV_FOREACH (name, out->names)
            if (!strv_has(b->tags, *name))
                strv_add(&b->tags, *name);
    }
    if (b->o->push)
        b->outputs[b->output_count++] = (struct build_output){.type = OUTPUT_REGISTRY, .push = true};
    return 0;
}

static int open_session(struct building *b, struct err *err)
{
    const struct build_options *o = b->o;
    int64_t timeout = 0;
    int r = o->timeout ? parse_duration(o->timeout, &timeout, err) : 0;
    if (r < 0)
        return err_wrap(err, "--timeout");
    struct build_session_request request = {.secrets = o->secrets,
                                            .agents = o->agents,
                                            .contexts = o->contexts,
                                            .cache_from = o->cache_from,
                                            .cache_to = o->cache_to};
    request.options =
        json_pack("{s:b, s:o, s:o, s:I, s:o}", "Events", 1, "NoCacheFilter", json_of_strv(o->no_cache_filter),
                  "Allow", json_of_strv(o->allow), "TimeoutNs", (json_int_t)timeout, "Annotations",
                  pairs(o->annotations, false));
    build_session_attest(request.options, o->provenance, o->sbom);
    return build_session_open(&request, &b->session, err);
}

static int write_file(const char *path, const char *text, struct err *err)
{
    return path ? file_replace(path, text, strlen(text), 0644, false, err) : 0;
}

static int write_results(struct building *b, struct err *err)
{
    int r = write_file(b->o->id_file, b->id, err);
    if (r < 0 || !b->o->metadata_file)
        return r;
    _cleanup_free_ char *names = b->tags ? strv_join(b->tags, ",") : NULL;
    _cleanup_json_ json_t *all = json_pack("{s:s, s:s}", "containerimage.config.digest", b->id,
                                           "containerimage.digest", json_str(b->result, "Digest"));
    if (names)
        json_set_str(all, "image.name", names);
    _cleanup_free_ char *text = json_format(all);
    return write_file(b->o->metadata_file, text, err);
}

static int read_memory(const struct build_options *o, int64_t *ret, struct err *err)
{
    int r = o->memory ? parse_bytes(o->memory, ret, err) : 0;
    return r < 0 ? err_wrap(err, "--memory") : 0;
}

static int prepare(struct building *b, const char *context, struct err *err)
{
    const struct build_options *o = b->o;
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    b->args = pairs(o->args, true);
    b->labels = pairs(o->labels, false);
    if (epoch && *epoch && !json_object_get(b->args, "SOURCE_DATE_EPOCH"))
        json_set_str(b->args, "SOURCE_DATE_EPOCH", epoch);
    STRV_FOREACH (text, o->platforms) {
        _cleanup_strv_ char **parts = strv_split(*text, ',');
        STRV_FOREACH (part, parts)
            if (!strv_has(b->platforms, *part))
                strv_add(&b->platforms, *part);
    }
    int r = read_outputs(b, err);
    if (r == 0)
        r = read_ulimits(o->ulimits, &b->ulimits, err);
    b->request = (struct build_request){.context = context,
                                        .dockerfile = o->file,
                                        .target = o->target,
                                        .network = o->network,
                                        .platform = b->platforms ? b->platforms[0] : NULL,
                                        .tags = b->tags,
                                        .args = b->args,
                                        .labels = b->labels,
                                        .ulimits = b->ulimits,
                                        .extra_hosts = o->hosts,
                                        .no_cache = o->no_cache,
                                        .pull = o->pull,
                                        .context_of_output = b,
                                        .output = take_text,
                                        .event = take_event};
    if (r == 0 && o->shm_size && (r = parse_bytes(o->shm_size, &b->request.shm_size, err)) < 0)
        return err_wrap(err, "--shm-size");
    return r < 0 ? r : read_memory(o, &b->request.memory, err);
}

static int build_once(struct building *b, struct err *err)
{
    int r = open_session(b, err);
    if (r < 0)
        return r;
    b->request.session = build_session_id(b->session);
    r = build_image(&b->request, &b->id, err);
    return r < 0 ? r : build_session_take_caches(b->session, b->o->cache_to, err);
}

/* --- for several platforms --- */

static int build_each(struct building *b, struct err *err)
{
    int r = check_caches(b->o->cache_to, err);
    b->request.tags = NULL;
    for (size_t i = 0; r == 0 && b->platforms[i]; i++) {
        _cleanup_free_ char *line = str_printf("For %s", b->platforms[i]);
        build_progress_text(b->progress, line);
        b->request.platform = b->platforms[i];
        r = build_once(b, err);
        if (r < 0)
            return err_wrap(err, "%s", b->platforms[i]);
        build_session_close(take_ptr(b->session));
        strv_take(&b->ids, take_ptr(b->id));
    }
    _cleanup_json_ json_t *answer = NULL;
    _cleanup_free_ char *ids = r == 0 ? strv_join(b->ids, ",") : NULL;
    if (r == 0)
        r = cli_call("POST", NULL, &answer, err, "/drover/index?names=%s", ids);
    if (r == 0)
        r = build_index_tag(&(struct build_index){b->ids, b->platforms}, b->tags, err);
    if (r < 0)
        return r;
    json_decref(b->result);
    b->result = json_incref(answer);
    b->id = mem_strdup(json_str(answer, "Digest"));
    return 0;
}

static int carry_out(struct building *b, const struct build_output *o, struct err *err)
{
    char *const one[] = {b->id, NULL};
    const struct build_index index = {b->ids ? b->ids : (char **)one, b->platforms};
    /* An archive of an OCI layout holds attestations in an index, as a push has them; docker's has no place.
     */
    return b->ids || (b->o->attested && o->type == OUTPUT_OCI)
               ? build_output_index(o, &index, b->tags, err)
               : build_output_carry_out(o, b->id, b->tags, err);
}

static int build_path(const struct build_options *o, const char *context)
{
    _cleanup_(building_done) struct building b = {.o = o};
    struct err err;
    int r = build_progress_new(o->quiet ? "quiet" : o->progress, &b.progress, &err);
    if (r == 0)
        r = prepare(&b, context, &err);
    if (r == 0 && o->method.method != BUILD_BUILD) {
        build_progress_end(b.progress, false);
        return build_call(&b.request, &o->method);
    }
    if (r == 0)
        r = strv_len(b.platforms) > 1 ? build_each(&b, &err) : build_once(&b, &err);
    build_progress_end(b.progress, r < 0);
    bool to_stdout = false;
    for (size_t i = 0; r == 0 && i < b.output_count; i++) {
        r = carry_out(&b, &b.outputs[i], &err);
        to_stdout = to_stdout || str_eq(b.outputs[i].destination, "-");
    }
    if (r == 0)
        r = write_results(&b, &err);
    if (r < 0)
        return cli_fail(&err);
    if (!to_stdout)
        printf("%s\n", b.id);
    return 0;
}

static int build_service(const struct build_options *o, struct compose_service *s,
                         struct project_build_how *how, struct progress *progress, struct err *err)
{
    how->push = o->push && s->image_given;
    _cleanup_free_ char *key = str_printf("%-9s %s", "Image", s->image);
    if (o->target)
        s->build.target = o->target;
    _cleanup_json_ json_t *args = pairs(o->args, true);
    if (!s->build.args)
        s->build.args = json_object();
    json_object_update(s->build.args, args);
    s->build.provenance = o->provenance ? o->provenance : s->build.provenance;
    s->build.sbom = o->sbom ? o->sbom : s->build.sbom;
    progress_set(progress, key, COLOUR_YELLOW, "Building");
    int r = cli_dry_run ? 0 : project_build(s, how, progress, err);
    progress_set(progress, key, r < 0 ? COLOUR_RED : COLOUR_GREEN, r < 0 ? "Failed" : "Built");
    if (r < 0 || !how->push || strv_len(s->build.platforms) > 1)
        return r;
    progress_set(progress, key, COLOUR_YELLOW, "Pushing");
    r = cli_dry_run ? 0 : push_image(s->image, progress, err);
    progress_set(progress, key, r < 0 ? COLOUR_RED : COLOUR_GREEN, r < 0 ? "Failed" : "Pushed");
    return r;
}

/* What a build stands on is built, too. */
static void want_bases(struct compose_project *p)
{
    for (int depth = (int)p->service_count; depth > 0; depth--)
        for (size_t i = 0; i < p->service_count; i++) {
            const struct compose_service *s = &p->services[i];
            for (char **base = s->active && s->build.depth == depth ? s->build.bases : NULL; base && *base;
                 base++)
                compose_find_service(p, *base)->active = true;
        }
}

/* What a service has in its file. */
static int refuse_for_services(const struct build_options *o, struct err *err)
{
    const struct {
        const char *option;
        bool given;
    } asked[] = {{"label", o->labels},
                 {"annotation", o->annotations},
                 {"output", o->outputs},
                 {"platform", o->platforms},
                 {"build-context", o->contexts},
                 {"secret", o->secrets},
                 {"allow", o->allow},
                 {"no-cache-filter", o->no_cache_filter},
                 {"cache-from", o->cache_from},
                 {"cache-to", o->cache_to},
                 {"timeout", o->timeout},
                 {"iidfile", o->id_file},
                 {"metadata-file", o->metadata_file},
                 {"ulimit", o->ulimits},
                 {"add-host", o->hosts},
                 {"network", o->network},
                 {"shm-size", o->shm_size}};
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
        if (asked[i].given)
            return err_set(err, ERR_INVALID,
                           "--%s is for a build of PATH; a service has it under \"build:\" of its file",
                           asked[i].option);
    return 0;
}

static int build_services(const struct build_options *o, char **services)
{
    _cleanup_compose_ struct compose_project *p = NULL;
    struct project_build_how how = {
        .no_cache = o->no_cache, .pull = o->pull, .agents = o->agents, .all_platforms = true};
    struct err err = {0};
    if (refuse_for_services(o, &err) < 0 || read_memory(o, &how.memory, &err) < 0)
        return cli_fail(&err);
    int status = project_load(&o->project, services, !o->with_dependencies, &p);
    if (status)
        return status;
    _cleanup_progress_ struct progress *progress = progress_new();
    want_bases(p);
    for (int depth = 0; depth < (int)p->service_count; depth++)
        for (size_t i = 0; i < p->service_count; i++) {
            struct compose_service *s = &p->services[i];
            if (s->active && s->has_build && s->build.depth == depth &&
                build_service(o, s, &how, progress, &err) < 0)
                return cli_fail(&err);
        }
    return 0;
}

/* A word is a directory to build, unless a project is asked for and it names a service. */
static bool means_path(const struct build_options *o, char **rest)
{
    if (!rest[0])
        return false;
    if (o->tags || o->file || o->method.method != BUILD_BUILD || strchr(rest[0], '/') || rest[0][0] == '.' ||
        strcmp(rest[0], "-") == 0)
        return true;
    return !project_present(&o->project);
}

/* Options of buildx that scripts give, of which one value asks for what is done here anyway. */
static int agree(struct build_options *o, struct err *err)
{
    const struct {
        const char *option, *given, *fits, *why;
    } asked[] = {
        {"--builder", o->builder, "default", "the one builder there is, is default"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
        if (asked[i].given && !str_eq(asked[i].given, asked[i].fits))
            return err_set(err, ERR_UNSUPPORTED, "%s=%s is not supported: %s", asked[i].option,
                           asked[i].given, asked[i].why);
    struct bakery_attest attest = {0};
    bool sbom;
    int r = o->provenance ? bakery_attest_parse(o->provenance, &attest, err) : 0;
    o->attested = attest.provenance;
    bakery_attest_done(&attest);
    if (r < 0)
        return err_wrap(err, "--provenance");
    if (o->sbom && parse_bool(o->sbom, &sbom, err) < 0)
        return err_wrap(err, "--sbom");
    o->attested = o->attested || (o->sbom && sbom);
    r = build_call_parse(o->call, &o->method, err);
    if (o->print || o->check)
        o->method.method = o->print ? BUILD_PRINT : BUILD_CHECK;
    return r;
}

int cli_build(int argc, char **argv)
{
    struct build_options o = {0};
    const struct cli_option options[] = {
        {'t', "tag", CLI_LIST, &o.tags, "NAME", "Name of the image (again for more)"},
        {'f', "file", CLI_TEXT, &o.file, "FILE", "The Dockerfile (default PATH/Dockerfile)"},
        {0, "build-arg", CLI_LIST, &o.args, "NAME[=VALUE]", "Value of an ARG"},
        {0, "label", CLI_LIST, &o.labels, "NAME=VALUE", "Label of the image"},
        {0, "annotation", CLI_LIST, &o.annotations, "NAME=VALUE", "Annotation of the image's manifest"},
        {'o', "output", CLI_LIST, &o.outputs, "OUTPUT",
         "Where the result goes: a directory, \"-\" (a tar), or type=local|tar|oci|docker|image|registry"
         "[,dest=PATH][,name=NAME][,push=true]"},
        {0, "push", CLI_FLAG, &o.push, NULL, "Send it to its registry: --output type=registry"},
        {0, "platform", CLI_LIST, &o.platforms, "PLATFORM[,PLATFORM]",
         "Platform of the image; of several comes an index"},
        {0, "build-context", CLI_LIST, &o.contexts, "NAME=WHAT",
         "What FROM NAME and --from=NAME take: a directory, a URL, docker-image://REFERENCE, "
         "oci-layout://DIRECTORY"},
        {0, "secret", CLI_LIST, &o.secrets, "id=ID[,src=FILE|env=NAME]",
         "Secret for RUN --mount=type=secret"},
        {0, "ssh", CLI_LIST, &o.agents, "default|ID=SOCKET", "ssh agent for RUN --mount=type=ssh"},
        {0, "allow", CLI_LIST, &o.allow, "RIGHT", "What steps may do: security.insecure"},
        {0, "no-cache-filter", CLI_LIST, &o.no_cache_filter, "STAGE", "Do not use the cache for this stage"},
        {0, "cache-from", CLI_LIST, &o.cache_from, "CACHE",
         "Take steps from a cache: type=registry,ref=NAME (or NAME alone), type=local,src=DIRECTORY"},
        {0, "cache-to", CLI_LIST, &o.cache_to, "CACHE",
         "Export the cache: type=registry,ref=NAME, type=local,dest=DIRECTORY (each with mode=min|max, "
         "ignore-error=true), type=inline"},
        {0, "timeout", CLI_TEXT, &o.timeout, "DURATION", "How long each RUN may take (10m)"},
        {0, "progress", CLI_TEXT, &o.progress, "STYLE", "auto, plain, tty, quiet, rawjson"},
        {0, "iidfile", CLI_TEXT, &o.id_file, "FILE", "Write the image's id into a file"},
        {0, "metadata-file", CLI_TEXT, &o.metadata_file, "FILE",
         "Write the image's digests and names into a file"},
        {0, "ulimit", CLI_LIST, &o.ulimits, "NAME=SOFT[:HARD]", "Limit of processes during RUN"},
        {0, "add-host", CLI_LIST, &o.hosts, "HOST:ADDRESS", "Line of /etc/hosts during RUN"},
        {0, "target", CLI_TEXT, &o.target, "NAME", "Stop at this stage, or build what this TARGET names"},
        {0, "network", CLI_TEXT, &o.network, "MODE", "Network of RUN: default, none, host"},
        {0, "shm-size", CLI_TEXT, &o.shm_size, "SIZE", "Size of /dev/shm during RUN"},
        {'m', "memory", CLI_TEXT, &o.memory, "SIZE", "Memory that a RUN may take"},
        {0, "builder", CLI_TEXT, &o.builder, "NAME", "default: there is one builder"},
        {0, "load", CLI_FLAG, &o.load, NULL, "What is done anyway: the image is the server's"},
        {0, "provenance", CLI_WORD, &o.provenance, "[=mode=min|max]",
         "Attest how the image was built (SLSA); also version=v1|v0.2, reproducible=true, builder-id=URL; "
         "default false"},
        {0, "sbom", CLI_WORD, &o.sbom, "[=true]",
         "Attest the packages that are in the image (SPDX); default false"},
        {0, "with-dependencies", CLI_FLAG, &o.with_dependencies, NULL,
         "Also the services that the named ones depend on"},
        {0, "no-cache", CLI_FLAG, &o.no_cache, NULL, "Do not use layers of earlier builds"},
        {0, "pull", CLI_FLAG, &o.pull, NULL, "Fetch base images even when they are there"},
        {0, "print", CLI_FLAG, &o.print, NULL,
         "Print the plain Dockerfile that PATH's stands for; builds nothing"},
        {0, "check", CLI_FLAG, &o.check, NULL, "Print the build checks' warnings; builds nothing"},
        {0, "call", CLI_TEXT, &o.call, "METHOD[,format=json]",
         "build; check: --check; outline: what the target takes; targets: those there are"},
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Print the image's id only"},
        {'p', "project-name", CLI_TEXT, &o.project.name, "NAME", "Project name"},
        {0, "compose-file", CLI_LIST, &o.project.files, "FILE", "Compose file, when services are built"},
        PROJECT_OPTIONS_WITHOUT_SHORT(o.project),
        {0},
    };
    const struct cli_command command = {
        "build [OPTIONS] [PATH | URL | - | SERVICE...]",
        "Builds an image from the Dockerfile in directory PATH (\"-\": a tar on standard input), or from a "
        "git repository or an archive that the engine fetches from URL, and prints its id.\n"
        "Without PATH, builds the services of the Compose file that have a \"build\" key.",
        options,
        false,
        0,
        -1};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    struct err err = {0};
    if (status < 0 && agree(&o, &err) < 0) {
        fprintf(stderr, "drover build: %s\n", err.msg);
        status = 2;
    }
    if (status < 0)
        status = means_path(&o, rest) ? build_path(&o, rest[0]) : build_services(&o, rest);
    options_done(&o);
    return status;
}
