/* What a thousand containers that do nothing cost the engine, and how fast they end. */
#include "launch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILL_WORKERS = 8 };

static ssize_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n;
}

size_t own_processes(const char *root, pid_t found[OWN_MAX])
{
    DIR *d = opendir("/proc");
    size_t count = 0;
    for (struct dirent *e; d && (e = readdir(d)) && count < OWN_MAX;) {
        char path[300], text[4096];
        long pid = strtol(e->d_name, NULL, 10);
        if (pid <= 0 || pid == getpid() || pid == getppid())
            continue;
        snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
        ssize_t n = read_text(path, text, sizeof(text));
        bool measured = false;
        for (ssize_t i = 0; i < n; i++)
            if (text[i] == '\0')
                text[i] = ' ';
        measured = n > 0 && strstr(text, root) && !strstr(text, "bench-launch") && !strstr(text, "python");
        if (measured)
            found[count++] = (pid_t)pid;
    }
    if (d)
        closedir(d);
    return count;
}

static long field(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? strtol(at + strlen(key), NULL, 10) : 0;
}

static long memory_kb(const pid_t *pids, size_t count)
{
    long sum = 0;
    for (size_t i = 0; i < count; i++) {
        char path[64], text[4096];
        snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pids[i]);
        if (read_text(path, text, sizeof(text)) > 0)
            sum += field(text, "\nPss:");
    }
    return sum;
}

double cpu_seconds(const pid_t *pids, size_t count)
{
    unsigned long long ticks = 0;
    for (size_t i = 0; i < count; i++) {
        char path[64], text[1024];
        unsigned long long user = 0, system = 0;
        snprintf(path, sizeof(path), "/proc/%d/stat", (int)pids[i]);
        if (read_text(path, text, sizeof(text)) <= 0 || !strrchr(text, ')'))
            continue;
        sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
               &system);
        ticks += user + system;
    }
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static int make_sleeper(const struct contestant *c, unsigned number)
{
    char path[128], answer[1024];
    snprintf(path, sizeof(path), "/v1.41/containers/create?name=sleeper-%u", number);
    int status =
        api_call(c->socket, "POST", path,
                 "{\"Image\":\"bench\",\"Cmd\":[\"/bin/sleep\",\"1000000\"],\"StopSignal\":\"SIGKILL\","
                 "\"HostConfig\":{\"NetworkMode\":\"host\"}}",
                 answer, sizeof(answer));
    if (status == 201) {
        snprintf(path, sizeof(path), "/v1.41/containers/sleeper-%u/start", number);
        status = api_call(c->socket, "POST", path, NULL, answer, sizeof(answer));
    }
    if (status != 204)
        fprintf(stderr, "%s: sleeper-%u: status %d: %s\n", c->name, number, status, answer);
    return status == 204 ? 0 : -1;
}

static int stop_sleeper(const struct contestant *c, unsigned number)
{
    char path[128], answer[1024];
    snprintf(path, sizeof(path), "/v1.41/containers/sleeper-%u/stop", number);
    int status = api_call(c->socket, "POST", path, NULL, answer, sizeof(answer));
    if (status != 204)
        fprintf(stderr, "%s: stop sleeper-%u: status %d: %s\n", c->name, number, status, answer);
    return status == 204 ? 0 : -1;
}

static int remove_sleeper(const struct contestant *c, unsigned number)
{
    char path[128], answer[1024];
    snprintf(path, sizeof(path), "/v1.41/containers/sleeper-%u?force=1", number);
    int status = api_call(c->socket, "DELETE", path, NULL, answer, sizeof(answer));
    return status == 204 ? 0 : -1;
}

static int for_all(const struct contestant *c, unsigned from, unsigned to, int workers,
                   int (*one)(const struct contestant *, unsigned))
{
    int failed = 0;
    for (int i = 0; i < workers; i++)
        if (fork() == 0) {
            int r = api_begin(c, i);
            for (unsigned n = from + (unsigned)i; r == 0 && n < to; n += (unsigned)workers)
                r = one(c, n);
            _exit(r ? 1 : 0);
        }
    for (int i = 0; i < workers; i++) {
        int status;
        if (wait(&status) < 0 || status)
            failed = 1;
    }
    return failed ? -1 : 0;
}

int idle_fill(const struct contestant *engine, unsigned have, unsigned want)
{
    return for_all(engine, have, want, FILL_WORKERS, make_sleeper);
}

int idle_remove(const struct contestant *engine, unsigned have, double *ret_stop_s)
{
    double began = bench_now();
    int r = for_all(engine, 0, have, WORKERS_MAX, stop_sleeper);
    if (ret_stop_s)
        *ret_stop_s = bench_now() - began;
    return for_all(engine, 0, have, FILL_WORKERS, remove_sleeper) < 0 ? -1 : r;
}

/* The sleepers stay: the caller goes on with them, and ends them with idle_remove(). */
int idle_measure(const struct contestant *engine, const char *root, unsigned containers, double watch_s,
                 struct idle *ret)
{
    pid_t own[OWN_MAX];
    size_t count = own_processes(root, own);
    *ret = (struct idle){.containers = containers, .before_kb = memory_kb(own, count)};
    if (!ret->before_kb) {
        fprintf(stderr, "no process of %s was found\n", root);
        return -1;
    }
    if (idle_fill(engine, 0, containers) < 0)
        return -1;
    count = own_processes(root, own); /* one a container, where an engine has such */
    sleep(1);
    ret->after_kb = memory_kb(own, count);
    ret->kb_each = (double)(ret->after_kb - ret->before_kb) / containers;
    double cpu = cpu_seconds(own, count), began = bench_now();
    usleep((useconds_t)(watch_s * 1e6));
    ret->cpu_percent = (cpu_seconds(own, count) - cpu) / (bench_now() - began) * 100;
    return 0;
}
