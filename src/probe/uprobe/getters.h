/*
 * Where llama.cpp keeps a number: read out of the compiled function that tells it.
 *
 * llama_n_ctx() and its like are compiled to "load from a place in the object that the argument points to, return", and
 * the place differs from release to release. A function of another shape tells nothing.
 */
#ifndef SL_PROBE_UPROBE_GETTERS_H
#define SL_PROBE_UPROBE_GETTERS_H

#include "src/base/str.h"

/* The place of the number of 32 bits in the object, in bytes; -1: the function has another shape. */
int32_t sl_getter_place(const unsigned char *code, size_t len);

#endif
