/* A Compose file as services of a swarm: bodies of the API, in the order of dependencies; what cannot be is
 * named. */
#include "compose_place.h"

#include "compose/stack.h"

static const char whole[] =
    "services:\n"
    "  web:\n"
    "    image: web:1\n    entrypoint: /bin/sh -c\n    command: [run, a b]\n    environment: {B: two, A: "
    "'1'}\n"
    "    ports: ['8080:80', {target: 90, published: '9090', mode: host, protocol: udp}]\n"
    "    volumes: ['data:/data', '/etc:/host:ro', {type: tmpfs, target: /t, tmpfs: {size: 1m}}]\n"
    "    networks: {front: {aliases: [www]}}\n    depends_on: {job: {condition: "
    "service_completed_successfully}}\n"
    "    healthcheck: {test: [CMD, 'true'], interval: 5s, retries: 2}\n    ulimits: {nofile: {soft: 10, "
    "hard: 20}}\n"
    "    secrets: [key, {source: key, target: other, mode: 0400, uid: '3'}]\n    extra_hosts: ['h:1.2.3.4']\n"
    "    stop_grace_period: 20s\n    platform: linux/amd64\n    tmpfs: [/run]\n    cpus: 1.5\n"
    "    deploy: {replicas: 3, labels: {l: v}, restart_policy: {condition: on-failure, delay: 2s, "
    "max_attempts: 3},\n"
    "      update_config: {parallelism: 2, delay: 1s, order: start-first, max_failure_ratio: 0.1},\n"
    "      resources: {limits: {memory: 50M, pids: 10}, reservations: {cpus: '0.25'}},\n"
    "      placement: {constraints: [node.role==manager], preferences: [{spread: node.labels.z}], "
    "max_replicas_per_node: 2}}\n"
    "  job: {image: job, networks: [front]}\n"
    "networks: {front: {driver_opts: {a: b}, ipam: {config: [{subnet: 10.9.0.0/24}]}}, unused: {}}\nvolumes: "
    "{data: }\n"
    "secrets: {key: {environment: TAG}, unused: {environment: NOT_SET}}\n";

static int make(struct place *p, struct stack *ret)
{
    struct map environ = MAP_INIT(NULL);
    map_put(&environ, "TAG", (void *)"7");
    int r = compose_stack(p->project, &environ, true, ret, &p->problems, &p->err);
    map_done(&environ);
    return r;
}

