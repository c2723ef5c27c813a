/* The certificates of a cluster's nodes, which its authority (keys.c) signs.
 *
 * A certificate says in its subject which node it is (CN), what it may do (OU: STORE_TLS_ROLE or "worker")
 * and of which swarm it is (O). It is for its node's id as a DNS name, and a manager's also for PKI_MANAGER:
 * who calls a manager asks for that name wherever the connection goes, so that a worker, whose certificate
 * has the same issuer, cannot pass for one. A manager's is for its address, too, which is what other programs
 * ask for. Keys are ECDSA on P-256 and never leave the node that made them.
 * Texts are PEM; the caller frees them. Any thread. */
#ifndef CLUSTER_PKI_H
#define CLUSTER_PKI_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define PKI_MANAGER     "swarm-manager"
#define PKI_WORKER_UNIT "worker"
#define PKI_CLIENT_UNIT "client" /* no node: who uses the whole cluster as one engine */

enum { PKI_SERIAL_BYTES = 41, /* hex */ PKI_NAME_BYTES = 64, PKI_REQUEST_MAX = 16 << 10 };

struct pki_subject {
    char node[PKI_NAME_BYTES], swarm[PKI_NAME_BYTES];
    bool manager, client;
    const char *address;           /* of one to be issued: the IP address it is also for; NULL: none */
    int64_t begins_ns, ends_ns;    /* wall clock; of a certificate that was read */
    char serial[PKI_SERIAL_BYTES]; /* the same */
};
struct pki_revoked {
    char serial[PKI_SERIAL_BYTES];
    int64_t at_ns;
};

/* A key, and a request for a certificate of it. */
int pki_request(char **ret_csr, char **ret_key, struct err *err);
/* Of `csr` only the public key is used, once it is shown that who asks has the private one. ERR_INVALID: not
 * such a request, or a key of another kind. */
int pki_issue(const char *authority, const char *authority_key, const char *csr,
              const struct pki_subject *subject, int64_t life_ns, char **ret_certificate, struct err *err);
int pki_read(const char *certificate, struct pki_subject *ret, struct err *err);
/* The authority's list of certificates that it has taken back (RFC 5280, 5): good until the next. `number`:
 * larger than that of the one before. */
int pki_revocations(const char *authority, const char *authority_key, int64_t number,
                    const struct pki_revoked *list, size_t count, char **ret_pem, struct err *err);

/* --- pki_root.c: authorities' own certificates --- */

/* The first of several PEM texts. The caller frees. */
char *pki_first(const char *pems);
bool pki_is_issued_by(const char *certificate, const char *issuer);
/* Which of them has issued it; NULL: none. The caller frees. */
char *pki_issuer_in(const char *certificate, const char *roots);
/* The root as another authority has signed it. */
int pki_cross(const char *authority, const char *authority_key, const char *root, char **ret,
              struct err *err);
/* One that somebody gives to take the place of `present`: *ret is its text as this library writes it.
 * ERR_INVALID: it is no root, not of that key, ended, or cannot be told from the present one. */
int pki_check_root(const char *certificate, const char *key, const char *present, char **ret,
                   struct err *err);

#endif
