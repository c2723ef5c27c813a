#include "base/timeutil.h"

#include "base/err.h"
#include "base/mem.h"

#include <string.h>
#include <time.h>

static int64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t time_now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}

int64_t time_monotonic_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

char *time_format_rfc3339(int64_t ns, char out[TIME_RFC3339_BYTES])
{
    if (ns == 0) {
        snprintf(out, TIME_RFC3339_BYTES, "0001-01-01T00:00:00Z");
        return out;
    }
    int64_t fraction = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S;
    time_t s = (time_t)((ns - fraction) / NS_PER_S);
    struct tm tm;
    gmtime_r(&s, &tm);
    size_t n = strftime(out, TIME_RFC3339_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
    if (fraction) {
        n += (size_t)snprintf(out + n, TIME_RFC3339_BYTES - n, ".%09lld", (long long)fraction);
        while (out[n - 1] == '0')
            n--;
    }
    out[n++] = 'Z';
    out[n] = '\0';
    return out;
}

int time_parse_rfc3339(const char *text, int64_t *ret_ns, struct err *err)
{
    struct tm tm = {0};
    const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!at)
        return err_set(err, ERR_INVALID, "\"%s\" is not a time such as 2026-01-02T03:04:05Z", text);
    int64_t fraction = 0;
    if (*at == '.') {
        int64_t scale = NS_PER_S / 10;
        for (at++; *at >= '0' && *at <= '9'; at++, scale /= 10)
            fraction += (*at - '0') * scale;
    }
    int64_t offset_s = 0;
    if (*at == '+' || *at == '-') {
        int hours, minutes, used = 0;
        if (sscanf(at + 1, "%2d:%2d%n", &hours, &minutes, &used) != 2 || at[1 + used])
            return err_set(err, ERR_INVALID, "\"%s\" has a malformed time zone", text);
        offset_s = (*at == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
    } else if (strcmp(at, "Z") != 0 && *at) {
        return err_set(err, ERR_INVALID, "\"%s\" is not a time such as 2026-01-02T03:04:05Z", text);
    }
    int64_t s = (int64_t)timegm(&tm) - offset_s;
    *ret_ns = tm.tm_year + 1900 <= 1 ? 0 : s * NS_PER_S + fraction;
    return 0;
}

char *time_format_human(int64_t ns, char out[TIME_RFC3339_BYTES])
{
    int64_t s = ns / NS_PER_S, minutes = s / 60, hours = (s + 1800) / 3600;
    const size_t n = TIME_RFC3339_BYTES;
    if (s < 1)
        snprintf(out, n, "Less than a second");
    else if (s == 1)
        snprintf(out, n, "1 second");
    else if (s < 60)
        snprintf(out, n, "%lld seconds", (long long)s);
    else if (minutes == 1)
        snprintf(out, n, "About a minute");
    else if (minutes < 60)
        snprintf(out, n, "%lld minutes", (long long)minutes);
    else if (hours == 1)
        snprintf(out, n, "About an hour");
    else if (hours < 48)
        snprintf(out, n, "%lld hours", (long long)hours);
    else if (hours < 24 * 7 * 2)
        snprintf(out, n, "%lld days", (long long)hours / 24);
    else if (hours < 24 * 30 * 2)
        snprintf(out, n, "%lld weeks", (long long)hours / 24 / 7);
    else if (hours < 24 * 365 * 2)
        snprintf(out, n, "%lld months", (long long)hours / 24 / 30);
    else
        snprintf(out, n, "%lld years", (long long)hours / 24 / 365);
    return out;
}

void time_sleep_ns(int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
        ;
}

/* A number without the zeros at its end. */
static void format_part(char *out, size_t size, int64_t value, int64_t unit, const char *name)
{
    char fraction[16] = "";
    int digits = 0;
    for (int64_t u = unit; u > 1; u /= 10)
        digits++;
    if (value % unit) {
        snprintf(fraction, sizeof(fraction), ".%0*lld", digits, (long long)(value % unit));
        for (size_t n = strlen(fraction); n && fraction[n - 1] == '0'; n--)
            fraction[n - 1] = '\0';
    }
    snprintf(out, size, "%lld%s%s", (long long)(value / unit), fraction, name);
}

char *time_format_duration(int64_t ns, char out[TIME_RFC3339_BYTES])
{
    int n = 0;
    if (ns == 0)
        snprintf(out, TIME_RFC3339_BYTES, "0s");
    else if (ns < 1000)
        snprintf(out, TIME_RFC3339_BYTES, "%lldns", (long long)ns);
    else if (ns < NS_PER_MS)
        format_part(out, TIME_RFC3339_BYTES, ns, 1000, "\xc2\xb5s");
    else if (ns < NS_PER_S)
        format_part(out, TIME_RFC3339_BYTES, ns, NS_PER_MS, "ms");
    else {
        int64_t minutes = ns / (60 * NS_PER_S), hours = minutes / 60;
        if (hours)
            n = snprintf(out, TIME_RFC3339_BYTES, "%lldh%lldm", (long long)hours, (long long)minutes % 60);
        else if (minutes)
            n = snprintf(out, TIME_RFC3339_BYTES, "%lldm", (long long)minutes);
        format_part(out + n, TIME_RFC3339_BYTES - (size_t)n, ns % (60 * NS_PER_S), NS_PER_S, "s");
    }
    return out;
}
