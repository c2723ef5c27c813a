#include "unit.h"

#include "bakery/bakery.h"
#include "base/digest.h"
#include "base/file_mode.h"
#include "base/json.h"
#include "base/timeutil.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct fixture {
    char *dir, *context, *scratch;
    struct images *images;
    struct bakery_options options;
    struct str output;
    char **tags, **args;
    int runs;       /* how many RUNs were executed */
    char *last_env; /* of the last one, joined by | */
    char *last_argv;
    bool cancel_at_run; /* the output callback says no from the first RUN on */
    struct err err;
};

/* --- A machine that runs three programs: touch FILE, say WORDS, fail STATUS --- */

static int fake_run(void *context, const struct bakery_run *run, int *ret_status, struct err *err)
{
    struct fixture *f = context;
    f->runs++;
    free(f->last_env);
    free(f->last_argv);
    f->last_env = strv_join(run->env, "|");
    f->last_argv = strv_join(run->argv, "|");
    const char *text = run->argv[strv_len(run->argv) - 1];
    _cleanup_close_ int root = -EBADF;
    int r = image_snapshot_mount(f->images, run->snapshot, false, &root, err);
    if (r < 0)
        return r;
    const char *rest;
    *ret_status = 0;
    if ((rest = str_after(text, "touch "))) {
        _cleanup_free_ char *name = mem_strndup(rest, strcspn(rest, " \n"));
        _cleanup_close_ int fd = file_open_in_root(root, name, O_WRONLY | O_CREAT, 0644, NULL);
        *ret_status = fd < 0;
    } else if ((rest = str_after(text, "say "))) {
        r = run->output(run->output_context, 1, rest, strlen(rest));
    } else if ((rest = str_after(text, "fail "))) {
        run->output(run->output_context, 2, "it broke\n", 9);
        *ret_status = rest[0] - '0';
    }
    return r ? err_set(err, ERR_CANCELLED, "cancelled") : 0;
}

/* The same with a real process, its root changed to the snapshot. */
static int chroot_run(void *context, const struct bakery_run *run, int *ret_status, struct err *err)
{
    struct fixture *f = context;
    f->runs++;
    _cleanup_close_ int root = -EBADF;
    int r = image_snapshot_mount(f->images, run->snapshot, false, &root, err);
    if (r < 0)
        return r;
    int out[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t child = fork();
    if (child == 0) {
        if (fchdir(root) == 0 && chroot(".") == 0 && chdir(run->workdir) == 0 && dup2(out[1], 1) == 1 &&
            dup2(out[1], 2) == 2)
            execve(run->argv[0], run->argv, run->env);
        _exit(127);
    }
    close(out[1]);
    char buffer[4096];
    ssize_t n;
    while ((n = read(out[0], buffer, sizeof(buffer))) > 0)
        run->output(run->output_context, 1, buffer, (size_t)n);
    close(out[0]);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return 0;
}

static int collect(void *context, int stream, const void *bytes, size_t n)
{
    struct fixture *f = context;
    str_addn(&f->output, bytes, n);
    return f->cancel_at_run && f->runs;
}

static int setup(void **state)
{
    struct fixture *f = NEW(struct fixture);
    f->dir = scratch_new();
    f->context = str_printf("%s/context", f->dir);
    f->scratch = str_printf("%s/scratch", f->dir);
    _cleanup_free_ char *root = str_printf("%s/images", f->dir);
    assert_int_equal(mkdir(f->context, 0755), 0);
    assert_int_equal(mkdir(f->scratch, 0755), 0);
    assert_ok(images_open(root, &f->images, &f->err), &f->err);
    f->options = (struct bakery_options){.context_dir = f->context,
                                         .scratch_dir = f->scratch,
                                         .parallel = 1, /* the machine that runs is one thread's */
                                         .run = fake_run,
                                         .run_context = f,
                                         .output = collect,
                                         .output_context = f};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    images_close(f->images);
    str_free(&f->output);
    strv_free(f->tags);
    strv_free(f->args);
    free(f->last_env);
    free(f->last_argv);
    free(f->context);
    free(f->scratch);
    scratch_remove(f->dir);
    free(f);
    return 0;
}

static void put(struct fixture *f, const char *path, const char *content)
{
    _cleanup_free_ char *full = str_printf("%s/%s", f->context, path);
    char *slash = strrchr(full, '/');
    *slash = '\0';
    assert_ok(file_mkdirs(full, 0755, &f->err), &f->err);
    *slash = '/';
    assert_ok(file_replace(full, content, strlen(content), 0644, false, &f->err), &f->err);
}

static int try_build(struct fixture *f, const char *dockerfile, char **ret)
{
    put(f, "Dockerfile", dockerfile);
    f->options.tags = f->tags;
    f->options.build_args = f->args;
    f->runs = 0;
    str_clear(&f->output);
    int r = bakery_build(f->images, &f->options, ret, &f->err);
    /* Whatever happened, nothing stays behind. */
    assert_int_equal(rmdir(f->scratch), 0);
    assert_int_equal(mkdir(f->scratch, 0755), 0);
    return r;
}

static char *build(struct fixture *f, const char *dockerfile)
{
    char *id = NULL;
    assert_ok(try_build(f, dockerfile, &id), &f->err);
    return id;
}

static void refused(struct fixture *f, const char *dockerfile, const char *message)
{
    char *id;
    if (try_build(f, dockerfile, &id) >= 0)
        fail_msg("built: %s", dockerfile);
    assert_string_equal(f->err.msg, message);
}

static json_t *config_of(struct fixture *f, const char *id)
{
    struct image_info info = {0};
    assert_ok(image_get(f->images, id, &info, &f->err), &f->err);
    json_t *config = json_deep_copy(info.config);
    image_info_done(&info);
    return config;
}

/* "<octal mode> <uid>:<gid> <content>", "dir <mode> <uid>:<gid>", or "none". */
static char *look(struct fixture *f, const char *id, const char *path)
{
    struct image_snapshot s;
    _cleanup_free_ char *dir = str_printf("%s/look", f->dir);
    assert_int_equal(mkdir(dir, 0700), 0);
    assert_ok(image_snapshot_create(f->images, id, dir, &s, &f->err), &f->err);
    int root = -EBADF;
    assert_ok(image_snapshot_mount(f->images, &s, true, &root, &f->err), &f->err);
    int fd = file_open_in_root(root, path, O_RDONLY, 0, NULL);
    char *text = NULL;
    struct stat st;
    if (fd < 0) {
        text = mem_strdup("none");
    } else if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        text = str_printf("dir %o %u:%u", st.st_mode & 07777, st.st_uid, st.st_gid);
    } else {
        struct str content = STR_INIT;
        assert_ok(file_read_fd(fd, 1 << 20, &content, &f->err), &f->err);
        text = str_printf("%o %u:%u %s", st.st_mode & 07777, st.st_uid, st.st_gid, str_get(&content));
        str_free(&content);
    }
    close_fd(fd);
    close_fd(root);
    image_snapshot_done(&s);
    assert_ok(file_remove_tree(dir, &f->err), &f->err);
    return text;
}

