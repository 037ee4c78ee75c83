/* Spans for the tests of the live view: written as an exporter sends them. */
#ifndef SL_TEST_LIVE_FIXTURE_H
#define SL_TEST_LIVE_FIXTURE_H

#include "src/view/live.h"
#include "src/wire/otlp_encode.h"
#include "tests/harness/sl_test.h"

#define T0 1763116245123000000u /* 2025-11-14T10:30:45.123Z */

/* A span to be sent. */
typedef struct spec {
    uint32_t trace; /* ids are made of small numbers */
    uint32_t span, parent;
    const char *name;
    uint64_t start, end; /* after T0 */
    uint32_t kind, status;
} spec;

static void put_number_id(sl_buf *buf, uint32_t field, uint32_t number, size_t size)
{
    uint8_t id[16] = {0};
    for (size_t i = 0; i < 4; i++)
        id[i] = (uint8_t)(number >> (24 - 8 * i));
    CHECK_EQ(sl_pb_buf_bytes(buf, field, id, size), 0);
}

static void put_span(sl_buf *buf, const spec *s, sl_str more)
{
    size_t mark = 0, status = 0;
    CHECK_EQ(sl_pb_buf_open(buf, 2, &mark), 0);
    put_number_id(buf, 1, s->trace, 16);
    put_number_id(buf, 2, s->span, 8);
    if (s->parent)
        put_number_id(buf, 4, s->parent, 8);
    CHECK_EQ(sl_pb_buf_str(buf, 5, sl_str_c(s->name)), 0);
    CHECK_EQ(sl_pb_buf_uint(buf, 6, s->kind), 0);
    CHECK_EQ(sl_pb_buf_fixed64(buf, 7, T0 + s->start), 0);
    CHECK_EQ(sl_pb_buf_fixed64(buf, 8, T0 + s->end), 0);
    CHECK_EQ(sl_buf_put_str(buf, more), 0);
    if (s->status) {
        CHECK_EQ(sl_pb_buf_open(buf, 15, &status), 0);
        CHECK_EQ(sl_pb_buf_uint(buf, 3, s->status), 0);
        sl_pb_buf_close(buf, status);
    }
    sl_pb_buf_close(buf, mark);
}

/* Appends the ResourceSpans of one service. */
static void put_resource(sl_buf *buf, const char *service, const spec *specs, size_t count, sl_str more)
{
    size_t resource = 0, head = 0, scope = 0;
    sl_attr name = sl_attr_str("service.name", service);
    CHECK_EQ(sl_pb_buf_open(buf, 1, &resource), 0);
    CHECK_EQ(sl_pb_buf_open(buf, 1, &head), 0);
    CHECK_EQ(sl_otlp_buf_attr(buf, 1, &name, SL_OTLP_NO_LIMIT), 0);
    sl_pb_buf_close(buf, head);
    CHECK_EQ(sl_pb_buf_open(buf, 2, &scope), 0);
    for (size_t i = 0; i < count; i++)
        put_span(buf, &specs[i], more);
    sl_pb_buf_close(buf, scope);
    sl_pb_buf_close(buf, resource);
}

static inline int add(sl_live *live, const char *service, const spec *specs, size_t count)
{
    sl_buf buf;
    sl_buf_init(&buf, 64u << 20);
    put_resource(&buf, service, specs, count, sl_str_of(NULL, 0));
    int error = sl_live_add(live, sl_buf_str(&buf));
    sl_buf_done(&buf);
    return error;
}

#endif
