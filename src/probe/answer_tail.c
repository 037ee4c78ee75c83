/* The last bytes of an answer: members by name, from the end. */
#include "src/probe/answer_tail.h"

#include "src/base/assert.h"
#include "src/wire/json_scan.h"

/* Members that are looked for. */
typedef enum member { TIMINGS, USAGE, ID_SLOT, ID_TASK, MODEL, MEMBERS } member;
static const sl_str member_names[MEMBERS] = {
    {"\"timings\"", 9}, {"\"usage\"", 7}, {"\"id_slot\"", 9}, {"\"id_task\"", 9}, {"\"model\"", 7}};

static sl_str without_blanks(sl_str text)
{
    while (text.len && (*text.ptr == ' ' || *text.ptr == '\t'))
        text = sl_str_sub(text, 1, SL_NPOS);
    return text;
}

/* The member whose name begins with the quote at `at`; MEMBERS: none. `*ret_value`: what stands behind its colon. */
static member member_at(sl_str text, size_t at, sl_str *ret_value)
{
    SL_ASSERT(at < text.len && text.ptr[at] == '"');
    sl_str rest = sl_str_sub(text, at, SL_NPOS);
    if (at > 0 && text.ptr[at - 1] == '\\')
        return MEMBERS;
    for (member m = 0; m < MEMBERS; m++) {
        if (rest.len < member_names[m].len || rest.ptr[4] != member_names[m].ptr[4] ||
            !sl_str_starts(rest, member_names[m]))
            continue;
        sl_str behind = without_blanks(sl_str_sub(rest, member_names[m].len, SL_NPOS));
        if (!behind.len || *behind.ptr != ':')
            return MEMBERS;
        *ret_value = without_blanks(sl_str_sub(behind, 1, SL_NPOS));
        return m;
    }
    return MEMBERS;
}

/* What stands behind the last of each name, in one way from the end to the front. */
static void find_members(sl_str text, sl_str ret_values[MEMBERS])
{
    bool found[MEMBERS] = {false};
    unsigned left = MEMBERS;
    for (size_t end = text.len; end && left;) {
        const char *quote = memrchr(text.ptr, '"', end);
        if (!quote)
            return;
        sl_str value;
        end = (size_t)(quote - text.ptr);
        char next = end + 1 < text.len ? quote[1] : '\0';
        if (next != 't' && next != 'u' && next != 'i' && next != 'm')
            continue;
        member m = member_at(text, end, &value);
        if (m == MEMBERS || found[m])
            continue;
        found[m] = true;
        ret_values[m] = value;
        left--;
    }
}

/* The object at the front of a text: to its closing bracket, strings skipped. Empty when it is not whole. */
static sl_str object_at(sl_str text)
{
    size_t depth = 0;
    bool quoted = false;
    if (!text.len || *text.ptr != '{')
        return sl_str_of(NULL, 0);
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
            return sl_str_sub(text, 0, i + 1);
        }
    }
    return sl_str_of(NULL, 0);
}

static sl_json_value object_of(sl_str behind)
{
    sl_json_value value = {SL_JSON_NONE, {NULL, 0}};
    sl_str text = object_at(behind);
    if (text.len && sl_json_parse(text, &value, NULL))
        value.type = SL_JSON_NONE;
    return value;
}

static int64_t count_of(sl_json_value object, const char *name)
{
    SL_ASSERT(name);
    int64_t number = -1;
    if (sl_json_i64(sl_json_get(object, name), &number) || number < 0)
        return -1;
    return number;
}

static double real_of(sl_json_value object, const char *name)
{
    double number = -1;
    if (sl_json_double(sl_json_get(object, name), &number) || number < 0)
        return -1;
    return number;
}

/* A number at the front of a text. */
static int64_t number_at(sl_str text)
{
    size_t len = 0;
    while (len < text.len && len < 18 && text.ptr[len] >= '0' && text.ptr[len] <= '9')
        len++;
    int64_t number = -1;
    if (!len || sl_str_to_i64(sl_str_sub(text, 0, len), &number))
        return -1;
    return number;
}

static sl_str plain_string_at(sl_str text)
{
    if (!text.len || *text.ptr != '"')
        return sl_str_of(NULL, 0);
    size_t end = sl_str_chr(sl_str_sub(text, 1, SL_NPOS), '"');
    sl_str inside = sl_str_sub(text, 1, end == SL_NPOS ? 0 : end);
    return sl_str_chr(inside, '\\') == SL_NPOS && sl_utf8_valid(inside) ? inside : sl_str_of(NULL, 0);
}

static void read_timings(sl_str behind, sl_answer_facts *facts)
{
    sl_json_value timings = object_of(behind);
    if (timings.type != SL_JSON_OBJECT)
        return;
    facts->prompt_n = count_of(timings, "prompt_n");
    facts->cache_n = count_of(timings, "cache_n");
    facts->predicted_n = count_of(timings, "predicted_n");
    facts->draft_n = count_of(timings, "draft_n");
    facts->draft_accepted = count_of(timings, "draft_n_accepted");
    facts->prompt_ms = real_of(timings, "prompt_ms");
    facts->predicted_ms = real_of(timings, "predicted_ms");
    facts->has_timings = facts->prompt_n >= 0 && facts->predicted_n >= 0;
}

/* Of the first name that is there. */
static int64_t either(sl_json_value object, const char *one, const char *other)
{
    int64_t number = count_of(object, one);
    return number >= 0 ? number : count_of(object, other);
}

/* The forms of OpenAI's two APIs and of Anthropic's, where cached tokens are not among the input tokens. */
static void read_usage(sl_str behind, sl_answer_facts *facts)
{
    sl_json_value usage = object_of(behind);
    if (usage.type != SL_JSON_OBJECT)
        return;
    facts->input_tokens = either(usage, "prompt_tokens", "input_tokens");
    facts->output_tokens = either(usage, "completion_tokens", "output_tokens");
    sl_json_value details = sl_json_get(usage, "prompt_tokens_details");
    if (details.type != SL_JSON_OBJECT)
        details = sl_json_get(usage, "input_tokens_details");
    facts->cached_tokens = count_of(details, "cached_tokens");
    int64_t apart = count_of(usage, "cache_read_input_tokens");
    if (apart >= 0) {
        facts->cached_tokens = apart;
        if (facts->input_tokens >= 0)
            facts->input_tokens += apart;
    }
    facts->has_usage = facts->input_tokens >= 0 || facts->output_tokens >= 0;
}

void sl_answer_tail_read(sl_str tail, sl_answer_facts *ret_facts)
{
    SL_ASSERT(ret_facts && (tail.ptr || !tail.len));
    memset(ret_facts, 0, sizeof *ret_facts);
    ret_facts->prompt_n = ret_facts->cache_n = ret_facts->predicted_n = -1;
    ret_facts->draft_n = ret_facts->draft_accepted = -1;
    ret_facts->input_tokens = ret_facts->output_tokens = ret_facts->cached_tokens = -1;
    ret_facts->prompt_ms = ret_facts->predicted_ms = -1;
    sl_str values[MEMBERS] = {{NULL, 0}};
    find_members(tail, values);
    read_timings(values[TIMINGS], ret_facts);
    read_usage(values[USAGE], ret_facts);
    ret_facts->id_slot = number_at(values[ID_SLOT]);
    ret_facts->id_task = number_at(values[ID_TASK]);
    ret_facts->model = plain_string_at(values[MODEL]);
}
