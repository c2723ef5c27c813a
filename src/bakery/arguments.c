#include "bakery/dockerfile_priv.h"

#include "base/json.h"
#include "base/str.h"

#include <ctype.h>
#include <strings.h>

static const char *skip_space(const char *text)
{
    while (isspace((unsigned char)*text))
        text++;
    return text;
}

/* The end of the word that starts at `at`: white space ends it outside quotes, the escape character takes
 * the next letter along. */
static const char *word_end(const char *at, char escape)
{
    char quote = '\0';
    for (; *at; at++) {
        if (*at == escape && at[1])
            at++;
        else if (quote)
            quote = *at == quote ? '\0' : quote;
        else if (*at == '"' || *at == '\'')
            quote = *at;
        else if (isspace((unsigned char)*at))
            break;
    }
    return at;
}

char **df__raw_words(const char *line, char escape)
{
    char **words = NULL;
    for (const char *at = skip_space(line); *at; at = skip_space(at)) {
        const char *end = word_end(at, escape);
        strv_take(&words, mem_strndup(at, (size_t)(end - at)));
        at = end;
    }
    return words;
}

static void add_pair(struct df_step *s, size_t *capacity, const char *name, size_t name_n, const char *value)
{
    GROW(s->pairs, s->pair_count, *capacity);
    s->pairs[s->pair_count++] =
        (struct df_pair){.name = mem_strndup(name, name_n), .value = mem_strdup(value)};
}

/* --- Flags --- */

/* The word with quotes and escapes taken away, as far as flags have them. */
static char *flag_text(const char *word, size_t n, char escape)
{
    struct str s = STR_INIT;
    char quote = '\0';
    for (size_t i = 0; i < n; i++) {
        if (word[i] == escape && i + 1 < n)
            str_addc(&s, word[++i]);
        else if (quote ? word[i] == quote : word[i] == '"' || word[i] == '\'')
            quote = quote ? '\0' : word[i];
        else
            str_addc(&s, word[i]);
    }
    return str_take(&s);
}

static int unknown_flag(const struct df_instruction *in, const char *name, struct err *err)
{
    for (const struct df_flag_kind *k = in->flags; k && k->name; k++)
        if (df__distance(name, k->name) <= 2 && strlen(k->name) > 2)
            return err_set(err, ERR_INVALID, "unknown flag: --%s (did you mean --%s?)", name, k->name);
    return err_set(err, ERR_INVALID, "unknown flag: --%s", name);
}

static int add_flag(const struct df_instruction *in, struct df_step *s, size_t *capacity, char *text,
                    struct err *err)
{
    char *equals = strchr(text, '=');
    if (equals)
        *equals = '\0';
    const struct df_flag_kind *kind = in->flags;
    while (kind && kind->name && strcmp(kind->name, text) != 0)
        kind++;
    if (!kind || !kind->name)
        return unknown_flag(in, text, err);
    if (kind->value != DF_FLAG_LIST && df_flag(s, text))
        return err_set(err, ERR_INVALID, "flag --%s is given twice", text);
    bool on;
    if (kind->value == DF_FLAG_BOOL && equals && parse_bool(equals + 1, &on, NULL) < 0)
        return err_set(err, ERR_INVALID, "--%s=%.80s: it must be true or false", text, equals + 1);
    bool may_be_empty = kind->value == DF_FLAG_TEXT;
    if (kind->value != DF_FLAG_BOOL && (!equals || (!equals[1] && !may_be_empty)))
        return err_set(err, ERR_INVALID, "flag --%s needs a value: --%s=...", text, text);
    GROW(s->flags, s->flag_count, *capacity);
    s->flags[s->flag_count++] =
        (struct df_pair){.name = mem_strdup(text), .value = equals ? mem_strdup(equals + 1) : NULL};
    return 0;
}

static int parse_flags(const struct df_instruction *in, const char **rest, char escape, struct df_step *s,
                       struct err *err)
{
    size_t capacity = 0;
    const char *at = skip_space(*rest);
    while (strncmp(at, "--", 2) == 0) {
        const char *end = word_end(at, escape);
        _cleanup_free_ char *text = flag_text(at + 2, (size_t)(end - at) - 2, escape);
        at = skip_space(end);
        if (!*text) /* "--" ends the flags */
            break;
        int r = add_flag(in, s, &capacity, text, err);
        if (r < 0)
            return r;
    }
    *rest = at;
    return 0;
}

/* --- Forms --- */

static void split_words(const char *text, struct df_step *s)
{
    for (const char *at = skip_space(text); *at; at = skip_space(at)) {
        size_t n = 0;
        while (at[n] && !isspace((unsigned char)at[n]))
            n++;
        strv_take(&s->args, mem_strndup(at, n));
        at += n;
    }
}

/* A text that is no JSON is a shell form, even when it starts with a bracket; an array of other things than
 * strings is a mistake. */
static int parse_json_form(const char *text, struct df_step *s, struct err *err)
{
    if (*text != '[')
        return 0;
    _cleanup_json_ json_t *array = json_loads(text, 0, NULL);
    if (!json_is_array(array))
        return 0;
    size_t i;
    json_t *item;
    json_array_foreach (array, i, item)
        if (!json_is_string(item))
            return err_set(err, ERR_INVALID,
                           "when using JSON array syntax, arrays must be comprised of strings only");
    json_array_foreach (array, i, item)
        strv_add(&s->args, json_string_value(item));
    s->json = true;
    return 0;
}

