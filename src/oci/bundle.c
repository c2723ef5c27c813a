#include "oci/bundle.h"

#include "base/file.h"

#include <ctype.h>
#include <unistd.h>

enum { CONFIG_MAX = 8 << 20 };

void bundle_done(struct bundle *b)
{
    free(b->path);
    free(b->rootfs);
    str_free(&b->text);
    json_decref(b->config);
    *b = (struct bundle){0};
}

/* SemVer 2.0.0 of major version 1: what a 1.x config asks for is what is done here (config.md,
 * "Specification version"). */
static int check_version(const json_t *config, struct err *err)
{
    const char *version = NULL;
    int r = json_get_string(config, "", "ociVersion", &version, err);
    if (r < 0)
        return r;
    if (!version)
        return err_set(err, ERR_INVALID, "config.json has no \"ociVersion\"");
    int dots = 0;
    const char *at = version;
    for (; isdigit((unsigned char)*at) || (*at == '.' && isdigit((unsigned char)at[1])); at++)
        dots += *at == '.';
    if (dots != 2 || !isdigit((unsigned char)*version) || (*at && *at != '-' && *at != '+'))
        return err_set(err, ERR_INVALID, "\"ociVersion\": \"%s\" is not a version of the form 1.2.0",
                       version);
    if (!str_after(version, "1."))
        return err_set(err, ERR_UNSUPPORTED, "\"ociVersion\": \"%s\" is not supported; 1.x is", version);
    return 0;
}

static int find_root(struct bundle *b, struct err *err)
{
    json_t *root = NULL;
    const char *path = NULL;
    int r = json_get_object(b->config, "", "root", &root, err);
    if (r == 0)
        r = json_get_string(root, "root", "path", &path, err);
    if (r < 0)
        return r;
    if (str_empty(path))
        return err_set(err, ERR_INVALID, "config.json has no \"root.path\"");
    b->rootfs = *path == '/' ? mem_strdup(path) : str_printf("%s/%s", b->path, path);
    struct stat st;
    if (stat(b->rootfs, &st) < 0)
        return err_sys(err, errno, "\"root.path\": \"%s\"", b->rootfs);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, "\"root.path\": \"%s\" is not a directory", b->rootfs);
    char *real = realpath(b->rootfs, NULL);
    if (real) {
        free(b->rootfs);
        b->rootfs = real;
    }
    return 0;
}

/* The devices that every container has in /dev by itself (config-linux.md, "Default Devices") are of no use
 * when its cgroup forbids them, which a config's "deny all" would do. Making nodes is what CAP_MKNOD is for.
 */
static void allow_default_devices(json_t *config)
{
    static const struct {
        const char *type;
        int major, minor; /* <0: any */
        const char *access;
    } defaults[] = {
        {"c", -1, -1, "m"}, {"b", -1, -1, "m"}, {"c", 1, 3, "rwm"}, {"c", 1, 5, "rwm"}, {"c", 1, 7, "rwm"},
        {"c", 1, 8, "rwm"}, {"c", 1, 9, "rwm"}, {"c", 5, 0, "rwm"}, {"c", 5, 2, "rwm"}, {"c", 136, -1, "rwm"},
    };
    json_t *resources = json_object_get(json_object_get(config, "linux"), "resources");
    json_t *list = json_object_get(resources, "devices");
    if (!json_is_array(list) || json_array_size(list) == 0)
        return;
    for (size_t i = 0; i < ARRAY_SIZE(defaults); i++) {
        json_t *rule = json_object();
        json_object_set_new(rule, "allow", json_true());
        json_set_str(rule, "type", defaults[i].type);
        json_set_str(rule, "access", defaults[i].access);
        if (defaults[i].major >= 0)
            json_object_set_new(rule, "major", json_integer(defaults[i].major));
        if (defaults[i].minor >= 0)
            json_object_set_new(rule, "minor", json_integer(defaults[i].minor));
        json_array_append_new(list, rule);
    }
}

json_t *bundle_one_id(unsigned host)
{
    return json_pack("[{s:i, s:I, s:i}]", "containerID", 0, "hostID", (json_int_t)host, "size", 1);
}

/* A new user namespace whose users nobody named has one: who asks for it, as root. */
static void map_own_ids(json_t *config)
{
    json_t *linux_ = json_object_get(config, "linux"), *one, *list = json_object_get(linux_, "namespaces");
    size_t i;
    bool own = false;
    json_array_foreach (list, i, one)
        own = own || (str_eq(json_str(one, "type"), "user") && str_empty(json_str(one, "path")));
    if (!own || json_object_get(linux_, "uidMappings") || json_object_get(linux_, "gidMappings"))
        return;
    json_object_set_new(linux_, "uidMappings", bundle_one_id(geteuid()));
    json_object_set_new(linux_, "gidMappings", bundle_one_id(getegid()));
}

int bundle_load(const char *path, const char *config, struct bundle *ret, struct err *err)
{
    _cleanup_bundle_ struct bundle b = {0};
    b.path = realpath(str_empty(path) ? "." : path, NULL);
    if (!b.path)
        return err_sys(err, errno, "bundle \"%s\"", str_empty(path) ? "." : path);
    if (str_empty(config))
        config = "config.json";
    _cleanup_free_ char *file = *config == '/' ? mem_strdup(config) : str_printf("%s/%s", b.path, config);
    int r = file_read(file, CONFIG_MAX, &b.text, err);
    if (r == 0)
        r = json_parse(str_get(&b.text), b.text.len, file, &b.config, err);
    if (r < 0)
        return r;
    if (!json_is_object(b.config))
        return err_set(err, ERR_INVALID, "%s: not an object", file);
    r = check_version(b.config, err);
    if (r == 0)
        r = find_root(&b, err);
    if (r < 0)
        return r;
    allow_default_devices(b.config);
    map_own_ids(b.config);
    *ret = b;
    b = (struct bundle){0};
    return 0;
}

bool bundle_wants_terminal(const struct bundle *b)
{
    return json_bool(json_object_get(b->config, "process"), "terminal");
}
