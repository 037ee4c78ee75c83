/* Batches: what each does for which sequence, and their llama_decode spans. And what happens to sequences' memory. */
#include "src/probe/correlate.h"
#include "src/probe/seq_memory.h"
#include "src/probe/token_times.h"

#define USUAL_RUNS 16u /* in a batch: read without a detour over the heap */
#define WARMUP_TOKENS 2u
#define WARMUP_BATCHES 4u
#define SEEN_ENOUGH 32u /* batches of a size before one of them can be slow */
#define SLOW_FACTOR 8u
#define SLOW_LEAST_NS 5000000u
#define SLOW_EACH_SECOND 20u
#define EVERY_DEFAULT 100u

/* ---- sequences ---- */

static sl_track_seq *seq_at(sl_probe_assembler *a, sl_track_context *context, int32_t seq)
{
    SL_ASSERT(a && context);
    if (seq < 0 || seq >= (int32_t)SL_PROBE_MAX_SEQUENCES)
        return NULL;
    if ((uint32_t)seq >= context->seq_count) {
        uint32_t count = context->n_seq_max > seq && context->n_seq_max <= (int32_t)SL_PROBE_MAX_SEQUENCES
                             ? (uint32_t)context->n_seq_max
                             : (uint32_t)seq + 1;
        sl_track_seq *seqs = sl_realloc(context->seqs, count * sizeof *seqs);
        if (!seqs)
            return NULL;
        memset(seqs + context->seq_count, 0, (count - context->seq_count) * sizeof *seqs);
        context->seqs = seqs;
        context->seq_count = count;
    }
    return &context->seqs[seq];
}

static void tell_sequence(sl_probe_assembler *a, const sl_track_context *context, int32_t seq)
{
    SL_ASSERT(seq >= 0 && (uint32_t)seq < context->seq_count);
    sl_probe_metrics_sequence(a->metrics, context->id, seq, (uint32_t)context->seqs[seq].next_pos);
}

/* ---- parts ---- */

static sl_track_part *part_for(sl_probe_assembler *a, sl_track_batch *batch, int32_t seq)
{
    for (uint32_t i = batch->part_count; i-- > 0;) {
        if (batch->parts[i].seq == seq)
            return &batch->parts[i];
    }
    if (batch->part_count == batch->part_cap) {
        uint32_t cap = batch->part_cap ? batch->part_cap * 2 : 8;
        sl_track_part *parts = NULL;
        if (cap <= SL_PROBE_MAX_PARTS)
            parts = sl_realloc(batch->parts, cap * sizeof *parts);
        if (!parts) {
            a->stats.left_out++;
            return NULL;
        }
        batch->parts = parts;
        batch->part_cap = cap;
    }
    sl_track_part *part = &batch->parts[batch->part_count++];
    memset(part, 0, sizeof *part);
    part->seq = seq;
    batch->is.sequences++;
    return part;
}

/* One run of a DECODE event, with its tokens. */
typedef struct run_view {
    const sl_probe_run *run;
    const int32_t *tokens; /* NULL: none listed */
    uint32_t n_listed;
} run_view;

/* True when a run looks like one more step of a generation. */
static bool looks_generated(const sl_track_seq *seq, const sl_probe_run *run, int32_t pos)
{
    const sl_track_turn *turn = seq->turn;
    return turn && turn->phase == SL_TRACK_GENERATE && seq->had_output && pos == seq->next_pos &&
           run->outputs == run->n && run->n > 0;
}

/* A batch that nobody asked for, at the very beginning: engines run one to warm up. */
static bool looks_like_warmup(const sl_track_context *context, const sl_track_evidence *e, const sl_track_claim *claim)
{
    return !claim->request && context->batches < WARMUP_BATCHES && !context->generated && e->pos == 0 &&
           e->n <= WARMUP_TOKENS;
}

static sl_track_turn *begin_turn(sl_probe_assembler *a, sl_track_context *context, const sl_track_evidence *e,
                                 const sl_track_claim *claim, int32_t seq, uint64_t start_ns)
{
    SL_ASSERT(e->pos >= 0);
    bool warmup = looks_like_warmup(context, e, claim);
    sl_track_turn *turn = sl_track_turn_new(a, context, seq, start_ns);
    if (!turn)
        return NULL;
    turn->warmup = warmup;
    turn->cached_tokens = (uint32_t)e->pos;
    sl_track_claim_apply(a, turn, claim);
    if (!turn->request && !turn->shadow && a->has_http && !warmup)
        a->stats.unlinked++;
    turn->loose =
        !claim->request && claim->sure == SL_TRACK_NONE && !claim->shadow && !warmup && a->generating_count > 1;
    if (turn->sure != SL_TRACK_AMBIGUOUS)
        sl_track_turn_open(a, turn);
    sl_track_load(a);
    return turn;
}

