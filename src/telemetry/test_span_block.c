/* Blocks of attributes: the same span as by setting them one by one. */
#include "src/telemetry/span_block.h"

#include <stdio.h>

#include "src/telemetry/test_span_read.h"

static const sl_value reasons[2] = {{SL_VALUE_STRING, {.str = {"stop", 4}}}, {SL_VALUE_STRING, {.str = {"length", 6}}}};

static size_t some_attrs(sl_attr *attrs)
{
    size_t n = 0;
    attrs[n++] = sl_attr_str("http.request.method", "POST");
    attrs[n++] = sl_attr_int("server.port", 443);
    attrs[n++] = sl_attr_of("gen_ai.response.finish_reasons", sl_value_array(reasons, 2));
    attrs[n++] = sl_attr_of("stream", sl_value_bool(true));
    attrs[n++] = sl_attr_of("ratio", sl_value_double(0.25));
    attrs[n++] = sl_attr_str("text", "gr\xC3\xBC\xC3\x9F"
                                     "e an alle");
    return n;
}

/* What surrounds the block on a span. */
typedef struct setting {
    const char *name;
    sl_limits limits;
    unsigned before;   /* attributes set first */
    const char *clash; /* a key of the block that is set first */
} setting;

static const setting settings[] = {
    {.name = "an empty span"},
    {.name = "a full bloom filter", .before = 41},
    {.name = "more than the inline index", .before = 47},
    {.name = "a key that is there", .before = 3, .clash = "server.port"},
    {.name = "a key of another length", .before = 3, .clash = "text"},
    {.name = "a limit that fits exactly", .limits = {.attr_count = 9}, .before = 3},
    {.name = "a limit one below", .limits = {.attr_count = 8}, .before = 3},
    {.name = "a limit already reached", .limits = {.attr_count = 3}, .before = 3},
    {.name = "values that are cut", .limits = {.attr_value_chars = 5}},
    {.name = "values that just fit", .limits = {.attr_value_chars = 14}},
};

static void set_before(sl_span *span, const setting *s)
{
    for (unsigned i = 0; i < s->before; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "before.%u", i * 7919);
        sl_span_set_int(span, key, i);
    }
    if (s->clash)
        sl_span_set_str(span, s->clash, "taken");
}

static void compare(const setting *s, const sl_otlp_span *one, const sl_otlp_span *block)
{
    CHECK_EQ(one->dropped_attrs, block->dropped_attrs);
    sl_otlp_iter a = sl_otlp_items(one->self, SL_OTLP_SPAN_ATTRS);
    sl_otlp_iter b = sl_otlp_items(block->self, SL_OTLP_SPAN_ATTRS);
    sl_str left, right;
    while (sl_otlp_next(&a, &left)) {
        if (!sl_otlp_next(&b, &right) || !sl_str_eq(left, right))
            sl_test_failed(__FILE__, __LINE__, "%s: attributes differ", s->name);
    }
    CHECK(!sl_otlp_next(&b, &right));
}

SL_TEST(a_block_is_what_its_attributes_are)
{
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        sl_test_sdk t;
        sl_test_sdk_init(&t, &(sl_test_sdk_options){.limits = settings[i].limits});
        sl_tracer *tracer = sl_tracer_named(&t.sdk, "t");
        sl_attr attrs[SL_SPAN_BLOCK_ATTRS];
        size_t count = some_attrs(attrs);
        sl_span_block *block = sl_span_block_new(attrs, count);
        CHECK(block);
        sl_span *one = sl_span_start(tracer, SL_STR("one"), NULL);
        sl_span *other = sl_span_start(tracer, SL_STR("one"), NULL);
        set_before(one, &settings[i]);
        set_before(other, &settings[i]);
        for (size_t k = 0; k < count; k++)
            sl_span_set(one, attrs[k].key, attrs[k].value);
        sl_span_set_block(other, block);
        CHECK_EQ(sl_span_attr_count(one), sl_span_attr_count(other));
        sl_span_set_str(one, "text", "later");
        sl_span_set_str(other, "text", "later");
        sl_span_end(one);
        sl_span_end(other);
        sl_test_spans spans;
        sl_test_spans_read(t.sdk.segment, &spans);
        CHECK_EQ(spans.count, 2);
        compare(&settings[i], &spans.spans[0], &spans.spans[1]);
        sl_test_spans_done(&spans);
        sl_span_block_free(block);
        sl_test_sdk_done(&t);
    }
}

SL_TEST(the_same_block_again_changes_nothing)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, NULL);
    sl_attr attrs[SL_SPAN_BLOCK_ATTRS];
    size_t count = some_attrs(attrs);
    sl_span_block *block = sl_span_block_new(attrs, count);
    sl_span *span = sl_span_start(sl_tracer_named(&t.sdk, "t"), SL_STR("s"), NULL);
    for (int i = 0; i < 3; i++)
        sl_span_set_block(span, block);
    CHECK_EQ(sl_span_attr_count(span), count);
    sl_span_end(span);
    sl_span_block_free(block);
    sl_test_sdk_done(&t);
}

