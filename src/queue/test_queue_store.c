/* The queue's file: each operation by itself, and what is left of one that fails midway. */
#include "src/queue/queue_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "tests/harness/sl_test.h"

static char folder[64], path[128];
static sl_db *db;

static void begin(void)
{
    char error[256];
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-qstore-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/q.db", folder);
    sl_db_options options = {.path = path, .schema = sl_queue_schema, .format = SL_QUEUE_FORMAT};
    if (sl_db_open(&options, error, sizeof error, &db))
        abort();
}

static void end(void)
{
    char command[128];
    sl_db_close(db);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK_EQ(system(command), 0);
}

/* One call in a job of its own. */
typedef struct call {
    int (*fn)(struct call *c, sqlite3 *sqlite);
    sl_q_message *message;
    sl_q_message *many[8];
    uint64_t row, number, next;
    const uint8_t *hash;
    sl_q_known known;
    size_t count;
} call;

static int run_call(void *user, sqlite3 *sqlite)
{
    call *c = user;
    return c->fn(c, sqlite);
}

static int64_t number_of(const char *text)
{
    sqlite3 *reader;
    sqlite3_stmt *row = NULL;
    int64_t value = -1;
    if (sl_db_reader(db, &reader))
        return -1;
    if (sqlite3_prepare_v2(reader, text, -1, &row, NULL) == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW)
        value = sqlite3_column_int64(row, 0);
    (void)sqlite3_finalize(row);
    (void)sqlite3_close(reader);
    return value;
}

static int do_put(call *c, sqlite3 *sqlite)
{
    return sl_q_store_put(db, sqlite, c->message, 1, SL_STR("t"), &c->known);
}

static sl_q_message make(char *bytes, uint64_t row, bool keyed)
{
    sl_q_message m = {
        .row = row, .head = sl_queue_id_head(1000, row), .bytes = bytes, .body_len = 4, .max_deliveries = 5};
    m.has_key = keyed;
    m.key_len = keyed ? 1 : 0;
    m.body_len = (uint32_t)(strlen(bytes) - m.key_len);
    memset(m.key_hash, keyed ? bytes[0] : 0, sizeof m.key_hash);
    m.put_ns = 5000000000u;
    return m;
}

static int put(char *bytes, uint64_t row, bool keyed, sl_q_known *ret_known)
{
    sl_q_message m = make(bytes, row, keyed);
    call c = {.fn = do_put, .message = &m};
    int error = sl_db_run(db, run_call, &c);
    if (ret_known)
        *ret_known = c.known;
    return error;
}

static int do_end(call *c, sqlite3 *sqlite)
{
    return sl_q_store_end(db, sqlite, c->row, c->hash, c->number);
}

static int do_kill(call *c, sqlite3 *sqlite)
{
    return sl_q_store_kill(db, sqlite, c->row, 3, SL_STR("why"), c->number);
}

static int do_forget(call *c, sqlite3 *sqlite)
{
    return sl_q_store_forget(db, sqlite, c->number, 100, &c->next);
}

static int do_revive(call *c, sqlite3 *sqlite)
{
    return sl_q_store_revive(db, sqlite, 1, sl_queue_id_head(1000, c->row), c->row, c->number, c->many, &c->count);
}

static int do_bury(call *c, sqlite3 *sqlite)
{
    return sl_q_store_bury(db, sqlite, 1, 0, 0, c->number, 9000, &c->count);
}

SL_TEST(a_key_is_known_until_it_is_forgotten)
{
    char bytes[] = "kbody";
    uint8_t hash[SL_QUEUE_KEY_HASH_BYTES];
    sl_q_known known;
    memset(hash, 'k', sizeof hash);
    begin();
    CHECK_EQ(put(bytes, 7, true, &known), 0);
    CHECK(!known.found);
    CHECK_EQ(put(bytes, 8, true, &known), 0);
    CHECK(known.found && known.row == 7 && known.head == sl_queue_id_head(1000, 7));
    CHECK_EQ(number_of("select count(*) from message"), 1);
    call ended = {.fn = do_end, .row = 7, .hash = hash, .number = 1000};
    CHECK_EQ(sl_db_run(db, run_call, &ended), 0);
    CHECK_EQ(number_of("select count(*) from message") + number_of("select count(*) from body"), 0);
    call early = {.fn = do_forget, .number = 1000}; /* it ended at 1000: not before that */
    CHECK_EQ(sl_db_run(db, run_call, &early), 0);
    CHECK_EQ(early.next, 1000);
    CHECK_EQ(put(bytes, 9, true, &known), 0);
    CHECK(known.found);
    call late = {.fn = do_forget, .number = 1001};
    CHECK_EQ(sl_db_run(db, run_call, &late), 0);
    CHECK_EQ(late.next, 0);
    CHECK_EQ(put(bytes, 10, true, &known), 0);
    CHECK(!known.found);
    end();
}

