#include "compose/yaml.h"

#include "base/deferred.h"
#include "base/json.h"
#include "base/map.h"

#include <libfyaml.h>

/* --- The arena: a list of blocks, freed together --- */

struct block {
    struct block *next;
    max_align_t bytes[];
};

struct yaml_arena {
    struct block *blocks;
};

struct yaml_arena *yaml_arena_new(void)
{
    return NEW(struct yaml_arena);
}

void yaml_arena_free(struct yaml_arena *arena)
{
    if (!arena)
        return;
    for (struct block *b = arena->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    free(arena);
}

void *yaml_alloc(struct yaml_arena *arena, size_t bytes)
{
    must(bytes < SIZE_MAX - sizeof(struct block));
    struct block *b = mem_new(sizeof(*b) + bytes);
    b->next = arena->blocks;
    arena->blocks = b;
    return b->bytes;
}

const char *yaml_strdup(struct yaml_arena *arena, const char *text)
{
    size_t n = strlen(text) + 1;
    return memcpy(yaml_alloc(arena, n), text, n);
}

const char *yaml_printf(struct yaml_arena *arena, const char *format, ...)
{
    _cleanup_str_ struct str s = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&s, format, ap);
    va_end(ap);
    return yaml_strdup(arena, str_get(&s));
}

/* --- Trees --- */

struct yaml_node *yaml_new(struct yaml_arena *arena, enum yaml_type type, const struct yaml_node *at)
{
    struct yaml_node *node = yaml_alloc(arena, sizeof(*node));
    node->type = type;
    node->weight = 1;
    node->file = at ? at->file : "";
    node->line = at ? at->line : 0;
    node->column = at ? at->column : 0;
    node->path = at ? at->path : NULL;
    return node;
}

struct yaml_node *yaml_new_text(struct yaml_arena *arena, const char *text, const struct yaml_node *at)
{
    struct yaml_node *node = yaml_new(arena, YAML_SCALAR, at);
    node->text = yaml_strdup(arena, text);
    return node;
}

/* Room for one more element; old arrays stay in the arena. */
static void *more_room(struct yaml_arena *arena, void *old, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return old;
    *capacity = *capacity ? *capacity * 2 : 4;
    void *bigger = yaml_alloc(arena, mem_mul(*capacity, size));
    if (count)
        memcpy(bigger, old, count * size);
    return bigger;
}

static void push_pair(struct yaml_arena *arena, struct yaml_node *map, struct yaml_pair pair)
{
    map->pairs = more_room(arena, map->pairs, map->count, &map->capacity, sizeof(*map->pairs));
    map->pairs[map->count++] = pair;
    map->weight += pair.value->weight;
}

void yaml_put(struct yaml_arena *arena, struct yaml_node *map, const struct yaml_pair *at, const char *key,
              struct yaml_node *value)
{
    struct yaml_pair *old = yaml_find(map, key);
    struct yaml_pair pair = {.key = old ? old->key : yaml_strdup(arena, key),
                             .file = at ? at->file : value->file,
                             .line = at ? at->line : value->line,
                             .column = at ? at->column : value->column,
                             .value = value};
    if (old)
        *old = pair;
    else
        push_pair(arena, map, pair);
}

void yaml_append(struct yaml_arena *arena, struct yaml_node *list, struct yaml_node *item)
{
    list->items = more_room(arena, list->items, list->count, &list->capacity, sizeof(*list->items));
    list->items[list->count++] = item;
    list->weight += item->weight;
}

void yaml_remove(struct yaml_node *map, const char *key)
{
    struct yaml_pair *pair = yaml_find(map, key);
    if (!pair)
        return;
    size_t i = (size_t)(pair - map->pairs);
    memmove(pair, pair + 1, (map->count - i - 1) * sizeof(*pair));
    map->count--;
}

struct yaml_pair *yaml_find(const struct yaml_node *map, const char *key)
{
    for (size_t i = 0; map && map->type == YAML_MAP && i < map->count; i++)
        if (strcmp(map->pairs[i].key, key) == 0)
            return &map->pairs[i];
    return NULL;
}