SL_TEST(attributes_are_copied_from_span_to_span)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, NULL);
    sl_tracer *tracer = sl_tracer_named(&t.sdk, "t");
    sl_span *from = sl_span_start(tracer, SL_STR("from"), NULL);
    sl_span *to = sl_span_start(tracer, SL_STR("to"), NULL);
    sl_span_set_str(from, "before", "stays");
    uint32_t mark = sl_span_attr_count(from);
    CHECK_EQ(mark, 1);
    CHECK(sl_span_copy_attrs(to, from, mark)); /* nothing yet */
    sl_span_set_int(from, "tokens", 300);
    sl_span_set_str(from, "source", "reported");
    CHECK(sl_span_copy_attrs(to, from, mark));
    CHECK_EQ(sl_span_attr_count(to), 2);
    CHECK(!sl_span_copy_attrs(to, from, mark)); /* the keys are there */
    CHECK_EQ(sl_span_attr_count(to), 2);
    CHECK(!sl_span_copy_attrs(to, from, mark + 3));
    sl_span_add_event(from, SL_STR("between"), 0, NULL, 0);
    mark = sl_span_attr_count(from);
    sl_span_set_int(from, "a", 1);
    sl_span_add_event(from, SL_STR("between"), 0, NULL, 0);
    sl_span_set_int(from, "b", 2);
    CHECK(!sl_span_copy_attrs(to, from, mark)); /* not in one piece */
    sl_span_end(from);
    sl_span_set_int(to, "tokens", 5);
    sl_span_end(to);
    sl_test_spans spans;
    sl_test_spans_read(t.sdk.segment, &spans);
    CHECK_EQ(spans.count, 2);
    CHECK_EQ(sl_test_attr(&spans.spans[1], "tokens").integer, 5);
    CHECK_EQ(sl_test_key_count(&spans.spans[1], "tokens"), 1);
    CHECK_STR_EQ(sl_test_attr(&spans.spans[1], "source").str, SL_STR("reported"));
    CHECK_EQ(sl_test_key_count(&spans.spans[1], "before"), 0);
    sl_test_spans_done(&spans);
    sl_test_sdk_done(&t);
}

SL_TEST(what_does_not_record_takes_nothing)
{
    sl_test_sdk t;
    sl_test_sdk_init(&t, &(sl_test_sdk_options){.sampler = {.kind = SL_SAMPLER_ALWAYS_OFF}});
    sl_attr attrs[SL_SPAN_BLOCK_ATTRS];
    sl_span_block *block = sl_span_block_new(attrs, some_attrs(attrs));
    sl_span *span = sl_span_start(sl_tracer_named(&t.sdk, "t"), SL_STR("s"), NULL);
    sl_span_set_block(span, block);
    sl_span_set_block(NULL, block);
    sl_span_set_block(span, NULL);
    CHECK_EQ(sl_span_attr_count(span), 0);
    CHECK_EQ(sl_span_attr_count(NULL), 0);
    CHECK(!sl_span_copy_attrs(span, span, 0));
    sl_span_end(span);
    sl_span_block_free(block);
    sl_span_block_free(NULL);
    sl_test_sdk_done(&t);
}

SL_TEST(blocks_that_are_not_made)
{
    sl_attr attrs[SL_SPAN_BLOCK_ATTRS + 1];
    for (size_t i = 0; i <= SL_SPAN_BLOCK_ATTRS; i++)
        attrs[i] = sl_attr_int("k", (int64_t)i);
    sl_span_block *block = sl_span_block_new(attrs, SL_SPAN_BLOCK_ATTRS); /* the last counts */
    CHECK(block);
    sl_span_block_free(block);
    CHECK(!sl_span_block_new(attrs, SL_SPAN_BLOCK_ATTRS + 1));
    static const sl_value number[1] = {{SL_VALUE_INT, {.integer = 1}}};
    const sl_attr bad[] = {
        sl_attr_str("", "no key"),
        sl_attr_of("bytes", sl_value_bytes("x", 1)),
        sl_attr_of("list of numbers", sl_value_array(number, 1)),
        sl_attr_of("null", sl_value_empty()),
        sl_attr_str("\xFF", "not UTF-8"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(!sl_span_block_new(&bad[i], 1));
    block = sl_span_block_new(NULL, 0);
    CHECK(block);
    sl_span_block_free(block);
}

SL_TEST(a_block_without_memory)
{
    sl_attr attrs[SL_SPAN_BLOCK_ATTRS];
    size_t count = some_attrs(attrs);
    for (long nth = 0;; nth++) {
        CHECK(nth < 50);
        sl_test_fail_alloc(nth);
        sl_span_block *block = sl_span_block_new(attrs, count);
        sl_test_fail_alloc(-1);
        if (block) {
            CHECK(nth >= 3);
            sl_span_block_free(block);
            break;
        }
    }
}
