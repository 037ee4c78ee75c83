/*
 * A disk under SQLite that fails when a test says so: the Nth read, write, sync, truncation, deletion, lock, opening or
 * allocation; once or for good; with half of a write done or none of it. And a power cut: what had been written and not
 * synced is taken back, the last write first.
 *
 * Usage: sl_disk_install() before anything else of SQLite's; then sl_disk_fail(SL_DISK_WRITE, n, false), the work,
 * sl_disk_well(). For tests that link SQLite. Counters are of the whole process, whatever thread it is.
 */
#ifndef SL_TEST_DISK_H
#define SL_TEST_DISK_H

#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

#define SL_DISK_UNUSED inline __attribute__((unused))
#define SL_DISK_NAME_BYTES 256

enum {
    SL_DISK_READ = 1,
    SL_DISK_WRITE = 2,
    SL_DISK_SYNC = 4,
    SL_DISK_TRUNCATE = 8,
    SL_DISK_OPEN = 16,
    SL_DISK_DELETE = 32,
    SL_DISK_LOCK = 64,
    SL_DISK_SHARED = 128, /* memory shared by the connections of a write-ahead log */
    SL_DISK_ALL = 255
};

typedef struct sl_disk_file {
    sqlite3_file base;
    char name[SL_DISK_NAME_BYTES]; /* empty: a temporary file */
    sqlite3_file *real;            /* behind this struct */
} sl_disk_file;

/* A write that no sync has followed yet. */
typedef struct sl_disk_unsynced {
    struct sl_disk_unsynced *older;
    char name[SL_DISK_NAME_BYTES];
    sqlite3_int64 offset, size_before; /* of the file */
    size_t len;
    char before[]; /* what stood there */
} sl_disk_unsynced;

static struct {
    pthread_mutex_t lock;
    sqlite3_vfs vfs, *real;
    sqlite3_mem_methods memory;
    bool installed;
    unsigned kinds;         /* that are counted */
    long left, memory_left; /* before the one that fails; below 0: none does */
    bool for_good, torn, failed, remember;
    unsigned long seen;
    sl_disk_unsynced *unsynced;
} sl_disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .left = -1, .memory_left = -1};

/* True: this operation is to fail. */
SL_DISK_UNUSED static bool sl_disk_fails(unsigned kind)
{
    bool fails = false;
    pthread_mutex_lock(&sl_disk.lock);
    if (sl_disk.kinds & kind) {
        sl_disk.seen++;
        if (sl_disk.left == 0) {
            fails = sl_disk.failed = true;
            if (!sl_disk.for_good)
                sl_disk.left = -1;
        } else if (sl_disk.left > 0) {
            sl_disk.left--;
        }
    }
    pthread_mutex_unlock(&sl_disk.lock);
    return fails;
}

static inline sqlite3_file *sl_disk_real(sqlite3_file *file)
{
    return ((sl_disk_file *)(void *)file)->real;
}

/* ---- what can be taken back ---- */

SL_DISK_UNUSED static void sl_disk_note_write(sl_disk_file *file, int len, sqlite3_int64 offset)
{
    pthread_mutex_lock(&sl_disk.lock);
    if (sl_disk.remember && *file->name) {
        sl_disk_unsynced *u = calloc(1, sizeof *u + (size_t)len);
        if (!u)
            abort();
        memcpy(u->name, file->name, sizeof u->name);
        u->offset = offset;
        u->len = (size_t)len;
        (void)file->real->pMethods->xFileSize(file->real, &u->size_before);
        if (offset < u->size_before)
            (void)file->real->pMethods->xRead(file->real, u->before, len, offset);
        u->older = sl_disk.unsynced;
        sl_disk.unsynced = u;
    }
    pthread_mutex_unlock(&sl_disk.lock);
}

/* Forgets the writes of a file; NULL: of all. */
SL_DISK_UNUSED static void sl_disk_note_sync(const char *name)
{
    pthread_mutex_lock(&sl_disk.lock);
    for (sl_disk_unsynced **at = &sl_disk.unsynced; *at;) {
        sl_disk_unsynced *u = *at;
        if (name && strcmp(u->name, name) != 0) {
            at = &u->older;
            continue;
        }
        *at = u->older;
        free(u);
    }
    pthread_mutex_unlock(&sl_disk.lock);
}

/* ---- files ---- */

