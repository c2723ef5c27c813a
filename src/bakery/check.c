#include "bakery/check.h"

#include "bakery/dockerfile_priv.h"
#include "bakery/expand.h"
#include "bakery/path.h"
#include "bakery/pattern.h"
#include "base/map.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

struct checking {
    const struct dockerfile *d;
    const struct ignore *ignore;
    struct check_result *out;
    const struct check_rule *rule; /* the one at work */
};

/* Each rule goes through the whole file by itself. */
struct check_rule {
    const char *name, *doc;
    void (*run)(struct checking *c);
};

_printf_(3, 4) static void warn(struct checking *c, const struct df_step *s, const char *format, ...)
{
    struct str text = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&text, format, ap);
    va_end(ap);
    struct check_result *r = c->out;
    GROW(r->list, r->count, r->capacity);
    r->list[r->count++] = (struct check_warning){
        .rule = c->rule->name, .file = s->file, .line = s->line, .text = str_take(&text)};
}

#define EACH_STEP(s, c)                                                                                      \
    for (const struct df_step *s = (c)->d->steps; s < (c)->d->steps + (c)->d->step_count; s++)

static bool is_upper(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (islower((unsigned char)text[i]))
            return false;
    return true;
}

static bool is_lower(const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isupper((unsigned char)text[i]))
            return false;
    return true;
}

static size_t keyword(const struct df_step *s)
{
    return strcspn(s->text, " \t");
}

static const char *stage_name(const struct df_step *s)
{
    return s->op == DF_FROM && strv_len(s->args) == 3 ? s->args[2] : NULL;
}

/* --- Casing --- */

static void stage_name_casing(struct checking *c)
{
    EACH_STEP(s, c)
    if (stage_name(s) && !is_lower(stage_name(s), strlen(stage_name(s))))
        warn(c, s, "Stage name '%s' should be lowercase", stage_name(s));
}

static void from_as_casing(struct checking *c)
{
    EACH_STEP(s, c)
    if (stage_name(s) &&
        (is_upper(s->text, 4) != is_upper(s->args[1], 2) || is_lower(s->text, 4) != is_lower(s->args[1], 2)))
        warn(c, s, "'%s' and '%.4s' keywords' casing do not match", s->args[1], s->text);
}

static void instruction_casing(struct checking *c)
{
    size_t upper = 0, lower = 0;
    EACH_STEP(s, c)
    {
        upper += is_upper(s->text, keyword(s));
        lower += is_lower(s->text, keyword(s));
    }
    bool want_upper = upper >= lower;
    EACH_STEP(s, c)
    if (want_upper ? !is_upper(s->text, keyword(s)) : !is_lower(s->text, keyword(s)))
        warn(c, s, "Command '%.*s' should match the case of the command majority (%s)", (int)keyword(s),
             s->text, want_upper ? "uppercase" : "lowercase");
}

/* --- Stages --- */

static void duplicate_stage_name(struct checking *c)
{
    EACH_STEP(s, c)
    for (const struct df_step *t = c->d->steps; stage_name(s) && t < s; t++)
        if (stage_name(t) && strcasecmp(stage_name(t), stage_name(s)) == 0) {
            warn(c, s, "Duplicate stage name '%s', stage names should be unique", stage_name(s));
            break;
        }
}

static void reserved_stage_name(struct checking *c)
{
    EACH_STEP(s, c)
    if (stage_name(s) &&
        (strcasecmp(stage_name(s), "scratch") == 0 || strcasecmp(stage_name(s), "context") == 0))
        warn(c, s, "Stage name should not use the same name as reserved stage '%s'", stage_name(s));
}

static void platform_constant(struct checking *c)
{
    EACH_STEP(s, c)
    {
        const char *platform = s->op == DF_FROM ? df_flag(s, "platform") : NULL;
        if (platform && !strchr(platform, '$'))
            warn(c, s, "FROM --platform flag should not use constant value \"%s\"", platform);
    }
}

static void platform_redundant(struct checking *c)
{
    EACH_STEP(s, c)
    {
        const char *platform = s->op == DF_FROM ? df_flag(s, "platform") : NULL;
        if (str_eq(platform, "$TARGETPLATFORM") || str_eq(platform, "${TARGETPLATFORM}"))
            warn(c, s,
                 "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default "
                 "behavior");
    }
}

