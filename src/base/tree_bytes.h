/* How much room a tree takes on the disk: the blocks of its files and directories, as du(1) counts them. A
 * file with several names in the tree counts once. Never follows a link, never goes deeper than 256 levels;
 * what goes while it is counted is left out. 0 when there is no such directory. */
#ifndef BASE_TREE_BYTES_H
#define BASE_TREE_BYTES_H

#include <stdint.h>

int64_t tree_bytes_at(int dir_fd, const char *name);
int64_t tree_bytes_below(const char *path); /* without the top directory itself */

#endif
