#include "cli/bake.h"

#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/output.h"

#include <unistd.h>

enum { BAKERY_FILE_MAX = 4 << 20, SECRET_MAX = 4096 };

struct bake_options {
    const char *file, *listen, *interval, *secret_file, *refresh;
    bool json;
};

/* A bakery with its directory, lock and state. */
struct open_bakery {
    struct bakery *bakery;
    char *dir, *state_path;
    json_t *state;
    int lock;
};

static void bakery_close(struct open_bakery *o)
{
    bakery_free(o->bakery);
    free(o->dir);
    free(o->state_path);
    json_decref(o->state);
    close_fd(o->lock);
}

static int read_bakery(const char *file, struct bakery **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(file, BAKERY_FILE_MAX, &text, err);
    return r < 0 ? r : bakery_parse(file, str_get(&text), text.len, ret, err);
}

/* `change`: nobody else may go through it meanwhile. */
static int bakery_open(const struct bake_options *options, bool change, struct open_bakery *ret,
                       struct err *err)
{
    const char *file = options->file ? options->file : "bakery.yaml", *slash = strrchr(file, '/');
    struct open_bakery o = {.lock = -EBADF};
    int r = read_bakery(file, &o.bakery, err);
    if (r < 0)
        return r;
    o.dir = slash ? mem_strndup(file, MAX((size_t)(slash - file), 1u)) : mem_strdup(".");
    /* Two files in one directory are two bakeries. */
    _cleanup_free_ char *own = str_printf("%s/.%s.state", o.dir, slash ? slash + 1 : file);
    _cleanup_free_ char *lock = str_printf("%s.lock", own);
    o.state_path = take_ptr(own);
    if (change && file_lock(lock, &o.lock, err) < 0)
        r = err->code == ERR_CONFLICT
                ? err_set(err, ERR_CONFLICT, "another drover bake is at work with %s; wait for it, or end it",
                          file)
                : -err->code;
    if (r == 0)
        r = bakery_state_load(o.state_path, &o.state, err);
    if (r < 0)
        bakery_close(&o);
    else
        *ret = o;
    return r;
}

/* --- Which images --- */

static void want_below(const struct bakery *b, size_t which, bool *wanted)
{
    wanted[which] = true;
    for (size_t i = 0; i < b->images[which].stands_on_count; i++)
        want_below(b, b->images[which].stands_on[i], wanted);
}

static void want_above(const struct bakery *b, size_t which, bool *wanted)
{
    want_below(b, which, wanted);
    for (size_t i = which + 1; i < b->count; i++)
        if (bakery_stands_on(&b->images[i], which))
            want_above(b, i, wanted);
}

/* Those named with all that they stand on (with `above`, also all that stands on them); without a name all.
 */
static int choose(const struct bakery *b, char **names, bool above, bool *wanted, struct err *err)
{
    for (size_t i = 0; !*names && i < b->count; i++)
        wanted[i] = true;
    for (; *names; names++) {
        const struct bakery_image *image = bakery_find(b, *names);
        if (!image)
            return err_set(err, ERR_NOT_FOUND, "the bakery has no image \"%.200s\"", *names);
        (above ? want_above : want_below)(b, (size_t)(image - b->images), wanted);
    }
    return 0;
}

/* --- Going through --- */

static void summarize(const struct bake_run *run)
{
    size_t made = 0, current = 0, failed = 0, held = 0;
    for (size_t i = 0; i < run->bakery->count; i++) {
        made += run->outcome[i] == BAKE_MADE;
        current += run->outcome[i] == BAKE_CURRENT;
        failed += run->outcome[i] == BAKE_FAILED;
        held += run->outcome[i] == BAKE_HELD;
    }
    printf("%zu made, %zu up to date, %zu failed, %zu held back\n", made, current, failed, held);
    fflush(stdout);
}

static int tell_outdated(const json_t *state, struct err *err)
{
    _cleanup_strv_ char **lines = NULL;
    int r = bake_outdated_containers(state, &lines, err);
    STRV_FOREACH (line, lines)
        puts(*line);
    fflush(stdout);
    return r;
}

