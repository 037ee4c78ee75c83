/*
 * OTLP requests by chance, made from a table of the messages' fields: their JSON is sound and leads back to the same
 * JSON, whatever is in them, whatever is damaged, and wherever memory ends.
 * Source of the table: opentelemetry-proto 1.11.0.
 */
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/wire/json_scan.h"
#include "src/wire/otlp_json.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* ---- the messages ---- */

typedef enum kind {
    K_END = 0,
    K_TEXT,
    K_BYTES,
    K_ID16,
    K_ID8,
    K_BOOL,
    K_INT, /* varint */
    K_ZIGZAG,
    K_ENUM,
    K_TIME,  /* fixed64 */
    K_I64,   /* sfixed64 */
    K_FLAGS, /* fixed32 */
    K_DOUBLE,
    K_PACKED_COUNTS,
    K_PACKED_VARINTS,
    K_PACKED_DOUBLES,
    K_MESSAGE,
    K_ONE_OF /* one of the fields that follow up to the next K_ONE_OF or the end */
} kind;

typedef enum message {
    M_REQUEST,
    M_GROUP,
    M_SCOPE_GROUP,
    M_RESOURCE,
    M_SCOPE,
    M_PAIR,
    M_ANY,
    M_ARRAY,
    M_MAP,
    M_SPAN,
    M_EVENT,
    M_LINK,
    M_STATUS,
    M_LOG,
    M_METRIC,
    M_GAUGE,
    M_SUM,
    M_HISTOGRAM,
    M_EXPONENTIAL,
    M_SUMMARY,
    M_NUMBER,
    M_HISTOGRAM_POINT,
    M_EXPONENTIAL_POINT,
    M_BUCKETS,
    M_SUMMARY_POINT,
    M_QUANTILE,
    M_EXEMPLAR,
    M_COUNT
} message;

typedef struct field {
    uint32_t number;
    kind kind;
    message of;
    bool repeated;
} field;

/* clang-format off */
#define PLAIN(number_, kind_) {number_, kind_, M_COUNT, false}
#define ONE(number_, of_) {number_, K_MESSAGE, of_, false}
#define MANY(number_, of_) {number_, K_MESSAGE, of_, true}
#define ATTRS(number_) MANY(number_, M_PAIR)
/* clang-format on */

