/* What this machine has. */
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stdint.h>

/* Bytes of memory that could be had without swapping (proc(5), MemAvailable); INT64_MAX when that is not
 * told. */
int64_t machine_memory_available(void);

#endif
