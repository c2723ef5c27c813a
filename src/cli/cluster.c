/* drover cluster, join and leave: the machines of a swarm. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/verbs.h"

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

static const struct cli_verb cluster_verbs[] = {
    {"init", "Make this machine the first of a cluster", cluster_init_verb},
    {"join-token", "Print how another machine joins", cluster_token_verb},
    {"ls", "List the nodes", cluster_list_verb},
    {"promote", "Make nodes managers", cluster_change_verb},
    {"demote", "Make managers workers", cluster_change_verb},
    {"drain", "Move the tasks of nodes elsewhere, and give them no more", cluster_change_verb},
    {"pause", "Give nodes no more tasks", cluster_change_verb},
    {"activate", "Give nodes tasks again", cluster_change_verb},
    {"health", "Say how well the nodes are, or from where on they get no new tasks", cluster_health_verb},
    {"rm", "Take nodes off the list", cluster_remove_verb},
    {"client", "Let somebody use the whole cluster as one Docker engine", cluster_client_verb},
    {"clients", "List whom the whole cluster is one Docker engine for", cluster_clients_verb},
    {"revoke", "Refuse a client's certificate from now on", cluster_revoke_verb},
    {"ca", "Print the cluster's authority, or have another take its place", cluster_ca_verb},
    {"autolock", "Have managers locked when they start, or not", cluster_autolock_verb},
    {"unlock", "Give a manager that is locked its keys back", cluster_unlock_verb},
    {"unlock-key", "Print the key that does it", cluster_unlock_key_verb},
    {0}};

int cli_cluster(int argc, char **argv)
{
    return cli_group("cluster", "The machines that run services together.", cluster_verbs, argc, argv);
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
