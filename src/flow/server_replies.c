/* What workers elsewhere say of their tasks: QueueMessages in the topic of the control plane. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

#define REPLIES "control_plane" /* message type that workers answer to */
#define MAX_NAMESPACE 100u
#define MAX_UNDER_WAY 1024u
#define MAX_INDEX INT32_MAX /* of a stream's event */
#define PASS_STEP_MS 20u    /* an answer that is another server's waits longer each time that it is passed on */
#define PASS_MAX_MS 2000u
#define MAX_PASSED 2000 /* then, after an hour, it is dead */

typedef struct reply {
    sl_store_op op; /* comes behind what the message changed */
    sl_flow_server *server;
    sl_queue_message *message;
    char ended[SL_FLOW_ID_MAX]; /* the task whose end it tells; empty: none */
    json_t *again;              /* data of a letter that asks for a message; NULL: it is none */
    bool starved;               /* memory ran out meanwhile: it comes again */
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

/* What a step gave, of a worker of ours: so that the run can go on behind it. */
static void apply_step(sl_flow_server *server, const json_t *step, const char *id)
{
    sl_run_step_row row;
    char *value = NULL;
    if (!json_is_object(step) || !sl_letter_read_step(step, &row, &value))
        return;
    row.run_id = sl_str_c(id);
    sl_run_store_step(server->runs, &row);
    free(value);
}

static bool apply_stream(sl_flow_server *server, json_t *data, const char *id)
{
    json_t *payload = json_object_get(data, "data");
    json_t *index = json_object_get(data, "index");
    if (!payload || !json_is_integer(index) || json_integer_value(index) < 0 || json_integer_value(index) > MAX_INDEX)
        return false;
    json_t *event = event_of(payload, id, json_integer_value(index));
    char *text = event ? sl_json_text(event) : NULL;
    uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
    const char *kind = json_string_value(json_object_get(event, "event"));
    bool last = kind && strcmp(kind, "run_ended") == 0;
    if (text) {
        bool first = seq == 1 || (kind && strcmp(kind, "run_started") == 0); /* or of a run that goes on */
        if (first) {
            const char *trace = json_string_value(json_object_get(event, "trace_id"));
            sl_run_store_started(server->runs, sl_str_c(id), sl_now_ns(), sl_str_c(trace));
        }
        sl_run_store_event(server->runs, sl_str_c(id), seq, sl_str_c(text));
        sl_streams_push(server, sl_str_c(id), seq, event, last ? SL_STREAM_WAITS : SL_STREAM_GOES_ON);
        if (!last)
            sl_task_was_heard_of(server, id, first);
    }
    if (text)
        apply_step(server, json_object_get(data, "step"), id);
    free(text);
    json_decref(event);
    return text != NULL;
}

/* ---- results ---- */

static void publish_end(sl_flow_server *server, const char *id, const char *status)
{
    /* Streams of workers that say no end of their own. */
    json_t *event = json_pack("{s:s,s:s,s:s}", "event", "run_ended", "run_id", id, "status", status);
    sl_streams_push(server, sl_str_c(id), UINT64_MAX, event, SL_STREAM_ENDS);
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
    size_t failures = sl_mem_failures();
    outputs = json_is_object(outputs) ? json_incref(outputs) : json_pack("{s:s}", "result", result);
    char *text = outputs ? sl_json_text(outputs) : NULL;
    if (sl_mem_failures() != failures) { /* the end is not recorded without its outputs */
        free(text);
        json_decref(outputs);
        return false;
    }
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
                          .end_ns = sl_now_ns(),
                          .ends_events = true};
    sl_run_store_ended(server->runs, &row);
    sl_task_overtaken(server, id);
    (void)json_object_del(server->cancelled, id);
    publish_end(server, id, status);
    sl_task_end end = {sl_str_c(id), status, outputs, error ? error : "", error_type ? error_type : ""};
    sl_task_ended(server, &end);
    free(text);
    json_decref(outputs);
    return true;
}

int sl_run_end_is_kept(sl_db *db, const char *id)
{
    SL_ASSERT(id);
    sqlite3_stmt *s = sl_db_statement(db, "select 1 from flow_runs where id = ?1 and ended_ns is null");
    if (!s)
        return SL_EIO;
    sl_db_bind_text(s, 1, sl_str_c(id));
    int code = sqlite3_step(s);
    (void)sqlite3_reset(s);
    return code == SQLITE_DONE ? 0 : SL_EIO;
}

void sl_reply_ends(json_t *message, char ret_id[SL_FLOW_ID_MAX])
{
    const char *action = json_string_value(json_object_get(message, "action"));
    const char *id = json_string_value(json_object_get(json_object_get(message, "data"), "task_id"));
    bool ends = action && strcmp(action, "completed_task") == 0;
    (void)snprintf(ret_id, SL_FLOW_ID_MAX, "%s", ends && id ? id : "");
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
    return strcmp(action, SL_LETTER_AGAIN) == 0; /* on_recorded() does it, when all that came before is on disk */
}

