/* Records as the kernel's programs write them, and the events that become of them. */
#include "src/probe/uprobe/translate.h"

#include <stdlib.h>
#include <string.h>

#include "src/base/limits.h"
#include "tests/harness/sl_test.h"

#define THREAD (7ull << 32 | 9)
#define OTHER (7ull << 32 | 10)
#define CONTEXT 0x1000u
#define MODEL 0x2000u
#define SITE 0x400100u

typedef struct bench {
    sl_probe_ring *ring;
    sl_uprobe_translator *t;
    bool blind; /* no return is watched */
    uint64_t since;
    unsigned sites;
    uint64_t now;
    size_t count;
    unsigned char event[256][512];
} bench;

static uint64_t on_site(void *user, uint64_t address)
{
    bench *b = user;
    b->sites++;
    CHECK(address != 0);
    return b->blind ? UINT64_MAX : b->since;
}

static int32_t on_fact(void *user, sl_uprobe_fact which, uint64_t address)
{
    (void)user;
    CHECK(address != 0);
    return 100 + (int32_t)which;
}

static void setup(bench *b)
{
    memset(b, 0, sizeof *b);
    b->now = 1000;
    CHECK_EQ(sl_probe_ring_new(NULL, 1 << 20, &b->ring), 0);
    const sl_uprobe_translator_options options = {b->ring, on_site, on_fact, b};
    CHECK_EQ(sl_uprobe_translator_new(&options, &b->t), 0);
}

static void teardown(bench *b)
{
    sl_uprobe_translator_free(b->t);
    sl_probe_ring_free(b->ring);
}

static void on_event(void *user, const sl_probe_event *event, size_t size)
{
    bench *b = user;
    CHECK_EQ(sl_probe_event_check(event, size), 0);
    if (b->count < 256 && size <= sizeof b->event[0])
        memcpy(b->event[b->count++], event, size);
}

/* Event `index` of those that came; what is not there is a PAD. */
static const void *event_at(bench *b, size_t index, sl_probe_kind kind)
{
    static const unsigned char none[512];
    (void)sl_probe_ring_read(b->ring, 1000, 1, on_event, b);
    const sl_probe_event *e = index < b->count ? (const void *)b->event[index] : (const void *)none;
    CHECK_EQ(e->kind, kind);
    return e;
}

static size_t events(bench *b)
{
    (void)sl_probe_ring_read(b->ring, 1000, 1, on_event, b);
    return b->count;
}

static sl_uprobe_record head(bench *b, uint64_t thread, uint32_t point, uint64_t stack)
{
    return (sl_uprobe_record){.time_ns = b->now += 10, .thread = thread, .point = point, .from = SITE, .stack = stack};
}

static void call(bench *b, uint64_t thread, uint32_t point, uint64_t stack, const uint64_t args[SL_UPROBE_ARGS])
{
    sl_uprobe_record r = head(b, thread, point, stack);
    memcpy(r.args, args, sizeof r.args);
    sl_uprobe_translate(b->t, &r, sizeof r);
}
#define ARGS(...) ((const uint64_t[SL_UPROBE_ARGS]){__VA_ARGS__})

static void back(bench *b, uint64_t thread, uint64_t stack, uint64_t value)
{
    call(b, thread, SL_UPROBE_RETURN, stack, ARGS(value));
}

static void load(bench *b, const char *path)
{
    sl_uprobe_text_record r = {.head = head(b, THREAD, SL_UPROBE_AT_llama_model_load_from_file, 0x8000)};
    r.len = (int64_t)strlen(path) + 1;
    memcpy(r.text, path, strlen(path) + 1);
    sl_uprobe_translate(b->t, &r, sizeof r);
}

