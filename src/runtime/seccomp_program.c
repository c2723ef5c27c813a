/* A policy as a program: for each architecture a search tree over ranges of call numbers that end alike, and
 * for calls with conditions a few comparisons at the tree's leaf. The kernel runs every call number through a
 * new filter (seccomp_cache_prepare), which makes a short way to each answer worth as much as a short
 * program.
 */
#include "runtime/filter.h"

#include "base/str.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>

enum { SHORT_JUMP = 255 };
static const uint32_t x32_bit = 0x40000000, bad_arch = SECCOMP_RET_KILL_THREAD;

struct condition {
    unsigned arg;
    enum scmp_compare op;
    uint64_t a, b;
};

/* One rule for one call; conditions all hold, or there are none. */
struct entry {
    uint32_t number, action;
    struct condition conditions[FILTER_MAX_ARGS];
    unsigned condition_count;
    bool wide; /* arguments of 64 bits */
    size_t order;
};

/* A part of an architecture's numbers that ends alike: with an action, or with the conditions of `entries`.
 */
struct range {
    uint32_t start, action;
    const struct entry *entries;
    size_t entry_count;
};

struct section {
    uint32_t audit_arch;
    struct entry *entries;
    size_t entry_count, entry_capacity;
    int newest, newest_x32; /* of the calls that were added */
    struct range *ranges;
    size_t range_count, range_capacity;
};

struct code {
    struct sock_filter *list;
    size_t count, capacity;
};

/* i386: these are calls of their own in newer kernels, and numbers of socketcall or ipc in all of them. */
static const struct {
    const char *name, *through;
    uint32_t number;
    int direct; /* 0: only through the other */
} multiplexed[] = {
    {"socket", "socketcall", 1, 359},
    {"bind", "socketcall", 2, 361},
    {"connect", "socketcall", 3, 362},
    {"listen", "socketcall", 4, 363},
    {"accept", "socketcall", 5, 0},
    {"getsockname", "socketcall", 6, 367},
    {"getpeername", "socketcall", 7, 368},
    {"socketpair", "socketcall", 8, 360},
    {"send", "socketcall", 9, 0},
    {"recv", "socketcall", 10, 0},
    {"sendto", "socketcall", 11, 369},
    {"recvfrom", "socketcall", 12, 371},
    {"shutdown", "socketcall", 13, 373},
    {"setsockopt", "socketcall", 14, 366},
    {"getsockopt", "socketcall", 15, 365},
    {"sendmsg", "socketcall", 16, 370},
    {"recvmsg", "socketcall", 17, 372},
    {"accept4", "socketcall", 18, 364},
    {"recvmmsg", "socketcall", 19, 337},
    {"sendmmsg", "socketcall", 20, 345},
    {"semop", "ipc", 1, 0},
    {"semget", "ipc", 2, 393},
    {"semctl", "ipc", 3, 394},
    {"semtimedop", "ipc", 4, 0},
    {"msgsnd", "ipc", 11, 400},
    {"msgrcv", "ipc", 12, 401},
    {"msgget", "ipc", 13, 399},
    {"msgctl", "ipc", 14, 402},
    {"shmat", "ipc", 21, 397},
    {"shmdt", "ipc", 22, 398},
    {"shmget", "ipc", 23, 395},
    {"shmctl", "ipc", 24, 396},
};

/* --- which calls --- */

static void add_entry(struct section *s, uint32_t arch, uint32_t number, uint32_t action,
                      const struct scmp_arg_cmp *args, unsigned count)
{
    GROW(s->entries, s->entry_count, s->entry_capacity);
    struct entry *e = &s->entries[s->entry_count];
    *e = (struct entry){.number = number, .action = action, .order = s->entry_count++};
    e->wide = arch == SCMP_ARCH_X86_64 || arch == SCMP_ARCH_AARCH64;
    for (unsigned i = 0; i < count; i++)
        e->conditions[e->condition_count++] =
            (struct condition){args[i].arg, args[i].op, args[i].datum_a, args[i].datum_b};
}

