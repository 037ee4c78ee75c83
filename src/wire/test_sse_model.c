/*
 * Streams of server-sent events by chance, against the steps of the specification as they stand there (WHATWG HTML,
 * 9.2.6): the same events, however the stream is cut into pieces.
 */
#include "src/wire/sse.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define STREAM 400
#define TOLD 4096

/* What was dispatched: "type|data;" for each event. */
typedef struct told {
    char text[TOLD];
    size_t len;
} told;

static void tell(told *t, sl_str type, sl_str data)
{
    int n = snprintf(t->text + t->len, sizeof t->text - t->len, "%.*s|%.*s;", (int)type.len, type.ptr, (int)data.len,
                     data.ptr);
    t->len += (size_t)n < sizeof t->text - t->len ? (size_t)n : 0;
}

/* ---- the specification ---- */

/* The event that is being put together. */
typedef struct buffers {
    char type[STREAM], data[2 * STREAM];
    size_t type_len, data_len;
    bool has_data;
} buffers;

static void dispatch(buffers *b, told *t)
{
    sl_str type = b->type_len ? sl_str_of(b->type, b->type_len) : SL_STR("message");
    if (b->has_data) /* one LF at the end goes */
        tell(t, type, sl_str_of(b->data, b->data_len - 1));
    *b = (buffers){.type_len = 0};
}

static void interpret(buffers *b, sl_str line)
{
    size_t colon = sl_str_chr(line, ':');
    sl_str name = sl_str_sub(line, 0, colon), value = SL_STR("");
    if (colon == 0)
        return; /* a comment */
    if (colon != SL_NPOS) {
        value = sl_str_sub(line, colon + 1, SL_NPOS);
        if (value.len && value.ptr[0] == ' ')
            value = sl_str_sub(value, 1, SL_NPOS);
    }
    if (sl_str_eq_c(name, "event")) {
        memcpy(b->type, value.ptr, value.len);
        b->type_len = value.len;
    } else if (sl_str_eq_c(name, "data")) {
        memcpy(b->data + b->data_len, value.ptr, value.len);
        b->data_len += value.len;
        b->data[b->data_len++] = '\n';
        b->has_data = true;
    }
}

/* Lines end with CR LF, LF or CR; an empty one dispatches. A stream's unfinished event is thrown away. */
static void by_the_steps(sl_str stream, told *t)
{
    buffers b = {.type_len = 0};
    if (sl_str_starts(stream, SL_STR("\xEF\xBB\xBF")))
        stream = sl_str_sub(stream, 3, SL_NPOS);
    for (size_t at = 0, from = 0; at < stream.len; at++) {
        if (stream.ptr[at] != '\n' && stream.ptr[at] != '\r')
            continue;
        sl_str line = sl_str_sub(stream, from, at - from);
        if (line.len)
            interpret(&b, line);
        else
            dispatch(&b, t);
        if (stream.ptr[at] == '\r' && at + 1 < stream.len && stream.ptr[at + 1] == '\n')
            at++;
        from = at + 1;
    }
}

/* ---- the code ---- */

static void take(const sl_sse_frame *frame, told *t)
{
    sl_buf scratch;
    sl_str data, type = SL_STR("");
    CHECK(!frame->cut && frame->bytes.len > 0);
    sl_buf_init(&scratch, 4 * STREAM);
    if (sl_sse_frame_data(frame, &scratch, &data) == 0) {
        if (!sl_sse_frame_field(frame, SL_STR("event"), &type) || !type.len)
            type = SL_STR("message");
        tell(t, type, data);
    }
    sl_buf_done(&scratch);
}

static void by_the_code(sl_str stream, size_t most, uint64_t *chance, told *t)
{
    sl_sse sse;
    sl_sse_frame frame;
    sl_sse_init(&sse, 4 * STREAM);
    for (size_t at = 0; at < stream.len;) {
        size_t len = 1 + sl_chance(chance, (unsigned)(stream.len - at < most ? stream.len - at : most));
        char *exact = malloc(len); /* so that reading beyond it, or after it is gone, is seen */
        memcpy(exact, stream.ptr + at, len);
        sl_str bytes = sl_str_of(exact, len);
        while (sl_sse_next(&sse, &bytes, &frame) == 0)
            take(&frame, t);
        CHECK_EQ(bytes.len, 0);
        free(exact);
        at += len;
    }
    sl_sse_done(&sse);
}

/* A stream of words that mean something, and of single bytes that may. */
static size_t any_stream(uint64_t *chance, char text[STREAM])
{
    static const char *const words[] = {"data", "data:", "data: ", "event:",       "event: x",    "id: 1",
                                        "\n",   "\n",    "\r",     "\r\n",         ":",           " ",
                                        "\n\n", "\r\r",  "a",      "data: {}\n\n", "\xEF\xBB\xBF"};
    size_t len = 0;
    if (sl_chance(chance, 6) == 0)
        len = (size_t)sprintf(text, "\xEF\xBB\xBF");
    for (unsigned n = sl_chance(chance, 40); n > 0 && len + 16 < STREAM; n--)
        len += (size_t)sprintf(text + len, "%s", words[sl_chance(chance, sizeof words / sizeof *words)]);
    return len;
}

SL_TEST(events_are_those_of_the_specification)
{
    static const size_t pieces[] = {1, 2, 5, 50, STREAM};
    size_t dispatched = 0;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        uint64_t chance = seed;
        char text[STREAM];
        sl_str stream = sl_str_of(text, any_stream(&chance, text));
        told want = {.len = 0};
        by_the_steps(stream, &want);
        dispatched += want.len > 0;
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            told got = {.len = 0};
            by_the_code(stream, pieces[i], &chance, &got);
            if (got.len != want.len || memcmp(got.text, want.text, want.len) != 0) {
                sl_test_failed(__FILE__, __LINE__, "seed %llu in pieces of %zu: '%.*s', not '%.*s', of '%.*s'",
                               (unsigned long long)seed, pieces[i], (int)got.len, got.text, (int)want.len, want.text,
                               (int)stream.len, stream.ptr);
                return;
            }
        }
    }
    CHECK(dispatched > 1000);
}

/* What the frames of a stream leave out is empty lines alone: put together they are the stream. */
SL_TEST(frames_hold_every_line)
{
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        uint64_t chance = seed;
        char text[STREAM], kept[STREAM + 1];
        size_t len = any_stream(&chance, text), from = 0, lines = 0, seen = 0;
        sl_sse sse;
        sl_sse_frame frame;
        if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
            from = 3;
        for (size_t at = from, begun = from; at <= len; at++) { /* lines that are not empty */
            if (at == len || text[at] == '\n' || text[at] == '\r') {
                lines += at > begun;
                begun = at + 1;
            }
        }
        memcpy(kept, text, len);
        sl_str bytes = sl_str_of(kept, len), name, value;
        sl_sse_init(&sse, 0);
        int more = 0;
        do {
            more = sl_sse_next(&sse, &bytes, &frame);
            if (more && sl_sse_finish(&sse, &frame) != 0)
                break;
            for (sl_str rest = frame.bytes; sl_sse_line_next(&rest, &name, &value);)
                seen++;
        } while (!more);
        if (seen != lines)
            sl_test_failed(__FILE__, __LINE__, "seed %llu: %zu lines of %zu in '%.*s'", (unsigned long long)seed, seen,
                           lines, (int)len, text);
        sl_sse_done(&sse);
    }
}
