/*
 * Events: what the probe inside a host process tells of libllama and of the HTTP server around it.
 *
 * The host only writes down what happened, in the order in which it happened; whoever reads the ring (`sightline exec`,
 * or a thread of the host's own when there is no parent) makes spans and metrics of it. So the host pays for a few
 * stores, and everything that needs thought runs elsewhere.
 *
 * An event is a head, a fixed body that its kind determines, and then `count` items, or bytes, of the kind's tail.
 * Sizes are multiples of 8. Times are CLOCK_MONOTONIC nanoseconds. Numbers are in the host's byte order: both sides run
 * on one machine. A reader trusts nothing: sl_probe_event_check says whether body and tail fit.
 *
 * Identities (model, context, request, connection, chain) are small numbers that the host gives out, never addresses.
 * 0 is "none". Prompt tokens are in here; text of prompts and answers is not, nor is any header that carries a secret.
 */
#ifndef SL_PROBE_EVENT_H
#define SL_PROBE_EVENT_H

#include <stdatomic.h>

#include "src/base/str.h"

typedef enum sl_probe_kind {
    SL_PROBE_PAD = 0,    /* filler at the end of the ring's data; never handed out */
    SL_PROBE_ATTACH,     /* first event of a process: tail is "exe\0path of libllama\0version\0" */
    SL_PROBE_FOUND,      /* functions hooked and found, as names separated by spaces: tail */
    SL_PROBE_EXIT,       /* the host ends by exit() */
    SL_PROBE_MODEL_LOAD, /* tail: "path\0description\0" */
    SL_PROBE_MODEL_FREE,
    SL_PROBE_CONTEXT_NEW,
    SL_PROBE_CONTEXT_FREE,
    SL_PROBE_BUFFER,      /* backend memory taken or given back; tail: name of the buffer type */
    SL_PROBE_DECODE,      /* tail: `count` runs, then the tokens of the runs that have them */
    SL_PROBE_SYNC,        /* first wait for the results of a decode */
    SL_PROBE_LOGITS,      /* logits of one of several output rows were fetched */
    SL_PROBE_SAMPLE,      /* a token was sampled, for one of several output rows */
    SL_PROBE_CHAIN,       /* a sampler chain was made */
    SL_PROBE_SEQUENCE,    /* memory of a sequence: removed, copied, shifted, cleared, saved, loaded */
    SL_PROBE_TOKENIZE,    /* tail: `count` tokens */
    SL_PROBE_POST,        /* the thread that reads a request handed work to another (condition variable) */
    SL_PROBE_REQUEST,     /* head of an HTTP request; tail: method, target and chosen fields, see below */
    SL_PROBE_REQUEST_END, /* last byte of the request's body */
    SL_PROBE_ANSWER,      /* head of the answer */
    SL_PROBE_FRAME,       /* body bytes handed to the kernel, of a streamed answer */
    SL_PROBE_ANSWER_END,  /* last byte of the answer, or the connection's end; tail: last bytes of the body */
    SL_PROBE_KIND_COUNT
} sl_probe_kind;

/* Which call a DECODE event is about. */
typedef enum sl_probe_api { SL_PROBE_API_DECODE = 0, SL_PROBE_API_ENCODE, SL_PROBE_API_PROCESS } sl_probe_api;

/* What happened to the memory of a sequence. */
typedef enum sl_probe_seq_op {
    SL_PROBE_SEQ_RM = 0,
    SL_PROBE_SEQ_CP,
    SL_PROBE_SEQ_KEEP,
    SL_PROBE_SEQ_ADD, /* a shift by `delta` */
    SL_PROBE_SEQ_DIV,
    SL_PROBE_SEQ_CLEAR, /* of the whole context */
    SL_PROBE_SEQ_SAVE,  /* state of a sequence (or, seq -1, of the context) read out */
    SL_PROBE_SEQ_LOAD
} sl_probe_seq_op;

/* Memory belongs to what the allocating thread was doing. */
typedef enum sl_probe_phase { SL_PROBE_PHASE_OTHER = 0, SL_PROBE_PHASE_MODEL, SL_PROBE_PHASE_CONTEXT } sl_probe_phase;

