/*
 * The sink by itself, with an exporter that does what it is told: every item is counted once whatever happens, the
 * order is kept, retries are those that were asked for, and nothing outlives the deadline of a stop.
 */
#include "src/telemetry/sink.h"

#include <pthread.h>
#include <sightline/sdk.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define MS 1000000u
#define MAX_CALLS 512

/* What one delivery is to be. */
typedef struct step {
    int error;
    uint64_t retry_after_ms, rejected;
} step;

typedef struct script {
    const step *steps; /* the last one goes on */
    size_t step_count;
    _Atomic size_t calls;
    _Atomic bool hold; /* deliveries wait */
    _Atomic unsigned flushes, frees, told;
    _Atomic uint64_t last_timeout_ms;
    char order[MAX_CALLS];
    sl_signal signals[MAX_CALLS];
    uint64_t at_ns[MAX_CALLS];
} script;

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static int deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                   uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    script *s = user;
    size_t call = atomic_load(&s->calls);
    (void)items;
    if (call < MAX_CALLS) {
        s->order[call] = request.len ? request.ptr[0] : '-';
        s->signals[call] = signal;
        s->at_ns[call] = sl_mono_ns();
    }
    atomic_store(&s->last_timeout_ms, timeout_ms);
    atomic_fetch_add(&s->calls, 1);
    while (atomic_load(&s->hold))
        nap(1);
    if (!s->step_count)
        return 0;
    const step *now = &s->steps[call < s->step_count ? call : s->step_count - 1];
    *ret_retry_after_ms = now->retry_after_ms;
    *ret_rejected = now->rejected;
    return now->error;
}

static int flush(void *user, uint64_t timeout_ms)
{
    script *s = user;
    (void)timeout_ms;
    atomic_fetch_add(&s->flushes, 1);
    return 0;
}

static void freed(void *user)
{
    script *s = user;
    atomic_fetch_add(&s->frees, 1);
}

static void on_delivery(void *user, const sl_exporter *exporter, sl_signal signal, int error, uint64_t ns)
{
    script *s = user;
    (void)exporter, (void)signal, (void)error, (void)ns;
    atomic_fetch_add(&s->told, 1);
}

static sl_sink_options options_of(script *s)
{
    sl_sink_options o = {.exporter = {.name = "script", .user = s, .deliver = deliver, .flush = flush, .free = freed},
                         .on_delivery = on_delivery,
                         .on_delivery_user = s,
                         .retry_initial_ms = 1,
                         .retry_max_ms = 4,
                         .retry_total_ms = 60000};
    for (size_t i = 0; i < SL_SIGNAL_COUNT; i++)
        o.batch[i].max_pending_bytes = 1u << 20;
    return o;
}

static sl_sink *start(script *s)
{
    sl_sink_options o = options_of(s);
    sl_sink *sink = NULL;
    CHECK_EQ(sl_sink_new(&o, &sink), 0);
    return sink;
}

/* A request of `len` bytes that begins with `name`. */
static void put(sl_sink *sink, sl_signal signal, char name, size_t items, size_t len)
{
    char *bytes = sl_malloc(len);
    if (!bytes)
        abort();
    memset(bytes, name, len);
    sl_request *request = sl_request_new(signal, items, bytes, len);
    if (!request)
        abort();
    sl_sink_put(sink, request);
}

static bool wait_for(const _Atomic size_t *value, size_t wanted)
{
    for (int i = 0; i < 5000 && atomic_load(value) < wanted; i++)
        nap(1);
    return atomic_load(value) >= wanted;
}

static sl_sink_counts counts_of(sl_sink *sink, sl_signal signal)
{
    sl_sink_counts c;
    sl_sink_get_counts(sink, signal, &c);
    CHECK_EQ(c.queued + c.inflight + c.exported + c.dropped, c.put);
    CHECK_EQ(c.dropped_full + c.dropped_failed + c.rejected, c.dropped);
    return c;
}

static uint64_t in_ms(uint64_t ms)
{
    return sl_mono_ns() + ms * MS;
}

/* ---- outcomes ---- */

