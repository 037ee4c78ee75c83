/* Tasks: accepted on disk, then put into the queue; and those who wait for their end. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

/* Of what steps gave, in the message of a run that goes on. A cluster's brokers take 1 MiB of all of it. */
#define MAX_STEPS_BYTES (1024u * 1024)
#define MAX_CLUSTER_STEPS_BYTES (512u * 1024)

struct sl_flow_waiter {
    sl_flow_waiter *next;
    char id[SL_FLOW_ID_MAX];
    char session[SL_FLOW_ID_MAX];
    sl_api_request *request;
    void (*fn)(sl_api_request *request, const sl_task_end *end, sl_str session);
};

/*
 * A task between its request and its answer. Its run and its message go to two files, and so side by side: whoever
 * takes the message meanwhile is held until both are on disk. Where that cannot be, as workers elsewhere take it or an
 * earlier run may have its key, the run goes first.
 */
typedef struct sl_flow_making making;
struct sl_flow_making {
    making *next; /* of its bucket */
    sl_flow_server *server;
    sl_mail mail;
    char id[SL_FLOW_ID_MAX];
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    char *body; /* of the message */
    size_t body_len;
    char trace[SL_TRACEPARENT_LEN + 1];
    sl_span *control;
    sl_str type; /* of the message; within the topic */
    sl_task_made_fn fn;
    void *user;
    bool existed;
    bool side_by_side;
    bool anew;                     /* an earlier try was refused */
    bool duplicate;                /* its message was known */
    char key[SL_FLOW_ID_MAX + 24]; /* of the message; empty: the id */
    unsigned waits;
    int accept_error, put_error;
    sl_flow_task *held;
};

bool sl_task_id_is_good(sl_str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        bool alnum = (c >= '0' && c <= '9') || (sl_ascii_lower(c) >= 'a' && sl_ascii_lower(c) <= 'z');
        if (!alnum && (c == 0 || !strchr("._:-", c)))
            return false;
    }
    return id.len > 0 && id.len < SL_FLOW_ID_MAX;
}

/* ---- messages ---- */

static json_t *stats_of(const sl_span *span)
{
    char time[SL_RFC3339_MS_LEN + 1], trace_id[33] = "", span_id[17] = "";
    sl_span_context c;
    sl_rfc3339_ms(sl_now_ns(), time);
    sl_span_get_context(span, &c);
    if (!sl_span_context_is_valid(&c))
        return json_pack("{s:s,s:n,s:n,s:n,s:n}", "publish_time", time, "process_start_time", "process_end_time",
                         "trace_id", "span_id");
    sl_hex_encode(c.trace_id, sizeof c.trace_id, trace_id);
    sl_hex_encode(c.span_id, sizeof c.span_id, span_id);
    return json_pack("{s:s,s:n,s:n,s:s#,s:s#}", "publish_time", time, "process_start_time", "process_end_time",
                     "trace_id", trace_id, 32, "span_id", span_id, 16);
}

/* A QueueMessage. Takes `data`. */
static json_t *message_of(sl_str type, const char *action, json_t *data, const sl_span *span)
{
    char id[SL_FLOW_RUN_ID_BYTES];
    sl_flow_run_new_id(id);
    return json_pack("{s:s,s:s,s:o,s:s,s:o,s:s%}", "id_", id, "publisher_id", "sightline", "data", data, "action",
                     action, "stats", stats_of(span), "type", type.ptr ? type.ptr : "", type.len);
}

typedef struct loose {
    sl_flow_server *server;
    sl_mail mail;
    char run[SL_FLOW_ID_MAX]; /* empty: of no run */
    void (*done)(void *user, int error);
    void *user;
    int error;
} loose;

