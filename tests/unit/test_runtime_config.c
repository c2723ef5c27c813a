/* A config is read, or refused with the name of what is wrong in it; nothing is made from it here. */
#include "unit.h"

#include "base/json.h"
#include "runtime/plan.h"

static const char full[] =
    "{'ociVersion':'1.2.0','hostname':'h','domainname':'d','annotations':{'a':'b'},"
    "'root':{'path':'rootfs','readonly':true},"
    "'process':{'terminal':true,'user':{'uid':1,'gid':2,'umask':63,'additionalGids':[5]},'args':['sh'],"
    "'env':['A=b'],'cwd':'/','capabilities':{'bounding':['CAP_KILL'],'effective':[],'inheritable':[],"
    "'permitted':[],'ambient':[]},'rlimits':[{'type':'RLIMIT_NOFILE','soft':1,'hard':2}],"
    "'noNewPrivileges':true,'oomScoreAdj':1,'consoleSize':{'height':1,'width':2},"
    "'apparmorProfile':'unconfined','scheduler':{'policy':'SCHED_OTHER','nice':1,'flags':"
    "['SCHED_FLAG_RESET_ON_FORK']},'ioPriority':{'class':'IOPRIO_CLASS_BE','priority':4},"
    "'execCPUAffinity':{'initial':'0','final':'0-1'}},"
    "'hooks':{'prestart':[{'path':'/bin/true','args':['a'],'env':['A=b'],'timeout':3}],"
    "'poststop':[{'path':'/bin/true'}]},"
    "'mounts':[{'destination':'/proc','type':'proc','source':'proc','options':['nosuid']}],"
    "'linux':{'namespaces':[{'type':'pid'},{'type':'mount'},{'type':'uts'},{'type':'ipc'},{'type':'network'},"
    "{'type':'user'},{'type':'time'},{'type':'cgroup'}],'uidMappings':[{'containerID':0,'hostID':1,'size':9}]"
    ","
    "'gidMappings':[{'containerID':0,'hostID':1,'size':9}],'timeOffsets':{'boottime':{'secs':1,'nanosecs':2}}"
    ","
    "'devices':[{'path':'/dev/x','type':'c','major':1,'minor':3,'fileMode':438,'uid':0,'gid':0}],"
    "'sysctl':{'kernel.shmmni':'7'},'cgroupsPath':'a','rootfsPropagation':'private','maskedPaths':['/proc/"
    "x'],"
    "'readonlyPaths':['/proc/y'],'personality':{'domain':'LINUX'},"
    "'memoryPolicy':{'mode':'MPOL_BIND','nodes':'0','flags':['MPOL_F_STATIC_NODES']},"
    "'netDevices':{'eth7':{'name':'eth0'}},"
    "'seccomp':{'defaultAction':'SCMP_ACT_ALLOW','architectures':['SCMP_ARCH_X86_64'],'flags':[],"
    "'syscalls':[{'names':['mkdir'],'action':'SCMP_ACT_ERRNO','errnoRet':1,"
    "'args':[{'index':0,'value':1,'valueTwo':2,'op':'SCMP_CMP_EQ'}]}]}}}";

/* Of a copy: a compiled seccomp policy keeps the config it came from, which must not change then. */
static int read_config(const json_t *original, struct err *err)
{
    _cleanup_json_ json_t *spec = json_deep_copy(original);
    const struct runtime_launch launch = {
        .id = "config", .spec = spec, .root = "/nonexistent", .bundle = "/nonexistent"};
    struct plan plan = {0};
    int r = plan_parse(&launch, &plan, err);
    if (r == 0)
        plan_done(&plan);
    return r;
}

