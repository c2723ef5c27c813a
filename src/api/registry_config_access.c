/* Users, groups, tokens; rules for repositories: who may what, what stays, how much there may be. */
#include "api/registry_config_read.h"
#include "base/timeutil.h"
#include "registry/registry.h"

/* --- users and groups --- */

static bool user_name_valid(const char *name)
{
    return *name && strlen(name) <= 255 && !strpbrk(name, ":@ \t\r\n") && !str_eq(name, "anonymous") &&
           !str_eq(name, "authenticated") && !str_after(name, ROBOT_PREFIX);
}

static int read_users(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    if (at->type != YAML_MAP)
        return config_bad(at, err, "users must be a mapping of names to hashes (htpasswd -nB NAME)");
    for (size_t i = 0; i < at->count; i++) {
        const struct yaml_pair *pair = &at->pairs[i];
        if (!user_name_valid(pair->key))
            return config_bad(pair->value, err, "\"%.100s\" cannot be a user's name", pair->key);
        if (pair->value->type != YAML_SCALAR || pair->value->text[0] != '$')
            return config_bad(pair->value, err,
                              "the password of %.100s must be a hash as htpasswd -nB makes it, $2y$...",
                              pair->key);
        map_put(&r->policy->users, pair->key, mem_strdup(pair->value->text));
    }
    return 0;
}

void config_read_htpasswd(struct registry_policy *p, const char *text)
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

static int read_htpasswd(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int code = config_read_file(r, "htpasswd", &text, at, err);
    if (code == 0)
        config_read_htpasswd(r->policy, str_get(&text));
    return code;
}

