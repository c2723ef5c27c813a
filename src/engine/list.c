/* `docker ps` and `docker container prune`. */
#include "engine/links.h"

#include "base/tree_bytes.h"

#include <regex.h>

enum { PATTERN_MAX = 256, ANCESTORS_MAX = 256 };

/* One call of the list. */
struct listing {
    struct engine *e;
    const json_t *filters;
    bool all, size;
    int64_t now_ns, before_ns, since_ns;
    struct map image_ids;   /* name of an image -> its id now, "" when there is none */
    struct map image_bases; /* id of an image -> its parent's id or "" */
    json_t *link_names;     /* see links.h */
    char **ancestors;       /* ids of the images of the filter "ancestor" */
};

/* A container looked at. */
struct candidate {
    struct container *c;
    char *name;               /* "/x" */
    const json_t *link_names; /* or NULL */
    json_t *doc, *net, *ports;
    const json_t *config;
    struct container_state state;
    const char *health;
};

static bool is_up(const struct candidate *x)
{
    return x->state.status == STATUS_RUNNING || x->state.status == STATUS_PAUSED ||
           x->state.status == STATUS_RESTARTING;
}

static void candidate_open(struct container *c, struct candidate *ret)
{
    _cleanup_free_ char *name = container__name(c);
    *ret = (struct candidate){.c = c, .name = str_printf("/%s", name), .doc = container__doc(c)};
    ret->net = container__net(c);
    ret->config = json_object_get(ret->doc, "Config");
    ret->state = container__state(c);
    ret->health = health__status(c);
    bool runs = ret->state.status == STATUS_RUNNING || ret->state.status == STATUS_PAUSED;
    ret->ports = inspect__ports_list(ret->net, runs ? ret->config : NULL);
}

static void candidate_close(struct candidate *x)
{
    free(x->name);
    json_decref(x->doc);
    json_decref(x->net);
    json_decref(x->ports);
}

/* --- images --- */

static void forget_text(void *text)
{
    free(text);
}

