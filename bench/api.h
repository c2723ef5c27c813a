/* The API benchmark: how fast an engine answers requests.
 *
 * A section is something asked of an engine; each engine gets the same, one after the other, from one client
 * and from several, each on a connection of its own that is kept. To add one: a line in the table of
 * api_sections.c, with a function that measures one engine, or the path of a GET. bench/api (the script)
 * starts the engines and brings them an image called "bench". */
#ifndef BENCH_API_H
#define BENCH_API_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ENGINES_MAX = 4, CLIENTS_MAX = 64 };

struct engine {
    const char *name;
    const char *socket;
    int containers; /* made so far: bench-0, bench-1, ... */
};

struct figure {
    int clients; /* 0: not measured */
    unsigned long count;
    double per_s, p50_ms, p99_ms;
};

struct section {
    const char *name;
    const char *what;
    const char *path; /* of the GET that is repeated */
    int containers;   /* that exist meanwhile */
    const char *unit; /* of per_s when it is not requests; these are measured once, from one client */
    bool need_folder; /* left out without --folder */
    /* Instead of repeating a GET. */
    int (*measure)(struct engine *e, int clients, double seconds, struct figure *ret);
};
extern const struct section sections[]; /* ends with a NULL name */

/* --- api_client.c --- */
struct client {
    int fd;
    char *buffer;
    size_t capacity, length, body; /* what came, and where in it the body begins */
};
int client_open(struct client *c, const char *socket_path); /* 0, or -1 having said why */
void client_close(struct client *c);
/* Sends `request` (whole) and takes the whole answer: its status, or -1. */
int client_ask(struct client *c, const char *request, size_t n);
int client_call(struct client *c, const char *method, const char *path, const char *body);

double bench_now(void);
/* `clients` threads ask for `path` for so long. */
int measure_get(const struct engine *e, const char *path, int clients, double seconds, struct figure *ret);
/* The same with containers: create, start, wait, remove. */
int measure_launch(struct engine *e, int clients, double seconds, struct figure *ret);

/* --- api_bulk.c --- */
enum { COMPOSE_SERVICES = 20 };
struct bulk {
    /* bench/api makes it: "lines" (text of `bytes`), "fifo", "image.tar" (docker-archive of "bench-big", a
     * layer with a file of `bytes`), "compose.yml". NULL: not given. */
    const char *folder;
    int64_t bytes;
};
extern struct bulk bulk;
int measure_cat(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_ingest_local(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_ingest_json_file(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_logs_local(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_logs_json_file(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_lag_local(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_lag_json_file(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_copy_in(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_copy_out(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_load(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_save(struct engine *e, int clients, double seconds, struct figure *ret);
int measure_compose(struct engine *e, int clients, double seconds, struct figure *ret);

/* --- api_sections.c --- */
int need_containers(struct engine *e, int count);

#endif
