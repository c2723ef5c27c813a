/* Several files as one model: extends, include, merging; and every key as the engine is asked for it. */
#include "compose_place.h"

#include "compose/schema.h"

static void a_service_extends_others_in_its_own_and_in_other_files(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "base/common.yaml",
        "services:\n  root: {image: r, environment: {A: root, B: root}, volumes: ['./src:/src']}\n"
        "  mid: {extends: root, environment: {B: mid}, command: [mid], ports: ['1:1']}\n");
    assert_ok(load_text(&p, "services:\n  web:\n    extends: {file: base/common.yaml, service: mid}\n"
                            "    environment: {C: web}\n    ports: !reset []\n"
                            "  again: {extends: web, image: other}\n"),
              &p.err);
    assert_body(&p, "web", "Image", "\"r\"");
    assert_body(&p, "web", "Env", "[\"A=root\",\"B=mid\",\"C=web\"]");
    assert_body(&p, "web", "Cmd", "[\"mid\"]");
    assert_body(&p, "web", "HostConfig PortBindings", "nothing");
    _cleanup_free_ char *binds = str_printf("[\"%s/base/src:/src:rw\"]", p.dir);
    assert_body(&p, "web", "HostConfig Binds", binds);
    assert_body(&p, "again", "Image", "\"other\"");
    assert_body(&p, "again", "Env", "[\"A=root\",\"B=mid\",\"C=web\"]");
    end(&p);
}

static void mistakes_of_extends_are_named(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "b.yaml", "services:\n  b: {extends: {file: compose.yaml, service: a}}\n");
    put(&p, "bad.yaml", "services:\n  b: {imag: x}\n");
    assert_refused(&p, "services:\n  a: {extends: {file: b.yaml, service: b}}\n",
                   "in a circle: a (compose.yaml) -> b (b.yaml) -> a");
    assert_refused(
        &p, "services:\n  a: {image: x, extends: nobody}\n",
        "compose.yaml:2:26: services.a.extends: refers to service \"nobody\", which is not in compose.yaml");
    assert_refused(&p, "services:\n  a: {image: x, extends: {file: none.yaml, service: b}}\n", "none.yaml");
    assert_refused(&p, "services:\n  a: {image: x, extends: {file: b.yaml}}\n", "has no \"service\"");
    assert_refused(&p, "services:\n  a: {image: x, extends: {file: bad.yaml, service: b}}\n", "bad.yaml:2:7");
    end(&p);
}

static void an_include_brings_its_files_with_their_own_directory_and_variables(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "db/compose.yaml",
        "services:\n  db: {image: 'db:${DB_TAG}', volumes: ['./conf:/conf', 'data:/data'], hostname: "
        "'${TAG}'}\n"
        "volumes: {data: }\n");
    put(&p, "db/.env", "DB_TAG=16\nTAG=inner\n");
    put(&p, "cache/one.yaml", "services: {cache: {image: 'c:${V}', volumes: ['./x:/x']}}\n");
    put(&p, "cache/two.yaml", "services: {cache: {tty: true}}\n");
    put(&p, "cache.env", "V=9\n");
    put(&p, "over.yaml", "services: {db: {tty: true, hostname: over}}\n");
    put(&p, "compose.yaml",
        "include:\n  - db/compose.yaml\n  - path: [cache/one.yaml, cache/two.yaml]\n    env_file: cache.env\n"
        "    project_directory: elsewhere\nservices:\n  web: {image: w, depends_on: [db, cache]}\n");
    assert_ok(load(&p, "over.yaml"), &p.err);
    assert_body(&p, "db", "Image", "\"db:16\"");
    assert_body(&p, "db", "Hostname", "\"over\"");
    _cleanup_free_ char *binds = str_printf("[\"%s/db/conf:/conf:rw\",\"app_data:/data:rw\"]", p.dir);
    assert_body(&p, "db", "HostConfig Binds", binds);
    assert_body(&p, "cache", "Image", "\"c:9\"");
    assert_body(&p, "cache", "Tty", "true");
    _cleanup_free_ char *elsewhere = str_printf("[\"%s/elsewhere/x:/x:rw\"]", p.dir);
    assert_body(&p, "cache", "HostConfig Binds", elsewhere);
    end(&p);
}

