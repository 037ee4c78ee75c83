/*
 * Sinks. One lock for queue and counts; it is not held while the exporter runs. The owner and the thread hold a
 * reference each: when a delivery hangs beyond the deadline of a stop, the thread is detached and frees the sink when
 * it returns.
 */
#include "src/telemetry/sink.h"

#include <stdatomic.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/base/sync.h"

#define RETRY_INITIAL_MS 1000u
#define RETRY_MAX_MS 30000u
#define RETRY_TOTAL_MS 300000u
#define RETRY_AFTER_MAX_MS 300000u /* a peer that asks for more is asked again after this */
#define SPARES 4u                  /* buffers of delivered requests that are kept for the next ones */
#define SPARE_MAX_BYTES (1u << 20) /* larger ones are not */
#define STOP_GRACE_MS 10u          /* for a delivery that is about to return when the deadline passes */
#define STOP_RETRY_MS 100u         /* while stopping: one more try after this, then the peer counts as gone */

typedef struct request_queue {
    sl_request *head;
    sl_request *tail;
    size_t bytes;
} request_queue;

typedef enum lost_why { LOST_FULL, LOST_LEFT, LOST_WHYS } lost_why;

/* Memory that was a request's: new memory of that size would cost more, in page faults, than filling it. */
typedef struct spare {
    char *data;
    size_t cap;
} spare;

struct sl_sink {
    _Atomic unsigned refs;
    /* Constant. */
    sl_sink_options options;
    pthread_t thread;
    /* The sink's thread. */
    sl_rng rng;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t work; /* to the thread: something to do, or stop */
    pthread_cond_t done; /* to waiters: a request has left, or the thread has ended */
    request_queue queues[SL_SIGNAL_COUNT];
    sl_sink_counts counts[SL_SIGNAL_COUNT];
    size_t unsaid[LOST_WHYS][SL_SIGNAL_COUNT]; /* items lost of which nobody has been told */
    size_t spare_count;
    spare spares[SPARES];
    uint64_t next_seq;
    uint64_t inflight_seq; /* 0: none */
    uint64_t flush_wanted;
    uint64_t flush_done;
    bool idle; /* the thread waits for work */
    bool stopping;
    uint64_t stop_deadline;
    bool peer_gone; /* while stopping: nothing more is tried */
    bool calling;   /* the thread is in foreign code: the exporter, the error callback */
    bool ended;     /* the thread is about to return */
    bool abandoned; /* the owner has gone */
};

static void sink_unref(sl_sink *sink)
{
    SL_ASSERT(sink);
    if (atomic_fetch_sub(&sink->refs, 1) != 1)
        return;
    for (int i = 0; i < SL_SIGNAL_COUNT; i++) {
        while (sink->queues[i].head) {
            sl_request *next = sink->queues[i].head->next;
            sl_request_free(sink->queues[i].head);
            sink->queues[i].head = next;
        }
    }
    while (sink->spare_count)
        sl_free(sink->spares[--sink->spare_count].data);
    if (sink->options.exporter.free)
        sink->options.exporter.free(sink->options.exporter.user);
    sl_reporter_unref(sink->options.reporter);
    pthread_cond_destroy(&sink->work);
    pthread_cond_destroy(&sink->done);
    pthread_mutex_destroy(&sink->lock);
    sl_free(sink);
}

/* ---- the queue, under the lock ---- */

/* The oldest request of a signal, taken out. */
static sl_request *pop(sl_sink *sink, sl_signal signal)
{
    SL_ASSERT(sink);
    request_queue *queue = &sink->queues[signal];
    sl_request *request = queue->head;
    SL_ASSERT(request && queue->bytes >= request->bytes.len);
    queue->head = request->next;
    if (!queue->head)
        queue->tail = NULL;
    queue->bytes -= request->bytes.len;
    sink->counts[signal].queued -= request->items;
    request->next = NULL;
    return request;
}

/* The oldest request of all; NULL when there is none. */
static sl_request *pop_oldest(sl_sink *sink)
{
    int oldest = -1;
    for (int i = 0; i < SL_SIGNAL_COUNT; i++) {
        const sl_request *head = sink->queues[i].head;
        if (head && (oldest < 0 || head->seq < sink->queues[oldest].head->seq))
            oldest = i;
    }
    return oldest < 0 ? NULL : pop(sink, (sl_signal)oldest);
}

/* True when nothing put up to `seq` is still here. */
static bool has_left(const sl_sink *sink, uint64_t seq)
{
    SL_ASSERT(sink);
    if (sink->inflight_seq && sink->inflight_seq <= seq)
        return false;
    for (int i = 0; i < SL_SIGNAL_COUNT; i++) {
        if (sink->queues[i].head && sink->queues[i].head->seq <= seq)
            return false;
    }
    return true;
}

