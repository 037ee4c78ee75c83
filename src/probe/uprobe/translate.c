/* From records to events. */
#include "src/probe/uprobe/translate.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/probe/batch_runs.h"
#include "src/probe/uprobe/programs.h"

#define REFUSED (-1)

const sl_uprobe_point sl_uprobe_points[SL_UPROBE_POINTS] = {
#define SL_POINT(name, kind, meaning)                                                                                  \
    {#name, SL_UPROBE_##kind, SL_UPROBE_##meaning,                                                                     \
     SL_UPROBE_##meaning != SL_UPROBE_MODEL_FREE && SL_UPROBE_##meaning != SL_UPROBE_CONTEXT_FREE &&                   \
         SL_UPROBE_##meaning <= SL_UPROBE_PROCESS},
#include "src/probe/uprobe/points.def"
#undef SL_POINT
};

/* A call that has not returned yet, the outermost of its thread. */
typedef struct call {
    uint64_t thread; /* 0: free */
    const sl_uprobe_point *point;
    uint64_t stack, start_ns;
    uint64_t object; /* the first argument */
    bool watched;    /* its return will be seen; else perhaps */
    char *path;      /* of a model */
    sl_probe_decode *decode;
    size_t decode_bytes;
} call;

/* A model or context of the host. */
typedef struct object {
    uint64_t address;
    uint32_t id; /* 0: free */
    bool is_model;
} object;

struct sl_uprobe_translator {
    sl_uprobe_translator_options o;
    call calls[SL_UPROBE_MAX_CALLS];
    object objects[SL_PROBE_MAX_MODELS + SL_PROBE_MAX_CONTEXTS];
    uint32_t last_model, last_context;
    /* Of the batch in hand: where the sequences of each token stand, and how many of them. */
    const int32_t *seq_id[SL_UPROBE_MOST_TOKENS];
    int32_t n_seq[SL_UPROBE_MOST_TOKENS];
};

int sl_uprobe_translator_new(const sl_uprobe_translator_options *options, sl_uprobe_translator **ret_translator)
{
    SL_ASSERT(options && options->ring && ret_translator);
    sl_uprobe_translator *t = sl_calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    t->o = *options;
    *ret_translator = t;
    return 0;
}

static void forget(call *c)
{
    sl_free(c->path);
    sl_free(c->decode);
    *c = (call){0};
}

void sl_uprobe_translator_free(sl_uprobe_translator *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < SL_UPROBE_MAX_CALLS; i++)
        forget(&t->calls[i]);
    sl_free(t);
}

/* ---- writing ---- */

static size_t event_size(size_t bytes)
{
    return (bytes + SL_PROBE_EVENT_ALIGN - 1) & ~(size_t)(SL_PROBE_EVENT_ALIGN - 1);
}

/* Room for an event, zeroed, with its head; NULL: there is none, and the ring has counted it. */
static void *take(const sl_uprobe_translator *t, sl_probe_kind kind, size_t bytes, uint64_t thread, uint64_t now_ns)
{
    size_t size = event_size(bytes);
    SL_ASSERT(size <= SL_PROBE_EVENT_MAX);
    sl_probe_event *event = sl_probe_ring_take(t->o.ring, size);
    if (!event)
        return NULL;
    memset((char *)event + sizeof event->size, 0, size - sizeof event->size);
    event->kind = (uint16_t)kind;
    event->thread = (uint32_t)thread;
    event->time_ns = now_ns;
    return event;
}

static void commit(void *event, size_t bytes)
{
    sl_probe_ring_commit(event, event_size(bytes));
}

static int32_t fact(const sl_uprobe_translator *t, sl_uprobe_fact which, uint64_t address)
{
    return t->o.fact && address ? t->o.fact(t->o.user, which, address) : -1;
}

/* ---- models and contexts ---- */

static object *object_at(sl_uprobe_translator *t, uint64_t address, bool is_model)
{
    for (size_t i = 0; i < sizeof t->objects / sizeof *t->objects; i++) {
        object *o = &t->objects[i];
        if (o->id && o->address == address && o->is_model == is_model)
            return o;
    }
    return NULL;
}

/* Its id from now on; without room for it, it is not found again. */
static void object_add(sl_uprobe_translator *t, uint64_t address, bool is_model, uint32_t id)
{
    object *place = object_at(t, address, is_model); /* freed where it was not seen */
    for (size_t i = 0; i < sizeof t->objects / sizeof *t->objects && !place; i++)
        place = t->objects[i].id ? NULL : &t->objects[i];
    if (place)
        *place = (object){address, id, is_model};
}

