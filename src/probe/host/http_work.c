/*
 * From a request to the computing: which request a thread is at work for, what it tokenises for it, and when it hands
 * the work to another thread.
 *
 * A server puts a request into its queue and wakes the computing thread by a condition variable, within the queue's
 * lock: so POST, written before the call goes on, stands in the ring in the queue's order. std::condition_variable
 * comes here too: libstdc++ and libc++ call these functions of libc.
 *
 * A server has more conditions than that; llama-server wakes its log's thread by one, for every line. So it is learnt
 * for which ones threads wait that call libllama and serve no connection. A first notification of another condition is
 * told as well (the queue's may be of a kind that is not seen), and the queue's then once more: the last one counts.
 */
#include "src/probe/host/hook.h"
#include "src/probe/host/http_host.h"

#define MAX_LISTED ((SL_PROBE_EVENT_MAX - sizeof(sl_probe_tokenize)) / sizeof(int32_t))

typedef int32_t (*tokenize_fn)(void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                               bool parse);
typedef int (*notify_fn)(void *condition);
typedef int (*wait_fn)(void *condition, void *mutex);
typedef int (*timedwait_fn)(void *condition, void *mutex, const struct timespec *until);
typedef int (*clockwait_fn)(void *condition, void *mutex, clockid_t clock, const struct timespec *until);

int32_t hook_llama_tokenize(void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                            bool parse);
int hook_pthread_cond_signal(void *condition);
int hook_pthread_cond_broadcast(void *condition);
int hook_pthread_cond_wait(void *condition, void *mutex);
int hook_pthread_cond_timedwait(void *condition, void *mutex, const struct timespec *until);
int hook_pthread_cond_clockwait(void *condition, void *mutex, clockid_t clock, const struct timespec *until);

_Thread_local sl_http_thread sl_http_thread_state __attribute__((tls_model("initial-exec")));

/* ---- whom the thread serves ---- */

/* Leaves out connections without an unanswered request. */
static void forget_answered(sl_http_thread *t)
{
    uint32_t kept = 0;
    bool whole;
    SL_ASSERT(t->count <= SL_HTTP_SERVES);
    for (uint32_t i = 0; i < t->count; i++) {
        if (sl_http_waiting(t->serves[i], &whole))
            t->serves[kept++] = t->serves[i];
    }
    t->count = kept;
}

static void remember(sl_http_thread *t, sl_http_ref ref)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->serves[i] == ref)
            return;
    }
    if (t->count == SL_HTTP_SERVES) /* several it is, whichever they are */
        t->serves[0] = ref;
    else
        t->serves[t->count++] = ref;
}

void sl_http_serve(sl_http_ref ref, bool has_read)
{
    sl_http_thread *t = &sl_http_thread_state;
    uint32_t generation = sl_host_this_thread()->generation, request = 0;
    bool whole = false;
    if (t->generation != generation)
        *t = (sl_http_thread){.generation = generation};
    forget_answered(t);
    if (has_read && sl_http_waiting(ref, &whole))
        remember(t, ref);
    if (t->count == 1)
        request = sl_http_waiting(t->serves[0], &whole);
    sl_host_set_request(request);
    if (request && whole && t->read_whole != request) {
        t->read_whole = request;
        t->post_due = request;
        t->post_guessed = false;
    }
    if (!request)
        t->post_due = 0;
}

/* ---- hand-over ---- */

#define MAX_QUEUES 8u
static const void
    *_Atomic queues[MAX_QUEUES]; /* conditions for which computing threads wait; none behind the first NULL */

/* 0: not a queue's; 1: a queue's; -1: nothing is known of any. */
static int is_queue(const void *condition)
{
    for (size_t i = 0; i < MAX_QUEUES; i++) {
        const void *known = atomic_load_explicit(&queues[i], memory_order_relaxed);
        if (!known)
            return i ? 0 : -1;
        if (known == condition)
            return 1;
    }
    return 0;
}

__attribute__((noinline)) static void learn_queue(const void *condition)
{
    if (!sl_host_on() || sl_http_thread_state.generation == sl_host_this_thread()->generation)
        return; /* a thread that serves connections waits for other things */
    for (size_t i = 0; i < MAX_QUEUES; i++) {
        const void *known = NULL;
        if (atomic_compare_exchange_strong(&queues[i], &known, condition) || known == condition)
            return;
    }
}

