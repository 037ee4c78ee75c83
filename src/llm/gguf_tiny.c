/*
 * Writer of the tiny model.
 *
 * Layout of a GGUF file: magic, version, number of tensors, number of key-value pairs; the pairs; one record per tensor
 * (name, dimensions, type, offset); padding to 32 bytes; the tensors' data, each padded to 32 bytes.
 *
 * Two tricks make the output readable and its length predictable. The tokenizer merges pairs of pieces by score, so
 * every word is in the vocabulary together with all its prefixes. And dimension 0 of each embedding is constant, while
 * the output rows of everything that is not a whole word carry a large negative weight there: only words are sampled,
 * and the end-of-text token never is.
 */
#include "src/llm/gguf_tiny.h"

#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/rng.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "GGUF is little-endian; so is every target of ours");

enum { LAYERS = 2, WIDTH = 64, HEADS = 4, KV_HEADS = 2, HIDDEN = 128, CONTEXT = 4096, ALIGNMENT = 32 };
enum { KV_WIDTH = WIDTH / HEADS * KV_HEADS };
enum { MAX_TOKENS = 1024, MAX_PIECE = 24, TENSORS_PER_LAYER = 9, TENSORS = 3 + TENSORS_PER_LAYER * LAYERS };
enum { MAX_PATH = 4096, BYTE_TOKENS = 256 };

/* GGUF value types, and the token types of llama.cpp. */
enum { TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_STRING = 8, TYPE_ARRAY = 9 };
enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN = 2, TOKEN_CONTROL = 3, TOKEN_BYTE = 6 };

/* U+2581, the tokenizer's sign for a space. */
#define SPACE "\xe2\x96\x81"
/* What keeps a token from being sampled. */
#define NEVER (-60.0f)

static const char *const WORDS[] = {
    "the", "of",   "and",  "to",    "in",    "is",   "you",   "that",  "it",    "he",   "was",   "for",   "on",
    "are", "as",   "with", "his",   "they",  "at",   "be",    "this",  "have",  "from", "or",    "one",   "had",
    "by",  "word", "but",  "not",   "what",  "all",  "were",  "we",    "when",  "your", "can",   "said",  "there",
    "use", "an",   "each", "which", "she",   "do",   "how",   "their", "if",    "will", "up",    "other", "about",
    "out", "many", "then", "them",  "light", "line", "sight", "see",   "trace", "span", "clear", "first", "hello",
};

typedef struct piece {
    char text[MAX_PIECE];
    float score; /* higher merges first */
    int32_t type;
    bool sampled; /* a whole word */
} piece;

typedef struct vocabulary {
    piece items[MAX_TOKENS];
    size_t count;
} vocabulary;

typedef struct tensor {
    char name[48];
    uint64_t columns; /* the fastest dimension */
    uint64_t rows;    /* 0: a vector */
    float spread;     /* standard deviation; 0: all ones (the norms) */
    uint64_t offset;
} tensor;

typedef struct model {
    FILE *file;
    uint64_t at;
    bool failed;
    sl_rng rng;
    vocabulary *words;
    tensor tensors[TENSORS];
    size_t tensor_count;
} model;

static piece *vocabulary_add(vocabulary *v, const char *text, size_t len, int32_t type)
{
    SL_ASSERT(v->count < MAX_TOKENS);
    SL_ASSERT(len > 0 && len < MAX_PIECE);
    piece *p = &v->items[v->count];
    memcpy(p->text, text, len);
    p->text[len] = '\0';
    p->type = type;
    v->count++;
    return p;
}

static piece *vocabulary_find(vocabulary *v, const char *text, size_t len)
{
    SL_ASSERT(len > 0);
    for (size_t i = 0; i < v->count; i++) {
        if (strlen(v->items[i].text) == len && memcmp(v->items[i].text, text, len) == 0)
            return &v->items[i];
    }
    return NULL;
}

/* Adds a word with all its prefixes; longer pieces have higher scores, so merging ends at the whole word. */
static void vocabulary_add_word(vocabulary *v, const char *word)
{
    char text[MAX_PIECE];
    int len = snprintf(text, sizeof text, SPACE "%s", word);
    SL_ASSERT(len > 0 && len < MAX_PIECE);
    piece *p = NULL;
    for (size_t n = sizeof SPACE - 1; n <= (size_t)len; n++) {
        p = vocabulary_find(v, text, n);
        if (!p) {
            p = vocabulary_add(v, text, n, TOKEN_NORMAL);
            p->score = (float)n - (float)MAX_PIECE;
        }
    }
    SL_ASSERT(p != NULL);
    if (p)
        p->sampled = true;
}

