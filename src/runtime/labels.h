/* Labels of the machine's security modules for the program to be: an AppArmor profile, an SELinux context
 * (config.md, "apparmorProfile", "selinuxLabel"). */
#ifndef RUNTIME_LABELS_H
#define RUNTIME_LABELS_H

#include "base/err.h"

#include <stdbool.h>

bool labels_have_apparmor(void);
bool labels_have_selinux(void);

/* ERR_UNSUPPORTED naming the field when this machine has no such module; a profile of "unconfined" and an
 * empty text are always fine. */
int labels_check(const char *apparmor_profile, const char *selinux_label, const char *mount_label,
                 struct err *err);
/* For the next execve of the calling process. Needs the host's /proc: before the root is changed. */
int labels_apply(const char *apparmor_profile, const char *selinux_label, struct err *err);

#endif
