/* See queue_http_impl.h: figures, and dead letters, which are read on a thread of the pool. */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/queue/queue_http_impl.h"
#include "src/queue/queue_message.h"
#include "src/wire/base64.h"
#include "src/wire/json_write.h"

/* ---- figures ---- */

static void write_topic(sl_jw *w, const sl_queue_topic_stats *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } rows[] = {{"ready", s->ready},
                {"delayed", s->delayed},
                {"leased", s->leased},
                {"dead", s->dead},
                {"put", s->put},
                {"taken", s->taken},
                {"acked", s->acked},
                {"redelivered", s->redelivered},
                {"duplicates", s->duplicates},
                {"rejected", s->rejected}};
    sl_jw_object(w);
    sl_jw_key(w, SL_STR("topic"));
    sl_jw_str(w, sl_str_c(s->topic));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_jw_key(w, sl_str_c(rows[i].name));
        sl_jw_u64(w, rows[i].value);
    }
    sl_jw_key(w, SL_STR("oldest_ready_seconds"));
    sl_jw_double(w, (double)s->oldest_ready_ns / 1e9);
    sl_jw_end(w);
}

static void write_disk(sl_jw *w, sl_queue *queue)
{
    sl_queue_disk_stats disk;
    char last[512];
    sl_queue_get_disk_stats(queue, &disk);
    sl_queue_last_error(queue, last, sizeof last);
    sl_jw_key(w, SL_STR("disk"));
    sl_jw_object(w);
    sl_jw_member_u64(w, "commits", disk.commits);
    sl_jw_member_u64(w, "failed_commits", disk.failed_commits);
    sl_jw_member_u64(w, "bytes", disk.bytes);
    sl_jw_key(w, SL_STR("last_error"));
    if (last[0])
        sl_jw_str(w, sl_str_c(last));
    else
        sl_jw_null(w);
    sl_jw_end(w);
}

void sl_qh_stats(sl_qh_request *request)
{
    sl_queue *queue = request->http->options.queue;
    size_t count = sl_queue_get_stats(queue, NULL, 0), now = 0;
    sl_queue_topic_stats *stats = count ? sl_calloc(count, sizeof *stats) : NULL;
    if (stats)
        now = sl_queue_get_stats(queue, stats, count);
    sl_jw w;
    sl_jw_init(&w, &request->out);
    sl_jw_object(&w);
    sl_jw_key(&w, SL_STR("queues"));
    sl_jw_array(&w);
    for (size_t i = 0; i < count && i < now; i++)
        write_topic(&w, &stats[i]);
    sl_jw_end(&w);
    write_disk(&w, queue);
    sl_jw_end(&w);
    sl_free(stats);
    if (sl_jw_finish(&w))
        sl_qh_fail_error(request, SL_ENOMEM);
    else
        sl_qh_answer(request, 200, sl_buf_str(&request->out));
}

/* ---- dead letters ---- */

typedef struct dead_writer {
    sl_jw w;
    sl_buf scratch;
} dead_writer;

static void member(sl_jw *w, const char *name, sl_str text)
{
    sl_jw_key(w, sl_str_c(name));
    if (text.len)
        sl_jw_str(w, text);
    else
        sl_jw_null(w);
}

static void write_dead(void *user, const sl_queue_dead *dead)
{
    dead_writer *d = user;
    sl_jw *w = &d->w;
    if (w->buf->len >= SL_QH_PAGE_BYTES)
        return;
    char put_time[SL_QUEUE_TIME_LEN + 1], dead_time[SL_QUEUE_TIME_LEN + 1];
    bool text = sl_utf8_valid(dead->body);
    sl_queue_time(dead->put_ns, put_time);
    sl_queue_time(dead->dead_ns, dead_time);
    sl_buf_clear(&d->scratch);
    if (!text && sl_base64_encode(&d->scratch, dead->body))
        w->error = SL_ENOMEM;
    sl_jw_object(w);
    member(w, "id", sl_str_c(dead->id));
    member(w, "topic", dead->topic);
    sl_jw_key(w, SL_STR("body"));
    sl_jw_str(w, text ? dead->body : sl_buf_str(&d->scratch));
    member(w, "encoding", text ? SL_STR("utf-8") : SL_STR("base64"));
    member(w, "reason", dead->reason);
    member(w, "idempotency_key", dead->idempotency_key);
    member(w, "traceparent", dead->trace);
    sl_jw_member_u64(w, "deliveries", dead->deliveries);
    sl_jw_member_u64(w, "priority", dead->priority);
    member(w, "publish_time", sl_str_c(put_time));
    member(w, "dead_time", sl_str_c(dead_time));
    sl_jw_end(w);
}

