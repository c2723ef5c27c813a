/* What the scan of an archive keeps; shared by the files of this room. */
#ifndef IMAGETEST_SCAN_H
#define IMAGETEST_SCAN_H

#include "imagetest/imagetest.h"
#include "imagetest/secrets.h"
#include "imagetest/tree.h"

/* Something found in a file's content. */
struct content_hit {
    enum image_check check; /* CHECK_SECRETS or CHECK_HOST */
    const char *rule;
    char *path, *text, *fingerprint; /* fingerprint NULL for host references */
    int line;                        /* 0: not known */
};

struct scan_file {
    size_t path, link; /* offsets into the layer's names; link 0: none */
    mode_t mode;
    uint32_t uid, gid;
    int64_t size;
    bool hard, capabilities;
};

struct scan_layer {
    char *name; /* in the archive */
    struct str names;
    struct scan_file *files;
    size_t count, capacity;
    int64_t bytes;
    struct content_hit *hits;
    size_t hit_count, hit_capacity, hits_left_out;
    char *passwd, *group; /* the files' text, or NULL */
    struct map digests;   /* of files that a check wants the sha256 of: path -> text */
};

struct image_scan {
    const struct image_checks *checks;
    struct map layers;    /* name in the archive -> scan_layer */
    struct map documents; /* name in the archive -> JSON text (char *) */
    int64_t entries;
    json_t *config;
    struct scan_layer **order; /* bottom first; a layer may be there twice */
    char **instructions;       /* of each, or "" */
    size_t layer_count;
    char own_name[65];
    /* once it was judged */
    struct tree tree;
    bool merged;
    int64_t bytes;
};

/* Finds what the archive's manifest names. */
int image_scan__arrange(struct image_scan *scan, struct err *err);
void image_scan__merge(struct image_scan *scan);
/* Only printable characters, so that neither a terminal nor a report is led astray. */
char *image_scan__printable(const char *text);

#endif
