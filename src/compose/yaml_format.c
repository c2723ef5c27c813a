/* Trees as block YAML, in the style of Go's yaml.v3, which `docker compose config` prints with: text without
 * quotes where it can be read as nothing else, "x" where it would be a number, a boolean or null, 'x' where a
 * character has a meaning, and | for several lines. */
#include "compose/yaml.h"

#include <ctype.h>
#include <errno.h>

static bool any_of(const char *text, const char *const *words)
{
    return strv_has((char *const *)words, text);
}

/* 0x1f, 0o17, 0b11, 017, 1_000. */
static bool is_integer(const char *t)
{
    t += *t == '+' || *t == '-';
    const char *digits = "0123456789_";
    if (*t == '0' && t[1] && strchr("xX", t[1]))
        digits = "0123456789abcdefABCDEF_";
    else if (*t == '0' && t[1] && strchr("oO", t[1]))
        digits = "01234567_";
    else if (*t == '0' && t[1] && strchr("bB", t[1]))
        digits = "01_";
    else
        return isdigit((unsigned char)*t) && !t[strspn(t, digits)];
    return t[2] && !t[2 + strspn(t + 2, digits)];
}

static bool is_float(const char *t)
{
    t += *t == '+' || *t == '-';
    size_t whole = strspn(t, "0123456789_"), part = 0;
    t += whole;
    if (*t == '.') {
        part = strspn(t + 1, "0123456789_");
        t += 1 + part;
    }
    if (!whole && !part)
        return false;
    if (*t == 'e' || *t == 'E') {
        t += 1 + (t[1] == '+' || t[1] == '-');
        if (!isdigit((unsigned char)*t))
            return false;
        t += strspn(t, "0123456789");
    }
    return !*t;
}

/* As Go's %v: the fewest digits that read back as the same number. */
static const char *float_text(struct yaml_arena *arena, double value)
{
    char exact[32], text[64];
    int digits = 1;
    for (; digits < 17; digits++) {
        snprintf(exact, sizeof(exact), "%.*e", digits - 1, value);
        if (strtod(exact, NULL) == value)
            break;
    }
    snprintf(exact, sizeof(exact), "%.*e", digits - 1, value);
    int exponent = (int)strtol(strchr(exact, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 21)
        return yaml_strdup(arena, exact);
    snprintf(text, sizeof(text), "%.*f", MAX(digits - 1 - exponent, 0), value);
    return yaml_strdup(arena, text);
}

const char *yaml_value_text(struct yaml_arena *arena, const struct yaml_node *node)
{
    if (!node->plain)
        return node->text;
    if (yaml_is_bool_text(node->text))
        return *node->text == 't' || *node->text == 'T' ? "true" : "false";
    _cleanup_str_ struct str digits = STR_INIT;
    for (const char *t = node->text; *t; t++)
        if (*t != '_')
            str_addc(&digits, *t);
    const char *bare = str_get(&digits), *unsigned_part = bare + (*bare == '-' || *bare == '+');
    bool newer_octal = strncmp(unsigned_part, "0o", 2) == 0, binary = strncmp(unsigned_part, "0b", 2) == 0;
    char *end;
    errno = 0;
    long long number = strtoll(unsigned_part + 2 * (newer_octal || binary), &end,
                               newer_octal ? 8
                               : binary    ? 2
                                           : 0);
    if (is_integer(node->text) && !*end && !errno)
        return yaml_printf(arena, "%s%lld", *bare == '-' ? "-" : "", number);
    return is_float(node->text) ? float_text(arena, strtod(bare, NULL)) : node->text;
}

/* 1:30, which YAML 1.1 takes for a number of base 60. */
static bool is_base60(const char *t)
{
    t += *t == '+' || *t == '-';
    if (!isdigit((unsigned char)*t) || !strchr(t, ':'))
        return false;
    t += strspn(t, "0123456789_");
    while (*t == ':') {
        size_t n = strspn(t + 1, "0123456789");
        if (n < 1 || n > 2 || (n == 2 && t[1] > '5'))
            return false;
        t += 1 + n;
    }
    if (*t == '.')
        t += 1 + strspn(t + 1, "0123456789_");
    return !*t;
}

/* 2024-01-31, or with a time behind it. */
static bool is_date(const char *t)
{
    if (strspn(t, "0123456789") != 4 || t[4] != '-')
        return false;
    size_t month = strspn(t + 5, "0123456789");
    if (month < 1 || month > 2 || t[5 + month] != '-')
        return false;
    t += 5 + month + 1;
    size_t day = strspn(t, "0123456789");
    return day >= 1 && day <= 2 && (!t[day] || (strchr("Tt ", t[day]) && isdigit((unsigned char)t[day + 1])));
}

/* Whether a reader would take it for something else than text. */
static bool means_something(const char *t)
{
    static const char *const words[] = {"",      "~",     "null",  "Null",  "NULL",  "true",  "True",  "TRUE",
                                        "false", "False", "FALSE", "y",     "Y",     "yes",   "Yes",   "YES",
                                        "on",    "On",    "ON",    "n",     "N",     "no",    "No",    "NO",
                                        "off",   "Off",   "OFF",   ".nan",  ".NaN",  ".NAN",  ".inf",  ".Inf",
                                        ".INF",  "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", NULL};
    return any_of(t, words) || is_integer(t) || is_float(t) || is_base60(t) || is_date(t);
}

/* How a text may be written. */
struct style {
    bool plain, single, block;
};

static bool is_special(unsigned char c)
{
    return (c < ' ' && c != '\n') || c == 0x7f;
}

/* U+2028 and U+2029 break lines in YAML too: the letters of their escapes. */
static char line_separator(const char *text)
{
    if (strncmp(text, "\xe2\x80\xa8", 3) == 0)
        return 'L';
    return strncmp(text, "\xe2\x80\xa9", 3) == 0 ? 'P' : 0;
}

static struct style style_of(const char *text)
{
    struct style s = {true, true, true};
    bool blank_before_break = false, blank_after_break = false, special = false, lines = false;
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i], next = (unsigned char)text[i + 1];
        bool last = !next, space_next = last || next == ' ' || next == '\n';
        lines |= c == '\n';
        special |= is_special(c) && c != '\t';
        blank_before_break |= c == ' ' && next == '\n';
        blank_after_break |= c == '\n' && next == ' ';
        if (i == 0 && (strchr("#,[]{}&*!|>'\"%@`", c) || (strchr("?:-", c) && space_next)))
            s.plain = false;
        if (i > 0 && ((c == ':' && space_next) || (c == '#' && strchr(" \n\t", text[i - 1]))))
            s.plain = false;
        if (c == '\t')
            s.plain = s.single = false;
        special |= line_separator(text + i) != 0;
    }
    bool edge = n && (strchr(" \n", text[0]) || strchr(" \n", text[n - 1]));
    if (lines || edge || strncmp(text, "---", 3) == 0 || strncmp(text, "...", 3) == 0)
        s.plain = false;
    if (blank_after_break)
        s.plain = s.single = false;
    if (blank_before_break || special)
        s.plain = s.single = s.block = false;
    if (n && text[n - 1] == ' ')
        s.block = false;
    return s;
}

