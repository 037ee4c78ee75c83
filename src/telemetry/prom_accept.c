/* Content negotiation of the Prometheus formats (RFC 9110, section 12.5.1, as far as scrapers use it). */
#include <sightline/metrics.h>

#include "src/base/assert.h"
#include "src/base/str.h"

/* One media range of an Accept header. */
typedef struct media_range {
    sl_str type;
    sl_str version;
    double q;
} media_range;

static media_range parse_range(sl_str text)
{
    media_range range = {{NULL, 0}, {NULL, 0}, 1.0};
    sl_str part;
    if (sl_str_split(&text, ';', &part))
        range.type = sl_str_trim(part);
    while (sl_str_split(&text, ';', &part)) {
        part = sl_str_trim(part);
        size_t equals = sl_str_chr(part, '=');
        if (equals == SL_NPOS)
            continue;
        sl_str name = sl_str_trim(sl_str_sub(part, 0, equals));
        sl_str value = sl_str_trim(sl_str_sub(part, equals + 1, SL_NPOS));
        if (value.len >= 2 && value.ptr[0] == '"')
            value = sl_str_sub(value, 1, value.len - 2);
        if (sl_str_ieq(name, SL_STR("version")))
            range.version = value;
        else if (sl_str_ieq(name, SL_STR("q")) && sl_str_to_double(value, &range.q))
            range.q = 0;
    }
    return range;
}

/* 2: named, 1: by wildcard, 0: not acceptable. */
static int fit(const media_range *range, sl_prometheus_format format)
{
    SL_ASSERT(range);
    bool any = sl_str_eq_c(range->type, "*/*");
    if (format == SL_PROMETHEUS_OPENMETRICS) {
        bool version =
            range->version.len == 0 || sl_str_eq_c(range->version, "1.0.0") || sl_str_eq_c(range->version, "0.0.1");
        return sl_str_ieq(range->type, SL_STR("application/openmetrics-text")) && version ? 2 : 0;
    }
    bool version = range->version.len == 0 || sl_str_eq_c(range->version, "0.0.4");
    if (sl_str_ieq(range->type, SL_STR("text/plain")) && version)
        return 2;
    return any || sl_str_ieq(range->type, SL_STR("text/*")) ? 1 : 0;
}

sl_prometheus_format sl_prometheus_negotiate(sl_str accept)
{
    double best[2] = {0, 0};
    int named[2] = {0, 0};
    sl_str rest = accept, part;
    while (sl_str_split(&rest, ',', &part)) {
        media_range range = parse_range(part);
        for (int format = 0; format < 2; format++) {
            int how = fit(&range, (sl_prometheus_format)format);
            if (how > named[format] || (how && how == named[format] && range.q > best[format])) {
                named[format] = how;
                best[format] = range.q;
            }
        }
    }
    bool open = best[SL_PROMETHEUS_OPENMETRICS] > 0 && best[SL_PROMETHEUS_OPENMETRICS] >= best[SL_PROMETHEUS_TEXT];
    return open ? SL_PROMETHEUS_OPENMETRICS : SL_PROMETHEUS_TEXT;
}

const char *sl_prometheus_content_type(sl_prometheus_format format)
{
    return format == SL_PROMETHEUS_OPENMETRICS ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                               : "text/plain; version=0.0.4; charset=utf-8";
}
