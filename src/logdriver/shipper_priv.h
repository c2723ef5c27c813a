/* One shipper, and what its files share. */
#ifndef LOGDRIVER_SHIPPER_PRIV_H
#define LOGDRIVER_SHIPPER_PRIV_H

#include "logdriver/driver.h"
#include "logdriver/shipper.h"

/* Asleep until there is a log: then it has no driver, nor anything else but its id and its log's name. */
struct shipper {
    char *id, *log;
    int64_t since_ns; /* monotonic */
    bool going;       /* its container is being removed */
    json_t *options;  /* the driver's texts point into it */
    struct driver *driver;
    struct cursor cursor;
    struct log_reader *reader;
    struct wire wire;
    unsigned registered; /* the wire's generation that epoll knows */
    struct batch batch;
    size_t next, acknowledged; /* pieces of the batch */
    int64_t sent_at_ns;        /* its last piece */
    struct log_place *after;   /* the batch */
    struct str said;           /* by the collector, not understood yet */
    int64_t skip[2];           /* lines of each stream that went out before this process */
    uint64_t missed;           /* files, already counted */
    int local_files;           /* that the local log may have */
    uint64_t pruned;           /* of the cursor's `needed`, when the local log was last tidied */
    bool ended, at_end;        /* its container; its log */
    int file_fd;               /* of a driver with a file */
    int64_t file_size;
    int watch;
    bool due;
    bool in_awake; /* shippers.c */
    struct shipper *next_awake;
    int64_t wake_at_ns; /* monotonic; 0: not by itself */
    char why[200];
};

struct shipper *shipper__new(const char *id, const char *log, bool running);
int shipper__awaken(struct shipper *s, const struct shipment *what, int wake_fd, struct err *err);
void shipper__free(struct shipper *s);
/* Does what can be done now without waiting; says in `due` and `wake_at_ns` when to be called again. */
void shipper__step(struct shipper *s);
/* True when nothing is left to be sent, ever. */
bool shipper__finished(const struct shipper *s);

/* shipper_file.c: true when the batch is in the file. */
bool shipper__to_file(struct shipper *s);
/* Finds out how much of an unfinished batch is in the file. */
void shipper__resume_file(struct shipper *s);

#endif
