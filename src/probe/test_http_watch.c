/* Conversations, whole and cut at every place: the watch tells the same. */
#include "src/probe/http_watch.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "tests/harness/sl_test.h"

/* What was told, a line for each event. */
typedef struct told {
    char text[16384];
    size_t len;
    uint32_t last;
    bool frames; /* FRAME is written down */
} told;

static uint32_t new_request(void *user)
{
    return ++((told *)user)->last;
}

__attribute__((format(printf, 2, 3))) static void say(told *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->text + t->len, sizeof t->text - t->len, format, args);
    va_end(args);
    t->len += (size_t)n < sizeof t->text - t->len ? (size_t)n : 0;
}

static void on_event(void *user, const sl_http_watch_event *e)
{
    told *t = user;
    if (e->kind == SL_PROBE_FRAME && !t->frames)
        return;
    say(t, "%s %u", sl_probe_kind_name(e->kind), e->request);
    if (e->kind == SL_PROBE_ANSWER)
        say(t, " %u", e->status);
    if (e->flags)
        say(t, " f%u", e->flags);
    if (e->kind != SL_PROBE_REQUEST && e->bytes)
        say(t, " b%llu", (unsigned long long)e->bytes);
    if (e->tail.len)
        say(t, " <%.*s>", (int)e->tail.len, e->tail.ptr);
    say(t, "\n");
}

typedef struct talk {
    sl_http_watch watch;
    sl_http_watch_sink sink;
    told told;
} talk;

static talk *talk_new(bool frames)
{
    talk *t = calloc(1, sizeof *t);
    SL_ASSERT(t);
    memset(&t->watch, 0xa5, sizeof t->watch);
    sl_http_watch_init(&t->watch, false);
    t->sink = (sl_http_watch_sink){new_request, on_event, &t->told};
    t->told.frames = frames;
    return t;
}

static void in(talk *t, const char *text)
{
    sl_http_watch_in(&t->watch, &t->sink, sl_str_c(text), 7);
}

static void out(talk *t, const char *text)
{
    sl_http_watch_out(&t->watch, &t->sink, sl_str_c(text));
    sl_http_watch_written(&t->watch, &t->sink);
}

static void expect(talk *t, const char *text)
{
    CHECK_STR(sl_str_of(t->told.text, t->told.len), text);
    t->told.len = 0;
}

/* A piece of a conversation: '<' what the server reads, '>' what it writes, else how it ends. */
static const char endings[] = ".,!?"; /* in the order of sl_http_watch_ending */

typedef struct piece {
    char way;
    const char *text;
} piece;

typedef struct row {
    const char *name;
    piece pieces[8];
    const char *told;
} row;

static void feed(talk *t, char way, sl_str text)
{
    if (way == '<') {
        sl_http_watch_in(&t->watch, &t->sink, text, 7);
        return;
    }
    sl_http_watch_out(&t->watch, &t->sink, text);
    sl_http_watch_written(&t->watch, &t->sink);
}

/* Plays a row with piece number `cut_piece` cut in front of byte `at`; all pieces byte by byte when `cut_piece` is 99.
 */
static void play(const row *r, size_t cut_piece, size_t at)
{
    talk *t = talk_new(false);
    for (size_t i = 0; i < 8 && r->pieces[i].way; i++) {
        sl_str text = sl_str_c(r->pieces[i].text ? r->pieces[i].text : "");
        const char *end = strchr(endings, r->pieces[i].way);
        if (end) {
            sl_http_watch_end(&t->watch, &t->sink, (sl_http_watch_ending)(end - endings));
        } else if (cut_piece == 99) {
            for (size_t k = 0; k < text.len; k++)
                feed(t, r->pieces[i].way, sl_str_sub(text, k, 1));
        } else if (i == cut_piece) {
            feed(t, r->pieces[i].way, sl_str_sub(text, 0, at));
            feed(t, r->pieces[i].way, sl_str_sub(text, at, text.len));
        } else {
            feed(t, r->pieces[i].way, text);
        }
    }
    sl_str said = sl_str_of(t->told.text, t->told.len);
    if (!sl_str_eq_c(said, r->told))
        sl_test_failed(__FILE__, __LINE__, "%s, piece %zu cut at %zu: told\n%.*sinstead of\n%s", r->name, cut_piece, at,
                       (int)said.len, said.ptr, r->told);
    free(t);
}

