/* What an OCI command line asks of a launch: create and start apart, a terminal of the container's own. */
#include "runtime_box.h"

#include <sys/socket.h>
#include <sys/syscall.h>

struct created {
    struct runtime_child child;
    struct cgroup *cgroup;
    char *path; /* of the socket */
    int out;    /* what the program says */
};

static int create(struct box *b, struct created *c)
{
    *c = (struct created){.path = str_printf("%s/start.sock", b->dir), .out = -EBADF};
    int start_fd, pipe_fds[2];
    struct err err;
    assert_ok(file_listen_unix(c->path, SOCK_STREAM, 0600, &start_fd, &err), &err);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct runtime_launch launch = box_launch(b, null, pipe_fds[1]);
    launch.two_phase = true;
    launch.start_fd = start_fd;
    int r = runtime_launch(&launch, &c->cgroup, &c->child, &b->err);
    close(null);
    close(pipe_fds[1]);
    close(start_fd);
    c->out = pipe_fds[0];
    if (r == 0)
        r = runtime_launch_result(c->child.status_fd, &b->err);
    return r;
}

static int finish(struct box *b, struct created *c)
{
    struct err err;
    str_clear(&b->output);
    assert_ok(file_read_fd(c->out, 1 << 20, &b->output, &err), &err);
    close(c->out);
    int status = box_wait(c->child.pid);
    close(c->child.status_fd);
    close(c->child.pidfd);
    assert_ok(cgroup_remove(c->cgroup, &err), &err);
    cgroup_free(c->cgroup);
    unlink(c->path);
    free(c->path);
    assert_false(box_has_cgroup(b));
    return status;
}

static void a_created_container_runs_when_it_is_started_and_only_once(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    int leak = open("/etc/hostname", O_RDONLY);
    const char *args[] = {"sh", "-c", "ls /proc/$$/fd; echo started; exit 3", NULL};
    box_args(&b, args);
    assert_ok(create(&b, &c), &b.err);
    /* It waits, and holds nothing but its streams, the socket, and what goes with its wait. */
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)c.child.pid, leak);
    struct stat st;
    assert_int_equal(lstat(path, &st), -1);
    close(leak);
    assert_ok(runtime_start(c.path, &b.err), &b.err);
    assert_int_equal(runtime_start(c.path, &b.err), -ERR_CONFLICT);
    assert_int_equal(finish(&b, &c), 3);
    assert_string_equal(str_get(&b.output), "0\n1\n2\nstarted\n");
    box_done(&b);
}

static void a_socket_path_longer_than_the_kernel_takes_is_reached(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    char *dir = b.dir;
    char long_name[200];
    memset(long_name, 'd', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    b.dir = str_printf("%s/%s", dir, long_name);
    assert_int_equal(mkdir(b.dir, 0700), 0);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    assert_ok(create(&b, &c), &b.err);
    assert_ok(runtime_start(c.path, &b.err), &b.err);
    assert_int_equal(finish(&b, &c), 0);
    free(b.dir);
    b.dir = dir;
    box_done(&b);
}

static void a_starter_that_dies_starts_nothing_and_an_error_reaches_the_one_that_lives(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    box_file(b.root, "bin/nothere", "#!/no/such\n", 0755);
    const char *args[] = {"nothere", NULL};
    box_args(&b, args);
    assert_ok(create(&b, &c), &b.err);
    int fd;
    assert_ok(file_connect_unix(c.path, SOCK_STREAM, &fd, &b.err), &b.err);
    close(fd);
    assert_int_equal(runtime_start(c.path, &b.err), -ERR_NOT_FOUND);
    assert_contains(b.err.msg, "/bin/nothere: no such file or directory: its interpreter");
    assert_int_equal(finish(&b, &c), 127);
    box_done(&b);
}

static void a_program_or_directory_that_is_not_there_fails_the_creation(void **state)
{
    static const struct {
        const char *program, *cwd;
        int code;
    } cases[] = {
        {"nothere", "/", ERR_NOT_FOUND}, {"/bin/nothere", "/", ERR_NOT_FOUND},
        {"/etc", "/", ERR_DENIED},       {"/etc/plain", "/", ERR_DENIED},
        {"true", "/etc/plain", 0},
    };
    struct box b;
    struct created c;
    box_init(&b);
    box_file(b.root, "etc/plain", "x", 0644);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *args[] = {cases[i].program, NULL};
        box_args(&b, args);
        json_object_set_new(box_process(&b), "cwd", json_string(cases[i].cwd));
        int r = create(&b, &c);
        assert_true(r < 0);
        if (cases[i].code)
            assert_int_equal(r, -cases[i].code);
        finish(&b, &c);
    }
    box_done(&b);
}

static void one_that_was_killed_while_it_waited_cannot_be_started(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    assert_ok(create(&b, &c), &b.err);
    kill(c.child.pid, SIGKILL);
    struct pollfd dead = {.fd = c.child.pidfd, .events = POLLIN};
    assert_int_equal(poll(&dead, 1, -1), 1);
    assert_int_equal(runtime_start(c.path, &b.err), -ERR_CONFLICT);
    assert_int_equal(finish(&b, &c), 137);
    box_done(&b);
}

static void a_config_without_a_process_is_created_and_not_started(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    json_object_del(b.spec, "process");
    assert_ok(create(&b, &c), &b.err);
    assert_int_equal(runtime_start(c.path, &b.err), -ERR_INVALID);
    assert_contains(b.err.msg, "\"process\"");
    finish(&b, &c);
    box_done(&b);
}

