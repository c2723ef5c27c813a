#include "unit.h"

#include "base/json.h"
#include "compose/plan.h"

/* A world that does at once what a plan says, as the API would show it after. */
struct world {
    json_t *containers, *networks, *volumes, *images;
    int next_id;
};

static struct plan_observed observe(const struct world *w)
{
    return (struct plan_observed){w->containers, w->networks, w->volumes, w->images};
}

static struct world world_new(void)
{
    return (struct world){json_array(), json_array(), json_array(), json_object(), 1};
}

static void world_free(struct world *w)
{
    json_decref(w->containers);
    json_decref(w->networks);
    json_decref(w->volumes);
    json_decref(w->images);
}

static size_t find(const json_t *list, const char *key, const char *value)
{
    size_t i = 0;
    while (i < json_array_size(list) && strcmp(json_str(json_array_get(list, i), key), value) != 0)
        i++;
    if (i == json_array_size(list))
        fail_msg("the plan acts on %s %s, which is not there", key, value);
    return i;
}

static void create(struct world *w, const struct plan_action *a)
{
    char id[16];
    snprintf(id, sizeof(id), "id%d", w->next_id++);
    _cleanup_json_ json_t *body =
        compose_plan_container_body(a->service, a->number, json_str(w->images, a->service->image));
    STRV_FOREACH (network, a->service->networks)
        find(w->networks, "Name", *network);
    json_t *networks = json_object();
    STRV_FOREACH (network, a->service->networks)
        json_object_set_new(networks, *network, json_object());
    json_array_append_new(w->containers, json_pack("{s:s, s:[s+], s:s, s:s, s:O, s:{s:o}}", "Id", id, "Names",
                                                   "/", a->name, "State", "created", "Status", "Created",
                                                   "Labels", json_object_get(body, "Labels"),
                                                   "NetworkSettings", "Networks", networks));
}

static void start(struct world *w, const char *name)
{
    _cleanup_free_ char *wanted = str_printf("/%s", name);
    size_t i;
    json_t *c;
    json_array_foreach (w->containers, i, c)
        if (strcmp(json_string_value(json_array_get(json_object_get(c, "Names"), 0)), wanted) == 0) {
            json_set_str(c, "State", "running");
            return;
        }
    fail_msg("the plan starts %s, which is not there", name);
}

static void act(struct world *w, const struct plan_action *a)
{
    char id[16];
    switch (a->kind) {
    case PLAN_PULL:
    case PLAN_BUILD:
        snprintf(id, sizeof(id), "img%d", w->next_id++);
        json_set_str(w->images, a->name, id);
        break;
    case PLAN_CREATE_NETWORK:
        json_array_append(w->networks, a->resource->body);
        break;
    case PLAN_CREATE_VOLUME:
        json_array_append(w->volumes, a->resource->body);
        break;
    case PLAN_REMOVE_NETWORK:
        json_array_remove(w->networks, find(w->networks, "Name", a->name));
        break;
    case PLAN_REMOVE_VOLUME:
        json_array_remove(w->volumes, find(w->volumes, "Name", a->name));
        break;
    case PLAN_RECREATE:
        json_array_remove(w->containers, find(w->containers, "Id", a->id));
        create(w, a);
        break;
    case PLAN_CREATE:
        create(w, a);
        break;
    case PLAN_START:
        start(w, a->name);
        break;
    case PLAN_STOP:
        json_set_str(json_array_get(w->containers, find(w->containers, "Id", a->id)), "State", "exited");
        break;
    case PLAN_REMOVE: {
        size_t i = find(w->containers, "Id", a->id);
        if (strcmp(json_str(json_array_get(w->containers, i), "State"), "running") == 0)
            fail_msg("the plan removes %s while it runs", a->name);
        json_array_remove(w->containers, i);
        break;
    }
    case PLAN_REMOVE_IMAGE:
        json_object_del(w->images, a->name);
        break;
    case PLAN_WAIT:
    case PLAN_RESTART:
        break;
    }
}

static size_t apply(struct world *w, struct plan *plan)
{
    size_t n = plan->count;
    for (size_t i = 0; i < n; i++)
        act(w, &plan->actions[i]);
    compose_plan_done(plan);
    return n;
}

struct fixture {
    char *root;
    struct compose_project *project;
    struct world world;
};

static void load(struct fixture *f, const char *text)
{
    struct err err;
    _cleanup_free_ char *path = str_printf("%s/compose.yaml", f->root);
    assert_ok(file_replace(path, text, strlen(text), 0644, false, &err), &err);
    const struct compose_options options = {.cwd = f->root, .name = "p"};
    compose_project_free(f->project);
    assert_ok(compose_load(&options, &f->project, NULL, &err), &err);
}

static void begin(struct fixture *f, const char *text)
{
    *f = (struct fixture){.root = scratch_new(), .world = world_new()};
    load(f, text);
}

static void end(struct fixture *f)
{
    compose_project_free(f->project);
    world_free(&f->world);
    scratch_remove(f->root);
}

