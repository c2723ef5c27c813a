/* The checks that need no running container. */
#include "bakery/pattern.h"
#include "base/json.h"
#include "imagetest/hostrefs.h"
#include "imagetest/scan.h"
#include "imagetest/utilities.h"

#include <sys/stat.h>

struct judging {
    struct image_scan *scan;
    const struct image_checks *checks;
    struct findings *findings;
    const char *where; /* what of the configuration is looked at */
};

/* --- Lists of what is allowed --- */

/* A glob ("*" within a part, "**" over parts), for a path with or without its first slash. */
static bool glob(const char *pattern, const char *text)
{
    _cleanup_(pattern_free_p) struct pattern *p = NULL;
    pattern += *pattern == '/';
    text += *text == '/';
    return pattern_new(pattern, true, &p, NULL) == 0 && pattern_match(p, text, strlen(text));
}

static bool listed(char *const *globs, const char *text)
{
    for (; globs && *globs; globs++)
        if (glob(*globs, text))
            return true;
    return false;
}

/* By path, or by the program's name alone. */
static bool program_listed(char *const *globs, const char *path)
{
    const char *slash = strrchr(path, '/');
    return listed(globs, path) || strv_has(globs, slash ? slash + 1 : path);
}

/* --- Layers --- */

static void judge_layers(struct judging *j)
{
    const struct image_checks *c = j->checks;
    const struct image_scan *s = j->scan;
    const struct tree *t = &s->tree;
    if (c->max_layers && (int64_t)s->layer_count > c->max_layers)
        findings_add(j->findings, CHECK_LAYERS, "count", -1, NULL, NULL,
                     "%zu layers; at most %lld are allowed", s->layer_count, (long long)c->max_layers);
    if (c->max_bytes && s->bytes > c->max_bytes)
        findings_add(j->findings, CHECK_LAYERS, "bytes", -1, NULL, NULL,
                     "the layers hold %lld bytes; at most %lld are allowed", (long long)s->bytes,
                     (long long)c->max_bytes);
    bool bytes = c->max_wasted_bytes && t->wasted > c->max_wasted_bytes;
    /* Of a very small image a part is not worth a word. */
    bool part = c->max_wasted_percent && t->wasted > (1 << 20) &&
                (double)t->wasted * 100 > (double)c->max_wasted_percent * (double)s->bytes;
    if (!bytes && !part)
        return;
    findings_add(
        j->findings, CHECK_LAYERS, "wasted", -1, NULL, NULL,
        "%lld of %lld bytes are of files that a higher layer replaces or deletes; at most %lld bytes and "
        "%lld%% are allowed",
        (long long)t->wasted, (long long)s->bytes, (long long)c->max_wasted_bytes,
        (long long)c->max_wasted_percent);
    for (size_t i = 0; i < ARRAY_SIZE(t->worst) && t->worst[i].path; i++)
        findings_add(j->findings, CHECK_LAYERS, "wasted", t->worst[i].layer, t->worst[i].path, NULL,
                     "%lld bytes, replaced or deleted by layer %d (%s)", (long long)t->worst[i].bytes,
                     t->worst[i].by_layer + 1, s->instructions[t->worst[i].by_layer]);
}

/* --- Ports: the configuration's. The running container's are looked at when it runs. --- */

static const json_t *config_of(const struct image_scan *s)
{
    return json_object_get(s->config, "config");
}

static void judge_ports(struct judging *j)
{
    const char *port;
    json_t *ignored;
    if (!j->checks->ports)
        return;
    json_object_foreach (json_object_get(config_of(j->scan), "ExposedPorts"), port, ignored) {
        if (!image_checks_port(j->checks, port))
            findings_add(j->findings, CHECK_PORTS, "exposed", -1, NULL, NULL,
                         "the image exposes %s, which is not among the declared ports", port);
    }
}

/* --- Files of the tree: programs and rights --- */

static void judge_program(struct judging *j, const struct node *n)
{
    const char *kind = utility_kind(n->path);
    bool forbidden = program_listed(j->checks->utilities_forbid, n->path);
    if ((!kind && !forbidden) || (!forbidden && program_listed(j->checks->utilities_allow, n->path)))
        return;
    if (S_ISREG(n->mode) && !(n->mode & 0111))
        return;
    findings_add(j->findings, CHECK_UTILITIES, kind ? kind : "forbidden", n->layer, n->path, NULL, "%s%s%s",
                 kind ? kind : "forbidden by the checks", n->link ? ", a link to " : "",
                 n->link ? n->link : "");
}

