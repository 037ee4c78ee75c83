/*
 * Reads a page of the Prometheus text format (or OpenMetrics) into samples, for `top` and `doctor`. No I/O.
 *
 * Lenient where it does not matter (timestamps, exemplars and comments are skipped), strict about the shape of a line:
 * what it cannot read is counted with the number of its line.
 */
#ifndef SL_CLI_TOP_SCRAPE_H
#define SL_CLI_TOP_SCRAPE_H

#include "src/base/str.h"

#define SL_SCRAPE_MAX_SAMPLES 500000u

typedef struct sl_sample {
    sl_str name;
    sl_str labels; /* between the braces, as written; empty: none */
    double value;  /* NaN and infinities as such */
    unsigned line;
} sl_sample;

typedef struct sl_scrape {
    sl_sample *samples;
    size_t count;
    size_t bad_lines;
    unsigned first_bad_line; /* 0: none */
    unsigned duplicate_line; /* of a series that stood before; 0: none */
} sl_scrape;

/* Reads a page; samples are views of `text`. Errors: SL_ENOMEM, SL_ELIMIT. sl_scrape_done in any case. */
SL_MUST_CHECK int sl_scrape_parse(sl_str text, sl_scrape *ret_scrape);
void sl_scrape_done(sl_scrape *scrape);

/*
 * Value of a label, as written but for its quotes; false when absent. `name` is a C string.
 * Escapes stay as they are: the names compared here have none.
 */
bool sl_scrape_label(const sl_sample *sample, const char *name, sl_str *ret_value);

/* Sum of all samples of a name; `label` (may be NULL) with `value` must fit. `*ret_any` (may be NULL): there was one.
 */
double sl_scrape_sum(const sl_scrape *scrape, const char *name, const char *label, const char *value, bool *ret_any);

#endif
