/*
 * A fake libllama: the functions that the probe takes the place of, with the types they really have. It checks every
 * argument, and answers numbers that depend on them. FAKE_OLD: the names of 2024; else those of 2026, where the old
 * ones call the new ones. FAKE_FAST: nothing but the answer, for measuring.
 *
 * A decode batch with a negative token is refused; one whose first token is 666 fails, 667 calls fake_throw (which a
 * C++ host may set), 668 sleeps.
 */
#include "fake_llama.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC 0x11a3a3a11a3a3a11ull
#ifndef FAKE_SALT
#define FAKE_SALT 0
#endif

struct llama_model {
    uint64_t magic;
    void *weights;
};
struct llama_memory_i {
    uint64_t magic;
    int32_t sum;
};
struct llama_context {
    uint64_t magic;
    struct llama_memory_i memory;
    void *buffers[3];
    float logits[8];
    int32_t last;
};
struct llama_sampler {
    uint64_t magic;
    int32_t inner;
};
struct llama_batch_ext {
    uint64_t magic;
    int32_t n, sum;
};

void *ggml_backend_buft_alloc_buffer(const char *type, size_t size);
void *ggml_backend_alloc_ctx_tensors_from_buft(size_t *tensors, const char *type);
void *ggml_backend_dev_buffer_from_host_ptr(const char *device, void *ptr, size_t size, size_t max);
void ggml_backend_buffer_free(void *buffer);
void *fake_reserve(const char *type, size_t size);

__attribute__((visibility("default"))) void (*fake_throw)(void);
#ifdef FAKE_FAST
static unsigned long calls;
#else
static _Atomic unsigned long calls;
#endif

/* Every function counts, and changes errno as real ones may. */
static void called(const void *object, uint64_t magic)
{
    calls++;
    errno = 1000 + FAKE_SALT;
#ifndef FAKE_FAST
    if (object && magic != MAGIC) {
        static const char text[] = "fake: what came in is not what was given\n";
        (void)!write(2, text, sizeof text - 1);
        abort();
    }
#else
    (void)object;
    (void)magic;
#endif
}
#define CALLED(object) called((object), (object)->magic)
/* A question that changes nothing: whoever asks is not counted. */
#define ASKED(object) (CALLED(object), calls--)

unsigned long fake_calls(void)
{
    return calls;
}

llama_model_params fake_model_params(void)
{
    llama_model_params p = {.flags = {false, true, false, true, false}};
    for (uint64_t i = 0; i < 9; i++)
        p.pattern[i] = 0xabcdef00u + i * 0x0101010101u;
    return p;
}

llama_context_params fake_context_params(void)
{
    llama_context_params p = {.flags = {true, true, false, true, false, true}};
    for (uint64_t i = 0; i < 17; i++)
        p.pattern[i] = 0x123456789u * (i + 1);
    return p;
}

#ifndef FAKE_OLD /* has none: how long parameters are cannot be told there */
llama_model_params llama_model_default_params(void)
{
    return fake_model_params();
}

llama_context_params llama_context_default_params(void)
{
    return fake_context_params();
}
#endif

static bool model_params_arrived(const llama_model_params *p)
{
    llama_model_params want = fake_model_params();
    return memcmp(p->pattern, want.pattern, sizeof want.pattern) == 0 && memcmp(p->flags, want.flags, 5) == 0;
}

void llama_backend_init(void)
{
    called(NULL, 0);
}

static llama_model *load(const char *path, const llama_model_params *params)
{
    called(NULL, 0);
    if (!model_params_arrived(params) || !path || strstr(path, "missing"))
        return NULL;
    llama_model *m = calloc(1, sizeof *m);
    m->magic = MAGIC;
    m->weights = strstr(path, "mapped") ? ggml_backend_dev_buffer_from_host_ptr("CPU_Mapped", m, 5000, 100)
                                        : ggml_backend_buft_alloc_buffer("CPU", strstr(path, "dry") ? 0 : 4000);
    return m;
}

