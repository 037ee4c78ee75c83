/* Tests of batches and of cutting. */
#include "src/telemetry/batch.h"

#include <malloc.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/telemetry/batch_cut.h"
#include "src/wire/otlp_encode.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

static const sl_batch_scope scope_a = {{"\x0a\x01"
                                        "a",
                                        3},
                                       {"http://schema/a", 15},
                                       {NULL, 0}};
static const sl_batch_scope scope_b = {{"\x0a\x01"
                                        "b",
                                        3},
                                       {NULL, 0},
                                       {NULL, 0}};

static sl_batch *batch_of(size_t max_items, size_t max_bytes)
{
    sl_batch *b = malloc(sizeof *b);
    sl_batch_init(b, SL_SIGNAL_TRACES, SL_STR("\x12\x00"), SL_STR("http://schema/r"), max_items, max_bytes);
    return b;
}

static void batch_free(sl_batch *b)
{
    sl_batch_done(b);
    free(b);
}

SL_TEST(a_request_holds_what_was_added)
{
    sl_batch *b = batch_of(100, 10000);
    sl_request *r = NULL;
    CHECK_EQ(sl_batch_finish(b, &r), 0);
    CHECK(r == NULL);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 10; i++)
            CHECK_EQ(sl_batch_add(b, i % 3 ? &scope_a : &scope_b,
                                  SL_STR("\x2a\x02"
                                         "hi"),
                                  1),
                     0);
        size_t bound = b->bytes;
        REQUIRE(sl_batch_finish(b, &r) == 0 && r);
        CHECK(r->bytes.len <= bound);
        CHECK_EQ(r->items, 10);
        size_t a = 0, items = 0;
        sl_otlp_records it = sl_otlp_records_of(r->bytes);
        while (sl_otlp_records_next(&it)) {
            CHECK_STR(it.item, "\x2a\x02hi");
            CHECK_STR(it.resource.schema_url, "http://schema/r");
            if (sl_str_eq(it.scope.head, scope_a.scope)) {
                CHECK_STR(it.scope.schema_url, "http://schema/a");
                a++;
            }
            items++;
        }
        CHECK_EQ(it.error, 0);
        CHECK_EQ(items, 10);
        CHECK_EQ(a, 6);
        sl_request_free(r);
        CHECK_EQ(b->items, 0);
    }
    batch_free(b);
}

/* ---- the bytes ---- */

/* The request as the encoder of messages writes it, one inside the other. */
static void expect_request(sl_buf *out, sl_str resource, sl_str resource_url, const sl_batch_scope *scope,
                           const sl_buf *items)
{
    sl_buf inner, outer;
    sl_buf_init(&inner, 16u << 20);
    sl_buf_init(&outer, 16u << 20);
    CHECK_EQ(sl_pb_buf_str(&inner, 1, scope->scope), 0);
    CHECK_EQ(sl_buf_put_str(&inner, sl_buf_str(items)), 0);
    if (scope->schema_url.len)
        CHECK_EQ(sl_pb_buf_str(&inner, 3, scope->schema_url), 0);
    CHECK_EQ(sl_pb_buf_str(&outer, 1, resource), 0);
    CHECK_EQ(sl_pb_buf_str(&outer, 2, sl_buf_str(&inner)), 0);
    if (resource_url.len)
        CHECK_EQ(sl_pb_buf_str(&outer, 3, resource_url), 0);
    CHECK_EQ(sl_pb_buf_str(out, 1, sl_buf_str(&outer)), 0);
    sl_buf_done(&inner);
    sl_buf_done(&outer);
}

/* What a request may hold: a quarter more than its bytes, the room before them, and what malloc rounds up. */
static bool holds_little_more(const sl_request *r)
{
    size_t room = (size_t)(r->bytes.ptr - r->own);
    return r->cap <= (r->bytes.len + room) / 4 * 5 + 4096 && malloc_usable_size(r->own) <= r->cap + 4096 &&
           malloc_usable_size(r->own) >= r->cap && room < 64;
}

/* A batch of one scope and `count` items, twice: the second time it knows what to expect. */
static void check_one_scope(sl_str resource, sl_str resource_url, const sl_batch_scope *scope, sl_str item,
                            size_t count)
{
    sl_buf items, expect;
    sl_buf_init(&items, 16u << 20);
    sl_buf_init(&expect, 16u << 20);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(sl_pb_buf_str(&items, 2, item), 0);
    expect_request(&expect, resource, resource_url, scope, &items);
    sl_batch *b = malloc(sizeof *b);
    sl_batch_init(b, SL_SIGNAL_TRACES, resource, resource_url, count + 1, 16u << 20);
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count; i++)
            CHECK_EQ(sl_batch_add(b, scope, item, 1), 0);
        sl_request *r = NULL;
        REQUIRE(sl_batch_finish(b, &r) == 0 && r);
        CHECK_EQ(r->bytes.len, expect.len);
        CHECK(memcmp(r->bytes.ptr, expect.data, expect.len) == 0);
        CHECK(holds_little_more(r));
        sl_request_free(r);
    }
    batch_free(b);
    sl_buf_done(&items);
    sl_buf_done(&expect);
}

