/* HTTP requests: from their head to the end of their answer, and their SERVER spans. */
#include "src/probe/correlate.h"
#include "src/probe/held.h"
#include "src/probe/request_head.h"
#include "src/probe/track.h"
#include "src/wire/url.h"

#define START_ATTRS 12

/* ---- the table ---- */

static sl_track_request **bucket_of(sl_probe_assembler *a, uint32_t id)
{
    return &a->requests[id % SL_TRACK_BUCKETS];
}

sl_track_request *sl_track_request_find(sl_probe_assembler *a, uint32_t id)
{
    SL_ASSERT(a);
    sl_track_request *request = id ? *bucket_of(a, id) : NULL;
    while (request && (request->id != id || request->held)) /* nothing more comes of what is answered */
        request = request->hash_next;
    return request;
}

static bool wants_tokens(const sl_track_request *request)
{
    return request->use == SL_TRACK_USE_GENERATE || request->use == SL_TRACK_USE_EMBED;
}

typedef bool (*request_test)(const sl_track_request *request, const void *with);

/* The earliest open request that passes; `*ret_count`: how many do. */
static sl_track_request *find_earliest(sl_probe_assembler *a, request_test test, const void *with, uint32_t *ret_count)
{
    SL_ASSERT(test && ret_count);
    sl_track_request *found = NULL;
    *ret_count = 0;
    for (size_t i = 0; i < SL_TRACK_BUCKETS && a->request_count; i++) {
        for (sl_track_request *request = a->requests[i]; request; request = request->hash_next) {
            if (!test(request, with))
                continue;
            ++*ret_count;
            if (!found || request->start_ns < found->start_ns)
                found = request;
        }
    }
    return found;
}

static bool is_any(const sl_track_request *request, const void *with)
{
    (void)with;
    return request != NULL;
}

static bool has_connection(const sl_track_request *request, const void *connection)
{
    return request->connection == *(const uint32_t *)connection && !request->held;
}

static bool is_working(const sl_track_request *request, const void *with)
{
    (void)with;
    return wants_tokens(request) && !request->held;
}

static bool works_on_thread(const sl_track_request *request, const void *thread)
{
    return wants_tokens(request) && !request->held && !request->posted && request->thread == *(const uint32_t *)thread;
}

sl_track_request *sl_track_request_single(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    uint32_t count;
    sl_track_request *request = a->generating_count == 1 ? find_earliest(a, is_working, NULL, &count) : NULL;
    return request;
}

static bool is_for_slots(const sl_track_request *request, const void *with)
{
    (void)with;
    return request->use == SL_TRACK_USE_OTHER && strcmp(request->route, "/slots/{id}") == 0;
}

sl_track_request *sl_track_request_slots(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    uint32_t count;
    bool any = a->request_count > a->generating_count;
    sl_track_request *request = any ? find_earliest(a, is_for_slots, NULL, &count) : NULL;
    return request && count == 1 ? request : NULL;
}

sl_track_request *sl_track_request_on_thread(sl_probe_assembler *a, uint32_t thread)
{
    SL_ASSERT(a);
    uint32_t count = 0;
    sl_track_request *request = a->generating_count ? find_earliest(a, works_on_thread, &thread, &count) : NULL;
    return count == 1 ? request : NULL;
}

void sl_track_load(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    uint32_t busy = 0, waiting = 0;
    for (const sl_track_turn *turn = a->turns; turn; turn = turn->next)
        busy += turn->on_sequence && turn->request && !turn->request->held && !turn->closed;
    for (const sl_track_ask *ask = a->first_ask; ask; ask = ask->next)
        waiting += !ask->request->turns && !ask->request->held && ask == ask->request->asks; /* one of several texts */
    if (busy == a->told_busy && waiting == a->told_waiting)
        return;
    a->told_busy = busy;
    a->told_waiting = waiting;
    sl_probe_metrics_load(a->metrics, busy, waiting);
}

/* ---- the head ---- */

static bool is_one_of(sl_str text, const char *const *words)
{
    for (; *words; words++) {
        if (sl_str_eq_c(text, *words))
            return true;
    }
    return false;
}

