#include "cli/ssh.h"

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "cli/call.h"
#include "cli/options.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN_MAX = 4096, COPY_BYTES = 64 << 10 };
extern char **environ;

/* --- the address --- */

bool ssh_is_url(const char *text)
{
    return str_after(text, "ssh://");
}

/* A word for ssh's command line and for what its configuration makes of it (%h, %r in a ProxyCommand): no
 * option, and nothing that a shell reads. */
static bool is_plain(const char *text, const char *also)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (str_empty(text) || *text == '-')
        return false;
    for (const char *c = text; *c; c++)
        if (!strchr(letters, *c) && !strchr(also, *c))
            return false;
    return true;
}

/* "host", "host:port", "[v6]:port"; takes the text apart. */
static void split_host(char *text, char **ret_host, char **ret_port)
{
    char *end = *text == '[' ? strchr(text, ']') : NULL;
    char *colon = strchr(end ? end : text, ':');
    if (colon) {
        *colon = '\0';
        *ret_port = mem_strdup(colon + 1);
    }
    if (end)
        *end = '\0';
    *ret_host = mem_strdup(end ? text + 1 : text);
}

static int check(const struct ssh_remote *s, const char *url, struct err *err)
{
    int64_t port;
    if (!is_plain(s->host, ":%"))
        return err_set(err, ERR_INVALID, "%s: no machine's name: ssh://[user@]host[:port][/path/of/socket]",
                       url);
    if (s->user && !is_plain(s->user, "@+\\"))
        return err_set(err, ERR_INVALID, "%s: \"%s\" is no user's name (and a password does not belong here)",
                       url, s->user);
    if (s->port && parse_i64(s->port, 1, 65535, &port, NULL) < 0)
        return err_set(err, ERR_INVALID, "%s: \"%s\" is no port", url, s->port);
    return 0;
}

struct ssh_tunnel {
    char **argv; /* of each ssh */
    char *dir, *path;
    int listen_fd;
    pthread_t thread;
    pid_t *children; /* of the thread, until it has ended */
    size_t child_count;
};

static int tunnel_open(struct ssh_remote *s, struct err *err);
static void tunnel_close(struct ssh_tunnel *t);

int ssh_open(const char *url, const char *program, struct ssh_remote *ret, struct err *err)
{
    struct ssh_remote s = {.program = mem_strdup(program ? program : "drover")};
    const char *rest = str_after(url, "ssh://"), *slash = strchr(rest, '/');
    _cleanup_free_ char *authority = slash ? mem_strndup(rest, (size_t)(slash - rest)) : mem_strdup(rest);
    if (slash && slash[1])
        s.socket = mem_strdup(slash);
    char *at = strrchr(authority, '@');
    if (at) {
        *at = '\0';
        s.user = mem_strdup(authority);
    }
    split_host(at ? at + 1 : authority, &s.host, &s.port);
    int r = check(&s, url, err);
    *ret = s;
    if (r == 0)
        r = tunnel_open(ret, err);
    if (r == 0)
        r = http_client_new(ret->tunnel->path, &ret->client, err);
    if (r < 0)
        ssh_close(ret);
    return r;
}

void ssh_close(struct ssh_remote *s)
{
    http_client_free(s->client);
    tunnel_close(s->tunnel);
    free(s->user);
    free(s->host);
    free(s->port);
    free(s->socket);
    free(s->program);
    *s = (struct ssh_remote){0};
}

/* --- a connection --- */

static char *quoted(const char *text)
{
    struct str s = STR_INIT;
    str_addc(&s, '\'');
    for (; *text; text++)
        if (*text == '\'')
            str_add(&s, "'\\''");
        else
            str_addc(&s, *text);
    str_addc(&s, '\'');
    return str_take(&s);
}

static char **command(const struct ssh_remote *s)
{
    const char *own = getenv("DROVER_SSH_COMMAND");
    char **argv = NULL;
    if (!str_empty(own)) {
        strv_add(&argv, "sh");
        strv_add(&argv, "-c");
        strv_take(&argv, str_printf("exec %s \"$@\"", own));
    }
    strv_add(&argv, "ssh");
    /* A connection that is dead is noticed within a minute. */
    static const char *const fixed[] = {
        "-T", "-e", "none", "-o", "ConnectTimeout=30", "-o", "ServerAliveInterval=15"};
    for (size_t i = 0; i < ARRAY_SIZE(fixed); i++)
        strv_add(&argv, fixed[i]);
    if (s->user) {
        strv_add(&argv, "-l");
        strv_add(&argv, s->user);
    }
    if (s->port) {
        strv_add(&argv, "-p");
        strv_add(&argv, s->port);
    }
    strv_add(&argv, "--");
    strv_add(&argv, s->host);
    _cleanup_free_ char *socket = s->socket ? quoted(s->socket) : NULL;
    strv_take(&argv, socket ? str_printf("%s --socket %s dial-stdio", s->program, socket)
                            : str_printf("%s dial-stdio", s->program));
    return argv;
}

static int start(struct ssh_tunnel *t, int fd, struct err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    pid_t pid;
    if (t->child_count == CHILDREN_MAX)
        return err_set(err, ERR_LIMIT, "the connection broke off %d times", CHILDREN_MAX);
    must(posix_spawn_file_actions_init(&actions) == 0 && posix_spawnattr_init(&attributes) == 0);
    posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fd, STDOUT_FILENO);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    int sys = posix_spawnp(&pid, t->argv[0], &actions, &attributes, t->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (sys)
        return err_sys(err, sys, "start %s (install an ssh client, or set DROVER_SSH_COMMAND)", t->argv[0]);
    t->children = mem_grow(t->children, t->child_count + 1, sizeof(*t->children));
    t->children[t->child_count++] = pid;
    return 0;
}

