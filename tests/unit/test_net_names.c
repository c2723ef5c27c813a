/* Names: the DNS process, asked from containers. */
#include "net_host.h"

#include <sched.h>
#include <sys/mount.h>

static size_t query_make(uint8_t *q, const char *name, uint16_t type)
{
    const uint8_t head[12] = {0x12, 0x34, 1, 0, 0, 1};
    size_t n = sizeof(head);
    memcpy(q, head, n);
    while (*name) {
        size_t label = strcspn(name, ".");
        q[n++] = (uint8_t)label;
        memcpy(q + n, name, label);
        n += label;
        name += label + (name[label] == '.');
    }
    const uint8_t tail[5] = {0, (uint8_t)(type >> 8), (uint8_t)type, 0, 1};
    memcpy(q + n, tail, sizeof(tail));
    return n + sizeof(tail);
}

/* "rcode 0: 172.30.0.2 172.30.0.3", as printed from the answer; "silence" for none. */
static void answer_print(const uint8_t *m, size_t n, size_t question, char *out, size_t capacity)
{
    if (n < 12 || m[0] != 0x12 || m[1] != 0x34 || !(m[2] & 0x80)) {
        snprintf(out, capacity, "not an answer of %zu bytes", n);
        return;
    }
    size_t used = (size_t)snprintf(out, capacity, "rcode %d:", m[3] & 15), at = question;
    for (unsigned i = 0; i < (unsigned)(m[6] << 8 | m[7]) && at + 12 <= n; i++) {
        size_t data = (size_t)(m[at + 10] << 8 | m[at + 11]);
        const uint8_t *p = m + at + 12;
        if (m[at + 3] == 1 && data == 4)
            used += (size_t)snprintf(out + used, capacity - used, " %u.%u.%u.%u", p[0], p[1], p[2], p[3]);
        else if (m[at + 3] == 12)
            used += (size_t)snprintf(out + used, capacity - used, " %.*s", p[0], (const char *)p + 1);
        at += 12 + data;
    }
}

static int exchange(int s, int type, const uint8_t *q, size_t n, uint8_t *m, size_t capacity, int wait_ms)
{
    uint8_t framed[600];
    if (type == SOCK_STREAM) {
        framed[0] = (uint8_t)(n >> 8);
        framed[1] = (uint8_t)n;
        memcpy(framed + 2, q, n);
        q = framed;
        n += 2;
    }
    struct pollfd p = {.fd = s, .events = POLLIN};
    if (send(s, q, n, 0) != (ssize_t)n || poll(&p, 1, wait_ms) != 1)
        return -1;
    if (type == SOCK_DGRAM)
        return (int)recv(s, m, capacity, 0);
    uint8_t head[2];
    if (recv(s, head, 2, MSG_WAITALL) != 2)
        return -1;
    return (int)recv(s, m, MIN(capacity, (size_t)(head[0] << 8 | head[1])), MSG_WAITALL);
}

static char *resolve(int ns, const char *server, int type, const char *name, uint16_t qtype, int wait_ms)
{
    int out[2];
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53)};
        inet_pton(AF_INET, server, &a.sin_addr);
        char text[256] = "silence";
        uint8_t q[512], m[2048];
        size_t question = query_make(q, name, qtype);
        int s;
        if ((ns >= 0 && setns(ns, CLONE_NEWNET) < 0) || (s = socket(AF_INET, type, 0)) < 0 ||
            connect(s, (struct sockaddr *)&a, sizeof(a)) < 0)
            _exit(1);
        int n = exchange(s, type, q, question, m, sizeof(m), wait_ms);
        if (n >= 0)
            answer_print(m, (size_t)n, question, text, sizeof(text));
        ssize_t ignored _unused_ = write(out[1], text, strlen(text));
        _exit(0);
    }
    close(out[1]);
    struct str s = STR_INIT;
    struct err err = {0};
    assert_ok(file_read_fd(out[0], 256, &s, &err), &err);
    close(out[0]);
    waitpid(pid, NULL, 0);
    return str_take(&s);
}

