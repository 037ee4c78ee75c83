/*
 * What the assembler remembers of one host: contexts and their sequences, HTTP requests, what they ask for, who works
 * on it.
 *
 *     request ──▶ ask (a prompt that was tokenised and posted) ◀── claim ── turn (one use of a sequence) ◀── sequence
 *
 * A request has any number of asks (an array of prompts) and turns (`n` answers). A turn without a request is a
 * generation of a host that speaks no HTTP, or one whose request could not be found. Names in words: ask, turn, part
 * (what one batch does for one sequence). All of it belongs to the one thread that reads the ring.
 *
 * Life: a turn is freed when neither a sequence nor a request holds it, and it is no ghost. Batches that are not
 * finished point to turns, so they are finished (batch.h) before anything that could free one.
 */
#ifndef SL_PROBE_TRACK_H
#define SL_PROBE_TRACK_H

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/probe/answer_tail.h"
#include "src/probe/assembler.h"
#include "src/probe/probe_metrics.h"
#include "src/probe/token_gaps.h"

typedef struct sl_track_request sl_track_request;
typedef struct sl_track_ask sl_track_ask;
typedef struct sl_track_turn sl_track_turn;
typedef struct sl_track_context sl_track_context;

/* How sure it is whose tokens they are. */
typedef enum sl_track_sure {
    SL_TRACK_NONE = 0,  /* nobody's: no request was found */
    SL_TRACK_EXACT,     /* the tokens are those that this request alone asked for */
    SL_TRACK_SINGLE,    /* the only request that it can have been */
    SL_TRACK_AMBIGUOUS, /* a guess among several */
} sl_track_sure;

/* A prompt that a request asked for. */
struct sl_track_ask {
    sl_track_ask *next, *prev; /* all that are posted, oldest first */
    sl_track_ask *sibling;     /* of the same request */
    sl_track_request *request;
    sl_track_turn *turn; /* that has claimed it */
    uint64_t serial;
    uint64_t post_ns;
    int32_t *tokens;            /* NULL: not known */
    uint32_t n_known, n_tokens; /* less are known where the event was cut */
    bool posted;
    bool proven;  /* its turn is certain */
    bool clouded; /* a turn that may have been for it is forgotten: counts prove nothing any more */
};

/* What a request is for, as far as it matters here. */
typedef enum sl_track_use {
    SL_TRACK_USE_OTHER = 0,
    SL_TRACK_USE_POLL,     /* /health and its like: not traced by default */
    SL_TRACK_USE_GENERATE, /* asks for tokens */
    SL_TRACK_USE_EMBED     /* asks for vectors or scores: has prompts, generates nothing */
} sl_track_use;

struct sl_track_request {
    sl_track_request *hash_next;
    sl_span *span; /* NULL: not traced */
    sl_span_context context;
    sl_track_ask *asks;   /* newest first */
    sl_track_turn *turns; /* newest first */
    uint32_t ask_count, turn_count;
    uint32_t id, connection, thread;
    uint32_t status;
    sl_track_use use;
    bool tls, streaming, posted, partial, doubted;
    bool whole;                          /* its answer says how long it is */
    bool held;                           /* answered, and waits for certainty (held.h) */
    sl_probe_answer_end *answer;         /* of one that is held: the event of its end */
    sl_answer_facts facts;               /* what it says */
    uint64_t end_ns;                     /* of the answer */
    uint64_t start_ns, body_ns, post_ns; /* first byte, end of body, last post */
    uint64_t answer_ns, frame_ns;        /* head and first frame of the answer */
    uint64_t body_bytes;
    char method[16];
    char route[96];
};

/* A batch as its span says it. */
typedef struct sl_track_batch_facts {
    uint64_t start_ns, end_ns, number;
    int32_t result;
    bool unseen_end; /* the result is not known; taken for good */
    uint32_t n_tokens, prompt, generated, sequences;
    sl_probe_api api;
} sl_track_batch_facts;

/* When a token was taken: not before, not after (0: not known). */
typedef struct sl_track_when {
    uint64_t from_ns, to_ns;
} sl_track_when;

