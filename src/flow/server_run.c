/* Messages that are run here: taken, executed, recorded, acknowledged; in this order. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/letters.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

struct sl_flow_task {
    sl_flow_task *next, **prev;
    sl_flow_server *server;
    sl_queue_message *message;
    sl_store_op recorded; /* comes behind the run's end in the file */
    sl_mail acked, told;
    int tell_error;
    char home[SL_QUEUE_MAX_TOPIC_BYTES + 1]; /* where the server reads that has made it; empty: this one has */
    char id[SL_FLOW_ID_MAX];
    char session[SL_FLOW_ID_MAX];
    sl_flow_consumer *consumer;
    json_t *root, *inputs; /* of the message, until it runs */
    sl_flow_run *run;
    sl_span *callback, *process, *running;
    sl_queue_outcome outcome;
    bool is_event; /* of a client, to a task: no task of its own */
    bool called;   /* the callback has not ended */
    uint64_t events;
    bool abandoned;     /* goes on at the next start */
    bool overtaken;     /* another has ended it */
    bool handed;        /* its server is asked for another message in the place of this one */
    sl_flow_task *heir; /* that one, when it was faster than the answer: begins when this one is gone */
};

/* ---- ends ---- */

static void end_callback(sl_flow_task *task)
{
    if (task->called)
        sl_queue_callback_end(task->server->queue_telemetry, task->callback, task->message->topic,
                              task->message->taken_ns, task->outcome, sl_str_of(NULL, 0));
    task->called = false;
    task->callback = NULL;
}

/* The message goes to the next, or to the dead letters. A lease that is over has done so by itself. */
static void give_back(sl_flow_task *task, uint64_t delay_ms, bool dead, const char *reason)
{
    int error =
        sl_queue_nack(task->server->queue, task->message->id, task->message->lease, delay_ms, dead, sl_str_c(reason));
    task->outcome = dead ? SL_QUEUE_DEAD : SL_QUEUE_RETURNED;
    (void)error;
}

static void start_task(sl_flow_task *task);

static void task_free(sl_flow_task *task)
{
    SL_ASSERT(task);
    sl_flow_server *server = task->server;
    sl_flow_task *heir = task->heir;
    *task->prev = task->next;
    if (task->next)
        task->next->prev = task->prev;
    server->task_count--;
    sl_span_end(task->running);
    sl_span_end(task->process);
    end_callback(task);
    sl_flow_run_unref(task->run);
    sl_queue_message_free(task->message);
    json_decref(task->inputs);
    json_decref(task->root);
    sl_free(task);
    if (heir && !server->draining) {
        start_task(heir);
    } else if (heir) {
        give_back(heir, 0, false, "its server ends");
        task_free(heir);
    }
}

static void ack_mail(sl_mail *mail)
{
    sl_flow_task *task = (sl_flow_task *)(void *)((char *)mail - offsetof(sl_flow_task, acked));
    sl_flow_server *server = task->server;
    server->pending--;
    task_free(task);
    sl_tasks_pump(server);
}

static void on_acked(void *user, int error)
{
    sl_flow_task *task = user;
    (void)error; /* a lease that was over: the message comes again and is seen to have ended */
    sl_mailbox_post(&task->server->box, &task->acked);
}

/* False: the message cannot be acknowledged, and the task is gone; its lease is over, or will be. */
static bool ack(sl_flow_task *task)
{
    SL_ASSERT(task);
    sl_flow_server *server = task->server;
    task->acked.deliver = ack_mail;
    server->pending++;
    if (sl_queue_ack(server->queue, task->message->id, task->message->lease, on_acked, task) == 0)
        return true;
    server->pending--;
    task_free(task);
    return false;
}

/* On the writer's thread. An end that could not be written, or waits for room, is seen here. */
static int check_kept(sl_store_op *op, sqlite3 *db)
{
    (void)db;
    const sl_flow_task *task = (const sl_flow_task *)(void *)((char *)op - offsetof(sl_flow_task, recorded));
    return sl_run_end_is_kept(sl_flow_store_db(op->store), task->id);
}

