/* What a node knows of itself, and how it tells it. */
#include "cluster/health.h"

#include "base/file.h"
#include "base/json.h"

#include <sys/statvfs.h>

enum { PRESSURE_BYTES = 4096 };

void vitals_clear(struct vitals *v)
{
    for (int i = 0; i < VITAL_COUNT; i++)
        v->is[i] = VITAL_UNKNOWN;
}

int64_t vitals_pressure(const char *text)
{
    const char *full = strstr(text, "full "), *at = full ? strstr(full, "avg60=") : NULL;
    char *end;
    if (!at)
        return VITAL_UNKNOWN;
    at += strlen("avg60=");
    double percent = strtod(at, &end);
    return end > at && percent >= 0 && percent <= 100 ? (int64_t)(percent * 100 + 0.5) : VITAL_UNKNOWN;
}

static int64_t pressure_of(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    return file_read(path, PRESSURE_BYTES, &text, &(struct err){0}) == 0 ? vitals_pressure(str_get(&text))
                                                                         : VITAL_UNKNOWN;
}

void vitals_read(const char *root, struct vitals *v)
{
    struct statvfs s;
    bool known = statvfs(root, &s) == 0;
    v->is[VITAL_DISK_FREE] = known ? (int64_t)(s.f_bavail * s.f_frsize) : VITAL_UNKNOWN;
    v->is[VITAL_DISK_SIZE] = known ? (int64_t)(s.f_blocks * s.f_frsize) : VITAL_UNKNOWN;
    known = known && s.f_files; /* btrfs and others make them as they are needed */
    v->is[VITAL_INODES_FREE] = known ? (int64_t)s.f_favail : VITAL_UNKNOWN;
    v->is[VITAL_INODES] = known ? (int64_t)s.f_files : VITAL_UNKNOWN;
    v->is[VITAL_MEMORY] = pressure_of("/proc/pressure/memory");
    v->is[VITAL_IO] = pressure_of("/proc/pressure/io");
}

json_t *vitals_format(const struct vitals *v)
{
    json_t *out = json_array();
    for (int i = 0; i < VITAL_COUNT; i++)
        json_array_append_new(out, v->is[i] == VITAL_UNKNOWN ? json_null() : json_integer(v->is[i]));
    return out;
}

/* A clock may be behind; nothing else is below 0. All are small enough to be multiplied. */
void vitals_parse(const json_t *list, struct vitals *ret)
{
    const int64_t most = INT64_MAX / 100000;
    vitals_clear(ret);
    for (size_t i = 0; i < VITAL_COUNT; i++) {
        const json_t *one = json_array_get(list, i);
        int64_t n = json_integer_value(one);
        if (json_is_integer(one) && n <= most && n >= (i == VITAL_CLOCK_MS ? -most : 0))
            ret->is[i] = n;
    }
}

int64_t vitals_clock(int64_t sent, int64_t taken, int64_t answered, int64_t got)
{
    /* Nothing arrives before it was sent: the true difference lies between these two. */
    int64_t least = sent - taken, most = got - answered;
    if (least > most)
        return VITAL_UNKNOWN;
    return least > 0 ? least : most < 0 ? most : 0;
}

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

int64_t vitals_common_clock(int64_t *clocks, size_t count)
{
    if (!count)
        return 0;
    qsort(clocks, count, sizeof(*clocks), by_number);
    int64_t low = clocks[(count - 1) / 2], high = clocks[count / 2];
    return llabs(low) <= llabs(high) ? low : high;
}
