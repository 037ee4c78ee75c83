/* For tests: one ResourceSpans message with everything that a span can have, written field by field. */
#ifndef SL_WIRE_TEST_SPAN_FIXTURE_H
#define SL_WIRE_TEST_SPAN_FIXTURE_H

#include "src/wire/otlp_encode.h"
#include "tests/harness/sl_test.h"

/* Ids of sixteen and eight bytes. */
#define FX_TRACE SL_STR("\xFE\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0A\x0B\x0C\x0D\x0E\x0F")
#define FX_SPAN SL_STR("\x80\x00\x00\x00\x00\x00\x00\x02")
#define FX_PARENT SL_STR("\x00\x00\x00\x00\x00\x00\x00\x03")
#define FX_OTHER SL_STR("\x10\x10\x10\x10\x10\x10\x10\x10\x20\x20\x20\x20\x20\x20\x20\x20")
#define FX_FAR SL_STR("\x00\x00\x00\x00\x00\x00\x00\x09")
#define FX_START 1700000000000000999u
#define FX_END 1700000000001234998u

static inline void fx_attr(sl_buf *b, uint32_t field, const char *key, sl_value value)
{
    sl_attr attr = {sl_str_c(key), value};
    CHECK_EQ(sl_otlp_buf_attr(b, field, &attr, SL_OTLP_NO_LIMIT), 0);
}

static inline void fx_str(sl_buf *b, uint32_t field, const char *key, const char *value)
{
    fx_attr(b, field, key, sl_value_cstr(value));
}

static inline size_t fx_open(sl_buf *b, uint32_t field)
{
    size_t mark = 0;
    CHECK_EQ(sl_pb_buf_open(b, field, &mark), 0);
    return mark;
}

/* Ids, name, kind and times of a span. */
static inline void fx_span_head(sl_buf *b, sl_str trace, sl_str span, const char *name, uint32_t kind)
{
    (void)sl_pb_buf_str(b, 1, trace);
    (void)sl_pb_buf_str(b, 2, span);
    (void)sl_pb_buf_str(b, 5, sl_str_c(name));
    (void)sl_pb_buf_uint(b, 6, kind);
    (void)sl_pb_buf_fixed64(b, 7, FX_START);
    (void)sl_pb_buf_fixed64(b, 8, FX_END);
}

static inline void fx_event(sl_buf *b, const char *name, uint64_t ns, const char *key, const char *value,
                            uint32_t dropped)
{
    size_t mark = fx_open(b, 11);
    (void)sl_pb_buf_fixed64(b, 1, ns);
    (void)sl_pb_buf_str(b, 2, sl_str_c(name));
    if (key)
        fx_str(b, 3, key, value);
    if (dropped)
        (void)sl_pb_buf_uint(b, 4, dropped);
    sl_pb_buf_close(b, mark);
}

static inline void fx_link(sl_buf *b, sl_str trace, sl_str span, const char *key, const char *value)
{
    size_t mark = fx_open(b, 13);
    (void)sl_pb_buf_str(b, 1, trace);
    (void)sl_pb_buf_str(b, 2, span);
    if (key)
        fx_str(b, 4, key, value);
    sl_pb_buf_close(b, mark);
}

static inline void fx_status(sl_buf *b, uint32_t code, const char *message)
{
    size_t mark = fx_open(b, 15);
    if (message)
        (void)sl_pb_buf_str(b, 2, sl_str_c(message));
    (void)sl_pb_buf_uint(b, 3, code);
    sl_pb_buf_close(b, mark);
}

/* What stands around spans: a resource, and a scope. `write` writes one span (the contents of the message). */
static inline void fx_resource_spans(sl_buf *b, const char *service, const char *scope,
                                     void (*const *writers)(sl_buf *))
{
    size_t resource = fx_open(b, 1);
    if (service)
        fx_str(b, 1, "service.name", service);
    fx_attr(b, 1, "process.pid", sl_value_int(7));
    sl_pb_buf_close(b, resource);
    size_t group = fx_open(b, 2), head = fx_open(b, 1);
    if (scope) {
        (void)sl_pb_buf_str(b, 1, sl_str_c(scope));
        (void)sl_pb_buf_str(b, 2, SL_STR("1.2"));
    }
    sl_pb_buf_close(b, head);
    for (; *writers; writers++) {
        size_t span = fx_open(b, 2);
        (*writers)(b);
        sl_pb_buf_close(b, span);
    }
    sl_pb_buf_close(b, group);
}

/* A span with nothing but what it must have. */
static inline void fx_small_span(sl_buf *b)
{
    fx_span_head(b, FX_TRACE, FX_SPAN, "a", 1);
}

/* A client's span with everything. */
static inline void fx_full_span(sl_buf *b)
{
    static const sl_value items[] = {{.type = SL_VALUE_INT, .as.integer = 1},
                                     {.type = SL_VALUE_STRING, .as.str = {"x\"y", 3}}};
    sl_value list = sl_value_empty();
    list.type = SL_VALUE_ARRAY;
    list.as.array.items = items;
    list.as.array.count = 2;
    fx_span_head(b, FX_TRACE, FX_SPAN, "call", 3);
    (void)sl_pb_buf_str(b, 3, SL_STR("k=v"));
    (void)sl_pb_buf_str(b, 4, FX_PARENT);
    fx_str(b, 9, "server.address", "api.example");
    fx_attr(b, 9, "n", sl_value_int(-5));
    fx_attr(b, 9, "d", sl_value_double(0.5));
    fx_attr(b, 9, "t", sl_value_bool(true));
    fx_attr(b, 9, "raw", sl_value_bytes("\x00\xFF", 2));
    fx_attr(b, 9, "list", list);
    fx_str(b, 9, "error", "mine");
    (void)sl_pb_buf_uint(b, 10, 2);
    fx_event(b, "retry", FX_START + 5000, "reason", "429", 1);
    fx_event(b, "bare", FX_START + 9000, NULL, NULL, 0);
    (void)sl_pb_buf_uint(b, 12, 3);
    fx_link(b, FX_OTHER, FX_FAR, NULL, NULL);
    fx_link(b, FX_OTHER, FX_SPAN, "why", "batch");
    (void)sl_pb_buf_uint(b, 14, 4);
    fx_status(b, 2, "boom");
}

#endif
