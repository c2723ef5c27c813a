/* drover explain, plan and rebalance: where tasks go and why, and what a change would do. */
#include "cli/placement.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/stack.h"
#include "cli/verbs.h"

static void print_safe(const char *text)
{
    _cleanup_free_ char *safe = output_safe(text);
    fputs(safe, stdout);
}

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

/* --- explain --- */

static void print_refused(const json_t *found)
{
    json_t *one, *name;
    size_t i, j;
    json_array_foreach (json_object_get(found, "Refused"), i, one) {
        int64_t nodes = json_int(one, "Nodes"), told = 0;
        printf("  %lld refused by %s: ", (long long)nodes, json_str(one, "Filter"));
        print_safe(json_str(one, "Text"));
        printf(" (");
        json_array_foreach (json_object_get(one, "Names"), j, name) {
            printf("%s", told++ ? ", " : "");
            print_safe(json_string_value(name));
        }
        if (nodes > told)
            printf(" and %lld more", (long long)(nodes - told));
        printf(")\n");
    }
}

static void print_best(const json_t *found)
{
    json_t *one;
    size_t i;
    json_array_foreach (json_object_get(found, "Best"), i, one) {
        char memory[32];
        output_size(json_int(one, "FreeMemoryBytes"), memory);
        printf("  %zu. ", i + 1);
        print_safe(json_str(one, "Node"));
        printf(": %lld task%s, %lld of this service; %g processors and %s free%s",
               (long long)json_int(one, "Tasks"), plural(json_int(one, "Tasks")),
               (long long)json_int(one, "ServiceTasks"), (double)json_int(one, "FreeNanoCPUs") / 1e9, memory,
               json_bool(one, "Image") ? "; has the image" : "");
        if (json_int(one, "Soft"))
            printf("; %lld soft wishes not met", (long long)json_int(one, "Soft"));
        printf("\n");
    }
}

void placement_print(const json_t *found)
{
    json_t *one;
    size_t i;
    int64_t nodes = json_int(found, "Nodes"), possible = json_int(found, "Possible");
    printf("  strategy %s", json_str(found, "Strategy"));
    if (*json_str(found, "Problem")) {
        printf(": ");
        print_safe(json_str(found, "Problem"));
    }
    printf("\n  %lld of %lld node%s %s possible\n", (long long)possible, (long long)nodes, plural(nodes),
           possible == 1 ? "is" : "are");
    print_refused(found);
    print_best(found);
    json_array_foreach (json_object_get(found, "PushedAside"), i, one)
        printf("  %s (priority %lld) would have to make room for it\n", json_str(one, "Name"),
               (long long)json_int(one, "Priority"));
}

static void print_explanation(const json_t *found)
{
    const json_t *service = json_object_get(found, "Service"), *task = json_object_get(found, "Task");
    char memory[32];
    int64_t waiting = json_int(service, "Waiting");
    output_size(json_int(service, "MemoryBytes"), memory);
    printf("service %s", json_str(service, "Name"));
    if (json_int(service, "Priority"))
        printf(" (priority %lld)", (long long)json_int(service, "Priority"));
    printf(": %lld running, %lld waiting for a node; each task reserves %g processors and %s of "
           "memory\n",
           (long long)json_int(service, "Running"), (long long)waiting,
           (double)json_int(service, "NanoCPUs") / 1e9, memory);
    if (task) {
        printf("task %s", json_str(task, "ID"));
        if (json_int(task, "Slot"))
            printf(" (%s.%lld)", json_str(service, "Name"), (long long)json_int(task, "Slot"));
        printf(": %s", json_str(task, "State"));
        if (*json_str(task, "Node")) {
            printf(" on ");
            print_safe(json_str(task, "Node"));
        }
        if (*json_str(task, "Err")) {
            printf(": ");
            print_safe(json_str(task, "Err"));
        }
        printf("\nwithout it, a task like it would find:\n");
    } else
        printf("one more task of it would find:\n");
    placement_print(found);
}

int cli_explain(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{0, "json", CLI_FLAG, &json, NULL, "As JSON"}, {0}};
    const struct cli_command command = {"explain [OPTIONS] TASK|SERVICE",
                                        "Says which nodes would take a task, or refuse it and why, by the "
                                        "numbers. TASK is an id, or SERVICE.SLOT.",
                                        options,
                                        false,
                                        1,
                                        1};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_free_ char *ref = cli_escape(rest[0]);
    _cleanup_free_ char *path = str_printf("/drover/explain/%s", ref);
    return cli_show(path, json, print_explanation);
}

