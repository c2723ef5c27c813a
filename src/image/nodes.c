/* Images from other nodes of the swarm, and for them. */
#include "image/nodes.h"

#include "image/image_priv.h"
#include "image/registry.h"

void images_set_nodes(struct images *im, const struct image_nodes *nodes)
{
    im->nodes = nodes;
}

void image_node_done(struct image_node *n)
{
    free(n->certified);
    free(n->address);
    free(n->shown);
    *n = (struct image_node){0};
}

void image_node_files_done(struct image_node_files *f)
{
    free(f->authority);
    free(f->certificate);
    free(f->key);
    free(f->revoked);
    *f = (struct image_node_files){0};
}

/* --- asking --- */

static bool is_asked(const struct image_node *n, const struct image_ref *ref)
{
    return n->manager || ref->digest;
}

static int ask(struct images *im, const struct image_node *node, const struct image_ref *ref, bool own,
               const struct image_progress *progress, image__node_fn one, void *context, struct err *err)
{
    struct image_node_files files = {0};
    _cleanup_free_ char *repository = image_ref_repository(ref);
    struct registry *registry = NULL;
    struct err why = {0};
    im->nodes->files(im->nodes->context, &files);
    registry_open_node(node, &files, own ? IMAGE_NODES_OWN_PREFIX : IMAGE_NODES_PREFIX, repository,
                       &registry);
    int r = one(context, registry, &why);
    registry_free(registry);
    image_node_files_done(&files);
    if (r == 0 || r == -ERR_CANCELLED || r == -ERR_NO_SPACE)
        return r < 0 ? err_copy(err, &why) : 0;
    if (r != -ERR_NOT_FOUND) {
        _cleanup_free_ char *line = str_printf("node %s: %.300s", node->shown, why.msg);
        r = registry_report(progress, "", line, 0, 0, err);
        if (r < 0)
            return r;
    }
    return err_set(err, ERR_NOT_FOUND, "node %s does not have it", node->shown);
}

int image__nodes_try(struct images *im, const struct image_ref *ref, bool own,
                     const struct image_progress *progress, image__node_fn one, void *context,
                     struct err *err)
{
    struct image_node nodes[IMAGE_NODES_MAX] = {0};
    _cleanup_free_ char *reference = image_ref_familiar(ref), *name = NULL;
    size_t n = im->nodes ? im->nodes->list(im->nodes->context, reference, nodes) : 0;
    int r = err_set(err, ERR_NOT_FOUND, "no node of the swarm has %s", reference);
    for (size_t i = 0; r == -ERR_NOT_FOUND && i < n; i++)
        if (is_asked(&nodes[i], ref)) {
            r = ask(im, &nodes[i], ref, own, progress, one, context, err);
            if (r == 0)
                name = mem_strdup(nodes[i].shown);
        }
    for (size_t i = 0; i < n; i++)
        image_node_done(&nodes[i]);
    if (r < 0)
        return r;
    _cleanup_free_ char *line = str_printf("From node %s", name);
    return registry_report(progress, "", line, 0, 0, err);
}

/* --- answering --- */

static bool has_row(struct images *im, const char *sql, const char *param)
{
    _cleanup_free_ char *found = NULL;
    return image__query_text(im, sql, param, &found, NULL) == 0 && found;
}

bool images_offer_blob(struct images *im, const char *digest)
{
    return digest_valid(digest) &&
           has_row(im,
                   "SELECT image FROM image_blob WHERE digest = ?1"
                   " UNION ALL SELECT repository FROM repository_blob WHERE digest = ?1"
                   " UNION ALL SELECT repository FROM repository_manifest WHERE digest = ?1 LIMIT 1",
                   digest);
}

/* What came from a registry has a digest there. */
static bool was_pulled(struct images *im, const char *repository, const char *name)
{
    _cleanup_strv_ char **digests = NULL;
    _cleanup_free_ char *prefix = str_printf("%s@", repository);
    if (image__query_list(im,
                          "SELECT repo_digest.name FROM repo_digest JOIN reference"
                          " ON reference.image = repo_digest.image WHERE reference.name = ?",
                          name, &digests, NULL) < 0)
        return true;
    STRV_FOREACH (one, digests)
        if (str_after(*one, prefix))
            return true;
    return false;
}

static int offered_tag(struct images *im, const struct image_ref *ref, bool own,
                       char ret_digest[DIGEST_BYTES], struct err *err)
{
    _cleanup_free_ char *repository = image_ref_repository(ref), *manifest = NULL;
    _cleanup_free_ char *name = str_printf("%s:%s", repository, ref->tag);
    if (im->own && image__own_find(im, ref, ret_digest, &(struct err){0}) == 0)
        return 0;
    int r = image__query_text(im,
                              "SELECT image.manifest FROM reference JOIN image ON image.id = reference.image"
                              " WHERE reference.name = ?",
                              name, &manifest, err);
    if (r < 0)
        return r;
    if (!manifest || (own && was_pulled(im, repository, name)))
        return err_set(err, ERR_NOT_FOUND, "this node has no %s", name);
    snprintf(ret_digest, DIGEST_BYTES, "%s", manifest);
    return 0;
}

int images_offered(struct images *im, const char *repository, const char *reference, bool own,
                   char ret_digest[DIGEST_BYTES], struct err *err)
{
    _cleanup_ref_ struct image_ref ref = {0};
    bool is_digest = strchr(reference, ':') != NULL;
    _cleanup_free_ char *text = str_printf("%s%s%s", repository, is_digest ? "@" : ":", reference);
    int r = image_ref_parse(text, &ref, err);
    if (r < 0)
        return r;
    if (!is_digest)
        return offered_tag(im, &ref, own, ret_digest, err);
    if (!images_offer_blob(im, reference))
        return err_set(err, ERR_NOT_FOUND, "this node has no manifest %s", reference);
    snprintf(ret_digest, DIGEST_BYTES, "%s", reference);
    return 0;
}
