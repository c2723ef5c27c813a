/* `drover run SERVICE`: a container of a project's service of its own, beside those that run. */
#include "base/digest.h"
#include "cli/call.h"
#include "cli/project.h"
#include "cli/run_priv.h"
#include "cli/up.h"

#include <unistd.h>

/* A short word that tells containers of the same service apart. */
static void make_slug(char out[13])
{
    char id[65];
    digest_random_id(id);
    snprintf(out, 13, "%.12s", id);
}

static void put_over(json_t *list, const char *item)
{
    size_t n = strcspn(item, "="), i;
    json_t *old;
    json_array_foreach (list, i, old)
        if (strncmp(json_string_value(old), item, n) == 0 && json_string_value(old)[n] == '=') {
            json_array_set_new(list, i, json_string(item));
            return;
        }
    json_array_append_new(list, json_string(item));
}

static int add_to_service(const struct run_options *o, char **words, json_t *body, struct err *err)
{
    json_t *host = json_object_get(body, "HostConfig"), *labels = json_object_get(body, "Labels");
    _cleanup_json_ json_t *own = json_object(), *own_host = json_object();
    size_t i;
    json_t *item;
    const char *key;
    int r = run__add_given(o, own, own_host, err);
    if (r < 0)
        return r;
    json_array_foreach (json_object_get(own, "Env"), i, item)
        put_over(json_object_get(body, "Env"), json_string_value(item));
    /* The service's own ports may be taken by its own containers. */
    if (!o->publish_all)
        json_object_set(host, "PortBindings", json_object_get(own_host, "PortBindings"));
    if (!json_object_get(host, "Binds"))
        json_object_set_new(host, "Binds", json_array());
    json_array_extend(json_object_get(host, "Binds"), json_object_get(own_host, "Binds"));
    json_object_foreach (json_object_get(own, "ExposedPorts"), key, item) {
        if (!json_object_get(body, "ExposedPorts"))
            json_object_set_new(body, "ExposedPorts", json_object());
        json_object_set(json_object_get(body, "ExposedPorts"), key, item);
    }
    _cleanup_json_ json_t *more_labels = run__labels(o);
    json_object_update(labels, more_labels);
    if (words[1])
        json_object_set_new(body, "Cmd", json_of_strv(words + 1));
    if (o->entrypoint)
        json_object_set_new(body, "Entrypoint",
                            *o->entrypoint ? json_pack("[s]", o->entrypoint) : json_array());
    if (o->entrypoint && !words[1])
        json_object_del(body, "Cmd");
    run__add_identity(o, body, host);
    return 0;
}

static json_t *service_body(const struct run_options *o, const struct compose_service *s,
                            const char *image_id, const char *slug)
{
    json_t *body = compose_plan_container_body(s, 1, image_id), *labels = json_object_get(body, "Labels");
    json_t *host = json_object_get(body, "HostConfig");
    bool input = o->interactive && !o->detach;
    json_set_str(labels, COMPOSE_LABEL_ONEOFF, "True");
    json_set_str(labels, "com.docker.compose.slug", slug);
    json_object_del(labels, COMPOSE_LABEL_NUMBER);
    json_object_del(body, "Healthcheck");
    json_object_del(host, "RestartPolicy");
    json_object_set_new(host, "AutoRemove", json_boolean(o->remove));
    json_object_set_new(body, "Tty", json_boolean(o->tty));
    json_object_set_new(body, "OpenStdin", json_boolean(input));
    json_object_set_new(body, "StdinOnce", json_boolean(input));
    json_object_set_new(body, "AttachStdin", json_boolean(input));
    json_object_set_new(body, "AttachStdout", json_boolean(!o->detach));
    json_object_set_new(body, "AttachStderr", json_boolean(!o->detach));
    return body;
}

/* Who asks for the service is to find its long-running containers, not this one. */
static void forget_aliases(const struct compose_service *s, json_t *body)
{
    const char *network;
    json_t *endpoint;
    json_object_foreach (s->endpoints, network, endpoint)
        json_object_set_new(endpoint, "Aliases", json_array());
    json_object_foreach (json_object_get(json_object_get(body, "NetworkingConfig"), "EndpointsConfig"),
                         network, endpoint)
        json_object_set_new(endpoint, "Aliases", json_array());
}

static int create_of_service(const struct run_options *o, struct compose_project *p,
                             struct compose_service *s, char **words, char **ret_id, struct err *err)
{
    char slug[13];
    _cleanup_json_ json_t *image = NULL;
    _cleanup_free_ char *escaped = cli_escape(s->image), *name = NULL;
    int r = cli_get(&image, err, "/images/%s/json", escaped);
    if (r < 0)
        return r;
    make_slug(slug);
    _cleanup_json_ json_t *body = service_body(o, s, json_str(image, "Id"), slug);
    name = o->name ? mem_strdup(o->name) : str_printf("%s-%s-run-%s", p->name, s->name, slug);
    r = add_to_service(o, words, body, err);
    if (!o->use_aliases)
        forget_aliases(s, body);
    return r < 0 ? r : project_create_container(s, body, name, ret_id, err);
}

int run__service(struct run_options *o, struct compose_project *p, struct compose_service *s, char **words)
{
    struct err err;
    _cleanup_free_ char *id = NULL;
    int status = up_around(p, s, o->build, o->remove_orphans);
    if (status)
        return status;
    if (cli_dry_run)
        return run__would("Service", s->name, words);
    if (!o->detach && !o->no_tty && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO))
        o->tty = true;
    o->interactive = !o->detach;
    if (create_of_service(o, p, s, words, &id, &err) < 0) {
        cli_fail(&err);
        return STATUS_FAILED;
    }
    return run__start(o, id);
}
