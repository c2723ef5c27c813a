#include "image/signature_policy.h"

#include "base/name_pattern.h"
#include "image/image_priv.h"

struct signature_policy *signature_policy_new(const char *path)
{
    struct signature_policy *p = NEW(struct signature_policy);
    p->references = 1;
    p->path = mem_strdup(path);
    return p;
}

struct signature_policy *signature_policy_ref(struct signature_policy *p)
{
    if (p)
        p->references++;
    return p;
}

static void rule_done(struct signature_rule *rule)
{
    for (size_t i = 0; i < rule->key_count; i++)
        signature_key_free(rule->keys[i]);
    free(rule->keys);
    free(rule->where);
    strv_free(rule->images);
    strv_free(rule->key_names);
    strv_free(rule->identities);
}

void signature_policy_unref(struct signature_policy *p)
{
    if (!p || --p->references > 0)
        return;
    for (size_t i = 0; i < p->rule_count; i++)
        rule_done(&p->rules[i]);
    free(p->rules);
    free(p->path);
    free(p);
}

const struct signature_rule *signature_policy_rule(const struct signature_policy *p, const char *repository)
{
    for (size_t i = 0; i < p->rule_count; i++)
        if (name_patterns_match(p->rules[i].images, repository))
            return &p->rules[i];
    return NULL;
}

void images_set_signatures(struct images *im, const struct image_signatures *signatures)
{
    im->signatures = signatures;
}
