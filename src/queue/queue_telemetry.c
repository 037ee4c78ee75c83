/* See queue_telemetry.h. */
#include "src/queue/queue_telemetry.h"

#include <sightline/metrics.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/telemetry/vocab.h"

static const sl_metric_id wanted[] = {
    SL_METRIC_QUEUE_MESSAGES,         SL_METRIC_QUEUE_OLDEST_READY, SL_METRIC_QUEUE_PUBLISHED,
    SL_METRIC_QUEUE_REDELIVERIES,     SL_METRIC_QUEUE_WAIT,         SL_METRIC_QUEUE_PROCESSING,
    SL_METRIC_QUEUE_PUBLISH_DURATION, SL_METRIC_QUEUE_COMMITS,      SL_METRIC_HTTP_SERVER_REQUEST_DURATION,
};

struct sl_queue_telemetry {
    sl_queue *queue;
    sl_tracer *tracer;
    sl_instrument *metrics[SL_METRIC_COUNT];
    uint64_t commits, failed_commits; /* told so far */
};

#define SECONDS(ns) ((double)(ns) / 1e9)

/* ---- gauges ---- */

static sl_attr attr(const char *key, const char *value)
{
    return sl_attr_of(key, sl_value_cstr(value));
}

/* The topics' figures; freed by the caller. NULL: none, or no memory. */
static sl_queue_topic_stats *read_stats(sl_queue *queue, size_t *ret_count)
{
    size_t count = sl_queue_get_stats(queue, NULL, 0);
    sl_queue_topic_stats *stats = count ? sl_calloc(count, sizeof *stats) : NULL;
    size_t now = stats ? sl_queue_get_stats(queue, stats, count) : 0;
    *ret_count = now < count ? now : count;
    return stats;
}

/* An instrument of a vocabulary that is off is NULL: nothing to set then. */
static void write_metric(sl_queue_telemetry *t, sl_metric_id id, double value, const sl_attr *attrs, size_t count)
{
    if (t->metrics[id])
        sl_instrument_record(t->metrics[id], value, attrs, count);
}

static void set_topic(sl_queue_telemetry *t, const sl_queue_topic_stats *stats)
{
    const struct {
        const char *state;
        uint64_t value;
    } rows[] = {{"ready", stats->ready}, {"delayed", stats->delayed}, {"leased", stats->leased}, {"dead", stats->dead}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        const sl_attr labels[] = {attr("topic", stats->topic), attr("state", rows[k].state)};
        write_metric(t, SL_METRIC_QUEUE_MESSAGES, (double)rows[k].value, labels, 2);
    }
    const sl_attr label = attr("topic", stats->topic);
    write_metric(t, SL_METRIC_QUEUE_OLDEST_READY, SECONDS(stats->oldest_ready_ns), &label, 1);
}

static void add_commits(sl_queue_telemetry *t)
{
    sl_queue_disk_stats disk;
    sl_queue_get_disk_stats(t->queue, &disk);
    const sl_attr ok = attr("result", "ok"), failed = attr("result", "failed");
    write_metric(t, SL_METRIC_QUEUE_COMMITS, (double)(disk.commits - t->commits), &ok, 1);
    write_metric(t, SL_METRIC_QUEUE_COMMITS, (double)(disk.failed_commits - t->failed_commits), &failed, 1);
    t->commits = disk.commits;
    t->failed_commits = disk.failed_commits;
}

void sl_queue_telemetry_refresh(sl_queue_telemetry *t)
{
    if (!t)
        return;
    size_t count;
    sl_queue_topic_stats *stats = read_stats(t->queue, &count);
    for (size_t i = 0; stats && i < count; i++)
        set_topic(t, &stats[i]);
    sl_free(stats);
    add_commits(t);
}

/* ---- life ---- */