SL_TEST(half_of_a_put_is_never_there)
{
    char bytes[] = "kbody";
    begin();
    CHECK_EQ(put(bytes, 7, false, NULL), 0);
    CHECK_EQ(put(bytes, 7, true, NULL), SL_EEXIST); /* its row is taken */
    CHECK_EQ(number_of("select count(*) from key"), 0);
    /* The body's place is taken, the message's is not: the message must not stay alone. */
    call orphan = {.fn = do_end, .row = 999};
    CHECK_EQ(sl_db_run(db, run_call, &orphan), 0);
    char drop[] = "insert into body values(8, '', '', x'00')";
    sqlite3 *other;
    REQUIRE(sqlite3_open(path, &other) == SQLITE_OK);
    CHECK_EQ(sqlite3_exec(other, drop, NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    CHECK_EQ(put(bytes, 8, false, NULL), SL_EEXIST);
    CHECK_EQ(number_of("select count(*) from message where row = 8"), 0);
    CHECK_EQ(put(bytes, 9, false, NULL), 0); /* and the writer goes on */
    end();
}

SL_TEST(dead_letters_come_and_go)
{
    char bytes[] = "kbody";
    begin();
    for (uint64_t row = 1; row <= 5; row++) {
        CHECK_EQ(put(bytes, row, false, NULL), 0);
        call killed = {.fn = do_kill, .row = row, .number = 2000};
        CHECK_EQ(sl_db_run(db, run_call, &killed), 0);
    }
    CHECK_EQ(number_of("select count(*) from dead"), 5);
    CHECK_EQ(number_of("select count(*) from body"), 5);
    call one = {.fn = do_revive, .row = 3, .number = 8};
    CHECK_EQ(sl_db_run(db, run_call, &one), 0);
    REQUIRE(one.count == 1);
    CHECK(one.many[0]->row == 3 && one.many[0]->deliveries == 0 && one.many[0]->body_len == 5);
    sl_q_message_free(one.many[0]);
    call again = {.fn = do_revive, .row = 3, .number = 8};
    CHECK_EQ(sl_db_run(db, run_call, &again), 0);
    CHECK_EQ(again.count, 0);
    call two = {.fn = do_revive, .number = 2};
    CHECK_EQ(sl_db_run(db, run_call, &two), 0);
    CHECK_EQ(two.count, 2);
    for (size_t i = 0; i < two.count; i++)
        sl_q_message_free(two.many[i]);
    call rest = {.fn = do_bury, .number = 8};
    CHECK_EQ(sl_db_run(db, run_call, &rest), 0);
    CHECK_EQ(rest.count, 2);
    CHECK_EQ(number_of("select count(*) from dead"), 0);
    CHECK_EQ(number_of("select count(*) from body"), 3);
    end();
}

SL_TEST(what_is_loaded_is_what_was_stored)
{
    char bytes[] = "kbody";
    begin();
    for (uint64_t row = 1; row <= 3; row++)
        CHECK_EQ(put(bytes, row * 10, row == 2, NULL), 0);
    sqlite3 *reader;
    sqlite3_stmt *statement = NULL;
    REQUIRE(sl_db_reader(db, &reader) == 0);
    sl_q_table table = {0};
    uint64_t next, dead;
    CHECK_EQ(sl_q_store_load(reader, &table, &next, &dead), 0);
    CHECK(table.count == 3 && table.topic_count == 1 && next == 31 && dead == 0);
    sl_q_message *m = sl_q_find(&table, 20);
    REQUIRE(m);
    CHECK(m->has_key && m->key_hash[0] == 'k' && m->key_len == 1 && m->body_len == 4 && m->state == SL_Q_READY);
    char *read = NULL;
    CHECK_EQ(sl_q_store_bytes(reader, &statement, m, &read), 0);
    CHECK(read && memcmp(read, "kbody", 5) == 0);
    sl_free(read);
    m->row = 21; /* a body that is not there */
    read = NULL;
    CHECK_EQ(sl_q_store_bytes(reader, &statement, m, &read), SL_EIO);
    CHECK(!read);
    m->row = 20;
    m->body_len = 3; /* and one of another length */
    CHECK_EQ(sl_q_store_bytes(reader, &statement, m, &read), SL_EIO);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(reader);
    sl_q_table_done(&table);
    end();
}

SL_TEST(loading_without_memory)
{
    char bytes[] = "kbody";
    begin();
    for (uint64_t row = 1; row <= 3; row++)
        CHECK_EQ(put(bytes, row, true, NULL), 0);
    sqlite3 *reader;
    REQUIRE(sl_db_reader(db, &reader) == 0);
    for (long n = 0; n < 40; n++) {
        sl_q_table table = {0};
        uint64_t next = 0, dead = 0;
        sl_test_fail_alloc(n);
        int error = sl_q_store_load(reader, &table, &next, &dead);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        sl_q_table_done(&table);
        if (!failed)
            break;
    }
    (void)sqlite3_close(reader);
    end();
}
