/* OpenAI request bodies: one scan, a few values, two edits. */
#include "src/llm/openai.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/llm/tables.h"

enum {
    AT_MODEL,
    AT_STREAM,
    AT_OPTIONS,
    AT_INCLUDE,
    AT_TEMPERATURE,
    AT_TOP_P,
    AT_TOP_K,
    AT_MAX_TOKENS,
    AT_MAX_COMPLETION_TOKENS,
    AT_SEED,
    AT_N,
    AT_FREQUENCY,
    AT_PRESENCE,
    AT_USER,
    AT_TIER,
    AT_ENCODING,
    AT_FORMAT,
    AT_STOP,
    AT_MESSAGES,
    AT_PROMPT,
    AT_INPUT,
    AT_COUNT
};

static const char *const paths[AT_COUNT] = {
    [AT_MODEL] = "model",
    [AT_STREAM] = "stream",
    [AT_OPTIONS] = "stream_options",
    [AT_INCLUDE] = "stream_options.include_usage",
    [AT_TEMPERATURE] = "temperature",
    [AT_TOP_P] = "top_p",
    [AT_TOP_K] = "top_k",
    [AT_MAX_TOKENS] = "max_tokens",
    [AT_MAX_COMPLETION_TOKENS] = "max_completion_tokens",
    [AT_SEED] = "seed",
    [AT_N] = "n",
    [AT_FREQUENCY] = "frequency_penalty",
    [AT_PRESENCE] = "presence_penalty",
    [AT_USER] = "user",
    [AT_TIER] = "service_tier",
    [AT_ENCODING] = "encoding_format",
    [AT_FORMAT] = "response_format.type",
    [AT_STOP] = "stop",
    [AT_MESSAGES] = "messages",
    [AT_PROMPT] = "prompt",
    [AT_INPUT] = "input",
};

static sl_json_watch watch;

int sl_openai_compile(void)
{
    return sl_json_watch_init(&watch, paths, AT_COUNT);
}

/* ---- operations ---- */

typedef struct operation {
    const char *name;
    sl_str path;
} operation;

static const operation operations[SL_LLM_OPERATION_COUNT] = {
    [SL_LLM_NONE] = {"unknown", {"", 0}},
    [SL_LLM_CHAT] = {"chat", {"/chat/completions", 17}},
    [SL_LLM_COMPLETION] = {"text_completion", {"/completions", 12}},
    [SL_LLM_EMBEDDINGS] = {"embeddings", {"/embeddings", 11}},
};

const char *sl_llm_operation_name(sl_llm_operation op)
{
    SL_ASSERT(op >= 0 && op < SL_LLM_OPERATION_COUNT);
    return operations[op].name;
}

sl_str sl_llm_operation_path(sl_llm_operation op)
{
    SL_ASSERT(op >= 0 && op < SL_LLM_OPERATION_COUNT);
    return operations[op].path;
}

sl_llm_operation sl_llm_operation_of(sl_str path)
{
    if (sl_str_starts(path, SL_STR("/v1/")))
        path = sl_str_sub(path, 3, path.len);
    for (int op = SL_LLM_CHAT; op < SL_LLM_OPERATION_COUNT; op++) {
        if (sl_str_eq(path, operations[op].path))
            return (sl_llm_operation)op;
    }
    return SL_LLM_NONE;
}

/* ---- reading ---- */

static int fault(sl_openai_fault *ret, int status, const char *code, const char *format, const char *what, size_t at)
{
    SL_ASSERT(ret);
    ret->status = status;
    ret->code = code;
    (void)snprintf(ret->message, sizeof ret->message, format, what, at);
    return SL_EPARSE;
}

static void read_number(sl_json_value value, sl_openai_number *n)
{
    SL_ASSERT(n && !n->present);
    if (sl_json_i64(value, &n->integer) == 0) {
        n->present = n->is_int = true;
        n->real = (double)n->integer;
    } else if (sl_json_double(value, &n->real) == 0) {
        n->present = true;
    }
}

/* Sets `n`, which is empty, when a number was found. */
static inline void number_at(sl_str body, const sl_json_found *found, sl_openai_number *n)
{
    SL_ASSERT(found);
    if (SL_UNLIKELY(found->type == SL_JSON_NUMBER))
        read_number(sl_json_at(body, found), n);
}

/* A short string as it stands, without decoding; empty when it is long or has escapes. */
static sl_str plain_at(sl_str body, const sl_json_found *found, size_t max)
{
    SL_ASSERT(found);
    if (found->type != SL_JSON_STRING)
        return sl_str_of(NULL, 0);
    sl_str raw = sl_json_string_raw(sl_json_at(body, found));
    if (raw.len > max || sl_str_chr(raw, '\\') != SL_NPOS)
        return sl_str_of(NULL, 0);
    return raw;
}

static int read_model(sl_str body, const sl_json_found *found, sl_openai_request *r, sl_openai_fault *f)
{
    SL_ASSERT(found);
    if (found->type == SL_JSON_NONE)
        return fault(f, 400, "missing_model", "you must provide a model parameter%s", "", 0);
    if (found->type != SL_JSON_STRING)
        return fault(f, 400, "invalid_model", "the model parameter must be %s", "a string", 0);
    if (found->duplicate)
        return fault(f, 400, "duplicate_key", "the body names %s twice", "a key that routing reads", 0);
    if (sl_json_string(sl_json_at(body, found), r->text, sizeof r->text, &r->model) != 0 || r->model.len == 0 ||
        r->model.len > SL_OPENAI_MODEL_MAX)
        return fault(f, 400, "invalid_model", "the model parameter is %s", "empty or too long", 0);
    r->model_at = *found;
    return 0;
}