/* Plans and carries out; the number of actions on other things than images. */
static size_t up(struct fixture *f, const struct plan_options *options)
{
    static const struct plan_options none = {0};
    struct err err;
    struct plan plan;
    struct plan_observed o = observe(&f->world);
    assert_ok(compose_plan_images(f->project, &o, options ? options : &none, &plan, &err), &err);
    apply(&f->world, &plan);
    o = observe(&f->world);
    assert_ok(compose_plan_up(f->project, &o, options ? options : &none, &plan, &err), &err);
    return apply(&f->world, &plan);
}

#define APP                                                                                                  \
    "services:\n  web: {image: web, depends_on: [db, cache], networks: [front, default]}\n"                  \
    "  db: {image: db, volumes: ['data:/d']}\n  cache: {image: cache, scale: 2, depends_on: [db]}\n"         \
    "volumes: {data: {}}\nnetworks: {front: {}}\n"

static void running_up_again_does_nothing(void **state)
{
    struct fixture f;
    begin(&f, APP);
    assert_int_equal(up(&f, NULL), 3 + 4 + 4); /* networks and volume, containers, starts */
    assert_int_equal(json_array_size(f.world.containers), 4);
    assert_int_equal(up(&f, NULL), 0);
    end(&f);
}

static void what_is_depended_on_comes_first(void **state)
{
    struct fixture f;
    struct plan plan;
    struct err err;
    begin(&f, APP);
    struct plan_observed o = observe(&f.world);
    static const struct plan_options none = {0};
    assert_ok(compose_plan_up(f.project, &o, &none, &plan, &err), &err);
    int last = 0, web = 0;
    for (size_t i = 0; i < plan.count; i++) {
        assert_true(plan.actions[i].stage >= last);
        last = plan.actions[i].stage;
        if (plan.actions[i].kind == PLAN_CREATE && strcmp(plan.actions[i].service->name, "web") == 0)
            web = last;
    }
    for (size_t i = 0; i < plan.count; i++)
        if (plan.actions[i].service && strcmp(plan.actions[i].service->name, "web") != 0)
            assert_true(plan.actions[i].stage < web);
    compose_plan_done(&plan);
    end(&f);
}

/* Also what is no service that runs, because of its profile. */
static void a_build_comes_behind_those_it_stands_on(void **state)
{
    static const char *const wanted[] = {"c", "b", "a"};
    static const struct plan_options none = {0}, anew = {.build = true};
    struct fixture f;
    struct plan plan;
    struct err err;
    begin(&f, "services:\n  a: {image: ai, build: {additional_contexts: {x: 'service:b', y: 'service:c'}}}\n"
              "  b: {image: bi, build: {additional_contexts: {x: 'service:c'}}, profiles: [never]}\n"
              "  c: {image: ci, build: ., profiles: [never]}\n");
    struct plan_observed o = observe(&f.world);
    assert_ok(compose_plan_images(f.project, &o, &none, &plan, &err), &err);
    assert_int_equal(plan.count, 3);
    for (size_t i = 0; i < plan.count; i++) {
        assert_string_equal(plan.actions[i].service->name, wanted[i]);
        assert_int_equal(plan.actions[i].stage, (int)i + 1);
    }
    apply(&f.world, &plan);
    o = observe(&f.world);
    assert_ok(compose_plan_images(f.project, &o, &none, &plan, &err), &err);
    assert_int_equal(plan.count, 0);
    compose_plan_done(&plan);
    assert_ok(compose_plan_images(f.project, &o, &anew, &plan, &err), &err);
    assert_int_equal(plan.count, 3);
    compose_plan_done(&plan);
    end(&f);
}

static void only_what_changed_is_made_anew(void **state)
{
    struct fixture f;
    begin(&f, APP);
    up(&f, NULL);
    load(&f, "services:\n  web: {image: web, depends_on: [db, cache], networks: [front, default]}\n"
             "  db: {image: db, volumes: ['data:/d'], environment: [X=1]}\n"
             "  cache: {image: cache, scale: 2, depends_on: [db]}\n"
             "volumes: {data: {}}\nnetworks: {front: {}}\n");
    assert_int_equal(up(&f, NULL), 2); /* recreate and start db */
    assert_int_equal(up(&f, NULL), 0);
    json_set_str(f.world.images, "web", "another");
    assert_int_equal(up(&f, NULL), 2);
    assert_int_equal(up(&f, NULL), 0);
    end(&f);
}

static void scaling_down_removes_the_surplus_and_orphans_only_when_asked(void **state)
{
    struct fixture f;
    begin(&f, APP);
    up(&f, NULL);
    load(&f, "services:\n  db: {image: db, volumes: ['data:/d']}\n  cache: {image: cache, depends_on: [db]}\n"
             "volumes: {data: {}}\n");
    assert_int_equal(up(&f, NULL), 2); /* stop and remove cache-2 */
    assert_int_equal(json_array_size(f.world.containers), 3);
    const struct plan_options orphans = {.remove_orphans = true};
    assert_int_equal(up(&f, &orphans), 2);
    assert_int_equal(json_array_size(f.world.containers), 2);
    assert_int_equal(up(&f, &orphans), 0);
    end(&f);
}

