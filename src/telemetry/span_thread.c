/* Pools and seeds of threads, and what a fork and a thread's end do to them. */
#include "src/telemetry/span_thread.h"

#include "src/base/mem.h"
#include "src/telemetry/span_impl.h"

_Thread_local sl_span_thread sl_span_this __attribute__((tls_model("initial-exec")));
uint32_t sl_span_generation;

static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static bool thread_key_ok;

void sl_span_thread_trim(void)
{
    sl_span_thread *thread = &sl_span_this;
    while (thread->idle) {
        sl_span *span = thread->idle;
        thread->idle = span->next;
        sl_free(span);
    }
    thread->idle_count = 0;
}

/* A span that is ended later still, by another destructor, makes the thread ready once more. */
static void thread_end(void *value)
{
    (void)value;
    sl_span_thread_trim();
    sl_span_this.ready = false;
    sl_span_this.current = NULL;
    sl_span_this.baggage = NULL;
}

/* The child must not repeat the ids of its parent. */
static void fork_child(void)
{
    sl_span_generation++;
    sl_span_this.ready = false;
}

static void process_init(void)
{
    thread_key_ok = pthread_key_create(&thread_key, thread_end) == 0;
    (void)pthread_atfork(NULL, NULL, fork_child);
}

void sl_span_thread_init(void)
{
    (void)pthread_once(&process_once, process_init);
    sl_rng_init(&sl_span_this.rng);
    if (thread_key_ok)
        (void)pthread_setspecific(thread_key, &sl_span_this);
    sl_span_this.ready = true;
}

sl_span *sl_span_object_new(void)
{
    sl_span *span = sl_malloc(sizeof *span);
    if (!span)
        return NULL;
    memset(span, 0, offsetof(sl_span, buf));
    span->buf.data = span->buf.inline_data;
    span->buf.entries = span->buf.inline_entries;
    return span;
}

void sl_span_object_put(sl_span *span)
{
    SL_ASSERT(span && span->state == SL_SPAN_IDLE);
    sl_span_thread *thread = &sl_span_this;
    if (SL_UNLIKELY(!thread->ready))
        sl_span_thread_init();
    if (SL_UNLIKELY(thread->idle_count >= SL_MAX_POOLED_SPANS || !thread_key_ok)) {
        sl_free(span);
        return;
    }
    span->next = thread->idle;
    thread->idle = span;
    thread->idle_count++;
}
