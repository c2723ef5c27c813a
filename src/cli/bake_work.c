/* From bakery.yaml to registries, image by image. Whatever step is cut off is done again by the next going
 * through: an image gets its names only when it was tested, and the state only what is done. */
#include "base/digest.h"
#include "base/json.h"
#include "cli/bake_input.h"
#include "cli/build.h"
#include "cli/call.h"
#include "cli/image_test.h"
#include "cli/interrupt.h"
#include "cli/pull.h"
#include "compose/yaml.h"
#include "image/image_ref.h"

#include <pthread.h>
#include <stdarg.h>
#include <unistd.h>

enum { WORKERS_MAX = 8 };
static const char candidate_tag[] = "bakery-candidate"; /* until it is tested */

struct going {
    struct bake_run *run;
    pthread_mutex_t lock; /* of outcomes, state and output */
    pthread_cond_t changed;
    pthread_mutex_t alone; /* bases and runs of tests: one at a time, so that a test's times are its own */
    struct err state_err;
    int state_result;
};

/* What one image is made of, and what came of it. */
struct work {
    struct going *g;
    size_t which;
    const struct bakery_image *image;
    json_t *known; /* a copy of its state */
    char input[DIGEST_BYTES];
    char *id, *packages, *on;
};

static void say(struct going *g, const char *image, const char *format, ...) _printf_(3, 4);
static void say(struct going *g, const char *image, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    pthread_mutex_lock(&g->lock);
    printf("%s: ", image);
    vprintf(format, ap);
    putchar('\n');
    fflush(stdout);
    pthread_mutex_unlock(&g->lock);
    va_end(ap);
}

/* --- Making --- */

/* "NAME@ID ..." of what it stands on in this file, near and far: what containers are found by. */
static char *all_below(struct going *g, const struct bakery_image *image)
{
    _cleanup_strv_ char **all = NULL;
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < image->stands_on_count; i++) {
        const char *name = g->run->bakery->images[image->stands_on[i]].name;
        const json_t *state = bakery_state_of(g->run->state, name);
        _cleanup_strv_ char **far = strv_split(json_str(state, "on"), ' ');
        _cleanup_free_ char *near = str_printf("%s@%s", name, json_str(state, "id"));
        STRV_FOREACH (one, far)
            if (**one && !strv_has(all, *one))
                strv_add(&all, *one);
        if (!strv_has(all, near))
            strv_add(&all, near);
    }
    pthread_mutex_unlock(&g->lock);
    return all ? strv_join(all, " ") : mem_strdup("");
}

static int make_base(struct work *w, const char *candidate, struct err *err)
{
    const struct bakery_image *image = w->image;
    _cleanup_free_ char *reference = image_ref_normal(candidate);
    _cleanup_free_ char *keyring = image->keyring ? bake_path(w->g->run, image->keyring) : NULL;
    struct base_request q = {.spec = image->base,
                             .variant = image->variant,
                             .include = image->include,
                             .mirrors = image->mirrors,
                             .snapshot = image->snapshot,
                             .keyring = keyring,
                             .reference = reference};
    struct base_image base = {0};
    int r = bake_epoch(image->snapshot, &q.epoch, err);
    pthread_mutex_lock(&w->g->alone);
    if (r == 0)
        r = bake_base(&q, &base, err);
    pthread_mutex_unlock(&w->g->alone);
    if (r < 0)
        return r;
    w->id = bake_image_id(candidate);
    w->packages = take_ptr(base.packages);
    base_image_done(&base);
    return 0;
}

static void keep_text(void *context, const char *text)
{
    struct str *all = context;
    if (all->len > (1 << 20))
        str_truncate(all, 0); /* the end is what tells */
    str_add(all, text);
}

