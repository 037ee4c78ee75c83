/* Spans: every field of what lies in the ring, replacing, limits, status, events, links, misuse, failing memory. */
#include <stdio.h>

#include "src/telemetry/span_clock.h"
#include "src/telemetry/span_impl.h"
#include "src/telemetry/test_span_read.h"

static sl_test_sdk t;
static sl_test_spans got;

static sl_tracer *begin(const sl_test_sdk_options *options)
{
    sl_test_sdk_init(&t, options);
    return sl_tracer_named(&t.sdk, "lib");
}

static void end(void)
{
    sl_test_spans_done(&got);
    sl_test_sdk_done(&t);
}

static void read_spans(size_t expected)
{
    sl_test_spans_done(&got);
    sl_test_spans_read(t.sdk.segment, &got);
    CHECK_EQ(got.count, expected);
}

static sl_str id_view(const uint8_t *id, size_t len)
{
    return sl_str_of((const char *)id, len);
}

SL_TEST(span_every_field)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    uint64_t before = sl_now_ns();
    sl_span *parent = sl_span_start(tracer, SL_STR("parent"), &(sl_span_options){.kind = SL_SPAN_SERVER});
    sl_span_context pc, cc;
    sl_span_get_context(parent, &pc);
    sl_span *child =
        sl_span_start(tracer, SL_STR("child"), &(sl_span_options){.kind = SL_SPAN_CLIENT, .parent = parent});
    sl_span_get_context(child, &cc);
    sl_span_set_str(child, "s", "text");
    sl_span_set_int(child, "i", -5);
    sl_span_set_double(child, "d", 2.5);
    sl_span_set_bool(child, "b", true);
    sl_span_set(child, SL_STR("e"), sl_value_empty());
    sl_span_set(child, SL_STR("raw"), sl_value_bytes("\xff\0x", 3));
    sl_span_set_status(child, SL_STATUS_ERROR, "broken");
    sl_span_end(child);
    sl_span_end(parent);
    uint64_t after = sl_now_ns();
    read_spans(2);
    const sl_otlp_span *c = &got.spans[0], *p = &got.spans[1];
    CHECK_STR(c->name, "child");
    CHECK_STR(p->name, "parent");
    CHECK_STR_EQ(c->trace_id, id_view(pc.trace_id, 16));
    CHECK_STR_EQ(p->trace_id, id_view(pc.trace_id, 16));
    CHECK_STR_EQ(c->span_id, id_view(cc.span_id, 8));
    CHECK_STR_EQ(c->parent_span_id, id_view(pc.span_id, 8));
    CHECK_EQ(p->parent_span_id.len, 0);
    CHECK_EQ(c->kind, SL_SPAN_CLIENT);
    CHECK_EQ(p->kind, SL_SPAN_SERVER);
    CHECK_EQ(c->flags, 0x103);
    CHECK_EQ(p->flags, 0x103);
    CHECK(p->start_ns + 100000 >= before && p->end_ns <= after + 100000);
    CHECK(c->start_ns >= p->start_ns && c->end_ns >= c->start_ns && p->end_ns >= c->end_ns);
    CHECK_EQ(c->status_code, SL_STATUS_ERROR);
    CHECK_STR(c->status_message, "broken");
    CHECK_EQ(p->status_code, 0);
    CHECK_STR(sl_test_attr(c, "s").str, "text");
    CHECK_EQ(sl_test_attr(c, "i").integer, -5);
    CHECK(sl_test_attr(c, "d").real == 2.5);
    CHECK(sl_test_attr(c, "b").type == SL_VALUE_BOOL && sl_test_attr(c, "b").boolean);
    CHECK_EQ(sl_test_key_count(c, "e"), 1);
    CHECK_EQ(sl_test_attr(c, "raw").type, SL_VALUE_BYTES);
    CHECK_EQ(sl_test_attr(c, "raw").str.len, 3);
    CHECK_EQ(c->dropped_attrs + c->dropped_events + c->dropped_links, 0);
    CHECK_EQ(SL_TAG_SCOPE(got.tags[0]), tracer->scope);
    CHECK_EQ(got.tags[0] & SL_TAG_UNSAMPLED, 0);
    CHECK_EQ(sl_tracers_started(&t.sdk), 2);
    end();
}

SL_TEST(span_parent_rules)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span_context remote = {
        .trace_id = {1}, .span_id = {2}, .flags = 0xF9, .remote = true, .tracestate = SL_STR("a=1,b=2")};
    sl_span_context invalid = {.trace_id = {1}};
    sl_span *current = sl_span_start(tracer, SL_STR("current"), NULL);
    sl_span *other = sl_span_start(tracer, SL_STR("other"), NULL);
    sl_span_attach(current);
    sl_span_context cc, oc, got_context;
    sl_span_get_context(current, &cc);
    sl_span_get_context(other, &oc);
    struct {
        sl_span_options options;
        const sl_span_context *parent;
    } rows[] = {{{.root = true, .parent = other, .parent_context = &remote}, NULL},
                {{.parent = other, .parent_context = &remote}, &oc},
                {{.parent_context = &remote}, &remote},
                {{.parent_context = &invalid}, &cc},
                {{.kind = SL_SPAN_INTERNAL}, &cc}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("x"), &rows[i].options);
        sl_span_get_context(span, &got_context);
        sl_span_end(span);
        read_spans(1);
        const sl_span_context *parent = rows[i].parent;
        CHECK_STR_EQ(got.spans[0].parent_span_id, parent ? id_view(parent->span_id, 8) : SL_STR(""));
        if (parent)
            CHECK_STR_EQ(got.spans[0].trace_id, id_view(parent->trace_id, 16));
        CHECK_EQ(got.spans[0].flags, parent == &remote ? 0x301 : 0x103);
        CHECK(!got_context.remote);
        CHECK_STR(got.spans[0].tracestate, parent == &remote ? "a=1,b=2" : "");
        CHECK_STR_EQ(got_context.tracestate, got.spans[0].tracestate);
    }
    sl_span_attach(NULL);
    sl_span_end(other);
    sl_span_end(current);
    end();
}

