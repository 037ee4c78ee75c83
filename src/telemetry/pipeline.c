/*
 * The pipeline: its thread, its life cycle, its counts. Draining, batching and the list of segments are under one lock,
 * collection of metrics under another; neither is held while a peer is waited for, and a flush does its own draining on
 * the caller's thread.
 */
#include "src/telemetry/pipeline.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/pipeline_impl.h"

#define POLL_MS 100u
#define IDLE_POLL_MS 200u /* at least this while nothing comes */
#define IDLE_AFTER 20u    /* empty polls */
#define REPORT_CLOSE_MS 200u

/* ---- the thread ---- */

static void wait_wake(sl_pipeline *p, uint64_t timeout_ms)
{
    SL_ASSERT(p);
    struct pollfd fd = {p->wake_fd, POLLIN, 0};
    if (poll(&fd, 1, (int)timeout_ms) <= 0)
        return;
    uint64_t count;
    ssize_t got = read(p->wake_fd, &count, sizeof count);
    (void)got; /* another reader may have been faster: the wake-up itself is what counts */
}

/* Says what has been lost to full rings and queues since that was last said. `last`: there will be no other time. */
static void tell_losses(sl_pipeline *p, bool last)
{
    SL_ASSERT(p);
    pthread_mutex_lock(&p->lock);
    p->unsaid += sl_pipeline_new_drops(p);
    uint64_t drops = p->unsaid;
    pthread_mutex_unlock(&p->lock);
    if (drops &&
        sl_reporter_tell(p->reporter, last, SL_ELIMIT, "%llu records dropped: a recording thread's ring was full",
                         (unsigned long long)drops)) {
        pthread_mutex_lock(&p->lock);
        p->unsaid -= drops;
        pthread_mutex_unlock(&p->lock);
    }
    for (size_t i = 0; i < p->lane_count; i++)
        sl_sink_tell_lost(p->lanes[i].sink, last);
}

