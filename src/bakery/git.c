#include "bakery/git.h"

#include "base/file.h"
#include "base/process.h"
#include "base/str.h"

#include <fcntl.h>
#include <unistd.h>

/* --- Addresses --- */

static bool is_http(const char *text)
{
    return str_after(text, "http://") || str_after(text, "https://");
}

bool git_is_url(const char *text)
{
    if (str_after(text, "git@") || str_after(text, "git://") || str_after(text, "ssh://"))
        return true;
    _cleanup_free_ char *path = mem_strndup(text, strcspn(text, "#?"));
    return is_http(text) && str_ends_with(path, ".git");
}

void git_source_done(struct git_source *s)
{
    free(s->url);
    free(s->ref);
    free(s->folder);
    free(s->checksum);
}

static void replace(char **field, const char *value)
{
    free(*field);
    *field = mem_strdup(value);
}

/* A branch or a tag is nothing else of the same name: `kind` says where it is. */
static int take_ref(struct git_source *s, const char *kind, const char *value, struct err *err)
{
    if (!*value)
        return 0;
    _cleanup_free_ char *ref = str_printf("%s%s", str_after(value, kind) ? "" : kind, value);
    if (*s->ref && strcmp(s->ref, ref) != 0)
        return err_set(err, ERR_INVALID, "ref conflicts: \"%.100s\" and \"%.100s\"", s->ref, ref);
    replace(&s->ref, ref);
    return 0;
}

static int take_parameter(struct git_source *s, const char *name, const char *value, struct err *err)
{
    bool on = true;
    bool is_switch = str_eq(name, "keep-git-dir") || str_eq(name, "submodules");
    if (is_switch && *value && parse_bool(value, &on, err) < 0)
        return err_wrap(err, "%s", name);
    if (str_eq(name, "ref"))
        return take_ref(s, "", value, err);
    if (str_eq(name, "branch"))
        return take_ref(s, "refs/heads/", value, err);
    if (str_eq(name, "tag"))
        return take_ref(s, "refs/tags/", value, err);
    if (str_eq(name, "subdir"))
        replace(&s->folder, value);
    else if (str_eq(name, "checksum") || str_eq(name, "commit"))
        replace(&s->checksum, value);
    else if (str_eq(name, "keep-git-dir"))
        s->keep_git_dir = on;
    else if (str_eq(name, "submodules"))
        s->no_submodules = !on;
    else
        return err_set(err, ERR_INVALID,
                       "unknown parameter \"%.80s\" of a git repository: expected ref, branch, tag, subdir, "
                       "checksum, commit, keep-git-dir or submodules",
                       name);
    return 0;
}

