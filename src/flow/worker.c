/* Leases, runs, and the letters home. */
#include "src/flow/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/flow/cancels.h"
#include "src/flow/executor.h"
#include "src/flow/letters.h"
#include "src/flow/server_mail.h"
#include "src/flow/server_replies.h"
#include "src/flow/worker_http.h"
#include "src/llm/json_text.h"
#include "src/queue/queue.h"
#include "src/wire/url.h"

#define DEFAULT_CONCURRENCY 8u
#define LEASE_MS 30000u
#define WAIT_S 20u
#define RETRY_MS 500u
#define ANSWERS "control_plane"
#define MAX_ID 64

typedef struct worker worker;

/* Tasks of one workflow. */
typedef struct source {
    worker *worker;
    sl_flow *flow;
    char topic[256];
    sl_ask *asking;
    sl_timer retry;
    sl_mail mail; /* of a cluster: there may be messages */
    bool mailed;
    int watch;
} source;

/* A message that waits for its turn to go home. */
typedef struct letter letter;
struct letter {
    letter *next;
    bool is_result;
    char key[SL_LETTER_KEY_BYTES];
    size_t len;
    char text[];
};

typedef struct job job;
struct job {
    job *next, **prev;
    worker *worker;
    source *source;
    char message[MAX_ID], lease[24];
    char id[MAX_ID], session[MAX_ID];
    char home[256]; /* topic where the server reads that has made the task */
    sl_flow_run *run;
    sl_span *process, *running;
    char trace[SL_TRACEPARENT_LEN + 1];
    letter *letters, **letters_end;
    sl_ask *sending, *extending;
    sl_queue_message *native; /* of a cluster; NULL: over HTTP */
    sl_mail mail;             /* what has become of a letter, or of the acknowledgement */
    int outcome;
    bool busy, acking; /* the cluster has not answered yet */
    sl_timer retry;
    uint64_t events, last_seq; /* of an earlier run of the task */
    json_t *steps;             /* that have ended there; NULL: none is known */
    bool ended;                /* the last letter is written */
    bool lost;                 /* or there was no memory for it: the task is given back */
};

struct worker {
    const sl_flow_worker_options *o;
    sl_loop *loop;
    sl_executor *executor;
    sl_tracer *tracer;
    sl_queue *queue; /* a cluster; NULL: over HTTP */
    sl_mailbox box;
    sl_cancels *cancels;
    pthread_mutex_t lock; /* of `mailed` */
    sl_origin *origin;
    sl_url url;
    char base[512]; /* path of the URL, without a '/' at its end */
    const char *topics;
    source *sources;
    job *jobs;
    size_t job_count, concurrency;
    uint32_t lease_ms;
    sl_timer keep;
    uv_signal_t signals[2], hup;
    uv_timer_t deadline;
    bool draining;
};

/* ---- requests ---- */

static sl_ask *ask(worker *w, const char *path, sl_str body, sl_str trace, sl_str key, uint32_t wait_ms, sl_ask_fn fn,
                   void *user)
{
    SL_ASSERT(path);
    char full[2048];
    (void)snprintf(full, sizeof full, "%s%s", w->base, path);
    sl_ask_options o = {.origin = w->origin,
                        .authority = w->url.authority,
                        .path = sl_str_c(full),
                        .key = w->o->key,
                        .body = body,
                        .traceparent = trace,
                        .idempotency_key = key,
                        .wait_ms = wait_ms,
                        .fn = fn,
                        .user = user};
    return sl_ask_start(&o);
}

static void ignore(void *user, int status, json_t *answer)
{
    (void)user;
    (void)status;
    (void)answer;
}

/* "/queues/messages/{id}/{what}?lease=…" */
static sl_ask *settle(job *j, const char *what, const char *more, sl_ask_fn fn, void *user)
{
    char path[512];
    (void)snprintf(path, sizeof path, "/queues/messages/%s/%s?lease=%s%s", j->message, what, j->lease, more);
    return ask(j->worker, path, sl_str_of(NULL, 0), sl_str_of(NULL, 0), sl_str_of(NULL, 0), 30000, fn, user);
}

