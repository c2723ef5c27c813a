/* Bytes of a container's log file after a crash, or of an attacker who can write it. */
#include "keeper/log_file.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_free_ uint8_t *bytes = mem_dup(data, size ? size : 1);
    struct log_record r;
    struct log_header header = {0};
    ssize_t length;
    size_t lines;
    for (size_t at = 0; at < size && (length = log_record_parse(bytes + at, size - at, 0, &r)) > 0;) {
        must(r.size <= LOG_PAYLOAD_BYTES && (size_t)length <= size - at);
        at += (size_t)length;
    }
    _cleanup_close_ int fd = memfd_create("log", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        return 0;
    log_header_read(fd, &header);
    int64_t end = log_valid_end(fd, header.salt);
    must(end >= LOG_HEADER_BYTES && (end <= (int64_t)size || end == LOG_HEADER_BYTES));
    while ((length = log_record_length_before(fd, end, header.salt, &r, &lines)) > 0) {
        must(lines <= r.size);
        end -= length;
    }
    return 0;
}
