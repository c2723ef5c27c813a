/* drover cluster, join and leave: the machines of a swarm. */
#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "cluster/pki.h"

#define CLUSTER_ANYWHERE "0.0.0.0:2377"

/* What init and join say about this machine. */
struct own {
    const char *advertise, *listen, *availability;
};
#define OWN_OPTIONS(own)                                                                                     \
    {0,         "advertise-addr",                                                                            \
     CLI_TEXT,  &(own).advertise,                                                                            \
     "ADDRESS", "Where others reach this machine: an address or an interface"},                              \
        {0,         "listen-addr",                                                                           \
         CLI_TEXT,  &(own).listen,                                                                           \
         "ADDRESS", "Where it listens (default " CLUSTER_ANYWHERE ")"},                                      \
    {                                                                                                        \
        0, "availability", CLI_TEXT, &(own).availability, "STATE", "active (default), pause or drain"        \
    }

static json_t *own_body(const struct own *own)
{
    return json_pack("{s:s, s:s, s:s}", "ListenAddr", own->listen ? own->listen : CLUSTER_ANYWHERE,
                     "AdvertiseAddr", own->advertise ? own->advertise : "", "Availability",
                     own->availability ? own->availability : "active");
}

/* --- Tokens --- */

static int print_join(const char *role, bool quiet, struct err *err)
{
    _cleanup_json_ json_t *swarm = NULL, *info = NULL;
    int r = cli_get(&swarm, err, "/swarm");
    if (r == 0)
        r = cli_get(&info, err, "/info");
    if (r < 0)
        return r;
    const char *token =
        json_str(json_object_get(swarm, "JoinTokens"), str_eq(role, "manager") ? "Manager" : "Worker");
    const json_t *managers = json_object_get(json_object_get(info, "Swarm"), "RemoteManagers");
    if (quiet)
        printf("%s\n", token);
    else
        printf("drover join --token %s %s\n", token, json_str(json_array_get(managers, 0), "Addr"));
    return 0;
}

int cluster_update_swarm(const json_t *spec, const char *query, struct err *err)
{
    _cleanup_json_ json_t *swarm = NULL;
    int r = cli_get(&swarm, err, "/swarm");
    return r == 0 ? cli_call("POST", spec ? spec : json_object_get(swarm, "Spec"), NULL, err,
                             "/swarm/update?version=%lld%s",
                             (long long)json_int(json_object_get(swarm, "Version"), "Index"), query)
                  : r;
}

/* --- The verbs of `drover cluster` --- */

static int cluster_init_verb(int argc, char **argv)
{
    struct own own = {0};
    bool lock = false;
    const struct cli_option options[] = {OWN_OPTIONS(own),
                                         {0, "autolock", CLI_FLAG, &lock, NULL,
                                          "Managers keep their keys encrypted, as with cluster autolock"},
                                         {0}};
    const struct cli_command command = {
        "cluster init [OPTIONS]",
        "Makes this machine the first of a cluster, and says how others join.",
        options,
        false,
        0,
        0};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_json_ json_t *body = own_body(&own);
    json_object_set_new(body, "AutoLockManagers", json_boolean(lock));
    int r = cli_call("POST", body, NULL, &err, "/swarm/init");
    if (r == 0) {
        printf("this machine is the first of a cluster, and its manager; another joins with\n    ");
        r = print_join("worker", false, &err);
    }
    if (r == 0 && lock)
        r = cluster_print_unlock(&err);
    return r < 0 ? cli_fail(&err) : 0;
}

