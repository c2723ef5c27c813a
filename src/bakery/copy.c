#include "bakery/ahead.h"

#include "bakery/path.h"
#include "base/file.h"
#include "base/str.h"
#include "image/tar.h"

#include <ctype.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

void copy__done(struct copy *c)
{
    if (c->made_layer)
        image_layer_drop(c->s->b->im, c->made_layer);
    free(c->made_layer);
    free(c->hash);
    sources_done(&c->sources);
    build__layer_done(&c->from);
    ignore_free(c->exclude);
    free(c->destination);
    free(c->owner);
    free(c->mode_text);
    for (size_t i = 0; i < c->later_count; i++) {
        free(c->later[i].from);
        free(c->later[i].to);
    }
    free(c->later);
}

/* --- Flags --- */

/* *ret stays NULL where the flag has no value, or a variable without one. */
static int expand_flag(const struct copy *c, const char *name, char **ret, struct err *err)
{
    const char *value = df_flag(c->step, name);
    _cleanup_free_ char *text = NULL;
    int r = value ? build__expand(c->s, value, &text, err) : 0;
    if (r == 0 && !str_empty(text))
        *ret = take_ptr(text);
    return r;
}

static int parse_flags(struct copy *c, struct err *err)
{
    const struct df_step *step = c->step;
    c->link = df_flag_on(step, "link");
    c->parents = df_flag_on(step, "parents");
    int r = expand_flag(c, "chown", &c->owner, err);
    if (r == 0)
        r = expand_flag(c, "chmod", &c->mode_text, err);
    if (r == 0 && c->mode_text && (r = file_mode_parse(c->mode_text, &c->mode, err)) < 0)
        return err_wrap(err, "--chmod");
    for (size_t i = 0; r == 0 && i < step->flag_count; i++) {
        _cleanup_free_ char *pattern = NULL;
        if (strcmp(step->flags[i].name, "exclude") != 0)
            continue;
        r = build__expand(c->s, step->flags[i].value, &pattern, err);
        if (r == 0)
            r = ignore_add(&c->exclude, pattern, "--exclude", err);
    }
    return r;
}

static int find_destination(struct copy *c, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    int r = build__expand(c->s, c->step->args[strv_len(c->step->args) - 1], &text, err);
    if (r < 0)
        return r;
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
    return source_left_out(source, path, is_dir);
}

static bool is_dir_in(int root_fd, const char *path)
{
    _cleanup_close_ int fd = file_open_in_root(root_fd, path, O_PATH | O_DIRECTORY, 0, NULL);
    return fd >= 0;
}

/* Directories that are made on the way to a destination belong to --chown's owner too, and have the mode of
 * an octal --chmod, as with BuildKit; a symbolic one changes what is there. */
static int make_dirs(const struct copy *c, int root_fd, const char *wanted, uid_t uid, gid_t gid,
                     struct err *err)
{
    mode_t mode =
        c->mode_text && isdigit((unsigned char)*c->mode_text) ? file_mode_apply(&c->mode, 0) & 0777 : 0755;
    return build__make_dirs(root_fd, wanted, mode, uid, gid, err);
}

static int make_parents(const struct copy *c, int root_fd, const char *path, uid_t uid, gid_t gid,
                        struct err *err)
{
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *dir = mem_strndup(path, (size_t)(slash - path));
    return make_dirs(c, root_fd, dir, uid, gid, err);
}

