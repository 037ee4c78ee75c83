/* Reading of the Prometheus text format. */
#include "src/cli/top_scrape.h"

#include <math.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

/* Takes `{…}` off the front; false when it does not end. Quotes are minded. */
static bool take_labels(sl_str *line, sl_str *ret_labels)
{
    SL_ASSERT(ret_labels);
    bool quoted = false;
    for (size_t i = 1; i < line->len; i++) {
        char c = line->ptr[i];
        if (quoted && c == '\\') {
            i++;
        } else if (c == '"') {
            quoted = !quoted;
        } else if (c == '}' && !quoted) {
            *ret_labels = sl_str_sub(*line, 1, i - 1);
            *line = sl_str_sub(*line, i + 1, line->len);
            return true;
        }
    }
    return false;
}

static bool read_value(sl_str text, double *ret_value)
{
    SL_ASSERT(ret_value);
    if (sl_str_eq_c(text, "NaN"))
        *ret_value = NAN;
    else if (sl_str_eq_c(text, "+Inf") || sl_str_eq_c(text, "Inf"))
        *ret_value = INFINITY;
    else if (sl_str_eq_c(text, "-Inf"))
        *ret_value = -INFINITY;
    else
        return sl_str_to_double(text, ret_value) == 0;
    return true;
}

static size_t find_blank(sl_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == ' ' || text.ptr[i] == '\t')
            return i;
    }
    return SL_NPOS;
}

/* name{labels} value [timestamp] [# exemplar] */
static bool read_line(sl_str line, sl_sample *ret_sample)
{
    SL_ASSERT(ret_sample && (line.ptr || !line.len));
    sl_sample sample = {.labels = sl_str_of(NULL, 0)};
    size_t len = 0;
    while (len < line.len && is_name_char(line.ptr[len]))
        len++;
    sample.name = sl_str_sub(line, 0, len);
    line = sl_str_trim(sl_str_sub(line, len, line.len));
    if (!len || (line.len && line.ptr[0] == '{' && !take_labels(&line, &sample.labels)))
        return false;
    line = sl_str_trim(line);
    size_t space = find_blank(line);
    if (!read_value(sl_str_sub(line, 0, space), &sample.value))
        return false;
    sl_str rest = space == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_trim(sl_str_sub(line, space, line.len));
    double timestamp;
    size_t end = find_blank(rest);
    if (rest.len && rest.ptr[0] != '#' && sl_str_to_double(sl_str_sub(rest, 0, end), &timestamp) != 0)
        return false;
    *ret_sample = sample;
    return true;
}

static int compare_samples(const void *a, const void *b)
{
    const sl_sample *left = *(const sl_sample *const *)a, *right = *(const sl_sample *const *)b;
    size_t len = left->name.len < right->name.len ? left->name.len : right->name.len;
    int order = memcmp(left->name.ptr, right->name.ptr, len);
    if (!order && left->name.len != right->name.len)
        order = left->name.len < right->name.len ? -1 : 1;
    if (order)
        return order;
    len = left->labels.len < right->labels.len ? left->labels.len : right->labels.len;
    order = len ? memcmp(left->labels.ptr, right->labels.ptr, len) : 0;
    if (!order && left->labels.len != right->labels.len)
        order = left->labels.len < right->labels.len ? -1 : 1;
    return order;
}

/* The line of a series that stands twice. */
static int find_duplicate(sl_scrape *scrape)
{
    SL_ASSERT(scrape);
    if (scrape->count < 2)
        return 0;
    const sl_sample **sorted = sl_calloc(scrape->count, sizeof *sorted);
    if (!sorted)
        return SL_ENOMEM;
    for (size_t i = 0; i < scrape->count; i++)
        sorted[i] = &scrape->samples[i];
    qsort(sorted, scrape->count, sizeof *sorted, compare_samples);
    for (size_t i = 1; i < scrape->count && !scrape->duplicate_line; i++) {
        if (compare_samples(&sorted[i - 1], &sorted[i]) == 0)
            scrape->duplicate_line = sorted[i - 1]->line > sorted[i]->line ? sorted[i - 1]->line : sorted[i]->line;
    }
    sl_free(sorted);
    return 0;
}

int sl_scrape_parse(sl_str text, sl_scrape *ret_scrape)
{
    SL_ASSERT(ret_scrape);
    memset(ret_scrape, 0, sizeof *ret_scrape);
    sl_str rest = text, line;
    unsigned number = 0;
    size_t cap = 0;
    while (sl_str_split(&rest, '\n', &line)) {
        number++;
        if (line.len && line.ptr[line.len - 1] == '\r')
            line.len--;
        line = sl_str_trim(line);
        if (!line.len || line.ptr[0] == '#')
            continue;
        if (ret_scrape->count == SL_SCRAPE_MAX_SAMPLES)
            return SL_ELIMIT;
        if (ret_scrape->count == cap) {
            cap = cap ? 2 * cap : 256;
            sl_sample *grown = sl_realloc(ret_scrape->samples, cap * sizeof *grown);
            if (!grown)
                return SL_ENOMEM;
            ret_scrape->samples = grown;
        }
        sl_sample *sample = &ret_scrape->samples[ret_scrape->count];
        if (read_line(line, sample)) {
            sample->line = number;
            ret_scrape->count++;
        } else if (ret_scrape->bad_lines++ == 0) {
            ret_scrape->first_bad_line = number;
        }
    }
    return find_duplicate(ret_scrape);
}

void sl_scrape_done(sl_scrape *scrape)
{
    SL_ASSERT(scrape);
    sl_free(scrape->samples);
    memset(scrape, 0, sizeof *scrape);
}

bool sl_scrape_label(const sl_sample *sample, const char *name, sl_str *ret_value)
{
    SL_ASSERT(sample && ret_value);
    sl_str rest = sample->labels;
    size_t want = strlen(name);
    while (rest.len) {
        size_t equals = sl_str_chr(rest, '=');
        if (equals == SL_NPOS || equals + 1 >= rest.len || rest.ptr[equals + 1] != '"')
            return false;
        sl_str label = sl_str_trim(sl_str_sub(rest, 0, equals));
        size_t end = equals + 2;
        while (end < rest.len && rest.ptr[end] != '"')
            end += rest.ptr[end] == '\\' ? 2 : 1;
        if (end >= rest.len)
            return false;
        if (label.len == want && memcmp(label.ptr, name, want) == 0) {
            *ret_value = sl_str_sub(rest, equals + 2, end - equals - 2);
            return true;
        }
        rest = sl_str_trim(sl_str_sub(rest, end + 1, rest.len));
        if (rest.len && rest.ptr[0] == ',')
            rest = sl_str_sub(rest, 1, rest.len);
    }
    return false;
}

double sl_scrape_sum(const sl_scrape *scrape, const char *name, const char *label, const char *value, bool *ret_any)
{
    double sum = 0;
    bool any = false;
    sl_str found;
    for (size_t i = 0; i < scrape->count; i++) {
        const sl_sample *sample = &scrape->samples[i];
        if (!sl_str_eq_c(sample->name, name))
            continue;
        if (label && (!sl_scrape_label(sample, label, &found) || !sl_str_eq_c(found, value)))
            continue;
        sum += sample->value;
        any = true;
    }
    if (ret_any)
        *ret_any = any;
    return sum;
}
