/* The files of an image as a container sees them: layers put over each other, by the OCI image specification
 * (layer.md, "Applying Changesets"). Only names and attributes. */
#ifndef IMAGETEST_TREE_H
#define IMAGETEST_TREE_H

#include "base/err.h"
#include "base/map.h"
#include "base/str.h"

#include <sys/types.h>

/* One entry of a layer, as the archive has it. */
struct seen {
    const char *path, *link; /* link: NULL or the target */
    mode_t mode;
    uint32_t uid, gid;
    int64_t size;
    bool hard, capabilities;
};

struct node {
    struct node *parent, *child, *sibling;
    char *path; /* the map's key */
    char *link;
    mode_t mode;
    uint32_t uid, gid;
    int64_t size;
    int layer;
    bool capabilities;
};

struct tree {
    struct map nodes; /* path -> node; "" is the root */
    int64_t wasted;   /* bytes of files that a higher layer replaced or deleted */
    /* The files that wasted most: told to whoever wants to know where they are. */
    struct tree_waste {
        char *path;
        int64_t bytes;
        int layer, by_layer;
    } worst[5];
};

void tree_init(struct tree *t);
void tree_done(struct tree *t);
/* Whiteouts of a layer come before its files: they are about the layers below. */
void tree_whiteout(struct tree *t, const struct seen *s, int layer);
void tree_put(struct tree *t, const struct seen *s, int layer);
bool tree_is_whiteout(const char *path);
/* Absolute path; links on the way are followed inside the image, the last one only with `follow`. NULL: not
 * there. */
const struct node *tree_find(const struct tree *t, const char *path, bool follow);

#endif
