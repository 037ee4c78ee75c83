/* Judging of answers: cheap looks at most frames, JSON where something is to be
 * read. */
#include "src/cli/load_answer.h"

#include "src/base/assert.h"
#include "src/wire/http_field.h"
#include "src/wire/json_scan.h"

#define MAX_BODY (256u * 1024 * 1024)

void sl_load_answer_begin(sl_load_answer *answer, const sl_load_request *request, uint64_t begin_ns)
{
    SL_ASSERT(answer && request);
    sl_load_answer_done(answer);
    memset(answer, 0, sizeof *answer);
    answer->api = request->api;
    answer->want_stream = request->stream;
    answer->begin_ns = begin_ns;
    sl_sse_init(&answer->sse, 0);
    sl_buf_init(&answer->body, MAX_BODY);
}

void sl_load_answer_done(sl_load_answer *answer)
{
    SL_ASSERT(answer);
    sl_sse_done(&answer->sse);
    sl_buf_done(&answer->body);
}

static void fault(sl_load_answer *answer, sl_load_error error)
{
    SL_ASSERT(answer);
    if (!answer->error)
        answer->error = error;
}

void sl_load_answer_head(sl_load_answer *answer, int status, sl_str content_type)
{
    SL_ASSERT(answer);
    answer->status = status;
    bool events = sl_str_ieq(sl_http_media_type(content_type), SL_STR("text/event-stream"));
    answer->is_stream = status == 200 && events;
    if (status != 200)
        fault(answer, SL_LOAD_HTTP);
    else if (answer->want_stream && !answer->is_stream)
        fault(answer, SL_LOAD_NOT_STREAMED);
}

/* ---- frames ---- */

/* True when a member of one of these names holds text: `"content":"x`. A look,
 * not a parse: text cannot fake it, its quotes are escaped. */
static bool has_text(sl_str data)
{
    static const sl_str names[] = {{"\"content\"", 9},    {"\"text\"", 6},          {"\"reasoning_content\"", 19},
                                   {"\"arguments\"", 11}, {"\"partial_json\"", 14}, {"\"thinking\"", 10}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sl_str rest = data;
        size_t at;
        while ((at = sl_str_find(rest, names[i])) != SL_NPOS) {
            rest = sl_str_sub(rest, at + names[i].len, rest.len);
            sl_str value = sl_str_trim(rest);
            if (!value.len || value.ptr[0] != ':')
                continue;
            value = sl_str_trim(sl_str_sub(value, 1, value.len));
            if (value.len > 1 && value.ptr[0] == '"' && value.ptr[1] != '"')
                return true;
        }
    }
    return false;
}

/* Reads what usage a JSON text holds: OpenAI's, or Anthropic's in a message or
 * an event. */
static int read_usage(sl_load_answer *answer, sl_str json)
{
    static const char *const paths[] = {"usage.completion_tokens", "usage.output_tokens", "message.usage.output_tokens",
                                        "error"};
    static sl_json_watch watch;
    sl_json_found found[4];
    if (!watch.path_count && sl_json_watch_init(&watch, paths, 4) != 0)
        return SL_EINVAL;
    if (sl_json_scan(json, &watch, found, NULL, NULL) != 0)
        return SL_EPARSE;
    for (size_t i = 0; i < 3; i++) {
        int64_t tokens;
        if (found[i].type == SL_JSON_NUMBER && sl_json_i64(sl_json_at(json, &found[i]), &tokens) == 0 && tokens >= 0) {
            answer->tokens = (uint64_t)tokens;
            answer->has_usage = true;
        }
    }
    if (found[3].type != SL_JSON_NONE && found[3].type != SL_JSON_NULL)
        return SL_EIO;
    return 0;
}

static void time_token(sl_load_answer *answer, uint64_t now_ns, sl_load_result *result)
{
    SL_ASSERT(answer);
    if (answer->text_frames++ == 0)
        sl_load_hist_add(&result->ttft, now_ns - answer->begin_ns);
    else
        sl_load_hist_add(&result->itl, now_ns - answer->last_ns);
    answer->last_ns = now_ns;
}

