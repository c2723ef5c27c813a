#include "store/cowsql_rows.h"

int cowsql_rows_add(void *context, const struct store_value *columns, size_t n, struct err *err)
{
    struct cowsql_rows *rows = context;
    rows->columns = n;
    for (size_t i = 0; i < n; i++) {
        GROW(rows->values, rows->count, rows->capacity);
        struct store_value *v = &rows->values[rows->count++];
        *v = columns[i];
        if (v->type != STORE_TEXT && v->type != STORE_BLOB)
            continue;
        v->bytes = (const void *)(uintptr_t)rows->texts.len;
        str_addn(&rows->texts, columns[i].bytes, columns[i].size);
        str_addn(&rows->texts, "", 1);
    }
    if (rows->texts.len + rows->count * sizeof(*rows->values) > STORE_RESULT_BYTES)
        return err_set(err, ERR_LIMIT, "store: a query's result is larger than %d MiB: ask for it in parts",
                       STORE_RESULT_BYTES >> 20);
    return 0;
}

int cowsql_rows_give(const struct cowsql_rows *rows, store_row_fn row, void *context, struct err *err)
{
    for (size_t i = 0; i < rows->count; i++) {
        struct store_value *v = &rows->values[i];
        if (v->type == STORE_TEXT || v->type == STORE_BLOB)
            v->bytes = rows->texts.data + (uintptr_t)v->bytes;
    }
    for (size_t i = 0; i + rows->columns <= rows->count && rows->columns; i += rows->columns) {
        int r = row(context, rows->values + i, rows->columns, err);
        if (r)
            return r;
    }
    return 0;
}

void cowsql_rows_done(struct cowsql_rows *rows)
{
    free(rows->values);
    str_free(&rows->texts);
    *rows = (struct cowsql_rows){0};
}
