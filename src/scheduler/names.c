#include "scheduler/scheduler_priv.h"

struct symbol *sched__symbol(struct sched *s, const char *text)
{
    struct symbol *symbol = map_get(&s->symbols, text);
    if (!symbol) {
        symbol = NEW(struct symbol);
        symbol->text = mem_strdup(text);
        map_put(&s->symbols, text, symbol);
        s->names_version++;
    }
    symbol->refs++;
    return symbol;
}

void sched__symbol_unref(struct sched *s, struct symbol *symbol)
{
    if (!symbol || --symbol->refs > 0)
        return;
    map_remove(&s->symbols, symbol->text);
    s->names_version++;
    table_done(&symbol->running);
    free(symbol->text);
    free(symbol);
}

struct service *sched__service(struct sched *s, const char *name)
{
    struct service *service = map_get(&s->services, name);
    if (!service) {
        service = NEW(struct service);
        service->name = mem_strdup(name);
        map_put(&s->services, name, service);
        s->names_version++;
    }
    service->refs++;
    return service;
}

void sched__service_unref(struct sched *s, struct service *service)
{
    if (!service || --service->refs > 0)
        return;
    map_remove(&s->services, service->name);
    s->names_version++;
    table_done(&service->counts);
    free(service->failures);
    free(service->name);
    free(service);
}