SL_TEST(each_outcome_is_counted_as_it_was)
{
    static const struct {
        step steps[4];
        size_t step_count, calls;
        uint64_t exported, dropped, rejected;
        int flush_error;
    } rows[] = {
        {{{0, 0, 0}}, 1, 1, 10, 0, 0, 0},
        {{{SL_EREFUSED, 0, 0}}, 1, 1, 0, 10, 0, SL_EREFUSED},
        {{{SL_EIO, 0, 0}}, 1, 1, 0, 10, 0, SL_EIO},
        {{{SL_ETIMEOUT, 0, 0}}, 1, 1, 0, 10, 0, SL_ETIMEOUT},
        {{{SL_ERETRY, 0, 0}, {0, 0, 0}}, 2, 2, 10, 0, 0, 0},
        {{{SL_ERETRY, 0, 0}, {SL_ERETRY, 5, 0}, {SL_ERETRY, 0, 0}, {0, 0, 0}}, 4, 4, 10, 0, 0, 0},
        {{{SL_ERETRY, 0, 0}, {SL_EREFUSED, 0, 0}}, 2, 2, 0, 10, 0, SL_EREFUSED},
        {{{0, 0, 3}}, 1, 1, 7, 3, 3, 0},
        {{{0, 0, 10}}, 1, 1, 0, 10, 10, 0},
        {{{0, 0, 99}}, 1, 1, 0, 10, 10, 0}, /* a peer that cannot count */
        {{{0, 0, UINT64_MAX}}, 1, 1, 0, 10, 10, 0},
        {{{SL_ERETRY, 0, 5}, {0, 0, 0}}, 2, 2, 10, 0, 0, 0}, /* of a delivery that was not */
        {{{SL_EIO, 1000000, 0}}, 1, 1, 0, 10, 0, SL_EIO},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        script s = {.steps = rows[i].steps, .step_count = rows[i].step_count};
        sl_sink *sink = start(&s);
        REQUIRE(sink);
        put(sink, SL_SIGNAL_LOGS, 'a', 10, 100);
        CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), rows[i].flush_error);
        sl_sink_counts c = counts_of(sink, SL_SIGNAL_LOGS);
        if (c.put != 10 || c.exported != rows[i].exported || c.dropped != rows[i].dropped ||
            c.rejected != rows[i].rejected || s.calls != rows[i].calls)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %zu calls, %llu exported, %llu dropped", i, (size_t)s.calls,
                           (unsigned long long)c.exported, (unsigned long long)c.dropped);
        CHECK_EQ(c.queued_bytes, 0);
        CHECK_EQ(counts_of(sink, SL_SIGNAL_TRACES).put, 0);
        CHECK_EQ(s.told, rows[i].calls);
        CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
        CHECK_EQ(s.frees, 0);
        sl_sink_free(sink);
        CHECK_EQ(s.frees, 1);
    }
}

SL_TEST(requests_leave_in_the_order_they_came)
{
    script s = {.hold = true};
    sl_sink *sink = start(&s);
    static const sl_signal signals[] = {SL_SIGNAL_LOGS, SL_SIGNAL_TRACES, SL_SIGNAL_TRACES, SL_SIGNAL_METRICS,
                                        SL_SIGNAL_LOGS};
    for (size_t i = 0; i < 40; i++)
        put(sink, signals[i % 5], (char)('A' + i), i, 1 + i);
    s.hold = false;
    CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), 0);
    CHECK_EQ(s.calls, 40);
    for (size_t i = 0; i < 40; i++)
        CHECK(s.order[i] == (char)('A' + i) && s.signals[i] == signals[i % 5]);
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    sl_sink_free(sink);
}

/* ---- the queue ---- */