/* Lengths around each width of a varint, with and without the optional fields, in place. */
SL_TEST(a_request_of_one_scope_is_exact)
{
    static const size_t lens[] = {0, 1, 127, 128, 300, 16383, 16384, 70000};
    enum { LENS = sizeof lens / sizeof *lens };
    char *text = malloc(70000);
    memset(text, 't', 70000);
    for (size_t i = 0; i < LENS; i++) {
        for (size_t j = 0; j < LENS; j++) {
            sl_str a = sl_str_of(text, lens[i]), b = sl_str_of(text, lens[j]), none = {NULL, 0};
            sl_batch_scope plain = {a, none, none}, full = {b, a, none};
            check_one_scope(b, none, &plain, SL_STR("x"), 1);
            check_one_scope(a, b, &full, SL_STR("x"), 3);
            check_one_scope(none, none, &plain, b, 20);
        }
    }
    free(text);
}

/* A small batch after a large one does not keep the room of the large one. */
SL_TEST(a_request_holds_little_more_than_its_bytes)
{
    sl_batch *b = batch_of(10000, 4u << 20);
    sl_request *r = NULL;
    char item[1000] = "\x2a";
    static const size_t counts[] = {2000, 1, 3, 500, 1};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (size_t n = 0; n < counts[i]; n++)
            CHECK_EQ(sl_batch_add(b, &scope_a, sl_str_of(item, sizeof item), 1), 0);
        REQUIRE(sl_batch_finish(b, &r) == 0 && r);
        CHECK(holds_little_more(r));
        sl_request_free(r);
    }
    batch_free(b);
}

static char *memory_of(size_t size)
{
    char *data = sl_malloc(size);
    CHECK(data);
    return data ? memset(data, 0xEE, size) : NULL;
}

/* Memory given to a batch serves its next request, where it is of use; else it is freed (the harness counts). */
SL_TEST(a_batch_takes_memory_that_is_given)
{
    sl_batch *b = batch_of(1000, 1u << 20);
    sl_request *r = NULL;
    sl_batch_supply(b, memory_of(5000), 5000);
    sl_batch_supply(b, memory_of(4000), 4000); /* less than it has */
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_batch_add(b, &scope_a, SL_STR("\x2a\x00"), 1), 0); /* takes no other */
    sl_test_fail_alloc(-1);
    sl_batch_supply(b, memory_of(9000), 9000); /* too late */
    REQUIRE(sl_batch_finish(b, &r) == 0 && r);
    sl_request_free(r);
    sl_batch_supply(b, memory_of(100), 100); /* too little for the next one */
    char item[5000] = "\x2a";
    CHECK_EQ(sl_batch_add(b, &scope_a, sl_str_of(item, sizeof item), 1), 0);
    REQUIRE(sl_batch_finish(b, &r) == 0 && r);
    CHECK_EQ(r->items, 1);
    CHECK(holds_little_more(r));
    sl_request_free(r);
    sl_batch_supply(b, memory_of(6000), 6000);
    batch_free(b);
}

SL_TEST(limits_ask_for_a_finish)
{
    sl_batch *b = batch_of(2, 10000);
    sl_request *r = NULL;
    CHECK_EQ(sl_batch_add(b, &scope_a, SL_STR("\x2a\x00"), 1), 0);
    CHECK_EQ(sl_batch_add(b, &scope_a, SL_STR("\x2a\x00"), 1), 0);
    CHECK_EQ(sl_batch_add(b, &scope_a, SL_STR("\x2a\x00"), 1), SL_EAGAIN);
    CHECK_EQ(sl_batch_discard(b), 2);
    batch_free(b);
    for (size_t max = 300; max < 700; max += 7) {
        char item[100] = "\x2a\x62";
        b = batch_of(1000, max);
        size_t added = 0;
        while (sl_batch_add(b, &scope_a, sl_str_of(item, 100), 1) == 0)
            added++;
        CHECK(added > 0);
        REQUIRE(sl_batch_finish(b, &r) == 0 && r);
        CHECK(r->bytes.len <= max);
        CHECK_EQ(r->items, added);
        sl_request_free(r);
        batch_free(b);
    }
}

