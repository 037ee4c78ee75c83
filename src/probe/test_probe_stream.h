/*
 * For tests of the assembler: writes events as a host would, and reads back the spans that come of them.
 *
 *     stream s;
 *     stream_open(&s);
 *     stream_request(&s, 1, "POST /completion HTTP/1.1\nhost: h:1\n"); …
 *     stream_close(&s);                     the spans are in s.spans; stream_done frees
 */
#ifndef SL_PROBE_TEST_PROBE_STREAM_H
#define SL_PROBE_TEST_PROBE_STREAM_H

#include <stdio.h>
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/probe/assembler.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

#define STREAM_SPANS 4096
#define STREAM_OFFSET 1000000000000000000 /* Unix time minus the host's clock */
#define STREAM_MAIN_THREAD 100

typedef struct stream {
    sl_sdk *sdk;
    sl_probe_assembler *assembler;
    uint64_t now;
    uint32_t thread; /* of the events that follow */
    sl_buf exported; /* requests as they came, one behind the other; each begins with its length */
    sl_otlp_span spans[STREAM_SPANS];
    size_t count;
    sl_probe_assembler_stats stats;
    sl_probe_run runs[256];
    int32_t tokens[4096];
    uint32_t run_count, token_count, batch_tokens;
    bool quiet; /* memory may fail: nothing is checked */
} stream;

static inline int stream_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                                 uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    stream *s = user;
    (void)items, (void)timeout_ms, (void)ret_retry_after_ms, (void)ret_rejected;
    if (signal == SL_SIGNAL_TRACES) {
        uint64_t len = request.len;
        (void)sl_buf_put(&s->exported, &len, sizeof len);
        (void)sl_buf_put_str(&s->exported, request);
    }
    return 0;
}

/* `options` NULL: the defaults but for one span of a batch in a million. */
static inline bool stream_open_with(stream *s, const sl_probe_options *options)
{
    memset(s, 0, sizeof *s);
    s->now = 1000000000;
    s->thread = STREAM_MAIN_THREAD;
    sl_buf_init(&s->exported, 256u << 20);
    sl_exporter exporter = {.name = "test", .user = s, .signals = SL_SIGNALS_ALL, .deliver = stream_deliver};
    sl_sdk_options sdk = {.ignore_environment = true,
                          .no_default_exporters = true,
                          .exporters = &exporter,
                          .exporter_count = 1,
                          .metric_interval_ms = 3600000};
    sdk.batch[SL_SIGNAL_TRACES].max_queue_items = 100000;
    if (sl_sdk_new(&sdk, &s->sdk))
        return false;
    sl_probe_options probe = {.decode_span_every = 1000000};
    if (options)
        probe = *options;
    probe.sdk = s->sdk;
    probe.unix_offset_ns = STREAM_OFFSET;
    return sl_probe_assembler_new(&probe, &s->assembler) == 0;
}

static inline bool stream_open(stream *s)
{
    return stream_open_with(s, NULL);
}

static inline void stream_read_spans(stream *s)
{
    sl_str all = sl_buf_str(&s->exported);
    while (all.len) {
        uint64_t len;
        memcpy(&len, all.ptr, sizeof len);
        sl_otlp_records records = sl_otlp_records_of(sl_str_sub(all, sizeof len, (size_t)len));
        while (s->count < STREAM_SPANS && sl_otlp_records_next(&records))
            CHECK_EQ(sl_otlp_read_span(records.item, &s->spans[s->count++]), 0);
        all = sl_str_sub(all, sizeof len + (size_t)len, SL_NPOS);
    }
}

/* Ends the assembler, and reads what it has exported. */
static inline void stream_close(stream *s)
{
    if (s->assembler)
        sl_probe_assembler_get_stats(s->assembler, &s->stats);
    sl_probe_assembler_free(s->assembler);
    s->assembler = NULL;
    if (s->sdk)
        (void)sl_sdk_shutdown(s->sdk, 10000);
    stream_read_spans(s);
}

static inline void stream_done(stream *s)
{
    sl_probe_assembler_free(s->assembler);
    sl_sdk_free(s->sdk);
    sl_buf_done(&s->exported);
}

/* ---- writing events ---- */

