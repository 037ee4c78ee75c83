/* Segment files in a shared folder. */
#include "src/telemetry/multiproc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/series_record.h"

/* A file is known by device and inode: names may be used again. */
typedef struct file_id {
    dev_t device;
    ino_t inode;
} file_id;

typedef struct mapped_file {
    file_id id;
    sl_segment *segment;
} mapped_file;

struct sl_multiproc {
    char folder[4096];
    sl_collector *collector;
    mapped_file files[SL_MAX_MULTIPROC_FILES];
    size_t count;
    file_id own[SL_MAX_MULTIPROC_FILES];
    size_t own_count;
};

static bool is_segment_name(const char *name)
{
    sl_str s = sl_str_c(name);
    return sl_str_starts(s, SL_STR("sightline-")) && sl_str_ends(s, SL_STR(".segment"));
}

static bool identify(int fd, file_id *ret_id, off_t *ret_size)
{
    SL_ASSERT(ret_id && ret_size);
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return false;
    ret_id->device = st.st_dev;
    ret_id->inode = st.st_ino;
    *ret_size = st.st_size;
    return true;
}

/* ---- recording ---- */

/* A file left by a process that has ended: what it had in flight is over, its blocks are free. */
static int take_over(int fd, sl_segment **ret_segment)
{
    SL_ASSERT(ret_segment);
    sl_segment *segment;
    int error = sl_segment_open(fd, &segment);
    if (error)
        return error;
    sl_segment_release(segment, sl_segment_pid(segment));
    sl_series_reset_volatile(segment);
    sl_segment_adopt(segment, -1);
    *ret_segment = segment;
    return 0;
}

/* True when the process that was making the file ended before there was a segment in it. The lock is held. */
static bool is_half_made(int fd)
{
    SL_ASSERT(fd >= 0);
    uint64_t magic = 0;
    ssize_t got = pread(fd, &magic, sizeof magic, 0);
    return got >= 0 && magic == 0;
}

/* Makes a segment in the file, or takes over the one that is there. The lock is held. */
static int make_or_take_over(int fd, off_t size, const sl_segment_options *options, sl_segment **ret_segment)
{
    SL_ASSERT(ret_segment && size >= 0);
    int error = size > 0 ? take_over(fd, ret_segment) : SL_EPARSE;
    if (error != SL_EPARSE || !is_half_made(fd))
        return error;
    return ftruncate(fd, 0) != 0 ? SL_EIO : sl_segment_new_shared(options, fd, ret_segment);
}

/* Tries one number. SL_EAGAIN: another process has it. */
static int claim_number(const char *folder, unsigned number, const sl_segment_options *options,
                        sl_segment **ret_segment, int *ret_fd)
{
    SL_ASSERT(ret_fd);
    char path[4200];
    file_id id;
    off_t size;
    int len = snprintf(path, sizeof path, "%s/sightline-%u.segment", folder, number);
    if (len < 0 || (size_t)len >= sizeof path)
        return SL_EINVAL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return SL_EIO;
    int error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno == EWOULDBLOCK ? SL_EAGAIN : SL_EIO;
    if (!error && !identify(fd, &id, &size))
        error = SL_EIO;
    if (!error)
        error = make_or_take_over(fd, size, options, ret_segment);
    if (error) {
        close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

int sl_multiproc_claim(const char *folder, const sl_segment_options *options, sl_segment **ret_segment, int *ret_fd)
{
    SL_ASSERT(folder && ret_segment && ret_fd);
    for (unsigned number = 1; number <= SL_MAX_MULTIPROC_FILES; number++) {
        int error = claim_number(folder, number, options, ret_segment, ret_fd);
        /* A file of another version or a damaged one is left alone, like one that is in use. */
        if (error != SL_EAGAIN && error != SL_EPARSE)
            return error;
    }
    return SL_ELIMIT;
}

/* ---- reading ---- */

sl_multiproc *sl_multiproc_new(const char *folder, sl_collector *collector)
{
    sl_multiproc *reader = sl_calloc(1, sizeof *reader);
    if (!reader)
        return NULL;
    reader->collector = collector;
    if (!sl_str_to_c(sl_str_c(folder), reader->folder, sizeof reader->folder)) {
        sl_free(reader);
        return NULL;
    }
    return reader;
}

void sl_multiproc_free(sl_multiproc *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < reader->count; i++) {
        sl_collector_remove_segment(reader->collector, reader->files[i].segment);
        sl_segment_free(reader->files[i].segment);
    }
    sl_free(reader);
}

void sl_multiproc_own(sl_multiproc *reader, int fd)
{
    SL_ASSERT(reader);
    off_t size;
    if (reader->own_count < SL_MAX_MULTIPROC_FILES && identify(fd, &reader->own[reader->own_count], &size))
        reader->own_count++;
}

static bool same_id(const file_id *a, const file_id *b)
{
    SL_ASSERT(a && b);
    return a->device == b->device && a->inode == b->inode;
}

static bool is_known(const sl_multiproc *reader, const file_id *id)
{
    for (size_t i = 0; i < reader->own_count; i++) {
        if (same_id(&reader->own[i], id))
            return true;
    }
    for (size_t i = 0; i < reader->count; i++) {
        if (same_id(&reader->files[i].id, id))
            return true;
    }
    return false;
}

static int add_file(sl_multiproc *reader, int folder, const char *name)
{
    file_id id;
    off_t size;
    sl_segment *segment;
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return 0; /* gone, or not ours to read */
    bool wanted =
        identify(fd, &id, &size) && size > 0 && !is_known(reader, &id) && reader->count < SL_MAX_MULTIPROC_FILES;
    int error = wanted ? sl_segment_open(fd, &segment) : 0;
    close(fd);
    if (!wanted || error == SL_EPARSE)
        return 0; /* half made, or of another version: looked at again next time */
    if (error)
        return error;
    error = sl_collector_add_segment(reader->collector, segment);
    if (error) {
        sl_segment_free(segment);
        return error;
    }
    reader->files[reader->count].id = id;
    reader->files[reader->count].segment = segment;
    reader->count++;
    return 0;
}

/* Files that were deleted make room for new ones; what they counted stays in the collector. */
static void forget_deleted(sl_multiproc *reader)
{
    SL_ASSERT(reader->count <= SL_MAX_MULTIPROC_FILES);
    for (size_t i = 0; i < reader->count; i++) {
        struct stat st;
        sl_segment *segment = reader->files[i].segment;
        if (fstat(segment->fd, &st) != 0 || st.st_nlink > 0)
            continue;
        sl_collector_remove_segment(reader->collector, segment);
        sl_segment_free(segment);
        reader->files[i--] = reader->files[--reader->count];
    }
}

int sl_multiproc_refresh(sl_multiproc *reader)
{
    SL_ASSERT(reader);
    forget_deleted(reader);
    DIR *dir = opendir(reader->folder);
    if (!dir)
        return SL_EIO;
    int error = 0;
    for (struct dirent *entry; !error && (entry = readdir(dir)) != NULL;) {
        if (is_segment_name(entry->d_name))
            error = add_file(reader, dirfd(dir), entry->d_name);
    }
    closedir(dir);
    return error;
}
