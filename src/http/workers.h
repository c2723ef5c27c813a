/* A bounded pool of threads with small stacks, which grows on demand; a thread that finds nothing to do for
 * some seconds ends, so that an idle server holds none. Work never waits in a queue behind other work, since
 * a request may take for ever: when all threads are busy, workers_start() refuses. */
#ifndef HTTP_WORKERS_H
#define HTTP_WORKERS_H

#include <stdbool.h>
#include <stddef.h>

struct workers;

struct workers *workers_new(size_t max_threads);
/* Waits for the threads to end; all work must be done. */
void workers_free(struct workers *w);
/* False when max_threads are busy or the system gives no more threads. */
bool workers_start(struct workers *w, void (*run)(void *), void *argument);

#endif
