/* Which devices a group may open: the config's rules, and on v2 the program that decides by them. */
#include "runtime/cgroup_priv.h"

#include "base/str.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_RULES = 512 + 32 };

/* --- v1 --- */

static int format_rule(const struct cgroup_device_rule *rule, char *text, size_t size)
{
    char major_[24] = "*", minor_[24] = "*";
    if (rule->type == 'a') /* with anything behind it, it means everything all the same */
        return snprintf(text, size, "a");
    if (rule->major >= 0)
        snprintf(major_, sizeof(major_), "%lld", (long long)rule->major);
    if (rule->minor >= 0)
        snprintf(minor_, sizeof(minor_), "%lld", (long long)rule->minor);
    return snprintf(text, size, "%c %s:%s %s%s%s", rule->type, major_, minor_, rule->read ? "r" : "",
                    rule->write ? "w" : "", rule->mknod ? "m" : "");
}

int cgroup__write_devices(const char *dir, const struct cgroup_device_rule *rules, size_t count,
                          struct err *err)
{
    static const char *const files[] = {"devices.deny", "devices.allow"};
    _cleanup_close_ int deny = -EBADF, allow = -EBADF;
    int *fds[] = {&deny, &allow};
    for (size_t i = 0; i < count; i++) {
        int *fd = fds[rules[i].allow];
        const char *file = files[rules[i].allow];
        char path[PATH_MAX], text[96];
        if (*fd < 0) {
            snprintf(path, sizeof(path), "%s/%s", dir, file);
            if ((*fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
                return err_sys(err, errno, "open %s", path);
        }
        int n = format_rule(&rules[i], text, sizeof(text));
        if (write(*fd, text, (size_t)n) < 0)
            return err_sys(err, errno, "write \"%s\" to %s/%s", text, dir, file);
    }
    return 0;
}

/* --- v2 --- */

struct program {
    struct bpf_insn code[MAX_RULES * 16 + 16];
    size_t count;
};

static void emit(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
    p->code[p->count++] =
        (struct bpf_insn){.code = code, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm};
}

enum { R_RESULT, R_CONTEXT, R_TYPE, R_ACCESS, R_MAJOR, R_MINOR, R_WORK };

/* The last rule that speaks about a device decides, so they are asked in reverse; a jump over the verdict
 * is patched when the rule's length is known. */
static void emit_rule(struct program *p, const struct cgroup_device_rule *rule)
{
    size_t jumps[8], jump_count = 0;
    int access = (rule->mknod ? BPF_DEVCG_ACC_MKNOD : 0) | (rule->read ? BPF_DEVCG_ACC_READ : 0) |
                 (rule->write ? BPF_DEVCG_ACC_WRITE : 0);
    int all = BPF_DEVCG_ACC_MKNOD | BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE;
    if (rule->type != 'a') {
        jumps[jump_count++] = p->count;
        emit(p, BPF_JMP | BPF_JNE | BPF_K, R_TYPE, 0, 0,
             rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
        if (rule->major >= 0) {
            jumps[jump_count++] = p->count;
            emit(p, BPF_JMP32 | BPF_JNE | BPF_K, R_MAJOR, 0, 0, (int32_t)rule->major);
        }
        if (rule->minor >= 0) {
            jumps[jump_count++] = p->count;
            emit(p, BPF_JMP32 | BPF_JNE | BPF_K, R_MINOR, 0, 0, (int32_t)rule->minor);
        }
        if (access != all) {
            /* An allowing rule speaks when it covers all that is asked, a denying one when it covers any. */
            emit(p, BPF_ALU64 | BPF_MOV | BPF_X, R_WORK, R_ACCESS, 0, 0);
            emit(p, BPF_ALU64 | BPF_AND | BPF_K, R_WORK, 0, 0, rule->allow ? all & ~access : access);
            jumps[jump_count++] = p->count;
            emit(p, BPF_JMP | (rule->allow ? BPF_JNE : BPF_JEQ) | BPF_K, R_WORK, 0, 0, 0);
        }
    }
    emit(p, BPF_ALU64 | BPF_MOV | BPF_K, R_RESULT, 0, 0, rule->allow);
    emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
    for (size_t i = 0; i < jump_count; i++)
        p->code[jumps[i]].off = (int16_t)(p->count - jumps[i] - 1);
}

static void emit_all(struct program *p, const struct cgroup_device_rule *rules, size_t count)
{
    /* struct bpf_cgroup_dev_ctx: access_type (type in the low half, access in the high one), major, minor. */
    emit(p, BPF_LDX | BPF_MEM | BPF_W, R_TYPE, R_CONTEXT, 0, 0);
    emit(p, BPF_ALU64 | BPF_MOV | BPF_X, R_ACCESS, R_TYPE, 0, 0);
    emit(p, BPF_ALU64 | BPF_AND | BPF_K, R_TYPE, 0, 0, 0xffff);
    emit(p, BPF_ALU64 | BPF_RSH | BPF_K, R_ACCESS, 0, 0, 16);
    emit(p, BPF_LDX | BPF_MEM | BPF_W, R_MAJOR, R_CONTEXT, 4, 0);
    emit(p, BPF_LDX | BPF_MEM | BPF_W, R_MINOR, R_CONTEXT, 8, 0);
    for (size_t i = count; i-- > 0;) {
        emit_rule(p, &rules[i]);
        if (rules[i].type == 'a') /* what was said before it counts no more, and code behind it is refused */
            return;
    }
    /* v1's groups start with everything allowed. */
    emit(p, BPF_ALU64 | BPF_MOV | BPF_K, R_RESULT, 0, 0, 1);
    emit(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

static int load(const struct program *p, struct err *err)
{
    static const char license[] = "Apache-2.0";
    union bpf_attr attr = {0};
    attr.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.insns = (uint64_t)(uintptr_t)p->code;
    attr.insn_cnt = (uint32_t)p->count;
    attr.license = (uint64_t)(uintptr_t)license;
    int fd = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    return fd < 0 ? err_sys(err, errno, "load the program that limits access to devices") : fd;
}

/* The programs that were attached by an earlier call. */
static size_t attached(int dir_fd, uint32_t *ids, size_t capacity)
{
    union bpf_attr attr = {0};
    attr.query.target_fd = (uint32_t)dir_fd;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_cnt = (uint32_t)capacity;
    attr.query.prog_ids = (uint64_t)(uintptr_t)ids;
    return syscall(SYS_bpf, BPF_PROG_QUERY, &attr, sizeof(attr)) < 0 ? 0 : attr.query.prog_cnt;
}

static void detach(int dir_fd, uint32_t id)
{
    union bpf_attr attr = {0};
    attr.prog_id = id;
    _cleanup_close_ int fd = (int)syscall(SYS_bpf, BPF_PROG_GET_FD_BY_ID, &attr, sizeof(attr));
    if (fd < 0)
        return;
    attr = (union bpf_attr){0};
    attr.target_fd = (uint32_t)dir_fd;
    attr.attach_bpf_fd = (uint32_t)fd;
    attr.attach_type = BPF_CGROUP_DEVICE;
    syscall(SYS_bpf, BPF_PROG_DETACH, &attr, sizeof(attr));
}

int cgroup__attach_devices(const char *dir, const struct cgroup_device_rule *rules, size_t count,
                           struct err *err)
{
    _cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir_fd < 0)
        return err_sys(err, errno, "open cgroup %s", dir);
    _cleanup_free_ struct program *p = NEW(struct program);
    emit_all(p, rules, count);
    _cleanup_close_ int fd = load(p, err);
    if (fd < 0)
        return fd;
    uint32_t old[64];
    size_t old_count = attached(dir_fd, old, ARRAY_SIZE(old));
    /* MULTI lets a device pass only when every program does, those of the parents included. */
    union bpf_attr attr = {0};
    attr.target_fd = (uint32_t)dir_fd;
    attr.attach_bpf_fd = (uint32_t)fd;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = BPF_F_ALLOW_MULTI;
    if (syscall(SYS_bpf, BPF_PROG_ATTACH, &attr, sizeof(attr)) < 0)
        return err_sys(err, errno, "limit the access of cgroup %s to devices", dir);
    for (size_t i = 0; i < old_count; i++)
        detach(dir_fd, old[i]);
    return 0;
}
