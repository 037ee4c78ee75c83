/*
 * Spans: starting, setting, ending.
 *
 * A start decides sampling first. What is not recorded carries its context only and touches neither clock nor buffer.
 */
#include <sightline/trace.h>

#include "src/base/assert.h"
#include "src/telemetry/sampler.h"
#include "src/telemetry/span_clock.h"
#include "src/telemetry/span_impl.h"
#include "src/wire/pb.h"

#define HEAD_BYTES 128

/* ---- starting ---- */

static inline sl_span *take_object(void)
{
    sl_span_thread *thread = &sl_span_this;
    if (SL_UNLIKELY(!thread->ready))
        sl_span_thread_init();
    sl_span *span = thread->idle;
    if (SL_UNLIKELY(!span))
        return sl_span_object_new();
    SL_ASSERT(span->state == SL_SPAN_IDLE && thread->idle_count > 0);
    thread->idle = span->next;
    thread->idle_count--;
    return span;
}

static inline void put_back(sl_span *span)
{
    SL_ASSERT(span);
    span->state = SL_SPAN_IDLE;
    sl_span_thread *thread = &sl_span_this;
    if (SL_UNLIKELY(thread->current == span))
        thread->current = NULL;
    if (SL_UNLIKELY(!thread->ready || thread->idle_count >= SL_MAX_POOLED_SPANS)) {
        sl_span_object_put(span);
        return;
    }
    span->next = thread->idle;
    thread->idle = span;
    thread->idle_count++;
}

/* The parent by the rules of sl_span_options; NULL for a root. */
static inline const sl_span_context *find_parent(const sl_span_options *options)
{
    const sl_span_context *parent = NULL;
    if (options) {
        if (options->root)
            return NULL;
        if (options->parent)
            parent = &options->parent->context;
        else if (options->parent_context && sl_span_identity_ok(options->parent_context))
            return options->parent_context;
    }
    if (!parent && sl_span_this.current)
        parent = &sl_span_this.current->context;
    return parent && sl_span_identity_ok(parent) ? parent : NULL;
}

/* Never 0: an id of zeros is none. */
static inline uint64_t new_id(sl_rng *rng)
{
    uint64_t word;
    do {
        word = sl_rng_next(rng);
    } while (SL_UNLIKELY(word == 0));
    return word;
}

/* Copies the tracestate into the span; a longer one than fits loses its right-most members, a broken one is discarded.
 */
static void copy_tracestate(sl_span *span, sl_str state)
{
    SL_ASSERT(span && (state.ptr || !state.len));
    if (!sl_utf8_valid(state))
        state.len = 0;
    if (state.len > sizeof span->state_text) {
        size_t len = sizeof span->state_text;
        while (len > 0 && state.ptr[len] != ',')
            len--;
        state.len = len;
    }
    if (state.len)
        memmove(span->state_text, state.ptr, state.len);
    span->context.tracestate = sl_str_of(span->state_text, state.len);
}

/* Identity of a new span: ids, flags but for the sampled one, tracestate. */
static inline void make_context(sl_span *span, const sl_span_context *parent)
{
    SL_ASSERT(span);
    sl_span_context *context = &span->context;
    sl_rng rng = sl_span_this.rng; /* here the compiler knows that writing an id does not change it */
    const uint64_t span_id = new_id(&rng);
    context->remote = false;
    if (parent) {
        sl_span_this.rng = rng;
        memcpy(context->span_id, &span_id, SL_SPAN_ID_SIZE);
        memcpy(context->trace_id, parent->trace_id, SL_TRACE_ID_SIZE);
        context->flags = parent->flags & SL_TRACE_FLAG_RANDOM;
        context->tracestate = sl_str_of(NULL, 0);
        if (SL_UNLIKELY(parent->tracestate.len))
            copy_tracestate(span, parent->tracestate);
        return;
    }
    const uint64_t trace_id[2] = {new_id(&rng), new_id(&rng)};
    sl_span_this.rng = rng;
    memcpy(context->span_id, &span_id, SL_SPAN_ID_SIZE);
    memcpy(context->trace_id, trace_id, SL_TRACE_ID_SIZE);
    context->flags = SL_TRACE_FLAG_RANDOM;
    context->tracestate = sl_str_of(NULL, 0);
}

