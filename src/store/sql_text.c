/* See sql_text.h. */
#include "src/store/sql_text.h"

#include "src/base/mem.h"

void sl_sql_init(sl_sql *sql)
{
    SL_ASSERT(sql);
    *sql = (sl_sql){0};
    sl_buf_init(&sql->text, SL_MAX_SQL_BYTES);
}

void sl_sql_done(sl_sql *sql)
{
    SL_ASSERT(sql);
    for (unsigned i = 0; i < sql->count; i++)
        sl_free(sql->values[i]);
    sl_free(sql->values);
    sl_buf_done(&sql->text);
    *sql = (sl_sql){0};
}

int sl_sql_error(const sl_sql *sql)
{
    SL_ASSERT(sql);
    return sql->failed ? sql->failed : sql->text.failed;
}

int sl_sql_finish(sl_sql *sql)
{
    SL_ASSERT(sql);
    if (!sl_sql_error(sql) && sl_buf_put_char(&sql->text, '\0') == 0)
        sql->text.len--;
    return sl_sql_error(sql);
}

void sl_sql_put(sl_sql *sql, const char *text)
{
    SL_ASSERT(sql && text);
    (void)sl_buf_put_c(&sql->text, text);
}

void sl_sql_put_name(sl_sql *sql, const char *name)
{
    SL_ASSERT(sql && name && *name);
    (void)sl_buf_put_char(&sql->text, '"');
    for (; *name; name++) {
        if (*name == '"')
            (void)sl_buf_put_char(&sql->text, '"');
        (void)sl_buf_put_char(&sql->text, *name);
    }
    (void)sl_buf_put_char(&sql->text, '"');
}

unsigned sl_sql_value(sl_sql *sql, sl_str value)
{
    SL_ASSERT(sql && sl_str_chr(value, '\0') == SL_NPOS);
    if (!sql->failed && sql->count == SL_MAX_SQL_VALUES)
        sql->failed = SL_ELIMIT;
    if (sql->failed)
        return 1;
    if (sql->count == sql->cap) {
        unsigned cap = sql->cap ? sql->cap * 2 : 16;
        char **values = sl_realloc(sql->values, cap * sizeof *values);
        if (!values) {
            sql->failed = SL_ENOMEM;
            return 1;
        }
        sql->values = values;
        sql->cap = cap;
    }
    char *copy = sl_strndup(value.len ? value.ptr : "", value.len);
    if (!copy) {
        sql->failed = SL_ENOMEM;
        return 1;
    }
    sql->values[sql->count++] = copy;
    return sql->count;
}

void sl_sql_put_number(sl_sql *sql, unsigned number)
{
    SL_ASSERT(sql && number > 0);
    (void)sl_buf_put_char(&sql->text, '$');
    (void)sl_buf_put_u64(&sql->text, number);
}

void sl_sql_put_value(sl_sql *sql, sl_str value)
{
    sl_sql_put_number(sql, sl_sql_value(sql, value));
}
