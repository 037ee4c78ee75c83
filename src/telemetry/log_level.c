/* Names of severities. Source: OpenTelemetry logs data model, SeverityNumber; CRITICAL is OTLP's FATAL range. */
#include <sightline/log.h>

#include "src/base/str.h"

static const struct {
    const char *name;
    sl_severity severity;
} names[] = {
    {"TRACE", SL_TRACE},  {"DEBUG", SL_DEBUG},       {"INFO", SL_INFO},         {"WARN", SL_WARN},
    {"WARNING", SL_WARN}, {"ERROR", SL_ERROR_LEVEL}, {"CRITICAL", SL_CRITICAL}, {"FATAL", SL_CRITICAL},
};

int sl_severity_parse(sl_str text, sl_severity *ret_severity)
{
    if (!ret_severity)
        return SL_EPARSE;
    text = sl_str_trim(text);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (sl_str_ieq(text, sl_str_c(names[i].name))) {
            *ret_severity = names[i].severity;
            return 0;
        }
    }
    return SL_EPARSE;
}

const char *sl_severity_name(sl_severity severity)
{
    static const char *const by_range[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"};
    int number = (int)severity;
    if (number <= 0)
        return "INFO"; /* unset: a line shows some level */
    return by_range[number >= SL_CRITICAL ? 5 : (number - 1) / 4];
}