static void loose_done(sl_mail *mail)
{
    loose *l = (loose *)(void *)((char *)mail - offsetof(loose, mail));
    l->server->pending--;
    if (*l->run && !l->error)
        sl_run_store_sent(l->server->runs, sl_str_c(l->run));
    else if (*l->run && !l->done)
        l->server->puts_failed = true;
    if (l->done)
        l->done(l->user, l->error);
    sl_free(l);
}

static void loose_put(void *user, int error, const sl_queue_accepted *accepted)
{
    loose *l = user;
    l->error = error;
    (void)accepted;
    sl_mailbox_post(&l->server->box, &l->mail);
}

/* "echo" of "llama_deploy.echo". */
static sl_str type_of(const sl_flow_server *server, const char *topic)
{
    sl_str text = sl_str_c(topic);
    size_t namespace = strlen(server->topics) + 1;
    return text.len > namespace ? sl_str_sub(text, namespace, text.len) : text;
}

/* Takes `l`. */
static int start_loose(loose *l, sl_flow_server *server, const sl_queue_put *put, const sl_queue_about *about)
{
    SL_ASSERT(l);
    l->server = server;
    l->mail.deliver = loose_done;
    int error = sl_queue_publish(server->queue_telemetry, server->queue, put, about, loose_put, l);
    if (error)
        sl_free(l);
    else
        server->pending++;
    return error;
}

/* Puts text without telling anybody. */
static int put_loose(sl_flow_server *server, const sl_queue_put *put, const sl_queue_about *about)
{
    loose *l = sl_calloc(1, sizeof *l);
    return l ? start_loose(l, server, put, about) : SL_ENOMEM;
}

/* The message of a run, of which the store is told. */
static int put_run(sl_flow_server *server, const sl_queue_put *put, sl_str run, void (*done)(void *user, int error),
                   void *user)
{
    loose *l = sl_calloc(1, sizeof *l);
    if (!l || !sl_str_to_c(run, l->run, sizeof l->run)) {
        sl_free(l);
        return SL_ENOMEM;
    }
    l->done = done;
    l->user = user;
    return start_loose(l, server, put, NULL);
}

void sl_message_put(sl_flow_server *server, const char *topic, json_t *data, sl_str key, sl_span *parent)
{
    SL_ASSERT(topic);
    sl_span_context context;
    sl_span_get_context(parent, &context);
    sl_queue_about about = {type_of(server, topic), SL_STR("ActionTypes.SEND_EVENT"), &context};
    json_t *message = message_of(about.type, "send_event", data, parent);
    char *body = message ? sl_json_text(message) : NULL;
    sl_queue_put put = {.topic = sl_str_c(topic), .body = sl_str_c(body), .idempotency_key = key};
    int error = body ? put_loose(server, &put, sl_span_context_is_valid(&context) ? &about : NULL) : SL_ENOMEM;
    (void)error; /* as if nobody had listened */
    free(body);
    json_decref(message);
}

int sl_answer_put(sl_flow_server *server, const char *topic, const char *action, json_t *data, const char *key,
                  sl_span *span, sl_queue_done_fn done, void *user)
{
    SL_ASSERT(topic && action && key);
    char trace[SL_TRACEPARENT_LEN + 1] = "";
    sl_span_context context;
    sl_span_get_context(span, &context);
    if (sl_span_context_is_valid(&context))
        sl_traceparent_format(&context, trace);
    json_t *message = message_of(SL_STR("control_plane"), action, data, span);
    char *body = message ? sl_json_text(message) : NULL;
    sl_queue_put put = {
        .topic = sl_str_c(topic), .body = sl_str_c(body), .idempotency_key = sl_str_c(key), .trace = sl_str_c(trace)};
    int error = !body  ? SL_ENOMEM
                : done ? sl_queue_publish(server->queue_telemetry, server->queue, &put, NULL, done, user)
                       : put_loose(server, &put, NULL);
    free(body);
    json_decref(message);
    return error;
}

/* ---- making ---- */

