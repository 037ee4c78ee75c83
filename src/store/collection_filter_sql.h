/* A filter as a condition of PostgreSQL over values of type jsonb. It means what collection_filter.h says, but that of
 * lists within lists only the outer one's items are looked at. */
#ifndef SL_STORE_COLLECTION_FILTER_SQL_H
#define SL_STORE_COLLECTION_FILTER_SQL_H

#include "src/store/collection_filter.h"
#include "src/store/sql_text.h"

/* Appends an expression of type jsonb for what the metadata has under `key`, NULL where it has nothing. */
typedef void (*sl_filter_sql_key)(sl_sql *sql, const char *key, void *user);

/* Appends the condition: true or false, never NULL. Failures are `sql`'s. */
void sl_vector_filter_sql(const sl_vector_filter *filter, sl_sql *sql, sl_filter_sql_key put_key, void *user);
/* Appends what an object (the jsonb expression `object`, appended by us) has under a key: the member of that name, or
 * of names with dots between them. */
void sl_filter_sql_member(sl_sql *sql, const char *object, const char *key);

#endif