/* What the run has left is on disk: nobody needs the message any more. */
static void on_recorded(sl_store_op *op, int error)
{
    sl_flow_task *task = (sl_flow_task *)(void *)((char *)op - offsetof(sl_flow_task, recorded));
    sl_flow_server *server = task->server;
    if (error) { /* the disk failed: the task will be tried again */
        give_back(task, 1000, false, "the result could not be recorded");
        task_free(task);
    } else if (ack(task)) {
        return;
    }
    sl_tasks_pump(server); /* there is room, and no other mail may come */
}

/* ---- tasks of another server ---- */

static void tell_event(sl_flow_task *task, json_t *event, json_t *step, uint64_t seq, sl_span *span)
{
    char key[SL_FLOW_ID_MAX + 24];
    (void)snprintf(key, sizeof key, "%s:%llu", task->id, (unsigned long long)seq);
    json_t *data = json_pack("{s:s,s:s,s:I,s:O,s:O*}", "task_id", task->id, "session_id", task->session, "index",
                             (json_int_t)task->events, "data", event, "step", step);
    int error = sl_answer_put(task->server, task->home, "task_stream", data, key, span, NULL, NULL);
    (void)error; /* its stream has a gap; the result is what counts */
}

static void told_mail(sl_mail *mail)
{
    sl_flow_task *task = (sl_flow_task *)(void *)((char *)mail - offsetof(sl_flow_task, told));
    sl_flow_server *server = task->server;
    server->pending--;
    if (task->tell_error) {
        give_back(task, 1000, false, "its server could not be told");
        task_free(task);
    } else if (ack(task)) {
        return;
    }
    sl_tasks_pump(server);
}

static void on_told(void *user, int error, const sl_queue_accepted *accepted)
{
    sl_flow_task *task = user;
    (void)accepted;
    task->tell_error = error;
    sl_mailbox_post(&task->server->box, &task->told);
}

/* Of the events of an earlier run, as the message says it; 0: this is the first. */
static uint64_t last_seq_of(const sl_flow_task *task)
{
    json_int_t last = json_integer_value(json_object_get(json_object_get(task->root, "data"), "last_seq"));
    return last > 0 ? (uint64_t)last : 0;
}

static int put_end(sl_flow_task *task, const char *status, json_t *outputs, const char *error, sl_step_error type)
{
    bool good = strcmp(status, "succeeded") == 0;
    char key[SL_FLOW_ID_MAX + 32];
    char *text = outputs ? sl_json_text(outputs) : NULL;
    json_t *more = json_pack("{s:s,s:O?}", "status", status, "outputs", outputs);
    if (!good) {
        (void)json_object_set_new(more, "error", json_string(error));
        (void)json_object_set_new(more, "error_type", json_string(sl_step_error_name(type)));
    }
    json_t *data = json_pack("{s:s,s:[],s:s,s:o}", "task_id", task->id, "history", "result",
                             good && text ? text : error, "data", more);
    free(text);
    sl_replies_result_key(task->id, last_seq_of(task), key, sizeof key);
    return sl_answer_put(task->server, task->home, "completed_task", data, key, task->process, on_told, task);
}

/* The result goes home; then nobody needs the message any more. */
static void tell_end(sl_flow_task *task, const char *status, json_t *outputs)
{
    SL_ASSERT(task->run && task->home[0]);
    task->told.deliver = told_mail;
    task->server->pending++;
    int error = put_end(task, status, outputs, sl_flow_run_error(task->run), sl_flow_run_error_type(task->run));
    if (error == SL_ETOOBIG) /* no other try would be smaller */
        error =
            put_end(task, "failed", NULL, "the result is too large to be sent: more than 4 MiB", SL_STEP_ERROR_TOO_BIG);
    if (error) /* else another thread says what has become of it, or has done so already */
        on_told(task, error, NULL);
}

