#include "api/image_filter.h"

#include "api/api_priv.h"
#include "base/map.h"
#include "image/image_ref.h"

#include <fnmatch.h>

struct image_filter {
    struct map parents; /* ids that images were built upon */
    char **references, **labels, **not_labels;
    int dangling; /* -1: not asked */
    int64_t created_before, created_since, until;
};

static int created_of(struct images *im, const char *name, int64_t *ret, struct err *err)
{
    struct image_info info;
    int r = image_get(im, name, &info, err);
    if (r < 0)
        return r;
    *ret = info.created_ns;
    image_info_done(&info);
    return 0;
}

static int read_times(struct image_filter *f, struct images *im, const json_t *filters, struct err *err)
{
    static const char *const names[] = {"before", "since", "until"};
    int64_t *const places[] = {&f->created_before, &f->created_since, &f->until};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        _cleanup_strv_ char **values = api__filter_values(filters, names[i]);
        if (!values)
            continue;
        int r = i < 2 ? created_of(im, values[0], places[i], err) : api__time(values[0], places[i], err);
        if (r < 0)
            return i < 2 ? r : err_wrap(err, "filter \"%s\"", names[i]);
    }
    return 0;
}

static int read_dangling(struct image_filter *f, const json_t *filters, struct err *err)
{
    bool dangling = false;
    int r = api__filter_bool(filters, "dangling", &dangling, err);
    if (r == 0 && api__filter_has(filters, "dangling", NULL))
        f->dangling = dangling;
    return r;
}

int image_filter_new(struct images *im, const json_t *filters, const struct image_info *list, size_t count,
                     struct image_filter **ret, struct err *err)
{
    static const char *const known[] = {"dangling", "label", "label!",    "before",
                                        "since",    "until", "reference", NULL};
    struct image_filter *f = NEW(struct image_filter);
    f->dangling = -1;
    f->parents = MAP_INIT(NULL);
    for (size_t i = 0; i < count; i++)
        if (!str_empty(list[i].parent_id))
            map_put(&f->parents, list[i].parent_id, f);
    int r = api__filters_known(filters, known, err);
    if (r == 0)
        r = read_times(f, im, filters, err);
    if (r == 0)
        r = read_dangling(f, filters, err);
    if (r < 0) {
        image_filter_free(f);
        return r;
    }
    f->references = api__filter_values(filters, "reference");
    f->labels = api__filter_values(filters, "label");
    f->not_labels = api__filter_values(filters, "label!");
    *ret = f;
    return 0;
}

void image_filter_free(struct image_filter *f)
{
    if (!f)
        return;
    map_done(&f->parents);
    strv_free(f->references);
    strv_free(f->labels);
    strv_free(f->not_labels);
    free(f);
}

static bool has_label(const struct image_info *info, const char *wanted)
{
    const json_t *labels = json_object_get(json_object_get(info->config, "config"), "Labels");
    const char *equals = strchr(wanted, '=');
    if (!equals)
        return json_object_get(labels, wanted) != NULL;
    _cleanup_free_ char *name = mem_strndup(wanted, (size_t)(equals - wanted));
    const json_t *value = json_object_get(labels, name);
    return json_is_string(value) && strcmp(json_string_value(value), equals + 1) == 0;
}

/* Docker matches a pattern against the name alone, and against the name with its tag or digest. */
static bool name_matches(const char *reference, const char *pattern)
{
    _cleanup_free_ char *full = image_ref_familiar_text(reference);
    _cleanup_free_ char *name = mem_strdup(full);
    char *at = strchr(name, '@');
    if (at)
        *at = '\0';
    char *slash = strrchr(name, '/'), *colon = strrchr(name, ':');
    if (colon && (!slash || colon > slash))
        *colon = '\0';
    return fnmatch(pattern, name, FNM_PATHNAME) == 0 || fnmatch(pattern, full, FNM_PATHNAME) == 0;
}

char **image_filter_names(const struct image_filter *f, char *const *references)
{
    char **names = NULL;
    for (char *const *r = references; r && *r; r++) {
        bool taken = !f->references;
        STRV_FOREACH (pattern, f->references)
            taken = taken || name_matches(*r, *pattern);
        if (taken)
            strv_add(&names, *r);
    }
    return names;
}

static bool any_name_matches(const struct image_filter *f, const struct image_info *info)
{
    _cleanup_strv_ char **tags = image_filter_names(f, info->references);
    _cleanup_strv_ char **digests = image_filter_names(f, info->digests);
    return tags || digests;
}

static bool nameless(const struct image_info *info)
{
    return !info->references || !info->references[0];
}

bool image_filter_dangling(const struct image_filter *f, const struct image_info *info)
{
    return nameless(info) && !map_has(&f->parents, info->id);
}

bool image_filter_takes(const struct image_filter *f, const struct image_info *info, bool all)
{
    if (f->dangling >= 0 && f->dangling != (int)image_filter_dangling(f, info))
        return false;
    if (!all && nameless(info) && map_has(&f->parents, info->id))
        return false;
    if ((f->created_before && info->created_ns >= f->created_before) ||
        (f->created_since && info->created_ns <= f->created_since) ||
        (f->until && info->created_ns >= f->until))
        return false;
    STRV_FOREACH (l, f->labels)
        if (!has_label(info, *l))
            return false;
    STRV_FOREACH (l, f->not_labels)
        if (has_label(info, *l))
            return false;
    return !f->references || any_name_matches(f, info);
}
