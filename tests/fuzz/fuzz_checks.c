/* checks.yaml from anybody: the checks, or lines of what is wrong. */
#include "imagetest/imagetest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_checks_ struct image_checks *c = NULL;
    struct err err = {0};
    if (image_checks_parse("checks.yaml", (const char *)data, size, &c, &err) < 0)
        must(err.code && *err.msg);
    else
        image_checks_port(c, "80/tcp");
    return 0;
}
