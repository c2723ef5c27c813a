#include "store/probe.h"

#include "base/timeutil.h"
#include "store/member.h"

enum { PROBE_MS = 1000 };

struct store_probe {
    char address[STORE_ADDRESS_BYTES];
    struct tls_files tls; /* owned */
    struct member *member;
};

struct store_probe *store_probe_new(const char *address, const struct tls_files *tls)
{
    struct store_probe *p = NEW(struct store_probe);
    snprintf(p->address, sizeof(p->address), "%s", address);
    p->tls = (struct tls_files){.authority = mem_strdup(tls->authority),
                                .certificate = mem_strdup(tls->certificate),
                                .key = mem_strdup(tls->key),
                                .revoked = mem_strdup(tls->revoked)};
    return p;
}

void store_probe_free(struct store_probe *p)
{
    if (!p)
        return;
    member__close(p->member);
    free((char *)p->tls.authority);
    free((char *)p->tls.certificate);
    free((char *)p->tls.key);
    free((char *)p->tls.revoked);
    free(p);
}

int store_probe_leader(struct store_probe *p, char ret_address[STORE_ADDRESS_BYTES], struct err *err)
{
    struct wire_body body;
    const char *found;
    uint64_t id;
    int64_t deadline_ns = time_monotonic_ns() + PROBE_MS * NS_PER_MS;
    int r = p->member ? 0 : member__connect(p->address, &p->tls, deadline_ns, &p->member, err);
    if (r < 0)
        return r;
    wire_put_number(&p->member->out, WIRE_LEADER, 0);
    r = member__call(p->member, WIRE_SERVER, deadline_ns, &body, err);
    if (r == 0)
        r = wire_get_server(body, &id, &found, err);
    if (r < 0) {
        member__close(take_ptr(p->member));
        return r;
    }
    snprintf(ret_address, STORE_ADDRESS_BYTES, "%s", found);
    return 0;
}