/* Gives the message back; nobody waits for that. */
static void nack(job *j, uint64_t delay_ms, bool dead, const char *reason)
{
    char more[64];
    if (j->native) {
        int error = sl_queue_nack(j->worker->queue, j->native->id, j->native->lease, delay_ms, dead, sl_str_c(reason));
        (void)error;
        return;
    }
    (void)snprintf(more, sizeof more, "&delay=%u%s", (unsigned)(delay_ms / 1000), dead ? "&dead=true" : "");
    if (*j->message)
        (void)settle(j, "nack", more, ignore, NULL);
}

/* ---- ends ---- */

static void take(worker *w);

static void job_free(job *j)
{
    worker *w = j->worker;
    *j->prev = j->next;
    if (j->next)
        j->next->prev = j->prev;
    w->job_count--;
    while (j->letters) {
        letter *l = j->letters;
        j->letters = l->next;
        sl_free(l);
    }
    sl_ask_cancel(j->sending);
    sl_ask_cancel(j->extending);
    sl_timer_stop(w->loop, &j->retry);
    sl_span_end(j->running);
    sl_span_end(j->process);
    sl_flow_run_unref(j->run);
    json_decref(j->steps);
    sl_queue_message_free(j->native);
    sl_free(j);
    if (w->draining && w->job_count == 0)
        uv_stop(&w->loop->uv);
    else
        take(w);
}

static void on_acked(void *user, int status, json_t *answer)
{
    job *j = user;
    (void)status; /* 409: the lease was over; the task's next run is seen to have ended */
    (void)answer;
    j->sending = NULL;
    job_free(j);
}

/* ---- letters home ---- */

static void send_next(job *j);
static void tell_too_big(job *j, size_t len);

/* The first letter has gone, or will never. */
static void drop_letter(job *j)
{
    letter *l = j->letters;
    j->letters = l->next;
    if (!j->letters)
        j->letters_end = &j->letters;
    sl_free(l);
}

/* No queue will ever take it: an event is left out, in the place of a result its size is told. */
static void refused(job *j)
{
    bool is_result = j->letters->is_result;
    size_t len = j->letters->len;
    drop_letter(j);
    if (is_result)
        tell_too_big(j, len);
    send_next(j);
}

static void on_retry(sl_timer *timer)
{
    job *j = (job *)(void *)((char *)timer - offsetof(job, retry));
    if (j->lost && !j->letters) {
        nack(j, 1000, false, "no memory for its result");
        job_free(j);
    } else {
        send_next(j);
    }
}

static void on_sent(void *user, int status, json_t *answer)
{
    job *j = user;
    (void)answer;
    j->sending = NULL;
    if (status >= 200 && status < 300) {
        drop_letter(j);
        send_next(j);
        return;
    }
    if (status == 413 || status == 422) {
        refused(j);
        return;
    }
    sl_timer_set(j->worker->loop, &j->retry, on_retry, RETRY_MS);
}

/* ---- the same, to a cluster ---- */

static void on_native(sl_mail *mail)
{
    job *j = (job *)(void *)((char *)mail - offsetof(job, mail));
    j->busy = false;
    if (j->acking)
        on_acked(j, 200, NULL);
    else
        on_sent(j, j->outcome ? 0 : 201, NULL);
}

static void native_put(void *user, int error, const sl_queue_accepted *accepted)
{
    job *j = user;
    (void)accepted;
    j->outcome = error;
    sl_mailbox_post(&j->worker->box, &j->mail);
}

static void native_acked(void *user, int error)
{
    job *j = user;
    (void)error;
    sl_mailbox_post(&j->worker->box, &j->mail);
}

static void send_native(job *j)
{
    worker *w = j->worker;
    int error = 0;
    j->mail.deliver = on_native;
    if (j->letters) {
        sl_queue_put put = {.topic = sl_str_c(j->home),
                            .body = sl_str_of(j->letters->text, j->letters->len),
                            .idempotency_key = sl_str_c(j->letters->key),
                            .trace = sl_str_c(j->trace)};
        j->busy = true;
        error = sl_queue_put_start(w->queue, &put, native_put, j);
    } else if (j->ended) {
        j->busy = j->acking = true;
        error = sl_queue_ack(w->queue, j->native->id, j->native->lease, native_acked, j);
    }
    if (!error)
        return;
    j->busy = false;
    if (j->acking)
        job_free(j); /* the lease was over */
    else if (error == SL_ETOOBIG || error == SL_EINVAL)
        refused(j);
    else
        sl_timer_set(w->loop, &j->retry, on_retry, RETRY_MS);
}

