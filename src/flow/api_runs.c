/* /workflows and /runs of the API server. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

#define MAX_LIST 1000u

/* ---- workflows ---- */

static json_t *problems_json(const sl_flow_problems *problems)
{
    SL_ASSERT(problems);
    json_t *list = json_array();
    for (size_t i = 0; i < problems->count; i++) {
        const sl_flow_problem *p = &problems->items[i];
        (void)json_array_append_new(list, json_pack("{s:i,s:i,s:s,s:s,s:s}", "line", (int)p->line, "column",
                                                    (int)p->column, "step", p->step, "severity",
                                                    p->warning ? "warning" : "error", "message", p->message));
    }
    return list;
}

static json_t *workflow_json(const sl_flow *flow)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:I}", "name", flow->name, "version", flow->version ? flow->version : "",
                     "description", flow->description ? flow->description : "", "hash", flow->hash, "steps",
                     (json_int_t)flow->step_total);
}

/* A workflow on its way to disk. */
typedef struct keeping {
    sl_api_request *request;
    sl_flow *flow;
    json_t *warnings;
    bool created;
} keeping;

static void workflow_kept(void *user, int error)
{
    keeping *k = user;
    sl_flow_server *server = sl_api_user(k->request);
    if (error) { /* it runs, but would be gone at the next start */
        sl_api_fail_code(k->request, error, "the workflow cannot be kept");
        json_decref(k->warnings);
    } else {
        sl_audit_add(server->audit, "workflow.create", sl_str_c(k->flow->name), sl_api_caller(k->request),
                     sl_str_c(k->flow->hash));
        json_t *answer = workflow_json(k->flow);
        (void)json_object_set_new(answer, "warnings", k->warnings);
        sl_api_reply(k->request, k->created ? 201 : 200, answer);
    }
    sl_api_unref(k->request);
    sl_flow_unref(k->flow);
    sl_free(k);
}

/* Takes the flow. */
static void take_workflow(sl_api_request *request, sl_flow *flow, const sl_flow_problems *problems)
{
    SL_ASSERT(flow);
    sl_flow_server *server = sl_api_user(request);
    keeping *k = sl_calloc(1, sizeof *k);
    if (!k) {
        sl_flow_unref(flow);
        sl_api_fail_code(request, SL_ENOMEM, "the workflow cannot be kept");
        return;
    }
    *k = (keeping){sl_api_ref(request), sl_flow_ref(flow), problems_json(problems), false};
    int error = sl_flows_add(server, flow, &k->created);
    if (!error)
        error = sl_flows_save(server, k->flow, workflow_kept, k);
    if (error)
        workflow_kept(k, error);
}

void sl_api_post_workflow(sl_api_request *request)
{
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    sl_flow *flow = NULL;
    if (!problems) {
        sl_api_fail_code(request, SL_ENOMEM, "the workflow cannot be read");
        return;
    }
    int error = sl_flow_load(sl_api_request_body(request), problems, &flow);
    if (!error) {
        take_workflow(request, flow, problems);
    } else if (error == SL_ECONFIG) {
        char text[96];
        (void)snprintf(text, sizeof text, "the workflow has %zu error%s", problems->errors,
                       problems->errors == 1 ? "" : "s");
        sl_executor_count_refused(((sl_flow_server *)sl_api_user(request))->executor);
        sl_api_reply(request, 400, json_pack("{s:s,s:o}", "detail", text, "problems", problems_json(problems)));
    } else {
        sl_api_fail_code(request, error, "the workflow cannot be read");
    }
    sl_free(problems);
}

void sl_api_list_workflows(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *names = json_array(), *details = json_array();
    for (sl_flow_consumer *c = server->consumers; c; c = c->next) {
        if (!c->flow || sl_flows_find(server, c->service) != c)
            continue;
        (void)json_array_insert_new(names, 0, json_string(c->flow->name));
        (void)json_array_insert_new(details, 0, workflow_json(c->flow));
    }
    /* Names, as clients of llama-agents read them. */
    sl_api_reply(request, 200, json_pack("{s:o,s:o}", "workflows", names, "details", details));
}

void sl_api_get_workflow(sl_api_request *request)
{
    sl_flow_consumer *c = sl_flows_find(sl_api_user(request), sl_api_param(request, 0));
    if (!c) {
        sl_api_fail(request, 404, "Workflow not found");
        return;
    }
    json_t *answer = workflow_json(c->flow);
    (void)json_object_set_new(answer, "source", json_stringn(c->flow->source, c->flow->source_len));
    sl_api_reply(request, 200, answer);
}

/* ---- making runs ---- */

/* Of a run that was there before. Empty: it cannot be read. */
static json_t *status_of(sl_flow_server *server, sl_str id)
{
    json_t *run = NULL;
    int error = sl_run_store_get(server->runs, id, &run);
    json_t *status = error ? NULL : json_incref(json_object_get(run, "status"));
    json_decref(run);
    return status ? status : json_string("");
}

