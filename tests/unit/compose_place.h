/* A project directory "app" with files, loaded with a small environment. */
#ifndef COMPOSE_PLACE_H
#define COMPOSE_PLACE_H

#include "unit.h"

#include "base/json.h"
#include "compose/compose.h"
#include "compose/yaml.h"

struct place {
    char *root, *dir;
    struct compose_project *project;
    struct str problems;
    struct err err;
    bool check_files, stack; /* of struct compose_options */
};

static inline void begin(struct place *p)
{
    *p = (struct place){.root = scratch_new()};
    p->dir = str_printf("%s/app", p->root);
    assert_ok(file_mkdirs(p->dir, 0755, &p->err), &p->err);
}

static inline void put(struct place *p, const char *name, const char *text)
{
    _cleanup_free_ char *path = str_printf("%s/%s", p->dir, name);
    _cleanup_free_ char *dir = mem_strndup(path, (size_t)(strrchr(path, '/') - path));
    assert_ok(file_mkdirs(dir, 0755, &p->err), &p->err);
    assert_ok(file_replace(path, text, strlen(text), 0644, false, &p->err), &p->err);
}

static inline int load(struct place *p, const char *over_or_null)
{
    static const char *const environ_list[] = {"TAG=7", "EMPTY=", "HOME=/home/me", NULL};
    const char *const files[] = {"compose.yaml", over_or_null, NULL};
    const struct compose_options options = {.cwd = p->dir,
                                            .environ = (char *const *)environ_list,
                                            .check_files = p->check_files,
                                            .stack = p->stack,
                                            .files = over_or_null ? (char *const *)files : NULL};
    compose_project_free(p->project);
    p->project = NULL;
    str_clear(&p->problems);
    return compose_load(&options, &p->project, &p->problems, &p->err);
}

static inline int load_text(struct place *p, const char *text)
{
    put(p, "compose.yaml", text);
    return load(p, NULL);
}

static inline void end(struct place *p)
{
    compose_project_free(p->project);
    str_free(&p->problems);
    free(p->dir);
    scratch_remove(p->root);
}

static inline void assert_refused(struct place *p, const char *text, const char *message)
{
    int r = load_text(p, text);
    if (r == 0)
        fail_msg("accepted, though it should say: %s", message);
    if (!strstr(p->err.msg, message) && !strstr(str_get(&p->problems), message))
        fail_msg("says: %s\nand not: %s", p->err.msg, message);
}

static inline json_t *body_of(struct place *p, const char *service)
{
    const struct compose_service *s = compose_find_service(p->project, service);
    assert_non_null(s);
    return s->body;
}

static inline void assert_body(struct place *p, const char *service, const char *path, const char *wanted)
{
    _cleanup_strv_ char **keys = strv_split(path, ' ');
    json_t *at = body_of(p, service);
    STRV_FOREACH (key, keys)
        at = json_object_get(at, *key);
    _cleanup_free_ char *got = at ? json_format(at) : mem_strdup("nothing");
    if (strcmp(got, wanted) != 0)
        fail_msg("%s of %s is %s, not %s", path, service, got, wanted);
}

#endif
