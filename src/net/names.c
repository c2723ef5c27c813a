/* The serve side of names: writes the table, and keeps the DNS process alive.
 *
 * The process holds <state_dir>/dns.sock, a seqpacket socket. One connection to it stays open: its end tells
 * of the process's death, and "reload" on it is answered when the new table is in force, so that a container
 * started after net_names_set() finds the names. */
#include "net/dns_table.h"
#include "net/priv.h"

#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

enum { START_DEADLINE_MS = 5000, ANSWER_DEADLINE_MS = 2000, RESTART_PAUSE_MS = 1000 };

struct net__names {
    struct dns_host *hosts; /* as last set; the bridges are those of the mirror */
    struct dns_table table;
    char *path, *socket_path, *log_path;
    pthread_mutex_t lock; /* the connection */
    int connection;
    bool wanted; /* the process is to run */
    pthread_t watcher;
    bool watching;
    int wake; /* eventfd: look again, or end */
    bool closing;
};

static bool port_free(uint16_t port, int type)
{
    _cleanup_close_ int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    return fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
}

/* Where the DNS process listens on each gateway address. Not 53, which a resolver of the host or a published
 * port may have; below the ephemeral ports; the same for the instance's life, as rules and process share it.
 */
static uint16_t port_choose(void)
{
    for (int i = 0; i < 100; i++) {
        uint16_t random;
        must(getrandom(&random, sizeof(random), 0) == sizeof(random));
        uint16_t port = (uint16_t)(20000 + random % 12000);
        if (port_free(port, SOCK_DGRAM) && port_free(port, SOCK_STREAM))
            return port;
    }
    return 20053;
}

int net__names_open(struct net *n, struct err *err)
{
    struct net__names *s = n->names = NEW(struct net__names);
    s->path = str_printf("%s/dns.table", n->state_dir);
    s->socket_path = str_printf("%s/dns.sock", n->state_dir);
    s->log_path = str_printf("%s/dns.log", n->state_dir);
    s->connection = -EBADF;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&s->lock, NULL);
    _cleanup_str_ struct str text = STR_INIT;
    if (s->wake < 0)
        return err_sys(err, errno, "create an eventfd");
    int r = file_read(s->path, DNS_TABLE_BYTES_MAX, &text, err);
    if (r == 0)
        r = dns_table_parse(str_get(&text), &s->table, err);
    if (r < 0 && r != -ERR_NOT_FOUND && r != -ERR_CORRUPT)
        return err_wrap(err, "read the table of names %s", s->path);
    if (r < 0) /* new, or written by another version: the caller sets all names soon */
        s->table = (struct dns_table){.port = port_choose()};
    n->dns_port = s->table.port;
    return 0;
}

void net__names_done(struct net *n)
{
    struct net__names *s = n->names;
    if (!s)
        return;
    dns_table_done(&s->table);
    close_fd(s->connection);
    close_fd(s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s->path);
    free(s->socket_path);
    free(s->log_path);
    free(s);
    n->names = NULL;
}

static void bridges_take(struct net *n, struct dns_table *t)
{
    struct map_entry *e;
    t->bridge_count = 0;
    for (size_t i = 0; (e = map_next(&n->bridges, &i));) {
        const struct net__bridge *b = e->value;
        struct dns_bridge d = {.internal = b->internal};
        snprintf(d.name, sizeof(d.name), "%s", b->name);
        if (!net__address_parse(b->gateway, &d.gateway) || !net__cidr_parse(b->subnet, &d.subnet))
            continue;
        GROW(t->bridges, t->bridge_count, t->bridge_capacity);
        t->bridges[t->bridge_count++] = d;
    }
}

int net__names_publish(struct net *n, struct err *err)
{
    struct net__names *s = n->names;
    _cleanup_str_ struct str text = STR_INIT;
    bridges_take(n, &s->table);
    dns_table_format(&s->table, &text);
    int r = file_replace(s->path, str_get(&text), text.len, 0600, false, err);
    if (r < 0)
        return err_wrap(err, "write the table of names");
    return 0;
}

void net__names_stop(struct net *n)
{
    (void)n;
}

static int hosts_take(const struct net_name *names, size_t count, struct dns_table *t, struct err *err)
{
    for (size_t i = 0; i < count; i++) {
        uint32_t address;
        const char *owner = names[i].owner ? names[i].owner : "";
        if (!net__address_parse(names[i].address, &address) || strlen(names[i].bridge) >= 16 ||
            (*owner && !dns_name_valid(owner)))
            return err_set(err, ERR_INVALID, "names of address %s on bridge %s cannot be set",
                           names[i].address, names[i].bridge);
        STRV_FOREACH (name, (char **)names[i].names)
            if (!dns_name_valid(*name))
                return err_set(err, ERR_INVALID, "\"%s\" cannot be a name on a network", *name);
        dns_table_add_host(t, names[i].bridge, address, mem_strdup(owner), strv_dup(names[i].names));
    }
    return 0;
}

int net_names_set(struct net *n, const struct net_name *names, size_t count, struct err *err)
{
    struct dns_table fresh = {.port = n->dns_port};
    int r = hosts_take(names, count, &fresh, err);
    if (r == 0) {
        pthread_mutex_lock(&n->lock);
        struct dns_table old = n->names->table;
        n->names->table = fresh;
        fresh = old;
        r = net__firewall_load(n, err);
        if (r == 0)
            r = net__names_publish(n, err);
        pthread_mutex_unlock(&n->lock);
    }
    dns_table_done(&fresh);
    return r;
}
