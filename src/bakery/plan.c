#include "bakery/build_priv.h"
#include "bakery/mount.h"

#include "base/str.h"
#include "image/image_ref.h"

#include <strings.h>

/* Finds the stages, and which of them the target needs. */

static int global_arg(struct builder *b, const struct df_step *step, struct err *err)
{
    for (size_t i = 0; i < step->pair_count; i++) {
        const struct df_pair *pair = &step->pairs[i];
        _cleanup_free_ char *fallback = NULL;
        bool wanted = pair->value && !build__arg_given(b, pair->name);
        int r = wanted ? build__expand_global(b, pair->value, &fallback, err) : 0;
        if (r < 0)
            return err_wrap(err, "%s:%d: %s", step->file, step->line, step->text);
        const char *value = build__arg_value(b, pair->name, fallback);
        if (value)
            map_put(&b->global_args, pair->name, mem_strdup(value));
    }
    return 0;
}

const char *build__context_of(const struct builder *b, const char *name)
{
    size_t n = strlen(name);
    STRV_FOREACH (context, (char **)b->o->contexts)
        if (strncmp(*context, name, n) == 0 && (*context)[n] == '=')
            return *context + n + 1;
    const char *alias = json_str(b->o->aliases, name), *reference = str_after(alias, "docker-image://");
    return reference ? reference : *alias ? alias : NULL;
}

ssize_t build__find_stage(const struct builder *b, const char *name, size_t before)
{
    if (build__context_of(b, name))
        return -1;
    for (size_t i = before; i-- > 0;)
        if (b->stages[i].name && strcasecmp(b->stages[i].name, name) == 0)
            return (ssize_t)i;
    int64_t number;
    if (parse_i64(name, 0, INT32_MAX, &number, NULL) == 0 && (size_t)number < before)
        return (ssize_t)number;
    return -1;
}

static int add_stage(struct builder *b, size_t *capacity, size_t at, struct err *err)
{
    const struct df_step *step = &b->file.steps[at];
    GROW(b->stages, b->stage_count, *capacity);
    struct stage *stage = &b->stages[b->stage_count];
    *stage =
        (struct stage){.first = at, .end = at + 1, .name = strv_len(step->args) == 3 ? step->args[2] : NULL};
    b->stage_count++;
    int r = build__expand_global(b, step->args[0], &stage->base, err);
    if (r == 0 && !*stage->base)
        r = err_set(err, ERR_INVALID,
                    "base name (%s) should not be blank: an ARG before the first FROM must give it a value",
                    step->args[0]);
    if (r < 0)
        return err_wrap(err, "%s:%d: %s", step->file, step->line, step->text);
    /* A bare number is an image's name here. */
    stage->base_stage = -1;
    bool context = build__context_of(b, stage->base) != NULL;
    for (size_t i = b->stage_count - 1; !context && i-- > 0 && stage->base_stage < 0;)
        if (b->stages[i].name && strcasecmp(b->stages[i].name, stage->base) == 0)
            stage->base_stage = (ssize_t)i;
    return 0;
}

static const struct df_group *find_group(const struct builder *b, const char *name)
{
    for (size_t i = 0; i < b->file.group_count; i++)
        if (strcasecmp(b->file.groups[i].name, name) == 0)
            return &b->file.groups[i];
    return NULL;
}

static int want(struct builder *b, const struct df_group *g, const struct df_pair *member, struct err *err)
{
    ssize_t found = build__find_stage(b, member->name, b->stage_count);
    if (found < 0)
        return err_set(err, ERR_INVALID, "%s:%d: TARGET %s: there is no stage or target %s", g->file, g->line,
                       g->name, member->name);
    _cleanup_ref_ struct image_ref ref = {0};
    if (member->value && image_ref_parse(member->value, &ref, err) < 0)
        return err_wrap(err, "%s:%d: TARGET %s", g->file, g->line, g->name);
    GROW(b->wanted, b->wanted_count, b->wanted_capacity);
    b->wanted[b->wanted_count++] =
        (struct wanted){.stage = (size_t)found, .name = member->name, .tag = member->value};
    b->target = MAX(b->target, (size_t)found);
    return 0;
}

