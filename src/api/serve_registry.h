/* The registry's own address of a running `drover serve`: the distribution API and nothing of Docker's, so
 * that whoever may push an image may not start a container. */
#ifndef API_SERVE_REGISTRY_H
#define API_SERVE_REGISTRY_H

#include "base/err.h"
#include "image/own.h"

#include <stdbool.h>

struct images;
struct registry;
struct serve_registry;

struct serve_registry_options {
    const char *address;
    const char *certificate, *key; /* PEM files, both or none */
    const char *config;            /* see api/registry_config.h; NULL: none */
    const char *users;             /* a file of htpasswd's form; NULL: everybody may do everything */
    enum image_own_order names;    /* of names without an address: ours or docker.io's */
};

/* The address: "PORT" (of 127.0.0.1), "HOST:PORT" or "[HOST]:PORT" with a numeric HOST; port 0 takes a free
 * one. Without TLS only this machine itself may be listened for: ERR_DENIED for another host. */
int serve_registry_start(struct images *im, const struct serve_registry_options *options,
                         struct serve_registry **ret, struct err *err);
/* "127.0.0.1:5000", as it is listened on. */
const char *serve_registry_address(const struct serve_registry *s);
/* The registry that is served; NULL for NULL. */
struct registry *serve_registry_inside(const struct serve_registry *s);
/* Reads the configuration again. A wrong one changes nothing, and is the error. */
int serve_registry_reload(struct serve_registry *s, struct err *err);
/* False: a request hangs, and what it uses must stay. NULL is fine. */
bool serve_registry_stop(struct serve_registry *s, int grace_ms);

#endif
