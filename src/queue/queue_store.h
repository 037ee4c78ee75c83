/*
 * The embedded queue's file: schema and statements. Everything that writes runs inside a job of the store's writer
 * (src/store/db.h) and is atomic: when it fails midway, it rolls the whole transaction back, and the writer runs the
 * neighbours again.
 *
 * What a start must know about a message lies in `message`, small rows that are read in one scan; bodies lie apart.
 */
#ifndef SL_QUEUE_STORE_H
#define SL_QUEUE_STORE_H

#include "src/queue/queue_state.h"
#include "src/store/db.h"

#define SL_QUEUE_FORMAT 1
extern const char sl_queue_schema[];

/* The id under which a key was accepted. */
typedef struct sl_q_known {
    bool found;
    uint64_t head, row;
} sl_q_known;

/* ---- in a job of the writer ---- */

/* Writes the message (its bytes are in memory), unless its key is known. `topic_name` empty: the topic is stored. */
SL_MUST_CHECK int sl_q_store_put(sl_db *db, sqlite3 *sqlite, const sl_q_message *message, uint32_t topic_id,
                                 sl_str topic_name, sl_q_known *ret_known);
/* Keeps the name of a topic. */
SL_MUST_CHECK int sl_q_store_topic(sl_db *db, uint32_t id, sl_str name);
/* Removes it for good; its key lives on from `now_ms`. `key_hash` NULL: it has none. */
SL_MUST_CHECK int sl_q_store_end(sl_db *db, sqlite3 *sqlite, uint64_t row, const uint8_t *key_hash, uint64_t now_ms);
/* Notes deliveries and when it is ready again. */
SL_MUST_CHECK int sl_q_store_count(sl_db *db, uint64_t row, unsigned deliveries, uint64_t ready_ms);
/* To the dead letters. */
SL_MUST_CHECK int sl_q_store_kill(sl_db *db, sqlite3 *sqlite, uint64_t row, unsigned deliveries, sl_str reason,
                                  uint64_t now_ms);
/*
 * Brings up to `max` dead letters of a topic back (row 0: any, else that one with this head). `ret_messages` are made
 * anew, with topic NULL; the caller frees them, also when the job fails afterwards.
 */
SL_MUST_CHECK int sl_q_store_revive(sl_db *db, sqlite3 *sqlite, uint32_t topic_id, uint64_t head, uint64_t row,
                                    size_t max, sl_q_message **ret_messages, size_t *ret_count);
/* Removes up to `max` dead letters for good. */
SL_MUST_CHECK int sl_q_store_bury(sl_db *db, sqlite3 *sqlite, uint32_t topic_id, uint64_t head, uint64_t row,
                                  size_t max, uint64_t now_ms, size_t *ret_count);
/* Forgets up to `max` keys of messages that ended before `before_ms`. `ret_next_ms`: when the oldest that is left
 * ended; 0: none is left. */
SL_MUST_CHECK int sl_q_store_forget(sl_db *db, sqlite3 *sqlite, uint64_t before_ms, size_t max, uint64_t *ret_next_ms);

/* ---- with a connection of one's own ---- */

/* Reads topics and all waiting messages into the table; `ret_next_row`: above every row that was used. */
SL_MUST_CHECK int sl_q_store_load(sqlite3 *sqlite, sl_q_table *table, uint64_t *ret_next_row, uint64_t *ret_dead);
/* A body's statement is kept in `*statement`. Allocates trace, key and body as one piece. SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_q_store_bytes(sqlite3 *sqlite, sqlite3_stmt **statement, const sl_q_message *message,
                                   char **ret_bytes);
/* As sl_queue_dead_list. */
int sl_q_store_dead(sqlite3 *sqlite, const sl_q_topic *topic, uint64_t after_row, size_t max,
                    void (*fn)(void *user, const sl_queue_dead *dead), void *user);

#endif