static void read_settings(sl_str body, const sl_json_found *found, sl_openai_request *r)
{
    SL_ASSERT(r && found);
    number_at(body, &found[AT_TEMPERATURE], &r->temperature);
    number_at(body, &found[AT_TOP_P], &r->top_p);
    number_at(body, &found[AT_TOP_K], &r->top_k);
    number_at(body, &found[AT_MAX_COMPLETION_TOKENS], &r->max_tokens);
    if (!r->max_tokens.present)
        number_at(body, &found[AT_MAX_TOKENS], &r->max_tokens);
    number_at(body, &found[AT_SEED], &r->seed);
    number_at(body, &found[AT_N], &r->n);
    number_at(body, &found[AT_FREQUENCY], &r->frequency_penalty);
    number_at(body, &found[AT_PRESENCE], &r->presence_penalty);
    r->user = plain_at(body, &found[AT_USER], SL_OPENAI_USER_MAX);
    r->service_tier = plain_at(body, &found[AT_TIER], 32);
    r->encoding_format = plain_at(body, &found[AT_ENCODING], 32);
    r->response_format = plain_at(body, &found[AT_FORMAT], 32);
    r->stop = sl_json_at(body, &found[AT_STOP]);
}

int sl_openai_read_request(sl_str body, sl_openai_request *ret_request, sl_openai_fault *ret_fault)
{
    sl_json_found found[AT_COUNT];
    sl_json_found root;
    sl_json_error error;
    SL_ASSERT(ret_request && ret_fault && watch.path_count == AT_COUNT);
    int result = sl_json_scan(body, &watch, found, &root, &error);
    if (result == SL_ELIMIT)
        return fault(ret_fault, 400, "json_too_deep", "the body is nested too deeply%s (at byte %zu)", "",
                     error.offset);
    if (result != 0)
        return fault(ret_fault, 400, "invalid_json", "the body is not valid JSON: %s (at byte %zu)",
                     error.reason ? error.reason : "malformed", error.offset);
    if (root.type != SL_JSON_OBJECT)
        return fault(ret_fault, 400, "invalid_json", "the body must be %s", "a JSON object", 0);
    sl_openai_request *r = ret_request;
    memset(r, 0, offsetof(sl_openai_request, text));
    result = read_model(body, &found[AT_MODEL], r, ret_fault);
    if (result != 0)
        return result;
    if (found[AT_STREAM].duplicate || found[AT_OPTIONS].duplicate || found[AT_INCLUDE].duplicate)
        return fault(ret_fault, 400, "duplicate_key", "the body names %s twice", "a key that routing reads", 0);
    r->stream = found[AT_STREAM].type == SL_JSON_TRUE;
    r->options_at = found[AT_OPTIONS];
    r->include_at = found[AT_INCLUDE];
    r->usage_asked = r->stream && found[AT_INCLUDE].type == SL_JSON_TRUE;
    r->content_at = found[AT_MESSAGES];
    if (r->content_at.type == SL_JSON_NONE)
        r->content_at = found[AT_PROMPT];
    if (r->content_at.type == SL_JSON_NONE)
        r->content_at = found[AT_INPUT];
    r->root_begin = root.begin;
    read_settings(body, found, r);
    return 0;
}

/* ---- editing ---- */

/* One replacement: bytes [begin, end) become `text`. */
typedef struct edit {
    size_t begin;
    size_t end;
    sl_str text;
} edit;

bool sl_openai_usage_missing(const sl_openai_request *r)
{
    SL_ASSERT(r);
    if (!r->stream)
        return false;
    if (r->options_at.type == SL_JSON_NONE || r->options_at.type == SL_JSON_NULL)
        return true;
    return r->options_at.type == SL_JSON_OBJECT &&
           (r->include_at.type == SL_JSON_NONE || r->include_at.type == SL_JSON_NULL);
}

static edit usage_edit(const sl_openai_request *r)
{
    SL_ASSERT(r);
    if (r->options_at.type == SL_JSON_NONE)
        return (edit){r->root_begin + 1, r->root_begin + 1, SL_STR("\"stream_options\":{\"include_usage\":true},")};
    if (r->options_at.type == SL_JSON_NULL)
        return (edit){r->options_at.begin, r->options_at.end, SL_STR("{\"include_usage\":true}")};
    if (r->include_at.type == SL_JSON_NULL)
        return (edit){r->include_at.begin, r->include_at.end, SL_STR("true")};
    size_t inside = r->options_at.begin + 1;
    if (r->options_at.items > 0)
        return (edit){inside, inside, SL_STR("\"include_usage\":true,")};
    return (edit){inside, inside, SL_STR("\"include_usage\":true")};
}

static void put(sl_openai_pieces *pieces, sl_str text)
{
    if (text.len == 0)
        return;
    SL_ASSERT(pieces->count < SL_OPENAI_PIECES);
    pieces->piece[pieces->count++] = text;
    pieces->total += text.len;
}

void sl_openai_edit(const sl_openai_request *request, sl_str body, sl_str model_json, bool add_usage,
                    sl_openai_pieces *ret_pieces)
{
    edit edits[2];
    unsigned count = 0;
    if (model_json.len)
        edits[count++] = (edit){request->model_at.begin, request->model_at.end, model_json};
    if (add_usage)
        edits[count++] = usage_edit(request);
    if (count == 2 && edits[1].begin < edits[0].begin) {
        edit first = edits[1];
        edits[1] = edits[0];
        edits[0] = first;
    }
    memset(ret_pieces, 0, sizeof *ret_pieces);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        SL_ASSERT(edits[i].begin >= at && edits[i].end <= body.len);
        put(ret_pieces, sl_str_sub(body, at, edits[i].begin - at));
        put(ret_pieces, edits[i].text);
        at = edits[i].end;
    }
    put(ret_pieces, sl_str_sub(body, at, body.len - at));
}
