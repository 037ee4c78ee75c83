/* The mailbox and the store: changes in their order, told on the loop; what is there after a restart. */
#include "src/flow/server_store.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/store/test_gate.h"
#include "tests/harness/sl_test.h"

typedef struct site {
    sl_loop loop;
    sl_mailbox box;
    sl_flow_store *store;
    char dir[64];
} site;

static void open_site(site *s, const char *dir)
{
    char reason[256];
    memset(s, 0, sizeof *s);
    snprintf(s->dir, sizeof s->dir, "%s", dir);
    REQUIRE(sl_loop_init(&s->loop) == 0 && sl_mailbox_init(&s->box, &s->loop) == 0);
    REQUIRE(sl_flow_store_open(s->dir, &s->box, reason, sizeof reason, &s->store) == 0);
}

static void close_site(site *s)
{
    sl_flow_store_close(s->store);
    sl_mailbox_close(&s->box);
    sl_loop_done(&s->loop);
    sl_mailbox_done(&s->box);
}

static void make_dir(char *dir)
{
    strcpy(dir, "/tmp/sl-test-flow-XXXXXX");
    REQUIRE(sl_test_mkdtemp(dir) != NULL);
}

static void remove_dir(const char *dir)
{
    sl_test_rmtree(dir);
}

static int told, last_error;

static void tell(void *user, int error)
{
    CHECK_EQ(told, *(int *)user); /* in their order */
    told++;
    last_error = error;
}

static bool add_text(void *user, const sl_str *columns, size_t count)
{
    char *text = user;
    CHECK_EQ(count, 1);
    snprintf(text + strlen(text), 64, "%.*s ", (int)columns[0].len, columns[0].ptr);
    return strlen(text) < 40;
}

SL_TEST(changes_are_told_in_order_and_last)
{
    char dir[64], text[128] = "";
    site s;
    int numbers[100];
    make_dir(dir);
    open_site(&s, dir);
    told = 0;
    for (int i = 0; i < 100; i++) {
        char id[16];
        numbers[i] = i;
        snprintf(id, sizeof id, "s%02d", i);
        const sl_str values[] = {sl_str_c(id), SL_STR("d")};
        REQUIRE(sl_flow_store_put_then(s.store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2, tell,
                                       &numbers[i]) == 0);
    }
    while (told < 100)
        (void)uv_run(&s.loop.uv, UV_RUN_ONCE);
    CHECK_EQ(last_error, 0);
    const sl_str d = SL_STR("d");
    CHECK_EQ(sl_flow_store_query(s.store, "select id from sessions where deployment = ?1 order by rowid", &d, 1,
                                 add_text, text),
             0);
    CHECK_STR(sl_str_c(text), "s00 s01 s02 s03 s04 s05 s06 s07 s08 s09 "); /* until the callback had enough */
    close_site(&s);
    open_site(&s, dir);
    text[0] = 0;
    const sl_str id = SL_STR("s99");
    CHECK_EQ(sl_flow_store_query(s.store, "select id from sessions where id = ?1", &id, 1, add_text, text), 0);
    CHECK_STR(sl_str_c(text), "s99 ");
    close_site(&s);
    remove_dir(dir);
}

SL_TEST(a_change_that_fails_is_told_and_counted)
{
    char dir[64];
    site s;
    int number = 0;
    make_dir(dir);
    open_site(&s, dir);
    const sl_str values[] = {SL_STR("x"), SL_STR("")};
    sl_flow_store_put(s.store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2);
    told = 0;
    REQUIRE(sl_flow_store_put_then(s.store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2, tell,
                                   &number) == 0);
    while (told < 1)
        (void)uv_run(&s.loop.uv, UV_RUN_ONCE);
    CHECK_EQ(last_error, SL_EEXIST);
    CHECK_EQ(sl_flow_store_failures(s.store), 1);
    char text[64] = "";
    CHECK_EQ(sl_flow_store_query(s.store, "select no from such", NULL, 0, add_text, text), SL_EIO);
    close_site(&s);
    remove_dir(dir);
}

SL_TEST(what_was_given_is_written_before_it_closes)
{
    char dir[64], text[128] = "";
    site s;
    make_dir(dir);
    open_site(&s, dir);
    for (int i = 0; i < 5000; i++) {
        const sl_str values[] = {SL_STR("k"), SL_STR("v")};
        sl_flow_store_put(s.store,
                          "insert into services(name, definition) values(?1, ?2) on conflict(name) do update set "
                          "definition = definition || '.'",
                          values, 2);
    }
    close_site(&s);
    open_site(&s, dir);
    CHECK_EQ(sl_flow_store_query(s.store, "select length(definition) from services", NULL, 0, add_text, text), 0);
    CHECK_STR(sl_str_c(text), "5000 ");
    close_site(&s);
    remove_dir(dir);
}

