/* The filters of `docker ps`. */
#include "engine/list_priv.h"

#include <regex.h>

enum { PATTERN_MAX = 256, ANCESTORS_MAX = 256 };

bool listing__is_up(const struct candidate *x)
{
    return x->state.status == STATUS_RUNNING || x->state.status == STATUS_PAUSED ||
           x->state.status == STATUS_RESTARTING;
}

/* Docker takes names and ids as regular expressions. Here only those that cost no more than their length:
 * with counted repetition or references back, the C library's matcher could be made to take very long. */
static bool pattern_matches(const char *pattern, const char *text)
{
    bool plain = strlen(pattern) > PATTERN_MAX || strchr(pattern, '{') || !strpbrk(pattern, ".[]()*+?|^$\\");
    for (const char *p = pattern; !plain && (p = strchr(p, '\\')); p += p[1] ? 2 : 1)
        plain = p[1] >= '0' && p[1] <= '9';
    regex_t compiled;
    if (plain || regcomp(&compiled, pattern, REG_EXTENDED | REG_NOSUB) != 0)
        return strstr(text, pattern) != NULL;
    bool found = regexec(&compiled, text, 0, NULL, 0) == 0;
    regfree(&compiled);
    return found;
}

static bool match_id(void *context, const char *value)
{
    const struct candidate *x = context;
    return pattern_matches(value, x->c->id);
}

static bool match_name(void *context, const char *value)
{
    const struct candidate *x = context;
    size_t i;
    const json_t *link;
    json_array_foreach (x->link_names, i, link)
        if (pattern_matches(value, json_string_value(link)))
            return true;
    return pattern_matches(value, x->name) || pattern_matches(value, x->name + 1);
}

static bool match_status(void *context, const char *value)
{
    const struct candidate *x = context;
    return str_eq(value, container__status_name(x->state.status));
}

static bool match_exited(void *context, const char *value)
{
    const struct candidate *x = context;
    int64_t code;
    return x->state.status == STATUS_EXITED && parse_i64(value, INT32_MIN, INT32_MAX, &code, NULL) == 0 &&
           code == x->state.exit_code;
}

static bool match_health(void *context, const char *value)
{
    const struct candidate *x = context;
    return str_eq(value, *x->health ? x->health : "none");
}

static bool match_network(void *context, const char *value)
{
    const struct candidate *x = context;
    const char *name;
    json_t *settings;
    json_object_foreach (json_object_get(x->net, "Networks"), name, settings)
        if (str_eq(name, value) || (*value && str_after(json_str(settings, "NetworkID"), value)))
            return true;
    return false;
}

static bool match_volume(void *context, const char *value)
{
    const struct candidate *x = context;
    size_t i;
    const json_t *point;
    json_array_foreach (json_object_get(x->doc, "MountPoints"), i, point) {
        const char *name = json_str(point, "Name");
        if (str_eq(value, *name ? name : json_str(point, "Source")) ||
            str_eq(value, json_str(point, "Destination")))
            return true;
    }
    return false;
}

struct port_range {
    int64_t first, last;
    const char *type;
};

/* "80", "80/udp", "80-90/tcp". */
static int parse_port(const char *text, struct port_range *ret, struct err *err)
{
    const char *slash = strchr(text, '/');
    _cleanup_free_ char *numbers = mem_strndup(text, slash ? (size_t)(slash - text) : strlen(text));
    char *dash = strchr(numbers, '-');
    if (dash)
        *dash++ = '\0';
    ret->type = slash ? slash + 1 : "tcp";
    int r = parse_i64(numbers, 0, UINT16_MAX, &ret->first, err);
    if (r == 0)
        r = parse_i64(dash ? dash : numbers, ret->first, UINT16_MAX, &ret->last, err);
    return r;
}

static bool has_port(const struct candidate *x, const char *value, const char *key)
{
    struct port_range range;
    size_t i;
    const json_t *port;
    if (parse_port(value, &range, NULL) < 0)
        return false;
    json_array_foreach (x->ports, i, port) {
        int64_t number = json_int(port, key);
        if (json_object_get(port, key) && number >= range.first && number <= range.last &&
            str_eq(json_str(port, "Type"), range.type))
            return true;
    }
    return false;
}

static bool match_publish(void *context, const char *value)
{
    return has_port(context, value, "PublicPort");
}

static bool match_expose(void *context, const char *value)
{
    return has_port(context, value, "PrivatePort");
}

/* Docker's value here is always "", which every container has. */
static bool match_isolation(void *context, const char *value)
{
    const struct candidate *x = context;
    const char *own = json_str(json_object_get(x->doc, "HostConfig"), "Isolation");
    return str_eq(value, own) || (str_eq(value, "default") && !*own);
}

static bool match_not_task(void *context, const char *value)
{
    bool flag = false;
    return parse_bool(value, &flag, NULL) == 0 && !flag;
}

static const char *image_parent(struct listing *l, const char *id)
{
    char *parent = map_get(&l->image_bases, id);
    struct image_info info = {0};
    if (parent)
        return parent;
    if (image_get(l->e->images, id, &info, NULL) == 0) {
        parent = mem_strdup(info.parent_id ? info.parent_id : "");
        image_info_done(&info);
    } else
        parent = mem_strdup("");
    map_put(&l->image_bases, id, parent);
    return parent;
}

