/* Turns: their life, and the spans process_prompt and generate_tokens (and llama.generate, without a request). */
#include "src/probe/track.h"

#define LOOSE_NS 60000000000u /* so long an answer is waited for that tells whose a turn was */
#define IDLE_NS 2000000000u   /* a generation of a host without HTTP is over after so long */

const char *sl_track_sure_name(sl_track_sure sure)
{
    static const char *const names[] = {"none", "exact", "single", "ambiguous"};
    SL_ASSERT(sure <= SL_TRACK_AMBIGUOUS);
    return names[sure];
}

/* ---- life ---- */

sl_track_turn *sl_track_turn_new(sl_probe_assembler *a, sl_track_context *context, int32_t seq, uint64_t start_ns)
{
    SL_ASSERT(a && context && seq >= 0 && (uint32_t)seq < context->seq_count);
    sl_track_turn_leave(a, &context->seqs[seq]);
    sl_track_turn *turn = sl_calloc(1, sizeof *turn);
    if (!turn) {
        a->stats.left_out++;
        return NULL;
    }
    turn->context = context;
    turn->seq = seq;
    turn->start_ns = turn->last_ns = start_ns;
    turn->on_sequence = true;
    turn->next = a->turns;
    if (a->turns)
        a->turns->prev = turn;
    a->turns = turn;
    context->seqs[seq].turn = turn;
    return turn;
}

void sl_track_turn_give(sl_track_turn *turn, sl_track_request *request, sl_track_ask *ask)
{
    SL_ASSERT(turn && request && !turn->request && !turn->ask && (!ask || !ask->turn));
    turn->request = request;
    turn->next_in_request = request->turns;
    request->turns = turn;
    request->turn_count++;
    turn->of = request->context;
    turn->of.tracestate = sl_str_of(NULL, 0);
    turn->ask = ask;
    if (ask)
        ask->turn = turn;
}

void sl_track_turn_take(sl_track_turn *turn)
{
    SL_ASSERT(turn);
    sl_track_request *request = turn->request;
    if (turn->ask)
        turn->ask->turn = NULL;
    turn->ask = NULL;
    turn->request = NULL;
    if (!request)
        return;
    sl_track_turn **at = &request->turns;
    while (*at && *at != turn)
        at = &(*at)->next_in_request;
    SL_ASSERT(*at == turn && request->turn_count > 0);
    *at = turn->next_in_request;
    turn->next_in_request = NULL;
    request->turn_count--;
}

void sl_track_turn_release(sl_probe_assembler *a, sl_track_turn *turn)
{
    SL_ASSERT(a && turn);
    if (turn->on_sequence || turn->request || turn->ghost)
        return;
    SL_ASSERT(!turn->ask && !turn->root && !turn->prompt_span && !turn->generate_span);
    *(turn->prev ? &turn->prev->next : &a->turns) = turn->next;
    if (turn->next)
        turn->next->prev = turn->prev;
    sl_free(turn);
}

/* No answer has meant it: a trace of its own. */
static void give_up(sl_probe_assembler *a, sl_track_turn *turn)
{
    SL_ASSERT(!turn->request);
    turn->loose = false;
    sl_track_turn_finish(a, turn, -1, false);
}

static void exorcise(sl_probe_assembler *a, sl_track_turn **ghost)
{
    sl_track_turn *turn = *ghost;
    *ghost = NULL;
    if (!turn)
        return;
    SL_ASSERT(turn->ghost);
    for (sl_track_ask *ask = a->first_ask; ask; ask = ask->next) {
        for (uint32_t i = 0; i < turn->tie_count; i++)
            ask->clouded |= turn->ties[i] == ask->serial;
    }
    turn->ghost = false;
    if (!turn->closed && !turn->request && !turn->on_sequence)
        give_up(a, turn);
    sl_track_turn_release(a, turn);
}

void sl_track_turn_haunt(sl_probe_assembler *a, sl_track_turn *turn)
{
    SL_ASSERT(a && turn);
    if (turn->ghost)
        return;
    sl_track_turn **place = &a->ghosts[a->next_ghost++ % SL_TRACK_GHOSTS];
    exorcise(a, place);
    turn->ghost = true;
    *place = turn;
}

void sl_track_ghosts_free(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_TRACK_GHOSTS; i++)
        exorcise(a, &a->ghosts[i]);
}

void sl_track_turn_leave(sl_probe_assembler *a, sl_track_seq *seq)
{
    SL_ASSERT(a && seq);
    sl_track_turn *turn = seq->turn;
    if (!turn)
        return;
    SL_ASSERT(turn->on_sequence);
    seq->turn = NULL;
    turn->on_sequence = false;
    if ((turn->loose || turn->sure == SL_TRACK_AMBIGUOUS) && !turn->closed && !turn->request)
        sl_track_turn_haunt(a, turn);
    else if (!turn->request)
        sl_track_turn_finish(a, turn, -1, false);
    sl_track_turn_release(a, turn);
}

