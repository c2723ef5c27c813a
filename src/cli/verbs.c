#include "cli/verbs.h"
#include "cli/bake.h"
#include "cli/build.h"
#include "cli/call.h"
#include "cli/cli.h"
#include "cli/internal.h"
#include "cli/logs.h"
#include "cli/options.h"
#include "cli/project.h"
#include "cli/pull.h"
#include "cli/serve.h"
#include "cli/ssh.h"
#include "compose/problem.h"
#include "rootless/rootless.h"

#include <signal.h>

const struct cli_verb cli_verbs[] = {
    {"up", "Build, create and start the services of compose.yaml", cli_up},
    {"down", "Stop and remove them", cli_down},
    {"ps", "List containers", cli_ps},
    {"logs", "Print what containers wrote", cli_logs},
    {"exec", "Run a command in a running container", cli_exec},
    {"run", "Run a command in a new container", cli_run},
    {"build", "Build an image from a Dockerfile", cli_build},
    {"images", "List images", cli_images},
    {"bake", "Make base images from signed packages, and all that stands on them", cli_bake},
    {"image", "Push, test and verify images", cli_image},
    {"start", "Start containers that exist", cli_start},
    {"stop", "Stop containers", cli_stop},
    {"restart", "Stop containers and start them again", cli_restart},
    {"kill", "Send a signal to containers", cli_kill},
    {"rm", "Remove containers", cli_rm},
    {"pause", "Freeze containers", cli_pause},
    {"unpause", "Let frozen containers go on", cli_unpause},
    {"create", "Make the containers of services without starting them", cli_create},
    {"scale", "Change how many containers a service has", cli_scale},
    {"watch", "Bring changes of files into the running services", cli_watch},
    {"cp", "Copy files between a container and this machine", cli_cp},
    {"port", "Print where a port is published", cli_port},
    {"top", "Print the processes of containers", cli_top},
    {"stats", "Print what containers use", cli_stats},
    {"events", "Print what happens to the project's containers", cli_events},
    {"attach", "Show what a running container writes, and send it input", cli_attach},
    {"wait", "Wait until containers have ended", cli_wait},
    {"ls", "List the Compose projects of the machine", cli_ls},
    {"volumes", "List the project's volumes", cli_volumes},
    {"pull", "Fetch images from a registry", cli_pull},
    {"push", "Send images to a registry", cli_push},
    {"rmi", "Remove images", cli_rmi},
    {"registry", "Manage the registry inside: tokens, configuration", cli_registry},
    {"store", "Run and mend the replicated store of the managers", cli_store},
    {"commit", "Make an image of a container", cli_commit},
    {"export", "Write a container's files as a tar stream", cli_export},
    {"import", "Make an image from a root file system", cli_import},
    {"config", "Check compose.yaml and print what it comes to", cli_config},
    {"inspect", "Print everything known of a container, image, network or volume", cli_inspect},
    {"version", "Print versions", cli_version},
    {"completion", "Print the script that completes words in bash", cli_completion},
    {"deploy", "Deploy compose.yaml as services of the swarm", cli_deploy},
    {"diff", "Print what differs between what is deployed and the files", cli_diff},
    {"history", "List the versions that a service had", cli_history},
    {"rollback", "Go back to a version that a service had", cli_rollback},
    {"cluster", "Make a cluster of machines, and manage its nodes", cli_cluster},
    {"join", "Make this machine a node of a cluster", cli_join},
    {"leave", "Take this machine out of its cluster", cli_leave},
    {"explain", "Say which nodes would take a task, or refuse it and why", cli_explain},
    {"plan", "Say what a change of a service or node would do", cli_plan},
    {"rebalance", "Say or set how many tasks move to nodes that have come", cli_rebalance},
    {"strategy", "Choose who places tasks: built in, or a script of yours", cli_strategy},
    {"simulate", "Play a trace of tasks to the scheduler", cli_simulate},
    {"serve", "Run the engine of this machine", cli_serve},
    {"upgrade", "Replace the binary of the running server and its keeper", cli_upgrade},
    {"shutdown", "End what outlives a stopped server", cli_shutdown},
    {"convert", NULL, cli_config},
    {"compose-keys", NULL, cli_compose_keys},
    {"dockerfile-keys", NULL, cli_dockerfile_keys},
    {"compatibility", NULL, cli_compatibility},
    {"dial-stdio", NULL, cli_dial_stdio},
    {"keeper", NULL, cli_keeper},
    {"dns", NULL, cli_dns},
    {"nft", NULL, cli_nft},
    {"rootless", NULL, rootless_main},
    {NULL, NULL, NULL},
};

static int print_help(void)
{
    printf("Usage: drover [OPTIONS] VERB [ARGUMENTS...]\n\n"
           "A container engine for sets of machines: builds images, runs containers and Compose projects.\n\n"
           "Verbs:\n");
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        if (v->summary)
            printf("  %-10s %s\n", v->name, v->summary);
    printf("\nOptions:\n");
    cli_print_global_options();
    cli_print_options(project_global_options);
    printf("      %-26s  %s\n\nSee \"drover VERB --help\" for a verb's own options.\n", "--version",
           "Print the version");
    return 0;
}

static int unknown_verb(const char *name)
{
    const char *names[ARRAY_SIZE(cli_verbs)];
    size_t n = 0;
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        if (v->summary)
            names[n++] = v->name;
    names[n] = NULL;
    const char *near = problem_nearest(name, names);
    fprintf(stderr, "drover: unknown verb \"%s\"%s%s%s\nSee \"drover --help\".\n", name,
            near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    return 2;
}

int cli_main(int argc, char **argv)
{
    int used = 0;
    /* A reader that has left is an error of the write, said in words where it matters. */
    signal(SIGPIPE, SIG_IGN);
    int status = cli_parse_global(project_global_options, argc, argv, &used);
    if (status >= 0)
        return status;
    const char *name = used && used < argc ? argv[used] : NULL;
    if (used && !name) {
        fprintf(stderr, "usage: drover VERB [ARGUMENTS...]; see \"drover --help\"\n");
        return 2;
    }
    if (!used || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0)
        return print_help();
    if (strcmp(name, "--version") == 0 || strcmp(name, "-v") == 0) {
        printf("drover %s\n", DROVER_VERSION);
        return 0;
    }
    if (strcmp(name, "serve") == 0 && used > 1) {
        fprintf(stderr, "drover: options of serve come behind it: drover serve --socket PATH\n");
        return 2;
    }
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        if (strcmp(v->name, name) == 0)
            return v->main(argc - used, argv + used);
    return unknown_verb(name);
}
