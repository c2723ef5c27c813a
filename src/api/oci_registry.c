#include "api/oci_registry.h"

#include "api/api_priv.h"
#include "api/registry_access.h"
#include "api/registry_config.h"
#include "base/json.h"
#include "base/log.h"
#include "registry/policy.h"
#include "registry/registry.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void reply_failure(struct http_request *q, const struct registry_err *err)
{
    int status =
        err->code == REGISTRY_INTERNAL ? err_http_status(err->cause.code) : registry_code_status(err->code);
    if (status >= 500)
        log_warning("registry: %s %s: %s", http_method(q), http_path(q), err->cause.msg);
    json_t *one = json_object();
    json_set_str(one, "code", registry_code_name(err->code));
    json_set_str(one, "message", err->cause.msg);
    json_object_set_new(one, "detail", json_object());
    http_reply_json(q, status, json_pack("{s:[o]}", "errors", one));
}

/* Answers and returns 0, or fills `err`. */
typedef int (*serve_fn)(struct http_request *q, const struct oci_registry *o, struct registry_err *err);

static void answer(struct http_request *q, void *context, serve_fn serve)
{
    const struct oci_registry *o = context;
    struct registry_err err = {0};
    if (serve(q, o, &err) == 0)
        return;
    api__advise(&err.cause);
    reply_failure(q, &err);
}

static int fail(struct registry_err *err, enum registry_code code, const char *message)
{
    err->code = code;
    return err_set(&err->cause, ERR_INVALID, "%s", message);
}

static int busy(struct registry_err *err)
{
    err->code = REGISTRY_INTERNAL;
    return err_set(&err->cause, ERR_UNAVAILABLE, "no thread is free; try again later");
}

static void set_location(struct http_request *q, const char *repository, const char *what, const char *id)
{
    _cleanup_free_ char *path = str_printf("/v2/%s/%s/%s", repository, what, id);
    http_set_header(q, "Location", path);
}

static const char *repository_of(struct http_request *q)
{
    return http_param(q, "name");
}

/* --- the base (section "Determining Support") --- */

static void base(struct http_request *q, void *context)
{
    http_reply_json(q, 200, json_object());
}

/* --- blobs (section "Pulling blobs") --- */

struct range {
    int64_t from, n;
    bool partial;
};

static bool parse_number(const char **at, int64_t *ret)
{
    size_t n = strspn(*at, "0123456789");
    _cleanup_free_ char *digits = mem_strndup(*at, n);
    *at += n;
    return n > 0 && parse_i64(digits, 0, INT64_MAX, ret, NULL) == 0;
}

/* RFC 9110, section 14.1.2: one range of bytes; what is not that is passed over. False: it cannot be
 * satisfied. */
static bool parse_range(const char *header, int64_t size, struct range *ret)
{
    const char *at = header ? str_after(header, "bytes=") : NULL;
    int64_t from = 0, to = size - 1;
    *ret = (struct range){0, size, false};
    if (!at || strchr(at, ','))
        return true;
    if (*at == '-') {
        at++;
        if (!parse_number(&at, &from) || *at)
            return true;
        if (from == 0)
            return false;
        from = from > size ? 0 : size - from;
    } else {
        if (!parse_number(&at, &from) || *at != '-')
            return true;
        at++;
        if (*at && (!parse_number(&at, &to) || *at))
            return true;
        to = MIN(to, size - 1);
    }
    if (from > to || from >= size)
        return false;
    *ret = (struct range){from, to - from + 1, true};
    return true;
}

static void send_blob(struct http_request *q, int fd, int64_t size)
{
    struct range range;
    char text[80];
    http_set_header(q, "Accept-Ranges", "bytes");
    if (!parse_range(http_header(q, "Range"), size, &range)) {
        snprintf(text, sizeof(text), "bytes */%lld", (long long)size);
        http_set_header(q, "Content-Range", text);
        http_reply_empty(q, 416);
        return;
    }
    if (range.partial) {
        snprintf(text, sizeof(text), "bytes %lld-%lld/%lld", (long long)range.from,
                 (long long)(range.from + range.n - 1), (long long)size);
        http_set_header(q, "Content-Range", text);
    }
    http_reply_file(q, range.partial ? 206 : 200, "application/octet-stream", fd, range.from, range.n);
}

