/* What a container that is started on the cluster as one engine says of where it is to go. Expressions are
 * those of Docker's classic Swarm: "constraint:KEY==VALUE" and "affinity:KEY==VALUE" in the environment, or
 * JSON lists of them in the labels com.docker.swarm.constraints and com.docker.swarm.affinities; "!=" for the
 * opposite, "~" before the value: preferred, not demanded; the value may be a pattern
 * (scheduler/value_pattern.h). What a container shares with another one (namespaces, volumes, links) has it
 * go to that one's node, and its network to a node that has that.
 *
 * Constraints are the scheduler's own. What the containers of a node decide is found out here, from all
 * nodes, and told the scheduler as marks (place_alone.h). */
#include "cluster/gateway.h"

#include "cluster/place_alone.h"
#include "scheduler/value_pattern.h"

enum { EXPRESSIONS_MAX = 62, AGAIN_MAX = 30, AGAIN_MS = 100 };

struct affinity {
    char *text, *key;
    struct value_pattern *value;
    bool differs, soft;
};
struct wishes {
    json_t *constraints; /* in the scheduler's form */
    struct affinity affinities[EXPRESSIONS_MAX];
    size_t count;
};

static void wishes_done(struct wishes *w)
{
    json_decref(w->constraints);
    for (size_t i = 0; i < w->count; i++) {
        free(w->affinities[i].text);
        free(w->affinities[i].key);
        value_pattern_free(w->affinities[i].value);
    }
}

/* --- Expressions --- */

static int check_room(const struct wishes *w, struct err *err)
{
    return w->count + json_array_size(w->constraints) < EXPRESSIONS_MAX
               ? 0
               : err_set(err, ERR_LIMIT, "more than %d constraints and affinities", EXPRESSIONS_MAX);
}

static int bad_form(const char *kind, const char *text, struct err *err)
{
    return err_set(err, ERR_INVALID, "%s:%.200s: it must be KEY==VALUE or KEY!=VALUE", kind, text);
}

/* Classic Swarm had names of its own for what the engine says of itself. */
static int add_constraint(struct wishes *w, const char *text, struct err *err)
{
    const char *at = text + strcspn(text, "=!"), *os = str_after(text, "ostype");
    if (at == text || !*at || at[1] != '=')
        return bad_form("constraint", text, err);
    int r = check_room(w, err);
    if (r == 0)
        json_array_append_new(w->constraints, os == at ? json_sprintf("constraint:node.platform.os%s", at)
                                                       : json_sprintf("constraint:%s", text));
    return r;
}

/* Takes `key`. */
static int add_affinity(struct wishes *w, const char *text, char *key, bool differs, bool soft,
                        const char *value, struct err *err)
{
    struct affinity a = {.key = key, .differs = differs, .soft = soft};
    int r = check_room(w, err);
    if (r == 0)
        r = value_pattern_new(value, &a.value, err);
    if (r < 0) {
        free(key);
        return r;
    }
    a.text = mem_strdup(text);
    w->affinities[w->count++] = a;
    return 0;
}

