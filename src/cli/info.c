/* What only prints: config, inspect, version. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/project.h"
#include "cli/verbs.h"
#include "compose/schema.h"
#include "compose/yaml.h"

int cli_config(int argc, char **argv)
{
    struct project_options project = {0};
    bool quiet = false, services = false, images = false;
    const struct cli_option options[] = {
        PROJECT_OPTIONS(project),
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Only check"},
        {0, "services", CLI_FLAG, &services, NULL, "Only the names of the services"},
        {0, "images", CLI_FLAG, &images, NULL, "Only the names of the images"},
        {0},
    };
    const struct cli_command command = {
        "config [OPTIONS]",
        "Checks the Compose files and prints what they come to: merged, with variables filled in.",
        options,
        false,
        0,
        0};
    char **rest;
    int status = cli_parse(&command, argc, argv, &rest);
    _cleanup_compose_ struct compose_project *p = NULL;
    if (status < 0)
        status = project_load(&project, NULL, false, &p);
    project_options_done(&project);
    if (!p || quiet)
        return status;
    for (size_t i = 0; (services || images) && i < p->service_count; i++)
        if (p->services[i].active)
            printf("%s\n", services ? p->services[i].name : p->services[i].image);
    if (services || images)
        return status;
    _cleanup_str_ struct str text = STR_INIT;
    yaml_remove(p->root, "name");
    yaml_remove(p->root, "version");
    yaml_format(p->root, &text);
    printf("name: %s\n", p->name);
    /* Read again, a dollar sign is to stay one. */
    for (const char *c = str_get(&text); *c; c++)
        fputs(*c == '$' ? "$$" : (const char[]){*c, '\0'}, stdout);
    return status;
}

int cli_compose_keys(int argc, char **argv)
{
    _cleanup_str_ struct str table = STR_INIT;
    (void)argc, (void)argv;
    schema_document(&table);
    fputs(str_get(&table), stdout);
    return 0;
}

int cli_inspect(int argc, char **argv)
{
    static const char *const kinds[] = {"/containers/%s/json", "/images/%s/json", "/networks/%s",
                                        "/volumes/%s"};
    const struct cli_command command = {
        "inspect NAME...",
        "Prints everything known of containers, images, networks or volumes, as JSON.",
        NULL,
        false,
        1,
        -1};
    char **names;
    struct err err;
    int status = cli_parse(&command, argc, argv, &names);
    if (status >= 0)
        return status;
    _cleanup_json_ json_t *list = json_array();
    status = 0;
    STRV_FOREACH (name, names) {
        _cleanup_free_ char *escaped = cli_escape(*name);
        json_t *found = NULL;
        int r = -ERR_NOT_FOUND;
        for (size_t i = 0; r == -ERR_NOT_FOUND && i < ARRAY_SIZE(kinds); i++) {
            _cleanup_free_ char *path = str_printf(kinds[i], escaped);
            r = cli_get(&found, &err, "%s", path);
        }
        if (r == -ERR_NOT_FOUND)
            err_set(&err, ERR_NOT_FOUND, "no such container, image, network or volume: %s", *name);
        if (r < 0)
            status = cli_fail(&err);
        else
            json_array_append_new(list, found);
    }
    output_json(list);
    return status;
}

int cli_version(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {{0, "json", CLI_FLAG, &json, NULL, "The server's answer as JSON"},
                                         {0}};
    const struct cli_command command = {
        "version [OPTIONS]", "Prints the versions of this program and of the server.", options, false, 0, 0};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_json_ json_t *server = NULL;
    if (!json)
        printf("Client: drover %s\n", DROVER_VERSION);
    if (cli_get(&server, &err, "/version") < 0)
        return cli_fail(&err);
    if (json)
        output_json(server);
    else
        printf("Server: %s (API %s, from %s)\n", json_str(server, "Version"), json_str(server, "ApiVersion"),
               json_str(server, "MinAPIVersion"));
    return 0;
}
