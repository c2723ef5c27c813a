/* The short syntaxes of ports, volumes and commands. */
#include "compose/canonical.h"
#include "compose/compose.h"
#include "compose/problem.h"
#include "compose/yaml.h"

enum { MAX_PORTS_IN_RANGE = 4096 };

struct port_range {
    int64_t first, last;
};

static bool read_range(const char *text, struct port_range *ret)
{
    const char *dash = strchr(text, '-');
    _cleanup_free_ char *first = mem_strndup(text, dash ? (size_t)(dash - text) : strlen(text));
    if (parse_i64(first, 0, 65535, &ret->first, NULL) < 0)
        return false;
    ret->last = ret->first;
    if (dash && parse_i64(dash + 1, 0, 65535, &ret->last, NULL) < 0)
        return false;
    return ret->last >= ret->first;
}

static void put_text(const struct canonical *c, struct yaml_node *map, const char *key, const char *text,
                     const struct yaml_node *at)
{
    yaml_put(c->arena, map, NULL, key, yaml_new_text(c->arena, text, at));
}

struct short_port {
    char *ip, *published, *target;
    const char *protocol;
};

static void short_port_done(struct short_port *p)
{
    free(p->ip);
    free(p->published);
    free(p->target);
}

/* Cuts at the colons, from the end: an IPv6 address has colons of its own, and may be in brackets. */
static void split_port(const char *text, struct short_port *ret)
{
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    _cleanup_free_ char *rest = mem_strndup(text, n);
    ret->protocol = slash ? slash + 1 : "tcp";
    char *colon = strrchr(rest, ':');
    ret->target = mem_strdup(colon ? colon + 1 : rest);
    if (!colon)
        return;
    *colon = '\0';
    colon = strrchr(rest, ':');
    ret->published = mem_strdup(colon ? colon + 1 : rest);
    if (!colon)
        return;
    *colon = '\0';
    size_t length = strlen(rest);
    bool brackets = *rest == '[' && rest[length - 1] == ']';
    ret->ip = brackets ? mem_strndup(rest + 1, length - 2) : mem_strdup(rest);
}

void canonical__port(const struct canonical *c, const struct yaml_node *item, struct yaml_node *list)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp", NULL};
    _cleanup_(short_port_done) struct short_port p = {0};
    split_port(item->text, &p);
    struct port_range target, published = {0};
    bool has_published = !str_empty(p.published);
    if (!strv_has((char *const *)protocols, p.protocol)) {
        problem_add(c->problems, item, "protocol must be tcp, udp or sctp, not \"%s\"", p.protocol);
        return;
    }
    if (!read_range(p.target, &target) || target.first == 0 ||
        (has_published && !read_range(p.published, &published))) {
        problem_add(
            c->problems, item,
            "\"%s\" is not a port; write \"8080:80\", \"127.0.0.1:8080:80\" or \"8000-8002:80-82/udp\"",
            item->text);
        return;
    }
    int64_t count = target.last - target.first + 1, outer = published.last - published.first + 1;
    if (count > MAX_PORTS_IN_RANGE || (has_published && outer != count && count != 1)) {
        problem_add(c->problems, item, "\"%s\": both ranges must have the same length, of at most %d ports",
                    item->text, MAX_PORTS_IN_RANGE);
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        struct yaml_node *port = yaml_new(c->arena, YAML_MAP, item);
        struct yaml_node *number =
            yaml_new_text(c->arena, yaml_printf(c->arena, "%d", (int)(target.first + i)), item);
        number->plain = true;
        yaml_put(c->arena, port, NULL, "target", number);
        if (has_published)
            put_text(c, port, "published",
                     outer == count ? yaml_printf(c->arena, "%d", (int)(published.first + i)) : p.published,
                     item);
        if (!str_empty(p.ip))
            put_text(c, port, "host_ip", p.ip, item);
        put_text(c, port, "protocol", p.protocol, item);
        put_text(c, port, "mode", "ingress", item);
        yaml_append(c->arena, list, port);
    }
}

int compose_add_port(const char *text, json_t *exposed, json_t *bindings, struct err *err)
{
    struct problems problems = {0};
    struct yaml_arena *arena = yaml_arena_new();
    const struct canonical c = {.arena = arena, .problems = &problems};
    struct yaml_node *list = yaml_new(arena, YAML_LIST, NULL);
    canonical__port(&c, yaml_new_text(arena, text, NULL), list);
    int r = 0;
    if (problems.count)
        r = err_set(err, ERR_INVALID, "%.*s", (int)strcspn(str_get(&problems.text), "\n"),
                    str_get(&problems.text));
    for (size_t i = 0; r == 0 && i < list->count; i++) {
        const struct yaml_node *port = list->items[i];
        const char *key = yaml_printf(arena, "%s/%s", yaml_text(port, "target"), yaml_text(port, "protocol"));
        json_object_set_new(exposed, key, json_object());
        if (!json_object_get(bindings, key))
            json_object_set_new(bindings, key, json_array());
        json_array_append_new(json_object_get(bindings, key),
                              json_pack("{s:s, s:s}", "HostIp", yaml_text(port, "host_ip"), "HostPort",
                                        yaml_text(port, "published")));
    }
    str_free(&problems.text);
    yaml_arena_free(arena);
    return r;
}