SL_TEST(span_tracestate_goes_to_grandchildren)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    char text[600];
    memset(text, 'v', sizeof text);
    memcpy(text, "a=", 2);
    text[500] = ',';
    memcpy(text + 501, "b=", 2);
    sl_span_context remote = {.trace_id = {1}, .span_id = {2}, .flags = 1, .tracestate = sl_str_of(text, sizeof text)};
    sl_span *one = sl_span_start(tracer, SL_STR("one"), &(sl_span_options){.parent_context = &remote});
    memset(text, 0, sizeof text); /* it was copied */
    sl_span *two = sl_span_start(tracer, SL_STR("two"), &(sl_span_options){.parent = one});
    sl_span_end(one);
    sl_span_end(two);
    read_spans(2);
    CHECK_EQ(got.spans[0].tracestate.len, 500); /* whole members only */
    CHECK_STR_EQ(got.spans[1].tracestate, got.spans[0].tracestate);
    sl_span_context broken = {.trace_id = {1}, .span_id = {2}, .flags = 1, .tracestate = SL_STR("a=\xff")};
    sl_span_end(sl_span_start(tracer, SL_STR("three"), &(sl_span_options){.parent_context = &broken}));
    read_spans(1);
    CHECK_EQ(got.spans[0].tracestate.len, 0);
    end();
}

SL_TEST(span_repeated_key_replaces)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("first name"), NULL);
    for (int i = 0; i < 20; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "key%d", i);
        sl_span_set_int(span, key, i);
    }
    sl_span_add_event(span, SL_STR("event"), 5, NULL, 0);
    sl_span_set_status(span, SL_STATUS_ERROR, "first");
    sl_span_set_str(span, "key3", "short");
    sl_span_set_str(span, "key3", "longer than before, by far");
    sl_span_set_str(span, "key3", "same length as before: yes");
    sl_span_set_name(span, SL_STR("n"));
    sl_span_set_str(span, "key0", "");
    sl_span_set_status(span, SL_STATUS_ERROR, "second message");
    sl_span_set_double(span, "key19", 1.0);
    sl_span_set_name(span, SL_STR("a much longer name than the first one was"));
    sl_span_set_int(span, "key5", INT64_MIN);
    sl_span_set_int(span, "key5", INT64_MAX);
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_STR(s->name, "a much longer name than the first one was");
    CHECK_STR(s->status_message, "second message");
    CHECK_EQ(sl_otlp_count(s->self, SL_OTLP_SPAN_ATTRS), 20);
    CHECK_EQ(sl_otlp_count(s->self, 5), 1); /* names */
    CHECK_EQ(sl_otlp_count(s->self, 15), 1);
    CHECK_EQ(sl_otlp_count(s->self, SL_OTLP_SPAN_EVENTS), 1);
    CHECK_STR(sl_test_attr(s, "key3").str, "same length as before: yes");
    CHECK_EQ(sl_test_attr(s, "key5").integer, INT64_MAX);
    CHECK_EQ(sl_test_attr(s, "key0").type, SL_VALUE_STRING);
    CHECK_EQ(sl_test_attr(s, "key4").integer, 4);
    CHECK_EQ(sl_test_attr(s, "key18").integer, 18);
    CHECK(sl_test_attr(s, "key19").real == 1.0);
    CHECK_EQ(s->dropped_attrs, 0);
    end();
}

/* A function, its macro and the call with lengths are the same; of views that do not end in NUL too. */
SL_TEST(span_texts_by_length_and_by_their_end)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    void (*by_function)(sl_span *, const char *, const char *) = sl_span_set_str;
    void (*number_by_function)(sl_span *, const char *, int64_t) = sl_span_set_int;
    sl_span *span = sl_span_start(tracer, SL_STR("s"), NULL);
    by_function(span, "function", "a");
    number_by_function(span, "function.number", 1);
    sl_span_set_str(span, "macro", "b");
    sl_span_set_int(span, "macro.number", 2);
    sl_span_put_str(span, sl_str_of("length of it", 6), sl_str_of("cut here", 3));
    sl_span_put_int(span, sl_str_of("number!", 6), 3);
    sl_span_set_str(span, "none", NULL);
    sl_span_put_str(NULL, SL_STR("key"), SL_STR("value"));
    sl_span_put_int(NULL, SL_STR("key"), 4);
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_STR(sl_test_attr(s, "function").str, "a");
    CHECK_EQ(sl_test_attr(s, "function.number").integer, 1);
    CHECK_STR(sl_test_attr(s, "macro").str, "b");
    CHECK_EQ(sl_test_attr(s, "macro.number").integer, 2);
    CHECK_STR(sl_test_attr(s, "length").str, "cut");
    CHECK_EQ(sl_test_attr(s, "number").integer, 3);
    CHECK_EQ(sl_test_attr(s, "none").type, SL_VALUE_STRING);
    CHECK_EQ(sl_otlp_count(s->self, SL_OTLP_SPAN_ATTRS), 7);
    end();
}

