/* The OCI config of a start: the process, and the parts of the other spec_*.c put together. */
#include "engine/build_mounts.h"

#include "base/file.h"
#include "base/process.h"
#include "engine/userns.h"
#include "engine/users.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ACCOUNT_FILE_MAX = 4 << 20 };

/* A missing file is an empty one; so is one that is too large or no regular file, whose owner harms only
 * himself. */
int spec__account_file(struct container *c, char *const *lowers, const char *path, struct str *ret,
                       struct err *err)
{
    static const int none[] = {ENOENT, ENOTDIR, ELOOP, EACCES, ENXIO, ENAMETOOLONG};
    struct err why = {0};
    int r = rootview__read(c, lowers, path, ACCOUNT_FILE_MAX, ret, &why);
    bool empty = r == -ERR_NOT_FOUND || r == -ERR_LIMIT;
    for (size_t i = 0; r < 0 && i < ARRAY_SIZE(none); i++)
        empty |= why.sys == none[i];
    if (r < 0 && empty)
        str_truncate(ret, 0);
    if (r == 0 || empty)
        return 0;
    err_copy(err, &why);
    return err_wrap(err, "read the container's %s", path);
}

int spec__user(struct container *c, char *const *lowers, const char *user, char *const *group_add,
               json_t *process, char **ret_home, struct err *err)
{
    _cleanup_str_ struct str passwd = STR_INIT, group = STR_INIT;
    int r = accounts__read(c, lowers, &passwd, &group, err);
    if (r < 0)
        return r;
    struct users_identity *who = NEW(struct users_identity);
    _cleanup_free_ void *owned = who;
    r = users_resolve(str_get(&passwd), str_get(&group), user, group_add, who, err);
    if (r < 0)
        return r;
    json_t *groups = json_array();
    for (size_t i = 0; i < who->group_count; i++)
        json_array_append_new(groups, json_integer(who->groups[i]));
    json_object_set_new(process, "user",
                        json_pack("{s:I,s:I,s:o}", "uid", (json_int_t)who->uid, "gid", (json_int_t)who->gid,
                                  "additionalGids", groups));
    *ret_home = mem_strdup(who->home);
    return 0;
}

static json_t *arguments(const json_t *config, bool init)
{
    json_t *args = json_array();
    if (init) {
        json_array_append_new(args, json_string("/sbin/docker-init"));
        json_array_append_new(args, json_string("--"));
    }
    if (json_is_array(json_object_get(config, "Entrypoint")))
        json_array_extend(args, json_object_get(config, "Entrypoint"));
    if (json_is_array(json_object_get(config, "Cmd")))
        json_array_extend(args, json_object_get(config, "Cmd"));
    return args;
}

/* Docker's names are RLIMIT_ names in lower case. */
static int rlimits(const json_t *host, json_t *process, struct err *err)
{
    const json_t *list = json_object_get(host, "Ulimits"), *one;
    json_t *out = json_array();
    size_t i;
    json_array_foreach (list, i, one) {
        const char *name = "";
        int64_t soft = 0, hard = 0;
        int r = json_get_string(one, "HostConfig.Ulimits", "Name", &name, err);
        if (r == 0)
            r = json_get_i64(one, "HostConfig.Ulimits", "Soft", &soft, err);
        if (r == 0)
            r = json_get_i64(one, "HostConfig.Ulimits", "Hard", &hard, err);
        if (r < 0) {
            json_decref(out);
            return r;
        }
        _cleanup_free_ char *type = str_printf("RLIMIT_%s", name);
        for (char *c = type; *c; c++)
            if (*c >= 'a' && *c <= 'z')
                *c = (char)(*c - 'a' + 'A');
        json_array_append_new(out, json_pack("{s:s,s:I,s:I}", "type", type, "soft", (json_int_t)soft, "hard",
                                             (json_int_t)hard));
    }
    json_object_set_new(process, "rlimits", out);
    return 0;
}

/* True when a layer plainly has the directory, so that nothing needs to be mounted to find out. */
static bool layers_have(struct container *c, char *const *lowers, const char *path)
{
    _cleanup_free_ char *dir = container__dir(c);
    const char *layers = images_layers_dir(c->engine->images);
    for (size_t i = 0; i == 0 || (lowers && lowers[i - 1]); i++) {
        _cleanup_free_ char *root =
            i ? str_printf("%s/%s", layers, lowers[i - 1]) : str_printf("%s/upper", dir);
        _cleanup_close_ int layer = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (layer < 0)
            return false;
        _cleanup_close_ int fd = file_open_in_root(layer, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, NULL);
        if (fd >= 0)
            return true;
    }
    return false;
}

static int make_workdir(const struct spec_input *in, const char *cwd, struct err *err)
{
    if (str_eq(cwd, "/") || layers_have(in->c, in->lowers, cwd))
        return 0;
    _cleanup_close_ int root = -EBADF;
    int r = rootview__open(in->c, false, &root, err);
    if (r < 0)
        return r;
    _cleanup_close_ int fd = file_mkdirs_in_root(root, cwd, 0755, err);
    return fd < 0 ? err_wrap(err, "create the working directory %s", cwd) : 0;
}

static void set_capabilities(json_t *process, char *const *caps)
{
    bool root = json_int(json_object_get(process, "user"), "uid") == 0;
    json_t *list = json_of_strv(caps);
    json_object_set_new(process, "capabilities",
                        json_pack("{s:O,s:o,s:o}", "bounding", list, "effective",
                                  root ? json_incref(list) : json_array(), "permitted",
                                  root ? json_incref(list) : json_array()));
    json_decref(list);
}

