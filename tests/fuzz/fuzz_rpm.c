/* What rpm's databases have of a package, and rpm's own form of them ("RpmP..."). */
#include "bakery/packages.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct packages one = {.kind = PACKAGES_RPM}, all = {0};
    struct err err = {0};
    if (packages_add_rpm(&one, data, size, &err) < 0)
        must(err.code == ERR_INVALID && *err.msg);
    must(one.count <= 1);
    _cleanup_json_ json_t *spdx = packages_spdx(&one, "image", "fedora-41", 0);
    must(spdx && json_array_size(json_object_get(spdx, "packages")) == one.count + 1);
    packages_done(&one);
    if (packages_parse_rpm_ndb(data, size, &all, &err) < 0)
        must(err.code == ERR_INVALID && *err.msg);
    packages_done(&all);
    return 0;
}
