/*
 * JSON: no crash, spans within the text, walking agrees with scanning, and what is decoded and written again is the
 * same string. The input is also walked without being validated.
 */
#include "src/wire/json_scan.h"

#include <stdlib.h>

#include "src/wire/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static const char *const paths[] = {"model",
                                    "stream",
                                    "a",
                                    "a.b",
                                    "a[*]",
                                    "a[*].b",
                                    "choices[*].finish_reason",
                                    "[*]",
                                    "[*].a",
                                    "usage.prompt_tokens_details.cached_tokens"};
#define PATHS (sizeof paths / sizeof paths[0])

/* Decodes a string, writes it, decodes it again. */
static void check_string(sl_json_value value)
{
    char *text = malloc(value.raw.len), *again = malloc(value.raw.len * 3 + 8);
    size_t len = 0;
    sl_buf buf;
    sl_json_value back;
    sl_str back_text;
    EXPECT(text && again && sl_json_unescape(sl_json_string_raw(value), text, value.raw.len, &len) == 0);
    EXPECT(sl_json_string_is(value, sl_str_of(text, len)));
    sl_buf_init(&buf, 1 << 26);
    EXPECT(sl_json_put_string(&buf, sl_str_of(text, len)) == 0);
    EXPECT(sl_json_parse(sl_buf_str(&buf), &back, NULL) == 0);
    EXPECT(sl_json_string(back, again, value.raw.len * 3 + 8, &back_text) == 0);
    EXPECT(sl_str_eq(back_text, sl_str_of(text, len)));
    sl_buf_done(&buf);
    free(text);
    free(again);
}

/* Walks a value down to some depth; the number of items seen. */
static void walk(sl_json_value value, bool valid, int depth)
{
    sl_json_iter iter;
    sl_json_value key, item;
    int64_t number;
    double real;
    (void)!sl_json_i64(value, &number);
    (void)!sl_json_double(value, &real);
    if (value.type == SL_JSON_STRING && valid)
        check_string(value);
    if (depth == 0)
        return;
    sl_json_iter_init(&iter, value);
    while (sl_json_iter_next(&iter, &key, &item)) {
        EXPECT(item.raw.ptr >= value.raw.ptr && item.raw.ptr + item.raw.len <= value.raw.ptr + value.raw.len);
        if (valid && key.type == SL_JSON_STRING)
            check_string(key);
        walk(item, valid, depth - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str text = sl_str_of((const char *)data, size);
    sl_json_watch watch;
    sl_json_found found[PATHS], root, plain;
    sl_json_error error = {0, NULL};
    EXPECT(sl_json_watch_init(&watch, paths, PATHS) == 0);
    int rc = sl_json_scan(text, &watch, found, &root, &error);
    EXPECT(sl_json_scan(text, NULL, NULL, &plain, NULL) == rc);
    if (rc) {
        EXPECT(error.reason && error.offset <= size);
        for (int type = SL_JSON_NULL; type <= SL_JSON_OBJECT && size < 2000; type++)
            walk((sl_json_value){(sl_json_type)type, text}, false, 3);
        return 0;
    }
    EXPECT(root.type == plain.type && root.begin == plain.begin && root.end == plain.end);
    sl_json_value value = sl_json_at(text, &root);
    EXPECT(sl_json_count(value) == root.items);
    for (size_t i = 0; i < PATHS; i++) {
        if (found[i].type != SL_JSON_NONE) {
            sl_json_value again;
            EXPECT(found[i].begin < found[i].end && found[i].end <= size);
            EXPECT(sl_json_parse(sl_json_at(text, &found[i]).raw, &again, NULL) == 0 && again.type == found[i].type);
        }
    }
    sl_json_value model = sl_json_get(value, "model");
    EXPECT(model.type == found[0].type && (!model.raw.len || model.raw.ptr == text.ptr + found[0].begin));
    walk(value, true, 4);
    return 0;
}
