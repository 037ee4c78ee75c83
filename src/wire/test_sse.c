/* Frames of event streams: every line end, every split, bounds, fields. */
#include "src/wire/sse.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "tests/harness/sl_test.h"

struct row {
    const char *text;
    const char *frames; /* joined by '|' */
    const char *last;   /* what sl_sse_finish gives; NULL: nothing */
};

static const struct row rows[] = {
    {"", "", NULL},
    {"data: a\n\n", "data: a\n|", NULL},
    {"data: a\n\ndata: b\n\n", "data: a\n|data: b\n|", NULL},
    {"data: a\r\n\r\ndata: b\r\n\r\n", "data: a\r\n|data: b\r\n|", NULL},
    {"data: a\r\rdata: b\r\r", "data: a\r|data: b\r|", NULL},
    {"data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\n\r", "data: a\n|data: b\r\n|data: c\r\n|data: d\n|", NULL},
    {"event: x\ndata: a\ndata: b\n\n", "event: x\ndata: a\ndata: b\n|", NULL},
    {": ping\n\ndata: a\n\n", ": ping\n|data: a\n|", NULL},
    {"\n\n\ndata: a\n\n\n\n", "data: a\n|", NULL},
    {"\r\n\r\ndata: a\r\n\r\n\r\n", "data: a\r\n|", NULL},
    {"data: a\n", "", "data: a\n"},
    {"data: a", "", "data: a"},
    {"data: a\r\n", "", "data: a\r\n"},
    {"data: a\n\ndata: [DONE]", "data: a\n|", "data: [DONE]"},
    {"\xEF\xBB\xBF"
     "data: a\n\n",
     "data: a\n|", NULL},
    {"\xEF\xBB"
     "data: a\n\n",
     "\xEF\xBB"
     "data: a\n|",
     NULL},
    {"\xEF\n\nx\n\n", "\xEF\n|x\n|", NULL},
    {"data: a\n\n\xEF\xBB\xBF"
     "b\n\n",
     "data: a\n|\xEF\xBB\xBF"
     "b\n|",
     NULL},
    {"data: a frame of more than sixteen bytes in its first line\ndata: and another one in the second\n\nx\n\n",
     "data: a frame of more than sixteen bytes in its first line\ndata: and another one in the second\n|x\n|", NULL},
};

static void put_frame(sl_buf *out, const sl_sse_frame *frame)
{
    (void)sl_buf_put_str(out, frame->cut ? SL_STR("CUT") : frame->bytes);
    (void)sl_buf_put_char(out, '|');
}

/* Feeds an exact heap copy of a piece, freed after, and gathers the frames that end in it. */
static void feed_piece(sl_sse *sse, sl_str piece, sl_buf *out)
{
    char *copy = malloc(piece.len + 1);
    memcpy(copy, piece.ptr, piece.len);
    sl_str rest = sl_str_of(copy, piece.len);
    sl_sse_frame frame;
    while (sl_sse_next(sse, &rest, &frame) == 0)
        put_frame(out, &frame);
    CHECK_EQ(rest.len, 0);
    free(copy);
}

static void check_row(const struct row *row, size_t step, size_t first)
{
    sl_sse sse;
    sl_sse_frame frame;
    sl_buf out;
    sl_str text = sl_str_c(row->text);
    sl_sse_init(&sse, 0);
    sl_buf_init(&out, 4096);
    feed_piece(&sse, sl_str_sub(text, 0, first), &out);
    for (size_t at = first; at < text.len; at += step)
        feed_piece(&sse, sl_str_sub(text, at, step), &out);
    CHECK_STR(sl_buf_str(&out), row->frames);
    int rc = sl_sse_finish(&sse, &frame);
    CHECK_EQ(rc, row->last ? 0 : SL_ENOENT);
    if (rc == 0 && row->last)
        CHECK_STR(frame.bytes, row->last);
    CHECK_EQ(sl_sse_finish(&sse, &frame), SL_ENOENT);
    sl_sse_done(&sse);
    sl_buf_done(&out);
}

static void check_two_cuts(const struct row *row, size_t first, size_t second)
{
    sl_sse sse;
    sl_sse_frame frame;
    sl_buf out;
    sl_str text = sl_str_c(row->text);
    sl_sse_init(&sse, 0);
    sl_buf_init(&out, 4096);
    feed_piece(&sse, sl_str_sub(text, 0, first), &out);
    feed_piece(&sse, sl_str_sub(text, first, second - first), &out);
    feed_piece(&sse, sl_str_sub(text, second, SL_NPOS), &out);
    CHECK_STR(sl_buf_str(&out), row->frames);
    CHECK_EQ(sl_sse_finish(&sse, &frame), row->last ? 0 : SL_ENOENT);
    sl_sse_done(&sse);
    sl_buf_done(&out);
}

