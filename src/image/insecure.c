#include "image/insecure.h"

#include "base/address_range.h"
#include "base/err.h"
#include "base/str.h"

#include <netdb.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const char *after_scheme(const char *text)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_SIZE(schemes); i++)
        if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
            return text + strlen(schemes[i]);
    return text;
}

int insecure_entry_parse(const char *text, char **ret, struct err *err)
{
    const char *entry = after_scheme(text);
    if (!*entry || (strchr(entry, '/') && !insecure_is_range(entry)))
        return err_set(err, ERR_INVALID,
                       "insecure registry \"%s\": it must be HOST[:PORT], or a range of addresses such as "
                       "10.0.0.0/8",
                       text);
    *ret = mem_strdup(entry);
    return 0;
}

bool insecure_is_range(const char *entry)
{
    struct address_range range;
    return address_range_parse(entry, &range);
}

/* Without brackets and port; the caller frees. */
static char *bare_host(const char *host)
{
    const char *colon = strrchr(host, ':');
    if (*host == '[')
        return mem_strndup(host + 1, strcspn(host + 1, "]"));
    return colon ? mem_strndup(host, (size_t)(colon - host)) : mem_strdup(host);
}

static bool ranges_have(char *const *ranges, const uint8_t address[ADDRESS_BYTES])
{
    struct address_range range;
    for (char *const *r = ranges; r && *r; r++)
        if (address_range_parse(*r, &range) && address_range_has(&range, address))
            return true;
    return false;
}

static bool is_loopback(const char *name)
{
    static char v4[] = "127.0.0.0/8", v6[] = "::1/128", *const loopback[] = {v4, v6, NULL};
    uint8_t address[ADDRESS_BYTES];
    return str_eq(name, "localhost") || (address_parse(name, address) && ranges_have(loopback, address));
}

static void address_of(const struct addrinfo *a, uint8_t ret[ADDRESS_BYTES])
{
    static const uint8_t mapped[ADDRESS_BYTES] = {[10] = 0xff, [11] = 0xff};
    if (a->ai_family == AF_INET6) {
        memcpy(ret, &((const struct sockaddr_in6 *)a->ai_addr)->sin6_addr, ADDRESS_BYTES);
        return;
    }
    memcpy(ret, mapped, ADDRESS_BYTES);
    memcpy(ret + 12, &((const struct sockaddr_in *)a->ai_addr)->sin_addr, 4);
}

static bool name_in_ranges(char *const *ranges, const char *name)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list;
    if (getaddrinfo(name, NULL, &hints, &list) != 0)
        return false;
    bool found = false;
    for (const struct addrinfo *a = list; a && !found; a = a->ai_next) {
        uint8_t address[ADDRESS_BYTES];
        if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
            continue;
        address_of(a, address);
        found = ranges_have(ranges, address);
    }
    freeaddrinfo(list);
    return found;
}

static bool any_range(char *const *entries)
{
    for (char *const *e = entries; e && *e; e++)
        if (insecure_is_range(*e))
            return true;
    return false;
}

bool insecure_allows(char *const *entries, const char *host)
{
    _cleanup_free_ char *name = bare_host(host);
    return is_loopback(name) || strv_has(entries, host) ||
           (any_range(entries) && name_in_ranges(entries, name));
}
