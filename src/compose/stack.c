/* The whole of a stack: its networks, secrets and configs, and its services in the order of their
 * dependencies. */
#include "compose/stack.h"

#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "compose/render.h"

enum { DATA_MAX = 1000 * 1024 };

static void items_done(struct stack_item *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].name);
        json_decref(list[i].body);
    }
    free(list);
}

void compose_stack_done(struct stack *s)
{
    items_done(s->networks, s->network_count);
    items_done(s->secrets, s->secret_count);
    items_done(s->configs, s->config_count);
    for (size_t i = 0; i < s->service_count; i++) {
        free(s->services[i].name);
        json_decref(s->services[i].spec);
    }
    free(s->services);
    *s = (struct stack){0};
}

static json_t *labels_with(const struct compose_project *p, const json_t *given)
{
    json_t *out = json_is_object(given) ? json_copy((json_t *)given) : json_object();
    json_set_str(out, STACK_LABEL, p->name);
    return out;
}

/* --- Networks --- */

static json_t *ipam_of(const json_t *given)
{
    json_t *out = json_object(), *list = json_array(), *one;
    size_t i;
    const char *driver = json_str(given, "driver");
    if (*driver)
        json_set_str(out, "Driver", driver);
    json_array_foreach (json_object_get(given, "config"), i, one) {
        json_t *config = json_object();
        static const char *const names[][2] = {
            {"subnet", "Subnet"}, {"gateway", "Gateway"}, {"ip_range", "IPRange"}};
        for (size_t n = 0; n < ARRAY_SIZE(names); n++)
            if (*json_str(one, names[n][0]))
                json_set_str(config, names[n][1], json_str(one, names[n][0]));
        json_array_append_new(list, config);
    }
    if (json_array_size(list))
        json_object_set(out, "Config", list);
    json_decref(list);
    return out;
}

static bool is_used(const struct compose_project *p, const char *key)
{
    for (size_t i = 0; i < p->network_count; i++)
        if (str_eq(p->networks[i].key, key))
            return p->networks[i].used;
    return false;
}

static void add_networks(const struct compose_project *p, const json_t *document, struct stack *ret,
                         struct str *problems)
{
    json_t *networks = json_object_get(document, "networks"), *n;
    const char *key;
    ret->networks = NEW_N(struct stack_item, json_object_size(networks) + 1);
    json_object_foreach (networks, key, n) {
        const char *driver = json_str(n, "driver");
        if (json_bool(n, "external") || !is_used(p, key))
            continue;
        if (*driver && !str_eq(driver, "bridge") && !str_eq(driver, "overlay"))
            str_addf(problems, "networks.%s.driver: \"%.50s\" is not for services of a swarm\n", key, driver);
        json_t *body = json_pack(
            "{s:s, s:s, s:o, s:o, s:b, s:b}", "Name", json_str(n, "name"), "Driver", "overlay", "Labels",
            labels_with(p, json_object_get(n, "labels")), "IPAM", ipam_of(json_object_get(n, "ipam")),
            "Internal", (int)json_bool(n, "internal"), "Attachable", (int)json_bool(n, "attachable"));
        must(body);
        if (json_object_size(json_object_get(n, "driver_opts")))
            json_object_set(body, "Options", json_object_get(n, "driver_opts"));
        ret->networks[ret->network_count++] = (struct stack_item){mem_strdup(json_str(n, "name")), body};
    }
}

/* --- Secrets and configs --- */

static int read_data(const json_t *given, const struct map *environ, struct str *ret, struct err *err)
{
    const char *file = json_str(given, "file"), *variable = json_str(given, "environment");
    const json_t *content = json_object_get(given, "content");
    if (*file)
        return file_read(file, DATA_MAX, ret, err);
    const char *text = *variable ? map_get(environ, variable) : json_string_value(content);
    if (!text)
        return err_set(err, ERR_NOT_FOUND, "the variable %.100s is not set", variable);
    str_add(ret, text);
    return 0;
}

static bool any_uses(const struct compose_project *p, const json_t *document, const char *section,
                     const char *key)
{
    for (size_t i = 0; i < p->service_count; i++) {
        const json_t *s = json_object_get(json_object_get(document, "services"), p->services[i].name);
        json_t *one;
        size_t j;
        json_array_foreach (json_object_get(s, section), j, one)
            if (p->services[i].active && str_eq(json_str(one, "source"), key))
                return true;
    }
    return false;
}

static struct stack_item *add_files(const struct compose_project *p, const json_t *document,
                                    const char *section, const struct map *environ, bool read,
                                    size_t *ret_count, struct str *problems)
{
    json_t *things = json_object_get(document, section), *thing;
    const char *key;
    struct stack_item *list = NEW_N(struct stack_item, json_object_size(things) + 1);
    *ret_count = 0;
    json_object_foreach (things, key, thing) {
        _cleanup_str_ struct str data = STR_INIT;
        struct err err;
        if (json_bool(thing, "external") || !any_uses(p, document, section, key))
            continue;
        json_t *body = json_pack("{s:s, s:o}", "Name", json_str(thing, "name"), "Labels",
                                 labels_with(p, json_object_get(thing, "labels")));
        must(body);
        if (read && read_data(thing, environ, &data, &err) < 0)
            str_addf(problems, "%s.%s: %s\n", section, key, err.msg);
        _cleanup_free_ char *text = base64_encode(str_get(&data), data.len);
        if (read)
            json_set_str(body, "Data", text);
        list[(*ret_count)++] = (struct stack_item){mem_strdup(json_str(thing, "name")), body};
    }
    return list;
}

/* --- The whole --- */

static int document_of(const struct compose_project *p, json_t **ret, struct err *err)
{
    const struct render_options options = {.json = true};
    _cleanup_str_ struct str text = STR_INIT;
    render_format_json(compose_render(p, &options), 0, &text);
    return json_parse(str_get(&text), text.len, "the rendered Compose file", ret, err);
}

static void add_services(const struct compose_project *p, const json_t *document, struct stack *ret,
                         struct str *problems)
{
    ret->services = NEW_N(struct stack_service, p->service_count + 1);
    for (int depth = 0; depth <= p->max_depth; depth++)
        for (size_t i = 0; i < p->service_count; i++) {
            const struct compose_service *s = &p->services[i];
            if (!s->active || s->depth != depth)
                continue;
            ret->services[ret->service_count++] = (struct stack_service){
                s, str_printf("%s_%s", p->name, s->name), compose__stack_spec(p, s, document, problems)};
        }
}

int compose_stack(const struct compose_project *p, const struct map *environ, bool read_files,
                  struct stack *ret, struct str *ret_problems, struct err *err)
{
    _cleanup_json_ json_t *document = NULL;
    struct stack s = {0};
    int r = document_of(p, &document, err);
    if (r < 0)
        return r;
    add_networks(p, document, &s, ret_problems);
    s.secrets = add_files(p, document, "secrets", environ, read_files, &s.secret_count, ret_problems);
    s.configs = add_files(p, document, "configs", environ, read_files, &s.config_count, ret_problems);
    add_services(p, document, &s, ret_problems);
    if (ret_problems->len) {
        compose_stack_done(&s);
        return err_set(err, ERR_INVALID, "the project cannot be deployed as services of a swarm");
    }
    *ret = s;
    return 0;
}
