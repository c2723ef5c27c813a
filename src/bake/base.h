/* Base images from a distribution's signed packages.
 *
 *     base_make(&request, dir, &base, &err)    mmdebstrap, then an OCI image layout below `dir`
 *
 * The same packages give the same digest: times are those of request.epoch, the archive is sorted, what is of
 * this machine (host name, resolver, logs, caches) is left out, and no time of day comes into the
 * configuration. The packages with their versions, and the command that fetched them, are labels and an SPDX
 * 2.3 document, which is a layer of its own so that the first one is the distribution's alone.
 *
 * Trust: apt verifies the suites' signatures with the distribution's keyring before a package is unpacked;
 * nothing here changes that. */
#ifndef BAKE_BASE_H
#define BAKE_BASE_H

#include "base/err.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { BASE_INCLUDE_MAX = 500, BASE_MIRRORS_MAX = 32 };

/* 2000-01-01: of files that are made while a base is, when SOURCE_DATE_EPOCH says nothing else. A day of its
 * own choice, because that of the making would make each base another one. */
#define BASE_DEFAULT_EPOCH INT64_C(946684800)

struct base_request {
    const char *spec;    /* "debian:bookworm", "busybox" or "busybox:bookworm" */
    const char *variant; /* mmdebstrap's; NULL: "apt" */
    char *const *include;
    char *const *mirrors;  /* lines of sources.list, or URLs; NULL: Debian's own */
    const char *snapshot;  /* "20260101T000000Z" of snapshot.debian.org, instead of mirrors; NULL: none */
    const char *keyring;   /* file; NULL: the distribution's */
    const char *reference; /* normalised name the image gets */
    int64_t epoch;
};

struct base_image {
    char *id, *manifest_digest; /* digests of configuration and manifest */
    char *sbom;                 /* the SPDX document */
    size_t package_count;
    char *packages; /* "name=version ..." sorted: what tells whether a new base would be another one */
};
void base_image_done(struct base_image *b);

/* ERR_INVALID names what is wrong with a request. */
int base_request_check(const struct base_request *q, struct err *err);
/* `dir` is an empty directory of the caller's; the layout is <dir>/layout. */
int base_make(const struct base_request *q, const char *dir, struct base_image *ret, struct err *err);
/* The time of a snapshot. */
int base_snapshot_epoch(const char *snapshot, int64_t *ret, struct err *err);

#endif
