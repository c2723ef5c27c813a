#include "bakery/path.h"

#include "base/str.h"

char *path_clean(const char *path)
{
    bool absolute = *path == '/';
    _cleanup_strv_ char **parts = strv_split(path, '/');
    size_t depth = 0, n = strv_len(parts);
    _cleanup_free_ const char **kept = NEW_N(const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        const char *part = parts[i];
        if (!*part || strcmp(part, ".") == 0)
            continue;
        bool up = strcmp(part, "..") == 0;
        if (up && depth && strcmp(kept[depth - 1], "..") != 0)
            depth--;
        else if (!up || !absolute)
            kept[depth++] = part;
    }
    struct str s = STR_INIT;
    for (size_t i = 0; i < depth; i++) {
        if (i || absolute)
            str_addc(&s, '/');
        str_add(&s, kept[i]);
    }
    if (!depth)
        str_addc(&s, absolute ? '/' : '.');
    return str_take(&s);
}

char *path_resolve(const char *base, const char *path)
{
    if (*path == '/')
        return path_clean(path);
    _cleanup_free_ char *joined = str_printf("%s/%s", base, path);
    return path_clean(joined);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
