#include "bakery/mount.h"
#include "bakery/dockerfile_priv.h"

#include "bakery/path.h"
#include "base/str.h"

#include <strings.h>

enum { TEXT_MAX = 4096, ID_MAX_BYTES = 1024 };

enum { T_BIND = 1, T_CACHE = 2, T_TMPFS = 4, T_SECRET = 8, T_SSH = 16, T_ALL = 31 };

static const struct {
    const char *name;
    enum bakery_mount_type type;
    unsigned bit;
    int mode;
} types[] = {
    {"bind", BAKERY_BIND, T_BIND, 0755},     {"cache", BAKERY_CACHE, T_CACHE, 0755},
    {"tmpfs", BAKERY_TMPFS, T_TMPFS, 01777}, {"secret", BAKERY_SECRET, T_SECRET, 0400},
    {"ssh", BAKERY_SSH, T_SSH, 0600},
};

enum key {
    K_TYPE,
    K_TARGET,
    K_SOURCE,
    K_FROM,
    K_ID,
    K_ENV,
    K_SHARING,
    K_MODE,
    K_UID,
    K_GID,
    K_SIZE,
    K_RO,
    K_RW,
    K_REQUIRED
};

static const struct {
    const char *name;
    enum key key;
    unsigned types; /* that have it */
    bool flag;      /* may stand without a value */
} keys[] = {
    {"type", K_TYPE, T_ALL, false},
    {"target", K_TARGET, T_ALL, false},
    {"dst", K_TARGET, T_ALL, false},
    {"destination", K_TARGET, T_ALL, false},
    {"source", K_SOURCE, T_BIND | T_CACHE, false},
    {"src", K_SOURCE, T_BIND | T_CACHE, false},
    {"from", K_FROM, T_BIND | T_CACHE, false},
    {"id", K_ID, T_CACHE | T_SECRET | T_SSH, false},
    {"env", K_ENV, T_SECRET, false},
    {"sharing", K_SHARING, T_CACHE, false},
    {"mode", K_MODE, T_CACHE | T_SECRET | T_SSH, false},
    {"uid", K_UID, T_CACHE | T_SECRET | T_SSH, false},
    {"gid", K_GID, T_CACHE | T_SECRET | T_SSH, false},
    {"size", K_SIZE, T_TMPFS, false},
    {"ro", K_RO, T_BIND | T_CACHE, true},
    {"readonly", K_RO, T_BIND | T_CACHE, true},
    {"rw", K_RW, T_BIND | T_CACHE, true},
    {"readwrite", K_RW, T_BIND | T_CACHE, true},
    {"required", K_REQUIRED, T_SECRET | T_SSH, true},
};

static const char *const sharings[] = {"shared", "private", "locked"};

void mount_done(struct mount_flag *m)
{
    free(m->from);
    free(m->mount.target);
    free(m->mount.source);
    free(m->mount.id);
    free(m->mount.env);
    *m = (struct mount_flag){0};
}

static void replace(char **place, const char *value)
{
    free(*place);
    *place = mem_strdup(value);
}

static int parse_octal(const char *text, int *ret, struct err *err)
{
    int mode = 0;
    size_t n = strlen(text);
    bool ok = n >= 1 && n <= 5;
    for (size_t i = 0; ok && i < n; i++) {
        ok = text[i] >= '0' && text[i] <= '7';
        mode = ok ? mode * 8 + text[i] - '0' : 0;
    }
    if (!ok || mode > 07777)
        return err_set(err, ERR_INVALID, "mode=%.20s: it must be an octal mode such as 0755", text);
    *ret = mode;
    return 0;
}

static int parse_id_number(const char *key, const char *text, uint32_t *ret, struct err *err)
{
    int64_t n;
    if (parse_i64(text, 0, UINT32_MAX - 1, &n, NULL) < 0)
        return err_set(err, ERR_INVALID, "%s=%.50s: it must be a number", key, text);
    *ret = (uint32_t)n;
    return 0;
}

