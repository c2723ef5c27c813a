/* `drover registry`: the registry inside, managed. */
#include "api/registry_config.h"
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "registry/policy.h"

#include <stdio.h>

enum { CONFIG_MAX_BYTES = 1 << 20, REPLICATION_LINES = 20 };

/* Parses a subcommand's words; `need` of its own words at least. */
static int parse(const char *usage, const char *summary, const struct cli_option *options, int least,
                 int most, int argc, char **argv, char ***ret_rest)
{
    const struct cli_command command = {usage, summary, options, false, least, most};
    return cli_parse(&command, argc, argv, ret_rest);
}

/* --- token --- */

static int token_create(int argc, char **argv)
{
    char **repositories = NULL, **rights = NULL;
    const char *expires = NULL;
    const struct cli_option options[] = {
        {'r', "repository", CLI_LIST, &repositories, "PATTERN", "Which repositories (may be given again)"},
        {'a', "allow", CLI_LIST, &rights, "RIGHT",
         "pull (default), push, delete or admin (may be given again)"},
        {0, "expires", CLI_TEXT, &expires, "DURATION", "How long it holds, as 720h (default: until revoked)"},
        {0},
    };
    char **rest;
    struct err err = {0};
    int status =
        parse("registry token create [OPTIONS] NAME",
              "Makes an account for a program, and prints the user and the password with which it logs "
              "in to the registry. The password is shown this once.",
              options, 1, 1, argc, argv, &rest);
    _cleanup_strv_ char **owned_repositories = repositories, **owned_rights = rights;
    if (status >= 0)
        return status;
    int64_t ns = 0;
    if (expires && parse_duration(expires, &ns, &err) < 0)
        return cli_fail(&err);
    if (!owned_rights)
        strv_add(&owned_rights, "pull");
    _cleanup_json_ json_t *answer = NULL, *body = json_pack("{s:s, s:o, s:o, s:I}", "name", rest[0],
                                                            "repositories", json_of_strv(owned_repositories),
                                                            "rights", json_of_strv(owned_rights),
                                                            "expires_in", (json_int_t)(ns / NS_PER_S));
    if (cli_call("POST", body, &answer, &err, "/drover/registry/tokens") < 0)
        return cli_fail(&err);
    printf("%s\n%s\n", json_str(answer, "user"), json_str(answer, "password"));
    return 0;
}

static char *join_json(const json_t *list)
{
    _cleanup_strv_ char **texts = NULL;
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one)
        strv_add(&texts, json_string_value(one));
    return strv_join(texts, ",");
}

static void print_tokens(const json_t *list)
{
    struct table t = {.columns = 4};
    size_t i;
    const json_t *one;
    table_row(&t, "NAME", "REPOSITORIES", "RIGHTS", "EXPIRES", NULL);
    json_array_foreach (list, i, one) {
        _cleanup_free_ char *repositories = join_json(json_object_get(one, "repositories")),
                            *rights = join_json(json_object_get(one, "rights"));
        const char *expires = json_str(one, "expires");
        table_row(&t, json_str(one, "name"), repositories, rights, *expires ? expires : "never", NULL);
    }
    table_print(&t);
}

static int token_ls(int argc, char **argv)
{
    return cli_view("registry token ls [OPTIONS]", "Lists the tokens that hold.", "/drover/registry/tokens",
                    print_tokens, argc, argv);
}

static int token_revoke(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    char **rest;
    struct err err = {0};
    int status =
        parse("registry token revoke NAME...", "Ends tokens, at once.", options, 1, -1, argc, argv, &rest);
    if (status >= 0)
        return status;
    for (char **name = rest; *name; name++) {
        _cleanup_free_ char *escaped = cli_escape(*name);
        if (cli_call("DELETE", NULL, NULL, &err, "/drover/registry/tokens/%s", escaped) < 0)
            return cli_fail(&err);
    }
    return 0;
}

/* --- check --- */

static int check(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    char **rest;
    struct err err = {0};
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_strv_ char **files = NULL;
    struct registry_policy *policy = NULL;
    int status = parse("registry check FILE", "Checks a file for drover serve --registry-config.", options, 1,
                       1, argc, argv, &rest);
    if (status >= 0)
        return status;
    int r = file_read(rest[0], CONFIG_MAX_BYTES, &text, &err);
    if (r == 0)
        r = registry_config_parse(rest[0], str_get(&text), text.len, &policy, &files, &err);
    if (r < 0)
        return cli_fail(&err);
    printf("%s: %zu users, %zu rules\n", rest[0], policy->users.count, policy->rule_count);
    registry_policy_unref(policy);
    return 0;
}

