/* One-time compiling of watched paths. */
#include "src/llm/tables.h"

#include <pthread.h>

#include "src/base/assert.h"

static void compile(void)
{
    int error = sl_openai_compile();
    SL_ASSERT(error == 0);
    error = sl_usage_compile();
    SL_ASSERT(error == 0);
    (void)error;
}

void sl_llm_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, compile);
}
