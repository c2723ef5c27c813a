#include "cli/image_verify.h"

#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/options.h"
#include "cli/output.h"
#include "cli/pull.h"
#include "image/signature.h"

#include <stdio.h>

/* As cosign verify ends, and as a person would read it in a script: refused is not failed. */
enum { REFUSED = 1 };

struct verify_options {
    char **keys, **identities;
    int threshold;
    bool json, quiet;
};

static int read_keys(const struct verify_options *o, json_t *to, struct err *err)
{
    STRV_FOREACH (path, o->keys) {
        _cleanup_str_ struct str text = STR_INIT;
        int r = file_read(*path, SIGNATURE_KEY_MAX_BYTES, &text, err);
        if (r < 0)
            return r;
        json_t *key = json_object();
        json_set_str(key, "Name", *path);
        json_set_str(key, "PEM", str_get(&text));
        json_array_append_new(to, key);
    }
    return 0;
}

static int ask(const char *image, const json_t *body, json_t **ret, struct err *err)
{
    _cleanup_free_ char *text = json_format(body), *auth = pull_auth_header(image);
    char type[] = "Content-Type: application/json", *headers[] = {type, auth, NULL};
    struct http_call call = {.method = "POST", .headers = headers, .body = text, .body_bytes = strlen(text)};
    struct http_response response = {0};
    int r = cli_exchange(&call, "/drover/images/verify", &response, err);
    if (r == 0)
        r = json_parse(str_get(&response.body), response.body.len, "the answer", ret, err);
    http_response_done(&response);
    return r;
}

static void show(const struct verify_options *o, const char *image, json_t *report)
{
    const json_t *keys = json_object_get(report, "SignedBy"), *key;
    size_t i;
    if (o->json) {
        json_set_str(report, "Image", image);
        output_json(report);
        return;
    }
    if (o->quiet)
        return;
    if (json_array_size(keys) == 0)
        printf("%s: %s needs no signature by %s", image, json_str(report, "Digest"),
               json_str(report, "Rule"));
    else
        printf("%s: %s is signed by ", image, json_str(report, "Digest"));
    json_array_foreach (keys, i, key)
        printf("%s%s", i ? ", " : "", json_string_value(key));
    putchar('\n');
}

int cli_image_verify(int argc, char **argv)
{
    struct verify_options o = {0};
    const struct cli_option options[] = {
        {'k', "key", CLI_LIST, &o.keys, "FILE",
         "A public key (PEM) that may have signed it, instead of the server's policy (may be given again)"},
        {0, "threshold", CLI_INT, &o.threshold, "N", "How many of the keys must have signed it (default 1)"},
        {0, "identity", CLI_LIST, &o.identities, "PATTERN",
         "Repositories that the signature may be for (may be given again; default any)"},
        {0, "json", CLI_FLAG, &o.json, NULL, "What was found, as JSON"},
        {'q', "quiet", CLI_FLAG, &o.quiet, NULL, "Only the exit status, and why not"},
        {0},
    };
    const struct cli_command command = {"image verify [OPTIONS] IMAGE...",
                                        "Tells whether what the names lead to in their registries is signed "
                                        "(cosign's format), by the keys given "
                                        "or as\ndrover serve's --signature-policy wants. Nothing is fetched. "
                                        "Ends with 0: all are, 1: one is not; "
                                        "else it is\nnot known.",
                                        options,
                                        false,
                                        1,
                                        -1};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    _cleanup_strv_ char **keys = o.keys, **identities = o.identities;
    if (status >= 0)
        return status;
    if (!keys && (o.threshold || identities)) {
        err_set(&err, ERR_INVALID, "--threshold and --identity go with --key; the policy has its own");
        return cli_fail(&err);
    }
    _cleanup_json_ json_t *body =
        json_pack("{s:[], s:o, s:i}", "Keys", "Identities", json_of_strv(identities), "Threshold",
                  o.threshold ? o.threshold : 1);
    int r = read_keys(&o, json_object_get(body, "Keys"), &err);
    for (char **image = rest; r == 0 && *image; image++) {
        _cleanup_json_ json_t *report = NULL;
        json_set_str(body, "Image", *image);
        r = ask(*image, body, &report, &err);
        if (r == 0)
            show(&o, *image, report);
    }
    if (r == 0)
        return 0;
    cli_fail(&err);
    return r == -ERR_DENIED ? REFUSED : r == -ERR_INVALID ? 2 : 125;
}
