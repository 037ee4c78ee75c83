/* The mock's ledger: exact totals, the newest entries, JSON that anybody can read. */
#include "src/cli/mock_ledger.h"

#include <stdio.h>

#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

static sl_mock_entry entry_of(uint64_t number, sl_mock_outcome outcome)
{
    sl_mock_entry e;
    memset(&e, 0, sizeof e);
    e.number = number;
    e.outcome = outcome;
    e.prompt_tokens = 3;
    e.completion_tokens = 5;
    return e;
}

static sl_json_value json_of(const sl_mock_ledger *ledger, sl_buf *out)
{
    sl_json_value root = {SL_JSON_NONE, {NULL, 0}};
    sl_buf_init(out, 512u << 20);
    CHECK_EQ(sl_mock_ledger_json(ledger, out), 0);
    CHECK(out->len && out->data[out->len - 1] == '\n');
    CHECK_EQ(sl_json_parse(sl_str_of(out->data, out->len - 1), &root, NULL), 0);
    return root;
}

static void check_number(sl_json_value object, const char *name, int64_t wanted)
{
    int64_t number = -1;
    CHECK_EQ(sl_json_i64(sl_json_get(object, name), &number), 0);
    CHECK_EQ(number, wanted);
}

SL_TEST(hashes_are_fnv_1a)
{
    CHECK(sl_mock_hash(SL_STR("")) == 0xcbf29ce484222325ull);
    CHECK(sl_mock_hash(SL_STR("a")) == 0xaf63dc4c8601ec8cull);
    CHECK(sl_mock_hash(SL_STR("foobar")) == 0x85944171f73967e8ull);
}

SL_TEST(totals_and_entries)
{
    sl_mock_ledger *ledger = sl_mock_ledger_new();
    REQUIRE(ledger != NULL);
    sl_buf out;
    sl_json_value root = json_of(ledger, &out);
    check_number(root, "served", 0);
    CHECK_EQ(sl_json_count(sl_json_get(root, "outcomes")), SL_MOCK_OUTCOME_COUNT);
    CHECK_EQ(sl_json_count(sl_json_get(root, "requests")), 0);
    sl_buf_done(&out);
    for (uint64_t i = 0; i < SL_MOCK_OUTCOME_COUNT; i++) {
        sl_mock_entry e = entry_of(i + 1, (sl_mock_outcome)i);
        sl_mock_ledger_add(ledger, &e);
    }
    sl_mock_entry odd = entry_of(99, SL_MOCK_OK);
    snprintf(odd.model, sizeof odd.model, "a \"b\" \\ \x01 \xc3\xa9 \xff");
    odd.key_hash = 0xabc;
    odd.stream = true;
    sl_mock_ledger_add(ledger, &odd);
    root = json_of(ledger, &out);
    check_number(root, "served", SL_MOCK_OUTCOME_COUNT + 1);
    check_number(root, "prompt_tokens", 3 * (SL_MOCK_OUTCOME_COUNT + 1));
    check_number(root, "completion_tokens", 5 * (SL_MOCK_OUTCOME_COUNT + 1));
    check_number(sl_json_get(root, "outcomes"), "ok", 2);
    check_number(sl_json_get(root, "outcomes"), "429", 1);
    sl_json_iter iter;
    sl_json_value item, last = {SL_JSON_NONE, {NULL, 0}};
    sl_json_iter_init(&iter, sl_json_get(root, "requests"));
    while (sl_json_iter_next(&iter, NULL, &item))
        last = item;
    check_number(last, "number", 99);
    CHECK(sl_json_string_is(sl_json_get(last, "model"), SL_STR("a \"b\" \\ \x01 \xc3\xa9 \xef\xbf\xbd")));
    CHECK(sl_json_string_is(sl_json_get(last, "key_hash"), SL_STR("0000000000000abc")));
    CHECK(sl_json_string_is(sl_json_get(last, "outcome"), SL_STR("ok")));
    CHECK_EQ(sl_json_get(last, "stream").type, SL_JSON_TRUE);
    CHECK_EQ(sl_json_get(last, "include_usage").type, SL_JSON_FALSE);
    sl_buf_done(&out);
    sl_mock_ledger_reset(ledger);
    root = json_of(ledger, &out);
    check_number(root, "served", 0);
    sl_buf_done(&out);
    sl_mock_ledger_free(ledger);
    sl_mock_ledger_free(NULL);
}

/* Full, it keeps the newest, in order; the totals go on. */
SL_TEST(the_newest_stay)
{
    sl_mock_ledger *ledger = sl_mock_ledger_new();
    REQUIRE(ledger != NULL);
    for (uint64_t i = 1; i <= SL_MOCK_LEDGER + 3; i++) {
        sl_mock_entry e = entry_of(i, SL_MOCK_OK);
        sl_mock_ledger_add(ledger, &e);
    }
    sl_buf out;
    sl_json_value root = json_of(ledger, &out), item;
    check_number(root, "served", SL_MOCK_LEDGER + 3);
    sl_json_iter iter;
    int64_t wanted = 4, number;
    sl_json_iter_init(&iter, sl_json_get(root, "requests"));
    while (sl_json_iter_next(&iter, NULL, &item)) {
        if (sl_json_i64(sl_json_get(item, "number"), &number) != 0 || number != wanted)
            break;
        wanted++;
    }
    CHECK_EQ(wanted, SL_MOCK_LEDGER + 4);
    sl_buf_done(&out);
    sl_mock_ledger_free(ledger);
}

SL_TEST(without_memory_the_totals_stay_exact)
{
    sl_test_fail_alloc(0);
    CHECK(sl_mock_ledger_new() == NULL);
    sl_test_fail_alloc(-1);
    sl_mock_ledger *ledger = sl_mock_ledger_new();
    REQUIRE(ledger != NULL);
    sl_mock_entry e = entry_of(1, SL_MOCK_RESET);
    sl_test_fail_alloc(0);
    sl_mock_ledger_add(ledger, &e);
    CHECK(sl_test_alloc_failed());
    sl_test_fail_alloc(-1);
    e.number = 2;
    sl_mock_ledger_add(ledger, &e);
    sl_buf out;
    sl_json_value root = json_of(ledger, &out);
    check_number(root, "served", 2);
    check_number(sl_json_get(root, "outcomes"), "reset", 2);
    CHECK_EQ(sl_json_count(sl_json_get(root, "requests")), 1);
    sl_buf_done(&out);
    sl_buf_init(&out, 50); /* a buffer that is too small is an error, not half a ledger */
    CHECK(sl_mock_ledger_json(ledger, &out) != 0);
    sl_buf_done(&out);
    sl_mock_ledger_free(ledger);
}
