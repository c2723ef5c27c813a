#include "image/registry.h"

#include "base/err.h"

#include <ctype.h>

enum { CHALLENGE_MAX_BYTES = 8192 };

void registry_challenge_done(struct registry_challenge *c)
{
    free(c->scheme);
    free(c->realm);
    free(c->service);
    free(c->scope);
    *c = (struct registry_challenge){0};
}

static bool is_token(char c)
{
    return isalnum((unsigned char)c) || strchr("!#$%&'*+-.^_`|~", c);
}

/* Reads `token` or `"quoted"` at *at; NULL when there is none. */
static char *take_word(const char **at)
{
    struct str word = STR_INIT;
    if (**at == '"') {
        for ((*at)++; **at && **at != '"'; (*at)++) {
            if (**at == '\\' && (*at)[1])
                (*at)++;
            str_addc(&word, **at);
        }
        if (**at != '"') {
            str_free(&word);
            return NULL;
        }
        (*at)++;
        return str_take(&word);
    }
    while (**at && is_token(**at))
        str_addc(&word, *(*at)++);
    return word.len ? str_take(&word) : NULL;
}

int registry_challenge_parse(const char *header, struct registry_challenge *ret, struct err *err)
{
    if (strlen(header) > CHALLENGE_MAX_BYTES)
        return err_set(err, ERR_PROTOCOL, "the registry's WWW-Authenticate header is too long");
    struct registry_challenge c = {0};
    const char *at = header + strspn(header, " ");
    _cleanup_free_ char *scheme = take_word(&at);
    if (!scheme)
        return err_set(err, ERR_PROTOCOL, "the registry's WWW-Authenticate header is malformed: %.200s",
                       header);
    c.scheme = str_lower(scheme);
    for (;;) {
        at += strspn(at, " \t,");
        if (!*at)
            break;
        _cleanup_free_ char *name = take_word(&at);
        at += strspn(at, " \t");
        if (!name || *at != '=') /* the next scheme begins here: the first is enough */
            break;
        at++;
        at += strspn(at, " \t");
        char *value = take_word(&at);
        if (!value)
            break;
        char **place = strcasecmp(name, "realm") == 0     ? &c.realm
                       : strcasecmp(name, "service") == 0 ? &c.service
                       : strcasecmp(name, "scope") == 0   ? &c.scope
                                                          : NULL;
        if (place && !*place)
            *place = value;
        else
            free(value);
    }
    registry_challenge_done(ret);
    *ret = c;
    return 0;
}
