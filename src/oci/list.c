/* state, list and ps: what is there. */
#include "base/process.h"
#include "oci/commands.h"
#include "oci/container.h"
#include "runtime/cgroup.h"

static void print_json(const json_t *value, size_t flags)
{
    json_dumpf(value, stdout, flags | JSON_ENCODE_ANY);
    putchar('\n');
}

int command_state(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    int r = container_open(args, args->words[0], false, &c, err);
    if (r < 0)
        return r;
    _cleanup_json_ json_t *state = container_state_json(&c, NULL);
    print_json(state, JSON_INDENT(2));
    return 0;
}

static void collect(struct container *c, void *arg)
{
    json_array_append_new(arg, container_state_json(c, NULL));
}

static void print_table(const json_t *list)
{
    static const char *const titles[] = {"ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"};
    static const char *const keys[] = {"id", "pid", "status", "bundle", "created", "owner"};
    int widths[ARRAY_SIZE(keys)];
    size_t i;
    json_t *entry;
    for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
        widths[k] = (int)MAX(strlen(titles[k]), (size_t)11);
        json_array_foreach (list, i, entry)
            widths[k] = (int)MAX((size_t)widths[k], strlen(json_str(entry, keys[k])));
    }
    for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
        printf("%-*s%s", widths[k], titles[k], k + 1 < ARRAY_SIZE(keys) ? " " : "\n");
    json_array_foreach (list, i, entry)
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++) {
            const char *end = k + 1 < ARRAY_SIZE(keys) ? " " : "\n";
            if (str_eq(keys[k], "pid"))
                printf("%-*lld%s", widths[k], (long long)json_int(entry, "pid"), end);
            else
                printf("%-*s%s", widths[k], json_str(entry, keys[k]), end);
        }
}

/* "table" (or nothing) and "json"; false for another word. */
static bool wants_json(const struct oci_args *args, bool *ret)
{
    *ret = str_eq(args->format, "json");
    return *ret || !args->format || str_eq(args->format, "table");
}

static int bad_format(const struct oci_args *args, struct err *err)
{
    return err_set(err, ERR_INVALID, "invalid format option \"%s\": it is table or json", args->format);
}

int command_list(const struct oci_args *args, int *ret_status, struct err *err)
{
    bool json;
    size_t i;
    json_t *entry;
    if (!wants_json(args, &json))
        return bad_format(args, err);
    _cleanup_json_ json_t *list = json_array();
    int r = container_each(args, collect, list, err);
    if (r < 0)
        return r;
    if (args->quiet)
        json_array_foreach (list, i, entry)
            printf("%s\n", json_str(entry, "id"));
    else if (json)
        print_json(list, JSON_COMPACT);
    else
        print_table(list);
    return 0;
}

static int64_t field_number(const char *line, size_t column)
{
    int64_t number = -1;
    for (size_t i = 0; *line; i++) {
        line += strspn(line, " ");
        size_t n = strcspn(line, " ");
        if (i == column) {
            _cleanup_free_ char *word = mem_strndup(line, n);
            return parse_i64(word, 0, INT32_MAX, &number, NULL) == 0 ? number : -1;
        }
        line += n;
    }
    return number;
}

static bool find_column(const char *header, const char *name, size_t *ret)
{
    for (*ret = 0;; (*ret)++) {
        header += strspn(header, " ");
        size_t n = strcspn(header, " ");
        if (n == 0)
            return false;
        if (n == strlen(name) && strncmp(header, name, n) == 0)
            return true;
        header += n;
    }
}

/* The header of ps(1) and its lines about these processes. */
static int print_ps(char *const *words, const pid_t *pids, size_t count, struct err *err)
{
    _cleanup_str_ struct str output = STR_INIT;
    const char *argv[64] = {"ps", "-ef"};
    size_t n = *words ? 1 : 2, column;
    for (; *words; words++) {
        if (n + 1 == ARRAY_SIZE(argv))
            return err_set(err, ERR_LIMIT, "too many words for ps");
        argv[n++] = *words;
    }
    argv[n] = NULL;
    int r = process_run(argv, NULL, &output, err);
    if (r < 0)
        return err_wrap(err, "ps");
    _cleanup_strv_ char **lines = strv_split(str_get(&output), '\n');
    if (!find_column(lines[0], "PID", &column))
        return err_set(err, ERR_INVALID, "there is no column PID in the output of ps");
    printf("%s\n", lines[0]);
    STRV_FOREACH (line, lines + 1)
        for (size_t i = 0; i < count; i++)
            if (field_number(*line, column) == pids[i])
                printf("%s\n", *line);
    return 0;
}

int command_ps(const struct oci_args *args, int *ret_status, struct err *err)
{
    _cleanup_container_ struct container c = CONTAINER_INIT;
    _cleanup_free_ pid_t *pids = NULL;
    size_t count = 0;
    bool json;
    if (!wants_json(args, &json))
        return bad_format(args, err);
    int r = container_open(args, args->words[0], false, &c, err);
    if (r < 0)
        return r;
    struct cgroup *cgroup = container_cgroup(&c);
    if (!cgroup)
        return err_set(err, ERR_CONFLICT, "container not running");
    r = cgroup_pids(cgroup, &pids, &count, err);
    cgroup_free(cgroup);
    if (r < 0)
        return r;
    if (!json)
        return print_ps(args->words + 1, pids, count, err);
    _cleanup_json_ json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(pids[i]));
    print_json(list, JSON_COMPACT);
    return 0;
}
