/* Timers of the loop. */
#include "src/net/loop.h"

#include "src/base/clock.h"
#include "tests/harness/net_fixture.h"

typedef struct probe {
    sl_timer timer;
    sl_loop *loop;
    int fired;
    uint64_t at_ms;
    struct probe *victim;
    uint64_t again_ms;
} probe;

static void on_fire(sl_timer *timer)
{
    probe *p = (probe *)timer;
    p->fired++;
    p->at_ms = uv_now(&p->loop->uv);
    if (p->victim)
        sl_timer_stop(p->loop, &p->victim->timer);
    if (p->again_ms) {
        uint64_t ms = p->again_ms;
        p->again_ms = 0;
        sl_timer_set(p->loop, timer, on_fire, ms);
    }
}

static void nothing(uv_async_t *async)
{
    (void)async;
}

/* The timers alone do not keep a loop alive: something else is there for the time of the run. */
static void run_for(sl_loop *loop, uint64_t ms)
{
    static uv_async_t alive;
    (void)uv_async_init(&loop->uv, &alive, nothing);
    uint64_t end = sl_mono_ns() + ms * 1000000;
    while (sl_mono_ns() < end) {
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
        nf_sleep_ms(2);
    }
    uv_close((uv_handle_t *)&alive, NULL);
    (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
}

SL_TEST(timer_fires_once_not_early_and_a_tick_late_at_most)
{
    sl_loop *loop = calloc(1, sizeof *loop);
    REQUIRE(sl_loop_init(loop) == 0);
    probe p = {.loop = loop};
    uint64_t start = uv_now(&loop->uv);
    sl_timer_set(loop, &p.timer, on_fire, 120);
    run_for(loop, 300);
    CHECK_EQ(p.fired, 1);
    CHECK(p.at_ms >= start + 120);
    CHECK(p.at_ms <= start + 120 + 2 * SL_TIMER_TICK_MS + 40);
    CHECK_EQ(loop->timer_count, 0);
    CHECK(!loop->ticking);
    sl_loop_done(loop);
    free(loop);
}

SL_TEST(timer_can_be_moved_both_ways_rested_and_stopped)
{
    sl_loop *loop = calloc(1, sizeof *loop);
    REQUIRE(sl_loop_init(loop) == 0);
    probe later = {.loop = loop}, sooner = {.loop = loop}, rests = {.loop = loop}, stopped = {.loop = loop};
    sl_timer_set(loop, &later.timer, on_fire, 50);
    sl_timer_set(loop, &later.timer, on_fire, 400);
    sl_timer_set(loop, &sooner.timer, on_fire, 60000);
    sl_timer_set(loop, &sooner.timer, on_fire, 50);
    sl_timer_set(loop, &rests.timer, on_fire, 50);
    sl_timer_rest(&rests.timer);
    sl_timer_set(loop, &stopped.timer, on_fire, 50);
    sl_timer_stop(loop, &stopped.timer);
    sl_timer_stop(loop, &stopped.timer);
    run_for(loop, 250);
    CHECK_EQ(later.fired, 0);
    CHECK_EQ(sooner.fired, 1);
    run_for(loop, 350);
    CHECK_EQ(later.fired, 1);
    CHECK_EQ(rests.fired, 0);
    CHECK_EQ(stopped.fired, 0);
    sl_timer_stop(loop, &rests.timer);
    CHECK_EQ(loop->timer_count, 0);
    sl_loop_done(loop);
    free(loop);
}

SL_TEST(timer_callbacks_may_stop_others_and_set_themselves)
{
    sl_loop *loop = calloc(1, sizeof *loop);
    REQUIRE(sl_loop_init(loop) == 0);
    probe a = {.loop = loop}, b = {.loop = loop};
    a.victim = &b;
    b.victim = &a;
    sl_timer_set(loop, &a.timer, on_fire, 50);
    sl_timer_set(loop, &b.timer, on_fire, 50);
    run_for(loop, 200);
    CHECK_EQ(a.fired + b.fired, 1); /* whoever came first has stopped the other */
    probe again = {.loop = loop, .again_ms = 50};
    sl_timer_set(loop, &again.timer, on_fire, 50);
    run_for(loop, 350);
    CHECK_EQ(again.fired, 2);
    CHECK_EQ(loop->timer_count, 0);
    sl_loop_done(loop);
    free(loop);
}

SL_TEST(timer_farther_than_a_turn_of_the_wheel)
{
    sl_loop *loop = calloc(1, sizeof *loop);
    REQUIRE(sl_loop_init(loop) == 0);
    probe p = {.loop = loop};
    sl_timer_set(loop, &p.timer, on_fire, (uint64_t)SL_TIMER_TICK_MS * SL_TIMER_SLOTS * 3);
    CHECK(p.timer.slot < loop->tick + SL_TIMER_SLOTS);
    CHECK(p.timer.deadline > loop->tick + 2 * SL_TIMER_SLOTS);
    run_for(loop, 120);
    CHECK_EQ(p.fired, 0);
    CHECK(p.timer.prev != NULL);
    sl_timer_stop(loop, &p.timer);
    sl_loop_done(loop);
    free(loop);
}

SL_TEST(many_timers_all_fire)
{
    enum { COUNT = 2000 };
    sl_loop *loop = calloc(1, sizeof *loop);
    probe *probes = calloc(COUNT, sizeof *probes);
    REQUIRE(sl_loop_init(loop) == 0);
    for (int i = 0; i < COUNT; i++) {
        probes[i].loop = loop;
        sl_timer_set(loop, &probes[i].timer, on_fire, (uint64_t)(i % 200));
    }
    CHECK_EQ(loop->timer_count, COUNT);
    run_for(loop, 500);
    int fired = 0;
    for (int i = 0; i < COUNT; i++)
        fired += probes[i].fired;
    CHECK_EQ(fired, COUNT);
    sl_loop_done(loop);
    free(probes);
    free(loop);
}

SL_TEST(sockaddr_as_text)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr.s_addr = htonl(0x7F000001)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(443), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr other = {.sa_family = AF_UNIX};
    char text[46];
    uint16_t port;
    REQUIRE(sl_sockaddr_text((struct sockaddr *)&v4, text, sizeof text, &port));
    CHECK_STR(sl_str_c(text), "127.0.0.1");
    CHECK_EQ(port, 80);
    REQUIRE(sl_sockaddr_text((struct sockaddr *)&v6, text, sizeof text, &port));
    CHECK_STR(sl_str_c(text), "::1");
    CHECK_EQ(port, 443);
    CHECK(!sl_sockaddr_text((struct sockaddr *)&v4, text, 4, &port));
    CHECK(!sl_sockaddr_text(&other, text, sizeof text, &port));
}

SL_TEST(loop_without_memory)
{
    sl_loop *loop = calloc(1, sizeof *loop);
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_loop_init(loop), SL_ENOMEM);
    sl_test_fail_alloc(-1);
    sl_loop_done(loop);
    free(loop);
}
