/*
 * See queue_http_impl.h: deliveries to workers. A delivery is remembered from its lease to its end, for its span and
 * its figures, and so that an answer that never reached its worker gives the messages back at once.
 */
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/queue/queue_http_impl.h"
#include "src/queue/queue_message.h"
#include "src/wire/base64.h"
#include "src/wire/json_write.h"

/* ---- deliveries ---- */

static sl_qh_delivery **place_of(sl_queue_http *http, uint64_t token)
{
    sl_qh_delivery **at = &http->deliveries[token % SL_QH_BUCKETS];
    while (*at && (*at)->facts.lease != token)
        at = &(*at)->next;
    return at;
}

/* There is room for deliveries again: who waits gets what is ready, though the queue has told of it long ago. */
static void tell_waiting(sl_queue_http *http)
{
    for (sl_qh_topic *topic = http->topics; topic; topic = topic->next)
        topic->ready = true;
    if (!http->closing)
        (void)uv_async_send(&http->async);
}

static void end_delivery(sl_qh_delivery *d, sl_queue_outcome outcome, sl_str reason)
{
    sl_queue_http *http = d->http;
    sl_qh_delivery **at = place_of(http, d->facts.lease);
    SL_ASSERT(*at == d);
    *at = d->next;
    if (http->leased-- == http->options.max_leased)
        tell_waiting(http);
    sl_timer_stop(http->options.loop, &d->timer);
    sl_queue_callback_end(http->options.telemetry, d->span, d->facts.topic, d->facts.taken_ns, outcome, reason);
    sl_queue_message_free(d->message);
    free(d->body);
    sl_free(d);
}

static void on_lease_over(sl_timer *timer)
{
    sl_qh_delivery *d = (sl_qh_delivery *)(void *)((char *)timer - offsetof(sl_qh_delivery, timer));
    if (!d->ending)
        end_delivery(d, SL_QUEUE_EXPIRED, SL_STR("the lease ended"));
}

static bool is_unwanted(const sl_queue_http *http, sl_str topic, sl_str key, uint64_t put_ns)
{
    return http->options.is_unwanted && http->options.is_unwanted(http->options.user, topic, key, put_ns);
}

/* True: the user has kept it. */
static bool is_kept(const sl_queue_http *http, sl_queue_message *m, char **ret_body)
{
    return m->delivery > 1 && http->options.again &&
           http->options.again(http->options.user, m, ret_body) == SL_QUEUE_AGAIN_KEPT;
}

/* The next one that is wanted; the others end, or are kept. */
static int take_wanted(sl_queue_http *http, sl_str topic, uint64_t lease_ms, sl_queue_message **ret_message,
                       char **ret_body)
{
    for (;;) {
        sl_queue_message *m = NULL;
        int error = sl_queue_take(http->options.queue, topic, lease_ms, &m);
        if (error)
            return error;
        if (!is_unwanted(http, m->topic, m->idempotency_key, m->put_ns)) {
            if (is_kept(http, m, ret_body))
                continue;
            *ret_message = m;
            return 0;
        }
        error = sl_queue_ack(http->options.queue, m->id, m->lease, NULL, NULL);
        (void)error; /* then its lease ends, and it is met once more */
        sl_queue_message_free(m);
    }
}

/* Takes one for this request; SL_EAGAIN: none is ready. */
static int take(sl_qh_request *request, sl_str topic, uint64_t lease_ms, sl_qh_delivery **ret_delivery)
{
    sl_queue_http *http = request->http;
    sl_qh_delivery *d = sl_calloc(1, sizeof *d);
    if (!d)
        return SL_ENOMEM;
    int error = take_wanted(http, topic, lease_ms, &d->message, &d->body);
    if (error) {
        sl_free(d);
        return error;
    }
    d->http = http;
    d->facts = *d->message;
    d->facts.body = d->facts.idempotency_key = sl_str_of(NULL, 0);
    if (d->message->trace.len)
        memcpy(d->trace, d->message->trace.ptr, d->message->trace.len);
    d->facts.trace.ptr = d->trace;
    if (!sl_str_to_c(d->message->idempotency_key, d->key, sizeof d->key))
        d->key[0] = 0;
    d->span = sl_queue_callback_start(http->options.telemetry, d->message);
    sl_qh_delivery **bucket = &http->deliveries[d->facts.lease % SL_QH_BUCKETS];
    d->next = *bucket;
    *bucket = d;
    http->leased++;
    sl_timer_set(http->options.loop, &d->timer, on_lease_over, lease_ms);
    *ret_delivery = d;
    return 0;
}

