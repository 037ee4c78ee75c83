/* The gateway's configuration reader on any bytes. */
#include "src/llm/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_config *config = NULL;
    int error = sl_config_parse(sl_str_of((const char *)data, size), "fuzz.yaml", &config);
    if (!config)
        return 0;
    sl_buf out;
    sl_buf_init(&out, 4u << 20);
    (void)sl_config_format_diagnostics(config, &out);
    /* An error is always told, and only then. */
    if ((error == SL_ECONFIG) != (config->error_count > 0))
        __builtin_trap();
    sl_buf_done(&out);
    sl_config_free(config);
    return 0;
}
