/*
 * The probe's life in a process: begins with the first call of libllama, ends with exit(). A forked child begins anew
 * with its own first call; until then it records nothing. Where there is nowhere to write to, or SIGHTLINE_PROBE=off
 * says so, the hooks become jumps.
 */
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/probe/host/living.h"
#include "src/probe/host/real.h"

#define MAX_RINGS 1000 /* of one process id: those before exec() and those of earlier owners of the id */
#define ENV_BYTES (4u << 20)

union sl_host_page sl_host_state_page __attribute__((aligned(4096)));
_Thread_local sl_host_thread sl_host_thread_state __attribute__((tls_model("initial-exec")));
_Atomic uint32_t sl_host_generation; /* goes on counting in a child: records of the parent's threads are stale there */

/* ---- the environment ---- */

/* Finds NAME= in what the process was started with. */
static bool find_in(const char *text, size_t len, const char *name, char *ret_value, size_t size)
{
    size_t name_len = strlen(name);
    SL_ASSERT(size > 0);
    for (size_t at = 0; at < len;) {
        size_t entry = strnlen(text + at, len - at);
        if (entry > name_len && text[at + name_len] == '=' && memcmp(text + at, name, name_len) == 0) {
            size_t value = entry - name_len - 1;
            bool fits = value < size;
            memcpy(ret_value, text + at + name_len + 1, fits ? value : 0);
            ret_value[fits ? value : 0] = '\0';
            return true;
        }
        at += entry + 1;
    }
    return false;
}

/* The kernel's copy: getenv() here could race with a setenv() of the host's. */
static ssize_t read_environment(char *text)
{
    int fd = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);
    ssize_t have = 0, got;
    if (fd < 0)
        return -1;
    while (have < (ssize_t)ENV_BYTES && (got = read(fd, text + have, (size_t)(ENV_BYTES - have))) > 0)
        have += got;
    (void)close(fd);
    return have;
}

/* Programs that show a title of their own to `ps` write it over this memory; getenv() has what they kept. */
static bool is_overwritten(const char *text, size_t len)
{
    size_t first = strnlen(text, len);
    SL_ASSERT(len > 0);
    return first == 0 || !memchr(text, '=', first);
}

bool sl_host_env(const char *name, char *ret_value, size_t size)
{
    int kept = errno;
    bool found = false;
    SL_ASSERT(name && ret_value);
    char *text = mmap(NULL, ENV_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ssize_t len = text == MAP_FAILED ? -1 : read_environment(text);
    if (len > 0 && !is_overwritten(text, (size_t)len)) {
        found = find_in(text, (size_t)len, name, ret_value, size);
    } else {
        const char *value = getenv(name); /* there is no other way */
        found = value && strlen(value) < size;
        if (found)
            memcpy(ret_value, value, strlen(value) + 1);
    }
    if (text != MAP_FAILED)
        (void)munmap(text, ENV_BYTES);
    errno = kept;
    return found;
}

bool sl_host_off_asked(void)
{
    static _Atomic int answer; /* 1: no, 2: yes */
    int known = atomic_load_explicit(&answer, memory_order_relaxed);
    if (!known) {
        char value[8];
        known = sl_host_env("SIGHTLINE_PROBE", value, sizeof value) && strcmp(value, "off") == 0 ? 2 : 1;
        atomic_store_explicit(&answer, known, memory_order_relaxed);
    }
    return known == 2;
}

void sl_host_debug(const char *format, ...)
{
    static _Atomic int answer;
    char value[4], text[512];
    if (!atomic_load(&answer))
        atomic_store(&answer, sl_host_env("SIGHTLINE_PROBE_DEBUG", value, sizeof value) && *value == '1' ? 2 : 1);
    if (atomic_load(&answer) != 2)
        return;
    int kept = errno;
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text - 1, format, args);
    va_end(args);
    if (len > 0) {
        size_t bytes = (size_t)len < sizeof text - 2 ? (size_t)len : sizeof text - 2;
        text[bytes] = '\n';
        ssize_t ignored = write(STDERR_FILENO, text, bytes + 1);
        (void)ignored;
    }
    errno = kept;
}

/* ---- threads ---- */

void sl_host_thread_begin(sl_host_thread *thread)
{
    uint8_t ours = thread->ours;
    SL_ASSERT(thread);
    memset(thread, 0, sizeof *thread);
    thread->ours = ours;
    thread->tid = (uint32_t)syscall(SYS_gettid);
    thread->generation = atomic_load(&sl_host_generation);
}

void sl_host_thread_is_ours(void)
{
    sl_host_this_thread()->ours = 1;
}

bool sl_host_same_process(void)
{
    return sl_the_host->pid == (uint32_t)syscall(SYS_getpid);
}

/* ---- writing ---- */