static making **bucket_of(sl_flow_server *server, const char *id)
{
    return &server->making[sl_hash_bytes(id, strlen(id), 0) & (SL_FLOW_MAKING_BUCKETS - 1)];
}

static void making_link(making *m)
{
    making **bucket = bucket_of(m->server, m->id);
    m->next = *bucket;
    *bucket = m;
}

static void making_unlink(making *m)
{
    making **at = bucket_of(m->server, m->id);
    while (*at && *at != m)
        at = &(*at)->next;
    if (*at)
        *at = m->next;
}

bool sl_task_hold(sl_flow_server *server, const char *id, sl_flow_task *task)
{
    SL_ASSERT(task);
    making *m = *bucket_of(server, id);
    while (m && strcmp(m->id, id) != 0)
        m = m->next;
    if (!m || m->held)
        return false;
    m->held = task;
    return true;
}

static void making_free(making *m)
{
    SL_ASSERT(!m->held);
    sl_span_end(m->control);
    free(m->body);
    sl_free(m);
}

static void finish(making *m, int error, bool existed)
{
    SL_ASSERT(m);
    sl_flow_task *held = m->held;
    if (error)
        sl_flow_span_fail(m->control, sl_error_name(error), sl_strerror(error));
    else
        sl_span_set_str(m->control, "success", "True");
    m->held = NULL;
    making_unlink(m);
    m->fn(m->user, error, sl_str_c(m->id), existed);
    making_free(m);
    if (held)
        sl_task_released(held, !error);
}

/* The run is on disk, its message is not: it will never begin. */
static void refuse_run(making *m)
{
    char why[128];
    (void)snprintf(why, sizeof why, "not accepted: the queue: %s", sl_strerror(m->put_error));
    sl_run_end_row end = {.run_id = sl_str_c(m->id),
                          .status = SL_STR("failed"),
                          .error = sl_str_c(why),
                          .error_type = SL_STR(SL_RUN_NOT_TAKEN),
                          .outputs = SL_STR("{}"),
                          .end_ns = sl_now_ns()};
    sl_run_store_ended(m->server->runs, &end);
}

/* The message is on disk, its run is not: it must not begin. */
static void refuse_message(making *m)
{
    if (!m->held && sl_task_note_cancelled(m->server, m->id, sl_now_ns()) != 0)
        m->accept_error = SL_ENOMEM;
}

/* One of the two, run and message, has ended: the last one answers. */
static void settle(making *m)
{
    SL_ASSERT(m->waits > 0);
    if (--m->waits > 0)
        return;
    if (m->put_error && !m->accept_error)
        refuse_run(m);
    else if (m->accept_error && m->side_by_side && !m->put_error)
        refuse_message(m);
    else if (!m->accept_error && !m->existed)
        sl_run_store_sent(m->server->runs, sl_str_c(m->id));
    finish(m, m->accept_error ? m->accept_error : m->put_error, m->existed);
}

static void put_message(making *m);

static void put_mail(sl_mail *mail)
{
    making *m = (making *)(void *)((char *)mail - offsetof(making, mail));
    m->server->pending--;
    /* A cluster had the message of the earlier try after all; it may have been taken and found to be of no run. */
    if (m->anew && m->duplicate && !m->put_error && !*m->key) {
        (void)snprintf(m->key, sizeof m->key, "%s:%llx", m->id, (unsigned long long)sl_now_ns());
        put_message(m);
    }
    settle(m);
}

static void put_done(void *user, int error, const sl_queue_accepted *accepted)
{
    making *m = user;
    m->put_error = error;
    m->duplicate = !error && accepted->duplicate;
    sl_mailbox_post(&m->server->box, &m->mail);
}

