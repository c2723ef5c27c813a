/* What goes to and comes from elsewhere: webhooks, mirrors of other registries, copies in them. */
#include "api/registry_config_read.h"
#include "base/timeutil.h"
#include "image/image_ref.h"
#include "registry/registry.h"

/* --- webhooks --- */

#define HOOK(kind, name, member) CONFIG_KEY(kind, registry_webhook, name, member)
static const struct config_key hook_keys[] = {HOOK(CONFIG_TEXT, "name", name),
                                              HOOK(CONFIG_TEXT, "url", url),
                                              HOOK(CONFIG_TEXT, "secret", secret),
                                              HOOK(CONFIG_SECRET_FILE, "secret-file", secret),
                                              HOOK(CONFIG_LIST, "match", match),
                                              HOOK(CONFIG_LIST, "events", events),
                                              {0}};

static int check_hook(const void *items, size_t i, const struct yaml_node *at, struct err *err)
{
    const struct registry_webhook *hooks = items, *hook = &hooks[i];
    if (!hook->name || !hook->url)
        return config_bad(at, err, "a webhook needs name and url");
    if ((!str_after(hook->url, "http://") && !str_after(hook->url, "https://")) ||
        strpbrk(hook->url, " \r\n"))
        return config_bad(yaml_get(at, "url"), err, "url must be http://... or https://...");
    STRV_FOREACH (event, hook->events)
        if (!str_eq(*event, "push") && !str_eq(*event, "delete"))
            return config_bad(yaml_get(at, "events"), err, "\"%.100s\" is no event: push, delete", *event);
    for (const struct registry_webhook *other = hooks; other < hook; other++)
        if (str_eq(other->name, hook->name))
            return config_bad(at, err, "the webhook %.100s is there twice", hook->name);
    return 0;
}

static int read_webhooks(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_items hook = {.what = "webhooks",
                                             .one = "a webhook",
                                             .most = REGISTRY_MAX_WEBHOOKS,
                                             .size = sizeof(struct registry_webhook),
                                             .keys = hook_keys,
                                             .check = check_hook};
    void *items = NULL;
    int code = config_read_items(r, &hook, &items, &r->policy->webhook_count, at, err);
    r->policy->webhooks = items;
    return code;
}

/* --- mirrors --- */

static int read_ttl(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return config_read_duration(at, "ttl", 0, INT64_C(366) * 24 * 3600 * NS_PER_S,
                                &((struct registry_mirror *)into)->ttl_ns, err);
}

#define MIRROR(kind, name, member) CONFIG_KEY(kind, registry_mirror, name, member)
static const struct config_key mirror_keys[] = {MIRROR(CONFIG_TEXT, "prefix", prefix),
                                                MIRROR(CONFIG_TEXT, "upstream", upstream),
                                                MIRROR(CONFIG_TEXT, "username", username),
                                                MIRROR(CONFIG_TEXT, "password", password),
                                                MIRROR(CONFIG_SECRET_FILE, "password-file", password),
                                                CONFIG_OWN_KEY("ttl", read_ttl),
                                                MIRROR(CONFIG_SIZE, "size", bytes),
                                                {0}};

static const struct registry_mirror mirror_default = {.ttl_ns = 600 * NS_PER_S};

/* HOST[:PORT] */
static bool registry_address_valid(const char *address)
{
    _cleanup_free_ char *name = str_printf("%s/x", address);
    _cleanup_ref_ struct image_ref ref = {0};
    return image_ref_parse(name, &ref, NULL) == 0 && str_eq(ref.domain, address);
}

static int check_mirror(const void *items, size_t i, const struct yaml_node *at, struct err *err)
{
    const struct registry_mirror *m = (const struct registry_mirror *)items + i;
    if (!m->prefix || !m->upstream)
        return config_bad(at, err, "a mirror needs prefix and upstream");
    if (!registry_name_valid(m->prefix))
        return config_bad(yaml_get(at, "prefix"), err,
                          "prefix must be the beginning of a repository's name: hub");
    if (!registry_address_valid(m->upstream))
        return config_bad(yaml_get(at, "upstream"), err,
                          "upstream must be a registry's HOST[:PORT]: docker.io");
    return !m->username != !m->password ? config_bad(at, err, "username and password go together") : 0;
}

static int read_mirrors(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_items mirror = {.what = "mirrors",
                                               .one = "a mirror",
                                               .most = CONFIG_RULES_MAX,
                                               .size = sizeof(struct registry_mirror),
                                               .keys = mirror_keys,
                                               .check = check_mirror,
                                               .initial = &mirror_default};
    void *items = NULL;
    int code = config_read_items(r, &mirror, &items, &r->policy->mirror_count, at, err);
    r->policy->mirrors = items;
    return code;
}

/* --- replication --- */

static int read_replication_delete(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    bool yes = at->type == YAML_SCALAR && str_eq(at->text, "true");
    if (!yes && (at->type != YAML_SCALAR || !str_eq(at->text, "false")))
        return config_bad(at, err, "delete must be true or false");
    ((struct registry_replication *)into)->delete = yes;
    return 0;
}

#define COPY(kind, name, member) CONFIG_KEY(kind, registry_replication, name, member)
static const struct config_key copy_keys[] = {COPY(CONFIG_TEXT, "name", name),
                                              COPY(CONFIG_TEXT, "target", target),
                                              COPY(CONFIG_TEXT, "prefix", prefix),
                                              COPY(CONFIG_TEXT, "username", username),
                                              COPY(CONFIG_TEXT, "password", password),
                                              COPY(CONFIG_SECRET_FILE, "password-file", password),
                                              COPY(CONFIG_LIST, "match", match),
                                              COPY(CONFIG_LIST, "tags", tags),
                                              CONFIG_OWN_KEY("delete", read_replication_delete),
                                              {0}};

static int check_replication(const void *items, size_t i, const struct yaml_node *at, struct err *err)
{
    const struct registry_replication *rules = items, *rule = &rules[i];
    if (!rule->name || !rule->target)
        return config_bad(at, err, "a replication needs name and target");
    if (!registry_address_valid(rule->target))
        return config_bad(yaml_get(at, "target"), err,
                          "target must be a registry's HOST[:PORT]: registry.example:5000");
    if (rule->prefix && !registry_name_valid(rule->prefix))
        return config_bad(yaml_get(at, "prefix"), err,
                          "prefix must be the beginning of a repository's name: east");
    if (!rule->username != !rule->password)
        return config_bad(at, err, "username and password go together");
    for (const struct registry_replication *other = rules; other < rule; other++)
        if (str_eq(other->name, rule->name))
            return config_bad(at, err, "the replication %.100s is there twice", rule->name);
    return 0;
}

static int read_replications(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_items copy = {.what = "replicate",
                                             .one = "a replication",
                                             .most = REGISTRY_MAX_REPLICATIONS,
                                             .size = sizeof(struct registry_replication),
                                             .keys = copy_keys,
                                             .check = check_replication};
    return config_read_items(r, &copy, (void **)&r->policy->replications, &r->policy->replication_count, at,
                             err);
}

const struct config_key config_ship_keys[] = {CONFIG_OWN_KEY("webhooks", read_webhooks),
                                              CONFIG_OWN_KEY("mirrors", read_mirrors),
                                              CONFIG_OWN_KEY("replicate", read_replications),
                                              {0}};