static void add_generated(sl_track_seq *seq, sl_track_part *part, const sl_probe_run *run, int32_t pos)
{
    sl_track_turn *turn = seq->turn;
    part->generated += run->n;
    part->accepted = 1;
    if (turn->last_n > 1) { /* of the drafts before, those up to here were taken */
        int32_t taken = pos - turn->last_pos;
        part->accepted = taken >= 1 && taken <= (int32_t)turn->last_n ? (uint32_t)taken : 1;
    }
    turn->last_n = run->n;
    turn->last_pos = pos;
    turn->drafts += run->n > 1;
}

/*
 * Hosts that ask for an output of every token (llama-cpp-python) show nothing of where a prompt ends or begins. There,
 * a full batch has more of the prompt behind it, and a generation does not go back behind its last step, nor on after
 * its request.
 */
static bool begins_anew(const sl_track_seq *seq, const sl_probe_run *run, int32_t pos)
{
    const sl_track_turn *turn = seq->turn;
    bool known = turn->ask || turn->sure == SL_TRACK_EXACT || turn->sure == SL_TRACK_AMBIGUOUS;
    return !known && ((seq->removed && pos < turn->least_pos) || (turn->closed && run->n > 1));
}

/* The prompt ends with a run when its last token asks for an output and, as far as is known, nothing is left of it. */
static bool ends_prompt(const sl_track_context *context, const sl_track_turn *turn, const sl_probe_run *run,
                        int32_t pos)
{
    if (!(run->flags & SL_PROBE_RUN_LAST_OUTPUT))
        return false;
    bool all = run->outputs == run->n && run->n > 1;
    const sl_track_ask *ask = turn->ask;
    if (!all)
        return true;
    if (!ask || !ask->n_known)
        return (int64_t)run->n != context->n_batch;
    return (uint64_t)pos + run->n >= ask->n_tokens;
}

/*
 * What a run is: a step of the generation, more of a prompt, or the beginning of a new prompt. The last two differ from
 * the first by their outputs, but for prompts of which all but one token is cached: those look like a step, and are
 * known by their tokens.
 */
static sl_track_turn *turn_of_run(sl_probe_assembler *a, sl_track_context *context, const sl_track_evidence *e,
                                  const sl_probe_run *run, uint64_t start_ns, bool *ret_generated, bool *ret_begins)
{
    sl_track_seq *seq = &context->seqs[run->seq];
    sl_track_turn *turn = seq->turn;
    sl_track_claim claim;
    *ret_generated = *ret_begins = false;
    if (looks_generated(seq, run, e->pos)) {
        bool doubtful = seq->removed || turn->closed || (turn->request && turn->request->held);
        if (doubtful)
            sl_track_claim_find(a, e, !begins_anew(seq, run, e->pos), &claim);
        if (!doubtful || (!claim.tie_count && !begins_anew(seq, run, e->pos))) {
            *ret_generated = true;
            return turn;
        }
    } else {
        bool more = turn && turn->phase == SL_TRACK_PROMPT && (!turn->closed || turn->ghost) && e->pos == seq->next_pos;
        if (more && sl_track_ask_follow(a, turn, e))
            return turn;
        sl_track_claim_find(a, e, false, &claim);
    }
    *ret_begins = true;
    return begin_turn(a, context, e, &claim, run->seq, start_ns);
}

