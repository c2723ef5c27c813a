/* Any bytes as a Dockerfile: parsed or refused, and every word of it expanded. */
#include "bakery/dockerfile.h"
#include "bakery/expand.h"
#include "bakery/ignore.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *lookup(void *context, const char *name)
{
    return *name == 'A' ? "value of A" : NULL;
}

static void expand_all(const struct dockerfile *d)
{
    struct expand x = {.escape = d->escape, .lookup = lookup};
    for (size_t i = 0; i < d->step_count; i++)
        STRV_FOREACH (word, d->steps[i].args) {
            char *one = NULL;
            char **many = NULL;
            if (expand_word(&x, *word, &one, NULL) == 0)
                free(one);
            if (expand_words(&x, *word, &many, NULL) == 0)
                strv_free(many);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dockerfile d;
    struct err err;
    if (dockerfile_parse((const char *)data, size, "Dockerfile", &d, &err) == 0) {
        expand_all(&d);
        dockerfile_done(&d);
    }
    struct ignore *g;
    if (ignore_parse((const char *)data, size, &g, &err) == 0) {
        ignore_matches(g, "some/path/in.it");
        ignore_free(g);
    }
    return 0;
}
