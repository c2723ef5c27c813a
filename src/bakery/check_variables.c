#include "bakery/check_priv.h"

#include "bakery/expand.h"
#include "base/map.h"
#include "base/str.h"

#include <ctype.h>

/* The build checks that look at variables. */

static const char *const PREDEFINED[] = {
    "TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
    "BUILDPLATFORM",  "BUILDOS",  "BUILDARCH",  "BUILDVARIANT",  NULL};

static bool predefined(const char *name)
{
    static const char *const proxies[] = {"http_proxy", "https_proxy", "ftp_proxy",
                                          "no_proxy",   "all_proxy",   NULL};
    _cleanup_free_ char *lower = str_lower(name);
    return strv_has((char *const *)PREDEFINED, name) || strv_has((char *const *)proxies, lower);
}

struct unknown {
    struct map *known; /* name -> default, or NULL */
    const char *text;
    char **names;
};

/* "${name:-x}" says itself what happens without it. */
static bool has_own_default(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = text; (at = strstr(at, name)); at += n)
        if (at >= text + 2 && at[-1] == '{' && at[n] && strchr(":-+?", at[n]))
            return true;
    return false;
}

static const char *note_unknown(void *context, const char *name)
{
    struct unknown *u = context;
    bool letter = isalpha((unsigned char)*name) || *name == '_';
    if (letter && !map_has(u->known, name) && !has_own_default(u->text, name) && !strv_has(u->names, name))
        strv_add(&u->names, name);
    const char *value = map_get(u->known, name);
    return value ? value : "";
}

/* The names in a text that nothing declares; the caller frees. */
static char **unknown_names(const struct checking *c, struct map *known, const char *text)
{
    struct unknown u = {.known = known, .text = text};
    struct expand x = {.escape = c->d->escape, .lookup = note_unknown, .context = &u};
    char *value = NULL;
    if (expand_word(&x, text, &value, NULL) == 0)
        free(value);
    return u.names;
}

static bool is_near(const char *name, const char *other)
{
    return strlen(name) > 3 && df__distance(name, other) <= 2;
}

static const char *near_name(struct map *known, const char *name)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(known, &i));)
        if (is_near(name, e->key))
            return e->key;
    return NULL;
}

static void warn_of_name_in_from(struct checking *c, const struct df_step *s, struct map *known,
                                 const char *name)
{
    const char *near = near_name(known, name);
    for (size_t i = 0; !near && PREDEFINED[i]; i++)
        near = is_near(name, PREDEFINED[i]) ? PREDEFINED[i] : NULL;
    if (near)
        check__warn(c, s, "FROM argument '%s' is not declared (did you mean %s?)", name, near);
    else
        check__warn(c, s, "FROM argument '%s' is not declared", name);
}

void check__undefined_in_from(struct checking *c)
{
    struct map known = MAP_INIT(NULL);
    bool global = true;
    EACH_STEP(s, c)
    {
        global = global && s->op == DF_ARG;
        for (size_t i = 0; global && i < s->pair_count; i++)
            map_put(&known, s->pairs[i].name, NULL);
        if (s->op != DF_FROM)
            continue;
        const char *platform = df_flag(s, "platform");
        _cleanup_free_ char *text = str_printf("%s %s", s->args[0], platform ? platform : "");
        _cleanup_strv_ char **names = unknown_names(c, &known, text);
        STRV_FOREACH (name, names)
            if (!predefined(*name))
                warn_of_name_in_from(c, s, &known, *name);
    }
    map_done(&known);
}

void check__invalid_default_in_from(struct checking *c)
{
    struct map known = MAP_INIT(free);
    bool global = true;
    EACH_STEP(s, c)
    {
        global = global && s->op == DF_ARG;
        for (size_t i = 0; global && i < s->pair_count; i++)
            map_put(&known, s->pairs[i].name, mem_strdup(s->pairs[i].value));
        struct unknown u = {.known = &known, .text = s->op == DF_FROM ? s->args[0] : ""};
        struct expand x = {.escape = c->d->escape, .lookup = note_unknown, .context = &u};
        _cleanup_free_ char *image = NULL;
        bool variable = s->op == DF_FROM && strchr(s->args[0], '$');
        if (variable && expand_word(&x, s->args[0], &image, NULL) == 0 && !u.names &&
            (!*image || *image == ':' || *image == '/' || str_ends_with(image, ":")))
            check__warn(c, s, "Default value for ARG %s results in empty or invalid base image name",
                        s->args[0]);
        strv_free(u.names);
    }
    map_done(&known);
}

static bool expands(enum df_op op)
{
    return op == DF_ADD || op == DF_COPY || op == DF_ENV || op == DF_EXPOSE || op == DF_LABEL ||
           op == DF_USER || op == DF_VOLUME || op == DF_WORKDIR || op == DF_STOPSIGNAL || op == DF_ARG;
}