/* Random sets against a plain table: the buffer always holds exactly the last values. */
SL_TEST(span_random_sets_against_a_table)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_rng rng;
    sl_rng_init_seed(&rng, 11);
    static char text[3000];
    memset(text, 'x', sizeof text);
    for (int round = 0; round < 300; round++) {
        sl_span *span = sl_span_start(tracer, SL_STR("r"), NULL);
        size_t lens[40];
        memset(lens, 0xFF, sizeof lens);
        for (int i = 0; i < 120; i++) {
            size_t k = (size_t)(sl_rng_next(&rng) % 40);
            size_t len = (size_t)(sl_rng_next(&rng) % (i % 10 == 0 ? 2000 : 140));
            char key[200];
            size_t key_len = (size_t)snprintf(key, sizeof key, "%0*zu", (int)(k * 4 + 2), k);
            sl_span_set(span, sl_str_of(key, key_len), sl_value_str(sl_str_of(text, len)));
            lens[k] = len;
        }
        sl_span_end(span);
        read_spans(1);
        size_t expected = 0;
        for (size_t k = 0; k < 40; k++) {
            if (lens[k] == (size_t)-1)
                continue;
            expected++;
            char key[200];
            (void)snprintf(key, sizeof key, "%0*zu", (int)(k * 4 + 2), k);
            sl_otlp_any any = sl_test_attr(&got.spans[0], key);
            CHECK(any.type == SL_VALUE_STRING);
            CHECK_EQ(any.str.len, lens[k]);
        }
        CHECK_EQ(sl_otlp_count(got.spans[0].self, SL_OTLP_SPAN_ATTRS), expected);
    }
    end();
}

/* Values around every length at which a varint grows. */
SL_TEST(span_lengths_around_the_borders)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    static char text[17000];
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (char)('a' + i % 26);
    static const size_t lens[] = {0,     1,     7,     8,     9,     100,   110,   115,   116,   117,  118, 119,
                                  120,   121,   122,   123,   124,   125,   126,   127,   128,   129,  130, 255,
                                  16370, 16375, 16376, 16377, 16378, 16379, 16380, 16383, 16384, 16390};
    for (size_t key_len = 1; key_len <= 255; key_len += key_len < 10 ? 1 : 49) {
        for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
            sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
            sl_str key = sl_str_of(text, key_len), value = sl_str_of(text, lens[i]);
            sl_span_set(span, key, sl_value_str(value));
            const sl_span_entry *entry = sl_span_buf_find(&span->buf, key);
            CHECK(entry && entry->key_len == key_len);
            sl_span_set(span, key, sl_value_str(value)); /* finds itself */
            CHECK_EQ(span->buf.count, 1);
            sl_span_end(span);
            read_spans(1);
            sl_otlp_any any;
            CHECK_EQ(sl_otlp_find_attr(got.spans[0].self, SL_OTLP_SPAN_ATTRS, key, &any), 0);
            CHECK_STR_EQ(any.str, value);
        }
    }
    end();
}

SL_TEST(span_nested_values)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_value items[] = {sl_value_cstr("a"), sl_value_int(2), sl_value_empty()};
    sl_attr pairs[] = {sl_attr_str("k", "v"), sl_attr_of("list", sl_value_array(items, 3))};
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_set(span, SL_STR("array"), sl_value_array(items, 3));
    sl_span_set(span, SL_STR("map"), sl_value_map(pairs, 2));
    sl_span_set(span, SL_STR("none"), sl_value_array(NULL, 0));
    sl_span_end(span);
    read_spans(1);
    sl_otlp_any array = sl_test_attr(&got.spans[0], "array"), map = sl_test_attr(&got.spans[0], "map");
    CHECK_EQ(array.type, SL_VALUE_ARRAY);
    CHECK_EQ(sl_otlp_count(array.str, SL_OTLP_ARRAY_ITEMS), 3);
    CHECK_EQ(map.type, SL_VALUE_MAP);
    sl_otlp_any inner;
    CHECK_EQ(sl_otlp_find_attr(map.str, SL_OTLP_ARRAY_ITEMS, SL_STR("list"), &inner), 0);
    CHECK_EQ(inner.type, SL_VALUE_ARRAY);
    CHECK_EQ(sl_test_attr(&got.spans[0], "none").type, SL_VALUE_ARRAY);
    end();
}

