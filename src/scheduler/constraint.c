#include "scheduler/constraint.h"

#include "base/str.h"
#include "scheduler/scheduler.h"

#include <ctype.h>

static const struct {
    const char *name; /* ends with a dot: a label's key follows */
    enum attribute attribute;
} swarm_keys[] = {
    {"node.id", ATTRIBUTE_ID},
    {"node.hostname", ATTRIBUTE_NAME},
    {"node.ip", ATTRIBUTE_ADDRESS},
    {"node.role", ATTRIBUTE_ROLE},
    {"node.platform.os", ATTRIBUTE_OS},
    {"node.platform.arch", ATTRIBUTE_ARCHITECTURE},
    {"node.labels.", ATTRIBUTE_NODE_LABEL},
    {"engine.labels.", ATTRIBUTE_ENGINE_LABEL},
};

static int key_parse(const char *text, const char *key, struct constraint *c, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(swarm_keys); i++) {
        const char *name = swarm_keys[i].name;
        bool label = str_ends_with(name, ".");
        if (label ? strncasecmp(key, name, strlen(name)) != 0 || !key[strlen(name)]
                  : strcasecmp(key, name) != 0)
            continue;
        c->attribute = swarm_keys[i].attribute;
        c->key = label ? mem_strdup(key + strlen(name)) : NULL;
        return 0;
    }
    return err_set(err, ERR_INVALID,
                   "\"%s\": \"%s\" is not known; there are node.id, node.hostname, node.ip, node.role, "
                   "node.platform.os, node.platform.arch, node.labels.KEY and engine.labels.KEY",
                   text, key);
}

static int network_parse(struct constraint *c, struct err *err)
{
    if (strchr(c->value, '/') && !address_range_parse(c->value, &c->network))
        return err_set(err, ERR_INVALID, "\"%s\": %s is not a network like 10.0.0.0/8", c->text, c->value);
    return 0;
}

/* Splits at the operator: *ret_key stripped, the value and its flags in `c`. */
static int expression_split(const char *text, struct constraint *c, char **ret_key, struct err *err)
{
    if (strlen(text) > SCHED_TEXT_MAX)
        return err_set(err, ERR_LIMIT, "an expression is longer than %d bytes: \"%.40s...\"", SCHED_TEXT_MAX,
                       text);
    const char *equal = strstr(text, "=="), *differ = strstr(text, "!=");
    const char *at = equal && (!differ || equal < differ) ? equal : differ;
    if (!at)
        return err_set(err, ERR_INVALID, "\"%s\" has neither == nor !=", text);
    _cleanup_free_ char *left = mem_strndup(text, (size_t)(at - text));
    char *key = str_strip(left);
    c->negate = at == differ;
    c->soft = at[2] == '~';
    c->value = str_strip(at + 2 + c->soft);
    if (!*key || !*c->value) {
        int r = err_set(err, ERR_INVALID, "\"%s\" has nothing %s %.2s", text, *key ? "after" : "before", at);
        free(key);
        return r;
    }
    *ret_key = key;
    return 0;
}

static int fill_constraint(struct constraint *c, struct err *err)
{
    const char *classic = str_after(c->text, "constraint:");
    _cleanup_free_ char *key = NULL;
    int r = expression_split(classic ? classic : c->text, c, &key, err);
    if (r < 0)
        return r;
    if (!classic || strncasecmp(key, "node.", 5) == 0 || strncasecmp(key, "engine.labels.", 14) == 0) {
        if ((r = key_parse(c->text, key, c, err)) < 0)
            return r;
        if (c->attribute == ATTRIBUTE_ADDRESS && (r = network_parse(c, err)) < 0)
            return r;
    } else if (strcmp(key, "node") == 0) {
        c->attribute = ATTRIBUTE_NODE;
    } else {
        c->attribute = ATTRIBUTE_LABEL;
        c->key = take_ptr(key);
    }
    if (c->attribute == ATTRIBUTE_ARCHITECTURE && !classic) {
        const char *normal = platform_architecture(c->value);
        if (normal != c->value) {
            free(c->value);
            c->value = mem_strdup(normal);
        }
    }
    if (classic && c->network.bits < 0 && !value_pattern_is_literal(c->value)) {
        r = value_pattern_new(c->value, &c->pattern, err);
        return r < 0 ? err_wrap(err, "\"%s\"", c->text) : 0;
    }
    return 0;
}

