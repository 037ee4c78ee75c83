/* The assembler: every event goes to the part that it concerns. */
#include "src/probe/assembler.h"

#include "src/probe/correlate.h"
#include "src/probe/token_times.h"
#include "src/probe/track.h"

#define SCOPE "sightline.llama"
#define SLOW_BUDGET 20u /* spans of slow batches in a second */
#define SECOND_NS 1000000000u
#define CLOCK_JUMP_NS 100000000 /* less is two clocks that are read one after the other */

int sl_probe_assembler_new(const sl_probe_options *options, sl_probe_assembler **ret_assembler)
{
    if (!options || !options->sdk || !ret_assembler)
        return SL_EINVAL;
    sl_probe_assembler *a = sl_calloc(1, sizeof *a);
    if (!a)
        return SL_ENOMEM;
    a->options = *options;
    a->slow_budget = SLOW_BUDGET;
    a->text = sl_malloc(SL_MAX_TRACESTATE_BYTES);
    a->scratch = sl_malloc(SL_PROBE_EVENT_MAX);
    a->tracer = sl_tracer_named(options->sdk, SCOPE);
    if (!a->text || !a->scratch || sl_probe_metrics_new(options->sdk, options->pid, &a->metrics)) {
        sl_free(a->text);
        sl_free(a->scratch);
        sl_free(a);
        return SL_ENOMEM;
    }
    *ret_assembler = a;
    return 0;
}

void sl_probe_assembler_free(sl_probe_assembler *assembler)
{
    if (!assembler)
        return;
    sl_probe_assembler_host_gone(assembler, assembler->now_ns, false);
    SL_ASSERT(!assembler->turns && !assembler->first_ask && assembler->request_count == 0);
    SL_ASSERT(assembler->ask_count == 0 && assembler->tokens_kept == 0);
    sl_probe_metrics_free(assembler->metrics);
    sl_free(assembler->text);
    sl_free(assembler->scratch);
    sl_free(assembler);
}

void sl_probe_assembler_get_stats(const sl_probe_assembler *assembler, sl_probe_assembler_stats *ret_stats)
{
    SL_ASSERT(assembler && ret_stats);
    *ret_stats = assembler->stats;
}

/* The first wait for a batch's results is the end of its work, where the call itself returned early. */
static void on_sync(sl_probe_assembler *a, uint32_t context, uint64_t end_ns)
{
    sl_track_context *found = sl_track_context_find(a, context);
    if (found)
        sl_track_batch_finish(a, found, end_ns);
}

#define BODY(type) ((const type *)(const void *)event)

static void on_resource(sl_probe_assembler *a, const sl_probe_event *event)
{
    switch ((sl_probe_kind)event->kind) {
    case SL_PROBE_MODEL_LOAD:
        sl_track_model_load(a, BODY(sl_probe_model_load));
        break;
    case SL_PROBE_MODEL_FREE:
        sl_track_model_free(a, BODY(sl_probe_model_free));
        break;
    case SL_PROBE_CONTEXT_NEW:
        sl_track_context_new(a, BODY(sl_probe_context_new));
        break;
    case SL_PROBE_CONTEXT_FREE:
        sl_track_context_free(a, BODY(sl_probe_context_free));
        break;
    case SL_PROBE_BUFFER:
        sl_track_buffer_event(a, BODY(sl_probe_buffer));
        break;
    default:
        break;
    }
}

static void on_http(sl_probe_assembler *a, const sl_probe_event *event)
{
    switch ((sl_probe_kind)event->kind) {
    case SL_PROBE_TOKENIZE:
        sl_track_tokenize(a, BODY(sl_probe_tokenize));
        break;
    case SL_PROBE_POST:
        sl_track_post(a, BODY(sl_probe_post));
        break;
    case SL_PROBE_REQUEST:
        sl_track_request_begin(a, BODY(sl_probe_request));
        break;
    case SL_PROBE_REQUEST_END:
        sl_track_request_body(a, BODY(sl_probe_request_end));
        break;
    case SL_PROBE_ANSWER:
        sl_track_request_answer(a, BODY(sl_probe_answer));
        break;
    case SL_PROBE_FRAME:
        sl_track_request_frame(a, BODY(sl_probe_frame));
        break;
    case SL_PROBE_ANSWER_END:
        sl_track_request_end(a, BODY(sl_probe_answer_end));
        break;
    default:
        break;
    }
}

