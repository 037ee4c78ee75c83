/* `sightline traces`: recent traces of a running gateway, as a table, a waterfall or JSON. */
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/cli/fetch.h"
#include "src/view/waterfall_text.h"
#include "src/wire/json_scan.h"

#define FOLLOW_SECONDS 1
#define MAX_MESSAGE_COLUMNS 200

typedef struct traces_command_options {
    sl_str url;
    sl_str service;
    sl_str format;
    uint64_t limit;
    bool follow;
} traces_command_options;

#define OPT(member) offsetof(traces_command_options, member)
static const sl_option options[] = {
    {"url", 'u', SL_OPT_STR, OPT(url), "URL", "The admin listener.", "http://127.0.0.1:4001", "SIGHTLINE_ADMIN_URL"},
    {"limit", 'n', SL_OPT_U64, OPT(limit), "N", "How many traces, newest first.", "20", NULL},
    {"service", 's', SL_OPT_STR, OPT(service), "NAME", "Only traces in which this service took part.", NULL, NULL},
    {"follow", 0, SL_OPT_FLAG, OPT(follow), NULL, "Show the list again each second, until interrupted.", NULL, NULL},
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "text or json.", "text", NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
}

static void put_encoded(sl_buf *out, sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (is_unreserved(text.ptr[i]))
            (void)sl_buf_put_char(out, text.ptr[i]);
        else
            (void)sl_buf_printf(out, "%%%02X", (unsigned)(unsigned char)text.ptr[i]);
    }
}

static int make_url(const traces_command_options *o, const char *id, sl_buf *url)
{
    SL_ASSERT(o);
    (void)sl_fetch_join(o->url, id ? "/traces/" : "/traces", url);
    if (id) {
        put_encoded(url, sl_str_c(id));
    } else {
        (void)sl_buf_printf(url, "?limit=%llu", (unsigned long long)o->limit);
        if (o->service.len) {
            (void)sl_buf_put_c(url, "&service=");
            put_encoded(url, o->service);
        }
    }
    return sl_buf_put_char(url, 0);
}

/* Prints what the listener said about a failure. */
static int refuse(const char *url, const char *id, const sl_fetch *fetch)
{
    SL_ASSERT(fetch);
    if (fetch->status == 404 && id)
        return sl_fail(SL_EXIT_FAILED, "trace %s: not found; the newest are kept, see `sightline traces`", id);
    sl_json_value root;
    char text[256];
    sl_str message = sl_str_of(NULL, 0);
    bool json = sl_json_parse(sl_buf_str(&fetch->body), &root, NULL) == 0;
    if (json && id && sl_json_string_is(sl_json_get(sl_json_get(root, "error"), "type"), SL_STR("ambiguous")))
        return sl_fail(SL_EXIT_FAILED, "trace %s: several traces begin with these digits; give more of them", id);
    if (json && sl_json_string(sl_json_get(sl_json_get(root, "error"), "message"), text, sizeof text, &message) == 0 &&
        message.len) {
        sl_buf shown; /* whoever answers does not write on the terminal */
        sl_buf_init(&shown, 4096);
        sl_text_put(&shown, message, MAX_MESSAGE_COLUMNS, false, false);
        (void)sl_fail(0, "%s: %.*s (status %d); give an admin listener that answers with --url", url, (int)shown.len,
                      shown.data ? shown.data : "", fetch->status);
        sl_buf_done(&shown);
        return SL_EXIT_FAILED;
    }
    return sl_fail(SL_EXIT_FAILED, "%s: answered with status %d; is it the admin listener of `sightline up`?", url,
                   fetch->status);
}

static int show(const sl_fetch *fetch, const char *url, const char *id, bool json)
{
    SL_ASSERT(fetch);
    sl_buf out;
    sl_waterfall_options look;
    sl_str body = sl_buf_str(&fetch->body);
    sl_buf_init(&out, 256u << 20);
    sl_waterfall_options_for(STDOUT_FILENO, &look);
    int error;
    if (json) {
        sl_json_value root;
        error = sl_json_parse(body, &root, NULL);
        if (!error && root.type != (id ? SL_JSON_OBJECT : SL_JSON_ARRAY))
            error = SL_EPARSE;
        if (!error)
            error = sl_buf_put_str(&out, body);
        if (!error && body.len && body.ptr[body.len - 1] != '\n')
            error = sl_buf_put_char(&out, '\n');
    } else {
        error = id ? sl_waterfall_trace(body, &look, &out) : sl_waterfall_list(body, &look, &out);
    }
    int status = SL_EXIT_OK;
    if (error)
        status = sl_fail(SL_EXIT_FAILED, "%s: what came back is not a list of traces; is it the admin listener?", url);
    else
        status = sl_print(&out);
    sl_buf_done(&out);
    return status;
}

static int fetch_and_show(const traces_command_options *o, const char *id, bool json)
{
    sl_buf url;
    sl_fetch fetch;
    sl_buf_init(&url, 16 * 1024);
    if (make_url(o, id, &url) != 0) {
        sl_buf_done(&url);
        return sl_fail(SL_EXIT_USAGE, "--url: too long");
    }
    int status;
    sl_fetch_options fetching = {.accept = "application/json"};
    if (sl_fetch_get(url.data, &fetching, &fetch) != 0)
        status = sl_fail(SL_EXIT_FAILED, "%s; is `sightline up` running?", fetch.reason);
    else if (fetch.status != 200)
        status = refuse(url.data, id, &fetch);
    else
        status = show(&fetch, url.data, id, json);
    sl_fetch_done(&fetch);
    sl_buf_done(&url);
    return status;
}

static int run_traces(const sl_command *command, void *given, char **args, size_t arg_count)
{
    SL_ASSERT(args || !arg_count);
    (void)command;
    const traces_command_options *o = given;
    const char *id = arg_count ? args[0] : NULL;
    bool json = sl_str_eq_c(o->format, "json");
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    if (o->limit == 0 || o->limit > 100000)
        return sl_fail(SL_EXIT_USAGE, "--limit: out of range; give 1 to 100000");
    int status = fetch_and_show(o, id, json);
    while (o->follow && status == SL_EXIT_OK) {
        (void)sleep(FOLLOW_SECONDS);
        if (isatty(STDOUT_FILENO))
            fputs("\033[H\033[2J", stdout);
        status = fetch_and_show(o, id, json);
    }
    return status;
}

const sl_command sl_cmd_traces = {
    "traces",
    "what was asked, and where the time went",
    "[TRACE_ID] [options]",
    "Lists the newest traces of a running gateway, or shows one as a waterfall. The beginning of an id is enough. With "
    "--format "
    "json: a list of {trace_id, root, service, start, duration_ns, spans, error}, or one object {trace_id, spans}.",
    "  sightline traces\n"
    "  sightline traces 4bf92f35\n"
    "  sightline traces --limit 1 --format json\n",
    tables,
    sizeof(traces_command_options),
    1,
    run_traces};