static int finish(struct constraint *c, int r, struct constraint *ret)
{
    if (r < 0)
        constraint_done(c);
    else
        *ret = *c;
    return r;
}

int constraint_parse(const char *text, struct constraint *ret, struct err *err)
{
    struct constraint c = {.text = mem_strdup(text), .network.bits = -1};
    return finish(&c, fill_constraint(&c, err), ret);
}

static int fill_affinity(struct constraint *c, struct err *err)
{
    const char *rest = str_after(c->text, "affinity:");
    _cleanup_free_ char *key = NULL;
    int r = expression_split(rest ? rest : c->text, c, &key, err);
    if (r < 0)
        return r;
    if (strcmp(key, "service") == 0 || strcmp(key, "container") == 0)
        c->attribute = ATTRIBUTE_SERVICE;
    else if (strcmp(key, "image") == 0)
        c->attribute = ATTRIBUTE_IMAGE;
    else
        return err_set(err, ERR_INVALID, "\"%s\": an affinity is to a service or an image, not to \"%s\"",
                       c->text, key);
    if (!value_pattern_is_literal(c->value)) {
        r = value_pattern_new(c->value, &c->pattern, err);
        return r < 0 ? err_wrap(err, "\"%s\"", c->text) : 0;
    }
    return 0;
}

int affinity_parse(const char *text, struct constraint *ret, struct err *err)
{
    struct constraint c = {.text = mem_strdup(text), .network.bits = -1};
    return finish(&c, fill_affinity(&c, err), ret);
}

int preference_parse(const char *text, struct constraint *ret, struct err *err)
{
    struct constraint c = {.text = mem_strdup(text), .network.bits = -1};
    const char *rest = str_after(text, "spread=");
    int r;
    if (strlen(text) > SCHED_TEXT_MAX)
        r = err_set(err, ERR_LIMIT, "a placement preference is longer than %d bytes", SCHED_TEXT_MAX);
    else
        r = key_parse(text, rest ? rest : text, &c, err);
    if (r == 0 && c.attribute == ATTRIBUTE_ADDRESS)
        r = err_set(err, ERR_INVALID,
                    "\"%s\": spread over node.id or node.hostname to count each node for itself", text);
    return finish(&c, r, ret);
}

void constraint_done(struct constraint *c)
{
    free(c->text);
    free(c->key);
    free(c->value);
    value_pattern_free(c->pattern);
    *c = (struct constraint){0};
}

static bool network_has(const struct constraint *c, const char *address)
{
    uint8_t bytes[ADDRESS_BYTES];
    return address_parse(address, bytes) && address_range_has(&c->network, bytes);
}

bool constraint_value_fits(const struct constraint *c, const char *value)
{
    value = value ? value : "";
    if (c->network.bits >= 0)
        return network_has(c, value);
    if (c->pattern)
        return value_pattern_match(c->pattern, value);
    if (c->attribute == ATTRIBUTE_SERVICE || c->attribute == ATTRIBUTE_IMAGE)
        return strcmp(c->value, value) == 0;
    return strcasecmp(c->value, value) == 0;
}

const char *platform_architecture(const char *name)
{
    static const char *const names[][2] = {
        {"x86_64", "amd64"}, {"x86-64", "amd64"}, {"aarch64", "arm64"}, {"armhf", "arm"},
        {"armv7l", "arm"},   {"i386", "386"},     {"i686", "386"},      {"armel", "arm"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcasecmp(name, names[i][0]) == 0)
            return names[i][1];
    return name;
}
