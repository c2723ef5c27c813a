/* Which images must be signed by whom before this node takes them from a registry: a policy, as a file says
 * it (docs/registry.md), whole and never changed once it is in place. Who holds a reference has it unchanged
 * while another takes its place.
 *
 * Rules are asked in their order, the first that fits the image's name (normalised, without tag and digest:
 * docker.io/library/web) decides alone; what no rule fits is refused. */
#ifndef IMAGE_SIGNATURE_POLICY_H
#define IMAGE_SIGNATURE_POLICY_H

#include "image/signature.h"

#include <jansson.h>
#include <stdint.h>

struct images;

enum signature_action { SIGNATURE_NEEDED, SIGNATURE_ACCEPT, SIGNATURE_REJECT };

enum { SIGNATURE_RULES_MAX = 1000, SIGNATURE_KEYS_MAX = 32 };

struct signature_rule {
    char *where;   /* "policy.yaml:3:5", for messages */
    char **images; /* patterns of names */
    enum signature_action action;
    char **key_names;            /* the files' names, one a key */
    struct signature_key **keys; /* all different */
    size_t key_count;
    int64_t threshold; /* so many of them must have signed; from 1 to key_count */
    char **identities; /* see signature_claim_check(); or NULL */
};

struct signature_policy {
    _Atomic int references;
    char *path; /* for messages */
    struct signature_rule *rules;
    size_t rule_count;
};

struct signature_policy *signature_policy_new(const char *path); /* one reference */
struct signature_policy *signature_policy_ref(struct signature_policy *p);
void signature_policy_unref(struct signature_policy *p);
static inline void signature_policy_unref_p(struct signature_policy **p)
{
    signature_policy_unref(*p);
}
/* The rule that decides of an image; NULL: none. */
const struct signature_rule *signature_policy_rule(const struct signature_policy *p, const char *repository);

/* Who knows the policy in force: asked at each pull, by any thread, gives a reference. */
struct image_signatures {
    void *context;
    struct signature_policy *(*policy)(void *context);
};
/* Whether what a name leads to in its registry is signed as `rule` wants (NULL: as the policy in force does),
 * as a pull would find it; nothing is fetched. {"Digest", "Rule", "SignedBy": [keys], "Needed"}; ERR_DENIED
 * names the rule and what is missing. */
struct image_auth;
int image_verify(struct images *im, const char *reference, const struct image_auth *auth,
                 const struct signature_rule *rule, json_t **ret, struct err *err);

/* Borrowed until it is set to NULL (every image is accepted); not while pulls go on. */
void images_set_signatures(struct images *im, const struct image_signatures *signatures);

#endif
