/* Transforms of values: merge, select, omit, regex, json, template, expression. */
#include "src/base/limits.h"
#include "src/flow/expr_regex.h"
#include "src/flow/step_transform_impl.h"
#include "src/llm/json_text.h"

/* ---- merge ---- */

static bool all_objects(const sl_transform *t)
{
    for (size_t i = 0; i < json_array_size(t->values); i++)
        if (!json_is_object(json_array_get(t->values, i)))
            return false;
    return true;
}

/* Objects to one object, later ones win; everything else to one list. */
int sl_transform_merge(sl_transform *t, json_t **ret_value)
{
    if (!all_objects(t))
        return sl_transform_items(t, ret_value);
    json_t *all = json_object(), *value;
    const char *key;
    size_t len;
    int error = all ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(t->values); i++)
        json_object_keylen_foreach(json_array_get(t->values, i), key, len, value)
        {
            error = sl_flow_spend_bytes(&t->work, 64 + len);
            if (!error && json_object_setn_nocheck(all, key, len, value))
                error = SL_ENOMEM;
            if (error)
                break;
        }
    return sl_transform_give(all, error, ret_value);
}

/* ---- select, pick, omit ---- */

/* `keys`: a list of texts, or one text. A list of its own. */
static int key_list(sl_transform *t, json_t **ret_keys)
{
    json_t *keys = sl_transform_param(t, "keys");
    if (json_is_string(keys)) {
        *ret_keys = json_pack("[O]", keys);
        return *ret_keys ? 0 : SL_ENOMEM;
    }
    for (size_t i = 0; keys && i < json_array_size(keys); i++)
        if (!json_is_string(json_array_get(keys, i)))
            return sl_flow_wrong(&t->work, "keys must be texts");
    if (!keys || !json_is_array(keys))
        return sl_flow_wrong(&t->work, "keys must be a list of texts");
    *ret_keys = json_incref(keys);
    return 0;
}

static int with_keys(sl_transform *t, json_t *object, json_t *keys, json_t **ret_value)
{
    json_t *part = json_object();
    int error = part ? sl_flow_spend_bytes(&t->work, 64 * (1 + json_array_size(keys))) : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(keys); i++) {
        sl_str key = sl_flow_str(json_array_get(keys, i));
        json_t *found = sl_transform_member(object, key);
        if (found && json_object_setn_nocheck(part, key.ptr, key.len, found))
            error = SL_ENOMEM;
    }
    return sl_transform_give(part, error, ret_value);
}

static int without_keys(sl_transform *t, json_t *object, json_t *keys, json_t **ret_value)
{
    int error = sl_flow_spend_bytes(&t->work, 64 * (1 + json_object_size(object)));
    json_t *part = error ? NULL : sl_json_copy(object);
    if (!error && !part)
        error = SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(keys); i++) {
        sl_str key = sl_flow_str(json_array_get(keys, i));
        (void)json_object_deln(part, key.ptr, key.len);
    }
    return sl_transform_give(part, error, ret_value);
}

/* Of an object, or of each object of a list. */
static int each_object(sl_transform *t, int (*one)(sl_transform *, json_t *, json_t *, json_t **), json_t **ret_value)
{
    json_t *keys = NULL, *value = sl_transform_value(t), *list = NULL;
    int error = key_list(t, &keys);
    if (!error && json_is_object(value)) {
        error = one(t, value, keys, ret_value);
        json_decref(keys);
        return error;
    }
    if (!error && !json_is_array(value))
        error = sl_flow_wrong(&t->work, "keys are of an object or a list of objects, not of a %s",
                              sl_flow_type_name(value));
    list = error ? NULL : json_array();
    if (!error && !list)
        error = SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(value); i++) {
        json_t *item = json_array_get(value, i), *part = NULL;
        error = json_is_object(item)
                    ? one(t, item, keys, &part)
                    : sl_flow_wrong(&t->work, "item %zu is no object but a %s", i, sl_flow_type_name(item));
        if (!error)
            error = sl_transform_add(t, list, part);
    }
    json_decref(keys);
    return sl_transform_give(list, error, ret_value);
}

