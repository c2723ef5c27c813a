#include "cluster/health.h"

#include "base/err.h"
#include "base/str.h"

#include <inttypes.h>
#include <math.h>

/* How bad a signal is, in thousandths of what makes a node sick; from where on a state is entered, and below
 * which it is left. */
enum { SICK = 1000, DEGRADED = 500, LEAVE_PERCENT = 75, BAD_MOST = 1000000 };
#define NS_A_MS 1000000

/* --- Limits --- */

static const struct {
    const char *name;
    enum { IN_PERCENT, IN_SPACE, IN_TIME } unit;
    size_t at;
} words[] = {
    {"disk", IN_SPACE, 0},
    {"inodes", IN_PERCENT, offsetof(struct health_limits, inodes_percent)},
    {"memory", IN_PERCENT, offsetof(struct health_limits, memory_percent)},
    {"io", IN_PERCENT, offsetof(struct health_limits, io_percent)},
    {"keeper", IN_TIME, offsetof(struct health_limits, keeper_ms)},
    {"clock", IN_TIME, offsetof(struct health_limits, clock_ms)},
};

static bool read_percent(const char *text, int64_t *ret)
{
    size_t n = strlen(text);
    _cleanup_free_ char *digits = n && text[n - 1] == '%' ? mem_strndup(text, n - 1) : NULL;
    return digits && parse_i64(digits, 1, 99, ret, NULL) == 0;
}

/* "5%", or "2g". */
static bool read_space(const char *text, struct health_limits *l)
{
    int64_t n = 0;
    bool percent = read_percent(text, &n);
    if (!percent && (parse_bytes(text, &n, NULL) < 0 || n <= 0 || n > INT64_C(1) << 50))
        return false;
    l->disk_percent = percent ? n : 100;
    l->disk_bytes = percent ? INT64_MAX : n;
    return true;
}

static bool read_time(const char *text, int64_t *ret_ms)
{
    int64_t ns = 0;
    bool good = parse_duration(text, &ns, NULL) == 0 && ns >= NS_A_MS && ns <= INT64_C(86400000) * NS_A_MS;
    if (good)
        *ret_ms = ns / NS_A_MS;
    return good;
}

static bool read_word(const char *word, struct health_limits *l)
{
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        const char *rest = str_after(word, words[i].name);
        int64_t *to = (int64_t *)(void *)((char *)l + words[i].at);
        if (!rest || *rest++ != '=')
            continue;
        if (str_eq(rest, "off")) {
            *to = 0;
            return true;
        }
        return words[i].unit == IN_SPACE     ? read_space(rest, l)
               : words[i].unit == IN_PERCENT ? read_percent(rest, to)
                                             : read_time(rest, to);
    }
    return false;
}

int health_limits_parse(const char *text, struct health_limits *ret, struct err *err)
{
    struct health_limits l = HEALTH_LIMITS;
    if (str_eq(text, "off")) {
        *ret = (struct health_limits){0};
        return 0;
    }
    for (const char *at = text; *at;) {
        size_t n = strcspn(at, " ,");
        _cleanup_free_ char *word = mem_strndup(at, n);
        at += n + (at[n] != '\0');
        if (*word && !read_word(word, &l))
            return err_set(err, ERR_INVALID,
                           "limits of health: \"%.60s\" is none of disk=5%%|2g, inodes=2%%, memory=40%%, "
                           "io=90%%, keeper=10s, clock=10s (or off for one, or alone for all)",
                           word);
    }
    *ret = l;
    return 0;
}

/* --- Judging --- */

static int64_t disk_bar(const struct vitals *v, const struct health_limits *l)
{
    return l->disk_percent ? MIN(v->is[VITAL_DISK_SIZE] / 100 * l->disk_percent, l->disk_bytes) : 0;
}

static int64_t inodes_bar(const struct vitals *v, const struct health_limits *l)
{
    return v->is[VITAL_INODES] * l->inodes_percent / 100;
}

static int64_t share(int64_t part, int64_t whole)
{
    return whole > 0 ? (int64_t)fmin((double)part * SICK / (double)whole, BAD_MOST) : 0;
}

/* Of what there should be enough of: how bad it is that only so much is left. */
static int64_t want(int64_t bar, int64_t left)
{
    return share(bar, MAX(left, 1));
}

static const enum vital vital_of[HEALTH_SIGNALS] = {
    [HEALTH_DISK] = VITAL_DISK_FREE, [HEALTH_INODES] = VITAL_INODES_FREE, [HEALTH_MEMORY] = VITAL_MEMORY,
    [HEALTH_IO] = VITAL_IO,          [HEALTH_KEEPER] = VITAL_KEEPER_MS,   [HEALTH_CLOCK] = VITAL_CLOCK_MS,
};

