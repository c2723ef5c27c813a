#include "cli/menu.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

static struct {
    const struct files_watch *watch;
    struct termios before;
    pthread_t thread;
    int end_fd;
    bool on, watching;
} menu = {.end_fd = -EBADF};

static void *read_keys(void *context)
{
    struct pollfd p[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = menu.end_fd, .events = POLLIN}};
    char key;
    (void)context;
    while (poll(p, 2, -1) >= 0 || errno == EINTR) {
        if (p[1].revents || (p[0].revents && read(STDIN_FILENO, &key, 1) != 1))
            break;
        if (!p[0].revents || key != 'w' || menu.watching)
            continue;
        menu.watching = true;
        files_watch_start(menu.watch);
        fprintf(stderr, "Watch enabled\n");
    }
    return NULL;
}

void menu_start(const struct files_watch *watch, bool watching)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &menu.before) < 0)
        return;
    struct termios keys = menu.before;
    keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    if ((menu.end_fd = eventfd(0, EFD_CLOEXEC)) < 0 || tcsetattr(STDIN_FILENO, TCSANOW, &keys) < 0)
        return;
    menu.watch = watch;
    menu.watching = watching;
    menu.on = true;
    fprintf(stderr, "%sctrl-c   Stop the services\n", watching ? "" : "w   Enable watch   ");
    must(pthread_create(&menu.thread, NULL, read_keys, NULL) == 0);
}

void menu_stop(void)
{
    if (!menu.on)
        return;
    must(eventfd_write(menu.end_fd, 1) == 0);
    pthread_join(menu.thread, NULL);
    menu.end_fd = close_fd(menu.end_fd);
    tcsetattr(STDIN_FILENO, TCSANOW, &menu.before);
    menu.on = false;
}