struct yaml_node *yaml_get(const struct yaml_node *map, const char *key)
{
    const struct yaml_pair *pair = yaml_find(map, key);
    return pair && pair->value->type != YAML_NULL ? pair->value : NULL;
}

const char *yaml_text(const struct yaml_node *map, const char *key)
{
    const struct yaml_node *node = yaml_get(map, key);
    return node && node->type == YAML_SCALAR ? node->text : "";
}

/* --- Plain scalars (YAML 1.2, core schema) --- */

static bool is_one_of(const char *text, const char *const *words)
{
    return strv_has((char *const *)words, text);
}

bool yaml_is_null_text(const char *text)
{
    static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
    return is_one_of(text, words);
}

bool yaml_is_bool_text(const char *text)
{
    static const char *const words[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};
    return is_one_of(text, words);
}

bool yaml_is_number_text(const char *text)
{
    const char *at = text + (*text == '-' || *text == '+');
    if (strncmp(at, "0x", 2) == 0)
        return at[2] && !at[2 + strspn(at + 2, "0123456789abcdefABCDEF")];
    if (strncmp(at, "0o", 2) == 0)
        return at[2] && !at[2 + strspn(at + 2, "01234567")];
    size_t whole = strspn(at, "0123456789");
    at += whole;
    size_t part = 0;
    if (*at == '.')
        at += 1 + (part = strspn(at + 1, "0123456789"));
    if (!whole && !part)
        return false;
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '-' || at[1] == '+');
        size_t digits = strspn(at, "0123456789");
        if (!digits)
            return false;
        at += digits;
    }
    return !*at;
}

const char *yaml_type_name(const struct yaml_node *node)
{
    switch (node->type) {
    case YAML_NULL:
        return "empty";
    case YAML_LIST:
        return "a list";
    case YAML_MAP:
        return "a mapping";
    case YAML_SCALAR:
        if (node->plain && yaml_is_bool_text(node->text))
            return "a boolean";
        return node->plain && yaml_is_number_text(node->text) ? "a number" : "a string";
    }
    return "";
}

/* --- Reading --- */

struct reader {
    struct yaml_arena *arena;
    struct fy_parser *parser;
    struct fy_diag *diag;
    const char *file, *text; /* the text without an end mark */
    size_t text_bytes;
    struct map anchors; /* name to node */
    struct err *err;
};

static int complain(struct reader *r, enum err_code code, int line, int column, const char *message)
{
    return err_set(r->err, code, "%s:%d:%d: %s", r->file, line, column, message);
}

/* The first line up to `last` (from 1) whose indentation has a tab, which YAML forbids; 0 if none. */
static int find_tab(const char *text, int last, int *ret_column)
{
    int line = 1;
    for (const char *at = text; at && *at && line <= last; line++) {
        size_t spaces = strspn(at, " ");
        size_t blank = strspn(at, " \t");
        if (at[spaces] == '\t' && at[blank] != '\n' && at[blank] != '\r' && at[blank] != '#') {
            *ret_column = (int)spaces + 1;
            return line;
        }
        at = strchr(at, '\n');
        at = at ? at + 1 : NULL;
    }
    return 0;
}

static int complain_syntax(struct reader *r)
{
    void *position = NULL;
    const struct fy_diag_error *e = fy_diag_errors_iterate(r->diag, &position);
    int line = e ? e->line : 1, column = e ? e->column : 1, tab_column = 0;
    _cleanup_free_ char *whole = mem_strndup(r->text, r->text_bytes);
    int tab_line = find_tab(whole, line + 1, &tab_column);
    if (tab_line)
        return complain(r, ERR_INVALID, tab_line, tab_column,
                        "the line is indented with a tab; YAML allows only spaces there");
    const char *message = e && e->msg ? e->msg : "not valid YAML";
    _cleanup_free_ char *text = mem_strndup(message, strcspn(message, "\n"));
    return complain(r, ERR_INVALID, MAX(line, 1), MAX(column, 1), text);
}

static const char *token_text(struct reader *r, struct fy_token *token)
{
    size_t n = 0;
    const char *text = token ? fy_token_get_text(token, &n) : NULL;
    char *copy = yaml_alloc(r->arena, n + 1);
    if (text && n)
        memcpy(copy, text, n);
    return copy;
}

