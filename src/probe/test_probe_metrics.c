/* The probe's metrics: names, exact values under every vocabulary, sums over hosts, gauges that go back. */
#include "src/probe/probe_metrics.h"

#include <math.h>
#include <unistd.h>

#include "src/probe/test_metrics_page.h"

SL_TEST(counters_are_there_before_anything_happened)
{
    static const char *const names[] = {"prompt_tokens_total",
                                        "prompt_seconds_total",
                                        "tokens_predicted_total",
                                        "tokens_predicted_seconds_total",
                                        "n_decode_total",
                                        "prompt_tokens_cached_total",
                                        "requests_processing",
                                        "requests_deferred",
                                        "kv_cache_tokens",
                                        "spec_decode_num_draft_tokens_total",
                                        "spec_decode_num_drafts_total"};
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sdk && sl_probe_metrics_new(sdk, 0, &m) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(page_pair(sdk, names[i]) == 0);
    CHECK(page_value(sdk, "sightline_probe_hosts") == 1);
    CHECK(page_value(sdk, "sightline_probe_events_dropped_total{reason=\"ring_full\"}") == 0);
    sl_probe_metrics_free(m);
    CHECK(page_value(sdk, "sightline_probe_hosts") == 0);
    sl_sdk_free(sdk);
}

SL_TEST(wrong_arguments)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = (void *)1;
    CHECK_EQ(sl_probe_metrics_new(NULL, 0, &m), SL_EINVAL);
    CHECK(m == (void *)1);
    CHECK_EQ(sl_probe_metrics_new(sdk, 0, NULL), SL_EINVAL);
    sl_probe_totals totals;
    CHECK(!sl_probe_metrics_totals(sdk, &totals));
    sl_sdk_free(sdk);
}

SL_TEST(no_object_is_no_trouble)
{
    sl_probe_metrics_free(NULL);
    sl_probe_metrics_model(NULL, &(sl_probe_model_info){.model = 1});
    sl_probe_metrics_model_freed(NULL, 1);
    sl_probe_metrics_context(NULL, &(sl_probe_context_info){.context = 1});
    sl_probe_metrics_context_freed(NULL, 1);
    sl_probe_metrics_memory(NULL, SL_PROBE_MEMORY_KV, SL_STR("CPU"), 1);
    sl_probe_metrics_batch(NULL, &(sl_probe_batch){.context = 1});
    sl_probe_metrics_prefill(NULL, &(sl_probe_prefill){.context = 1});
    sl_probe_metrics_token(NULL, 1, 1, NULL);
    sl_probe_metrics_sequence(NULL, 1, 0, 1);
    sl_probe_metrics_sequence_op(NULL, SL_PROBE_SEQ_ADD, 0);
    sl_probe_metrics_load(NULL, 1, 1);
    sl_probe_metrics_request_start(NULL);
    sl_probe_metrics_request_end(NULL, &(sl_probe_request_done){.status = 200});
    sl_probe_metrics_tick(NULL, 1, 0);
    sl_probe_metrics_events(NULL, 1, 1);
    CHECK(sl_probe_metrics_model_name(NULL, 0).len == 0);
}

