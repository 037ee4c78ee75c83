/* Reading /proc, and the callbacks. */
#include "src/telemetry/process_metrics.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/str.h"
#include "src/telemetry/vocab.h"

#define SAMPLE_FRESH_NS 50000000u /* one reading of /proc serves the callbacks of one collection */

/* A process of the set. */
typedef struct member {
    pid_t pid;
    sl_process_sample last;
} member;

typedef struct observed {
    sl_process_metrics *owner;
    sl_metric_id id;
    sl_instrument *instrument;
} observed;

static const sl_metric_id observed_ids[] = {
    SL_METRIC_PROCESS_CPU_SECONDS, SL_METRIC_PROCESS_RESIDENT_MEMORY, SL_METRIC_PROCESS_VIRTUAL_MEMORY,
    SL_METRIC_PROCESS_OPEN_FDS,    SL_METRIC_PROCESS_MAX_FDS,         SL_METRIC_PROCESS_START_TIME,
    SL_METRIC_PROCESS_THREADS,
};
#define OBSERVED_COUNT (sizeof observed_ids / sizeof *observed_ids)

struct sl_process_metrics {
    observed observed[OBSERVED_COUNT];
    pthread_mutex_t lock;
    member members[SL_MAX_METRIC_PIDS];
    size_t member_count;
    double ended_cpu_seconds; /* of processes that are gone */
    uint64_t sampled_ns;
    sl_process_sample sum;
};

/* ---- /proc ---- */

static int read_file(const char *path, char *text, size_t size, size_t *ret_len)
{
    SL_ASSERT(size > 0 && ret_len);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || errno == ESRCH ? SL_ENOENT : SL_EIO;
    size_t len = 0;
    ssize_t got = 0;
    while (len < size && ((got = read(fd, text + len, size - len)) > 0 || (got < 0 && errno == EINTR)))
        len += got > 0 ? (size_t)got : 0;
    bool gone = got < 0 && errno == ESRCH; /* it ended between open and read */
    close(fd);
    if (got < 0)
        return gone ? SL_ENOENT : SL_EIO;
    *ret_len = len;
    return 0;
}

int sl_process_stat_parse(sl_str text, double ticks_per_second, uint64_t page_bytes, sl_process_sample *ret_sample)
{
    SL_ASSERT(ticks_per_second > 0);
    /* The name in parentheses may hold anything, so the fields are counted from the last ')'. */
    size_t end = text.len;
    while (end > 0 && text.ptr[end - 1] != ')')
        end--;
    if (end == 0)
        return SL_EPARSE;
    sl_str rest = sl_str_trim(sl_str_sub(text, end, SL_NPOS)), part;
    uint64_t fields[25] = {0};
    size_t field = 3; /* what follows the name, counted from 1 */
    while (field < 25 && sl_str_split(&rest, ' ', &part)) {
        if (field > 3 && sl_str_to_u64(part, &fields[field]))
            fields[field] = 0; /* negative ones are of no interest here */
        field++;
    }
    if (field < 25)
        return SL_EPARSE;
    ret_sample->cpu_seconds = (double)(fields[14] + fields[15]) / ticks_per_second;
    ret_sample->threads = fields[20];
    ret_sample->start_ticks = fields[22];
    ret_sample->virtual_bytes = fields[23];
    ret_sample->resident_bytes = fields[24] * page_bytes;
    return 0;
}

/* 0: they are another user's. SL_EIO: they cannot be counted now (no descriptor is free). */
static int count_fds(pid_t pid, uint64_t *ret_count)
{
    SL_ASSERT(pid > 0 && ret_count);
    char path[40];
    snprintf(path, sizeof path, "/proc/%ld/fd", (long)pid);
    *ret_count = 0;
    DIR *dir = opendir(path);
    if (!dir)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? SL_EIO : 0;
    uint64_t count = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir))
        count += e->d_name[0] != '.';
    closedir(dir);
    *ret_count = count - (pid == getpid() && count > 0); /* not the one that reads the folder */
    return 0;
}

