/* Names without an address, in the registry of this process. */
#include "image/own.h"

#include "image/image_priv.h"

bool image_own_order_parse(const char *text, enum image_own_order *ret)
{
    static const char *const names[] = {
        [IMAGE_OWN_FIRST] = "first", [IMAGE_OWN_LAST] = "last", [IMAGE_OWN_ONLY] = "only"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (str_eq(text, names[i])) {
            *ret = (enum image_own_order)i;
            return true;
        }
    return false;
}

void images_set_own(struct images *im, const struct image_own *own)
{
    im->own = own;
}

char *image__own_name(struct images *im, const struct image_ref *ref)
{
    struct image_ref bare = {.domain = ref->domain, .path = ref->path};
    return im->own && str_eq(ref->domain, "docker.io") ? image_ref_familiar(&bare) : NULL;
}

int image__own_find(struct images *im, const struct image_ref *ref, char ret_digest[DIGEST_BYTES],
                    struct err *err)
{
    _cleanup_free_ char *name = image__own_name(im, ref);
    if (!name)
        return err_set(err, ERR_NOT_FOUND, "no registry of this node's own has such names");
    return im->own->find(im->own->context, name, ref->digest ? ref->digest : ref->tag, ret_digest, err);
}

/* Whether a failure of our own is the answer, or docker.io is to be asked. */
static bool is_answer(struct images *im, int r)
{
    return r != -ERR_NOT_FOUND || im->own->order == IMAGE_OWN_ONLY;
}

int image__own_or_remote(struct images *im, const struct image_ref *ref, image_try_fn own,
                         image_try_fn remote, void *context, struct err *err)
{
    _cleanup_free_ char *name = image__own_name(im, ref);
    if (!name)
        return remote(context, err);
    struct err second = {0};
    if (im->own->order == IMAGE_OWN_LAST) {
        int r = remote(context, err);
        if (r == 0 || r == -ERR_CANCELLED || own(context, &second) < 0)
            return r;
        return 0;
    }
    int r = own(context, &second);
    if (r == 0)
        return 0;
    return is_answer(im, r) ? err_copy(err, &second) : remote(context, err);
}
