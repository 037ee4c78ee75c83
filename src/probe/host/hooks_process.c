/*
 * Hooks: llama_process and its batches (llama.cpp since autumn 2026). Such a batch is opaque: what is in it is known by
 * watching it being filled. The copy is laid out as a llama_batch, so that both families are told in the same way.
 */
#include <sys/mman.h>

#include "src/probe/host/hook.h"

#define FIRST_TOKENS 2048u
#define MOST_TOKENS (1u << 20) /* more are counted, not kept */
#define MOST_EXTRA (1u << 20)  /* pages are touched as they are used */
#define NO_TOKEN (-1)

/* The copy of a batch; in memory of its own. Used by one thread at a time, as the batch is. */
typedef struct builder {
    uint32_t n, room;
    uint32_t with_id; /* tokens that have an id rather than an embedding */
    uint32_t extra, extra_room;
    bool torn; /* something did not fit: its tokens are not told */
    /* One region: seq_id first, for its alignment. */
    const int32_t **seq_id;
    int32_t *token, *pos, *seq, *n_seq_id;
    int8_t *output;
    int32_t *extras; /* lists of tokens that belong to several sequences */
} builder;

typedef struct sl_embd_block {
    uint64_t words[8]; /* llama_embd: 24 bytes */
} sl_embd_block;

typedef void *(*batch_init_fn)(void *context);
typedef void (*batch_fn)(void *batch);
typedef int32_t (*add_fn)(void *batch, int32_t seq);
typedef int32_t (*add_token_fn)(void *batch, int32_t seq, int32_t token);
typedef int32_t (*add_embd_fn)(void *batch, int32_t seq, sl_embd_block embd);
typedef bool (*add_seq_fn)(void *batch, int32_t index, int32_t seq);
typedef bool (*set_pos_fn)(void *batch, int32_t index, const int32_t *pos);
typedef bool (*set_output_fn)(void *batch, int32_t index, bool value);
typedef int32_t (*process_fn)(void *context, int32_t type, void *batch);

void *hook_llama_batch_ext_init(void *context);
void hook_llama_batch_ext_free(void *batch);
void hook_llama_batch_ext_clear(void *batch);
int32_t hook_llama_batch_ext_add(void *batch, int32_t seq);
int32_t hook_llama_batch_ext_add_token(void *batch, int32_t seq, int32_t token);
int32_t hook_llama_batch_ext_add_embd(void *batch, int32_t seq, sl_embd_block embd);
bool hook_llama_batch_ext_add_seq(void *batch, int32_t index, int32_t seq);
bool hook_llama_batch_ext_set_pos(void *batch, int32_t index, const int32_t *pos);
bool hook_llama_batch_ext_set_output_logits(void *batch, int32_t index, bool value);
bool hook_llama_batch_ext_set_output_embd(void *batch, int32_t index, bool value);
int32_t hook_llama_process(void *context, int32_t type, void *batch);

/* ---- the copy ---- */

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static size_t region_bytes(uint32_t room)
{
    return (size_t)room * (sizeof(int32_t *) + 4 * sizeof(int32_t) + sizeof(int8_t));
}

static void lay_out(builder *b, void *region, uint32_t room)
{
    SL_ASSERT(b && region && room > 0);
    b->seq_id = region;
    b->token = (int32_t *)(void *)(b->seq_id + room);
    b->pos = b->token + room;
    b->seq = b->pos + room;
    b->n_seq_id = b->seq + room;
    b->output = (int8_t *)(b->n_seq_id + room);
    b->room = room;
}

/* A larger region with what was in the smaller one. */
static bool grow(builder *b)
{
    builder old = *b;
    uint32_t room = old.room ? old.room * 2 : FIRST_TOKENS;
    void *region = room <= MOST_TOKENS ? map(region_bytes(room)) : NULL;
    if (!region)
        return false;
    lay_out(b, region, room);
    for (uint32_t i = 0; i < old.n; i++) {
        b->token[i] = old.token[i];
        b->pos[i] = old.pos[i];
        b->seq[i] = old.seq[i];
        b->n_seq_id[i] = old.n_seq_id[i];
        b->output[i] = old.output[i];
        b->seq_id[i] = old.n_seq_id[i] > 1 ? old.seq_id[i] : &b->seq[i];
    }
    if (old.room)
        (void)munmap(old.seq_id, region_bytes(old.room));
    return true;
}