static void looks(struct fixture *f, const char *id, const char *path, const char *expected)
{
    _cleanup_free_ char *got = look(f, id, path);
    if (!str_eq(got, expected))
        fail_msg("%s is <%s>, not <%s>", path, got, expected);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

static void needs_root(void)
{
    if (geteuid() != 0) {
        print_message("CAP_SYS_ADMIN is missing: no overlay mounts\n");
        skip();
    }
}

static void metadata_goes_into_the_config_and_the_history(void **state)
{
    struct fixture *f = *state;
    needs_root();
    strv_add(&f->tags, "app:1");
    strv_add(&f->tags, "other");
    char *const labels[] = {(char *)"given=yes", NULL};
    f->options.labels = labels;
    _cleanup_free_ char *id = build(
        f,
        "FROM scratch\nMAINTAINER me\nENV A=1 B=\"two words\"\nENV C=${B}s$A\nEXPOSE 80 90-91/udp\nVOLUME "
        "/data\n"
        "LABEL a=b \"c d\"=\"$A\"\nUSER 1:2\nSTOPSIGNAL SIGTERM\nSHELL [\"/bin/ash\", \"-c\"]\nCMD run it\n"
        "ENTRYPOINT [\"/x\", \"$A\"]\nHEALTHCHECK --interval=5s --retries=2 CMD check\nONBUILD RUN touch "
        "/y\n");
    _cleanup_json_ json_t *config = config_of(f, id);
    json_t *c = json_object_get(config, "config");
    _cleanup_free_ char *text = json_format(c);
    static const char *const parts[] = {
        "\"A=1\",\"B=two words\",\"C=two wordss1\"",
        "\"ExposedPorts\":{\"80/tcp\":{},\"90/udp\":{},\"91/udp\":{}}",
        "\"Volumes\":{\"/data\":{}}",
        "\"Labels\":{\"a\":\"b\",\"c d\":\"1\",\"given\":\"yes\"}",
        "\"User\":\"1:2\"",
        "\"StopSignal\":\"SIGTERM\"",
        "\"Shell\":[\"/bin/ash\",\"-c\"]",
        "\"Cmd\":[\"/bin/ash\",\"-c\",\"run it\"]",
        "\"Entrypoint\":[\"/x\",\"$A\"]",
        "\"Healthcheck\":{\"Test\":[\"CMD-SHELL\",\"check\"],\"Interval\":5000000000,\"Retries\":2}",
        "\"OnBuild\":[\"RUN touch /y\"]",
        "\"PATH=/usr/local/sbin:",
    };
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!strstr(text, parts[i]))
            fail_msg("no %s in %s", parts[i], text);
    assert_string_equal(json_str(config, "author"), "me");
    json_t *history = json_object_get(config, "history");
    assert_int_equal(json_array_size(history), 14);
    assert_string_equal(json_str(json_array_get(history, 1), "created_by"),
                        "/bin/sh -c #(nop)  ENV A=1 B=two words");
    assert_true(json_bool(json_array_get(history, 1), "empty_layer"));
    assert_non_null(
        strstr(str_get(&f->output), "Step 1/15 : FROM scratch\n ---> \nStep 2/15 : MAINTAINER me\n"));
    _cleanup_free_ char *end = str_printf("Successfully built %.12s\nSuccessfully tagged app:1\n"
                                          "Successfully tagged other:latest\n",
                                          id + 7);
    assert_true(str_ends_with(str_get(&f->output), end));
}

static void files_are_copied_as_docker_copies_them(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "a.txt", "A");
    put(f, "b.txt", "B");
    put(f, "c.md", "C");
    put(f, "dir/x", "X");
    put(f, "dir/sub/y", "Y");
    _cleanup_free_ char *link = str_printf("%s/link", f->context);
    assert_int_equal(symlink("dir/x", link), 0);
    _cleanup_free_ char *id =
        build(f, "FROM scratch\nWORKDIR /w/d\nCOPY a.txt .\nCOPY a.txt /new/name\nCOPY *.txt c.md all/\n"
                 "COPY dir /tree\nCOPY dir/ /tree2/\nCOPY link /l\nCOPY --chmod=600 --chown=5:6 a.txt /own/\n"
                 "COPY [\"a.txt\", \"/with space\"]\nCOPY d?r/x /q/\nWORKDIR sub\nCOPY . /ctx/\n");
    looks(f, id, "/w/d", "dir 755 0:0");
    looks(f, id, "/w/d/a.txt", "644 0:0 A");
    looks(f, id, "/new/name", "644 0:0 A");
    looks(f, id, "/w/d/all/b.txt", "644 0:0 B");
    looks(f, id, "/w/d/all/c.md", "644 0:0 C");
    looks(f, id, "/tree/sub/y", "644 0:0 Y");
    looks(f, id, "/tree2/x", "644 0:0 X");
    looks(f, id, "/l", "644 0:0 X");
    looks(f, id, "/own/a.txt", "600 5:6 A");
    looks(f, id, "/with space", "644 0:0 A");
    looks(f, id, "/q/x", "644 0:0 X");
    looks(f, id, "/w/d/sub", "dir 755 0:0");
    looks(f, id, "/ctx/dir/sub/y", "644 0:0 Y");
    _cleanup_json_ json_t *config = config_of(f, id);
    assert_string_equal(json_str(json_object_get(config, "config"), "WorkingDir"), "/w/d/sub");
}