static void say_end(sl_flow_task *task, const char *status, json_t *outputs)
{
    SL_ASSERT(task->run);
    bool good = strcmp(status, "succeeded") == 0;
    const char *error = sl_flow_run_error(task->run);
    const char *type = sl_step_error_name(sl_flow_run_error_type(task->run));
    sl_flow_server *server = task->server;
    sl_span_set_str(task->process, "workflow.result.type", good ? "dict" : "error");
    sl_span *publish =
        sl_flow_span(server->workflow_tracer, good ? "workflow.result.publish" : "workflow.error.publish",
                     SL_SPAN_INTERNAL, task->process, NULL);
    if (!good) {
        sl_span_set_str(task->process, "error.occurred", "True");
        sl_flow_span_fail(task->process, type, error);
    } else {
        sl_span_set_str(task->process, "success", "True");
    }
    sl_span_add_event(task->process, SL_STR("workflow.result.publishing"), 0, NULL, 0);
    sl_span *done = sl_flow_span(server->control_tracer, "control_plane.handle_service_completion", SL_SPAN_INTERNAL,
                                 publish, NULL);
    sl_span_set_str(done, "task.id", task->id);
    char *text = outputs ? sl_json_text(outputs) : NULL;
    char length[24];
    (void)snprintf(length, sizeof length, "%zu", text ? strlen(text) : 0);
    sl_span_set_str(done, "task.result_length", length);
    sl_span_set_str(done, "success", "True");
    free(text);
    sl_task_end end = {sl_str_c(task->id), status, outputs, error, good ? "" : type};
    sl_task_ended(server, &end);
    sl_span_end(done);
    sl_span_end(publish);
}

static void end_task(sl_flow_task *task)
{
    SL_ASSERT(task);
    if (task->abandoned) {
        task->outcome = SL_QUEUE_RETURNED;
        task_free(task);
        return;
    }
    const char *status = sl_run_status_name(sl_flow_run_status(task->run));
    json_t *outputs = sl_flow_run_outputs(task->run);
    sl_span *state =
        sl_flow_span(task->server->workflow_tracer, "workflow.set_state", SL_SPAN_INTERNAL, task->process, NULL);
    sl_span_add_event(task->process, SL_STR("workflow.state.saving"), 0, NULL, 0);
    sl_span_set_str(state, "task.id", task->id);
    sl_span_end(task->running);
    task->running = NULL;
    if (*task->home)
        tell_end(task, status, outputs);
    else
        say_end(task, status, outputs);
    json_decref(outputs);
    sl_span_end(state);
    sl_span_end(task->process);
    task->process = NULL;
    end_callback(task);
    if (*task->home)
        return;
    task->recorded = (sl_store_op){.run = check_kept, .done = on_recorded};
    sl_flow_store_write(task->server->store, &task->recorded);
}

/* ---- events ---- */

static void on_event(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    sl_flow_task *task = user;
    sl_flow_server *server = task->server;
    bool last = event->kind == SL_FLOW_RUN_ENDED;
    if (!task->run)
        task->run = sl_flow_run_ref(run);
    if (task->overtaken) {
        if (last)
            (void)ack(task);
        return;
    }
    if (!(last && task->abandoned)) {
        json_t *body = sl_flow_event_json(run, event), *step = *task->home ? sl_letter_step(event) : NULL;
        sl_span *span =
            sl_flow_span(server->workflow_tracer, "workflow.event.publish", SL_SPAN_INTERNAL, task->process, NULL);
        sl_span_set_int(span, "event.index", (int64_t)task->events);
        if (*task->home)
            tell_event(task, body, step, event->seq, span);
        else
            sl_streams_push(server, sl_str_c(task->id), event->seq, body, last ? SL_STREAM_ENDS : SL_STREAM_GOES_ON);
        task->events++;
        sl_span_end(span);
        json_decref(step);
        json_decref(body);
    }
    if (last)
        end_task(task);
}

/* ---- beginnings ---- */

