/*
 * For tests of the flow plane as its clients see it: a server in this process, on a thread and a folder of its own,
 * asked over its sockets; a worker's part of the conversation; starts anew on the same folder.
 */
#ifndef SL_FLOW_TEST_SERVER_FIXTURE_H
#define SL_FLOW_TEST_SERVER_FIXTURE_H

#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>

#include "src/flow/server.h"
#include "src/llm/json_text.h"
#include "tests/harness/net_fixture.h"

#define FS_UNUSED __attribute__((unused))
#define FS_ECHO                                                                                                        \
    "name: echo\nsteps:\n  - {id: a, type: transform, function: template, template: 'echo: {{ inputs.x }}', output: "  \
    "[text]}\n"
#define FS_KEY "secret"

typedef enum fs_surface { FS_API = 0, FS_CONTROL, FS_QUEUE, FS_SURFACES } fs_surface;

typedef struct fs {
    sl_flow_server_options options;
    char folder[64];
    pthread_t thread;
    int fds[FS_SURFACES];
    uint16_t ports[FS_SURFACES];
    atomic_int state; /* 0: starting, 1: ready, 2: over */
    int status;       /* of the process, once it is over */
} fs;

FS_UNUSED static void fs_on_ready(void *user)
{
    fs *s = user;
    atomic_store(&s->state, 1);
}

FS_UNUSED static void *fs_run(void *user)
{
    fs *s = user;
    s->status = sl_flow_server_run(&s->options);
    atomic_store(&s->state, 2);
    return NULL;
}

/* Starts it, on what is in the folder. False: it did not come up; its status is that of the process. */
FS_UNUSED static bool fs_start(fs *s)
{
    sl_flow_server_options *o = &s->options;
    for (int i = 0; i < FS_SURFACES; i++)
        s->fds[i] = nf_listen(&s->ports[i]);
    o->data_dir = s->folder;
    o->api_fd = s->fds[FS_API];
    o->control_fd = s->fds[FS_CONTROL];
    o->queue_fd = s->fds[FS_QUEUE];
    o->on_ready = fs_on_ready;
    o->user = s;
    atomic_store(&s->state, 0);
    if (pthread_create(&s->thread, NULL, fs_run, s) != 0)
        abort();
    for (int i = 0; i < 2 * NF_PATIENCE_MS && atomic_load(&s->state) == 0; i++)
        nf_sleep_ms(1);
    return atomic_load(&s->state) == 1;
}

static void fs_join(fs *s)
{
    (void)pthread_join(s->thread, NULL);
    for (int i = 0; i < FS_SURFACES; i++)
        (void)close(s->fds[i]);
}

/* Ends it as the operator does, and waits. */
FS_UNUSED static void fs_stop(fs *s)
{
    if (atomic_load(&s->state) == 1)
        (void)kill(getpid(), SIGTERM);
    fs_join(s);
}

/* A new one in a folder of its own: runs are run here (`runs` at once), or by workers when that is 0. */
FS_UNUSED static bool fs_new(fs *s, size_t runs)
{
    memset(s, 0, sizeof *s);
    (void)snprintf(s->folder, sizeof s->folder, "/tmp/sl-test-server-XXXXXX");
    if (!sl_test_mkdtemp(s->folder))
        abort();
    s->options.max_runs = runs;
    s->options.drain_timeout_ms = 100;
    return fs_start(s);
}

FS_UNUSED static void fs_again(fs *s)
{
    fs_stop(s);
    CHECK_EQ(s->status, 0);
    CHECK(fs_start(s));
}

/* ---- requests ---- */

/* As nf_ask, with what every request needs. The caller frees the answer. */
FS_UNUSED static nf_message fs_send(fs *s, fs_surface surface, const char *method, const char *target, const char *more,
                                    const char *body)
{
    char *text;
    bool json = !strstr(more, "Content-Type");
    if (asprintf(&text, "%s %s HTTP/1.1\r\nHost: test\r\n%s%sContent-Length: %zu\r\n\r\n%s", method, target, more,
                 json && *body ? "Content-Type: application/json\r\n" : "", strlen(body), body) < 0)
        abort();
    nf_message m = nf_ask(s->ports[surface], text);
    free(text);
    return m;
}

/* Asks, checks the status, and gives the answer's JSON (NULL: it is none). The caller holds a reference. */
FS_UNUSED static json_t *fs_ask(fs *s, fs_surface surface, const char *method, const char *target, const char *body,
                                int status)
{
    nf_message m = fs_send(s, surface, method, target, "", body);
    if (m.status != status)
        sl_test_failed(__FILE__, __LINE__, "%s %.100s: %d, not %d: %.*s", method, target, m.status, status,
                       (int)(m.body.len < 300 ? m.body.len : 300), m.body.len ? m.body.ptr : "");
    json_t *json = m.body.len ? json_loadb(m.body.ptr, m.body.len, JSON_DECODE_ANY, NULL) : NULL;
    nf_message_free(&m);
    return json;
}

FS_UNUSED static void fs_expect(fs *s, fs_surface surface, const char *method, const char *target, const char *body,
                                int status)
{
    json_decref(fs_ask(s, surface, method, target, body, status));
}

/* A text of the answer, by its key, into `ret` (empty: there is none). Takes the reference. */
FS_UNUSED static void fs_text(json_t *answer, const char *key, char *ret, size_t size)
{
    const json_t *value = key ? json_object_get(answer, key) : answer;
    (void)snprintf(ret, size, "%s", json_is_string(value) ? json_string_value(value) : "");
    json_decref(answer);
}