static void the_context_cannot_be_left_and_ignored_files_are_not_there(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "a", "A");
    put(f, "secret/key", "K");
    put(f, "secret/public", "P");
    put(f, ".dockerignore", "secret/*\n!secret/public\nDockerfile\n");
    _cleanup_free_ char *out = str_printf("%s/outside", f->dir);
    assert_ok(file_replace(out, "OUT", 3, 0644, false, &f->err), &f->err);
    _cleanup_free_ char *link = str_printf("%s/link", f->context);
    assert_int_equal(symlink("../../../../../../etc/passwd", link), 0);
    refused(
        f, "FROM scratch\n\nCOPY foo /x\n",
        "Dockerfile:3: COPY failed: file not found in build context or excluded by .dockerignore: stat foo: "
        "file does not exist");
    refused(f, "FROM scratch\nCOPY secret/key /x\n",
            "Dockerfile:2: COPY failed: file not found in build context or excluded by .dockerignore: stat "
            "secret/key: file does not exist");
    refused(f, "FROM scratch\nCOPY ../outside /x\n",
            "Dockerfile:2: COPY failed: file not found in build context or excluded by .dockerignore: stat "
            "outside: "
            "file does not exist");
    refused(
        f, "FROM scratch\nCOPY link /x\n",
        "Dockerfile:2: COPY failed: file not found in build context or excluded by .dockerignore: stat link: "
        "file does not exist");
    refused(f, "FROM scratch\nADD *.none /x/\n",
            "Dockerfile:2: ADD failed: no source files were specified: nothing matches *.none");
    refused(f, "FROM scratch\nCOPY a secret/public /x\n",
            "Dockerfile:2: COPY failed: When using COPY with more than one source file, the destination must "
            "be a "
            "directory and end with a /");
    _cleanup_free_ char *id = build(f, "FROM scratch\nCOPY . /\n");
    looks(f, id, "/a", "644 0:0 A");
    looks(f, id, "/secret/public", "644 0:0 P");
    looks(f, id, "/secret/key", "none");
    looks(f, id, "/Dockerfile", "none");
    put(f, "Dockerfile.dockerignore", "**/key\n*ignore\n");
    _cleanup_free_ char *own = build(f, "FROM scratch\nCOPY . /\n");
    looks(f, own, "/secret/public", "644 0:0 P");
    looks(f, own, "/secret/key", "none");
    looks(f, own, "/Dockerfile", "644 0:0 FROM scratch\nCOPY . /\n");
}

static void names_of_owners_come_from_the_image(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "passwd", "root:x:0:0::/:/bin/sh\nweb:x:33:44::/:/bin/sh\n");
    put(f, "group", "root:x:0:\nstaff:x:50:web\n");
    const char *base = "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=%s passwd /p\n";
    static const char *const table[][2] = {
        {"web", "33:44"}, {"web:staff", "33:50"}, {"7:staff", "7:50"}, {"7", "7:7"}};
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_free_ char *text = str_printf(base, table[i][0]);
        _cleanup_free_ char *id = build(f, text);
        _cleanup_free_ char *got = look(f, id, "/p");
        _cleanup_free_ char *prefix = str_printf("644 %s ", table[i][1]);
        assert_non_null(str_after(got, prefix));
    }
    refused(f, "FROM scratch\nCOPY passwd group /etc/\nCOPY --chown=nobody passwd /p\n",
            "Dockerfile:3: COPY failed: --chown: no user \"nobody\" in the image's /etc/passwd");
    refused(
        f, "FROM scratch\nCOPY --chmod=9 passwd /p\n",
        "Dockerfile:2: COPY failed: --chmod: \"9\" is no file mode: it must be octal such as 644 or 0755, or "
        "symbolic such as u=rwX,go=rX");
}

static void a_mode_may_be_symbolic(void **state)
{
    static const char *const table[][4] = {
        /* --chmod, and what comes of a file 644, a file 750, a directory 755 */
        {"u=rwX,go=rX", "644", "755", "dir 755"},      {"+x", "755", "751", "dir 755"},
        {"a-w,o=", "440", "550", "dir 550"},           {"g=u", "664", "770", "dir 775"},
        {"go-rwx,u+s,+t", "5600", "5700", "dir 5700"}, {"1777", "1777", "1777", "dir 1777"},
        {"u=rw,g=o,o-r+x", "641", "601", "dir 651"},   {"g+w-x", "664", "760", "dir 765"},
    };
    struct fixture *f = *state;
    needs_root();
    put(f, "d/plain", "p");
    put(f, "d/run", "r");
    _cleanup_free_ char *run = str_printf("%s/d/run", f->context);
    assert_int_equal(chmod(run, 0750), 0);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        _cleanup_free_ char *text =
            str_printf("FROM scratch\nARG M=%s\nCOPY --parents --chmod=$M d /\n", table[i][0]);
        _cleanup_free_ char *id = build(f, text), *plain = str_printf("%s 0:0 p", table[i][1]);
        _cleanup_free_ char *made = str_printf("%s 0:0 r", table[i][2]),
                            *dir = str_printf("%s 0:0", table[i][3]);
        looks(f, id, "/d/plain", plain);
        looks(f, id, "/d/run", made);
        looks(f, id, "/d", dir);
    }
    static const char *const wrong[] = {"u", "u=rwz", "8", "17777", "u+r,", "x", "=r=w,q"};
    struct file_mode mode;
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
        assert_int_equal(file_mode_parse(wrong[i], &mode, &f->err), -ERR_INVALID);
}

