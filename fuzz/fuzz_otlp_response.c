/* Answers of OTLP servers in both encodings, and masking of their texts. */
#include <stdlib.h>

#include "src/wire/otlp_response.h"
#include "src/wire/redact.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *message)
{
    if (!sl_utf8_valid(sl_str_c(message)) || strlen(message) >= SL_OTLP_MESSAGE_SIZE)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str body = sl_str_of((const char *)data, size);
    for (int json = 0; json < 2; json++) {
        sl_otlp_response response;
        sl_otlp_status status;
        if (sl_otlp_response_parse(body, json == 1, &response) == 0) {
            check_text(response.message);
            if (response.rejected < 0)
                abort();
        }
        if (sl_otlp_status_parse(body, json == 1, &status) == 0)
            check_text(status.message);
    }
    sl_otlp_status status;
    if (sl_otlp_status_parse_base64(body, &status) == 0)
        check_text(status.message);
    sl_buf out;
    sl_buf_init(&out, 16u << 20);
    if (sl_redact_text(body, &out) && out.failed == 0)
        abort();
    sl_buf_done(&out);
    return 0;
}
