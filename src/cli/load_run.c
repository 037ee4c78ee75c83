/*
 * The run: slots that each carry one request at a time, a clock for those that are due.
 *
 *     free ──due, or another has ended──► call ──► answer judged ──► free
 *                                          └── timeout: cancelled ──► free
 */
#include "src/cli/load_run.h"

#include <signal.h>
#include <stdio.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cli/load_answer.h"
#include "src/net/upstream.h"

#define PROGRESS_MS 250

typedef struct load_run load_run;

typedef struct load_slot {
    sl_call call;
    sl_load_answer answer;
    sl_timer timer;
    load_run *run;
    struct load_slot *next_free;
    bool busy;
} load_slot;

struct load_run {
    const sl_load_plan *plan;
    const sl_load_request *request;
    sl_load_result *result;
    sl_loop loop;
    sl_upstream *upstream;
    sl_origin *origin;
    load_slot *slots;
    load_slot *free;
    uint64_t begun; /* requests */
    uint64_t active;
    uint64_t start_ns;
    uint64_t end_ns; /* no request begins after it; 0: none */
    bool stopped;
    bool closed;
    int clock_fd; /* wakes up when the next request is due; -1 without a rate */
    uv_poll_t clock;
    uv_check_t refill;
    uv_idle_t wake; /* runs while a slot was freed and not looked at: the loop must not sleep then */
    uv_timer_t progress;
    uv_signal_t signals[2];
};

/* ---- one request ---- */

static void on_wake(uv_idle_t *wake)
{
    (void)wake;
}

static void slot_release(load_slot *slot)
{
    load_run *run = slot->run;
    SL_ASSERT(slot->busy && run->active > 0);
    sl_timer_stop(&run->loop, &slot->timer);
    slot->busy = false;
    slot->next_free = run->free;
    run->free = slot;
    run->active--;
    (void)uv_idle_start(&run->wake, on_wake);
}

static void slot_fail(load_slot *slot, sl_load_error error, const char *reason)
{
    SL_ASSERT(slot);
    load_run *run = slot->run;
    run->result->sent++;
    run->result->frames += slot->answer.frames;
    run->result->bytes += slot->answer.bytes;
    sl_load_result_error(run->result, error, 0, sl_str_c(reason));
    slot_release(slot);
}

static void on_timeout(sl_timer *timer)
{
    load_slot *slot = (load_slot *)(void *)((char *)timer - offsetof(load_slot, timer));
    sl_call_cancel(&slot->call);
    slot_fail(slot, SL_LOAD_TIMEOUT,
              slot->call.first_byte_ns ? "timeout in the middle of an answer" : "timeout before an answer");
}

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    SL_ASSERT(call);
    load_slot *slot = call->user;
    uint64_t now = sl_mono_ns();
    if (head)
        sl_load_answer_head(&slot->answer, head->status, sl_http1_get(head, SL_HTTP_CONTENT_TYPE));
    sl_load_answer_feed(&slot->answer, body, end, now, slot->run->result);
    if (!end)
        return;
    sl_load_answer_end(&slot->answer, now, slot->run->result);
    slot_release(slot);
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    static const struct {
        int code;
        sl_load_error error;
    } kinds[] = {{SL_ERESOLVE, SL_LOAD_RESOLVE}, {SL_ECONNECT, SL_LOAD_CONNECT}, {SL_EREFUSED, SL_LOAD_CONNECT},
                 {SL_ETLS, SL_LOAD_TLS},         {SL_ETIMEOUT, SL_LOAD_TIMEOUT}, {SL_EPROTO, SL_LOAD_PROTOCOL},
                 {SL_ENOMEM, SL_LOAD_MEMORY}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (kinds[i].code == error) {
            slot_fail(call->user, kinds[i].error, reason);
            return;
        }
    }
    slot_fail(call->user, SL_LOAD_CLOSED, reason);
}

static const sl_call_handler handler = {.on_read = on_read, .on_fail = on_fail};