static int make_build(struct work *w, const char *candidate, struct err *err)
{
    const struct bakery_image *image = w->image;
    _cleanup_free_ char *context = bake_path(w->g->run, image->build);
    _cleanup_json_ json_t *args = bake_args(image), *labels = json_object();
    _cleanup_str_ struct str output = STR_INIT;
    const char *const tags[] = {candidate, NULL};
    json_set_str(labels, "drover.bakery.image", image->name);
    json_set_str(labels, "drover.bakery.on", w->on);
    if (image->parameters) {
        _cleanup_free_ char *names = strv_join(image->parameters, " ");
        json_set_str(labels, "drover.bakery.parameters", names);
    }
    const struct build_request q = {.context = context,
                                    .dockerfile = image->dockerfile,
                                    .target = image->target,
                                    .tags = (char *const *)tags,
                                    .args = args,
                                    .labels = labels,
                                    .context_of_output = &output,
                                    .output = keep_text};
    int r = build_image(&q, &w->id, err);
    if (r < 0) {
        pthread_mutex_lock(&w->g->lock);
        fprintf(stderr, "%s", str_get(&output));
        pthread_mutex_unlock(&w->g->lock);
        return r;
    }
    free(w->id);
    w->id = bake_image_id(candidate);
    return 0;
}

/* --- Testing --- */

static bool gives(const struct yaml_node *environment, const char *name)
{
    return yaml_get(environment, name) != NULL;
}

/* A sealed image has all it needs; of a parameterised one nothing that is to come at its start. */
static int check_kind(const struct bakery_image *image, const struct image_test *t, struct err *err)
{
    const json_t *env = json_object_get(json_object_get(image_scan_config(t->scan), "config"), "Env"), *one;
    const struct image_checks *c = t->checks;
    size_t i;
    if (!image->parameterised)
        return c->run_environment && c->run_environment->count
                   ? err_set(
                         err, ERR_CONFLICT,
                         "it is sealed, and its test gives it an environment: declare parameters, or leave "
                         "run.environment out of %s",
                         image->test)
                   : 0;
    for (char **p = image->parameters; *p; p++) {
        size_t n = strlen(*p);
        if (c->run && !gives(c->run_environment, *p))
            return err_set(err, ERR_CONFLICT,
                           "its test does not give the parameter %s: add it to run.environment of %s", *p,
                           image->test);
        json_array_foreach (env, i, one) {
            const char *pair = json_is_string(one) ? json_string_value(one) : "";
            if (strncmp(pair, *p, n) == 0 && pair[n] == '=' && pair[n + 1])
                return err_set(err, ERR_CONFLICT, "its parameter %s has a value in the image", *p);
        }
    }
    return 0;
}

static int test(struct work *w, struct err *err)
{
    if (!w->image->test)
        return 0;
    _cleanup_free_ char *checks = bake_path(w->g->run, w->image->test);
    struct image_test t = {0};
    pthread_mutex_lock(&w->g->alone);
    int r = image_test(w->id, checks, &t, err);
    pthread_mutex_unlock(&w->g->alone);
    if (r < 0)
        return err_wrap(err, "test");
    if (t.findings.count) {
        _cleanup_str_ struct str text = STR_INIT;
        findings_text(&t.findings, t.scan, w->image->name, &text);
        pthread_mutex_lock(&w->g->lock);
        fputs(str_get(&text), stderr);
        pthread_mutex_unlock(&w->g->lock);
        r = err_set(err, ERR_CONFLICT, "%zu findings of its test, the first: %s%s%s", t.findings.count,
                    t.findings.items[0].path ? t.findings.items[0].path : "",
                    t.findings.items[0].path ? ": " : "", t.findings.items[0].message);
    } else {
        r = check_kind(w->image, &t, err);
    }
    image_test_done(&t);
    if (r == 0)
        say(w->g, w->image->name, "passed its test");
    return r;
}

/* --- Names and registries --- */

static int name_it(const char *id, const char *repository, const char *tag, struct err *err)
{
    _cleanup_free_ char *image = cli_escape(id), *repo = cli_escape(repository), *escaped = cli_escape(tag);
    return cli_call("POST", NULL, NULL, err, "/images/%s/tag?repo=%s&tag=%s", image, repo, escaped);
}