static void tell_context(sl_uprobe_translator *t, uint32_t id, uint16_t flags, uint64_t address, const call *c,
                         uint64_t now_ns)
{
    sl_probe_context_new *e = take(t, SL_PROBE_CONTEXT_NEW, sizeof *e, c->thread, now_ns);
    if (!e)
        return;
    const object *model = flags & SL_PROBE_CONTEXT_FOUND ? NULL : object_at(t, c->object, true);
    e->head.flags = flags | SL_PROBE_CONTEXT_NO_BYTES;
    e->start_ns = c->start_ns;
    e->context = id;
    e->model = model ? model->id : 0;
    e->n_ctx = fact(t, SL_UPROBE_N_CTX, address);
    e->n_ctx_seq = fact(t, SL_UPROBE_N_CTX_SEQ, address);
    e->n_batch = fact(t, SL_UPROBE_N_BATCH, address);
    e->n_ubatch = fact(t, SL_UPROBE_N_UBATCH, address);
    e->n_seq_max = fact(t, SL_UPROBE_N_SEQ_MAX, address);
    if (e->n_ctx_seq < 0 && e->n_seq_max == e->n_ctx) /* before 2025 n_seq_max answered n_ctx */
        e->n_seq_max = -1;
    commit(e, sizeof *e);
}

/* The id of a context that is at work; one that was there before gets its own now. */
static uint32_t context_of(sl_uprobe_translator *t, const call *c)
{
    const object *known = object_at(t, c->object, false);
    if (known)
        return known->id;
    uint32_t id = ++t->last_context;
    object_add(t, c->object, false, id);
    tell_context(t, id, SL_PROBE_CONTEXT_FOUND, c->object, c, c->start_ns);
    return id;
}

/* Memory of sequences is a context's: with one context, that one's. 0: not known. */
static uint32_t owner_of(sl_uprobe_translator *t, uint64_t address)
{
    uint32_t only = 0, count = 0;
    const object *known = object_at(t, address, false);
    if (known)
        return known->id;
    for (size_t i = 0; i < sizeof t->objects / sizeof *t->objects; i++) {
        if (t->objects[i].id && !t->objects[i].is_model) {
            only = t->objects[i].id;
            count++;
        }
    }
    return count == 1 ? only : 0;
}

static void tell_model(sl_uprobe_translator *t, const call *c, uint64_t address, bool failed, uint64_t now_ns)
{
    const char *path = c->path ? c->path : "";
    size_t tail = strlen(path) + 2;
    uint32_t id = ++t->last_model;
    if (address)
        object_add(t, address, true, id);
    sl_probe_model_load *e = take(t, SL_PROBE_MODEL_LOAD, sizeof *e + tail, c->thread, now_ns);
    if (!e)
        return;
    e->head.flags = failed ? SL_PROBE_MODEL_FAILED : 0;
    e->head.count = (uint32_t)tail;
    e->start_ns = c->start_ns;
    e->model = id;
    e->n_ctx_train = fact(t, SL_UPROBE_N_CTX_TRAIN, address);
    e->n_layer = fact(t, SL_UPROBE_N_LAYER, address);
    e->n_embd = fact(t, SL_UPROBE_N_EMBD, address);
    e->splits = 1;
    memcpy(e + 1, path, tail - 1);
    commit(e, sizeof *e + tail);
}

/* ---- batches ---- */

/* The batch of a record, as it was; lists that could not be read are as if they were not there. */
static sl_batch_block block_of(sl_uprobe_translator *t, const sl_uprobe_batch_record *r)
{
    static const int32_t some_embedding = 0;
    const char *base = (const char *)r;
    const int32_t *seqs = (const int32_t *)(const void *)(base + sl_uprobe_seqs_at(r->room));
    const int32_t *n_seq = (const int32_t *)(const void *)(base + sl_uprobe_n_seq_at(r->room));
    bool has_seqs = r->batch.seq_id && r->batch.n_seq_id && !r->faults[SL_UPROBE_SEQ] && !r->faults[SL_UPROBE_N_SEQ];
    for (uint32_t i = 0; i < r->head.tokens && has_seqs; i++) {
        t->seq_id[i] = seqs + (size_t)i * SL_UPROBE_SEQS_EACH;
        t->n_seq[i] = n_seq[i] <= (int32_t)SL_UPROBE_SEQS_EACH ? n_seq[i] : 1;
    }
    bool has_ids = r->batch.token && !r->faults[SL_UPROBE_TOKEN];
    return (sl_batch_block){
        .n_tokens = r->batch.n_tokens,
        .token = has_ids ? (const int32_t *)(const void *)(base + sl_uprobe_token_at(r->room)) : NULL,
        .embd = r->batch.token || r->batch.embd ? (const float *)(const void *)&some_embedding : NULL,
        .pos = r->batch.pos && !r->faults[SL_UPROBE_POS]
                   ? (const int32_t *)(const void *)(base + sl_uprobe_pos_at(r->room))
                   : NULL,
        .n_seq_id = has_seqs ? t->n_seq : NULL,
        .seq_id = has_seqs ? t->seq_id : NULL,
        .logits = r->batch.logits && !r->faults[SL_UPROBE_OUTPUT]
                      ? (const int8_t *)(base + sl_uprobe_output_at(r->room))
                      : NULL,
    };
}