/* ---- the topic ---- */

/* On the writer's thread. */
static int check_kept(sl_store_op *op, sqlite3 *db)
{
    (void)db;
    const reply *r = (const reply *)(void *)op;
    return *r->ended ? sl_run_end_is_kept(sl_flow_store_db(op->store), r->ended) : 0;
}

static void end_reply(void *user, int error)
{
    reply *r = user;
    if (error && error != SL_ENOENT)
        error = sl_queue_nack(r->server->queue, r->message->id, r->message->lease, 1000, false,
                              SL_STR("it could not be recorded"));
    else
        error = sl_queue_ack(r->server->queue, r->message->id, r->message->lease, NULL, NULL);
    (void)error; /* a lease that was over: it comes again, and changes nothing */
    r->server->pending--;
    r->server->replies_under_way--;
    sl_queue_message_free(r->message);
    json_decref(r->again);
    sl_flow_server *server = r->server;
    sl_free(r);
    sl_replies_take(server);
}

static void on_recorded(sl_store_op *op, int error)
{
    reply *r = (reply *)(void *)op;
    if (!error && r->starved)
        error = SL_ENOMEM;
    if (!error && r->again)
        sl_run_put_in_place(r->server, r->again, end_reply, r);
    else
        end_reply(r, error);
}

/* In the trace of who put it. */
static bool apply_traced(sl_flow_server *server, const sl_queue_message *message, json_t *root)
{
    SL_ASSERT(message);
    sl_span *span = sl_queue_callback_start(server->queue_telemetry, message);
    sl_span *before = sl_span_attach(span);
    bool good = sl_reply_apply(server, root);
    (void)sl_span_attach(before);
    sl_queue_callback_end(server->queue_telemetry, span, message->topic, message->taken_ns, SL_QUEUE_ACKED,
                          good ? sl_str_of(NULL, 0) : SL_STR("not understood"));
    return good;
}

/* Workers that know nothing of several servers answer where any of them reads: it is for the one that has the run. */
static bool is_elsewhere(sl_flow_server *server, const sl_flow_consumer *c, const json_t *root)
{
    SL_ASSERT(c);
    const char *id = json_string_value(json_object_get(json_object_get(root, "data"), "task_id"));
    json_t *run = NULL;
    if (!*server->answers || c == server->own_replies || !id)
        return false;
    int error = sl_run_store_get(server->runs, sl_str_c(id), &run);
    json_decref(run);
    return error == SL_ENOENT;
}

/* An answer on its way to the next server. */
typedef struct passing {
    sl_mail mail;
    sl_flow_server *server;
    sl_queue_message *message;
    int error;
} passing;

static void passed(sl_mail *mail)
{
    passing *p = (passing *)(void *)mail;
    sl_flow_server *server = p->server;
    const sl_queue_message *m = p->message;
    int error = p->error ? sl_queue_nack(server->queue, m->id, m->lease, PASS_MAX_MS, false,
                                         SL_STR("it could not be passed on"))
                         : sl_queue_ack(server->queue, m->id, m->lease, NULL, NULL);
    (void)error; /* a lease that was over: it is there twice, and changes nothing the second time */
    server->pending--;
    server->replies_under_way--;
    sl_queue_message_free(p->message);
    sl_free(p);
    sl_replies_take(server);
}

static void on_passed(void *user, int error, const sl_queue_accepted *accepted)
{
    passing *p = user;
    (void)accepted;
    p->error = error;
    sl_mailbox_post(&p->server->box, &p->mail);
}

/*
 * Puts the message anew, for whoever takes it next. Given back it would stay with this process, and be dead after a few
 * deliveries. Takes the message and the reference.
 */
static void pass_on(sl_flow_server *server, sl_queue_message *message, json_t *root)
{
    SL_ASSERT(message && root);
    json_int_t count = json_integer_value(json_object_get(root, "passed"));
    count = count >= 0 && count < MAX_PASSED ? count + 1 : MAX_PASSED + 1;
    passing *p = count <= MAX_PASSED ? sl_calloc(1, sizeof *p) : NULL;
    (void)json_object_set_new(root, "passed", json_integer(count));
    char *body = p ? sl_json_text(root) : NULL;
    json_decref(root);
    if (!body) {
        int error = sl_queue_nack(server->queue, message->id, message->lease, PASS_MAX_MS, count > MAX_PASSED,
                                  SL_STR("no server of the cluster has its task"));
        (void)error;
        sl_queue_message_free(message);
        sl_free(p);
        return;
    }
    uint64_t delay_ms = (uint64_t)(count - 1) * PASS_STEP_MS;
    sl_queue_put put = {.topic = message->topic,
                        .body = sl_str_c(body),
                        .trace = message->trace,
                        .priority = message->priority,
                        .delay_ms = delay_ms < PASS_MAX_MS ? delay_ms : PASS_MAX_MS};
    *p = (passing){.mail = {.deliver = passed}, .server = server, .message = message};
    server->pending++;
    server->replies_under_way++;
    int error = sl_queue_put_start(server->queue, &put, on_passed, p);
    free(body);
    if (error)
        on_passed(p, error, NULL);
}

