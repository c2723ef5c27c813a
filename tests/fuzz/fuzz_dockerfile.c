/* Any bytes as a Dockerfile, in Drover's own language too: parsed or refused with file and line, every word
 * expanded, every check run. */
#include "bakery/check.h"
#include "bakery/dockerfile.h"
#include "bakery/expand.h"
#include "bakery/ignore.h"
#include "bakery/preprocess.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *lookup(void *context, const char *name)
{
    return *name == 'A' ? "value of A" : NULL;
}

static void expand_all(const struct dockerfile *d)
{
    struct expand x = {.escape = d->escape, .lookup = lookup};
    for (size_t i = 0; i < d->step_count; i++)
        STRV_FOREACH (word, d->steps[i].args) {
            char *one = NULL;
            char **many = NULL;
            if (expand_word(&x, *word, &one, NULL) == 0)
                free(one);
            if (expand_words(&x, *word, &many, NULL) == 0)
                strv_free(many);
        }
}

static void check_all(const struct dockerfile *d)
{
    struct check_result r;
    if (check_dockerfile(d, NULL, &r, NULL) == 0)
        check_result_done(&r);
}

/* "name: ..." for a whole file, else "name:line: ..." */
static void must_name_the_place(const struct err *err)
{
    const char *rest = str_after(err->msg, "Dockerfile:");
    if (!rest)
        rest = str_after(err->msg, "part:");
    must(rest && ((*rest >= '1' && *rest <= '9') || *rest == ' '));
}

struct input {
    const char *part;
    size_t n;
};

static int read_part(void *context, const char *path, struct str *ret, struct err *err)
{
    const struct input *in = context;
    if (strcmp(path, "part") != 0)
        return err_set(err, ERR_NOT_FOUND, "no such file");
    str_addn(ret, in->part, in->n);
    return 0;
}

/* The first half of the bytes includes the other. */
static void own_language(const char *data, size_t size)
{
    char *const args[] = {(char *)"A=1.2", (char *)"B=x y", NULL};
    struct platform platform = {.os = (char *)"linux", .architecture = (char *)"amd64"};
    struct input in = {.part = data + size / 2, .n = size - size / 2};
    const struct preprocess_options o = {.name = "Dockerfile",
                                         .build_args = args,
                                         .target_platform = &platform,
                                         .build_platform = &platform,
                                         .read = read_part,
                                         .context = &in};
    struct df_text text;
    struct dockerfile d;
    struct err err = {0};
    if (preprocess(data, size, &o, &text, &err) < 0) {
        must_name_the_place(&err);
        return;
    }
    if (dockerfile_parse_text(&text, "Dockerfile", &d, &err) == 0) {
        expand_all(&d);
        check_all(&d);
        dockerfile_done(&d);
    } else {
        must_name_the_place(&err);
    }
    df_text_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dockerfile d;
    struct err err = {0};
    if (dockerfile_parse((const char *)data, size, "Dockerfile", &d, &err) == 0) {
        expand_all(&d);
        check_all(&d);
        dockerfile_done(&d);
    } else {
        must_name_the_place(&err);
    }
    own_language((const char *)data, size);
    struct ignore *g;
    if (ignore_parse((const char *)data, size, &g, &err) == 0) {
        ignore_matches(g, "some/path/in.it");
        ignore_free(g);
    }
    return 0;
}
