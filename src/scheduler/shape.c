/* Requests, read once and kept by the tasks that were made of them. */
#include "scheduler/scheduler_priv.h"

static int too_many(const char *what, size_t count, struct err *err)
{
    return err_set(err, ERR_LIMIT, "%zu %s are asked for: at most %d", count, what, SCHED_LIST_MAX);
}

static int check_name(const char *what, const char *text, bool wanted, struct err *err)
{
    if (wanted && str_empty(text))
        return err_set(err, ERR_INVALID, "%s is empty", what);
    if (text && strlen(text) > SCHED_TEXT_MAX)
        return err_set(err, ERR_LIMIT, "%s is longer than %d bytes", what, SCHED_TEXT_MAX);
    return 0;
}

static int check_request(const struct sched_request *q, struct err *err)
{
    int r = check_name("the service's name", q->service, true, err);
    const char *texts[][2] = {{"the image's name", q->image},
                              {"the pool's name", q->pool},
                              {"the tenant's name", q->tenant},
                              {"the strategy's name", q->strategy},
                              {"the options of the strategy", q->options}};
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
        r = check_name(texts[i][0], texts[i][1], false, err);
    if (r < 0)
        return r;
    if (q->cpu_nano < 0 || q->cpu_nano > INT64_MAX / 4 || q->memory_bytes < 0 ||
        q->memory_bytes > INT64_MAX / 4)
        return err_set(err, ERR_INVALID, "processors and memory asked for are not below 0, nor without end");
    const struct {
        const char *what;
        size_t count;
    } lists[] = {{"generic resources", q->generic_count},
                 {"constraints", strv_len(q->constraints)},
                 {"affinities", strv_len(q->affinities)},
                 {"platforms", q->platform_count},
                 {"ports", q->port_count},
                 {"volumes", q->volume_count}};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        if (lists[i].count > SCHED_LIST_MAX)
            return too_many(lists[i].what, lists[i].count, err);
    if (strv_len(q->preferences) > PREFERENCES_MAX)
        return err_set(err, ERR_LIMIT, "%zu placement preferences: at most %d", strv_len(q->preferences),
                       PREFERENCES_MAX);
    for (size_t i = 0; i < q->generic_count; i++)
        if (q->generic[i].count < 0 ||
            (r = check_name("a resource's kind", q->generic[i].kind, true, err)) < 0)
            return r < 0 ? r
                         : err_set(err, ERR_INVALID, "less than nothing of %s is asked for",
                                   q->generic[i].kind);
    for (size_t i = 0; i < q->volume_count; i++)
        if ((r = check_name("a volume's name", q->volumes[i].name, true, err)) < 0)
            return r;
    for (size_t i = 0; i < q->port_count; i++) {
        if (q->ports[i].port == 0)
            return err_set(err, ERR_INVALID, "port 0 is no port of a node: leave it out to have one chosen");
        for (size_t k = 0; k < i; k++)
            if (q->ports[i].port == q->ports[k].port && q->ports[i].protocol == q->ports[k].protocol)
                return err_set(err, ERR_INVALID, "port %u is asked for twice", q->ports[i].port);
    }
    return 0;
}

static int parse_list(char *const *texts, int (*parse)(const char *, struct constraint *, struct err *),
                      struct constraint **ret, size_t *ret_count, struct err *err)
{
    *ret = NEW_N(struct constraint, strv_len(texts) + 1);
    for (; texts && *texts; texts++) {
        int r = parse(*texts, &(*ret)[*ret_count], err);
        if (r < 0)
            return r;
        (*ret_count)++;
    }
    return 0;
}

static int fill_words(struct sched_shape *shape, const struct sched_request *q, struct err *err)
{
    int r = parse_list(q->constraints, constraint_parse, &shape->constraints, &shape->constraint_count, err);
    if (r == 0)
        r = parse_list(q->affinities, affinity_parse, &shape->affinities, &shape->affinity_count, err);
    if (r == 0)
        r = parse_list(q->preferences, preference_parse, &shape->preferences, &shape->preference_count, err);
    for (size_t i = 0; r == 0 && i < shape->preference_count; i++)
        if (sched__own_fact(shape->preferences[i].attribute)) {
            shape->spread_nodes = true;
            while (shape->preference_count > i)
                constraint_done(&shape->preferences[--shape->preference_count]);
        }
    shape->target_begin = NEW_N(size_t, shape->affinity_count + 1);
    return r;
}

static void fill_keys(struct sched *s, const struct sched_shape *shape)
{
    for (size_t i = 0; i < shape->constraint_count; i++)
        sched__class_key(s, shape->constraints[i].attribute, shape->constraints[i].key,
                         shape->constraints[i].soft);
    for (size_t i = 0; i < shape->preference_count; i++)
        sched__class_key(s, shape->preferences[i].attribute, shape->preferences[i].key, true);
}

