/* See queue.h (NATS JetStream) and queue_nats_impl.h. Without libnats: an engine that cannot be opened. */
#include "src/queue/queue.h"

#include <stdio.h>

#ifndef SL_HAVE_NATS

int sl_queue_nats_open(const sl_queue_nats_options *options, char *error, size_t error_size, sl_queue **ret_queue)
{
    (void)ret_queue;
    (void)snprintf(error, error_size, "%s: this build has no NATS client; install libnats-dev and build again",
                   options->url);
    return SL_ENOTSUP;
}

#else

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_nats_impl.h"

void sl_qn_note(sl_qn *q, const char *what, const char *text)
{
    (void)pthread_mutex_lock(&q->lock);
    (void)snprintf(q->last_error, sizeof q->last_error, "NATS: %s: %s", what, text ? text : "unknown error");
    (void)pthread_mutex_unlock(&q->lock);
}

uint64_t sl_qn_header_u64(natsMsg *msg, const char *name, uint64_t fallback)
{
    uint64_t value;
    return sl_str_to_u64(sl_qn_header(msg, name), &value) ? fallback : value;
}

/* ---- topics ---- */

static bool is_topic(sl_str name)
{
    return name.len > 0 && name.len <= SL_QUEUE_MAX_TOPIC_BYTES && sl_utf8_valid(name) &&
           sl_str_chr(name, 0) == SL_NPOS;
}

/* A subject's token of any topic: letters, digits, '_' and '-' as they are, other bytes as =XX. */
static void code_topic(sl_str name, char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-') {
            *text++ = (char)c;
        } else {
            *text++ = '=';
            *text++ = digits[c >> 4];
            *text++ = digits[c & 15];
        }
    }
    *text = 0;
}

int sl_qn_topic_code(sl_str name, char text[SL_QN_NAME_BYTES])
{
    if (!is_topic(name))
        return SL_EINVAL;
    code_topic(name, text);
    return 0;
}

sl_qn_topic *sl_qn_topic_find(sl_qn *q, sl_str name)
{
    sl_qn_topic *topic = q->topics;
    while (topic && !sl_str_eq_c(name, topic->stats.topic))
        topic = topic->next;
    return topic;
}

/* Finds or makes. Under the lock. */
int sl_qn_topic_get(sl_qn *q, sl_str name, sl_qn_topic **ret_topic)
{
    if (!is_topic(name))
        return SL_EINVAL;
    sl_qn_topic *topic = sl_qn_topic_find(q, name);
    if (!topic) {
        if (q->topic_count >= SL_QUEUE_MAX_TOPICS)
            return SL_EAGAIN;
        topic = sl_calloc(1, sizeof *topic);
        if (!topic)
            return SL_ENOMEM;
        topic->q = q;
        topic->hungry = true;
        (void)sl_str_to_c(name, topic->stats.topic, sizeof topic->stats.topic);
        code_topic(name, topic->coded);
        for (int i = 0; i < SL_QUEUE_PRIORITIES; i++)
            topic->last[i] = &topic->first[i];
        topic->next = q->topics;
        q->topics = topic;
        q->topic_count++;
    }
    *ret_topic = topic;
    return 0;
}

static int qn_topic_make(sl_queue *queue, sl_str name)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_topic *topic;
    (void)pthread_mutex_lock(&q->lock);
    int error = sl_qn_topic_get(q, name, &topic);
    (void)pthread_mutex_unlock(&q->lock);
    return error;
}

/* Other processes may have made it: every name that can be one is. */
static bool qn_topic_is(sl_queue *queue, sl_str name)
{
    return qn_topic_make(queue, name) == 0;
}

/* ---- figures ---- */

static size_t qn_get_stats(sl_queue *queue, sl_queue_topic_stats *stats, size_t max)
{
    sl_qn *q = sl_qn_of(queue);
    size_t count = 0;
    (void)pthread_mutex_lock(&q->lock);
    for (const sl_qn_topic *topic = q->topics; topic; topic = topic->next, count++) {
        if (count < max) {
            stats[count] = topic->stats;
            stats[count].ready += topic->elsewhere;
        }
    }
    (void)pthread_mutex_unlock(&q->lock);
    return count;
}

static void qn_get_disk_stats(sl_queue *queue, sl_queue_disk_stats *ret_stats)
{
    (void)queue;
    *ret_stats = (sl_queue_disk_stats){.commits = 0}; /* the broker's */
}

static void qn_last_error(sl_queue *queue, char *text, size_t size)
{
    sl_qn *q = sl_qn_of(queue);
    (void)pthread_mutex_lock(&q->lock);
    (void)snprintf(text, size, "%s", q->last_error);
    (void)pthread_mutex_unlock(&q->lock);
}

/* ---- life ---- */