SL_DISK_UNUSED static int sl_disk_close(sqlite3_file *file)
{
    sqlite3_file *real = sl_disk_real(file);
    return real->pMethods ? real->pMethods->xClose(real) : SQLITE_OK;
}

SL_DISK_UNUSED static int sl_disk_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 offset)
{
    if (sl_disk_fails(SL_DISK_READ))
        return SQLITE_IOERR_READ;
    return sl_disk_real(file)->pMethods->xRead(sl_disk_real(file), bytes, len, offset);
}

SL_DISK_UNUSED static int sl_disk_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 offset)
{
    bool fails = sl_disk_fails(SL_DISK_WRITE);
    sqlite3_file *real = sl_disk_real(file);
    if (fails && !sl_disk.torn)
        return SQLITE_IOERR_WRITE;
    sl_disk_note_write((sl_disk_file *)(void *)file, len, offset);
    if (!fails)
        return real->pMethods->xWrite(real, bytes, len, offset);
    if (len > 1)
        (void)real->pMethods->xWrite(real, bytes, len / 2, offset);
    return SQLITE_FULL;
}

SL_DISK_UNUSED static int sl_disk_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    if (sl_disk_fails(SL_DISK_TRUNCATE))
        return SQLITE_IOERR_TRUNCATE;
    return sl_disk_real(file)->pMethods->xTruncate(sl_disk_real(file), size);
}

SL_DISK_UNUSED static int sl_disk_sync(sqlite3_file *file, int flags)
{
    if (sl_disk_fails(SL_DISK_SYNC))
        return SQLITE_IOERR_FSYNC;
    int code = sl_disk_real(file)->pMethods->xSync(sl_disk_real(file), flags);
    if (code == SQLITE_OK)
        sl_disk_note_sync(((sl_disk_file *)(void *)file)->name);
    return code;
}

SL_DISK_UNUSED static int sl_disk_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
    return sl_disk_real(file)->pMethods->xFileSize(sl_disk_real(file), ret_size);
}

SL_DISK_UNUSED static int sl_disk_lock_file(sqlite3_file *file, int level)
{
    if (sl_disk_fails(SL_DISK_LOCK))
        return SQLITE_IOERR_LOCK;
    return sl_disk_real(file)->pMethods->xLock(sl_disk_real(file), level);
}

SL_DISK_UNUSED static int sl_disk_unlock_file(sqlite3_file *file, int level)
{
    return sl_disk_real(file)->pMethods->xUnlock(sl_disk_real(file), level);
}

SL_DISK_UNUSED static int sl_disk_is_reserved(sqlite3_file *file, int *ret_is)
{
    return sl_disk_real(file)->pMethods->xCheckReservedLock(sl_disk_real(file), ret_is);
}

SL_DISK_UNUSED static int sl_disk_control(sqlite3_file *file, int what, void *arg)
{
    return sl_disk_real(file)->pMethods->xFileControl(sl_disk_real(file), what, arg);
}

SL_DISK_UNUSED static int sl_disk_sector(sqlite3_file *file)
{
    return sl_disk_real(file)->pMethods->xSectorSize(sl_disk_real(file));
}

SL_DISK_UNUSED static int sl_disk_traits(sqlite3_file *file)
{
    return sl_disk_real(file)->pMethods->xDeviceCharacteristics(sl_disk_real(file));
}

SL_DISK_UNUSED static int sl_disk_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    if (sl_disk_fails(SL_DISK_SHARED))
        return SQLITE_IOERR_SHMMAP;
    return sl_disk_real(file)->pMethods->xShmMap(sl_disk_real(file), page, size, extend, ret);
}

SL_DISK_UNUSED static int sl_disk_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    if ((flags & SQLITE_SHM_LOCK) && sl_disk_fails(SL_DISK_LOCK))
        return SQLITE_IOERR_SHMLOCK;
    return sl_disk_real(file)->pMethods->xShmLock(sl_disk_real(file), offset, n, flags);
}

SL_DISK_UNUSED static void sl_disk_shm_barrier(sqlite3_file *file)
{
    sl_disk_real(file)->pMethods->xShmBarrier(sl_disk_real(file));
}

SL_DISK_UNUSED static int sl_disk_shm_unmap(sqlite3_file *file, int remove)
{
    return sl_disk_real(file)->pMethods->xShmUnmap(sl_disk_real(file), remove);
}

/* ---- the disk ---- */

