/*
 * What the last calls to each provider say of it: closed (it answers), open (SL_BREAKER_FAILURES calls in a row have
 * failed), half_open (the first call after SL_BREAKER_COOL_MS is on its way). A call that is answered closes it. It is
 * shown, in the metric orchestrator_circuit_breaker_state and in the readiness check "providers"; it refuses nothing,
 * as a provider of a workflow has no other in its place.
 *
 * The loop's thread alone. Does not know why a call failed, nor how long it took.
 */
#ifndef SL_FLOW_BREAKER_H
#define SL_FLOW_BREAKER_H

#include <sightline/sightline.h>

#include "src/base/str.h"

#define SL_BREAKER_FAILURES 5u
#define SL_BREAKER_COOL_MS 30000u
#define SL_BREAKER_MAX 256u /* providers that are watched */

typedef struct sl_breakers sl_breakers;

/* `sdk` may be NULL: no metric. NULL: no memory. */
sl_breakers *sl_breakers_new(sl_sdk *sdk);
void sl_breakers_free(sl_breakers *breakers);
/* A call begins; `now_ms` is monotonic. */
void sl_breakers_call(sl_breakers *breakers, sl_str provider, uint64_t now_ms);
/* It has ended. `good`: the provider has answered, and be it with a refusal. `why`: a word for people. */
void sl_breakers_end(sl_breakers *breakers, sl_str provider, bool good, const char *why, uint64_t now_ms);
/* How many are not closed; of the first of them what is wrong, as text, when there is room for it. */
size_t sl_breakers_open(const sl_breakers *breakers, char *text, size_t size);

struct sl_executor;
/* Those of the providers that an executor's steps call (flow_telemetry.c). */
const sl_breakers *sl_executor_breakers(const struct sl_executor *executor);

#endif