static void count_failed(sl_sink *sink, sl_signal signal, size_t items)
{
    SL_ASSERT(sink);
    sink->counts[signal].dropped += items;
    sink->counts[signal].dropped_failed += items;
}

/* Counts what there is no time left for. */
static void count_left(sl_sink *sink, sl_signal signal, size_t items)
{
    SL_ASSERT(sink->stopping);
    count_failed(sink, signal, items);
    sink->unsaid[LOST_LEFT][signal] += items;
}

static void drop_all(sl_sink *sink)
{
    for (sl_request *request = pop_oldest(sink); request; request = pop_oldest(sink)) {
        count_left(sink, request->signal, request->items);
        sl_request_free(request);
    }
}

/* ---- delivery, on the sink's thread ---- */

static uint64_t attempt_timeout_ms(sl_sink *sink, sl_signal signal)
{
    SL_ASSERT(sink);
    uint64_t timeout = sink->options.batch[signal].export_timeout_ms;
    if (sink->stopping) {
        uint64_t left = sl_deadline_left_ms(sink->stop_deadline);
        timeout = timeout == 0 || left < timeout ? left : timeout;
        return timeout ? timeout : 1;
    }
    return timeout ? timeout : UINT64_MAX;
}

/* Back-off before try number `tries` (1: the first retry), between half and one and a half of the nominal time. */
static uint64_t backoff_ms(sl_sink *sink, unsigned tries)
{
    SL_ASSERT(sink);
    double ms = (double)sink->options.retry_initial_ms;
    for (unsigned i = 1; i < tries && ms < (double)sink->options.retry_max_ms; i++)
        ms *= 2;
    if (ms > (double)sink->options.retry_max_ms)
        ms = (double)sink->options.retry_max_ms;
    return (uint64_t)(ms * (0.5 + sl_rng_double(&sink->rng))) + 1;
}

/* Waits before a retry. False when there must not be one. Under the lock. */
static bool wait_retry(sl_sink *sink, const sl_request *request, unsigned tries, uint64_t retry_after_ms)
{
    SL_ASSERT(sink && request);
    uint64_t total_ms = sink->options.retry_total_ms;
    if (sl_mono_ns() - request->made_ns > total_ms * 1000000u)
        return false;
    uint64_t wait_ms = retry_after_ms ? retry_after_ms : backoff_ms(sink, tries);
    uint64_t until = sl_deadline_ns(wait_ms < RETRY_AFTER_MAX_MS ? wait_ms : RETRY_AFTER_MAX_MS);
    bool was_stopping = sink->stopping;
    while (!sink->stopping && sl_mono_ns() < until)
        (void)sl_cond_wait_until(&sink->work, &sink->lock, until);
    if (!sink->stopping)
        return true;
    if (!was_stopping && !sink->peer_gone)
        return sl_mono_ns() < sink->stop_deadline; /* the stop came while we waited: one try at once */
    if (sink->peer_gone || tries > 1)
        return false;
    until = sl_deadline_ns(STOP_RETRY_MS);
    while (sl_mono_ns() < until && sl_mono_ns() < sink->stop_deadline && !sink->peer_gone)
        (void)sl_cond_wait_until(&sink->work, &sink->lock, until);
    return sl_mono_ns() < sink->stop_deadline && !sink->peer_gone;
}

/* One call of the exporter, without the lock. */
static int deliver_once(sl_sink *sink, const sl_request *request, uint64_t *retry_after_ms, uint64_t *rejected)
{
    SL_ASSERT(sink && request && retry_after_ms && rejected);
    const sl_exporter *exporter = &sink->options.exporter;
    uint64_t timeout = attempt_timeout_ms(sink, request->signal);
    *retry_after_ms = 0;
    *rejected = 0;
    sink->calling = true;
    pthread_mutex_unlock(&sink->lock);
    uint64_t start = sl_mono_ns();
    int error = request->bytes.len > SL_MAX_OTLP_REQUEST_BYTES
                    ? SL_ETOOBIG
                    : exporter->deliver(exporter->user, request->signal, request->bytes, request->items, timeout,
                                        retry_after_ms, rejected);
    uint64_t ns = sl_mono_ns() - start;
    pthread_mutex_lock(&sink->lock);
    sink->calling = false;
    if (sink->options.on_delivery && !sink->abandoned)
        sink->options.on_delivery(sink->options.on_delivery_user, exporter, request->signal, error, ns);
    return error;
}

