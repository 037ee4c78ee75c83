/* The reader's consumer that makes spans and metrics: an assembler for each host. */
#include "src/probe/reader.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/probe/quota_watch.h"

#define CLOCKS_APART_NS 10000000u

/* Reads both clocks; not when it was interrupted in between. */
static void follow_clock(sl_probe_assembler *assembler)
{
    uint64_t before = sl_mono_ns(), unix_ns = sl_now_ns(), after = sl_mono_ns();
    if (after - before < CLOCKS_APART_NS)
        sl_probe_assembler_clock(assembler, (int64_t)(unix_ns - before));
}

static int open_assembler(void *user, const sl_probe_ring_info *info, void **ret_host)
{
    SL_ASSERT(user && info);
    sl_probe_options options = *(const sl_probe_options *)user;
    options.pid = info->pid;
    options.unix_offset_ns = info->unix_offset_ns;
    sl_probe_assembler *assembler;
    int error = sl_probe_assembler_new(&options, &assembler);
    if (error)
        return error;
    follow_clock(assembler);
    *ret_host = assembler;
    return 0;
}

static void tick(void *host, uint64_t now_ns, uint64_t dropped, uint64_t bad)
{
    follow_clock(host);
    sl_probe_assembler_damaged(host, bad);
    sl_probe_assembler_tick(host, now_ns, dropped);
}

static void gone(void *host, uint64_t now_ns, bool crashed)
{
    sl_probe_assembler_host_gone(host, now_ns, crashed);
}

static void close_assembler(void *host)
{
    sl_probe_assembler_free(host);
}

static void round_of_all(void *user, uint64_t now_ns)
{
    const sl_probe_options *options = user;
    sl_quota_watch_tick(options->quotas, now_ns);
}

sl_probe_consumer sl_probe_reader_assemblers(const sl_probe_options *options)
{
    SL_ASSERT(options && options->sdk);
    return (sl_probe_consumer){.user = (void *)(uintptr_t)options,
                               .open = open_assembler,
                               .event = sl_probe_assembler_event,
                               .tick = tick,
                               .gone = gone,
                               .close = close_assembler,
                               .round = round_of_all};
}
