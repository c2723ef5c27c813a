#include "bakery/describe.h"

#include "bakery/build_priv.h"
#include "bakery/expand.h"
#include "bakery/mount.h"
#include "base/base64.h"
#include "base/str.h"

static void set_text(json_t *to, const char *key, const char *value)
{
    if (!str_empty(value))
        json_set_str(to, key, value);
}

static json_t *location(const struct df_step *s)
{
    return json_pack("{s:[{s:{s:i},s:{s:i}}]}", "ranges", "start", "line", s->line, "end", "line",
                     s->last_line);
}

static json_t *sources(const struct describe_options *o)
{
    _cleanup_free_ char *text = base64_encode(o->text, o->bytes);
    return json_pack("[s]", text);
}

static const char *stage_name(const struct df_step *from)
{
    return strv_len(from->args) == 3 ? from->args[2] : NULL;
}

/* --- Targets --- */

json_t *describe_targets(const struct dockerfile *d, const struct describe_options *o)
{
    json_t *list = json_array(), *last = NULL;
    for (size_t i = 0; i < d->step_count; i++) {
        const struct df_step *s = &d->steps[i];
        if (s->op != DF_FROM)
            continue;
        last = json_object();
        set_text(last, "name", stage_name(s));
        set_text(last, "description", df_comment_on(s, stage_name(s)));
        set_text(last, "base", s->args[0]);
        set_text(last, "platform", df_flag(s, "platform"));
        json_object_set_new(last, "location", location(s));
        json_array_append_new(list, last);
    }
    if (last)
        json_object_set_new(last, "default", json_true());
    return json_pack("{s:o,s:o}", "targets", list, "sources", sources(o));
}

/* --- Outline --- */

/* One stage after the other, as far as names and values go; what RUN and COPY do is not. */
struct outline {
    struct builder b;
    struct build *stages;    /* what each has declared in the end */
    struct map args;         /* name -> its object: the target's own go before those of stages it needs */
    struct map secrets, ssh; /* likewise */
    struct map used_globals; /* names that a FROM uses */
    const struct describe_options *o;
};

static void json_free(void *p)
{
    json_decref(p);
}

/* *ret is borrowed; NULL: another of that name is there already. */
static json_t *add(struct map *to, const char *name, const struct df_step *s)
{
    if (map_has(to, name))
        return NULL;
    json_t *item = json_object();
    json_set_str(item, "name", name);
    json_object_set_new(item, "location", location(s));
    map_put(to, name, item);
    return item;
}

static void add_arg(struct outline *w, const struct df_step *s, const char *name, const char *value)
{
    json_t *item = add(&w->args, name, s);
    if (!item)
        return;
    set_text(item, "description", df_comment_on(s, name));
    set_text(item, "value", value);
}

static const char *note_used(void *context, const char *name)
{
    struct outline *w = context;
    map_put(&w->used_globals, name, NULL);
    return map_get(&w->b.global_args, name);
}

static void note_names(struct outline *w, const char *text)
{
    struct expand x = {.escape = w->b.file.escape, .lookup = note_used, .context = w};
    _cleanup_free_ char *value = NULL;
    if (text)
        (void)expand_word(&x, text, &value, NULL); /* the plan has told of what is wrong */
}

static void add_mount(struct outline *w, const struct df_step *s, const struct mount_flag *m)
{
    bool secret = m->mount.type == BAKERY_SECRET;
    if (!secret && m->mount.type != BAKERY_SSH)
        return;
    struct map *to = secret ? &w->secrets : &w->ssh;
    json_t *item = add(to, m->mount.id, s);
    if (!item)
        item = map_get(to, m->mount.id);
    if (m->required)
        json_object_set_new(item, "required", json_true());
}

static int expand_in_stage(void *context, const char *text, char **ret, struct err *err)
{
    return build__expand(context, text, ret, err);
}

static int take_mounts(struct outline *w, struct build *stage, const struct df_step *s, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < s->flag_count; i++) {
        _cleanup_mount_ struct mount_flag m = {0};
        if (!str_eq(s->flags[i].name, "mount") || !s->flags[i].value)
            continue;
        r = mount_parse(s->flags[i].value, "/", expand_in_stage, stage, &m, err);
        if (r == 0)
            add_mount(w, s, &m);
    }
    return r;
}

/* A stage's names and values go on in those that stand on it. */
static void inherit(struct build *to, const struct build *from)
{
    to->config = from ? json_deep_copy(from->config) : json_object();
    struct map_entry *e;
    for (size_t i = 0; from && (e = map_next((struct map *)&from->args, &i));)
        map_put(&to->args, e->key, mem_strdup(e->value));
}

/* What the stage's steps declare, for the stages above it. */
static int walk_stage(struct outline *w, size_t index, struct err *err)
{
    struct stage *stage = &w->b.stages[index];
    struct build *s = &w->stages[index];
    inherit(s, stage->base_stage >= 0 ? &w->stages[stage->base_stage] : NULL);
    s->b = &w->b;
    s->file = &w->b.file;
    int r = 0;
    const struct df_step *step = &w->b.file.steps[stage->first];
    for (size_t i = stage->first + 1; r == 0 && i < stage->end; i++) {
        _cleanup_str_ struct str text = STR_INIT;
        step = &w->b.file.steps[i];
        if (step->op == DF_ARG)
            r = build__take_args(s, step, &text, err);
        else if (step->op == DF_ENV)
            r = build__take_env(s, step, &text, err);
        else if (step->op == DF_RUN)
            r = take_mounts(w, s, step, err);
    }
    return r < 0 ? err_wrap(err, "%s:%d: %s", step->file, step->line, df_name(step->op)) : 0;
}

