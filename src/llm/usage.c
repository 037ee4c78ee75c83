/* Usage, ids and finish reasons of answers. */
#include "src/llm/usage.h"

#include "src/base/assert.h"
#include "src/llm/tables.h"

enum {
    AT_ID,
    AT_MODEL,
    AT_CHOICES,
    AT_FINISH,
    AT_INDEX,
    AT_USAGE,
    AT_PROMPT,
    AT_COMPLETION,
    AT_INPUT,
    AT_OUTPUT,
    AT_CACHED,
    AT_CACHED_INPUT,
    AT_CACHE_READ,
    AT_CACHE_WRITE,
    AT_CACHE_HIT,
    AT_REASONING,
    AT_REASONING_OUTPUT,
    AT_COUNT
};

static const char *const paths[AT_COUNT] = {
    [AT_ID] = "id",
    [AT_MODEL] = "model",
    [AT_CHOICES] = "choices",
    [AT_FINISH] = "choices[*].finish_reason",
    [AT_INDEX] = "choices[*].index",
    [AT_USAGE] = "usage",
    [AT_PROMPT] = "usage.prompt_tokens",
    [AT_COMPLETION] = "usage.completion_tokens",
    [AT_INPUT] = "usage.input_tokens",
    [AT_OUTPUT] = "usage.output_tokens",
    [AT_CACHED] = "usage.prompt_tokens_details.cached_tokens",
    [AT_CACHED_INPUT] = "usage.input_tokens_details.cached_tokens",
    [AT_CACHE_READ] = "usage.cache_read_input_tokens",
    [AT_CACHE_WRITE] = "usage.cache_creation_input_tokens",
    [AT_CACHE_HIT] = "usage.prompt_cache_hit_tokens",
    [AT_REASONING] = "usage.completion_tokens_details.reasoning_tokens",
    [AT_REASONING_OUTPUT] = "usage.output_tokens_details.reasoning_tokens",
};

static sl_json_watch watch;

int sl_usage_compile(void)
{
    return sl_json_watch_init(&watch, paths, AT_COUNT);
}

void sl_answer_init(sl_answer *answer)
{
    SL_ASSERT(answer);
    memset(answer, 0, sizeof *answer);
    answer->usage.input = answer->usage.output = -1;
    answer->usage.cache_read = answer->usage.cache_write = answer->usage.reasoning = -1;
}

/* A count of tokens; -1 when absent, negative or absurd. */
static int64_t tokens_at(sl_str json, const sl_json_found *found)
{
    SL_ASSERT(found);
    int64_t value;
    if (found->type != SL_JSON_NUMBER || sl_json_i64(sl_json_at(json, found), &value) != 0)
        return -1;
    return value >= 0 && value <= INT64_C(1) << 50 ? value : -1;
}

static int64_t first_known(int64_t a, int64_t b)
{
    return a >= 0 ? a : b;
}

/*
 * Anthropic's input_tokens leave out what was read from and written to its cache; everybody else's total includes it,
 * and tells the cached part as a detail of it.
 */
static int64_t whole_input(int64_t input, const sl_usage *usage, bool detailed)
{
    SL_ASSERT(usage);
    if (input < 0 || detailed)
        return input;
    return input + (usage->cache_read > 0 ? usage->cache_read : 0) + (usage->cache_write > 0 ? usage->cache_write : 0);
}

static void read_usage(sl_answer *answer, sl_str json, const sl_json_found *found)
{
    SL_ASSERT(found);
    if (found[AT_USAGE].type != SL_JSON_OBJECT)
        return;
    sl_usage usage;
    usage.output = first_known(tokens_at(json, &found[AT_COMPLETION]), tokens_at(json, &found[AT_OUTPUT]));
    usage.cache_read = first_known(tokens_at(json, &found[AT_CACHED]), tokens_at(json, &found[AT_CACHED_INPUT]));
    usage.cache_read = first_known(usage.cache_read, tokens_at(json, &found[AT_CACHE_READ]));
    usage.cache_read = first_known(usage.cache_read, tokens_at(json, &found[AT_CACHE_HIT]));
    usage.cache_write = tokens_at(json, &found[AT_CACHE_WRITE]);
    usage.reasoning = first_known(tokens_at(json, &found[AT_REASONING]), tokens_at(json, &found[AT_REASONING_OUTPUT]));
    bool detailed = found[AT_CACHED_INPUT].type != SL_JSON_NONE;
    usage.input = first_known(tokens_at(json, &found[AT_PROMPT]),
                              whole_input(tokens_at(json, &found[AT_INPUT]), &usage, detailed));
    usage.known = usage.input >= 0 || usage.output >= 0;
    if (usage.known)
        answer->usage = usage;
}

/* Copies a string value, cut to `size` at a character; keeps the old one when there is none. */
static void copy_text(sl_str json, const sl_json_found *found, char *text, size_t size, uint8_t *len)
{
    SL_ASSERT(found && (text || !size) && (json.ptr || !json.len));
    if (found->type != SL_JSON_STRING)
        return;
    sl_str raw = sl_json_string_raw(sl_json_at(json, found));
    if (raw.len == 0 || sl_str_chr(raw, '\\') != SL_NPOS)
        return;
    *len = (uint8_t)sl_utf8_prefix(raw, size);
    memcpy(text, raw.ptr, *len);
}