/* Topics may hold what a path cannot. */
static void home_path(const job *j, char *path, size_t size)
{
    sl_buf coded;
    sl_buf_init(&coded, size);
    (void)sl_ask_put_segment(&coded, sl_str_c(j->home));
    (void)snprintf(path, size, "/queues/%.*s/messages", (int)coded.len, coded.data ? coded.data : "");
    sl_buf_done(&coded);
}

static void send_next(job *j)
{
    worker *w = j->worker;
    char path[1024];
    if (j->sending || j->busy)
        return;
    if (j->lost && !j->letters) {
        sl_timer_set(w->loop, &j->retry, on_retry, RETRY_MS);
        return;
    }
    if (j->native) {
        send_native(j);
        return;
    }
    if (j->letters) {
        home_path(j, path, sizeof path);
        j->sending = ask(w, path, sl_str_of(j->letters->text, j->letters->len), sl_str_c(j->trace),
                         sl_str_c(j->letters->key), 30000, on_sent, j);
    } else if (j->ended) {
        j->sending = settle(j, "ack", "", on_acked, j);
    } else {
        return;
    }
    if (!j->sending)
        sl_timer_set(w->loop, &j->retry, on_retry, RETRY_MS);
}

/* Takes `data`. */
static void write_letter(job *j, const char *action, json_t *data, const char *key)
{
    SL_ASSERT(action && key);
    char time[SL_RFC3339_MS_LEN + 1], trace_id[33] = "", span_id[17] = "", id[SL_FLOW_RUN_ID_BYTES];
    sl_span_context c;
    if (j->lost) {
        json_decref(data);
        return;
    }
    sl_rfc3339_ms(sl_now_ns(), time);
    sl_span_get_context(j->process, &c);
    sl_hex_encode(c.trace_id, sizeof c.trace_id, trace_id);
    sl_hex_encode(c.span_id, sizeof c.span_id, span_id);
    sl_flow_run_new_id(id);
    json_t *message =
        json_pack("{s:s,s:s,s:s,s:s,s:{s:s,s:n,s:n,s:s,s:s},s:o}", "id_", id, "publisher_id", "sightline-worker",
                  "type", ANSWERS, "action", action, "stats", "publish_time", time, "process_start_time",
                  "process_end_time", "trace_id", trace_id, "span_id", span_id, "data", data);
    char *text = message ? sl_json_text(message) : NULL;
    size_t len = text ? strlen(text) : 0;
    letter *l = text ? sl_calloc(1, sizeof *l + len + 1) : NULL;
    if (l) {
        memcpy(l->text, text, len);
        l->len = len;
        l->is_result = strcmp(key, "result") == 0;
        if (l->is_result)
            sl_replies_result_key(j->id, j->last_seq, l->key, sizeof l->key);
        else
            (void)snprintf(l->key, sizeof l->key, "%s:%s", j->id, key);
        *j->letters_end = l;
        j->letters_end = &l->next;
    } else if (strcmp(key, "result") == 0) {
        j->lost = true;
    }
    free(text);
    json_decref(message);
}

/* Takes `data`. */
static void write_home(job *j, const char *action, json_t *data, const char *key)
{
    write_letter(j, action, data, key);
    send_next(j);
}

static void tell_too_big(job *j, size_t len)
{
    char error[160];
    (void)snprintf(error, sizeof error, "the result is too large to be sent: %zu bytes; a message holds at most %u",
                   len, SL_QUEUE_MAX_BODY_BYTES);
    json_t *data = json_pack("{s:s,s:{},s:s,s:s}", "status", "failed", "outputs", "error", error, "error_type",
                             sl_step_error_name(SL_STEP_ERROR_TOO_BIG));
    write_letter(j, "completed_task",
                 json_pack("{s:s,s:[],s:s,s:o}", "task_id", j->id, "history", "result", error, "data", data), "result");
}

/* ---- runs ---- */