static void add_through(struct section *s, const char *name, const struct filter_rule *rule,
                        const struct scmp_arg_cmp *args, unsigned count, int direct)
{
    for (size_t i = 0; i < ARRAY_SIZE(multiplexed); i++) {
        if (!str_eq(name, multiplexed[i].name))
            continue;
        if (direct < 0 && multiplexed[i].direct)
            add_entry(s, SCMP_ARCH_X86, (uint32_t)multiplexed[i].direct, rule->action, args, count);
        /* Which call it is takes the place of what was said of the first argument; the real arguments are in
         * memory, where a filter cannot look. */
        struct scmp_arg_cmp changed[FILTER_MAX_ARGS] = {
            {.arg = 0, .op = SCMP_CMP_EQ, .datum_a = multiplexed[i].number}};
        unsigned n = 1;
        for (unsigned k = 0; k < count; k++)
            if (args[k].arg != 0)
                changed[n++] = args[k];
        add_entry(s, SCMP_ARCH_X86,
                  (uint32_t)seccomp_syscall_resolve_name_arch(SCMP_ARCH_X86, multiplexed[i].through),
                  rule->action, changed, n);
    }
}

static void add_name(struct section *s, uint32_t arch, const char *name, const struct filter_rule *rule)
{
    int number = seccomp_syscall_resolve_name_arch(arch, name);
    /* Negative: not on this architecture. -1 is "nowhere": newer than the library. */
    int *newest = arch == SCMP_ARCH_X32 ? &s->newest_x32 : &s->newest;
    *newest = MAX(*newest, number);
    unsigned times = rule->alternatives ? rule->arg_count : 1;
    unsigned each = rule->alternatives ? 1 : rule->arg_count;
    for (unsigned i = 0; i < times; i++) {
        if (number >= 0)
            add_entry(s, arch, (uint32_t)number, rule->action, &rule->args[i], each);
        if (arch == SCMP_ARCH_X86 && number != __NR_SCMP_ERROR)
            add_through(s, name, rule, &rule->args[i], each, number);
    }
}

