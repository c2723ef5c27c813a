/* drover strategy: who chooses nodes for tasks. */
#include "scheduler/strategy.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"

static void print_strategies(const json_t *found)
{
    struct table t = {.columns = 4};
    json_t *one;
    size_t i;
    table_row(&t, "NAME", "KIND", "DEFAULT", "LAST PROBLEM", NULL);
    json_array_foreach (json_object_get(found, "Strategies"), i, one)
        table_row(&t, json_str(one, "Name"), json_str(one, "Kind"),
                  str_eq(json_str(found, "Default"), json_str(one, "Name")) ? "*" : "",
                  json_str(one, "LastProblem"), NULL);
    table_print(&t);
}

static int list_verb(int argc, char **argv)
{
    return cli_view("strategy ls [OPTIONS]", "Lists the strategies, and which is the cluster's.",
                    "/drover/strategies", print_strategies, argc, argv);
}

static int set_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "strategy set NAME FILE.lua", "Adds a script to the cluster, or replaces it.", options, false, 2, 2};
    char **rest;
    struct err err = {0};
    _cleanup_str_ struct str text = STR_INIT;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_free_ char *name = cli_escape(rest[0]);
    if (file_read(rest[1], SCHED_SCRIPT_MAX, &text, &err) < 0)
        return cli_fail(&err);
    _cleanup_json_ json_t *body = json_pack("{s:s%}", "Script", str_get(&text), text.len);
    if (!body || strlen(str_get(&text)) != text.len) {
        err_set(&err, ERR_INVALID, "%s is no text in UTF-8", rest[1]);
        return cli_fail(&err);
    }
    return cli_call("PUT", body, NULL, &err, "/drover/strategies/%s", name) < 0 ? cli_fail(&err) : 0;
}

static int show_one(const char *word, void *context, struct err *err)
{
    (void)context;
    _cleanup_json_ json_t *found = NULL;
    _cleanup_free_ char *name = cli_escape(word);
    int r = cli_get(&found, err, "/drover/strategies/%s", name);
    if (r == 0)
        fputs(json_str(found, "Script"), stdout);
    return r;
}

static int show_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {"strategy show NAME", "Prints a script.", options, false, 1, 1};
    return cli_each(&command, argc, argv, show_one, NULL);
}

static int remove_one(const char *word, void *context, struct err *err)
{
    (void)context;
    _cleanup_free_ char *name = cli_escape(word);
    return cli_call("DELETE", NULL, NULL, err, "/drover/strategies/%s", name);
}

static int remove_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "strategy rm NAME...", "Removes scripts that nobody uses.", options, false, 1, -1};
    return cli_each(&command, argc, argv, remove_one, NULL);
}

static int use_one(const char *word, void *context, struct err *err)
{
    (void)context;
    _cleanup_json_ json_t *body = json_pack("{s:s}", "Default", word);
    return cli_call("POST", body, NULL, err, "/drover/strategies");
}

static int use_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "strategy use NAME", "Makes it what places services that name none.", options, false, 1, 1};
    return cli_each(&command, argc, argv, use_one, NULL);
}

int cli_strategy(int argc, char **argv)
{
    static const struct cli_verb verbs[] = {
        {"ls", "List the strategies, and which is the cluster's", list_verb},
        {"set", "Add a script to the cluster, or replace it", set_verb},
        {"show", "Print a script", show_verb},
        {"rm", "Remove scripts that nobody uses", remove_verb},
        {"use", "Make it what places services that name none", use_verb},
        {NULL, NULL, NULL},
    };
    return cli_group(
        "strategy",
        "Who chooses nodes for tasks. A service's label sh.drover.strategy names its own strategy.", verbs,
        argc, argv);
}
