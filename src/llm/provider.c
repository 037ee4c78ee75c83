/* The table of providers. */
#include "src/llm/provider.h"

#include "src/base/assert.h"

static const sl_provider providers[] = {
    {"openai", "https://api.openai.com/v1", "openai", true},
    {"text-completion-openai", "https://api.openai.com/v1", "openai", true},
    {"custom_openai", NULL, "openai", true},
    {"openai_like", NULL, "openai", true},
    {"hosted_vllm", NULL, "vllm", true},
    {"vllm", NULL, "vllm", true},
    {"llamafile", "http://127.0.0.1:8080/v1", "llamafile", true},
    {"lm_studio", NULL, "lm_studio", true},
    {"ollama", "http://127.0.0.1:11434/v1", "ollama", true},
    {"ollama_chat", "http://127.0.0.1:11434/v1", "ollama", true},
    {"deepseek", "https://api.deepseek.com/v1", "deepseek", true},
    {"groq", "https://api.groq.com/openai/v1", "groq", true},
    {"mistral", "https://api.mistral.ai/v1", "mistral_ai", true},
    {"openrouter", "https://openrouter.ai/api/v1", "openrouter", true},
    {"perplexity", "https://api.perplexity.ai", "perplexity", true},
    {"together_ai", "https://api.together.xyz/v1", "together_ai", true},
    {"fireworks_ai", "https://api.fireworks.ai/inference/v1", "fireworks_ai", true},
    {"xai", "https://api.x.ai/v1", "x_ai", true},
    {"nvidia_nim", "https://integrate.api.nvidia.com/v1", "nvidia_nim", true},
    {"cerebras", "https://api.cerebras.ai/v1", "cerebras", true},
    {"litellm_proxy", NULL, "litellm_proxy", true},
    {"anthropic", NULL, "anthropic", false},
    {"azure", NULL, "azure.ai.openai", false},
    {"azure_ai", NULL, "azure.ai.inference", false},
    {"bedrock", NULL, "aws.bedrock", false},
    {"sagemaker", NULL, "aws.sagemaker", false},
    {"vertex_ai", NULL, "gcp.vertex_ai", false},
    {"gemini", NULL, "gcp.gemini", false},
    {"cohere", NULL, "cohere", false},
    {"cohere_chat", NULL, "cohere", false},
    {"watsonx", NULL, "ibm.watsonx.ai", false},
    {"huggingface", NULL, "huggingface", false},
    {"replicate", NULL, "replicate", false},
    {"databricks", NULL, "databricks", false},
};

const sl_provider *sl_provider_find(sl_str prefix)
{
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (sl_str_eq_c(prefix, providers[i].prefix))
            return &providers[i];
    }
    return NULL;
}

const sl_provider *sl_provider_split(sl_str model, sl_str *ret_model)
{
    SL_ASSERT(ret_model);
    size_t slash = sl_str_chr(model, '/');
    const sl_provider *provider = slash == SL_NPOS ? NULL : sl_provider_find(sl_str_sub(model, 0, slash));
    *ret_model = provider ? sl_str_sub(model, slash + 1, model.len) : model;
    return provider ? provider : &providers[0];
}