/* Whether a record is as long as it says, and of what it says. */
static bool batch_is_whole(const sl_uprobe_batch_record *r, size_t len)
{
    return len >= sizeof *r && r->room <= SL_UPROBE_MOST_TOKENS && r->head.tokens <= r->room &&
           len >= sl_uprobe_batch_bytes(r->room);
}

/* Keeps the event of a batch until its call returns. */
static void keep_batch(sl_uprobe_translator *t, call *c, const sl_uprobe_batch_record *r, size_t len)
{
    sl_batch_plan plan = {0};
    sl_batch_block block = {0};
    if (r && batch_is_whole(r, len)) {
        block = block_of(t, r);
        uint32_t n = sl_batch_tokens(&block);
        sl_batch_look(&block, n < r->head.tokens ? n : r->head.tokens, &plan);
    }
    c->decode_bytes = sizeof *c->decode + sl_batch_tail(&plan);
    c->decode = sl_calloc(1, event_size(c->decode_bytes));
    if (!c->decode) {
        sl_probe_ring_lost(t->o.ring, 1);
        return;
    }
    c->decode->head.flags = c->point->meaning == SL_UPROBE_DECODE   ? SL_PROBE_API_DECODE
                            : c->point->meaning == SL_UPROBE_ENCODE ? SL_PROBE_API_ENCODE
                                                                    : SL_PROBE_API_PROCESS;
    c->decode->start_ns = c->start_ns;
    c->decode->context = context_of(t, c);
    c->decode->n_tokens = sl_batch_tokens(&block);
    sl_batch_write(&block, &plan, c->decode);
}

static void tell_batch(sl_uprobe_translator *t, const call *c, int32_t result, uint64_t now_ns)
{
    const sl_probe_decode *kept = c->decode;
    if (!kept)
        return;
    /* The library found it invalid: then it is not known what is in it. */
    size_t bytes = result == REFUSED ? sizeof *kept : c->decode_bytes;
    sl_probe_decode *e = take(t, SL_PROBE_DECODE, bytes, c->thread, now_ns);
    if (!e)
        return;
    memcpy(&e->start_ns, &kept->start_ns, bytes - offsetof(sl_probe_decode, start_ns));
    e->head.flags = kept->head.flags;
    e->head.count = result == REFUSED ? 0 : kept->head.count;
    e->n_listed = result == REFUSED ? 0 : kept->n_listed;
    e->result = result;
    commit(e, bytes);
}

/* ---- calls and returns ---- */

static call *call_of(sl_uprobe_translator *t, uint64_t thread)
{
    for (size_t i = 0; i < SL_UPROBE_MAX_CALLS; i++) {
        if (t->calls[i].thread == thread)
            return &t->calls[i];
    }
    return NULL;
}

/* Tells a call, and forgets it. `value`: what it returned; without `seen` that is not known. */
static void finish(sl_uprobe_translator *t, call *c, bool seen, uint64_t value, uint64_t now_ns)
{
    SL_ASSERT(c->thread && c->point);
    switch (c->point->meaning) {
    case SL_UPROBE_MODEL_LOAD:
        tell_model(t, c, value, seen && !value, now_ns);
        break;
    case SL_UPROBE_CONTEXT_NEW:
        if (seen) { /* one whose making was not seen to end is found when it works */
            uint32_t id = ++t->last_context;
            if (value)
                object_add(t, value, false, id);
            tell_context(t, id, value ? 0 : SL_PROBE_CONTEXT_FAILED, value, c, now_ns);
        }
        break;
    default:
        tell_batch(t, c, seen ? (int32_t)(uint32_t)value : SL_PROBE_RESULT_UNKNOWN, now_ns);
        break;
    }
    forget(c);
}

