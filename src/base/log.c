#include "base/log.h"

#include "base/timeutil.h"

#include <stdarg.h>
#include <unistd.h>

static const char *process_name = "drover";
static enum log_level least_level = LOG_LEVEL_INFO;

void log_init(const char *name, enum log_level least)
{
    process_name = name;
    least_level = least;
}

bool log_tells(enum log_level level)
{
    return level >= least_level;
}

void log_at(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (!log_tells(level))
        return;
    char when[TIME_RFC3339_BYTES], line[2048];
    time_format_rfc3339(time_now_ns(), when);
    int head = snprintf(line, sizeof(line), "%s %s %s: ", when, process_name, names[level]);
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, ap);
    va_end(ap);
    size_t length = MIN((size_t)head + (size_t)MAX(n, 0), sizeof(line) - 2);
    for (size_t i = (size_t)head; i < length; i++)
        if (line[i] == '\n') /* one line an event, whatever a peer put into a name */
            line[i] = ' ';
    line[length++] = '\n';
    ssize_t ignored _unused_ = write(STDERR_FILENO, line, length);
}
