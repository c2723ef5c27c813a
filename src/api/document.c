/* What of Docker's API is there, from the tables that the code runs by (routes.c, engine/schema.c). */
#include "api/api_priv.h"

#include <string.h>

/* Endpoints that answer as an engine outside of a swarm and without managed plug-ins does. */
static bool is_outside(const struct http_route *r)
{
    static int (*const handlers[])(struct http_request *, void *, struct err *) = {
        api_swarm_no_manager, api_swarm_join,     api_swarm_leave, api_swarm_logs,
        api_plugin_install,   api_plugin_missing, api_buildkit};
    for (size_t i = 0; i < ARRAY_SIZE(handlers); i++)
        if (r->attempt == handlers[i])
            return true;
    return false;
}

static void add_parameters(struct str *out, const char *query)
{
    _cleanup_strv_ char **names = query ? strv_split(query, ' ') : NULL;
    const char *between = "";
    STRV_FOREACH (name, names) {
        const char *mark = strchr("!~", **name) ? " (refused)" : **name == '-' ? " (passed over)" : "";
        str_addf(out, "%s`%s`%s", between, *name + (*mark != '\0'), mark);
        between = ", ";
    }
}

void api_document(struct str *out)
{
    str_add(out, "\n### Endpoints\n\n| | | query parameters |\n|---|---|---|\n");
    for (const struct http_route *r = api_routes(); r->method; r++) {
        if (strncmp(r->pattern, "/drover/", 8) == 0)
            continue;
        str_addf(out, "| `%s %s` | %s | ", r->method, r->pattern, is_outside(r) ? "refused" : "done");
        add_parameters(out, r->query);
        str_add(out, " |\n");
    }
    str_add(out, "| `/containers/{id}/checkpoints` | refused | |\n");
    engine_schema_document(out);
}