/* When nothing is recorded any more: the parent's identity goes on. */
static sl_span *start_stopped(sl_tracer *tracer, const sl_span_context *parent)
{
    sl_span *span = parent ? take_object() : NULL;
    if (!span)
        return NULL;
    span->state = SL_SPAN_LIGHT;
    span->tracer = tracer;
    span->context = *parent;
    span->context.tracestate = sl_str_of(NULL, 0);
    if (parent->tracestate.len)
        copy_tracestate(span, parent->tracestate);
    return span;
}

static __attribute__((noinline)) sl_sampling_decision ask_user(const sl_span *span, const sl_span_context *parent,
                                                               sl_str name, const sl_span_options *options)
{
    SL_ASSERT(span);
    const sl_sampler *sampler = span->tracer->sdk->sampler;
    sl_sampling_input input;
    input.parent = parent;
    input.trace_id = span->context.trace_id;
    input.name = name;
    input.kind = options && options->kind ? options->kind : SL_SPAN_INTERNAL;
    input.attrs = options ? options->attrs : NULL;
    input.attr_count = options && options->attrs ? options->attr_count : 0;
    return sampler->fn(sampler->user, &input);
}

static inline sl_sampling_decision decide(const sl_span *span, const sl_span_context *parent, sl_str name,
                                          const sl_span_options *options)
{
    SL_ASSERT(span);
    const sl_sampler *sampler = span->tracer->sdk->sampler;
    if (SL_UNLIKELY(sampler && sampler->kind == SL_SAMPLER_CALLBACK))
        return ask_user(span, parent, name, options);
    bool keep = sl_sampler_keeps(sampler, parent, span->context.trace_id);
    return keep ? SL_SAMPLE_RECORD_AND_SAMPLE : SL_SAMPLE_DROP;
}

static inline void count_start(sl_tracer *tracer)
{
    SL_ASSERT(tracer);
    sl_segment_add(tracer->sdk->segment, SL_CELL_SPANS_BEGUN, 1);
}

static void take_options(sl_span *span, const sl_span_options *options)
{
    SL_ASSERT(span && options);
    span->kind = options->kind >= SL_SPAN_INTERNAL && options->kind <= SL_SPAN_CONSUMER ? (uint8_t)options->kind
                                                                                        : SL_SPAN_INTERNAL;
    if (options->start_ns) {
        span->start_ns = options->start_ns;
        span->start_given = true;
    }
    for (size_t i = 0; options->attrs && i < options->attr_count; i++)
        sl_span_set(span, options->attrs[i].key, options->attrs[i].value);
    for (size_t i = 0; options->links && i < options->link_count; i++)
        sl_span_add_link(span, &options->links[i]);
}

/* Everything that only a recording span has. */
static inline void begin_recording(sl_span *span, const sl_span_context *parent, sl_str name,
                                   const sl_span_options *options)
{
    SL_ASSERT(span && (name.ptr || !name.len));
    sl_tracer *tracer = span->tracer;
    const sl_limits *limits = &tracer->sdk->span_limits;
    span->state = SL_SPAN_RECORDING;
    span->generation = sl_span_generation;
    span->kind = SL_SPAN_INTERNAL;
    span->status = SL_STATUS_UNSET;
    span->parent_remote = parent && parent->remote;
    memset(span->parent_id, 0, sizeof span->parent_id);
    if (parent)
        memcpy(span->parent_id, parent->span_id, sizeof span->parent_id);
    span->start_given = false;
    span->dropped_attrs = span->events = span->dropped_events = span->links = span->dropped_links = 0;
    span->rules = (sl_attr_rules){limits->attr_count, limits->attr_value_chars, limits->priority_keys,
                                  limits->priority_key_count};
    sl_span_buf_init(&span->buf, tracer->span_bytes);
    (void)sl_span_buf_set_name(&span->buf, name);
    count_start(tracer);
    if (!options || !options->start_ns) {
        span->start_mono_ns = sl_mono_ns();
        span->start_ns = sl_span_clock_unix(span->start_mono_ns);
    }
    if (options)
        take_options(span, options);
}

