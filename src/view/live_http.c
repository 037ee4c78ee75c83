/* The live view: its paths on the admin listener. */
#include "src/view/live.h"

#include "src/base/assert.h"

#define MAX_SERVICE 256

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

void sl_live_routes(sl_live *live, sl_ctl_route ret_routes[SL_LIVE_ROUTES])
{
    SL_ASSERT(live && ret_routes);
    ret_routes[0] = (sl_ctl_route){"/traces", SL_CTL_GET, list, live};
    ret_routes[1] = (sl_ctl_route){"/traces/*", SL_CTL_GET, one, live};
}
