/* From samples to rows, and their two forms. */
#include "src/cli/top_page.h"

#include <math.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/wire/json_write.h"

#define NAME_WIDTH 28

/*
 * The value of a label as it is: \\, \" and \n of the format undone. Clients choose names, and pages come from
 * anywhere: without what a terminal obeys, cut between characters.
 */
static sl_str plain_name(sl_str name, char text[SL_TOP_MAX_NAME])
{
    size_t at = 0;
    for (size_t i = 0; i < name.len;) {
        unsigned char c = (unsigned char)name.ptr[i], next = i + 1 < name.len ? (unsigned char)name.ptr[i + 1] : 0;
        bool valid = true, escape = c == '\\' && (next == '\\' || next == '"' || next == 'n');
        size_t len = escape ? 1 : sl_utf8_piece(sl_str_sub(name, i, name.len), &valid);
        bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && len == 2 && next < 0xa0);
        if (at + len >= SL_TOP_MAX_NAME)
            break;
        for (size_t k = 0; k < len && !escape; k++)
            text[at + k] = valid && !control ? name.ptr[i + k] : '?';
        if (escape)
            text[at] = next == 'n' ? '?' : (char)next;
        at += len;
        i += len + escape;
    }
    return sl_str_of(text, at);
}

static sl_top_model *model_of(sl_top_page *page, sl_str name)
{
    char text[SL_TOP_MAX_NAME];
    if (!name.len)
        name = SL_STR("(none)");
    name = plain_name(name, text);
    for (size_t i = 0; i < page->model_count; i++) {
        if (sl_str_eq_c(name, page->models[i].name))
            return &page->models[i];
    }
    if (page->model_count == SL_TOP_MAX_MODELS)
        return NULL;
    sl_top_model *model = &page->models[page->model_count++];
    (void)sl_str_to_c(name, model->name, sizeof model->name);
    return model;
}

/* Adds a bucket; bounds are kept in order. */
static void add_bucket(sl_top_hist *hist, const sl_sample *sample)
{
    sl_str text;
    double bound = INFINITY;
    if (!sl_scrape_label(sample, "le", &text) || (!sl_str_eq_c(text, "+Inf") && sl_str_to_double(text, &bound) != 0))
        return;
    size_t at = 0;
    while (at < hist->count && hist->bounds[at] < bound)
        at++;
    if (at == hist->count || hist->bounds[at] > bound) {
        if (hist->count == SL_TOP_MAX_BOUNDS)
            return;
        memmove(&hist->bounds[at + 1], &hist->bounds[at], (hist->count - at) * sizeof *hist->bounds);
        memmove(&hist->counts[at + 1], &hist->counts[at], (hist->count - at) * sizeof *hist->counts);
        hist->bounds[at] = bound;
        hist->counts[at] = 0;
        hist->count++;
    }
    hist->counts[at] += sample->value;
}

static void add_tokens(sl_top_model *model, const sl_sample *sample)
{
    sl_str type;
    if (!sl_scrape_label(sample, "gen_ai_token_type", &type))
        return;
    if (sl_str_eq_c(type, "output"))
        model->tokens_out += sample->value;
    else if (sl_str_eq_c(type, "input"))
        model->tokens_in += sample->value;
}

static void add_request(sl_top_model *model, const sl_sample *sample)
{
    SL_ASSERT(model && sample);
    sl_str type;
    model->requests += sample->value;
    if (sl_scrape_label(sample, "error_type", &type) && type.len)
        model->errors += sample->value;
}

typedef enum top_use { TOP_REQUESTS, TOP_LATENCY, TOP_TTFT, TOP_TOKENS, TOP_TOKENS_IN, TOP_TOKENS_OUT } top_use;

/* Both generations of the GenAI names: only one of them moves. */
static const struct {
    const char *name;
    top_use use;
} uses[] = {
    {"gen_ai_client_operation_duration_seconds_count", TOP_REQUESTS},
    {"gen_ai_client_operation_duration_seconds_bucket", TOP_LATENCY},
    {"gen_ai_server_time_to_first_token_seconds_bucket", TOP_TTFT},
    {"gen_ai_client_token_usage_sum", TOP_TOKENS},
    {"gen_ai_client_inference_duration_seconds_count", TOP_REQUESTS},
    {"gen_ai_client_inference_duration_seconds_bucket", TOP_LATENCY},
    {"gen_ai_client_inference_usage_input_tokens_total", TOP_TOKENS_IN},
    {"gen_ai_client_inference_usage_output_tokens_total", TOP_TOKENS_OUT},
};