/* One use of a sequence for one prompt. */
typedef enum sl_track_phase { SL_TRACK_PROMPT = 0, SL_TRACK_GENERATE } sl_track_phase;
struct sl_track_turn {
    sl_track_turn *next, *prev;     /* all */
    sl_track_turn *next_in_request; /* of the same request */
    sl_track_context *context;      /* NULL once the context is gone */
    sl_track_request *request;      /* NULL: none, or it has ended */
    sl_track_ask *ask;
    sl_span *root, *prompt_span, *generate_span;
    sl_span_context of; /* the request's span, or the root; for links, also after its end */
    sl_track_sure sure;
    sl_track_phase phase;
    int32_t seq;
    bool on_sequence;           /* the sequence holds it */
    bool closed;                /* its request has ended, its spans with it */
    bool copied;                /* began as a copy of another sequence */
    bool warmup;                /* no spans until it generates */
    bool shadow;                /* of a second context for a prompt that has its turn: speculative decoding */
    bool has_decode;            /* a llama_decode span is among its children */
    sl_track_batch_facts first; /* batch; its span is made late when it was not known below which request */
    bool loose;                 /* of one of several requests, and not known which: its spans wait for their answers */
    bool ghost;                 /* kept, although neither a sequence nor a request holds it: see `ghosts` */
    bool parted;                /* the request that it was guessed to be for ended in the midst of its prompt */
    bool first_told;            /* the metrics know of its first token */
    uint32_t last_n;            /* tokens of its last generating batch: drafts, of which some were accepted */
    uint32_t drafts;            /* generating batches that held any */
    int32_t last_pos;           /* position of the first of them */
    int32_t least_pos;          /* no step of its generation lies in front of it */
    uint32_t prompt_tokens, cached_tokens, generated, batches;
    uint64_t start_ns, prompt_end_ns, last_ns; /* last_ns: end of its last batch */
    sl_track_when first_token, last_token;
    bool by_time; /* certain by the server's times */
    sl_token_gaps gaps;
    uint64_t ties[SL_PROBE_MAX_TIES]; /* serials of the asks it may be for, its own too */
    uint32_t tie_count;
    bool ties_cut; /* there are more than fit */
};

/* Memory of one sequence. Positions [base, base + len) are known by their tokens. */
typedef struct sl_track_seq {
    sl_track_turn *turn;
    int32_t *tokens;
    uint32_t len, cap;
    int32_t base;
    int32_t next_pos; /* behind the last token; 0: empty */
    bool had_output;  /* its last batch asked for an output */
    bool removed;     /* some of it was removed since its last batch */
} sl_track_seq;

/* What a batch does for one sequence. */
typedef struct sl_track_part {
    sl_track_turn *turn;
    int32_t seq, pos;
    uint32_t prompt, generated;
    bool begins;       /* the turn begins with it */
    bool ends;         /* the prompt ends with it */
    uint32_t accepted; /* tokens of the batch before, when it held drafts: known only now; else 1 */
} sl_track_part;

/* A batch whose results nobody has waited for yet. */
typedef struct sl_track_batch {
    bool pending;
    sl_track_batch_facts is;
    sl_track_part *parts;
    uint32_t part_count, part_cap;
} sl_track_batch;

/* An output row of a batch, and the sequence whose token it gives. */
typedef struct sl_track_output {
    uint32_t row;
    int32_t seq;
} sl_track_output;
#define SL_TRACK_OUTPUTS 64

#define SL_TRACK_SIZES 16 /* batches are compared with others of about the same size */

struct sl_track_context {
    uint32_t id, model;
    int32_t n_ctx, n_ctx_seq, n_seq_max, n_batch;
    bool dry, known;
    bool beside;        /* works on prompts that have their turn in another context: drafts for speculative decoding */
    uint64_t batches;   /* that succeeded */
    uint64_t generated; /* tokens */
    uint64_t since_span;
    uint64_t usual_ns[SL_TRACK_SIZES]; /* moving medians */
    uint32_t seen[SL_TRACK_SIZES];
    sl_track_batch batch;
    sl_track_output outputs[SL_TRACK_OUTPUTS]; /* of the last batch */
    uint32_t output_count;
    sl_track_seq *seqs;
    uint32_t seq_count;
};