enum { A = 1, PTR = 12, AAAA = 28 };

#define assert_resolves(ns, server, name, qtype, expected)                                                   \
    do {                                                                                                     \
        _cleanup_free_ char *udp_ = resolve(ns, server, SOCK_DGRAM, name, qtype, PATIENT);                   \
        assert_string_equal(udp_, expected);                                                                 \
        _cleanup_free_ char *tcp_ = resolve(ns, server, SOCK_STREAM, name, qtype, PATIENT);                  \
        assert_string_equal(tcp_, expected);                                                                 \
    } while (0)

/* Two networks; a on the first, b on both, c on the second. */
static void names_set(struct fixture *f)
{
    struct err err = {0};
    char *a[] = {(char[]){"web"}, (char[]){"Api"}, NULL};
    char *b[] = {(char[]){"db"}, (char[]){"db.project"}, NULL};
    char *c[] = {(char[]){"cache"}, NULL};
    const struct net_name names[] = {
        {.network = "n1", .bridge = "drtaaaaaaaa", .address = "172.30.0.2", .names = a, .owner = OWNER_A},
        {.network = "n1", .bridge = "drtaaaaaaaa", .address = "172.30.0.3", .names = b, .owner = OWNER_B},
        {.network = "n2", .bridge = "drtbbbbbbbb", .address = "172.31.0.3", .names = b, .owner = OWNER_B},
        {.network = "n2", .bridge = "drtbbbbbbbb", .address = "172.31.0.4", .names = c},
    };
    assert_ok(net_names_set(f->net, names, ARRAY_SIZE(names), &err), &err);
}

static void a_container_resolves_the_names_of_its_networks(void **state)
{
    struct fixture *f = host_of(state);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", true);
    bridge(f, "drtbbbbbbbb", "172.31.0.0/16", "172.31.0.1", true);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    int b = container(f, "drtaaaaaaaa", "172.30.0.3/16", "172.30.0.1");
    int c = container(f, "drtbbbbbbbb", "172.31.0.4/16", "172.31.0.1");
    names_set(f);
    assert_resolves(a, "172.30.0.1", "web", A, "rcode 0: 172.30.0.2");
    assert_resolves(a, "172.30.0.1", "aPI", A, "rcode 0: 172.30.0.2");
    assert_resolves(a, "172.30.0.1", "db.project", A, "rcode 0: 172.30.0.3");
    assert_resolves(a, "172.30.0.1", "web", AAAA, "rcode 0:");
    assert_resolves(a, "172.30.0.1", "cache", A, "rcode 3:");            /* of another network */
    assert_resolves(b, "172.30.0.1", "cache", A, "rcode 0: 172.31.0.4"); /* which b is on as well */
    assert_resolves(c, "172.31.0.1", "db", A, "rcode 0: 172.31.0.3");
    assert_resolves(c, "172.31.0.1", "web", A, "rcode 3:");
    assert_resolves(a, "172.30.0.1", "3.0.30.172.in-addr.arpa", PTR, "rcode 0: db");
    assert_resolves(a, "172.30.0.1", "9.0.30.172.in-addr.arpa", PTR, "rcode 3:");
    close(a), close(b), close(c);
}

static void a_published_port_53_leaves_names_alone(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    struct net_port p[2] = {
        {.protocol = "udp", .host_port = 53, .container_ip = "172.30.0.2", .container_port = 53},
        {.protocol = "tcp", .host_port = 53, .container_ip = "172.30.0.2", .container_port = 53}};
    assert_ok(net_ports_publish(f->net, OWNER_A, p, 2, &err), &err);
    names_set(f);
    assert_resolves(a, "172.30.0.1", "web", A, "rcode 0: 172.30.0.2");
    close(a);
}

