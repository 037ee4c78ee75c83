/* Making and removing the folder of rings. */
#include "src/cli/exec_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"

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
    (void)snprintf(folder->outer, sizeof folder->outer, "%s/sightline-exec-XXXXXX", base);
    if (!mkdtemp(folder->outer)) {
        folder->outer[0] = '\0';
        return SL_EIO;
    }
    int error = make_inner(folder);
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

static void empty_folder(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL)
        (void)unlinkat(dirfd(dir), entry->d_name, 0);
    if (dir)
        (void)closedir(dir);
}

void sl_exec_folder_remove(sl_exec_folder *folder)
{
    SL_ASSERT(folder);
    if (!folder->outer[0])
        return;
    if (folder->path[0]) {
        empty_folder(folder->path);
        (void)rmdir(folder->path);
    }
    empty_folder(folder->outer);
    (void)rmdir(folder->outer);
    folder->outer[0] = folder->path[0] = '\0';
}
