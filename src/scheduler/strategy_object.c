#include "base/str.h"
#include "scheduler/strategy_priv.h"

#include <dlfcn.h>

enum { ERROR_BYTES = 256 };

struct object {
    struct sched_strategy base;
    const struct drover_strategy *table;
    void *instance;
};

static int object_score(struct sched_strategy *self, const struct drover_strategy_task *task,
                        const struct drover_strategy_node *nodes, size_t count, double *scores,
                        struct err *err)
{
    struct object *o = (struct object *)self;
    char error[ERROR_BYTES] = "";
    int r = o->table->score(o->instance, task, nodes, sizeof(*nodes), count, scores, error, sizeof(error));
    error[sizeof(error) - 1] = '\0';
    return r ? err_set(err, ERR_SYSTEM, "%.80s: %s", o->table->name, *error ? error : "failed without a word")
             : 0;
}

static void object_free(struct sched_strategy *self)
{
    struct object *o = (struct object *)self;
    if (o->table->close)
        o->table->close(o->instance);
    free(o);
}

static int table_check(const char *path, const struct drover_strategy *t, struct err *err)
{
    if (!t)
        return err_set(err, ERR_INVALID, "%s: drover_strategy() returned nothing", path);
    if (t->abi != DROVER_STRATEGY_ABI)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s was built for version %u of the strategies' interface, and this is %u: "
                       "build it again with this version's include/drover/strategy.h",
                       path, t->abi, DROVER_STRATEGY_ABI);
    if (t->size < sizeof(*t) || !t->name || !t->score)
        return err_set(err, ERR_INVALID,
                       "%s: the table of drover_strategy() has no name, no score or too small a size", path);
    return 0;
}

int sched_strategy_object(const char *path, struct sched_strategy **ret, struct err *err)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return err_set(err, ERR_INVALID, "strategy: %s", dlerror());
    const struct drover_strategy *(*entry)(void);
    *(void **)&entry = dlsym(library, "drover_strategy");
    int r = entry ? table_check(path, entry(), err)
                  : err_set(err, ERR_INVALID, "%s exports no drover_strategy()", path);
    if (r < 0) {
        dlclose(library);
        return r;
    }
    struct object *o = NEW(struct object);
    *o = (struct object){.base = {object_score, object_free}, .table = entry()};
    char error[ERROR_BYTES] = "";
    if (o->table->open && !(o->instance = o->table->open(error, sizeof(error)))) {
        error[sizeof(error) - 1] = '\0';
        free(o);
        return err_set(err, ERR_INVALID, "%s: %s", path, *error ? error : "does not open, and says not why");
    }
    *ret = &o->base;
    return 0;
}