/* --- what is here, and what goes --- */

static int ls(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{0, "json", CLI_FLAG, &json, NULL, "The answer as JSON"}, {0}};
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *all = NULL;
    int status = parse("registry ls [OPTIONS] [REPOSITORY]",
                       "Lists the repositories that were pushed, or the tags of one.", options, 0, 1, argc,
                       argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_free_ char *name = cli_escape(*rest ? *rest : "");
    if (cli_get(&all, &err, "/drover/registry/usage?repository=%s", name) < 0)
        return cli_fail(&err);
    if (json) {
        output_json(all);
        return 0;
    }
    struct table t = {.columns = 3};
    size_t i;
    const json_t *one;
    if (*rest) {
        table_row(&t, "TAG", "DIGEST", "PUSHED", NULL);
        json_array_foreach (all, i, one)
            table_row(&t, json_str(one, "tag"), json_str(one, "digest"), json_str(one, "pushed"), NULL);
    } else {
        t.columns = 2;
        table_row(&t, "REPOSITORY", "TAGS", NULL);
        json_array_foreach (json_object_get(all, "repositories"), i, one) {
            _cleanup_free_ char *tags = str_printf("%lld", (long long)json_int(one, "tags"));
            table_row(&t, json_str(one, "repository"), tags, NULL);
        }
    }
    table_print(&t);
    return 0;
}

static void print_usage(const json_t *all)
{
    char size[32];
    struct table t = {.columns = 4};
    size_t i;
    const json_t *one;
    table_row(&t, "REPOSITORY", "MANIFESTS", "BLOBS", "SIZE", NULL);
    json_array_foreach (json_object_get(all, "repositories"), i, one) {
        _cleanup_free_ char *manifests = str_printf("%lld", (long long)json_int(one, "manifests")),
                            *blobs = str_printf("%lld", (long long)json_int(one, "blobs"));
        output_size(json_int(one, "bytes"), size);
        table_row(&t, json_str(one, "repository"), manifests, blobs, size, NULL);
    }
    output_size(json_int(all, "bytes_on_disk"), size);
    table_row(&t, "on disk", "", "", size, NULL);
    table_print(&t);
}

static int du(int argc, char **argv)
{
    return cli_view("registry du [OPTIONS]",
                    "Tells how much each repository has; what several have is on disk once.",
                    "/drover/registry/usage", print_usage, argc, argv);
}