static void vocabulary_fill(vocabulary *v)
{
    SL_ASSERT(v->count == 0);
    vocabulary_add(v, "<unk>", 5, TOKEN_UNKNOWN);
    vocabulary_add(v, "<s>", 3, TOKEN_CONTROL);
    vocabulary_add(v, "</s>", 4, TOKEN_CONTROL);
    for (int byte = 0; byte < BYTE_TOKENS; byte++) {
        char text[8];
        int len = snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        SL_ASSERT(len == 6);
        vocabulary_add(v, text, (size_t)len, TOKEN_BYTE);
    }
    for (int c = '!'; c <= '~'; c++) {
        const char text = (char)c;
        vocabulary_add(v, &text, 1, TOKEN_NORMAL)->score = -(float)MAX_PIECE;
    }
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
        vocabulary_add_word(v, WORDS[i]);
    SL_ASSERT(v->count > BYTE_TOKENS && v->count <= MAX_TOKENS);
}

static void put(model *m, const void *data, size_t size)
{
    SL_ASSERT(m->file != NULL);
    if (!m->failed && fwrite(data, 1, size, m->file) != size)
        m->failed = true;
    m->at += size;
}

static void put_u32(model *m, uint32_t value)
{
    put(m, &value, sizeof value);
}

static void put_u64(model *m, uint64_t value)
{
    put(m, &value, sizeof value);
}

static void put_f32(model *m, float value)
{
    put(m, &value, sizeof value);
}

static void put_text(model *m, const char *text)
{
    size_t len = strlen(text);
    put_u64(m, len);
    put(m, text, len);
}

static void pad(model *m)
{
    static const char zeros[ALIGNMENT];
    size_t rest = (size_t)(m->at % ALIGNMENT);
    if (rest > 0)
        put(m, zeros, ALIGNMENT - rest);
    SL_ASSERT(m->at % ALIGNMENT == 0);
}

static void put_key_u32(model *m, const char *key, uint32_t value)
{
    put_text(m, key);
    put_u32(m, TYPE_U32);
    put_u32(m, value);
}

static void put_key_text(model *m, const char *key, const char *value)
{
    put_text(m, key);
    put_u32(m, TYPE_STRING);
    put_text(m, value);
}

static void put_key_array(model *m, const char *key, uint32_t type, uint64_t count)
{
    SL_ASSERT(count > 0);
    put_text(m, key);
    put_u32(m, TYPE_ARRAY);
    put_u32(m, type);
    put_u64(m, count);
}

/* Number of pairs that put_keys writes. */
enum { KEYS = 13 };

static void put_keys(model *m)
{
    SL_ASSERT(m);
    const vocabulary *v = m->words;
    put_key_text(m, "general.architecture", "llama");
    put_key_text(m, "general.name", SL_GGUF_TINY_NAME);
    put_key_u32(m, "llama.context_length", CONTEXT);
    put_key_u32(m, "llama.embedding_length", WIDTH);
    put_key_u32(m, "llama.block_count", LAYERS);
    put_key_u32(m, "llama.feed_forward_length", HIDDEN);
    put_key_u32(m, "llama.attention.head_count", HEADS);
    put_key_u32(m, "llama.attention.head_count_kv", KV_HEADS);
    put_text(m, "llama.attention.layer_norm_rms_epsilon");
    put_u32(m, TYPE_F32);
    put_f32(m, 1e-5f);
    put_key_text(m, "tokenizer.ggml.model", "llama");
    put_key_array(m, "tokenizer.ggml.tokens", TYPE_STRING, v->count);
    for (size_t i = 0; i < v->count; i++)
        put_text(m, v->items[i].text);
    put_key_array(m, "tokenizer.ggml.scores", TYPE_F32, v->count);
    for (size_t i = 0; i < v->count; i++)
        put_f32(m, v->items[i].score);
    put_key_array(m, "tokenizer.ggml.token_type", TYPE_I32, v->count);
    for (size_t i = 0; i < v->count; i++)
        put(m, &v->items[i].type, sizeof v->items[i].type);
}

static uint64_t tensor_values(const tensor *t)
{
    SL_ASSERT(t);
    return t->columns * (t->rows ? t->rows : 1);
}

static void add_tensor(model *m, const char *name, uint64_t columns, uint64_t rows, float spread)
{
    SL_ASSERT(m->tensor_count < TENSORS);
    SL_ASSERT(columns % (ALIGNMENT / sizeof(float)) == 0);
    tensor *t = &m->tensors[m->tensor_count];
    SL_ASSERT(strlen(name) + sizeof ".weight" <= sizeof t->name);
    (void)snprintf(t->name, sizeof t->name, "%s.weight", name);
    t->columns = columns;
    t->rows = rows;
    t->spread = spread;
    if (m->tensor_count > 0) {
        const tensor *before = t - 1;
        t->offset = before->offset + tensor_values(before) * sizeof(float);
    }
    m->tensor_count++;
}

