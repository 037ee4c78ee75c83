/* The queue's tables in memory, and ids. */
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_state.h"
#include "tests/harness/sl_test.h"

#include <stdio.h>

SL_TEST(ids_read_back)
{
    static const uint64_t rows[] = {0, 1, 42, UINT64_C(1) << 40, SL_QUEUE_ROW_MASK};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[SL_QUEUE_ID_BYTES];
        uint64_t head = sl_queue_id_head(1700000000000 + i, 0xFFFFFFFFFFFFFFFFull * (i & 1)), head2, row2;
        sl_queue_id_format(head, rows[i], text);
        CHECK_EQ(strlen(text), 36);
        CHECK_EQ(text[14], '7');
        REQUIRE(sl_queue_id_parse(sl_str_c(text), &head2, &row2) == 0);
        CHECK(head2 == head && row2 == rows[i]);
    }
}

SL_TEST(ids_that_are_none)
{
    static const char *const bad[] = {
        "",
        "x",
        "0190163d-8694-739b-aea5-966c26f8ad9",   /* short */
        "0190163d-8694-739b-aea5-966c26f8ad911", /* long */
        "0190163d-8694-439b-aea5-966c26f8ad91",  /* version 4 */
        "0190163d-8694-739b-cea5-966c26f8ad91",  /* variant */
        "0190163d-8694-739b-0ea5-966c26f8ad91",
        "0190163d08694-739b-aea5-966c26f8ad91", /* no hyphen */
        "0190163d-8694-739b-aea5-966c26f8ad9g",
        "0190163-d8694-739b-aea5-966c26f8ad91",
    };
    uint64_t head = 5, row = 6;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_EQ(sl_queue_id_parse(sl_str_c(bad[i]), &head, &row), SL_EPARSE);
    CHECK(head == 5 && row == 6);
    CHECK_EQ(sl_queue_id_parse(SL_STR("0190163D-8694-739B-AEA5-966C26F8AD91"), &head, &row), 0);
}

static sl_q_message *add(sl_q_table *table, sl_q_topic *topic, uint64_t row, unsigned priority)
{
    sl_q_message *m = sl_calloc(1, sizeof *m);
    if (!m || sl_q_reserve(table, topic, priority, 1)) {
        sl_free(m);
        return NULL;
    }
    m->row = m->order = row;
    m->topic = topic;
    m->priority = (uint8_t)priority;
    m->ready_ns = row * 10;
    topic->waiting++;
    sl_q_add(table, m);
    return m;
}

static void drop(sl_q_table *table, sl_q_message *m)
{
    if (m->state != SL_Q_READY)
        sl_q_leave(table, m);
    m->state = SL_Q_ENDING;
    sl_q_remove(table, m);
    m->topic->waiting--;
    sl_q_message_free(m);
}

SL_TEST(ready_ones_come_by_priority_and_order)
{
    sl_q_table table = {0};
    sl_q_topic *topic;
    REQUIRE(sl_q_topic_add(&table, SL_STR("t"), 0, &topic) == 0);
    CHECK_EQ(topic->id, 1);
    for (uint64_t row = 1; row <= 100; row++) {
        sl_q_message *m = add(&table, topic, row * 7 % 101, (unsigned)(row % 3));
        REQUIRE(m);
        sl_q_enter(&table, m, SL_Q_READY, 0);
    }
    CHECK_EQ(topic->ready_count, 100);
    CHECK_EQ(sl_q_oldest_ready(topic), 10);
    unsigned priority = 2;
    uint64_t order = 0;
    for (int i = 0; i < 100; i++) {
        sl_q_message *m = sl_q_pop(&table, topic);
        REQUIRE(m);
        CHECK(m->priority < priority || (m->priority == priority && m->order > order));
        priority = m->priority;
        order = m->order;
        drop(&table, m);
    }
    CHECK(!sl_q_pop(&table, topic));
    CHECK_EQ(table.count, 0);
    CHECK_EQ(sl_q_oldest_ready(topic), 0);
    sl_q_table_done(&table);
}

/* A model that is plainly right: an array that is searched. */
SL_TEST(what_is_due_comes_in_order_whatever_is_moved_and_removed)
{
    enum { COUNT = 400 };
    sl_q_table table = {0};
    sl_q_topic *topic;
    sl_q_message *live[COUNT] = {0};
    sl_rng rng;
    sl_rng_init_seed(&rng, 4);
    REQUIRE(sl_q_topic_add(&table, SL_STR("t"), 7, &topic) == 0);
    for (int step = 0; step < 20000; step++) {
        size_t i = sl_rng_next(&rng) % COUNT;
        uint64_t due = sl_rng_next(&rng) % 1000;
        if (!live[i]) {
            live[i] = add(&table, topic, 1000 + i, 0);
            REQUIRE(live[i]);
            sl_q_enter(&table, live[i], due & 1 ? SL_Q_LEASED : SL_Q_DELAYED, due);
        } else if (due % 3 == 0) {
            drop(&table, live[i]);
            live[i] = NULL;
        } else {
            sl_q_due_again(&table, live[i], due);
        }
        uint64_t first = UINT64_MAX;
        size_t count = 0;
        for (size_t k = 0; k < COUNT; k++) {
            if (live[k] && live[k]->due_ns < first)
                first = live[k]->due_ns;
            count += live[k] != NULL;
        }
        const sl_q_message *due_first = sl_q_due_first(&table);
        CHECK_EQ(table.count, count);
        CHECK_EQ(topic->leased + topic->delayed, count);
        CHECK(due_first ? due_first->due_ns == first : count == 0);
        CHECK(sl_q_find(&table, 1000 + i) == live[i]);
    }
    sl_q_table_done(&table);
}

SL_TEST(topics_are_found_by_name_and_number)
{
    sl_q_table table = {0};
    for (unsigned i = 0; i < 500; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "topic %u", i);
        sl_q_topic *topic;
        REQUIRE(sl_q_topic_add(&table, sl_str_c(name), i == 3 ? 900 : 0, &topic) == 0);
        CHECK(sl_q_topic_find(&table, sl_str_c(name)) == topic);
        CHECK(sl_q_topic_by_id(&table, topic->id) == topic);
    }
    CHECK(!sl_q_topic_find(&table, SL_STR("topic")));
    CHECK(!sl_q_topic_by_id(&table, 5000));
    CHECK_EQ(sl_q_topic_find(&table, SL_STR("topic 4"))->id, 901);
    sl_q_table_done(&table);
}
