/* `sightline load`: a load client for LLM servers. */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/cli/commands.h"
#include "src/cli/load_run.h"
#include "src/wire/redact.h"

#define SL_LOAD_MAX_DURATION_MS (31ull * 86400 * 1000)

typedef struct load_command_options {
    sl_str url;
    sl_str model;
    sl_str key;
    sl_str prompt;
    sl_str format;
    sl_str ca_file;
    uint64_t requests;
    uint64_t duration_ms;
    uint64_t concurrency;
    uint64_t max_tokens;
    uint64_t timeout_ms;
    double rate;
    bool stream;
    bool insecure;
} load_command_options;

#define OPT(member) offsetof(load_command_options, member)
static const sl_option options[] = {
    {"url", 'u', SL_OPT_STR, OPT(url), "URL",
     "The server, or the whole address: a path ending in /messages, /completions or /embeddings says the protocol.",
     "http://127.0.0.1:4000", "SIGHTLINE_URL"},
    {"model", 'm', SL_OPT_STR, OPT(model), "NAME", "The model that is asked for.", "claude-haiku", NULL},
    {"requests", 'n', SL_OPT_U64, OPT(requests), "N",
     "How many requests; 10 when no --duration is given, one for each of --parallel.", NULL, NULL},
    {"duration", 'd', SL_OPT_MS, OPT(duration_ms), "SECONDS", "How long requests are begun.", NULL, NULL},
    {"concurrency", 'c', SL_OPT_U64, OPT(concurrency), "C", "Requests at a time; with --rate the most at a time.", "1",
     NULL},
    {"parallel", 0, SL_OPT_U64, OPT(concurrency), "C", "The same as --concurrency; alone, as many requests at once.",
     NULL, NULL},
    {"rate", 'r', SL_OPT_DOUBLE, OPT(rate), "R",
     "Requests begun per second; times count from when each was meant to be sent.", NULL, NULL},
    {"stream", 's', SL_OPT_FLAG, OPT(stream), NULL,
     "Ask for streams: first token and inter-token times, end mark checked.", NULL, NULL},
    {"prompt", 'p', SL_OPT_STR, OPT(prompt), "TEXT", "What is asked.", "Write a haiku about observability.", NULL},
    {"max-tokens", 0, SL_OPT_U64, OPT(max_tokens), "N", "Limit of each answer; absent: the server's own.", NULL, NULL},
    {"key", 'k', SL_OPT_STR, OPT(key), "KEY", "Sent as Bearer token, and as x-api-key to /messages; empty: none.",
     "sk-dev-key", "SIGHTLINE_KEY"},
    {"timeout", 't', SL_OPT_MS, OPT(timeout_ms), "SECONDS", "Longest time for one request.", "120", NULL},
    {"ca-file", 0, SL_OPT_STR, OPT(ca_file), "FILE", "Trusted certificates for https, PEM; empty: the system's.", NULL,
     NULL},
    {"insecure", 0, SL_OPT_FLAG, OPT(insecure), NULL, "Take any certificate.", NULL, NULL},
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "text or json.", "text", NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

/* Room for the sockets: one per request at a time. */
static int check_descriptors(uint64_t concurrency)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < concurrency + 32)
        return sl_fail(SL_EXIT_USAGE,
                       "--concurrency: %llu needs more descriptors than the %llu allowed; raise `ulimit -n`",
                       (unsigned long long)concurrency, (unsigned long long)limit.rlim_cur);
    return 0;
}

static int make_plan(const load_command_options *o, sl_load_plan *ret_plan)
{
    SL_ASSERT(o && ret_plan);
    if (o->concurrency == 0 || o->concurrency > SL_LOAD_MAX_CONCURRENCY)
        return sl_fail(SL_EXIT_USAGE, "--concurrency: out of range; give 1 to %u", SL_LOAD_MAX_CONCURRENCY);
    if (sl_option_given(&sl_cmd_load, "rate") && !(o->rate >= 0.001 && o->rate <= 1e6))
        return sl_fail(
            SL_EXIT_USAGE,
            "--rate: out of range; give 0.001 to 1000000 per second, or nothing for as fast as answers come");
    if (o->duration_ms > SL_LOAD_MAX_DURATION_MS)
        return sl_fail(SL_EXIT_USAGE, "--duration: out of range; give up to %llu seconds",
                       SL_LOAD_MAX_DURATION_MS / 1000ull);
    if (o->timeout_ms == 0 || o->timeout_ms > 86400000)
        return sl_fail(SL_EXIT_USAGE, "--timeout: out of range; give more than 0, up to 86400 seconds");
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    sl_load_plan plan = {.requests = o->requests,
                         .duration_ms = o->duration_ms,
                         .concurrency = o->concurrency,
                         .rate = o->rate,
                         .timeout_ms = o->timeout_ms,
                         .ca_file = o->ca_file,
                         .tls_insecure = o->insecure};
    if (!plan.requests && !plan.duration_ms && sl_option_given(&sl_cmd_load, "duration"))
        return sl_fail(SL_EXIT_USAGE, "--duration: 0 seconds are nothing to do; give more, or a number of --requests");
    if (!plan.requests && !plan.duration_ms && !sl_option_given(&sl_cmd_load, "requests"))
        plan.requests = sl_option_given(&sl_cmd_load, "parallel") ? o->concurrency : 10;
    if (!plan.requests && !plan.duration_ms)
        return sl_fail(SL_EXIT_USAGE, "--requests: 0 requests are nothing to do; give a number or a --duration");
    if (plan.requests && plan.concurrency > plan.requests)
        plan.concurrency = plan.requests;
    plan.progress = isatty(STDERR_FILENO) != 0;
    *ret_plan = plan;
    return 0;
}