static sl_span *span_of(worker *w, const char *name, const sl_span *parent, const sl_span_context *remote)
{
    sl_span_options options = {.parent = parent, .parent_context = remote, .root = !parent && !remote};
    return sl_span_start(w->tracer, sl_str_c(name), &options);
}

static void write_result(job *j)
{
    SL_ASSERT(j->run);
    bool good = sl_flow_run_status(j->run) == SL_RUN_SUCCEEDED;
    size_t failures = sl_mem_failures();
    json_t *outputs = sl_flow_run_outputs(j->run);
    char *text = outputs ? sl_json_text(outputs) : NULL;
    const char *error = sl_flow_run_error(j->run);
    const char *type = sl_step_error_name(sl_flow_run_error_type(j->run));
    json_t *data = json_pack("{s:s,s:o}", "status", sl_run_status_name(sl_flow_run_status(j->run)), "outputs",
                             outputs ? outputs : json_object());
    if (!good) {
        (void)json_object_set_new(data, "error", json_string(error));
        (void)json_object_set_new(data, "error_type", json_string(type));
        sl_span_set_str(j->process, "error.occurred", "True");
        sl_span_set_str(j->process, "error.type", type);
        sl_span_set_str(j->process, "error.message", error);
        sl_span_set_status(j->process, SL_STATUS_ERROR, error);
    }
    sl_span_set_str(j->process, "success", good ? "True" : "False");
    sl_span_set_str(j->process, "workflow.result.type", good ? "dict" : "error");
    sl_span *publish =
        span_of(j->worker, good ? "workflow.result.publish" : "workflow.error.publish", j->process, NULL);
    j->ended = true;
    j->lost = sl_mem_failures() != failures; /* no result that lacks something */
    write_home(j, "completed_task",
               json_pack("{s:s,s:[],s:s,s:o}", "task_id", j->id, "history", "result", good && text ? text : error,
                         "data", data),
               "result");
    sl_span_end(publish);
    sl_span_end(j->running);
    sl_span_end(j->process);
    j->running = j->process = NULL;
    free(text);
}

static void on_event(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    job *j = user;
    char key[24];
    if (!j->run)
        j->run = sl_flow_run_ref(run);
    if (j->ended)
        return;
    json_t *body = sl_flow_event_json(run, event);
    sl_span *span = span_of(j->worker, "workflow.event.publish", j->process, NULL);
    sl_span_set_int(span, "event.index", (int64_t)j->events);
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)event->seq);
    json_t *data =
        json_pack("{s:s,s:s,s:I,s:o,s:o*}", "task_id", j->id, "session_id", j->session, "index",
                  (json_int_t)j->events++, "data", body ? body : json_object(), "step", sl_letter_step(event));
    write_home(j, "task_stream", data, key);
    sl_span_end(span);
    if (event->kind == SL_FLOW_RUN_ENDED)
        write_result(j);
}

static void start_spans(job *j, const char *traceparent)
{
    sl_span_context remote, own;
    bool known = traceparent && sl_traceparent_parse(sl_str_c(traceparent), &remote) == 0;
    j->process = span_of(j->worker, "workflow.process_call", NULL, known ? &remote : NULL);
    sl_span_set_str(j->process, "task.id", j->id);
    sl_span_set_str(j->process, "task.session_id", *j->session ? j->session : "none");
    sl_span_set_str(j->process, "workflow.service_name", j->source->flow->name);
    sl_span_add_event(j->process, SL_STR("workflow.execution.starting"), 0, NULL, 0);
    j->running = span_of(j->worker, "workflow.run", j->process, NULL);
    sl_span_set_str(j->running, "task.id", j->id);
    sl_span_get_context(j->process, &own);
    if (sl_span_context_is_valid(&own))
        sl_traceparent_format(&own, j->trace);
    else if (known)
        (void)snprintf(j->trace, sizeof j->trace, "%s", traceparent);
}

/* Reads what came over HTTP: whose message it is, and its body. Empty: it is none. */
static sl_str read_message(job *j, json_t *message)
{
    const char *id = NULL, *body = NULL, *lease = NULL;
    if (json_unpack(message, "{s:s,s:s,s:s}", "id", &id, "lease", &lease, "body", &body) != 0 ||
        strlen(id) >= sizeof j->message || strlen(lease) >= sizeof j->lease)
        return sl_str_of(NULL, 0);
    (void)snprintf(j->message, sizeof j->message, "%s", id);
    (void)snprintf(j->lease, sizeof j->lease, "%s", lease);
    return sl_str_c(body);
}

