/* Letters between whoever runs a task and the server that has it: made, read, and what is none. */
#include "src/flow/letters.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "tests/harness/sl_test.h"

static const sl_step the_step = {.id = "a", .type = SL_STEP_TRANSFORM};

static sl_flow_event ended(json_t *value)
{
    return (sl_flow_event){.kind = SL_FLOW_STEP_ENDED,
                           .seq = 3,
                           .time_ns = 1700000000000000001u,
                           .step = &the_step,
                           .path = "loop[2].a",
                           .step_status = SL_STEP_SUCCEEDED,
                           .attempts = 2,
                           .duration_ns = 5000,
                           .message = "",
                           .value = value,
                           .usage = {.input_tokens = 7, .output_tokens = 8, .cost_usd = 0.25, .cost_known = true}};
}

SL_TEST(a_step_comes_as_it_went)
{
    json_t *value = json_pack("{s:s,s:[i,n]}", "text", "b\"", "list", 1);
    sl_flow_event event = ended(value);
    json_t *step = sl_letter_step(&event);
    REQUIRE(step);
    char *wire = json_dumps(step, 0);
    json_t *back = json_loads(wire, 0, NULL);
    sl_run_step_row row;
    char *text = NULL;
    REQUIRE(sl_letter_read_step(back, &row, &text));
    CHECK_STR(row.path, "loop[2].a");
    CHECK_STR(row.type, "transform");
    CHECK_STR(row.status, "succeeded");
    CHECK_EQ(row.attempts, 2);
    CHECK_STR(row.value, "{\"text\":\"b\\\"\",\"list\":[1,null]}");
    CHECK_EQ(row.end_ns, 1700000000000000001u);
    CHECK_EQ(row.duration_ns, 5000);
    CHECK_EQ(row.input_tokens, 7);
    CHECK_EQ(row.output_tokens, 8);
    CHECK(row.cost_usd > 0.249 && row.cost_usd < 0.251);
    CHECK(!row.error.len);
    free(text);
    free(wire);
    json_decref(back);
    json_decref(step);
    json_decref(value);
}

SL_TEST(a_step_that_gave_nothing)
{
    sl_flow_event event = ended(NULL);
    event.step_status = SL_STEP_FAILED;
    event.message = "why";
    event.error = SL_STEP_ERROR_TIMEOUT;
    json_t *step = sl_letter_step(&event);
    sl_run_step_row row;
    char *text = NULL;
    REQUIRE(sl_letter_read_step(step, &row, &text));
    CHECK(!text && !row.value.len);
    CHECK_STR(row.status, "failed");
    CHECK_STR(row.error, "why");
    CHECK_STR(row.error_type, "timeout");
    json_decref(step);
}

SL_TEST(what_is_no_step_of_a_letter)
{
    sl_flow_event event = ended(NULL);
    event.kind = SL_FLOW_STEP_STARTED;
    CHECK(sl_letter_step(&event) == NULL);
    char *long_text = malloc(SL_LETTER_MAX_STEP_BYTES + 1);
    for (size_t over = 0; over < 2; over++) { /* with its quotes */
        size_t len = SL_LETTER_MAX_STEP_BYTES - 2 + over;
        memset(long_text, 'x', len);
        json_t *value = json_stringn(long_text, len);
        event = ended(value);
        json_t *step = sl_letter_step(&event);
        CHECK_EQ(step == NULL, over);
        json_decref(step);
        json_decref(value);
    }
    free(long_text);
    static const char *const bad[] = {"{}",
                                      "[]",
                                      "7",
                                      "{\"path\":\"\",\"type\":\"llm\",\"status\":\"succeeded\"}",
                                      "{\"path\":\"a\",\"status\":\"succeeded\"}",
                                      "{\"path\":\"a\",\"type\":\"llm\"}",
                                      "{\"path\":1,\"type\":\"llm\",\"status\":\"succeeded\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *step = json_loads(bad[i], JSON_DECODE_ANY, NULL);
        sl_run_step_row row;
        char *text = NULL;
        CHECK(!sl_letter_read_step(step, &row, &text));
        json_decref(step);
    }
    /* Of another's making: what is no number counts as none. */
    json_t *step = json_loads("{\"path\":\"a\",\"type\":\"llm\",\"status\":\"succeeded\",\"attempts\":-3,\"ended_ns\":"
                              "\"x\",\"value\":null}",
                              0, NULL);
    sl_run_step_row row;
    char *text = NULL;
    CHECK(sl_letter_read_step(step, &row, &text));
    CHECK(!text && !row.attempts && !row.end_ns);
    json_decref(step);
}

