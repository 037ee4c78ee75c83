/* Two small machines over lines and lengths; both sides of a connection share the queue of requests not yet answered.
 */
#include "src/probe/http_watch.h"

#include "src/base/assert.h"
#include "src/probe/http_tail.h"

#define TRACE_ROOM 72u /* "traceparent: " with 55 characters, and its line end */

static void tell(const sl_http_watch_sink *sink, const sl_http_watch_event *event)
{
    sink->event(sink->user, event);
}

static void side_reset(sl_http_watch_side *side)
{
    side->state = SL_HTTP_WATCH_HEAD;
    side->begun = side->line_cut = side->is_chunked = false;
    side->line_len = 0;
    side->length = SL_HTTP_WATCH_NO_LENGTH;
    side->left = side->bytes = 0;
}

void sl_http_watch_init(sl_http_watch *watch, bool tls)
{
    SL_ASSERT(watch);
    side_reset(&watch->in);
    side_reset(&watch->out);
    watch->tls = tls;
    watch->head_cut = watch->has_trace = watch->keeps_tail = watch->is_event_stream = false;
    watch->has_text = watch->frame_has_text = false;
    watch->waiting_count = 0;
    watch->status = watch->head_len = 0;
    watch->reading = watch->frame_bytes = watch->window_len = 0;
    watch->start_ns = 0;
}

/*
 * Takes a line off the front of `*bytes`, without its end; what has no end yet is kept in `buffer`. The view is valid
 * until the next call. At most `cap` bytes; `*ret_cut` says that there were more.
 */
static bool take_line(sl_http_watch_side *side, char *buffer, size_t cap, sl_str *bytes, sl_str *ret_line,
                      bool *ret_cut)
{
    const char *end = memchr(bytes->ptr, '\n', bytes->len);
    sl_str piece = sl_str_of(bytes->ptr, end ? (size_t)(end - bytes->ptr) : bytes->len), line = piece;
    *bytes = sl_str_sub(*bytes, piece.len + (end ? 1 : 0), bytes->len);
    if (side->line_len || side->line_cut || !end || piece.len > cap) {
        size_t fits = piece.len < cap - side->line_len ? piece.len : cap - side->line_len;
        memcpy(buffer + side->line_len, piece.ptr, fits);
        side->line_len = (uint16_t)(side->line_len + fits);
        side->line_cut = side->line_cut || fits < piece.len;
        line = sl_str_of(buffer, side->line_len);
    }
    if (!end)
        return false;
    *ret_cut = side->line_cut;
    if (!side->line_cut && line.len && line.ptr[line.len - 1] == '\r')
        line.len--;
    *ret_line = line;
    side->line_len = 0;
    side->line_cut = false;
    return true;
}

/* Splits "name: value". False for what is not a field. */
static bool split_field(sl_str line, sl_str *ret_name, sl_str *ret_value)
{
    size_t colon = sl_str_chr(line, ':');
    if (colon == SL_NPOS || colon == 0 || line.ptr[0] == ' ' || line.ptr[0] == '\t')
        return false;
    *ret_name = sl_str_sub(line, 0, colon);
    *ret_value = sl_str_trim(sl_str_sub(line, colon + 1, line.len));
    return true;
}

/* What frames the message, of either side. */
static void note_framing(sl_http_watch_side *side, sl_str name, sl_str value)
{
    if (name.len == 14 && sl_str_ieq(name, SL_STR("content-length"))) {
        uint64_t length;
        if (sl_str_to_u64(value, &length) == 0)
            side->length = length;
    } else if (name.len == 17 && sl_str_ieq(name, SL_STR("transfer-encoding"))) {
        side->is_chunked = value.len >= 7 && sl_str_ieq(sl_str_sub(value, value.len - 7, 7), SL_STR("chunked"));
    }
}

/* ---- requests ---- */

/* Appends to the head that is told; control bytes, which would break its lines, become question marks. */
static bool head_put(sl_http_watch *watch, sl_str text, size_t limit)
{
    if (text.len > limit || watch->head_len > limit - text.len)
        return false;
    char *to = watch->head + watch->head_len;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        to[i] = c < 0x20 || c == 0x7f ? '?' : text.ptr[i];
    }
    watch->head_len = (uint16_t)(watch->head_len + text.len);
    return true;
}

