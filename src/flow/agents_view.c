/* Runs and events as clients of llama-agents read them. */
#include "src/flow/agents_view.h"

#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/flow/fault.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

#define THEIRS "workflows.events."
#define OURS "sightline.events."
#define WHY_BYTES 512

static bool is(sl_str text, const char *word)
{
    return sl_str_eq_c(text, word);
}

const char *sl_agents_status(sl_str status)
{
    if (is(status, "succeeded"))
        return "completed";
    if (is(status, "failed"))
        return "failed";
    return is(status, "cancelled") ? "cancelled" : "running";
}

const char *sl_agents_stored_statuses(sl_str status)
{
    if (is(status, "running"))
        return "queued running";
    if (is(status, "completed"))
        return "succeeded";
    if (is(status, "failed"))
        return "failed";
    return is(status, "cancelled") ? "cancelled" : NULL;
}

/* ---- a handler ---- */

/* "2026-11-21T13:37:06.035590+00:00"; 0: null. */
static json_t *time_json(uint64_t ns)
{
    char text[SL_RFC3339_MS_LEN + 1], whole[SL_RFC3339_MS_LEN + 16];
    if (!ns)
        return json_null();
    sl_rfc3339_ms(ns, text);
    text[SL_RFC3339_MS_LEN - 1] = 0; /* the Z */
    (void)snprintf(whole, sizeof whole, "%s%03u+00:00", text, (unsigned)(ns / 1000 % 1000));
    return json_string(whole);
}

static json_t *text_json(sl_str text)
{
    return json_stringn(text.ptr ? text.ptr : "", text.len);
}

/* Takes the value. `parent`: the class it is of, or NULL. */
static json_t *envelope(const char *module, const char *type, const char *parent, json_t *value)
{
    SL_ASSERT(module && type);
    char name[128];
    (void)snprintf(name, sizeof name, "%s%s", module, type);
    return json_pack("{s:o,s:s,s:s,s:o}", "value", value, "qualified_name", name, "type", type, "types",
                     parent ? json_pack("[s]", parent) : json_null());
}

static bool has_ended(const sl_agents_row *row)
{
    return strcmp(sl_agents_status(row->status), "running") != 0;
}

json_t *sl_agents_handler(const sl_agents_row *row)
{
    SL_ASSERT(row);
    const char *status = sl_agents_status(row->status);
    bool failed = strcmp(status, "failed") == 0, good = strcmp(status, "completed") == 0;
    uint64_t updated_ns = row->ended_ns ? row->ended_ns : row->started_ns ? row->started_ns : row->created_ns;
    json_t *handler = json_object();
    (void)json_object_set_new(handler, "handler_id", text_json(row->handler));
    (void)json_object_set_new(handler, "workflow_name", text_json(row->workflow));
    (void)json_object_set_new(handler, "run_id", text_json(row->run));
    (void)json_object_set_new(handler, "error", failed ? text_json(row->error) : json_null());
    (void)json_object_set_new(handler, "result", good ? sl_agents_stop(row) : json_null());
    (void)json_object_set_new(handler, "result_unreadable", json_false());
    (void)json_object_set_new(handler, "status", json_string(status));
    (void)json_object_set_new(handler, "started_at", time_json(row->created_ns ? row->created_ns : 1));
    (void)json_object_set_new(handler, "updated_at", time_json(updated_ns));
    (void)json_object_set_new(handler, "completed_at", time_json(has_ended(row) ? updated_ns : 0));
    return handler;
}

/* ---- the last event ---- */

static json_t *result_of(sl_str outputs)
{
    json_t *all = outputs.len ? sl_json_load(outputs, 0, NULL) : NULL;
    json_t *result = sl_result_value(all);
    json_decref(all);
    return result;
}

static json_t *failed_value(const sl_agents_row *row)
{
    SL_ASSERT(row);
    sl_str type = row->error_type.len ? row->error_type : SL_STR("failed");
    uint64_t all_ns = row->ended_ns > row->created_ns ? row->ended_ns - row->created_ns : 0;
    uint64_t ns = row->failed_step.len ? row->failed_ns : all_ns;
    return json_pack("{s:o,s:{s:o,s:o},s:I,s:f}", "step_name", text_json(row->failed_step), "exception",
                     "exception_type", text_json(type), "exception_message", text_json(row->error), "attempts",
                     (json_int_t)(row->failed_step.len ? row->failed_attempts : 1), "elapsed_seconds",
                     (double)ns / 1e9);
}

json_t *sl_agents_stop(const sl_agents_row *row)
{
    SL_ASSERT(row && has_ended(row));
    const char *status = sl_agents_status(row->status);
    if (strcmp(status, "completed") == 0)
        return envelope(THEIRS, "StopEvent", NULL, json_pack("{s:o}", "result", result_of(row->outputs)));
    if (strcmp(status, "cancelled") == 0)
        return envelope(THEIRS, "WorkflowCancelledEvent", "StopEvent", json_object());
    if (!is(row->error_type, "timeout") || row->failed_step.len)
        return envelope(THEIRS, "WorkflowFailedEvent", "StopEvent", failed_value(row));
    uint64_t from = row->started_ns ? row->started_ns : row->created_ns;
    json_t *steps = sl_json_load(row->stopped_steps, 0, NULL);
    return envelope(THEIRS, "WorkflowTimedOutEvent", "StopEvent",
                    json_pack("{s:f,s:o}", "timeout", row->ended_ns > from ? (double)(row->ended_ns - from) / 1e9 : 0.0,
                              "active_steps", steps ? steps : json_array()));
}

/* ---- events ---- */

