/* Trees as JSON in the style of Go's encoding/json. */
#include "compose/render.h"

#include "compose/yaml.h"

static void add_string(struct str *s, const char *text)
{
    str_addc(s, '"');
    for (const char *t = text; *t; t++) {
        unsigned char c = (unsigned char)*t;
        if (c == '"' || c == '\\')
            str_addf(s, "\\%c", c);
        else if (c == '\n' || c == '\r' || c == '\t')
            str_add(s, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (c == '\b' || c == '\f')
            str_add(s, c == '\b' ? "\\b" : "\\f");
        else if (c < ' ' || strchr("<>&", c))
            str_addf(s, "\\u%04x", c);
        else if (strncmp(t, "\xe2\x80\xa8", 3) == 0 || strncmp(t, "\xe2\x80\xa9", 3) == 0)
            str_addf(s, "\\u202%x", (unsigned char)*(t += 2) & 0xf);
        else
            str_addc(s, (char)c);
    }
    str_addc(s, '"');
}

/* A plain scalar of the files' own (below x-) may be written as JSON has no number. */
static void add_scalar(struct str *s, const struct yaml_node *node)
{
    int64_t number;
    if (!node->plain)
        add_string(s, node->text);
    else if (yaml_is_null_text(node->text))
        str_add(s, "null");
    else if (yaml_is_bool_text(node->text))
        str_add(s, *node->text == 't' || *node->text == 'T' ? "true" : "false");
    else if (parse_i64(node->text, INT64_MIN, INT64_MAX, &number, NULL) == 0)
        str_addf(s, "%lld", (long long)number);
    else if (yaml_is_number_text(node->text) && !strpbrk(node->text, "xoin"))
        str_addf(s, "%.12g", strtod(node->text, NULL));
    else
        add_string(s, node->text);
}

static void add_line(struct str *s, int blanks)
{
    str_addc(s, '\n');
    for (int i = 0; i < blanks; i++)
        str_addc(s, ' ');
}

static void add_node(const struct yaml_node *node, int indent, int depth, struct str *s)
{
    bool list = node->type == YAML_LIST;
    if (node->type == YAML_NULL) {
        str_add(s, "null");
        return;
    }
    if (node->type == YAML_SCALAR) {
        add_scalar(s, node);
        return;
    }
    str_addc(s, list ? '[' : '{');
    for (size_t i = 0; i < node->count; i++) {
        if (i)
            str_addc(s, ',');
        if (indent)
            add_line(s, indent * (depth + 1));
        if (!list) {
            add_string(s, node->pairs[i].key);
            str_add(s, indent ? ": " : ":");
        }
        add_node(list ? node->items[i] : node->pairs[i].value, indent, depth + 1, s);
    }
    if (indent && node->count)
        add_line(s, indent * depth);
    str_addc(s, list ? ']' : '}');
}

void render_format_json(const struct yaml_node *node, int indent, struct str *ret)
{
    add_node(node, indent, 0, ret);
}
