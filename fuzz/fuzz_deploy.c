/* Deployment files: whatever they hold, services have names, and faults are told. */
#include <assert.h>

#include "src/flow/deploy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_deploy_file *file = NULL;
    int error = sl_deploy_parse(sl_str_of((const char *)data, size), &file);
    if (!file)
        return 0;
    assert((error == SL_ECONFIG) == (file->memory->error_count > 0));
    assert(file->service_count <= SL_DEPLOY_MAX_SERVICES);
    if (!error) {
        assert(file->name.len > 0 && file->service_count > 0);
        for (size_t i = 0; i < file->service_count; i++)
            assert(file->services[i].id.len > 0 && file->services[i].kind == sl_deploy_kind(file->services[i].path));
    }
    sl_deploy_free(file);
    return 0;
}