static int parse_sharing(const char *text, enum bakery_sharing *ret, struct err *err)
{
    for (size_t i = 0; i < ARRAY_SIZE(sharings); i++)
        if (strcasecmp(sharings[i], text) == 0) {
            *ret = (enum bakery_sharing)i;
            return 0;
        }
    return err_set(err, ERR_INVALID, "sharing=%.50s: it must be shared, private or locked", text);
}

static int take_value(struct mount_flag *m, enum key key, const char *name, const char *value,
                      struct err *err)
{
    bool on = true;
    if ((key == K_RO || key == K_RW || key == K_REQUIRED) && value && parse_bool(value, &on, NULL) < 0)
        return err_set(err, ERR_INVALID, "%s=%.50s: it must be true or false", name, value);
    switch (key) {
    case K_TYPE:
        return 0;
    case K_TARGET:
        replace(&m->mount.target, value);
        return 0;
    case K_SOURCE:
        replace(&m->mount.source, value);
        return 0;
    case K_FROM:
        replace(&m->from, value);
        return 0;
    case K_ID:
        replace(&m->mount.id, value);
        return 0;
    case K_ENV:
        replace(&m->mount.env, value);
        return 0;
    case K_SHARING:
        return parse_sharing(value, &m->mount.sharing, err);
    case K_MODE:
        return parse_octal(value, &m->mount.mode, err);
    case K_UID:
        return parse_id_number(name, value, &m->mount.uid, err);
    case K_GID:
        return parse_id_number(name, value, &m->mount.gid, err);
    case K_SIZE:
        return parse_bytes(value, &m->mount.size_bytes, err);
    case K_RO:
        m->mount.read_only = on;
        return 0;
    case K_RW:
        m->mount.read_only = !on;
        return 0;
    case K_REQUIRED:
        m->required = on;
        return 0;
    }
    return 0;
}

/* "type" may stand anywhere, and says which keys there may be. */
static int find_type(char **parts, mount_expand_fn expand, void *context, unsigned *ret_bit,
                     struct mount_flag *m, struct err *err)
{
    const char *text = "bind";
    _cleanup_free_ char *expanded = NULL;
    STRV_FOREACH (part, parts)
        if (strncasecmp(*part, "type=", 5) == 0)
            text = *part + 5;
    int r = expand ? expand(context, text, &expanded, err) : 0;
    if (r < 0)
        return r;
    _cleanup_free_ char *name = str_lower(expanded ? expanded : text);
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (str_eq(types[i].name, name)) {
            m->mount.type = types[i].type;
            m->mount.mode = types[i].mode;
            m->mount.read_only = types[i].type == BAKERY_BIND;
            *ret_bit = types[i].bit;
            return 0;
        }
    const char *near = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        near = df__distance(name, types[i].name) <= 2 ? types[i].name : near;
    return err_set(err, ERR_INVALID,
                   near ? "unsupported mount type \"%.50s\" (did you mean %s?)"
                        : "unsupported mount type \"%.50s\": it must be bind, cache, tmpfs, secret or ssh",
                   name, near);
}

static int take_part(struct mount_flag *m, unsigned bit, const char *part, mount_expand_fn expand,
                     void *context, struct err *err)
{
    size_t n = strcspn(part, "=");
    _cleanup_free_ char *name = mem_strndup(part, n), *lower = str_lower(name), *value = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        if (!str_eq(keys[i].name, lower))
            continue;
        if (!(keys[i].types & bit))
            return err_set(err, ERR_INVALID, "unexpected key '%s' for this type of mount", lower);
        if (!part[n] && !keys[i].flag)
            return err_set(err, ERR_INVALID, "key '%s' needs a value: %s=VALUE", lower, lower);
        if (keys[i].key == K_FROM && strchr(part, '$'))
            return err_set(err, ERR_INVALID, "%s: variables are not expanded in from; name a stage instead",
                           part);
        if (part[n]) {
            int r = expand ? expand(context, part + n + 1, &value, err) : 0;
            if (r < 0)
                return r;
            if (!expand)
                value = mem_strdup(part + n + 1);
        }
        return take_value(m, keys[i].key, lower, value, err);
    }
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
        if (strlen(keys[i].name) > 2 && df__distance(lower, keys[i].name) == 1)
            return err_set(err, ERR_INVALID, "unexpected key '%.50s' in \"%.100s\" (did you mean %s?)", name,
                           part, keys[i].name);
    return err_set(err, ERR_INVALID, "unexpected key '%.50s' in \"%.100s\"", name, part);
}