/* ---- the answer to a lease ---- */

/* The span's own context where there is one: the worker's spans are its children. */
static void write_trace(sl_jw *w, const sl_qh_delivery *d)
{
    sl_span_context context;
    char text[SL_TRACEPARENT_LEN + 1];
    sl_str trace = d->facts.trace;
    sl_span_get_context(d->span, &context);
    if (sl_span_context_is_valid(&context)) {
        sl_traceparent_format(&context, text);
        trace = sl_str_c(text);
    }
    sl_jw_key(w, SL_STR("traceparent"));
    if (trace.len)
        sl_jw_str(w, trace);
    else
        sl_jw_null(w);
}

static void write_body(sl_jw *w, sl_buf *scratch, sl_str body)
{
    bool text = sl_utf8_valid(body);
    sl_buf_clear(scratch);
    if (!text && sl_base64_encode(scratch, body))
        w->error = SL_ENOMEM;
    sl_jw_key(w, SL_STR("body"));
    sl_jw_str(w, text ? body : sl_buf_str(scratch));
    sl_jw_key(w, SL_STR("encoding"));
    sl_jw_str(w, text ? SL_STR("utf-8") : SL_STR("base64"));
}

static void write_stats(sl_jw *w, const sl_queue_message *m, uint64_t end_ns)
{
    json_t *stats = sl_queue_message_stats(m, end_ns);
    char *text = json_dumps(stats, JSON_COMPACT);
    json_decref(stats);
    sl_jw_key(w, SL_STR("stats"));
    sl_jw_raw(w, sl_str_c(text ? text : "null"));
    free(text);
}

static void write_message(sl_jw *w, sl_buf *scratch, const sl_qh_delivery *d, uint64_t lease_ms)
{
    const sl_queue_message *m = d->message;
    char token[24];
    (void)snprintf(token, sizeof token, "%llu", (unsigned long long)m->lease);
    sl_jw_object(w);
    sl_jw_key(w, SL_STR("id"));
    sl_jw_str(w, sl_str_c(m->id));
    sl_jw_key(w, SL_STR("lease")); /* a text: JavaScript's numbers would lose its last digits */
    sl_jw_str(w, sl_str_c(token));
    sl_jw_key(w, SL_STR("topic"));
    sl_jw_str(w, m->topic);
    write_body(w, scratch, d->body ? sl_str_c(d->body) : m->body);
    sl_jw_key(w, SL_STR("delivery"));
    sl_jw_u64(w, m->delivery);
    sl_jw_key(w, SL_STR("priority"));
    sl_jw_u64(w, m->priority);
    sl_jw_key(w, SL_STR("idempotency_key"));
    if (m->idempotency_key.len)
        sl_jw_str(w, m->idempotency_key);
    else
        sl_jw_null(w);
    write_trace(w, d);
    sl_jw_key(w, SL_STR("lease_seconds"));
    sl_jw_double(w, (double)lease_ms / 1000);
    write_stats(w, m, 0);
    sl_jw_end(w);
}

/* Gives back what this request was to get: its client is not there. */
static void give_back(sl_qh_request *request)
{
    for (unsigned i = 0; i < request->token_count; i++) {
        sl_qh_delivery *d = *place_of(request->http, request->tokens[i]);
        if (!d || d->ending)
            continue;
        (void)!sl_queue_nack(request->http->options.queue, d->facts.id, d->facts.lease, 0, false,
                             SL_STR("the worker was gone before it had it"));
        end_delivery(d, SL_QUEUE_RETURNED, SL_STR("the worker was gone before it had it"));
    }
    request->token_count = 0;
}

static void stop_waiting(sl_qh_request *request)
{
    sl_qh_topic *topic = request->waits_for;
    if (!topic)
        return;
    sl_qh_request **at = &topic->first;
    while (*at != request)
        at = &(*at)->next;
    *at = request->next;
    if (!*at)
        topic->last = at;
    request->waits_for = NULL;
    request->http->waiting--;
    sl_timer_stop(request->http->options.loop, &request->timer);
}

/*
 * Fills the answer with what is ready. 0: answered (the request may be gone); SL_EAGAIN: nothing is ready; other errors
 * of the queue.
 */