/* A batch of `n` tokens 100, 101... at positions from `pos` on, of sequence `seq`; the last one asks for an output. */
static sl_uprobe_batch_record *batch(bench *b, uint64_t thread, uint64_t stack, uint32_t n, int32_t pos, int32_t seq)
{
    const uint32_t room = 16;
    sl_uprobe_batch_record *r = calloc(1, sl_uprobe_batch_bytes(room));
    char *base = (char *)r;
    r->head = head(b, thread, SL_UPROBE_AT_llama_decode, stack);
    r->head.args[0] = CONTEXT;
    r->head.tokens = n;
    r->batch = (sl_uprobe_batch){.n_tokens = (int32_t)n, 0, 1, 0, 1, 1, 1, 1};
    r->room = room;
    for (uint32_t i = 0; i < n; i++) {
        ((int32_t *)(void *)(base + sl_uprobe_token_at(room)))[i] = 100 + (int32_t)i;
        ((int32_t *)(void *)(base + sl_uprobe_pos_at(room)))[i] = pos + (int32_t)i;
        ((int32_t *)(void *)(base + sl_uprobe_n_seq_at(room)))[i] = 1;
        ((int32_t *)(void *)(base + sl_uprobe_seqs_at(room)))[i * SL_UPROBE_SEQS_EACH] = seq;
        base[sl_uprobe_output_at(room) + i] = i + 1 == n;
    }
    return r;
}

static void send_batch(bench *b, sl_uprobe_batch_record *r)
{
    sl_uprobe_translate(b->t, r, sl_uprobe_batch_bytes(r->room));
    free(r);
}

SL_TEST(a_host_from_loading_to_freeing)
{
    bench b;
    setup(&b);
    sl_uprobe_tell_attached(b.t, 7, "/bin/server", "/bin/server", "llama_decode llama_free");
    load(&b, "/models/a.gguf");
    back(&b, THREAD, 0x8000, MODEL);
    call(&b, THREAD, SL_UPROBE_AT_llama_init_from_model, 0x8000, ARGS(MODEL));
    back(&b, THREAD, 0x8000, CONTEXT);
    send_batch(&b, batch(&b, THREAD, 0x8000, 3, 0, 2));
    back(&b, THREAD, 0x8000, 1);
    call(&b, THREAD, SL_UPROBE_AT_llama_free, 0x8000, ARGS(CONTEXT));
    call(&b, THREAD, SL_UPROBE_AT_llama_model_free, 0x8000, ARGS(MODEL));
    sl_uprobe_tell_end(b.t, 5);
    CHECK_EQ(((const sl_probe_attach *)event_at(&b, 0, SL_PROBE_ATTACH))->pid, 7);
    (void)event_at(&b, 1, SL_PROBE_FOUND);
    const sl_probe_model_load *m = event_at(&b, 2, SL_PROBE_MODEL_LOAD);
    CHECK_STR(sl_str_c((const char *)(m + 1)), "/models/a.gguf");
    CHECK_EQ(m->head.time_ns - m->start_ns, 10);
    CHECK_EQ(m->n_ctx_train, 100 + SL_UPROBE_N_CTX_TRAIN);
    const sl_probe_context_new *c = event_at(&b, 3, SL_PROBE_CONTEXT_NEW);
    CHECK_EQ(c->model, m->model);
    CHECK_EQ(c->n_ctx, 100 + SL_UPROBE_N_CTX);
    CHECK_EQ(c->head.flags, SL_PROBE_CONTEXT_NO_BYTES);
    const sl_probe_decode *d = event_at(&b, 4, SL_PROBE_DECODE);
    CHECK_EQ(d->context, c->context);
    CHECK_EQ(d->result, 1);
    CHECK_EQ(d->n_tokens, 3);
    CHECK_EQ(d->n_listed, 3);
    CHECK_EQ(d->head.thread, 9);
    const sl_probe_run *run = (const void *)(d + 1);
    CHECK_EQ(d->head.count, 1);
    CHECK_EQ(run->seq, 2);
    CHECK_EQ(run->n, 3);
    CHECK_EQ(run->outputs, 1);
    CHECK_EQ(((const int32_t *)(const void *)(run + 1))[2], 102);
    (void)event_at(&b, 5, SL_PROBE_CONTEXT_FREE);
    (void)event_at(&b, 6, SL_PROBE_MODEL_FREE);
    (void)event_at(&b, 7, SL_PROBE_EXIT);
    CHECK_EQ(events(&b), 8);
    teardown(&b);
}