static void take_run(sl_probe_assembler *a, sl_track_context *context, const sl_track_evidence *e, const run_view *view,
                     uint64_t start_ns)
{
    SL_ASSERT(a && context && e && view);
    sl_track_batch *batch = &context->batch;
    const sl_probe_run *run = view->run;
    sl_track_seq *seq = &context->seqs[run->seq];
    bool generated, begins;
    sl_track_turn *turn = turn_of_run(a, context, e, run, start_ns, &generated, &begins);
    sl_track_part *part = part_for(a, batch, run->seq);
    *(generated ? &batch->is.generated : &batch->is.prompt) += view->run->flags & SL_PROBE_RUN_SHARED ? 0 : run->n;
    if (part) {
        if (part->turn != turn) /* the earlier one, of the same batch, is gone */
            *part = (sl_track_part){.seq = run->seq};
        part->turn = turn;
        part->begins |= begins;
        part->pos = e->pos;
    }
    if (part && turn) {
        if (generated)
            add_generated(seq, part, run, e->pos);
        else
            part->prompt += run->n;
    }
    if (batch->is.result != 0)
        return;
    if (turn && !generated && ends_prompt(context, turn, run, e->pos)) {
        turn->phase = SL_TRACK_GENERATE;
        turn->last_n = 1;
        if (part)
            part->ends = true;
    }
    if (turn)
        turn->least_pos = e->pos + (generated ? 1 : (int32_t)run->n);
    if (run->flags & SL_PROBE_RUN_LAST_OUTPUT)
        sl_token_times_output(context, run->seq, run->row + run->n - 1);
    const int32_t *known = view->n_listed == run->n ? view->tokens : NULL;
    sl_seq_memory_put(a, seq, e->pos, known, run->n);
    seq->had_output = run->flags & SL_PROBE_RUN_LAST_OUTPUT;
    seq->removed = false;
}

/* ---- a DECODE event ---- */

/* Later runs of the same sequence that go on where this one ends: together they say more. */
static void gather(sl_probe_assembler *a, const run_view *views, uint32_t at, uint32_t count, sl_track_evidence *e)
{
    const sl_probe_run *first = views[at].run;
    uint32_t n = views[at].n_listed;
    bool copied = false;
    if (!views[at].tokens || n != first->n)
        return;
    for (uint32_t i = at + 1; i < count; i++) {
        const sl_probe_run *run = views[i].run;
        if (run->seq != first->seq)
            continue;
        bool follows = (run->pos < 0 || run->pos == e->pos + (int32_t)e->n) && views[i].tokens &&
                       views[i].n_listed == run->n && e->n + run->n <= SL_PROBE_EVENT_MAX / sizeof(int32_t);
        if (!follows)
            break;
        if (!copied)
            memcpy(a->scratch, e->tokens, n * sizeof *a->scratch);
        copied = true;
        memcpy(a->scratch + e->n, views[i].tokens, run->n * sizeof *a->scratch);
        e->tokens = a->scratch;
        e->n += run->n;
        e->n_listed = e->n;
        e->ends = run->flags & SL_PROBE_RUN_LAST_OUTPUT;
    }
}

static void take_runs(sl_probe_assembler *a, sl_track_context *context, const sl_probe_decode *event, run_view *views)
{
    SL_ASSERT(a && context && event);
    for (uint32_t i = 0; i < event->head.count; i++) {
        const sl_probe_run *run = views[i].run;
        sl_track_seq *seq = seq_at(a, context, run->seq);
        if (!seq || run->n == 0 || run->n > INT32_MAX / 2) {
            a->stats.left_out++;
            continue;
        }
        sl_track_evidence e = {.context = context,
                               .seq = seq,
                               .tokens = views[i].tokens,
                               .n_listed = views[i].n_listed,
                               .n = run->n,
                               .pos = run->pos >= 0 ? run->pos : seq->next_pos,
                               .ends = run->flags & SL_PROBE_RUN_LAST_OUTPUT,
                               .partial = run->outputs == run->n && run->n > 1,
                               .thread = event->head.thread};
        if (e.pos > INT32_MAX / 2)
            continue;
        bool may_begin = !seq->turn || e.pos != seq->next_pos || seq->turn->phase == SL_TRACK_GENERATE;
        if (may_begin && event->head.count > 1)
            gather(a, views, i, event->head.count, &e);
        take_run(a, context, &e, &views[i], event->start_ns);
        tell_sequence(a, context, run->seq);
    }
}

/* Pairs runs with their tokens. A shared run has those of the run before it. */
static void view_runs(const sl_probe_decode *event, run_view *views)
{
    const sl_probe_run *runs = (const sl_probe_run *)(const void *)(event + 1);
    const int32_t *tokens = (const int32_t *)(const void *)(runs + event->head.count);
    uint32_t left = event->n_listed;
    for (uint32_t i = 0; i < event->head.count; i++) {
        run_view *view = &views[i];
        *view = (run_view){.run = &runs[i]};
        if (i && (runs[i].flags & SL_PROBE_RUN_SHARED)) {
            bool same = runs[i].n == views[i - 1].run->n;
            view->tokens = same ? views[i - 1].tokens : NULL;
            view->n_listed = same ? views[i - 1].n_listed : 0;
        } else if (!(runs[i].flags & SL_PROBE_RUN_NO_TOKENS)) {
            view->n_listed = runs[i].n < left ? runs[i].n : left;
            view->tokens = view->n_listed ? tokens : NULL;
            tokens += view->n_listed;
            left -= view->n_listed;
        }
    }
    SL_ASSERT(left <= event->n_listed);
}