static int unpack(struct copy *c, const struct source *source, int root_fd, uid_t uid, gid_t gid,
                  struct err *err)
{
    int r = build__make_dirs(root_fd, c->destination, 0755, uid, gid, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = file_open_in_root(source->root.fd, source->path, O_RDONLY, 0, err);
    if (fd < 0)
        return fd;
    r = tar_check_end(fd, err);
    if (r < 0)
        return err_wrap(err, "unpack %s", source->name);
    /* An archive has modes of its own, and owners where none is asked for. */
    const struct tar_extract x = {.root_fd = root_fd,
                                  .into = c->destination,
                                  .keep_owner = !c->owner,
                                  .uid = uid,
                                  .gid = gid,
                                  .implied_to_root = true};
    r = tar_extract_fd(&x, fd, err);
    return r < 0 ? err_wrap(err, "unpack %s", source->name) : 0;
}

/* --- Directories that are new ---
 *
 * What is copied goes through the overlay of the image before, so that it lands where that has directories
 * and links. A directory that the copying itself has made is in the upper directory alone: its content is put
 * there when the overlay has gone, where files of the context only get a second name. */

enum { LATER_MAX = 4096 };

/* Whether the path is a directory of the upper one, and not behind a link of the image's. */
static bool is_in_upper(const struct copy *c, const char *to)
{
    _cleanup_close_ int upper = open(c->upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = file_open_below(upper, to, O_PATH | O_DIRECTORY | O_NOFOLLOW);
    return fd >= 0;
}

static bool fill_later(void *context, const char *from, const char *to)
{
    struct copy *c = context;
    if (c->later_count == LATER_MAX || !is_in_upper(c, to))
        return false;
    GROW(c->later, c->later_count, c->later_capacity);
    c->later[c->later_count++] = (struct later){mem_strdup(from), mem_strdup(to)};
    return true;
}

static struct tree_copy tree_copy_of(const struct copy *c, struct source *source, uid_t uid, gid_t gid)
{
    return (struct tree_copy){.from_fd = source->root.fd,
                              .contents = source->is_dir,
                              .root_stays = true,
                              .keep_owner = source->root.keep_owner && !c->owner,
                              .uid = uid,
                              .gid = gid,
                              .mode = c->mode_text ? &c->mode : NULL,
                              .exclude = source->root.ignore || source->root.exclude ? exclude : NULL,
                              .exclude_context = source};
}

static int fill(struct copy *c, struct source *source, const struct later *l, int upper_fd, uid_t uid,
                gid_t gid, struct err *err)
{
    _cleanup_free_ char *from = path_resolve(*source->path ? source->path : "/", l->from);
    struct tree_copy t = tree_copy_of(c, source, uid, gid);
    t.from = from;
    t.to = l->to;
    t.to_fd = upper_fd;
    t.link = true;
    t.below = l->from;
    struct stat st;
    _cleanup_close_ int to = file_open_below(upper_fd, l->to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (to < 0 || fstat(to, &st) < 0)
        return err_sys(err, errno, "open %s", l->to);
    int r = tree_copy(&t, err);
    /* It has its time already, and what came into it has changed that. */
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    return r == 0 && futimens(to, times) < 0 ? err_sys(err, errno, "set the time of %s", l->to) : r;
}

static int fill_all(struct copy *c, struct layer *layer, uid_t uid, gid_t gid, struct err *err)
{
    if (!c->later_count)
        return 0;
    build__layer_unmount(layer);
    _cleanup_close_ int upper = open(c->upper, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int r = upper < 0 ? err_sys(err, errno, "open %s", c->upper) : 0;
    for (size_t i = 0; r == 0 && i < c->later_count; i++)
        r = fill(c, &c->sources.list[c->sources.count - 1], &c->later[i], upper, uid, gid, err);
    return r;
}

static int copy_to(struct copy *c, struct source *source, int root_fd, const char *to, uid_t uid, gid_t gid,
                   struct err *err)
{
    int r = source->is_dir ? make_dirs(c, root_fd, to, uid, gid, err)
                           : make_parents(c, root_fd, to, uid, gid, err);
    if (r < 0)
        return r;
    struct tree_copy t = tree_copy_of(c, source, uid, gid);
    t.from = *source->path ? source->path : "/";
    t.to = to;
    t.to_fd = root_fd;
    /* Nothing comes after the last source that could meet what is filled later. */
    if (source->root.passing && source->is_dir && source == &c->sources.list[c->sources.count - 1]) {
        t.later = fill_later;
        t.later_context = c;
    }
    return tree_copy(&t, err);
}

/* A directory that --parents keeps looks like the source's, where it is made now. */
static int make_parent(struct copy *c, const struct source *source, const char *from, int root_fd,
                       const char *to, uid_t uid, gid_t gid, struct err *err)
{
    _cleanup_close_ int there = file_open_in_root(root_fd, to, O_PATH | O_DIRECTORY, 0, NULL);
    if (there >= 0)
        return 0;
    int r = make_dirs(c, root_fd, to, uid, gid, err);
    if (r < 0)
        return r;
    _cleanup_close_ int dir = file_open_in_root(root_fd, to, O_RDONLY | O_DIRECTORY, 0, err);
    _cleanup_close_ int like = file_open_in_root(source->root.fd, from, O_PATH | O_DIRECTORY, 0, err);
    struct stat st;
    if (dir < 0 || like < 0)
        return MIN(dir, like);
    if (fstat(like, &st) < 0)
        return err_sys(err, errno, "stat %s", from);
    bool keep = source->root.keep_owner && !c->owner;
    mode_t mode = c->mode_text ? file_mode_apply(&c->mode, st.st_mode) : st.st_mode & 07777;
    if (fchown(dir, keep ? st.st_uid : uid, keep ? st.st_gid : gid) < 0 || fchmod(dir, mode) < 0)
        return err_sys(err, errno, "set owner and mode of %s", to);
    return 0;
}

static int copy_with_parents(struct copy *c, struct source *source, int root_fd, uid_t uid, gid_t gid,
                             struct err *err)
{
    const char *named = source->named, *kept = named + strlen(named) - strlen(source->name);
    int r = 0;
    for (const char *slash = kept; r == 0 && (slash = strchr(slash, '/')); slash++) {
        _cleanup_free_ char *from = mem_strndup(named, (size_t)(slash - named));
        _cleanup_free_ char *to = path_resolve(c->destination, from + (kept - named));
        r = make_parent(c, source, from, root_fd, to, uid, gid, err);
    }
    _cleanup_free_ char *to = path_resolve(c->destination, source->name);
    if (r == 0 && source->is_dir)
        r = make_parent(c, source, named, root_fd, to, uid, gid, err);
    return r < 0 ? r : copy_to(c, source, root_fd, to, uid, gid, err);
}

static int copy_one(struct copy *c, struct source *source, int root_fd, uid_t uid, gid_t gid, struct err *err)
{
    if (source->unpack)
        return unpack(c, source, root_fd, uid, gid, err);
    if (c->parents)
        return copy_with_parents(c, source, root_fd, uid, gid, err);
    bool below = !source->is_dir && (c->into_dir || is_dir_in(root_fd, c->destination));
    _cleanup_free_ char *to = below ? path_resolve(c->destination, source->name) : mem_strdup(c->destination);
    if (below && is_dir_in(root_fd, to))
        return err_set(err, ERR_CONFLICT, "cannot overwrite directory \"%s\" with a file", to);
    return copy_to(c, source, root_fd, to, uid, gid, err);
}

static int copy_all(struct copy *c, struct layer *layer, uid_t uid, gid_t gid, struct err *err)
{
    int r = sources_unpack(&c->sources, c->s->b->o->context, err);
    if (r == 0)
        r = copy__bring(c, err);
    if (r == 0 && layer->root_fd < 0)
        r = build__layer_mount(c->s, layer, false, err);
    c->upper = layer->snapshot.upper;
    for (size_t i = 0; r == 0 && i < c->sources.count; i++)
        r = copy_one(c, &c->sources.list[i], layer->root_fd, uid, gid, err);
    return r < 0 ? r : fill_all(c, layer, uid, gid, err);
}

static char *created_by_of(const struct copy *c)
{
    struct str s = STR_INIT;
    str_addf(&s, "/bin/sh -c #(nop) %s ", df_name(c->step->op));
    if (c->link)
        str_add(&s, "--link ");
    if (c->owner)
        str_addf(&s, "--chown=%s ", c->owner);
    if (c->mode_text)
        str_addf(&s, "--chmod=%s ", c->mode_text);
    if (c->parents)
        str_add(&s, "--parents ");
    str_addf(&s, "%s in %s%s ", c->hash, c->destination, c->into_dir && c->destination[1] ? "/" : "");
    return str_take(&s);
}

/* The image before gives the owner's numbers where --chown has names. */
static int find_owner(struct copy *c, uid_t *ret_uid, gid_t *ret_gid, struct err *err)
{
    if (!c->owner)
        return 0;
    _cleanup_layer_ struct layer base = LAYER_INIT;
    int r = build__layer_begin(c->s, &base, err);
    if (r == 0)
        r = build__layer_mount(c->s, &base, true, err);
    return r < 0 ? r : build__owner(base.root_fd, c->owner, ret_uid, ret_gid, err);
}

static void link_key_of(const struct copy *c, const char *created_by, uid_t uid, gid_t gid,
                        char ret[DIGEST_BYTES])
{
    _cleanup_free_ char *text = str_printf("%s %u:%u", created_by, uid, gid);
    build__link_key(c->s, text, ret);
}

/* Whether the layer of --link is needed whatever the image below it turns out to be. */
static bool link_is_wanted(const struct copy *c, uid_t uid, gid_t gid)
{
    const struct builder *b = c->s->b;
    if (b->cache_limited || b->source_count) /* what these give shows when the step's turn comes */
        return false;
    if (build__no_cache(c->s))
        return true;
    _cleanup_free_ char *created_by = created_by_of(c), *id = NULL;
    char link_key[DIGEST_BYTES];
    link_key_of(c, created_by, uid, gid, link_key);
    return image_cache_get(b->im, link_key, &id, NULL) == -ERR_NOT_FOUND;
}

int copy__make_link(struct copy *c, struct err *err)
{
    uid_t uid = 0;
    gid_t gid = 0;
    /* Names are looked up in the image below. */
    bool by_name = c->owner && c->owner[strspn(c->owner, "0123456789:")];
    if (!c->link || by_name)
        return 0;
    int r = c->owner ? build__owner(-EBADF, c->owner, &uid, &gid, err) : 0;
    if (r < 0 || !link_is_wanted(c, uid, gid))
        return r;
    _cleanup_layer_ struct layer layer = LAYER_INIT;
    r = build__layer_begin_empty(c->s, &layer, err);
    if (r == 0)
        r = copy_all(c, &layer, uid, gid, err);
    if (r < 0)
        return r;
    build__layer_unmount(&layer);
    return image_layer_write(c->s->b->im, layer.snapshot.upper, c->s->b->epoch, &c->made_layer, err);
}

static int copy_linked(struct copy *c, const char *created_by, const char *key, struct err *err)
{
    uid_t uid = 0;
    gid_t gid = 0;
    int r = find_owner(c, &uid, &gid, err);
    if (r < 0)
        return r;
    char link_key[DIGEST_BYTES];
    bool hit;
    link_key_of(c, created_by, uid, gid, link_key);
    r = build__link_try(c->s, created_by, key, link_key, &hit, err);
    if (r < 0 || hit)
        return r;
    if (c->made_layer)
        return build__link_keep(c->s, c->made_layer, created_by, key, link_key, err);
    _cleanup_layer_ struct layer layer = LAYER_INIT;
    r = build__layer_begin_empty(c->s, &layer, err);
    if (r == 0)
        r = copy_all(c, &layer, uid, gid, err);
    return r < 0 ? r : build__link_commit(c->s, &layer, created_by, key, link_key, err);
}

static int copy_upon(struct copy *c, const char *created_by, const char *key, struct err *err)
{
    uid_t uid = 0;
    gid_t gid = 0;
    _cleanup_layer_ struct layer layer = LAYER_INIT;
    int r = build__layer_begin(c->s, &layer, err);
    if (r == 0 && c->owner)
        r = build__layer_mount(c->s, &layer, false, err);
    if (r == 0 && c->owner)
        r = build__owner(layer.root_fd, c->owner, &uid, &gid, err);
    if (r == 0)
        r = copy_all(c, &layer, uid, gid, err);
    return r < 0 ? r : build__layer_commit(c->s, &layer, created_by, key, err);
}

int copy__prepare(struct copy *c, struct err *err)
{
    int r = parse_flags(c, err);
    if (r == 0)
        r = find_destination(c, err);
    if (r == 0)
        r = copy__find_sources(c, err);
    return r < 0 ? r : sources_hash(&c->sources, &c->hash, err);
}

int build__copy(struct build *s, const struct df_step *step, struct err *err)
{
    _cleanup_(copy__done) struct copy c = {.s = s, .step = step, .from = LAYER_INIT};
    bool taken;
    int r = build__ahead_take(s, &c, &taken, err);
    if (r == 0 && !taken)
        r = copy__prepare(&c, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *created_by = created_by_of(&c);
    char key[DIGEST_BYTES];
    bool hit;
    build__cache_key(s, created_by, NULL, key);
    r = build__cache_try(s, key, created_by, true, &hit, err);
    if (r < 0 || hit)
        return r;
    return c.link ? copy_linked(&c, created_by, key, err) : copy_upon(&c, created_by, key, err);
}