static void set_place(struct reader *r, struct yaml_node *node, struct fy_token *token)
{
    const struct fy_mark *mark = token ? fy_token_start_mark(token) : NULL;
    node->file = r->file;
    node->line = mark ? mark->line + 1 : 0;
    node->column = mark ? mark->column + 1 : 0;
}

static int apply_tag(struct reader *r, struct yaml_node *node, struct fy_token *token)
{
    if (!token)
        return 0;
    const char *tag = token_text(r, token);
    const char *core = str_after(tag, "tag:yaml.org,2002:");
    if (str_ends_with(tag, "!reset"))
        node->merge = YAML_MERGE_RESET;
    else if (str_ends_with(tag, "!override"))
        node->merge = YAML_MERGE_OVERRIDE;
    else if (core && strcmp(core, "str") == 0 && node->type != YAML_LIST && node->type != YAML_MAP) {
        node->type = YAML_SCALAR;
        node->plain = false;
        node->text = node->text ? node->text : "";
    } else if (!core && strcmp(tag, "!") != 0)
        return complain(r, ERR_UNSUPPORTED, node->line, node->column,
                        yaml_printf(r->arena, "tag %s is not supported; only !reset and !override are", tag));
    return 0;
}

static void keep_anchor(struct reader *r, struct fy_token *token, struct yaml_node *node)
{
    if (!token)
        return;
    map_put(&r->anchors, token_text(r, token), node);
}

static int find_alias(struct reader *r, struct fy_token *token, struct yaml_node **ret)
{
    const char *name = token_text(r, token);
    struct yaml_node *node = map_get(&r->anchors, name);
    if (node) {
        *ret = node;
        return 0;
    }
    struct yaml_node place;
    set_place(r, &place, token);
    /* An anchor is kept when its node is complete, so a node that contains itself ends here too. */
    return complain(
        r, ERR_INVALID, place.line, place.column,
        yaml_printf(r->arena, "alias *%s has no anchor before it, or stands inside its own anchor", name));
}

static int check_weight(struct reader *r, const struct yaml_node *node)
{
    if (node->type == YAML_MAP && node->count > YAML_MAX_KEYS)
        return complain(r, ERR_LIMIT, node->line, node->column,
                        yaml_printf(r->arena, "more than %d keys in one mapping", YAML_MAX_KEYS));
    if (node->weight <= YAML_MAX_NODES)
        return 0;
    return complain(r, ERR_LIMIT, node->line, node->column,
                    yaml_printf(r->arena, "more than %d values after aliases are expanded", YAML_MAX_NODES));
}

static int read_node(struct reader *r, struct fy_event *event, int depth, struct yaml_node **ret);

static struct fy_event *next_event(struct reader *r)
{
    return fy_parser_parse(r->parser);
}

static int read_list(struct reader *r, struct yaml_node *list, int depth)
{
    for (;;) {
        struct fy_event *event = next_event(r);
        if (!event)
            return complain_syntax(r);
        if (event->type == FYET_SEQUENCE_END) {
            fy_parser_event_free(r->parser, event);
            return 0;
        }
        struct yaml_node *item = NULL;
        int result = read_node(r, event, depth + 1, &item);
        if (result < 0)
            return result;
        yaml_append(r->arena, list, item);
        result = check_weight(r, list);
        if (result < 0)
            return result;
    }
}

static int merge_from(struct reader *r, struct yaml_node *map, const struct yaml_node *source,
                      const struct yaml_pair *at)
{
    if (source->type != YAML_MAP)
        return complain(r, ERR_INVALID, at->line, at->column, "<< takes a mapping, or a list of mappings");
    for (size_t i = 0; i < source->count; i++)
        if (!yaml_find(map, source->pairs[i].key))
            push_pair(r->arena, map, source->pairs[i]);
    return check_weight(r, map);
}