static sl_track_use use_of(sl_str method, sl_str path, sl_str route)
{
    static const char *const polls[] = {"/health", "/v1/health", "/metrics", "/slots", NULL};
    static const char *const embeds[] = {"/embedding", "/embeddings", "/v1/embeddings", "/rerank",
                                         "/reranking", "/v1/rerank",  "/v1/reranking",  NULL};
    bool post = sl_str_eq(method, SL_STR("POST"));
    if (!post)
        return is_one_of(path, polls) ? SL_TRACK_USE_POLL : SL_TRACK_USE_OTHER;
    if (is_one_of(route, embeds))
        return SL_TRACK_USE_EMBED;
    bool known = route.len > 0, answers = sl_probe_route_operation(route).len > 0;
    return answers || !known ? SL_TRACK_USE_GENERATE : SL_TRACK_USE_OTHER;
}

static const char *method_name(sl_str method)
{
    static const char *const known[] = {"GET",     "POST",  "PUT",   "HEAD",    "DELETE",
                                        "OPTIONS", "PATCH", "TRACE", "CONNECT", NULL};
    for (size_t i = 0; known[i]; i++) {
        if (sl_str_eq_c(method, known[i]))
            return known[i];
    }
    return "_OTHER";
}

static sl_str get_header(void *user, sl_str name)
{
    const sl_request_head *head = user;
    if (sl_str_eq(name, SL_STR("traceparent")))
        return head->traceparent;
    if (sl_str_eq(name, SL_STR("tracestate")))
        return head->tracestate;
    return sl_str_eq(name, SL_STR("baggage")) ? head->baggage : sl_str_of(NULL, 0);
}

static sl_value text_value(sl_str text, size_t most)
{
    return sl_value_str(sl_str_sub(text, 0, sl_utf8_prefix(text, most)));
}

static size_t start_attrs(const sl_probe_assembler *a, const sl_track_request *request, const sl_request_head *head,
                          sl_attr *attrs)
{
    SL_ASSERT(a && request && head && attrs);
    size_t n = 0;
    attrs[n++] = sl_attr_str("http.request.method", request->method);
    attrs[n++] = sl_attr_str("http.route", request->route);
    attrs[n++] = sl_attr_of("url.path", text_value(head->path, 256));
    attrs[n++] = sl_attr_str("url.scheme", request->tls ? "https" : "http");
    sl_hostport host;
    if (sl_hostport_parse_peer(head->host, &host) == 0) {
        attrs[n++] = sl_attr_of("server.address", text_value(host.host, 256));
        if (host.has_port)
            attrs[n++] = sl_attr_int("server.port", host.port);
    }
    if (head->user_agent.len)
        attrs[n++] = sl_attr_of("user_agent.original", text_value(head->user_agent, 256));
    sl_str operation = sl_probe_route_operation(sl_str_c(request->route));
    if (operation.len)
        attrs[n++] = sl_attr_of("gen_ai.operation.name", sl_value_str(operation));
    if (wants_tokens(request)) {
        attrs[n++] = sl_attr_str("gen_ai.provider.name", SL_PROBE_PROVIDER);
        sl_str model = sl_probe_metrics_model_name(a->metrics, 0);
        if (model.len)
            attrs[n++] = sl_attr_of("gen_ai.request.model", sl_value_str(model));
    }
    SL_ASSERT(n <= START_ATTRS);
    return n;
}

static void start_span(sl_probe_assembler *a, sl_track_request *request, const sl_request_head *head)
{
    sl_span_context parent;
    sl_attr attrs[START_ATTRS];
    char name[sizeof request->method + sizeof request->route];
    if (sl_propagation_extract(a->options.sdk, get_header, (void *)(uintptr_t)head, a->text, SL_MAX_TRACESTATE_BYTES,
                               &parent, NULL))
        memset(&parent, 0, sizeof parent);
    bool has_parent = sl_span_context_is_valid(&parent);
    if (request->use == SL_TRACK_USE_POLL && !a->options.trace_polls && !has_parent)
        return;
    sl_span_options options = {.kind = SL_SPAN_SERVER,
                               .root = !has_parent,
                               .parent_context = has_parent ? &parent : NULL,
                               .start_ns = sl_track_unix(a, request->start_ns),
                               .attrs = attrs};
    options.attr_count = start_attrs(a, request, head, attrs);
    bool odd = request->method[0] == '_';
    size_t len = 0;
    for (const char *p = odd ? "HTTP" : request->method; *p; p++)
        name[len++] = *p;
    name[len++] = ' ';
    memcpy(name + len, request->route, strlen(request->route));
    len += strlen(request->route);
    request->span = sl_span_start(a->tracer, sl_str_of(name, len), &options);
    sl_track_set_host(a, request->span);
    sl_span_get_context(request->span, &request->context);
    request->context.tracestate = sl_str_of(NULL, 0);
}

