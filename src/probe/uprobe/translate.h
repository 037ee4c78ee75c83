/*
 * Makes the probe's events (src/probe/event.h) of the records that the programs in the kernel write: from here on
 * everything is as with the library inside the host.
 *
 * A call begins with its record; it ends with that of its return, which belongs to it by thread and stack. Where a
 * return is not watched (yet), the call is told when the thread makes its next one, or another thread uses the same
 * context: its result is then not known, and its end only so far. What is called from within a call that is told is not
 * told. Bounded. Trusts no record. One thread. Does not: ask the kernel for anything; `site` and `fact` do, and may be
 * NULL.
 */
#ifndef SL_PROBE_UPROBE_TRANSLATE_H
#define SL_PROBE_UPROBE_TRANSLATE_H

#include "src/probe/ring.h"
#include "src/probe/uprobe/records.h"

typedef enum sl_uprobe_meaning {
    SL_UPROBE_MODEL_LOAD,
    SL_UPROBE_MODEL_FREE,
    SL_UPROBE_CONTEXT_NEW,
    SL_UPROBE_CONTEXT_FREE,
    SL_UPROBE_DECODE,
    SL_UPROBE_ENCODE,
    SL_UPROBE_PROCESS,
    SL_UPROBE_SEQ_CLEAR,
    SL_UPROBE_SEQ_RM,
    SL_UPROBE_SEQ_CP,
    SL_UPROBE_SEQ_KEEP,
    SL_UPROBE_SEQ_ADD,
    SL_UPROBE_SEQ_DIV
} sl_uprobe_meaning;

typedef enum sl_uprobe_point_id {
#define SL_POINT(name, kind, meaning) SL_UPROBE_AT_##name,
#include "src/probe/uprobe/points.def"
#undef SL_POINT
    SL_UPROBE_POINTS
} sl_uprobe_point_id;

typedef struct sl_uprobe_point {
    const char *name;
    sl_uprobe_kind kind;
    sl_uprobe_meaning meaning;
    bool returns; /* its end is of interest */
} sl_uprobe_point;
extern const sl_uprobe_point sl_uprobe_points[SL_UPROBE_POINTS];

/* Numbers that llama.cpp keeps in its objects, by the function that tells them. */
typedef enum sl_uprobe_fact {
    SL_UPROBE_N_CTX,
    SL_UPROBE_N_CTX_SEQ,
    SL_UPROBE_N_BATCH,
    SL_UPROBE_N_UBATCH,
    SL_UPROBE_N_SEQ_MAX,
    SL_UPROBE_N_CTX_TRAIN,
    SL_UPROBE_N_LAYER,
    SL_UPROBE_N_EMBD,
    SL_UPROBE_FACTS
} sl_uprobe_fact;

typedef struct sl_uprobe_translator sl_uprobe_translator;
typedef struct sl_uprobe_translator_options {
    sl_probe_ring *ring; /* not owned */
    /* A call returns to `address`: since when returns to there are seen (CLOCK_MONOTONIC); UINT64_MAX: never. */
    uint64_t (*site)(void *user, uint64_t address);
    /* A number of the object at `address` in the process; -1: not known. */
    int32_t (*fact)(void *user, sl_uprobe_fact fact, uint64_t address);
    void *user;
} sl_uprobe_translator_options;

/* Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_uprobe_translator_new(const sl_uprobe_translator_options *options,
                                           sl_uprobe_translator **ret_translator);
/* NULL is accepted. */
void sl_uprobe_translator_free(sl_uprobe_translator *t);
/* One record. */
void sl_uprobe_translate(sl_uprobe_translator *t, const void *record, size_t len);
/* First of all: what is watched. `found`: names of functions, separated by spaces. */
void sl_uprobe_tell_attached(sl_uprobe_translator *t, uint32_t pid, const char *exe, const char *library,
                             const char *found);
/* Batches whose end was missed, and that began `age_ns` ago: they are not waited for any longer. */
void sl_uprobe_tell_missed(sl_uprobe_translator *t, uint64_t now_ns, uint64_t age_ns);
/* The process has ended, or is left: calls that go on are told as far as they are known. */
void sl_uprobe_tell_end(sl_uprobe_translator *t, uint64_t now_ns);

#endif
