#include "scheduler/trace.h"

#include "base/str.h"
#include "base/timeutil.h"

#include <math.h>

enum column {
    C_TIME,
    C_EVENT,
    C_NAME,
    C_COUNT,
    C_DURATION,
    C_CPU,
    C_MEMORY,
    C_GPU,
    C_PRIORITY,
    C_CONSTRAINTS,
    C_AFFINITIES,
    C_PREFERENCES,
    C_LABELS,
    C_IMAGE,
    C_PORT,
    C_MAX_PER_NODE,
    C_POOL,
    C_TENANT,
    C_OPTIONS,
    /* openb's */
    C_SN,
    C_CPU_MILLI,
    C_MEMORY_MIB,
    C_NUM_GPU,
    C_GPU_MILLI,
    C_GPU_SPEC,
    C_CREATION,
    C_DELETION,
    C_MODEL,
    C_IGNORED,
    COLUMN_COUNT,
};
static const struct {
    const char *name;
    enum column column;
} names[] = {
    {"time", C_TIME},
    {"event", C_EVENT},
    {"name", C_NAME},
    {"count", C_COUNT},
    {"duration", C_DURATION},
    {"cpu", C_CPU},
    {"memory", C_MEMORY},
    {"gpu", C_GPU},
    {"priority", C_PRIORITY},
    {"constraints", C_CONSTRAINTS},
    {"affinities", C_AFFINITIES},
    {"preferences", C_PREFERENCES},
    {"labels", C_LABELS},
    {"image", C_IMAGE},
    {"port", C_PORT},
    {"max_per_node", C_MAX_PER_NODE},
    {"pool", C_POOL},
    {"tenant", C_TENANT},
    {"options", C_OPTIONS},
    {"sn", C_SN},
    {"cpu_milli", C_CPU_MILLI},
    {"memory_mib", C_MEMORY_MIB},
    {"num_gpu", C_NUM_GPU},
    {"gpu_milli", C_GPU_MILLI},
    {"gpu_spec", C_GPU_SPEC},
    {"creation_time", C_CREATION},
    {"deletion_time", C_DELETION},
    {"model", C_MODEL},
    {"qos", C_IGNORED},
    {"pod_phase", C_IGNORED},
    {"scheduled_time", C_IGNORED},
};
enum { FIELDS_MAX = 64 };

struct reader {
    char *at, *end;
    const char *what;
    size_t line;
    enum column columns[FIELDS_MAX];
    size_t column_count;
    char *fields[COLUMN_COUNT];
    bool has[COLUMN_COUNT]; /* the file has the column */
    struct trace *trace;
    struct err *err;
};

