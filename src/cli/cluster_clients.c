/* drover cluster client, clients and revoke: who uses the whole cluster as one Docker engine. */
#include "base/file.h"
#include "base/json.h"
#include "cli/call.h"
#include "cli/cluster_verbs.h"
#include "cli/group.h"
#include "cli/options.h"
#include "cluster/pki.h"

#include <stdio.h>

static int write_client(const char *directory, const json_t *answer, const char *key, struct err *err)
{
    const struct {
        const char *name, *text;
        mode_t mode;
    } files[] = {{"ca.pem", json_str(answer, "Authority"), 0644},
                 {"cert.pem", json_str(answer, "Certificate"), 0644},
                 {"key.pem", key, 0600}};
    int r = file_mkdirs(directory, 0700, err);
    for (size_t i = 0; i < ARRAY_SIZE(files) && r == 0; i++) {
        _cleanup_free_ char *path = str_printf("%s/%s", directory, files[i].name);
        r = file_replace(path, files[i].text, strlen(files[i].text), files[i].mode, true, err);
    }
    return r;
}

int cluster_client_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "cluster client NAME DIRECTORY",
        "Makes a certificate for who uses the whole cluster as one Docker engine, good for a year: ca.pem, "
        "cert.pem "
        "and key.pem in DIRECTORY, as Docker's clients read them (DOCKER_CERT_PATH).",
        options,
        false,
        2,
        2};
    char **rest;
    struct err err = {0};
    _cleanup_free_ char *csr = NULL, *key = NULL;
    _cleanup_json_ json_t *body = NULL, *answer = NULL, *info = NULL;
    int status = cli_parse(&command, argc, argv, &rest);
    if (status >= 0)
        return status;
    int r = pki_request(&csr, &key, &err);
    if (r == 0) {
        body = json_pack("{s:s, s:s}", "Name", rest[0], "CSR", csr);
        r = cli_call("POST", body, &answer, &err, "/drover/clients");
    }
    if (r == 0)
        r = cli_get(&info, &err, "/info");
    if (r == 0)
        r = write_client(rest[1], answer, key, &err);
    if (r < 0)
        return cli_fail(&err);
    const json_t *managers = json_object_get(json_object_get(info, "Swarm"), "RemoteManagers");
    printf("DOCKER_CERT_PATH=%s DOCKER_TLS_VERIFY=1 DOCKER_HOST=tcp://%s\n", rest[1],
           json_str(json_array_get(managers, 0), "Addr"));
    return 0;
}

static void print_clients(const json_t *list)
{
    const json_t *one;
    size_t i;
    printf("%-20s %-42s %s\n", "NAME", "SERIAL", "GOOD UNTIL");
    json_array_foreach (list, i, one)
        printf("%-20s %-42s %s\n", json_str(one, "Name"), json_str(one, "Serial"), json_str(one, "Ends"));
}

int cluster_clients_verb(int argc, char **argv)
{
    return cli_view("cluster clients [OPTIONS]",
                    "Lists the certificates that \"drover cluster client\" has made.", "/drover/clients",
                    print_clients, argc, argv);
}

static int revoke_one(const char *name, void *context, struct err *err)
{
    _cleanup_free_ char *ref = cli_escape(name);
    return cli_call("DELETE", NULL, NULL, err, "/drover/clients/%s", ref);
}

int cluster_revoke_verb(int argc, char **argv)
{
    const struct cli_option options[] = {{0}};
    const struct cli_command command = {
        "cluster revoke NAME...",
        "Takes clients' certificates back: every node refuses them from now on.",
        options,
        false,
        1,
        -1};
    return cli_each(&command, argc, argv, revoke_one, NULL);
}
