#include "bakery/check_priv.h"

#include "bakery/path.h"
#include "bakery/pattern.h"
#include "base/map.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

void check__warn(struct checking *c, const struct df_step *s, const char *format, ...)
{
    struct str text = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&text, format, ap);
    va_end(ap);
    struct check_result *r = c->out;
    GROW(r->list, r->count, r->capacity);
    r->list[r->count++] = (struct check_warning){.rule = c->rule->name,
                                                 .doc = c->rule->doc,
                                                 .file = s->file,
                                                 .line = s->line,
                                                 .text = str_take(&text)};
}

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

const char *check__stage_name(const struct df_step *s)
{
    return s->op == DF_FROM && strv_len(s->args) == 3 ? s->args[2] : NULL;
}

/* --- Casing --- */

static void stage_name_casing(struct checking *c)
{
    EACH_STEP(s, c)
    if (check__stage_name(s) && !is_lower(check__stage_name(s), strlen(check__stage_name(s))))
        check__warn(c, s, "Stage name '%s' should be lowercase", check__stage_name(s));
}

static void from_as_casing(struct checking *c)
{
    EACH_STEP(s, c)
    if (check__stage_name(s) &&
        (is_upper(s->text, 4) != is_upper(s->args[1], 2) || is_lower(s->text, 4) != is_lower(s->args[1], 2)))
        check__warn(c, s, "'%s' and '%.4s' keywords' casing do not match", s->args[1], s->text);
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
        check__warn(c, s, "Command '%.*s' should match the case of the command majority (%s)",
                    (int)keyword(s), s->text, want_upper ? "uppercase" : "lowercase");
}

/* --- Stages --- */

static void duplicate_stage_name(struct checking *c)
{
    struct map seen = MAP_INIT(NULL);
    EACH_STEP(s, c)
    {
        _cleanup_free_ char *name = check__stage_name(s) ? str_lower(check__stage_name(s)) : NULL;
        if (name && map_has(&seen, name))
            check__warn(c, s, "Duplicate stage name \"%s\", stage names should be unique",
                        check__stage_name(s));
        if (name)
            map_put(&seen, name, NULL);
    }
    map_done(&seen);
}

/* Something that is so for the rest of a stage, and for the stages that stand on it. */
struct lasting {
    struct map stages; /* the names of those it is so for, in small letters */
    const char *name;  /* of the present stage, or NULL */
    bool on;
};

static void lasting_set(struct lasting *l)
{
    _cleanup_free_ char *name = l->name ? str_lower(l->name) : NULL;
    l->on = true;
    if (name)
        map_put(&l->stages, name, NULL);
}

static void lasting_begin_stage(struct lasting *l, const struct df_step *from)
{
    _cleanup_free_ char *base = str_lower(from->args[0]);
    l->name = check__stage_name(from);
    l->on = false;
    if (map_has(&l->stages, base))
        lasting_set(l);
}

static void reserved_stage_name(struct checking *c)
{
    EACH_STEP(s, c)
    if (check__stage_name(s) && (strcasecmp(check__stage_name(s), "scratch") == 0 ||
                                 strcasecmp(check__stage_name(s), "context") == 0))
        check__warn(c, s, "Stage name should not use the same name as reserved stage \"%s\"",
                    check__stage_name(s));
}

/* A stage whose name has the system or the processor in it is meant for that one alone. */
static bool names_platform(const char *stage, const char *platform)
{
    _cleanup_free_ char *name = stage ? str_lower(stage) : NULL, *lower = str_lower(platform);
    _cleanup_strv_ char **parts = strv_split(lower, '/');
    for (size_t i = 0; name && parts && parts[i] && i < 2; i++)
        if (*parts[i] && strstr(name, parts[i]))
            return true;
    return false;
}

static void platform_constant(struct checking *c)
{
    EACH_STEP(s, c)
    {
        const char *platform = s->op == DF_FROM ? df_flag(s, "platform") : NULL;
        if (platform && !strchr(platform, '$') && !names_platform(check__stage_name(s), platform))
            check__warn(c, s, "FROM --platform flag should not use constant value \"%s\"", platform);
    }
}

static void platform_redundant(struct checking *c)
{
    EACH_STEP(s, c)
    {
        const char *platform = s->op == DF_FROM ? df_flag(s, "platform") : NULL;
        if (str_eq(platform, "$TARGETPLATFORM") || str_eq(platform, "${TARGETPLATFORM}"))
            check__warn(
                c, s,
                "Setting platform to predefined %s in FROM is redundant as this is the default behavior",
                platform);
    }
}

