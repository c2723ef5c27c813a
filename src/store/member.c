#include "store/member.h"

#include "base/timeutil.h"

#include <endian.h>
#include <sqlite3.h>

int member__connect(const char *address, const struct tls_files *files, int64_t deadline_ns,
                    struct member **ret, struct err *err)
{
    uint64_t hello = htole64(WIRE_PROTOCOL);
    struct member *m = NEW(struct member);
    snprintf(m->address, sizeof(m->address), "%s", address);
    deadline_ns = MIN(deadline_ns, time_monotonic_ns() + MEMBER_CONNECT_MS * NS_PER_MS);
    int r = tls_connect(address, files, deadline_ns, &m->link, err);
    if (r == 0)
        r = tls_send(m->link, &hello, sizeof(hello), deadline_ns, err);
    if (r < 0) {
        member__close(m);
        return r;
    }
    *ret = m;
    return 0;
}

void member__close(struct member *m)
{
    if (!m)
        return;
    tls_close(m->link);
    str_free(&m->out);
    free(m->body);
    free(m);
}

int member__send(struct member *m, int64_t deadline_ns, struct err *err)
{
    int r = tls_send(m->link, m->out.data, m->out.len, deadline_ns, err);
    str_clear(&m->out);
    if (r < 0)
        m->broken = true;
    return r;
}

static int refused(const struct member *m, uint64_t code, const char *text, struct err *err)
{
    switch (code) {
    case WIRE_NOT_LEADER:
    case WIRE_LEADERSHIP_LOST:
        return err_set(err, ERR_NOT_LEADER, "store: %s does not lead", m->address);
    case SQLITE_BUSY:
        return err_set(err, ERR_BUSY, "store: %s is busy: %s", m->address, text);
    case SQLITE_FULL:
        return err_set(err, ERR_NO_SPACE, "store: %s: %s: free space on its file system", m->address, text);
    case SQLITE_NOMEM:
        return err_set(err, ERR_NO_MEMORY, "store: %s is out of memory", m->address);
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
        return err_set(err, ERR_CONFLICT, "store: %s", text);
    case SQLITE_IOERR:
        return err_set(err, ERR_UNAVAILABLE, "store: %s: %s", m->address, text);
    case SQLITE_TOOBIG:
        return err_set(err, ERR_LIMIT, "store: %s", text);
    default:
        return err_set(err, ERR_INVALID, "store: %s", text);
    }
}

static int receive(struct member *m, enum wire_response type, size_t max, int64_t deadline_ns,
                   struct wire_body *ret, struct err *err)
{
    unsigned char head[WIRE_HEADER_BYTES];
    int r = tls_recv(m->link, head, sizeof(head), deadline_ns, err);
    if (r < 0)
        return r;
    struct wire_header h = wire_header(head);
    if (h.body_bytes > max)
        return err_set(err, ERR_LIMIT, "store: an answer of %s has %llu bytes, more than %zu", m->address,
                       (unsigned long long)h.body_bytes, max);
    if (h.body_bytes > m->body_capacity) {
        m->body_capacity = (size_t)h.body_bytes;
        free(m->body);
        m->body = mem_new(m->body_capacity);
    }
    r = tls_recv(m->link, m->body, (size_t)h.body_bytes, deadline_ns, err);
    if (r < 0)
        return r;
    *ret = (struct wire_body){m->body, (size_t)h.body_bytes};
    if (h.type == WIRE_FAILURE) {
        const char *text;
        uint64_t code;
        r = wire_get_failure(*ret, &code, &text, err);
        if (r < 0)
            return r;
        m->failure = code ? code : SQLITE_ERROR;
        /* A leader that has just been elected, or no longer is one, says only this. */
        if (code == SQLITE_ERROR && str_eq(text, "barrier error"))
            m->failure = WIRE_LEADERSHIP_LOST;
        return refused(m, m->failure, text, err);
    }
    return h.type == type ? 0
                          : err_set(err, ERR_PROTOCOL, "store: %s answers with %u where %u was asked for",
                                    m->address, h.type, type);
}

int member__receive(struct member *m, enum wire_response type, size_t max, int64_t deadline_ns,
                    struct wire_body *ret, struct err *err)
{
    m->failure = 0;
    int r = receive(m, type, max, deadline_ns, ret, err);
    if (r < 0 && !m->failure)
        m->broken = true;
    return r;
}

int member__call(struct member *m, enum wire_response type, int64_t deadline_ns, struct wire_body *ret,
                 struct err *err)
{
    deadline_ns = MIN(deadline_ns, time_monotonic_ns() + MEMBER_ANSWER_MS * NS_PER_MS);
    int r = member__send(m, deadline_ns, err);
    return r < 0 ? r : member__receive(m, type, MEMBER_BODY_MAX, deadline_ns, ret, err);
}