static void head_end_line(sl_http_watch *watch)
{
    SL_ASSERT(watch->head_len < SL_PROBE_HEAD_MAX);
    watch->head[watch->head_len++] = '\n';
}

/* The names of a query without its values: "?model=x&stream" becomes "?model=". */
static void head_put_query(sl_http_watch *watch, sl_str query, size_t limit)
{
    sl_str part;
    char sign = '?';
    while (sl_str_split(&query, '&', &part)) {
        size_t equals = sl_str_chr(part, '=');
        if (equals == SL_NPOS || equals == 0)
            continue;
        if (watch->head_len + equals + 2 > limit) {
            watch->head_cut = true;
            return;
        }
        (void)head_put(watch, sl_str_of(&sign, 1), limit);
        (void)head_put(watch, sl_str_sub(part, 0, equals + 1), limit);
        sign = '&';
    }
}

/* The path of a target: without what an absolute form has in front of it (its user part may be a secret). */
static sl_str target_path(sl_str target)
{
    size_t scheme = sl_str_find(target, SL_STR("://"));
    if (scheme == SL_NPOS || target.ptr[0] == '/')
        return target;
    sl_str rest = sl_str_sub(target, scheme + 3, target.len);
    size_t slash = sl_str_chr(rest, '/');
    return slash == SL_NPOS ? SL_STR("/") : sl_str_sub(rest, slash, rest.len);
}

static bool is_method(sl_str method)
{
    for (size_t i = 0; i < method.len; i++) {
        if (method.ptr[i] < 'A' || method.ptr[i] > 'Z')
            return false;
    }
    return method.len > 0 && method.len <= 16;
}

/* False when this is no request line of HTTP/1. */
static bool request_line(sl_http_watch *watch, sl_str line, bool cut)
{
    const size_t limit = SL_PROBE_HEAD_MAX / 2;
    size_t space = sl_str_chr(line, ' ');
    if (space == SL_NPOS || !is_method(sl_str_sub(line, 0, space)))
        return false;
    sl_str method = sl_str_sub(line, 0, space), target = sl_str_sub(line, space + 1, line.len), version = SL_STR("");
    size_t end = sl_str_chr(target, ' ');
    if (end != SL_NPOS) {
        version = sl_str_sub(target, end + 1, target.len);
        target = sl_str_sub(target, 0, end);
    }
    if (target.len == 0 || (!cut && !sl_str_starts(version, SL_STR("HTTP/1."))))
        return false;
    target = target_path(target);
    size_t query = sl_str_chr(target, '?');
    sl_str path = sl_str_sub(target, 0, query == SL_NPOS ? target.len : query);
    watch->head_len = 0;
    watch->head_cut = cut;
    watch->has_trace = false;
    (void)head_put(watch, method, limit);
    (void)head_put(watch, SL_STR(" "), limit);
    if (path.len > limit - watch->head_len) {
        watch->head_cut = true;
        path.len = limit - watch->head_len;
    }
    (void)head_put(watch, path, limit);
    if (query != SL_NPOS && !watch->head_cut)
        head_put_query(watch, sl_str_sub(target, query + 1, target.len), limit);
    head_end_line(watch);
    return true;
}

/* Lower-case name of a field that is told; NULL for all others. */
static const char *told_name(sl_str name)
{
    static const char *const names[] = {"traceparent", "tracestate",   "baggage",       "user-agent",
                                        "host",        "content-type", "content-length"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (name.len == strlen(names[i]) && sl_str_ieq(name, sl_str_c(names[i])))
            return names[i];
    }
    return NULL;
}

