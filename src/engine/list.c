/* `docker ps` and `docker container prune`. */
#include "engine/links.h"
#include "engine/list_priv.h"

#include "base/tree_bytes.h"

static void candidate_open(struct container *c, struct candidate *ret)
{
    _cleanup_free_ char *name = container__name(c);
    *ret = (struct candidate){.c = c, .name = str_printf("/%s", name), .health = health__status(c)};
    ret->labels = container__labels(c);
    ret->state = container__state(c);
}

static void candidate_read(struct candidate *x)
{
    bool runs = x->state.status == STATUS_RUNNING || x->state.status == STATUS_PAUSED;
    x->doc = container__doc(x->c);
    x->net = container__net(x->c);
    x->config = json_object_get(x->doc, "Config");
    x->ports = inspect__ports_list(x->net, runs ? x->config : NULL);
}

static void candidate_close(struct candidate *x)
{
    free(x->name);
    json_decref(x->labels);
    json_decref(x->doc);
    json_decref(x->net);
    json_decref(x->ports);
}

const char *listing__image_id(struct listing *l, const char *name)
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
    return str_eq(listing__image_id(l, name), x->c->image_id) ? name : x->c->image_id;
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

static void listing_close(struct listing *l)
{
    map_done(&l->image_ids);
    map_done(&l->image_bases);
    strv_free(l->ancestors);
}

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
        if (listing__may_want(l, &x)) {
            candidate_read(&x);
            if (listing__wants(l, &x))
                json_array_append_new(list, line_of(l, &x));
        }
        candidate_close(&x);
    }
    container__all_free(containers);
    return list;
}

int engine_container_list(struct engine *e, bool all, int limit, bool size, const json_t *filters,
                          json_t **ret, struct err *err)
{
    struct listing l = {.e = e, .all = all, .filters = filters, .size = size, .now_ns = time_now_ns()};
    l.image_ids = MAP_INIT(free);
    l.image_bases = MAP_INIT(free);
    int r = listing__read_filters(&l, err);
    if (r == 0) {
        _cleanup_json_ json_t *link_names = atomic_load(&e->linked) ? links__names(e) : NULL;
        l.link_names = link_names;
        *ret = collect(&l, limit);
    }
    listing_close(&l);
    return r;
}

/* --- the same, quickly --- */

/* What a line is made of, in short: while it stays the same, so does the line. */
static char *key_of(struct listing *l, const struct candidate *x, uint64_t revision, const char *image_name)
{
    _cleanup_free_ char *status = status_words(x, l->now_ns);
    return str_printf("%llu|%d|%s|%s|%s", (unsigned long long)revision, x->state.status, status, x->name,
                      listing__image_id(l, image_name));
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
    candidate_read(&x);
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
    if (!l->all && !listing__is_up(&x))
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
    l.image_ids = MAP_INIT(free);
    l.image_bases = MAP_INIT(free);
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
    listing_close(&l);
    return true;
}

static bool prunable(struct container *c, const json_t *filters, int64_t until_ns)
{
    enum container_status s = container__state(c).status;
    if (s == STATUS_RUNNING || s == STATUS_PAUSED || s == STATUS_RESTARTING || s == STATUS_REMOVING)
        return false;
    if (c->created_ns > until_ns)
        return false;
    _cleanup_json_ json_t *labels = container__labels(c);
    return filter__labels(filters, labels);
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
