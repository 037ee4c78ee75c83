/* For tests of the client of providers: a client on this thread's loop, in front of a scripted provider on another. */
#ifndef SL_LLM_TEST_CLIENT_FIXTURE_H
#define SL_LLM_TEST_CLIENT_FIXTURE_H

#include "src/base/mem.h"
#include "src/llm/client.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/sdk_impl.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/net_fixture.h"

#define KEY "plant-7Rk2-not-a-known-shape"
#define OK_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
#define SSE_HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"

/* What the provider does, and what it saw. */
typedef struct script {
    nf_server server;
    const char *answer;      /* raw; with `body` NULL */
    const char *head, *body; /* else these, with a length */
    size_t cut;              /* bytes until a pause of a few milliseconds; 0: all at once */
    bool close_after;
    unsigned hold_ms;
    pthread_mutex_t lock;
    nf_message seen[40];
    int seen_count;
    _Atomic bool saw_close;
} script;

NF_UNUSED static void script_send(script *s, int fd)
{
    char *all;
    int len = s->body ? asprintf(&all, "%sContent-Length: %zu\r\n\r\n%s", s->head, strlen(s->body), s->body)
                      : asprintf(&all, "%s", s->answer);
    size_t first = s->cut && s->cut < (size_t)len ? s->cut : (size_t)len;
    (void)nf_send(fd, all, first);
    if (first < (size_t)len) {
        nf_sleep_ms(3);
        (void)nf_send(fd, all + first, (size_t)len - first);
    }
    free(all);
}

NF_UNUSED static void script_serve(nf_server *server, int fd, int number)
{
    script *s = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        pthread_mutex_lock(&s->lock);
        if (s->seen_count < 40)
            s->seen[s->seen_count++] = m;
        else
            nf_message_free(&m);
        pthread_mutex_unlock(&s->lock);
        if (s->hold_ms && nf_closed_within(fd, s->hold_ms)) {
            s->saw_close = true;
            return;
        }
        script_send(s, fd);
        if (s->close_after)
            return;
    }
}

NF_UNUSED static script *script_start(const char *head, const char *body)
{
    script *s = calloc(1, sizeof *s);
    s->head = head;
    s->body = body;
    (void)pthread_mutex_init(&s->lock, NULL);
    nf_server_start(&s->server, script_serve, s);
    return s;
}

NF_UNUSED static void script_stop(script *s)
{
    nf_server_stop(&s->server);
    for (int i = 0; i < s->seen_count; i++)
        nf_message_free(&s->seen[i]);
    free(s);
}

/* A client, and what its last call gave. */
typedef struct client {
    sl_loop loop;
    uv_async_t keep; /* a loop of timers alone does not run */
    sl_llm_client *llm;
    sl_sdk *sdk;
    sl_segment *segment;
    sl_llm_call *call;
    bool over;
    sl_llm_result r; /* its views are in what follows */
    char text[4096];
    char message[1024];
    char model[256];
    char reason[64];
    char streamed[4096];
    unsigned pieces;
    bool cancel_at_piece;
    bool cancel_at_done;
    json_t *vectors;
    json_t *usage;
} client;

NF_UNUSED static void client_add(client *c, const char *name, sl_llm_protocol protocol, const char *base, uint16_t port)
{
    char url[256];
    snprintf(url, sizeof url, "http://127.0.0.1:%u%s", (unsigned)port, base);
    sl_llm_endpoint e = {.name = sl_str_c(name), .protocol = protocol, .base_url = sl_str_c(url), .key = SL_STR(KEY)};
    CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
}

/* With two providers, "openai" and "anthropic", at one port. */
NF_UNUSED static client *client_new(uint16_t port, bool recorded)
{
    client *c = calloc(1, sizeof *c);
    (void)signal(SIGPIPE, SIG_IGN);
    if (recorded) {
        sl_segment_options small = {.size_bytes = SL_SEGMENT_MIN_BYTES, .threads = 4, .cells = 16384};
        sl_sdk_options options = {.ignore_environment = true};
        sl_sdk_internal_options internal;
        memset(&internal, 0, sizeof internal);
        if (sl_segment_new(&small, &c->segment) != 0)
            abort();
        internal.segment = c->segment;
        internal.record_only = true;
        if (sl_sdk_new_internal(&options, &internal, &c->sdk) != 0)
            abort();
    }
    if (sl_loop_init(&c->loop) != 0 || uv_async_init(&c->loop.uv, &c->keep, NULL) != 0 ||
        sl_llm_client_new(&c->loop, c->sdk, &c->llm) != 0)
        abort();
    if (port) {
        client_add(c, "openai", SL_LLM_OPENAI, "/v1", port);
        client_add(c, "anthropic", SL_LLM_ANTHROPIC, "", port);
    }
    return c;
}