static void finish_request(sl_probe_assembler *a, sl_track_request *request, const sl_probe_answer_end *event,
                           uint64_t end_ns, const char *error);

/* Room for one more: of what lies there for ever (its end was lost) the oldest goes. */
static void make_room(sl_probe_assembler *a, uint32_t connection, uint64_t now_ns)
{
    uint32_t count;
    sl_track_request *old = connection ? find_earliest(a, has_connection, &connection, &count) : NULL;
    if (old)
        finish_request(a, old, NULL, now_ns, NULL);
    if (a->request_count < SL_PROBE_MAX_REQUESTS)
        return;
    a->stats.left_out++;
    old = find_earliest(a, is_any, NULL, &count);
    if (old)
        finish_request(a, old, NULL, now_ns, NULL);
}

void sl_track_request_begin(sl_probe_assembler *a, const sl_probe_request *event)
{
    SL_ASSERT(a && event);
    if (!event->request || sl_track_request_find(a, event->request))
        return;
    make_room(a, event->connection, event->head.time_ns);
    sl_track_request *request = sl_calloc(1, sizeof *request);
    if (!request) {
        a->stats.left_out++;
        return;
    }
    sl_request_head head;
    sl_request_head_parse(sl_str_of((const char *)(event + 1), event->head.count), &head);
    request->id = event->request;
    request->connection = event->connection;
    request->thread = event->head.thread;
    request->tls = event->head.flags & SL_PROBE_REQUEST_TLS;
    request->start_ns = event->start_ns;
    sl_str known = sl_probe_route_known(head.path);
    if (known.len)
        sl_str_to_c(known, request->route, sizeof request->route);
    else
        sl_request_head_route(head.path, request->route, sizeof request->route);
    sl_str_to_c(sl_str_c(method_name(head.method)), request->method, sizeof request->method);
    request->use = use_of(head.method, head.path, known);
    request->hash_next = *bucket_of(a, request->id);
    *bucket_of(a, request->id) = request;
    a->request_count++;
    a->stats.requests++;
    a->generating_count += wants_tokens(request);
    a->has_http |= wants_tokens(request);
    start_span(a, request, &head);
    sl_probe_metrics_request_start(a->metrics);
}

void sl_track_request_body(sl_probe_assembler *a, const sl_probe_request_end *event)
{
    SL_ASSERT(a && event);
    sl_track_request *request = sl_track_request_find(a, event->request);
    if (!request)
        return;
    request->body_ns = event->head.time_ns;
    request->body_bytes = event->bytes;
}

void sl_track_request_answer(sl_probe_assembler *a, const sl_probe_answer *event)
{
    SL_ASSERT(a && event);
    sl_track_request *request = sl_track_request_find(a, event->request);
    if (!request)
        return;
    request->answer_ns = event->head.time_ns;
    request->status = event->status < 1000 ? event->status : 0;
    request->streaming = event->head.flags & SL_PROBE_ANSWER_SSE;
    request->whole = event->head.flags & SL_PROBE_ANSWER_LENGTH;
}

void sl_track_request_frame(sl_probe_assembler *a, const sl_probe_frame *event)
{
    SL_ASSERT(a && event);
    sl_track_request *request = sl_track_request_find(a, event->request);
    if (request && !request->frame_ns && !(event->head.flags & SL_PROBE_FRAME_NO_TEXT))
        request->frame_ns = event->head.time_ns;
}

/* ---- the end ---- */

/* What all turns of a request have come to. */
typedef struct totals {
    uint32_t prompt, cached, completion, turns, drafts;
    uint64_t first_start_ns, first_token_ns, last_ns, prefill_ns, decode_ns;
    uint32_t context;
    int32_t slot;
    sl_track_sure sure;
} totals;

