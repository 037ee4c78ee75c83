/*
 * Opening a SQLite file as the store keeps it (WAL, synced commits, a format number), and saying in plain words what is
 * wrong with one that cannot be used, and what to do about it.
 */
#ifndef SL_STORE_DB_FILE_H
#define SL_STORE_DB_FILE_H

#include "src/store/db.h"

/*
 * Opens for writing, migrates, applies the schema. Errors as sl_db_open; `error` says what and the way out. The file is
 * left as it was when it is refused.
 */
SL_MUST_CHECK int sl_db_file_open(const sl_db_options *options, char *error, size_t error_size, sqlite3 **ret_sqlite);
/* Opens for reading only. Errors: SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_db_file_reader(const char *path, sqlite3 **ret_sqlite);
/* Writes "PATH: what went wrong; what to do". `detail` may be NULL. */
void sl_db_file_explain(const char *path, int sqlite_code, const char *detail, char *text, size_t size);

#endif
