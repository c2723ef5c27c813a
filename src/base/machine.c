#include "base/machine.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/str.h"

int64_t machine_memory_available(void)
{
    _cleanup_str_ struct str text = STR_INIT;
    int64_t kb = 0;
    const char *at = file_read("/proc/meminfo", 64 << 10, &text, NULL) == 0
                         ? strstr(str_get(&text), "MemAvailable:")
                         : NULL;
    if (!at)
        return INT64_MAX;
    at += strlen("MemAvailable:");
    at += strspn(at, " ");
    _cleanup_free_ char *number = mem_strndup(at, strspn(at, "0123456789"));
    return parse_i64(number, 0, INT64_MAX >> 10, &kb, NULL) == 0 ? kb << 10 : INT64_MAX;
}
