#include "api/registry_access.h"

#include "api/registry_guesses.h"
#include "api/registry_token.h"
#include "base/base64.h"
#include "base/deferred.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/log.h"
#include "base/map.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "registry/policy.h"
#include "registry/registry.h"

#include <crypt.h>
#include <pthread.h>
#include <strings.h>

enum { REMEMBERED_MAX = 4096, COMPARING_MAX = 2, COMPARING_QUEUE_MAX = 64, FORM_MAX_BYTES = 64 << 10 };

struct registry_access {
    struct registry *registry;
    struct registry_token_key key;
    bool tls;
    char secret[65];
    pthread_mutex_t lock; /* all below */
    pthread_cond_t compared;
    int comparing, queued;
    struct map remembered; /* digest of secret, hash, user and password that were right */
    struct guesses guesses;
};

int registry_access_new(struct registry *r, const char *key_file, bool tls, struct registry_access **ret,
                        struct err *err)
{
    deferred_need(DEFERRED_CRYPT);
    struct registry_access *a = NEW(struct registry_access);
    a->registry = r;
    a->tls = tls;
    a->remembered = MAP_INIT(NULL);
    guesses_init(&a->guesses);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->compared, NULL);
    digest_random_id(a->secret);
    int code = registry_token_key_load(key_file, &a->key, err);
    if (code < 0) {
        registry_access_free(a);
        return code;
    }
    *ret = a;
    return 0;
}

void registry_access_free(struct registry_access *a)
{
    if (!a)
        return;
    map_done(&a->remembered);
    guesses_done(&a->guesses);
    pthread_mutex_destroy(&a->lock);
    pthread_cond_destroy(&a->compared);
    free(a);
}

void registry_who_done(struct registry_who *who)
{
    free(who->name);
    registry_policy_unref(who->policy);
    if (who->token)
        registry_token_done(who->token);
    free(who->token);
    *who = (struct registry_who){0};
}
#define _cleanup_who_ _cleanup_(registry_who_done)

/* --- answers --- */

static void refuse(struct http_request *q, enum registry_code code, int status, const char *message)
{
    json_t *one = json_object();
    json_set_str(one, "code", registry_code_name(code));
    json_set_str(one, "message", message);
    json_object_set_new(one, "detail", json_object());
    http_reply_json(q, status, json_pack("{s:[o]}", "errors", one));
}

/* The Host of a request goes into its own answer: but only what a host can be. */
static const char *host_of(struct http_request *q)
{
    const char *host = http_header(q, "Host");
    size_t n = host ? strlen(host) : 0;
    bool clean = n > 0 && n < 256 &&
                 strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") == n;
    return clean ? host : "registry";
}

static const char *service_of(const struct registry_policy *p, struct http_request *q)
{
    return p && p->service ? p->service : host_of(q);
}

/* RFC 9110, section 11.6.1. `scope` NULL: none. */
static void challenge(struct registry_access *a, struct http_request *q, const struct registry_policy *p,
                      const char *scope, const char *error)
{
    if (p->basic) {
        http_set_header(q, "WWW-Authenticate", "Basic realm=\"Drover registry\"");
        return;
    }
    _cleanup_str_ struct str text = STR_INIT;
    if (p->realm)
        str_addf(&text, "Bearer realm=\"%s\"", p->realm);
    else
        str_addf(&text, "Bearer realm=\"http%s://%s/token\"", a->tls ? "s" : "", host_of(q));
    str_addf(&text, ",service=\"%s\"", service_of(p, q));
    if (scope)
        str_addf(&text, ",scope=\"%s\"", scope);
    if (error)
        str_addf(&text, ",error=\"%s\"", error);
    http_set_header(q, "WWW-Authenticate", str_get(&text));
}

/* --- passwords --- */

enum verdict { RIGHT, WRONG, WAIT };

static bool matches(const char *password, const char *hash)
{
    _cleanup_free_ struct crypt_data *work = NEW(struct crypt_data);
    const char *made = crypt_r(password, hash, work);
    if (!made || *made == '*' || strlen(made) != strlen(hash))
        return false;
    unsigned char differs = 0; /* in the same time wherever they differ */
    for (size_t i = 0; hash[i]; i++)
        differs |= (unsigned char)(made[i] ^ hash[i]);
    return differs == 0;
}

/* With the lock held, which it gives up meanwhile: few at a time, so that guessers do not have the processor.
 */