/* Counts the outcome of a request. Under the lock. */
static void settle(sl_sink *sink, const sl_request *request, int error, uint64_t rejected)
{
    SL_ASSERT(sink && request);
    sl_sink_counts *counts = &sink->counts[request->signal];
    counts->last_error = error;
    if (sink->abandoned)
        return; /* counted as dropped when it was left behind */
    counts->inflight -= request->items;
    if (error) {
        count_failed(sink, request->signal, request->items);
        return;
    }
    if (rejected > request->items)
        rejected = request->items;
    counts->exported += request->items - rejected;
    counts->dropped += rejected;
    counts->rejected += rejected;
}

static const char *signal_items(sl_signal signal)
{
    static const char *const names[SL_SIGNAL_COUNT] = {"spans", "data points", "log records"};
    return names[signal];
}

/* Says what became of a failed or partly refused request. Without the lock. */
static void report(sl_sink *sink, const sl_request *request, int error, uint64_t rejected)
{
    SL_ASSERT(sink);
    const char *name = sink->options.exporter.name ? sink->options.exporter.name : "exporter";
    if (error)
        sl_reporter_say(sink->options.reporter, error, "%s: %zu %s lost: %s", name, request->items,
                        signal_items(request->signal),
                        error == SL_ERETRY ? "trying again did not help in time" : sl_strerror(error));
    else if (rejected)
        sl_reporter_say(sink->options.reporter, SL_EREFUSED, "%s: the peer refused %llu of %zu %s", name,
                        (unsigned long long)rejected, request->items, signal_items(request->signal));
}

/* Frees a request but for memory that can serve another one. Under the lock. */
static void recycle(sl_sink *sink, sl_request *request)
{
    SL_ASSERT(sink && request);
    if (request->cap && request->cap <= SPARE_MAX_BYTES && sink->spare_count < SPARES) {
        sink->spares[sink->spare_count++] = (spare){request->own, request->cap};
        request->own = NULL;
    }
    sl_request_free(request);
}

static void tell_lost(sl_sink *sink, lost_why why, sl_signal signal, bool always)
{
    static const char *const texts[LOST_WHYS] = {"the queue for a slow exporter was full", "the end came first"};
    const char *name = sink->options.exporter.name ? sink->options.exporter.name : "exporter";
    pthread_mutex_lock(&sink->lock);
    size_t items = sink->unsaid[why][signal];
    sink->unsaid[why][signal] = 0;
    pthread_mutex_unlock(&sink->lock);
    if (!items || sl_reporter_tell(sink->options.reporter, always, SL_ELIMIT, "%s: %zu %s lost: %s", name, items,
                                   signal_items(signal), texts[why]))
        return;
    pthread_mutex_lock(&sink->lock);
    sink->unsaid[why][signal] += items; /* with the next */
    pthread_mutex_unlock(&sink->lock);
}

void sl_sink_tell_lost(sl_sink *sink, bool always)
{
    SL_ASSERT(sink);
    for (int signal = 0; signal < SL_SIGNAL_COUNT; signal++) {
        tell_lost(sink, LOST_FULL, (sl_signal)signal, always);
        tell_lost(sink, LOST_LEFT, (sl_signal)signal, always);
    }
}

/* Delivers one request, with retries. Under the lock, which it gives up meanwhile. */
static void deliver(sl_sink *sink, sl_request *request)
{
    SL_ASSERT(sink);
    uint64_t retry_after_ms;
    uint64_t rejected;
    unsigned tries = 0;
    int error;
    do {
        error = deliver_once(sink, request, &retry_after_ms, &rejected);
        tries++;
    } while (error == SL_ERETRY && !sink->abandoned && wait_retry(sink, request, tries, retry_after_ms));
    if (error == SL_ERETRY && sink->stopping)
        sink->peer_gone = true;
    settle(sink, request, error, rejected);
    sink->inflight_seq = 0;
    if ((error || rejected) && !sink->abandoned) {
        sink->calling = true;
        pthread_mutex_unlock(&sink->lock);
        report(sink, request, error, rejected);
        pthread_mutex_lock(&sink->lock);
        sink->calling = false;
    }
    recycle(sink, request);
}

/* Lets the exporter flush when somebody waits for it. Under the lock, which it gives up meanwhile. */
static void flush_exporter(sl_sink *sink)
{
    SL_ASSERT(sink);
    uint64_t wanted = sink->flush_wanted;
    const sl_exporter *exporter = &sink->options.exporter;
    if (exporter->flush) {
        uint64_t timeout = attempt_timeout_ms(sink, SL_SIGNAL_TRACES);
        sink->calling = true;
        pthread_mutex_unlock(&sink->lock);
        (void)exporter->flush(exporter->user, timeout);
        pthread_mutex_lock(&sink->lock);
        sink->calling = false;
    }
    sink->flush_done = wanted;
    pthread_cond_broadcast(&sink->done);
}