/* What a base is made of is to be had beside it, without pulling it. */
static int attach_sbom(const char *reference, struct err *err)
{
    _cleanup_free_ char *name = cli_escape(reference), *auth = pull_auth_header(reference);
    _cleanup_free_ char *path = str_printf("/drover/images/%s/sbom", name);
    char *headers[] = {auth ? auth : (char[]){"X-Registry-Auth: e30="}, NULL};
    struct http_call call = {.method = "POST", .headers = headers};
    struct http_response answer = {0};
    int r = cli_exchange(&call, path, &answer, err);
    http_response_done(&answer);
    return r < 0 ? err_wrap(err, "attach the bill of materials to %s", reference) : 0;
}

static int push_one(struct work *w, const char *registry, const char *tag, const char *wanted,
                    char **ret_digest, struct err *err)
{
    _cleanup_free_ char *repository = str_printf("%s/%s", registry, w->image->name);
    _cleanup_free_ char *reference = str_printf("%s:%s", repository, tag), *there = NULL;
    const char *known = json_str(json_object_get(w->known, "pushed"), reference);
    const char *of = json_str(w->known, "pushed_id");
    struct err ignored;
    /* The registry is asked: what somebody deleted there comes back. */
    if (*known && str_eq(of, w->id) && bake_remote_digest(reference, &there, &ignored) == 0 &&
        str_eq(there, known)) {
        *ret_digest = take_ptr(there);
        return 0;
    }
    free(take_ptr(there));
    _cleanup_progress_ struct progress *progress = progress_new();
    int r = name_it(w->id, repository, tag, err);
    if (r == 0)
        r = push_image(reference, progress, err);
    if (r == 0)
        r = bake_remote_digest(reference, &there, err);
    if (r == 0 && wanted && !str_eq(there, wanted))
        r = err_set(err, ERR_CORRUPT, "%s has the digest %s there, and the global registry has %s", reference,
                    there, wanted);
    if (r == 0 && w->image->base)
        r = attach_sbom(reference, err);
    if (r < 0)
        return r;
    say(w->g, w->image->name, "%s %s %s", wanted ? "promoted to" : "pushed to", reference, there);
    *ret_digest = take_ptr(there);
    return 0;
}

/* To the global registry, and from what has come there, by its digest, to the local ones. */
static int ship(struct work *w, json_t *pushed, struct err *err)
{
    const char *global = w->g->run->bakery->registry;
    for (char **tag = w->image->tags; global && *tag; tag++) {
        _cleanup_free_ char *digest = NULL, *reference = str_printf("%s/%s:%s", global, w->image->name, *tag);
        int r = push_one(w, global, *tag, NULL, &digest, err);
        if (r < 0)
            return r;
        json_set_str(pushed, reference, digest);
        for (char **local = w->image->locals; local && *local; local++) {
            _cleanup_free_ char *same = NULL, *there = str_printf("%s/%s:%s", *local, w->image->name, *tag);
            r = push_one(w, *local, *tag, digest, &same, err);
            if (r < 0)
                return r;
            json_set_str(pushed, there, same);
        }
    }
    return 0;
}

/* --- One image --- */

static void commit(struct work *w, const json_t *pushed, const struct err *failure)
{
    struct going *g = w->g;
    pthread_mutex_lock(&g->lock);
    json_t *state = bakery_state_of(g->run->state, w->image->name);
    if (failure) {
        json_object_set_new(state, "failed", json_pack("{s:s}", "input", w->input));
        json_set_str(json_object_get(state, "failed"), "why", failure->msg);
    } else {
        json_object_del(state, "failed");
        json_set_str(state, "input", w->input);
        json_set_str(state, "id", w->id);
        json_set_str(state, "on", w->on);
        if (w->packages)
            json_set_str(state, "packages", w->packages);
        if (pushed) {
            json_object_set(state, "pushed", (json_t *)pushed);
            json_set_str(state, "pushed_id", w->id);
        }
    }
    struct err err;
    int r = bakery_state_save(g->run->state_path, g->run->state, &err);
    if (r < 0 && g->state_result == 0) {
        g->state_result = r;
        g->state_err = err;
    }
    pthread_mutex_unlock(&g->lock);
}