SL_TEST(what_fails_is_said_to)
{
    bench b;
    setup(&b);
    load(&b, "none");
    back(&b, THREAD, 0x8000, 0);
    call(&b, THREAD, SL_UPROBE_AT_llama_init_from_model, 0x8000, ARGS(MODEL));
    back(&b, THREAD, 0x8000, 0);
    send_batch(&b, batch(&b, THREAD, 0x8000, 3, 0, 0));
    back(&b, THREAD, 0x8000, 0xffffffffu); /* -1: invalid */
    CHECK_EQ(((const sl_probe_model_load *)event_at(&b, 0, SL_PROBE_MODEL_LOAD))->head.flags, SL_PROBE_MODEL_FAILED);
    CHECK(((const sl_probe_context_new *)event_at(&b, 1, SL_PROBE_CONTEXT_NEW))->head.flags & SL_PROBE_CONTEXT_FAILED);
    CHECK(((const sl_probe_context_new *)event_at(&b, 2, SL_PROBE_CONTEXT_NEW))->head.flags & SL_PROBE_CONTEXT_FOUND);
    const sl_probe_decode *d = event_at(&b, 3, SL_PROBE_DECODE);
    CHECK_EQ(d->result, -1);
    CHECK_EQ(d->head.count, 0);
    CHECK_EQ(d->n_tokens, 3);
    teardown(&b);
}

/* Older names call the newer ones, by a call or a jump: one model, one context. */
SL_TEST(what_calls_another_is_told_once)
{
    bench b;
    setup(&b);
    sl_uprobe_text_record r = {.head = head(&b, THREAD, SL_UPROBE_AT_llama_load_model_from_file, 0x8000)};
    r.len = -14; /* unreadable */
    sl_uprobe_translate(b.t, &r, sizeof r);
    r.head = head(&b, THREAD, SL_UPROBE_AT_llama_model_load_from_file, 0x7f00);
    sl_uprobe_translate(b.t, &r, sizeof r);
    back(&b, THREAD, 0x7f00, MODEL);
    back(&b, THREAD, 0x8000, MODEL);
    call(&b, THREAD, SL_UPROBE_AT_llama_new_context_with_model, 0x8000, ARGS(MODEL));
    call(&b, THREAD, SL_UPROBE_AT_llama_init_from_model, 0x8000, ARGS(MODEL)); /* a jump: the same stack */
    call(&b, THREAD, SL_UPROBE_AT_llama_memory_clear, 0x7000, ARGS(CONTEXT));
    back(&b, THREAD, 0x8000, CONTEXT);
    CHECK_STR(sl_str_c((const char *)((const sl_probe_model_load *)event_at(&b, 0, SL_PROBE_MODEL_LOAD) + 1)), "");
    (void)event_at(&b, 1, SL_PROBE_CONTEXT_NEW);
    CHECK_EQ(events(&b), 2);
    teardown(&b);
}

SL_TEST(a_missed_end_is_not_made_up)
{
    bench b;
    setup(&b);
    b.blind = true;
    send_batch(&b, batch(&b, THREAD, 0x8000, 2, 0, 0));
    send_batch(&b, batch(&b, THREAD, 0x8000, 1, 2, 0));
    /* Another thread uses the context: the second one is over. */
    call(&b, OTHER, SL_UPROBE_AT_llama_memory_seq_rm, 0x9000, ARGS(0x55, 3, 4, 0xffffffffu));
    back(&b, THREAD, 0x8000, 0); /* too late to mean anything */
    (void)event_at(&b, 0, SL_PROBE_CONTEXT_NEW);
    CHECK_EQ(((const sl_probe_decode *)event_at(&b, 1, SL_PROBE_DECODE))->result, SL_PROBE_RESULT_UNKNOWN);
    const sl_probe_decode *second = event_at(&b, 2, SL_PROBE_DECODE);
    CHECK_EQ(second->result, SL_PROBE_RESULT_UNKNOWN);
    CHECK_EQ(second->n_tokens, 1);
    const sl_probe_sequence *s = event_at(&b, 3, SL_PROBE_SEQUENCE);
    CHECK_EQ(s->head.flags, SL_PROBE_SEQ_RM);
    CHECK_EQ(s->seq, 3);
    CHECK_EQ(s->p0, 4);
    CHECK_EQ(s->p1, -1);
    CHECK_EQ(s->context, second->context);
    send_batch(&b, batch(&b, THREAD, 0x8000, 1, 3, 0));
    sl_uprobe_tell_missed(b.t, b.now + 5, 1000);
    CHECK_EQ(events(&b), 4);
    sl_uprobe_tell_missed(b.t, b.now + 1000, 1000);
    (void)event_at(&b, 4, SL_PROBE_DECODE);
    teardown(&b);
}