static void assert_part(const json_t *value, const char *key, const char *wanted)
{
    const json_t *part = json_object_get(value, key);
    _cleanup_free_ char *text =
        part ? json_dumps(part, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : mem_strdup("absent");
    assert_string_equal(text, wanted);
}

static void a_file_becomes_bodies_of_the_api(void **state)
{
    struct place p;
    struct stack s = {0};
    begin(&p);
    assert_ok(load_text(&p, whole), &p.err);
    str_clear(&p.problems);
    assert_ok(make(&p, &s), &p.err);
    assert_int_equal(s.service_count, 2);
    assert_string_equal(s.services[0].name, "app_job");
    assert_string_equal(s.services[1].name, "app_web");
    const json_t *spec = s.services[1].spec, *template = json_object_get(spec, "TaskTemplate"),
                 *container = json_object_get(template, "ContainerSpec");
    assert_part(container, "Image", "\"web:1\"");
    assert_part(container, "Command", "[\"/bin/sh\",\"-c\"]");
    assert_part(container, "Args", "[\"run\",\"a b\"]");
    assert_part(container, "Env", "[\"A=1\",\"B=two\"]");
    assert_part(container, "Hosts", "[\"1.2.3.4 h\"]");
    assert_part(container, "StopGracePeriod", "20000000000");
    assert_part(container, "Healthcheck",
                "{\"Interval\":5000000000,\"Retries\":2,\"Test\":[\"CMD\",\"true\"]}");
    assert_part(container, "Ulimits", "[{\"Hard\":20,\"Name\":\"nofile\",\"Soft\":10}]");
    assert_part(
        container, "Mounts",
        "[{\"Source\":\"app_data\",\"Target\":\"/"
        "data\",\"Type\":\"volume\",\"VolumeOptions\":{\"Labels\":{\"com.docker."
        "stack.namespace\":\"app\"}}},{\"ReadOnly\":true,\"Source\":\"/etc\",\"Target\":\"/"
        "host\",\"Type\":\"bind\"},{"
        "\"Target\":\"/t\",\"TmpfsOptions\":{\"SizeBytes\":1048576},\"Type\":\"tmpfs\"},{\"Target\":\"/"
        "run\",\"Type\":"
        "\"tmpfs\"}]");
    assert_part(
        container, "Secrets",
        "[{\"File\":{\"GID\":\"0\",\"Mode\":292,\"Name\":\"key\",\"UID\":\"0\"},\"SecretID\":\"\","
        "\"SecretName\":\"app_"
        "key\"},{\"File\":{\"GID\":\"0\",\"Mode\":256,\"Name\":\"other\",\"UID\":\"3\"},\"SecretID\":\"\","
        "\"SecretName\":\"app_key\"}]");
    assert_part(template, "Networks", "[{\"Aliases\":[\"www\",\"web\"],\"Target\":\"app_front\"}]");
    assert_part(template, "Resources",
                "{\"Limits\":{\"MemoryBytes\":52428800,\"NanoCPUs\":1500000000,\"Pids\":10},\"Reservations\":"
                "{\"NanoCPUs\":"
                "250000000}}");
    assert_part(template, "RestartPolicy",
                "{\"Condition\":\"on-failure\",\"Delay\":2000000000,\"MaxAttempts\":3}");
    assert_part(template, "Placement",
                "{\"Constraints\":[\"node.role==manager\"],\"MaxReplicas\":2,\"Platforms\":[{"
                "\"Architecture\":\"amd64\",\"OS\":"
                "\"linux\"}],\"Preferences\":[{\"Spread\":{\"SpreadDescriptor\":\"node.labels.z\"}}]}");
    assert_part(spec, "Mode", "{\"Replicated\":{\"Replicas\":3}}");
    assert_part(spec, "UpdateConfig",
                "{\"Delay\":1000000000,\"FailureAction\":\"pause\",\"MaxFailureRatio\":0.10000000000000001,"
                "\"Order\":\"start-"
                "first\",\"Parallelism\":2}");
    assert_part(spec, "EndpointSpec",
                "{\"Mode\":\"vip\",\"Ports\":[{\"Protocol\":\"tcp\",\"PublishMode\":\"ingress\","
                "\"PublishedPort\":8080,"
                "\"TargetPort\":80},{\"Protocol\":\"udp\",\"PublishMode\":\"host\",\"PublishedPort\":9090,"
                "\"TargetPort\":90}]}");
    /* Others wait for it to complete: it is not begun again then. */
    assert_part(json_object_get(s.services[0].spec, "TaskTemplate"), "RestartPolicy",
                "{\"Condition\":\"on-failure\",\"MaxAttempts\":0}");
    assert_int_equal(s.network_count, 1);
    assert_part(s.networks[0].body, "IPAM", "{\"Config\":[{\"Subnet\":\"10.9.0.0/24\"}]}");
    assert_int_equal(s.secret_count, 1); /* what nobody uses is not read */
    assert_part(s.secrets[0].body, "Data", "\"Nw==\"");
    compose_stack_done(&s);
    end(&p);
}

static void what_cannot_be_is_named_at_once(void **state)
{
    struct place p;
    struct stack s = {0};
    begin(&p);
    assert_ok(
        load_text(
            &p,
            "services:\n  a: {image: x, privileged: true, pid: host, ports: ['127.0.0.1:1:1', '80-81:80'],\n"
            "      secrets: [k], tmpfs: ['/a:size=1m'], networks: {n: {ipv4_address: 10.9.0.2}}}\n"
            "secrets: {k: {environment: HOME}}\nnetworks: {n: {driver: macvlan}}\n"),
        &p.err);
    str_clear(&p.problems);
    assert_int_equal(make(&p, &s), -ERR_INVALID);
    static const char *const wanted[] = {
        "services.a.privileged: is not for",       "services.a.pid: is not for",
        "services.a.ports: 127.0.0.1: a service",  "services.a.ports: published: \"80-81\"",
        "secrets.k: the variable HOME is not set", "services.a.tmpfs: /a:size=1m",
        "services.a.networks: n.ipv4_address",     "networks.n.driver: \"macvlan\""};
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        if (!strstr(str_get(&p.problems), wanted[i]))
            fail_msg("no \"%s\" in:\n%s", wanted[i], str_get(&p.problems));
    end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_becomes_bodies_of_the_api),
        cmocka_unit_test(what_cannot_be_is_named_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
