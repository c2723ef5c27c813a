#include "bakery/ahead.h"

#include "bakery/attest.h"

#include "base/str.h"

#include <strings.h>

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

int build__load_config(struct build *s, const char *id, struct err *err)
{
    struct image_info info = {0};
    int r = image_get(s->b->im, id, &info, err);
    if (r < 0)
        return r;
    json_t *config = json_deep_copy(info.config);
    char *own_id = mem_strdup(info.id);
    image_info_done(&info);
    json_decref(s->config);
    s->config = config;
    free(s->image_id);
    s->image_id = own_id;
    return 0;
}

/* --- FROM --- */

static int start_from_scratch(struct build *s)
{
    const struct platform *p = &s->b->target_platform;
    s->config = json_object();
    json_set_str(s->config, "architecture", p->architecture);
    if (p->variant)
        json_set_str(s->config, "variant", p->variant);
    json_set_str(s->config, "os", p->os);
    json_object_set_new(s->config, "config", json_object());
    json_object_set_new(s->config, "rootfs", json_pack("{s:s, s:[]}", "type", "layers", "diff_ids"));
    json_object_set_new(s->config, "history", json_array());
    return 0;
}

/* Whether somebody has brought it; waits for who is about to. Else it is this thread's to bring. */
static bool fetched_already(struct builder *b, const char *key, char **ret_id)
{
    SCOPED_LOCK(locked, &b->fetch_lock);
    const char *known;
    while (!(known = map_get(&b->fetched, key)) && map_has(&b->fetching, key))
        pthread_cond_wait(&b->fetch_ended, &b->fetch_lock);
    if (known)
        *ret_id = mem_strdup(known);
    else
        map_put(&b->fetching, key, b);
    return known;
}

/* Two stages mostly want the same image, which comes once; different ones come at the same time. */
static int fetch(struct builder *b, const char *name, const char *platform, bool always, char **ret_id,
                 struct err *err)
{
    _cleanup_free_ char *key = str_printf("%s %s", name, platform ? platform : "");
    if (fetched_already(b, key, ret_id))
        return 0;
    int r = build__cancelled(b) ? err_set(err, ERR_CANCELLED, "build cancelled")
                                : b->o->fetch(b->o->fetch_context, name, platform, always, ret_id, err);
    SCOPED_LOCK(locked, &b->fetch_lock);
    if (r == 0)
        map_put(&b->fetched, key, mem_strdup(*ret_id));
    map_remove(&b->fetching, key);
    pthread_cond_broadcast(&b->fetch_ended);
    return r;
}

/* The image as it is here, else as `fetch` brings it. */
static int find_image(struct builder *b, const char *name, const char *platform, char **ret_id,
                      struct err *err)
{
    struct image_info info = {0};
    struct err local;
    const char *stands_for = build__context_of(b, name);
    name = stands_for ? stands_for : name;
    int r = b->o->pull && b->o->fetch ? -ERR_NOT_FOUND : image_get(b->im, name, &info, &local);
    if (r == 0) {
        image_used(b->im, info.id);
        *ret_id = mem_strdup(info.id);
        image_info_done(&info);
        return 0;
    }
    if (r != -ERR_NOT_FOUND)
        return err_copy(err, &local);
    if (!b->o->fetch)
        return err_set(err, ERR_NOT_FOUND, "no such image: %s", name);
    return fetch(b, name, platform, b->o->pull, ret_id, err);
}

int build__find_image(struct builder *b, const char *name, char **ret_id, struct err *err)
{
    int r = find_image(b, name, b->o->platform, ret_id, err);
    if (r == 0)
        build__material_image(b, name, *ret_id);
    return r;
}

/* What a stage's base is to be for: FROM --platform, or the build's; *ret NULL: whatever it is for. */
static int wanted_platform(struct build *s, const struct df_step *step, char **ret, struct err *err)
{
    const char *flag = df_flag(step, "platform");
    _cleanup_free_ char *wanted = NULL;
    int r = flag ? build__expand_global(s->b, flag, &wanted, err) : 0;
    if (r == 0 && flag && !*wanted)
        r = err_set(err, ERR_INVALID, "empty platform value from expression %s", flag);
    if (r < 0)
        return r;
    *ret = !str_empty(wanted)             ? take_ptr(wanted)
           : str_empty(s->b->o->platform) ? NULL
                                          : mem_strdup(s->b->o->platform);
    return 0;
}

static int check_platform(struct build *s, const char *wanted, struct err *err)
{
    if (!wanted)
        return 0;
    struct platform p = {0};
    int r = platform_parse(wanted, &p, err);
    const char *os = json_str(s->config, "os"), *architecture = json_str(s->config, "architecture");
    const char *variant = json_str(s->config, "variant");
    if (r == 0 && (!str_eq(p.os, os) || !str_eq(p.architecture, architecture) ||
                   (p.variant && *variant && !str_eq(p.variant, variant))))
        r = err_set(err, ERR_CONFLICT, "the image is for %s/%s, and %s was asked for", os, architecture,
                    wanted);
    platform_done(&p);
    return r;
}

