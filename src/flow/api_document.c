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
static bool next_param(const char **at, char *name, size_t size)
{
    const char *open = strchr(*at, '{');
    const char *close = open ? strchr(open, '}') : NULL;
    if (!close)
        return false;
    (void)snprintf(name, size, "%.*s", (int)(close - open - 1), open + 1);
    *at = close + 1;
    return true;
}

static int put_parameter(json_t *list, const char *name, const char *in, bool required)
{
    SL_ASSERT(list);
    return json_array_append_new(list, json_pack("{s:s,s:s,s:b,s:{s:s}}", "name", name, "in", in, "required", required,
                                                 "schema", "type", "string"));
}

static json_t *parameters(const sl_api_route *route)
{
    SL_ASSERT(route);
    json_t *list = json_array();
    const char *at = route->path;
    char name[64];
    while (next_param(&at, name, sizeof name))
        (void)put_parameter(list, name, "path", true);
    sl_str rest = sl_str_c(route->query), word;
    while (route->query && *route->query && sl_str_split(&rest, ' ', &word)) {
        bool required = sl_str_ends(word, SL_STR("!"));
        (void)snprintf(name, sizeof name, "%.*s", (int)(word.len - required), word.ptr);
        (void)put_parameter(list, name, "query", required);
    }
    return list;
}

static json_t *body(const sl_api_route *route)
{
    switch (route->body) {
    case SL_API_JSON:
        return json_pack("{s:{s:{s:{s:s}}}}", "content", "application/json", "schema", "type", "object");
    case SL_API_TEXT:
        return json_pack("{s:b,s:{s:{s:{s:s}},s:{s:{s:s}}}}", "required", 1, "content", "application/yaml", "schema",
                         "type", "string", "application/json", "schema", "type", "object");
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

json_t *sl_api_document(const char *title, const sl_api_route *routes, size_t count)
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
        if (r->open)
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
    return json_pack("{s:s,s:{s:s,s:s},s:o,s:{s:{s:{s:s,s:s}}},s:[{s:[]}]}", "openapi", "3.1.0", "info", "title", title,
                     "version", sl_version(), "paths", paths, "components", "securitySchemes", "key", "type", "http",
                     "scheme", "bearer", "security", "key");
}
