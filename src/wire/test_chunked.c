/* The strict chunked decoder: good and refused bodies as tables, each fed at every split and byte by byte. */
#include "src/wire/chunked.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/buf.h"
#include "tests/harness/sl_test.h"

/* Feeds `text` in pieces of `step` bytes; the result of the last call, decoded data, bytes consumed. */
static int decode(sl_str text, size_t step, sl_buf *out, size_t *ret_consumed, sl_chunked *chunked)
{
    size_t at = 0;
    int rc = SL_EMORE;
    sl_chunked_init(chunked);
    sl_buf_clear(out);
    while (rc == SL_EMORE && at < text.len) {
        sl_str piece = sl_str_sub(text, at, step), rest = piece, data;
        while ((rc = sl_chunked_next(chunked, &rest, &data)) == 0) {
            CHECK(data.len > 0);
            (void)sl_buf_put_str(out, data);
        }
        at += piece.len - rest.len;
    }
    *ret_consumed = at;
    return rc;
}

struct row {
    const char *what;
    sl_str text;
    int rc;
    const char *data;
    size_t behind; /* bytes that do not belong to the body */
};

#define ROW(what, text, rc, data, behind)                                                                              \
    {                                                                                                                  \
        what, {text, sizeof(text) - 1}, rc, data, behind                                                               \
    }
#define GOOD SL_CHUNKED_END
#define BAD SL_EPARSE

