/* Pulling and pushing images with progress. */
#ifndef CLI_PULL_H
#define CLI_PULL_H

#include "cli/output.h"

struct err;

/* From now on without the progress of each layer. */
void pull_set_quiet(void);
/* `platform` NULL or "": the machine's own. */
int pull_image(const char *image, const char *platform, struct progress *progress, struct err *err);
/* Sends it to the registry that its name says. */
int push_image(const char *image, struct progress *progress, struct err *err);
/* X-Registry-Auth for the registry of an image, from ~/.docker/config.json ($DOCKER_CONFIG); NULL when there
 * is none. The caller frees. */
char *pull_auth_header(const char *image);
/* X-Registry-Config: of all registries. */
char *pull_config_header(void);

int cli_pull(int argc, char **argv);
int cli_push(int argc, char **argv);

#endif
