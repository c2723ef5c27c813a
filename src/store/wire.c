#include "store/wire.h"

#include <endian.h>

/* --- writing --- */

static void put_u64(struct str *out, uint64_t v)
{
    v = htole64(v);
    str_addn(out, &v, sizeof(v));
}

static void pad(struct str *out, size_t written)
{
    static const char zeroes[8];
    str_addn(out, zeroes, (8 - written % 8) % 8);
}

static void put_text(struct str *out, const char *text, size_t n)
{
    str_addn(out, text, n);
    str_addn(out, "", 1);
    pad(out, n + 1);
}

/* The header's length is filled in at the end. */
static size_t begin(struct str *out, uint8_t type)
{
    size_t start = out->len;
    put_u64(out, (uint64_t)type << 32);
    return start;
}

static void end(struct str *out, size_t start)
{
    uint32_t words = htole32((uint32_t)((out->len - start - WIRE_HEADER_BYTES) / 8));
    memcpy(out->data + start, &words, sizeof(words));
}

void wire_put_number(struct str *out, enum wire_request type, uint64_t n)
{
    size_t start = begin(out, type);
    put_u64(out, n);
    end(out, start);
}

void wire_put_text(struct str *out, enum wire_request type, const char *text)
{
    size_t start = begin(out, type);
    put_text(out, text, strlen(text));
    end(out, start);
}

void wire_put_open(struct str *out, const char *database)
{
    size_t start = begin(out, WIRE_OPEN);
    put_text(out, database, strlen(database));
    put_u64(out, 0);
    put_text(out, "volatile", 8);
    end(out, start);
}

void wire_put_member(struct str *out, uint64_t id, const char *address)
{
    size_t start = begin(out, WIRE_ADD);
    put_u64(out, id);
    put_text(out, address, strlen(address));
    end(out, start);
}

void wire_put_assign(struct str *out, uint64_t id, uint64_t role)
{
    size_t start = begin(out, WIRE_ASSIGN);
    put_u64(out, id);
    put_u64(out, role);
    end(out, start);
}

static uint8_t type_code(enum store_type type)
{
    static const uint8_t codes[] = {
        [STORE_INTEGER] = 1, [STORE_REAL] = 2, [STORE_TEXT] = 3, [STORE_BLOB] = 4, [STORE_NULL] = 5};
    return codes[type];
}

static void put_value(struct str *out, const struct store_value *v)
{
    uint64_t bits = 0;
    switch (v->type) {
    case STORE_NULL:
        put_u64(out, 0);
        break;
    case STORE_INTEGER:
        put_u64(out, (uint64_t)v->integer);
        break;
    case STORE_REAL:
        memcpy(&bits, &v->real, sizeof(bits));
        put_u64(out, bits);
        break;
    case STORE_TEXT:
        put_text(out, v->bytes, v->size);
        break;
    case STORE_BLOB:
        put_u64(out, v->size);
        str_addn(out, v->bytes, v->size);
        pad(out, v->size);
        break;
    }
}

void wire_put_sql(struct str *out, enum wire_request type, const char *sql, const struct store_value *params,
                  size_t param_count)
{
    must(param_count <= WIRE_PARAMS_MAX);
    size_t start = begin(out, type);
    put_u64(out, 0); /* the one database of a connection */
    put_text(out, sql, strlen(sql));
    if (param_count) {
        str_addc(out, (char)param_count);
        for (size_t i = 0; i < param_count; i++)
            str_addc(out, (char)type_code(params[i].type));
        pad(out, param_count + 1);
        for (size_t i = 0; i < param_count; i++)
            put_value(out, &params[i]);
    }
    end(out, start);
}

void wire_put_failure(struct str *out, uint64_t code, const char *text)
{
    size_t start = begin(out, WIRE_FAILURE);
    put_u64(out, code);
    put_text(out, text, strlen(text));
    end(out, start);
}

/* --- reading --- */

struct wire_header wire_header(const unsigned char bytes[WIRE_HEADER_BYTES])
{
    uint32_t words;
    memcpy(&words, bytes, sizeof(words));
    return (struct wire_header){.body_bytes = (uint64_t)le32toh(words) * 8, .type = bytes[4]};
}

static int nonsense(struct err *err)
{
    return err_set(err, ERR_PROTOCOL, "store: a member's answer does not have its own form");
}

static bool get_u64(struct wire_body *b, uint64_t *ret)
{
    if (b->left < 8)
        return false;
    uint64_t v;
    memcpy(&v, b->at, sizeof(v));
    *ret = le64toh(v);
    b->at += 8;
    b->left -= 8;
    return true;
}

/* `n` bytes and what fills their last word. */
static bool get_padded(struct wire_body *b, uint64_t n, const unsigned char **ret)
{
    if (n > b->left || (n + 7) / 8 * 8 > b->left)
        return false;
    *ret = b->at;
    size_t whole = (size_t)(n + 7) / 8 * 8;
    b->at += whole;
    b->left -= whole;
    return true;
}

