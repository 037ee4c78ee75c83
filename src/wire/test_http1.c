/*
 * The strict head parser: what is accepted with which framing, and every ambiguity refused, as tables. Each row is also
 * fed byte by byte, which must give the same result.
 */
#include "src/wire/http1.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_test.h"

#define N SL_HTTP1_BODY_NONE
#define L SL_HTTP1_BODY_LENGTH
#define C SL_HTTP1_BODY_CHUNKED
#define U SL_HTTP1_BODY_UNTIL_CLOSE
#define H "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" H
#define POST "POST / HTTP/1.1\r\n" H

static sl_http1_field fields[SL_MAX_HEAD_FIELDS];

struct outcome {
    int error;
    int status;
    size_t at; /* bytes that had been fed */
};

/* Parses an exact heap copy, so that a sanitizer sees reads behind the end. */
static int parse_once(sl_http1_parser *parser, sl_str bytes, int method, sl_http1_head *head, bool is_request)
{
    char *copy = malloc(bytes.len ? bytes.len : 1);
    memcpy(copy, bytes.ptr, bytes.len);
    sl_str text = sl_str_of(copy, bytes.len);
    int error = is_request ? sl_http1_parse_request(parser, text, head)
                           : sl_http1_parse_response(parser, text, (sl_http_method)method, head);
    free(copy);
    return error;
}

/* Feeds the first 1, 2, 3 ... bytes (method < 0: a request). */
static struct outcome feed_slowly(sl_str text, int method)
{
    sl_http1_parser parser;
    sl_http1_head head;
    struct outcome out = {SL_EMORE, 0, 0};
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    for (size_t n = 0; n <= text.len && out.error == SL_EMORE; n++) {
        out.at = n;
        out.error = parse_once(&parser, sl_str_sub(text, 0, n), method, &head, method < 0);
        out.status = parser.error_status;
        if (out.error == 0)
            CHECK_EQ(head.head_bytes, n);
    }
    return out;
}

/* Parses at once, checks the same byte by byte, in two pieces and in three. The head's views point into `text`. */
static int parse_text(sl_str text, int method, sl_http1_head *head, int *ret_status)
{
    sl_http1_parser parser;
    sl_http1_head other;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(head, fields, SL_MAX_HEAD_FIELDS);
    sl_http1_head_init(&other, fields, SL_MAX_HEAD_FIELDS);
    struct outcome slow = feed_slowly(text, method);
    int whole = method < 0 ? sl_http1_parse_request(&parser, text, head)
                           : sl_http1_parse_response(&parser, text, (sl_http_method)method, head);
    int status = parser.error_status;
    if (slow.error != whole || slow.status != status)
        sl_test_failed(__FILE__, __LINE__, "byte by byte: %d (%d), at once: %d (%d): %.*s", slow.error, slow.status,
                       whole, status, (int)text.len, text.ptr);
    /* One cut and two cuts, at every place. */
    for (size_t cut = 0; cut <= text.len && text.len < 600; cut++) {
        for (size_t second = text.len < 100 ? cut : text.len; second <= text.len; second++) {
            sl_http1_parser_init(&parser, 0);
            int error = parse_once(&parser, sl_str_sub(text, 0, cut), method, &other, method < 0);
            if (error == SL_EMORE)
                error = parse_once(&parser, sl_str_sub(text, 0, second), method, &other, method < 0);
            if (error == SL_EMORE)
                error = parse_once(&parser, text, method, &other, method < 0);
            CHECK_EQ(error, whole);
        }
    }
    sl_http1_parser_init(&parser, 0);
    whole = method < 0 ? sl_http1_parse_request(&parser, text, head)
                       : sl_http1_parse_response(&parser, text, (sl_http_method)method, head);
    *ret_status = parser.error_status;
    CHECK((whole < 0 && whole != SL_EMORE) == (parser.error_reason != NULL));
    CHECK(whole == SL_EMORE || !sl_http1_parser_is_mid_head(&parser));
    return whole;
}

/* ---- Accepted requests ---- */

struct good_request {
    const char *text;
    sl_http1_body body;
    uint64_t length;
    bool keep_alive, expect;
    const char *target, *host;
};

