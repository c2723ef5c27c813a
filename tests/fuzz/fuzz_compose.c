/* A Compose file from anybody: either problems, or a project whose plan creates something; and what is
 * printed of it reads back. */
#include "compose/compose.h"
#include "compose/plan.h"
#include "compose/render.h"
#include "compose/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void print_and_read_back(const struct compose_project *p)
{
    _cleanup_str_ struct str text = STR_INIT;
    struct yaml_node **documents;
    size_t count = 0;
    struct yaml_arena *arena = yaml_arena_new();
    const struct render_options options = {0};
    yaml_format(compose_render(p, &options), &text);
    if (text.len < YAML_MAX_BYTES)
        must(yaml_parse(arena, "printed", str_get(&text), text.len, &documents, &count, NULL) == 0 &&
             count == 1);
    yaml_arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const environment[] = {"A=1", "EMPTY=", "HOME=/root", NULL};
    _cleanup_free_ char *text = mem_strndup((const char *)data, size);
    /* These would read, and may wait for, whatever file the input names. */
    if (strstr(text, "env_file") || strstr(text, "label_file") || strstr(text, "file:"))
        return 0;
    const struct compose_options options = {.text = text,
                                            .name = "fuzz",
                                            .dir = "/nonexistent/fuzz",
                                            .cwd = "/",
                                            .environ = (char *const *)environment};
    _cleanup_compose_ struct compose_project *p = NULL;
    _cleanup_str_ struct str problems = STR_INIT;
    struct err err = {0};
    if (compose_load(&options, &p, &problems, &err) < 0) {
        must(err.code && *err.msg);
        return 0;
    }
    print_and_read_back(p);
    json_t *none = json_array(), *images = json_object();
    const struct plan_observed observed = {none, none, none, images};
    const struct plan_options plan_options = {0};
    struct plan plan = {0};
    if (compose_plan_up(p, &observed, &plan_options, &plan, &err) == 0)
        compose_plan_done(&plan);
    json_decref(none);
    json_decref(images);
    return 0;
}