SL_TEST(upstreams_names_types_and_help)
{
    static const char *const lines[] = {
        "# HELP llamacpp:prompt_tokens_total Number of prompt tokens processed.\n"
        "# TYPE llamacpp:prompt_tokens_total counter\nllamacpp:prompt_tokens_total 0\n",
        "# HELP llamacpp:tokens_predicted_seconds_total Predict process time\n"
        "# TYPE llamacpp:tokens_predicted_seconds_total counter\n",
        "# TYPE llamacpp:n_tokens_max counter\nllamacpp:n_tokens_max ",
        "# TYPE llamacpp:n_busy_slots_per_decode gauge\nllamacpp:n_busy_slots_per_decode ",
        "# HELP llamacpp:requests_processing Number of requests processing.\n"
        "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing ",
        "# TYPE llamacpp_prompt_seconds_total counter\nllamacpp_prompt_seconds_total ",
        "# HELP llamacpp:kv_cache_usage_ratio KV-cache usage. 1 means 100 percent usage.\n",
    };
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_probe_metrics_tick(m, 1000 * MS, 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        CHECK(page_has(sdk, SL_PROMETHEUS_TEXT, lines[i]));
    /* A counter without "_total" cannot be one in OpenMetrics. */
    CHECK(page_has(sdk, SL_PROMETHEUS_OPENMETRICS, "# TYPE llamacpp:n_tokens_max unknown\n"));
    CHECK(page_has(sdk, SL_PROMETHEUS_OPENMETRICS, "# TYPE llamacpp:prompt_tokens counter\n"));
    page_end(sdk, m);
}

SL_TEST(prompts_and_tokens)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_probe_metrics_prefill(m, &(sl_probe_prefill){.context = 1,
                                                    .tokens = 12345679,
                                                    .cached = 7,
                                                    .duration_ns = 40 * MS,
                                                    .has_queue = true,
                                                    .queue_ns = 2 * MS,
                                                    .first_token_ns = 45 * MS});
    sl_probe_metrics_token(m, 1, 0, NULL);
    for (int i = 0; i < 9; i++)
        sl_probe_metrics_token(m, 1, 3 * MS, NULL);
    sl_probe_metrics_tick(m, 1000 * MS, 0);
    CHECK(page_pair(sdk, "prompt_tokens_total") == 12345679); /* upstream's six digits say 1.23457e+07 */
    CHECK_NEAR(page_pair(sdk, "prompt_seconds_total"), .04);
    CHECK(page_pair(sdk, "prompt_tokens_cached_total") == 7);
    CHECK(page_pair(sdk, "tokens_predicted_total") == 10);
    CHECK_NEAR(page_pair(sdk, "tokens_predicted_seconds_total"), .027);
    CHECK(page_pair(sdk, "inter_token_latency_seconds_count{model=\"tiny\"}") == 9);
    CHECK(page_pair(sdk, "inter_token_latency_seconds_bucket{model=\"tiny\",le=\"0.0025\"}") == 0);
    CHECK(page_pair(sdk, "inter_token_latency_seconds_bucket{model=\"tiny\",le=\"0.005\"}") == 9);
    CHECK(page_pair(sdk, "request_queue_time_seconds_count{model=\"tiny\"}") == 1);
    CHECK_NEAR(page_pair(sdk, "time_to_first_token_seconds_sum{model=\"tiny\"}"), .045);
    CHECK_NEAR(page_pair(sdk, "request_prefill_time_seconds_sum{model=\"tiny\"}"), .04);
    CHECK(page_has(sdk, SL_PROMETHEUS_TEXT, "llama_token_time_milliseconds_sum{"));
    CHECK(page_value(sdk, "llama_tokens_count_total{llama_token_type=\"generated\"}") == 10);
    CHECK(page_value(sdk, "llama_tokens_count_total{llama_token_type=\"cached\"}") == 7);
    sl_probe_metrics_free(m);
    CHECK(page_pair(sdk, "tokens_predicted_total") == 10);
    sl_sdk_free(sdk);
}

SL_TEST(a_prompt_that_was_given_up_has_tokens_and_no_times)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_probe_metrics_prefill(
        m, &(sl_probe_prefill){.context = 1, .tokens = 5, .duration_ns = MS, .incomplete = true, .has_queue = true});
    CHECK(page_pair(sdk, "prompt_tokens_total") == 5);
    CHECK(page_pair(sdk, "request_queue_time_seconds_count{model=\"tiny\"}") == 1);
    CHECK(page_pair(sdk, "request_prefill_time_seconds_count{model=\"tiny\"}") <= 0);
    /* Embeddings: a prompt, and no token. */
    sl_probe_metrics_prefill(m, &(sl_probe_prefill){.context = 1, .tokens = 5, .duration_ns = MS});
    CHECK(page_pair(sdk, "request_prefill_time_seconds_count{model=\"tiny\"}") == 1);
    CHECK(page_pair(sdk, "time_to_first_token_seconds_count{model=\"tiny\"}") <= 0);
    page_end(sdk, m);
}

SL_TEST(batches)
{
    static const struct {
        int32_t result;
        const char *name;
    } results[] = {{0, "ok"}, {1, "no_kv_slot"}, {2, "aborted"}, {-1, "invalid_batch"}, {-3, "failed"}, {7, "failed"}};
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_probe_metrics_batch(
        m, &(sl_probe_batch){.context = 1, .n_tokens = 2, .sequences = 1, .warmup = true, .duration_ns = 9 * MS});
    for (size_t i = 0; i < sizeof results / sizeof *results; i++)
        sl_probe_metrics_batch(m, &(sl_probe_batch){.context = 1,
                                                    .result = results[i].result,
                                                    .n_tokens = 16,
                                                    .sequences = i < 3 ? 1 : 4,
                                                    .duration_ns = MS});
    sl_probe_metrics_tick(m, 1000 * MS, 0);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        char series[128];
        snprintf(series, sizeof series, "llamacpp_decode_results_total{model=\"tiny\",result=\"%s\"}", results[i].name);
        CHECK(page_value(sdk, series) == (i == 0 || i > 3 ? 2 : 1)); /* "ok": with the warm-up */
    }
    CHECK(page_pair(sdk, "n_decode_total") == 6);
    CHECK(page_value(sdk, "llamacpp_decode_seconds_count{model=\"tiny\"}") == 7);
    CHECK(page_value(sdk, "llamacpp_batch_tokens_bucket{model=\"tiny\",le=\"16\"}") == 6);
    CHECK(page_value(sdk, "llamacpp_batch_tokens_bucket{model=\"tiny\",le=\"8\"}") == 0);
    CHECK(page_value(sdk, "llamacpp_batch_sequences_sum{model=\"tiny\"}") == 15);
    sl_probe_metrics_tick(m, 1000 * MS, 0);
    CHECK(page_pair(sdk, "n_busy_slots_per_decode") == 2.5);
    sl_probe_totals totals;
    CHECK(sl_probe_metrics_totals(sdk, &totals));
    CHECK_EQ(totals.batches, 7);
    CHECK_EQ(totals.batches_failed, 5);
    page_end(sdk, m);
}

