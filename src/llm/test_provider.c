/* The table of providers: sound rows, and what a model's name says. */
#include "src/llm/provider.h"

#include "src/wire/url.h"
#include "tests/harness/sl_test.h"

SL_TEST(providers_of_model_names)
{
    static const struct {
        const char *model, *prefix, *rest;
    } rows[] = {{"groq/llama-3", "groq", "llama-3"},
                {"openai/gpt-4o", "openai", "gpt-4o"},
                {"gpt-4o", "openai", "gpt-4o"},
                {"meta/llama-3", "openai", "meta/llama-3"}, /* no provider of ours: the whole is the name */
                {"openrouter/meta/llama-3", "openrouter", "meta/llama-3"},
                {"Groq/x", "openai", "Groq/x"}, /* LiteLLM's prefixes are lower case */
                {"groq/", "groq", ""},
                {"/x", "openai", "/x"},
                {"", "openai", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_str rest;
        CHECK_STR(sl_str_c(sl_provider_split(sl_str_c(rows[i].model), &rest)->prefix), rows[i].prefix);
        CHECK_STR(rest, rows[i].rest);
    }
    CHECK(sl_provider_find(SL_STR("")) == NULL);
    CHECK(sl_provider_find(SL_STR("gro")) == NULL);
}

/* Names as the OpenTelemetry conventions list them; addresses that can be parsed, without a slash at the end. */
SL_TEST(providers_and_their_conventional_names)
{
    static const struct {
        const char *prefix, *genai;
    } rows[] = {{"openai", "openai"},
                {"mistral", "mistral_ai"},
                {"xai", "x_ai"},
                {"deepseek", "deepseek"},
                {"groq", "groq"},
                {"perplexity", "perplexity"},
                {"anthropic", "anthropic"},
                {"azure", "azure.ai.openai"},
                {"azure_ai", "azure.ai.inference"},
                {"bedrock", "aws.bedrock"},
                {"gemini", "gcp.gemini"},
                {"vertex_ai", "gcp.vertex_ai"},
                {"watsonx", "ibm.watsonx.ai"},
                {"cohere", "cohere"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sl_provider *provider = sl_provider_find(sl_str_c(rows[i].prefix));
        REQUIRE(provider != NULL);
        CHECK_STR(sl_str_c(provider->genai), rows[i].genai);
        sl_url url;
        const char *reason = "";
        if (!provider->api_base)
            continue;
        CHECK_EQ(sl_url_parse(sl_str_c(provider->api_base), &url, &reason), 0);
        CHECK(!sl_str_ends(sl_str_c(provider->api_base), SL_STR("/")));
        CHECK(url.tls);
    }
}