#ifdef FAKE_OLD
llama_model *llama_load_model_from_file(const char *path, llama_model_params params)
{
    return load(path, &params);
}
void llama_free_model(llama_model *model)
{
    CALLED(model);
    ggml_backend_buffer_free(model->weights);
    free(model);
}
int32_t llama_n_ctx_train(const llama_model *model)
{
    ASKED(model);
    return 4096;
}
#else
llama_model *llama_model_load_from_file(const char *path, llama_model_params params)
{
    return load(path, &params);
}
llama_model *llama_load_model_from_file(const char *path, llama_model_params params)
{
    return llama_model_load_from_file(path, params);
}
llama_model *llama_model_load_from_splits(const char **paths, size_t count, llama_model_params params)
{
    return count ? load(paths[0], &params) : NULL;
}
llama_model *llama_model_load_from_file_ptr(FILE *file, llama_model_params params)
{
    return file ? load("file pointer", &params) : NULL;
}
llama_model *llama_model_init_from_user(void *metadata, void (*set)(void), void *user, llama_model_params params)
{
    return metadata && set && user ? load("user", &params) : NULL;
}
void llama_model_free(llama_model *model)
{
    CALLED(model);
    ggml_backend_buffer_free(model->weights);
    free(model);
}
void llama_free_model(llama_model *model)
{
    llama_model_free(model);
}
int32_t llama_model_n_ctx_train(const llama_model *model)
{
    ASKED(model);
    return 4096;
}
int32_t llama_model_n_layer(const llama_model *model)
{
    ASKED(model);
    return 2;
}
int32_t llama_model_n_embd(const llama_model *model)
{
    ASKED(model);
    return 64;
}
#endif

uint64_t llama_model_n_params(const llama_model *model)
{
    ASKED(model);
    return 135744;
}
uint64_t llama_model_size(const llama_model *model)
{
    ASKED(model);
    return 542976;
}
int32_t llama_model_desc(const llama_model *model, char *text, size_t size)
{
    ASKED(model);
    return snprintf(text, size, "fake %d", FAKE_SALT);
}

static llama_context *make_context(llama_model *model, const llama_context_params *params)
{
    llama_context_params want = fake_context_params();
    size_t tensors = 300;
    CALLED(model);
    if (memcmp(params->pattern, want.pattern, sizeof want.pattern) != 0 || memcmp(params->flags, want.flags, 6) != 0)
        return NULL;
    llama_context *c = calloc(1, sizeof *c);
    c->magic = c->memory.magic = MAGIC;
    c->buffers[0] = ggml_backend_buft_alloc_buffer("CPU", 10);
    c->buffers[1] = ggml_backend_alloc_ctx_tensors_from_buft(&tensors, "CPU");
    c->buffers[2] = fake_reserve("CPU", 2000);
    return c;
}

llama_context *llama_new_context_with_model(llama_model *model, llama_context_params params)
#ifdef FAKE_OLD
{
    return make_context(model, &params);
}
#else
{
    return llama_init_from_model(model, params);
}
llama_context *llama_init_from_model(llama_model *model, llama_context_params params)
{
    return make_context(model, &params);
}
#endif

void llama_free(llama_context *context)
{
    if (!context)
        return;
    CALLED(context);
    for (int i = 0; i < 3; i++)
        ggml_backend_buffer_free(context->buffers[i]);
    free(context);
}

uint32_t llama_n_ctx(const llama_context *context)
{
    ASKED(context);
    return 2048;
}
uint32_t llama_n_batch(const llama_context *context)
{
    ASKED(context);
    return 512;
}

static int32_t compute(llama_context *context, const llama_batch *batch)
{
    CALLED(context);
#ifndef FAKE_FAST
    if (batch->n_tokens <= 0)
        return -1;
    int32_t sum = FAKE_SALT;
    for (int32_t i = 0; i < batch->n_tokens; i++) {
        if (batch->token && batch->token[i] < 0)
            return -1;
        sum += batch->token ? batch->token[i] : (int32_t)batch->embd[i];
        sum += batch->pos ? batch->pos[i] : 0;
        for (int32_t s = 0; batch->seq_id && s < batch->n_seq_id[i]; s++)
            sum += batch->seq_id[i][s];
        sum += batch->logits ? batch->logits[i] : 0;
    }
    context->last = sum;
    if (batch->token && batch->token[0] == 667 && fake_throw)
        fake_throw();
    if (batch->token && batch->token[0] == 668)
        (void)usleep(20000);
    errno = 2000 + FAKE_SALT;
    return batch->token && batch->token[0] == 666 ? 1 : 0;
#else
    context->last = batch->n_tokens;
    return 0;
#endif
}

