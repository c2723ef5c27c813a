#include "bakery/build_priv.h"

#include "bakery/fetch.h"
#include "bakery/path.h"
#include "bakery/source.h"
#include "base/file.h"
#include "base/str.h"
#include "image/tar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* COPY and ADD. --link is taken as a plain copy: what it promises is a way to share layers, not another
 * result. */

struct copy {
    struct build *s;
    const struct df_step *step;
    struct sources sources;
    char *destination; /* absolute, cleaned */
    bool into_dir;     /* written with a slash at its end */
    char *owner;       /* --chown, expanded; or NULL */
    int mode;          /* --chmod; or -1 */
    struct layer from; /* COPY --from: the other image, read-only */
};

static void copy_done(struct copy *c)
{
    sources_done(&c->sources);
    build__layer_done(&c->from);
    free(c->destination);
    free(c->owner);
}

/* --- Flags --- */

static int parse_mode(const char *text, int *ret, struct err *err)
{
    int mode = 0;
    size_t n = strlen(text);
    bool ok = n >= 1 && n <= 5;
    for (size_t i = 0; i < n; i++) {
        ok = ok && text[i] >= '0' && text[i] <= '7';
        mode = ok ? mode * 8 + text[i] - '0' : 0;
    }
    if (!ok || mode > 07777)
        return err_set(err, ERR_INVALID, "--chmod=%s: it must be an octal mode such as 644 or 0755", text);
    *ret = mode;
    return 0;
}

static int parse_flags(struct copy *c, struct err *err)
{
    const struct df_step *step = c->step;
    for (size_t i = 0; i < step->flag_count; i++) {
        const char *name = step->flags[i].name, *value = step->flags[i].value;
        bool off = value && strcmp(value, "false") == 0;
        bool here = strcmp(name, "from") == 0 || strcmp(name, "chown") == 0 || strcmp(name, "chmod") == 0 ||
                    strcmp(name, "link") == 0 || strcmp(name, "checksum") == 0;
        if (!here && !off)
            return err_set(err, ERR_UNSUPPORTED, "--%s is not supported", name);
    }
    const char *chown = df_flag(step, "chown"), *chmod = df_flag(step, "chmod");
    int r = chown ? build__expand(c->s, chown, &c->owner, err) : 0;
    _cleanup_free_ char *mode = NULL;
    if (r == 0 && chmod)
        r = build__expand(c->s, chmod, &mode, err);
    if (r == 0 && mode)
        r = parse_mode(mode, &c->mode, err);
    return r;
}

/* --- Sources --- */

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
    struct source source = {.root_fd = fd, .owned = true, .path = mem_strdup(name), .name = mem_strdup(name)};
    sources_add(&c->sources, &source);
    return 0;
}

static int check_file_name(const char *name, struct err *err)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 ||
        strlen(name) > 255)
        return err_set(err, ERR_INVALID, "\"%s\" cannot be a file's name", name);
    return 0;
}

static int make_dir(struct copy *c, char **ret, struct err *err)
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
    int r = check_file_name(h->name, err);
    if (r == 0)
        r = make_dir(c, &dir, err);
    if (r == 0 && h->expand)
        r = build__expand_heredoc(c->s, h->content, &expanded, err);
    if (r < 0)
        return r;
    const char *content = h->expand ? expanded : h->content;
    _cleanup_free_ char *path = str_printf("%s/%s", dir, h->name);
    r = file_replace(path, content, strlen(content), 0644, false, err);
    return r < 0 ? r : add_made_file(c, dir, h->name, err);
}

