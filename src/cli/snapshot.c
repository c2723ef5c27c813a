/* What becomes of a container's files: commit makes an image of them, export a tar stream. */
#include "base/json.h"
#include "cli/archive.h"
#include "cli/call.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "cli/verbs.h"

#include <fcntl.h>
#include <unistd.h>

int cli_commit(int argc, char **argv)
{
    struct project_options project = {0};
    const char *author = NULL, *message = NULL;
    char **changes = NULL;
    bool pause = true;
    int index = 1;
    const struct cli_option options[] = {
        {'a', "author", CLI_TEXT, &author, "NAME", "Who made it"},
        {'m', "message", CLI_TEXT, &message, "TEXT", "What it is"},
        {'c', "change", CLI_LIST, &changes, "INSTRUCTION",
         "A Dockerfile instruction for it (again for more)"},
        {'p', "pause", CLI_FLAG, &pause, NULL, "Freeze the container meanwhile (the default); =false: not"},
        {0, "index", CLI_INT, &index, "N", "Which container of a service with several"},
        {0, "project-name", CLI_TEXT, &project.name, "NAME", "Project name"},
        {'f', "file", CLI_LIST, &project.files, "FILE", "Compose file (again for more)"},
        PROJECT_OPTIONS_WITHOUT_SHORT(project),
        {0},
    };
    const struct cli_command command = {
        "commit [OPTIONS] SERVICE|CONTAINER [IMAGE]",
        "Makes an image of a container's files and settings, and prints its id.",
        options,
        false,
        1,
        2};
    char **rest;
    struct err err;
    _cleanup_free_ char *id = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0)
        status = targets_find_one(&project, rest[0], index, &id);
    if (id && cli_dry_run) {
        output_would("Container %.12s of %s  Would become image %s", id, rest[0],
                     rest[1] ? rest[1] : "without a name");
    } else if (id) {
        _cleanup_json_ json_t *answer = NULL;
        const char *name = rest[1] ? rest[1] : "", *slash = strrchr(name, '/');
        const char *colon = strrchr(slash ? slash : name, ':');
        _cleanup_free_ char *bare = mem_strndup(name, colon ? (size_t)(colon - name) : strlen(name)),
                            *repository = cli_escape(bare), *tag = cli_escape(colon ? colon + 1 : ""),
                            *by = cli_escape(author ? author : ""),
                            *comment = cli_escape(message ? message : ""), *lines = strv_join(changes, "\n"),
                            *change = cli_escape(lines ? lines : "");
        if (cli_call("POST", NULL, &answer, &err,
                     "/commit?container=%s&repo=%s&tag=%s&author=%s&comment=%s&changes=%s&pause=%d", id,
                     repository, tag, by, comment, change, pause) < 0)
            status = cli_fail(&err);
        else
            printf("%s\n", json_str(answer, "Id"));
    }
    strv_free(changes);
    project_options_done(&project);
    return status;
}

int cli_export(int argc, char **argv)
{
    struct project_options project = {0};
    const char *output = NULL;
    int index = 1;
    const struct cli_option options[] = {
        {'o', "output", CLI_TEXT, &output, "FILE", "Write to a file, not to standard output"},
        {0, "index", CLI_INT, &index, "N", "Which container of a service with several"},
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {"export [OPTIONS] SERVICE|CONTAINER",
                                        "Writes a container's files as a tar stream.",
                                        options,
                                        false,
                                        1,
                                        1};
    char **rest;
    struct err err;
    _cleanup_free_ char *id = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status < 0 && !output && isatty(STDOUT_FILENO)) {
        fprintf(stderr, "drover export: a tar stream is not for a terminal; use -o FILE or redirect it\n");
        status = 2;
    }
    if (status < 0)
        status = targets_find_one(&project, rest[0], index, &id);
    project_options_done(&project);
    if (!id)
        return status;
    if (cli_dry_run) {
        output_would("Container %.12s of %s  Would be written to %s", id, rest[0],
                     output ? output : "standard output");
        return 0;
    }
    _cleanup_close_ int file = output ? open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -EBADF;
    int r = output && file < 0 ? err_sys(&err, errno, "create %s", output)
                               : archive_export_fd(id, output ? file : STDOUT_FILENO, &err);
    return r < 0 ? cli_fail(&err) : 0;
}