typedef struct sl_track_model {
    uint32_t id;
    sl_span *span; /* open until it is known whether it was a dry run */
    uint64_t load_end_ns;
    uint64_t mmap_bytes;
    uint64_t start_ns, size_bytes, n_params;
    bool failed, dry, told; /* `told`: to the metrics */
    bool found;             /* its loading was not seen; its memory is its parent's */
    char path[256], description[128];
} sl_track_model;

typedef struct sl_track_buffer {
    int64_t bytes;
    uint32_t owner;
    uint8_t phase, use; /* sl_probe_phase, sl_probe_memory */
    bool settled;       /* `use` is known, and the metrics were told */
    char device[32];
} sl_track_buffer;

#define SL_TRACK_BUCKETS 1024
#define SL_TRACK_GHOSTS 64
#define SL_TRACK_HELD 64

/* The row whose logits were fetched last, and by whom. context 0: none. */
typedef struct sl_track_sampling {
    uint32_t context, thread;
    int32_t row, seq;
    bool sampled; /* the first time counts: what the server does with it begins then */
} sl_track_sampling;

struct sl_probe_assembler {
    sl_probe_options options;
    sl_tracer *tracer;
    sl_probe_metrics *metrics;
    char *text; /* for tracestate of a parent */
    sl_track_request *requests[SL_TRACK_BUCKETS];
    uint32_t request_count, generating_count; /* open; of these with SL_TRACK_USE_GENERATE or _EMBED */
    sl_track_ask *first_ask, *last_ask;
    uint32_t ask_count;
    sl_track_turn *turns;
    sl_track_turn *ghosts[SL_TRACK_GHOSTS]; /* turns that were given away as guesses: they may have been another's */
    uint32_t next_ghost;
    sl_track_request *held[SL_TRACK_HELD]; /* oldest first */
    uint32_t held_count;
    sl_track_sampling sampling;
    /* Answers whose times are those of the turn that was certain without; of guesses, of one of those it may have been;
     * of none. */
    uint64_t times_agree, times_possible, times_differ;
    uint64_t tokens_kept;
    uint64_t serial;
    bool has_http; /* a request for tokens was seen */
    uint32_t told_busy, told_waiting;
    int32_t *scratch;     /* tokens of one sequence that lie apart in a batch */
    uint32_t slow_budget; /* spans for slow batches that may still be made in this second */
    uint64_t budget_ns, now_ns;
    int64_t clock_ns; /* see sl_probe_assembler_clock */
    bool clock_known;
    uint64_t dropped; /* events of the ring, so far */
    uint64_t damaged; /* the same */
    sl_track_model *models[SL_PROBE_MAX_MODELS];
    sl_track_context *contexts[SL_PROBE_MAX_CONTEXTS];
    sl_track_buffer buffers[SL_PROBE_MAX_BUFFERS];
    uint32_t buffer_count;
    sl_probe_assembler_stats stats;
};

/* Unix time of a time of the host's clock. */
static inline uint64_t sl_track_unix(const sl_probe_assembler *a, uint64_t mono_ns)
{
    return mono_ns ? mono_ns + (uint64_t)a->options.unix_offset_ns : 0;
}

static inline double sl_track_ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static inline uint64_t sl_track_span_of(uint64_t from, uint64_t to)
{
    return to > from ? to - from : 0;
}

/* Which of several hosts a span is of. */
static inline void sl_track_set_host(const sl_probe_assembler *a, sl_span *span)
{
    if (a->options.pid)
        sl_span_set_int(span, "process.pid", a->options.pid);
}

const char *sl_track_sure_name(sl_track_sure sure);

