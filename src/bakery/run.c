#include "bakery/run_mounts.h"

#include "base/failpoint.h"
#include "base/file.h"
#include "base/str.h"
#include "base/timeutil.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* RUN: a process over a writable snapshot, through the caller's `run`. */

/* What the flags say of the step's rights. */
struct rights {
    const char *network;
    bool insecure;
};

static int check_security(const struct bakery_options *o, const char *value, struct rights *ret,
                          struct err *err)
{
    if (!str_eq(value, "sandbox") && !str_eq(value, "insecure"))
        return err_set(err, ERR_INVALID, "--security=%s: it must be sandbox or insecure", value);
    ret->insecure = str_eq(value, "insecure");
    if (ret->insecure && !strv_has(o->allow, "security.insecure"))
        return err_set(err, ERR_DENIED,
                       "--security=insecure gives the step all rights on this machine, and the build was not "
                       "allowed that: use --allow security.insecure");
    return 0;
}

/* Devices have names only where somebody gave them some (the Container Device Interface), which is not here.
 */
static int check_device(const char *value, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(value, ',');
    bool required = false;
    STRV_FOREACH (p, parts)
        required = required || str_eq(*p, "required") || str_eq(*p, "required=true");
    return required ? err_set(err, ERR_UNSUPPORTED, "--device=%s: this machine names no devices (CDI)", value)
                    : 0;
}

