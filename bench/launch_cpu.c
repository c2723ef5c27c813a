/* Processor time of launches, by who spent it. Unlike a rate it says the same on a machine that is busy with
 * other things. */
#include "launch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static size_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    n = n > 0 ? n : 0;
    text[n] = '\0';
    return (size_t)n;
}

static enum spender role_of(pid_t pid)
{
    char path[64], text[4096];
    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    size_t n = read_text(path, text, sizeof(text));
    const char *verb = memchr(text, '\0', n);
    if (verb && strcmp(verb + 1, "serve") == 0)
        return SPENDER_SERVE;
    return verb && strcmp(verb + 1, "keeper") == 0 ? SPENDER_KEEPER : SPENDER_OTHERS;
}

static unsigned long switches_of(pid_t pid)
{
    char path[400], text[4096];
    unsigned long sum = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, e->d_name);
        const char *at = *e->d_name != '.' && read_text(path, text, sizeof(text))
                             ? strstr(text, "\nvoluntary_ctxt_switches:")
                             : NULL;
        if (at)
            sum += strtoul(strchr(at, ':') + 1, NULL, 10);
    }
    if (d)
        closedir(d);
    return sum;
}

static void add_process(pid_t pid, struct spent *spent)
{
    char path[64], text[1024];
    unsigned long long user = 0, system = 0, child_user = 0, child_system = 0;
    double tick = (double)sysconf(_SC_CLK_TCK);
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof(text)) || !strrchr(text, ')'))
        return;
    sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %llu %llu", &user,
           &system, &child_user, &child_system);
    spent->cpu_s[role_of(pid)] += (double)(user + system) / tick;
    spent->cpu_s[SPENDER_CONTAINERS] += (double)(child_user + child_system) / tick;
    spent->switches += switches_of(pid);
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void spent_now(const char *root, struct spent *ret)
{
    struct rusage u;
    pid_t own[OWN_MAX];
    size_t count = root ? own_processes(root, own) : 0;
    getrusage(RUSAGE_CHILDREN, &u);
    *ret = (struct spent){0};
    ret->cpu_s[SPENDER_WORKERS] = seconds(u.ru_utime) + seconds(u.ru_stime);
    for (size_t i = 0; i < count; i++)
        add_process(own[i], ret);
}

void spent_of_launches(const struct spent *before, const struct spent *after, struct rate *rate)
{
    double n = rate->launches ? rate->launches : 1;
    rate->cpu_ms = 0;
    for (int i = 0; i < SPENDERS; i++) {
        rate->spender_ms[i] = (after->cpu_s[i] - before->cpu_s[i]) * 1000 / n;
        rate->cpu_ms += rate->spender_ms[i];
    }
    /* Threads that have ended take theirs along. */
    rate->switches =
        after->switches > before->switches ? (double)(after->switches - before->switches) / n : 0;
}