/* Reads the QueueMessage `root`. The inputs; NULL: it is none. */
static json_t *read_task(job *j, const json_t *root)
{
    const char *task = NULL, *input = NULL;
    json_t *inputs = NULL;
    json_t *data = json_object_get(root, "data");
    if (json_unpack(data, "{s:s,s:s}", "task_id", &task, "input", &input) == 0 && strlen(task) < sizeof j->id) {
        const char *session = json_string_value(json_object_get(data, "session_id"));
        (void)snprintf(j->id, sizeof j->id, "%s", task);
        (void)snprintf(j->session, sizeof j->session, "%s", session ? session : "");
        json_int_t last = json_integer_value(json_object_get(data, "last_seq"));
        j->last_seq = last > 0 ? (uint64_t)last : 0;
        json_t *steps = json_object_get(data, "steps");
        j->steps = json_is_object(steps) ? json_incref(steps) : NULL;
        const char *home = json_string_value(json_object_get(data, "answer_topic"));
        if (sl_replies_is_topic(j->worker->topics, home))
            (void)snprintf(j->home, sizeof j->home, "%s", home);
        else
            (void)snprintf(j->home, sizeof j->home, "%s." ANSWERS, j->worker->topics);
        inputs = sl_json_load(sl_str_c(input), 0, NULL);
        if (!json_is_object(inputs)) {
            json_decref(inputs);
            inputs = json_object();
        }
    }
    return inputs;
}

/*
 * True: the message has come again, and the server of a cluster that has made the task knows what its steps gave: it
 * puts another one in its place. Over HTTP the queue's server has looked already.
 */
static bool hand_over(job *j, const json_t *root)
{
    SL_ASSERT(j && *j->id);
    const sl_queue_message *m = j->native;
    char key[SL_LETTER_KEY_BYTES];
    sl_letter_place place;
    const char *home = json_string_value(json_object_get(json_object_get(root, "data"), "answer_topic"));
    if (!m || m->delivery < 2 || !home || strcmp(home, j->home) != 0)
        return false;
    sl_letter_place_of(sl_str_c(j->id), m->idempotency_key, m->delivery, root, &place);
    json_t *data = sl_letter_again(j->id, &place, key);
    (void)sl_str_to_c(m->trace, j->trace, sizeof j->trace);
    write_letter(j, SL_LETTER_AGAIN, data, key + strlen(j->id) + 1);
    if (j->letters) {
        j->ended = true;
        send_next(j);
    } else {
        nack(j, 1000, false, "out of memory");
        job_free(j);
    }
    return true;
}

/* NULL: no memory. Takes `native` otherwise. */
static job *job_new(source *s, sl_queue_message *native)
{
    SL_ASSERT(s);
    worker *w = s->worker;
    job *j = sl_calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->worker = w;
    j->native = native;
    j->source = s;
    j->letters_end = &j->letters;
    j->next = w->jobs;
    j->prev = &w->jobs;
    if (j->next)
        j->next->prev = &j->next;
    w->jobs = j;
    w->job_count++;
    return j;
}

static void run_task(job *j, json_t *inputs, json_t *message)
{
    SL_ASSERT(inputs && !message == !!j->native);
    source *s = j->source;
    const sl_queue_message *native = j->native;
    char trace[SL_TRACEPARENT_LEN + 1] = "";
    if (native)
        (void)sl_str_to_c(native->trace, trace, sizeof trace);
    start_spans(j, native ? trace : json_string_value(json_object_get(message, "traceparent")));
    sl_span_context parent;
    sl_span_get_context(j->running, &parent);
    sl_flow_run_options options = {.run_id = sl_str_c(j->id),
                                   .parent = sl_span_context_is_valid(&parent) ? &parent : NULL,
                                   .resume = j->steps,
                                   .last_seq = j->last_seq,
                                   .on_event = on_event,
                                   .user = j};
    int error = sl_flow_run_start(s->worker->executor, s->flow, inputs, &options, NULL);
    if (error) {
        if (error != SL_EEXIST) /* it runs here already: a lease was over too early */
            nack(j, 1000, false, sl_strerror(error));
        job_free(j);
    }
}

