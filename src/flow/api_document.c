/* The OpenAPI document: from the routes that also dispatch, so that it cannot say anything else. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/flow/api_impl.h"

static const char *status_text(int status)
{
    switch (status) {
    case 200:
        return "Good";
    case 201:
        return "Created";
    case 202:
        return "Accepted: it is on disk";
    case 204:
        return "Nothing to say";
    case 400:
        return "Something is wrong with what was sent";
    case 401:
        return "No key, or a wrong one";
    case 404:
        return "Not found";
    case 409:
        return "It is there already, or in a state that does not allow this";
    case 413:
        return "The body is too large";
    case 422:
        return "A field is missing or has the wrong type";
    case 503:
        return "Not now: too much waits; try again";
    default:
        return "Failed";
    }
}

/* "workflow_name" of "{workflow_name}"; false when the path has no more of them. */
static bool next_param(const char **at, sl_str *ret_name)
{
    const char *open = strchr(*at, '{');
    const char *close = open ? strchr(open, '}') : NULL;
    if (!close)
        return false;
    *ret_name = sl_str_of(open + 1, (size_t)(close - open - 1));
    *at = close + 1;
    return true;
}

/* "one|two" */
static json_t *one_of(sl_str names)
{
    json_t *list = json_array();
    sl_str name;
    while (sl_str_split(&names, '|', &name))
        (void)json_array_append_new(list, json_stringn(name.ptr, name.len));
    return json_pack("{s:s,s:o}", "type", "string", "enum", list);
}

/* "1..1000" or "0.." */
static json_t *whole_number(sl_str text)
{
    uint64_t least = 0, most = 0;
    size_t dots = sl_str_find(text, SL_STR(".."));
    SL_ASSERT(dots != SL_NPOS);
    int error = sl_str_to_u64(sl_str_sub(text, 0, dots), &least);
    SL_ASSERT(error == 0);
    json_t *schema = json_pack("{s:s,s:I}", "type", "integer", "minimum", (json_int_t)least);
    if (!error && sl_str_to_u64(sl_str_sub(text, dots + 2, SL_NPOS), &most) == 0)
        (void)json_object_set_new(schema, "maximum", json_integer((json_int_t)most));
    return schema;
}

/* What stands behind the colon of a parameter's name. */
static json_t *schema_of(sl_str type)
{
    if (sl_str_eq_c(type, "true"))
        return json_pack("{s:s}", "type", "boolean");
    if (sl_str_eq_c(type, "any"))
        return json_object();
    if (sl_str_eq_c(type, "object") || sl_str_eq_c(type, "array"))
        return json_pack("{s:s%}", "type", type.ptr, type.len);
    if (sl_str_starts(type, SL_STR("^")))
        return json_pack("{s:s,s:s%}", "type", "string", "pattern", type.ptr, type.len);
    if (sl_str_find(type, SL_STR("..")) != SL_NPOS)
        return whole_number(type);
    return type.len ? one_of(type) : json_pack("{s:s}", "type", "string");
}

static int put_parameter(json_t *list, sl_str name, const char *in, bool required, sl_str type)
{
    return json_array_append_new(list, json_pack("{s:s%,s:s,s:b,s:o}", "name", name.ptr, name.len, "in", in, "required",
                                                 required, "schema", schema_of(type)));
}

/* The next of "limit:0..9 session_id!"; false when there is none. */
static bool next_field(sl_str *rest, sl_str *ret_name, sl_str *ret_type, bool *ret_required)
{
    sl_str word;
    if (!sl_str_split(rest, ' ', &word) || !word.len)
        return false;
    *ret_required = sl_str_ends(word, SL_STR("!"));
    word.len -= *ret_required;
    size_t colon = sl_str_chr(word, ':');
    *ret_name = sl_str_sub(word, 0, colon);
    *ret_type = colon == SL_NPOS ? SL_STR("") : sl_str_sub(word, colon + 1, SL_NPOS);
    return true;
}

static json_t *parameters(const sl_api_route *route)
{
    SL_ASSERT(route);
    json_t *list = json_array();
    const char *at = route->path;
    sl_str name, none = SL_STR("");
    while (next_param(&at, &name))
        (void)put_parameter(list, name, "path", true, none);
    sl_str rest = sl_str_c(route->query), type;
    bool required;
    while (route->query && next_field(&rest, &name, &type, &required))
        (void)put_parameter(list, name, "query", required, type);
    return list;
}