static int parse_query(struct git_source *s, const char *query, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(query, '&');
    STRV_FOREACH (part, parts) {
        char *equals = strchr(*part, '=');
        if (equals)
            *equals = '\0';
        int r = **part ? take_parameter(s, *part, equals ? equals + 1 : "", err) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int check_ref(const char *ref, struct err *err)
{
    if (*ref == '-')
        return err_set(err, ERR_INVALID, "invalid refspec: %.200s", ref);
    return 0;
}

enum { COMMIT_DIGITS = 40 };

int git_source_parse(const char *text, struct git_source *ret, struct err *err)
{
    size_t n = strcspn(text, "#?"), whole = strcspn(text, "#");
    const char *fragment = text[whole] ? text + whole + 1 : "";
    size_t ref = strcspn(fragment, ":");
    struct git_source s = {.url = str_after(text, "github.com/") ? str_printf("https://%.*s", (int)n, text)
                                                                 : mem_strndup(text, n),
                           .ref = mem_strndup(fragment, ref),
                           .folder = mem_strdup(fragment[ref] ? fragment + ref + 1 : "")};
    _cleanup_free_ char *query = n < whole ? mem_strndup(text + n + 1, whole - n - 1) : mem_strdup("");
    int r = parse_query(&s, query, err);
    if (r == 0)
        r = check_ref(s.ref, err);
    if (r == 0 && s.checksum && (!str_is_hex(s.checksum) || strlen(s.checksum) >= GIT_COMMIT_BYTES))
        r = err_set(err, ERR_INVALID, "invalid checksum \"%.80s\": expected hex digits of a commit",
                    s.checksum);
    if (r < 0) {
        git_source_done(&s);
        return r;
    }
    /* A whole commit alone says where to look, too. */
    if (!*s.ref && s.checksum && strlen(s.checksum) == COMMIT_DIGITS)
        replace(&s.ref, s.checksum);
    *ret = s;
    return 0;
}

/* --- The program --- */

enum { ARGUMENTS_MAX = 24 };

static void git_command(const char *dir, const char *const *arguments, const char *argv[ARGUMENTS_MAX])
{
    /* No question on a terminal, no transport that runs programs or reads this machine's files, no line that
     * stands still for ever. */
    const char *const before[] = {"env",
                                  "GIT_TERMINAL_PROMPT=0",
                                  "GIT_ALLOW_PROTOCOL=git:http:https:ssh",
                                  "GIT_CONFIG_NOSYSTEM=1",
                                  "GIT_SSH_COMMAND=ssh -oBatchMode=yes",
                                  "git",
                                  "-c",
                                  "http.lowSpeedLimit=1",
                                  "-c",
                                  "http.lowSpeedTime=60",
                                  "-c",
                                  "core.hooksPath=/dev/null",
                                  "-C",
                                  dir};
    size_t n = ARRAY_SIZE(before);
    memcpy(argv, before, sizeof(before));
    while (*arguments && n + 1 < ARGUMENTS_MAX)
        argv[n++] = *arguments++;
    must(!*arguments);
    argv[n] = NULL;
}

static int git(const char *dir, const char *const *arguments, struct str *output, struct err *err)
{
    const char *argv[ARGUMENTS_MAX];
    git_command(dir, arguments, argv);
    return process_run(argv, NULL, output, err);
}
#define GIT(dir, err, ...) git(dir, (const char *const[]){__VA_ARGS__, NULL}, NULL, err)

/* --- What a commit would write, before it does: a few objects of a repository can stand for any number of
 * files, as one directory may be in another a thousand times. */

struct measure {
    int64_t entries, bytes;
    size_t field; /* of the line "mode type id size\tpath" */
    int64_t size; /* so far */
};

static int measure_listing(void *context, const char *text, size_t n, struct err *err)
{
    struct measure *m = context;
    for (size_t i = 0; i < n; i++) {
        char ch = text[i];
        if (ch == '\n') {
            m->entries++;
            m->bytes += m->size;
            m->field = 0;
            m->size = 0;
        } else if (ch == '\t') {
            m->field = 4;
        } else if (m->field < 3 && ch == ' ') {
            m->field++;
        } else if (m->field == 3 && ch >= '0' && ch <= '9' && m->size < GIT_MAX_BYTES) {
            m->size = m->size * 10 + (ch - '0');
        }
        if (m->entries > GIT_MAX_ENTRIES)
            return err_set(err, ERR_LIMIT, "the repository has more than %d files and directories",
                           GIT_MAX_ENTRIES);
        if (m->bytes > GIT_MAX_BYTES)
            return err_set(err, ERR_LIMIT, "the repository's files are larger than %lld bytes together",
                           (long long)GIT_MAX_BYTES);
    }
    return 0;
}

static int check_out(const char *dir, const char *commit, struct err *err)
{
    struct measure m = {0};
    const char *argv[ARGUMENTS_MAX];
    git_command(dir, (const char *const[]){"ls-tree", "-r", "-t", "-l", commit, NULL}, argv);
    int r = process_run_into(argv, measure_listing, &m, err);
    return r < 0 ? r : GIT(dir, err, "checkout", "-q", "--detach", commit);
}

/* A server of plain files knows no shallow history: then all of it comes. */
static int fetch_ref(const char *dir, const char *wanted, struct err *err)
{
    const char *ref = *wanted ? wanted : "HEAD";
    struct err shallow = {0};
    if (GIT(dir, &shallow, "fetch", "--depth", "1", "origin", "--", ref) == 0)
        return check_out(dir, "FETCH_HEAD", err);
    /* A commit's id cannot be asked for everywhere either. */
    int code = GIT(dir, err, "fetch", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*");
    if (code < 0 || (*wanted && GIT(dir, NULL, "rev-parse", "-q", "--verify", ref) == 0))
        return code < 0 ? code : check_out(dir, ref, err);
    if (*wanted) {
        const char *head = str_after(ref, "refs/heads/");
        _cleanup_free_ char *branch = str_printf("origin/%s", head ? head : ref);
        return check_out(dir, branch, err);
    }
    code = GIT(dir, err, "remote", "set-head", "origin", "--auto");
    return code < 0 ? code : check_out(dir, "origin/HEAD", err);
}

static int read_commit(const struct git_source *s, const char *dir, char *ret, struct err *err)
{
    _cleanup_str_ struct str output = STR_INIT;
    int r = git(dir, (const char *const[]){"rev-parse", "HEAD", NULL}, &output, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *commit = str_strip(str_get(&output));
    if (s->checksum && !str_after(commit, s->checksum))
        return err_set(err, ERR_CORRUPT, "expected commit %s, and %s is %s", s->checksum,
                       *s->ref ? s->ref : "HEAD", commit);
    snprintf(ret, GIT_COMMIT_BYTES, "%s", commit);
    return 0;
}

int git_checkout(const struct git_source *s, const char *dir, char *ret_commit, struct err *err)
{
    char commit[GIT_COMMIT_BYTES];
    int r = GIT(dir, err, "init", "-q");
    if (r == 0)
        r = GIT(dir, err, "remote", "add", "--", "origin", s->url);
    if (r == 0)
        r = fetch_ref(dir, s->ref, err);
    if (r == 0 && !s->no_submodules)
        r = GIT(dir, err, "submodule", "update", "-q", "--init", "--recursive");
    if (r < 0 && err)
        err->code = ERR_INVALID;
    if (r == 0)
        r = read_commit(s, dir, ret_commit ? ret_commit : commit, err);
    return r < 0 ? err_wrap(err, "error fetching %.300s", s->url) : 0;
}

int git_folder(const struct git_source *s, const char *dir, char **ret, struct err *err)
{
    _cleanup_close_ int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return err_sys(err, errno, "open %s", dir);
    const char *folder = *s->folder ? s->folder : ".";
    _cleanup_close_ int fd = file_open_in_root(root, folder, O_RDONLY | O_DIRECTORY, 0, err);
    if (fd < 0)
        return err_set(err, ERR_INVALID, "the repository has no folder \"%.200s\"", folder);
    char proc[40], path[4096];
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(proc, path, sizeof(path) - 1);
    if (n < 0)
        return err_sys(err, errno, "find the folder \"%.200s\"", folder);
    *ret = mem_strndup(path, (size_t)n);
    return 0;
}
