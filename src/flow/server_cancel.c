/*
 * Cancelling: a run that is executed here ends by itself; of any other its end is recorded at once, and whoever has it,
 * or its message, is told.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/flow/server_impl.h"

#define MAX_CANCELLED 16384 /* ids that are remembered */

static uint64_t noted_ns(const sl_flow_server *server, const char *id)
{
    return (uint64_t)json_integer_value(json_object_get(server->cancelled, id));
}

int sl_task_note_cancelled(sl_flow_server *server, const char *id, uint64_t until_ns)
{
    SL_ASSERT(id);
    if (json_object_size(server->cancelled) >= MAX_CANCELLED) {
        (void)json_object_clear(
            server->cancelled); /* of messages that were put until now the store tells, or letters */
        server->forgotten_ns = sl_now_ns();
    }
    return json_object_set_new(server->cancelled, id, json_integer((json_int_t)until_ns)) == 0 ? 0 : SL_ENOMEM;
}

bool sl_task_is_cancelled(const sl_flow_server *server, const char *id, uint64_t put_ns)
{
    SL_ASSERT(id);
    return put_ns <= noted_ns(server, id); /* else it was not, or has been resumed since */
}

/* Cancelled, or ended already: whoever ended it could not acknowledge its message, or another had it meanwhile. */
static bool is_unwanted(const sl_flow_server *server, const char *id, uint64_t put_ns)
{
    return sl_task_is_cancelled(server, id, put_ns) || sl_run_store_is_over(server->runs, sl_str_c(id));
}

/* Messages of users may have a run's id for their key: only those of tasks are meant. */
static bool is_of_tasks(const sl_flow_server *server, sl_str topic)
{
    size_t len = strlen(server->topics);
    return topic.len > len + 1 && sl_str_starts(topic, sl_str_c(server->topics)) && topic.ptr[len] == '.';
}

bool sl_message_is_unwanted(void *user, sl_str topic, sl_str key, uint64_t put_ns)
{
    const sl_flow_server *server = user;
    char id[SL_FLOW_ID_MAX + 24];
    if (!key.len || !is_of_tasks(server, topic) || !sl_str_to_c(key, id, sizeof id))
        return false;
    if (is_unwanted(server, id, put_ns))
        return true;
    char *colon = strrchr(id, ':'); /* the message of a run that goes on */
    if (colon)
        *colon = 0;
    return colon && is_unwanted(server, id, put_ns);
}

static void tell(sl_flow_server *server, sl_str id, uint64_t until_ns)
{
    if (server->cancels)
        sl_cancels_tell(server->queue, server->topics, id, until_ns);
}

static bool is_over(const json_t *run)
{
    const char *status = json_string_value(json_object_get(run, "status"));
    return status && strcmp(status, "queued") != 0 && strcmp(status, "running") != 0;
}

void sl_task_was_heard_of(sl_flow_server *server, const char *id, bool first)
{
    SL_ASSERT(id);
    json_t *run = NULL;
    if (!server->cancels)
        return;
    uint64_t until_ns = noted_ns(server, id);
    if (!until_ns && first && sl_run_store_get(server->runs, sl_str_c(id), &run) == 0 && is_over(run) &&
        !sl_run_failed_by_letter(run))
        until_ns = sl_now_ns();
    json_decref(run);
    if (until_ns)
        tell(server, sl_str_c(id), until_ns);
}

/* A server of the cluster has cancelled it: the run is here, its message may be, or neither. */
static void on_cancel(void *user, sl_str task, uint64_t until_ns)
{
    sl_flow_server *server = user;
    char id[SL_FLOW_ID_MAX];
    sl_flow_run *run = server->executor ? sl_flow_run_find(server->executor, task) : NULL;
    if (run && sl_task_put_ns(server, task) <= until_ns)
        sl_flow_run_cancel(run);
    else if (!run && !server->stopping && sl_task_id_is_good(task) && sl_str_to_c(task, id, sizeof id) &&
             noted_ns(server, id) < until_ns && until_ns <= INT64_MAX)
        (void)!sl_task_note_cancelled(server, id, until_ns);
}

int sl_cancels_start(sl_flow_server *server)
{
    if (!server->options->cluster.len)
        return 0;
    return sl_cancels_new(server->queue, &server->box, server->topics, on_cancel, server, &server->cancels);
}

/* The end of a run that is not executed here. */
static void record(sl_flow_server *server, sl_str id, const char *why)
{
    SL_ASSERT(why);
    sl_run_end_row row = {.run_id = id,
                          .status = SL_STR("cancelled"),
                          .error = sl_str_c(why),
                          .error_type = SL_STR("cancelled"),
                          .outputs = SL_STR("{}"),
                          .end_ns = sl_now_ns()};
    sl_run_store_ended(server->runs, &row);
    json_t *event = json_pack("{s:i,s:s,s:s%,s:s}", "seq", 1, "event", "run_ended", "run_id", id.ptr, id.len, "status",
                              "cancelled");
    sl_streams_push(server, id, UINT64_MAX, event, SL_STREAM_ENDS);
    json_decref(event);
    sl_task_end end = {id, "cancelled", NULL, why, "cancelled"};
    sl_task_ended(server, &end);
}

int sl_task_cancel(sl_flow_server *server, sl_str id)
{
    SL_ASSERT(server);
    json_t *run = NULL;
    char text[SL_FLOW_ID_MAX];
    sl_flow_run *here = sl_flow_run_find(server->executor, id);
    if (here) {
        sl_flow_run_cancel(here);
        return 0;
    }
    if (sl_task_is_here(server, id))
        return SL_EEXIST; /* it has ended; the store may not know it yet */
    int error = sl_run_store_get(server->runs, id, &run);
    if (error)
        return error;
    const char *status = json_string_value(json_object_get(run, "status"));
    bool began = status && strcmp(status, "running") == 0, over = is_over(run);
    json_decref(run);
    if (over || !sl_str_to_c(id, text, sizeof text) || json_object_get(server->cancelled, text))
        return SL_EEXIST;
    uint64_t now_ns = sl_now_ns();
    error = sl_task_note_cancelled(server, text, now_ns);
    if (error)
        return error;
    tell(server, id, now_ns);
    record(server, id, began ? "the run was cancelled" : "cancelled before it began");
    return 0;
}
