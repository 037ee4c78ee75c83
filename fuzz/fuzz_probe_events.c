/*
 * The assembler of the probe: events in any order and with any contents that their check lets through do no harm, and
 * nothing is left open. The first byte chooses: events as raw bytes, or made of small numbers so that they meet.
 */
#include <stdlib.h>

#include "src/probe/assembler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EVENT_BYTES 2048

typedef struct input {
    const uint8_t *at;
    size_t left;
    uint64_t now;
    sl_probe_assembler *assembler;
    _Alignas(8) uint8_t event[EVENT_BYTES];
    size_t len; /* of the event */
} input;

static sl_sdk *the_sdk(void)
{
    static sl_sdk *sdk;
    if (!sdk) {
        sl_sdk_options options = {
            .ignore_environment = true, .no_default_exporters = true, .metric_interval_ms = 3600000};
        if (sl_sdk_new(&options, &sdk))
            abort();
    }
    return sdk;
}

static uint8_t take(input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->at++;
}

static void feed(input *in, unsigned kind)
{
    sl_probe_event *head = (sl_probe_event *)(void *)in->event;
    in->len = (in->len + 7) & ~(size_t)7;
    head->kind = (uint16_t)kind;
    head->time_ns = in->now += take(in) * 100000ull;
    if (sl_probe_event_check(head, in->len) == 0)
        sl_probe_assembler_event(in->assembler, head, in->len);
}

/* Bytes as they are. */
static void raw_event(input *in)
{
    size_t len = ((size_t)take(in) << 3) % EVENT_BYTES;
    unsigned kind = take(in);
    memset(in->event, 0, sizeof in->event);
    in->len = len < sizeof(sl_probe_event) ? sizeof(sl_probe_event) : len;
    size_t n = in->left < in->len ? in->left : in->len;
    memcpy(in->event, in->at, n);
    in->at += n;
    in->left -= n;
    feed(in, kind % (SL_PROBE_KIND_COUNT + 1));
}

#define MAKE(type, name)                                                                                               \
    memset(in->event, 0, sizeof in->event);                                                                            \
    type *name = (type *)(void *)in->event;                                                                            \
    in->len = sizeof *name;                                                                                            \
    name->head.thread = take(in) & 3

static void put_text(input *in, const char *text, size_t len)
{
    memcpy(in->event + in->len, text, len);
    ((sl_probe_event *)(void *)in->event)->count = (uint32_t)len;
    in->len += len;
}

static void make_decode(input *in)
{
    MAKE(sl_probe_decode, e);
    sl_probe_run *run = (sl_probe_run *)(void *)(e + 1);
    uint32_t runs = take(in) % 5, tokens = 0;
    e->context = take(in) & 1;
    e->result = (int8_t)take(in) % 4;
    e->start_ns = in->now;
    e->head.flags = take(in) % 3;
    for (uint32_t i = 0; i < runs; i++) {
        uint8_t shape = take(in);
        run[i].seq = (int8_t)(take(in) & 3);
        run[i].pos = (int8_t)take(in) % 16 - 1;
        run[i].n = shape & 7;
        run[i].outputs = shape & 8 ? run[i].n : shape & 16 ? run[i].n / 2 : 0;
        run[i].flags = (shape & 24 ? SL_PROBE_RUN_LAST_OUTPUT : 0) | (shape >> 5 == 7 ? SL_PROBE_RUN_NO_TOKENS : 0) |
                       (shape >> 5 == 6 && i ? SL_PROBE_RUN_SHARED : 0);
        if (!(run[i].flags & SL_PROBE_RUN_SHARED))
            e->n_tokens += run[i].n;
        if (!(run[i].flags & (SL_PROBE_RUN_SHARED | SL_PROBE_RUN_NO_TOKENS)))
            tokens += run[i].n;
    }
    int32_t *token = (int32_t *)(void *)(run + runs);
    for (uint32_t i = 0; i < tokens; i++)
        token[i] = take(in) & 1;
    e->n_listed = tokens;
    e->head.count = runs;
    in->len += runs * sizeof *run + tokens * sizeof *token;
    feed(in, SL_PROBE_DECODE);
}

static void make_sequence(input *in)
{
    MAKE(sl_probe_sequence, e);
    e->head.flags = take(in) & 7;
    e->context = take(in) & 1;
    e->start_ns = in->now > 3000000 ? in->now - (take(in) & 1) * 3000000ull : 0;
    e->seq = (int8_t)take(in) % 5 - 1;
    e->seq_to = (int8_t)take(in) % 5 - 1;
    e->p0 = (int8_t)take(in) % 20 - 1;
    e->p1 = (int8_t)take(in) % 20 - 1;
    e->delta = (int8_t)take(in);
    feed(in, SL_PROBE_SEQUENCE);
}

