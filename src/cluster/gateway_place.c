/* Where a container goes that is started on the cluster as one engine. Expressions are those of Docker's
 * classic Swarm: "constraint:KEY==VALUE" and "affinity:KEY==VALUE" in the environment, or JSON lists of them
 * in the labels com.docker.swarm.constraints and com.docker.swarm.affinities; "!=" for the opposite, "~"
 * before the value: only when a node fits; the value is a pattern as the shell's. What a container shares
 * with another one (namespaces, volumes, links) has it go to that one's node, and its network to a node that
 * has that. */
#include "cluster/gateway.h"

#include <fnmatch.h>

enum { EXPRESSIONS_MAX = 64 };

struct candidate {
    const json_t *node;
    json_t *containers; /* as its engine lists them, all */
    bool has_image, fits;
    size_t running;
};

struct expression {
    bool affinity, differs, soft;
    char *key, *value;
};

/* --- Expressions --- */

static int parse(const char *text, bool affinity, struct expression *ret, struct err *err)
{
    const char *at = text + strcspn(text, "=!");
    bool good = at > text && (at[0] == '=' || at[0] == '!') && at[1] == '=';
    if (!good)
        return err_set(err, ERR_INVALID, "%s:%.200s: it must be KEY==VALUE or KEY!=VALUE",
                       affinity ? "affinity" : "constraint", text);
    bool soft = at[2] == '~';
    *ret = (struct expression){affinity, *at == '!', soft, mem_strndup(text, (size_t)(at - text)),
                               mem_strdup(at + 2 + soft)};
    return 0;
}

static int take_list(const json_t *labels, const char *label, char ***ret, struct err *err)
{
    const char *text = json_str(labels, label);
    _cleanup_json_ json_t *list = NULL, *wrapped = NULL;
    if (!*text)
        return 0;
    int r = json_parse(text, strlen(text), label, &list, err);
    wrapped = r == 0 ? json_pack("{s:O}", label, list) : NULL;
    return r == 0 ? json_get_strv(wrapped, "Labels", label, ret, err) : r;
}

/* The environment without them. */
static int take_environment(json_t *body, char ***constraints, char ***affinities, struct err *err)
{
    json_t *given = NULL, *kept, *one;
    size_t i;
    int r = json_get_array(body, "", "Env", &given, err);
    if (r < 0 || !given)
        return r;
    kept = json_array();
    json_array_foreach (given, i, one) {
        const char *text = json_string_value(one) ? json_string_value(one) : "", *rest;
        if ((rest = str_after(text, "constraint:")))
            strv_add(constraints, rest);
        else if ((rest = str_after(text, "affinity:")))
            strv_add(affinities, rest);
        else
            json_array_append(kept, one);
    }
    json_object_set_new(body, "Env", kept);
    return 0;
}

static int read_expressions(json_t *body, struct expression *list, size_t *ret_count, struct err *err)
{
    const json_t *labels = json_object_get(body, "Labels");
    _cleanup_strv_ char **constraints = NULL, **affinities = NULL, **more = NULL, **others = NULL;
    int r = take_environment(body, &constraints, &affinities, err);
    if (r == 0)
        r = take_list(labels, "com.docker.swarm.constraints", &more, err);
    if (r == 0)
        r = take_list(labels, "com.docker.swarm.affinities", &others, err);
    char **const lists[] = {constraints, more, affinities, others};
    *ret_count = 0;
    for (size_t k = 0; r == 0 && k < ARRAY_SIZE(lists); k++)
        STRV_FOREACH (text, lists[k]) {
            if (*ret_count == EXPRESSIONS_MAX)
                return err_set(err, ERR_LIMIT, "more than %d constraints and affinities", EXPRESSIONS_MAX);
            r = parse(*text, k >= 2, &list[*ret_count], err);
            if (r < 0)
                return r;
            ++*ret_count;
        }
    return r;
}

static void add_dependency(struct expression *list, size_t *count, const char *container)
{
    size_t n = strcspn(container, ":");
    if (n && *count < EXPRESSIONS_MAX)
        list[(*count)++] = (struct expression){
            .affinity = true, .key = mem_strdup("container"), .value = mem_strndup(container, n)};
}

/* What is shared with another container is on its node. */
static void add_dependencies(const json_t *host, struct expression *list, size_t *count)
{
    static const char *const modes[] = {"NetworkMode", "PidMode", "IpcMode"}, *const lists[] = {"VolumesFrom",
                                                                                                "Links"};
    const json_t *one;
    size_t i;
    for (size_t k = 0; k < ARRAY_SIZE(modes); k++) {
        const char *container = str_after(json_str(host, modes[k]), "container:");
        if (container)
            add_dependency(list, count, container);
    }
    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        json_array_foreach (json_object_get(host, lists[k]), i, one)
            add_dependency(list, count, json_string_value(one) ? json_string_value(one) : "");
}

