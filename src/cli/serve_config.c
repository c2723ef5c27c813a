#include "cli/serve_config.h"

#include "base/file.h"

enum { CONFIG_MAX_BYTES = 1 << 20 };

static int check_keys(const json_t *doc, const char *path, struct err *err)
{
    static const char *const known[] = {"runtimes",   "default-runtime", "insecure-registries",
                                        "log-level",  "userns-remap",    "default-address-pools",
                                        "log-driver", "log-opts",        "registry-peers",
                                        NULL};
    const char *key;
    json_t *value;
    if (!json_is_object(doc))
        return err_set(err, ERR_INVALID, "%s: must be one object", path);
    json_object_foreach ((json_t *)doc, key, value)
        if (!strv_has((char *const *)known, key))
            return err_set(err, ERR_UNSUPPORTED, "%s: \"%.100s\" is not supported", path, key);
    return 0;
}

static int read_doc(struct serve_config *c, struct err *err)
{
    json_t *runtimes = NULL, *pools = NULL, *options = NULL;
    int r = json_get_object(c->doc, "", "runtimes", &runtimes, err);
    if (r == 0)
        r = json_get_array(c->doc, "", "default-address-pools", &pools, err);
    if (r == 0)
        r = json_get_string(c->doc, "", "default-runtime", &c->default_runtime, err);
    if (r == 0)
        r = json_get_string(c->doc, "", "log-level", &c->log_level, err);
    if (r == 0)
        r = json_get_string(c->doc, "", "userns-remap", &c->userns_remap, err);
    if (r == 0)
        r = json_get_string(c->doc, "", "log-driver", &c->log_driver, err);
    if (r == 0)
        r = json_get_object(c->doc, "", "log-opts", &options, err);
    if (r == 0 && options)
        json_object_update(c->log_options, options);
    if (r == 0)
        r = json_get_strv(c->doc, "", "insecure-registries", &c->insecure_registries, err);
    if (r == 0)
        r = json_get_strv(c->doc, "", "registry-peers", &c->registry_peers, err);
    if (r == 0 && pools)
        json_array_extend(c->address_pools, pools);
    if (r == 0 && runtimes)
        json_object_update(c->runtimes, runtimes);
    return r;
}

int serve_config_load(const char *path, struct serve_config *ret, struct err *err)
{
    struct serve_config c = {
        .runtimes = json_object(), .log_options = json_object(), .address_pools = json_array()};
    const char *file = path ? path : SERVE_CONFIG_PATH;
    _cleanup_str_ struct str text = STR_INIT;
    int r = path || file_exists(file) ? file_read(file, CONFIG_MAX_BYTES, &text, err) : 1;
    if (r == 0)
        r = json_parse(str_get(&text), text.len, file, &c.doc, err);
    if (r == 0)
        r = check_keys(c.doc, file, err);
    if (r == 0 && (r = read_doc(&c, err)) < 0)
        err_wrap(err, "%s", file);
    if (r < 0) {
        serve_config_done(&c);
        return r;
    }
    *ret = c;
    return 0;
}

int serve_config_add_runtime(struct serve_config *c, const char *text, struct err *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text || !equals[1])
        return err_set(err, ERR_INVALID, "--add-runtime must be NAME=PATH, not \"%.200s\"", text);
    _cleanup_free_ char *name = mem_strndup(text, (size_t)(equals - text));
    if (json_object_get(c->runtimes, name))
        return err_set(err, ERR_INVALID, "the runtime \"%.100s\" is named twice", name);
    json_t *one = json_object();
    json_set_str(one, "path", equals + 1);
    json_object_set_new(c->runtimes, name, one);
    return 0;
}

int serve_config_add_pool(struct serve_config *c, const char *text, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ',');
    const char *base = NULL, *size = NULL;
    int64_t bits = 0;
    STRV_FOREACH (p, parts) {
        if (str_after(*p, "base="))
            base = str_after(*p, "base=");
        else if (str_after(*p, "size="))
            size = str_after(*p, "size=");
        else
            base = size = NULL;
    }
    if (!base || !size || parse_i64(size, 1, 128, &bits, NULL) < 0)
        return err_set(err, ERR_INVALID,
                       "--default-address-pool must be base=ADDRESS/BITS,size=BITS, not \"%.200s\"", text);
    json_array_append_new(c->address_pools, json_pack("{s:s,s:I}", "base", base, "size", (json_int_t)bits));
    return 0;
}

int serve_config_add_log_option(struct serve_config *c, const char *text, struct err *err)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return err_set(err, ERR_INVALID, "--log-opt must be NAME=VALUE, not \"%.200s\"", text);
    _cleanup_free_ char *name = mem_strndup(text, (size_t)(equals - text));
    json_set_str(c->log_options, name, equals + 1);
    return 0;
}

void serve_config_done(struct serve_config *c)
{
    json_decref(c->doc);
    json_decref(c->runtimes);
    json_decref(c->log_options);
    json_decref(c->address_pools);
    strv_free(c->insecure_registries);
    strv_free(c->registry_peers);
    *c = (struct serve_config){0};
}