static const struct good_request good_requests[] = {
    {GET "\r\n", N, 0, true, false, "/", "a"},
    {"\r\n" GET "\r\n", N, 0, true, false, "/", "a"},
    {"GET /a/b?c=d&e=%20 HTTP/1.1\r\nhOsT:a.example:8080\r\n\r\n", N, 0, true, false, "/a/b?c=d&e=%20",
     "a.example:8080"},
    {"GET / HTTP/1.0\r\n\r\n", N, 0, false, false, "/", ""},
    {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", N, 0, true, false, "/", ""},
    {GET "Connection: close\r\n\r\n", N, 0, false, false, "/", "a"},
    {GET "Connection: CLOSE\r\n\r\n", N, 0, false, false, "/", "a"},
    {GET "Connection: foo, , close\r\n\r\n", N, 0, false, false, "/", "a"},
    {GET "Connection: keep-alive\r\nConnection: close\r\n\r\n", N, 0, false, false, "/", "a"},
    {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", N, 0, false, false, "/", ""},
    {POST "Content-Length: 5\r\n\r\n", L, 5, true, false, "/", "a"},
    {POST "Content-Length:5\t \r\n\r\n", L, 5, true, false, "/", "a"},
    {POST "Content-Length: 0\r\n\r\n", N, 0, true, false, "/", "a"},
    {POST "Content-Length: 007\r\n\r\n", L, 7, true, false, "/", "a"},
    {POST "Content-Length: 9223372036854775807\r\n\r\n", L, INT64_MAX, true, false, "/", "a"},
    {POST "Transfer-Encoding: chunked\r\n\r\n", C, 0, true, false, "/", "a"},
    {POST "transfer-encoding: Chunked \r\n\r\n", C, 0, true, false, "/", "a"},
    {POST "Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n", L, 5, true, true, "/", "a"},
    {POST "Expect: 100-continue\r\n\r\n", N, 0, true, false, "/", "a"},
    {"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", L, 1, false, false, "/", ""},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", N, 0, true, false, "*", "a"},
    {"GET http://a/x HTTP/1.1\r\n" H "\r\n", N, 0, true, false, "http://a/x", "a"},
    {"GET HTTPS://A HTTP/1.1\r\n" H "\r\n", N, 0, true, false, "HTTPS://A", "a"},
    {"GET http://b:1?q HTTP/1.0\r\n\r\n", N, 0, false, false, "http://b:1?q", "b:1"},
    {"DELETE /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", N, 0, true, false, "/x", "[::1]:80"},
    {GET "X-Empty:\r\nX-Blank:   \r\nX-Text: caf\xC3\xA9\ttab\r\n\r\n", N, 0, true, false, "/", "a"},
    {GET "!#$%&'*+-.^_`|~09azAZ: odd but a token\r\n\r\n", N, 0, true, false, "/", "a"},
    {GET "Content-Length: 0\r\n\r\n", N, 0, true, false, "/", "a"},
    {GET "Transfer-Encoding:chunked\r\nTE: trailers\r\n\r\n", C, 0, true, false, "/", "a"},
    {GET "Transfer-Encoding: CHUNKED\t\r\n\r\n", C, 0, true, false, "/", "a"},
    {GET "Content_Length: 5\r\nContent-Length-X: 6\r\nX-Transfer-Encoding: chunked\r\n\r\n", N, 0, true, false, "/",
     "a"},
    {"GET / HTTP/1.0\r\nContent-Length: 2\r\n\r\n", L, 2, false, false, "/", ""},
    {"GET / HTTP/1.0\r\nHost: a:1\r\n\r\n", N, 0, false, false, "/", "a:1"},
    {GET "Connection:\r\nConnection: ,\r\n\r\n", N, 0, true, false, "/", "a"},
    {GET "Connection: close, close\r\n\r\n", N, 0, false, false, "/", "a"},
    {GET "Connection: closed\r\n\r\n", N, 0, true, false, "/", "a"},
    {POST "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", C, 0, true, true, "/", "a"},
    {"HEAD /?%zz HTTP/1.1\r\n" H "\r\n", N, 0, true, false, "/?%zz", "a"},
    {"GET /~!$&'()*+,;=:@-._%41?/?[]{}|^` HTTP/1.1\r\n" H "\r\n", N, 0, true, false, "/~!$&'()*+,;=:@-._%41?/?[]{}|^`",
     "a"},
    {"GET //a/b HTTP/1.1\r\n" H "\r\n", N, 0, true, false, "//a/b", "a"},
    {"OPTIONS / HTTP/1.1\r\nHost:\ta\t\r\n\r\n", N, 0, true, false, "/", "a"},
    {"GET http://[::1]:8080/ HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", N, 0, true, false, "http://[::1]:8080/",
     "[::1]:8080"},
    {"GET http://A.b/ HTTP/1.1\r\nHost: a.B\r\n\r\n", N, 0, true, false, "http://A.b/", "a.B"},
    {GET "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", N, 0, true, false, "/", "a"},
};

SL_TEST(http1_requests_accepted)
{
    for (size_t i = 0; i < sizeof good_requests / sizeof good_requests[0]; i++) {
        const struct good_request *row = &good_requests[i];
        sl_http1_head head;
        int status = 0;
        int error = parse_text(sl_str_c(row->text), -1, &head, &status);
        if (error) {
            sl_test_failed(__FILE__, __LINE__, "row %zu refused with %d: %s", i, status, row->text);
            continue;
        }
        CHECK_EQ(head.head_bytes, strlen(row->text));
        CHECK_EQ(head.body, row->body);
        CHECK_EQ(head.content_length, row->length);
        CHECK_EQ(head.keep_alive, row->keep_alive);
        CHECK_EQ(head.expect_continue, row->expect);
        CHECK_STR(head.target, row->target);
        CHECK_STR(head.host, row->host);
    }
}

/* ---- Refused requests ---- */

struct bad_request {
    int status;
    const char *what;
    const char *text;
    size_t len; /* 0: strlen */
};

#define BYTES(s) s, sizeof(s) - 1
#define BAD(what, s)                                                                                                   \
    {                                                                                                                  \
        400, what, BYTES(s)                                                                                            \
    }

static const struct bad_request bad_requests[] = {
    /* Line ends. */
    BAD("bare LF everywhere", "GET / HTTP/1.1\nHost: a\n\n"),
    BAD("bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n"),
    BAD("bare LF behind a field", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    BAD("bare LF as the last line", GET "\n"),
    BAD("bare CR in a value", GET "X: a\rb\r\n\r\n"),
    BAD("bare CR before CRLF", GET "X: a\r\r\n\r\n"),
    BAD("bare CR in a name", GET "X\r: a\r\n\r\n"),
    BAD("bare CR in the request line", "GET /\r HTTP/1.1\r\n" H "\r\n"),
    BAD("CR alone between fields", GET "X: a\rContent-Length: 5\r\n\r\n"),
    BAD("two empty lines before", "\r\n\r\n" GET "\r\n"),
    BAD("LF before the request line", "\n" GET "\r\n"),
    BAD("space before the request line", " " GET "\r\n"),
    /* Folding and white space. */
    BAD("folded value", GET "X: a\r\n b\r\n\r\n"),
    BAD("folded with tab", GET "X: a\r\n\tb\r\n\r\n"),
    BAD("fold right behind the request line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    BAD("empty folded line", GET "X: a\r\n \r\n\r\n"),
    BAD("folded Transfer-Encoding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n"),
    BAD("space before the colon", GET "X : a\r\n\r\n"),
    BAD("tab before the colon", GET "X\t: a\r\n\r\n"),
    BAD("space in a name", GET "X Y: a\r\n\r\n"),
    BAD("space behind Content-Length", POST "Content-Length : 5\r\n\r\n"),
    BAD("space behind Transfer-Encoding", POST "Transfer-Encoding : chunked\r\n\r\n"),
    BAD("no colon", GET "X\r\n\r\n"),
    BAD("no name", GET ": a\r\n\r\n"),
    BAD("quote in a name", GET "\"X\": a\r\n\r\n"),
    BAD("non-ASCII in a name", GET "X\xC3\xA9: a\r\n\r\n"),
    BAD("parenthesis in a name", GET "X(): a\r\n\r\n"),
    /* Control bytes. */
    BAD("NUL in a value", GET "X: a\0b\r\n\r\n"),
    BAD("NUL in a name", GET "X\0: a\r\n\r\n"),
    BAD("NUL in the target", "GET /\0 HTTP/1.1\r\n" H "\r\n"),
    BAD("vertical tab in a value", GET "X: a\x0b\r\n\r\n"),
    BAD("vertical tab before chunked", POST "Transfer-Encoding: \x0b"
                                            "chunked\r\n\r\n"),
    BAD("form feed in a value", GET "X: \x0c\r\n\r\n"),
    BAD("DEL in a value", GET "X: \x7f\r\n\r\n"),
    BAD("escape far into a long value", GET "X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\x1b\r\n\r\n"),
    /* Host. */
    BAD("missing Host", "GET / HTTP/1.1\r\n\r\n"),
    BAD("missing Host among others", "GET / HTTP/1.1\r\nX: a\r\n\r\n"),
    BAD("Host twice", GET "Host: b\r\n\r\n"),
    BAD("Host twice alike", GET H "\r\n"),
    BAD("Host twice in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
    BAD("empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    BAD("list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    BAD("Host with user", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
    BAD("Host with path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    BAD("Host with bad port", "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
    BAD("Host with huge port", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    BAD("Host with open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    BAD("Host with space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    BAD("Host differs from the target", "GET http://b/ HTTP/1.1\r\n" H "\r\n"),
    BAD("Host with an empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
    BAD("Host with port 0", "GET / HTTP/1.1\r\nHost: a:0\r\n\r\n"),
    BAD("Host with two ports", "GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n"),
    BAD("Host with half a percent code", "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n"),
    BAD("Host with scheme", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
    BAD("Host that is no IPv6 address", "GET / HTTP/1.1\r\nHost: [:::]\r\n\r\n"),
    BAD("Host with zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n"),
    BAD("Host with non-ASCII", "GET / HTTP/1.1\r\nHost: \xC3\xA9\r\n\r\n"),
    BAD("Host behind a fold", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    BAD("Host given by another spelling too", "GET / HTTP/1.1\r\nHOST: a\r\nhost: a\r\n\r\n"),
    BAD("malformed Host in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a b\r\n\r\n"),
    /* Request line. */
    BAD("HTTP/0.9", "GET /\r\n\r\n"),
    BAD("HTTP/0.9 with a field", "GET /\r\nHost: a\r\n\r\n"),
    BAD("no target", "GET HTTP/1.1\r\n" H "\r\n"),
    BAD("two spaces", "GET  / HTTP/1.1\r\n" H "\r\n"),
    BAD("two spaces before the version", "GET /  HTTP/1.1\r\n" H "\r\n"),
    BAD("tab as separator", "GET\t/ HTTP/1.1\r\n" H "\r\n"),
    BAD("space behind the version", "GET / HTTP/1.1 \r\n" H "\r\n"),
    BAD("space in the target", "GET /a b HTTP/1.1\r\n" H "\r\n"),
    BAD("lower-case method", "get / HTTP/1.1\r\n" H "\r\n"),
    BAD("bracket in the method", "G(T / HTTP/1.1\r\n" H "\r\n"),
    BAD("lower-case version", "GET / http/1.1\r\n" H "\r\n"),
    BAD("version without minor", "GET / HTTP/1\r\n" H "\r\n"),
    BAD("version with two digits", "GET / HTTP/1.10\r\n" H "\r\n"),
    BAD("version with leading zero", "GET / HTTP/01.1\r\n" H "\r\n"),
    BAD("version with junk", "GET / HTTP/1.1x\r\n" H "\r\n"),
    BAD("version with comma", "GET / HTTP/1,1\r\n" H "\r\n"),
    BAD("other protocol", "GET / ICY/1.1\r\n" H "\r\n"),
    BAD("relative target", "GET a HTTP/1.1\r\n" H "\r\n"),
    BAD("asterisk with GET", "GET * HTTP/1.1\r\n" H "\r\n"),
    BAD("fragment", "GET /a#b HTTP/1.1\r\n" H "\r\n"),
    BAD("backslash", "GET /a\\b HTTP/1.1\r\n" H "\r\n"),
    BAD("quote in the target", "GET /\"a HTTP/1.1\r\n" H "\r\n"),
    BAD("non-ASCII target", "GET /\xC3\xA9 HTTP/1.1\r\n" H "\r\n"),
    BAD("other scheme", "GET ftp://a/ HTTP/1.1\r\n" H "\r\n"),
    BAD("absolute target without host", "GET http:///a HTTP/1.1\r\n" H "\r\n"),
    BAD("absolute target with user", "GET http://u@a/ HTTP/1.1\r\n" H "\r\n"),
    BAD("TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    BAD("text", "hello"
                "?\r\n"),
    /* Framing. */
    BAD("length with coding", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("coding with length", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    BAD("length twice", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    BAD("length twice alike", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    BAD("length list", POST "Content-Length: 5, 5\r\n\r\n"),
    BAD("length with sign", POST "Content-Length: +5\r\n\r\n"),
    BAD("negative length", POST "Content-Length: -5\r\n\r\n"),
    BAD("hex length", POST "Content-Length: 0x5\r\n\r\n"),
    BAD("hex digits", POST "Content-Length: a\r\n\r\n"),
    BAD("empty length", POST "Content-Length:\r\n\r\n"),
    BAD("length with blank inside", POST "Content-Length: 1 2\r\n\r\n"),
    BAD("length with fraction", POST "Content-Length: 5.0\r\n\r\n"),
    BAD("length with underscore", POST "Content-Length: 1_0\r\n\r\n"),
    BAD("length overflow", POST "Content-Length: 9223372036854775808\r\n\r\n"),
    BAD("length overflow of 64 bits", POST "Content-Length: 18446744073709551617\r\n\r\n"),
    BAD("length of many zeros", POST "Content-Length: 00000000000000000005\r\n\r\n"),
    BAD("chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    BAD("chunked in two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("identity", POST "Transfer-Encoding: identity\r\n\r\n"),
    BAD("gzip, chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    BAD("chunked, identity", POST "Transfer-Encoding: chunked, identity\r\n\r\n"),
    BAD("unknown coding", POST "Transfer-Encoding: xchunked\r\n\r\n"),
    BAD("empty coding", POST "Transfer-Encoding:\r\n\r\n"),
    BAD("coding with parameter", POST "Transfer-Encoding: chunked;a=b\r\n\r\n"),
    BAD("quoted coding", POST "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    BAD("coding behind an empty element", POST "Transfer-Encoding: ,chunked\r\n\r\n"),
    BAD("coding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("length behind a plus and a blank", POST "Content-Length: + 5\r\n\r\n"),
    BAD("length with exponent", POST "Content-Length: 5e0\r\n\r\n"),
    BAD("length with a trailing comma", POST "Content-Length: 5,\r\n\r\n"),
    BAD("quoted length", POST "Content-Length: \"5\"\r\n\r\n"),
    BAD("length in other digits", POST "Content-Length: \xD9\xA5\r\n\r\n"),
    BAD("length with semicolon", POST "Content-Length: 5;a=b\r\n\r\n"),
    BAD("length behind NUL", POST "Content-Length: \0"
                                  "5\r\n\r\n"),
    BAD("octal-looking list", POST "Content-Length: 010, 8\r\n\r\n"),
    BAD("length in another spelling too", POST "content-length: 5\r\nCONTENT-LENGTH: 5\r\n\r\n"),
    BAD("chunked with form feed", POST "Transfer-Encoding: chunked\x0c\r\n\r\n"),
    BAD("chunked with NUL", POST "Transfer-Encoding: chunked\0\r\n\r\n"),
    BAD("chunked behind a comma and tab", POST "Transfer-Encoding: ,\tchunked\r\n\r\n"),
    BAD("chunked before a comma", POST "Transfer-Encoding: chunked,\r\n\r\n"),
    BAD("chunked with semicolon", POST "Transfer-Encoding: chunked;\r\n\r\n"),
    BAD("chunked with non-ASCII", POST "Transfer-Encoding: chunked\xC2\xA0\r\n\r\n"),
    BAD("chunked in pieces", POST "Transfer-Encoding: chu\r\n nked\r\n\r\n"),
    BAD("chunked, gzip", POST "Transfer-Encoding: chunked, gzip\r\n\r\n"),
    BAD("identity, chunked", POST "Transfer-Encoding: identity, chunked\r\n\r\n"),
    BAD("two codings in two fields", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"),
    BAD("empty coding beside a length", POST "Content-Length: 5\r\nTransfer-Encoding:\r\n\r\n"),
    BAD("coding in HTTP/1.0 kept alive",
        "POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("length and coding in HTTP/1.0", "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("malformed Connection", GET "Connection: clo se\r\n\r\n"),
    BAD("Authorization twice", GET "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n"),
    BAD("Content-Type twice", GET "Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n"),
    /* Other answers than 400. */
    {417, "unknown expectation", BYTES(POST "Content-Length: 5\r\nExpect: a\r\n\r\n")},
    {501, "unknown method", BYTES("BREW / HTTP/1.1\r\n" H "\r\n")},
    {501, "tunnel", BYTES("CONNECT a:443 HTTP/1.1\r\n" H "\r\n")},
    {505, "HTTP/1.2", BYTES("GET / HTTP/1.2\r\n" H "\r\n")},
    {505, "HTTP/1.9", BYTES("GET / HTTP/1.9\r\n" H "\r\n")},
    {505, "HTTP/0.9 spelled out", BYTES("GET / HTTP/0.9\r\n" H "\r\n")},
    {505, "HTTP/2.0", BYTES("GET / HTTP/2.0\r\n" H "\r\n")},
    {505, "HTTP/2 preface", BYTES("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")},
};

SL_TEST(http1_requests_refused)
{
    for (size_t i = 0; i < sizeof bad_requests / sizeof bad_requests[0]; i++) {
        const struct bad_request *row = &bad_requests[i];
        sl_http1_head head;
        int status = 0;
        int error = parse_text(sl_str_of(row->text, row->len), -1, &head, &status);
        if (error != SL_EPARSE || status != row->status)
            sl_test_failed(__FILE__, __LINE__, "%s: error %d, status %d", row->what, error, status);
    }
}

SL_TEST(http1_faults_are_seen_early)
{
    /* A peer that waits for an answer to half a head gets its refusal before the head is complete. */
    static const char *const texts[] = {"\x16\x03\x01",
                                        "GET /\r\n",
                                        "GET / HTTP/1.7\r\n",
                                        "BREW / HTTP/1.1\r\n",
                                        "G\xFF",
                                        "GET / HTTP/1.1\nH",
                                        "(",
                                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct outcome out = feed_slowly(sl_str_c(texts[i]), -1);
        CHECK_EQ(out.error, SL_EPARSE);
    }
    static const char *const begun[] = {"", "\r", "\r\n", "G", "GET", "GET ", "GET / HTTP/1.1\r\n", GET, GET "\r"};
    for (size_t i = 0; i < sizeof begun / sizeof begun[0]; i++)
        CHECK_EQ(feed_slowly(sl_str_c(begun[i]), -1).error, SL_EMORE);
}

/* ---- Limits ---- */

SL_TEST(http1_head_size_limit)
{
    static char text[SL_MAX_HEAD_BYTES + 100];
    const char *begin = GET "X: ";
    size_t len = strlen(begin);
    memset(text, 'a', sizeof text);
    memcpy(text, begin, len);
    sl_http1_head head;
    sl_http1_parser parser;
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    /* Exactly the limit is good. */
    memcpy(text + SL_MAX_HEAD_BYTES - 4, "\r\n\r\n", 4);
    sl_http1_parser_init(&parser, 0);
    CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(text, sizeof text), &head), 0);
    CHECK_EQ(head.head_bytes, SL_MAX_HEAD_BYTES);
    /* One byte more is not, however it comes. */
    memcpy(text + SL_MAX_HEAD_BYTES - 4, "a\r\n\r\n", 5);
    sl_http1_parser_init(&parser, 0);
    CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(text, sizeof text), &head), SL_ETOOBIG);
    CHECK_EQ(parser.error_status, 431);
    sl_http1_parser_init(&parser, 0);
    CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(text, SL_MAX_HEAD_BYTES - 1), &head), SL_EMORE);
    CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(text, SL_MAX_HEAD_BYTES), &head), SL_ETOOBIG);
    /* A smaller limit of the caller's. */
    sl_http1_parser_init(&parser, 16);
    CHECK_EQ(sl_http1_parse_request(&parser, SL_STR(GET "\r\n"), &head), SL_ETOOBIG);
}

SL_TEST(http1_target_size_limit)
{
    static char text[SL_MAX_HEAD_BYTES * 2];
    sl_http1_head head;
    sl_http1_parser parser;
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    memset(text, 'a', sizeof text);
    memcpy(text, "GET /", 5);
    sl_http1_parser_init(&parser, 0);
    CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(text, sizeof text), &head), SL_ETOOBIG);
    CHECK_EQ(parser.error_status, 414);
    const char *rest = " HTTP/1.1\r\nHost: a\r\n\r\n";
    for (size_t extra = 0; extra < 2; extra++) {
        memset(text + 5, 'a', sizeof text - 5);
        memcpy(text + 4 + SL_MAX_URL_BYTES + extra, rest, strlen(rest));
        sl_http1_parser_init(&parser, 0);
        CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(text, sizeof text), &head), extra ? SL_ETOOBIG : 0);
        CHECK_EQ(parser.error_status, extra ? 414 : 0);
    }
}

SL_TEST(http1_field_count_limit)
{
    for (int count = SL_MAX_HEAD_FIELDS; count <= SL_MAX_HEAD_FIELDS + 1; count++) {
        char text[4096];
        size_t len = strlen(GET);
        memcpy(text, GET, len);
        for (int i = 1; i < count; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "x-%d: v\r\n", i);
        len += (size_t)snprintf(text + len, sizeof text - len, "\r\n");
        sl_http1_head head;
        int status = 0;
        int error = parse_text(sl_str_of(text, len), -1, &head, &status);
        CHECK_EQ(error, count == SL_MAX_HEAD_FIELDS ? 0 : SL_ETOOBIG);
        CHECK_EQ(status, count == SL_MAX_HEAD_FIELDS ? 0 : 431);
        if (!error)
            CHECK_EQ(head.field_count, SL_MAX_HEAD_FIELDS);
    }
}

/* ---- Responses ---- */

struct good_response {
    const char *text;
    sl_http_method method;
    int status;
    sl_http1_body body;
    uint64_t length;
    bool keep_alive;
};

static const struct good_response good_responses[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", SL_HTTP_GET, 200, L, 5, true},
    {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", SL_HTTP_GET, 200, N, 0, true},
    {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", SL_HTTP_GET, 200, N, 0, true},
    {"HTTP/1.1 200 Tr\xC3\xA8s bien\r\nTransfer-Encoding: chunked\r\n\r\n", SL_HTTP_POST, 200, C, 0, true},
    {"HTTP/1.1 200 OK\r\n\r\n", SL_HTTP_GET, 200, U, 0, false},
    {"HTTP/1.0 200 OK\r\n\r\n", SL_HTTP_GET, 200, U, 0, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", SL_HTTP_GET, 200, L, 3, false},
    {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\n", SL_HTTP_GET, 200, L, 3, true},
    {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n", SL_HTTP_GET, 200, L, 3, false},
    {"HTTP/1.1 204 No Content\r\n\r\n", SL_HTTP_GET, 204, N, 0, true},
    {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", SL_HTTP_GET, 204, N, 0, true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", SL_HTTP_GET, 304, N, 99, true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", SL_HTTP_HEAD, 200, N, 99, true},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", SL_HTTP_HEAD, 200, N, 0, true},
    {"HTTP/1.1 200 OK\r\n\r\n", SL_HTTP_HEAD, 200, N, 0, true},
    {"HTTP/1.1 100 Continue\r\n\r\n", SL_HTTP_POST, 100, N, 0, true},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", SL_HTTP_POST, 103, N, 0, true},
    {"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", SL_HTTP_POST, 599, N, 0, true},
};

SL_TEST(http1_responses_accepted)
{
    for (size_t i = 0; i < sizeof good_responses / sizeof good_responses[0]; i++) {
        const struct good_response *row = &good_responses[i];
        sl_http1_head head;
        int status = 0;
        int error = parse_text(sl_str_c(row->text), (int)row->method, &head, &status);
        if (error) {
            sl_test_failed(__FILE__, __LINE__, "row %zu refused with %d: %s", i, error, row->text);
            continue;
        }
        CHECK_EQ(head.status, row->status);
        CHECK_EQ(head.body, row->body);
        CHECK_EQ(head.content_length, row->length);
        CHECK_EQ(head.keep_alive, row->keep_alive);
    }
}

#define OK "HTTP/1.1 200 OK\r\n"

static const struct bad_request bad_responses[] = {
    BAD("empty line before", "\r\n" OK "Content-Length: 0\r\n\r\n"),
    BAD("bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"),
    BAD("folded", OK "X: a\r\n b\r\n\r\n"),
    BAD("space before the colon", OK "Content-Length : 5\r\n\r\n"),
    BAD("length with coding", OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("length twice", OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    BAD("length list", OK "Content-Length: 5, 6\r\n\r\n"),
    BAD("unknown coding", OK "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    BAD("coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("body with 204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    BAD("coding with 204", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("body with 100", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n"),
    BAD("coding twice", OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("coding behind a fold", OK "Transfer-Encoding:\r\n chunked\r\n\r\n"),
    BAD("negative length", OK "Content-Length: -1\r\n\r\n"),
    BAD("empty length", OK "Content-Length:\r\n\r\n"),
    BAD("identity", OK "Transfer-Encoding: identity\r\n\r\n"),
    BAD("coding with 101", "HTTP/1.1 101 Switching Protocols\r\nTransfer-Encoding: chunked\r\n\r\n"),
    BAD("malformed length with 304", "HTTP/1.1 304 Not Modified\r\nContent-Length: x\r\n\r\n"),
    BAD("no name", OK ": x\r\n\r\n"),
    BAD("no colon", OK "X\r\n\r\n"),
    BAD("bare CR", OK "X: a\rY: b\r\n\r\n"),
    BAD("space before the version", " HTTP/1.1 200 OK\r\n\r\n"),
    BAD("letters in the status", "HTTP/1.1 2OO OK\r\n\r\n"),
    BAD("malformed Connection", OK "Connection: a b\r\n\r\n"),
    BAD("short status", "HTTP/1.1 20\r\n\r\n"),
    BAD("long status", "HTTP/1.1 2000\r\n\r\n"),
    BAD("status with sign", "HTTP/1.1 +20 OK\r\n\r\n"),
    BAD("status 099", "HTTP/1.1 099 OK\r\n\r\n"),
    BAD("status 600", "HTTP/1.1 600 OK\r\n\r\n"),
    BAD("two spaces", "HTTP/1.1  200 OK\r\n\r\n"),
    BAD("no space", "HTTP/1.1\t200 OK\r\n\r\n"),
    BAD("control in the reason", "HTTP/1.1 200 O\x01K\r\n\r\n"),
    BAD("CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n"),
    BAD("NUL in a value", OK "X: \0\r\n\r\n"),
    BAD("HTTP/0.9 body", "<html>"),
    BAD("other protocol", "ICY 200 OK\r\n\r\n"),
    {505, "HTTP/2", BYTES("HTTP/2.0 200 OK\r\n\r\n")},
    {505, "HTTP/1.3", BYTES("HTTP/1.3 200 OK\r\n\r\n")},
};

SL_TEST(http1_responses_refused)
{
    for (size_t i = 0; i < sizeof bad_responses / sizeof bad_responses[0]; i++) {
        const struct bad_request *row = &bad_responses[i];
        sl_http1_head head;
        int status = 0;
        int error = parse_text(sl_str_of(row->text, row->len), SL_HTTP_GET, &head, &status);
        if (error != SL_EPARSE || status != row->status)
            sl_test_failed(__FILE__, __LINE__, "%s: error %d, status %d", row->what, error, status);
    }
}

/* ---- Use of a head ---- */

SL_TEST(http1_known_fields)
{
    sl_http1_head head;
    int status = 0;
    CHECK_EQ(
        parse_text(SL_STR(GET "TraceParent: 00-1\r\nx-a: 1\r\nTRACESTATE: a=1\r\ntracestate: b=2\r\nX-A: 2\r\n\r\n"),
                   -1, &head, &status),
        0);
    CHECK_STR(sl_http1_get(&head, SL_HTTP_TRACEPARENT), "00-1");
    CHECK_STR(sl_http1_get(&head, SL_HTTP_TRACESTATE), "a=1");
    CHECK(sl_http1_has(&head, SL_HTTP_HOST));
    CHECK(!sl_http1_has(&head, SL_HTTP_COOKIE));
    CHECK_EQ(sl_http1_get(&head, SL_HTTP_COOKIE).len, 0);
    size_t index = 0;
    sl_str value = {NULL, 0};
    CHECK(sl_http1_get_next(&head, SL_HTTP_TRACESTATE, &index, &value));
    CHECK_STR(value, "a=1");
    CHECK(sl_http1_get_next(&head, SL_HTTP_TRACESTATE, &index, &value));
    CHECK_STR(value, "b=2");
    CHECK(!sl_http1_get_next(&head, SL_HTTP_TRACESTATE, &index, &value));
    CHECK(sl_http1_find(&head, SL_STR("X-a"), &value));
    CHECK_STR(value, "1");
    CHECK(!sl_http1_find(&head, SL_STR("x-b"), &value));
    CHECK_STR(head.fields[1].name, "TraceParent");
}

SL_TEST(http1_fields_of_one_name_are_one_list)
{
    sl_http1_head head;
    int status = 0;
    char buffer[12];
    CHECK_EQ(parse_text(SL_STR(GET "traceparent: 00-1\r\nTRACESTATE: a=1\r\nx: y\r\ntracestate: \r\ntracestate: b=2\r\n"
                                   "baggage: k=v,longer\r\nBaggage: l=w\r\n\r\n"),
                        -1, &head, &status),
             0);
    CHECK_STR(sl_http1_get_list(&head, SL_HTTP_TRACEPARENT, buffer, sizeof buffer), "00-1");
    CHECK_STR(sl_http1_get_list(&head, SL_HTTP_TRACESTATE, buffer, sizeof buffer), "a=1,,b=2");
    CHECK_STR(sl_http1_get_list(&head, SL_HTTP_TRACESTATE, buffer, 8), "a=1,,"); /* what is cut shows that it is */
    CHECK_EQ(sl_http1_get_list(&head, SL_HTTP_BAGGAGE, buffer, 10).len, 0);
    CHECK_STR(sl_http1_get_list(&head, SL_HTTP_BAGGAGE, buffer, sizeof buffer), "k=v,longer,");
    CHECK_EQ(sl_http1_get_list(&head, SL_HTTP_COOKIE, buffer, sizeof buffer).len, 0);
}

SL_TEST(http1_every_known_name_is_found)
{
    for (int id = 1; id < SL_HTTP_FIELD_COUNT; id++) {
        sl_str name = sl_http_field_name((sl_http_field_id)id);
        char text[64];
        REQUIRE(name.len > 0 && name.len < sizeof text);
        CHECK_EQ(sl_http_field_lookup(name), id);
        for (size_t i = 0; i < name.len; i++)
            text[i] = name.ptr[i] >= 'a' && name.ptr[i] <= 'z' ? (char)(name.ptr[i] - 32) : name.ptr[i];
        CHECK_EQ(sl_http_field_lookup(sl_str_of(text, name.len)), id);
        text[name.len - 1] = '_';
        CHECK_EQ(sl_http_field_lookup(sl_str_of(text, name.len)), SL_HTTP_OTHER);
    }
    CHECK_EQ(sl_http_field_lookup(SL_STR("")), SL_HTTP_OTHER);
    CHECK_EQ(sl_http_field_lookup(SL_STR("keep\ralive")), SL_HTTP_OTHER);
    CHECK_EQ(sl_http_field_lookup(SL_STR("content_length")), SL_HTTP_OTHER);
    CHECK_EQ(sl_http_field_lookup(SL_STR("a-name-that-is-longer-than-all-of-them")), SL_HTTP_OTHER);
    CHECK_EQ(sl_http_method_lookup(SL_STR("PATCH")), SL_HTTP_PATCH);
    CHECK_EQ(sl_http_method_lookup(SL_STR("QUERY")), SL_HTTP_QUERY);
    CHECK_EQ(sl_http_method_lookup(SL_STR("patch")), SL_HTTP_METHOD_NONE);
}

SL_TEST(http1_hop_by_hop_fields)
{
    static const char text[] =
        POST "Connection: X-Nominated, close , te\r\n"                                       /* 1 */
             "x-nominated: 1\r\nX-Other: 1\r\nKeep-Alive: 5\r\nProxy-Connection: a\r\n"      /* 2..5 */
             "Proxy-Authorization: a\r\nproxy-anything: a\r\nTE: trailers\r\nTrailer: X\r\n" /* 6..9 */
             "Upgrade: h2c\r\nTransfer-Encoding: chunked\r\nAuthorization: b\r\nX-Nominate: a\r\n\r\n";
    static const bool want[] = {false, true, true, false, true, true, true, true, true, true, true, true, false, false};
    sl_http1_head head;
    int status = 0;
    REQUIRE(parse_text(sl_str_c(text), -1, &head, &status) == 0);
    REQUIRE(head.field_count == sizeof want / sizeof want[0]);
    for (size_t i = 0; i < head.field_count; i++) {
        if (sl_http1_is_hop_by_hop(&head, i) != want[i])
            sl_test_failed(__FILE__, __LINE__, "%.*s", (int)head.fields[i].name.len, head.fields[i].name.ptr);
    }
    CHECK(head.nominates);
    CHECK(!head.upgrade);
}

SL_TEST(http1_head_copy_outlives_its_bytes)
{
    static const char text[] = "\r\n" POST "X: y\r\nEmpty:\r\n\r\n";
    char *bytes = malloc(sizeof text - 1);
    memcpy(bytes, text, sizeof text - 1);
    sl_http1_parser parser;
    sl_http1_head head;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    CHECK_EQ(sl_http1_parse_request(&parser, sl_str_of(bytes, sizeof text - 1), &head), 0);
    void *memory = malloc(sl_http1_head_copy_size(&head));
    sl_http1_head *copy = sl_http1_head_copy(&head, memory);
    memset(bytes, 'z', sizeof text - 1);
    free(bytes);
    memset(fields, 0, sizeof fields);
    CHECK_STR(copy->method, "POST");
    CHECK_STR(copy->target, "/");
    CHECK_STR(copy->host, "a");
    CHECK_EQ(copy->field_count, 3);
    CHECK_STR(copy->fields[1].name, "X");
    CHECK_STR(copy->fields[1].value, "y");
    CHECK_STR(copy->fields[2].value, "");
    CHECK_STR(sl_http1_get(copy, SL_HTTP_HOST), "a");
    free(memory);
}

SL_TEST(http1_pipelined_messages)
{
    static const char text[] = GET "\r\n\r\n" GET "X: 2\r\n\r\n";
    sl_http1_parser parser;
    sl_http1_head head;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    sl_str rest = sl_str_c(text);
    CHECK_EQ(sl_http1_parse_request(&parser, rest, &head), 0);
    rest = sl_str_sub(rest, head.head_bytes, rest.len);
    CHECK_EQ(sl_http1_parse_request(&parser, rest, &head), 0);
    CHECK_EQ(head.field_count, 2);
    rest = sl_str_sub(rest, head.head_bytes, rest.len);
    CHECK_EQ(sl_http1_parse_request(&parser, rest, &head), SL_EMORE);
    CHECK(!sl_http1_parser_is_mid_head(&parser));
}

/* Every byte at every place of a good head: what is accepted has the same framing as before, or none of the doubt. */
SL_TEST(http1_every_byte_everywhere)
{
    static const char good[] = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n";
    sl_http1_parser parser;
    sl_http1_head head;
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (int c = 0; c < 256; c++) {
            char text[sizeof good - 1];
            memcpy(text, good, sizeof text);
            text[at] = (char)c;
            sl_http1_parser_init(&parser, 0);
            if (sl_http1_parse_request(&parser, sl_str_of(text, sizeof text), &head) != 0)
                continue;
            CHECK(c == '\r' || c == '\n' || c == '\t' || (c >= ' ' && c != 0x7F));
            CHECK_EQ(head.head_bytes, sizeof text);
            CHECK_EQ(head.field_count, 2);
            CHECK(head.body == L ? head.content_length > 0 : head.body == N);
            CHECK(c < 0x80 || (at > 10 && head.fields[0].value.len + head.fields[1].value.len > 0));
        }
    }
}

/* RFC 9110, 7.6.1: what Connection names goes no further, however it is spelled. */
SL_TEST(http1_nominated_fields)
{
    static const struct {
        const char *connection, *name;
        bool hop;
    } rows[] = {
        {"x", "X", true},           {"X", "x", true},
        {" a , x , b ", "X", true}, {",,x,,", "x", true},
        {"xy", "x", false},         {"x", "xy", false},
        {"close", "x", false},      {"keep-alive", "Keep-Alive", true},
        {"", "x", false},           {"", "TE", true},
        {"", "te", true},           {"", "Trailer", true},
        {"", "Trailers", false},    {"", "Upgrade", true},
        {"", "proxy-x", true},      {"", "Proxy", false},
        {"", "Proxy-Status", true}, {"", "Cookie", false},
        {"cookie", "Cookie", true}, {"traceparent", "TraceParent", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[200];
        sl_http1_head head;
        int status = 0;
        snprintf(text, sizeof text, GET "Connection: %s\r\n%s: 1\r\n\r\n", rows[i].connection, rows[i].name);
        REQUIRE(parse_text(sl_str_c(text), -1, &head, &status) == 0);
        if (sl_http1_is_hop_by_hop(&head, 2) != rows[i].hop)
            sl_test_failed(__FILE__, __LINE__, "Connection: %s, %s", rows[i].connection, rows[i].name);
        CHECK(sl_http1_is_hop_by_hop(&head, 1) && !sl_http1_is_hop_by_hop(&head, 0));
    }
}