static void parents_are_kept_and_what_is_excluded_is_not_there(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "x/y/a.txt", "a");
    put(f, "x/y/b.md", "b");
    put(f, "x/y/z/c.txt", "c");
    put(f, "top.txt", "t");
    _cleanup_free_ char *dir = str_printf("%s/x/y", f->context);
    assert_int_equal(chmod(dir, 0750), 0);
    _cleanup_free_ char *id = build(f, "FROM scratch\n"
                                       "COPY --parents ./x/y/a.txt top.txt /p\n"
                                       "COPY --parents x/./y/*.txt /pivot/\n"
                                       "COPY --parents **/*.txt /deep/\n"
                                       "COPY --parents --exclude=**/*.txt --exclude=x/y/z x /less/\n"
                                       "COPY --exclude=*.txt --exclude=Docker* x/y/* /flat/\n"
                                       "COPY --exclude=z x/y /dir\n");
    static const char *const table[][2] = {
        {"/p/x/y/a.txt", "644 0:0 a"},
        {"/p/top.txt", "644 0:0 t"},
        {"/p/x/y", "dir 750 0:0"},
        {"/p/x/y/b.md", "none"},
        {"/pivot/y/a.txt", "644 0:0 a"},
        {"/pivot/x", "none"},
        {"/deep/top.txt", "644 0:0 t"},
        {"/deep/x/y/z/c.txt", "644 0:0 c"},
        {"/deep/x/y/b.md", "none"},
        {"/less/x/y/b.md", "644 0:0 b"},
        {"/less/x/y/a.txt", "none"},
        {"/less/x/y/z", "none"},
        {"/flat/b.md", "644 0:0 b"},
        {"/flat/a.txt", "none"},
        {"/flat/c.txt", "none"},
        {"/dir/a.txt", "644 0:0 a"},
        {"/dir/z", "none"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        looks(f, id, table[i][0], table[i][1]);
    refused(f, "FROM scratch\nCOPY --exclude=top* top.txt /\n",
            "Dockerfile:2: COPY failed: no source files were specified: --exclude leaves out all of them");
    refused(f, "FROM scratch\nCOPY --exclude=! x /\n",
            "Dockerfile:2: COPY failed: --exclude: illegal exclusion pattern: \"!\"");
    /* What is excluded does not count for the cache; the mode of a directory that is kept does. */
    const char text[] = "FROM scratch\nCOPY --parents --exclude=**/*.txt x/y /\n";
    free(build(f, text));
    put(f, "x/y/a.txt", "changed");
    free(build(f, text));
    assert_int_equal(count(str_get(&f->output), "Using cache"), 1);
    _cleanup_free_ char *upper = str_printf("%s/x", f->context);
    assert_int_equal(chmod(upper, 0700), 0);
    free(build(f, text));
    assert_int_equal(count(str_get(&f->output), "Using cache"), 0);
}

static char *top_layer(struct fixture *f, const char *id)
{
    struct image_info info = {0};
    assert_ok(image_get(f->images, id, &info, &f->err), &f->err);
    json_t *layers = json_object_get(info.manifest, "layers");
    char *digest = mem_strdup(json_str(json_array_get(layers, json_array_size(layers) - 1), "digest"));
    image_info_done(&info);
    return digest;
}

static void a_linked_layer_stands_on_nothing_below_it(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "a", "one\n");
    put(f, "b", "two\n");
    put(f, "passwd", "user:x:7:8:::\n");
    _cleanup_free_ char *first = build(f, "FROM scratch\nCOPY passwd /etc/passwd\nCOPY a /base\n"
                                          "COPY --link --chown=user b /d/b\n");
    _cleanup_free_ char *second =
        build(f, "FROM scratch\nCOPY passwd /etc/passwd\nCOPY b /base\nCOPY a /more\n"
                 "COPY --link --chown=user b /d/b\n");
    assert_int_equal(count(str_get(&f->output), "Using cache"), 2); /* passwd, and the linked layer */
    _cleanup_free_ char *one = top_layer(f, first), *two = top_layer(f, second);
    assert_string_equal(one, two);
    looks(f, second, "/d/b", "644 7:8 two\n");
    looks(f, second, "/base", "644 0:0 two\n");
    looks(f, second, "/more", "644 0:0 one\n");
    /* The same names, other numbers: another layer. */
    put(f, "passwd", "user:x:9:9:::\n");
    _cleanup_free_ char *third = build(f, "FROM scratch\nCOPY passwd /etc/passwd\n"
                                          "COPY --link --chown=user b /d/b\n");
    looks(f, third, "/d/b", "644 9:9 two\n");
    put(f, "b", "changed\n");
    _cleanup_free_ char *fourth = build(f, "FROM scratch\nCOPY passwd /etc/passwd\n"
                                           "COPY --link --chown=user b /d/b\nCOPY --link=false a /x\n");
    looks(f, fourth, "/d/b", "644 9:9 changed\n");
    looks(f, fourth, "/x", "644 0:0 one\n");
}

static void add_unpacks_local_archives_and_copies_the_rest(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "t/in/file", "IN");
    static const char *const kinds[] = {"cf x.tar", "czf x.tgz", "cjf x.tar.bz2", "cJf x.tar.xz",
                                        "--zstd -cf x.zst"};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        _cleanup_free_ char *command =
            str_printf("cd %s && tar %s -C t in 2>/dev/null", f->context, kinds[i]);
        assert_int_equal(system(command), 0);
        const char *name = strrchr(kinds[i], ' ') + 1;
        _cleanup_free_ char *text = str_printf("FROM scratch\nADD %s /d\nCOPY %s /c/\n", name, name);
        _cleanup_free_ char *id = build(f, text);
        looks(f, id, "/d/in/file", "644 0:0 IN");
        _cleanup_free_ char *copied = str_printf("/c/%s", name);
        _cleanup_free_ char *got = look(f, id, copied);
        assert_non_null(str_after(got, "644 0:0 "));
    }
    _cleanup_free_ char *gzip = str_printf("cd %s && gzip -c t/in/file > plain.gz", f->context);
    assert_int_equal(system(gzip), 0);
    _cleanup_free_ char *id = build(f, "FROM scratch\nADD plain.gz t/in/file /d/\n");
    _cleanup_free_ char *got = look(f, id, "/d/plain.gz");
    assert_non_null(str_after(got, "644 0:0 \x1f\x8b"));
    refused(
        f, "FROM scratch\nADD https://example.org/x.git?rev=1 /d\n",
        "Dockerfile:2: ADD failed: unknown parameter \"rev\" of a git repository: expected ref, branch, tag, "
        "subdir, checksum, commit, keep-git-dir or submodules");
    _cleanup_free_ char *whole = build(f, "FROM scratch\nADD --unpack=false x.tgz /d/\n");
    _cleanup_free_ char *packed = look(f, whole, "/d/x.tgz");
    assert_non_null(str_after(packed, "644 0:0 \x1f\x8b"));
}

