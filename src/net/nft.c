/* libnftables, and the process that it runs in.
 *
 * Whatever it is asked, libnftables reads the sets of every table of the namespace, and 1.0.6 dereferences
 * NULL at a set that a newer nftables declared by `typeof`. Such a table can be made by any container that
 * has the machine's network, or, with CAP_NET_ADMIN, in its own namespace: in the server that would be the
 * end of the engine, and a parser of strangers' bytes with root's powers. So a process of its own, which
 * keeps CAP_NET_ADMIN alone, runs the commands, and its death is an error of that command. Only a namespace
 * that nobody else had yet is written to from here.
 *
 * The process reads struct question and the commands from its stdin, a stream socket, and writes struct
 * reply, what was printed and what went wrong to it, until the other end is closed. */
#include "net/priv.h"

#include "base/deferred.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process.h"

#include <linux/capability.h>
#include <nftables/libnftables.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 256 << 20 };

struct question {
    uint32_t json, bytes;
};

struct reply {
    int32_t failed;
    uint32_t output_bytes, why_bytes;
};

static int failure(const char *why, struct err *err)
{
    int length = (int)strcspn(why, "\n");
    if (strstr(why, "not permitted"))
        return err_set(err, ERR_DENIED, "nftables: the capability CAP_NET_ADMIN is needed");
    return err_set(err, strstr(why, "No such file") ? ERR_NOT_FOUND : ERR_SYSTEM, "nftables: %.*s",
                   length ? length : 21, length ? why : "refused by the kernel");
}

/* --- here --- */

/* libnftables keeps process-wide tables: one call at a time. */
static pthread_mutex_t here_lock = PTHREAD_MUTEX_INITIALIZER;

int net__nft_run_here(const char *commands, struct err *err)
{
    pthread_mutex_lock(&here_lock);
    deferred_need(DEFERRED_NFTABLES);
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT); /* its socket is of this thread's namespace */
    int r = 0;
    if (!nft)
        r = err_set(err, ERR_SYSTEM, "nftables cannot be used: no memory or no netlink socket");
    else {
        nft_ctx_buffer_error(nft);
        if (nft_run_cmd_from_buffer(nft, commands) != 0)
            r = failure(nft_ctx_get_error_buffer(nft), err);
        nft_ctx_free(nft);
    }
    pthread_mutex_unlock(&here_lock);
    return r;
}

/* --- the process --- */

static int drop_powers(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = 1u << CAP_NET_ADMIN, .permitted = 1u << CAP_NET_ADMIN}};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_capset, &head, data) < 0)
        return err_sys(err, errno, "drop capabilities");
    return 0;
}

/* 1: answered; 0: nobody asks any more. */
static int answer(struct nft_ctx *nft, int fd, struct err *err)
{
    struct question q;
    ssize_t n = file_read_full(fd, &q, sizeof(q), err);
    if (n <= 0)
        return (int)n;
    if (n != sizeof(q) || q.bytes > TEXT_BYTES_MAX)
        return err_set(err, ERR_INVALID, "a question of %zd bytes", n);
    _cleanup_free_ char *commands = mem_new(q.bytes + 1);
    if ((n = file_read_full(fd, commands, q.bytes, err)) != (ssize_t)q.bytes)
        return n < 0 ? (int)n : 0;
    nft_ctx_output_set_flags(nft, (q.json ? NFT_CTX_OUTPUT_JSON : 0) | NFT_CTX_OUTPUT_NUMERIC_PROTO);
    bool failed = nft_run_cmd_from_buffer(nft, commands) != 0;
    /* Reading a buffer empties it for the next run. */
    const char *output = nft_ctx_get_output_buffer(nft), *why = nft_ctx_get_error_buffer(nft);
    struct reply reply = {failed, (uint32_t)strlen(output), (uint32_t)strlen(why)};
    int r = file_write_all(fd, &reply, sizeof(reply), err);
    if (r == 0)
        r = file_write_all(fd, output, reply.output_bytes, err);
    if (r == 0)
        r = file_write_all(fd, why, reply.why_bytes, err);
    return r < 0 ? r : 1;
}

