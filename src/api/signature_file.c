#include "api/signature_file.h"

#include "base/file.h"
#include "base/log.h"
#include "compose/fields.h"

#include <libgen.h>
#include <pthread.h>

enum { FILE_MAX_BYTES = 1 << 20, PATTERNS_MAX = 1000 };

/* --- reading --- */

/* As a rule stands in the file. */
struct written {
    char **images, **keys, **identity;
    const char *action;
    int64_t threshold;
};

static const struct field rule_fields[] = {
    {"images", FIELD_LIST, offsetof(struct written, images)},
    {"keys", FIELD_LIST, offsetof(struct written, keys)},
    {"threshold", FIELD_COUNT, offsetof(struct written, threshold)},
    {"identity", FIELD_LIST, offsetof(struct written, identity)},
    {"action", FIELD_TEXT, offsetof(struct written, action)},
    {0},
};

struct top {
    const struct yaml_node *rules;
};

static const struct field top_fields[] = {{"rules", FIELD_MAPS, offsetof(struct top, rules)}, {0}};

/* A path in the file is relative to the file's directory. */
static char *beside(const char *file, const char *path)
{
    _cleanup_free_ char *copy = mem_strdup(file);
    return *path == '/' ? mem_strdup(path) : str_printf("%s/%s", dirname(copy), path);
}

static int read_key(const char *path, struct signature_key **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, SIGNATURE_KEY_MAX_BYTES, &text, err);
    if (r < 0)
        return r;
    r = signature_key_parse(str_get(&text), text.len, ret, err);
    return r < 0 ? err_wrap(err, "%s", path) : 0;
}

/* Two names for one key would let one signature count for two. */
static bool has_key(const struct signature_rule *rule, const struct signature_key *key)
{
    for (size_t i = 0; i < rule->key_count; i++)
        if (signature_key_same(rule->keys[i], key))
            return true;
    return false;
}

static void read_keys(const char *file, const struct yaml_node *list, struct signature_rule *rule,
                      struct file_watch *watch, struct problems *problems)
{
    if (list->count > SIGNATURE_KEYS_MAX) {
        problem_add(problems, list, "has more than %d keys", SIGNATURE_KEYS_MAX);
        return;
    }
    rule->keys = NEW_N(struct signature_key *, list->count + 1);
    for (size_t i = 0; i < list->count; i++) {
        const struct yaml_node *at = list->items[i];
        struct signature_key *key = NULL;
        struct err err = {0};
        if (at->type != YAML_SCALAR) /* told already */
            continue;
        _cleanup_free_ char *path = beside(file, at->text);
        file_watch_add(watch, path);
        if (read_key(path, &key, &err) < 0)
            problem_add(problems, at, "%s", err.msg);
        else if (has_key(rule, key)) {
            problem_add(problems, at, "is the same key as another of this rule");
            signature_key_free(key);
        } else {
            rule->keys[rule->key_count++] = key;
            strv_add(&rule->key_names, at->text);
        }
    }
}

static void check_patterns(const struct yaml_node *list, struct problems *problems)
{
    if (list && list->type == YAML_LIST && (list->count == 0 || list->count > PATTERNS_MAX))
        problem_add(problems, list, "must have from 1 to %d patterns", PATTERNS_MAX);
}

static void read_action(const struct yaml_node *at, const struct written *w, struct signature_rule *rule,
                        struct problems *problems)
{
    const struct yaml_node *action = yaml_get(at, "action");
    if (!w->keys == !action)
        problem_add(problems, at, "needs either \"keys\" or \"action\"");
    else if (action && (w->threshold >= 0 || w->identity))
        problem_add(problems, at, "\"threshold\" and \"identity\" are for \"keys\"");
    else if (action && !str_eq(w->action, "accept") && !str_eq(w->action, "reject"))
        problem_add(problems, action, "must be accept or reject");
    rule->action = !action                       ? SIGNATURE_NEEDED
                   : str_eq(w->action, "accept") ? SIGNATURE_ACCEPT
                                                 : SIGNATURE_REJECT;
}

