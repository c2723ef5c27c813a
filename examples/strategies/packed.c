/* A strategy as a shared object: fills the node on which the least processor time would stay free, as long as
 * it keeps a tenth of its memory. Build it with: cc -shared -fPIC -I include -o packed.so
 * examples/strategies/packed.c */
#include <drover/strategy.h>

#include <math.h>

static int score(void *instance, const struct drover_strategy_task *task,
                 const struct drover_strategy_node *nodes, size_t node_size, size_t count, double *scores,
                 char *error, size_t error_size)
{
    (void)instance, (void)error, (void)error_size;
    for (size_t i = 0; i < count; i++) {
        const struct drover_strategy_node *n = drover_strategy_node_at(nodes, node_size, i);
        int64_t memory_left = n->free_memory_bytes - task->memory_bytes;
        scores[i] = memory_left * 10 < n->memory_bytes ? NAN : -(double)(n->free_cpu_nano - task->cpu_nano);
    }
    return 0;
}

const struct drover_strategy *drover_strategy(void)
{
    static const struct drover_strategy table = {
        .abi = DROVER_STRATEGY_ABI, .size = sizeof(struct drover_strategy), .name = "packed", .score = score};
    return &table;
}
