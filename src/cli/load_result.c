/* Counting of errors and the two reports. */
#include "src/cli/load_result.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/wire/json_write.h"

static const char *const error_names[SL_LOAD_ERROR_COUNT] = {"ok",
#define ERROR_NAME(name, text, help) text,
                                                             SL_LOAD_ERROR_MAP(ERROR_NAME)
#undef ERROR_NAME
                                                                 "http"};

const char *sl_load_error_name(sl_load_error error)
{
    SL_ASSERT(error < SL_LOAD_ERROR_COUNT);
    return error_names[error];
}

void sl_load_result_sample(sl_load_result *result, sl_str text)
{
    SL_ASSERT(result && (text.ptr || !text.len));
    text = sl_str_sub(text, 0, sl_utf8_prefix(text, sizeof result->sample - 1));
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        result->sample[i] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
    }
    result->sample[text.len] = 0;
}

void sl_load_result_error(sl_load_result *result, sl_load_error error, int status, sl_str text)
{
    SL_ASSERT(error > SL_LOAD_OK && error < SL_LOAD_ERROR_COUNT);
    if (text.len && !result->sample[0])
        sl_load_result_sample(result, text);
    if (error == SL_LOAD_HTTP && status > 0 && status < SL_LOAD_MAX_STATUS)
        result->http_errors[status]++;
    else
        result->errors[error]++;
}

uint64_t sl_load_result_failed(const sl_load_result *result)
{
    uint64_t failed = 0;
    for (size_t i = 0; i < SL_LOAD_ERROR_COUNT; i++)
        failed += result->errors[i];
    for (size_t i = 0; i < SL_LOAD_MAX_STATUS; i++)
        failed += result->http_errors[i];
    return failed;
}

static double per_second(uint64_t count, uint64_t ns)
{
    return ns ? (double)count * 1e9 / (double)ns : 0;
}

/* ---- for people ---- */

static void put_row(sl_buf *out, const char *name, const sl_load_hist *hist)
{
    SL_ASSERT(hist);
    if (!hist->count)
        return;
    (void)sl_buf_printf(out, "%-12s %9.2f  %9.2f  %9.2f  %9.2f\n", name, (double)sl_load_hist_at(hist, 0.5) / 1e6,
                        (double)sl_load_hist_at(hist, 0.9) / 1e6, (double)sl_load_hist_at(hist, 0.99) / 1e6,
                        (double)hist->max / 1e6);
}

int sl_load_report_text(const sl_load_result *result, sl_buf *out)
{
    SL_ASSERT(out);
    const sl_load_result *r = result;
    (void)sl_buf_printf(out, "requests     %llu sent, %llu ok, %llu failed in %.2f s: %.1f/s\n",
                        (unsigned long long)r->sent, (unsigned long long)r->ok,
                        (unsigned long long)sl_load_result_failed(r), (double)r->duration_ns / 1e9,
                        per_second(r->ok, r->duration_ns));
    if (r->latency.count)
        (void)sl_buf_put_c(out, "ms                 p50        p90        p99        max\n");
    put_row(out, "latency", &r->latency);
    put_row(out, "first token", &r->ttft);
    put_row(out, "inter-token", &r->itl);
    (void)sl_buf_printf(out, "tokens       %llu: %.1f/s\n", (unsigned long long)r->tokens,
                        per_second(r->tokens, r->duration_ns));
    if (r->frames)
        (void)sl_buf_printf(out, "frames       %llu\n", (unsigned long long)r->frames);
    for (size_t i = 1; i < SL_LOAD_ERROR_COUNT; i++) {
        if (r->errors[i])
            (void)sl_buf_printf(out, "error        %s: %llu\n", error_names[i], (unsigned long long)r->errors[i]);
    }
    for (size_t i = 0; i < SL_LOAD_MAX_STATUS; i++) {
        if (r->http_errors[i])
            (void)sl_buf_printf(out, "error        http_%zu: %llu\n", i, (unsigned long long)r->http_errors[i]);
    }
    if (r->sample[0])
        (void)sl_buf_printf(out, "first error  %s\n", r->sample);
    return out->failed;
}

/* ---- as JSON ---- */

static void put_ms(sl_jw *w, const char *name, uint64_t ns, bool any)
{
    uint64_t us = (ns + 500) / 1000; /* whole microseconds */
    if (any)
        sl_jw_member_double(w, name, (double)us / 1e3);
    else
        sl_jw_member_null(w, name);
}

static void put_hist(sl_jw *w, const char *name, const sl_load_hist *hist)
{
    SL_ASSERT(hist);
    sl_jw_member_object(w, name);
    put_ms(w, "p50", sl_load_hist_at(hist, 0.5), hist->count > 0);
    put_ms(w, "p90", sl_load_hist_at(hist, 0.9), hist->count > 0);
    put_ms(w, "p99", sl_load_hist_at(hist, 0.99), hist->count > 0);
    put_ms(w, "max", hist->max, hist->count > 0);
    sl_jw_end(w);
}

static void put_errors(sl_jw *w, const sl_load_result *result)
{
    sl_jw_member_object(w, "errors");
    for (size_t i = 1; i < SL_LOAD_ERROR_COUNT; i++) {
        if (result->errors[i])
            sl_jw_member_u64(w, error_names[i], result->errors[i]);
    }
    for (size_t i = 0; i < SL_LOAD_MAX_STATUS; i++) {
        char name[32];
        snprintf(name, sizeof name, "http_%zu", i);
        if (result->http_errors[i])
            sl_jw_member_u64(w, name, result->http_errors[i]);
    }
    sl_jw_end(w);
}

static double rounded(double value)
{
    return (double)(uint64_t)(value * 1000 + 0.5) / 1000;
}

int sl_load_report_json(const sl_load_result *result, sl_buf *out)
{
    SL_ASSERT(result);
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    sl_jw_member_u64(&w, "sent", result->sent);
    sl_jw_member_u64(&w, "ok", result->ok);
    put_errors(&w, result);
    sl_jw_member_double(&w, "duration_s", rounded((double)result->duration_ns / 1e9));
    put_hist(&w, "latency_ms", &result->latency);
    put_hist(&w, "ttft_ms", &result->ttft);
    put_hist(&w, "itl_ms", &result->itl);
    sl_jw_member_u64(&w, "tokens", result->tokens);
    sl_jw_member_double(&w, "tokens_per_s", rounded(per_second(result->tokens, result->duration_ns)));
    sl_jw_member_double(&w, "requests_per_s", rounded(per_second(result->ok, result->duration_ns)));
    sl_jw_member_u64(&w, "frames", result->frames);
    sl_jw_member_u64(&w, "bytes", result->bytes);
    if (result->sample[0])
        sl_jw_member_c(&w, "first_error", result->sample);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    return error ? error : sl_buf_put_char(out, '\n');
}
