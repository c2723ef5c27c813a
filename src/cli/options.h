/* Options of a verb as a table: parsing, errors and --help come from it.
 *
 * Long options take a value as --name=value or --name value, short ones as -nvalue or -n value; short flags
 * may be clustered (-it). A flag may be given as --flag=false. "--" ends the options. Every verb also has
 * --help, and the options that choose the server: -H/--host, --socket. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/err.h"
#include "base/str.h"

enum cli_kind {
    CLI_FLAG, /* bool */
    CLI_TEXT, /* const char * */
    CLI_LIST, /* char **: may be given again; freed by the caller */
    CLI_INT,  /* int */
    CLI_WORD, /* const char *: "true" when it is given without a value, which only --name=value gives */
};

struct cli_option {
    char letter; /* 0: none */
    const char *name;
    enum cli_kind kind;
    void *target;
    const char *value; /* what --help calls the value */
    const char *help;
};

struct cli_command {
    const char *usage;                /* "up [OPTIONS] [SERVICE...]" */
    const char *summary;              /* one or more sentences */
    const struct cli_option *options; /* ends with a NULL name */
    bool options_first; /* the first other word ends the options: what follows belongs to a command */
    int least, most;    /* other words; most <0: any number */
};

/* Parses; the other words are *ret_rest (a part of argv, NULL-terminated). Returns -1 to go on, or the exit
 * status to end with: 0 after --help, 2 after an error (said on stderr). */
int cli_parse(const struct cli_command *command, int argc, char **argv, char ***ret_rest);

/* For the options before the verb; the words stay in place, *ret_used is how many were taken. */
int cli_parse_global(const struct cli_option *options, int argc, char **argv, int *ret_used);
void cli_print_options(const struct cli_option *options);
void cli_print_global_options(void);

#endif