static void mistakes_of_include_are_named(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "a.yaml", "include: [b.yaml]\nservices: {a: {image: x}}\n");
    put(&p, "b.yaml", "include: [a.yaml]\nservices: {b: {image: x}}\n");
    put(&p, "same.yaml", "services: {web: {image: x}}\n");
    assert_refused(&p, "include: [a.yaml]\n",
                   "b.yaml:1:11: include[0]: files include each other in a circle");
    assert_refused(&p, "include: [none.yaml]\nservices: {a: {image: x}}\n",
                   "compose.yaml:1:11: include[0]: ");
    assert_refused(&p, "include: [same.yaml]\nservices: {web: {image: y}}\n",
                   "compose.yaml:2:12: services.web: is defined in the included same.yaml:1 too");
    assert_ok(load_text(&p, "include: [same.yaml]\nservices: {web: {image: x}}\n"), &p.err);
    assert_refused(&p, "include: ['https://example.org/c.yaml']\n", "only local files can be included");
    end(&p);
}

static void files_without_end_are_bounded(void **state)
{
    struct place p;
    _cleanup_str_ struct str text = STR_INIT;
    begin(&p);
    /* Each level extends the one before it twice as far. */
    str_add(&text, "services:\n  s0: {image: x}\n");
    for (int i = 1; i < 60; i++)
        str_addf(&text, "  s%d: {extends: s%d}\n", i, i + 1);
    str_add(&text, "  s60: {image: x}\n");
    assert_refused(&p, str_get(&text), "services extend one another");
    str_clear(&text);
    str_add(&text, "x-e: &e {");
    for (int i = 0; i < 3000; i++)
        str_addf(&text, "A%d: b, ", i);
    str_add(&text, "Z: z}\nservices:\n  s0: {image: x, environment: *e}\n");
    for (int i = 1; i < 100; i++)
        str_addf(&text, "  s%d: {extends: s0}\n", i);
    assert_refused(&p, str_get(&text), "values in all files together");
    str_clear(&text);
    for (int i = 0; i < 300; i++) {
        _cleanup_free_ char *name = str_printf("f%d.yaml", i);
        put(&p, name, "x-nothing: 1\n");
        str_addf(&text, "%s%s", i ? ", " : "include: [", name);
    }
    str_add(&text, "]\nservices: {a: {image: x}}\n");
    assert_refused(&p, str_get(&text), "files in one project");
    end(&p);
}

