/* `drover config`: the canonical form, and a collection of projects that have to come to what is written
 * beside them. */
#include "compose_place.h"

#include "compose/render.h"

#include <dirent.h>

static char *rendered(const struct compose_project *p, bool json)
{
    const struct render_options options = {.json = json};
    const struct yaml_node *root = compose_render(p, &options);
    struct str text = STR_INIT;
    if (json)
        render_format_json(root, 0, &text);
    else
        yaml_format(root, &text);
    return str_take(&text);
}

static void every_value_has_its_type_and_every_default_is_said(void **state)
{
    struct place p;
    begin(&p);
    assert_ok(
        load_text(&p,
                  "services:\n  b: {image: 'x:${TAG}', links: [a]}\n"
                  "  a:\n    build: {}\n    environment: {N: 1, E: , T: 'true'}\n    ports: [8080:80]\n"
                  "    mem_limit: 64m\n    stop_grace_period: 90s\n    cpus: '0.5'\n    tty: '${YES:-true}'\n"
                  "    volumes: ['./x:/y:ro']\n    command: sh -c 'a b'\n"
                  "  idle: {image: x, profiles: [p], networks: [unused]}\nnetworks: {unused: }\n"),
        &p.err);
    _cleanup_free_ char *text = rendered(p.project, false), *json = rendered(p.project, true);
    _cleanup_free_ char *wanted = str_printf(
        "name: app\nservices:\n  a:\n    build:\n      context: %s\n      dockerfile: Dockerfile\n"
        "    cpus: 0.5\n    command:\n      - sh\n      - -c\n      - a b\n"
        "    environment:\n      E: null\n      \"N\": \"1\"\n      T: \"true\"\n    mem_limit: "
        "\"67108864\"\n"
        "    networks:\n      default: null\n    ports:\n      - mode: ingress\n        target: 80\n"
        "        published: \"8080\"\n        protocol: tcp\n    stop_grace_period: 1m30s\n    tty: true\n"
        "    volumes:\n      - type: bind\n        source: %s/x\n        target: /y\n"
        "        read_only: true\n        bind:\n          create_host_path: true\n"
        "  b:\n    depends_on:\n      a:\n        condition: service_started\n        restart: true\n"
        "        required: true\n    image: x:7\n    links:\n      - a\n"
        "    networks:\n      default: null\nnetworks:\n  default:\n    name: app_default\n",
        p.dir, p.dir);
    assert_string_equal(text, wanted);
    assert_non_null(strstr(json, "\"cpus\":0.5,\"command\":[\"sh\",\"-c\",\"a b\"],\"entrypoint\":null"));
    assert_non_null(strstr(json, "\"target\":80,\"published\":\"8080\""));
    assert_non_null(strstr(json, "\"E\":null,\"N\":\"1\",\"T\":\"true\"},\"mem_limit\":\"67108864\""));
    end(&p);
}

/* The digests are those that docker compose 2.26.1 prints for the same file. */
static void digests_are_those_of_docker_compose(void **state)
{
    struct place p;
    begin(&p);
    assert_ok(load_text(&p,
                        "services:\n  a: {image: x}\n  b: {image: 'y<&>', command: sh -c 'a b', cpus: 0.1}\n"
                        "  c: {image: z, depends_on: [a], mem_limit: 1g, scale: 3, build: .}\n"),
              &p.err);
    assert_string_equal(compose_find_service(p.project, "a")->hash,
                        "d5457d0b2799957b606d2ac4ed52d85a1e75799490e56229948300b9a59e8953");
    assert_string_equal(compose_find_service(p.project, "b")->hash,
                        "c4b23460987129a4480dabcb590d842698646c0c0036303c85a07bcb618fab5d");
    assert_string_equal(compose_find_service(p.project, "c")->hash,
                        "6417798f77d2326469b27589d5f84614080066dc2f1d208dc8cebb58dffa8d58");
    end(&p);
}

/* Loads tests/compose/NAME and compares what it comes to with NAME/expected.yaml, where DIR stands for its
 * directory. With UPDATE=1 in the environment, writes that file instead. */
static void check_collected(const char *top, const char *name)
{
    static const char *const no_environment[] = {"HOME=/home/me", NULL};
    _cleanup_free_ char *dir = str_printf("%s/%s", top, name),
                        *wanted_path = str_printf("%s/expected.yaml", dir);
    const struct compose_options options = {.cwd = dir, .environ = (char *const *)no_environment};
    _cleanup_compose_ struct compose_project *p = NULL;
    _cleanup_str_ struct str problems = STR_INIT, wanted = STR_INIT, got = STR_INIT;
    struct err err;
    if (compose_load(&options, &p, &problems, &err) < 0)
        fail_msg("%s: %s", name, str_get(&problems));
    _cleanup_free_ char *text = rendered(p, false);
    for (const char *at = text; *at;) {
        const char *here = strstr(at, dir);
        str_addn(&got, at, here ? (size_t)(here - at) : strlen(at));
        str_add(&got, here ? "DIR" : "");
        at = here ? here + strlen(dir) : "";
    }
    if (getenv("UPDATE"))
        assert_ok(file_replace(wanted_path, got.data, got.len, 0644, false, &err), &err);
    assert_ok(file_read(wanted_path, 1 << 20, &wanted, &err), &err);
    if (strcmp(str_get(&got), str_get(&wanted)) != 0)
        fail_msg("%s comes to:\n%s", name, str_get(&got));
}

static void the_collected_projects_come_to_what_is_expected(void **state)
{
    int count = 0;
    _cleanup_free_ char *top = realpath(COMPOSE_COLLECTION, NULL);
    DIR *dir = opendir(top);
    struct dirent *entry;
    assert_non_null(dir);
    while ((entry = readdir(dir)))
        if (entry->d_name[0] != '.') {
            check_collected(top, entry->d_name);
            count++;
        }
    closedir(dir);
    assert_true(count >= 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_has_its_type_and_every_default_is_said),
        cmocka_unit_test(digests_are_those_of_docker_compose),
        cmocka_unit_test(the_collected_projects_come_to_what_is_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
