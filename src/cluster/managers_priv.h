/* What managers.c (the thread), managers_child.c, managers_members.c and lead.c share. */
#ifndef CLUSTER_MANAGERS_PRIV_H
#define CLUSTER_MANAGERS_PRIV_H

#include "cluster/cluster_priv.h"
#include "cluster/identity.h"
#include "cluster/managers.h"

struct managers {
    struct managers *retired; /* the next that is no more in use */
    struct cluster *cluster;
    char address[STORE_ADDRESS_BYTES]; /* of the own member */
    char *directory;
    char **others; /* members to join; NULL: the first */
    struct identity_files files;
    struct tls_files tls; /* the same */
    struct store_members members;
    char *member_list[2]; /* the own one; it knows the others */
    struct store *store;  /* of the thread's; open since the first lead */
    struct store *before; /* what the cluster had as its store while it did not lead */
    bool holds;           /* leads: the thread's */
    pthread_t thread;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t wake;
    bool stopping, paused, doubt;
    bool confirms;            /* one thread does, for all */
    pthread_cond_t confirmed; /* it has */
    uint64_t confirm_number;  /* of the last that began; while none does, of the last that ended */
    struct err confirm_err;   /* of the last that ended; its code is 0 when it went well */
    int64_t lease_begin_ns;   /* 0: there is none. Of CLOCK_BOOTTIME, */
    int64_t lease_epoch;      /* and for this one */
    bool no_lease, closed;
    pid_t child;
    char leader[STORE_ADDRESS_BYTES]; /* member; "" */
    int64_t led_ns;                   /* when somebody was last known to lead */
};

/* managers_child.c; on the managers' thread. Starts it when there is none, at most every second; `started_ns`
 * is 0 at first. */
void managers__tend_child(struct managers *m, int64_t *started_ns);
void managers__end_child(struct managers *m);

/* managers_members.c. The port above, or with -1 the one below; false: it is no address. */
bool managers__other_port(const char *address, int step, char ret[STORE_ADDRESS_BYTES]);
/* Where the member of the manager at `address` is. */
int managers__member(const char *address, char ret[STORE_ADDRESS_BYTES], struct err *err);

/* lead.c */
void lead__end_lease(struct managers *m); /* before the lead is handed over; the next begins with one again */
void lead__close(struct managers *m);     /* before its store is closed: nobody confirms any more */
/* On the managers' thread: */
int lead__begin(struct managers *m, struct err *err);
void lead__end(struct managers *m);

#endif
