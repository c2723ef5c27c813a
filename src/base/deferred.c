#include "base/deferred.h"

#include "base/deferred_names.h"
#include "base/mem.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static const char *const sonames[DEFERRED_COUNT] = {
    [DEFERRED_ARCHIVE] = SONAME_ARCHIVE,   [DEFERRED_CRYPT] = SONAME_CRYPT,   [DEFERRED_CURL] = SONAME_CURL,
    [DEFERRED_FYAML] = SONAME_FYAML,       [DEFERRED_GNUTLS] = SONAME_GNUTLS, [DEFERRED_MNL] = SONAME_MNL,
    [DEFERRED_NFTABLES] = SONAME_NFTABLES, [DEFERRED_SQLITE] = SONAME_SQLITE,
};
static _Atomic bool loaded[DEFERRED_COUNT];

void deferred_need(enum deferred library)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    if (loaded[library])
        return;
    pthread_mutex_lock(&lock);
    if (!loaded[library] && !dlopen(sonames[library], RTLD_LAZY | RTLD_GLOBAL)) {
        fprintf(stderr, "drover: a library is missing on this machine: %s\n", dlerror());
        _exit(127);
    }
    loaded[library] = true;
    pthread_mutex_unlock(&lock);
}

void deferred_need_all(void)
{
    for (int i = 0; i < DEFERRED_COUNT; i++)
        deferred_need((enum deferred)i);
}
