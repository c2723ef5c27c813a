#include "bakery/ahead.h"

#include "bakery/fetch.h"
#include "bakery/git.h"
#include "base/str.h"

/* COPY and ADD before it is their turn.
 *
 * What `COPY --from`, a download, a repository and `--link` bring does not depend on the steps above them:
 * only their words do, by ARG, ENV and WORKDIR, which are read ahead. So a stage's helpers look for these
 * steps' sources, bring and hash them, and write the layers of --link, while the stage's own thread is at a
 * RUN. A step that no helper has begun when its turn comes is done by the stage's thread as any other, so
 * that nobody ever waits for a helper that waits for a place. What goes wrong is told when the step's turn
 * comes, and never when the build ends before. */

enum { HELPERS_OF_STAGE = 3, HELPERS_OF_BUILD = 16, JOBS_MAX = 1000 };

enum job_state { JOB_WAITING, JOB_RUNNING, JOB_DONE, JOB_TAKEN };

struct job {
    const struct df_step *step;
    struct build view; /* the stage as the step will see it, as far as its words go */
    struct copy copy;
    enum job_state state; /* guarded by builder.lock */
    int result;
    struct err why;
};

struct ahead {
    struct builder *b;
    struct job *jobs;
    size_t count, capacity;
    pthread_t helpers[HELPERS_OF_STAGE];
    size_t helper_count;
    bool stop; /* atomic */
};

bool build__stopped(const struct build *s)
{
    return build__cancelled(s->b) || (s->helps && __atomic_load_n(&s->helps->stop, __ATOMIC_RELAXED));
}

/* --- Which steps --- */

static bool is_remote(struct build *view, const char *word)
{
    _cleanup_free_ char *text = NULL;
    return build__expand(view, word, &text, NULL) == 0 && (fetch_is_url(text) || git_is_url(text));
}

static bool stands_alone(struct build *view, const struct df_step *step)
{
    if (step->op == DF_COPY && df_flag(step, "from"))
        return true;
    if (step->op != DF_COPY && step->op != DF_ADD)
        return false;
    bool alone = df_flag_on(step, "link");
    for (size_t i = 0; !alone && step->op == DF_ADD && step->args[i] && step->args[i + 1]; i++)
        alone = is_remote(view, step->args[i]);
    return alone;
}

/* What the words of COPY and ADD depend on: variables and the working directory. */
static void make_view(const struct build *s, struct build *ret)
{
    *ret = (struct build){.b = s->b,
                          .stage = s->stage,
                          .file = s->file,
                          .config = json_object(),
                          .args = MAP_INIT(free),
                          .helps = s->ahead};
    static const char *const keys[] = {"Env", "WorkingDir"};
    json_t *config = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        json_t *value = json_object_get(build__config((struct build *)s), keys[i]);
        if (value)
            json_object_set_new(config, keys[i], json_deep_copy(value));
    }
    json_object_set_new(ret->config, "config", config);
    struct map_entry *e;
    for (size_t i = 0; (e = map_next((struct map *)&s->args, &i));)
        map_put(&ret->args, e->key, e->value ? mem_strdup(e->value) : NULL);
}

static void view_done(struct build *view)
{
    json_decref(view->config);
    map_done(&view->args);
}

static int read_ahead(struct build *view, const struct df_step *step)
{
    _cleanup_str_ struct str text = STR_INIT;
    switch (step->op) {
    case DF_ARG:
        return build__take_args(view, step, &text, NULL);
    case DF_ENV:
        return build__take_env(view, step, &text, NULL);
    case DF_WORKDIR:
        return build__take_workdir(view, step, NULL);
    default:
        return 0;
    }
}

static void add_job(struct ahead *a, const struct build *view, const struct df_step *step)
{
    GROW(a->jobs, a->count, a->capacity);
    struct job *j = &a->jobs[a->count++];
    *j = (struct job){.step = step, .copy = {.step = step, .from = LAYER_INIT}};
    make_view(view, &j->view);
}

