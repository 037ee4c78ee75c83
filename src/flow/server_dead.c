/*
 * Tasks whose message, or whose result, has become a dead letter: nobody would ever hear of them again, so they fail,
 * with an error that says how to bring them back. Brought back they are as if they had not failed (SL_RUN_DEAD_LETTER).
 *
 * The queue tells of each letter as it comes; at a start, letters are looked through for the tasks that are left.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

#define MAX_HEARD 4096u /* letters that wait for the loop; beyond, all are looked through */
#define PAGE 500u

typedef struct heard {
    struct heard *next;
    char id[SL_FLOW_ID_MAX];
    char why[SL_QUEUE_MAX_REASON_BYTES + SL_QUEUE_MAX_TOPIC_BYTES + 256];
} heard;

struct sl_dead_letters {
    sl_flow_server *server;
    bool stopped;
    sl_mail mail;
    pthread_mutex_t lock;
    /* Locked. */
    heard *first, **end;
    size_t count;
    bool mailed, lost;
};

bool sl_run_failed_by_letter(const json_t *run)
{
    const char *type = json_string_value(json_object_get(run, "error_type"));
    return type && strcmp(type, SL_RUN_DEAD_LETTER) == 0;
}

/* ---- letters ---- */

static void say_why(const sl_queue_dead *dead, bool result, heard *h)
{
    SL_ASSERT(dead);
    (void)snprintf(h->why, sizeof h->why,
                   "its %s became a dead letter (%.*s): bring it back with POST /queues/%.*s/dead/requeue%s%s on the "
                   "queue's server, or resume the run",
                   result ? "result" : "message", (int)dead->reason.len, dead->reason.ptr ? dead->reason.ptr : "",
                   (int)dead->topic.len, dead->topic.ptr, *dead->id ? "?id=" : "", dead->id);
    h->why[sl_utf8_prefix(sl_str_c(h->why), sizeof h->why - 1)] = 0;
}

/* False: it is no task's, or its loss ends none. */
static bool read_letter(const sl_queue_dead *dead, heard *h)
{
    SL_ASSERT(dead && h);
    json_t *root = sl_json_load(dead->body, 0, NULL);
    const char *id = json_string_value(json_object_get(json_object_get(root, "data"), "task_id"));
    const char *action = json_string_value(json_object_get(root, "action"));
    bool good = id && sl_task_id_is_good(sl_str_c(id)) &&
                !(action && (strcmp(action, "send_event") == 0 || strcmp(action, "task_stream") == 0));
    if (good) {
        (void)snprintf(h->id, sizeof h->id, "%s", id);
        say_why(dead, action && strcmp(action, "completed_task") == 0, h);
    }
    json_decref(root);
    return good;
}

/* ---- ends ---- */

static void fail_task(sl_flow_server *server, const char *id, const char *why)
{
    SL_ASSERT(id && why);
    sl_str run_id = sl_str_c(id);
    json_t *run = NULL;
    /* One that runs here goes on: its lease was over too early. */
    if (sl_flow_run_find(server->executor, run_id) || sl_task_is_here(server, run_id) ||
        sl_run_store_get(server->runs, run_id, &run) != 0)
        return;
    const char *status = json_string_value(json_object_get(run, "status"));
    const char *workflow = json_string_value(json_object_get(run, "workflow"));
    bool open = status && (strcmp(status, "queued") == 0 || strcmp(status, "running") == 0);
    if (open) {
        sl_run_end_row row = {.run_id = run_id,
                              .status = SL_STR("failed"),
                              .error = sl_str_c(why),
                              .error_type = SL_STR(SL_RUN_DEAD_LETTER),
                              .outputs = SL_STR("{}"),
                              .end_ns = sl_now_ns()};
        server->forgotten_ns = row.end_ns; /* it may come back, with the time at which it was put */
        sl_run_store_ended(server->runs, &row);
        sl_executor_count_failure(server->executor, sl_str_c(workflow));
        json_t *event =
            json_pack("{s:s,s:s,s:s,s:s}", "event", "run_ended", "run_id", id, "status", "failed", "error", why);
        sl_streams_push(server, run_id, UINT64_MAX, event, SL_STREAM_ENDS);
        json_decref(event);
        sl_task_end end = {run_id, "failed", NULL, why, SL_RUN_DEAD_LETTER};
        sl_task_ended(server, &end);
    }
    json_decref(run);
}

