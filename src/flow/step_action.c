/* Action steps: the table, what actions share, and the small ones: log, sleep, queue, names that are no action. */
#include "src/flow/step_action.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr_value.h"
#include "src/flow/fault.h"
#include "src/llm/json_text.h"
#include "src/queue/queue.h"
#include "src/wire/base64.h"

static void action_log(sl_step_try *attempt);
static void action_sleep(sl_step_try *attempt);

static const sl_action actions[] = {
    {"exec", "command, args?, stdin?, env?, expected_exit?, max_output_bytes?",
     "Runs an allowed program, without a shell.", sl_action_exec},
    {"file", "operation, path, content?, encoding?, create_folders?",
     "Reads, writes, appends to or lists a file under the one folder that is allowed.", sl_action_file},
    {"http", "url, method?, headers?, body?, expected_status?", "Makes an HTTP request.", sl_action_http},
    {"log", "message, level?, fields?", "Writes a line into the log.", action_log},
    {"publish", "topic?, message?, key?, priority?, delay_ms?", "The same as queue, where there is one.",
     sl_action_queue},
    {"queue", "topic, message, key?, priority?, delay_ms?", "Puts a message into the queue, durably.", sl_action_queue},
    {"sleep", "seconds, or duration_ms", "Waits.", action_sleep},
    {"webhook", "url, body?, secret?, headers?, expected_status?", "Posts JSON, signed when there is a secret.",
     sl_action_webhook},
};

#define ACTIONS (sizeof actions / sizeof *actions)

const sl_action *sl_actions(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = ACTIONS;
    return actions;
}

const sl_action *sl_action_find(sl_str name)
{
    for (size_t i = 0; i < ACTIONS; i++)
        if (sl_str_eq_c(name, actions[i].name))
            return &actions[i];
    return NULL;
}

/* ---- what actions share ---- */

void sl_action_succeed(sl_step_try *attempt, json_t *result, json_t *metadata)
{
    SL_ASSERT(attempt);
    attempt->data = NULL;
    json_t *results = result && metadata ? json_pack("[O, o]", result, metadata) : NULL;
    if (results) {
        sl_step_succeed(attempt, results, NULL, result);
        return;
    }
    json_decref(result);
    json_decref(metadata);
    sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
}

bool sl_action_text(sl_step_try *attempt, const char *name, sl_str fallback, sl_str *ret_text)
{
    SL_ASSERT(attempt && name && ret_text);
    json_t *value = json_object_get(attempt->params, name);
    value = value ? sl_flow_plain(value) : NULL;
    if (value && !json_is_null(value) && !json_is_string(value)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "%s must be a text, not a %s", name, sl_flow_type_name(value));
        return false;
    }
    *ret_text = json_is_string(value) ? sl_flow_str(value) : fallback;
    return true;
}

bool sl_action_number(sl_step_try *attempt, const char *name, double fallback, double min, double max,
                      double *ret_number)
{
    SL_ASSERT(attempt && name && ret_number && min <= max);
    json_t *value = json_object_get(attempt->params, name);
    double number = fallback;
    bool good = !value || json_is_null(value) || json_is_number(value) ||
                (json_is_string(value) && sl_str_to_double(sl_flow_str(value), &number) == 0);
    if (json_is_number(value))
        number = json_number_value(value);
    if (!good || !(number >= min && number <= max)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "%s must be a number from %g to %g", name, min, max);
        return false;
    }
    *ret_number = number;
    return true;
}

bool sl_action_body(json_t *value, sl_str *ret_text, char **ret_memory, bool *ret_json)
{
    SL_ASSERT(ret_text && ret_memory && ret_json);
    *ret_memory = NULL;
    *ret_text = sl_str_of(NULL, 0);
    *ret_json = false;
    value = value ? sl_flow_plain(value) : NULL;
    if (!value || json_is_null(value))
        return true;
    if (json_is_string(value)) {
        *ret_text = sl_flow_str(value);
        return true;
    }
    *ret_memory = sl_json_text(value);
    *ret_text = sl_str_c(*ret_memory);
    *ret_json = true;
    return *ret_memory != NULL;
}

json_t *sl_action_bytes(sl_str bytes, bool *ret_encoded)
{
    SL_ASSERT(ret_encoded);
    *ret_encoded = !sl_utf8_valid(bytes);
    if (!*ret_encoded)
        return json_stringn_nocheck(bytes.len ? bytes.ptr : "", bytes.len);
    sl_buf text;
    sl_buf_init(&text, sl_base64_encoded_len(bytes.len) + 1);
    json_t *value = sl_base64_encode(&text, bytes) ? NULL : json_stringn_nocheck(text.data, text.len);
    sl_buf_done(&text);
    return value;
}

/* The params that are no setting of the step itself: what a webhook or the log is told. NULL: no memory. */
static json_t *data_of(const sl_step_try *attempt)
{
    json_t *data = sl_json_copy(attempt->params);
    (void)json_object_del(data, "action");
    return data;
}

/* ---- log ---- */

