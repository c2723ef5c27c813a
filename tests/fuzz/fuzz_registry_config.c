/* The file of --registry-config: a policy, or lines of what is wrong. */
#include "api/registry_config.h"
#include "base/mem.h"
#include "registry/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct registry_policy *policy = NULL;
    _cleanup_strv_ char **files = NULL;
    struct err err = {0};
    if (registry_config_parse("/nowhere/registry.yaml", (const char *)data, size, &policy, &files, &err) < 0)
        must(err.code && *err.msg);
    else
        registry_policy_rule(policy, "team/web");
    registry_policy_unref(policy);
    return 0;
}
