/* The images of a stack's services by digest: of the registry, of what is deployed, or of another stack. */
#include "base/json.h"
#include "cli/call.h"
#include "cli/digest.h"
#include "cli/stack.h"

struct pinning {
    const struct stack_images *how;
    const char *stack;
    json_t *deployed; /* {service in the file: image} */
    json_t *source;   /* of the stack to promote from */
    json_t *resolved; /* {image: with its digest}: a tag is asked for once */
};

static json_t *container_of(const json_t *spec)
{
    return json_object_get(json_object_get(spec, "TaskTemplate"), "ContainerSpec");
}

static int images_of(const char *stack, json_t **ret, struct err *err)
{
    _cleanup_json_ json_t *list = NULL, *out = json_object();
    _cleanup_free_ char *prefix = str_printf("%s_", stack);
    json_t *one;
    size_t i;
    int r = stack_list("services", stack, &list, err);
    json_array_foreach (list, i, one) {
        const json_t *spec = json_object_get(one, "Spec");
        const char *name = str_after(json_str(spec, "Name"), prefix);
        if (name)
            json_set_str(out, name, json_str(container_of(spec), "Image"));
    }
    if (r == 0)
        *ret = json_incref(out);
    return r;
}

static bool is_of_tag(const char *pinned, const char *image)
{
    const char *rest = str_after(pinned, image);
    return rest && *rest == '@';
}

/* What another stack runs, which must be one image everywhere. */
static int promote(const struct pinning *p, const char *service, char **ret, struct err *err)
{
    const char *image = json_str(p->source, service);
    if (!*image)
        return err_set(err, ERR_NOT_FOUND, "stack %s has no service %s to promote", p->how->from, service);
    if (!strchr(image, '@'))
        return err_set(
            err, ERR_CONFLICT,
            "stack %s runs %s of %s, which has no digest and may be another image by now: push it to a "
            "registry, and deploy that stack again",
            p->how->from, service, image);
    *ret = mem_strdup(image);
    return 0;
}

static char *keep(const char *present, const char *image)
{
    return mem_strdup(is_of_tag(present, image) ? present : image);
}

/* Always an image: without its registry, what is deployed stays, else the tag is all there is. */
static char *resolve(struct pinning *p, const char *service, const char *image)
{
    const char *known = json_str(p->resolved, image), *present = json_str(p->deployed, service);
    struct err why;
    char *out = NULL;
    if (*known)
        return strchr(known, '@') ? mem_strdup(known) : keep(present, image);
    if (digest_resolve(image, &out, &why) < 0) {
        json_set_str(p->resolved, image, image);
        if (!p->how->quiet && !is_of_tag(present, image))
            fprintf(stderr, "drover: note: %s: each node runs what it has or finds under the tag\n", why.msg);
        return keep(present, image);
    }
    json_set_str(p->resolved, image, out);
    return out;
}

static int pin(struct pinning *p, const struct stack_service *s, struct err *err)
{
    json_t *container = container_of(s->spec);
    const char *image = json_str(container, "Image"), *service = s->service->name;
    const char *present = json_str(p->deployed, service);
    _cleanup_free_ char *pinned = NULL;
    bool changed = str_eq(p->how->resolve, "changed");
    if (p->how->from) {
        int r = promote(p, service, &pinned, err);
        if (r < 0)
            return r;
    } else if (strchr(image, '@') || str_eq(p->how->resolve, "never"))
        return 0;
    else if (changed && (str_eq(present, image) || is_of_tag(present, image)))
        pinned = mem_strdup(present);
    else
        pinned = resolve(p, service, image);
    json_set_str(container, "Image", pinned);
    return 0;
}

int stack_pin(const struct stack *s, const char *name, const struct stack_images *how, struct err *err)
{
    static const char *const policies[] = {"always", "changed", "never", NULL};
    struct pinning p = {.how = how, .stack = name, .resolved = json_object()};
    int r = 0;
    if (how->resolve && !strv_has((char *const *)policies, how->resolve))
        r = err_set(err, ERR_INVALID, "--resolve-image must be always, changed or never, not \"%.50s\"",
                    how->resolve);
    if (r == 0)
        r = images_of(name, &p.deployed, err);
    if (r == 0 && how->from)
        r = images_of(how->from, &p.source, err);
    for (size_t i = 0; r == 0 && i < s->service_count; i++)
        r = pin(&p, &s->services[i], err);
    json_decref(p.deployed);
    json_decref(p.source);
    json_decref(p.resolved);
    return r;
}