static const field table[M_COUNT][16] = {
    [M_REQUEST] = {MANY(1, M_GROUP)},
    [M_GROUP] = {ONE(1, M_RESOURCE), MANY(2, M_SCOPE_GROUP), PLAIN(3, K_TEXT)},
    [M_SCOPE_GROUP] = {ONE(1, M_SCOPE), MANY(2, M_COUNT), PLAIN(3, K_TEXT)},
    [M_RESOURCE] = {ATTRS(1), PLAIN(2, K_INT)},
    [M_SCOPE] = {PLAIN(1, K_TEXT), PLAIN(2, K_TEXT), ATTRS(3), PLAIN(4, K_INT)},
    [M_PAIR] = {PLAIN(1, K_TEXT), ONE(2, M_ANY)},
    [M_ANY] = {PLAIN(0, K_ONE_OF), PLAIN(1, K_TEXT), PLAIN(2, K_BOOL), PLAIN(3, K_INT), PLAIN(4, K_DOUBLE),
               ONE(5, M_ARRAY), ONE(6, M_MAP), PLAIN(7, K_BYTES)},
    [M_ARRAY] = {MANY(1, M_ANY)},
    [M_MAP] = {ATTRS(1)},
    [M_SPAN] = {PLAIN(1, K_ID16), PLAIN(2, K_ID8), PLAIN(3, K_TEXT), PLAIN(4, K_ID8), PLAIN(5, K_TEXT),
                PLAIN(6, K_ENUM), PLAIN(7, K_TIME), PLAIN(8, K_TIME), ATTRS(9), PLAIN(10, K_INT), MANY(11, M_EVENT),
                PLAIN(12, K_INT), MANY(13, M_LINK), ONE(15, M_STATUS), PLAIN(16, K_FLAGS)},
    [M_EVENT] = {PLAIN(1, K_TIME), PLAIN(2, K_TEXT), ATTRS(3), PLAIN(4, K_INT)},
    [M_LINK] = {PLAIN(1, K_ID16), PLAIN(2, K_ID8), PLAIN(3, K_TEXT), ATTRS(4), PLAIN(5, K_INT), PLAIN(6, K_FLAGS)},
    [M_STATUS] = {PLAIN(2, K_TEXT), PLAIN(3, K_ENUM)},
    [M_LOG] = {PLAIN(1, K_TIME), PLAIN(2, K_ENUM), PLAIN(3, K_TEXT), ONE(5, M_ANY), ATTRS(6), PLAIN(7, K_INT),
               PLAIN(8, K_FLAGS), PLAIN(9, K_ID16), PLAIN(10, K_ID8), PLAIN(11, K_TIME), PLAIN(12, K_TEXT)},
    [M_METRIC] = {PLAIN(1, K_TEXT), PLAIN(2, K_TEXT), PLAIN(3, K_TEXT), PLAIN(0, K_ONE_OF), ONE(5, M_GAUGE),
                  ONE(7, M_SUM), ONE(9, M_HISTOGRAM), ONE(10, M_EXPONENTIAL), ONE(11, M_SUMMARY)},
    [M_GAUGE] = {MANY(1, M_NUMBER)},
    [M_SUM] = {MANY(1, M_NUMBER), PLAIN(2, K_ENUM), PLAIN(3, K_BOOL)},
    [M_HISTOGRAM] = {MANY(1, M_HISTOGRAM_POINT), PLAIN(2, K_ENUM)},
    [M_EXPONENTIAL] = {MANY(1, M_EXPONENTIAL_POINT), PLAIN(2, K_ENUM)},
    [M_SUMMARY] = {MANY(1, M_SUMMARY_POINT)},
    [M_NUMBER] = {PLAIN(2, K_TIME), PLAIN(3, K_TIME), MANY(5, M_EXEMPLAR), ATTRS(7), PLAIN(8, K_INT),
                  PLAIN(0, K_ONE_OF), PLAIN(4, K_DOUBLE), PLAIN(6, K_I64)},
    [M_HISTOGRAM_POINT] = {PLAIN(2, K_TIME), PLAIN(3, K_TIME), PLAIN(4, K_TIME), PLAIN(5, K_DOUBLE),
                           PLAIN(6, K_PACKED_COUNTS), PLAIN(7, K_PACKED_DOUBLES), MANY(8, M_EXEMPLAR), ATTRS(9),
                           PLAIN(10, K_INT), PLAIN(11, K_DOUBLE), PLAIN(12, K_DOUBLE)},
    [M_EXPONENTIAL_POINT] = {ATTRS(1), PLAIN(2, K_TIME), PLAIN(3, K_TIME), PLAIN(4, K_TIME), PLAIN(5, K_DOUBLE),
                             PLAIN(6, K_ZIGZAG), PLAIN(7, K_TIME), ONE(8, M_BUCKETS), ONE(9, M_BUCKETS),
                             PLAIN(10, K_INT), MANY(11, M_EXEMPLAR), PLAIN(12, K_DOUBLE), PLAIN(13, K_DOUBLE),
                             PLAIN(14, K_DOUBLE)},
    [M_BUCKETS] = {PLAIN(1, K_ZIGZAG), PLAIN(2, K_PACKED_VARINTS)},
    [M_SUMMARY_POINT] = {PLAIN(2, K_TIME), PLAIN(3, K_TIME), PLAIN(4, K_TIME), PLAIN(5, K_DOUBLE), MANY(6, M_QUANTILE),
                         ATTRS(7), PLAIN(8, K_INT)},
    [M_QUANTILE] = {PLAIN(1, K_DOUBLE), PLAIN(2, K_DOUBLE)},
    [M_EXEMPLAR] = {PLAIN(2, K_TIME), PLAIN(4, K_ID8), PLAIN(5, K_ID16), ATTRS(7), PLAIN(0, K_ONE_OF),
                    PLAIN(3, K_DOUBLE), PLAIN(6, K_I64)},
};

static const message records[] = {[SL_OTLP_TRACES] = M_SPAN, [SL_OTLP_LOGS] = M_LOG, [SL_OTLP_METRICS] = M_METRIC};

/* ---- making them ---- */

typedef struct maker {
    uint64_t chance;
    sl_otlp_signal signal;
    sl_buf *out;
} maker;

static uint64_t any_number(maker *m)
{
    uint64_t value = (uint64_t)sl_chance(&m->chance, 1u << 31) << 33 | sl_chance(&m->chance, 1u << 31);
    unsigned how = sl_chance(&m->chance, 8);
    return how == 0 ? 0 : how == 1 ? UINT64_MAX : how == 2 ? (uint64_t)1 << 63 : value >> sl_chance(&m->chance, 64);
}

static double any_double(maker *m)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, -0.0, DBL_MAX, DBL_TRUE_MIN, 0.1, 1e21};
    return sl_chance(&m->chance, 3) ? (double)(int64_t)any_number(m) / 1000 : odd[sl_chance(&m->chance, 8)];
}