static enum verdict compare(struct registry_access *a, const char *password, const char *hash)
{
    if (a->queued >= COMPARING_QUEUE_MAX)
        return WAIT;
    a->queued++;
    while (a->comparing >= COMPARING_MAX)
        pthread_cond_wait(&a->compared, &a->lock);
    a->queued--;
    a->comparing++;
    pthread_mutex_unlock(&a->lock);
    bool right = matches(password, hash);
    pthread_mutex_lock(&a->lock);
    a->comparing--;
    pthread_cond_signal(&a->compared);
    return right ? RIGHT : WRONG;
}

/* A user that there is not takes as long as one that there is: some user's hash is compared, and is wrong. */
static const char *any_hash(const struct registry_policy *p)
{
    size_t at = 0;
    const struct map_entry *first = map_next(&p->users, &at);
    return first ? first->value : "$2y$05$abcdefghijklmnopqrstuuVr1yRz2pWjtF8sZ9o2h7hJk3mVQe6a";
}

static enum verdict check_user(struct registry_access *a, const struct registry_policy *p, const char *user,
                               const char *password, const char *address)
{
    const char *hash = map_get(&p->users, user);
    char key[DIGEST_BYTES];
    _cleanup_free_ char *salted = str_printf("%s:%s:%s:%s", a->secret, hash ? hash : "", user, password);
    digest_of(salted, strlen(salted), key);
    pthread_mutex_lock(&a->lock);
    enum verdict verdict = RIGHT;
    if (!hash || !map_has(&a->remembered, key)) {
        verdict = guesses_wait_s(&a->guesses, address, time_monotonic_ns()) ? WAIT : RIGHT;
        if (verdict == RIGHT)
            verdict = compare(a, password, hash ? hash : any_hash(p));
        if (verdict == RIGHT && !hash)
            verdict = WRONG;
        if (verdict == WRONG)
            guesses_wrong(&a->guesses, address, time_monotonic_ns());
        else if (verdict == RIGHT) {
            if (a->remembered.count >= REMEMBERED_MAX) {
                map_done(&a->remembered);
                a->remembered = MAP_INIT(NULL);
            }
            map_put(&a->remembered, key, a);
        }
    }
    pthread_mutex_unlock(&a->lock);
    return verdict;
}

static enum verdict check_robot(struct registry_access *a, const char *name, const char *secret,
                                const char *address)
{
    pthread_mutex_lock(&a->lock);
    bool wait = guesses_wait_s(&a->guesses, address, time_monotonic_ns()) > 0;
    pthread_mutex_unlock(&a->lock);
    if (wait)
        return WAIT;
    if (registry_robot_accepts(a->registry, name, secret))
        return RIGHT;
    pthread_mutex_lock(&a->lock);
    guesses_wrong(&a->guesses, address, time_monotonic_ns());
    pthread_mutex_unlock(&a->lock);
    return WRONG;
}

static enum verdict check(struct registry_access *a, struct http_request *q, const char *user,
                          const char *password, struct registry_who *who)
{
    char address[HTTP_PEER_BYTES];
    http_peer_address(q, address);
    const char *robot = str_after(user, ROBOT_PREFIX);
    enum verdict verdict = robot ? check_robot(a, robot, password, address)
                                 : check_user(a, who->policy, user, password, address);
    if (verdict == RIGHT) {
        who->name = mem_strdup(robot ? robot : user);
        who->robot = robot != NULL;
    }
    return verdict;
}

/* --- who --- */

/* "user:password" of the header; NULL when it is none. */
static char *decode_basic(const char *authorization)
{
    const char *text =
        authorization && strncasecmp(authorization, "Basic ", 6) == 0 ? authorization + 6 : NULL;
    _cleanup_str_ struct str plain = STR_INIT;
    if (!text || base64_decode(text, &plain, NULL) < 0 || memchr(str_get(&plain), '\0', plain.len))
        return NULL;
    return strchr(str_get(&plain), ':') ? str_take(&plain) : NULL;
}

static enum verdict by_basic(struct registry_access *a, struct http_request *q, struct registry_who *who)
{
    _cleanup_free_ char *pair = decode_basic(http_header(q, "Authorization"));
    if (!pair)
        return WRONG;
    char *colon = strchr(pair, ':');
    *colon = '\0';
    return check(a, q, pair, colon + 1, who);
}

