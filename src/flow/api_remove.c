/*
 * Deployments that are taken down: nothing new is taken, what was accepted is run to its end or cancelled, then their
 * sessions go. A start meanwhile goes on with that.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"

/* One that still has tasks. */
struct sl_flow_leaving {
    sl_flow_leaving *next;
    sl_flow_deployment *deployment; /* NULL: of an earlier life */
    sl_flow_consumer *consumers[SL_DEPLOY_MAX_SERVICES];
    size_t consumer_count;
    char name[SL_QUEUE_MAX_TOPIC_BYTES + 1];
};

#define LEFT "from tasks t join flow_runs r on r.id = t.id where t.deployment = ?1 and r.ended_ns is null"

/* ---- what is left ---- */

static bool add_id(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 1);
    (void)count;
    return json_array_append_new(user, json_stringn(columns[0].ptr, columns[0].len)) == 0;
}

/* Ids of its tasks that have not ended; the caller holds a reference. NULL: they cannot be read. */
static json_t *left_of(sl_flow_server *server, sl_str name)
{
    json_t *ids = json_array();
    int error = sl_flow_store_query(server->store, "select t.id " LEFT, &name, 1, add_id, ids);
    if (!error)
        return ids;
    json_decref(ids);
    return NULL;
}

static sl_flow_leaving **leaving_of(sl_flow_server *server, sl_str name)
{
    sl_flow_leaving **at = &server->leaving;
    while (*at && !sl_str_eq_c(name, (*at)->name))
        at = &(*at)->next;
    return at;
}

static sl_flow_leaving *leaving_new(sl_flow_server *server, sl_str name)
{
    sl_flow_leaving *l = sl_calloc(1, sizeof *l);
    if (!l || !sl_str_to_c(name, l->name, sizeof l->name)) {
        sl_free(l);
        return NULL;
    }
    l->next = server->leaving;
    server->leaving = l;
    return l;
}

static void leaving_free(sl_flow_server *server, sl_flow_leaving **at)
{
    sl_flow_leaving *l = *at;
    (void)server;
    *at = l->next;
    if (l->deployment)
        sl_deployment_unref(l->deployment);
    sl_free(l);
}

void sl_leaving_free(sl_flow_server *server)
{
    while (server->leaving)
        leaving_free(server, &server->leaving);
}

void sl_leaving_is_back(sl_flow_server *server, sl_str name)
{
    sl_flow_leaving **at = leaving_of(server, name);
    if (!*at)
        return;
    leaving_free(server, at);
    sl_flow_store_put(server->store, "delete from removed where name = ?1", &name, 1);
}

/* ---- the end of it ---- */

/* False: something of it is still needed. */
static bool consumer_free(sl_flow_server *server, sl_flow_consumer *c)
{
    SL_ASSERT(c);
    if (sl_consumer_has_tasks(server, c))
        return false;
    sl_consumer_unwatch(c);
    if (atomic_load(&c->mailed))
        return false;
    sl_flow_consumer **at = &server->consumers;
    while (*at && *at != c)
        at = &(*at)->next;
    SL_ASSERT(*at);
    *at = c->next;
    sl_flow_unref(c->flow);
    sl_free(c);
    return true;
}

static bool has_left(sl_flow_server *server, const sl_flow_leaving *l)
{
    json_t *left = left_of(server, sl_str_c(l->name));
    size_t count = left ? json_array_size(left) : 1;
    json_decref(left);
    /* Requests that have found it and wait for the disk make tasks of it yet. */
    return count > 0 || (l->deployment && l->deployment->refs > 1);
}

static void forget(sl_flow_server *server, const char *name)
{
    static const char *const statements[] = {
        "delete from session_state where session in (select id from sessions where deployment = ?1)",
        "delete from sessions where deployment = ?1",
        "delete from removed where name = ?1",
    };
    sl_str value = sl_str_c(name);
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        sl_flow_store_put(server->store, statements[i], &value, 1);
}

void sl_leaving_sweep(sl_flow_server *server)
{
    SL_ASSERT(server);
    for (sl_flow_leaving **at = &server->leaving; *at;) {
        sl_flow_leaving *l = *at;
        bool gone = !has_left(server, l);
        while (gone && l->consumer_count && consumer_free(server, l->consumers[l->consumer_count - 1]))
            l->consumer_count--;
        if (!gone || l->consumer_count) {
            at = &l->next;
            continue;
        }
        forget(server, l->name);
        leaving_free(server, at);
    }
}

/* ---- taking one down ---- */

typedef struct removing {
    sl_api_request *request;
    sl_flow_deployment *deployment;
    bool cancel;
} removing;

/* Out of the list; NULL: no memory. */
static sl_flow_leaving *take_out(sl_flow_server *server, sl_flow_deployment *d)
{
    SL_ASSERT(d);
    sl_flow_leaving *l = leaving_new(server, d->file->name);
    if (!l)
        return NULL;
    size_t place = 0;
    while (server->deployments[place] != d)
        place++;
    server->deployment_count--;
    memmove(&server->deployments[place], &server->deployments[place + 1],
            (server->deployment_count - place) * sizeof *server->deployments);
    l->deployment = d;
    for (size_t i = 0; i < d->file->service_count; i++) {
        if (d->services[i].consumer)
            l->consumers[l->consumer_count++] = d->services[i].consumer;
    }
    sl_flow_say_gone(server, d);
    return l;
}

