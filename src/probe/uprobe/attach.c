/* The breakpoints of a process, and the thread that brings what they tell. */
#include "src/probe/uprobe/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/probe/uprobe/call_sites.h"
#include "src/probe/uprobe/getters.h"
#include "src/probe/uprobe/process_map.h"
#include "src/probe/uprobe/programs.h"
#include "src/probe/uprobe/translate.h"

#define MAX_BREAKPOINTS (SL_UPROBE_POINTS * SL_UPROBE_MAX_FILES + SL_UPROBE_MAX_SITES)
#define FEW_BREAKPOINTS 2u
#define BUSY_MS 5u
#define IDLE_MS 50u
#define BUSY_NS 2000000000u /* after a record */
#define MISSED_NS 1000000000u
#define LOOK_NS 1000000000u /* for files that a running process opens later */
#define MAX_SEEN 512u       /* files of a process whose functions were looked up */
#define RECORDS_AT_ONCE 4096u
#define OWN_PROBE "__wrap_llama_decode" /* a build with LLAMA_OTEL_ENABLE tells of itself */

/* A place that calls return to. */
typedef struct place {
    uint64_t device, inode, offset;
} place;

/* A file. */
typedef struct file_id {
    uint64_t device, inode;
} file_id;

/* What is known of a return address of the process. */
typedef struct site {
    uint64_t address;
    uint64_t since_ns; /* when its breakpoint was set; UINT64_MAX: there is none */
} site;

struct sl_uprobe_attach {
    uint32_t pid;
    sl_uprobe_maps maps;
    sl_kernel_ring records;
    int programs[SL_UPROBE_POINTS]; /* -1: not loaded */
    int return_program;
    int breakpoints[MAX_BREAKPOINTS];
    size_t breakpoint_count;
    size_t file_count; /* with llama.cpp in them */
    char library[PATH_MAX];
    char exe[PATH_MAX];
    char found[SL_UPROBE_POINTS * 40];
    bool follows; /* whatever the process has mapped; else one file alone */
    file_id seen[MAX_SEEN];
    size_t seen_count;
    place places[SL_UPROBE_MAX_SITES];
    size_t place_count;
    int32_t facts[SL_UPROBE_FACTS]; /* where in the object; -1: not known */
    sl_probe_ring *ring;
    /* The thread's. */
    sl_uprobe_translator *translator;
    site sites[SL_UPROBE_MAX_SITES];
    size_t site_count;
    uint64_t exe_inode;
    uint64_t look_ns;
    uint64_t lost; /* calls that the kernel had no room to tell of */
    pthread_t thread;
    bool running;
    _Atomic bool stopping;
};

/* The second name is of the method that the first one calls in shared libraries. */
static const char *const fact_names[SL_UPROBE_FACTS][2] = {
    [SL_UPROBE_N_CTX] = {"llama_n_ctx", "_ZNK13llama_context5n_ctxEv"},
    [SL_UPROBE_N_CTX_SEQ] = {"llama_n_ctx_seq", "_ZNK13llama_context9n_ctx_seqEv"},
    [SL_UPROBE_N_BATCH] = {"llama_n_batch", "_ZNK13llama_context7n_batchEv"},
    [SL_UPROBE_N_UBATCH] = {"llama_n_ubatch", "_ZNK13llama_context8n_ubatchEv"},
    [SL_UPROBE_N_SEQ_MAX] = {"llama_n_seq_max", "_ZNK13llama_context9n_seq_maxEv"},
    [SL_UPROBE_N_CTX_TRAIN] = {"llama_model_n_ctx_train", "llama_n_ctx_train"},
    [SL_UPROBE_N_LAYER] = {"llama_model_n_layer", "llama_n_layer"},
    [SL_UPROBE_N_EMBD] = {"llama_model_n_embd", "llama_n_embd"},
};

/* ---- breakpoints ---- */

