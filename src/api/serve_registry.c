#include "api/serve_registry.h"

#include "api/oci_registry.h"
#include "api/registry_access.h"
#include "api/registry_config.h"
#include "base/mem.h"
#include "base/str.h"
#include "image/content.h"
#include "registry/registry.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

struct serve_registry {
    struct oci_registry context;
    struct http_server *server;
    struct images *images;
    struct image_own own;
    char *address;
};

static int resolve(const char *address, struct addrinfo **ret, struct err *err)
{
    const char *colon = strrchr(address, ':');
    _cleanup_free_ char *host =
        colon ? mem_strndup(address, (size_t)(colon - address)) : mem_strdup("127.0.0.1");
    const char *port = colon ? colon + 1 : address;
    size_t n = strlen(host);
    if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
        memmove(host, host + 1, n - 2);
        host[n - 2] = '\0';
    }
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    int r = getaddrinfo(*host ? host : NULL, port, &hints, ret);
    return r == 0 ? 0
                  : err_set(err, ERR_INVALID,
                            "\"%.100s\" is no address to listen on: PORT, HOST:PORT or [HOST]:PORT", address);
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static char *describe(int fd)
{
    struct sockaddr_storage at;
    socklen_t n = sizeof(at);
    char host[INET6_ADDRSTRLEN], port[8];
    if (getsockname(fd, (struct sockaddr *)&at, &n) < 0 ||
        getnameinfo((struct sockaddr *)&at, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return mem_strdup("?");
    return at.ss_family == AF_INET6 ? str_printf("[%s]:%s", host, port) : str_printf("%s:%s", host, port);
}

static int listen_on(const char *address, bool tls, int *ret_fd, struct err *err)
{
    struct addrinfo *info;
    int r = resolve(address, &info, err), on = 1;
    if (r < 0)
        return r;
    _cleanup_close_ int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!tls && !is_loopback(info->ai_addr))
        r = err_set(
            err, ERR_DENIED,
            "without TLS the registry listens for this machine alone (127.0.0.1, ::1): on %s passwords and "
            "images would cross the network in the clear; give --registry-cert and --registry-key",
            address);
    else if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
             bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0)
        r = err_sys(err, errno, "listen on %s for the registry", address);
    freeaddrinfo(info);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

/* --- names without an address (image/own.h) --- */

static int own_err(const struct registry_err *from, struct err *err)
{
    return err_copy(err, &from->cause);
}

static int own_find(void *context, const char *repository, const char *reference,
                    char ret_digest[DIGEST_BYTES], struct err *err)
{
    struct serve_registry *s = context;
    struct registry_err e = {0};
    return registry_pushed(s->context.registry, repository, reference, ret_digest, &e) < 0 ? own_err(&e, err)
                                                                                           : 0;
}

static int own_tags(void *context, const char *repository, char ***ret, struct err *err)
{
    struct serve_registry *s = context;
    struct registry_err e = {0};
    return registry_pushed_tags(s->context.registry, repository, ret, &e) < 0 ? own_err(&e, err) : 0;
}

static int own_referrers(void *context, const char *repository, const char *digest, const char *artifact_type,
                         json_t **ret, struct err *err)
{
    struct serve_registry *s = context;
    struct registry_err e = {0};
    char last[DIGEST_BYTES];
    bool more;
    return registry_referrers(s->context.registry, repository, digest, artifact_type, NULL, ret, last, &more,
                              &e) < 0
               ? own_err(&e, err)
               : 0;
}

static int own_push(void *context, const char *repository, const char *tag, const char *manifest_digest,
                    struct err *err)
{
    struct serve_registry *s = context;
    struct registry_err e = {0};
    return registry_push_local(s->context.registry, repository, tag, manifest_digest, &e) < 0
               ? own_err(&e, err)
               : 0;
}

static int guard(struct serve_registry *s, struct images *im, const struct serve_registry_options *o,
                 struct err *err)
{
    _cleanup_free_ char *key_file = str_printf("%s/registry.key", content_root(im));
    int r = registry_config_open(s->context.registry, o->config, o->users, &s->context.config, err);
    return r < 0 ? r
                 : registry_access_new(s->context.registry, key_file, s->context.tls != NULL,
                                       &s->context.access, err);
}

static int prepare(struct serve_registry *s, struct images *im, const struct serve_registry_options *o,
                   struct err *err)
{
    int r = 0;
    if (!o->certificate != !o->key)
        r = err_set(err, ERR_INVALID, "--registry-cert and --registry-key go together");
    if (r == 0 && o->certificate)
        r = http_tls_new(o->certificate, o->key, &s->context.tls, err);
    if (r == 0 && o->users && o->config)
        r = err_set(
            err, ERR_INVALID,
            "--registry-users and --registry-config exclude each other: name the file of users in the "
            "configuration (htpasswd: FILE)");
    if (r == 0)
        r = registry_start(im, 0, &s->context.registry, err);
    if (r == 0 && (o->users || o->config))
        r = guard(s, im, o, err);
    return r < 0 ? r : registry_deliver(s->context.registry, err);
}

int serve_registry_start(struct images *im, const struct serve_registry_options *options,
                         struct serve_registry **ret, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    struct serve_registry *s = NEW(struct serve_registry);
    int r = prepare(s, im, options, err);
    if (r == 0)
        r = listen_on(options->address, s->context.tls, &fd, err);
    if (r == 0) {
        s->address = describe(fd);
        s->own = (struct image_own){s, options->names, own_find, own_tags, own_referrers, own_push};
        s->images = im;
        images_set_own(im, &s->own);
        r = oci_registry_serve(&s->context, take_fd(&fd), &s->server, err);
    }
    if (r < 0) {
        serve_registry_stop(s, 0);
        return r;
    }
    *ret = s;
    return 0;
}

struct registry *serve_registry_inside(const struct serve_registry *s)
{
    return s ? s->context.registry : NULL;
}

int serve_registry_reload(struct serve_registry *s, struct err *err)
{
    return s && s->context.config ? registry_config_reload(s->context.config, err) : 0;
}

const char *serve_registry_address(const struct serve_registry *s)
{
    return s->address;
}

bool serve_registry_stop(struct serve_registry *s, int grace_ms)
{
    if (!s)
        return true;
    if (s->server && !http_server_stop(s->server, grace_ms))
        return false;
    if (s->images)
        images_set_own(s->images, NULL);
    registry_config_free(s->context.config);
    registry_access_free(s->context.access);
    registry_stop(s->context.registry);
    http_tls_free(s->context.tls);
    free(s->address);
    free(s);
    return true;
}
