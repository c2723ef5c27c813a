/* POST /drover/upgrade?binary=PATH: the keeper becomes that binary, then this process does. */
#include "api/api_priv.h"
#include "api/serve.h"
#include "base/process.h"

#include <unistd.h>

enum { VERSION_MAX = 200 };

/* What is not a Drover must not become one's supervisor. */
static int check_binary(const char *path, struct str *ret_version, struct err *err)
{
    if (str_empty(path) || path[0] != '/')
        return err_set(err, ERR_INVALID, "binary must be the absolute path of a drover binary");
    if (access(path, X_OK) < 0)
        return err_sys(err, errno, "execute %s", path);
    int r = process_run((const char *const[]){path, "--version", NULL}, NULL, ret_version, err);
    if (r < 0)
        return r;
    str_truncate(ret_version, strcspn(str_get(ret_version), "\n"));
    if (!str_after(str_get(ret_version), "drover ") || ret_version->len > VERSION_MAX)
        return err_set(err, ERR_INVALID, "%s is no drover binary", path);
    return 0;
}

int api_upgrade(struct http_request *q, void *context, struct err *err)
{
    struct api *a = context;
    const char *path = http_query(q, "binary");
    _cleanup_str_ struct str version = STR_INIT;
    int r = check_binary(path, &version, err);
    if (r == 0)
        r = engine_upgrade_keeper(a->engine, path, err);
    if (r == 0)
        r = serve_request_upgrade(path, err);
    if (r == 0)
        http_reply_json(q, 200,
                        json_pack("{s:s, s:s}", "From", "drover " DROVER_VERSION, "To", str_get(&version)));
    return r;
}