static int parse_affinity(struct wishes *w, const char *text, struct err *err)
{
    const char *at = text + strcspn(text, "=!");
    if (at == text || !*at || at[1] != '=')
        return bad_form("affinity", text, err);
    bool soft = at[2] == '~';
    _cleanup_free_ char *whole = str_printf("affinity:%s", text);
    return add_affinity(w, whole, mem_strndup(text, (size_t)(at - text)), *at == '!', soft, at + 2 + soft,
                        err);
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

static int read_expressions(json_t *body, struct wishes *w, struct err *err)
{
    const json_t *labels = json_object_get(body, "Labels");
    _cleanup_strv_ char **constraints = NULL, **affinities = NULL, **more = NULL, **others = NULL;
    int r = take_environment(body, &constraints, &affinities, err);
    if (r == 0)
        r = take_list(labels, "com.docker.swarm.constraints", &more, err);
    if (r == 0)
        r = take_list(labels, "com.docker.swarm.affinities", &others, err);
    char **const lists[] = {constraints, more, affinities, others};
    for (size_t k = 0; r == 0 && k < ARRAY_SIZE(lists); k++)
        STRV_FOREACH (text, lists[k])
            if (r == 0)
                r = k < 2 ? add_constraint(w, *text, err) : parse_affinity(w, *text, err);
    return r;
}

static int add_dependency(struct wishes *w, const char *container, struct err *err)
{
    size_t n = strcspn(container, ":");
    _cleanup_free_ char *name = mem_strndup(container, n), *text = str_printf("container %s is there", name);
    return n ? add_affinity(w, text, mem_strdup("container"), false, false, name, err) : 0;
}

/* What is shared with another container is on its node. */
static int add_dependencies(const json_t *host, struct wishes *w, struct err *err)
{
    static const char *const modes[] = {"NetworkMode", "PidMode", "IpcMode"}, *const lists[] = {"VolumesFrom",
                                                                                                "Links"};
    const json_t *one;
    size_t i;
    int r = 0;
    for (size_t k = 0; r == 0 && k < ARRAY_SIZE(modes); k++) {
        const char *container = str_after(json_str(host, modes[k]), "container:");
        if (container)
            r = add_dependency(w, container, err);
    }
    for (size_t k = 0; k < ARRAY_SIZE(lists); k++)
        json_array_foreach (json_object_get(host, lists[k]), i, one)
            if (r == 0)
                r = add_dependency(w, json_string_value(one) ? json_string_value(one) : "", err);
    return r;
}

/* --- What a node's containers say --- */

static bool is_container(const struct affinity *a, const json_t *container, const char *node)
{
    const char *name = json_str(container, "Name");
    _cleanup_free_ char *whole = str_printf("%s/%s", node, name);
    return value_pattern_match(a->value, name) || value_pattern_match(a->value, whole) ||
           value_pattern_match(a->value, json_str(container, "Id"));
}

static bool is_labelled(const struct affinity *a, const json_t *container)
{
    const json_t *labels = json_object_get(container, "Labels");
    const json_t *label = json_object_get(labels, a->key);
    if (!label && str_eq(a->key, "service"))
        label = json_object_get(labels, "com.docker.swarm.service.name");
    return json_is_string(label) && value_pattern_match(a->value, json_string_value(label));
}

static bool is_of(const struct affinity *a, const json_t *container, const char *node)
{
    return str_eq(a->key, "container") ? is_container(a, container, node)
           : str_eq(a->key, "image")   ? value_pattern_match(a->value, json_str(container, "Image"))
                                       : is_labelled(a, container);
}

static bool holds(const struct affinity *a, const json_t *said, const char *node, const char *image)
{
    const json_t *one;
    size_t i;
    bool is = str_eq(a->key, "image") && json_bool(said, "Image") && value_pattern_match(a->value, image);
    json_array_foreach (json_object_get(said, "Containers"), i, one)
        is = is || is_of(a, one, node);
    return is != a->differs;
}

/* Of containers that are no tasks, which the leader knows by itself. */
static json_t *sum_up(const json_t *containers)
{
    json_t *ports = json_array(), *ids = json_array(), *one;
    int64_t tasks = 0, cpu = 0, memory = 0;
    size_t i;
    json_array_foreach ((json_t *)containers, i, one) {
        if (!json_bool(one, "Stays") ||
            json_object_get(json_object_get(one, "Labels"), "com.docker.swarm.task.id"))
            continue;
        tasks++;
        json_array_append(ids, json_object_get(one, "Id"));
        cpu += json_int(one, "NanoCPUs");
        memory += json_int(one, "MemoryBytes");
        json_array_extend(ports, json_object_get(one, "Ports"));
    }
    json_t *out = json_pack("{s:I, s:I, s:I, s:o, s:o}", "tasks", (json_int_t)tasks, "cpu", (json_int_t)cpu,
                            "memory", (json_int_t)memory, "ports", ports, "ids", ids);
    must(out);
    return out;
}

/* --- The request --- */

/* A network of the user's own is on some nodes only. */
static bool own_network(const char *network)
{
    static const char *const everywhere[] = {"", "default", "bridge", "host", "none", NULL};
    return !strv_has((char *const *)everywhere, network) && !strpbrk(network, ":/ \r\n?#%&+");
}

struct asking {
    struct gate *g;
    const struct wishes *w;
    const char *image, *network; /* the latter "" when it is everywhere */
    char **volumes;              /* by name */
};

/* Puts every node that answered below "nodes". */
static int add_nodes(const struct asking *a, json_t *request, struct err *err)
{
    struct answers all;
    json_t *nodes = json_object();
    size_t networks = 0;
    _cleanup_str_ struct str target = STR_INIT;
    str_addf(&target, "/drover/occupied?image=%s%s%s", a->image, *a->network ? "&network=" : "", a->network);
    STRV_FOREACH (volume, a->volumes)
        str_addf(&target, "&volume=%s", *volume);
    gate__ask_all(a->g, "GET", str_get(&target), NULL, &all);
    for (size_t i = 0; i < all.count; i++) {
        _cleanup_json_ json_t *said = gate__parsed(&all.list[i]);
        if (!said)
            continue;
        json_t *node = sum_up(json_object_get(said, "Containers")), *meets = json_array();
        for (size_t k = 0; k < a->w->count; k++)
            if (holds(&a->w->affinities[k], said, gate__node_name(all.list[i].node), a->image))
                json_array_append_new(meets, json_integer((json_int_t)k));
        if (json_bool(said, "Image"))
            json_array_append_new(meets, json_integer((json_int_t)a->w->count));
        if (json_bool(said, "Network")) {
            networks++;
            json_array_append_new(meets, json_integer((json_int_t)a->w->count + 1));
        }
        json_object_set(node, "volumes", json_object_get(said, "Volumes"));
        json_object_set_new(node, "image", json_boolean(json_bool(said, "Image")));
        json_object_set_new(node, "meets", meets);
        json_object_set_new(nodes, json_str(all.list[i].node, "ID"), node);
    }
    gate__answers_done(&all);
    json_object_set_new(request, "nodes", nodes);
    return *a->network && !networks ? err_set(err, ERR_NOT_FOUND, "network %s not found", a->network) : 0;
}

static json_t *marks_of(const struct asking *a)
{
    json_t *marks = json_array();
    for (size_t k = 0; k < a->w->count; k++)
        json_array_append_new(marks, json_pack("{s:s, s:b}", "text", a->w->affinities[k].text, "soft",
                                               (int)a->w->affinities[k].soft));
    /* Where it is not there, it may be nowhere to be had: it was built, or loaded. */
    json_array_append_new(marks, json_pack("{s:s, s:b}", "text", "the image is there", "soft", 1));
    if (*a->network)
        json_array_append_new(marks, json_pack("{s:o}", "text", json_sprintf("network %s", a->network)));
    return marks;
}

/* Fixed ports of the machine. */
static json_t *ports_of(const json_t *host)
{
    json_t *ports = json_array(), *list, *one;
    const char *inner;
    size_t i;
    json_object_foreach (json_object_get(host, "PortBindings"), inner, list) {
        const char *slash = strchr(inner, '/');
        json_array_foreach (list, i, one) {
            const char *port = json_str(one, "HostPort");
            if (*port && !port[strspn(port, "0123456789")])
                json_array_append_new(ports, json_sprintf("%s/%s", port, slash ? slash + 1 : "tcp"));
        }
    }
    return ports;
}

/* A volume that has a name is where it is: those of some nodes alone decide. */
static char **volumes_of(const json_t *host)
{
    char **names = NULL;
    const json_t *one;
    size_t i;
    json_array_foreach (json_object_get(host, "Binds"), i, one) {
        const char *text = json_string_value(one) ? json_string_value(one) : "", *colon = strchr(text, ':');
        if (colon)
            strv_take(&names, mem_strndup(text, (size_t)(colon - text)));
    }
    json_array_foreach (json_object_get(host, "Mounts"), i, one)
        if (str_eq(json_str(one, "Type"), "volume"))
            strv_add(&names, json_str(one, "Source"));
    char **good = NULL;
    STRV_FOREACH (name, names)
        if (**name && !strpbrk(*name, "/ \r\n?#%&+") && !strv_has(good, *name))
            strv_add(&good, *name);
    strv_free(names);
    return good;
}

static json_t *strings(char *const *list)
{
    json_t *out = json_array();
    STRV_FOREACH (one, (char **)list)
        json_array_append_new(out, json_string(*one));
    return out;
}

static void add_platform(json_t *request, const char *platform)
{
    const char *slash = platform ? strchr(platform, '/') : NULL;
    if (!slash)
        return;
    _cleanup_free_ char *os = mem_strndup(platform, (size_t)(slash - platform)),
                        *architecture = mem_strndup(slash + 1, strcspn(slash + 1, "/"));
    json_set_str(request, "os", os);
    json_set_str(request, "architecture", architecture);
}

static json_t *make_request(const struct asking *a, const json_t *body)
{
    const json_t *host = json_object_get(body, "HostConfig"), *labels = json_object_get(body, "Labels");
    int64_t cpu, memory;
    engine_reservations(host, &cpu, &memory);
    json_t *request = json_pack("{s:O, s:o, s:o, s:I, s:I, s:s, s:o, s:s, s:s}", "constraints",
                                a->w->constraints, "marks", marks_of(a), "volumes", strings(a->volumes),
                                "cpu", (json_int_t)cpu, "memory", (json_int_t)memory, "image", a->image,
                                "ports", ports_of(host), "strategy", json_str(labels, CLUSTER_STRATEGY_LABEL),
                                "options", json_str(labels, CLUSTER_STRATEGY_LABEL ".options"));
    must(request);
    add_platform(request, http_query(a->g->q, "platform"));
    return request;
}

/* Once more, while others are being made: the room that they hold may turn out to be free. */
static int ask(const struct asking *a, json_t *request, json_t **ret, struct err *err)
{
    for (int i = 0;; i++) {
        json_t *answer = NULL;
        int r = add_nodes(a, request, err);
        if (r == 0)
            r = place_alone__ask(a->g->c, request, &answer, err);
        if (r < 0)
            return r;
        if (!*json_str(answer, "refused")) {
            *ret = answer;
            return 0;
        }
        if (!json_int(answer, "held") || i == AGAIN_MAX)
            r = err_set(err, ERR_UNAVAILABLE, "%s", json_str(answer, "refused"));
        json_decref(answer);
        if (r < 0)
            return r;
        time_sleep_ns(AGAIN_MS * NS_PER_MS);
    }
}

static int place(struct gate *g, json_t *body, const char *image, struct wishes *w, const json_t **ret,
                 int64_t *ret_hold, struct err *err)
{
    const char *network = json_str(json_object_get(body, "HostConfig"), "NetworkMode");
    _cleanup_strv_ char **volumes = volumes_of(json_object_get(body, "HostConfig"));
    const struct asking a = {g, w, image, own_network(network) ? network : "", volumes};
    _cleanup_json_ json_t *request = make_request(&a, body), *answer = NULL;
    int r = ask(&a, request, &answer, err);
    if (r < 0)
        return r;
    *ret = gate__node(g, json_str(answer, "node"));
    *ret_hold = json_int(answer, "hold");
    return *ret ? 0 : err_set(err, ERR_UNAVAILABLE, "the node that was chosen has left the swarm: try again");
}

int gate__place(struct gate *g, json_t *body, const json_t **ret, int64_t *ret_hold, struct err *err)
{
    struct wishes *w = NEW(struct wishes);
    const char *image = "";
    w->constraints = json_array();
    int r = json_get_string(body, "", "Image", &image, err);
    if (r == 0)
        r = read_expressions(body, w, err);
    if (r == 0 && strpbrk(image, " \r\n?#%&+"))
        r = err_set(err, ERR_INVALID, "invalid reference format: \"%.200s\"", image);
    if (r == 0)
        r = add_dependencies(json_object_get(body, "HostConfig"), w, err);
    if (r == 0)
        r = place(g, body, image, w, ret, ret_hold, err);
    wishes_done(w);
    free(w);
    return r;
}
