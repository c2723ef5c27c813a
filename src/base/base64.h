/* Base64 (RFC 4648, section 4), by GnuTLS. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include "base/err.h"
#include "base/str.h"

#include <stddef.h>

char *base64_encode(const void *bytes, size_t n); /* one line, padded; the caller frees */
/* Replaces what is in `ret`; empty for an empty text. ERR_INVALID: not base64. */
int base64_decode(const char *text, struct str *ret, struct err *err);

#endif
