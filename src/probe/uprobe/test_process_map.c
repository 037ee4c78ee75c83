/* What a process has mapped: this one, and a child, with files of odd names and files that are gone. */
#include "src/probe/uprobe/process_map.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

#define PAGES 3
#define PAGE 4096

/* A file of some pages, mapped as code from its second page on; 0: it could not be. */
static uint64_t map_code(const char *path)
{
    char bytes[PAGES * PAGE] = {0};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0700);
    if (fd < 0 || write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
        return 0;
    void *at = mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, PAGE);
    close(fd);
    return at == MAP_FAILED ? 0 : (uint64_t)(uintptr_t)at;
}

static bool same_file(const char *path, const sl_process_code *code)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_ino == code->inode &&
           ((uint64_t)major(st.st_dev) << 32 | minor(st.st_dev)) == code->device;
}

SL_TEST(addresses_lead_to_files_and_places_in_them)
{
    static const char *const names[] = {"plain", "with a space", "ends in (deleted)", "x-y:z", "\xC3\xA9t\xC3\xA9"};
    char folder[] = "/tmp/sl-map-XXXXXX", path[96];
    REQUIRE(sl_test_mkdtemp(folder) != NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        sl_process_code code = {0};
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        uint64_t at = map_code(path);
        if (!at)
            SL_SKIP("no code may be mapped from the folder of temporary files");
        CHECK_EQ(sl_process_map_at((uint32_t)getpid(), at, &code), 0);
        CHECK(code.start <= at && code.end >= at + 2 * PAGE);
        CHECK_EQ(at - code.start + code.offset, PAGE);
        CHECK(same_file(path, &code));
        CHECK(same_file(code.path, &code)); /* the name by which this process can open it */
        CHECK_EQ(sl_process_map_at((uint32_t)getpid(), at + 2 * PAGE - 1, &code), 0);
        CHECK_EQ(unlink(path), 0);
        CHECK_EQ(sl_process_map_at((uint32_t)getpid(), at, &code), 0);
        struct stat st;
        CHECK(stat(code.path, &st) != 0); /* nothing of that name is there … */
        CHECK(stat(code.link, &st) == 0 ? st.st_ino == code.inode
                                        : errno == EPERM || errno == EACCES || errno == ENOENT);
        (void)munmap((void *)(uintptr_t)at, 2 * PAGE);
        CHECK_EQ(sl_process_map_at((uint32_t)getpid(), at, &code), SL_ENOENT);
    }
}

/* What is no code of a file leads nowhere: stack, heap, memory without a file, data. */
SL_TEST(what_is_no_code_leads_nowhere)
{
    static int data = 1;
    sl_process_code code = {.start = 5};
    int stack = 0;
    char *heap = malloc(100000);
    void *memory = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const void *const places[] = {&data, &stack, heap, memory == MAP_FAILED ? NULL : memory, NULL, (void *)UINTPTR_MAX};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        CHECK_EQ(sl_process_map_at((uint32_t)getpid(), (uint64_t)(uintptr_t)places[i], &code), SL_ENOENT);
        CHECK_EQ(code.start, 5); /* untouched */
    }
    free(heap);
    (void)munmap(memory, PAGE);
}

typedef struct walk {
    size_t count, stop_at;
    uint64_t last_end;
    bool own;
} walk;

static bool look(void *user, const sl_process_code *code)
{
    walk *w = user;
    CHECK(code->start < code->end && code->start >= w->last_end); /* in ascending order, one beside the other */
    CHECK(code->inode && code->path[0] == '/');
    w->last_end = code->end;
    uint64_t here = (uint64_t)(uintptr_t)look;
    w->own |= here >= code->start && here < code->end;
    return ++w->count != w->stop_at;
}

SL_TEST(each_mapping_once_until_told_to_stop)
{
    walk all = {.count = 0};
    CHECK_EQ(sl_process_map_each((uint32_t)getpid(), look, &all), 0);
    CHECK(all.own && all.count >= 2); /* the program, and libc */
    for (size_t stop = 1; stop <= all.count; stop++) {
        walk some = {.stop_at = stop};
        CHECK_EQ(sl_process_map_each((uint32_t)getpid(), look, &some), 0);
        CHECK_EQ(some.count, stop);
    }
}

SL_TEST(another_process_while_it_is_there)
{
    sl_process_code mine, its;
    uint64_t here = (uint64_t)(uintptr_t)look;
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    REQUIRE(child > 0);
    CHECK_EQ(sl_process_map_at((uint32_t)getpid(), here, &mine), 0);
    CHECK_EQ(sl_process_map_at((uint32_t)child, here, &its), 0);
    CHECK(its.inode == mine.inode && its.device == mine.device && its.offset == mine.offset);
    CHECK(strstr(its.path, "/root/") != NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    CHECK_EQ(sl_process_map_at((uint32_t)child, here, &its), SL_ENOENT);
    walk none = {.count = 0};
    CHECK_EQ(sl_process_map_each((uint32_t)child, look, &none), SL_ENOENT);
    CHECK_EQ(none.count, 0);
}