static bool is_env_name(const char *text)
{
    bool ok = *text && !(*text >= '0' && *text <= '9');
    for (; ok && *text; text++)
        ok = *text == '_' || (*text >= '0' && *text <= '9') || (*text >= 'a' && *text <= 'z') ||
             (*text >= 'A' && *text <= 'Z');
    return ok;
}

static int settle_secret(struct mount_flag *m, struct err *err)
{
    struct bakery_mount *b = &m->mount;
    if (str_empty(b->id) && str_empty(b->target))
        return err_set(err, ERR_INVALID, "a secret needs an id or a target");
    if (str_empty(b->id))
        replace(&b->id, path_base(b->target));
    if (b->env && !is_env_name(b->env))
        return err_set(err, ERR_INVALID, "env=%.50s: it must be the name of a variable", b->env);
    m->has_target = b->target || !b->env;
    if (m->has_target && !b->target)
        b->target = str_printf("/run/secrets/%s", path_base(b->id));
    return 0;
}

static int settle(struct mount_flag *m, const char *workdir, struct err *err)
{
    struct bakery_mount *b = &m->mount;
    m->has_target = true;
    if (b->type == BAKERY_SECRET) {
        int r = settle_secret(m, err);
        if (r < 0)
            return r;
    }
    if (b->type == BAKERY_SSH && str_empty(b->id))
        replace(&b->id, "default");
    if (b->type == BAKERY_SSH && !b->target) /* run.c gives the n-th its place */
        return 0;
    if (m->has_target && str_empty(b->target))
        return err_set(err, ERR_INVALID, "the mount needs a target: target=/path");
    if (m->has_target) {
        char *absolute = path_resolve(workdir, b->target);
        free(b->target);
        b->target = absolute;
        if (str_eq(absolute, "/"))
            return err_set(err, ERR_INVALID, "the mount's target cannot be the root directory");
    }
    if (b->type == BAKERY_CACHE && str_empty(b->id))
        replace(&b->id, b->target);
    if (b->id && strlen(b->id) > ID_MAX_BYTES)
        return err_set(err, ERR_LIMIT, "the mount's id is longer than %d bytes", ID_MAX_BYTES);
    if (b->type == BAKERY_CACHE && str_empty(m->from) && !str_empty(b->source))
        return err_set(err, ERR_INVALID, "a cache's source is one of its \"from\": say from=STAGE");
    return 0;
}

int mount_parse(const char *text, const char *workdir, mount_expand_fn expand, void *context,
                struct mount_flag *ret, struct err *err)
{
    _cleanup_mount_ struct mount_flag m = {0};
    unsigned bit = 0;
    if (strlen(text) > TEXT_MAX)
        return err_set(err, ERR_LIMIT, "--mount: longer than %d bytes", TEXT_MAX);
    _cleanup_strv_ char **parts = strv_split(text, ',');
    int r = find_type(parts, expand, context, &bit, &m, err);
    for (char **part = parts; r == 0 && *part; part++)
        r = take_part(&m, bit, *part, expand, context, err);
    if (r == 0)
        r = settle(&m, workdir, err);
    if (r < 0)
        return err_wrap(err, "--mount=%.200s", text);
    *ret = m;
    m = (struct mount_flag){0};
    return 0;
}

char *mount_describe(const struct mount_flag *m)
{
    const struct bakery_mount *b = &m->mount;
    return str_printf("mount %s|%s|%s|%s|%s|%s|%d|%o|%u|%u|%lld|%d", types[b->type].name,
                      b->target ? b->target : "", b->source ? b->source : "", m->from ? m->from : "",
                      b->id ? b->id : "", b->env ? b->env : "", (int)b->sharing, (unsigned)b->mode, b->uid,
                      b->gid, (long long)b->size_bytes, b->read_only);
}
