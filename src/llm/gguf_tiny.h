/*
 * A tiny language model of our own making: random weights, a working tokenizer, half a megabyte.
 *
 * It lets tests and demos run a genuine llama.cpp server without downloading a model. The text it makes is a stream of
 * common English words without sense; it never ends by itself, so a request's token limit decides the length.
 */
#ifndef SL_LLM_GGUF_TINY_H
#define SL_LLM_GGUF_TINY_H

#include <sightline/base.h>

/* Version of the file format written. */
#define SL_GGUF_VERSION 3

/* Name of the architecture in `general.name`. */
#define SL_GGUF_TINY_NAME "sightline-tiny"

/*
 * Writes a llama model (GGUF version 3, little-endian, F32) to `path`; the same seed gives the same bytes.
 * The file appears whole or not at all: it is written beside `path` and renamed.
 * Errors: SL_EINVAL (no path), SL_ETOOBIG (path too long), SL_ENOMEM, SL_EIO. Any thread.
 */
SL_MUST_CHECK int sl_gguf_tiny_write(const char *path, uint64_t seed);

#endif