static void run_made(void *user, int error, sl_str id, bool existed)
{
    sl_api_request *request = user;
    sl_flow_server *server = sl_api_user(request);
    if (error) {
        sl_task_refuse(request, error, "the run is not accepted");
    } else {
        sl_audit_add(server->audit, "run.create", id, sl_api_caller(request), sl_api_param(request, 0));
        sl_api_reply(request, 202,
                     json_pack("{s:s%,s:o,s:b}", "run_id", id.ptr, id.len, "status",
                               existed ? status_of(server, id) : json_string("queued"), "existed", existed));
    }
    sl_api_unref(request);
}

/* What a body may hold. False: answered. */
static bool read_run(sl_api_request *request, json_t *body, json_t **ret_inputs, sl_str *ret_key)
{
    json_t *inputs = json_object_get(body, "inputs"), *key = json_object_get(body, "idempotency_key");
    if (body && !json_is_object(body)) {
        sl_api_invalid(request, "body", "", "Input should be an object");
        return false;
    }
    if (inputs && !json_is_object(inputs) && !json_is_null(inputs)) {
        sl_api_invalid(request, "body", "inputs", "Input should be an object");
        return false;
    }
    if (key && !json_is_null(key) &&
        (!json_is_string(key) || json_string_length(key) > SL_QUEUE_MAX_KEY_BYTES || !json_string_length(key))) {
        sl_api_invalid(request, "body", "idempotency_key", "Input should be a text of 1 to 255 bytes");
        return false;
    }
    *ret_inputs = json_is_object(inputs) ? inputs : NULL;
    *ret_key = json_is_string(key) ? sl_str_of(json_string_value(key), json_string_length(key))
                                   : sl_api_header(request, SL_HTTP_IDEMPOTENCY_KEY);
    if (ret_key->len <= SL_QUEUE_MAX_KEY_BYTES && sl_utf8_valid(*ret_key))
        return true;
    sl_api_invalid(request, "header", "idempotency-key", "Input should be a text of at most 255 bytes in UTF-8");
    return false;
}

void sl_api_post_run(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_flow_consumer *c = sl_flows_find(server, sl_api_param(request, 0));
    json_t *body = NULL, *inputs;
    sl_str key;
    if (!c) {
        sl_api_fail(request, 404, "Workflow not found");
        return;
    }
    if (!sl_api_json(request, &body))
        return;
    if (read_run(request, body, &inputs, &key)) {
        sl_task_new task = {.service = c->service,
                            .topic = c->topic,
                            .flow = c->flow,
                            .inputs = inputs,
                            .idempotency_key = key,
                            .parent = sl_api_span(request)};
        sl_api_ref(request);
        int error = sl_task_make(server, &task, run_made, request);
        if (error) {
            sl_api_fail_code(request, error, "the run is not accepted");
            sl_api_unref(request);
        }
    }
    json_decref(body);
}

/* ---- reading runs ---- */

/* False: answered. */
static bool is_status(sl_api_request *request, sl_str status)
{
    sl_str rest = SL_STR("queued running succeeded failed cancelled"), name;
    while (status.len && sl_str_split(&rest, ' ', &name)) {
        if (sl_str_eq(status, name))
            return true;
    }
    if (status.len)
        sl_api_invalid(request, "query", "status",
                       "Input should be 'queued', 'running', 'succeeded', 'failed' or 'cancelled'");
    return !status.len;
}

void sl_api_list_runs(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_run_query query;
    uint64_t limit;
    json_t *runs = NULL;
    memset(&query, 0, sizeof query);
    if (!sl_api_query_u64(request, "limit", 100, MAX_LIST, &limit))
        return;
    (void)sl_api_query(request, "workflow", &query.workflow);
    (void)sl_api_query(request, "status", &query.status);
    (void)sl_api_query(request, "before", &query.before);
    if (!is_status(request, query.status))
        return;
    query.limit = limit ? limit : 1;
    int error = sl_run_store_list(server->runs, &query, &runs);
    if (error) {
        sl_api_fail_code(request, error, "the runs cannot be read");
        return;
    }
    json_t *last = json_array_size(runs) == query.limit ? json_array_get(runs, json_array_size(runs) - 1) : NULL;
    json_t *next = json_object_get(last, "run_id");
    sl_api_reply(request, 200, json_pack("{s:o,s:o}", "runs", runs, "next", next ? json_incref(next) : json_null()));
}

void sl_api_get_run(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str id = sl_api_param(request, 0);
    json_t *run = NULL;
    int error = sl_run_store_get(server->runs, id, &run);
    if (error == SL_ENOENT)
        sl_api_fail(request, 404, "Run not found");
    else if (error)
        sl_api_fail_code(request, error, "the run cannot be read");
    else
        sl_api_reply(request, 200, run);
}

