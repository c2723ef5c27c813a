#include "bakery/copy_priv.h"

#include "bakery/attest.h"
#include "bakery/fetch.h"
#include "bakery/git.h"
#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where COPY and ADD take from: the context, another image or stage, heredocs, URLs, git repositories. */

/* An image or stage as a read-only root. */
static int open_image(struct copy *c, const char *id, struct err *err)
{
    struct build *s = c->s;
    c->from.dir = build__work_path(s->b);
    if (mkdir(c->from.dir, 0700) < 0)
        return err_sys(err, errno, "make %s", c->from.dir);
    int r = image_snapshot_create(s->b->im, id, c->from.dir, &c->from.snapshot, err);
    return r < 0 ? r : build__layer_mount(s, &c->from, true, err);
}

static int open_from(struct copy *c, const char *from, struct err *err)
{
    struct builder *b = c->s->b;
    size_t own = (size_t)(c->s->stage - b->stages);
    ssize_t index = build__find_stage(b, from, own);
    if (index >= 0) {
        int r = build__need(c->s, (size_t)index, err);
        return r < 0 ? r : open_image(c, b->stages[index].image_id, err);
    }
    if (build__find_stage(b, from, b->stage_count) >= 0)
        return err_set(
            err, ERR_INVALID,
            "--from=%s: a stage can only be copied from by those below it, and that one is not above "
            "this one",
            from);
    if (strchr(from, '$'))
        return err_set(err, ERR_INVALID,
                       "--from=%s: variables are not expanded in --from; put FROM %s AS a-name before this "
                       "stage, with the ARG before the first FROM, and take --from=a-name",
                       from, from);
    int64_t number;
    if (parse_i64(from, 0, INT32_MAX, &number, NULL) == 0)
        return err_set(err, ERR_INVALID, "--from=%s: no earlier stage has that number", from);
    _cleanup_free_ char *id = NULL;
    int r = build__find_image(b, from, &id, err);
    return r < 0 ? err_wrap(err, "--from=%s", from) : open_image(c, id, err);
}

/* A directory with one file of ours in it, as a source. */
static int add_made_file(struct copy *c, const char *dir, const char *name, struct err *err)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "open %s", dir);
    struct source source = {.root = {.fd = fd},
                            .owned = true,
                            .path = mem_strdup(name),
                            .name = mem_strdup(name),
                            .named = mem_strdup(name)};
    sources_add(&c->sources, &source);
    return 0;
}

int copy__check_name(const char *name, struct err *err)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) > 255)
        return err_set(err, ERR_INVALID, "\"%s\" cannot be a file's name", name);
    return 0;
}

int copy__make_dir(struct copy *c, char **ret, struct err *err)
{
    char *dir = build__work_path(c->s->b);
    if (mkdir(dir, 0700) < 0) {
        int r = err_sys(err, errno, "make %s", dir);
        free(dir);
        return r;
    }
    *ret = dir;
    return 0;
}

static int add_heredoc(struct copy *c, const struct df_heredoc *h, struct err *err)
{
    _cleanup_free_ char *dir = NULL, *expanded = NULL;
    int r = copy__check_name(h->name, err);
    if (r == 0)
        r = copy__make_dir(c, &dir, err);
    if (r == 0 && h->expand)
        r = build__expand_heredoc(c->s, h->content, &expanded, err);
    if (r < 0)
        return r;
    const char *content = h->expand ? expanded : h->content;
    _cleanup_free_ char *path = str_printf("%s/%s", dir, h->name);
    r = file_replace(path, content, strlen(content), 0644, false, err);
    return r < 0 ? r : add_made_file(c, dir, h->name, err);
}

static const struct df_heredoc *heredoc_of(const struct df_step *step, size_t arg)
{
    for (size_t i = 0; i < step->heredoc_count; i++)
        if (step->heredoc_arg[i] == arg)
            return &step->heredocs[i];
    return NULL;
}

