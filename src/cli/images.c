#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/services.h"
#include "cli/verbs.h"

#include <fcntl.h>
#include <unistd.h>

static const char *short_id(const char *id)
{
    const char *hex = str_after(id, "sha256:");
    return hex ? hex : id;
}

static void print_one(struct table *t, const json_t *image, const char *tag)
{
    char size[32], human[TIME_RFC3339_BYTES], id[13];
    const char *colon = strrchr(tag, ':');
    _cleanup_free_ char *name = mem_strndup(tag, colon ? (size_t)(colon - tag) : strlen(tag));
    output_size(json_int(image, "Size"), size);
    time_format_human(time_now_ns() - json_int(image, "Created") * NS_PER_S, human);
    _cleanup_free_ char *created = str_printf("%s ago", human);
    snprintf(id, sizeof(id), "%s", short_id(json_str(image, "Id")));
    table_row(t, name, colon ? colon + 1 : "<none>", id, created, size, NULL);
}

static void print_table(const json_t *list)
{
    struct table t = {.columns = 5};
    size_t i, j;
    json_t *image, *tag;
    table_row(&t, "REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", NULL);
    json_array_foreach ((json_t *)list, i, image) {
        const json_t *tags = json_object_get(image, "RepoTags");
        if (!json_array_size(tags))
            print_one(&t, image, "<none>");
        json_array_foreach ((json_t *)tags, j, tag)
            print_one(&t, image, json_string_value(tag));
    }
    table_print(&t);
}

int cli_images(int argc, char **argv)
{
    bool all = false, quiet = false, json = false;
    const char *format = NULL;
    struct project_options project = {0};
    const struct cli_option options[] = {
        PROJECT_OPTIONS(project),
        {'a', "all", CLI_FLAG, &all, NULL, "Intermediate images too"},
        {'q', "quiet", CLI_FLAG, &quiet, NULL, "Only ids"},
        {0, "json", CLI_FLAG, &json, NULL, "The API's list as JSON"},
        {0, "format", CLI_TEXT, &format, "FORMAT", "table (the default) or json"},
        {0},
    };
    const struct cli_command command = {"images [OPTIONS] [SERVICE... | NAME]",
                                        "Lists the images that the project's containers are made from; with "
                                        "-a, or where there is no project, those "
                                        "of the machine.",
                                        options,
                                        false,
                                        0,
                                        -1};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    bool of_project = !all && !json && (project_given_name(&project) || project_present(&project));
    bool as_json = str_eq(format, "json");
    if (status < 0 && format && !as_json && strcmp(format, "table") != 0) {
        fprintf(stderr, "drover images: --format must be table or json, not \"%s\"\n", format);
        status = 2;
    }
    if (status < 0 && of_project)
        status = services_images(&project, rest, quiet ? IMAGES_IDS : as_json ? IMAGES_JSON : IMAGES_TABLE);
    json |= as_json;
    project_options_done(&project);
    if (status >= 0)
        return status;
    _cleanup_json_ json_t *list = NULL, *filters = json_object();
    if (*rest)
        json_object_set_new(filters, "reference", json_pack("[s]", *rest));
    _cleanup_free_ char *text = cli_escape_json(filters);
    if (cli_get(&list, &err, "/images/json?all=%d&filters=%s", all, text) < 0)
        return cli_fail(&err);
    size_t i;
    json_t *image;
    if (json)
        output_json(list);
    else if (!quiet)
        print_table(list);
    else
        json_array_foreach (list, i, image)
            printf("%.12s\n", short_id(json_str(image, "Id")));
    return 0;
}

/* --- drover import --- */

static ssize_t read_file(void *context, void *buffer, size_t n, struct err *err)
{
    for (;;) {
        ssize_t got = read(*(int *)context, buffer, n);
        if (got >= 0 || errno != EINTR)
            return got >= 0 ? got : err_sys(err, errno, "read the archive");
    }
}

static int keep_status(void *context, const json_t *line, struct err *err)
{
    (void)err;
    if (*json_str(line, "status")) {
        free(*(char **)context);
        *(char **)context = mem_strdup(json_str(line, "status"));
    }
    return 0;
}

int cli_import(int argc, char **argv)
{
    const char *message = NULL;
    char **changes = NULL;
    const struct cli_option options[] = {
        {'c', "change", CLI_LIST, &changes, "INSTRUCTION",
         "Dockerfile instruction for the image's configuration"},
        {'m', "message", CLI_TEXT, &message, "TEXT", "Comment of the image"},
        {0},
    };
    const struct cli_command command = {
        "import [OPTIONS] FILE|- [NAME]",
        "Makes an image of one layer from a root file system's tar archive; prints its id.",
        options,
        false,
        1,
        2};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    _cleanup_strv_ char **owned = changes;
    _cleanup_close_ int fd =
        strcmp(rest[0], "-") == 0 ? dup(STDIN_FILENO) : open(rest[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_sys(&err, errno, "open %s", rest[0]);
        return cli_fail(&err);
    }
    _cleanup_str_ struct str path = STR_INIT;
    _cleanup_free_ char *name = cli_escape(rest[1] ? rest[1] : ""), *id = NULL;
    const char *colon = strrchr(name, ':'), *slash = strrchr(name, '/');
    if (colon && (!slash || colon > slash))
        str_addf(&path, "/images/create?fromSrc=-&repo=%.*s&tag=%s", (int)(colon - name), name, colon + 1);
    else
        str_addf(&path, "/images/create?fromSrc=-&repo=%s", name);
    _cleanup_free_ char *comment = cli_escape(message ? message : "");
    str_addf(&path, "&message=%s", comment);
    STRV_FOREACH (change, owned) {
        _cleanup_free_ char *escaped = cli_escape(*change);
        str_addf(&path, "&changes=%s", escaped);
    }
    struct http_call call = {
        .method = "POST", .source = read_file, .source_context = &fd, .source_bytes = -1};
    if (cli_lines(&call, str_get(&path), keep_status, &id, &err) < 0)
        return cli_fail(&err);
    printf("%s\n", id ? id : "");
    return 0;
}