/* One of the two. Takes `native`. */
static void begin(source *s, json_t *message, sl_queue_message *native)
{
    SL_ASSERT(s && !message == !!native);
    job *j = job_new(s, native);
    if (!j) { /* its lease ends, and it comes again */
        sl_queue_message_free(native);
        return;
    }
    size_t failures = sl_mem_failures();
    sl_str body = native ? native->body : read_message(j, message);
    json_t *root = body.len ? sl_json_load(body, 0, NULL) : NULL;
    json_t *inputs = read_task(j, root);
    bool starved = sl_mem_failures() != failures; /* what was read of it may not be all */
    if (!inputs || starved) {
        nack(j, starved ? 1000 : 0, !starved, starved ? "out of memory" : "not a task");
        job_free(j);
    } else if (!hand_over(j, root)) {
        run_task(j, inputs, message);
    }
    json_decref(inputs);
    json_decref(root);
}

/* ---- leases ---- */

static void on_source_retry(sl_timer *timer)
{
    source *s = (source *)(void *)((char *)timer - offsetof(source, retry));
    take(s->worker);
}

static void on_leased(void *user, int status, json_t *answer)
{
    source *s = user;
    worker *w = s->worker;
    json_t *message;
    size_t i;
    s->asking = NULL;
    if (status != 200) {
        sl_timer_set(w->loop, &s->retry, on_source_retry, RETRY_MS);
        return;
    }
    json_array_foreach(json_object_get(answer, "messages"), i, message)
    {
        begin(s, message, NULL);
    }
    take(w);
}

/* From a thread of the cluster's client. */
static void on_ready(void *user)
{
    source *s = user;
    worker *w = s->worker;
    pthread_mutex_lock(&w->lock);
    bool post = !s->mailed;
    s->mailed = true;
    pthread_mutex_unlock(&w->lock);
    if (post)
        sl_mailbox_post(&w->box, &s->mail);
}

static void on_ready_mail(sl_mail *mail)
{
    source *s = (source *)(void *)((char *)mail - offsetof(source, mail));
    pthread_mutex_lock(&s->worker->lock);
    s->mailed = false;
    pthread_mutex_unlock(&s->worker->lock);
    take(s->worker);
}

static void take_native(worker *w)
{
    for (size_t i = 0; i < w->o->flow_count && !w->draining; i++) {
        sl_queue_message *message = NULL;
        while (!w->draining && w->job_count < w->concurrency &&
               sl_queue_take(w->queue, sl_str_c(w->sources[i].topic), w->lease_ms, &message) == 0)
            begin(&w->sources[i], NULL, message);
    }
}

/* Asks for as much work as there is room for. */
static void take(worker *w)
{
    if (w->queue) {
        take_native(w);
        return;
    }
    for (size_t i = 0; i < w->o->flow_count && !w->draining; i++) {
        source *s = &w->sources[i];
        sl_buf path;
        if (s->asking || w->job_count >= w->concurrency || s->retry.prev)
            continue;
        sl_buf_init(&path, 1024);
        (void)sl_buf_put_c(&path, "/queues/");
        (void)sl_ask_put_segment(&path, sl_str_c(s->topic));
        (void)sl_buf_printf(&path, "/lease?wait=%u&lease=%u.%03u&max=%zu", WAIT_S, w->lease_ms / 1000,
                            w->lease_ms % 1000, w->concurrency - w->job_count);
        (void)sl_buf_put_char(&path, 0);
        if (!path.failed)
            s->asking = ask(w, path.data, sl_str_of(NULL, 0), sl_str_of(NULL, 0), sl_str_of(NULL, 0),
                            (WAIT_S + 20) * 1000, on_leased, s);
        sl_buf_done(&path);
    }
}

/* The queue says with it when the task has been cancelled. */
static void on_extended(void *user, int status, json_t *answer)
{
    job *j = user;
    j->extending = NULL;
    if (status == 200 && json_is_true(json_object_get(answer, "cancelled")) && j->run && !j->ended)
        sl_flow_run_cancel(j->run);
}

