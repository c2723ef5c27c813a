/* Bytes both ways between two streams, however these end (src/base/relay.c). */
#include "unit.h"

#include "base/relay.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/socket.h>

/* client -- [0] relay [1] -- server */
struct line {
    int client, inner[2], server;
    struct relay_rule rule;
    pthread_t thread;
};

static void *carry(void *context)
{
    struct line *l = context;
    relay(&(struct relay_end){.fd = l->inner[0]}, &(struct relay_end){.fd = l->inner[1]}, &l->rule);
    close_fd(l->inner[0]);
    close_fd(l->inner[1]);
    return NULL;
}

static struct line *begin(enum relay_until until, int stop_fd)
{
    struct line *l = NEW(struct line);
    int a[2], b[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, b), 0);
    *l = (struct line){a[0], {a[1], b[1]}, b[0], {.until = until, .stop_fd = stop_fd}, 0};
    pthread_create(&l->thread, NULL, carry, l);
    return l;
}

/* Waits for ever when the relay does not end. */
static void end(struct line *l)
{
    pthread_join(l->thread, NULL);
    close_fd(l->client);
    close_fd(l->server);
    free(l);
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void hear(int fd, const char *text)
{
    char got[64] = "";
    assert_int_equal(recv(fd, got, strlen(text), MSG_WAITALL), strlen(text));
    assert_string_equal(got, text);
}

static void hear_end(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

static void each_direction_ends_for_itself(void **state)
{
    struct line *l = begin(RELAY_BOTH, -1);
    say(l->client, "question");
    shutdown(l->client, SHUT_WR);
    hear(l->server, "question");
    hear_end(l->server);
    say(l->server, "answer");
    hear(l->client, "answer");
    say(l->server, "more");
    shutdown(l->server, SHUT_WR);
    hear(l->client, "more");
    hear_end(l->client);
    end(l);
}

static void the_end_of_either_or_of_the_answer_ends_all(void **state)
{
    struct line *l = begin(RELAY_EITHER, -1);
    say(l->client, "last words");
    shutdown(l->client, SHUT_WR);
    hear(l->server, "last words");
    end(l);
    l = begin(RELAY_ANSWER, -1);
    shutdown(l->client, SHUT_WR);
    hear_end(l->server);
    say(l->server, "answer");
    shutdown(l->server, SHUT_WR);
    hear(l->client, "answer");
    hear_end(l->client);
    end(l);
}

/* The server has closed, and most of what it said is still in its socket, while who reads has not begun. */
static void what_was_sent_comes_whole_though_its_sender_has_gone(void **state)
{
    static char bytes[150000];
    struct line *l = begin(RELAY_ANSWER, -1);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(i * 7 % 251);
    assert_int_equal(send(l->server, bytes, sizeof(bytes), 0), sizeof(bytes));
    l->server = close_fd(l->server);
    char got[1000];
    for (size_t at = 0; at < sizeof(bytes); at += sizeof(got)) {
        assert_int_equal(recv(l->client, got, sizeof(got), MSG_WAITALL), sizeof(got));
        assert_memory_equal(got, bytes + at, sizeof(got));
    }
    hear_end(l->client);
    end(l);
}

static void who_is_gone_is_noticed_though_nobody_says_anything(void **state)
{
    struct line *l = begin(RELAY_ANSWER, -1);
    say(l->client, "question");
    l->client = close_fd(l->client);
    hear(l->server, "question");
    hear_end(l->server);
    end(l);
    l = begin(RELAY_BOTH, -1);
    l->server = close_fd(l->server);
    hear_end(l->client);
    end(l);
}

static bool look_thrice(void *context)
{
    return ++*(int *)context < 3;
}

static void it_stops_when_it_is_told(void **state)
{
    int stop[2], looks = 0;
    assert_int_equal(pipe2(stop, O_CLOEXEC), 0);
    struct line *l = begin(RELAY_BOTH, stop[0]);
    say(l->client, "x");
    hear(l->server, "x");
    close_fd(stop[1]);
    end(l);
    close_fd(stop[0]);
    int a[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a), 0);
    const struct relay_rule rule = {RELAY_BOTH, -1, look_thrice, &looks, 1};
    relay(&(struct relay_end){.fd = a[0]}, &(struct relay_end){.fd = a[1]}, &rule);
    assert_int_equal(looks, 3);
    close_fd(a[0]);
    close_fd(a[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_direction_ends_for_itself),
        cmocka_unit_test(the_end_of_either_or_of_the_answer_ends_all),
        cmocka_unit_test(what_was_sent_comes_whole_though_its_sender_has_gone),
        cmocka_unit_test(who_is_gone_is_noticed_though_nobody_says_anything),
        cmocka_unit_test(it_stops_when_it_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
