/* Workflows: their versions, their topics, their place on disk. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"

/* ---- versions ---- */

sl_flow *sl_flows_version(sl_flow_server *server, sl_str hash)
{
    SL_ASSERT(server);
    json_t *place = json_object_getn(server->flows, hash.ptr ? hash.ptr : "", hash.len);
    return place ? server->versions[json_integer_value(place)] : NULL;
}

int sl_flows_keep_version(sl_flow_server *server, sl_flow *flow)
{
    SL_ASSERT(flow);
    if (sl_flows_version(server, sl_str_c(flow->hash)))
        return 0;
    if (server->version_count == SL_FLOW_MAX_VERSIONS)
        return SL_ELIMIT;
    if (server->version_count == server->version_cap) {
        size_t cap = server->version_cap ? 2 * server->version_cap : 16;
        sl_flow **more = sl_realloc(server->versions, cap * sizeof *more);
        if (!more)
            return SL_ENOMEM;
        server->versions = more;
        server->version_cap = cap;
    }
    if (json_object_set_new(server->flows, flow->hash, json_integer((json_int_t)server->version_count)) != 0)
        return SL_ENOMEM;
    server->versions[server->version_count++] = sl_flow_ref(flow);
    return 0;
}

/* ---- consumers ---- */

static void mail_ready(sl_mail *mail)
{
    sl_flow_consumer *c = (sl_flow_consumer *)(void *)((char *)mail - offsetof(sl_flow_consumer, mail));
    atomic_store(&c->mailed, false);
    c->ready = true;
    if (c->flow)
        sl_tasks_pump(c->server);
    else
        sl_replies_take(c->server);
}

/* From a thread of the queue. */
static void on_message(void *user)
{
    sl_flow_consumer *c = user;
    if (!atomic_exchange(&c->mailed, true))
        sl_mailbox_post(&c->server->box, &c->mail);
}

int sl_consumer_watch(sl_flow_consumer *c)
{
    SL_ASSERT(c);
    /* Who runs nothing must not watch: a cluster's client fetches ahead for those who do. */
    if (c->watch >= 0 || (c->flow && c->server->max_tasks == 0))
        return 0;
    int watch = sl_queue_watch(c->server->queue, sl_str_c(c->topic), on_message, c);
    if (watch < 0)
        return watch;
    c->watch = watch;
    on_message(c); /* what waits from an earlier life */
    return 0;
}

bool sl_consumer_take(sl_flow_consumer *consumer, sl_queue_message **ret_message)
{
    SL_ASSERT(consumer->ready && ret_message);
    sl_flow_server *server = consumer->server;
    int error = sl_queue_take(server->queue, sl_str_c(consumer->topic), SL_FLOW_LEASE_MS, ret_message);
    consumer->ready = error != SL_EAGAIN && error != SL_ECLOSED; /* else nobody would be told of what is there */
    server->takes_failed |= error && consumer->ready;
    return error == 0;
}

void sl_consumer_put_off(sl_flow_server *server, sl_queue_message *message)
{
    SL_ASSERT(message);
    int error = sl_queue_nack(server->queue, message->id, message->lease, 1000, false, SL_STR("out of memory"));
    (void)error; /* then its lease ends */
    sl_queue_message_free(message);
}

void sl_consumer_unwatch(sl_flow_consumer *c)
{
    SL_ASSERT(c);
    if (c->watch >= 0)
        sl_queue_unwatch(c->server->queue, c->watch);
    c->watch = -1;
}

int sl_consumer_new(sl_flow_server *server, sl_str service, const char *topic, sl_flow *flow,
                    sl_flow_consumer **ret_consumer)
{
    SL_ASSERT(server && topic && ret_consumer);
    size_t topic_len = strlen(topic);
    if (topic_len > SL_QUEUE_MAX_TOPIC_BYTES)
        return SL_ETOOBIG;
    sl_flow_consumer *c = sl_calloc(1, sizeof *c + service.len + topic_len + 2);
    if (!c)
        return SL_ENOMEM;
    char *at = (char *)(c + 1);
    if (service.len)
        memcpy(at, service.ptr, service.len);
    c->service = sl_str_of(at, service.len);
    at += service.len + 1;
    memcpy(at, topic, topic_len + 1);
    c->topic = at;
    c->server = server;
    c->flow = flow ? sl_flow_ref(flow) : NULL;
    c->mail.deliver = mail_ready;
    c->watch = -1;
    int error = sl_consumer_watch(c);
    if (error) {
        sl_flow_unref(c->flow);
        sl_free(c);
        return error;
    }
    c->next = server->consumers;
    server->consumers = c;
    *ret_consumer = c;
    return 0;
}

sl_flow_consumer *sl_consumer_of(sl_flow_server *server, const char *topic)
{
    SL_ASSERT(server && topic);
    sl_flow_consumer *c = server->consumers;
    while (c && strcmp(c->topic, topic) != 0)
        c = c->next;
    return c;
}

/* ---- workflows ---- */

static void topic_of(const sl_flow_server *server, sl_str name, char *text, size_t size)
{
    (void)snprintf(text, size, "%s.%.*s", server->topics, (int)name.len, name.ptr);
}

