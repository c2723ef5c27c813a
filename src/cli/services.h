#ifndef CLI_SERVICES_H
#define CLI_SERVICES_H

#include "cli/project.h"

/* `drover images` within a project: those that its containers are made from. */
int services_images(const struct project_options *project, char **services, bool quiet);

#endif
