/* What the tests of the probe's metrics share: an SDK, and the numbers on its Prometheus page. */
#ifndef SL_PROBE_TEST_METRICS_PAGE_H
#define SL_PROBE_TEST_METRICS_PAGE_H

#include <stdio.h>
#include <stdlib.h>

#include "src/base/str.h"
#include "src/probe/metrics_host.h"
#include "tests/harness/sl_test.h"

#define MS 1000000u

/* An SDK without exporters. */
static inline sl_sdk *page_sdk(void)
{
    const sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    sl_sdk *sdk = NULL;
    return sl_sdk_new(&options, &sdk) == 0 ? sdk : NULL;
}

/* The page; freed by the caller. Not inlined: gcc 12 would then warn of pointers into it. */
static __attribute__((noinline, unused)) char *page_text(sl_sdk *sdk, sl_prometheus_format format)
{
    char *text = NULL;
    size_t len = 0;
    return sl_prometheus_gather(sdk, format, &text, &len) == 0 ? text : NULL;
}

static inline bool page_has(sl_sdk *sdk, sl_prometheus_format format, const char *words)
{
    char *text = page_text(sdk, format);
    bool found = text && strstr(text, words);
    if (!found)
        fprintf(stderr, "not on the page: %s\n", words);
    free(text);
    return found;
}

/* Whether a line is of the series `wanted`: the same name, and among its labels those of `wanted`, in any order. */
static inline bool page_matches(sl_str line, sl_str wanted)
{
    size_t brace = sl_str_chr(wanted, '{');
    sl_str name = sl_str_sub(wanted, 0, brace), label;
    if (!sl_str_starts(line, name) || line.len <= name.len || (line.ptr[name.len] != '{' && line.ptr[name.len] != ' '))
        return false;
    if (brace == SL_NPOS)
        return line.ptr[name.len] == ' ' || sl_str_find(line, SL_STR("{otel_scope_name")) == name.len;
    sl_str labels = sl_str_sub(wanted, brace + 1, wanted.len - brace - 2);
    while (sl_str_split(&labels, ',', &label)) {
        if (sl_str_find(line, label) == SL_NPOS)
            return false;
    }
    return true;
}

/* The value of the first sample of a series; -1 when it is not there. */
static inline double page_value(sl_sdk *sdk, const char *series)
{
    char *text = page_text(sdk, SL_PROMETHEUS_TEXT);
    sl_str rest = sl_str_c(text), line;
    double value = -1;
    while (value == -1 && sl_str_split(&rest, '\n', &line)) {
        if (!page_matches(line, sl_str_c(series)))
            continue;
        size_t at = line.len;
        while (at > 0 && line.ptr[at - 1] != ' ')
            at--;
        value = strtod(line.ptr + at, NULL);
    }
    free(text);
    return value;
}

/* The same under both prefixes, which must agree. */
static inline double page_pair(sl_sdk *sdk, const char *name)
{
    char colon[256], plain[256];
    snprintf(colon, sizeof colon, "llamacpp:%s", name);
    snprintf(plain, sizeof plain, "llamacpp_%s", name);
    double a = page_value(sdk, colon), b = page_value(sdk, plain);
    if (a != b)
        fprintf(stderr, "%s %f, %s %f\n", colon, a, plain, b);
    CHECK(a == b);
    return a;
}

#define CHECK_NEAR(a, b) CHECK((a) - (b) < 1e-9 && (b) - (a) < 1e-9)

/* A host with one model and one context of 4 sequences of 256 tokens, id 1 each. */
static inline sl_probe_metrics *page_host(sl_sdk *sdk)
{
    sl_probe_metrics *m = NULL;
    if (sl_probe_metrics_new(sdk, 0, &m))
        return NULL;
    sl_probe_metrics_model(m, &(sl_probe_model_info){.model = 1,
                                                     .path = SL_STR("/models/tiny.gguf"),
                                                     .description = SL_STR("llama 1B F32"),
                                                     .duration_ns = 120 * MS,
                                                     .size_bytes = 555136});
    sl_probe_metrics_context(
        m, &(sl_probe_context_info){.context = 1, .model = 1, .n_ctx = 1024, .n_ctx_seq = 256, .n_seq_max = 4});
    return m;
}

static inline void page_end(sl_sdk *sdk, sl_probe_metrics *m)
{
    sl_probe_metrics_free(m);
    sl_sdk_free(sdk);
}

#endif