static json_t *full_config(void)
{
    _cleanup_free_ char *text = mem_strdup(full);
    for (char *c = text; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *spec;
    struct err err;
    assert_ok(json_parse(text, strlen(text), "config", &spec, &err), &err);
    return spec;
}

struct walk {
    json_t *whole;
    size_t tried;
};

static bool same_type(const json_t *a, const json_t *b)
{
    return json_typeof(a) == json_typeof(b) || (json_is_boolean(a) && json_is_boolean(b));
}

static void try_wrong_types(struct walk *w, const json_t *now, const char *where,
                            void (*put)(void *place, json_t *value), void *place)
{
    static const char *const wrong[] = {"7", "\"text\"", "true", "[]", "{}", "1.5"};
    json_t *kept = json_incref((json_t *)now);
    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        json_t *value = json_loads(wrong[i], JSON_DECODE_ANY, NULL);
        if (same_type(value, kept)) {
            json_decref(value);
            continue;
        }
        put(place, value);
        struct err err = {0};
        if (read_config(w->whole, &err) == 0)
            fail_msg("%s as %s was taken", where, wrong[i]);
        assert_true(err.code > 0 && *err.msg);
        /* The name of the field, or of the list that it is in. */
        const char *name = strrchr(where, '.');
        if (!strstr(err.msg, name ? name + 1 : where))
            fail_msg("%s as %s: %s", where, wrong[i], err.msg);
        w->tried++;
    }
    put(place, kept);
}

struct place {
    json_t *container;
    const char *key;
    size_t index;
};

static void put_member(void *place, json_t *value)
{
    struct place *p = place;
    json_object_set_new(p->container, p->key, value);
}

static void put_element(void *place, json_t *value)
{
    struct place *p = place;
    json_array_set_new(p->container, p->index, value);
}

static void visit(struct walk *w, json_t *value, const char *where)
{
    const char *key;
    json_t *member;
    size_t i;
    void *next;
    json_object_foreach_safe (value, next, key, member) {
        _cleanup_free_ char *path = str_printf("%s%s%s", where, *where ? "." : "", key);
        struct place place = {value, key, 0};
        try_wrong_types(w, member, path, put_member, &place);
        visit(w, json_object_get(value, key), path);
    }
    json_array_foreach (value, i, member) {
        struct place place = {value, NULL, i};
        try_wrong_types(w, member, where, put_element, &place);
        visit(w, json_array_get(value, i), where);
    }
}

static void every_field_of_a_wrong_type_is_refused_by_its_name(void **state)
{
    struct walk w = {.whole = full_config()};
    struct err err;
    assert_ok(read_config(w.whole, &err), &err);
    visit(&w, w.whole, "");
    assert_true(w.tried > 500);
    assert_ok(read_config(w.whole, &err), &err); /* it was put back */
    json_decref(w.whole);
}

static void what_a_bundle_must_have_is_asked_for(void **state)
{
    static const struct {
        const char *object, *key;
    } required[] = {{NULL, "ociVersion"}, {"process", "cwd"}, {"process", "args"}, {NULL, "process"}};
    for (size_t i = 0; i < ARRAY_SIZE(required); i++) {
        json_t *spec = full_config();
        json_t *object = required[i].object ? json_object_get(spec, required[i].object) : spec;
        json_object_del(object, required[i].key);
        struct err err = {0};
        assert_int_equal(read_config(spec, &err), -ERR_INVALID);
        json_decref(spec);
    }
}

static void an_annotation_has_a_name_and_may_have_an_empty_value(void **state)
{
    struct err err = {0};
    json_t *spec = full_config();
    json_object_set_new(spec, "annotations", json_pack("{s:s}", "org.unknown", ""));
    assert_ok(read_config(spec, &err), &err);
    json_object_set_new(spec, "annotations", json_pack("{s:s}", "", "a"));
    assert_int_equal(read_config(spec, &err), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "annotations"));
    json_decref(spec);
}