void sl_track_turns_age(sl_probe_assembler *a, uint64_t now_ns)
{
    SL_ASSERT(a);
    for (sl_track_turn *turn = a->turns; turn;) {
        bool idle =
            turn->on_sequence && !turn->request && !turn->closed && sl_track_span_of(turn->last_ns, now_ns) > IDLE_NS;
        if (idle)
            sl_track_turn_leave(a, &turn->context->seqs[turn->seq]);
        turn = idle ? a->turns : turn->next; /* with it a kept one may have gone, whichever */
    }
    for (size_t i = 0; i < SL_TRACK_GHOSTS; i++) {
        sl_track_turn *ghost = a->ghosts[i];
        bool waits = ghost && !ghost->closed && !ghost->request && !ghost->on_sequence;
        if (waits && sl_track_span_of(ghost->last_ns, now_ns) > LOOSE_NS)
            give_up(a, ghost);
    }
}

/* ---- spans ---- */

static sl_span *start(sl_probe_assembler *a, const char *name, const sl_span *parent, uint64_t start_ns)
{
    SL_ASSERT(a && name);
    sl_span_options options = {.parent = parent, .root = !parent, .start_ns = sl_track_unix(a, start_ns)};
    return sl_span_start(a->tracer, sl_str_c(name), &options);
}

/* Where children of a turn hang; NULL: nowhere, they are not to be made. */
static sl_span *parent_of(const sl_track_turn *turn)
{
    return turn->request ? turn->request->span : turn->root;
}

static void open_root(sl_probe_assembler *a, sl_track_turn *turn)
{
    SL_ASSERT(!turn->root && !turn->request);
    turn->root = start(a, "llama.generate", NULL, turn->start_ns);
    sl_span_get_context(turn->root, &turn->of);
    turn->of.tracestate = sl_str_of(NULL, 0);
    sl_span_set_int(turn->root, "slot.id", turn->seq);
    sl_track_set_host(a, turn->root);
    sl_span_set_str(turn->root, "gen_ai.provider.name", SL_PROBE_PROVIDER);
    sl_str model = sl_probe_metrics_model_name(a->metrics, turn->context ? turn->context->model : 0);
    if (model.len)
        sl_span_set(turn->root, SL_STR("gen_ai.request.model"), sl_value_str(model));
    if (a->has_http)
        sl_span_set_str(turn->root, "llama.correlation", sl_track_sure_name(turn->sure));
}

void sl_track_turn_open(sl_probe_assembler *a, sl_track_turn *turn)
{
    SL_ASSERT(a && turn);
    if (turn->closed || turn->shadow || turn->loose || turn->prompt_span || (turn->warmup && !turn->generated))
        return;
    if (!turn->request && !turn->root)
        open_root(a, turn);
    if (turn->copied || !parent_of(turn))
        return;
    turn->prompt_span = start(a, "process_prompt", parent_of(turn), turn->start_ns);
    sl_span_set_int(turn->prompt_span, "slot.id", turn->seq);
}

static void open_generate(sl_probe_assembler *a, sl_track_turn *turn)
{
    if (turn->generate_span || turn->closed || !parent_of(turn))
        return;
    uint64_t from = turn->prompt_end_ns ? turn->prompt_end_ns : turn->start_ns;
    turn->generate_span = start(a, "generate_tokens", parent_of(turn), from);
    sl_span_set_int(turn->generate_span, "slot.id", turn->seq);
}

const sl_span *sl_track_turn_span(sl_probe_assembler *a, sl_track_turn *turn, bool prompt)
{
    SL_ASSERT(a && turn);
    if (turn->closed || turn->sure == SL_TRACK_AMBIGUOUS || turn->shadow || turn->warmup || turn->loose)
        return NULL;
    sl_track_turn_open(a, turn);
    if (!prompt)
        open_generate(a, turn);
    return prompt ? turn->prompt_span : turn->generate_span;
}

uint32_t sl_track_turn_tokens(const sl_track_turn *turn)
{
    SL_ASSERT(turn);
    if (turn->phase != SL_TRACK_GENERATE || (turn->request && turn->request->use == SL_TRACK_USE_EMBED))
        return 0;
    bool asked = turn->request || turn->first_told || turn->loose || turn->sure == SL_TRACK_AMBIGUOUS;
    if (!asked && !turn->generated)
        return 0; /* whether anybody took a token is not known */
    return turn->generated + 1;
}

static void set_rate(sl_span *span, const char *key, double count, uint64_t ns)
{
    if (count > 0 && ns > 0)
        sl_span_set_double(span, key, count * 1e9 / (double)ns);
}

