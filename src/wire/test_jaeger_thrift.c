/*
 * Jaeger's Thrift: whole batches by bytes derived by hand from jaeger.thrift, and read back by a decoder of the tests'
 * own that knows Thrift and not the writer: a struct is {field:value …}, a list [value …], numbers as they are, texts
 * quoted.
 */
#include "src/wire/jaeger_thrift.h"

#include <stdio.h>

#include "src/wire/test_span_fixture.h"
#include "src/wire/thrift_write.h"

/* ---- the decoder ---- */

typedef struct decoder {
    const uint8_t *at, *end;
    bool bad;
} decoder;

static uint64_t number(decoder *d, size_t bytes)
{
    uint64_t n = 0;
    if (d->bad || (size_t)(d->end - d->at) < bytes) {
        d->bad = true;
        return 0;
    }
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | *d->at++;
    return n;
}

static void show(decoder *d, unsigned type, sl_buf *out);

static void show_struct(decoder *d, sl_buf *out)
{
    (void)sl_buf_put_char(out, '{');
    for (bool first = true; !d->bad; first = false) {
        unsigned type = (unsigned)number(d, 1);
        if (type == 0)
            break;
        (void)sl_buf_printf(out, "%s%u:", first ? "" : " ", (unsigned)number(d, 2));
        show(d, type, out);
    }
    (void)sl_buf_put_char(out, '}');
}

static void show_text(decoder *d, sl_buf *out)
{
    uint64_t len = number(d, 4);
    if (d->bad || (uint64_t)(d->end - d->at) < len) {
        d->bad = true;
        return;
    }
    (void)sl_buf_put_char(out, '\'');
    (void)sl_buf_put(out, d->at, len);
    (void)sl_buf_put_char(out, '\'');
    d->at += len;
}

static void show_list(decoder *d, sl_buf *out)
{
    unsigned type = (unsigned)number(d, 1);
    uint64_t count = number(d, 4);
    (void)sl_buf_put_char(out, '[');
    for (uint64_t i = 0; i < count && !d->bad; i++) {
        (void)sl_buf_put_c(out, i ? " " : "");
        show(d, type, out);
    }
    (void)sl_buf_put_char(out, ']');
}

static void show(decoder *d, unsigned type, sl_buf *out)
{
    double real;
    uint64_t bits;
    switch (type) {
    case 2:
        (void)sl_buf_put_c(out, number(d, 1) ? "true" : "false");
        break;
    case 4:
        bits = number(d, 8);
        memcpy(&real, &bits, 8);
        (void)sl_buf_put_double(out, real);
        break;
    case 8:
        (void)sl_buf_put_i64(out, (int32_t)number(d, 4));
        break;
    case 10:
        (void)sl_buf_put_i64(out, (int64_t)number(d, 8));
        break;
    case 11:
        show_text(d, out);
        break;
    case 12:
        show_struct(d, out);
        break;
    case 15:
        show_list(d, out);
        break;
    default:
        d->bad = true;
    }
}

/* The whole of it, or "bad". */
static void decode(sl_str bytes, sl_buf *out)
{
    decoder d = {(const uint8_t *)bytes.ptr, (const uint8_t *)bytes.ptr + bytes.len, false};
    sl_buf_clear(out);
    show_struct(&d, out);
    if (d.bad || d.at != d.end) {
        sl_buf_clear(out);
        (void)sl_buf_put_c(out, "bad");
    }
}

/* ---- what is compared ---- */

typedef struct batch {
    sl_buf request, thrift, text;
    size_t written, skipped;
    int error;
} batch;

static void make(batch *b, const char *service, const char *scope, void (*const *writers)(sl_buf *))
{
    memset(b, 0, sizeof *b);
    sl_buf_init(&b->request, 1u << 20);
    sl_buf_init(&b->thrift, 1u << 20);
    sl_buf_init(&b->text, 1u << 20);
    fx_resource_spans(&b->request, service, scope, writers);
    b->error = sl_otlp_to_jaeger(sl_buf_str(&b->request), &b->thrift, &b->written, &b->skipped);
    decode(sl_buf_str(&b->thrift), &b->text);
}

static void done(batch *b)
{
    sl_buf_done(&b->request);
    sl_buf_done(&b->thrift);
    sl_buf_done(&b->text);
}