/* As count_fds; the limit is not known while the file cannot be read. */
static int read_max_fds(pid_t pid, uint64_t *ret_count)
{
    SL_ASSERT(ret_count);
    char path[40], text[4096];
    size_t len;
    snprintf(path, sizeof path, "/proc/%ld/limits", (long)pid);
    *ret_count = 0;
    int error = read_file(path, text, sizeof text, &len);
    if (error)
        return error == SL_ENOENT || errno == EMFILE || errno == ENFILE || errno == ENOMEM ? error : 0;
    sl_str rest = sl_str_of(text, len), label = SL_STR("Max open files");
    size_t at = sl_str_find(rest, label);
    if (at == SL_NPOS)
        return 0;
    rest = sl_str_trim(sl_str_sub(rest, at + label.len, SL_NPOS));
    if (sl_str_to_u64(sl_str_sub(rest, 0, sl_str_chr(rest, ' ')), ret_count))
        *ret_count = 0; /* unlimited */
    return 0;
}

/* Unix time of the boot, by the clocks. */
static double boot_seconds(void)
{
    struct timespec boot;
    clock_gettime(CLOCK_BOOTTIME, &boot);
    return (double)sl_now_ns() / 1e9 - ((double)boot.tv_sec + (double)boot.tv_nsec / 1e9);
}

int sl_process_sample_read(pid_t pid, sl_process_sample *ret_sample)
{
    SL_ASSERT(ret_sample);
    char path[40], text[1024];
    size_t len;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    int error = read_file(path, text, sizeof text, &len);
    if (error)
        return error;
    long ticks = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);
    sl_process_sample sample = {0};
    if (ticks <= 0 || page <= 0 || sl_process_stat_parse(sl_str_of(text, len), (double)ticks, (uint64_t)page, &sample))
        return SL_EIO;
    /* To the hundredth, as the ticks: the two clocks are not read at the same instant. */
    sample.start_seconds =
        (double)(int64_t)((boot_seconds() + (double)sample.start_ticks / (double)ticks) * 100 + 0.5) / 100;
    error = count_fds(pid, &sample.open_fds);
    if (!error)
        error = read_max_fds(pid, &sample.max_fds);
    if (!error)
        *ret_sample = sample;
    return error;
}

/* ---- The sum ---- */

/* Reads a process again. False when it is gone; its CPU time is kept then. Lock held. */
static bool refresh(sl_process_metrics *m, member *one)
{
    SL_ASSERT(one->pid > 0);
    sl_process_sample sample;
    int error = sl_process_sample_read(one->pid, &sample);
    if (error && error != SL_ENOENT)
        return true; /* cannot be read now (no descriptor is free): as it was */
    bool same = !error && (one->last.start_ticks == 0 || one->last.start_ticks == sample.start_ticks);
    if (!same) {
        m->ended_cpu_seconds += one->last.cpu_seconds;
        return false;
    }
    double start = one->last.start_ticks ? one->last.start_seconds : sample.start_seconds;
    one->last = sample;
    one->last.start_seconds = start; /* read once: it must not jitter */
    return true;
}

/* Lock held. */
static void sample_all(sl_process_metrics *m)
{
    SL_ASSERT(m->member_count <= SL_MAX_METRIC_PIDS);
    uint64_t now = sl_mono_ns();
    if (m->sampled_ns && now - m->sampled_ns < SAMPLE_FRESH_NS)
        return;
    m->sampled_ns = now;
    for (size_t i = 0; i < m->member_count; i++) {
        if (!refresh(m, &m->members[i]))
            m->members[i--] = m->members[--m->member_count];
    }
    sl_process_sample sum = {.cpu_seconds = m->ended_cpu_seconds};
    for (size_t i = 0; i < m->member_count; i++) {
        const sl_process_sample *s = &m->members[i].last;
        sum.cpu_seconds += s->cpu_seconds;
        sum.resident_bytes += s->resident_bytes;
        sum.virtual_bytes += s->virtual_bytes;
        sum.threads += s->threads;
        sum.open_fds += s->open_fds;
        sum.max_fds += s->max_fds;
        if (i == 0 || s->start_seconds < sum.start_seconds)
            sum.start_seconds = s->start_seconds;
    }
    m->sum = sum;
}

