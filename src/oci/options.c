#include "oci/options.h"

static const struct oci_option *find(const struct oci_option *table, const char *name, size_t n)
{
    for (; table->name; table++)
        if ((strlen(table->name) == n && strncmp(table->name, name, n) == 0) ||
            (n == 1 && table->letter == *name))
            return table;
    return NULL;
}

static int store(const struct oci_option *o, const char *value, struct oci_args *args, struct err *err)
{
    void *target = (char *)args + o->offset;
    int r = 0;
    switch (o->kind) {
    case OCI_FLAG:
        *(bool *)target = true;
        if (value)
            r = parse_bool(value, target, err);
        break;
    case OCI_TEXT:
        *(const char **)target = value;
        break;
    case OCI_LIST:
        strv_add(target, value);
        break;
    case OCI_INT:
        r = parse_i64(value, INT64_MIN, INT64_MAX, target, err);
        break;
    }
    return r < 0 ? err_wrap(err, "option --%s", o->name) : 0;
}

int oci_options_parse(const struct oci_option *table, int argc, char **argv, int *at, struct oci_args *ret,
                      struct err *err)
{
    for (; *at < argc; (*at)++) {
        const char *word = argv[*at];
        if (word[0] != '-' || !word[1])
            break;
        if (str_eq(word, "--")) {
            (*at)++;
            break;
        }
        const char *name = word + 1 + (word[1] == '-'), *equals = strchr(name, '=');
        const struct oci_option *o = find(table, name, equals ? (size_t)(equals - name) : strlen(name));
        if (!o)
            return err_set(err, ERR_INVALID, "unknown option %s", word);
        const char *value = equals ? equals + 1 : NULL;
        if (!value && o->kind != OCI_FLAG) {
            if (*at + 1 >= argc)
                return err_set(err, ERR_INVALID, "option %s needs a value", word);
            value = argv[++*at];
        }
        int r = store(o, value, ret, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static char *spelling(const struct oci_option *o)
{
    _cleanup_free_ char *letter = o->letter ? str_printf("-%c, ", o->letter) : mem_strdup("");
    return str_printf("%s--%s%s%s", letter, o->name, o->value ? " " : "", o->value ? o->value : "");
}

void oci_options_print(const struct oci_option *table)
{
    for (; table->name; table++) {
        _cleanup_free_ char *left = spelling(table);
        if (strlen(left) > 28)
            printf("   %s\n   %-28s  %s\n", left, "", table->help);
        else
            printf("   %-28s  %s\n", left, table->help);
    }
}

void oci_options_print_markdown(const struct oci_option *table)
{
    for (; table->name; table++) {
        _cleanup_free_ char *left = spelling(table);
        printf("| | `%s` | %s |\n", left, table->help);
    }
}

void oci_args_done(struct oci_args *args)
{
    strv_free(args->env);
    strv_free(args->caps);
    strv_free(args->groups);
    strv_free(args->cgroups);
}