static void request_field(sl_http_watch *watch, sl_str line, bool cut)
{
    sl_str name, value;
    if (!split_field(line, &name, &value))
        return;
    note_framing(&watch->in, name, value);
    const char *told = told_name(name);
    if (!told)
        return;
    bool is_trace = told[0] == 't' && name.len == 11;
    size_t limit = SL_PROBE_HEAD_MAX - (is_trace || watch->has_trace ? 0 : TRACE_ROOM);
    if (cut || watch->head_len + name.len + value.len + 3 > limit) {
        watch->head_cut = true;
        return;
    }
    (void)head_put(watch, sl_str_c(told), limit);
    (void)head_put(watch, SL_STR(": "), limit);
    (void)head_put(watch, value, limit);
    head_end_line(watch);
    watch->has_trace = watch->has_trace || is_trace;
}

static bool is_waiting(const sl_http_watch *watch, uint32_t request)
{
    for (size_t i = 0; i < watch->waiting_count; i++) {
        if (watch->waiting[i].request == request)
            return true;
    }
    return false;
}

/* Of a request that was answered before it was read nothing more is told. */
static void request_end(sl_http_watch *watch, const sl_http_watch_sink *sink)
{
    if (watch->reading && is_waiting(watch, watch->reading)) {
        sl_http_watch_event event = {.kind = SL_PROBE_REQUEST_END, .request = watch->reading, .bytes = watch->in.bytes};
        tell(sink, &event);
    }
    watch->reading = 0;
    side_reset(&watch->in);
}

static void request_begin(sl_http_watch *watch, const sl_http_watch_sink *sink)
{
    if (watch->waiting_count == SL_HTTP_WATCH_PIPELINE) {
        watch->in.state = SL_HTTP_WATCH_LOST;
        return;
    }
    uint32_t request = sink->new_request(sink->user);
    uint16_t flags = (uint16_t)((watch->tls ? SL_PROBE_REQUEST_TLS : 0) | (watch->head_cut ? SL_PROBE_REQUEST_CUT : 0));
    sl_str head = sl_str_of(watch->head, watch->head_len);
    watch->waiting[watch->waiting_count].request = request;
    watch->waiting[watch->waiting_count++].is_head = sl_str_starts(head, SL_STR("HEAD "));
    watch->reading = request;
    sl_http_watch_event event = {
        .kind = SL_PROBE_REQUEST, .flags = flags, .request = request, .start_ns = watch->start_ns, .tail = head};
    tell(sink, &event);
    sl_http_watch_side *in = &watch->in;
    if (in->is_chunked) {
        in->state = SL_HTTP_WATCH_CHUNKED;
        sl_chunked_init(&in->chunked);
    } else if (in->length != SL_HTTP_WATCH_NO_LENGTH && in->length > 0) {
        in->state = SL_HTTP_WATCH_LENGTH;
        in->left = in->length;
    } else {
        request_end(watch, sink);
    }
}

static void in_head(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str *bytes, uint64_t now_ns)
{
    sl_http_watch_side *in = &watch->in;
    if (!in->begun && in->line_len == 0 && !in->line_cut) {
        char c = bytes->ptr[0];
        if (c != '\r' && c != '\n' && !(c >= 'A' && c <= 'Z')) {
            in->state = SL_HTTP_WATCH_LOST;
            return;
        }
        watch->start_ns = now_ns;
    }
    sl_str line;
    bool cut;
    if (!take_line(in, watch->in_line, sizeof watch->in_line, bytes, &line, &cut))
        return;
    if (in->begun && line.len)
        request_field(watch, line, cut);
    else if (in->begun)
        request_begin(watch, sink);
    else if (line.len && !request_line(watch, line, cut))
        in->state = SL_HTTP_WATCH_LOST;
    else
        in->begun = line.len > 0;
}

static void in_body(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str *bytes)
{
    sl_http_watch_side *in = &watch->in;
    if (in->state == SL_HTTP_WATCH_LENGTH) {
        size_t n = bytes->len < in->left ? bytes->len : (size_t)in->left;
        in->left -= n;
        in->bytes += n;
        *bytes = sl_str_sub(*bytes, n, bytes->len);
        if (in->left == 0)
            request_end(watch, sink);
        return;
    }
    size_t used;
    uint64_t data;
    int rc = sl_chunked_skip(&in->chunked, *bytes, &used, &data);
    in->bytes += data;
    *bytes = sl_str_sub(*bytes, used, bytes->len);
    if (rc == SL_CHUNKED_END)
        request_end(watch, sink);
    else if (rc != SL_EMORE)
        in->state = SL_HTTP_WATCH_LOST;
}