SL_TEST(a_full_queue_loses_its_oldest_and_no_other_signals)
{
    script s = {.hold = true};
    sl_sink_options o = options_of(&s);
    sl_sink *sink = NULL;
    o.batch[SL_SIGNAL_LOGS].max_pending_bytes = 1000;
    REQUIRE(sl_sink_new(&o, &sink) == 0);
    put(sink, SL_SIGNAL_TRACES, 'x', 1, 10); /* held in delivery */
    REQUIRE(wait_for(&s.calls, 1));
    put(sink, SL_SIGNAL_TRACES, 't', 1, 500);
    put(sink, SL_SIGNAL_LOGS, 'a', 1, 400);
    put(sink, SL_SIGNAL_LOGS, 'b', 2, 600);
    sl_sink_counts c = counts_of(sink, SL_SIGNAL_LOGS);
    CHECK_EQ(c.queued, 3); /* to the byte */
    CHECK_EQ(c.queued_bytes, 1000);
    put(sink, SL_SIGNAL_LOGS, 'c', 4, 1);
    c = counts_of(sink, SL_SIGNAL_LOGS);
    CHECK_EQ(c.queued, 6);
    CHECK_EQ(c.dropped_full, 1);
    put(sink, SL_SIGNAL_LOGS, 'd', 8, 999);
    c = counts_of(sink, SL_SIGNAL_LOGS);
    CHECK_EQ(c.queued, 4 + 8);
    CHECK_EQ(c.queued_bytes, 1000);
    CHECK_EQ(c.dropped_full, 1 + 2);
    CHECK_EQ(counts_of(sink, SL_SIGNAL_TRACES).dropped, 0);
    s.hold = false;
    CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), 0);
    s.order[4] = '\0';
    CHECK_STR(sl_str_c(s.order), "xtcd");
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    sl_sink_free(sink);
}

SL_TEST(what_was_lost_before_is_counted_too)
{
    script s = {0};
    sl_sink *sink = start(&s);
    sl_sink_count_lost(sink, SL_SIGNAL_METRICS, 7);
    sl_sink_counts c = counts_of(sink, SL_SIGNAL_METRICS);
    CHECK(c.put == 7 && c.dropped == 7 && c.dropped_failed == 7 && c.dropped_full == 0);
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    sl_sink_free(sink);
    sl_sink_free(NULL);
}

/* Whatever the exporter answers, and whoever puts meanwhile. */
SL_TEST(by_chance_the_sums_hold)
{
    static step steps[MAX_CALLS];
    static const int errors[] = {0, 0, 0, SL_ERETRY, SL_ERETRY, SL_EREFUSED, SL_EIO};
    uint64_t state = 5;
    for (unsigned round = 0; round < 12; round++) {
        for (size_t i = 0; i < MAX_CALLS; i++)
            steps[i] = (step){.error = errors[sl_chance(&state, 7)], .rejected = sl_chance(&state, 3)};
        script s = {.steps = steps, .step_count = MAX_CALLS};
        sl_sink_options o = options_of(&s);
        sl_sink *sink = NULL;
        o.batch[SL_SIGNAL_TRACES].max_pending_bytes = 3000;
        REQUIRE(sl_sink_new(&o, &sink) == 0);
        uint64_t sums[SL_SIGNAL_COUNT] = {0};
        for (unsigned i = 0; i < 120; i++) {
            sl_signal signal = (sl_signal)sl_chance(&state, SL_SIGNAL_COUNT);
            size_t items = sl_chance(&state, 50);
            put(sink, signal, 'r', items, 1 + sl_chance(&state, 900));
            sums[signal] += items;
            if (sl_chance(&state, 10) == 0)
                (void)counts_of(sink, signal);
        }
        uint64_t left = 0;
        if (round % 3)
            CHECK(sl_sink_flush(sink, in_ms(20000)) != SL_ETIMEOUT);
        CHECK_EQ(sl_sink_stop(sink, in_ms(10000)), 0);
        for (int k = 0; k < SL_SIGNAL_COUNT; k++) {
            sl_sink_counts c = counts_of(sink, (sl_signal)k);
            CHECK_EQ(c.put, sums[k]);
            left += c.queued + c.inflight;
        }
        CHECK_EQ(left, 0);
        sl_sink_free(sink);
    }
}

/* ---- retries ---- */

SL_TEST(back_off_grows_and_has_an_end)
{
    static const step again[] = {{SL_ERETRY, 0, 0}};
    script s = {.steps = again, .step_count = 1};
    sl_sink_options o = options_of(&s);
    sl_sink *sink = NULL;
    o.retry_initial_ms = 10;
    o.retry_max_ms = 80;
    o.retry_total_ms = 1200;
    REQUIRE(sl_sink_new(&o, &sink) == 0);
    put(sink, SL_SIGNAL_LOGS, 'a', 3, 10);
    CHECK_EQ(sl_sink_flush(sink, in_ms(20000)), SL_ERETRY);
    sl_sink_counts c = counts_of(sink, SL_SIGNAL_LOGS);
    CHECK(c.dropped_failed == 3 && c.exported == 0);
    CHECK(s.calls >= 4 && s.calls <= 40);
    for (size_t i = 1; i < s.calls && i < 4; i++) { /* at least half of the nominal time */
        uint64_t waited = s.at_ns[i] - s.at_ns[i - 1];
        CHECK(waited >= (5u << (i - 1)) * (uint64_t)MS);
    }
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    sl_sink_free(sink);
}

