/* The options of the drivers that have values of their own, as parsed (private to this folder's floor:
 * drivers and their tests). */
#ifndef LOGDRIVER_OPTIONS_H
#define LOGDRIVER_OPTIONS_H

#include "logdriver/logdriver.h"

enum logdriver_transport {
    TRANSPORT_UDP,
    TRANSPORT_TCP,
    TRANSPORT_TLS,
    TRANSPORT_UNIX,     /* a stream */
    TRANSPORT_UNIXGRAM, /* datagrams */
};

struct logdriver_address {
    enum logdriver_transport transport;
    char host[256]; /* without brackets; or */
    char path[108];
    char port[8];
};

enum syslog_format { SYSLOG_UNIX, SYSLOG_RFC3164, SYSLOG_RFC5424, SYSLOG_RFC5424_MICRO };

/* All take Docker's option object; an absent option gives Docker's default. */
int options_syslog_address(const json_t *options, struct logdriver_address *ret, struct err *err);
int options_syslog_facility(const json_t *options, int *ret, struct err *err); /* 0 to 23 */
int options_syslog_format(const json_t *options, enum syslog_format *ret, struct err *err);
int options_gelf_address(const json_t *options, struct logdriver_address *ret, struct err *err);
int options_fluentd_address(const json_t *options, struct logdriver_address *ret, struct err *err);

/* A boolean option as Go parses it; `fallback` when it is absent. Checked before. */
bool options_bool(const json_t *options, const char *name, bool fallback);

#endif