int sl_queue_telemetry_new(sl_sdk *sdk, sl_queue *queue, sl_queue_telemetry **ret_telemetry)
{
    SL_ASSERT(queue && ret_telemetry);
    sl_queue_telemetry *t = sl_calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    t->queue = queue;
    t->tracer = sl_tracer_named(sdk, "sightline.queue");
    sl_meter *meter = sl_meter_named(sdk, "sightline.queue");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        t->metrics[wanted[i]] = sl_metric_declare(meter, wanted[i]);
    sl_queue_telemetry_refresh(t);
    *ret_telemetry = t;
    return 0;
}

void sl_queue_telemetry_free(sl_queue_telemetry *t)
{
    sl_free(t);
}

/* ---- puts ---- */

typedef struct publish {
    sl_queue_telemetry *telemetry; /* NULL: none */
    sl_span *span;
    uint64_t start_ns; /* monotonic */
    sl_queue_done_fn done;
    void *user;
    size_t topic_len;
    char topic[];
} publish;

static void record_in(sl_instrument *instrument, double value, const sl_span_context *context, const sl_attr *attrs,
                      size_t count)
{
    sl_histogram_record_in(sl_instrument_bind(instrument, attrs, count), value, context);
}

static void publish_over(const publish *p, int error, const sl_queue_accepted *accepted)
{
    sl_queue_telemetry *t = p->telemetry;
    if (!t)
        return;
    const char *result = error == SL_EAGAIN                ? "rejected"
                         : error                           ? "failed"
                         : accepted && accepted->duplicate ? "duplicate"
                                                           : "accepted";
    const sl_attr labels[] = {sl_attr_of("topic", sl_value_str(sl_str_of(p->topic, p->topic_len))),
                              attr("result", result)};
    sl_counter_add(sl_instrument_bind(t->metrics[SL_METRIC_QUEUE_PUBLISHED], labels, 2), 1);
    sl_span_context context;
    sl_span_get_context(p->span, &context);
    if (!error) {
        record_in(t->metrics[SL_METRIC_QUEUE_PUBLISH_DURATION], SECONDS(sl_mono_ns() - p->start_ns), &context, labels,
                  1);
        sl_span_set_str(p->span, "message.id", accepted->id);
        sl_span_set_bool(p->span, "message.duplicate", accepted && accepted->duplicate);
    } else {
        sl_span_set_str(p->span, "error.type", result);
        sl_span_set_status(p->span, SL_STATUS_ERROR, sl_strerror(error));
    }
    sl_span_end(p->span);
}

static void publish_done(void *user, int error, const sl_queue_accepted *accepted)
{
    publish *p = user;
    publish_over(p, error, accepted);
    if (p->done)
        p->done(p->user, error, accepted);
    sl_free(p);
}

static void start_span(publish *p, const sl_queue_put *put, const sl_queue_about *about)
{
    p->span =
        sl_span_start(p->telemetry->tracer, SL_STR("message_queue.publish"),
                      &(sl_span_options){.kind = SL_SPAN_PRODUCER, .parent_context = about ? about->parent : NULL});
    sl_span_set(p->span, SL_STR("message.topic"), sl_value_str(put->topic));
    if (about && about->type.len)
        sl_span_set(p->span, SL_STR("message.type"), sl_value_str(about->type));
    if (about && about->action.len)
        sl_span_set(p->span, SL_STR("message.action"), sl_value_str(about->action));
}

int sl_queue_publish(sl_queue_telemetry *t, sl_queue *queue, const sl_queue_put *put, const sl_queue_about *about,
                     sl_queue_done_fn done, void *user)
{
    SL_ASSERT(queue && put);
    publish *p = sl_calloc(1, sizeof *p + put->topic.len + 1);
    if (!p)
        return SL_ENOMEM;
    *p = (publish){.telemetry = t, .done = done, .user = user, .start_ns = sl_mono_ns(), .topic_len = put->topic.len};
    if (put->topic.len)
        memcpy(p->topic, put->topic.ptr, put->topic.len);
    sl_span_context context = {.flags = 0};
    if (t) {
        start_span(p, put, about);
        sl_span_get_context(p->span, &context);
    }
    if (!sl_span_context_is_valid(&context) && about && about->parent && put->trace.len == 0)
        context = *about->parent;
    char trace[SL_TRACEPARENT_LEN + 1];
    sl_queue_put traced = *put;
    if (sl_span_context_is_valid(&context)) {
        sl_traceparent_format(&context, trace);
        traced.trace = sl_str_c(trace);
    }
    int error = sl_queue_put_start(queue, &traced, publish_done, p);
    if (error) {
        publish_over(p, error, NULL);
        sl_free(p);
    }
    return error;
}