/* Launches with a terminal of its own and gives the master. */
static int launch_with_console(struct box *b, struct created *c)
{
    int sockets[2];
    *c = (struct created){.out = -EBADF};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
    struct runtime_launch launch = box_launch(b, -1, -1);
    launch.tty = true;
    launch.console_fd = sockets[1];
    int r = runtime_launch(&launch, &c->cgroup, &c->child, &b->err);
    close(sockets[1]);
    if (r == 0)
        r = runtime_launch_result(c->child.status_fd, &b->err);
    char name[4096];
    size_t count = 0;
    if (r == 0) {
        assert_true(file_recv_fds(sockets[0], name, sizeof(name), &c->out, 1, &count, &b->err) > 0);
        assert_int_equal(count, 1);
    }
    close(sockets[0]);
    return r;
}

static void a_terminal_of_its_own_devpts_is_stdio_console_and_controlling(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    json_object_set_new(box_process(&b), "consoleSize", json_pack("{s:i,s:i}", "height", 33, "width", 77));
    json_object_set_new(box_process(&b), "user", json_pack("{s:i,s:i}", "uid", 1000, "gid", 1000));
    const char *args[] = {"sh", "-c",
                          "stty size; tty; readlink /proc/self/fd/1; echo x > /dev/tty; stat -c %u "
                          "/dev/pts/0; stat -c %t:%T /dev/console",
                          NULL};
    _cleanup_free_ char *stty = str_printf("%s/bin/stty", b.root);
    assert_int_equal(symlink("busybox", stty), 0);
    box_args(&b, args);
    assert_ok(launch_with_console(&b, &c), &b.err);
    char buffer[4096];
    for (ssize_t n; (n = read(c.out, buffer, sizeof(buffer))) > 0;)
        str_addn(&b.output, buffer, (size_t)n);
    assert_int_equal(box_wait(c.child.pid), 0);
    assert_string_equal(str_get(&b.output), "33 77\r\n/dev/pts/0\r\n/dev/pts/0\r\nx\r\n1000\r\n88:0\r\n");
    close(c.out);
    close(c.child.status_fd);
    close(c.child.pidfd);
    assert_ok(cgroup_remove(c.cgroup, &b.err), &b.err);
    cgroup_free(c.cgroup);
    box_done(&b);
}

static void a_terminal_without_a_devpts_is_refused(void **state)
{
    struct box b;
    struct created c;
    box_init(&b);
    json_t *mounts = json_object_get(b.spec, "mounts"), *one;
    size_t i;
    json_array_foreach (mounts, i, one)
        if (str_eq(json_str(one, "destination"), "/dev/pts"))
            json_object_set_new(one, "type", json_string("tmpfs")), json_object_del(one, "options");
    const char *args[] = {"true", NULL};
    box_args(&b, args);
    assert_int_equal(launch_with_console(&b, &c), -ERR_INVALID);
    assert_contains(b.err.msg, "devpts");
    box_wait(c.child.pid);
    close(c.child.status_fd);
    close(c.child.pidfd);
    assert_ok(cgroup_remove(c.cgroup, &b.err), &b.err);
    cgroup_free(c.cgroup);
    box_done(&b);
}

static void descriptors_that_were_given_stay_open_in_the_program(void **state)
{
    struct box b;
    box_init(&b);
    int pipe_fds[2];
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    pid_t pid = fork();
    if (pid == 0) {
        int out = fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 20);
        syscall(SYS_close_range, 3, 19, 0);
        if (dup2(0, 3) != 3 || dup2(0, 4) != 4 || dup2(0, 5) != 5)
            _exit(1);
        int in = open("/dev/null", O_RDWR | O_CLOEXEC);
        const char *args[] = {"sh", "-c", "ls /proc/$$/fd; true", NULL};
        box_args(&b, args);
        struct runtime_launch launch = box_launch(&b, in, out);
        launch.preserve_fds = 2;
        struct runtime_child child;
        struct cgroup *cgroup;
        struct err err;
        if (runtime_launch(&launch, &cgroup, &child, &err) < 0 ||
            runtime_launch_result(child.status_fd, &err) < 0)
            _exit(2);
        int status = box_wait(child.pid);
        cgroup_remove(cgroup, NULL);
        _exit(status);
    }
    close(pipe_fds[1]);
    close(null);
    assert_ok(file_read_fd(pipe_fds[0], 4096, &b.output, &b.err), &b.err);
    close(pipe_fds[0]);
    assert_int_equal(box_wait(pid), 0);
    assert_string_equal(str_get(&b.output), "0\n1\n2\n3\n4\n");
    box_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* First: it closes descriptors that a launch would keep for later ones. */
        cmocka_unit_test(descriptors_that_were_given_stay_open_in_the_program),
        cmocka_unit_test(a_created_container_runs_when_it_is_started_and_only_once),
        cmocka_unit_test(a_socket_path_longer_than_the_kernel_takes_is_reached),
        cmocka_unit_test(a_starter_that_dies_starts_nothing_and_an_error_reaches_the_one_that_lives),
        cmocka_unit_test(a_program_or_directory_that_is_not_there_fails_the_creation),
        cmocka_unit_test(one_that_was_killed_while_it_waited_cannot_be_started),
        cmocka_unit_test(a_config_without_a_process_is_created_and_not_started),
        cmocka_unit_test(a_terminal_of_its_own_devpts_is_stdio_console_and_controlling),
        cmocka_unit_test(a_terminal_without_a_devpts_is_refused),
    };
    return cmocka_run_group_tests_name("runtime_phases", tests, NULL, NULL);
}
