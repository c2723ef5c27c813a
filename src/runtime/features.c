/* What this runtime can do, whatever this machine can (features.md, features-linux.md of the runtime-spec).
 */
#include "runtime/runtime.h"

#include "base/json.h"
#include "runtime/caps.h"
#include "runtime/hooks.h"
#include "runtime/memory_policy.h"
#include "runtime/plan.h"

static json_t *hook_names(void)
{
    json_t *list = json_array();
    for (int kind = 0; kind < HOOK_KINDS_; kind++)
        json_array_append_new(list, json_string(hooks_kind_name((enum hook_kind)kind)));
    return list;
}

static json_t *namespace_names(void)
{
    json_t *list = json_array();
    for (size_t i = 0; plan__namespace_type(i); i++)
        json_array_append_new(list, json_string(plan__namespace_type(i)));
    return list;
}

static json_t *capability_names(void)
{
    json_t *list = json_array();
    for (unsigned i = 0; caps_name(i); i++)
        json_array_append_new(list, json_string(caps_name(i)));
    return list;
}

static json_t *strings(const char *const *list)
{
    return json_of_strv((char *const *)list);
}

static json_t *seccomp_features(void)
{
    static const char *const actions[] = {"SCMP_ACT_ALLOW",       "SCMP_ACT_ERRNO",
                                          "SCMP_ACT_KILL",        "SCMP_ACT_KILL_PROCESS",
                                          "SCMP_ACT_KILL_THREAD", "SCMP_ACT_LOG",
                                          "SCMP_ACT_NOTIFY",      "SCMP_ACT_TRACE",
                                          "SCMP_ACT_TRAP",        NULL};
    static const char *const operators[] = {"SCMP_CMP_EQ", "SCMP_CMP_GE",        "SCMP_CMP_GT", "SCMP_CMP_LE",
                                            "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_NE", NULL};
    static const char *const archs[] = {
        "SCMP_ARCH_AARCH64",  "SCMP_ARCH_ARM",         "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",   "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC",      "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_PPC",      "SCMP_ARCH_PPC64",       "SCMP_ARCH_PPC64LE",     "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",     "SCMP_ARCH_S390X",       "SCMP_ARCH_SH",          "SCMP_ARCH_SHEB",
        "SCMP_ARCH_X32",      "SCMP_ARCH_X86",         "SCMP_ARCH_X86_64",      NULL};
    static const char *const flags[] = {"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                                        "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
                                        NULL};
    return json_pack("{s:b,s:o,s:o,s:o,s:o,s:o}", "enabled", 1, "actions", strings(actions), "operators",
                     strings(operators), "archs", strings(archs), "knownFlags", strings(flags),
                     "supportedFlags", strings(flags));
}

json_t *runtime_features(void)
{
    json_t *cgroup =
        json_pack("{s:b,s:b,s:b,s:b,s:b}", "v1", 1, "v2", 1, "systemd", 1, "systemdUser", 1, "rdma", 1);
    json_t *linux_ =
        json_pack("{s:o,s:o,s:o,s:o,s:{s:b},s:{s:b},s:o,s:{s:b,s:b,s:b},s:{s:{s:b}},s:{s:b}}", "namespaces",
                  namespace_names(), "capabilities", capability_names(), "cgroup", cgroup, "seccomp",
                  seccomp_features(), "apparmor", "enabled", 1, "selinux", "enabled", 1, "memoryPolicy",
                  memory_policy_features(), "intelRdt", "enabled", 1, "schemata", 1, "monitoring", 1,
                  "mountExtensions", "idmap", "enabled", 1, "netDevices", "enabled", 1);
    json_t *unsafe =
        json_pack("[s,s,s]", "run.oci.keep_original_groups", RUNTIME_PIDFD_RECEIVER, RUNTIME_BLOCK_SIGNALS);
    json_t *annotations = json_pack("{s:s}", "org.drover.version", DROVER_VERSION);
    json_t *features =
        json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o}", "ociVersionMin", "1.0.0", "ociVersionMax",
                  RUNTIME_SPEC_VERSION, "hooks", hook_names(), "mountOptions", plan__mount_option_names(),
                  "linux", linux_, "annotations", annotations, "potentiallyUnsafeConfigAnnotations", unsafe);
    must(features);
    return features;
}