SL_TEST(contexts_and_sequences)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    const char *used = "llamacpp_context_tokens{host=\"0\",context=\"1\",model=\"tiny\"}";
    CHECK(page_value(sdk, "llamacpp_context_size_tokens{host=\"0\",context=\"1\",model=\"tiny\"}") == 1024);
    sl_probe_metrics_tick(m, 1000 * MS, 0);
    sl_probe_metrics_sequence(m, 1, 0, 64);
    sl_probe_metrics_sequence(m, 1, 3, 192);
    sl_probe_metrics_sequence(m, 1, 4, 1);  /* beyond n_seq_max */
    sl_probe_metrics_sequence(m, 1, -1, 1); /* all of them: the caller's to unfold */
    sl_probe_metrics_sequence(m, 2, 0, 1);  /* no such context */
    sl_probe_metrics_tick(m, 1100 * MS, 0);
    CHECK(page_value(sdk, used) == 256);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 256);
    CHECK(page_pair(sdk, "kv_cache_usage_ratio") == .25);
    CHECK(page_pair(sdk, "n_tokens_max") == 192);
    CHECK(page_value(sdk, "llamacpp_sequence_tokens{host=\"0\",context=\"1\",sequence=\"3\"}") == 192);
    CHECK(page_value(sdk, "llamacpp_sequence_usage_ratio{host=\"0\",context=\"1\",sequence=\"0\"}") == .25);
    CHECK(page_value(sdk, "llamacpp_context_usage_ratio") == .75);
    sl_probe_metrics_sequence(m, 1, 3, 0);
    sl_probe_metrics_tick(m, 1200 * MS, 0);
    CHECK(page_value(sdk, "llamacpp_sequence_tokens{host=\"0\",context=\"1\",sequence=\"3\"}") == 0);
    CHECK(page_value(sdk, "llamacpp_context_usage_ratio") == .25);
    CHECK(page_pair(sdk, "n_tokens_max") == 192);
    /* A minute later the slot that keeps its tokens for the next request is not at work. */
    sl_probe_metrics_tick(m, 62000 * (uint64_t)MS, 0);
    CHECK(page_value(sdk, "llamacpp_context_usage_ratio") == 0);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 64);
    sl_probe_metrics_context_freed(m, 1);
    sl_probe_metrics_tick(m, 62100 * (uint64_t)MS, 0);
    CHECK(page_value(sdk, used) == 0);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 0);
    CHECK(page_value(sdk, "llamacpp_context_size_tokens{host=\"0\",context=\"1\",model=\"tiny\"}") == 0);
    sl_probe_metrics_context_freed(m, 1);
    page_end(sdk, m);
}

SL_TEST(shared_tokens_are_no_more_than_everything)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, 0, &m) == 0);
    /* One memory for all: each sequence may hold n_ctx. */
    sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 3, .n_ctx = 64, .n_ctx_seq = 64, .n_seq_max = 2});
    sl_probe_metrics_sequence(m, 3, 0, 50);
    sl_probe_metrics_sequence(m, 3, 1, 50); /* a copy */
    sl_probe_metrics_tick(m, MS, 0);
    CHECK(page_pair(sdk, "kv_cache_usage_ratio") == 1);
    CHECK_NEAR(page_value(sdk, "llamacpp_context_usage_ratio"), 50 / 64.);
    page_end(sdk, m);
}

