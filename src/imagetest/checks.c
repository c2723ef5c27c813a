/* checks.yaml: docs/image-test.md lists the keys. */
#include "compose/fields.h"
#include "imagetest/imagetest.h"
#include "imagetest/secrets.h"

#include "base/digest.h"
#include "base/timeutil.h"

static const char *const check_names[CHECK_COUNT + 1] = {
    [CHECK_LAYERS] = "layers",         [CHECK_PORTS] = "ports", [CHECK_UTILITIES] = "utilities",
    [CHECK_PRIVILEGES] = "privileges", [CHECK_HOST] = "host",   [CHECK_USER] = "user",
    [CHECK_SECRETS] = "secrets",       [CHECK_FILES] = "files", [CHECK_RUN] = "run",
};
static const char *const check_promises[CHECK_COUNT] = {
    [CHECK_LAYERS] = "layers and wasted bytes are bounded",
    [CHECK_PORTS] = "only declared ports are exposed",
    [CHECK_UTILITIES] = "no utility that is not needed",
    [CHECK_PRIVILEGES] = "no file gives its user more rights",
    [CHECK_HOST] = "nothing assumes a host",
    [CHECK_USER] = "runs as a user who is not root",
    [CHECK_SECRETS] = "no secret in a layer or in the configuration",
    [CHECK_FILES] = "expected files, owners and modes",
    [CHECK_RUN] = "starts, becomes healthy, answers, stops in time",
};

const char *image_check_name(enum image_check check)
{
    return check_names[check];
}

const char *image_check_promise(enum image_check check)
{
    return check_promises[check];
}

bool image_checks_skip(const struct image_checks *c, enum image_check check)
{
    return strv_has(c->skip, check_names[check]);
}

#define AT(member) offsetof(struct image_checks, member)

static const struct field layers_fields[] = {
    {"max", FIELD_COUNT, AT(max_layers)},
    {"max-bytes", FIELD_BYTES, AT(max_bytes)},
    {"max-wasted-bytes", FIELD_BYTES, AT(max_wasted_bytes)},
    {"max-wasted-percent", FIELD_COUNT, AT(max_wasted_percent)},
    {0},
};
static const struct field utilities_fields[] = {
    {"allow", FIELD_LIST, AT(utilities_allow)}, {"forbid", FIELD_LIST, AT(utilities_forbid)}, {0}};
static const struct field privileges_fields[] = {{"allow", FIELD_LIST, AT(privileges_allow)}, {0}};
static const struct field host_fields[] = {{"allow", FIELD_LIST, AT(host_allow)}, {0}};
static const struct field user_fields[] = {{"allow-root", FIELD_BOOL, AT(allow_root)}, {0}};
static const struct field secrets_fields[] = {{"allow", FIELD_MAPS, AT(secrets_node)}, {0}};
static const struct field run_fields[] = {
    {"command", FIELD_LIST, AT(run_command)},
    {"environment", FIELD_TABLE, AT(run_environment)},
    {"user", FIELD_TEXT, AT(run_user)},
    {"network", FIELD_TEXT, AT(run_network)},
    {"read-only", FIELD_BOOL, AT(run_read_only)},
    {"memory", FIELD_BYTES, AT(run_memory)},
    {"ready-within", FIELD_DURATION, AT(ready_within_ns)},
    {"steady-for", FIELD_DURATION, AT(steady_for_ns)},
    {"stop-within", FIELD_DURATION, AT(stop_within_ns)},
    {"answers", FIELD_MAPS, AT(answers_node)},
    {0},
};
static const struct field checks_fields[] = {
    {"skip", FIELD_LIST, AT(skip)},
    {"layers", FIELD_INSIDE, 0, layers_fields},
    {"ports", FIELD_LIST, AT(ports)},
    {"utilities", FIELD_INSIDE, 0, utilities_fields},
    {"privileges", FIELD_INSIDE, 0, privileges_fields},
    {"host", FIELD_INSIDE, 0, host_fields},
    {"user", FIELD_INSIDE, 0, user_fields},
    {"secrets", FIELD_INSIDE, 0, secrets_fields},
    {"files", FIELD_MAPS, AT(files_node)},
    {"run", FIELD_PRESENT, AT(run), run_fields},
    {0},
};
static const struct field file_fields[] = {
    {"path", FIELD_TEXT, offsetof(struct file_check, path)},
    {"type", FIELD_TEXT, offsetof(struct file_check, type)},
    {"owner", FIELD_TEXT, offsetof(struct file_check, owner)},
    {"group", FIELD_TEXT, offsetof(struct file_check, group)},
    {"mode", FIELD_TEXT, offsetof(struct file_check, mode)},
    {"target", FIELD_TEXT, offsetof(struct file_check, target)},
    {"sha256", FIELD_TEXT, offsetof(struct file_check, sha256)},
    {"absent", FIELD_BOOL, offsetof(struct file_check, absent)},
    {0},
};
static const struct field answer_fields[] = {
    {"tcp", FIELD_COUNT, offsetof(struct answer_check, tcp)},
    {"http", FIELD_TEXT, offsetof(struct answer_check, http)},
    {"status", FIELD_COUNT, offsetof(struct answer_check, status)},
    {"contains", FIELD_TEXT, offsetof(struct answer_check, contains)},
    {0},
};
static const struct field allowed_fields[] = {
    {"rule", FIELD_TEXT, offsetof(struct secret_allowed, rule)},
    {"path", FIELD_TEXT, offsetof(struct secret_allowed, path)},
    {"fingerprint", FIELD_TEXT, offsetof(struct secret_allowed, fingerprint)},
    {0},
};

