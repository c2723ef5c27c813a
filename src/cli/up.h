#ifndef CLI_UP_H
#define CLI_UP_H

#include "cli/project.h"

/* Builds one service again and puts it in place of what runs; prints what is wrong and returns the exit
 * status. */
int up_service(const struct project_options *project, const char *service);

/* Makes services run, for `drover watch`: like `drover up --build -d`. */
int up_watched(const struct project_options *project, char *const *services);

/* For `drover run`: the image of a service, what it depends on (running, unless no_deps), its networks and
 * volumes. Prints what is wrong and returns the exit status. */
int up_around(struct compose_project *p, struct compose_service *s, bool build, bool remove_orphans);

#endif
