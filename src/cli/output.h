/* What the CLI shows: tables on stdout, progress on stderr, colours on a terminal only (and not with
 * NO_COLOR).
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/str.h"

#include <jansson.h>

enum cli_colour {
    COLOUR_NONE,
    COLOUR_GREEN = 32,
    COLOUR_YELLOW = 33,
    COLOUR_RED = 31,
    COLOUR_CYAN = 36,
    COLOUR_DIM = 2
};

bool output_coloured(int fd);
/* The n-th colour for prefixes, as an escape sequence; "" when `fd` shows none. */
const char *output_prefix_colour(int fd, size_t n);

/* A table of text: columns as wide as their longest cell. Text from outside has control characters replaced.
 */
struct table {
    char **cells;
    size_t columns;
};
void table_row(struct table *t, const char *first, ...) __attribute__((sentinel)); /* `columns` cells, NULL */
void table_print(struct table *t);                                                 /* to stdout, and frees */

void output_json(const json_t *value);         /* indented, to stdout */
void output_size(int64_t bytes, char out[32]); /* "12.3MB" */
/* A copy in which control characters are dots: what a terminal may be shown. */
char *output_safe(const char *text);

/* A list of things in progress, one line each. On a terminal a line changes in place; otherwise each change
 * is a new line. Any thread. */
struct progress;
struct progress *progress_new(void);
/* Of those made from now on: "tty", "plain", "quiet" (nothing but errors), else by what stderr is. */
void progress_set_style(const char *style);
void progress_set(struct progress *p, const char *key, enum cli_colour colour, const char *status);
/* With --dry-run: a line about what would be done. */
void output_would(const char *format, ...) _printf_(1, 2);
/* Only for terminals: details that change often. */
void progress_detail(struct progress *p, const char *key, const char *status);
bool progress_live(const struct progress *p);
/* Lines of other output above the list. */
void progress_print(struct progress *p, const char *text);
/* Around whole lines that are written while some list may be on the screen: it is below them afterwards. One
 * thread at a time. */
void output_begin(void);
void output_end(void);
void progress_free(struct progress *p);
static inline void progress_free_p(struct progress **p)
{
    progress_free(*p);
}
#define _cleanup_progress_ _cleanup_(progress_free_p)

#endif
