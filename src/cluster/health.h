/* How well a node is, and what that means for new tasks.
 *
 * A node measures its vitals and reports them with each session (session.h); the leader judges them (docs/
 * scheduling.md has the table). Each signal has a bar from which on the node is sick: it gets no new tasks,
 * and keeps those that it has. From half as bad it is degraded: new tasks go to it only where no other node
 * is as good by their soft constraints. A state is left at a quarter less than what it was entered at, so
 * that a value around a bar does not have it change all the time. What is not known is taken to be well.
 *
 * Vitals are observations: they are in the memory of the node and of who leads, never in the store. */
#ifndef CLUSTER_HEALTH_H
#define CLUSTER_HEALTH_H

#include "scheduler/scheduler.h"

#include <jansson.h>

struct err;

/* In the order of their report. */
enum vital {
    VITAL_DISK_FREE, /* bytes, of the filesystem of Drover's root, for who is not root */
    VITAL_DISK_SIZE,
    VITAL_INODES_FREE,
    VITAL_INODES,
    VITAL_MEMORY,    /* hundredths of a percent of the last minute in which nothing could run for want of */
    VITAL_IO,        /* memory, or of input and output: PSI's full avg60 */
    VITAL_KEEPER_MS, /* that a question to the keeper has waited for its answer */
    VITAL_CLOCK_MS,  /* how far its wall clock is at least ahead of the leader's */
    VITAL_COUNT,
};
#define VITAL_UNKNOWN INT64_MIN
struct vitals {
    int64_t is[VITAL_COUNT];
};

enum health_signal {
    HEALTH_DISK,
    HEALTH_INODES,
    HEALTH_MEMORY,
    HEALTH_IO,
    HEALTH_KEEPER,
    HEALTH_CLOCK,
    HEALTH_SIGNALS,
};
/* From where on a node is sick; 0: the signal is not looked at. Pressure on input and output is not unless
 * asked for: of a machine that only writes to its disk, everything stands still nearly all the time. */
struct health_limits {
    int64_t disk_percent, disk_bytes; /* less than both of them free */
    int64_t inodes_percent;
    int64_t memory_percent, io_percent;
    int64_t keeper_ms, clock_ms;
};
#define HEALTH_LIMITS                                                                                        \
    (struct health_limits)                                                                                   \
    {                                                                                                        \
        .disk_percent = 5, .disk_bytes = INT64_C(2) << 30, .inodes_percent = 2, .memory_percent = 40,        \
        .io_percent = 0, .keeper_ms = 10000, .clock_ms = 10000                                               \
    }
/* "disk=10% io=off clock=2s", or "off" for all: what differs from HEALTH_LIMITS, with spaces or commas
 * between. ERR_INVALID names the word. */
int health_limits_parse(const char *text, struct health_limits *ret, struct err *err);

struct health {
    enum sched_health level;                   /* the worst of: */
    enum sched_health signals[HEALTH_SIGNALS]; /* as they were judged last */
    enum health_signal cause;                  /* the worst of them */
};
/* `h`: as it was (zeros: well), and as it is afterwards. */
void health_judge(const struct vitals *v, const struct health_limits *l, struct health *h);
/* What is wrong, by the numbers; NULL: nothing. The caller frees. */
char *health_text(const struct vitals *v, const struct health_limits *l, const struct health *h);

/* vitals.c */
void vitals_clear(struct vitals *v); /* nothing is known */
/* Disk, inodes and pressure of this machine; the rest stays as it is. */
void vitals_read(const char *root, struct vitals *v);
/* "some ...\nfull avg10=0.00 avg60=1.25 ..." as hundredths of a percent; VITAL_UNKNOWN. */
int64_t vitals_pressure(const char *text);
json_t *vitals_format(const struct vitals *v);
/* Of another node; what is no number of the right kind is not known. */
void vitals_parse(const json_t *list, struct vitals *ret);

/* How far a clock is at least ahead of another's (negative: behind), of which it was asked at `sent`, and
 * which took the question at `taken`, answered at `answered`, and whose answer came at `got`: NTP's four
 * times, in milliseconds. 0 where the way there and back may explain it; VITAL_UNKNOWN when one of the clocks
 * was set meanwhile. */
int64_t vitals_clock(int64_t sent, int64_t taken, int64_t answered, int64_t got);
/* The clock that most go by, of those that are known: the middle one, of two the one nearer to 0. */
int64_t vitals_common_clock(int64_t *clocks, size_t count);

#endif