/* Scopes of other services: a frame for each resource, its scopes together, every item in the right one. */
SL_TEST(resources_of_scopes)
{
    static const sl_str none = {NULL, 0}, other = {"\x0a\x03one", 5}, third = {"\x0a\x03two", 5};
    const sl_batch_scope scopes[] = {{scope_a.scope, none, none},
                                     {scope_b.scope, none, other},
                                     {SL_STR("\x0a\x01x"), none, none},
                                     {SL_STR("\x0a\x01y"), none, other},
                                     {SL_STR("\x0a\x01z"), none, third}};
    static const sl_str wanted[] = {
        {"\x12", 1}, {"\x12", 1}, {"one", 3}, {"one", 3}, {"two", 3}}; /* in the order of frames */
    static const int order[] = {0, 2, 1, 3, 4};
    for (size_t first = 0; first < 5; first++) {
        sl_batch *b = batch_of(100, 100000);
        sl_request *r = NULL;
        for (size_t i = 0; i < (first ? 1u : 5u); i++) /* all together; each alone */
            CHECK_EQ(sl_batch_add(b, &scopes[first ? first : i], SL_STR("\x2a\x01i"), 1), 0);
        size_t bound = b->bytes, seen = 0;
        REQUIRE(sl_batch_finish(b, &r) == 0 && r);
        CHECK(r->bytes.len <= bound);
        for (sl_otlp_records it = sl_otlp_records_of(r->bytes); sl_otlp_records_next(&it); seen++) {
            size_t scope = first ? first : (size_t)order[seen];
            CHECK_STR_EQ(it.scope.head, scopes[scope].scope);
            sl_str resource = it.resource.head;
            CHECK_STR_EQ(resource, scopes[scope].resource.len ? scopes[scope].resource : SL_STR("\x12\x00"));
            if (!first)
                CHECK(sl_str_find(resource, wanted[seen]) != SL_NPOS);
        }
        CHECK_EQ(seen, first ? 1 : 5);
        sl_request_free(r);
        batch_free(b);
    }
}

SL_TEST(many_scopes)
{
    sl_batch *b = batch_of(1000, 100000);
    static sl_batch_scope scopes[SL_BATCH_MAX_SCOPES + 1];
    for (size_t i = 0; i < SL_BATCH_MAX_SCOPES; i++)
        CHECK_EQ(sl_batch_add(b, &scopes[i], SL_STR("\x2a\x00"), 1), 0);
    CHECK_EQ(sl_batch_add(b, &scopes[SL_BATCH_MAX_SCOPES], SL_STR("\x2a\x00"), 1), SL_EAGAIN);
    CHECK_EQ(sl_batch_add(b, &scopes[5], SL_STR("\x2a\x00"), 1), 0);
    batch_free(b);
}

SL_TEST(no_memory_loses_nothing_that_was_in)
{
    for (long n = 0; n < 4; n++) {
        sl_batch *b = batch_of(1000, 100000);
        CHECK_EQ(sl_batch_add(b, &scope_a, SL_STR("\x2a\x00"), 1), 0);
        sl_test_fail_alloc(n);
        sl_request *r = NULL;
        int error = sl_batch_add(b, &scope_b, SL_STR("\x2a\x00"), 1);
        size_t expect = error ? 1 : 2;
        error = sl_batch_finish(b, &r);
        sl_test_fail_alloc(-1);
        if (error)
            REQUIRE(sl_batch_finish(b, &r) == 0);
        CHECK_EQ(r->items, expect);
        sl_request_free(r);
        batch_free(b);
    }
}

/* In place, too: whatever allocation fails, the items stay for another try. */
SL_TEST(no_memory_for_one_scope_loses_nothing)
{
    for (long n = 0; n < 4; n++) {
        sl_batch *b = batch_of(1000, 100000);
        char item[200] = "\x2a";
        size_t in = 0;
        sl_request *r = NULL;
        sl_test_fail_alloc(n);
        for (int i = 0; i < 3; i++)
            in += sl_batch_add(b, &scope_a, sl_str_of(item, sizeof item), 1) == 0;
        int error = sl_batch_finish(b, &r);
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        if (error)
            REQUIRE(sl_batch_finish(b, &r) == 0);
        if (r)
            CHECK_EQ(r->items, in);
        size_t walked = 0;
        for (sl_otlp_records it = sl_otlp_records_of(r ? r->bytes : SL_STR("")); sl_otlp_records_next(&it);)
            walked++;
        CHECK_EQ(walked, in);
        sl_request_free(r);
        batch_free(b);
    }
}

/* ---- cutting ---- */

static void put_attr(sl_buf *buf, uint32_t field, const char *key, sl_value value)
{
    sl_attr attr = sl_attr_of(key, value);
    CHECK_EQ(sl_otlp_buf_attr(buf, field, &attr, SL_OTLP_NO_LIMIT), 0);
}

