/* Tests of the tiny model's writer: the file is read back by an independent little reader. */
#include "src/llm/gguf_tiny.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

typedef struct reader {
    const uint8_t *data;
    size_t size;
    size_t at;
    bool bad;
} reader;

typedef struct facts {
    uint64_t tensors;
    uint64_t keys;
    uint64_t tokens;
    uint64_t scores;
    uint64_t types;
    uint64_t embd_rows;
    uint64_t output_offset;
    uint64_t tensor_bytes;
    size_t data_begin;
    char architecture[16];
    uint32_t width;
    bool has_words;
} facts;

static void read_bytes(reader *r, void *to, size_t size)
{
    if (r->bad || size > r->size - r->at) {
        r->bad = true;
        memset(to, 0, size);
        return;
    }
    memcpy(to, r->data + r->at, size);
    r->at += size;
}

static uint32_t read_u32(reader *r)
{
    uint32_t v = 0;
    read_bytes(r, &v, sizeof v);
    return v;
}

static uint64_t read_u64(reader *r)
{
    uint64_t v = 0;
    read_bytes(r, &v, sizeof v);
    return v;
}

static void read_text(reader *r, char *to, size_t size)
{
    uint64_t len = read_u64(r);
    if (len >= size) {
        r->bad = true;
        return;
    }
    read_bytes(r, to, (size_t)len);
    to[len] = '\0';
}

static void read_array(reader *r, const char *key, facts *f)
{
    uint32_t type = read_u32(r);
    uint64_t count = read_u64(r);
    for (uint64_t i = 0; i < count && !r->bad; i++) {
        char text[64];
        if (type == 8) {
            read_text(r, text, sizeof text);
            f->has_words = f->has_words || strcmp(text, "\xe2\x96\x81hello") == 0;
        } else {
            (void)read_u32(r);
        }
    }
    if (strcmp(key, "tokenizer.ggml.tokens") == 0)
        f->tokens = count;
    if (strcmp(key, "tokenizer.ggml.scores") == 0)
        f->scores = count;
    if (strcmp(key, "tokenizer.ggml.token_type") == 0)
        f->types = count;
}

static void read_pair(reader *r, facts *f)
{
    char key[64] = "";
    char text[64] = "";
    read_text(r, key, sizeof key);
    uint32_t type = read_u32(r);
    uint32_t number = 0;
    if (type == 8)
        read_text(r, text, sizeof text);
    else if (type == 9)
        read_array(r, key, f);
    else
        number = read_u32(r);
    if (strcmp(key, "general.architecture") == 0)
        snprintf(f->architecture, sizeof f->architecture, "%.15s", text);
    if (strcmp(key, "llama.embedding_length") == 0)
        f->width = number;
}

static void read_tensor(reader *r, facts *f)
{
    char name[64] = "";
    uint64_t dims[2] = {1, 1};
    read_text(r, name, sizeof name);
    uint32_t n = read_u32(r);
    for (uint32_t i = 0; i < n && i < 2; i++)
        dims[i] = read_u64(r);
    CHECK_EQ(read_u32(r), 0);
    uint64_t offset = read_u64(r);
    CHECK_EQ(offset % 32, 0);
    CHECK_EQ(offset, f->tensor_bytes);
    f->tensor_bytes += dims[0] * dims[1] * 4;
    if (strcmp(name, "token_embd.weight") == 0)
        f->embd_rows = dims[1];
    if (strcmp(name, "output.weight") == 0)
        f->output_offset = offset;
}

static facts read_model(reader *r)
{
    facts f;
    memset(&f, 0, sizeof f);
    CHECK_EQ(read_u32(r), 0x46554747); /* "GGUF" */
    CHECK_EQ(read_u32(r), SL_GGUF_VERSION);
    f.tensors = read_u64(r);
    f.keys = read_u64(r);
    for (uint64_t i = 0; i < f.keys && !r->bad; i++)
        read_pair(r, &f);
    for (uint64_t i = 0; i < f.tensors && !r->bad; i++)
        read_tensor(r, &f);
    f.data_begin = (r->at + 31) / 32 * 32;
    return f;
}

static uint8_t *read_file(const char *path, size_t *ret_size)
{
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    size_t room = 4u << 20;
    uint8_t *data = malloc(room);
    *ret_size = data ? fread(data, 1, room, file) : 0;
    fclose(file);
    return data;
}

