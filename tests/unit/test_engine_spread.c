/* Services' addresses and the networks of swarms, in an engine of its own namespace: what it keeps and
 * refuses. */
#include "net_host.h"

#include "base/json.h"
#include "engine/engine.h"
#include "engine/spread.h"
#include "keeper/keeper.h"

static struct engine *opened(struct fixture *f)
{
    struct engine_config config = {.root = f->dir};
    struct engine *e = NULL;
    struct err err = {0};
    assert_ok(engine_open(&config, &e, &err), &err);
    return e;
}

static int begin(void **state)
{
    if (!root)
        return 0;
    struct fixture *f = NEW(struct fixture);
    f->dir = scratch_new();
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    if (!f)
        return 0;
    struct err err = {0};
    end_servers(f);
    assert_ok(engine_shutdown(f->dir, &err), &err);
    scratch_remove(f->dir);
    free(f);
    _cleanup_free_ char *after = kernel_state();
    assert_string_equal(after, before);
    return 0;
}

static int try_network(struct engine *e, const char *body, struct err *err)
{
    _cleanup_json_ json_t *doc = json_loads(body, 0, NULL), *warning = NULL;
    _cleanup_free_ char *id = NULL;
    assert_non_null(doc);
    return engine_network_create_swarm(e, doc, &id, &warning, err);
}

static void network(struct engine *e, const char *body)
{
    struct err err = {0};
    assert_ok(try_network(e, body, &err), &err);
}

static char *subnet_of(struct engine *e, const char *name)
{
    _cleanup_json_ json_t *doc = NULL;
    struct err err = {0};
    assert_ok(engine_network_inspect(e, name, &doc, &err), &err);
    assert_string_equal(json_str(doc, "Driver"), "overlay");
    assert_string_equal(json_str(doc, "Scope"), "swarm");
    const json_t *config = json_object_get(json_object_get(doc, "IPAM"), "Config");
    return mem_strdup(json_str(json_array_get(config, 0), "Subnet"));
}

static void a_swarms_network_is_an_overlay_of_its_own_pool(void **state)
{
    struct fixture *f = host_of(state);
    struct engine *e = opened(f);
    struct err err = {0};
    network(e, "{\"Name\": \"one\", \"Driver\": \"overlay\", \"Id\": \"q7x2swarm\"}");
    network(e, "{\"Name\": \"two\", \"Scope\": \"swarm\", \"Ingress\": true}");
    network(e, "{\"Name\": \"own\", \"IPAM\": {\"Config\": [{\"Subnet\": \"10.77.0.0/24\"}]}}");
    _cleanup_free_ char *one = subnet_of(e, "q7x2swarm"), *two = subnet_of(e, "two"),
                        *own = subnet_of(e, "own");
    assert_string_equal(one, "10.0.0.0/24");
    assert_string_equal(two, "10.0.1.0/24");
    assert_string_equal(own, "10.77.0.0/24");
    static const struct {
        const char *body, *words;
    } refused[] = {
        {"{\"Name\": \"one\"}", "network with name one already exists"},
        {"{\"Name\": \"x\", \"Id\": \"q7x2swarm\"}", "network with id q7x2swarm already exists"},
        {"{\"Name\": \"x\", \"Id\": \"../up\"}", "\"../up\" is not a network's id"},
        {"{\"Name\": \"x\", \"Ingress\": true}", "is already present"},
        {"{\"Name\": \"x\", \"Driver\": \"bridge\"}",
         "can only be of the driver \"overlay\", not \"bridge\""},
        {"{\"Name\": \"x\", \"Scope\": \"local\"}", "cannot be of scope \"local\""},
        {"{\"Name\": \"x\", \"Options\": {\"encrypted\": \"\"}}", "\"Options.encrypted\" is not supported"},
        {"{\"Name\": \"x\", \"Options\": {\"com.docker.network.driver.overlay.vxlanid_list\": \"x\"}}",
         "it must be numbers"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        assert_true(try_network(e, refused[i].body, &err) < 0);
        if (!strstr(err.msg, refused[i].words))
            fail_msg("%s: %s", refused[i].body, err.msg);
    }
    _cleanup_json_ json_t *filters = json_pack("{s:[s]}", "scope", "swarm"), *list = NULL;
    assert_ok(engine_network_list(e, filters, &list, &err), &err);
    assert_int_equal(json_array_size(list), 3);
    engine_close(e);
}

static void a_reserved_address_stays_until_it_is_released(void **state)
{
    struct fixture *f = host_of(state);
    struct engine *e = opened(f);
    struct err err = {0};
    _cleanup_free_ char *first = NULL, *second = NULL, *again = NULL, *third = NULL;
    network(e, "{\"Name\": \"one\"}");
    assert_ok(engine_network_reserve(e, "one", "a", &first, &err), &err);
    assert_ok(engine_network_reserve(e, "one", "b", &second, &err), &err);
    assert_string_equal(first, "10.0.0.2/24");
    assert_string_equal(second, "10.0.0.3/24");
    engine_close(e);
    e = opened(f);
    assert_ok(engine_network_reserve(e, "one", "b", &again, &err), &err);
    assert_string_equal(again, second);
    assert_ok(engine_network_release(e, "one", "a", &err), &err);
    assert_int_equal(engine_network_release(e, "one", "a", &err), -ERR_NOT_FOUND);
    assert_ok(engine_network_reserve(e, "one", "c", &third, &err), &err);
    assert_string_equal(third, first);
    assert_int_equal(engine_network_reserve(e, "none", "c", &again, &err), -ERR_INVALID);
    assert_int_equal(engine_network_reserve(e, "missing", "c", &again, &err), -ERR_NOT_FOUND);
    engine_close(e);
}

static void a_spread_outlives_the_engine_and_holds_its_address_port_and_network(void **state)
{
    struct fixture *f = host_of(state);
    struct engine *e = opened(f);
    struct err err = {0};
    _cleanup_free_ char *address = NULL;
    network(e, "{\"Name\": \"one\"}");
    assert_ok(engine_network_reserve(e, "one", "web", &address, &err), &err);
    struct engine_spread_port port = {"tcp", 8080, 80};
    struct engine_spread_target targets[] = {{.container = OWNER_A}, {.address = "10.66.1.2"}};
    struct engine_spread s = {.id = "svc1",
                              .network = "one",
                              .name = "web",
                              .address = address,
                              .ports = &port,
                              .port_count = 1,
                              .targets = targets,
                              .target_count = 1};
    assert_ok(engine_spread_set(e, &s, &err), &err); /* its container is not there: it is no target yet */
    assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
    assert_int_equal(engine_network_release(e, "one", "web", &err), -ERR_CONFLICT);
    assert_string_equal(err.msg, "address 10.0.0.2 of network one is that of service web");
    assert_int_equal(engine_network_remove(e, "one", &err), -ERR_DENIED);
    assert_string_equal(err.msg, "error while removing network: network one is in use by service web");
    struct engine_spread other = s;
    other.id = "svc2";
    other.name = "api";
    other.address = NULL;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(engine_spread_set(e, &other, &err), -ERR_CONFLICT);
        assert_non_null(
            strstr(err.msg, "port is already allocated: port 8080/tcp is published by service web"));
        engine_close(e);
        assert_answer(-1, SOCK_STREAM, "127.0.0.1", 8080, "Connection refused");
        e = opened(f);
    }
    other.port_count = 0;
    other.address = "10.0.0.9";
    assert_int_equal(engine_spread_set(e, &other, &err), -ERR_INVALID);
    assert_non_null(strstr(err.msg, "is not one that was reserved on network one"));
    targets[0].container = "short";
    assert_int_equal(engine_spread_set(e, &s, &err), -ERR_INVALID);
    _cleanup_json_ json_t *list = NULL;
    assert_ok(engine_spread_list(e, &list, &err), &err);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_str(json_array_get(list, 0), "Address"), "10.0.0.2");
    assert_ok(engine_spread_remove(e, "svc1", "one", &err), &err);
    assert_int_equal(engine_spread_remove(e, "svc1", "one", &err), -ERR_NOT_FOUND);
    assert_ok(engine_network_release(e, "one", "web", &err), &err);
    assert_ok(engine_network_remove(e, "one", &err), &err);
    engine_close(e);
}