static int wrong(const struct reader *r, const char *format, ...)
{
    char why[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(why, sizeof(why), format, ap);
    va_end(ap);
    return err_set(r->err, ERR_INVALID, "%s:%zu: %s", r->what, r->line, why);
}

/* The next field, ended with a NUL in place. *ret_last: a line ends behind it. */
static int field_next(struct reader *r, char **ret, bool *ret_last)
{
    char *to = r->at, *from = r->at;
    *ret = to;
    bool quoted = from < r->end && *from == '"';
    from += quoted;
    for (;; from++) {
        if (from == r->end && quoted)
            return wrong(r, "a quoted value has no end");
        if (from == r->end || (!quoted && (*from == ',' || *from == '\n')))
            break;
        if (*from == '\0')
            return wrong(r, "a zero byte is no text");
        if (quoted && *from == '"') {
            if (from + 1 == r->end || from[1] != '"') {
                quoted = false;
                continue;
            }
            from++;
        }
        r->line += *from == '\n';
        *to++ = *from;
    }
    *ret_last = from == r->end || *from == '\n';
    r->at = from == r->end ? from : from + 1;
    if (*ret_last && to > *ret && to[-1] == '\r')
        to--;
    *to = '\0'; /* the text has a NUL behind its end */
    return 0;
}

/* Splits a line. Returns 1, 0 at the end of the text, or an error. */
static int line_next(struct reader *r, char *fields[FIELDS_MAX], size_t *ret_count)
{
    while (r->at < r->end && (*r->at == '\n' || *r->at == '\r')) {
        r->line += *r->at == '\n';
        r->at++;
    }
    if (r->at == r->end)
        return 0;
    r->line++;
    size_t count = 0;
    for (bool last = false; !last;) {
        if (count == FIELDS_MAX)
            return wrong(r, "more than %d columns", FIELDS_MAX);
        int e = field_next(r, &fields[count++], &last);
        if (e < 0)
            return e;
    }
    *ret_count = count;
    return 1;
}

static int header_read(struct reader *r)
{
    char *fields[FIELDS_MAX];
    r->line = 0;
    int e = line_next(r, fields, &r->column_count);
    if (e < 0)
        return e;
    if (e == 0)
        return wrong(r, "the trace is empty: its first line names the columns");
    for (size_t i = 0; i < r->column_count; i++) {
        size_t k = 0;
        while (k < ARRAY_SIZE(names) && strcmp(fields[i], names[k].name) != 0)
            k++;
        if (k == ARRAY_SIZE(names))
            return wrong(r, "the column \"%.40s\" is not known; docs/scheduling.md has the list", fields[i]);
        enum column c = names[k].column;
        if (c != C_IGNORED && r->has[c])
            return wrong(r, "the column \"%.40s\" stands twice", fields[i]);
        r->columns[i] = c;
        r->has[c] = true;
    }
    if (!r->has[C_NAME] && !r->has[C_SN])
        return wrong(r, "there is no column \"name\"");
    return 0;
}

static int row_next(struct reader *r)
{
    char *fields[FIELDS_MAX];
    size_t count;
    int e = line_next(r, fields, &count);
    if (e <= 0)
        return e;
    if (count != r->column_count)
        return wrong(r, "%zu values, and the first line names %zu columns", count, r->column_count);
    for (int c = 0; c < COLUMN_COUNT; c++)
        r->fields[c] = NULL;
    for (size_t i = 0; i < count; i++)
        r->fields[r->columns[i]] = fields[i];
    return 1;
}

static const char *text_of(const struct reader *r, enum column c)
{
    return r->fields[c] ? r->fields[c] : "";
}

/* A decimal number times `unit`, `otherwise` when the field is empty. */
static int number(const struct reader *r, enum column c, double unit, int64_t otherwise, int64_t *ret)
{
    const char *text = text_of(r, c);
    *ret = otherwise;
    if (!*text)
        return 0;
    char *end;
    double value = strtod(text, &end);
    if (*end || !isfinite(value) || value < 0 || value * unit > 4e18)
        return wrong(r, "\"%.40s\" is no number of 0 or more", text);
    *ret = (int64_t)(value * unit + 0.5);
    return 0;
}

static int whole(const struct reader *r, enum column c, int64_t least, int64_t most, int64_t otherwise,
                 int64_t *ret)
{
    *ret = otherwise;
    if (!*text_of(r, c) || parse_i64(text_of(r, c), least, most, ret, NULL) == 0)
        return 0;
    return wrong(r, "\"%.40s\" is not a whole number from %lld to %lld", text_of(r, c), (long long)least,
                 (long long)most);
}

static int kind_read(const struct reader *r, enum trace_kind *ret)
{
    static const struct {
        const char *name;
        enum trace_kind kind;
    } kinds[] = {{"", TRACE_TASK},         {"task", TRACE_TASK}, {"node", TRACE_NODE}, {"fail", TRACE_FAIL},
                 {"return", TRACE_RETURN}, {"sick", TRACE_SICK}, {"well", TRACE_WELL}};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (strcmp(text_of(r, C_EVENT), kinds[i].name) == 0) {
            *ret = kinds[i].kind;
            return 0;
        }
    return wrong(r, "the event \"%.40s\" is not known; there are task, node, fail, return, sick and well",
                 text_of(r, C_EVENT));
}

static int own_read(struct reader *r, struct trace_event *e)
{
    int64_t count, most, port, priority;
    int n;
    if ((n = kind_read(r, &e->kind)) < 0 || (n = number(r, C_TIME, 1e9, 0, &e->time_ns)) < 0 ||
        (n = number(r, C_DURATION, 1e9, -1, &e->duration_ns)) < 0 ||
        (n = number(r, C_CPU, 1e9, 0, &e->cpu_nano)) < 0 ||
        (n = whole(r, C_GPU, 0, INT32_MAX, 0, &e->gpu)) < 0 ||
        (n = whole(r, C_COUNT, 1, TRACE_COUNT_MAX, 1, &count)) < 0 ||
        (n = whole(r, C_MAX_PER_NODE, 0, INT32_MAX, 0, &most)) < 0 ||
        (n = whole(r, C_PORT, 1, UINT16_MAX, 0, &port)) < 0 ||
        (n = whole(r, C_PRIORITY, INT32_MIN, INT32_MAX, 0, &priority)) < 0)
        return n;
    if (*text_of(r, C_MEMORY) && parse_bytes(text_of(r, C_MEMORY), &e->memory_bytes, NULL) < 0)
        return wrong(r, "\"%.40s\" is no size like 512m or 4g", text_of(r, C_MEMORY));
    e->count = (uint32_t)count;
    e->max_per_node = (uint32_t)most;
    e->port = (uint16_t)port;
    e->priority = (int32_t)priority;
    e->name = text_of(r, C_NAME);
    e->constraints = text_of(r, C_CONSTRAINTS);
    e->affinities = text_of(r, C_AFFINITIES);
    e->preferences = text_of(r, C_PREFERENCES);
    e->labels = text_of(r, C_LABELS);
    e->image = text_of(r, C_IMAGE);
    e->pool = text_of(r, C_POOL);
    e->tenant = text_of(r, C_TENANT);
    e->options = text_of(r, C_OPTIONS);
    return 0;
}

static void text_keep(struct trace *t, char *text)
{
    GROW(t->texts, t->text_count, t->text_cap);
    t->texts[t->text_count++] = text;
}

static const char *made_text(struct reader *r, char *text)
{
    text_keep(r->trace, text);
    return text;
}

static int openb_read(struct reader *r, struct trace_event *e)
{
    int64_t gpus, of_each, ends;
    int n;
    if ((n = number(r, C_CPU_MILLI, 1e6, 0, &e->cpu_nano)) < 0 ||
        (n = number(r, C_MEMORY_MIB, 1 << 20, 0, &e->memory_bytes)) < 0)
        return n;
    e->count = 1;
    if (r->has[C_SN]) {
        e->kind = TRACE_NODE;
        e->name = text_of(r, C_SN);
        e->labels = *text_of(r, C_MODEL) ? made_text(r, str_printf("model=%s", text_of(r, C_MODEL))) : "";
        return number(r, C_GPU, 1000, 0, &e->gpu);
    }
    e->kind = TRACE_TASK;
    e->name = text_of(r, C_NAME);
    if ((n = number(r, C_NUM_GPU, 1, 0, &gpus)) < 0 || (n = number(r, C_GPU_MILLI, 1, 0, &of_each)) < 0 ||
        (n = number(r, C_CREATION, 1e9, 0, &e->time_ns)) < 0 ||
        (n = number(r, C_DELETION, 1e9, -1, &ends)) < 0)
        return n;
    if (gpus > 1000000 || of_each > 1000000)
        return wrong(r, "so many GPUs cannot be meant");
    e->gpu = gpus * of_each;
    e->duration_ns = ends < 0 ? -1 : MAX(ends - e->time_ns, INT64_C(0));
    if (*text_of(r, C_GPU_SPEC))
        e->constraints = made_text(r, str_printf("constraint:model==/^(%s)$/", text_of(r, C_GPU_SPEC)));
    return 0;
}

static int rows_read(struct trace *t, struct reader *r)
{
    bool openb = r->has[C_SN] || r->has[C_CREATION];
    int more;
    while ((more = row_next(r)) > 0) {
        struct trace_event e = {.name = "",
                                .constraints = "",
                                .affinities = "",
                                .preferences = "",
                                .labels = "",
                                .image = "",
                                .pool = "",
                                .tenant = "",
                                .options = ""};
        int n = openb ? openb_read(r, &e) : own_read(r, &e);
        if (n < 0)
            return n;
        if (!*e.name)
            return wrong(r, "a line without a name");
        GROW(t->events, t->count, t->cap);
        t->events[t->count++] = e;
    }
    return more;
}

int trace_add(struct trace *t, char *text, size_t n, const char *what, struct err *err)
{
    char *copy = mem_grow(text, n + 1, 1);
    copy[n] = '\0';
    text_keep(t, copy);
    struct reader r = {.at = copy, .end = copy + n, .what = what, .trace = t, .err = err};
    int e = header_read(&r);
    return e < 0 ? e : rows_read(t, &r);
}

static int by_time(const void *a, const void *b)
{
    const struct trace_event *x = a, *y = b;
    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    return (int)x->kind - (int)y->kind;
}

/* Equals keep their order: a merge sort from below. */
void trace_sort(struct trace *t)
{
    struct trace_event *from = t->events, *to = NEW_N(struct trace_event, t->count + 1);
    for (size_t run = 1; run < t->count; run *= 2) {
        for (size_t low = 0; low < t->count; low += 2 * run) {
            size_t middle = MIN(low + run, t->count), high = MIN(low + 2 * run, t->count);
            for (size_t i = low, a = low, b = middle; i < high; i++)
                to[i] = a < middle && (b == high || by_time(&from[a], &from[b]) <= 0) ? from[a++] : from[b++];
        }
        struct trace_event *swap = from;
        from = to;
        to = swap;
    }
    t->events = from;
    t->cap = t->count;
    free(to);
}

void trace_done(struct trace *t)
{
    free(t->events);
    for (size_t i = 0; i < t->text_count; i++)
        free(t->texts[i]);
    free(t->texts);
    *t = (struct trace){0};
}