static int keep(sl_uprobe_attach *a, int fd)
{
    SL_ASSERT(fd >= 0);
    if (a->breakpoint_count == MAX_BREAKPOINTS) {
        (void)close(fd);
        return SL_ELIMIT;
    }
    a->breakpoints[a->breakpoint_count++] = fd;
    return 0;
}

/* Sets one in a file that is known by up to two names. */
static int set(sl_uprobe_attach *a, const char *path, const char *other, uint64_t offset, int program,
               sl_uprobe_why *why)
{
    int fd = sl_kernel_uprobe((int)a->pid, path, offset, program, why);
    if (fd < 0 && other)
        fd = sl_kernel_uprobe((int)a->pid, other, offset, program, why);
    return fd < 0 ? fd : keep(a, fd);
}

static int program_of(sl_uprobe_attach *a, size_t point, sl_uprobe_why *why)
{
    SL_ASSERT(point < SL_UPROBE_POINTS);
    if (a->programs[point] >= 0)
        return a->programs[point];
    sl_bpf_asm *code = sl_malloc(sizeof *code);
    if (!code)
        return SL_ENOMEM;
    bool fits = sl_uprobe_program_call(code, sl_uprobe_points[point].kind, (uint32_t)point, &a->maps);
    SL_ASSERT(fits);
    int fd = fits ? sl_kernel_program(code, "sightline_call", why) : SL_ELIMIT;
    sl_free(code);
    if (fd >= 0)
        a->programs[point] = fd;
    return fd;
}

/* Where direct calls of a function within its file return to. */
static void watch_returns(sl_uprobe_attach *a, const sl_elf_file *file, const sl_elf_function *f, const char *path,
                          const char *other, const struct stat *st)
{
    uint64_t offsets[SL_UPROBE_MAX_SITES];
    size_t room = SL_UPROBE_MAX_SITES - a->place_count;
    size_t count = sl_call_sites_find(file, f, offsets, room);
    sl_uprobe_why why;
    for (size_t i = 0; i < count; i++) {
        if (set(a, path, other, offsets[i], a->return_program, &why) == 0)
            a->places[a->place_count++] =
                (place){(uint64_t)major(st->st_dev) << 32 | minor(st->st_dev), (uint64_t)st->st_ino, offsets[i]};
    }
}

static void note_found(sl_uprobe_attach *a, const char *name)
{
    size_t len = strlen(a->found);
    (void)snprintf(a->found + len, sizeof a->found - len, "%s%s", len ? " " : "", name);
}

/* The place that a function tells of; -1: it is not there, or of another shape. */
static int32_t place_of(const sl_elf_file *file, const sl_elf_function *f)
{
    sl_elf_code code;
    for (size_t i = 0; f->offset && sl_elf_file_code(file, i, &code); i++) {
        if (f->offset >= code.offset && f->offset - code.offset < code.len) {
            size_t at = (size_t)(f->offset - code.offset);
            return sl_getter_place(code.bytes + at, code.len - at);
        }
    }
    return -1;
}

static void find_facts(sl_uprobe_attach *a, const sl_elf_file *file)
{
    sl_elf_function f[2];
    for (size_t n = 0; n < SL_UPROBE_FACTS; n++) {
        (void)sl_elf_file_find(file, fact_names[n], 2, f);
        for (size_t i = 0; i < 2 && a->facts[n] < 0; i++)
            a->facts[n] = place_of(file, &f[i]);
    }
}

static bool is_same(const sl_elf_function *functions, size_t before, uint64_t offset)
{
    for (size_t i = 0; i < before; i++) {
        if (functions[i].offset == offset)
            return true;
    }
    return false;
}

/* Functions that are there, in order of points.def. False: none, or it tells of itself. */
static bool find_points(const sl_elf_file *file, sl_elf_function functions[SL_UPROBE_POINTS])
{
    const char *names[SL_UPROBE_POINTS];
    const char *const own[] = {OWN_PROBE};
    sl_elf_function probe;
    for (size_t i = 0; i < SL_UPROBE_POINTS; i++)
        names[i] = sl_uprobe_points[i].name;
    (void)sl_elf_file_find(file, names, SL_UPROBE_POINTS, functions);
    return (functions[SL_UPROBE_AT_llama_decode].offset || functions[SL_UPROBE_AT_llama_process].offset) &&
           sl_elf_file_find(file, own, 1, &probe) == 0;
}

