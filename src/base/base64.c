#include "base/base64.h"

#include "base/deferred.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>
#include <string.h>

/* GnuTLS allocates with malloc unless told otherwise, which nobody here does. */

char *base64_encode(const void *bytes, size_t n)
{
    deferred_need(DEFERRED_GNUTLS);
    gnutls_datum_t in = {(void *)(uintptr_t)bytes, (unsigned)n}, out;
    must(gnutls_base64_encode2(&in, &out) >= 0);
    char *text = mem_strndup((char *)out.data, out.size);
    free(out.data);
    return text;
}

int base64_decode(const char *text, struct str *ret, struct err *err)
{
    if (!*text) {
        str_clear(ret);
        return 0;
    }
    deferred_need(DEFERRED_GNUTLS);
    gnutls_datum_t in = {(unsigned char *)(uintptr_t)text, (unsigned)strlen(text)}, out;
    if (gnutls_base64_decode2(&in, &out) < 0)
        return err_set(err, ERR_INVALID, "malformed base64");
    str_clear(ret);
    str_addn(ret, out.data, out.size);
    free(out.data);
    return 0;
}
