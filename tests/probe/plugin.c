/* A plugin that is linked to a copy of the fake libllama of its own, as addons are. */
#include "fake_llama.h"

int plugin_run(int round);

int plugin_run(int round)
{
    static llama_model *model;
    static llama_context *context;
    static llama_sampler *chain;
    if (!model) {
        chain = llama_sampler_chain_init((llama_sampler_chain_params){false});
        model = llama_model_load_from_file("/models/plugin.gguf", fake_model_params());
        context = llama_init_from_model(model, fake_context_params());
    }
    llama_batch batch = {.n_tokens = 1, .token = &round};
    int32_t tokens[8];
    int sum = llama_decode(context, batch) + llama_tokenize(NULL, "abc", 3, tokens, 8, true, true);
    return sum * 100000 + (int)*llama_get_logits_ith(context, 0) * 10 + llama_sampler_sample(chain, context, 0);
}