static void *run(void *user)
{
    sl_sink *sink = user;
    pthread_mutex_lock(&sink->lock);
    while (!sink->abandoned) {
        sl_request *request = pop_oldest(sink);
        if (request) {
            sink->inflight_seq = request->seq;
            sink->counts[request->signal].inflight += request->items;
            deliver(sink, request);
            if (sink->peer_gone)
                drop_all(sink);
            pthread_cond_broadcast(&sink->done);
        } else if (sink->peer_gone) {
            break;
        } else if (sink->flush_done < sink->flush_wanted) {
            flush_exporter(sink);
        } else if (sink->stopping) {
            break;
        } else {
            sink->idle = true;
            (void)pthread_cond_wait(&sink->work, &sink->lock);
            sink->idle = false;
        }
    }
    sink->ended = true;
    pthread_cond_broadcast(&sink->done);
    pthread_mutex_unlock(&sink->lock);
    sink_unref(sink);
    return NULL;
}

/* ---- the owner's side ---- */

static void fill_defaults(sl_sink_options *o)
{
    SL_ASSERT(o);
    o->retry_initial_ms = o->retry_initial_ms ? o->retry_initial_ms : RETRY_INITIAL_MS;
    o->retry_max_ms = o->retry_max_ms ? o->retry_max_ms : RETRY_MAX_MS;
    o->retry_total_ms = o->retry_total_ms ? o->retry_total_ms : RETRY_TOTAL_MS;
}

int sl_sink_new(const sl_sink_options *options, sl_sink **ret_sink)
{
    SL_ASSERT(options && options->exporter.deliver && ret_sink);
    sl_sink *sink = sl_calloc(1, sizeof *sink);
    bool ok = sink && !sl_cond_init(&sink->work);
    if (ok && sl_cond_init(&sink->done)) {
        pthread_cond_destroy(&sink->work);
        ok = false;
    }
    if (!ok) {
        sl_free(sink);
        if (options->exporter.free)
            options->exporter.free(options->exporter.user);
        return SL_ENOMEM;
    }
    pthread_mutex_init(&sink->lock, NULL);
    sink->options = *options;
    fill_defaults(&sink->options);
    sl_reporter_ref(options->reporter);
    sl_rng_init(&sink->rng);
    sink->next_seq = 1;
    atomic_init(&sink->refs, 2);
    if (sl_thread_start(&sink->thread, run, sink)) {
        atomic_store(&sink->refs, 1);
        sink_unref(sink);
        return SL_ENOMEM;
    }
    *ret_sink = sink;
    return 0;
}

const sl_exporter *sl_sink_exporter(const sl_sink *sink)
{
    SL_ASSERT(sink);
    return &sink->options.exporter;
}

/* Drops the oldest requests until `more` bytes fit. Under the lock. */
static void make_room(sl_sink *sink, sl_signal signal, size_t more)
{
    SL_ASSERT(sink);
    request_queue *queue = &sink->queues[signal];
    size_t max = sink->options.batch[signal].max_pending_bytes;
    while (queue->head && (queue->bytes > max || more > max - queue->bytes)) {
        sl_request *request = pop(sink, signal);
        sink->counts[signal].dropped += request->items;
        sink->counts[signal].dropped_full += request->items;
        sink->unsaid[LOST_FULL][signal] += request->items;
        sl_request_free(request);
        pthread_cond_broadcast(&sink->done);
    }
}

void sl_sink_put(sl_sink *sink, sl_request *request)
{
    SL_ASSERT(sink && request && !request->next);
    pthread_mutex_lock(&sink->lock);
    request_queue *queue = &sink->queues[request->signal];
    sl_sink_counts *counts = &sink->counts[request->signal];
    counts->put += request->items;
    if (sink->stopping) {
        count_left(sink, request->signal, request->items);
        pthread_mutex_unlock(&sink->lock);
        sl_request_free(request);
        return;
    }
    make_room(sink, request->signal, request->bytes.len);
    request->seq = sink->next_seq++;
    if (queue->tail)
        queue->tail->next = request;
    else
        queue->head = request;
    queue->tail = request;
    queue->bytes += request->bytes.len;
    counts->queued += request->items;
    bool idle = sink->idle;
    pthread_mutex_unlock(&sink->lock);
    if (idle) /* a thread at work looks at the queue before it waits; one that wakes up must not find the lock taken */
        pthread_cond_signal(&sink->work);
}