static void every_key_of_the_engine_is_passed_to_it(void **state)
{
    static const struct {
        const char *key, *path, *wanted;
    } cases[] = {
        {"annotations: [a=b]", "HostConfig Annotations", "{\"a\":\"b\"}"},
        {"cgroup: host", "HostConfig CgroupnsMode", "\"host\""},
        {"cgroup_parent: /x", "HostConfig CgroupParent", "\"/x\""},
        {"cpu_rt_period: 1ms", "HostConfig CpuRealtimePeriod", "1000"},
        {"cpu_rt_runtime: 95", "HostConfig CpuRealtimeRuntime", "95"},
        {"device_cgroup_rules: ['c 1:3 mr']", "HostConfig DeviceCgroupRules", "[\"c 1:3 mr\"]"},
        {"mem_swappiness: 7", "HostConfig MemorySwappiness", "7"},
        {"oom_kill_disable: true", "HostConfig OomKillDisable", "true"},
        {"oom_score_adj: -5", "HostConfig OomScoreAdj", "-5"},
        {"storage_opt: {size: 1G}", "HostConfig StorageOpt", "{\"size\":\"1G\"}"},
        {"uts: host", "HostConfig UTSMode", "\"host\""},
        {"gpus: all", "HostConfig DeviceRequests",
         "[{\"Driver\":\"\",\"Count\":-1,\"DeviceIDs\":[],\"Capabilities\":[[\"gpu\"]],\"Options\":{}}]"},
        {"deploy: {resources: {reservations: {devices: [{capabilities: [tpu], count: 2}]}}}",
         "HostConfig DeviceRequests",
         "[{\"Driver\":\"\",\"Count\":2,\"DeviceIDs\":[],\"Capabilities\":[[\"tpu\"]],\"Options\":{}}]"},
        {"blkio_config: {weight: 300, device_read_bps: [{path: /dev/a, rate: 1m}]}",
         "HostConfig BlkioDeviceReadBps", "[{\"Path\":\"/dev/a\",\"Rate\":1048576}]"},
        {"blkio_config: {weight: 300}", "HostConfig BlkioWeight", "300"},
        {"devices: ['/dev/fuse:/dev/f:r', {source: /dev/null}]", "HostConfig Devices",
         "[{\"PathOnHost\":\"/dev/fuse\",\"PathInContainer\":\"/dev/f\",\"CgroupPermissions\":\"r\"},"
         "{\"PathOnHost\":\"/dev/null\",\"PathInContainer\":\"/dev/null\",\"CgroupPermissions\":\"rwm\"}]"},
        {"expose: ['8000-8001', 53/udp]", "ExposedPorts", "{\"8000/tcp\":{},\"8001/tcp\":{},\"53/udp\":{}}"},
        {"ports: [{target: 80, published: '8000-8010', mode: host, name: web, app_protocol: http}]",
         "HostConfig PortBindings", "{\"80/tcp\":[{\"HostIp\":\"\",\"HostPort\":\"8000-8010\"}]}"},
        {"volumes: [{type: volume, source: v, target: /d, volume: {subpath: a, nocopy: true}}]",
         "HostConfig Mounts",
         "[{\"Type\":\"volume\",\"Target\":\"/d\",\"ReadOnly\":false,\"Source\":\"app_v\","
         "\"VolumeOptions\":{\"NoCopy\":true,\"Subpath\":\"a\"}}]"},
        {"volumes: [{type: image, source: busybox, target: /i, image: {subpath: bin}}]", "HostConfig Mounts",
         "[{\"Type\":\"image\",\"Target\":\"/i\",\"ReadOnly\":false,\"Source\":\"busybox\","
         "\"ImageOptions\":{\"Subpath\":\"bin\"}}]"},
        {"volumes: ['/a:/b:ro,z']", "HostConfig Binds", "[\"/a:/b:ro,z\"]"},
        {"use_api_socket: true", "HostConfig Binds", "[\"/run/drover.sock:/var/run/docker.sock\"]"},
        {"healthcheck: {test: t, start_interval: 2s}", "Healthcheck",
         "{\"Test\":[\"CMD-SHELL\",\"t\"],\"StartInterval\":2000000000}"},
        {"label_file: l.env\n    labels: {b: own}", "Labels b", "\"own\""},
        {"label_file: [l.env]", "Labels a", "\"from file\""},
        {"env_file: [{path: raw.env, format: raw}, {path: none, required: false}]", "Env",
         "[\"R='$x' # y\"]"},
        {"deploy: {restart_policy: {condition: on-failure, max_attempts: 3}}", "HostConfig RestartPolicy",
         "{\"Name\":\"on-failure\",\"MaximumRetryCount\":3}"},
    };
    struct place p;
    begin(&p);
    put(&p, "l.env", "a=from file\nb=file\n");
    put(&p, "raw.env", "# note\nR='$x' # y\n");
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_free_ char *text =
            str_printf("services:\n  a:\n    image: x\n    %s\nvolumes: {v: }\n", cases[i].key);
        assert_ok(load_text(&p, text), &p.err);
        assert_body(&p, "a", cases[i].path, cases[i].wanted);
    }
    end(&p);
}