static void judge_rights(struct judging *j, const struct node *n)
{
    if (!S_ISREG(n->mode) || listed(j->checks->privileges_allow, n->path))
        return;
    if (n->mode & S_ISUID)
        findings_add(j->findings, CHECK_PRIVILEGES, "setuid", n->layer, n->path, NULL,
                     "setuid: runs as user %u whoever starts it (mode %04o)", n->uid, n->mode & 07777);
    if ((n->mode & S_ISGID) && (n->mode & S_IXGRP))
        findings_add(j->findings, CHECK_PRIVILEGES, "setgid", n->layer, n->path, NULL,
                     "setgid: runs as group %u whoever starts it (mode %04o)", n->gid, n->mode & 07777);
    if (n->capabilities)
        findings_add(j->findings, CHECK_PRIVILEGES, "capabilities", n->layer, n->path, NULL,
                     "file capabilities: has rights of root whoever starts it");
}

static void judge_tree(struct judging *j)
{
    const struct map_entry *e;
    bool programs = !image_checks_skip(j->checks, CHECK_UTILITIES);
    bool rights = !image_checks_skip(j->checks, CHECK_PRIVILEGES);
    for (size_t i = 0; (e = map_next(&j->scan->tree.nodes, &i));) {
        const struct node *n = e->value;
        if (S_ISDIR(n->mode))
            continue;
        if (programs)
            judge_program(j, n);
        if (rights)
            judge_rights(j, n);
    }
}

/* --- Users --- */

/* The n-th field of the line of /etc/passwd or /etc/group whose first field is `name`. */
static bool account(const char *text, const char *name, size_t field, char **ret)
{
    _cleanup_strv_ char **lines = strv_split(text ? text : "", '\n');
    STRV_FOREACH (line, lines) {
        _cleanup_strv_ char **fields = strv_split(*line, ':');
        if (strv_len(fields) > field && str_eq(fields[0], name)) {
            *ret = mem_strdup(fields[field]);
            return true;
        }
    }
    return false;
}

static const char *accounts(const struct image_scan *s, bool group)
{
    for (size_t i = s->layer_count; i-- > 0;) {
        const char *text = group ? s->order[i]->group : s->order[i]->passwd;
        if (text)
            return text;
    }
    return NULL;
}

/* A number, or a name of the image's own; false: no such account. */
static bool account_id(const struct image_scan *s, const char *name, bool group, int64_t *ret)
{
    _cleanup_free_ char *id = NULL;
    if (parse_i64(name, 0, UINT32_MAX, ret, NULL) == 0)
        return true;
    return account(accounts(s, group), name, 2, &id) && parse_i64(id, 0, UINT32_MAX, ret, NULL) == 0;
}

static void judge_user(struct judging *j)
{
    const char *user = json_str(config_of(j->scan), "User");
    _cleanup_free_ char *name = mem_strndup(user, strcspn(user, ":"));
    int64_t uid = 0;
    if (j->checks->allow_root)
        return;
    if (!*name)
        findings_add(j->findings, CHECK_USER, "root", -1, NULL, NULL,
                     "the image names no user, so it runs as root; add USER to its Dockerfile");
    else if (!account_id(j->scan, name, false, &uid))
        findings_add(j->findings, CHECK_USER, "unknown", -1, "/etc/passwd", NULL,
                     "the image's user \"%s\" is not in its /etc/passwd", name);
    else if (uid == 0)
        findings_add(j->findings, CHECK_USER, "root", -1, NULL, NULL, "the image's user \"%s\" is root",
                     name);
}

/* --- Content: secrets and hosts --- */

static bool secret_allowed(const struct image_checks *c, const char *rule, const char *path,
                           const char *fingerprint)
{
    for (size_t i = 0; i < c->secrets_allow_count; i++) {
        const struct secret_allowed *a = &c->secrets_allow[i];
        if ((!a->rule || str_eq(a->rule, rule)) && (!a->path || (path && glob(a->path, path))) &&
            (!a->fingerprint || str_eq(a->fingerprint, fingerprint)))
            return true;
    }
    return false;
}

/* Whether a container sees this layer's file of that name. */
static bool still_there(const struct image_scan *s, const char *path, int layer)
{
    const struct node *n = map_get(&s->tree.nodes, path);
    return n && n->layer == layer;
}

static void secret_hit(struct judging *j, const struct content_hit *h, int layer)
{
    if (secret_allowed(j->checks, h->rule, h->path, h->fingerprint))
        return;
    findings_add(j->findings, CHECK_SECRETS, h->rule, layer, h->path, h->fingerprint, "%s%s", h->text,
                 still_there(j->scan, h->path, layer)
                     ? ""
                     : "; a higher layer replaces or deletes the file, and who has "
                       "the image has it all the same");
}