/* What a client sees of a frame. */
typedef struct client_event {
    sl_str event; /* "message" when not named */
    sl_str data;
    sl_str id; /* empty when not given; one that holds a NUL is ignored */
} client_event;

/* As a client reads it: SL_ENOENT when there is no data, nothing is dispatched then. */
static int read_event(const sl_sse_frame *frame, sl_buf *scratch, client_event *ret_event)
{
    client_event event = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
    int error = sl_sse_frame_data(frame, scratch, &event.data);
    if (error)
        return error;
    sl_str rest = frame->bytes, name, value;
    while (sl_sse_line_next(&rest, &name, &value)) {
        if (sl_str_eq(name, SL_STR("event")))
            event.event = value;
        else if (sl_str_eq(name, SL_STR("id")) && sl_str_chr(value, '\0') == SL_NPOS)
            event.id = value;
    }
    if (event.event.len == 0)
        event.event = SL_STR("message");
    *ret_event = event;
    return 0;
}

SL_TEST(sse_frames_at_every_split)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t len = strlen(rows[i].text);
        for (size_t step = 1; step <= len + 1; step++)
            check_row(&rows[i], step, 0);
        for (size_t first = 0; first <= len; first++)
            check_row(&rows[i], len + 1, first);
        /* Two cuts: the second one wherever the step puts it. */
        for (size_t first = 1; first < len && len < 60; first++) {
            for (size_t step = 1; first + step < len; step++)
                check_two_cuts(&rows[i], first, first + step);
        }
    }
}

SL_TEST(sse_whole_frames_are_not_copied)
{
    sl_sse sse;
    sl_sse_frame frame;
    sl_str text = SL_STR("data: a\n\ndata: b\n\n"), rest = text;
    size_t before = sl_test_alloc_count();
    sl_sse_init(&sse, 0);
    CHECK_EQ(sl_sse_next(&sse, &rest, &frame), 0);
    CHECK(frame.bytes.ptr == text.ptr);
    CHECK_EQ(rest.ptr - text.ptr, 9);
    CHECK_EQ(sl_sse_next(&sse, &rest, &frame), 0);
    CHECK(frame.bytes.ptr == text.ptr + 9);
    CHECK_EQ(rest.len, 0);
    CHECK_EQ(sse.frames, 2);
    CHECK_EQ(sl_test_alloc_count(), before);
    sl_sse_done(&sse);
    sl_sse_done(NULL);
}

SL_TEST(sse_large_frames_are_cut_and_the_stream_goes_on)
{
    static const char text[] = "data: 12\n\ndata: 123456789\n\ndata: 34\n\ndata: 123456789";
    for (size_t step = 1; step <= sizeof text; step++) {
        sl_sse sse;
        sl_sse_frame frame;
        sl_buf out;
        sl_sse_init(&sse, 10);
        sl_buf_init(&out, 4096);
        for (size_t at = 0; at < sizeof text - 1; at += step)
            feed_piece(&sse, sl_str_sub(sl_str_c(text), at, step), &out);
        CHECK_STR(sl_buf_str(&out), "data: 12\n|CUT|data: 34\n|");
        CHECK_EQ(sl_sse_finish(&sse, &frame), 0);
        CHECK(frame.cut);
        CHECK_EQ(frame.bytes.len, 0);
        sl_sse_done(&sse);
        sl_buf_done(&out);
    }
}

SL_TEST(sse_without_memory_is_cut)
{
    sl_sse sse;
    sl_buf out;
    sl_sse_init(&sse, 0);
    sl_buf_init(&out, 4096);
    CHECK_EQ(sl_buf_reserve(&out, 1000), 0);
    sl_test_fail_alloc(0);
    feed_piece(&sse, SL_STR("data: a"), &out);
    CHECK(sl_test_alloc_failed());
    feed_piece(&sse, SL_STR("b\n\ndata: c\n\nda"), &out);
    feed_piece(&sse, SL_STR("ta: d\n\n"), &out);
    CHECK_STR(sl_buf_str(&out), "CUT|data: c\n|data: d\n|");
    sl_sse_done(&sse);
    sl_buf_done(&out);
}