SL_TEST(span_keys_that_are_refused)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    char big[256];
    memset(big, 'k', sizeof big);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_set_str(span, "", "x");
    sl_span_set_str(span, NULL, "x");
    sl_span_set(span, sl_str_of(big, 256), sl_value_int(1));
    sl_span_set(span, SL_STR("bad\xff"), sl_value_int(1));
    sl_span_set(span, SL_STR("bad\xff"), sl_value_cstr("x"));
    sl_span_set(span, sl_str_of(big, 255), sl_value_int(1));
    sl_span_set_str(span, "nul", NULL);
    sl_span_set_str(span, "\xc3\xa9", "\xc3\xa9");
    sl_span_end(span);
    read_spans(1);
    CHECK_EQ(got.spans[0].dropped_attrs, 5);
    CHECK_EQ(sl_otlp_count(got.spans[0].self, SL_OTLP_SPAN_ATTRS), 3);
    CHECK_STR(sl_test_attr(&got.spans[0], "\xc3\xa9").str, "\xc3\xa9");
    end();
}

SL_TEST(span_texts_that_are_no_utf8)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("n\xff"), NULL);
    sl_span_set_str(span, "v", "abc\xff");
    sl_span_set_status(span, SL_STATUS_ERROR, "m\xc0");
    sl_span_add_event(span, SL_STR("e\xed\xa0\x80"), 0, NULL, 0);
    sl_span_end(span);
    read_spans(1);
    CHECK(sl_utf8_valid(got.spans[0].name));
    CHECK(sl_utf8_valid(got.spans[0].status_message));
    CHECK_EQ(sl_test_attr(&got.spans[0], "v").type, SL_VALUE_BYTES); /* as OpenTelemetry maps it */
    end();
}

SL_TEST(span_value_limit_counts_characters)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){.limits = {.attr_value_chars = 3}});
    REQUIRE(tracer);
    sl_value items[] = {sl_value_cstr("abcdef"), sl_value_cstr("xy")};
    sl_span *span = sl_span_start(tracer, SL_STR("a long name stays"), NULL);
    sl_span_set_str(span, "ascii", "abcdef");
    sl_span_set_str(span, "exact", "abc");
    sl_span_set_str(span, "wide", "\xc3\xa9\xc3\xa9\xe2\x82\xac\xc3\xa9");
    sl_span_set(span, SL_STR("bytes"), sl_value_bytes("12345", 5));
    sl_span_set(span, SL_STR("array"), sl_value_array(items, 2));
    sl_attr attr = sl_attr_str("in.event", "abcdef");
    sl_span_add_event(span, SL_STR("event"), 1, &attr, 1);
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_STR(s->name, "a long name stays");
    CHECK_STR(sl_test_attr(s, "ascii").str, "abc");
    CHECK_STR(sl_test_attr(s, "exact").str, "abc");
    CHECK_STR(sl_test_attr(s, "wide").str, "\xc3\xa9\xc3\xa9\xe2\x82\xac");
    CHECK_EQ(sl_test_attr(s, "bytes").str.len, 3);
    sl_otlp_iter it = sl_otlp_items(sl_test_attr(s, "array").str, SL_OTLP_ARRAY_ITEMS);
    sl_str item;
    sl_otlp_any any;
    REQUIRE(sl_otlp_next(&it, &item) && sl_otlp_read_any(item, &any) == 0);
    CHECK_STR(any.str, "abc");
    it = sl_otlp_items(s->self, SL_OTLP_SPAN_EVENTS);
    REQUIRE(sl_otlp_next(&it, &item));
    CHECK_EQ(sl_otlp_find_attr(item, SL_OTLP_EVENT_ATTRS, SL_STR("in.event"), &any), 0);
    CHECK_STR(any.str, "abc");
    CHECK_EQ(s->dropped_attrs, 0);
    end();
}

SL_TEST(span_attribute_limit_and_priority)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_set_str(span, "user.id", "u");
    for (int i = 0; i < 200; i++) {
        char key[48];
        (void)snprintf(key, sizeof key, "gen_ai.prompt.%d.content", i);
        sl_span_set_int(span, key, i);
    }
    sl_span_set_int(span, "gen_ai.prompt.5.content", -5); /* replacing is no addition */
    sl_span_set_str(span, "session.id", "s");
    sl_span_set_str(span, "gen_ai.conversation.id", "c");
    sl_span_set_str(span, "session.id", "s2");
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_EQ(sl_otlp_count(s->self, SL_OTLP_SPAN_ATTRS), 128);
    CHECK_EQ(s->dropped_attrs, 201 - 128 + 2);
    CHECK_STR(sl_test_attr(s, "user.id").str, "u");
    CHECK_STR(sl_test_attr(s, "session.id").str, "s2");
    CHECK_STR(sl_test_attr(s, "gen_ai.conversation.id").str, "c");
    CHECK_EQ(sl_test_attr(s, "gen_ai.prompt.5.content").integer, -5);
    CHECK_EQ(sl_test_key_count(s, "gen_ai.prompt.124.content"), 1);
    CHECK_EQ(sl_test_key_count(s, "gen_ai.prompt.125.content"), 0); /* made room */
    CHECK_EQ(sl_test_key_count(s, "gen_ai.prompt.126.content"), 0);
    end();
}

