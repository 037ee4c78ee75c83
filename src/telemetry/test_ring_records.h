/* Records that tell who they are, for the tests of rings. */
#ifndef SL_TELEMETRY_TEST_RING_RECORDS_H
#define SL_TELEMETRY_TEST_RING_RECORDS_H

#include <string.h>

#include "src/telemetry/segment.h"

/* Content that tells which record it is: the number, then bytes made from it. */
static inline size_t make_record(uint8_t *data, uint64_t number, size_t len)
{
    if (len < 8)
        len = 8;
    memcpy(data, &number, 8);
    for (size_t i = 8; i < len; i++)
        data[i] = (uint8_t)(number * 31 + i);
    return len;
}

static inline bool record_is(const uint8_t *data, size_t len, uint64_t *ret_number)
{
    if (len < 8)
        return false;
    memcpy(ret_number, data, 8);
    for (size_t i = 8; i < len; i++) {
        if (data[i] != (uint8_t)(*ret_number * 31 + i))
            return false;
    }
    return true;
}

typedef struct seen {
    uint64_t next, wrong, count;
    uint64_t stop_after; /* 0: never */
} seen;

static inline bool in_order(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    seen *s = user;
    uint64_t number = 0;
    if (s->stop_after && s->count == s->stop_after)
        return false;
    if (!record_is(data, len, &number) || number != s->next || tag != (uint32_t)number)
        s->wrong++;
    s->next = number + 1;
    s->count++;
    return true;
}

static inline int write_one(sl_segment *s, sl_ring_kind kind, uint64_t number, size_t len)
{
    uint8_t data[8192];
    len = make_record(data, number, len);
    sl_piece pieces[3] = {{data, len / 3}, {NULL, 0}, {data + len / 3, len - len / 3}};
    return sl_segment_write(s, kind, (uint32_t)number, pieces, 3);
}

#endif
