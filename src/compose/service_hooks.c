/* What is done to a running container of a service: post_start, pre_stop, develop.watch. */
#include "compose/project_priv.h"

#include "base/json.h"

static json_t *hook_body(struct building *b, const struct yaml_node *node)
{
    const struct yaml_node *command = yaml_get(node, "command"), *env = yaml_get(node, "environment");
    json_t *body = json_pack("{s:b, s:b, s:b, s:o}", "AttachStdout", 1, "AttachStderr", 1, "Privileged",
                             node_bool(node, "privileged"), "Cmd", node_strings(command));
    if (!command || !command->count)
        problem_add(b->problems, node, "has no \"command\"");
    if (*yaml_text(node, "user"))
        json_set_str(body, "User", yaml_text(node, "user"));
    if (*yaml_text(node, "working_dir"))
        json_set_str(body, "WorkingDir", yaml_text(node, "working_dir"));
    json_t *list = json_array();
    for (size_t i = 0; env && i < env->count; i++) {
        const struct yaml_node *value = env->pairs[i].value;
        const char *text = value->type == YAML_SCALAR ? value->text : "";
        json_array_append_new(list, json_string(yaml_printf(b->arena, "%s=%s", env->pairs[i].key, text)));
    }
    if (env)
        json_object_set(body, "Env", list);
    json_decref(list);
    return body;
}

static struct compose_hook *read_hooks(struct building *b, const struct compose_service *s, const char *key,
                                       size_t *ret_count)
{
    const struct yaml_node *list = yaml_get(s->node, key);
    struct compose_hook *hooks = yaml_alloc(b->arena, ((list ? list->count : 0) + 1) * sizeof(*hooks));
    for (size_t i = 0; list && i < list->count; i++)
        hooks[(*ret_count)++].body = hook_body(b, list->items[i]);
    return hooks;
}

static void check_rule(struct building *b, const struct compose_service *s, const struct compose_watch *w)
{
    bool syncs = str_after(w->action, "sync");
    if (!*w->path || !*w->action)
        problem_add(b->problems, w->node, "has no \"%s\"", *w->path ? "action" : "path");
    if (syncs && *w->target != '/')
        problem_add(b->problems, w->node, "%s needs an absolute \"target\"", w->action);
    if (strcmp(w->action, "rebuild") == 0 && !s->has_build)
        problem_add(b->problems, w->node, "rebuild needs a \"build\" key");
    if (strcmp(w->action, "sync+exec") == 0 && !w->exec)
        problem_add(b->problems, w->node, "sync+exec needs \"exec\"");
}

static void read_watch(struct building *b, struct compose_service *s)
{
    const struct yaml_node *list = yaml_get(yaml_get(s->node, "develop"), "watch");
    s->watch = yaml_alloc(b->arena, ((list ? list->count : 0) + 1) * sizeof(*s->watch));
    for (size_t i = 0; list && i < list->count; i++) {
        const struct yaml_node *node = list->items[i], *exec = yaml_get(node, "exec");
        struct compose_watch *w = &s->watch[s->watch_count++];
        *w = (struct compose_watch){.node = node,
                                    .path = yaml_text(node, "path"),
                                    .action = yaml_text(node, "action"),
                                    .target = yaml_text(node, "target"),
                                    .ignore = node_strv(yaml_get(node, "ignore")),
                                    .include = node_strv(yaml_get(node, "include")),
                                    .initial_sync = node_bool(node, "initial_sync")};
        if (exec) {
            struct compose_hook *hook = yaml_alloc(b->arena, sizeof(*hook));
            hook->body = hook_body(b, exec);
            w->exec = hook;
        }
        check_rule(b, s, w);
    }
}

void service_read_hooks(struct building *b, struct compose_service *s)
{
    s->post_start = read_hooks(b, s, "post_start", &s->post_start_count);
    s->pre_stop = read_hooks(b, s, "pre_stop", &s->pre_stop_count);
    read_watch(b, s);
}
