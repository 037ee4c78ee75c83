/* In libsightline-core.a only: there are no exporters that need libraries. See exporter_factory.h. */
#include "src/telemetry/exporter_factory.h"

const sl_export_libraries *sl_export_factory(void)
{
    return NULL;
}
