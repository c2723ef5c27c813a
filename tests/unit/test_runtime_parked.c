/* Launches by who has many descriptors of other containers parked (runtime.h, "parked_from"). */
#include "runtime_box.h"

#include <dirent.h>
#include <sys/eventfd.h>

enum { FROM = 256, PARKED = 2000 };

/* On purpose without CLOEXEC. */
static void park(int fds[PARKED])
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    int fd = eventfd(0, 0);
    for (int i = 0; i < PARKED; i++)
        assert_true((fds[i] = fcntl(fd, F_DUPFD, FROM)) >= FROM);
    close(fd);
}

/* All of them are ours still. */
static void unpark(const int fds[PARKED])
{
    for (int i = 0; i < PARKED; i++)
        assert_int_equal(close(fds[i]), 0);
}

static void box_init_parked(struct box *b, int fds[PARKED])
{
    box_init(b);
    park(fds);
    b->parked_from = FROM;
}

static void box_done_parked(struct box *b, const int fds[PARKED])
{
    unpark(fds);
    box_done(b);
}

/* How many of a process's descriptors are not below FROM. */
static int parked_of(pid_t pid)
{
    char path[32];
    int count = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        count += strtol(e->d_name, NULL, 10) >= FROM;
    if (d)
        closedir(d);
    return count;
}

struct running {
    struct cgroup *cgroup;
    struct runtime_child child;
};

static void begin(struct box *b, struct running *r, const char *script)
{
    const char *args[] = {"sh", "-c", script, NULL};
    box_args(b, args);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(b, null, null);
    struct err err;
    assert_ok(runtime_launch(&launch, &r->cgroup, &r->child, &err), &err);
    close(null);
}

static void end(struct running *r)
{
    struct err err;
    assert_ok(cgroup_kill(r->cgroup, SIGKILL, &err), &err);
    assert_int_equal(box_wait(r->child.pid), 137);
    close(r->child.pidfd);
    close(r->child.status_fd);
    assert_ok(cgroup_remove(r->cgroup, &err), &err);
    cgroup_free(r->cgroup);
}

static void a_child_has_none_of_what_is_parked_at_any_time(void **state)
{
    struct box b;
    struct running r;
    int fds[PARKED];
    box_init_parked(&b, fds);
    begin(&b, &r, "sleep 1000");
    struct pollfd executed = {.fd = r.child.status_fd, .events = POLLIN | POLLHUP};
    do
        assert_int_equal(parked_of(r.child.pid), 0);
    while (poll(&executed, 1, 0) == 0);
    struct err err;
    assert_ok(runtime_launch_result(r.child.status_fd, &err), &err);
    assert_int_equal(parked_of(getpid()), PARKED);
    end(&r);
    assert_contains(box_sh(&b, "ls /proc/$$/fd; echo end"), "0\n1\n2\nend\n");
    box_done_parked(&b, fds);
}

static void what_fails_is_told_in_the_same_words(void **state)
{
    struct box b;
    int fds[PARKED];
    box_init_parked(&b, fds);
    box_args(&b, (const char *[]){"nothere", NULL});
    box_run(&b);
    assert_int_equal(b.err.code, ERR_NOT_FOUND);
    assert_contains(b.err.msg, "exec: \"nothere\": executable file not found in $PATH");
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nor is any child left */
    box_done_parked(&b, fds);
}

static void a_child_that_needs_a_parked_one_gets_it(void **state)
{
    struct box b;
    int fds[PARKED], pipe_fds[2];
    box_init_parked(&b, fds);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int out = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, FROM);
    close(pipe_fds[1]);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    box_args(&b, (const char *[]){"echo", "heard", NULL});
    struct runtime_launch launch = box_launch(&b, null, out);
    struct running r;
    struct err err;
    assert_ok(runtime_launch(&launch, &r.cgroup, &r.child, &err), &err);
    close(out);
    close(null);
    assert_ok(runtime_launch_result(r.child.status_fd, &err), &err);
    assert_int_equal(box_wait(r.child.pid), 0);
    assert_ok(file_read_fd(pipe_fds[0], 64, &b.output, &err), &err);
    assert_string_equal(str_get(&b.output), "heard\n");
    close(pipe_fds[0]);
    close(r.child.pidfd);
    close(r.child.status_fd);
    assert_ok(cgroup_remove(r.cgroup, &err), &err);
    cgroup_free(r.cgroup);
    box_done_parked(&b, fds);
}

/* The container's own pidfd is among what is parked. */
static void a_further_process_has_none_of_it_either(void **state)
{
    struct box b;
    struct running r;
    int fds[PARKED], pipe_fds[2];
    box_init_parked(&b, fds);
    begin(&b, &r, "sleep 1000");
    struct err err;
    assert_ok(runtime_launch_result(r.child.status_fd, &err), &err);
    int pidfd = fcntl(r.child.pidfd, F_DUPFD_CLOEXEC, FROM);
    _cleanup_json_ json_t *process = json_deep_copy(box_process(&b));
    json_object_set_new(process, "args", json_pack("[sss]", "sh", "-c", "hostname; ls /proc/$$/fd; exit 5"));
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = {
        .id = b.id, .spec = process, .stdio = {null, pipe_fds[1], pipe_fds[1]}, .parked_from = FROM};
    struct runtime_child child;
    assert_ok(runtime_exec(&launch, b.spec, r.child.pid, pidfd, r.cgroup, &child, &err), &err);
    assert_int_equal(parked_of(child.pid), 0);
    close(pipe_fds[1]);
    close(null);
    close(pidfd);
    assert_ok(runtime_launch_result(child.status_fd, &err), &err);
    assert_ok(file_read_fd(pipe_fds[0], 256, &b.output, &err), &err);
    assert_string_equal(str_get(&b.output), "box\n0\n1\n2\n");
    assert_int_equal(box_wait(child.pid), 5);
    close(pipe_fds[0]);
    close(child.pidfd);
    close(child.status_fd);
    end(&r);
    box_done_parked(&b, fds);
}

static void one_that_is_killed_while_it_is_born_takes_nothing_along(void **state)
{
    struct box b;
    int fds[PARKED];
    box_init_parked(&b, fds);
    for (int i = 0; i < 30; i++) {
        struct running r;
        begin(&b, &r, "sleep 1000");
        assert_int_equal(kill(r.child.pid, SIGKILL), 0);
        assert_int_equal(parked_of(getpid()), PARKED);
        end(&r);
    }
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_contains(box_sh(&b, "echo well"), "well\n");
    box_done_parked(&b, fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_has_none_of_what_is_parked_at_any_time),
        cmocka_unit_test(what_fails_is_told_in_the_same_words),
        cmocka_unit_test(a_child_that_needs_a_parked_one_gets_it),
        cmocka_unit_test(a_further_process_has_none_of_it_either),
        cmocka_unit_test(one_that_is_killed_while_it_is_born_takes_nothing_along),
    };
    return cmocka_run_group_tests_name("runtime_parked", tests, NULL, NULL);
}
