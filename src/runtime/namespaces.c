/* The child's part in its namespaces. */
#include "runtime/child.h"

#include "base/file.h"
#include "base/str.h"
#include "runtime/usher.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int raise_loopback(struct err *err)
{
    _cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_sys(err, errno, "bring up the loopback interface");
    return 0;
}

/* Offsets can be set while nobody is in the namespace; a process that makes one is the first to enter it
 * when it asks to (time_namespaces(7)). */
static int make_time_namespace(const struct plan *plan, struct err *err)
{
    if (unshare(CLONE_NEWTIME) < 0)
        return err_sys(err, errno, "make a time namespace");
    _cleanup_str_ struct str text = STR_INIT;
    for (size_t i = 0; i < plan->time_offset_count; i++)
        str_addf(&text, "%d %lld %u\n", plan->time_offsets[i].clock, (long long)plan->time_offsets[i].seconds,
                 plan->time_offsets[i].nanoseconds);
    int r = text.len ? file_poke("/proc/self/timens_offsets", str_get(&text), err) : 0;
    if (r < 0)
        return err_wrap(err, "set \"linux.timeOffsets\"");
    _cleanup_close_ int fd = open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || setns(fd, CLONE_NEWTIME) < 0)
        return err_sys(err, errno, "enter the time namespace");
    return 0;
}

int child__enter_namespaces(const struct child *c, struct err *err)
{
    const struct plan *plan = c->plan;
    for (size_t i = 0; i < plan->join_count && !c->joined; i++) {
        const struct plan_join *join = &plan->joins[i];
        if (join->flag != CLONE_NEWPID && setns(join->fd, join->flag) < 0)
            return err_sys(err, errno, "join the %s namespace", usher_name_of(join->flag));
    }
    if (plan->new_cgroup_namespace && unshare(CLONE_NEWCGROUP) < 0)
        return err_sys(err, errno, "make a cgroup namespace");
    int r = plan->new_time_namespace ? make_time_namespace(plan, err) : 0;
    if (r == 0 && plan->new_namespaces & CLONE_NEWNET)
        r = raise_loopback(err);
    return r;
}