static int check_flags(struct build *s, const struct df_step *step, struct rights *ret, struct err *err)
{
    *ret = (struct rights){str_empty(s->b->o->network) ? "default" : s->b->o->network, false};
    int r = 0;
    for (size_t i = 0; i < step->flag_count; i++) {
        const char *name = step->flags[i].name, *value = step->flags[i].value ? step->flags[i].value : "";
        if (strcmp(name, "network") == 0) {
            if (strcmp(value, "default") != 0 && strcmp(value, "none") != 0 && strcmp(value, "host") != 0)
                return err_set(err, ERR_INVALID, "--network=%s: it must be default, none or host", value);
            if (strcmp(value, "default") != 0)
                ret->network = value;
        } else if (strcmp(name, "security") == 0) {
            r = check_security(s->b->o, value, ret, err);
        } else if (strcmp(name, "device") == 0) {
            r = check_device(value, err);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

/* The one word of "RUN <<EOF": its content is the script. */
static bool heredoc_alone(const struct df_step *step)
{
    const char *text = step->args[0];
    return step->heredoc_count == 1 && !text[strcspn(text, " \t")];
}

/* What the shell gets: the text, with its heredocs where the shell reads them; or the script itself. */
static char *shell_text(const struct df_step *step)
{
    if (heredoc_alone(step))
        return mem_strdup(step->heredocs[0].content);
    struct str s = STR_INIT;
    str_add(&s, step->args[0]);
    for (size_t i = 0; i < step->heredoc_count; i++)
        str_addf(&s, "\n%s%s", step->heredocs[i].content, step->heredocs[i].name);
    return str_take(&s);
}

/* A heredoc that starts with "#!" runs as a program of its own: a file in the snapshot while it runs. */
static int write_script(struct build *s, struct layer *l, const char *name, const char *content,
                        struct err *err)
{
    int r = build__layer_mount(s, l, false, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd =
        openat(l->root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0755);
    if (fd < 0 || fchmod(fd, 0755) < 0)
        r = err_sys(err, errno, "write the script of the heredoc");
    else
        r = file_write_all(fd, content, strlen(content), err);
    fd = close_fd(fd);
    build__layer_unmount(l);
    return r;
}

static int remove_script(struct layer *l, const char *name, struct err *err)
{
    _cleanup_free_ char *path = str_printf("%s/%s", l->snapshot.upper, name);
    return unlink(path) < 0 && errno != ENOENT ? err_sys(err, errno, "remove the script of the heredoc") : 0;
}

/* Whether a build argument, an ARG or ENV gives the name a value of its own. */
static bool is_given(struct build *s, const char *name)
{
    size_t n = strlen(name);
    STRV_FOREACH (arg, (char **)s->b->o->build_args)
        if (strncmp(*arg, name, n) == 0 && (*arg)[n] == '=')
            return true;
    return map_has(&s->args, name) || build__env_get(s, name);
}

/* A proxy of the build's, which programs look for under its name in capitals and in small letters. */
static void add_proxy(struct build *s, char ***env, const char *arg)
{
    const char *equals = strchr(arg, '=');
    _cleanup_free_ char *name = mem_strndup(arg, equals ? (size_t)(equals - arg) : strlen(arg));
    _cleanup_free_ char *lower = str_lower(name), *other = mem_strdup(lower);
    if (!equals || !str_ends_with(lower, "_proxy") || map_has(&s->args, name) || build__env_get(s, name))
        return;
    strv_add(env, arg);
    for (char *c = other; str_eq(name, lower) && *c; c++)
        *c = (char)toupper((unsigned char)*c);
    if (!is_given(s, other))
        strv_take(env, str_printf("%s%s", other, equals));
}

/* ENV, the stage's ARGs, and the proxies that every build may be given without an ARG. */
static char **environment(struct build *s, char *const *args)
{
    char **env = NULL;
    size_t i;
    json_t *entry, *list = json_object_get(build__config(s), "Env");
    json_array_foreach (list, i, entry)
        if (json_is_string(entry))
            strv_add(&env, json_string_value(entry));
    STRV_FOREACH (arg, (char **)args)
        strv_add(&env, *arg);
    STRV_FOREACH (arg, (char **)s->b->o->build_args)
        add_proxy(s, &env, *arg);
    return env;
}

struct told {
    struct build *s;
    int64_t deadline_ns; /* monotonic; 0: none */
    bool late;
    char id[13]; /* "" as long as there is no container */
};

static int tell_running(void *context, const char *container_id)
{
    struct told *t = context;
    snprintf(t->id, sizeof(t->id), "%.12s", container_id);
    return build__say(t->s->b, t->s->stage, " ---> Running in %s\n", t->id);
}

static int take_output(void *context, int stream, const void *bytes, size_t n)
{
    struct told *t = context;
    struct build *s = t->s;
    t->late = t->late || (t->deadline_ns && time_monotonic_ns() > t->deadline_ns);
    const struct bakery_event event = {.kind = BAKERY_LOG,
                                       .stage = (size_t)(s->stage - s->b->stages),
                                       .step = s->step,
                                       .steps = s->steps,
                                       .stream = stream,
                                       .bytes = bytes,
                                       .byte_count = n};
    if (n)
        build__event(s->b, &event);
    return build__out(s->b, s->stage, stream, bytes, n) < 0 || t->late ? -1 : 0;
}

/* `shown` is what messages call the command. */
static int execute(struct build *s, struct layer *l, char *const *argv, char *const *shown, char *const *env,
                   const struct rights *rights, const struct run_mounts *mounts, struct err *err)
{
    const struct bakery_options *o = s->b->o;
    const char *workdir = json_str(build__config(s), "WorkingDir");
    struct told told = {.s = s, .deadline_ns = o->timeout_ns ? time_monotonic_ns() + o->timeout_ns : 0};
    bool kept = false;
    struct bakery_run run = {.snapshot = &l->snapshot,
                             .snapshot_dir = l->dir,
                             .image_id = s->image_id,
                             .argv = argv,
                             .env = env,
                             .user = json_str(build__config(s), "User"),
                             .workdir = *workdir ? workdir : "/",
                             .network = rights->network,
                             .insecure = rights->insecure,
                             .mounts = mounts->mounts,
                             .mount_count = mounts->mounted,
                             .ssh_agent = o->ssh_agent,
                             .ssh_context = o->secret_context,
                             .host_config = o->host_config,
                             .output_context = &told,
                             .output = take_output,
                             .running = tell_running,
                             .running_context = &told,
                             .keep = o->keep_steps,
                             .keep_failed = o->keep_failed_step,
                             .ret_kept = &kept};
    if (!o->run)
        return err_set(err, ERR_UNSUPPORTED, "RUN cannot be executed in this build");
    int status = 0;
    int r = o->run(o->run_context, &run, &status, err);
    FAILPOINT("build-step-run");
    if (r < 0 && told.late) {
        char limit[TIME_RFC3339_BYTES];
        return err_set(err, ERR_TIMEOUT, "it took longer than the build's timeout of %s, and was ended",
                       time_format_duration(o->timeout_ns, limit));
    }
    if (r == 0 && *told.id && !kept &&
        build__say(s->b, s->stage, "Removing intermediate container %s\n", told.id) < 0)
        r = err_set(err, ERR_CANCELLED, "build cancelled");
    if (r < 0 || status == 0)
        return r;
    pthread_mutex_lock(&s->b->lock);
    if (!*s->b->exit_status)
        *s->b->exit_status = status;
    pthread_mutex_unlock(&s->b->lock);
    _cleanup_free_ char *command = strv_join(shown, " ");
    return err_set(err, ERR_INVALID, "The command '%.300s' returned a non-zero code: %d", command, status);
}

static char *created_by_of(char *const *argv, char *const *args)
{
    struct str s = STR_INIT;
    if (args && args[0])
        str_addf(&s, "|%zu ", strv_len(args));
    STRV_FOREACH (arg, (char **)args)
        str_addf(&s, "%s ", *arg);
    _cleanup_free_ char *command = strv_join(argv, " ");
    str_add(&s, command);
    return str_take(&s);
}

/* Words are told apart in the key, which they are not in created_by. */
static int run_key(struct build *s, char *const *argv, char *const *args, const struct rights *rights,
                   const struct run_mounts *mounts, char ret[DIGEST_BYTES], struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    STRV_FOREACH (word, (char **)argv)
        str_addf(&text, "%zu:%s", strlen(*word), *word);
    STRV_FOREACH (arg, (char **)args)
        str_addf(&text, "|%zu:%s", strlen(*arg), *arg);
    int r = run_mounts_key(s, mounts, &text, err);
    if (r == 0 && rights->insecure)
        str_add(&text, "|insecure");
    if (r == 0)
        build__cache_key(s, str_get(&text), rights->network, ret);
    return r;
}

/* Whether the step's text alone says what it does. */
static bool told_by_history(const struct run_mounts *mounts, const struct rights *rights)
{
    return !mounts->count && !rights->insecure && str_eq(rights->network, "default");
}

/* What qemu calls an architecture, by which binfmt_misc's handlers are known. */
static const char *qemu_name(const char *architecture)
{
    static const char *const names[][2] = {{"amd64", "x86_64"},
                                           {"arm64", "aarch64"},
                                           {"386", "i386"},
                                           {"loong64", "loongarch64"},
                                           {"mips64le", "mips64el"}};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(names[i][0], architecture))
            return names[i][1];
    return architecture;
}

/* Whether a handler of binfmt_misc that is on is one for the architecture. */
static bool has_handler(const char *architecture)
{
    _cleanup_free_ char *name = str_printf("qemu-%s", qemu_name(architecture)),
                        *path = str_printf("/proc/sys/fs/binfmt_misc/%s", name);
    _cleanup_str_ struct str text = STR_INIT;
    return file_read(path, 64 << 10, &text, NULL) == 0 && str_after(str_get(&text), "enabled");
}

/* A 64-bit machine runs what its 32-bit kin does; with a handler in binfmt_misc it runs more. */
static int check_machine(struct build *s, struct err *err)
{
    static const char *const kin[][2] = {{"amd64", "386"}, {"arm64", "arm"}};
    const char *here = s->b->build_platform.architecture, *image = json_str(s->config, "architecture");
    bool can = !*image || str_eq(here, image) || has_handler(image);
    for (size_t i = 0; i < ARRAY_SIZE(kin); i++)
        can = can || (str_eq(kin[i][0], here) && str_eq(kin[i][1], image));
    return can ? 0
               : err_set(
                     err, ERR_UNSUPPORTED,
                     "the stage is for linux/%s and this machine is linux/%s: a RUN cannot be executed here; "
                     "register qemu-%s with binfmt_misc (Debian: qemu-user-static), use FROM "
                     "--platform=$BUILDPLATFORM and cross-compile, or build on a machine of that kind",
                     image, here, qemu_name(image));
}

/* RUN []: what a container of the image would run. */
static char **own_command(struct build *s)
{
    static const char *const parts[] = {"Entrypoint", "Cmd"};
    char **argv = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        const json_t *list = json_object_get(build__config(s), parts[i]), *word;
        size_t k;
        json_array_foreach (list, k, word)
            if (json_is_string(word))
                strv_add(&argv, json_string_value(word));
    }
    return argv;
}

int build__run(struct build *s, const struct df_step *step, struct err *err)
{
    struct rights rights;
    _cleanup_run_mounts_ struct run_mounts mounts = {0};
    int r = check_flags(s, step, &rights, err);
    if (r == 0)
        r = run_mounts_read(s, step, &mounts, err);
    if (r < 0)
        return r;
    _cleanup_strv_ char **argv = !step->json  ? build__shell(s)
                                 : step->args ? strv_dup(step->args)
                                              : own_command(s);
    if (!argv)
        return err_set(err, ERR_INVALID, "No command specified");
    _cleanup_free_ char *text = step->json ? NULL : shell_text(step);
    if (text)
        strv_add(&argv, text);
    _cleanup_strv_ char **args = build__effective_args(s);
    _cleanup_free_ char *created_by = created_by_of(argv, args);
    char key[DIGEST_BYTES];
    bool hit;
    r = run_key(s, argv, args, &rights, &mounts, key, err);
    if (r == 0)
        r = build__cache_try(s, key, created_by, told_by_history(&mounts, &rights), &hit, err);
    if (r < 0 || hit)
        return r;
    r = check_machine(s, err);
    if (r == 0)
        r = run_mounts_prepare(s, &mounts, err);
    if (r < 0)
        return r;

    _cleanup_layer_ struct layer layer = LAYER_INIT;
    r = build__layer_begin(s, &layer, err);
    char id[65];
    digest_random_id(id);
    _cleanup_free_ char *script = str_printf(".heredoc-%.12s", id);
    bool is_script = text && heredoc_alone(step) && strncmp(text, "#!", 2) == 0;
    if (r == 0 && is_script)
        r = write_script(s, &layer, script, text, err);
    _cleanup_free_ char *path = str_printf("/%s", script);
    char *script_argv[] = {path, NULL};
    _cleanup_strv_ char **env = environment(s, args);
    if (r == 0)
        r = execute(s, &layer, is_script ? script_argv : argv, argv, env, &rights, &mounts, err);
    if (r == 0 && is_script)
        r = remove_script(&layer, script, err);
    return r < 0 ? r : build__layer_commit(s, &layer, created_by, key, err);
}
