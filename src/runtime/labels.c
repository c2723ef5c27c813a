#include "runtime/labels.h"

#include "base/file.h"
#include "base/str.h"

#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SELINUX_MAGIC_ 0xf97cff8c

bool labels_have_apparmor(void)
{
    int fd = open("/sys/module/apparmor/parameters/enabled", O_RDONLY | O_CLOEXEC);
    char answer = 0;
    bool yes = fd >= 0 && read(fd, &answer, 1) == 1 && answer == 'Y';
    close_fd(fd);
    return yes;
}

bool labels_have_selinux(void)
{
    struct statfs fs;
    return statfs("/sys/fs/selinux", &fs) == 0 && (uint32_t)fs.f_type == SELINUX_MAGIC_;
}

static bool wants_profile(const char *profile)
{
    return !str_empty(profile) && !str_eq(profile, "unconfined");
}

int labels_check(const char *apparmor_profile, const char *selinux_label, const char *mount_label,
                 struct err *err)
{
    if (wants_profile(apparmor_profile) && !labels_have_apparmor())
        return err_set(err, ERR_UNSUPPORTED,
                       "\"process.apparmorProfile\" is \"%s\", but AppArmor is not enabled on this machine",
                       apparmor_profile);
    bool selinux = (str_empty(selinux_label) && str_empty(mount_label)) || labels_have_selinux();
    if (!selinux)
        return err_set(err, ERR_UNSUPPORTED, "\"%s\" is \"%s\", but SELinux is not enabled on this machine",
                       str_empty(selinux_label) ? "linux.mountLabel" : "process.selinuxLabel",
                       str_empty(selinux_label) ? mount_label : selinux_label);
    return 0;
}

int labels_apply(const char *apparmor_profile, const char *selinux_label, struct err *err)
{
    if (!str_empty(selinux_label)) {
        int r = file_poke("/proc/self/attr/exec", selinux_label, err);
        if (r < 0)
            return err_wrap(err, "set the SELinux label \"%s\"", selinux_label);
    }
    if (wants_profile(apparmor_profile)) {
        _cleanup_free_ char *text = str_printf("exec %s", apparmor_profile);
        /* With several security modules at once the plain file is the first one's. */
        bool own = file_exists("/proc/self/attr/apparmor/exec");
        int r = file_poke(own ? "/proc/self/attr/apparmor/exec" : "/proc/self/attr/exec", text, err);
        if (r == -ERR_NOT_FOUND)
            return err_set(err, ERR_NOT_FOUND,
                           "apply apparmor profile `%s`: profile not loaded: load it with apparmor_parser",
                           apparmor_profile);
        if (r < 0)
            return err_wrap(err, "set the AppArmor profile \"%s\"", apparmor_profile);
    }
    return 0;
}
