/*
 * The watch of a connection over conversations by chance: requests and answers in every framing, pipelined, cut
 * anywhere, with bytes in bodies that look like heads. What is told of each request is what was said, in its order.
 */
#include "src/probe/http_watch.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define MOST 12
#define ROOM 65536u
#define SHOWN 2000u

typedef enum framing { NONE, LENGTH, CHUNKED, UNTIL_CLOSE } framing;

/* One request and its answer, and what was told of them. */
typedef struct exchange {
    char method[8], target[24];
    unsigned status;
    size_t in_bytes, out_bytes; /* of the bodies */
    bool head, closes, informed;
    /* told */
    bool seen_request, seen_end, seen_answer, seen_answer_end;
    uint64_t told_in, told_out, told_frames;
    uint32_t told_status;
    unsigned end_flags;
} exchange;

typedef struct conversation {
    exchange exchanges[MOST];
    size_t count;
    char in[ROOM], out[ROOM];
    size_t in_len, out_len;
    size_t in_ends[MOST], out_ends[MOST]; /* where each request, and each answer, is over */
    uint32_t numbers;
} conversation;

static void add(char *text, size_t *len, const char *more)
{
    memcpy(text + *len, more, strlen(more));
    *len += strlen(more);
}

static void add_body(char *text, size_t *len, framing how, size_t bytes, uint64_t *chance)
{
    static const char pieces[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n{\"a\":1}";
    char size[24];
    for (size_t at = 0; at < bytes;) {
        size_t piece = how == CHUNKED ? 1 + sl_chance(chance, (unsigned)(bytes - at)) : bytes - at;
        if (how == CHUNKED) {
            (void)snprintf(size, sizeof size, sl_chance(chance, 2) ? "%zx\r\n" : "%zX;x=y\r\n", piece);
            add(text, len, size);
        }
        for (size_t i = 0; i < piece; i++)
            text[(*len)++] = pieces[(at + i) % (sizeof pieces - 1)];
        if (how == CHUNKED)
            add(text, len, "\r\n");
        at += piece;
    }
    if (how == CHUNKED)
        add(text, len, sl_chance(chance, 2) ? "0\r\n\r\n" : "0\r\nT: v\r\n\r\n");
}

static void add_framing(char *text, size_t *len, framing how, size_t bytes)
{
    char field[64];
    if (how == LENGTH) {
        (void)snprintf(field, sizeof field, "Content-Length: %zu\r\n", bytes);
        add(text, len, field);
    } else if (how == CHUNKED)
        add(text, len, "Transfer-Encoding: chunked\r\n");
    add(text, len, "\r\n");
}

static void make_request(conversation *c, exchange *e, uint64_t *chance)
{
    static const char *const methods[] = {"GET", "POST", "HEAD", "DELETE", "POST", "POST"};
    static const char *const fields[] = {"", "Accept: */*\r\n", "X-Empty:\r\n", "user-agent: a b\r\n",
                                         "Cookie: a=1\r\n"};
    framing how = (framing)sl_chance(chance, 3);
    char line[96];
    (void)snprintf(e->method, sizeof e->method, "%s", methods[sl_chance(chance, 6)]);
    (void)snprintf(e->target, sizeof e->target, "/p%u", sl_chance(chance, 100000));
    e->head = strcmp(e->method, "HEAD") == 0;
    if (strcmp(e->method, "POST") != 0)
        how = NONE;
    e->in_bytes = how == NONE ? 0 : sl_chance(chance, sl_chance(chance, 4) ? 60 : SHOWN);
    (void)snprintf(line, sizeof line, "%s %s HTTP/1.1\r\nHost: h\r\n%s", e->method, e->target,
                   fields[sl_chance(chance, 5)]);
    add(c->in, &c->in_len, line);
    add_framing(c->in, &c->in_len, how, e->in_bytes);
    add_body(c->in, &c->in_len, how, e->in_bytes, chance);
}

static void make_answer(conversation *c, exchange *e, bool last, uint64_t *chance)
{
    static const unsigned statuses[] = {200, 200, 201, 204, 304, 400, 404, 500, 503};
    framing how = (framing)(LENGTH + sl_chance(chance, last ? 3 : 2));
    char line[64];
    e->status = statuses[sl_chance(chance, 9)];
    e->informed = sl_chance(chance, 8) == 0;
    bool bodyless = e->head || e->status == 204 || e->status == 304;
    e->closes = how == UNTIL_CLOSE;
    e->out_bytes = sl_chance(chance, sl_chance(chance, 4) ? 60 : SHOWN);
    if (e->informed)
        add(c->out, &c->out_len, "HTTP/1.1 100 Continue\r\n\r\n");
    (void)snprintf(line, sizeof line, "HTTP/1.1 %u Text\r\nServer: s\r\n", e->status);
    add(c->out, &c->out_len, line);
    if (bodyless && how == CHUNKED)
        how = LENGTH;
    if (bodyless && how == UNTIL_CLOSE) {
        how = NONE;
        e->closes = false;
    }
    add_framing(c->out, &c->out_len, how, e->out_bytes);
    if (bodyless)
        e->out_bytes = 0;
    else
        add_body(c->out, &c->out_len, how, e->out_bytes, chance);
}

static void make(conversation *c, uint64_t seed)
{
    uint64_t chance = seed;
    memset(c, 0, sizeof *c);
    c->count = 1 + sl_chance(&chance, MOST);
    for (size_t i = 0; i < c->count; i++) {
        make_request(c, &c->exchanges[i], &chance);
        make_answer(c, &c->exchanges[i], i + 1 == c->count, &chance);
        c->in_ends[i] = c->in_len;
        c->out_ends[i] = c->out_len;
    }
}

/* ---- what is told ---- */

static uint32_t new_request(void *user)
{
    return ++((conversation *)user)->numbers;
}

static void on_event(void *user, const sl_http_watch_event *event)
{
    conversation *c = user;
    if (event->request == 0 || event->request > c->count) {
        sl_test_failed(__FILE__, __LINE__, "%s of request %u", sl_probe_kind_name(event->kind), event->request);
        return;
    }
    exchange *e = &c->exchanges[event->request - 1];
    char line[64];
    switch (event->kind) {
    case SL_PROBE_REQUEST:
        (void)snprintf(line, sizeof line, "%s %s\nhost: h\n", e->method, e->target);
        if (e->seen_request || !sl_str_starts(event->tail, sl_str_c(line)))
            sl_test_failed(__FILE__, __LINE__, "%.*s, not %s", (int)event->tail.len, event->tail.ptr, line);
        e->seen_request = true;
        break;
    case SL_PROBE_REQUEST_END:
        CHECK(e->seen_request && !e->seen_end);
        e->seen_end = true;
        e->told_in = event->bytes;
        break;
    case SL_PROBE_ANSWER:
        CHECK(e->seen_request && !e->seen_answer);
        e->seen_answer = true;
        e->told_status = event->status;
        break;
    case SL_PROBE_FRAME:
        CHECK(e->seen_answer);
        e->told_frames += event->bytes;
        break;
    case SL_PROBE_ANSWER_END:
        CHECK(!e->seen_answer_end && (e->seen_answer || !(event->flags & SL_PROBE_END_COMPLETE)));
        e->seen_answer_end = true;
        e->told_out = event->bytes;
        e->end_flags = event->flags;
        break;
    default:
        sl_test_failed(__FILE__, __LINE__, "%s", sl_probe_kind_name(event->kind));
    }
}

static bool as_was_said(const exchange *e)
{
    return e->seen_request && e->seen_end && e->seen_answer && e->seen_answer_end && e->told_in == e->in_bytes &&
           e->told_status == e->status && e->told_out == e->out_bytes && (e->end_flags & SL_PROBE_END_COMPLETE);
}

/* How far the answers may be written when so much of the requests is read: an answer follows its request. */
static size_t answerable(const conversation *c, size_t in_at)
{
    size_t most = 0;
    for (size_t i = 0; i < c->count && c->in_ends[i] <= in_at; i++)
        most = c->out_ends[i];
    return most;
}

/* The requests that are read may be so far ahead of the answers: as many as wait at once. */
static size_t readable(const conversation *c, size_t out_at)
{
    size_t answered = 0;
    while (answered < c->count && c->out_ends[answered] <= out_at)
        answered++;
    size_t last = answered + SL_HTTP_WATCH_PIPELINE - 1;
    return c->in_ends[last < c->count ? last : c->count - 1];
}

/* Plays a conversation in pieces; an exact copy of each, so that reading beyond it is seen. */
static void play(conversation *c, uint64_t seed, size_t most)
{
    static sl_http_watch watch;
    const sl_http_watch_sink sink = {new_request, on_event, c};
    uint64_t chance = seed;
    size_t in = 0, out = 0;
    sl_http_watch_init(&watch, false);
    while (in < c->in_len || out < c->out_len) {
        size_t may_in = readable(c, out) - in, may_out = answerable(c, in) - out;
        bool reads = may_in && (!may_out || sl_chance(&chance, 2));
        size_t len =
            1 + sl_chance(&chance, (unsigned)((reads ? may_in : may_out) < most ? (reads ? may_in : may_out) : most));
        char *exact = malloc(len);
        memcpy(exact, reads ? c->in + in : c->out + out, len);
        if (reads) {
            sl_http_watch_in(&watch, &sink, sl_str_of(exact, len), 1000 + in);
            in += len;
        } else {
            sl_http_watch_out(&watch, &sink, sl_str_of(exact, len));
            if (sl_chance(&chance, 3))
                sl_http_watch_written(&watch, &sink);
            out += len;
        }
        free(exact);
    }
    sl_http_watch_written(&watch, &sink);
    sl_http_watch_end(&watch, &sink, SL_HTTP_WATCH_BY_SERVER);
    CHECK_EQ(sl_http_watch_current(&watch), 0);
}

SL_TEST(what_is_told_is_what_was_said)
{
    static const size_t pieces[] = {1, 7, 100, 5000, ROOM};
    static conversation c;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            make(&c, seed);
            play(&c, seed + i, pieces[i]);
            CHECK_EQ(c.numbers, c.count);
            for (size_t k = 0; k < c.count; k++) {
                const exchange *e = &c.exchanges[k];
                if (!as_was_said(e)) {
                    sl_test_failed(
                        __FILE__, __LINE__,
                        "seed %llu, pieces of %zu, %s %s, status %u: %llu of %zu in, %llu of %zu out, status %u, "
                        "flags %u",
                        (unsigned long long)seed, pieces[i], e->method, e->target, e->status,
                        (unsigned long long)e->told_in, e->in_bytes, (unsigned long long)e->told_out, e->out_bytes,
                        e->told_status, e->end_flags);
                    return;
                }
            }
        }
    }
}

