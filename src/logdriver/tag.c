/* The option "tag": text with actions of Go's templates. Of those, what people write in a tag is done: fields
 * of the container, functions that change a text (pipelined or called), and the methods' common names. */
#include "logdriver/logdriver.h"

#include "base/json.h"

#include <ctype.h>

enum { TAG_MAX_BYTES = 4096, WORDS_MAX = 16 };

static char *first_12(const char *text)
{
    return mem_strndup(text, MIN(strlen(text), (size_t)12));
}

static const char *bare_name(const char *name)
{
    return *name == '/' ? name + 1 : name;
}

/* The field `name` of the container, or NULL when there is none such. */
static char *field(const struct logdriver_info *info, const char *name)
{
    const struct {
        const char *name, *value;
        bool brief;
    } fields[] = {{".ID", info->id, true},
                  {".FullID", info->id, false},
                  {".ContainerID", info->id, false},
                  {".Name", bare_name(info->name), false},
                  {".ContainerName", info->name, false},
                  {".ImageID", info->image_id, true},
                  {".ImageFullID", info->image_id, false},
                  {".ContainerImageID", info->image_id, false},
                  {".ImageName", info->image_name, false},
                  {".ContainerImageName", info->image_name, false},
                  {".Command", info->command, false},
                  {".DaemonName", "docker", false}};
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        if (str_eq(fields[i].name, name))
            return fields[i].brief ? first_12(fields[i].value) : mem_strdup(fields[i].value);
    return NULL;
}

/* "index .ContainerLabels "key"" and the like. */
static char *indexed(const struct logdriver_info *info, const char *what, const char *key)
{
    size_t i, n = strlen(key);
    json_t *v;
    if (str_eq(what, ".ContainerLabels"))
        return mem_strdup(json_str(info->labels, key));
    if (str_eq(what, ".Config"))
        return mem_strdup(json_str(info->options, key));
    if (!str_eq(what, ".ContainerEnv"))
        return NULL;
    json_array_foreach (info->env, i, v) {
        const char *text = json_string_value(v);
        if (text && strncmp(text, key, n) == 0 && text[n] == '=')
            return mem_strdup(text + n + 1);
    }
    return mem_strdup("");
}

static void change_case(char *text, int (*change)(int))
{
    for (; *text; text++)
        *text = (char)change((unsigned char)*text);
}

/* A function of one text. Takes `text`; NULL when there is no such function. */
static char *apply(const char *function, char *text)
{
    _cleanup_free_ char *taken = text;
    if (str_eq(function, "lower"))
        change_case(taken, tolower);
    else if (str_eq(function, "upper"))
        change_case(taken, toupper);
    else if (str_eq(function, "title"))
        *taken = (char)toupper((unsigned char)*taken);
    else if (str_eq(function, "json")) {
        _cleanup_json_ json_t *value = json_string(taken);
        return json_dumps(value, JSON_ENCODE_ANY);
    } else if (!str_eq(function, "print") && !str_eq(function, "html"))
        return NULL;
    return take_ptr(taken);
}

/* The words of one command of a pipeline; quotes keep theirs together, and are left at the front as a mark.
 */
static size_t split_words(char *command, char **words)
{
    size_t n = 0;
    for (char *at = command; n < WORDS_MAX;) {
        while (isspace((unsigned char)*at))
            at++;
        if (!*at)
            break;
        char quote = *at == '"' || *at == '`' ? *at : '\0';
        words[n++] = at;
        char *end = quote ? strchr(at + 1, quote) : at;
        if (!end)
            return 0;
        while (!quote && *end && !isspace((unsigned char)*end))
            end++;
        at = *end ? end + 1 : end;
        *end = '\0';
    }
    return n;
}

static char *operand(const struct logdriver_info *info, const char *word)
{
    return *word == '"' || *word == '`' ? mem_strdup(word + 1) : field(info, word);
}

/* One command with what the one before it gave, or NULL. Takes `piped`. */
static char *evaluate(const struct logdriver_info *info, char *command, char *piped)
{
    _cleanup_free_ char *input = piped;
    char *words[WORDS_MAX];
    size_t n = split_words(command, words);
    if (n == 3 && !input && str_eq(words[0], "index"))
        return indexed(info, words[1], *words[2] == '"' || *words[2] == '`' ? words[2] + 1 : words[2]);
    if (n == 1 && !input)
        return operand(info, words[0]);
    if (n == 1)
        return apply(words[0], take_ptr(input));
    if (n == 2 && !input) {
        char *text = operand(info, words[1]);
        return text ? apply(words[0], text) : NULL;
    }
    return NULL;
}

/* One action, without its braces. */
static char *action(const struct logdriver_info *info, const char *text, size_t n)
{
    _cleanup_free_ char *copy = mem_strndup(text, n);
    char *value = NULL, *save = NULL;
    bool any = false;
    for (char *command = strtok_r(copy, "|", &save); command; command = strtok_r(NULL, "|", &save)) {
        if (any && !value)
            return NULL;
        value = evaluate(info, command, value);
        any = true;
    }
    return value;
}

int logdriver_tag(const struct logdriver_info *info, const char *fallback, char **ret, struct err *err)
{
    const char *text = json_str(info->options, "tag");
    _cleanup_str_ struct str out = STR_INIT;
    if (!*text)
        text = fallback;
    for (const char *open; (open = strstr(text, "{{"));) {
        const char *close = strstr(open, "}}");
        size_t n = close ? (size_t)(close - open - 2) : 0;
        _cleanup_free_ char *value = close ? action(info, open + 2, n) : NULL;
        if (!value)
            return err_set(err, ERR_INVALID, "template: log-tag: cannot make out \"%.100s\"", open);
        str_addn(&out, text, (size_t)(open - text));
        str_add(&out, value);
        text = close + 2;
        if (out.len > TAG_MAX_BYTES)
            break;
    }
    str_add(&out, text);
    str_truncate(&out, MIN(out.len, (size_t)TAG_MAX_BYTES));
    *ret = str_take(&out);
    return 0;
}
