/* Bytes both ways between two connected sockets. */
#ifndef BASE_CARRY_H
#define BASE_CARRY_H

/* Until both directions have ended, one is broken, or `stop_fd` (may be negative) is readable or hung up. The
 * end of one direction is passed on. The bytes are not left in memory. Blocks; the descriptors stay the
 * caller's. */
void carry_both_ways(int a, int b, int stop_fd);

#endif