/* --- plan --- */

static void print_counts(const char *what, const json_t *counts)
{
    const char *node;
    json_t *count;
    json_object_foreach ((json_t *)counts, node, count) {
        printf("  %s %lld on ", what, (long long)json_integer_value(count));
        print_safe(*node ? node : "no node yet");
        printf("\n");
    }
}

static void print_value(const json_t *value)
{
    _cleanup_free_ char *text =
        value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    enum { WIDE = 200 };
    bool cut = text && strlen(text) > WIDE;
    if (cut)
        text[WIDE] = '\0';
    print_safe(text ? text : "nothing");
    printf("%s", cut ? "..." : "");
}

void placement_print_changes(const json_t *changes, const char *indent)
{
    json_t *one;
    size_t i;
    json_array_foreach ((json_t *)changes, i, one) {
        printf("%s", indent);
        print_safe(json_str(one, "Path"));
        printf(": ");
        print_value(json_object_get(one, "Before"));
        printf(" -> ");
        print_value(json_object_get(one, "After"));
        printf("\n");
    }
}

static void print_service_plan(const json_t *p)
{
    const char *action = json_str(p, "Action"), *name = json_str(p, "Name");
    int64_t replaces = json_int(p, "Replaces"), unplaced = json_int(p, "Unplaced");
    if (str_eq(action, "none"))
        printf("service %s: nothing changes\n", name);
    else if (str_eq(action, "refuse")) {
        printf("service %s: refused: ", name);
        print_safe(json_str(p, "Problem"));
        printf("\n");
    } else if (str_eq(action, "create"))
        printf("service %s: is made\n", name);
    else if (replaces) {
        int64_t at_once = json_int(p, "Parallelism");
        printf("service %s: %lld task%s made anew, ", name, (long long)replaces,
               replaces == 1 ? " is" : "s are");
        if (at_once)
            printf("%lld at once, %s\n", (long long)at_once, json_str(p, "Order"));
        else
            printf("all at once, %s\n", json_str(p, "Order"));
    } else
        printf("service %s: changes, no task is made anew\n", name);
    placement_print_changes(json_object_get(p, "Changes"), "  ");
    print_counts("starts", json_object_get(p, "Starts"));
    print_counts("stops", json_object_get(p, "Stops"));
    if (unplaced)
        printf("  %lld would wait for a node:\n", (long long)unplaced);
    if (json_object_get(p, "Why"))
        placement_print(json_object_get(p, "Why"));
}

int placement_print_plan(const json_t *plan)
{
    json_t *one;
    size_t i;
    int refused = 0;
    json_array_foreach (json_object_get(plan, "Services"), i, one) {
        print_service_plan(one);
        refused |= str_eq(json_str(one, "Action"), "refuse");
    }
    if (!json_object_get(plan, "Moves"))
        return refused;
    int64_t tasks = json_int(plan, "Tasks");
    printf("%lld task%s of the node would end there\n", (long long)tasks, plural(tasks));
    json_array_foreach (json_object_get(plan, "Moves"), i, one) {
        printf("  ");
        print_safe(json_str(one, "Service"));
        printf(": ");
        if (json_bool(one, "Refused"))
            printf("no other node is possible");
        else {
            printf("to ");
            print_safe(json_str(one, "To"));
        }
        printf("\n");
    }
    return 0;
}

struct plan_words {
    const char *image, *strategy, *availability;
    char **constraints, **env;
    int replicas;
    bool json;
};

/* The service's spec with what was asked changed in it. */
static int change_spec(const struct plan_words *w, json_t *spec, struct err *err)
{
    json_t *template = json_object_get(spec, "TaskTemplate"),
           *container = json_object_get(template, "ContainerSpec"), *mode = json_object_get(spec, "Mode"),
           *replicated = json_object_get(mode, "Replicated");
    if (w->replicas >= 0 && !replicated)
        return err_set(err, ERR_INVALID, "--replicas: the service is not replicated");
    if (w->replicas >= 0)
        json_object_set_new(replicated, "Replicas", json_integer(w->replicas));
    if (w->image)
        json_set_str(container, "Image", w->image);
    if (w->env)
        json_object_set_new(container, "Env", json_of_strv(w->env));
    if (w->strategy)
        json_object_set_new(json_object_get(spec, "Labels"), "sh.drover.strategy", json_string(w->strategy));
    if (w->constraints) {
        json_t *placement = json_object_get(template, "Placement");
        if (!placement)
            json_object_set_new(template, "Placement", placement = json_object());
        json_object_set_new(placement, "Constraints", json_of_strv(w->constraints));
    }
    return 0;
}

