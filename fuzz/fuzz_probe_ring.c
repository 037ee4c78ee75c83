/*
 * The reader of a ring whose file says what it likes: never reads outside, always comes to an end.
 * Input: head and tail (8 bytes each), then what the data begin with.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/probe/ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void seen(void *user, const sl_probe_event *event, size_t size)
{
    if (sl_probe_event_check(event, size) != 0)
        abort();
    ++*(size_t *)user;
}

/* A valid header, as the writer makes it, and 512 KiB of data. */
static int make_file(const uint8_t *data, size_t size)
{
    static const uint64_t header[4] = {0x474e4952504c5353ull, 1 | (uint64_t)0x7fffffff << 32, 1, 512 * 1024};
    int fd = memfd_create("ring", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, 4096 + 512 * 1024) != 0 || pwrite(fd, header, sizeof header, 0) < 0)
        abort();
    if (pwrite(fd, data, 8, 64) < 0 || pwrite(fd, data + 8, 8, 128) < 0 || pwrite(fd, data + 16, size - 16, 4096) < 0)
        abort();
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_probe_ring *ring;
    sl_probe_ring_info info;
    size_t events = 0;
    if (size < 16 || size > 65536)
        return 0;
    int fd = make_file(data, size);
    if (sl_probe_ring_open(fd, &ring) != 0)
        abort();
    (void)close(fd);
    for (uint64_t now = 1; now < 40; now++)
        (void)sl_probe_ring_read(ring, 100, now * SL_PROBE_STUCK_NS, seen, &events);
    sl_probe_ring_get_info(ring, &info);
    sl_probe_event *event = sl_probe_ring_take(ring, sizeof *event);
    if (event) {
        *event = (sl_probe_event){.kind = SL_PROBE_EXIT};
        sl_probe_ring_commit(event, sizeof *event);
    }
    (void)sl_probe_ring_read(ring, 100, UINT64_MAX / 2, seen, &events);
    if (info.written + 1 < events)
        abort();
    sl_probe_ring_free(ring);
    return 0;
}
