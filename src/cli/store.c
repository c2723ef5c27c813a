/* `drover store`: a member of the replicated store, and what is done to members. */
#include "base/file.h"
#include "base/log.h"
#include "cli/call.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/verbs.h"
#include "cluster/seal.h"
#include "store/members.h"
#include "store/node.h"

#include <stdio.h>

static int parse(const char *usage, const char *summary, const struct cli_option *options, int least,
                 int most, int argc, char **argv, char ***ret_rest)
{
    const struct cli_command command = {usage, summary, options, false, least, most};
    return cli_parse(&command, argc, argv, ret_rest);
}

#define TLS_OPTIONS(tls)                                                                                     \
    {0, "ca", CLI_TEXT, &(tls).authority, "FILE", "Certificate of the cluster's authority (PEM)"},           \
        {0,        "cert",                                                                                   \
         CLI_TEXT, &(tls).certificate,                                                                       \
         "FILE",   "This machine's certificate, with the unit \"manager\" in its subject"},                  \
        {0, "key", CLI_TEXT, &(tls).key, "FILE", "Its key"},                                                 \
    {                                                                                                        \
        0, "revoked", CLI_TEXT, &(tls).revoked, "FILE",                                                      \
            "Certificates that the authority has taken back (PEM); while it is not there, none"              \
    }

enum { KEY_BYTES_MAX = 64 << 10 };

/* What a manager of a swarm with autolock has on its disk; its processes have it in memory. */
static int check_not_sealed(const char *path)
{
    _cleanup_str_ struct str text = STR_INIT;
    if (file_read(path, KEY_BYTES_MAX, &text, &(struct err){0}) < 0 || !str_after(str_get(&text), SEAL_MARK))
        return 0;
    fprintf(stderr,
            "drover store: %s is sealed, as the swarm locks its managers: give the --key that this machine's "
            "\"drover store run\" was started with (ps -ww -e -o args=; docker swarm unlock, where there "
            "is none)\n",
            path);
    return 2;
}

static int check_tls(const struct tls_files *tls)
{
    if (tls->authority && tls->certificate && tls->key)
        return check_not_sealed(tls->key);
    fprintf(stderr, "drover store: members know each other by certificates: give --ca, --cert and --key\n");
    return 2;
}

/* --- run --- */

static int run(int argc, char **argv)
{
    struct store_node n = {0};
    char **join = NULL;
    const char *free_bytes = NULL;
    const struct cli_option options[] = {
        {'a', "address", CLI_TEXT, &n.address, "HOST:PORT",
         "Where the other members reach this one; it stays the same"},
        {0, "listen", CLI_TEXT, &n.listen, "HOST:PORT", "Where to listen (default: the address)"},
        {0, "bootstrap", CLI_FLAG, &n.bootstrap, NULL, "Begin a new store with this member"},
        {'j', "join", CLI_LIST, &join, "HOST:PORT", "A member of the store to join (again for more)"},
        TLS_OPTIONS(n.tls),
        {0, "latency", CLI_INT, &n.latency_ms, "MS",
         "One way between members (default 20: a new leader in about a second); 50 to 100 for slow disks or "
         "links"},
        {0, "min-free", CLI_TEXT, &free_bytes, "BYTES",
         "The member stops while its file system has less (default 256m)"},
        {0},
    };
    char **rest;
    struct err err = {0};
    int status =
        parse("store run [OPTIONS] DIRECTORY",
              "Runs a member of the replicated store, whose data are in DIRECTORY/data, until it is told to "
              "end. It starts its inner process again when that dies.",
              options, 1, 1, argc, argv, &rest);
    _cleanup_strv_ char **owned = join;
    if (status < 0 && (status = check_tls(&n.tls)) == 0)
        status = -1;
    if (status >= 0)
        return status;
    if (!n.address) {
        fprintf(stderr, "drover store run: give --address HOST:PORT\n");
        return 2;
    }
    if (n.latency_ms < 0 || n.latency_ms > 1000) {
        fprintf(stderr, "drover store run: --latency is 1 to 1000 ms\n");
        return 2;
    }
    if (free_bytes && parse_bytes(free_bytes, &n.min_free_bytes, &err) < 0)
        return cli_fail(&err);
    n.directory = rest[0];
    n.join = owned;
    log_init("store", LOG_LEVEL_INFO);
    return store_node_run(&n, &err) < 0 ? cli_fail(&err) : 0;
}

/* --- members --- */

struct members_options {
    char **addresses;
    struct store_members members;
};

#define MEMBERS_OPTIONS(o)                                                                                   \
    {'m', "member", CLI_LIST, &(o).addresses, "HOST:PORT", "A member of the store (again for more)"},        \
        TLS_OPTIONS((o).members.tls)

static int check_members(struct members_options *o)
{
    if (!o->addresses) {
        fprintf(stderr, "drover store: name a member with --member HOST:PORT\n");
        return 2;
    }
    o->members.addresses = o->addresses;
    return check_tls(&o->members.tls);
}

