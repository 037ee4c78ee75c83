/* Event streams of clients: first what is on disk, then what happens; each event once, in order. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/agents_view.h"
#include "src/flow/server_agents.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"
#include "src/wire/http_field.h"

#define MAX_HELD 4096 /* events of a stream that wait for the disk */
#define MAX_UNSENT                                                                                                     \
    (8u << 20)             /* bytes of what happens now that a client leaves waiting before its stream is broken off */
#define PIECE (64u * 1024) /* bytes of what has happened that are sent at once, as fast as the client takes them */
#define PAGE 64u           /* events read at once: a slow client leaves most of them for the next time */

struct sl_flow_stream {
    sl_flow_stream *next, **prev;
    sl_store_op op; /* behind what has happened so far */
    sl_flow_server *server;
    sl_api_request *request;
    char id[SL_FLOW_ID_MAX];
    uint64_t last; /* seq that was sent */
    bool sse;
    bool data_only;
    bool agents;           /* envelopes, numbered by agents_view.h */
    sl_stream_agents wish; /* then */
    uint64_t end_seq;      /* of the run's end when it was the last event; 0: it was not */
    bool over;             /* the client has gone, or all is said */
    bool busy;             /* waits for the disk, or is being sent: its memory stays */
    bool caught_up;
    bool slow;        /* the client has not taken what was sent; goes on when it has */
    bool finished;    /* the end has been written */
    bool end_seen;    /* the run has ended: close when that is on disk, and what was held is sent */
    bool asked_twice; /* whether it is on disk */
    json_t *held;     /* events that happened before we had caught up */
    sl_buf text;
};

static void stream_free(sl_flow_stream *s)
{
    *s->prev = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->server->stream_count--;
    sl_api_unref(s->request);
    json_decref(s->held);
    sl_buf_done(&s->text);
    sl_free(s);
}

/* The last word of the exchange. */
static void on_over(void *user)
{
    sl_flow_stream *s = user;
    s->over = true;
    if (!s->busy)
        stream_free(s);
}

/* Takes the envelope, which may be NULL. */
static void put_envelope(sl_flow_stream *s, int64_t number, json_t *envelope)
{
    SL_ASSERT(s->agents);
    if (!envelope || number <= s->wish.after) {
        json_decref(envelope);
        return;
    }
    if (!s->wish.qualified)
        (void)json_object_set_new(envelope, "qualified_name", json_null());
    if (s->sse)
        (void)sl_buf_printf(&s->text, "id: %lld\ndata: ", (long long)number);
    if (sl_json_put_value(&s->text, envelope) != 0)
        s->text.failed = s->text.failed ? s->text.failed : SL_ENOMEM;
    (void)sl_buf_put_c(&s->text, s->sse ? "\n\n" : "\n");
    json_decref(envelope);
}

static void put_as_agents(sl_flow_stream *s, json_t *event)
{
    uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
    const char *kind = json_string_value(json_object_get(event, "event"));
    s->end_seq = kind && strcmp(kind, "run_ended") == 0 ? seq : 0;
    if (s->wish.internal)
        put_envelope(s, sl_agents_hidden(seq), sl_agents_internal(event));
    put_envelope(s, sl_agents_public(seq), sl_agents_event(event));
}

/* The last event of a run, whose outputs are in the store alone; `*ret_last` when it has ended. */
static int put_end(sl_flow_stream *s, bool *ret_last)
{
    json_t *end = NULL;
    size_t failures = sl_mem_failures();
    int error = sl_agents_end(s->server, sl_str_c(s->id), &end);
    if (error)
        return error;
    *ret_last = end != NULL;
    put_envelope(s, sl_agents_public(s->end_seq ? s->end_seq : s->last + 1), end);
    return sl_mem_failures() == failures ? 0 : SL_ENOMEM;
}

/* Appends an event to the text in the stream's form. */
static void put_plain(sl_flow_stream *s, json_t *event)
{
    SL_ASSERT(s && event);
    json_t *what = event;
    const char *kind = json_string_value(json_object_get(event, "event"));
    bool worker = kind && strcmp(kind, "stream") == 0;
    if (s->data_only && worker)
        what = json_object_get(event, "data");
    if (s->sse) {
        (void)sl_buf_printf(&s->text,
                            "id: %lld\nevent: %s\ndata: ", (long long)json_integer_value(json_object_get(event, "seq")),
                            kind ? kind : "message");
    }
    if (sl_json_put_value(&s->text, what) != 0)
        s->text.failed = s->text.failed ? s->text.failed : SL_ENOMEM;
    (void)sl_buf_put_c(&s->text, s->sse ? "\n\n" : "\n");
}