/* ---- those of an earlier life ---- */

static int note_topic(void *user, const sl_run_left *left)
{
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    sl_dead_letters *d = ((void **)user)[0];
    json_t *topics = ((void **)user)[1];
    if (sl_task_topic(d->server, left, topic) != 0)
        return 0;
    return json_object_set_new(topics, topic, json_true()) == 0 ? 0 : SL_ENOMEM;
}

typedef struct page {
    sl_flow_server *server;
    char last[SL_QUEUE_ID_BYTES];
} page;

static void look_at(void *user, const sl_queue_dead *dead)
{
    page *p = user;
    heard h;
    (void)snprintf(p->last, sizeof p->last, "%s", dead->id);
    if (read_letter(dead, &h))
        fail_task(p->server, h.id, h.why);
}

static void look_through(sl_flow_server *server, const char *topic)
{
    SL_ASSERT(topic);
    page p = {server, ""};
    while (sl_queue_dead_list(server->queue, sl_str_c(topic), sl_str_c(p.last), PAGE, look_at, &p) == (int)PAGE)
        ;
}

/* Letters of all topics where tasks that are left may have one. */
static int look_through_all(sl_dead_letters *d)
{
    sl_flow_server *server = d->server;
    json_t *topics = json_object(), *value;
    void *both[2] = {d, topics};
    const char *topic;
    int error = topics ? sl_run_store_each_left(server->runs, note_topic, both) : SL_ENOMEM;
    if (!error && json_object_size(topics) > 0) { /* results that wait */
        look_through(server, server->replies->topic);
        if (server->own_replies)
            look_through(server, server->own_replies->topic);
    }
    json_object_foreach(topics, topic, value) look_through(server, topic);
    json_decref(topics);
    return error;
}

/* ---- news ---- */

static void deliver(sl_mail *mail)
{
    sl_dead_letters *d = (sl_dead_letters *)(void *)((char *)mail - offsetof(sl_dead_letters, mail));
    (void)pthread_mutex_lock(&d->lock);
    heard *all = d->first;
    bool lost = d->lost;
    d->first = NULL;
    d->end = &d->first;
    d->count = 0;
    d->mailed = d->lost = false;
    (void)pthread_mutex_unlock(&d->lock);
    while (all) {
        heard *h = all;
        all = h->next;
        if (!d->stopped)
            fail_task(d->server, h->id, h->why);
        sl_free(h);
    }
    if (lost && !d->stopped)
        (void)!look_through_all(d);
}

/* On the queue's thread. */
static void on_dead(void *user, const sl_queue_dead *dead)
{
    sl_dead_letters *d = user;
    heard *h = sl_calloc(1, sizeof *h);
    if (h && !read_letter(dead, h)) {
        sl_free(h);
        return;
    }
    (void)pthread_mutex_lock(&d->lock);
    bool post = !d->mailed;
    d->mailed = true;
    if (h && d->count < MAX_HEARD) {
        *d->end = h;
        d->end = &h->next;
        d->count++;
        h = NULL;
    } else {
        d->lost = true;
    }
    (void)pthread_mutex_unlock(&d->lock);
    sl_free(h);
    if (post)
        sl_mailbox_post(&d->server->box, &d->mail);
}

int sl_dead_letters_start(sl_flow_server *server)
{
    SL_ASSERT(server->queue && !server->dead_letters);
    sl_dead_letters *d = sl_calloc(1, sizeof *d);
    if (!d)
        return SL_ENOMEM;
    d->server = server;
    d->end = &d->first;
    d->mail.deliver = deliver;
    (void)pthread_mutex_init(&d->lock, NULL);
    server->dead_letters = d;
    return sl_queue_hear_dead(server->queue, on_dead, d);
}

int sl_dead_letters_take_up(sl_flow_server *server)
{
    SL_ASSERT(server->dead_letters && server->replies);
    return look_through_all(server->dead_letters);
}

void sl_dead_letters_stop(sl_flow_server *server)
{
    if (server->dead_letters)
        server->dead_letters->stopped = true;
}

void sl_dead_letters_free(sl_flow_server *server)
{
    sl_dead_letters *d = server->dead_letters;
    if (!d)
        return;
    SL_ASSERT(!d->first);
    (void)pthread_mutex_destroy(&d->lock);
    sl_free(d);
    server->dead_letters = NULL;
}