/* Adds one to what is waited for, unless it fails at once. */
static void put_message(making *m)
{
    SL_ASSERT(m->body);
    sl_flow_server *server = m->server;
    sl_queue_put put = {.topic = sl_str_c(m->topic),
                        .body = sl_str_of(m->body, m->body_len),
                        .idempotency_key = sl_str_c(*m->key ? m->key : m->id),
                        .trace = sl_str_c(m->trace)};
    sl_span_context parent;
    sl_span_get_context(m->control, &parent);
    sl_queue_about about = {m->type, SL_STR("ActionTypes.NEW_TASK"), &parent};
    m->mail.deliver = put_mail;
    server->pending++;
    m->waits++;
    int error = sl_queue_publish(server->queue_telemetry, server->queue, &put,
                                 sl_span_context_is_valid(&parent) ? &about : NULL, put_done, m);
    if (!error)
        return;
    m->put_error = error;
    m->waits--;
    server->pending--;
}

/* The run of an earlier try begins, whose message was not taken: that one's id, which is as long, in the new message.
 */
static void rename_task(making *m, sl_str id)
{
    SL_ASSERT(m->body && strlen(m->id) == id.len);
    making_unlink(m);
    for (char *at = m->body; (at = strstr(at, m->id)) != NULL; at += id.len)
        memcpy(at, id.ptr, id.len);
    (void)sl_str_to_c(id, m->id, sizeof m->id);
    m->anew = true;
    sl_span_set_str(m->control, "task.id", m->id);
    making_link(m);
}

/* The task is accepted, and so on disk: now its message, unless it is on its way. Only what is accepted may run. */
static void accepted(void *user, int error, sl_str run_id, bool existed)
{
    making *m = user;
    SL_ASSERT(!existed || !m->side_by_side);
    if (!error && existed) {
        making_unlink(m);
        (void)sl_str_to_c(run_id, m->id, sizeof m->id);
    } else if (!error && !sl_str_eq_c(run_id, m->id)) {
        rename_task(m, run_id);
    }
    m->server->pending--;
    m->accept_error = error;
    m->existed = existed;
    if (!error && !existed && !m->side_by_side)
        put_message(m);
    settle(m);
}

static int build_message(making *m, const sl_task_new *task, const char *input)
{
    SL_ASSERT(input);
    sl_span_context context;
    json_t *data = json_pack("{s:s,s:s}", "input", input, "task_id", m->id);
    (void)json_object_set_new(data, "session_id",
                              task->session.len ? json_stringn(task->session.ptr, task->session.len) : json_null());
    (void)json_object_set_new(data, "service_id", json_stringn(task->service.ptr, task->service.len));
    if (task->flow)
        (void)json_object_set_new(data, "workflow_hash", json_string(task->flow->hash));
    sl_replies_address(m->server, data);
    json_t *message = message_of(task->service, "new_task", data, m->control);
    m->body = message ? sl_json_text(message) : NULL;
    m->body_len = m->body ? strlen(m->body) : 0;
    json_decref(message);
    sl_span_get_context(m->control, &context);
    if (sl_span_context_is_valid(&context))
        sl_traceparent_format(&context, m->trace);
    if (!m->body)
        return SL_ENOMEM;
    return m->body_len <= SL_QUEUE_MAX_BODY_BYTES ? 0 : SL_ETOOBIG;
}

static void start_spans(making *m, const sl_task_new *task)
{
    m->control = sl_flow_span(m->server->control_tracer, "control_plane.add_task_to_session", SL_SPAN_INTERNAL,
                              task->parent, NULL);
    sl_span_set(m->control, SL_STR("session.id"), sl_value_str(task->session.len ? task->session : SL_STR("none")));
    sl_span_set_str(m->control, "task.id", m->id);
    sl_span_set(m->control, SL_STR("task.service_id"), sl_value_str(task->service));
}