/* --- Single instructions --- */

static void empty_continuation(struct checking *c)
{
    EACH_STEP(s, c)
    if (s->empty_line) {
        check__warn(c, s, "Empty continuation line");
        c->out->list[c->out->count - 1].line = s->last_line;
    }
}

static void legacy_pairs(struct checking *c)
{
    EACH_STEP(s, c)
    if (s->legacy)
        check__warn(c, s, "\"%s key=value\" should be used instead of legacy \"%s key value\" format",
                    df_name(s->op), df_name(s->op));
}

static void maintainer(struct checking *c)
{
    EACH_STEP(s, c)
    if (s->op == DF_MAINTAINER)
        check__warn(c, s, "Maintainer instruction is deprecated in favor of using label");
}

/* A shell of the file's own is a choice. */
static void json_recommended(struct checking *c)
{
    struct lasting shell = {.stages = MAP_INIT(NULL)};
    EACH_STEP(s, c)
    {
        if (s->op == DF_FROM)
            lasting_begin_stage(&shell, s);
        if (s->op == DF_SHELL)
            lasting_set(&shell);
        if ((s->op == DF_CMD || s->op == DF_ENTRYPOINT) && !s->json && !shell.on && s->args)
            check__warn(
                c, s,
                "JSON arguments recommended for %s to prevent unintended behavior related to OS signals",
                df_name(s->op));
    }
    map_done(&shell.stages);
}

