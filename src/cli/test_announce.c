/* What is printed to be copied: a shell reads it as one word, and its JSON is the name as it is. */
#include "src/cli/announce.h"

#include <stdio.h>

#include "src/wire/json_scan.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

static void expect(const char *model, const char *wanted)
{
    sl_buf out;
    char text[512];
    sl_buf_init(&out, 4096);
    CHECK_EQ(sl_announce_chat_body(sl_str_c(model), &out), 0);
    (void)snprintf(text, sizeof text, "'{\"model\": %s, \"messages\": [{\"role\": \"user\", \"content\": \"Hello\"}]}'",
                   wanted);
    CHECK_STR(sl_buf_str(&out), text);
    sl_buf_done(&out);
}

SL_TEST(names_of_every_kind)
{
    expect("claude-haiku", "\"claude-haiku\"");
    expect("", "\"\"");
    expect("it's", "\"it'\\''s\"");
    expect("'; rm -rf ~; '", "\"'\\''; rm -rf ~; '\\''\"");
    expect("a \"b\"", "\"a \\\"b\\\"\"");
    expect("a\\b", "\"a\\\\b\"");
    expect("two\nlines", "\"two\\nlines\"");
    expect("\x1b[31m", "\"\\u001b[31m\"");
    expect("del\x7f", "\"del\\u007f\"");
    expect("c1\xc2\x9b", "\"c1\\u009b\"");
    expect("caf\xc3\xa9 \xc2\xa0", "\"caf\xc3\xa9 \xc2\xa0\"");
    expect("$HOME `id` !x", "\"$HOME `id` !x\"");
}

/* A word of a POSIX shell: quoted runs and \' between them. False: it is not one word, or its quotes do not close. */
static bool shell_word(sl_str text, char *word, size_t *ret_len)
{
    bool quoted = false;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '\'') {
            quoted = !quoted;
        } else if (!quoted && text.ptr[i] == '\\' && i + 1 < text.len) {
            word[len++] = text.ptr[++i];
        } else if (!quoted) {
            return false;
        } else {
            word[len++] = text.ptr[i];
        }
    }
    *ret_len = len;
    return !quoted;
}

SL_TEST(a_shell_and_a_reader_of_json_get_the_name_back)
{
    static const char *const pieces[] = {"a",  "'",    "\"",       "\\",       " ",
                                         "\n", "\x1b", "\x7f",     "$",        "`",
                                         "{",  "}",    "\xc2\x9b", "\xc3\xa9", "\xf0\x9f\x99\x82",
                                         ";",  "'\\''"};
    uint64_t state = 3;
    for (unsigned round = 0; round < 3000; round++) {
        char name[128] = "", word[2048];
        size_t len = 0, name_len = 0;
        for (unsigned n = sl_chance(&state, 12); n > 0; n--) {
            const char *piece = pieces[sl_chance(&state, sizeof pieces / sizeof *pieces)];
            memcpy(name + name_len, piece, strlen(piece));
            name_len += strlen(piece);
        }
        sl_buf out;
        sl_json_value object, model;
        sl_buf_init(&out, 4096);
        REQUIRE(sl_announce_chat_body(sl_str_of(name, name_len), &out) == 0);
        for (size_t i = 0; i < out.len; i++)
            CHECK((unsigned char)out.data[i] >= 0x20 && out.data[i] != 0x7f);
        REQUIRE(shell_word(sl_buf_str(&out), word, &len));
        REQUIRE(sl_json_parse(sl_str_of(word, len), &object, NULL) == 0);
        model = sl_json_get(object, "model");
        CHECK(sl_json_string_is(model, sl_str_of(name, name_len)));
        sl_buf_done(&out);
    }
}

SL_TEST(names_that_do_not_fit)
{
    sl_buf out;
    for (size_t room = 1; room < 60; room += 7) {
        sl_buf_init(&out, room);
        CHECK_EQ(sl_announce_chat_body(SL_STR("a model"), &out), SL_ELIMIT);
        sl_buf_done(&out);
    }
    for (long n = 0;; n++) {
        sl_buf_init(&out, 4096);
        sl_test_fail_alloc(n);
        int error = sl_announce_chat_body(SL_STR("a model"), &out);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_buf_done(&out);
        CHECK_EQ(error, reached ? SL_ENOMEM : 0);
        if (!reached)
            break;
    }
}
