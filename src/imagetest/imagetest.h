/* Tests of images before they ship: what is in them (layers, files, configuration) against a list of checks.
 *
 *     image_checks_parse("checks.yaml", text, n, &checks, &err)     or image_checks_default()
 *     image_scan_stream(checks, read_fn, context, &scan, &err)      an archive as `docker save` makes it
 *     image_judge(scan, checks, &findings)
 *     findings_text / findings_json / findings_junit
 *
 * The scan reads the archive once, as a stream, in the process of who asks: a hostile layer meets neither
 * the server nor its memory. File content is never kept (but for /etc/passwd, /etc/group and the piece that a
 * rule looks at); what grows is a few dozen bytes and the name for each file, bounded by IMAGE_MAX_ENTRIES.
 * Layers may come in any order. Nothing is unpacked.
 *
 * What can only be seen of a running container is the caller's: it has the engine. struct image_checks says
 * what to look for, findings_add() takes what was seen. */
#ifndef IMAGETEST_IMAGETEST_H
#define IMAGETEST_IMAGETEST_H

#include "base/err.h"
#include "base/str.h"
#include "image/tar.h"

#include <jansson.h>

enum { IMAGE_MAX_ENTRIES = 4000000, FINDINGS_MAX = 1000, CHECKS_MAX_FILES = 1000 };

enum image_check {
    CHECK_LAYERS,
    CHECK_PORTS,
    CHECK_UTILITIES,
    CHECK_PRIVILEGES,
    CHECK_HOST,
    CHECK_USER,
    CHECK_SECRETS,
    CHECK_FILES,
    CHECK_RUN,
    CHECK_COUNT
};
const char *image_check_name(enum image_check check); /* "layers" */
const char *image_check_promise(enum image_check check);

/* A file that is to be there, or not. Texts are NULL and numbers -1 where nothing is asked. */
struct file_check {
    const char *path, *type, *owner, *group, *mode, *target, *sha256;
    bool absent;
    int line;
};

/* Something that a running container answers: one of tcp and http. */
struct answer_check {
    int64_t tcp;
    const char *http; /* "8080/path" */
    int64_t status;
    const char *contains;
};

struct secret_allowed {
    const char *rule, *path, *fingerprint; /* NULL: any */
};

struct image_checks {
    char **skip;
    int64_t max_layers, max_bytes, max_wasted_bytes, max_wasted_percent; /* 0: not bounded */
    char **ports;                                                        /* NULL: what the image says */
    char **utilities_allow, **utilities_forbid;
    char **privileges_allow;
    char **host_allow;
    bool allow_root;
    struct secret_allowed *secrets_allow;
    size_t secrets_allow_count;
    struct file_check *files;
    size_t file_count;
    bool run; /* the section is there */
    char **run_command;
    const struct yaml_node *run_environment;
    const char *run_user, *run_network;
    bool run_read_only;
    int64_t run_memory, ready_within_ns, steady_for_ns, stop_within_ns;
    struct answer_check *answers;
    size_t answer_count;
    struct yaml_arena *arena;
    const struct yaml_node *files_node, *secrets_node, *answers_node;
};

int image_checks_parse(const char *file, const char *text, size_t n, struct image_checks **ret,
                       struct err *err);
struct image_checks *image_checks_default(void);
void image_checks_free(struct image_checks *c);
static inline void image_checks_free_p(struct image_checks **c)
{
    image_checks_free(*c);
}
#define _cleanup_checks_ _cleanup_(image_checks_free_p)
bool image_checks_skip(const struct image_checks *c, enum image_check check);
/* Whether `ports` has this one ("8080/tcp"). */
bool image_checks_port(const struct image_checks *c, const char *port);

struct finding {
    enum image_check check;
    char *message, *rule; /* rule may be NULL */
    char *path;           /* absolute; NULL: no file */
    char *fingerprint;    /* of a secret, else NULL */
    int layer;            /* from 0, bottom first; -1: none */
};
struct findings {
    struct finding *items;
    size_t count, capacity;
    size_t left_out; /* beyond FINDINGS_MAX */
    bool ran[CHECK_COUNT];
};
void findings_done(struct findings *f);
/* Texts are copied; control characters are replaced. */
void findings_add(struct findings *f, enum image_check check, const char *rule, int layer, const char *path,
                  const char *fingerprint, const char *format, ...) _printf_(7, 8);

struct image_scan;
int image_scan_stream(const struct image_checks *checks, tar_read_fn read_fn, void *read_context,
                      struct image_scan **ret, struct err *err);
void image_scan_free(struct image_scan *scan);
static inline void image_scan_free_p(struct image_scan **s)
{
    image_scan_free(*s);
}
#define _cleanup_scan_ _cleanup_(image_scan_free_p)
/* The image's configuration document. */
const json_t *image_scan_config(const struct image_scan *scan);
int image_judge(struct image_scan *scan, const struct image_checks *checks, struct findings *ret,
                struct err *err);

/* Reports. `image` is what the user called it. */
void findings_text(const struct findings *f, const struct image_scan *scan, const char *image,
                   struct str *ret);
json_t *findings_json(const struct findings *f, const struct image_scan *scan, const char *image);
void findings_junit(const struct findings *f, const struct image_scan *scan, const char *image,
                    struct str *ret);

#endif