static struct yaml_node *put_true(const struct canonical *c, struct yaml_node *map, const char *key,
                                  const struct yaml_node *at)
{
    struct yaml_node *node = yaml_new_text(c->arena, "true", at);
    node->plain = true;
    yaml_put(c->arena, map, NULL, key, node);
    return node;
}

int compose_add_exposed(const char *text, json_t *exposed, struct err *err)
{
    size_t n = strcspn(text, "/");
    _cleanup_free_ char *numbers = mem_strndup(text, n);
    const char *protocol = text[n] ? text + n + 1 : "tcp";
    struct port_range range;
    bool known =
        strcmp(protocol, "tcp") == 0 || strcmp(protocol, "udp") == 0 || strcmp(protocol, "sctp") == 0;
    if (!read_range(numbers, &range) || !range.first || range.last - range.first >= MAX_PORTS_IN_RANGE ||
        !known)
        return err_set(err, ERR_INVALID, "\"%s\" is not a port; write 80, 80/udp or 8000-8010", text);
    for (int64_t port = range.first; port <= range.last; port++) {
        _cleanup_free_ char *key = str_printf("%d/%s", (int)port, protocol);
        json_object_set_new(exposed, key, json_object());
    }
    return 0;
}

/* The mapping of options below `key`, made when it is not there. */
static struct yaml_node *options_of(const struct canonical *c, struct yaml_node *mount, const char *key,
                                    const struct yaml_node *at)
{
    struct yaml_node *options = yaml_get(mount, key);
    if (!options)
        yaml_put(c->arena, mount, NULL, key, options = yaml_new(c->arena, YAML_MAP, at));
    return options;
}

static bool apply_mode(const struct canonical *c, const struct yaml_node *item, struct yaml_node *mount,
                       const char *word, bool bind)
{
    static const char *const propagation[] = {"shared",  "rshared",  "slave", "rslave",
                                              "private", "rprivate", NULL};
    static const char *const consistency[] = {"cached", "delegated", "consistent", NULL};
    static const char *const usual[] = {"rw", "copy", "z", "Z", NULL};
    if (strcmp(word, "ro") == 0)
        put_true(c, mount, "read_only", item);
    else if (strcmp(word, "nocopy") == 0 && !bind)
        put_true(c, options_of(c, mount, "volume", item), "nocopy", item);
    else if (bind && strv_has((char *const *)propagation, word))
        put_text(c, options_of(c, mount, "bind", item), "propagation", word, item);
    else if (bind && (*word == 'z' || *word == 'Z') && !word[1])
        put_text(c, options_of(c, mount, "bind", item), "selinux", word, item);
    else if (strv_has((char *const *)consistency, word))
        put_text(c, mount, "consistency", word, item);
    else if (!strv_has((char *const *)usual, word)) {
        problem_add(c->problems, item, "mode \"%s\" is not known; use ro or rw", word);
        return false;
    }
    return true;
}

struct yaml_node *canonical__volume(const struct canonical *c, const struct yaml_node *item)
{
    _cleanup_strv_ char **parts = strv_split(item->text, ':');
    size_t n = strv_len(parts);
    const char *source = n > 1 ? parts[0] : NULL, *target = n > 1 ? parts[1] : parts[0];
    if (n > 3 || *target != '/' || (source && !*source)) {
        problem_add(c->problems, item,
                    "\"%s\" is not a volume; write \"./dir:/path\", \"name:/path:ro\" or \"/path\"",
                    item->text);
        return NULL;
    }
    bool bind = source && strchr("./~", *source);
    struct yaml_node *mount = yaml_new(c->arena, YAML_MAP, item);
    put_text(c, mount, "type", bind ? "bind" : "volume", item);
    if (source) {
        struct yaml_node *from = yaml_new_text(c->arena, yaml_strdup(c->arena, source), item);
        yaml_put(c->arena, mount, NULL, "source", bind ? canonical__absolute(c, from) : from);
    }
    put_text(c, mount, "target", target, item);
    struct yaml_node *options = options_of(c, mount, bind ? "bind" : "volume", item);
    if (bind)
        put_true(c, options, "create_host_path", item);
    _cleanup_strv_ char **modes = n == 3 ? strv_split(parts[2], ',') : NULL;
    STRV_FOREACH (mode, modes)
        if (!apply_mode(c, item, mount, *mode, bind))
            return NULL;
    return mount;
}

struct yaml_node *canonical__words(const struct canonical *c, const struct yaml_node *node)
{
    struct yaml_node *words = yaml_new(c->arena, YAML_LIST, node);
    _cleanup_str_ struct str word = STR_INIT;
    bool in_word = false;
    char quote = 0;
    for (const char *t = node->text; *t; t++) {
        if (!quote && strchr(" \t\n", *t)) {
            if (in_word)
                yaml_append(c->arena, words, yaml_new_text(c->arena, str_get(&word), node));
            str_clear(&word);
            in_word = false;
            continue;
        }
        in_word = true;
        if (quote ? *t == quote : *t == '"' || *t == '\'')
            quote = quote ? 0 : *t;
        else if (*t == '\\' && quote != '\'' && t[1] && (!quote || strchr("\"\\$`\n", t[1])))
            str_addc(&word, *++t);
        else
            str_addc(&word, *t);
    }
    if (quote)
        problem_add(c->problems, node, "the closing %c is missing", quote);
    if (in_word)
        yaml_append(c->arena, words, yaml_new_text(c->arena, str_get(&word), node));
    return words;
}