/* Everything in one file. SL_ENOENT: it has nothing of llama.cpp. */
static int attach_file(sl_uprobe_attach *a, const char *path, const char *other, sl_uprobe_why *why)
{
    sl_elf_function functions[SL_UPROBE_POINTS];
    sl_elf_file *file;
    struct stat st;
    if (a->file_count == SL_UPROBE_MAX_FILES || (stat(path, &st) != 0 && (!other || stat(other, &st) != 0)))
        return SL_ENOENT;
    int error = sl_elf_file_open(path, &file);
    if (error && other)
        error = sl_elf_file_open(other, &file);
    if (error)
        return error == SL_ENOMEM ? error : SL_ENOENT;
    if (!find_points(file, functions))
        error = SL_ENOENT;
    for (size_t i = 0; i < SL_UPROBE_POINTS && !error; i++) {
        if (!functions[i].offset || is_same(functions, i, functions[i].offset))
            continue;
        int program = program_of(a, i, why);
        error = program < 0 ? program : set(a, path, other, functions[i].offset, program, why);
        if (!error && sl_uprobe_points[i].returns)
            watch_returns(a, file, &functions[i], path, other, &st);
        if (!error)
            note_found(a, sl_uprobe_points[i].name);
    }
    if (!error) {
        find_facts(a, file);
        if (a->file_count++ == 0)
            (void)snprintf(a->library, sizeof a->library, "%s", other ? other : path);
    }
    sl_elf_file_free(file);
    return error;
}

/* ---- files of a running process ---- */

typedef struct file_walk {
    sl_uprobe_attach *attach;
    sl_uprobe_why *why;
    int error;
} file_walk;

static bool consider(void *user, const sl_process_code *code)
{
    file_walk *w = user;
    sl_uprobe_attach *a = w->attach;
    for (size_t i = 0; i < a->seen_count; i++) {
        if (a->seen[i].device == code->device && a->seen[i].inode == code->inode)
            return true;
    }
    if (a->seen_count == MAX_SEEN)
        return false;
    a->seen[a->seen_count++] = (file_id){code->device, code->inode};
    int error = attach_file(a, code->link, code->path, w->why);
    if (error != SL_ENOENT)
        w->error = error;
    return error == 0 || error == SL_ENOENT;
}

static int attach_running(sl_uprobe_attach *a, sl_uprobe_why *why)
{
    file_walk w = {.attach = a, .why = why};
    a->follows = true;
    int error = sl_process_map_each(a->pid, consider, &w);
    if (error)
        (void)snprintf(why->text, sizeof why->text, "what process %u has mapped cannot be read: %s", a->pid,
                       strerror(errno));
    else
        error = w.error;
    return error;
}

/* ---- what the translator asks for ---- */

static bool is_place(const sl_uprobe_attach *a, const sl_process_code *code, uint64_t offset)
{
    for (size_t i = 0; i < a->place_count; i++) {
        const place *p = &a->places[i];
        if (p->offset == offset && p->inode == code->inode && p->device == code->device)
            return true;
    }
    return false;
}

/* Since when returns to an address are seen. */
static uint64_t watch_address(sl_uprobe_attach *a, uint64_t address)
{
    sl_process_code code;
    sl_uprobe_why why;
    if (sl_process_map_at(a->pid, address, &code) != 0)
        return UINT64_MAX;
    uint64_t offset = address - code.start + code.offset;
    if (is_place(a, &code, offset)) /* in the file from the beginning, or before execve() */
        return 0;
    if (a->place_count == SL_UPROBE_MAX_SITES || set(a, code.link, code.path, offset, a->return_program, &why) != 0)
        return UINT64_MAX;
    a->places[a->place_count++] = (place){code.device, code.inode, offset};
    return sl_mono_ns();
}