static void networks_are_joined_with_all_their_settings(void **state)
{
    struct place p;
    begin(&p);
    assert_ok(
        load_text(
            &p, "services:\n  a:\n    image: x\n    mac_address: '02:00:00:00:00:01'\n    networks:\n"
                "      n: {ipv4_address: 10.1.0.2, ipv6_address: 'fd00::2', link_local_ips: [169.254.1.1],\n"
                "          driver_opts: {o: v}, gw_priority: 5, interface_name: eth7, aliases: [b]}\n"
                "networks:\n  n: {driver: macvlan, enable_ipv6: true, enable_ipv4: false, attachable: true,\n"
                "      internal: true, ipam: {driver: d, options: {x: y}, config: [{subnet: 10.1.0.0/16,\n"
                "      ip_range: 10.1.1.0/24, gateway: 10.1.0.1, aux_addresses: {h: 10.1.0.9}}]}}\n"),
        &p.err);
    const struct compose_service *a = compose_find_service(p.project, "a");
    _cleanup_free_ char *endpoint = json_format(json_object_get(a->endpoints, "app_n"));
    assert_string_equal(endpoint,
                        "{\"Aliases\":[\"a\",\"b\"],\"IPAMConfig\":{\"IPv4Address\":\"10.1.0.2\","
                        "\"IPv6Address\":\"fd00::2\",\"LinkLocalIPs\":[\"169.254.1.1\"]},"
                        "\"DriverOpts\":{\"o\":\"v\",\"com.docker.network.endpoint.ifname\":\"eth7\"},"
                        "\"MacAddress\":\"02:00:00:00:00:01\",\"GwPriority\":5}");
    json_t *network = json_deep_copy(p.project->networks[0].body);
    json_object_del(network, "Labels");
    _cleanup_free_ char *body = json_format(network);
    json_decref(network);
    assert_string_equal(
        body, "{\"Name\":\"app_n\",\"Driver\":\"macvlan\",\"CheckDuplicate\":true,\"Internal\":true,"
              "\"Options\":{},\"Attachable\":true,\"EnableIPv4\":false,\"EnableIPv6\":true,"
              "\"IPAM\":{\"Driver\":\"d\",\"Config\":[{\"Subnet\":\"10.1.0.0/16\","
              "\"Gateway\":\"10.1.0.1\",\"IPRange\":\"10.1.1.0/24\","
              "\"AuxiliaryAddresses\":{\"h\":\"10.1.0.9\"}}],\"Options\":{\"x\":\"y\"}}}");
    end(&p);
}

static void secrets_and_configs_that_are_no_plain_files_are_copied(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "s.txt", "one");
    const char *text =
        "services:\n  a:\n    image: x\n    secrets: [{source: f, uid: '5', gid: '6', mode: 0440}, e]\n"
        "    configs: [{source: c, target: /etc/c}, g]\n"
        "secrets: {f: {file: s.txt}, e: {environment: TAG}}\n"
        "configs: {c: {content: 'v=${TAG}'}, g: {file: ./s.txt}}\n";
    assert_ok(load_text(&p, text), &p.err);
    const struct compose_service *a = compose_find_service(p.project, "a");
    assert_int_equal(a->copy_count, 3);
    assert_string_equal(a->copies[0].target, "/run/secrets/f");
    assert_int_equal(a->copies[0].uid, 5);
    assert_int_equal(a->copies[0].gid, 6);
    assert_int_equal(a->copies[0].mode, 0440);
    assert_non_null(strstr(a->copies[0].file, "/app/s.txt"));
    assert_string_equal(a->copies[1].content, "7");
    assert_int_equal(a->copies[1].mode, 0444);
    assert_string_equal(a->copies[2].target, "/etc/c");
    assert_string_equal(a->copies[2].content, "v=7");
    _cleanup_free_ char *mounts = str_printf(
        "[{\"Type\":\"bind\",\"Source\":\"%s/s.txt\",\"Target\":\"/g\",\"ReadOnly\":true}]", p.dir);
    assert_body(&p, "a", "HostConfig Mounts", mounts);
    /* What is in them counts for whether a container is still the right one. */
    _cleanup_free_ char *before = mem_strdup(a->extra);
    put(&p, "s.txt", "two");
    assert_ok(load(&p, NULL), &p.err);
    assert_string_not_equal(before, compose_find_service(p.project, "a")->extra);
    assert_refused(&p,
                   "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {external: true, content: x}}\n",
                   "is external, and so has no content here");
    static const char outside[] = "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {external: true}}\n";
    p.check_files = true; /* containers are to be made of it */
    assert_refused(&p, outside, "there is no store of secrets and configs on one machine");
    p.stack = true; /* of a swarm, which has one */
    assert_ok(load_text(&p, outside), &p.err);
    assert_int_equal(compose_find_service(p.project, "a")->copy_count, 0);
    p.check_files = p.stack = false;
    assert_refused(&p, "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: NOT_SET}}\n",
                   "the environment variable NOT_SET is not set");
    assert_refused(&p,
                   "services: {a: {image: x, secrets: [{source: s, mode: 9}]}}\nsecrets: {s: {content: x}}\n",
                   "must be an octal mode");
    end(&p);
}

