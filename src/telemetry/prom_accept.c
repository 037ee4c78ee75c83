/* Content negotiation of the Prometheus formats (RFC 9110, section 12.5.1, as far as scrapers use it). */
#include <sightline/metrics.h>

#include "src/base/assert.h"
#include "src/wire/http_field.h"

/* 2: named, 1: by wildcard, 0: not acceptable. */
static int fit(sl_str range, sl_prometheus_format format)
{
    SL_ASSERT(format == SL_PROMETHEUS_OPENMETRICS || format == SL_PROMETHEUS_TEXT);
    sl_str type = sl_http_media_type(range), version;
    bool versioned = sl_http_param(range, SL_STR("version"), &version) && version.len > 0;
    if (format == SL_PROMETHEUS_OPENMETRICS) {
        bool known = !versioned || sl_str_eq_c(version, "1.0.0") || sl_str_eq_c(version, "0.0.1");
        return sl_str_ieq(type, SL_STR("application/openmetrics-text")) && known ? 2 : 0;
    }
    if (sl_str_ieq(type, SL_STR("text/plain")) && (!versioned || sl_str_eq_c(version, "0.0.4")))
        return 2;
    return sl_str_eq_c(type, "*/*") || sl_str_ieq(type, SL_STR("text/*")) ? 1 : 0;
}

sl_prometheus_format sl_prometheus_negotiate(sl_str accept)
{
    int best[2] = {0, 0}, named[2] = {0, 0};
    sl_str range;
    while (sl_http_list_next(&accept, &range)) {
        int weight = sl_http_weight(range);
        for (int format = 0; format < 2; format++) {
            int how = weight < 0 ? 0 : fit(range, (sl_prometheus_format)format);
            if (how > named[format] || (how && how == named[format] && weight > best[format])) {
                named[format] = how;
                best[format] = weight;
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