static void read_rule(struct yaml_arena *arena, const char *file, struct yaml_node *at,
                      struct signature_rule *rule, struct file_watch *watch, struct problems *problems)
{
    struct written w = {.threshold = -1};
    size_t before = problems->count;
    rule->where = str_printf("%s:%d:%d", file, at->line, at->column);
    fields_read(arena, rule_fields, at, &w, problems);
    if (problems->count > before)
        return;
    if (!w.images)
        problem_add(problems, at, "needs \"images\": patterns of their names, as docker.io/library/*");
    check_patterns(yaml_get(at, "images"), problems);
    check_patterns(yaml_get(at, "identity"), problems);
    read_action(at, &w, rule, problems);
    rule->images = strv_dup(w.images);
    rule->identities = w.identity ? strv_dup(w.identity) : NULL;
    rule->threshold = w.threshold < 0 ? 1 : w.threshold;
    if (!w.keys)
        return;
    read_keys(file, yaml_get(at, "keys"), rule, watch, problems);
    if (problems->count == before && rule->key_count == 0)
        problem_add(problems, yaml_get(at, "keys"), "must name a file with a public key");
    else if (problems->count == before && (rule->threshold < 1 || rule->threshold > (int64_t)rule->key_count))
        problem_add(problems, yaml_get(at, "threshold"), "must be from 1 to the number of keys, %zu",
                    rule->key_count);
}

static int read_document(struct yaml_arena *arena, const char *text, size_t n, struct file_watch *watch,
                         struct signature_policy *p, struct problems *problems, struct err *err)
{
    struct yaml_node *document;
    struct top top = {0};
    int r = fields_document(arena, p->path, text, n, &document, err);
    if (r < 0)
        return r;
    fields_read(arena, top_fields, document, &top, problems);
    size_t count = top.rules ? top.rules->count : 0;
    if (problems->count == 0 && !top.rules) /* an empty document has no place */
        return err_set(err, ERR_INVALID, "%s: needs \"rules\"", p->path);
    if (problems->count == 0 && (count == 0 || count > SIGNATURE_RULES_MAX))
        problem_add(problems, top.rules, "must have from 1 to %d rules", SIGNATURE_RULES_MAX);
    else {
        p->rules = NEW_N(struct signature_rule, count + 1);
        for (size_t i = 0; i < count; i++)
            read_rule(arena, p->path, top.rules->items[i], &p->rules[p->rule_count++], watch, problems);
    }
    return fields_settle(problems, err);
}

int signature_file_parse(const char *path, const char *text, size_t n, struct file_watch *watch,
                         struct signature_policy **ret, struct err *err)
{
    struct yaml_arena *arena = yaml_arena_new();
    struct problems problems = {0};
    struct signature_policy *p = signature_policy_new(path);
    int r = read_document(arena, text, n, watch, p, &problems, err);
    str_free(&problems.text);
    yaml_arena_free(arena);
    if (r < 0)
        signature_policy_unref(p);
    else
        *ret = p;
    return r;
}

/* --- watching --- */

struct signature_file {
    struct image_signatures source;
    char *path;
    pthread_mutex_t lock; /* all below */
    struct signature_policy *policy;
    struct file_watch watch;
};

static int load(struct signature_file *f, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct signature_policy *policy = NULL;
    file_watch_done(&f->watch);
    file_watch_add(&f->watch, f->path);
    int r = file_read(f->path, FILE_MAX_BYTES, &text, err);
    if (r == 0)
        r = signature_file_parse(f->path, str_get(&text), text.len, &f->watch, &policy, err);
    if (r == 0) {
        signature_policy_unref(f->policy);
        f->policy = policy;
    }
    return r;
}

static struct signature_policy *current(void *context)
{
    struct signature_file *f = context;
    struct err err = {0};
    pthread_mutex_lock(&f->lock);
    if (file_watch_changed(&f->watch)) {
        if (load(f, &err) < 0)
            log_warning("signature policy: %s; what was there before stays in force", err.msg);
        else
            log_info("signature policy: %s was read again", f->path);
    }
    struct signature_policy *p = signature_policy_ref(f->policy);
    pthread_mutex_unlock(&f->lock);
    return p;
}

int signature_file_open(const char *path, struct signature_file **ret, struct err *err)
{
    struct signature_file *f = NEW(struct signature_file);
    f->source = (struct image_signatures){f, current};
    f->path = mem_strdup(path);
    pthread_mutex_init(&f->lock, NULL);
    int r = load(f, err);
    if (r < 0) {
        signature_file_free(f);
        return err_wrap(err, "--signature-policy");
    }
    *ret = f;
    return 0;
}

void signature_file_free(struct signature_file *f)
{
    if (!f)
        return;
    pthread_mutex_destroy(&f->lock);
    signature_policy_unref(f->policy);
    file_watch_done(&f->watch);
    free(f->path);
    free(f);
}

const struct image_signatures *signature_file_source(struct signature_file *f)
{
    return &f->source;
}