static void assert_words(char *const *list, const char *wanted)
{
    _cleanup_free_ char *joined = strv_join((char **)list, " ");
    assert_string_equal(joined, wanted);
}

static void a_build_is_given_what_drover_build_takes(void **state)
{
    struct place p;
    begin(&p);
    put(&p, "s.txt", "one");
    assert_ok(load_text(&p, "services:\n  a:\n    build:\n      context: .\n      privileged: true\n"
                            "      entitlements: [network.host]\n      ssh: [default, k=./agent.sock]\n"
                            "      secrets: [f, {source: e, target: id}]\n"
                            "      additional_contexts: [d=../d, base=service:b, i=docker-image://x:1]\n"
                            "  b: {build: {context: b, additional_contexts: {o: 'oci-layout:///o'}}}\n"
                            "secrets: {f: {file: s.txt}, e: {environment: TAG}}\n"),
              &p.err);
    const struct compose_build *a = &compose_find_service(p.project, "a")->build;
    _cleanup_free_ char *agents = str_printf("default k=%s/agent.sock", p.dir);
    _cleanup_free_ char *contexts =
        str_printf("d=%s/d base=docker-image://app-b i=docker-image://x:1", p.root);
    assert_words(a->agents, agents);
    assert_words(a->contexts, contexts);
    assert_words(a->allow, "network.host security.insecure");
    assert_words(a->bases, "b");
    assert_int_equal(a->depth, 1);
    assert_int_equal(a->secret_count, 2);
    assert_string_equal(a->secrets[0].id, "f");
    assert_non_null(strstr(a->secrets[0].file, "/app/s.txt"));
    assert_string_equal(a->secrets[1].id, "id");
    assert_string_equal(a->secrets[1].content, "7");
    assert_int_equal(compose_find_service(p.project, "b")->build.depth, 0);
    assert_words(compose_find_service(p.project, "b")->build.contexts, "o=oci-layout:///o");
    end(&p);
}

static void builds_that_cannot_be_are_refused_with_their_place(void **state)
{
    static const struct {
        const char *build, *message;
    } refused[] = {
        {"secrets: [s]",
         "services.a.build.secrets[0]: refers to \"s\", which is not defined under \"secrets:\""},
        {"entitlements: [device]",
         "services.a.build.entitlements[0]: must be security.insecure or network.host"},
        {"additional_contexts: {c: 'ftp://example.org/x'}",
         "compose.yaml:5:32: services.a.build.additional_contexts.c: must be a directory, the URL"},
        {"additional_contexts: {c: 'service:none'}", "refers to service \"none\", which is not defined"},
        {"additional_contexts: {c: 'service:a'}", "a build cannot stand on its own image"},
        {"additional_contexts: {c: 'service:b'}",
         "the builds of these services stand on each other in a circle"},
        {"sbom: generator=x", "must be true or false"},
        {"provenance: max", "must be true or false, or mode=min or mode=max"},
    };
    struct place p;
    begin(&p);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        _cleanup_free_ char *text =
            str_printf("services:\n  b: {build: {additional_contexts: {x: 'service:a'}}}\n  a:\n    build:\n"
                       "      %s\n",
                       refused[i].build);
        assert_refused(&p, text, refused[i].message);
    }
    end(&p);
}

