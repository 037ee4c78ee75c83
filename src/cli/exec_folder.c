/* Making and removing the folder of rings. */
#include "src/cli/exec_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/base/assert.h"

#define PREFIX "sightline-exec-"
#define YOUNG_SECONDS 10 /* a folder that is younger may not be locked yet */
#define MAX_DEPTH 2      /* folders within the outer one */

/* ---- removing ---- */

/* Empties a folder; takes the descriptor over. */
static void empty_folder(int fd, int depth)
{
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || unlinkat(fd, name, 0) == 0)
            continue;
        if (depth < MAX_DEPTH)
            empty_folder(openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), depth + 1);
        (void)unlinkat(fd, name, AT_REMOVEDIR);
    }
    (void)closedir(dir);
}

static void remove_at(int base_fd, const char *name)
{
    empty_folder(openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), 0);
    (void)unlinkat(base_fd, name, AT_REMOVEDIR);
}

/* True for a folder of this user that has been there for a while and that nobody holds. */
static bool is_left_behind(int base_fd, const char *name)
{
    struct stat st;
    if (strncmp(name, PREFIX, sizeof PREFIX - 1) != 0)
        return false;
    int fd = openat(base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool left = fstat(fd, &st) == 0 && st.st_uid == geteuid() && time(NULL) - st.st_mtime > YOUNG_SECONDS &&
                flock(fd, LOCK_EX | LOCK_NB) == 0;
    (void)close(fd);
    return left;
}

static void sweep(const char *base)
{
    DIR *dir = opendir(base);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL) {
        if (is_left_behind(dirfd(dir), entry->d_name))
            remove_at(dirfd(dir), entry->d_name);
    }
    if (dir)
        (void)closedir(dir);
}

void sl_exec_folder_remove(sl_exec_folder *folder)
{
    SL_ASSERT(folder);
    if (!folder->outer[0])
        return;
    remove_at(AT_FDCWD, folder->outer);
    if (folder->lock_fd >= 0)
        (void)close(folder->lock_fd);
    folder->outer[0] = folder->path[0] = '\0';
    folder->lock_fd = -1;
}

/* ---- making ---- */

static int make_inner(sl_exec_folder *folder)
{
    SL_ASSERT(folder && folder->outer[0]);
    unsigned char bytes[16];
    bool root = geteuid() == 0;
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return SL_EIO;
    size_t len = strlen(folder->outer);
    memcpy(folder->path, folder->outer, len);
    folder->path[len++] = '/';
    for (size_t i = 0; i < sizeof bytes; i++, len += 2)
        (void)snprintf(folder->path + len, 3, "%02x", bytes[i]);
    if (mkdir(folder->path, 0700) != 0)
        return SL_EIO;
    if (root && (chmod(folder->path, 01733) != 0 || chmod(folder->outer, 0711) != 0))
        return SL_EIO;
    return 0;
}

static int make_in(const char *base, sl_exec_folder *folder)
{
    if (!base || base[0] != '/' || strlen(base) > SL_EXEC_FOLDER_MAX / 2)
        return SL_EIO;
    (void)snprintf(folder->outer, sizeof folder->outer, "%s/" PREFIX "XXXXXX", base);
    folder->lock_fd = -1;
    if (!mkdtemp(folder->outer)) {
        folder->outer[0] = '\0';
        return SL_EIO;
    }
    folder->lock_fd = open(folder->outer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = folder->lock_fd >= 0 && flock(folder->lock_fd, LOCK_EX | LOCK_NB) == 0 ? 0 : SL_EIO;
    if (!error)
        error = make_inner(folder);
    if (!error)
        sweep(base);
    int why = errno;
    if (error)
        sl_exec_folder_remove(folder);
    errno = why;
    return error;
}

int sl_exec_folder_make(sl_exec_folder *folder)
{
    SL_ASSERT(folder);
    const char *const bases[] = {"/dev/shm", getenv("XDG_RUNTIME_DIR"), getenv("TMPDIR"), "/tmp"};
    memset(folder, 0, sizeof *folder);
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        if (make_in(bases[i], folder) == 0)
            return 0;
    }
    return SL_EIO;
}