static int go_through(const struct open_bakery *o, char **names, bool refresh, bool skip_failed,
                      bool *ret_failed, struct err *err)
{
    const struct bakery *b = o->bakery;
    _cleanup_free_ bool *wanted = NEW_N(bool, b->count + 1);
    _cleanup_free_ enum bake_outcome *outcome = NEW_N(enum bake_outcome, b->count + 1);
    struct bake_run run = {.bakery = b,
                           .dir = o->dir,
                           .state_path = o->state_path,
                           .state = o->state,
                           .refresh = refresh,
                           .skip_failed = skip_failed,
                           .wanted = wanted,
                           .outcome = outcome};
    int r = choose(b, names, refresh, wanted, err);
    if (r == 0)
        r = bake_go_through(&run, ret_failed, err);
    if (r < 0)
        return r;
    summarize(&run);
    return tell_outdated(o->state, err);
}

static int bake(const struct bake_options *options, char **names, bool refresh)
{
    struct open_bakery o;
    struct err err;
    bool failed = false;
    if (bakery_open(options, true, &o, &err) < 0)
        return cli_fail(&err);
    int r = go_through(&o, names, refresh, false, &failed, &err);
    bakery_close(&o);
    return r < 0 ? cli_fail(&err) : failed;
}

/* --- plan, status --- */

static int plan(const struct bake_options *options, char **names)
{
    struct open_bakery o;
    struct err err;
    if (bakery_open(options, false, &o, &err) < 0)
        return cli_fail(&err);
    _cleanup_free_ bool *wanted = NEW_N(bool, o.bakery->count + 1),
                        *changing = NEW_N(bool, o.bakery->count + 1);
    const struct bake_run run = {.bakery = o.bakery, .dir = o.dir, .state = o.state};
    int r = choose(o.bakery, names, false, wanted, &err);
    for (size_t i = 0; r == 0 && i < o.bakery->count; i++) {
        _cleanup_free_ char *why = NULL;
        if (!wanted[i])
            continue;
        r = bake_reason(&run, i, changing, &why, &err);
        changing[i] = why != NULL;
        if (r == 0)
            printf("%s: %s%s\n", o.bakery->images[i].name, why ? "make: " : "up to date", why ? why : "");
    }
    bakery_close(&o);
    return r < 0 ? cli_fail(&err) : 0;
}

static void status_row(struct table *t, const struct bakery_image *image, const json_t *state, bool *failed)
{
    const char *id = json_str(state, "id"), *why = json_str(json_object_get(state, "failed"), "why");
    const char *hex = str_after(id, "sha256:");
    _cleanup_free_ char *shown = mem_strndup(hex ? hex : "-", 12), *tags = strv_join(image->tags, ",");
    _cleanup_free_ char *safe = output_safe(why);
    bool bad = json_object_get(state, "failed") != NULL;
    table_row(t, image->name, tags, image->base ? image->base : image->build, shown,
              bad   ? "failed"
              : *id ? "made"
                    : "never made",
              safe, NULL);
    *failed = *failed || bad;
}

static int status(const struct bake_options *options, char **names)
{
    struct open_bakery o;
    struct err err;
    struct table t = {.columns = 6};
    bool failed = false;
    if (bakery_open(options, false, &o, &err) < 0)
        return cli_fail(&err);
    _cleanup_free_ bool *wanted = NEW_N(bool, o.bakery->count + 1);
    int r = choose(o.bakery, names, false, wanted, &err);
    table_row(&t, "IMAGE", "TAGS", "FROM", "ID", "STATE", "WHY", NULL);
    for (size_t i = 0; r == 0 && i < o.bakery->count; i++)
        if (wanted[i])
            status_row(&t, &o.bakery->images[i], bakery_state_of(o.state, o.bakery->images[i].name), &failed);
    if (r == 0 && options->json)
        output_json(o.state);
    if (r == 0 && !options->json) {
        table_print(&t);
        r = tell_outdated(o.state, &err);
    }
    bakery_close(&o);
    return r < 0 ? cli_fail(&err) : failed;
}

/* --- watch --- */

static int read_secret(const char *path, char **ret, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = path ? file_read(path, SECRET_MAX, &text, err) : 0;
    if (r < 0)
        return r;
    *ret = path ? str_strip(str_get(&text)) : NULL;
    return path && !**ret ? err_set(err, ERR_INVALID, "%s is empty: the secret would be nothing", path) : 0;
}

static int duration_of(const char *option, const char *text, int64_t *ns, struct err *err)
{
    int r = text ? parse_duration(text, ns, err) : 0;
    if (r == 0 && text && *ns < NS_PER_S)
        r = err_set(err, ERR_INVALID, "%s %s: at least a second", option, text);
    return r;
}

