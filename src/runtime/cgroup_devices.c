/* Which devices a group may open: the config's rules, and on v2 the program that decides by them. */
#include "runtime/cgroup_priv.h"

#include "base/json.h"
#include "base/str.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_RULES = 512 };

static int parse_rule(const json_t *entry, struct cgroup_device_rule *ret, struct err *err)
{
    static const char where[] = "linux.resources.devices";
    const char *type = "a", *access = "rwm";
    *ret = (struct cgroup_device_rule){.major = -1, .minor = -1};
    int r = json_get_bool(entry, where, "allow", &ret->allow, err);
    if (r == 0)
        r = json_get_string(entry, where, "type", &type, err);
    if (r == 0)
        r = json_get_string(entry, where, "access", &access, err);
    if (r == 0)
        r = json_get_i64(entry, where, "major", &ret->major, err);
    if (r == 0)
        r = json_get_i64(entry, where, "minor", &ret->minor, err);
    if (r < 0)
        return r;
    if (!*type)
        type = "a";
    if (!strchr("abc", *type) || type[1])
        return err_set(err, ERR_INVALID, "\"%s.type\": unknown type \"%s\"", where, type);
    if (ret->major > UINT32_MAX || ret->minor > UINT32_MAX)
        return err_set(err, ERR_INVALID, "\"%s\": no such device number", where);
    ret->type = *type;
    for (const char *c = *access ? access : "rwm"; *c; c++) {
        if (!strchr("rwm", *c))
            return err_set(err, ERR_INVALID, "\"%s.access\": unknown access \"%s\"", where, access);
        ret->read |= *c == 'r';
        ret->write |= *c == 'w';
        ret->mknod |= *c == 'm';
    }
    return 0;
}

int cgroup__device_rules(const json_t *resources, struct cgroup_device_rule **ret, size_t *ret_count,
                         struct err *err)
{
    json_t *list = NULL, *entry;
    int r = json_get_array(resources, "linux.resources", "devices", &list, err);
    if (r < 0)
        return r;
    if (json_array_size(list) > MAX_RULES)
        return err_set(err, ERR_LIMIT, "more than %d device rules", MAX_RULES);
    _cleanup_free_ struct cgroup_device_rule *rules =
        NEW_N(struct cgroup_device_rule, json_array_size(list) + 1);
    size_t i;
    json_array_foreach (list, i, entry)
        if ((r = parse_rule(entry, &rules[i], err)) < 0)
            return r;
    *ret = take_ptr(rules);
    *ret_count = json_array_size(list);
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