SL_TEST(sse_fields)
{
    sl_sse_frame frame = {
        SL_STR("event: one\n: note\nid:7\nevent:two\nevents: x\ndata\nretry: 5\r\ndata:  b:c\rdata:d"), false};
    static const char *const want[][2] = {{"event", "one"}, {"", "note"},     {"id", "7"},
                                          {"event", "two"}, {"events", "x"},  {"data", ""},
                                          {"retry", "5"},   {"data", " b:c"}, {"data", "d"}};
    sl_str rest = frame.bytes, name, value;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        REQUIRE(sl_sse_line_next(&rest, &name, &value));
        CHECK_STR(name, want[i][0]);
        CHECK_STR(value, want[i][1]);
    }
    CHECK(!sl_sse_line_next(&rest, &name, &value));
    CHECK(sl_sse_frame_field(&frame, SL_STR("event"), &value));
    CHECK_STR(value, "two");
    CHECK(!sl_sse_frame_field(&frame, SL_STR("Event"), &value));
    sl_buf scratch;
    client_event event;
    sl_buf_init(&scratch, 100);
    CHECK_EQ(read_event(&frame, &scratch, &event), 0);
    CHECK_STR(event.event, "two");
    CHECK_STR(event.id, "7");
    CHECK_STR(event.data, "\n b:c\nd");
    CHECK_EQ(sl_sse_frame_data(&frame, NULL, &value), SL_EINVAL);
    sl_buf_done(&scratch);
    sl_buf_init(&scratch, 3);
    CHECK_EQ(sl_sse_frame_data(&frame, &scratch, &value), SL_ELIMIT);
    sl_buf_done(&scratch);
}

SL_TEST(sse_data)
{
    sl_str data;
    client_event event;
    sl_sse_frame frame = {SL_STR("data: {\"usage\":null}\n"), false};
    CHECK_EQ(sl_sse_frame_data(&frame, NULL, &data), 0);
    CHECK_STR(data, "{\"usage\":null}");
    CHECK(data.ptr == frame.bytes.ptr + 6);
    CHECK(sl_sse_frame_has(&frame, SL_STR("\"usage\"")));
    CHECK(!sl_sse_frame_has(&frame, SL_STR("\"Usage\"")));
    CHECK(!sl_sse_frame_is_done(&frame));
    CHECK_EQ(read_event(&frame, NULL, &event), 0);
    CHECK_STR(event.event, "message");
    frame.bytes = SL_STR("data: [DONE]\r\n");
    CHECK(sl_sse_frame_is_done(&frame));
    frame.bytes = SL_STR("data:[DONE]");
    CHECK(sl_sse_frame_is_done(&frame));
    frame.bytes = SL_STR(": ping\n");
    CHECK_EQ(sl_sse_frame_data(&frame, NULL, &data), SL_ENOENT);
    CHECK_EQ(read_event(&frame, NULL, &event), SL_ENOENT);
    CHECK(!sl_sse_frame_is_done(&frame));
    frame.bytes = sl_str_of(NULL, 0);
    CHECK(!sl_sse_frame_has(&frame, SL_STR("a")));
    CHECK_EQ(sl_sse_frame_data(&frame, NULL, &data), SL_ENOENT);
}

/*
 * WHATWG HTML, 9.2.6: what a stream dispatches, as "event|id|data;" each. The examples of 9.2.5 and each rule of the
 * parsing and interpreting steps. An event that the stream leaves unfinished is given here too, behind a '+'.
 */
