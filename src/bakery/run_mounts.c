#include "bakery/run_mounts.h"

#include "bakery/source.h"
#include "base/file.h"

#include <sys/stat.h>

static int expand_value(void *context, const char *text, char **ret, struct err *err)
{
    return build__expand(context, text, ret, err);
}

/* Docker's place for the n-th agent that has none of its own. */
static void place_agents(struct run_mounts *m)
{
    unsigned n = 0;
    for (size_t i = 0; i < m->count; i++) {
        struct bakery_mount *b = &m->flags[i].mount;
        if (b->type != BAKERY_SSH)
            continue;
        if (!b->target)
            b->target = str_printf("/run/buildkit/ssh_agent.%u", n);
        n++;
    }
}

static int check_targets(const struct run_mounts *m, struct err *err)
{
    for (size_t i = 0; i < m->count; i++)
        for (size_t j = 0; j < i; j++)
            if (m->flags[i].mount.target && str_eq(m->flags[i].mount.target, m->flags[j].mount.target))
                return err_set(err, ERR_INVALID, "two mounts have the target %s", m->flags[i].mount.target);
    return 0;
}

int run_mounts_read(struct build *s, const struct df_step *step, struct run_mounts *ret, struct err *err)
{
    const char *workdir = json_str(build__config(s), "WorkingDir");
    size_t count = 0;
    for (size_t i = 0; i < step->flag_count; i++)
        count += str_eq(step->flags[i].name, "mount");
    *ret = (struct run_mounts){0};
    if (count > RUN_MOUNTS_MAX)
        return err_set(err, ERR_LIMIT, "a RUN can have at most %d mounts", RUN_MOUNTS_MAX);
    if (!count)
        return 0;
    ret->count = count;
    ret->flags = NEW_N(struct mount_flag, ret->count);
    ret->mounts = NEW_N(struct bakery_mount, ret->count);
    ret->layers = NEW_N(struct layer, ret->count);
    ret->secrets = NEW_N(struct str, ret->count);
    for (size_t i = 0; i < ret->count; i++)
        ret->layers[i].root_fd = -EBADF;
    size_t at = 0;
    for (size_t i = 0; i < step->flag_count; i++) {
        if (!str_eq(step->flags[i].name, "mount"))
            continue;
        const char *text = step->flags[i].value ? step->flags[i].value : "";
        int r = mount_parse(text, *workdir ? workdir : "/", expand_value, s, &ret->flags[at++], err);
        if (r < 0)
            return r;
    }
    place_agents(ret);
    return check_targets(ret, err);
}

/* --- what a bind shows --- */

/* The image behind a "from": a stage's, which is built for it, or one by name. *ret_id NULL: nothing in it.
 */
static int image_of(struct build *s, const char *from, char **ret_id, struct err *err)
{
    struct builder *b = s->b;
    ssize_t index = build__find_stage(b, from, (size_t)(s->stage - b->stages));
    if (index < 0)
        return build__find_image(b, from, ret_id, err);
    int r = build__need(s, (size_t)index, err);
    if (r == 0)
        *ret_id = mem_strdup(b->stages[index].image_id);
    return r;
}

static int hash_context(struct build *s, const struct bakery_mount *b, char **ret, struct err *err)
{
    struct sources sources = {0};
    struct bakery_context *c = s->b->o->context;
    const struct source_root root = {
        .fd = s->b->context_fd, .tree = c ? context_tree(c) : NULL, .ignore = s->b->ignore};
    int r = sources_find(&sources, &root, b->source ? b->source : ".", err);
    if (r == 0)
        r = sources_hash(&sources, ret, err);
    sources_done(&sources);
    return r;
}

