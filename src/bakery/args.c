#include "bakery/build_priv.h"

#include "bakery/expand.h"
#include "base/str.h"

#include <strings.h>

/* --- Platforms --- */

int build__platforms(struct builder *b, struct err *err)
{
    int r = platform_of_machine(&b->build_platform, err);
    if (r < 0)
        return r;
    if (!str_empty(b->o->platform))
        return platform_parse(b->o->platform, &b->target_platform, err);
    const struct platform *p = &b->build_platform;
    b->target_platform = (struct platform){.os = mem_strdup(p->os),
                                           .architecture = mem_strdup(p->architecture),
                                           .variant = mem_strdup(p->variant)};
    return 0;
}

/* TARGETSTAGE: what --target says, else the last stage's name. */
static const char *target_stage(const struct builder *b)
{
    if (!str_empty(b->o->target))
        return b->o->target;
    const char *name = NULL;
    for (size_t i = 0; i < b->file.step_count; i++) {
        const struct df_step *step = &b->file.steps[i];
        if (step->op == DF_FROM)
            name = strv_len(step->args) == 3 ? step->args[2] : NULL;
    }
    return name ? name : "default";
}

/* TARGETPLATFORM, TARGETOS, ... and BUILD...: values a build knows by itself. Kept in global_args once
 * made, so that what is returned stays. */
static const char *own_arg(struct builder *b, const char *name)
{
    if (str_eq(name, "TARGETSTAGE"))
        return target_stage(b);
    const char *rest = str_after(name, "TARGET");
    const struct platform *p = rest ? &b->target_platform : &b->build_platform;
    if (!rest)
        rest = str_after(name, "BUILD");
    if (!rest)
        return NULL;
    const char *part = platform_part(p, rest);
    if (part || strcmp(rest, "PLATFORM") != 0)
        return part;
    map_put(&b->global_args, name, platform_format(p));
    return map_get(&b->global_args, name);
}

/* --- Build arguments --- */

static const char *given(struct builder *b, const char *name)
{
    const char *value = NULL;
    size_t n = strlen(name);
    STRV_FOREACH (arg, (char **)b->o->build_args)
        if (strncmp(*arg, name, n) == 0 && (*arg)[n] == '=')
            value = *arg + n + 1;
    return value;
}

bool build__arg_given(struct builder *b, const char *name)
{
    return given(b, name) != NULL;
}

const char *build__arg_value(struct builder *b, const char *name, const char *fallback)
{
    SCOPED_LOCK(locked, &b->args_lock);
    map_put(&b->used_args, name, NULL);
    const char *value = given(b, name);
    if (value)
        return value;
    if (fallback)
        return fallback;
    value = map_get(&b->global_args, name);
    return value ? value : own_arg(b, name);
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **build__effective_args(struct build *s)
{
    char **list = NULL;
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(&s->args, &i));)
        if (e->value && !build__env_get(s, e->key))
            strv_take(&list, str_printf("%s=%s", e->key, (char *)e->value));
    if (list)
        qsort(list, strv_len(list), sizeof(*list), compare);
    return list;
}

/* --- Expansion --- */

static const char *lookup_global(void *context, const char *name)
{
    struct builder *b = context;
    SCOPED_LOCK(locked, &b->args_lock);
    const char *value = map_get(&b->global_args, name);
    return value ? value : own_arg(b, name);
}

static const char *lookup_stage(void *context, const char *name)
{
    struct build *s = context;
    const char *value = build__env_get(s, name);
    return value ? value : map_get(&s->args, name);
}

int build__expand_global(struct builder *b, const char *text, char **ret, struct err *err)
{
    struct expand x = {.escape = b->file.escape, .lookup = lookup_global, .context = b};
    return expand_word(&x, text, ret, err);
}

int build__expand(struct build *s, const char *text, char **ret, struct err *err)
{
    struct expand x = {.escape = s->file->escape, .lookup = lookup_stage, .context = s};
    return expand_word(&x, text, ret, err);
}

int build__expand_words(struct build *s, const char *text, char ***ret, struct err *err)
{
    struct expand x = {.escape = s->file->escape, .lookup = lookup_stage, .context = s};
    return expand_words(&x, text, ret, err);
}

int build__expand_heredoc(struct build *s, const char *text, char **ret, struct err *err)
{
    struct expand x = {.escape = s->file->escape, .lookup = lookup_stage, .context = s, .raw = true};
    return expand_word(&x, text, ret, err);
}