static void add_turn(totals *t, const sl_track_turn *turn)
{
    SL_ASSERT(t && turn);
    t->turns++;
    if (!turn->copied) {
        t->prompt += turn->prompt_tokens;
        t->cached += turn->cached_tokens;
    }
    t->completion += sl_track_turn_tokens(turn);
    t->drafts += turn->drafts;
    if (turn->prompt_end_ns) {
        t->prefill_ns += sl_track_span_of(turn->start_ns, turn->prompt_end_ns);
        t->decode_ns += sl_track_span_of(turn->prompt_end_ns, turn->last_ns);
        if (!t->first_token_ns || turn->prompt_end_ns < t->first_token_ns)
            t->first_token_ns = turn->prompt_end_ns;
    }
    if (!t->first_start_ns || turn->start_ns <= t->first_start_ns) {
        t->first_start_ns = turn->start_ns;
        t->slot = turn->seq;
        t->context = turn->context ? turn->context->id : 0;
    }
    if (turn->sure > t->sure)
        t->sure = turn->sure;
}

/* The server's own figures come first where they are for the whole request. */
static void take_figures(totals *t, const sl_answer_facts *facts)
{
    SL_ASSERT(t && facts);
    if (facts->has_timings && t->turns <= 1) {
        t->prompt = (uint32_t)facts->prompt_n;
        t->completion = (uint32_t)facts->predicted_n;
        if (facts->cache_n >= 0)
            t->cached = (uint32_t)facts->cache_n;
    } else if (facts->has_usage && t->turns <= 1) {
        if (facts->output_tokens >= 0)
            t->completion = (uint32_t)facts->output_tokens;
        if (!t->turns && facts->input_tokens >= 0)
            t->prompt = (uint32_t)facts->input_tokens;
    }
}

static void set_slots(const sl_track_request *request, const totals *t)
{
    sl_value slots[SL_PROBE_MAX_TIES];
    size_t count = 0;
    sl_span_set_int(request->span, "slot.id", t->slot);
    if (t->turns < 2)
        return;
    for (const sl_track_turn *turn = request->turns; turn && count < SL_PROBE_MAX_TIES; turn = turn->next_in_request)
        slots[count++] = sl_value_int(turn->seq);
    sl_span_set(request->span, SL_STR("slot.ids"), sl_value_array(slots, count));
}

static void set_usage(sl_probe_assembler *a, const sl_track_request *request, const totals *t,
                      const sl_answer_facts *facts)
{
    sl_span *span = request->span;
    if (t->turns || facts->has_usage || facts->has_timings) {
        sl_span_set_int(span, "gen_ai.usage.input_tokens", (int64_t)t->prompt + t->cached);
        sl_span_set_int(span, "gen_ai.usage.cache_read.input_tokens", t->cached);
        if (request->use == SL_TRACK_USE_GENERATE)
            sl_span_set_int(span, "gen_ai.usage.output_tokens", t->completion);
    }
    if (facts->model.len)
        sl_span_set(span, SL_STR("gen_ai.response.model"), text_value(facts->model, 256));
    if (facts->id_task >= 0)
        sl_span_set_int(span, "task.id", facts->id_task);
    if (facts->has_timings) {
        sl_span_set_int(span, "llama.timings.prompt_n", facts->prompt_n);
        sl_span_set_int(span, "llama.timings.predicted_n", facts->predicted_n);
        if (facts->cache_n >= 0)
            sl_span_set_int(span, "llama.timings.cache_n", facts->cache_n);
    }
    if (request->doubted)
        sl_span_set_bool(span, "llama.timings.differ", true);
    if (t->first_token_ns && request->use == SL_TRACK_USE_GENERATE && t->completion)
        sl_span_add_event(span, SL_STR("gen_ai.first_token"), sl_track_unix(a, t->first_token_ns), NULL, 0);
}

static void set_queue(sl_probe_assembler *a, const sl_track_request *request, const totals *t)
{
    uint64_t from = request->post_ns ? request->post_ns : request->body_ns;
    if (!t->turns || !from)
        return;
    double wait = sl_track_ms(sl_track_span_of(from, t->first_start_ns));
    sl_attr attr = sl_attr_double("llama.queue_wait_ms", wait);
    sl_span_set_double(request->span, "llama.queue_wait_ms", wait);
    sl_span_add_event(request->span, SL_STR("llama.queued"), sl_track_unix(a, from), NULL, 0);
    sl_span_add_event(request->span, SL_STR("llama.slot_taken"), sl_track_unix(a, t->first_start_ns), &attr, 1);
}

