/*
 * Log lines: any bytes as a record or a request give whole lines or nothing. A line is one line, of printable valid
 * UTF-8; the JSON form is one JSON object whose level, message and timestamp are strings.
 */
#include <stdlib.h>

#include "src/telemetry/log_line.h"
#include "src/wire/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_text(sl_str line)
{
    require(line.len > 25 && line.ptr[line.len - 1] == '\n');
    line.len--;
    require(sl_utf8_valid(line));
    for (size_t i = 0; i < line.len; i++) {
        unsigned char c = (unsigned char)line.ptr[i];
        require(c >= 0x20 && c != 0x7F);
        require(c != 0xC2 || (unsigned char)line.ptr[i + 1] >= 0xA0);
    }
}

static void check_json(sl_str line)
{
    sl_json_value root;
    check_text(line);
    line.len--;
    int error = sl_json_parse(line, &root, NULL);
    require(error == 0 && root.type == SL_JSON_OBJECT);
    require(sl_json_get(root, "timestamp").type == SL_JSON_STRING);
    require(sl_json_get(root, "level").type == SL_JSON_STRING);
    require(sl_json_get(root, "message").type == SL_JSON_STRING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_str bytes = sl_str_of((const char *)data, size);
    sl_buf out;
    sl_buf_init(&out, 64u << 20);
    int text = sl_log_line(bytes, SL_LOG_TEXT, &out);
    if (text == 0)
        check_text(sl_buf_str(&out));
    require(text == 0 || out.len == 0);
    sl_buf_clear(&out);
    int json = sl_log_line(bytes, SL_LOG_JSON, &out);
    require(json == text);
    if (json == 0)
        check_json(sl_buf_str(&out));
    sl_buf_clear(&out);
    size_t lines = 0, ends = 0;
    (void)!sl_log_lines(bytes, SL_LOG_JSON, &out, &lines);
    for (size_t i = 0; i < out.len; i++)
        ends += out.data[i] == '\n';
    require(lines == ends);
    sl_buf_done(&out);
    return 0;
}