/* A connection that ends anywhere: what was over before is told whole, what was not is told to have been broken off. */
SL_TEST(a_connection_may_end_anywhere)
{
    static conversation c;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        make(&c, seed);
        size_t in = c.in_len, out = c.out_len;
        uint64_t chance = seed;
        const sl_http_watch_sink sink = {new_request, on_event, &c};
        sl_http_watch watch;
        sl_http_watch_init(&watch, false);
        if (c.count > SL_HTTP_WATCH_PIPELINE)
            continue; /* they come all at once here */
        sl_http_watch_in(&watch, &sink, sl_str_of(c.in, in), 7);
        size_t cut = sl_chance(&chance, (unsigned)out);
        sl_http_watch_out(&watch, &sink, sl_str_of(c.out, cut));
        sl_http_watch_written(&watch, &sink);
        sl_http_watch_end(&watch, &sink, SL_HTTP_WATCH_BY_PEER);
        for (size_t k = 0; k < c.count; k++) {
            const exchange *e = &c.exchanges[k];
            bool whole = c.out_ends[k] <= cut && !e->closes;
            CHECK(e->seen_request && e->seen_end);
            if (whole != as_was_said(e))
                sl_test_failed(__FILE__, __LINE__, "seed %llu, cut at %zu: answer %zu to %zu, flags %u",
                               (unsigned long long)seed, cut, k, c.out_ends[k], e->end_flags);
            CHECK(whole || !(e->end_flags & SL_PROBE_END_COMPLETE));
            CHECK(e->told_out <= e->out_bytes);
        }
    }
}