static bool names_are_right(const struct work *w, const char *id)
{
    for (char **tag = w->image->tags; *tag; tag++) {
        _cleanup_free_ char *name = str_printf("%s:%s", w->image->name, *tag), *is = bake_image_id(name);
        if (!str_eq(is, id))
            return false;
    }
    return true;
}

static int make(struct work *w, struct err *err)
{
    _cleanup_free_ char *candidate = str_printf("%s:%s", w->image->name, candidate_tag);
    _cleanup_free_ char *escaped = cli_escape(candidate);
    const char *before = json_str(w->known, "id");
    struct err ignored;
    int r = w->image->base ? make_base(w, candidate, err) : make_build(w, candidate, err);
    if (r == 0 && !str_eq(w->id, before))
        say(w->g, w->image->name, "made %.19s", w->id);
    if (r == 0)
        r = test(w, err);
    for (char **tag = w->image->tags; r == 0 && *tag; tag++)
        r = name_it(w->id, w->image->name, *tag, err);
    cli_call("DELETE", NULL, NULL, &ignored, "/images/%s?noprune=1", escaped);
    return r;
}

static enum bake_outcome work_on(struct work *w, struct err *err)
{
    struct bake_run *run = w->g->run;
    const char *ignored = NULL;
    int r = bake_input(run, &w->g->lock, w->image, false, w->input, &ignored, err);
    if (r < 0)
        return BAKE_FAILED;
    const json_t *failed = json_object_get(w->known, "failed");
    /* What failed on the way to a registry, or for want of a mirror, may do better now. */
    bool for_good = failed && w->image->build && str_eq(json_str(failed, "input"), w->input) &&
                    !str_eq(json_str(w->known, "input"), w->input);
    if (run->skip_failed && for_good) {
        err_set(err, ERR_CONFLICT, "%s", json_str(failed, "why"));
        return BAKE_FAILED;
    }
    const char *before = json_str(w->known, "id");
    bool same = str_eq(w->input, json_str(w->known, "input")) && *before && !(run->refresh && w->image->base);
    _cleanup_json_ json_t *pushed = json_object();
    w->on = all_below(w->g, w->image);
    if (same && names_are_right(w, before))
        w->id = mem_strdup(before);
    else
        r = make(w, err);
    if (r == 0)
        commit(w, NULL,
               NULL); /* what is made and tested needs not be again when the way to a registry fails */
    if (r == 0)
        r = ship(w, pushed, err);
    if (r < 0)
        return BAKE_FAILED;
    commit(w, pushed, NULL);
    return str_eq(w->id, before) ? BAKE_CURRENT : BAKE_MADE;
}

static enum bake_outcome do_one(struct going *g, size_t which)
{
    const struct bakery_image *image = &g->run->bakery->images[which];
    struct work w = {.g = g, .which = which, .image = image};
    struct err err = {0};
    pthread_mutex_lock(&g->lock);
    w.known = json_deep_copy(bakery_state_of(g->run->state, image->name));
    pthread_mutex_unlock(&g->lock);
    enum bake_outcome outcome = work_on(&w, &err);
    if (outcome == BAKE_FAILED) {
        commit(&w, NULL, &err);
        say(g, image->name, "FAILED: %s", err.msg);
    }
    json_decref(w.known);
    free(w.id);
    free(w.packages);
    free(w.on);
    return outcome;
}

/* --- All of them --- */