static bool matches(const char *pattern, const char *text)
{
    return fnmatch(pattern, text, 0) == 0;
}

static const json_t *engine_labels(const json_t *node)
{
    return json_object_get(json_object_get(json_object_get(node, "Description"), "Engine"), "Labels");
}

static const char *attribute(const json_t *node, const char *key)
{
    const json_t *spec = json_object_get(node, "Spec"), *labels = json_object_get(spec, "Labels");
    const json_t *platform = json_object_get(json_object_get(node, "Description"), "Platform");
    const char *label;
    if (str_eq(key, "node") || str_eq(key, "node.hostname"))
        return gate__node_name(node);
    if (str_eq(key, "node.id"))
        return json_str(node, "ID");
    if (str_eq(key, "node.role"))
        return json_str(spec, "Role");
    if (str_eq(key, "node.platform.os") || str_eq(key, "ostype"))
        return json_str(platform, "OS");
    if (str_eq(key, "node.platform.arch"))
        return json_str(platform, "Architecture");
    if ((label = str_after(key, "node.labels.")))
        return json_str(labels, label);
    if ((label = str_after(key, "engine.labels.")))
        return json_str(engine_labels(node), label);
    return json_object_get(labels, key) ? json_str(labels, key) : json_str(engine_labels(node), key);
}

static bool has_container(const struct candidate *c, const char *value)
{
    const json_t *one, *name;
    size_t i, k;
    json_array_foreach (c->containers, i, one) {
        if (*value && str_after(json_str(one, "Id"), value))
            return true;
        json_array_foreach (json_object_get(one, "Names"), k, name) {
            const char *text = json_string_value(name) ? json_string_value(name) : "";
            if (matches(value, *text == '/' ? text + 1 : text))
                return true;
        }
    }
    return false;
}

static bool has_labelled(const struct candidate *c, const char *key, const char *value)
{
    const json_t *one;
    size_t i;
    json_array_foreach (c->containers, i, one) {
        const json_t *label = json_object_get(json_object_get(one, "Labels"), key);
        if (json_is_string(label) && matches(value, json_string_value(label)))
            return true;
    }
    return false;
}

static bool has_image_named(const struct candidate *c, const char *value)
{
    const json_t *one;
    size_t i;
    if (c->has_image)
        return true;
    json_array_foreach (c->containers, i, one)
        if (matches(value, json_str(one, "Image")))
            return true;
    return false;
}

static bool holds(const struct expression *e, const struct candidate *c)
{
    bool is = !e->affinity                  ? matches(e->value, attribute(c->node, e->key))
              : str_eq(e->key, "container") ? has_container(c, e->value)
              : str_eq(e->key, "image")     ? has_image_named(c, e->value)
                                            : has_labelled(c, e->key, e->value);
    return is != e->differs;
}

/* False: none is left. */
static bool narrow(struct candidate *list, size_t count, const struct expression *e)
{
    size_t fit = 0;
    for (size_t i = 0; i < count; i++)
        fit += list[i].fits && holds(e, &list[i]);
    if (!fit)
        return e->soft;
    for (size_t i = 0; i < count; i++)
        list[i].fits = list[i].fits && holds(e, &list[i]);
    return true;
}

/* --- Nodes --- */

static size_t find_candidates(struct gate *g, const char *image, struct candidate *list)
{
    struct answers containers, images;
    _cleanup_free_ char *target = str_printf("/images/%s/json", image);
    size_t count = 0;
    const json_t *one;
    size_t k;
    gate__ask_all(g, "GET", "/containers/json?all=1", NULL, &containers);
    gate__ask_all(g, "GET", target, NULL, &images);
    for (size_t i = 0; i < containers.count; i++) {
        const struct answer *a = &containers.list[i];
        struct candidate *c = &list[count];
        bool active = str_eq(json_str(json_object_get(a->node, "Spec"), "Availability"), "active");
        if (!active || !gate__answered(a))
            continue;
        *c = (struct candidate){.node = a->node, .fits = true};
        json_parse(str_get((struct str *)&a->body), a->body.len, "a node's answer", &c->containers, NULL);
        json_array_foreach (c->containers, k, one)
            c->running += str_eq(json_str(one, "State"), "running");
        for (size_t j = 0; j < images.count; j++)
            if (images.list[j].node == a->node)
                c->has_image = gate__answered(&images.list[j]);
        count++;
    }
    gate__answers_done(&containers);
    gate__answers_done(&images);
    return count;
}

