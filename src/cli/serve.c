/* `drover serve`: the daemon. */
#include "cli/serve.h"

#include "api/serve.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
#include "base/timeutil.h"
#include "cli/serve_config.h"
#include "image/insecure.h"
#include "rootless/rootless.h"

#include <getopt.h>
#include <stdio.h>
#include <unistd.h>

static const char help[] =
    "usage: drover serve [OPTIONS]\n"
    "\n"
    "Runs the container engine of this machine behind a unix socket that speaks the Docker Engine API.\n"
    "Containers keep running when it ends. Without root it runs in a user namespace: see docs/rootless.md.\n"
    "\n"
    "  --root DIR                 where everything is kept (default /var/lib/drover;\n"
    "                             without root $XDG_DATA_HOME/drover)\n"
    "  --socket PATH              where to listen (default /run/drover.sock;\n"
    "                             without root $XDG_RUNTIME_DIR/drover.sock)\n"
    "  --docker-socket[=PATH]     listen there too (default /var/run/docker.sock), unless another daemon "
    "does\n"
    "  --group NAME               the sockets' group, mode 0660 (default docker, when there is such a "
    "group)\n"
    "  --insecure-registry HOST   a registry, or a range of addresses (10.0.0.0/8), that may be spoken to\n"
    "                             without TLS; may be given again\n"
    "  --certs-dir DIR            certificates of registries: DIR/HOST[:PORT]/ca.crt\n"
    "                             (default /etc/docker/certs.d)\n"
    "  --signature-policy FILE    whose signatures which images need to be pulled: see docs/registry.md\n"
    "  --registry [HOST:]PORT     also serves a registry (docker push 127.0.0.1:PORT/NAME) on that address\n"
    "  --registry-cert FILE       with TLS: its certificate, and\n"
    "  --registry-key FILE        its key; needed for any other address than this machine's own\n"
    "  --registry-users FILE      who may use it, as htpasswd -B makes the file (default everybody)\n"
    "  --registry-config FILE     its users, rights and rules: see docs/registry.md\n"
    "  --registry-names ORDER     whether names without an address (web:1.4) are this registry's: first\n"
    "                             (default), last (after docker.io), or only\n"
    "  --registry-peers HOST[:PORT],...\n"
    "                             other nodes' registries, asked for names without an address before\n"
    "                             docker.io; may be given again\n"
    "  --add-runtime NAME=PATH    another OCI runtime, for docker run --runtime NAME; may be given again\n"
    "  --default-runtime NAME     what runs containers that name none (default native, which is built in)\n"
    "  --userns-remap WHO         root in a container is an ordinary user here: default, USER[:GROUP] of\n"
    "                             /etc/subuid and /etc/subgid, or FIRST:COUNT\n"
    "  --default-address-pool base=CIDR,size=BITS\n"
    "                             where networks' subnets come from; may be given again\n"
    "  --log-driver NAME          where containers' output goes that name no driver: json-file (default),\n"
    "                             local, journald, syslog, gelf, fluentd or none\n"
    "  --log-opt NAME=VALUE       an option of that driver; may be given again\n"
    "  --build-cache-size SIZE    what the build cache may take (default a tenth of the disk; 0: no bound):\n"
    "                             beyond it goes what was not used for longest\n"
    "  --build-cache-age TIME     what no build has used for so long goes (720h; default never)\n"
    "  --keep-free SIZE|N%        when less of the disk is free, images that nothing uses go, and what "
    "builds\n"
    "                             cached: what was not used for longest first (default: nothing goes)\n"
    "  --keep-image PATTERN       but never those of this name (team/*, web:stable); may be given again\n"
    "  --keep-for TIME            nor what was used, pulled or built within that time (default 2m)\n"
    "  --config-file FILE         options in the form of dockerd's daemon.json\n"
    "                             (default /etc/drover/serve.json, when there is one)\n"
    "  --log-level LEVEL          debug, info (default), warning or error\n"
    "  --help                     this text\n";

