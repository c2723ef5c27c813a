/* A replicated store of one member for a test: build/drover's `store run` with certificates made for it. */
#ifndef TESTS_STORE_MEMBER_H
#define TESTS_STORE_MEMBER_H

#include "base/process.h"
#include "base/timeutil.h"
#include "store/members.h"
#include "unit.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct store_member_process {
    pid_t pid;
    char *dir, *ca, *cert, *key;
    char address[32];
    char *addresses[2];
};

static inline struct store_members store_member_of(struct store_member_process *p)
{
    return (struct store_members){p->addresses, {p->ca, p->cert, p->key}, 0};
}

static inline int store_member_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    close(fd);
    return ntohs(a.sin_port);
}

/* `dir`/ca.pem, and NAME.pem with NAME.key of it. */
static inline bool store_member_certificate(const char *dir, const char *name, const char *subject)
{
    _cleanup_free_ char *script =
        str_printf("cd '%s' && { test -f ca.pem || openssl req -x509 -newkey ec -pkeyopt "
                   "ec_paramgen_curve:P-256 -nodes -days 2 "
                   "-subj /CN=authority -keyout ca.key -out ca.pem; } && openssl req -newkey ec -pkeyopt "
                   "ec_paramgen_curve:P-256 -nodes -subj '%s' -keyout %s.key -out %s.csr && openssl x509 "
                   "-req -in %s.csr -CA "
                   "ca.pem -CAkey ca.key -CAcreateserial -days 2 -out %s.pem",
                   dir, subject, name, name, name, name);
    const char *const argv[] = {"sh", "-c", script, NULL};
    return process_run(argv, NULL, NULL, NULL) == 0;
}

static inline void store_member_run(struct store_member_process *p)
{
    _cleanup_free_ char *data = str_printf("%s/member", p->dir);
    p->pid = fork();
    if (p->pid == 0) {
        execl(DROVER_BINARY, "drover", "store", "run", "--bootstrap", "--address", p->address, "--ca", p->ca,
              "--cert", p->cert, "--key", p->key, "--min-free", "1m", data, NULL);
        _exit(127);
    }
}

static inline void store_member_end(struct store_member_process *p)
{
    if (!p)
        return;
    if (p->pid > 0) {
        kill(p->pid, SIGTERM);
        waitpid(p->pid, NULL, 0);
    }
    free(p->dir);
    free(p->ca);
    free(p->cert);
    free(p->key);
    free(p);
}

/* NULL where it can not run. */
static inline struct store_member_process *store_member_start(const char *dir)
{
    if (access(DROVER_BINARY, X_OK) < 0 || !store_member_certificate(dir, "manager", "/OU=manager/CN=a"))
        return NULL;
    struct store_member_process *p = NEW(struct store_member_process);
    p->dir = mem_strdup(dir);
    p->ca = str_printf("%s/ca.pem", dir);
    p->cert = str_printf("%s/manager.pem", dir);
    p->key = str_printf("%s/manager.key", dir);
    snprintf(p->address, sizeof(p->address), "127.0.0.1:%d", store_member_port());
    p->addresses[0] = p->address;
    store_member_run(p);
    struct store_members m = store_member_of(p);
    for (int i = 0; i < 200; i++) {
        struct store_member *list = NULL;
        size_t n;
        m.timeout_ms = 500;
        if (store_members_list(&m, &list, &n, NULL) == 0) {
            free(list);
            return p;
        }
        if (waitpid(p->pid, NULL, WNOHANG) == p->pid) {
            p->pid = 0;
            break;
        }
        time_sleep_ns(20 * NS_PER_MS);
    }
    store_member_end(p);
    return NULL;
}

#endif
