/* The option --view. */
#include "src/cli/view_export.h"

#include "src/base/assert.h"
#include "src/wire/redact.h"

int sl_view_exporter_add(const sl_command *command, sl_str view, sl_exporter *exporters, size_t *count)
{
    SL_ASSERT(command && exporters && count);
    const char *why;
    if (!view.len || sl_str_ieq(view, SL_STR("off")))
        return 0;
    int error = sl_exporter_view_new(view, &exporters[*count], &why);
    if (!error)
        ++*count;
    if (error == SL_ECONFIG) {
        char shown[256];
        sl_redact_url(view, shown, sizeof shown);
        return sl_fail(SL_EXIT_USAGE, "%s: %s: %s; give such as %s, or off", sl_option_source(command, "view"), shown,
                       why, SL_VIEW_DEFAULT_URL);
    }
    return error ? sl_fail(SL_EXIT_FAILED, "--view: %s", sl_strerror(error)) : 0;
}
