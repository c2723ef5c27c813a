#include "image/registry.h"

#include "base/base64.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/json.h"
#include "image/insecure.h"

#include <pthread.h>

enum { TOKEN_MAX_BYTES = 64 << 10, NODE_CONNECT_MS = 2000, NODE_LOST_MS = 3000, NODE_IDLE_MS = 15000 };

struct registry {
    char *host;
    char *base; /* "https://host" */
    char *repository;
    char *actions;
    char *username, *password, *identity_token;
    char *ca_file; /* that vouches for it; NULL: the system's */
    /* Of a node: where it really is, and what it is shown. */
    char *connect_to, *certificate_file, *key_file, *revoked_file;
    pthread_mutex_t lock;
    char *authorization; /* the header's value in use, or NULL; under lock */
    unsigned generation; /* of authorization */
};

/* Docker Hub's registry answers at another name than its references carry. */
static const char *endpoint_of(const char *host)
{
    return strcmp(host, "docker.io") == 0 || strcmp(host, "index.docker.io") == 0 ? "registry-1.docker.io"
                                                                                  : host;
}

static char *basic_credentials(const char *username, const char *password)
{
    _cleanup_free_ char *plain = str_printf("%s:%s", username, password ? password : "");
    _cleanup_free_ char *encoded = base64_encode(plain, strlen(plain));
    return str_printf("Basic %s", encoded);
}

/* The status of GET base/v2/, or a negative code when nobody speaks HTTP there. */
static int probe(const char *base, const char *ca_file, struct http_client *client, struct http_response *ret,
                 struct err *err)
{
    _cleanup_free_ char *url = str_printf("%s/v2/", base);
    struct http_call call = {.method = "GET", .url = url, .idle_timeout_ms = 30000, .ca_file = ca_file};
    return http_client_call(client, &call, ret, err);
}

static int find_base(struct registry *r, bool insecure, struct err *err)
{
    struct http_client *client;
    int code = http_client_new(NULL, &client, err);
    if (code < 0)
        return code;
    struct http_response answer = {0};
    r->base = str_printf("https://%s", endpoint_of(r->host));
    code = probe(r->base, r->ca_file, client, &answer, err);
    if (code < 0 && insecure) {
        struct err plain_err;
        _cleanup_free_ char *plain = str_printf("http://%s", endpoint_of(r->host));
        http_response_done(&answer);
        code = probe(plain, NULL, client, &answer, &plain_err);
        if (code < 0)
            err_copy(err, &plain_err);
        else {
            free(r->base);
            r->base = take_ptr(plain);
        }
    }
    http_response_done(&answer);
    http_client_free(client);
    return code < 0 ? err_wrap(err, "registry %s", r->host) : 0;
}

static struct registry *registry_new(const char *host, const char *repository, const char *actions,
                                     const struct image_auth *auth)
{
    struct registry *r = NEW(struct registry);
    pthread_mutex_init(&r->lock, NULL);
    r->host = mem_strdup(host);
    r->repository = mem_strdup(repository);
    r->actions = mem_strdup(actions);
    if (auth && !str_empty(auth->username)) {
        r->username = mem_strdup(auth->username);
        r->password = mem_strdup(auth->password);
    }
    if (auth && !str_empty(auth->identity_token))
        r->identity_token = mem_strdup(auth->identity_token);
    if (auth && !str_empty(auth->registry_token))
        r->authorization = str_printf("Bearer %s", auth->registry_token);
    return r;
}

int registry_open(const char *host, const char *repository, const char *actions,
                  const struct image_auth *auth, struct images *im, struct registry **ret, struct err *err)
{
    struct registry *r = registry_new(host, repository, actions, auth);
    r->ca_file = images_ca_file(im, host);
    int code = find_base(r, insecure_allows(images_insecure(im), host), err);
    if (code < 0) {
        registry_free(r);
        return code;
    }
    *ret = r;
    return 0;
}

int registry_open_index(const char *host, const struct image_auth *auth, struct images *im,
                        struct registry **ret, struct err *err)
{
    if (strcmp(host, "index.docker.io") != 0)
        return registry_open(host, NULL, "", auth, im, ret, err);
    struct registry *r = registry_new(host, NULL, "", auth);
    r->base = str_printf("https://%s", host);
    *ret = r;
    return 0;
}

void registry_open_node(const struct image_node *node, const struct image_node_files *files,
                        const char *prefix, const char *repository, struct registry **ret)
{
    struct registry *r = registry_new(node->shown, repository, "pull", NULL);
    r->base = str_printf("https://%s%s", node->certified, prefix);
    r->connect_to = mem_strdup(node->address);
    r->ca_file = mem_strdup(files->authority);
    r->certificate_file = mem_strdup(files->certificate);
    r->key_file = mem_strdup(files->key);
    r->revoked_file = mem_strdup(files->revoked);
    *ret = r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    pthread_mutex_destroy(&r->lock);
    free(r->host);
    free(r->ca_file);
    free(r->connect_to);
    free(r->certificate_file);
    free(r->key_file);
    free(r->revoked_file);
    free(r->base);
    free(r->repository);
    free(r->actions);
    free(r->username);
    free(r->password);
    free(r->identity_token);
    free(r->authorization);
    free(r);
}

