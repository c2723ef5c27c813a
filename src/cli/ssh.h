/* The server of another machine, through the machine's own ssh client: keys, agents, jump hosts and
 * known_hosts are those of its configuration.
 *
 * Each connection is an ssh that runs `drover dial-stdio` there, which joins its standard input and output to
 * the server's socket. The HTTP client here finds them behind a socket in a directory of our own, at which a
 * thread accepts and starts them. What ssh and that have to say goes to our stderr. $DROVER_SSH_COMMAND is
 * run by the shell instead of "ssh" when it is set, as git's GIT_SSH_COMMAND is.
 *
 * One thread at a time. */
#ifndef CLI_SSH_H
#define CLI_SSH_H

#include "base/err.h"
#include "http/client.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct ssh_remote {
    char *user, *host, *port,
        *socket;   /* of "ssh://[user@]host[:port][/path/of/socket]"; NULL where left out */
    char *program; /* what runs drover there, as its shell reads it */
    bool answered; /* once: it is no use to try a machine again that never did */
    struct http_client *client;
    struct ssh_tunnel *tunnel;
};

bool ssh_is_url(const char *text);
/* ERR_INVALID names what is wrong. `program` NULL: "drover". */
int ssh_open(const char *url, const char *program, struct ssh_remote *ret, struct err *err);
void ssh_close(struct ssh_remote *s);

/* `call->url` is filled in from `path`. A status that is no success is an error. */
int ssh_exchange(struct ssh_remote *s, struct http_call *call, const char *path, struct http_response *ret,
                 struct err *err);
/* The answer's JSON to `ret`. `body` may be NULL. */
int ssh_call(struct ssh_remote *s, const char *method, const char *path, const json_t *body, json_t **ret,
             struct err *err);

/* The other end. */
int cli_dial_stdio(int argc, char **argv);

#endif