struct image_checks *image_checks_default(void)
{
    struct image_checks *c = NEW(struct image_checks);
    c->arena = yaml_arena_new();
    c->max_layers = 50;
    c->max_bytes = INT64_C(4) << 30;
    c->max_wasted_bytes = 20 << 20;
    c->max_wasted_percent = 20;
    c->run_memory = 512 << 20;
    c->run_network = "bridge";
    c->ready_within_ns = 60 * NS_PER_S;
    c->steady_for_ns = NS_PER_S;
    c->stop_within_ns = 10 * NS_PER_S;
    return c;
}

void image_checks_free(struct image_checks *c)
{
    if (!c)
        return;
    yaml_arena_free(c->arena);
    free(c);
}

/* --- What a table of fields does not say --- */

/* "8080", "8080/udp", "8000-8010/tcp" */
static bool port_valid(const char *text)
{
    size_t n = strcspn(text, "/");
    _cleanup_free_ char *ports = mem_strndup(text, n);
    char *dash = strchr(ports, '-');
    int64_t low, high;
    if (text[n] && !str_eq(text + n, "/tcp") && !str_eq(text + n, "/udp") && !str_eq(text + n, "/sctp"))
        return false;
    if (dash)
        *dash = '\0';
    if (parse_i64(ports, 1, 65535, &low, NULL) < 0)
        return false;
    return !dash || (parse_i64(dash + 1, 1, 65535, &high, NULL) == 0 && high >= low);
}

/* "8080/tcp" of "8000-8100": first and last port, and the protocol. */
static void port_range(const char *text, int64_t *ret_low, int64_t *ret_high, const char **ret_protocol)
{
    size_t n = strcspn(text, "/");
    _cleanup_free_ char *ports = mem_strndup(text, n);
    char *dash = strchr(ports, '-');
    if (dash)
        *dash = '\0';
    *ret_low = *ret_high = 0;
    parse_i64(ports, 1, 65535, ret_low, NULL);
    parse_i64(dash ? dash + 1 : ports, 1, 65535, ret_high, NULL);
    *ret_protocol = text[n] ? text + n + 1 : "tcp";
}

bool image_checks_port(const struct image_checks *c, const char *port)
{
    int64_t first, last, low, high;
    const char *protocol, *allowed;
    port_range(port, &first, &last, &protocol);
    for (char **p = c->ports; p && *p; p++) {
        port_range(*p, &low, &high, &allowed);
        if (first >= low && last <= high && str_eq(protocol, allowed))
            return true;
    }
    return false;
}

