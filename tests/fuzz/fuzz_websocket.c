/* A WebSocket client's bytes: decoded in one piece and byte by byte, they must mean the same. */
#include "api/api_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool decode(const uint8_t *data, size_t size, size_t piece, struct str *in, struct str *out)
{
    struct api_ws ws = {.binary = true};
    bool open = true;
    for (size_t at = 0; at < size && open; at += piece)
        open = api__ws_decode(&ws, (const char *)data + at, MIN(piece, size - at), in, out);
    api__ws_done(&ws);
    return open;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_str_ struct str in = STR_INIT, out = STR_INIT, in_pieces = STR_INIT, out_pieces = STR_INIT;
    bool open = decode(data, size, size ? size : 1, &in, &out);
    must(decode(data, size, 1, &in_pieces, &out_pieces) == open);
    must(in.len == in_pieces.len && memcmp(str_get(&in), str_get(&in_pieces), in.len) == 0);
    must(out.len == out_pieces.len && memcmp(str_get(&out), str_get(&out_pieces), out.len) == 0);
    must(in.len <= size && out.len <= 2 * size + 4);
    return 0;
}
