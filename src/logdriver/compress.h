/* Rotated log files, compressed by one thread that runs when nothing else wants the processor.
 *
 * Rotation happens in the shippers' thread, at any time, with compress_lock() around it. */
#ifndef LOGDRIVER_COMPRESS_H
#define LOGDRIVER_COMPRESS_H

#include <stdbool.h>

void compress_lock(void);
void compress_unlock(void);
/* <path>.1 has just been rotated: it becomes <path>.1.gz, or what it is called by then, and so do older ones.
 */
void compress_rotated(const char *path, int max_files);
void compress_close(void); /* ends the thread */

#endif
