/* The data folder and its format version. */
#include "src/cli/data_dir.h"

#include "src/base/assert.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool default_path(char path[SL_DATA_PATH_MAX])
{
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    int len;
    if (state && state[0] == '/')
        len = snprintf(path, SL_DATA_PATH_MAX, "%s/sightline", state);
    else if (home && home[0] == '/')
        len = snprintf(path, SL_DATA_PATH_MAX, "%s/.local/state/sightline", home);
    else
        len = snprintf(path, SL_DATA_PATH_MAX, "/var/lib/sightline");
    return len > 0 && len < SL_DATA_PATH_MAX;
}

/* Makes the folder and those above it. */
static int make_folders(const char *path)
{
    char partial[SL_DATA_PATH_MAX];
    for (size_t i = 1; path[i]; i++) {
        if (path[i] != '/' || !path[i + strspn(path + i, "/")]) /* a slash at the end has nothing below it */
            continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST)
            return SL_EIO;
    }
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : SL_EIO;
}

/* Whole or not at all: a machine that stops within must not leave a folder that nobody can read any more. */
static int write_format(const char *file)
{
    char text[16], temporary[SL_DATA_PATH_MAX + 48];
    int len = snprintf(text, sizeof text, "%u\n", SL_DATA_FORMAT);
    snprintf(temporary, sizeof temporary, "%s.%ld.tmp", file, (long)getpid());
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return SL_EIO;
    bool ok = write(fd, text, (size_t)len) == len && fsync(fd) == 0;
    ok = close(fd) == 0 && ok && rename(temporary, file) == 0;
    int why = errno;
    if (!ok)
        (void)unlink(temporary);
    errno = why;
    return ok ? 0 : SL_EIO;
}

static int read_format(const char *file, uint64_t *ret_format)
{
    char text[32];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? SL_ENOENT : SL_EIO;
    ssize_t got = read(fd, text, sizeof text);
    close(fd);
    if (got == 0)
        return SL_ENOENT; /* never written to its end */
    if (got < 0)
        return SL_EIO;
    sl_str line = sl_str_of(text, (size_t)got);
    if (line.ptr[line.len - 1] == '\n')
        line.len--;
    return sl_str_to_u64(line, ret_format) == 0 ? 0 : SL_EPARSE;
}

int sl_data_dir_open(sl_str given, char ret_path[SL_DATA_PATH_MAX], char reason[256])
{
    SL_ASSERT(given.ptr || !given.len);
    char path[SL_DATA_PATH_MAX], file[SL_DATA_PATH_MAX + 16];
    uint64_t format = 0;
    if (given.len ? !sl_str_to_c(given, path, sizeof path) : !default_path(path)) {
        snprintf(reason, 256, "--data-dir: the path is too long; use a shorter one");
        return SL_ELIMIT;
    }
    if (make_folders(path) != 0) {
        snprintf(reason, 256, "%.150s: cannot be made: %s; use --data-dir", path, strerror(errno));
        return SL_EIO;
    }
    snprintf(file, sizeof file, "%s/format", path);
    errno = 0;
    int error = read_format(file, &format);
    if (error == SL_ENOENT) {
        error = write_format(file);
        format = SL_DATA_FORMAT;
    }
    if (error) {
        snprintf(reason, 256, "%.150s: cannot be used: %s; check its permissions, or use --data-dir", file,
                 error == SL_EIO && errno ? strerror(errno) : sl_strerror(error));
        return SL_EIO;
    }
    if (format > SL_DATA_FORMAT) {
        snprintf(reason, 256,
                 "%.150s: was written by a newer version (format %llu, this one knows %u); use that version", path,
                 (unsigned long long)format, SL_DATA_FORMAT);
        return SL_ECONFIG;
    }
    memcpy(ret_path, path, sizeof path);
    return 0;
}