static void set_outcome(const sl_track_request *request, const char *error)
{
    sl_span *span = request->span;
    char code[16] = "";
    if (request->status) {
        sl_span_set_int(span, "http.response.status_code", request->status);
        if (request->status >= 100) {
            code[0] = (char)('0' + request->status / 100);
            code[1] = (char)('0' + request->status / 10 % 10);
            code[2] = (char)('0' + request->status % 10);
        }
    }
    if (error)
        sl_span_set_str(span, "error.type", error);
    else if (request->status >= 400)
        sl_span_set_str(span, "error.type", code);
    bool crashed = error && strcmp(error, "host_crashed") == 0;
    if (request->status >= 500 || crashed)
        sl_span_set_status(span, SL_STATUS_ERROR, crashed ? "the host process ended" : "");
    if (request->body_bytes)
        sl_span_set_int(span, "http.request.body.size", (int64_t)request->body_bytes);
    if (request->partial)
        sl_span_set_bool(span, "llama.partial", true);
}

static void end_span(sl_probe_assembler *a, sl_track_request *request, const totals *t, const sl_answer_facts *facts,
                     const char *error)
{
    SL_ASSERT(request->span);
    sl_span *span = request->span;
    if (wants_tokens(request)) {
        sl_span_set_bool(span, "gen_ai.request.stream", request->streaming);
        set_usage(a, request, t, facts);
        set_queue(a, request, t);
        if (t->turns) {
            set_slots(request, t);
            sl_span_set_str(span, "llama.correlation", sl_track_sure_name(t->sure));
        } else if (request->asks && request->status < 400) {
            sl_span_set_str(span, "llama.correlation", sl_track_sure_name(t->sure));
        }
    }
    set_outcome(request, error);
}

static sl_probe_correlation correlation_of(const sl_track_request *request, const totals *t)
{
    if (request->partial)
        return SL_PROBE_CORRELATION_PARTIAL;
    switch (t->sure) {
    case SL_TRACK_EXACT:
    case SL_TRACK_SINGLE:
        return SL_PROBE_CORRELATION_EXACT;
    case SL_TRACK_AMBIGUOUS:
        return SL_PROBE_CORRELATION_AMBIGUOUS;
    case SL_TRACK_NONE:
        break;
    }
    return SL_PROBE_CORRELATION_NONE;
}

static void tell_end(sl_probe_assembler *a, const sl_track_request *request, const totals *t,
                     const sl_answer_facts *facts, uint64_t end_ns, const char *error)
{
    SL_ASSERT(a && request && t && facts);
    sl_probe_request_done done = {
        .method = sl_str_c(request->method),
        .route = sl_str_c(request->route),
        .status = request->status,
        .https = request->tls,
        .streaming = request->streaming,
        .cancelled = error && strcmp(error, "client_disconnected") == 0,
        .context = t->context,
        .prompt_tokens = t->prompt,
        .cached_tokens = t->cached,
        .completion_tokens = t->completion,
        .drafts = facts->draft_n > 0 ? t->drafts : 0,
        .draft_tokens = facts->draft_n > 0 ? (uint32_t)facts->draft_n : 0,
        .draft_accepted = facts->draft_accepted > 0 ? (uint32_t)facts->draft_accepted : 0,
        .total_ns = sl_track_span_of(request->start_ns, end_ns),
        .first_token_ns = t->completion ? sl_track_span_of(request->start_ns, t->first_token_ns) : 0,
        .prefill_ns = t->prefill_ns,
        .decode_ns = t->decode_ns,
        .correlation = correlation_of(request, t),
        .error_type = sl_str_c(error),
        .span = request->span ? &request->context : NULL,
    };
    sl_probe_metrics_request_end(a->metrics, &done);
}

static void count_turn(sl_probe_assembler *a, const sl_track_turn *turn)
{
    a->stats.prompts++;
    a->stats.exact += turn->sure == SL_TRACK_EXACT;
    a->stats.single += turn->sure == SL_TRACK_SINGLE;
    a->stats.ambiguous += turn->sure == SL_TRACK_AMBIGUOUS;
}

/* Ends the turns, with what the answer says of the only one. */
static void end_turns(sl_probe_assembler *a, sl_track_request *request, const totals *t)
{
    while (request->turns) {
        sl_track_turn *turn = request->turns;
        count_turn(a, turn);
        sl_track_turn_finish(a, turn, t->turns == 1 ? (int64_t)t->completion : -1, request->partial);
        sl_track_turn_take(turn);
        sl_track_turn_release(a, turn);
    }
}