static void use_sample(sl_top_page *page, const sl_sample *sample, top_use use)
{
    SL_ASSERT(sample);
    sl_str name = {NULL, 0};
    if (!sl_scrape_label(sample, "gen_ai_request_model", &name))
        (void)sl_scrape_label(sample, "gen_ai_response_model", &name);
    sl_top_model *model = isfinite(sample->value) ? model_of(page, name) : NULL;
    if (!model)
        return;
    switch (use) {
    case TOP_REQUESTS:
        add_request(model, sample);
        break;
    case TOP_LATENCY:
        add_bucket(&model->latency, sample);
        break;
    case TOP_TTFT:
        add_bucket(&model->ttft, sample);
        break;
    case TOP_TOKENS:
        add_tokens(model, sample);
        break;
    case TOP_TOKENS_IN:
        model->tokens_in += sample->value;
        break;
    case TOP_TOKENS_OUT:
        model->tokens_out += sample->value;
        break;
    }
}

/* With both generations on, a request would count twice: the newer names are left out then. */
static bool is_second(const char *name, bool has_first)
{
    return has_first && strncmp(name, "gen_ai_client_inference_", 24) == 0;
}

void sl_top_read(const sl_scrape *scrape, double now_s, sl_top_page *ret_page)
{
    SL_ASSERT(scrape && ret_page);
    memset(ret_page, 0, sizeof *ret_page);
    bool has_first, has_start;
    (void)sl_scrape_sum(scrape, "gen_ai_client_token_usage_count", NULL, NULL, &has_first);
    ret_page->in_flight =
        sl_scrape_sum(scrape, "sightline_gateway_requests_in_flight", NULL, NULL, &ret_page->has_gateway);
    double start = sl_scrape_sum(scrape, "process_start_time_seconds", NULL, NULL, &has_start);
    ret_page->seconds = has_start && now_s > start ? now_s - start : 0;
    for (size_t i = 0; i < scrape->count; i++) {
        for (size_t u = 0; u < sizeof uses / sizeof *uses; u++) {
            if (sl_str_eq_c(scrape->samples[i].name, uses[u].name) && !is_second(uses[u].name, has_first))
                use_sample(ret_page, &scrape->samples[i], uses[u].use);
        }
    }
}

static double less(double after, double before)
{
    return after >= before ? after - before : after;
}

static void subtract(sl_top_hist *hist, const sl_top_hist *before)
{
    SL_ASSERT(before && hist);
    if (before->count != hist->count || !hist->count || before->counts[hist->count - 1] > hist->counts[hist->count - 1])
        return;
    for (size_t i = 0; i < hist->count; i++)
        hist->counts[i] -= before->counts[i];
}

void sl_top_change(const sl_top_page *before, const sl_top_page *after, double seconds, sl_top_page *ret_page)
{
    SL_ASSERT(before && after && ret_page != before && ret_page != after);
    *ret_page = *after;
    ret_page->seconds = seconds;
    for (size_t i = 0; i < ret_page->model_count; i++) {
        sl_top_model *now = &ret_page->models[i];
        for (size_t j = 0; j < before->model_count; j++) {
            const sl_top_model *old = &before->models[j];
            if (strcmp(old->name, now->name) != 0)
                continue;
            now->requests = less(now->requests, old->requests);
            now->errors = less(now->errors, old->errors);
            now->tokens_in = less(now->tokens_in, old->tokens_in);
            now->tokens_out = less(now->tokens_out, old->tokens_out);
            subtract(&now->latency, &old->latency);
            subtract(&now->ttft, &old->ttft);
        }
    }
}

double sl_top_quantile(const sl_top_hist *hist, double q)
{
    SL_ASSERT(hist && q >= 0 && q <= 1);
    double total = hist->count ? hist->counts[hist->count - 1] : 0;
    if (total <= 0)
        return -1;
    double rank = q * total;
    for (size_t i = 0; i < hist->count; i++) {
        if (hist->counts[i] < rank)
            continue;
        double low = i ? hist->bounds[i - 1] : 0, below = i ? hist->counts[i - 1] : 0;
        if (isinf(hist->bounds[i]))
            return low;
        double inside = hist->counts[i] - below;
        return inside > 0 ? low + (hist->bounds[i] - low) * (rank - below) / inside : low;
    }
    return hist->bounds[hist->count - 1];
}

