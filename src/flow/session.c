/* Sessions and their tasks, as the API server and the control plane show them. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

static bool note_row(void *user, const sl_str *columns, size_t count)
{
    (void)columns;
    (void)count;
    *(bool *)user = true;
    return false;
}

int sl_session_find(sl_flow_server *server, sl_str id, sl_str deployment)
{
    bool found = false;
    const sl_str values[] = {id, deployment};
    int error =
        sl_flow_store_query(server->store, "select id from sessions where id = ?1 and (?2 = '' or deployment = ?2)",
                            values, 2, note_row, &found);
    return error ? error : found ? 0 : SL_ENOENT;
}

void sl_session_make(sl_flow_server *server, sl_str deployment, void (*done)(void *user, int error), void *user,
                     char ret_id[SL_FLOW_ID_MAX])
{
    SL_ASSERT(done);
    sl_flow_run_new_id(ret_id);
    const sl_str values[] = {sl_str_c(ret_id), deployment};
    int error = sl_flow_store_put_then(server->store, "insert into sessions(id, deployment) values(?1, ?2)", values, 2,
                                       done, user);
    if (error)
        done(user, error);
}

static void ignore(void *user, int error)
{
    (void)user;
    (void)error;
}

void sl_session_delete(sl_flow_server *server, sl_str id, void (*done)(void *user, int error), void *user)
{
    if (!done)
        done = ignore;
    sl_flow_store_put(server->store, "delete from sessions where id = ?1", &id, 1);
    sl_flow_store_put(server->store, "delete from session_state where session = ?1", &id, 1);
    int error = sl_flow_store_put_then(server->store, "delete from tasks where session = ?1", &id, 1, done, user);
    if (error)
        done(user, error);
}

json_t *sl_session_json(sl_str id, json_t *task_ids, json_t *state)
{
    return json_pack("{s:s%,s:o,s:o}", "session_id", id.ptr, id.len, "task_ids", task_ids ? task_ids : json_array(),
                     "state", state ? state : json_object());
}

/* id, input, session, service */
static json_t *definition(const sl_str *columns)
{
    return json_pack("{s:s%,s:s%,s:o,s:s%}", "input", columns[1].ptr, columns[1].len, "task_id", columns[0].ptr,
                     columns[0].len, "session_id",
                     columns[2].len ? json_stringn(columns[2].ptr, columns[2].len) : json_null(), "service_id",
                     columns[3].ptr, columns[3].len);
}

static bool add_task(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 4);
    (void)count;
    return json_array_append_new(user, definition(columns)) == 0;
}

json_t *sl_session_tasks(sl_flow_server *server, sl_str session, sl_str deployment)
{
    json_t *list = json_array();
    int error = session.len ? sl_flow_store_query(server->store,
                                                  "select id, input, session, service from tasks where session = ?1 "
                                                  "order by number limit 10000",
                                                  &session, 1, add_task, list)
                            : sl_flow_store_query(server->store,
                                                  "select id, input, session, service from tasks where deployment = ?1 "
                                                  "and session <> '' order by number limit 10000",
                                                  &deployment, 1, add_task, list);
    if (!error)
        return list;
    json_decref(list);
    return NULL;
}

static bool keep_task(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 4);
    (void)count;
    *(json_t **)user = definition(columns);
    return false;
}

int sl_session_task(sl_flow_server *server, sl_str id, json_t **ret_task)
{
    SL_ASSERT(ret_task);
    json_t *task = NULL;
    int error = sl_flow_store_query(server->store, "select id, input, session, service from tasks where id = ?1", &id,
                                    1, keep_task, &task);
    if (error) {
        json_decref(task);
        return error;
    }
    if (!task)
        return SL_ENOENT;
    *ret_task = task;
    return 0;
}

static bool add_state(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 2);
    (void)count;
    json_t *value = sl_json_load(columns[1], JSON_DECODE_ANY, NULL);
    char key[1024];
    if (value && sl_str_to_c(columns[0], key, sizeof key))
        return json_object_set_new(user, key, value) == 0;
    json_decref(value);
    return true;
}

json_t *sl_session_state(sl_flow_server *server, sl_str id)
{
    json_t *state = json_object(), *task;
    size_t i;
    /* Each task has a member of its own: services keep their context only in a state that is not empty. */
    json_t *tasks = sl_session_tasks(server, id, sl_str_of(NULL, 0));
    json_array_foreach(tasks, i, task)
    {
        (void)json_object_set_new(state, json_string_value(json_object_get(task, "task_id")), json_object());
    }
    bool good = tasks && sl_flow_store_query(server->store, "select key, value from session_state where session = ?1",
                                             &id, 1, add_state, state) == 0;
    json_decref(tasks);
    if (good)
        return state;
    json_decref(state);
    return NULL;
}

json_t *sl_result_value(json_t *outputs)
{
    json_t *result = json_object_get(outputs, "result");
    if (json_object_size(outputs) == 1 && json_is_string(result))
        return json_incref(result);
    return outputs ? json_incref(outputs) : json_null();
}

/* The text that LlamaDeploy's results are. */
static json_t *result_text(json_t *outputs)
{
    json_t *value = sl_result_value(outputs);
    if (json_is_string(value))
        return value;
    char *text = sl_json_text(value);
    json_decref(value);
    value = text ? json_string(text) : NULL;
    free(text);
    return value;
}

int sl_session_result(sl_flow_server *server, sl_str id, json_t **ret_result, bool *ret_failed)
{
    SL_ASSERT(ret_result && ret_failed);
    json_t *run = NULL;
    int error = sl_run_store_get(server->runs, id, &run);
    if (error)
        return error;
    const char *status = json_string_value(json_object_get(run, "status"));
    bool ended = status && strcmp(status, "queued") != 0 && strcmp(status, "running") != 0;
    bool failed = ended && strcmp(status, "succeeded") != 0;
    if (!ended) {
        *ret_result = json_null();
    } else {
        json_t *data = json_object(); /* empty beside a result, as LlamaDeploy has it */
        if (failed) {
            (void)json_object_set_new(data, "status", json_string(status));
            (void)json_object_set(data, "error", json_object_get(run, "error"));
            (void)json_object_set(data, "error_type", json_object_get(run, "error_type"));
        }
        json_t *text =
            failed ? json_incref(json_object_get(run, "error")) : result_text(json_object_get(run, "outputs"));
        *ret_result = json_pack("{s:s%,s:[],s:o,s:o}", "task_id", id.ptr, id.len, "history", "result",
                                json_is_string(text) ? text : json_string(""), "data", data);
    }
    *ret_failed = failed;
    json_decref(run);
    return *ret_result ? 0 : SL_ENOMEM;
}