static void check_words(const struct yaml_node *top, const char *key, const char *const *words,
                        bool (*valid)(const char *), const char *what, struct problems *problems)
{
    const struct yaml_node *list = yaml_get(top, key);
    for (size_t i = 0; list && list->type == YAML_LIST && i < list->count; i++) {
        const struct yaml_node *one = list->items[i];
        if (one->type != YAML_SCALAR ||
            (words ? strv_has((char *const *)words, one->text) : valid(one->text)))
            continue;
        const char *near = words ? problem_nearest(one->text, words) : NULL;
        problem_add(problems, one, "\"%.100s\" is not %s%s%s%s", one->text, what,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
}

static void check_file(const struct yaml_node *at, const struct file_check *f, struct problems *problems)
{
    static const char *const types[] = {"file", "directory", "symlink", NULL};
    if (str_empty(f->path) || *f->path != '/')
        problem_add(problems, at, "needs an absolute \"path\"");
    if (f->type && !strv_has((char *const *)types, f->type))
        problem_add(problems, yaml_get(at, "type"), "must be file, directory or symlink");
    char *end;
    if (f->mode && (!*f->mode || strtoul(f->mode, &end, 8) > 07777 || *end || strlen(f->mode) > 5))
        problem_add(problems, yaml_get(at, "mode"), "must be octal digits, as \"0644\"");
    if (f->sha256 && (strlen(f->sha256) != 64 || !str_is_hex(f->sha256)))
        problem_add(problems, yaml_get(at, "sha256"), "must be 64 hexadecimal digits");
    if (f->absent && (f->type || f->owner || f->group || f->mode || f->target || f->sha256))
        problem_add(problems, at, "a file that is to be absent has nothing else to be checked");
}

static void check_answer(const struct yaml_node *at, const struct answer_check *a, struct problems *problems)
{
    if ((a->tcp >= 0) == (a->http != NULL))
        problem_add(problems, at, "needs either \"tcp\" or \"http\"");
    else if (a->tcp == 0 || a->tcp > 65535)
        problem_add(problems, yaml_get(at, "tcp"), "must be a port from 1 to 65535");
    if (a->http) {
        _cleanup_free_ char *port = mem_strndup(a->http, strcspn(a->http, "/"));
        if (!port_valid(port) || strchr(port, '-') || strpbrk(a->http, " \t\r\n"))
            problem_add(problems, yaml_get(at, "http"), "must be a port and a path, as \"8080/health\"");
    } else if (a->contains || yaml_get(at, "status")) {
        problem_add(problems, at, "\"status\" and \"contains\" are for \"http\"");
    }
}

static void check_allowed(const struct yaml_node *at, const struct secret_allowed *a,
                          struct problems *problems)
{
    if (!a->rule && !a->path && !a->fingerprint)
        problem_add(problems, at, "allows everything; name a rule, a path or a fingerprint");
    if (a->rule && !strv_has((char *const *)secret_rules(), a->rule)) {
        const char *near = problem_nearest(a->rule, secret_rules());
        problem_add(problems, yaml_get(at, "rule"), "\"%.100s\" is no rule%s%s%s", a->rule,
                    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    if (a->fingerprint &&
        (strlen(a->fingerprint) != SECRET_FINGERPRINT_BYTES - 1 || !str_is_hex(a->fingerprint)))
        problem_add(problems, yaml_get(at, "fingerprint"), "must be 16 hexadecimal digits");
}

static size_t count_of(const struct yaml_node *list, struct problems *problems)
{
    size_t n = list ? list->count : 0;
    if (n <= CHECKS_MAX_FILES)
        return n;
    problem_add(problems, list, "has more than %d entries", CHECKS_MAX_FILES);
    return CHECKS_MAX_FILES;
}

static void read_lists(struct image_checks *c, struct problems *problems)
{
    c->file_count = count_of(c->files_node, problems);
    c->files = yaml_alloc(c->arena, (c->file_count + 1) * sizeof(*c->files));
    for (size_t i = 0; i < c->file_count; i++) {
        struct yaml_node *at = c->files_node->items[i];
        c->files[i].line = at->line;
        fields_read(c->arena, file_fields, at, &c->files[i], problems);
        check_file(at, &c->files[i], problems);
    }
    c->answer_count = count_of(c->answers_node, problems);
    c->answers = yaml_alloc(c->arena, (c->answer_count + 1) * sizeof(*c->answers));
    for (size_t i = 0; i < c->answer_count; i++) {
        c->answers[i] = (struct answer_check){.tcp = -1, .status = 200};
        fields_read(c->arena, answer_fields, c->answers_node->items[i], &c->answers[i], problems);
        check_answer(c->answers_node->items[i], &c->answers[i], problems);
    }
    c->secrets_allow_count = count_of(c->secrets_node, problems);
    c->secrets_allow = yaml_alloc(c->arena, (c->secrets_allow_count + 1) * sizeof(*c->secrets_allow));
    for (size_t i = 0; i < c->secrets_allow_count; i++) {
        fields_read(c->arena, allowed_fields, c->secrets_node->items[i], &c->secrets_allow[i], problems);
        check_allowed(c->secrets_node->items[i], &c->secrets_allow[i], problems);
    }
}

int image_checks_parse(const char *file, const char *text, size_t n, struct image_checks **ret,
                       struct err *err)
{
    _cleanup_checks_ struct image_checks *c = image_checks_default();
    struct yaml_node *top;
    struct problems problems = {0};
    int r = fields_document(c->arena, file, text, n, &top, err);
    if (r < 0)
        return r;
    fields_read(c->arena, checks_fields, top, c, &problems);
    check_words(top, "skip", check_names, NULL, "a check", &problems);
    check_words(top, "ports", NULL, port_valid, "a port (as 8080, 8080/udp, 8000-8010/tcp)", &problems);
    read_lists(c, &problems);
    r = fields_settle(&problems, err);
    str_free(&problems.text);
    if (r == 0)
        *ret = take_ptr(c);
    return r;
}
