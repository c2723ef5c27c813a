#include "compose_place.h"

#include "compose/envfile.h"
#include "compose/interpolate.h"

static void variables_are_replaced_as_the_specification_says(void **state)
{
    static const struct {
        const char *text, *wanted;
    } cases[] = {
        {"$A-${A}x$$A", "1-1x$A"},
        {"${NO:-d}${NO-d}${EMPTY:-d}[${EMPTY-d}]", "ddd[]"},
        {"${A:+y}${NO:+y}${EMPTY:+y}${EMPTY+y}", "yy"},
        {"${NO:-${NO2:-${A}}}", "1"},
        {"${A:?gone}", "1"},
        {"${NO:-a}b}", "ab}"},
        {"${NO:-}", ""},
        {"${NO:-x$$y}", "x$y"},
        {"^a$ $1 $(date) ${NO:-$}$", "^a$ $1 $(date) $$"},
    };
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"${NO?who}", "required variable NO is missing: who"},
        {"${EMPTY:?}", "required variable EMPTY is not set or empty"},
        {"${NO:?no ${A}}", "no 1"},
        {"${A", "is not a variable"},
        {"${}", "is not a variable"},
        {"${A!x}", "is not a variable"},
    };
    struct map variables = MAP_INIT(free);
    map_put(&variables, "A", mem_strdup("1"));
    map_put(&variables, "EMPTY", mem_strdup(""));
    const struct interpolate with = {.variables = &variables};
    struct err err;
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_str_ struct str out = STR_INIT;
        assert_ok(interpolate_text(&with, cases[i].text, &out, &err), &err);
        assert_string_equal(str_get(&out), cases[i].wanted);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        _cleanup_str_ struct str out = STR_INIT;
        assert_int_equal(interpolate_text(&with, bad[i].text, &out, &err), -ERR_INVALID);
        if (!strstr(err.msg, bad[i].message))
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
    map_done(&variables);
}

static void an_env_file_knows_quotes_comments_and_earlier_lines(void **state)
{
    struct map outer = MAP_INIT(free), into = MAP_INIT(free);
    struct err err;
    map_put(&outer, "OUT", mem_strdup("o"));
    assert_ok(envfile_parse(".env",
                            "# note\nA=1 # one\nexport B = \"two\\nlines $A\"\nC='$A'\nD=${OUT}#x\n"
                            "E=\"a\nb\"\nOUT\nF=\nG: yaml\nH:x=y\n",
                            &outer, &into, &err),
              &err);
    assert_string_equal(map_get(&into, "A"), "1");
    assert_string_equal(map_get(&into, "B"), "two\nlines 1");
    assert_string_equal(map_get(&into, "C"), "$A");
    assert_string_equal(map_get(&into, "D"), "o#x");
    assert_string_equal(map_get(&into, "E"), "a\nb");
    assert_string_equal(map_get(&into, "OUT"), "o");
    assert_string_equal(map_get(&into, "F"), "");
    assert_string_equal(map_get(&into, "G"), "yaml");
    assert_string_equal(map_get(&into, "H"), "x=y");
    assert_int_equal(envfile_parse(".env", "A=1\nB=\"x", NULL, &into, &err), -ERR_INVALID);
    assert_string_equal(err.msg, ".env:2: the value's closing \" is missing");
    assert_int_equal(envfile_parse(".env", "A B=1\n", NULL, &into, &err), -ERR_INVALID);
    map_done(&outer);
    map_done(&into);
}

