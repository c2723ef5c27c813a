/* A packet at the keeper's socket, read as whatever its head says. What is accepted must survive being
 * written and read again. */
#include "keeper/protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void start_again(const struct keeper_start *s)
{
    _cleanup_str_ struct str m = STR_INIT;
    struct protocol_head head;
    struct protocol_reader r;
    struct keeper_start again;
    _cleanup_(protocol_lists_done) struct protocol_lists lists = {0};
    protocol_begin(&m, PROTOCOL_START, 1);
    protocol_put_start(&m, s);
    if (m.len > PROTOCOL_MAX_BYTES)
        return;
    must(protocol_open(m.data, m.len, &head, &r));
    must(protocol_get_start(&r, &again, &lists, NULL) == 0);
    must(str_eq(again.id, s->id) && str_eq(again.root, s->root) && again.fd_count == s->fd_count &&
         again.overlay.is_volatile == s->overlay.is_volatile);
}

/* What a client reads: an answer, and in it the greeting and a list's items. */
static void from_keeper(struct protocol_reader r)
{
    protocol_get_u32(&r);
    protocol_get_u32(&r);
    must(protocol_get_text(&r) != NULL);
    struct protocol_reader items = r;
    protocol_get_u32(&r);
    protocol_get_i64(&r);
    protocol_get_u32(&r);
    must(strlen(protocol_get_text(&r)) < PROTOCOL_MAX_BYTES);
    for (int i = 0; i < 64 && !items.bad; i++) {
        struct keeper_exit exit;
        protocol_get_u32(&items);
        protocol_get_u32(&items);
        protocol_get_i64(&items);
        protocol_get_exit(&items, &exit);
        must(exit.id && exit.exec_id);
    }
    must(!protocol_end(&items) || items.at == items.end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct protocol_head head;
    struct protocol_reader r, fields;
    struct keeper_start start;
    struct keeper_exec exec;
    struct keeper_exit exit;
    /* A copy of its own size, so that reading beyond it is seen. */
    _cleanup_free_ uint8_t *bytes = mem_dup(data, size ? size : 1);
    if (!protocol_open(bytes, size, &head, &r))
        return 0;
    _cleanup_(protocol_lists_done) struct protocol_lists lists = {0};
    fields = r;
    if (protocol_get_start(&fields, &start, &lists, NULL) == 0) {
        must(protocol_id_valid(start.id));
        start_again(&start);
    }
    fields = r;
    if (protocol_get_exec(&fields, &exec, NULL) == 0)
        must(protocol_id_valid(exec.id) && protocol_id_valid(exec.exec_id));
    fields = r;
    protocol_get_exit(&fields, &exit);
    must(exit.id && exit.exec_id);
    fields = r;
    free(protocol_get_list(&fields, 16));
    from_keeper(r);
    return 0;
}
