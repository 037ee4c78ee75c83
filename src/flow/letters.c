/* Members of letters, made and read. */
#include "src/flow/letters.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/llm/json_text.h"

#define DEFAULT_DELIVERIES 5u /* of the queue's engines */
#define MAX_PATH 1024u

/* ---- steps ---- */

json_t *sl_letter_step(const sl_flow_event *event)
{
    SL_ASSERT(event);
    if (event->kind != SL_FLOW_STEP_ENDED || !event->step)
        return NULL;
    char *text = event->value ? sl_json_text(event->value) : NULL;
    bool fits = !event->value || (text && strlen(text) <= SL_LETTER_MAX_STEP_BYTES);
    free(text);
    if (!fits)
        return NULL;
    return json_pack("{s:s,s:s,s:s,s:i,s:O?,s:s,s:s,s:I,s:I,s:I,s:I,s:f}", "path", event->path, "type",
                     sl_step_type_name(event->step->type), "status", sl_step_status_name(event->step_status),
                     "attempts", (int)event->attempts, "value", event->value, "error", event->message, "error_type",
                     sl_step_error_name(event->error), "ended_ns", (json_int_t)event->time_ns, "duration_ns",
                     (json_int_t)event->duration_ns, "input_tokens", (json_int_t)event->usage.input_tokens,
                     "output_tokens", (json_int_t)event->usage.output_tokens, "cost_usd", event->usage.cost_usd);
}

static uint64_t number_of(const json_t *step, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(step, name));
    return number > 0 ? (uint64_t)number : 0;
}

static sl_str text_of(const json_t *step, const char *name)
{
    return sl_str_c(json_string_value(json_object_get(step, name)));
}

bool sl_letter_read_step(const json_t *step, sl_run_step_row *ret_row, char **ret_value)
{
    SL_ASSERT(ret_row && ret_value);
    const json_t *value = json_object_get(step, "value");
    uint64_t attempts = number_of(step, "attempts");
    sl_run_step_row row = {.path = text_of(step, "path"),
                           .type = text_of(step, "type"),
                           .status = text_of(step, "status"),
                           .attempts = attempts < 1000000 ? (unsigned)attempts : 1000000,
                           .error = text_of(step, "error"),
                           .error_type = text_of(step, "error_type"),
                           .end_ns = number_of(step, "ended_ns"),
                           .duration_ns = number_of(step, "duration_ns"),
                           .input_tokens = number_of(step, "input_tokens"),
                           .output_tokens = number_of(step, "output_tokens"),
                           .cost_usd = json_number_value(json_object_get(step, "cost_usd"))};
    if (!row.path.len || row.path.len > MAX_PATH || !row.type.len || !row.status.len)
        return false;
    char *text = value && !json_is_null(value) ? sl_json_text(value) : NULL;
    if (value && !json_is_null(value) && !text)
        return false; /* a step that gave something unknown must run again */
    row.value = sl_str_c(text);
    *ret_row = row;
    *ret_value = text;
    return true;
}

/* ---- messages that have come again ---- */

/*
 * "TASK" is followed by "TASK:+1", "TASK:+1" by "TASK:+2", "TASK:5f" by "TASK:5f+1". No id of a task holds a '+', and
 * what stands behind the last ':' is none of the id (sl_message_is_unwanted).
 */
static void next_key(sl_str task, sl_str old, char *key, size_t size)
{
    sl_str more = old.len > task.len && sl_str_starts(old, task) ? sl_str_sub(old, task.len, old.len) : SL_STR(":");
    size_t plus = sl_str_chr(more, '+');
    uint64_t number = 0;
    if (plus != SL_NPOS) {
        if (sl_str_to_u64(sl_str_sub(more, plus + 1, more.len), &number) != 0)
            number = 0;
        more = sl_str_sub(more, 0, plus);
    }
    (void)snprintf(key, size, "%.*s%.*s+%llu", (int)task.len, task.ptr, (int)(more.len < 20 ? more.len : 20), more.ptr,
                   (unsigned long long)(number % 1000000 + 1));
}

void sl_letter_place_of(sl_str task, sl_str key, unsigned delivery, const json_t *root, sl_letter_place *ret_place)
{
    SL_ASSERT(task.len && ret_place);
    json_int_t max = json_integer_value(json_object_get(json_object_get(root, "data"), "max_deliveries"));
    unsigned had = delivery > 1 ? delivery - 1 : 1;
    unsigned most = max > 0 && max < DEFAULT_DELIVERIES ? (unsigned)max : DEFAULT_DELIVERIES;
    next_key(task, key, ret_place->key, sizeof ret_place->key);
    ret_place->max_deliveries = most > had ? most - had : 1;
}

json_t *sl_letter_again(const char *task, const sl_letter_place *place, char ret_key[SL_LETTER_KEY_BYTES])
{
    SL_ASSERT(task && place && ret_key);
    SL_ASSERT(strncmp(place->key, task, strlen(task)) == 0);
    (void)snprintf(ret_key, SL_LETTER_KEY_BYTES, "%s:again%s", task, place->key + strlen(task));
    return json_pack("{s:s,s:s,s:i}", "task_id", task, "key", place->key, "max_deliveries", (int)place->max_deliveries);
}

bool sl_letter_read_again(const json_t *data, sl_letter_place *ret_place)
{
    SL_ASSERT(ret_place);
    const char *task = json_string_value(json_object_get(data, "task_id"));
    const char *key = json_string_value(json_object_get(data, "key"));
    json_int_t max = json_integer_value(json_object_get(data, "max_deliveries"));
    if (!task || !key || strncmp(key, task, strlen(task)) != 0 || strlen(key) >= sizeof ret_place->key || max < 1 ||
        max > DEFAULT_DELIVERIES)
        return false;
    (void)snprintf(ret_place->key, sizeof ret_place->key, "%s", key);
    ret_place->max_deliveries = (unsigned)max;
    return true;
}