int sl_transform_select(sl_transform *t, json_t **ret_value)
{
    sl_str path = {0};
    int error = sl_transform_text(t, "path", sl_str_of(NULL, 0), &path);
    if (!error && !path.len)
        error = sl_transform_text(t, "key", sl_str_of(NULL, 0), &path);
    if (error)
        return error;
    if (!path.len && !sl_transform_param(t, "keys"))
        return sl_flow_wrong(&t->work, "needs path, or keys");
    if (!path.len)
        return each_object(t, with_keys, ret_value);
    json_t *found = sl_transform_member(sl_transform_value(t), path);
    *ret_value = found ? json_incref(found) : json_null();
    return 0;
}

int sl_transform_omit(sl_transform *t, json_t **ret_value)
{
    return each_object(t, without_keys, ret_value);
}

/* ---- regex ---- */

static int run_function(sl_transform *t, const char *function, size_t count, json_t *const *args, json_t **ret_value)
{
    const sl_flow_function *f = sl_flow_function_find(sl_str_c(function));
    sl_flow_call call = {.work = &t->work};
    SL_ASSERT(f);
    return sl_flow_function_run(f, &call, args, count, ret_value);
}

/* Every match becomes `with`, which is taken as it is. */
static int replace_matches(sl_transform *t, sl_str text, sl_str pattern, sl_str with, json_t **ret_value)
{
    sl_regex *regex = NULL;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    int error = sl_regex_new(&t->work, pattern, &regex);
    size_t at = 0;
    while (!error && at <= text.len) {
        size_t start = SL_NPOS, end = 0;
        error = sl_regex_find(regex, &t->work, text, at, &start, &end);
        if (error || start == SL_NPOS)
            break;
        (void)sl_buf_put(&out, text.ptr + at, start - at);
        (void)sl_buf_put_str(&out, with);
        if (end == start && end < text.len) /* of nothing: the next character stays */
            (void)sl_buf_put_char(&out, text.ptr[end]);
        at = end > start ? end : end + 1;
        error = sl_flow_spend_bytes(&t->work, with.len + 1);
    }
    if (!error && at < text.len)
        (void)sl_buf_put(&out, text.ptr + at, text.len - at);
    if (!error)
        error = sl_flow_buf_error(&t->work, &out);
    json_t *value = error ? NULL : json_stringn_nocheck(out.len ? out.data : "", out.len);
    if (!error && !value)
        error = SL_ENOMEM;
    sl_buf_done(&out);
    sl_regex_free(regex);
    return error ? error : sl_transform_give(value, 0, ret_value);
}

int sl_transform_regex(sl_transform *t, json_t **ret_value)
{
    sl_str mode = {0}, pattern = {0}, with = {0};
    bool replaces = json_is_string(json_object_get(t->params, "replacement"));
    int error = sl_transform_text(t, "mode", replaces ? SL_STR("replace") : SL_STR("extract"), &mode);
    if (!error)
        error = sl_transform_text(t, "pattern", SL_STR(""), &pattern);
    if (!error)
        error = sl_transform_text(t, "replacement", SL_STR(""), &with);
    json_t *text = NULL, *first = sl_transform_value(t), *args[2];
    if (!error && !pattern.len)
        error = sl_flow_wrong(&t->work, "regex: needs pattern");
    if (!error)
        error = run_function(t, "string", 1, &first, &text);
    if (error)
        return error;
    args[0] = text;
    args[1] = sl_transform_param(t, "pattern");
    if (sl_str_eq(mode, SL_STR("match")))
        error = run_function(t, "matches", 2, args, ret_value);
    else if (sl_str_eq(mode, SL_STR("extract")))
        error = run_function(t, sl_transform_flag(t, "first") ? "find" : "find_all", 2, args, ret_value);
    else if (sl_str_eq(mode, SL_STR("replace")))
        error = replace_matches(t, sl_flow_str(text), pattern, with, ret_value);
    else
        error = sl_flow_wrong(&t->work, "mode must be match, extract or replace");
    json_decref(text);
    return error;
}

/* ---- json ---- */

/* One part of a pointer, with ~1 and ~0 decoded, into a buffer of `size`. */
static bool decode_part(sl_str part, char *buffer, size_t size, size_t *ret_len)
{
    size_t n = 0;
    for (size_t i = 0; i < part.len; i++) {
        char c = part.ptr[i];
        if (c == '~') {
            char code = ++i < part.len ? part.ptr[i] : 0;
            if (code != '0' && code != '1')
                return false;
            c = code == '0' ? '~' : '/';
        }
        if (n == size)
            return false;
        buffer[n++] = c;
    }
    *ret_len = n;
    return true;
}