/* A span with long texts of every kind. */
static void big_span(sl_buf *span, size_t len)
{
    char *text = malloc(len);
    memset(text, 'x', len);
    memcpy(text, "HEAD", 4);
    memcpy(text + len - 4, "TAIL", 4);
    sl_value value = sl_value_str(sl_str_of(text, len));
    sl_value list[2] = {value, sl_value_int(7)};
    sl_attr map = sl_attr_of("inner", sl_value_array(list, 2));
    sl_buf_init(span, 64u << 20);
    (void)sl_pb_buf_bytes(span, 1, "0123456789abcdef", 16);
    (void)sl_pb_buf_str(span, 5, SL_STR("name"));
    (void)sl_pb_buf_fixed64(span, 7, 12345);
    put_attr(span, 9, "prompt", value);
    put_attr(span, 9, "small", sl_value_int(42));
    put_attr(span, 9, "nested", sl_value_map(&map, 1));
    put_attr(span, 9, "raw", sl_value_bytes(text, len));
    size_t mark = 0;
    (void)sl_pb_buf_open(span, 11, &mark);
    (void)sl_pb_buf_str(span, 2, SL_STR("event"));
    put_attr(span, 3, "body", value);
    sl_pb_buf_close(span, mark);
    (void)sl_pb_buf_str(span, 99, SL_STR("unknown"));
    free(text);
}

SL_TEST(long_texts_are_cut_and_the_rest_stays)
{
    sl_buf span, cut;
    big_span(&span, 300000);
    for (size_t max = 2000; max < 1500000; max *= 3) {
        sl_buf_init(&cut, 8u << 20);
        REQUIRE(sl_batch_cut(SL_SIGNAL_TRACES, sl_buf_str(&span), max, &cut) == 0);
        CHECK(cut.len <= max);
        sl_otlp_span read;
        REQUIRE(sl_otlp_read_span(sl_buf_str(&cut), &read) == 0);
        CHECK_STR(read.trace_id, "0123456789abcdef");
        CHECK_STR(read.name, "name");
        CHECK_EQ(read.start_ns, 12345);
        sl_otlp_any any;
        REQUIRE(sl_otlp_find_attr(read.self, SL_OTLP_SPAN_ATTRS, SL_STR("small"), &any) == 0);
        CHECK_EQ(any.integer, 42);
        REQUIRE(sl_otlp_find_attr(read.self, SL_OTLP_SPAN_ATTRS, SL_STR("prompt"), &any) == 0);
        CHECK(sl_str_starts(any.str, SL_STR("HEAD")) && sl_str_ends(any.str, SL_STR("TAIL")));
        CHECK(sl_str_find(any.str, SL_STR(" bytes cut]...")) != SL_NPOS);
        CHECK_EQ(sl_otlp_count(read.self, SL_OTLP_SPAN_ATTRS), 4);
        CHECK_EQ(sl_otlp_count(read.self, 99), 1);
        sl_buf_done(&cut);
    }
    sl_buf_init(&cut, 8u << 20);
    CHECK_EQ(sl_batch_cut(SL_SIGNAL_TRACES, sl_buf_str(&span), 100, &cut), SL_ETOOBIG);
    CHECK_EQ(cut.len, 0);
    sl_buf_done(&cut);
    sl_buf_done(&span);
}

SL_TEST(cutting_keeps_characters_whole)
{
    sl_buf record, cut;
    sl_buf_init(&record, 1u << 20);
    char text[3000];
    for (size_t i = 0; i < sizeof text; i += 3)
        memcpy(text + i, "\xe2\x82\xac", 3);
    size_t mark = 0;
    (void)sl_pb_buf_open(&record, 5, &mark);
    (void)sl_pb_buf_bytes(&record, 1, text, sizeof text);
    sl_pb_buf_close(&record, mark);
    sl_buf_init(&cut, 1u << 20);
    REQUIRE(sl_batch_cut(SL_SIGNAL_LOGS, sl_buf_str(&record), 600, &cut) == 0);
    sl_otlp_log log;
    REQUIRE(sl_otlp_read_log(sl_buf_str(&cut), &log) == 0);
    CHECK(sl_utf8_valid(log.body.str));
    CHECK(log.body.str.len < 600);
    sl_buf_done(&cut);
    sl_buf_done(&record);
}

SL_TEST(malformed_items_are_refused)
{
    sl_buf span, cut;
    big_span(&span, 1000);
    sl_buf_init(&cut, 1u << 20);
    for (size_t at = 1; at < span.len; at += 13) {
        int error = sl_batch_cut(SL_SIGNAL_TRACES, sl_str_of(span.data, at), 300, &cut);
        CHECK(error == 0 || error == SL_EPARSE || error == SL_ETOOBIG);
        if (error)
            CHECK_EQ(cut.len, 0);
        sl_buf_clear(&cut);
    }
    sl_buf_done(&cut);
    sl_buf_done(&span);
}