static void list_stage(struct outline *w, size_t index)
{
    const struct stage *stage = &w->b.stages[index];
    struct build *s = &w->stages[index];
    const struct df_step *from = &w->b.file.steps[stage->first];
    note_names(w, from->args[0]);
    note_names(w, df_flag(from, "platform"));
    for (size_t i = stage->end; i-- > stage->first;) {
        const struct df_step *step = &w->b.file.steps[i];
        for (size_t j = 0; step->op == DF_ARG && j < step->pair_count; j++)
            add_arg(w, step, step->pairs[j].name, map_get(&s->args, step->pairs[j].name));
    }
}

/* From the last one up, as a default names only those above it. */
static void list_globals(struct outline *w)
{
    size_t n = 0;
    while (w->b.file.steps[n].op == DF_ARG)
        n++;
    while (n-- > 0) {
        const struct df_step *step = &w->b.file.steps[n];
        for (size_t i = step->pair_count; i-- > 0;) {
            const struct df_pair *pair = &step->pairs[i];
            if (!map_has(&w->used_globals, pair->name))
                continue;
            if (!build__arg_given(&w->b, pair->name))
                note_names(w, pair->value);
            add_arg(w, step, pair->name, map_get(&w->b.global_args, pair->name));
        }
    }
}

static int by_line(const void *a, const void *b)
{
    int x, y;
    const char *name_x, *name_y;
    json_unpack(*(json_t *const *)a, "{s:s,s:{s:[{s:{s:i}}]}}", "name", &name_x, "location", "ranges",
                "start", "line", &x);
    json_unpack(*(json_t *const *)b, "{s:s,s:{s:[{s:{s:i}}]}}", "name", &name_y, "location", "ranges",
                "start", "line", &y);
    return x != y ? (x > y) - (x < y) : strcmp(name_x, name_y);
}

static void set_sorted(json_t *to, const char *key, struct map *items)
{
    json_t **list = NEW_N(json_t *, items->count);
    size_t n = 0;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(items, &i));)
        list[n++] = e->value;
    qsort(list, n, sizeof(*list), by_line);
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append(array, list[i]);
    free(list);
    if (n)
        json_object_set(to, key, array);
    json_decref(array);
}

static json_t *format_outline(struct outline *w)
{
    const struct df_step *from = &w->b.file.steps[w->b.stages[w->b.target].first];
    json_t *all = json_object();
    set_text(all, "name", stage_name(from));
    set_text(all, "description", df_comment_on(from, stage_name(from)));
    set_sorted(all, "args", &w->args);
    set_sorted(all, "secrets", &w->secrets);
    set_sorted(all, "ssh", &w->ssh);
    json_object_set_new(all, "sources", sources(w->o));
    return all;
}

static int walk(struct outline *w, struct err *err)
{
    int r = build__platforms(&w->b, err);
    if (r == 0)
        r = build__plan(&w->b, err);
    if (r < 0)
        return r;
    w->stages = NEW_N(struct build, w->b.stage_count);
    for (size_t i = 0; i < w->b.stage_count; i++)
        w->stages[i] = (struct build){.args = MAP_INIT(free)};
    for (size_t i = 0; r == 0 && i <= w->b.target; i++)
        if (w->b.stages[i].needed)
            r = walk_stage(w, i, err);
    for (size_t i = w->b.target + 1; r == 0 && i-- > 0;)
        if (w->b.stages[i].needed)
            list_stage(w, i);
    if (r == 0)
        list_globals(w);
    return r;
}

static void outline_done(struct outline *w)
{
    for (size_t i = 0; w->stages && i < w->b.stage_count; i++) {
        json_decref(w->stages[i].config);
        map_done(&w->stages[i].args);
    }
    for (size_t i = 0; i < w->b.stage_count; i++)
        free(w->b.stages[i].base);
    free(w->stages);
    free(w->b.stages);
    free(w->b.wanted);
    map_done(&w->args);
    map_done(&w->secrets);
    map_done(&w->ssh);
    map_done(&w->used_globals);
    map_done(&w->b.global_args);
    map_done(&w->b.used_args);
    platform_done(&w->b.target_platform);
    platform_done(&w->b.build_platform);
    dockerfile_done(&w->b.file);
    pthread_mutex_destroy(&w->b.args_lock);
    pthread_mutex_destroy(&w->b.out_lock);
}

int describe_outline(struct dockerfile *d, const struct describe_options *o, json_t **ret, struct err *err)
{
    const struct bakery_options options = {
        .target = o->target, .platform = o->platform, .build_args = o->build_args};
    struct outline w = {.b = {.o = &options,
                              .file = *d,
                              .context_fd = -EBADF,
                              .global_args = MAP_INIT(free),
                              .used_args = MAP_INIT(NULL)},
                        .args = MAP_INIT(json_free),
                        .secrets = MAP_INIT(json_free),
                        .ssh = MAP_INIT(json_free),
                        .used_globals = MAP_INIT(NULL),
                        .o = o};
    *d = (struct dockerfile){0};
    pthread_mutex_init(&w.b.args_lock, NULL);
    pthread_mutex_init(&w.b.out_lock, NULL);
    int r = walk(&w, err);
    if (r == 0)
        *ret = format_outline(&w);
    outline_done(&w);
    return r;
}