void sl_track_decode(sl_probe_assembler *a, const sl_probe_decode *event)
{
    SL_ASSERT(a && event);
    sl_track_context *context = sl_track_context_get(a, event->context);
    if (!context)
        return;
    sl_track_batch_finish(a, context, 0);
    sl_token_times_batch(a, context, event->start_ns);
    sl_track_batch *batch = &context->batch;
    run_view few[USUAL_RUNS], *views = few;
    if (event->head.count > USUAL_RUNS)
        views = sl_malloc(event->head.count * sizeof *views);
    sl_track_part *parts = batch->parts;
    uint32_t cap = batch->part_cap;
    *batch = (sl_track_batch){.pending = true,
                              .is = {.api = (sl_probe_api)event->head.flags,
                                     .result = event->result == SL_PROBE_RESULT_UNKNOWN ? 0 : event->result,
                                     .unseen_end = event->result == SL_PROBE_RESULT_UNKNOWN,
                                     .n_tokens = event->n_tokens,
                                     .start_ns = event->start_ns,
                                     .end_ns = event->head.time_ns},
                              .parts = parts,
                              .part_cap = cap};
    if (views) {
        view_runs(event, views);
        take_runs(a, context, event, views);
    } else {
        a->stats.left_out++;
    }
    if (views != few)
        sl_free(views);
}

/* ---- the end of a batch: counts and times ---- */

static uint64_t waited(const sl_track_turn *turn, bool *ret_known)
{
    const sl_track_request *request = turn->request;
    uint64_t from = request ? (request->post_ns ? request->post_ns : request->body_ns) : 0;
    *ret_known = from != 0;
    return from ? sl_track_span_of(from, turn->start_ns) : 0;
}

static bool will_generate(const sl_track_turn *turn)
{
    return turn->request && turn->request->use == SL_TRACK_USE_GENERATE;
}

static void end_prompt(sl_probe_assembler *a, const sl_track_context *context, sl_track_turn *turn, uint64_t end_ns)
{
    SL_ASSERT(turn->phase == SL_TRACK_GENERATE);
    turn->prompt_end_ns = end_ns;
    if (turn->warmup || turn->shadow)
        return;
    sl_probe_prefill prefill = {.context = context->id,
                                .tokens = turn->prompt_tokens,
                                .cached = turn->cached_tokens,
                                .duration_ns = sl_track_span_of(turn->start_ns, end_ns),
                                .span = &turn->of};
    prefill.queue_ns = waited(turn, &prefill.has_queue);
    if (will_generate(turn)) {
        prefill.first_token_ns = sl_track_span_of(turn->request->start_ns, end_ns);
        turn->first_told = true;
    }
    sl_probe_metrics_prefill(a->metrics, &prefill);
    if (turn->first_told)
        sl_probe_metrics_token(a->metrics, context->id, 0, &turn->of);
}

static void step_generation(sl_probe_assembler *a, sl_track_context *context, const sl_track_part *part,
                            uint64_t end_ns)
{
    sl_track_turn *turn = part->turn;
    uint32_t tokens = part->accepted ? part->accepted : 1;
    uint64_t before = turn->last_ns;
    SL_ASSERT(tokens > 0);
    turn->generated += tokens;
    context->generated += tokens;
    if (turn->shadow)
        return;
    if (turn->warmup) {
        turn->warmup = false;
        sl_track_turn_open(a, turn);
    }
    if (!turn->first_told)
        sl_probe_metrics_token(a->metrics, context->id, 0, &turn->of);
    turn->first_told = true;
    uint64_t gap = sl_track_span_of(before, end_ns) / tokens;
    for (uint32_t i = 0; i < tokens && i < 64; i++) {
        sl_token_gaps_add(&turn->gaps, gap);
        sl_probe_metrics_token(a->metrics, context->id, gap, &turn->of);
    }
}

static void finish_part(sl_probe_assembler *a, sl_track_context *context, const sl_track_part *part, uint64_t end_ns)
{
    sl_track_turn *turn = part->turn;
    turn->batches++;
    if (part->prompt && !turn->copied)
        turn->prompt_tokens += part->prompt;
    if (part->generated)
        step_generation(a, context, part, end_ns);
    turn->last_ns = end_ns;
    if (part->ends || part->generated)
        sl_token_times_token(turn, end_ns);
    if (part->ends)
        end_prompt(a, context, turn, end_ns);
}