/* ---- forms ---- */

static double rate(double count, double seconds)
{
    return seconds > 0 ? count / seconds : 0;
}

static void put_ms(sl_buf *out, const sl_top_hist *hist, double q)
{
    double value = sl_top_quantile(hist, q);
    if (value < 0)
        (void)sl_buf_printf(out, " %9s", "-");
    else
        (void)sl_buf_printf(out, " %9.1f", value * 1e3);
}

/* In a column of NAME_WIDTH characters (not bytes). */
static void put_name(sl_buf *out, const char *name)
{
    unsigned width = 0;
    for (const char *c = name; *c; c++) {
        bool begins = ((unsigned char)*c & 0xc0) != 0x80;
        if (begins && width == NAME_WIDTH)
            break;
        width += begins;
        (void)sl_buf_put_char(out, *c);
    }
    for (; width < NAME_WIDTH; width++)
        (void)sl_buf_put_char(out, ' ');
}

int sl_top_text(const sl_top_page *page, bool colour, sl_buf *out)
{
    SL_ASSERT(page && out);
    double requests = 0, errors = 0, tokens = 0;
    for (size_t i = 0; i < page->model_count; i++) {
        requests += page->models[i].requests;
        errors += page->models[i].errors;
        tokens += page->models[i].tokens_out;
    }
    (void)sl_buf_printf(out, "%.1f requests/s, %.0f in flight, %.0f failed, %.1f tokens/s\n\n",
                        rate(requests, page->seconds), page->in_flight, errors, rate(tokens, page->seconds));
    (void)sl_buf_printf(out, "%s%-*s %9s %7s %9s %9s %9s %9s %9s%s\n", colour ? "\033[1m" : "", NAME_WIDTH, "model",
                        "req/s", "failed", "p50 ms", "p95 ms", "ttft p50", "ttft p95", "tokens/s",
                        colour ? "\033[0m" : "");
    for (size_t i = 0; i < page->model_count; i++) {
        const sl_top_model *m = &page->models[i];
        put_name(out, m->name);
        (void)sl_buf_printf(out, " %9.1f %7.0f", rate(m->requests, page->seconds), m->errors);
        put_ms(out, &m->latency, 0.5);
        put_ms(out, &m->latency, 0.95);
        put_ms(out, &m->ttft, 0.5);
        put_ms(out, &m->ttft, 0.95);
        (void)sl_buf_printf(out, " %9.1f\n", rate(m->tokens_out, page->seconds));
    }
    if (!page->model_count)
        (void)sl_buf_put_c(out, "no request yet\n");
    return out->failed;
}

static void put_json_hist(sl_jw *w, const char *name, const sl_top_hist *hist)
{
    static const struct {
        const char *name;
        double q;
    } rows[] = {{"p50", 0.5}, {"p95", 0.95}};
    sl_jw_member_object(w, name);
    for (size_t i = 0; i < 2; i++) {
        double value = sl_top_quantile(hist, rows[i].q);
        if (value < 0)
            sl_jw_member_null(w, rows[i].name);
        else
            sl_jw_member_double(w, rows[i].name, value * 1e3);
    }
    sl_jw_end(w);
}

int sl_top_json(const sl_top_page *page, sl_buf *out)
{
    SL_ASSERT(page);
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    sl_jw_member_double(&w, "seconds", page->seconds);
    sl_jw_member_double(&w, "in_flight", page->in_flight);
    sl_jw_member_array(&w, "models");
    for (size_t i = 0; i < page->model_count; i++) {
        const sl_top_model *m = &page->models[i];
        sl_jw_object(&w);
        sl_jw_member_c(&w, "model", m->name);
        sl_jw_member_double(&w, "requests", m->requests);
        sl_jw_member_double(&w, "requests_per_s", rate(m->requests, page->seconds));
        sl_jw_member_double(&w, "errors", m->errors);
        put_json_hist(&w, "latency_ms", &m->latency);
        put_json_hist(&w, "ttft_ms", &m->ttft);
        sl_jw_member_double(&w, "tokens_in", m->tokens_in);
        sl_jw_member_double(&w, "tokens_out", m->tokens_out);
        sl_jw_member_double(&w, "tokens_per_s", rate(m->tokens_out, page->seconds));
        sl_jw_end(&w);
    }
    sl_jw_end(&w);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    return error ? error : sl_buf_put_char(out, '\n');
}