static int watch(const struct bake_options *options, char **names)
{
    _cleanup_free_ char *secret = NULL;
    struct open_bakery o;
    struct err err;
    struct bake_listener *listener = NULL;
    int64_t interval_ns = 60 * NS_PER_S, refresh_ns = 0, refreshed_ns = time_monotonic_ns();
    bool failed, first = true;
    int r = duration_of("--interval", options->interval, &interval_ns, &err);
    if (r == 0)
        r = duration_of("--refresh", options->refresh, &refresh_ns, &err);
    if (r == 0)
        r = read_secret(options->secret_file, &secret, &err);
    if (r < 0 || bakery_open(options, true, &o, &err) < 0)
        return cli_fail(&err);
    if (options->listen)
        r = bake_listen(options->listen, secret, o.bakery, &listener, &err);
    while (r == 0 && !interrupt_pending()) {
        /* A registry or server that is away comes back: that ends no watch but at its beginning. */
        bool refresh = refresh_ns && time_monotonic_ns() - refreshed_ns >= refresh_ns;
        if (refresh)
            refreshed_ns = time_monotonic_ns();
        int went = go_through(&o, names, refresh, !first, &failed, &err);
        if (went < 0 && first && went != -ERR_CANCELLED)
            r = went;
        else if (went < 0 && !interrupt_pending())
            fprintf(stderr, "drover: %s\n", err.msg);
        first = false;
        if (r == 0)
            bake_wait(listener, interval_ns);
    }
    bake_listener_free(listener);
    bakery_close(&o);
    return r < 0 ? cli_fail(&err) : 0;
}

/* --- The verbs --- */

static int do_bake(const struct bake_options *o, char **names)
{
    return bake(o, names, false);
}

static int do_refresh(const struct bake_options *o, char **names)
{
    return bake(o, names, true);
}

static const struct {
    const char *name; /* NULL: without a verb */
    int (*run)(const struct bake_options *o, char **names);
    const char *usage, *summary;
} verbs[] = {
    {"plan", plan, "bake plan [OPTIONS] [IMAGE...]", "Prints what would be made, and why."},
    {"status", status, "bake status [OPTIONS] [IMAGE...]",
     "Prints what was made of each image, what failed, and which running containers are on something old."},
    {"refresh", do_refresh, "bake refresh [OPTIONS] [IMAGE...]",
     "Makes bases again, and what stands on those whose packages have changed."},
    {"watch", watch, "bake watch [OPTIONS] [IMAGE...]",
     "Goes through the bakery whenever a base is pushed, and at intervals, until it is interrupted."},
    {NULL, do_bake, "bake [OPTIONS] [IMAGE...]",
     "Makes the images of bakery.yaml that have changed, with what stands on them: in order, tested, pushed "
     "to the\n"
     "global registry and promoted from there to the local ones. Other verbs: bake base, plan, status, "
     "refresh, "
     "watch."},
};

int cli_bake(int argc, char **argv)
{
    struct bake_options o = {0};
    size_t which = 0;
    if (argc > 1 && str_eq(argv[1], "base"))
        return cli_bake_base(argc - 1, argv + 1);
    while (verbs[which].name && (argc < 2 || !str_eq(argv[1], verbs[which].name)))
        which++;
    int skip = verbs[which].name ? 1 : 0;
    bool watches = verbs[which].run == watch;
    const struct cli_option options[] = {
        {'f', "file", CLI_TEXT, &o.file, "FILE", "The bakery (default bakery.yaml)"},
        {0, "json", CLI_FLAG, &o.json, NULL, "Of status: the state as JSON"},
        {0, watches ? "listen" : NULL, CLI_TEXT, &o.listen, "[HOST:]PORT",
         "Take a registry's notifications of pushes at http://HOST:PORT/hook"},
        {0, "secret-file", CLI_TEXT, &o.secret_file, "FILE",
         "Secret that they are signed with, or bear (needed where others reach it)"},
        {0, "interval", CLI_TEXT, &o.interval, "DURATION",
         "How often to look without being told (default 60s)"},
        {0, "refresh", CLI_TEXT, &o.refresh, "DURATION", "How often to make bases again (default: never)"},
        {0},
    };
    const struct cli_command command = {verbs[which].usage, verbs[which].summary, options, false, 0, -1};
    char **names;
    int status = cli_parse(&command, argc - skip, argv + skip, &names);
    interrupt_catch();
    return status >= 0 ? status : verbs[which].run(&o, names);
}
