/* Names of images: [registry[:port]/]path[:tag][@digest], as the distribution project's `reference` grammar
 * and Docker's normalisation have them.
 *
 *     busybox                 docker.io/library/busybox:latest
 *     user/app:1              docker.io/user/app:1
 *     localhost:5000/app      localhost:5000/app:latest
 *     app@sha256:...          docker.io/library/app@sha256:...
 *
 * The first part is a registry when it holds a dot, a colon or a capital letter, or is "localhost". */
#ifndef IMAGE_IMAGE_REF_H
#define IMAGE_IMAGE_REF_H

#include "base/mem.h"

#include <stdbool.h>

struct err;

struct image_ref {
    char *domain; /* "docker.io" */
    char *path;   /* "library/busybox" */
    char *tag;    /* "latest" when neither a tag nor a digest was given; else may be NULL */
    char *digest; /* or NULL */
};

/* ERR_INVALID in Docker's words ("invalid reference format", ...) and the text. */
int image_ref_parse(const char *text, struct image_ref *ret, struct err *err);
/* Neither a tag nor a digest is given: for pull, push and save this stands for all tags of a repository. */
bool image_ref_is_bare(const char *text);
bool image_ref_tag_valid(const char *tag);
void image_ref_done(struct image_ref *ref);
#define _cleanup_ref_ _cleanup_(image_ref_done)

/* All four are freed by the caller. */
char *image_ref_repository(const struct image_ref *ref); /* "docker.io/library/busybox" */
char *image_ref_format(const struct image_ref *ref);     /* normalised, with tag and digest as there are */
char *image_ref_familiar(const struct image_ref *ref);   /* as Docker shows it: "busybox:latest" */
/* The familiar form of a stored (normalised) reference; a text that is none is given back as it is. */
char *image_ref_familiar_text(const char *text);

/* The normalised form that the store keeps (a tag beside a digest counts for nothing); NULL for what is no
 * reference. The caller frees. */
char *image_ref_normal(const char *text);

#endif
