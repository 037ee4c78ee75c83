/* See queue_store.h. */
#include "src/queue/queue_store.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/queue/queue_id.h"

/*
 * Rows only ever go in at the end of `message` and `body`, and mostly leave at the beginning, so that a group of many
 * puts and acknowledgements changes few pages. Only keys go to random places; their ends are noted in order of time
 * (`ended`), so that an acknowledgement need not touch the key's page.
 */
const char sl_queue_schema[] =
    "create table if not exists topic(id integer primary key, name text not null unique) strict;"
    "create table if not exists message(row integer primary key, head integer not null, topic integer not null,"
    " priority integer not null, put_ns integer not null, ready_ms integer not null, deliveries integer not null,"
    " max_deliveries integer not null, trace_len integer not null, key_len integer not null, body_len integer not null,"
    " key_hash blob) strict;"
    "create table if not exists body(row integer primary key, trace text not null, key text not null,"
    " body blob not null) strict;"
    "create table if not exists key(hash blob primary key, head integer not null, row integer not null)"
    " strict, without rowid;"
    "create table if not exists ended(at_ms integer not null, hash blob not null) strict;"
    "create table if not exists dead(row integer primary key, head integer not null, topic integer not null,"
    " priority integer not null, put_ns integer not null, deliveries integer not null,"
    " max_deliveries integer not null, trace_len integer not null, key_len integer not null, body_len integer not null,"
    " key_hash blob, dead_ms integer not null, reason text not null) strict;"
    "create index if not exists dead_topic on dead(topic, row)";

/* Half of a job must never be committed with the rest of its group. */
static int undo(sqlite3 *sqlite, int error)
{
    SL_ASSERT(error);
    if (!sqlite3_get_autocommit(sqlite))
        (void)sqlite3_exec(sqlite, "rollback", NULL, NULL, NULL);
    return error;
}

static void bind_u64(sqlite3_stmt *statement, int index, uint64_t value)
{
    (void)sqlite3_bind_int64(statement, index, (int64_t)value);
}

static uint64_t column_u64(sqlite3_stmt *statement, int index)
{
    return (uint64_t)sqlite3_column_int64(statement, index);
}

/* Runs a statement whose parameters are numbers. */
static int exec_numbers(sl_db *db, const char *text, const uint64_t *values, int count)
{
    sqlite3_stmt *statement = sl_db_statement(db, text);
    for (int i = 0; statement && i < count; i++)
        bind_u64(statement, i + 1, values[i]);
    return sl_db_exec(statement);
}

/* ---- puts ---- */

static int find_key(sl_db *db, const uint8_t *hash, sl_q_known *ret_known)
{
    sqlite3_stmt *statement = sl_db_statement(db, "select head, row from key where hash = ?");
    if (!statement)
        return SL_EIO;
    (void)sqlite3_bind_blob(statement, 1, hash, SL_QUEUE_KEY_HASH_BYTES, SQLITE_STATIC);
    int code = sqlite3_step(statement);
    ret_known->found = code == SQLITE_ROW;
    if (ret_known->found) {
        ret_known->head = column_u64(statement, 0);
        ret_known->row = column_u64(statement, 1);
    }
    (void)sqlite3_reset(statement);
    return sl_db_error(code);
}

static int put_key(sl_db *db, const sl_q_message *m)
{
    sqlite3_stmt *statement = sl_db_statement(db, "insert into key(hash, head, row) values(?, ?, ?)");
    if (!statement)
        return SL_EIO;
    (void)sqlite3_bind_blob(statement, 1, m->key_hash, SL_QUEUE_KEY_HASH_BYTES, SQLITE_STATIC);
    bind_u64(statement, 2, m->head);
    bind_u64(statement, 3, m->row);
    return sl_db_exec(statement);
}

int sl_q_store_topic(sl_db *db, uint32_t id, sl_str name)
{
    sqlite3_stmt *statement = sl_db_statement(db, "insert or ignore into topic(id, name) values(?, ?)");
    if (!statement)
        return SL_EIO;
    bind_u64(statement, 1, id);
    sl_db_bind_text(statement, 2, name);
    return sl_db_exec(statement);
}