/* Reads the QueueMessage. False: it is none. */
static bool read_message(sl_flow_task *task)
{
    SL_ASSERT(task && !task->root);
    const char *id = NULL, *input = NULL, *session = NULL;
    size_t failures = sl_mem_failures();
    task->root = sl_json_load(task->message->body, 0, NULL);
    json_t *data = json_object_get(task->root, "data");
    if (!task->root || json_unpack(data, "{s:s,s:s}", "task_id", &id, "input", &input) != 0 ||
        !sl_task_id_is_good(sl_str_c(id)))
        return false;
    const char *action = json_string_value(json_object_get(task->root, "action"));
    task->is_event = action && strcmp(action, "send_event") == 0;
    session = json_string_value(json_object_get(data, "session_id"));
    (void)snprintf(task->id, sizeof task->id, "%s", id);
    (void)snprintf(task->session, sizeof task->session, "%s", session ? session : "");
    const char *home = json_string_value(json_object_get(data, "answer_topic"));
    sl_flow_server *server = task->server;
    if (*server->answers && sl_replies_is_topic(server->topics, home) && strcmp(home, server->answers) != 0)
        (void)snprintf(task->home, sizeof task->home, "%s", home);
    task->inputs = sl_json_load(sl_str_c(input), 0, NULL);
    if (!json_is_object(task->inputs)) {
        json_decref(task->inputs);
        task->inputs = json_object();
    }
    return task->inputs && sl_mem_failures() == failures;
}

/* Of the workflow as it was when the task was made; empty: made by somebody else. */
static sl_str hash_of(const sl_flow_task *task)
{
    return sl_str_c(json_string_value(json_object_get(json_object_get(task->root, "data"), "workflow_hash")));
}

/* This server has made it: the only one, or the one that it names. */
static bool is_own(const sl_flow_task *task)
{
    const sl_flow_server *server = task->server;
    const char *home = json_string_value(json_object_get(json_object_get(task->root, "data"), "answer_topic"));
    return !server->options->cluster.len || (home && strcmp(home, server->answers) == 0);
}

static int keep_left(void *user, const sl_run_left *left)
{
    return sl_task_keep_left(user, left);
}

/* Steps that have ended, as whoever put the message knew them. NULL: none. */
static json_t *steps_of(const sl_flow_task *task)
{
    json_t *steps = json_object_get(json_object_get(task->root, "data"), "steps");
    return json_is_object(steps) ? steps : NULL;
}

/* Another message of it that is worked on here, or whose end is on its way to disk; NULL: none. */
static sl_flow_task *other_of(const sl_flow_task *task)
{
    sl_flow_task *t = task->server->tasks;
    while (t && (t == task || strcmp(t->id, task->id) != 0))
        t = t->next;
    return t;
}

/* The first message of a task of this life, for the first time: nothing can be known of it. */
static bool is_first(const sl_flow_task *task)
{
    const sl_queue_message *m = task->message;
    return m->delivery < 2 && m->put_ns >= task->server->start_ns && m->put_ns > task->server->forgotten_ns &&
           sl_str_eq_c(m->idempotency_key, task->id);
}

/*
 * True when the task needs no run: it has ended already, was cancelled while it waited, or its run was never accepted
 * (the server died before both were on disk). In a cluster the run may be another server's.
 */
static bool is_over(sl_flow_task *task)
{
    sl_flow_server *server = task->server;
    bool cancelled = sl_task_is_cancelled(server, task->id, task->message->put_ns);
    (void)json_object_del(server->cancelled, task->id);
    if (cancelled)
        return true;
    if (is_first(task))
        return false;
    json_t *run = NULL;
    int error = sl_run_store_get(server->runs, sl_str_c(task->id), &run);
    if (error)
        return error == SL_ENOENT && hash_of(task).len && !*task->home && is_own(task);
    const char *status = json_string_value(json_object_get(run, "status"));
    bool over = status && strcmp(status, "queued") != 0 && strcmp(status, "running") != 0;
    bool back = over && sl_run_failed_by_letter(run), began = status && strcmp(status, "running") == 0;
    json_decref(run);
    /* It goes on behind the steps that have ended, here or elsewhere; without memory, from the first one. */
    if (back || began)
        (void)!sl_run_store_one_left(server->runs, sl_str_c(task->id), keep_left, server);
    return over && !back;
}