SL_TEST(what_is_not_known_of_a_context)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, 0, &m) == 0);
    sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 1, .n_ctx = -1, .n_ctx_seq = -1, .n_seq_max = -1});
    sl_probe_metrics_sequence(m, 1, 0, 10);
    sl_probe_metrics_tick(m, MS, 0);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 10);
    CHECK(page_pair(sdk, "kv_cache_usage_ratio") == 0);
    CHECK(page_value(sdk, "llamacpp_sequence_usage_ratio{host=\"0\",context=\"1\",sequence=\"0\"}") == 0);
    sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 2, .n_ctx = 100, .n_ctx_seq = -1, .n_seq_max = 4});
    sl_probe_metrics_sequence(m, 2, 1, 20);
    sl_probe_metrics_tick(m, MS, 0);
    CHECK_NEAR(page_value(sdk, "llamacpp_sequence_usage_ratio{host=\"0\",context=\"2\",sequence=\"1\"}"), .8);
    /* Not even how many there are: as many as have been seen share it. */
    sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 3, .n_ctx = 100, .n_ctx_seq = -1, .n_seq_max = -1});
    sl_probe_metrics_sequence(m, 3, 0, 20);
    sl_probe_metrics_sequence(m, 3, 1, 10);
    sl_probe_metrics_tick(m, MS, 0);
    CHECK_NEAR(page_value(sdk, "llamacpp_sequence_usage_ratio{host=\"0\",context=\"3\",sequence=\"0\"}"), .4);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 60);
    /* Work of an unknown context, and of an unknown model, has a name all the same. */
    sl_probe_metrics_token(m, 9, MS, NULL);
    CHECK(page_pair(sdk, "inter_token_latency_seconds_count{model=\"unknown\"}") == 1);
    page_end(sdk, m);
}

SL_TEST(names_of_models)
{
    static const struct {
        const char *path, *name;
    } cases[] = {
        {"/models/tiny.gguf", "tiny"},
        {"tiny.gguf", "tiny"},
        {"qwen.Q4_K_M.gguf", "qwen.Q4_K_M"},
        {"/m/big-00001-of-00003.gguf", "big"},
        {"/m/big-00001-of-0003.gguf", "big-00001-of-0003"},
        {"/m/-00001-of-00003.gguf", "-00001-of-00003"},
        {"/m/blob-without-end", "blob-without-end"},
        {"", "unknown"},
        {"/folder/", "unknown"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_sdk *sdk = page_sdk();
        sl_probe_metrics *m = NULL;
        REQUIRE(sl_probe_metrics_new(sdk, 0, &m) == 0);
        sl_probe_metrics_model(m, &(sl_probe_model_info){.model = 4, .path = sl_str_c(cases[i].path)});
        CHECK_STR(sl_probe_metrics_model_name(m, 4), cases[i].name);
        CHECK_STR(sl_probe_metrics_model_name(m, 0), "");
        sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 1, .model = 4});
        CHECK_STR(sl_probe_metrics_model_name(m, 0), cases[i].name);
        CHECK_STR(sl_probe_metrics_model_name(m, 5), "");
        sl_probe_metrics_free(m);
        sl_sdk_free(sdk);
    }
}

SL_TEST(loads_of_models)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, 0, &m) == 0);
    sl_probe_model_info info = {
        .model = 1, .path = SL_STR("a.gguf"), .description = SL_STR("llama F32"), .duration_ns = 2000u * MS};
    info.dry_run = true;
    sl_probe_metrics_model(m, &info);
    CHECK(page_value(sdk, "llamacpp_model_info{model=\"a\",description=\"llama F32\"}") == -1);
    sl_probe_metrics_model_freed(m, 1);
    info.dry_run = false;
    info.model = 2;
    info.size_bytes = 555136;
    sl_probe_metrics_model(m, &info);
    info.failed = true;
    info.model = 0;
    sl_probe_metrics_model(m, &info);
    info = (sl_probe_model_info){
        .model = 3, .path = SL_STR("a.gguf"), .description = SL_STR("llama F32"), .size_bytes = 555136, .found = true};
    sl_probe_metrics_model(m, &info); /* a child's: loaded by its parent */
    CHECK(page_value(sdk, "llamacpp_model_info{model=\"a\",description=\"llama F32\"}") == 1);
    sl_probe_metrics_model_freed(m, 3);
    CHECK(page_value(sdk, "llamacpp_model_load_seconds_count{model=\"a\",outcome=\"dry_run\"}") == 1);
    CHECK(page_value(sdk, "llamacpp_model_load_seconds_count{model=\"a\",outcome=\"failed\"}") == 1);
    CHECK(page_value(sdk, "llamacpp_model_load_seconds_sum{model=\"a\",outcome=\"ok\"}") == 2);
    CHECK(page_value(sdk, "llamastack_model_load_time_seconds_count{model=\"a\"}") == 1);
    CHECK(page_value(sdk, "llamastack_model_load_time_seconds_bucket{model=\"a\",le=\"2.5\"}") == 1);
    CHECK(page_has(sdk, SL_PROMETHEUS_TEXT, "llama_model_load_time_milliseconds_sum{"));
    CHECK(page_value(sdk, "llamacpp_model_info{model=\"a\",description=\"llama F32\"}") == 1);
    CHECK(page_value(sdk, "llamacpp_model_size_bytes{model=\"a\"}") == 555136);
    sl_probe_metrics_model_freed(m, 2);
    sl_probe_metrics_model_freed(m, 2);
    CHECK(page_value(sdk, "llamacpp_model_info{model=\"a\",description=\"llama F32\"}") == 0);
    page_end(sdk, m);
}

