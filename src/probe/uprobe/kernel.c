/* Calls of bpf(2) and perf_event_open(2), without their headers and libraries. */
#include "src/probe/uprobe/kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

/* enum bpf_cmd, bpf_map_type, bpf_prog_type */
enum { MAP_CREATE = 0, MAP_LOOKUP_ELEM = 1, PROG_LOAD = 5, TYPE_ARRAY = 2, TYPE_RINGBUF = 27, TYPE_KPROBE = 2 };
/* Bits before the length of a record in the ring, and its head. */
#define BUSY 0x80000000u
#define DISCARDED 0x40000000u
#define RECORD_HEAD 8u
#define LOG_BYTES (64u * 1024)
#define EVENT_IOC_ENABLE 0x2400u
#define EVENT_IOC_SET_BPF 0x40042408u
/* The programs below are given to the kernel under both licenses: functions that they call are for such alone. */
static const char license[] = "Dual MIT/GPL";

/* union bpf_attr, as much as is used */
typedef union bpf_args {
    struct {
        uint32_t type, key_size, value_size, max_entries, flags;
    } map;
    struct {
        uint32_t fd, pad;
        uint64_t key, value, flags;
    } elem;
    struct {
        uint32_t type, insn_count;
        uint64_t insns, license;
        uint32_t log_level, log_size;
        uint64_t log;
        uint32_t version, flags;
        char name[16];
    } program;
    uint64_t whole[16];
} bpf_args;

/* struct perf_event_attr, PERF_ATTR_SIZE_VER1 */
typedef struct event_args {
    uint32_t type, size;
    uint64_t config, period, sample_type, read_format, flags;
    uint32_t wakeup, breakpoint;
    uint64_t path, offset;
} event_args;
_Static_assert(sizeof(event_args) == 72, "as the kernel has it");

static long bpf(int command, bpf_args *args)
{
    return syscall(SYS_bpf, command, args, sizeof *args);
}

static uint64_t address(const void *p)
{
    return (uint64_t)(uintptr_t)p;
}

static int refuse(sl_uprobe_why *why, const char *what)
{
    int number = errno;
    SL_ASSERT(why && what);
    const char *help = number == EPERM || number == EACCES
                           ? "; it needs root, or CAP_BPF and CAP_PERFMON (in a container also a seccomp profile that "
                             "allows bpf and perf_event_open)"
                       : number == ENOSYS || number == EINVAL ? "; it needs Linux 5.8 or newer with BPF and uprobes"
                                                              : "";
    (void)snprintf(why->text, sizeof why->text, "%s: %s%s", what, strerror(number), help);
    return number == ENOMEM ? SL_ENOMEM : SL_EREFUSED;
}

/* Kernels before 5.11 count this memory against a limit. */
static long with_memory(int command, bpf_args *args)
{
    long fd = bpf(command, args);
    if (fd < 0 && errno == EPERM) {
        const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
        if (setrlimit(RLIMIT_MEMLOCK, &all) == 0)
            fd = bpf(command, args);
        else
            errno = EPERM;
    }
    return fd;
}

int sl_kernel_ring_map(size_t bytes, sl_uprobe_why *why)
{
    SL_ASSERT(why && bytes && (bytes & (bytes - 1)) == 0);
    bpf_args args = {.map = {.type = TYPE_RINGBUF, .max_entries = (uint32_t)bytes}};
    long fd = with_memory(MAP_CREATE, &args);
    return fd < 0 ? refuse(why, "the kernel gives no ring (bpf)") : (int)fd;
}

int sl_kernel_counter_map(sl_uprobe_why *why)
{
    SL_ASSERT(why);
    bpf_args args = {.map = {.type = TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1}};
    long fd = with_memory(MAP_CREATE, &args);
    return fd < 0 ? refuse(why, "the kernel gives no counter (bpf)") : (int)fd;
}

uint64_t sl_kernel_counter(int map)
{
    uint32_t key = 0;
    uint64_t value = 0;
    bpf_args args = {.elem = {.fd = (uint32_t)map, .key = address(&key), .value = address(&value)}};
    return bpf(MAP_LOOKUP_ELEM, &args) == 0 ? value : 0;
}

/* Asks for the verifier's words only when it has refused. */
static void say_refused(const bpf_args *given, int number, sl_uprobe_why *why)
{
    bpf_args args = *given;
    char *log = sl_calloc(1, LOG_BYTES);
    if (log) {
        args.program.log = address(log);
        args.program.log_size = LOG_BYTES;
        args.program.log_level = 1;
        long fd = bpf(PROG_LOAD, &args);
        if (fd >= 0)
            (void)close((int)fd);
        if (getenv("SIGHTLINE_PROBE_DEBUG"))
            fprintf(stderr, "%s\n", log);
    }
    sl_free(log);
    errno = number;
    (void)refuse(why, "the kernel takes no program (bpf)");
}