static void action_log(sl_step_try *attempt)
{
    sl_str level_text;
    sl_severity level;
    json_t *message = json_object_get(attempt->params, "message"), *fields = json_object_get(attempt->params, "fields");
    char *memory = NULL, *more = NULL;
    sl_str text;
    bool is_json;
    if (!sl_action_text(attempt, "level", SL_STR("info"), &level_text))
        return;
    if (sl_severity_parse(level_text, &level)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "level must be trace, debug, info, warn, error or critical");
        return;
    }
    bool good = sl_action_body(message, &text, &memory, &is_json);
    if (good && fields && !json_is_null(fields))
        good = (more = sl_json_text(fields)) != NULL;
    if (good)
        sl_step_log(attempt, level, text.len ? text.ptr : "", more);
    json_t *result = good ? json_stringn_nocheck(text.len ? text.ptr : "", text.len) : NULL;
    free(memory);
    free(more);
    sl_action_succeed(attempt, result, json_pack("{s:s}", "level", sl_severity_name(level)));
}

/* ---- sleep ---- */

/* A timer of its own: it keeps the loop going, and is exact to the millisecond. */
typedef struct sleep_op {
    sl_action_op op;
    uv_timer_t timer;
    sl_step_try *attempt;
    double seconds;
} sleep_op;

static void on_sleep_closed(uv_handle_t *handle)
{
    sl_free(handle->data);
}

static void end_sleep(uv_timer_t *timer)
{
    sleep_op *s = timer->data;
    uv_close((uv_handle_t *)timer, on_sleep_closed);
    sl_action_succeed(s->attempt, json_real(s->seconds), json_object());
}

static void cancel_sleep(sl_action_op *op)
{
    uv_close((uv_handle_t *)&((sleep_op *)op)->timer, on_sleep_closed);
}

static void action_sleep(sl_step_try *attempt)
{
    double seconds, ms;
    if (!sl_action_number(attempt, "seconds", -1, -1, 86400, &seconds) ||
        !sl_action_number(attempt, "duration_ms", -1, -1, 86400000, &ms))
        return;
    if (seconds < 0 && ms < 0) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "sleep: needs seconds or duration_ms, 0 or more");
        return;
    }
    sleep_op *s = sl_calloc(1, sizeof *s);
    if (!s) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    s->op.cancel = cancel_sleep;
    s->attempt = attempt;
    s->seconds = seconds >= 0 ? seconds : ms / 1000;
    attempt->data = s;
    uv_update_time(&attempt->loop->uv); /* it may be long since the loop looked */
    (void)uv_timer_init(&attempt->loop->uv, &s->timer);
    s->timer.data = s;
    (void)uv_timer_start(&s->timer, end_sleep, (uint64_t)ceil(s->seconds * 1000), 0);
}

/* ---- names that are no action ---- */

static void say_unknown(sl_step_try *attempt, const char *name)
{
    char message[300];
    (void)snprintf(message, sizeof message,
                   "action \"%.80s\" is not configured: nothing was done; name a webhook so to have it called", name);
    (void)sl_flow_mend(message);
    json_t *data = data_of(attempt);
    char *fields = data ? sl_json_text(data) : NULL;
    sl_step_log(attempt, SL_WARN, message, fields);
    sl_attr attrs[2] = {sl_attr_str("action", name), sl_attr_bool("delivered", false)};
    sl_span_add_event(attempt->span, SL_STR("action"), 0, attrs, 2);
    free(fields);
    json_decref(data);
    json_t *metadata = json_pack("{s:s, s:b, s:s}", "action", name, "delivered", 0, "warning", message);
    json_t *results = metadata ? json_pack("[n, O]", metadata) : NULL;
    json_t *extra = metadata ? json_pack("{s:s}", "warning", message) : NULL;
    json_t *text = json_string("");
    json_decref(metadata);
    if (!results || !extra || !text) {
        json_decref(results);
        json_decref(extra);
        json_decref(text);
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    sl_step_succeed(attempt, results, extra, text);
}

static const sl_flow_webhook *find_webhook(const sl_flow_services *services, const char *name)
{
    for (size_t i = 0; i < services->webhook_count; i++)
        if (strcmp(services->webhooks[i].name, name) == 0)
            return &services->webhooks[i];
    return NULL;
}

/* ---- the step ---- */

static void start_action(sl_step_try *attempt)
{
    SL_ASSERT(attempt && attempt->services && attempt->params);
    attempt->data = NULL;
    json_t *value = json_object_get(attempt->params, "action");
    const char *name = json_string_value(value);
    if (!name || !*name) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "action is missing, or no text");
        return;
    }
    const sl_flow_webhook *webhook = find_webhook(attempt->services, name);
    const sl_action *action = sl_action_find(sl_str_c(name));
    bool no_queue = action && strcmp(name, "publish") == 0 && !attempt->services->queue;
    if (webhook && (!action || no_queue))
        sl_action_named_webhook(attempt, webhook);
    else if (!action || no_queue)
        say_unknown(attempt, name);
    else
        action->start(attempt);
}

static void cancel_action(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    sl_action_op *op = attempt->data;
    attempt->data = NULL;
    if (op)
        op->cancel(op);
}

const sl_step_kind sl_step_action_kind = {start_action, cancel_action};