SL_TEST(the_smallest_batch_byte_for_byte)
{
    static const char want[] = "\x0C\x00\x01"                     /* 1: Process */
                               "\x0B\x00\x01\x00\x00\x00\x03svc"  /* 1: serviceName */
                               "\x0F\x00\x02\x0C\x00\x00\x00\x01" /* 2: tags, one */
                               "\x0B\x00\x01\x00\x00\x00\x0Bprocess.pid"
                               "\x08\x00\x02\x00\x00\x00\x03" /* vType LONG */
                               "\x0A\x00\x06\x00\x00\x00\x00\x00\x00\x00\x07"
                               "\x00\x00"
                               "\x0F\x00\x02\x0C\x00\x00\x00\x01" /* 2: spans, one */
                               "\x0A\x00\x01\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F"
                               "\x0A\x00\x02\xFE\x01\x02\x03\x04\x05\x06\x07"
                               "\x0A\x00\x03\x80\x00\x00\x00\x00\x00\x00\x02"
                               "\x0A\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00"
                               "\x0B\x00\x05\x00\x00\x00\x01"
                               "a"
                               "\x08\x00\x07\x00\x00\x00\x01"
                               "\x0A\x00\x08\x00\x06\x0A\x24\x18\x1E\x40\x00" /* 1700000000000000 us */
                               "\x0A\x00\x09\x00\x00\x00\x00\x00\x00\x04\xD1" /* 1233 us */
                               "\x00\x00";
    batch b;
    make(&b, "svc", NULL, (void (*const[])(sl_buf *)){fx_small_span, NULL});
    CHECK_EQ(b.error, 0);
    CHECK_EQ(b.written, 1);
    CHECK_EQ(b.skipped, 0);
    CHECK_STR_EQ(sl_buf_str(&b.thrift), sl_str_of(want, sizeof want - 1));
    done(&b);
}

SL_TEST(everything_that_a_span_can_have)
{
    batch b;
    make(&b, "svc", "lib", (void (*const[])(sl_buf *)){fx_full_span, NULL});
    CHECK_EQ(b.error, 0);
    CHECK_EQ(b.written, 1);
    static const char want[] =
        "{1:{1:'svc' 2:[{1:'process.pid' 2:3 6:7}]} 2:[{"
        "1:579005069656919567 2:-143831501123549689 3:-9223372036854775806 4:3 5:'call' "
        "6:[{1:1 2:2314885530818453536 3:1157442765409226768 4:9} "
        "{1:1 2:2314885530818453536 3:1157442765409226768 4:-9223372036854775806}] "
        "7:1 8:1700000000000000 9:1233 "
        "10:[{1:'span.kind' 2:0 3:'client'} {1:'otel.status_code' 2:0 3:'ERROR'} "
        "{1:'otel.status_description' 2:0 3:'boom'} {1:'error' 2:2 5:true} "
        "{1:'server.address' 2:0 3:'api.example'} {1:'n' 2:3 6:-5} {1:'d' 2:1 4:0.5} {1:'t' 2:2 5:true} ";
    static const char raw[] = "{1:'raw' 2:4 7:'\x00\xFF'} ";
    static const char rest[] =
        "{1:'list' 2:0 3:'[1,\"x\\\"y\"]'} "
        "{1:'otel.scope.name' 2:0 3:'lib'} {1:'otel.scope.version' 2:0 3:'1.2'} "
        "{1:'otel.library.name' 2:0 3:'lib'} {1:'otel.library.version' 2:0 3:'1.2'} "
        "{1:'w3c.tracestate' 2:0 3:'k=v'} {1:'otel.dropped_attributes_count' 2:3 6:2} "
        "{1:'otel.dropped_events_count' 2:3 6:3} {1:'otel.dropped_links_count' 2:3 6:4}] "
        "11:[{1:1700000000000000 2:[{1:'event' 2:0 3:'link'} "
        "{1:'trace_id' 2:0 3:'10101010101010102020202020202020'} {1:'span_id' 2:0 3:'8000000000000002'} "
        "{1:'why' 2:0 3:'batch'}]} "
        "{1:1700000000000005 2:[{1:'event' 2:0 3:'retry'} {1:'reason' 2:0 3:'429'} "
        "{1:'otel.dropped_attributes_count' 2:3 6:1}]} "
        "{1:1700000000000009 2:[{1:'event' 2:0 3:'bare'}]}]}]}";
    sl_buf all;
    sl_buf_init(&all, 1u << 16);
    (void)sl_buf_put(&all, want, sizeof want - 1);
    (void)sl_buf_put(&all, raw, sizeof raw - 1);
    (void)sl_buf_put(&all, rest, sizeof rest - 1);
    CHECK_STR_EQ(sl_buf_str(&b.text), sl_buf_str(&all));
    sl_buf_done(&all);
    done(&b);
}

