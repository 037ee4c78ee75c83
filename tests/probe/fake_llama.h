/*
 * The C interface of llama.cpp as a host declares it, as far as the fake library (fake_llama.c) has it: two generations
 * of names, structs by value of the sizes they really have.
 */
#ifndef FAKE_LLAMA_H
#define FAKE_LLAMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llama_model llama_model;
typedef struct llama_context llama_context;
typedef struct llama_sampler llama_sampler;
typedef struct llama_memory_i *llama_memory_t;
typedef struct llama_batch_ext llama_batch_ext;

typedef struct llama_batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} llama_batch;

typedef struct llama_model_params {
    uint64_t pattern[9];
    bool flags[5];
} llama_model_params;

typedef struct llama_context_params {
    uint64_t pattern[17];
    bool flags[6];
} llama_context_params;

typedef struct llama_sampler_chain_params {
    bool no_perf;
} llama_sampler_chain_params;

typedef struct llama_embd {
    const float *data;
    size_t n_rows, n_embd;
} llama_embd;

typedef struct llama_token_data {
    int32_t id;
    float logit, p;
} llama_token_data;
typedef struct llama_token_data_array {
    llama_token_data *data;
    size_t size;
    int64_t selected;
    bool sorted;
} llama_token_data_array;

/* What the fake wants to find in a struct passed by value, all of it. */
llama_model_params fake_model_params(void);
llama_model_params llama_model_default_params(void);
llama_context_params fake_context_params(void);
llama_context_params llama_context_default_params(void);

void llama_backend_init(void);
llama_model *llama_load_model_from_file(const char *path, llama_model_params params);
llama_model *llama_model_load_from_file(const char *path, llama_model_params params);
llama_model *llama_model_load_from_splits(const char **paths, size_t count, llama_model_params params);
llama_model *llama_model_load_from_file_ptr(FILE *file, llama_model_params params);
llama_model *llama_model_init_from_user(void *metadata, void (*set)(void), void *user, llama_model_params params);
void llama_free_model(llama_model *model);
void llama_model_free(llama_model *model);
llama_context *llama_new_context_with_model(llama_model *model, llama_context_params params);
llama_context *llama_init_from_model(llama_model *model, llama_context_params params);
void llama_free(llama_context *context);
int32_t llama_decode(llama_context *context, llama_batch batch);
int32_t llama_encode(llama_context *context, llama_batch batch);
void llama_synchronize(llama_context *context);
float *llama_get_logits(llama_context *context);
float *llama_get_logits_ith(llama_context *context, int32_t row);
float *llama_get_embeddings_seq(llama_context *context, int32_t seq);
int32_t llama_get_sampled_token_ith(llama_context *context, int32_t row);
llama_memory_t llama_get_memory(const llama_context *context);
void llama_memory_clear(llama_memory_t memory, bool data);
bool llama_memory_seq_rm(llama_memory_t memory, int32_t seq, int32_t p0, int32_t p1);
void llama_memory_seq_cp(llama_memory_t memory, int32_t seq, int32_t to, int32_t p0, int32_t p1);
void llama_memory_seq_keep(llama_memory_t memory, int32_t seq);
void llama_memory_seq_add(llama_memory_t memory, int32_t seq, int32_t p0, int32_t p1, int32_t delta);
void llama_memory_seq_div(llama_memory_t memory, int32_t seq, int32_t p0, int32_t p1, int32_t d);
void llama_kv_cache_clear(llama_context *context);
bool llama_kv_cache_seq_rm(llama_context *context, int32_t seq, int32_t p0, int32_t p1);
bool llama_kv_self_seq_rm(llama_context *context, int32_t seq, int32_t p0, int32_t p1);
size_t llama_state_seq_get_data(llama_context *context, uint8_t *to, size_t size, int32_t seq);
size_t llama_state_seq_set_data(llama_context *context, const uint8_t *from, size_t size, int32_t seq);
size_t llama_state_seq_get_data_ext(llama_context *context, uint8_t *to, size_t size, int32_t seq, uint32_t flags);
bool llama_state_load_file(llama_context *context, const char *path, int32_t *tokens, size_t room, size_t *count);
bool llama_state_save_file(llama_context *context, const char *path, const int32_t *tokens, size_t count);
llama_sampler *llama_sampler_chain_init(llama_sampler_chain_params params);
llama_sampler *llama_sampler_clone(const llama_sampler *sampler);
void llama_sampler_free(llama_sampler *sampler);
int32_t llama_sampler_sample(llama_sampler *sampler, llama_context *context, int32_t row);
void llama_sampler_apply(llama_sampler *sampler, llama_token_data_array *candidates);
llama_batch_ext *llama_batch_ext_init(llama_context *context);
void llama_batch_ext_free(llama_batch_ext *batch);
void llama_batch_ext_clear(llama_batch_ext *batch);
int32_t llama_batch_ext_add(llama_batch_ext *batch, int32_t seq);
int32_t llama_batch_ext_add_token(llama_batch_ext *batch, int32_t seq, int32_t token);
int32_t llama_batch_ext_add_embd(llama_batch_ext *batch, int32_t seq, llama_embd embd);
bool llama_batch_ext_add_seq(llama_batch_ext *batch, int32_t index, int32_t seq);
bool llama_batch_ext_set_pos(llama_batch_ext *batch, int32_t index, const int32_t *pos);
bool llama_batch_ext_set_output_logits(llama_batch_ext *batch, int32_t index, bool value);
bool llama_batch_ext_set_output_embd(llama_batch_ext *batch, int32_t index, bool value);
int32_t llama_process(llama_context *context, int32_t type, llama_batch_ext *batch);
int32_t llama_tokenize(const void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t room, bool special,
                       bool parse);

/* Calls that this copy of the library has seen, of any of its functions. */
unsigned long fake_calls(void);

#ifdef __cplusplus
}
#endif
#endif