/* ---- requests (request.c) ---- */
sl_track_request *sl_track_request_find(sl_probe_assembler *a, uint32_t id);
/* The only open request for tokens; NULL when there are none or several. */
sl_track_request *sl_track_request_single(sl_probe_assembler *a);
/* The only open request on /slots/{id}; NULL. */
sl_track_request *sl_track_request_slots(sl_probe_assembler *a);
/* The open request for tokens that a thread is serving itself. */
sl_track_request *sl_track_request_on_thread(sl_probe_assembler *a, uint32_t thread);
void sl_track_request_begin(sl_probe_assembler *a, const sl_probe_request *event);
void sl_track_request_body(sl_probe_assembler *a, const sl_probe_request_end *event);
void sl_track_request_answer(sl_probe_assembler *a, const sl_probe_answer *event);
void sl_track_request_frame(sl_probe_assembler *a, const sl_probe_frame *event);
void sl_track_request_end(sl_probe_assembler *a, const sl_probe_answer_end *event);
/* Those that are held and need not be any more end. */
void sl_track_requests_look(sl_probe_assembler *a, uint64_t now_ns);
/* The host is gone: what is open ends. */
void sl_track_requests_gone(sl_probe_assembler *a, uint64_t now_ns, bool crashed);
/* Events were lost: what is open may miss some. */
void sl_track_requests_doubt(sl_probe_assembler *a);
/* Tells the metrics how many slots work and how many asks wait, when that has changed. */
void sl_track_load(sl_probe_assembler *a);

/* ---- turns (turn.c) ---- */
/* A turn on a sequence, nobody's yet; the sequence's earlier one ends. NULL without memory. */
sl_track_turn *sl_track_turn_new(sl_probe_assembler *a, sl_track_context *context, int32_t seq, uint64_t start_ns);
/* Ties a turn to a request, or parts them. */
void sl_track_turn_give(sl_track_turn *turn, sl_track_request *request, sl_track_ask *ask);
void sl_track_turn_take(sl_track_turn *turn);
/* Opens its spans, when that has not been done and it is not to be left out. */
void sl_track_turn_open(sl_probe_assembler *a, sl_track_turn *turn);
/* The span under which work of a turn stands; NULL: none. */
const sl_span *sl_track_turn_span(sl_probe_assembler *a, sl_track_turn *turn, bool prompt);
/* Tokens given to the client, as far as batches tell. */
uint32_t sl_track_turn_tokens(const sl_track_turn *turn);
/* Ends its spans. `completion`: tokens given to the client; negative: as counted. */
void sl_track_turn_finish(sl_probe_assembler *a, sl_track_turn *turn, int64_t completion, bool partial);
/* The sequence lets go of its turn: one without request ends. */
void sl_track_turn_leave(sl_probe_assembler *a, sl_track_seq *seq);
/* Frees a turn that neither a sequence nor a request holds. */
void sl_track_turn_release(sl_probe_assembler *a, sl_track_turn *turn);
/* Keeps a turn that its request leaves as a guess; the oldest kept one goes. */
void sl_track_turn_haunt(sl_probe_assembler *a, sl_track_turn *turn);
/* Lets go of all that are kept. */
void sl_track_ghosts_free(sl_probe_assembler *a);
/* Turns without a request that have been idle for long end. */
void sl_track_turns_age(sl_probe_assembler *a, uint64_t now_ns);

/* ---- batches (batch.c) ---- */
void sl_track_decode(sl_probe_assembler *a, const sl_probe_decode *event);
/* Somebody waited for the results of the context's batch until `end_ns` (0: it had ended with the call). */
void sl_track_batch_finish(sl_probe_assembler *a, sl_track_context *context, uint64_t end_ns);
void sl_track_batches_finish(sl_probe_assembler *a);
/* The span of a turn's first batch, below its prompt, when there is none yet. */
void sl_track_batch_late_span(sl_probe_assembler *a, sl_track_turn *turn);
void sl_track_sequence(sl_probe_assembler *a, const sl_probe_sequence *event);

/* ---- contexts, models, memory (resource.c) ---- */
/* A context by its number, made when it is new; NULL: no room. */
sl_track_context *sl_track_context_get(sl_probe_assembler *a, uint32_t id);
sl_track_context *sl_track_context_find(sl_probe_assembler *a, uint32_t id);
void sl_track_model_load(sl_probe_assembler *a, const sl_probe_model_load *event);
void sl_track_model_free(sl_probe_assembler *a, const sl_probe_model_free *event);
void sl_track_context_new(sl_probe_assembler *a, const sl_probe_context_new *event);
void sl_track_context_free(sl_probe_assembler *a, const sl_probe_context_free *event);
void sl_track_buffer_event(sl_probe_assembler *a, const sl_probe_buffer *event);
void sl_track_models_age(sl_probe_assembler *a, uint64_t now_ns);
void sl_track_resources_free(sl_probe_assembler *a);

#endif