/* A directory of a repository that was checked out for us. */
static int add_git(struct copy *c, const char *text, struct err *err)
{
    _cleanup_(git_source_done) struct git_source source = {0};
    _cleanup_free_ char *dir = NULL, *folder = NULL;
    char commit[GIT_COMMIT_BYTES];
    int r = git_source_parse(text, &source, err);
    const char *checksum = df_flag(c->step, "checksum");
    if (r == 0 && checksum) {
        free(source.checksum);
        source.checksum = NULL;
        r = build__expand(c->s, checksum, &source.checksum, err);
    }
    if (r == 0 && source.checksum && !str_is_hex(source.checksum))
        r = err_set(err, ERR_INVALID,
                    "--checksum=%s: expected a commit of the repository, or its first digits",
                    source.checksum);
    if (r == 0)
        r = copy__make_dir(c, &dir, err);
    if (r == 0)
        r = git_checkout(&source, dir, commit, err);
    bool keep = df_flag(c->step, "keep-git-dir") ? df_flag_on(c->step, "keep-git-dir") : source.keep_git_dir;
    if (r == 0 && !keep) {
        _cleanup_free_ char *git = str_printf("%s/.git", dir);
        r = file_remove_tree(git, err);
    }
    if (r == 0)
        r = git_folder(&source, dir, &folder, err);
    int fd = r == 0 ? open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC) : -EBADF;
    if (r == 0 && fd < 0)
        r = err_sys(err, errno, "open %s", folder);
    if (r < 0)
        return r;
    _cleanup_free_ char *uri = str_printf("%s%s%s", source.url, *source.ref ? "#" : "", source.ref);
    build__material(c->s->b, uri, "sha1", commit);
    /* What git writes into .git has times in it; the commit says it all. */
    struct source made = {.root = {.fd = fd, .exclude = c->exclude},
                          .owned = true,
                          .path = mem_strdup(""),
                          .name = mem_strdup(""),
                          .named = mem_strdup(""),
                          .identity = str_printf("git %s %s %d", commit, source.folder, keep),
                          .is_dir = true};
    sources_add(&c->sources, &made);
    return 0;
}

static int add_found(struct copy *c, const char *text, struct err *err)
{
    bool from = c->from.dir != NULL;
    const struct builder *b = c->s->b;
    const struct source_root root = {.fd = from ? c->from.root_fd : b->context_fd,
                                     .tree = from || !b->o->context ? NULL : context_tree(b->o->context),
                                     .ignore = from ? NULL : b->ignore,
                                     .exclude = c->exclude,
                                     .keep_owner = from,
                                     .parents = c->parents};
    return sources_find(&c->sources, &root, text, err);
}

/* Local archives are unpacked and downloads are not, unless --unpack says otherwise. */
static int find_archives(struct copy *c, size_t first, bool local, struct err *err)
{
    bool unpack = df_flag(c->step, "unpack") ? df_flag_on(c->step, "unpack") : local;
    int r = unpack ? sources_unpack(&c->sources, c->s->b->o->context, err) : 0;
    return r == 0 && unpack ? sources_find_archives(&c->sources, first, err) : r;
}

static int add_source(struct copy *c, size_t arg, struct err *err)
{
    const struct df_heredoc *heredoc = heredoc_of(c->step, arg);
    if (heredoc)
        return add_heredoc(c, heredoc, err);
    _cleanup_free_ char *text = NULL;
    size_t before = c->sources.count;
    int r = build__expand(c->s, c->step->args[arg], &text, err);
    if (r < 0 || c->step->op == DF_COPY)
        return r < 0 ? r : add_found(c, text, err);
    if (git_is_url(text))
        return add_git(c, text, err);
    bool local = !fetch_is_url(text);
    r = local ? add_found(c, text, err) : copy__add_url(c, text, err);
    return r < 0 ? r : find_archives(c, before, local, err);
}

/* A wildcard may find nothing where another source is there. */
static int nothing_found(const struct copy *c, size_t n, struct err *err)
{
    if (c->exclude)
        return err_set(err, ERR_NOT_FOUND,
                       "no source files were specified: --exclude leaves out all of them");
    _cleanup_str_ struct str all = STR_INIT;
    for (size_t i = 0; i < n; i++)
        str_addf(&all, "%s%s", i ? " " : "", c->step->args[i]);
    return err_set(err, ERR_NOT_FOUND, "no source files were specified: nothing matches %.300s",
                   str_get(&all));
}

/* What one wildcard found goes into a directory when it is more than one file; archives do in any case. */
static bool several_files(const struct sources *s)
{
    size_t files = 0;
    for (size_t i = 0; i < s->count; i++)
        files += !s->list[i].is_dir && !s->list[i].unpack;
    return files > 1;
}

int copy__find_sources(struct copy *c, struct err *err)
{
    const char *from = df_flag(c->step, "from");
    int r = from ? open_from(c, from, err) : 0;
    size_t n = strv_len(c->step->args) - 1;
    for (size_t i = 0; r == 0 && i < n; i++)
        r = add_source(c, i, err);
    if (r < 0)
        return r;
    if (df_flag(c->step, "checksum") && (n != 1 || !c->sources.count || !c->sources.list[0].owned))
        return err_set(err, ERR_INVALID, "--checksum is for one source that is a URL or a git repository");
    if (!c->sources.count)
        return nothing_found(c, n, err);
    if (n > 1 && !c->into_dir && !c->parents)
        return err_set(
            err, ERR_INVALID,
            "When using %s with more than one source file, the destination must be a directory and "
            "end with a /",
            df_name(c->step->op));
    c->into_dir = c->into_dir || several_files(&c->sources);
    return 0;
}
