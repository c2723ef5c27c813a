/* The body of an answer of a store's member; the first byte says which. */
#include "store/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int touch_row(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    size_t *sum = context;
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < columns[i].size; b++)
            *sum += ((const unsigned char *)columns[i].bytes)[b];
    return *sum > 1 << 30 ? 1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    /* A copy of its own size, so that reading beyond it is seen. */
    size_t n = size - 1, sum = 0, count = 0;
    _cleanup_free_ uint8_t *copy = mem_dup(data + 1, n);
    struct wire_body body = {copy, n};
    struct wire_member members[WIRE_MEMBERS_MAX];
    struct wire_file files[2];
    uint64_t a, b;
    const char *text;
    bool more;
    switch (data[0] % 7) {
    case 0:
        if (wire_get_failure(body, &a, &text, NULL) == 0)
            must(strlen(text) < n);
        break;
    case 1:
        if (wire_get_server(body, &a, &text, NULL) == 0)
            must(strlen(text) < n);
        break;
    case 2:
        wire_get_result(body, &a, &b, NULL);
        break;
    case 3:
        if (wire_get_servers(body, members, WIRE_MEMBERS_MAX, &count, NULL) == 0)
            must(count <= WIRE_MEMBERS_MAX);
        for (size_t i = 0; i < count; i++)
            must(strlen(members[i].address) < n);
        break;
    case 4:
        wire_get_rows(body, touch_row, &sum, &more, NULL);
        break;
    case 5:
        if (wire_get_files(body, files, NULL) == 0)
            must(files[0].size + files[1].size <= n);
        break;
    default:
        if (n >= WIRE_HEADER_BYTES)
            must(wire_header(copy).body_bytes % 8 == 0);
        break;
    }
    return 0;
}
