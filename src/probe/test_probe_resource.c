/* Models, contexts and backend memory: their spans, and what the metrics say of them. */
#include "src/probe/test_metrics_page.h"
#include "src/probe/test_probe_stream.h"
#include "tests/harness/sl_chance.h"

static stream s;

/* ---- models ---- */

static void load(uint32_t model, unsigned flags, uint64_t size_bytes, const char *path, const char *description)
{
    char texts[512];
    sl_probe_model_load e = {.start_ns = s.now, .model = model, .size_bytes = size_bytes, .n_params = 7, .splits = 1};
    int len = snprintf(texts, sizeof texts, "%s%c%s", path, 0, description);
    e.head.flags = (uint16_t)flags;
    e.head.count = (uint32_t)len + 1;
    stream_wait(&s, 2000);
    stream_put(&s, SL_PROBE_MODEL_LOAD, &e, sizeof e, texts, (size_t)len + 1);
}

static void unload(uint32_t model)
{
    sl_probe_model_free e = {.model = model};
    stream_put(&s, SL_PROBE_MODEL_FREE, &e, sizeof e, NULL, 0);
}

/* Whether a model is there that counts: not one that was loaded for measuring, and not one that failed. */
static bool model_shown(void)
{
    return page_value(s.sdk, "llamacpp_model_info{model=\"tiny\"}") > 0;
}

static bool context_shown(void)
{
    return page_value(s.sdk, "llamacpp_context_size_tokens{context=\"1\"}") > 0;
}

SL_TEST(quantisation_is_what_stands_behind_the_size)
{
    static const struct {
        const char *description, *quantisation; /* "": none is told */
    } rows[] = {
        {"llama 7B Q4_K - Medium", "Q4_K - Medium"},
        {"llama 0B F32", "F32"},
        {"qwen2 1.5B Q8_0", "Q8_0"},
        {"llama 1B all F32", "F32"},
        {"llama 1B (guessed) all F32", "F32"},
        {"llama 1B (guessed) Q2_K", "Q2_K"},
        {"llama 1B (guessed)", "(guessed)"},
        {"llama 1B ", ""},
        {"llama 1B", ""},
        {"llama", ""},
        {"", ""},
        {"llama 1B allQ4", "allQ4"},
    };
    REQUIRE(stream_open(&s));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        load((uint32_t)i + 1, 0, 100, "/m.gguf", rows[i].description);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        unload((uint32_t)i + 1);
    stream_close(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sl_otlp_span *span = stream_span(&s, "llama_model_load", i);
        CHECK_STR(stream_text(span, "model.description"), rows[i].description);
        CHECK_STR(stream_text(span, "model.quantization"), rows[i].quantisation);
    }
    stream_done(&s);
}

/* What a load leaves, by its flags: whether it is a dry run, failed, told at once, and counted as a model that is
 * there. */
