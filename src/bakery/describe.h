/* What a Dockerfile offers, without building it or looking at a base image: `--call=targets` and
 * `--call=outline` of buildx, in the JSON that BuildKit's frontend answers to these
 * (frontend/subrequests: "targets", "outline").
 *
 * A line of comment right above a FROM or ARG that begins with the stage's or argument's name is its
 * description. `line` is of the file itself, also where it was included from another. */
#ifndef BAKERY_DESCRIBE_H
#define BAKERY_DESCRIBE_H

#include "bakery/dockerfile.h"

#include <jansson.h>

struct describe_options {
    const char *target, *platform; /* NULL or "": the last stage; this machine's */
    char *const *build_args;       /* "NAME=value" */
    const char *text;              /* of the file, for "sources" */
    size_t bytes;
};

/* {"targets": [{"name", "default", "description", "base", "platform", "location"}], "sources": [base64]}, in
 * the order of the file. Keys without a value are left out. */
json_t *describe_targets(const struct dockerfile *d, const struct describe_options *o);

/* {"name", "description", "args": [{"name", "description", "value", "location"}], "secrets" and "ssh":
 * [{"name", "required", "location"}], "sources"}: what the target and the stages that it needs take.
 * Arguments above the first FROM are among them where one of these stages uses them. Takes the Dockerfile.
 * ERR_INVALID: there is no such target, or what a variable is to be cannot be said. */
int describe_outline(struct dockerfile *d, const struct describe_options *o, json_t **ret, struct err *err);

#endif
