/* Actions http and webhook. */
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr_value.h"
#include "src/flow/step_action.h"
#include "src/flow/step_http.h"
#include "src/llm/json_text.h"

typedef struct http_op {
    sl_action_op op;
    sl_step_try *attempt;
    sl_flow_http *http;
    json_t *expected; /* statuses; NULL: 2xx */
} http_op;

/* ---- the answer ---- */

static bool is_expected(const json_t *expected, int status)
{
    if (!expected)
        return status >= 200 && status < 300;
    if (json_is_integer(expected))
        return json_integer_value(expected) == status;
    for (size_t i = 0; i < json_array_size(expected); i++)
        if (json_integer_value(json_array_get(expected, i)) == status)
            return true;
    return false;
}

static json_t *body_of(const sl_flow_http_answer *answer, bool *ret_encoded)
{
    *ret_encoded = false;
    json_t *value = answer->is_json && answer->body.len
                        ? json_loadb(answer->body.ptr, answer->body.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL)
                        : NULL;
    return value ? value : sl_action_bytes(answer->body, ret_encoded);
}

static void fail_status(sl_step_try *attempt, const sl_flow_http_answer *answer)
{
    int status = answer->status;
    size_t shown = sl_utf8_prefix(answer->body, 200);
    if (!sl_utf8_valid(answer->body))
        shown = 0;
    attempt->retry_after_ms = answer->retry_after_ms;
    const char *why = status >= 300 && status < 400 ? " (redirects are not followed)" : "";
    sl_step_fail(attempt, sl_flow_http_status_error(status), "the answer was %d%s%s%.*s", status, why,
                 shown ? ": " : "", (int)shown, shown ? answer->body.ptr : "");
}

static void on_done(void *user, const sl_flow_http_answer *answer, sl_step_error error, const char *reason)
{
    http_op *h = user;
    sl_step_try *attempt = h->attempt;
    bool good = answer && is_expected(h->expected, answer->status), encoded = false;
    json_decref(h->expected);
    sl_free(h);
    attempt->data = NULL;
    if (!answer) {
        sl_step_fail(attempt, error, "%s", reason);
    } else if (!good) {
        fail_status(attempt, answer);
    } else {
        json_t *body = body_of(answer, &encoded);
        json_t *metadata = json_pack("{s:i, s:O, s:f, s:b}", "status", answer->status, "headers", answer->headers,
                                     "duration_ms", (double)answer->duration_ns / 1e6, "base64", (int)encoded);
        sl_action_succeed(attempt, body, metadata);
    }
}

static void cancel_http(sl_action_op *op)
{
    http_op *h = (http_op *)op;
    sl_flow_http_cancel(h->http);
    json_decref(h->expected);
    sl_free(h);
}

/* ---- the request ---- */

static bool read_expected(sl_step_try *attempt, json_t **ret_expected)
{
    json_t *value = json_object_get(attempt->params, "expected_status");
    *ret_expected = NULL;
    if (!value || json_is_null(value))
        return true;
    bool good = json_is_integer(value) || (json_is_array(value) && json_array_size(value) > 0);
    for (size_t i = 0; good && i < json_array_size(value); i++)
        good = json_is_integer(json_array_get(value, i));
    if (!good)
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "expected_status must be a number or a list of numbers");
    else
        *ret_expected = json_incref(value);
    return good;
}

static void start_http(sl_step_try *attempt, sl_flow_http_request *request)
{
    char reason[SL_FLOW_HTTP_REASON];
    json_t *expected;
    if (!read_expected(attempt, &expected))
        return;
    http_op *h = sl_calloc(1, sizeof *h);
    if (!h) {
        json_decref(expected);
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    *h = (http_op){.op = {cancel_http}, .attempt = attempt, .expected = expected};
    request->done = on_done;
    request->user = h;
    sl_step_error wrong = sl_flow_http_start(attempt, request, reason, &h->http);
    if (wrong) {
        json_decref(expected);
        sl_free(h);
        sl_step_fail(attempt, wrong, "%s", reason);
        return;
    }
    attempt->data = h;
}

static bool is_method(sl_str method)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sl_str_eq_c(method, names[i]))
            return true;
    return false;
}

static bool read_headers(sl_step_try *attempt, json_t **ret_headers)
{
    json_t *headers = json_object_get(attempt->params, "headers");
    *ret_headers = json_is_null(headers) ? NULL : headers;
    if (!*ret_headers || json_is_object(headers))
        return true;
    sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "headers must be an object");
    return false;
}

