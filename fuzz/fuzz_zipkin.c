/* A ResourceSpans message to Zipkin's JSON: refused, or a valid list with a span for each that it counts. */
#include <stdlib.h>

#include "src/wire/json_scan.h"
#include "src/wire/zipkin_json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str message = sl_str_of((const char *)data, size);
    size_t written = 0, skipped = 0;
    sl_buf out;
    sl_buf_init(&out, 8u << 20);
    (void)sl_buf_put_char(&out, ' ');
    int error = sl_otlp_to_zipkin(message, &out, &written, &skipped);
    sl_json_value root;
    if (error ? out.len != 1 : sl_json_parse(sl_buf_str(&out), &root, NULL) || sl_json_count(root) != written)
        abort();
    sl_buf_done(&out);
    return 0;
}