#define GET "GET /health HTTP/1.1\r\nHost: a:1\r\n\r\n"
#define GET_TOLD(n) "request " #n " <GET /health\nhost: a:1\n>\nrequest_end " #n "\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":\"ok\"}"
#define OK_TOLD(n) "answer " #n " 200 f4 b15\nanswer_end " #n " f1 b15 <{\"status\":\"ok\"}>\n"

static const row rows[] = {
    {"unary", {{'<', GET}, {'>', OK}}, GET_TOLD(1) OK_TOLD(1)},
    {"keep-alive", {{'<', GET}, {'>', OK}, {'<', GET}, {'>', OK}}, GET_TOLD(1) OK_TOLD(1) GET_TOLD(2) OK_TOLD(2)},
    {"pipelined", {{'<', GET GET}, {'>', OK OK}}, GET_TOLD(1) GET_TOLD(2) OK_TOLD(1) OK_TOLD(2)},
    {"empty lines in front", {{'<', "\r\n\r\n\n" GET}, {'>', OK}}, GET_TOLD(1) OK_TOLD(1)},
    {"bare line feeds", {{'<', "GET /health HTTP/1.1\nHost:a:1\n\n"}, {'>', OK}}, GET_TOLD(1) OK_TOLD(1)},
    {"body with length",
     {{'<', "POST /completion HTTP/1.1\r\ncontent-length: 5\r\nX: y\r\n\r\nhello"}, {'>', OK}},
     "request 1 <POST /completion\ncontent-length: 5\n>\nrequest_end 1 b5\n" OK_TOLD(1)},
    {"chunked body",
     {{'<', "POST /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n" GET},
      {'>', OK OK}},
     "request 1 <POST /a\n>\nrequest_end 1 b5\n" GET_TOLD(2) OK_TOLD(1) OK_TOLD(2)},
    {"both framings: chunks win",
     {{'<', "POST /a HTTP/1.1\r\nContent-Length: 99\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"}},
     "request 1 <POST /a\ncontent-length: 99\n>\nrequest_end 1\n"},
    {"streamed",
     {{'<', GET},
      {'>', "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {'>', "9\r\ndata: {}\n\r\n"},
      {'>', "e\r\ndata: [DONE]\n\n\r\n"},
      {'>', "0\r\n\r\n"}},
     GET_TOLD(1) "answer 1 200 f3\nanswer_end 1 f1 b23 <data: {}\ndata: [DONE]\n\n>\n"},
    {"until close",
     {{'<', GET}, {'>', "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":\"b\"}"}, {'.', ""}},
     GET_TOLD(1) "answer 1 200\nanswer_end 1 f1 b9 <{\"a\":\"\"}>\n"},
    {"until close, and it failed",
     {{'<', GET}, {'>', "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":1}"}, {'!', ""}},
     GET_TOLD(1) "answer 1 200\nanswer_end 1 f6 b7\n"},
    {"until close, when the client had left",
     {{'<', GET}, {'>', "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":1}"}, {',', ""}},
     GET_TOLD(1) "answer 1 200\nanswer_end 1 f1 b7 <{\"a\":1}>\n"},
    {"until it cannot be followed",
     {{'<', GET}, {'>', "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{\"a\":1}"}, {'?', ""}},
     GET_TOLD(1) "answer 1 200\nanswer_end 1 f2 b7\n"},
    {"the server closes without an answer", {{'<', GET}, {'.', ""}}, GET_TOLD(1) "answer_end 1 f2\n"},
    {"the same, when the client had left", {{'<', GET}, {',', ""}}, GET_TOLD(1) "answer_end 1 f6\n"},
    {"client leaves mid-stream",
     {{'<', GET},
      {'>', "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {'>', "e\r\ndata: {\"a\":1}\n\r\n5\r\ndata:\r\n"},
      {'!', ""}},
     GET_TOLD(1) "answer 1 200 f3\nanswer_end 1 f6 b19 <data: {\"a\":1}\n>\n"},
    {"client leaves before the answer",
     {{'<', GET GET}, {'!', ""}},
     GET_TOLD(1) GET_TOLD(2) "answer_end 1 f6\nanswer_end 2 f6\n"},
    {"interim answers",
     {{'<', "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"},
      {'>', "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"},
      {'<', "hi"},
      {'>', OK}},
     "request 1 <POST /a\ncontent-length: 2\n>\nrequest_end 1 b2\n" OK_TOLD(1)},
    {"HEAD",
     {{'<', "HEAD /a HTTP/1.1\r\n\r\n" GET}, {'>', "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" OK}},
     "request 1 <HEAD /a\n>\nrequest_end 1\n" GET_TOLD(2) "answer 1 200 f4 b1000\nanswer_end 1 f1\n" OK_TOLD(2)},
    {"204 and 304",
     {{'<', GET GET GET},
      {'>', "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" OK}},
     GET_TOLD(1) GET_TOLD(2)
         GET_TOLD(3) "answer 1 204\nanswer_end 1 f1\nanswer 2 304 f4 b5\nanswer_end 2 f1\n" OK_TOLD(3)},
    {"no body at all",
     {{'<', GET}, {'>', "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"}},
     GET_TOLD(1) "answer 1 400 f4\nanswer_end 1 f1\n"},
    {"answered before it was read",
     {{'<', "POST /a HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"}, {'>', OK}, {'<', "cd" GET}, {'>', OK}},
     "request 1 <POST /a\ncontent-length: 4\n>\n" OK_TOLD(1) GET_TOLD(2) OK_TOLD(2)},
    {"text that is not JSON has no tail",
     {{'<', GET}, {'>', "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\n123"}},
     GET_TOLD(1) "answer 1 200 f4 b3\nanswer_end 1 f1 b3\n"},
    {"an upgrade goes on until the end",
     {{'<', GET}, {'>', "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc"}, {'.', ""}},
     GET_TOLD(1) "answer 1 101\nanswer_end 1 f1 b3\n"},
    {"the query keeps its names",
     {{'<', "GET /slots?fail=1&key=secret&word&=v&model=a%20b HTTP/1.1\r\n\r\n"}},
     "request 1 <GET /slots?fail=&key=&model=\n>\nrequest_end 1\n"},
    {"an absolute target keeps its path",
     {{'<', "GET http://user:secret@host:1/a/b?c=d HTTP/1.1\r\n\r\nGET http://host HTTP/1.1\r\n\r\n"}},
     "request 1 <GET /a/b?c=\n>\nrequest_end 1\nrequest 2 <GET /\n>\nrequest_end 2\n"},
    {"fields that are told, and no others",
     {{'<', "GET / HTTP/1.1\r\nAuthorization: Bearer secret\r\nTraceParent: 00-1-2-01\r\ncookie: secret\r\n"
            "tracestate:a=b\r\nTRACESTATE: c=d\r\nBaggage: e=f\r\nUser-Agent:  curl \r\nContent-Type: text/x\r\n"
            "X-Api-Key: secret\r\n folded: secret\r\nhost : no\r\n: secret\r\nnothing\r\n\r\n"}},
     "request 1 <GET /\ntraceparent: 00-1-2-01\ntracestate: a=b\ntracestate: c=d\nbaggage: e=f\nuser-agent: curl\n"
     "content-type: text/x\n>\nrequest_end 1\n"},
    {"control bytes break no line",
     {{'<', "GET /a\vb HTTP/1.1\r\nhost: a\rb\x01\r\n\r\n"}},
     "request 1 <GET /a?b\nhost: a?b?\n>\nrequest_end 1\n"},
    {"TLS is not HTTP", {{'<', "\x16\x03\x01\x02\x00\x01\x00\x01"}, {'>', "\x16\x03\x03"}, {'!', ""}}, ""},
    {"HTTP/2 is not HTTP/1", {{'<', "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"}, {'.', ""}}, ""},
    {"other lines are not HTTP", {{'<', "HELO example\r\n" GET}, {'>', OK}}, ""},
    {"lower case is not HTTP", {{'<', "get / HTTP/1.1\r\n\r\n"}}, ""},
    {"junk after a request", {{'<', GET "\x01\x02" GET}, {'>', OK}, {'.', ""}}, GET_TOLD(1) OK_TOLD(1)},
    {"a broken chunk",
     {{'<', "POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}, {'>', OK}, {'.', ""}},
     "request 1 <POST /a\n>\n" OK_TOLD(1)},
    {"an answer that is none",
     {{'<', GET GET}, {'>', "ICY 200 OK\r\n\r\n"}, {'.', ""}},
     GET_TOLD(1) GET_TOLD(2) "answer_end 1\nanswer_end 2\n"},
    {"an answer with broken chunks",
     {{'<', GET}, {'>', "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naX"}, {'.', ""}},
     GET_TOLD(1) "answer 1 200 f2\nanswer_end 1 b1\n"},
    {"an answer to nothing", {{'>', OK}, {'<', GET}, {'>', OK}}, ""},
};

SL_TEST(conversations_cut_at_every_place)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        play(&rows[i], 98, 0);
        play(&rows[i], 99, 0);
        for (size_t p = 0; p < 8 && rows[i].pieces[p].way; p++) {
            for (size_t at = 1; rows[i].pieces[p].text && at < strlen(rows[i].pieces[p].text); at++)
                play(&rows[i], p, at);
        }
    }
}

SL_TEST(a_frame_for_each_write_of_a_stream)
{
    talk *t = talk_new(true);
    in(t, GET);
    out(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    out(t, "3\r\nabc\r\n");
    out(t, "2\r\nde\r\n4\r\nfghi\r\n");
    out(t, "2\r\nj");
    out(t, "k\r\n");
    out(t, "0\r\n\r\n");
    expect(t, GET_TOLD(1) "answer 1 200 f2\nframe 1 b3\nframe 1 b6\nframe 1 b1\nframe 1 b1\nanswer_end 1 f1 b11\n");
    in(t, GET);
    out(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    expect(t, GET_TOLD(2) "answer 2 200 f2\nframe 2 b3\nanswer_end 2 f1 b3\n");
    in(t, GET);
    sl_http_watch_out(&t->watch, &t->sink, SL_STR("HTTP/1.1 200 OK\r\n\r\nab"));
    sl_http_watch_out(&t->watch, &t->sink, SL_STR("cd"));
    sl_http_watch_written(&t->watch, &t->sink);
    sl_http_watch_written(&t->watch, &t->sink);
    expect(t, GET_TOLD(3) "answer 3 200\nframe 3 b4\n");
    free(t);
}

SL_TEST(frames_that_say_nothing_yet)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    talk *t = talk_new(true);
    in(t, GET);
    out(t, head);
    out(t, "3\r\n:\n\n\r\n");
    out(t, "19\r\ndata: {\"prompt_progress\":\r\n");
    out(t, "3\r\n:\n\n\r\n9\r\ndata: 1\n\n\r\n");
    out(t, "3\r\n:\n\n\r\n");
    out(t, "0\r\n\r\n");
    expect(t, GET_TOLD(1) "answer 1 200 f3\nframe 1 f1 b3\nframe 1 f1 b25\nframe 1 b12\nframe 1 b3\n"
                          "answer_end 1 f1 b43 <:\n\ndata: {\"prompt_progress\"::\n\ndata: 1\n\n:\n\n>\n");
    in(t, GET);
    out(t, head);
    out(t, "c\r\n:\ndata: {}\n\n\r\n");
    expect(t, GET_TOLD(2) "answer 2 200 f3\nframe 2 b12\n");
    free(t);
}

SL_TEST(no_frames_of_an_answer_with_a_length)
{
    talk *t = talk_new(true);
    in(t, GET);
    out(t, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    out(t, "ab");
    out(t, "cd");
    expect(t, GET_TOLD(1) "answer 1 200 f4 b4\nanswer_end 1 f1 b4\n");
    free(t);
}

SL_TEST(start_is_when_the_first_byte_was_read)
{
    talk *t = talk_new(false);
    uint64_t seen = 0;
    sl_http_watch_in(&t->watch, &t->sink, SL_STR("\r\nGE"), 100);
    sl_http_watch_in(&t->watch, &t->sink, SL_STR("T / HTTP/1.1\r\n"), 200);
    seen = t->watch.start_ns;
    CHECK_EQ(seen, 100);
    sl_http_watch_in(&t->watch, &t->sink, SL_STR("\r\n"), 300);
    CHECK_EQ(t->watch.start_ns, 100);
    sl_http_watch_in(&t->watch, &t->sink, SL_STR("G"), 400);
    CHECK_EQ(t->watch.start_ns, 400);
    free(t);
}

SL_TEST(the_current_request_is_the_oldest_one)
{
    talk *t = talk_new(false);
    CHECK_EQ(sl_http_watch_current(&t->watch), 0);
    in(t, GET GET);
    CHECK_EQ(sl_http_watch_current(&t->watch), 1);
    out(t, OK);
    CHECK_EQ(sl_http_watch_current(&t->watch), 2);
    out(t, OK);
    CHECK_EQ(sl_http_watch_current(&t->watch), 0);
    CHECK(!sl_http_watch_is_lost(&t->watch));
    out(t, "?");
    CHECK(sl_http_watch_is_lost(&t->watch));
    free(t);
}

SL_TEST(sent_files_count_where_their_length_is_known)
{
    talk *t = talk_new(true);
    in(t, GET);
    out(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n");
    sl_http_watch_out_unseen(&t->watch, &t->sink, 0);
    sl_http_watch_out_unseen(&t->watch, &t->sink, 4);
    sl_http_watch_out_unseen(&t->watch, &t->sink, 6);
    expect(t, GET_TOLD(1) "answer 1 200 f4 b10\nanswer_end 1 f1 b10\n");
    in(t, GET);
    out(t, "HTTP/1.1 200 OK\r\n\r\n");
    sl_http_watch_out_unseen(&t->watch, &t->sink, 1ull << 40);
    sl_http_watch_written(&t->watch, &t->sink);
    sl_http_watch_end(&t->watch, &t->sink, SL_HTTP_WATCH_BY_SERVER);
    expect(t, GET_TOLD(2) "answer 2 200\nframe 2 b4294967295\nanswer_end 2 f1 b1099511627776\n");
    free(t);
    t = talk_new(true);
    in(t, GET);
    out(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    sl_http_watch_out_unseen(&t->watch, &t->sink, 4);
    CHECK(sl_http_watch_is_lost(&t->watch));
    sl_http_watch_out_unseen(&t->watch, &t->sink, 4);
    expect(t, GET_TOLD(1) "answer 1 200 f2\nanswer_end 1\n");
    free(t);
}

SL_TEST(more_than_the_queue_holds_is_watched_no_more)
{
    talk *t = talk_new(false);
    for (size_t i = 0; i <= SL_HTTP_WATCH_PIPELINE; i++)
        in(t, "GET / HTTP/1.1\r\n\r\n");
    CHECK_EQ(t->told.last, SL_HTTP_WATCH_PIPELINE);
    for (size_t i = 0; i <= SL_HTTP_WATCH_PIPELINE; i++)
        out(t, "HTTP/1.1 204 x\r\n\r\n");
    CHECK(sl_http_watch_is_lost(&t->watch));
    CHECK_EQ(sl_http_watch_current(&t->watch), 0);
    free(t);
}

/* ---- heads that do not fit ---- */

static char *repeat(const char *front, char c, size_t n, const char *back)
{
    size_t f = strlen(front), b = strlen(back);
    char *text = malloc(f + n + b + 1);
    SL_ASSERT(text);
    memcpy(text, front, f);
    memset(text + f, c, n);
    memcpy(text + f + n, back, b);
    text[f + n + b] = '\0';
    return text;
}

#define TRACE "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"

SL_TEST(traceparent_fits_whatever_came_before)
{
    for (size_t n = 0; n < 40000; n = n * 5 / 4 + 1) {
        talk *t = talk_new(false);
        char *path = repeat("GET /", 'a', n, " HTTP/1.1\r\nhost: a\r\n");
        char *baggage = repeat("baggage: ", 'b', n, "\r\n" TRACE "\r\n");
        in(t, path);
        in(t, baggage);
        sl_str said = sl_str_of(t->told.text, t->told.len);
        CHECK(sl_str_find(said, SL_STR("\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n")) !=
              SL_NPOS);
        CHECK_EQ(sl_str_find(said, SL_STR("request 1 f2")) == 0, n > 1018);
        CHECK(t->watch.head_len <= SL_PROBE_HEAD_MAX);
        free(path);
        free(baggage);
        free(t);
    }
}

SL_TEST(lines_of_any_length_are_told_alike_however_they_are_cut)
{
    for (size_t n = SL_HTTP_WATCH_LINE - 24; n < SL_HTTP_WATCH_LINE + 4; n++) {
        char *text = repeat("GET / HTTP/1.1\r\nuser-agent: ", 'u', n, "\r\nhost: a\r\n\r\n");
        talk *whole = talk_new(false), *bytes = talk_new(false);
        in(whole, text);
        for (size_t i = 0; text[i]; i++)
            sl_http_watch_in(&bytes->watch, &bytes->sink, sl_str_of(text + i, 1), 7);
        CHECK_STR_EQ(sl_str_of(whole->told.text, whole->told.len), sl_str_of(bytes->told.text, bytes->told.len));
        CHECK(whole->told.len > 0);
        free(text);
        free(whole);
        free(bytes);
    }
}

SL_TEST(a_query_is_cut_between_names)
{
    talk *t = talk_new(false);
    char *text = repeat("GET /?", 'n', 1500, "=v&b=c HTTP/1.1\r\n\r\n");
    in(t, text);
    expect(t, "request 1 f2 <GET /\n>\nrequest_end 1\n");
    free(text);
    free(t);
}

/* ---- the window ---- */

SL_TEST(the_tail_is_the_end_of_a_long_stream)
{
    for (size_t step = 1; step < 9000; step = step * 7 / 3 + 1) {
        talk *t = talk_new(false);
        char *body = repeat("", '1', 20000, ",\"id_slot\":5}");
        size_t len = strlen(body);
        in(t, GET);
        out(t, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
        for (size_t i = 0; i < len; i += step)
            feed(t, '>', sl_str_sub(sl_str_of(body, len), i, step));
        t->told.len = 0;
        sl_http_watch_end(&t->watch, &t->sink, SL_HTTP_WATCH_BY_SERVER);
        sl_str said = sl_str_of(t->told.text, t->told.len);
        CHECK(sl_str_starts(said, SL_STR("answer_end 1 f1 b20013 <1111")));
        CHECK(sl_str_ends(said, SL_STR("11,\"id_slot\":5}>\n")));
        CHECK_EQ(said.len, strlen("answer_end 1 f1 b20013 <>\n") + SL_PROBE_TAIL_MAX);
        free(body);
        free(t);
    }
}

SL_TEST(a_connection_costs_little_memory)
{
    CHECK(sizeof(sl_http_watch) <= 12 * 1024);
}
