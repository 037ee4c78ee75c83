/*
 * Action queue: a message is durable before the step succeeds. The engine tells so on a thread of its own, from where
 * the loop is woken.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr_value.h"
#include "src/flow/step_action.h"
#include "src/llm/json_text.h"
#include "src/queue/queue.h"

typedef struct queue_op {
    sl_action_op op;
    uv_async_t wake;
    /* The loop's. */
    sl_step_try *attempt; /* NULL: cancelled */
    sl_span *span;
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    /* Written by the engine's thread before it wakes the loop. */
    int error;
    sl_queue_accepted accepted;
} queue_op;

static void on_closed(uv_handle_t *handle)
{
    sl_free(handle->data);
}

static sl_step_error kind_of(int error)
{
    switch (error) {
    case SL_EAGAIN:
    case SL_ECLOSED:
    case SL_EIO:
    case SL_ELIMIT:
        return SL_STEP_ERROR_PROVIDER; /* another time it may work */
    case SL_ETOOBIG:
        return SL_STEP_ERROR_TOO_BIG;
    case SL_EINVAL:
        return SL_STEP_ERROR_INPUT;
    default:
        return SL_STEP_ERROR_INTERNAL;
    }
}

static void end_put(queue_op *q)
{
    sl_step_try *attempt = q->attempt;
    if (q->error)
        sl_span_set_status(q->span, SL_STATUS_ERROR, sl_strerror(q->error));
    else
        sl_span_set_str(q->span, "message.id", q->accepted.id);
    sl_span_end(q->span);
    q->span = NULL;
    if (!attempt)
        return;
    attempt->data = NULL;
    if (q->error) {
        sl_step_fail(attempt, kind_of(q->error), "queue: %s",
                     q->error == SL_EAGAIN ? "it is full; try again later" : sl_strerror(q->error));
        return;
    }
    sl_action_succeed(
        attempt, json_string(q->accepted.id),
        json_pack("{s:s, s:s, s:b}", "topic", q->topic, "id", q->accepted.id, "duplicate", (int)q->accepted.duplicate));
}

static void on_wake(uv_async_t *wake)
{
    queue_op *q = wake->data;
    end_put(q);
    uv_close((uv_handle_t *)wake, on_closed);
}

/* On the engine's thread. */
static void on_put(void *user, int error, const sl_queue_accepted *accepted)
{
    queue_op *q = user;
    q->error = error;
    if (!error && accepted)
        q->accepted = *accepted;
    (void)uv_async_send(&q->wake);
}

/* What was handed over is put all the same: only nobody waits for it. */
static void cancel_put(sl_action_op *op)
{
    queue_op *q = (queue_op *)op;
    q->attempt = NULL;
}

static sl_span *start_span(sl_step_try *attempt, sl_str topic, char trace[SL_TRACEPARENT_LEN + 1])
{
    trace[0] = '\0';
    if (!attempt->services->sdk)
        return NULL;
    sl_span_options options = {.kind = SL_SPAN_PRODUCER, .parent = attempt->span};
    sl_span *span = sl_span_start(sl_tracer_named(attempt->services->sdk, "sightline.flow"),
                                  SL_STR("message_queue.publish"), &options);
    sl_span_context context;
    sl_span_get_context(span, &context);
    if (sl_span_context_is_valid(&context))
        sl_traceparent_format(&context, trace);
    sl_span_set(span, SL_STR("message.topic"), sl_value_str(topic));
    return span;
}

static void put_message(sl_step_try *attempt, queue_op *q, sl_queue_put *put)
{
    char trace[SL_TRACEPARENT_LEN + 1];
    (void)sl_str_to_c(put->topic, q->topic, sizeof q->topic);
    q->span = start_span(attempt, put->topic, trace);
    put->trace = sl_str_c(trace);
    q->op.cancel = cancel_put;
    q->attempt = attempt;
    q->wake.data = q;
    attempt->data = q;
    int error = sl_queue_put_start(attempt->services->queue, put, on_put, q);
    if (!error)
        return;
    q->error = error;
    end_put(q);
    uv_close((uv_handle_t *)&q->wake, on_closed);
}

/* `message`, else `content` or `body`, else all params that are not the queue's own. A reference. */
static json_t *message_of(const sl_step_try *attempt)
{
    static const char *const names[] = {"message", "content", "body"};
    static const char *const own[] = {"action", "topic", "queue", "key", "priority", "delay_ms", "max_deliveries"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *value = json_object_get(attempt->params, names[i]);
        if (value && !json_is_null(value))
            return json_incref(value);
    }
    json_t *rest = sl_json_copy(attempt->params);
    for (size_t i = 0; rest && i < sizeof own / sizeof *own; i++)
        (void)json_object_del(rest, own[i]);
    return rest;
}

static bool read_put(sl_step_try *attempt, sl_queue_put *put)
{
    double priority, delay, deliveries;
    sl_str queue;
    if (!sl_action_text(attempt, "queue", SL_STR("default"), &queue) ||
        !sl_action_text(attempt, "topic", queue, &put->topic) ||
        !sl_action_text(attempt, "key", sl_str_of(NULL, 0), &put->idempotency_key) ||
        !sl_action_number(attempt, "priority", 0, 0, SL_QUEUE_PRIORITIES - 1, &priority) ||
        !sl_action_number(attempt, "delay_ms", 0, 0, 31536000000.0, &delay) ||
        !sl_action_number(attempt, "max_deliveries", 0, 0, 1000, &deliveries))
        return false;
    put->priority = (unsigned)priority;
    put->delay_ms = (uint64_t)delay;
    put->max_deliveries = (unsigned)deliveries;
    return true;
}

void sl_action_queue(sl_step_try *attempt)
{
    sl_queue_put put = {0};
    if (!attempt->services->queue) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "no queue is configured");
        return;
    }
    if (!read_put(attempt, &put))
        return;
    char *memory = NULL;
    bool is_json;
    json_t *message = message_of(attempt);
    queue_op *q = message ? sl_calloc(1, sizeof *q) : NULL;
    if (!q || !sl_action_body(message, &put.body, &memory, &is_json) ||
        uv_async_init(&attempt->loop->uv, &q->wake, on_wake) != 0) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        sl_free(q);
    } else {
        put_message(attempt, q, &put);
    }
    free(memory);
    json_decref(message);
}
