/* Stands for libllama beside http_host.c: every character is a token. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

void llama_backend_init(void);
int32_t llama_tokenize(const void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                       bool parse);
void llama_free(void *context);

static volatile int begun;

void llama_backend_init(void)
{
    begun++;
}

void llama_free(void *context)
{
    (void)context;
}

/* As the real one: a negative result is the room that it needs. */
int32_t llama_tokenize(const void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                       bool parse)
{
    (void)vocab;
    (void)special;
    (void)parse;
    if (len < 0)
        len = (int32_t)strlen(text);
    if (len > max)
        return -len;
    for (int32_t i = 0; i < len; i++)
        tokens[i] = (unsigned char)text[i];
    return len;
}