/* ---- llama_decode spans ---- */

static const char *result_name(int32_t result)
{
    switch (result) {
    case 0:
        return "ok";
    case 1:
        return "no_kv_slot";
    case 2:
        return "aborted";
    case -1:
        return "invalid_batch";
    case -2:
        return "allocation_failed";
    case -3:
        return "compute_failed";
    default:
        return result < 0 ? "failed" : "warning";
    }
}

static void add_link(sl_span *span, const sl_track_part *part, const sl_span_context *of)
{
    SL_ASSERT(part->turn);
    sl_attr attrs[4];
    size_t n = 0;
    if (!sl_span_context_is_valid(of))
        return;
    attrs[n++] = sl_attr_int("slot.id", part->seq);
    attrs[n++] = sl_attr_str("llama.phase", part->generated ? "generate" : "prompt");
    attrs[n++] = sl_attr_int("batch.n_tokens", (int64_t)part->prompt + part->generated);
    if (part->turn->sure == SL_TRACK_AMBIGUOUS)
        attrs[n++] = sl_attr_str("llama.correlation", "ambiguous");
    sl_link link = {.context = *of, .attrs = attrs, .attr_count = n};
    sl_span_add_link(span, &link);
}

static void add_links(sl_probe_assembler *a, const sl_track_batch *batch, sl_span *span)
{
    for (uint32_t i = 0; i < batch->part_count; i++) {
        const sl_track_part *part = &batch->parts[i];
        if (!part->turn)
            continue;
        if (part->turn->sure != SL_TRACK_AMBIGUOUS || part->turn->closed) {
            add_link(span, part, &part->turn->of);
            continue;
        }
        for (uint32_t k = 0; k < part->turn->tie_count; k++) {
            const sl_track_ask *ask = sl_track_ask_find(a, part->turn->ties[k]);
            if (ask)
                add_link(span, part, &ask->request->context);
        }
    }
}

/* A span with what it always says; its links are still to be added. */
static sl_span *open_span(sl_probe_assembler *a, const sl_track_batch_facts *batch, uint32_t context,
                          const sl_span *parent, const char *why)
{
    SL_ASSERT(batch && why);
    static const char *const apis[] = {"llama_decode", "llama_encode", "llama_process"};
    sl_span_options options = {.parent = parent, .root = !parent, .start_ns = sl_track_unix(a, batch->start_ns)};
    sl_span *span = sl_span_start(a->tracer, SL_STR("llama_decode"), &options);
    sl_span_set_int(span, "batch.n_tokens", batch->n_tokens);
    sl_span_set_int(span, "batch.prompt_tokens", batch->prompt);
    sl_span_set_int(span, "batch.generated_tokens", batch->generated);
    sl_span_set_int(span, "batch.sequences", batch->sequences);
    sl_span_set_int(span, "batch.number", (int64_t)batch->number);
    sl_span_set_int(span, "context.id", context);
    sl_span_set_str(span, "llama.api", batch->api <= SL_PROBE_API_PROCESS ? apis[batch->api] : apis[0]);
    if (!batch->unseen_end)
        sl_span_set_int(span, "llama.result", batch->result);
    sl_span_set_str(span, "llama.result.name", batch->unseen_end ? "unknown" : result_name(batch->result));
    sl_span_set_str(span, "llama.sampled_because", why);
    if (batch->result < 0)
        sl_span_set_status(span, SL_STATUS_ERROR, result_name(batch->result));
    a->stats.decode_spans++;
    return span;
}

static void make_span(sl_probe_assembler *a, const sl_track_context *context, const sl_span *parent, const char *why)
{
    const sl_track_batch *batch = &context->batch;
    sl_span *span = open_span(a, &batch->is, context->id, parent, why);
    bool warmup = batch->part_count > 0;
    for (uint32_t i = 0; i < batch->part_count; i++)
        warmup &= batch->parts[i].turn && batch->parts[i].turn->warmup;
    if (warmup)
        sl_span_set_bool(span, "llama.warmup", true);
    add_links(a, batch, span);
    sl_span_end_at(span, sl_track_unix(a, batch->is.end_ns));
}