static int cluster_token_verb(int argc, char **argv)
{
    bool fresh = false, quiet = false;
    const struct cli_option options[] = {
        {0, "rotate", CLI_FLAG, &fresh, NULL, "Make another token; the one before is good for nothing then"},
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Print the token alone"},
        {0}};
    const struct cli_command command = {"cluster join-token [OPTIONS] worker|manager",
                                        "Prints the command with which another machine joins.",
                                        options,
                                        false,
                                        1,
                                        1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (!str_eq(rest[0], "worker") && !str_eq(rest[0], "manager")) {
        fprintf(stderr, "drover cluster join-token: a machine joins as worker or manager, not as \"%s\"\n",
                rest[0]);
        return 2;
    }
    int r = fresh ? cluster_update_swarm(NULL,
                                         str_eq(rest[0], "manager") ? "&rotateManagerToken=true"
                                                                    : "&rotateWorkerToken=true",
                                         &err)
                  : 0;
    if (r == 0)
        r = print_join(rest[0], quiet, &err);
    return r < 0 ? cli_fail(&err) : 0;
}

static const char *manager_text(const json_t *node)
{
    const json_t *status = json_object_get(node, "ManagerStatus");
    return json_bool(status, "Leader") ? "leader" : json_str(status, "Reachability");
}

static void print_nodes(const json_t *nodes)
{
    struct table t = {.columns = 6};
    const json_t *one;
    size_t i;
    table_row(&t, "ID", "NAME", "ADDRESS", "STATE", "AVAILABILITY", "MANAGER", NULL);
    json_array_foreach (nodes, i, one)
        table_row(&t, json_str(one, "ID"), json_str(json_object_get(one, "Description"), "Hostname"),
                  json_str(json_object_get(one, "Status"), "Addr"),
                  json_str(json_object_get(one, "Status"), "State"),
                  json_str(json_object_get(one, "Spec"), "Availability"), manager_text(one), NULL);
    table_print(&t);
}

static int cluster_list_verb(int argc, char **argv)
{
    return cli_view("cluster ls [OPTIONS]", "Lists the cluster's nodes.", "/nodes", print_nodes, argc, argv);
}

/* --- Verbs on nodes --- */

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

static const struct {
    const char *name, *usage, *summary, *key, *value;
} node_verbs[] = {
    {"promote", "cluster promote NODE...", "Makes nodes managers", "Role", "manager"},
    {"demote", "cluster demote NODE...", "Makes managers workers", "Role", "worker"},
    {"drain", "cluster drain NODE...", "Moves the tasks of nodes elsewhere, and gives them no more",
     "Availability", "drain"},
    {"pause", "cluster pause NODE...", "Gives nodes no more tasks", "Availability", "pause"},
    {"activate", "cluster activate NODE...", "Gives nodes tasks again", "Availability", "active"},
};

static int cluster_node_verb(size_t which, int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        node_verbs[which].usage, node_verbs[which].summary, options, false, 1, -1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    for (; status < 0 && *rest; rest++)
        if (change_node(*rest, node_verbs[which].key, node_verbs[which].value, &err) < 0)
            return cli_fail(&err);
    return MAX(status, 0);
}

static int cluster_remove_verb(int argc, char **argv)
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
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    for (; status < 0 && *rest; rest++) {
        _cleanup_free_ char *ref = cli_escape(*rest);
        if (cli_call("DELETE", NULL, NULL, &err, "/nodes/%s?force=%d", ref, force) < 0)
            return cli_fail(&err);
    }
    return MAX(status, 0);
}

/* --- Clients --- */

static int write_client(const char *directory, const json_t *answer, const char *key, struct err *err)
{
    const struct {
        const char *name, *text;
        mode_t mode;
    } files[] = {{"ca.pem", json_str(answer, "Authority"), 0644},
                 {"cert.pem", json_str(answer, "Certificate"), 0644},
                 {"key.pem", key, 0600}};
    int r = file_mkdirs(directory, 0700, err);
    for (size_t i = 0; i < ARRAY_SIZE(files) && r == 0; i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", directory, files[i].name);
        r = file_replace(path, files[i].text, strlen(files[i].text), files[i].mode, true, err);
    }
    return r;
}

static int cluster_client_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "cluster client NAME DIRECTORY",
        "Makes a certificate for who uses the whole cluster as one Docker engine, good for a year: ca.pem, "
        "cert.pem "
        "and key.pem in DIRECTORY, as Docker's clients read them (DOCKER_CERT_PATH).",
        options,
        false,
        2,
        2};
    char **rest;
    struct err err = {0};
    _cleanup_free_ char *csr = NULL, *key = NULL;
    _cleanup_json_ json_t *body = NULL, *answer = NULL, *info = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    int r = pki_request(&csr, &key, &err);
    if (r == 0) {
        body = json_pack("{s:s, s:s}", "Name", rest[0], "CSR", csr);
        r = cli_call("POST", body, &answer, &err, "/drover/clients");
    }
    if (r == 0)
        r = cli_get(&info, &err, "/info");
    if (r == 0)
        r = write_client(rest[1], answer, key, &err);
    if (r < 0)
        return cli_fail(&err);
    const json_t *managers = json_object_get(json_object_get(info, "Swarm"), "RemoteManagers");
    printf("DOCKER_CERT_PATH=%s DOCKER_TLS_VERIFY=1 DOCKER_HOST=tcp://%s\n", rest[1],
           json_str(json_array_get(managers, 0), "Addr"));
    return 0;
}

static void print_clients(const json_t *list)
{
    const json_t *one;
    size_t i;
    printf("%-20s %-42s %s\n", "NAME", "SERIAL", "GOOD UNTIL");
    json_array_foreach (list, i, one)
        printf("%-20s %-42s %s\n", json_str(one, "Name"), json_str(one, "Serial"), json_str(one, "Ends"));
}

