/* drover cluster ls, promote, demote, drain, pause, activate and rm: the nodes of a swarm. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/output.h"

static const char *manager_text(const json_t *node)
{
    const json_t *status = json_object_get(node, "ManagerStatus");
    return json_bool(status, "Leader") ? "leader" : json_str(status, "Reachability");
}

static void print_nodes(const json_t *nodes)
{
    struct table t = {.columns = 7};
    const json_t *one;
    size_t i;
    table_row(&t, "ID", "NAME", "ADDRESS", "STATE", "AVAILABILITY", "MANAGER", "WHY", NULL);
    json_array_foreach (nodes, i, one)
        table_row(&t, json_str(one, "ID"), json_str(json_object_get(one, "Description"), "Hostname"),
                  json_str(json_object_get(one, "Status"), "Addr"),
                  json_str(json_object_get(one, "Status"), "State"),
                  json_str(json_object_get(one, "Spec"), "Availability"), manager_text(one),
                  json_str(json_object_get(one, "Status"), "Message"), NULL);
    table_print(&t);
}

int cluster_list_verb(int argc, char **argv)
{
    return cli_view("cluster ls [OPTIONS]", "Lists the cluster's nodes.", "/nodes", print_nodes, argc, argv);
}

static int change_node(const char *name, const char *key, const char *value, struct err *err)
{
    _cleanup_json_ json_t *node = NULL;
    _cleanup_free_ char *ref = cli_escape(name);
    int r = cli_get(&node, err, "/nodes/%s", ref);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *spec = json_copy_tree(json_object_get(node, "Spec"));
    json_set_str(spec, key, value);
    return cli_call("POST", spec, NULL, err, "/nodes/%s/update?version=%lld", json_str(node, "ID"),
                    (long long)json_int(json_object_get(node, "Version"), "Index"));
}

static const struct change {
    const char *name, *usage, *summary, *key, *value;
} changes[] = {
    {"promote", "cluster promote NODE...", "Makes nodes managers.", "Role", "manager"},
    {"demote", "cluster demote NODE...", "Makes managers workers.", "Role", "worker"},
    {"drain", "cluster drain NODE...", "Moves the tasks of nodes elsewhere, and gives them no more.",
     "Availability", "drain"},
    {"pause", "cluster pause NODE...", "Gives nodes no more tasks.", "Availability", "pause"},
    {"activate", "cluster activate NODE...", "Gives nodes tasks again.", "Availability", "active"},
};

static int change_one(const char *name, void *context, struct err *err)
{
    const struct change *change = context;
    return change_node(name, change->key, change->value, err);
}

int cluster_change_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    struct change change = changes[0];
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
        if (str_eq(changes[i].name, argv[0]))
            change = changes[i];
    const struct cli_command command = {change.usage, change.summary, options, false, 1, -1};
    return cli_each(&command, argc, argv, change_one, &change);
}

static int remove_one(const char *name, void *force, struct err *err)
{
    _cleanup_free_ char *ref = cli_escape(name);
    return cli_call("DELETE", NULL, NULL, err, "/nodes/%s?force=%d", ref, *(bool *)force);
}

int cluster_remove_verb(int argc, char **argv)
{
    bool force = false;
    const struct cli_option options[] = {
        {'f', "force", CLI_FLAG, &force, NULL, "Also one that is not down: it stops its tasks"}, {0}};
    const struct cli_command command = {"cluster rm [OPTIONS] NODE...",
                                        "Takes nodes that have left, or are lost, off the list.",
                                        options,
                                        false,
                                        1,
                                        -1};
    return cli_each(&command, argc, argv, remove_one, &force);
}