/* name=value words, the value NULL without an equals sign when that is allowed. */
static int parse_pairs(const struct df_instruction *in, const char *text, bool bare, char escape,
                       struct df_step *s, struct err *err)
{
    size_t capacity = 0;
    _cleanup_strv_ char **words = df__raw_words(text, escape);
    STRV_FOREACH (word, words) {
        char *equals = strchr(*word, '=');
        if (!equals && !bare)
            return err_set(err, ERR_INVALID,
                           "can't find = in \"%.80s\": it must be of the form name=value (quote a value with "
                           "spaces)",
                           *word);
        if (equals == *word)
            return err_set(err, ERR_INVALID, "%s names can not be blank: \"%.80s\"", in->name, *word);
        size_t n = equals ? (size_t)(equals - *word) : strlen(*word);
        add_pair(s, &capacity, *word, n, equals ? equals + 1 : NULL);
    }
    return 0;
}

/* The old form "ENV name value with spaces" has no equals sign in its first word. */
static int parse_name_value(const struct df_instruction *in, const char *text, char escape, struct df_step *s,
                            struct err *err)
{
    const char *end = word_end(text, escape);
    if (memchr(text, '=', (size_t)(end - text)))
        return parse_pairs(in, text, false, escape, s, err);
    const char *value = skip_space(end);
    if (!*value)
        return err_set(err, ERR_INVALID, "%.80s needs a value: name=value", text);
    size_t capacity = 0;
    s->legacy = true;
    add_pair(s, &capacity, text, (size_t)(end - text), value);
    return 0;
}

static int parse_health(const char *text, struct df_step *s, struct err *err)
{
    const char *end = text;
    while (*end && !isspace((unsigned char)*end))
        end++;
    _cleanup_free_ char *kind = mem_strndup(text, (size_t)(end - text));
    end = skip_space(end);
    if (strcasecmp(kind, "NONE") == 0) {
        if (*end)
            return err_set(err, ERR_INVALID, "NONE takes no arguments");
        strv_add(&s->args, "NONE");
        return 0;
    }
    if (strcasecmp(kind, "CMD") != 0)
        return err_set(err, ERR_INVALID, "unknown type \"%.80s\": use CMD or NONE", kind);
    strv_add(&s->args, "CMD");
    int r = parse_json_form(end, s, err);
    if (r == 0 && !s->json && *end)
        strv_add(&s->args, end);
    if (r == 0 && !s->args[1])
        r = err_set(err, ERR_INVALID, "missing command after HEALTHCHECK CMD");
    return r;
}

static int parse_form(const struct df_instruction *in, const char *rest, char escape, struct df_step *s,
                      struct err *err)
{
    int r = 0;
    switch (in->form) {
    case DF_TEXT:
        strv_add(&s->args, rest);
        return 0;
    case DF_WORDS:
        split_words(rest, s);
        return 0;
    case DF_JSON_TEXT:
        r = parse_json_form(rest, s, err);
        if (r == 0 && !s->json)
            strv_add(&s->args, rest);
        return r;
    case DF_JSON_WORDS:
        r = parse_json_form(rest, s, err);
        if (r == 0 && !s->json)
            split_words(rest, s);
        return r;
    case DF_JSON_ONLY:
        r = parse_json_form(rest, s, err);
        if (r == 0 && (!s->json || !s->args))
            r = err_set(err, ERR_INVALID,
                        "%s requires the arguments to be in JSON form: [\"program\", \"argument\"]",
                        in->name);
        return r;
    case DF_PAIRS:
        return parse_name_value(in, rest, escape, s, err);
    case DF_NAMES:
        return parse_pairs(in, rest, true, escape, s, err);
    case DF_HEALTH:
        return parse_health(rest, s, err);
    }
    return r;
}

/* FROM image [AS name] */
static int check_from(const struct df_step *s, struct err *err)
{
    size_t n = strv_len(s->args);
    if (n != 1 && !(n == 3 && strcasecmp(s->args[1], "AS") == 0))
        return err_set(err, ERR_INVALID, "either one argument, or three: FROM <image> [AS <name>]");
    if (n == 1)
        return 0;
    const char *name = s->args[2];
    bool ok = isalpha((unsigned char)*name);
    for (; *name; name++)
        ok = ok && (isalnum((unsigned char)*name) || strchr("-_.", *name));
    return ok ? 0 : err_set(err, ERR_INVALID, "invalid name for build stage: \"%.80s\"", s->args[2]);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int df__parse_arguments(const struct df_instruction *in, const char *rest, char escape, struct df_step *s,
                        struct err *err)
{
    int r = parse_flags(in, &rest, escape, s, err);
    if (r < 0)
        return r;
    /* An empty CMD or ENTRYPOINT resets what the base image has. */
    bool may_be_empty = in->op == DF_CMD || in->op == DF_ENTRYPOINT;
    if (!*rest && !may_be_empty)
        return err_set(err, ERR_INVALID, "%s requires at least one argument", in->name);
    r = parse_form(in, rest, escape, s, err);
    if (r < 0)
        return r;
    if (in->op == DF_FROM)
        return check_from(s, err);
    if (in->op == DF_VOLUME && !s->args)
        return err_set(err, ERR_INVALID, "VOLUME requires at least one argument");
    if ((in->op == DF_COPY || in->op == DF_ADD) && strv_len(s->args) < 2)
        return err_set(err, ERR_INVALID, "%s requires at least two arguments: sources and a destination",
                       in->name);
    if (in->op == DF_EXPOSE) /* their order means nothing, and is nothing to the cache */
        qsort(s->args, strv_len(s->args), sizeof(*s->args), by_name);
    return 0;
}