/* The names that a stage declares, and the stage of the file that it stands on. */
struct names {
    struct map own;
    struct names *base; /* NULL: an image from elsewhere, or scratch */
    int depth;
    bool whole; /* it stands on scratch: there are no other names */
};

enum { NAMES_MAX_DEPTH = 64 };

static const char *near_names(struct names *n, const char *name)
{
    const char *near = NULL;
    for (; n && !near; n = n->base)
        near = near_name(&n->own, name);
    return near;
}

static bool has_name(const struct names *n, const char *name)
{
    for (; n; n = n->base)
        if (map_has(&n->own, name))
            return true;
    return false;
}

static void undefined_in_step(struct checking *c, const struct df_step *s, struct names *known)
{
    struct str text = STR_INIT;
    STRV_FOREACH (arg, s->args)
        str_addf(&text, "%s ", *arg);
    for (size_t i = 0; i < s->pair_count; i++)
        str_addf(&text, "%s ", s->pairs[i].value ? s->pairs[i].value : "");
    _cleanup_strv_ char **names = unknown_names(c, &known->own, str_get(&text));
    STRV_FOREACH (name, names) {
        if (has_name(known->base, *name))
            continue;
        const char *near = near_names(known, *name);
        if (near)
            check__warn(c, s, "Usage of undefined variable '$%s' (did you mean $%s?)", *name, near);
        else if (known->whole)
            check__warn(c, s, "Usage of undefined variable '$%s'", *name);
    }
    str_free(&text);
}

static void names_free(void *p)
{
    struct names *n = p;
    map_done(&n->own);
    free(n);
}

/* `stages` has those with a name by it, and the others by their line; a name that is taken again is the later
 * stage's, and the one before lives on under its line. */
static struct names *names_begin_stage(struct map *stages, struct map *all, const struct df_step *from)
{
    _cleanup_free_ char *base = str_lower(from->args[0]);
    _cleanup_free_ char *key = str_printf("%zu", all->count);
    struct names *n = NEW(struct names);
    *n = (struct names){.own = MAP_INIT(NULL), .whole = str_eq(from->args[0], "scratch")};
    struct names *below = map_get(stages, base);
    /* What a longer chain of stages has is looked up no further: it is as if it came from elsewhere. */
    if (below && below->depth < NAMES_MAX_DEPTH) {
        n->base = below;
        n->depth = below->depth + 1;
        n->whole = below->whole;
    }
    map_put(&n->own, "PATH", NULL);
    map_put(all, key, n);
    if (check__stage_name(from)) {
        _cleanup_free_ char *name = str_lower(check__stage_name(from));
        map_put(stages, name, n);
    }
    return n;
}

/* What an image from elsewhere has in its environment is not known here: above one only a name that is nearly
 * a known one is told. */
void check__undefined_var(struct checking *c)
{
    struct map stages = MAP_INIT(NULL), all = MAP_INIT(names_free);
    struct names *known = NULL;
    EACH_STEP(s, c)
    {
        if (s->op == DF_FROM)
            known = names_begin_stage(&stages, &all, s);
        else if (known && expands(s->op))
            undefined_in_step(c, s, known);
        for (size_t i = 0; known && i < s->pair_count; i++)
            if (s->op == DF_ARG || s->op == DF_ENV)
                map_put(&known->own, s->pairs[i].name, NULL);
    }
    map_done(&stages);
    map_done(&all);
}

static bool is_secret(const char *name)
{
    static const char *const words[] = {"password", "passwd", "passphrase", "pword",       "secret",
                                        "token",    "auth",   "credential", "credentials", "apikey",
                                        "key",      "pass",   "pwd",        NULL};
    static const char *const harmless[] = {"public", "file", "path", "dir", "url", "id", NULL};
    _cleanup_free_ char *lower = str_lower(name);
    for (char *at = lower; *at; at++)
        if (*at == '-' || *at == '.')
            *at = '_';
    _cleanup_strv_ char **parts = strv_split(lower, '_');
    bool secret = false;
    STRV_FOREACH (part, parts) {
        if (strv_has((char *const *)harmless, *part))
            return false;
        secret = secret || strv_has((char *const *)words, *part);
    }
    return secret;
}

void check__secrets(struct checking *c)
{
    EACH_STEP(s, c)
    for (size_t i = 0; (s->op == DF_ARG || s->op == DF_ENV) && i < s->pair_count; i++)
        if (is_secret(s->pairs[i].name))
            check__warn(c, s, "Do not use ARG or ENV instructions for sensitive data (%s \"%s\")",
                        df_name(s->op), s->pairs[i].name);
}