int32_t llama_decode(llama_context *context, llama_batch batch)
{
    return compute(context, &batch);
}
int32_t llama_encode(llama_context *context, llama_batch batch)
{
    return compute(context, &batch);
}

void llama_synchronize(llama_context *context)
{
    CALLED(context);
}
float *llama_get_logits(llama_context *context)
{
    CALLED(context);
    return context->logits;
}
float *llama_get_logits_ith(llama_context *context, int32_t row)
{
    CALLED(context);
    context->logits[0] = (float)(context->last + row);
    return context->logits;
}
float *llama_get_embeddings_seq(llama_context *context, int32_t seq)
{
    CALLED(context);
    return seq ? NULL : context->logits;
}
int32_t llama_get_sampled_token_ith(llama_context *context, int32_t row)
{
    CALLED(context);
    return row == 0 ? -1 : 70 + row;
}

static bool remove_part(struct llama_memory_i *memory, int32_t seq, int32_t p0, int32_t p1)
{
    CALLED(memory);
    memory->sum = memory->sum * 31 + seq + p0 * 3 + p1 * 7;
    return seq != 99;
}

#ifdef FAKE_OLD
void llama_kv_cache_clear(llama_context *context)
{
    CALLED(context);
}
bool llama_kv_cache_seq_rm(llama_context *context, int32_t seq, int32_t p0, int32_t p1)
{
    return remove_part(&context->memory, seq, p0, p1);
}
#else
llama_memory_t llama_get_memory(const llama_context *context)
{
    ASKED(context);
    return (llama_memory_t)&context->memory;
}
void llama_memory_clear(llama_memory_t memory, bool data)
{
    CALLED(memory);
    memory->sum = data;
}
bool llama_memory_seq_rm(llama_memory_t memory, int32_t seq, int32_t p0, int32_t p1)
{
    return remove_part(memory, seq, p0, p1);
}
void llama_memory_seq_cp(llama_memory_t memory, int32_t seq, int32_t to, int32_t p0, int32_t p1)
{
    CALLED(memory);
    memory->sum = memory->sum * 31 + seq + to * 2 + p0 * 3 + p1 * 7;
}
void llama_memory_seq_keep(llama_memory_t memory, int32_t seq)
{
    CALLED(memory);
    memory->sum = memory->sum * 31 + seq;
}
void llama_memory_seq_add(llama_memory_t memory, int32_t seq, int32_t p0, int32_t p1, int32_t delta)
{
    CALLED(memory);
    memory->sum = memory->sum * 31 + seq + p0 + p1 + delta;
}
void llama_memory_seq_div(llama_memory_t memory, int32_t seq, int32_t p0, int32_t p1, int32_t d)
{
    CALLED(memory);
    memory->sum = memory->sum * 31 + seq + p0 + p1 + d;
}
bool llama_kv_self_seq_rm(llama_context *context, int32_t seq, int32_t p0, int32_t p1)
{
    return llama_memory_seq_rm(llama_get_memory(context), seq, p0, p1);
}
bool llama_kv_cache_seq_rm(llama_context *context, int32_t seq, int32_t p0, int32_t p1)
{
    return llama_kv_self_seq_rm(context, seq, p0, p1);
}
int32_t fake_memory_sum(const llama_context *context)
{
    return context->memory.sum;
}
#endif

size_t llama_state_seq_get_data(llama_context *context, uint8_t *to, size_t size, int32_t seq)
{
    CALLED(context);
    if (size)
        to[0] = (uint8_t)seq;
    return size;
}
size_t llama_state_seq_set_data(llama_context *context, const uint8_t *from, size_t size, int32_t seq)
{
    CALLED(context);
    return size && from[0] == seq ? size : 0;
}
#ifndef FAKE_OLD
size_t llama_state_seq_get_data_ext(llama_context *context, uint8_t *to, size_t size, int32_t seq, uint32_t flags)
{
    return flags == 5 ? llama_state_seq_get_data(context, to, size, seq) : 0;
}
#endif
bool llama_state_load_file(llama_context *context, const char *path, int32_t *tokens, size_t room, size_t *count)
{
    CALLED(context);
    *count = room ? 1 : 0;
    tokens[0] = path[0];
    return true;
}
bool llama_state_save_file(llama_context *context, const char *path, const int32_t *tokens, size_t count)
{
    CALLED(context);
    return path && tokens && count == 3;
}

