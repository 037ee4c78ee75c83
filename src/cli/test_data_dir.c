/* The data folder. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/cli/data_dir.h"
#include "tests/harness/sl_test.h"

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    REQUIRE(file != NULL);
    fputs(text, file);
    fclose(file);
}

SL_TEST(data_dir_is_made_and_marked)
{
    char base[] = "/tmp/sl-data-XXXXXX", path[SL_DATA_PATH_MAX], wanted[4200], reason[256];
    REQUIRE(sl_test_mkdtemp(base) != NULL);
    snprintf(wanted, sizeof wanted, "%s/a/b", base);
    CHECK_EQ(sl_data_dir_open(sl_str_c(wanted), path, reason), 0);
    CHECK_STR(sl_str_c(path), wanted);
    struct stat st;
    CHECK(stat(wanted, &st) == 0 && (st.st_mode & 0777) == 0700);
    CHECK_EQ(sl_data_dir_open(sl_str_c(wanted), path, reason), 0);
    setenv("XDG_STATE_HOME", base, 1);
    CHECK_EQ(sl_data_dir_open(SL_STR(""), path, reason), 0);
    CHECK(strstr(path, "/sightline") != NULL);
    unsetenv("XDG_STATE_HOME");
}

SL_TEST(data_dir_of_a_newer_version_is_refused)
{
    char base[] = "/tmp/sl-data-XXXXXX", path[SL_DATA_PATH_MAX], file[4200], reason[256];
    REQUIRE(sl_test_mkdtemp(base) != NULL);
    snprintf(file, sizeof file, "%s/format", base);
    write_file(file, "99\n");
    CHECK_EQ(sl_data_dir_open(sl_str_c(base), path, reason), SL_ECONFIG);
    CHECK(strstr(reason, "newer version (format 99") != NULL);
    write_file(file, "what\n");
    CHECK_EQ(sl_data_dir_open(sl_str_c(base), path, reason), SL_EIO);
    CHECK_EQ(sl_data_dir_open(SL_STR("/proc/nope"), path, reason), SL_EIO);
    CHECK(strstr(reason, "--data-dir") != NULL);
}

static unsigned mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_mode & 0777u : 0;
}

/* What lasts is for the owner alone, however the path is written. */
SL_TEST(data_dir_is_private_however_it_is_written)
{
    static const char *const ends[] = {"", "/", "//", "/."};
    char base[] = "/tmp/sl-data-XXXXXX", path[SL_DATA_PATH_MAX], wanted[4200], reason[256];
    REQUIRE(sl_test_mkdtemp(base) != NULL);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(wanted, sizeof wanted, "%s/above%zu/data%s", base, i, ends[i]);
        CHECK_EQ(sl_data_dir_open(sl_str_c(wanted), path, reason), 0);
        if (strcmp(ends[i], "/.") != 0)
            CHECK_EQ(mode_of(wanted), 0700);
        CHECK_EQ(mode_of(wanted) & 0022u, 0);
        CHECK_STR(sl_str_c(path), wanted);
    }
}

