/* What the files of src/net share.
 *
 * `struct net` mirrors what this instance has in the kernel: its bridges and its published ports. The mirror
 * is read from the nftables table when it is first needed after a start, so that what an earlier process left
 * is known, and the table can be built anew from the mirror when somebody has flushed the ruleset.
 *
 * One lock guards the mirror, the nftables transactions and the list of names; it is never held while waiting
 * for anything but the kernel and (bounded) our own DNS process. */
#ifndef NET_PRIV_H
#define NET_PRIV_H

#include "base/json.h"
#include "base/map.h"
#include "net/net.h"

#include <pthread.h>
#include <sys/socket.h>

__extension__ typedef unsigned __int128 uint128;

enum { NET__IP_BYTES = 46 };

/* An address of either family; `value` in host order, of IPv4 the low 32 bits. Family 0: none. */
struct net__ip {
    int family;
    uint128 value;
};
struct net__range {
    struct net__ip address;
    int bits;
};
int net__family_bits(int family); /* 32 or 128 */
uint128 net__host_mask(int family, int bits);
struct net__ip net__ip_of_bytes(int family, const uint8_t *bytes);
void net__ip_bytes(struct net__ip ip, uint8_t out[16]); /* 4 of them, or 16 */
bool net__ip_parse(const char *text, struct net__ip *ret);
void net__ip_format(struct net__ip ip, char out[NET__IP_BYTES]);
bool net__range_parse(const char *text, struct net__range *ret); /* without "/n": one address */
struct net__ip net__range_base(struct net__range r);
char *net__range_text(struct net__range r); /* canonical; the caller frees */
bool net__range_has(struct net__range r, struct net__ip a);
bool net__range_overlap(struct net__range a, struct net__range b);

/* IPv4 alone, host byte order. */
struct net__cidr {
    uint32_t address;
    int bits;
};
bool net__cidr_parse(const char *text, struct net__cidr *ret); /* without "/n": 32 bits */
bool net__cidr_has(struct net__cidr c, uint32_t address);
bool net__address_parse(const char *text, uint32_t *ret);
void net__address_format(uint32_t address, char out[16]);

struct net__bridge {
    char name[16];
    char gateway[16];
    char subnet[20];
    char gateway6[NET__IP_BYTES], subnet6[NET__IP_BYTES + 4]; /* "": no IPv6 */
    bool internal, icc, routed;
};

enum { NET__OWNER_BYTES = 120 }; /* an nftables comment has room for 128 */

struct net__port {
    char owner[NET__OWNER_BYTES];
    int protocol;           /* IPPROTO_* */
    struct net__ip host_ip; /* value 0: all of the family */
    uint16_t host_port;
    struct net__ip container_ip; /* of the same family */
    uint16_t container_port;
    int fd;      /* the bound socket that reserves it; -EBADF when an earlier process published it */
    bool spread; /* over targets: the owner is a spread's key, container_ip tells the family alone */
};

struct net__spread_port {
    int protocol;
    uint16_t published, target;
};
struct net__spread_target {
    struct net__ip address, address6; /* family 0: none */
    bool remote, far;
};
struct net__far { /* a container on another machine; host byte order */
    char bridge[16];
    uint32_t address, via;
    uint8_t mac[6];
};
struct net__spread {
    json_t *doc; /* what the rest is read from; as the file has it */
    char key[NET__OWNER_BYTES], id[17], bridge[16];
    struct net__ip address, address6; /* family 0: none */
    bool ipv6;
    struct net__spread_port *ports;
    size_t port_count;
    struct net__spread_target *targets;
    size_t target_count;
};

struct net__names;
struct net__pool;

struct net {
    char *state_dir;
    char prefix[8];
    char table[32]; /* of nftables, family inet */
    pthread_mutex_t lock;
    bool loaded;       /* the mirror was read */
    bool table_exists; /* as far as we know */
    uint16_t dns_port; /* where the DNS process listens; containers' port 53 is redirected there */
    struct net__port *ports;
    size_t port_count, port_capacity;
    struct map bridges; /* name -> struct net__bridge */
    struct map spreads; /* key -> struct net__spread */
    struct map far;     /* "bridge address" -> struct net__far */
    struct net__names *names;
    struct net__pool *pool;
    struct net_forwarder forwarder; /* functions NULL: ports are this namespace's own */
    int nft; /* the process that speaks to nftables (nft.c); negative: not needed yet, or it has ended */
};

/* --- namespace_pool.c; it has a lock of its own --- */
enum { NET__POOL_MAX = 32 };
struct net__pool *net__pool_new(void);
void net__pool_free(struct net__pool *p); /* ends its thread, gives up what is left */
/* For tests: after how long what was not needed is given up; how many it holds, whether its thread lives. */
void net__pool_set_period(struct net *n, int64_t ms);
size_t net__pool_count(struct net *n, bool *ret_running);

/* --- firewall.c: nftables; the lock is held --- */
/* Reads the mirror once, and brings an existing table to this version's rules. */
int net__firewall_load(struct net *n, struct err *err);
/* Runs one transaction, whose effect the mirror already shows; when the table turns out to be gone, builds it
 * from the mirror instead. */