SL_TEST(memory_by_use_and_device)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, 0, &m) == 0);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_KV, SL_STR("CUDA0"), 524288);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_KV, SL_STR("CUDA0"), 512);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_KV, SL_STR("CUDA0"), -512);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_COMPUTE, SL_STR("CPU"), 1585184);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_OTHER, SL_STR(""), 8);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_COUNT, SL_STR("CPU"), 8);
    sl_probe_metrics_memory(m, SL_PROBE_MEMORY_WEIGHTS, SL_STR("a name that is a good deal too long to be kept"), 3);
    CHECK(page_value(sdk, "llamacpp_memory_bytes{type=\"kv\",device=\"CUDA0\"}") == 524288);
    CHECK(page_value(sdk, "llamacpp_memory_bytes{type=\"compute\",device=\"CPU\"}") == 1585184);
    CHECK(page_value(sdk, "llamacpp_memory_bytes{type=\"other\",device=\"unknown\"}") == 8);
    CHECK(page_value(sdk, "llamacpp_memory_bytes{type=\"weights\",device=\"a name that is a good deal too \"}") == 3);
    for (int i = 0; i < 2 * SL_PROBE_MAX_METRIC_DEVICES; i++) {
        char device[16];
        snprintf(device, sizeof device, "CUDA%d", i + 1);
        sl_probe_metrics_memory(m, SL_PROBE_MEMORY_KV, sl_str_c(device), 1);
    }
    sl_probe_metrics_free(m);
    CHECK(page_value(sdk, "llamacpp_memory_bytes{type=\"kv\",device=\"CUDA0\"}") == 0);
    CHECK(page_value(sdk, "llamacpp_memory_bytes{type=\"compute\",device=\"CPU\"}") == 0);
    sl_sdk_free(sdk);
}

SL_TEST(requests)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_probe_metrics_request_start(m);
    sl_probe_metrics_request_start(m);
    CHECK(page_value(sdk, "llama_requests_active") == 2);
    sl_probe_metrics_request_end(m, &(sl_probe_request_done){.method = SL_STR("POST"),
                                                             .route = SL_STR("/v1/chat/completions?x=1"),
                                                             .status = 200,
                                                             .streaming = true,
                                                             .context = 1,
                                                             .prompt_tokens = 20,
                                                             .completion_tokens = 11,
                                                             .draft_tokens = 8,
                                                             .drafts = 3,
                                                             .draft_accepted = 6,
                                                             .total_ns = 90 * MS,
                                                             .first_token_ns = 40 * MS,
                                                             .decode_ns = 50 * MS,
                                                             .correlation = SL_PROBE_CORRELATION_EXACT});
    sl_probe_metrics_request_end(
        m, &(sl_probe_request_done){
               .method = SL_STR("BREW"), .route = SL_STR("/secret/path"), .status = 404, .total_ns = MS});
    CHECK(page_value(sdk, "llama_requests_active") == 0);
    CHECK(page_value(sdk, "sightline_probe_requests_total{correlation=\"exact\"}") == 1);
    CHECK(page_value(sdk, "sightline_probe_requests_total{correlation=\"none\"}") == 1);
    CHECK_NEAR(page_pair(sdk, "e2e_request_latency_seconds_sum{model=\"tiny\"}"), .09);
    CHECK_NEAR(page_pair(sdk, "request_decode_time_seconds_sum{model=\"tiny\"}"), .05);
    CHECK(page_pair(sdk, "spec_decode_num_drafts_total") == 3);
    CHECK(page_pair(sdk, "spec_decode_num_draft_tokens_total") == 8);
    CHECK(page_pair(sdk, "spec_decode_num_accepted_tokens_total") == 6);
#define CHAT "{gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"llama.cpp\",gen_ai_request_model=\"tiny\"}"
    CHECK_NEAR(page_value(sdk, "gen_ai_server_request_duration_seconds_sum" CHAT), .09);
    CHECK_NEAR(page_value(sdk, "gen_ai_server_time_to_first_token_seconds_sum" CHAT), .04);
    CHECK_NEAR(page_value(sdk, "gen_ai_server_time_per_output_token_seconds_sum" CHAT), .005);
#undef CHAT
    CHECK_NEAR(page_value(sdk, "http_server_request_duration_seconds_sum{http_request_method=\"POST\",url_scheme="
                               "\"http\",http_response_status_code=\"200\",http_route=\"/v1/chat/completions\"}"),
               .09);
    CHECK(page_value(sdk, "http_server_request_duration_seconds_count{http_request_method=\"_OTHER\",http_response_"
                          "status_code=\"404\"}") == 1);
    char *text = page_text(sdk, SL_PROMETHEUS_TEXT);
    CHECK(text && !strstr(text, "secret"));
    free(text);
    page_end(sdk, m);
}

