/* WWW-Authenticate as a registry sends it, and names of images. */
#include "base/mem.h"
#include "image/image_ref.h"
#include "image/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ char *text = mem_strndup((const char *)data, size);
    struct registry_challenge c = {0};
    struct image_ref ref = {0}, same = {0};
    struct err err = {0};
    if (registry_challenge_parse(text, &c, &err) < 0)
        must(err.code == ERR_PROTOCOL && *err.msg);
    else
        must(c.scheme && *c.scheme);
    registry_challenge_done(&c);
    if (image_ref_parse(text, &ref, &err) < 0)
        return 0;
    /* What is shown of a name leads to the same image. */
    _cleanup_free_ char *full = image_ref_format(&ref), *familiar = image_ref_familiar(&ref);
    must(image_ref_parse(familiar, &same, &err) == 0);
    _cleanup_free_ char *again = image_ref_format(&same);
    must(strcmp(full, again) == 0);
    image_ref_done(&ref);
    image_ref_done(&same);
    return 0;
}
