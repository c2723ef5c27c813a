#include "base/carry.h"

#include "base/file.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* -1: broken; 0: at its end. */
static int pass(int from, int to)
{
    char buffer[16384];
    ssize_t n = read(from, buffer, sizeof(buffer));
    if (n == 0)
        shutdown(to, SHUT_WR);
    int r = n < 0 ? -(errno != EINTR) : n == 0 ? 0 : file_write_all(to, buffer, (size_t)n, NULL) < 0 ? -1 : 1;
    explicit_bzero(buffer, sizeof(buffer));
    return n < 0 && r == 0 ? 1 : r;
}

void carry_both_ways(int a, int b, int stop_fd)
{
    bool open[2] = {true, true};
    const int ends[2] = {a, b};
    while (open[0] || open[1]) {
        struct pollfd p[] = {{.fd = open[0] ? a : -1, .events = POLLIN},
                             {.fd = open[1] ? b : -1, .events = POLLIN},
                             {.fd = stop_fd, .events = POLLIN}};
        if (poll(p, 3, -1) < 0 && errno != EINTR)
            return;
        if (p[2].revents)
            return;
        for (int i = 0; i < 2; i++) {
            int r = p[i].revents ? pass(ends[i], ends[!i]) : 1;
            if (r < 0)
                return;
            open[i] = open[i] && r > 0;
        }
    }
}