void sl_action_http(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    sl_flow_http_request request = {.content_type = SL_STR("text/plain; charset=utf-8")};
    json_t *body = json_object_get(attempt->params, "body");
    bool has_body = body && !json_is_null(body), is_json;
    char *memory = NULL;
    if (!sl_action_text(attempt, "url", sl_str_of(NULL, 0), &request.url) ||
        !sl_action_text(attempt, "method", has_body ? SL_STR("POST") : SL_STR("GET"), &request.method) ||
        !read_headers(attempt, &request.headers))
        return;
    if (!is_method(request.method)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "method must be GET, HEAD, POST, PUT, DELETE, PATCH or OPTIONS");
        return;
    }
    if (!sl_action_body(body, &request.body, &memory, &is_json)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    if (is_json)
        request.content_type = SL_STR("application/json");
    if (!has_body)
        request.content_type = sl_str_of(NULL, 0);
    start_http(attempt, &request);
    free(memory);
}

/* ---- webhooks ---- */

/* "t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS.BODY". False: no memory. */
static bool sign(sl_str secret, sl_str body, uint64_t seconds, char *text, size_t size)
{
    unsigned char digest[32];
    unsigned len = sizeof digest;
    char hex[65] = {0};
    sl_buf signed_text;
    sl_buf_init(&signed_text, SL_MAX_FLOW_HTTP_BODY_BYTES + 64);
    (void)sl_buf_put_u64(&signed_text, seconds);
    (void)sl_buf_put_char(&signed_text, '.');
    (void)sl_buf_put_str(&signed_text, body);
    bool good = !signed_text.failed && HMAC(EVP_sha256(), secret.ptr, (int)secret.len,
                                            (const unsigned char *)signed_text.data, signed_text.len, digest, &len);
    sl_buf_done(&signed_text);
    if (good) {
        sl_hex_encode(digest, sizeof digest, hex);
        (void)snprintf(text, size, "t=%llu,v1=%s", (unsigned long long)seconds, hex);
    }
    return good;
}

static void post_signed(sl_step_try *attempt, sl_str url, sl_str secret, json_t *payload, bool trusted)
{
    json_t *given = NULL;
    if (!read_headers(attempt, &given))
        return;
    char signature[120];
    char *body = payload ? sl_json_text(payload) : NULL;
    json_t *headers = given ? sl_json_copy(given) : json_object();
    bool good = body && headers;
    if (good && secret.len)
        good = sign(secret, sl_str_c(body), sl_now_ns() / 1000000000u, signature, sizeof signature) &&
               json_object_set_new(headers, "X-Sightline-Signature", json_string(signature)) == 0;
    if (good) {
        sl_flow_http_request request = {.method = SL_STR("POST"),
                                        .url = url,
                                        .headers = headers,
                                        .body = sl_str_c(body),
                                        .content_type = SL_STR("application/json"),
                                        .trusted = trusted};
        start_http(attempt, &request);
    } else {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
    }
    free(body);
    json_decref(headers);
}

/* {"action","workflow","run_id","step","data"}. NULL: no memory. */
static json_t *event_of(sl_step_try *attempt)
{
    static const char *const own[] = {"action", "url", "secret", "headers", "expected_status"};
    json_t *workflow = json_object_get(attempt->context, "workflow"), *data = sl_json_copy(attempt->params);
    for (size_t i = 0; data && i < sizeof own / sizeof *own; i++)
        (void)json_object_del(data, own[i]);
    return json_pack("{s:O?, s:O?, s:O?, s:s, s:o}", "action", json_object_get(attempt->params, "action"), "workflow",
                     json_object_get(workflow, "name"), "run_id", json_object_get(workflow, "run_id"), "step",
                     attempt->step->id, "data", data);
}

/* Of a URL that is configured, when the step gives none itself. */
static sl_str secret_of(const sl_flow_services *services, sl_str url)
{
    for (size_t i = 0; i < services->webhook_count; i++)
        if (sl_str_eq_c(url, services->webhooks[i].url))
            return sl_str_c(services->webhooks[i].secret);
    return sl_str_of(NULL, 0);
}

void sl_action_webhook(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    sl_str url, secret;
    if (!sl_action_text(attempt, "url", sl_str_of(NULL, 0), &url) ||
        !sl_action_text(attempt, "secret", secret_of(attempt->services, url), &secret))
        return;
    json_t *body = json_object_get(attempt->params, "body");
    json_t *payload = body && !json_is_null(body) ? json_incref(body) : event_of(attempt);
    post_signed(attempt, url, secret, payload, false);
    json_decref(payload);
}

void sl_action_named_webhook(sl_step_try *attempt, const sl_flow_webhook *webhook)
{
    SL_ASSERT(attempt && webhook);
    json_t *payload = event_of(attempt);
    post_signed(attempt, sl_str_c(webhook->url), sl_str_c(webhook->secret), payload, true);
    json_decref(payload);
}