/* A server of the cluster has cancelled it: the run may be here. */
static void on_cancel(void *user, sl_str task, uint64_t until_ns)
{
    const worker *w = user;
    const job *j = w->jobs;
    while (j && !(sl_str_eq_c(task, j->id) && j->run && !j->ended))
        j = j->next;
    if (j && j->native && j->native->put_ns <= until_ns)
        sl_flow_run_cancel(j->run);
}

static void on_keep(sl_timer *timer)
{
    worker *w = (worker *)(void *)((char *)timer - offsetof(worker, keep));
    char more[32];
    (void)snprintf(more, sizeof more, "&seconds=%u.%03u", w->lease_ms / 1000, w->lease_ms % 1000);
    for (job *j = w->jobs; j; j = j->next) {
        int error = 0;
        if (j->native)
            error = sl_queue_extend(w->queue, j->native->id, j->native->lease, w->lease_ms);
        else if (!j->extending)
            j->extending = settle(j, "extend", more, on_extended, j);
        (void)error; /* a lease that was over: the result comes twice, and counts once */
    }
    if (w->o->services->llm)
        sl_llm_client_sweep(w->o->services->llm);
    sl_timer_set(w->loop, &w->keep, on_keep, w->lease_ms / 3);
}

/* ---- the process ---- */

static void on_deadline(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

/* The first one lets runs end, the second one does not. */
static void on_signal(uv_signal_t *handle, int number)
{
    worker *w = handle->data;
    (void)number;
    if (w->draining || w->job_count == 0) {
        uv_stop(&w->loop->uv);
        return;
    }
    w->draining = true;
    for (size_t i = 0; i < w->o->flow_count; i++) {
        sl_ask_cancel(w->sources[i].asking);
        w->sources[i].asking = NULL;
    }
    if (w->o->drain_timeout_ms)
        (void)uv_timer_start(&w->deadline, on_deadline, w->o->drain_timeout_ms, 0);
}

/* Steps that start from now on use the models of the configuration as it is. */
static void on_hup(uv_signal_t *handle, int number)
{
    worker *w = handle->data;
    (void)number;
    if (!w->draining && sl_flow_models_reload(w->o->services, w->o->reload, w->o->user) == SL_ENOMEM)
        (void)fprintf(stderr, "sightline: flow worker: reload: the models stay as they are: out of memory\n");
}

static void open_signals(worker *w)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < 2; i++) {
        (void)uv_signal_init(&w->loop->uv, &w->signals[i]);
        w->signals[i].data = w;
        (void)uv_signal_start(&w->signals[i], on_signal, numbers[i]);
    }
    if (!w->o->reload)
        return;
    (void)uv_signal_init(&w->loop->uv, &w->hup);
    w->hup.data = w;
    (void)uv_signal_start(&w->hup, on_hup, SIGHUP);
}

static int open_cluster(worker *w)
{
    char reason[512] = "";
    sl_queue_nats_options o = {.url = w->o->queue_url, .ack_wait_ms = w->lease_ms};
    int error = sl_queue_nats_open(&o, reason, sizeof reason, &w->queue);
    if (error)
        (void)fprintf(stderr, "sightline: flow worker: %s\n", *reason ? reason : sl_strerror(error));
    else if ((error = sl_mailbox_init(&w->box, w->loop)) == 0 && pthread_mutex_init(&w->lock, NULL) != 0)
        error = SL_ENOMEM;
    if (!error)
        error = sl_cancels_new(w->queue, &w->box, w->topics, on_cancel, w, &w->cancels);
    return error;
}

static int open_http(worker *w)
{
    const sl_flow_worker_options *o = w->o;
    if (sl_url_parse(sl_str_c(o->queue_url), &w->url, NULL) != 0)
        return SL_EINVAL;
    (void)sl_str_to_c(w->url.path, w->base, sizeof w->base);
    if (w->url.path.len && w->base[strlen(w->base) - 1] == '/')
        w->base[strlen(w->base) - 1] = 0;
    sl_origin_options origin = {.host = w->url.host, .port = w->url.port, .tls = w->url.tls, .ca_file = o->ca_file};
    return sl_upstream_origin(o->services->upstream, &origin, &w->origin);
}

