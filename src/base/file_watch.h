/* Whether files that were read have changed since: by inode, size and time, at the next look. What is added
 * before it is read and is written meanwhile counts as changed. Not locked. */
#ifndef BASE_FILE_WATCH_H
#define BASE_FILE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct stat;

struct file_watch {
    char **files;
    struct stat *as; /* each as it was when it was added; zeros for one that was not there */
    size_t count;
};

void file_watch_add(struct file_watch *w, const char *path);
bool file_watch_changed(const struct file_watch *w);
void file_watch_done(struct file_watch *w); /* empty again */

#endif
