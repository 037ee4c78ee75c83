/* Attributes with literal keys: what the ordinary functions would have made of the span, byte for byte. */
#include "src/telemetry/span_literal.h"

#include <stdio.h>

#include "tests/harness/sl_test.h"

#define KEYS 9
#define TENS "ten.bytes."
#define LONG_KEY TENS TENS TENS TENS TENS TENS TENS TENS TENS TENS TENS "12345"

static const char *const keys[KEYS] = {
    "k",
    "key",
    "four",
    "keys.7b",
    "keys.of8",
    "gen_ai.usage.input_tokens",
    "llm.tokens.prompt",
    (LONG_KEY),
    "network.peer.port",
};

static unsigned literal_int(sl_span_buf *buf, size_t key, int64_t number, const sl_attr_rules *rules)
{
    return sl_span_literal_int(buf, sl_str_c(keys[key]), number, rules);
}

static unsigned literal_str(sl_span_buf *buf, size_t key, sl_str text, const sl_attr_rules *rules)
{
    return sl_span_literal_str(buf, sl_str_c(keys[key]), text, rules);
}

static void check_same(const sl_span_buf *a, const sl_span_buf *b)
{
    CHECK_EQ(a->len, b->len);
    CHECK_EQ(a->count, b->count);
    REQUIRE(a->len == b->len && a->count == b->count);
    CHECK(memcmp(a->data, b->data, a->len) == 0);
    CHECK(memcmp(&a->seen, &b->seen, sizeof a->seen) == 0);
    for (size_t i = 0; i < a->count; i++) { /* one by one: between them and behind them nothing is said */
        const sl_span_entry *x = &a->entries[i], *y = &b->entries[i];
        CHECK(x->hash == y->hash && x->offset == y->offset && x->len == y->len && x->key_at == y->key_at &&
              x->key_len == y->key_len);
    }
}

/* Two spans, one by each way. */
typedef struct both {
    sl_span_buf by_literal, by_call;
    sl_attr_rules rules;
    unsigned lost_by_literal, lost_by_call;
} both;

static both *both_init(sl_attr_rules rules, size_t max)
{
    static both storage; /* one at a time */
    both *b = &storage;
    memset(b, 0, sizeof *b);
    sl_span_buf_init(&b->by_literal, max);
    sl_span_buf_init(&b->by_call, max);
    b->rules = rules;
    return b;
}

static void both_done(both *b)
{
    check_same(&b->by_literal, &b->by_call);
    CHECK_EQ(b->lost_by_literal, b->lost_by_call);
    sl_span_buf_done(&b->by_literal);
    sl_span_buf_done(&b->by_call);
}

static void set_int(both *b, size_t key, int64_t number)
{
    b->lost_by_literal += literal_int(&b->by_literal, key, number, &b->rules);
    b->lost_by_call += sl_span_buf_set_int(&b->by_call, sl_str_c(keys[key]), number, &b->rules);
}

static void set_str(both *b, size_t key, sl_str text)
{
    b->lost_by_literal += literal_str(&b->by_literal, key, text, &b->rules);
    b->lost_by_call += sl_span_buf_set_str(&b->by_call, sl_str_c(keys[key]), text, &b->rules);
}

static const sl_attr_rules wide = {.count = 128};

SL_TEST(literals_of_every_value)
{
    static const int64_t numbers[] = {0, 1, -1, 127, 128, 16383, 16384, INT32_MAX, INT64_MAX, INT64_MIN};
    static char text[200];
    memset(text, 't', sizeof text);
    for (size_t key = 0; key < KEYS; key++) {
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
            both *b = both_init(wide, 8192);
            set_int(b, key, numbers[i]);
            both_done(b);
        }
        for (size_t len = 0; len <= sizeof text; len++) {
            both *b = both_init(wide, 8192);
            set_str(b, key, sl_str_of(text, len));
            both_done(b);
        }
    }
}

SL_TEST(literals_replace_one_another)
{
    both *b = both_init(wide, 8192);
    for (int round = 0; round < 300; round++) {
        for (size_t key = 0; key < KEYS; key++) {
            char text[24];
            (void)snprintf(text, sizeof text, "%d", round * round * 7919);
            if (((size_t)round + key) % 3)
                set_int(b, key, round * round * round - 1);
            else
                set_str(b, key, sl_str_c(text));
        }
    }
    CHECK_EQ(b->by_literal.count, KEYS);
    both_done(b);
}

SL_TEST(literals_at_limits)
{
    const sl_attr_rules few = {.count = 3}, cut = {.count = 128, .value_chars = 5};
    static const char *const priority[] = {"network.peer.port"};
    const sl_attr_rules kept = {.count = 3, .priority_keys = priority, .priority_key_count = 1};
    const sl_attr_rules all[] = {few, cut, kept};
    for (size_t i = 0; i < 3; i++) {
        both *b = both_init(all[i], 8192);
        for (size_t key = 0; key < KEYS; key++)
            set_int(b, key, (int64_t)key << (5 * key));
        for (size_t key = 0; key < KEYS; key++)
            set_str(b, key,
                    SL_STR("gr\xC3\xBC\xC3\x9F"
                           "e"));
        both_done(b);
    }
}

SL_TEST(literals_where_room_ends)
{
    for (size_t max = 64; max < 700; max += 13) {
        both *b = both_init(wide, max);
        for (size_t key = 0; key < KEYS; key++) {
            set_int(b, key, INT64_MAX >> key);
            set_str(b, KEYS - 1 - key, SL_STR("a text of some length"));
        }
        both_done(b);
    }
}

SL_TEST(literals_with_texts_that_are_no_utf8)
{
    both *b = both_init(wide, 8192);
    set_str(b, 5,
            SL_STR("gr\xC3\xBC"
                   "n"));
    set_str(b, 6, SL_STR("bad \xC3"));
    set_str(b, 7, SL_STR("\xFF\xFE long enough to be copied by eights"));
    both_done(b);
}
