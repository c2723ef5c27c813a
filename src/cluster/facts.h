/* What nodes know of each other's tasks, so that each is told only what has changed.
 *
 * A table of rows on who leads, each with the stamp of its last change: a number that grows. A node says up
 * to which stamp it knows them (session.h), and gets those that came, changed or went since; what is too old
 * to be known as gone, or of another leading, is told anew and whole. traffic_rows.h says what is in a row.
 *
 * With the cluster's lock. */
#ifndef CLUSTER_FACTS_H
#define CLUSTER_FACTS_H

#include "base/map.h"

#include <jansson.h>
#include <stdint.h>

enum fact_kind { FACT_NETWORK, FACT_NODE, FACT_SERVICE, FACT_TASK, FACT_KINDS };
const char *fact_part(enum fact_kind kind); /* "networks": its object in a document of all */

struct fact {
    enum fact_kind kind;
    char *id;
    json_t *row; /* of one that is gone the last */
    bool gone;
    int64_t stamp;
    struct fact *older, *newer;
};

struct facts {
    struct map by_id[FACT_KINDS];
    struct fact *oldest, *newest;
    int64_t stamp; /* of the newest */
    int64_t floor; /* who knows less is told all */
    size_t gone;
};

/* Takes `row`; NULL: it is gone. True when that is a change. */
bool facts__put(struct facts *f, enum fact_kind kind, const char *id, json_t *row);
json_t *facts__get(const struct facts *f, enum fact_kind kind, const char *id); /* borrowed; NULL */
void facts__done(struct facts *f);

/* {"networks": {id: row, or null when it is gone}, ...} of what has changed after `since` and concerns who
 * asks. What a service is on may change so that it does not any more: it is told as gone then. */
typedef bool facts_wanted_fn(void *context, const struct fact *fact);
json_t *facts__since(const struct facts *f, int64_t since, facts_wanted_fn *wanted, void *context);
/* Changes a document of all by what facts__since() told. */
void facts__merge(json_t *document, const json_t *told);

#endif