void sl_http_watch_in(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str bytes, uint64_t now_ns)
{
    SL_ASSERT(watch && sink && sink->event && sink->new_request);
    SL_ASSERT(watch->waiting_count <= SL_HTTP_WATCH_PIPELINE);
    while (bytes.len && watch->in.state != SL_HTTP_WATCH_LOST) {
        if (watch->in.state == SL_HTTP_WATCH_HEAD)
            in_head(watch, sink, &bytes, now_ns);
        else
            in_body(watch, sink, &bytes);
    }
}

/* ---- answers ---- */

static void status_line(sl_http_watch *watch, sl_str line)
{
    sl_http_watch_side *out = &watch->out;
    uint64_t status;
    out->begun = sl_str_starts(line, SL_STR("HTTP/1.")) && line.len >= 12 && line.ptr[8] == ' ' &&
                 sl_str_to_u64(sl_str_sub(line, 9, 3), &status) == 0 && status >= 100;
    if (!out->begun) {
        out->state = SL_HTTP_WATCH_LOST;
        return;
    }
    watch->status = (uint16_t)status;
    watch->keeps_tail = watch->is_event_stream = watch->has_text = watch->frame_has_text = false;
    watch->window_len = 0;
}

static void answer_field(sl_http_watch *watch, sl_str line)
{
    sl_str name, value;
    if (!split_field(line, &name, &value))
        return;
    note_framing(&watch->out, name, value);
    if (name.len != 12 || !sl_str_ieq(name, SL_STR("content-type")))
        return;
    size_t semicolon = sl_str_chr(value, ';');
    sl_str type = sl_str_trim(sl_str_sub(value, 0, semicolon));
    watch->is_event_stream = sl_str_ieq(type, SL_STR("text/event-stream"));
    watch->keeps_tail = watch->is_event_stream || sl_str_ieq(type, SL_STR("application/json")) ||
                        sl_str_ieq(type, SL_STR("application/x-ndjson"));
}

/* Keeps the last bytes of the body. */
static void window_put(sl_http_watch *watch, sl_str data)
{
    if (!watch->keeps_tail)
        return;
    if (data.len >= SL_HTTP_WATCH_WINDOW) {
        data = sl_str_sub(data, data.len - SL_HTTP_WATCH_WINDOW, SL_HTTP_WATCH_WINDOW);
        watch->window_len = 0;
    } else if (watch->window_len + data.len > sizeof watch->window) {
        size_t keep = SL_HTTP_WATCH_WINDOW - data.len;
        keep = keep < watch->window_len ? keep : watch->window_len;
        memmove(watch->window, watch->window + watch->window_len - keep, keep);
        watch->window_len = (uint32_t)keep;
    }
    memcpy(watch->window + watch->window_len, data.ptr, data.len);
    watch->window_len += (uint32_t)data.len;
}

void sl_http_watch_written(sl_http_watch *watch, const sl_http_watch_sink *sink)
{
    SL_ASSERT(watch && sink);
    if (watch->frame_bytes == 0)
        return;
    sl_http_watch_event event = {.kind = SL_PROBE_FRAME,
                                 .flags = watch->frame_has_text ? 0 : SL_PROBE_FRAME_NO_TEXT,
                                 .request = sl_http_watch_current(watch),
                                 .bytes = watch->frame_bytes};
    watch->frame_bytes = 0;
    watch->has_text = watch->has_text || watch->frame_has_text;
    watch->frame_has_text = watch->has_text;
    if (event.request)
        tell(sink, &event);
}

/* Of an answer that was cut short, what ends with a whole line; a cut JSON text cannot be read from its end. */
static sl_str readable_window(const sl_http_watch *watch, uint16_t flags)
{
    sl_str text = sl_str_of(watch->window, watch->window_len);
    if (flags & SL_PROBE_END_COMPLETE)
        return text;
    if (!watch->is_event_stream)
        return sl_str_of(text.ptr, 0);
    while (text.len && text.ptr[text.len - 1] != '\n')
        text.len--;
    return text;
}