char *registry_encode(const char *text)
{
    struct str s = STR_INIT;
    for (const char *c = text; *c; c++) {
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~", *c))
            str_addc(&s, *c);
        else
            str_addf(&s, "%%%02X", (unsigned char)*c);
    }
    return str_take(&s);
}

static void add_query(struct str *s, const char *name, const char *value)
{
    if (str_empty(value))
        return;
    _cleanup_free_ char *encoded = registry_encode(value);
    str_addf(s, "%s=%s&", name, encoded);
}

/* Asks the token server (distribution's token and OAuth2 specifications) and returns the header's value. */
/* A URL of the registry itself. */
static bool belongs(const struct registry *r, const char *url)
{
    const char *rest = str_after(url, r->base);
    return rest && (*rest == '/' || !*rest);
}

static int fetch_token(struct registry *r, const struct registry_challenge *c, char **ret, struct err *err)
{
    if (str_empty(c->realm) || (!str_after(c->realm, "https://") && !str_after(c->realm, "http://")))
        return err_set(err, ERR_PROTOCOL, "registry %s names no usable token server", r->host);
    if (str_after(r->base, "https://") && !str_after(c->realm, "https://"))
        return err_set(err, ERR_DENIED, "registry %s asks for credentials over plain HTTP at %.200s; refused",
                       r->host, c->realm);
    _cleanup_free_ char *scope =
        r->repository ? str_printf("repository:%s:%s", r->repository, r->actions) : NULL;
    _cleanup_str_ struct str query = STR_INIT;
    add_query(&query, "service", c->service);
    add_query(&query, "scope", scope);
    struct http_call call = {.method = "GET", .max_body_bytes = TOKEN_MAX_BYTES, .idle_timeout_ms = 30000};
    _cleanup_free_ char *url = NULL, *basic = NULL, *header = NULL;
    if (r->identity_token) {
        add_query(&query, "grant_type", "refresh_token");
        add_query(&query, "refresh_token", r->identity_token);
        add_query(&query, "client_id", "drover");
        call.method = "POST";
        call.body = str_get(&query);
        call.body_bytes = query.len;
        url = mem_strdup(c->realm);
        header = mem_strdup("Content-Type: application/x-www-form-urlencoded");
    } else {
        if (r->username) {
            add_query(&query, "account", r->username);
            basic = basic_credentials(r->username, r->password);
            header = str_printf("Authorization: %s", basic);
        }
        url = str_printf("%s%c%s", c->realm, strchr(c->realm, '?') ? '&' : '?', str_get(&query));
    }
    call.url = url;
    call.headers = (char *[]){header, NULL};
    call.ca_file = belongs(r, url) ? r->ca_file : NULL;
    struct http_client *client;
    int code = http_client_new(NULL, &client, err);
    if (code < 0)
        return code;
    struct http_response answer = {0};
    _cleanup_json_ json_t *body = NULL;
    code = http_client_call(client, &call, &answer, err);
    if (code == 0 && answer.status != 200)
        code = err_set(err, ERR_UNAUTHORIZED, "unauthorized: the token server of %s answered %d%s", r->host,
                       answer.status,
                       r->username || r->identity_token ? ": incorrect username or password"
                                                        : "; try docker login");
    if (code == 0)
        code = json_parse(str_get(&answer.body), answer.body.len, "token", &body, err);
    if (code == 0) {
        const char *token = json_str(body, "token");
        if (!*token)
            token = json_str(body, "access_token");
        if (!*token || strpbrk(token, "\r\n"))
            code = err_set(err, ERR_PROTOCOL, "the token server of %s gave no token", r->host);
        else
            *ret = str_printf("Bearer %s", token);
    }
    http_response_done(&answer);
    http_client_free(client);
    return code;
}

/* Answers a 401: puts a fresh authorization in place. `seen` is the generation that was refused. */
static int authenticate(struct registry *r, const char *header, unsigned seen, struct err *err)
{
    struct registry_challenge c = {0};
    int code = 0;
    pthread_mutex_lock(&r->lock);
    if (r->generation != seen) /* another thread has renewed it meanwhile */
        goto out;
    code = header
               ? registry_challenge_parse(header, &c, err)
               : err_set(err, ERR_UNAUTHORIZED, "registry %s says 401 and not how to authenticate", r->host);
    if (code < 0)
        goto out;
    char *value = NULL;
    if (strcmp(c.scheme, "bearer") == 0)
        code = fetch_token(r, &c, &value, err);
    else if (strcmp(c.scheme, "basic") == 0) {
        if (!r->username)
            code = err_set(
                err, ERR_UNAUTHORIZED,
                "unauthorized: authentication required; no basic auth credentials for %s (docker login %s)",
                r->host, r->host);
        else
            value = basic_credentials(r->username, r->password);
    } else
        code = err_set(err, ERR_UNSUPPORTED, "registry %s asks for authentication scheme \"%s\"", r->host,
                       c.scheme);
    if (code == 0) {
        free(r->authorization);
        r->authorization = value;
        r->generation++;
    }
out:
    pthread_mutex_unlock(&r->lock);
    registry_challenge_done(&c);
    return code;
}