static size_t cancel_all(sl_flow_server *server, const json_t *ids)
{
    json_t *id;
    size_t i, count = 0;
    json_array_foreach(ids, i, id)
    {
        count += sl_task_cancel(server, sl_str_c(json_string_value(id))) == 0;
    }
    return count;
}

static void removed(void *user, int error)
{
    removing *r = user;
    sl_flow_server *server = sl_api_user(r->request);
    sl_str name = sl_api_param(r->request, 0);
    sl_flow_deployment *d = sl_deployment_find(server, name);
    json_t *left = !error && d ? left_of(server, name) : NULL;
    if (!error && !d) {
        sl_api_fail(r->request, 404, "Deployment not found"); /* by another request, meanwhile */
    } else if (!error && d != r->deployment) {                /* and so it is on disk */
        sl_api_fail(r->request, 409, "the deployment was reloaded meanwhile");
    } else if (error || !left || !take_out(server, d)) {
        sl_api_fail_code(r->request, error ? error : SL_ENOMEM, "the deployment cannot be removed");
    } else {
        size_t count = json_array_size(left), cancelled = r->cancel ? cancel_all(server, left) : 0;
        sl_audit_add(server->audit, "deployment.delete", name, sl_api_caller(r->request), sl_str_of(NULL, 0));
        json_t *answer = json_pack("{s:s%,s:I,s:I}", "name", name.ptr, name.len, "tasks", (json_int_t)count,
                                   "cancelled", (json_int_t)cancelled);
        if (d->of_file)
            (void)json_object_set_new(
                answer, "warning",
                json_string("its file is still where LLAMA_DEPLOY_APISERVER_RC_PATH or "
                            "..._DEPLOYMENT_FILE_PATH tells: it is up again with the next start"));
        sl_api_reply(r->request, 200, answer);
    }
    json_decref(left);
    sl_deployment_unref(r->deployment);
    sl_api_unref(r->request);
    sl_free(r);
}

void sl_api_delete_deployment(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str name = sl_api_param(request, 0);
    removing *r = NULL;
    sl_flow_deployment *d = sl_deployment_find(server, name);
    if (!d) {
        sl_api_fail(request, 404, "Deployment not found");
        return;
    }
    r = sl_calloc(1, sizeof *r);
    if (!r) {
        sl_api_fail_code(request, SL_ENOMEM, "the deployment cannot be removed");
        return;
    }
    r->request = sl_api_ref(request);
    r->deployment = sl_deployment_ref(d);
    r->cancel = sl_api_query_flag(request, "cancel");
    sl_flow_store_put(server->store, "insert or ignore into removed(name) values(?1)", &name, 1);
    int error = sl_flow_store_put_then(server->store, "delete from deployments where name = ?1", &name, 1, removed, r);
    if (error)
        removed(r, error);
}

/* ---- at the start ---- */

static bool load_removed(void *user, const sl_str *columns, size_t count)
{
    sl_flow_server *server = user;
    SL_ASSERT(count == 1);
    (void)count;
    if (sl_deployment_find(server, columns[0])) /* it is back, from a file of the environment */
        sl_flow_store_put(server->store, "delete from removed where name = ?1", &columns[0], 1);
    else
        return leaving_new(server, columns[0]) != NULL;
    return true;
}

typedef struct owner {
    char name[SL_QUEUE_MAX_TOPIC_BYTES + 1];
} owner;

static bool owner_row(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 1);
    (void)count;
    owner *o = user;
    (void)sl_str_to_c(columns[0], o->name, sizeof o->name);
    return false;
}

/* A task of one that was removed needs somebody who takes its message. */
static int adopt(void *user, const sl_run_left *left)
{
    sl_flow_server *server = user;
    owner o = {""};
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    sl_flow *flow = NULL;
    sl_str service = left->run.workflow;
    int error = sl_flow_store_query(server->store, "select deployment from tasks where id = ?1", &left->run.id, 1,
                                    owner_row, &o);
    sl_flow_leaving *l = *leaving_of(server, sl_str_c(o.name));
    if (error || !l || sl_str_eq_c(left->run.hash, "worker") || l->consumer_count == SL_DEPLOY_MAX_SERVICES)
        return error;
    for (size_t i = 0; i < l->consumer_count; i++) {
        if (sl_str_eq(l->consumers[i]->service, service))
            return 0;
    }
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    if (!problems)
        return SL_ENOMEM;
    error = sl_flow_load(left->run.source, problems, &flow);
    sl_free(problems);
    if (error) /* it was good when it was accepted: its message waits for a version that reads it */
        return error == SL_ENOMEM ? error : 0;
    int len = snprintf(topic, sizeof topic, "%s.%s.%.*s", server->topics, l->name, (int)service.len, service.ptr);
    if (len < 0 || (size_t)len >= sizeof topic) { /* of another namespace: nobody reads it here */
        sl_flow_unref(flow);
        return 0;
    }
    error = sl_flows_keep_version(server, flow);
    if (!error)
        error = sl_consumer_new(server, service, topic, flow, &l->consumers[l->consumer_count]);
    l->consumer_count += error == 0;
    sl_flow_unref(flow);
    return error;
}

int sl_leaving_load(sl_flow_server *server)
{
    int error = sl_flow_store_query(server->store, "select name from removed", NULL, 0, load_removed, server);
    return error || !server->leaving ? error : sl_run_store_each_left(server->runs, adopt, server);
}
