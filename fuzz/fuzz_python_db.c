/* Metric files of Python's prometheus_client: no crash, and a page of whole lines whatever stands in them. */
#include "src/telemetry/python_db.h"

#include <stdlib.h>

#include "src/base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Writes the merge; every line is a comment or a sample. */
static void check_page(sl_python_merge *merge, sl_prometheus_format format)
{
    sl_buf out;
    sl_buf_init(&out, 64u << 20);
    require(sl_python_merge_write(merge, format, &out) == 0);
    sl_str rest = sl_buf_str(&out), line;
    require(rest.len == 0 || sl_str_ends(rest, SL_STR("\n")));
    while (rest.len && sl_str_split(&rest, '\n', &line) && rest.ptr) {
        require(line.len > 0 && sl_str_chr(line, '\r') == SL_NPOS);
        require(sl_str_starts(line, SL_STR("# ")) || sl_str_chr(line, ' ') != SL_NPOS);
    }
    require(sl_utf8_valid(sl_buf_str(&out)));
    sl_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"counter_1.db",          "counter_2.db",      "histogram_1.db",
                                        "summary_1.db",          "gauge_all_1.db",    "gauge_livesum_1.db",
                                        "gauge_mostrecent_1.db", "gauge_liveall_2.db"};
    if (size < 1)
        return 0;
    sl_python_merge *merge = sl_python_merge_new();
    require(merge != NULL);
    /* The first byte cuts the rest into two files and names them. */
    sl_str bytes = sl_str_of((const char *)data + 1, size - 1);
    size_t half = bytes.len * (data[0] >> 6) / 3;
    (void)!sl_python_merge_add(merge, sl_str_c(names[data[0] & 7]), sl_str_sub(bytes, 0, half));
    (void)!sl_python_merge_add(merge, sl_str_c(names[data[0] >> 3 & 7]), sl_str_sub(bytes, half, SL_NPOS));
    (void)!sl_python_merge_add(merge, sl_str_sub(bytes, 0, 40), bytes);
    check_page(merge, SL_PROMETHEUS_TEXT);
    check_page(merge, SL_PROMETHEUS_OPENMETRICS);
    sl_python_merge_free(merge);
    return 0;
}
