#include "cluster/images.h"

#include "base/file.h"
#include "cluster/identity.h"
#include "cluster/peer.h"
#include "cluster/port.h"
#include "image/content.h"

enum { MANIFEST_MAX = 8 << 20, ASK_TIMEOUT_MS = 5000, BODY_MAX = 64 << 10 };

/* --- for other nodes --- */

static struct images *images_of(struct cluster *c)
{
    return engine_images(c->engine);
}

static int give_manifest(struct http_request *q, struct cluster *c, bool own, struct err *err)
{
    struct port_peer peer;
    char digest[DIGEST_BYTES];
    _cleanup_close_ int fd = -EBADF;
    _cleanup_str_ struct str text = STR_INIT;
    _cleanup_json_ json_t *document = NULL;
    int64_t size;
    int r = port__peer(c, q, &peer, err);
    if (r == 0)
        r = images_offered(images_of(c), http_param(q, "name"), http_param(q, "reference"), own, digest, err);
    if (r == 0)
        r = content_open(images_of(c), digest, &fd, &size, err);
    if (r == 0)
        r = file_read_fd(fd, MANIFEST_MAX, &text, err);
    if (r == 0)
        r = json_parse(str_get(&text), text.len, "manifest", &document, err);
    if (r == 0)
        http_reply_bytes(q, 200, json_str(document, "mediaType"), str_get(&text), text.len);
    return r;
}

int images__give_manifest(struct http_request *q, void *context, struct err *err)
{
    return give_manifest(q, context, false, err);
}

int images__give_own_manifest(struct http_request *q, void *context, struct err *err)
{
    return give_manifest(q, context, true, err);
}

int images__give_blob(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    const char *digest = http_param(q, "digest");
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    int r = port__peer(c, q, &peer, err);
    if (r == 0 && !images_offer_blob(images_of(c), digest))
        r = err_set(err, ERR_NOT_FOUND, "no image of this node has blob %s", digest);
    if (r == 0)
        r = content_open(images_of(c), digest, &fd, &size, err);
    if (r == 0)
        http_reply_file(q, 200, "application/octet-stream", fd, 0, size);
    return r;
}

/* --- whom to ask, on the leader --- */

struct chosen {
    const struct node *nodes[IMAGE_NODES_MAX];
    size_t count;
};

static void choose(struct chosen *chosen, const struct node *n, const char *asker, size_t limit)
{
    for (size_t i = 0; i < chosen->count; i++)
        if (chosen->nodes[i] == n)
            return;
    if (chosen->count < limit && !n->lost && !str_eq(n->o.id, asker))
        chosen->nodes[chosen->count++] = n;
}

static bool runs_image(const struct task *t, const char *image)
{
    return t->node && t->state == TASK_RUNNING &&
           str_eq(json_str(json_object_get(t->o.spec, "ContainerSpec"), "Image"), image);
}

/* Nodes that run it have it: not always the same ones first, so that many that ask do not all ask one. Half
 * of the places are the managers'. */
static void choose_all(struct cluster *c, const char *image, const char *asker, struct chosen *chosen)
{
    struct map_entry *e;
    struct map *tasks = &c->objects[CLUSTER_TASK];
    size_t skip = tasks->count ? (size_t)time_monotonic_ns() % tasks->count : 0, at = 0;
    for (int round = 0; round < 2; round++, at = 0)
        for (size_t i = 0; (e = map_next(tasks, &i)); at++) {
            const struct task *t = e->value;
            const struct node *n = (at >= skip) == (round == 0) && runs_image(t, image)
                                       ? map_get(&c->objects[CLUSTER_NODE], t->node)
                                       : NULL;
            if (n)
                choose(chosen, n, asker, IMAGE_NODES_MAX / 2);
        }
    for (size_t i = 0; (e = map_next(&c->objects[CLUSTER_NODE], &i));) {
        const struct node *n = e->value;
        if (n->manager)
            choose(chosen, n, asker, IMAGE_NODES_MAX);
    }
}

static json_t *sources(struct cluster *c, const char *image, const char *asker)
{
    SCOPED_LOCK(locked, &c->lock);
    struct chosen chosen = {0};
    json_t *list = json_array();
    choose_all(c, image, asker, &chosen);
    for (size_t i = 0; i < chosen.count; i++) {
        const struct node *n = chosen.nodes[i];
        _cleanup_free_ char *door =
            str_empty(n->door) ? identity__door(n->address, CLUSTER_PORT) : mem_strdup(n->door);
        json_t *one = json_object();
        json_set_str(one, "ID", n->o.id);
        json_set_str(one, "Door", door);
        json_set_str(one, "Hostname", node__name(c, n->o.id));
        json_object_set_new(one, "Manager", json_boolean(n->manager));
        json_array_append_new(list, one);
    }
    return list;
}

int images__sources(struct http_request *q, void *context, struct err *err)
{
    struct cluster *c = context;
    struct port_peer peer;
    _cleanup_json_ json_t *body = NULL;
    if (port__elsewhere(c, q))
        return 0;
    int r = port__peer(c, q, &peer, err);
    if (r == 0)
        r = http_body_json(q, BODY_MAX, &body, err);
    if (r == 0)
        http_reply_json(q, 200, sources(c, json_str(body, "Image"), peer.node));
    return r;
}

/* --- for this node's pulls --- */

static size_t take_sources(const json_t *list, struct image_node *ret)
{
    size_t i, n = 0;
    const json_t *one;
    json_array_foreach (list, i, one) {
        bool manager = json_is_true(json_object_get(one, "Manager"));
        if (n < IMAGE_NODES_MAX)
            ret[n++] = (struct image_node){mem_strdup(manager ? PKI_MANAGER : json_str(one, "ID")),
                                           mem_strdup(json_str(one, "Door")),
                                           mem_strdup(json_str(one, "Hostname")), manager};
    }
    return n;
}

/* Without a leader the managers that are known are asked. */
static size_t known_managers(struct cluster *c, struct image_node *ret)
{
    SCOPED_LOCK(locked, &c->lock);
    size_t i, n = 0;
    const json_t *one;
    json_array_foreach (c->managers, i, one)
        if (n < IMAGE_NODES_MAX && !str_eq(json_str(one, "node"), c->self))
            ret[n++] = (struct image_node){mem_strdup(PKI_MANAGER), mem_strdup(json_str(one, "address")),
                                           mem_strdup(json_str(one, "address")), true};
    return n;
}

static size_t list_nodes(void *context, const char *reference, struct image_node *ret)
{
    struct cluster *c = context;
    _cleanup_json_ json_t *list = NULL, *body = json_object();
    if (!cluster_active(c) || c->locked)
        return 0;
    if (!cluster_elsewhere(c)) {
        list = sources(c, reference, c->self);
        return take_sources(list, ret);
    }
    json_set_str(body, "Image", reference);
    if (peer_call_leader(c, "POST", "/cluster/sources", body, ASK_TIMEOUT_MS, &list, &(struct err){0}) < 0)
        return known_managers(c, ret);
    return take_sources(list, ret);
}

static void node_files(void *context, struct image_node_files *ret)
{
    _cleanup_identity_files_ struct identity_files own;
    identity__files(context, &own);
    *ret = (struct image_node_files){mem_strdup(own.authority), mem_strdup(own.certificate),
                                     mem_strdup(own.key), mem_strdup(own.revoked)};
}

void images__begin(struct cluster *c)
{
    c->image_nodes = (struct image_nodes){c, list_nodes, node_files};
    images_set_nodes(images_of(c), &c->image_nodes);
}

void images__end(struct cluster *c)
{
    images_set_nodes(images_of(c), NULL);
}
