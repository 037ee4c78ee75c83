/*
 * A server like llama-server, played in events, with requests by chance: few different prompts, so that many ask for
 * the same at once. Whatever the assembler calls certain is compared with what was really done.
 */
#include "src/base/rng.h"
#include "src/probe/test_probe_stream.h"

#define SLOTS 4
#define REQUESTS 240
#define OPEN 9 /* requests at once */
#define PROMPT_MAX 24

/* What a run of the server is like. */
typedef struct weather {
    uint64_t seed;
    uint32_t prompts;     /* different ones */
    uint32_t batch;       /* most tokens of one prompt in a batch */
    bool tells_slot;      /* answers name their slot */
    bool tells_timings;   /* answers have figures */
    bool shares_prefix;   /* prompts begin alike */
    bool swaps;           /* waiting requests get their slots in another order than they came */
    bool measures;        /* timings are what the server itself has measured */
    uint32_t wants;       /* tokens that all ask for; 0: some */
    uint32_t cancel_each; /* one in so many is given up by its client; 0: none */
} weather;

typedef struct sim_request {
    uint32_t id;
    const int32_t *tokens;
    uint32_t n, wanted; /* tokens of the prompt; to be generated */
    bool waiting, done, cancelled;
    int slot;
    uint32_t processed, cached, given;
    uint64_t first_ns, last_ns; /* when the server had its first and its last token */
} sim_request;

typedef struct sim_slot {
    sim_request *request;
    int32_t memory[PROMPT_MAX + 64];
    uint32_t len, next; /* tokens in memory; of the prompt in it */
} sim_slot;

typedef struct sim {
    const weather *w;
    stream *s;
    sl_rng rng;
    int32_t prompts[64][PROMPT_MAX];
    uint32_t lengths[64];
    sim_request requests[REQUESTS];
    sim_slot slots[SLOTS];
    uint32_t begun, ended;
} sim;

static uint32_t chance(sim *m, uint32_t below)
{
    return (uint32_t)(sl_rng_next(&m->rng) % below);
}

static void make_prompts(sim *m)
{
    for (uint32_t i = 0; i < m->w->prompts; i++) {
        m->lengths[i] = 6 + chance(m, PROMPT_MAX - 6);
        for (uint32_t k = 0; k < m->lengths[i]; k++) {
            bool common = k == 0 || (m->w->shares_prefix && k < 4);
            m->prompts[i][k] = common ? (int32_t)k + 1 : 100 + (int32_t)chance(m, 300);
        }
    }
}

static void client_asks(sim *m)
{
    sim_request *r = &m->requests[m->begun];
    uint32_t which = chance(m, m->w->prompts);
    *r = (sim_request){.id = ++m->begun, .tokens = m->prompts[which], .n = m->lengths[which]};
    r->wanted = m->w->wants ? m->w->wants : 1 + chance(m, 8);
    r->waiting = true;
    r->slot = -1;
    stream_ask(m->s, r->id, r->tokens, r->n);
}

/* The next one that waits: the oldest, or any. */
static sim_request *next_waiting(sim *m)
{
    sim_request *found = NULL;
    for (uint32_t i = 0; i < m->begun; i++) {
        if (!m->requests[i].waiting)
            continue;
        if (!found || (m->w->swaps && chance(m, 3) == 0))
            found = &m->requests[i];
        if (!m->w->swaps)
            break;
    }
    return found;
}

static void slot_takes(sim *m, int index)
{
    sim_slot *slot = &m->slots[index];
    sim_request *r = next_waiting(m);
    if (!r)
        return;
    uint32_t common = 0;
    while (common < slot->len && common < r->n && slot->memory[common] == r->tokens[common])
        common++;
    if (common == r->n)
        common--;
    r->waiting = false;
    r->slot = index;
    r->cached = slot->next = common;
    slot->len = common;
    slot->request = r;
    stream_seq_op(m->s, SL_PROBE_SEQ_RM, index, 0, (int32_t)common, -1, 0);
}

static void end_measured(sim *m, const sim_request *r)
{
    char tail[256];
    double ms = (double)((r->last_ns - r->first_ns) / 1000) / 1000;
    (void)snprintf(
        tail, sizeof tail,
        "{\"timings\":{\"cache_n\":%u,\"prompt_n\":%u,\"prompt_ms\":1,\"predicted_n\":%u,\"predicted_ms\":%.3f}}",
        r->cached, r->processed, r->given, ms > 0 ? ms : 0.001);
    stream_end_as(m->s, r->id, SL_PROBE_END_COMPLETE, tail);
}