SL_TEST(span_priority_keys_of_the_user)
{
    static const char *const keys[] = {"tenant", "order"};
    sl_tracer *tracer =
        begin(&(sl_test_sdk_options){.limits = {.attr_count = 2, .priority_keys = keys, .priority_key_count = 2}});
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_set_int(span, "tenant", 1);
    sl_span_set_int(span, "a", 1);
    sl_span_set_int(span, "session.id", 1); /* no longer one of them */
    sl_span_set_int(span, "order", 2);      /* takes the place of a */
    sl_span_set_int(span, "b", 1);
    sl_span_end(span);
    read_spans(1);
    CHECK_EQ(sl_otlp_count(got.spans[0].self, SL_OTLP_SPAN_ATTRS), 2);
    CHECK_EQ(sl_test_attr(&got.spans[0], "tenant").integer, 1);
    CHECK_EQ(sl_test_attr(&got.spans[0], "order").integer, 2);
    CHECK_EQ(got.spans[0].dropped_attrs, 3);
    end();
}

SL_TEST(span_more_attributes_than_the_index_holds_inline)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){.limits = {.attr_count = 1000}});
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 600; i++) {
            char key[32];
            (void)snprintf(key, sizeof key, "key.%d", i);
            sl_span_set_int(span, key, i * 1000 + round);
        }
    }
    sl_span_end(span);
    read_spans(1);
    CHECK_EQ(sl_otlp_count(got.spans[0].self, SL_OTLP_SPAN_ATTRS), 600);
    CHECK_EQ(sl_test_attr(&got.spans[0], "key.599").integer, 599001);
    CHECK_EQ(sl_test_attr(&got.spans[0], "key.0").integer, 1);
    end();
}

/* A span has a most it may weigh; identity still fits when the prompt took all the room. */
SL_TEST(span_too_big)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    size_t size = 200 * 1024;
    char *text = malloc(size + 1);
    memset(text, 'p', size);
    text[size] = 0;
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_set_str(span, "prompt", text);
    sl_span_set_str(span, "answer", text);
    sl_attr attr = sl_attr_str("huge", text);
    sl_span_add_event(span, SL_STR("huge"), 0, &attr, 1);
    for (int i = 0; i < 90; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "fill%d", i);
        sl_span_set(span, sl_str_c(key), sl_value_str(sl_str_of(text, 1000)));
    }
    sl_span_set_str(span, "session.id", "s");
    sl_span_set_status(span, SL_STATUS_ERROR, "too big");
    text[0] = 'q';
    sl_span_set_str(span, "prompt", text); /* replaced, though both do not fit together */
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_EQ(sl_test_attr(s, "prompt").str.len, size);
    CHECK(sl_test_attr(s, "prompt").str.len && sl_test_attr(s, "prompt").str.ptr[0] == 'q');
    CHECK_STR(sl_test_attr(s, "session.id").str, "s");
    CHECK_STR(s->status_message, "too big");
    CHECK(s->dropped_attrs > 1);
    CHECK_EQ(s->dropped_events, 1);
    CHECK(s->self.len <= SL_MAX_SPAN_BYTES);
    free(text);
    end();
}

/* The record must fit a quarter of the ring, however small that is. */
SL_TEST(span_in_a_small_ring)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){
        .segment = {
            .size_bytes = 4u << 20, .threads = 2, .cells = 1024, .span_ring_bytes = 4096, .log_ring_bytes = 4096}});
    REQUIRE(tracer);
    char text[600];
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 50; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
        for (int a = 0; a < 10; a++) {
            char key[16];
            (void)snprintf(key, sizeof key, "a%d", a);
            sl_span_set(span, sl_str_c(key), sl_value_str(sl_str_of(text, (size_t)i * 10)));
        }
        sl_span_end(span);
        read_spans(1);
    }
    sl_ring_stats stats;
    sl_segment_ring_stats(t.sdk.segment, SL_RING_SPANS, &stats);
    CHECK_EQ(stats.dropped, 0);
    end();
}

SL_TEST(span_long_names_are_cut)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    static char name[100000];
    for (size_t i = 0; i < sizeof name; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    sl_span *span = sl_span_start(tracer, sl_str_of(name + 1, sizeof name - 2), NULL);
    sl_span_set_name(span, sl_str_of(name, sizeof name));
    sl_span_add_event(span, sl_str_of(name, sizeof name), 0, NULL, 0);
    name[sizeof name - 1] = 0;
    sl_span_set_status(span, SL_STATUS_ERROR, name);
    sl_span_end(span);
    read_spans(1);
    CHECK_EQ(got.spans[0].name.len, SL_MAX_NAME_BYTES);
    CHECK_EQ(got.spans[0].status_message.len, SL_MAX_STATUS_BYTES);
    CHECK(sl_utf8_valid(got.spans[0].name) && sl_utf8_valid(got.spans[0].status_message));
    end();
}