sl_flow_consumer *sl_flows_find(sl_flow_server *server, sl_str name)
{
    SL_ASSERT(server);
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 16];
    if (name.len + strlen(server->topics) + 1 > SL_QUEUE_MAX_TOPIC_BYTES)
        return NULL;
    topic_of(server, name, topic, sizeof topic);
    for (sl_flow_consumer *c = server->consumers; c; c = c->next) {
        if (c->flow && sl_str_eq(c->service, name) && strcmp(c->topic, topic) == 0)
            return c;
    }
    return NULL;
}

int sl_flows_save(sl_flow_server *server, const sl_flow *flow, void (*done)(void *user, int error), void *user)
{
    SL_ASSERT(server && flow && done);
    char time[SL_RFC3339_MS_LEN + 1];
    sl_rfc3339_ms(sl_now_ns(), time);
    const sl_str values[] = {sl_str_c(flow->name), sl_str_of(flow->source, flow->source_len), sl_str_c(time)};
    return sl_flow_store_put_then(server->store,
                                  "insert into workflows(name, source, created) values(?1, ?2, ?3) "
                                  "on conflict(name) do update set source = excluded.source",
                                  values, 3, done, user);
}

static size_t workflow_count(const sl_flow_server *server)
{
    size_t count = 0;
    for (const sl_flow_consumer *c = server->consumers; c; c = c->next)
        count += c->flow != NULL;
    return count;
}

int sl_flows_add(sl_flow_server *server, sl_flow *flow, bool *ret_created)
{
    SL_ASSERT(flow && ret_created);
    sl_str name = sl_str_c(flow->name);
    sl_flow_consumer *c = sl_flows_find(server, name);
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 16];
    int error = sl_flows_keep_version(server, flow);
    bool created = !c;
    if (!error && name.len + strlen(server->topics) + 1 > SL_QUEUE_MAX_TOPIC_BYTES)
        error = SL_ETOOBIG;
    if (!error && c) {
        sl_flow_unref(c->flow);
        c->flow = sl_flow_ref(flow);
    } else if (!error) {
        topic_of(server, name, topic, sizeof topic);
        error = workflow_count(server) >= SL_FLOW_MAX_WORKFLOWS ? SL_ELIMIT
                : sl_consumer_of(server, topic)                 ? SL_EEXIST
                                                                : sl_consumer_new(server, name, topic, flow, &c);
    }
    if (!error)
        *ret_created = created;
    sl_flow_unref(flow);
    return error;
}

/* ---- at the start ---- */

static void say_problems(const char *file, const sl_flow_problems *problems)
{
    SL_ASSERT(problems);
    for (size_t i = 0; i < problems->count; i++) {
        const sl_flow_problem *p = &problems->items[i];
        (void)fprintf(stderr, "%s:%u:%u: %s%s%s: %s\n", file, p->line, p->column, p->warning ? "warning" : "error",
                      *p->step ? ": step " : "", p->step, p->message);
    }
}

static bool load_row(void *user, const sl_str *columns, size_t count)
{
    sl_flow_server *server = user;
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    sl_flow *flow = NULL;
    bool created;
    SL_ASSERT(count == 1);
    (void)count;
    if (problems && sl_flow_load(columns[0], problems, &flow) == 0) {
        int error = sl_flows_add(server, flow, &created);
        if (error)
            (void)fprintf(stderr, "sightline: flow: a stored workflow cannot be taken up: %s\n", sl_strerror(error));
    } else if (problems) {
        say_problems("stored workflow", problems); /* a newer version may refuse what an older one took */
    }
    sl_free(problems);
    return true;
}

static int load_file(sl_flow_server *server, sl_str path)
{
    char name[4096];
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    sl_flow *flow = NULL;
    bool created;
    int error = problems ? 0 : SL_ENOMEM;
    if (!error && !sl_str_to_c(path, name, sizeof name))
        error = SL_ETOOBIG;
    if (!error)
        error = sl_flow_load_file(name, problems, &flow);
    if (problems)
        say_problems(name, problems);
    sl_free(problems);
    return error ? error : sl_flows_add(server, flow, &created);
}

int sl_flows_load(sl_flow_server *server)
{
    SL_ASSERT(server && !server->flows);
    server->flows = json_object();
    if (!server->flows)
        return SL_ENOMEM;
    int error =
        sl_flow_store_query(server->store, "select source from workflows order by name", NULL, 0, load_row, server);
    for (size_t i = 0; i < server->options->file_count && !error; i++)
        error = load_file(server, server->options->files[i]);
    return error;
}

void sl_flows_free(sl_flow_server *server)
{
    while (server->consumers) {
        sl_flow_consumer *c = server->consumers;
        server->consumers = c->next;
        sl_flow_unref(c->flow);
        sl_free(c);
    }
    for (size_t i = 0; i < server->version_count; i++)
        sl_flow_unref(server->versions[i]);
    sl_free(server->versions);
    server->versions = NULL;
    json_decref(server->flows);
    server->flows = NULL;
}
