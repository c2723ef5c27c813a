#include "cli/build_session.h"

#include "bakery/cache_spec.h"
#include "base/base64.h"
#include "base/file.h"
#include "base/json.h"
#include "base/relay.h"
#include "cli/archive.h"
#include "cli/build.h"
#include "cli/call.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET_MAX = 500 << 10 };

struct agent {
    struct build_session *session;
    char *id, *socket;
    pthread_t thread;
    bool running;
};

struct build_session {
    char *id;
    struct agent *agents;
    size_t agent_count;
    int stop[2]; /* closed at its writing end: all threads end */
};

/* --- secrets --- */

static int add_secret(const struct compose_build_secret *s, json_t *into, struct err *err)
{
    _cleanup_str_ struct str value = STR_INIT;
    int r = s->file ? file_read(s->file, SECRET_MAX, &value, err) : 0;
    if (r < 0)
        return err_wrap(err, "build secret %.100s", s->id);
    if (!s->file)
        str_add(&value, s->content);
    _cleanup_free_ char *encoded = base64_encode(str_get(&value), value.len);
    json_set_str(into, s->id, encoded);
    explicit_bzero(encoded, strlen(encoded));
    if (value.data)
        explicit_bzero(value.data, value.len);
    return 0;
}

static int read_secret(const char *text, json_t *into, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, ',');
    const char *id = NULL, *file = NULL, *variable = NULL;
    STRV_FOREACH (p, parts) {
        const char *value = strchr(*p, '=') ? strchr(*p, '=') + 1 : NULL;
        if (value && str_after(*p, "id="))
            id = value;
        else if (value && (str_after(*p, "src=") || str_after(*p, "source=")))
            file = value;
        else if (value && str_after(*p, "env="))
            variable = value;
        else if (!str_eq(*p, "type=file") && !str_eq(*p, "type=env"))
            return err_set(err, ERR_INVALID, "--secret %.100s: it must be id=NAME[,src=FILE|env=VARIABLE]",
                           text);
    }
    if (str_empty(id))
        return err_set(err, ERR_INVALID, "--secret %.100s: it needs an id: id=NAME", text);
    /* A name alone is that of a variable, else of a file, as Docker has it. */
    if (!file && !variable)
        *(getenv(id) ? &variable : &file) = id;
    const char *value = variable ? getenv(variable) : NULL;
    if (variable && !value)
        return err_set(err, ERR_NOT_FOUND, "--secret %.100s: there is no variable %s", text, variable);
    const struct compose_build_secret secret = {id, variable ? NULL : file, value};
    int r = add_secret(&secret, into, err);
    return r < 0 ? err_wrap(err, "--secret %.100s", text) : 0;
}

static int read_secrets(const struct build_session_request *request, json_t *into, struct err *err)
{
    int r = 0;
    for (char **text = request->secrets; r == 0 && text && *text; text++)
        r = read_secret(*text, into, err);
    for (size_t i = 0; r == 0 && i < request->given_count; i++)
        r = add_secret(&request->given[i], into, err);
    return r;
}

/* --- agents --- */

