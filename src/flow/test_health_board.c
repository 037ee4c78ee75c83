/* What is said is read, whole, by whoever looks. */
#include <pthread.h>
#include <string.h>

#include "src/base/str.h"
#include "src/flow/health_board.h"
#include "tests/harness/sl_test.h"

SL_TEST(nothing_said_is_healthy)
{
    sl_health_board board;
    char text[SL_BOARD_TEXT] = "x";
    memset(&board, 0, sizeof board);
    for (int part = 0; part < SL_BOARD_PARTS; part++) {
        CHECK_EQ(sl_board_read(&board, (sl_board_part)part, text, sizeof text), SL_HEALTHY);
        CHECK_STR(sl_str_c(text), "");
    }
}

SL_TEST(the_last_word_of_each_part)
{
    sl_health_board board;
    char text[SL_BOARD_TEXT], small[4];
    memset(&board, 0, sizeof board);
    sl_board_say(&board, SL_BOARD_STORE, SL_UNHEALTHY, "the disk is full");
    sl_board_say(&board, SL_BOARD_PROVIDERS, SL_DEGRADED, "openai");
    CHECK_EQ(sl_board_read(&board, SL_BOARD_STORE, text, sizeof text), SL_UNHEALTHY);
    CHECK_STR(sl_str_c(text), "the disk is full");
    CHECK_EQ(sl_board_read(&board, SL_BOARD_PROVIDERS, small, sizeof small), SL_DEGRADED);
    CHECK_STR(sl_str_c(small), "ope");
    CHECK_EQ(sl_board_read(&board, SL_BOARD_BROKER, text, sizeof text), SL_HEALTHY);
    sl_board_say(&board, SL_BOARD_STORE, SL_HEALTHY, NULL);
    CHECK_EQ(sl_board_read(&board, SL_BOARD_STORE, text, sizeof text), SL_HEALTHY);
    CHECK_STR(sl_str_c(text), "");
}

SL_TEST(long_texts_are_cut_between_characters)
{
    sl_health_board board;
    char said[2 * SL_BOARD_TEXT], text[SL_BOARD_TEXT];
    memset(&board, 0, sizeof board);
    for (size_t i = 0; i + 2 < sizeof said; i += 2)
        memcpy(said + i, "\xc3\xa4", 2); /* two bytes each: 239 is between two of one */
    said[sizeof said - 2] = '\0';
    sl_board_say(&board, SL_BOARD_BROKER, SL_UNHEALTHY, said);
    CHECK_EQ(sl_board_read(&board, SL_BOARD_BROKER, text, sizeof text), SL_UNHEALTHY);
    CHECK_EQ(strlen(text), SL_BOARD_TEXT - 2);
    CHECK(sl_utf8_valid(sl_str_c(text)));
}

/* A writer that died in the midst: readers do not wait for it, and the next one's word counts again. */
SL_TEST(a_word_that_was_never_finished)
{
    sl_health_board board;
    char text[SL_BOARD_TEXT];
    memset(&board, 0, sizeof board);
    atomic_store(&board.parts[SL_BOARD_STORE].version, 7);
    atomic_store(&board.parts[SL_BOARD_STORE].status, 99);
    CHECK_EQ(sl_board_read(&board, SL_BOARD_STORE, text, sizeof text), SL_UNHEALTHY);
    sl_board_say(&board, SL_BOARD_STORE, SL_DEGRADED, "b");
    CHECK_EQ(sl_board_read(&board, SL_BOARD_STORE, text, sizeof text), SL_DEGRADED);
    CHECK_STR(sl_str_c(text), "b");
    CHECK_EQ(atomic_load(&board.parts[SL_BOARD_STORE].version), 8);
}

static void *write_many(void *user)
{
    for (int i = 0; i < 20000; i++)
        sl_board_say(user, SL_BOARD_STORE, i % 2 ? SL_HEALTHY : SL_UNHEALTHY, i % 2 ? "aaaaaaaaaaaa" : "bbbbbbbbbbbb");
    return NULL;
}

SL_TEST(no_half_words_while_it_is_written)
{
    static sl_health_board board;
    pthread_t writer;
    unsigned torn = 0;
    REQUIRE(pthread_create(&writer, NULL, write_many, &board) == 0);
    for (int i = 0; i < 20000; i++) {
        char text[SL_BOARD_TEXT];
        sl_health_status status = sl_board_read(&board, SL_BOARD_STORE, text, sizeof text);
        const char *wanted = status == SL_HEALTHY ? "aaaaaaaaaaaa" : "bbbbbbbbbbbb";
        torn += text[0] != '\0' && strcmp(text, wanted) != 0;
    }
    (void)pthread_join(writer, NULL);
    CHECK_EQ(torn, 0);
}