static void answer_end(sl_http_watch *watch, const sl_http_watch_sink *sink, uint16_t flags)
{
    SL_ASSERT(watch->waiting_count > 0);
    sl_http_watch_written(watch, sink);
    char room[SL_PROBE_TAIL_MAX];
    sl_http_watch_event event = {.kind = SL_PROBE_ANSWER_END,
                                 .flags = flags,
                                 .request = watch->waiting[0].request,
                                 .bytes = watch->out.bytes,
                                 .tail = sl_http_tail_keep(readable_window(watch, flags), room, sizeof room)};
    watch->waiting_count--;
    memmove(watch->waiting, watch->waiting + 1, watch->waiting_count * sizeof watch->waiting[0]);
    watch->window_len = 0;
    side_reset(&watch->out);
    tell(sink, &event);
}

/* The answer's framing (RFC 9112 section 6.3). */
static void choose_body(sl_http_watch *watch)
{
    sl_http_watch_side *out = &watch->out;
    bool none = watch->waiting[0].is_head || watch->status == 204 || watch->status == 304;
    if (watch->status == 101) {
        out->state = SL_HTTP_WATCH_CLOSE;
    } else if (none || (!out->is_chunked && out->length != SL_HTTP_WATCH_NO_LENGTH)) {
        out->state = SL_HTTP_WATCH_LENGTH;
        out->left = none ? 0 : out->length;
    } else if (out->is_chunked) {
        out->state = SL_HTTP_WATCH_CHUNKED;
        sl_chunked_init(&out->chunked);
    } else {
        out->state = SL_HTTP_WATCH_CLOSE;
    }
}

static void answer_begin(sl_http_watch *watch, const sl_http_watch_sink *sink)
{
    sl_http_watch_side *out = &watch->out;
    if (watch->status < 200 && watch->status != 101) {
        side_reset(out);
        return;
    }
    choose_body(watch);
    uint16_t flags = watch->is_event_stream ? SL_PROBE_ANSWER_SSE : 0;
    if (out->is_chunked)
        flags |= SL_PROBE_ANSWER_CHUNKED;
    else if (out->length != SL_HTTP_WATCH_NO_LENGTH)
        flags |= SL_PROBE_ANSWER_LENGTH;
    sl_http_watch_event event = {.kind = SL_PROBE_ANSWER,
                                 .flags = flags,
                                 .request = watch->waiting[0].request,
                                 .status = watch->status,
                                 .bytes = flags & SL_PROBE_ANSWER_LENGTH ? out->length : 0};
    tell(sink, &event);
    if (out->state == SL_HTTP_WATCH_LENGTH && out->left == 0)
        answer_end(watch, sink, SL_PROBE_END_COMPLETE);
}

static void out_head(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str *bytes)
{
    sl_http_watch_side *out = &watch->out;
    sl_str line;
    bool cut;
    if (watch->waiting_count == 0) { /* an answer to what was not understood, or to nothing */
        out->state = SL_HTTP_WATCH_LOST;
        return;
    }
    if (!take_line(out, watch->out_line, sizeof watch->out_line, bytes, &line, &cut))
        return;
    if (!out->begun)
        status_line(watch, line);
    else if (line.len)
        answer_field(watch, line);
    else
        answer_begin(watch, sink);
}

/*
 * Whether this is something of the answer. Servers keep an idle stream alive by comments, and llama-server tells on
 * demand how far it is with the prompt. As they write: an event of a stream is one piece.
 */
static bool is_text(const sl_http_watch *watch, sl_str data)
{
    if (!watch->is_event_stream)
        return true;
    while (data.len && (data.ptr[0] == '\n' || data.ptr[0] == '\r'))
        data = sl_str_sub(data, 1, data.len);
    if (data.len == 0 || data.ptr[0] == ':')
        return sl_str_find(data, SL_STR("\ndata:")) != SL_NPOS;
    return sl_str_find(data, SL_STR("\"prompt_progress\"")) == SL_NPOS;
}

