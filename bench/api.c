/* bench-api [--json] [--only SECTION,...] [--seconds S] [--megabytes N --folder DIR] ENGINE=SOCKET... */
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOADS = 2, SECTIONS_MAX = 32 };

static const int loads[LOADS] = {1, 8}; /* clients at once */

struct call {
    struct engine engines[ENGINES_MAX];
    int engine_count;
    const char *only;
    double seconds;
    bool json;
};

static bool parse(int argc, char **argv, struct call *call)
{
    *call = (struct call){.seconds = 2};
    for (int i = 1; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (strcmp(argv[i], "--json") == 0) {
            call->json = true;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            call->only = argv[++i];
        } else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
            call->seconds = strtod(argv[++i], NULL);
        } else if (strcmp(argv[i], "--megabytes") == 0 && i + 1 < argc) {
            bulk.bytes = strtoll(argv[++i], NULL, 10) << 20;
        } else if (strcmp(argv[i], "--folder") == 0 && i + 1 < argc) {
            bulk.folder = argv[++i];
        } else if (equals && argv[i][0] != '-' && call->engine_count < ENGINES_MAX) {
            *equals = '\0';
            call->engines[call->engine_count++] = (struct engine){.name = argv[i], .socket = equals + 1};
        } else {
            return false;
        }
    }
    return call->engine_count > 0 && call->seconds > 0 && (!bulk.folder || bulk.bytes > 0);
}

static bool wanted(const char *only, const char *name)
{
    const char *at = only ? strstr(only, name) : NULL;
    size_t n = strlen(name);
    while (at && !((at == only || at[-1] == ',') && (at[n] == '\0' || at[n] == ',')))
        at = strstr(at + 1, name);
    return !only || at;
}

static int measure(const struct section *s, struct engine *e, int clients, double seconds, struct figure *ret)
{
    if (need_containers(e, s->containers) < 0)
        return -1;
    return s->measure ? s->measure(e, clients, seconds, ret) : measure_get(e, s->path, clients, seconds, ret);
}

static int loads_of(const struct section *s)
{
    return s->unit ? 1 : LOADS;
}

static void print_row(const struct section *s, const struct call *call, struct figure f[ENGINES_MAX][LOADS])
{
    for (int load = 0; load < loads_of(s); load++)
        for (int i = 0; i < call->engine_count; i++) {
            const struct figure *g = &f[i][load];
            printf("%-12s %8d  %-10s %10.*f %-10s %9.3f %9.3f", i == 0 && load == 0 ? s->name : "",
                   g->clients, call->engines[i].name, g->per_s < 100 ? 1 : 0, g->per_s,
                   s->unit ? s->unit : "/s", g->p50_ms, g->p99_ms);
            if (i > 0 && g->per_s > 0)
                printf("   %s is %.1f times as fast", call->engines[0].name, f[0][load].per_s / g->per_s);
            printf("\n");
        }
    fflush(stdout);
}

static void print_json(const struct section *s, const struct call *call, struct figure f[ENGINES_MAX][LOADS],
                       bool first)
{
    printf("%s\"%s\": {", first ? "" : ", ", s->name);
    for (int i = 0; i < call->engine_count; i++) {
        printf("%s\"%s\": {", i ? ", " : "", call->engines[i].name);
        for (int load = 0; load < loads_of(s); load++)
            printf("%s\"%d\": {\"per_s\": %.1f, \"p50_ms\": %.4f, \"p99_ms\": %.4f}", load ? ", " : "",
                   f[i][load].clients, f[i][load].per_s, f[i][load].p50_ms, f[i][load].p99_ms);
        printf("}");
    }
    printf("}");
}

int main(int argc, char **argv)
{
    struct call call;
    bool first = true;
    if (!parse(argc, argv, &call)) {
        fprintf(stderr, "bench-api [--json] [--only SECTION,...] [--seconds S] [--megabytes N --folder DIR] "
                        "ENGINE=SOCKET...\nsections:\n");
        for (const struct section *s = sections; s->name; s++)
            fprintf(stderr, "  %-12s %s\n", s->name, s->what);
        return 2;
    }
    if (call.json)
        printf("{");
    else
        printf("%-12s %8s  %-10s %10s %-10s %9s %9s\n", "", "clients", "engine", "", "", "p50 ms", "p99 ms");
    for (const struct section *s = sections; s->name; s++) {
        struct figure figures[ENGINES_MAX][LOADS] = {0};
        if (!wanted(call.only, s->name) || (s->need_folder && !bulk.folder))
            continue;
        for (int i = 0; i < call.engine_count; i++)
            for (int load = 0; load < loads_of(s); load++)
                if (measure(s, &call.engines[i], loads[load], call.seconds, &figures[i][load]) < 0)
                    return 1;
        if (call.json)
            print_json(s, &call, figures, first);
        else
            print_row(s, &call, figures);
        first = false;
    }
    if (call.json)
        printf("}\n");
    return 0;
}