static void take_frame(sl_load_answer *answer, const sl_sse_frame *frame, uint64_t now_ns, sl_load_result *result)
{
    SL_ASSERT(answer);
    sl_str data, event;
    answer->frames++;
    if (sl_sse_frame_is_done(frame)) {
        answer->done_seen = true;
        return;
    }
    if (answer->api == SL_LOAD_MESSAGES && sl_sse_frame_field(frame, SL_STR("event"), &event) &&
        sl_str_eq_c(event, "message_stop"))
        answer->done_seen = true;
    int error = sl_sse_frame_data(frame, &answer->body, &data);
    if (error == SL_ENOENT)
        return; /* a comment: servers keep connections awake so */
    if (error || data.len < 2 || data.ptr[0] != '{' || data.ptr[data.len - 1] != '}') {
        fault(answer, error ? SL_LOAD_MEMORY : SL_LOAD_BAD_JSON);
        return;
    }
    if (has_text(data))
        time_token(answer, now_ns, result);
    if (sl_str_find(data, SL_STR("_tokens\"")) == SL_NPOS && sl_str_find(data, SL_STR("\"error\"")) == SL_NPOS)
        return;
    error = read_usage(answer, data);
    if (error)
        fault(answer, error == SL_EPARSE ? SL_LOAD_BAD_JSON : SL_LOAD_STREAM_ERROR);
    if (error == SL_EIO && !result->sample[0])
        sl_load_result_sample(result, data);
}

static void feed_stream(sl_load_answer *answer, sl_str bytes, bool end, uint64_t now_ns, sl_load_result *result)
{
    SL_ASSERT(answer);
    sl_sse_frame frame;
    while (sl_sse_next(&answer->sse, &bytes, &frame) == 0)
        take_frame(answer, &frame, now_ns, result);
    if (end && sl_sse_finish(&answer->sse, &frame) == 0)
        take_frame(answer, &frame, now_ns, result);
}

/* ---- whole bodies ---- */

static void judge_body(sl_load_answer *answer, sl_str body, sl_load_result *result)
{
    SL_ASSERT(answer);
    if (answer->error) {
        sl_load_result_error(result, answer->error, answer->status, body);
        answer->error = SL_LOAD_ERROR_COUNT;
    } else if (read_usage(answer, body) == SL_EPARSE) {
        fault(answer, SL_LOAD_BAD_JSON);
    }
}

void sl_load_answer_feed(sl_load_answer *answer, sl_str bytes, bool end, uint64_t now_ns, sl_load_result *result)
{
    SL_ASSERT(answer);
    answer->bytes += bytes.len;
    if (answer->is_stream) {
        feed_stream(answer, bytes, end, now_ns, result);
        return;
    }
    if (answer->body.len || !end) {
        if (sl_buf_put_str(&answer->body, bytes) != 0)
            fault(answer, SL_LOAD_MEMORY);
        bytes = sl_buf_str(&answer->body);
    }
    if (end)
        judge_body(answer, bytes, result);
}

void sl_load_answer_end(sl_load_answer *answer, uint64_t now_ns, sl_load_result *result)
{
    SL_ASSERT(result && answer);
    result->sent++;
    result->frames += answer->frames;
    result->bytes += answer->bytes;
    if (answer->is_stream && !answer->done_seen)
        fault(answer, SL_LOAD_NO_DONE);
    if (answer->error == SL_LOAD_ERROR_COUNT)
        return; /* counted with its body */
    if (answer->error) {
        sl_load_result_error(result, answer->error, answer->status, sl_str_of(NULL, 0));
        return;
    }
    result->ok++;
    result->tokens += answer->has_usage ? answer->tokens : answer->text_frames;
    sl_load_hist_add(&result->latency, now_ns - answer->begin_ns);
}
