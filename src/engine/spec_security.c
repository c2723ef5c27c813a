/* Capabilities, seccomp and the rest of SecurityOpt. */
#include "engine/apparmor.h"
#include "engine/engine_priv.h"

#include "runtime/runtime.h"

#include <ctype.h>
#include <sys/utsname.h>

static char *capability_name(const char *text)
{
    char *name = strncasecmp(text, "CAP_", 4) == 0 ? mem_strdup(text) : str_printf("CAP_%s", text);
    for (char *c = name; *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return name;
}

static int check_capabilities(const char *field, char *const *names, struct err *err)
{
    for (size_t i = 0; names && names[i]; i++) {
        _cleanup_free_ char *name = capability_name(names[i]);
        if (!str_eq(name, "CAP_ALL") && !strv_has(runtime_all_capabilities(), name))
            return err_set(err, ERR_INVALID, "invalid %s: unknown capability: \"%.100s\"", field, name);
    }
    return 0;
}

static bool listed(char *const *names, const char *capability)
{
    for (size_t i = 0; names && names[i]; i++) {
        _cleanup_free_ char *name = capability_name(names[i]);
        if (str_eq(name, capability))
            return true;
    }
    return false;
}

/* Without root some may be missing. */
static bool can_give_all(char **names)
{
    STRV_FOREACH (name, names)
        if (!strv_has(runtime_all_capabilities(), *name))
            return false;
    return true;
}

/* Docker's rule: ADD ALL starts from all, DROP ALL from none; then single ones are added and dropped. */
static int capabilities(const json_t *host, const json_t *process, char ***ret, struct err *err)
{
    _cleanup_strv_ char **add = NULL, **drop = NULL, **list = NULL;
    int r = json_get_strv(host, "HostConfig", "CapAdd", &add, err);
    if (r == 0)
        r = json_get_strv(host, "HostConfig", "CapDrop", &drop, err);
    if (r == 0)
        r = check_capabilities("CapAdd", add, err);
    if (r == 0)
        r = check_capabilities("CapDrop", drop, err);
    if (r < 0)
        return r;
    const json_t *spec = runtime_shared_defaults();
    _cleanup_strv_ char **defaults = NULL;
    json_get_strv(json_object_get(json_object_get(spec, "process"), "capabilities"), "", "bounding",
                  &defaults, NULL);
    if (!json_bool(host, "Privileged") && !strv_len(add) && !strv_len(drop) && can_give_all(defaults)) {
        *ret = take_ptr(defaults);
        return 0;
    }
    bool all = json_bool(host, "Privileged") || listed(add, "CAP_ALL"), none = listed(drop, "CAP_ALL");
    for (char *const *c = runtime_all_capabilities(); *c; c++) {
        bool on = json_bool(host, "Privileged") || listed(add, *c) ||
                  ((all || (!none && strv_has(defaults, *c))) && !listed(drop, *c));
        if (on)
            strv_add(&list, *c);
    }
    *ret = list ? take_ptr(list) : NEW_N(char *, 1);
    return 0;
}

/* --- seccomp profiles given as JSON: OCI's form, or Docker's with conditions --- */

static bool any_listed(const json_t *list, char *const *caps)
{
    size_t i;
    const json_t *v;
    json_array_foreach (list, i, v)
        if (json_string_value(v) && strv_has(caps, json_string_value(v)))
            return true;
    return false;
}

static bool all_listed(const json_t *list, char *const *caps)
{
    size_t i;
    const json_t *v;
    json_array_foreach (list, i, v)
        if (!json_string_value(v) || !strv_has(caps, json_string_value(v)))
            return false;
    return true;
}

static const char *docker_architecture(void)
{
    static struct utsname u;
    uname(&u);
    return str_eq(u.machine, "x86_64") ? "amd64" : str_eq(u.machine, "aarch64") ? "arm64" : u.machine;
}

static bool names_this_machine(const json_t *list)
{
    char *const machine[] = {(char *)docker_architecture(), NULL};
    return any_listed(list, machine);
}

static bool kernel_at_least(const char *wanted)
{
    struct utsname u;
    int a = 0, b = 0, c = 0, d = 0;
    uname(&u);
    if (sscanf(u.release, "%d.%d", &a, &b) != 2 || sscanf(wanted, "%d.%d", &c, &d) != 2)
        return false;
    return a > c || (a == c && b >= d);
}

static bool applies(const json_t *rule, char *const *caps)
{
    const json_t *in = json_object_get(rule, "includes"), *out = json_object_get(rule, "excludes");
    const char *least = json_str(in, "minKernel");
    if (json_array_size(json_object_get(in, "arches")) && !names_this_machine(json_object_get(in, "arches")))
        return false;
    if (names_this_machine(json_object_get(out, "arches")) || any_listed(json_object_get(out, "caps"), caps))
        return false;
    if (*json_str(out, "minKernel") && kernel_at_least(json_str(out, "minKernel")))
        return false;
    return all_listed(json_object_get(in, "caps"), caps) && (!*least || kernel_at_least(least));
}

static int profile(const char *text, char *const *caps, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *given = NULL;
    int r = json_parse(text, strlen(text), "seccomp profile", &given, err);
    if (r < 0)
        return r;
    if (!*json_str(given, "defaultAction"))
        return err_set(err, ERR_INVALID, "seccomp profile: \"defaultAction\" is missing");
    json_t *out = json_pack("{s:s}", "defaultAction", json_str(given, "defaultAction")),
           *rules = json_array(), *arches;
    static const char *const kept[] = {"defaultErrnoRet", "flags", "architectures"};
    for (size_t i = 0; i < ARRAY_SIZE(kept); i++)
        if (json_object_get(given, kept[i]))
            json_object_set(out, kept[i], json_object_get(given, kept[i]));
    size_t i;
    json_t *v;
    if (json_is_array(arches = json_object_get(given, "archMap"))) {
        json_t *default_seccomp = runtime_default_seccomp(caps);
        if (json_object_get(default_seccomp, "architectures"))
            json_object_set(out, "architectures", json_object_get(default_seccomp, "architectures"));
        json_decref(default_seccomp);
    }
    json_array_foreach (json_object_get(given, "syscalls"), i, v) {
        if (!applies(v, caps))
            continue;
        json_t *rule = json_pack("{s:s}", "action", json_str(v, "action"));
        json_object_set_new(rule, "names",
                            json_object_get(v, "names") ? json_incref(json_object_get(v, "names"))
                                                        : json_pack("[s]", json_str(v, "name")));
        if (json_object_get(v, "errnoRet"))
            json_object_set(rule, "errnoRet", json_object_get(v, "errnoRet"));
        if (json_array_size(json_object_get(v, "args")))
            json_object_set(rule, "args", json_object_get(v, "args"));
        json_array_append_new(rules, rule);
    }
    json_object_set_new(out, "syscalls", rules);
    *ret = out;
    return 0;
}

struct options {
    const char *seccomp;  /* NULL: the default */
    const char *apparmor; /* a profile's name, "unconfined", or NULL: the default */
    bool no_new_privileges, open_paths;
};

static int invalid_option(int parts, const char *text, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid --security-opt %d: \"%.200s\"", parts, text);
}