static void hooks_and_watches_are_read(void **state)
{
    struct place p;
    begin(&p);
    assert_ok(load_text(&p,
                        "services:\n  a:\n    build: .\n    image: x\n"
                        "    post_start: [{command: 'sh -c \"echo a\"', user: root, environment: [A=1]}]\n"
                        "    pre_stop: [{command: [bye], privileged: true, working_dir: /w}]\n"
                        "    develop:\n      watch:\n"
                        "        - {path: ./src, action: sync+exec, target: /app, ignore: node_modules, "
                        "exec: {command: reload}}\n"
                        "        - {path: Dockerfile, action: rebuild}\n"),
              &p.err);
    const struct compose_service *a = compose_find_service(p.project, "a");
    _cleanup_free_ char *start = json_format(a->post_start[0].body), *stop = json_format(a->pre_stop[0].body);
    assert_string_equal(start, "{\"AttachStdout\":true,\"AttachStderr\":true,\"Privileged\":false,"
                               "\"Cmd\":[\"sh\",\"-c\",\"echo a\"],\"User\":\"root\",\"Env\":[\"A=1\"]}");
    assert_string_equal(stop,
                        "{\"AttachStdout\":true,\"AttachStderr\":true,\"Privileged\":true,\"Cmd\":[\"bye\"],"
                        "\"WorkingDir\":\"/w\"}");
    assert_int_equal(a->watch_count, 2);
    _cleanup_free_ char *src = str_printf("%s/src", p.dir);
    assert_string_equal(a->watch[0].path, src);
    assert_string_equal(a->watch[0].ignore[0], "node_modules");
    assert_non_null(a->watch[0].exec);
    assert_refused(&p, "services: {a: {image: x, develop: {watch: [{path: ., action: rebuild}]}}}\n",
                   "rebuild needs a \"build\" key");
    assert_refused(&p, "services: {a: {image: x, develop: {watch: [{path: ., action: sync}]}}}\n",
                   "sync needs an absolute \"target\"");
    end(&p);
}

static void what_the_engine_refuses_is_blamed_on_a_line(void **state)
{
    struct place p;
    struct err err;
    begin(&p);
    assert_ok(load_text(&p, "services:\n  a:\n    image: x\n    cpu_rt_period: 5\n    gpus: all\n"), &p.err);
    const struct compose_service *a = compose_find_service(p.project, "a");
    err_set(&err, ERR_UNSUPPORTED, "\"HostConfig.CpuRealtimePeriod\" is not supported");
    compose_blame(a, &err);
    assert_string_equal(err.msg, "compose.yaml:4:20: services.a.cpu_rt_period: "
                                 "\"HostConfig.CpuRealtimePeriod\" is not supported");
    err_set(&err, ERR_UNSUPPORTED, "\"HostConfig.DeviceRequests\" is not supported");
    compose_blame(a, &err);
    assert_string_equal(err.msg,
                        "compose.yaml:5:11: services.a.gpus: \"HostConfig.DeviceRequests\" is not supported");
    err_set(&err, ERR_CONFLICT, "the name \"x\" is taken");
    compose_blame(a, &err);
    assert_string_equal(err.msg, "the name \"x\" is taken");
    end(&p);
}

static void what_has_no_effect_here_is_noted_and_what_is_refused_says_why(void **state)
{
    static const struct {
        const char *key, *message;
    } refused[] = {
        {"models: [m]", "there is no runner of models"},
        {"provider: {type: x}", "run the service as a container"},
        {"credential_spec: {file: x}", "it is for Windows"},
        {"build: {context: ., platforms: [linux/amd64, linux/arm64]}\n    platform: linux/riscv64",
         "does not have the service's platform linux/riscv64"},
        {"build: {context: 'ftp://example.org/x.tar'}",
         "must be a directory, or the URL of a git repository"},
        {"pull_policy: sometimes", "must be always, missing"},
        {"deploy: {mode: global-job}", "one of replicated, global"},
        {"mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}",
         "services.a.mem_limit: contradicts"},
        {"pids_limit: 3\n    deploy: {resources: {limits: {pids: 4}}}", "services.a.pids_limit: contradicts"},
        {"cpus: 1\n    deploy: {resources: {limits: {cpus: '0.5'}}}", "services.a.cpus: contradicts"},
        {"extra_hosts: {h: {a: b}}", "services.a.extra_hosts.h: must be a string, not a mapping"},
        {"gpus: some", "must be all or a list"},
        {"devices: [vendor.com/class=gpu]", "is not a device"},
    };
    struct place p;
    begin(&p);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
        _cleanup_free_ char *text = str_printf("services:\n  a:\n    image: x\n    %s\n", refused[i].key);
        assert_refused(&p, text, refused[i].message);
    }
    assert_ok(
        load_text(&p, "services:\n  a:\n    image: x\n    deploy:\n      placement: {constraints: [x]}\n"),
        &p.err);
    assert_non_null(
        strstr(str_get(&p.problems), "compose.yaml:5:7: services.a.deploy.placement: has no effect"));
    end(&p);
}