/* RFC 6901. What is not there is null. */
static int at_pointer(sl_transform *t, json_t *value, sl_str pointer, json_t **ret_value)
{
    sl_str part;
    char name[SL_MAX_KEY_BYTES * 4];
    size_t len = 0;
    if (pointer.len && pointer.ptr[0] != '/')
        return sl_flow_wrong(&t->work, "a pointer begins with /");
    if (pointer.len)
        pointer = sl_str_sub(pointer, 1, pointer.len);
    else
        pointer = sl_str_of(NULL, 0);
    while (value && pointer.ptr && sl_str_split(&pointer, '/', &part)) {
        uint64_t index;
        if (!decode_part(part, name, sizeof name, &len))
            return sl_flow_wrong(&t->work, "pointer: ~ must be followed by 0 or 1, and a part be shorter");
        bool is_index = len == 1 || (len > 1 && name[0] != '0'); /* section 4: no leading zeros */
        if (json_is_array(value))
            value = is_index && sl_str_to_u64(sl_str_of(name, len), &index) == 0 ? json_array_get(value, (size_t)index)
                                                                                 : NULL;
        else
            value = sl_flow_member(value, sl_str_of(name, len));
    }
    *ret_value = value ? json_incref(value) : json_null();
    return 0;
}

int sl_transform_json(sl_transform *t, json_t **ret_value)
{
    sl_str mode = {0}, pointer = {0};
    json_t *value = sl_flow_plain(sl_transform_value(t)), *parsed = NULL, *args[2] = {value, json_null()};
    bool points = sl_transform_param(t, "pointer") != NULL;
    sl_str usual = points ? SL_STR("pointer") : json_is_string(value) ? SL_STR("parse") : SL_STR("stringify");
    int error = sl_transform_text(t, "mode", usual, &mode);
    if (!error)
        error = sl_transform_text(t, "pointer", SL_STR(""), &pointer);
    if (error)
        return error;
    if (sl_str_eq(mode, SL_STR("stringify"))) {
        args[1] = sl_transform_flag(t, "pretty") ? json_true() : json_null();
        return run_function(t, "json", 2, args, ret_value);
    }
    if (!sl_str_eq(mode, SL_STR("parse")) && !sl_str_eq(mode, SL_STR("pointer")))
        return sl_flow_wrong(&t->work, "mode must be parse, stringify or pointer");
    if (json_is_string(value))
        error = run_function(t, "parse_json", 1, args, &parsed);
    else
        parsed = json_incref(sl_transform_value(t));
    if (!error && points)
        error = at_pointer(t, parsed, pointer, ret_value);
    else if (!error)
        *ret_value = json_incref(parsed);
    json_decref(parsed);
    return error;
}

/* ---- template, expression ---- */

int sl_transform_template(sl_transform *t, json_t **ret_value)
{
    sl_template *template = NULL;
    json_t *scope = NULL;
    sl_str text = sl_transform_raw(t, "template");
    if (!text.len)
        text = sl_transform_raw(t, "text");
    if (!text.len)
        return sl_flow_wrong(&t->work, "needs template");
    sl_buf out;
    sl_buf_init(&out, SL_MAX_TEMPLATE_OUTPUT_BYTES);
    int error = sl_template_new(text, t->fault, &template);
    if (!error)
        error = sl_transform_scope(t, NULL, NULL, &scope);
    if (!error)
        error = sl_template_render(template, scope, &out, t->fault);
    json_t *value = error ? NULL : json_stringn_nocheck(out.len ? out.data : "", out.len);
    if (!error && !value)
        error = SL_ENOMEM;
    sl_buf_done(&out);
    sl_template_free(template);
    json_decref(scope);
    return error ? error : sl_transform_give(value, 0, ret_value);
}

int sl_transform_expression(sl_transform *t, json_t **ret_value)
{
    sl_str text = sl_transform_expr_text(t);
    if (!text.len)
        return sl_flow_wrong(&t->work, "needs expression");
    return sl_transform_eval(t, "", text, "", NULL, ret_value);
}
