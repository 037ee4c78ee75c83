/*
 * Sends spans to the live view of another process of Sightline, so that `sightline traces` shows one tree of them all.
 *
 * An exporter that nobody has to configure: when an admin listener answers it gets every finished span at once, by
 * POST /v1/traces; while none does, spans are not even copied, nothing is said, and it is tried again now and then.
 */
#ifndef SL_CLI_VIEW_EXPORT_H
#define SL_CLI_VIEW_EXPORT_H

#include <sightline/sdk.h>

#include "src/cli/command.h"

#define SL_VIEW_DEFAULT_URL "http://127.0.0.1:4001"
#define SL_VIEW_ENV "SIGHTLINE_ADMIN_URL"

/*
 * Makes it for an admin listener's URL (http). Errors: SL_ECONFIG (`*ret_why`, static, says what), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_view_exporter_new(sl_str url, sl_exporter *ret_exporter, const char **ret_why);

/*
 * What --view says: adds the exporter to `exporters` at `*count`; "off" or nothing: none. Returns an exit status, or 0;
 * says what is wrong.
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