static int try_lease(sl_qh_request *request, sl_str topic)
{
    sl_queue_http *http = request->http;
    sl_buf scratch;
    sl_jw w;
    int error = SL_EAGAIN;
    sl_buf_init(&scratch, SL_MAX_BODY_BYTES);
    sl_buf_clear(&request->out);
    sl_jw_init(&w, &request->out);
    sl_jw_object(&w);
    sl_jw_key(&w, SL_STR("messages"));
    sl_jw_array(&w);
    while (request->token_count < request->max && http->leased < http->options.max_leased &&
           request->out.len < SL_QH_PAGE_BYTES) {
        sl_qh_delivery *d;
        error = take(request, topic, request->lease_ms, &d);
        if (error)
            break;
        request->tokens[request->token_count++] = d->facts.lease;
        write_message(&w, &scratch, d, request->lease_ms);
        sl_queue_message_free(d->message);
        d->message = NULL;
        free(d->body);
        d->body = NULL;
    }
    sl_jw_end(&w);
    sl_jw_end(&w);
    sl_buf_done(&scratch);
    if (request->token_count == 0)
        return http->leased >= http->options.max_leased ? SL_ELIMIT : error;
    if (sl_jw_finish(&w)) {
        give_back(request);
        return SL_ENOMEM;
    }
    stop_waiting(request);
    sl_qh_answer(request, 200, sl_buf_str(&request->out));
    return 0;
}

static void answer_empty(sl_qh_request *request)
{
    sl_qh_answer(request, 200, SL_STR("{\"messages\":[]}"));
}

/* ---- waiting ---- */

static void on_ready(void *user)
{
    sl_qh_topic *topic = user;
    topic->ready = true;
    (void)uv_async_send(&topic->http->async);
}

/* The topic with its watch; NULL without memory, or when the queue refuses. */
static sl_qh_topic *topic_of(sl_queue_http *http, sl_str name)
{
    sl_qh_topic *topic = http->topics;
    while (topic && !sl_str_eq(topic->name, name))
        topic = topic->next;
    if (topic)
        return topic;
    topic = sl_calloc(1, sizeof *topic);
    if (!topic)
        return NULL;
    topic->http = http;
    topic->last = &topic->first;
    memcpy(topic->text, name.ptr, name.len);
    topic->name = sl_str_of(topic->text, name.len);
    topic->watch = sl_queue_watch(http->options.queue, name, on_ready, topic);
    if (topic->watch < 0) {
        sl_free(topic);
        return NULL;
    }
    topic->next = http->topics;
    http->topics = topic;
    return topic;
}

void sl_qh_free_topics(sl_queue_http *http)
{
    while (http->topics) {
        sl_qh_topic *topic = http->topics;
        http->topics = topic->next;
        sl_queue_unwatch(http->options.queue, topic->watch);
        SL_ASSERT(!topic->first);
        sl_free(topic);
    }
    for (size_t i = 0; i < SL_QH_BUCKETS; i++) {
        while (http->deliveries[i]) /* the leases themselves go on */
            end_delivery(http->deliveries[i], SL_QUEUE_RETURNED, SL_STR("the server was closed"));
    }
}

static void on_waited(sl_timer *timer)
{
    sl_qh_request *request = (sl_qh_request *)(void *)((char *)timer - offsetof(sl_qh_request, timer));
    stop_waiting(request);
    answer_empty(request);
}

static void serve_topic(sl_qh_topic *topic)
{
    while (topic->first) {
        sl_qh_request *request = topic->first;
        int error = try_lease(request, topic->name); /* on success it may be gone, and then waits no more */
        if (error == 0)
            continue;
        if (error == SL_EAGAIN || error == SL_ELIMIT)
            return;
        stop_waiting(request);
        sl_qh_fail_error(request, error);
    }
}

void sl_qh_serve_waiting(sl_queue_http *http)
{
    for (sl_qh_topic *topic = http->topics; topic; topic = topic->next) {
        if (topic->ready) {
            topic->ready = false;
            serve_topic(topic);
        }
    }
}

void sl_qh_release_waiting(sl_queue_http *http)
{
    for (sl_qh_topic *topic = http->topics; topic; topic = topic->next) {
        while (topic->first) {
            sl_qh_request *request = topic->first;
            stop_waiting(request);
            answer_empty(request);
        }
    }
}

void sl_qh_lease_gone(sl_qh_request *request, int outcome)
{
    stop_waiting(request);
    if (outcome)
        give_back(request);
}