static const struct {
    sl_str stream;
    const char *events;
} dispatches[] = {
#define STREAM(text)                                                                                                   \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }
    {STREAM(""), ""},
    {STREAM("data: first\ndata: second\n\n"), "message||first\nsecond;"},
    {STREAM(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n"),
     "message|1|first event;message||second event;message|| third event;"},
    {STREAM("data\n\ndata\ndata\n\ndata:\n"), "message||;message||\n;+message||;"},
    {STREAM("data:test\n\ndata: test\n\n"), "message||test;message||test;"},
    {STREAM("event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n"), "add||73857293;remove||2153;"},
    {STREAM("event: a\n\ndata: b\n\n"), "message||b;"},       /* no data: the type is forgotten */
    {STREAM("event: a\nevent:\ndata: b\n\n"), "message||b;"}, /* an empty type is message */
    {STREAM("event:  a\ndata: b\n\n"), " a||b;"},             /* one space goes */
    {STREAM("data:\ta\n\n"), "message||\ta;"},                /* a tab stays */
    {STREAM("data: a: b\n\n"), "message||a: b;"},             /* the first colon counts */
    {STREAM(":data: a\n\n:\n\n"), ""},
    {STREAM("Data: a\nDATA: b\ndata : c\n data: d\n\n"), ""}, /* names are compared byte by byte */
    {STREAM("foo: x\ndata: a\nbar\n\n"), "message||a;"},
    {STREAM("id: 1\nid: 2\ndata: a\n\n"), "message|2|a;"},
    {STREAM("id: 1\nid: a\0b\ndata: a\n\n"), "message|1|a;"}, /* an id with NUL is ignored */
    {STREAM("id: a\0b\ndata: a\n\n"), "message||a;"},
    {STREAM("retry: 1000\n\nretry: x\ndata: a\n\n"), "message||a;"},
    {STREAM("data: a\r\rdata: b\r\n\r\ndata: c\n\n"), "message||a;message||b;message||c;"},
    {STREAM("data: a\rdata: b\r\ndata: c\n\r\n"), "message||a\nb\nc;"},
    {STREAM("\xEF\xBB\xBF"
            "data: a\n\n\xEF\xBB\xBF"
            "data: b\n\n"),
     "message||a;"}, /* one mark, at the start */
    {STREAM("\xEF\xBB\xBF\xEF\xBB\xBF"
            "data: a\n\n"),
     ""},
    {STREAM("\xFE\xFF"
            "data: a\n\n"),
     ""},
    {STREAM("data: a\x0b"
            "b\x85"
            "c\n\n"),
     "message||a\x0b"
     "b\x85"
     "c;"}, /* no other line ends */
    {STREAM("data: \xE2\x80\xA8x\n\n"), "message||\xE2\x80\xA8x;"},
    {STREAM("\n\n\n\ndata: a\n\n\n\n"), "message||a;"},
    {STREAM("data: a"), "+message||a;"},
    {STREAM("data: a\n"), "+message||a;"},
    {STREAM("data: a\n\nevent: x\n"), "message||a;"},
#undef STREAM
};

static void put_event(const sl_sse_frame *frame, const char *mark, sl_buf *out)
{
    client_event event;
    sl_buf scratch;
    sl_buf_init(&scratch, 4096);
    if (read_event(frame, &scratch, &event) == 0) {
        (void)sl_buf_put_c(out, mark);
        (void)sl_buf_put_str(out, event.event);
        (void)sl_buf_put_char(out, '|');
        (void)sl_buf_put_str(out, event.id);
        (void)sl_buf_put_char(out, '|');
        (void)sl_buf_put_str(out, event.data);
        (void)sl_buf_put_char(out, ';');
    }
    sl_buf_done(&scratch);
}

SL_TEST(sse_dispatches_as_a_client_sees_it)
{
    for (size_t i = 0; i < sizeof dispatches / sizeof dispatches[0]; i++) {
        sl_str text = dispatches[i].stream;
        for (size_t step = 1; step <= text.len + 1; step++) {
            sl_sse sse;
            sl_sse_frame frame;
            sl_buf out;
            sl_sse_init(&sse, 0);
            sl_buf_init(&out, 4096);
            for (size_t at = 0; at < text.len; at += step) {
                sl_str rest = sl_str_sub(text, at, step);
                while (sl_sse_next(&sse, &rest, &frame) == 0)
                    put_event(&frame, "", &out);
            }
            if (sl_sse_finish(&sse, &frame) == 0)
                put_event(&frame, "+", &out);
            if (!sl_str_eq_c(sl_buf_str(&out), dispatches[i].events))
                sl_test_failed(__FILE__, __LINE__, "row %zu by %zu: %.*s", i, step, (int)out.len, out.data);
            sl_sse_done(&sse);
            sl_buf_done(&out);
        }
    }
}

SL_TEST(sse_limit_exactly)
{
    for (size_t extra = 0; extra < 2; extra++) {
        for (size_t step = 1; step < 20; step++) {
            sl_sse sse;
            sl_buf out;
            sl_str text = extra ? SL_STR("data: 12345\n\ndata: x\n\n") : SL_STR("data: 1234\n\ndata: x\n\n");
            sl_sse_init(&sse, 11); /* with its line end */
            sl_buf_init(&out, 4096);
            for (size_t at = 0; at < text.len; at += step)
                feed_piece(&sse, sl_str_sub(text, at, step), &out);
            CHECK_STR(sl_buf_str(&out), extra ? "CUT|data: x\n|" : "data: 1234\n|data: x\n|");
            CHECK_EQ(sse.frames, 2);
            sl_sse_done(&sse);
            sl_buf_done(&out);
        }
    }
}
