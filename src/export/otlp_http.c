/*
 * OTLP over HTTP by libcurl, one handle (and so one kept connection) for each exporter. libcurl is initialised when the
 * first exporter is made, never otherwise.
 */
#include "src/export/otlp_http.h"

#include <curl/curl.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/export/gzip.h"
#include "src/telemetry/exporter_json.h"
#include "src/telemetry/exporter_outcome.h"
#include "src/telemetry/sync.h"

#define MAX_RETRY_AFTER 64u
#define MAX_CONTENT_TYPE 128u

typedef struct curl_exporter {
    CURL *handle;
    struct curl_slist *headers;
    sl_reporter *reporter;
    sl_otlp_protocol protocol;
    bool gzip;
    uint64_t timeout_ms; /* 0: none */
    char *url;
    /* The request under way. */
    sl_buf packed;
    sl_buf answer;
    char retry_after[MAX_RETRY_AFTER];
    char content_type[MAX_CONTENT_TYPE];
    char detail[CURL_ERROR_SIZE];
} curl_exporter;

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void curl_init(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == 0;
}

/* ---- callbacks ---- */

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    curl_exporter *x = user;
    return sl_buf_put(&x->answer, data, size * count) ? 0 : size * count;
}

static void keep_field(sl_str line, sl_str name, char *to, size_t size)
{
    if (line.len > name.len && sl_str_ieq(sl_str_sub(line, 0, name.len), name))
        (void)sl_str_to_c(sl_str_trim(sl_str_sub(line, name.len, line.len)), to, size);
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    curl_exporter *x = user;
    sl_str line = sl_str_of(data, size * count);
    while (line.len && (line.ptr[line.len - 1] == '\r' || line.ptr[line.len - 1] == '\n'))
        line.len--;
    keep_field(line, SL_STR("retry-after:"), x->retry_after, sizeof x->retry_after);
    keep_field(line, SL_STR("content-type:"), x->content_type, sizeof x->content_type);
    return size * count;
}

/* ---- delivery ---- */

/* What a failed transfer means. */
static int transfer_error(CURLcode code)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return SL_ERESOLVE;
    case CURLE_COULDNT_CONNECT:
        return SL_ECONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return SL_ETIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return SL_ETLS;
    case CURLE_WRITE_ERROR:
        return SL_ETOOBIG;
    case CURLE_OUT_OF_MEMORY:
        return SL_ENOMEM;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return SL_EPROTO;
    default:
        return SL_ECLOSED;
    }
}

static int report_failure(curl_exporter *x, CURLcode code)
{
    SL_ASSERT(x);
    int error = transfer_error(code);
    const char *detail = x->detail[0] ? x->detail : curl_easy_strerror(code);
    if (code == CURLE_PEER_FAILED_VERIFICATION)
        sl_reporter_say(x->reporter, error,
                        "otlp: %s: the certificate is not trusted: %s (OTEL_EXPORTER_OTLP_CERTIFICATE "
                        "names the CA)",
                        x->url, detail);
    else
        sl_reporter_say(x->reporter, error, "otlp: %s: %s", x->url, detail);
    return error == SL_ETOOBIG || error == SL_ENOMEM || error == SL_EPROTO ? error : SL_ERETRY;
}

/* The bytes to be sent: JSON and gzip as configured. */
static int pack(curl_exporter *x, sl_signal signal, sl_str request, sl_str *ret_bytes)
{
    SL_ASSERT(x && ret_bytes);
    sl_buf json;
    sl_buf_init(&json, SL_MAX_OTLP_JSON_BYTES);
    sl_buf_clear(&x->packed);
    bool is_json = x->protocol == SL_OTLP_HTTP_JSON;
    int error = 0;
    *ret_bytes = request;
    if (is_json)
        error = sl_otlp_to_json(sl_wire_signal(signal), request, x->gzip ? &json : &x->packed);
    if (!error && x->gzip)
        error = sl_gzip_pack(is_json ? sl_buf_str(&json) : request, &x->packed);
    if (is_json || x->gzip)
        *ret_bytes = sl_buf_str(&x->packed);
    sl_buf_done(&json);
    return error;
}

static CURLcode transfer(curl_exporter *x, sl_str bytes, uint64_t timeout_ms)
{
    SL_ASSERT(x && (bytes.ptr || !bytes.len));
    sl_buf_clear(&x->answer);
    x->retry_after[0] = x->content_type[0] = x->detail[0] = 0;
    long timeout = timeout_ms > 86400000u ? 0 : (long)timeout_ms;
    (void)curl_easy_setopt(x->handle, CURLOPT_TIMEOUT_MS, timeout);
    (void)curl_easy_setopt(x->handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes.len);
    (void)curl_easy_setopt(x->handle, CURLOPT_POSTFIELDS, bytes.len ? bytes.ptr : "");
    return curl_easy_perform(x->handle);
}

static int curl_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    SL_ASSERT(ret_retry_after_ms && ret_rejected);
    (void)items;
    curl_exporter *x = user;
    if (x->timeout_ms && x->timeout_ms < timeout_ms)
        timeout_ms = x->timeout_ms;
    sl_str bytes;
    int error = pack(x, signal, request, &bytes);
    if (error)
        return error;
    CURLcode code = transfer(x, bytes, timeout_ms);
    if (x->packed.cap > 1u << 20)
        sl_buf_done(&x->packed);
    if (code != CURLE_OK)
        return report_failure(x, code);
    long status = 0;
    (void)curl_easy_getinfo(x->handle, CURLINFO_RESPONSE_CODE, &status);
    sl_otlp_http_answer judged = {(int)status, sl_str_c(x->content_type), sl_str_c(x->retry_after),
                                  sl_buf_str(&x->answer), sl_now_ns() / 1000000000u};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_http(&judged, &outcome);
    if (outcome.why[0])
        sl_reporter_say(x->reporter, outcome.error ? outcome.error : SL_EREFUSED, "otlp: %s", outcome.why);
    *ret_retry_after_ms = outcome.retry_after_ms;
    *ret_rejected = outcome.rejected;
    return outcome.error;
}