static void on_work(sl_probe_assembler *a, const sl_probe_event *event)
{
    switch ((sl_probe_kind)event->kind) {
    case SL_PROBE_DECODE:
        sl_track_decode(a, BODY(sl_probe_decode));
        break;
    case SL_PROBE_SYNC:
        on_sync(a, BODY(sl_probe_sync)->context, event->time_ns);
        break;
    case SL_PROBE_LOGITS:
        on_sync(a, BODY(sl_probe_logits)->context, event->time_ns);
        sl_token_times_logits(a, BODY(sl_probe_logits));
        break;
    case SL_PROBE_SAMPLE:
        sl_token_times_sample(a, BODY(sl_probe_sample));
        break;
    case SL_PROBE_SEQUENCE:
        sl_track_sequence(a, BODY(sl_probe_sequence));
        break;
    default:
        break;
    }
}

void sl_probe_assembler_event(void *assembler, const sl_probe_event *event, size_t size)
{
    sl_probe_assembler *a = assembler;
    SL_ASSERT(a && event && size >= sizeof *event);
    (void)size;
    sl_probe_metrics_events(a->metrics, 1, 0);
    if (event->time_ns > a->now_ns)
        a->now_ns = event->time_ns;
    if (event->kind >= SL_PROBE_TOKENIZE)
        on_http(a, event);
    else if (event->kind >= SL_PROBE_DECODE)
        on_work(a, event);
    else
        on_resource(a, event);
}

void sl_probe_assembler_tick(sl_probe_assembler *assembler, uint64_t now_ns, uint64_t ring_dropped)
{
    SL_ASSERT(assembler);
    sl_probe_assembler *a = assembler;
    if (now_ns > a->now_ns)
        a->now_ns = now_ns;
    if (sl_track_span_of(a->budget_ns, now_ns) > SECOND_NS) {
        a->budget_ns = now_ns;
        a->slow_budget = SLOW_BUDGET;
    }
    if (ring_dropped > a->dropped)
        sl_track_requests_doubt(a);
    a->dropped = ring_dropped;
    sl_track_batches_finish(a);
    sl_track_requests_look(a, now_ns);
    sl_track_turns_age(a, now_ns);
    sl_track_models_age(a, now_ns);
    sl_track_load(a);
    sl_probe_metrics_tick(a->metrics, now_ns, ring_dropped);
}

void sl_probe_assembler_clock(sl_probe_assembler *assembler, int64_t unix_offset_ns)
{
    SL_ASSERT(assembler);
    int64_t moved = assembler->clock_known ? unix_offset_ns - assembler->clock_ns : 0;
    if (assembler->clock_known && moved < CLOCK_JUMP_NS && moved > -CLOCK_JUMP_NS)
        return;
    assembler->options.unix_offset_ns += moved;
    assembler->clock_ns = unix_offset_ns;
    assembler->clock_known = true;
}

void sl_probe_assembler_damaged(sl_probe_assembler *assembler, uint64_t damaged)
{
    SL_ASSERT(assembler);
    if (damaged <= assembler->damaged)
        return;
    sl_track_requests_doubt(assembler);
    sl_probe_metrics_events(assembler->metrics, 0, damaged - assembler->damaged);
    assembler->damaged = damaged;
}

void sl_probe_assembler_host_gone(sl_probe_assembler *assembler, uint64_t now_ns, bool crashed)
{
    SL_ASSERT(assembler);
    if (now_ns < assembler->now_ns)
        now_ns = assembler->now_ns;
    sl_track_batches_finish(assembler);
    sl_track_requests_gone(assembler, now_ns, crashed);
    sl_track_resources_free(assembler);
    sl_track_ghosts_free(assembler);
    assembler->buffer_count = 0;
}
