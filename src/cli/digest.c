#include "cli/digest.h"

#include "base/json.h"
#include "cli/call.h"
#include "cli/pull.h"

int digest_resolve(const char *image, char **ret, struct err *err)
{
    if (strchr(image, '@')) {
        *ret = mem_strdup(image);
        return 0;
    }
    _cleanup_free_ char *escaped = cli_escape(image), *auth = pull_auth_header(image),
                        *path = str_printf("/distribution/%s/json", escaped);
    char *const headers[] = {auth, NULL};
    struct http_call call = {.method = "GET", .headers = headers};
    struct http_response response;
    _cleanup_json_ json_t *answer = NULL;
    int r = cli_exchange(&call, path, &response, err);
    if (r < 0)
        return err_wrap(err, "image %s", image);
    r = json_parse(str_get(&response.body), response.body.len, "the registry's answer", &answer, err);
    http_response_done(&response);
    const char *digest = json_str(json_object_get(answer, "Descriptor"), "digest");
    if (r == 0 && !*digest)
        r = err_set(err, ERR_CORRUPT, "image %s: the registry's answer has no digest", image);
    if (r == 0)
        *ret = str_printf("%s@%s", image, digest);
    return r;
}