static void a_changed_network_is_replaced_with_its_containers(void **state)
{
    struct fixture f;
    begin(&f, APP);
    up(&f, NULL);
    load(&f, "services:\n  web: {image: web, depends_on: [db, cache], networks: [front, default]}\n"
             "  db: {image: db, volumes: ['data:/d']}\n  cache: {image: cache, scale: 2, depends_on: [db]}\n"
             "volumes: {data: {}}\nnetworks: {front: {internal: true}}\n");
    assert_int_equal(up(&f, NULL), 2 + 2 + 2); /* stop, remove; network twice; create, start */
    assert_int_equal(up(&f, NULL), 0);
    end(&f);
}

static void down_leaves_nothing_but_volumes_unless_asked(void **state)
{
    struct fixture f;
    struct plan plan;
    struct err err;
    begin(&f, APP);
    up(&f, NULL);
    struct plan_options options = {0};
    for (int pass = 0; pass < 2; pass++) {
        struct plan_observed o = observe(&f.world);
        assert_ok(compose_plan_down(f.project, "p", &o, &options, &plan, &err), &err);
        apply(&f.world, &plan);
        assert_int_equal(json_array_size(f.world.containers), 0);
        assert_int_equal(json_array_size(f.world.networks), 0);
        assert_int_equal(json_array_size(f.world.volumes), pass ? 0 : 1);
        options.volumes = true;
    }
    assert_int_equal(up(&f, NULL), 11);
    struct plan_observed o = observe(&f.world);
    assert_ok(compose_plan_down(NULL, "p", &o, &options, &plan, &err), &err);
    apply(&f.world, &plan);
    assert_int_equal(json_array_size(f.world.containers), 0);
    end(&f);
}

static void foreign_and_missing_external_things_are_refused(void **state)
{
    struct fixture f;
    struct plan plan;
    struct err err;
    begin(&f, "services: {a: {image: x, volumes: ['v:/v']}}\nvolumes: {v: {external: true}}\n");
    struct plan_observed o = observe(&f.world);
    static const struct plan_options none = {0};
    assert_int_equal(compose_plan_up(f.project, &o, &none, &plan, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "volume v is external and not there"));
    load(&f, "services: {a: {image: x}}\n");
    json_array_append_new(f.world.networks, json_pack("{s:s}", "Name", "p_default"));
    assert_int_equal(compose_plan_up(f.project, &o, &none, &plan, &err), -ERR_CONFLICT);
    const struct plan_options never = {.pull = "never"};
    assert_int_equal(compose_plan_images(f.project, &o, &never, &plan, &err), -ERR_NOT_FOUND);
    end(&f);
}

static void jobs_others_wait_for_run_once(void **state)
{
    struct fixture f;
    begin(&f, "services:\n  job: {image: j}\n  web: {image: w, depends_on: {job: {condition: "
              "service_completed_successfully}}}\n");
    assert_int_equal(up(&f, NULL), 1 + 2 + 2 + 1); /* with the wait */
    json_t *job = json_array_get(f.world.containers, 0);
    json_set_str(job, "State", "exited");
    json_set_str(job, "Status", "Exited (0) 2 seconds ago");
    assert_int_equal(up(&f, NULL), 0);
    json_set_str(job, "Status", "Exited (1) 2 seconds ago");
    assert_int_equal(up(&f, NULL), 1);
    end(&f);
}

static void who_shares_a_namespace_goes_with_its_owner(void **state)
{
    struct fixture f;
    begin(&f, "services:\n  db: {image: d}\n  side: {image: s, network_mode: 'service:db'}\n");
    up(&f, NULL);
    load(&f, "services:\n  db: {image: d, user: u}\n  side: {image: s, network_mode: 'service:db'}\n");
    assert_int_equal(up(&f, NULL), 4); /* both are made anew and started */
    assert_int_equal(up(&f, NULL), 0);
    json_set_str(json_array_get(f.world.containers, 0), "State", "exited");
    assert_int_equal(up(&f, NULL), 2); /* started; restarted */
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(running_up_again_does_nothing),
        cmocka_unit_test(what_is_depended_on_comes_first),
        cmocka_unit_test(a_build_comes_behind_those_it_stands_on),
        cmocka_unit_test(only_what_changed_is_made_anew),
        cmocka_unit_test(scaling_down_removes_the_surplus_and_orphans_only_when_asked),
        cmocka_unit_test(a_changed_network_is_replaced_with_its_containers),
        cmocka_unit_test(down_leaves_nothing_but_volumes_unless_asked),
        cmocka_unit_test(foreign_and_missing_external_things_are_refused),
        cmocka_unit_test(jobs_others_wait_for_run_once),
        cmocka_unit_test(who_shares_a_namespace_goes_with_its_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