static void each_mistake_is_named_with_its_file_line_and_column(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"services:\n  web:\n    image: x\n    imagee: y\n",
         "compose.yaml:4:5: services.web.imagee: unknown key; did you mean \"image\"?"},
        {"services:\n  web:\n    image: x\n    provider: {type: y}\n",
         "compose.yaml:4:5: services.web.provider: key is not supported"},
        {"services:\n\tweb:\n\t\timage: x\n", "compose.yaml:2:1: the line is indented with a tab"},
        {"services:\n  web:\n    image: x\n    ports: 80\n",
         "compose.yaml:4:12: services.web.ports: must be a list, not \"80\""},
        {"services:\n  web:\n    image: 5\n", "put quotes around 5"},
        {"services:\n  web:\n    image: x\n    tty: often\n", "must be true or false, not \"often\""},
        {"services:\n  web:\n    image: x\n    image: y\n", "compose.yaml:4:5: key \"image\" is given twice"},
        {"services:\n  web:\n    image: x\n    environment:\n", "services.web.environment: has no value"},
        {"services:\n  web: {}\n", "has neither \"image\" nor \"build\""},
        {"services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n"
         "  c: {image: x, depends_on: [a]}\n",
         "in a cycle: a -> b -> c -> a"},
        {"services:\n  a: {image: x, depends_on: [b]}\n", "refers to service \"b\", which is not defined"},
        {"services:\n  a: {image: x, networks: [n]}\n", "refers to network \"n\""},
        {"services:\n  a: {image: x, volumes: ['v:/d']}\n", "refers to volume \"v\""},
        {"services:\n  a: {image: x, secrets: [s]}\n", "refers to \"s\", which is not defined"},
        {"services:\n  a: {image: x, ports: ['80:80:80:80/x']}\n", "protocol must be tcp, udp or sctp"},
        {"services:\n  a: {image: x, ports: ['1-3:1-2']}\n", "both ranges must have the same length"},
        {"services:\n  a: {image: x, restart: sometimes}\n", "must be \"no\", always"},
        {"services:\n  a: {image: x, volumes: ['/a:/d', '/b:/d']}\n", "two mounts have the target /d"},
        {"services:\n  a: {image: '${NO:?set NO}'}\n",
         "compose.yaml:2:14: services.a.image: required variable NO is missing: set NO"},
        {"services:\n  a: *nothing\n", "alias *nothing has no anchor"},
        {"services:\n  a: &a {image: x, x-y: *a}\n", "alias *a has no anchor"},
        {"servces: {}\n", "did you mean \"services\"?"},
        {"services: {}\n", "there are no services"},
        {"- a\n", "a Compose file is a mapping"},
        {"services: {a: {image: x}\n", "compose.yaml:"},
        {"services:\n  a: {image: x, command: 'echo \"x'}\n", "the closing \" is missing"},
        {"services:\n  a: {image: x, deploy: {replicas: 2}, container_name: c}\n", "only one container"},
        {"services:\n  a: {image: x, network_mode: host, networks: [default]}\n", "cannot stand together"},
        {"services:\n  a: {image: x, healthcheck: {test: [curl, x]}}\n", "begins with \"CMD\""},
        {"services:\n  a: {image: x, env_file: none.env}\n", "none.env"},
        {"services:\n  a: {image: x, ulimits: 5}\n", "must be"},
    };
    struct place p;
    begin(&p);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        assert_refused(&p, cases[i].text, cases[i].message);
    end(&p);
}

static void every_mistake_of_a_file_is_listed(void **state)
{
    struct place p;
    begin(&p);
    assert_refused(&p, "services:\n  a: {image: x, foo1: 1, tty: 5}\n  b: {imag: y}\n", "(and 2 more)");
    assert_non_null(strstr(str_get(&p.problems), "compose.yaml:2:"));
    assert_non_null(strstr(str_get(&p.problems), "compose.yaml:3:7: services.b.imag"));
    end(&p);
}