/* One round. Returns how long to wait before the next. */
static uint64_t work_once(sl_pipeline *p, unsigned *empty_rounds)
{
    SL_ASSERT(p && empty_rounds);
    pthread_mutex_lock(&p->lock);
    size_t count = sl_pipeline_drain_all(p);
    bool waiting = sl_pipeline_finish_due(p, false);
    pthread_mutex_unlock(&p->lock);
    tell_losses(p, false);
    *empty_rounds = count || waiting ? 0 : *empty_rounds + 1;
    if (*empty_rounds == IDLE_AFTER)
        sl_pipeline_trim(p);
    uint64_t poll_ms = p->options.poll_ms;
    return *empty_rounds > IDLE_AFTER && poll_ms < IDLE_POLL_MS ? IDLE_POLL_MS : poll_ms;
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *run(void *user)
{
    sl_pipeline *p = user;
    unsigned empty_rounds = 0;
    bool metrics = sl_pipeline_has_metrics(p);
    uint64_t next_collect = sl_deadline_ns(p->options.metric_interval_ms);
    while (!atomic_load(&p->stop)) {
        uint64_t wait_ms = work_once(p, &empty_rounds);
        if (metrics) {
            if (sl_mono_ns() >= next_collect) {
                sl_pipeline_collect(p);
                next_collect = sl_deadline_ns(p->options.metric_interval_ms);
            }
            uint64_t left = sl_deadline_left_ms(next_collect);
            wait_ms = left < wait_ms ? left : wait_ms;
        }
        wait_wake(p, wait_ms);
    }
    atomic_store(&p->cpu_ns, thread_cpu_ns());
    pthread_mutex_lock(&p->lock);
    p->ended = true;
    pthread_cond_broadcast(&p->ended_cond);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- life cycle ---- */

static void forward_delivery(void *user, const sl_exporter *exporter, sl_signal signal, int error, uint64_t ns)
{
    sl_pipeline *p = user;
    if (p->observer.on_delivery)
        p->observer.on_delivery(p->observer.user, exporter, signal, error, ns);
}

static void free_exporters(const sl_pipeline_options *o, size_t from)
{
    for (size_t i = from; i < o->exporter_count; i++) {
        if (o->exporters[i].free)
            o->exporters[i].free(o->exporters[i].user);
    }
}

/* Frees everything; the sinks have been stopped. */
static void destroy(sl_pipeline *p)
{
    SL_ASSERT(p);
    for (size_t i = 0; i < p->lane_count; i++) {
        sl_sink_free(p->lanes[i].sink);
        for (int s = 0; s < SL_SIGNAL_COUNT; s++) {
            if (p->lanes[i].batches[s])
                sl_batch_done(p->lanes[i].batches[s]);
            sl_free(p->lanes[i].batches[s]);
        }
    }
    for (size_t i = 0; i < p->source_count; i++)
        sl_free(p->sources[i]);
    for (size_t i = 0; i < p->scope_count; i++)
        sl_free(p->scopes[i]);
    sl_reporter_unref(p->reporter);
    sl_free(p->resource);
    sl_free(p->schema_url);
    if (p->wake_fd >= 0)
        close(p->wake_fd);
    pthread_cond_destroy(&p->ended_cond);
    pthread_mutex_destroy(&p->lock);
    pthread_mutex_destroy(&p->collect_lock);
    sl_free(p);
}

static sl_batch_options filled(const sl_batch_options *given, sl_signal signal)
{
    SL_ASSERT(given);
    sl_batch_options o = *given;
    if (!o.schedule_delay_ms)
        o.schedule_delay_ms = signal == SL_SIGNAL_LOGS ? 1000 : 5000;
    if (!o.export_timeout_ms)
        o.export_timeout_ms = 30000;
    if (!o.max_queue_items)
        o.max_queue_items = 2048;
    if (!o.max_batch_items)
        o.max_batch_items = 512;
    if (o.max_batch_items > o.max_queue_items)
        o.max_batch_items = o.max_queue_items;
    if (!o.max_batch_bytes)
        o.max_batch_bytes = 3u << 20;
    if (!o.max_pending_bytes)
        o.max_pending_bytes = 16u << 20;
    return o;
}

/* Copies what the options point to, and fills in the defaults. */
static int copy_options(sl_pipeline *p, const sl_pipeline_options *o)
{
    SL_ASSERT(p && o);
    p->options = *o;
    p->options.exporters = NULL;
    p->options.poll_ms = o->poll_ms ? o->poll_ms : POLL_MS;
    p->options.metric_interval_ms = o->metric_interval_ms ? o->metric_interval_ms : 60000;
    for (int i = 0; i < SL_SIGNAL_COUNT; i++)
        p->options.batch[i] = filled(&o->batch[i], (sl_signal)i);
    p->resource = sl_strndup(o->resource.ptr, o->resource.len);
    p->schema_url = sl_strndup(o->resource_schema_url.ptr, o->resource_schema_url.len);
    p->reporter = o->reporter ? sl_reporter_ref(o->reporter) : sl_reporter_new(o->on_error, o->on_error_user, false);
    if (!p->resource || !p->schema_url || !p->reporter)
        return SL_ENOMEM;
    p->options.resource = sl_str_of(p->resource, o->resource.len);
    p->options.resource_schema_url = sl_str_of(p->schema_url, o->resource_schema_url.len);
    return 0;
}

/* The batches of a lane whose sink exists. */
static int init_lane(sl_pipeline *p, sl_lane *l)
{
    SL_ASSERT(l);
    const sl_exporter *exporter = sl_sink_exporter(l->sink);
    l->immediate = exporter->immediate;
    l->wants = exporter->wants;
    l->user = exporter->user;
    for (int s = 0; s < SL_SIGNAL_COUNT; s++) {
        const sl_batch_options *o = &p->options.batch[s];
        uint64_t delay_ms = exporter->schedule_delay_ms ? exporter->schedule_delay_ms : o->schedule_delay_ms;
        l->delay_ns[s] = delay_ms * 1000000u;
        if (s == SL_SIGNAL_METRICS || !(exporter->signals & SL_SIGNAL_BIT(s)))
            continue;
        l->batches[s] = sl_malloc(sizeof *l->batches[s]);
        if (!l->batches[s])
            return SL_ENOMEM;
        sl_batch_init(l->batches[s], (sl_signal)s, p->options.resource, p->options.resource_schema_url,
                      o->max_batch_items, o->max_batch_bytes);
    }
    return 0;
}

/* A sink for every exporter. Takes them all over, also on failure. */
static int start_sinks(sl_pipeline *p, const sl_pipeline_options *o)
{
    SL_ASSERT(o);
    int error = o->exporter_count > SL_MAX_SINKS ? SL_EINVAL : 0;
    size_t taken = 0;
    while (!error && taken < o->exporter_count) {
        sl_sink_options sink;
        memset(&sink, 0, sizeof sink);
        sink.exporter = o->exporters[taken++];
        memcpy(sink.batch, p->options.batch, sizeof sink.batch);
        sink.reporter = p->reporter;
        sink.on_delivery = forward_delivery;
        sink.on_delivery_user = p;
        sink.retry_initial_ms = o->retry_initial_ms;
        error = sink.exporter.deliver ? sl_sink_new(&sink, &p->lanes[p->lane_count].sink) : SL_EINVAL;
        if (!error)
            error = init_lane(p, &p->lanes[p->lane_count++]);
    }
    free_exporters(o, taken);
    return error;
}

static void stop_sinks_now(sl_pipeline *p)
{
    for (size_t i = 0; i < p->lane_count; i++)
        (void)sl_sink_stop(p->lanes[i].sink, sl_mono_ns());
}

int sl_pipeline_new(const sl_pipeline_options *options, sl_pipeline **ret_pipeline)
{
    SL_ASSERT(options && ret_pipeline && (options->exporters || !options->exporter_count));
    sl_pipeline *p = sl_calloc(1, sizeof *p);
    if (!p || sl_cond_init(&p->ended_cond)) {
        sl_free(p);
        free_exporters(options, 0);
        return SL_ENOMEM;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_mutex_init(&p->collect_lock, NULL);
    p->pid = getpid();
    p->wake_fd =
        options->wake_fd > 0 ? fcntl(options->wake_fd, F_DUPFD_CLOEXEC, 0) : eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int error = copy_options(p, options);
    if (!error && p->wake_fd < 0)
        error = SL_ENOMEM;
    if (error)
        free_exporters(options, 0);
    else
        error = start_sinks(p, options);
    if (!error)
        error = sl_thread_start(&p->thread, run, p);
    if (error) {
        stop_sinks_now(p);
        destroy(p);
        return error;
    }
    *ret_pipeline = p;
    return 0;
}

int sl_pipeline_wake_fd(sl_pipeline *pipeline)
{
    SL_ASSERT(pipeline);
    return pipeline->wake_fd;
}

int sl_pipeline_add_segment(sl_pipeline *pipeline, sl_segment *segment)
{
    SL_ASSERT(pipeline && segment);
    sl_source *added = sl_calloc(1, sizeof *added);
    if (!added)
        return SL_ENOMEM;
    added->segment = segment;
    for (int kind = 0; kind < SL_RING_COUNT; kind++)
        sl_segment_set_ring_limit(segment, (sl_ring_kind)kind,
                                  pipeline->options.batch[sl_ring_signal[kind]].max_queue_items);
    pthread_mutex_lock(&pipeline->lock);
    bool fits = pipeline->source_count < SL_MAX_SEGMENTS;
    if (fits)
        pipeline->sources[pipeline->source_count++] = added;
    pthread_mutex_unlock(&pipeline->lock);
    if (!fits)
        sl_free(added);
    return fits ? 0 : SL_ELIMIT;
}

static void add_stats(sl_ring_stats *totals, const sl_segment *segment, sl_ring_kind kind)
{
    SL_ASSERT(totals && segment);
    sl_ring_stats stats;
    sl_segment_ring_stats(segment, kind, &stats);
    totals->written += stats.written;
    totals->dropped += stats.dropped;
    totals->begun += stats.begun;
    totals->abandoned += stats.abandoned;
}

/* Keeps the counts of a segment that goes away. Under the lock. */
static void retire(sl_pipeline *p, const sl_source *from)
{
    for (int kind = 0; kind < SL_RING_COUNT; kind++)
        add_stats(&p->retired[kind], from->segment, (sl_ring_kind)kind);
    /* What a segment that is gone still has open will not be ended here. */
    sl_ring_stats *spans = &p->retired[SL_RING_SPANS];
    uint64_t ended = spans->written + spans->dropped;
    spans->abandoned = spans->begun > ended ? spans->begun - ended : 0;
}

void sl_pipeline_remove_segment(sl_pipeline *pipeline, sl_segment *segment)
{
    SL_ASSERT(pipeline && segment);
    if (pipeline->pid != getpid())
        return;
    pthread_mutex_lock(&pipeline->lock);
    for (size_t i = 0; i < pipeline->source_count; i++) {
        sl_source *from = pipeline->sources[i];
        if (from->segment != segment)
            continue;
        pipeline->now_ns = sl_mono_ns();
        sl_pipeline_drain_source(pipeline, from);
        pipeline->unsaid += sl_pipeline_new_drops(pipeline);
        retire(pipeline, from);
        pipeline->sources[i] = pipeline->sources[--pipeline->source_count];
        sl_free(from);
        break;
    }
    pthread_mutex_unlock(&pipeline->lock);
}

/* Moves everything recorded so far into the sinks' queues. */
static void push_all(sl_pipeline *p)
{
    SL_ASSERT(p);
    pthread_mutex_lock(&p->lock);
    sl_pipeline_drain_all(p);
    sl_pipeline_finish_due(p, true);
    pthread_mutex_unlock(&p->lock);
    if (sl_pipeline_has_metrics(p))
        sl_pipeline_collect(p);
}

int sl_pipeline_flush(sl_pipeline *pipeline, uint64_t timeout_ms)
{
    SL_ASSERT(pipeline);
    if (pipeline->pid != getpid())
        return SL_ECLOSED;
    uint64_t deadline = sl_deadline_ns(timeout_ms);
    push_all(pipeline);
    int result = 0;
    for (size_t i = 0; i < pipeline->lane_count; i++) {
        int error = sl_sink_flush(pipeline->lanes[i].sink, deadline);
        if (error && result != SL_ETIMEOUT)
            result = error;
    }
    return result;
}

/* Ends the thread. False when it does not return in time. */
static bool stop_thread(sl_pipeline *p, uint64_t deadline)
{
    SL_ASSERT(p);
    atomic_store(&p->stop, true);
    uint64_t one = 1;
    ssize_t put = write(p->wake_fd, &one, sizeof one);
    (void)put; /* a full counter wakes as well */
    uint64_t least = sl_deadline_ns(500);
    deadline = deadline > least ? deadline : least;
    pthread_mutex_lock(&p->lock);
    bool in_time = true;
    while (!p->ended && in_time)
        in_time = sl_cond_wait_until(&p->ended_cond, &p->lock, deadline);
    bool ended = p->ended;
    p->stuck = !ended;
    pthread_mutex_unlock(&p->lock);
    if (ended)
        (void)pthread_join(p->thread, NULL);
    else
        (void)pthread_detach(p->thread);
    return ended;
}

int sl_pipeline_shutdown(sl_pipeline *pipeline, uint64_t timeout_ms)
{
    SL_ASSERT(pipeline && !pipeline->stopped);
    if (pipeline->pid != getpid())
        return SL_ECLOSED;
    uint64_t deadline = sl_deadline_ns(timeout_ms);
    int result = stop_thread(pipeline, deadline) ? 0 : SL_ETIMEOUT;
    if (!result) {
        push_all(pipeline);
        tell_losses(pipeline, true);
    }
    for (size_t i = 0; i < pipeline->lane_count; i++)
        sl_sink_begin_stop(pipeline->lanes[i].sink, deadline);
    for (size_t i = 0; i < pipeline->lane_count; i++) {
        int error = sl_sink_stop(pipeline->lanes[i].sink, deadline);
        if (error)
            result = error;
    }
    sl_pipeline_observer nobody = {NULL, NULL, NULL};
    sl_pipeline_observe(pipeline, &nobody);
    pthread_mutex_lock(&pipeline->lock);
    pipeline->stopped = true;
    pthread_mutex_unlock(&pipeline->lock);
    return result;
}

bool sl_pipeline_is_stuck(const sl_pipeline *pipeline)
{
    SL_ASSERT(pipeline);
    return pipeline->stuck;
}

void sl_pipeline_free(sl_pipeline *pipeline)
{
    if (!pipeline || pipeline->pid != getpid())
        return;
    if (!pipeline->stopped)
        (void)sl_pipeline_shutdown(pipeline, 0);
    if (!pipeline->options.reporter)
        sl_reporter_close(pipeline->reporter, REPORT_CLOSE_MS);
    if (!pipeline->stuck)
        destroy(pipeline);
}

/* ---- counts ---- */

/* The counts of the sink that has exported the fewest; false when no sink takes the signal. */
static bool slowest_sink(sl_pipeline *p, sl_signal signal, sl_sink_counts *ret_counts)
{
    SL_ASSERT(ret_counts);
    bool found = false;
    for (size_t i = 0; i < p->lane_count; i++) {
        const sl_exporter *exporter = sl_sink_exporter(p->lanes[i].sink);
        if (p->lanes[i].immediate || !(exporter->signals & SL_SIGNAL_BIT(signal)))
            continue;
        sl_sink_counts counts;
        sl_sink_get_counts(p->lanes[i].sink, signal, &counts);
        if (!found || counts.exported < ret_counts->exported)
            *ret_counts = counts;
        found = true;
    }
    return found;
}

/* Records written and dropped of one kind, over all segments. Under the lock. */
static sl_ring_stats ring_totals(sl_pipeline *p, sl_ring_kind kind)
{
    SL_ASSERT(p);
    sl_ring_stats totals = p->retired[kind];
    for (size_t i = 0; i < p->source_count; i++)
        add_stats(&totals, p->sources[i]->segment, kind);
    return totals;
}

void sl_pipeline_stats(sl_pipeline *pipeline, sl_signal signal, sl_sdk_stats *ret_stats)
{
    SL_ASSERT(pipeline && signal < SL_SIGNAL_COUNT && ret_stats);
    sl_sdk_stats stats = {0, 0, 0, 0};
    if (pipeline->pid != getpid()) {
        *ret_stats = stats;
        return;
    }
    sl_sink_counts counts;
    bool has_sink = slowest_sink(pipeline, signal, &counts);
    if (signal == SL_SIGNAL_METRICS) {
        pthread_mutex_lock(&pipeline->collect_lock);
        stats.ended = pipeline->points;
        pthread_mutex_unlock(&pipeline->collect_lock);
    } else {
        pthread_mutex_lock(&pipeline->lock);
        sl_ring_stats ring = ring_totals(pipeline, signal == SL_SIGNAL_TRACES ? SL_RING_SPANS : SL_RING_LOGS);
        pthread_mutex_unlock(&pipeline->lock);
        stats.started = ring.begun;
        stats.ended = ring.written + ring.dropped;
        stats.dropped = ring.dropped;
    }
    if (has_sink) {
        stats.exported = counts.exported;
        stats.dropped += counts.dropped;
        /* Whatever was committed too late for the last drain is lost, too. */
        if (pipeline->stopped && stats.ended > stats.exported)
            stats.dropped = stats.ended - stats.exported;
    }
    *ret_stats = stats;
}

void sl_pipeline_ring_stats(sl_pipeline *pipeline, sl_ring_kind kind, sl_ring_stats *ret_stats)
{
    SL_ASSERT(ret_stats);
    pthread_mutex_lock(&pipeline->lock);
    *ret_stats = ring_totals(pipeline, kind);
    pthread_mutex_unlock(&pipeline->lock);
}

size_t sl_pipeline_queue_items(const sl_pipeline *pipeline, sl_signal signal)
{
    SL_ASSERT(signal < SL_SIGNAL_COUNT);
    return pipeline->options.batch[signal].max_queue_items;
}

size_t sl_pipeline_sink_count(const sl_pipeline *pipeline)
{
    SL_ASSERT(pipeline);
    return pipeline->lane_count;
}

sl_sink *sl_pipeline_sink(const sl_pipeline *pipeline, size_t index)
{
    SL_ASSERT(index < pipeline->lane_count);
    return pipeline->lanes[index].sink;
}

void sl_pipeline_observe(sl_pipeline *pipeline, const sl_pipeline_observer *observer)
{
    SL_ASSERT(observer);
    pthread_mutex_lock(&pipeline->collect_lock);
    pipeline->observer = *observer;
    pthread_mutex_unlock(&pipeline->collect_lock);
}

uint64_t sl_pipeline_cpu_ns(sl_pipeline *pipeline)
{
    SL_ASSERT(pipeline);
    uint64_t ended = atomic_load(&pipeline->cpu_ns);
    clockid_t clock;
    struct timespec t;
    if (ended || pthread_getcpuclockid(pipeline->thread, &clock) || clock_gettime(clock, &t))
        return ended;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
