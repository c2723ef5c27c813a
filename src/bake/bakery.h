/* bakery.yaml: images, what they stand on, how they are tested and where they go. docs/bakery.md lists the
 * keys. Reading, order and state are here and touch nothing else; the doing is the caller's. */
#ifndef BAKE_BAKERY_H
#define BAKE_BAKERY_H

#include "base/err.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { BAKERY_IMAGES_MAX = 1000 };

struct bakery_image {
    const char *name; /* "base/debian"; also its name on the node and in the registries */
    const char *file;
    int line;
    const char *base;  /* a base from packages: "debian:bookworm"; or NULL and */
    const char *build; /* a context directory */
    const char *variant, *snapshot, *keyring, *dockerfile, *target, *test, *kind;
    char **include, **mirrors, **on, **tags, **parameters, **locals;
    const struct yaml_node *args;
    bool parameterised;
    size_t *stands_on; /* indexes of those of `on` that are of this file, in its order */
    size_t stands_on_count;
};

struct bakery {
    const char *registry; /* the global one: "host:port"; NULL: nothing is pushed */
    char **locals;
    struct bakery_image *images; /* each behind all that it stands on */
    size_t count;
    struct yaml_arena *arena;
    const struct yaml_node *images_node;
};

int bakery_parse(const char *file, const char *text, size_t n, struct bakery **ret, struct err *err);
void bakery_free(struct bakery *b);
static inline void bakery_free_p(struct bakery **b)
{
    bakery_free(*b);
}
#define _cleanup_bakery_ _cleanup_(bakery_free_p)
struct bakery_image *bakery_find(const struct bakery *b, const char *name); /* NULL: none */
bool bakery_stands_on(const struct bakery_image *image, size_t other);      /* directly */

/* What was made of each image, in a file beside bakery.yaml: {"images": {NAME: {...}}}. A reader sees an old
 * state or a new one, whatever dies; what is not in it is done again, which is safe.
 *
 *   input     digest of everything it was made from
 *   id        of the image on the node
 *   packages  of a base
 *   on        "NAME@ID ..." of all it stands on, near and far
 *   pushed    {reference: manifest digest}
 *   failed    {"input":, "why":}; absent: it is well */
int bakery_state_load(const char *path, json_t **ret, struct err *err);
int bakery_state_save(const char *path, const json_t *state, struct err *err);
json_t *bakery_state_of(json_t *state, const char *image); /* borrowed; made when it is not there */

/* Which base a container's label "drover.bakery.on" names in another version than the state: its name, to be
 * freed, or NULL. */
char *bakery_outdated(const json_t *state, const char *label);

#endif