/* The stages of a TARGET and of those in it, which do not go in circles. */
static int want_group(struct builder *b, const struct df_group *g, struct err *err)
{
    enum { WANTED_MAX = 1000 };
    int r = 0;
    for (size_t i = 0; r == 0 && i < g->member_count; i++) {
        const struct df_group *inner = find_group(b, g->members[i].name);
        r = inner ? want_group(b, inner, err) : want(b, g, &g->members[i], err);
        if (r == 0 && b->wanted_count > WANTED_MAX)
            r = err_set(err, ERR_LIMIT, "%s:%d: TARGET %s: more than %d stages", g->file, g->line, g->name,
                        WANTED_MAX);
    }
    return r;
}

static int find_target(struct builder *b, struct err *err)
{
    b->target = b->stage_count - 1;
    if (str_empty(b->o->target))
        return 0;
    const struct df_group *group = find_group(b, b->o->target);
    if (group) {
        b->target = 0;
        int r = want_group(b, group, err);
        if (r == 0 && b->wanted_count > 1 && b->o->tags && b->o->tags[0])
            r = err_set(
                err, ERR_INVALID,
                "tag %s: target %s is %zu images; name them where it is declared (%s:%d): stage=image:tag",
                b->o->tags[0], group->name, b->wanted_count, group->file, group->line);
        return r;
    }
    ssize_t found = build__find_stage(b, b->o->target, b->stage_count);
    if (found < 0)
        return err_set(err, ERR_INVALID, "failed to reach build target %s in %s: there is no such stage",
                       b->o->target, b->file.name);
    b->target = (size_t)found;
    return 0;
}

bool build__is_wanted(const struct builder *b, const struct stage *stage)
{
    for (size_t i = 0; i < b->wanted_count; i++)
        if (&b->stages[b->wanted[i].stage] == stage)
            return true;
    return !b->wanted_count && stage == &b->stages[b->target];
}

/* A mount that cannot be read, or names its stage by a variable of this one, is told of when its step runs;
 * the stage is built then. */
static void mark_mounts(struct builder *b, const struct df_step *step, size_t before)
{
    for (size_t i = 0; i < step->flag_count; i++) {
        _cleanup_mount_ struct mount_flag m = {0};
        if (!str_eq(step->flags[i].name, "mount") || !step->flags[i].value ||
            mount_parse(step->flags[i].value, "/", NULL, NULL, &m, NULL) < 0 || !m.from)
            continue;
        ssize_t other = build__find_stage(b, m.from, before);
        if (other >= 0)
            b->stages[other].needed = true;
    }
}

/* Stages refer only to earlier ones, so one walk back from the target finds all. */
static void mark_needed(struct builder *b)
{
    for (size_t i = 0; i <= b->target; i++)
        b->stages[i].needed = build__is_wanted(b, &b->stages[i]);
    for (size_t i = b->target + 1; i-- > 0;) {
        struct stage *stage = &b->stages[i];
        if (!stage->needed)
            continue;
        if (stage->base_stage >= 0)
            b->stages[stage->base_stage].needed = true;
        for (size_t j = stage->first + 1; j < stage->end; j++) {
            const struct df_step *step = &b->file.steps[j];
            if (step->op == DF_RUN)
                mark_mounts(b, step, i);
            const char *from = step->op == DF_COPY ? df_flag(step, "from") : NULL;
            ssize_t other = from ? build__find_stage(b, from, i) : -1;
            if (other >= 0)
                b->stages[other].needed = true;
        }
    }
}

static int say_global_args(struct builder *b, size_t count)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < count; i++)
        r = build__say(b, NULL, "Step %zu/%d : %s\n", i + 1, b->step_total, b->file.steps[i].text);
    return r;
}

int build__plan(struct builder *b, struct err *err)
{
    size_t capacity = 0, first = 0;
    int r = 0;
    for (; r == 0 && b->file.steps[first].op == DF_ARG; first++)
        r = global_arg(b, &b->file.steps[first], err);
    for (size_t i = first; r == 0 && i < b->file.step_count; i++) {
        if (b->file.steps[i].op == DF_FROM)
            r = add_stage(b, &capacity, i, err);
        else
            b->stages[b->stage_count - 1].end = i + 1;
    }
    if (r == 0)
        r = find_target(b, err);
    if (r < 0)
        return r;
    mark_needed(b);
    b->step_total = (int)first;
    for (size_t i = 0; i <= b->target; i++) {
        b->stages[i].first_number = b->step_total + 1;
        if (b->stages[i].needed)
            b->step_total += (int)(b->stages[i].end - b->stages[i].first);
    }
    b->step_total += b->o->labels && b->o->labels[0];
    return say_global_args(b, first) < 0 ? err_set(err, ERR_CANCELLED, "build cancelled") : 0;
}
