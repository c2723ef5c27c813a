#include "store/cowsql_api.h"

#ifdef HAVE_COWSQL
#include "base/mem.h"
#include "store/cowsql_names.h"

#include <dlfcn.h>

enum { OLDEST = 11500 };

int cowsql_api_load(struct cowsql_api *ret, struct err *err)
{
    void *library = dlopen(SONAME_COWSQL, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(err, ERR_UNSUPPORTED,
                       "a replicated store needs the library cowsql (the package libcowsql0): %s", dlerror());
    void *found;
#define COWSQL_LOAD(name)                                                                                    \
    found = dlsym(library, #name);                                                                           \
    if (!found)                                                                                              \
        return err_set(err, ERR_UNSUPPORTED, SONAME_COWSQL " has no %s: cowsql 1.15 is needed", #name);      \
    ret->name = (__typeof__(ret->name))found;
    COWSQL_FUNCTIONS(COWSQL_LOAD)
#undef COWSQL_LOAD
    int version = ret->cowsql_version_number();
    if (version < OLDEST)
        return err_set(err, ERR_UNSUPPORTED, "cowsql %d.%d is too old: 1.15 is needed", version / 10000,
                       version / 100 % 100);
    return 0;
}
#else
int cowsql_api_load(struct cowsql_api *ret, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED,
                   "this drover was built without cowsql: it can use a store, but be no member");
}
#endif