static const struct row rows[] = {
    ROW("empty body", "0\r\n\r\n", GOOD, "", 0),
    ROW("one chunk", "5\r\nhello\r\n0\r\n\r\n", GOOD, "hello", 0),
    ROW("two chunks", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", GOOD, "hello!", 0),
    ROW("hex of either case", "a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", GOOD, "01234567890123456789a", 0),
    ROW("leading zeros", "0005\r\nhello\r\n000\r\n\r\n", GOOD, "hello", 0),
    ROW("data looks like framing", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", GOOD, "0\r\n\r\n", 0),
    ROW("something behind", "0\r\n\r\nGET /", GOOD, "", 5),
    ROW("extension", "5;a\r\nhello\r\n0;b=c\r\n\r\n", GOOD, "hello", 0),
    ROW("quoted extension", "5;a=\"x \\\" y;\"\r\nhello\r\n0\r\n\r\n", GOOD, "hello", 0),
    ROW("several extensions", "5;a;b=c;d=\"e\";f\r\nhello\r\n0\r\n\r\n", GOOD, "hello", 0),
    ROW("trailer", "0\r\nX: a\r\nY:\r\n\r\n", GOOD, "", 0),
    ROW("sixteen digits", "0000000000000005\r\nhello\r\n0\r\n\r\n", GOOD, "hello", 0),
    ROW("many zeros at the end", "0000000000000000\r\n\r\n", GOOD, "", 0),
    ROW("empty quoted extension", "1;a=\"\"\r\nx\r\n0\r\n\r\n", GOOD, "x", 0),
    ROW("obs-text in a quoted extension", "1;a=\"\xC3\xA4\t\"\r\nx\r\n0\r\n\r\n", GOOD, "x", 0),
    ROW("extension of token characters", "1;!#$%&'*+-.^_`|~=!#$%&'*+-.^_`|~\r\nx\r\n0\r\n\r\n", GOOD, "x", 0),
    ROW("trailer that would frame", "0\r\nContent-Length: 5\r\nTransfer-Encoding: x\r\n\r\n", GOOD, "", 0),
    ROW("trailer with obs-text and tab", "0\r\nX:\t\xE9\r\n\r\n", GOOD, "", 0),
    ROW("NUL and control bytes as data", "4\r\na\r\nb\r\n0\r\n\r\n", GOOD, "a\r\nb", 0),
    ROW("unfinished size", "5", SL_EMORE, "", 0),
    ROW("unfinished data", "5\r\nhel", SL_EMORE, "hel", 0),
    ROW("without last chunk", "5\r\nhello\r\n", SL_EMORE, "hello", 0),
    ROW("without final CRLF", "5\r\nhello\r\n0\r\n", SL_EMORE, "hello", 0),
    ROW("without final LF", "0\r\n\r", SL_EMORE, "", 0),
    ROW("no size", "\r\nhello", BAD, "", 7),
    ROW("extension without size", ";a\r\n", BAD, "", 4),
    ROW("minus", "-5\r\nhello", BAD, "", 9),
    ROW("plus", "+5\r\nhello", BAD, "", 9),
    ROW("0x", "0x5\r\nhello", BAD, "", 9),
    ROW("junk behind the size", "5g\r\nhello", BAD, "", 8),
    ROW("space behind the size", "5 \r\nhello", BAD, "", 8),
    ROW("tab behind the size", "5\t\r\nhello", BAD, "", 8),
    ROW("space before the size", " 5\r\nhello", BAD, "", 9),
    ROW("comma behind the size", "5,\r\nhello", BAD, "", 8),
    ROW("bare LF behind the size", "5\nhello\r\n0\r\n\r\n", BAD, "", 13),
    ROW("bare CR behind the size", "5\rhello\r\n0\r\n\r\n", BAD, "", 12),
    ROW("bare LF behind an extension", "5;a\nhello", BAD, "", 6),
    ROW("space in an extension", "5; a\r\nhello", BAD, "", 9),
    ROW("empty extension", "5;\r\nhello", BAD, "", 7),
    ROW("extension without value", "5;a=\r\nhello", BAD, "", 7),
    ROW("extension with two equals", "5;a=b=c\r\nhello", BAD, "", 9),
    ROW("text behind a quoted value", "5;a=\"b\"c\r\nhello", BAD, "", 8),
    ROW("CR in a quoted value", "5;a=\"b\r\n\"\r\n", BAD, "", 5),
    ROW("LF escaped in a quoted value", "5;a=\"\\\n\"\r\n", BAD, "", 4),
    ROW("data without CRLF", "5\r\nhello0\r\n\r\n", BAD, "hello", 5),
    ROW("data with bare LF", "5\r\nhello\n0\r\n\r\n", BAD, "hello", 6),
    ROW("data with CR only", "5\r\nhello\r0\r\n\r\n", BAD, "hello", 5),
    ROW("longer data", "5\r\nhello!\r\n0\r\n\r\n", BAD, "hello", 8),
    ROW("folded trailer", "0\r\nX: a\r\n b\r\n\r\n", BAD, "", 6),
    ROW("space in a trailer name", "0\r\nX : a\r\n\r\n", BAD, "", 8),
    ROW("trailer without name", "0\r\n: a\r\n\r\n", BAD, "", 7),
    ROW("trailer without colon", "0\r\nX\r\n\r\n", BAD, "", 4),
    ROW("NUL in a trailer", "0\r\nX: \0\r\n\r\n", BAD, "", 5),
    ROW("bare LF behind a trailer", "0\r\nX: a\n\r\n", BAD, "", 3),
    ROW("bare LF at the end", "0\r\n\n", BAD, "", 1),
    ROW("CR without LF at the end", "0\r\n\rX", BAD, "", 1),
    ROW("comma as a number", "1,000\r\nx", BAD, "", 7),
    ROW("underscore in a size", "1_0\r\nx", BAD, "", 5),
    ROW("NUL behind the size", "5\0\r\nhello", BAD, "", 8),
    ROW("vertical tab behind the size", "5\x0b\r\nhello", BAD, "", 8),
    ROW("non-ASCII digit", "\xEF\xBC\x95\r\nhello", BAD, "", 10),
    ROW("dot", "5.\r\nhello", BAD, "", 8),
    ROW("h as in assembler", "5h\r\nhello", BAD, "", 8),
    ROW("two CR behind the size", "5\r\r\nhello", BAD, "", 7),
    ROW("LF CR behind the size", "5\n\rhello", BAD, "", 7),
    ROW("space before an extension", "5 ;a\r\nhello", BAD, "", 10),
    ROW("space behind an extension", "5;a \r\nhello", BAD, "", 8),
    ROW("space around equals", "5;a =b\r\nhello", BAD, "", 10),
    ROW("space behind equals", "5;a= b\r\nhello", BAD, "", 9),
    ROW("quoted name", "5;\"a\"\r\nhello", BAD, "", 10),
    ROW("two semicolons", "5;;a\r\nhello", BAD, "", 9),
    ROW("NUL in an extension", "5;a\0\r\nhello", BAD, "", 8),
    ROW("NUL in a quoted extension", "5;a=\"\0\"\r\nhello", BAD, "", 9),
    ROW("DEL in a quoted extension", "5;a=\"\x7f\"\r\nhello", BAD, "", 9),
    ROW("empty line before a size", "5\r\nhello\r\n\r\n0\r\n\r\n", BAD, "hello", 7),
    ROW("two CRLF behind data", "1\r\nx\r\n\r\n", BAD, "x", 2),
    ROW("shorter data", "6\r\nhello\r\n0\r\n\r\n", BAD, "hello\r", 6),
    ROW("request within the extension", "0;\nGET / HTTP/1.1\r\n\r\n", BAD, "", 19),
    ROW("trailer with bare CR", "0\r\nX: a\rY: b\r\n\r\n", BAD, "", 8),
    ROW("tab-folded trailer", "0\r\n\tX: a\r\n\r\n", BAD, "", 9),
    ROW("17 digits", "00000000000000005\r\nhello", SL_ELIMIT, "", 8),
    ROW("size of 2^63", "8000000000000000\r\n", SL_ELIMIT, "", 3),
    ROW("overflow", "fffffffffffffffff\r\n", SL_ELIMIT, "", 4),
};

SL_TEST(chunked_tables_at_every_split)
{
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        for (size_t step = row->text.len; step >= 1; step--) {
            sl_chunked chunked;
            size_t consumed = 0;
            int rc = decode(row->text, step, &out, &consumed, &chunked);
            if (rc != row->rc || (rc != SL_ELIMIT && consumed != row->text.len - row->behind))
                sl_test_failed(__FILE__, __LINE__, "%s by %zu: %d, %zu consumed", row->what, step, rc, consumed);
            CHECK_STR(sl_buf_str(&out), row->data);
            CHECK_EQ(sl_chunked_is_done(&chunked), rc == GOOD);
            CHECK((chunked.reason != NULL) == (rc < 0 && rc != SL_EMORE));
        }
    }
    sl_buf_done(&out);
}

/* Three pieces at every two cuts, each an exact copy that is gone before the next one comes. */
SL_TEST(chunked_tables_at_every_two_cuts)
{
    sl_buf out;
    sl_buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_str text = rows[i].text;
        for (size_t cuts = 0; cuts < (text.len + 1) * (text.len + 1); cuts++) {
            size_t ends[] = {cuts / (text.len + 1), cuts % (text.len + 1), text.len}, at = 0;
            sl_chunked chunked;
            int rc = SL_EMORE;
            sl_chunked_init(&chunked);
            sl_buf_clear(&out);
            for (size_t k = 0; k < 3 && ends[0] <= ends[1] && rc == SL_EMORE; k++) {
                char *exact = malloc(ends[k] - at + 1);
                memcpy(exact, text.ptr + at, ends[k] - at);
                sl_str rest = sl_str_of(exact, ends[k] - at), data;
                while ((rc = sl_chunked_next(&chunked, &rest, &data)) == 0)
                    (void)sl_buf_put_str(&out, data);
                at = ends[k];
                free(exact);
            }
            if (ends[0] <= ends[1] && (rc != rows[i].rc || !sl_str_eq_c(sl_buf_str(&out), rows[i].data)))
                sl_test_failed(__FILE__, __LINE__, "%s at %zu, %zu: %d", rows[i].what, ends[0], ends[1], rc);
        }
    }
    sl_buf_done(&out);
}