static int read_groups(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    if (at->type != YAML_MAP)
        return config_bad(at, err, "groups must be a mapping of names to lists of users");
    for (size_t i = 0; i < at->count; i++) {
        char **members = NULL;
        int code = config_read_list(at->pairs[i].value, "a group", &members, err);
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
    return config_read_list(at, "admins", &r->policy->admins, err);
}

/* --- token --- */

static int read_realm(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    int code = config_read_text(at, "realm", &r->policy->realm, err);
    const char *realm = r->policy->realm;
    if (code == 0 &&
        ((!str_after(realm, "http://") && !str_after(realm, "https://")) || strpbrk(realm, "\" \\\r\n")))
        return config_bad(at, err, "realm must be a URL: https://registry.example/token");
    return code;
}

static int read_service(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    int code = config_read_text(at, "service", &r->policy->service, err);
    return code == 0 && strpbrk(r->policy->service, "\" \\\r\n")
               ? config_bad(at, err, "service must be one word")
               : code;
}

static int read_lifetime(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return config_read_duration(at, "lifetime", 60 * NS_PER_S, 24 * 3600 * NS_PER_S, &r->policy->token_ns,
                                err);
}

static int read_token(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_key keys[] = {CONFIG_OWN_KEY("realm", read_realm),
                                             CONFIG_OWN_KEY("service", read_service),
                                             CONFIG_OWN_KEY("lifetime", read_lifetime),
                                             {0}};
    return config_read_map(r, into, at, "token", keys, err);
}

static int read_authentication(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    bool basic = at->type == YAML_SCALAR && str_eq(at->text, "basic");
    if (!basic && (at->type != YAML_SCALAR || !str_eq(at->text, "token")))
        return config_bad(at, err, "authentication must be token or basic");
    r->policy->basic = basic;
    return 0;
}

/* --- rules --- */

static int read_count(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    int64_t *count = &((struct registry_rule *)into)->keep_count;
    return at->type == YAML_SCALAR && parse_i64(at->text, 1, 1000000, count, NULL) == 0
               ? 0
               : config_bad(at, err, "count must be a number from 1 to 1000000");
}

static int read_age(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    return config_read_duration(at, "age", 60 * NS_PER_S, INT64_C(100) * 366 * 24 * 3600 * NS_PER_S,
                                &((struct registry_rule *)into)->keep_ns, err);
}

static int read_retention(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_key keys[] = {CONFIG_OWN_KEY("count", read_count),
                                             CONFIG_OWN_KEY("age", read_age),
                                             CONFIG_KEY(CONFIG_LIST, registry_rule, "keep", keep),
                                             {0}};
    struct registry_rule *rule = into;
    int code = config_read_map(r, into, at, "retention", keys, err);
    return code == 0 && rule->keep_count == 0 && rule->keep_ns == 0
               ? config_bad(
                     at, err,
                     "retention needs count (the newest tags that stay) or age (the youngest), or both")
               : code;
}

#define RULE_LIST(name) CONFIG_KEY(CONFIG_LIST, registry_rule, #name, name)
static const struct config_key rule_keys[] = {RULE_LIST(match),
                                              RULE_LIST(pull),
                                              RULE_LIST(push),
                                              RULE_LIST(delete),
                                              RULE_LIST(admin),
                                              RULE_LIST(immutable),
                                              CONFIG_OWN_KEY("retention", read_retention),
                                              CONFIG_KEY(CONFIG_SIZE, registry_rule, "quota", quota),
                                              {0}};

static int check_match(const void *items, size_t i, const struct yaml_node *at, struct err *err)
{
    const struct registry_rule *rules = items;
    return rules[i].match ? 0 : config_bad(at, err, "a rule needs match: the patterns of its repositories");
}

static int read_rules(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_items rules = {.what = "repositories",
                                              .one = "a rule",
                                              .most = CONFIG_RULES_MAX,
                                              .size = sizeof(struct registry_rule),
                                              .keys = rule_keys,
                                              .check = check_match};
    void *items = NULL;
    int code = config_read_items(r, &rules, &items, &r->policy->rule_count, at, err);
    r->policy->rules = items;
    return code;
}

static int check_quota(const void *items, size_t i, const struct yaml_node *at, struct err *err)
{
    const struct registry_quota *quotas = items;
    return quotas[i].match && quotas[i].bytes ? 0 : config_bad(at, err, "a quota needs match and size");
}

static int read_quotas(struct reading *r, void *into, const struct yaml_node *at, struct err *err)
{
    static const struct config_key keys[] = {CONFIG_KEY(CONFIG_LIST, registry_quota, "match", match),
                                             CONFIG_KEY(CONFIG_SIZE, registry_quota, "size", bytes),
                                             {0}};
    static const struct config_items quotas = {.what = "quotas",
                                               .one = "a quota",
                                               .most = CONFIG_RULES_MAX,
                                               .size = sizeof(struct registry_quota),
                                               .keys = keys,
                                               .check = check_quota};
    void *items = NULL;
    int code = config_read_items(r, &quotas, &items, &r->policy->quota_count, at, err);
    r->policy->quotas = items;
    return code;
}

/* Who is named must be there: a slip of the pen must not take a right away, or give it to a later user. */
static int check_subjects(const struct registry_policy *p, char *const *list, const struct yaml_node *at,
                          struct err *err)
{
    for (char *const *one = list; one && *one; one++) {
        const char *group = str_after(*one, "@");
        if (group && !map_has(&p->groups, group))
            return config_bad(at, err, "there is no group \"%.100s\"", group);
        if (!group && !str_eq(*one, "anonymous") && !str_eq(*one, "authenticated") &&
            !map_has(&p->users, *one))
            return config_bad(at, err, "there is no user \"%.100s\" (a group is written @NAME)", *one);
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
            code = config_bad(yaml_get(at, names[i]), err, "anonymous may pull, and nothing else");
        if (code < 0)
            return code;
    }
    return 0;
}

int config_check_access(const struct registry_policy *p, const struct yaml_node *top, struct err *err)
{
    const struct yaml_node *rules = yaml_get(top, "repositories"), *groups = yaml_get(top, "groups");
    int code = p->admins ? check_subjects(p, p->admins, yaml_get(top, "admins"), err) : 0;
    for (size_t i = 0; code == 0 && groups && i < groups->count; i++)
        code = check_subjects(p, map_get(&p->groups, groups->pairs[i].key), groups->pairs[i].value, err);
    for (size_t i = 0; code == 0 && i < p->rule_count; i++)
        code = check_rule(p, &p->rules[i], rules->items[i], err);
    return code;
}

const struct config_key config_access_keys[] = {CONFIG_OWN_KEY("htpasswd", read_htpasswd),
                                                CONFIG_OWN_KEY("users", read_users),
                                                CONFIG_OWN_KEY("groups", read_groups),
                                                CONFIG_OWN_KEY("admins", read_admins),
                                                CONFIG_OWN_KEY("authentication", read_authentication),
                                                CONFIG_OWN_KEY("token", read_token),
                                                CONFIG_OWN_KEY("repositories", read_rules),
                                                CONFIG_OWN_KEY("quotas", read_quotas),
                                                {0}};