/* A step right behind the FROM has nothing to be ahead of. */
static void find_jobs(struct ahead *a, struct build *s, size_t first)
{
    struct build view;
    make_view(s, &view);
    view.ahead = a;
    bool behind = false;
    for (size_t i = first; i < s->stage->end && a->count < JOBS_MAX; i++) {
        const struct df_step *step = &s->b->file.steps[i];
        if (read_ahead(&view, step) < 0)
            break;
        if (behind && stands_alone(&view, step))
            add_job(a, &view, step);
        behind = behind || step->op == DF_RUN || step->op == DF_COPY || step->op == DF_ADD;
    }
    view_done(&view);
}

/* --- Helpers --- */

static void run_job(struct job *j)
{
    j->copy.s = &j->view;
    j->result = copy__prepare(&j->copy, &j->why);
    if (j->result == 0)
        j->result = copy__make_link(&j->copy, &j->why);
}

static void *help(void *context)
{
    struct ahead *a = context;
    struct builder *b = a->b;
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < a->count; i++) {
        struct job *j = &a->jobs[i];
        if (j->state != JOB_WAITING || build__stopped(&j->view))
            continue;
        j->state = JOB_RUNNING;
        pthread_mutex_unlock(&b->lock);
        run_job(j);
        pthread_mutex_lock(&b->lock);
        j->state = JOB_DONE;
        pthread_cond_broadcast(&b->changed);
    }
    pthread_mutex_unlock(&b->lock);
    return NULL;
}

/* With no place left for helpers the stage goes on alone. */
static bool start_helper(struct ahead *a)
{
    struct builder *b = a->b;
    SCOPED_LOCK(locked, &b->lock);
    if (b->helpers >= HELPERS_OF_BUILD || pthread_create(&a->helpers[a->helper_count], NULL, help, a) != 0)
        return false;
    a->helper_count++;
    b->helpers++;
    return true;
}

void build__ahead_begin(struct build *s, size_t first)
{
    struct ahead *a = NEW(struct ahead);
    a->b = s->b;
    s->ahead = a;
    find_jobs(a, s, first);
    /* They are where they stay now, which their copies' steps point to. */
    while (a->helper_count < MIN(a->count, (size_t)HELPERS_OF_STAGE) && start_helper(a))
        ;
}

static struct job *find_job(struct ahead *a, const struct df_step *step)
{
    for (size_t i = 0; a && i < a->count; i++)
        if (a->jobs[i].step == step)
            return &a->jobs[i];
    return NULL;
}

int build__ahead_take(struct build *s, struct copy *c, bool *ret_taken, struct err *err)
{
    struct builder *b = s->b;
    struct job *j = find_job(s->ahead, c->step);
    *ret_taken = false;
    if (!j)
        return 0;
    pthread_mutex_lock(&b->lock);
    if (j->state == JOB_RUNNING) {
        build__give_slot(b);
        while (j->state == JOB_RUNNING && !build__cancelled(b))
            pthread_cond_wait(&b->changed, &b->lock);
        build__take_slot(b);
    }
    enum job_state state = j->state;
    if (state != JOB_RUNNING)
        j->state = JOB_TAKEN;
    pthread_mutex_unlock(&b->lock);
    if (state == JOB_RUNNING)
        return err_set(err, ERR_CANCELLED, "build cancelled");
    if (state != JOB_DONE)
        return 0;
    *ret_taken = true;
    if (j->result < 0)
        return err_copy(err, &j->why);
    *c = j->copy;
    c->s = s;
    j->copy = (struct copy){.from = LAYER_INIT};
    return 0;
}

void build__ahead_end(struct build *s)
{
    struct ahead *a = s->ahead;
    if (!a)
        return;
    __atomic_store_n(&a->stop, true, __ATOMIC_RELAXED);
    pthread_mutex_lock(&a->b->lock);
    pthread_cond_broadcast(&a->b->changed);
    pthread_mutex_unlock(&a->b->lock);
    for (size_t i = 0; i < a->helper_count; i++)
        pthread_join(a->helpers[i], NULL);
    pthread_mutex_lock(&a->b->lock);
    a->b->helpers -= (int)a->helper_count;
    pthread_mutex_unlock(&a->b->lock);
    for (size_t i = 0; i < a->count; i++) {
        a->jobs[i].copy.s = s;
        copy__done(&a->jobs[i].copy);
        view_done(&a->jobs[i].view);
    }
    free(a->jobs);
    free(a);
    s->ahead = NULL;
}
