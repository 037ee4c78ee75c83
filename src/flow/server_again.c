/*
 * Messages that have come again, as whoever had them before has died or given up. The run goes on behind the steps of
 * which the server that has it has been told: what it has goes with the message, or with another one in its place.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"

/* ---- runs of this server ---- */

typedef struct placing {
    sl_flow_server *server;
    sl_letter_place place;
    void (*done)(void *user, int error);
    void *user;
} placing;

static void placed(void *user, int error)
{
    placing *p = user;
    p->done(p->user, error);
    sl_free(p);
}

static int put_left(void *user, const sl_run_left *left)
{
    placing *p = user;
    return sl_task_put_again(p->server, left, &p->place, placed, p);
}

void sl_run_put_in_place(sl_flow_server *server, const json_t *data, void (*done)(void *user, int error), void *user)
{
    SL_ASSERT(server && data && done);
    sl_str id = sl_str_c(json_string_value(json_object_get(data, "task_id")));
    placing *p = sl_calloc(1, sizeof *p);
    int error = p ? 0 : SL_ENOMEM;
    if (!error && (!id.len || !sl_letter_read_again(data, &p->place) || sl_task_is_here(server, id)))
        error = SL_ENOENT;
    if (!error) {
        p->server = server;
        p->done = done;
        p->user = user;
        error = sl_run_store_one_left(server->runs, id, put_left, p);
    }
    if (!error)
        return;
    sl_free(p);
    done(user, error);
}

typedef struct adding {
    const sl_flow_server *server;
    json_t *data; /* of the message */
} adding;

static int add_left(void *user, const sl_run_left *left)
{
    const adding *a = user;
    sl_task_add_left(a->server, left, a->data);
    return 0;
}

/* The body with what is known; NULL: nothing is, or there is no memory. */
static char *body_with_steps(sl_flow_server *server, json_t *root, sl_str id)
{
    json_t *data = json_object_get(root, "data");
    adding a = {server, data};
    if (sl_run_store_one_left(server->runs, id, add_left, &a) != 0 ||
        !(json_object_get(data, "steps") || json_object_get(data, "last_seq")))
        return NULL;
    char *text = sl_json_text(root);
    if (text && strlen(text) <= SL_QUEUE_MAX_BODY_BYTES)
        return text;
    free(text);
    return NULL;
}

/* ---- runs of other servers ---- */

/* A message on its way to the server that has its run. */
typedef struct handing {
    sl_mail mail;
    sl_flow_server *server;
    sl_queue_message *message;
    int error;
} handing;

static void handed(sl_mail *mail)
{
    handing *h = (handing *)(void *)mail;
    sl_flow_server *server = h->server;
    const sl_queue_message *m = h->message;
    int error = h->error
                    ? sl_queue_nack(server->queue, m->id, m->lease, 1000, false, SL_STR("its server could not be told"))
                    : sl_queue_ack(server->queue, m->id, m->lease, NULL, NULL);
    (void)error; /* a lease that was over: the next one who has it says the same, and counts once */
    server->pending--;
    sl_queue_message_free(h->message);
    sl_free(h);
}

static void on_handed(void *user, int error, const sl_queue_accepted *accepted)
{
    handing *h = user;
    (void)accepted;
    h->error = error;
    sl_mailbox_post(&h->server->box, &h->mail);
}

/* Takes the message; false: without memory, and it has not. */
static bool hand_over(sl_flow_server *server, sl_queue_message *message, const json_t *root, const char *id,
                      const char *home)
{
    SL_ASSERT(message && id && home);
    sl_letter_place place;
    char key[SL_LETTER_KEY_BYTES];
    sl_letter_place_of(sl_str_c(id), message->idempotency_key, message->delivery, root, &place);
    handing *h = sl_calloc(1, sizeof *h);
    json_t *data = h ? sl_letter_again(id, &place, key) : NULL;
    if (!data) {
        sl_free(h);
        return false;
    }
    *h = (handing){.mail = {.deliver = handed}, .server = server, .message = message};
    server->pending++;
    int error = sl_answer_put(server, home, SL_LETTER_AGAIN, data, key, NULL, on_handed, h);
    if (error)
        on_handed(h, error, NULL);
    return true;
}

/* ---- what workers are to have ---- */

sl_queue_again sl_message_again(void *user, sl_queue_message *message, char **ret_body)
{
    SL_ASSERT(user && message && ret_body);
    sl_flow_server *server = user;
    json_t *root = json_loadb(message->body.ptr, message->body.len, 0, NULL);
    json_t *data = json_object_get(root, "data");
    const char *id = json_string_value(json_object_get(data, "task_id"));
    const char *home = json_string_value(json_object_get(data, "answer_topic"));
    const char *action = json_string_value(json_object_get(root, "action"));
    bool is_task = id && sl_task_id_is_good(sl_str_c(id)) && !(action && strcmp(action, "new_task") != 0);
    bool elsewhere =
        *server->answers && sl_replies_is_topic(server->topics, home) && strcmp(home, server->answers) != 0;
    sl_queue_again then = SL_QUEUE_AGAIN_GIVE;
    if (is_task && !elsewhere)
        *ret_body = body_with_steps(server, root, sl_str_c(id));
    else if (is_task && json_object_get(data, "workflow_hash") && hand_over(server, message, root, id, home))
        then = SL_QUEUE_AGAIN_KEPT;
    json_decref(root);
    return then;
}
