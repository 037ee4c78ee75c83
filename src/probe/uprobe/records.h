/*
 * What the probe's programs in the kernel write down of a call, and what the translator reads.
 *
 * Everything is copied at the moment of the call, by the kernel, on the thread that calls: arguments, the return
 * address, and of a batch its lists. Lists that could not be read say so in `faults`.
 */
#ifndef SL_PROBE_UPROBE_RECORDS_H
#define SL_PROBE_UPROBE_RECORDS_H

#include <stddef.h>
#include <stdint.h>

/* How a program looks at a call. */
typedef enum sl_uprobe_kind {
    SL_UPROBE_CALL,  /* the arguments alone */
    SL_UPROBE_TEXT,  /* and the text that the first one points to */
    SL_UPROBE_TEXTS, /* and the first of the texts that the first one points to */
    SL_UPROBE_BATCH, /* and the batch that is the second one, by value */
    SL_UPROBE_KIND_COUNT
} sl_uprobe_kind;

#define SL_UPROBE_ARGS 6u
#define SL_UPROBE_RETURN UINT32_MAX /* `point` of a return: the first argument is the value */

typedef struct sl_uprobe_record {
    uint64_t time_ns; /* CLOCK_MONOTONIC */
    uint64_t thread;  /* process in the high half, thread in the low one: as the first PID namespace counts them */
    uint32_t point;   /* which function: a place in points.def; or SL_UPROBE_RETURN */
    uint32_t tokens;  /* of a batch: how many places its lists here have */
    uint64_t from;    /* where the call returns to; of a return: where it is */
    uint64_t stack;   /* the stack pointer with the return address taken off */
    uint64_t args[SL_UPROBE_ARGS];
} sl_uprobe_record;

#define SL_UPROBE_TEXT_BYTES 1024u
typedef struct sl_uprobe_text_record {
    sl_uprobe_record head;
    int64_t len; /* with its NUL; negative: unreadable */
    char text[SL_UPROBE_TEXT_BYTES];
} sl_uprobe_text_record;

/* llama_batch as it is passed. */
typedef struct sl_uprobe_batch {
    int32_t n_tokens, reserved;
    uint64_t token, embd, pos, n_seq_id, seq_id, logits;
} sl_uprobe_batch;

enum { SL_UPROBE_TOKEN, SL_UPROBE_POS, SL_UPROBE_N_SEQ, SL_UPROBE_SEQ, SL_UPROBE_OUTPUT, SL_UPROBE_LISTS };
#define SL_UPROBE_SEQS_EACH 4u /* sequences of one token; of more than these only their number is known */

/* Behind this come, for `room` = tokens rounded up to what the program has reserved: */
typedef struct sl_uprobe_batch_record {
    sl_uprobe_record head;
    sl_uprobe_batch batch;
    uint32_t room, reserved;
    int64_t faults[SL_UPROBE_LISTS]; /* not 0: the list could not be read */
    /* uint64_t seq_id[room]; int32_t seqs[room][SL_UPROBE_SEQS_EACH], token[room], pos[room], n_seq[room];
       int8_t output[room]; */
} sl_uprobe_batch_record;

/* Where the lists begin. */
static inline size_t sl_uprobe_seq_id_at(void)
{
    return sizeof(sl_uprobe_batch_record);
}
static inline size_t sl_uprobe_seqs_at(uint32_t room)
{
    return sl_uprobe_seq_id_at() + (size_t)room * 8;
}
static inline size_t sl_uprobe_token_at(uint32_t room)
{
    return sl_uprobe_seqs_at(room) + (size_t)room * SL_UPROBE_SEQS_EACH * 4;
}
static inline size_t sl_uprobe_pos_at(uint32_t room)
{
    return sl_uprobe_token_at(room) + (size_t)room * 4;
}
static inline size_t sl_uprobe_n_seq_at(uint32_t room)
{
    return sl_uprobe_pos_at(room) + (size_t)room * 4;
}
static inline size_t sl_uprobe_output_at(uint32_t room)
{
    return sl_uprobe_n_seq_at(room) + (size_t)room * 4;
}
static inline size_t sl_uprobe_batch_bytes(uint32_t room)
{
    return (sl_uprobe_output_at(room) + room + 7) & ~(size_t)7;
}

#endif