int run_mounts_key(struct build *s, const struct run_mounts *m, struct str *key, struct err *err)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct mount_flag *flag = &m->flags[i];
        _cleanup_free_ char *text = mount_describe(flag), *shows = NULL;
        int r = 0;
        if (flag->mount.type == BAKERY_BIND)
            r = str_empty(flag->from) ? hash_context(s, &flag->mount, &shows, err)
                                      : image_of(s, flag->from, &shows, err);
        if (r < 0)
            return err_wrap(err, "--mount with the target %s", flag->mount.target);
        str_addf(key, "|%zu:%s%s", strlen(text), text, shows ? shows : "");
    }
    return 0;
}

/* --- ready to be mounted --- */

static int prepare_from(struct build *s, const struct mount_flag *flag, struct layer *l, struct err *err)
{
    _cleanup_free_ char *id = NULL;
    if (str_empty(flag->from) && flag->mount.type == BAKERY_CACHE)
        return 0;
    int r = str_empty(flag->from) ? 0 : image_of(s, flag->from, &id, err);
    if (r < 0)
        return r;
    l->dir = build__work_path(s->b);
    if (mkdir(l->dir, 0700) < 0)
        return err_sys(err, errno, "make %s", l->dir);
    if (!str_empty(flag->from))
        return image_snapshot_create(s->b->im, id, l->dir, &l->snapshot, err);
    int fd;
    r = s->b->o->context ? context_unpack(s->b->o->context, &fd, err) : 0;
    return r < 0 ? r : image_snapshot_over(s->b->im, s->b->o->context_dir, l->dir, &l->snapshot, err);
}

static int prepare_secret(struct build *s, const struct mount_flag *flag, struct str *value, bool *left_out,
                          struct err *err)
{
    const struct bakery_options *o = s->b->o;
    struct err why = {0};
    int r = o->secret ? o->secret(o->secret_context, flag->mount.id, value, &why) : -ERR_NOT_FOUND;
    if (r == 0 || r != -ERR_NOT_FOUND)
        return r < 0 ? err_copy(err, &why) : 0;
    *left_out = !flag->required;
    return flag->required ? err_set(err, ERR_INVALID,
                                    "secret %s: not found: give it to the build with --secret id=%s,src=FILE",
                                    flag->mount.id, flag->mount.id)
                          : 0;
}

static int prepare_agent(struct build *s, const struct mount_flag *flag, bool *left_out, struct err *err)
{
    const struct bakery_options *o = s->b->o;
    if (o->has_ssh && o->has_ssh(o->secret_context, flag->mount.id))
        return 0;
    *left_out = !flag->required;
    return flag->required
               ? err_set(err, ERR_INVALID, "ssh agent %s: not found: give it to the build with --ssh %s",
                         flag->mount.id, flag->mount.id)
               : 0;
}

int run_mounts_prepare(struct build *s, struct run_mounts *m, struct err *err)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct mount_flag *flag = &m->flags[i];
        bool left_out = false;
        int r = 0;
        if (flag->mount.type == BAKERY_BIND || flag->mount.type == BAKERY_CACHE)
            r = prepare_from(s, flag, &m->layers[i], err);
        else if (flag->mount.type == BAKERY_SECRET)
            r = prepare_secret(s, flag, &m->secrets[i], &left_out, err);
        else if (flag->mount.type == BAKERY_SSH)
            r = prepare_agent(s, flag, &left_out, err);
        if (r < 0)
            return r;
        if (left_out)
            continue;
        struct bakery_mount *mount = &m->mounts[m->mounted++];
        *mount = flag->mount;
        mount->from = m->layers[i].dir ? &m->layers[i].snapshot : NULL;
        mount->value = flag->mount.type == BAKERY_SECRET ? &m->secrets[i] : NULL;
    }
    return 0;
}

void run_mounts_done(struct run_mounts *m)
{
    for (size_t i = 0; i < m->count; i++) {
        mount_done(&m->flags[i]);
        build__layer_done(&m->layers[i]);
        if (m->secrets[i].data)
            explicit_bzero(m->secrets[i].data, m->secrets[i].len);
        str_free(&m->secrets[i]);
    }
    free(m->flags);
    free(m->mounts);
    free(m->layers);
    free(m->secrets);
    *m = (struct run_mounts){0};
}
