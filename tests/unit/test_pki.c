/* The swarm's authority: what it signs, what it takes back, and who is let in by that (src/cluster/pki.c,
 * src/store/tls.c). */
#include "unit.h"

#include "base/timeutil.h"
#include "cluster/cluster_priv.h"
#include "cluster/pki.h"
#include "store/tls.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>

static char *directory, *authority, *authority_key;

static char *write_file(const char *name, const char *text)
{
    struct err err;
    char *path = str_printf("%s/%s", directory, name);
    assert_ok(file_replace(path, text, strlen(text), 0600, false, &err), &err);
    return path;
}

static int set_up(void **state)
{
    struct err err;
    directory = scratch_new();
    assert_ok(keys__make_authority(true, &authority, &authority_key, &err), &err);
    free(write_file("ca.pem", authority));
    return 0;
}

static int tear_down(void **state)
{
    scratch_remove(directory);
    free(authority);
    free(authority_key);
    return 0;
}

/* Writes NAME.pem and NAME.key. */
static struct pki_subject make(const char *name, const char *node, bool manager, int64_t life_s)
{
    _cleanup_free_ char *csr = NULL, *key = NULL, *pem = NULL, *file = str_printf("%s.pem", name),
                        *key_file = str_printf("%s.key", name);
    struct pki_subject s = {.manager = manager, .address = "10.1.2.3"}, read;
    struct err err;
    snprintf(s.node, sizeof(s.node), "%s", node);
    snprintf(s.swarm, sizeof(s.swarm), "the-swarm");
    assert_ok(pki_request(&csr, &key, &err), &err);
    assert_ok(pki_issue(authority, authority_key, csr, &s, life_s * NS_PER_S, &pem, &err), &err);
    assert_ok(pki_read(pem, &read, &err), &err);
    free(write_file(file, pem));
    free(write_file(key_file, key));
    return read;
}

static void take_back(const char *serial, int64_t number)
{
    struct pki_revoked list = {.at_ns = time_now_ns()};
    char *pem = NULL;
    struct err err;
    snprintf(list.serial, sizeof(list.serial), "%s", serial);
    assert_ok(pki_revocations(authority, authority_key, number, &list, 1, &pem, &err), &err);
    free(write_file("ca.crl", pem));
    free(pem);
}

/* --- One side lets the other in, or not --- */

struct server {
    int fd, kept;
    struct tls_files files;
    int result;
    struct err err;
    struct tls_link *link;
};

static void *accept_one(void *context)
{
    struct server *s = context;
    int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
    s->result = tls_accept(fd, &s->files, time_monotonic_ns() + 20 * NS_PER_S, &s->link, &s->err);
    if (s->result == 0 && s->kept >= 0)
        tls_relay(s->link, s->kept);
    tls_close(s->link);
    return NULL;
}

static struct tls_files files_of(const char *name)
{
    return (struct tls_files){.authority = str_printf("%s/ca.pem", directory),
                              .certificate = str_printf("%s/%s.pem", directory, name),
                              .key = str_printf("%s/%s.key", directory, name),
                              .revoked = str_printf("%s/ca.crl", directory)};
}

static void files_done(struct tls_files *f)
{
    free((char *)f->authority);
    free((char *)f->certificate);
    free((char *)f->key);
    free((char *)f->revoked);
}

static int listen_somewhere(char ret[64])
{
    struct err err;
    int fd = -1;
    for (int port = 20000 + getpid() % 20000; fd < 0; port++) {
        snprintf(ret, 64, "127.0.0.1:%d", port);
        if (tls_listen(ret, &fd, &err) < 0)
            fd = -1;
    }
    return fd;
}