static pid_t dns_pid(struct fixture *f)
{
    struct err err = {0};
    _cleanup_free_ char *path = str_printf("%s/dns.sock", f->dir);
    int s = -1;
    assert_ok(file_connect_unix(path, SOCK_SEQPACKET, &s, &err), &err);
    struct ucred peer;
    socklen_t length = sizeof(peer);
    assert_int_equal(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &peer, &length), 0);
    close(s);
    return peer.pid;
}

static void the_dns_process_outlives_its_maker_and_comes_back_when_killed(void **state)
{
    struct fixture *f = host_of(state);
    struct err err = {0};
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    names_set(f);
    pid_t first = dns_pid(f);
    net_close(f->net);
    assert_resolves(a, "172.30.0.1", "web", A, "rcode 0: 172.30.0.2");

    assert_ok(net_open(f->dir, "drt", &f->net, &err), &err);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    assert_int_equal(dns_pid(f), first);
    assert_resolves(a, "172.30.0.1", "web", A, "rcode 0: 172.30.0.2"); /* names are kept until set anew */

    assert_int_equal(kill(first, SIGKILL), 0);
    for (bool back = false; !back;) { /* without anybody calling anything */
        _cleanup_free_ char *got = resolve(a, "172.30.0.1", SOCK_DGRAM, "web", A, 20);
        back = str_eq(got, "rcode 0: 172.30.0.2");
    }
    assert_int_not_equal(dns_pid(f), first);
    close(a);
}

static void a_dns_process_that_hangs_is_replaced(void **state)
{
    struct fixture *f = host_of(state);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    pid_t first = dns_pid(f);
    assert_int_equal(kill(first, SIGSTOP), 0);
    names_set(f);
    assert_resolves(a, "172.30.0.1", "web", A, "rcode 0: 172.30.0.2");
    assert_int_not_equal(dns_pid(f), first);
    close(a);
}

static void the_host_and_its_neighbours_are_not_served(void **state)
{
    struct fixture *f = host_of(state);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    names_set(f);
    _cleanup_free_ char *got = resolve(-1, "172.30.0.1", SOCK_DGRAM, "web", A, IMPATIENT);
    assert_string_not_equal(got, "rcode 0: 172.30.0.2");
}

/* A resolver of the host on 127.0.0.1:53, by UDP and TCP, that knows "world" as 192.0.2.7. Before each true
 * answer by UDP it sends three that must not count: a wrong id, a wrong question, and no answer at all. */
static void world_answer(const uint8_t *q, size_t n, uint8_t *m, size_t *ret)
{
    const uint8_t record[16] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7};
    memcpy(m, q, n);
    m[2] = 0x81;
    m[3] = 0x80;
    m[7] = 1;
    memcpy(m + n, record, sizeof(record));
    *ret = n + sizeof(record);
}

static void world_udp(int udp)
{
    uint8_t q[512], m[600], wrong[600];
    struct sockaddr_in from;
    socklen_t length = sizeof(from);
    ssize_t n = recvfrom(udp, q, sizeof(q), 0, (struct sockaddr *)&from, &length);
    size_t bytes = 0;
    if (n < 12)
        return;
    world_answer(q, (size_t)n, m, &bytes);
    for (int i = 0; i < 3; i++) {
        memcpy(wrong, m, bytes);
        wrong[bytes - 1] = 66;
        wrong[0] ^= i == 0;
        wrong[13] ^= i == 1;
        wrong[2] ^= i == 2 ? 0x80 : 0;
        sendto(udp, wrong, bytes, 0, (struct sockaddr *)&from, length);
    }
    sendto(udp, m, bytes, 0, (struct sockaddr *)&from, length);
}

