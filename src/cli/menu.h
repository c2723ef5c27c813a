/* Keys of `up --menu`, while the services' output is shown: w brings changes of files into them from then on.
 * Without a terminal on both sides nothing is shown and no key is read. */
#ifndef CLI_MENU_H
#define CLI_MENU_H

#include "cli/watch.h"

/* `watch` stays the caller's until menu_stop, which gives the terminal back as it was. watching: it is on
 * already. */
void menu_start(const struct files_watch *watch, bool watching);
void menu_stop(void);

#endif
