#include "cli/pack.h"

#include "cli/call.h"

enum { BLOCK = 512 };

/* POSIX.1-1988 ustar. */
struct header {
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
        version[2], owner[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

static void octal(char *field, size_t n, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof(text), "%0*llo", (int)n - 1, (unsigned long long)value);
    memcpy(field, text + strlen(text) - (n - 1), n - 1);
    field[n - 1] = '\0';
}

/* Cut at a slash so that both parts fit. */
static int set_name(struct header *h, const char *path, struct err *err)
{
    size_t n = strlen(path);
    if (n < sizeof(h->name)) {
        memcpy(h->name, path, n);
        return 0;
    }
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t before = (size_t)(slash - path);
        if (before >= sizeof(h->prefix) || n - before - 1 >= sizeof(h->name))
            continue;
        memcpy(h->prefix, path, before);
        memcpy(h->name, slash + 1, n - before - 1);
        return 0;
    }
    return err_set(err, ERR_LIMIT, "the path /%.100s... is too long", path);
}

int pack_add(struct str *archive, const struct pack_file *file, struct err *err)
{
    struct header h = {.type = '0', .magic = "ustar", .version = {'0', '0'}};
    int r = set_name(&h, file->path + (*file->path == '/'), err);
    if (r < 0)
        return r;
    octal(h.mode, sizeof(h.mode), (uint64_t)file->mode);
    octal(h.uid, sizeof(h.uid), (uint64_t)file->uid);
    octal(h.gid, sizeof(h.gid), (uint64_t)file->gid);
    octal(h.size, sizeof(h.size), file->n);
    octal(h.mtime, sizeof(h.mtime), 0);
    memset(h.checksum, ' ', sizeof(h.checksum));
    unsigned sum = 0;
    for (size_t i = 0; i < sizeof(h); i++)
        sum += ((const unsigned char *)&h)[i];
    octal(h.checksum, 7, sum);
    str_addn(archive, &h, sizeof(h));
    str_addn(archive, file->bytes, file->n);
    static const char zeros[BLOCK];
    str_addn(archive, zeros, (BLOCK - file->n % BLOCK) % BLOCK);
    return 0;
}

void pack_end(struct str *archive)
{
    static const char zeros[2 * BLOCK];
    str_addn(archive, zeros, sizeof(zeros));
}

int pack_send(const char *container, const struct str *archive, struct err *err)
{
    static const char *const headers[] = {"Content-Type: application/x-tar", NULL};
    _cleanup_free_ char *path = str_printf("/containers/%s/archive?path=/", container);
    struct http_call call = {.method = "PUT",
                             .headers = (char *const *)headers,
                             .body = archive->data,
                             .body_bytes = archive->len};
    struct http_response response = {0};
    int r = cli_exchange(&call, path, &response, err);
    http_response_done(&response);
    return r;
}