int member__open(struct member *m, struct err *err)
{
    struct wire_body body;
    wire_put_open(&m->out, MEMBER_DATABASE);
    return member__call(m, WIRE_DATABASE, INT64_MAX, &body, err);
}

int member__exec(struct member *m, const char *sql, const struct store_value *params, size_t n,
                 uint64_t *ret_last_id, struct err *err)
{
    struct wire_body body;
    uint64_t last, changes;
    wire_put_sql(&m->out, WIRE_EXEC_SQL, sql, params, n);
    int r = member__call(m, WIRE_RESULT, INT64_MAX, &body, err);
    if (r == 0)
        r = wire_get_result(body, &last, &changes, err);
    if (r == 0 && ret_last_id)
        *ret_last_id = last;
    return r;
}

int member__query(struct member *m, const char *sql, const struct store_value *params, size_t n,
                  store_row_fn row, void *context, struct err *err)
{
    struct wire_body body;
    bool more = true;
    wire_put_sql(&m->out, WIRE_QUERY_SQL, sql, params, n);
    int r = member__send(m, time_monotonic_ns() + MEMBER_ANSWER_MS * NS_PER_MS, err);
    while (r == 0 && more) {
        r = member__receive(m, WIRE_ROWS, MEMBER_BODY_MAX, time_monotonic_ns() + MEMBER_ANSWER_MS * NS_PER_MS,
                            &body, err);
        if (r == 0)
            r = wire_get_rows(body, row, context, &more, err);
    }
    if (r && !m->failure)
        m->broken = true; /* more rows may be on their way */
    return r;
}

/* --- the leader --- */

enum { SEARCH_PAUSE_MS = 20, SEARCH_PAUSE_MAX_MS = 100, SUSPECT_MS = 300 };

void cluster__init(struct cluster *c, const struct store_members *m)
{
    *c = (struct cluster){.timeout_ms = m->timeout_ms ? m->timeout_ms : STORE_TIMEOUT_MS,
                          .addresses = strv_dup(m->addresses),
                          .tls = {.authority = mem_strdup(m->tls.authority),
                                  .certificate = mem_strdup(m->tls.certificate),
                                  .key = mem_strdup(m->tls.key),
                                  .revoked = mem_strdup(m->tls.revoked)}};
    pthread_mutex_init(&c->lock, NULL);
}

void cluster__done(struct cluster *c)
{
    strv_free(c->addresses);
    free((char *)c->tls.authority);
    free((char *)c->tls.certificate);
    free((char *)c->tls.key);
    free((char *)c->tls.revoked);
    pthread_mutex_destroy(&c->lock);
}

int64_t cluster__deadline(const struct cluster *c)
{
    return time_monotonic_ns() + c->timeout_ms * NS_PER_MS;
}

void cluster__suspect(struct cluster *c, const char *address)
{
    pthread_mutex_lock(&c->lock);
    snprintf(c->suspect, sizeof(c->suspect), "%s", address);
    c->suspect_until_ns = time_monotonic_ns() + SUSPECT_MS * NS_PER_MS;
    if (str_eq(c->leader, address))
        c->leader[0] = '\0';
    pthread_mutex_unlock(&c->lock);
}

static bool is_suspect(struct cluster *c, const char *address)
{
    pthread_mutex_lock(&c->lock);
    bool yes = str_eq(c->suspect, address) && time_monotonic_ns() < c->suspect_until_ns;
    pthread_mutex_unlock(&c->lock);
    return yes;
}

/* Opens a connection to `address` and asks who leads: "" when nobody does. */
static int ask(struct cluster *c, const char *address, int64_t deadline_ns, struct member **ret,
               char leader[STORE_ADDRESS_BYTES], struct err *err)
{
    struct member *m;
    struct wire_body body;
    const char *found;
    uint64_t id;
    int r = member__connect(address, &c->tls, deadline_ns, &m, err);
    if (r < 0)
        return r;
    wire_put_number(&m->out, WIRE_LEADER, 0);
    r = member__call(m, WIRE_SERVER, deadline_ns, &body, err);
    if (r == 0)
        r = wire_get_server(body, &id, &found, err);
    if (r < 0) {
        member__close(m);
        return r;
    }
    snprintf(leader, STORE_ADDRESS_BYTES, "%s", found);
    *ret = m;
    return 0;
}

/* Whom one member names, when that one says so too. */
static int follow(struct cluster *c, const char *address, int64_t deadline_ns, struct member **ret,
                  struct err *err)
{
    char leader[STORE_ADDRESS_BYTES], other[STORE_ADDRESS_BYTES];
    struct member *m;
    int r = ask(c, address, deadline_ns, &m, leader, err);
    if (r < 0)
        return r;
    if (str_eq(leader, address)) {
        *ret = m;
        return 0;
    }
    member__close(m);
    if (!*leader || is_suspect(c, leader))
        return err_set(err, ERR_NO_MAJORITY, "%s knows of no leader", address);
    r = ask(c, leader, deadline_ns, &m, other, err);
    if (r < 0)
        return r;
    if (str_eq(leader, other)) {
        *ret = m;
        return 0;
    }
    member__close(m);
    return err_set(err, ERR_NO_MAJORITY, "%s takes %s for the leader, which does not lead", address, leader);
}