static int64_t badness(const struct vitals *v, const struct health_limits *l, enum health_signal signal)
{
    int64_t is = v->is[vital_of[signal]];
    if (is == VITAL_UNKNOWN)
        return 0;
    switch (signal) {
    case HEALTH_DISK:
        return v->is[VITAL_DISK_SIZE] == VITAL_UNKNOWN ? 0 : want(disk_bar(v, l), is);
    case HEALTH_INODES:
        return v->is[VITAL_INODES] == VITAL_UNKNOWN ? 0 : want(inodes_bar(v, l), is);
    case HEALTH_MEMORY:
        return share(is, l->memory_percent * 100);
    case HEALTH_IO:
        return share(is, l->io_percent * 100);
    case HEALTH_KEEPER:
        return share(is, l->keeper_ms);
    default:
        return share(llabs(is), l->clock_ms);
    }
}

static enum sched_health level_of(int64_t bad, enum sched_health was)
{
    int64_t sick = was == SCHED_UNHEALTHY ? SICK * LEAVE_PERCENT / 100 : SICK;
    int64_t degraded = was != SCHED_HEALTHY ? DEGRADED * LEAVE_PERCENT / 100 : DEGRADED;
    return bad >= sick ? SCHED_UNHEALTHY : bad >= degraded ? SCHED_DEGRADED : SCHED_HEALTHY;
}

void health_judge(const struct vitals *v, const struct health_limits *l, struct health *h)
{
    int64_t worst = -1;
    h->level = SCHED_HEALTHY;
    for (int i = 0; i < HEALTH_SIGNALS; i++) {
        int64_t bad = badness(v, l, (enum health_signal)i);
        h->signals[i] = level_of(bad, h->signals[i]);
        if (h->signals[i] > h->level || (h->signals[i] == h->level && bad > worst)) {
            h->level = h->signals[i];
            h->cause = (enum health_signal)i;
            worst = bad;
        }
    }
}

/* --- In words --- */

static void add_bytes(struct str *to, double value)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < ARRAY_SIZE(units); unit++)
        value /= 1024;
    str_addf(to, "%.3g %s", value, units[unit]);
}

/* The bar of this state, and where it is left: of what falls. */
static void add_floor(struct str *to, const char *means, double bar, bool bytes)
{
    str_addf(to, " free (%s below ", means);
    if (bytes)
        add_bytes(to, bar);
    else
        str_addf(to, "%.0f", bar);
    str_add(to, ", until ");
    if (bytes)
        add_bytes(to, bar * 100 / LEAVE_PERCENT);
    else
        str_addf(to, "%.0f", bar * 100 / LEAVE_PERCENT);
    str_addc(to, ')');
}

/* Of what rises. */
static void add_ceiling(struct str *to, const char *means, double bar, const char *unit)
{
    str_addf(to, " (%s from %g%s, until %g%s)", means, bar, unit, bar * LEAVE_PERCENT / 100, unit);
}

static void add_signal(struct str *to, const struct vitals *v, const struct health_limits *l,
                       enum health_signal signal, bool sick)
{
    const char *means = sick ? "no new tasks" : "behind other nodes";
    int64_t is = v->is[vital_of[signal]];
    double part = sick ? 1 : (double)DEGRADED / SICK;
    switch (signal) {
    case HEALTH_DISK:
        str_add(to, "disk: ");
        add_bytes(to, (double)is);
        str_add(to, " of ");
        add_bytes(to, (double)v->is[VITAL_DISK_SIZE]);
        add_floor(to, means, (double)disk_bar(v, l) / part, true);
        break;
    case HEALTH_INODES:
        str_addf(to, "inodes: %" PRId64 " of %" PRId64, is, v->is[VITAL_INODES]);
        add_floor(to, means, (double)inodes_bar(v, l) / part, false);
        break;
    case HEALTH_MEMORY:
    case HEALTH_IO:
        str_addf(to, "%s pressure: %g%% of the last minute", signal == HEALTH_IO ? "io" : "memory",
                 (double)is / 100);
        add_ceiling(to, means, (double)(signal == HEALTH_IO ? l->io_percent : l->memory_percent) * part, "%");
        break;
    case HEALTH_KEEPER:
        str_addf(to, "keeper: no answer for %gs", (double)(is / 100) / 10);
        add_ceiling(to, means, (double)l->keeper_ms * part / 1000, "s");
        break;
    default:
        str_addf(to, "clock: %gs %s most nodes'", (double)(llabs(is) / 100) / 10,
                 is > 0 ? "ahead of" : "behind");
        add_ceiling(to, means, (double)l->clock_ms * part / 1000, "s");
    }
}

char *health_text(const struct vitals *v, const struct health_limits *l, const struct health *h)
{
    struct str text = STR_INIT;
    for (int level = SCHED_UNHEALTHY; level > SCHED_HEALTHY; level--)
        for (int i = 0; i < HEALTH_SIGNALS; i++)
            if ((int)h->signals[i] == level) {
                str_add(&text, text.len ? "; " : "");
                add_signal(&text, v, l, (enum health_signal)i, level == SCHED_UNHEALTHY);
            }
    return text.len ? str_take(&text) : NULL;
}