/* What a worker needs is in its message alone: its run has a source that says who runs it. */
static int accept_run(making *m, const sl_task_new *task, sl_str inputs)
{
    SL_ASSERT(m->id[0]);
    sl_run_new run = {.id = sl_str_c(m->id),
                      .workflow = task->service,
                      .hash = task->flow ? sl_str_c(task->flow->hash) : SL_STR("worker"),
                      .source = task->flow ? sl_str_of(task->flow->source, task->flow->source_len) : SL_STR("worker"),
                      .inputs = inputs,
                      .idempotency_key = task->idempotency_key,
                      .traceparent = sl_str_c(m->trace),
                      .created_ns = sl_now_ns()};
    const sl_str values[] = {run.id, task->service, task->deployment, task->session, inputs, sl_str_c(m->topic)};
    if (task->session.len || task->deployment.len || !task->flow)
        sl_flow_store_put(m->server->store,
                          "insert or ignore into tasks(id, service, deployment, session, input) values(?1, ?2, ?3, ?4, "
                          "?5)",
                          values, 5);
    m->server->pending++;
    m->waits = 1;
    int error = sl_run_store_accept(m->server->runs, &run, accepted, m);
    if (error) {
        m->server->pending--;
        return error;
    }
    making_link(m);
    if (m->side_by_side)
        put_message(m);
    return 0;
}

int sl_task_make(sl_flow_server *server, const sl_task_new *task, sl_task_made_fn fn, void *user)
{
    SL_ASSERT(task && task->topic && fn);
    making *m = sl_calloc(1, sizeof *m);
    json_t *none = json_object();
    char *input = task->input_text.len ? strndup(task->input_text.ptr, task->input_text.len)
                                       : sl_json_text(task->inputs ? task->inputs : none);
    int error = m && input ? 0 : SL_ENOMEM;
    if (!error && strlen(task->topic) > SL_QUEUE_MAX_TOPIC_BYTES)
        error = SL_ETOOBIG;
    if (!error && server->draining)
        error = SL_ECLOSED;
    if (!error) {
        m->server = server;
        m->fn = fn;
        m->user = user;
        (void)snprintf(m->topic, sizeof m->topic, "%s", task->topic);
        m->type = type_of(server, m->topic);
        m->side_by_side = task->flow && (task->id_is_new || !task->id.len) && !task->idempotency_key.len &&
                          !server->options->cluster.len;
        if (!task->id.len)
            sl_flow_run_new_id(m->id);
        else if (!sl_task_id_is_good(task->id) || !sl_str_to_c(task->id, m->id, sizeof m->id))
            error = SL_EINVAL;
    }
    if (!error) {
        start_spans(m, task);
        error = build_message(m, task, input);
    }
    if (!error)
        error = accept_run(m, task, sl_str_c(input));
    if (error && m)
        making_free(m);
    free(input);
    json_decref(none);
    return error;
}

void sl_task_refuse(sl_api_request *request, int error, const char *what)
{
    SL_ASSERT(what && error);
    const sl_flow_server *server = sl_api_user(request);
    char why[400] = "";
    if (error == SL_ELIMIT || error == SL_EIO || (error == SL_EAGAIN && server->options->cluster.len))
        sl_queue_last_error(server->queue, why, sizeof why);
    if (!*why && (error == SL_ELIMIT || error == SL_EIO))
        sl_db_last_error(sl_flow_store_db(server->store), why, sizeof why);
    if (*why)
        sl_api_fail(request, 503, "%s: %s: %s", what, sl_strerror(error), why);
    else
        sl_api_fail_code(request, error, what);
}

/* ---- what an earlier life accepted ---- */

static bool topic_row(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 2);
    (void)count;
    sl_str *found = user;
    if (columns[0].len < SL_QUEUE_MAX_TOPIC_BYTES && columns[1].len < SL_FLOW_ID_MAX) {
        memcpy((char *)(uintptr_t)found[0].ptr, columns[0].ptr, columns[0].len);
        found[0].len = columns[0].len;
        memcpy((char *)(uintptr_t)found[1].ptr, columns[1].ptr, columns[1].len);
        found[1].len = columns[1].len;
    }
    return false;
}

