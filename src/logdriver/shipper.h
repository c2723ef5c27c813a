/* Shippers: what brings containers' logs to their drivers' destinations.
 *
 * One thread serves all of them, and never waits for one: connections do not block, names are looked up
 * elsewhere. A shipper reads its container's log behind the keeper and notes in <log>.cursor how far it has
 * come (cursor.h), so that neither a restart nor a kill of this process loses or doubles a line that the log
 * still has. A destination that is away is tried again and again; meanwhile the log keeps what was not sent,
 * up to LOG_BACKLOG_BYTES. Lines that are given up (of a log longer than that, by "max-buffer-size", or after
 * the tries that an option allows) are counted.
 *
 * What a collector has is what its kernel acknowledged: lines that were in a socket's buffer of a collector
 * that died without reading them are lost, unless its protocol has acknowledgements ("fluentd-request-ack").
 */
#ifndef LOGDRIVER_SHIPPER_H
#define LOGDRIVER_SHIPPER_H

#include "logdriver/logdriver.h"

struct shippers;

struct shipment {
    enum logdriver_type type;
    struct logdriver_info info;
    const char *log;  /* the keeper's log */
    const char *file; /* of json-file */
};

/* Asks about a container when its first byte is in its log: most that live short say nothing, and cost
 * nothing here. On the shippers' thread. `ret` points into *ret_keeps, which is released after. False: there
 * is no such container. */
typedef bool (*shipper_describe_fn)(void *context, const char *id, struct shipment *ret, json_t **ret_keeps);

struct shipper_counters {
    int64_t sent_lines, dropped_lines;
    int64_t missed_files; /* of the log, that were rotated away unread */
    int64_t waiting_bytes;
    char why[200]; /* the destination is away; or "" */
};

int shippers_open(shipper_describe_fn describe, void *context, struct shippers **ret, struct err *err);
void shippers_close(struct shippers *s); /* what was not sent is sent by the next process */

/* Before the container's first byte, or when this process begins. `running`: more output may come; else only
 * what is left is sent. */
void shippers_begin(struct shippers *s, const char *id, const char *log, bool running);
/* All of the container's output is in its log. */
void shippers_ended(struct shippers *s, const char *id);
/* The container goes. Waits for up to `grace_ms` until what it has said is where it belongs, unless that is
 * away. */
void shippers_remove(struct shippers *s, const char *id, int grace_ms);
bool shippers_counters(struct shippers *s, const char *id, struct shipper_counters *ret);

/* Whether the destination can be reached now, where the driver's start depends on that: the message is
 * Docker's. */
int shippers_probe(enum logdriver_type type, const struct logdriver_info *info, struct err *err);

#endif
