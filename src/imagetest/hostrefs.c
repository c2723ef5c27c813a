#include "imagetest/hostrefs.h"

#include <arpa/inet.h>
#include <ctype.h>

struct search {
    const char *text, *end;
    bool config;
    const char *own_name;
    void (*found)(void *context, const struct hostref *ref);
    void *context;
    int line;
};

static const char *const host_paths[] = {
    "/var/run/docker.sock", "/run/docker.sock", "/var/lib/docker/", "/Users/", "/home/", "/mnt/c/", "C:\\"};
static const char *const host_systems[] = {"/usr/src/linux-headers-", "/boot/vmlinuz", "/run/systemd/",
                                           "/lib/modules/",           "\\\\.\\pipe\\", "/sys/firmware/"};
static const char *const local_domains[] = {".local",    ".lan",         ".internal", ".corp",
                                            ".intranet", ".localdomain", ".home.arpa"};

static void tell(const struct search *s, const char *rule, const char *at, size_t n)
{
    struct hostref ref = {.rule = rule, .line = s->line};
    n = MIN(n, sizeof(ref.text) - 1);
    for (size_t i = 0; i < n; i++)
        ref.text[i] = isprint((unsigned char)at[i]) ? at[i] : '.';
    s->found(s->context, &ref);
}

static bool name_char(unsigned char c)
{
    return isalnum(c) || c == '.' || c == '-' || c == '_';
}

/* --- Addresses --- */

/* Of documentation (RFC 5737), loopback, unspecified, broadcast and netmasks, multicast: nobody's host. */
static bool nobodys(const unsigned char b[4])
{
    return b[0] == 0 || b[0] == 127 || b[0] >= 224 || (b[0] == 192 && b[1] == 0 && b[2] <= 2) ||
           (b[0] == 198 && b[1] == 51 && b[2] == 100) || (b[0] == 203 && b[1] == 0 && b[2] == 113);
}

/* RFC 1918, 3927, 6598. */
static bool private_range(const unsigned char b[4])
{
    return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) ||
           (b[0] == 169 && b[1] == 254) || (b[0] == 100 && (b[1] & 0xc0) == 64);
}

/* "10.0.0.0/8": a range is a rule about addresses and not the address of a host. */
static bool is_range(const char *after, const char *end)
{
    return end - after >= 2 && *after == '/' && isdigit((unsigned char)after[1]);
}

static size_t address4(const struct search *s, const char *at)
{
    char text[INET_ADDRSTRLEN + 1] = "";
    unsigned char bytes[4];
    size_t n = 0;
    while (at + n < s->end && n < sizeof(text) - 1 && (isdigit((unsigned char)at[n]) || at[n] == '.'))
        n++;
    if (n < 7 || n > 15)
        return 0;
    n -= at[n - 1] == '.'; /* the end of a sentence */
    memcpy(text, at, n);
    if (inet_pton(AF_INET, text, bytes) != 1 || nobodys(bytes) || is_range(at + n, s->end))
        return 0;
    if (at + n < s->end && (isalnum((unsigned char)at[n]) || at[n] == '-' || at[n] == '_'))
        return 0;
    /* Elsewhere four numbers are as often a version. */
    if (!s->config && (!private_range(bytes) || (bytes[0] == 10 && at > s->text && at[-1] == '=')))
        return 0;
    if (s->config || private_range(bytes))
        tell(s, "address", at, n);
    return n;
}

/* RFC 4193 and link-local ones. */
static size_t address6(const struct search *s, const char *at)
{
    char text[INET6_ADDRSTRLEN + 1] = "";
    unsigned char bytes[16];
    size_t n = 0;
    while (at + n < s->end && n < sizeof(text) - 1 && (isxdigit((unsigned char)at[n]) || at[n] == ':'))
        n++;
    if (n < 6 || n >= sizeof(text) - 1)
        return 0;
    memcpy(text, at, n);
    if (inet_pton(AF_INET6, text, bytes) != 1 || is_range(at + n, s->end))
        return 0;
    bool own = (bytes[0] & 0xfe) == 0xfc || (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80);
    if (!own || (at + n < s->end && name_char((unsigned char)at[n])))
        return 0;
    tell(s, "address", at, n);
    return n;
}

/* --- Names, paths --- */

/* In a file only what stands where a host stands: behind "://" or "@", or before a port. */
static bool as_a_host(const struct search *s, const char *at, size_t n)
{
    bool behind = (at - s->text >= 3 && memcmp(at - 3, "://", 3) == 0) || (at > s->text && at[-1] == '@');
    const char *after = at + n;
    bool port = s->end - after >= 2 && *after == ':' && isdigit((unsigned char)after[1]);
    return s->config || behind || port;
}

static bool local_name(const char *at, size_t n)
{
    for (size_t i = 0; i < ARRAY_SIZE(local_domains); i++) {
        size_t m = strlen(local_domains[i]);
        if (n > m && strncasecmp(at + n - m, local_domains[i], m) == 0)
            return true;
    }
    return false;
}

