/* Output of containers on the terminal, each line behind the container's name. */
#ifndef CLI_LOGS_H
#define CLI_LOGS_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct logs_options {
    bool follow, timestamps, no_prefix;
    const char *tail;          /* NULL: all */
    const char *since, *until; /* NULL: from the beginning, to the end */
    bool again; /* follow a container that starts again too, and say when it ends (drover up) */
    /* With `again`: whether to wait for one of the same name when it has ended or is gone (up --watch); NULL:
     * no. Asked from several threads. */
    bool (*stay)(void *context);
    void *context;
};

/* Streams all of the containers (entries of the API's list, or of its inspect) at the same time; returns when
 * all have ended. */
int logs_show(const json_t *containers, const struct logs_options *options, struct err *err);

int cli_logs(int argc, char **argv);

#endif
