/*
 * A write-ahead log of SQLite is read to its first frame whose checksum is wrong: whatever stands behind it is taken
 * for what a power cut left unfinished, and is dropped without a word. Here it is looked at: a power cut leaves at most
 * the end of one transaction, as each is synced before the next begins; whole transactions behind a bad frame were
 * committed.
 *
 * Damage in the last transaction cannot be told from a power cut.
 */
#ifndef SL_STORE_DB_LOG_H
#define SL_STORE_DB_LOG_H

#include <stdbool.h>

/* True when the log of this database (PATH-wal) has committed transactions that SQLite will not read. For whoever holds
 * the write lock: nobody else changes the log. A log that cannot be read is for SQLite to tell. */
bool sl_db_log_is_damaged(const char *path);

#endif
