/* Hooks: llama_decode and llama_encode, and how a batch becomes runs. */
#include "src/probe/host/hook.h"

/* Fits the longest event with room for as many tokens. */
#define MAX_RUNS 4096u
#define FEW_RUNS 8u
#define REFUSED (-1) /* the library found the batch invalid: it has not read all of it, nor may we */
#define MAX_LISTED ((SL_PROBE_EVENT_MAX - sizeof(sl_probe_decode) - MAX_RUNS * sizeof(sl_probe_run)) / sizeof(int32_t))

typedef int32_t (*decode_fn)(void *context, sl_batch_block batch);

int32_t hook_llama_decode(void *context, sl_batch_block batch);
int32_t hook_llama_encode(void *context, sl_batch_block batch);

static uint32_t seq_count(const sl_batch_block *b, uint32_t i)
{
    int32_t n = b->seq_id && b->n_seq_id ? b->n_seq_id[i] : 1;
    return n < 1 ? 1 : (uint32_t)n;
}

static int32_t seq_of(const sl_batch_block *b, uint32_t i, uint32_t which)
{
    return b->seq_id && b->seq_id[i] ? b->seq_id[i][which] : 0;
}

/* Token `j` belongs to the sequences that token `i` belongs to. */
static bool same_seqs(const sl_batch_block *b, uint32_t i, uint32_t j, uint32_t count)
{
    if (!b->seq_id)
        return true;
    if (seq_count(b, j) != count || seq_of(b, i, 0) != seq_of(b, j, 0))
        return false;
    for (uint32_t s = 1; s < count; s++)
        if (seq_of(b, i, s) != seq_of(b, j, s))
            return false;
    return true;
}

/* Without the list, the last token of the batch alone has an output. */
static bool has_output(const sl_batch_block *b, uint32_t i)
{
    return b->logits ? b->logits[i] != 0 : i + 1 == (uint32_t)b->n_tokens;
}

/* The run that begins at token `i`; returns where the next one does. `*ret_seqs`: sequences that share it. */
static uint32_t next_run(const sl_batch_block *b, uint32_t i, sl_probe_run *ret_run, uint32_t *ret_seqs)
{
    uint32_t n = (uint32_t)b->n_tokens, seqs = seq_count(b, i), end = i, outputs = 0;
    bool last;
    SL_ASSERT(i < n);
    do {
        last = has_output(b, end);
        outputs += last;
        end++;
    } while (end < n && (!b->pos || b->pos[end] == b->pos[end - 1] + 1) && same_seqs(b, i, end, seqs));
    *ret_run = (sl_probe_run){
        .seq = seq_of(b, i, 0),
        .pos = b->pos ? b->pos[i] : -1,
        .n = end - i,
        .outputs = outputs,
        .row = i,
        .flags = (b->token ? 0u : SL_PROBE_RUN_NO_TOKENS) | (last ? SL_PROBE_RUN_LAST_OUTPUT : 0u),
    };
    *ret_seqs = seqs;
    return end;
}

/* What the first look at a batch finds: most have few runs, which then need not be found again. */
typedef struct plan {
    uint32_t runs;    /* at most MAX_RUNS */
    uint32_t covered; /* tokens in them */
    sl_probe_run first[FEW_RUNS];
} plan;

/* One run for each sequence that shares it. */
static void put_run(const sl_batch_block *b, const sl_probe_run *run, uint32_t seqs, sl_probe_run *ret_runs)
{
    ret_runs[0] = *run;
    for (uint32_t s = 1; s < seqs; s++) {
        ret_runs[s] = *run;
        ret_runs[s].seq = seq_of(b, run->row, s);
        ret_runs[s].flags |= SL_PROBE_RUN_SHARED;
    }
}

static void look(const sl_batch_block *b, uint32_t n, plan *ret_plan)
{
    uint32_t i = 0, seqs;
    sl_probe_run run;
    ret_plan->runs = 0;
    while (i < n) {
        uint32_t end = next_run(b, i, &run, &seqs);
        if (ret_plan->runs + seqs > MAX_RUNS)
            break;
        if (ret_plan->runs + seqs <= FEW_RUNS)
            put_run(b, &run, seqs, ret_plan->first + ret_plan->runs);
        ret_plan->runs += seqs;
        i = end;
    }
    ret_plan->covered = i;
}

static void write_runs(const sl_batch_block *b, const plan *p, sl_probe_run *ret_runs)
{
    uint32_t i = 0, seqs, done = 0;
    sl_probe_run run;
    if (p->runs <= FEW_RUNS) {
        memcpy(ret_runs, p->first, p->runs * sizeof run);
        return;
    }
    while (done < p->runs) {
        i = next_run(b, i, &run, &seqs);
        put_run(b, &run, seqs, ret_runs + done);
        done += seqs;
    }
}

void sl_host_tell_batch(const sl_host_object *object, sl_probe_api api, uint64_t start_ns, int32_t result,
                        const sl_batch_block *batch)
{
    uint32_t n = batch->n_tokens > 0 && (batch->token || batch->embd) ? (uint32_t)batch->n_tokens : 0;
    plan p;
    look(batch, result == REFUSED ? 0 : n, &p);
    uint32_t listed = batch->token ? p.covered : 0;
    listed = listed < MAX_LISTED ? listed : (uint32_t)MAX_LISTED;
    size_t tail = p.runs * sizeof(sl_probe_run) + listed * sizeof(int32_t);
    sl_probe_decode *e = (sl_probe_decode *)(void *)sl_host_take(SL_PROBE_DECODE, sizeof *e, tail);
    if (!e)
        return;
    e->head.flags = (uint16_t)api;
    e->head.count = p.runs;
    e->start_ns = start_ns;
    e->context = object ? object->id : 0;
    e->result = result;
    e->n_tokens = n;
    e->n_listed = listed;
    write_runs(batch, &p, (sl_probe_run *)(void *)(e + 1));
    if (listed)
        memcpy((char *)(e + 1) + p.runs * sizeof(sl_probe_run), batch->token, listed * sizeof(int32_t));
    sl_host_commit(&e->head, sizeof *e, tail);
}

static int32_t compute(decode_fn real, sl_probe_api api, sl_host_object *object, void *context,
                       const sl_batch_block *batch)
{
    sl_host_scope scope;
    sl_host_scope_begin(&scope, SL_PROBE_PHASE_CONTEXT, object ? object->id : 0);
    uint64_t start_ns = sl_host_now();
    int32_t result = real(context, *batch);
    int kept = errno;
    if (object)
        atomic_store_explicit(&object->waiting, 1, memory_order_relaxed);
    sl_host_tell_batch(object, api, start_ns, result, batch);
    sl_host_scope_end(&scope);
    errno = kept;
    return result;
}

int32_t hook_llama_decode(void *context, sl_batch_block batch)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    decode_fn real = SL_REAL(decode_fn, llama_decode, object);
    if (!real)
        return -1;
    if (!sl_host_recording(SL_HOOK_llama_decode, (void *)real) || sl_host_nested())
        return real(context, batch);
    return compute(real, SL_PROBE_API_DECODE, object, context, &batch);
}

int32_t hook_llama_encode(void *context, sl_batch_block batch)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    decode_fn real = SL_REAL(decode_fn, llama_encode, object);
    if (!real)
        return -1;
    if (!sl_host_recording(SL_HOOK_llama_encode, (void *)real) || sl_host_nested())
        return real(context, batch);
    return compute(real, SL_PROBE_API_ENCODE, object, context, &batch);
}