static void unlink_request(sl_probe_assembler *a, sl_track_request *request)
{
    sl_track_request **at = bucket_of(a, request->id);
    while (*at != request)
        at = &(*at)->hash_next;
    *at = request->hash_next;
    a->request_count--;
    a->generating_count -= wants_tokens(request);
}

/* `event` NULL: its end was not seen. */
static void finish_request(sl_probe_assembler *a, sl_track_request *request, const sl_probe_answer_end *event,
                           uint64_t end_ns, const char *error)
{
    SL_ASSERT(a && request);
    sl_track_batches_finish(a);
    if (request->held) { /* then how it ended is known */
        sl_track_held_remove(a, request);
        event = request->answer;
        end_ns = event->head.time_ns;
        error = NULL;
    }
    request->end_ns = end_ns;
    sl_answer_facts facts;
    sl_str tail = event ? sl_str_of((const char *)(event + 1), event->head.count) : sl_str_of(NULL, 0);
    sl_answer_tail_read(tail, &facts);
    if (!event) {
        request->partial = true;
        a->stats.partial++;
    }
    sl_track_settle(a, request, &facts, event && event->head.flags & SL_PROBE_END_COMPLETE);
    totals t = {.slot = -1};
    for (const sl_track_turn *turn = request->turns; turn; turn = turn->next_in_request)
        add_turn(&t, turn);
    if (request->use == SL_TRACK_USE_GENERATE)
        take_figures(&t, &facts);
    if (!t.turns && sl_track_may_have_worked(a, request))
        t.sure = SL_TRACK_AMBIGUOUS; /* its turn went to another, as a guess */
    if (request->span)
        end_span(a, request, &t, &facts, error);
    tell_end(a, request, &t, &facts, end_ns, error);
    end_turns(a, request, &t);
    sl_span_end_at(request->span, sl_track_unix(a, end_ns));
    sl_track_asks_free(a, request);
    unlink_request(a, request);
    sl_free(request->answer);
    sl_free(request);
    sl_track_load(a);
}

void sl_track_requests_look(sl_probe_assembler *a, uint64_t now_ns)
{
    SL_ASSERT(a);
    for (sl_track_request *request; (request = sl_track_held_next(a, now_ns));)
        finish_request(a, request, NULL, request->end_ns, NULL); /* which may make another one certain */
}

/* What has ended it before its answer was whole; NULL: nothing. A stream may be ended in order and lack its end. */
static const char *broken_by(const sl_track_request *request, const sl_probe_answer_end *event)
{
    sl_str tail = sl_str_of((const char *)(event + 1), event->head.count);
    unsigned flags = event->head.flags;
    bool left = flags & SL_PROBE_END_BY_PEER;
    if (flags & SL_PROBE_END_COMPLETE) {
        bool whole = !request->streaming || sl_str_find(tail, SL_STR("[DONE]")) != SL_NPOS ||
                     sl_str_find(tail, SL_STR("\"timings\"")) != SL_NPOS;
        return left && !whole ? "client_disconnected" : NULL;
    }
    return !(flags & SL_PROBE_END_CLOSED) ? NULL : left ? "client_disconnected" : "connection_closed";
}

void sl_track_request_end(sl_probe_assembler *a, const sl_probe_answer_end *event)
{
    SL_ASSERT(a && event);
    sl_track_request *request = sl_track_request_find(a, event->request);
    if (!request)
        return;
    const char *error = broken_by(request, event);
    if (error || !sl_track_hold(a, request, event))
        finish_request(a, request, event, event->head.time_ns, error);
    sl_track_requests_look(a, event->head.time_ns);
}

void sl_track_requests_gone(sl_probe_assembler *a, uint64_t now_ns, bool crashed)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_TRACK_BUCKETS; i++) {
        while (a->requests[i])
            finish_request(a, a->requests[i], NULL, now_ns, crashed ? "host_crashed" : NULL);
    }
}

void sl_track_requests_doubt(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_TRACK_BUCKETS && a->request_count; i++) {
        for (sl_track_request *request = a->requests[i]; request; request = request->hash_next)
            request->partial = true;
    }
}