/* The schema of a body's object. */
static json_t *object_of(const sl_api_route *route)
{
    json_t *schema = json_pack("{s:s}", "type", "object"), *properties = json_object(), *needed = json_array();
    sl_str rest = sl_str_c(route->fields), name, type;
    bool required;
    while (route->fields && next_field(&rest, &name, &type, &required)) {
        char key[64];
        (void)snprintf(key, sizeof key, "%.*s", (int)name.len, name.ptr);
        (void)json_object_set_new(properties, key, schema_of(type));
        if (required)
            (void)json_array_append_new(needed, json_string(key));
    }
    if (json_object_size(properties))
        (void)json_object_set(schema, "properties", properties);
    if (json_array_size(needed))
        (void)json_object_set(schema, "required", needed);
    json_decref(properties);
    json_decref(needed);
    return schema;
}

static json_t *body(const sl_api_route *route)
{
    bool required = route->fields && strchr(route->fields, '!');
    switch (route->body) {
    case SL_API_JSON:
        return json_pack("{s:b,s:{s:{s:o}}}", "required", required, "content", "application/json", "schema",
                         object_of(route));
    case SL_API_TEXT:
        return json_pack("{s:b,s:{s:{s:{s:s}},s:{s:o}}}", "required", 1, "content", "application/yaml", "schema",
                         "type", "string", "application/json", "schema", object_of(route));
    case SL_API_FORM:
        return json_pack("{s:b,s:{s:{s:{s:s,s:{s:{s:s,s:s}},s:[s]}}}}", "required", 1, "content", "multipart/form-data",
                         "schema", "type", "object", "properties", "config_file", "type", "string", "format", "binary",
                         "required", "config_file");
    default:
        return NULL;
    }
}

static void put_answer(json_t *answers, int status, const char *content_type)
{
    char key[8];
    (void)snprintf(key, sizeof key, "%d", status);
    json_t *answer = json_pack("{s:s}", "description", status_text(status));
    if (status != 204)
        (void)json_object_set_new(answer, "content", json_pack("{s:{s:{}}}", content_type, "schema"));
    (void)json_object_set_new(answers, key, answer);
}

static json_t *answers_of(const sl_api_route *route)
{
    SL_ASSERT(route->answers);
    json_t *answers = json_object();
    sl_str rest = sl_str_c(route->answers), word;
    while (sl_str_split(&rest, ' ', &word)) {
        uint64_t status = 0;
        int error = sl_str_to_u64(word, &status);
        SL_ASSERT(error == 0);
        (void)error;
        put_answer(answers, (int)status, status < 300 && route->produces ? route->produces : "application/json");
    }
    if (route->body != SL_API_NO_BODY)
        put_answer(answers, 413, "application/json");
    if (!route->open) {
        put_answer(answers, 401, "application/json");
        put_answer(answers, 503, "application/json"); /* a disk that cannot be read, no memory */
    }
    return answers;
}

json_t *sl_api_document(const char *title, const sl_api_route *routes, size_t count, bool keyed)
{
    SL_ASSERT(title && routes);
    json_t *paths = json_object();
    for (size_t i = 0; i < count; i++) {
        const sl_api_route *r = &routes[i];
        json_t *operation = json_pack("{s:s,s:s,s:o,s:o}", "operationId", r->id, "summary", r->summary, "parameters",
                                      parameters(r), "responses", answers_of(r));
        json_t *request_body = body(r);
        if (request_body)
            (void)json_object_set_new(operation, "requestBody", request_body);
        if (r->open && keyed)
            (void)json_object_set_new(operation, "security", json_array());
        json_t *path = json_object_get(paths, r->path);
        if (!path) {
            path = json_object();
            (void)json_object_set_new(paths, r->path, path);
        }
        char method[16];
        (void)snprintf(method, sizeof method, "%s", sl_api_method_name(r->method));
        for (char *at = method; *at; at++)
            *at = sl_ascii_lower(*at);
        (void)json_object_set_new(path, method, operation);
    }
    json_t *document = json_pack("{s:s,s:{s:s,s:s},s:o}", "openapi", "3.1.0", "info", "title", title, "version",
                                 sl_version(), "paths", paths);
    if (!keyed)
        return document;
    (void)json_object_set_new(
        document, "components",
        json_pack("{s:{s:{s:s,s:s}}}", "securitySchemes", "key", "type", "http", "scheme", "bearer"));
    (void)json_object_set_new(document, "security", json_pack("[{s:[]}]", "key"));
    return document;
}

void sl_api_get_document(sl_api_request *request)
{
    SL_ASSERT(request->api);
    const sl_api_options *o = &request->api->options;
    char title[64];
    (void)snprintf(title, sizeof title, "Sightline %s", o->title);
    sl_api_reply(request, 200, sl_api_document(title, o->routes, o->route_count, o->key.len > 0));
}
