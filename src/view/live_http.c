/* The live view: its paths on the admin listener. */
#include "src/view/live.h"

#include "src/base/assert.h"
#include "src/export/gzip.h"
#include "src/wire/otlp_json.h"
#include "src/wire/pb.h"
#include "src/wire/url.h"

#define MAX_SERVICE 256
#define STATUS_CODE 1 /* of google.rpc.Status, in which OTLP over HTTP tells a failure */
#define STATUS_MESSAGE 2
#define INVALID_ARGUMENT 3u
#define RESOURCE_EXHAUSTED 8u

static void refuse(sl_ctl_response *response, int error)
{
    switch (error) {
    case SL_ENOENT:
        sl_ctl_error(response, 404, "not_found", "no recent trace has this id; the newest ones are at /traces");
        break;
    case SL_EEXIST:
        sl_ctl_error(response, 400, "ambiguous", "several traces begin with these digits; give more of them");
        break;
    case SL_EPARSE:
        sl_ctl_error(response, 404, "not_found", "a trace id is 32 hex digits, of which the first 4 or more will do");
        break;
    default:
        sl_ctl_error(response, 500, "internal_error", "%s", sl_strerror(error));
    }
}

/* False when it stands in the query and cannot be read: what was asked for is not known then. */
static bool read_query(const sl_ctl_request *request, sl_str name, char *buffer, size_t size)
{
    SL_ASSERT(request && buffer && size > 0);
    sl_str rest = request->query, key, value;
    if (sl_ctl_query(request, name, buffer, size))
        return true;
    buffer[0] = '\0';
    while (sl_query_next(&rest, &key, &value)) {
        if (sl_str_eq(key, name))
            return false;
    }
    return true;
}

static void list(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    char text[24] = "", service[MAX_SERVICE] = "";
    sl_live_filter filter = {0, {NULL, 0}};
    uint64_t limit = 0;
    bool readable = read_query(request, SL_STR("limit"), text, sizeof text);
    if (!readable || (text[0] && (sl_str_to_u64(sl_str_c(text), &limit) != 0 || limit == 0))) {
        sl_ctl_error(response, 400, "bad_request", "limit is a number above 0");
        return;
    }
    filter.limit = limit > SL_LIVE_TRACES ? SL_LIVE_TRACES : (size_t)limit;
    if (!read_query(request, SL_STR("service"), service, sizeof service)) {
        sl_ctl_error(response, 400, "bad_request", "service is a name of at most %d bytes, percent-encoded",
                     MAX_SERVICE - 1);
        return;
    }
    filter.service = sl_str_c(service);
    int error = sl_live_list_json(user, &filter, &response->body);
    if (error)
        refuse(response, error);
}

static void one(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    SL_ASSERT(request && response);
    int error = sl_live_trace_json(user, request->path_rest, &response->body);
    if (error)
        refuse(response, error);
}

/* ---- spans of other processes ---- */

/* Source: OpenTelemetry protocol specification, OTLP/HTTP Request, OTLP/HTTP Response. */

typedef enum encoding { PROTOBUF, JSON, FOREIGN } encoding;

static encoding encoding_of(sl_str content_type)
{
    size_t end = sl_str_chr(content_type, ';');
    sl_str type = sl_str_trim(sl_str_sub(content_type, 0, end));
    if (sl_str_ieq(type, SL_STR("application/json")))
        return JSON;
    return sl_str_ieq(type, SL_STR("application/x-protobuf")) ? PROTOBUF : FOREIGN;
}

/* A google.rpc.Status, or a full success: in the encoding of the request. */
static void answer_otlp(sl_ctl_response *response, encoding in, int http_status, unsigned code, const char *message)
{
    SL_ASSERT(response && in != FOREIGN);
    response->status = http_status;
    response->content_type = in == JSON ? "application/json" : "application/x-protobuf";
    sl_buf_clear(&response->body);
    int error = 0;
    if (in == JSON && http_status == 200)
        error = sl_buf_put_c(&response->body, "{}");
    else if (in == JSON)
        error = sl_buf_printf(&response->body, "{\"code\":%u,\"message\":\"%s\"}", code, message);
    else if (http_status != 200)
        error = sl_pb_buf_uint(&response->body, STATUS_CODE, code);
    if (!error && in == PROTOBUF && http_status != 200)
        error = sl_pb_buf_bytes(&response->body, STATUS_MESSAGE, message, strlen(message));
    (void)error;
}

/* Takes the request, compressed if it says so, into the view; neither form is longer than SL_LIVE_POST_BYTES. */
static int take_in(sl_live *live, encoding in, bool is_packed, sl_str body)
{
    sl_buf plain, request;
    int error = 0;
    sl_buf_init(&plain, SL_LIVE_POST_BYTES);
    sl_buf_init(&request, SL_LIVE_POST_BYTES);
    if (is_packed) {
        error = sl_gzip_unpack(body, &plain);
        body = sl_buf_str(&plain);
    }
    if (!error && in == JSON && body.len) {
        error = sl_otlp_from_json(SL_OTLP_TRACES, body, &request);
        body = sl_buf_str(&request);
    }
    if (!error)
        error = sl_live_add(live, body);
    sl_buf_done(&plain);
    sl_buf_done(&request);
    return error;
}

static void receive(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    SL_ASSERT(user && request && response);
    sl_str coding = sl_ctl_header(request, SL_STR("content-encoding"));
    encoding in = encoding_of(sl_ctl_header(request, SL_STR("content-type")));
    bool is_packed = sl_str_ieq(coding, SL_STR("gzip"));
    if (in == FOREIGN) {
        sl_ctl_error(response, 415, "unsupported_media_type",
                     "send OTLP as application/x-protobuf or application/json");
        return;
    }
    if (coding.len && !is_packed && !sl_str_ieq(coding, SL_STR("identity"))) {
        sl_ctl_add_header(response, SL_STR("Accept-Encoding"), SL_STR("gzip"));
        sl_ctl_error(response, 415, "unsupported_media_type",
                     "send it compressed by gzip, or not (OTEL_EXPORTER_OTLP_COMPRESSION)");
        return;
    }
    switch (take_in(user, in, is_packed, request->body)) {
    case 0:
        answer_otlp(response, in, 200, 0, NULL);
        break;
    case SL_ENOMEM:
        answer_otlp(response, in, 503, RESOURCE_EXHAUSTED, "out of memory");
        break;
    case SL_ELIMIT:
        answer_otlp(response, in, 413, RESOURCE_EXHAUSTED, "the body is too long, or nested too deep");
        break;
    default:
        answer_otlp(response, in, 400, INVALID_ARGUMENT, "the body is no ExportTraceServiceRequest, or is cut");
    }
}

void sl_live_routes(sl_live *live, sl_ctl_route ret_routes[SL_LIVE_ROUTES])
{
    SL_ASSERT(live && ret_routes);
    ret_routes[0] = (sl_ctl_route){"/traces", SL_CTL_GET, list, live};
    ret_routes[1] = (sl_ctl_route){"/traces/*", SL_CTL_GET, one, live};
    ret_routes[2] = (sl_ctl_route){"/v1/traces", SL_CTL_POST, receive, live};
}