/* A host with a context for each chat: the series are those of the places that contexts had at once. */
SL_TEST(contexts_that_come_and_go_use_their_labels_again)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk); /* with one context */
    REQUIRE(m);
    for (uint32_t id = 10; id < 3000; id++) {
        sl_probe_metrics_context(m, &(sl_probe_context_info){.context = id, .n_ctx = 512, .n_seq_max = 1});
        sl_probe_metrics_sequence(m, id, 0, 100);
        sl_probe_metrics_context_freed(m, id);
    }
    sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 3000, .n_ctx = 256, .n_seq_max = 1});
    sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 3001, .n_ctx = 128, .n_seq_max = 1});
    CHECK(page_value(sdk, "llamacpp_context_size_tokens{host=\"0\",context=\"2\"}") == 256);
    CHECK(page_value(sdk, "llamacpp_context_size_tokens{host=\"0\",context=\"3\"}") == 128);
    char *text = page_text(sdk, SL_PROMETHEUS_TEXT);
    CHECK(text && !strstr(text, "context=\"4\"") && !strstr(text, "otel_metric_overflow"));
    free(text);
    page_end(sdk, m);
}

SL_TEST(errors_of_requests)
{
    static const struct {
        unsigned status;
        bool cancelled;
        const char *word, *http, *gen_ai;
    } cases[] = {
        {500, false, "", "500", "500"},
        {400, false, "", NULL, "400"},
        {200, true, "", "cancelled", "cancelled"},
        {0, true, "", "cancelled", "cancelled"},
        {503, false, "host_gone", "host_gone", "host_gone"},
        {200, false, "", NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_sdk *sdk = page_sdk();
        sl_probe_metrics *m = page_host(sdk);
        REQUIRE(m);
        sl_probe_metrics_request_start(m);
        sl_probe_metrics_request_end(m, &(sl_probe_request_done){.method = SL_STR("POST"),
                                                                 .route = SL_STR("/completion"),
                                                                 .status = cases[i].status,
                                                                 .cancelled = cases[i].cancelled,
                                                                 .error_type = sl_str_c(cases[i].word),
                                                                 .completion_tokens = 2,
                                                                 .decode_ns = MS,
                                                                 .first_token_ns = MS,
                                                                 .total_ns = 2 * MS});
        char want[64], *text = page_text(sdk, SL_PROMETHEUS_TEXT);
        REQUIRE(text);
        char *http = strstr(text, "http_server_request_duration_seconds_count{");
        char *gen = strstr(text, "gen_ai_server_request_duration_seconds_count{");
        REQUIRE(http && gen);
        http[strcspn(http, "\n")] = '\0';
        gen[strcspn(gen, "\n")] = '\0';
        snprintf(want, sizeof want, "error_type=\"%s\"", cases[i].http ? cases[i].http : "");
        CHECK_EQ(strstr(http, cases[i].http ? want : "error_type") != NULL, cases[i].http != NULL);
        snprintf(want, sizeof want, "error_type=\"%s\"", cases[i].gen_ai ? cases[i].gen_ai : "");
        CHECK_EQ(strstr(gen, cases[i].gen_ai ? want : "error_type") != NULL, cases[i].gen_ai != NULL);
        free(text);
        /* The time to a first token is that of successful answers. */
        CHECK_EQ(page_value(sdk, "gen_ai_server_time_to_first_token_seconds_count{gen_ai_request_model=\"tiny\"}") == 1,
                 cases[i].gen_ai == NULL);
        sl_probe_metrics_free(m);
        sl_sdk_free(sdk);
    }
}

SL_TEST(routes)
{
    static const struct {
        const char *path, *route, *operation;
    } cases[] = {
        {"/v1/chat/completions", "/v1/chat/completions", "chat"},
        {"/completion", "/completion", "text_completion"},
        {"/completion?a=b", "/completion", "text_completion"},
        {"/infill", "/infill", "text_completion"},
        {"/v1/embeddings", "/v1/embeddings", "embeddings"},
        {"/slots/3", "/slots/{id}", ""},
        {"/slots/3?action=save", "/slots/{id}", ""},
        {"/slots/", "", ""},
        {"/slots/3/x", "", ""},
        {"/health", "/health", ""},
        {"/", "/", ""},
        {"", "", ""},
        {"/completion/", "", ""},
        {"/Completion", "", ""},
        {"/index.html", "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_str route = sl_probe_route_known(sl_str_c(cases[i].path));
        CHECK_STR(route, cases[i].route);
        CHECK_STR(sl_probe_route_operation(route), cases[i].operation);
    }
}

SL_TEST(a_model_is_there_until_its_last_copy_is_freed)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *a = NULL, *b = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, 0, &a) == 0 && sl_probe_metrics_new(sdk, 0, &b) == 0);
    sl_probe_model_info info = {
        .model = 1, .path = SL_STR("a.gguf"), .description = SL_STR("llama F32"), .size_bytes = 555136};
    sl_probe_metrics_model(a, &info);
    info.model = 2;
    sl_probe_metrics_model(a, &info);
    info.model = 1;
    sl_probe_metrics_model(b, &info);
    sl_probe_metrics_model_freed(a, 1);
    CHECK(page_value(sdk, "llamacpp_model_info{model=\"a\",description=\"llama F32\"}") == 1);
    sl_probe_metrics_free(a);
    CHECK(page_value(sdk, "llamacpp_model_info{model=\"a\",description=\"llama F32\"}") == 1);
    CHECK(page_value(sdk, "llamacpp_model_size_bytes{model=\"a\"}") == 555136);
    sl_probe_metrics_free(b);
    sl_sdk_free(sdk);
}

