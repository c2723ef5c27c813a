/* drover history and rollback: the versions of a swarm's service. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/placement.h"
#include "cli/verbs.h"

static void print_versions(const json_t *list, bool changes)
{
    struct table t = {.columns = 5};
    json_t *one;
    size_t i;
    if (!changes)
        table_row(&t, "VERSION", "CREATED", "IMAGE", "STABLE", "", NULL);
    json_array_foreach ((json_t *)list, i, one) {
        char number[32];
        const json_t *template = json_object_get(json_object_get(one, "Spec"), "TaskTemplate");
        snprintf(number, sizeof(number), "%lld", (long long)json_int(one, "Version"));
        const char *mark = json_bool(one, "Present")    ? "present"
                           : json_bool(one, "Previous") ? "previous"
                                                        : "";
        if (changes)
            printf("version %s%s%s\n", number, *mark ? ", " : "", mark);
        else
            table_row(&t, number, json_str(one, "CreatedAt"),
                      json_str(json_object_get(template, "ContainerSpec"), "Image"),
                      json_bool(one, "Stable") ? "yes" : "", mark, NULL);
        if (changes)
            placement_print_changes(json_object_get(one, "Changes"), "  ");
    }
    if (!changes)
        table_print(&t);
}

int cli_history(int argc, char **argv)
{
    bool json = false, changes = false;
    const struct cli_option options[] = {
        {0, "changes", CLI_FLAG, &changes, NULL, "What each version has changed"},
        {0, "json", CLI_FLAG, &json, NULL, "As JSON, with each version's whole spec"},
        {0},
    };
    const struct cli_command command = {"history [OPTIONS] SERVICE",
                                        "Lists the versions of a swarm's service that can be gone back to.",
                                        options,
                                        false,
                                        1,
                                        1};
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *list = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_free_ char *ref = cli_escape(rest[0]);
    if (cli_get(&list, &err, "/drover/services/%s/versions", ref) < 0)
        return cli_fail(&err);
    if (json)
        output_json(list);
    else
        print_versions(list, changes);
    return 0;
}

static int go_back(const char *ref, int to, struct err *err)
{
    _cleanup_free_ char *escaped = cli_escape(ref);
    _cleanup_json_ json_t *service = NULL, *body = NULL;
    if (to >= 0) {
        body = json_pack("{s:i}", "Version", to);
        return cli_call("POST", body, NULL, err, "/drover/services/%s/rollback", escaped);
    }
    int r = cli_get(&service, err, "/services/%s", escaped);
    if (r < 0)
        return r;
    return cli_call("POST", json_object_get(service, "Spec"), NULL, err,
                    "/services/%s/update?version=%lld&rollback=previous", escaped,
                    (long long)json_int(json_object_get(service, "Version"), "Index"));
}

int cli_rollback(int argc, char **argv)
{
    int to = -1;
    const struct cli_option options[] = {
        {0, "to", CLI_INT, &to, "VERSION",
         "Which (\"drover history SERVICE\" lists them; default: the previous one)"},
        {0},
    };
    const struct cli_command command = {"rollback [OPTIONS] SERVICE",
                                        "Rolls a swarm's service back to a version that it had, as its "
                                        "--rollback-* settings say.",
                                        options,
                                        false,
                                        1,
                                        1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (go_back(rest[0], to, &err) < 0)
        return cli_fail(&err);
    if (to >= 0)
        printf("%s goes back to version %d\n", rest[0], to);
    else
        printf("%s goes back to its previous version\n", rest[0]);
    return 0;
}