static int add_url(struct copy *c, const char *url, struct err *err)
{
    _cleanup_free_ char *dir = NULL, *name = NULL;
    int r = fetch_name(url, &name, err);
    if (r == 0)
        r = check_file_name(name, err);
    if (r < 0)
        return err_wrap(err, "%s", url);
    r = make_dir(c, &dir, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    r = fetch_url(url, path, df_flag(c->step, "checksum"), err);
    return r < 0 ? r : add_made_file(c, dir, name, err);
}

static const struct df_heredoc *heredoc_of(const struct df_step *step, size_t arg)
{
    for (size_t i = 0; i < step->heredoc_count; i++)
        if (step->heredoc_arg[i] == arg)
            return &step->heredocs[i];
    return NULL;
}

static int add_source(struct copy *c, size_t arg, struct err *err)
{
    const struct df_heredoc *heredoc = heredoc_of(c->step, arg);
    if (heredoc)
        return add_heredoc(c, heredoc, err);
    _cleanup_free_ char *text = NULL;
    int r = build__expand(c->s, c->step->args[arg], &text, err);
    if (r < 0)
        return r;
    if (c->step->op == DF_ADD && fetch_is_git(text))
        return err_set(err, ERR_UNSUPPORTED, "%s: adding a git repository is not supported", text);
    if (c->step->op == DF_ADD && fetch_is_url(text))
        return add_url(c, text, err);
    bool from = c->from.dir != NULL;
    return sources_find(&c->sources, from ? c->from.root_fd : c->s->b->context_fd, text,
                        from ? NULL : c->s->b->ignore, from, err);
}

static int find_sources(struct copy *c, struct err *err)
{
    const char *from = df_flag(c->step, "from");
    int r = from ? open_from(c, from, err) : 0;
    size_t n = strv_len(c->step->args) - 1;
    for (size_t i = 0; r == 0 && i < n; i++) {
        size_t before = c->sources.count;
        r = add_source(c, i, err);
        /* Only what comes from the context is unpacked, not a download. */
        if (r == 0 && c->step->op == DF_ADD && c->sources.count > before && !c->sources.list[before].owned)
            r = sources_find_archives(&c->sources, before, err);
    }
    if (r < 0)
        return r;
    if (df_flag(c->step, "checksum") && (n != 1 || !c->sources.list[0].owned))
        return err_set(err, ERR_INVALID, "--checksum is for one source that is a URL");
    if (c->sources.count > 1 && !c->into_dir)
        return err_set(
            err, ERR_INVALID,
            "When using %s with more than one source file, the destination must be a directory and "
            "end with a /",
            df_name(c->step->op));
    return 0;
}

static int find_destination(struct copy *c, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    int r = build__expand(c->s, c->step->args[strv_len(c->step->args) - 1], &text, err);
    if (r < 0)
        return r;
    if (!*text)
        return err_set(err, ERR_INVALID, "an empty destination");
    const char *workdir = json_str(build__config(c->s), "WorkingDir");
    c->destination = path_resolve(*workdir ? workdir : "/", text);
    const char *last = path_base(text);
    c->into_dir = !*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0;
    return 0;
}

/* --- Copying --- */

static bool exclude(void *context, const char *relative, bool is_dir)
{
    const struct source *source = context;
    _cleanup_free_ char *path = *source->path && *relative ? str_printf("%s/%s", source->path, relative)
                                : *relative                ? mem_strdup(relative)
                                                           : mem_strdup(source->path);
    return source_excluded(source->root_fd, source->ignore, path, is_dir);
}

static bool is_dir_in(int root_fd, const char *path)
{
    _cleanup_close_ int fd = file_open_in_root(root_fd, path, O_PATH | O_DIRECTORY, 0, NULL);
    return fd >= 0;
}

static int unpack(struct copy *c, const struct source *source, int root_fd, uid_t uid, gid_t gid,
                  struct err *err)
{
    if (c->mode >= 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "--chmod with the archive %s, which is unpacked, is not supported", source->name);
    _cleanup_close_ int dir = file_mkdirs_in_root(root_fd, c->destination, 0755, err);
    if (dir < 0)
        return dir;
    _cleanup_close_ int fd = file_open_in_root(source->root_fd, source->path, O_RDONLY, 0, err);
    if (fd < 0)
        return fd;
    struct tar_extract x = {
        .root_fd = root_fd, .into = c->destination, .keep_owner = c->owner == NULL, .uid = uid, .gid = gid};
    int r = tar_extract_fd(&x, fd, err);
    return r < 0 ? err_wrap(err, "unpack %s", source->name) : 0;
}

static int copy_one(struct copy *c, struct source *source, int root_fd, uid_t uid, gid_t gid, struct err *err)
{
    if (source->unpack)
        return unpack(c, source, root_fd, uid, gid, err);
    bool below = !source->is_dir && (c->into_dir || is_dir_in(root_fd, c->destination));
    _cleanup_free_ char *to = below ? path_resolve(c->destination, source->name) : mem_strdup(c->destination);
    if (source->is_dir) {
        _cleanup_close_ int dir = file_mkdirs_in_root(root_fd, to, 0755, err);
        if (dir < 0)
            return dir;
    }
    struct tree_copy t = {.from_fd = source->root_fd,
                          .from = *source->path ? source->path : "/",
                          .to_fd = root_fd,
                          .to = to,
                          .contents = source->is_dir,
                          .keep_owner = source->keep_owner && !c->owner,
                          .uid = uid,
                          .gid = gid,
                          .mode = c->mode,
                          .exclude = source->ignore ? exclude : NULL,
                          .exclude_context = source};
    return tree_copy(&t, err);
}

static int copy_all(struct copy *c, struct layer *layer, struct err *err)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int r = build__layer_mount(c->s, layer, false, err);
    if (r == 0 && c->owner)
        r = build__owner(layer->root_fd, c->owner, &uid, &gid, err);
    for (size_t i = 0; r == 0 && i < c->sources.count; i++)
        r = copy_one(c, &c->sources.list[i], layer->root_fd, uid, gid, err);
    return r;
}

static char *created_by_of(const struct copy *c, const char *hash)
{
    struct str s = STR_INIT;
    str_addf(&s, "/bin/sh -c #(nop) %s ", df_name(c->step->op));
    if (c->owner)
        str_addf(&s, "--chown=%s ", c->owner);
    if (c->mode >= 0)
        str_addf(&s, "--chmod=%o ", c->mode);
    str_addf(&s, "%s in %s%s ", hash, c->destination, c->into_dir && c->destination[1] ? "/" : "");
    return str_take(&s);
}

int build__copy(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_(copy_done) struct copy c = {.s = s, .step = step, .mode = -1, .from = LAYER_INIT};
    int r = parse_flags(&c, err);
    if (r == 0)
        r = find_destination(&c, err);
    if (r == 0)
        r = find_sources(&c, err);
    _cleanup_free_ char *hash = NULL;
    if (r == 0)
        r = sources_hash(&c.sources, &hash, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *created_by = created_by_of(&c, hash);
    char key[DIGEST_BYTES];
    bool hit;
    build__cache_key(s, created_by, NULL, key);
    r = build__cache_try(s, key, &hit, err);
    if (r < 0 || hit)
        return r;
    _cleanup_layer_ struct layer layer = LAYER_INIT;
    r = build__layer_begin(s, &layer, err);
    if (r == 0)
        r = copy_all(&c, &layer, err);
    return r < 0 ? r : build__layer_commit(s, &layer, created_by, key, err);
}