/* Every key of the specification's schema is in the table: done, without effect, or refused. */
static void collect(json_t *definitions, const json_t *schema, const char *path, int depth, char ***into)
{
    const char *key, *reference = json_str(schema, "$ref");
    json_t *value;
    size_t i;
    if (*reference)
        schema = json_object_get(definitions, strrchr(reference, '/') + 1);
    if (depth > 8 || !schema)
        return;
    json_object_foreach (json_object_get(schema, "properties"), key, value) {
        _cleanup_free_ char *own = str_printf("%s%s%s", path, *path ? "." : "", key);
        strv_add(into, own);
        collect(definitions, value, own, depth + 1, into);
    }
    json_object_foreach (json_object_get(schema, "patternProperties"), key, value) {
        _cleanup_free_ char *own = str_printf("%s.NAME", path);
        if (strcmp(key, "^x-") != 0)
            collect(definitions, value, own, depth + 1, into);
    }
    static const char *const choices[] = {"oneOf", "anyOf", "allOf"};
    for (size_t c = 0; c < ARRAY_SIZE(choices); c++)
        json_array_foreach (json_object_get(schema, choices[c]), i, value)
            collect(definitions, value, path, depth + 1, into);
    _cleanup_free_ char *items = str_printf("%s[]", path);
    collect(definitions, json_object_get(schema, "items"), items, depth + 1, into);
}

static void every_key_of_the_specification_is_known(void **state)
{
    char path[512];
    const char *shared = getenv("DROVER_SHARED");
    snprintf(path, sizeof(path), "%s/data/schemas/compose-spec.json", shared ? shared : "../shared");
    if (!file_exists(path))
        skip(); /* leaves this function at once */
    _cleanup_json_ json_t *schema = NULL;
    struct err err;
    assert_ok(json_parse_file(path, &schema, &err), &err);
    _cleanup_str_ struct str table = STR_INIT;
    _cleanup_strv_ char **keys = NULL;
    schema_document(&table);
    collect(json_object_get(schema, "definitions"), schema, "", 0, &keys);
    assert_true(strv_len(keys) > 200);
    STRV_FOREACH (key, keys) {
        /* Below a key that is refused as a whole, nothing has to be known. */
        _cleanup_free_ char *line = str_printf("| `%s` |", *key), *cut = mem_strdup(*key);
        bool known = strstr(str_get(&table), line) != NULL;
        for (char *end = cut + strlen(cut); !known && end; end = strrchr(cut, '.')) {
            *end = '\0';
            _cleanup_free_ char *refused = str_printf("| `%.*s` | refused", (int)strcspn(cut, "["), cut);
            known = strstr(str_get(&table), refused) != NULL;
        }
        if (!known)
            fail_msg("%s is not in the table of keys", *key);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_extends_others_in_its_own_and_in_other_files),
        cmocka_unit_test(mistakes_of_extends_are_named),
        cmocka_unit_test(an_include_brings_its_files_with_their_own_directory_and_variables),
        cmocka_unit_test(mistakes_of_include_are_named),
        cmocka_unit_test(files_without_end_are_bounded),
        cmocka_unit_test(every_key_of_the_engine_is_passed_to_it),
        cmocka_unit_test(networks_are_joined_with_all_their_settings),
        cmocka_unit_test(secrets_and_configs_that_are_no_plain_files_are_copied),
        cmocka_unit_test(a_build_is_given_what_drover_build_takes),
        cmocka_unit_test(builds_that_cannot_be_are_refused_with_their_place),
        cmocka_unit_test(hooks_and_watches_are_read),
        cmocka_unit_test(what_the_engine_refuses_is_blamed_on_a_line),
        cmocka_unit_test(what_has_no_effect_here_is_noted_and_what_is_refused_says_why),
        cmocka_unit_test(every_key_of_the_specification_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
