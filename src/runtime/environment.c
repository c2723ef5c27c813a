/* HOME, from an /etc/passwd that the image's author wrote: it may be anything. */
#include "runtime/child.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/passwd.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_PASSWD = 1 << 20 };

/* The seven fields of passwd(5), a line each. What is not of this form is passed over. */
bool passwd_home(const char *text, size_t n, uid_t uid, const char **ret, size_t *ret_bytes)
{
    const char *end = text + n;
    for (const char *line = text, *next; line < end; line = next) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        next = newline ? newline + 1 : end;
        const char *fields[7], *stop = newline ? newline : end;
        size_t count = 0;
        for (const char *at = line; at && count < 7; count++) {
            fields[count] = at;
            at = memchr(at, ':', (size_t)(stop - at));
            at = at ? at + 1 : NULL;
        }
        if (count < 7 || memchr(line, '\0', (size_t)(stop - line)))
            continue;
        char number[16];
        size_t digits = (size_t)(fields[3] - fields[2]) - 1;
        int64_t id;
        if (digits == 0 || digits >= sizeof(number))
            continue;
        memcpy(number, fields[2], digits);
        number[digits] = '\0';
        if (parse_i64(number, 0, UINT32_MAX, &id, NULL) < 0 || (uid_t)id != uid)
            continue;
        *ret = fields[5];
        *ret_bytes = (size_t)(fields[6] - fields[5]) - 1;
        return true;
    }
    return false;
}

/* A regular file only: opening a FIFO would wait, a device could do anything. */
static int read_passwd(struct str *text)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_NO_MAGICLINKS};
    _cleanup_close_ int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", &how, sizeof(how));
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    return file_read_fd(fd, MAX_PASSWD, text, NULL);
}

/* Whether a later entry is of the same name: the last one counts. */
static bool is_overridden(char *const *entry)
{
    size_t n = strcspn(*entry, "=") + 1;
    for (char *const *later = entry + 1; (*entry)[n - 1] && *later; later++)
        if (strncmp(*entry, *later, n) == 0)
            return true;
    return false;
}

/* Configs have tens of entries; what has thousands is not compared with itself. */
enum { MAX_COMPARED = 512 };

static bool is_as_wanted(char **env)
{
    bool home = false, compared = strv_len(env) <= MAX_COMPARED;
    STRV_FOREACH (entry, env) {
        if (compared && is_overridden(entry))
            return false;
        home = home || (str_after(*entry, "HOME=") && (*entry)[strlen("HOME=")]);
    }
    return home;
}

char **child__environment(const struct plan_process *process)
{
    static char *nothing[] = {NULL};
    if (is_as_wanted(process->env))
        return process->env;
    char **env = NULL;
    bool home_given = false, compared = strv_len(process->env) <= MAX_COMPARED;
    STRV_FOREACH (entry, process->env) {
        if (compared && is_overridden(entry))
            continue;
        const char *value = str_after(*entry, "HOME=");
        home_given = home_given || (value && *value);
        if (!value || *value)
            strv_add(&env, *entry);
    }
    if (home_given)
        return env;
    _cleanup_str_ struct str text = STR_INIT;
    const char *home = "/";
    size_t bytes = 1;
    if (read_passwd(&text) == 0 && passwd_home(str_get(&text), text.len, process->uid, &home, &bytes) &&
        !bytes)
        home = "/", bytes = 1;
    strv_take(&env, str_printf("HOME=%.*s", (int)bytes, home));
    return env ? env : nothing;
}
