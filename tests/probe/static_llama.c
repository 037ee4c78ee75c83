/* A stand-in for a libllama of the llama_decode family, to be linked statically: it counts, and knows a few facts. */
#include <stdint.h>
#include <stdlib.h>

typedef struct llama_model {
    int alive;
} llama_model;
typedef struct llama_context {
    llama_model *model;
    int decodes;
} llama_context;
typedef struct llama_model_params {
    uint64_t words[12];
} llama_model_params;
typedef struct llama_context_params {
    uint64_t words[15];
} llama_context_params;
typedef struct llama_batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} llama_batch;

llama_model *llama_model_load_from_file(const char *path, llama_model_params params);
llama_context *llama_init_from_model(llama_model *model, llama_context_params params);
int32_t llama_decode(llama_context *context, llama_batch batch);
void llama_free(llama_context *context);
void llama_model_free(llama_model *model);
uint32_t llama_n_ctx(const llama_context *context);
uint64_t llama_model_size(const llama_model *model);

llama_model *llama_model_load_from_file(const char *path, llama_model_params params)
{
    llama_model *model = path && params.words[11] == 11 ? calloc(1, sizeof *model) : NULL;
    return model;
}

llama_context *llama_init_from_model(llama_model *model, llama_context_params params)
{
    llama_context *context = model && params.words[14] == 14 ? calloc(1, sizeof *context) : NULL;
    if (context)
        context->model = model;
    return context;
}

/* Tells whether the batch came through as it was. */
int32_t llama_decode(llama_context *context, llama_batch batch)
{
    context->decodes++;
    for (int32_t i = 0; i < batch.n_tokens; i++)
        if (batch.token[i] != 100 + i)
            return -1;
    return batch.logits ? -2 : 0;
}

void llama_free(llama_context *context)
{
    free(context);
}

void llama_model_free(llama_model *model)
{
    free(model);
}

uint32_t llama_n_ctx(const llama_context *context)
{
    return context ? 512 : 0;
}

uint64_t llama_model_size(const llama_model *model)
{
    return model ? 555136 : 0;
}
