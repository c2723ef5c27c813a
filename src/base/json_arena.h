/* One place for the JSON trees of a process that forks for each of them.
 *
 * After a fork each page that the parent writes is copied by the kernel, and to free a tree writes to each of
 * its nodes: one that malloc has put into the holes of the heap costs as many copies as it has pages. A tree
 * made between begin and end lies together instead, and what is freed of it is not touched; when all of it is
 * freed, the place begins anew. What does not fit is malloc's.
 *
 * For a process with one thread. Between begin and end nothing is called that hands out memory for free(),
 * such as json_format(). The trees may be changed and freed at any time. */
#ifndef BASE_JSON_ARENA_H
#define BASE_JSON_ARENA_H

/* Before the process's first JSON. Without it, and in builds with sanitizers, which would no longer see a
 * node that is used after its end, the others do nothing. */
void json_arena_use(void);

void json_arena_begin(void);
void json_arena_end(void);

#endif
