/* The pipeline: from rings to batches, and from full or due batches to the sinks' queues. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/pipeline_impl.h"

static const sl_batch_scope empty_scope;

/* ---- scopes ---- */

static sl_batch_scope *scope_new(sl_str scope, sl_str schema_url, sl_str resource)
{
    SL_ASSERT((scope.ptr || !scope.len) && (schema_url.ptr || !schema_url.len));
    sl_batch_scope *entry = sl_malloc(sizeof *entry + scope.len + schema_url.len);
    if (!entry)
        return NULL;
    char *at = (char *)(entry + 1);
    if (scope.len)
        memcpy(at, scope.ptr, scope.len);
    if (schema_url.len)
        memcpy(at + scope.len, schema_url.ptr, schema_url.len);
    entry->scope = sl_str_of(at, scope.len);
    entry->schema_url = sl_str_of(at + scope.len, schema_url.len);
    entry->resource = resource;
    return entry;
}

/* Empty: the program's. */
static sl_str resource_of(const sl_pipeline *p, sl_str scope_name)
{
    for (size_t i = 0; i < p->options.scope_resource_count; i++) {
        if (sl_str_eq(p->options.scope_resources[i].scope, scope_name))
            return p->options.scope_resources[i].resource;
    }
    return sl_str_of(NULL, 0);
}

/* The one object of a distinct scope. */
static const sl_batch_scope *intern_scope(sl_pipeline *p, sl_str scope, sl_str schema_url, sl_str name)
{
    for (size_t i = 0; i < p->scope_count; i++) {
        if (sl_str_eq(p->scopes[i]->scope, scope) && sl_str_eq(p->scopes[i]->schema_url, schema_url))
            return p->scopes[i];
    }
    sl_batch_scope *entry = p->scope_count < SL_MAX_SCOPES ? scope_new(scope, schema_url, resource_of(p, name)) : NULL;
    if (!entry)
        return &empty_scope;
    p->scopes[p->scope_count++] = entry;
    return entry;
}

static const sl_batch_scope *scope_of(sl_pipeline *p, sl_source *from, uint32_t id)
{
    if (id == 0 || id >= SL_MAX_SCOPES)
        return &empty_scope;
    if (!from->scopes[id]) {
        sl_str scope, schema_url, name;
        if (sl_scope_find(from->segment, id, &scope, &schema_url, &name))
            return &empty_scope;
        from->scopes[id] = intern_scope(p, scope, schema_url, name);
    }
    return from->scopes[id];
}

/* ---- batching, under the lock ---- */

/* Hands the open batch of a lane to its sink. */
static void finish_batch(sl_lane *l, sl_signal signal)
{
    SL_ASSERT(l);
    sl_request *request = NULL;
    if (sl_batch_finish(l->batches[signal], &request)) {
        sl_sink_count_lost(l->sink, signal, sl_batch_discard(l->batches[signal]));
        return;
    }
    if (request)
        sl_sink_put(l->sink, request);
}

/* Memory of an earlier request for a batch that begins. */
static void supply(sl_lane *l, sl_batch *batch)
{
    SL_ASSERT(l && batch);
    size_t cap;
    char *data = sl_sink_take_spare(l->sink, &cap);
    if (data)
        sl_batch_supply(batch, data, cap);
}

static void add_item(sl_lane *l, sl_signal signal, const sl_batch_scope *scope, sl_str item, uint64_t now_ns)
{
    SL_ASSERT(l);
    sl_batch *batch = l->batches[signal];
    if (!batch || (l->wants && !l->wants(l->user, signal, item)))
        return;
    if (batch->items == 0)
        supply(l, batch);
    int error = sl_batch_add(batch, scope, item, now_ns);
    if (error == SL_EAGAIN) {
        finish_batch(l, signal);
        supply(l, batch);
        error = sl_batch_add(batch, scope, item, now_ns);
    }
    if (error)
        sl_sink_count_lost(l->sink, signal, 1);
    else if (batch->items >= batch->max_items)
        finish_batch(l, signal);
}

typedef struct drain_user {
    sl_pipeline *pipeline;
    sl_source *from;
    sl_signal signal;
} drain_user;

static bool on_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    drain_user *u = user;
    const sl_batch_scope *scope = scope_of(u->pipeline, u->from, SL_TAG_SCOPE(tag));
    sl_str item = sl_str_of((const char *)data, len);
    for (size_t i = 0; i < u->pipeline->lane_count; i++)
        add_item(&u->pipeline->lanes[i], u->signal, scope, item, u->pipeline->now_ns);
    return true;
}

size_t sl_pipeline_drain_source(sl_pipeline *p, sl_source *from)
{
    SL_ASSERT(from);
    size_t count = 0;
    for (int kind = 0; kind < SL_RING_COUNT; kind++) {
        drain_user user = {p, from, sl_ring_signal[kind]};
        count += sl_segment_drain(from->segment, (sl_ring_kind)kind, on_record, &user);
    }
    sl_segment_rearm(from->segment); /* not before: the thread takes a ring for half full until it is drained */
    return count;
}

/* Drains every segment. */
size_t sl_pipeline_drain_all(sl_pipeline *p)
{
    SL_ASSERT(p);
    size_t count = 0;
    p->now_ns = sl_mono_ns();
    for (size_t i = 0; i < p->source_count; i++)
        count += sl_pipeline_drain_source(p, p->sources[i]);
    return count;
}

/* Finishes the batches that are due, or all. Returns whether something is still waiting. */
bool sl_pipeline_finish_due(sl_pipeline *p, bool all)
{
    bool waiting = false;
    for (size_t i = 0; i < p->lane_count; i++) {
        sl_lane *l = &p->lanes[i];
        for (int s = 0; s < SL_SIGNAL_COUNT; s++) {
            const sl_batch *batch = l->batches[s];
            if (!batch || batch->items == 0)
                continue;
            if (all || l->immediate || p->now_ns - batch->first_ns >= l->delay_ns[s])
                finish_batch(l, (sl_signal)s);
            else
                waiting = true;
        }
    }
    return waiting;
}

void sl_pipeline_trim(sl_pipeline *p)
{
    for (size_t i = 0; i < p->lane_count; i++)
        sl_sink_trim(p->lanes[i].sink);
}

/* Records that found their ring full since the last call. */
uint64_t sl_pipeline_new_drops(sl_pipeline *p)
{
    uint64_t drops = 0;
    for (size_t i = 0; i < p->source_count; i++) {
        uint64_t now = 0;
        for (int kind = 0; kind < SL_RING_COUNT; kind++) {
            sl_ring_stats stats;
            sl_segment_ring_stats(p->sources[i]->segment, (sl_ring_kind)kind, &stats);
            now += stats.dropped;
        }
        drops += now - p->sources[i]->dropped;
        p->sources[i]->dropped = now;
    }
    return drops;
}