/* "name=value"; "name:value" is the form of before. */
static int read_option(const char *text, struct options *ret, struct err *err)
{
    size_t n = strcspn(text, "=:");
    const char *value = text[n] ? text + n + 1 : "";
    _cleanup_free_ char *name = mem_strndup(text, n);
    if (str_eq(name, "no-new-privileges")) {
        ret->no_new_privileges = true;
        return !*value || parse_bool(value, &ret->no_new_privileges, NULL) == 0
                   ? 0
                   : invalid_option(2, text, err);
    }
    if (!*value)
        return invalid_option(1, text, err);
    if (str_eq(name, "seccomp"))
        ret->seccomp = str_eq(value, "builtin") ? NULL : value;
    else if (str_eq(name, "systempaths") && str_eq(value, "unconfined"))
        ret->open_paths = true;
    else if (str_eq(name, "apparmor"))
        ret->apparmor = value;
    else if (str_eq(name, "label") && str_eq(value, "disable"))
        return 0; /* as it is here */
    else if (str_eq(name, "label"))
        return err_set(
            err, ERR_UNSUPPORTED,
            "\"HostConfig.SecurityOpt\": \"%.200s\" is not supported; of labels there is label=disable",
            text);
    else
        return invalid_option(2, text, err);
    return 0;
}

static int read_options(const json_t *host, struct options *ret, char ***ret_texts, struct err *err)
{
    int r = json_get_strv(host, "HostConfig", "SecurityOpt", ret_texts, err);
    STRV_FOREACH (text, *ret_texts)
        if (r == 0)
            r = read_option(*text, ret, err);
    return r;
}

int spec__check_security(const json_t *host, struct err *err)
{
    _cleanup_strv_ char **caps = NULL, **texts = NULL;
    struct options o = {0};
    int r = capabilities(host, NULL, &caps, err);
    return r < 0 ? r : read_options(host, &o, &texts, err);
}

int spec__security(const json_t *host, json_t *spec, char ***ret_caps, struct err *err)
{
    json_t *linux_ = json_object_get(spec, "linux"), *process = json_object_get(spec, "process");
    _cleanup_strv_ char **caps = NULL, **given = NULL;
    struct options o = {0};
    int r = capabilities(host, process, &caps, err);
    if (r == 0)
        r = read_options(host, &o, &given, err);
    if (r < 0)
        return r;
    bool privileged = json_bool(host, "Privileged");
    const char *apparmor = o.apparmor || privileged ? o.apparmor : apparmor_default();
    if (apparmor)
        json_set_str(process, "apparmorProfile", apparmor);
    json_object_set_new(process, "noNewPrivileges", json_boolean(o.no_new_privileges));
    json_t *seccomp = NULL;
    if (o.seccomp && !str_eq(o.seccomp, "unconfined")) {
        if ((r = profile(o.seccomp, caps, &seccomp, err)) < 0)
            return r;
    } else if (!o.seccomp && !privileged)
        seccomp = json_string(KEEPER_SECCOMP_DEFAULT);
    if (seccomp)
        json_object_set_new(linux_, "seccomp", seccomp);
    else
        json_object_del(linux_, "seccomp");
    static const char *const paths[][2] = {{"MaskedPaths", "maskedPaths"},
                                           {"ReadonlyPaths", "readonlyPaths"}};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
        json_t *list = json_object_get(host, paths[i][0]);
        if (privileged || o.open_paths)
            json_object_set_new(linux_, paths[i][1], json_array());
        else if (json_is_array(list))
            json_object_set(linux_, paths[i][1], list);
    }
    *ret_caps = take_ptr(caps);
    return 0;
}