static int gc(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    char **rest, size[32];
    struct err err = {0};
    _cleanup_json_ json_t *answer = NULL;
    int status =
        parse("registry gc",
              "Drops now what nothing uses and nobody asked for in the last hour; the server does this by "
              "itself from time to time, and pushes go on meanwhile.",
              options, 0, 0, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (cli_call("POST", NULL, &answer, &err, "/drover/registry/gc") < 0)
        return cli_fail(&err);
    output_size(json_int(answer, "bytes"), size);
    printf("%s freed\n", size);
    return 0;
}

static int retention(int argc, char **argv)
{
    bool dry_run = false, json = false;
    const struct cli_option options[] = {{0, "dry-run", CLI_FLAG, &dry_run, NULL, "Only tell what would go"},
                                         {0, "json", CLI_FLAG, &json, NULL, "The list as JSON"},
                                         {0}};
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *list = NULL;
    int status =
        parse("registry retention [OPTIONS]",
              "Drops now what the configuration's retention keeps no longer, and lists it; the server does "
              "this by itself from time to time.",
              options, 0, 0, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (cli_call("POST", NULL, &list, &err, "/drover/registry/retention?dry_run=%d", dry_run) < 0)
        return cli_fail(&err);
    if (json) {
        output_json(list);
        return 0;
    }
    struct table t = {.columns = 4};
    size_t i;
    const json_t *one;
    table_row(&t, "REPOSITORY", "TAG", "DIGEST", dry_run ? "WOULD GO" : "WENT", NULL);
    json_array_foreach (list, i, one) {
        const char *tag = json_str(one, "tag");
        table_row(&t, json_str(one, "repository"), *tag ? tag : "<none>", json_str(one, "digest"),
                  json_str(one, "reason"), NULL);
    }
    table_print(&t);
    return 0;
}

static void print_deliveries(const json_t *list)
{
    struct table t = {.columns = 5};
    size_t i;
    const json_t *one;
    table_row(&t, "DELIVERY", "WEBHOOK", "AT", "ATTEMPT", "OUTCOME", NULL);
    json_array_foreach (list, i, one) {
        _cleanup_free_ char *id = str_printf("%lld", (long long)json_int(one, "delivery")),
                            *attempt = str_printf("%lld", (long long)json_int(one, "attempt"));
        table_row(&t, id, json_str(one, "webhook"), json_str(one, "at"), attempt, json_str(one, "outcome"),
                  NULL);
    }
    table_print(&t);
}

static int deliveries(int argc, char **argv)
{
    return cli_view("registry deliveries [OPTIONS]",
                    "Lists what became of the webhooks' notifications lately, the newest first.",
                    "/drover/registry/deliveries", print_deliveries, argc, argv);
}

static void print_replication(const json_t *all)
{
    struct table rules = {.columns = 5}, log = {.columns = 4};
    size_t i;
    const json_t *one;
    table_row(&rules, "RULE", "TARGET", "WAITING", "FAILING", "LAG", NULL);
    json_array_foreach (json_object_get(all, "rules"), i, one) {
        _cleanup_free_ char *waiting = str_printf("%lld", (long long)json_int(one, "waiting")),
                            *failing = str_printf("%lld", (long long)json_int(one, "failing")),
                            *lag = str_printf("%llds", (long long)(json_int(one, "lag_ns") / NS_PER_S));
        table_row(&rules, json_str(one, "rule"), json_str(one, "target"), waiting, failing, lag, NULL);
    }
    table_print(&rules);
    if (json_array_size(json_object_get(all, "log")) == 0)
        return;
    printf("\n");
    table_row(&log, "AT", "RULE", "ATTEMPT", "OUTCOME", NULL);
    json_array_foreach (json_object_get(all, "log"), i, one) {
        _cleanup_free_ char *attempt = str_printf("%lld", (long long)json_int(one, "attempt"));
        if (i < REPLICATION_LINES)
            table_row(&log, json_str(one, "at"), json_str(one, "rule"), attempt, json_str(one, "outcome"),
                      NULL);
    }
    table_print(&log);
}

static int replication(int argc, char **argv)
{
    bool json = false, sync = false;
    const struct cli_option options[] = {
        {0, "sync", CLI_FLAG, &sync, NULL, "Have every tag compared, and sent where it is missing"},
        {0, "json", CLI_FLAG, &json, NULL, "The answer as JSON, with the last 1000 outcomes"},
        {0}};
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *all = NULL;
    int status = parse("registry replication [OPTIONS]",
                       "Tells how far the copies in other registries are: names that wait, those whose last "
                       "attempt failed, how long the oldest has waited, and what became of the last ones.",
                       options, 0, 0, argc, argv, &rest);
    if (status >= 0)
        return status;
    if ((sync && cli_call("POST", NULL, NULL, &err, "/drover/registry/replication") < 0) ||
        cli_get(&all, &err, "/drover/registry/replication") < 0)
        return cli_fail(&err);
    if (json)
        output_json(all);
    else
        print_replication(all);
    return 0;
}

/* --- */

static const struct cli_verb registry_verbs[] = {
    {"ls", "List repositories, or the tags of one", ls},
    {"du", "Tell how much each has", du},
    {"gc", "Drop what nothing uses", gc},
    {"retention", "Drop what the configuration keeps no longer", retention},
    {"deliveries", "List what became of webhooks' notifications", deliveries},
    {"replication", "Tell how far copies in other registries are", replication},
    {"check", "Check a configuration file", check},
    {"token create", "Make an account for a program", token_create},
    {"token ls", "List such accounts", token_ls},
    {"token revoke", "End them", token_revoke},
    {NULL, NULL, NULL},
};

int cli_registry(int argc, char **argv)
{
    return cli_group("registry", "The registry inside this node's drover serve.", registry_verbs, argc, argv);
}
