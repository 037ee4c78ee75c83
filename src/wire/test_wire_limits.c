/* Maxima of the formats: at the limit, and one above. */
#include "src/wire/json_scan.h"
#include "src/wire/otlp_encode.h"
#include "src/wire/sse.h"
#include "tests/harness/sl_test.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- JSON ---- */

/* As many paths as may be watched: each finds its own member. */
SL_TEST(paths_that_are_watched)
{
    static char names[SL_JSON_MAX_PATHS + 1][8];
    static char text[SL_JSON_MAX_PATHS * 16 + 16];
    const char *paths[SL_JSON_MAX_PATHS + 1];
    sl_json_found found[SL_JSON_MAX_PATHS + 1];
    sl_json_watch watch;
    size_t at = 0;
    for (size_t i = 0; i <= SL_JSON_MAX_PATHS; i++) {
        (void)snprintf(names[i], sizeof names[i], "n%zu", i);
        paths[i] = names[i];
        at += (size_t)sprintf(text + at, "%s\"n%zu\":%zu", i ? "," : "{", i, i);
    }
    (void)sprintf(text + at, "}");
    CHECK_EQ(sl_json_watch_init(&watch, paths, SL_JSON_MAX_PATHS + 1), SL_ELIMIT);
    REQUIRE(sl_json_watch_init(&watch, paths, SL_JSON_MAX_PATHS) == 0);
    REQUIRE(sl_json_scan(sl_str_c(text), &watch, found, NULL, NULL) == 0);
    for (size_t i = 0; i < SL_JSON_MAX_PATHS; i++) {
        int64_t number = -1;
        CHECK_EQ(sl_json_i64(sl_json_at(sl_str_c(text), &found[i]), &number), 0);
        CHECK_EQ(number, i);
    }
}

/* Steps of all paths together: the outermost value is one of them. */
SL_TEST(steps_of_watched_paths)
{
    for (size_t steps = SL_JSON_MAX_NODES - 2; steps <= SL_JSON_MAX_NODES; steps++) {
        char path[2 * SL_JSON_MAX_NODES + 1] = "";
        for (size_t i = 0; i < steps; i++)
            memcpy(path + 2 * i, "a.", 2);
        path[2 * steps - 1] = 0;
        const char *paths[] = {path};
        sl_json_watch watch;
        CHECK_EQ(sl_json_watch_init(&watch, paths, 1), steps < SL_JSON_MAX_NODES ? 0 : SL_ELIMIT);
    }
}

/* ---- SSE ---- */

/* A frame of as many bytes as one may have is whole; one more, and it is cut, and the next one is whole again. */
SL_TEST(the_longest_frame_of_a_stream)
{
    for (size_t over = 0; over < 2; over++) {
        size_t len = SL_MAX_SSE_FRAME_BYTES + over;
        char *text = malloc(len + 32);
        REQUIRE(text != NULL);
        memset(text, 'x', len);
        memcpy(text, "data: ", 6);
        text[len - 1] = '\n';
        memcpy(text + len, "\ndata: next\n\n", 13);
        for (size_t piece = 65536; piece <= 1u << 20; piece *= 4) {
            sl_sse sse;
            sl_sse_frame frame;
            size_t frames = 0, whole = 0;
            sl_sse_init(&sse, 0);
            for (size_t at = 0; at < len + 13; at += piece) {
                sl_str bytes = sl_str_of(text + at, at + piece < len + 13 ? piece : len + 13 - at);
                while (sl_sse_next(&sse, &bytes, &frame) == 0) {
                    frames++;
                    whole += !frame.cut;
                    CHECK(frame.cut ? frame.bytes.len == 0 : frame.bytes.len == (frames == 1 ? len : 11));
                }
            }
            CHECK_EQ(frames, 2);
            CHECK_EQ(whole, over ? 1 : 2);
            sl_sse_done(&sse);
        }
        free(text);
    }
}

/* ---- OTLP ---- */

/* Scopes of one request; a scope that is told again is none more. */
SL_TEST(scopes_of_a_request)
{
    sl_otlp_request request;
    sl_buf out;
    sl_otlp_request_init(&request);
    sl_buf_init(&out, 1u << 20);
    for (int round = 0; round < 2; round++) { /* a request that was begun anew has all of them again */
        sl_otlp_request_begin(&request, SL_OTLP_TRACES, SL_STR(""), SL_STR(""));
        for (uint32_t id = 0; id < SL_MAX_OTLP_SCOPES; id++) {
            CHECK_EQ(sl_otlp_request_scope(&request, 7 * id, SL_STR("\x0A\x01s"), SL_STR("")), 0);
            CHECK_EQ(sl_otlp_request_item(&request, 7 * id, SL_STR("")), 0);
        }
        CHECK_EQ(sl_otlp_request_scope(&request, 1, SL_STR(""), SL_STR("")), SL_ELIMIT);
        CHECK_EQ(sl_otlp_request_item(&request, 1, SL_STR("")), SL_ENOENT);
        CHECK_EQ(sl_otlp_request_scope(&request, 7, SL_STR("\x0A\x01s"), SL_STR("")), 0);
        sl_buf_clear(&out);
        size_t size = sl_otlp_request_size(&request);
        CHECK_EQ(sl_otlp_request_end(&request, &out), 0);
        CHECK_EQ(out.len, size);
        CHECK_EQ(request.item_count, SL_MAX_OTLP_SCOPES);
    }
    sl_buf_done(&out);
    sl_otlp_request_done(&request);
}
