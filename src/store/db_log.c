/* See db_log.h; the format is https://www.sqlite.org/fileformat2.html#walformat */
#include "src/store/db_log.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"

enum { HEADER = 32, FRAME = 24, PAGE = 4096, MAX_PAGE = 65536 };
#define MAGIC 0x377f0682u /* the last bit: checksums are of big-endian words */

typedef struct log_reader {
    FILE *file;
    bool big_endian;
    uint32_t page_bytes;
    uint8_t salts[8];
    uint8_t *frame;
} log_reader;

typedef struct log_sum {
    uint32_t a, b;
} log_sum;

static uint32_t big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t word(const log_reader *r, const uint8_t *p)
{
    return r->big_endian ? big(p) : (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static log_sum sum_of(const log_reader *r, log_sum before, const uint8_t *bytes, size_t len)
{
    SL_ASSERT(len % 8 == 0);
    for (size_t i = 0; i < len; i += 8) {
        before.a += word(r, bytes + i) + before.b;
        before.b += word(r, bytes + i + 4) + before.a;
    }
    return before;
}

static bool is_sum(log_sum sum, const uint8_t *stored)
{
    return sum.a == big(stored) && sum.b == big(stored + 4);
}

/* What the header says. Of one that is damaged itself: what the first frame and our own files say. */
static bool read_header(log_reader *r, bool *ret_good, log_sum *ret_sum)
{
    uint8_t header[HEADER + FRAME];
    if (fread(header, 1, sizeof header, r->file) != sizeof header || fseek(r->file, HEADER, SEEK_SET) != 0)
        return false; /* nothing is in it */
    r->big_endian = big(header) & 1;
    r->page_bytes = big(header + 8);
    *ret_sum = sum_of(r, (log_sum){0, 0}, header, 24);
    *ret_good = (big(header) & ~1u) == MAGIC && is_sum(*ret_sum, header + 24);
    if (!*ret_good) {
        r->big_endian = false;
        r->page_bytes = PAGE;
    }
    memcpy(r->salts, *ret_good ? header + 16 : header + HEADER + 8, sizeof r->salts);
    return r->page_bytes >= 512 && r->page_bytes <= MAX_PAGE;
}

static bool read_frame(log_reader *r)
{
    size_t size = FRAME + r->page_bytes;
    return fread(r->frame, 1, size, r->file) == size;
}

/*
 * Frames are chained: each one's checksum goes on from that of the frame before. Behind the first that is wrong, two
 * ends of transactions in one unbroken chain are two that were committed one after the other. (What transactions leave
 * there that could not be synced and were rolled back is a chain each, with one end.)
 */
static bool has_lost_commits(log_reader *r, bool good, log_sum sum)
{
    unsigned ends = 0;
    while (read_frame(r)) {
        const uint8_t *head = r->frame, *stored = r->frame + 16;
        bool ours = memcmp(head + 8, r->salts, sizeof r->salts) == 0;
        sum = sum_of(r, sum, head, 8);
        sum = sum_of(r, sum, r->frame + FRAME, r->page_bytes);
        bool follows = ours && is_sum(sum, stored);
        good = good && follows;
        sum = (log_sum){big(stored), big(stored + 4)};
        if (good)
            continue;
        if (!follows)
            ends = 0;
        ends += ours && big(head + 4) != 0;
        if (ends >= 2)
            return true;
    }
    return false;
}

static FILE *open_log(const char *path)
{
    size_t size = strlen(path) + sizeof "-wal";
    char *name = sl_malloc(size);
    if (!name)
        return NULL;
    (void)snprintf(name, size, "%s-wal", path);
    FILE *file = fopen(name, "rbe");
    sl_free(name);
    return file;
}

bool sl_db_log_is_damaged(const char *path)
{
    SL_ASSERT(path);
    log_reader r = {.file = open_log(path)};
    log_sum sum;
    bool damaged = false, good;
    if (!r.file)
        return false;
    if (read_header(&r, &good, &sum) && (r.frame = sl_malloc(FRAME + r.page_bytes)) != NULL)
        damaged = has_lost_commits(&r, good, sum);
    sl_free(r.frame);
    (void)fclose(r.file);
    return damaged;
}
