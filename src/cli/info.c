/* What only prints: inspect, version, the keys of Compose files and Dockerfiles. */
#include "api/api.h"
#include "bakery/dockerfile.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "compose/schema.h"

int cli_compose_keys(int argc, char **argv)
{
    _cleanup_str_ struct str table = STR_INIT;
    (void)argc, (void)argv;
    schema_document(&table);
    fputs(str_get(&table), stdout);
    return 0;
}

int cli_dockerfile_keys(int argc, char **argv)
{
    _cleanup_str_ struct str table = STR_INIT;
    (void)argc, (void)argv;
    dockerfile_document(&table);
    fputs(str_get(&table), stdout);
    return 0;
}

int cli_compatibility(int argc, char **argv)
{
    _cleanup_str_ struct str tables = STR_INIT;
    (void)argc, (void)argv;
    api_document(&tables);
    fputs(str_get(&tables), stdout);
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
    bool json = false, brief = false;
    const char *format = NULL;
    const struct cli_option options[] = {
        {0, "json", CLI_FLAG, &json, NULL, "The server's answer as JSON"},
        {'f', "format", CLI_TEXT, &format, "FORMAT", "pretty (the default), or json: this program's as JSON"},
        {0, "short", CLI_FLAG, &brief, NULL, "Only this program's"},
        {0}};
    const struct cli_command command = {
        "version [OPTIONS]", "Prints the versions of this program and of the server.", options, false, 0, 0};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    bool as_json = str_eq(format, "json");
    if (format && !as_json && strcmp(format, "pretty") != 0) {
        fprintf(stderr, "drover version: --format must be pretty or json, not \"%s\"\n", format);
        return 2;
    }
    if (brief || as_json) {
        printf(brief ? "%s\n" : "{\"version\":\"%s\"}\n", DROVER_VERSION);
        return 0;
    }
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