static int print_result(const sl_load_result *result, bool json)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    int error = json ? sl_load_report_json(result, &out) : sl_load_report_text(result, &out);
    int status = error ? sl_fail(SL_EXIT_FAILED, "load: there is no report: %s", sl_strerror(error)) : sl_print(&out);
    sl_buf_done(&out);
    if (status)
        return status;
    return result->ok && result->ok == result->sent ? SL_EXIT_OK : SL_EXIT_FAILED;
}

static int run_and_report(const load_command_options *o, const sl_load_plan *plan, const sl_load_request *request)
{
    sl_load_result *result = sl_calloc(1, sizeof *result);
    if (!result)
        return sl_fail(SL_EXIT_FAILED, "load: out of memory");
    int status;
    int error = sl_load_run(plan, request, result);
    if (error == SL_ETLS)
        status = sl_fail(SL_EXIT_USAGE, "--ca-file: the certificates cannot be read; give a PEM file");
    else if (error)
        status = sl_fail(SL_EXIT_FAILED, "load: %s", sl_strerror(error));
    else
        status = print_result(result, sl_str_eq_c(o->format, "json"));
    if (!error && result->sent && !result->ok && result->errors[SL_LOAD_CONNECT])
        (void)sl_fail(0, "%s: no connection; is `sightline up` running there?", request->url_text);
    sl_free(result);
    return status;
}

static int run_load(const sl_command *command, void *given, char **args, size_t arg_count)
{
    (void)command;
    (void)args;
    (void)arg_count;
    const load_command_options *o = given;
    sl_load_plan plan = {0};
    sl_raise_descriptors();
    int status = make_plan(o, &plan);
    if (!status)
        status = check_descriptors(plan.concurrency);
    if (status)
        return status;
    sl_load_request *request = sl_calloc(1, sizeof *request);
    if (!request)
        return sl_fail(SL_EXIT_FAILED, "load: out of memory");
    sl_load_ask ask = {.url = o->url,
                       .model = o->model,
                       .prompt = o->prompt,
                       .key = o->key,
                       .max_tokens = o->max_tokens,
                       .stream = o->stream};
    const char *reason = "";
    if (sl_load_request_init(request, &ask, &reason) != 0) {
        char shown[256];
        sl_redact_url(o->url, shown, sizeof shown);
        status = sl_fail(SL_EXIT_USAGE, "--url %s: %s; give such as http://127.0.0.1:4000", shown, reason);
    } else {
        status = run_and_report(o, &plan, request);
    }
    sl_load_request_done(request);
    sl_free(request);
    return status;
}

const sl_command sl_cmd_load = {
    "load",
    "a load client: latency, first token, inter-token times",
    "[options]",
    "Sends chat requests and reports what came back. Exit status 1 when any request failed. With --format json one "
    "object: "
    "sent, ok, errors (by kind: resolve connect tls timeout closed protocol bad_json no_done not_streamed stream_error "
    "interrupted http_STATUS), duration_s, latency_ms, ttft_ms and itl_ms (each p50 p90 p99 max), tokens, "
    "tokens_per_s, "
    "requests_per_s, frames, bytes, first_error.",
    "  sightline load\n"
    "  sightline load --stream -n 200 -c 20\n"
    "  sightline load --stream --duration 30 --rate 50 -c 500 --format json\n"
    "  sightline load --url http://localhost:8080 --prompt \"Write a poem about AI\" --parallel 5\n",
    tables,
    sizeof(load_command_options),
    0,
    run_load};