SL_TEST(span_status_rules)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    struct {
        sl_status_code first, second;
        const char *message1, *message2;
        sl_status_code code;
        const char *message;
    } rows[] = {{SL_STATUS_ERROR, SL_STATUS_UNSET, "e", "u", SL_STATUS_ERROR, "e"},
                {SL_STATUS_OK, SL_STATUS_ERROR, "o", "e", SL_STATUS_OK, ""},
                {SL_STATUS_ERROR, SL_STATUS_OK, "e", "o", SL_STATUS_OK, ""},
                {SL_STATUS_UNSET, SL_STATUS_UNSET, "u", NULL, SL_STATUS_UNSET, ""},
                {SL_STATUS_ERROR, SL_STATUS_ERROR, "first", "", SL_STATUS_ERROR, ""},
                {SL_STATUS_ERROR, (sl_status_code)9, "first", "x", SL_STATUS_ERROR, "first"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
        sl_span_set_status(span, rows[i].first, rows[i].message1);
        sl_span_set_status(span, rows[i].second, rows[i].message2);
        sl_span_end(span);
        read_spans(1);
        CHECK_EQ(got.spans[0].status_code, rows[i].code);
        CHECK_STR(got.spans[0].status_message, rows[i].message);
        CHECK_EQ(sl_otlp_count(got.spans[0].self, 15), rows[i].code != SL_STATUS_UNSET);
    }
    end();
}

SL_TEST(span_events)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){.limits = {.event_count = 3, .event_attr_count = 2}});
    REQUIRE(tracer);
    sl_attr attrs[] = {sl_attr_int("a", 1), sl_attr_int("a", 2), sl_attr_int("", 3), sl_attr_int("b", 4),
                       sl_attr_int("c", 5)};
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_add_event(span, SL_STR("one"), 12345, attrs, 5);
    sl_span_record_error(span, "IOError", "no disk");
    sl_span_record_error(span, NULL, NULL);
    sl_span_add_event(span, SL_STR("four"), 0, NULL, 7);
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_EQ(s->dropped_events, 1);
    CHECK_EQ(s->status_code, 0);
    sl_otlp_iter it = sl_otlp_items(s->self, SL_OTLP_SPAN_EVENTS);
    sl_str bytes;
    sl_otlp_event event;
    sl_otlp_any any;
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_event(bytes, &event) == 0);
    CHECK_STR(event.name, "one");
    CHECK_EQ(event.time_ns, 12345);
    CHECK_EQ(event.dropped_attrs, 2);
    CHECK_EQ(sl_otlp_count(bytes, SL_OTLP_EVENT_ATTRS), 2);
    CHECK_EQ(sl_otlp_find_attr(bytes, SL_OTLP_EVENT_ATTRS, SL_STR("a"), &any), 0);
    CHECK_EQ(any.integer, 2);
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_event(bytes, &event) == 0);
    CHECK_STR(event.name, "exception");
    CHECK(event.time_ns >= s->start_ns && event.time_ns <= s->end_ns);
    CHECK_EQ(sl_otlp_find_attr(bytes, SL_OTLP_EVENT_ATTRS, SL_STR("exception.type"), &any), 0);
    CHECK_STR(any.str, "IOError");
    CHECK_EQ(sl_otlp_find_attr(bytes, SL_OTLP_EVENT_ATTRS, SL_STR("exception.message"), &any), 0);
    CHECK_STR(any.str, "no disk");
    REQUIRE(sl_otlp_next(&it, &bytes));
    CHECK(!sl_otlp_next(&it, &bytes));
    end();
}

SL_TEST(span_links)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){.limits = {.link_count = 2, .link_attr_count = 1}});
    REQUIRE(tracer);
    sl_attr attrs[] = {sl_attr_int("a", 1), sl_attr_int("b", 2)};
    sl_link full = {
        {.trace_id = {9}, .span_id = {8}, .flags = 1, .remote = true, .tracestate = SL_STR("k=v")}, attrs, 2};
    sl_link empty = {0}, only_attrs = {.attrs = attrs, .attr_count = 1};
    sl_span *span = sl_span_start(tracer, SL_STR("n"), &(sl_span_options){.links = &full, .link_count = 1});
    sl_span_add_link(span, &empty); /* not kept, not counted */
    sl_span_add_link(span, NULL);
    sl_span_add_link(span, &only_attrs);
    sl_span_add_link(span, &full);
    sl_span_end(span);
    read_spans(1);
    const sl_otlp_span *s = &got.spans[0];
    CHECK_EQ(s->dropped_links, 1);
    CHECK_EQ(sl_otlp_count(s->self, SL_OTLP_SPAN_LINKS), 2);
    sl_otlp_iter it = sl_otlp_items(s->self, SL_OTLP_SPAN_LINKS);
    sl_str bytes;
    sl_otlp_link link;
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_link(bytes, &link) == 0);
    CHECK_STR_EQ(link.trace_id, id_view(full.context.trace_id, 16));
    CHECK_STR_EQ(link.span_id, id_view(full.context.span_id, 8));
    CHECK_STR(link.tracestate, "k=v");
    CHECK_EQ(link.flags, 0x301);
    CHECK_EQ(link.dropped_attrs, 1);
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_link(bytes, &link) == 0);
    CHECK_EQ(link.flags, 0x100);
    CHECK_EQ(sl_otlp_count(bytes, SL_OTLP_LINK_ATTRS), 1);
    end();
}