static uint64_t on_site(void *user, uint64_t address)
{
    sl_uprobe_attach *a = user;
    for (size_t i = 0; i < a->site_count; i++) {
        if (a->sites[i].address == address)
            return a->sites[i].since_ns;
    }
    if (a->site_count == SL_UPROBE_MAX_SITES)
        return UINT64_MAX;
    uint64_t since_ns = watch_address(a, address);
    a->sites[a->site_count++] = (site){address, since_ns};
    return since_ns;
}

static int32_t on_fact(void *user, sl_uprobe_fact which, uint64_t address)
{
    const sl_uprobe_attach *a = user;
    int32_t value = -1;
    SL_ASSERT(which < SL_UPROBE_FACTS);
    if (a->facts[which] < 0)
        return -1;
    struct iovec to = {&value, sizeof value}, from = {(void *)(uintptr_t)(address + (uint64_t)a->facts[which]), 4};
    bool got = process_vm_readv((pid_t)a->pid, &to, 1, &from, 1, 0) == (ssize_t)sizeof value;
    return got && value > 0 ? value : -1;
}

/* ---- life ---- */

static int open_maps(sl_uprobe_attach *a, sl_uprobe_why *why)
{
    sl_bpf_asm *code = sl_malloc(sizeof *code);
    if (!code)
        return SL_ENOMEM;
    int fd = a->maps.ring = sl_kernel_ring_map(SL_UPROBE_RING_BYTES, why);
    if (fd >= 0)
        fd = a->maps.dropped = sl_kernel_counter_map(why);
    bool fits = fd >= 0 && sl_uprobe_program_return(code, &a->maps);
    if (fits)
        fd = a->return_program = sl_kernel_program(code, "sightline_back", why);
    sl_free(code);
    return fd < 0 ? fd : sl_kernel_ring_open(a->maps.ring, SL_UPROBE_RING_BYTES, &a->records, why);
}

static int open_ring(sl_uprobe_attach *a)
{
    int error = sl_probe_ring_new(NULL, 0, &a->ring);
    if (error)
        return error;
    sl_probe_ring_about(a->ring, a->pid);
    const sl_uprobe_translator_options options = {.ring = a->ring, .site = on_site, .fact = on_fact, .user = a};
    return sl_uprobe_translator_new(&options, &a->translator);
}

static bool arch_fits(sl_uprobe_why *why)
{
    if (sl_uprobe_arch_known())
        return true;
    (void)snprintf(why->text, sizeof why->text, "looking from outside works on x86-64 and aarch64 alone");
    return false;
}

static void name_program(sl_uprobe_attach *a, const char *exe)
{
    char link[32];
    ssize_t len = -1;
    (void)snprintf(link, sizeof link, "/proc/%u/exe", a->pid);
    if (exe)
        (void)snprintf(a->exe, sizeof a->exe, "%s", exe);
    else if ((len = readlink(link, a->exe, sizeof a->exe - 1)) >= 0)
        a->exe[len] = '\0';
}

int sl_uprobe_attach_new(uint32_t pid, const char *exe, sl_uprobe_attach **ret_attach, sl_uprobe_why *why)
{
    SL_ASSERT(pid && ret_attach && why);
    why->text[0] = '\0';
    if (!arch_fits(why))
        return SL_EREFUSED;
    sl_uprobe_attach *a = sl_calloc(1, sizeof *a);
    if (!a)
        return SL_ENOMEM;
    a->pid = pid;
    a->maps.ring = a->maps.dropped = a->return_program = a->records.fd = -1;
    for (size_t i = 0; i < SL_UPROBE_POINTS; i++)
        a->programs[i] = -1;
    for (size_t i = 0; i < SL_UPROBE_FACTS; i++)
        a->facts[i] = -1;
    name_program(a, exe);
    int error = open_maps(a, why);
    if (!error)
        error = open_ring(a);
    if (!error)
        error = exe ? attach_file(a, exe, NULL, why) : attach_running(a, why);
    if (!error && a->file_count == 0)
        error = SL_ENOENT;
    if (error) {
        if (error == SL_ENOENT && !why->text[0])
            (void)snprintf(why->text, sizeof why->text,
                           "no function of llama.cpp is known in it by name: it does not use it, has not loaded it "
                           "yet, or was stripped");
        sl_uprobe_attach_free(a);
        return error;
    }
    *ret_attach = a;
    return 0;
}

