/* Circuit breakers by the names of providers: a list, as there are few. */
#include "src/flow/breaker.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/vocab.h"

typedef enum breaker_state { CLOSED = 0, OPEN, HALF_OPEN, STATES } breaker_state;

typedef struct breaker {
    struct breaker *next;
    breaker_state state;
    unsigned failures; /* in a row */
    uint64_t opened_ms;
    const char *why; /* static, of the last failure */
    sl_series *series[STATES];
    size_t len;
    char provider[];
} breaker;

struct sl_breakers {
    sl_instrument *instrument;
    breaker *first;
    size_t count;
};

sl_breakers *sl_breakers_new(sl_sdk *sdk)
{
    sl_breakers *b = sl_calloc(1, sizeof *b);
    if (b && sdk)
        b->instrument = sl_metric_declare(sl_meter_named(sdk, "sightline.flow"), SL_METRIC_ORCHESTRATOR_BREAKER_STATE);
    return b;
}

void sl_breakers_free(sl_breakers *b)
{
    while (b && b->first) {
        breaker *next = b->first->next;
        sl_free(b->first);
        b->first = next;
    }
    sl_free(b);
}

static void show(const breaker *k)
{
    SL_ASSERT(k->state < STATES);
    for (unsigned i = 0; i < STATES; i++)
        sl_gauge_set(k->series[i], i == k->state);
}

static void go(breaker *k, breaker_state state)
{
    bool other = k->state != state;
    k->state = state;
    if (other)
        show(k);
}

static breaker *find(const sl_breakers *b, sl_str provider)
{
    breaker *k = b->first;
    while (k && !sl_str_eq(provider, sl_str_of(k->provider, k->len)))
        k = k->next;
    return k;
}

/* NULL: no memory, or too many. */
static breaker *breaker_of(sl_breakers *b, sl_str provider)
{
    static const char *const states[STATES] = {"closed", "open", "half_open"};
    breaker *k = find(b, provider);
    if (k || b->count >= SL_BREAKER_MAX || !(k = sl_calloc(1, sizeof *k + provider.len + 1)))
        return k;
    k->len = provider.len;
    k->why = "";
    memcpy(k->provider, provider.ptr, provider.len);
    for (unsigned i = 0; i < STATES && b->instrument; i++) {
        sl_attr labels[2] = {sl_attr_of("provider", sl_value_str(provider)), sl_attr_str("state", states[i])};
        k->series[i] = sl_instrument_bind(b->instrument, labels, 2);
    }
    show(k);
    k->next = b->first;
    b->first = k;
    b->count++;
    return k;
}

void sl_breakers_call(sl_breakers *b, sl_str provider, uint64_t now_ms)
{
    SL_ASSERT(b && provider.len);
    breaker *k = find(b, provider); /* a name that nobody has called yet may be no provider's */
    if (k && k->state == OPEN && now_ms - k->opened_ms >= SL_BREAKER_COOL_MS)
        go(k, HALF_OPEN);
}

void sl_breakers_end(sl_breakers *b, sl_str provider, bool good, const char *why, uint64_t now_ms)
{
    SL_ASSERT(b && provider.len && (good || why));
    breaker *k = breaker_of(b, provider);
    if (!k)
        return;
    if (good) {
        k->failures = 0;
        go(k, CLOSED);
        return;
    }
    k->failures += k->failures < UINT32_MAX;
    k->why = why;
    if (k->failures < SL_BREAKER_FAILURES && k->state == CLOSED)
        return;
    if (k->state != OPEN)
        k->opened_ms = now_ms;
    go(k, OPEN);
}

size_t sl_breakers_open(const sl_breakers *b, char *text, size_t size)
{
    SL_ASSERT(b && (text || !size));
    size_t count = 0;
    for (const breaker *k = b->first; k; k = k->next) {
        if (k->state == CLOSED)
            continue;
        if (count++ == 0 && size)
            (void)snprintf(text, size, "%.100s: the last %u calls failed: %s", k->provider, k->failures, k->why);
    }
    return count;
}