static void slot_start(load_run *run, uint64_t due_ns, uint64_t now_ns)
{
    SL_ASSERT(run);
    load_slot *slot = run->free;
    uint64_t late_ms = (now_ns - due_ns) / 1000000u;
    run->free = slot->next_free;
    slot->busy = true;
    run->active++;
    run->begun++;
    sl_load_answer_begin(&slot->answer, run->request, due_ns);
    if (late_ms >= run->plan->timeout_ms) {
        slot_fail(slot, SL_LOAD_TIMEOUT, "timeout before a connection was free");
        return;
    }
    memset(&slot->call, 0, sizeof slot->call);
    slot->call.handler = &handler;
    slot->call.user = slot;
    slot->call.pieces[0] = sl_buf_str(&run->request->bytes);
    slot->call.piece_count = 1;
    sl_timer_set(&run->loop, &slot->timer, on_timeout, run->plan->timeout_ms - late_ms);
    sl_call_start(&slot->call, run->origin);
}

/* ---- when to send ---- */

static uint64_t due_ns(const load_run *run, uint64_t index)
{
    SL_ASSERT(run);
    return run->start_ns + (uint64_t)((double)index * 1e9 / run->plan->rate);
}

static bool more_to_begin(const load_run *run, uint64_t at_ns)
{
    SL_ASSERT(run);
    if (run->stopped || (run->plan->requests && run->begun >= run->plan->requests))
        return false;
    return !run->end_ns || at_ns < run->end_ns;
}

