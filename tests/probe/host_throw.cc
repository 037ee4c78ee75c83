// A host in C++: exceptions thrown below a hooked function are caught above it.
#include <cstdio>
#include <stdexcept>

#include "fake_llama.h"

extern "C" void (*fake_throw)(void);

static void thrower()
{
    throw std::runtime_error("from below");
}

int main()
{
    llama_model *model = llama_model_load_from_file("/models/tiny.gguf", fake_model_params());
    llama_context *context = llama_init_from_model(model, fake_context_params());
    int caught = 0;
    fake_throw = thrower;
    for (int i = 0; i < 1000; i++) {
        int32_t token = i % 2 ? 667 : 5;
        llama_batch batch = {};
        batch.n_tokens = 1;
        batch.token = &token;
        try {
            (void)llama_decode(context, batch);
        } catch (const std::exception &error) {
            caught++;
        }
    }
    std::printf("%d caught\n", caught);
    llama_free(context);
    llama_model_free(model);
    return 0;
}