/* A context has one user at a time: what is done to it now begins after calls whose end was missed. */
static void finish_missed(sl_uprobe_translator *t, uint32_t context, const call *begins, uint64_t now_ns)
{
    for (size_t i = 0; i < SL_UPROBE_MAX_CALLS; i++) {
        call *c = &t->calls[i];
        if (c != begins && c->thread && !c->watched && c->decode && c->decode->context == context)
            finish(t, c, false, 0, now_ns);
    }
}

static void returned(sl_uprobe_translator *t, const sl_uprobe_record *r)
{
    call *c = call_of(t, r->thread);
    if (c && c->stack == r->stack)
        finish(t, c, true, r->args[0], r->time_ns);
}

/*
 * True for a call from within one that will be told. Ends one whose return was missed: no function calls itself, so
 * that a second call of it says that the first was left (by an exception, perhaps).
 */
static bool is_within(sl_uprobe_translator *t, const sl_uprobe_record *r, const sl_uprobe_point *point)
{
    call *c = call_of(t, r->thread);
    if (!c)
        return false;
    bool alike = c->point->meaning == point->meaning, again = c->point == point;
    if (!again && (r->stack < c->stack ? c->watched || alike : r->stack == c->stack && alike))
        return true;
    uint64_t value =
        c->point->meaning == SL_UPROBE_MODEL_LOAD && point->meaning == SL_UPROBE_CONTEXT_NEW ? r->args[0] : 0;
    finish(t, c, false, value, r->time_ns);
    return false;
}

static char *copy_path(const void *record, size_t len)
{
    const sl_uprobe_text_record *r = record;
    if (len < sizeof *r || r->len <= 0 || r->len > (int64_t)sizeof r->text)
        return NULL;
    size_t bytes = strnlen(r->text, (size_t)r->len - 1);
    char *path = sl_malloc(bytes + 1);
    if (path) {
        memcpy(path, r->text, bytes);
        path[bytes] = '\0';
    }
    return path;
}

/* Room for a call. Threads that ended within one never return from it: the oldest call goes. */
static call *room_for_call(sl_uprobe_translator *t, uint64_t now_ns)
{
    call *oldest = call_of(t, 0);
    if (oldest)
        return oldest;
    oldest = t->calls;
    for (size_t i = 1; i < SL_UPROBE_MAX_CALLS; i++) {
        if (t->calls[i].start_ns < oldest->start_ns)
            oldest = &t->calls[i];
    }
    finish(t, oldest, false, 0, now_ns);
    return oldest;
}

static void begun(sl_uprobe_translator *t, const sl_uprobe_point *point, const void *record, size_t len)
{
    const sl_uprobe_record *r = record;
    call *c = room_for_call(t, r->time_ns);
    bool watched = t->o.site && t->o.site(t->o.user, r->from) <= r->time_ns;
    *c = (call){.thread = r->thread,
                .point = point,
                .stack = r->stack,
                .start_ns = r->time_ns,
                .object = r->args[0],
                .watched = watched};
    if (point->kind == SL_UPROBE_TEXT || point->kind == SL_UPROBE_TEXTS)
        c->path = copy_path(record, len);
    else if (point->kind == SL_UPROBE_BATCH)
        keep_batch(t, c, record, len);
    else if (point->meaning == SL_UPROBE_PROCESS)
        keep_batch(t, c, NULL, 0);
    if (point->meaning == SL_UPROBE_PROCESS && c->decode && r->args[1] == 0)
        c->decode->head.flags = SL_PROBE_API_ENCODE;
    if (c->decode)
        finish_missed(t, c->decode->context, c, r->time_ns);
}

/* ---- calls that are told at once ---- */

static void tell_freed(sl_uprobe_translator *t, const sl_uprobe_record *r, bool is_model)
{
    object *o = object_at(t, r->args[0], is_model);
    if (!o)
        return;
    if (!is_model)
        finish_missed(t, o->id, NULL, r->time_ns);
    /* Both events have the same shape. */
    sl_probe_context_free *e =
        take(t, is_model ? SL_PROBE_MODEL_FREE : SL_PROBE_CONTEXT_FREE, sizeof *e, r->thread, r->time_ns);
    if (e) {
        e->context = o->id;
        commit(e, sizeof *e);
    }
    o->id = 0;
}