/* An image of the caller's; when the one here is for another platform, the right one is fetched over it. */
static int load_base(struct build *s, const struct df_step *step, struct err *err)
{
    const struct bakery_options *o = s->b->o;
    _cleanup_free_ char *id = NULL, *fetched = NULL, *wanted = NULL;
    struct err other = {0};
    int r = wanted_platform(s, step, &wanted, err);
    if (r == 0)
        r = find_image(s->b, s->stage->base, wanted, &id, err);
    if (r == 0)
        r = build__load_config(s, id, err);
    if (r < 0)
        return r;
    r = check_platform(s, wanted, &other);
    if (r != -ERR_CONFLICT)
        return r < 0 ? err_copy(err, &other) : 0;
    if (!o->fetch || build__context_of(s->b, s->stage->base))
        return err_set(err, ERR_UNSUPPORTED, "%s", other.msg);
    r = fetch(s->b, s->stage->base, wanted, true, &fetched, err);
    if (r < 0)
        return err_wrap(err, "%s, and it was not found elsewhere", other.msg);
    r = build__load_config(s, fetched, err);
    return r < 0 ? r : check_platform(s, wanted, err);
}

static int step_from(struct build *s, const struct df_step *step, struct err *err)
{
    struct stage *stage = s->stage;
    struct builder *b = s->b;
    int r = 0;
    if (stage->base_stage >= 0) {
        const struct stage *base = &b->stages[stage->base_stage];
        r = base->image_id ? build__load_config(s, base->image_id, err) : start_from_scratch(s);
    } else if (strcmp(stage->base, "scratch") == 0) {
        r = start_from_scratch(s);
    } else {
        r = load_base(s, step, err);
        if (r == 0)
            build__material_image(b, stage->base, s->image_id);
    }
    if (r == 0 && !build__env_get(s, "PATH"))
        build__env_set(s, "PATH", DEFAULT_PATH);
    return r;
}

/* --- Steps --- */

int build__take_args(struct build *s, const struct df_step *step, struct str *text, struct err *err)
{
    for (size_t i = 0; i < step->pair_count; i++) {
        const struct df_pair *pair = &step->pairs[i];
        _cleanup_free_ char *name = NULL, *fallback = NULL;
        int r = build__expand(s, pair->name, &name, err);
        if (r == 0 && pair->value)
            r = build__expand(s, pair->value, &fallback, err);
        if (r < 0 && (!name || !build__arg_given(s->b, name)))
            return r;
        map_put(&s->args, name, mem_strdup(build__arg_value(s->b, name, fallback)));
        str_addf(text, fallback ? " %s=%s" : " %s", name, fallback);
    }
    return 0;
}

static int step_arg(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    str_add(&text, "/bin/sh -c #(nop)  ARG");
    int r = build__take_args(s, step, &text, err);
    return r < 0 ? r : build__commit_config(s, str_get(&text), err);
}

static int dispatch(struct build *s, const struct df_step *step, struct err *err)
{
    switch (step->op) {
    case DF_FROM:
        return step_from(s, step, err);
    case DF_ARG:
        return step_arg(s, step, err);
    case DF_RUN:
        return build__run(s, step, err);
    case DF_COPY:
    case DF_ADD:
        return build__copy(s, step, err);
    case DF_WORKDIR:
        return build__workdir(s, step, err);
    default:
        return build__metadata(s, step, err);
    }
}

/* What a message calls the step: its first line, not too long. */
static char *summary(const struct df_step *step)
{
    enum { SHOWN = 120 };
    if (step->op == DF_COPY || step->op == DF_ADD)
        return str_printf("%s failed", df_name(step->op));
    size_t n = strcspn(step->text, "\n");
    return n <= SHOWN ? mem_strndup(step->text, n) : str_printf("%.*s...", SHOWN, step->text);
}

static const char *name_of(const struct build *s, char number[32])
{
    snprintf(number, 32, "%zu", (size_t)(s->stage - s->b->stages));
    return s->stage->name ? s->stage->name : number;
}

static void tell(struct build *s, enum bakery_event_kind kind, const char *text)
{
    char number[32];
    const struct bakery_event event = {.kind = kind,
                                       .stage = (size_t)(s->stage - s->b->stages),
                                       .stage_name = name_of(s, number),
                                       .step = s->step,
                                       .steps = s->steps,
                                       .text = text};
    build__event(s->b, &event);
}

