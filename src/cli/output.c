#include "cli/output.h"

#include "cli/call.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool output_coloured(int fd)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(fd) && str_empty(no) && !str_eq(term, "dumb");
}

const char *output_prefix_colour(int fd, size_t n)
{
    static const char *const colours[] = {"\033[36m", "\033[33m", "\033[32m", "\033[35m", "\033[34m",
                                          "\033[96m", "\033[93m", "\033[92m", "\033[95m", "\033[94m"};
    return output_coloured(fd) ? colours[n % ARRAY_SIZE(colours)] : "";
}

char *output_safe(const char *text)
{
    char *copy = mem_strdup(text);
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = '.';
    return copy;
}

/* --- Tables --- */

/* Columns a terminal gives to UTF-8 text, near enough: one per code point. */
static size_t width(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void table_row(struct table *t, const char *first, ...)
{
    va_list ap;
    va_start(ap, first);
    const char *cell = first;
    for (size_t i = 0; i < t->columns; i++) {
        strv_take(&t->cells, output_safe(cell ? cell : ""));
        if (cell)
            cell = va_arg(ap, const char *);
    }
    va_end(ap);
}

void table_print(struct table *t)
{
    size_t widths[16] = {0};
    must(t->columns <= ARRAY_SIZE(widths));
    size_t n = strv_len(t->cells);
    for (size_t i = 0; i < n; i++)
        widths[i % t->columns] = MAX(widths[i % t->columns], width(t->cells[i]));
    for (size_t i = 0; i < n; i++) {
        size_t column = i % t->columns;
        bool last = column + 1 == t->columns;
        printf("%s%*s%s", t->cells[i], last ? 0 : (int)(widths[column] - width(t->cells[i]) + 3), "",
               last ? "\n" : "");
    }
    t->cells = strv_free(t->cells);
}

void output_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    putchar('\n');
}

void output_size(int64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < ARRAY_SIZE(units)) {
        value /= 1000;
        unit++;
    }
    snprintf(out, 32,
             value < 9.995 && unit   ? "%.2f%s"
             : value < 99.95 && unit ? "%.1f%s"
                                     : "%.0f%s",
             value, units[unit]);
}

/* --- Progress --- */

struct line {
    char *key, *status;
    enum cli_colour colour;
};

struct progress {
    bool live, colours, quiet;
    struct line *lines;
    size_t count, capacity;
    size_t drawn; /* lines on the screen that are ours */
};

static const char *progress_style = "auto";

/* One terminal: whoever writes to it holds this. The list that was drawn last is at its end. */
static pthread_mutex_t screen = PTHREAD_MUTEX_INITIALIZER;
static struct progress *last_drawn;

void progress_set_style(const char *style)
{
    progress_style = style;
}

struct progress *progress_new(void)
{
    struct progress *p = NEW(struct progress);
    p->colours = output_coloured(STDERR_FILENO);
    p->live = isatty(STDERR_FILENO) && !str_eq(getenv("TERM"), "dumb");
    if (str_eq(progress_style, "plain") || str_eq(progress_style, "tty"))
        p->live = *progress_style == 't';
    p->quiet = str_eq(progress_style, "quiet");
    return p;
}

void progress_free(struct progress *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&screen);
    if (last_drawn == p)
        last_drawn = NULL;
    pthread_mutex_unlock(&screen);
    for (size_t i = 0; i < p->count; i++) {
        free(p->lines[i].key);
        free(p->lines[i].status);
    }
    free(p->lines);
    free(p);
}

static struct line *line_of(struct progress *p, const char *key)
{
    for (size_t i = 0; i < p->count; i++)
        if (strcmp(p->lines[i].key, key) == 0)
            return &p->lines[i];
    GROW(p->lines, p->count, p->capacity);
    p->lines[p->count] = (struct line){.key = mem_strdup(key), .status = mem_strdup("")};
    return &p->lines[p->count++];
}

static void print_line(const struct progress *p, const struct line *l, int columns)
{
    _cleanup_free_ char *status = output_safe(l->status);
    /* A line that went on in the next row of the screen could not be erased again. */
    int width = columns ? MAX(columns - 1, 12) : INT_MAX, key = MIN((int)strlen(l->key), width - 11),
        room = MIN(width - key - 3, 1000);
    if (p->colours && l->colour)
        fprintf(stderr, " %.*s  \033[%dm%.*s\033[0m", key, l->key, l->colour, room, status);
    else
        fprintf(stderr, " %.*s  %.*s", key, l->key, room, status);
}

static void erase(struct progress *p)
{
    /* The terminal itself may have written "^C" below it. */
    if (p->drawn)
        fprintf(stderr, "\r\033[%zuA\033[J", p->drawn);
    p->drawn = 0;
}

/* Draws the last lines that fit on the screen. */
static void draw(struct progress *p)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row || !size.ws_col)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    size_t room = size.ws_row > 2 ? size.ws_row - 1u : 1;
    size_t first = p->count > room ? p->count - room : 0;
    for (size_t i = first; i < p->count; i++) {
        print_line(p, &p->lines[i], size.ws_col);
        fputs("\033[K\n", stderr);
        p->drawn++;
    }
    last_drawn = p;
    fflush(stderr);
}

#define DRY_RUN "DRY-RUN MODE - "

void output_would(const char *format, ...)
{
    _cleanup_str_ struct str text = STR_INIT;
    va_list ap;
    va_start(ap, format);
    str_vaddf(&text, format, ap);
    va_end(ap);
    _cleanup_free_ char *safe = output_safe(str_get(&text));
    fprintf(stderr, DRY_RUN "%s\n", safe);
}

static void set(struct progress *p, const char *key, enum cli_colour colour, const char *status, bool detail)
{
    pthread_mutex_lock(&screen);
    _cleanup_free_ char *shown = str_printf("%s%s", cli_dry_run ? DRY_RUN : "", key);
    struct line *l = line_of(p, shown);
    bool same = strcmp(l->status, status) == 0;
    free(l->status);
    l->status = mem_strdup(status);
    l->colour = colour;
    if (p->quiet && l->colour != COLOUR_RED) {
        /* only what fails is said */
    } else if (p->live && !same) {
        erase(p);
        draw(p);
    } else if (!detail && !same) {
        print_line(p, l, 0);
        fputc('\n', stderr);
        fflush(stderr);
    }
    pthread_mutex_unlock(&screen);
}

void progress_set(struct progress *p, const char *key, enum cli_colour colour, const char *status)
{
    set(p, key, colour, status, false);
}

void progress_detail(struct progress *p, const char *key, const char *status)
{
    if (p->live)
        set(p, key, COLOUR_YELLOW, status, true);
}

bool progress_live(const struct progress *p)
{
    return p->live;
}

void progress_print(struct progress *p, const char *text)
{
    if (p->quiet)
        return;
    pthread_mutex_lock(&screen);
    erase(p);
    fputs(text, stderr);
    if (p->live)
        draw(p);
    pthread_mutex_unlock(&screen);
}

void output_begin(void)
{
    pthread_mutex_lock(&screen);
    if (last_drawn)
        erase(last_drawn);
    fflush(stderr);
}

void output_end(void)
{
    if (last_drawn)
        draw(last_drawn);
    pthread_mutex_unlock(&screen);
}