static void add_layer_tensor(model *m, int layer, const char *part, uint64_t columns, uint64_t rows)
{
    char name[40];
    SL_ASSERT(layer >= 0 && layer < LAYERS && strlen(part) < sizeof name - 8);
    (void)snprintf(name, sizeof name, "blk.%d.%s", layer, part);
    add_tensor(m, name, columns, rows, rows ? 0.08f : 0.0f);
}

static void add_tensors(model *m)
{
    SL_ASSERT(m->tensor_count == 0);
    add_tensor(m, "token_embd", WIDTH, m->words->count, 0.5f);
    add_tensor(m, "output_norm", WIDTH, 0, 0.0f);
    add_tensor(m, "output", WIDTH, m->words->count, 0.3f);
    for (int i = 0; i < LAYERS; i++) {
        add_layer_tensor(m, i, "attn_norm", WIDTH, 0);
        add_layer_tensor(m, i, "attn_q", WIDTH, WIDTH);
        add_layer_tensor(m, i, "attn_k", WIDTH, KV_WIDTH);
        add_layer_tensor(m, i, "attn_v", WIDTH, KV_WIDTH);
        add_layer_tensor(m, i, "attn_output", WIDTH, WIDTH);
        add_layer_tensor(m, i, "ffn_norm", WIDTH, 0);
        add_layer_tensor(m, i, "ffn_gate", WIDTH, HIDDEN);
        add_layer_tensor(m, i, "ffn_up", WIDTH, HIDDEN);
        add_layer_tensor(m, i, "ffn_down", HIDDEN, WIDTH);
    }
    SL_ASSERT(m->tensor_count == TENSORS);
}

static void put_tensor_records(model *m)
{
    for (size_t i = 0; i < m->tensor_count; i++) {
        const tensor *t = &m->tensors[i];
        SL_ASSERT(t->offset % ALIGNMENT == 0);
        put_text(m, t->name);
        put_u32(m, t->rows ? 2 : 1);
        put_u64(m, t->columns);
        if (t->rows)
            put_u64(m, t->rows);
        put_u32(m, 0); /* F32 */
        put_u64(m, t->offset);
    }
}

/* Uniform with the given standard deviation. */
static float random_weight(model *m, float spread)
{
    SL_ASSERT(m);
    const float root3 = 1.7320508f;
    return ((float)sl_rng_double(&m->rng) * 2.0f - 1.0f) * root3 * spread;
}

/* Dimension 0 of the embedding and output rows is not random, see the head of this file. */
static float weight(model *m, size_t index, uint64_t row, uint64_t column)
{
    SL_ASSERT(m);
    const tensor *t = &m->tensors[index];
    if (t->spread == 0.0f)
        return 1.0f;
    float value = random_weight(m, t->spread);
    if (index == 0 && column == 0)
        return 1.0f;
    if (index == 2 && column == 0)
        return m->words->items[row].sampled ? 0.0f : NEVER;
    return value;
}

static void put_tensor_data(model *m)
{
    SL_ASSERT(m->at % ALIGNMENT == 0);
    for (size_t i = 0; i < m->tensor_count; i++) {
        const tensor *t = &m->tensors[i];
        SL_ASSERT(t->offset % ALIGNMENT == 0 && m->at % ALIGNMENT == 0);
        for (uint64_t row = 0; row < (t->rows ? t->rows : 1); row++) {
            for (uint64_t column = 0; column < t->columns; column++)
                put_f32(m, weight(m, i, row, column));
        }
    }
    pad(m);
}

static int write_model(model *m)
{
    SL_ASSERT(m->file != NULL);
    vocabulary_fill(m->words);
    add_tensors(m);
    put(m, "GGUF", 4);
    put_u32(m, SL_GGUF_VERSION);
    put_u64(m, m->tensor_count);
    put_u64(m, KEYS);
    put_keys(m);
    put_tensor_records(m);
    pad(m);
    put_tensor_data(m);
    return m->failed ? SL_EIO : 0;
}

int sl_gguf_tiny_write(const char *path, uint64_t seed)
{
    if (!path || !*path)
        return SL_EINVAL;
    char temporary[MAX_PATH];
    int len = snprintf(temporary, sizeof temporary, "%s.%d.tmp", path, (int)getpid());
    if (len < 0 || (size_t)len >= sizeof temporary)
        return SL_ETOOBIG;
    model *m = sl_calloc(1, sizeof *m);
    vocabulary *words = sl_calloc(1, sizeof *words);
    int rc = m && words ? 0 : SL_ENOMEM;
    if (rc == 0) {
        m->words = words;
        sl_rng_init_seed(&m->rng, seed);
        m->file = fopen(temporary, "wb");
        rc = m->file ? write_model(m) : SL_EIO;
    }
    if (m && m->file) {
        if (fclose(m->file) != 0 && rc == 0)
            rc = SL_EIO;
        if (rc == 0 && rename(temporary, path) != 0)
            rc = SL_EIO;
        if (rc != 0)
            (void)unlink(temporary);
    }
    sl_free(words);
    sl_free(m);
    return rc;
}
