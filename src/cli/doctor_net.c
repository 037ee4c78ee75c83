/* The checks of doctor_net.h. */
#include "src/cli/doctor_net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/fetch.h"
#include "src/cli/top_scrape.h"
#include "src/wire/json_scan.h"

/* ---- connecting ---- */

static int connect_one(const struct addrinfo *address, uint64_t timeout_ms, char *reason)
{
    SL_ASSERT(address);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return SL_ECONNECT;
    int failed = connect(fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (failed == EINPROGRESS) {
        struct pollfd waiting = {.fd = fd, .events = POLLOUT};
        socklen_t size = sizeof failed;
        if (poll(&waiting, 1, (int)timeout_ms) != 1)
            failed = ETIMEDOUT;
        else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) != 0)
            failed = errno;
    }
    close(fd);
    if (!failed)
        return 0;
    snprintf(reason, SL_DOCTOR_REASON_MAX, "no connection: %s", strerror(failed));
    return failed == ETIMEDOUT ? SL_ETIMEOUT : SL_ECONNECT;
}

int sl_doctor_connect(sl_str host, uint16_t port, uint64_t timeout_ms, char *reason)
{
    char name[256], service[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    if (!sl_str_to_c(host, name, sizeof name)) {
        snprintf(reason, SL_DOCTOR_REASON_MAX, "the host name is too long");
        return SL_ERESOLVE;
    }
    snprintf(service, sizeof service, "%u", port);
    int failed = getaddrinfo(name, service, &hints, &list);
    if (failed) {
        snprintf(reason, SL_DOCTOR_REASON_MAX, "the host name is not found: %s", gai_strerror(failed));
        return SL_ERESOLVE;
    }
    int error = SL_ECONNECT;
    for (const struct addrinfo *at = list; at && error; at = at->ai_next)
        error = connect_one(at, timeout_ms, reason);
    freeaddrinfo(list);
    return error;
}

/* ---- listeners ---- */

static const char start_it[] = "start `sightline up`, or say where it listens (--ready-file, -c, --*-listen)";
static const char start_flow[] = "start `sightline flow server`, or say where it listens (--ready-file, --*-listen)";
static const char not_ours[] = "another program holds the port; stop it, or move the listener";

/* Gets base + path; on failure the row is said and false returned. */
static bool get(sl_doctor *doctor, const char *name, const char *base, const char *path,
                const sl_doctor_targets *targets, sl_fetch *fetch)
{
    SL_ASSERT(targets);
    char url[2048];
    snprintf(url, sizeof url, "%s%s", base, path);
    const sl_fetch_options options = {.timeout_ms = targets->timeout_ms};
    if (sl_fetch_get(url, &options, fetch) == 0)
        return true;
    sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, start_it, "%s", fetch->reason);
    return false;
}

/* True when an API server of ours answers there. */
static bool api_answers(const sl_doctor_targets *targets)
{
    char url[2048];
    sl_fetch fetch;
    sl_json_value root;
    if (!targets->api || !*targets->api)
        return false;
    (void)snprintf(url, sizeof url, "%s/status/", targets->api);
    const sl_fetch_options options = {.timeout_ms = targets->timeout_ms};
    bool ours = sl_fetch_get(url, &options, &fetch) == 0 && fetch.status == 200 &&
                sl_json_parse(sl_buf_str(&fetch.body), &root, NULL) == 0 &&
                sl_json_get(root, "max_deployments").type == SL_JSON_NUMBER;
    sl_fetch_done(&fetch);
    return ours;
}

static void check_gateway(sl_doctor *doctor, const sl_doctor_targets *targets)
{
    SL_ASSERT(targets);
    sl_fetch fetch;
    sl_json_value root;
    char url[2048];
    snprintf(url, sizeof url, "%s/v1/models", targets->gateway);
    const sl_fetch_options options = {.timeout_ms = targets->timeout_ms, .key = targets->key};
    if (sl_fetch_get(url, &options, &fetch) != 0) {
        bool spare = targets->gateway_spare && api_answers(targets);
        sl_doctor_say(doctor, spare ? SL_DOCTOR_WARN : SL_DOCTOR_FAIL, "gateway",
                      spare ? "`sightline up` has one beside the flow server" : start_it, "%s", fetch.reason);
    } else {
        bool json = sl_json_parse(sl_buf_str(&fetch.body), &root, NULL) == 0;
        if (fetch.status == 200 && json && sl_json_get(root, "data").type == SL_JSON_ARRAY)
            sl_doctor_say(doctor, SL_DOCTOR_OK, "gateway", NULL, "%s answers and serves %zu models", targets->gateway,
                          sl_json_count(sl_json_get(root, "data")));
        else if (fetch.status == 401 && json)
            sl_doctor_say(
                doctor, SL_DOCTOR_WARN, "gateway", "give the configured one with --key or in LITELLM_MASTER_KEY",
                "%s answers, but refuses the key (%s)", targets->gateway, targets->key.len ? "set" : "not set");
        else
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, "gateway", not_ours,
                          "%s/v1/models answers with status %d and no list of models", targets->gateway, fetch.status);
    }
    sl_fetch_done(&fetch);
}

