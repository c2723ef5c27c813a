#include "api/api_priv.h"

#include "bakery/bakery.h"

int api__apply_changes(struct http_request *q, json_t **config, struct err *err)
{
    _cleanup_strv_ char **changes = http_query_all(q, "changes");
    STRV_FOREACH (c, changes) {
        /* Clients send several as parameters of their own, or as lines of one. */
        _cleanup_strv_ char **lines = strv_split(*c, '\n');
        STRV_FOREACH (line, lines) {
            _cleanup_free_ char *text = str_strip(*line);
            if (!*text)
                continue;
            if (!*config)
                *config = json_object();
            int r = bakery_config_change(*config, text, err);
            if (r < 0)
                return r;
        }
    }
    return 0;
}