/* "<<": keys of the mapping itself win, then those of the earlier mapping in the list. */
static int apply_merge_key(struct reader *r, struct yaml_node *map)
{
    const struct yaml_pair *found = yaml_find(map, "<<");
    if (!found)
        return 0;
    const struct yaml_pair at = *found;
    yaml_remove(map, "<<");
    if (at.value->type != YAML_LIST)
        return merge_from(r, map, at.value, &at);
    int result = 0;
    for (size_t i = 0; result == 0 && i < at.value->count; i++)
        result = merge_from(r, map, at.value->items[i], &at);
    return result;
}

static int read_pair(struct reader *r, struct yaml_node *map, struct fy_event *event, int depth)
{
    struct yaml_node *key = NULL, *value = NULL;
    int result = read_node(r, event, depth + 1, &key);
    if (result < 0)
        return result;
    if (key->type == YAML_LIST || key->type == YAML_MAP)
        return complain(r, ERR_INVALID, key->line, key->column, "a key must be a plain word or a string");
    const char *name = key->text ? key->text : "";
    struct yaml_pair *before = yaml_find(map, name);
    if (before)
        return complain(
            r, ERR_INVALID, key->line, key->column,
            yaml_printf(r->arena, "key \"%s\" is given twice; the first is in line %d", name, before->line));
    event = next_event(r);
    if (!event)
        return complain_syntax(r);
    result = read_node(r, event, depth + 1, &value);
    if (result < 0)
        return result;
    if (value->type == YAML_NULL && !str_after(value->text, "n") && !str_after(value->text, "~")) {
        value->line = key->line; /* a value that is not there has no place of its own */
        value->column = key->column;
    }
    push_pair(r->arena, map,
              (struct yaml_pair){
                  .key = name, .file = key->file, .line = key->line, .column = key->column, .value = value});
    return check_weight(r, map);
}

static int read_map(struct reader *r, struct yaml_node *map, int depth)
{
    for (;;) {
        struct fy_event *event = next_event(r);
        if (!event)
            return complain_syntax(r);
        if (event->type == FYET_MAPPING_END) {
            fy_parser_event_free(r->parser, event);
            return apply_merge_key(r, map);
        }
        int result = read_pair(r, map, event, depth);
        if (result < 0)
            return result;
    }
}

static struct yaml_node *read_scalar(struct reader *r, struct fy_event *event)
{
    struct fy_token *token = event->scalar.value;
    struct yaml_node *node = yaml_new(r->arena, YAML_SCALAR, NULL);
    set_place(r, node, token);
    node->text = token_text(r, token);
    enum fy_scalar_style style = token ? fy_scalar_token_get_style(token) : FYSS_PLAIN;
    node->plain = style == FYSS_PLAIN;
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED)
        node->column = MAX(node->column - 1, 1); /* the mark is behind the quote */
    if (node->plain && yaml_is_null_text(node->text))
        node->type = YAML_NULL;
    return node;
}

/* Takes the event. Tokens are read before it is given back to the parser. */
static int read_node(struct reader *r, struct fy_event *event, int depth, struct yaml_node **ret)
{
    struct yaml_node *node = NULL;
    struct fy_token *anchor = NULL, *tag = NULL;
    int result = 0;
    switch (event->type) {
    case FYET_ALIAS:
        result = find_alias(r, event->alias.anchor, ret);
        fy_parser_event_free(r->parser, event);
        return result;
    case FYET_SCALAR:
        node = read_scalar(r, event);
        anchor = event->scalar.anchor;
        tag = event->scalar.tag;
        break;
    case FYET_SEQUENCE_START:
    case FYET_MAPPING_START:
        node = yaml_new(r->arena, event->type == FYET_MAPPING_START ? YAML_MAP : YAML_LIST, NULL);
        bool map = node->type == YAML_MAP;
        set_place(r, node, map ? event->mapping_start.mapping_start : event->sequence_start.sequence_start);
        anchor = map ? event->mapping_start.anchor : event->sequence_start.anchor;
        tag = map ? event->mapping_start.tag : event->sequence_start.tag;
        break;
    default:
        fy_parser_event_free(r->parser, event);
        return complain_syntax(r);
    }
    result = apply_tag(r, node, tag);
    if (result == 0 && depth > YAML_MAX_DEPTH)
        result = complain(r, ERR_LIMIT, node->line, node->column,
                          yaml_printf(r->arena, "values are nested deeper than %d levels", YAML_MAX_DEPTH));
    if (result == 0 && node->type == YAML_LIST)
        result = read_list(r, node, depth);
    if (result == 0 && node->type == YAML_MAP)
        result = read_map(r, node, depth);
    if (result == 0)
        keep_anchor(r, anchor, node);
    fy_parser_event_free(r->parser, event);
    if (result == 0)
        *ret = node;
    return result;
}