static void check_losses(sl_doctor *doctor, const sl_scrape *scrape)
{
    static const char *const names[] = {
        "otel_sdk_processor_span_processed_total", "otel_sdk_exporter_span_exported_total",
        "otel_sdk_processor_log_processed_total", "otel_sdk_exporter_log_exported_total",
        "otel_sdk_exporter_metric_data_point_exported_total"};
    for (size_t i = 0; i < scrape->count; i++) {
        const sl_sample *sample = &scrape->samples[i];
        sl_str type;
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            if (sample->value > 0 && sl_str_eq_c(sample->name, names[n]) &&
                sl_scrape_label(sample, "error_type", &type) && type.len)
                sl_doctor_say(doctor, SL_DOCTOR_WARN, "export",
                              "see the log, and whether the endpoint is up and fast enough",
                              "%s: %.0f lost or refused (%.*s)", names[n], sample->value, (int)type.len, type.ptr);
        }
    }
}

void sl_doctor_metrics_page(sl_doctor *doctor, const char *url, sl_str content_type, sl_str page)
{
    sl_scrape scrape;
    bool ours = false;
    bool type_ok = sl_str_starts(content_type, SL_STR("text/plain")) ||
                   sl_str_starts(content_type, SL_STR("application/openmetrics-text"));
    if (sl_scrape_parse(page, &scrape) != 0) {
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "metrics", "lower the number of series", "%s: the page is too large",
                      url);
        sl_scrape_done(&scrape);
        return;
    }
    (void)sl_scrape_sum(&scrape, "sightline_build_info", NULL, NULL, &ours);
    if (!type_ok || scrape.bad_lines)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "metrics", not_ours, "%s: is no page that Prometheus can read (line %u)",
                      url, scrape.first_bad_line);
    else if (scrape.duplicate_line)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "metrics",
                      "let one process serve the page: --workers, or one PROMETHEUS_MULTIPROC_DIR for each service",
                      "%s: a series stands twice (line %u)", url, scrape.duplicate_line);
    else if (!ours)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "metrics", not_ours, "%s answers, but not with Sightline's metrics", url);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, "metrics", NULL, "%s can be scraped: %zu samples", url, scrape.count);
    check_losses(doctor, &scrape);
    sl_scrape_done(&scrape);
}

static void check_metrics(sl_doctor *doctor, const sl_doctor_targets *targets)
{
    SL_ASSERT(targets);
    sl_fetch fetch;
    char url[2048];
    snprintf(url, sizeof url, "%s/metrics", targets->metrics);
    if (get(doctor, "metrics", targets->metrics, "/metrics", targets, &fetch)) {
        if (fetch.status == 200)
            sl_doctor_metrics_page(doctor, url, sl_str_c(fetch.content_type), sl_buf_str(&fetch.body));
        else
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, "metrics", not_ours, "%s answers with status %d", url, fetch.status);
    }
    sl_fetch_done(&fetch);
}

/* Names what is not healthy: {"status":…,"checks":{name:{"status":…}}}. */
static void say_unhealthy(sl_doctor *doctor, const char *url, sl_json_value root)
{
    sl_json_iter iter;
    sl_json_value key, value;
    bool any = false;
    sl_json_iter_init(&iter, sl_json_get(root, "checks"));
    while (sl_json_iter_next(&iter, &key, &value)) {
        sl_json_value status = sl_json_get(value, "status");
        if (status.type != SL_JSON_STRING || sl_json_string_is(status, SL_STR("healthy")))
            continue;
        sl_str name = sl_json_string_raw(key), state = sl_json_string_raw(status);
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "health", "mend what the check names", "%s: %.*s is %.*s", url,
                      (int)name.len, name.ptr, (int)state.len, state.ptr);
        any = true;
    }
    if (!any)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "health", "see the log", "%s: not ready", url);
}

