/* Which frames are worth a closer look. */
#include <stdlib.h>

#include "src/gateway/gw_impl.h"
#include "tests/harness/sl_test.h"

typedef struct row {
    const char *data;
    bool tells;
} row;

static const row rows[] = {
    {"", false},
    {"{}", false},
    {"[DONE]", false},
    {"{\"choices\":[{\"delta\":{\"content\":\"usage and finish_reason\"},\"finish_reason\":null}],\"usage\":null}",
     false},
    {"{\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}", true},
    {"{\"choices\":[],\"usage\":{\"prompt_tokens\":1}}", true},
    {"{\"usage\" : \t{\"prompt_tokens\":1}}", true},
    {"{\"usage\" : \r\n null}", false},
    {"{\"usage\":null,\"usage\":{}}", true},
    {"{\"finish_reason\":null,\"finish_reason\":\"length\"}", true},
    {"{\"usage_more\":{},\"xusage\":{},\"Usage\":{}}", false},
    {"{\"finish_reasons\":[\"stop\"]}", false},
    {"\"\"\"u\"\"f\"us\"\"fi", false},
    {"{\"usage\"", true}, /* cut: unknown, so look */
    {"{\"usage", false},
    {"{\"usag", false},
};

/* Behind any number of bytes, so that the name lies anywhere in the words that are looked at at once. */
SL_TEST(what_is_worth_a_closer_look)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t before = 0; before < 40; before++) {
            size_t len = before + strlen(rows[i].data);
            char *text = malloc(len ? len : 1); /* no byte more: a sanitizer sees what reads behind the end */
            memset(text, 'x', before);
            memcpy(text + before, rows[i].data, len - before);
            if (sl_gw_may_tell(sl_str_of(text, len)) != rows[i].tells)
                sl_test_failed(__FILE__, __LINE__, "row %zu behind %zu bytes", i, before);
            free(text);
        }
    }
}

/* What the closer look finds is never passed over. */
SL_TEST(nothing_that_tells_is_passed_over)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_frame_kind kind = sl_frame_look(sl_str_c(rows[i].data));
        if (kind.usage || kind.finish)
            CHECK(rows[i].tells);
    }
}
