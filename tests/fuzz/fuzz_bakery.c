/* bakery.yaml from anybody: images, each behind all it stands on, or lines of what is wrong. */
#include "bake/bakery.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_bakery_ struct bakery *b = NULL;
    struct err err = {0};
    if (bakery_parse("bakery.yaml", (const char *)data, size, &b, &err) < 0) {
        must(err.code && *err.msg);
        return 0;
    }
    for (size_t i = 0; i < b->count; i++) {
        must(bakery_find(b, b->images[i].name) && *b->images[i].tags);
        for (size_t k = 0; k < b->images[i].stands_on_count; k++)
            must(b->images[i].stands_on[k] < i);
    }
    return 0;
}
