/* A policy compiled by libseccomp: for what our own compiler leaves out, and to hold it against. */
#include "runtime/filter.h"

#include "base/file.h"
#include "base/str.h"

#include <linux/seccomp.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PROGRAM_MAX = BPF_MAXINSNS * sizeof(struct sock_filter) };

static void release_p(scmp_filter_ctx *context)
{
    if (*context)
        seccomp_release(*context);
}

static int add_rule(scmp_filter_ctx context, const struct filter_rule *rule, int number)
{
    if (!rule->alternatives)
        return seccomp_rule_add_array(context, rule->action, number, rule->arg_count, rule->args);
    for (unsigned i = 0; i < rule->arg_count; i++) {
        int r = seccomp_rule_add_array(context, rule->action, number, 1, &rule->args[i]);
        if (r < 0)
            return r;
    }
    return 0;
}

static int add_rules(scmp_filter_ctx context, const struct filter_policy *p, struct err *err)
{
    for (size_t i = 0; i < p->rule_count; i++) {
        size_t k;
        json_t *name;
        json_array_foreach (p->rules[i].names, k, name) {
            int number = seccomp_syscall_resolve_name(json_string_value(name));
            if (number == __NR_SCMP_ERROR) /* newer than the library, or another machine's */
                continue;
            int r = add_rule(context, &p->rules[i], number);
            if (r < 0 && r != -EEXIST)
                return err_sys(err, -r, "seccomp rule for %s", json_string_value(name));
        }
    }
    return 0;
}

static int build(scmp_filter_ctx context, const struct filter_policy *p, struct err *err)
{
    int r = seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0);
    /* A search tree instead of a list: the kernel runs every call number through the filter when it is
     * loaded. */
    if (r == 0)
        r = seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    for (size_t i = 1; r == 0 && i < p->arch_count; i++) {
        r = seccomp_arch_add(context, p->arches[i]);
        if (r == -EDOM) /* of the other byte order: no program of it can run here */
            r = 0;
    }
    if (r < 0)
        return err_sys(err, -r, "seccomp filter");
    return add_rules(context, p, err);
}

/* Calls above the newest one do not exist (filter__hides_new_calls). Other architectures, and x32 with its
 * bit in the number, are left to the filter. */
static void add_prologue(struct str *bytes, int newest)
{
    const uint32_t x32 = 0x40000000;
    const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, seccomp_arch_native(), 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, x32, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, (uint32_t)newest, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    str_addn(bytes, code, sizeof(code));
}

int filter__compile_with_library(const struct filter_policy *p, struct sock_fprog *ret, struct err *err)
{
    scmp_filter_ctx context _cleanup_(release_p) = seccomp_init(p->default_action);
    if (!context)
        return err_set(err, ERR_INVALID, "\"linux.seccomp.defaultAction\": the kernel does not know it");
    int r = build(context, p, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return err_sys(err, errno, "memfd_create");
    if ((r = seccomp_export_bpf(context, fd)) < 0)
        return err_sys(err, -r, "export seccomp filter");
    if (lseek(fd, 0, SEEK_SET) < 0)
        return err_sys(err, errno, "seek");
    _cleanup_str_ struct str bytes = STR_INIT, filter = STR_INIT;
    if ((r = file_read_fd(fd, PROGRAM_MAX, &filter, err)) < 0)
        return err_wrap(err, "the seccomp policy is too large for the kernel");
    int newest = filter__newest(p, p->arches[0]);
    if (filter__hides_new_calls(p) && newest > 0)
        add_prologue(&bytes, newest);
    str_addn(&bytes, filter.data, filter.len);
    if (bytes.len > PROGRAM_MAX)
        return err_set(err, ERR_LIMIT, "the seccomp policy is too large for the kernel");
    ret->len = (unsigned short)(bytes.len / sizeof(struct sock_filter));
    ret->filter = (struct sock_filter *)str_take(&bytes);
    return 0;
}