/* Takes the message. */
static void take_reply(sl_flow_server *server, const sl_flow_consumer *c, sl_queue_message *message)
{
    SL_ASSERT(message);
    size_t failures = sl_mem_failures();
    reply *r = sl_calloc(1, sizeof *r);
    json_t *root = r ? sl_json_load(message->body, 0, NULL) : NULL;
    if (!r) {
        sl_consumer_put_off(server, message);
        return;
    }
    if (is_elsewhere(server, c, root)) {
        sl_free(r);
        pass_on(server, message, root);
        return;
    }
    r->server = server;
    r->message = message;
    r->op = (sl_store_op){.run = check_kept, .done = on_recorded};
    if (root && apply_traced(server, message, root)) {
        const char *action = json_string_value(json_object_get(root, "action"));
        sl_reply_ends(root, r->ended);
        if (strcmp(action, SL_LETTER_AGAIN) == 0)
            r->again = json_incref(json_object_get(root, "data"));
    }
    json_decref(root);
    r->starved = sl_mem_failures() != failures; /* what it changed it changes again, to the same */
    server->pending++;
    server->replies_under_way++;
    sl_flow_store_write(server->store, &r->op);
}

static void take_all(sl_flow_server *server, sl_flow_consumer *c)
{
    while (c && c->ready && !server->stopping && server->replies_under_way < MAX_UNDER_WAY) {
        sl_queue_message *message = NULL;
        if (!sl_consumer_take(c, &message))
            return;
        take_reply(server, c, message);
    }
}

void sl_replies_take(sl_flow_server *server)
{
    SL_ASSERT(server);
    take_all(server, server->own_replies);
    take_all(server, server->replies);
}

/* ---- where ---- */

const char *sl_flow_namespace(void)
{
    const char *topics = getenv("CONTROL_PLANE_TOPIC_NAMESPACE");
    if (!topics || !*topics)
        return "llama_deploy";
    if (strlen(topics) <= MAX_NAMESPACE)
        return topics;
    (void)fprintf(stderr, "sightline: flow: CONTROL_PLANE_TOPIC_NAMESPACE has %zu bytes; give at most %u\n",
                  strlen(topics), MAX_NAMESPACE);
    return NULL;
}

/* The server's id: made once, so that what workers answer while it is down reaches it. */
static int read_id(const sl_flow_server *server, char ret_id[17])
{
    char path[4200];
    uint8_t bytes[8];
    sl_rng rng;
    (void)snprintf(path, sizeof path, "%s/server-id", server->options->data_dir);
    FILE *file = fopen(path, "re");
    bool good = file && fread(ret_id, 1, 16, file) == 16 && strspn(ret_id, "0123456789abcdef") >= 16;
    if (file)
        (void)fclose(file);
    if (good)
        return 0;
    sl_rng_init(&rng);
    uint64_t number = sl_rng_next(&rng);
    memcpy(bytes, &number, sizeof bytes);
    sl_hex_encode(bytes, sizeof bytes, ret_id);
    file = fopen(path, "we");
    good = file && fwrite(ret_id, 1, 16, file) == 16;
    if (file && fclose(file) != 0)
        good = false;
    return good ? 0 : SL_EIO;
}

int sl_replies_start(sl_flow_server *server)
{
    SL_ASSERT(server);
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1], id[17] = "";
    (void)snprintf(topic, sizeof topic, "%.200s." REPLIES, server->topics);
    int error = sl_consumer_new(server, SL_STR(REPLIES), topic, NULL, &server->replies);
    if (error || !server->options->cluster.len)
        return error;
    error = read_id(server, id);
    if (!error) {
        (void)snprintf(server->answers, sizeof server->answers, "%.200s." REPLIES ".%s", server->topics, id);
        error = sl_consumer_new(server, SL_STR(REPLIES), server->answers, NULL, &server->own_replies);
    }
    return error;
}

void sl_replies_address(const sl_flow_server *server, json_t *data)
{
    if (*server->answers)
        (void)json_object_set_new(data, "answer_topic", json_string(server->answers));
}

bool sl_replies_is_topic(const char *topics, const char *topic)
{
    char prefix[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    (void)snprintf(prefix, sizeof prefix, "%.200s." REPLIES ".", topics);
    size_t len = strlen(prefix);
    return topic && strncmp(topic, prefix, len) == 0 && strlen(topic) == len + 16 &&
           strspn(topic + len, "0123456789abcdef") == 16;
}

void sl_replies_result_key(const char *task, uint64_t last_seq, char *key, size_t size)
{
    SL_ASSERT(task && key && size);
    if (last_seq)
        (void)snprintf(key, size, "%s:result:%llu", task, (unsigned long long)last_seq);
    else
        (void)snprintf(key, size, "%s:result", task);
}