/* A home directory that the image itself has is no host's. */
static bool of_the_image(const struct image_scan *s, const char *path)
{
    return *path == '/' && tree_find(&s->tree, path, true) != NULL;
}

static bool host_listed(const struct judging *j, const char *text, const char *path)
{
    return strv_has(j->checks->host_allow, text) || (path && listed(j->checks->host_allow, path));
}

static void host_hit(struct judging *j, const struct content_hit *h, int layer)
{
    if (host_listed(j, h->text, h->path) || of_the_image(j->scan, h->text) ||
        !still_there(j->scan, h->path, layer))
        return;
    findings_add(j->findings, CHECK_HOST, h->rule, layer, h->path, NULL, "line %d: %s", h->line, h->text);
}

static void judge_content(struct judging *j)
{
    bool secrets = !image_checks_skip(j->checks, CHECK_SECRETS),
         host = !image_checks_skip(j->checks, CHECK_HOST);
    for (size_t i = 0; i < j->scan->layer_count; i++) {
        const struct scan_layer *l = j->scan->order[i];
        for (size_t k = 0; k < l->hit_count; k++) {
            if (l->hits[k].check == CHECK_SECRETS && secrets)
                secret_hit(j, &l->hits[k], (int)i);
            if (l->hits[k].check == CHECK_HOST && host)
                host_hit(j, &l->hits[k], (int)i);
        }
        if (l->hits_left_out && secrets)
            findings_add(j->findings, CHECK_SECRETS, "many", (int)i, NULL, NULL,
                         "%zu more places of this layer look like secrets or hosts", l->hits_left_out);
    }
}

/* --- Configuration and history --- */

static void config_secret(void *context, const struct secret_hit *hit)
{
    struct judging *j = context;
    if (!secret_allowed(j->checks, hit->rule, NULL, hit->fingerprint))
        findings_add(j->findings, CHECK_SECRETS, hit->rule, -1, NULL, hit->fingerprint, "%s: %s", j->where,
                     hit->preview);
}

static void config_host(void *context, const struct hostref *ref)
{
    struct judging *j = context;
    if (!host_listed(j, ref->text, NULL) && !of_the_image(j->scan, ref->text))
        findings_add(j->findings, CHECK_HOST, ref->rule, -1, NULL, NULL, "%s: %s", j->where, ref->text);
}

static void judge_text(struct judging *j, const char *where, const char *text, bool host)
{
    j->where = where;
    if (!image_checks_skip(j->checks, CHECK_SECRETS)) {
        struct secret_scanner *scanner = secret_scanner_new(config_secret, j);
        secret_scanner_begin(scanner, SECRET_GUESS);
        secret_scanner_feed(scanner, text, strlen(text));
        secret_scanner_end(scanner);
        secret_scanner_free(scanner);
    }
    if (host && !image_checks_skip(j->checks, CHECK_HOST))
        hostrefs_find(text, strlen(text), true, j->scan->own_name, config_host, j);
}

static void judge_list(struct judging *j, const json_t *list, const char *where)
{
    size_t i;
    const json_t *one;
    json_array_foreach (list, i, one)
        if (json_is_string(one))
            judge_text(j, where, json_string_value(one), true);
}

/* "DB_PASSWORD=...": whatever the value looks like. */
static void judge_variable(struct judging *j, const char *pair)
{
    const char *equals = strchr(pair, '=');
    struct secret_hit hit;
    if (!equals || image_checks_skip(j->checks, CHECK_SECRETS))
        return;
    size_t n = strlen(equals + 1);
    bool path = equals[1] == '/';
    if (!secret_name(pair, (size_t)(equals - pair)) || path || secret_placeholder(equals + 1, n))
        return;
    _cleanup_free_ char *where = str_printf("environment variable %.*s", (int)(equals - pair), pair);
    secret_describe("environment", equals + 1, n, &hit);
    j->where = where;
    config_secret(j, &hit);
}

