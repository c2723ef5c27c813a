/* drover build --print and --check: what a Dockerfile says, without building it. */
#include "bakery/check.h"
#include "bakery/preprocess.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/build.h"
#include "cli/call.h"
#include "cli/output.h"

#include <fcntl.h>
#include <unistd.h>

struct reading {
    int root_fd;
    char *name; /* of the Dockerfile in the context */
    struct str text;
    char **args;
    struct platform machine, target;
};

static void reading_done(struct reading *r)
{
    close_fd(r->root_fd);
    free(r->name);
    str_free(&r->text);
    strv_free(r->args);
    platform_done(&r->machine);
    platform_done(&r->target);
}

static int read_file(void *context, const char *path, struct str *ret, struct err *err)
{
    const struct reading *r = context;
    _cleanup_close_ int fd = file_open_in_root(r->root_fd, path, O_RDONLY | O_NONBLOCK, 0, err);
    struct stat st;
    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return err_set(err, ERR_INVALID, "%s is not a regular file", path);
    return file_read_fd(fd, DOCKERFILE_MAX_BYTES, ret, err);
}

static int read_request(const struct build_request *q, struct reading *r, struct err *err)
{
    if (compose_context_is_remote(q->context))
        return err_set(err, ERR_INVALID, "%.300s is read by the engine alone: give a directory", q->context);
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)q->args, name, value)
        strv_take(&r->args, str_printf("%s=%s", name, json_string_value(value)));
    if (strcmp(q->context, "-") == 0) {
        r->name = mem_strdup("-");
        return file_read_fd(STDIN_FILENO, DOCKERFILE_MAX_BYTES, &r->text, err);
    }
    r->root_fd = open(q->context, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->root_fd < 0)
        return err_sys(err, errno, "open build context %s", q->context);
    int code = build_find_dockerfile(q, &r->name, &r->text, err);
    if (code == 0 && !r->text.len)
        code = read_file(r, r->name, &r->text, err);
    return code;
}

/* The plain text; what is plain already comes back as it is. */
static int make_plain(struct reading *r, struct df_text *ret, struct err *err)
{
    const char *text = str_get(&r->text);
    if (!preprocess_wanted(text, r->text.len)) {
        str_addn(&ret->text, text, r->text.len);
        return 0;
    }
    const struct preprocess_options o = {.name = r->name,
                                         .build_args = r->args,
                                         .target_platform = &r->target,
                                         .build_platform = &r->machine,
                                         .read = read_file,
                                         .context = r};
    return preprocess(text, r->text.len, &o, ret, err);
}

static int prepare(const struct build_request *q, struct reading *r, struct df_text *plain,
                   struct dockerfile *file, struct err *err)
{
    int code = read_request(q, r, err);
    if (code == 0)
        code = platform_of_machine(&r->machine, err);
    if (code == 0)
        code = str_empty(q->platform) ? platform_of_machine(&r->target, err)
                                      : platform_parse(q->platform, &r->target, err);
    if (code == 0)
        code = make_plain(r, plain, err);
    if (code < 0)
        return code;
    return plain->line_count ? dockerfile_parse_text(plain, r->name, file, err)
                             : dockerfile_parse(str_get(&plain->text), plain->text.len, r->name, file, err);
}

int build_print(const struct build_request *q)
{
    _cleanup_(reading_done) struct reading r = {.root_fd = -EBADF};
    _cleanup_(df_text_done) struct df_text plain = {0};
    struct dockerfile file;
    struct err err;
    if (prepare(q, &r, &plain, &file, &err) < 0)
        return cli_fail(&err);
    fwrite(plain.text.data, 1, plain.text.len, stdout);
    dockerfile_done(&file);
    return 0;
}

static int load_ignore(const struct reading *r, struct ignore **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_free_ char *own = str_printf("%s.dockerignore", r->name);
    if (r->root_fd < 0)
        return 0;
    int code = file_read_at(r->root_fd, own, IGNORE_MAX_BYTES, &text, err);
    if (code == -ERR_NOT_FOUND)
        code = file_read_at(r->root_fd, ".dockerignore", IGNORE_MAX_BYTES, &text, err);
    if (code == -ERR_NOT_FOUND)
        return 0;
    return code < 0 ? code : ignore_parse(str_get(&text), text.len, ret, err);
}

static void print_warning(const struct check_warning *w)
{
    _cleanup_free_ char *text = output_safe(w->text), *file = output_safe(w->file);
    printf("WARNING: %s\n%s\n%s:%d\n\n", w->rule, text, file, w->line);
}

int build_check(const struct build_request *q)
{
    _cleanup_(reading_done) struct reading r = {.root_fd = -EBADF};
    _cleanup_(df_text_done) struct df_text plain = {0};
    struct check_result result = {0};
    struct ignore *ignore = NULL;
    struct dockerfile file;
    struct err err;
    if (prepare(q, &r, &plain, &file, &err) < 0)
        return cli_fail(&err);
    check_take_argument(&file, r.args);
    int code = load_ignore(&r, &ignore, &err);
    if (code == 0)
        code = check_dockerfile(&file, ignore, &result, &err);
    for (size_t i = 0; i < result.count; i++)
        print_warning(&result.list[i]);
    if (code == 0)
        printf(result.count ? "Check complete, %zu warning%s found.\n"
                            : "Check complete, no warnings found.\n",
               result.count, result.count == 1 ? "" : "s");
    bool failed = result.error && result.count;
    check_result_done(&result);
    ignore_free(ignore);
    dockerfile_done(&file);
    return code < 0 ? cli_fail(&err) : failed;
}
