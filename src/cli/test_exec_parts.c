/* The parts of `sightline exec` that need no program: names for the loader, folders, where a server listens. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "src/cli/exec_folder.h"
#include "src/cli/exec_front.h"
#include "src/cli/exec_library.h"
#include "src/cli/view_export.h"
#include "tests/harness/sl_test.h"

/* ---- the library ---- */

SL_TEST(preload_puts_the_library_first)
{
    static const struct {
        const char *existing, *expected;
    } rows[] = {
        {NULL, "/x/lib.so"},
        {"", "/x/lib.so"},
        {"/a.so", "/x/lib.so:/a.so"},
        {"/a.so:/b.so", "/x/lib.so:/a.so:/b.so"},
        {"/a.so /b.so", "/x/lib.so:/a.so:/b.so"},
        {"/x/lib.so", "/x/lib.so"},
        {"/a.so:/x/lib.so:/b.so", "/x/lib.so:/a.so:/b.so"},
        {"::  :/a.so::", "/x/lib.so:/a.so"},
        {"/x/lib.so.1", "/x/lib.so:/x/lib.so.1"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf out;
        sl_buf_init(&out, 4096);
        CHECK_EQ(sl_exec_library_preload("/x/lib.so", rows[i].existing, &out), 0);
        CHECK_STR(sl_buf_str(&out), rows[i].expected);
        sl_buf_done(&out);
    }
    sl_buf small;
    sl_buf_init(&small, 12);
    CHECK(sl_exec_library_preload("/x/lib.so", "/a.so:/b.so", &small) != 0);
    sl_buf_done(&small);
}

SL_TEST(library_is_found_by_its_variable)
{
    char path[SL_EXEC_PATH_MAX], file[] = "/tmp/sl-test-library-XXXXXX";
    sl_buf tried;
    sl_buf_init(&tried, 65536);
    int fd = mkstemp(file);
    REQUIRE(fd >= 0);
    close(fd);
    CHECK_EQ(setenv(SL_EXEC_LIBRARY_ENV, file, 1), 0);
    CHECK_EQ(sl_exec_library_find(path, &tried), 0);
    CHECK_STR(sl_str_c(path), file);
    CHECK_EQ(unlink(file), 0);
    CHECK_EQ(sl_exec_library_find(path, &tried), SL_ENOENT); /* what was asked for is not replaced by another */
    CHECK_STR(sl_buf_str(&tried), file);
    CHECK_EQ(setenv(SL_EXEC_LIBRARY_ENV, "", 1), 0); /* empty is unset */
    if (sl_exec_library_find(path, &tried) != 0)
        CHECK(sl_str_find(sl_buf_str(&tried), SL_STR("/../lib/" SL_EXEC_LIBRARY_NAME)) != SL_NPOS);
    CHECK_EQ(unsetenv(SL_EXEC_LIBRARY_ENV), 0);
    sl_buf_done(&tried);
}

/* ---- the folder ---- */

static unsigned mode_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (unsigned)st.st_mode & 07777u : 0;
}

SL_TEST(folder_is_private_and_goes_whole)
{
    sl_exec_folder folder, other;
    char path[SL_EXEC_FOLDER_MAX + 128];
    bool root = geteuid() == 0;
    REQUIRE(sl_exec_folder_make(&folder) == 0 && sl_exec_folder_make(&other) == 0);
    CHECK(strcmp(folder.path, other.path) != 0);
    CHECK(strncmp(folder.path, folder.outer, strlen(folder.outer)) == 0);
    CHECK_EQ(mode_of(folder.outer), root ? 0711 : 0700);
    CHECK_EQ(mode_of(folder.path), root ? 01733 : 0700);
    (void)snprintf(path, sizeof path, "%s/1-1.ring", folder.path);
    FILE *file = fopen(path, "w");
    CHECK(file && fclose(file) == 0);
    (void)snprintf(path, sizeof path, "%s/library.so", folder.outer);
    CHECK(symlink("/nonexistent", path) == 0);
    (void)snprintf(path, sizeof path, "%s", folder.outer);
    sl_exec_folder_remove(&folder);
    CHECK(access(path, F_OK) != 0);
    sl_exec_folder_remove(&folder);
    sl_exec_folder_remove(&other);
    sl_exec_folder never = {.lock_fd = -1};
    sl_exec_folder_remove(&never);
}

