/* Robots: rows, each with the hash of a secret that nobody but its program has. The secret is random and
 * long, so that a plain SHA-256 of it tells nothing. */
#include "base/json.h"
#include "base/timeutil.h"
#include "registry/policy.h"
#include "registry/registry_priv.h"

static bool name_valid(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") == n;
}

int registry_robot_new(struct registry *r, const char *name, char *const *patterns, unsigned rights,
                       int64_t expires_ns, char ret_secret[ROBOT_SECRET_BYTES], struct err *err)
{
    char id[65], secret[ROBOT_SECRET_BYTES], hash[DIGEST_BYTES];
    if (!name_valid(name))
        return err_set(err, ERR_INVALID, "\"%.100s\" is no name of a token: 1 to 64 of a-z, 0-9, - _ and .",
                       name);
    if (!rights || strv_len(patterns) < 1 || strv_len(patterns) > ROBOT_MAX_PATTERNS)
        return err_set(
            err, ERR_INVALID,
            "a token needs a right (pull, push, delete, admin) and 1 to %d patterns of repositories",
            ROBOT_MAX_PATTERNS);
    digest_random_id(id);
    snprintf(secret, sizeof(secret), "drt_%s", id);
    digest_of(secret, strlen(secret), hash);
    _cleanup_json_ json_t *list = json_of_strv(patterns);
    _cleanup_free_ char *text = json_format(list);
    const struct store_value v[] = {STORE_STR(name),     STORE_STR(hash),          STORE_STR(text),
                                    STORE_I64(rights),   STORE_I64(time_now_ns()), STORE_I64(expires_ns),
                                    STORE_I64(ROBOT_MAX)};
    const struct store_statement s = {
        .sql = "INSERT INTO registry_robot (name, hash, repositories, rights, created, expires)"
               " SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM registry_robot) < ?7"
               " ON CONFLICT (name) DO NOTHING",
        .params = v,
        .param_count = 7,
        .expect_changes = 1};
    int code = store_batch(r->store, &s, 1, STORE_DURABLE, err);
    if (code == -ERR_CONFLICT)
        return err_set(err, ERR_CONFLICT,
                       "there is a token %s already (revoke it first), or there are %d in all", name,
                       ROBOT_MAX);
    if (code == 0)
        memcpy(ret_secret, secret, sizeof(secret));
    return code;
}

int registry_robot_revoke(struct registry *r, const char *name, struct err *err)
{
    const struct store_value v = STORE_STR(name);
    const struct store_statement s = {.sql = "DELETE FROM registry_robot WHERE name = ?",
                                      .params = &v,
                                      .param_count = 1,
                                      .expect_changes = 1};
    int code = store_batch(r->store, &s, 1, STORE_DURABLE, err);
    return code == -ERR_CONFLICT ? err_set(err, ERR_NOT_FOUND, "there is no token %.100s", name) : code;
}

static json_t *names_of(int64_t bits)
{
    json_t *list = json_array();
    for (unsigned bit = REGISTRY_PULL; bit <= REGISTRY_ADMIN; bit <<= 1)
        if (bits & bit)
            json_array_append_new(list, json_string(registry_right_name(bit)));
    return list;
}

static int add_robot(void *context, const struct store_value *c, size_t count, struct err *err)
{
    char at[TIME_RFC3339_BYTES];
    json_t *one = json_object(), *patterns = NULL;
    int code = json_parse(c[1].bytes, c[1].size, "repositories", &patterns, err);
    json_set_str(one, "name", c[0].bytes);
    json_object_set_new(one, "repositories", patterns ? patterns : json_array());
    json_object_set_new(one, "rights", names_of(c[2].integer));
    json_set_str(one, "created", time_format_rfc3339(c[3].integer, at));
    json_set_str(one, "expires", c[4].integer ? time_format_rfc3339(c[4].integer, at) : NULL);
    json_array_append_new(context, one);
    return code;
}

int registry_robot_list(struct registry *r, json_t **ret, struct err *err)
{
    json_t *list = json_array();
    int code = store_query(
        r->store, "SELECT name, repositories, rights, created, expires FROM registry_robot ORDER BY name",
        NULL, 0, add_robot, list, err);
    if (code < 0)
        json_decref(list);
    else
        *ret = list;
    return code;
}

struct robot {
    char hash[DIGEST_BYTES];
    json_t *patterns;
    unsigned rights;
};

static int take_robot(void *context, const struct store_value *c, size_t count, struct err *err)
{
    struct robot *robot = context;
    snprintf(robot->hash, sizeof(robot->hash), "%s", (const char *)c[0].bytes);
    robot->rights = (unsigned)c[2].integer;
    return json_parse(c[1].bytes, c[1].size, "repositories", &robot->patterns, err);
}

static struct robot find(struct registry *r, const char *name)
{
    struct robot robot = {0};
    const struct store_value v[] = {STORE_STR(name), STORE_I64(time_now_ns())};
    if (store_query(r->store,
                    "SELECT hash, repositories, rights FROM registry_robot"
                    " WHERE name = ? AND (expires = 0 OR expires > ?)",
                    v, 2, take_robot, &robot, NULL) < 0)
        robot.rights = 0;
    return robot;
}

bool registry_robot_accepts(struct registry *r, const char *name, const char *secret)
{
    char hash[DIGEST_BYTES];
    digest_of(secret, strlen(secret), hash);
    struct robot robot = find(r, name);
    json_decref(robot.patterns);
    /* What is compared is a hash of what the other side chose: its time tells nothing of the secret. */
    return robot.rights && str_eq(hash, robot.hash);
}

unsigned registry_robot_rights(struct registry *r, const char *name, const char *repository)
{
    struct robot robot = find(r, name);
    unsigned rights = 0;
    size_t i;
    const json_t *pattern;
    json_array_foreach (robot.patterns, i, pattern)
        if (name_pattern_match(json_string_value(pattern), repository))
            rights = robot.rights;
    json_decref(robot.patterns);
    return rights;
}