SL_TEST(chunked_skip_counts_the_same)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t cut = 0; cut <= rows[i].text.len; cut++) {
            sl_chunked chunked;
            size_t consumed = 0, more = 0;
            uint64_t data = 0, more_data = 0;
            sl_chunked_init(&chunked);
            int rc = sl_chunked_skip(&chunked, sl_str_sub(rows[i].text, 0, cut), &consumed, &data);
            if (rc == SL_EMORE && cut < rows[i].text.len)
                rc = sl_chunked_skip(&chunked, sl_str_sub(rows[i].text, cut, SL_NPOS), &more, &more_data);
            CHECK_EQ(rc, rows[i].rc);
            CHECK_EQ(data + more_data, strlen(rows[i].data));
            if (rc != SL_ELIMIT)
                CHECK_EQ(consumed + more, rows[i].text.len - rows[i].behind);
        }
    }
}

SL_TEST(chunked_stays_ended_or_failed)
{
    sl_chunked chunked;
    sl_str bytes = SL_STR("0\r\n\r\nrest"), data;
    sl_chunked_init(&chunked);
    CHECK_EQ(sl_chunked_next(&chunked, &bytes, &data), SL_CHUNKED_END);
    CHECK_STR(bytes, "rest");
    CHECK_EQ(sl_chunked_next(&chunked, &bytes, &data), SL_CHUNKED_END);
    CHECK_STR(bytes, "rest");
    sl_chunked_init(&chunked);
    CHECK_EQ(sl_chunked_next(&chunked, &bytes, &data), SL_EPARSE);
    bytes = SL_STR("0\r\n\r\n");
    CHECK_EQ(sl_chunked_next(&chunked, &bytes, &data), SL_EPARSE);
}

/* Repeats a piece until the decoder stops; the bytes it took. */
static size_t feed_until_refused(const char *begin, const char *piece, int *ret_rc, sl_chunked *chunked)
{
    sl_str bytes = sl_str_c(begin), data;
    size_t total = bytes.len;
    sl_chunked_init(chunked);
    int rc = sl_chunked_next(chunked, &bytes, &data);
    while (rc == SL_EMORE || rc == 0) {
        bytes = sl_str_c(piece);
        total += bytes.len;
        while ((rc = sl_chunked_next(chunked, &bytes, &data)) == 0) {
        }
        if (total > 1u << 20)
            break;
    }
    *ret_rc = rc;
    return total;
}