static void put_event(sl_flow_stream *s, json_t *event)
{
    size_t failures = sl_mem_failures();
    if (s->agents)
        put_as_agents(s, event);
    else
        put_plain(s, event);
    if (sl_mem_failures() != failures) /* it may lack something: the stream breaks off, and is read again */
        s->text.failed = SL_ENOMEM;
}

/* Sends what is in the text. False: the stream is over, and `s` is gone unless it is busy. */
static bool flush(sl_flow_stream *s, bool last)
{
    if (s->over)
        return false;
    if (s->text.failed || sl_api_stream_unsent(s->request) > MAX_UNSENT) {
        sl_api_stream_abort(s->request); /* it can come back with Last-Event-ID */
        return false;
    }
    sl_str text = sl_buf_str(&s->text);
    if (!text.len && !last)
        return true;
    bool busy = s->busy;
    s->finished = last;
    s->busy = true; /* on_over may come inside */
    s->slow = sl_api_stream_write(s->request, text, last);
    s->busy = busy;
    sl_buf_clear(&s->text);
    if (s->over && !busy)
        stream_free(s);
    return !last;
}

/* Sends events in their order until the client is slow. False: the stream is over. */
static bool send_page(sl_flow_stream *s, json_t *events)
{
    json_t *event;
    size_t i;
    json_array_foreach(events, i, event)
    {
        json_t *parsed = json_is_string(event) ? json_loads(json_string_value(event), 0, NULL) : json_incref(event);
        uint64_t seq = (uint64_t)json_integer_value(json_object_get(parsed, "seq"));
        if (parsed && seq > s->last) {
            put_event(s, parsed);
            s->last = seq;
        }
        json_decref(parsed);
        if (s->text.len < PIECE && !s->text.failed)
            continue;
        if (!flush(s, false))
            return false;
        if (s->slow)
            return true;
    }
    return true;
}

/* Sends what is on disk, page by page. SL_EAGAIN: the client is slow. */
static int send_stored(sl_flow_stream *s)
{
    for (;;) {
        json_t *events = NULL;
        int error = sl_run_store_events(s->server->runs, sl_str_c(s->id), s->last, PAGE, &events);
        if (error)
            return error;
        size_t count = json_array_size(events);
        bool good = send_page(s, events);
        json_decref(events);
        if (!good)
            return SL_ECLOSED;
        if (s->slow)
            return SL_EAGAIN;
        if (count < PAGE)
            return 0;
    }
}

static void send_held(sl_flow_stream *s)
{
    json_t *event;
    size_t i;
    json_array_foreach(s->held, i, event)
    {
        uint64_t seq = (uint64_t)json_integer_value(json_object_get(event, "seq"));
        if (seq <= s->last)
            continue;
        put_event(s, event);
        s->last = seq;
    }
    (void)json_array_clear(s->held);
}

static bool has_ended(sl_flow_server *server, const char *id)
{
    json_t *run = NULL;
    if (sl_run_store_get(server->runs, sl_str_c(id), &run) != 0)
        return true;
    const char *status = json_string_value(json_object_get(run, "status"));
    bool over = status && strcmp(status, "queued") != 0 && strcmp(status, "running") != 0;
    json_decref(run);
    return over;
}

static void catch_up(sl_flow_stream *s);

/* All that is on disk is sent, or stands in the text: what is left to say. */
static void go_on(sl_flow_stream *s)
{
    SL_ASSERT(!s->busy && s->caught_up);
    bool last = false;
    if (!s->agents) {
        last = has_ended(s->server, s->id) || (s->end_seen && s->asked_twice); /* the disk may have failed */
    } else if (put_end(s, &last) != 0) { /* unreadable, or removed: it is not known whether there is more */
        sl_api_stream_abort(s->request);
        return;
    }
    if (!last && s->end_seen) { /* its end came while this was written: it is on disk next time */
        s->end_seen = !s->agents;
        s->asked_twice = true;
        catch_up(s);
        return;
    }
    (void)flush(s, last);
}

/* What had happened when this was asked for is on disk now. */
static void on_settled(sl_store_op *op, int error)
{
    sl_flow_stream *s = (sl_flow_stream *)(void *)((char *)op - offsetof(sl_flow_stream, op));
    (void)error;
    int result = s->over ? SL_ECLOSED : send_stored(s);
    if (result == 0)
        send_held(s);
    else if (result == SL_EIO || result == SL_ENOMEM) /* not all is said: it can come back with Last-Event-ID */
        sl_api_stream_abort(s->request);
    s->busy = false;
    s->caught_up = result != SL_EAGAIN; /* a slow one reads the rest from the disk when it has taken this */
    if (s->over)
        stream_free(s);
    else if (s->caught_up)
        go_on(s);
}