static int by_number(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* --- ranges --- */

static void add_range(struct section *s, uint32_t start, uint32_t action, const struct entry *entries,
                      size_t count)
{
    struct range *last = s->range_count ? &s->ranges[s->range_count - 1] : NULL;
    if (last && last->start == start)
        *last = (struct range){start, action, entries, count};
    else if (!last || last->entries || entries || last->action != action) {
        GROW(s->ranges, s->range_count, s->range_capacity);
        s->ranges[s->range_count++] = (struct range){start, action, entries, count};
    }
}

/* What one call's rules come to. One without conditions takes those with them in; different actions for one
 * call have an order that is the library's own affair. */
static int add_call(struct section *s, const struct entry *entries, size_t count, struct err *err)
{
    bool always = false;
    for (size_t i = 0; i < count; i++) {
        always |= !entries[i].condition_count;
        if (entries[i].action != entries[0].action)
            return err_set(err, ERR_UNSUPPORTED, "several actions for one call");
    }
    add_range(s, entries[0].number, entries[0].action, always ? NULL : entries, always ? 0 : count);
    return 0;
}

/* Calls of [from, to], where `newest` is the last one that the policy knows. */
static int add_calls(struct section *s, const struct filter_policy *p, uint32_t from, uint32_t to,
                     int64_t newest, struct err *err)
{
    uint32_t next = from;
    for (size_t i = 0; i < s->entry_count;) {
        size_t count = 1;
        uint32_t number = s->entries[i].number;
        while (i + count < s->entry_count && s->entries[i + count].number == number)
            count++;
        if (number >= from && number <= to) {
            if (number > next)
                add_range(s, next, p->default_action, NULL, 0);
            int r = add_call(s, &s->entries[i], count, err);
            if (r < 0)
                return r;
            next = number + 1;
        }
        i += count;
    }
    if (filter__hides_new_calls(p) && newest >= 0) {
        if (newest >= next)
            add_range(s, next, p->default_action, NULL, 0);
        add_range(s, (uint32_t)newest + 1, SECCOMP_RET_ERRNO | ENOSYS, NULL, 0);
    } else {
        add_range(s, next, p->default_action, NULL, 0);
    }
    return 0;
}

static bool has_arch(const struct filter_policy *p, uint32_t arch)
{
    for (size_t i = 0; i < p->arch_count; i++)
        if (p->arches[i] == arch)
            return true;
    return false;
}

/* Looking names up is most of the work of compiling; a policy whose rules were all added was looked up. */
static int newest_of(const struct section *s, const struct filter_policy *p, uint32_t arch)
{
    if (p->rule_count != json_array_size(p->syscalls))
        return filter__newest(p, arch);
    return arch == SCMP_ARCH_X32 ? s->newest_x32 : s->newest;
}

static int make_ranges(struct section *s, const struct filter_policy *p, uint32_t arch, struct err *err)
{
    if (s->entry_count)
        qsort(s->entries, s->entry_count, sizeof(*s->entries), by_number);
    bool x86 = arch == SCMP_ARCH_X86_64;
    int r = add_calls(s, p, 0, x86 ? x32_bit - 1 : UINT32_MAX - 1, newest_of(s, p, arch), err);
    if (r < 0)
        return r;
    if (x86 && has_arch(p, SCMP_ARCH_X32))
        r = add_calls(s, p, x32_bit, UINT32_MAX - 1, newest_of(s, p, SCMP_ARCH_X32), err);
    else if (x86)
        add_range(s, x32_bit, bad_arch, NULL, 0);
    /* A tracer's "skip this call". */
    add_range(s, UINT32_MAX, p->default_action, NULL, 0);
    return r;
}

static int make_section(struct section *s, const struct filter_policy *p, uint32_t arch, struct err *err)
{
    s->audit_arch = arch;
    s->newest = s->newest_x32 = -1;
    for (size_t i = 0; i < p->rule_count; i++) {
        size_t k;
        json_t *name;
        json_array_foreach (p->rules[i].names, k, name) {
            add_name(s, arch, json_string_value(name), &p->rules[i]);
            if (arch == SCMP_ARCH_X86_64 && has_arch(p, SCMP_ARCH_X32))
                add_name(s, SCMP_ARCH_X32, json_string_value(name), &p->rules[i]);
        }
    }
    return make_ranges(s, p, arch, err);
}

/* --- code --- */

static size_t emit(struct code *c, uint16_t code, uint32_t k, uint8_t jt, uint8_t jf)
{
    GROW(c->list, c->count, c->capacity);
    c->list[c->count] = (struct sock_filter){.code = code, .jt = jt, .jf = jf, .k = k};
    return c->count++;
}

static void load(struct code *c, size_t offset)
{
    emit(c, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* Where a comparison's jumps go: on, to where the whole condition holds, or to where it fails. These are
 * patched when both places are known. */
enum { NEXT = 0, HOLDS = 254, FAILS = 255 };

static void load_half(struct code *c, const struct condition *k, bool high)
{
    bool big = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__;
    size_t offset = offsetof(struct seccomp_data, args) + k->arg * sizeof(uint64_t);
    load(c, offset + (high != big ? sizeof(uint32_t) : 0));
}

static void compare_masked(struct code *c, const struct condition *k, bool wide)
{
    for (int high = wide; high >= 0; high--) {
        uint32_t mask = (uint32_t)(k->a >> (high ? 32 : 0)), value = (uint32_t)(k->b >> (high ? 32 : 0));
        load_half(c, k, high);
        emit(c, BPF_ALU | BPF_AND | BPF_K, mask, 0, 0);
        emit(c, BPF_JMP | BPF_JEQ | BPF_K, value & mask, high ? NEXT : HOLDS, FAILS);
    }
}

static void compare(struct code *c, const struct condition *k, bool wide)
{
    uint32_t high = (uint32_t)(k->a >> 32), low = (uint32_t)k->a;
    enum scmp_compare op = k->op;
    /* "Not equal", "less" and "less or equal" are the others turned round. */
    bool turned = op == SCMP_CMP_NE || op == SCMP_CMP_LT || op == SCMP_CMP_LE;
    uint8_t yes = turned ? FAILS : HOLDS, no = turned ? HOLDS : FAILS;
    if (op == SCMP_CMP_MASKED_EQ) {
        compare_masked(c, k, wide);
        return;
    }
    if (wide) {
        load_half(c, k, true);
        if (op != SCMP_CMP_EQ && op != SCMP_CMP_NE)
            emit(c, BPF_JMP | BPF_JGT | BPF_K, high, yes, NEXT);
        emit(c, BPF_JMP | BPF_JEQ | BPF_K, high, NEXT, no);
    }
    load_half(c, k, false);
    uint16_t jump = op == SCMP_CMP_EQ || op == SCMP_CMP_NE   ? BPF_JEQ
                    : op == SCMP_CMP_GE || op == SCMP_CMP_LT ? BPF_JGE
                                                             : BPF_JGT;
    emit(c, BPF_JMP | jump | BPF_K, low, yes, no);
}

static void patch(struct code *c, size_t at, uint8_t mark, size_t target)
{
    struct sock_filter *i = &c->list[at];
    if (BPF_CLASS(i->code) != BPF_JMP)
        return;
    if (i->jt == mark)
        i->jt = (uint8_t)(target - at - 1);
    if (i->jf == mark)
        i->jf = (uint8_t)(target - at - 1);
}

/* One conjunction takes at most 6 * 5 instructions, so that its jumps are short. */
static void emit_entry(struct code *c, const struct entry *e)
{
    size_t begin = c->count;
    for (unsigned i = 0; i < e->condition_count; i++) {
        size_t from = c->count;
        compare(c, &e->conditions[i], e->wide);
        for (size_t at = from; at < c->count; at++)
            patch(c, at, HOLDS, c->count);
    }
    emit(c, BPF_RET | BPF_K, e->action, 0, 0);
    for (size_t at = begin; at < c->count; at++)
        patch(c, at, FAILS, c->count);
}

static void emit_range(struct code *c, const struct range *range, uint32_t otherwise)
{
    for (size_t i = 0; i < range->entry_count; i++)
        emit_entry(c, &range->entries[i]);
    emit(c, BPF_RET | BPF_K, range->entries ? otherwise : range->action, 0, 0);
}

static void emit_tree(struct code *c, const struct section *s, size_t from, size_t to, uint32_t otherwise)
{
    if (to - from == 1) {
        emit_range(c, &s->ranges[from], otherwise);
        return;
    }
    size_t middle = from + (to - from) / 2;
    struct code left = {0};
    emit_tree(&left, s, from, middle, otherwise);
    if (left.count <= SHORT_JUMP) {
        emit(c, BPF_JMP | BPF_JGE | BPF_K, s->ranges[middle].start, (uint8_t)left.count, 0);
    } else {
        emit(c, BPF_JMP | BPF_JGE | BPF_K, s->ranges[middle].start, 0, 1);
        emit(c, BPF_JMP | BPF_JA, (uint32_t)left.count, 0, 0);
    }
    for (size_t i = 0; i < left.count; i++)
        emit(c, left.list[i].code, left.list[i].k, left.list[i].jt, left.list[i].jf);
    free(left.list);
    emit_tree(c, s, middle, to, otherwise);
}

static void emit_section(struct code *c, const struct section *s, uint32_t otherwise)
{
    struct code body = {0};
    load(&body, offsetof(struct seccomp_data, nr));
    emit_tree(&body, s, 0, s->range_count, otherwise);
    if (body.count <= SHORT_JUMP) {
        emit(c, BPF_JMP | BPF_JEQ | BPF_K, s->audit_arch, 0, (uint8_t)body.count);
    } else {
        emit(c, BPF_JMP | BPF_JEQ | BPF_K, s->audit_arch, 1, 0);
        emit(c, BPF_JMP | BPF_JA, (uint32_t)body.count, 0, 0);
    }
    for (size_t i = 0; i < body.count; i++)
        emit(c, body.list[i].code, body.list[i].k, body.list[i].jt, body.list[i].jf);
    free(body.list);
}

static int check_arches(const struct filter_policy *p, struct err *err)
{
    static const uint32_t known[] = {SCMP_ARCH_X86_64, SCMP_ARCH_X86, SCMP_ARCH_X32, SCMP_ARCH_AARCH64,
                                     SCMP_ARCH_ARM};
    for (size_t i = 0; i < p->arch_count; i++) {
        bool found = false;
        for (size_t k = 0; k < ARRAY_SIZE(known); k++)
            found |= p->arches[i] == known[k];
        /* x32 is a way to call the 64-bit kernel, and has no section without it. */
        if (!found || (p->arches[i] == SCMP_ARCH_X32 && !has_arch(p, SCMP_ARCH_X86_64)))
            return err_set(err, ERR_UNSUPPORTED, "architecture %x", p->arches[i]);
    }
    return 0;
}

int filter__compile(const struct filter_policy *p, struct sock_fprog *ret, struct err *err)
{
    struct code c = {0};
    int r = check_arches(p, err);
    if (r < 0)
        return r;
    load(&c, offsetof(struct seccomp_data, arch));
    for (size_t i = 0; r == 0 && i < p->arch_count; i++) {
        struct section s = {0};
        if (p->arches[i] == SCMP_ARCH_X32)
            continue;
        r = make_section(&s, p, p->arches[i], err);
        if (r == 0)
            emit_section(&c, &s, p->default_action);
        free(s.entries);
        free(s.ranges);
    }
    emit(&c, BPF_RET | BPF_K, bad_arch, 0, 0);
    if (r == 0 && c.count > BPF_MAXINSNS)
        r = err_set(err, ERR_LIMIT, "the seccomp policy is too large for the kernel");
    if (r < 0) {
        free(c.list);
        return r;
    }
    ret->filter = c.list;
    ret->len = (unsigned short)c.count;
    return 0;
}