SL_TEST(folders_of_the_dead_are_swept)
{
    sl_exec_folder dead, alive, young, third;
    char path[SL_EXEC_FOLDER_MAX + 128], outer[3][SL_EXEC_FOLDER_MAX];
    const struct timespec long_ago[2] = {{time(NULL) - 3600, 0}, {time(NULL) - 3600, 0}};
    REQUIRE(sl_exec_folder_make(&dead) == 0 && sl_exec_folder_make(&alive) == 0 && sl_exec_folder_make(&young) == 0);
    const sl_exec_folder *const all[3] = {&dead, &alive, &young};
    for (size_t i = 0; i < 3; i++)
        memcpy(outer[i], all[i]->outer, sizeof outer[i]);
    (void)snprintf(path, sizeof path, "%s/1-1.ring", dead.path);
    FILE *file = fopen(path, "w");
    CHECK(file && fclose(file) == 0);
    close(dead.lock_fd); /* as if they had been killed */
    close(young.lock_fd);
    dead.lock_fd = young.lock_fd = -1;
    CHECK(utimensat(AT_FDCWD, outer[0], long_ago, 0) == 0 && utimensat(AT_FDCWD, outer[1], long_ago, 0) == 0);
    REQUIRE(sl_exec_folder_make(&third) == 0);
    CHECK(access(outer[0], F_OK) != 0);
    CHECK(access(outer[1], F_OK) == 0 && access(outer[2], F_OK) == 0);
    sl_exec_folder_remove(&third);
    sl_exec_folder_remove(&alive);
    sl_exec_folder_remove(&young);
    CHECK(access(outer[1], F_OK) != 0 && access(outer[2], F_OK) != 0);
}

/* ---- the listener in front ---- */

SL_TEST(work_is_what_a_quota_may_refuse)
{
    static const struct {
        const char *method, *target;
        bool work;
    } rows[] = {
        {"POST", "/v1/chat/completions", true},
        {"POST", "/completion?x=1", true},
        {"POST", "/infill", true},
        {"POST", "/v1/embeddings", true},
        {"POST", "/v1/rerank", true},
        {"POST", "/reranking", true},
        {"POST", "/v1/messages", true},
        {"GET", "/v1/chat/completions", false},
        {"POST", "/tokenize", false},
        {"POST", "/v1/messages/count_tokens", false},
        {"GET", "/health", false},
        {"GET", "/metrics", false},
        {"POST", "/slots/0?action=save", false},
        {"POST", "/unknown", false},
        {"POST", "", false},
        {"", "/completion", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (sl_exec_front_is_work(sl_str_c(rows[i].method), sl_str_c(rows[i].target)) != rows[i].work)
            sl_test_failed(__FILE__, __LINE__, "%s %s", rows[i].method, rows[i].target);
    }
}

SL_TEST(server_is_where_its_arguments_say)
{
    static const struct {
        char *argv[8];
        const char *port, *host; /* of the environment */
        const char *expected;
    } rows[] = {
        {{"llama-server"}, NULL, NULL, "127.0.0.1:8080"},
        {{"llama-server", "--port", "8081"}, NULL, NULL, "127.0.0.1:8081"},
        {{"llama-server", "--port=8082", "--host", "::1"}, NULL, NULL, "[::1]:8082"},
        {{"llama-server", "--port", "1", "--port", "2"}, NULL, NULL, "127.0.0.1:2"},
        {{"llama-server", "--host", "0.0.0.0"}, NULL, NULL, "127.0.0.1:8080"},
        {{"llama-server", "--port"}, NULL, NULL, "127.0.0.1:8080"},
        {{"llama-server", "--port", "many"}, NULL, NULL, "127.0.0.1:8080"},
        {{"llama-server", "--port", "70000"}, NULL, NULL, "127.0.0.1:8080"},
        {{"llama-server"}, "9001", "10.0.0.1", "10.0.0.1:9001"},
        {{"llama-server", "--port", "8081"}, "9001", NULL, "127.0.0.1:8081"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_addr server;
        char text[SL_ADDR_TEXT_MAX];
        CHECK_EQ(rows[i].port ? setenv("LLAMA_ARG_PORT", rows[i].port, 1) : unsetenv("LLAMA_ARG_PORT"), 0);
        CHECK_EQ(rows[i].host ? setenv("LLAMA_ARG_HOST", rows[i].host, 1) : unsetenv("LLAMA_ARG_HOST"), 0);
        sl_exec_front_guess(rows[i].argv, &server);
        sl_addr_format(&server, text);
        CHECK_STR(sl_str_c(text), rows[i].expected);
    }
    CHECK_EQ(unsetenv("LLAMA_ARG_PORT") + unsetenv("LLAMA_ARG_HOST"), 0);
}

/* ---- the option --view ---- */

SL_TEST(view_may_be_off)
{
    static const sl_command command = {.name = "x"};
    sl_exporter exporters[2];
    size_t count = 0;
    CHECK_EQ(sl_view_exporter_add(&command, SL_STR("off"), exporters, &count), 0);
    CHECK_EQ(sl_view_exporter_add(&command, SL_STR(""), exporters, &count), 0);
    CHECK_EQ(count, 0);
    CHECK_EQ(sl_view_exporter_add(&command, SL_STR("http://127.0.0.1:1/"), exporters, &count), 0);
    CHECK_EQ(count, 1);
    CHECK(exporters[0].immediate && exporters[0].signals == SL_SIGNAL_BIT(SL_SIGNAL_TRACES));
    exporters[0].free(exporters[0].user);
}