int net__firewall_run(struct net *n, const char *commands, struct err *err);
/* The table as the mirror wants it, whatever is there. */
int net__firewall_rebuild(struct net *n, struct err *err);
int net__firewall_delete(struct net *n, struct err *err);
void net__firewall_done(struct net *n);
/* Appends commands to `to`; `verb` is "add" or "delete". */
void net__firewall_add_bridge(const struct net *n, struct str *to, const char *verb,
                              const struct net__bridge *b);
void net__firewall_add_port(const struct net *n, struct str *to, const char *verb, const struct net__port *p);

/* --- nft.c --- */
/* Runs commands in the machine's namespace and appends what they print (NULL: nobody wants it); `json`: as
 * nft -j does. ERR_UNAVAILABLE: libnftables cannot read what is there. The lock is held. */
int net__nft_run(struct net *n, const char *commands, bool json, struct str *ret_output, struct err *err);
/* For the namespace that the calling thread is in, and that nobody else has had yet. */
int net__nft_run_here(const char *commands, struct err *err);
/* For one that a container has or had: there may be anything in it. */
int net__nft_run_apart(const char *commands, struct err *err);

/* --- tables.c --- */
/* Appends "FAMILY NAME, ..." of the first tables that are there and not ours. */
void net__tables_name_others(const struct net *n, struct str *to);
/* An accept of ours does not outweigh a drop of somebody else's: said, since it would otherwise look like our
 * failure. */
void net__tables_warn(const struct net *n);

/* --- names.c --- */
/* The binary that has the verbs `dns` and `nft`. */
int net__binary_path(char **ret, struct err *err);

/* --- endpoint.c --- */
/* Calls `fn` with the thread in another network namespace. */
int net__in_namespace(int namespace_fd, int (*fn)(void *context, struct err *err), void *context,
                      struct err *err);
int net__mac_parse(const char *text, uint8_t mac[6]); /* -1: it is none of one interface */

/* --- parent.c --- */
int net__child_mode(const char *kind, const char *mode, uint32_t *ret, struct err *err);
uint16_t net__child_flags(const char *flag);

/* --- ports.c --- */
int net__ports_add(struct net *n, const struct net__port *p); /* to the mirror */
void net__ports_done(struct net *n);
const char *net__protocol_name(int protocol); /* "tcp" */
int net__protocol_of(const char *name);       /* IPPROTO_*, 0: none that can be published */
/* Takes the port on the machine, and at the forwarder; sets its `fd`. */
int net__port_reserve(struct net *n, struct net__port *p, const char *host_ip, struct err *err);
void net__port_release(struct net *n, const struct net__port *p);
/* Takes the reservation of one that an earlier process published. */
int net__port_adopt(struct net *n, struct net__port *p, const char *host_ip, struct err *err);

/* --- spread.c --- */
void net__spread_free(void *spread);
/* Those of an earlier process, from their file; what cannot be read is left out. */
void net__spreads_load(struct net *n);
int net__spreads_save(struct net *n, struct err *err);
/* Its virtual addresses on their bridge, or all of a bridge's: there after it was made anew. */
int net__spread_addresses(struct net *n, const char *bridge, struct err *err);
bool net__spread_has_address(struct net *n, const char *bridge, uint32_t address);

/* --- spread_rules.c; appends commands to `to` --- */
void net__spread_add(const struct net *n, struct str *to,
                     const struct net__spread *s); /* replaces its rules */
void net__spread_delete(const struct net *n, struct str *to, const struct net__spread *s);
void net__spread_add_virtual(const struct net *n, struct str *to, const char *verb,
                             const struct net__spread *s);
/* What all of them together say of other machines. */
void net__spread_add_remotes(const struct net *n, struct str *to);

/* --- far.c; the lock is held --- */
void net__far_add(const struct net *n, struct str *to, const char *verb, const struct net__far *f);
/* One that an earlier process had, from its element of the table. */
void net__far_load(struct net *n, const char *bridge, const char *address, const char *comment);
/* All of a bridge (NULL: of all): routes at once, rules by commands appended to `to` (NULL: they go with the
 * table). */
void net__far_drop(struct net *n, const char *bridge, struct str *to);

/* --- conntrack.c --- */
/* Drops what the kernel remembers of datagrams to a port, so that what was published or withdrawn counts for
 * them too. Best effort: without it they find their way when they have been silent for a while. */
void net__conntrack_forget(const struct net__port *port);
/* The same for what goes to a container's address, whatever it was sent to. */
void net__conntrack_forget_target(struct net__ip target);

/* --- port_owner.c --- */
/* Who has a local port: "nginx (pid 812)"; false when nobody can be found. */
bool net__port_owner(int protocol, struct net__ip host_ip, uint16_t port, struct str *ret);

/* --- names.c --- */
int net__names_open(struct net *n, struct err *err);
void net__names_done(struct net *n);
/* Writes the table for the DNS process after bridges changed; the lock is held. */
int net__names_publish(struct net *n, struct err *err);
void net__names_stop(struct net *n); /* ends the DNS process */

#endif
