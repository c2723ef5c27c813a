/* One RUN of a build: an ordinary container that is removed afterwards, whose writable layer is the build's
 * own snapshot. */
#include "engine/build_mounts.h"

#include "base/err.h"
#include "base/failpoint.h"
#include "base/file.h"
#include "engine/userns.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

static json_t *body_of(const struct bakery_run *run)
{
    json_t *host = run->host_config ? json_deep_copy(run->host_config) : json_object();
    json_set_str(host, "NetworkMode", str_empty(run->network) ? "default" : run->network);
    json_object_set_new(host, "AutoRemove", json_false());
    if (run->insecure)
        json_object_set_new(host, "Privileged", json_true());
    json_t *body = json_object();
    json_set_str(body, "Image", run->image_id);
    json_object_set_new(body, "Entrypoint", json_of_strv(run->argv));
    json_object_set_new(body, "Cmd", json_array());
    json_object_set_new(body, "Env", json_of_strv(run->env));
    json_set_str(body, "User", str_empty(run->user) ? "0" : run->user);
    json_set_str(body, "WorkingDir", str_empty(run->workdir) ? "/" : run->workdir);
    json_object_set_new(body, "Healthcheck", json_pack("{s:[s]}", "Test", "NONE"));
    json_object_set_new(body, "Labels", json_pack("{s:s}", "sh.drover.build", "step"));
    json_object_set_new(body, "HostConfig", host);
    return body;
}

/* Puts the build's upper and work directories in the place of the container's own, which are empty. */
static int use_snapshot(struct engine *e, const char *id, const struct image_snapshot *snapshot,
                        struct err *err)
{
    const char *const parts[][2] = {{"upper", snapshot->upper}, {"work", snapshot->work}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        _cleanup_free_ char *path = str_printf("%s/containers/%s/%s", e->root, id, parts[i][0]);
        int r = file_remove_tree(path, err);
        if (r < 0)
            return r;
        if (symlink(parts[i][1], path) < 0)
            return err_sys(err, errno, "link %s", path);
    }
    return 0;
}

/* Waits for output; an empty piece now and then asks the builder whether anybody still wants it. */
static int wait_for_output(int fd, const struct bakery_run *run, struct err *err)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int n = poll(&p, 1, 200);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return err_sys(err, errno, "poll");
        if (n == 0 && run->output && run->output(run->output_context, 1, "", 0) != 0)
            return err_set(err, ERR_CANCELLED, "build cancelled");
    }
}

/* Reads the attached stream to its end and hands its frames on; ERR_CANCELLED when the builder wants no more.
 */
static int relay(int fd, const struct bakery_run *run, struct err *err)
{
    unsigned char head[8];
    char buffer[16384];
    for (;;) {
        int r = wait_for_output(fd, run, err);
        if (r < 0)
            return r;
        ssize_t got = file_read_full(fd, head, sizeof(head), err);
        if (got < 0)
            return (int)got;
        if (got < (ssize_t)sizeof(head))
            return 0;
        uint32_t left;
        memcpy(&left, head + 4, sizeof(left));
        for (left = ntohl(left); left;) {
            got = file_read_full(fd, buffer, MIN(left, sizeof(buffer)), err);
            if (got <= 0)
                return (int)got;
            if (run->output && run->output(run->output_context, head[0], buffer, (size_t)got) != 0)
                return err_set(err, ERR_CANCELLED, "build cancelled");
            left -= (uint32_t)got;
        }
    }
}

/* A failed step's container stays with what it wrote. After one that went well the image has that, and the
 * container starts from nothing. */
static int give_snapshot(struct engine *e, const char *id, const struct image_snapshot *snapshot, bool move,
                         struct err *err)
{
    const char *const parts[][2] = {{"upper", snapshot->upper}, {"work", snapshot->work}};
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
        _cleanup_free_ char *path = str_printf("%s/containers/%s/%s", e->root, id, parts[i][0]);
        if (unlink(path) < 0)
            return err_sys(err, errno, "unlink %s", path);
        if (move ? rename(parts[i][1], path) < 0 : mkdir(path, 0755) < 0)
            return err_sys(err, errno, "make %s", path);
    }
    return 0;
}

static int run_container(struct engine *e, const char *id, const struct bakery_run *run, int *ret_status,
                         struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    bool tty;
    int r = use_snapshot(e, id, run->snapshot, err);
    if (r == 0)
        r = engine_container_attach(e, id, KEEPER_ATTACH_STDOUT | KEEPER_ATTACH_STDERR, &fd, &tty, err);
    if (r == 0 && run->running && run->running(run->running_context, id) < 0)
        r = err_set(err, ERR_CANCELLED, "build cancelled");
    if (r == 0)
        r = engine_container_start(e, id, err);
    if (r == 0)
        r = relay(fd, run, err);
    if (r == 0)
        r = engine_container_wait(e, id, "not-running", NULL, NULL, NULL, ret_status, err);
    return r;
}

/* The mounts are the container's while it starts; what serves them stays until the step has ended. */
static int give_mounts(struct engine *e, const char *id, const struct bakery_run *run,
                       struct build_mounts **ret, struct err *err)
{
    _cleanup_container_ struct container *c = NULL;
    int r = container__find(e, id, &c, err);
    if (r < 0 || !run->mount_count)
        return r;
    _cleanup_json_ json_t *doc = container__doc(c);
    struct userns u = userns__of(doc);
    struct build_owner owner = {u.count != 0, u.count ? u.uid : 0, u.count ? u.gid : 0};
    r = build_mounts__open(e, run, owner, ret, err);
    if (r == 0) {
        SCOPED_LOCK(op, &c->op);
        c->build = *ret;
    }
    return r;
}

/* It is not started a second time. */
static void forget_mounts(struct engine *e, const char *id)
{
    _cleanup_container_ struct container *c = NULL;
    if (container__find(e, id, &c, NULL) < 0)
        return;
    SCOPED_LOCK(op, &c->op);
    c->build = NULL;
}

int engine_build_run(void *engine, const struct bakery_run *run, int *ret_status, struct err *err)
{
    struct engine *e = engine;
    if (!run->image_id)
        return err_set(err, ERR_NOT_FOUND,
                       "exec: \"%s\": there is nothing in an image that starts from scratch",
                       run->argv && run->argv[0] ? run->argv[0] : "");
    _cleanup_json_ json_t *body = body_of(run), *warnings = NULL;
    _cleanup_free_ char *id = NULL;
    int r = engine_container_create(e, NULL, body, NULL, ENGINE_CREATE_STEP, &id, &warnings, err);
    FAILPOINT("build-step-made");
    if (r < 0)
        return r;
    /* Closed at the very end: until it is removed the container may use them. */
    _cleanup_(build_mounts__close_p) struct build_mounts *mounts = NULL;
    r = give_mounts(e, id, run, &mounts, err);
    if (r == 0)
        r = run_container(e, id, run, ret_status, err);
    FAILPOINT("build-step-ended");
    forget_mounts(e, id);
    bool failed = r == 0 && *ret_status != 0;
    if (r == 0 && (run->keep || (run->keep_failed && failed)) &&
        give_snapshot(e, id, run->snapshot, failed, err) == 0) {
        *run->ret_kept = true;
        return 0;
    }
    struct err removal;
    if (engine_container_remove(e, id, true, true, &removal) < 0 && r == 0)
        r = err_copy(err, &removal);
    return r;
}