/* "": let in; else why not. */
static void try_as(const char *name, char ret[256])
{
    char at[64];
    struct server s = {.fd = listen_somewhere(at), .kept = -1, .files = files_of("server")};
    struct tls_files files = files_of(name);
    struct tls_link *link = NULL;
    struct err err;
    pthread_t thread;
    pthread_create(&thread, NULL, accept_one, &s);
    (void)tls_connect(at, &files, time_monotonic_ns() + 20 * NS_PER_S, &link, &err);
    pthread_join(thread, NULL);
    tls_close(link);
    close(s.fd);
    snprintf(ret, 256, "%s", s.result < 0 ? s.err.msg : "");
    files_done(&s.files);
    files_done(&files);
}

static void a_certificate_says_what_was_asked_for(void **state)
{
    struct pki_subject s = make("m1", "node-1", true, 3600);
    assert_string_equal(s.node, "node-1");
    assert_string_equal(s.swarm, "the-swarm");
    assert_true(s.manager);
    assert_false(s.client);
    assert_int_equal(strlen(s.serial), 32);
    struct pki_subject other = make("m2", "node-1", false, 3600);
    assert_false(other.manager);
    assert_string_not_equal(s.serial, other.serial);
    assert_true(s.ends_ns > time_now_ns() && s.ends_ns <= time_now_ns() + 3600 * NS_PER_S);
}

static void a_request_must_be_signed_by_its_own_key(void **state)
{
    _cleanup_free_ char *csr = NULL, *key = NULL, *pem = NULL;
    struct pki_subject s = {.node = "x", .swarm = "y"};
    struct err err;
    assert_ok(pki_request(&csr, &key, &err), &err);
    char *body = strchr(csr, '\n') + 40;
    *body = *body == 'A' ? 'B' : 'A';
    assert_true(pki_issue(authority, authority_key, csr, &s, NS_PER_S, &pem, &err) < 0);
    assert_int_equal(err.code, ERR_INVALID);
    assert_true(pki_issue(authority, authority_key, "no request", &s, NS_PER_S, &pem, &err) < 0);
    _cleanup_str_ struct str large = STR_INIT;
    for (int i = 0; i < 2000; i++)
        str_add(&large, "0123456789");
    assert_true(pki_issue(authority, authority_key, str_get(&large), &s, NS_PER_S, &pem, &err) < 0);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_null(pem);
}

static void who_has_the_wrong_certificate_is_refused_with_the_reason(void **state)
{
    char why[256];
    make("server", "node-s", true, 3600);
    make("good", "node-g", true, 3600);
    try_as("good", why);
    assert_string_equal(why, "");
    make("worker", "node-w", false, 3600);
    try_as("worker", why);
    assert_non_null(strstr(why, "without the unit \"manager\""));
    make("expired", "node-e", true, -60);
    try_as("expired", why);
    assert_non_null(strstr(why, "has expired"));
    char *before = authority, *before_key = authority_key;
    struct err err;
    assert_ok(keys__make_authority(true, &authority, &authority_key, &err), &err);
    make("stranger", "node-g", true, 3600);
    free(authority);
    free(authority_key);
    authority = before;
    authority_key = before_key;
    try_as("stranger", why);
    assert_non_null(strstr(why, "not of this cluster's authority"));
}

static void what_was_taken_back_is_refused_and_the_others_are_not(void **state)
{
    char why[256];
    make("server", "node-s", true, 3600);
    struct pki_subject gone = make("gone", "node-1", true, 3600);
    make("stays", "node-1", true, 3600);
    try_as("gone", why);
    assert_string_equal(why, "");
    take_back(gone.serial, 1);
    try_as("gone", why);
    assert_non_null(strstr(why, "was taken back"));
    try_as("stays", why);
    assert_string_equal(why, "");
}