static int run_step(struct build *s, const struct df_step *step, struct err *err)
{
    if (build__cancelled(s->b))
        return err_set(err, ERR_CANCELLED, "build cancelled");
    s->cached = false;
    tell(s, BAKERY_STEP_BEGUN, step->text);
    int r = dispatch(s, step, err);
    tell(s, r < 0 ? BAKERY_STEP_FAILED : s->cached ? BAKERY_STEP_CACHED : BAKERY_STEP_DONE, step->text);
    if (r < 0 && step->op == DF_RUN && *s->b->exit_status) /* it names the command itself */
        return err_wrap(err, "%s:%d", step->file, step->line);
    if (r < 0) {
        _cleanup_free_ char *what = summary(step);
        return err_wrap(err, "%s:%d: %s", step->file, step->line, what);
    }
    const char *shown = s->image_id ? digest_hex(s->image_id) : "";
    return build__say(s->b, s->stage, " ---> %.12s\n", shown) < 0
               ? err_set(err, ERR_CANCELLED, "build cancelled")
               : 0;
}

/* The base image's ONBUILD instructions, once, before the stage's own. */
static int run_triggers(struct build *s, struct err *err)
{
    _cleanup_json_ json_t *triggers = json_incref(json_object_get(build__config(s), "OnBuild"));
    size_t n = json_array_size(triggers);
    if (!n)
        return 0;
    json_object_del(build__config(s), "OnBuild");
    int r = build__say(s->b, s->stage, "# Executing %zu build trigger%s\n", n, n == 1 ? "" : "s");
    const struct dockerfile *own_file = s->file;
    for (size_t i = 0; r == 0 && i < n; i++) {
        const char *text = json_string_value(json_array_get(triggers, i));
        _cleanup_free_ char *name = str_printf("ONBUILD of %s", s->stage->base);
        struct dockerfile trigger;
        r = dockerfile_parse_trigger(text ? text : "", name, &trigger, err);
        if (r < 0)
            break;
        s->file = &trigger;
        for (size_t j = 0; r == 0 && j < trigger.step_count; j++)
            r = trigger.steps[j].op == DF_FROM || trigger.steps[j].op == DF_ONBUILD
                    ? err_set(err, ERR_INVALID, "%s: %s isn't allowed as an ONBUILD trigger", name,
                              df_name(trigger.steps[j].op))
                    : run_step(s, &trigger.steps[j], err);
        s->file = own_file;
        dockerfile_done(&trigger);
    }
    return r == -ERR_CANCELLED && err ? err_set(err, ERR_CANCELLED, "build cancelled") : r;
}

static int say_step(struct build *s, const char *text, struct err *err)
{
    int r = build__say(s->b, s->stage, "Step %d/%d : %s\n", s->number++, s->b->step_total, text);
    return r < 0 ? err_set(err, ERR_CANCELLED, "build cancelled") : 0;
}

static int add_labels(struct build *s, struct err *err)
{
    struct builder *b = s->b;
    if (!build__is_wanted(b, s->stage) || !b->o->labels || !b->o->labels[0])
        return 0;
    _cleanup_free_ char *joined = strv_join(b->o->labels, " ");
    _cleanup_free_ char *text = str_printf("LABEL %s", joined);
    int r = say_step(s, text, err);
    if (r == 0)
        r = build__labels(s, b->o->labels, err);
    if (r == 0 && build__say(b, s->stage, " ---> %.12s\n", digest_hex(s->image_id)) < 0)
        r = err_set(err, ERR_CANCELLED, "build cancelled");
    return r;
}

static int run_steps(struct build *s, struct err *err)
{
    int r = 0;
    s->number = s->stage->first_number;
    s->steps = (int)(s->stage->end - s->stage->first);
    for (size_t i = s->stage->first; r == 0 && i < s->stage->end; i++) {
        const struct df_step *step = &s->b->file.steps[i];
        s->step++;
        r = say_step(s, step->text, err);
        if (r == 0)
            r = run_step(s, step, err);
        if (r == 0 && step->op == DF_FROM)
            r = run_triggers(s, err);
        if (r == 0 && step->op == DF_FROM)
            build__ahead_begin(s, i + 1);
    }
    return r < 0 ? r : add_labels(s, err);
}

int build__stage(struct builder *b, size_t index, struct err *err)
{
    struct stage *stage = &b->stages[index];
    struct build s = {.b = b, .stage = stage, .file = &b->file, .args = MAP_INIT(free)};
    int r = stage->base_stage >= 0 ? build__need(&s, (size_t)stage->base_stage, err) : 0;
    if (r == 0)
        r = run_steps(&s, err);
    if (r < 0) /* before its helpers are waited for, which it ends */
        build__stage_failed(b, index, err);
    build__ahead_end(&s);
    if (r == 0)
        stage->image_id = take_ptr(s.image_id);
    free(s.image_id);
    json_decref(s.config);
    map_done(&s.args);
    return r;
}

bool build__is_named(char *const *list, const struct stage *stage)
{
    STRV_FOREACH (name, (char **)list)
        if (stage->name && strcasecmp(stage->name, *name) == 0)
            return true;
    return false;
}
