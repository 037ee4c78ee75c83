/* The live view: its paths on the admin listener. */
#include "src/view/live.h"

#include "src/base/assert.h"
#include "src/wire/pb.h"

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

static void list(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    char text[24] = "", service[MAX_SERVICE] = "";
    sl_live_filter filter = {0, {NULL, 0}};
    uint64_t limit = 0;
    if (sl_ctl_query(request, SL_STR("limit"), text, sizeof text) && text[0]) {
        if (sl_str_to_u64(sl_str_c(text), &limit) != 0 || limit == 0) {
            sl_ctl_error(response, 400, "bad_request", "limit is a number above 0");
            return;
        }
        filter.limit = limit > SL_LIVE_TRACES ? SL_LIVE_TRACES : (size_t)limit;
    }
    (void)sl_ctl_query(request, SL_STR("service"), service, sizeof service);
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

/* Source: OpenTelemetry protocol specification, OTLP/HTTP Response. */
static void answer_otlp(sl_ctl_response *response, int http_status, unsigned code, const char *message)
{
    SL_ASSERT(response);
    response->status = http_status;
    response->content_type = "application/x-protobuf";
    sl_buf_clear(&response->body);
    if (http_status == 200)
        return; /* an ExportTraceServiceResponse without fields */
    int error = sl_pb_buf_uint(&response->body, STATUS_CODE, code);
    if (!error)
        error = sl_pb_buf_bytes(&response->body, STATUS_MESSAGE, message, strlen(message));
    (void)error;
}

static bool is_protobuf(sl_str content_type)
{
    size_t end = sl_str_chr(content_type, ';');
    sl_str type = sl_str_trim(sl_str_sub(content_type, 0, end));
    return sl_str_ieq(type, SL_STR("application/x-protobuf"));
}

static void receive(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    SL_ASSERT(user && request && response);
    sl_str encoding = sl_ctl_header(request, SL_STR("content-encoding"));
    if (!is_protobuf(sl_ctl_header(request, SL_STR("content-type")))) {
        sl_ctl_error(response, 415, "unsupported_media_type", "send OTLP as application/x-protobuf");
        return;
    }
    if (encoding.len && !sl_str_ieq(encoding, SL_STR("identity"))) {
        sl_ctl_error(response, 415, "unsupported_media_type",
                     "send it without compression (OTEL_EXPORTER_OTLP_COMPRESSION=none)");
        return;
    }
    switch (sl_live_add(user, request->body)) {
    case 0:
        answer_otlp(response, 200, 0, NULL);
        break;
    case SL_ENOMEM:
        answer_otlp(response, 503, RESOURCE_EXHAUSTED, "out of memory");
        break;
    default:
        answer_otlp(response, 400, INVALID_ARGUMENT, "the body is no ExportTraceServiceRequest, or is cut");
    }
}

void sl_live_routes(sl_live *live, sl_ctl_route ret_routes[SL_LIVE_ROUTES])
{
    SL_ASSERT(live && ret_routes);
    ret_routes[0] = (sl_ctl_route){"/traces", SL_CTL_GET, list, live};
    ret_routes[1] = (sl_ctl_route){"/traces/*", SL_CTL_GET, one, live};
    ret_routes[2] = (sl_ctl_route){"/v1/traces", SL_CTL_POST, receive, live};
}
