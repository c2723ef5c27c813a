#include "cli/build_progress.h"

#include "base/base64.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/output.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { TAIL_LINES = 4, LINE_MAX_BYTES = 1024, KEPT_MAX = 64 << 10, REDRAW_MS = 100, ROWS = 24, COLUMNS = 80 };

/* One step of a stage. */
struct vertex {
    char *key, *title;
    unsigned number; /* in plain output */
    int64_t begun_ns;
    bool running, told;
    struct str line;        /* of its output, not complete */
    char *tail[TAIL_LINES]; /* the last lines, oldest first */
    struct str kept;        /* the end of its output, for the case that it fails */
};

enum style { PLAIN, TTY, QUIET, RAW };

struct build_progress {
    enum style style;
    bool coloured;
    struct vertex **list;
    size_t count, capacity;
    unsigned done, drawn; /* drawn: lines at the bottom that are redrawn */
    int64_t begun_ns;
    pthread_mutex_t lock;
    pthread_t thread;
    bool has_thread;
    atomic_bool ended;
};

static const char *colour(const struct build_progress *p, enum cli_colour c)
{
    static const char *const codes[] = {
        [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m", [COLOUR_RED] = "\033[31m",
        [COLOUR_CYAN] = "\033[36m",  [COLOUR_DIM] = "\033[2m",     [COLOUR_NONE] = "\033[0m"};
    return p->coloured ? codes[c] : "";
}

static double seconds_since(int64_t ns)
{
    return (double)(time_monotonic_ns() - ns) / (double)NS_PER_S;
}

/* --- the part of the terminal that is redrawn --- */

static void erase(struct build_progress *p)
{
    if (p->drawn)
        fprintf(stderr, "\033[%uA\033[J", p->drawn);
    p->drawn = 0;
}

/* One row, cut at the terminal's width. */
static void draw_row(struct build_progress *p, int columns, enum cli_colour c, const char *left,
                     const char *right)
{
    int room = columns - (int)strlen(right) - 2;
    int n = 0;
    size_t at = 0;
    /* Characters of UTF-8 are counted, not bytes. */
    while (left[at] && n < room) {
        at++;
        while (((unsigned char)left[at] & 0xc0) == 0x80)
            at++;
        n++;
    }
    fprintf(stderr, "%s%.*s%*s %s%s\n", colour(p, c), (int)at, left, room - n, "", right,
            colour(p, COLOUR_NONE));
    p->drawn++;
}

static void draw(struct build_progress *p)
{
    struct winsize size;
    bool known = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 && size.ws_row > 4;
    int columns = known ? size.ws_col : COLUMNS;
    unsigned rows = (known ? size.ws_row : ROWS) - 2, running = 0;
    for (size_t i = 0; i < p->count; i++)
        running += p->list[i]->running;
    if (!running)
        return;
    /* Each has its line; what is left of the rows is for their output. */
    unsigned tail = running + 1 < rows ? (rows - running - 1) / running : 0;
    tail = MIN(tail, (unsigned)TAIL_LINES);
    char right[32];
    _cleanup_free_ char *head = str_printf("[+] Building: %u done, %u at work", p->done, running);
    snprintf(right, sizeof(right), "%.1fs", seconds_since(p->begun_ns));
    draw_row(p, columns, COLOUR_CYAN, head, right);
    for (size_t i = 0; i < p->count && p->drawn < rows; i++) {
        const struct vertex *v = p->list[i];
        if (!v->running)
            continue;
        _cleanup_free_ char *text = str_printf(" => %s", v->title);
        snprintf(right, sizeof(right), "%.1fs", seconds_since(v->begun_ns));
        draw_row(p, columns, COLOUR_YELLOW, text, right);
        for (unsigned k = TAIL_LINES - tail; k < TAIL_LINES && p->drawn < rows; k++) {
            if (!v->tail[k])
                continue;
            _cleanup_free_ char *line = str_printf("    | %s", v->tail[k]);
            draw_row(p, columns, COLOUR_DIM, line, "");
        }
    }
}

static void redraw(struct build_progress *p)
{
    if (p->style != TTY)
        return;
    erase(p);
    draw(p);
    fflush(stderr);
}

static void *keep_drawing(void *context)
{
    struct build_progress *p = context;
    while (!atomic_load(&p->ended)) {
        time_sleep_ns(REDRAW_MS * NS_PER_MS);
        pthread_mutex_lock(&p->lock);
        redraw(p);
        pthread_mutex_unlock(&p->lock);
    }
    return NULL;
}

/* --- what happens --- */

static struct vertex *vertex_of(struct build_progress *p, const json_t *event)
{
    _cleanup_free_ char *key =
        str_printf("%lld/%lld", (long long)json_int(event, "Stage"), (long long)json_int(event, "Step"));
    for (size_t i = p->count; i-- > 0;)
        if (str_eq(p->list[i]->key, key) && p->list[i]->running)
            return p->list[i];
    GROW(p->list, p->count, p->capacity);
    struct vertex *v = p->list[p->count++] = NEW(struct vertex);
    v->key = take_ptr(key);
    v->number = (unsigned)p->count;
    v->title = mem_strdup("");
    v->begun_ns = time_monotonic_ns();
    return v;
}

static void begin(struct build_progress *p, struct vertex *v, const json_t *event)
{
    const char *text = json_str(event, "Text");
    _cleanup_free_ char *first = mem_strndup(text, strcspn(text, "\n")), *safe = output_safe(first);
    free(v->title);
    v->title = str_printf("[%s %lld/%lld] %s%s", json_str(event, "Name"), (long long)json_int(event, "Step"),
                          (long long)json_int(event, "Steps"), safe, text[strlen(first)] ? " ..." : "");
    v->running = true;
    if (p->style == PLAIN)
        fprintf(stderr, "#%u %s\n", v->number, v->title);
}

static void end(struct build_progress *p, struct vertex *v, const char *kind)
{
    bool cached = str_eq(kind, "cached"), failed = str_eq(kind, "failed");
    v->running = false;
    p->done += !failed;
    if (p->style == PLAIN && failed)
        fprintf(stderr, "#%u FAILED %.1fs\n", v->number, seconds_since(v->begun_ns));
    else if (p->style == PLAIN && cached)
        fprintf(stderr, "#%u CACHED\n", v->number);
    else if (p->style == PLAIN)
        fprintf(stderr, "#%u DONE %.1fs\n", v->number, seconds_since(v->begun_ns));
    else if (p->style == TTY)
        fprintf(stderr, "%s%s %s%s %s%.1fs%s\n", colour(p, failed ? COLOUR_RED : COLOUR_GREEN),
                failed   ? " ✗"
                : cached ? " ="
                         : " ✓",
                v->title, colour(p, COLOUR_NONE), colour(p, COLOUR_DIM), seconds_since(v->begun_ns),
                colour(p, COLOUR_NONE));
    if (!failed)
        str_free(&v->kept);
}

static void take_line(struct build_progress *p, struct vertex *v)
{
    _cleanup_free_ char *safe = output_safe(str_get(&v->line));
    if (p->style == PLAIN)
        fprintf(stderr, "#%u %.3f %s\n", v->number, seconds_since(v->begun_ns), safe);
    free(v->tail[0]);
    memmove(v->tail, v->tail + 1, (TAIL_LINES - 1) * sizeof(*v->tail));
    v->tail[TAIL_LINES - 1] = take_ptr(safe);
    str_clear(&v->line);
}

static void keep(struct vertex *v, const char *bytes, size_t n)
{
    str_addn(&v->kept, bytes, n);
    if (v->kept.len <= 2 * KEPT_MAX)
        return;
    memmove(v->kept.data, v->kept.data + v->kept.len - KEPT_MAX, KEPT_MAX);
    str_truncate(&v->kept, KEPT_MAX);
}

static void take_log(struct build_progress *p, struct vertex *v, const json_t *event)
{
    _cleanup_str_ struct str bytes = STR_INIT;
    if (base64_decode(json_str(event, "Log"), &bytes, NULL) < 0)
        return;
    keep(v, bytes.data, bytes.len);
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.data[i];
        if (c == '\n' || c == '\r' || v->line.len >= LINE_MAX_BYTES) {
            if (v->line.len)
                take_line(p, v);
        }
        if (c != '\n' && c != '\r' && c)
            str_addc(&v->line, c);
    }
}

void build_progress_event(void *progress, const json_t *event)
{
    struct build_progress *p = progress;
    const char *kind = json_str(event, "Kind");
    if (p->style == RAW) {
        _cleanup_free_ char *text = json_format(event);
        fprintf(stderr, "%s\n", text);
        fflush(stderr);
        return;
    }
    if (str_eq(kind, "result"))
        return;
    if (str_eq(kind, "note")) {
        _cleanup_free_ char *safe = output_safe(json_str(event, "Text"));
        build_progress_text(p, safe);
        return;
    }
    pthread_mutex_lock(&p->lock);
    struct vertex *v = vertex_of(p, event);
    if (p->style == TTY)
        erase(p);
    if (str_eq(kind, "begun"))
        begin(p, v, event);
    else if (str_eq(kind, "log"))
        take_log(p, v, event);
    else {
        if (v->line.len)
            take_line(p, v);
        end(p, v, kind);
    }
    redraw(p);
    pthread_mutex_unlock(&p->lock);
}

void build_progress_text(void *progress, const char *text)
{
    struct build_progress *p = progress;
    if (p->style != PLAIN && p->style != TTY)
        return;
    pthread_mutex_lock(&p->lock);
    if (p->style == TTY)
        erase(p);
    fprintf(stderr, "%s%s", text, str_ends_with(text, "\n") ? "" : "\n");
    redraw(p);
    pthread_mutex_unlock(&p->lock);
}

int build_progress_new(const char *style, struct build_progress **ret, struct err *err)
{
    static const char *const names[] = {"plain", "tty", "quiet", "rawjson"};
    struct build_progress *p = NEW(struct build_progress);
    bool found = false;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(names[i], style)) {
            p->style = (enum style)i;
            found = true;
        }
    if (!found && !str_empty(style) && !str_eq(style, "auto")) {
        free(p);
        return err_set(err, ERR_INVALID, "--progress %.50s: it must be auto, plain, tty, quiet or rawjson",
                       style);
    }
    if (!found)
        p->style = isatty(STDERR_FILENO) ? TTY : PLAIN;
    p->coloured = output_coloured(STDERR_FILENO);
    p->begun_ns = time_monotonic_ns();
    pthread_mutex_init(&p->lock, NULL);
    p->has_thread = p->style == TTY && pthread_create(&p->thread, NULL, keep_drawing, p) == 0;
    *ret = p;
    return 0;
}

