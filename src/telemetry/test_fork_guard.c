/* Tests of forks: children of a busy process find every lock free. */
#include "src/telemetry/fork_guard.h"

#include <pthread.h>
#include <sightline/sdk.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

#define CHILDREN 150
#define CHILD_SECONDS 20 /* then it counts as hanging */

/* ThreadSanitizer knows no threads in the child of a process with threads. */
#ifdef __SANITIZE_THREAD__
#define CHILD_HAS_THREADS false
#else
#define CHILD_HAS_THREADS true
#endif

/* AddressSanitizer's allocator does not hold its own locks over a fork. */
#ifdef __SANITIZE_ADDRESS__
#define CHILD_HAS_MEMORY false
#else
#define CHILD_HAS_MEMORY true
#endif

/* ---- the list ---- */

typedef struct counted {
    sl_fork_guard guard;
    int held, released, in_child;
} counted;

static void count_hold(void *user)
{
    ((counted *)user)->held++;
}

static void count_release(void *user, bool in_child)
{
    counted *c = user;
    c->released++;
    c->in_child += in_child;
}

static bool fork_and_check(const counted *c, size_t count, int forks)
{
    pid_t child = fork();
    if (child == 0) {
        bool ok = true;
        for (size_t i = 0; i < count; i++)
            ok &= c[i].held == forks && c[i].released == forks && c[i].in_child == 1;
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    return waitpid(child, &status, 0) == child && status == 0;
}

SL_TEST(guards_are_held_over_a_fork)
{
    counted c[3];
    memset(c, 0, sizeof c);
    for (size_t i = 0; i < 3; i++) {
        c[i].guard = (sl_fork_guard){.hold = count_hold, .release = count_release, .user = &c[i]};
        CHECK_EQ(sl_fork_guard_add(&c[i].guard), 0);
    }
    CHECK(fork_and_check(c, 3, 1));
    for (size_t i = 0; i < 3; i++)
        CHECK(c[i].held == 1 && c[i].released == 1 && c[i].in_child == 0);
    static const size_t order[] = {1, 2, 0}; /* out of the middle, from the front, the last one */
    for (size_t i = 0; i < 3; i++) {
        sl_fork_guard_remove(&c[order[i]].guard);
        CHECK(fork_and_check(c, 0, 0));
        CHECK_EQ(c[order[i]].held, (int)i + 1);
    }
    CHECK_EQ(c[0].held, 3);
}

/* ---- an SDK under load ---- */

typedef struct busy {
    sl_sdk *sdk;
    sl_instrument *counter;
    sl_instrument *gauge;
    _Atomic bool stop;
    _Atomic uint64_t rounds[4];
} busy;

static int drop(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)user;
    (void)signal;
    (void)request;
    (void)items;
    (void)timeout_ms;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    return 0;
}

static void observe(void *user, sl_observer *observer)
{
    (void)user;
    sl_observe(observer, 1, NULL, 0);
}

static sl_health_status fine(void *user, char *reason, size_t size)
{
    (void)user;
    (void)snprintf(reason, size, "fine");
    return SL_HEALTHY;
}

/* What takes the lock of the SDK. */
static void use_sdk(busy *b)
{
    sl_logger *logger = sl_logger_named(b->sdk, "load");
    sl_attr attr = sl_attr_of("k", sl_value_int(1));
    sl_logger_free(sl_logger_with(logger, &attr, 1));
    sl_span_options options;
    memset(&options, 0, sizeof options);
    sl_span_end(sl_span_start(sl_tracer_named(b->sdk, "load"), SL_STR("work"), &options));
    sl_sdk_stats stats;
    for (int s = 0; s < SL_SIGNAL_COUNT; s++)
        sl_sdk_get_stats(b->sdk, (sl_signal)s, &stats);
}

/* Those of the registry and of instruments. */
static void use_metrics(busy *b, uint64_t round)
{
    sl_attr attr = sl_attr_of("round", sl_value_int((int64_t)(round % 1500)));
    sl_instrument_record(b->counter, 1, &attr, 1);
    sl_instrument_options o = {.kind = SL_COUNTER, .name = "again", .unit = "1"};
    (void)sl_instrument_new(sl_meter_named(b->sdk, "load"), &o);
}

static void use_callbacks(busy *b)
{
    char *text = NULL;
    size_t len = 0;
    if (sl_instrument_on_collect(b->gauge, observe, b) == 0)
        sl_instrument_off_collect(b->gauge, observe, b);
    if (sl_prometheus_gather(b->sdk, SL_PROMETHEUS_TEXT, &text, &len) == 0)
        free(text);
}