static enum verdict by_token(struct registry_access *a, struct http_request *q, const char *text,
                             struct registry_who *who)
{
    struct registry_token token = {0};
    if (!registry_token_read(&a->key, service_of(who->policy, q), text, time_now_ns() / NS_PER_S, &token))
        return WRONG;
    who->token = mem_dup(&token, sizeof(token));
    const char *robot = str_after(token.subject, ROBOT_PREFIX);
    who->robot = robot != NULL;
    who->name = *token.subject ? mem_strdup(robot ? robot : token.subject) : NULL;
    /* A user who is no longer there has no rights left. */
    return !who->name || robot || map_has(&who->policy->users, who->name) ? RIGHT : WRONG;
}

static enum verdict find_who(struct registry_access *a, struct http_request *q, struct registry_who *who)
{
    const char *authorization = http_header(q, "Authorization");
    who->policy = registry_policy_get(a->registry);
    if (!who->policy || !authorization)
        return RIGHT;
    if (strncasecmp(authorization, "Bearer ", 7) == 0)
        return by_token(a, q, authorization + 7, who);
    return by_basic(a, q, who);
}

struct registry_who registry_access_who(struct registry_access *a, struct http_request *q)
{
    struct registry_who who = {0};
    if (find_who(a, q, &who) != RIGHT && who.policy) {
        free(take_ptr(who.name));
        who.robot = false;
    }
    return who;
}

static unsigned rights_by_policy(struct registry_access *a, const struct registry_who *who,
                                 const char *repository)
{
    if (!who->policy)
        return REGISTRY_ALL;
    return who->robot ? registry_robot_rights(a->registry, who->name, repository)
                      : registry_policy_rights(who->policy, who->name, repository);
}

unsigned registry_access_rights(struct registry_access *a, const struct registry_who *who,
                                const char *repository)
{
    unsigned rights = rights_by_policy(a, who, repository);
    return who->token ? rights & registry_token_rights(who->token, repository) : rights;
}

bool registry_access_may_see(struct registry_access *a, const struct registry_who *who,
                             const char *repository)
{
    return rights_by_policy(a, who, repository) & REGISTRY_PULL;
}

bool registry_access_may_manage(struct registry_access *a, const struct registry_who *who,
                                const char *repository)
{
    return rights_by_policy(a, who, repository) & REGISTRY_ADMIN;
}

/* --- admission --- */

static bool wrong(struct registry_access *a, struct http_request *q, const struct registry_who *who,
                  enum verdict verdict, const char *scope)
{
    if (verdict == WAIT) {
        http_set_header(q, "Retry-After", "10");
        refuse(q, REGISTRY_TOO_MANY_REQUESTS, 429,
               "too many wrong passwords came from this address: wait, and try again");
        return false;
    }
    bool token = strncasecmp(http_header(q, "Authorization"), "Bearer ", 7) == 0;
    challenge(a, q, who->policy, scope, token ? "invalid_token" : NULL);
    refuse(q, REGISTRY_UNAUTHORIZED, 401,
           token ? "the token is not valid, or no longer: fetch another" : "wrong user name or password");
    return false;
}

/* May not: either more is to be had by saying who one is or by another token, or nothing is. */
static bool lacks(struct registry_access *a, struct http_request *q, const struct registry_who *who,
                  const char *needs, const char *repository, const char *scope, bool by_token_alone)
{
    if (!who->name || by_token_alone) {
        challenge(a, q, who->policy, scope, who->token ? "insufficient_scope" : NULL);
        refuse(q, REGISTRY_UNAUTHORIZED, 401, "authentication required");
        return false;
    }
    _cleanup_free_ char *message =
        str_printf("%s%s may not %s %s", who->robot ? ROBOT_PREFIX : "", who->name, needs, repository);
    refuse(q, REGISTRY_DENIED, 403, message);
    return false;
}

/* The repository that a mount is from, which has to be pulled from; NULL: the request is none. */
static const char *mounted_from(struct http_request *q, const char *needs)
{
    const char *from = http_query(q, "from");
    bool is_mount = str_eq(needs, "push") && !str_empty(http_query(q, "mount"));
    return is_mount && !str_empty(from) && registry_name_valid(from) ? from : NULL;
}

/* A token that was asked for without the source would have the blob sent once more: another one is to be had.
 */