/* ---- deliveries ---- */

sl_span *sl_queue_callback_start(sl_queue_telemetry *t, const sl_queue_message *m)
{
    SL_ASSERT(m);
    if (!t)
        return NULL;
    sl_span_context producer = {.flags = 0};
    bool known = m->trace.len && sl_traceparent_parse(m->trace, &producer) == 0;
    sl_span *span = sl_span_start(t->tracer, SL_STR("message_queue.callback"),
                                  &(sl_span_options){.kind = SL_SPAN_CONSUMER,
                                                     .root = !known,
                                                     .parent_context = known ? &producer : NULL,
                                                     .start_ns = m->taken_ns});
    sl_span_set(span, SL_STR("message.topic"), sl_value_str(m->topic));
    sl_span_set_str(span, "message.id", m->id);
    sl_span_set_int(span, "message.delivery", m->delivery);
    uint64_t waited = m->taken_ns > m->ready_ns ? m->taken_ns - m->ready_ns : 0;
    sl_span_set_double(span, "message.wait_ms", (double)waited / 1e6);
    sl_span_context context;
    sl_span_get_context(span, &context);
    const sl_attr topic = sl_attr_of("topic", sl_value_str(m->topic));
    record_in(t->metrics[SL_METRIC_QUEUE_WAIT], SECONDS(waited), &context, &topic, 1);
    if (m->delivery > 1)
        sl_counter_add(sl_instrument_bind(t->metrics[SL_METRIC_QUEUE_REDELIVERIES], &topic, 1), 1);
    return span;
}

const char *sl_queue_outcome_name(sl_queue_outcome outcome)
{
    static const char *const names[] = {"acked", "returned", "dead", "expired"};
    SL_ASSERT((unsigned)outcome < 4);
    return names[outcome];
}

void sl_queue_callback_end(sl_queue_telemetry *t, sl_span *span, sl_str topic, uint64_t taken_ns,
                           sl_queue_outcome outcome, sl_str reason)
{
    if (!t)
        return;
    uint64_t now_ns = sl_now_ns();
    const sl_attr labels[] = {sl_attr_of("topic", sl_value_str(topic)),
                              attr("outcome", sl_queue_outcome_name(outcome))};
    sl_span_context context;
    sl_span_get_context(span, &context);
    record_in(t->metrics[SL_METRIC_QUEUE_PROCESSING], SECONDS(now_ns > taken_ns ? now_ns - taken_ns : 0), &context,
              labels, 2);
    sl_span_set_str(span, "message.outcome", sl_queue_outcome_name(outcome));
    if (outcome != SL_QUEUE_ACKED) {
        char text[256];
        (void)sl_str_to_c(reason, text, sizeof text);
        sl_span_set_str(span, "error.type", sl_queue_outcome_name(outcome));
        sl_span_set_status(span, SL_STATUS_ERROR, text);
    }
    sl_span_end_at(span, now_ns);
}

void sl_queue_request_over(sl_queue_telemetry *t, const char *method, const char *route, int status, uint64_t took_ns)
{
    SL_ASSERT(method);
    if (!t)
        return;
    char code[16];
    (void)snprintf(code, sizeof code, "%d", status);
    sl_attr labels[6] = {attr("http.request.method", method), attr("url.scheme", "http"),
                         attr("network.protocol.version", "1.1"),
                         sl_attr_of("http.response.status_code", sl_value_int(status))};
    size_t count = 4;
    if (route)
        labels[count++] = attr("http.route", route);
    if (status >= 500)
        labels[count++] = attr("error.type", code);
    record_in(t->metrics[SL_METRIC_HTTP_SERVER_REQUEST_DURATION], SECONDS(took_ns), NULL, labels, count);
}
