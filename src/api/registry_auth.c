#include "api/registry_auth.h"

#include "base/base64.h"
#include "base/deferred.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"

#include <crypt.h>
#include <pthread.h>

enum { FILE_MAX_BYTES = 1 << 20, REMEMBERED_MAX = 1024 };

struct registry_auth {
    char *path, secret[65];
    pthread_mutex_t lock; /* all below */
    struct stat read_as;
    struct map hashes; /* user -> hash */
    struct map
        remembered; /* digest of secret, user and password that were right, of the file as it was read */
};

static void read_lines(struct registry_auth *a, const char *text)
{
    map_done(&a->hashes);
    map_done(&a->remembered);
    a->hashes = MAP_INIT(free);
    a->remembered = MAP_INIT(NULL);
    _cleanup_strv_ char **lines = strv_split(text, '\n');
    STRV_FOREACH (line, lines) {
        _cleanup_free_ char *bare = str_strip(*line);
        char *colon = strchr(bare, ':');
        if (*bare == '#' || !colon || colon == bare)
            continue;
        *colon = '\0';
        map_put(&a->hashes, bare, mem_strdup(colon + 1));
    }
}

static bool same(const struct stat *x, const struct stat *y)
{
    return x->st_ino == y->st_ino && x->st_size == y->st_size && x->st_mtim.tv_sec == y->st_mtim.tv_sec &&
           x->st_mtim.tv_nsec == y->st_mtim.tv_nsec;
}

/* With the lock held. A file that cannot be read lets nobody in. */
static int refresh(struct registry_auth *a, struct err *err)
{
    struct stat now;
    _cleanup_str_ struct str text = STR_INIT;
    int r = stat(a->path, &now) < 0 ? err_sys(err, errno, "%s", a->path) : 0;
    if (r == 0 && same(&now, &a->read_as))
        return 0;
    if (r == 0)
        r = file_read(a->path, FILE_MAX_BYTES, &text, err);
    read_lines(a, r == 0 ? str_get(&text) : "");
    a->read_as = r == 0 ? now : (struct stat){0};
    return r;
}

int registry_auth_new(const char *htpasswd_file, struct registry_auth **ret, struct err *err)
{
    deferred_need(DEFERRED_CRYPT);
    struct registry_auth *a = NEW(struct registry_auth);
    a->path = mem_strdup(htpasswd_file);
    pthread_mutex_init(&a->lock, NULL);
    digest_random_id(a->secret);
    int r = refresh(a, err);
    if (r == 0 && a->hashes.count == 0)
        r = err_set(err, ERR_INVALID, "%s names no user: make one with htpasswd -B", htpasswd_file);
    if (r < 0) {
        registry_auth_free(a);
        return r;
    }
    *ret = a;
    return 0;
}

void registry_auth_free(struct registry_auth *a)
{
    if (!a)
        return;
    map_done(&a->hashes);
    map_done(&a->remembered);
    pthread_mutex_destroy(&a->lock);
    free(a->path);
    free(a);
}

static bool matches(const char *password, const char *hash)
{
    _cleanup_free_ struct crypt_data *work = NEW(struct crypt_data);
    const char *made = crypt_r(password, hash, work);
    if (!made || *made == '*' || strlen(made) != strlen(hash))
        return false;
    unsigned char differs = 0; /* in the same time wherever they differ */
    for (size_t i = 0; hash[i]; i++)
        differs |= (unsigned char)(made[i] ^ hash[i]);
    return differs == 0;
}

/* "user:password" of the header; NULL when it is none. */
static char *decode(const char *authorization)
{
    const char *text =
        authorization && strncasecmp(authorization, "Basic ", 6) == 0 ? authorization + 6 : NULL;
    _cleanup_str_ struct str plain = STR_INIT;
    if (!text || base64_decode(text, &plain, NULL) < 0 || memchr(str_get(&plain), '\0', plain.len))
        return NULL;
    return strchr(str_get(&plain), ':') ? str_take(&plain) : NULL;
}

bool registry_auth_accepts(struct registry_auth *a, const char *authorization)
{
    _cleanup_free_ char *pair = decode(authorization);
    if (!pair)
        return false;
    _cleanup_free_ char *salted = str_printf("%s:%s", a->secret, pair), *hash = NULL;
    char key[DIGEST_BYTES];
    digest_of(salted, strlen(salted), key);
    char *colon = strchr(pair, ':');
    *colon = '\0';
    struct err err = {0};
    pthread_mutex_lock(&a->lock);
    if (refresh(a, &err) < 0)
        log_warning("registry: users: %s", err.msg);
    bool known = map_has(&a->remembered, key);
    struct stat read_as = a->read_as;
    if (!known)
        hash = mem_strdup(map_get(&a->hashes, pair));
    pthread_mutex_unlock(&a->lock);
    if (known || !hash)
        return known;
    bool right = matches(colon + 1, hash);
    pthread_mutex_lock(&a->lock);
    if (right && same(&read_as, &a->read_as) && a->remembered.count < REMEMBERED_MAX)
        map_put(&a->remembered, key, a);
    pthread_mutex_unlock(&a->lock);
    return right;
}
