/* How answers of /drover/plan and /drover/explain are printed. */
#ifndef CLI_PLACEMENT_H
#define CLI_PLACEMENT_H

#include <jansson.h>

/* Which nodes are possible, best first, and who is refused why. */
void placement_print(const json_t *found);
/* deploy_changes(), a line each. */
void placement_print_changes(const json_t *changes, const char *indent);
/* 1 when the plan has a service that would be refused. */
int placement_print_plan(const json_t *plan);

#endif