static void check_health(sl_doctor *doctor, const sl_doctor_targets *targets)
{
    SL_ASSERT(targets);
    sl_fetch fetch;
    sl_json_value root;
    char url[2048];
    snprintf(url, sizeof url, "%s/health/ready", targets->health);
    if (get(doctor, "health", targets->health, "/health/ready", targets, &fetch)) {
        bool json = sl_json_parse(sl_buf_str(&fetch.body), &root, NULL) == 0 &&
                    sl_json_get(root, "status").type == SL_JSON_STRING;
        if (!json)
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, "health", not_ours, "%s answers with status %d and no health report",
                          url, fetch.status);
        else if (fetch.status == 200)
            sl_doctor_say(doctor, SL_DOCTOR_OK, "health", NULL, "%s is ready", url);
        else
            say_unhealthy(doctor, url, root);
    }
    sl_fetch_done(&fetch);
}

static void check_admin(sl_doctor *doctor, const sl_doctor_targets *targets)
{
    SL_ASSERT(targets);
    sl_fetch fetch;
    sl_json_value root;
    if (get(doctor, "admin", targets->admin, "/traces?limit=100", targets, &fetch)) {
        bool list = sl_json_parse(sl_buf_str(&fetch.body), &root, NULL) == 0 && root.type == SL_JSON_ARRAY;
        if (fetch.status != 200 || !list)
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, "admin", not_ours,
                          "%s/traces answers with status %d and no list of traces", targets->admin, fetch.status);
        else if (sl_json_count(root) == 0)
            sl_doctor_say(doctor, SL_DOCTOR_OK, "admin", NULL, "%s answers; no trace yet, send a request",
                          targets->admin);
        else
            sl_doctor_say(doctor, SL_DOCTOR_OK, "admin", NULL, "%s answers; recent traces are there", targets->admin);
    }
    sl_fetch_done(&fetch);
}

/* ---- the flow server ---- */

static void check_flow(sl_doctor *doctor, const char *name, const char *base, const char *path, const char *member,
                       const sl_doctor_targets *targets)
{
    SL_ASSERT(base && *base && path && member);
    char url[2048];
    sl_fetch fetch;
    sl_json_value root;
    const sl_fetch_options options = {.timeout_ms = targets->timeout_ms, .key = targets->flow_key};
    (void)snprintf(url, sizeof url, "%s%s", base, path);
    int error = sl_fetch_get(url, &options, &fetch);
    bool json = !error && sl_json_parse(sl_buf_str(&fetch.body), &root, NULL) == 0;
    if (error)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, start_flow, "%s", fetch.reason);
    else if (fetch.status == 401 && json)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "give the key with --api-key or in SIGHTLINE_API_KEY",
                      "%s answers, but refuses the key (%s)", base, targets->flow_key.len ? "set" : "not set");
    else if (fetch.status != 200 || !json || sl_json_get(root, member).type == SL_JSON_NONE)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, not_ours, "%s answers with status %d, and not as ours does", url,
                      fetch.status);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "%s answers", base);
    sl_fetch_done(&fetch);
}

static void check_flow_server(sl_doctor *doctor, const sl_doctor_targets *targets)
{
    const struct {
        const char *name, *base, *path, *member;
    } rows[] = {{"api", targets->api, "/status/", "max_deployments"},
                {"control", targets->control, "/", "running"},
                {"queue", targets->queue, "/", "service_name"}};
    if (targets->flow_spare && !api_answers(targets)) {
        if (targets->api && *targets->api)
            sl_doctor_say(doctor, SL_DOCTOR_OK, "api", NULL,
                          "no API server at %s; `sightline flow server` serves workflows", targets->api);
        return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].base && *rows[i].base)
            check_flow(doctor, rows[i].name, rows[i].base, rows[i].path, rows[i].member, targets);
    }
}

void sl_doctor_listeners(sl_doctor *doctor, const sl_doctor_targets *targets)
{
    static const struct {
        const char *name;
        size_t offset;
        void (*check)(sl_doctor *doctor, const sl_doctor_targets *targets);
    } rows[] = {{"gateway", offsetof(sl_doctor_targets, gateway), check_gateway},
                {"metrics", offsetof(sl_doctor_targets, metrics), check_metrics},
                {"health", offsetof(sl_doctor_targets, health), check_health},
                {"admin", offsetof(sl_doctor_targets, admin), check_admin}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *base = *(const char *const *)((const char *)targets + rows[i].offset);
        if (base && *base)
            rows[i].check(doctor, targets);
        else
            sl_doctor_say(doctor, SL_DOCTOR_WARN, rows[i].name, "turn it on if it is wanted", "the listener is off");
    }
    check_flow_server(doctor, targets);
}
