/* Names without an address, in the registries of other nodes. */
#include "image/peers.h"

#include "base/timeutil.h"
#include "image/image_priv.h"
#include "image/registry.h"

#include <stdatomic.h>

static const int64_t AWAY_NS = 10 * NS_PER_S;

struct image_peers {
    struct {
        char *host;
        _Atomic int64_t away_until_ns; /* monotonic */
    } list[IMAGE_PEERS_MAX];
    size_t count;
};

/* What a reference may have before its first slash as an address. */
static int check_host(const char *host, struct err *err)
{
    _cleanup_free_ char *text = str_printf("%s/x", host);
    _cleanup_ref_ struct image_ref ref = {0};
    if (image_ref_parse(text, &ref, NULL) < 0 || !str_eq(ref.domain, host) || str_eq(host, "docker.io"))
        return err_set(err, ERR_INVALID, "\"%.100s\" is no peer's address: HOST or HOST:PORT", host);
    return 0;
}

int images_set_peers(struct images *im, char *const *hosts, struct err *err)
{
    if (strv_len((char **)hosts) > IMAGE_PEERS_MAX)
        return err_set(err, ERR_LIMIT, "more than %d peers", IMAGE_PEERS_MAX);
    STRV_FOREACH (host, (char **)hosts) {
        int r = check_host(*host, err);
        if (r < 0)
            return r;
    }
    struct image_peers *p = NEW(struct image_peers);
    STRV_FOREACH (host, (char **)hosts)
        p->list[p->count++].host = mem_strdup(*host);
    image__peers_free(im->peers);
    im->peers = p;
    return 0;
}

void image__peers_free(struct image_peers *p)
{
    for (size_t i = 0; p && i < p->count; i++)
        free(p->list[i].host);
    free(p);
}

/* Whether asking others, or docker.io, makes no sense any more. */
static bool is_final(int r)
{
    return r == 0 || r == -ERR_CANCELLED || r == -ERR_NO_SPACE;
}

int image__peers_try(struct images *im, const struct image_ref *ref, const struct image_progress *progress,
                     image__peer_fn one, void *context, struct err *err)
{
    struct image_peers *p = im->peers;
    struct image_ref bare = {.domain = ref->domain, .path = ref->path};
    _cleanup_free_ char *repository = image_ref_familiar(&bare);
    for (size_t i = 0; p && str_eq(ref->domain, "docker.io") && i < p->count; i++) {
        const char *host = p->list[i].host;
        struct err why = {0};
        if (time_monotonic_ns() < atomic_load(&p->list[i].away_until_ns))
            continue;
        int r = one(context, host, repository, &why);
        if (is_final(r))
            return r < 0 ? err_copy(err, &why) : 0;
        if (r == -ERR_UNAVAILABLE || r == -ERR_TIMEOUT)
            atomic_store(&p->list[i].away_until_ns, time_monotonic_ns() + AWAY_NS);
        if (r == -ERR_NOT_FOUND)
            continue;
        _cleanup_free_ char *line = str_printf("peer %s: %.300s", host, why.msg);
        r = registry_report(progress, "", line, 0, 0, err);
        if (r < 0)
            return r;
    }
    return err_set(err, ERR_NOT_FOUND, "no peer has %s", repository);
}