static void only_last_counts(struct checking *c)
{
    static const enum df_op ops[] = {DF_CMD, DF_ENTRYPOINT, DF_HEALTHCHECK};
    for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
        const struct df_step *before = NULL;
        EACH_STEP(s, c)
        {
            if (s->op == ops[i] && before)
                check__warn(
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
    struct lasting absolute = {.stages = MAP_INIT(NULL)};
    EACH_STEP(s, c)
    {
        if (s->op == DF_FROM)
            lasting_begin_stage(&absolute, s);
        if (s->op != DF_WORKDIR)
            continue;
        bool relative = *s->args[0] != '/' && *s->args[0] != '$';
        if (relative && !absolute.on)
            check__warn(c, s, "Relative workdir \"%s\" can have unexpected results if the base image changes",
                        s->args[0]);
        if (!relative)
            lasting_set(&absolute);
    }
    map_done(&absolute.stages);
}

static void expose_casing(struct checking *c)
{
    EACH_STEP(s, c)
    for (char **word = s->op == DF_EXPOSE ? s->args : NULL; word && *word; word++) {
        const char *slash = strchr(*word, '/');
        if (slash && !is_lower(slash, strlen(slash)) && !strchr(slash, '$'))
            check__warn(c, s, "Defined protocol '%s' in EXPOSE instruction should be lowercase", *word);
    }
}

static void expose_format(struct checking *c)
{
    EACH_STEP(s, c)
    for (char **word = s->op == DF_EXPOSE ? s->args : NULL; word && *word; word++)
        if (strchr(*word, ':') && !strchr(*word, '$'))
            check__warn(c, s,
                        "EXPOSE instruction should not define an IP address or host-port mapping, found '%s'",
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
                check__warn(c, s, "Attempting to %s file \"%s\" that is excluded by .dockerignore",
                            s->op == DF_COPY ? "Copy" : "Add", s->args[i]);
        }
    }
}

/* The comment right above a stage or an argument describes it, see describe.h. */
static void definition_description(struct checking *c)
{
    EACH_STEP(s, c)
    {
        size_t lines = strv_len(s->comments),
               names = s->op == DF_ARG ? s->pair_count : !!check__stage_name(s);
        const char *last = lines ? s->comments[lines - 1] : NULL;
        size_t word = last ? strcspn(last, " ") : 0;
        bool fits = !last || !names;
        for (size_t i = 0; !fits && i < names; i++) {
            const char *name = s->op == DF_ARG ? s->pairs[i].name : check__stage_name(s);
            fits = strlen(name) == word && strncmp(name, last, word) == 0;
        }
        const char *shown = s->op == DF_FROM ? check__stage_name(s)
                            : names == 1     ? s->pairs[0].name
                                             : "<arg_key>";
        if (!fits)
            check__warn(c, s, "Comment for %s should follow the format: `# %s <description>`", df_name(s->op),
                        shown);
    }
}

static const struct check_rule RULES[] = {
    {"ConsistentInstructionCasing", "instructions are written in one case", instruction_casing},
    {"CopyIgnoredFile", "a source is not kept out by `.dockerignore`", ignored_copy, .experimental = true},
    {"DuplicateStageName", "a stage's name is its own", duplicate_stage_name},
    {"ExposeInvalidFormat", "`EXPOSE` has no address and no second port", expose_format},
    {"ExposeProtoCasing", "a protocol is in small letters", expose_casing},
    {"FromAsCasing", "`FROM` and `AS` are in one case", from_as_casing},
    {"FromPlatformFlagConstDisallowed", "`FROM --platform` is a variable, or the stage is called after it",
     platform_constant},
    {"InvalidDefaultArgInFrom", "a `FROM` with a variable is an image by default too",
     check__invalid_default_in_from},
    {"InvalidDefinitionDescription", "the comment right above a stage or an `ARG` begins with its name",
     definition_description, .experimental = true},
    {"JSONArgsRecommended",
     "`CMD` and `ENTRYPOINT` are in JSON form, or there is a `SHELL`, in a stage below too",
     json_recommended},
    {"LegacyKeyValueFormat", "`ENV` and `LABEL` have an equals sign", legacy_pairs},
    {"MaintainerDeprecated", "no `MAINTAINER`", maintainer},
    {"MultipleInstructionsDisallowed", "one `CMD`, `ENTRYPOINT` and `HEALTHCHECK` a stage", only_last_counts},
    {"NoEmptyContinuation", "no empty line in a continued instruction", empty_continuation},
    {"RedundantTargetPlatform", "`--platform=$TARGETPLATFORM` is not written", platform_redundant},
    {"ReservedStageName", "no stage is called `scratch` or `context`", reserved_stage_name},
    {"SecretsUsedInArgOrEnv", "no name of an `ARG` or `ENV` that speaks of a secret", check__secrets},
    {"StageNameCasing", "stages are in small letters", stage_name_casing},
    {"UndefinedArgInFrom", "a variable in `FROM` is declared above", check__undefined_in_from},
    {"UndefinedVar",
     "a variable is declared; above an image from elsewhere only what looks like a slip is told",
     check__undefined_var},
    {"WorkdirRelativePath", "the first `WORKDIR` of a stage and those it stands on is absolute",
     relative_workdir},
};

/* --- The directive --- */

struct directive {
    char **skipped, **experimental;
    bool error;
};

static int take_setting(struct directive *d, const char *setting, struct err *err)
{
    const char *equals = strchr(setting, '=');
    _cleanup_free_ char *before = equals ? mem_strndup(setting, (size_t)(equals - setting)) : NULL;
    _cleanup_free_ char *key = str_strip(before ? before : ""), *value = str_strip(equals ? equals + 1 : "");
    if (str_eq(key, "error"))
        return parse_bool(value, &d->error, err);
    char ***list = str_eq(key, "skip") ? &d->skipped : str_eq(key, "experimental") ? &d->experimental : NULL;
    if (!list)
        return err_set(
            err, ERR_INVALID,
            "\"%.80s\": expected skip=NAME,NAME, experimental=NAME,NAME or error=true, parted by ;", setting);
    _cleanup_strv_ char **names = strv_split(value, ',');
    STRV_FOREACH (name, names)
        strv_take(list, str_strip(*name));
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

static void directive_done(struct directive *d)
{
    strv_free(d->skipped);
    strv_free(d->experimental);
}

/* An experimental one is asked for by its name or with all of them, whatever is skipped. */
static bool is_wanted(const struct directive *d, const struct check_rule *rule)
{
    char **names = rule->experimental ? d->experimental : d->skipped;
    bool named = strv_has(names, "all") || strv_has(names, rule->name);
    return rule->experimental == named;
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
        directive_done(&directive);
        return r;
    }
    *ret = (struct check_result){.error = directive.error};
    struct checking c = {.d = d, .ignore = ignore, .out = ret};
    for (size_t i = 0; i < ARRAY_SIZE(RULES); i++) {
        c.rule = &RULES[i];
        if (is_wanted(&directive, c.rule))
            c.rule->run(&c);
    }
    directive_done(&directive);
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
        str_addf(out, "| `%s`%s | %s |\n", RULES[i].name, RULES[i].experimental ? " (experimental)" : "",
                 RULES[i].doc);
}