static void add_double(struct str *s, const char *text)
{
    str_addc(s, '"');
    for (const char *t = text; *t; t++) {
        unsigned char c = (unsigned char)*t;
        static const char letters[] = {['\a'] = 'a', ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',
                                       ['\v'] = 'v', ['\f'] = 'f', ['\r'] = 'r', ['\x1b'] = 'e'};
        if (line_separator(t)) {
            str_addf(s, "\\%c", line_separator(t));
            t += 2;
        } else if (c == '"' || c == '\\')
            str_addf(s, "\\%c", c);
        else if (c < sizeof(letters) && letters[c])
            str_addf(s, "\\%c", letters[c]);
        else if (c < ' ' || c == 0x7f)
            str_addf(s, "\\x%02X", c);
        else
            str_addc(s, (char)c);
    }
    str_addc(s, '"');
}

static void add_single(struct str *s, const char *text)
{
    str_addc(s, '\'');
    for (; *text; text++)
        str_add(s, *text == '\'' ? "''" : (const char[]){*text, '\0'});
    str_addc(s, '\'');
}

static void indent(struct str *s, int depth)
{
    for (int i = 0; i < depth; i++)
        str_add(s, "  ");
}

/* Lines below each other; the mark behind | says what becomes of the breaks at the end. */
static void add_block(struct str *s, const char *text, int depth)
{
    size_t n = strlen(text);
    bool ends = text[n - 1] == '\n', more = n == 1 || (ends && text[n - 2] == '\n');
    str_addc(s, '|');
    if (strchr(" \n", *text))
        str_addc(s, '2');
    if (!ends || more)
        str_addc(s, ends ? '+' : '-');
    for (const char *line = text; *line;) {
        size_t length = strcspn(line, "\n");
        str_addc(s, '\n');
        if (length)
            indent(s, MAX(depth, 1));
        str_addn(s, line, length);
        line += length + (line[length] == '\n');
    }
}

static void add_text(struct str *s, const struct yaml_node *node, int depth, bool is_key)
{
    struct style style = style_of(node->text);
    if (node->plain && style.plain)
        str_add(s, node->text);
    else if (!is_key && style.block && strchr(node->text, '\n'))
        add_block(s, node->text, depth);
    else if (means_something(node->text) || !style.single)
        add_double(s, node->text);
    else if (style.plain)
        str_add(s, node->text);
    else
        add_single(s, node->text);
}

static void format_at(const struct yaml_node *node, int depth, struct str *s);

/* What follows "key:" or "-": on the same line for a scalar, else below. */
static void format_value(const struct yaml_node *value, int depth, bool in_list, struct str *s)
{
    if (value->type == YAML_NULL) {
        str_add(s, " null\n");
    } else if (value->type == YAML_SCALAR) {
        str_addc(s, ' ');
        add_text(s, value, depth + 1, false);
        str_addc(s, '\n');
    } else if (!value->count) {
        str_add(s, value->type == YAML_MAP ? " {}\n" : " []\n");
    } else if (in_list) {
        /* "- key: value": the first line of the block moves up behind the dash. */
        _cleanup_str_ struct str block = STR_INIT;
        format_at(value, depth + 1, &block);
        str_addc(s, ' ');
        str_add(s, str_get(&block) + 2 * (size_t)(depth + 1));
    } else {
        str_addc(s, '\n');
        format_at(value, depth + 1, s);
    }
}

static void format_at(const struct yaml_node *node, int depth, struct str *s)
{
    for (size_t i = 0; i < node->count; i++) {
        indent(s, depth);
        if (node->type == YAML_LIST) {
            str_addc(s, '-');
            format_value(node->items[i], depth, true, s);
        } else {
            const struct yaml_node key = {.type = YAML_SCALAR, .text = node->pairs[i].key};
            add_text(s, &key, depth, true);
            str_addc(s, ':');
            format_value(node->pairs[i].value, depth, false, s);
        }
    }
}

void yaml_format(const struct yaml_node *node, struct str *ret)
{
    if (node->type == YAML_SCALAR || node->type == YAML_NULL || !node->count)
        format_value(node, 0, false, ret);
    else
        format_at(node, 0, ret);
}