void sl_track_batch_late_span(sl_probe_assembler *a, sl_track_turn *turn)
{
    SL_ASSERT(a && turn);
    if (turn->has_decode || !turn->first.start_ns || !turn->prompt_span)
        return;
    turn->has_decode = true;
    sl_span *span = open_span(a, &turn->first, turn->context ? turn->context->id : 0, turn->prompt_span, "first");
    sl_attr attrs[] = {sl_attr_int("slot.id", turn->seq), sl_attr_str("llama.phase", "prompt"),
                       sl_attr_str("llama.correlation", sl_track_sure_name(turn->sure))};
    sl_link link = {.context = turn->of, .attrs = attrs, .attr_count = 3};
    sl_span_add_link(span, &link);
    sl_span_end_at(span, sl_track_unix(a, turn->first.end_ns));
}

/* Whether a batch took much longer than others of its size; and learns from it. */
static bool is_slow(sl_probe_assembler *a, sl_track_context *context, uint64_t took_ns)
{
    uint32_t n = context->batch.is.n_tokens ? context->batch.is.n_tokens : 1;
    uint32_t size = 31u - (uint32_t)__builtin_clz(n);
    size = size < SL_TRACK_SIZES ? size : SL_TRACK_SIZES - 1;
    uint64_t usual = context->usual_ns[size];
    bool known = context->seen[size] >= SEEN_ENOUGH;
    uint64_t step = usual / 32 + 1;
    if (!context->seen[size])
        context->usual_ns[size] = took_ns;
    else
        context->usual_ns[size] = took_ns > usual ? usual + step : usual > step ? usual - step : 0;
    context->seen[size] += context->seen[size] < SEEN_ENOUGH;
    uint64_t limit = usual * SLOW_FACTOR > SLOW_LEAST_NS ? usual * SLOW_FACTOR : SLOW_LEAST_NS;
    bool slow = a->options.slow_decode_ns ? took_ns > a->options.slow_decode_ns : known && took_ns > limit;
    if (!slow || !a->slow_budget)
        return false;
    a->slow_budget--;
    return true;
}

/* The turn whose part may be the parent of a span for the whole batch: the only request in it. */
static const sl_track_part *only_part(const sl_track_batch *batch)
{
    const sl_track_part *only = NULL;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        const sl_track_part *part = &batch->parts[i];
        if (!part->turn)
            return NULL;
        if (only && (!only->turn->request || only->turn->request != part->turn->request))
            return NULL;
        only = only ? only : part;
    }
    return only;
}

static const sl_span *parent_for(sl_probe_assembler *a, const sl_track_part *part)
{
    return part ? sl_track_turn_span(a, part->turn, part->prompt > 0) : NULL;
}

/*
 * Spans of a batch: one below each turn that has none yet, so that every trace reaches down to its batches (all carry
 * the same batch.number); else one when the batch failed, was slow, or its number came up.
 */
static void make_spans(sl_probe_assembler *a, sl_track_context *context, bool slow)
{
    sl_track_batch *batch = &context->batch;
    uint32_t every = a->options.decode_span_every ? a->options.decode_span_every : EVERY_DEFAULT;
    const char *why = batch->is.result ? "failed" : slow ? "slow" : NULL;
    bool made = false, wanted = false;
    for (uint32_t i = 0; i < batch->part_count; i++) {
        sl_track_part *part = &batch->parts[i];
        if (!part->turn || part->turn->has_decode || part->turn->shadow)
            continue;
        const sl_span *parent = parent_for(a, part);
        wanted |= part->begins && !part->turn->loose;
        if (!parent && part->begins)
            part->turn->first = batch->is;
        if (!parent)
            continue;
        make_span(a, context, parent, why ? why : "first");
        part->turn->has_decode = made = true;
    }
    bool turn_of_number = ++context->since_span >= every;
    if (!made && !why && !wanted && !turn_of_number)
        return;
    if (!made)
        make_span(a, context, parent_for(a, only_part(batch)), why ? why : wanted ? "first" : "number");
    if (turn_of_number)
        context->since_span = 0;
}

static void tell_batch(sl_probe_assembler *a, const sl_track_context *context)
{
    const sl_track_batch *b = &context->batch;
    bool warmup = b->part_count > 0;
    const sl_span_context *span = NULL;
    for (uint32_t i = 0; i < b->part_count; i++) {
        const sl_track_turn *turn = b->parts[i].turn;
        warmup &= turn && (turn->warmup || turn->shadow);
        if (!span && turn && sl_span_context_is_valid(&turn->of))
            span = &turn->of;
    }
    sl_probe_batch told = {.context = context->id,
                           .result = b->is.result,
                           .n_tokens = b->is.n_tokens,
                           .prompt_tokens = b->is.prompt,
                           .generation_tokens = b->is.generated,
                           .sequences = b->is.sequences,
                           .api = b->is.api,
                           .warmup = warmup,
                           .duration_ns = sl_track_span_of(b->is.start_ns, b->is.end_ns),
                           .span = span};
    sl_probe_metrics_batch(a->metrics, &told);
}