static void judge_config(struct judging *j)
{
    const json_t *config = config_of(j->scan), *value;
    size_t i;
    const char *key;
    json_array_foreach (json_object_get(config, "Env"), i, value) {
        const char *pair = json_is_string(value) ? json_string_value(value) : "";
        _cleanup_free_ char *where = str_printf("environment variable %.*s", (int)strcspn(pair, "="), pair);
        size_t before = j->findings->count;
        judge_text(j, where, pair, true);
        if (j->findings->count == before)
            judge_variable(j, pair);
    }
    json_object_foreach ((json_t *)json_object_get(config, "Labels"), key, value) {
        _cleanup_free_ char *where = str_printf("label %s", key);
        /* Labels tell where the source is; that is no dependency on a host. */
        if (json_is_string(value))
            judge_text(j, where, json_string_value(value), false);
    }
    judge_list(j, json_object_get(config, "Entrypoint"), "entrypoint");
    judge_list(j, json_object_get(config, "Cmd"), "command");
    judge_list(j, json_object_get(json_object_get(config, "Healthcheck"), "Test"), "health check");
    json_array_foreach (json_object_get(j->scan->config, "history"), i, value) {
        _cleanup_free_ char *line = image_scan__printable(json_str(value, "created_by"));
        _cleanup_free_ char *where = str_printf("history, instruction \"%.60s\"", line);
        judge_text(j, where, line, false);
    }
}

/* --- Expected files --- */

static const char *type_of(mode_t mode)
{
    return S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "symlink" : S_ISREG(mode) ? "file" : "special file";
}

static void expect_owner(struct judging *j, const struct file_check *f, const struct node *n, bool group)
{
    const char *wanted = group ? f->group : f->owner;
    uint32_t is = group ? n->gid : n->uid;
    int64_t id;
    if (!wanted)
        return;
    if (!account_id(j->scan, wanted, group, &id))
        findings_add(j->findings, CHECK_FILES, "owner", n->layer, f->path, NULL, "the image has no %s \"%s\"",
                     group ? "group" : "user", wanted);
    else if (id != is)
        findings_add(j->findings, CHECK_FILES, "owner", n->layer, f->path, NULL, "%s is %u, not %s (%lld)",
                     group ? "group" : "owner", is, wanted, (long long)id);
}

static const char *digest_in(const struct image_scan *s, const struct node *n)
{
    return map_get(&s->order[n->layer]->digests, n->path);
}

static void expect_file(struct judging *j, const struct file_check *f)
{
    const struct node *n = tree_find(&j->scan->tree, f->path, false);
    if (f->absent || !n) {
        if (f->absent != !n)
            findings_add(j->findings, CHECK_FILES, f->absent ? "absent" : "missing", n ? n->layer : -1,
                         f->path, NULL, f->absent ? "is there, and should not be" : "is not there");
        return;
    }
    if (f->type && !str_eq(f->type, type_of(n->mode)))
        findings_add(j->findings, CHECK_FILES, "type", n->layer, f->path, NULL, "is a %s, not a %s",
                     type_of(n->mode), f->type);
    if (f->mode && strtoul(f->mode, NULL, 8) != (n->mode & 07777))
        findings_add(j->findings, CHECK_FILES, "mode", n->layer, f->path, NULL, "mode is %04o, not %s",
                     n->mode & 07777, f->mode);
    if (f->target && !str_eq(f->target, n->link))
        findings_add(j->findings, CHECK_FILES, "target", n->layer, f->path, NULL, "leads to %s, not to %s",
                     n->link ? n->link : "nothing", f->target);
    const char *sha256 = f->sha256 ? digest_in(j->scan, n) : NULL;
    if (f->sha256 && !str_eq(f->sha256, sha256))
        findings_add(j->findings, CHECK_FILES, "content", n->layer, f->path, NULL, "sha256 is %s, not %s",
                     sha256 ? sha256 : "that of no file", f->sha256);
    expect_owner(j, f, n, false);
    expect_owner(j, f, n, true);
}

static void judge_files(struct judging *j)
{
    for (size_t i = 0; i < j->checks->file_count; i++)
        expect_file(j, &j->checks->files[i]);
}

int image_judge(struct image_scan *scan, const struct image_checks *checks, struct findings *ret,
                struct err *err)
{
    struct judging j = {.scan = scan, .checks = checks, .findings = ret};
    static const struct {
        enum image_check check;
        void (*judge)(struct judging *j);
    } simple[] = {
        {CHECK_LAYERS, judge_layers},
        {CHECK_PORTS, judge_ports},
        {CHECK_USER, judge_user},
        {CHECK_FILES, judge_files},
    };
    if (!json_is_object(scan->config))
        return err_set(err, ERR_INVALID, "the image's configuration is not a JSON object");
    image_scan__merge(scan);
    for (size_t i = 0; i < CHECK_RUN; i++)
        ret->ran[i] = !image_checks_skip(checks, i);
    for (size_t i = 0; i < ARRAY_SIZE(simple); i++)
        if (ret->ran[simple[i].check])
            simple[i].judge(&j);
    judge_tree(&j);
    judge_config(&j);
    judge_content(&j);
    return 0;
}
