#include "runtime/listener.h"

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PENDING = -1, FAILED = -2, STACK_BYTES = 64 << 10, SEND_SECONDS = 10 };

int listener_parse(const json_t *policy, unsigned flags, struct plan_listener *ret, struct err *err)
{
    const char *path = NULL, *metadata = NULL;
    int r = json_get_string(policy, "linux.seccomp", "listenerPath", &path, err);
    if (r == 0)
        r = json_get_string(policy, "linux.seccomp", "listenerMetadata", &metadata, err);
    if (r < 0)
        return r;
    if (str_empty(path) && !str_empty(metadata))
        return err_set(err, ERR_INVALID,
                       "\"linux.seccomp.listenerMetadata\" is given without \"linux.seccomp.listenerPath\"");
    if (!(flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)) /* nobody will ask */
        return 0;
    if (str_empty(path))
        return err_set(err, ERR_INVALID,
                       "\"linux.seccomp\" has SCMP_ACT_NOTIFY, and no \"listenerPath\" to say who is told");
    if (*path != '/')
        return err_set(err, ERR_INVALID, "\"linux.seccomp.listenerPath\": %s is not an absolute path", path);
    ret->path = path;
    ret->metadata = metadata;
    return 0;
}

int listener_connect(struct plan_listener *listener, const struct hook_state *state, pid_t container_pid,
                     struct err *err)
{
    if (!listener->path)
        return 0;
    int r = file_connect_unix(listener->path, SOCK_STREAM, &listener->fd, err);
    if (r < 0)
        return err_wrap(err, "failed to connect with seccomp agent");
    struct timeval limit = {.tv_sec = SEND_SECONDS};
    if (setsockopt(listener->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return err_sys(err, errno, "talk to the seccomp agent");
    _cleanup_json_ json_t *metadata = json_object();
    json_set_str(metadata, "metadata", listener->metadata ? listener->metadata : "");
    _cleanup_free_ char *text = json_format(metadata);
    listener->before =
        mem_strdup("{\"ociVersion\":\"" RUNTIME_SPEC_VERSION "\",\"fds\":[\"seccompFd\"],\"pid\":");
    listener->between = str_printf(",%.*s,\"state\":%s", (int)strlen(text) - 2, text + 1, state->before);
    listener->after = str_printf("%s}", state->after);
    listener->container_pid = container_pid;
    return 0;
}

void listener_done(struct plan_listener *listener)
{
    if (listener->path)
        close_fd(listener->fd);
    free(listener->before);
    free(listener->between);
    free(listener->after);
}

/* Once it is loaded the filter may hold up any call, also the one that sends the listener away. So that is
 * done by a thread, which has our descriptors and not our filter, and is gone before execve. The two meet in
 * memory, without a system call on our side. */
struct courier {
    int socket;
    const char *text;
    atomic_int listener, done;
    int sys;
};

static int run_courier(void *argument)
{
    struct courier *c = argument;
    const struct timespec moment = {.tv_nsec = 20000};
    int fd;
    while ((fd = atomic_load(&c->listener)) == PENDING)
        syscall(SYS_nanosleep, &moment, NULL);
    if (fd >= 0) {
        struct iovec bytes = {.iov_base = (void *)c->text, .iov_len = strlen(c->text)};
        union {
            struct cmsghdr header;
            char space[CMSG_SPACE(sizeof(int))];
        } control = {
            .header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
        struct msghdr message = {
            .msg_iov = &bytes, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
        if (syscall(SYS_sendmsg, c->socket, &message, MSG_NOSIGNAL) != (ssize_t)bytes.iov_len)
            c->sys = errno ? errno : EIO;
        syscall(SYS_close, c->socket);
    }
    atomic_store(&c->done, 1);
    return 0;
}

int listener_apply(const struct plan_listener *listener, const struct sock_fprog *program, unsigned flags,
                   pid_t pid, struct err *err)
{
    _cleanup_free_ char *text =
        str_printf("%s%d%s%d%s", listener->before, (int)pid, listener->between,
                   (int)(listener->container_pid ? listener->container_pid : pid), listener->after);
    struct courier courier = {.socket = listener->fd, .text = text, .listener = PENDING};
    char *stack =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return err_sys(err, errno, "mmap");
    int thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    if (clone(run_courier, stack + STACK_BYTES, thread, &courier) < 0)
        return err_sys(err, errno, "clone");
    int fd =
        (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_NEW_LISTENER, program);
    int sys = errno;
    atomic_store(&courier.listener, fd < 0 ? FAILED : fd);
    while (!atomic_load(&courier.done))
        ;
    if (fd < 0)
        return err_sys(err, sys, "load the seccomp filter");
    return courier.sys ? err_sys(err, courier.sys, "send the listener to the seccomp agent") : 0;
}
