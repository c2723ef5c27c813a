/* Launches through a command line: fork, execve, wait. */
#include "launch.h"

#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int run(const struct contestant *c, const char *const *argv)
{
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, 1, "/dev/null", O_WRONLY, 0);
    pid_t pid;
    int status = 0, r = posix_spawnp(&pid, argv[0], &files, NULL, (char *const *)argv, environ);
    posix_spawn_file_actions_destroy(&files);
    if (r) {
        fprintf(stderr, "%s: %s\n", argv[0], strerror(r));
        return 1;
    }
    while (waitpid(pid, &status, 0) < 0)
        ;
    if (status)
        fprintf(stderr, "%s: ended with wait status 0x%x\n", c->name, (unsigned)status);
    return status != 0;
}

int bundle_launch(const struct contestant *c, int worker, unsigned turn)
{
    char id[64], bundle[512], root[512], program[512];
    snprintf(id, sizeof(id), "bench-%s-%d-%u", c->name, worker, turn);
    snprintf(bundle, sizeof(bundle), "%s/bundle-%d", c->folder, worker);
    snprintf(root, sizeof(root), "%s/state", c->folder);
    snprintf(program, sizeof(program), "%s", c->program);
    const char *argv[] = {program, "--root", root, "run", "--bundle", bundle, id, NULL};
    return run(c, argv);
}

int crun_begin(const struct contestant *c, int worker)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0) {
        perror("unshare");
        return 1;
    }
    umount2("/sys/fs/cgroup/unified", MNT_DETACH);
    return 0;
}

int podman_launch(const struct contestant *c, int worker, unsigned turn)
{
    char root[512], runroot[512], rootfs[512];
    snprintf(root, sizeof(root), "%s/root", c->folder);
    snprintf(runroot, sizeof(runroot), "%s/run", c->folder);
    snprintf(rootfs, sizeof(rootfs), "%s", c->rootfs);
    /* Its own defaults of these limits are above what a machine may allow. */
    const char *argv[] = {"podman",
                          "--root",
                          root,
                          "--runroot",
                          runroot,
                          "--cgroup-manager",
                          "cgroupfs",
                          "run",
                          "--rm",
                          "--network",
                          "host",
                          "--ulimit",
                          "nofile=1024:1024",
                          "--ulimit",
                          "nproc=1024:1024",
                          "--log-driver",
                          "k8s-file",
                          "--rootfs",
                          rootfs,
                          "/bin/true",
                          NULL};
    return run(c, argv);
}
