#include "compose/yaml.h"

static bool needs_quotes(const struct yaml_node *node)
{
    const char *t = node->text;
    if (yaml_is_null_text(t) || yaml_is_bool_text(t) || yaml_is_number_text(t))
        return !node->plain;
    /* Words that older readers take for booleans, or digits with colons for numbers of base 60. */
    static const char *const words[] = {"yes", "no", "on", "off", "y", "n", "Yes", "No", "On", "Off", NULL};
    if (strv_has((char *const *)words, t) || !t[strspn(t, "0123456789:_.+-")])
        return true;
    if (strchr("!&*-?:,[]{}#|>@`\"'%= ", *t) || t[strlen(t) - 1] == ' ' || t[strlen(t) - 1] == ':')
        return true;
    if (strstr(t, ": ") || strstr(t, " #"))
        return true;
    for (; *t; t++)
        if ((unsigned char)*t < ' ' || *t == 0x7f)
            return true;
    return false;
}

static void add_quoted(struct str *s, const char *text)
{
    str_addc(s, '"');
    for (const char *t = text; *t; t++) {
        unsigned char c = (unsigned char)*t;
        if (c == '"' || c == '\\')
            str_addf(s, "\\%c", c);
        else if (c == '\n')
            str_add(s, "\\n");
        else if (c == '\t')
            str_add(s, "\\t");
        else if (c < ' ' || c == 0x7f)
            str_addf(s, "\\x%02x", c);
        else
            str_addc(s, (char)c);
    }
    str_addc(s, '"');
}

static void add_text(struct str *s, const struct yaml_node *node)
{
    if (needs_quotes(node))
        add_quoted(s, node->text);
    else
        str_add(s, node->text);
}

static void indent(struct str *s, int depth)
{
    for (int i = 0; i < depth; i++)
        str_add(s, "  ");
}

static void format_at(const struct yaml_node *node, int depth, struct str *s);

/* What follows "key:" or "-": on the same line for a scalar, else below. */
static void format_value(const struct yaml_node *value, int depth, bool in_list, struct str *s)
{
    if (value->type == YAML_NULL) {
        str_add(s, " null\n");
    } else if (value->type == YAML_SCALAR) {
        str_addc(s, ' ');
        add_text(s, value);
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
            add_text(s, &key);
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