/* In plain output it has been seen. */
static void show_failure(struct build_progress *p)
{
    for (size_t i = 0; i < p->count; i++) {
        struct vertex *v = p->list[i];
        if (!v->kept.len || v->running)
            continue;
        _cleanup_strv_ char **lines = strv_split(str_get(&v->kept), '\n');
        fprintf(stderr, "------ %s\n", v->title);
        STRV_FOREACH (line, lines) {
            _cleanup_free_ char *safe = output_safe(*line);
            if (*safe)
                fprintf(stderr, "%s\n", safe);
        }
        fprintf(stderr, "------\n");
    }
}

void build_progress_end(struct build_progress *p, bool failed)
{
    atomic_store(&p->ended, true);
    if (p->has_thread)
        pthread_join(p->thread, NULL);
    p->has_thread = false;
    if (p->style == TTY)
        erase(p);
    if (failed && (p->style == TTY || p->style == QUIET))
        show_failure(p);
    fflush(stderr);
}

void build_progress_free(struct build_progress *p)
{
    if (!p)
        return;
    build_progress_end(p, false);
    for (size_t i = 0; i < p->count; i++) {
        struct vertex *v = p->list[i];
        for (size_t k = 0; k < TAIL_LINES; k++)
            free(v->tail[k]);
        str_free(&v->line);
        str_free(&v->kept);
        free(v->key);
        free(v->title);
        free(v);
    }
    free(p->list);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
