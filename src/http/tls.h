/* TLS for the server's connections, by GnuTLS: versions 1.2 and 1.3, the library's own choice of ciphers.
 *
 * A server is given one `struct http_tls` for all its connections (http_server_config.tls), which must
 * outlive it. */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include "base/err.h"

struct http_tls;

/* PEM files: the certificate with those that lead to its issuer, and its key. */
int http_tls_new(const char *certificate_file, const char *key_file, struct http_tls **ret, struct err *err);
/* TLS 1.3 only, and clients are asked for a certificate of `authority_file`. One without, or with another's,
 * is let in all the same: http_peer_certificate() (server.h) says who it is, and the handlers decide.
 * `revoked_file`: the authority's list of certificates that it has taken back; while it is not there, none.
 */
int http_tls_new_mutual(const char *certificate_file, const char *key_file, const char *authority_file,
                        const char *revoked_file, struct http_tls **ret, struct err *err);
/* Reads the files again. Connections that are open show the certificate that they have shown, but their peers
 * are held against what was read last. */
int http_tls_reload(struct http_tls *t, struct err *err);
void http_tls_free(struct http_tls *t);

#endif