SL_TEST(steps_without_memory)
{
    json_t *value = json_pack("{s:s}", "text", "x");
    sl_flow_event event = ended(value);
    for (long n = 0; n < 8; n++) {
        sl_test_fail_alloc(n);
        json_t *step = sl_letter_step(&event);
        sl_run_step_row row;
        char *text = NULL;
        bool read = step && sl_letter_read_step(step, &row, &text);
        sl_test_fail_alloc(-1);
        CHECK(!read || row.value.len); /* never one that gave nothing */
        free(text);
        json_decref(step);
    }
    json_decref(value);
}

/* ---- messages that have come again ---- */

SL_TEST(keys_follow_one_another)
{
    static const struct {
        const char *task, *old, *next;
    } cases[] = {{"t", "t", "t:+1"},
                 {"t", "t:+1", "t:+2"},
                 {"t", "t:+9", "t:+10"},
                 {"t", "t:5f", "t:5f+1"},
                 {"t", "t:5f+1", "t:5f+2"},
                 {"a:b", "a:b", "a:b:+1"},
                 {"a:b", "a:b:17+3", "a:b:17+4"},
                 {"t", "", "t:+1"},
                 {"t", "other", "t:+1"},
                 {"t", "t:+x", "t:+1"},
                 {"t", "t:+99999999999999999999", "t:+1"},
                 {"t", "t:+1000000", "t:+1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_letter_place place;
        sl_letter_place_of(sl_str_c(cases[i].task), sl_str_c(cases[i].old), 2, NULL, &place);
        CHECK_STR(sl_str_c(place.key), cases[i].next);
        CHECK_EQ(place.max_deliveries, 4);
    }
}

/* A task that ends whoever takes it does so as often as without being handed over, and no more. */
SL_TEST(deliveries_are_used_up)
{
    unsigned max = 5, lives = 1;
    char key[SL_LETTER_KEY_BYTES] = "t";
    for (; max > 1; lives++) {
        json_t *root = json_pack("{s:{s:i}}", "data", "max_deliveries", (int)max);
        sl_letter_place place;
        sl_letter_place_of(SL_STR("t"), sl_str_c(key), 2, root, &place);
        CHECK_EQ(place.max_deliveries, max - 1);
        max = place.max_deliveries;
        (void)snprintf(key, sizeof key, "%s", place.key);
        json_decref(root);
    }
    CHECK_EQ(lives, 5);
    CHECK_STR(sl_str_c(key), "t:+4");
    static const struct {
        unsigned delivery;
        int max;
        unsigned left;
    } cases[] = {{2, 0, 4}, {3, 0, 3}, {5, 0, 1}, {9, 0, 1}, {2, 1, 1}, {2, -4, 4}, {2, 1000, 4}, {1, 0, 4}, {0, 0, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *root = json_pack("{s:{s:i}}", "data", "max_deliveries", cases[i].max);
        sl_letter_place place;
        sl_letter_place_of(SL_STR("t"), SL_STR("t"), cases[i].delivery, root, &place);
        CHECK_EQ(place.max_deliveries, cases[i].left);
        json_decref(root);
    }
}

SL_TEST(a_letter_asks_for_a_message)
{
    char longest[64], key[SL_LETTER_KEY_BYTES];
    memset(longest, 'x', 63);
    longest[63] = 0;
    const char *const tasks[] = {"t", longest};
    for (size_t i = 0; i < 2; i++) {
        char old[SL_LETTER_KEY_BYTES];
        sl_letter_place place, back;
        (void)snprintf(old, sizeof old, "%s:18c0ffee18c0ffee+12345", tasks[i]);
        sl_letter_place_of(sl_str_c(tasks[i]), sl_str_c(old), 3, NULL, &place);
        json_t *data = sl_letter_again(tasks[i], &place, key);
        REQUIRE(data);
        CHECK(strncmp(key, tasks[i], strlen(tasks[i])) == 0);
        CHECK_STR(sl_str_c(key + strlen(tasks[i])), ":again:18c0ffee18c0ffee+12346");
        CHECK(sl_letter_read_again(data, &back));
        CHECK_STR(sl_str_c(back.key), place.key);
        CHECK_EQ(back.max_deliveries, 3);
        json_decref(data);
    }
    static const char *const bad[] = {"{}",
                                      "{\"task_id\":\"t\",\"key\":\"t:+1\"}",
                                      "{\"task_id\":\"t\",\"key\":\"u:+1\",\"max_deliveries\":2}",
                                      "{\"task_id\":\"t\",\"max_deliveries\":2}",
                                      "{\"key\":\"t:+1\",\"max_deliveries\":2}",
                                      "{\"task_id\":\"t\",\"key\":\"t:+1\",\"max_deliveries\":0}",
                                      "{\"task_id\":\"t\",\"key\":\"t:+1\",\"max_deliveries\":6}",
                                      "{\"task_id\":7,\"key\":\"t:+1\",\"max_deliveries\":2}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *data = json_loads(bad[i], 0, NULL);
        sl_letter_place place;
        CHECK(!sl_letter_read_again(data, &place));
        json_decref(data);
    }
}