static int add_agent(struct build_session *s, const char *text, struct err *err)
{
    size_t n = strcspn(text, "=");
    const char *socket = text[n] ? text + n + 1 : getenv("SSH_AUTH_SOCK");
    if (!n || str_empty(socket))
        return err_set(
            err, ERR_INVALID,
            "--ssh %.100s: there is no agent: start one and set SSH_AUTH_SOCK, or say --ssh ID=SOCKET", text);
    struct agent *a = &s->agents[s->agent_count++];
    *a = (struct agent){.session = s, .id = mem_strndup(text, n), .socket = mem_strdup(socket)};
    struct stat st;
    if (stat(socket, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, "--ssh %.100s: there is no socket %s", text, socket);
    return S_ISSOCK(st.st_mode)
               ? 0
               : err_set(err, ERR_UNSUPPORTED,
                         "--ssh %.100s: %s is no agent's socket; a key itself is not supported: ssh-add it "
                         "to an agent, and give that one",
                         text, socket);
}

/* One connection waits at the server until a step speaks; then the next one is sent there. */
static void *serve_agent(void *context)
{
    struct agent *a = context;
    struct build_session *s = a->session;
    for (;;) {
        _cleanup_close_ int fd = -EBADF, agent = -EBADF;
        _cleanup_str_ struct str early = STR_INIT;
        _cleanup_free_ char *name = cli_escape(a->id);
        struct err err;
        if (cli_hijack(NULL, &fd, &early, &err, "/drover/builds/%s/agents/%s", s->id, name) < 0)
            return NULL;
        struct pollfd p[] = {{.fd = fd, .events = POLLIN}, {.fd = s->stop[0]}};
        while (!early.len && poll(p, 2, -1) < 0 && errno == EINTR)
            ;
        char byte;
        if (p[1].revents || (!early.len && recv(fd, &byte, 1, MSG_PEEK) <= 0))
            return NULL;
        if (file_connect_unix(a->socket, SOCK_STREAM, &agent, &err) < 0) {
            fprintf(stderr, "drover: ssh agent %s: %s\n", a->id, err.msg);
            return NULL;
        }
        if (!early.len || file_write_all(agent, early.data, early.len, NULL) == 0)
            relay(&(struct relay_end){.fd = fd}, &(struct relay_end){.fd = agent},
                  &(struct relay_rule){.until = RELAY_BOTH, .stop_fd = s->stop[0]});
    }
}

/* --- contexts --- */

static int send_layout(const char *dir, const char *path, struct err *err)
{
    _cleanup_free_ char *with = str_printf("%s?layout=1", path);
    return build_send_directory(dir, with, err);
}

static int give_context(struct build_session *s, const char *text, struct err *err)
{
    size_t n = strcspn(text, "=");
    _cleanup_free_ char *name = mem_strndup(text, n), *escaped = cli_escape(name);
    _cleanup_free_ char *path = str_printf("/drover/builds/%s/contexts/%s", s->id, escaped);
    const char *what = text + n + 1, *layout = str_after(what, "oci-layout://");
    if (str_after(what, "docker-image://"))
        return 0;
    if (compose_context_is_remote(what)) {
        _cleanup_free_ char *url = cli_escape(what);
        return cli_call("PUT", NULL, NULL, err, "%s?remote=%s", path, url);
    }
    return layout ? send_layout(layout, path, err) : build_send_directory(what, path, err);
}

static int read_contexts(char **list, json_t *options, struct err *err)
{
    json_t *aliases = json_object();
    json_object_set_new(options, "Contexts", aliases);
    STRV_FOREACH (text, list) {
        size_t n = strcspn(*text, "=");
        const char *what = (*text)[n] ? *text + n + 1 : "";
        if (!n || !*what)
            return err_set(err, ERR_INVALID,
                           "--build-context %.100s: it must be NAME=DIRECTORY, NAME=URL, "
                           "NAME=docker-image://REFERENCE or NAME=oci-layout://DIRECTORY",
                           *text);
        if (strstr(what, "://") && !str_after(what, "docker-image://") && !str_after(what, "oci-layout://") &&
            !compose_context_is_remote(what))
            return err_set(err, ERR_UNSUPPORTED,
                           "--build-context %.100s: contexts of this kind are not supported", *text);
        _cleanup_free_ char *name = mem_strndup(*text, n);
        if (str_after(what, "docker-image://"))
            json_set_str(aliases, name, what);
    }
    return 0;
}

/* --- caches --- */

/* All are looked at before anything is sent. */
static int read_caches(char **list, bool is_target, json_t *options, struct err *err)
{
    STRV_FOREACH (text, list) {
        struct cache_spec spec;
        int r = cache_spec_parse(*text, is_target, &spec, err);
        if (r < 0)
            return r;
        cache_spec_done(&spec);
    }
    json_object_set_new(options, is_target ? "CacheTo" : "CacheFrom", json_of_strv(list));
    return 0;
}

/* A directory that is not there gives no cache, as with the first build of all. */
static int give_cache(struct build_session *s, const char *text, size_t number, struct err *err)
{
    struct cache_spec spec;
    int r = cache_spec_parse(text, false, &spec, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("/drover/builds/%s/caches/%zu", s->id, number);
    if (spec.type == CACHE_LOCAL && file_exists(spec.place))
        r = build_send_directory(spec.place, path, err);
    cache_spec_done(&spec);
    return r;
}

static int take_cache(struct build_session *s, const char *text, size_t number, struct err *err)
{
    struct cache_spec spec;
    int r = cache_spec_parse(text, true, &spec, err);
    if (r < 0)
        return r;
    _cleanup_free_ char *path = str_printf("/drover/builds/%s/caches/%zu", s->id, number);
    if (spec.type == CACHE_LOCAL) {
        r = file_mkdirs(spec.place, 0755, err);
        _cleanup_close_ int into = r == 0 ? open(spec.place, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -EBADF;
        if (r == 0 && into < 0)
            r = err_sys(err, errno, "open %s", spec.place);
        if (r == 0)
            r = archive_fetch(path, into, err);
        if (r < 0)
            err_wrap(err, "--cache-to %s", text);
        if (r < 0 && spec.ignore_error) {
            fprintf(stderr, "drover: [Warning] %s\n", err->msg);
            r = 0;
        }
    }
    cache_spec_done(&spec);
    return r;
}

int build_session_take_caches(struct build_session *s, char **targets, struct err *err)
{
    int r = 0;
    for (size_t i = 0; r == 0 && targets && targets[i]; i++)
        r = take_cache(s, targets[i], i, err);
    return r;
}

/* --- the whole --- */

static int open_at_server(struct build_session *s, const json_t *body, struct err *err)
{
    _cleanup_json_ json_t *answer = NULL;
    int r = cli_call("POST", body, &answer, err, "/drover/builds");
    if (r == 0)
        s->id = mem_strdup(json_str(answer, "Id"));
    return r;
}

void build_session_attest(json_t *options, const char *provenance, const char *sbom)
{
    bool wanted = false;
    if (!str_empty(provenance))
        json_set_str(options, "Provenance", provenance);
    if (!str_empty(sbom) && parse_bool(sbom, &wanted, NULL) == 0)
        json_object_set_new(options, "Sbom", json_boolean(wanted));
}

int build_session_open(struct build_session_request *request, struct build_session **ret, struct err *err)
{
    struct build_session *s = NEW(struct build_session);
    _cleanup_json_ json_t *options = request->options, *secrets = json_object(), *agents = json_array();
    request->options = NULL;
    s->agents = NEW_N(struct agent, strv_len(request->agents) + 1);
    s->stop[0] = s->stop[1] = -EBADF;
    int r = pipe2(s->stop, O_CLOEXEC) < 0 ? err_sys(err, errno, "make a pipe") : 0;
    if (r == 0)
        r = read_secrets(request, secrets, err);
    for (char **a = request->agents; r == 0 && a && *a; a++)
        r = add_agent(s, *a, err);
    for (size_t i = 0; i < s->agent_count; i++)
        json_array_append_new(agents, json_string(s->agents[i].id));
    if (r == 0)
        r = read_contexts(request->contexts, options, err);
    if (r == 0)
        r = read_caches(request->cache_from, false, options, err);
    if (r == 0)
        r = read_caches(request->cache_to, true, options, err);
    if (r == 0) {
        _cleanup_json_ json_t *body =
            json_pack("{s:O, s:O, s:O}", "Options", options, "Secrets", secrets, "Agents", agents);
        r = open_at_server(s, body, err);
    }
    for (char **c = request->contexts; r == 0 && c && *c; c++)
        r = give_context(s, *c, err);
    for (size_t i = 0; r == 0 && request->cache_from && request->cache_from[i]; i++)
        r = give_cache(s, request->cache_from[i], i, err);
    for (size_t i = 0; r == 0 && i < s->agent_count; i++)
        s->agents[i].running = pthread_create(&s->agents[i].thread, NULL, serve_agent, &s->agents[i]) == 0;
    if (r < 0) {
        build_session_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

const char *build_session_id(const struct build_session *s)
{
    return s->id;
}

void build_session_close(struct build_session *s)
{
    if (!s)
        return;
    struct err ignored;
    if (s->id)
        cli_call("DELETE", NULL, NULL, &ignored, "/drover/builds/%s", s->id);
    close_fd(s->stop[1]);
    for (size_t i = 0; i < s->agent_count; i++) {
        if (s->agents[i].running)
            pthread_join(s->agents[i].thread, NULL);
        free(s->agents[i].id);
        free(s->agents[i].socket);
    }
    close_fd(s->stop[0]);
    free(s->agents);
    free(s->id);
    free(s);
}
