/* Testing an image of the server: `drover image test`, the gate of `drover push --test`, and the bakery's.
 *
 * The image comes as the stream of `docker save` and is scanned here, in the process of who asks: the server
 * only sends bytes whose digests it has verified, and parses nothing of them. What has to run, runs through
 * the engine like any container, and is gone when the test ends, also by an interrupt (interrupt.h: the verb
 * catches it). */
#ifndef CLI_IMAGE_TEST_H
#define CLI_IMAGE_TEST_H

#include "imagetest/imagetest.h"

struct image_test {
    struct image_checks *checks;
    struct image_scan *scan;
    struct findings findings;
    char *id; /* of the image that was tested */
};
/* `checks_file` NULL: the defaults. An error is a test that could not be made; whether the image passed is
 * findings.count == 0. A wrong file of checks is ERR_INVALID with its lines. */
int image_test(const char *image, const char *checks_file, struct image_test *ret, struct err *err);
void image_test_done(struct image_test *t);

/* Starts the image as its checks say, and adds what is wrong. */
int image_test_run(const char *image_id, const struct image_checks *checks, const json_t *config,
                   struct findings *findings, struct err *err);

enum { IMAGE_TEST_FAILED = 1, IMAGE_TEST_WRONG_CALL = 2, IMAGE_TEST_NOT_MADE = 125 };

int cli_image_test(int argc, char **argv);

#endif