static void world_tcp(int tcp)
{
    uint8_t q[514], m[602];
    size_t bytes = 0;
    int c = accept(tcp, NULL, NULL);
    if (recv(c, q, 2, MSG_WAITALL) == 2) {
        size_t n = (size_t)(q[0] << 8 | q[1]);
        if (n <= 512 && recv(c, q + 2, n, MSG_WAITALL) == (ssize_t)n) {
            world_answer(q + 2, n, m + 2, &bytes);
            m[0] = (uint8_t)(bytes >> 8);
            m[1] = (uint8_t)bytes;
            for (size_t i = 0; i < bytes + 2; i++) /* in as many segments as can be */
                if (send(c, m + i, 1, MSG_NOSIGNAL) != 1)
                    break;
        }
    }
    close(c);
}

static void world_serve(struct fixture *f)
{
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct sockaddr_in a = {
            .sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {htonl(0x7f000001)}};
        int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
        if (bind(tcp, (struct sockaddr *)&a, sizeof(a)) < 0 ||
            bind(udp, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(tcp, 8) < 0 ||
            write(ready[1], "r", 1) != 1)
            _exit(1);
        for (;;) {
            struct pollfd p[2] = {{.fd = tcp, .events = POLLIN}, {.fd = udp, .events = POLLIN}};
            poll(p, 2, -1);
            if (p[0].revents)
                world_tcp(tcp);
            if (p[1].revents)
                world_udp(udp);
        }
    }
    close(ready[1]);
    char c;
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    f->servers[f->server_count++] = pid;
}

/* The DNS process takes its mounts from here. */
static void resolv_conf(struct fixture *f, const char *text)
{
    struct err err = {0};
    _cleanup_free_ char *path = str_printf("%s/resolv.conf", f->dir);
    assert_ok(file_replace(path, text, strlen(text), 0644, false, &err), &err);
    if (mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0)
        fail_msg("bind /etc/resolv.conf: %s", strerror(errno));
}

static void unknown_names_go_to_the_hosts_resolvers(void **state)
{
    struct fixture *f = host_of(state);
    /* The first one is nobody: the second gets its chance. */
    resolv_conf(f, "nameserver 127.0.0.99\nnameserver 127.0.0.1\n");
    world_serve(f);
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    names_set(f);
    assert_resolves(a, "172.30.0.1", "world", A, "rcode 0: 192.0.2.7");
    assert_resolves(a, "172.30.0.1", "a.long.name.of.the.world.example", A, "rcode 0: 192.0.2.7");
    assert_resolves(a, "172.30.0.1", "web", A, "rcode 0: 172.30.0.2");
    close(a);
    assert_int_equal(umount2("/etc/resolv.conf", MNT_DETACH), 0);
}

static void without_a_resolver_that_answers_the_asker_hears_of_a_failure(void **state)
{
    struct fixture *f = host_of(state);
    resolv_conf(f, "nameserver 127.0.0.99\n");
    bridge(f, "drtaaaaaaaa", "172.30.0.0/16", "172.30.0.1", false);
    int a = container(f, "drtaaaaaaaa", "172.30.0.2/16", "172.30.0.1");
    assert_resolves(a, "172.30.0.1", "world", A, "rcode 2:");
    close(a);
    assert_int_equal(umount2("/etc/resolv.conf", MNT_DETACH), 0);
}

int main(int argc, char **argv)
{
    int status;
    if (host_is_process(argc, argv, &status))
        return status;
    if (host_begin() < 0 ||
        (root && (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)))
        return 1;
#define kernel_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        kernel_test(a_container_resolves_the_names_of_its_networks),
        kernel_test(a_published_port_53_leaves_names_alone),
        kernel_test(the_dns_process_outlives_its_maker_and_comes_back_when_killed),
        kernel_test(a_dns_process_that_hangs_is_replaced),
        kernel_test(the_host_and_its_neighbours_are_not_served),
        kernel_test(unknown_names_go_to_the_hosts_resolvers),
        kernel_test(without_a_resolver_that_answers_the_asker_hears_of_a_failure),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