static void an_address_chosen_for_all_machines_is_held_and_far_containers_are_reached_there(void **state)
{
    struct fixture *f = host_of(state);
    struct engine *e = opened(f);
    struct err err = {0};
    _cleanup_free_ char *picked = NULL;
    _cleanup_strv_ char **keys = NULL;
    network(e, "{\"Name\": \"one\"}");
    assert_ok(engine_network_hold(e, "one", "web", "10.0.0.2/24", &err), &err);
    assert_ok(engine_network_hold(e, "one", "web", "10.0.0.2", &err), &err);
    assert_int_equal(engine_network_hold(e, "one", "api", "10.0.0.2", &err), -ERR_CONFLICT);
    assert_int_equal(engine_network_hold(e, "one", "api", "10.0.1.2", &err), -ERR_INVALID);
    assert_int_equal(engine_network_hold(e, "one", "api", "", &err), -ERR_INVALID);
    assert_ok(engine_network_hold(e, "one", "web", "10.0.0.7", &err), &err);
    assert_ok(engine_network_reserve(e, "one", "other", &picked, &err), &err);
    assert_string_equal(picked, "10.0.0.2/24");
    assert_ok(engine_network_held(e, "one", &keys, &err), &err);
    assert_int_equal(strv_len(keys), 2);
    struct net_far list[] = {{"10.0.0.9", "203.0.113.9", "02:00:00:00:00:09"}};
    assert_int_equal(engine_network_far(e, "one", list, 1, NULL, &err), -ERR_UNAVAILABLE); /* on no link */
    assert_ok(engine_network_far(e, "one", list, 0, NULL, &err), &err);
    assert_int_equal(engine_network_far(e, "bridge", list, 1, NULL, &err), -ERR_INVALID);
    struct engine_spread_target target = {.far = "10.0.0.9"};
    struct engine_spread s = {.id = "svc1",
                              .network = "one",
                              .name = "web",
                              .address = "10.0.0.7",
                              .targets = &target,
                              .target_count = 1};
    assert_ok(engine_spread_set(e, &s, &err), &err);
    assert_int_equal(engine_network_hold(e, "one", "web", "10.0.0.8", &err), -ERR_CONFLICT);
    target.far = "nowhere";
    assert_int_equal(engine_spread_set(e, &s, &err), -ERR_INVALID);
    assert_ok(engine_spread_remove(e, "svc1", "one", &err), &err);
    engine_close(e);
}

int main(int argc, char **argv)
{
    if (argc > 1 && str_eq(argv[1], "keeper"))
        return keeper_main(argc - 1, argv + 1);
    int status;
    if (host_is_process(argc, argv, &status))
        return status;
    if (host_begin() < 0)
        return 1;
#define engine_test(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        engine_test(a_swarms_network_is_an_overlay_of_its_own_pool),
        engine_test(a_reserved_address_stays_until_it_is_released),
        engine_test(an_address_chosen_for_all_machines_is_held_and_far_containers_are_reached_there),
        engine_test(a_spread_outlives_the_engine_and_holds_its_address_port_and_network),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(before);
    return r;
}