SL_TEST(a_peer_that_says_when_is_asked_then)
{
    static const step steps[] = {{SL_ERETRY, 150, 0}, {0, 0, 0}};
    script s = {.steps = steps, .step_count = 2};
    sl_sink *sink = start(&s);
    put(sink, SL_SIGNAL_LOGS, 'a', 1, 10);
    CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), 0);
    CHECK_EQ(s.calls, 2);
    CHECK(s.at_ns[1] - s.at_ns[0] >= 150u * (uint64_t)MS);
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    sl_sink_free(sink);
}

/* ---- flush and end ---- */

SL_TEST(a_flush_waits_for_what_was_put_and_no_longer_than_told)
{
    script s = {.hold = true};
    sl_sink *sink = start(&s);
    CHECK_EQ(s.flushes, 0);
    put(sink, SL_SIGNAL_LOGS, 'a', 1, 10);
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(sl_sink_flush(sink, in_ms(50)), SL_ETIMEOUT);
    CHECK(sl_mono_ns() - begun >= 50u * (uint64_t)MS);
    s.hold = false;
    CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), 0);
    CHECK(s.flushes >= 1);
    unsigned before = s.flushes;
    CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), 0); /* with nothing to send: the exporter may hold something */
    CHECK_EQ(s.flushes, before + 1);
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    CHECK_EQ(sl_sink_flush(sink, in_ms(10)), 0); /* after the end there is nothing to wait for */
    sl_sink_free(sink);
}

SL_TEST(a_stop_sends_what_is_there)
{
    script s = {.hold = true};
    sl_sink *sink = start(&s);
    for (size_t i = 0; i < 20; i++)
        put(sink, SL_SIGNAL_LOGS, 'a', 1, 10);
    sl_sink_begin_stop(sink, in_ms(10000));
    put(sink, SL_SIGNAL_LOGS, 'z', 5, 10); /* too late */
    CHECK_EQ(counts_of(sink, SL_SIGNAL_LOGS).dropped_failed, 5);
    s.hold = false;
    CHECK_EQ(sl_sink_stop(sink, in_ms(10000)), 0);
    sl_sink_counts c = counts_of(sink, SL_SIGNAL_LOGS);
    CHECK(c.exported == 20 && c.dropped == 5);
    CHECK(s.last_timeout_ms <= 10000);
    CHECK(s.flushes >= 1);
    sl_sink_free(sink);
}

/* One more try after a moment; then the peer counts as gone, and the rest is not tried at all. */
SL_TEST(a_stop_does_not_try_a_dead_peer_for_long)
{
    static const step again[] = {{SL_ERETRY, 0, 0}};
    script s = {.steps = again, .step_count = 1};
    sl_sink_options o = options_of(&s);
    sl_sink *sink = NULL;
    o.retry_initial_ms = o.retry_max_ms = 60000;
    REQUIRE(sl_sink_new(&o, &sink) == 0);
    for (size_t i = 0; i < 10; i++)
        put(sink, SL_SIGNAL_LOGS, 'a', 2, 10);
    REQUIRE(wait_for(&s.calls, 1));
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(sl_sink_stop(sink, in_ms(20000)), 0);
    CHECK(sl_mono_ns() - begun < 5000u * (uint64_t)MS);
    CHECK(s.calls <= 3);
    sl_sink_counts c = counts_of(sink, SL_SIGNAL_LOGS);
    CHECK(c.dropped_failed == 20 && c.queued == 0 && c.inflight == 0);
    sl_sink_free(sink);
}

