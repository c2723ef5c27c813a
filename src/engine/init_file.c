/* docker-init, which is part of this binary, as a file that containers can have mounted: <root>/docker-init.
 */
#include "engine/engine_priv.h"

#include "base/file.h"

/* See init/init.S. */
extern const char engine_init_begin[], engine_init_end[];

char *init_file__path(struct engine *e)
{
    return str_printf("%s/docker-init", e->root);
}

int init_file__write(struct engine *e, struct err *err)
{
    _cleanup_free_ char *path = init_file__path(e);
    _cleanup_str_ struct str now = STR_INIT;
    size_t n = (size_t)(engine_init_end - engine_init_begin);
    if (file_read(path, n + 1, &now, NULL) == 0 && now.len == n &&
        memcmp(now.data, engine_init_begin, n) == 0)
        return 0;
    /* Another file: containers that run have the one of before mounted. */
    return file_replace(path, engine_init_begin, n, 0755, false, err);
}
