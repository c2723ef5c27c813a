#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t pending;

static void note(int number)
{
    pending = number;
}

void interrupt_catch(void)
{
    const struct sigaction how = {.sa_handler = note};
    sigaction(SIGINT, &how, NULL);
    sigaction(SIGTERM, &how, NULL);
}

bool interrupt_pending(void)
{
    return pending != 0;
}
