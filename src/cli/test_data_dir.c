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
    REQUIRE(mkdtemp(base) != NULL);
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
    REQUIRE(mkdtemp(base) != NULL);
    snprintf(file, sizeof file, "%s/format", base);
    write_file(file, "99\n");
    CHECK_EQ(sl_data_dir_open(sl_str_c(base), path, reason), SL_ECONFIG);
    CHECK(strstr(reason, "newer version (format 99") != NULL);
    write_file(file, "what\n");
    CHECK_EQ(sl_data_dir_open(sl_str_c(base), path, reason), SL_EIO);
    CHECK_EQ(sl_data_dir_open(SL_STR("/proc/nope"), path, reason), SL_EIO);
    CHECK(strstr(reason, "--data-dir") != NULL);
}
