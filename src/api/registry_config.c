#include "api/registry_config.h"

#include "base/file.h"
#include "base/file_watch.h"
#include "base/log.h"
#include "base/timeutil.h"
#include "compose/problem.h"
#include "compose/yaml.h"
#include "image/image_ref.h"
#include "registry/policy.h"
#include "registry/registry.h"

#include <libgen.h>
#include <pthread.h>

enum { FILE_MAX_BYTES = 1 << 20, RULES_MAX = 1000, LIST_MAX = 1000 };

/* What is read, while it is. */
struct reading {
    const char *path;
    struct registry_policy *policy;
    char **files;
};

static int bad(const struct yaml_node *at, struct err *err, const char *format, ...) _printf_(3, 4);

static int bad(const struct yaml_node *at, struct err *err, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    err_vset(err, ERR_INVALID, format, ap);
    va_end(ap);
    return err_wrap(err, "%s:%d:%d", at->file, at->line, at->column);
}

/* --- values --- */

static int read_text(const struct yaml_node *at, const char *what, char **ret, struct err *err)
{
    if (at->type != YAML_SCALAR || !*at->text)
        return bad(at, err, "%s must be a text, not %s", what, yaml_type_name(at));
    free(*ret);
    *ret = mem_strdup(at->text);
    return 0;
}

/* A list of texts, or one of them. */
static int read_list(const struct yaml_node *at, const char *what, char ***ret, struct err *err)
{
    char *one = NULL;
    if (at->type == YAML_SCALAR) {
        int r = read_text(at, what, &one, err);
        if (r == 0)
            strv_take(ret, one);
        return r;
    }
    if (at->type != YAML_LIST || at->count > LIST_MAX)
        return bad(at, err, "%s must be a list of texts (%d at most)", what, LIST_MAX);
    for (size_t i = 0; i < at->count; i++) {
        one = NULL;
        int r = read_text(at->items[i], what, &one, err);
        if (r < 0)
            return r;
        strv_take(ret, one);
    }
    return 0;
}

static int read_duration(const struct yaml_node *at, const char *what, int64_t least_ns, int64_t most_ns,
                         int64_t *ret_ns, struct err *err)
{
    int64_t ns;
    char shortest[TIME_RFC3339_BYTES], longest[TIME_RFC3339_BYTES];
    if (at->type != YAML_SCALAR || parse_duration(at->text, &ns, NULL) < 0 || ns < least_ns || ns > most_ns)
        return bad(at, err, "%s must be a duration from %s to %s", what,
                   time_format_duration(least_ns, shortest), time_format_duration(most_ns, longest));
    *ret_ns = ns;
    return 0;
}

/* --- keys --- */

struct key {
    const char *name;
    int (*read)(struct reading *r, void *into, const struct yaml_node *at, struct err *err);
};