/* Where it goes. False: no such place. */
static bool topic_again(sl_flow_server *server, const sl_run_left *left, const sl_str found[2],
                        char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1])
{
    SL_ASSERT(left && found);
    const size_t size = SL_QUEUE_MAX_TOPIC_BYTES + 1;
    sl_str workflow = left->run.workflow;
    bool worker = sl_str_eq_c(left->run.hash, "worker");
    int len = found[0].len && !worker
                  ? snprintf(topic, size, "%s.%.*s.%.*s", server->topics, (int)found[0].len, found[0].ptr,
                             (int)workflow.len, workflow.ptr)
                  : snprintf(topic, size, "%s.%.*s", server->topics, (int)workflow.len, workflow.ptr);
    return len >= 0 && (size_t)len < size;
}

int sl_task_topic(sl_flow_server *server, const sl_run_left *left, char ret_topic[SL_QUEUE_MAX_TOPIC_BYTES + 1])
{
    char deployment[SL_QUEUE_MAX_TOPIC_BYTES], session[SL_FLOW_ID_MAX];
    sl_str found[2] = {{deployment, 0}, {session, 0}};
    int error = sl_flow_store_query(server->store, "select deployment, session from tasks where id = ?1", &left->run.id,
                                    1, topic_row, found);
    return error ? error : topic_again(server, left, found, ret_topic) ? 0 : SL_ETOOBIG;
}

int sl_task_keep_left(sl_flow_server *server, const sl_run_left *left)
{
    SL_ASSERT(left);
    char id[SL_FLOW_ID_MAX];
    if (!sl_str_to_c(left->run.id, id, sizeof id))
        return 0;
    json_t *kept = json_pack("{s:O?,s:I}", "steps", left->steps, "last_seq", (json_int_t)left->last_seq);
    return json_object_set_new(server->left, id, kept) == 0 ? 0 : SL_ENOMEM;
}

/* The key of its message: the run's id, and what makes it another one than those before. One that was reopened has had
 * a message: with a key that is known the new one would be taken for it, which may be a dead letter. */
static void key_again(const sl_run_left *left, char *key, size_t size)
{
    SL_ASSERT(left && key && size);
    int len = (int)left->run.id.len;
    if (left->reopened)
        (void)snprintf(key, size, "%.*s:%llx", len, left->run.id.ptr, (unsigned long long)sl_now_ns());
    else if (left->last_seq)
        (void)snprintf(key, size, "%.*s:%llu", len, left->run.id.ptr, (unsigned long long)left->last_seq);
    else
        (void)snprintf(key, size, "%.*s", len, left->run.id.ptr);
}

/* Those that fit. */
static json_t *steps_within(json_t *all, size_t room)
{
    json_t *some = json_object(), *step;
    const char *path;
    json_object_foreach(all, path, step)
    {
        char *text = sl_json_text(step);
        size_t size = text ? strlen(text) + strlen(path) + 8 : room + 1;
        free(text);
        if (size <= room && json_object_set(some, path, step) == 0)
            room -= size;
    }
    return some;
}

void sl_task_add_left(const sl_flow_server *server, const sl_run_left *left, json_t *data)
{
    SL_ASSERT(left && data);
    if (left->last_seq) /* whoever runs it goes on counting: its letters are others than those of the run before */
        (void)json_object_set_new(data, "last_seq", json_integer((json_int_t)left->last_seq));
    if (!json_object_size(left->steps))
        return;
    size_t room = server->options->cluster.len ? MAX_CLUSTER_STEPS_BYTES : MAX_STEPS_BYTES;
    (void)json_object_set_new(data, "steps", steps_within(left->steps, room));
}