#define SL_PROBE_EVENT_ALIGN 8u
/* Longest event: a prompt of more tokens is cut, and said to be (`n_tokens` of TOKENIZE is the true number). */
#define SL_PROBE_EVENT_MAX (256u * 1024u)

/* Head of every event. `size` counts the whole event and is stored last: 0 means "not yet written". */
typedef struct sl_probe_event {
    _Atomic uint32_t size;
    uint16_t kind;
    uint16_t flags;   /* as the kind says */
    uint32_t thread;  /* kernel's thread id */
    uint32_t count;   /* items, or bytes, of the tail */
    uint64_t time_ns; /* when it was written: after the call, for calls */
} sl_probe_event;

typedef struct sl_probe_attach {
    sl_probe_event head;
    uint64_t start_ns;
    uint32_t pid;
    uint32_t parent_pid;
} sl_probe_attach;

enum {
    SL_PROBE_MODEL_FAILED = 1,
    SL_PROBE_MODEL_MMAP = 2,
    SL_PROBE_MODEL_VOCAB_ONLY = 4,
    SL_PROBE_MODEL_NO_ALLOC = 8,
    SL_PROBE_MODEL_FLAGS_KNOWN = 16, /* MMAP and VOCAB_ONLY say something */
    SL_PROBE_MODEL_FOUND = 32        /* it was there before: a child has it from its parent */
};
typedef struct sl_probe_model_load {
    sl_probe_event head;
    uint64_t start_ns;
    uint64_t n_params, size_bytes; /* 0: not known */
    uint64_t weights_bytes;        /* backend memory taken while loading */
    uint32_t model;
    int32_t n_ctx_train; /* -1: not known; so for all the following */
    int32_t n_layer, n_embd;
    uint32_t splits; /* files; 1 as a rule */
    uint32_t reserved;
} sl_probe_model_load;

typedef struct sl_probe_model_free {
    sl_probe_event head;
    uint32_t model;
    uint32_t reserved;
} sl_probe_model_free;

enum {
    SL_PROBE_CONTEXT_FAILED = 1,
    SL_PROBE_CONTEXT_FOUND = 2,   /* it was there before: its making was not seen */
    SL_PROBE_CONTEXT_NO_BYTES = 4 /* nothing is known of its memory */
};
typedef struct sl_probe_context_new {
    sl_probe_event head;
    uint64_t start_ns;
    uint64_t kv_bytes, compute_bytes, output_bytes; /* backend memory taken; kv_bytes 0 on a dry run */
    uint32_t context, model;
    int32_t n_ctx, n_ctx_seq, n_batch, n_ubatch, n_seq_max; /* -1: not known */
    uint32_t reserved;
} sl_probe_context_new;

typedef struct sl_probe_context_free {
    sl_probe_event head;
    uint32_t context;
    uint32_t reserved;
} sl_probe_context_free;

typedef struct sl_probe_buffer {
    sl_probe_event head;
    int64_t bytes;  /* negative: given back */
    uint32_t owner; /* model or context, as `phase` says; 0 when not known */
    uint32_t phase; /* sl_probe_phase */
} sl_probe_buffer;

/*
 * Consecutive tokens of one sequence at consecutive positions.
 * `outputs`: how many of them ask for logits or embeddings; in generation that is all of them.
 */
enum {
    SL_PROBE_RUN_SHARED = 1,     /* the same tokens as the run before, for a further sequence: no tokens of its own */
    SL_PROBE_RUN_NO_TOKENS = 2,  /* embeddings instead of tokens */
    SL_PROBE_RUN_LAST_OUTPUT = 4 /* the last token of the run asks for an output */
};
typedef struct sl_probe_run {
    int32_t seq;
    int32_t pos; /* of the first token; -1: the library chooses */
    uint32_t n;
    uint32_t outputs;
    uint32_t row; /* index within the batch of the run's first token: what get_logits_ith counts */
    uint32_t flags;
} sl_probe_run;

#define SL_PROBE_RESULT_UNKNOWN INT32_MIN /* the call's end was not seen: `time_ns` is a time after it */
typedef struct sl_probe_decode {
    sl_probe_event head; /* flags: sl_probe_api; count: runs. Tokens of runs follow, int32, padded to 8 bytes */
    uint64_t start_ns;
    uint32_t context;
    int32_t result;
    uint32_t n_tokens; /* of the batch */
    uint32_t n_listed; /* tokens that follow the runs; less than n_tokens when cut or when there are none */
} sl_probe_decode;