static void temporary_path(char *path, size_t size, const char *name)
{
    const char *folder = getenv("TMPDIR");
    snprintf(path, size, "%s/sl-gguf-%d-%s", folder ? folder : "/tmp", (int)getpid(), name);
}

SL_TEST(file_is_a_valid_gguf)
{
    char path[512];
    temporary_path(path, sizeof path, "a");
    REQUIRE(sl_gguf_tiny_write(path, 1) == 0);
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    unlink(path);
    REQUIRE(data != NULL);
    reader r = {data, size, 0, false};
    facts f = read_model(&r);
    CHECK(!r.bad);
    CHECK_EQ(f.tensors, 21);
    CHECK_STR(sl_str_c(f.architecture), "llama");
    CHECK_EQ(f.width, 64);
    CHECK(f.tokens > 400);
    CHECK_EQ(f.tokens, f.scores);
    CHECK_EQ(f.tokens, f.types);
    CHECK_EQ(f.tokens, f.embd_rows);
    CHECK(f.has_words);
    CHECK_EQ(size % 32, 0);
    CHECK_EQ(f.data_begin + f.tensor_bytes, size);
    free(data);
}

/* The rows of control tokens must never win; a word's row may. */
SL_TEST(end_of_text_is_never_sampled)
{
    char path[512];
    temporary_path(path, sizeof path, "b");
    REQUIRE(sl_gguf_tiny_write(path, 2) == 0);
    size_t size = 0;
    uint8_t *data = read_file(path, &size);
    unlink(path);
    REQUIRE(data != NULL);
    reader r = {data, size, 0, false};
    facts f = read_model(&r);
    REQUIRE(!r.bad);
    size_t sampled = 0;
    for (uint64_t token = 0; token < f.tokens; token++) {
        float first;
        memcpy(&first, data + f.data_begin + f.output_offset + token * 64 * 4, sizeof first);
        CHECK(first == 0.0f || first == -60.0f);
        if (token < 3 + 256)
            CHECK(first == -60.0f);
        sampled += first == 0.0f;
    }
    CHECK(sampled >= 60);
    free(data);
}

SL_TEST(same_seed_same_bytes)
{
    char paths[3][512];
    uint8_t *data[3];
    size_t sizes[3] = {0};
    for (int i = 0; i < 3; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", i);
        temporary_path(paths[i], sizeof paths[i], name);
        CHECK_EQ(sl_gguf_tiny_write(paths[i], i == 2 ? 8 : 7), 0);
        data[i] = read_file(paths[i], &sizes[i]);
        unlink(paths[i]);
    }
    REQUIRE(data[0] && data[1] && data[2]);
    CHECK_EQ(sizes[0], sizes[1]);
    CHECK_EQ(sizes[0], sizes[2]);
    CHECK(memcmp(data[0], data[1], sizes[0]) == 0);
    CHECK(memcmp(data[0], data[2], sizes[0]) != 0);
    for (int i = 0; i < 3; i++)
        free(data[i]);
}

SL_TEST(bad_paths)
{
    CHECK_EQ(sl_gguf_tiny_write(NULL, 1), SL_EINVAL);
    CHECK_EQ(sl_gguf_tiny_write("", 1), SL_EINVAL);
    CHECK_EQ(sl_gguf_tiny_write("/nonexistent-folder/x.gguf", 1), SL_EIO);
    char big[5000];
    memset(big, 'a', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    CHECK_EQ(sl_gguf_tiny_write(big, 1), SL_ETOOBIG);
    if (access("/dev/full", W_OK) == 0)
        CHECK_EQ(sl_gguf_tiny_write("/dev", 1), SL_EIO); /* the name is taken by a folder */
}

SL_TEST(allocation_failures)
{
    char path[512];
    temporary_path(path, sizeof path, "m");
    for (long n = 0; n < 2; n++) {
        sl_test_fail_alloc(n);
        CHECK_EQ(sl_gguf_tiny_write(path, 1), SL_ENOMEM);
        CHECK(access(path, F_OK) != 0);
    }
    sl_test_fail_alloc(-1);
    CHECK_EQ(sl_gguf_tiny_write(path, 1), 0);
    unlink(path);
}
