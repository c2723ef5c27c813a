/* Inside the keeper's client.
 *
 *   client.c   the connection: reaching or starting the keeper, the reader thread, copies of descriptors
 *   calls.c    requests: a message, the wait for its answer
 *   events.c   the thread that calls the owner's callbacks, so that these may make requests themselves
 *
 * One lock covers all fields. Requests are sent under it; the keeper never waits for a client, so that a send
 * cannot wait for long. */
#ifndef KEEPER_CLIENT_H
#define KEEPER_CLIENT_H

#include "base/map.h"
#include "keeper/keeper.h"
#include "keeper/protocol.h"

#include <pthread.h>

struct client_held {
    char *id, *exec_id;
    int fds[HELD_MAX];
};

struct client_pending {
    struct client_pending *next;
    uint64_t number;
    pthread_cond_t cond;
    bool done, lost;
    struct str reply; /* after the head */
    int fd;
};

struct client_event {
    struct client_event *next;
    bool restart;
    struct keeper_exit exit;
    char id[PROTOCOL_ID_BYTES], exec_id[PROTOCOL_ID_BYTES];
};

struct keeper {
    char *root, *dir, *socket;
    struct keeper_callbacks callbacks;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int fd; /* negative while there is no connection; only the reader closes it */
    int wake_fd;
    pid_t pid;
    int64_t instance;  /* of the keeper; 0 with one that does not tell */
    uint32_t features; /* enum protocol_feature */
    char version[64];
    bool ending; /* do not connect again */
    bool gone;   /* nor will it ever be connected */
    bool dispatcher_stop;
    uint64_t connection; /* number of it */
    uint64_t next_number;
    struct client_pending *pending;
    struct client_pending probe;  /* keeper_silence_ns() */
    bool probes;                  /* it has not been answered */
    _Atomic int64_t silent_since; /* of the monotonic clock; 0: it answers */
    struct map held;              /* "id/exec" -> struct client_held */
    struct client_event *first_event, *last_event;
    pthread_t reader, dispatcher;
};

/* Sends and waits. `ret` (may be NULL) takes the answer's fields behind code and text. */
int client__call(struct keeper *k, struct str *m, const int *fds, size_t fd_count, struct str *ret,
                 int *ret_fd, struct err *err);

/* The launch of a process is over: the copy of its status socket goes, with all others when it failed. */
void client__launched(struct keeper *k, const char *id, const char *exec_id, bool ok);

/* Locked by the caller. NULL: the keeper was restarted. */
void client__push_event(struct keeper *k, const struct keeper_exit *exit);
void *client__dispatcher_main(void *keeper);
void client__stop_dispatcher(struct keeper *k);
void client__drop_events(struct keeper *k);

#endif