/* SIZE_MAX: none is ready. What stands on a failure is held. */
static size_t next_ready(struct going *g, bool *ret_any)
{
    struct bake_run *run = g->run;
    *ret_any = false;
    for (size_t i = 0; i < run->bakery->count; i++) {
        const struct bakery_image *image = &run->bakery->images[i];
        bool ready = true;
        if (!run->wanted[i] || run->outcome[i] != BAKE_WAITING)
            continue;
        for (size_t k = 0; k < image->stands_on_count; k++) {
            size_t below = image->stands_on[k];
            enum bake_outcome o = run->outcome[below];
            if (run->wanted[below] && (o == BAKE_FAILED || o == BAKE_HELD)) {
                run->outcome[i] = BAKE_HELD;
                printf("%s: held back: it stands on %s\n", image->name, run->bakery->images[below].name);
            }
            ready = ready && !(run->wanted[below] && (o == BAKE_WAITING || o == BAKE_WORKING));
        }
        if (run->outcome[i] == BAKE_HELD)
            continue;
        *ret_any = true;
        if (ready)
            return i;
    }
    return SIZE_MAX;
}

static void *worker(void *context)
{
    struct going *g = context;
    bool any = true;
    pthread_mutex_lock(&g->lock);
    while (!interrupt_pending() && g->state_result == 0) {
        size_t which = next_ready(g, &any);
        if (which == SIZE_MAX && !any)
            break;
        if (which == SIZE_MAX) {
            pthread_cond_wait(&g->changed, &g->lock);
            continue;
        }
        g->run->outcome[which] = BAKE_WORKING;
        pthread_mutex_unlock(&g->lock);
        enum bake_outcome outcome = do_one(g, which);
        pthread_mutex_lock(&g->lock);
        g->run->outcome[which] = outcome;
        pthread_cond_broadcast(&g->changed);
    }
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

int bake_go_through(struct bake_run *run, bool *ret_failed, struct err *err)
{
    struct going g = {.run = run};
    pthread_t threads[WORKERS_MAX];
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t count = (size_t)MIN(MAX(processors, 2), (long)WORKERS_MAX);
    const char *socket;
    int r = cli_socket(&socket, err); /* settled before there are more threads */
    if (r < 0)
        return r;
    pull_set_quiet();
    progress_set_style("quiet");
    pthread_mutex_init(&g.lock, NULL);
    pthread_mutex_init(&g.alone, NULL);
    pthread_cond_init(&g.changed, NULL);
    for (size_t i = 0; i < count; i++)
        must(pthread_create(&threads[i], NULL, worker, &g) == 0);
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    *ret_failed = false;
    for (size_t i = 0; i < run->bakery->count; i++)
        *ret_failed = *ret_failed ||
                      (run->wanted[i] && (run->outcome[i] == BAKE_FAILED || run->outcome[i] == BAKE_HELD));
    if (g.state_result < 0)
        return err_copy(err, &g.state_err);
    return interrupt_pending() ? err_set(err, ERR_CANCELLED, "interrupted; what was done is kept") : 0;
}

/* --- Containers --- */

int bake_outdated_containers(const json_t *state, char ***ret, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    size_t i;
    const json_t *c;
    int r = cli_get(&list, err, "/containers/json");
    if (r < 0)
        return r;
    json_array_foreach (list, i, c) {
        const json_t *labels = json_object_get(c, "Labels");
        const char *image = json_str(labels, "drover.bakery.image");
        const char *name = json_string_value(json_array_get(json_object_get(c, "Names"), 0));
        const char *id = json_str(json_object_get(json_object_get(state, "images"), image), "id");
        if (!*image || !name)
            continue;
        _cleanup_free_ char *below = bakery_outdated(state, json_str(labels, "drover.bakery.on"));
        if (below)
            strv_take(ret, str_printf("container %s (%s) still runs on the old %s", name + (*name == '/'),
                                      image, below));
        else if (*id && !str_eq(id, json_str(c, "ImageID")))
            strv_take(ret, str_printf("container %s still runs the old %s", name + (*name == '/'), image));
    }
    return 0;
}
