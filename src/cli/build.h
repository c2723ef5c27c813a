#ifndef CLI_BUILD_H
#define CLI_BUILD_H

#include "base/err.h"
#include "compose/compose.h"

#include <stdio.h>

/* What POST /build is asked for, and where the builder's output goes. */
struct build_request {
    const char *context;    /* directory, a URL (compose_context_is_remote()), or "-": a tar (or a lone
                               Dockerfile) on standard input */
    const char *dockerfile; /* as -f gives it; NULL or "": Dockerfile */
    const char *target, *network;
    char *const *tags;
    json_t *args, *labels; /* of strings; borrowed; NULL: none */
    char *const *extra_hosts;
    const char *dockerfile_text; /* the Dockerfile itself, instead of a file; NULL or "": none */
    const char *platform;        /* NULL or "": the machine's own */
    const json_t *ulimits;       /* as HostConfig has them; NULL: none */
    int64_t shm_size, memory;    /* bytes; 0: the engine's own */
    bool no_cache, pull;
    const char *session; /* of build_session.h; NULL: none */
    void *context_of_output;
    void (*output)(void *context, const char *text); /* pieces of text as they come */
    /* {"Kind": ...} of a session that asks for them; may be NULL. */
    void (*event)(void *context, const json_t *event);
};
int build_image(const struct build_request *request, char **ret_image_id, struct err *err);

/* PUTs a directory as a tar, without what its .dockerignore leaves out. */
int build_send_directory(const char *dir, const char *path, struct err *err);

/* The digest of what would be sent: names, modes and content, whatever the times of the files are. */
int build_context_digest(const struct build_request *request, char ret_digest[], struct err *err);

enum build_method { BUILD_BUILD, BUILD_PRINT, BUILD_CHECK, BUILD_OUTLINE, BUILD_TARGETS };
struct build_call {
    enum build_method method;
    bool json; /* the answer as JSON instead of text */
};
/* --call=METHOD[,format=json]. NULL: build. */
int build_call_parse(const char *text, struct build_call *ret, struct err *err);
/* All but BUILD_BUILD, without a server: the plain Dockerfile that the request's stands for, its build
 * checks' warnings, what its target takes, or which targets there are, on stdout. Returns an exit status: 1
 * where a check warns. */
int build_call(const struct build_request *request, const struct build_call *call);
/* Where the Dockerfile is in the context; its text when it is not there. */
int build_find_dockerfile(const struct build_request *q, char **ret, struct str *outside, struct err *err);

int cli_build(int argc, char **argv);

#endif