/* What a worker has written: an event of LlamaDeploy's serializer, or any data. */
static json_t *worker_event(json_t *event)
{
    json_t *data = json_object_get(event, "data");
    const char *name = json_string_value(json_object_get(data, "qualified_name"));
    json_t *value = json_object_get(data, "value");
    if (name && json_is_object(value)) {
        const char *dot = strrchr(name, '.');
        return json_pack("{s:O,s:s,s:s,s:n}", "value", value, "qualified_name", name, "type", dot ? dot + 1 : name,
                         "types");
    }
    value = json_is_object(data) ? json_incref(data) : json_pack("{s:O?}", "data", data);
    return envelope(OURS, "WorkerEvent", NULL, value);
}

static const struct {
    const char *event, *type, *state;
} kinds[] = {{"run_started", "RunStartedEvent", NULL},
             {"step_started", "StepStartedEvent", "running"},
             {"step_retried", "StepRetriedEvent", NULL},
             {"step_emitted", "StepEmittedEvent", NULL},
             {"step_ended", "StepEndedEvent", "not_running"}};
#define KINDS (sizeof kinds / sizeof *kinds)

static size_t kind_of(const json_t *event)
{
    const char *name = json_string_value(json_object_get(event, "event"));
    size_t i = 0;
    while (i < KINDS && !(name && strcmp(name, kinds[i].event) == 0))
        i++;
    return i;
}

json_t *sl_agents_event(json_t *event)
{
    SL_ASSERT(event);
    size_t kind = kind_of(event);
    const char *name = json_string_value(json_object_get(event, "event"));
    if (kind < KINDS)
        return envelope(OURS, kinds[kind].type, NULL, json_incref(event));
    return name && strcmp(name, "stream") == 0 ? worker_event(event) : NULL;
}

json_t *sl_agents_internal(json_t *event)
{
    SL_ASSERT(event);
    size_t kind = kind_of(event);
    if (kind == KINDS || !kinds[kind].state)
        return NULL;
    json_t *step = json_object_get(event, "step");
    bool ended = strcmp(kinds[kind].state, "not_running") == 0;
    return envelope(THEIRS, "StepStateChanged", "InternalDispatchEvent",
                    json_pack("{s:O?,s:s,s:s,s:s,s:o}", "name", step, "step_state", kinds[kind].state, "worker_id", "0",
                              "input_event_name", "StepStartedEvent", "output_event_name",
                              ended ? json_string("StepEndedEvent") : json_null()));
}

int64_t sl_agents_public(uint64_t seq)
{
    SL_ASSERT(seq < INT64_MAX / 2);
    return (int64_t)(2 * seq + 1);
}

int64_t sl_agents_hidden(uint64_t seq)
{
    SL_ASSERT(seq < INT64_MAX / 2);
    return (int64_t)(2 * seq);
}

uint64_t sl_agents_seq_before(int64_t after)
{
    if (after < 1)
        return 0;
    uint64_t odd = (uint64_t)after & 1;
    return (uint64_t)after / 2 - (odd ? 0 : 1);
}

/* ---- start events ---- */

static json_t *wrong(char *why, const char *text)
{
    (void)snprintf(why, WHY_BYTES, "Validation error for 'start_event': %s", text);
    return NULL;
}

/* The class that an envelope names; NULL: none. */
static const char *class_of(const json_t *event)
{
    const char *type = json_string_value(json_object_get(event, "type"));
    const char *name = json_string_value(json_object_get(event, "qualified_name"));
    if (type && *type)
        return type;
    const char *dot = name ? strrchr(name, '.') : NULL;
    return dot ? dot + 1 : name;
}

/* The fields of an event, and beside them what its class does not declare: the client writes that as `_data`. */
static json_t *fields_of(json_t *value)
{
    SL_ASSERT(json_is_object(value));
    json_t *more = json_object_get(value, "_data");
    json_t *fields = sl_json_copy(value);
    if (!json_is_object(more))
        return fields;
    (void)json_object_del(fields, "_data");
    (void)json_object_update(fields, more);
    return fields;
}

static json_t *inputs_of(json_t *event, char *why)
{
    json_t *value = json_object_get(event, "value");
    char text[256];
    if (!value && !(json_object_get(event, "type") && json_object_get(event, "qualified_name")))
        return fields_of(event); /* the inputs themselves */
    value = value ? value : json_object_get(event, "data");
    const char *class = class_of(event);
    if (!class || !*class)
        return wrong(why, "Invalid client data. Must have a type or a qualified name beside its value");
    if (strcmp(class, "StopEvent") == 0) {
        (void)snprintf(why, WHY_BYTES, "Start event must be an instance of <class '" THEIRS "StartEvent'>");
        return NULL;
    }
    if (strcmp(class, "StartEvent") != 0) {
        (void)snprintf(text, sizeof text, "Invalid event type: %.100s. Expected one of StartEvent, StopEvent", class);
        (void)sl_flow_mend(text);
        return wrong(why, text);
    }
    if (!json_is_object(value))
        return wrong(why, "Failed to deserialize event: the value of StartEvent should be an object");
    return fields_of(value);
}

json_t *sl_agents_inputs(json_t *start_event, char *why)
{
    SL_ASSERT(why);
    json_t *parsed = json_is_string(start_event) ? json_loads(json_string_value(start_event), 0, NULL) : NULL;
    json_t *event = parsed ? parsed : start_event;
    json_t *inputs = NULL;
    if (json_is_object(event))
        inputs = inputs_of(event, why);
    else
        (void)wrong(why, "Failed to deserialize event. Must be a json object, or stringified json object");
    json_decref(parsed);
    return inputs;
}
