/* A fake of ggml's base library: backend buffers that are plain memory. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef struct buffer {
    size_t size;
    const char *name;
} buffer;

const char *ggml_backend_buffer_name(buffer *b)
{
    return b->name;
}

buffer *ggml_backend_buft_alloc_buffer(const char *type, size_t size)
{
    buffer *b = malloc(sizeof *b);
    *b = (buffer){size, type};
    return b;
}

buffer *ggml_backend_dev_buffer_from_host_ptr(const char *device, void *ptr, size_t size, size_t max_tensor_size)
{
    (void)ptr;
    (void)max_tensor_size;
    buffer *b = malloc(sizeof *b);
    *b = (buffer){size, device};
    return b;
}

buffer *ggml_backend_alloc_ctx_tensors_from_buft(size_t *tensors, const char *type)
{
    return ggml_backend_buft_alloc_buffer(type, *tensors);
}

void ggml_backend_buffer_free(buffer *b)
{
    free(b);
}

/* As ggml's own allocator does while a graph is reserved. */
buffer *fake_reserve(const char *type, size_t size)
{
    buffer *b = ggml_backend_buft_alloc_buffer(type, size);
    b->size = size; /* no call in the tail: who calls is looked at */
    return b;
}
