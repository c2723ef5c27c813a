#include "base/failpoint.h"

#ifdef DROVER_FAILPOINTS
#include "base/str.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static bool path_of(const char *name, char *path, size_t n)
{
    const char *dir = getenv("DROVER_FAILPOINTS");
    return !str_empty(dir) && snprintf(path, n, "%s/%s", dir, name) < (int)n;
}

bool failpoint_set(const char *name)
{
    char path[512];
    return path_of(name, path, sizeof(path)) && access(path, F_OK) == 0;
}

static void hit(const char *name, int signal)
{
    char path[512];
    if (path_of(name, path, sizeof(path)) && unlink(path) == 0)
        kill(getpid(), signal);
}

void failpoint_hit(const char *name)
{
    hit(name, SIGKILL);
}

void failpoint_stop(const char *name)
{
    hit(name, SIGSTOP);
}
#endif