SL_TEST(span_times_given)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), &(sl_span_options){.start_ns = 1000});
    sl_span_end_at(span, 3000);
    span = sl_span_start(tracer, SL_STR("n"), &(sl_span_options){.start_ns = 1000});
    sl_span_end_at(span, 999);
    span = sl_span_start(tracer, SL_STR("n"), &(sl_span_options){.start_ns = 1000});
    uint64_t now = sl_now_ns();
    sl_span_end(span);
    span = sl_span_start(tracer, SL_STR("n"), NULL);
    sl_span_end_at(span, 5);
    read_spans(4);
    CHECK_EQ(got.spans[0].start_ns, 1000);
    CHECK_EQ(got.spans[0].end_ns, 3000);
    CHECK_EQ(got.spans[1].end_ns, 1000);
    CHECK(got.spans[2].end_ns + 1000000 > now && got.spans[2].end_ns < now + 1000000000);
    CHECK_EQ(got.spans[3].end_ns, got.spans[3].start_ns);
    end();
}

SL_TEST(span_clock_follows_the_wall)
{
    uint64_t wall = sl_now_ns(), span = sl_span_clock_unix(sl_mono_ns()), after = sl_now_ns();
    CHECK(span + 50000 > wall && span < after + 50000);
    /* Somebody set the clock: the next check takes it over. */
    uint64_t offset = atomic_load(&sl_span_clock_state.offset);
    atomic_store(&sl_span_clock_state.offset, offset - 5000000000ull);
    sl_span_clock_check(sl_mono_ns());
    wall = sl_now_ns();
    span = sl_span_clock_unix(sl_mono_ns());
    CHECK(span + 50000 > wall && span < sl_now_ns() + 50000);
}

SL_TEST(span_unsampled_is_light)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){.sampler = {.kind = SL_SAMPLER_ALWAYS_OFF}});
    REQUIRE(tracer);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    REQUIRE(span);
    CHECK(!sl_span_is_recording(span));
    sl_span_set_str(span, "a", "b");
    sl_span_add_event(span, SL_STR("e"), 0, NULL, 0);
    sl_span_set_status(span, SL_STATUS_ERROR, "x");
    sl_span_set_name(span, SL_STR("m"));
    sl_span_context context, child_context;
    sl_span_get_context(span, &context);
    CHECK(sl_span_identity_ok(&context));
    CHECK_EQ(context.flags, SL_TRACE_FLAG_RANDOM);
    sl_span *child = sl_span_start(tracer, SL_STR("c"), &(sl_span_options){.parent = span});
    sl_span_get_context(child, &child_context);
    CHECK(memcmp(context.trace_id, child_context.trace_id, 16) == 0);
    CHECK(memcmp(context.span_id, child_context.span_id, 8) != 0);
    sl_span_end(child);
    sl_span_end(span);
    read_spans(0);
    CHECK_EQ(sl_tracers_started(&t.sdk), 0);
    end();
}

SL_TEST(span_errors_of_unsampled_are_kept_on_request)
{
    sl_tracer *tracer = begin(&(sl_test_sdk_options){.sampler = {.kind = SL_SAMPLER_ALWAYS_OFF}, .keep_errors = true});
    REQUIRE(tracer);
    sl_span *good = sl_span_start(tracer, SL_STR("good"), NULL);
    sl_span *bad = sl_span_start(tracer, SL_STR("bad"), NULL);
    CHECK(sl_span_is_recording(bad));
    sl_span_set_str(bad, "a", "b");
    sl_span_set_status(bad, SL_STATUS_ERROR, "x");
    sl_span_end(good);
    sl_span_end(bad);
    read_spans(1);
    CHECK_STR(got.spans[0].name, "bad");
    CHECK_STR(sl_test_attr(&got.spans[0], "a").str, "b");
    CHECK_EQ(got.spans[0].flags, 0x102); /* not sampled */
    CHECK(got.tags[0] & SL_TAG_UNSAMPLED);
    end();
}

static sl_sampling_decision record_only(void *user, const sl_sampling_input *input)
{
    sl_sampling_input *seen = user;
    *seen = *input;
    return SL_SAMPLE_RECORD_ONLY;
}

/* Recorded for whoever looks at it meanwhile, exported never. */
SL_TEST(span_record_only)
{
    sl_sampling_input seen = {0};
    sl_tracer *tracer =
        begin(&(sl_test_sdk_options){.sampler = {.kind = SL_SAMPLER_CALLBACK, .fn = record_only, .user = &seen}});
    REQUIRE(tracer);
    sl_attr attr = sl_attr_int("a", 1);
    sl_span *span =
        sl_span_start(tracer, SL_STR("n"), &(sl_span_options){.kind = SL_SPAN_SERVER, .attrs = &attr, .attr_count = 1});
    CHECK(sl_span_is_recording(span));
    CHECK_STR(seen.name, "n");
    CHECK_EQ(seen.kind, SL_SPAN_SERVER);
    CHECK_EQ(seen.attr_count, 1);
    CHECK(!seen.parent);
    sl_span_context context;
    sl_span_get_context(span, &context);
    CHECK_EQ(context.flags & SL_TRACE_FLAG_SAMPLED, 0);
    sl_span_set_status(span, SL_STATUS_ERROR, "x");
    sl_span_end(span);
    read_spans(0);
    end();
}

