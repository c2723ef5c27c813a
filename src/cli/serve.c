/* `drover serve`: the daemon. */
#include "cli/serve.h"

#include "api/serve.h"
#include "base/err.h"
#include "base/log.h"
#include "base/str.h"
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
    "  --insecure-registry HOST   a registry that may be spoken to without TLS; may be given again\n"
    "  --log-level LEVEL          debug, info (default), warning or error\n"
    "  --help                     this text\n";

enum { OPTION_ROOT = 256, OPTION_SOCKET, OPTION_INSECURE, OPTION_LOG_LEVEL, OPTION_HELP };

static const struct option options[] = {
    {"root", required_argument, NULL, OPTION_ROOT},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"insecure-registry", required_argument, NULL, OPTION_INSECURE},
    {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
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

int cli_serve(int argc, char **argv)
{
    _cleanup_free_ char *root = rootless_default_root(), *socket = rootless_default_socket();
    struct serve_options o = {.root = root, .socket = socket};
    _cleanup_strv_ char **insecure = NULL;
    enum log_level level = LOG_LEVEL_INFO;
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "+:", options, NULL)) != -1;) {
        switch (c) {
        case OPTION_ROOT:
            o.root = optarg;
            break;
        case OPTION_SOCKET:
            o.socket = optarg;
            break;
        case OPTION_INSECURE:
            strv_add(&insecure, optarg);
            break;
        case OPTION_LOG_LEVEL:
            if (!parse_level(optarg, &level))
                return wrong_call("there is no log level \"%s\"", optarg);
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
    if (o.root[0] != '/')
        return wrong_call("--root must be an absolute path, not \"%s\"", o.root);
    o.insecure_registries = insecure;
    log_init("serve", level);
    struct err err = {0};
    int r = geteuid() ? without_root(argc, argv, &o, &err) : 0;
    if (r == 0)
        r = serve_run(&o, &err);
    if (r < 0) {
        fprintf(stderr, "drover: serve: %s\n", err.msg);
        return err_exit_code(r);
    }
    return 0;
}
