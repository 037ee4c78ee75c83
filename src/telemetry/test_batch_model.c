/*
 * Batches by chance: scopes of several services, schema URLs of any length, items of any size, limits of any size.
 * Whatever is taken comes out once, in the order of its scope, below its own resource, and no request is beyond its
 * limits.
 */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/telemetry/batch.h"
#include "src/wire/otlp_read.h"
#include "src/wire/pb.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define SCOPES 7u

typedef struct model {
    uint64_t state;
    sl_batch batch;
    sl_batch_scope scopes[SCOPES];
    char names[SCOPES][8], resources[SCOPES][16], urls[SCOPES + 1][512];
    size_t max_items, max_bytes;
    unsigned added[SCOPES], told[SCOPES];
} model;

/* A URL of any length, none among them. */
static sl_str any_url(model *m, char *room)
{
    static const unsigned lengths[] = {0, 0, 20, 120, 300, 500};
    unsigned len = lengths[sl_chance(&m->state, 6)];
    memset(room, 'u', len);
    return sl_str_of(room, len);
}

static void begin(model *m, uint64_t seed)
{
    memset(m, 0, sizeof *m);
    m->state = seed;
    m->max_items = 1 + sl_chance(&m->state, 40);
    m->max_bytes = 1500 + sl_chance(&m->state, 6000);
    for (unsigned i = 0; i < SCOPES; i++) {
        /* InstrumentationScope { 1: name }, Resource { 1: something that is its own } */
        int n = snprintf(m->names[i], sizeof m->names[i], "\x0a\x02s%u", i);
        int k = snprintf(m->resources[i], sizeof m->resources[i], "\x0a\x05one-%u", i);
        m->scopes[i].scope = sl_str_of(m->names[i], (size_t)n);
        m->scopes[i].schema_url = any_url(m, m->urls[i]);
        if (sl_chance(&m->state, 2))
            m->scopes[i].resource = sl_str_of(m->resources[i], (size_t)k);
    }
    sl_batch_init(&m->batch, SL_SIGNAL_TRACES, SL_STR("\x0a\x03own"), any_url(m, m->urls[SCOPES]), m->max_items,
                  m->max_bytes);
}

/* A span of one name, that begins with its scope and its number there. */
static sl_str make_item(model *m, unsigned scope, char *room, size_t size)
{
    sl_pb_cursor c = sl_pb_cursor_of((uint8_t *)room, size);
    char name[2048];
    unsigned len = sl_chance(&m->state, 8) ? 12 + sl_chance(&m->state, 100) : 12 + sl_chance(&m->state, 1900);
    memset(name, 'n', sizeof name);
    (void)snprintf(name, sizeof name, "%02u %06u ", scope, m->added[scope]);
    name[10] = 'n';
    CHECK(sl_pb_put_str(&c, 5, sl_str_of(name, len)));
    return sl_str_of(room, (size_t)((char *)c.at - room));
}

static sl_str span_name(sl_str item)
{
    sl_pb_reader r = sl_pb_reader_of(item);
    sl_pb_field f;
    return sl_pb_next(&r, &f) && sl_pb_is(&f, 5, SL_PB_LEN) ? f.bytes : sl_str_of(NULL, 0);
}

static void check_item(model *m, const sl_otlp_records *it)
{
    unsigned scope = SCOPES;
    for (unsigned i = 0; i < SCOPES; i++) {
        if (sl_str_eq(it->scope.head, m->scopes[i].scope))
            scope = i;
    }
    char wanted[16];
    REQUIRE(scope < SCOPES);
    (void)snprintf(wanted, sizeof wanted, "%02u %06u ", scope, m->told[scope]++);
    CHECK(sl_str_starts(span_name(it->item), sl_str_c(wanted)));
    CHECK_STR_EQ(it->scope.schema_url, m->scopes[scope].schema_url);
    CHECK_STR_EQ(it->resource.schema_url, m->batch.resource_schema_url);
    sl_str own = m->scopes[scope].resource;
    CHECK_STR_EQ(it->resource.head, own.len ? own : m->batch.resource);
}

static void finish(model *m)
{
    sl_request *r = NULL;
    size_t bound = m->batch.bytes, items = 0;
    REQUIRE(sl_batch_finish(&m->batch, &r) == 0);
    if (!r)
        return;
    CHECK(r->bytes.len <= m->max_bytes && r->bytes.len <= bound);
    CHECK(r->items <= m->max_items);
    sl_otlp_records it = sl_otlp_records_of(r->bytes);
    for (; sl_otlp_records_next(&it); items++)
        check_item(m, &it);
    CHECK_EQ(it.error, 0);
    CHECK_EQ(items, r->items);
    sl_request_free(r);
}

static void add_one(model *m)
{
    char room[2200];
    unsigned scope = sl_chance(&m->state, SCOPES);
    sl_str item = make_item(m, scope, room, sizeof room);
    int error = sl_batch_add(&m->batch, &m->scopes[scope], item, 1);
    if (error == SL_EAGAIN) {
        CHECK(m->batch.items > 0);
        finish(m);
        error = sl_batch_add(&m->batch, &m->scopes[scope], item, 1);
    }
    CHECK(error == 0 || error == SL_ETOOBIG);
    /* A name can be cut to 64 bytes: only the frames themselves can be too large. */
    size_t frames = m->batch.resource_schema_url.len + m->scopes[scope].schema_url.len;
    CHECK(error == 0 || frames + 600 > m->max_bytes);
    m->added[scope] += error == 0;
}

SL_TEST(what_is_taken_comes_out_once_within_the_limits)
{
    static model m;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        begin(&m, seed);
        for (unsigned i = 0; i < 120; i++)
            add_one(&m);
        finish(&m);
        for (unsigned i = 0; i < SCOPES; i++)
            CHECK_EQ(m.told[i], m.added[i]);
        sl_batch_done(&m.batch);
    }
}