typedef struct sl_probe_sync {
    sl_probe_event head;
    uint64_t start_ns;
    uint32_t context;
    uint32_t reserved;
} sl_probe_sync;

typedef struct sl_probe_logits {
    sl_probe_event head;
    uint32_t context;
    int32_t row; /* negative: counted from the end */
} sl_probe_logits;

typedef struct sl_probe_sample {
    sl_probe_event head;
    uint64_t start_ns;
    uint32_t context; /* 0: not known (llama_sampler_apply) */
    uint32_t chain;
    int32_t row;   /* INT32_MIN: not known */
    int32_t token; /* -1: not known */
} sl_probe_sample;

typedef struct sl_probe_chain {
    sl_probe_event head;
    uint32_t chain;
    uint32_t request; /* of the calling thread, or 0 */
} sl_probe_chain;

typedef struct sl_probe_sequence {
    sl_probe_event head; /* flags: sl_probe_seq_op */
    uint64_t start_ns;
    uint64_t bytes; /* of a state saved or loaded */
    uint32_t context;
    int32_t seq, seq_to; /* -1: all */
    int32_t p0, p1;      /* negative: from the start, to the end */
    int32_t delta;
} sl_probe_sequence;

typedef struct sl_probe_tokenize {
    sl_probe_event head; /* count: tokens that follow (int32, padded to 8 bytes) */
    uint64_t start_ns;
    uint32_t request;  /* of the calling thread, or 0: then no tokens follow */
    uint32_t n_tokens; /* the true number */
} sl_probe_tokenize;

typedef struct sl_probe_post {
    sl_probe_event head;
    uint32_t request;
    uint32_t reserved;
} sl_probe_post;

/*
 * Tail of REQUEST: request line without the query's values, then "name: value" lines of traceparent, tracestate,
 * baggage, user-agent, host, content-type, content-length; each ends with '\n'. At most SL_PROBE_HEAD_MAX bytes.
 */
#define SL_PROBE_HEAD_MAX 2048u
enum { SL_PROBE_REQUEST_TLS = 1, SL_PROBE_REQUEST_CUT = 2 };
typedef struct sl_probe_request {
    sl_probe_event head;
    uint64_t start_ns; /* first byte */
    uint32_t request, connection;
} sl_probe_request;

typedef struct sl_probe_request_end {
    sl_probe_event head;
    uint64_t bytes; /* of the body */
    uint32_t request;
    uint32_t reserved;
} sl_probe_request_end;

enum { SL_PROBE_ANSWER_SSE = 1, SL_PROBE_ANSWER_CHUNKED = 2, SL_PROBE_ANSWER_LENGTH = 4 };
typedef struct sl_probe_answer {
    sl_probe_event head;
    uint64_t content_length; /* with SL_PROBE_ANSWER_LENGTH */
    uint32_t request;
    uint32_t status;
} sl_probe_answer;

enum { SL_PROBE_FRAME_NO_TEXT = 1 }; /* nothing of the answer yet: comments of the stream, progress of the prompt */
typedef struct sl_probe_frame {
    sl_probe_event head;
    uint32_t request;
    uint32_t bytes;
} sl_probe_frame;

/* Tail of ANSWER_END: at most this many last bytes of a JSON body or of the frames' data, for `timings` and `usage`. */
#define SL_PROBE_TAIL_MAX 2048u
enum {
    SL_PROBE_END_COMPLETE = 1,
    SL_PROBE_END_CLOSED = 2,  /* connection closed before the end */
    SL_PROBE_END_BY_PEER = 4, /* the client had left by then */
};
typedef struct sl_probe_answer_end {
    sl_probe_event head;
    uint64_t bytes; /* of the body as sent */
    uint32_t request;
    uint32_t reserved;
} sl_probe_answer_end;

/* Name of a kind, for messages and tests. Static. */
const char *sl_probe_kind_name(unsigned kind);

/* Whether an event of `size` bytes is whole and consistent: SL_EPARSE when not. */
SL_MUST_CHECK int sl_probe_event_check(const sl_probe_event *event, size_t size);

#endif
