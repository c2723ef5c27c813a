/* What takes how much room in the form of API 1.52: of each kind how many there are, and what they take. */
#include "api/api_priv.h"

struct usage {
    int64_t active, total_bytes, reclaimable_bytes;
};

/* Adds one object; what is not known to take room (-1) takes none. */
static void count(struct usage *u, bool active, int64_t bytes)
{
    bytes = MAX(bytes, (int64_t)0);
    u->active += active;
    u->total_bytes += bytes;
    u->reclaimable_bytes += active ? 0 : bytes;
}

static void count_image(struct usage *u, const json_t *image)
{
    count(u, json_int(image, "Containers") > 0, json_int(image, "Size") - json_int(image, "SharedSize"));
}

static void count_container(struct usage *u, const json_t *container)
{
    static const char *const states[] = {"running", "paused", "restarting", NULL};
    count(u, strv_has((char *const *)states, json_str(container, "State")), json_int(container, "SizeRw"));
}

static void count_volume(struct usage *u, const json_t *volume)
{
    const json_t *data = json_object_get(volume, "UsageData");
    count(u, json_int(data, "RefCount") > 0, json_int(data, "Size"));
}

/* What is shared takes room as an image. */
static void count_record(struct usage *u, const json_t *record)
{
    count(u, json_bool(record, "InUse"), json_bool(record, "Shared") ? 0 : json_int(record, "Size"));
}

static json_t *usage_of(json_t *list, void (*count_one)(struct usage *, const json_t *), bool verbose)
{
    struct usage u = {0};
    const json_t *one;
    size_t i;
    json_array_foreach (list, i, one)
        count_one(&u, one);
    json_t *shown = json_pack("{s:I,s:I,s:I,s:I}", "ActiveCount", (json_int_t)u.active, "TotalCount",
                              (json_int_t)json_array_size(list), "TotalSize", (json_int_t)u.total_bytes,
                              "Reclaimable", (json_int_t)u.reclaimable_bytes);
    if (verbose)
        json_object_set(shown, "Items", list);
    return shown;
}

/* Layers that several images have count once. */
static void count_layers_once(json_t *usage, int64_t layers)
{
    int64_t shared = layers - json_int(usage, "TotalSize");
    json_object_set_new(usage, "TotalSize", json_integer(layers));
    json_object_set_new(usage, "Reclaimable", json_integer(json_int(usage, "Reclaimable") + shared));
}

void api__add_usages(json_t *out, int64_t layers, bool verbose)
{
    static const struct {
        const char *list, *usage;
        void (*count_one)(struct usage *, const json_t *);
    } kinds[] = {{"Images", "ImageUsage", count_image},
                 {"Containers", "ContainerUsage", count_container},
                 {"Volumes", "VolumeUsage", count_volume},
                 {"BuildCache", "BuildCacheUsage", count_record}};
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        json_t *list = json_object_get(out, kinds[i].list);
        if (json_is_array(list))
            json_object_set_new(out, kinds[i].usage, usage_of(list, kinds[i].count_one, verbose));
        if (verbose)
            json_object_del(out, kinds[i].list);
    }
    json_t *images = json_object_get(out, "ImageUsage");
    if (images)
        count_layers_once(images, layers);
    if (verbose)
        json_object_del(out, "LayersSize");
}