enum {
    OPTION_ROOT = 256,
    OPTION_SOCKET,
    OPTION_DOCKER_SOCKET,
    OPTION_GROUP,
    OPTION_INSECURE,
    OPTION_CERTS_DIR,
    OPTION_SIGNATURE_POLICY,
    OPTION_REGISTRY,
    OPTION_REGISTRY_CERT,
    OPTION_REGISTRY_KEY,
    OPTION_REGISTRY_USERS,
    OPTION_REGISTRY_NAMES,
    OPTION_REGISTRY_PEERS,
    OPTION_REGISTRY_CONFIG,
    OPTION_ADD_RUNTIME,
    OPTION_DEFAULT_RUNTIME,
    OPTION_USERNS_REMAP,
    OPTION_ADDRESS_POOL,
    OPTION_CONFIG_FILE,
    OPTION_LOG_DRIVER,
    OPTION_LOG_OPT,
    OPTION_LOG_LEVEL,
    OPTION_CACHE_SIZE,
    OPTION_CACHE_AGE,
    OPTION_KEEP_FREE,
    OPTION_KEEP_IMAGE,
    OPTION_KEEP_FOR,
    OPTION_HELP
};

static const struct option options[] = {
    {"root", required_argument, NULL, OPTION_ROOT},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"docker-socket", optional_argument, NULL, OPTION_DOCKER_SOCKET},
    {"group", required_argument, NULL, OPTION_GROUP},
    {"insecure-registry", required_argument, NULL, OPTION_INSECURE},
    {"certs-dir", required_argument, NULL, OPTION_CERTS_DIR},
    {"signature-policy", required_argument, NULL, OPTION_SIGNATURE_POLICY},
    {"registry", required_argument, NULL, OPTION_REGISTRY},
    {"registry-cert", required_argument, NULL, OPTION_REGISTRY_CERT},
    {"registry-key", required_argument, NULL, OPTION_REGISTRY_KEY},
    {"registry-users", required_argument, NULL, OPTION_REGISTRY_USERS},
    {"registry-config", required_argument, NULL, OPTION_REGISTRY_CONFIG},
    {"registry-names", required_argument, NULL, OPTION_REGISTRY_NAMES},
    {"registry-peers", required_argument, NULL, OPTION_REGISTRY_PEERS},
    {"add-runtime", required_argument, NULL, OPTION_ADD_RUNTIME},
    {"default-runtime", required_argument, NULL, OPTION_DEFAULT_RUNTIME},
    {"userns-remap", required_argument, NULL, OPTION_USERNS_REMAP},
    {"default-address-pool", required_argument, NULL, OPTION_ADDRESS_POOL},
    {"config-file", required_argument, NULL, OPTION_CONFIG_FILE},
    {"log-driver", required_argument, NULL, OPTION_LOG_DRIVER},
    {"log-opt", required_argument, NULL, OPTION_LOG_OPT},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
    {"build-cache-size", required_argument, NULL, OPTION_CACHE_SIZE},
    {"build-cache-age", required_argument, NULL, OPTION_CACHE_AGE},
    {"keep-free", required_argument, NULL, OPTION_KEEP_FREE},
    {"keep-image", required_argument, NULL, OPTION_KEEP_IMAGE},
    {"keep-for", required_argument, NULL, OPTION_KEEP_FOR},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static bool parse_level(const char *text, enum log_level *ret)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(text, names[i])) {
            *ret = (enum log_level)i;
            return true;
        }
    return false;
}

static int wrong_call(const char *format, const char *word)
{
    fprintf(stderr, "drover: serve: ");
    fprintf(stderr, format, word);
    fprintf(stderr, "; see drover serve --help\n");
    return 2;
}