/* Answers `requests` connections on a loopback port with "REMOTE", then ends. */
static pid_t serve(int requests, int *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    *ret_port = ntohs(a.sin_port);
    pid_t child = fork();
    for (int i = 0; child == 0 && i < requests; i++) {
        static const char answer[] =
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nREMOTE";
        char request[4096];
        int c = accept(fd, NULL, NULL);
        if (read(c, request, sizeof(request)) <= 0 || write(c, answer, sizeof(answer) - 1) < 0)
            _exit(1);
        close(c);
    }
    if (child == 0)
        _exit(0);
    close(fd);
    return child;
}

static void add_downloads_and_checks_what_came(void **state)
{
    struct fixture *f = *state;
    needs_root();
    int port;
    pid_t server = serve(2, &port);
    char digest[DIGEST_BYTES];
    digest_of("REMOTE", 6, digest);
    _cleanup_free_ char *good = str_printf(
        "FROM scratch\nADD --checksum=%s http://127.0.0.1:%d/dir/file.txt?x=1 /d/\n", digest, port);
    _cleanup_free_ char *id = build(f, good);
    looks(f, id, "/d/file.txt", "600 0:0 REMOTE");
    _cleanup_free_ char *again = build(f, good);
    assert_non_null(strstr(str_get(&f->output), "Using cache"));
    digest_of("other", 5, digest);
    _cleanup_free_ char *bad =
        str_printf("FROM scratch\nADD --checksum=%s http://127.0.0.1:%d/f /d/\n", digest, port);
    char *none;
    assert_int_equal(try_build(f, bad, &none), -ERR_CORRUPT);
    assert_non_null(strstr(f->err.msg, "digest mismatch"));
    int status = -1;
    assert_int_equal(waitpid(server, &status, 0), server);
    assert_int_equal(status, 0);
    refused(f, "FROM scratch\nADD http://127.0.0.1/x/.. /d/\n",
            "Dockerfile:2: ADD failed: http://127.0.0.1/x/..: \"..\" cannot be a file's name");
}

static void heredocs_become_files_and_scripts(void **state)
{
    struct fixture *f = *state;
    needs_root();
    _cleanup_free_ char *id =
        build(f, "FROM scratch\nARG V=value\nCOPY <<one <<\"two\" /d/\n$V\\$V 'q'\none\n$V\ntwo\n"
                 "COPY <<-x /file\n\ttabbed\n\tx\nRUN <<E\ntouch /made\nE\n");
    looks(f, id, "/d/one", "644 0:0 value$V 'q'\n");
    looks(f, id, "/d/two", "644 0:0 $V\n");
    looks(f, id, "/file", "644 0:0 tabbed\n");
    assert_string_equal(f->last_argv, "/bin/sh|-c|touch /made\n");
    _cleanup_free_ char *other = build(f, "FROM scratch\nRUN <<E cat > /x\nhello\nE\n");
    assert_string_equal(f->last_argv, "/bin/sh|-c|<<E cat > /x\nhello\nE");
    _cleanup_free_ char *script = build(f, "FROM scratch\nRUN <<E\n#!/bin/awk -f\nE\n");
    assert_non_null(str_after(f->last_argv, "/.heredoc-"));
    looks(f, script, f->last_argv, "none");
}

static void only_the_stages_that_the_target_needs_are_built(void **state)
{
    struct fixture *f = *state;
    needs_root();
    const char *text =
        "FROM scratch AS one\nRUN touch /one\nFROM scratch AS unused\nRUN fail 1\n"
        "FROM scratch AS Two\nRUN touch /two\nFROM one\nCOPY --from=two /two /got\nCOPY --from=2 . /all/\n";
    _cleanup_free_ char *id = build(f, text);
    looks(f, id, "/one", "644 0:0 ");
    looks(f, id, "/got", "644 0:0 ");
    looks(f, id, "/all/two", "644 0:0 ");
    assert_int_equal(f->runs, 2);
    assert_non_null(strstr(str_get(&f->output), "Step 1/7 : FROM scratch AS one\n"));
    f->options.target = "one";
    _cleanup_free_ char *one = build(f, text);
    looks(f, one, "/got", "none");
    f->options.target = "three";
    refused(f, text, "failed to reach build target three in Dockerfile: there is no such stage");
    f->options.target = NULL;
    refused(f, "FROM scratch\nCOPY --from=1 /x /x\n",
            "Dockerfile:2: COPY failed: --from=1: no earlier stage has that number");
    refused(f, "FROM scratch AS empty\nENV A=1\nFROM scratch\nCOPY --from=empty /x /x\n",
            "Dockerfile:4: COPY failed: file not found in build context or excluded by .dockerignore: stat "
            "x: file "
            "does not exist");
    refused(f, "FROM nothing:here\n", "Dockerfile:1: FROM nothing:here: no such image: nothing:here");
}

static void an_unchanged_step_comes_from_the_cache(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "a", "A");
    const char *text = "FROM scratch\nENV X=1\nRUN touch /r\nCOPY a /a\nRUN touch /s\n";
    _cleanup_free_ char *first = build(f, text);
    assert_int_equal(f->runs, 2);
    _cleanup_free_ char *again = build(f, text);
    assert_int_equal(f->runs, 0);
    assert_string_equal(first, again);
    assert_int_equal(count(str_get(&f->output), " ---> Using cache\n"), 4);

    put(f, "a", "A"); /* another time, the same content */
    _cleanup_free_ char *touched = build(f, text);
    assert_int_equal(f->runs, 0);
    put(f, "a", "B");
    _cleanup_free_ char *changed = build(f, text);
    assert_int_equal(f->runs, 1);
    looks(f, changed, "/a", "644 0:0 B");
    _cleanup_free_ char *path = str_printf("%s/a", f->context);
    assert_int_equal(chmod(path, 0755), 0);
    _cleanup_free_ char *mode = build(f, text);
    assert_int_equal(f->runs, 1);
    looks(f, mode, "/a", "755 0:0 B");

    f->options.no_cache = true;
    _cleanup_free_ char *fresh = build(f, text);
    assert_int_equal(f->runs, 2);
    assert_int_equal(count(str_get(&f->output), "Using cache"), 0);
}