/* Tasks go with their runs; one whose run is not accepted yet stays. */
SL_TEST(tasks_of_runs_that_were_removed_go)
{
    static const char *const tasks[] = {"old", "kept", "older", "last", "coming"};
    char dir[64], text[128] = "";
    site s;
    make_dir(dir);
    open_site(&s, dir);
    sl_flow_store_put(s.store, "create table if not exists flow_runs(id text not null unique)", NULL, 0);
    for (size_t i = 0; i < 5; i++) {
        const sl_str values[] = {sl_str_c(tasks[i])};
        sl_flow_store_put(s.store,
                          "insert into tasks(id, service, deployment, session, input) values(?1, 's', 'd', 'x', '')",
                          values, 1);
        if (i == 1 || i == 3)
            sl_flow_store_put(s.store, "insert into flow_runs(id) values(?1)", values, 1);
    }
    sl_flow_store_prune_tasks(s.store);
    CHECK_EQ(sl_flow_store_failures(s.store), 0);
    close_site(&s);
    open_site(&s, dir);
    CHECK_EQ(sl_flow_store_query(s.store, "select id from tasks order by number", NULL, 0, add_text, text), 0);
    CHECK(strcmp(text, "kept last coming ") == 0);
    close_site(&s);
    remove_dir(dir);
}

SL_TEST(a_folder_that_is_not_there)
{
    site s;
    char reason[256] = "";
    memset(&s, 0, sizeof s);
    REQUIRE(sl_loop_init(&s.loop) == 0 && sl_mailbox_init(&s.box, &s.loop) == 0);
    CHECK(sl_flow_store_open("/nonexistent/folder", &s.box, reason, sizeof reason, &s.store) != 0);
    CHECK(reason[0] != 0);
    sl_mailbox_close(&s.box);
    sl_loop_done(&s.loop);
    sl_mailbox_done(&s.box);
}

/* ---- a writer that is full of others' work: of runs, in the same file ---- */

static void put_numbered(site *s, int *numbers, int count)
{
    for (int i = 0; i < count; i++) {
        char id[16];
        numbers[i] = i;
        snprintf(id, sizeof id, "s%02d", i);
        const sl_str values[] = {sl_str_c(id), SL_STR("d")};
        CHECK_EQ(sl_flow_store_put_then(s->store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2,
                                        tell, &numbers[i]),
                 0);
    }
}

/* A site whose writer is full, with things for it to write. */
static void open_full(site *s, char *dir, gate *g, int *numbers, int count)
{
    make_dir(dir);
    open_site(s, dir);
    fill_writer(sl_flow_store_db(s->store), g, true);
    told = 0;
    put_numbered(s, numbers, count);
}

/* None of the store's own is under way whose end would tell that there is room again. */
SL_TEST(what_others_leave_no_room_for_is_written_all_the_same)
{
    char dir[64], text[128] = "";
    int numbers[20];
    gate g;
    site s;
    open_full(&s, dir, &g, numbers, 20);
    for (int i = 0; i < 20; i++)
        (void)uv_run(&s.loop.uv, UV_RUN_NOWAIT);
    CHECK_EQ(told, 0);
    open_gate(&g);
    while (told < 20)
        (void)uv_run(&s.loop.uv, UV_RUN_ONCE);
    CHECK_EQ(last_error, 0);
    CHECK_EQ(sl_flow_store_query(s.store, "select count(*) from sessions", NULL, 0, add_text, text), 0);
    CHECK_STR(sl_str_c(text), "20 ");
    CHECK_EQ(sl_flow_store_failures(s.store), 0);
    close_site(&s);
    gate_done(&g);
    remove_dir(dir);
}

SL_TEST(closing_writes_what_has_no_room_yet)
{
    char dir[64], text[128] = "";
    int numbers[5];
    gate g;
    site s;
    open_full(&s, dir, &g, numbers, 5);
    open_gate(&g);
    close_site(&s);
    gate_done(&g);
    CHECK_EQ(told, 5);
    open_site(&s, dir);
    CHECK_EQ(sl_flow_store_query(s.store, "select count(*) from sessions", NULL, 0, add_text, text), 0);
    CHECK_STR(sl_str_c(text), "5 ");
    close_site(&s);
    remove_dir(dir);
}

/* ---- values ---- */

static bool copy_text(void *user, const sl_str *columns, size_t count)
{
    sl_str *into = user;
    CHECK_EQ(count, 1);
    CHECK(columns[0].len <= into->len);
    into->len = columns[0].len < into->len ? columns[0].len : into->len;
    memcpy((char *)(uintptr_t)into->ptr, columns[0].ptr, into->len);
    return true;
}