int spec__process(const struct spec_input *in, json_t *spec, struct err *err)
{
    const json_t *config = json_object_get(in->doc, "Config"), *host = json_object_get(in->doc, "HostConfig");
    json_t *process = json_object_get(spec, "process");
    _cleanup_strv_ char **groups = NULL;
    _cleanup_free_ char *home = NULL;
    const char *cwd = *json_str(config, "WorkingDir") ? json_str(config, "WorkingDir") : "/";
    int r = json_get_strv(host, "HostConfig", "GroupAdd", &groups, err);
    if (r == 0)
        r = spec__user(in->c, in->lowers, json_str(config, "User"), groups, process, &home, err);
    if (r == 0)
        r = rlimits(host, process, err);
    if (r == 0)
        r = make_workdir(in, cwd, err);
    json_t *env = NULL;
    if (r == 0)
        r = spec__environment(in->c, config, NULL, json_bool(config, "Tty"), home, &env, err);
    if (r < 0)
        return r;
    json_object_set_new(process, "args", arguments(config, spec__has_init(host)));
    STRV_FOREACH (entry, in->c->build ? in->c->build->env : NULL)
        json_array_append_new(env, json_string(*entry));
    json_object_set_new(process, "env", env);
    json_object_set_new(process, "terminal", json_boolean(json_bool(config, "Tty")));
    json_set_str(process, "cwd", cwd);
    spec__oom_score(host, process);
    return 0;
}

/* An ordinary user may only raise what the session gave them. */
void spec__oom_score(const json_t *host, json_t *process)
{
    if (json_int(host, "OomScoreAdj") || !process_in_user_namespace())
        json_object_set_new(process, "oomScoreAdj", json_integer(json_int(host, "OomScoreAdj")));
}

static void set_identity(const struct spec_input *in, json_t *spec)
{
    const json_t *config = json_object_get(in->doc, "Config"), *host = json_object_get(in->doc, "HostConfig");
    if (!str_eq(json_str(host, "UTSMode"), "host")) {
        json_set_str(spec, "hostname", json_str(config, "Hostname"));
        if (*json_str(config, "Domainname"))
            json_set_str(spec, "domainname", json_str(config, "Domainname"));
    }
    _cleanup_free_ char *cgroup = container__cgroup(in->c, in->doc);
    json_set_str(json_object_get(spec, "linux"), "cgroupsPath", cgroup);
    json_object_set_new(json_object_get(spec, "root"), "readonly",
                        json_boolean(json_bool(host, "ReadonlyRootfs")));
    if (json_object_size(json_object_get(host, "Annotations")))
        json_object_set_new(spec, "annotations", json_copy_tree(json_object_get(host, "Annotations")));
    if (spec__has_init(host)) {
        if (!json_object_get(spec, "annotations"))
            json_object_set_new(spec, "annotations", json_object());
        json_set_str(json_object_get(spec, "annotations"), RUNTIME_BLOCK_SIGNALS, "1");
    }
}

static unsigned last_group(const struct spec_input *in)
{
    struct userns u = userns__of(in->doc);
    return u.count ? MIN(u.count - 1, (unsigned)INT32_MAX) : process_last_group();
}

static int set_sysctls(const struct spec_input *in, json_t *spec)
{
    const json_t *host = json_object_get(in->doc, "HostConfig");
    json_t *sysctls = json_object();
    if (in->netns_index >= 0) { /* as Docker: an own network needs no privilege for its ports and pings */
        json_object_set_new(sysctls, "net.ipv4.ip_unprivileged_port_start", json_string("0"));
        json_object_set_new(sysctls, "net.ipv4.ping_group_range", json_sprintf("0 %u", last_group(in)));
    }
    json_object_update(sysctls, json_object_get(host, "Sysctls"));
    json_object_set_new(json_object_get(spec, "linux"), "sysctl", sysctls);
    return 0;
}

static void copy_member(json_t *object, const char *key)
{
    json_object_set_new(object, key, json_copy(json_object_get(object, key)));
}

/* The defaults with lists and objects of its own where a start changes them: what is put into a list or taken
 * out of it, and the members of an object. */
static json_t *begin_spec(void)
{
    static const char *const lists[] = {"namespaces", "devices", "resources"};
    json_t *spec = json_copy((json_t *)runtime_shared_defaults());
    copy_member(spec, "root");
    copy_member(spec, "process");
    copy_member(spec, "mounts");
    copy_member(spec, "linux");
    json_t *linux_ = json_object_get(spec, "linux");
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        copy_member(linux_, lists[i]);
    copy_member(json_object_get(linux_, "resources"), "devices");
    return spec;
}

int spec__build(const struct spec_input *in, json_t **ret, struct err *err)
{
    const json_t *host = json_object_get(in->doc, "HostConfig");
    _cleanup_json_ json_t *spec = begin_spec();
    _cleanup_strv_ char **caps = NULL;
    set_identity(in, spec);
    set_sysctls(in, spec);
    int r = spec__process(in, spec, err);
    if (r == 0)
        r = spec__security(host, spec, &caps, err);
    if (r == 0)
        r = spec__resources(host, spec, err);
    if (r == 0)
        r = spec__namespaces(in, spec, err);
    if (r == 0)
        r = spec__network_files(in, spec, err);
    if (r == 0)
        r = spec__mounts(in, spec, err);
    if (r < 0)
        return r;
    set_capabilities(json_object_get(spec, "process"), caps);
    *ret = take_ptr(spec);
    return 0;
}
