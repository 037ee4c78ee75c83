/* The option --view of commands whose spans `sightline traces` is to show: see src/telemetry/exporter_view.h. */
#ifndef SL_CLI_VIEW_EXPORT_H
#define SL_CLI_VIEW_EXPORT_H

#include "src/cli/command.h"
#include "src/telemetry/exporter_view.h"

/*
 * Adds the exporter to `exporters` at `*count`; "off" or nothing: none. Returns an exit status, or 0; says what is
 * wrong.
 */
int sl_view_exporter_add(const sl_command *command, sl_str view, sl_exporter *exporters, size_t *count);

/* A row of a table of options, for a member of type sl_str. */
#define SL_VIEW_OPTION(member_offset)                                                                                  \
    {                                                                                                                  \
        "view", 0, SL_OPT_STR, member_offset, "URL",                                                                   \
            "The admin listener of `sightline up`: it gets the spans while it answers, for `sightline traces`; or "    \
            "off.",                                                                                                    \
            SL_VIEW_DEFAULT_URL, SL_VIEW_ENV                                                                           \
    }

#endif