static void read_dead(uv_work_t *work)
{
    sl_qh_request *request = work->data;
    dead_writer d;
    sl_jw_init(&d.w, &request->out);
    sl_buf_init(&d.scratch, SL_MAX_BODY_BYTES);
    sl_jw_object(&d.w);
    sl_jw_key(&d.w, SL_STR("messages"));
    sl_jw_array(&d.w);
    int count = sl_queue_dead_list(request->http->options.queue, sl_str_c(request->topic), sl_str_c(request->id),
                                   request->max, write_dead, &d);
    sl_jw_end(&d.w);
    sl_jw_end(&d.w);
    request->error = count < 0 ? count : sl_jw_finish(&d.w);
    sl_buf_done(&d.scratch);
}

static void dead_finish(sl_qh_request *request)
{
    if (request->error)
        sl_qh_fail_error(request, request->error);
    else
        sl_qh_answer(request, 200, sl_buf_str(&request->out));
}

static void dead_was_read(uv_work_t *work, int status)
{
    sl_qh_request *request = work->data;
    if (status)
        request->error = SL_ECLOSED;
    sl_qh_finished(request);
}

/* Topic and id of the request, kept in it. */
static bool keep_names(sl_qh_request *request, sl_str topic, const char *id_name)
{
    if (!sl_str_to_c(topic, request->topic, sizeof request->topic))
        return false;
    return sl_qh_text(request, id_name, request->id, sizeof request->id) || request->id[0] == 0;
}

void sl_qh_dead_list(sl_qh_request *request, sl_str topic)
{
    uint64_t max;
    if (!keep_names(request, topic, "after") || !sl_qh_count(request, "max", 20, SL_QUEUE_HTTP_BATCH, &max)) {
        sl_qh_fail(request, 422, "after is the id of a message, max at most 100");
        return;
    }
    request->max = (unsigned)max;
    request->finish = dead_finish;
    request->work.data = request;
    request->busy = true;
    if (uv_queue_work(&request->http->options.loop->uv, &request->work, read_dead, dead_was_read)) {
        request->busy = false;
        sl_qh_fail_error(request, SL_ENOMEM);
    }
}

static void changed(void *user, int error, uint64_t count)
{
    sl_qh_request *request = user;
    request->error = error;
    request->count = count;
    sl_qh_finished(request);
}

static void change_finish(sl_qh_request *request)
{
    if (request->error)
        sl_qh_fail_error(request, request->error);
    else if (request->id[0] && request->count == 0)
        sl_qh_fail(request, 404, "no such dead letter");
    else
        sl_qh_answer_json(request, 200, json_pack("{s:I}", "count", (json_int_t)request->count));
}

void sl_qh_dead_change(sl_qh_request *request, sl_str topic, bool requeue)
{
    sl_queue *queue = request->http->options.queue;
    if (!keep_names(request, topic, "id")) {
        sl_qh_fail(request, 422, "id is the id of a message");
        return;
    }
    request->finish = change_finish;
    request->busy = true;
    sl_str id = sl_str_c(request->id);
    int error = requeue ? sl_queue_dead_requeue(queue, topic, id, changed, request)
                        : sl_queue_dead_purge(queue, topic, id, changed, request);
    if (error) {
        request->busy = false;
        sl_qh_fail_error(request, error);
    }
}