NF_UNUSED static void client_close_loop(client *c)
{
    sl_llm_client_close(c->llm);
    uv_close((uv_handle_t *)&c->keep, NULL);
    while (uv_run(&c->loop.uv, UV_RUN_ONCE))
        ;
    sl_llm_client_free(c->llm);
    sl_loop_done(&c->loop);
    c->llm = NULL;
}

NF_UNUSED static void client_free(client *c)
{
    if (c->llm)
        client_close_loop(c);
    if (c->sdk) {
        (void)sl_sdk_shutdown(c->sdk, 1000);
        sl_sdk_free(c->sdk);
        sl_segment_free(c->segment);
    }
    json_decref(c->vectors);
    json_decref(c->usage);
    free(c);
}

static void client_on_text(void *user, sl_str piece)
{
    client *c = user;
    CHECK(!c->over);
    size_t len = strlen(c->streamed);
    (void)sl_str_to_c(piece, c->streamed + len, sizeof c->streamed - len);
    c->pieces++;
    if (c->cancel_at_piece) {
        sl_llm_cancel(c->call);
        c->over = true;
    }
}

static void client_on_done(void *user, const sl_llm_result *result)
{
    client *c = user;
    CHECK(!c->over);
    c->over = true;
    c->r = *result;
    (void)sl_str_to_c(result->text, c->text, sizeof c->text);
    (void)sl_str_to_c(result->model, c->model, sizeof c->model);
    (void)sl_str_to_c(result->finish_reason, c->reason, sizeof c->reason);
    snprintf(c->message, sizeof c->message, "%s", result->message);
    json_decref(c->vectors);
    json_decref(c->usage);
    c->vectors = json_incref(result->vectors);
    c->usage = json_incref(result->usage);
    if (c->cancel_at_done)
        sl_llm_cancel(c->call);
}

NF_UNUSED static int client_start(client *c, sl_llm_request *request)
{
    c->over = false;
    c->pieces = 0;
    c->text[0] = c->message[0] = c->model[0] = c->reason[0] = c->streamed[0] = 0;
    memset(&c->r, 0, sizeof c->r);
    request->on_text = client_on_text;
    request->on_done = client_on_done;
    request->user = c;
    return sl_llm_start(c->llm, request, &c->call);
}

NF_UNUSED static void client_wait(client *c)
{
    uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (!c->over && sl_mono_ns() < end)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    CHECK(c->over);
}

/* Starts a call and waits for its end. */
NF_UNUSED static void client_ask(client *c, sl_llm_request request)
{
    int error = client_start(c, &request);
    CHECK_EQ(error, 0);
    if (!error)
        client_wait(c);
}

/* ---- spans ---- */

#define SPANS_MAX 16

typedef struct spans {
    size_t count;
    char *copies[SPANS_MAX];
    sl_otlp_span items[SPANS_MAX];
} spans;

static bool spans_keep(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    spans *all = user;
    (void)tag;
    if (all->count == SPANS_MAX)
        return false;
    char *copy = malloc(len + 1);
    memcpy(copy, data, len);
    all->copies[all->count] = copy;
    CHECK_EQ(sl_otlp_read_span(sl_str_of(copy, len), &all->items[all->count]), 0);
    all->count++;
    return true;
}

NF_UNUSED static spans spans_of(const client *c)
{
    spans all = {.count = 0};
    (void)sl_segment_drain(c->segment, SL_RING_SPANS, spans_keep, &all);
    return all;
}

NF_UNUSED static void spans_done(spans *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->copies[i]);
}

NF_UNUSED static sl_otlp_any span_attr(const sl_otlp_span *span, const char *key)
{
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    (void)!sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(key), &any);
    return any;
}

#endif
