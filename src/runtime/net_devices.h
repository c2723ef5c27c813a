/* Network devices of the host that become a container's ("linux.netDevices", config-linux.md of the runtime
 * specification 1.3, "Network Devices").
 *
 * The parent moves them while the child waits: out of its own namespace into the child's, under their new
 * names, with the permanent global addresses they had, and up. Nothing is moved before all can be: a device
 * that is not there, or a name that is taken, is an error that names it. A name that ends with "%d" gets the
 * first number that is free. They stay where they were moved when the container ends; the kernel takes
 * physical ones back then. */
#ifndef RUNTIME_NET_DEVICES_H
#define RUNTIME_NET_DEVICES_H

#include "base/err.h"

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>

enum { NET_DEVICES_MAX = 64 };

/* Strings are the config's. */
struct net_device {
    const char *from, *to;
};

struct net_devices {
    struct net_device *list;
    size_t count;
};

int net_devices_parse(const json_t *linux_, struct net_devices *ret, struct err *err);
void net_devices_done(struct net_devices *d);
/* `namespace_fd`: the container's. The calling thread leaves its own network namespace for a moment. */
int net_devices_move(const struct net_devices *d, int namespace_fd, struct err *err);

#endif
