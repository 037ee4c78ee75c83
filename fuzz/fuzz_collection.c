/* Rows of collections from JSON lines and CSV, and filters on metadata: the first byte chooses. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/store/collection_filter.h"
#include "src/store/collection_filter_sql.h"
#include "src/store/collection_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_rows(const uint8_t *data, size_t size, bool csv)
{
    FILE *file = fmemopen((void *)(uintptr_t)data, size, "r");
    sl_rows rows;
    json_t *row;
    if (!file)
        return;
    sl_rows_init(&rows, file, csv);
    while (sl_rows_next(&rows, &row) == 0) {
        if (!json_is_string(json_object_get(row, "id")) || !json_is_object(json_object_get(row, "metadata")))
            abort();
        json_decref(row);
    }
    sl_rows_done(&rows);
    (void)fclose(file);
}

/* A filter of itself as metadata: whatever it says, it is decided, and said in Qdrant's words. */
static void put_member(sl_sql *sql, const char *key, void *user)
{
    (void)user;
    sl_filter_sql_member(sql, "o", key);
}

/* Nothing of a filter stands in the text of the statement: what is there is whole, and has no word of another's. */
static void write_sql(const sl_vector_filter *filter)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ()>@=<#,':$_-.{}\"";
    sl_sql sql;
    long depth = 0;
    sl_sql_init(&sql);
    sl_vector_filter_sql(filter, &sql, put_member, NULL);
    if (sl_sql_finish(&sql) == 0) {
        for (const char *c = sql.text.data; *c; c++) {
            depth += (*c == '(') - (*c == ')');
            if (depth < 0 || !strchr(allowed, *c))
                abort();
        }
        if (depth || strstr(sql.text.data, "--") || sql.count > SL_MAX_SQL_VALUES)
            abort();
    }
    sl_sql_done(&sql);
}

static void read_filter(const uint8_t *data, size_t size)
{
    char reason[SL_FILTER_REASON] = "";
    json_t *text = json_loadb((const char *)data, size, 0, NULL), *values[SL_MAX_FILTER_TERMS] = {0};
    sl_vector_filter *filter = NULL;
    int error = text ? sl_vector_filter_new(text, reason, &filter) : 0;
    if (error == SL_EINVAL && !reason[0])
        abort();
    if (filter) {
        for (size_t i = 0; i < sl_vector_filter_key_count(filter); i++)
            values[i] = sl_vector_filter_value(text, sl_vector_filter_key(filter, i));
        (void)sl_vector_filter_holds(filter, values);
        json_decref(sl_vector_filter_qdrant(filter));
        write_sql(filter);
    }
    sl_vector_filter_free(filter);
    json_decref(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    if (data[0] % 3 == 2)
        read_filter(data + 1, size - 1);
    else
        read_rows(data + 1, size - 1, data[0] % 3 == 1);
    return 0;
}