static void a_build_argument_counts_from_its_arg_on(void **state)
{
    struct fixture *f = *state;
    needs_root();
    const char *text =
        "ARG G=global\nFROM scratch\nRUN touch /before\nARG V=one\nARG G\nARG ENVED=arg\nENV ENVED=env\n"
        "RUN say $V\n";
    strv_add(&f->args, "http_proxy=proxy:1");
    strv_add(&f->args, "unused=1");
    _cleanup_free_ char *id = build(f, text);
    assert_int_equal(f->runs, 2);
    assert_non_null(strstr(f->last_env, "ENVED=env|G=global|V=one|http_proxy=proxy:1"));
    assert_non_null(
        strstr(str_get(&f->output), "[Warning] One or more build-args [unused] were not consumed\n"));
    strv_add(&f->args, "V=two");
    _cleanup_free_ char *two = build(f, text);
    assert_int_equal(f->runs, 1);
    _cleanup_json_ json_t *config = config_of(f, two);
    json_t *history = json_object_get(config, "history");
    assert_string_equal(json_str(json_array_get(history, json_array_size(history) - 1), "created_by"),
                        "|2 G=global V=two /bin/sh -c say $V");
    _cleanup_free_ char *same = build(f, text);
    assert_int_equal(f->runs, 0);
}

static void platform_arguments_and_expansions_reach_from(void **state)
{
    struct fixture *f = *state;
    needs_root();
    strv_add(&f->tags, "base:v1");
    _cleanup_free_ char *base = build(f, "FROM scratch\nRUN touch /base\n");
    f->tags = strv_free(f->tags);
    _cleanup_free_ char *id = build(f, "ARG NAME=base\nARG V\nFROM --platform=$TARGETPLATFORM "
                                       "${NAME}:${V:-v1}\nARG TARGETOS\nENV O=$TARGETOS\n");
    looks(f, id, "/base", "644 0:0 ");
    _cleanup_json_ json_t *config = config_of(f, id);
    _cleanup_free_ char *text = json_format(config);
    assert_non_null(strstr(text, "\"O=linux\""));
    f->options.platform = "linux/s390x";
    char *other;
    assert_int_equal(try_build(f, "FROM base:v1\n", &other), -ERR_UNSUPPORTED);
    assert_non_null(strstr(f->err.msg, "and linux/s390x was asked for"));
}

static void triggers_run_once_in_the_image_built_from_theirs(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "a", "A");
    strv_add(&f->tags, "onbuild");
    _cleanup_free_ char *base = build(f, "FROM scratch\nONBUILD COPY a /a\nONBUILD RUN touch /t\n");
    assert_int_equal(f->runs, 0);
    f->tags = strv_free(f->tags);
    _cleanup_free_ char *id = build(f, "FROM onbuild\nENV X=1\n");
    assert_int_equal(f->runs, 1);
    looks(f, id, "/a", "644 0:0 A");
    looks(f, id, "/t", "644 0:0 ");
    assert_non_null(strstr(str_get(&f->output), "# Executing 2 build triggers\n"));
    _cleanup_json_ json_t *config = config_of(f, id);
    assert_null(json_object_get(json_object_get(config, "config"), "OnBuild"));
}

static void a_failing_run_is_named_after_its_output(void **state)
{
    struct fixture *f = *state;
    needs_root();
    refused(f, "FROM scratch\n\nRUN touch /x \\\n  && y\nRUN fail 2\n",
            "Dockerfile:5: The command '/bin/sh -c fail 2' returned a non-zero code: 2");
    assert_true(str_ends_with(str_get(&f->output), "it broke\n") ||
                strstr(str_get(&f->output), "it broke\nRemoving intermediate container"));
    refused(f, "FROM scratch\nRUN --mount=type=disk,target=/x y\n",
            "Dockerfile:2: RUN --mount=type=disk,target=/x y: --mount=type=disk,target=/x: unsupported mount "
            "type \"disk\": it must be bind, cache, tmpfs, secret or ssh");
    refused(f, "FROM scratch\nRUN --network=x y\n",
            "Dockerfile:2: RUN --network=x y: --network=x: it must be default, none or host");
    refused(f, "FROM scratch\nEXPOSE 99999\n", "Dockerfile:2: EXPOSE 99999: invalid containerPort: 99999");
    refused(f, "FROM scratch\nSTOPSIGNAL NOPE\n", "Dockerfile:2: STOPSIGNAL NOPE: invalid signal: NOPE");
    refused(f, "FROM scratch\n", "No image was generated. Is your Dockerfile empty?");
    f->options.dockerfile = "missing";
    char *id;
    assert_int_equal(try_build(f, "FROM scratch\n", &id), -ERR_INVALID);
    assert_string_equal(f->err.msg,
                        "Cannot locate specified Dockerfile: missing is not in the build context");
}

static void a_real_shell_builds_what_the_next_stage_takes(void **state)
{
    struct fixture *f = *state;
    needs_root();
    static const char *const places[] = {"/bin/busybox", "/usr/bin/busybox"};
    const char *busybox = file_exists(places[0]) ? places[0] : places[1];
    _cleanup_free_ char *copy =
        str_printf("cp %s %s/busybox && ! ldd %s >/dev/null 2>&1", busybox, f->context, busybox);
    if (system(copy) != 0) {
        print_message("a static busybox is missing\n");
        skip();
    }
    f->options.run = chroot_run;
    strv_add(&f->args, "WHO=me");
    _cleanup_free_ char *id = build(
        f, "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", "
           "\"/bin\"]\n"
           "RUN mkdir -p /etc /old && echo 'web:x:33:44::/:/bin/sh' > /etc/passwd && touch /old/a /old/b\n"
           "FROM base AS build\nARG WHO=nobody\nWORKDIR /out\nRUN <<END\necho \"made for $WHO\" > made\n"
           "ln -s made link\nrm -r /old\nmkdir /old\ntouch /old/c\nEND\n"
           "RUN <<END\n#!/bin/awk BEGIN { print \"from awk\" > \"/out/awk\" }\nEND\n"
           "RUN cat <<A - <<B > two\nfirst\nA\nsecond\nB\n"
           "FROM base\nENV PLACE=/srv\nWORKDIR $PLACE/app\nCOPY --from=build --chown=web --chmod=640 "
           "/out/made .\n"
           "COPY --from=build /out/link /out/two /old /got/\nRUN cat made | tr a-z A-Z > upper\n");
    looks(f, id, "/srv/app/made", "640 33:44 made for me\n");
    looks(f, id, "/srv/app/upper", "644 0:0 MADE FOR ME\n");
    looks(f, id, "/got/link", "644 0:0 made for me\n");
    looks(f, id, "/got/c", "644 0:0 ");
    looks(f, id, "/got/a", "none");
    looks(f, id, "/old/a", "644 0:0 ");
    refused(f,
            "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo oops; "
            "exit 7\"]\n",
            "Dockerfile:3: The command '/bin/busybox sh -c echo oops; exit 7' returned a non-zero code: 7");
    assert_non_null(strstr(str_get(&f->output), "oops\n"));
}

