/* Requests by libcurl. */
#include "src/cli/fetch.h"

#include "src/base/assert.h"
#include "src/wire/redact.h"
#include <curl/curl.h>
#include <stdio.h>

static size_t on_body(char *data, size_t size, size_t count, void *user)
{
    sl_buf *body = user;
    return sl_buf_put(body, data, size * count) == 0 ? size * count : 0;
}

static int error_of(CURLcode code, const sl_fetch *fetch)
{
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
        return SL_ERESOLVE;
    case CURLE_COULDNT_CONNECT:
        return SL_ECONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return SL_ETIMEOUT;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return SL_EINVAL;
    default:
        return fetch->body.failed == SL_ELIMIT ? SL_ETOOBIG : SL_EIO;
    }
}

static void explain(CURL *curl, const char *url, int error, CURLcode code, const char *detail, sl_fetch *fetch)
{
    SL_ASSERT(detail);
    const char *why = *detail ? detail : curl_easy_strerror(code);
    char shown[256];
    sl_redact_url(sl_str_c(url), shown, sizeof shown);
    long number = 0;
    if (error == SL_ECONNECT && curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &number) == CURLE_OK && number)
        why = strerror((int)number);
    if (error == SL_EINVAL)
        snprintf(fetch->reason, sizeof fetch->reason, "%s: is no http or https URL", shown);
    else if (error == SL_ETOOBIG)
        snprintf(fetch->reason, sizeof fetch->reason, "%s: the answer is too large", shown);
    else
        snprintf(fetch->reason, sizeof fetch->reason, "cannot reach %s: %s", shown, why);
}

/* A longer list; the same one without memory (`*ret_failed`), and after that. */
static struct curl_slist *add_header(struct curl_slist *list, const char *name, sl_str value, bool *ret_failed)
{
    SL_ASSERT(name && ret_failed);
    sl_buf line;
    sl_buf_init(&line, 64 * 1024);
    (void)sl_buf_printf(&line, "%s%.*s", name, (int)value.len, value.len ? value.ptr : "");
    (void)sl_buf_put_char(&line, 0);
    struct curl_slist *longer = line.failed || *ret_failed ? NULL : curl_slist_append(list, line.data);
    sl_buf_done(&line);
    *ret_failed = !longer;
    return longer ? longer : list;
}

/* Headers of the request; NULL: none, or out of memory (`*ret_failed`). */
static struct curl_slist *make_headers(const sl_fetch_options *options, bool *ret_failed)
{
    SL_ASSERT(ret_failed && options);
    struct curl_slist *list = NULL;
    *ret_failed = false;
    if (options->accept)
        list = add_header(list, "Accept: ", sl_str_c(options->accept), ret_failed);
    if (options->key.len)
        list = add_header(list, "Authorization: Bearer ", options->key, ret_failed);
    if (options->header)
        list = add_header(list, "", sl_str_c(options->header), ret_failed);
    if (options->method) {
        list = add_header(list, "Content-Type: application/json", sl_str_of(NULL, 0), ret_failed);
        list = add_header(list, "Expect:", sl_str_of(NULL, 0), ret_failed); /* none: it would only wait */
    }
    return list;
}

static void set_options(CURL *curl, const char *url, const sl_fetch_options *options, struct curl_slist *headers,
                        sl_fetch *fetch, char *detail)
{
    SL_ASSERT(options && fetch);
    (void)curl_easy_setopt(curl, CURLOPT_URL, url);
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(options->timeout_ms ? options->timeout_ms : 5000));
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "sightline/" SL_VERSION_STRING);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &fetch->body);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (options->method) {
        (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, options->method);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)options->body.len);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, options->body.len ? options->body.ptr : "");
    }
    /* Listeners stand on this machine or close by: a proxy for the wide world is not meant for them. */
    if (strncmp(url, "http:", 5) == 0)
        (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
}

int sl_fetch_get(const char *url, const sl_fetch_options *options, sl_fetch *fetch)
{
    SL_ASSERT(url && fetch);
    static const sl_fetch_options defaults;
    char detail[CURL_ERROR_SIZE] = "";
    bool failed;
    if (!options)
        options = &defaults;
    memset(fetch, 0, sizeof *fetch);
    sl_buf_init(&fetch->body, options->max_bytes ? options->max_bytes : 64u << 20);
    struct curl_slist *headers = make_headers(options, &failed);
    CURL *curl = failed ? NULL : curl_easy_init();
    CURLcode code = CURLE_OUT_OF_MEMORY;
    if (curl) {
        set_options(curl, url, options, headers, fetch, detail);
        code = curl_easy_perform(curl);
    }
    int error = code == CURLE_OK ? 0 : error_of(code, fetch);
    if (!error) {
        long status = 0;
        const char *type = NULL;
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
        fetch->status = (int)status;
        snprintf(fetch->content_type, sizeof fetch->content_type, "%s", type ? type : "");
    } else {
        explain(curl, url, error, code, detail, fetch);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return error;
}

void sl_fetch_done(sl_fetch *fetch)
{
    SL_ASSERT(fetch);
    sl_buf_done(&fetch->body);
}

int sl_fetch_join(sl_str base, const char *path, sl_buf *out)
{
    SL_ASSERT(base.ptr || !base.len);
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    int error = sl_buf_put_str(out, base);
    return error ? error : sl_buf_put_c(out, path);
}