static int get_blob(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    const char *digest = http_param(q, "digest");
    _cleanup_close_ int fd = -EBADF;
    int64_t size;
    if (!registry_blob_open_at_hand(r, repository_of(q), digest, &fd, &size)) {
        if (!http_lasts(q))
            return busy(err);
        int code = registry_blob_open(r, repository_of(q), digest, &fd, &size, err);
        if (code < 0)
            return code;
    }
    _cleanup_free_ char *tag = str_printf("\"%s\"", digest);
    http_set_header(q, "Docker-Content-Digest", digest);
    http_set_header(q, "ETag", tag);
    /* What has this digest never changes. */
    http_set_header(q, "Cache-Control", "max-age=31536000");
    if (str_eq(http_header(q, "If-None-Match"), tag))
        http_reply_empty(q, 304);
    else
        send_blob(q, fd, size);
    return 0;
}

static int delete_blob(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    int code = registry_blob_delete(r, repository_of(q), http_param(q, "digest"), err);
    if (code == 0)
        http_reply_empty(q, 202);
    return code;
}

/* --- uploads (section "Pushing blobs") --- */

static void reply_upload(struct http_request *q, int status, const char *id, int64_t size)
{
    char range[40];
    snprintf(range, sizeof(range), "0-%lld", (long long)(size > 0 ? size - 1 : 0));
    set_location(q, repository_of(q), "blobs/uploads", id);
    http_set_header(q, "Range", range);
    http_set_header(q, "Docker-Upload-UUID", id);
    http_reply_empty(q, status);
}

static void reply_blob_created(struct http_request *q, const char *digest)
{
    set_location(q, repository_of(q), "blobs", digest);
    http_set_header(q, "Docker-Content-Digest", digest);
    http_reply_empty(q, 201);
}

static ssize_t read_body(void *context, void *buffer, size_t n, struct err *err)
{
    return http_body_read(context, buffer, n, err);
}

/* "0-1023", as the specification has it, or "bytes 0-1023/4096", as RFC 9110 does. */
static int parse_content_range(const char *header, int64_t *ret_start, int64_t *ret_length,
                               struct registry_err *err)
{
    const char *at = str_after(header, "bytes ");
    int64_t start, end;
    at = at ? at : header;
    if (!parse_number(&at, &start) || *at++ != '-' || !parse_number(&at, &end) || (*at && *at != '/') ||
        end < start)
        return fail(err, REGISTRY_BLOB_UPLOAD_INVALID,
                    "Content-Range is not START-END with END not before START");
    *ret_start = start;
    *ret_length = end - start + 1;
    return 0;
}

/* The body of a PATCH or a PUT, where its Content-Range says. */
static int append_body(struct http_request *q, struct registry *r, const char *id, int64_t *ret_size,
                       struct registry_err *err)
{
    const char *range = http_header(q, "Content-Range");
    int64_t start = -1, length = -1;
    if (range && parse_content_range(range, &start, &length, err) < 0)
        return -err->cause.code;
    return registry_upload_append(r, repository_of(q), id, start, length, read_body, q, ret_size, err);
}

static int finish(struct http_request *q, struct registry *r, const char *id, struct registry_err *err)
{
    const char *digest = http_query(q, "digest");
    int64_t size;
    int code = 0;
    if (str_empty(digest))
        return fail(err, REGISTRY_DIGEST_INVALID,
                    "the query must say the blob's digest (?digest=sha256:...)");
    if (http_has_body(q))
        code = append_body(q, r, id, &size, err);
    if (code == 0)
        code = registry_upload_finish(r, repository_of(q), id, digest, err);
    if (code == 0)
        reply_blob_created(q, digest);
    return code;
}

static bool is_of_nothing(const char *digest)
{
    char nothing[DIGEST_BYTES];
    if (!digest_valid(digest))
        return false;
    _cleanup_hasher_ struct digest_hasher *h = digest_hasher_new(digest);
    digest_hasher_format(h, nothing);
    return str_eq(digest, nothing);
}

/* The whole blob in the one request. What fails leaves no upload behind, since its client has no name for it.
 */
static int push_at_once(struct http_request *q, struct registry *r, struct registry_err *err)
{
    char id[REGISTRY_ID_BYTES];
    int code = registry_upload_begin(r, repository_of(q), id, err);
    if (code < 0)
        return code;
    code = finish(q, r, id, err);
    struct registry_err ignored = {0};
    if (code < 0)
        registry_upload_cancel(r, repository_of(q), id, &ignored);
    return code;
}

/* A mount gives whoever may push to one repository what is in another: he must be allowed to pull it there.
 * Without a source any will do that he may pull from. *ret NULL: it may come from anywhere. False: from
 * nowhere, so that the blob must come as an upload. */