static int open_worker(worker *w)
{
    const sl_flow_worker_options *o = w->o;
    bool cluster = strncmp(o->queue_url, "nats://", 7) == 0 || strncmp(o->queue_url, "tls://", 6) == 0;
    int error = cluster ? open_cluster(w) : open_http(w);
    if (error)
        return error;
    sl_executor_options executor = {.services = o->services, .max_runs = w->concurrency};
    error = sl_executor_new(&executor, &w->executor);
    if (error)
        return error;
    open_signals(w);
    (void)uv_timer_init(&w->loop->uv, &w->deadline);
    for (size_t i = 0; i < o->flow_count; i++) {
        w->sources[i].worker = w;
        w->sources[i].flow = o->flows[i];
        if ((size_t)snprintf(w->sources[i].topic, sizeof w->sources[i].topic, "%s.%s", w->topics, o->flows[i]->name) >=
            sizeof w->sources[i].topic)
            return SL_ETOOBIG;
        w->sources[i].watch = -1;
        w->sources[i].mail.deliver = on_ready_mail;
        if (w->queue)
            w->sources[i].watch = sl_queue_watch(w->queue, sl_str_c(w->sources[i].topic), on_ready, &w->sources[i]);
        if (w->queue && w->sources[i].watch < 0)
            return w->sources[i].watch;
    }
    return 0;
}

/* Tasks that have not ended go back; their queue gives them to others at once. */
static void give_back(worker *w)
{
    for (job *j = w->jobs; j; j = j->next) {
        j->ended = true; /* no more letters */
        nack(j, 0, false, "its worker ends");
    }
    uint64_t until = sl_mono_ns() + 300000000u;
    while (w->jobs && sl_mono_ns() < until)
        if (uv_run(&w->loop->uv, UV_RUN_NOWAIT) == 0)
            break;
}

static void close_worker(worker *w)
{
    w->draining = true;
    sl_timer_stop(w->loop, &w->keep);
    for (size_t i = 0; i < w->o->flow_count; i++) {
        sl_ask_cancel(w->sources[i].asking);
        sl_timer_stop(w->loop, &w->sources[i].retry);
    }
    give_back(w);
    if (w->executor)
        sl_executor_close(w->executor, false);
    for (size_t i = 0; w->queue && i < w->o->flow_count; i++) {
        if (w->sources[i].watch >= 0)
            sl_queue_unwatch(w->queue, w->sources[i].watch);
    }
    if (w->queue)
        sl_queue_close(w->queue); /* what is under way is told of: nobody uses the jobs afterwards */
    w->queue = NULL;
    sl_cancels_free(w->cancels);
    w->cancels = NULL;
    while (w->jobs)
        job_free(w->jobs);
    sl_mailbox_close(&w->box);
    for (size_t i = 0; i < 2; i++) {
        if (w->signals[i].loop)
            uv_close((uv_handle_t *)&w->signals[i], NULL);
    }
    if (w->hup.loop)
        uv_close((uv_handle_t *)&w->hup, NULL);
    if (w->deadline.loop)
        uv_close((uv_handle_t *)&w->deadline, NULL);
    (void)uv_run(&w->loop->uv, UV_RUN_NOWAIT);
    sl_executor_free(w->executor);
}

int sl_flow_worker_run(const sl_flow_worker_options *options)
{
    SL_ASSERT(options && options->services && options->flow_count > 0);
    worker w = {.o = options, .loop = options->loop};
    w.topics = sl_flow_namespace();
    if (!w.topics)
        return SL_ECONFIG;
    w.concurrency = options->concurrency ? options->concurrency : DEFAULT_CONCURRENCY;
    w.lease_ms = options->lease_ms ? options->lease_ms : LEASE_MS;
    w.tracer = options->sdk ? sl_tracer_named(options->sdk, "sightline.workflow") : NULL;
    w.sources = sl_calloc(options->flow_count, sizeof *w.sources);
    if (!w.sources)
        return SL_ENOMEM;
    int error = open_worker(&w);
    if (!error) {
        take(&w);
        sl_timer_set(w.loop, &w.keep, on_keep, w.lease_ms / 3);
        if (options->on_ready)
            options->on_ready(options->user);
        (void)uv_run(&w.loop->uv, UV_RUN_DEFAULT);
    }
    close_worker(&w);
    sl_free(w.sources);
    return error;
}