sl_probe_event *sl_host_take(sl_probe_kind kind, size_t body, size_t tail)
{
    size_t size = sl_host_event_size(body, tail);
    SL_ASSERT(kind > SL_PROBE_PAD && kind < SL_PROBE_KIND_COUNT && body >= sizeof(sl_probe_event));
    sl_probe_event *event = sl_probe_ring_take(sl_host_ring(), size);
    if (SL_UNLIKELY(!event))
        return NULL;
    if (size != body + tail)
        memset((char *)event + size - SL_PROBE_EVENT_ALIGN, 0, SL_PROBE_EVENT_ALIGN);
    event->kind = (uint16_t)kind;
    event->flags = 0;
    event->thread = sl_host_this_thread()->tid;
    event->count = 0;
    event->time_ns = sl_host_now();
    return event;
}

/* ---- attaching ---- */

static size_t add_text(char *tail, size_t at, size_t size, const char *text)
{
    size_t len = strlen(text);
    if (len > size - at - 1)
        len = size - at - 1;
    memcpy(tail + at, text, len);
    tail[at + len] = '\0';
    return at + len + 1;
}

/* libllama.v0.5.0.so, libllama.b6673.so, libllama.so.0.6.0: what stands for the version; "" when nothing does. */
static void version_of_name(const char *path, char *ret_text, size_t size)
{
    const char *from = strstr(path, "libllama.");
    size_t len = 0;
    if (from) {
        from += strlen("libllama.");
        from += strncmp(from, "so.", 3) == 0 ? 3 : 0;
        len = strlen(from);
        if (len >= 3 && strcmp(from + len - 3, ".so") == 0)
            len -= 3;
        len = strcmp(from, "so") == 0 || len >= size ? 0 : len;
        memcpy(ret_text, from, len);
    }
    ret_text[len] = '\0';
}

static void find_version(unsigned lib, char *ret_text, size_t size)
{
    const char *(*version)(void) = (const char *(*)(void))sl_host_find(lib, "llama_version");
    char real[PATH_MAX];
    if (version) {
        const char *text = version();
        (void)snprintf(ret_text, size, "%s", text ? text : "");
        return;
    }
    const char *path = sl_host_lib_path(lib);
    ssize_t len = readlink(path, real, sizeof real - 1); /* libllama.so.0 -> libllama.so.0.6.0 */
    real[len > 0 ? len : 0] = '\0';
    version_of_name(len > 0 ? real : path, ret_text, size);
}

static unsigned llama_lib(void)
{
    static const sl_hook_id of[] = {SL_HOOK_llama_decode, SL_HOOK_llama_free};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        unsigned lib = sl_host_lib_of(of[i], atomic_load(&sl_host_reals[of[i]]));
        if (lib)
            return lib;
    }
    return 0;
}

static void tell_attach(uint64_t start_ns)
{
    char texts[3 * PATH_MAX], exe[PATH_MAX], version[64];
    unsigned lib = llama_lib();
    ssize_t len = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[len > 0 ? len : 0] = '\0';
    find_version(lib, version, sizeof version);
    size_t tail = add_text(texts, 0, sizeof texts, exe);
    tail = add_text(texts, tail, sizeof texts, sl_host_lib_path(lib));
    tail = add_text(texts, tail, sizeof texts, version);
    sl_probe_attach *event = (sl_probe_attach *)(void *)sl_host_take(SL_PROBE_ATTACH, sizeof *event, tail);
    if (!event)
        return;
    event->head.count = (uint32_t)tail;
    event->start_ns = start_ns;
    event->pid = sl_the_host->pid;
    event->parent_pid = (uint32_t)getppid();
    memcpy(event + 1, texts, tail);
    sl_host_commit(&event->head, sizeof *event, tail);
    sl_host_debug("sightline: attached to %s (%s)", sl_host_lib_path(lib), version);
}

static void tell_found(void)
{
    char names[SL_HOOK_COUNT * 64];
    size_t tail = 0;
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++) {
        size_t len = strlen(sl_host_name((sl_hook_id)id));
        if (!atomic_load(&sl_host_reals[id]) || tail + len + 1 > sizeof names)
            continue;
        memcpy(names + tail, sl_host_name((sl_hook_id)id), len);
        tail += len;
        names[tail++] = ' ';
    }
    tail -= tail > 0;
    sl_probe_event *event = sl_host_take(SL_PROBE_FOUND, sizeof *event, tail);
    if (!event)
        return;
    event->count = (uint32_t)tail;
    memcpy(event + 1, names, tail);
    sl_host_commit(event, sizeof *event, tail);
}

/* By a process that has the same number in another namespace. */
static bool is_being_made(const char *path)
{
    char beside[PATH_MAX];
    int len = snprintf(beside, sizeof beside, "%s.new", path);
    return len > 0 && (size_t)len < sizeof beside && access(beside, F_OK) == 0;
}

