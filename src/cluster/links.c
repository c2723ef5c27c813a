/* The label sh.drover.links: addresses of other services as environment variables, in the names that Fig gave
 * them ("DB_1_PORT_5432_TCP_ADDR"). Its words are [NAME=]SERVICE[:PORT[/PROTOCOL]], with spaces or commas
 * between them; without a port, those that the service publishes. A service of the same stack may be named
 * without the stack. They are what the addresses are when a task is made. */
#include "cluster/cluster_priv.h"

#include <ctype.h>

#define LINKS_LABEL "sh.drover.links"
enum { WORDS_MAX = 64, NAME_MAX_BYTES = 63 };

struct link {
    char name[NAME_MAX_BYTES + 1]; /* of the variables */
    const struct service *to;
    int64_t port; /* 0: its own */
    char protocol[8];
    char address[64];
};

static int bad(struct err *err, const char *word, const char *why)
{
    return err_set(err, ERR_INVALID, "label " LINKS_LABEL ": \"%.100s\": %s", word, why);
}

static const struct service *find(struct cluster *c, const json_t *labels, const char *name)
{
    const char *stack = json_str(labels, "com.docker.stack.namespace");
    _cleanup_free_ char *within = str_printf("%s_%s", stack, name);
    const struct service *s = map_get(&c->names[CLUSTER_SERVICE], name);
    return s || !*stack ? s : map_get(&c->names[CLUSTER_SERVICE], within);
}

static void set_name(struct link *l, const char *text)
{
    snprintf(l->name, sizeof(l->name), "%s", text);
    for (char *at = l->name; *at; at++)
        *at = isalnum((unsigned char)*at) ? (char)toupper((unsigned char)*at) : '_';
}

/* Where the service is reached on a network that both are on. */
static bool set_address(struct link *l, const json_t *networks)
{
    json_t *one;
    size_t i;
    json_array_foreach ((json_t *)networks, i, one) {
        const char *own = json_str(l->to->addresses, json_str(one, "Target"));
        if (!*own)
            continue;
        snprintf(l->address, sizeof(l->address), "%.*s", (int)strcspn(own, "/"), own);
        return true;
    }
    return false;
}

static int read_port(struct link *l, const char *word, const char *text, struct err *err)
{
    static const char *const protocols[] = {"tcp", "udp", "sctp", NULL};
    size_t digits = strcspn(text, "/");
    _cleanup_free_ char *number = mem_strndup(text, digits);
    snprintf(l->protocol, sizeof(l->protocol), "%s", text[digits] ? text + digits + 1 : "tcp");
    if (parse_i64(number, 1, 65535, &l->port, NULL) < 0 || !strv_has((char *const *)protocols, l->protocol))
        return bad(err, word, "its port must be from 1 to 65535, with /tcp, /udp or /sctp");
    return 0;
}

static int read_link(struct cluster *c, const json_t *spec, const char *word, struct link *ret,
                     struct err *err)
{
    const char *equals = strchr(word, '='), *service = equals ? equals + 1 : word;
    const char *colon = strchr(service, ':');
    _cleanup_free_ char *given = mem_strndup(word, equals ? (size_t)(equals - word) : 0),
                        *name = mem_strndup(service, colon ? (size_t)(colon - service) : strlen(service));
    *ret = (struct link){.protocol = "tcp"};
    if (strlen(*given ? given : name) > NAME_MAX_BYTES || !*name)
        return bad(err, word, "a link is [NAME=]SERVICE[:PORT[/PROTOCOL]]");
    set_name(ret, *given ? given : name);
    ret->to = find(c, json_object_get(spec, "Labels"), name);
    if (!ret->to)
        return bad(err, word, "there is no such service; what it links to is made first");
    if (!set_address(ret, service__networks(spec)))
        return bad(err, word, "the two services have no network in common on which it has a virtual address");
    int r = colon ? read_port(ret, word, colon + 1, err) : 0;
    return r == 0 && !colon && !json_array_size(ret->to->ports)
               ? bad(err, word, "it publishes no port: name one after a colon")
               : r;
}

static void put_variables(const struct link *l, const char *form, int64_t port, const char *protocol,
                          bool first, json_t *env)
{
    _cleanup_free_ char *prefix = str_printf(form, l->name),
                        *url = str_printf("%s://%s:%lld", protocol, l->address, (long long)port),
                        *upper = mem_strdup(protocol);
    for (char *at = upper; *at; at++)
        *at = (char)toupper((unsigned char)*at);
    _cleanup_free_ char *one = str_printf("%s_PORT_%lld_%s", prefix, (long long)port, upper);
    _cleanup_strv_ char **lines = NULL;
    if (first)
        strv_take(&lines, str_printf("%s_PORT=%s", prefix, url));
    strv_take(&lines, str_printf("%s=%s", one, url));
    strv_take(&lines, str_printf("%s_ADDR=%s", one, l->address));
    strv_take(&lines, str_printf("%s_PORT=%lld", one, (long long)port));
    strv_take(&lines, str_printf("%s_PROTO=%s", one, protocol));
    STRV_FOREACH (line, lines)
        json_array_append_new(env, json_string(*line));
}

static void add_port(const struct link *l, int64_t port, const char *protocol, bool first, json_t *env)
{
    put_variables(l, "%s", port, protocol, first, env);
    put_variables(l, "%s_1", port, protocol, first, env); /* Fig's first container of a service */
}

static void add_link(const struct link *l, bool first, json_t *env)
{
    json_t *one;
    size_t i;
    if (l->port) {
        add_port(l, l->port, l->protocol, first, env);
        return;
    }
    json_array_foreach (l->to->ports, i, one)
        add_port(l, json_int(one, "TargetPort"), json_str(one, "Protocol"), first && i == 0, env);
}

/* `env`: NULL to look only. */
static int each_link(struct cluster *c, const json_t *spec, json_t *env, struct err *err)
{
    const char *text = json_str(json_object_get(spec, "Labels"), LINKS_LABEL);
    _cleanup_free_ char *spaced = mem_strdup(text);
    for (char *at = spaced; *at; at++)
        *at = *at == ',' || *at == '\n' ? ' ' : *at;
    _cleanup_strv_ char **words = strv_split(spaced, ' ');
    char last[NAME_MAX_BYTES + 1] = "";
    int r = 0, count = 0;
    STRV_FOREACH (word, words) {
        struct link l;
        if (r < 0 || !**word)
            continue;
        if (++count > WORDS_MAX)
            return err_set(err, ERR_LIMIT, "label " LINKS_LABEL " has more than %d links", WORDS_MAX);
        r = read_link(c, spec, *word, &l, err);
        if (r == 0 && env) {
            add_link(&l, !str_eq(last, l.name), env);
            snprintf(last, sizeof(last), "%s", l.name);
        } else if (env)
            r = 0; /* a service that is gone by now gives no variables */
    }
    return r;
}

int links__check(struct cluster *c, const json_t *spec, struct err *err)
{
    return each_link(c, spec, NULL, err);
}

json_t *links__into(struct cluster *c, const json_t *spec)
{
    json_t *template = json_object_get(spec, "TaskTemplate");
    if (!*json_str(json_object_get(spec, "Labels"), LINKS_LABEL))
        return json_incref(template);
    json_t *out = json_copy_tree(template), *container = json_object_get(out, "ContainerSpec");
    json_t *env = json_array();
    (void)each_link(c, spec, env, &(struct err){0});
    json_array_extend(env, json_object_get(container, "Env")); /* what the service says itself comes last */
    json_object_set_new(container, "Env", env);
    return out;
}
