/* Base64, percent codes, hex, UTF-8: what is written reads back, what is read stays within its room. */
#include <stdlib.h>

#include "src/wire/base64.h"
#include "src/wire/json_write.h"
#include "src/wire/pct.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_base64(sl_str text, uint8_t *room)
{
    sl_buf coded;
    size_t len = SIZE_MAX;
    sl_buf_init(&coded, 1u << 24);
    require(sl_base64_encode(&coded, text) == 0 && coded.len == sl_base64_encoded_len(text.len));
    require(sl_base64_decode(sl_buf_str(&coded), room, &len) == 0);
    require(sl_str_eq(sl_str_of((const char *)room, len), text));
    /* Without its padding it reads the same. */
    sl_str bare = sl_buf_str(&coded);
    while (sl_str_ends(bare, SL_STR("=")))
        bare.len--;
    require(sl_base64_decode(bare, room, &len) == 0 && sl_str_eq(sl_str_of((const char *)room, len), text));
    sl_buf_done(&coded);
    if (sl_base64_decode(text, room, &len) == 0)
        require(len <= text.len / 4 * 3 + 2);
}

static void check_percent(sl_str text, char *room)
{
    static const sl_pct_keep_fn keeps[] = {sl_pct_unreserved, sl_pct_baggage};
    size_t len = sl_pct_decode(text, room);
    require(len <= text.len);
    for (size_t i = 0; i < 2; i++) {
        sl_buf coded;
        sl_buf_init(&coded, 1u << 24);
        require(sl_pct_buf_encode(&coded, text, keeps[i]) == 0);
        require(coded.len == sl_pct_encoded_len(text, keeps[i]));
        len = sl_pct_decode(sl_buf_str(&coded), coded.data);
        require(sl_str_eq(sl_str_of(coded.data, len), text));
        sl_buf_done(&coded);
    }
}

static void check_utf8(sl_str text, char *room)
{
    size_t len = sl_utf8_repair(text, NULL);
    require(len <= 3 * text.len && sl_utf8_repair(text, room) == len);
    sl_str repaired = sl_str_of(room, len);
    require(sl_utf8_valid(repaired) && sl_utf8_valid(text) == sl_str_eq(text, repaired));
    for (size_t max = 0; max <= len && max < 64; max++) {
        size_t cut = sl_utf8_prefix(repaired, max);
        require(cut <= max && max - cut < 4 && sl_utf8_valid(sl_str_sub(repaired, 0, cut)));
        require(sl_utf8_whole(sl_str_sub(repaired, 0, max)) == cut);
    }
    sl_buf json, again;
    sl_buf_init(&json, 1u << 24);
    sl_buf_init(&again, 1u << 24);
    require(sl_json_put_string(&json, text) == 0 && sl_json_put_string(&again, repaired) == 0);
    require(sl_str_eq(sl_buf_str(&json), sl_buf_str(&again)));
    sl_buf_done(&json);
    sl_buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str text = sl_str_of((const char *)data, size);
    char *room = malloc(3 * size + 4);
    require(room != NULL);
    check_base64(text, (uint8_t *)room);
    check_percent(text, room);
    check_utf8(text, room);
    if (size % 2 == 0 && sl_hex_decode(text, (uint8_t *)room, size / 2) == 0 && size > 0) {
        char *hex = malloc(size);
        require(hex != NULL);
        sl_hex_encode((const uint8_t *)room, size / 2, hex);
        require(sl_str_ieq(sl_str_of(hex, size), text));
        free(hex);
    }
    free(room);
    return 0;
}
