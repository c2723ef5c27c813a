/* Times. Wall-clock times are nanoseconds since 1970 UTC in an int64_t; 0 stands for "never", and prints as
 * Docker's zero time 0001-01-01T00:00:00Z. */
#ifndef BASE_TIMEUTIL_H
#define BASE_TIMEUTIL_H

#include <stdint.h>

struct err;

#define NS_PER_S  INT64_C(1000000000)
#define NS_PER_MS INT64_C(1000000)

enum { TIME_RFC3339_BYTES = 40 };

int64_t time_now_ns(void);       /* wall clock */
int64_t time_monotonic_ns(void); /* for deadlines and durations */
/* RFC 3339 in UTC with the nanoseconds that are not zero at the end: 2026-01-02T03:04:05.006Z. Returns `out`.
 */
char *time_format_rfc3339(int64_t ns, char out[TIME_RFC3339_BYTES]);
int time_parse_rfc3339(const char *text, int64_t *ret_ns, struct err *err);
/* "3 seconds", "About a minute", "2 hours": the words of `docker ps`. */
char *time_format_human(int64_t duration_ns, char out[TIME_RFC3339_BYTES]);
/* As Go writes it: 300ms, 1.5s, 1m30s, 2h0m0s. */
char *time_format_duration(int64_t duration_ns, char out[TIME_RFC3339_BYTES]);
void time_sleep_ns(int64_t ns);

#endif
