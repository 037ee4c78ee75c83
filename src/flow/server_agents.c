/* Handlers of llama-agents on disk: a run is a handler under its own id, or under the name that a client gave. */
#include "src/flow/server_agents.h"

#include "src/base/assert.h"
#include "src/flow/agents_view.h"
#include "src/llm/json_text.h"

/* Of a run `r` with the name `h`; the step whose failure ended it. */
#define ROW                                                                                                            \
    "select coalesce(h.handler, r.id), r.id, r.workflow, r.status, r.error, r.error_type, r.outputs, r.created_ns, "   \
    "r.started_ns, r.ended_ns, s.path, s.attempts, s.duration_ns, (select json_group_array(c.path) from flow_steps c " \
    "where c.run = r.id and c.status = 'cancelled' and c.attempts > 0), r.hash from flow_runs r left join handlers h " \
    "on h.run = r.id left join flow_steps s on s.run = r.id and s.path = (select f.path from flow_steps f where "      \
    "f.run = r.id and f.status = 'failed' order by f.ended_ns limit 1)"
#define COLUMNS 15u
/* What lists look through, however many runs are kept: the last ones, and all that have not ended. */
#define LISTED                                                                                                         \
    "r.seq in (select seq from flow_runs where ended_ns is null union select seq from (select seq from flow_runs "     \
    "order by seq desc limit 10000))"
/* The newest run of a name, among those that are there. */
#define NEWEST                                                                                                         \
    "coalesce((select n.run from handlers n join flow_runs q on q.id = n.run where n.handler = ?1 order by n.number "  \
    "desc limit 1), ?1)"

static uint64_t number(sl_str text)
{
    uint64_t value = 0;
    return sl_str_to_u64(text, &value) == 0 ? value : 0;
}

static sl_agents_row row_of(const sl_str *c, size_t count)
{
    SL_ASSERT(c && count == COLUMNS);
    (void)count;
    return (sl_agents_row){.handler = c[0],
                           .run = c[1],
                           .workflow = c[2],
                           .status = c[3],
                           .error = c[4],
                           .error_type = c[5],
                           .outputs = c[6],
                           .created_ns = number(c[7]),
                           .started_ns = number(c[8]),
                           .ended_ns = number(c[9]),
                           .failed_step = c[10],
                           .failed_attempts = number(c[11]),
                           .failed_ns = number(c[12]),
                           .stopped_steps = c[13]};
}

static bool is_over(const sl_agents_row *row)
{
    return strcmp(sl_agents_status(row->status), "running") != 0;
}

static bool found_row(void *user, const sl_str *columns, size_t count)
{
    sl_agents_found *found = user;
    sl_agents_row row = row_of(columns, count);
    if (!sl_str_to_c(row.run, found->run, sizeof found->run))
        return false;
    found->over = is_over(&row);
    found->worker = sl_str_eq_c(columns[COLUMNS - 1], "worker");
    found->handler = sl_agents_handler(&row);
    return false;
}

int sl_agents_find(sl_flow_server *server, sl_str id, sl_agents_found *ret_found)
{
    SL_ASSERT(ret_found);
    sl_agents_found found = {.handler = NULL};
    int error = sl_flow_store_query(server->store, ROW " where r.id = " NEWEST, &id, 1, found_row, &found);
    if (error) {
        json_decref(found.handler);
        return error;
    }
    if (!found.handler)
        return SL_ENOENT;
    *ret_found = found;
    return 0;
}

static bool list_row(void *user, const sl_str *columns, size_t count)
{
    sl_agents_row row = row_of(columns, count);
    return json_array_insert_new(user, 0, sl_agents_handler(&row)) == 0;
}