SL_DISK_UNUSED static int sl_disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                                       int *ret_flags)
{
    static const sqlite3_io_methods methods = {.iVersion = 2,
                                               .xClose = sl_disk_close,
                                               .xRead = sl_disk_read,
                                               .xWrite = sl_disk_write,
                                               .xTruncate = sl_disk_truncate,
                                               .xSync = sl_disk_sync,
                                               .xFileSize = sl_disk_size,
                                               .xLock = sl_disk_lock_file,
                                               .xUnlock = sl_disk_unlock_file,
                                               .xCheckReservedLock = sl_disk_is_reserved,
                                               .xFileControl = sl_disk_control,
                                               .xSectorSize = sl_disk_sector,
                                               .xDeviceCharacteristics = sl_disk_traits,
                                               .xShmMap = sl_disk_shm_map,
                                               .xShmLock = sl_disk_shm_lock,
                                               .xShmBarrier = sl_disk_shm_barrier,
                                               .xShmUnmap = sl_disk_shm_unmap};
    sl_disk_file *f = (sl_disk_file *)(void *)file;
    (void)vfs;
    memset(f, 0, sizeof *f);
    if (sl_disk_fails(SL_DISK_OPEN))
        return SQLITE_CANTOPEN;
    f->real = (sqlite3_file *)(void *)(f + 1);
    (void)snprintf(f->name, sizeof f->name, "%s", name ? name : "");
    int code = sl_disk.real->xOpen(sl_disk.real, name, f->real, flags, ret_flags);
    if (code == SQLITE_OK)
        f->base.pMethods = &methods;
    return code;
}

SL_DISK_UNUSED static int sl_disk_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs;
    if (sl_disk_fails(SL_DISK_DELETE))
        return SQLITE_IOERR_DELETE;
    int code = sl_disk.real->xDelete(sl_disk.real, name, sync_folder);
    if (code == SQLITE_OK)
        sl_disk_note_sync(name);
    return code;
}

/* ---- memory ---- */

SL_DISK_UNUSED static bool sl_disk_no_memory(void)
{
    bool fails = false;
    pthread_mutex_lock(&sl_disk.lock);
    if (sl_disk.memory_left == 0)
        fails = sl_disk.failed = true;
    if (sl_disk.memory_left >= 0)
        sl_disk.memory_left--;
    pthread_mutex_unlock(&sl_disk.lock);
    return fails;
}

SL_DISK_UNUSED static void *sl_disk_malloc(int size)
{
    return sl_disk_no_memory() ? NULL : sl_disk.memory.xMalloc(size);
}

SL_DISK_UNUSED static void *sl_disk_realloc(void *block, int size)
{
    return sl_disk_no_memory() ? NULL : sl_disk.memory.xRealloc(block, size);
}

/* ---- what tests call ---- */

SL_DISK_UNUSED static void sl_disk_install(void)
{
    if (sl_disk.installed)
        return;
    sl_disk.installed = true;
    (void)sqlite3_shutdown();
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &sl_disk.memory) != SQLITE_OK || !sl_disk.memory.xMalloc)
        abort();
    sqlite3_mem_methods memory = sl_disk.memory;
    memory.xMalloc = sl_disk_malloc;
    memory.xRealloc = sl_disk_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK)
        abort();
    sl_disk.real = sqlite3_vfs_find(NULL);
    sl_disk.vfs = *sl_disk.real;
    sl_disk.vfs.zName = "sl-disk";
    sl_disk.vfs.szOsFile = (int)sizeof(sl_disk_file) + sl_disk.real->szOsFile;
    sl_disk.vfs.xOpen = sl_disk_open;
    sl_disk.vfs.xDelete = sl_disk_delete;
    if (sqlite3_vfs_register(&sl_disk.vfs, 1) != SQLITE_OK)
        abort();
}

/* The Nth operation (from 0) of these kinds fails; those after it too when `for_good`. Begins to count anew. */
SL_DISK_UNUSED static void sl_disk_fail(unsigned kinds, long n, bool for_good)
{
    pthread_mutex_lock(&sl_disk.lock);
    sl_disk.kinds = kinds;
    sl_disk.left = n;
    sl_disk.for_good = for_good;
    sl_disk.failed = false;
    sl_disk.seen = 0;
    pthread_mutex_unlock(&sl_disk.lock);
}