static int unknown_key(const struct yaml_pair *pair, const struct key *keys, struct err *err)
{
    const char *names[32] = {0};
    for (size_t i = 0; keys[i].name && i + 1 < ARRAY_SIZE(names); i++)
        names[i] = keys[i].name;
    const char *near = problem_nearest(pair->key, names);
    err_set(err, ERR_INVALID, "\"%.100s\" is not known here%s%s%s", pair->key,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return err_wrap(err, "%s:%d:%d", pair->file, pair->line, pair->column);
}

static int read_map(struct reading *r, void *into, const struct yaml_node *at, const char *what,
                    const struct key *keys, struct err *err)
{
    if (at->type != YAML_MAP)
        return bad(at, err, "%s must be a mapping, not %s", what, yaml_type_name(at));
    for (size_t i = 0; i < at->count; i++) {
        const struct key *k = keys;
        while (k->name && !str_eq(k->name, at->pairs[i].key))
            k++;
        if (!k->name)
            return unknown_key(&at->pairs[i], keys, err);
        int code = k->read(r, into, at->pairs[i].value, err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* --- users and groups --- */

static bool user_name_valid(const char *name)
{
    return *name && strlen(name) <= 255 && !strpbrk(name, ":@ \t\r\n") && !str_eq(name, "anonymous") &&
           !str_eq(name, "authenticated") && !str_after(name, ROBOT_PREFIX);
}

static int read_users(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    if (at->type != YAML_MAP)
        return bad(at, err, "users must be a mapping of names to hashes (htpasswd -nB NAME)");
    for (size_t i = 0; i < at->count; i++) {
        const struct yaml_pair *pair = &at->pairs[i];
        if (!user_name_valid(pair->key))
            return bad(pair->value, err, "\"%.100s\" cannot be a user's name", pair->key);
        if (pair->value->type != YAML_SCALAR || pair->value->text[0] != '$')
            return bad(pair->value, err,
                       "the password of %.100s must be a hash as htpasswd -nB makes it, $2y$...", pair->key);
        map_put(&r->policy->users, pair->key, mem_strdup(pair->value->text));
    }
    return 0;
}

static void read_htpasswd_text(struct registry_policy *p, const char *text)
{
    _cleanup_strv_ char **lines = strv_split(text, '\n');
    STRV_FOREACH (line, lines) {
        _cleanup_free_ char *bare = str_strip(*line);
        char *colon = strchr(bare, ':');
        if (*bare == '#' || !colon || colon == bare)
            continue;
        *colon = '\0';
        map_put(&p->users, bare, mem_strdup(colon + 1));
    }
}

/* A path in the file is relative to the file's directory. */
static char *beside(const struct reading *r, const char *path)
{
    _cleanup_free_ char *copy = mem_strdup(r->path);
    return *path == '/' ? mem_strdup(path) : str_printf("%s/%s", dirname(copy), path);
}

static int read_htpasswd(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    _cleanup_free_ char *name = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int code = read_text(at, "htpasswd", &name, err);
    if (code < 0)
        return code;
    _cleanup_free_ char *path = beside(r, name);
    strv_add(&r->files, path);
    code = file_read(path, FILE_MAX_BYTES, &text, err);
    if (code < 0)
        return err_wrap(err, "%s:%d:%d", at->file, at->line, at->column);
    read_htpasswd_text(r->policy, str_get(&text));
    return 0;
}

static int read_groups(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    if (at->type != YAML_MAP)
        return bad(at, err, "groups must be a mapping of names to lists of users");
    for (size_t i = 0; i < at->count; i++) {
        char **members = NULL;
        int code = read_list(at->pairs[i].value, "a group", &members, err);
        if (code < 0) {
            strv_free(members);
            return code;
        }
        map_put(&r->policy->groups, at->pairs[i].key, members);
    }
    return 0;
}

static int read_admins(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_list(at, "admins", &r->policy->admins, err);
}

/* --- token --- */

static int read_realm(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    int code = read_text(at, "realm", &r->policy->realm, err);
    const char *realm = r->policy->realm;
    if (code == 0 &&
        ((!str_after(realm, "http://") && !str_after(realm, "https://")) || strpbrk(realm, "\" \\\r\n")))
        return bad(at, err, "realm must be a URL: https://registry.example/token");
    return code;
}

static int read_service(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    int code = read_text(at, "service", &r->policy->service, err);
    return code == 0 && strpbrk(r->policy->service, "\" \\\r\n") ? bad(at, err, "service must be one word")
                                                                 : code;
}

static int read_lifetime(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_duration(at, "lifetime", 60 * NS_PER_S, 24 * 3600 * NS_PER_S, &r->policy->token_ns, err);
}

static int read_token(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct key keys[] = {
        {"realm", read_realm}, {"service", read_service}, {"lifetime", read_lifetime}, {0}};
    return read_map(r, into, at, "token", keys, err);
}

static int read_authentication(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    bool basic = at->type == YAML_SCALAR && str_eq(at->text, "basic");
    if (!basic && (at->type != YAML_SCALAR || !str_eq(at->text, "token")))
        return bad(at, err, "authentication must be token or basic");
    r->policy->basic = basic;
    return 0;
}

/* --- rules --- */

static int read_match(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_list(at, "match", &((struct registry_rule *)into)->match, err);
}

#define SUBJECTS(right)                                                                                      \
    static int read_##right(struct reading *r, void *into, const struct yaml_node *at, struct err *err)      \
    {                                                                                                        \
        return read_list(at, #right, &((struct registry_rule *)into)->right, err);                           \
    }
SUBJECTS(pull)
SUBJECTS(push)
SUBJECTS(delete)
SUBJECTS(admin)

SUBJECTS(immutable)
SUBJECTS(keep)

static int read_count(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    int64_t *count = &((struct registry_rule *)into)->keep_count;
    return at->type == YAML_SCALAR && parse_i64(at->text, 1, 1000000, count, NULL) == 0
               ? 0
               : bad(at, err, "count must be a number from 1 to 1000000");
}

static int read_age(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_duration(at, "age", 60 * NS_PER_S, INT64_C(100) * 366 * 24 * 3600 * NS_PER_S,
                         &((struct registry_rule *)into)->keep_ns, err);
}

static int read_retention(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct key keys[] = {{"count", read_count}, {"age", read_age}, {"keep", read_keep}, {0}};
    struct registry_rule *rule = into;
    int code = read_map(r, into, at, "retention", keys, err);
    return code == 0 && rule->keep_count == 0 && rule->keep_ns == 0
               ? bad(at, err,
                     "retention needs count (the newest tags that stay) or age (the youngest), or both")
               : code;
}

static int read_size(const struct yaml_node *at, const char *what, int64_t *ret, struct err *err)
{
    int64_t bytes;
    if (at->type != YAML_SCALAR || parse_bytes(at->text, &bytes, NULL) < 0 || bytes < 1)
        return bad(at, err, "%s must be a size: 500m, 10g", what);
    *ret = bytes;
    return 0;
}

static int read_quota(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_size(at, "quota", &((struct registry_rule *)into)->quota, err);
}

static int read_quota_match(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_list(at, "match", &((struct registry_quota *)into)->match, err);
}

static int read_quota_size(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_size(at, "size", &((struct registry_quota *)into)->bytes, err);
}

static int read_quotas(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct key keys[] = {{"match", read_quota_match}, {"size", read_quota_size}, {0}};
    struct registry_policy *p = r->policy;
    if (at->type != YAML_LIST || at->count > RULES_MAX)
        return bad(at, err, "quotas must be a list (%d at most)", RULES_MAX);
    p->quotas = NEW_N(struct registry_quota, at->count + 1);
    for (size_t i = 0; i < at->count; i++) {
        struct registry_quota *quota = &p->quotas[p->quota_count++];
        int code = read_map(r, quota, at->items[i], "a quota", keys, err);
        if (code == 0 && (!quota->match || !quota->bytes))
            code = bad(at->items[i], err, "a quota needs match and size");
        if (code < 0)
            return code;
    }
    return 0;
}

static const struct key rule_keys[] = {
    {"match", read_match},         {"pull", read_pull},   {"push", read_push},
    {"delete", read_delete},       {"admin", read_admin}, {"immutable", read_immutable},
    {"retention", read_retention}, {"quota", read_quota}, {0}};

static int read_rules(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    struct registry_policy *p = r->policy;
    if (at->type != YAML_LIST || at->count > RULES_MAX)
        return bad(at, err, "repositories must be a list of rules (%d at most)", RULES_MAX);
    p->rules = NEW_N(struct registry_rule, at->count + 1);
    for (size_t i = 0; i < at->count; i++) {
        struct registry_rule *rule = &p->rules[p->rule_count++];
        int code = read_map(r, rule, at->items[i], "a rule", rule_keys, err);
        if (code < 0)
            return code;
        if (!rule->match)
            return bad(at->items[i], err, "a rule needs match: the patterns of its repositories");
    }
    return 0;
}

/* Who is named must be there: a slip of the pen must not take a right away, or give it to a later user. */
static int check_subjects(const struct registry_policy *p, char *const *list, const struct yaml_node *at,
                          struct err *err)
{
    for (char *const *one = list; one && *one; one++) {
        const char *group = str_after(*one, "@");
        if (group && !map_has(&p->groups, group))
            return bad(at, err, "there is no group \"%.100s\"", group);
        if (!group && !str_eq(*one, "anonymous") && !str_eq(*one, "authenticated") &&
            !map_has(&p->users, *one))
            return bad(at, err, "there is no user \"%.100s\" (a group is written @NAME)", *one);
    }
    return 0;
}

static int check_rule(const struct registry_policy *p, const struct registry_rule *rule,
                      const struct yaml_node *at, struct err *err)
{
    char *const *const lists[] = {rule->pull, rule->push, rule->delete, rule->admin};
    static const char *const names[] = {"pull", "push", "delete", "admin"};
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        int code = lists[i] ? check_subjects(p, lists[i], yaml_get(at, names[i]), err) : 0;
        if (code == 0 && i > 0 && strv_has(lists[i], "anonymous"))
            code = bad(yaml_get(at, names[i]), err, "anonymous may pull, and nothing else");
        if (code < 0)
            return code;
    }
    return 0;
}

static int check_all(const struct registry_policy *p, const struct yaml_node *top, struct err *err)
{
    const struct yaml_node *rules = yaml_get(top, "repositories"), *groups = yaml_get(top, "groups");
    int code = p->admins ? check_subjects(p, p->admins, yaml_get(top, "admins"), err) : 0;
    for (size_t i = 0; code == 0 && groups && i < groups->count; i++)
        code = check_subjects(p, map_get(&p->groups, groups->pairs[i].key), groups->pairs[i].value, err);
    for (size_t i = 0; code == 0 && i < p->rule_count; i++)
        code = check_rule(p, &p->rules[i], rules->items[i], err);
    return code;
}

/* --- webhooks --- */

#define WEBHOOK_VALUE(key, reader)                                                                           \
    static int read_hook_##key(struct reading *r, void *into, const struct yaml_node *at, struct err *err)   \
    {                                                                                                        \
        return reader(at, #key, &((struct registry_webhook *)into)->key, err);                               \
    }
WEBHOOK_VALUE(name, read_text)
WEBHOOK_VALUE(url, read_text)
WEBHOOK_VALUE(secret, read_text)
WEBHOOK_VALUE(match, read_list)
WEBHOOK_VALUE(events, read_list)

/* The text of a file that the configuration names: a secret that does not stand in it. */
static int read_from_file(struct reading *r, const char *what, char **into, const struct yaml_node *at,
                          struct err *err)
{
    _cleanup_free_ char *name = NULL;
    _cleanup_str_ struct str text = STR_INIT;
    int code = read_text(at, what, &name, err);
    if (code < 0)
        return code;
    _cleanup_free_ char *path = beside(r, name);
    strv_add(&r->files, path);
    code = file_read(path, FILE_MAX_BYTES, &text, err);
    if (code < 0)
        return err_wrap(err, "%s:%d:%d", at->file, at->line, at->column);
    free(*into);
    *into = str_strip(str_get(&text));
    return 0;
}

static int read_secret_file(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_from_file(r, "secret-file", &((struct registry_webhook *)into)->secret, at, err);
}

static int check_hook(const struct registry_policy *p, const struct registry_webhook *hook,
                      const struct yaml_node *at, struct err *err)
{
    if (!hook->name || !hook->url)
        return bad(at, err, "a webhook needs name and url");
    if ((!str_after(hook->url, "http://") && !str_after(hook->url, "https://")) ||
        strpbrk(hook->url, " \r\n"))
        return bad(yaml_get(at, "url"), err, "url must be http://... or https://...");
    STRV_FOREACH (event, hook->events)
        if (!str_eq(*event, "push") && !str_eq(*event, "delete"))
            return bad(yaml_get(at, "events"), err, "\"%.100s\" is no event: push, delete", *event);
    for (const struct registry_webhook *other = p->webhooks; other < hook; other++)
        if (str_eq(other->name, hook->name))
            return bad(at, err, "the webhook %.100s is there twice", hook->name);
    return 0;
}

static int read_webhooks(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct key keys[] = {{"name", read_hook_name},
                                      {"url", read_hook_url},
                                      {"secret", read_hook_secret},
                                      {"secret-file", read_secret_file},
                                      {"match", read_hook_match},
                                      {"events", read_hook_events},
                                      {0}};
    struct registry_policy *p = r->policy;
    if (at->type != YAML_LIST || at->count > REGISTRY_MAX_WEBHOOKS)
        return bad(at, err, "webhooks must be a list (%d at most)", REGISTRY_MAX_WEBHOOKS);
    p->webhooks = NEW_N(struct registry_webhook, at->count + 1);
    for (size_t i = 0; i < at->count; i++) {
        struct registry_webhook *hook = &p->webhooks[p->webhook_count++];
        int code = read_map(r, hook, at->items[i], "a webhook", keys, err);
        if (code == 0)
            code = check_hook(p, hook, at->items[i], err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* --- mirrors --- */

#define MIRROR_TEXT(key)                                                                                     \
    static int read_mirror_##key(struct reading *r, void *into, const struct yaml_node *at, struct err *err) \
    {                                                                                                        \
        return read_text(at, #key, &((struct registry_mirror *)into)->key, err);                             \
    }
MIRROR_TEXT(prefix)
MIRROR_TEXT(upstream)
MIRROR_TEXT(username)
MIRROR_TEXT(password)

static int read_password_file(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_from_file(r, "password-file", &((struct registry_mirror *)into)->password, at, err);
}

static int read_ttl(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_duration(at, "ttl", 0, INT64_C(366) * 24 * 3600 * NS_PER_S,
                         &((struct registry_mirror *)into)->ttl_ns, err);
}

static int read_mirror_size(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return read_size(at, "size", &((struct registry_mirror *)into)->bytes, err);
}

/* HOST[:PORT] */
static bool registry_address_valid(const char *address)
{
    _cleanup_free_ char *name = str_printf("%s/x", address);
    _cleanup_ref_ struct image_ref ref = {0};
    return image_ref_parse(name, &ref, NULL) == 0 && str_eq(ref.domain, address);
}

static int check_mirror(const struct registry_mirror *m, const struct yaml_node *at, struct err *err)
{
    if (!m->prefix || !m->upstream)
        return bad(at, err, "a mirror needs prefix and upstream");
    if (!registry_name_valid(m->prefix))
        return bad(yaml_get(at, "prefix"), err, "prefix must be the beginning of a repository's name: hub");
    if (!registry_address_valid(m->upstream))
        return bad(yaml_get(at, "upstream"), err, "upstream must be a registry's HOST[:PORT]: docker.io");
    return !m->username != !m->password ? bad(at, err, "username and password go together") : 0;
}

static int read_mirrors(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct key keys[] = {{"prefix", read_mirror_prefix},
                                      {"upstream", read_mirror_upstream},
                                      {"username", read_mirror_username},
                                      {"password", read_mirror_password},
                                      {"password-file", read_password_file},
                                      {"ttl", read_ttl},
                                      {"size", read_mirror_size},
                                      {0}};
    struct registry_policy *p = r->policy;
    if (at->type != YAML_LIST || at->count > RULES_MAX)
        return bad(at, err, "mirrors must be a list (%d at most)", RULES_MAX);
    p->mirrors = NEW_N(struct registry_mirror, at->count + 1);
    for (size_t i = 0; i < at->count; i++) {
        struct registry_mirror *m = &p->mirrors[p->mirror_count++];
        m->ttl_ns = 600 * NS_PER_S;
        int code = read_map(r, m, at->items[i], "a mirror", keys, err);
        if (code == 0)
            code = check_mirror(m, at->items[i], err);
        if (code < 0)
            return code;
    }
    return 0;
}

/* --- replication --- */

#define REPLICATION_VALUE(key, reader)                                                                       \
    static int read_replication_##key(struct reading *r, void *into, const struct yaml_node *at,             \
                                      struct err *err)                                                       \
    {                                                                                                        \
        return reader(at, #key, &((struct registry_replication *)into)->key, err);                           \
    }
REPLICATION_VALUE(name, read_text)
REPLICATION_VALUE(target, read_text)
REPLICATION_VALUE(prefix, read_text)
REPLICATION_VALUE(username, read_text)
REPLICATION_VALUE(password, read_text)
REPLICATION_VALUE(match, read_list)
REPLICATION_VALUE(tags, read_list)

static int read_replication_password_file(struct reading *r, void *into, const struct yaml_node *at,
                                          struct err *err)
{
    return read_from_file(r, "password-file", &((struct registry_replication *)into)->password, at, err);
}

static int read_replication_delete(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    bool yes = at->type == YAML_SCALAR && str_eq(at->text, "true");
    if (!yes && (at->type != YAML_SCALAR || !str_eq(at->text, "false")))
        return bad(at, err, "delete must be true or false");
    ((struct registry_replication *)into)->delete = yes;
    return 0;
}

static int check_replication(const struct registry_policy *p, const struct registry_replication *rule,
                             const struct yaml_node *at, struct err *err)
{
    if (!rule->name || !rule->target)
        return bad(at, err, "a replication needs name and target");
    if (!registry_address_valid(rule->target))
        return bad(yaml_get(at, "target"), err,
                   "target must be a registry's HOST[:PORT]: registry.example:5000");
    if (rule->prefix && !registry_name_valid(rule->prefix))
        return bad(yaml_get(at, "prefix"), err, "prefix must be the beginning of a repository's name: east");
    if (!rule->username != !rule->password)
        return bad(at, err, "username and password go together");
    for (const struct registry_replication *other = p->replications; other < rule; other++)
        if (str_eq(other->name, rule->name))
            return bad(at, err, "the replication %.100s is there twice", rule->name);
    return 0;
}

static int read_replications(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct key keys[] = {
        {"name", read_replication_name},         {"target", read_replication_target},
        {"prefix", read_replication_prefix},     {"username", read_replication_username},
        {"password", read_replication_password}, {"password-file", read_replication_password_file},
        {"match", read_replication_match},       {"tags", read_replication_tags},
        {"delete", read_replication_delete},     {0}};
    struct registry_policy *p = r->policy;
    if (at->type != YAML_LIST || at->count > REGISTRY_MAX_REPLICATIONS)
        return bad(at, err, "replicate must be a list (%d at most)", REGISTRY_MAX_REPLICATIONS);
    p->replications = NEW_N(struct registry_replication, at->count + 1);
    for (size_t i = 0; i < at->count; i++) {
        struct registry_replication *rule = &p->replications[p->replication_count++];
        int code = read_map(r, rule, at->items[i], "a replication", keys, err);
        if (code == 0)
            code = check_replication(p, rule, at->items[i], err);
        if (code < 0)
            return code;
    }
    return 0;
}

static const struct key top_keys[] = {{"htpasswd", read_htpasswd},
                                      {"users", read_users},
                                      {"groups", read_groups},
                                      {"admins", read_admins},
                                      {"authentication", read_authentication},
                                      {"token", read_token},
                                      {"repositories", read_rules},
                                      {"quotas", read_quotas},
                                      {"webhooks", read_webhooks},
                                      {"mirrors", read_mirrors},
                                      {"replicate", read_replications},
                                      {0}};

static int read_document(struct reading *r, struct yaml_arena *arena, const char *text, size_t n,
                         struct err *err)
{
    struct yaml_node **documents;
    size_t count;
    int code = yaml_parse(arena, r->path, text, n, &documents, &count, err);
    if (code < 0)
        return code;
    if (count != 1)
        return err_set(err, ERR_INVALID, "%s: must be one YAML document, and there are %zu", r->path, count);
    code = read_map(r, NULL, documents[0], "the registry's configuration", top_keys, err);
    return code < 0 ? code : check_all(r->policy, documents[0], err);
}

int registry_config_parse(const char *path, const char *text, size_t n, struct registry_policy **ret,
                          char ***ret_files, struct err *err)
{
    struct reading r = {.path = path, .policy = registry_policy_new()};
    struct yaml_arena *arena = yaml_arena_new();
    int code = read_document(&r, arena, text, n, err);
    yaml_arena_free(arena);
    if (code < 0)
        registry_policy_unref(r.policy);
    else
        *ret = r.policy;
    *ret_files = r.files;
    return code;
}

int registry_config_of_users(const char *path, struct registry_policy **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int code = file_read(path, FILE_MAX_BYTES, &text, err);
    if (code < 0)
        return code;
    struct registry_policy *p = registry_policy_new();
    p->basic = true;
    read_htpasswd_text(p, str_get(&text));
    *ret = p;
    return 0;
}

/* --- watching --- */

struct registry_config {
    struct registry *registry;
    char *config, *users;
    pthread_mutex_t lock; /* all below */
    struct file_watch watch;
};

static int read_config(struct registry_config *c, struct registry_policy **ret, char ***files,
                       struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_strv_ char **more = NULL;
    if (!c->config)
        return registry_config_of_users(c->users, ret, err);
    int code = file_read(c->config, FILE_MAX_BYTES, &text, err);
    if (code == 0)
        code = registry_config_parse(c->config, str_get(&text), text.len, ret, &more, err);
    STRV_FOREACH (file, more)
        strv_add(files, *file);
    return code;
}

/* A file of users that is gone, or names none, lets nobody in; a configuration that is wrong changes nothing.
 */
static int load(struct registry_config *c, struct err *err)
{
    struct registry_policy *policy = NULL;
    _cleanup_strv_ char **files = NULL;
    file_watch_done(&c->watch);
    file_watch_add(&c->watch, c->config ? c->config : c->users);
    int code = read_config(c, &policy, &files, err);
    if (code < 0 && !c->config) {
        policy = registry_policy_new();
        policy->basic = true;
    }
    STRV_FOREACH (file, files)
        file_watch_add(&c->watch, *file);
    if (policy)
        registry_policy_set(c->registry, policy);
    return code;
}

int registry_config_reload(struct registry_config *c, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    int code = load(c, err);
    pthread_mutex_unlock(&c->lock);
    return code;
}

void registry_config_refresh(struct registry_config *c)
{
    struct err err = {0};
    pthread_mutex_lock(&c->lock);
    if (file_watch_changed(&c->watch)) {
        if (load(c, &err) < 0)
            log_warning("registry: %s%s", err.msg, c->config ? "; what was there before stays in force" : "");
        else
            log_info("registry: %s was read again", c->config ? c->config : c->users);
    }
    pthread_mutex_unlock(&c->lock);
}

int registry_config_open(struct registry *r, const char *config, const char *users,
                         struct registry_config **ret, struct err *err)
{
    struct registry_config *c = NEW(struct registry_config);
    c->registry = r;
    c->config = mem_strdup(config);
    c->users = mem_strdup(users);
    pthread_mutex_init(&c->lock, NULL);
    int code = load(c, err);
    struct registry_policy *p = code == 0 ? registry_policy_get(r) : NULL;
    if (code == 0 && users && p->users.count == 0)
        code = err_set(err, ERR_INVALID, "%s names no user: make one with htpasswd -B", users);
    registry_policy_unref(p);
    if (code < 0) {
        registry_config_free(c);
        return code;
    }
    *ret = c;
    return 0;
}

void registry_config_free(struct registry_config *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    file_watch_done(&c->watch);
    free(c->config);
    free(c->users);
    free(c);
}
