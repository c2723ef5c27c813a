#include "runtime/idmaps.h"

#include "base/file.h"
#include "base/process.h"
#include "base/str.h"

#include <fcntl.h>
#include <unistd.h>

/* The kernel takes a map in one write of less than a page. */
enum { MAP_BYTES = 4095 };

static int write_file(pid_t pid, const char *file, const char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : errno;
}

static int run_helper(const char *helper, pid_t pid, const struct plan_id_map *maps, size_t count,
                      struct err *err)
{
    _cleanup_strv_ char **argv = NULL;
    strv_add(&argv, helper);
    strv_take(&argv, str_printf("%d", (int)pid));
    for (size_t i = 0; i < count; i++) {
        strv_take(&argv, str_printf("%u", maps[i].inside));
        strv_take(&argv, str_printf("%u", maps[i].outside));
        strv_take(&argv, str_printf("%u", maps[i].count));
    }
    int r = process_run((const char *const *)argv, NULL, NULL, err);
    return r < 0
               ? err_wrap(err, "map the ids of the user namespace (package uidmap, /etc/subuid, /etc/subgid)")
               : 0;
}

static int write_map(pid_t pid, bool groups, const struct plan_id_map *maps, size_t count, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    for (size_t i = 0; i < count; i++)
        str_addf(&text, "%u %u %u\n", maps[i].inside, maps[i].outside, maps[i].count);
    const char *file = groups ? "gid_map" : "uid_map", *field = groups ? "gidMappings" : "uidMappings";
    if (text.len > MAP_BYTES)
        return err_set(err, ERR_LIMIT,
                       "\"linux.%s\" takes more than %d bytes, which the kernel has no room for", field,
                       MAP_BYTES);
    int sys = write_file(pid, file, str_get(&text));
    if (sys == EINVAL)
        return err_set(
            err, ERR_INVALID,
            "\"linux.%s\": the kernel refuses the map: ranges overlap, or ids are not ours to give", field);
    if (sys != EPERM)
        return sys ? err_sys(err, sys, "write \"linux.%s\"", field) : 0;
    uint32_t own = groups ? getegid() : geteuid();
    if (count == 1 && maps->count == 1 && maps->outside == own) {
        sys = groups ? write_file(pid, "setgroups", "deny") : 0;
        if (!sys || sys == ENOENT)
            sys = write_file(pid, file, str_get(&text));
        return sys ? err_sys(err, sys, "write \"linux.%s\"", field) : 0;
    }
    return run_helper(groups ? "newgidmap" : "newuidmap", pid, maps, count, err);
}

int idmaps_write(pid_t pid, const struct plan_id_maps *maps, struct err *err)
{
    int r = write_map(pid, false, maps->uids, maps->uid_count, err);
    return r < 0 ? r : write_map(pid, true, maps->gids, maps->gid_count, err);
}

uint32_t idmaps_outside(const struct plan_id_map *maps, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++)
        if (id >= maps[i].inside && id - maps[i].inside < maps[i].count)
            return maps[i].outside + (id - maps[i].inside);
    return UINT32_MAX;
}