/* Its record was waiting when the breakpoint was set: whether its return will be seen is open. */
SL_TEST(a_call_from_before_the_breakpoint)
{
    bench b;
    setup(&b);
    b.since = b.now + 15;
    send_batch(&b, batch(&b, THREAD, 0x8000, 2, 0, 0)); /* before */
    call(&b, OTHER, SL_UPROBE_AT_llama_memory_seq_rm, 0x9000, ARGS(CONTEXT, 3, 4, 5));
    send_batch(&b, batch(&b, THREAD, 0x8000, 2, 0, 0)); /* after: nobody else can be at work on the context */
    back(&b, THREAD, 0x8000, 0);
    CHECK_EQ(((const sl_probe_decode *)event_at(&b, 1, SL_PROBE_DECODE))->result, SL_PROBE_RESULT_UNKNOWN);
    (void)event_at(&b, 2, SL_PROBE_SEQUENCE);
    CHECK_EQ(((const sl_probe_decode *)event_at(&b, 3, SL_PROBE_DECODE))->result, 0);
    teardown(&b);
}

/* An exception, or longjmp, leaves a call without a return: the next one is from further out, or, as a retry in a
 * function that the first caller calls, from further in. */
SL_TEST(a_call_that_is_left_ends)
{
    static const struct {
        uint64_t left, next; /* stack pointers */
    } cases[] = {{0x7000, 0x8000}, {0x8000, 0x7000}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bench b;
        setup(&b);
        send_batch(&b, batch(&b, THREAD, cases[i].left, 2, 0, 0));
        send_batch(&b, batch(&b, THREAD, cases[i].next, 1, 2, 0));
        back(&b, THREAD, cases[i].next, 0);
        (void)event_at(&b, 0, SL_PROBE_CONTEXT_NEW);
        CHECK_EQ(((const sl_probe_decode *)event_at(&b, 1, SL_PROBE_DECODE))->result, SL_PROBE_RESULT_UNKNOWN);
        const sl_probe_decode *second = event_at(&b, 2, SL_PROBE_DECODE);
        CHECK_EQ(second->result, 0);
        CHECK_EQ(second->n_tokens, 1);
        teardown(&b);
    }
}

/* Records that came in after the clock was read are of calls that have only begun. */
SL_TEST(a_call_from_after_the_look_is_not_missed)
{
    bench b;
    setup(&b);
    b.blind = true;
    uint64_t look_ns = b.now;
    send_batch(&b, batch(&b, THREAD, 0x8000, 2, 0, 0));
    sl_uprobe_tell_missed(b.t, look_ns, 1000);
    CHECK_EQ(events(&b), 1); /* the context alone */
    sl_uprobe_tell_missed(b.t, look_ns + 2000, 1000);
    const sl_probe_decode *d = event_at(&b, 1, SL_PROBE_DECODE);
    CHECK(d->head.time_ns >= d->start_ns);
    teardown(&b);
}

