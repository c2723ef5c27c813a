/* Id maps of the config: those of a user namespace and of mounts (config.md and config-linux.md,
 * "uidMappings"), and those in crun's form of the mount option "idmap". */
#include "base/json.h"
#include "base/str.h"
#include "runtime/idmaps.h"

enum { MAX_ID_MAPS = 340 };

/* The last id, 4294967295, means "none" to the kernel. */
static int check_range(int64_t inside, int64_t outside, int64_t count, const char *where,
                       struct plan_id_map *ret, struct err *err)
{
    if (inside < 0 || outside < 0 || count < 1 || count > UINT32_MAX || inside + count > UINT32_MAX ||
        outside + count > UINT32_MAX)
        return err_set(err, ERR_INVALID,
                       "\"%s\": no such range of ids: containerID %lld, hostID %lld, size %lld", where,
                       (long long)inside, (long long)outside, (long long)count);
    *ret = (struct plan_id_map){(uint32_t)inside, (uint32_t)outside, (uint32_t)count};
    return 0;
}

static int parse_id_map(const json_t *entry, const char *where, struct plan_id_map *ret, struct err *err)
{
    int64_t inside = -1, outside = -1, count = 0;
    if (!json_is_object(entry))
        return err_set(err, ERR_INVALID, "\"%s\": an id mapping must be an object", where);
    int r = json_get_i64(entry, where, "containerID", &inside, err);
    if (r == 0)
        r = json_get_i64(entry, where, "hostID", &outside, err);
    if (r == 0)
        r = json_get_i64(entry, where, "size", &count, err);
    if (r < 0)
        return r;
    return check_range(inside, outside, count, where, ret, err);
}

static int parse_id_map_list(const json_t *object, const char *where, const char *key,
                             struct plan_id_map **ret, size_t *ret_count, struct err *err)
{
    json_t *list = NULL, *entry;
    int r = json_get_array(object, where, key, &list, err);
    if (r < 0 || !json_array_size(list))
        return r;
    if (json_array_size(list) > MAX_ID_MAPS)
        return err_set(err, ERR_LIMIT, "\"%s.%s\": the kernel takes at most %d mappings", where, key,
                       MAX_ID_MAPS);
    free(*ret);
    *ret = NEW_N(struct plan_id_map, json_array_size(list));
    *ret_count = json_array_size(list);
    char name[64];
    snprintf(name, sizeof(name), "%s.%s", where, key);
    size_t i;
    json_array_foreach (list, i, entry)
        if ((r = parse_id_map(entry, name, &(*ret)[i], err)) < 0)
            return r;
    return 0;
}

int plan__parse_id_maps(const json_t *object, const char *where, struct plan_id_maps *ret, struct err *err)
{
    int r = parse_id_map_list(object, where, "uidMappings", &ret->uids, &ret->uid_count, err);
    if (r == 0)
        r = parse_id_map_list(object, where, "gidMappings", &ret->gids, &ret->gid_count, err);
    if (r == 0 && !ret->uid_count != !ret->gid_count)
        return err_set(err, ERR_INVALID, "\"%s\": uidMappings and gidMappings must be given together", where);
    return r;
}

/* "0-100-10", also as "+0-100-10"; or "@0-3-10": the second number is one of the container's then. */
static int parse_triple(const char *text, const char *where, const struct plan_id_map *container,
                        size_t container_count, struct plan_id_map *ret, struct err *err)
{
    bool relative = *text == '@';
    _cleanup_strv_ char **numbers = strv_split(text + (relative || *text == '+'), '-');
    int64_t value[3];
    if (strv_len(numbers) != ARRAY_SIZE(value))
        return err_set(err, ERR_INVALID, "%s: \"%s\" is not ID-ID-SIZE", where, text);
    for (size_t i = 0; i < ARRAY_SIZE(value); i++) {
        int r = parse_i64(numbers[i], 0, UINT32_MAX, &value[i], err);
        if (r < 0)
            return err_wrap(err, "%s", where);
    }
    if (relative && container_count) {
        value[1] = idmaps_outside(container, container_count, (uint32_t)value[1]);
        if (value[1] == UINT32_MAX)
            return err_set(err, ERR_INVALID, "%s: \"%s\" is of nobody in the container", where, text);
    }
    return check_range(value[0], value[1], value[2], where, ret, err);
}

static int parse_triples(const char *text, const char *where, const struct plan_id_map *container,
                         size_t container_count, struct plan_id_map **ret, size_t *ret_count, struct err *err)
{
    _cleanup_strv_ char **list = strv_split(text, '#');
    size_t count = strv_len(list);
    if (count > MAX_ID_MAPS)
        return err_set(err, ERR_LIMIT, "%s: the kernel takes at most %d mappings", where, MAX_ID_MAPS);
    free(*ret);
    *ret = NEW_N(struct plan_id_map, count + 1);
    *ret_count = count;
    for (size_t i = 0; i < count; i++) {
        int r = parse_triple(list[i], where, container, container_count, &(*ret)[i], err);
        if (r < 0)
            return r;
    }
    return 0;
}

int plan__parse_id_map_option(struct plan_mount *mount, const struct plan_id_maps *container, struct err *err)
{
    _cleanup_strv_ char **parts = strv_split(mount->idmap_option, ';');
    _cleanup_free_ char *where =
        str_printf("mount of %s: option \"idmap=%s\"", mount->destination, mount->idmap_option);
    struct plan_id_maps *maps = &mount->id_maps;
    int r = 0;
    STRV_FOREACH (part, parts) {
        const char *uids = str_after(*part, "uids="), *gids = str_after(*part, "gids=");
        if (uids)
            r = parse_triples(uids, where, container->uids, container->uid_count, &maps->uids,
                              &maps->uid_count, err);
        else if (gids)
            r = parse_triples(gids, where, container->gids, container->gid_count, &maps->gids,
                              &maps->gid_count, err);
        else
            r = err_set(err, ERR_INVALID, "%s: \"%s\" is neither uids= nor gids=", where, *part);
        if (r < 0)
            return r;
    }
    if (!maps->uid_count || !maps->gid_count)
        return err_set(err, ERR_INVALID, "%s: uids and gids must be given together", where);
    return 0;
}