sl_span *sl_span_start(sl_tracer *tracer, sl_str name, const sl_span_options *options)
{
    if (!tracer)
        return NULL;
    const sl_span_context *parent = find_parent(options);
    if (SL_UNLIKELY(!atomic_load_explicit(&tracer->sdk->recording, memory_order_relaxed)))
        return start_stopped(tracer, parent);
    sl_span *span = take_object();
    if (SL_UNLIKELY(!span))
        return NULL;
    span->tracer = tracer;
    make_context(span, parent);
    sl_sampling_decision decision = decide(span, parent, name, options);
    bool sampled = decision == SL_SAMPLE_RECORD_AND_SAMPLE;
    span->context.flags |= sampled ? SL_TRACE_FLAG_SAMPLED : 0;
    span->keep = sampled;
    span->state = SL_SPAN_LIGHT;
    if (sampled || decision == SL_SAMPLE_RECORD_ONLY || tracer->sdk->keep_errors)
        begin_recording(span, parent, name, options);
    return span;
}

/* ---- setting ---- */

void sl_span_set(sl_span *span, sl_str key, sl_value value)
{
    if (sl_span_recording(span))
        span->dropped_attrs += sl_span_buf_set(&span->buf, key, &value, &span->rules);
}

void sl_span_put_str(sl_span *span, sl_str key, sl_str value)
{
    if (sl_span_recording(span))
        span->dropped_attrs += sl_span_buf_set_str(&span->buf, key, value, &span->rules);
}

void sl_span_put_int(sl_span *span, sl_str key, int64_t value)
{
    if (sl_span_recording(span))
        span->dropped_attrs += sl_span_buf_set_int(&span->buf, key, value, &span->rules);
}

/* The names stay functions too, beside the macros of the header: for who takes their address. */
void(sl_span_set_str)(sl_span *span, const char *key, const char *value)
{
    sl_span_put_str(span, sl_str_c(key), sl_str_c(value));
}

void(sl_span_set_int)(sl_span *span, const char *key, int64_t value)
{
    sl_span_put_int(span, sl_str_c(key), value);
}

void sl_span_set_double(sl_span *span, const char *key, double value)
{
    sl_span_set(span, sl_str_c(key), sl_value_double(value));
}

void sl_span_set_bool(sl_span *span, const char *key, bool value)
{
    sl_span_set(span, sl_str_c(key), sl_value_bool(value));
}

void sl_span_set_status(sl_span *span, sl_status_code code, const char *message)
{
    if (!sl_span_recording(span) || span->status == SL_STATUS_OK || (code != SL_STATUS_OK && code != SL_STATUS_ERROR))
        return;
    sl_str text = sl_str_c(code == SL_STATUS_ERROR ? message : NULL);
    if (sl_span_buf_set_status(&span->buf, code, text) || sl_span_buf_set_status(&span->buf, code, sl_str_of(NULL, 0)))
        span->status = (uint8_t)code;
}

void sl_span_set_name(sl_span *span, sl_str name)
{
    if (sl_span_recording(span))
        (void)sl_span_buf_set_name(&span->buf, name);
}

bool sl_span_is_recording(const sl_span *span)
{
    return sl_span_recording(span);
}

void sl_span_get_context(const sl_span *span, sl_span_context *ret_context)
{
    if (!ret_context)
        return;
    if (span && span->state != SL_SPAN_IDLE)
        *ret_context = span->context;
    else
        memset(ret_context, 0, sizeof *ret_context);
}

/* ---- ending ---- */

