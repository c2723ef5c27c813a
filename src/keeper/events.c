#include "keeper/client.h"

void client__push_event(struct keeper *k, const struct keeper_exit *exit)
{
    struct client_event *e = NEW(struct client_event);
    e->restart = !exit;
    if (exit) {
        e->exit = *exit;
        snprintf(e->id, sizeof(e->id), "%s", exit->id);
        snprintf(e->exec_id, sizeof(e->exec_id), "%s", exit->exec_id);
        e->exit.id = e->id;
        e->exit.exec_id = e->exec_id;
    }
    if (k->first_event)
        k->last_event->next = e;
    else
        k->first_event = e;
    k->last_event = e;
    pthread_cond_broadcast(&k->changed);
}

static void deliver(struct keeper *k, const struct client_event *e)
{
    if (!e->restart)
        k->callbacks.on_exit(k->callbacks.context, &e->exit);
    else if (k->callbacks.on_restart)
        k->callbacks.on_restart(k->callbacks.context);
}

void *client__dispatcher_main(void *keeper)
{
    struct keeper *k = keeper;
    pthread_mutex_lock(&k->lock);
    while (!k->dispatcher_stop) {
        struct client_event *e = k->first_event;
        if (!e) {
            pthread_cond_wait(&k->changed, &k->lock);
            continue;
        }
        k->first_event = e->next;
        pthread_mutex_unlock(&k->lock);
        deliver(k, e);
        free(e);
        pthread_mutex_lock(&k->lock);
    }
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

void client__stop_dispatcher(struct keeper *k)
{
    pthread_mutex_lock(&k->lock);
    k->dispatcher_stop = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->lock);
}

void client__drop_events(struct keeper *k)
{
    while (k->first_event) {
        struct client_event *e = k->first_event;
        k->first_event = e->next;
        free(e);
    }
}