static int put_message(sl_db *db, const sl_q_message *m, uint32_t topic_id)
{
    sqlite3_stmt *statement = sl_db_statement(db, "insert into message values(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    if (!statement)
        return SL_EIO;
    const uint64_t values[] = {
        m->row,        m->head,           topic_id,     m->priority, m->put_ns,  m->ready_ns / 1000000,
        m->deliveries, m->max_deliveries, m->trace_len, m->key_len,  m->body_len};
    for (int i = 0; i < 11; i++)
        bind_u64(statement, i + 1, values[i]);
    if (m->has_key)
        (void)sqlite3_bind_blob(statement, 12, m->key_hash, SL_QUEUE_KEY_HASH_BYTES, SQLITE_STATIC);
    return sl_db_exec(statement);
}

static int put_body(sl_db *db, const sl_q_message *m)
{
    sqlite3_stmt *statement = sl_db_statement(db, "insert into body(row, trace, key, body) values(?, ?, ?, ?)");
    if (!statement)
        return SL_EIO;
    bind_u64(statement, 1, m->row);
    sl_db_bind_text(statement, 2, sl_str_of(m->bytes, m->trace_len));
    sl_db_bind_text(statement, 3, sl_str_of(m->bytes + m->trace_len, m->key_len));
    sl_db_bind_blob(statement, 4, sl_str_of(m->bytes + m->trace_len + m->key_len, m->body_len));
    return sl_db_exec(statement);
}

int sl_q_store_put(sl_db *db, sqlite3 *sqlite, const sl_q_message *message, uint32_t topic_id, sl_str topic_name,
                   sl_q_known *ret_known)
{
    SL_ASSERT(db && message && message->bytes && ret_known);
    sl_q_known known = {.found = false};
    int error = message->has_key ? find_key(db, message->key_hash, &known) : 0;
    if (!error && !known.found && topic_name.len)
        error = sl_q_store_topic(db, topic_id, topic_name);
    if (!error && !known.found)
        error = put_message(db, message, topic_id);
    if (!error && !known.found)
        error = put_body(db, message);
    if (!error && !known.found && message->has_key)
        error = put_key(db, message);
    if (error)
        return undo(sqlite, error);
    *ret_known = known;
    return 0;
}

/* ---- ends ---- */

static int end_key(sl_db *db, const void *hash, uint64_t now_ms)
{
    sqlite3_stmt *statement = sl_db_statement(db, "insert into ended(at_ms, hash) values(?, ?)");
    if (!statement)
        return SL_EIO;
    bind_u64(statement, 1, now_ms);
    (void)sqlite3_bind_blob(statement, 2, hash, SL_QUEUE_KEY_HASH_BYTES, SQLITE_STATIC);
    return sl_db_exec(statement);
}

int sl_q_store_end(sl_db *db, sqlite3 *sqlite, uint64_t row, const uint8_t *key_hash, uint64_t now_ms)
{
    int error = exec_numbers(db, "delete from message where row = ?", &row, 1);
    if (!error)
        error = exec_numbers(db, "delete from body where row = ?", &row, 1);
    if (!error && key_hash)
        error = end_key(db, key_hash, now_ms);
    return error ? undo(sqlite, error) : 0;
}

int sl_q_store_count(sl_db *db, uint64_t row, unsigned deliveries, uint64_t ready_ms)
{
    const uint64_t values[] = {row, deliveries, ready_ms};
    return exec_numbers(db, "update message set deliveries = ?2, ready_ms = ?3 where row = ?1", values, 3);
}

int sl_q_store_forget(sl_db *db, sqlite3 *sqlite, uint64_t before_ms, size_t max, uint64_t *ret_next_ms)
{
    const uint64_t values[] = {before_ms, max};
    int error = exec_numbers(db,
                             "delete from key where hash in (select hash from (select at_ms, hash from ended "
                             "order by rowid limit ?2) where at_ms < ?1)",
                             values, 2);
    if (!error)
        error = exec_numbers(db,
                             "delete from ended where rowid in (select rowid from (select rowid, at_ms from ended "
                             "order by rowid limit ?2) where at_ms < ?1)",
                             values, 2);
    sqlite3_stmt *oldest = error ? NULL : sl_db_statement(db, "select at_ms from ended order by rowid limit 1");
    if (!oldest)
        return undo(sqlite, error ? error : SL_EIO);
    int code = sqlite3_step(oldest);
    uint64_t next_ms = code == SQLITE_ROW ? column_u64(oldest, 0) : 0;
    (void)sqlite3_reset(oldest);
    if (sl_db_error(code))
        return undo(sqlite, sl_db_error(code));
    *ret_next_ms = next_ms;
    return 0;
}

/* ---- dead letters ---- */

int sl_q_store_kill(sl_db *db, sqlite3 *sqlite, uint64_t row, unsigned deliveries, sl_str reason, uint64_t now_ms)
{
    sqlite3_stmt *statement = sl_db_statement(
        db, "insert into dead select row, head, topic, priority, put_ns, ?2, max_deliveries, trace_len, key_len, "
            "body_len, key_hash, ?3, ?4 from message where row = ?1");
    if (!statement)
        return undo(sqlite, SL_EIO);
    bind_u64(statement, 1, row);
    bind_u64(statement, 2, deliveries);
    bind_u64(statement, 3, now_ms);
    sl_db_bind_text(statement, 4, reason);
    int error = sl_db_exec(statement);
    if (!error)
        error = exec_numbers(db, "delete from message where row = ?", &row, 1);
    return error ? undo(sqlite, error) : 0;
}

/* The columns that `message` and `dead` share, from column 0. NULL without memory. */
static sl_q_message *read_message(sqlite3_stmt *row, int64_t *ret_topic_id)
{
    sl_q_message *m = sl_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->row = column_u64(row, 0);
    m->head = column_u64(row, 1);
    *ret_topic_id = sqlite3_column_int64(row, 2);
    m->priority = (uint8_t)(column_u64(row, 3) % SL_QUEUE_PRIORITIES);
    m->put_ns = column_u64(row, 4);
    m->deliveries = (uint16_t)column_u64(row, 5);
    m->max_deliveries = (uint16_t)column_u64(row, 6);
    m->trace_len = (uint16_t)column_u64(row, 7);
    m->key_len = (uint16_t)column_u64(row, 8);
    m->body_len = (uint32_t)column_u64(row, 9);
    m->order = m->row;
    m->has_key = sqlite3_column_bytes(row, 10) == SL_QUEUE_KEY_HASH_BYTES;
    if (m->has_key)
        memcpy(m->key_hash, sqlite3_column_blob(row, 10), SL_QUEUE_KEY_HASH_BYTES);
    return m;
}

#define SHARED_COLUMNS                                                                                                 \
    "row, head, topic, priority, put_ns, deliveries, max_deliveries, trace_len, key_len, body_len, key_hash"

/* Collects dead letters to be changed; the caller frees them. Returns how many, or an error. */
static int collect_dead(sl_db *db, uint32_t topic_id, uint64_t head, uint64_t row, size_t max, sl_q_message **ret)
{
    sqlite3_stmt *statement =
        row ? sl_db_statement(db, "select " SHARED_COLUMNS " from dead where topic = ?1 and row = ?2 and head = ?4")
            : sl_db_statement(db, "select " SHARED_COLUMNS " from dead where topic = ?1 order by row limit ?3");
    if (!statement)
        return SL_EIO;
    const uint64_t values[] = {topic_id, row, max, head};
    for (int i = 0; i < 4; i++)
        bind_u64(statement, i + 1, values[i]); /* those that a text does not have are refused, harmlessly */
    int code, count = 0;
    while ((code = sqlite3_step(statement)) == SQLITE_ROW && (size_t)count < max) {
        int64_t topic;
        ret[count] = read_message(statement, &topic);
        if (!ret[count])
            break;
        count++;
    }
    (void)sqlite3_reset(statement);
    return code == SQLITE_DONE || (size_t)count == max ? count : code == SQLITE_ROW ? SL_ENOMEM : sl_db_error(code);
}

static int revive_one(sl_db *db, sl_q_message *m, uint32_t topic_id)
{
    m->deliveries = 0;
    m->ready_ns = sl_now_ns();
    int error = put_message(db, m, topic_id);
    return error ? error : exec_numbers(db, "delete from dead where row = ?", &m->row, 1);
}

int sl_q_store_revive(sl_db *db, sqlite3 *sqlite, uint32_t topic_id, uint64_t head, uint64_t row, size_t max,
                      sl_q_message **ret_messages, size_t *ret_count)
{
    SL_ASSERT(max <= INT32_MAX && ret_messages && ret_count);
    int count = collect_dead(db, topic_id, head, row, max, ret_messages);
    if (count < 0)
        return undo(sqlite, count);
    *ret_count = (size_t)count;
    for (int i = 0; i < count; i++) {
        int error = revive_one(db, ret_messages[i], topic_id);
        if (error)
            return undo(sqlite, error);
    }
    return 0;
}

static int bury_one(sl_db *db, const sl_q_message *m, uint64_t now_ms)
{
    int error = exec_numbers(db, "delete from dead where row = ?", &m->row, 1);
    if (!error)
        error = exec_numbers(db, "delete from body where row = ?", &m->row, 1);
    return !error && m->has_key ? end_key(db, m->key_hash, now_ms) : error;
}

int sl_q_store_bury(sl_db *db, sqlite3 *sqlite, uint32_t topic_id, uint64_t head, uint64_t row, size_t max,
                    uint64_t now_ms, size_t *ret_count)
{
    sl_q_message **found = sl_calloc(max, sizeof *found);
    int count = found ? collect_dead(db, topic_id, head, row, max, found) : SL_ENOMEM;
    int error = count < 0 ? count : 0;
    for (int i = 0; i < count; i++) {
        if (!error)
            error = bury_one(db, found[i], now_ms);
    }
    for (size_t i = 0; found && i < max; i++)
        sl_q_message_free(found[i]);
    sl_free(found);
    if (error)
        return undo(sqlite, error);
    *ret_count = (size_t)count;
    return 0;
}

int sl_q_store_dead(sqlite3 *sqlite, const sl_q_topic *topic, uint64_t after_row, size_t max,
                    void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    static const char text[] =
        "select d.row, d.head, d.priority, d.put_ns, d.deliveries, d.dead_ms, d.reason, b.trace, "
        "b.key, b.body from dead d join body b on b.row = d.row "
        "where d.topic = ? and d.row > ? order by d.row limit ?";
    sqlite3_stmt *row = NULL;
    if (sqlite3_prepare_v2(sqlite, text, -1, &row, NULL) != SQLITE_OK)
        return SL_EIO;
    bind_u64(row, 1, topic->id);
    bind_u64(row, 2, after_row);
    bind_u64(row, 3, max);
    int code, count = 0;
    while ((code = sqlite3_step(row)) == SQLITE_ROW) {
        sl_queue_dead dead = {.topic = sl_str_of(topic->name, topic->name_len)};
        sl_str *texts[] = {&dead.reason, &dead.trace, &dead.idempotency_key, &dead.body};
        for (int i = 0; i < 4; i++) {
            const void *bytes = sqlite3_column_blob(row, 6 + i);
            *texts[i] = sl_str_of(bytes, (size_t)sqlite3_column_bytes(row, 6 + i));
        }
        sl_queue_id_format(column_u64(row, 1), column_u64(row, 0) & SL_QUEUE_ROW_MASK, dead.id);
        dead.priority = (unsigned)column_u64(row, 2);
        dead.put_ns = column_u64(row, 3);
        dead.deliveries = (unsigned)column_u64(row, 4);
        dead.dead_ns = column_u64(row, 5) * 1000000u;
        fn(user, &dead);
        count++;
    }
    (void)sqlite3_finalize(row);
    return code == SQLITE_DONE ? count : sl_db_error(code) ? sl_db_error(code) : SL_EIO;
}

/* ---- opening ---- */

static int load_topics(sqlite3 *sqlite, sl_q_table *table)
{
    sqlite3_stmt *row = NULL;
    if (sqlite3_prepare_v2(sqlite,
                           "select id, name, (select count(*) from dead where topic = topic.id) from topic order by id",
                           -1, &row, NULL) != SQLITE_OK)
        return SL_EIO;
    int code, error = 0;
    while (!error && (code = sqlite3_step(row)) == SQLITE_ROW) {
        sl_str name = sl_str_of((const char *)sqlite3_column_text(row, 1), (size_t)sqlite3_column_bytes(row, 1));
        sl_q_topic *topic;
        if (name.len == 0 || name.len > SL_QUEUE_MAX_TOPIC_BYTES || sqlite3_column_int64(row, 0) <= 0)
            error = SL_EIO;
        else
            error = sl_q_topic_add(table, name, (uint32_t)column_u64(row, 0), &topic);
        if (error)
            break;
        topic->stored = true;
        topic->dead = column_u64(row, 2);
    }
    (void)sqlite3_finalize(row);
    return error ? error : sl_db_error(code);
}

/* One waiting message into the table. */
static int load_message(sl_q_table *table, sqlite3_stmt *row, uint64_t now_ns, uint64_t mono_ns)
{
    int64_t topic_id;
    sl_q_message *m = read_message(row, &topic_id);
    if (!m)
        return SL_ENOMEM;
    m->topic = topic_id > 0 ? sl_q_topic_by_id(table, (uint32_t)topic_id) : NULL;
    int error = m->topic && m->row <= SL_QUEUE_ROW_MASK ? sl_q_reserve(table, m->topic, m->priority, 1) : SL_EIO;
    if (error) {
        sl_q_message_free(m);
        return error;
    }
    m->ready_ns = column_u64(row, 11) * 1000000u;
    m->topic->waiting++;
    sl_q_add(table, m);
    if (m->deliveries >= m->max_deliveries) /* its last delivery ended with the process: the clock finds it at once */
        sl_q_enter(table, m, SL_Q_DELAYED, mono_ns);
    else if (m->ready_ns > now_ns)
        sl_q_enter(table, m, SL_Q_DELAYED, mono_ns + (m->ready_ns - now_ns));
    else
        sl_q_enter(table, m, SL_Q_READY, 0);
    return 0;
}

static int load_messages(sqlite3 *sqlite, sl_q_table *table)
{
    sqlite3_stmt *row = NULL;
    if (sqlite3_prepare_v2(sqlite, "select " SHARED_COLUMNS ", ready_ms from message order by row", -1, &row, NULL) !=
        SQLITE_OK)
        return SL_EIO;
    uint64_t now_ns = sl_now_ns(), mono_ns = sl_mono_ns();
    int code, error = 0;
    while (!error && (code = sqlite3_step(row)) == SQLITE_ROW)
        error = load_message(table, row, now_ns, mono_ns);
    (void)sqlite3_finalize(row);
    return error ? error : sl_db_error(code);
}

int sl_q_store_load(sqlite3 *sqlite, sl_q_table *table, uint64_t *ret_next_row, uint64_t *ret_dead)
{
    SL_ASSERT(sqlite && table && ret_next_row && ret_dead);
    int error = load_topics(sqlite, table);
    if (!error)
        error = load_messages(sqlite, table);
    sqlite3_stmt *row = NULL;
    if (!error && sqlite3_prepare_v2(sqlite,
                                     "select max(ifnull((select max(row) from body), 0), "
                                     "ifnull((select max(row) from message), 0)), (select count(*) from dead)",
                                     -1, &row, NULL) != SQLITE_OK)
        error = SL_EIO;
    if (!error && sqlite3_step(row) == SQLITE_ROW) {
        *ret_next_row = column_u64(row, 0) + 1;
        *ret_dead = column_u64(row, 1);
    } else if (!error) {
        error = SL_EIO;
    }
    (void)sqlite3_finalize(row);
    return error;
}

int sl_q_store_bytes(sqlite3 *sqlite, sqlite3_stmt **statement, const sl_q_message *message, char **ret_bytes)
{
    SL_ASSERT(sqlite && statement && message && ret_bytes);
    if (!*statement && sqlite3_prepare_v3(sqlite, "select trace, key, body from body where row = ?", -1,
                                          SQLITE_PREPARE_PERSISTENT, statement, NULL) != SQLITE_OK)
        return SL_EIO;
    bind_u64(*statement, 1, message->row);
    const size_t lens[3] = {message->trace_len, message->key_len, message->body_len};
    char *bytes = sl_malloc(sl_q_bytes_len(message) + 1);
    int error = bytes ? 0 : SL_ENOMEM;
    if (!error && sqlite3_step(*statement) != SQLITE_ROW)
        error = SL_EIO;
    for (int i = 0, at = 0; !error && i < 3; at += (int)lens[i], i++) {
        const void *part = sqlite3_column_blob(*statement, i);
        if ((size_t)sqlite3_column_bytes(*statement, i) != lens[i])
            error = SL_EIO;
        else if (lens[i])
            memcpy(bytes + at, part, lens[i]);
    }
    (void)sqlite3_reset(*statement);
    if (error) {
        sl_free(bytes);
        return error;
    }
    *ret_bytes = bytes;
    return 0;
}