int sl_kernel_program(const sl_bpf_asm *a, const char *name, sl_uprobe_why *why)
{
    SL_ASSERT(a && name && why && !a->failed && a->count);
    bpf_args args = {
        .program = {
            .type = TYPE_KPROBE, .insn_count = a->count, .insns = address(a->code), .license = address(license)}};
    (void)snprintf(args.program.name, sizeof args.program.name, "%s", name);
    long fd = with_memory(PROG_LOAD, &args);
    if (fd >= 0)
        return (int)fd;
    say_refused(&args, errno, why);
    return SL_EREFUSED;
}

/* The kernel's number for events of this kind; -1: it has none. */
static int uprobe_type(void)
{
    char text[16];
    int fd = open("/sys/bus/event_source/devices/uprobe/type", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    if (got <= 0)
        return -1;
    text[got] = '\0';
    return (int)strtol(text, NULL, 10);
}

int sl_kernel_uprobe(int pid, const char *path, uint64_t offset, int program, sl_uprobe_why *why)
{
    SL_ASSERT(pid > 0 && path && offset && program >= 0 && why);
    int type = uprobe_type();
    if (type < 0) {
        (void)snprintf(why->text, sizeof why->text,
                       "the kernel has no uprobes (CONFIG_UPROBE_EVENTS), or /sys is not mounted");
        return SL_EREFUSED;
    }
    event_args args = {.type = (uint32_t)type, .size = sizeof args, .path = address(path), .offset = offset};
    int fd = (int)syscall(SYS_perf_event_open, &args, pid, -1, -1, 8ul /* close-on-exec */);
    if (fd < 0)
        return refuse(why, "no breakpoint can be set (perf_event_open)");
    if (ioctl(fd, EVENT_IOC_SET_BPF, program) != 0 || ioctl(fd, EVENT_IOC_ENABLE, 0) != 0) {
        int error = refuse(why, "no program can be set at a breakpoint");
        (void)close(fd);
        return error;
    }
    return fd;
}

/* ---- the ring ---- */

int sl_kernel_ring_open(int fd, size_t bytes, sl_kernel_ring *ret_ring, sl_uprobe_why *why)
{
    SL_ASSERT(fd >= 0 && bytes && ret_ring && why);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *consumer = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (consumer == MAP_FAILED)
        return refuse(why, "the kernel's ring cannot be mapped");
    void *producer = mmap(NULL, page + 2 * bytes, PROT_READ, MAP_SHARED, fd, (off_t)page);
    if (producer == MAP_FAILED) {
        (void)munmap(consumer, page);
        return refuse(why, "the kernel's ring cannot be mapped");
    }
    *ret_ring = (sl_kernel_ring){fd, bytes, consumer, producer};
    return 0;
}

void sl_kernel_ring_close(sl_kernel_ring *ring)
{
    SL_ASSERT(ring);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (ring->consumer)
        (void)munmap(ring->consumer, page);
    if (ring->producer)
        (void)munmap(ring->producer, page + 2 * ring->bytes);
    *ring = (sl_kernel_ring){.fd = -1};
}

size_t sl_kernel_ring_read(sl_kernel_ring *ring, size_t max, void (*fn)(void *user, const void *record, size_t len),
                           void *user)
{
    SL_ASSERT(ring && ring->consumer && fn);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), count = 0;
    _Atomic unsigned long *ours = ring->consumer;
    const _Atomic unsigned long *theirs = ring->producer;
    const unsigned char *data = (const unsigned char *)ring->producer + page;
    unsigned long at = atomic_load_explicit(ours, memory_order_relaxed);
    /* Acquire: what was written before the kernel moved on is seen. */
    while (count < max && at < atomic_load_explicit(theirs, memory_order_acquire)) {
        const unsigned char *record = data + (at & (ring->bytes - 1));
        uint32_t len = atomic_load_explicit((const _Atomic uint32_t *)(const void *)record, memory_order_acquire);
        if (len & BUSY)
            break;
        uint32_t size = len & ~DISCARDED;
        if (!(len & DISCARDED))
            fn(user, record + RECORD_HEAD, size);
        at += (size + RECORD_HEAD + 7u) & ~7ul;
        atomic_store_explicit(ours, at, memory_order_release);
        count++;
    }
    return count;
}