/* The same call again, inside the user's namespaces, where the defaults of root would be meant. */
static int without_root(int argc, char **argv, const struct serve_options *o, struct err *err)
{
    _cleanup_strv_ char **inside = NULL;
    strv_add(&inside, "drover");
    for (int i = 0; i < argc; i++)
        strv_add(&inside, argv[i]);
    strv_take(&inside, str_printf("--root=%s", o->root));
    strv_take(&inside, str_printf("--socket=%s", o->socket));
    return rootless_enter(o->root, true, inside, err);
}

static void add_words(char ***list, const char *text)
{
    _cleanup_strv_ char **words = strv_split(text, ',');
    STRV_FOREACH (word, words)
        strv_add(list, *word);
}

/* What the command line says, before the file is read. */
struct call {
    char **insecure, **registries /* insecure ones, parsed */, **peers, **runtimes, **log_options, **pools;
    const char *config_file, *default_runtime, *userns_remap, *log_driver, *log_level;
};

static void call_done(struct call *c)
{
    strv_free(c->insecure);
    strv_free(c->registries);
    strv_free(c->peers);
    strv_free(c->runtimes);
    strv_free(c->log_options);
    strv_free(c->pools);
}

/* Less than 0: go on; else the exit status. */
static int parse(int argc, char **argv, struct serve_options *o, struct call *call)
{
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "+:", options, NULL)) != -1;) {
        switch (c) {
        case OPTION_ROOT:
            o->root = optarg;
            break;
        case OPTION_SOCKET:
            o->socket = optarg;
            break;
        case OPTION_DOCKER_SOCKET:
            o->docker_socket = optarg ? optarg : "/var/run/docker.sock";
            break;
        case OPTION_GROUP:
            o->group = optarg;
            break;
        case OPTION_INSECURE:
            strv_add(&call->insecure, optarg);
            break;
        case OPTION_CERTS_DIR:
            o->certs_dir = optarg;
            break;
        case OPTION_SIGNATURE_POLICY:
            o->signature_policy = optarg;
            break;
        case OPTION_REGISTRY:
            o->registry.address = optarg;
            break;
        case OPTION_REGISTRY_CERT:
            o->registry.certificate = optarg;
            break;
        case OPTION_REGISTRY_KEY:
            o->registry.key = optarg;
            break;
        case OPTION_REGISTRY_USERS:
            o->registry.users = optarg;
            break;
        case OPTION_REGISTRY_CONFIG:
            o->registry.config = optarg;
            break;
        case OPTION_REGISTRY_NAMES:
            if (!image_own_order_parse(optarg, &o->registry.names))
                return wrong_call("--registry-names must be first, last or only, not \"%s\"", optarg);
            break;
        case OPTION_REGISTRY_PEERS:
            add_words(&call->peers, optarg);
            break;
        case OPTION_ADD_RUNTIME:
            strv_add(&call->runtimes, optarg);
            break;
        case OPTION_ADDRESS_POOL:
            strv_add(&call->pools, optarg);
            break;
        case OPTION_DEFAULT_RUNTIME:
            call->default_runtime = optarg;
            break;
        case OPTION_USERNS_REMAP:
            call->userns_remap = optarg;
            break;
        case OPTION_CONFIG_FILE:
            call->config_file = optarg;
            break;
        case OPTION_LOG_DRIVER:
            call->log_driver = optarg;
            break;
        case OPTION_LOG_OPT:
            strv_add(&call->log_options, optarg);
            break;
        case OPTION_LOG_LEVEL:
            call->log_level = optarg;
            break;
        case OPTION_CACHE_SIZE:
            if (parse_bytes(optarg, &o->build_cache_bytes, NULL) < 0)
                return wrong_call("--build-cache-size must be a size such as 20g, not \"%s\"", optarg);
            break;
        case OPTION_CACHE_AGE:
            if (parse_duration(optarg, &o->build_cache_age_ns, NULL) < 0 || o->build_cache_age_ns < 0)
                return wrong_call("--build-cache-age must be a duration such as 720h, not \"%s\"", optarg);
            break;
        case OPTION_KEEP_FREE:
            if (!keep_free_parse(optarg, &o->keep_free))
                return wrong_call(
                    "--keep-free must be a size such as 20g, or 1%% to 90%% of the disk, not \"%s\"", optarg);
            break;
        case OPTION_KEEP_IMAGE:
            strv_add(&o->keep_free.images, optarg);
            break;
        case OPTION_KEEP_FOR:
            if (parse_duration(optarg, &o->keep_free.unused_for_ns, NULL) < 0 ||
                o->keep_free.unused_for_ns < 0)
                return wrong_call("--keep-for must be a duration such as 24h, not \"%s\"", optarg);
            break;
        case OPTION_HELP:
            fputs(help, stdout);
            return 0;
        case ':':
            return wrong_call("%s needs a value", argv[optind - 1]);
        default:
            return wrong_call("unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc)
        return wrong_call("unexpected argument \"%s\"", argv[optind]);
    if (o->root[0] != '/')
        return wrong_call("--root must be an absolute path, not \"%s\"", o->root);
    return -1;
}

static int insecure_registries(struct call *call, const struct serve_config *config, struct err *err)
{
    STRV_FOREACH (text, config->insecure_registries)
        strv_add(&call->insecure, *text);
    STRV_FOREACH (text, call->insecure) {
        _cleanup_free_ char *entry = NULL;
        int r = insecure_entry_parse(*text, &entry, err);
        if (r < 0)
            return r;
        strv_add(&call->registries, entry);
    }
    return 0;
}

static int configure(struct call *call, struct serve_config *config, struct serve_options *o, struct err *err)
{
    int r = serve_config_load(call->config_file, config, err);
    STRV_FOREACH (text, call->runtimes)
        if (r == 0)
            r = serve_config_add_runtime(config, *text, err);
    STRV_FOREACH (text, call->log_options)
        if (r == 0)
            r = serve_config_add_log_option(config, *text, err);
    STRV_FOREACH (text, call->pools)
        if (r == 0)
            r = serve_config_add_pool(config, *text, err);
    if (r < 0)
        return r;
    r = insecure_registries(call, config, err);
    if (r < 0)
        return r;
    STRV_FOREACH (peer, config->registry_peers)
        strv_add(&call->peers, *peer);
    o->peers = call->peers;
    o->insecure_registries = call->registries;
    o->runtimes = config->runtimes;
    o->address_pools = config->address_pools;
    o->log_driver = call->log_driver ? call->log_driver : config->log_driver;
    o->log_options = config->log_options;
    o->default_runtime = call->default_runtime ? call->default_runtime : config->default_runtime;
    o->userns_remap = call->userns_remap ? call->userns_remap : config->userns_remap;
    return 0;
}

int cli_serve(int argc, char **argv)
{
    _cleanup_free_ char *root = rootless_default_root(), *socket = rootless_default_socket();
    struct serve_options o = {.root = root,
                              .socket = socket,
                              .build_cache_bytes = -1,
                              .keep_free.unused_for_ns = INT64_C(120) * NS_PER_S};
    _cleanup_(call_done) struct call call = {0};
    _cleanup_(serve_config_done) struct serve_config config = {0};
    enum log_level level = LOG_LEVEL_INFO;
    struct err err = {0};
    int r = parse(argc, argv, &o, &call);
    if (r >= 0)
        return r;
    r = configure(&call, &config, &o, &err);
    const char *level_name = call.log_level ? call.log_level : config.log_level;
    if (r == 0 && level_name && !parse_level(level_name, &level))
        return wrong_call("there is no log level \"%s\"", level_name);
    log_init("serve", level);
    if (r == 0)
        r = geteuid() ? without_root(argc, argv, &o, &err) : 0;
    if (r == 0)
        r = serve_run(&o, &err);
    if (r < 0) {
        fprintf(stderr, "drover: serve: %s\n", err.msg);
        return err_exit_code(r);
    }
    return 0;
}