static void who_is_connected_is_cut_off_when_its_certificate_is_taken_back(void **state)
{
    char at[64];
    struct err err;
    int ends[2];
    make("server", "node-s", true, 3600);
    struct pki_subject gone = make("gone", "node-1", true, 3600);
    take_back("00", 2);
    struct server s = {.fd = listen_somewhere(at), .files = files_of("server")};
    struct tls_files files = files_of("gone");
    struct tls_link *link = NULL;
    pthread_t thread;
    char bytes[4] = "";
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    s.kept = ends[0];
    pthread_create(&thread, NULL, accept_one, &s);
    int64_t deadline_ns = time_monotonic_ns() + 60 * NS_PER_S;
    assert_ok(tls_connect(at, &files, deadline_ns, &link, &err), &err);
    assert_ok(tls_send(link, "one", 3, deadline_ns, &err), &err);
    assert_int_equal(recv(ends[1], bytes, 3, MSG_WAITALL), 3);
    /* Another's: it goes on. */
    take_back("01", 3);
    time_sleep_ns((TLS_LOOK_MS + 500) * NS_PER_MS);
    assert_ok(tls_send(link, "two", 3, deadline_ns, &err), &err);
    assert_int_equal(recv(ends[1], bytes, 3, MSG_WAITALL), 3);
    take_back(gone.serial, 4);
    pthread_join(thread, NULL); /* which waits for ever when it is not cut off */
    assert_true(tls_recv(link, bytes, 1, deadline_ns, &err) < 0);
    tls_close(link);
    close(s.fd);
    close(ends[0]);
    close(ends[1]);
    files_done(&s.files);
    files_done(&files);
}

/* Who believes the old root alone, as somebody who joins while it is replaced. */
static void what_a_new_root_has_issued_is_believed_by_way_of_the_old_one(void **state)
{
    char why[256], *old = authority, *old_key = authority_key;
    _cleanup_free_ char *cross = NULL;
    struct err err;
    make("server", "node-s", true, 3600);
    assert_ok(keys__make_authority(false, &authority, &authority_key, &err), &err);
    _cleanup_free_ char *root = authority, *root_key = authority_key, *both = str_printf("%s%s", old, root);
    make("moved", "node-m", true, 3600);
    authority = old;
    authority_key = old_key;
    assert_ok(pki_cross(old, old_key, root, &cross, &err), &err);
    assert_true(pki_is_issued_by(cross, old));
    assert_false(pki_is_issued_by(cross, root));
    try_as("moved", why);
    assert_string_not_equal(why, "");
    _cleanup_free_ char *path = str_printf("%s/moved.pem", directory);
    _cleanup_str_ struct str leaf = STR_INIT;
    assert_ok(file_read(path, 1 << 16, &leaf, &err), &err);
    _cleanup_free_ char *chain = str_printf("%s%s", str_get(&leaf), cross),
                        *issuer = pki_issuer_in(chain, both), *first = pki_first(both),
                        *none = pki_issuer_in(chain, old);
    free(write_file("moved.pem", chain));
    try_as("moved", why);
    assert_string_equal(why, "");
    assert_string_equal(issuer, root);
    assert_string_equal(first, old);
    assert_null(none);
    /* The key and the certificate of one are one; those of two are not. */
    _cleanup_free_ char *given = NULL;
    assert_ok(pki_check_root(root, root_key, old, &given, &err), &err);
    assert_string_equal(given, root);
    assert_int_equal(pki_check_root(root, old_key, old, &given, &err), -ERR_INVALID);
    assert_int_equal(pki_check_root(str_get(&leaf), root_key, old, &given, &err), -ERR_INVALID);
    assert_int_equal(pki_check_root(cross, root_key, old, &given, &err), -ERR_INVALID);
    assert_int_equal(pki_check_root("-----END CERTIFICATE-----", root_key, old, &given, &err), -ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_says_what_was_asked_for),
        cmocka_unit_test(a_request_must_be_signed_by_its_own_key),
        cmocka_unit_test(who_has_the_wrong_certificate_is_refused_with_the_reason),
        cmocka_unit_test(what_was_taken_back_is_refused_and_the_others_are_not),
        cmocka_unit_test(who_is_connected_is_cut_off_when_its_certificate_is_taken_back),
        cmocka_unit_test(what_a_new_root_has_issued_is_believed_by_way_of_the_old_one),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
