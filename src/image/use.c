/* When images were last used: exactly in memory, and within a minute in the database, so that launching costs
 * no write and a restart forgets little. */
#include "base/timeutil.h"
#include "image/image_priv.h"

enum { USES_MAX = 10000 };
static const int64_t WRITE_AFTER_NS = 60 * NS_PER_S;

static int take_used(void *context, const struct store_value *c, size_t count, struct err *err)
{
    *(int64_t *)context = c[0].integer;
    return 0;
}

int64_t image_last_used(struct images *im, const char *id)
{
    const struct store_value v = STORE_STR(id);
    int64_t written = 0;
    store_query(im->store, "SELECT max(used, tagged) FROM image WHERE id = ?", &v, 1, take_used, &written,
                NULL);
    pthread_mutex_lock(&im->mutex);
    int64_t known = (int64_t)(intptr_t)map_get(&im->uses, id);
    pthread_mutex_unlock(&im->mutex);
    return MAX(known, written);
}

void image_used(struct images *im, const char *id)
{
    int64_t now = time_now_ns();
    pthread_mutex_lock(&im->mutex);
    if (im->uses.count >= USES_MAX) {
        map_done(&im->uses);
        im->uses = MAP_INIT(NULL);
    }
    int64_t before = (int64_t)(intptr_t)map_get(&im->uses, id);
    map_put(&im->uses, id, (void *)(intptr_t)now);
    bool write = now / WRITE_AFTER_NS != before / WRITE_AFTER_NS;
    pthread_mutex_unlock(&im->mutex);
    if (!write)
        return;
    const struct store_value v[] = {STORE_I64(now), STORE_STR(id)};
    const struct store_statement s = {
        .sql = "UPDATE image SET used = ? WHERE id = ?", .params = v, .param_count = 2, .expect_changes = -1};
    store_batch(im->store, &s, 1, STORE_LAZY, NULL);
}