/* Makes a stream, or takes the one that is there. */
static natsStatus make_stream(sl_qn *q, const char *name, const char *subject,
                              void (*more)(const sl_qn *, jsStreamConfig *))
{
    jsStreamConfig config;
    jsStreamInfo *info = NULL;
    jsErrCode code = 0;
    const char *subjects[1] = {subject};
    (void)jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.Replicas = q->options.replicas;
    config.AllowDirect = true;
    more(q, &config);
    natsStatus status = js_AddStream(&info, q->js, &config, NULL, &code);
    if (status != NATS_OK) { /* there, and made with other options */
        jsStreamInfo_Destroy(info);
        info = NULL;
        status = js_GetStreamInfo(&info, q->js, name, NULL, &code);
    }
    if (status == NATS_OK && strcmp(name, SL_QN_TASKS) == 0)
        q->head = sl_queue_id_head((uint64_t)info->Created / 1000000u, 0);
    jsStreamInfo_Destroy(info);
    return status;
}

static void as_tasks(const sl_qn *q, jsStreamConfig *config)
{
    (void)q;
    config->Retention = js_WorkQueuePolicy;
    config->Duplicates = 120ll * 1000000000;
}

static void as_done(const sl_qn *q, jsStreamConfig *config)
{
    config->MaxAge = (int64_t)q->options.key_retention_ms * 1000000;
    config->MaxMsgsPerSubject = 1;
    config->Discard = js_DiscardNew;
    config->DiscardNewPerSubject = true;
    config->Duplicates = 1000000000;
}

static void as_dead(const sl_qn *q, jsStreamConfig *config)
{
    (void)q;
    (void)config;
}

/* The servers of a list with commas; all of them are tried. */
static natsStatus set_servers(natsOptions *options, const char *urls)
{
    char text[4096];
    const char *servers[SL_QN_SERVERS];
    int count = 0;
    if (!sl_str_to_c(sl_str_c(urls), text, sizeof text))
        return NATS_INVALID_ARG;
    char *rest = NULL;
    for (char *one = strtok_r(text, ", ", &rest); one && count < SL_QN_SERVERS; one = strtok_r(NULL, ", ", &rest))
        servers[count++] = one;
    return natsOptions_SetServers(options, servers, count);
}

static natsStatus connect_to(sl_qn *q, const char *url)
{
    natsOptions *options = NULL;
    jsOptions js;
    natsStatus status = natsOptions_Create(&options);
    if (status == NATS_OK)
        status = set_servers(options, url);
    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(options, -1);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(options, 100);
    if (status == NATS_OK)
        status = natsOptions_SetName(options, "sightline");
    if (status == NATS_OK)
        status = natsConnection_Connect(&q->nc, options);
    natsOptions_Destroy(options);
    (void)jsOptions_Init(&js);
    js.Wait = SL_QN_WAIT_MS;
    js.PublishAsync.MaxPending = 2 * SL_QN_PENDING;
    js.PublishAsync.AckHandler = sl_qn_on_answer;
    js.PublishAsync.AckHandlerClosure = q;
    if (status == NATS_OK)
        status = natsConnection_JetStream(&q->js, q->nc, &js);
    if (status == NATS_OK)
        status = natsInbox_Create(&q->inbox);
    char subject[128];
    (void)snprintf(subject, sizeof subject, "%s.*", q->inbox ? q->inbox : "");
    if (status == NATS_OK)
        status = natsConnection_Subscribe(&q->confirmations, q->nc, subject, sl_qn_on_confirmation, q);
    return status;
}

/* Three where the cluster has as many nodes, as far as it is known. */
static unsigned count_replicas(sl_qn *q)
{
    char **servers = NULL;
    int count = 0;
    if (natsConnection_GetServers(q->nc, &servers, &count) != NATS_OK)
        return 1;
    for (int i = 0; i < count; i++)
        free(servers[i]);
    free(servers);
    return count >= 3 ? 3 : 1;
}

static natsStatus make_streams(sl_qn *q)
{
    if (!q->options.replicas)
        q->options.replicas = count_replicas(q);
    natsStatus status = make_stream(q, SL_QN_TASKS, "sl.q.>", as_tasks);
    if (status == NATS_OK)
        status = make_stream(q, SL_QN_DONE, "sl.d.>", as_done);
    return status == NATS_OK ? make_stream(q, SL_QN_DEAD, "sl.x.>", as_dead) : status;
}

static void give_all_back(sl_qn *q)
{
    for (size_t i = 0; i < SL_QN_BUCKETS; i++) {
        while (q->leased[i]) {
            sl_qn_entry *e = q->leased[i];
            q->leased[i] = e->next;
            sl_qn_release(q, e);
        }
    }
    while (q->delayed) {
        sl_qn_entry *e = q->delayed;
        q->delayed = e->next;
        sl_qn_release(q, e);
    }
    while (q->topics) {
        sl_qn_topic *topic = q->topics;
        sl_qn_entry *e;
        while ((e = sl_qn_pop(topic)) != NULL)
            sl_qn_release(q, e);
        q->topics = topic->next;
        sl_free(topic);
    }
}