SL_TEST(kinds_of_loads)
{
    static const struct {
        unsigned flags;
        bool spans, dry, failed, at_once, there;
    } rows[] = {
        {0, true, false, false, false, true},
        {SL_PROBE_MODEL_MMAP | SL_PROBE_MODEL_FLAGS_KNOWN, true, false, false, false, true},
        {SL_PROBE_MODEL_VOCAB_ONLY | SL_PROBE_MODEL_FLAGS_KNOWN, true, false, false, true, true},
        {SL_PROBE_MODEL_NO_ALLOC, true, true, false, true, false},
        {SL_PROBE_MODEL_FAILED, true, false, true, true, false},
        {SL_PROBE_MODEL_FAILED | SL_PROBE_MODEL_MMAP, true, false, true, true, false},
        {SL_PROBE_MODEL_FOUND, false, false, false, true, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        REQUIRE(stream_open(&s));
        load(1, rows[i].flags, 1000, "/models/tiny.gguf", "llama 1B F32");
        CHECK_EQ(model_shown(), rows[i].at_once && rows[i].there);
        stream_wait(&s, 6000000); /* longer than it is left open what kind of load it was */
        stream_tick(&s);
        CHECK_EQ(model_shown(), rows[i].there);
        unload(1);
        CHECK_EQ(model_shown(), false);
        unload(1); /* once more does nothing */
        stream_close(&s);
        const sl_otlp_span *span = stream_span(&s, "llama_model_load", 0);
        CHECK_EQ(span != NULL, rows[i].spans);
        CHECK_EQ(stream_spans(&s, "llama_model_load"), rows[i].spans);
        CHECK_EQ(stream_true(span, "llama.dry_run"), rows[i].dry);
        CHECK_EQ(span && span->status_code == SL_STATUS_ERROR, rows[i].failed);
        if (span) /* its end is that of the load, however late it was told */
            CHECK_EQ(span->end_ns - span->start_ns, 2000000);
        stream_done(&s);
    }
}

/* What is mapped is the file without what was copied into memory of a device; only the map of a true load counts. */
SL_TEST(mapped_weights)
{
    static const struct {
        unsigned flags;
        uint64_t size, weights;
        double mapped; /* -1: nothing is said */
    } rows[] = {
        {SL_PROBE_MODEL_MMAP, 1000, 0, 1000},
        {SL_PROBE_MODEL_MMAP, 1000, 400, 600},
        {SL_PROBE_MODEL_MMAP, 1000, 1000, -1},
        {SL_PROBE_MODEL_MMAP, 1000, 1001, -1},
        {SL_PROBE_MODEL_MMAP, 0, 0, -1},
        {0, 1000, 0, -1},
        {SL_PROBE_MODEL_MMAP | SL_PROBE_MODEL_FAILED, 1000, 0, -1},
        {SL_PROBE_MODEL_MMAP | SL_PROBE_MODEL_NO_ALLOC, 1000, 0, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *series = "llamacpp_memory_bytes{type=\"weights\",device=\"mmap\"}";
        sl_probe_model_load e = {.model = 1, .size_bytes = rows[i].size, .weights_bytes = rows[i].weights, .splits = 1};
        REQUIRE(stream_open(&s));
        e.start_ns = s.now;
        e.head.flags = (uint16_t)rows[i].flags;
        e.head.count = 3;
        stream_put(&s, SL_PROBE_MODEL_LOAD, &e, sizeof e, "m\0", 3);
        stream_wait(&s, 6000000);
        stream_tick(&s);
        CHECK(page_value(s.sdk, series) == rows[i].mapped);
        unload(1);
        CHECK(page_value(s.sdk, series) == (rows[i].mapped < 0 ? -1 : 0));
        stream_done(&s);
    }
}

SL_TEST(as_many_models_as_the_limit)
{
    REQUIRE(stream_open(&s));
    for (uint32_t i = 1; i <= SL_PROBE_MAX_MODELS; i++)
        load(i, 0, 10, "/m.gguf", "llama 1B F32");
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK_EQ(s.stats.left_out, 0);
    load(SL_PROBE_MAX_MODELS + 1, 0, 10, "/m.gguf", "llama 1B F32");
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK_EQ(s.stats.left_out, 1);
    unload(SL_PROBE_MAX_MODELS + 1); /* was not kept */
    unload(1);
    load(SL_PROBE_MAX_MODELS + 2, 0, 10, "/m.gguf", "llama 1B F32"); /* in the place that is free now */
    stream_close(&s);
    CHECK_EQ(s.stats.left_out, 1);
    CHECK_EQ(stream_spans(&s, "llama_model_load"), SL_PROBE_MAX_MODELS + 1);
    stream_done(&s);
}

/* ---- contexts ---- */

static void context_of(sl_probe_context_new e)
{
    e.start_ns = s.now;
    stream_wait(&s, 500);
    stream_put(&s, SL_PROBE_CONTEXT_NEW, &e, sizeof e, NULL, 0);
}

static void context_free(uint32_t context)
{
    sl_probe_context_free e = {.context = context};
    stream_put(&s, SL_PROBE_CONTEXT_FREE, &e, sizeof e, NULL, 0);
}

/* What the making of a context leaves. */
SL_TEST(kinds_of_contexts)
{
    static const struct {
        unsigned flags;
        uint64_t kv, compute;
        bool spans, dry, failed, bytes, there;
    } rows[] = {
        {0, 100, 300, true, false, false, true, true},
        {0, 0, 300, true, false, false, true, true},
        {0, 0, 0, true, true, false, true, false},
        {SL_PROBE_CONTEXT_NO_BYTES, 0, 0, true, false, false, false, true},
        {SL_PROBE_CONTEXT_FAILED, 0, 0, true, false, true, true, false},
        {SL_PROBE_CONTEXT_FAILED, 100, 300, true, false, true, true, false},
        {SL_PROBE_CONTEXT_FOUND, 100, 300, false, false, false, false, true},
        {SL_PROBE_CONTEXT_FOUND | SL_PROBE_CONTEXT_NO_BYTES, 0, 0, false, false, false, false, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        REQUIRE(stream_open(&s));
        sl_probe_context_new e = {.context = 1, .kv_bytes = rows[i].kv, .compute_bytes = rows[i].compute, .n_ctx = 256};
        e.n_ctx_seq = 64, e.n_batch = e.n_ubatch = -1, e.n_seq_max = 2;
        e.head.flags = (uint16_t)rows[i].flags;
        context_of(e);
        CHECK_EQ(context_shown(), rows[i].there);
        context_free(1);
        CHECK_EQ(context_shown(), false);
        context_free(1);
        stream_close(&s);
        const sl_otlp_span *span = stream_span(&s, "llama_new_context_with_model", 0);
        CHECK_EQ(span != NULL, rows[i].spans);
        CHECK_EQ(stream_true(span, "llama.dry_run"), rows[i].dry);
        CHECK_EQ(span && span->status_code == SL_STATUS_ERROR, rows[i].failed);
        CHECK_EQ(stream_int(span, "context.kv_bytes"), rows[i].bytes ? (int64_t)rows[i].kv : -1);
        CHECK_EQ(stream_int(span, "context.n_batch"), -1); /* what is not known is not told */
        CHECK_EQ(stream_int(span, "context.n_ctx_seq"), span ? 64 : -1);
        stream_done(&s);
    }
}

/* A dry run of a context says that its model was loaded for measuring only; a true one says that it was not. */
SL_TEST(the_first_context_tells_what_a_load_was_for)
{
    for (int dry = 0; dry < 2; dry++) {
        REQUIRE(stream_open(&s));
        load(1, 0, 1000, "/models/tiny.gguf", "llama 1B F32");
        stream_context_kv(&s, 1, 1, dry ? 0 : 4096);
        stream_context_kv(&s, 2, 1, 4096); /* settled: the second one changes nothing */
        CHECK_EQ(model_shown(), !dry);
        unload(1);
        stream_close(&s);
        CHECK_EQ(stream_true(stream_span(&s, "llama_model_load", 0), "llama.dry_run"), dry);
        CHECK_STR(stream_text(stream_span(&s, "llama_new_context_with_model", 1), "gen_ai.request.model"), "tiny");
        stream_done(&s);
    }
}

SL_TEST(as_many_contexts_as_the_limit)
{
    REQUIRE(stream_open(&s));
    for (uint32_t i = 1; i <= SL_PROBE_MAX_CONTEXTS; i++)
        stream_context_kv(&s, i, 0, 4096);
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK_EQ(s.stats.left_out, 0);
    stream_context_kv(&s, SL_PROBE_MAX_CONTEXTS + 1, 0, 4096);
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK_EQ(s.stats.left_out, 1);
    stream_context_kv(&s, 3, 0, 8192); /* an id that is used again is the new context, in the old one's place */
    context_free(1);
    stream_context_kv(&s, SL_PROBE_MAX_CONTEXTS + 2, 0, 4096);
    stream_close(&s);
    CHECK_EQ(s.stats.left_out, 1);
    stream_done(&s);
}

/* ---- memory ---- */

static const char *const uses[] = {"weights", "kv", "compute", "output", "other"};
#define USES 5
static const char *const devices[] = {"CPU", "CUDA0", "CUDA1"};
#define DEVICES 3

static void buffer(int64_t bytes, unsigned phase, uint32_t owner, const char *device)
{
    sl_probe_buffer e = {.bytes = bytes, .owner = owner, .phase = phase};
    e.head.count = (uint32_t)strlen(device) + 1;
    stream_put(&s, SL_PROBE_BUFFER, &e, sizeof e, device, strlen(device) + 1);
}

/* Bytes of a use on a device; 0 also when it is not shown. */
static int64_t shown(const char *use, const char *device)
{
    char series[128];
    (void)snprintf(series, sizeof series, "llamacpp_memory_bytes{type=\"%s\",device=\"%s\"}", use, device);
    double value = page_value(s.sdk, series);
    return value < 0 ? 0 : (int64_t)value;
}

/* Buffers of a context in the order in which they came, and what each of them is for. */
SL_TEST(buffers_get_their_use_by_their_sizes)
{
    static const struct {
        uint64_t kv, compute, output;
        struct {
            int64_t bytes;
            const char *device, *use;
        } buffers[6];
    } rows[] = {
        {100, 300, 50, {{100, "CPU", "kv"}, {300, "CPU", "compute"}, {50, "CPU", "output"}}},
        {100, 300, 50, {{300, "CPU", "compute"}, {50, "CPU", "output"}, {100, "CPU", "kv"}}},
        {100, 300, 50, {{60, "CUDA0", "kv"}, {40, "CUDA1", "kv"}, {300, "CUDA0", "compute"}, {50, "CPU", "output"}}},
        {100, 320, 0, {{60, "CUDA0", "kv"}, {40, "CUDA1", "kv"}, {300, "CUDA0", "compute"}, {20, "CPU", "compute"}}},
        {1000,
         90,
         8,
         {{500, "CUDA0", "kv"},
          {500, "CUDA1", "kv"},
          {80, "CUDA0", "compute"},
          {10, "CPU", "compute"},
          {8, "CPU", "output"}}},
        {100, 300, 50, {{700, "CPU", "other"}, {100, "CPU", "kv"}}}, /* larger than anything that is known */
        {0, 0, 0, {{5, "CPU", "other"}}},
        {100, 100, 0, {{100, "CPU", "kv"}, {100, "CUDA0", "compute"}}}, /* equal ones: the first is the cache */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t want[USES][DEVICES] = {{0}};
        REQUIRE(stream_open(&s));
        for (size_t k = 0; k < 6 && rows[i].buffers[k].bytes; k++) {
            buffer(rows[i].buffers[k].bytes, SL_PROBE_PHASE_CONTEXT, 0, rows[i].buffers[k].device);
            for (size_t u = 0; u < USES; u++) {
                for (size_t d = 0; d < DEVICES; d++) {
                    if (!strcmp(uses[u], rows[i].buffers[k].use) && !strcmp(devices[d], rows[i].buffers[k].device))
                        want[u][d] += rows[i].buffers[k].bytes;
                }
            }
            CHECK_EQ(shown(rows[i].buffers[k].use, rows[i].buffers[k].device), 0); /* not known before the context is */
        }
        sl_probe_context_new e = {
            .context = 1, .kv_bytes = rows[i].kv, .compute_bytes = rows[i].compute, .output_bytes = rows[i].output};
        context_of(e);
        for (size_t u = 0; u < USES; u++) {
            for (size_t d = 0; d < DEVICES; d++) {
                if (shown(uses[u], devices[d]) != want[u][d])
                    sl_test_failed(__FILE__, __LINE__, "row %zu, %s on %s: %lld, not %lld", i, uses[u], devices[d],
                                   (long long)shown(uses[u], devices[d]), (long long)want[u][d]);
            }
        }
        for (size_t k = 0; k < 6 && rows[i].buffers[k].bytes; k++)
            buffer(-rows[i].buffers[k].bytes, SL_PROBE_PHASE_CONTEXT, 1, rows[i].buffers[k].device);
        for (size_t u = 0; u < USES; u++) {
            for (size_t d = 0; d < DEVICES; d++)
                CHECK_EQ(shown(uses[u], devices[d]), 0);
        }
        stream_done(&s);
    }
}

/* Buffers of two contexts that are made one after the other are not mixed up, and those of a model are its weights. */
SL_TEST(buffers_belong_to_whom_they_were_taken_for)
{
    REQUIRE(stream_open(&s));
    buffer(100, SL_PROBE_PHASE_CONTEXT, 1, "CPU");
    buffer(200, SL_PROBE_PHASE_CONTEXT, 2, "CPU");
    buffer(1000, SL_PROBE_PHASE_MODEL, 1, "CPU");
    buffer(7, SL_PROBE_PHASE_OTHER, 0, "CPU");
    CHECK_EQ(shown("weights", "CPU"), 1000);
    CHECK_EQ(shown("other", "CPU"), 7);
    context_of((sl_probe_context_new){.context = 1, .kv_bytes = 100});
    CHECK_EQ(shown("kv", "CPU"), 100);
    context_of((sl_probe_context_new){.context = 2, .kv_bytes = 200});
    CHECK_EQ(shown("kv", "CPU"), 300);
    buffer(-200, SL_PROBE_PHASE_CONTEXT, 2, "CPU");
    CHECK_EQ(shown("kv", "CPU"), 100);
    buffer(-100, SL_PROBE_PHASE_OTHER, 0, "CPU"); /* whoever gives it back: the only one of that size */
    CHECK_EQ(shown("kv", "CPU"), 0);
    buffer(-100, SL_PROBE_PHASE_CONTEXT, 1, "CPU"); /* there is none any more */
    CHECK_EQ(shown("kv", "CPU"), 0);
    buffer(0, SL_PROBE_PHASE_MODEL, 1, "CPU");
    buffer(INT64_MIN, SL_PROBE_PHASE_MODEL, 1, "CPU");
    CHECK_EQ(shown("weights", "CPU"), 1000);
    stream_done(&s);
}

/* However often memory is taken and given back by owners and devices, what is shown is what is there. */
SL_TEST(memory_by_chance_against_a_sum)
{
    struct {
        int64_t bytes;
        unsigned phase;
        size_t device;
    } live[200];
    size_t count = 0;
    uint64_t chance = 4;
    int64_t want[2][DEVICES] = {{0}}; /* weights, other */
    REQUIRE(stream_open(&s));
    for (int i = 0; i < 3000; i++) {
        if (count < 200 && sl_chance(&chance, 2)) {
            unsigned phase = sl_chance(&chance, 2) ? SL_PROBE_PHASE_MODEL : SL_PROBE_PHASE_OTHER;
            live[count].bytes = 1 + (int64_t)sl_chance(&chance, 8); /* the same sizes over and over */
            live[count].phase = phase;
            live[count].device = sl_chance(&chance, DEVICES);
            buffer(live[count].bytes, phase, phase, devices[live[count].device]);
            want[phase == SL_PROBE_PHASE_OTHER][live[count].device] += live[count].bytes;
            count++;
        } else if (count) {
            size_t k = sl_chance(&chance, (unsigned)count);
            buffer(-live[k].bytes, live[k].phase, live[k].phase, devices[live[k].device]);
            want[live[k].phase == SL_PROBE_PHASE_OTHER][live[k].device] -= live[k].bytes;
            live[k] = live[--count];
        }
        for (size_t d = 0; i % 100 == 0 && d < DEVICES; d++) {
            CHECK_EQ(shown("weights", devices[d]), want[0][d]);
            CHECK_EQ(shown("other", devices[d]), want[1][d]);
        }
    }
    stream_done(&s);
}

SL_TEST(as_many_buffers_as_the_limit)
{
    REQUIRE(stream_open(&s));
    for (unsigned i = 0; i < SL_PROBE_MAX_BUFFERS; i++)
        buffer(3, SL_PROBE_PHASE_MODEL, 1, "CPU");
    CHECK_EQ(shown("weights", "CPU"), 3 * SL_PROBE_MAX_BUFFERS);
    buffer(3, SL_PROBE_PHASE_MODEL, 1, "CPU");
    sl_probe_assembler_get_stats(s.assembler, &s.stats);
    CHECK_EQ(s.stats.left_out, 1);
    CHECK_EQ(shown("weights", "CPU"), 3 * SL_PROBE_MAX_BUFFERS);
    for (unsigned i = 0; i <= SL_PROBE_MAX_BUFFERS; i++)
        buffer(-3, SL_PROBE_PHASE_MODEL, 1, "CPU"); /* one more than were kept */
    CHECK_EQ(shown("weights", "CPU"), 0);
    stream_done(&s);
}