int net_nft_main(void)
{
    log_init("nft", LOG_LEVEL_INFO);
    signal(SIGPIPE, SIG_IGN);
    if (chdir("/") < 0) /* keeps no file system busy */
        log_warning("chdir /: %s", strerror(errno));
    struct err err = {0};
    deferred_need(DEFERRED_NFTABLES);
    struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);
    if (!nft) {
        log_error("nftables cannot be used: no memory or no netlink socket");
        return 1;
    }
    nft_ctx_buffer_output(nft);
    nft_ctx_buffer_error(nft);
    int r = drop_powers(&err);
    while (r >= 0 && (r = answer(nft, 0, &err)) > 0)
        ;
    nft_ctx_free(nft);
    if (r < 0)
        log_error("%s", err.msg);
    return r < 0;
}

/* --- asking it --- */

static int start(const struct net *n, int *ret, struct err *err)
{
    int ends[2];
    _cleanup_free_ char *binary = NULL;
    int r = net__binary_path(&binary, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_sys(err, errno, "make a pair of sockets");
    _cleanup_free_ char *log = n ? str_printf("%s/nft.log", n->state_dir) : mem_strdup("/dev/null");
    const char *const argv[] = {binary, "nft", NULL};
    r = process_spawn_daemon(argv, ends[1], log, err);
    close(ends[1]);
    if (r < 0)
        close(ends[0]);
    else
        *ret = ends[0];
    return r;
}

static int send_all(int fd, const void *bytes, size_t n)
{
    for (size_t done = 0; done < n;) {
        ssize_t sent = send(fd, (const char *)bytes + done, n - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return -errno;
        done += sent > 0 ? (size_t)sent : 0;
    }
    return 0;
}

/* NULL when the process ended before it had said so much. */
static char *receive(int fd, uint32_t bytes)
{
    if (bytes > TEXT_BYTES_MAX)
        return NULL;
    char *text = mem_new((size_t)bytes + 1);
    if (file_read_full(fd, text, bytes, NULL) == (ssize_t)bytes)
        return text;
    free(text);
    return NULL;
}

/* -EPIPE: the process has ended; what it did of it is not known. */
static int ask(int fd, const char *commands, bool json, struct str *ret_output, struct err *err)
{
    struct question q = {json, (uint32_t)strlen(commands)};
    struct reply reply;
    if (send_all(fd, &q, sizeof(q)) < 0 || send_all(fd, commands, q.bytes) < 0 ||
        file_read_full(fd, &reply, sizeof(reply), NULL) != sizeof(reply))
        return -EPIPE;
    _cleanup_free_ char *output = receive(fd, reply.output_bytes);
    _cleanup_free_ char *why = output ? receive(fd, reply.why_bytes) : NULL;
    if (!why)
        return -EPIPE;
    if (reply.failed)
        return failure(why, err);
    if (ret_output)
        str_add(ret_output, output);
    return 0;
}

/* One that was killed while it had nothing to do is told from one that the question kills by asking twice:
 * the commands of the first time were at most one transaction, and callers see what it did. */
static int run(const struct net *n, int *fd, const char *commands, bool json, struct str *ret_output,
               struct err *err)
{
    int r = -EPIPE;
    for (int attempt = 0; r == -EPIPE && attempt < 2; attempt++) {
        if (*fd < 0 && (r = start(n, fd, err)) < 0)
            return r;
        r = ask(*fd, commands, json, ret_output, err);
        if (r == -EPIPE)
            *fd = close_fd(*fd);
    }
    if (r != -EPIPE)
        return r;
    _cleanup_str_ struct str tables = STR_INIT;
    net__tables_name_others(n, &tables);
    return err_set(
        err, ERR_UNAVAILABLE,
        "nftables: reading the tables of %s ends libnftables: one of them was most likely made by a "
        "newer nftables than this machine's, as `nft list tables` then shows by crashing too: "
        "delete it, or install that newer libnftables (there: %s)",
        n ? "this machine" : "the container's network namespace",
        tables.len ? str_get(&tables) : "none that can be named");
}

int net__nft_run(struct net *n, const char *commands, bool json, struct str *ret_output, struct err *err)
{
    return run(n, &n->nft, commands, json, ret_output, err);
}

int net__nft_run_apart(const char *commands, struct err *err)
{
    _cleanup_close_ int fd = -EBADF;
    return run(NULL, &fd, commands, false, NULL, err);
}
