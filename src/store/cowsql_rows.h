/* The rows of a query, kept until all have come: up to STORE_RESULT_BYTES, then ERR_LIMIT. */
#ifndef STORE_COWSQL_ROWS_H
#define STORE_COWSQL_ROWS_H

#include "base/str.h"
#include "store/store.h"

struct cowsql_rows {
    struct store_value *values; /* `bytes` is an offset into the texts */
    size_t count, capacity, columns;
    struct str texts;
};

int cowsql_rows_add(void *rows, const struct store_value *columns, size_t n, struct err *err);
int cowsql_rows_give(const struct cowsql_rows *rows, store_row_fn row, void *context, struct err *err);
void cowsql_rows_done(struct cowsql_rows *rows); /* empty again */

#endif