/* A network of the user's own is on some nodes only. */
static int narrow_by_network(struct gate *g, const char *network, struct candidate *list, size_t count,
                             struct err *err)
{
    static const char *const everywhere[] = {"", "default", "bridge", "host", "none", NULL};
    struct answers all;
    size_t left = 0;
    if (strv_has((char *const *)everywhere, network) || strpbrk(network, ":/ \r\n?#%"))
        return 0;
    _cleanup_free_ char *target = str_printf("/networks/%s", network);
    gate__ask_all(g, "GET", target, NULL, &all);
    for (size_t i = 0; i < count; i++) {
        bool there = false;
        for (size_t k = 0; k < all.count; k++)
            there = there || (all.list[k].node == list[i].node && gate__answered(&all.list[k]));
        list[i].fits = list[i].fits && there;
        left += list[i].fits;
    }
    gate__answers_done(&all);
    return left ? 0 : err_set(err, ERR_NOT_FOUND, "network %s not found", network);
}

static const char *strategy_of(struct gate *g, json_t **ret_swarm)
{
    _cleanup_str_ struct str body = STR_INIT;
    int status = 0;
    json_t *node;
    size_t i;
    json_array_foreach (g->nodes, i, node) {
        const json_t *manager = json_object_get(node, "ManagerStatus");
        if (!json_bool(manager, "Leader"))
            continue;
        if (reach__ask(g->c, node, "GET", "/swarm", NULL, NULL, &status, &body, &(struct err){0}) == 0)
            json_parse(str_get(&body), body.len, "a node's answer", ret_swarm, NULL);
        break;
    }
    return json_str(json_object_get(json_object_get(*ret_swarm, "Spec"), "Labels"), "sh.drover.strategy");
}

/* Those with the image before the others, then by the strategy; of a script's name, as spread. */
static bool better(const char *strategy, const struct candidate *a, const struct candidate *b)
{
    if (a->has_image != b->has_image)
        return a->has_image;
    return str_eq(strategy, "binpack") ? a->running > b->running : a->running < b->running;
}

static const json_t *choose(struct gate *g, const struct candidate *list, size_t count)
{
    _cleanup_json_ json_t *swarm = NULL;
    const char *strategy = strategy_of(g, &swarm);
    const struct candidate *best = NULL;
    size_t equal = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t dice;
        bool random = str_eq(strategy, "random");
        if (!list[i].fits)
            continue;
        if (!best || (!random && better(strategy, &list[i], best))) {
            best = &list[i];
            equal = 1;
            continue;
        }
        if (!random && better(strategy, best, &list[i]))
            continue;
        keys__random(&dice, sizeof(dice));
        if (dice % ++equal == 0)
            best = &list[i];
    }
    return best ? best->node : NULL;
}

int gate__place(struct gate *g, json_t *body, const json_t **ret, struct err *err)
{
    struct expression list[EXPRESSIONS_MAX];
    size_t count = 0, n = 0;
    const char *image = "";
    struct candidate *nodes = NULL;
    int r = json_get_string(body, "", "Image", &image, err);
    if (r == 0)
        r = read_expressions(body, list, &count, err);
    if (r == 0 && strpbrk(image, " \r\n?#%"))
        r = err_set(err, ERR_INVALID, "invalid reference format: \"%.200s\"", image);
    if (r == 0) {
        nodes = NEW_N(struct candidate, json_array_size(g->nodes) + 1);
        n = find_candidates(g, image, nodes);
        if (!n)
            r = err_set(err, ERR_UNAVAILABLE, "no node of the swarm is ready and active");
    }
    if (r == 0) {
        const json_t *host = json_object_get(body, "HostConfig");
        add_dependencies(host, list, &count);
        r = narrow_by_network(g, json_str(host, "NetworkMode"), nodes, n, err);
    }
    for (size_t i = 0; r == 0 && i < count; i++)
        if (!narrow(nodes, n, &list[i]))
            r = err_set(err, ERR_UNAVAILABLE,
                        "no node fits: %s:%s%s%s holds on none of the %zu that are ready",
                        list[i].affinity ? "affinity" : "constraint", list[i].key,
                        list[i].differs ? "!=" : "==", list[i].value, n);
    if (r == 0)
        *ret = choose(g, nodes, n);
    for (size_t i = 0; i < n; i++)
        json_decref(nodes[i].containers);
    free(nodes);
    for (size_t i = 0; i < count; i++) {
        free(list[i].key);
        free(list[i].value);
    }
    return r;
}