void sl_sink_count_lost(sl_sink *sink, sl_signal signal, size_t items)
{
    SL_ASSERT(sink);
    pthread_mutex_lock(&sink->lock);
    sink->counts[signal].put += items;
    count_failed(sink, signal, items);
    pthread_mutex_unlock(&sink->lock);
}

int sl_sink_flush(sl_sink *sink, uint64_t deadline_ns)
{
    SL_ASSERT(sink);
    pthread_mutex_lock(&sink->lock);
    uint64_t seq = sink->next_seq - 1;
    uint64_t wanted = sink->flush_done;
    if (!sink->stopping) {
        wanted = ++sink->flush_wanted;
        pthread_cond_signal(&sink->work);
    }
    bool in_time = true;
    while (in_time && (!has_left(sink, seq) || sink->flush_done < wanted) && !sink->ended)
        in_time = sl_cond_wait_until(&sink->done, &sink->lock, deadline_ns);
    int error = has_left(sink, seq) && (sink->ended || sink->flush_done >= wanted) ? 0 : SL_ETIMEOUT;
    for (int i = 0; i < SL_SIGNAL_COUNT && !error; i++)
        error = sink->counts[i].last_error;
    pthread_mutex_unlock(&sink->lock);
    return error;
}

void sl_sink_begin_stop(sl_sink *sink, uint64_t deadline_ns)
{
    SL_ASSERT(sink);
    pthread_mutex_lock(&sink->lock);
    if (!sink->stopping)
        sink->flush_wanted++;
    sink->stopping = true;
    sink->stop_deadline = deadline_ns;
    pthread_cond_broadcast(&sink->work);
    pthread_mutex_unlock(&sink->lock);
}

int sl_sink_stop(sl_sink *sink, uint64_t deadline_ns)
{
    SL_ASSERT(!sink->abandoned);
    sl_sink_begin_stop(sink, deadline_ns);
    pthread_mutex_lock(&sink->lock);
    while (!sink->ended && sl_mono_ns() < deadline_ns)
        (void)sl_cond_wait_until(&sink->done, &sink->lock, deadline_ns);
    if (!sink->ended) {
        drop_all(sink); /* too late for these */
        sink->peer_gone = true;
        pthread_cond_broadcast(&sink->work);
    }
    uint64_t grace = sl_deadline_ns(STOP_GRACE_MS);
    while (!sink->ended && (!sink->calling || sl_mono_ns() < grace)) /* in its own code the thread ends at once */
        (void)sl_cond_wait_until(&sink->done, &sink->lock, sl_deadline_ns(STOP_GRACE_MS));
    bool ended = sink->ended;
    sink->abandoned = true;
    if (!ended) {
        for (int i = 0; i < SL_SIGNAL_COUNT; i++) {
            count_left(sink, (sl_signal)i, sink->counts[i].inflight);
            sink->counts[i].inflight = 0;
        }
        pthread_cond_broadcast(&sink->work);
    }
    pthread_mutex_unlock(&sink->lock);
    if (ended)
        (void)pthread_join(sink->thread, NULL);
    else
        (void)pthread_detach(sink->thread);
    sl_sink_tell_lost(sink, true);
    return ended ? 0 : SL_ETIMEOUT;
}

void sl_sink_free(sl_sink *sink)
{
    if (!sink)
        return;
    SL_ASSERT(sink->abandoned);
    sink_unref(sink);
}

char *sl_sink_take_spare(sl_sink *sink, size_t *ret_cap)
{
    SL_ASSERT(sink && ret_cap);
    char *data = NULL;
    pthread_mutex_lock(&sink->lock);
    if (sink->spare_count) {
        spare last = sink->spares[--sink->spare_count];
        data = last.data;
        *ret_cap = last.cap;
    }
    pthread_mutex_unlock(&sink->lock);
    return data;
}

void sl_sink_trim(sl_sink *sink)
{
    size_t cap;
    for (char *data = sl_sink_take_spare(sink, &cap); data; data = sl_sink_take_spare(sink, &cap))
        sl_free(data);
}

void sl_sink_get_counts(sl_sink *sink, sl_signal signal, sl_sink_counts *ret_counts)
{
    SL_ASSERT(sink && signal < SL_SIGNAL_COUNT && ret_counts);
    pthread_mutex_lock(&sink->lock);
    *ret_counts = sink->counts[signal];
    ret_counts->queued_bytes = sink->queues[signal].bytes;
    pthread_mutex_unlock(&sink->lock);
}
