/*
 * HTTP by libcurl, one handle (and so one kept connection) for each transport. libcurl is initialised when the first
 * transport is made, never otherwise.
 */
#include "src/export/http_curl.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/export/gzip.h"
#include "src/wire/redact.h"
#include "src/wire/url.h"

#define MAX_RETRY_AFTER 64u
#define MAX_CONTENT_TYPE 128u
#define MAX_TIMEOUT_MS 86400000u /* above it: none */
#define MAX_KEPT_BYTES (1u << 20)

#define ERROR_TEXT (CURL_ERROR_SIZE + 256)

typedef struct curl_transport {
    sl_http_transport transport; /* first */
    CURL *handle;
    struct curl_slist *headers;
    bool gzip;
    char *url;
    char *peer; /* host and port, for messages: the rest of a URL may hold a key */
    /* The request under way. */
    sl_buf packed;
    sl_buf answer;
    bool no_memory; /* for the answer */
    char retry_after[MAX_RETRY_AFTER];
    char content_type[MAX_CONTENT_TYPE];
    char detail[CURL_ERROR_SIZE];
    char error[ERROR_TEXT];
} curl_transport;

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;
static bool curl_ready;

static void curl_init(void)
{
    curl_ready = curl_global_init(CURL_GLOBAL_DEFAULT) == 0;
}

/* ---- callbacks ---- */

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    curl_transport *x = user;
    int error = sl_buf_put(&x->answer, data, size * count);
    x->no_memory = error == SL_ENOMEM;
    return error ? 0 : size * count;
}

static void keep_field(sl_str line, sl_str name, char *to, size_t size)
{
    if (line.len > name.len && sl_str_ieq(sl_str_sub(line, 0, name.len), name))
        (void)sl_str_to_c(sl_str_trim(sl_str_sub(line, name.len, line.len)), to, size);
}

static size_t on_header(char *data, size_t size, size_t count, void *user)
{
    curl_transport *x = user;
    sl_str line = sl_str_of(data, size * count);
    while (line.len && (line.ptr[line.len - 1] == '\r' || line.ptr[line.len - 1] == '\n'))
        line.len--;
    if (sl_str_starts(line, SL_STR("HTTP/"))) /* those of an interim answer, or of a proxy, do not count */
        x->retry_after[0] = x->content_type[0] = 0;
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

static int explain(curl_transport *x, CURLcode code)
{
    SL_ASSERT(x);
    int error = x->no_memory ? SL_ENOMEM : transfer_error(code);
    const char *detail = x->detail[0] ? x->detail : curl_easy_strerror(code);
    bool trust = code == CURLE_PEER_FAILED_VERIFICATION;
    (void)snprintf(x->error, sizeof x->error, "%s: %s%s%s", x->peer, trust ? "the certificate is not trusted: " : "",
                   detail, trust ? " (OTEL_EXPORTER_OTLP_CERTIFICATE names the CA)" : "");
    return error == SL_ETOOBIG || error == SL_ENOMEM || error == SL_EPROTO ? error : SL_ERETRY;
}

static CURLcode transfer(curl_transport *x, sl_str bytes, uint64_t timeout_ms)
{
    SL_ASSERT(x && (bytes.ptr || !bytes.len));
    sl_buf_clear(&x->answer);
    x->retry_after[0] = x->content_type[0] = x->detail[0] = x->error[0] = 0;
    x->no_memory = false;
    long timeout = timeout_ms > MAX_TIMEOUT_MS ? 0 : (long)timeout_ms;
    (void)curl_easy_setopt(x->handle, CURLOPT_TIMEOUT_MS, timeout);
    (void)curl_easy_setopt(x->handle, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)bytes.len);
    (void)curl_easy_setopt(x->handle, CURLOPT_POSTFIELDS, bytes.len ? bytes.ptr : "");
    return curl_easy_perform(x->handle);
}

static int curl_send(sl_http_transport *self, sl_str body, uint64_t timeout_ms, sl_http_answer *ret_answer)
{
    SL_ASSERT(self && ret_answer && timeout_ms > 0);
    curl_transport *x = (curl_transport *)(void *)self;
    sl_buf_clear(&x->packed);
    int error = x->gzip ? sl_gzip_pack(body, &x->packed) : 0;
    if (error) {
        (void)snprintf(x->error, sizeof x->error, "%s: the request cannot be compressed: %s", x->peer,
                       sl_strerror(error));
        return error;
    }
    CURLcode code = transfer(x, x->gzip ? sl_buf_str(&x->packed) : body, timeout_ms);
    if (x->packed.cap > MAX_KEPT_BYTES)
        sl_buf_done(&x->packed);
    if (code != CURLE_OK)
        return explain(x, code);
    long status = 0;
    (void)curl_easy_getinfo(x->handle, CURLINFO_RESPONSE_CODE, &status);
    *ret_answer =
        (sl_http_answer){(int)status, sl_str_c(x->content_type), sl_str_c(x->retry_after), sl_buf_str(&x->answer)};
    return 0;
}