static const char *image_id_now(struct listing *l, const char *name)
{
    char *id = map_get(&l->image_ids, name);
    struct image_info info = {0};
    if (id)
        return id;
    if (image_get(l->e->images, name, &info, NULL) == 0) {
        id = mem_strdup(info.id);
        image_info_done(&info);
    } else
        id = mem_strdup("");
    map_put(&l->image_ids, name, id);
    return id;
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

/* --- filters --- */

/* Docker takes names and ids as regular expressions. Here only those that cost no more than their length:
 * with counted repetition or references back, the C library's matcher could be made to take very long. */
static bool pattern_matches(const char *pattern, const char *text)
{
    bool plain = strlen(pattern) > PATTERN_MAX || strchr(pattern, '{');
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

static bool wanted(struct listing *l, struct candidate *x)
{
    static const struct {
        const char *key;
        bool (*match)(void *, const char *);
    } keys[] = {
        {"id", match_id},         {"name", match_name},        {"status", match_status},
        {"exited", match_exited}, {"health", match_health},    {"network", match_network},
        {"volume", match_volume}, {"is-task", match_not_task}, {"isolation", match_isolation},
    };
    if (!l->all && !is_up(x))
        return false;
    if (x->c->created_ns >= l->before_ns || x->c->created_ns <= l->since_ns)
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (!filter__any(l->filters, keys[i].key, keys[i].match, x))
            return false;
    return filter__labels(l->filters, json_object_get(x->config, "Labels")) && ports_wanted(l->filters, x) &&
           has_ancestor(l, x);
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
        const char *id = image_id_now(l, *name);
        if (*id)
            strv_add(&l->ancestors, id);
    }
}

/* --- one line --- */

static char *status_words(const struct candidate *x, int64_t now)
{
    const struct container_state *s = &x->state;
    char up[TIME_RFC3339_BYTES], ago[TIME_RFC3339_BYTES];
    time_format_human(MAX(now - s->started_ns, 0), up);
    time_format_human(MAX(now - s->finished_ns, 0), ago);
    switch (s->status) {
    case STATUS_PAUSED:
        return str_printf("Up %s (Paused)", up);
    case STATUS_RESTARTING:
        return str_printf("Restarting (%d) %s ago", s->exit_code, ago);
    case STATUS_RUNNING:
        if (!*x->health)
            return str_printf("Up %s", up);
        return str_printf("Up %s (%s%s)", up, str_eq(x->health, "starting") ? "health: " : "", x->health);
    case STATUS_REMOVING:
        return mem_strdup("Removal In Progress");
    case STATUS_DEAD:
        return mem_strdup("Dead");
    case STATUS_CREATED:
        return mem_strdup("Created");
    case STATUS_EXITED:
        return str_printf("Exited (%d) %s ago", s->exit_code, ago);
    }
    return mem_strdup("");
}

static char *command_words(const json_t *config)
{
    static const char *const parts[] = {"Entrypoint", "Cmd"};
    _cleanup_str_ struct str text = STR_INIT;
    size_t at;
    const json_t *word;
    bool first = true;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        json_array_foreach (json_object_get(config, parts[i]), at, word) {
            const char *w = json_string_value(word), *quote = !first && w && strchr(w, ' ') ? "'" : "";
            str_addf(&text, "%s%s%s%s", first ? "" : " ", quote, w ? w : "", quote);
            first = false;
        }
    return str_take(&text);
}

/* A name that means another image by now would mislead: then the id is shown. */
static const char *image_shown(struct listing *l, const struct candidate *x)
{
    const char *name = json_str(x->config, "Image");
    return str_eq(image_id_now(l, name), x->c->image_id) ? name : x->c->image_id;
}

static json_t *line_of(struct listing *l, struct candidate *x)
{
    _cleanup_free_ char *status = status_words(x, l->now_ns), *command = command_words(x->config);
    json_t *labels = json_object_get(x->config, "Labels");
    const json_t *host = json_object_get(x->doc, "HostConfig");
    json_t *annotations = json_object_get(host, "Annotations");
    const char *mode = json_str(host, "NetworkMode");
    json_t *line = json_object();
    json_set_str(line, "Id", x->c->id);
    json_t *names = json_pack("[s]", x->name);
    json_array_extend(names, (json_t *)x->link_names);
    json_object_set_new(line, "Names", names);
    json_set_str(line, "Image", image_shown(l, x));
    json_set_str(line, "ImageID", x->c->image_id);
    json_set_str(line, "Command", command);
    json_object_set_new(line, "Created", json_integer(x->c->created_ns / NS_PER_S));
    json_object_set(line, "Ports", x->ports);
    if (l->size)
        inspect__set_sizes(line, x->c);
    if (!json_int(line, "SizeRw")) /* as dockerd does in a list, not in an inspect */
        json_object_del(line, "SizeRw");
    json_object_set_new(line, "Labels", json_is_object(labels) ? json_incref(labels) : json_object());
    json_set_str(line, "State", container__status_name(x->state.status));
    json_set_str(line, "Status", status);
    json_t *told = json_pack("{s:s}", "NetworkMode", mode);
    if (json_object_size(annotations))
        json_object_set(told, "Annotations", annotations);
    json_object_set_new(line, "HostConfig", told);
    json_object_set_new(line, "NetworkSettings",
                        json_pack("{s:o}", "Networks", inspect__networks_listed(x->net)));
    json_object_set_new(line, "Mounts", inspect__mounts(json_object_get(x->doc, "MountPoints")));
    return line;
}

/* --- the calls --- */

static json_t *collect(struct listing *l, int limit)
{
    struct container **containers = container__all(l->e);
    size_t count = 0;
    while (containers[count])
        count++;
    json_t *list = json_array();
    while (count-- && (limit <= 0 || json_array_size(list) < (size_t)limit)) {
        struct candidate x;
        candidate_open(containers[count], &x);
        x.link_names = json_object_get(l->link_names, x.c->id);
        if (wanted(l, &x))
            json_array_append_new(list, line_of(l, &x));
        candidate_close(&x);
    }
    container__all_free(containers);
    return list;
}

int engine_container_list(struct engine *e, bool all, int limit, bool size, const json_t *filters,
                          json_t **ret, struct err *err)
{
    struct listing l = {.e = e, .filters = filters, .size = size, .now_ns = time_now_ns()};
    l.all = all || filter__has(filters, "status");
    l.before_ns = INT64_MAX;
    l.since_ns = INT64_MIN;
    int r = check_filters(filters, err);
    if (r == 0)
        r = read_bound(e, filters, "before", &l.before_ns, err);
    if (r == 0)
        r = read_bound(e, filters, "since", &l.since_ns, err);
    if (r < 0)
        return r;
    l.image_ids = MAP_INIT(forget_text);
    l.image_bases = MAP_INIT(forget_text);
    read_ancestors(&l);
    _cleanup_json_ json_t *link_names = atomic_load(&e->linked) ? links__names(e) : NULL;
    l.link_names = link_names;
    *ret = collect(&l, limit);
    map_done(&l.image_ids);
    map_done(&l.image_bases);
    strv_free(l.ancestors);
    return 0;
}

/* --- the same, quickly --- */

/* What a line is made of, in short: while it stays the same, so does the line. */
static char *key_of(struct listing *l, const struct candidate *x, uint64_t revision, const char *image_name)
{
    _cleanup_free_ char *status = status_words(x, l->now_ns);
    return str_printf("%llu|%d|%s|%s|%s", (unsigned long long)revision, x->state.status, status, x->name,
                      image_id_now(l, image_name));
}

static bool reuse_line(struct container *c, const char *key, struct str *out)
{
    SCOPED_LOCK(locked, &c->lock);
    if (!c->line || !str_eq(c->line_key, key))
        return false;
    str_add(out, c->line);
    return true;
}

static void make_line(struct listing *l, struct container *c, char *key, struct str *out)
{
    struct candidate x;
    candidate_open(c, &x);
    _cleanup_json_ json_t *line = line_of(l, &x);
    candidate_close(&x);
    char *text = json_format(line);
    str_add(out, text);
    SCOPED_LOCK(locked, &c->lock);
    free(c->line);
    free(c->line_key);
    c->line = text;
    c->line_key = key;
}

static bool append_line(struct listing *l, struct container *c, struct str *out)
{
    _cleanup_free_ char *plain_name = container__name(c), *name = str_printf("/%s", plain_name);
    struct candidate x = {.c = c, .name = name, .state = container__state(c), .health = health__status(c)};
    if (!l->all && !is_up(&x))
        return false;
    pthread_mutex_lock(&c->lock);
    uint64_t revision = c->revision;
    _cleanup_free_ char *image_name = mem_strdup(c->image_name ? c->image_name : "");
    pthread_mutex_unlock(&c->lock);
    char *key = key_of(l, &x, revision, image_name);
    if (out->len > 1)
        str_addc(out, ',');
    if (reuse_line(c, key, out))
        free(key);
    else
        make_line(l, c, key, out);
    return true;
}

bool engine_container_list_text(struct engine *e, bool all, int limit, struct str *ret)
{
    if (atomic_load(&e->linked)) /* names come from other containers, too */
        return false;
    struct listing l = {.e = e, .all = all, .now_ns = time_now_ns()};
    l.image_ids = MAP_INIT(forget_text);
    l.image_bases = MAP_INIT(forget_text);
    struct container **containers = container__all(e);
    size_t count = 0;
    int lines = 0;
    while (containers[count])
        count++;
    str_add(ret, "[");
    while (count-- && (limit <= 0 || lines < limit))
        lines += append_line(&l, containers[count], ret);
    str_add(ret, "]\n");
    container__all_free(containers);
    map_done(&l.image_ids);
    map_done(&l.image_bases);
    return true;
}

static bool prunable(struct container *c, const json_t *filters, int64_t until_ns)
{
    enum container_status s = container__state(c).status;
    if (s == STATUS_RUNNING || s == STATUS_PAUSED || s == STATUS_RESTARTING || s == STATUS_REMOVING)
        return false;
    if (c->created_ns > until_ns)
        return false;
    _cleanup_json_ json_t *doc = container__doc(c);
    return filter__labels(filters, json_object_get(json_object_get(doc, "Config"), "Labels"));
}

int engine_container_prune(struct engine *e, const json_t *filters, json_t **ret, struct err *err)
{
    static const char *const keys[] = {"label", "label!", "until", NULL};
    int64_t until_ns, reclaimed = 0;
    int r = filter__check_keys(filters, keys, err);
    if (r == 0)
        r = filter__until(filters, &until_ns, err);
    if (r < 0)
        return r;
    json_t *deleted = json_array();
    struct container **containers = container__all(e);
    for (struct container **c = containers; *c; c++) {
        if (!prunable(*c, filters, until_ns))
            continue;
        _cleanup_free_ char *dir = container__dir(*c), *upper = str_printf("%s/upper", dir);
        int64_t bytes = tree_bytes_below(upper);
        struct err why;
        if (container__remove(*c, false, false, &why) < 0) { /* started meanwhile, or being removed */
            log_info("prune leaves container %.12s: %s", (*c)->id, why.msg);
            continue;
        }
        json_array_append_new(deleted, json_string((*c)->id));
        reclaimed += bytes;
    }
    container__all_free(containers);
    char text[32];
    snprintf(text, sizeof(text), "%lld", (long long)reclaimed);
    _cleanup_json_ json_t *attributes = json_pack("{s:s}", "reclaimed", text);
    engine_event(e, "container", "prune", "", attributes);
    *ret = json_pack("{s:o,s:I}", "ContainersDeleted", deleted, "SpaceReclaimed", (json_int_t)reclaimed);
    return 0;
}