static int call_once(struct registry *r, struct http_client *client, struct http_call *call, const char *url,
                     unsigned *ret_generation, struct http_response *ret, struct err *err)
{
    size_t n = strv_len((char **)call->headers);
    _cleanup_free_ char **headers = NEW_N(char *, n + 2);
    if (n)
        memcpy(headers, call->headers, n * sizeof(char *));
    _cleanup_free_ char *authorization = NULL;
    pthread_mutex_lock(&r->lock);
    *ret_generation = r->generation;
    /* Credentials belong to the registry, not to a storage server that a Location names. */
    bool own = belongs(r, url);
    if (r->authorization && own)
        authorization = str_printf("Authorization: %s", r->authorization);
    pthread_mutex_unlock(&r->lock);
    headers[n] = authorization;
    struct http_call with = *call;
    with.url = url;
    with.ca_file = own ? r->ca_file : NULL;
    with.headers = headers;
    if (r->connect_to) {
        with.connect_to = r->connect_to;
        with.crl_file = r->revoked_file;
        with.certificate_file = r->certificate_file;
        with.key_file = r->key_file;
        with.connect_timeout_ms = NODE_CONNECT_MS;
        with.lost_after_ms = NODE_LOST_MS;
        with.idle_timeout_ms = NODE_IDLE_MS;
    }
    if (!with.idle_timeout_ms)
        with.idle_timeout_ms = 60000;
    return http_client_call(client, &with, ret, err);
}

/* The first error of an answer as Docker writes it: "manifest unknown: manifest unknown"; NULL: none. */
static char *answer_text(const struct http_response *answer)
{
    _cleanup_json_ json_t *body = NULL;
    if (json_parse(str_get(&answer->body), answer->body.len, "answer", &body, NULL) < 0)
        return NULL;
    const json_t *first = json_array_get(json_object_get(body, "errors"), 0);
    const char *code = json_str(first, "code"), *message = json_str(first, "message");
    if (!*code && !*message)
        return NULL;
    _cleanup_free_ char *words = str_lower(code);
    for (char *c = words; *c; c++)
        *c = *c == '_' ? ' ' : *c;
    return str_printf("%.100s%s%.300s", words, *code && *message ? ": " : "", message);
}

static int refused(const struct registry *r, const struct http_response *answer, struct err *err)
{
    const char *what = r->repository ? r->repository : "/v2/";
    if (answer->status == 403) {
        _cleanup_free_ char *why = answer_text(answer);
        return why ? err_set(err, ERR_DENIED, "%s (registry %s, %s)", why, r->host, what)
                   : err_set(err, ERR_DENIED, "denied: registry %s does not allow access to %s", r->host,
                             what);
    }
    bool hub = str_ends_with(r->host, "docker.io"); /* what a login without an address means */
    if (!r->username && !r->identity_token)
        return err_set(
            err, ERR_UNAUTHORIZED,
            "unauthorized: authentication required: registry %s wants to know who asks: docker login%s%s",
            r->host, hub ? "" : " ", hub ? "" : r->host);
    return err_set(err, ERR_UNAUTHORIZED,
                   "unauthorized: authentication required: registry %s refuses these credentials%s", r->host,
                   r->repository ? " for this repository" : "");
}

int registry_call(struct registry *r, struct http_client *client, struct http_call *call, const char *path,
                  struct http_response *ret, struct err *err)
{
    _cleanup_free_ char *url = NULL;
    if (str_after(path, "http://") || str_after(path, "https://"))
        url = mem_strdup(path);
    else if (*path == '/')
        url = str_printf("%s%s", r->base, path);
    else
        url = r->repository ? str_printf("%s/v2/%s/%s", r->base, r->repository, path)
                            : str_printf("%s/v2/%s", r->base, path);
    for (int tries = 0;; tries++) {
        unsigned generation;
        http_response_done(ret);
        int code = call_once(r, client, call, url, &generation, ret, err);
        if (code < 0)
            return err_wrap(err, "registry %s", r->host);
        if (ret->status == 401 && tries == 0) {
            code = authenticate(r, http_response_header(ret, "www-authenticate"), generation, err);
            if (code < 0)
                return code;
            if (!call->source)
                continue;
        }
        if (ret->status == 401 || ret->status == 403)
            return refused(r, ret, err);
        return 0;
    }
}

int registry_answer_err(const struct http_response *answer, const char *doing, struct err *err)
{
    enum err_code code = answer->status == 404   ? ERR_NOT_FOUND
                         : answer->status == 429 ? ERR_UNAVAILABLE
                         : answer->status >= 500 ? ERR_UNAVAILABLE
                                                 : ERR_PROTOCOL;
    _cleanup_free_ char *text = answer_text(answer);
    if (text)
        return err_set(err, code, "%s: %s", doing, text);
    return err_set(err, code, "%s: the registry answered %d", doing, answer->status);
}