static void tell_sequence(sl_uprobe_translator *t, const sl_uprobe_record *r, sl_uprobe_meaning meaning)
{
    static const uint16_t ops[] = {SL_PROBE_SEQ_CLEAR, SL_PROBE_SEQ_RM,  SL_PROBE_SEQ_CP,
                                   SL_PROBE_SEQ_KEEP,  SL_PROBE_SEQ_ADD, SL_PROBE_SEQ_DIV};
    uint32_t context = owner_of(t, r->args[0]);
    if (context)
        finish_missed(t, context, NULL, r->time_ns);
    sl_probe_sequence *e = context ? take(t, SL_PROBE_SEQUENCE, sizeof *e, r->thread, r->time_ns) : NULL;
    if (!e)
        return;
    bool copies = meaning == SL_UPROBE_SEQ_CP, clears = meaning == SL_UPROBE_SEQ_CLEAR;
    bool ranged = !clears && meaning != SL_UPROBE_SEQ_KEEP;
    unsigned at = copies ? 3 : 2;
    e->head.flags = ops[meaning - SL_UPROBE_SEQ_CLEAR];
    e->start_ns = r->time_ns;
    e->context = context;
    e->seq = clears ? -1 : (int32_t)(uint32_t)r->args[1];
    e->seq_to = copies ? (int32_t)(uint32_t)r->args[2] : -1;
    e->p0 = ranged ? (int32_t)(uint32_t)r->args[at] : -1;
    e->p1 = ranged ? (int32_t)(uint32_t)r->args[at + 1] : -1;
    e->delta = meaning == SL_UPROBE_SEQ_ADD || meaning == SL_UPROBE_SEQ_DIV ? (int32_t)(uint32_t)r->args[4] : 0;
    commit(e, sizeof *e);
}

void sl_uprobe_translate(sl_uprobe_translator *t, const void *record, size_t len)
{
    SL_ASSERT(t && record);
    const sl_uprobe_record *r = record;
    if (len < sizeof *r || r->thread == 0)
        return;
    if (r->point == SL_UPROBE_RETURN) {
        returned(t, r);
        return;
    }
    const sl_uprobe_point *point = r->point < SL_UPROBE_POINTS ? &sl_uprobe_points[r->point] : NULL;
    if (!point || is_within(t, r, point))
        return;
    if (point->returns)
        begun(t, point, record, len);
    else if (point->meaning == SL_UPROBE_MODEL_FREE || point->meaning == SL_UPROBE_CONTEXT_FREE)
        tell_freed(t, r, point->meaning == SL_UPROBE_MODEL_FREE);
    else
        tell_sequence(t, r, point->meaning);
}

/* ---- begin and end ---- */

void sl_uprobe_tell_attached(sl_uprobe_translator *t, uint32_t pid, const char *exe, const char *library,
                             const char *found)
{
    SL_ASSERT(t && exe && library && found);
    uint64_t now_ns = sl_mono_ns();
    size_t one = strlen(exe) + 1, two = strlen(library) + 1, names = strlen(found);
    sl_probe_attach *e = take(t, SL_PROBE_ATTACH, sizeof *e + one + two + 1, pid, now_ns);
    if (e) {
        e->head.count = (uint32_t)(one + two + 1);
        e->start_ns = now_ns;
        e->pid = pid;
        memcpy(e + 1, exe, one);
        memcpy((char *)(e + 1) + one, library, two);
        commit(e, sizeof *e + one + two + 1);
    }
    sl_probe_event *f = take(t, SL_PROBE_FOUND, sizeof *f + names, pid, now_ns);
    if (f) {
        f->count = (uint32_t)names;
        memcpy(f + 1, found, names);
        commit(f, sizeof *f + names);
    }
}

void sl_uprobe_tell_missed(sl_uprobe_translator *t, uint64_t now_ns, uint64_t age_ns)
{
    SL_ASSERT(t);
    for (size_t i = 0; i < SL_UPROBE_MAX_CALLS; i++) {
        call *c = &t->calls[i];
        bool began = c->start_ns <= now_ns; /* records come in while the clock is read */
        if (c->thread && !c->watched && c->decode && began && now_ns - c->start_ns >= age_ns)
            finish(t, c, false, 0, now_ns);
    }
}

void sl_uprobe_tell_end(sl_uprobe_translator *t, uint64_t now_ns)
{
    SL_ASSERT(t);
    sl_uprobe_tell_missed(t, now_ns, 0);
    for (size_t i = 0; i < SL_UPROBE_MAX_CALLS; i++)
        forget(&t->calls[i]);
    sl_probe_event *e = take(t, SL_PROBE_EXIT, sizeof *e, 0, now_ns);
    if (e)
        commit(e, sizeof *e);
}