static builder *builder_new(void)
{
    builder *b = map(sizeof *b);
    if (b && !grow(b)) {
        (void)munmap(b, sizeof *b);
        b = NULL;
    }
    return b;
}

static void builder_free(builder *b)
{
    if (!b)
        return;
    (void)munmap(b->seq_id, region_bytes(b->room));
    if (b->extras)
        (void)munmap(b->extras, b->extra_room * sizeof(int32_t));
    (void)munmap(b, sizeof *b);
}

static void builder_clear(builder *b)
{
    b->n = b->with_id = b->extra = 0;
    b->torn = false;
}

/* `index` is what the library answered: that of the token just added. */
static void builder_add(builder *b, int32_t index, int32_t seq, int32_t token)
{
    if (!b || index < 0)
        return;
    if ((uint32_t)index != b->n || (b->n == b->room && !grow(b))) {
        b->torn = true;
        return;
    }
    uint32_t i = b->n++;
    b->token[i] = token;
    b->pos[i] = -1;
    b->seq[i] = seq;
    b->n_seq_id[i] = 1;
    b->seq_id[i] = &b->seq[i];
    b->output[i] = 0;
    b->with_id += token != NO_TOKEN;
}

/* A token of one more sequence: its list moves to the end of the extras. */
static void builder_share(builder *b, int32_t index, int32_t seq)
{
    if (!b || index < 0 || (uint32_t)index >= b->n)
        return;
    uint32_t have = (uint32_t)b->n_seq_id[index];
    if (!b->extras) {
        b->extras = map(MOST_EXTRA * sizeof(int32_t));
        b->extra_room = b->extras ? MOST_EXTRA : 0;
    }
    if (!b->extras || b->extra + have + 1 > b->extra_room) {
        b->torn = true;
        return;
    }
    int32_t *list = b->extras + b->extra;
    memcpy(list, b->seq_id[index], have * sizeof *list);
    list[have] = seq;
    b->seq_id[index] = list;
    b->n_seq_id[index]++;
    b->extra += have + 1;
}

static bool holds(const builder *b, int32_t index)
{
    return b && index >= 0 && (uint32_t)index < b->n;
}

/* ---- the hooks ---- */

#define RECORDING(name, real) sl_host_recording(SL_HOOK_##name, (void *)(real))

static builder *copy_of(const sl_host_object *object)
{
    return object ? object->data : NULL;
}

void *hook_llama_batch_ext_init(void *context)
{
    const sl_host_object *of = sl_host_object_find(context, SL_HOST_CONTEXT);
    batch_init_fn real = SL_REAL(batch_init_fn, llama_batch_ext_init, of);
    if (!real)
        return NULL;
    void *batch = real(context);
    if (!batch || !sl_host_seen())
        return batch;
    int kept = errno;
    sl_host_object was, facts = {.kind = SL_HOST_BATCH, .lib = of ? of->lib : 0, .data = builder_new()};
    if (sl_host_object_remove(batch, SL_HOST_BATCH, &was)) /* freed where we did not see it */
        builder_free(was.data);
    if (facts.data && !sl_host_object_add(batch, &facts))
        builder_free(facts.data);
    errno = kept;
    return batch;
}

void hook_llama_batch_ext_free(void *batch)
{
    sl_host_object was;
    batch_fn real = SL_REAL(batch_fn, llama_batch_ext_free, sl_host_object_find(batch, SL_HOST_BATCH));
    if (!real)
        return;
    int kept = errno;
    if (sl_host_object_remove(batch, SL_HOST_BATCH, &was))
        builder_free(was.data);
    errno = kept;
    real(batch);
}

void hook_llama_batch_ext_clear(void *batch)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    batch_fn real = SL_REAL(batch_fn, llama_batch_ext_clear, object);
    if (!real)
        return;
    real(batch);
    if (RECORDING(llama_batch_ext_clear, real) && copy_of(object))
        builder_clear(copy_of(object));
}

int32_t hook_llama_batch_ext_add(void *batch, int32_t seq)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    add_fn real = SL_REAL(add_fn, llama_batch_ext_add, object);
    if (!real)
        return -1;
    int32_t index = real(batch, seq);
    if (RECORDING(llama_batch_ext_add, real))
        builder_add(copy_of(object), index, seq, NO_TOKEN);
    return index;
}