/* Until the listening socket is shut down. */
static void *accept_all(void *context)
{
    struct ssh_tunnel *t = context;
    struct err err;
    for (;;) {
        _cleanup_close_ int fd = accept4(t->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0)
            return NULL;
        if (start(t, fd, &err) < 0)
            fprintf(stderr, "drover: %s\n", err.msg);
    }
}

static int tunnel_open(struct ssh_remote *s, struct err *err)
{
    const char *tmp = getenv("TMPDIR");
    _cleanup_free_ char *dir = str_printf("%s/drover-ssh-XXXXXX", str_empty(tmp) ? "/tmp" : tmp);
    if (!mkdtemp(dir))
        return err_sys(err, errno, "make a directory at %s", dir);
    struct ssh_tunnel *t = NEW(struct ssh_tunnel);
    t->dir = take_ptr(dir);
    t->path = str_printf("%s/socket", t->dir);
    int r = file_listen_unix(t->path, SOCK_STREAM, 0600, &t->listen_fd, err);
    if (r < 0) {
        rmdir(t->dir);
        free(t->dir);
        free(t->path);
        free(t);
        return r;
    }
    t->argv = command(s);
    must(pthread_create(&t->thread, NULL, accept_all, t) == 0);
    s->tunnel = t;
    return 0;
}

static void tunnel_close(struct ssh_tunnel *t)
{
    if (!t)
        return;
    shutdown(t->listen_fd, SHUT_RDWR);
    pthread_join(t->thread, NULL);
    close_fd(t->listen_fd);
    /* Their connections are closed, so that they end by themselves, but for one that waits for a network. */
    for (size_t i = 0; i < t->child_count; i++)
        kill(t->children[i], SIGTERM);
    for (size_t i = 0; i < t->child_count; i++)
        while (waitpid(t->children[i], NULL, 0) < 0 && errno == EINTR)
            ;
    unlink(t->path);
    rmdir(t->dir);
    strv_free(t->argv);
    free(t->children);
    free(t->dir);
    free(t->path);
    free(t);
}

/* --- calls --- */

int ssh_exchange(struct ssh_remote *s, struct http_call *call, const char *path, struct http_response *ret,
                 struct err *err)
{
    _cleanup_free_ char *url = str_printf("http://drover%s%s", CLI_API_VERSION, path);
    struct http_response response = {0};
    call->url = url;
    int r = http_client_call(s->client, call, &response, err);
    call->url = NULL;
    if (r == -ERR_UNAVAILABLE || r == -ERR_PROTOCOL)
        return err_set(err, ERR_UNAVAILABLE, "%s: the connection %s%s", s->host,
                       s->answered ? "broke off" : "was not made, or no drover serve answered there",
                       s->answered ? "" : ": ssh and drover said why");
    if (r < 0)
        return r;
    s->answered = true;
    r = http_response_err(&response, err);
    if (r == -ERR_NOT_FOUND && strstr(err->msg, "page not found"))
        r = err_set(err, ERR_UNSUPPORTED, "the drover at %s is too old to take or give images: upgrade it",
                    s->host);
    if (r < 0)
        http_response_done(&response);
    else
        *ret = response;
    return r;
}

int ssh_call(struct ssh_remote *s, const char *method, const char *path, const json_t *body, json_t **ret,
             struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    _cleanup_free_ char *text = body ? json_format(body) : NULL;
    struct http_call call = {.method = method,
                             .body = text,
                             .body_bytes = text ? strlen(text) : 0,
                             .headers = (char *const *)headers};
    struct http_response response;
    int r = ssh_exchange(s, &call, path, &response, err);
    if (r < 0)
        return r;
    r = json_parse(str_get(&response.body), response.body.len, "the answer", ret, err);
    http_response_done(&response);
    return r;
}

/* --- the other end --- */

struct copying {
    int from, to;
};

static void copy(const struct copying *c)
{
    _cleanup_free_ char *buffer = mem_new(COPY_BYTES);
    for (;;) {
        ssize_t n = read(c->from, buffer, COPY_BYTES);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || file_write_all(c->to, buffer, (size_t)n, NULL) < 0)
            return;
    }
}

static void *copy_in(void *context)
{
    const struct copying *c = context;
    copy(c);
    shutdown(c->to, SHUT_WR);
    return NULL;
}

int cli_dial_stdio(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "dial-stdio", "Joins standard input and output to the server's socket.", options, false, 0, 0};
    char **rest;
    const char *socket;
    struct err err = {0};
    int fd, status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (cli_socket(&socket, &err) < 0)
        return cli_fail(&err);
    if (file_connect_unix(socket, SOCK_STREAM, &fd, &err) < 0) {
        err_wrap(&err, "is drover serve running, and may this user use its socket?");
        return cli_fail(&err);
    }
    pthread_t thread;
    struct copying in = {STDIN_FILENO, fd}, out = {fd, STDOUT_FILENO};
    must(pthread_create(&thread, NULL, copy_in, &in) == 0);
    copy(&out);
    /* The server has closed; what standard input still has goes nowhere. */
    _exit(0);
}