static void a_bomb_of_aliases_is_refused(void **state)
{
    struct place p;
    _cleanup_str_ struct str text = STR_INIT;
    begin(&p);
    str_add(&text, "x-a: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++)
        str_addf(&text, "x-a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1,
                 i - 1, i - 1, i - 1, i - 1, i - 1);
    str_add(&text, "services: {a: {image: x}}\n");
    assert_refused(&p, str_get(&text), "values after aliases are expanded");
    str_clear(&text);
    for (int i = 0; i < 60; i++)
        str_add(&text, "[");
    assert_int_not_equal(load_text(&p, str_get(&text)), 0);
    end(&p);
}

static void anchors_and_merge_keys_share_values(void **state)
{
    struct place p;
    begin(&p);
    assert_ok(load_text(&p,
                        "x-base: &base\n  image: x\n  environment: {A: '1', B: '2'}\n"
                        "x-more: &more {hostname: h, image: y}\n"
                        "services:\n  one: {<<: *base, tty: true}\n  two: {<<: [*more, *base], user: u}\n"),
              &p.err);
    assert_body(&p, "one", "Image", "\"x\"");
    assert_body(&p, "one", "Env", "[\"A=1\",\"B=2\"]");
    assert_body(&p, "two", "Image", "\"y\"");
    assert_body(&p, "two", "Hostname", "\"h\"");
    assert_body(&p, "two", "Env", "[\"A=1\",\"B=2\"]");
    end(&p);
}

static void a_service_becomes_the_body_that_docker_compose_would_send(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "web.env", "FROM_FILE=f\nA=file\n");
    put(&p, "s.txt", "secret");
    assert_ok(
        load_text(&p, "services:\n  web:\n    image: web:${TAG}\n    command: sh -c \"echo 'a b'\"\n"
                      "    entrypoint: [/init]\n    env_file: web.env\n"
                      "    environment: [A=own, TAG, UNSET]\n"
                      "    ports: ['8080:80', '127.0.0.1:53:53/udp', '9000-9001:90-91', '[::1]:1:2', 7]\n"
                      "    volumes: ['data:/data:ro', './src:/src', /anon, {type: tmpfs, target: /t, tmpfs: "
                      "{size: 1m}}]\n"
                      "    tmpfs: /run:size=64k\n    secrets: [s]\n    mem_limit: 64m\n    cpus: 0.5\n"
                      "    restart: on-failure:3\n    stop_grace_period: 1m30s\n    init: true\n"
                      "    healthcheck: {test: curl x, interval: 5s, retries: 3}\n"
                      "    extra_hosts: {h: 1.2.3.4}\n    ulimits: {nofile: {soft: 1, hard: 2}, core: 0}\n"
                      "volumes: {data: }\nsecrets: {s: {file: ./s.txt}}\n"),
        &p.err);
    assert_body(&p, "web", "Image", "\"web:7\"");
    assert_body(&p, "web", "Cmd", "[\"sh\",\"-c\",\"echo 'a b'\"]");
    assert_body(&p, "web", "Entrypoint", "[\"/init\"]");
    assert_body(&p, "web", "Env", "[\"FROM_FILE=f\",\"A=own\",\"TAG=7\"]");
    assert_body(&p, "web", "HostConfig PortBindings",
                "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8080\"}],"
                "\"53/udp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"53\"}],"
                "\"90/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"9000\"}],"
                "\"91/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"9001\"}],"
                "\"2/tcp\":[{\"HostIp\":\"::1\",\"HostPort\":\"1\"}],"
                "\"7/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"\"}]}");
    _cleanup_free_ char *binds = str_printf("[\"app_data:/data:ro\",\"%s/src:/src:rw\"]", p.dir);
    assert_body(&p, "web", "HostConfig Binds", binds);
    _cleanup_free_ char *mounts = str_printf(
        "[{\"Type\":\"volume\",\"Target\":\"/anon\",\"ReadOnly\":false},"
        "{\"Type\":\"tmpfs\",\"Target\":\"/t\",\"ReadOnly\":false,"
        "\"TmpfsOptions\":{\"SizeBytes\":1048576}},"
        "{\"Type\":\"bind\",\"Source\":\"%s/s.txt\",\"Target\":\"/run/secrets/s\",\"ReadOnly\":true}]",
        p.dir);
    assert_body(&p, "web", "HostConfig Mounts", mounts);
    assert_body(&p, "web", "HostConfig Tmpfs", "{\"/run\":\"size=64k\"}");
    assert_body(&p, "web", "HostConfig Memory", "67108864");
    assert_body(&p, "web", "HostConfig NanoCpus", "500000000");
    assert_body(&p, "web", "HostConfig RestartPolicy", "{\"Name\":\"on-failure\",\"MaximumRetryCount\":3}");
    assert_body(&p, "web", "StopTimeout", "90");
    assert_body(&p, "web", "Healthcheck",
                "{\"Test\":[\"CMD-SHELL\",\"curl x\"],\"Interval\":5000000000,\"Retries\":3}");
    assert_body(&p, "web", "HostConfig ExtraHosts", "[\"h:1.2.3.4\"]");
    assert_body(&p, "web", "HostConfig Ulimits",
                "[{\"Name\":\"nofile\",\"Soft\":1,\"Hard\":2},{\"Name\":\"core\",\"Soft\":0,\"Hard\":0}]");
    assert_body(&p, "web", "HostConfig NetworkMode", "\"app_default\"");
    assert_body(&p, "web", "Labels com.docker.compose.project", "\"app\"");
    end(&p);
}