__attribute__((noinline)) static void tell_post(const void *condition)
{
    sl_http_thread *t = &sl_http_thread_state;
    uint32_t request = t->post_due;
    int kept = errno, queue = is_queue(condition);
    bool guessed = t->post_guessed;
    t->post_due = queue ? 0 : request;
    t->post_guessed = !queue;
    if ((!queue && guessed) || !sl_host_on() || request != sl_host_request())
        return;
    sl_probe_post *event = (sl_probe_post *)(void *)sl_host_take(SL_PROBE_POST, sizeof *event, 0);
    if (event) {
        event->request = request;
        event->reserved = 0;
        sl_host_commit(&event->head, sizeof *event, 0);
    }
    errno = kept;
}

int hook_pthread_cond_signal(void *condition)
{
    notify_fn real = (notify_fn)sl_host_libc(SL_HOOK_pthread_cond_signal); /* NOLINT */
    if (SL_UNLIKELY(sl_http_thread_state.post_due != 0))
        tell_post(condition);
    return real ? real(condition) : ENOSYS;
}

int hook_pthread_cond_broadcast(void *condition)
{
    notify_fn real = (notify_fn)sl_host_libc(SL_HOOK_pthread_cond_broadcast); /* NOLINT */
    if (SL_UNLIKELY(sl_http_thread_state.post_due != 0))
        tell_post(condition);
    return real ? real(condition) : ENOSYS;
}

/* These jump to the real function (a thread may be cancelled there). */
int hook_pthread_cond_wait(void *condition, void *mutex)
{
    wait_fn real = (wait_fn)sl_host_libc(SL_HOOK_pthread_cond_wait); /* NOLINT */
    if (SL_UNLIKELY(sl_host_thread_state.calls != 0))
        learn_queue(condition);
    return real ? real(condition, mutex) : ENOSYS;
}

int hook_pthread_cond_timedwait(void *condition, void *mutex, const struct timespec *until)
{
    timedwait_fn real = (timedwait_fn)sl_host_libc(SL_HOOK_pthread_cond_timedwait); /* NOLINT */
    if (SL_UNLIKELY(sl_host_thread_state.calls != 0))
        learn_queue(condition);
    return real ? real(condition, mutex, until) : ENOSYS;
}

int hook_pthread_cond_clockwait(void *condition, void *mutex, clockid_t clock, const struct timespec *until)
{
    clockwait_fn real = (clockwait_fn)sl_host_libc(SL_HOOK_pthread_cond_clockwait); /* NOLINT */
    if (SL_UNLIKELY(sl_host_thread_state.calls != 0))
        learn_queue(condition);
    return real ? real(condition, mutex, clock, until) : ENOSYS;
}

/* ---- prompts ---- */

static void tell_tokens(uint64_t start_ns, const int32_t *tokens, uint32_t count)
{
    uint32_t request = sl_host_request();
    uint32_t listed = request ? count : 0;
    listed = listed < MAX_LISTED ? listed : (uint32_t)MAX_LISTED;
    size_t tail = listed * sizeof(int32_t);
    sl_probe_tokenize *event = (sl_probe_tokenize *)(void *)sl_host_take(SL_PROBE_TOKENIZE, sizeof *event, tail);
    if (request) {
        sl_http_thread_state.post_due = request;
        sl_http_thread_state.post_guessed = false;
    }
    if (!event)
        return;
    event->head.count = listed;
    event->start_ns = start_ns;
    event->request = request;
    event->n_tokens = count;
    if (tail)
        memcpy(event + 1, tokens, tail);
    sl_host_commit(&event->head, sizeof *event, tail);
}

/* A negative result is the room that it would have needed: the caller comes again. */
int32_t hook_llama_tokenize(void *vocab, const char *text, int32_t len, int32_t *tokens, int32_t max, bool special,
                            bool parse)
{
    tokenize_fn real = (tokenize_fn)sl_host_real_from(SL_HOOK_llama_tokenize, SL_CALLER); /* NOLINT */
    if (!real)
        return INT32_MIN;
    if (!sl_host_recording(SL_HOOK_llama_tokenize, (void *)real)) /* NOLINT */
        return real(vocab, text, len, tokens, max, special, parse);
    uint64_t start_ns = sl_host_now();
    int32_t result = real(vocab, text, len, tokens, max, special, parse);
    int kept = errno;
    if (result >= 0 && result <= max && tokens)
        tell_tokens(start_ns, tokens, (uint32_t)result);
    errno = kept;
    return result;
}
