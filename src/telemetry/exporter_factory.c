/* The table of exporters. */
#include "src/telemetry/exporter_factory.h"

#include "src/base/assert.h"
#include "src/base/str.h"

static const sl_exporter_kind kinds[] = {
#define SL_EXPORTER(id, name, signals) {name, signals, sl_exporter_##id##_load, sl_exporter_##id##_make},
#include "src/telemetry/exporters.def"
#undef SL_EXPORTER
};

const sl_exporter_kind *sl_exporter_kinds(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof kinds / sizeof kinds[0];
    return kinds;
}

const sl_exporter_kind *sl_exporter_kind_named(sl_str name, sl_signal signal)
{
    SL_ASSERT(signal < SL_SIGNAL_COUNT);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if ((kinds[i].signals & SL_SIGNAL_BIT(signal)) && sl_str_ieq(name, sl_str_c(kinds[i].name)))
            return &kinds[i];
    }
    return NULL;
}

int sl_exporter_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && spec->kind && ret_exporter && why && size > 0);
    why[0] = 0;
    return spec->kind->make(spec, ret_exporter, why, size);
}
