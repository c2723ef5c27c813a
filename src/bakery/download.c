#include "bakery/copy_priv.h"

#include "bakery/attest.h"
#include "bakery/fetch.h"
#include "base/str.h"

#include <fcntl.h>
#include <unistd.h>

/* ADD of URLs. The step's key needs the content's digest, not the content: --checksum says it, and a server
 * that was asked before may say that what it gave then has not changed. Such a download is made only when the
 * step is not in the cache. */

static bool stopped(void *context)
{
    return build__stopped(context);
}

static int open_made(const char *dir, struct err *err)
{
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? err_sys(err, errno, "open %s", dir) : fd;
}

/* Into a directory of its own; *ret_fd stays when there is nothing new. */
static int download(struct copy *c, struct fetch *f, const char *name, int *ret_fd, struct err *err)
{
    _cleanup_free_ char *dir = NULL;
    int r = copy__make_dir(c, &dir, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("%s/%s", dir, name);
    f->path = path;
    f->stopped = stopped;
    f->context = c->s;
    r = fetch_into(f, err);
    f->path = NULL;
    if (r < 0 || f->unchanged)
        return r;
    r = open_made(dir, err);
    if (r < 0)
        return r;
    *ret_fd = r;
    /* What cannot be written down is asked for in full the next time. */
    if (!f->checksum || str_after(f->checksum, "sha256:"))
        image_download_put(c->s->b->im, f->url, f->next_condition, f->digest, NULL);
    return 0;
}

/* A helper brings what no build had yet, while steps above go on; it would be wasted on a step that is in the
 * cache of this machine or perhaps another's. */
static bool helper_waits(const struct copy *c, const char *known, const char *checksum)
{
    const struct builder *b = c->s->b;
    return c->link || b->cache_limited || b->source_count ||
           (str_eq(known, checksum) && !build__no_cache(c->s));
}

static int find_digest(struct copy *c, struct source *source, const char *checksum, struct err *err)
{
    _cleanup_free_ char *condition = NULL, *known = NULL;
    struct fetch f = {.url = source->url, .checksum = checksum};
    if (image_download_get(c->s->b->im, source->url, &condition, &known, NULL) < 0)
        known = NULL;
    if (checksum && (!c->s->helps || helper_waits(c, known, checksum))) {
        source->digest = mem_strdup(checksum);
        return 0;
    }
    if (!checksum && !str_empty(condition) && !build__no_cache(c->s))
        f.condition = condition;
    int r = download(c, &f, source->name, &source->root.fd, err);
    free(f.next_condition);
    if (r < 0)
        return r;
    source->digest = f.unchanged ? take_ptr(known) : mem_strdup(f.digest);
    if (!f.unchanged)
        free(take_ptr(source->url));
    return 0;
}

int copy__add_url(struct copy *c, const char *url, struct err *err)
{
    const char *flag = df_flag(c->step, "checksum");
    _cleanup_free_ char *name = fetch_name(url), *checksum = NULL;
    int r = copy__check_name(name, err);
    if (r < 0)
        return err_wrap(err, "%s", url);
    r = flag ? build__expand(c->s, flag, &checksum, err) : 0;
    if (r == 0 && flag)
        r = fetch_check_sum(checksum, err);
    if (r < 0)
        return r;
    const struct source download = {.root = {.fd = -EBADF},
                                    .owned = true,
                                    .path = mem_strdup(name),
                                    .name = mem_strdup(name),
                                    .named = mem_strdup(name),
                                    .url = mem_strdup(url)};
    struct source *source = sources_add(&c->sources, &download);
    r = find_digest(c, source, checksum, err);
    if (r == 0) {
        _cleanup_free_ char *algorithm = mem_strndup(source->digest, strcspn(source->digest, ":"));
        build__material(c->s->b, url, algorithm, digest_hex(source->digest));
        source->identity = str_printf("download %s %s %s", name, source->digest,
                                      df_flag_on(c->step, "unpack") ? "to unpack" : "as it is");
    }
    return r;
}

int copy__bring(struct copy *c, struct err *err)
{
    for (size_t i = 0; i < c->sources.count; i++) {
        struct source *source = &c->sources.list[i];
        struct fetch f = {.url = source->url, .checksum = source->digest};
        if (!source->url)
            continue;
        int r = download(c, &f, source->name, &source->root.fd, err);
        free(f.next_condition);
        if (r < 0)
            return r;
        free(take_ptr(source->url));
        if (df_flag_on(c->step, "unpack") && (r = source_find_archive(source, err)) < 0)
            return r;
    }
    return 0;
}