static void wait_for_work(sl_qh_request *request, sl_str name, uint64_t wait_ms)
{
    sl_queue_http *http = request->http;
    sl_qh_topic *topic = http->waiting < SL_QUEUE_HTTP_WAITING ? topic_of(http, name) : NULL;
    if (!topic) {
        sl_qh_fail(request, 503, "too many workers wait, or too many topics");
        return;
    }
    request->waits_for = topic;
    request->next = NULL;
    *topic->last = request;
    topic->last = &request->next;
    http->waiting++;
    sl_timer_set(http->options.loop, &request->timer, on_waited, wait_ms);
    serve_topic(topic); /* what became ready before the watch */
}

void sl_qh_lease(sl_qh_request *request, sl_str topic)
{
    uint64_t wait_ms, max;
    if (!sl_qh_ms(request, "wait", 0, &wait_ms) || wait_ms > 3600000 ||
        !sl_qh_ms(request, "lease", request->http->options.lease_ms, &request->lease_ms) || request->lease_ms == 0 ||
        !sl_qh_count(request, "max", 1, SL_QUEUE_HTTP_BATCH, &max) || max == 0 || topic.len == 0) {
        sl_qh_fail(request, 422, "wait is at most 3600 seconds, lease a number of seconds above 0, max 1 to 100");
        return;
    }
    request->max = (unsigned)max;
    int error = try_lease(request, topic);
    if (error == 0)
        return;
    if (error != SL_EAGAIN && error != SL_ELIMIT)
        sl_qh_fail_error(request, error);
    else if (wait_ms == 0 || request->http->draining)
        answer_empty(request);
    else
        wait_for_work(request, topic, wait_ms);
}

/* ---- ends ---- */

/* The delivery that a worker speaks of; NULL: answered already. */
static sl_qh_delivery *delivery_of(sl_qh_request *request, sl_str id)
{
    uint64_t token;
    char text[32];
    if (!sl_qh_text(request, "lease", text, sizeof text) || sl_str_to_u64(sl_str_c(text), &token)) {
        sl_qh_fail(request, 422, "lease is the token that came with the message");
        return NULL;
    }
    sl_qh_delivery *d = *place_of(request->http, token);
    if (!d || !sl_str_eq_c(id, d->facts.id) || d->ending) {
        sl_qh_fail(request, 409, "the lease was over: the message has gone to another worker, or is done");
        return NULL;
    }
    return d;
}

static void acked(void *user, int error)
{
    sl_qh_request *request = user;
    request->error = error;
    sl_qh_finished(request);
}

static void lease_was_over(sl_qh_request *request, sl_qh_delivery *d)
{
    end_delivery(d, SL_QUEUE_EXPIRED, SL_STR("the lease ended"));
    sl_qh_fail(request, 409, "the lease was over: the message has gone to another worker");
}

/* The acknowledgement could not be made durable: the lease goes on. */
static void ack_failed(sl_qh_request *request, sl_qh_delivery *d)
{
    d->ending = false;
    sl_timer_set(request->http->options.loop, &d->timer, on_lease_over, request->http->options.lease_ms);
    sl_qh_fail_error(request, request->error);
}

static void ack_finish(sl_qh_request *request)
{
    sl_qh_delivery *d = request->delivery;
    request->delivery = NULL;
    if (request->error) {
        if (request->error == SL_ENOENT) /* of a cluster: another has ended it */
            lease_was_over(request, d);
        else
            ack_failed(request, d);
        return;
    }
    json_t *answer = json_pack("{s:s,s:o}", "id", d->facts.id, "stats", sl_queue_message_stats(&d->facts, sl_now_ns()));
    end_delivery(d, SL_QUEUE_ACKED, SL_STR(""));
    sl_qh_answer_json(request, 200, answer);
}

void sl_qh_ack(sl_qh_request *request, sl_str id)
{
    sl_qh_delivery *d = delivery_of(request, id);
    if (!d)
        return;
    request->delivery = d;
    request->finish = ack_finish;
    request->busy = d->ending = true;
    int error = sl_queue_ack(request->http->options.queue, d->facts.id, d->facts.lease, acked, request);
    if (!error)
        return;
    request->busy = d->ending = false;
    if (error == SL_ENOENT)
        lease_was_over(request, d);
    else
        sl_qh_fail_error(request, error);
}

/* A long one is cut, not lost. */
static void read_reason(sl_qh_request *request, char text[SL_QUEUE_MAX_REASON_BYTES + 1])
{
    const size_t size = SL_MAX_HEAD_BYTES; /* no query is longer */
    json_t *member = json_object_get(request->params, "reason");
    char *whole = sl_malloc(size);
    text[0] = 0;
    sl_str reason = sl_str_of(NULL, 0);
    if (whole && sl_qh_text(request, "reason", whole, size))
        reason = sl_str_c(whole);
    else if (json_is_string(member))
        reason = sl_str_of(json_string_value(member), json_string_length(member));
    reason.len = sl_utf8_prefix(reason, SL_QUEUE_MAX_REASON_BYTES);
    (void)sl_str_to_c(reason, text, SL_QUEUE_MAX_REASON_BYTES + 1);
    sl_free(whole);
}