/*
 * Whoever had the message before has told its server what steps gave, or the server has run them itself: it puts
 * another one in its place, which says what it knows.
 */
static void hand_over(sl_flow_task *task)
{
    SL_ASSERT(*task->home && !task->run);
    sl_letter_place place;
    char key[SL_LETTER_KEY_BYTES];
    const sl_queue_message *m = task->message;
    sl_letter_place_of(sl_str_c(task->id), m->idempotency_key, m->delivery, task->root, &place);
    json_t *data = sl_letter_again(task->id, &place, key);
    task->handed = true;
    task->told.deliver = told_mail;
    task->server->pending++;
    int error =
        data ? sl_answer_put(task->server, task->home, SL_LETTER_AGAIN, data, key, NULL, on_told, task) : SL_ENOMEM;
    if (error)
        on_told(task, error, NULL);
}

static void start_spans(sl_flow_task *task, sl_str service)
{
    SL_ASSERT(task);
    sl_flow_server *server = task->server;
    task->callback = sl_queue_callback_start(server->queue_telemetry, task->message);
    task->called = true;
    task->process =
        sl_flow_span(server->workflow_tracer, "workflow.process_call", SL_SPAN_INTERNAL, task->callback, NULL);
    sl_span_set_str(task->process, "task.id", task->id);
    sl_span_set_str(task->process, "task.session_id", *task->session ? task->session : "none");
    sl_span_set(task->process, SL_STR("workflow.service_name"), sl_value_str(service));
    sl_span_add_event(task->process, SL_STR("workflow.state.loading"), 0, NULL, 0);
    sl_span *state = sl_flow_span(server->workflow_tracer, "workflow.get_state", SL_SPAN_INTERNAL, task->process, NULL);
    sl_span_set_str(state, "task.id", task->id);
    sl_span_end(state);
    sl_span_add_event(task->process, SL_STR("workflow.execution.starting"), 0, NULL, 0);
    task->running = sl_flow_span(server->workflow_tracer, "workflow.run", SL_SPAN_INTERNAL, task->process, NULL);
    sl_span_set_str(task->running, "task.id", task->id);
}

static int start_run(sl_flow_task *task, sl_flow *flow, json_t *inputs)
{
    SL_ASSERT(flow && inputs);
    sl_flow_server *server = task->server;
    json_t *left = json_object_get(server->left, task->id);
    sl_span_context parent;
    sl_span_get_context(task->running, &parent);
    sl_flow_run_options options = {.run_id = sl_str_c(task->id),
                                   .parent = sl_span_context_is_valid(&parent) ? &parent : NULL,
                                   .resume = left ? json_object_get(left, "steps") : steps_of(task),
                                   .last_seq = left ? (uint64_t)json_integer_value(json_object_get(left, "last_seq"))
                                                    : last_seq_of(task),
                                   .durable = !*task->home,
                                   .on_event = on_event,
                                   .user = task};
    int error = sl_flow_run_start(server->executor, flow, inputs, &options, NULL);
    if (left) /* who has it again reads it again */
        (void)json_object_del(server->left, task->id);
    return error;
}

static void link_task(sl_flow_task *task)
{
    sl_flow_server *server = task->server;
    task->next = server->tasks;
    task->prev = &server->tasks;
    if (task->next)
        task->next->prev = &task->next;
    server->tasks = task;
    server->task_count++;
}

/* Runs the task, or ends it at once. */
static void start_task(sl_flow_task *task)
{
    SL_ASSERT(task->root && task->inputs);
    sl_flow_server *server = task->server;
    if (is_over(task)) {
        (void)ack(task);
        return;
    }
    sl_flow_task *other = is_first(task) ? NULL : other_of(task);
    if (other && other->handed && !other->heir) {
        other->heir = task;
        return;
    }
    if (other) { /* it comes again, and is over then */
        task_free(task);
        return;
    }
    if (*task->home && task->message->delivery > 1) {
        hand_over(task);
        return;
    }
    sl_flow *flow = sl_flows_version(server, hash_of(task));
    start_spans(task, task->consumer->service);
    int error = start_run(task, flow ? flow : task->consumer->flow, task->inputs);
    if (error == SL_EEXIST) { /* it runs already: a lease was over too early */
        task_free(task);
    } else if (error) {
        give_back(task, 1000, false, sl_strerror(error));
        task_free(task);
    }
}

