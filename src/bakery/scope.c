#include "bakery/expand.h"
#include "bakery/preprocess_priv.h"

void scope__init(struct scope *s, const struct preprocess_options *o)
{
    *s = (struct scope){.o = o,
                        .loops = MAP_INIT(free),
                        .global = MAP_INIT(free),
                        .stage = MAP_INIT(free),
                        .computed = MAP_INIT(free),
                        .escape = '\\'};
}

void scope__done(struct scope *s)
{
    map_done(&s->loops);
    map_done(&s->global);
    map_done(&s->stage);
    map_done(&s->computed);
}

static const char *platform_value(struct scope *s, const char *name)
{
    const char *target = str_after(name, "TARGET"), *part = target ? target : str_after(name, "BUILD");
    const struct platform *p = target ? s->o->target_platform : s->o->build_platform;
    if (!part)
        return NULL;
    const char *value = platform_part(p, part);
    if (value || strcmp(part, "PLATFORM") != 0)
        return value;
    map_put(&s->computed, name, platform_format(p));
    return map_get(&s->computed, name);
}

const char *scope__lookup_all(void *scope, const char *name)
{
    struct scope *s = scope;
    if (map_has(&s->loops, name))
        return map_get(&s->loops, name);
    if (map_has(&s->stage, name)) {
        const char *value = map_get(&s->stage, name);
        s->unknown = s->unknown || !value;
        return value;
    }
    return map_has(&s->global, name) ? map_get(&s->global, name) : platform_value(s, name);
}

const char *scope__lookup_here(void *scope, const char *name)
{
    struct scope *s = scope;
    if (map_has(&s->loops, name))
        return map_get(&s->loops, name);
    if (!s->in_stage)
        return map_has(&s->global, name) ? map_get(&s->global, name) : platform_value(s, name);
    const char *value = map_get(&s->stage, name);
    s->unknown = s->unknown || !value; /* it may be of the base image */
    return value;
}

static int check_known(const struct scope *s, const char *text, struct err *err)
{
    if (!s->unknown)
        return 0;
    return err_set(err, ERR_INVALID,
                   "%.120s: a value in it comes from the base image, which is not known before the build",
                   text);
}

int scope__expand(struct scope *s, const char *text, char **ret, struct err *err)
{
    const struct expand x = {.escape = s->escape, .lookup = scope__lookup_all, .context = s};
    s->unknown = false;
    _cleanup_free_ char *value = NULL;
    int r = expand_word(&x, text, &value, err);
    if (r == 0)
        r = check_known(s, text, err);
    if (r == 0)
        *ret = take_ptr(value);
    return r;
}

int scope__expand_words(struct scope *s, const char *text, char ***ret, struct err *err)
{
    const struct expand x = {.escape = s->escape, .lookup = scope__lookup_all, .context = s};
    s->unknown = false;
    _cleanup_strv_ char **words = NULL;
    int r = expand_words(&x, text, &words, err);
    if (r == 0)
        r = check_known(s, text, err);
    if (r == 0)
        *ret = take_ptr(words);
    return r;
}

/* --- What instructions declare --- */

static const char *given(const struct scope *s, const char *name)
{
    const char *value = NULL;
    size_t n = strlen(name);
    STRV_FOREACH (arg, (char **)s->o->build_args)
        if (strncmp(*arg, name, n) == 0 && (*arg)[n] == '=')
            value = *arg + n + 1;
    return value;
}

/* A value as the builder would have it; NULL when that cannot be known. */
static char *known_value(struct scope *s, const char *text)
{
    const struct expand x = {.escape = s->escape, .lookup = scope__lookup_here, .context = s};
    char *value = NULL;
    s->unknown = false;
    if (expand_word(&x, text, &value, NULL) < 0)
        return NULL;
    if (s->unknown) {
        free(value);
        return NULL;
    }
    return value;
}

static void learn_arg(struct scope *s, const struct df_pair *pair)
{
    const char *value = given(s, pair->name);
    char *own = value ? mem_strdup(value) : pair->value ? known_value(s, pair->value) : NULL;
    if (!own && !pair->value) {
        const char *from = map_get(&s->global, pair->name);
        own = mem_strdup(from ? from : platform_value(s, pair->name));
    }
    bool unset = !own && !pair->value; /* declared without a value: as if it were not there */
    if (!unset)
        map_put(s->in_stage ? &s->stage : &s->global, pair->name, own);
    else if (s->in_stage)
        map_remove(&s->stage, pair->name);
}

void scope__learn(struct scope *s, const char *instruction)
{
    struct dockerfile d;
    if (dockerfile_parse_trigger(instruction, "", &d, NULL) < 0)
        return; /* the parser of the whole says what is wrong */
    for (size_t i = 0; i < d.step_count; i++) {
        const struct df_step *step = &d.steps[i];
        if (step->op == DF_FROM) {
            s->in_stage = true;
            map_done(&s->stage);
            s->stage = MAP_INIT(free);
        }
        for (size_t j = 0; j < step->pair_count; j++)
            if (step->op == DF_ARG)
                learn_arg(s, &step->pairs[j]);
            else if (step->op == DF_ENV)
                map_put(&s->stage, step->pairs[j].name, known_value(s, step->pairs[j].value));
    }
    dockerfile_done(&d);
}