static char **search_order(struct cluster *c)
{
    char **order = NULL;
    pthread_mutex_lock(&c->lock);
    if (*c->leader)
        strv_add(&order, c->leader);
    STRV_FOREACH (a, c->addresses)
        if (!str_eq(*a, c->leader) && !str_eq(*a, c->suspect))
            strv_add(&order, *a);
    if (*c->suspect && !str_eq(c->suspect, c->leader) && strv_has(c->addresses, c->suspect))
        strv_add(&order, c->suspect);
    pthread_mutex_unlock(&c->lock);
    return order;
}

static void found(struct cluster *c, struct member *m)
{
    bool news;
    pthread_mutex_lock(&c->lock);
    news = !str_eq(c->leader, m->address);
    snprintf(c->leader, sizeof(c->leader), "%s", m->address);
    if (str_eq(c->suspect, m->address))
        c->suspect[0] = '\0';
    pthread_mutex_unlock(&c->lock);
    struct store_member *list = NULL;
    size_t n;
    if (news && cluster__list(c, m, &list, &n, NULL) == 0)
        free(list);
}

/* One try with each. */
static int search(struct cluster *c, int64_t deadline_ns, struct member **ret, struct str *reasons,
                  bool *ret_full)
{
    _cleanup_strv_ char **order = search_order(c);
    _cleanup_str_ struct str now = STR_INIT;
    bool full = false;
    int r = 0;
    STRV_FOREACH (a, order) {
        struct err err;
        r = follow(c, *a, deadline_ns, ret, &err);
        if (r == 0)
            return 0;
        full |= r == -ERR_NO_SPACE;
        str_addf(&now, "%s%.200s", now.len ? "; " : "", err.msg);
        bool late = time_monotonic_ns() >= deadline_ns;
        if (late && reasons->len) /* the round before was asked to its end */
            return -ERR_NO_MAJORITY;
        if (r == -ERR_INVALID || late)
            break;
    }
    str_clear(reasons);
    str_add(reasons, str_get(&now));
    *ret_full = full;
    return r == -ERR_INVALID ? r : -ERR_NO_MAJORITY;
}

int cluster__find(struct cluster *c, int64_t deadline_ns, struct member **ret, struct err *err)
{
    _cleanup_str_ struct str reasons = STR_INIT;
    bool full = false;
    int64_t pause_ms = SEARCH_PAUSE_MS;
    for (;;) {
        int r = search(c, deadline_ns, ret, &reasons, &full);
        if (r == 0) {
            found(c, *ret);
            return (*ret)->broken ? err_set(err, ERR_UNAVAILABLE, "store: the leader went away") : 0;
        }
        if (r == -ERR_INVALID)
            return err_set(err, ERR_INVALID, "store: %s", str_get(&reasons));
        if (time_monotonic_ns() >= deadline_ns)
            return err_set(err, full ? ERR_NO_SPACE : ERR_NO_MAJORITY,
                           "store: no majority of its members answers: %s", str_get(&reasons));
        time_sleep_ns(pause_ms * NS_PER_MS);
        pause_ms = MIN(2 * pause_ms, SEARCH_PAUSE_MAX_MS);
    }
}

int cluster__list(struct cluster *c, struct member *m, struct store_member **ret, size_t *ret_count,
                  struct err *err)
{
    struct wire_member members[WIRE_MEMBERS_MAX];
    struct wire_body body;
    size_t n;
    wire_put_number(&m->out, WIRE_CLUSTER, 1);
    int r = member__call(m, WIRE_SERVERS, INT64_MAX, &body, err);
    if (r == 0)
        r = wire_get_servers(body, members, ARRAY_SIZE(members), &n, err);
    if (r < 0)
        return r;
    struct store_member *list = NEW_N(struct store_member, n + 1);
    char **addresses = NULL;
    for (size_t i = 0; i < n; i++) {
        list[i].id = members[i].id;
        list[i].role = members[i].role == 0   ? STORE_VOTER
                       : members[i].role == 1 ? STORE_STANDBY
                                              : STORE_SPARE;
        list[i].leader = str_eq(members[i].address, m->address);
        snprintf(list[i].address, sizeof(list[i].address), "%s", members[i].address);
        strv_add(&addresses, list[i].address);
    }
    pthread_mutex_lock(&c->lock);
    if (n) {
        strv_free(c->addresses);
        c->addresses = addresses;
    }
    pthread_mutex_unlock(&c->lock);
    *ret = list;
    *ret_count = n;
    return 0;
}