SL_TEST(hosts_are_summed_and_leave)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *a = page_host(sdk), *b = page_host(sdk), *c = NULL;
    REQUIRE(a && b);
    sl_probe_metrics_load(a, 2, 5);
    sl_probe_metrics_load(b, 1, 3);
    sl_probe_metrics_load(a, 1, 4);
    sl_probe_metrics_sequence(a, 1, 0, 100);
    sl_probe_metrics_sequence(b, 1, 0, 200);
    sl_probe_metrics_request_start(a);
    CHECK(page_pair(sdk, "requests_processing") == 2);
    CHECK(page_pair(sdk, "requests_deferred") == 7);
    sl_probe_metrics_tick(a, 1000 * MS, 0);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 300);
    sl_probe_metrics_tick(b, 1000 * MS, 0);
    CHECK_NEAR(page_value(sdk, "llamacpp_context_usage_ratio"), 200 / 256.);
    CHECK(page_value(sdk, "llamacpp_context_tokens{host=\"1\",context=\"1\",model=\"tiny\"}") == 200);
    sl_probe_totals totals;
    CHECK(sl_probe_metrics_totals(sdk, &totals));
    CHECK(totals.hosts == 2 && totals.waiting == 7 && totals.busy == 2);
    sl_probe_metrics_free(a);
    CHECK(page_pair(sdk, "requests_processing") == 1);
    CHECK(page_pair(sdk, "requests_deferred") == 3);
    CHECK(page_pair(sdk, "kv_cache_tokens") == 200);
    CHECK(page_value(sdk, "sightline_probe_hosts") == 1);
    CHECK(page_value(sdk, "llama_requests_active") == 0);
    REQUIRE(sl_probe_metrics_new(sdk, 0, &c) == 0);
    CHECK_EQ(c->slot, 0); /* the number of the one that left */
    sl_probe_metrics_free(c);
    sl_probe_metrics_free(b);
    CHECK(!sl_probe_metrics_totals(sdk, &totals));
    CHECK(page_pair(sdk, "kv_cache_tokens") == 0);
    sl_sdk_free(sdk);
}

SL_TEST(rates_look_back_a_minute)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    const uint64_t second = 1000u * MS;
    sl_probe_metrics_tick(m, 100 * second, 0);
    sl_probe_metrics_prefill(m, &(sl_probe_prefill){.context = 1, .tokens = 300, .duration_ns = 100 * MS});
    for (int i = 0; i < 50; i++)
        sl_probe_metrics_token(m, 1, 4 * MS, NULL);
    sl_probe_metrics_tick(m, 101 * second, 0);
    CHECK_NEAR(page_pair(sdk, "prompt_tokens_seconds"), 3000);
    CHECK_NEAR(page_pair(sdk, "predicted_tokens_seconds"), 250);
    sl_probe_totals totals;
    CHECK(sl_probe_metrics_totals(sdk, &totals));
    CHECK_NEAR(totals.tokens_per_second, 10); /* 50 in five seconds of the clock */
    sl_probe_metrics_tick(m, 106 * second, 0);
    CHECK(sl_probe_metrics_totals(sdk, &totals));
    CHECK_NEAR(totals.tokens_per_second, 0);
    CHECK_NEAR(page_pair(sdk, "predicted_tokens_seconds"), 250);
    sl_probe_metrics_tick(m, 161 * second, 0);
    CHECK_NEAR(page_pair(sdk, "predicted_tokens_seconds"), 0);
    page_end(sdk, m);
}

SL_TEST(losses_and_memory_of_the_host)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, (uint32_t)getpid(), &m) == 0);
    sl_probe_metrics_events(m, 10, 0);
    sl_probe_metrics_events(m, 5, 2);
    sl_probe_metrics_tick(m, 1000 * MS, 3);
    sl_probe_metrics_tick(m, 1100 * MS, 3);
    sl_probe_metrics_tick(m, 1200 * MS, 7);
    CHECK(page_value(sdk, "sightline_probe_events_total") == 15);
    CHECK(page_value(sdk, "sightline_probe_events_dropped_total{reason=\"damaged\"}") == 2);
    CHECK(page_value(sdk, "sightline_probe_events_dropped_total{reason=\"ring_full\"}") == 7);
    sl_probe_totals totals;
    CHECK(sl_probe_metrics_totals(sdk, &totals));
    CHECK(totals.resident_bytes > 100000);
    CHECK(page_value(sdk, "llamacpp_resident_memory_bytes") == (double)totals.resident_bytes);
    sl_probe_metrics_free(m);
    CHECK(page_value(sdk, "llamacpp_resident_memory_bytes") == 0);
    sl_sdk_free(sdk);
}