static void catch_up(sl_flow_stream *s)
{
    SL_ASSERT(!s->busy);
    s->busy = true;
    s->slow = false;
    s->caught_up = false;
    (void)json_array_clear(s->held); /* all of them are on disk by then */
    s->op = (sl_store_op){.run = NULL, .done = on_settled};
    sl_flow_store_write(s->server->store, &s->op);
}

static void on_writable(void *user)
{
    sl_flow_stream *s = user;
    s->slow = false;
    if (!s->caught_up && !s->busy && !s->over)
        catch_up(s);
}

/* NULL: answered. */
static sl_flow_stream *stream_new(sl_flow_server *server, sl_api_request *request, sl_str id, uint64_t after)
{
    SL_ASSERT(server && request);
    sl_flow_stream *s = NULL;
    if (server->stream_count < SL_FLOW_MAX_STREAMS && (s = sl_calloc(1, sizeof *s)))
        s->held = json_array();
    if (!s || !s->held || !sl_str_to_c(id, s->id, sizeof s->id)) {
        if (s)
            json_decref(s->held);
        sl_free(s);
        sl_api_fail(request, 503, "too many streams are open; try again");
        return NULL;
    }
    s->server = server;
    s->request = sl_api_ref(request);
    s->last = after;
    sl_buf_init(&s->text, 2 * MAX_UNSENT);
    return s;
}

static void stream_open(sl_flow_stream *s)
{
    sl_flow_server *server = s->server;
    s->next = server->streams;
    s->prev = &server->streams;
    if (s->next)
        s->next->prev = &s->next;
    server->streams = s;
    server->stream_count++;
    s->busy = true;
    sl_api_stream(s->request, s->sse ? "text/event-stream" : "application/x-ndjson", on_over, on_writable, s);
    s->busy = false;
    if (s->over)
        stream_free(s);
    else
        catch_up(s);
}

void sl_stream_start(sl_flow_server *server, sl_api_request *request, sl_str id, uint64_t after, sl_stream_shape shape)
{
    const sl_str shapes[] = {SL_STR("application/x-ndjson"), SL_STR("text/event-stream")};
    sl_str accept = sl_api_header(request, SL_HTTP_ACCEPT), last = sl_api_header(request, SL_HTTP_LAST_EVENT_ID);
    if (last.len && sl_str_to_u64(last, &after) != 0) {
        sl_api_invalid(request, "header", "last-event-id", "Input should be the id of an event");
        return;
    }
    sl_flow_stream *s = stream_new(server, request, id, after);
    if (!s)
        return;
    s->data_only = shape == SL_STREAM_DATA;
    s->sse = sl_http_negotiate(accept, shapes, 2) == 1;
    stream_open(s);
}

void sl_stream_start_agents(sl_flow_server *server, sl_api_request *request, sl_str id, const sl_stream_agents *wish)
{
    SL_ASSERT(wish);
    sl_flow_stream *s = stream_new(server, request, id, sl_agents_seq_before(wish->after));
    if (!s)
        return;
    s->agents = true;
    s->wish = *wish;
    s->sse = wish->sse;
    stream_open(s);
}

void sl_streams_push(sl_flow_server *server, sl_str id, uint64_t seq, json_t *event, sl_stream_then then)
{
    SL_ASSERT(server);
    bool last = then == SL_STREAM_ENDS;
    for (sl_flow_stream *s = server->streams, *next; s; s = next) {
        next = s->next;
        if (s->over || s->finished || !sl_str_eq_c(id, s->id))
            continue;
        if (!event) { /* there was no memory for it: no event is left out, it can come back with Last-Event-ID */
            sl_api_stream_abort(s->request);
            continue;
        }
        s->end_seen = s->end_seen || last;
        bool marker = seq == UINT64_MAX; /* an end that is no event */
        if (!s->caught_up) {
            if (!s->busy) /* a slow one: it comes from the disk */
                continue;
            if (!marker && (json_array_size(s->held) >= MAX_HELD || json_array_append(s->held, event) != 0))
                sl_api_stream_abort(s->request); /* no event is left out: it can come back with Last-Event-ID */
            continue;
        }
        if (!marker && seq > s->last) {
            put_event(s, event);
            s->last = seq;
        }
        if (last)
            catch_up(s); /* who reads the end can read the run's: it is on disk then */
        else if (then == SL_STREAM_GOES_ON)
            (void)flush(s, false);
    }
}

void sl_streams_close(sl_flow_server *server)
{
    for (sl_flow_stream *s = server->streams, *next; s; s = next) {
        next = s->next;
        if (!s->over)
            sl_api_stream_abort(s->request);
    }
}