static void free_all(sl_qn *q)
{
    give_all_back(q);
    if (q->nc)
        (void)natsConnection_FlushTimeout(q->nc, 1000);
    natsSubscription_Destroy(q->confirmations);
    natsInbox_Destroy(q->inbox);
    jsCtx_Destroy(q->js);
    natsConnection_Destroy(q->nc);
    while (q->watchers) {
        sl_qn_watcher *next = q->watchers->next;
        sl_free(q->watchers);
        q->watchers = next;
    }
    (void)pthread_cond_destroy(&q->room);
    (void)pthread_cond_destroy(&q->wake);
    (void)pthread_cond_destroy(&q->quiet);
    (void)pthread_mutex_destroy(&q->lock);
    (void)pthread_mutex_destroy(&q->watch_lock);
    sl_free(q);
}

static void qn_close(sl_queue *queue)
{
    sl_qn *q = sl_qn_of(queue);
    uint64_t deadline = sl_deadline_ns(SL_QN_WAIT_MS + 1000);
    sl_qn_hush(q);
    (void)pthread_mutex_lock(&q->lock);
    q->closing = true;
    (void)pthread_cond_broadcast(&q->room);
    (void)pthread_cond_signal(&q->wake);
    while (q->publishing && sl_mono_ns() < deadline)
        (void)sl_cond_wait_until(&q->quiet, &q->lock, deadline);
    (void)pthread_mutex_unlock(&q->lock);
    (void)pthread_join(q->keeper, NULL);
    sl_qn_stop_pulling(q);
    free_all(q);
}

static bool qn_is_connected(sl_queue *queue)
{
    return natsConnection_Status(sl_qn_of(queue)->nc) == NATS_CONN_STATUS_CONNECTED;
}

static const sl_queue_engine nats_engine = {
    .topic_make = qn_topic_make,
    .topic_is = qn_topic_is,
    .put_start = sl_qn_put_start,
    .take = sl_qn_take,
    .watch = sl_qn_watch,
    .unwatch = sl_qn_unwatch,
    .ack = sl_qn_ack,
    .nack = sl_qn_nack,
    .extend = sl_qn_extend,
    .tell = sl_qn_tell,
    .hear = sl_qn_hear,
    .hear_dead = sl_qn_hear_dead,
    .dead_list = sl_qn_dead_list,
    .dead_requeue = sl_qn_dead_requeue,
    .dead_purge = sl_qn_dead_purge,
    .get_stats = qn_get_stats,
    .get_disk_stats = qn_get_disk_stats,
    .last_error = qn_last_error,
    .is_connected = qn_is_connected,
    .close = qn_close,
};

static sl_qn *new_queue(const sl_queue_nats_options *options)
{
    sl_qn *q = sl_calloc(1, sizeof *q);
    if (!q || sl_cond_init(&q->room) || sl_cond_init(&q->wake) || sl_cond_init(&q->quiet)) {
        sl_free(q);
        return NULL;
    }
    q->base.engine = &nats_engine;
    q->options = *options;
    q->options.url = NULL;
    if (!q->options.key_retention_ms)
        q->options.key_retention_ms = 24u * 3600 * 1000;
    if (!q->options.ack_wait_ms)
        q->options.ack_wait_ms = 30000;
    if (!q->options.max_deliveries)
        q->options.max_deliveries = 5;
    q->next_lease = sl_now_ns();
    sl_rng_init(&q->rng);
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_mutex_init(&q->watch_lock, NULL);
    return q;
}

int sl_queue_nats_open(const sl_queue_nats_options *options, char *error, size_t error_size, sl_queue **ret_queue)
{
    SL_ASSERT(options && options->url && error && error_size && ret_queue);
    (void)snprintf(error, error_size, "%s: out of memory", options->url);
    sl_qn *q = new_queue(options);
    if (!q)
        return SL_ENOMEM;
    int result = SL_ECONNECT;
    natsStatus status = connect_to(q, options->url);
    if (status == NATS_OK) {
        result = SL_EIO;
        status = make_streams(q);
    }
    if (status == NATS_OK) {
        result = sl_thread_start(&q->keeper, sl_qn_keep, q);
    } else {
        const char *why = nats_GetLastError(NULL);
        (void)snprintf(error, error_size, "%s: %s (%s); is it a nats-server with JetStream, of 2.9 or later?",
                       options->url, natsStatus_GetText(status), why ? why : "");
    }
    if (result) {
        free_all(q);
        return result;
    }
    error[0] = 0;
    *ret_queue = (sl_queue *)(void *)q;
    return 0;
}

#endif