static bool mount_source(const struct oci_registry *o, struct http_request *q, const char *digest,
                         const char *from, char **ret)
{
    _cleanup_strv_ char **sources = NULL;
    if (!str_empty(from))
        strv_add(&sources, from);
    else if (!o->access)
        return true;
    else if (registry_mount_sources(o->registry, digest, &sources, NULL) < 0)
        return false;
    struct registry_who who = {0};
    if (o->access)
        who = registry_access_who(o->access, q);
    for (char **one = sources; one && *one && !*ret; one++)
        if (!o->access ||
            (registry_name_valid(*one) && registry_access_rights(o->access, &who, *one) & REGISTRY_PULL))
            *ret = mem_strdup(*one);
    registry_who_done(&who);
    return *ret != NULL;
}

static int begin_upload(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    const char *mount = http_query(q, "mount"), *digest = http_query(q, "digest"),
               *from = http_query(q, "from");
    _cleanup_free_ char *source = NULL;
    if (!str_empty(mount) && mount_source(o, q, mount, from, &source)) {
        int code = registry_upload_mount(r, repository_of(q), source, mount, err);
        if (code == 0)
            reply_blob_created(q, mount);
        if (code == 0 || err->code != REGISTRY_BLOB_UNKNOWN)
            return code;
        *err = (struct registry_err){0};
    }
    if (!str_empty(digest) && (http_has_body(q) || is_of_nothing(digest)))
        return push_at_once(q, r, err);
    char id[REGISTRY_ID_BYTES];
    int code = registry_upload_begin(r, repository_of(q), id, err);
    if (code == 0)
        reply_upload(q, 202, id, 0);
    return code;
}

static int upload_status(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    int64_t size;
    int code = registry_upload_size(r, repository_of(q), http_param(q, "id"), &size, err);
    if (code == 0)
        reply_upload(q, 204, http_param(q, "id"), size);
    return code;
}

static int append(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    int64_t size;
    int code = append_body(q, r, http_param(q, "id"), &size, err);
    if (code == 0)
        reply_upload(q, 202, http_param(q, "id"), size);
    else if (err->code == REGISTRY_RANGE_INVALID)
        set_location(q, repository_of(q), "blobs/uploads", http_param(q, "id"));
    return code;
}

static int finish_upload(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    return finish(q, r, http_param(q, "id"), err);
}

static int cancel_upload(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    int code = registry_upload_cancel(r, repository_of(q), http_param(q, "id"), err);
    if (code == 0)
        http_reply_empty(q, 204);
    return code;
}

/* --- manifests --- */

static int get_manifest(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    struct registry_manifest m = {0};
    int code = registry_manifest_get(r, repository_of(q), http_param(q, "reference"), &m, err);
    if (code < 0)
        return code;
    _cleanup_free_ char *tag = str_printf("\"%s\"", m.digest);
    http_set_header(q, "Docker-Content-Digest", m.digest);
    http_set_header(q, "ETag", tag);
    if (str_eq(http_header(q, "If-None-Match"), tag))
        http_reply_empty(q, 304);
    else
        http_reply_bytes(q, 200, m.media_type, str_get(&m.bytes), m.bytes.len);
    registry_manifest_done(&m);
    return 0;
}

static int read_manifest(struct http_request *q, struct str *ret, struct registry_err *err)
{
    for (;;) {
        char *room = str_reserve(ret, 64 << 10);
        ssize_t n = http_body_read(q, room, 64 << 10, &err->cause);
        if (n < 0) {
            err->code = REGISTRY_INTERNAL;
            return (int)n;
        }
        if (n == 0)
            return 0;
        ret->len += (size_t)n;
        if (ret->len > REGISTRY_MAX_MANIFEST)
            return fail(err, REGISTRY_TOO_LARGE, "a manifest of more than 8 MiB is not stored");
    }
}

static int put_manifest(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    _cleanup_str_ struct str bytes = STR_INIT;
    _cleanup_strv_ char **tags = http_query_all(q, "tag");
    char digest[DIGEST_BYTES], subject[DIGEST_BYTES];
    int code = read_manifest(q, &bytes, err);
    if (code == 0)
        code = registry_manifest_put(r, repository_of(q), http_param(q, "reference"), tags,
                                     http_header(q, "Content-Type"), str_get(&bytes), bytes.len, digest,
                                     subject, err);
    if (code < 0)
        return code;
    set_location(q, repository_of(q), "manifests", digest);
    http_set_header(q, "Docker-Content-Digest", digest);
    if (*subject)
        http_set_header(q, "OCI-Subject", subject);
    STRV_FOREACH (tag, tags)
        http_set_header(q, "OCI-Tag", *tag);
    http_reply_empty(q, 201);
    return 0;
}