SL_TEST(a_delivery_that_hangs_is_left_behind_with_its_memory)
{
    static script s; /* outlives the sink, as the exporter of a library would */
    memset(&s, 0, sizeof s);
    s.hold = true;
    sl_sink *sink = start(&s);
    put(sink, SL_SIGNAL_LOGS, 'a', 2, 10);
    put(sink, SL_SIGNAL_TRACES, 'b', 3, 10);
    REQUIRE(wait_for(&s.calls, 1));
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(sl_sink_stop(sink, in_ms(60)), SL_ETIMEOUT);
    CHECK(sl_mono_ns() - begun < 3000u * (uint64_t)MS);
    CHECK_EQ(counts_of(sink, SL_SIGNAL_LOGS).dropped_failed, 2);
    CHECK_EQ(counts_of(sink, SL_SIGNAL_TRACES).dropped_failed, 3);
    unsigned told = s.told;
    sl_sink_free(sink);
    CHECK_EQ(s.frees, 0); /* the exporter is still in use */
    s.hold = false;
    for (int i = 0; i < 5000 && !s.frees; i++)
        nap(1);
    CHECK_EQ(s.frees, 1);
    CHECK_EQ(s.told, told); /* nobody is told any more */
}

SL_TEST(a_deadline_that_has_passed_is_kept)
{
    script s = {.hold = true};
    sl_sink *sink = start(&s);
    put(sink, SL_SIGNAL_LOGS, 'a', 1, 10);
    CHECK_EQ(sl_sink_flush(sink, 0), SL_ETIMEOUT);
    s.hold = false;
    int error = sl_sink_stop(sink, sl_mono_ns());
    CHECK(error == 0 || error == SL_ETIMEOUT);
    (void)counts_of(sink, SL_SIGNAL_LOGS);
    sl_sink_free(sink);
    for (int i = 0; i < 5000 && !s.frees; i++)
        nap(1);
    CHECK_EQ(s.frees, 1);
}

/* ---- memory ---- */

SL_TEST(memory_of_requests_is_used_again)
{
    script s = {0};
    sl_sink *sink = start(&s);
    size_t cap = 0;
    CHECK(sl_sink_take_spare(sink, &cap) == NULL);
    for (unsigned i = 0; i < 10; i++) {
        char *bytes = sl_malloc(256);
        sl_request *request = sl_request_new(SL_SIGNAL_LOGS, 1, bytes, 16);
        REQUIRE(request != NULL);
        request->cap = i == 9 ? (2u << 20) : 256; /* a large one is not kept */
        sl_sink_put(sink, request);
    }
    CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), 0);
    char *first = sl_sink_take_spare(sink, &cap), *second = sl_sink_take_spare(sink, &cap);
    CHECK(first && second && first != second);
    CHECK_EQ(cap, 256);
    sl_free(first);
    sl_free(second);
    sl_sink_trim(sink);
    CHECK(sl_sink_take_spare(sink, &cap) == NULL);
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    sl_sink_free(sink);
}

SL_TEST(without_memory_the_exporter_is_given_back)
{
    for (long n = 0;; n++) {
        script s = {0};
        sl_sink_options o = options_of(&s);
        sl_sink *sink = NULL;
        sl_test_fail_alloc(n);
        int error = sl_sink_new(&o, &sink);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, reached ? SL_ENOMEM : 0);
        if (!error) {
            CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
            sl_sink_free(sink);
        }
        CHECK_EQ(s.frees, 1);
        CHECK_EQ(sink != NULL, !error);
        if (!reached)
            break;
    }
}

/* ---- what is said ---- */

typedef struct said {
    _Atomic unsigned times;
    char text[256];
} said;

static void on_error(void *user, int error, const char *message)
{
    said *to = user;
    (void)error;
    (void)snprintf(to->text, sizeof to->text, "%s", message);
    atomic_fetch_add(&to->times, 1);
}

