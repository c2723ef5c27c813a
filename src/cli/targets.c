#include "cli/targets.h"

#include "base/json.h"
#include "cli/call.h"

const char *targets_name(const json_t *container)
{
    const char *name = json_string_value(json_array_get(json_object_get(container, "Names"), 0));
    return name ? name + (*name == '/') : "";
}

const char *targets_label(const json_t *container, const char *label)
{
    return json_str(json_object_get(container, "Labels"), label);
}

void targets_done(struct targets *t)
{
    compose_project_free(t->project);
    free(t->name);
    json_decref(t->containers);
    *t = (struct targets){0};
}

/* The project of the files here, else one that is only named. */
static int find_project(const struct project_options *o, bool needed, struct targets *t)
{
    const char *name = project_given_name(o);
    if (project_present(o) || (needed && !name)) {
        int status = project_load(o, NULL, false, &t->project);
        if (status == 0)
            t->name = mem_strdup(t->project->name);
        return status;
    }
    t->name = mem_strdup(name);
    return 0;
}

static bool is_wanted(const json_t *c, const struct targets_want *want)
{
    int64_t number = 0;
    parse_i64(targets_label(c, COMPOSE_LABEL_NUMBER), 1, INT32_MAX, &number, NULL);
    if (!want->one_off && str_eq(targets_label(c, COMPOSE_LABEL_ONEOFF), "True"))
        return false;
    return want->index <= 0 || number == want->index;
}

static int add_service(struct targets *t, const char *service, const struct targets_want *want,
                       size_t *ret_count, struct err *err)
{
    _cleanup_json_ json_t *list = NULL;
    size_t i;
    json_t *c;
    int r = t->name ? project_containers(t->name, service, want->all, &list, err) : 0;
    json_array_foreach (list, i, c)
        if (is_wanted(c, want)) {
            json_array_append(t->containers, c);
            ++*ret_count;
        }
    return r;
}

/* A container that is no service's, in the form of the list's entries. */
static int add_container(struct targets *t, const char *name, struct err *err)
{
    _cleanup_json_ json_t *found = NULL;
    _cleanup_free_ char *escaped = cli_escape(name);
    int r = cli_get(&found, err, "/containers/%s/json", escaped);
    if (r < 0)
        return r;
    const json_t *config = json_object_get(found, "Config");
    json_array_append_new(t->containers,
                          json_pack("{s:s, s:[s], s:s, s:s, s:O*}", "Id", json_str(found, "Id"), "Names",
                                    json_str(found, "Name"), "Image", json_str(config, "Image"), "State",
                                    json_str(json_object_get(found, "State"), "Status"), "Labels",
                                    json_object_get(config, "Labels")));
    return 0;
}

static int add(struct targets *t, const char *name, const struct targets_want *want, struct err *err)
{
    size_t count = 0;
    bool is_service = t->project && compose_find_service(t->project, name);
    int r = t->name ? add_service(t, name, want, &count, err) : 0;
    if (r < 0 || is_service || count)
        return r;
    return want->only_files ? err_set(err, ERR_NOT_FOUND, "no such service: %s", name)
                            : add_container(t, name, err);
}

int targets_find(const struct project_options *o, char *const *names, const struct targets_want *want,
                 struct targets *ret)
{
    struct targets t = {.containers = json_array()};
    struct err err;
    size_t count = 0;
    bool any = names && *names;
    int status = find_project(o, !any || want->only_files, &t);
    int r = 0;
    if (status == 0 && !any)
        r = add_service(&t, NULL, want, &count, &err);
    for (char *const *name = names; status == 0 && r == 0 && any && *name; name++)
        r = add(&t, *name, want, &err);
    if (r < 0)
        status = cli_fail(&err);
    if (status)
        targets_done(&t);
    else
        *ret = t;
    return status;
}

int targets_find_one(const struct project_options *o, const char *name, int index, char **ret_id)
{
    const struct targets_want want = {.index = index};
    char *const names[] = {(char *)(uintptr_t)name, NULL};
    _cleanup_targets_ struct targets t = {0};
    int status = targets_find(o, names, &want, &t);
    if (status)
        return status;
    const char *id = json_str(json_array_get(t.containers, 0), "Id");
    if (!*id) {
        struct err err;
        err_set(&err, ERR_NOT_FOUND, "service %s has no running container%s", name,
                index > 1 ? " of that number" : "");
        return cli_fail(&err);
    }
    *ret_id = mem_strdup(id);
    return 0;
}
