/* A ResourceSpans message to Jaeger's Thrift: refused, or a batch that a reader of Thrift reads to its last byte. */
#include <stdlib.h>

#include "src/wire/jaeger_thrift.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct reader {
    const uint8_t *at, *end;
} reader;

static uint64_t number(reader *r, size_t bytes)
{
    uint64_t n = 0;
    if ((size_t)(r->end - r->at) < bytes)
        abort();
    for (size_t i = 0; i < bytes; i++)
        n = n << 8 | *r->at++;
    return n;
}

static void skip(reader *r, unsigned type, size_t *spans, unsigned depth);

/* The fields of a struct, their numbers rising. */
static void skip_struct(reader *r, size_t *spans, unsigned depth)
{
    unsigned type;
    uint64_t last = 0;
    while ((type = (unsigned)number(r, 1)) != 0) {
        uint64_t id = number(r, 2);
        if (id <= last)
            abort();
        last = id;
        skip(r, type, depth == 0 && id == 2 ? spans : NULL, depth + 1);
    }
}

static void skip(reader *r, unsigned type, size_t *spans, unsigned depth)
{
    uint64_t count;
    switch (type) {
    case 2:
        if (number(r, 1) > 1)
            abort();
        return;
    case 8:
        (void)number(r, 4);
        return;
    case 4:
    case 10:
        (void)number(r, 8);
        return;
    case 11:
        count = number(r, 4);
        if ((uint64_t)(r->end - r->at) < count)
            abort();
        r->at += count;
        return;
    case 12:
        skip_struct(r, NULL, depth);
        return;
    case 15:
        type = (unsigned)number(r, 1);
        count = number(r, 4);
        if (spans)
            *spans = (size_t)count;
        while (count--)
            skip(r, type, NULL, depth + 1);
        return;
    default:
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str message = sl_str_of((const char *)data, size);
    size_t written = 0, skipped = 0, spans = 0;
    sl_buf out;
    sl_buf_init(&out, 8u << 20);
    if (sl_otlp_to_jaeger(message, &out, &written, &skipped) == 0) {
        reader r = {(const uint8_t *)out.data, (const uint8_t *)out.data + out.len};
        skip_struct(&r, &spans, 0);
        if (r.at != r.end || spans != written)
            abort();
    } else if (out.len) {
        abort();
    }
    sl_buf_done(&out);
    return 0;
}
