/*
 * Rows into a table of a PostgreSQL server with pgvector, for those who search it by pgvector.h. One connection, used
 * by one thread; everything blocks.
 *
 * Promises: a table that is not there is made: columns namespace, id, metadata and embedding (of the rows' dimensions),
 * the first two its key; without an index for distances, so that searches are exact until somebody makes one, and with
 * the metric as comment of the column, as the name of pgvector's operators: vector_l2_ops. In a table that is there the
 * columns are found as a search finds them, and none is changed. Rows are put in place of those of the same ids, in
 * transactions of up to 16 MiB, and are on the server's disk then; where the server is busy or the connection breaks it
 * is tried again. Values never become part of a statement's text.
 */
#ifndef SL_STORE_PGVECTOR_LOAD_H
#define SL_STORE_PGVECTOR_LOAD_H

#include "src/store/collection_set.h"
#include "src/store/pgvector_sql.h"

#define SL_PG_LOAD_REASON 700

typedef struct sl_pg_loader sl_pg_loader;

/* Connects. `library`: NULL, SL_LIBPQ_FILE. `reason` (SL_PG_LOAD_REASON bytes) says what is wrong, here and below.
 * Errors: SL_ECONNECT, SL_ENOTSUP (no client library), SL_ENOMEM. */
SL_MUST_CHECK int sl_pg_loader_new(const char *conninfo, const char *library, char *reason, sl_pg_loader **ret_loader);
/* NULL is accepted. */
void sl_pg_loader_free(sl_pg_loader *loader);
/*
 * Says where rows go: NAME or SCHEMA.NAME, made when it is not there. `metric`: an sl_vector_metric, or
 * SL_PG_METRIC_AUTO: that of the table, of a new one cosine. `*ret_made` may be NULL. Errors: SL_EINVAL (the
 * table is of another shape, or cannot be written to), SL_EEXIST (of other dimensions, or another metric), SL_EIO (the
 * server says no), SL_ECONNECT, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_pg_loader_table(sl_pg_loader *loader, sl_str table, size_t dims, unsigned metric, char *reason,
                                     bool *ret_made);
/* Puts rows that are valid (sl_vector_row_is_valid), of the dimensions that were said; of several of one id the last.
 * Errors: SL_EINVAL (a value that the server does not take), SL_EIO, SL_ECONNECT, SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_pg_loader_put(sl_pg_loader *loader, const sl_vector_row *rows, size_t count, char *reason);

/* ---- statements, for tests ---- */

/* The table, and the comment of its column; `extension` is the schema of the extension. */
void sl_pg_put_create(sl_sql *sql, sl_str table, const char *extension, size_t dims);
void sl_pg_put_comment(sl_sql *sql, sl_str table, sl_vector_metric metric);
/* Rows of the ids go, and rows come; both take the batch of sl_pg_load_batch as their value. Errors: SL_EINVAL with
 * `reason`: a table that rows cannot be put into. */
SL_MUST_CHECK int sl_pg_put_delete(sl_sql *sql, const sl_pg_table *table, sl_str batch, char *reason);
SL_MUST_CHECK int sl_pg_put_insert(sl_sql *sql, const sl_pg_table *table, sl_str batch, char *reason);
/* [{"s": namespace, "i": id, "m": metadata, "e": "[1,0.5]"}], of several of one id the last. NULL: no memory. Freed by
 * sl_free. */
char *sl_pg_load_batch(const sl_vector_row *rows, size_t count);

#endif
