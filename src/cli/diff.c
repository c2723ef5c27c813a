/* drover diff: what differs between what is deployed and the Compose files, or between two sets of files. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/placement.h"
#include "cli/stack.h"
#include "cli/verbs.h"
#include "deploy/changes.h"

/* {"service web": SPEC, "network front": {}, ...} */

static void forget_ids(json_t *spec)
{
    json_t *container = json_object_get(json_object_get(spec, "TaskTemplate"), "ContainerSpec"), *one;
    size_t i;
    json_array_foreach (json_object_get(container, "Secrets"), i, one)
        json_set_str(one, "SecretID", "");
    json_array_foreach (json_object_get(container, "Configs"), i, one)
        json_set_str(one, "ConfigID", "");
}

static void name_networks(json_t *spec, const json_t *networks)
{
    json_t *one, *network;
    size_t i, j;
    json_array_foreach (json_object_get(json_object_get(spec, "TaskTemplate"), "Networks"), i, one)
        json_array_foreach ((json_t *)networks, j, network)
            if (str_eq(json_str(network, "Id"), json_str(one, "Target")))
                json_set_str(one, "Target", json_str(network, "Name"));
}

static void add(json_t *to, const char *kind, const char *name, json_t *value)
{
    _cleanup_free_ char *key = str_printf("%s %s", kind, name);
    json_object_set_new(to, key, value);
}

static json_t *of_files(const struct stack *s)
{
    json_t *out = json_object();
    for (size_t i = 0; i < s->network_count; i++)
        add(out, "network", s->networks[i].name, json_object());
    for (size_t i = 0; i < s->secret_count; i++)
        add(out, "secret", s->secrets[i].name, json_object());
    for (size_t i = 0; i < s->config_count; i++)
        add(out, "config", s->configs[i].name, json_object());
    for (size_t i = 0; i < s->service_count; i++)
        add(out, "service", s->services[i].name, json_incref(s->services[i].spec));
    return out;
}

static int of_swarm(const char *stack, json_t **ret, struct err *err)
{
    static const char *const kinds[][2] = {
        {"services", "service"}, {"networks", "network"}, {"secrets", "secret"}, {"configs", "config"}};
    _cleanup_json_ json_t *networks = NULL, *out = json_object();
    int r = cli_get(&networks, err, "/networks");
    for (size_t k = 0; r == 0 && k < ARRAY_SIZE(kinds); k++) {
        _cleanup_json_ json_t *list = NULL;
        json_t *one;
        size_t i;
        r = stack_list(kinds[k][0], stack, &list, err);
        json_array_foreach (list, i, one) {
            json_t *spec = json_object_get(one, "Spec");
            if (k == 0) {
                forget_ids(spec);
                name_networks(spec, networks);
            }
            add(out, kinds[k][1], json_str(spec ? spec : one, "Name"),
                k == 0 ? json_incref(spec) : json_object());
        }
    }
    if (r == 0)
        *ret = json_incref(out);
    return r;
}

static int print_diff(const json_t *before, const json_t *after, const char *left, const char *right)
{
    const char *key;
    json_t *value;
    int differs = 0;
    json_object_foreach ((json_t *)before, key, value)
        if (!json_object_get(after, key))
            differs = printf("- %s: only %s\n", key, left) > 0;
    json_object_foreach ((json_t *)after, key, value) {
        const json_t *was = json_object_get(before, key);
        if (!was) {
            differs = printf("+ %s: only %s\n", key, right) > 0;
            continue;
        }
        _cleanup_json_ json_t *changes = deploy_changes(was, value);
        if (!json_array_size(changes))
            continue;
        differs = printf("~ %s\n", key) > 0;
        placement_print_changes(changes, "    ");
    }
    return differs;
}

int stack_diff(const struct compose_project *p, const struct project_options *o,
               const struct stack_images *images)
{
    const struct stack_images quietly = {images->resolve, images->from, true};
    struct stack stack = {0};
    struct err err;
    _cleanup_json_ json_t *before = NULL, *after = NULL;
    int status = stack_make(p, o, false, &stack);
    if (status)
        return status;
    int r = stack_pin(&stack, p->name, &quietly, &err);
    after = of_files(&stack);
    compose_stack_done(&stack);
    if (r < 0 || of_swarm(p->name, &before, &err) < 0)
        return cli_fail(&err);
    return print_diff(before, after, "deployed", "in the files");
}

static int load_files(struct project_options *o, json_t **ret, struct compose_project **ret_project)
{
    struct stack stack = {0};
    const struct project_load_options how = {.as_stack = true};
    int status = project_load_with(o, &how, ret_project);
    if (status == 0)
        status = stack_make(*ret_project, o, false, &stack);
    if (status == 0)
        *ret = of_files(&stack);
    compose_stack_done(&stack);
    return status;
}

static int diff(struct project_options *project, char **with, const struct stack_images *images)
{
    _cleanup_compose_ struct compose_project *p = NULL, *q = NULL;
    _cleanup_json_ json_t *before = NULL, *after = NULL;
    struct project_options other = *project;
    int status = load_files(project, &before, &p);
    if (status == 0 && !with)
        return stack_diff(p, project, images);
    other.files = with;
    other.name = other.name ? other.name : status == 0 ? p->name : NULL;
    if (status == 0)
        status = load_files(&other, &after, &q);
    return status ? status : print_diff(before, after, "in the first", "in the second");
}

int cli_diff(int argc, char **argv)
{
    struct project_options project = {0};
    char **with = NULL;
    struct stack_images images = {0};
    const struct cli_option options[] = {
        {'w', "with", CLI_LIST, &with, "FILE",
         "Compare with the project of these files (again for more), not with what is deployed"},
        STACK_IMAGES_OPTIONS(images),
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {
        "diff [OPTIONS]",
        "Prints what differs between what is deployed in the swarm and the Compose files, "
        "or with --with between two sets of files. Ends with 1 when something does.",
        options,
        false,
        0,
        0};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0)
        status = diff(&project, with, &images);
    strv_free(with);
    project_options_done(&project);
    return status;
}