/* --- Variables --- */

static bool predefined(const char *name)
{
    static const char *const names[] = {
        "TARGETPLATFORM", "TARGETOS", "TARGETARCH", "TARGETVARIANT", "TARGETSTAGE",
        "BUILDPLATFORM",  "BUILDOS",  "BUILDARCH",  "BUILDVARIANT",  NULL};
    static const char *const proxies[] = {"http_proxy", "https_proxy", "ftp_proxy",
                                          "no_proxy",   "all_proxy",   NULL};
    _cleanup_free_ char *lower = str_lower(name);
    return strv_has((char *const *)names, name) || strv_has((char *const *)proxies, lower);
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

static void undefined_in_from(struct checking *c)
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
                warn(c, s, "FROM argument '%s' is not declared", *name);
    }
    map_done(&known);
}

static void invalid_default_in_from(struct checking *c)
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
            warn(c, s, "Default value for ARG %s results in empty or invalid base image name", s->args[0]);
        strv_free(u.names);
    }
    map_done(&known);
}

static const char *near_name(struct map *known, const char *name)
{
    struct map_entry *e;
    for (size_t i = 0; (e = map_next(known, &i));)
        if (df__distance(name, e->key) <= 2 && strlen(name) > 3)
            return e->key;
    return NULL;
}

static bool expands(enum df_op op)
{
    return op == DF_ADD || op == DF_COPY || op == DF_ENV || op == DF_EXPOSE || op == DF_LABEL ||
           op == DF_USER || op == DF_VOLUME || op == DF_WORKDIR || op == DF_STOPSIGNAL || op == DF_ARG;
}

static void undefined_in_step(struct checking *c, const struct df_step *s, struct map *known, bool whole)
{
    struct str text = STR_INIT;
    STRV_FOREACH (arg, s->args)
        str_addf(&text, "%s ", *arg);
    for (size_t i = 0; i < s->pair_count; i++)
        str_addf(&text, "%s ", s->pairs[i].value ? s->pairs[i].value : "");
    _cleanup_strv_ char **names = unknown_names(c, known, str_get(&text));
    STRV_FOREACH (name, names) {
        const char *near = near_name(known, *name);
        if (near)
            warn(c, s, "Usage of undefined variable '$%s' (did you mean $%s?)", *name, near);
        else if (whole)
            warn(c, s, "Usage of undefined variable '$%s'", *name);
    }
    str_free(&text);
}

/* What an image from elsewhere has in its environment is not known here: above one only a name that is nearly
 * a known one is told. */
static void undefined_var(struct checking *c)
{
    struct map known = MAP_INIT(NULL);
    bool whole = false, in_stage = false;
    EACH_STEP(s, c)
    {
        if (s->op == DF_FROM) {
            map_done(&known);
            known = MAP_INIT(NULL);
            map_put(&known, "PATH", NULL);
            whole = str_eq(s->args[0], "scratch");
            in_stage = true;
        } else if (in_stage && expands(s->op)) {
            undefined_in_step(c, s, &known, whole);
        }
        for (size_t i = 0; i < s->pair_count; i++)
            if (s->op == DF_ARG || s->op == DF_ENV)
                map_put(&known, s->pairs[i].name, NULL);
    }
    map_done(&known);
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

static void secrets(struct checking *c)
{
    EACH_STEP(s, c)
    for (size_t i = 0; (s->op == DF_ARG || s->op == DF_ENV) && i < s->pair_count; i++)
        if (is_secret(s->pairs[i].name))
            warn(c, s, "Do not use ARG or ENV instructions for sensitive data (%s \"%s\")", df_name(s->op),
                 s->pairs[i].name);
}

/* --- Single instructions --- */

static void empty_continuation(struct checking *c)
{
    EACH_STEP(s, c)
    if (s->empty_line)
        warn(c, s, "Empty continuation line");
}

static void legacy_pairs(struct checking *c)
{
    EACH_STEP(s, c)
    if (s->legacy)
        warn(c, s, "\"%s key=value\" should be used instead of legacy \"%s key value\" format",
             df_name(s->op), df_name(s->op));
}

static void maintainer(struct checking *c)
{
    EACH_STEP(s, c)
    if (s->op == DF_MAINTAINER)
        warn(c, s, "Maintainer instruction is deprecated in favor of using label");
}

/* A shell of the file's own is a choice. */
static void json_recommended(struct checking *c)
{
    bool shell = false;
    EACH_STEP(s, c)
    {
        shell = s->op == DF_FROM ? false : shell || s->op == DF_SHELL;
        if ((s->op == DF_CMD || s->op == DF_ENTRYPOINT) && !s->json && !shell && s->args)
            warn(c, s,
                 "JSON arguments recommended for %s to prevent unintended behavior related to OS signals",
                 df_name(s->op));
    }
}

static void only_last_counts(struct checking *c)
{
    static const enum df_op ops[] = {DF_CMD, DF_ENTRYPOINT, DF_HEALTHCHECK};
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        const struct df_step *before = NULL;
        EACH_STEP(s, c)
        {
            if (s->op == ops[i] && before)
                warn(
                    c, before,
                    "Multiple %s instructions should not be used in the same stage because only the last one "
                    "will be used",
                    df_name(s->op));
            before = s->op == ops[i] ? s : s->op == DF_FROM ? NULL : before;
        }
    }
}