static int cluster_clients_verb(int argc, char **argv)
{
    return cli_view("cluster clients [OPTIONS]",
                    "Lists the certificates that \"drover cluster client\" has made.", "/drover/clients",
                    print_clients, argc, argv);
}

static int cluster_revoke_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "cluster revoke NAME...",
        "Takes clients' certificates back: every node refuses them from now on.",
        options,
        false,
        1,
        -1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    for (; status < 0 && *rest; rest++) {
        _cleanup_free_ char *name = cli_escape(*rest);
        if (cli_call("DELETE", NULL, NULL, &err, "/drover/clients/%s", name) < 0)
            return cli_fail(&err);
    }
    return MAX(status, 0);
}

static const struct {
    const char *name, *summary;
    int (*main)(int argc, char **argv);
} cluster_verbs[] = {
    {"autolock", "Have managers locked when they start, or not", cluster_autolock_verb},
    {"ca", "Print the cluster's authority, or have another take its place", cluster_ca_verb},
    {"client", "Let somebody use the whole cluster as one Docker engine", cluster_client_verb},
    {"clients", "List whom the whole cluster is one Docker engine for", cluster_clients_verb},
    {"init", "Make this machine the first of a cluster", cluster_init_verb},
    {"join-token", "Print how another machine joins", cluster_token_verb},
    {"ls", "List the nodes", cluster_list_verb},
    {"revoke", "Refuse a client's certificate from now on", cluster_revoke_verb},
    {"rm", "Take nodes off the list", cluster_remove_verb},
    {"unlock", "Give a manager that is locked its keys back", cluster_unlock_verb},
    {"unlock-key", "Print the key that does it", cluster_unlock_key_verb},
};

int cli_cluster(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    for (size_t i = 0; i < ARRAY_SIZE(cluster_verbs); i++)
        if (str_eq(cluster_verbs[i].name, name))
            return cluster_verbs[i].main(argc - 1, argv + 1);
    for (size_t i = 0; i < ARRAY_SIZE(node_verbs); i++)
        if (str_eq(node_verbs[i].name, name))
            return cluster_node_verb(i, argc - 1, argv + 1);
    bool help = str_eq(name, "--help") || str_eq(name, "-h");
    FILE *to = help ? stdout : stderr;
    if (*name && !help)
        fprintf(to, "drover cluster: no verb \"%s\"\n", name);
    fprintf(
        to,
        "Usage: drover cluster VERB [ARGUMENTS...]\n\nThe machines that run services together.\n\nVerbs:\n");
    for (size_t i = 0; i < ARRAY_SIZE(cluster_verbs); i++)
        fprintf(to, "  %-10s %s\n", cluster_verbs[i].name, cluster_verbs[i].summary);
    for (size_t i = 0; i < ARRAY_SIZE(node_verbs); i++)
        fprintf(to, "  %-10s %s\n", node_verbs[i].name, node_verbs[i].summary);
    return help ? 0 : 2;
}

/* --- drover join, drover leave --- */

int cli_join(int argc, char **argv)
{
    struct own own = {0};
    const char *token = NULL;
    const struct cli_option options[] = {
        {0, "token", CLI_TEXT, &token, "TOKEN", "What drover cluster join-token, on a manager, prints"},
        OWN_OPTIONS(own),
        {0}};
    const struct cli_command command = {"join [OPTIONS] --token TOKEN MANAGER[:PORT]...",
                                        "Makes this machine a node of the cluster that a manager is of.",
                                        options,
                                        false,
                                        1,
                                        -1};
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *info = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (!token) {
        fprintf(
            stderr,
            "drover join: --token is needed: drover cluster join-token worker, on a manager, prints it\n");
        return 2;
    }
    _cleanup_json_ json_t *body = own_body(&own);
    json_object_set_new(body, "RemoteAddrs", json_of_strv(rest));
    json_set_str(body, "JoinToken", token);
    int r = cli_call("POST", body, NULL, &err, "/swarm/join");
    if (r == 0)
        r = cli_get(&info, &err, "/info");
    if (r < 0)
        return cli_fail(&err);
    const json_t *swarm = json_object_get(info, "Swarm");
    printf("this machine is node %s of the cluster, a %s\n", json_str(swarm, "NodeID"),
           json_bool(swarm, "ControlAvailable") ? "manager" : "worker");
    return 0;
}

int cli_leave(int argc, char **argv)
{
    bool force = false;
    const struct cli_option options[] = {
        {'f', "force", CLI_FLAG, &force, NULL, "Also a manager: with the last one the cluster is gone"}, {0}};
    const struct cli_command command = {
        "leave [OPTIONS]", "Takes this machine out of its cluster; its tasks end.", options, false, 0, 0};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    return cli_call("POST", NULL, NULL, &err, "/swarm/leave?force=%d", force) < 0 ? cli_fail(&err) : 0;
}
