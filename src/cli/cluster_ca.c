/* drover cluster ca: the authority whose certificates the nodes believe, and another in its place. */
#include "base/file.h"
#include "base/json.h"
#include "base/timeutil.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/options.h"

#include <stdio.h>

enum { FILE_BYTES_MAX = 64 << 10, LOOK_MS = 200 };

static int read_file(const char *path, const char *key, json_t *to, struct err *err)
{
    _cleanup_str_ struct str text = STR_INIT;
    int r = file_read(path, FILE_BYTES_MAX, &text, err);
    if (r < 0)
        return r;
    json_t *value = json_string(str_get(&text));
    if (!value)
        return err_set(err, ERR_INVALID, "%s is no PEM file", path);
    json_object_set_new(to, key, value);
    return 0;
}

/* What is asked for, of the spec as it is. */
static int begin(const char *certificate, const char *key, struct err *err)
{
    _cleanup_json_ json_t *swarm = NULL;
    int r = cli_get(&swarm, err, "/swarm");
    if (r < 0)
        return r;
    const json_t *present = json_object_get(json_object_get(swarm, "Spec"), "CAConfig");
    json_t *config = json_object();
    _cleanup_json_ json_t *spec = json_pack("{s:o}", "CAConfig", config);
    if (!certificate)
        json_object_set_new(config, "ForceRotate", json_integer(json_int(present, "ForceRotate") + 1));
    else
        r = read_file(certificate, "SigningCACert", config, err);
    if (r == 0 && certificate)
        r = read_file(key, "SigningCAKey", config, err);
    return r == 0 ? cluster_update_swarm(spec, "", err) : r;
}

static int wait_for_end(struct err *err)
{
    for (bool told = false;; told = true) {
        _cleanup_json_ json_t *swarm = NULL;
        int r = cli_get(&swarm, err, "/swarm");
        if (r < 0 || !json_bool(swarm, "RootRotationInProgress"))
            return r;
        if (!told)
            fprintf(stderr,
                    "waiting until every node has moved; one that is away has to come back, or be removed "
                    "(drover cluster rm --force)\n");
        time_sleep_ns(LOOK_MS * NS_PER_MS);
    }
}

static int print_root(struct err *err)
{
    _cleanup_json_ json_t *swarm = NULL;
    int r = cli_get(&swarm, err, "/swarm");
    if (r == 0)
        printf("%s", json_str(json_object_get(swarm, "TLSInfo"), "TrustRoot"));
    return r;
}

int cluster_ca_verb(int argc, char **argv)
{
    bool replace = false, detach = false;
    const char *certificate = NULL, *key = NULL;
    const struct cli_option options[] = {
        {0, "rotate", CLI_FLAG, &replace, NULL, "Have another one take its place, while everything goes on"},
        {0, "ca-cert", CLI_TEXT, &certificate, "FILE", "This one (PEM)"},
        {0, "ca-key", CLI_TEXT, &key, "FILE", "Its key"},
        {'d', "detach", CLI_FLAG, &detach, NULL, "Do not wait until all nodes have moved"},
        {0}};
    const struct cli_command command = {
        "cluster ca [OPTIONS]", "Prints the certificate of the cluster's authority.", options, false, 0, 0};
    char **rest;
    struct err err = {0};
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    if (!certificate != !key || (certificate && !replace)) {
        fprintf(stderr, "drover cluster ca: --rotate, --ca-cert and --ca-key go together\n");
        return 2;
    }
    int r = replace ? begin(certificate, key, &err) : 0;
    if (r == 0 && replace && !detach)
        r = wait_for_end(&err);
    if (r == 0 && !(replace && detach))
        r = print_root(&err);
    return r < 0 ? cli_fail(&err) : 0;
}
