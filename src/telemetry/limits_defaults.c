/* Filling in limits. */
#include "src/telemetry/limits_defaults.h"

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"

#define MAX_PRIORITY_KEYS 64

/* Without these a span of a long conversation cannot be found again. */
static const char *const default_priority_keys[] = {"session.id", "user.id", "enduser.id", "gen_ai.conversation.id"};

static uint32_t or_default(uint32_t value)
{
    return value ? value : SL_DEFAULT_ATTR_COUNT;
}

int sl_limits_init(sl_limits *limits, const sl_limits *given)
{
    SL_ASSERT(limits);
    sl_limits filled = {0};
    if (given)
        filled = *given;
    filled.attr_count = or_default(filled.attr_count);
    filled.event_count = or_default(filled.event_count);
    filled.link_count = or_default(filled.link_count);
    filled.event_attr_count = or_default(filled.event_attr_count);
    filled.link_attr_count = or_default(filled.link_attr_count);
    return sl_limits_copy(limits, &filled);
}

int sl_limits_copy(sl_limits *limits, const sl_limits *given)
{
    SL_ASSERT(limits && given);
    sl_limits filled = *given;
    const char *const *from = filled.priority_keys ? filled.priority_keys : default_priority_keys;
    size_t count = filled.priority_keys ? filled.priority_key_count
                                        : sizeof default_priority_keys / sizeof default_priority_keys[0];
    count = count < MAX_PRIORITY_KEYS ? count : MAX_PRIORITY_KEYS;
    const char **keys = sl_calloc(count + 1, sizeof *keys); /* the last stays NULL */
    filled.priority_keys = keys;
    filled.priority_key_count = 0;
    for (size_t i = 0; keys && i < count; i++) {
        keys[i] = sl_strndup(from[i] ? from[i] : "", from[i] ? strlen(from[i]) : 0);
        if (!keys[i])
            break;
        filled.priority_key_count++;
    }
    if (!keys || filled.priority_key_count < count) {
        sl_limits_done(&filled);
        return SL_ENOMEM;
    }
    *limits = filled;
    return 0;
}

void sl_limits_done(sl_limits *limits)
{
    SL_ASSERT(limits);
    for (size_t i = 0; limits->priority_keys && i < limits->priority_key_count; i++)
        sl_free((void *)(uintptr_t)limits->priority_keys[i]);
    sl_free((void *)(uintptr_t)limits->priority_keys);
    memset(limits, 0, sizeof *limits);
}