/* An event of a body, with a tail; given to the assembler. */
static inline void stream_put(stream *s, unsigned kind, void *body, size_t body_size, const void *tail,
                              size_t tail_size)
{
    size_t size = body_size + ((tail_size + 7) & ~(size_t)7);
    char *bytes = calloc(1, size);
    sl_probe_event *head = (sl_probe_event *)(void *)bytes;
    memcpy(bytes, body, body_size);
    if (tail_size)
        memcpy(bytes + body_size, tail, tail_size);
    head->kind = (uint16_t)kind;
    head->thread = s->thread;
    head->time_ns = s->now;
    atomic_store(&head->size, (uint32_t)size);
    if (!s->quiet)
        CHECK_EQ(sl_probe_event_check(head, size), 0);
    sl_probe_assembler_event(s->assembler, head, size);
    free(bytes);
    s->now += 1000;
}

static inline void stream_wait(stream *s, uint64_t us)
{
    s->now += us * 1000;
}

static inline void stream_tick(stream *s)
{
    sl_probe_assembler_tick(s->assembler, s->now, 0);
}

static inline void stream_model_flags(stream *s, uint32_t model, unsigned flags, uint64_t size_bytes)
{
    static const char texts[] = "/models/tiny.gguf\0llama 0B F32";
    sl_probe_model_load e = {.start_ns = s->now,
                             .model = model,
                             .n_params = 135744,
                             .size_bytes = size_bytes,
                             .n_ctx_train = 4096,
                             .n_layer = 2,
                             .n_embd = 64,
                             .splits = 1};
    e.head.flags = (uint16_t)flags;
    e.head.count = sizeof texts;
    stream_wait(s, 2000);
    stream_put(s, SL_PROBE_MODEL_LOAD, &e, sizeof e, texts, sizeof texts);
}

static inline void stream_context_kv(stream *s, uint32_t context, uint32_t model, uint64_t kv_bytes)
{
    sl_probe_context_new e = {.start_ns = s->now,
                              .context = context,
                              .model = model,
                              .kv_bytes = kv_bytes,
                              .compute_bytes = kv_bytes * 3,
                              .output_bytes = kv_bytes ? 7712 : 0,
                              .n_ctx = 2048,
                              .n_ctx_seq = 512,
                              .n_batch = 2048,
                              .n_ubatch = 512,
                              .n_seq_max = 4};
    stream_wait(s, 500);
    stream_put(s, SL_PROBE_CONTEXT_NEW, &e, sizeof e, NULL, 0);
}

static inline void stream_model(stream *s)
{
    stream_model_flags(s, 1, SL_PROBE_MODEL_MMAP | SL_PROBE_MODEL_FLAGS_KNOWN, 542976);
    stream_context_kv(s, 1, 1, 524288);
}

static inline void stream_request_on(stream *s, uint32_t id, uint32_t connection, const char *head)
{
    sl_probe_request e = {.start_ns = s->now, .request = id, .connection = connection};
    uint32_t before = s->thread;
    s->thread = 200 + connection;
    e.head.count = (uint32_t)strlen(head);
    stream_put(s, SL_PROBE_REQUEST, &e, sizeof e, head, strlen(head));
    sl_probe_request_end end = {.bytes = 50, .request = id};
    stream_put(s, SL_PROBE_REQUEST_END, &end, sizeof end, NULL, 0);
    s->thread = before;
}

static inline void stream_request(stream *s, uint32_t id, const char *head)
{
    stream_request_on(s, id, id, head);
}

static inline void stream_tokenize(stream *s, uint32_t id, const int32_t *tokens, uint32_t n)
{
    sl_probe_tokenize e = {.start_ns = s->now, .request = id, .n_tokens = n};
    e.head.count = n;
    stream_put(s, SL_PROBE_TOKENIZE, &e, sizeof e, tokens, n * sizeof *tokens);
}

static inline void stream_post(stream *s, uint32_t id)
{
    sl_probe_post e = {.request = id};
    stream_put(s, SL_PROBE_POST, &e, sizeof e, NULL, 0);
}

/* Two prompts, and a request with a parent. */
static const int32_t P1[] = {1, 10, 11, 12, 13, 14, 15, 16};
static const int32_t P2[] = {1, 20, 21, 22, 23, 24};
static const char traced[] = "POST /v1/chat/completions?x=1 HTTP/1.1\n"
                             "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n"
                             "tracestate: a=b\nuser-agent: OpenAI/Python 3\nhost: localhost:8086\n";

