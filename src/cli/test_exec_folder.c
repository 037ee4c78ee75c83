/* The folder of rings: what it never touches, what it leaves when it cannot be made, and how many may be made at once.
 */
#include "src/cli/exec_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

#define BASE "/dev/shm"
#define PREFIX "sightline-exec-"

/* Entries of a folder that begin so. */
static size_t count_of(const char *folder, const char *prefix)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    while (dir && (entry = readdir(dir)) != NULL)
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (dir)
        (void)closedir(dir);
    return count;
}

static void write_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}

/* As old as what is left behind. */
static void make_old(const char *path)
{
    const struct timespec long_ago[2] = {{time(NULL) - 3600, 0}, {time(NULL) - 3600, 0}};
    CHECK_EQ(utimensat(AT_FDCWD, path, long_ago, AT_SYMLINK_NOFOLLOW), 0);
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

SL_TEST(what_is_not_a_folder_of_ours_is_never_swept)
{
    char precious[] = "/tmp/sl-precious-XXXXXX", kept[128], link[128], file[128], other[128];
    sl_exec_folder folder;
    if (!exists(BASE))
        SL_SKIP("there is no " BASE);
    REQUIRE(sl_test_mkdtemp(precious) != NULL);
    (void)snprintf(kept, sizeof kept, "%s/kept", precious);
    (void)snprintf(link, sizeof link, BASE "/" PREFIX "link%ld", (long)getpid());
    (void)snprintf(file, sizeof file, BASE "/" PREFIX "file%ld", (long)getpid());
    (void)snprintf(other, sizeof other, BASE "/sl-other-%ld", (long)getpid());
    write_file(kept);
    write_file(file);
    REQUIRE(symlink(precious, link) == 0 && mkdir(other, 0700) == 0);
    make_old(precious);
    make_old(link);
    make_old(file);
    make_old(other);
    REQUIRE(sl_exec_folder_make(&folder) == 0);
    CHECK(exists(kept) && exists(link) && exists(file) && exists(other));
    sl_exec_folder_remove(&folder);
    CHECK(exists(kept) && exists(link) && exists(file) && exists(other));
    CHECK(unlink(link) == 0 && unlink(file) == 0 && rmdir(other) == 0);
}

/* The program may have put a link into its folder: what it leads to is not emptied. */
SL_TEST(links_within_are_removed_and_not_followed)
{
    char precious[] = "/tmp/sl-precious-XXXXXX", path[SL_EXEC_FOLDER_MAX + 256], kept[128];
    sl_exec_folder folder;
    REQUIRE(sl_test_mkdtemp(precious) != NULL && sl_exec_folder_make(&folder) == 0);
    (void)snprintf(kept, sizeof kept, "%s/kept", precious);
    write_file(kept);
    (void)snprintf(path, sizeof path, "%s/to-folder", folder.path);
    CHECK_EQ(symlink(precious, path), 0);
    (void)snprintf(path, sizeof path, "%s/to-itself", folder.path);
    CHECK_EQ(symlink(path, path), 0);
    (void)snprintf(path, sizeof path, "%s/within", folder.path);
    CHECK_EQ(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/within/file", folder.path);
    write_file(path);
    (void)snprintf(path, sizeof path, "%s", folder.outer);
    sl_exec_folder_remove(&folder);
    CHECK(!exists(path));
    CHECK(exists(kept));
}

/* Whatever is nested deeper than anything of ours is left: emptying it has an end. */
SL_TEST(removing_has_a_depth)
{
    char path[SL_EXEC_FOLDER_MAX + 256], outer[SL_EXEC_FOLDER_MAX];
    sl_exec_folder folder;
    REQUIRE(sl_exec_folder_make(&folder) == 0);
    memcpy(outer, folder.outer, sizeof outer);
    size_t len = (size_t)snprintf(path, sizeof path, "%s", folder.path);
    for (int i = 0; i < 4; i++) {
        len += (size_t)snprintf(path + len, sizeof path - len, "/d");
        CHECK_EQ(mkdir(path, 0700), 0);
    }
    sl_exec_folder_remove(&folder);
    CHECK(exists(outer));
    for (; len >= strlen(outer); len--) { /* from the innermost out */
        if (path[len] == '\0' || path[len] == '/') {
            path[len] = '\0';
            (void)rmdir(path);
        }
    }
    CHECK(!exists(outer));
}

SL_TEST(what_cannot_be_made_leaves_nothing)
{
    struct rlimit before, few;
    sl_exec_folder folder;
    size_t there = count_of("/tmp", PREFIX); /* the last one tried, and nobody else's first */
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    few = before;
    few.rlim_cur = 3; /* every folder can be made, and none be locked */
    REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
    errno = 0;
    int error = sl_exec_folder_make(&folder), why = errno;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_EQ(error, SL_EIO);
    CHECK_EQ(why, EMFILE);
    CHECK(count_of("/tmp", PREFIX) <= there);
    sl_exec_folder_remove(&folder); /* of one that was not made: nothing */
}

typedef struct maker {
    pthread_t thread;
    unsigned failed;
} maker;

static void *make_and_remove(void *user)
{
    maker *m = user;
    for (unsigned i = 0; i < 40; i++) {
        sl_exec_folder folder;
        char path[SL_EXEC_FOLDER_MAX + 128];
        if (sl_exec_folder_make(&folder) != 0) {
            m->failed++;
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/1-1.ring", folder.path);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        m->failed += fd < 0;
        if (fd >= 0)
            (void)close(fd);
        m->failed += !exists(path); /* nobody else has swept it */
        sl_exec_folder_remove(&folder);
        m->failed += exists(path);
    }
    return NULL;
}

SL_TEST(many_at_once_do_not_sweep_each_other)
{
    maker makers[6];
    size_t before = count_of(BASE, PREFIX);
    for (size_t i = 0; i < 6; i++) {
        makers[i].failed = 0;
        REQUIRE(pthread_create(&makers[i].thread, NULL, make_and_remove, &makers[i]) == 0);
    }
    for (size_t i = 0; i < 6; i++) {
        (void)pthread_join(makers[i].thread, NULL);
        CHECK_EQ(makers[i].failed, 0);
    }
    CHECK(count_of(BASE, PREFIX) <= before + 2); /* of others, who test beside us */
}