static bool token_lacks_source(struct registry_access *a, const struct registry_who *who, const char *from)
{
    return from && who->token && !(registry_access_rights(a, who, from) & REGISTRY_PULL) &&
           rights_by_policy(a, who, from) & REGISTRY_PULL;
}

static bool admit_who(struct registry_access *a, struct http_request *q, const struct registry_who *who,
                      const char *needs, const char *scope)
{
    /* Who has a token may look whether it is good; who has none is told where to get one. */
    bool known = who->name || who->token;
    if (str_eq(needs, "support") || str_eq(needs, "catalog"))
        return known || lacks(a, q, who, needs, "", scope, false);
    const char *repository = http_param(q, "name");
    unsigned needed = registry_right_parse(needs), policy = rights_by_policy(a, who, repository);
    if ((registry_access_rights(a, who, repository) & needed) == needed)
        return !token_lacks_source(a, who, mounted_from(q, needs)) ||
               lacks(a, q, who, needs, repository, scope, true);
    return lacks(a, q, who, needs, repository, scope, (policy & needed) == needed);
}

bool registry_access_admit(struct registry_access *a, struct http_request *q)
{
    const char *needs = http_route_needs(q);
    _cleanup_who_ struct registry_who who = {0};
    if (!*needs)
        return true;
    enum verdict verdict = find_who(a, q, &who);
    if (!who.policy)
        return true;
    _cleanup_free_ char *scope = NULL;
    if (str_eq(needs, "catalog"))
        scope = mem_strdup("registry:catalog:*");
    else if (!str_eq(needs, "support") && registry_name_valid(http_param(q, "name")))
        scope = str_printf("repository:%s:%s", http_param(q, "name"),
                           str_eq(needs, "push") ? "pull,push" : needs);
    const char *from = mounted_from(q, needs);
    if (scope && from) {
        _cleanup_free_ char *own = scope;
        scope = str_printf("%s repository:%s:pull", own, from);
    }
    return verdict == RIGHT ? admit_who(a, q, &who, needs, scope) : wrong(a, q, &who, verdict, scope);
}

/* --- the token endpoint --- */

/* "repository:team/web:pull,push"; also "repository(plugin):...". What is granted of it, or NULL. */
static json_t *grant(struct registry_access *a, const struct registry_who *who, const char *scope)
{
    const char *first = strchr(scope, ':'), *last = strrchr(scope, ':');
    if (!first || first == last)
        return NULL;
    _cleanup_free_ char *type = mem_strndup(scope, strcspn(scope, ":("));
    _cleanup_free_ char *name = mem_strndup(first + 1, (size_t)(last - first - 1));
    _cleanup_strv_ char **asked = strv_split(last + 1, ',');
    if (str_eq(type, "registry"))
        return who->name ? json_pack("{s:s, s:s, s:[s]}", "type", type, "name", name, "actions", "*") : NULL;
    if (!str_eq(type, "repository") || !registry_name_valid(name))
        return NULL;
    unsigned may = rights_by_policy(a, who, name);
    json_t *actions = json_array();
    STRV_FOREACH (action, asked)
        if (registry_right_parse(*action) &&
            (may & registry_right_parse(*action)) == registry_right_parse(*action))
            json_array_append_new(actions, json_string(*action));
        else if (str_eq(*action, "*"))
            for (unsigned bit = REGISTRY_PULL; bit <= REGISTRY_DELETE; bit <<= 1)
                if (may & bit)
                    json_array_append_new(actions, json_string(registry_right_name(bit)));
    if (json_array_size(actions) > 0)
        return json_pack("{s:s, s:s, s:o}", "type", type, "name", name, "actions", actions);
    json_decref(actions);
    return NULL;
}

static void give_token(struct registry_access *a, struct http_request *q, const struct registry_who *who,
                       char *const *scopes, const char *service)
{
    char at[TIME_RFC3339_BYTES];
    int64_t now = time_now_ns(), seconds = who->policy->token_ns / NS_PER_S;
    struct registry_token token = {.access = json_array()};
    token.subject = str_printf("%s%s", who->robot ? ROBOT_PREFIX : "", who->name ? who->name : "");
    for (char *const *s = scopes; s && *s && json_array_size(token.access) < TOKEN_MAX_SCOPES; s++) {
        json_t *granted = grant(a, who, *s);
        if (granted)
            json_array_append_new(token.access, granted);
    }
    _cleanup_free_ char *text = registry_token_make(&a->key, service, &token, now / NS_PER_S, seconds);
    registry_token_done(&token);
    http_set_header(q, "Cache-Control", "no-store");
    http_reply_json(q, 200,
                    json_pack("{s:s, s:s, s:I, s:s}", "token", text, "access_token", text, "expires_in",
                              (json_int_t)seconds, "issued_at", time_format_rfc3339(now, at)));
}