static sl_str any_text(maker *m, char room[32])
{
    static const char *const pieces[] = {"a", "gen_ai.", "\"", "\\", "\n", "\xC3\xA9", "\xF0\x9F\x98\x80", "/", "0"};
    size_t len = 0;
    for (unsigned n = sl_chance(&m->chance, 5); n > 0; n--) {
        const char *piece = pieces[sl_chance(&m->chance, sizeof pieces / sizeof *pieces)];
        memcpy(room + len, piece, strlen(piece));
        len += strlen(piece);
    }
    return sl_str_of(room, len);
}

static sl_str any_bytes(maker *m, char room[32], size_t len)
{
    for (size_t i = 0; i < len; i++)
        room[i] = (char)sl_chance(&m->chance, 256);
    return sl_str_of(room, len);
}

static void put_packed(maker *m, const field *f)
{
    size_t mark = 0;
    (void)sl_pb_buf_open(m->out, f->number, &mark);
    for (unsigned n = sl_chance(&m->chance, 5); n > 0; n--) {
        uint8_t bytes[8];
        if (f->kind == K_PACKED_VARINTS) {
            (void)sl_pb_buf_varint(m->out, any_number(m));
            continue;
        }
        uint64_t bits = f->kind == K_PACKED_COUNTS ? any_number(m) : sl_pb_double_bits(any_double(m));
        (void)sl_pb_raw_fixed64(bytes, bits);
        (void)sl_buf_put(m->out, bytes, sizeof bytes);
    }
    sl_pb_buf_close(m->out, mark);
}

static void put_message(maker *m, message of, unsigned depth);

static void put_field(maker *m, const field *f, unsigned depth)
{
    char room[32];
    size_t mark = 0;
    uint32_t number = f->number;
    switch (f->kind) {
    case K_TEXT:
        (void)sl_pb_buf_str(m->out, number, any_text(m, room));
        break;
    case K_BYTES:
        (void)sl_pb_buf_str(m->out, number, any_bytes(m, room, sl_chance(&m->chance, 20)));
        break;
    case K_ID16:
    case K_ID8:
        (void)sl_pb_buf_str(m->out, number, any_bytes(m, room, f->kind == K_ID16 ? 16 : 8));
        break;
    case K_BOOL:
        (void)sl_pb_buf_uint(m->out, number, sl_chance(&m->chance, 2));
        break;
    case K_ENUM:
        (void)sl_pb_buf_uint(m->out, number, sl_chance(&m->chance, 8));
        break;
    case K_INT: /* of a value all 64 bits; counts of what was dropped have 32 */
        (void)sl_pb_buf_uint(m->out, number, number == 3 ? any_number(m) : (uint32_t)any_number(m));
        break;
    case K_ZIGZAG:
        (void)sl_pb_buf_uint(m->out, number, sl_pb_zigzag((int32_t)any_number(m)));
        break;
    case K_TIME:
    case K_I64:
        (void)sl_pb_buf_fixed64(m->out, number, any_number(m));
        break;
    case K_FLAGS:
        (void)sl_pb_buf_fixed32(m->out, number, (uint32_t)any_number(m));
        break;
    case K_DOUBLE:
        (void)sl_pb_buf_double(m->out, number, any_double(m));
        break;
    case K_MESSAGE:
        (void)sl_pb_buf_open(m->out, number, &mark);
        put_message(m, f->of == M_COUNT ? records[m->signal] : f->of, depth + 1);
        sl_pb_buf_close(m->out, mark);
        break;
    default:
        put_packed(m, f);
    }
}

/* Each field is there or not; a repeated one up to three times; deep down there are no further messages. */
static void put_message(maker *m, message of, unsigned depth)
{
    const field *f = table[of];
    for (; f->kind != K_END && f->kind != K_ONE_OF; f++) {
        unsigned times = sl_chance(&m->chance, f->repeated ? 4 : 2);
        if (f->kind == K_MESSAGE && depth > 9)
            times = 0;
        while (times-- > 0)
            put_field(m, f, depth);
    }
    if (f->kind == K_END)
        return;
    unsigned choices = 0;
    while (f[choices + 1].kind != K_END)
        choices++;
    const field *one = &f[1 + sl_chance(&m->chance, choices)];
    if (sl_chance(&m->chance, 12) && !(one->kind == K_MESSAGE && depth > 9))
        put_field(m, one, depth);
}

static void make(sl_otlp_signal signal, uint64_t seed, sl_buf *out)
{
    maker m = {seed, signal, out};
    sl_buf_clear(out);
    for (size_t tries = 0; out->len < 60 && tries < 50; tries++) {
        sl_buf_clear(out);
        put_message(&m, M_REQUEST, 0);
    }
    CHECK_EQ(out->failed, 0);
}

/* ---- what holds of them ---- */

typedef struct bufs {
    sl_buf request, json, back, again;
} bufs;