static void make_request(input *in)
{
    static const char *const heads[] = {
        "POST /completion HTTP/1.1\nhost: h:1\n",
        "POST /v1/embeddings HTTP/1.1\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n",
        "GET /health HTTP/1.1\n", "PUT /slots/17?x HTTP/1.1\nhost: [::1]\n"};
    MAKE(sl_probe_request, e);
    const char *text = heads[take(in) & 3];
    e->request = take(in) & 7;
    e->connection = take(in) & 7;
    e->start_ns = in->now;
    put_text(in, text, strlen(text));
    feed(in, SL_PROBE_REQUEST);
}

static void make_tokenize(input *in)
{
    MAKE(sl_probe_tokenize, e);
    uint32_t n = take(in) & 15;
    e->request = take(in) & 7;
    e->n_tokens = n + (take(in) & 1);
    int32_t *token = (int32_t *)(void *)(e + 1);
    for (uint32_t i = 0; i < n; i++)
        token[i] = take(in) & 1;
    e->head.count = n;
    in->len += n * sizeof *token;
    feed(in, SL_PROBE_TOKENIZE);
}

static void make_end(input *in)
{
    static const char *const tails[] = {
        "", "\"id_slot\":1,\"timings\":{\"prompt_n\":3,\"cache_n\":0,\"predicted_n\":2}}",
        "\"timings\":{\"prompt_n\":1,\"cache_n\":2,\"predicted_n\":1}}", "\"usage\":{\"completion_tokens\":3}}"};
    MAKE(sl_probe_answer_end, e);
    const char *text = tails[take(in) & 3];
    e->request = take(in) & 7;
    e->head.flags = take(in) & 3;
    put_text(in, text, strlen(text));
    feed(in, SL_PROBE_ANSWER_END);
}

static void make_resource(input *in, uint8_t which)
{
    if (which & 1) {
        MAKE(sl_probe_context_new, e);
        e->context = take(in) & 1;
        e->model = take(in) & 1;
        e->n_seq_max = (int8_t)take(in);
        e->kv_bytes = take(in);
        feed(in, SL_PROBE_CONTEXT_NEW);
    } else if (which & 2) {
        MAKE(sl_probe_context_free, e);
        e->context = take(in) & 1;
        feed(in, SL_PROBE_CONTEXT_FREE);
    } else if (which & 4) {
        MAKE(sl_probe_model_load, e);
        e->model = take(in) & 1;
        e->head.flags = take(in) & 31;
        put_text(in, "p\0d q r", 8);
        feed(in, SL_PROBE_MODEL_LOAD);
    } else {
        MAKE(sl_probe_buffer, e);
        e->bytes = (int8_t)take(in);
        e->owner = take(in) & 1;
        e->phase = take(in) % 3;
        put_text(in, "CPU", 3);
        feed(in, SL_PROBE_BUFFER);
    }
}

static void make_small(input *in, uint8_t which)
{
    if (which & 1) {
        MAKE(sl_probe_post, e);
        e->request = take(in) & 7;
        feed(in, SL_PROBE_POST);
    } else if (which & 2) {
        MAKE(sl_probe_answer, e);
        e->request = take(in) & 7;
        e->status = take(in) * 4u;
        feed(in, SL_PROBE_ANSWER);
    } else {
        MAKE(sl_probe_sync, e);
        e->context = take(in) & 1;
        feed(in, SL_PROBE_SYNC);
    }
}

static void made_event(input *in)
{
    uint8_t op = take(in);
    switch (op & 7) {
    case 0:
    case 1:
        make_decode(in);
        break;
    case 2:
        make_sequence(in);
        break;
    case 3:
        make_request(in);
        break;
    case 4:
        make_tokenize(in);
        break;
    case 5:
        make_end(in);
        break;
    case 6:
        make_small(in, op >> 3);
        break;
    default:
        if (op >> 3 == 31)
            sl_probe_assembler_tick(in->assembler, in->now += 3000000000u, 0);
        else
            make_resource(in, op >> 3);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_probe_options options = {.sdk = the_sdk(), .unix_offset_ns = 1000000, .decode_span_every = 3};
    if (size < 2)
        return 0;
    input *in = calloc(1, sizeof *in);
    if (!in || sl_probe_assembler_new(&options, &in->assembler))
        abort();
    bool raw = data[0] & 1;
    in->at = data + 1;
    in->left = size - 1;
    in->now = 1000000000;
    while (in->left)
        (raw ? raw_event : made_event)(in);
    sl_probe_assembler_free(in->assembler);
    free(in);
    return 0;
}