SL_TEST(changes_of_sequences)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_probe_metrics_sequence_op(m, SL_PROBE_SEQ_ADD, 0);
    sl_probe_metrics_sequence_op(m, SL_PROBE_SEQ_SAVE, 4096);
    sl_probe_metrics_sequence_op(m, SL_PROBE_SEQ_SAVE, 4096);
    sl_probe_metrics_sequence_op(m, (sl_probe_seq_op)99, 1);
    CHECK(page_value(sdk, "llamacpp_sequence_operations_total{operation=\"shift\"}") == 1);
    CHECK(page_value(sdk, "llamacpp_sequence_operations_total{operation=\"save\"}") == 2);
    CHECK(page_value(sdk, "llamacpp_state_bytes_total{operation=\"save\"}") == 8192);
    page_end(sdk, m);
}

SL_TEST(exemplars_lead_to_the_trace)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = page_host(sdk);
    REQUIRE(m);
    sl_tracer *tracer = sl_tracer_named(sdk, "test");
    sl_span *span = sl_span_start(tracer, SL_STR("generate_tokens"), NULL);
    sl_span_context context;
    sl_span_get_context(span, &context);
    sl_probe_metrics_token(m, 1, 3 * MS, &context);
    sl_probe_metrics_prefill(m, &(sl_probe_prefill){.context = 1, .first_token_ns = MS, .span = &context});
    char *text = page_text(sdk, SL_PROMETHEUS_OPENMETRICS);
    REQUIRE(text);
    CHECK(strstr(text, "llamacpp:inter_token_latency_seconds_bucket{model=\"tiny\",le=\"0.005\"} 1 # {trace_id="));
    CHECK(strstr(text, "llamacpp_time_to_first_token_seconds_bucket{model=\"tiny\",le=\"0.001\"} 1 # {trace_id="));
    free(text);
    sl_span_end(span);
    page_end(sdk, m);
}

SL_TEST(everything_has_its_maximum)
{
    sl_sdk *sdk = page_sdk();
    sl_probe_metrics *m = NULL;
    REQUIRE(sl_probe_metrics_new(sdk, 0, &m) == 0);
    for (uint32_t i = 1; i <= 2 * SL_PROBE_MAX_METRIC_MODELS; i++) {
        char path[300];
        memset(path, 'x', sizeof path);
        snprintf(path, sizeof path, "model%u-%0*u", i, 200, i);
        sl_probe_metrics_model(m, &(sl_probe_model_info){.model = i, .path = sl_str_c(path)});
        sl_probe_metrics_context(
            m, &(sl_probe_context_info){.context = i, .model = i, .n_ctx = 10, .n_seq_max = i == 1 ? 100000 : 1});
    }
    CHECK_EQ(m->body->model_count, SL_PROBE_MAX_METRIC_MODELS);
    CHECK(strcmp(m->body->models[SL_PROBE_MAX_METRIC_MODELS - 1]->name, "other") == 0);
    CHECK_EQ(strlen(m->body->models[0]->name), SL_PROBE_MODEL_BYTES - 1);
    CHECK_EQ(m->contexts[0].sequence_count, SL_PROBE_MAX_METRIC_SEQUENCES);
    CHECK_EQ(m->body->capacity_tokens, 10 * SL_PROBE_MAX_METRIC_CONTEXTS);
    page_end(sdk, m);
}

SL_TEST(without_memory_nothing_breaks)
{
    sl_sdk *sdk = page_sdk();
    REQUIRE(sdk);
    for (long n = 0; n < 40; n++) {
        sl_test_fail_alloc(n);
        sl_probe_metrics *m = NULL;
        int error = sl_probe_metrics_new(sdk, 0, &m);
        if (!error) {
            sl_probe_metrics_model(m, &(sl_probe_model_info){.model = 1, .path = SL_STR("a.gguf")});
            sl_probe_metrics_context(m, &(sl_probe_context_info){.context = 1, .model = 1, .n_ctx = 8});
            sl_probe_metrics_token(m, 1, MS, NULL);
            sl_probe_metrics_sequence(m, 1, 0, 3);
            sl_probe_metrics_tick(m, MS, 0);
        }
        CHECK(error == 0 || error == SL_ENOMEM);
        sl_probe_metrics_free(m);
        sl_test_fail_alloc(-1);
    }
    sl_sdk_free(sdk);
}