/* Wakes up when the next request is due. */
static void set_clock(load_run *run)
{
    SL_ASSERT(run);
    uint64_t next = due_ns(run, run->begun);
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(next / 1000000000u), .tv_nsec = (long)(next % 1000000000u)}};
    (void)timerfd_settime(run->clock_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void close_handles(load_run *run)
{
    SL_ASSERT(run);
    if (run->closed)
        return;
    run->closed = true;
    uv_close((uv_handle_t *)&run->refill, NULL);
    uv_close((uv_handle_t *)&run->wake, NULL);
    uv_close((uv_handle_t *)&run->progress, NULL);
    uv_close((uv_handle_t *)&run->signals[0], NULL);
    uv_close((uv_handle_t *)&run->signals[1], NULL);
    if (run->clock_fd >= 0)
        uv_close((uv_handle_t *)&run->clock, NULL);
    sl_upstream_close(run->upstream);
}

/* Begins what can begin; ends the run when nothing is left. */
static void refill(load_run *run)
{
    SL_ASSERT(run);
    uint64_t now = sl_mono_ns();
    bool paced = run->plan->rate > 0;
    while (run->free) {
        uint64_t due = paced ? due_ns(run, run->begun) : now;
        if (due > now || !more_to_begin(run, due))
            break;
        slot_start(run, due, now);
    }
    bool more = more_to_begin(run, paced ? due_ns(run, run->begun) : now);
    if (!more && run->active == 0) {
        run->result->duration_ns = sl_mono_ns() - run->start_ns;
        close_handles(run);
    } else if (paced && more && run->free) {
        set_clock(run);
    }
}

static void on_check(uv_check_t *check)
{
    SL_ASSERT(check);
    load_run *run = check->data;
    (void)uv_idle_stop(&run->wake);
    if (!run->closed && (run->free || run->active == 0))
        refill(run);
}

static void on_clock(uv_poll_t *clock, int status, int events)
{
    SL_ASSERT(clock);
    (void)status;
    (void)events;
    load_run *run = clock->data;
    uint64_t fired;
    if (read(run->clock_fd, &fired, sizeof fired) == (ssize_t)sizeof fired && !run->closed)
        refill(run);
}

/* ---- signals and progress ---- */

static void on_signal(uv_signal_t *signal, int number)
{
    SL_ASSERT(signal);
    (void)number;
    load_run *run = signal->data;
    run->stopped = true;
    if (!run->closed)
        (void)uv_idle_start(&run->wake, on_wake);
    for (uint64_t i = 0; i < run->plan->concurrency; i++) {
        if (!run->slots[i].busy)
            continue;
        sl_call_cancel(&run->slots[i].call);
        slot_fail(&run->slots[i], SL_LOAD_INTERRUPTED, "");
    }
}

static void on_progress(uv_timer_t *timer)
{
    SL_ASSERT(timer);
    load_run *run = timer->data;
    double seconds = (double)(sl_mono_ns() - run->start_ns) / 1e9;
    fprintf(stderr, "\r%6.1f s  %llu done, %llu failed, %llu under way, %.0f/s, %llu tokens\033[K", seconds,
            (unsigned long long)run->result->sent, (unsigned long long)sl_load_result_failed(run->result),
            (unsigned long long)run->active, (double)run->result->sent / seconds,
            (unsigned long long)run->result->tokens);
}

static void start_handles(load_run *run)
{
    SL_ASSERT(run);
    static const int numbers[2] = {SIGINT, SIGTERM};
    (void)uv_check_init(&run->loop.uv, &run->refill);
    (void)uv_idle_init(&run->loop.uv, &run->wake);
    (void)uv_timer_init(&run->loop.uv, &run->progress);
    run->refill.data = run->progress.data = run;
    (void)uv_check_start(&run->refill, on_check);
    if (run->plan->progress)
        (void)uv_timer_start(&run->progress, on_progress, PROGRESS_MS, PROGRESS_MS);
    for (size_t i = 0; i < 2; i++) {
        (void)uv_signal_init(&run->loop.uv, &run->signals[i]);
        run->signals[i].data = run;
        (void)uv_signal_start(&run->signals[i], on_signal, numbers[i]);
    }
    if (run->clock_fd >= 0) {
        (void)uv_poll_init(&run->loop.uv, &run->clock, run->clock_fd);
        run->clock.data = run;
        (void)uv_poll_start(&run->clock, UV_READABLE, on_clock);
    }
}

/* ---- the whole ---- */

static int prepare(load_run *run)
{
    SL_ASSERT(run);
    const sl_load_plan *plan = run->plan;
    run->slots = sl_calloc((size_t)plan->concurrency, sizeof *run->slots);
    if (!run->slots)
        return SL_ENOMEM;
    for (uint64_t i = plan->concurrency; i-- > 0;) {
        run->slots[i].run = run;
        run->slots[i].next_free = run->free;
        run->free = &run->slots[i];
    }
    if (plan->rate > 0) {
        run->clock_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        if (run->clock_fd < 0)
            return SL_EIO;
    }
    sl_upstream_options options = {.max_idle = (size_t)plan->concurrency};
    int error = sl_upstream_new(&run->loop, &options, &run->upstream);
    if (error)
        return error;
    const sl_url *url = &run->request->url;
    sl_origin_options origin = {.host = url->host,
                                .port = url->port,
                                .tls = url->tls,
                                .ca_file = plan->ca_file,
                                .tls_insecure = plan->tls_insecure};
    return sl_upstream_origin(run->upstream, &origin, &run->origin);
}

static void clean_up(load_run *run)
{
    SL_ASSERT(run);
    for (uint64_t i = 0; run->slots && i < run->plan->concurrency; i++)
        sl_load_answer_done(&run->slots[i].answer);
    if (run->upstream && !run->closed)
        sl_upstream_close(run->upstream);
    (void)uv_run(&run->loop.uv, UV_RUN_DEFAULT);
    sl_upstream_free(run->upstream);
    sl_loop_done(&run->loop);
    if (run->clock_fd >= 0)
        close(run->clock_fd);
    sl_free(run->slots);
}

int sl_load_run(const sl_load_plan *plan, const sl_load_request *request, sl_load_result *result)
{
    SL_ASSERT(plan && request && result);
    SL_ASSERT(plan->concurrency > 0 && (plan->requests || plan->duration_ms));
    load_run *run = sl_calloc(1, sizeof *run);
    if (!run)
        return SL_ENOMEM;
    run->plan = plan;
    run->request = request;
    run->result = result;
    run->clock_fd = -1;
    int error = sl_loop_init(&run->loop);
    if (error) {
        sl_free(run);
        return error;
    }
    error = prepare(run);
    if (!error) {
        start_handles(run);
        run->start_ns = sl_mono_ns();
        run->end_ns = plan->duration_ms ? run->start_ns + plan->duration_ms * 1000000u : 0;
        refill(run);
        (void)uv_run(&run->loop.uv, UV_RUN_DEFAULT);
        if (plan->progress)
            fputs("\r\033[K", stderr);
    }
    clean_up(run);
    sl_free(run);
    return error;
}
