#include "bakery/platform.h"

#include "base/str.h"

#include <sys/utsname.h>

int platform_of_machine(struct platform *ret, struct err *err)
{
    static const struct {
        const char *machine, *architecture, *variant;
    } table[] = {
        {"x86_64", "amd64", NULL},    {"aarch64", "arm64", NULL}, {"armv7l", "arm", "v7"},
        {"armv6l", "arm", "v6"},      {"i686", "386", NULL},      {"riscv64", "riscv64", NULL},
        {"ppc64le", "ppc64le", NULL}, {"s390x", "s390x", NULL},   {"loongarch64", "loong64", NULL},
    };
    struct utsname u;
    uname(&u);
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        if (strcmp(table[i].machine, u.machine) != 0)
            continue;
        *ret = (struct platform){.os = mem_strdup("linux"),
                                 .architecture = mem_strdup(table[i].architecture),
                                 .variant = mem_strdup(table[i].variant)};
        return 0;
    }
    return err_set(err, ERR_UNSUPPORTED, "this machine's architecture %s has no name here", u.machine);
}

int platform_parse(const char *text, struct platform *ret, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(text, '/');
    size_t n = strv_len(parts);
    if (n < 2 || n > 3 || !*parts[0] || !*parts[1])
        return err_set(err, ERR_INVALID,
                       "platform \"%s\": it must be os/architecture or os/architecture/variant", text);
    if (strcmp(parts[0], "linux") != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "platform \"%s\": images for %s are not built here, only for linux", text, parts[0]);
    *ret = (struct platform){.os = mem_strdup(parts[0]),
                             .architecture = mem_strdup(parts[1]),
                             .variant = n == 3 ? mem_strdup(parts[2]) : NULL};
    return 0;
}

void platform_done(struct platform *p)
{
    free(p->os);
    free(p->architecture);
    free(p->variant);
}

const char *platform_part(const struct platform *p, const char *part)
{
    return strcmp(part, "OS") == 0        ? p->os
           : strcmp(part, "ARCH") == 0    ? p->architecture
           : strcmp(part, "VARIANT") == 0 ? (p->variant ? p->variant : "")
                                          : NULL;
}

char *platform_format(const struct platform *p)
{
    return str_printf("%s/%s%s%s", p->os, p->architecture, p->variant ? "/" : "",
                      p->variant ? p->variant : "");
}
