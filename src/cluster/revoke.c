#include "cluster/revoke.h"

#include "base/file.h"
#include "base/log.h"
#include "cluster/authority.h"
#include "cluster/identity.h"
#include "cluster/pki.h"
#include "cluster/port.h"
#include "cluster/session.h"

enum { LIST_MAX = 4 << 20 };

static json_t *list_of(struct cluster *c, const char *key)
{
    json_t *list = json_object_get(c->swarm, key);
    if (!json_is_array(list)) {
        list = json_array();
        json_object_set_new(c->swarm, key, list);
    }
    return list;
}

/* What has ended needs no taking back. */
static void drop_ended(json_t *list)
{
    int64_t now_ns = time_now_ns();
    for (size_t i = json_array_size(list); i-- > 0;)
        if (json_int(json_array_get(list, i), "ends_ns") < now_ns)
            json_array_remove(list, i);
}

static json_t *line_of(const char *pem)
{
    struct pki_subject s;
    struct err err;
    if (pki_read(pem, &s, &err) < 0 || !*s.serial)
        return NULL;
    return json_pack("{s:s, s:b, s:I}", "serial", s.serial, "manager", (int)s.manager, "ends_ns",
                     (json_int_t)s.ends_ns);
}

void revoke__note(struct node *n, const char *pem)
{
    json_t *line = line_of(pem);
    if (!line)
        return;
    if (!n->certificates)
        n->certificates = json_array();
    drop_ended(n->certificates);
    json_array_append_new(n->certificates, line);
}

/* Whose certificate it is: it ends with that one. */
static void note_authority(struct cluster *c, json_t *line)
{
    _cleanup_authority_ struct authority issuer = {0};
    if (authority__issuer(c, &issuer, &(struct err){0}) < 0)
        return;
    _cleanup_free_ char *fingerprint = keys__fingerprint(issuer.certificate);
    json_set_str(line, "authority", fingerprint);
}

int revoke__note_client(struct cluster *c, const char *name, const char *pem, struct err *err)
{
    json_t *clients = list_of(c, "Clients"), *line = line_of(pem);
    drop_ended(clients);
    if (json_array_size(clients) >= CLIENTS_MAX) {
        json_decref(line);
        return err_set(err, ERR_LIMIT,
                       "there are %d clients' certificates, which is the most there may be: drover cluster "
                       "revoke NAME takes some back",
                       CLIENTS_MAX);
    }
    if (line) {
        json_set_str(line, "name", name);
        note_authority(c, line);
        json_array_append_new(clients, line);
    }
    return 0;
}

static void take_back(struct cluster *c, json_t *line)
{
    json_t *revoked = list_of(c, "Revoked");
    drop_ended(revoked);
    json_object_set_new(line, "at_ns", json_integer(time_now_ns()));
    json_array_append(revoked, line);
    if (json_array_size(revoked) > REVOKED_MAX) {
        log_warning("cluster: more than %d certificates are taken back: the oldest is forgotten",
                    REVOKED_MAX);
        json_array_remove(revoked, 0);
    }
}

bool revoke__node(struct cluster *c, struct node *n, bool managers_only)
{
    bool any = false;
    for (size_t i = json_array_size(n->certificates); i-- > 0;) {
        json_t *line = json_array_get(n->certificates, i);
        if (managers_only && !json_bool(line, "manager"))
            continue;
        take_back(c, line);
        json_array_remove(n->certificates, i);
        any = true;
    }
    return any;
}

int revoke__client(struct cluster *c, const char *name, struct err *err)
{
    json_t *clients = list_of(c, "Clients");
    bool any = false;
    for (size_t i = json_array_size(clients); i-- > 0;) {
        json_t *line = json_array_get(clients, i);
        if (!str_eq(json_str(line, "name"), name))
            continue;
        take_back(c, line);
        json_array_remove(clients, i);
        any = true;
    }
    return any ? 0 : err_set(err, ERR_NOT_FOUND, "no client's certificate is called %.200s", name);
}

/* --- The list --- */

static void write_list(struct cluster *c, const char *pem)
{
    _cleanup_free_ char *path = identity__path(c, "ca.crl");
    _cleanup_str_ struct str present = STR_INIT;
    struct err err;
    if (file_read(path, LIST_MAX, &present, &err) == 0 && str_eq(str_get(&present), pem))
        return;
    if (file_replace(path, pem, strlen(pem), 0644, true, &err) < 0)
        log_error("cluster: %s", err.msg);
    else
        port__renewed(c);
}

static int sign_list(struct cluster *c, const struct authority *a, const struct pki_revoked *list,
                     size_t count, struct str *to, struct err *err)
{
    _cleanup_free_ char *pem = NULL;
    int r = pki_revocations(a->certificate, a->key, c->index, list, count, &pem, err);
    if (r == 0)
        str_add(to, pem);
    return r;
}

/* One list of each authority that is believed: who verifies wants one of whoever has issued a certificate. */
static char *make_list(struct cluster *c, struct err *err)
{
    const json_t *revoked = json_object_get(c->swarm, "Revoked"), *line;
    size_t count = 0, i;
    _cleanup_free_ struct pki_revoked *list = NEW_N(struct pki_revoked, json_array_size(revoked) + 1);
    _cleanup_authority_ struct authority present = {0}, next = {0};
    _cleanup_str_ struct str text = STR_INIT;
    json_array_foreach ((json_t *)revoked, i, line) {
        snprintf(list[count].serial, sizeof(list->serial), "%s", json_str(line, "serial"));
        list[count++].at_ns = json_int(line, "at_ns");
    }
    int r = authority__present(c, &present, err);
    if (r == 0)
        r = sign_list(c, &present, list, count, &text, err);
    int other = r == 0 ? authority__next(c, &next, err) : r;
    if (other == 0)
        r = sign_list(c, &next, list, count, &text, err);
    return r == 0 && (other == 0 || other == -ERR_NOT_FOUND) ? str_take(&text) : NULL;
}

void revoke__publish(struct cluster *c)
{
    struct err err = {0};
    free(c->revocations);
    c->revocations = NULL;
    if (!json_array_size(json_object_get(c->swarm, "Revoked")))
        return;
    c->revocations = make_list(c, &err);
    if (!c->revocations) {
        log_error("cluster: make the list of certificates that were taken back: %s", err.msg);
        return;
    }
    write_list(c, c->revocations);
    assign__changed(c, NULL);
}

void revoke__add(struct cluster *c, json_t *answer)
{
    if (c->revocations)
        json_set_str(answer, "revocations", c->revocations);
}

void revoke__follow(struct cluster *c, const json_t *answer)
{
    const char *pem = json_str(answer, "revocations");
    if (*pem && strlen(pem) < LIST_MAX)
        write_list(c, pem);
}