void sl_qh_nack(sl_qh_request *request, sl_str id)
{
    char reason[SL_QUEUE_MAX_REASON_BYTES + 1], dead[8] = "";
    uint64_t delay_ms;
    sl_qh_delivery *d = delivery_of(request, id);
    if (!d)
        return;
    read_reason(request, reason);
    (void)sl_qh_text(request, "dead", dead, sizeof dead);
    bool is_dead = strcmp(dead, "true") == 0 || strcmp(dead, "1") == 0;
    if (!sl_qh_ms(request, "delay", 0, &delay_ms)) {
        sl_qh_fail(request, 422, "delay is a number of seconds");
        return;
    }
    int error =
        sl_queue_nack(request->http->options.queue, d->facts.id, d->facts.lease, delay_ms, is_dead, sl_str_c(reason));
    if (error == SL_ENOENT) {
        lease_was_over(request, d);
    } else if (error) {
        sl_qh_fail_error(request, error);
    } else {
        json_t *answer =
            json_pack("{s:s,s:o}", "id", d->facts.id, "stats", sl_queue_message_stats(&d->facts, sl_now_ns()));
        end_delivery(d, is_dead ? SL_QUEUE_DEAD : SL_QUEUE_RETURNED, sl_str_c(reason));
        sl_qh_answer_json(request, 200, answer);
    }
}

void sl_qh_extend(sl_qh_request *request, sl_str id)
{
    uint64_t lease_ms;
    sl_qh_delivery *d = delivery_of(request, id);
    if (!d)
        return;
    if (!sl_qh_ms(request, "seconds", request->http->options.lease_ms, &lease_ms) || lease_ms == 0) {
        sl_qh_fail(request, 422, "seconds is a number above 0");
        return;
    }
    int error = sl_queue_extend(request->http->options.queue, d->facts.id, d->facts.lease, lease_ms);
    if (error == SL_ENOENT) {
        lease_was_over(request, d);
    } else if (error) {
        sl_qh_fail_error(request, error);
    } else {
        sl_timer_set(request->http->options.loop, &d->timer, on_lease_over, lease_ms);
        json_t *answer = json_pack("{s:s,s:f}", "id", d->facts.id, "lease_seconds", (double)lease_ms / 1000);
        if (is_unwanted(request->http, d->facts.topic, sl_str_c(d->key), d->facts.put_ns))
            (void)json_object_set_new(answer, "cancelled", json_true());
        sl_qh_answer_json(request, 200, answer);
    }
}

/* ---- take and acknowledge at once, as LlamaDeploy's clients expect it ---- */

static void pop_finish(sl_qh_request *request)
{
    sl_qh_delivery *d = request->delivery;
    request->delivery = NULL;
    if (request->error == SL_ENOENT) { /* of a cluster: another has ended it; the next one */
        end_delivery(d, SL_QUEUE_EXPIRED, SL_STR("the lease ended"));
        request->error = 0;
        if (request->x)
            sl_qh_pop(request, sl_str_c(request->topic));
        return;
    }
    if (request->error) {
        ack_failed(request, d);
        return;
    }
    json_t *message = sl_queue_message_json(d->message, 0);
    end_delivery(d, SL_QUEUE_ACKED, SL_STR(""));
    sl_qh_answer_json(request, 200, message);
}

void sl_qh_pop(sl_qh_request *request, sl_str topic)
{
    sl_qh_delivery *d = NULL;
    if (topic.ptr != request->topic && !sl_str_to_c(topic, request->topic, sizeof request->topic)) {
        sl_qh_fail_error(request, SL_EINVAL);
        return;
    }
    int error = take(request, topic, request->http->options.lease_ms, &d);
    if (error == SL_EAGAIN) {
        sl_qh_answer(request, 200, SL_STR("null"));
        return;
    }
    if (error) {
        sl_qh_fail_error(request, error);
        return;
    }
    request->delivery = d;
    request->finish = pop_finish;
    request->busy = d->ending = true;
    error = sl_queue_ack(request->http->options.queue, d->facts.id, d->facts.lease, acked, request);
    if (error) {
        request->busy = d->ending = false;
        sl_qh_fail_error(request, error);
    }
}