static double value_of(const sl_process_sample *sum, sl_metric_id id)
{
    if (id == SL_METRIC_PROCESS_CPU_SECONDS)
        return sum->cpu_seconds;
    if (id == SL_METRIC_PROCESS_RESIDENT_MEMORY)
        return (double)sum->resident_bytes;
    if (id == SL_METRIC_PROCESS_VIRTUAL_MEMORY)
        return (double)sum->virtual_bytes;
    if (id == SL_METRIC_PROCESS_OPEN_FDS)
        return (double)sum->open_fds;
    if (id == SL_METRIC_PROCESS_MAX_FDS)
        return (double)sum->max_fds;
    if (id == SL_METRIC_PROCESS_START_TIME)
        return sum->start_seconds;
    SL_ASSERT(id == SL_METRIC_PROCESS_THREADS);
    return (double)sum->threads;
}

static void observe(void *user, sl_observer *observer)
{
    const observed *o = user;
    pthread_mutex_lock(&o->owner->lock);
    sample_all(o->owner);
    double value = value_of(&o->owner->sum, o->id);
    pthread_mutex_unlock(&o->owner->lock);
    sl_observe(observer, value, NULL, 0);
}

/* ---- Life cycle ---- */

static void set_build_info(sl_meter *meter)
{
    const sl_attr version = sl_attr_str("version", sl_version());
    sl_gauge_set(sl_instrument_bind(sl_metric_declare(meter, SL_METRIC_BUILD_INFO), &version, 1), 1);
}

sl_process_metrics *sl_process_metrics_new(sl_meter *meter)
{
    sl_process_metrics *m = sl_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    pthread_mutex_init(&m->lock, NULL);
    m->members[m->member_count++] = (member){.pid = getpid()};
    set_build_info(meter);
    for (size_t i = 0; i < OBSERVED_COUNT; i++) {
        observed *o = &m->observed[i];
        o->owner = m;
        o->id = observed_ids[i];
        sl_instrument *instrument = sl_metric_declare(meter, o->id);
        if (instrument && sl_instrument_on_collect(instrument, observe, o) == 0)
            o->instrument = instrument;
    }
    return m;
}

void sl_process_metrics_free(sl_process_metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < OBSERVED_COUNT; i++)
        sl_instrument_off_collect(metrics->observed[i].instrument, observe, &metrics->observed[i]);
    pthread_mutex_destroy(&metrics->lock);
    sl_free(metrics);
}

/* Index of a process in the set; its end when it is not there. Lock held. */
static size_t find(const sl_process_metrics *m, pid_t pid)
{
    SL_ASSERT(m->member_count <= SL_MAX_METRIC_PIDS);
    size_t i = 0;
    while (i < m->member_count && m->members[i].pid != pid)
        i++;
    return i;
}

int sl_process_metrics_set_pids(sl_process_metrics *metrics, const pid_t *pids, size_t count)
{
    SL_ASSERT(metrics && (pids || count == 0));
    if (count > SL_MAX_METRIC_PIDS)
        return SL_ELIMIT;
    pthread_mutex_lock(&metrics->lock);
    for (size_t i = 0; i < metrics->member_count; i++) {
        bool stays = false;
        for (size_t p = 0; p < count; p++)
            stays |= pids[p] == metrics->members[i].pid;
        if (stays)
            continue;
        if (refresh(metrics, &metrics->members[i])) /* it lives on, but is ours no longer */
            metrics->ended_cpu_seconds += metrics->members[i].last.cpu_seconds;
        metrics->members[i--] = metrics->members[--metrics->member_count];
    }
    for (size_t p = 0; p < count; p++) {
        if (metrics->member_count < SL_MAX_METRIC_PIDS && find(metrics, pids[p]) == metrics->member_count)
            metrics->members[metrics->member_count++] = (member){.pid = pids[p]};
    }
    metrics->sampled_ns = 0;
    pthread_mutex_unlock(&metrics->lock);
    return 0;
}