static void properties_that_nobody_knows_are_passed_over(void **state)
{
    json_t *spec = full_config();
    struct err err;
    json_object_set_new(spec, "org.example", json_integer(7));
    json_object_set_new(json_object_get(spec, "process"), "newer", json_object());
    json_object_set_new(json_object_get(spec, "process"), "commandLine", json_string("for windows"));
    assert_ok(read_config(spec, &err), &err);
    json_decref(spec);
}

static void versions_of_another_kind_are_refused(void **state)
{
    static const char *const versions[] = {"2.0.0", "0.9.0", "1", "", "one", "1.2", "-1.0.0"};
    json_t *spec = full_config();
    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct err err = {0};
        json_object_set_new(spec, "ociVersion", json_string(versions[i]));
        assert_int_equal(read_config(spec, &err), -ERR_UNSUPPORTED);
    }
    static const char *const taken[] = {"1.0.0", "1.0.2-dev", "1.2.1", "1.99.0"};
    for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
        struct err err = {0};
        json_object_set_new(spec, "ociVersion", json_string(taken[i]));
        assert_ok(read_config(spec, &err), &err);
    }
    json_decref(spec);
}

static void a_sysctl_that_leads_elsewhere_is_refused(void **state)
{
    static const char *const names[] = {"net/../kernel/sysrq", "net/..//kernel/sysrq", "/net/ipv4/ip_forward",
                                        ".net.ipv4.ip_forward", "net.ipv4..ip_forward"};
    json_t *spec = full_config();
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        struct err err = {0};
        json_object_set_new(json_object_get(spec, "linux"), "sysctl", json_pack("{s:s}", names[i], "1"));
        assert_int_equal(read_config(spec, &err), -ERR_INVALID);
        assert_non_null(strstr(err.msg, "contains an invalid path"));
    }
    json_decref(spec);
}

static void an_id_map_in_a_mounts_option_is_read(void **state)
{
    static const struct {
        const char *option, *wrong; /* NULL: it is taken */
    } cases[] = {
        {"idmap=uids=0-1-10;gids=0-1-10", NULL},
        {"ridmap=uids=0-1-10#10-20-1;gids=@0-3-2", NULL},
        {"idmap=uids=0-1-10", "together"},
        {"idmap=", "neither"},
        {"idmap=uids=0-1;gids=0-1-1", "\"0-1\" is not ID-ID-SIZE"},
        {"idmap=uids=0-1-0;gids=0-1-1", "no such range"},
        {"idmap=uids=0-x-1;gids=0-1-1", "uids=0-x-1"},
        {"idmap=uids=0-1-4294967295;gids=0-1-1", "no such range"},
        {"idmap=uids=@0-9-1;gids=0-1-1", "nobody in the container"},
        {"idmap=users=0-1-1", "\"users=0-1-1\" is neither"},
    };
    json_t *spec = full_config();
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct err err = {0};
        json_object_set_new(spec, "mounts",
                            json_pack("[{s:s,s:s,s:s,s:[s,s]}]", "destination", "/m", "type", "none",
                                      "source", "/", "options", "bind", cases[i].option));
        int r = read_config(spec, &err);
        if (!cases[i].wrong)
            assert_ok(r, &err);
        else if (r != -ERR_INVALID || !strstr(err.msg, cases[i].wrong))
            fail_msg("%s: %s", cases[i].option, err.msg);
    }
    json_decref(spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_of_a_wrong_type_is_refused_by_its_name),
        cmocka_unit_test(what_a_bundle_must_have_is_asked_for),
        cmocka_unit_test(an_annotation_has_a_name_and_may_have_an_empty_value),
        cmocka_unit_test(properties_that_nobody_knows_are_passed_over),
        cmocka_unit_test(versions_of_another_kind_are_refused),
        cmocka_unit_test(a_sysctl_that_leads_elsewhere_is_refused),
        cmocka_unit_test(an_id_map_in_a_mounts_option_is_read),
    };
    return cmocka_run_group_tests_name("runtime_config", tests, NULL, NULL);
}
