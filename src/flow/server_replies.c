/* What workers elsewhere say of their tasks: QueueMessages in the topic of the control plane. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

#define MAX_UNDER_WAY 1024u

typedef struct reply {
    sl_store_op op; /* comes behind what the message changed */
    sl_flow_server *server;
    sl_queue_message *message;
} reply;

/* ---- streams ---- */

/* A worker of ours sends whole events; others data alone, which are wrapped. */
static json_t *event_of(json_t *data, const char *id, json_int_t index)
{
    char time[SL_RFC3339_MS_LEN + 1];
    if (json_is_string(json_object_get(data, "event")) && json_is_integer(json_object_get(data, "seq")) &&
        json_is_string(json_object_get(data, "run_id")))
        return json_incref(data);
    sl_rfc3339_ms(sl_now_ns(), time);
    return json_pack("{s:I,s:s,s:s,s:s,s:O}", "seq", index + 1, "event", "stream", "time", time, "run_id", id, "data",
                     data);
}

static bool apply_stream(sl_flow_server *server, json_t *data, const char *id)
{
    json_t *payload = json_object_get(data, "data");
    json_t *index = json_object_get(data, "index");
    if (!payload || !json_is_integer(index) || json_integer_value(index) < 0)
        return false;
    json_t *event = event_of(payload, id, json_integer_value(index));
    char *text = event ? sl_json_text(event) : NULL;
    uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
    const char *kind = json_string_value(json_object_get(event, "event"));
    bool last = kind && strcmp(kind, "run_ended") == 0;
    if (text) {
        if (seq == 1) {
            const char *trace = json_string_value(json_object_get(event, "trace_id"));
            sl_run_store_started(server->runs, sl_str_c(id), sl_now_ns(), sl_str_c(trace));
        }
        sl_run_store_event(server->runs, sl_str_c(id), seq, sl_str_c(text));
        sl_streams_push(server, sl_str_c(id), seq, event, last);
    }
    free(text);
    json_decref(event);
    return text != NULL;
}

/* ---- results ---- */

static void publish_end(sl_flow_server *server, const char *id, const char *status)
{
    /* Streams of workers that say no end of their own. */
    json_t *event = json_pack("{s:s,s:s,s:s}", "event", "run_ended", "run_id", id, "status", status);
    sl_streams_push(server, sl_str_c(id), UINT64_MAX, event, true);
    json_decref(event);
}

static bool apply_result(sl_flow_server *server, json_t *data, const char *id)
{
    const char *result = json_string_value(json_object_get(data, "result"));
    json_t *more = json_object_get(data, "data");
    const char *status = json_string_value(json_object_get(more, "status"));
    const char *error = json_string_value(json_object_get(more, "error"));
    const char *error_type = json_string_value(json_object_get(more, "error_type"));
    json_t *outputs = json_object_get(more, "outputs");
    if (!result)
        return false;
    if (!status || (strcmp(status, "failed") != 0 && strcmp(status, "cancelled") != 0))
        status = "succeeded"; /* LlamaDeploy's services do not say more */
    outputs = json_is_object(outputs) ? json_incref(outputs) : json_pack("{s:s}", "result", result);
    char *text = outputs ? sl_json_text(outputs) : NULL;
    sl_span *span = sl_flow_span(server->control_tracer, "control_plane.handle_service_completion", SL_SPAN_INTERNAL,
                                 sl_span_current(), NULL);
    char length[24];
    (void)snprintf(length, sizeof length, "%zu", strlen(result));
    sl_span_set_str(span, "task.id", id);
    sl_span_set_str(span, "task.result_length", length);
    sl_span_set_str(span, "success", "True");
    sl_span_end(span);
    sl_run_end_row row = {.run_id = sl_str_c(id),
                          .status = sl_str_c(status),
                          .error = sl_str_c(error),
                          .error_type = sl_str_c(error_type),
                          .outputs = sl_str_c(text ? text : "{}"),
                          .end_ns = sl_now_ns()};
    sl_run_store_ended(server->runs, &row);
    publish_end(server, id, status);
    sl_task_end end = {sl_str_c(id), status, outputs, error ? error : "", error_type ? error_type : ""};
    sl_task_ended(server, &end);
    free(text);
    json_decref(outputs);
    return true;
}

bool sl_reply_apply(sl_flow_server *server, json_t *message)
{
    const char *action = json_string_value(json_object_get(message, "action"));
    json_t *data = json_object_get(message, "data");
    const char *id = json_string_value(json_object_get(data, "task_id"));
    if (!action || !id || !sl_task_id_is_good(sl_str_c(id)))
        return false;
    if (strcmp(action, "task_stream") == 0)
        return apply_stream(server, data, id);
    if (strcmp(action, "completed_task") == 0)
        return apply_result(server, data, id);
    return false;
}

/* ---- the topic ---- */

static void on_recorded(sl_store_op *op, int error)
{
    reply *r = (reply *)(void *)op;
    if (error)
        error = sl_queue_nack(r->server->queue, r->message->id, r->message->lease, 1000, false,
                              SL_STR("it could not be recorded"));
    else
        error = sl_queue_ack(r->server->queue, r->message->id, r->message->lease, NULL, NULL);
    (void)error; /* a lease that was over: it comes again, and changes nothing */
    r->server->pending--;
    sl_queue_message_free(r->message);
    sl_flow_server *server = r->server;
    sl_free(r);
    sl_replies_take(server);
}

/* In the trace of who put it. */
static void apply_traced(sl_flow_server *server, const sl_queue_message *message, json_t *root)
{
    SL_ASSERT(message);
    sl_span *span = sl_queue_callback_start(server->queue_telemetry, message);
    sl_span *before = sl_span_attach(span);
    bool good = sl_reply_apply(server, root);
    (void)sl_span_attach(before);
    sl_queue_callback_end(server->queue_telemetry, span, message->topic, message->taken_ns, SL_QUEUE_ACKED,
                          good ? sl_str_of(NULL, 0) : SL_STR("not understood"));
}

void sl_replies_take(sl_flow_server *server)
{
    SL_ASSERT(server);
    sl_flow_consumer *c = server->replies;
    while (c && c->ready && !server->stopping && server->pending < MAX_UNDER_WAY) {
        sl_queue_message *message = NULL;
        if (sl_queue_take(server->queue, sl_str_c(c->topic), SL_FLOW_LEASE_MS, &message) != 0) {
            c->ready = false;
            return;
        }
        reply *r = sl_calloc(1, sizeof *r);
        json_t *root = r ? json_loadb(message->body.ptr, message->body.len, 0, NULL) : NULL;
        if (!r) { /* its lease ends, and it comes again */
            sl_queue_message_free(message);
            return;
        }
        r->server = server;
        r->message = message;
        r->op = (sl_store_op){.run = NULL, .done = on_recorded};
        if (root)
            apply_traced(server, message, root);
        json_decref(root);
        server->pending++;
        sl_flow_store_write(server->store, &r->op);
    }
}