static size_t host_name(const struct search *s, const char *at)
{
    size_t n = 0;
    while (at + n < s->end && n < 253 && name_char((unsigned char)at[n]))
        n++;
    while (n && at[n - 1] == '.')
        n--;
    size_t own = s->own_name ? strlen(s->own_name) : 0;
    bool ours = own >= 4 && n == own && strncasecmp(at, s->own_name, n) == 0;
    if (n && (ours || local_name(at, n)) && as_a_host(s, at, n))
        tell(s, "host-name", at, n);
    return n;
}

static bool begins(const struct search *s, const char *at, const char *word)
{
    size_t n = strlen(word);
    return (size_t)(s->end - at) >= n && memcmp(at, word, n) == 0;
}

/* The path from `at` on, two parts deep: "/home/ana". */
static size_t path_length(const struct search *s, const char *at, size_t least)
{
    size_t n = least;
    while (at + n < s->end && name_char((unsigned char)at[n]))
        n++;
    return n;
}

static size_t host_path(const struct search *s, const char *at)
{
    for (size_t i = 0; i < ARRAY_SIZE(host_paths); i++) {
        size_t m = strlen(host_paths[i]);
        if (!begins(s, at, host_paths[i]))
            continue;
        size_t n = path_length(s, at, m);
        if (n == m && host_paths[i][m - 1] == '/')
            return 0; /* "/home/" and nothing of it, as in a list of excluded places */
        tell(s, "host-path", at, n);
        return n;
    }
    for (size_t i = 0; s->config && i < ARRAY_SIZE(host_systems); i++)
        if (begins(s, at, host_systems[i])) {
            tell(s, "host-os", at, path_length(s, at, strlen(host_systems[i])));
            return strlen(host_systems[i]);
        }
    /* In a file, only of one certain kernel. */
    if (!s->config && begins(s, at, "/lib/modules/") && at + 13 < s->end && isdigit((unsigned char)at[13])) {
        tell(s, "host-os", at, path_length(s, at, 13));
        return 13;
    }
    return 0;
}

static bool starts_a_word(const struct search *s, const char *at)
{
    return at == s->text || !(name_char((unsigned char)at[-1]) || at[-1] == '/');
}

static size_t look(const struct search *s, const char *at)
{
    unsigned char c = (unsigned char)*at;
    bool after_slashes = at - s->text >= 2 && at[-1] == '/' && at[-2] == '/';
    if (c == '/' || c == '\\' || c == 'C')
        if (starts_a_word(s, at)) {
            size_t n = host_path(s, at);
            if (n)
                return n;
        }
    if (!isalnum(c) || !(starts_a_word(s, at) || after_slashes))
        return 0;
    size_t n = isdigit(c) ? address4(s, at) : c == 'f' || c == 'F' ? address6(s, at) : 0;
    return n ? n : host_name(s, at);
}

/* A line of a file that nothing reads but people. */
static bool begins_comment(const struct search *s, const char *line)
{
    while (line < s->end && (*line == ' ' || *line == '\t'))
        line++;
    return !s->config && line < s->end && (*line == '#' || *line == ';');
}

void hostrefs_find(const char *text, size_t n, bool config, const char *own_name,
                   void (*found)(void *context, const struct hostref *ref), void *context)
{
    struct search s = {.text = text,
                       .end = text + n,
                       .config = config,
                       .own_name = own_name,
                       .found = found,
                       .context = context,
                       .line = 1};
    bool comment = begins_comment(&s, text);
    for (const char *at = text; at < s.end;) {
        if (*at == '\n') {
            s.line++;
            comment = begins_comment(&s, at + 1);
        }
        size_t took = comment ? 0 : look(&s, at);
        at += took ? took : 1;
    }
}

bool hostrefs_in_scope(const char *path)
{
    static const char *const packaged[] = {
        "usr/share/",     "usr/lib/",         "usr/lib64/",         "usr/libexec/", "usr/include/",
        "usr/src/",       "usr/bin/",         "usr/sbin/",          "bin/",         "sbin/",
        "lib/",           "lib64/",           "var/lib/",           "var/cache/",   "usr/games/",
        "usr/local/lib/", "usr/local/share/", "usr/local/include/", "opt/java/"};
    static const char *const dependencies[] = {"node_modules/", "site-packages/", "dist-packages/", "vendor/",
                                               ".git/"};
    for (size_t i = 0; i < ARRAY_SIZE(packaged); i++)
        if (str_after(path, packaged[i]))
            return false;
    for (size_t i = 0; i < ARRAY_SIZE(dependencies); i++) {
        const char *at = strstr(path, dependencies[i]);
        if (at && (at == path || at[-1] == '/'))
            return false;
    }
    return !str_ends_with(path, ".md") && !str_ends_with(path, ".rst");
}