void sl_track_batch_finish(sl_probe_assembler *a, sl_track_context *context, uint64_t end_ns)
{
    SL_ASSERT(a && context);
    sl_track_batch *batch = &context->batch;
    if (!batch->pending)
        return;
    batch->pending = false;
    if (end_ns > batch->is.end_ns)
        batch->is.end_ns = end_ns;
    batch->is.number = context->batches + 1;
    tell_batch(a, context);
    for (uint32_t i = 0; batch->is.result == 0 && i < batch->part_count; i++) {
        if (batch->parts[i].turn)
            finish_part(a, context, &batch->parts[i], batch->is.end_ns);
    }
    context->batches += batch->is.result == 0;
    make_spans(a, context, is_slow(a, context, sl_track_span_of(batch->is.start_ns, batch->is.end_ns)));
    batch->part_count = 0;
}

void sl_track_batches_finish(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_PROBE_MAX_CONTEXTS; i++) {
        if (a->contexts[i])
            sl_track_batch_finish(a, a->contexts[i], 0);
    }
}

/* ---- memory of sequences ---- */

/* The span that an event of a sequence's memory belongs to; NULL: none. */
static sl_span *span_of(const sl_track_seq *seq)
{
    const sl_track_turn *turn = seq->turn;
    if (!turn || turn->closed)
        return NULL;
    return turn->request ? turn->request->span : turn->root;
}

/* Tokens in the midst of a generation's memory are given up: room for more, when the context is full. */
static void tell_eviction(sl_probe_assembler *a, const sl_track_seq *seq, int32_t number, int32_t p0, int32_t p1)
{
    bool midst = p1 > p0 && p0 >= 0 && p1 < seq->next_pos && seq->turn && seq->turn->phase == SL_TRACK_GENERATE;
    if (!midst)
        return;
    sl_attr attrs[] = {sl_attr_int("slot.id", number), sl_attr_int("llama.evicted.from", p0),
                       sl_attr_int("llama.evicted.tokens", p1 - p0)};
    sl_span_add_event(span_of(seq), SL_STR("llama.kv_evict"), sl_track_unix(a, a->now_ns), attrs, 3);
}

static void remove_from(sl_probe_assembler *a, sl_track_context *context, int32_t seq, int32_t p0, int32_t p1)
{
    sl_track_seq *s = &context->seqs[seq];
    tell_eviction(a, s, seq, p0, p1);
    sl_seq_memory_remove(s, p0, p1);
    bool idle = s->turn && (!s->turn->request || s->turn->phase == SL_TRACK_GENERATE);
    if (s->next_pos == 0 && idle)
        sl_track_turn_leave(a, s);
    tell_sequence(a, context, seq);
}

/* The other sequence goes on as a generation of the same request: `n` answers to one prompt. */
static void copy_turn(sl_probe_assembler *a, sl_track_context *context, int32_t from, int32_t to, uint64_t now_ns)
{
    const sl_track_turn *source = context->seqs[from].turn;
    if (!source || source->closed || source->phase != SL_TRACK_GENERATE)
        return;
    sl_track_turn *turn = sl_track_turn_new(a, context, to, now_ns);
    if (!turn)
        return;
    turn->copied = true;
    turn->phase = SL_TRACK_GENERATE;
    turn->sure = source->sure;
    turn->warmup = !source->request;
    turn->cached_tokens = source->cached_tokens + source->prompt_tokens;
    turn->prompt_end_ns = now_ns;
    turn->last_n = 1;
    if (source->request)
        sl_track_turn_give(turn, source->request, NULL);
}

static void copy_sequence(sl_probe_assembler *a, sl_track_context *context, const sl_probe_sequence *event)
{
    if (!seq_at(a, context, event->seq) || !seq_at(a, context, event->seq_to) || event->seq == event->seq_to)
        return;
    sl_track_turn_leave(a, &context->seqs[event->seq_to]);
    sl_seq_memory_copy(a, &context->seqs[event->seq_to], &context->seqs[event->seq]);
    if (event->p0 <= 0 && event->p1 < 0)
        copy_turn(a, context, event->seq, event->seq_to, event->head.time_ns);
    tell_sequence(a, context, event->seq_to);
}