uint64_t sl_span_now(const sl_span *span)
{
    SL_ASSERT(span);
    uint64_t now = sl_mono_ns();
    if (SL_UNLIKELY(span->start_given))
        return sl_span_clock_unix(now);
    return span->start_ns + (now - span->start_mono_ns);
}

static inline uint8_t *put_id(uint8_t *at, uint8_t tag, const uint8_t *id, uint8_t size)
{
    *at++ = tag;
    *at++ = size;
    memcpy(at, id, size);
    return at + size;
}

static inline uint8_t *put_count(uint8_t *at, uint32_t field, uint32_t count)
{
    return SL_LIKELY(count == 0) ? at : sl_pb_raw_varint(sl_pb_raw_tag(at, field, SL_PB_VARINT), count);
}

/* The fields of the span that are not in its buffer nor its tracestate. */
static inline size_t put_head(const sl_span *span, uint64_t end_ns, uint8_t *head)
{
    SL_ASSERT(span);
    uint32_t flags = span->context.flags | SL_FLAG_HAS_IS_REMOTE | (span->parent_remote ? SL_FLAG_IS_REMOTE : 0);
    uint8_t *at = put_id(head, 0x0A, span->context.trace_id, SL_TRACE_ID_SIZE);
    at = put_id(at, 0x12, span->context.span_id, SL_SPAN_ID_SIZE);
    if (sl_id_set(span->parent_id, 1))
        at = put_id(at, 0x22, span->parent_id, SL_SPAN_ID_SIZE);
    *at++ = 0x30;
    *at++ = span->kind;
    *at++ = 0x39;
    at = sl_pb_raw_fixed64(at, span->start_ns);
    *at++ = 0x41;
    at = sl_pb_raw_fixed64(at, end_ns);
    at = put_count(at, 10, span->dropped_attrs);
    at = put_count(at, 12, span->dropped_events);
    at = put_count(at, 14, span->dropped_links);
    at = sl_pb_raw_fixed32(sl_pb_raw_tag(at, 16, SL_PB_FIXED32), flags);
    if (SL_UNLIKELY(span->context.tracestate.len))
        at = sl_pb_raw_varint(sl_pb_raw_tag(at, 3, SL_PB_LEN), span->context.tracestate.len);
    SL_ASSERT(at - head <= HEAD_BYTES);
    return (size_t)(at - head);
}

static void commit(sl_span *span, uint64_t end_ns)
{
    SL_ASSERT(span);
    const sl_tracer *tracer = span->tracer;
    uint8_t head[HEAD_BYTES];
    sl_piece pieces[3] = {{head, put_head(span, end_ns, head)}, {NULL, 0}, {NULL, 0}};
    size_t count = 1;
    if (SL_UNLIKELY(span->context.tracestate.len))
        pieces[count++] = (sl_piece){span->context.tracestate.ptr, span->context.tracestate.len};
    pieces[count++] = (sl_piece){span->buf.data, span->buf.len};
    uint32_t tag = tracer->scope | (span->keep ? 0 : SL_TAG_UNSAMPLED);
    (void)sl_segment_write(tracer->sdk->segment, SL_RING_SPANS, tag, pieces, count); /* a loss is counted there */
}

void sl_span_end_at(sl_span *span, uint64_t end_ns)
{
    if (!span || span->state == SL_SPAN_IDLE)
        return;
    if (SL_UNLIKELY(span->state == SL_SPAN_LIGHT)) {
        put_back(span);
        return;
    }
    const sl_sdk *sdk = span->tracer->sdk;
    bool wanted = span->keep || (sdk->keep_errors && span->status == SL_STATUS_ERROR);
    if (wanted && span->generation == sl_span_generation &&
        atomic_load_explicit(&sdk->recording, memory_order_relaxed)) {
        if (SL_LIKELY(end_ns == 0))
            end_ns = sl_span_now(span);
        commit(span, end_ns < span->start_ns ? span->start_ns : end_ns);
    }
    sl_span_buf_done(&span->buf);
    put_back(span);
}

void sl_span_end(sl_span *span)
{
    sl_span_end_at(span, 0);
}