static void relative_workdir(struct checking *c)
{
    bool absolute = false;
    EACH_STEP(s, c)
    {
        if (s->op == DF_FROM)
            absolute = false;
        if (s->op != DF_WORKDIR)
            continue;
        bool relative = *s->args[0] != '/' && *s->args[0] != '$';
        if (relative && !absolute)
            warn(c, s, "Relative workdir \"%s\" can have unexpected results if the base image changes",
                 s->args[0]);
        absolute = absolute || !relative;
    }
}

static void expose_casing(struct checking *c)
{
    EACH_STEP(s, c)
    for (char **word = s->op == DF_EXPOSE ? s->args : NULL; word && *word; word++) {
        const char *slash = strchr(*word, '/');
        if (slash && !is_lower(slash, strlen(slash)) && !strchr(slash, '$'))
            warn(c, s, "Defined protocol '%s' in EXPOSE instruction should be lowercase", *word);
    }
}

static void expose_format(struct checking *c)
{
    EACH_STEP(s, c)
    for (char **word = s->op == DF_EXPOSE ? s->args : NULL; word && *word; word++)
        if (strchr(*word, ':') && !strchr(*word, '$'))
            warn(c, s, "EXPOSE instruction should not define an IP address or host-port mapping, found '%s'",
                 *word);
}

static void ignored_copy(struct checking *c)
{
    EACH_STEP(s, c)
    {
        bool of_context = (s->op == DF_COPY || s->op == DF_ADD) && !df_flag(s, "from");
        size_t n = of_context ? strv_len(s->args) - 1 : 0;
        for (size_t i = 0; i < n; i++) {
            bool made = strchr(s->args[i], '$') || strstr(s->args[i], "://") ||
                        str_after(s->args[i], "git@") || str_after(s->args[i], "<<") ||
                        pattern_has_wildcard(s->args[i]);
            _cleanup_free_ char *path = path_resolve("/", s->args[i]);
            if (!made && path[1] && ignore_matches(c->ignore, path + 1) &&
                !ignore_may_except(c->ignore, path + 1))
                warn(c, s, "Attempting to %s file \"%s\" that is excluded by .dockerignore",
                     s->op == DF_COPY ? "Copy" : "Add", s->args[i]);
        }
    }
}