/* ---- one thing at a time ---- */

static uint32_t kind_now, status_now;

static void span_of_kind(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "k", kind_now);
    if (status_now)
        fx_status(b, status_now, NULL);
}

SL_TEST(kinds_and_statuses)
{
    static const struct {
        uint32_t kind, status;
        const char *tags;
    } table[] = {
        {0, 0, "9:1233}"},
        {1, 0, "9:1233}"},
        {2, 0, "10:[{1:'span.kind' 2:0 3:'server'}]"},
        {3, 0, "10:[{1:'span.kind' 2:0 3:'client'}]"},
        {4, 0, "10:[{1:'span.kind' 2:0 3:'producer'}]"},
        {5, 0, "10:[{1:'span.kind' 2:0 3:'consumer'}]"},
        {99, 0, "9:1233}"},
        {1, 1, "10:[{1:'otel.status_code' 2:0 3:'OK'}]"},
        {1, 2, "10:[{1:'otel.status_code' 2:0 3:'ERROR'} {1:'error' 2:2 5:true}]"},
        {1, 7, "9:1233}"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        kind_now = table[i].kind;
        status_now = table[i].status;
        batch b;
        make(&b, "s", NULL, (void (*const[])(sl_buf *)){span_of_kind, NULL});
        CHECK(sl_str_find(sl_buf_str(&b.text), sl_str_c(table[i].tags)) != SL_NPOS);
        done(&b);
    }
    status_now = 0;
}

static uint64_t start_now, end_now;

static void span_of_times(sl_buf *b)
{
    fx_small_span(b);
    (void)sl_pb_buf_fixed64(b, 7, start_now); /* the last one counts */
    (void)sl_pb_buf_fixed64(b, 8, end_now);
}

SL_TEST(times_are_whole_microseconds)
{
    static const struct {
        uint64_t start, end;
        const char *text;
    } table[] = {
        {1234567, 1234568, "8:1234 9:1}"}, {1000, 2999, "8:1 9:1}"},
        {5999, 5999, "8:5 9:0}"},          {5000, 4000, "8:5 9:0}"}, /* a clock that went back */
        {0, 10000, "8:0 9:10}"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        start_now = table[i].start;
        end_now = table[i].end;
        batch b;
        make(&b, "s", NULL, (void (*const[])(sl_buf *)){span_of_times, NULL});
        CHECK(sl_str_find(sl_buf_str(&b.text), sl_str_c(table[i].text)) != SL_NPOS);
        done(&b);
    }
}

static void span_whose_event_names_itself(sl_buf *b)
{
    fx_small_span(b);
    fx_event(b, "name", FX_START, "event", "own", 0);
}

SL_TEST(an_attribute_named_event_beats_the_name)
{
    batch b;
    make(&b, "s", NULL, (void (*const[])(sl_buf *)){span_whose_event_names_itself, NULL});
    CHECK(sl_str_find(sl_buf_str(&b.text), SL_STR("2:[{1:'event' 2:0 3:'own'}]")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&b.text), SL_STR("'name'")) == SL_NPOS);
    done(&b);
}

static void span_with_bad_text(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "a\xFF\xE2\x82z", 1);
}

SL_TEST(texts_become_utf8)
{
    batch b;
    make(&b, "s", NULL, (void (*const[])(sl_buf *)){span_with_bad_text, NULL});
    CHECK(sl_str_find(sl_buf_str(&b.text), SL_STR("5:'a\xEF\xBF\xBD\xEF\xBF\xBDz'")) != SL_NPOS);
    done(&b);
}

static void span_without_trace(sl_buf *b)
{
    fx_span_head(b, SL_STR(""), FX_SPAN, "a", 1);
}

static void span_of_zeros(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, SL_STR("\0\0\0\0\0\0\0\0"), "a", 1);
}

