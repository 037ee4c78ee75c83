/* Baggage: what is accepted keeps the limits, formats, and reads back with the same members. */
#include <sightline/context.h>

#include <stdlib.h>

#include "src/base/limits.h"
#include "src/wire/pct.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void same(const sl_baggage *a, const sl_baggage *b)
{
    require(sl_baggage_count(a) == sl_baggage_count(b));
    for (size_t i = 0; i < sl_baggage_count(a); i++) {
        sl_str key[2], value[2], metadata[2];
        require(sl_baggage_at(a, i, &key[0], &value[0], &metadata[0]) == 0);
        require(sl_baggage_at(b, i, &key[1], &value[1], &metadata[1]) == 0);
        require(sl_str_eq(key[0], key[1]) && sl_str_eq(value[0], value[1]) && sl_str_eq(metadata[0], metadata[1]));
        require(sl_utf8_valid(value[0]));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[SL_MAX_BAGGAGE_BYTES];
    sl_baggage *baggage = NULL, *again = NULL;
    size_t len = 0;
    if (sl_baggage_parse(sl_str_of((const char *)data, size), &baggage))
        return 0;
    require(sl_baggage_count(baggage) >= 1 && sl_baggage_count(baggage) <= SL_MAX_BAGGAGE_MEMBERS);
    require(sl_baggage_format(baggage, text, sizeof text, &len) == 0);
    require(sl_baggage_parse(sl_str_of(text, len), &again) == 0);
    same(baggage, again);
    sl_baggage_free(again);
    again = sl_baggage_copy(baggage);
    require(again != NULL);
    same(baggage, again);
    while (sl_baggage_count(again)) {
        sl_str key;
        require(sl_baggage_at(again, sl_baggage_count(again) / 2, &key, NULL, NULL) == 0);
        sl_baggage_remove(again, key);
    }
    require(sl_baggage_format(again, text, 0, &len) == 0 && len == 0);
    sl_baggage_free(again);
    sl_baggage_free(baggage);
    return 0;
}
