/* Who has a port: the socket's inode from /proc/net, the process that holds it from /proc/PID/fd. */
#include "net/priv.h"

#include "base/file.h"

#include <dirent.h>
#include <netinet/in.h>
#include <unistd.h>

enum { INODES_MAX = 16, TCP_TIME_WAIT_STATE = 6 };

struct inodes {
    unsigned long items[INODES_MAX];
    size_t count;
};

/* The kernel prints an address as words of four bytes in its own order. A socket of :: has IPv4 too. */
static bool covers(const char *text, bool v6, struct net__ip wanted)
{
    uint8_t bytes[16];
    int words = v6 ? 4 : 1;
    for (int i = 0; i < words; i++) {
        unsigned word;
        if (sscanf(text + 8 * i, "%8x", &word) != 1)
            return false;
        uint32_t raw = word;
        memcpy(bytes + 4 * i, &raw, 4);
    }
    struct net__ip bound = net__ip_of_bytes(v6 ? AF_INET6 : AF_INET, bytes);
    if (v6 && wanted.family == AF_INET) {
        if (bound.value >> 32 == 0xffff)
            bound.value &= UINT32_MAX;
        else if (bound.value)
            return false;
    } else if (bound.family != wanted.family)
        return false;
    return !bound.value || !wanted.value || bound.value == wanted.value;
}

static void collect(const char *path, bool v6, struct net__ip host_ip, uint16_t port, struct inodes *ret)
{
    _cleanup_file_ FILE *f = fopen(path, "re");
    char line[512], address[40];
    if (!f || !fgets(line, sizeof(line), f))
        return;
    while (fgets(line, sizeof(line), f) && ret->count < INODES_MAX) {
        unsigned local_port, state;
        unsigned long inode;
        if (sscanf(line, " %*s %32[0-9A-F]:%x %*s %x %*s %*s %*s %*s %*s %lu", address, &local_port, &state,
                   &inode) == 4 &&
            local_port == port && inode && state != TCP_TIME_WAIT_STATE && covers(address, v6, host_ip))
            ret->items[ret->count++] = inode;
    }
}

static bool holds(const char *pid, const struct inodes *wanted)
{
    _cleanup_free_ char *path = str_printf("/proc/%s/fd", pid);
    DIR *d = opendir(path);
    if (!d)
        return false;
    bool found = false;
    struct dirent *e;
    while (!found && (e = readdir(d))) {
        char target[64];
        ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
        unsigned long inode;
        if (n <= 0)
            continue;
        target[n] = '\0';
        if (sscanf(target, "socket:[%lu]", &inode) != 1)
            continue;
        for (size_t i = 0; i < wanted->count; i++)
            found = found || wanted->items[i] == inode;
    }
    closedir(d);
    return found;
}

bool net__port_owner(int protocol, struct net__ip host_ip, uint16_t port, struct str *ret)
{
    struct inodes wanted = {.count = 0};
    bool tcp = protocol == IPPROTO_TCP;
    if (!port || (!tcp && protocol != IPPROTO_UDP))
        return false;
    collect(tcp ? "/proc/thread-self/net/tcp" : "/proc/thread-self/net/udp", false, host_ip, port, &wanted);
    collect(tcp ? "/proc/thread-self/net/tcp6" : "/proc/thread-self/net/udp6", true, host_ip, port, &wanted);
    if (!wanted.count)
        return false;
    DIR *d = opendir("/proc");
    struct dirent *e;
    bool found = false;
    while (d && !found && (e = readdir(d))) {
        if (e->d_name[0] < '1' || e->d_name[0] > '9' || !holds(e->d_name, &wanted))
            continue;
        found = true;
        char path[300];
        snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
        _cleanup_str_ struct str comm = STR_INIT;
        if (file_read(path, 64, &comm, NULL) < 0)
            str_add(&comm, "a program");
        str_addf(ret, "%.*s (pid %s)", (int)strcspn(str_get(&comm), "\n"), str_get(&comm), e->d_name);
    }
    if (d)
        closedir(d);
    if (!found)
        str_add(ret, "a program of another pid namespace or user");
    return true;
}
