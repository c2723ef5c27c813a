/* `drover completion bash`: the script that completes verbs, options and names of services. Verbs come from
 * the table; options of a verb from what its --help says when they are asked for, so that a script from an
 * older binary knows the options of a newer one. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/verbs.h"

static const char *const script_head[] = {
    "# Completion of drover's words for bash: source <(drover completion bash)",
    "_drover() {",
    "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} verb= i",
    "    local -a project=()",
    "    for ((i = 1; i < COMP_CWORD; i++)); do",
    "        case ${COMP_WORDS[i]} in",
    "        -f | --file | -p | --project-name | --project-directory | --env-file | --profile)",
    "            project+=(\"${COMP_WORDS[i]}\" \"${COMP_WORDS[i+1]}\"); ((i++)) ;;",
    "        -H | --host | --socket | --parallel) ((i++)) ;;",
    "        -*) ;;",
    "        *) verb=${COMP_WORDS[i]}; break ;;",
    "        esac",
    "    done",
    "    COMPREPLY=()",
    "    case $before in",
    "    -f | --file | --env-file | --project-directory | --socket) return ;;",
    "    esac",
    NULL,
};

static const char *const script_tail[] = {
    "    if [[ $word == -* ]]; then",
    "        COMPREPLY=($(compgen -W \"$(drover $verb --help 2>/dev/null |",
    "            sed -n 's/^ \\{2,6\\}\\(-., \\)\\{0,1\\}\\(--[a-z-]*\\).*/\\2/p')\" -- \"$word\"))",
    "    elif [[ -z $verb ]]; then",
    "        COMPREPLY=($(compgen -W \"$verbs\" -- \"$word\"))",
    "    else",
    "        case $verb in",
    "        cp | import | build | bake | image | store | cluster | serve) ;; # file names",
    "        *) COMPREPLY=($(compgen -W \"$(drover \"${project[@]}\" config --services 2>/dev/null)\" -- "
    "\"$word\")) "
    ";;",
    "        esac",
    "    fi",
    "}",
    "complete -o default -F _drover drover",
    NULL,
};

static void print_lines(const char *const *lines)
{
    for (; *lines; lines++)
        puts(*lines);
}

int cli_completion(int argc, char **argv)
{
    char **rest;
    static const struct cli_command command = {
        .usage = "completion bash",
        .summary = "Prints the script that completes drover's words: source <(drover completion bash)",
        .least = 1,
        .most = 1};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (!str_eq(rest[0], "bash")) {
        fprintf(stderr, "drover completion: there is a script for bash only, not for \"%s\"\n", rest[0]);
        return 2;
    }
    print_lines(script_head);
    printf("    local verbs=\"");
    for (const struct cli_verb *v = cli_verbs; v->name; v++)
        if (v->summary)
            printf("%s%s", v == cli_verbs ? "" : " ", v->name);
    printf("\"\n");
    print_lines(script_tail);
    return 0;
}
