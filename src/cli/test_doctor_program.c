/* What `doctor` says of programs, and how it asks them: small ones that are made here. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/cli/doctor_probe.h"
#include "src/cli/doctor_program.h"
#include "src/cli/exec_attach.h"
#include "tests/harness/sl_test.h"

/* ---- asking a program ---- */

static size_t ask(const char *script, char *text, size_t size)
{
    char shell[] = "/bin/sh", option[] = "-c", copy[256];
    char *argv[] = {shell, option, copy, NULL};
    (void)snprintf(copy, sizeof copy, "%s", script);
    return sl_doctor_capture(argv, NULL, text, size);
}

SL_TEST(both_outputs_are_captured_as_far_as_they_fit)
{
    char text[16];
    CHECK_EQ(ask("echo out; echo err >&2", text, sizeof text), 8);
    CHECK_STR(sl_str_c(text), "out\nerr\n");
    CHECK_EQ(ask("echo 0123456789012345678901234567890", text, sizeof text), 15);
    CHECK_STR(sl_str_c(text), "012345678901234");
    CHECK_EQ(ask("true", text, sizeof text), 0);
    CHECK_STR(sl_str_c(text), "");
    char none[] = "/no/such/program";
    char *argv[] = {none, NULL};
    CHECK_EQ(sl_doctor_capture(argv, NULL, text, sizeof text), 0);
}

SL_TEST(a_program_that_hangs_is_left)
{
    char text[64];
    uint64_t begun_ns = sl_mono_ns();
    CHECK_EQ(ask("echo here; exec sleep 60", text, sizeof text), 5);
    CHECK(sl_mono_ns() - begun_ns < 20000000000u);
}

/* ---- finding one ---- */

typedef struct shelf {
    char dir[64], path[128];
} shelf;

static bool shelf_make(shelf *s)
{
    char variable[256];
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/sl-test-program-XXXXXX");
    if (!mkdtemp(s->dir))
        return false;
    (void)snprintf(variable, sizeof variable, "/no/such/folder:%s/first:%s", s->dir, s->dir);
    (void)snprintf(s->path, sizeof s->path, "%s/first", s->dir);
    return mkdir(s->path, 0755) == 0 && setenv("PATH", variable, 1) == 0;
}

static const char *put(shelf *s, const char *name, const char *text, mode_t mode)
{
    (void)snprintf(s->path, sizeof s->path, "%s/%s", s->dir, name);
    int fd = open(s->path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0700);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(fd, mode) == 0);
    (void)close(fd);
    return s->path;
}

static void shelf_clear(const shelf *s)
{
    char command[128];
    (void)snprintf(command, sizeof command, "/bin/rm -r %s", s->dir);
    CHECK_EQ(system(command), 0); /* NOLINT: a folder of this test's */
}

SL_TEST(a_program_is_found_as_execvp_would)
{
    shelf s;
    char found[SL_EXEC_PATH_MAX];
    REQUIRE(shelf_make(&s));
    (void)put(&s, "tool", "#!/bin/sh\n", 0755);
    CHECK(sl_exec_find_program("tool", found));
    CHECK_STR(sl_str_c(found), s.path);
    (void)snprintf(s.path, sizeof s.path, "%s/first/tool", s.dir);
    CHECK_EQ(mkdir(s.path, 0755), 0); /* a folder of that name in front of it is none */
    CHECK(sl_exec_find_program("tool", found));
    CHECK(!strstr(found, "/first/"));
    (void)put(&s, "text", "no program", 0644);
    CHECK(geteuid() == 0 || !sl_exec_find_program("text", found));
    CHECK(!sl_exec_find_program("not-there", found));
    CHECK(!sl_exec_find_program("", found));
    CHECK(sl_exec_find_program("./as/it/is", found));
    CHECK_STR(sl_str_c(found), "./as/it/is");
    shelf_clear(&s);
}

/* ---- what is said ---- */

/* True when a row of that level has the words. */
static bool says(const sl_doctor *d, sl_doctor_level level, const char *words)
{
    for (size_t i = 0; i < d->count; i++) {
        if (d->rows[i].level == level && sl_str_find(d->rows[i].seen, sl_str_c(words)) != SL_NPOS)
            return true;
    }
    return false;
}

SL_TEST(what_is_no_program_fails_and_scripts_are_followed)
{
    static const struct {
        const char *text, *words;
        mode_t mode;
        sl_doctor_level level;
        size_t rows;
    } rows[] = {
        {"#!/no/such/reader\n", "no such program", 0755, SL_DOCTOR_FAIL, 2},
        {"#!/usr/bin/env no-such-reader -x\n", "script for no-such-reader", 0755, SL_DOCTOR_OK, 2},
        {"#!\n", "is no program of this machine", 0755, SL_DOCTOR_FAIL, 1},
        {"\x7f"
         "ELF and no more, although it is longer than a head is, which has sixty-four bytes",
         "no program", 0755, SL_DOCTOR_FAIL, 1},
        {"text", "no such program", 0644, SL_DOCTOR_FAIL, 1},
    };
    shelf s;
    REQUIRE(shelf_make(&s));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_doctor *d = sl_calloc(1, sizeof *d);
        sl_doctor_init(d);
        sl_doctor_program(d, put(&s, "it", rows[i].text, rows[i].mode));
        CHECK_EQ(d->count, rows[i].rows);
        CHECK(says(d, rows[i].level, rows[i].words));
        sl_doctor_done(d);
        sl_free(d);
    }
    shelf_clear(&s);
}

/* Two scripts that name one another. */
SL_TEST(scripts_in_a_circle_end)
{
    shelf s;
    REQUIRE(shelf_make(&s));
    (void)put(&s, "one", "#!/usr/bin/env two\n", 0755);
    (void)put(&s, "two", "#!/usr/bin/env one\n", 0755);
    sl_doctor *d = sl_calloc(1, sizeof *d);
    sl_doctor_init(d);
    sl_doctor_program(d, "one");
    CHECK(d->count > 0 && d->count <= 8);
    sl_doctor_done(d);
    sl_free(d);
    shelf_clear(&s);
}

/* This very program: linked to libc, not to libllama. */
SL_TEST(a_program_without_libllama_may_open_it)
{
    sl_doctor *d = sl_calloc(1, sizeof *d);
    sl_doctor_init(d);
    sl_doctor_program(d, "/proc/self/exe");
    CHECK_EQ(d->failures, 0);
    CHECK(d->count > 0);
    CHECK(says(d, SL_DOCTOR_OK, "is not linked to libllama") || d->warnings > 0);
    sl_doctor_done(d);
    sl_free(d);
}
