/* For verbs that have something to clean up: INT and TERM are noted instead of ending the process. Children
 * of the same terminal hear of INT themselves. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

void interrupt_catch(void); /* from now on, for the process */
bool interrupt_pending(void);

#endif