static void use_health(busy *b)
{
    char *json = NULL;
    sl_health *health = sl_sdk_health(b->sdk);
    if (sl_health_report(health, SL_HEALTH_ALL, &json, NULL) == 0)
        free(json);
    sl_health_set_ready(health, sl_health_readiness(health) == SL_HEALTHY, "load");
}

static void use(busy *b, size_t which, uint64_t round)
{
    if (which == 0)
        use_sdk(b);
    else if (which == 1)
        use_metrics(b, round);
    else if (which == 2)
        use_callbacks(b);
    else
        use_health(b);
}

typedef struct worker {
    busy *b;
    size_t which;
} worker;

static void *work(void *user)
{
    const worker *w = user;
    while (!w->b->stop)
        use(w->b, w->which, atomic_fetch_add(&w->b->rounds[w->which], 1));
    return NULL;
}

/* Everything a child may call; none of it may wait or record. */
static int child_main(busy *b)
{
    alarm(CHILD_SECONDS);
    for (size_t which = 0; which < 4; which++) {
        for (uint64_t round = 0; round < 3; round++)
            use(b, which, round);
    }
    char *text = NULL;
    size_t len = 0;
    bool ok = sl_sdk_flush(b->sdk, 1000) == SL_ECLOSED && sl_sdk_shutdown(b->sdk, 1000) == SL_ECLOSED &&
              sl_instrument_on_collect(b->gauge, observe, b) == SL_ECLOSED &&
              sl_prometheus_gather(b->sdk, SL_PROMETHEUS_TEXT, &text, &len) == SL_ECLOSED;
    sl_health_remove(sl_sdk_health(b->sdk), "quick");
    ok = ok && sl_health_readiness(sl_sdk_health(b->sdk)) == SL_HEALTHY;
    sl_sdk_free(b->sdk);
    return ok ? 0 : 1;
}

static void busy_init(busy *b)
{
    memset(b, 0, sizeof *b);
    sl_exporter exporter = {.name = "drop", .signals = SL_SIGNALS_ALL, .deliver = drop};
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.ignore_environment = true;
    o.no_default_exporters = true;
    o.exporters = &exporter;
    o.exporter_count = 1;
    REQUIRE(sl_sdk_new(&o, &b->sdk) == 0);
    sl_meter *meter = sl_meter_named(b->sdk, "load");
    sl_instrument_options counter = {.kind = SL_COUNTER, .name = "counter"};
    sl_instrument_options gauge = {.kind = SL_GAUGE, .name = "gauge"};
    b->counter = sl_instrument_new(meter, &counter);
    b->gauge = sl_instrument_new(meter, &gauge);
    sl_health_check_options quick = {.timeout_ms = 1000, .interval_ms = 1};
    CHECK_EQ(sl_health_add(sl_sdk_health(b->sdk), "quick", fine, NULL, &quick), 0);
}

SL_TEST(children_of_a_busy_process_never_wait)
{
    if (!CHILD_HAS_MEMORY)
        SL_SKIP("memory of a busy process's child under AddressSanitizer");
    busy b;
    busy_init(&b);
    pthread_t threads[4];
    worker workers[4];
    for (size_t i = 0; i < 4; i++) {
        workers[i] = (worker){&b, i};
        REQUIRE(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (size_t i = 0; i < 4; i++) {
        while (b.rounds[i] == 0)
            usleep(100);
    }
    int failed = 0;
    for (int i = 0; i < CHILDREN && !failed; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(child_main(&b));
        int status = 1;
        failed += child < 0 || waitpid(child, &status, 0) != child || status != 0;
    }
    CHECK_EQ(failed, 0);
    b.stop = true;
    for (size_t i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(sl_sdk_flush(b.sdk, 5000), 0);
    CHECK_EQ(sl_health_readiness(sl_sdk_health(b.sdk)), SL_HEALTHY);
    sl_sdk_free(b.sdk);
}

/* A child makes its own SDK beside the one it inherited. */
SL_TEST(a_child_may_start_its_own)
{
    if (!CHILD_HAS_THREADS || !CHILD_HAS_MEMORY)
        SL_SKIP("a child's own SDK under a sanitizer");
    busy b;
    busy_init(&b);
    pid_t child = fork();
    if (child == 0) {
        alarm(CHILD_SECONDS);
        busy own;
        busy_init(&own);
        use_sdk(&own);
        use_callbacks(&own);
        sl_sdk_stats stats;
        sl_sdk_get_stats(own.sdk, SL_SIGNAL_TRACES, &stats);
        bool ok = stats.ended == 1 && sl_sdk_flush(own.sdk, 5000) == 0 && sl_sdk_shutdown(own.sdk, 5000) == 0;
        sl_sdk_free(own.sdk);
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    sl_sdk_free(b.sdk);
}
