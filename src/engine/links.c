/* Links: a container's names for others, from before networks had names of their own.
 *
 * On the default bridge HostConfig.Links become the document's {"Links": {alias: container id}}: the linked
 * container must run at the start, its addresses, ports and environment are told in variables, and its alias
 * stands in /etc/hosts. On networks that a user made, the endpoint's Links ("name:alias") are aliases that
 * one container alone sees. Either kind of alias follows the other container when it starts anew. */
#include "engine/links.h"

#include "base/file.h"

#include <ctype.h>

enum { LINKS_MAX = 256, SHARED_MAX = 32 };

/* "name", or "name:alias". */
static int parse_link(const char *text, char **ret_name, char **ret_alias, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ':');
    size_t n = strv_len(parts);
    if (!n || n > 2 || !*parts[0] || (n == 2 && !*parts[1]) || strpbrk(text, " \t\n\r"))
        return err_set(err, ERR_INVALID, "bad format for links: %.200s", text);
    /* As inspect shows them they may come back, "/name:/parent/alias"; else "/alias" is "alias". */
    const char *alias = parts[n - 1], *name = parts[0];
    const char *last = n == 2 && *name == '/' ? strrchr(alias, '/') : NULL;
    alias = last ? last + 1 : alias + strspn(alias, "/");
    if (!*alias)
        return err_set(err, ERR_INVALID, "bad format for links: %.200s", text);
    *ret_name = mem_strdup(name);
    *ret_alias = mem_strdup(alias);
    return 0;
}

/* The container whose network `*child` has: itself, or the one at the end of "container:..." modes. */
static int owner_of_network(struct engine *e, const char *name, struct container **ret, json_t **ret_doc,
                            struct err *err)
{
    _cleanup_free_ char *at = mem_strdup(name);
    for (int i = 0; i < SHARED_MAX; i++) {
        struct container *child = NULL;
        struct err why = {0};
        if (container__find(e, at, &child, &why) < 0)
            return err_set(err, ERR_INVALID, "could not get container for %.200s: %s", name, why.msg);
        json_t *doc = container__doc(child);
        const char *next = str_after(network__mode(json_object_get(doc, "HostConfig")), "container:");
        if (!next) {
            *ret = child;
            *ret_doc = doc;
            return 0;
        }
        free(at);
        at = mem_strdup(next);
        json_decref(doc);
        container__unref(child);
    }
    return err_set(err, ERR_INVALID, "could not get container for %.200s: more than %d share networks", name,
                   SHARED_MAX);
}

