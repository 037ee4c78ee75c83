/*
 * One SQL statement in the making: its text, and the values that its $1, $2, ... stand for. Values never become a part
 * of the text; names do, quoted.
 *
 * A failure (memory, a limit) is remembered and asked for once at the end, by sl_sql_error.
 */
#ifndef SL_STORE_SQL_TEXT_H
#define SL_STORE_SQL_TEXT_H

#include "src/base/buf.h"
#include "src/base/limits.h"

typedef struct sl_sql {
    sl_buf text;
    char **values; /* texts, owned */
    unsigned count, cap;
    int failed;
} sl_sql;

void sl_sql_init(sl_sql *sql);
void sl_sql_done(sl_sql *sql);
/* 0, or the first failure: SL_ENOMEM, SL_ELIMIT. */
int sl_sql_error(const sl_sql *sql);
/* Puts a NUL behind the text, for those who take C strings, and says the same. Nothing is appended after it. */
SL_MUST_CHECK int sl_sql_finish(sl_sql *sql);

/* Appends text of our own. */
void sl_sql_put(sl_sql *sql, const char *text);
/* Appends a name in double quotes, those within doubled. */
void sl_sql_put_name(sl_sql *sql, const char *name);
/* Appends "$N" for a value, which is copied. It holds no NUL. */
void sl_sql_put_value(sl_sql *sql, sl_str value);
/* The same for one that stands there already. */
void sl_sql_put_number(sl_sql *sql, unsigned number);
/* Keeps a value and returns its number. */
unsigned sl_sql_value(sl_sql *sql, sl_str value);

#endif
