/* The file of --signature-policy: a policy whose rules are whole, or lines of what is wrong. */
#include "api/signature_file.h"
#include "base/file_watch.h"
#include "base/mem.h"
#include "image/signature_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file_watch watch = {0};
    struct signature_policy *policy = NULL;
    struct err err = {0};
    if (signature_file_parse("/nowhere/policy.yaml", (const char *)data, size, &watch, &policy, &err) < 0) {
        must(err.code && *err.msg);
    } else {
        for (size_t i = 0; i < policy->rule_count; i++) {
            const struct signature_rule *r = &policy->rules[i];
            must(r->where && (r->action != SIGNATURE_NEEDED ||
                              (r->threshold >= 1 && r->threshold <= (int64_t)r->key_count)));
        }
        signature_policy_rule(policy, "docker.io/library/web");
        signature_policy_unref(policy);
    }
    file_watch_done(&watch);
    return 0;
}