static void a_published_root_file_system_becomes_a_base(void **state)
{
    struct fixture *f = *state;
    needs_root();
    const char *shared = getenv("DROVER_SHARED");
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[n > 0 ? n : 0] = '\0';
    *strrchr(exe, '/') = '\0';
    /* The binary is <source>/<build>/tests/unit/test-bakery. */
    _cleanup_free_ char *found = shared ? mem_strdup(shared) : str_printf("%s/../../../../shared", exe);
    _cleanup_free_ char *copy =
        str_printf("cp %s/data/images/alpine-minirootfs-3.20-x86_64.tar.gz %s/alpine.tgz 2>/dev/null", found,
                   f->context);
    if (system(copy) != 0) {
        print_message("skipped: alpine's root file system is missing: set DROVER_SHARED\n");
        free(take_ptr(found)); /* skip() does not come back */
        free(take_ptr(copy));
        skip();
    }
    f->options.run = chroot_run;
    _cleanup_free_ char *id =
        build(f, "FROM scratch\nADD alpine.tgz /\nCMD [\"/bin/sh\"]\nRUN adduser -D -u 1234 app\n"
                 "WORKDIR /home/app\nCOPY --chown=app:app Dockerfile .\n"
                 "RUN apk --version > version && stat -c %u /home/app > owner && rm -r /media\n");
    looks(f, id, "/home/app/owner", "644 0:1234 1234\n");
    looks(f, id, "/media", "none");
    _cleanup_free_ char *got = look(f, id, "/home/app/Dockerfile");
    assert_non_null(str_after(got, "644 1234:1234 FROM scratch"));
    _cleanup_free_ char *version = look(f, id, "/home/app/version");
    assert_non_null(strstr(version, "apk-tools"));
}

struct parallel {
    struct fixture *f;
    struct bakery_options options;
    char *id;
    int result;
    struct err err;
};

static void *build_in_parallel(void *context)
{
    struct parallel *p = context;
    p->result = bakery_build(p->f->images, &p->options, &p->id, &p->err);
    return NULL;
}

