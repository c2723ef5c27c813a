/* What a node must keep secret on its disk: node.key, its own; and on a manager ca.key, the authority's, and
 * secrets.key, which the swarm's secrets are encrypted with.
 *
 * In a swarm that locks its managers (autolock.h) these files are sealed: encrypted with a key that is this
 * machine's own, which is in lock.json, itself encrypted with the swarm's unlock key. That one is on no disk
 * in the clear. Another unlock key therefore replaces one file; each file stands for itself, sealed or not,
 * so that a crash in the middle of sealing them loses nothing: one that is sealed locks the node.
 *
 *     <root>/cluster/lock.json   {key}: there when anything is sealed
 *
 * The node's key is read by libraries and by the managers' store, by its path. That path is one of this
 * process's memory, whether the file is sealed or not (seal__key_path).
 *
 * Any thread; the lock in it is taken last. */
#ifndef CLUSTER_SEAL_H
#define CLUSTER_SEAL_H

#include "base/err.h"
#include "base/str.h"

#include <pthread.h>
#include <stdbool.h>

enum { SEAL_KEY_BYTES = 32 };

/* What a sealed file begins with: a PEM text begins with dashes, and secrets.key has 32 bytes. */
#define SEAL_MARK "drover sealed 1\n"

struct cluster;
struct seal {
    pthread_mutex_t lock;
    bool on;         /* files are to be sealed */
    bool known;      /* the keys below are */
    bool unfinished; /* not all files may be as they are to be */
    unsigned char unlock_key[SEAL_KEY_BYTES], own_key[SEAL_KEY_BYTES];
    int key_fd; /* node.key, in memory */
    char key_path[48];
};

/* Once, first. *ret_locked: files are sealed, and nothing can be read before seal__open(). */
int seal__begin(struct cluster *c, bool *ret_locked, struct err *err);
void seal__done(struct cluster *c);
/* ERR_UNAUTHORIZED: it is another key. */
int seal__open(struct cluster *c, const unsigned char unlock_key[SEAL_KEY_BYTES], struct err *err);

/* Seals the files, or (NULL) none of them. What is so already is left; after an error, what is left to do is
 * done by the same call. */
int seal__set(struct cluster *c, const unsigned char *unlock_key, struct err *err);

/* `name`: of <root>/cluster. Files are written durably, for root alone. */
int seal__read(struct cluster *c, const char *name, struct str *ret, struct err *err);
int seal__write(struct cluster *c, const char *name, const void *bytes, size_t n, struct err *err);
/* What was sealed is given up: keys and lock.json go. */
void seal__forget(struct cluster *c);

/* Where this process, and the processes that it has started, read the node's key. */
const char *seal__key_path(const struct cluster *c);
int seal__show_key(struct cluster *c, const char *pem, struct err *err); /* it is this one from now on */

#endif