#define COMPLETION "POST /completion HTTP/1.1\nhost: 127.0.0.1:8080\nuser-agent: test\n"

/* A request with one prompt, posted. */
static inline void stream_ask(stream *s, uint32_t id, const int32_t *tokens, uint32_t n)
{
    stream_request(s, id, COMPLETION);
    stream_tokenize(s, id, tokens, n);
    stream_post(s, id);
}

/* Adds `n` tokens of a sequence to the batch; `outputs` at the end of them. tokens NULL: embeddings. */
static inline void stream_run(stream *s, int32_t seq, int32_t pos, const int32_t *tokens, uint32_t n, uint32_t outputs)
{
    sl_probe_run *run = &s->runs[s->run_count++];
    *run = (sl_probe_run){.seq = seq, .pos = pos, .n = n, .outputs = outputs, .row = s->batch_tokens};
    if (outputs)
        run->flags |= SL_PROBE_RUN_LAST_OUTPUT;
    if (tokens)
        memcpy(s->tokens + s->token_count, tokens, n * sizeof *tokens);
    else
        run->flags |= SL_PROBE_RUN_NO_TOKENS;
    s->token_count += tokens ? n : 0;
    s->batch_tokens += n;
}

static inline void stream_decode_as(stream *s, uint32_t context, unsigned api, int32_t result, uint64_t us)
{
    char tail[sizeof s->runs + sizeof s->tokens];
    size_t runs = s->run_count * sizeof *s->runs;
    memcpy(tail, s->runs, runs);
    memcpy(tail + runs, s->tokens, s->token_count * sizeof *s->tokens);
    sl_probe_decode e = {.start_ns = s->now,
                         .context = context,
                         .result = result,
                         .n_tokens = s->batch_tokens,
                         .n_listed = s->token_count};
    e.head.flags = (uint16_t)api;
    e.head.count = s->run_count;
    stream_wait(s, us);
    stream_put(s, SL_PROBE_DECODE, &e, sizeof e, tail, runs + s->token_count * sizeof *s->tokens);
    s->run_count = s->token_count = s->batch_tokens = 0;
}

static inline void stream_decode(stream *s)
{
    stream_decode_as(s, 1, SL_PROBE_API_DECODE, 0, 200);
    sl_probe_sync sync = {.start_ns = s->now, .context = 1};
    stream_put(s, SL_PROBE_SYNC, &sync, sizeof sync, NULL, 0);
}

/* A prompt of one sequence from `from` on, in a batch of its own. */
static inline void stream_prompt(stream *s, int32_t seq, const int32_t *tokens, uint32_t from, uint32_t n)
{
    stream_run(s, seq, (int32_t)from, tokens + from, n - from, 1);
    stream_decode(s);
}

/* `steps` batches of one token. */
static inline void stream_generate(stream *s, int32_t seq, uint32_t pos, uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++) {
        int32_t token = (int32_t)(400 + i);
        stream_run(s, seq, (int32_t)(pos + i), &token, 1, 1);
        stream_decode(s);
    }
}

static inline void stream_seq_op(stream *s, unsigned op, int32_t seq, int32_t seq_to, int32_t p0, int32_t p1,
                                 int32_t delta)
{
    sl_probe_sequence e = {
        .start_ns = s->now, .context = 1, .seq = seq, .seq_to = seq_to, .p0 = p0, .p1 = p1, .delta = delta};
    e.head.flags = (uint16_t)op;
    stream_put(s, SL_PROBE_SEQUENCE, &e, sizeof e, NULL, 0);
}

static inline void stream_answer(stream *s, uint32_t id, uint32_t status, bool sse)
{
    sl_probe_answer e = {.request = id, .status = status};
    e.head.flags = sse ? SL_PROBE_ANSWER_SSE | SL_PROBE_ANSWER_CHUNKED : SL_PROBE_ANSWER_LENGTH;
    stream_put(s, SL_PROBE_ANSWER, &e, sizeof e, NULL, 0);
}

