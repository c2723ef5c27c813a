/* Certificates for who uses the cluster as one engine (gateway.c). */
#include "cluster/cluster_priv.h"

#include "cluster/identity.h"
#include "cluster/pki.h"
#include "cluster/revoke.h"

/* The document as it was when `r` is an error, which it gives back. */
static int keep(struct cluster *c, json_t *before, int r, struct err *err)
{
    if (r == 0) {
        struct change ch = {0};
        change_put_swarm(&ch, c);
        r = change_commit(c, &ch, true, err);
    }
    if (r < 0) {
        json_decref(c->swarm);
        c->swarm = before;
    } else
        json_decref(before);
    return r;
}

static json_t *begin(struct cluster *c)
{
    json_t *before = c->swarm;
    c->swarm = json_copy_tree(before);
    return before;
}

int cluster_client(struct cluster *c, const char *name, const char *csr, char **ret_certificate,
                   char **ret_authority, struct err *err)
{
    struct pki_subject subject = {.client = true};
    _cleanup_free_ char *certificate = NULL, *authority = NULL;
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r == 0)
        r = cluster__check_file_name(name, err);
    if (r < 0)
        return r;
    snprintf(subject.node, sizeof(subject.node), "%.60s", name);
    r = identity__issue(c, csr, &subject, &certificate, err);
    if (r < 0)
        return r;
    authority = identity__authority(c);
    if (!authority)
        return err_set(err, ERR_CORRUPT, "the certificate of the swarm's authority is missing");
    json_t *before = begin(c);
    r = keep(c, before, revoke__note_client(c, subject.node, certificate, err), err);
    if (r < 0)
        return r;
    *ret_certificate = take_ptr(certificate);
    *ret_authority = take_ptr(authority);
    return 0;
}

int cluster_client_list(struct cluster *c, json_t **ret, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    const json_t *one;
    size_t i;
    *ret = json_array();
    json_array_foreach (json_object_get(c->swarm, "Clients"), i, one) {
        json_t *shown =
            json_pack("{s:s, s:s}", "Name", json_str(one, "name"), "Serial", json_str(one, "serial"));
        cluster__set_time(shown, "Ends", json_int(one, "ends_ns"));
        json_array_append_new(*ret, shown);
    }
    return 0;
}

int cluster_client_revoke(struct cluster *c, const char *name, struct err *err)
{
    SCOPED_LOCK(locked, &c->lock);
    int r = cluster__no_swarm(c, err);
    if (r < 0)
        return r;
    json_t *before = begin(c);
    r = keep(c, before, revoke__client(c, name, err), err);
    if (r == 0)
        revoke__publish(c);
    return r;
}