/* The server samples the batch's outputs, one sequence after the other; of several the host tells which. */
static void samples(sim *m, const uint32_t rows[SLOTS])
{
    uint32_t outputs = 0;
    for (int i = 0; i < SLOTS; i++)
        outputs += rows[i] != UINT32_MAX;
    for (int i = 0; i < SLOTS; i++) {
        sim_request *r = m->slots[i].request;
        if (rows[i] == UINT32_MAX)
            continue;
        sl_probe_logits logits = {.context = 1, .row = (int32_t)rows[i]};
        sl_probe_sample sample = {.chain = 1 + (uint32_t)i, .row = INT32_MIN, .token = 1};
        if (outputs > 1)
            stream_put(m->s, SL_PROBE_LOGITS, &logits, sizeof logits, NULL, 0);
        stream_wait(m->s, chance(m, 40));
        if (outputs > 1)
            stream_put(m->s, SL_PROBE_SAMPLE, &sample, sizeof sample, NULL, 0);
        stream_wait(m->s, chance(m, 10));
        r->last_ns = m->s->now;
        r->first_ns = r->given == 1 ? r->last_ns : r->first_ns;
        stream_wait(m->s, chance(m, 10));
    }
}

static void answer(sim *m, sim_slot *slot)
{
    sim_request *r = slot->request;
    r->done = true;
    m->ended++;
    slot->request = NULL;
    if (m->w->measures)
        end_measured(m, r);
    else if (m->w->tells_timings)
        stream_end(m->s, r->id, m->w->tells_slot ? r->slot : -1, (int)r->processed, (int)r->cached, (int)r->given);
    else
        stream_end_as(m->s, r->id, SL_PROBE_END_COMPLETE, "{}");
}

/* One batch of all that work; whoever has what he wanted is answered, not always at once. */
static void server_steps(sim *m)
{
    bool any = false;
    uint32_t rows[SLOTS];
    for (int i = 0; i < SLOTS; i++) {
        sim_slot *slot = &m->slots[i];
        sim_request *r = slot->request;
        rows[i] = UINT32_MAX;
        if (!r || r->given >= r->wanted)
            continue;
        any = true;
        if (slot->next < r->n) {
            uint32_t n = r->n - slot->next < m->w->batch ? r->n - slot->next : m->w->batch;
            bool last = slot->next + n == r->n;
            stream_run(m->s, i, (int32_t)slot->next, r->tokens + slot->next, n, last);
            memcpy(slot->memory + slot->next, r->tokens + slot->next, n * sizeof *slot->memory);
            slot->next += n;
            slot->len = slot->next;
            r->processed += n;
            r->given += last;
            rows[i] = last ? m->s->batch_tokens - 1 : UINT32_MAX;
        } else {
            int32_t token = 400 + (int32_t)chance(m, 50);
            stream_run(m->s, i, (int32_t)slot->len, &token, 1, 1);
            slot->memory[slot->len++] = token;
            r->given++;
            rows[i] = m->s->batch_tokens - 1;
        }
    }
    if (!any)
        return;
    stream_decode(m->s);
    if (m->w->measures)
        samples(m, rows);
}

static void clients_leave(sim *m)
{
    for (int i = 0; i < SLOTS; i++) {
        sim_request *r = m->slots[i].request;
        bool leaves = r && m->w->cancel_each && r->given && chance(m, m->w->cancel_each * 8) == 0;
        if (!leaves)
            continue;
        r->cancelled = r->done = true;
        r->wanted = r->given;
        m->ended++;
        m->slots[i].request = NULL;
        stream_leave(m->s, r->id);
    }
}

static void play(sim *m)
{
    while (m->ended < REQUESTS) {
        while (m->begun < REQUESTS && m->begun - m->ended < OPEN && chance(m, 2))
            client_asks(m);
        for (int i = 0; i < SLOTS; i++) {
            if (!m->slots[i].request && chance(m, 3))
                slot_takes(m, i);
        }
        server_steps(m);
        clients_leave(m);
        for (int i = 0; i < SLOTS; i++) {
            sim_request *r = m->slots[i].request;
            if (r && r->given >= r->wanted && chance(m, 4))
                answer(m, &m->slots[i]);
        }
        stream_wait(m->s, chance(m, 300));
    }
}

/* ---- judging ---- */

typedef struct verdict {
    uint32_t exact, single, ambiguous, none, wrong, wrong_guesses;
} verdict;

static bool is_right(const stream *s, const sl_otlp_span *server, const sim_request *r)
{
    const sl_otlp_span *prompt = stream_child(s, server, "process_prompt");
    const sl_otlp_span *generate = stream_child(s, server, "generate_tokens");
    return stream_int(server, "slot.id") == r->slot && stream_int(prompt, "prompt.tokens") == (int)r->processed &&
           stream_int(prompt, "prompt.tokens_cached") == (int)r->cached &&
           stream_int(generate, "completion.tokens") == (int)r->given && stream_int(prompt, "slot.id") == r->slot;
}

