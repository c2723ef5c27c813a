#include "registry/policy.h"

#include "registry/registry_priv.h"

void registry_policy_free_list(void *list)
{
    strv_free(list);
}

struct registry_policy *registry_policy_new(void)
{
    struct registry_policy *p = NEW(struct registry_policy);
    p->references = 1;
    p->users = MAP_INIT(free);
    p->groups = MAP_INIT(registry_policy_free_list);
    p->token_ns = 300 * NS_PER_S;
    return p;
}

struct registry_policy *registry_policy_ref(struct registry_policy *p)
{
    if (p)
        p->references++;
    return p;
}

void registry_policy_unref(struct registry_policy *p)
{
    if (!p || --p->references > 0)
        return;
    map_done(&p->users);
    map_done(&p->groups);
    strv_free(p->admins);
    for (size_t i = 0; i < p->rule_count; i++) {
        struct registry_rule *rule = &p->rules[i];
        strv_free(rule->match);
        strv_free(rule->pull);
        strv_free(rule->push);
        strv_free(rule->delete);
        strv_free(rule->admin);
        strv_free(rule->immutable);
        strv_free(rule->keep);
    }
    for (size_t i = 0; i < p->quota_count; i++)
        strv_free(p->quotas[i].match);
    free(p->quotas);
    for (size_t i = 0; i < p->mirror_count; i++) {
        free(p->mirrors[i].prefix);
        free(p->mirrors[i].upstream);
        free(p->mirrors[i].username);
        free(p->mirrors[i].password);
    }
    free(p->mirrors);
    for (size_t i = 0; i < p->webhook_count; i++) {
        free(p->webhooks[i].name);
        free(p->webhooks[i].url);
        free(p->webhooks[i].secret);
        strv_free(p->webhooks[i].match);
        strv_free(p->webhooks[i].events);
    }
    free(p->webhooks);
    for (size_t i = 0; i < p->replication_count; i++) {
        struct registry_replication *rule = &p->replications[i];
        free(rule->name);
        free(rule->target);
        free(rule->prefix);
        free(rule->username);
        free(rule->password);
        strv_free(rule->match);
        strv_free(rule->tags);
    }
    free(p->replications);
    free(p->rules);
    free(p->realm);
    free(p->service);
    free(p);
}

struct registry_policy *registry_policy_get(struct registry *r)
{
    pthread_mutex_lock(&r->lock);
    struct registry_policy *p = registry_policy_ref(r->policy);
    pthread_mutex_unlock(&r->lock);
    return p;
}

void registry_policy_set(struct registry *r, struct registry_policy *p)
{
    pthread_mutex_lock(&r->lock);
    struct registry_policy *old = r->policy;
    r->policy = p;
    pthread_mutex_unlock(&r->lock);
    registry_policy_unref(old);
}

const struct registry_rule *registry_policy_rule(const struct registry_policy *p, const char *repository)
{
    for (size_t i = 0; i < p->rule_count; i++)
        if (name_patterns_match(p->rules[i].match, repository))
            return &p->rules[i];
    return NULL;
}

static bool list_has(const struct registry_policy *p, char *const *list, const char *user)
{
    for (char *const *one = list; one && *one; one++) {
        const char *group = str_after(*one, "@");
        if (str_eq(*one, "anonymous") || (user && (str_eq(*one, "authenticated") || str_eq(*one, user) ||
                                                   (group && strv_has(map_get(&p->groups, group), user)))))
            return true;
    }
    return false;
}

bool registry_policy_is_admin(const struct registry_policy *p, const char *user)
{
    return user && list_has(p, p->admins, user);
}

unsigned registry_policy_rights(const struct registry_policy *p, const char *user, const char *repository)
{
    if (registry_policy_is_admin(p, user) || (user && p->rule_count == 0))
        return REGISTRY_ALL;
    const struct registry_rule *rule = registry_policy_rule(p, repository);
    unsigned rights = 0;
    if (!rule)
        return 0;
    if (list_has(p, rule->pull, user))
        rights |= REGISTRY_PULL;
    if (list_has(p, rule->push, user))
        rights |= registry_right_parse("push");
    if (list_has(p, rule->delete, user))
        rights |= registry_right_parse("delete");
    if (list_has(p, rule->admin, user))
        rights |= REGISTRY_ALL;
    return rights;
}

static const struct {
    const char *name;
    unsigned right, with;
} rights[] = {
    {"pull", REGISTRY_PULL, REGISTRY_PULL},
    {"push", REGISTRY_PUSH, REGISTRY_PUSH | REGISTRY_PULL},
    {"delete", REGISTRY_DELETE, REGISTRY_DELETE | REGISTRY_PULL},
    {"admin", REGISTRY_ADMIN, REGISTRY_ALL},
    {"*", 0, REGISTRY_ALL},
};

const char *registry_right_name(enum registry_right right)
{
    for (size_t i = 0; i < ARRAY_SIZE(rights); i++)
        if (rights[i].right == (unsigned)right)
            return rights[i].name;
    return "";
}

unsigned registry_right_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(rights); i++)
        if (str_eq(rights[i].name, name))
            return rights[i].with;
    return 0;
}