FS_UNUSED static void fs_add(fs *s, const char *workflow)
{
    nf_message m = fs_send(s, FS_API, "POST", "/workflows", "Content-Type: application/yaml\r\n", workflow);
    if (m.status != 200 && m.status != 201)
        sl_test_failed(__FILE__, __LINE__, "the workflow: %d: %.*s", m.status, (int)m.body.len, m.body.ptr);
    nf_message_free(&m);
}

/* Starts a run; its id into `ret_id`. */
FS_UNUSED static void fs_begin(fs *s, const char *workflow, const char *body, char ret_id[64])
{
    char target[200];
    (void)snprintf(target, sizeof target, "/workflows/%s/runs", workflow);
    fs_text(fs_ask(s, FS_API, "POST", target, body, 202), "run_id", ret_id, 64);
}

/* The status of a run: "(none)" when there is none. The text lives until the next call. */
FS_UNUSED static const char *fs_status(fs *s, const char *run)
{
    static char status[32];
    char target[200];
    (void)snprintf(target, sizeof target, "/runs/%s", run);
    nf_message m = fs_send(s, FS_API, "GET", target, "", "");
    json_t *json = m.body.len ? json_loadb(m.body.ptr, m.body.len, 0, NULL) : NULL;
    nf_message_free(&m);
    fs_text(json, "status", status, sizeof status);
    if (!*status)
        (void)strcpy(status, "(none)");
    return status;
}

/* Waits until a run has this status. */
FS_UNUSED static bool fs_comes_to(fs *s, const char *run, const char *status)
{
    for (int i = 0; i < NF_PATIENCE_MS / 2; i++) {
        if (strcmp(fs_status(s, run), status) == 0)
            return true;
        nf_sleep_ms(2);
    }
    sl_test_failed(__FILE__, __LINE__, "run %s is %s, not %s", run, fs_status(s, run), status);
    return false;
}

/* ---- a worker ---- */

/* A task as a worker has taken it. */
typedef struct fs_task {
    char message[64], lease[32], id[64], session[64];
    json_t *data; /* owned */
} fs_task;

FS_UNUSED static void fs_task_done(fs_task *task)
{
    json_decref(task->data);
    task->data = NULL;
}

/* Takes the next task of a service; false: there is none within `wait_s`. */
FS_UNUSED static bool fs_take(fs *s, const char *service, unsigned wait_s, fs_task *ret)
{
    char target[200];
    (void)snprintf(target, sizeof target, "/queues/llama_deploy.%s/lease?wait=%u&lease=600", service, wait_s);
    json_t *answer = fs_ask(s, FS_QUEUE, "POST", target, "", 200);
    const json_t *m = json_array_get(json_object_get(answer, "messages"), 0);
    const char *body = json_string_value(json_object_get(m, "body"));
    json_t *root = body ? json_loads(body, 0, NULL) : NULL;
    memset(ret, 0, sizeof *ret);
    if (root) {
        ret->data = json_incref(json_object_get(root, "data"));
        (void)snprintf(ret->message, sizeof ret->message, "%s", json_string_value(json_object_get(m, "id")));
        (void)snprintf(ret->lease, sizeof ret->lease, "%s", json_string_value(json_object_get(m, "lease")));
        const char *id = json_string_value(json_object_get(ret->data, "task_id"));
        const char *session = json_string_value(json_object_get(ret->data, "session_id"));
        (void)snprintf(ret->id, sizeof ret->id, "%s", id ? id : "");
        (void)snprintf(ret->session, sizeof ret->session, "%s", session ? session : "");
    }
    json_decref(root);
    json_decref(answer);
    return root != NULL;
}

/* The end of a message: "ack", "nack?…". */
FS_UNUSED static void fs_settle(fs *s, const fs_task *task, const char *how, int status)
{
    char target[300];
    const char *more = strchr(how, '?');
    (void)snprintf(target, sizeof target, "/queues/messages/%s/%.*s?lease=%s%s%s", task->message,
                   more ? (int)(more - how) : (int)strlen(how), how, task->lease, more ? "&" : "",
                   more ? more + 1 : "");
    fs_expect(s, FS_QUEUE, "POST", target, "", status);
}

/* Says something to the control plane; takes `data`. */
FS_UNUSED static void fs_say(fs *s, const char *action, json_t *data)
{
    json_t *message =
        json_pack("{s:s,s:s,s:s,s:o}", "publisher_id", "w", "type", "control_plane", "action", action, "data", data);
    char *text = sl_json_text(message);
    fs_expect(s, FS_QUEUE, "POST", "/queues/llama_deploy.control_plane/messages", text, 201);
    free(text);
    json_decref(message);
}

/* The result of a task, as a worker of another make says it. */
FS_UNUSED static void fs_result(fs *s, const char *id, const char *result)
{
    fs_say(s, "completed_task", json_pack("{s:s,s:[],s:s,s:{}}", "task_id", id, "history", "result", result, "data"));
}

/* Brings a deployment up, or anew, from the text of its file. */
FS_UNUSED static void fs_deploy(fs *s, const char *file)
{
    char form[2048];
    int len = snprintf(form, sizeof form,
                       "--m\r\nContent-Disposition: form-data; name=\"config_file\"; filename=\"d.yml\"\r\n\r\n%s"
                       "\r\n--m--\r\n",
                       file);
    REQUIRE(len > 0 && (size_t)len < sizeof form);
    nf_message m = fs_send(s, FS_API, "POST", "/deployments/create?reload=true",
                           "Content-Type: multipart/form-data; boundary=m\r\n", form);
    CHECK_EQ(m.status, 200);
    nf_message_free(&m);
}

#endif
