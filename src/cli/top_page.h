/*
 * What `sightline top` shows: requests, errors, latency, first token and tokens of each model, taken from a page of
 * metrics, or from what has changed between two.
 */
#ifndef SL_CLI_TOP_PAGE_H
#define SL_CLI_TOP_PAGE_H

#include "src/base/buf.h"
#include "src/cli/top_scrape.h"

#define SL_TOP_MAX_MODELS 64
#define SL_TOP_MAX_BOUNDS 64
#define SL_TOP_MAX_NAME 128

/* Cumulative counts of a Prometheus histogram; the last bound is +Inf. */
typedef struct sl_top_hist {
    size_t count;
    double bounds[SL_TOP_MAX_BOUNDS];
    double counts[SL_TOP_MAX_BOUNDS];
} sl_top_hist;

typedef struct sl_top_model {
    char name[SL_TOP_MAX_NAME];
    double requests;
    double errors;
    double tokens_in;
    double tokens_out;
    sl_top_hist latency; /* seconds */
    sl_top_hist ttft;
} sl_top_model;

typedef struct sl_top_page {
    double seconds; /* what the numbers span: since the start of the process, or between two pages */
    double in_flight;
    bool has_gateway; /* the page is that of a gateway */
    size_t model_count;
    sl_top_model models[SL_TOP_MAX_MODELS];
} sl_top_page;

/* Reads a page; `now_s` is the Unix time, for the time since the start. */
void sl_top_read(const sl_scrape *scrape, double now_s, sl_top_page *ret_page);
/* What has changed from `before` to `after`, `seconds` later. A model that is new, or a process that has restarted,
 * counts from zero. */
void sl_top_change(const sl_top_page *before, const sl_top_page *after, double seconds, sl_top_page *ret_page);
/* Quantile by linear interpolation, as histogram_quantile does; negative when the histogram is empty. */
double sl_top_quantile(const sl_top_hist *hist, double q);

/* Appends the table; one JSON object on a line. */
int sl_top_text(const sl_top_page *page, bool colour, sl_buf *out);
int sl_top_json(const sl_top_page *page, sl_buf *out);

#endif