static void read_reason(sl_answer *answer, size_t index, sl_json_value value)
{
    if (value.type != SL_JSON_STRING || index >= SL_ANSWER_REASONS)
        return;
    sl_str raw = sl_json_string_raw(value);
    if (!sl_str_to_c(raw, answer->reasons[index], SL_ANSWER_REASON_MAX) || sl_str_chr(raw, '\\') != SL_NPOS)
        answer->reasons[index][0] = 0;
    if (answer->reason_count <= index)
        answer->reason_count = (uint8_t)(index + 1);
}

/* The usual case: one choice, whose index may not be 0. */
static void read_only_reason(sl_answer *answer, sl_str json, const sl_json_found *found)
{
    int64_t index;
    if (found[AT_INDEX].type != SL_JSON_NUMBER || sl_json_i64(sl_json_at(json, &found[AT_INDEX]), &index) != 0 ||
        index < 0)
        index = 0;
    read_reason(answer, (size_t)index, sl_json_at(json, &found[AT_FINISH]));
}

/* Several choices: each in its place. */
static void read_reasons(sl_answer *answer, sl_json_value choices)
{
    sl_json_iter iter;
    sl_json_value choice;
    sl_json_iter_init(&iter, choices);
    for (size_t place = 0; sl_json_iter_next(&iter, NULL, &choice); place++) {
        int64_t index;
        if (sl_json_i64(sl_json_get(choice, "index"), &index) != 0 || index < 0)
            index = (int64_t)place;
        read_reason(answer, (size_t)index, sl_json_get(choice, "finish_reason"));
    }
}

int sl_answer_read(sl_answer *answer, sl_str json)
{
    sl_json_found found[AT_COUNT];
    sl_json_found root;
    SL_ASSERT(answer && watch.path_count == AT_COUNT);
    int error = sl_json_scan(json, &watch, found, &root, NULL);
    if (error != 0)
        return SL_EPARSE;
    if (answer->id_len == 0)
        copy_text(json, &found[AT_ID], answer->id, sizeof answer->id, &answer->id_len);
    if (answer->model_len == 0)
        copy_text(json, &found[AT_MODEL], answer->model, sizeof answer->model, &answer->model_len);
    if (found[AT_FINISH].type == SL_JSON_STRING && found[AT_CHOICES].items == 1)
        read_only_reason(answer, json, found);
    else if (found[AT_FINISH].type == SL_JSON_STRING)
        read_reasons(answer, sl_json_at(json, &found[AT_CHOICES]));
    read_usage(answer, json, found);
    return 0;
}

/* Length of the object at the front of `text`, by its brackets; 0 when it does not end. */
static size_t object_length(sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{') {
            depth++;
        } else if (c == '}' && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

/* What stands behind a member's name and its colon, white space left out; false when there is no colon. */
static bool member_value(sl_str behind, sl_str *ret_value)
{
    SL_ASSERT(ret_value && (behind.ptr || !behind.len));
    bool colon = false;
    size_t i = 0;
    for (; i < behind.len; i++) {
        char c = behind.ptr[i];
        if (c == ':' && !colon)
            colon = true;
        else if (c != ' ' && c != '\t' && c != '\r' && c != '\n')
            break;
    }
    *ret_value = sl_str_sub(behind, i, behind.len);
    return colon && i < behind.len;
}

static bool find(sl_str text, const char *needle, size_t len, sl_str *ret_behind)
{
    SL_ASSERT(ret_behind && (text.ptr || !text.len));
    const char *at = text.len ? memmem(text.ptr, text.len, needle, len) : NULL;
    if (!at)
        return false;
    size_t behind = (size_t)(at - text.ptr) + len;
    *ret_behind = sl_str_sub(text, behind, text.len);
    return true;
}

bool sl_answer_read_tail(sl_answer *answer, sl_str tail)
{
    SL_ASSERT(tail.ptr || !tail.len);
    sl_str rest = tail;
    sl_str object;
    bool read = false;
    while (find(rest, "\"usage\"", 7, &rest)) {
        if (!member_value(rest, &object) || object.ptr[0] != '{')
            continue;
        object.len = object_length(object);
        char text[1024];
        if (object.len == 0 || object.len > sizeof text - 16)
            continue;
        memcpy(text, "{\"usage\":", 9);
        memcpy(text + 9, object.ptr, object.len);
        text[9 + object.len] = '}';
        if (sl_answer_read(answer, sl_str_of(text, object.len + 10)) == 0)
            read = answer->usage.known;
    }
    return read;
}

/* True when some member of this quoted name has a value that begins with `first`. */
static bool has_value(sl_str data, const char *name, size_t len, char first)
{
    sl_str rest = data, value;
    while (find(rest, name, len, &rest)) {
        if (member_value(rest, &value) && value.ptr[0] == first)
            return true;
    }
    return false;
}

sl_frame_kind sl_frame_look(sl_str data)
{
    SL_ASSERT(data.ptr || !data.len);
    return (sl_frame_kind){.usage = has_value(data, "\"usage\"", 7, '{'),
                           .finish = has_value(data, "\"finish_reason\"", 15, '"')};
}

bool sl_frame_is_usage_only(sl_str data)
{
    sl_json_found found[AT_COUNT];
    sl_json_found root;
    if (sl_json_scan(data, &watch, found, &root, NULL) != 0)
        return false;
    return found[AT_CHOICES].type == SL_JSON_ARRAY && found[AT_CHOICES].items == 0 &&
           found[AT_USAGE].type == SL_JSON_OBJECT;
}
