/* The words with which a request chooses nodes.
 *
 * Constraints, as Swarm mode writes them (values are compared without regard to case):
 *     node.id==x  node.hostname!=x  node.ip==10.0.0.0/8  node.role==manager  node.platform.os==linux
 *     node.platform.arch==amd64  node.labels.zone==a  engine.labels.storage==ssd
 * and as classic Swarm wrote them, where a value may be a pattern (scheduler/value_pattern.h) and `~` makes
 * it soft: constraint:node==web-*  constraint:storage==ssd  constraint:zone!=/a|b/  constraint:disk==~ssd A
 * soft one, `==~` or `!=~`, is preferred, not demanded; Drover takes it in both forms.
 *
 * Affinities: to nodes that run (==) or do not run (!=) tasks of a service, or of an image:
 *     affinity:service==db  affinity:service!=web-*  affinity:image==~nginx:1.25
 * `affinity:` may be left out, and `affinity:container` means the service, as there a name was a container's.
 * A service that asks to be near itself gets its first task anywhere. */
#ifndef SCHEDULER_CONSTRAINT_H
#define SCHEDULER_CONSTRAINT_H

#include "base/address_range.h"
#include "scheduler/value_pattern.h"

enum attribute {
    ATTRIBUTE_ID,
    ATTRIBUTE_NAME,
    ATTRIBUTE_ADDRESS,
    ATTRIBUTE_NODE, /* the id or the name */
    ATTRIBUTE_ROLE,
    ATTRIBUTE_OS,
    ATTRIBUTE_ARCHITECTURE,
    ATTRIBUTE_NODE_LABEL,
    ATTRIBUTE_ENGINE_LABEL,
    ATTRIBUTE_LABEL, /* the engine's, else the node's */
    ATTRIBUTE_SERVICE,
    ATTRIBUTE_IMAGE,
};

struct constraint {
    char *text; /* as it was written */
    enum attribute attribute;
    char *key; /* of a label, else NULL */
    bool negate, soft;
    char *value;
    struct value_pattern *pattern; /* NULL: the value, without regard to case (a service, an image: with) */
    struct address_range network;  /* ATTRIBUTE_ADDRESS; bits -1: the value is no network */
};

int constraint_parse(const char *text, struct constraint *ret, struct err *err);
int affinity_parse(const char *text, struct constraint *ret, struct err *err);
/* The attribute of a placement preference: its `attribute` and `key` only. */
int preference_parse(const char *text, struct constraint *ret, struct err *err);
void constraint_done(struct constraint *c);

/* Whether the value fits what is written after the operator; `negate` is not looked at. NULL is "". */
bool constraint_value_fits(const struct constraint *c, const char *value);
/* "amd64" for x86_64 and so on; anything else as it is. */
const char *platform_architecture(const char *name);

#endif