/* Threads end within calls for days: those that work are seen all the same. */
SL_TEST(calls_that_never_end_make_room)
{
    bench b;
    setup(&b);
    for (uint64_t i = 0; i < 3 * SL_UPROBE_MAX_CALLS; i++) {
        send_batch(&b, batch(&b, THREAD + i, 0x8000, 1, 0, 0));
        (void)events(&b);
        b.count = b.count > 1 ? 1 : b.count;
    }
    send_batch(&b, batch(&b, OTHER << 8, 0x8000, 3, 0, 0));
    back(&b, OTHER << 8, 0x8000, 0);
    (void)events(&b);
    const sl_probe_decode *last = (const void *)b.event[b.count - 1];
    CHECK_EQ(last->head.kind, SL_PROBE_DECODE);
    CHECK_EQ(last->n_tokens, 3);
    CHECK_EQ(last->result, 0);
    teardown(&b);
}

SL_TEST(threads_do_not_mix)
{
    bench b;
    setup(&b);
    send_batch(&b, batch(&b, THREAD, 0x8000, 2, 0, 0));
    call(&b, OTHER, SL_UPROBE_AT_llama_init_from_model, 0x8000, ARGS(MODEL));
    back(&b, OTHER, 0x8000, 0x3000);
    back(&b, THREAD, 0x8000, 0);
    (void)event_at(&b, 0, SL_PROBE_CONTEXT_NEW); /* found */
    const sl_probe_context_new *c = event_at(&b, 1, SL_PROBE_CONTEXT_NEW);
    CHECK_EQ(c->context, 2);
    const sl_probe_decode *d = event_at(&b, 2, SL_PROBE_DECODE);
    CHECK_EQ(d->context, 1);
    teardown(&b);
}

SL_TEST(batches_of_several_sequences)
{
    bench b;
    setup(&b);
    sl_uprobe_batch_record *r = batch(&b, THREAD, 0x8000, 4, 0, 0);
    char *base = (char *)r;
    int32_t *seqs = (int32_t *)(void *)(base + sl_uprobe_seqs_at(r->room));
    int32_t *n_seq = (int32_t *)(void *)(base + sl_uprobe_n_seq_at(r->room));
    n_seq[0] = n_seq[1] = 2; /* two tokens of sequences 0 and 1, then one each of 2 and of 9 (and more than are read) */
    seqs[1] = seqs[SL_UPROBE_SEQS_EACH + 1] = 1;
    seqs[2 * SL_UPROBE_SEQS_EACH] = 2;
    seqs[3 * SL_UPROBE_SEQS_EACH] = 9;
    n_seq[3] = 100;
    send_batch(&b, r);
    back(&b, THREAD, 0x8000, 0);
    const sl_probe_decode *d = event_at(&b, 1, SL_PROBE_DECODE);
    const sl_probe_run *run = (const void *)(d + 1);
    CHECK_EQ(d->head.count, 4);
    CHECK_EQ(run[0].n, 2);
    CHECK_EQ(run[1].seq, 1);
    CHECK_EQ(run[1].flags & SL_PROBE_RUN_SHARED, SL_PROBE_RUN_SHARED);
    CHECK_EQ(run[2].seq, 2);
    CHECK_EQ(run[3].seq, 9);
    teardown(&b);
}

SL_TEST(lists_that_are_not_there)
{
    bench b;
    setup(&b);
    sl_uprobe_batch_record *r = batch(&b, THREAD, 0x8000, 4, 0, 5);
    r->batch.pos = r->batch.logits = 0;
    r->faults[SL_UPROBE_SEQ] = -14;
    send_batch(&b, r);
    back(&b, THREAD, 0x8000, 0);
    const sl_probe_run *run = (const void *)((const sl_probe_decode *)event_at(&b, 1, SL_PROBE_DECODE) + 1);
    CHECK_EQ(run->seq, 0);
    CHECK_EQ(run->pos, -1);
    CHECK_EQ(run->outputs, 1);
    r = batch(&b, THREAD, 0x8000, 4, 0, 5);
    r->faults[SL_UPROBE_TOKEN] = -14;
    send_batch(&b, r);
    back(&b, THREAD, 0x8000, 0);
    const sl_probe_decode *d = event_at(&b, 2, SL_PROBE_DECODE);
    CHECK_EQ(d->n_listed, 0);
    CHECK_EQ(d->n_tokens, 4);
    teardown(&b);
}