/* The image itself, or one it was built on. */
static bool has_ancestor(struct listing *l, const struct candidate *x)
{
    if (!filter__has(l->filters, "ancestor"))
        return true;
    const char *id = x->c->image_id;
    for (int depth = 0; !str_empty(id) && depth < ANCESTORS_MAX; depth++) {
        if (strv_has(l->ancestors, id))
            return true;
        id = image_parent(l, id);
    }
    return false;
}

/* Docker lets a container through when either of both port filters accepts it. */
static bool ports_wanted(const json_t *filters, struct candidate *x)
{
    bool publish = filter__has(filters, "publish"), expose = filter__has(filters, "expose");
    return (!publish && !expose) || (publish && filter__any(filters, "publish", match_publish, x)) ||
           (expose && filter__any(filters, "expose", match_expose, x));
}

struct test {
    const char *key;
    bool (*match)(void *, const char *);
};

static bool passes(const struct listing *l, const struct test *tests, size_t count, struct candidate *x)
{
    for (size_t i = 0; i < count; i++)
        if (!filter__any(l->filters, tests[i].key, tests[i].match, x))
            return false;
    return true;
}

bool listing__may_want(struct listing *l, struct candidate *x)
{
    static const struct test tests[] = {
        {"id", match_id},         {"name", match_name},     {"status", match_status},
        {"exited", match_exited}, {"health", match_health}, {"is-task", match_not_task},
    };
    if (!l->all && !listing__is_up(x))
        return false;
    if (x->c->created_ns >= l->before_ns || x->c->created_ns <= l->since_ns)
        return false;
    return passes(l, tests, ARRAY_SIZE(tests), x) && filter__labels(l->filters, x->labels);
}

bool listing__wants(struct listing *l, struct candidate *x)
{
    static const struct test tests[] = {
        {"network", match_network}, {"volume", match_volume}, {"isolation", match_isolation}};
    return passes(l, tests, ARRAY_SIZE(tests), x) && ports_wanted(l->filters, x) && has_ancestor(l, x);
}

/* Values that could never match are told, not silently answered with nothing. */
static int check_values(const json_t *filters, const char *key, const char *const *known, struct err *err)
{
    _cleanup_strv_ char **values = filter__values(filters, key);
    STRV_FOREACH (v, values)
        if (!strv_has((char *const *)known, *v))
            return err_set(err, ERR_INVALID, "invalid filter '%s=%.100s'", key, *v);
    return 0;
}

static int check_numbers(const json_t *filters, struct err *err)
{
    static const char *const ports[] = {"publish", "expose"};
    _cleanup_strv_ char **codes = filter__values(filters, "exited");
    int64_t code;
    int r = 0;
    STRV_FOREACH (v, codes)
        if ((r = parse_i64(*v, INT32_MIN, INT32_MAX, &code, err)) < 0)
            return err_wrap(err, "invalid filter 'exited=%.100s'", *v);
    for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
        _cleanup_strv_ char **values = filter__values(filters, ports[i]);
        struct port_range range;
        STRV_FOREACH (v, values)
            if ((r = parse_port(*v, &range, err)) < 0)
                return err_wrap(err, "invalid filter '%s=%.100s'", ports[i], *v);
    }
    return 0;
}

static int check_filters(const json_t *filters, struct err *err)
{
    static const char *const keys[] = {"ancestor", "before",    "exited", "expose", "health", "id",
                                       "is-task",  "isolation", "label",  "label!", "name",   "network",
                                       "publish",  "since",     "status", "volume", NULL};
    static const char *const statuses[] = {"created",  "running", "paused", "restarting",
                                           "removing", "exited",  "dead",   NULL};
    static const char *const healths[] = {"none", "starting", "healthy", "unhealthy", NULL};
    static const char *const truths[] = {"true", "false", "1", "0", "True", "False", NULL};
    int r = filter__check_keys(filters, keys, err);
    if (r == 0)
        r = check_values(filters, "is-task", truths, err);
    if (r == 0)
        r = check_values(filters, "status", statuses, err);
    if (r == 0)
        r = check_values(filters, "health", healths, err);
    return r == 0 ? check_numbers(filters, err) : r;
}

/* "before" and "since" name containers; of several, the last one counts. */
static int read_bound(struct engine *e, const json_t *filters, const char *key, int64_t *bound,
                      struct err *err)
{
    _cleanup_strv_ char **values = filter__values(filters, key);
    STRV_FOREACH (v, values) {
        _cleanup_container_ struct container *c = NULL;
        int r = container__find(e, *v, &c, err);
        if (r < 0)
            return r;
        *bound = c->created_ns;
    }
    return 0;
}

static void read_ancestors(struct listing *l)
{
    _cleanup_strv_ char **names = filter__values(l->filters, "ancestor");
    STRV_FOREACH (name, names) {
        const char *id = listing__image_id(l, *name);
        if (*id)
            strv_add(&l->ancestors, id);
    }
}

int listing__read_filters(struct listing *l, struct err *err)
{
    l->all = l->all || filter__has(l->filters, "status");
    l->before_ns = INT64_MAX;
    l->since_ns = INT64_MIN;
    int r = check_filters(l->filters, err);
    if (r == 0)
        r = read_bound(l->e, l->filters, "before", &l->before_ns, err);
    if (r == 0)
        r = read_bound(l->e, l->filters, "since", &l->since_ns, err);
    if (r == 0)
        read_ancestors(l);
    return r;
}