static void shift_sequence(sl_probe_assembler *a, sl_track_context *context, int32_t seq,
                           const sl_probe_sequence *event)
{
    sl_track_seq *s = &context->seqs[seq];
    sl_seq_memory_shift(s, event->p0, event->p1, event->delta);
    if (s->turn && event->delta < 0)
        s->turn->least_pos = 0; /* known again with the next step */
    sl_attr attrs[] = {sl_attr_int("slot.id", seq), sl_attr_int("llama.shift.from", event->p0),
                       sl_attr_int("llama.shift.delta", event->delta)};
    sl_span_add_event(span_of(s), SL_STR("llama.kv_shift"), sl_track_unix(a, event->head.time_ns), attrs, 3);
    tell_sequence(a, context, seq);
}

/* State of a sequence, or of the whole context, was written or read: a span when it took time. */
static void state_span(sl_probe_assembler *a, const sl_track_context *context, const sl_probe_sequence *event)
{
    const uint64_t least_ns = 1000000;
    const sl_track_request *asked = sl_track_request_slots(a);
    if (!asked && sl_track_span_of(event->start_ns, event->head.time_ns) < least_ns)
        return;
    bool known = event->seq >= 0 && (uint32_t)event->seq < context->seq_count;
    const sl_track_turn *turn = known ? context->seqs[event->seq].turn : NULL;
    const sl_span *parent = turn && !turn->closed && turn->request ? turn->request->span : NULL;
    if (asked)
        parent = asked->span;
    sl_span_options options = {.parent = parent, .root = !parent, .start_ns = sl_track_unix(a, event->start_ns)};
    bool save = event->head.flags == SL_PROBE_SEQ_SAVE;
    sl_span *span = sl_span_start(a->tracer, save ? SL_STR("llama_state_save") : SL_STR("llama_state_load"), &options);
    sl_span_set_int(span, "slot.id", event->seq);
    sl_span_set_int(span, "context.id", context->id);
    sl_span_set_int(span, "llama.state.bytes", event->bytes > INT64_MAX ? INT64_MAX : (int64_t)event->bytes);
    sl_span_end_at(span, sl_track_unix(a, event->head.time_ns));
}

static void change_one(sl_probe_assembler *a, sl_track_context *context, int32_t seq, const sl_probe_sequence *event)
{
    sl_track_seq *s = &context->seqs[seq];
    switch ((sl_probe_seq_op)event->head.flags) {
    case SL_PROBE_SEQ_RM:
        remove_from(a, context, seq, event->p0, event->p1);
        break;
    case SL_PROBE_SEQ_CLEAR:
        remove_from(a, context, seq, -1, -1);
        break;
    case SL_PROBE_SEQ_KEEP:
        if (seq != event->seq)
            remove_from(a, context, seq, -1, -1);
        break;
    case SL_PROBE_SEQ_ADD:
        shift_sequence(a, context, seq, event);
        break;
    case SL_PROBE_SEQ_DIV:
        sl_seq_memory_unknown(s);
        break;
    case SL_PROBE_SEQ_LOAD:
        sl_track_turn_leave(a, s);
        s->len = 0;
        s->base = s->next_pos = 0;
        s->removed = true;
        s->had_output = false;
        break;
    case SL_PROBE_SEQ_SAVE:
    case SL_PROBE_SEQ_CP:
        break;
    }
}

void sl_track_sequence(sl_probe_assembler *a, const sl_probe_sequence *event)
{
    SL_ASSERT(a && event);
    sl_track_context *context = sl_track_context_get(a, event->context);
    if (!context)
        return;
    sl_track_batch_finish(a, context, 0);
    sl_probe_seq_op op = (sl_probe_seq_op)event->head.flags;
    sl_probe_metrics_sequence_op(a->metrics, op, event->bytes);
    if (op == SL_PROBE_SEQ_SAVE || op == SL_PROBE_SEQ_LOAD)
        state_span(a, context, event);
    if (op == SL_PROBE_SEQ_CP) {
        copy_sequence(a, context, event);
        return;
    }
    bool all = event->seq < 0 || op == SL_PROBE_SEQ_CLEAR || op == SL_PROBE_SEQ_KEEP;
    if (!all && !seq_at(a, context, event->seq))
        return;
    uint32_t first = all ? 0 : (uint32_t)event->seq, end = all ? context->seq_count : (uint32_t)event->seq + 1;
    for (uint32_t i = first; i < end; i++)
        change_one(a, context, (int32_t)i, event);
}
