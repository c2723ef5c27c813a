/* What pki.c and pki_root.c share. */
#ifndef CLUSTER_PKI_PRIV_H
#define CLUSTER_PKI_PRIV_H

#include "cluster/pki.h"

#include <gnutls/x509.h>

/* A certificate's first fields: version 3, and a random serial that is positive (RFC 5280, 4.1.2.2). Returns
 * what GnuTLS does. */
int pki__number(gnutls_x509_crt_t crt);

#endif