/* Each "scope" may hold several with blanks between (OAuth2). */
static char **split_scopes(char *const *given)
{
    char **scopes = NULL;
    for (char *const *g = given; g && *g; g++) {
        _cleanup_strv_ char **parts = strv_split(*g, ' ');
        STRV_FOREACH (part, parts)
            if (**part)
                strv_add(&scopes, *part);
    }
    return scopes;
}

/* application/x-www-form-urlencoded, as far as it says one name: NULL when it does not. */
static char *form_value(const char *form, const char *name)
{
    _cleanup_strv_ char **fields = strv_split(form, '&');
    STRV_FOREACH (field, fields) {
        const char *value = str_after(*field, name);
        if (!value || *value != '=')
            continue;
        _cleanup_str_ struct str plain = STR_INIT;
        for (const char *c = value + 1; *c; c++) {
            unsigned byte;
            if (*c == '%' && sscanf(c + 1, "%2x", &byte) == 1 && byte && c[1] && c[2]) {
                str_addc(&plain, (char)byte);
                c += 2;
            } else {
                str_addc(&plain, *c == '+' ? ' ' : *c);
            }
        }
        return str_take(&plain);
    }
    return NULL;
}

static bool read_form(struct http_request *q, struct str *ret)
{
    struct err err = {0};
    for (;;) {
        ssize_t n = http_body_read(q, str_reserve(ret, 4096), 4096, &err);
        if (n < 0 || ret->len > FORM_MAX_BYTES)
            return false;
        if (n == 0)
            return true;
        ret->len += (size_t)n;
        str_truncate(ret, ret->len);
    }
}

static void token_by_form(struct registry_access *a, struct http_request *q, struct registry_who *who)
{
    _cleanup_str_ struct str form = STR_INIT;
    if (!read_form(q, &form))
        return refuse(q, REGISTRY_UNSUPPORTED, 400, "the body must be a form of at most 64 KiB");
    const char *text = str_get(&form);
    _cleanup_free_ char *kind = form_value(text, "grant_type"), *user = form_value(text, "username"),
                        *password = form_value(text, "password"), *scope = form_value(text, "scope"),
                        *service = form_value(text, "service");
    if (!str_eq(kind, "password") || !user || !password)
        return refuse(
            q, REGISTRY_UNSUPPORTED, 400,
            "grant_type must be password, with username and password: refresh tokens are not given");
    enum verdict verdict = check(a, q, user, password, who);
    if (verdict == WAIT)
        return (void)wrong(a, q, who, verdict, NULL);
    if (verdict == WRONG)
        return refuse(q, REGISTRY_UNAUTHORIZED, 401, "wrong user name or password");
    char *given[] = {scope, NULL};
    _cleanup_strv_ char **scopes = split_scopes(given);
    give_token(a, q, who, scopes, service_of(who->policy, q));
}

void registry_access_token(struct registry_access *a, struct http_request *q)
{
    _cleanup_who_ struct registry_who who = {.policy = registry_policy_get(a->registry)};
    if (!who.policy)
        return refuse(q, REGISTRY_UNSUPPORTED, 404,
                      "this registry asks nobody who he is: no token is needed");
    if (str_eq(http_method(q), "POST"))
        return token_by_form(a, q, &who);
    if (http_header(q, "Authorization")) {
        enum verdict verdict = by_basic(a, q, &who);
        if (verdict == WAIT)
            return (void)wrong(a, q, &who, verdict, NULL);
        if (verdict == WRONG) {
            http_set_header(q, "WWW-Authenticate", "Basic realm=\"Drover registry\"");
            return refuse(q, REGISTRY_UNAUTHORIZED, 401, "wrong user name or password");
        }
    }
    _cleanup_strv_ char **given = http_query_all(q, "scope");
    _cleanup_strv_ char **scopes = split_scopes(given);
    give_token(a, q, &who, scopes, service_of(who.policy, q));
}
