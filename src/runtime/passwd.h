/* Looking up a home directory in the text of an /etc/passwd. */
#ifndef RUNTIME_PASSWD_H
#define RUNTIME_PASSWD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* The home directory of the first user with this id: `*ret_bytes` bytes in `text`, maybe none. */
bool passwd_home(const char *text, size_t n, uid_t uid, const char **ret, size_t *ret_bytes);

#endif