/* A ring in the parent's folder, under a name that nobody had. */
static sl_probe_ring *make_ring_in(const char *folder)
{
    char path[PATH_MAX];
    for (unsigned n = 1; n <= MAX_RINGS; n++) {
        sl_probe_ring *ring;
        int len = snprintf(path, sizeof path, "%s/%u-%u" SL_PROBE_RING_SUFFIX, folder, sl_the_host->pid, n);
        if (len < 0 || (size_t)len >= sizeof path)
            return NULL;
        if (access(path, F_OK) == 0)
            continue;
        if (sl_probe_ring_new(path, 0, &ring) == 0)
            return ring;
        if (access(path, F_OK) != 0 && !is_being_made(path))
            return NULL;
    }
    return NULL;
}

static sl_probe_ring *make_ring(void)
{
    char folder[PATH_MAX];
    sl_probe_ring *ring = NULL;
    if (sl_host_env(SL_PROBE_DIR_ENV, folder, sizeof folder) && *folder) {
        ring = make_ring_in(folder);
        sl_host_debug("sightline: %s a ring in %s", ring ? "made" : "could not make", folder);
        if (ring)
            return ring;
    }
    if (sl_probe_ring_new(NULL, 0, &ring) != 0)
        return NULL;
    if (!sl_host_bare_start || sl_host_bare_start(ring) != 0) {
        sl_probe_ring_free(ring);
        return NULL;
    }
    sl_the_host->bare = true;
    return ring;
}

static void clear_in_child(void)
{
    memset(&sl_host_state_page, 0, sizeof sl_host_state_page);
}

/* The kernel clears the page in a child, however it is made; where it only says so (emulators), libc's fork does. */
static void prepare_for_fork(void)
{
    static _Atomic bool registered;
    (void)madvise(&sl_host_state_page, sizeof sl_host_state_page, MADV_WIPEONFORK);
    if (!atomic_exchange(&registered, true))
        (void)pthread_atfork(NULL, NULL, clear_in_child);
}

/* From now on calls of libc's functions meet their hooks. */
static void open_hooks(void)
{
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        atomic_store(&sl_host_jumps[id], NULL);
}

static bool attach(void)
{
    uint32_t expected = SL_HOST_UNSEEN;
    uint64_t start_ns = sl_host_now();
    if (!atomic_compare_exchange_strong(&sl_the_host->state, &expected, SL_HOST_ATTACHING))
        return expected == SL_HOST_ON;
    int kept = errno;
    prepare_for_fork();
    atomic_fetch_add(&sl_host_generation, 1);
    sl_the_host->pid = (uint32_t)getpid();
    sl_the_host->ring = sl_host_off_asked() ? NULL : make_ring();
    bool on = sl_the_host->ring != NULL;
    if (on) {
        sl_host_look();
        tell_attach(start_ns);
        tell_found();
        sl_host_living_tell();
    }
    atomic_store(&sl_the_host->state, on ? SL_HOST_ON : SL_HOST_OFF);
    if (on)
        open_hooks();
    errno = kept;
    return on;
}

bool sl_host_seen(void)
{
    uint32_t state = atomic_load_explicit(&sl_the_host->state, memory_order_acquire);
    if (SL_LIKELY(state == SL_HOST_ON)) {
        sl_host_thread *thread = sl_host_this_thread();
        thread->calls = 1;
        return !thread->ours;
    }
    if (sl_host_thread_state.ours)
        return false;
    return state == SL_HOST_UNSEEN && attach();
}

bool sl_host_recording(sl_hook_id id, void *real)
{
    /* Other programs use ggml without llama.cpp: they are not our hosts. */
    if (SL_UNLIKELY(!sl_host_on()) && sl_host_kind(id) == SL_HOOK_KIND_GGML &&
        atomic_load(&sl_the_host->state) != SL_HOST_OFF)
        return false;
    if (SL_LIKELY(sl_host_seen()))
        return true;
    if (real && atomic_load(&sl_the_host->state) == SL_HOST_OFF && atomic_load(&sl_host_unsure) == 0)
        atomic_store(&sl_host_jumps[id], real);
    return false;
}

/* exit(): what the host did in its own destructors is behind us. */
__attribute__((destructor)) static void leave(void)
{
    if (!sl_host_on() || !sl_host_same_process())
        return;
    sl_probe_event *event = sl_host_take(SL_PROBE_EXIT, sizeof *event, 0);
    if (event)
        sl_host_commit(event, sizeof *event, 0);
    sl_probe_ring_close(sl_host_ring());
    if (sl_host_bare_stop && sl_the_host->bare)
        sl_host_bare_stop();
}
