/* A config.json from anybody, and a process of an exec: a plan, or one clear error. Nothing is made from it.
 */
#include "base/json.h"
#include "runtime/passwd.h"
#include "runtime/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int r, struct plan *plan, const struct err *err)
{
    if (r < 0) {
        must(err->code == -r && *err->msg);
        return;
    }
    must(plan->join_count <= PLAN_MAX_JOINS && plan->mount_count <= PLAN_MAX_ITEMS);
    plan_done(plan);
}

static void read_passwd(const uint8_t *data, size_t size)
{
    for (uid_t uid = 0; uid < 3; uid++) {
        const char *home;
        size_t n;
        if (passwd_home((const char *)data, size, uid, &home, &n))
            must(home >= (const char *)data && home + n <= (const char *)data + size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_json_ json_t *spec = NULL;
    struct err err = {0};
    read_passwd(data, size);
    if (json_parse((const char *)data, size, "config.json", &spec, &err) < 0) {
        must(err.code && *err.msg);
        return 0;
    }
    struct runtime_launch launch = {
        .id = "fuzz", .spec = spec, .root = "/nonexistent", .bundle = "/nonexistent"};
    struct plan plan = {0};
    err = (struct err){0};
    check(plan_parse(&launch, &plan, &err), &plan, &err);
    plan = (struct plan){0};
    err = (struct err){0};
    check(plan_parse_exec(&launch, spec, &plan, &err), &plan, &err);
    return 0;
}