static void body_put(sl_http_watch *watch, sl_str data)
{
    watch->out.bytes += data.len;
    if (watch->out.state != SL_HTTP_WATCH_LENGTH && data.len) {
        watch->frame_bytes += (uint32_t)data.len;
        watch->frame_has_text = watch->frame_has_text || is_text(watch, data);
    }
    window_put(watch, data);
}

static void out_chunked(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str *bytes)
{
    sl_str data;
    int rc;
    while ((rc = sl_chunked_next(&watch->out.chunked, bytes, &data)) == 0)
        body_put(watch, data);
    if (rc == SL_CHUNKED_END)
        answer_end(watch, sink, SL_PROBE_END_COMPLETE);
    else if (rc != SL_EMORE)
        watch->out.state = SL_HTTP_WATCH_LOST;
}

static void out_plain(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str *bytes)
{
    sl_http_watch_side *out = &watch->out;
    size_t n = bytes->len;
    if (out->state == SL_HTTP_WATCH_LENGTH && n > out->left)
        n = (size_t)out->left;
    body_put(watch, sl_str_sub(*bytes, 0, n));
    *bytes = sl_str_sub(*bytes, n, bytes->len);
    if (out->state != SL_HTTP_WATCH_LENGTH)
        return;
    out->left -= n;
    if (out->left == 0)
        answer_end(watch, sink, SL_PROBE_END_COMPLETE);
}

/* Ends what is open when the answers cannot be followed any more: how they end is not known. */
static void lose_answers(sl_http_watch *watch, const sl_http_watch_sink *sink)
{
    while (watch->waiting_count)
        answer_end(watch, sink, 0);
    watch->out.state = watch->in.state = SL_HTTP_WATCH_LOST;
}

void sl_http_watch_out(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str bytes)
{
    SL_ASSERT(watch && sink && sink->event);
    SL_ASSERT(bytes.ptr || bytes.len == 0);
    while (bytes.len && watch->out.state != SL_HTTP_WATCH_LOST) {
        if (watch->out.state == SL_HTTP_WATCH_HEAD)
            out_head(watch, sink, &bytes);
        else if (watch->out.state == SL_HTTP_WATCH_CHUNKED)
            out_chunked(watch, sink, &bytes);
        else
            out_plain(watch, sink, &bytes);
    }
    if (watch->out.state == SL_HTTP_WATCH_LOST)
        lose_answers(watch, sink);
}

void sl_http_watch_out_unseen(sl_http_watch *watch, const sl_http_watch_sink *sink, uint64_t bytes)
{
    SL_ASSERT(watch && sink && sink->event);
    sl_http_watch_side *out = &watch->out;
    if (bytes == 0 || out->state == SL_HTTP_WATCH_LOST)
        return;
    watch->keeps_tail = false;
    if (out->state == SL_HTTP_WATCH_CLOSE) {
        out->bytes += bytes;
        watch->frame_has_text = true;
        watch->frame_bytes += bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
    } else if (out->state == SL_HTTP_WATCH_LENGTH && bytes <= out->left) {
        out->bytes += bytes;
        out->left -= bytes;
        if (out->left == 0)
            answer_end(watch, sink, SL_PROBE_END_COMPLETE);
    } else {
        lose_answers(watch, sink);
    }
}

void sl_http_watch_end(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_http_watch_ending how)
{
    SL_ASSERT(watch && sink && sink->event);
    bool closed = how == SL_HTTP_WATCH_BY_SERVER || how == SL_HTTP_WATCH_AFTER_PEER;
    bool left = how == SL_HTTP_WATCH_BY_PEER || how == SL_HTTP_WATCH_AFTER_PEER;
    if (watch->waiting_count && watch->out.state == SL_HTTP_WATCH_CLOSE && closed)
        answer_end(watch, sink, SL_PROBE_END_COMPLETE);
    while (watch->waiting_count)
        answer_end(watch, sink, (uint16_t)(SL_PROBE_END_CLOSED | (left ? SL_PROBE_END_BY_PEER : 0)));
    watch->in.state = watch->out.state = SL_HTTP_WATCH_LOST;
}
