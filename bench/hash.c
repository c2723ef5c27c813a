/* How fast content is hashed: MB of sha256 per second of CPU time through base/digest.h, which every blob and
 * layer passes, in the pieces that the unpacker reads. bench/unpack runs this beside openssl speed. */
#include "base/digest.h"
#include "base/mem.h"
#include "base/timeutil.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

enum { PIECE = 256 * 1024, SECONDS = 2 };

/* As openssl speed counts: what else the machine does is not in it. */
static int64_t own_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int main(void)
{
    _cleanup_free_ char *piece = mem_new(PIECE);
    memset(piece, 'x', PIECE);
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new("sha256");
    char digest[DIGEST_BYTES];
    int64_t began = own_ns(), took = 0, bytes = 0;
    while ((took = own_ns() - began) < SECONDS * NS_PER_S) {
        digest_hasher_add(h, piece, PIECE);
        bytes += PIECE;
    }
    digest_hasher_format(h, digest);
    printf("%.1f %s\n", (double)bytes * 1000 / (double)took, digest);
    return 0;
}