sl_probe_ring *sl_uprobe_attach_ring(const sl_uprobe_attach *attach)
{
    SL_ASSERT(attach && attach->ring);
    return attach->ring;
}

/* ---- the thread ---- */

static void on_record(void *user, const void *record, size_t len)
{
    sl_uprobe_attach *a = user;
    sl_uprobe_translate(a->translator, record, len);
}

static size_t drain(sl_uprobe_attach *a)
{
    size_t count = 0, got;
    do {
        got = sl_kernel_ring_read(&a->records, RECORDS_AT_ONCE, on_record, a);
        count += got;
    } while (got == RECORDS_AT_ONCE && count < RECORDS_AT_ONCE * 16);
    return count;
}

/* After execve() everything stands elsewhere. */
static void notice_exec(sl_uprobe_attach *a)
{
    char path[32];
    struct stat st;
    (void)snprintf(path, sizeof path, "/proc/%u/exe", a->pid);
    if (stat(path, &st) == 0 && (uint64_t)st.st_ino != a->exe_inode) {
        a->exe_inode = (uint64_t)st.st_ino;
        a->site_count = 0;
    }
}

/* A library that is opened later is looked at from then on, and the functions in it are told. */
static void look_for_files(sl_uprobe_attach *a, uint64_t now_ns)
{
    sl_uprobe_why why;
    size_t before = a->file_count;
    if (!a->follows || now_ns - a->look_ns < LOOK_NS)
        return;
    a->look_ns = now_ns;
    (void)attach_running(a, &why);
    if (a->file_count > before)
        sl_uprobe_tell_attached(a->translator, a->pid, a->exe, a->library, a->found);
}

static void count_lost(sl_uprobe_attach *a)
{
    uint64_t lost = sl_kernel_counter(a->maps.dropped);
    if (lost > a->lost)
        sl_probe_ring_lost(a->ring, lost - a->lost);
    a->lost = lost;
}

static void *run(void *user)
{
    sl_uprobe_attach *a = user;
    uint64_t busy_ns = a->look_ns = sl_mono_ns();
    (void)pthread_setname_np(pthread_self(), "sl-uprobe");
    sl_uprobe_tell_attached(a->translator, a->pid, a->exe, a->library, a->found);
    while (!atomic_load(&a->stopping)) {
        notice_exec(a);
        uint64_t now_ns = sl_mono_ns();
        if (drain(a))
            busy_ns = now_ns;
        sl_uprobe_tell_missed(a->translator, now_ns, MISSED_NS);
        count_lost(a);
        look_for_files(a, now_ns);
        (void)usleep((now_ns - busy_ns < BUSY_NS ? BUSY_MS : IDLE_MS) * 1000);
    }
    (void)drain(a);
    sl_uprobe_tell_end(a->translator, sl_mono_ns());
    sl_probe_ring_close(a->ring);
    return NULL;
}

int sl_uprobe_attach_start(sl_uprobe_attach *attach)
{
    SL_ASSERT(attach && !attach->running);
    int error = sl_thread_start(&attach->thread, run, attach);
    attach->running = !error;
    return error;
}

void sl_uprobe_attach_stop(sl_uprobe_attach *attach)
{
    SL_ASSERT(attach);
    if (!attach->running)
        return;
    atomic_store(&attach->stopping, true);
    (void)pthread_join(attach->thread, NULL);
    attach->running = false;
}