/* Spans of requests come in the order of their answers; ids are told apart by the time at which they began. */
static void judge(const sim *m, const uint64_t *starts, verdict *v)
{
    memset(v, 0, sizeof *v);
    for (size_t i = 0; i < m->s->count; i++) {
        const sl_otlp_span *span = &m->s->spans[i];
        if (span->kind != SL_SPAN_SERVER)
            continue;
        const sim_request *r = NULL;
        for (uint32_t k = 0; k < REQUESTS; k++) {
            if (span->start_ns == starts[k] + STREAM_OFFSET)
                r = &m->requests[k];
        }
        if (!r) {
            CHECK(r != NULL);
            continue;
        }
        sl_str sure = stream_text(span, "llama.correlation");
        bool right = is_right(m->s, span, r), guess = sl_str_eq(sure, SL_STR("ambiguous"));
        v->ambiguous += guess;
        v->exact += sl_str_eq(sure, SL_STR("exact"));
        v->single += sl_str_eq(sure, SL_STR("single"));
        v->none += sl_str_eq(sure, SL_STR("none"));
        v->wrong += !right && !guess;
        v->wrong_guesses += !right && guess;
    }
}

static verdict run(const weather *w)
{
    verdict v = {0};
    sim *m = calloc(1, sizeof *m);
    stream *s = calloc(1, sizeof *s);
    uint64_t *starts = calloc(REQUESTS, sizeof *starts);
    m->w = w;
    m->s = s;
    sl_rng_init_seed(&m->rng, w->seed);
    make_prompts(m);
    if (stream_open(s)) {
        stream_model(s);
        play(m);
        stream_close(s);
        /* ids are in the order of the starts */
        uint64_t after = 0;
        for (uint32_t k = 0; k < REQUESTS; k++) {
            uint64_t next = UINT64_MAX;
            for (size_t i = 0; i < s->count; i++) {
                uint64_t at = s->spans[i].start_ns - STREAM_OFFSET;
                if (s->spans[i].kind == SL_SPAN_SERVER && at > after && at < next)
                    next = at;
            }
            starts[k] = after = next;
        }
        judge(m, starts, &v);
        CHECK_EQ(s->stats.requests, REQUESTS);
    }
    stream_done(s);
    free(starts);
    free(s);
    free(m);
    return v;
}

SL_TEST(different_prompts_are_all_certain_and_right)
{
    for (uint64_t seed = 1; seed <= 6; seed++) {
        weather w = {.seed = seed,
                     .prompts = 64,
                     .batch = 512,
                     .tells_slot = seed & 1,
                     .tells_timings = true,
                     .shares_prefix = seed & 2,
                     .swaps = seed > 3};
        verdict v = run(&w);
        CHECK_EQ(v.wrong, 0);
        CHECK(v.exact >= REQUESTS - 40); /* of 64 prompts two may be the same at once */
        CHECK_EQ(v.none + v.single, 0);
    }
}

SL_TEST(slots_in_answers_tell_nearly_all_twins_apart)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        weather w = {.seed = seed,
                     .prompts = 1 + (uint32_t)seed % 3,
                     .batch = 512,
                     .tells_slot = true,
                     .tells_timings = true,
                     .swaps = seed & 1};
        verdict v = run(&w);
        CHECK_EQ(v.wrong, 0);
        CHECK(v.exact >= REQUESTS * 8 / 10);
    }
}

SL_TEST(what_nothing_tells_apart_is_never_called_certain)
{
    uint32_t ambiguous = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        weather w = {.seed = seed,
                     .prompts = 1 + (uint32_t)seed % 4,
                     .batch = seed % 3 ? 512 : 5,
                     .tells_timings = seed & 1,
                     .shares_prefix = true,
                     .swaps = seed & 2};
        verdict v = run(&w);
        CHECK_EQ(v.wrong, 0);
        ambiguous += v.ambiguous;
        CHECK_EQ(v.exact + v.single + v.ambiguous + v.none, REQUESTS);
    }
    CHECK(ambiguous > 0);
}

SL_TEST(what_the_server_measures_tells_the_same_apart)
{
    uint32_t exact = 0;
    for (uint64_t seed = 1; seed <= 16; seed++) {
        weather w = {.seed = seed,
                     .prompts = 1 + (uint32_t)seed % 2,
                     .batch = seed % 3 ? 512 : 5,
                     .tells_timings = true,
                     .measures = true,
                     .wants = seed & 4 ? 6 : 0,
                     .cancel_each = seed & 8 ? 5 : 0,
                     .swaps = seed & 1};
        verdict v = run(&w);
        CHECK_EQ(v.wrong, 0);
        exact += v.exact;
    }
    CHECK(exact >= 16 * REQUESTS * 7 / 10);
}

SL_TEST(prompts_in_small_batches_and_clients_that_leave)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        weather w = {.seed = seed,
                     .prompts = 64,
                     .batch = 3 + (uint32_t)seed,
                     .tells_slot = true,
                     .tells_timings = true,
                     .shares_prefix = seed & 1,
                     .swaps = seed & 2,
                     .cancel_each = 3};
        verdict v = run(&w);
        CHECK_EQ(v.wrong, 0);
        CHECK(v.exact >= REQUESTS * 8 / 10);
    }
}