/* Texts of every length and with every byte come back as they were given: none is cut, none becomes null. */
SL_TEST(values_come_back_as_they_were)
{
    static char big[300000], back[300000];
    char dir[64];
    site s;
    make_dir(dir);
    open_site(&s, dir);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)('a' + i % 23);
    const sl_str cases[] = {SL_STR(""),
                            SL_STR("x"),
                            SL_STR("it's \"quoted\"; drop table sessions; --"),
                            SL_STR("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"),
                            sl_str_of("a\0b", 3),
                            SL_STR("?1"),
                            sl_str_of(NULL, 0),
                            sl_str_of(big, sizeof big)};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%zu", i);
        const sl_str values[] = {SL_STR("s"), sl_str_c(key), cases[i]}, *one = &values[1];
        sl_flow_store_put(s.store, "insert into session_state(session, key, value) values(?1, ?2, ?3)", values, 3);
        told = 0;
        int number = 0;
        REQUIRE(sl_flow_store_put_then(s.store, "select 1", NULL, 0, tell, &number) == 0);
        while (told < 1)
            (void)uv_run(&s.loop.uv, UV_RUN_ONCE);
        sl_str read = sl_str_of(back, sizeof back);
        CHECK_EQ(
            sl_flow_store_query(s.store, "select value from session_state where key = ?1", one, 1, copy_text, &read),
            0);
        CHECK(sl_str_eq(read, cases[i].ptr ? cases[i] : sl_str_of("", 0)));
    }
    CHECK_EQ(sl_flow_store_failures(s.store), 0);
    close_site(&s);
    remove_dir(dir);
}

SL_TEST(changes_without_memory_are_refused_or_counted)
{
    char dir[64];
    site s;
    make_dir(dir);
    open_site(&s, dir);
    const sl_str values[] = {SL_STR("x"), SL_STR("y")};
    int number = 0;
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_flow_store_put_then(s.store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2, tell,
                                    &number),
             SL_ENOMEM);
    sl_test_fail_alloc(0);
    sl_flow_store_put(s.store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2);
    sl_test_fail_alloc(-1);
    CHECK_EQ(sl_flow_store_failures(s.store), 1);
    close_site(&s);
    remove_dir(dir);
}

/* A statement that cannot be prepared, and one whose table is gone: each is told, and those behind it go on. */
SL_TEST(statements_that_fail_do_not_hold_up_the_others)
{
    static const char *const wrong[] = {"insert into nowhere values(1)", "this is no statement",
                                        "insert into sessions(id) values(?1)" /* deployment is missing */,
                                        "insert into sessions(id, deployment) values(?1, ?1, ?1)"};
    char dir[64], text[128] = "";
    site s;
    make_dir(dir);
    open_site(&s, dir);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        int numbers[2] = {0, 1};
        char id[16];
        snprintf(id, sizeof id, "id%zu", i);
        const sl_str values[] = {sl_str_c(id), SL_STR("d")};
        told = 0;
        REQUIRE(sl_flow_store_put_then(s.store, wrong[i], values, 1, tell, &numbers[0]) == 0);
        REQUIRE(sl_flow_store_put_then(s.store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2, tell,
                                       &numbers[1]) == 0);
        while (told < 2)
            (void)uv_run(&s.loop.uv, UV_RUN_ONCE);
        CHECK_EQ(last_error, 0);
        CHECK_EQ(sl_flow_store_failures(s.store), i + 1);
    }
    CHECK_EQ(sl_flow_store_query(s.store, "select count(*) from sessions", NULL, 0, add_text, text), 0);
    CHECK_STR(sl_str_c(text), "4 ");
    close_site(&s);
    remove_dir(dir);
}

/* ---- the mailbox ---- */

typedef struct note {
    sl_mail mail;
    int number;
    int *seen;
} note;

static void on_note(sl_mail *mail)
{
    note *n = (note *)(void *)mail;
    CHECK_EQ(*n->seen, n->number);
    (*n->seen)++;
}

typedef struct sender {
    sl_mailbox *box;
    note notes[1000];
} sender;

static void *send_all(void *user)
{
    sender *s = user;
    for (int i = 0; i < 1000; i++)
        sl_mailbox_post(s->box, &s->notes[i].mail);
    return NULL;
}

SL_TEST(mail_of_several_threads_comes_in_each_one_s_order)
{
    static sender senders[4];
    sl_loop loop;
    sl_mailbox box;
    pthread_t threads[4];
    int seen[4] = {0};
    REQUIRE(sl_loop_init(&loop) == 0 && sl_mailbox_init(&box, &loop) == 0);
    for (int t = 0; t < 4; t++) {
        senders[t].box = &box;
        for (int i = 0; i < 1000; i++)
            senders[t].notes[i] = (note){{NULL, on_note}, i, &seen[t]};
        REQUIRE(pthread_create(&threads[t], NULL, send_all, &senders[t]) == 0);
    }
    while (seen[0] + seen[1] + seen[2] + seen[3] < 4000)
        (void)uv_run(&loop.uv, UV_RUN_ONCE);
    for (int t = 0; t < 4; t++)
        pthread_join(threads[t], NULL);
    sl_mailbox_close(&box);
    sl_loop_done(&loop);
    sl_mailbox_done(&box);
}