static void later_files_are_merged_over_earlier_ones(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "compose.yaml",
        "services:\n  web:\n    image: a\n    command: [one, two]\n    environment: [A=1, B=2]\n"
        "    ports: ['80:80', '81:81']\n    volumes: ['./a:/d', './b:/e']\n    dns: 1.1.1.1\n"
        "    labels: {x: '1'}\n    cap_add: [A]\n    depends_on: [db]\n  db: {image: db, tty: true}\n");
    put(&p, "over.yaml",
        "services:\n  web:\n    command: three\n    environment: {B: '3', C: '4'}\n"
        "    ports: ['80:80', '82:82']\n    volumes: ['./c:/d']\n    dns: [2.2.2.2]\n"
        "    labels: [y=2]\n    cap_add: !override [B]\n    depends_on: {db: {condition: service_healthy}}\n"
        "  db: {tty: !reset null}\n");
    assert_ok(load(&p, "over.yaml"), &p.err);
    assert_body(&p, "web", "Cmd", "[\"three\"]");
    assert_body(&p, "web", "Env", "[\"A=1\",\"B=3\",\"C=4\"]");
    _cleanup_free_ char *binds = str_printf("[\"%s/c:/d:rw\",\"%s/b:/e:rw\"]", p.dir, p.dir);
    assert_body(&p, "web", "HostConfig Binds", binds);
    assert_body(&p, "web", "HostConfig Dns", "[\"1.1.1.1\",\"2.2.2.2\"]");
    assert_body(&p, "web", "HostConfig CapAdd", "[\"B\"]");
    assert_body(&p, "web", "Labels x", "\"1\"");
    assert_body(&p, "web", "Labels y", "\"2\"");
    assert_body(&p, "db", "Tty", "nothing");
    assert_int_equal(
        json_object_size(json_object_get(json_object_get(body_of(&p, "web"), "HostConfig"), "PortBindings")),
        3);
    const struct compose_service *web = compose_find_service(p.project, "web");
    assert_int_equal(web->depends[0].condition, COMPOSE_HEALTHY);
    end(&p);
}

