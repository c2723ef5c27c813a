/* drover build --print, --check and --call: what a Dockerfile says, without building it. */
#include "bakery/check.h"
#include "bakery/describe.h"
#include "bakery/preprocess.h"
#include "base/base64.h"
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

static int print_plain(const struct build_request *q)
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

static void print_warnings(const struct check_result *result)
{
    for (size_t i = 0; i < result->count; i++)
        print_warning(&result->list[i]);
    printf(result->count ? "Check complete, %zu warning%s found.\n" : "Check complete, no warnings found.\n",
           result->count, result->count == 1 ? "" : "s");
}

/* As BuildKit's "lint" request answers. */
static void print_warnings_json(const struct check_result *result, const struct reading *r)
{
    _cleanup_free_ char *text = base64_encode(str_get(&r->text), r->text.len);
    json_t *list = json_array();
    for (size_t i = 0; i < result->count; i++) {
        const struct check_warning *w = &result->list[i];
        json_t *item = json_object();
        json_set_str(item, "ruleName", w->rule);
        json_set_str(item, "description", w->doc);
        json_set_str(item, "detail", w->text);
        json_object_set_new(
            item, "location",
            json_pack("{s:[{s:{s:i},s:{s:i}}]}", "ranges", "start", "line", w->line, "end", "line", w->line));
        json_array_append_new(list, item);
    }
    _cleanup_json_ json_t *all = json_pack("{s:o,s:[{s:s,s:s,s:s}]}", "warnings", list, "sources", "fileName",
                                           r->name, "language", "Dockerfile", "data", text);
    output_json(all);
}

static int check(const struct build_request *q, bool as_json)
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
    if (code == 0 && as_json)
        print_warnings_json(&result, &r);
    else if (code == 0)
        print_warnings(&result);
    bool failed = result.count;
    check_result_done(&result);
    ignore_free(ignore);
    dockerfile_done(&file);
    return code < 0 ? cli_fail(&err) : failed;
}

/* --- What it offers --- */

static void print_targets(const json_t *all)
{
    struct table t = {.columns = 2};
    table_row(&t, "TARGET", "DESCRIPTION", NULL);
    size_t i;
    json_t *target;
    json_array_foreach (json_object_get(all, "targets"), i, target) {
        _cleanup_free_ char *name = str_printf("%s%s", json_str(target, "name"),
                                               !json_bool(target, "default") ? ""
                                               : *json_str(target, "name")   ? " (default)"
                                                                             : "(default)");
        table_row(&t, name, json_str(target, "description"), NULL);
    }
    table_print(&t);
}

/* Secrets and agents: what they are called, and whether the build fails without them. */
static void print_required(const json_t *all, const char *key, const char *title)
{
    struct table t = {.columns = 2};
    const json_t *list = json_object_get(all, key);
    size_t i;
    json_t *item;
    if (!json_array_size(list))
        return;
    printf("\n");
    table_row(&t, title, "REQUIRED", NULL);
    json_array_foreach (list, i, item)
        table_row(&t, json_str(item, "name"), json_bool(item, "required") ? "true" : "", NULL);
    table_print(&t);
}

static void print_outline(const json_t *all)
{
    _cleanup_free_ char *name = output_safe(json_str(all, "name"));
    _cleanup_free_ char *description = output_safe(json_str(all, "description"));
    printf("TARGET:      %s\n", *name ? name : "default");
    if (*description)
        printf("DESCRIPTION: %s\n", description);
    const json_t *args = json_object_get(all, "args");
    struct table t = {.columns = 3};
    size_t i;
    json_t *arg;
    if (json_array_size(args)) {
        printf("\n");
        table_row(&t, "BUILD ARG", "VALUE", "DESCRIPTION", NULL);
        json_array_foreach (args, i, arg)
            table_row(&t, json_str(arg, "name"), json_str(arg, "value"), json_str(arg, "description"), NULL);
        table_print(&t);
    }
    print_required(all, "secrets", "SECRET");
    print_required(all, "ssh", "SSH");
}

static int describe(const struct build_request *q, bool outline, bool as_json)
{
    _cleanup_(reading_done) struct reading r = {.root_fd = -EBADF};
    _cleanup_(df_text_done) struct df_text plain = {0};
    _cleanup_json_ json_t *all = NULL;
    struct dockerfile file;
    struct err err;
    if (prepare(q, &r, &plain, &file, &err) < 0)
        return cli_fail(&err);
    const struct describe_options o = {.target = q->target,
                                       .platform = q->platform,
                                       .build_args = r.args,
                                       .text = str_get(&r.text),
                                       .bytes = r.text.len};
    int code = 0;
    if (outline)
        code = describe_outline(&file, &o, &all, &err);
    else
        all = describe_targets(&file, &o);
    dockerfile_done(&file);
    if (code < 0)
        return cli_fail(&err);
    if (as_json)
        output_json(all);
    else if (outline)
        print_outline(all);
    else
        print_targets(all);
    return 0;
}

/* --- --call --- */

int build_call(const struct build_request *request, const struct build_call *call)
{
    switch (call->method) {
    case BUILD_PRINT:
        return print_plain(request);
    case BUILD_CHECK:
        return check(request, call->json);
    default:
        return describe(request, call->method == BUILD_OUTLINE, call->json);
    }
}

int build_call_parse(const char *text, struct build_call *ret, struct err *err)
{
    static const struct {
        const char *name;
        enum build_method method;
    } methods[] = {{"build", BUILD_BUILD},
                   {"check", BUILD_CHECK},
                   {"lint", BUILD_CHECK},
                   {"outline", BUILD_OUTLINE},
                   {"targets", BUILD_TARGETS}};
    _cleanup_strv_ char **parts = strv_split(text ? text : "build", ',');
    STRV_FOREACH (part, parts + 1) {
        const char *format = str_after(*part, "format=");
        if (!str_eq(format, "json") && !str_eq(format, "text"))
            return err_set(err, ERR_UNSUPPORTED,
                           "--call: \"%.80s\" is not supported: format=json or format=text", *part);
        ret->json = str_eq(format, "json");
    }
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (str_eq(parts[0], methods[i].name)) {
            ret->method = methods[i].method;
            return 0;
        }
    return err_set(err, ERR_UNSUPPORTED, "--call=%.80s is not supported: build, check, outline or targets",
                   parts[0]);
}