int sl_task_put_again(sl_flow_server *server, const sl_run_left *left, const sl_letter_place *place,
                      void (*done)(void *user, int error), void *user)
{
    SL_ASSERT(left);
    char key[SL_LETTER_KEY_BYTES];
    char deployment[SL_QUEUE_MAX_TOPIC_BYTES], session[SL_FLOW_ID_MAX], id[SL_FLOW_ID_MAX];
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    sl_str found[2] = {{deployment, 0}, {session, 0}};
    sl_str workflow = left->run.workflow;
    int error = sl_flow_store_query(server->store, "select deployment, session from tasks where id = ?1", &left->run.id,
                                    1, topic_row, found);
    if (error)
        return error;
    if (!topic_again(server, left, found, topic) || !sl_str_to_c(left->run.id, id, sizeof id))
        return SL_ETOOBIG;
    json_t *data = json_pack("{s:s%,s:s,s:s%}", "input", left->run.inputs.ptr, left->run.inputs.len, "task_id", id,
                             "service_id", workflow.ptr, workflow.len);
    (void)json_object_set_new(data, "session_id",
                              found[1].len ? json_stringn(found[1].ptr, found[1].len) : json_null());
    if (!sl_str_eq_c(left->run.hash, "worker"))
        (void)json_object_set_new(data, "workflow_hash", json_stringn(left->run.hash.ptr, left->run.hash.len));
    sl_task_add_left(server, left, data);
    if (place)
        (void)json_object_set_new(data, "max_deliveries", json_integer((json_int_t)place->max_deliveries));
    sl_replies_address(server, data);
    json_t *message = message_of(workflow, "new_task", data, NULL);
    char *body = message ? sl_json_text(message) : NULL;
    if (place)
        (void)snprintf(key, sizeof key, "%s", place->key);
    else
        key_again(left, key, sizeof key);
    sl_queue_put put = {.topic = sl_str_c(topic),
                        .body = sl_str_c(body),
                        .idempotency_key = sl_str_c(key),
                        .trace = left->run.traceparent,
                        .max_deliveries = place ? place->max_deliveries : 0};
    error = body ? put_run(server, &put, left->run.id, done, user) : SL_ENOMEM;
    free(body);
    json_decref(message);
    return error;
}

/* ---- waiting ---- */

int sl_task_wait(sl_flow_server *server, sl_str id, sl_api_request *request,
                 void (*fn)(sl_api_request *request, const sl_task_end *end, sl_str session), sl_str session)
{
    SL_ASSERT(request && fn);
    sl_flow_waiter *w = sl_calloc(1, sizeof *w);
    if (!w)
        return SL_ENOMEM;
    if (!sl_str_to_c(id, w->id, sizeof w->id) || !sl_str_to_c(session, w->session, sizeof w->session)) {
        sl_free(w);
        return SL_EINVAL;
    }
    w->request = sl_api_ref(request);
    w->fn = fn;
    w->next = server->waiters;
    server->waiters = w;
    return 0;
}

void sl_task_ended(sl_flow_server *server, const sl_task_end *end)
{
    SL_ASSERT(end && end->status);
    for (sl_flow_waiter **at = &server->waiters; *at;) {
        sl_flow_waiter *w = *at;
        if (!sl_str_eq_c(end->id, w->id)) {
            at = &w->next;
            continue;
        }
        *at = w->next;
        w->fn(w->request, end, sl_str_c(w->session));
        sl_api_unref(w->request);
        sl_free(w);
    }
}

bool sl_task_unwait(sl_flow_server *server, sl_str id)
{
    for (sl_flow_waiter **at = &server->waiters; *at; at = &(*at)->next) {
        sl_flow_waiter *w = *at;
        if (!sl_str_eq_c(id, w->id))
            continue;
        *at = w->next;
        sl_api_unref(w->request);
        sl_free(w);
        return true;
    }
    return false;
}

void sl_waiters_free(sl_flow_server *server)
{
    while (server->waiters) {
        sl_flow_waiter *w = server->waiters;
        server->waiters = w->next;
        sl_api_unref(w->request);
        sl_free(w);
    }
}