static void fill_numbers(struct sched_shape *shape, const struct sched_request *q)
{
    shape->cpu = q->cpu_nano;
    shape->memory = q->memory_bytes;
    shape->max_per_node = q->max_per_node;
    shape->priority = q->priority;
    shape->generic = NEW_N(struct amount, q->generic_count + 1);
    for (size_t i = 0; i < q->generic_count; i++) {
        if (q->generic[i].count == 0)
            continue;
        shape->generic[shape->generic_count++] =
            (struct amount){mem_strdup(q->generic[i].kind), q->generic[i].count, 0};
        shape->asked.generic = MAX(shape->asked.generic, q->generic[i].count);
    }
    /* What is free may be below 0, which is enough for who asks for nothing. */
    shape->asked.cpu = q->cpu_nano > 0 ? q->cpu_nano : INT64_MIN;
    shape->asked.memory = q->memory_bytes > 0 ? q->memory_bytes : INT64_MIN;
    if (!shape->generic_count)
        shape->asked.generic = INT64_MIN;
    shape->ports = mem_dup(q->ports, q->port_count * sizeof(*q->ports));
    shape->port_count = q->port_count;
}

static char *text_or_empty(const char *text)
{
    return mem_strdup(text ? text : "");
}

static void fill_names(struct sched *s, struct sched_shape *shape, const struct sched_request *q)
{
    shape->service = sched__service(s, q->service);
    shape->image = str_empty(q->image) ? NULL : sched__symbol(s, q->image);
    shape->pool = text_or_empty(q->pool);
    shape->tenant = text_or_empty(q->tenant);
    shape->strategy = text_or_empty(q->strategy);
    shape->options = text_or_empty(q->options);
    for (size_t i = 0; i < q->platform_count; i++) {
        const char *architecture = q->platforms[i].architecture;
        strv_take(&shape->oses, text_or_empty(q->platforms[i].os));
        strv_take(&shape->architectures, mem_strdup(platform_architecture(architecture ? architecture : "")));
        shape->platform_count++;
    }
    shape->volumes = NEW_N(struct volume_wish, q->volume_count + 1);
    for (size_t i = 0; i < q->volume_count; i++)
        shape->volumes[shape->volume_count++] =
            (struct volume_wish){sched__symbol(s, q->volumes[i].name), q->volumes[i].exclusive};
}

static void shape_free(struct sched_shape *shape)
{
    struct sched *s = shape->owner;
    if (s->batch.shape == shape)
        sched__batch_end(s);
    struct constraint *lists[] = {shape->constraints, shape->affinities, shape->preferences};
    size_t counts[] = {shape->constraint_count, shape->affinity_count, shape->preference_count};
    for (size_t l = 0; l < ARRAY_SIZE(lists); l++) {
        for (size_t i = 0; i < counts[l]; i++)
            constraint_done(&lists[l][i]);
        free(lists[l]);
    }
    for (size_t i = 0; i < shape->generic_count; i++)
        free(shape->generic[i].kind);
    for (size_t i = 0; i < shape->volume_count; i++)
        sched__symbol_unref(s, shape->volumes[i].symbol);
    sched__symbol_unref(s, shape->image);
    sched__service_unref(s, shape->service);
    strv_free(shape->oses);
    strv_free(shape->architectures);
    void *owned[] = {shape->generic, shape->ports,        shape->volumes, shape->pool,
                     shape->tenant,  shape->strategy,     shape->options, shape->answers,
                     shape->targets, shape->target_begin, shape};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
}

int sched_shape_new(struct sched *s, const struct sched_request *request, struct sched_shape **ret,
                    struct err *err)
{
    int r = check_request(request, err);
    if (r < 0)
        return r;
    struct sched_shape *shape = NEW(struct sched_shape);
    shape->refs = 1;
    shape->owner = s;
    shape->answers_version = UINT64_MAX;
    if ((r = fill_words(shape, request, err)) < 0) {
        shape_free(shape);
        return r;
    }
    fill_numbers(shape, request);
    fill_names(s, shape, request);
    fill_keys(s, shape);
    *ret = shape;
    return 0;
}

struct sched_shape *sched_shape_ref(struct sched_shape *shape)
{
    shape->refs++;
    return shape;
}

void sched_shape_unref(struct sched_shape *shape)
{
    if (shape && --shape->refs == 0)
        shape_free(shape);
}

const char *sched_shape_service(const struct sched_shape *shape)
{
    return shape->service->name;
}

void sched_shape_asks(const struct sched_shape *shape, int64_t *ret_cpu_nano, int64_t *ret_memory_bytes)
{
    *ret_cpu_nano = shape->cpu;
    *ret_memory_bytes = shape->memory;
}

int32_t sched_shape_priority(const struct sched_shape *shape)
{
    return shape->priority;
}
