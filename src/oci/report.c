#include "oci/report.h"

#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"

#include <fcntl.h>
#include <unistd.h>

static int log_fd = -EBADF;
static bool as_json, debug;

int report_open(const struct oci_args *args, struct err *err)
{
    debug = args->debug;
    if (args->log_format && !str_eq(args->log_format, "text") && !str_eq(args->log_format, "json"))
        return err_set(err, ERR_INVALID, "unknown log-format \"%s\": it is text or json", args->log_format);
    as_json = str_eq(args->log_format, "json");
    if (str_empty(args->log))
        return 0;
    log_fd = open(args->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    return log_fd < 0 ? err_sys(err, errno, "open the log \"%s\"", args->log) : 0;
}

/* One write, so that lines of two processes do not mix. */
static void line(const char *level, const char *message)
{
    char when[TIME_RFC3339_BYTES];
    time_format_rfc3339(time_now_ns(), when);
    _cleanup_json_ json_t *record = json_object();
    json_set_str(record, "level", level);
    json_set_str(record, "msg", message);
    json_set_str(record, "time", when);
    _cleanup_free_ char *text = NULL;
    if (as_json) {
        text = json_format(record);
    } else {
        _cleanup_free_ char *quoted = json_format(json_object_get(record, "msg"));
        text = str_printf("time=\"%s\" level=%s msg=%s", when, level, quoted);
    }
    _cleanup_free_ char *whole = str_printf("%s\n", text);
    file_write_all(log_fd >= 0 ? log_fd : STDERR_FILENO, whole, strlen(whole), NULL);
}

void report_error(const char *message)
{
    if (log_fd >= 0 || as_json)
        line("error", message);
    if (log_fd >= 0 || !as_json)
        fprintf(stderr, "drover-oci: %s\n", message);
}

static void leveled(const char *level, const char *format, va_list ap)
{
    _cleanup_str_ struct str text = STR_INIT;
    str_vaddf(&text, format, ap);
    line(level, str_get(&text));
}

void report_warning(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    leveled("warning", format, ap);
    va_end(ap);
}

void report_debug(const char *format, ...)
{
    if (!debug)
        return;
    va_list ap;
    va_start(ap, format);
    leveled("debug", format, ap);
    va_end(ap);
}