static const char *curl_error(const sl_http_transport *self)
{
    return ((const curl_transport *)(const void *)self)->error;
}

/* ---- life cycle ---- */

static void curl_free_transport(sl_http_transport *self)
{
    curl_transport *x = (curl_transport *)(void *)self;
    curl_easy_cleanup(x->handle);
    curl_slist_free_all(x->headers);
    sl_buf_done(&x->packed);
    sl_buf_done(&x->answer);
    sl_free(x->url);
    sl_free(x->peer);
    sl_free(x);
}

static int add_header(curl_transport *x, const char *name, sl_str value)
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

static int add_headers(curl_transport *x, const sl_http_peer *peer, sl_str content_type, char *why, size_t size)
{
    SL_ASSERT(x && peer);
    int error = add_header(x, "Content-Type", content_type);
    struct curl_slist *no_expect =
        error ? NULL : curl_slist_append(x->headers, "Expect:"); /* no round trip before the body */
    if (!error && !no_expect)
        error = SL_ENOMEM;
    if (!error && x->gzip)
        error = add_header(x, "Content-Encoding", SL_STR("gzip"));
    for (size_t i = 0; i < peer->header_count && !error; i++) {
        error = add_header(x, peer->headers[i].name.ptr, peer->headers[i].value);
        if (error == SL_ECONFIG)
            (void)snprintf(why, size, "a header that HTTP does not allow: %s", peer->headers[i].name.ptr);
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

static int set_options(curl_transport *x, const sl_http_peer *peer)
{
    SL_ASSERT(x && peer);
    CURL *h = x->handle;
    CURLcode bad = CURLE_OK;
    bad |= curl_easy_setopt(h, CURLOPT_URL, x->url);
    bad |= curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= curl_easy_setopt(h, CURLOPT_POST, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_HTTPHEADER, x->headers);
    bad |= curl_easy_setopt(h, CURLOPT_USERAGENT, sl_exporter_user_agent());
    bad |= curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L); /* a hanging look-up is left behind, not waited for */
    bad |= curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
    bad |= curl_easy_setopt(h, CURLOPT_ERRORBUFFER, x->detail);
    bad |= curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    bad |= curl_easy_setopt(h, CURLOPT_WRITEDATA, x);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    bad |= curl_easy_setopt(h, CURLOPT_HEADERDATA, x);
    bad |= curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (peer->ca_file.len) {
        bad |= curl_easy_setopt(h, CURLOPT_CAINFO, peer->ca_file.ptr);
        bad |= curl_easy_setopt(h, CURLOPT_CAPATH, NULL); /* this authority alone */
    }
    if (peer->client_certificate_file.len)
        bad |= curl_easy_setopt(h, CURLOPT_SSLCERT, peer->client_certificate_file.ptr);
    if (peer->client_key_file.len)
        bad |= curl_easy_setopt(h, CURLOPT_SSLKEY, peer->client_key_file.ptr);
    return bad ? SL_ENOMEM : 0;
}

static int init(curl_transport *x, const sl_http_peer *peer, sl_str content_type, char *why, size_t size)
{
    SL_ASSERT(peer);
    sl_url url;
    const char *reason = "";
    if (sl_url_parse(peer->url, &url, &reason)) {
        char shown[129];
        sl_redact_url(peer->url, shown, sizeof shown);
        (void)snprintf(why, size, "%s: %s", shown, reason);
        return SL_ECONFIG;
    }
    if (!file_ok(peer->ca_file, why, size) || !file_ok(peer->client_key_file, why, size) ||
        !file_ok(peer->client_certificate_file, why, size))
        return SL_ECONFIG;
    (void)pthread_once(&curl_once, curl_init);
    x->url = sl_strndup(peer->url.ptr, peer->url.len);
    x->peer = sl_strndup(url.authority.ptr, url.authority.len);
    x->handle = curl_ready ? curl_easy_init() : NULL;
    if (!x->url || !x->peer || !x->handle)
        return SL_ENOMEM;
    int error = add_headers(x, peer, content_type, why, size);
    return error ? error : set_options(x, peer);
}

int sl_http_curl_new(const sl_http_peer *peer, sl_str content_type, sl_http_transport **ret_transport, char *why,
                     size_t size)
{
    SL_ASSERT(peer && ret_transport && why && size > 0);
    curl_transport *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    sl_buf_init(&x->packed, SL_MAX_OTLP_REQUEST_BYTES * 4u);
    sl_buf_init(&x->answer, SL_MAX_OTLP_RESPONSE_BYTES);
    x->gzip = peer->gzip;
    x->transport = (sl_http_transport){curl_send, curl_error, curl_free_transport};
    int error = init(x, peer, content_type, why, size);
    if (error) {
        curl_free_transport(&x->transport);
        return error;
    }
    *ret_transport = &x->transport;
    return 0;
}