static bool is_admin(const struct oci_registry *o, struct http_request *q)
{
    if (!o->access)
        return false;
    struct registry_who who = registry_access_who(o->access, q);
    bool admin = registry_access_may_manage(o->access, &who, repository_of(q));
    registry_who_done(&who);
    return admin;
}

static int delete_manifest(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    int code = registry_manifest_delete(r, repository_of(q), http_param(q, "reference"), is_admin(o, q), err);
    if (code == 0)
        http_reply_empty(q, 202);
    return code;
}

/* --- lists (section "Content Discovery") --- */

static int page_size(struct http_request *q, int *ret, struct registry_err *err)
{
    const char *text = http_query(q, "n");
    int64_t n = -1;
    if (text && parse_i64(text, 0, INT32_MAX, &n, NULL) < 0)
        return fail(err, REGISTRY_QUERY_INVALID, "the query's n is the number of names wanted: 0 or more");
    *ret = (int)n;
    return 0;
}

/* RFC 8288: where the rest is. Names and tags need no escaping. */
static void set_next(struct http_request *q, const char *path, int n, const char *last)
{
    _cleanup_free_ char *link = n >= 0 ? str_printf("<%s?n=%d&last=%s>; rel=\"next\"", path, n, last)
                                       : str_printf("<%s?last=%s>; rel=\"next\"", path, last);
    http_set_header(q, "Link", link);
}

static void reply_names(struct http_request *q, const char *key, char **names, bool more, int n)
{
    json_t *body = json_object();
    if (str_eq(key, "tags"))
        json_set_str(body, "name", repository_of(q));
    json_object_set_new(body, key, json_of_strv(names));
    if (more && names)
        set_next(q, http_path(q), n, names[strv_len(names) - 1]);
    http_reply_json(q, 200, body);
}

static int list_tags(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    _cleanup_strv_ char **tags = NULL;
    bool more;
    int n, code = page_size(q, &n, err);
    if (code == 0)
        code = registry_tags(r, repository_of(q), http_query(q, "last"), n, &tags, &more, err);
    if (code == 0)
        reply_names(q, "tags", tags, more, n);
    return code;
}

/* A page of them may be shorter than was asked for: the names that one may not see are left out. */
static char **those_to_pull(const struct oci_registry *o, struct http_request *q, char *const *names)
{
    char **seen = NULL;
    struct registry_who who = registry_access_who(o->access, q);
    for (char *const *name = names; name && *name; name++)
        if (registry_access_may_see(o->access, &who, *name))
            strv_add(&seen, *name);
    registry_who_done(&who);
    return seen;
}

static int list_repositories(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    _cleanup_strv_ char **names = NULL;
    bool more;
    int n, code = page_size(q, &n, err);
    if (code == 0)
        code = registry_repositories(r, http_query(q, "last"), n, &names, &more, err);
    if (code < 0)
        return code;
    if (more && names)
        set_next(q, http_path(q), n, names[strv_len(names) - 1]);
    _cleanup_strv_ char **seen = o->access ? those_to_pull(o, q, names) : strv_dup(names);
    reply_names(q, "repositories", seen, false, n);
    return 0;
}

static int list_referrers(struct http_request *q, const struct oci_registry *o, struct registry_err *err)
{
    struct registry *r = o->registry;
    const char *type = http_query(q, "artifactType");
    json_t *index;
    char last[DIGEST_BYTES];
    bool more;
    int code = registry_referrers(r, repository_of(q), http_param(q, "digest"), str_empty(type) ? NULL : type,
                                  http_query(q, "last"), &index, last, &more, err);
    if (code < 0)
        return code;
    if (!str_empty(type))
        http_set_header(q, "OCI-Filters-Applied", "artifactType");
    if (more)
        set_next(q, http_path(q), -1, last);
    _cleanup_free_ char *text = json_format(index);
    json_decref(index);
    http_reply_text(q, 200, "application/vnd.oci.image.index.v1+json", text);
    return 0;
}

/* --- the table --- */

#define SERVED_BY(name)                                                                                      \
    static void on_##name(struct http_request *q, void *context)                                             \
    {                                                                                                        \
        answer(q, context, name);                                                                            \
    }