SL_TEST(span_after_shutdown)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span_context remote = {.trace_id = {1}, .span_id = {2}, .flags = 1, .remote = true, .tracestate = SL_STR("a=b")},
                    context;
    sl_span *open = sl_span_start(tracer, SL_STR("open"), NULL);
    atomic_store(&t.sdk.recording, false);
    CHECK(!sl_span_start(tracer, SL_STR("root"), NULL));
    sl_span *through = sl_span_start(tracer, SL_STR("n"), &(sl_span_options){.parent_context = &remote});
    REQUIRE(through);
    CHECK(!sl_span_is_recording(through));
    sl_span_get_context(through, &context);
    CHECK(memcmp(context.span_id, remote.span_id, 8) == 0); /* the caller's identity goes on */
    CHECK_STR(context.tracestate, "a=b");
    sl_span_end(through);
    sl_span_set_str(open, "still", "safe");
    sl_span_end(open);
    read_spans(0);
    end();
}

SL_TEST(span_null_and_misuse)
{
    sl_span_context context;
    memset(&context, 0xFF, sizeof context);
    CHECK(!sl_span_start(NULL, SL_STR("n"), NULL));
    CHECK(!sl_tracer_get(NULL, NULL));
    CHECK(!sl_tracer_named(NULL, "x"));
    sl_span_set(NULL, SL_STR("k"), sl_value_int(1));
    sl_span_set_str(NULL, "k", "v");
    sl_span_set_int(NULL, "k", 1);
    sl_span_set_double(NULL, "k", 1);
    sl_span_set_bool(NULL, "k", true);
    sl_span_add_event(NULL, SL_STR("e"), 0, NULL, 0);
    sl_span_record_error(NULL, "a", "b");
    sl_span_add_link(NULL, NULL);
    sl_span_set_status(NULL, SL_STATUS_ERROR, "x");
    sl_span_set_name(NULL, SL_STR("x"));
    sl_span_end(NULL);
    sl_span_end_at(NULL, 5);
    CHECK(!sl_span_is_recording(NULL));
    sl_span_get_context(NULL, &context);
    CHECK(!sl_span_identity_ok(&context));
    sl_span_get_context(NULL, NULL);
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span *span =
        sl_span_start(tracer, sl_str_of(NULL, 0), &(sl_span_options){.kind = (sl_span_kind)99, .attr_count = 5});
    sl_span_attach(span);
    sl_span_end(span);
    CHECK(!sl_span_current()); /* an ended span does not stay current */
    sl_span_end(span);         /* a second end does nothing while the object is idle */
    sl_span_set_str(span, "a", "b");
    read_spans(1);
    CHECK_EQ(got.spans[0].kind, SL_SPAN_INTERNAL);
    CHECK_EQ(got.spans[0].name.len, 0);
    end();
}

SL_TEST(span_objects_are_used_again)
{
    sl_tracer *tracer = begin(NULL);
    REQUIRE(tracer);
    sl_span *spans[SL_MAX_POOLED_SPANS + 10];
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        spans[i] = sl_span_start(tracer, SL_STR("n"), NULL);
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
        sl_span_end(spans[i]);
    CHECK_EQ(sl_span_this.idle_count, SL_MAX_POOLED_SPANS);
    size_t before = sl_test_alloc_count();
    for (int i = 0; i < 100; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
        for (int a = 0; a < 20; a++) {
            char key[16];
            (void)snprintf(key, sizeof key, "key%d", a);
            sl_span_set_str(span, key, "a value of ordinary size");
        }
        sl_span_end(span);
    }
    CHECK_EQ(sl_test_alloc_count(), before); /* ordinary spans allocate nothing */
    end();
}

static void do_everything(sl_tracer *tracer)
{
    static char text[5000];
    memset(text, 'x', sizeof text - 1);
    sl_attr attr = sl_attr_str("big", text);
    sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
    for (int i = 0; i < 140; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        sl_span_set_int(span, key, i);
    }
    sl_span_set_str(span, "big", text);
    sl_span_add_event(span, SL_STR("e"), 0, &attr, 1);
    sl_span_set_str(span, "small", "fits");
    sl_span_set_status(span, SL_STATUS_ERROR, text);
    sl_span_end(span);
}

SL_TEST(span_every_allocation_failing)
{
    bool done = false;
    for (long n = 0; !done; n++) {
        sl_tracer *tracer = begin(&(sl_test_sdk_options){.limits = {.attr_count = 1000}});
        REQUIRE(tracer);
        sl_test_fail_alloc(n);
        do_everything(tracer);
        done = !sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_test_spans_read(t.sdk.segment, &got);
        CHECK(got.count <= 1);
        if (got.count) { /* what is there is whole, and what is missing was counted */
            uint64_t lost = got.spans[0].dropped_attrs + got.spans[0].dropped_events;
            CHECK_EQ(sl_otlp_count(got.spans[0].self, SL_OTLP_SPAN_ATTRS) +
                         sl_otlp_count(got.spans[0].self, SL_OTLP_SPAN_EVENTS) + lost,
                     143);
        }
        end();
        sl_span_thread_trim();
    }
}
