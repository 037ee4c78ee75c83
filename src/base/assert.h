/*
 * SL_ASSERT: a precondition or an invariant of the code itself, never a check of input.
 *
 * In the SDK's layers a failed assertion must not abort the host: release builds of libsightline compile it to nothing;
 * builds with SL_ASSERTS (tests, sanitizers, the daemon's debug preset) abort.
 */
#ifndef SL_BASE_ASSERT_H
#define SL_BASE_ASSERT_H

#ifdef SL_ASSERTS
#include <stdio.h>
#include <stdlib.h>
#define SL_ASSERT(condition)                                                                                           \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: assertion failed: %s\n", __FILE__, __LINE__, #condition);                          \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)
#else
#define SL_ASSERT(condition) ((void)sizeof((condition) ? 1 : 0))
#endif

#define SL_LIKELY(x) __builtin_expect(!!(x), 1)
#define SL_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