/* ---- life cycle ---- */

static void curl_free_exporter(void *user)
{
    curl_exporter *x = user;
    curl_easy_cleanup(x->handle);
    curl_slist_free_all(x->headers);
    sl_buf_done(&x->packed);
    sl_buf_done(&x->answer);
    sl_reporter_unref(x->reporter);
    sl_free(x->url);
    sl_free(x);
}

static int add_header(curl_exporter *x, const char *name, sl_str value)
{
    SL_ASSERT(value.ptr || !value.len);
    char line[8192];
    int len = snprintf(line, sizeof line, value.len ? "%s: %.*s" : "%s;", name, (int)value.len, value.ptr);
    if (len < 0 || (size_t)len >= sizeof line)
        return SL_ECONFIG;
    for (int i = 0; i < len; i++) {
        if ((unsigned char)line[i] < ' ' && line[i] != '\t')
            return SL_ECONFIG;
    }
    struct curl_slist *longer = curl_slist_append(x->headers, line);
    if (!longer)
        return SL_ENOMEM;
    x->headers = longer;
    return 0;
}

static int add_headers(curl_exporter *x, const sl_exporter_spec *spec, char *why, size_t size)
{
    SL_ASSERT(x);
    int error =
        add_header(x, "Content-Type",
                   x->protocol == SL_OTLP_HTTP_JSON ? SL_STR("application/json") : SL_STR("application/x-protobuf"));
    struct curl_slist *no_expect =
        error ? NULL : curl_slist_append(x->headers, "Expect:"); /* no round trip before the body */
    if (!error && !no_expect)
        error = SL_ENOMEM;
    if (!error && x->gzip)
        error = add_header(x, "Content-Encoding", SL_STR("gzip"));
    for (size_t i = 0; i < spec->header_count && !error; i++) {
        error = add_header(x, spec->headers[i].name.ptr, spec->headers[i].value);
        if (error == SL_ECONFIG)
            (void)snprintf(why, size, "a header that HTTP does not allow: %s", spec->headers[i].name.ptr);
    }
    return error;
}

static bool file_ok(sl_str path, char *why, size_t size)
{
    SL_ASSERT(path.ptr || !path.len);
    if (!path.len || access(path.ptr, R_OK) == 0)
        return true;
    (void)snprintf(why, size, "%s: cannot be read", path.ptr);
    return false;
}

static int set_options(curl_exporter *x, const sl_exporter_spec *spec)
{
    SL_ASSERT(x && spec);
    CURL *h = x->handle;
    char agent[64];
    (void)snprintf(agent, sizeof agent, "OTel-OTLP-Exporter-C/%s", sl_version());
    CURLcode bad = CURLE_OK;
    bad |= curl_easy_setopt(h, CURLOPT_URL, x->url);
    bad |= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(h, CURLOPT_POST, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_HTTPHEADER, x->headers);
    bad |= curl_easy_setopt(h, CURLOPT_USERAGENT, agent);
    bad |= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, x->detail);
    bad |= curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(h, CURLOPT_WRITEDATA, x);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERDATA, x);
    bad |= curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (spec->ca_file.len) {
        bad |= curl_easy_setopt(h, CURLOPT_CAINFO, spec->ca_file.ptr);
        bad |= curl_easy_setopt(h, CURLOPT_CAPATH, NULL); /* this authority alone */
    }
    if (spec->client_certificate_file.len)
        bad |= curl_easy_setopt(h, CURLOPT_SSLCERT, spec->client_certificate_file.ptr);
    if (spec->client_key_file.len)
        bad |= curl_easy_setopt(h, CURLOPT_SSLKEY, spec->client_key_file.ptr);
    return bad ? SL_ENOMEM : 0;
}

static int init(curl_exporter *x, const sl_exporter_spec *spec, char *why, size_t size)
{
    SL_ASSERT(spec);
    if (!file_ok(spec->ca_file, why, size) || !file_ok(spec->client_key_file, why, size) ||
        !file_ok(spec->client_certificate_file, why, size))
        return SL_ECONFIG;
    (void)pthread_once(&curl_once, curl_init);
    x->url = sl_strndup(spec->endpoint.ptr, spec->endpoint.len);
    x->handle = curl_ready ? curl_easy_init() : NULL;
    if (!x->url || !x->handle)
        return SL_ENOMEM;
    int error = add_headers(x, spec, why, size);
    return error ? error : set_options(x, spec);
}

int sl_exporter_curl(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && spec->protocol != SL_OTLP_GRPC);
    curl_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    sl_buf_init(&x->packed, SL_MAX_OTLP_JSON_BYTES);
    sl_buf_init(&x->answer, SL_MAX_OTLP_RESPONSE_BYTES);
    x->protocol = spec->protocol;
    x->gzip = spec->gzip;
    x->timeout_ms = spec->timeout_ms;
    int error = init(x, spec, why, size);
    if (error) {
        curl_free_exporter(x);
        return error;
    }
    x->reporter = sl_reporter_ref(spec->reporter);
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = "otlp/http";
    exporter.user = x;
    exporter.signals = SL_SIGNAL_BIT(spec->signal);
    exporter.deliver = curl_deliver;
    exporter.free = curl_free_exporter;
    *ret_exporter = exporter;
    return 0;
}