/* Every text of a format file: read, refused, or (empty: its writer was stopped) written anew. */
SL_TEST(data_dir_formats)
{
    static const struct {
        const char *text;
        int error;
    } cases[] = {
        {"1\n", 0},
        {"1", 0},
        {"", 0},
        {"2\n", SL_DATA_FORMAT >= 2 ? 0 : SL_ECONFIG},
        {"18446744073709551615\n", SL_ECONFIG},
        {"18446744073709551616\n", SL_EIO},
        {"-1\n", SL_EIO},
        {"1.0\n", SL_EIO},
        {" 1\n", SL_EIO},
        {"1\n1\n", SL_EIO},
        {"\n", SL_EIO},
        {"one\n", SL_EIO},
        {"11111111111111111111111111111111111111111\n", SL_EIO},
    };
    char base[] = "/tmp/sl-data-XXXXXX", file[4200];
    REQUIRE(sl_test_mkdtemp(base) != NULL);
    snprintf(file, sizeof file, "%s/format", base);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[SL_DATA_PATH_MAX] = "before", reason[256] = "";
        write_file(file, cases[i].text);
        int error = sl_data_dir_open(sl_str_c(base), path, reason);
        if (error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "\"%s\": %d", cases[i].text, error);
        CHECK_STR(sl_str_c(path), error ? "before" : base);
        CHECK_EQ(reason[0] != 0, error != 0);
        if (error)
            CHECK(strstr(reason, base) != NULL);
    }
    /* What was written anew is a format like any other, and nothing else is left in the folder. */
    char text[16] = "", command_path[SL_DATA_PATH_MAX], reason[256];
    write_file(file, "");
    CHECK_EQ(sl_data_dir_open(sl_str_c(base), command_path, reason), 0);
    FILE *read = fopen(file, "r");
    REQUIRE(read != NULL);
    CHECK(fgets(text, sizeof text, read) != NULL);
    fclose(read);
    CHECK_EQ(strtol(text, NULL, 10), SL_DATA_FORMAT);
    CHECK_EQ(unlink(file), 0);
    CHECK_EQ(rmdir(base), 0);
}

/* Where it lies when nobody says so: XDG's state folder, that of the home, or the system's; only absolute ones count.
 */
SL_TEST(data_dir_nobody_named)
{
    char base[] = "/tmp/sl-data-XXXXXX", home[4200], path[SL_DATA_PATH_MAX], wanted[4300], reason[256];
    const char *before = getenv("HOME");
    char kept[1024] = "";
    if (before)
        snprintf(kept, sizeof kept, "%s", before);
    REQUIRE(sl_test_mkdtemp(base) != NULL);
    snprintf(home, sizeof home, "%s/home", base);
    setenv("HOME", home, 1);
    static const char *const states[] = {NULL, "", "relative", "./here"};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        if (states[i])
            setenv("XDG_STATE_HOME", states[i], 1);
        else
            unsetenv("XDG_STATE_HOME");
        CHECK_EQ(sl_data_dir_open(SL_STR(""), path, reason), 0);
        snprintf(wanted, sizeof wanted, "%s/.local/state/sightline", home);
        CHECK_STR(sl_str_c(path), wanted);
    }
    setenv("XDG_STATE_HOME", base, 1);
    CHECK_EQ(sl_data_dir_open(SL_STR(""), path, reason), 0);
    snprintf(wanted, sizeof wanted, "%s/sightline", base);
    CHECK_STR(sl_str_c(path), wanted);
    unsetenv("XDG_STATE_HOME");
    if (before)
        setenv("HOME", kept, 1);
    else
        unsetenv("HOME");
}

SL_TEST(data_dir_paths_that_cannot_be)
{
    static char longest[SL_DATA_PATH_MAX + 1];
    char base[] = "/tmp/sl-data-XXXXXX", path[SL_DATA_PATH_MAX] = "before", wanted[4200], reason[256];
    memset(longest, 'x', sizeof longest);
    CHECK_EQ(sl_data_dir_open(sl_str_of(longest, sizeof longest), path, reason), SL_ELIMIT);
    CHECK_EQ(sl_data_dir_open(sl_str_of(longest, SL_DATA_PATH_MAX), path, reason), SL_ELIMIT);
    REQUIRE(sl_test_mkdtemp(base) != NULL);
    snprintf(wanted, sizeof wanted, "%s/file", base);
    write_file(wanted, "x");
    CHECK_EQ(sl_data_dir_open(sl_str_c(wanted), path, reason), SL_EIO); /* a file stands there */
    snprintf(wanted, sizeof wanted, "%s/file/below", base);
    CHECK_EQ(sl_data_dir_open(sl_str_c(wanted), path, reason), SL_EIO);
    CHECK(strstr(reason, "--data-dir") != NULL);
    CHECK_STR(sl_str_c(path), "before");
}