/* Parses a verb of members with `words` other words. -1 to go on. */
static int begin(const char *usage, const char *summary, const struct cli_option *options, int words,
                 int argc, char **argv, struct members_options *o, char ***ret_rest)
{
    int status = parse(usage, summary, options, words, words, argc, argv, ret_rest);
    if (status >= 0)
        return status;
    status = check_members(o);
    return status ? status : -1;
}

static int status_json(const struct store_member *list, size_t n)
{
    static const char *const roles[] = {
        [STORE_VOTER] = "voter", [STORE_STANDBY] = "standby", [STORE_SPARE] = "spare"};
    printf("[");
    for (size_t i = 0; i < n; i++)
        printf("%s{\"id\":\"%llu\",\"address\":\"%s\",\"role\":\"%s\",\"leader\":%s}", i ? "," : "",
               (unsigned long long)list[i].id, list[i].address, roles[list[i].role],
               list[i].leader ? "true" : "false");
    printf("]\n");
    return 0;
}

static int show_status(int argc, char **argv)
{
    struct members_options o = {0};
    bool json = false;
    const struct cli_option options[] = {
        MEMBERS_OPTIONS(o), {0, "json", CLI_FLAG, &json, NULL, "As JSON"}, {0}};
    char **rest;
    struct err err = {0};
    struct store_member *list = NULL;
    size_t n = 0;
    int status = begin("store status [OPTIONS]", "Lists the members as the leader has them.", options, 0,
                       argc, argv, &o, &rest);
    if (status < 0)
        status = store_members_list(&o.members, &list, &n, &err) < 0 ? cli_fail(&err)
                 : json                                              ? status_json(list, n)
                                                                     : 0;
    if (list && !json) {
        printf("%-20s %-24s %-8s %s\n", "ID", "ADDRESS", "ROLE", "LEADER");
        for (size_t i = 0; i < n; i++)
            printf("%-20llu %-24s %-8s %s\n", (unsigned long long)list[i].id, list[i].address,
                   list[i].role == STORE_VOTER     ? "voter"
                   : list[i].role == STORE_STANDBY ? "standby"
                                                   : "spare",
                   list[i].leader ? "*" : "");
    }
    free(list);
    strv_free(o.addresses);
    return status;
}

static int remove_member(int argc, char **argv)
{
    struct members_options o = {0};
    const struct cli_option options[] = {MEMBERS_OPTIONS(o), {0}};
    char **rest;
    struct err err = {0};
    int64_t id;
    int status =
        begin("store remove [OPTIONS] ID",
              "Removes a member that is gone. Its id is never used again; its machine may join anew.",
              options, 1, argc, argv, &o, &rest);
    if (status < 0)
        status = parse_i64(rest[0], 1, INT64_MAX, &id, &err) < 0 ||
                         store_members_remove(&o.members, (uint64_t)id, &err) < 0
                     ? cli_fail(&err)
                     : 0;
    strv_free(o.addresses);
    return status;
}

static int backup(int argc, char **argv)
{
    struct members_options o = {0};
    const struct cli_option options[] = {MEMBERS_OPTIONS(o), {0}};
    char **rest;
    struct err err = {0};
    int status =
        begin("store backup [OPTIONS] FILE",
              "Writes everything that is in the store to an SQLite file, replacing it. It is taken from a "
              "member that does not lead, where there is one.",
              options, 1, argc, argv, &o, &rest);
    if (status < 0)
        status = store_members_backup(&o.members, rest[0], &err) < 0 ? cli_fail(&err) : 0;
    strv_free(o.addresses);
    return status;
}

static int restore(int argc, char **argv)
{
    struct members_options o = {0};
    const struct cli_option options[] = {MEMBERS_OPTIONS(o), {0}};
    char **rest;
    struct err err = {0};
    int status =
        begin("store restore [OPTIONS] FILE",
              "Writes a backup into a store that is new and empty. One that was interrupted is begun again; "
              "until it is done the store can not be used.",
              options, 1, argc, argv, &o, &rest);
    if (status < 0)
        status = store_members_restore(&o.members, rest[0], &err) < 0 ? cli_fail(&err) : 0;
    strv_free(o.addresses);
    return status;
}

static int recover(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    char **rest;
    struct err err = {0};
    int status =
        parse("store recover DIRECTORY",
              "After the loss of most members: makes the member in DIRECTORY the only one, with what it "
              "has. No member may run, and of the survivors this one must have the newest data; what was "
              "acknowledged by the lost ones alone is lost. The other machines then join anew.",
              options, 1, 1, argc, argv, &rest);
    if (status >= 0)
        return status;
    return store_node_recover(rest[0], &err) < 0 ? cli_fail(&err) : 0;
}

static const struct cli_verb store_verbs[] = {
    {"run", "Run a member", run},
    {"status", "List the members", show_status},
    {"remove", "Remove a member that is gone", remove_member},
    {"backup", "Write the store to a file", backup},
    {"restore", "Write a file into a new store", restore},
    {"recover", "Go on with one member after most were lost", recover},
    {NULL, NULL, NULL},
};

int cli_store(int argc, char **argv)
{
    return cli_group("store", "The replicated store of a cluster's managers.", store_verbs, argc, argv);
}