static void finish_prompt(sl_probe_assembler *a, sl_track_turn *turn, bool partial)
{
    SL_ASSERT(turn->prompt_span);
    sl_span *span = turn->prompt_span;
    uint64_t end = turn->prompt_end_ns ? turn->prompt_end_ns : turn->last_ns;
    sl_span_set_int(span, "prompt.tokens", turn->prompt_tokens);
    sl_span_set_int(span, "prompt.tokens_cached", turn->cached_tokens);
    set_rate(span, "prompt.tokens_per_second", turn->prompt_tokens, sl_track_span_of(turn->start_ns, end));
    if (!turn->prompt_end_ns || (partial && turn->phase == SL_TRACK_PROMPT))
        sl_span_set_bool(span, "llama.partial", true);
    sl_span_end_at(span, sl_track_unix(a, end));
    turn->prompt_span = NULL;
}

static void finish_generate(sl_probe_assembler *a, sl_track_turn *turn, int64_t completion, bool partial)
{
    SL_ASSERT(completion > 0);
    open_generate(a, turn);
    sl_span *span = turn->generate_span;
    uint64_t from = turn->prompt_end_ns ? turn->prompt_end_ns : turn->start_ns;
    uint64_t end = turn->last_ns > from ? turn->last_ns : from;
    sl_span_set_int(span, "completion.tokens", completion);
    set_rate(span, "completion.tokens_per_second", (double)(completion - 1), end - from);
    if (turn->gaps.count) {
        sl_span_set_double(span, "completion.inter_token_ms.p50", sl_track_ms(sl_token_gaps_median(&turn->gaps)));
        sl_span_set_double(span, "completion.inter_token_ms.max", sl_track_ms(turn->gaps.max_ns));
    }
    if (partial)
        sl_span_set_bool(span, "llama.partial", true);
    sl_span_end_at(span, sl_track_unix(a, end));
    turn->generate_span = NULL;
}

static void finish_root(sl_probe_assembler *a, sl_track_turn *turn, int64_t completion, bool partial)
{
    sl_span *span = turn->root;
    sl_span_set_int(span, "gen_ai.usage.input_tokens", (int64_t)turn->prompt_tokens + turn->cached_tokens);
    sl_span_set_int(span, "gen_ai.usage.output_tokens", completion);
    if (turn->prompt_end_ns && completion > 0)
        sl_span_add_event(span, SL_STR("gen_ai.first_token"), sl_track_unix(a, turn->prompt_end_ns), NULL, 0);
    if (partial)
        sl_span_set_bool(span, "llama.partial", true);
    sl_span_end_at(span, sl_track_unix(a, turn->last_ns));
    turn->root = NULL;
}

/* A prompt that was given up before its first token. */
static void tell_incomplete(sl_probe_assembler *a, const sl_track_turn *turn)
{
    if (turn->prompt_end_ns || turn->warmup || turn->copied || turn->shadow || !turn->context || !turn->prompt_tokens)
        return;
    sl_probe_prefill prefill = {.context = turn->context->id,
                                .tokens = turn->prompt_tokens,
                                .cached = turn->cached_tokens,
                                .incomplete = true,
                                .span = &turn->of};
    sl_probe_metrics_prefill(a->metrics, &prefill);
}

/* How many drafts of the last batch were taken is seen by the next one, of which there is none: the answer says it. */
static void tell_last_drafts(sl_probe_assembler *a, const sl_track_turn *turn, int64_t completion)
{
    SL_ASSERT(a && turn);
    int64_t missing = completion - (int64_t)sl_track_turn_tokens(turn);
    if (turn->last_n < 2 || missing >= (int64_t)turn->last_n || !turn->first_told || turn->shadow || !turn->context)
        return;
    for (int64_t i = 0; i < missing && i < 64; i++)
        sl_probe_metrics_token(a->metrics, turn->context->id, 0, &turn->of); /* their time is the batch's, and told */
}

void sl_track_turn_finish(sl_probe_assembler *a, sl_track_turn *turn, int64_t completion, bool partial)
{
    SL_ASSERT(a && turn);
    if (turn->closed)
        return;
    sl_track_turn_open(a, turn);
    if (completion < 0)
        completion = sl_track_turn_tokens(turn);
    tell_last_drafts(a, turn, completion);
    tell_incomplete(a, turn);
    sl_track_batch_late_span(a, turn);
    if (turn->prompt_span)
        finish_prompt(a, turn, partial);
    if (turn->generate_span || (completion > 0 && !turn->shadow && !turn->warmup))
        finish_generate(a, turn, completion > 0 ? completion : 1, partial);
    if (turn->root)
        finish_root(a, turn, completion, partial);
    turn->closed = true;
    SL_ASSERT(!turn->prompt_span && !turn->generate_span && !turn->root);
}