static bool get_text(struct wire_body *b, const char **ret, size_t *ret_size)
{
    const unsigned char *nul = b->left ? memchr(b->at, '\0', b->left) : NULL, *at;
    size_t n = nul ? (size_t)(nul - b->at) : 0;
    if (!nul || !get_padded(b, n + 1, &at))
        return false;
    *ret = (const char *)at;
    *ret_size = n;
    return true;
}

int wire_get_failure(struct wire_body body, uint64_t *ret_code, const char **ret_text, struct err *err)
{
    size_t n;
    return get_u64(&body, ret_code) && get_text(&body, ret_text, &n) ? 0 : nonsense(err);
}

int wire_get_server(struct wire_body body, uint64_t *ret_id, const char **ret_address, struct err *err)
{
    size_t n;
    return get_u64(&body, ret_id) && get_text(&body, ret_address, &n) ? 0 : nonsense(err);
}

int wire_get_result(struct wire_body body, uint64_t *ret_last_id, uint64_t *ret_changes, struct err *err)
{
    return get_u64(&body, ret_last_id) && get_u64(&body, ret_changes) ? 0 : nonsense(err);
}

int wire_get_servers(struct wire_body body, struct wire_member *members, size_t capacity, size_t *ret_count,
                     struct err *err)
{
    uint64_t count;
    size_t n;
    if (!get_u64(&body, &count) || count > capacity)
        return nonsense(err);
    for (uint64_t i = 0; i < count; i++)
        if (!get_u64(&body, &members[i].id) || !get_text(&body, &members[i].address, &n) ||
            !get_u64(&body, &members[i].role))
            return nonsense(err);
    *ret_count = (size_t)count;
    return 0;
}

static bool get_value(struct wire_body *b, unsigned type, struct store_value *ret)
{
    uint64_t word;
    const unsigned char *bytes;
    const char *text;
    switch (type) {
    case 1:
    case 2:
    case 5:
        if (!get_u64(b, &word))
            return false;
        *ret = (struct store_value){.type = type == 1 ? STORE_INTEGER : type == 2 ? STORE_REAL : STORE_NULL};
        if (type == 1)
            ret->integer = (int64_t)word;
        else if (type == 2)
            memcpy(&ret->real, &word, sizeof(word));
        return true;
    case 3:
        *ret = (struct store_value){.type = STORE_TEXT};
        if (!get_text(b, &text, &ret->size))
            return false;
        ret->bytes = text;
        return true;
    case 4:
        *ret = (struct store_value){.type = STORE_BLOB};
        if (!get_u64(b, &word) || !get_padded(b, word, &bytes))
            return false;
        ret->bytes = bytes;
        ret->size = (size_t)word;
        return true;
    default:
        return false;
    }
}

/* A row's types are half a byte each, padded to a word. */
static bool get_row(struct wire_body *b, size_t columns, struct store_value *values)
{
    const unsigned char *types;
    if (!get_padded(b, (columns + 1) / 2, &types))
        return false;
    for (size_t i = 0; i < columns; i++)
        if (!get_value(b, i % 2 ? types[i / 2] >> 4 : types[i / 2] & 15, &values[i]))
            return false;
    return true;
}

int wire_get_rows(struct wire_body body, store_row_fn row, void *context, bool *ret_more, struct err *err)
{
    static const uint64_t part = UINT64_C(0xeeeeeeeeeeeeeeee), done = UINT64_C(0xffffffffffffffff);
    struct store_value values[WIRE_COLUMNS_MAX];
    uint64_t columns, mark;
    const char *name;
    size_t n;
    if (!get_u64(&body, &columns) || columns > WIRE_COLUMNS_MAX)
        return nonsense(err);
    for (uint64_t i = 0; i < columns; i++)
        if (!get_text(&body, &name, &n))
            return nonsense(err);
    for (;;) {
        struct wire_body ahead = body;
        if (!get_u64(&ahead, &mark))
            return nonsense(err);
        if (mark == part || mark == done)
            break;
        if (!columns || !get_row(&body, (size_t)columns, values))
            return nonsense(err);
        int r = row(context, values, (size_t)columns, err);
        if (r)
            return r;
    }
    *ret_more = mark == part;
    return 0;
}

int wire_get_files(struct wire_body body, struct wire_file ret_files[2], struct err *err)
{
    uint64_t count, size;
    size_t n;
    if (!get_u64(&body, &count) || count != 2)
        return nonsense(err);
    for (int i = 0; i < 2; i++) {
        struct wire_file *f = &ret_files[i];
        if (!get_text(&body, &f->name, &n) || !get_u64(&body, &size) || !get_padded(&body, size, &f->bytes))
            return nonsense(err);
        f->size = (size_t)size;
    }
    return 0;
}
