#ifndef CLI_SERVICES_H
#define CLI_SERVICES_H

#include "cli/project.h"

enum images_form { IMAGES_TABLE, IMAGES_IDS, IMAGES_JSON };
/* `drover images` within a project: those that its containers are made from. */
int services_images(const struct project_options *project, char **services, enum images_form form);

#endif
