/* tracestate: what is accepted fits, is normal (reads back the same) and takes a new member in front. */
#include <sightline/context.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512], again[512];
    size_t room = size ? (size_t)data[0] * 2 : sizeof text;
    size_t len = 0, len2 = 0;
    sl_str header = sl_str_of((const char *)data + (size ? 1 : 0), size ? size - 1 : 0);
    (void)sl_tracestate_get(header, SL_STR("foo"));
    if (sl_tracestate_parse(header, text, room, &len))
        return 0;
    require(len <= room);
    require(sl_tracestate_parse(sl_str_of(text, len), again, sizeof again, &len2) == 0);
    require(len == len2 && memcmp(text, again, len) == 0);
    require(sl_tracestate_set(sl_str_of(text, len), SL_STR("sl"), SL_STR("v"), again, sizeof again, &len2) == 0);
    require(len2 >= 4 && memcmp(again, "sl=v", 4) == 0);
    sl_str value = sl_tracestate_get(sl_str_of(again, len2), SL_STR("sl"));
    require(value.len == 1 && value.ptr[0] == 'v');
    return 0;
}