static void bufs_init(bufs *b)
{
    sl_buf_init(&b->request, 4u << 20);
    sl_buf_init(&b->json, 16u << 20);
    sl_buf_init(&b->back, 4u << 20);
    sl_buf_init(&b->again, 16u << 20);
}

static void bufs_done(bufs *b)
{
    sl_buf_done(&b->request);
    sl_buf_done(&b->json);
    sl_buf_done(&b->back);
    sl_buf_done(&b->again);
}

SL_TEST(any_request_leads_to_json_and_back)
{
    bufs b;
    bufs_init(&b);
    for (uint64_t seed = 1; seed <= 900; seed++) {
        sl_otlp_signal signal = (sl_otlp_signal)(seed % 3);
        make(signal, seed, &b.request);
        sl_buf_clear(&b.json);
        sl_buf_clear(&b.back);
        sl_buf_clear(&b.again);
        REQUIRE(sl_otlp_to_json(signal, sl_buf_str(&b.request), &b.json) == 0);
        REQUIRE(sl_json_scan(sl_buf_str(&b.json), NULL, NULL, NULL, NULL) == 0);
        REQUIRE(sl_otlp_from_json(signal, sl_buf_str(&b.json), &b.back) == 0);
        REQUIRE(sl_otlp_to_json(signal, sl_buf_str(&b.back), &b.again) == 0);
        if (!sl_str_eq(sl_buf_str(&b.json), sl_buf_str(&b.again)))
            sl_test_failed(__FILE__, __LINE__, "seed %llu:\n%.*s\n%.*s", (unsigned long long)seed, (int)b.json.len,
                           b.json.data, (int)b.again.len, b.again.data);
    }
    bufs_done(&b);
}

/* A damaged request is refused and leaves nothing, or it is another request with JSON that is as sound. */
SL_TEST(a_damaged_request_is_refused_or_another)
{
    bufs b;
    bufs_init(&b);
    uint64_t chance = 5;
    size_t refused = 0, other = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        sl_otlp_signal signal = (sl_otlp_signal)(seed % 3);
        make(signal, seed, &b.request);
        for (int i = 0; i < 30 && b.request.len; i++) {
            size_t at = sl_chance(&chance, (unsigned)b.request.len);
            char was = b.request.data[at];
            b.request.data[at] = (char)sl_chance(&chance, 256);
            sl_buf_clear(&b.json);
            int error = sl_otlp_to_json(signal, sl_buf_str(&b.request), &b.json);
            if (error) {
                CHECK(error == SL_EPARSE && b.json.len == 0);
                refused++;
            } else {
                sl_buf_clear(&b.back);
                other++;
                CHECK_EQ(sl_json_scan(sl_buf_str(&b.json), NULL, NULL, NULL, NULL), 0);
                CHECK_EQ(sl_otlp_from_json(signal, sl_buf_str(&b.json), &b.back), 0);
            }
            b.request.data[at] = was;
        }
    }
    CHECK(refused > 500 && other > 500);
    bufs_done(&b);
}

/* Behind what stands in the buffer already: with any room, and with each allocation failing. */
SL_TEST(without_room_or_memory_the_buffer_is_as_it_was)
{
    bufs b;
    bufs_init(&b);
    for (uint64_t seed = 1; seed <= 30; seed++) {
        sl_otlp_signal signal = (sl_otlp_signal)(seed % 3);
        make(signal, seed, &b.request);
        sl_buf_clear(&b.json);
        REQUIRE(sl_otlp_to_json(signal, sl_buf_str(&b.request), &b.json) == 0);
        sl_buf tight;
        for (size_t room = 1; room < 4 + b.json.len; room += 1 + b.json.len / 40) {
            sl_buf_init(&tight, room + 3);
            (void)sl_buf_put_c(&tight, "old");
            int error = sl_otlp_to_json(signal, sl_buf_str(&b.request), &tight);
            CHECK_EQ(error, room < b.json.len ? SL_ELIMIT : 0);
            CHECK_EQ(tight.len, error ? 3 : 3 + b.json.len);
            CHECK_STR(sl_str_sub(sl_buf_str(&tight), 0, 3), "old");
            sl_buf_done(&tight);
        }
        for (long nth = 0;; nth++) {
            sl_buf_init(&tight, 16u << 20);
            sl_test_fail_alloc(nth);
            int to = sl_otlp_to_json(signal, sl_buf_str(&b.request), &tight);
            int from = to ? 0 : sl_otlp_from_json(signal, sl_buf_str(&b.json), &tight);
            bool failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            CHECK(failed ? to == SL_ENOMEM || from == SL_ENOMEM : to == 0 && from == 0);
            CHECK(!to || tight.len == 0);
            CHECK(!from || tight.len == b.json.len);
            sl_buf_done(&tight);
            if (!failed)
                break;
        }
    }
    bufs_done(&b);
}