static int ask_file_plan(const struct project_options *o, const struct stack_images *images, json_t **ret)
{
    _cleanup_json_ json_t *body = NULL;
    struct err err;
    int status = stack_plan_request(o, images, &body);
    if (status == 0 && cli_call("POST", body, ret, &err, "/drover/plan") < 0)
        status = cli_fail(&err);
    return status ? status : -1;
}

static int ask_plan(const struct plan_words *w, const char *ref, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *service = NULL, *body = NULL;
    _cleanup_free_ char *escaped = cli_escape(ref);
    int r = 0;
    if (w->availability)
        body = json_pack("{s:s, s:s}", "Node", ref, "Availability", w->availability);
    else {
        r = cli_get(&service, err, "/services/%s", escaped);
        json_t *spec = json_object_get(service, "Spec");
        if (r == 0)
            r = change_spec(w, spec, err);
        body = json_pack("{s:[O]}", "Services", spec);
    }
    return r == 0 ? cli_call("POST", body, ret, err, "/drover/plan") : r;
}

int cli_plan(int argc, char **argv)
{
    struct plan_words w = {.replicas = -1};
    struct project_options project = {0};
    struct stack_images images = {.quiet = true};
    const struct cli_option options[] = {
        {0, "replicas", CLI_INT, &w.replicas, "N", "If the service had N tasks"},
        {0, "image", CLI_TEXT, &w.image, "IMAGE", "If its tasks were of this image"},
        {0, "env", CLI_LIST, &w.env, "NAME=VALUE", "If this were its environment (again for more)"},
        {0, "constraint", CLI_LIST, &w.constraints, "EXPRESSION",
         "If these were its constraints (again for more)"},
        {0, "strategy", CLI_TEXT, &w.strategy, "NAME", "If this strategy placed it"},
        {0, "availability", CLI_TEXT, &w.availability, "STATE",
         "If the node NAME were active, pause or drain"},
        {0, "json", CLI_FLAG, &w.json, NULL, "As JSON"},
        STACK_IMAGES_OPTIONS(images),
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {
        "plan [OPTIONS] [SERVICE|NODE]",
        "Says what a change would do, without making it: which tasks are made "
        "anew, where tasks would start and stop, and what would find no node. "
        "Without a word: what deploying the Compose file would do.",
        options,
        false,
        0,
        1};
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *plan = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0 && !rest[0])
        status = ask_file_plan(&project, &images, &plan);
    else if (status < 0 && ask_plan(&w, rest[0], &plan, &err) < 0)
        status = cli_fail(&err);
    if (status < 0 && w.json) {
        output_json(plan);
        status = 0;
    } else if (status < 0)
        status = placement_print_plan(plan);
    strv_free(w.constraints);
    strv_free(w.env);
    project_options_done(&project);
    return status;
}

/* --- rebalance --- */

int cli_rebalance(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {"rebalance [off|on|N]",
                                        "Says, or sets, how many tasks at once may move to nodes that have "
                                        "come: N from 1 to 100; on is 2.",
                                        options,
                                        false,
                                        0,
                                        1};
    enum { ON = 2, MOST = 100 };
    char **rest;
    struct err err = {0};
    _cleanup_json_ json_t *found = NULL, *body = NULL;
    int64_t n = ON;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (!rest[0]) {
        if (cli_get(&found, &err, "/drover/rebalance") < 0)
            return cli_fail(&err);
        n = json_int(found, "Budget");
        if (n)
            printf("on: at most %lld at once\n", (long long)n);
        else
            printf("off\n");
        return 0;
    }
    if (str_eq(rest[0], "off"))
        n = 0;
    else if (!str_eq(rest[0], "on") && parse_i64(rest[0], 1, MOST, &n, NULL) < 0) {
        fprintf(stderr, "drover rebalance: \"%s\" is not off, on or a number from 1 to %d\n", rest[0], MOST);
        return 2;
    }
    body = json_pack("{s:I}", "Budget", (json_int_t)n);
    return cli_call("POST", body, NULL, &err, "/drover/rebalance") < 0 ? cli_fail(&err) : 0;
}
