/* traceparent, B3 and uber-trace-id: what is accepted is valid and reads back the same after formatting. */
#include <stdlib.h>

#include "src/wire/b3.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const sl_span_context *a, const sl_span_context *b)
{
    if (!sl_span_context_is_valid(a) || memcmp(a->trace_id, b->trace_id, SL_TRACE_ID_SIZE) != 0 ||
        memcmp(a->span_id, b->span_id, SL_SPAN_ID_SIZE) != 0 || a->flags != b->flags)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str header = sl_str_of((const char *)data, size);
    sl_span_context context, again;
    char text[SL_TRACEPARENT_LEN + 1], b3[SL_B3_LEN + 1], jaeger[SL_JAEGER_LEN + 1];
    if (sl_traceparent_parse(header, &context) == 0) {
        sl_traceparent_format(&context, text);
        if (sl_traceparent_parse(sl_str_c(text), &again))
            abort();
        check(&context, &again);
    }
    if (sl_b3_parse(header, &context) == 0) {
        sl_b3_format(&context, b3);
        if (sl_b3_parse(sl_str_c(b3), &again))
            abort();
        check(&context, &again);
    }
    if (sl_jaeger_parse(header, &context) == 0) {
        sl_jaeger_format(&context, jaeger);
        if (sl_jaeger_parse(sl_str_c(jaeger), &again))
            abort();
        check(&context, &again);
    }
    size_t half = size / 2;
    (void)!sl_b3_parse_multi(sl_str_of(header.ptr, half), sl_str_of(header.ptr + half, size - half), header, header,
                             &context);
    return 0;
}