SERVED_BY(get_blob)
SERVED_BY(delete_blob)
SERVED_BY(begin_upload)
SERVED_BY(upload_status)
SERVED_BY(append)
SERVED_BY(finish_upload)
SERVED_BY(cancel_upload)
SERVED_BY(get_manifest)
SERVED_BY(put_manifest)
SERVED_BY(delete_manifest)
SERVED_BY(list_tags)
SERVED_BY(list_repositories)
SERVED_BY(list_referrers)

static void no_such_path(struct http_request *q, void *context)
{
    json_t *one = json_pack("{s:s,s:s}", "code", "UNSUPPORTED", "message",
                            "no such path or method in the OCI distribution API");
    http_reply_json(q, 404, json_pack("{s:[o]}", "errors", one));
}

static void token(struct http_request *q, void *context)
{
    const struct oci_registry *o = context;
    if (o->access)
        return registry_access_token(o->access, q);
    no_such_path(q, context);
}

const struct http_route oci_registry_routes[] = {
    {"GET", "/v2/", .handler = base, .needs = "support"},
    {"GET", "/v2", .handler = base, .needs = "support"},
    {"HEAD", "/v2/", .handler = base, .needs = "support"},
    {"GET", "/v2/_catalog", .handler = on_list_repositories, .needs = "catalog"},
    {"GET", "/v2/{name...}/tags/list", .handler = on_list_tags, .needs = "pull"},
    {"GET", "/v2/{name...}/referrers/{digest}", .handler = on_list_referrers, .needs = "pull"},
    {"GET", "/v2/{name...}/manifests/{reference}", .handler = on_get_manifest, .needs = "pull"},
    {"HEAD", "/v2/{name...}/manifests/{reference}", .handler = on_get_manifest, .needs = "pull"},
    {"PUT", "/v2/{name...}/manifests/{reference}", .handler = on_put_manifest, .kind = HTTP_TRANSFER,
     .needs = "push"},
    {"DELETE", "/v2/{name...}/manifests/{reference}", .handler = on_delete_manifest, .needs = "delete"},
    {"POST", "/v2/{name...}/blobs/uploads/", .handler = on_begin_upload, .kind = HTTP_TRANSFER,
     .needs = "push"},
    {"POST", "/v2/{name...}/blobs/uploads", .handler = on_begin_upload, .kind = HTTP_TRANSFER,
     .needs = "push"},
    {"GET", "/v2/{name...}/blobs/uploads/{id}", .handler = on_upload_status, .needs = "push"},
    {"PATCH", "/v2/{name...}/blobs/uploads/{id}", .handler = on_append, .kind = HTTP_TRANSFER,
     .needs = "push"},
    {"PUT", "/v2/{name...}/blobs/uploads/{id}", .handler = on_finish_upload, .kind = HTTP_TRANSFER,
     .needs = "push"},
    {"DELETE", "/v2/{name...}/blobs/uploads/{id}", .handler = on_cancel_upload, .needs = "push"},
    {"GET", "/v2/{name...}/blobs/{digest}", .handler = on_get_blob, .kind = HTTP_TRANSFER, .needs = "pull",
     .prompt = true},
    {"HEAD", "/v2/{name...}/blobs/{digest}", .handler = on_get_blob, .needs = "pull", .prompt = true},
    {"DELETE", "/v2/{name...}/blobs/{digest}", .handler = on_delete_blob, .needs = "delete"},
    {"GET", "/token", .handler = token},
    {"POST", "/token", .handler = token, .kind = HTTP_TRANSFER},
    {NULL, NULL},
};

static bool admit(struct http_request *q, void *context)
{
    const struct oci_registry *o = context;
    if (o->config)
        registry_config_refresh(o->config);
    /* A password takes long to compare, and a token may be looked up. */
    if (o->access && http_header(q, "Authorization") && !http_lasts(q)) {
        struct registry_err err = {0};
        busy(&err);
        reply_failure(q, &err);
        return false;
    }
    return !o->access || registry_access_admit(o->access, q);
}

static const char *const headers[] = {"Docker-Distribution-API-Version", "registry/2.0", NULL};

int oci_registry_serve(struct oci_registry *context, int listen_fd, struct http_server **ret, struct err *err)
{
    const struct http_server_config config = {.admit = admit,
                                              .tls = context->tls,
                                              .routes = oci_registry_routes,
                                              .context = context,
                                              .fallback = no_such_path,
                                              .headers = headers,
                                              .unversioned = true};
    return http_server_start(&config, listen_fd, ret, err);
}
