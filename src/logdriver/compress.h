/* Rotated log files, compressed by one thread that runs when nothing else wants the processor: those of
 * json-file, and those of local logs (keeper/log_file.h).
 *
 * json-file rotates in the shippers' thread, at any time, with compress_lock() around it. Local logs are
 * rotated by the keeper, which the thread sees in their directories. */
#ifndef LOGDRIVER_COMPRESS_H
#define LOGDRIVER_COMPRESS_H

void compress_lock(void);
void compress_unlock(void);
/* Compresses <path>.1 to <path>.<max_files - 1>, some time. */
void compress_rotated(const char *path, int max_files);

/* From now on the local log `path` is compressed as it rotates, and what there is of it already. */
void compress_watch(const char *path);
void compress_unwatch(const char *path); /* does nothing for one that is not watched */

void compress_close(void); /* ends the thread */

#endif