void sl_api_get_events(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str id = sl_api_param(request, 0);
    uint64_t after = 0;
    json_t *run = NULL;
    if (!sl_api_query_u64(request, "after", 0, INT64_MAX, &after))
        return;
    int error = sl_run_store_get(server->runs, id, &run);
    json_decref(run);
    if (error == SL_ENOENT)
        sl_api_fail(request, 404, "Run not found");
    else if (error)
        sl_api_fail_code(request, error, "the run cannot be read");
    else
        sl_stream_start(server, request, id, after, SL_STREAM_FULL);
}

/* ---- changing runs ---- */

void sl_api_cancel_run(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str id = sl_api_param(request, 0);
    int error = sl_task_cancel(server, id);
    if (error == SL_ENOENT) {
        sl_api_fail(request, 404, "Run not found");
    } else if (error == SL_EEXIST) {
        sl_api_fail(request, 409, "the run has ended already");
    } else if (error) {
        sl_api_fail_code(request, error, "the run cannot be cancelled");
    } else {
        sl_audit_add(server->audit, "run.cancel", id, sl_api_caller(request), sl_str_of(NULL, 0));
        sl_api_reply(request, 202, json_pack("{s:s%,s:s}", "run_id", id.ptr, id.len, "status", "cancelled"));
    }
}

/* A run that failed or was cancelled: its steps that ended well are kept, the others run again. */
typedef struct resuming {
    sl_api_request *request;
    json_t *run; /* as it had ended */
    char id[SL_FLOW_ID_MAX];
} resuming;

static sl_str text_of(const json_t *run, const char *name)
{
    return sl_str_c(json_string_value(json_object_get(run, name)));
}

/* Its message is not in the queue: it has ended, as before. */
static void end_again(sl_flow_server *server, const resuming *r)
{
    json_t *outputs = json_object_get(r->run, "outputs");
    char *text = json_is_object(outputs) ? sl_json_text(outputs) : NULL;
    sl_run_end_row row = {.run_id = sl_str_c(r->id),
                          .status = text_of(r->run, "status"),
                          .error = text_of(r->run, "error"),
                          .error_type = text_of(r->run, "error_type"),
                          .outputs = sl_str_c(text ? text : "{}"),
                          .end_ns = sl_now_ns()};
    (void)json_object_del(server->left, r->id);
    sl_run_store_ended(server->runs, &row);
    sl_run_store_sent(server->runs, row.run_id);
    free(text);
}

static void resumed(void *user, int error)
{
    resuming *r = user;
    sl_api_request *request = r->request;
    sl_flow_server *server = sl_api_user(request);
    if (error) {
        end_again(server, r);
        sl_task_refuse(request, error, "the run cannot go on");
    } else {
        sl_audit_add(server->audit, "run.resume", sl_str_c(r->id), sl_api_caller(request), sl_str_of(NULL, 0));
        sl_api_reply(request, 202, json_pack("{s:s,s:s}", "run_id", r->id, "status", "queued"));
    }
    sl_api_unref(request);
    json_decref(r->run);
    sl_free(r);
}

static int put_left(void *user, const sl_run_left *left)
{
    resuming *r = user;
    sl_flow_server *server = sl_api_user(r->request);
    int error = sl_task_keep_left(server, left);
    return error ? error : sl_task_put_again(server, left, NULL, resumed, r);
}

static void resume_noted(void *user, int error)
{
    resuming *r = user;
    sl_flow_server *server = sl_api_user(r->request);
    if (!error)
        error = sl_run_store_one_left(server->runs, sl_str_c(r->id), put_left, r);
    if (error)
        resumed(r, error);
}

static void start_resume(sl_api_request *request, sl_str id, json_t *run)
{
    sl_flow_server *server = sl_api_user(request);
    resuming *r = sl_calloc(1, sizeof *r);
    if (!r || !sl_str_to_c(id, r->id, sizeof r->id)) {
        sl_free(r);
        sl_api_fail_code(request, SL_ENOMEM, "the run cannot go on");
        return;
    }
    r->request = sl_api_ref(request);
    r->run = json_incref(run);
    (void)json_object_del(server->cancelled, r->id);
    sl_run_store_reopen(server->runs, id);
    /* Comes behind the change of the run's status. */
    int error = sl_flow_store_put_then(server->store, "select 1", NULL, 0, resume_noted, r);
    if (error)
        resumed(r, error);
}

void sl_api_resume_run(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str id = sl_api_param(request, 0);
    json_t *run = NULL;
    int error = sl_run_store_get(server->runs, id, &run);
    const char *status = json_string_value(json_object_get(run, "status"));
    if (error == SL_ENOENT)
        sl_api_fail(request, 404, "Run not found");
    else if (error || !status)
        sl_api_fail_code(request, error ? error : SL_EIO, "the run cannot be read");
    else if (strcmp(status, "failed") != 0 && strcmp(status, "cancelled") != 0)
        sl_api_fail(request, 409, "the run is %s; only one that failed or was cancelled can be resumed", status);
    else
        start_resume(request, id, run);
    json_decref(run);
}