static int add_link(struct engine *e, const char *text, json_t *links, struct err *err)
{
    _cleanup_free_ char *name = NULL, *alias = NULL;
    _cleanup_container_ struct container *child = NULL;
    _cleanup_json_ json_t *doc = NULL;
    int r = parse_link(text, &name, &alias, err);
    if (r == 0)
        r = owner_of_network(e, name, &child, &doc, err);
    if (r < 0)
        return r;
    if (str_eq(network__mode(json_object_get(doc, "HostConfig")), "host"))
        return err_set(
            err, ERR_INVALID,
            "conflicting options: host type networking can't be used with links. This would result "
            "in undefined behavior");
    if (json_object_get(links, alias)) /* the first one counts, as in Docker */
        return 0;
    if (json_object_size(links) >= LINKS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d links", LINKS_MAX);
    json_set_str(links, alias, child->id);
    return 0;
}

int links__resolve(struct engine *e, json_t *host, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *links = json_object();
    size_t i;
    const json_t *text;
    const char *mode = network__mode(host);
    if (!str_eq(mode, "bridge") && !str_eq(mode, "none")) {
        *ret = take_ptr(links);
        return 0;
    }
    json_array_foreach (json_object_get(host, "Links"), i, text) {
        int r = add_link(e, json_string_value(text), links, err);
        if (r < 0)
            return r;
    }
    json_object_set_new(host, "Links", json_null()); /* shown from the resolved ones */
    *ret = take_ptr(links);
    return 0;
}

/* --- what a container's fields say: "alias=id" --- */

char **links__read(const json_t *doc)
{
    char **list = NULL;
    const char *alias;
    json_t *id;
    json_object_foreach (json_object_get(doc, "Links"), alias, id) {
        _cleanup_free_ char *entry = str_printf("%s=%s", alias, json_string_value(id));
        strv_add(&list, entry);
    }
    return list;
}

static char **links_of(struct container *c)
{
    SCOPED_LOCK(locked, &c->lock);
    return strv_dup(c->links);
}

/* The linked container; NULL when it has been removed. */
static struct container *child_of(struct container *c, const char *link)
{
    struct container *child = NULL;
    return container__find(c->engine, strchr(link, '=') + 1, &child, NULL) == 0 ? child : NULL;
}

static char *alias_of(const char *link)
{
    return mem_strndup(link, strcspn(link, "="));
}

struct container *links__find(struct engine *e, const char *name)
{
    const char *slash = strchr(name, '/');
    _cleanup_free_ char *parent_name = slash ? mem_strndup(name, (size_t)(slash - name)) : NULL;
    struct container *parent = slash ? map_get(&e->names, parent_name) : NULL;
    if (!parent)
        return NULL;
    SCOPED_LOCK(locked, &parent->lock);
    STRV_FOREACH (link, parent->links) {
        const char *id = str_after(*link, slash + 1);
        if (id && *id == '=')
            return map_get(&e->containers, id + 1);
    }
    return NULL;
}

json_t *links__shown(struct container *c)
{
    _cleanup_strv_ char **links = links_of(c);
    _cleanup_free_ char *parent = container__name(c);
    json_t *list = json_array();
    STRV_FOREACH (link, links) {
        _cleanup_container_ struct container *child = child_of(c, *link);
        _cleanup_free_ char *name = child ? container__name(child) : NULL, *alias = alias_of(*link);
        if (name)
            json_array_append_new(list, json_sprintf("/%s:/%s/%s", name, parent, alias));
    }
    if (json_array_size(list))
        return list;
    json_decref(list);
    return NULL;
}

json_t *links__names(struct engine *e)
{
    json_t *names = json_object();
    SCOPED_LOCK(locked, &e->lock);
    struct map_entry *entry;
    for (size_t i = 0; (entry = map_next(&e->containers, &i));) {
        struct container *parent = entry->value;
        SCOPED_LOCK(fields, &parent->lock);
        STRV_FOREACH (link, parent->links) {
            _cleanup_free_ char *alias = alias_of(*link);
            const char *id = strchr(*link, '=') + 1;
            if (!json_object_get(names, id))
                json_object_set_new(names, id, json_array());
            json_array_append_new(json_object_get(names, id), json_sprintf("/%s/%s", parent->name, alias));
        }
    }
    return names;
}

/* --- the variables --- */

struct port {
    int number;
    const char *protocol; /* "tcp" */
};

static int by_number(const void *a, const void *b)
{
    const struct port *x = a, *y = b;
    return x->number != y->number ? x->number - y->number : strcmp(y->protocol, x->protocol);
}

static size_t read_ports(const json_t *config, struct port **ret)
{
    size_t count = 0, capacity = 0;
    const char *text;
    json_t *value;
    json_object_foreach (json_object_get(config, "ExposedPorts"), text, value) {
        const char *slash = strchr(text, '/');
        _cleanup_free_ char *digits = mem_strndup(text, strcspn(text, "/"));
        int64_t number;
        if (parse_i64(digits, 1, UINT16_MAX, &number, NULL) < 0)
            continue;
        GROW(*ret, count, capacity);
        (*ret)[count++] = (struct port){(int)number, slash ? slash + 1 : "tcp"};
    }
    if (count)
        qsort(*ret, count, sizeof(**ret), by_number);
    return count;
}

static void add(char ***env, char *entry)
{
    strv_add(env, entry);
    free(entry);
}

static char *upper(const char *text)
{
    char *copy = mem_strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
    return copy;
}

/* The last of at least three ports that follow one another. */
static size_t end_of_range(const struct port *ports, size_t count, size_t first)
{
    size_t last = first;
    while (last + 1 < count && ports[last + 1].number == ports[last].number + 1 &&
           str_eq(ports[last + 1].protocol, ports[last].protocol))
        last++;
    return last > first + 1 ? last : first;
}

static void add_range(char ***env, const char *prefix, const char *ip, const struct port *p,
                      const struct port *q)
{
    _cleanup_free_ char *protocol = upper(p->protocol);
    _cleanup_free_ char *head = str_printf("%s_PORT_%d_%s", prefix, p->number, protocol);
    add(env, str_printf("%s_START=%s://%s:%d", head, p->protocol, ip, p->number));
    add(env, str_printf("%s_PORT_START=%d", head, p->number));
    add(env, str_printf("%s_END=%s://%s:%d", head, q->protocol, ip, q->number));
    add(env, str_printf("%s_PORT_END=%d", head, q->number));
}

static void add_ports(char ***env, const char *prefix, const char *ip, const json_t *config)
{
    _cleanup_free_ struct port *ports = NULL;
    size_t count = read_ports(config, &ports);
    if (count)
        add(env, str_printf("%s_PORT=%s://%s:%d", prefix, ports[0].protocol, ip, ports[0].number));
    for (size_t i = 0; i < count; i = end_of_range(ports, count, i) + 1) {
        size_t last = end_of_range(ports, count, i);
        if (last > i)
            add_range(env, prefix, ip, &ports[i], &ports[last]);
    }
    for (size_t i = 0; i < count; i++) {
        const struct port *p = &ports[i];
        _cleanup_free_ char *protocol = upper(p->protocol);
        _cleanup_free_ char *head = str_printf("%s_PORT_%d_%s", prefix, p->number, protocol);
        add(env, str_printf("%s=%s://%s:%d", head, p->protocol, ip, p->number));
        add(env, str_printf("%s_ADDR=%s", head, ip));
        add(env, str_printf("%s_PORT=%d", head, p->number));
        add(env, str_printf("%s_PROTO=%s", head, p->protocol));
    }
}

static void add_environment(char ***env, const char *prefix, const json_t *config)
{
    size_t i;
    const json_t *v;
    json_array_foreach (json_object_get(config, "Env"), i, v) {
        const char *text = json_string_value(v);
        bool told = text && strchr(text, '=') && !str_after(text, "HOME=") && !str_after(text, "PATH=");
        if (told)
            add(env, str_printf("%s_ENV_%s", prefix, text));
    }
}

static char *address_on(struct container *c, const char *network)
{
    if (!container__running(c))
        return NULL;
    _cleanup_json_ json_t *net = container__net(c);
    const char *address = json_str(json_object_get(json_object_get(net, "Networks"), network), "IPAddress");
    return *address ? mem_strdup(address) : NULL;
}

int links__env(struct container *c, char ***env, struct err *err)
{
    _cleanup_strv_ char **links = links_of(c);
    _cleanup_free_ char *parent = container__name(c);
    STRV_FOREACH (link, links) {
        _cleanup_container_ struct container *child = child_of(c, *link);
        _cleanup_free_ char *alias = alias_of(*link), *prefix = upper(alias);
        if (!child)
            continue; /* removed: so is the link */
        _cleanup_free_ char *name = container__name(child), *ip = address_on(child, "bridge");
        if (!container__running(child))
            return err_set(err, ERR_SYSTEM, "Cannot link to a non running container: /%s AS /%s/%s", name,
                           parent, alias);
        if (!ip)
            return err_set(err, ERR_SYSTEM, "container %s not attached to default bridge network", child->id);
        _cleanup_json_ json_t *doc = container__doc(child);
        const json_t *config = json_object_get(doc, "Config");
        add_ports(env, prefix, ip, config);
        add(env, str_printf("%s_NAME=/%s/%s", prefix, parent, alias));
        add_environment(env, prefix, config);
    }
    return 0;
}

/* --- /etc/hosts --- */

/* "address\talias hostname name": the names that are not the alias itself. */
static void bridge_line(struct container *child, const char *alias, struct str *out)
{
    _cleanup_free_ char *ip = address_on(child, "bridge"), *name = container__name(child);
    _cleanup_json_ json_t *doc = container__doc(child);
    const char *host = json_str(json_object_get(doc, "Config"), "Hostname");
    if (!ip)
        return;
    str_addf(out, "%s\t%s", ip, alias);
    if (*host && !str_eq(host, alias))
        str_addf(out, " %s", host);
    if (!str_eq(name, alias))
        str_addf(out, " %s", name);
    str_add(out, "\n");
}

/* One of an endpoint's Links. */
static void network_line(struct engine *e, const char *network, const char *text, struct str *out)
{
    _cleanup_free_ char *name = NULL, *alias = NULL;
    _cleanup_container_ struct container *other = NULL;
    if (parse_link(text, &name, &alias, NULL) < 0 || container__find(e, name, &other, NULL) < 0)
        return;
    _cleanup_free_ char *ip = address_on(other, network);
    if (ip)
        str_addf(out, "%s\t%s\n", ip, alias);
}

void links__hosts(struct container *c, const json_t *net, struct str *out)
{
    _cleanup_strv_ char **links = links_of(c);
    STRV_FOREACH (link, links) {
        _cleanup_container_ struct container *child = child_of(c, *link);
        _cleanup_free_ char *alias = alias_of(*link);
        if (child)
            bridge_line(child, alias, out);
    }
    const char *network;
    json_t *settings;
    json_object_foreach (json_object_get(net, "Networks"), network, settings) {
        size_t i;
        const json_t *text;
        json_array_foreach (json_object_get(settings, "Links"), i, text)
            if (json_is_string(text))
                network_line(c->engine, network, json_string_value(text), out);
    }
}

/* Whether the line's first name after the address is the first name of one of the new lines. */
static bool replaced(const char *line, const char *lines)
{
    const char *tab = strchr(line, '\t');
    size_t n = tab ? strcspn(tab + 1, " \t\n") : 0;
    for (const char *l = lines; n && *l; l = strchr(l, '\n') + 1) {
        const char *alias = strchr(l, '\t') + 1;
        if (strncmp(alias, tab + 1, n) == 0 && strchr(" \t\n", alias[n]))
            return true;
    }
    return false;
}

/* What else the container has written into the file stays. */
static void refresh(struct container *c)
{
    _cleanup_json_ json_t *net = container__net(c);
    _cleanup_str_ struct str lines = STR_INIT, now = STR_INIT, text = STR_INIT;
    _cleanup_free_ char *dir = files__dir(c), *path = str_printf("%s/hosts", dir);
    links__hosts(c, net, &lines);
    if (!lines.len || file_read(path, 1 << 20, &text, NULL) < 0)
        return;
    _cleanup_strv_ char **old = strv_split(str_get(&text), '\n');
    STRV_FOREACH (line, old)
        if (**line && !replaced(*line, str_get(&lines)))
            str_addf(&now, "%s\n", *line);
    str_addn(&now, lines.data, lines.len);
    struct err err;
    if (!str_eq(str_get(&now), str_get(&text)) && spec__write_file(dir, "hosts", str_get(&now), &err) < 0)
        log_warning("container %.12s: the addresses of its links: %s", c->id, err.msg);
}

void links__started(struct container *c)
{
    if (!atomic_load(&c->engine->linked))
        return;
    struct container **all = container__all(c->engine);
    for (struct container **other = all; *other; other++)
        if (*other != c && (*other)->has_links && container__running(*other))
            refresh(*other);
    container__all_free(all);
}

void links__note(struct container *c, const json_t *net)
{
    const char *network;
    json_t *settings;
    c->has_links = c->links != NULL;
    json_object_foreach (json_object_get(net, "Networks"), network, settings)
        c->has_links = c->has_links || json_array_size(json_object_get(settings, "Links"));
    if (c->has_links)
        atomic_store(&c->engine->linked, true);
}

/* --- the end of a link --- */

int engine_container_unlink(struct engine *e, const char *ref, struct err *err)
{
    const char *name = *ref == '/' ? ref + 1 : ref, *slash = strchr(name, '/');
    _cleanup_container_ struct container *parent = NULL;
    if (!slash && container__find(e, name, &parent, err) < 0)
        return -err->code;
    if (!slash)
        return err_set(err, ERR_CONFLICT, "Conflict, cannot remove the default link name of the container");
    _cleanup_free_ char *parent_name = mem_strndup(name, (size_t)(slash - name));
    if (container__find(e, parent_name, &parent, NULL) < 0)
        return err_set(err, ERR_NOT_FOUND, "No such container: %.300s", ref);
    SCOPED_LOCK(op, &parent->op);
    json_t *doc = container__doc(parent), *links = json_object_get(doc, "Links");
    if (!json_object_get(links, slash + 1)) {
        json_decref(doc);
        return err_set(err, ERR_NOT_FOUND, "No such container: %.300s", ref);
    }
    json_object_del(links, slash + 1);
    container__set_doc(parent, doc);
    container__save(parent);
    return 0;
}