void sl_task_released(sl_flow_task *task, bool accepted)
{
    SL_ASSERT(task && !task->run);
    sl_flow_server *server = task->server;
    if (task->abandoned)
        task_free(task);
    else if (accepted)
        start_task(task);
    else
        (void)ack(task); /* its request was told so */
    sl_tasks_pump(server);
}

/* Takes the message. */
static void begin(sl_flow_consumer *consumer, sl_queue_message *message)
{
    SL_ASSERT(consumer->flow && message);
    sl_flow_task *task = sl_calloc(1, sizeof *task);
    if (!task) {
        sl_consumer_put_off(consumer->server, message);
        return;
    }
    task->server = consumer->server;
    task->consumer = consumer;
    task->message = message;
    link_task(task);
    size_t failures = sl_mem_failures();
    if (!read_message(task)) { /* which it may be with more memory */
        bool starved = sl_mem_failures() != failures;
        give_back(task, starved ? 1000 : 0, !starved, starved ? "out of memory" : "not a task");
        task_free(task);
    } else if (task->is_event) {
        (void)ack(task); /* workflows that are run here take none: the task must not begin anew */
    } else if (!sl_task_hold(task->server, task->id, task)) {
        start_task(task);
    }
}

void sl_tasks_pump(sl_flow_server *server)
{
    SL_ASSERT(server);
    bool any = true;
    while (any && !server->draining && server->task_count < server->max_tasks) {
        any = false;
        for (sl_flow_consumer *c = server->consumers; c && server->task_count < server->max_tasks; c = c->next) {
            sl_queue_message *message = NULL;
            if (!c->ready || !c->flow)
                continue;
            if (!sl_consumer_take(c, &message))
                continue;
            any = true;
            begin(c, message);
        }
    }
}

void sl_tasks_extend(sl_flow_server *server)
{
    for (sl_flow_task *t = server->tasks; t; t = t->next) {
        int error = sl_queue_extend(server->queue, t->message->id, t->message->lease, SL_FLOW_LEASE_MS);
        (void)error; /* a lease that was over: the run goes on, its second delivery finds it here */
    }
}

void sl_tasks_abandon(sl_flow_server *server)
{
    for (sl_flow_task *t = server->tasks; t; t = t->next)
        t->abandoned = t->recorded.done == NULL && t->told.deliver == NULL;
}

static const sl_flow_task *task_of(const sl_flow_server *server, sl_str id)
{
    const sl_flow_task *t = server->tasks;
    while (t && !sl_str_eq_c(id, t->id))
        t = t->next;
    return t;
}

void sl_task_overtaken(sl_flow_server *server, const char *id)
{
    SL_ASSERT(id);
    for (sl_flow_task *t = server->tasks, *next; t; t = next) {
        next = t->next;
        if (strcmp(t->id, id) != 0 || !t->run || t->abandoned || *t->home ||
            sl_flow_run_find(server->executor, sl_str_c(id)) != t->run)
            continue;
        t->overtaken = true;
        sl_flow_run_cancel(t->run);
    }
}

bool sl_task_is_here(const sl_flow_server *server, sl_str id)
{
    return task_of(server, id) != NULL;
}

uint64_t sl_task_put_ns(const sl_flow_server *server, sl_str id)
{
    const sl_flow_task *t = task_of(server, id);
    return t ? t->message->put_ns : 0;
}

bool sl_consumer_has_tasks(const sl_flow_server *server, const sl_flow_consumer *consumer)
{
    SL_ASSERT(consumer);
    const sl_flow_task *t = server->tasks;
    while (t && t->consumer != consumer)
        t = t->next;
    return t != NULL;
}