static void span_with_short_link(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_FAR, "linked", 1);
    fx_link(b, SL_STR("short"), FX_FAR, "k", "v");
}

SL_TEST(spans_that_jaeger_cannot_hold_are_counted)
{
    batch b;
    make(&b, NULL, NULL,
         (void (*const[])(sl_buf *)){span_without_trace, fx_small_span, span_of_zeros, span_with_short_link, NULL});
    CHECK_EQ(b.error, 0);
    CHECK_EQ(b.written, 2);
    CHECK_EQ(b.skipped, 2);
    CHECK(sl_str_starts(sl_buf_str(&b.text), SL_STR("{1:{1:'unknown_service' 2:[")));
    CHECK(sl_str_find(sl_buf_str(&b.text), SL_STR("6:[")) == SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&b.text), SL_STR("11:[")) == SL_NPOS);
    done(&b);
}

/* ---- faults ---- */

SL_TEST(cut_anywhere_it_is_refused_or_a_whole_batch)
{
    batch b;
    make(&b, "svc", "lib", (void (*const[])(sl_buf *)){fx_full_span, fx_small_span, NULL});
    sl_buf out, text;
    sl_buf_init(&out, 1u << 20);
    sl_buf_init(&text, 1u << 20);
    size_t refused = 0;
    for (size_t len = 0; len < b.request.len; len++) {
        size_t written = 77, skipped = 77;
        sl_buf_clear(&out);
        (void)sl_buf_put_c(&out, "kept");
        int error = sl_otlp_to_jaeger(sl_str_sub(sl_buf_str(&b.request), 0, len), &out, &written, &skipped);
        refused += error != 0;
        CHECK(error == 0 || (error == SL_EPARSE && out.len == 4 && written == 77 && skipped == 77));
        sl_buf_consume(&out, 4);
        if (!error) {
            decode(sl_buf_str(&out), &text);
            CHECK(!sl_str_eq_c(sl_buf_str(&text), "bad"));
        }
    }
    CHECK(refused > b.request.len / 2);
    sl_buf_done(&out);
    sl_buf_done(&text);
    done(&b);
}

SL_TEST(any_byte_changed_it_does_not_break)
{
    batch b;
    make(&b, "svc", "lib", (void (*const[])(sl_buf *)){fx_full_span, NULL});
    sl_buf out, text;
    sl_buf_init(&out, 1u << 20);
    sl_buf_init(&text, 1u << 20);
    for (size_t at = 0; at < b.request.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            size_t written, skipped;
            b.request.data[at] = (char)(b.request.data[at] ^ (char)(1u << bit));
            sl_buf_clear(&out);
            if (sl_otlp_to_jaeger(sl_buf_str(&b.request), &out, &written, &skipped) == 0) {
                decode(sl_buf_str(&out), &text);
                CHECK(!sl_str_eq_c(sl_buf_str(&text), "bad"));
            }
            b.request.data[at] = (char)(b.request.data[at] ^ (char)(1u << bit));
        }
    }
    sl_buf_done(&out);
    sl_buf_done(&text);
    done(&b);
}

SL_TEST(a_buffer_that_is_full_is_left_as_it_was)
{
    batch b;
    make(&b, "svc", "lib", (void (*const[])(sl_buf *)){fx_full_span, NULL});
    size_t whole = b.thrift.len;
    for (size_t max = 1; max < whole; max += 3) {
        size_t written = 9, skipped = 9;
        sl_buf out;
        sl_buf_init(&out, max);
        CHECK_EQ(sl_otlp_to_jaeger(sl_buf_str(&b.request), &out, &written, &skipped), SL_ELIMIT);
        CHECK_EQ(out.len, 0);
        CHECK_EQ(written, 9);
        sl_buf_done(&out);
    }
    done(&b);
}

SL_TEST(every_allocation_failing_in_turn)
{
    batch b;
    make(&b, "svc", "lib", (void (*const[])(sl_buf *)){fx_full_span, NULL});
    for (long n = 0;; n++) {
        size_t written, skipped;
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        sl_test_fail_alloc(n);
        int error = sl_otlp_to_jaeger(sl_buf_str(&b.request), &out, &written, &skipped);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        CHECK(failed <= (out.len == 0));
        sl_buf_done(&out);
        if (!failed)
            break;
    }
    done(&b);
}
