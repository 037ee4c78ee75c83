/*
 * The part of the probe that runs inside a host process: what its files share.
 *
 * The law of this folder: the host never behaves differently. A hook forwards first of all; recording comes second and
 * fails open. Nothing here prints, aborts, allocates from the host's heap, starts a thread (but for bare.c), or leaves
 * errno changed. No constructor: everything begins with the host's first call of libllama.
 *
 * A hook is a C function `hook_NAME` for a row of hooks.def; the exported NAME is a stub that jumps to it (stubs.c).
 */
#ifndef SL_PROBE_HOST_H
#define SL_PROBE_HOST_H

#include <errno.h>
#include <stdatomic.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/probe/ring.h"

/* ---- the table of hooks ---- */

typedef enum sl_hook_id {
#define SL_HOOK(name, kind) SL_HOOK_##name,
#include "src/probe/host/hooks.def"
#undef SL_HOOK
    SL_HOOK_COUNT
} sl_hook_id;

typedef enum sl_hook_kind { SL_HOOK_KIND_LLAMA, SL_HOOK_KIND_GGML, SL_HOOK_KIND_OTHER, SL_HOOK_KIND_LIBC } sl_hook_kind;

/* ---- the host ---- */

typedef enum sl_host_state {
    SL_HOST_UNSEEN = 0, /* libllama was not called yet (in this process: a forked child begins here again) */
    SL_HOST_ATTACHING,
    SL_HOST_ON,
    SL_HOST_OFF /* asked for, or nothing to write to: for good */
} sl_host_state;

/* On a page that the kernel clears in a forked child. */
typedef struct sl_host {
    _Atomic uint32_t state;
    uint32_t pid;
    bool bare; /* read by a thread of its own */
    sl_probe_ring *ring;
    _Atomic uint32_t busy;                          /* real.c's lock */
    _Atomic uint32_t last_request, last_connection; /* ids given out */
} sl_host;
extern union sl_host_page {
    sl_host host;
    unsigned char page[4096];
} sl_host_state_page;
#define sl_the_host (&sl_host_state_page.host)

/* True while events are recorded: what every hook asks before it does anything of its own. */
static inline bool sl_host_on(void)
{
    return atomic_load_explicit(&sl_the_host->state, memory_order_relaxed) == SL_HOST_ON;
}

/* Only while sl_host_on(). */
static inline sl_probe_ring *sl_host_ring(void)
{
    return sl_the_host->ring;
}

/*
 * Attaches on the first call in a process; called by the hooks of libllama alone. True when what this thread does is
 * recorded.
 */
bool sl_host_seen(void);
/* The same for a hook whose function is `real`: where nothing is to be recorded for good, its entry becomes a jump. */
bool sl_host_recording(sl_hook_id id, void *real);

/* Monotonic nanoseconds. */
static inline uint64_t sl_host_now(void)
{
    return sl_mono_ns();
}

/* True when SIGHTLINE_PROBE=off was set for this process. */
bool sl_host_off_asked(void);

/*
 * True in the process that attached: false in a child of vfork(), which shares all memory but has descriptors of its
 * own. Costs a system call.
 */
bool sl_host_same_process(void);

/* ---- the thread ---- */

typedef struct sl_host_thread {
    uint32_t generation; /* of the host's attaching; fields below are of an earlier process when it differs */
    uint32_t tid;
    uint32_t request;  /* whose request this thread serves; 0: none that is known */
    uintptr_t frame;   /* on the stack: of a call that is recorded as a whole (hook.h); 0: none */
    uint32_t owner;    /* of the memory that is allocated now: model or context, as `phase` says */
    uint8_t phase;     /* sl_probe_phase */
    uint8_t kv;        /* within PHASE_CONTEXT: memory of the sequences is being allocated */
    uint8_t ours;      /* a thread of the probe itself: nothing is recorded */
    uint8_t calls;     /* has called libllama */
    uint8_t alone;     /* the logits that it has fetched last are those of a batch with one output */
    uint64_t bytes[4]; /* taken since the phase began: KV, compute, output or weights; mapped */
    uint32_t empty;    /* buffers of no bytes asked for since then */
} sl_host_thread;
extern _Thread_local sl_host_thread sl_host_thread_state __attribute__((tls_model("initial-exec")));
extern _Atomic uint32_t sl_host_generation;

/* Sets the thread's record up anew. */
void sl_host_thread_begin(sl_host_thread *thread);

/* This thread's record, of this process. */
static inline sl_host_thread *sl_host_this_thread(void)
{
    sl_host_thread *thread = &sl_host_thread_state;
    if (SL_UNLIKELY(thread->generation != atomic_load_explicit(&sl_host_generation, memory_order_relaxed)))
        sl_host_thread_begin(thread);
    return thread;
}

/* Id of the request that the calling thread serves (0: none), as the hooks of the HTTP side have found out. */
static inline uint32_t sl_host_request(void)
{
    return sl_host_this_thread()->request;
}

static inline void sl_host_set_request(uint32_t request)
{
    sl_host_this_thread()->request = request;
}

/* The calling thread belongs to the probe: none of its calls is recorded, from now on. */
void sl_host_thread_is_ours(void);

/* ---- writing ---- */

/*
 * Takes room for an event with `tail` bytes behind a body of `body` bytes, and fills its head (flags and count 0).
 * NULL: there is no room; counted. Only while sl_host_on(). What is behind the body up to the event's end is zeroed as
 * far as it is padding. The caller fills the rest at once and hands the event to sl_host_commit with the same sizes.
 */
sl_probe_event *sl_host_take(sl_probe_kind kind, size_t body, size_t tail);

static inline size_t sl_host_event_size(size_t body, size_t tail)
{
    return (body + tail + SL_PROBE_EVENT_ALIGN - 1) & ~(size_t)(SL_PROBE_EVENT_ALIGN - 1);
}

static inline void sl_host_commit(sl_probe_event *event, size_t body, size_t tail)
{
    sl_probe_ring_commit(event, sl_host_event_size(body, tail));
}

/* ---- the functions behind the hooks ---- */

/*
 * The function that NAME was before the probe; NULL when nobody has it (a hook then returns what its function returns
 * on failure). With several copies of a library in the process: the copy that the dlsym'ed pointer came from, or that
 * `caller` (__builtin_return_address(0) of the hook) is linked to. Any thread; errno is kept.
 */
void *sl_host_real_from(sl_hook_id id, const void *caller);
/* The same for functions of which there is but one: libc's. */
void *sl_host_real(sl_hook_id id);

/* ---- the host without a parent (bare.c) ---- */

/*
 * Starts the thread that reads `ring` and exports from within the host. 0, or negative: then nothing is recorded and
 * the ring is freed. Called once for each process, by the thread that calls libllama first.
 */
__attribute__((weak)) int sl_host_bare_start(sl_probe_ring *ring);
/* exit(): the last events are in the ring. Sends what there is, within a limit, and ends the thread. */
__attribute__((weak)) void sl_host_bare_stop(void);

/* Says something on stderr when SIGHTLINE_PROBE_DEBUG=1 was set, else nothing. */
void sl_host_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Value of a variable as the process was started with, or NULL: "" when too long. Not of threads that race setenv. */
bool sl_host_env(const char *name, char *ret_value, size_t size);

#endif
