/* What is wrong with a configuration that reads well: told with file and line, before a worker meets it. */
#include "src/gateway/gw_impl.h"

#include "src/base/assert.h"

/* Deployments of the same name in front of one; no more than are needed to tell. */
static size_t same_name_before(const sl_config *config, size_t index)
{
    size_t count = 0;
    SL_ASSERT(index < config->deployment_count);
    for (size_t i = 0; i < index && count <= SL_GW_MAX_GROUP; i++)
        count += sl_str_eq(config->deployments[i].model_name, config->deployments[index].model_name);
    return count;
}

/* Many deployments share one file: it is read once in a row of them. */
static bool ca_usable(const sl_config *config, size_t index)
{
    const sl_deployment *d = &config->deployments[index];
    if (!d->tls || d->tls_insecure || !d->ca_file.len)
        return true;
    const sl_deployment *before = index ? d - 1 : NULL;
    bool told = before && before->tls && !before->tls_insecure && sl_str_eq(before->ca_file, d->ca_file);
    return told || sl_origin_ca_usable(d->ca_file);
}

static void tell(const sl_config *config, const sl_deployment *d, const char *why, sl_buf *out)
{
    SL_ASSERT(d && why);
    (void)sl_buf_printf(out, "%.*s:%u: model %.*s: %s\n", (int)config->path.len, config->path.ptr, d->line,
                        (int)sl_utf8_prefix(d->model_name, 100), d->model_name.ptr, why);
}

size_t sl_gateway_check(const sl_config *config, sl_buf *out)
{
    SL_ASSERT(config && out);
    size_t faults = 0;
    for (size_t i = 0; i < config->deployment_count; i++) {
        const sl_deployment *d = &config->deployments[i];
        if (!ca_usable(config, i)) {
            tell(config, d, "its ca_file cannot be read, or holds no certificate", out);
            faults++;
        }
        if (same_name_before(config, i) == SL_GW_MAX_GROUP) { /* said at the first that is too many */
            tell(config, d, "more than 64 deployments have this name; give some of them another one", out);
            faults++;
        }
    }
    return faults;
}
