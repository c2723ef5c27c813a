#include "oci/oci.h"

#include "base/process.h"

#include "oci/commands.h"
#include "oci/launch.h"
#include "oci/report.h"
#include "runtime/runtime.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct oci_command *find_command(const char *name)
{
    for (const struct oci_command *c = oci_commands; c->name; c++)
        if (str_eq(c->name, name))
            return c;
    return NULL;
}

static void print_general_help(void)
{
    printf("NAME:\n   drover-oci - run containers as the OCI runtime specification describes\n\n"
           "USAGE:\n   drover-oci [global options] command [options] [arguments...]\n\nCOMMANDS:\n");
    for (const struct oci_command *c = oci_commands; c->name; c++)
        printf("   %-12s %s\n", c->name, c->summary);
    printf("\nGLOBAL OPTIONS:\n");
    oci_options_print(oci_global_options);
}

static void print_command_help(const struct oci_command *c)
{
    printf("NAME:\n   drover-oci %s - %s\n\nUSAGE:\n   drover-oci %s %s%s\n", c->name, c->summary, c->name,
           c->options->name ? "[options] " : "", c->words);
    if (!c->options->name)
        return;
    printf("\nOPTIONS:\n");
    oci_options_print(c->options);
}

static void print_markdown(void)
{
    printf("| command | option | |\n|---|---|---|\n| (all) | | before the command |\n");
    oci_options_print_markdown(oci_global_options);
    for (const struct oci_command *c = oci_commands; c->name; c++) {
        printf("| `%s%s%s` | | %s |\n", c->name, *c->words ? " " : "", c->words, c->summary);
        oci_options_print_markdown(c->options);
    }
}

int command_help(const struct oci_args *args, int *ret_status, struct err *err)
{
    const struct oci_command *c = args->word_count ? find_command(args->words[0]) : NULL;
    if (args->word_count && !c)
        return err_set(err, ERR_INVALID, "No help topic for '%s'", args->words[0]);
    if (args->markdown)
        print_markdown();
    else if (c)
        print_command_help(c);
    else
        print_general_help();
    return 0;
}

int command_checkpoint(const struct oci_args *args, int *ret_status, struct err *err)
{
    return err_set(err, ERR_UNSUPPORTED, "checkpoint and restore are not supported");
}

/* An engine may start us with 0, 1 or 2 closed: a file opened later must not take their place. */
static void fill_stdio(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", fd == 0 ? O_RDONLY : O_WRONLY);
}

/* Whatever else the engine left open is not for hooks, nor for the container. What we open ourselves is
 * CLOEXEC from birth, so that of the descriptors to pass on those count that are not. */
static void hide_descriptors(const struct oci_args *args)
{
    int64_t kept = launch_inherited_count(args);
    if (kept >= 0 && kept <= INT_MAX - 3)
        syscall(SYS_close_range, 3 + (unsigned)kept, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int check_words(const struct oci_command *c, const struct oci_args *args, struct err *err)
{
    if (args->word_count < c->least)
        return err_set(err, ERR_INVALID, "\"%s\" requires at least %zu argument(s): %s %s", c->name, c->least,
                       c->name, c->words);
    if (args->word_count > c->most)
        return err_set(err, ERR_INVALID, "\"%s\" requires at most %zu argument(s): %s %s", c->name, c->most,
                       c->name, c->words);
    return 0;
}

/* Options may stand behind the id, except where what is there belongs to another program. The words are moved
 * to the front. */
static int parse_command(const struct oci_command *c, int argc, char **argv, int at, struct oci_args *args,
                         struct err *err)
{
    int r = 0;
    bool only_words = false;
    args->words = argv + at;
    while (r == 0) {
        if (!only_words)
            r = oci_options_parse(c->options, argc, argv, &at, args, err);
        if (r < 0 || at >= argc)
            break;
        only_words = only_words || c->most == OCI_ANY_WORDS || str_eq(argv[at - 1], "--");
        args->words[args->word_count++] = argv[at++];
    }
    args->words[args->word_count] = NULL;
    return r;
}

static bool launches(const struct oci_command *c)
{
    return c->run == command_create || c->run == command_run || c->run == command_exec;
}

static int run(int argc, char **argv, struct oci_args *args, int *ret_status, struct err *err)
{
    int at = 1;
    int r = oci_options_parse(oci_global_options, argc, argv, &at, args, err);
    if (r == 0)
        r = report_open(args, err);
    if (r < 0)
        return r;
    if (args->version) {
        /* The third line is what callers of crun look for a feature in. */
        printf("drover-oci version %s\nspec: " RUNTIME_SPEC_VERSION "\n+SYSTEMD +CAP +SECCOMP +EBPF\n",
               DROVER_VERSION);
        return 0;
    }
    if (at >= argc || args->help) {
        print_general_help();
        return 0;
    }
    const struct oci_command *command = find_command(argv[at]);
    if (!command)
        return err_set(err, ERR_INVALID,
                       "No help topic for '%s': there is no such command; see drover-oci --help", argv[at]);
    if (launches(command) && (r = process_guard_binary(argv, err)) < 0)
        return r;
    for (int i = at + 1; i < argc && argv[i][0] == '-' && !str_eq(argv[i], "--"); i++)
        if (str_eq(argv[i], "--help") || str_eq(argv[i], "-h")) {
            print_command_help(command);
            return 0;
        }
    r = parse_command(command, argc, argv, at + 1, args, err);
    hide_descriptors(args);
    if (r == 0)
        r = check_words(command, args, err);
    if (r < 0)
        return err_wrap(err, "%s", command->name);
    report_debug("command %s", command->name);
    return command->run(args, ret_status, err);
}

int oci_main(int argc, char **argv)
{
    struct oci_args args = {0};
    struct err err = {0};
    int status = 0;
    fill_stdio();
    int r = run(argc, argv, &args, &status, &err);
    if (r < 0) {
        report_error(err.msg);
        status = status ? status : 1;
    }
    oci_args_done(&args);
    return status;
}