static const struct check_rule RULES[] = {
    {"ConsistentInstructionCasing", "instructions are written in one case", instruction_casing},
    {"CopyIgnoredFile", "a source is not kept out by `.dockerignore`", ignored_copy},
    {"DuplicateStageName", "a stage's name is its own", duplicate_stage_name},
    {"ExposeInvalidFormat", "`EXPOSE` has no address and no second port", expose_format},
    {"ExposeProtoCasing", "a protocol is in small letters", expose_casing},
    {"FromAsCasing", "`FROM` and `AS` are in one case", from_as_casing},
    {"FromPlatformFlagConstDisallowed", "`FROM --platform` is a variable", platform_constant},
    {"InvalidDefaultArgInFrom", "a `FROM` with a variable is an image by default too",
     invalid_default_in_from},
    {"JSONArgsRecommended", "`CMD` and `ENTRYPOINT` are in JSON form, or there is a `SHELL`",
     json_recommended},
    {"LegacyKeyValueFormat", "`ENV` and `LABEL` have an equals sign", legacy_pairs},
    {"MaintainerDeprecated", "no `MAINTAINER`", maintainer},
    {"MultipleInstructionsDisallowed", "one `CMD`, `ENTRYPOINT` and `HEALTHCHECK` a stage", only_last_counts},
    {"NoEmptyContinuation", "no empty line in a continued instruction", empty_continuation},
    {"RedundantTargetPlatform", "`--platform=$TARGETPLATFORM` is not written", platform_redundant},
    {"ReservedStageName", "no stage is called `scratch` or `context`", reserved_stage_name},
    {"SecretsUsedInArgOrEnv", "no name of an `ARG` or `ENV` that speaks of a secret", secrets},
    {"StageNameCasing", "stages are in small letters", stage_name_casing},
    {"UndefinedArgInFrom", "a variable in `FROM` is declared above", undefined_in_from},
    {"UndefinedVar",
     "a variable is declared; above an image from elsewhere only what looks like a slip is told",
     undefined_var},
    {"WorkdirRelativePath", "a stage's first `WORKDIR` is absolute", relative_workdir},
};

/* --- The directive --- */

struct directive {
    char **skipped;
    bool error;
};

static int take_setting(struct directive *d, const char *setting, struct err *err)
{
    const char *skip = str_after(setting, "skip="), *error = str_after(setting, "error=");
    if (error)
        return parse_bool(error, &d->error, err);
    if (!skip && !str_after(setting, "experimental="))
        return err_set(err, ERR_INVALID, "\"%.80s\": expected skip=NAME,NAME or error=true, parted by ;",
                       setting);
    _cleanup_strv_ char **names = strv_split(skip ? skip : "", ',');
    STRV_FOREACH (name, names)
        strv_take(&d->skipped, str_strip(*name));
    return 0;
}

static int read_directive(const struct dockerfile *d, struct directive *ret, struct err *err)
{
    _cleanup_strv_ char **settings = strv_split(d->check ? d->check : "", ';');
    STRV_FOREACH (setting, settings) {
        _cleanup_free_ char *text = str_strip(*setting);
        if (*text && take_setting(ret, text, err) < 0)
            return err_wrap(err, "%s: the check directive", d->name);
    }
    return 0;
}

void check_take_argument(struct dockerfile *d, char *const *build_args)
{
    STRV_FOREACH (arg, (char **)build_args) {
        const char *value = str_after(*arg, "BUILDKIT_DOCKERFILE_CHECK=");
        if (!value)
            continue;
        free(d->check);
        d->check = mem_strdup(value);
    }
}

static int by_place(const void *a, const void *b)
{
    const struct check_warning *x = a, *y = b;
    int files = strcmp(x->file, y->file);
    return files                ? files
           : x->line != y->line ? (x->line > y->line) - (x->line < y->line)
                                : strcmp(x->rule, y->rule);
}

int check_dockerfile(const struct dockerfile *d, const struct ignore *ignore, struct check_result *ret,
                     struct err *err)
{
    struct directive directive = {0};
    int r = read_directive(d, &directive, err);
    if (r < 0) {
        strv_free(directive.skipped);
        return r;
    }
    *ret = (struct check_result){.error = directive.error};
    struct checking c = {.d = d, .ignore = ignore, .out = ret};
    bool none = strv_has(directive.skipped, "all");
    for (size_t i = 0; !none && i < ARRAY_SIZE(RULES); i++) {
        c.rule = &RULES[i];
        if (!strv_has(directive.skipped, RULES[i].name))
            RULES[i].run(&c);
    }
    strv_free(directive.skipped);
    if (ret->count)
        qsort(ret->list, ret->count, sizeof(*ret->list), by_place);
    return 0;
}

void check_result_done(struct check_result *r)
{
    for (size_t i = 0; i < r->count; i++)
        free(r->list[i].text);
    free(r->list);
    *r = (struct check_result){0};
}

void check_document(struct str *out)
{
    str_add(out, "\n| check | passes when |\n|---|---|\n");
    for (size_t i = 0; i < ARRAY_SIZE(RULES); i++)
        str_addf(out, "| `%s` | %s |\n", RULES[i].name, RULES[i].doc);
}
