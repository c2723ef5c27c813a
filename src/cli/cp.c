/* drover cp: like docker compose cp, and like docker cp for containers by name. */
#include "base/file.h"
#include "cli/archive.h"
#include "cli/call.h"
#include "cli/output.h"
#include "cli/targets.h"
#include "cli/verbs.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

/* "web:/etc/x": *ret_path is behind the colon; NULL for a path of this machine. */
static char *split(const char *text, const char **ret_path)
{
    const char *colon = strchr(text, ':');
    if (!colon || *text == '/' || *text == '.')
        return NULL;
    *ret_path = colon + 1;
    return mem_strndup(text, (size_t)(colon - text));
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static char *dir_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return !slash          ? mem_strdup(".")
           : slash == path ? mem_strdup("/")
                           : mem_strndup(path, (size_t)(slash - path));
}

static char *without_slashes(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return mem_strndup(path, n);
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* --- To a container --- */

static int copy_in(const char *local, const char *container, const char *path, bool follow, bool to_user,
                   struct err *err)
{
    if (strcmp(local, "-") == 0)
        return archive_put_fd(container, path, to_user, STDIN_FILENO, err);
    char real[PATH_MAX];
    bool contents = str_ends_with(local, "/.") || strcmp(local, ".") == 0;
    enum archive_kind kind;
    _cleanup_free_ char *plain = without_slashes(local), *target = without_slashes(path);
    if (follow && realpath(plain, real)) {
        free(plain);
        plain = mem_strdup(real);
    }
    if (access(plain, F_OK) < 0)
        return err_sys(err, errno, "copy %s", local);
    int r = archive_kind(container, target, &kind, err);
    if (r < 0)
        return r;
    bool into = kind == ARCHIVE_DIRECTORY;
    if (contents && !into)
        return err_set(err, ERR_INVALID, "%s is no directory of the container", path);
    if (!into && str_ends_with(path, "/"))
        return err_set(err, ERR_NOT_FOUND, "there is no directory %s in the container", path);
    _cleanup_free_ char *parent = dir_name(plain), *above = dir_name(target);
    _cleanup_close_ int root = open(contents ? plain : parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", contents ? plain : parent);
    const struct tar_create create = {.root_fd = root,
                                      .path = contents ? "/" : base_name(plain),
                                      .name = contents ? NULL
                                              : into   ? base_name(plain)
                                                       : base_name(target),
                                      .epoch = -1};
    return archive_put(container, into ? target : above, to_user, &create, err);
}

/* --- From a container --- */

/* Through a directory beside the target, so that it can have another name, and is whole when it is there. */
static int copy_as(const char *container, const char *path, const char *local, struct err *err)
{
    _cleanup_free_ char *parent = dir_name(local), *inside = without_slashes(path);
    _cleanup_free_ char *temporary = str_printf("%s/.drover-cp-XXXXXX", parent);
    if (!mkdtemp(temporary))
        return err_sys(err, errno, "make a directory in %s", parent);
    _cleanup_close_ int into = open(temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r =
        into < 0 ? err_sys(err, errno, "open %s", temporary) : archive_extract(container, inside, into, err);
    _cleanup_free_ char *from = str_printf("%s/%s", temporary, base_name(inside));
    if (r == 0 && rename(from, local) < 0)
        r = err_sys(err, errno, "make %s", local);
    file_remove_tree(temporary, NULL);
    return r;
}

static int copy_out(const char *container, const char *path, const char *local, struct err *err)
{
    if (strcmp(local, "-") == 0)
        return archive_get_fd(container, path, STDOUT_FILENO, err);
    _cleanup_free_ char *plain = without_slashes(local);
    bool contents = str_ends_with(path, "/.");
    if (contents && !is_directory(plain) && mkdir(plain, 0755) < 0)
        return err_sys(err, errno, "make %s", plain);
    if (!is_directory(plain))
        return str_ends_with(local, "/") ? err_set(err, ERR_NOT_FOUND, "there is no directory %s", local)
                                         : copy_as(container, path, plain, err);
    _cleanup_close_ int into = open(plain, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (into < 0)
        return err_sys(err, errno, "open %s", plain);
    return archive_extract(container, path, into, err);
}

/* --dry-run: what is copied has to be there. */
static int would_copy(const char *container, const char *from, const char *to, bool out, struct err *err)
{
    enum archive_kind kind;
    _cleanup_free_ char *plain = without_slashes(from);
    int r = out ? archive_kind(container, plain, &kind, err) : 0;
    if (r == 0 && out && kind == ARCHIVE_NOTHING)
        r = err_set(err, ERR_NOT_FOUND, "there is no %s in the container", from);
    if (r == 0 && !out && strcmp(from, "-") != 0 && access(plain, F_OK) < 0)
        r = err_sys(err, errno, "copy %s", from);
    if (r == 0)
        output_would("Container %.12s  Would copy %s %s to %s %s", container, out ? "its" : "this machine's",
                     from, out ? "this machine's" : "its", to);
    return r;
}

int cli_cp(int argc, char **argv)
{
    struct project_options project = {0};
    bool follow = false, archive = false;
    int index = 1;
    const struct cli_option options[] = {
        {'L', "follow-link", CLI_FLAG, &follow, NULL, "Copy what a link of this machine points to"},
        {'a', "archive", CLI_FLAG, &archive, NULL, "What is copied into a container becomes its user's"},
        {0, "index", CLI_INT, &index, "N", "Which container of a service with several"},
        PROJECT_OPTIONS(project),
        {0},
    };
    const struct cli_command command = {
        "cp [OPTIONS] SERVICE|CONTAINER:PATH LOCAL|-   or   cp [OPTIONS] LOCAL|- SERVICE|CONTAINER:PATH",
        "Copies files between a container and this machine; \"-\" is a tar stream.",
        options,
        false,
        2,
        2};
    char **rest;
    struct err err;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    const char *from_path = NULL, *to_path = NULL;
    _cleanup_free_ char *from = split(rest[0], &from_path), *to = split(rest[1], &to_path), *id = NULL;
    if (!from == !to) {
        fprintf(stderr, "drover cp: one of the two is SERVICE:PATH, the other a path of this machine\n");
        project_options_done(&project);
        return 2;
    }
    status = targets_find_one(&project, from ? from : to, index, &id);
    project_options_done(&project);
    if (status)
        return status;
    int r;
    if (cli_dry_run)
        r = would_copy(id, from ? from_path : rest[0], from ? rest[1] : to_path, from != NULL, &err);
    else if (from)
        r = copy_out(id, from_path, rest[1], &err);
    else
        r = copy_in(rest[0], id, to_path, follow, archive, &err);
    return r < 0 ? cli_fail(&err) : 0;
}