static void the_file_is_searched_upwards_with_its_override_and_names_the_project(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "compose.yml", "services: {a: {image: x}}\n");
    put(&p, "compose.override.yml", "services: {a: {hostname: h}}\n");
    put(&p, ".env", "COMPOSE_PROJECT_NAME=named\n");
    _cleanup_free_ char *below = str_printf("%s/sub/dir", p.dir);
    assert_ok(file_mkdirs(below, 0755, &p.err), &p.err);
    static char *const no_environment[] = {NULL};
    struct compose_options options = {.cwd = below, .environ = no_environment};
    assert_ok(compose_load(&options, &p.project, &p.problems, &p.err), &p.err);
    assert_string_equal(p.project->dir, p.dir);
    assert_string_equal(p.project->name, "named");
    assert_body(&p, "a", "Hostname", "\"h\"");
    struct compose_project *second = NULL;
    options.name = "Bad Name";
    assert_int_equal(compose_load(&options, &second, NULL, &p.err), -ERR_INVALID);
    assert_non_null(strstr(p.err.msg, "for example badname"));
    options.name = "other";
    assert_ok(compose_load(&options, &second, NULL, &p.err), &p.err);
    assert_string_equal(second->name, "other");
    compose_project_free(second);
    end(&p);
}

static void only_services_of_active_profiles_and_what_they_need_take_part(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "compose.yaml",
        "services:\n  web: {image: x}\n  debug: {image: x, profiles: [dev], depends_on: [web]}\n"
        "  db: {image: x}\n");
    assert_ok(load(&p, NULL), &p.err);
    assert_false(compose_find_service(p.project, "debug")->active);
    compose_project_free(p.project);
    p.project = NULL;
    const char *const services[] = {"debug", NULL};
    const struct compose_options options = {.cwd = p.dir, .services = (char *const *)services};
    assert_ok(compose_load(&options, &p.project, NULL, &p.err), &p.err);
    assert_true(compose_find_service(p.project, "debug")->active);
    assert_true(compose_find_service(p.project, "web")->active);
    assert_false(compose_find_service(p.project, "db")->active);
    assert_int_equal(compose_find_service(p.project, "debug")->depth, 1);
    end(&p);
}

static void printed_yaml_reads_back_as_the_same_values(void **state)
{
    static const char text[] =
        "a: [1, '1', true, \"true\", null, '', ' x', \"l\\n\\t\\\"\", {b: [c, {d: []}]}, "
        "'#x', 'a: b', '- x', '22:22', 'no', {}]\n";
    struct yaml_arena *arena = yaml_arena_new();
    struct yaml_node **first, **second;
    size_t count;
    struct err err;
    _cleanup_str_ struct str once = STR_INIT, twice = STR_INIT;
    assert_ok(yaml_parse(arena, "x", text, strlen(text), &first, &count, &err), &err);
    yaml_format(first[0], &once);
    assert_ok(yaml_parse(arena, "y", str_get(&once), once.len, &second, &count, &err), &err);
    yaml_format(second[0], &twice);
    assert_string_equal(str_get(&once), str_get(&twice));
    const struct yaml_node *a = first[0]->pairs[0].value, *b = second[0]->pairs[0].value;
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->items[i]->type, b->items[i]->type);
        if (a->items[i]->type == YAML_SCALAR) {
            assert_string_equal(a->items[i]->text, b->items[i]->text);
            assert_string_equal(yaml_type_name(a->items[i]), yaml_type_name(b->items[i]));
        }
    }
    yaml_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(variables_are_replaced_as_the_specification_says),
        cmocka_unit_test(an_env_file_knows_quotes_comments_and_earlier_lines),
        cmocka_unit_test(each_mistake_is_named_with_its_file_line_and_column),
        cmocka_unit_test(every_mistake_of_a_file_is_listed),
        cmocka_unit_test(a_bomb_of_aliases_is_refused),
        cmocka_unit_test(anchors_and_merge_keys_share_values),
        cmocka_unit_test(a_service_becomes_the_body_that_docker_compose_would_send),
        cmocka_unit_test(later_files_are_merged_over_earlier_ones),
        cmocka_unit_test(the_file_is_searched_upwards_with_its_override_and_names_the_project),
        cmocka_unit_test(only_services_of_active_profiles_and_what_they_need_take_part),
        cmocka_unit_test(printed_yaml_reads_back_as_the_same_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