SL_TEST(chunked_bounds)
{
    sl_chunked chunked;
    int rc = 0;
    CHECK(feed_until_refused("5;", "a", &rc, &chunked) <= SL_MAX_CHUNK_LINE + 1);
    CHECK_EQ(rc, SL_ELIMIT);
    CHECK(feed_until_refused("0\r\n", "X: a\r\n", &rc, &chunked) <= SL_MAX_TRAILER_BYTES + 16);
    CHECK_EQ(rc, SL_ELIMIT);
    CHECK(feed_until_refused("0\r\nX:", "a", &rc, &chunked) <= SL_MAX_TRAILER_BYTES + 16);
    CHECK_EQ(rc, SL_ELIMIT);
    /* Many small chunks whose extensions dwarf their data. */
    CHECK(feed_until_refused("", "1;aaaaaaaaaaaaaaaaaaaa\r\nx\r\n", &rc, &chunked) <= SL_MAX_TRAILER_BYTES * 2);
    CHECK_EQ(rc, SL_ELIMIT);
    CHECK(chunked.has_extensions);
}

SL_TEST(chunked_header_reads_back)
{
    static const uint64_t sizes[] = {1, 9, 10, 15, 16, 255, 256, 4096, 65535, 1u << 20, INT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        char text[SL_CHUNKED_HEADER_MAX], want[32];
        size_t len = sl_chunked_header(sizes[i], text);
        snprintf(want, sizeof want, "%llx\r\n", (unsigned long long)sizes[i]);
        CHECK_STR(sl_str_of(text, len), want);
        sl_chunked chunked;
        size_t consumed = 0;
        sl_chunked_init(&chunked);
        CHECK_EQ(sl_chunked_skip(&chunked, sl_str_of(text, len), &consumed, NULL), SL_EMORE);
        CHECK_EQ(chunked.left, sizes[i]);
    }
}

/* A line, all extensions together and all trailers together: exactly the limit is good, one byte more is not. */
SL_TEST(chunked_limits_exactly)
{
    static char text[2 * SL_MAX_TRAILER_BYTES];
    for (size_t over = 0; over < 2; over++) {
        sl_chunked chunked;
        size_t consumed = 0;
        size_t len = SL_MAX_CHUNK_LINE + over;
        memset(text, 'a', sizeof text);
        memcpy(text, "1;", 2);
        memcpy(text + len - 2, "\r\n", 2);
        memcpy(text + len, "x\r\n0\r\n\r\n", 9);
        sl_chunked_init(&chunked);
        int rc = sl_chunked_skip(&chunked, sl_str_of(text, len + 8), &consumed, NULL);
        CHECK_EQ(rc, over ? SL_ELIMIT : SL_CHUNKED_END);
        /* "0 CRLF", the trailer line of exactly the limit, "CRLF". */
        len = 3 + SL_MAX_TRAILER_BYTES + over;
        memset(text, 'a', sizeof text);
        memcpy(text, "0\r\nX:", 5);
        memcpy(text + len - 2, "\r\n\r\n", 4);
        sl_chunked_init(&chunked);
        rc = sl_chunked_skip(&chunked, sl_str_of(text, len + 2), &consumed, NULL);
        CHECK_EQ(rc, over ? SL_ELIMIT : SL_CHUNKED_END);
        CHECK(chunked.has_trailers);
    }
}

SL_TEST(chunked_long_bodies_pass)
{
    static char text[70000];
    char head[SL_CHUNKED_HEADER_MAX];
    sl_chunked chunked;
    uint64_t total = 0;
    size_t consumed = 0;
    sl_chunked_init(&chunked);
    for (uint64_t size = 1; size < sizeof text; size = size * 2 + 1) {
        uint64_t got = 0;
        size_t len = sl_chunked_header(size, head);
        CHECK_EQ(sl_chunked_skip(&chunked, sl_str_of(head, len), &consumed, NULL), SL_EMORE);
        CHECK_EQ(sl_chunked_skip(&chunked, sl_str_of(text, size), &consumed, &got), SL_EMORE);
        CHECK_EQ(got, size);
        CHECK_EQ(sl_chunked_skip(&chunked, SL_STR(SL_CHUNKED_CRLF), &consumed, NULL), SL_EMORE);
        total += got;
    }
    CHECK_EQ(sl_chunked_skip(&chunked, SL_STR(SL_CHUNKED_LAST "next"), &consumed, NULL), SL_CHUNKED_END);
    CHECK_EQ(consumed, 5);
    CHECK(total > 60000 && !chunked.has_extensions && !chunked.has_trailers);
}