/* ---- the end ---- */

static void close_all(sl_uprobe_attach *a)
{
    for (size_t i = 0; i < a->breakpoint_count; i++)
        (void)close(a->breakpoints[i]);
    a->breakpoint_count = 0;
}

static bool is_breakpoint(const sl_uprobe_attach *a, int fd)
{
    for (size_t i = 0; i < a->breakpoint_count; i++) {
        if (a->breakpoints[i] == fd)
            return true;
    }
    return false;
}

/* In the child: has nothing but the breakpoints, and ends when the parent has them no more. */
static void hold(const sl_uprobe_attach *a, int until_fd)
{
    char byte;
    int most = until_fd;
    for (size_t i = 0; i < a->breakpoint_count; i++)
        most = a->breakpoints[i] > most ? a->breakpoints[i] : most;
    for (int fd = 0; fd < most; fd++) {
        if (fd != until_fd && !is_breakpoint(a, fd))
            (void)close(fd);
    }
    (void)syscall(SYS_close_range, (unsigned)most + 1, ~0u, 0u);
    while (read(until_fd, &byte, 1) < 0 && errno == EINTR) {
    }
    _exit(0);
}

/* The kernel takes its time to take breakpoints back, 50 ms each: somebody else waits for it. */
static void close_breakpoints(sl_uprobe_attach *a)
{
    int fds[2];
    if (a->breakpoint_count > FEW_BREAKPOINTS && pipe2(fds, O_CLOEXEC) == 0) {
        if (fork() == 0) {
            (void)close(fds[1]);
            hold(a, fds[0]);
        }
        close_all(a);
        (void)close(fds[0]);
        (void)close(fds[1]);
    }
    close_all(a);
}

void sl_uprobe_attach_free(sl_uprobe_attach *attach)
{
    if (!attach)
        return;
    sl_uprobe_attach_stop(attach);
    close_breakpoints(attach);
    for (size_t i = 0; i < SL_UPROBE_POINTS; i++) {
        if (attach->programs[i] >= 0)
            (void)close(attach->programs[i]);
    }
    if (attach->return_program >= 0)
        (void)close(attach->return_program);
    if (attach->records.consumer)
        sl_kernel_ring_close(&attach->records);
    if (attach->maps.dropped >= 0)
        (void)close(attach->maps.dropped);
    if (attach->maps.ring >= 0)
        (void)close(attach->maps.ring);
    sl_uprobe_translator_free(attach->translator);
    sl_probe_ring_free(attach->ring);
    sl_free(attach);
}

/* ---- questions ---- */

bool sl_uprobe_is_static(const char *path)
{
    SL_ASSERT(path);
    sl_elf_function functions[SL_UPROBE_POINTS];
    sl_elf_file *file;
    if (sl_elf_file_open(path, &file) != 0)
        return false;
    bool is = find_points(file, functions);
    sl_elf_file_free(file);
    return is;
}

/* Asks for all of it, at a function of this very process that nobody calls meanwhile. */
int sl_uprobe_possible(sl_uprobe_why *why)
{
    SL_ASSERT(why);
    sl_process_code self;
    uint64_t address = (uint64_t)(uintptr_t)sl_uprobe_possible;
    why->text[0] = '\0';
    if (!arch_fits(why))
        return SL_EREFUSED;
    sl_uprobe_attach *a = sl_calloc(1, sizeof *a);
    if (!a)
        return SL_ENOMEM;
    a->pid = (uint32_t)getpid();
    a->maps.ring = a->maps.dropped = a->return_program = -1;
    for (size_t i = 0; i < SL_UPROBE_POINTS; i++)
        a->programs[i] = -1;
    int error = open_maps(a, why);
    if (!error && sl_process_map_at(a->pid, address, &self) == 0)
        error = set(a, self.path, NULL, address - self.start + self.offset, a->return_program, why);
    sl_uprobe_attach_free(a);
    return error ? SL_EREFUSED : 0;
}