static int read_documents(struct reader *r, struct yaml_node *list)
{
    for (;;) {
        struct fy_event *event = next_event(r);
        if (!event)
            return fy_diag_got_error(r->diag) ? complain_syntax(r) : 0;
        enum fy_event_type type = event->type;
        if (type == FYET_STREAM_START || type == FYET_DOCUMENT_START || type == FYET_DOCUMENT_END ||
            type == FYET_STREAM_END) {
            fy_parser_event_free(r->parser, event);
            if (type == FYET_STREAM_END)
                return 0;
            if (type == FYET_DOCUMENT_START)
                map_done(&r->anchors); /* anchors end with their document */
            continue;
        }
        struct yaml_node *node = NULL;
        int result = read_node(r, event, 0, &node);
        if (result < 0)
            return result;
        if (node->type == YAML_NULL)
            continue;
        if (list->count >= YAML_MAX_DOCUMENTS)
            return complain(r, ERR_LIMIT, node->line, node->column, "too many documents in one file");
        yaml_append(r->arena, list, node);
        result = check_weight(r, list);
        if (result < 0)
            return result;
    }
}

/* What the parser is not shown: bytes that are no text, and directives ("%YAML"), on some of which libfyaml
 * 0.7 never ends. */
static int check_lines(struct reader *r, size_t n)
{
    const char *end = r->text + n;
    int line = 1;
    for (const char *at = r->text; at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = newline ? (size_t)(newline - at) : (size_t)(end - at);
        _cleanup_json_ json_t *utf8 = json_stringn(at, length);
        if (!utf8)
            return complain(r, ERR_INVALID, line, 1, "the line is not valid UTF-8");
        if (*at == '%')
            return complain(r, ERR_UNSUPPORTED, line, 1, "YAML directives (lines with %) are not supported");
        at += length + 1;
    }
    return 0;
}

static void discard_output(struct fy_diag *diag, void *user, const char *bytes, size_t n)
{
    (void)diag, (void)user, (void)bytes, (void)n;
}

int yaml_parse(struct yaml_arena *arena, const char *file, const char *text, size_t n,
               struct yaml_node ***ret, size_t *ret_count, struct err *err)
{
    if (n > YAML_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "%s: larger than %d bytes", file, YAML_MAX_BYTES);
    if (memchr(text, '\0', n))
        return err_set(err, ERR_INVALID, "%s: contains a NUL byte; not a text file", file);
    struct reader r = {.arena = arena,
                       .file = yaml_strdup(arena, file),
                       .text = text,
                       .text_bytes = n,
                       .anchors = MAP_INIT(NULL),
                       .err = err};
    int result = check_lines(&r, n);
    if (result < 0)
        return result;
    struct fy_diag_cfg diag_config;
    deferred_need(DEFERRED_FYAML);
    fy_diag_cfg_default(&diag_config);
    diag_config.fp = NULL;
    diag_config.output_fn = discard_output;
    r.diag = fy_diag_create(&diag_config);
    fy_diag_set_collect_errors(r.diag, true);
    const struct fy_parse_cfg config = {.flags = FYPCF_QUIET | FYPCF_COLLECT_DIAG, .diag = r.diag};
    r.parser = fy_parser_create(&config);
    must(r.diag && r.parser);
    struct yaml_node *list = yaml_new(arena, YAML_LIST, NULL);
    result = fy_parser_set_string(r.parser, text, n) == 0
                 ? read_documents(&r, list)
                 : err_set(err, ERR_INVALID, "%s: cannot be read", file);
    fy_parser_destroy(r.parser);
    fy_diag_destroy(r.diag);
    map_done(&r.anchors);
    if (result < 0)
        return result;
    *ret = list->items;
    *ret_count = list->count;
    return 0;
}
