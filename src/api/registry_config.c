#include "api/registry_config_read.h"

#include "base/file.h"
#include "base/file_watch.h"
#include "base/log.h"
#include "registry/registry.h"

#include <pthread.h>

enum { TOP_KEYS_MAX = 32 };

static void add_keys(struct config_key *all, const struct config_key *more)
{
    while (all->name)
        all++;
    while (more->name)
        *all++ = *more++;
}

static int read_document(struct reading *r, struct yaml_arena *arena, const char *text, size_t n,
                         struct err *err)
{
    struct yaml_node **documents;
    size_t count;
    int code = yaml_parse(arena, r->path, text, n, &documents, &count, err);
    if (code < 0)
        return code;
    if (count != 1)
        return err_set(err, ERR_INVALID, "%s: must be one YAML document, and there are %zu", r->path, count);
    struct config_key keys[TOP_KEYS_MAX] = {0};
    add_keys(keys, config_access_keys);
    add_keys(keys, config_ship_keys);
    code = config_read_map(r, NULL, documents[0], "the registry's configuration", keys, err);
    return code < 0 ? code : config_check_access(r->policy, documents[0], err);
}

int registry_config_parse(const char *path, const char *text, size_t n, struct registry_policy **ret,
                          char ***ret_files, struct err *err)
{
    struct reading r = {.path = path, .policy = registry_policy_new()};
    struct yaml_arena *arena = yaml_arena_new();
    int code = read_document(&r, arena, text, n, err);
    yaml_arena_free(arena);
    if (code < 0)
        registry_policy_unref(r.policy);
    else
        *ret = r.policy;
    *ret_files = r.files;
    return code;
}

int registry_config_of_users(const char *path, struct registry_policy **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int code = file_read(path, CONFIG_FILE_MAX_BYTES, &text, err);
    if (code < 0)
        return code;
    struct registry_policy *p = registry_policy_new();
    p->basic = true;
    config_read_htpasswd(p, str_get(&text));
    *ret = p;
    return 0;
}

/* --- watching --- */

struct registry_config {
    struct registry *registry;
    char *config, *users;
    pthread_mutex_t lock; /* all below */
    struct file_watch watch;
};

static int read_config(struct registry_config *c, struct registry_policy **ret, char ***files,
                       struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_strv_ char **more = NULL;
    if (!c->config)
        return registry_config_of_users(c->users, ret, err);
    int code = file_read(c->config, CONFIG_FILE_MAX_BYTES, &text, err);
    if (code == 0)
        code = registry_config_parse(c->config, str_get(&text), text.len, ret, &more, err);
    STRV_FOREACH (file, more)
        strv_add(files, *file);
    return code;
}

/* A file of users that is gone, or names none, lets nobody in; a configuration that is wrong changes nothing.
 */
static int load(struct registry_config *c, struct err *err)
{
    struct registry_policy *policy = NULL;
    _cleanup_strv_ char **files = NULL;
    file_watch_done(&c->watch);
    file_watch_add(&c->watch, c->config ? c->config : c->users);
    int code = read_config(c, &policy, &files, err);
    if (code < 0 && !c->config) {
        policy = registry_policy_new();
        policy->basic = true;
    }
    STRV_FOREACH (file, files)
        file_watch_add(&c->watch, *file);
    if (policy)
        registry_policy_set(c->registry, policy);
    return code;
}

int registry_config_reload(struct registry_config *c, struct err *err)
{
    pthread_mutex_lock(&c->lock);
    int code = load(c, err);
    pthread_mutex_unlock(&c->lock);
    return code;
}

void registry_config_refresh(struct registry_config *c)
{
    struct err err = {0};
    pthread_mutex_lock(&c->lock);
    if (file_watch_changed(&c->watch)) {
        if (load(c, &err) < 0)
            log_warning("registry: %s%s", err.msg, c->config ? "; what was there before stays in force" : "");
        else
            log_info("registry: %s was read again", c->config ? c->config : c->users);
    }
    pthread_mutex_unlock(&c->lock);
}

int registry_config_open(struct registry *r, const char *config, const char *users,
                         struct registry_config **ret, struct err *err)
{
    struct registry_config *c = NEW(struct registry_config);
    c->registry = r;
    c->config = mem_strdup(config);
    c->users = mem_strdup(users);
    pthread_mutex_init(&c->lock, NULL);
    int code = load(c, err);
    struct registry_policy *p = code == 0 ? registry_policy_get(r) : NULL;
    if (code == 0 && users && p->users.count == 0)
        code = err_set(err, ERR_INVALID, "%s names no user: make one with htpasswd -B", users);
    registry_policy_unref(p);
    if (code < 0) {
        registry_config_free(c);
        return code;
    }
    *ret = c;
    return 0;
}

void registry_config_free(struct registry_config *c)
{
    if (!c)
        return;
    pthread_mutex_destroy(&c->lock);
    file_watch_done(&c->watch);
    free(c->config);
    free(c->users);
    free(c);
}