llama_sampler *llama_sampler_chain_init(llama_sampler_chain_params params)
{
    called(NULL, 0);
    llama_sampler *s = calloc(1, sizeof *s);
    s->magic = MAGIC;
    s->inner = params.no_perf ? 2 : 1;
    return s;
}
llama_sampler *llama_sampler_clone(const llama_sampler *sampler)
{
    CALLED(sampler);
    llama_sampler *s = calloc(1, sizeof *s);
    *s = *sampler;
    return s;
}
void llama_sampler_free(llama_sampler *sampler)
{
    CALLED(sampler);
    free(sampler);
}
void llama_sampler_apply(llama_sampler *sampler, llama_token_data_array *candidates)
{
    CALLED(sampler);
    candidates->selected = (int64_t)candidates->size - sampler->inner;
}
int32_t llama_sampler_sample(llama_sampler *sampler, llama_context *context, int32_t row)
{
    llama_token_data data[3] = {{7, 0, 0}, {8, 0, 0}, {9, 0, 0}};
    llama_token_data_array all = {data, 3, -1, false};
    (void)llama_get_logits_ith(context, row);
    llama_sampler_apply(sampler, &all);
    return all.data[all.selected].id;
}

#ifndef FAKE_OLD
llama_batch_ext *llama_batch_ext_init(llama_context *context)
{
    CALLED(context);
    llama_batch_ext *b = calloc(1, sizeof *b);
    b->magic = MAGIC;
    return b;
}
void llama_batch_ext_free(llama_batch_ext *batch)
{
    CALLED(batch);
    free(batch);
}
void llama_batch_ext_clear(llama_batch_ext *batch)
{
    CALLED(batch);
    batch->n = batch->sum = 0;
}
int32_t llama_batch_ext_add(llama_batch_ext *batch, int32_t seq)
{
    CALLED(batch);
    batch->sum += seq;
    return batch->n++;
}
int32_t llama_batch_ext_add_token(llama_batch_ext *batch, int32_t seq, int32_t token)
{
    CALLED(batch);
    if (token < 0)
        return -2;
    batch->sum += seq + token;
    return batch->n++;
}
int32_t llama_batch_ext_add_embd(llama_batch_ext *batch, int32_t seq, llama_embd embd)
{
    CALLED(batch);
    batch->sum += seq + (int32_t)(embd.n_rows * 10 + embd.n_embd) + (int32_t)embd.data[0];
    return batch->n++;
}
bool llama_batch_ext_add_seq(llama_batch_ext *batch, int32_t index, int32_t seq)
{
    CALLED(batch);
    batch->sum += index * 3 + seq;
    return index < batch->n;
}
bool llama_batch_ext_set_pos(llama_batch_ext *batch, int32_t index, const int32_t *pos)
{
    CALLED(batch);
    batch->sum += *pos;
    return index < batch->n;
}
bool llama_batch_ext_set_output_logits(llama_batch_ext *batch, int32_t index, bool value)
{
    CALLED(batch);
    batch->sum += value;
    return index < batch->n;
}
bool llama_batch_ext_set_output_embd(llama_batch_ext *batch, int32_t index, bool value)
{
    CALLED(batch);
    batch->sum += 2 * value;
    return index < batch->n;
}
int32_t llama_process(llama_context *context, int32_t type, llama_batch_ext *batch)
{
    CALLED(context);
    CALLED(batch);
    context->last = batch->sum;
    return type <= 1 ? 0 : -1;
}
#endif

int32_t llama_tokenize(const void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t room, bool special,
                       bool parse)
{
    calls += vocab != NULL;
    int32_t n = len + special + parse * 0;
    if (n > room)
        return -n;
    for (int32_t i = 0; i < n; i++)
        tokens[i] = i < special ? 1 : text[i - special];
    return n;
}