/* Half of a write that fails is done, and the disk is full. */
SL_DISK_UNUSED static void sl_disk_tear(bool torn)
{
    sl_disk.torn = torn;
}

/* SQLite's Nth allocation from now (from 0) fails. */
SL_DISK_UNUSED static void sl_disk_fail_memory(long n)
{
    pthread_mutex_lock(&sl_disk.lock);
    sl_disk.memory_left = n;
    sl_disk.failed = false;
    pthread_mutex_unlock(&sl_disk.lock);
}

/* Nothing fails any more. True when something had. */
SL_DISK_UNUSED static bool sl_disk_well(void)
{
    pthread_mutex_lock(&sl_disk.lock);
    bool failed = sl_disk.failed;
    sl_disk.kinds = 0;
    sl_disk.left = sl_disk.memory_left = -1;
    sl_disk.torn = false;
    pthread_mutex_unlock(&sl_disk.lock);
    return failed;
}

/* A template for mkdtemp(3) where a sync costs nothing, if there is such a place: tests of failures need many. */
SL_DISK_UNUSED static void sl_disk_folder(char *ret_path, size_t size, const char *name)
{
    (void)snprintf(ret_path, size, "%s/sl-test-%s-XXXXXX", access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp",
                   name);
}

/* From now on writes can be taken back until they are synced. */
SL_DISK_UNUSED static void sl_disk_remember(void)
{
    sl_disk.remember = true;
}

/*
 * The power is back: of what was not synced the first `kept` writes are there, and nothing of the others, nor the
 * memory that connections of the file shared. Only when no connection is open. Returns how many writes had not been
 * synced.
 */
SL_DISK_UNUSED static size_t sl_disk_cut(const char *database, size_t kept)
{
    size_t count = 0;
    char shared[SL_DISK_NAME_BYTES];
    (void)snprintf(shared, sizeof shared, "%s-shm", database);
    (void)unlink(shared);
    for (const sl_disk_unsynced *u = sl_disk.unsynced; u; u = u->older)
        count++;
    size_t left = count;
    for (const sl_disk_unsynced *u = sl_disk.unsynced; u && left > kept; u = u->older, left--) {
        int fd = open(u->name, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
            continue; /* deleted, or never there */
        if (pwrite(fd, u->before, u->len, (off_t)u->offset) != (ssize_t)u->len ||
            ftruncate(fd, (off_t)u->size_before) != 0)
            abort();
        (void)close(fd);
    }
    sl_disk_note_sync(NULL);
    sl_disk.remember = false;
    return count;
}

/* Operations that fail one after the other; `least`: there are at least so many, else a test looks at nothing. */
typedef struct sl_disk_case {
    unsigned kinds;
    const char *name;
    long least;
} sl_disk_case;

/* How each failure is. */
typedef enum sl_disk_how { SL_DISK_ONCE, SL_DISK_FOR_GOOD, SL_DISK_TORN } sl_disk_how;

/*
 * Each operation of each case in turn: `life` works on the disk, ends that by sl_disk_well, looks at what is there, and
 * returns what sl_disk_well said. The first ones are all tried, of those behind them every `stride`th.
 */
SL_DISK_UNUSED static void sl_disk_each(const sl_disk_case *cases, size_t count, sl_disk_how how, long stride,
                                        bool (*life)(const char *what, long n))
{
    sl_disk_install();
    for (size_t k = 0; k < count; k++) {
        long n = 0;
        for (bool happened = true; happened && n < 600; n += n < 40 ? 1 : stride) {
            sl_disk_tear(how == SL_DISK_TORN);
            sl_disk_fail(cases[k].kinds, n, how == SL_DISK_FOR_GOOD);
            happened = life(cases[k].name, n);
        }
        if (n < cases[k].least)
            sl_test_failed(__FILE__, __LINE__, "only %ld of %s", n, cases[k].name);
    }
}

/* The same of SQLite's allocations. */
SL_DISK_UNUSED static void sl_disk_each_allocation(long stride, bool (*life)(const char *what, long n))
{
    sl_disk_install();
    long n = 0;
    for (bool happened = true; happened && n < 20000; n += n < 60 ? 2 : stride) {
        sl_disk_fail_memory(n);
        happened = life("allocation of SQLite", n);
    }
    if (n < 200)
        sl_test_failed(__FILE__, __LINE__, "only %ld allocations", n);
}

#endif
