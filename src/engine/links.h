/* Links between containers: see links.c. Private to the engine. */
#ifndef ENGINE_LINKS_H
#define ENGINE_LINKS_H

#include "engine/engine_priv.h"

/* HostConfig.Links as {alias: container id}; takes them out of `host` where they are kept so. */
int links__resolve(struct engine *e, json_t *host, json_t **ret, struct err *err);
char **links__read(const json_t *doc); /* the document's, as "alias=id" */
/* "parent/alias" as a name; engine.lock held, not counted. NULL: there is no such link. */
struct container *links__find(struct engine *e, const char *name);
json_t *links__shown(struct container *c); /* ["/child:/parent/alias"], or NULL */
json_t *links__names(struct engine *e);    /* {container id: ["/parent/alias"]} */
/* The variables that tell of linked containers. ERR_SYSTEM: one does not run. */
int links__env(struct container *c, char ***env, struct err *err);
/* Lines of /etc/hosts for those that run now. */
void links__hosts(struct container *c, const json_t *net, struct str *out);
void links__started(struct container *c); /* it may have another address: tell those that link to it */
void links__note(struct container *c,
                 const json_t *net); /* container.lock held, or before anybody knows it */

#endif