SL_TEST(losses_are_told_with_their_number)
{
    static const struct {
        step now;
        sl_signal signal;
        const char *text;
    } rows[] = {
        {{SL_EREFUSED, 0, 0}, SL_SIGNAL_TRACES, "script: 12 spans lost: "},
        {{SL_EIO, 0, 0}, SL_SIGNAL_METRICS, "script: 12 data points lost: "},
        {{0, 0, 5}, SL_SIGNAL_LOGS, "script: the peer refused 5 of 12 log records"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        script s = {.steps = &rows[i].now, .step_count = 1};
        said to = {0};
        sl_sink_options o = options_of(&s);
        sl_sink *sink = NULL;
        o.reporter = sl_reporter_new(on_error, &to, false);
        REQUIRE(o.reporter && sl_sink_new(&o, &sink) == 0);
        put(sink, rows[i].signal, 'a', 12, 10);
        CHECK_EQ(sl_sink_flush(sink, in_ms(10000)), rows[i].now.error);
        CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
        CHECK_EQ(to.times, 1);
        if (strncmp(to.text, rows[i].text, strlen(rows[i].text)) != 0)
            sl_test_failed(__FILE__, __LINE__, "%s", to.text);
        sl_reporter_close(o.reporter, 1000);
        sl_reporter_unref(o.reporter);
        sl_sink_free(sink);
    }
}

typedef struct heard {
    _Atomic unsigned times;
    char texts[8][128];
} heard;

static void on_errors(void *user, int error, const char *message)
{
    heard *to = user;
    unsigned at = atomic_load(&to->times);
    (void)error;
    if (at < 8)
        (void)snprintf(to->texts[at], sizeof to->texts[at], "%s", message);
    atomic_fetch_add(&to->times, 1);
}

/* What a full queue drops is told when there is somebody to tell, with the number of all that was not said before. */
SL_TEST(what_a_full_queue_drops_is_told)
{
    script s = {.hold = true};
    heard to = {0};
    sl_sink_options o = options_of(&s);
    sl_sink *sink = NULL;
    o.batch[SL_SIGNAL_TRACES].max_pending_bytes = 100;
    o.reporter = sl_reporter_new(on_errors, &to, false);
    REQUIRE(o.reporter && sl_sink_new(&o, &sink) == 0);
    put(sink, SL_SIGNAL_TRACES, 'a', 1, 60);
    while (atomic_load(&s.calls) == 0)
        nap(1);
    for (int i = 0; i < 4; i++)
        put(sink, SL_SIGNAL_TRACES, 'b', 10, 60); /* each pushes the one before out */
    sl_sink_tell_lost(sink, false);
    REQUIRE(atomic_load(&to.times) == 1);
    CHECK_STR(sl_str_c(to.texts[0]), "script: 30 spans lost: the queue for a slow exporter was full");
    put(sink, SL_SIGNAL_TRACES, 'b', 10, 60);
    sl_sink_tell_lost(sink, false); /* too soon */
    put(sink, SL_SIGNAL_TRACES, 'b', 10, 60);
    CHECK_EQ(atomic_load(&to.times), 1);
    atomic_store(&s.hold, false);
    CHECK_EQ(sl_sink_stop(sink, in_ms(5000)), 0);
    REQUIRE(atomic_load(&to.times) == 2); /* but at the end */
    CHECK_STR(sl_str_c(to.texts[1]), "script: 20 spans lost: the queue for a slow exporter was full");
    sl_sink_tell_lost(sink, true);
    CHECK_EQ(atomic_load(&to.times), 2);
    sl_reporter_close(o.reporter, 1000);
    sl_reporter_unref(o.reporter);
    sl_sink_free(sink);
}

/* A stop whose deadline passes tells what it leaves behind: what is under way and what waits. */
SL_TEST(what_a_stop_leaves_behind_is_told)
{
    script s = {.hold = true};
    heard to = {0};
    sl_sink_options o = options_of(&s);
    sl_sink *sink = NULL;
    o.reporter = sl_reporter_new(on_errors, &to, false);
    REQUIRE(o.reporter && sl_sink_new(&o, &sink) == 0);
    put(sink, SL_SIGNAL_TRACES, 'a', 3, 10);
    while (atomic_load(&s.calls) == 0)
        nap(1);
    put(sink, SL_SIGNAL_TRACES, 'b', 4, 10);
    put(sink, SL_SIGNAL_LOGS, 'c', 5, 10);
    CHECK_EQ(sl_sink_stop(sink, in_ms(30)), SL_ETIMEOUT);
    CHECK_EQ(atomic_load(&to.times), 2);
    CHECK_STR(sl_str_c(to.texts[0]), "script: 7 spans lost: the end came first");
    CHECK_STR(sl_str_c(to.texts[1]), "script: 5 log records lost: the end came first");
    sl_sink_free(sink);
    atomic_store(&s.hold, false);
    while (atomic_load(&s.frees) == 0)
        nap(1);
    CHECK_EQ(atomic_load(&to.times), 2);
    sl_reporter_close(o.reporter, 1000);
    sl_reporter_unref(o.reporter);
}