static inline void stream_end_as(stream *s, uint32_t id, unsigned flags, const char *tail)
{
    sl_probe_answer_end e = {.request = id, .bytes = strlen(tail)};
    e.head.flags = (uint16_t)flags;
    e.head.count = (uint32_t)strlen(tail);
    stream_put(s, SL_PROBE_ANSWER_END, &e, sizeof e, tail, strlen(tail));
}

/* The client goes away before the end. */
static inline void stream_leave(stream *s, uint32_t id)
{
    stream_end_as(s, id, SL_PROBE_END_CLOSED | SL_PROBE_END_BY_PEER, "");
}

/* The end of llama-server's own answer; `slot` -1: it does not say. */
static inline void stream_end(stream *s, uint32_t id, int slot, int prompt_n, int cache_n, int predicted_n)
{
    char tail[256];
    int at = slot >= 0
                 ? snprintf(tail, sizeof tail, "{\"index\":0,\"content\":\"\",\"id_slot\":%d,\"stop\":true,", slot)
                 : snprintf(tail, sizeof tail, "{\"object\":\"\",");
    snprintf(tail + at, sizeof tail - (size_t)at,
             "\"timings\":{\"cache_n\":%d,\"prompt_n\":%d,\"prompt_ms\":1.5,\"predicted_n\":%d,\"predicted_ms\":2.5}}",
             cache_n, prompt_n, predicted_n);
    stream_end_as(s, id, SL_PROBE_END_COMPLETE, tail);
}

/* ---- reading spans ---- */

/* The `index`th span of a name; NULL. */
static inline const sl_otlp_span *stream_span(const stream *s, const char *name, size_t index)
{
    for (size_t i = 0; i < s->count; i++) {
        if (sl_str_eq_c(s->spans[i].name, name) && index-- == 0)
            return &s->spans[i];
    }
    return NULL;
}

static inline size_t stream_spans(const stream *s, const char *name)
{
    size_t n = 0;
    while (stream_span(s, name, n))
        n++;
    return n;
}

/* The child of that name; NULL. */
static inline const sl_otlp_span *stream_child(const stream *s, const sl_otlp_span *parent, const char *name)
{
    for (size_t i = 0; parent && i < s->count; i++) {
        if (sl_str_eq_c(s->spans[i].name, name) && sl_str_eq(s->spans[i].parent_span_id, parent->span_id))
            return &s->spans[i];
    }
    return NULL;
}

static inline sl_otlp_any stream_attr(const sl_otlp_span *span, const char *key)
{
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    if (span)
        (void)!sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(key), &any);
    return any;
}

/* -1 when it is not there. */
static inline int64_t stream_int(const sl_otlp_span *span, const char *key)
{
    sl_otlp_any any = stream_attr(span, key);
    return any.type == SL_VALUE_INT ? any.integer : -1;
}

static inline sl_str stream_text(const sl_otlp_span *span, const char *key)
{
    return stream_attr(span, key).str;
}

static inline bool stream_true(const sl_otlp_span *span, const char *key)
{
    return stream_attr(span, key).boolean;
}

static inline size_t stream_links(const sl_otlp_span *span)
{
    return span ? sl_otlp_count(span->self, SL_OTLP_SPAN_LINKS) : 0;
}

/* Whether one span links to another. */
static inline bool stream_is_linked(const sl_otlp_span *span, const sl_otlp_span *to)
{
    sl_otlp_iter it = sl_otlp_items(span ? span->self : sl_str_of(NULL, 0), SL_OTLP_SPAN_LINKS);
    sl_str bytes;
    while (to && sl_otlp_next(&it, &bytes)) {
        sl_otlp_link link;
        if (sl_otlp_read_link(bytes, &link) == 0 && sl_str_eq(link.span_id, to->span_id))
            return true;
    }
    return false;
}

/* Time of an event of that name; 0 when there is none. */
static inline uint64_t stream_event(const sl_otlp_span *span, const char *name)
{
    sl_otlp_iter it = sl_otlp_items(span ? span->self : sl_str_of(NULL, 0), SL_OTLP_SPAN_EVENTS);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_event event;
        if (sl_otlp_read_event(bytes, &event) == 0 && sl_str_eq_c(event.name, name))
            return event.time_ns;
    }
    return 0;
}

#endif