/* More tokens than a record has room for: the first ones are told, and the true number. */
SL_TEST(a_batch_that_is_cut)
{
    bench b;
    setup(&b);
    sl_uprobe_batch_record *r = batch(&b, THREAD, 0x8000, 16, 0, 0);
    r->batch.n_tokens = 9000;
    r->batch.logits = 0;
    send_batch(&b, r);
    back(&b, THREAD, 0x8000, 0);
    const sl_probe_decode *d = event_at(&b, 1, SL_PROBE_DECODE);
    CHECK_EQ(d->n_tokens, 9000);
    CHECK_EQ(d->n_listed, 16);
    const sl_probe_run *run = (const void *)(d + 1);
    CHECK_EQ(run->n, 16);
    CHECK_EQ(run->outputs, 0); /* the last one, which has it, is not there */
    teardown(&b);
}

SL_TEST(sequences)
{
    static const struct {
        uint32_t point;
        uint16_t op;
        int32_t seq, seq_to, p0, p1, delta;
    } rows[] = {{SL_UPROBE_AT_llama_kv_cache_clear, SL_PROBE_SEQ_CLEAR, -1, -1, -1, -1, 0},
                {SL_UPROBE_AT_llama_kv_self_seq_rm, SL_PROBE_SEQ_RM, 1, -1, 2, 3, 0},
                {SL_UPROBE_AT_llama_memory_seq_cp, SL_PROBE_SEQ_CP, 1, 2, 3, 4, 0},
                {SL_UPROBE_AT_llama_kv_self_seq_keep, SL_PROBE_SEQ_KEEP, 1, -1, -1, -1, 0},
                {SL_UPROBE_AT_llama_kv_cache_seq_add, SL_PROBE_SEQ_ADD, 1, -1, 2, 3, 4},
                {SL_UPROBE_AT_llama_memory_seq_div, SL_PROBE_SEQ_DIV, 1, -1, 2, 3, 4}};
    bench b;
    setup(&b);
    call(&b, THREAD, rows[1].point, 0x8000, ARGS(CONTEXT, 1, 2, 3)); /* of a context that is not known */
    CHECK_EQ(events(&b), 0);
    send_batch(&b, batch(&b, THREAD, 0x8000, 1, 0, 0));
    back(&b, THREAD, 0x8000, 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        call(&b, THREAD, rows[i].point, 0x8000, ARGS(CONTEXT, 1, 2, 3, 4, 5));
        const sl_probe_sequence *s = event_at(&b, 2 + i, SL_PROBE_SEQUENCE);
        CHECK_EQ(s->head.flags, rows[i].op);
        CHECK_EQ(s->seq, rows[i].seq);
        CHECK_EQ(s->seq_to, rows[i].seq_to);
        CHECK_EQ(s->p0, rows[i].p0);
        CHECK_EQ(s->p1, rows[i].p1);
        CHECK_EQ(s->delta, rows[i].delta);
    }
    teardown(&b);
}

/* Whatever is in a record, nothing outside of it is read (sanitizers), and every event is whole. */
SL_TEST(any_records)
{
    static union {
        unsigned char bytes[4096];
        uint64_t words[512];
        sl_uprobe_batch_record batch;
    } r;
    bench b;
    setup(&b);
    uint64_t state = 88172645463325252ull;
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < 40; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            r.words[i] = state;
        }
        r.batch.head.point = state % 4 ? (uint32_t)(state / 4 % (SL_UPROBE_POINTS + 1)) : SL_UPROBE_RETURN;
        r.batch.head.thread = 1 + state / 64 % 4;
        r.batch.head.stack = state / 1024 % 8;
        r.batch.head.args[0] = state % 3 ? CONTEXT : MODEL;
        r.batch.room = (uint32_t)(state / 4096 % 64);
        r.batch.head.tokens = (uint32_t)(state / 8192 % 66);
        sl_uprobe_translate(b.t, r.bytes, state / 16384 % (sizeof r.bytes + 1));
        b.count = 0;
        (void)events(&b);
    }
    teardown(&b);
}