static void builds_at_the_same_time_do_not_disturb_each_other(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "a", "A");
    put(f, "b", "B");
    struct parallel builds[6];
    pthread_t threads[ARRAY_SIZE(builds)];
    for (size_t i = 0; i < ARRAY_SIZE(builds); i++) {
        builds[i] = (struct parallel){.f = f, .options = f->options};
        builds[i].options.output = NULL;
        builds[i].options.dockerfile_text =
            i % 2 ? "FROM scratch\nENV A=1\nCOPY a b /d/\nWORKDIR /x\nCOPY b /b\n"
                  : "FROM scratch\nENV A=1\nCOPY a b /d/\nCOPY a /a\n";
        assert_int_equal(pthread_create(&threads[i], NULL, build_in_parallel, &builds[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(builds); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < ARRAY_SIZE(builds); i++) {
        assert_ok(builds[i].result, &builds[i].err);
        looks(f, builds[i].id, "/d/b", "644 0:0 B");
        looks(f, builds[i].id, i % 2 ? "/b" : "/a", i % 2 ? "644 0:0 B" : "644 0:0 A");
        free(builds[i].id);
    }
    assert_int_equal(rmdir(f->scratch), 0);
}

static void a_cancelled_build_stops_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    needs_root();
    f->cancel_at_run = true;
    char *id;
    assert_int_equal(try_build(f, "FROM scratch\nRUN say hello\nRUN touch /x\n", &id), -ERR_CANCELLED);
    assert_int_equal(f->runs, 1);
}

/* --- Stages at the same time --- */

/* A machine for several threads: "meet" waits until as many are at it as there are to be, "hold" until the
 * build is cancelled, "fail" fails once somebody holds. */
struct meeting {
    struct fixture *f;
    pthread_barrier_t all;
    atomic_int holding, held;
};

static int meeting_run(void *context, const struct bakery_run *run, int *ret_status, struct err *err)
{
    struct meeting *m = context;
    const char *text = run->argv[strv_len(run->argv) - 1];
    *ret_status = 0;
    if (str_after(text, "meet")) {
        pthread_barrier_wait(&m->all);
        run->output(run->output_context, 1, text, strlen(text));
        run->output(run->output_context, 1, "\n", 1);
    } else if (str_after(text, "hold")) {
        atomic_store(&m->holding, 1);
        while (run->output(run->output_context, 1, "", 0) == 0)
            time_sleep_ns(NS_PER_MS);
        atomic_fetch_add(&m->held, 1);
        return err_set(err, ERR_CANCELLED, "cancelled");
    } else {
        while (!atomic_load(&m->holding))
            time_sleep_ns(NS_PER_MS);
        *ret_status = 3;
    }
    return 0;
}

static void stages_that_need_nothing_of_each_other_run_at_the_same_time_and_are_told_in_order(void **state)
{
    struct fixture *f = *state;
    needs_root();
    struct meeting m = {.f = f};
    pthread_barrier_init(&m.all, NULL, 4);
    put(f, "a", "A");
    f->options.run = meeting_run;
    f->options.run_context = &m;
    f->options.parallel = 4;
    strv_add(&f->args, "SOURCE_DATE_EPOCH=1700000000");
    static const char text[] = "FROM scratch AS s0\nRUN meet 0\nCOPY a /0\n"
                               "FROM scratch AS s1\nRUN meet 1\nCOPY a /1\n"
                               "FROM scratch AS s2\nRUN meet 2\nCOPY a /2\n"
                               "FROM scratch\nRUN meet 3\nCOPY --from=s2 /2 /\nCOPY --from=s0 /0 /\n"
                               "COPY --from=s1 /1 /\n";
    f->options.no_cache = true;
    _cleanup_free_ char *first = build(f, text);
    _cleanup_free_ char *said = mem_strdup(str_get(&f->output));
    looks(f, first, "/1", "644 0:0 A");
    _cleanup_free_ char *second = build(f, text);
    assert_string_equal(first, second);
    assert_string_equal(said, str_get(&f->output));
    const char *at = said;
    for (int i = 0; i < 4; i++) {
        char word[16];
        snprintf(word, sizeof(word), "\nmeet %d\n", i);
        at = strstr(at, word);
        assert_non_null(at);
    }
    pthread_barrier_destroy(&m.all);
}

static void the_first_stage_that_fails_ends_the_others(void **state)
{
    struct fixture *f = *state;
    needs_root();
    struct meeting m = {.f = f};
    f->options.run = meeting_run;
    f->options.run_context = &m;
    f->options.parallel = 2;
    char *id;
    assert_int_equal(try_build(f,
                               "FROM scratch AS a\nRUN hold\nFROM scratch AS b\nRUN fail\nFROM scratch\n"
                               "COPY --from=a / /\nCOPY --from=b / /\n",
                               &id),
                     -ERR_INVALID);
    assert_string_equal(f->err.msg,
                        "Dockerfile:4: The command '/bin/sh -c fail' returned a non-zero code: 3");
    assert_int_equal(atomic_load(&m.held), 1);
}

static void a_run_that_takes_too_long_is_ended(void **state)
{
    struct fixture *f = *state;
    needs_root();
    struct meeting m = {.f = f};
    f->options.run = meeting_run;
    f->options.run_context = &m;
    f->options.timeout_ns = 20 * NS_PER_MS;
    char *id;
    assert_int_equal(try_build(f, "FROM scratch\nRUN hold\n", &id), -ERR_TIMEOUT);
    assert_non_null(strstr(f->err.msg, "Dockerfile:2: RUN hold: it took longer than the build's timeout"));
}

static void an_epoch_makes_the_same_image_of_the_same_files_at_any_time(void **state)
{
    struct fixture *f = *state;
    needs_root();
    put(f, "d/a", "A");
    strv_add(&f->args, "SOURCE_DATE_EPOCH=1700000000");
    f->options.no_cache = true;
    static const char text[] = "FROM scratch\nCOPY d /d\nWORKDIR /w/x\nRUN touch w/y\nLABEL a=b\n";
    _cleanup_free_ char *first = build(f, text);
    time_sleep_ns(1100 * NS_PER_MS); /* a file's time in a layer is in seconds */
    put(f, "d/a", "A");
    _cleanup_free_ char *second = build(f, text);
    assert_string_equal(first, second);
    struct image_info info;
    assert_ok(image_get(f->images, first, &info, &f->err), &f->err);
    assert_string_equal(json_str(info.config, "created"), "2023-11-14T22:13:20Z");
    image_info_done(&info);
    strv_add(&f->args, "SOURCE_DATE_EPOCH=never");
    char *id;
    assert_int_equal(try_build(f, text, &id), -ERR_INVALID);
}

static void one_instruction_changes_a_config(void **state)
{
    struct err err;
    _cleanup_json_ json_t *config = json_pack("{s:[s], s:[s]}", "Env", "A=1", "Cmd", "x");
    assert_ok(bakery_config_change(config, "ENV B=${A}2", &err), &err);
    assert_ok(bakery_config_change(config, "ENTRYPOINT [\"/e\"]", &err), &err);
    assert_ok(bakery_config_change(config, "WORKDIR /w", &err), &err);
    _cleanup_free_ char *text = json_format(config);
    assert_string_equal(
        text, "{\"Env\":[\"A=1\",\"B=12\"],\"Cmd\":[\"x\"],\"Entrypoint\":[\"/e\"],\"WorkingDir\":\"/w\"}");
    assert_int_equal(bakery_config_change(config, "RUN x", &err), -ERR_INVALID);
    assert_string_equal(err.msg, "RUN x: RUN is not a valid change command");
}

int main(void)
{
#define WITH_IMAGES(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_IMAGES(metadata_goes_into_the_config_and_the_history),
        WITH_IMAGES(files_are_copied_as_docker_copies_them),
        WITH_IMAGES(the_context_cannot_be_left_and_ignored_files_are_not_there),
        WITH_IMAGES(names_of_owners_come_from_the_image),
        WITH_IMAGES(a_mode_may_be_symbolic),
        WITH_IMAGES(parents_are_kept_and_what_is_excluded_is_not_there),
        WITH_IMAGES(a_linked_layer_stands_on_nothing_below_it),
        WITH_IMAGES(add_unpacks_local_archives_and_copies_the_rest),
        WITH_IMAGES(add_downloads_and_checks_what_came),
        WITH_IMAGES(heredocs_become_files_and_scripts),
        WITH_IMAGES(only_the_stages_that_the_target_needs_are_built),
        WITH_IMAGES(an_unchanged_step_comes_from_the_cache),
        WITH_IMAGES(a_build_argument_counts_from_its_arg_on),
        WITH_IMAGES(platform_arguments_and_expansions_reach_from),
        WITH_IMAGES(triggers_run_once_in_the_image_built_from_theirs),
        WITH_IMAGES(a_failing_run_is_named_after_its_output),
        WITH_IMAGES(a_real_shell_builds_what_the_next_stage_takes),
        WITH_IMAGES(a_published_root_file_system_becomes_a_base),
        WITH_IMAGES(builds_at_the_same_time_do_not_disturb_each_other),
        WITH_IMAGES(a_cancelled_build_stops_and_leaves_nothing),
        WITH_IMAGES(stages_that_need_nothing_of_each_other_run_at_the_same_time_and_are_told_in_order),
        WITH_IMAGES(the_first_stage_that_fails_ends_the_others),
        WITH_IMAGES(a_run_that_takes_too_long_is_ended),
        WITH_IMAGES(an_epoch_makes_the_same_image_of_the_same_files_at_any_time),
        cmocka_unit_test(one_instruction_changes_a_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