int32_t hook_llama_batch_ext_add_token(void *batch, int32_t seq, int32_t token)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    add_token_fn real = SL_REAL(add_token_fn, llama_batch_ext_add_token, object);
    if (!real)
        return -1;
    int32_t index = real(batch, seq, token);
    if (RECORDING(llama_batch_ext_add_token, real))
        builder_add(copy_of(object), index, seq, token);
    return index;
}

int32_t hook_llama_batch_ext_add_embd(void *batch, int32_t seq, sl_embd_block embd)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    add_embd_fn real = SL_REAL(add_embd_fn, llama_batch_ext_add_embd, object);
    if (!real)
        return -1;
    int32_t index = real(batch, seq, embd);
    if (RECORDING(llama_batch_ext_add_embd, real))
        builder_add(copy_of(object), index, seq, NO_TOKEN);
    return index;
}

bool hook_llama_batch_ext_add_seq(void *batch, int32_t index, int32_t seq)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    add_seq_fn real = SL_REAL(add_seq_fn, llama_batch_ext_add_seq, object);
    if (!real)
        return false;
    bool done = real(batch, index, seq);
    if (done && RECORDING(llama_batch_ext_add_seq, real))
        builder_share(copy_of(object), index, seq);
    return done;
}

bool hook_llama_batch_ext_set_pos(void *batch, int32_t index, const int32_t *pos)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    set_pos_fn real = SL_REAL(set_pos_fn, llama_batch_ext_set_pos, object);
    if (!real)
        return false;
    bool done = real(batch, index, pos);
    if (done && pos && RECORDING(llama_batch_ext_set_pos, real) && holds(copy_of(object), index))
        copy_of(object)->pos[index] = *pos;
    return done;
}

/* A token has an output while it is to give either: `kind` is a bit for each. */
static bool set_output(set_output_fn real, sl_hook_id id, const sl_host_object *object, void *batch, int32_t index,
                       bool value, int8_t kind)
{
    if (!real)
        return false;
    bool done = real(batch, index, value);
    if (done && sl_host_recording(id, (void *)real) && holds(copy_of(object), index)) {
        int8_t *output = &copy_of(object)->output[index];
        *output = (int8_t)(value ? *output | kind : *output & ~kind);
    }
    return done;
}

bool hook_llama_batch_ext_set_output_logits(void *batch, int32_t index, bool value)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    set_output_fn real = SL_REAL(set_output_fn, llama_batch_ext_set_output_logits, object);
    return set_output(real, SL_HOOK_llama_batch_ext_set_output_logits, object, batch, index, value, 1);
}

bool hook_llama_batch_ext_set_output_embd(void *batch, int32_t index, bool value)
{
    const sl_host_object *object = sl_host_object_find(batch, SL_HOST_BATCH);
    set_output_fn real = SL_REAL(set_output_fn, llama_batch_ext_set_output_embd, object);
    return set_output(real, SL_HOOK_llama_batch_ext_set_output_embd, object, batch, index, value, 2);
}

static sl_batch_block as_batch(const builder *b)
{
    static const float any_embedding = 0;
    if (!b)
        return (sl_batch_block){0};
    return (sl_batch_block){
        .n_tokens = (int32_t)b->n,
        .token = b->with_id && !b->torn ? b->token : NULL,
        .embd = &any_embedding,
        .pos = b->pos,
        .n_seq_id = b->n_seq_id,
        .seq_id = (const int32_t *const *)b->seq_id,
        .logits = b->output,
    };
}

int32_t hook_llama_process(void *context, int32_t type, void *batch)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    process_fn real = SL_REAL(process_fn, llama_process, object);
    if (!real)
        return -1;
    if (!RECORDING(llama_process, real) || sl_host_nested())
        return real(context, type, batch);
    sl_host_scope scope;
    sl_host_scope_begin(&scope, SL_PROBE_PHASE_CONTEXT, object ? object->id : 0);
    uint64_t start_ns = sl_host_now();
    int32_t result = real(context, type, batch);
    int kept = errno;
    sl_batch_block copy = as_batch(copy_of(sl_host_object_find(batch, SL_HOST_BATCH)));
    if (object)
        atomic_store_explicit(&object->waiting, 1, memory_order_relaxed);
    sl_host_tell_batch(object, type == 0 ? SL_PROBE_API_ENCODE : SL_PROBE_API_PROCESS, start_ns, result, &copy);
    sl_host_scope_end(&scope);
    errno = kept;
    return result;
}
