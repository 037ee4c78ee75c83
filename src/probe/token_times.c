/* The times of first and last tokens. */
#include "src/probe/token_times.h"

#define SLACK_MS 0.005 /* the server counts in microseconds */

static sl_track_turn *turn_at(const sl_track_context *context, int32_t seq)
{
    bool known = context && seq >= 0 && (uint32_t)seq < context->seq_count;
    return known ? context->seqs[seq].turn : NULL;
}

/* Changes the last token's time; of the only token it is the first one's too. */
static void set_last(sl_track_turn *turn, sl_track_when when)
{
    SL_ASSERT(!when.to_ns || when.to_ns >= when.from_ns);
    turn->last_token = when;
    if (turn->generated == 0)
        turn->first_token = when;
}

static void taken_by(sl_track_turn *turn, uint64_t to_ns)
{
    if (!turn || !turn->last_token.from_ns || turn->last_token.to_ns)
        return;
    uint64_t from_ns = turn->last_token.from_ns;
    set_last(turn, (sl_track_when){from_ns, to_ns > from_ns ? to_ns : from_ns});
}

static void taken_after(sl_track_turn *turn, uint64_t from_ns)
{
    if (turn && turn->last_token.from_ns && !turn->last_token.to_ns && from_ns > turn->last_token.from_ns)
        set_last(turn, (sl_track_when){from_ns, 0});
}

void sl_token_times_batch(sl_probe_assembler *a, sl_track_context *context, uint64_t start_ns)
{
    SL_ASSERT(a && context && context->output_count <= SL_TRACK_OUTPUTS);
    for (uint32_t i = 0; i < context->output_count; i++)
        taken_by(turn_at(context, context->outputs[i].seq), start_ns);
    context->output_count = 0;
    if (a->sampling.context == context->id)
        a->sampling.context = 0; /* its sequence has another token before it */
}

void sl_token_times_output(sl_track_context *context, int32_t seq, uint32_t row)
{
    SL_ASSERT(context && context->output_count <= SL_TRACK_OUTPUTS);
    if (context->output_count < SL_TRACK_OUTPUTS)
        context->outputs[context->output_count++] = (sl_track_output){row, seq};
}

void sl_token_times_token(sl_track_turn *turn, uint64_t from_ns)
{
    SL_ASSERT(turn);
    set_last(turn, (sl_track_when){from_ns, 0});
}

void sl_token_times_logits(sl_probe_assembler *a, const sl_probe_logits *event)
{
    SL_ASSERT(a && event);
    sl_track_sampling *now = &a->sampling;
    const sl_track_context *context = sl_track_context_find(a, event->context);
    if (now->context && now->thread == event->head.thread && now->context == event->context && now->row == event->row)
        return; /* again: sampled anew, or for its probabilities */
    if (now->context && now->thread == event->head.thread)
        taken_by(turn_at(sl_track_context_find(a, now->context), now->seq), event->head.time_ns);
    *now = (sl_track_sampling){.context = 0};
    for (uint32_t i = 0; context && event->row >= 0 && i < context->output_count; i++) {
        if (context->outputs[i].row != (uint32_t)event->row)
            continue;
        *now = (sl_track_sampling){context->id, event->head.thread, event->row, context->outputs[i].seq, false};
        taken_after(turn_at(context, now->seq), event->head.time_ns);
        return;
    }
}

void sl_token_times_sample(sl_probe_assembler *a, const sl_probe_sample *event)
{
    SL_ASSERT(a && event);
    sl_track_sampling *now = &a->sampling;
    if (!now->context || now->sampled || now->thread != event->head.thread)
        return;
    now->sampled = true;
    taken_after(turn_at(sl_track_context_find(a, now->context), now->seq), event->head.time_ns);
}

bool sl_token_times_fit(const sl_track_turn *turn, const sl_answer_facts *facts, uint64_t end_ns, bool *ret_known)
{
    SL_ASSERT(turn && facts && ret_known);
    const sl_track_when *first = &turn->first_token, *last = &turn->last_token;
    *ret_known = facts->has_timings && facts->predicted_ms > 0 && facts->predicted_n > 1 && turn->last_n <= 1 &&
                 turn->generated > 0 && first->from_ns && last->from_ns;
    if (!*ret_known)
        return true;
    uint64_t last_to = last->to_ns && last->to_ns < end_ns ? last->to_ns : end_ns;
    uint64_t first_to = first->to_ns ? first->to_ns : last->from_ns;
    double least = sl_track_ms(sl_track_span_of(first_to, last->from_ns));
    double most = sl_track_ms(sl_track_span_of(first->from_ns, last_to));
    return facts->predicted_ms >= least - SLACK_MS && facts->predicted_ms <= most + SLACK_MS;
}