json_t *sl_agents_list(sl_flow_server *server, json_t *statuses, json_t *workflows)
{
    SL_ASSERT(server);
    char *texts[] = {statuses ? sl_json_text(statuses) : NULL, workflows ? sl_json_text(workflows) : NULL};
    const sl_str values[] = {texts[0] ? sl_str_c(texts[0]) : SL_STR("null"),
                             texts[1] ? sl_str_c(texts[1]) : SL_STR("null")};
    json_t *list = json_array();
    int error = sl_flow_store_query(
        server->store,
        ROW " where " LISTED
            " and (?1 = 'null' or r.status in (select value from json_each(?1))) and (?2 = 'null' or r.workflow in "
            "(select value from json_each(?2))) and not exists (select 1 from handlers n join flow_runs q on q.id = "
            "n.run where n.handler = coalesce(h.handler, r.id) and n.number > coalesce(h.number, 0)) order by r.seq "
            "desc limit 1000",
        values, 2, list_row, list);
    free(texts[0]);
    free(texts[1]);
    if (!error)
        return list;
    json_decref(list);
    return NULL;
}

typedef struct ending {
    bool found, over;
    json_t *event;
} ending;

static bool end_row(void *user, const sl_str *columns, size_t count)
{
    ending *e = user;
    sl_agents_row row = row_of(columns, count);
    e->found = true;
    e->over = is_over(&row);
    e->event = e->over ? sl_agents_stop(&row) : NULL;
    return false;
}

int sl_agents_end(sl_flow_server *server, sl_str run, json_t **ret_end)
{
    SL_ASSERT(ret_end);
    ending e = {false, false, NULL};
    int error = sl_flow_store_query(server->store, ROW " where r.id = ?1", &run, 1, end_row, &e);
    if (!error && !e.found)
        error = SL_ENOENT;
    else if (!error && e.over && !e.event)
        error = SL_ENOMEM;
    if (error)
        json_decref(e.event);
    else
        *ret_end = e.event;
    return error;
}

/* ---- numbers ---- */

typedef struct numbers {
    uint64_t last;
    bool ends;
} numbers;

static bool last_row(void *user, const sl_str *columns, size_t count)
{
    numbers *n = user;
    SL_ASSERT(count == 2);
    (void)count;
    n->last = number(columns[0]);
    n->ends = sl_str_eq_c(columns[1], "run_ended");
    return false;
}

int sl_agents_numbers(sl_flow_server *server, sl_str run, int64_t *ret_last, int64_t *ret_end)
{
    SL_ASSERT(ret_last && ret_end);
    numbers n = {0, false};
    int error = sl_flow_store_query(
        server->store,
        "select seq, json_extract(body, '$.event') from flow_events where run = ?1 order by seq desc limit 1", &run, 1,
        last_row, &n);
    if (error)
        return error;
    *ret_last = n.last ? sl_agents_public(n.last) : -1;
    *ret_end = sl_agents_public(n.ends ? n.last : n.last + 1);
    return 0;
}

/* ---- names ---- */

void sl_agents_name(sl_flow_server *server, sl_str handler, sl_str run)
{
    const sl_str values[] = {handler, run};
    sl_flow_store_put(server->store, "insert into handlers(handler, run) values(?1, ?2)", values, 2);
}

void sl_agents_forget(sl_flow_server *server)
{
    sl_flow_store_put(server->store, "delete from handlers where run not in (select id from flow_runs)", NULL, 0);
}

int sl_agents_purge(sl_flow_server *server, sl_str handler, void (*done)(void *user, int error), void *user)
{
    SL_ASSERT(done);
/* One that has the name, or the id, and goes on is another that began since. */
#define RUNS                                                                                                           \
    "(select id from flow_runs where ended_ns is not null and (id = ?1 or id in (select run from handlers where "      \
    "handler = ?1)))"
    static const char *const statements[] = {
        "delete from flow_steps where run in " RUNS,  "delete from flow_events where run in " RUNS,
        "delete from flow_unsent where run in " RUNS, "delete from tasks where id in " RUNS,
        "delete from flow_runs where id in " RUNS,
    };
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        sl_flow_store_put(server->store, statements[i], &handler, 1);
    return sl_flow_store_put_then(server->store,
                                  "delete from handlers where handler = ?1 and run not in (select id from flow_runs)",
                                  &handler, 1, done, user);
#undef RUNS
}
