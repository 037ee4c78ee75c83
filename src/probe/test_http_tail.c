/* The end of an answer without its text. */
#include "src/probe/http_tail.h"

#include "src/probe/event.h"
#include "tests/harness/sl_test.h"

static sl_str keep(const char *body, char room[SL_PROBE_TAIL_MAX])
{
    return sl_http_tail_keep(sl_str_c(body), room, SL_PROBE_TAIL_MAX);
}

typedef struct row {
    const char *body;
    const char *kept;
} row;

SL_TEST(figures_stay_and_text_goes)
{
    static const row rows[] = {
        {"", ""},
        {"{}", "{}"},
        {"{\"a\":1}", "{\"a\":1}"},
        {"{\"content\":\"my secret\",\"id_slot\":3}", "{\"content\":\"\",\"id_slot\":3}"},
        {"{\"timings\":{\"prompt_n\":4,\"prompt_ms\":1.25e-3,\"x\":-1E+2}}",
         "{\"timings\":{\"prompt_n\":4,\"prompt_ms\":1.25e-3,\"x\":-1E+2}}"},
        {"{\"a\":true,\"b\":false,\"c\":null}", "{\"a\":true,\"b\":false,\"c\":null}"},
        {"{\"tokens\":[1,2],\"stop\":[\"secret\",\"b\"]}", "{\"tokens\":[1,2],\"stop\":[\"\",\"\"]}"},
        {"{\"model\":\"tiny-1.gguf\",\"prompt\":\"tiny\"}", "{\"model\":\"tiny-1.gguf\",\"prompt\":\"\"}"},
        {"{\"finish_reason\" : \"stop\"}", "{\"finish_reason\" : \"stop\"}"},
        {"{\"model\":\"has blanks in it\"}", "{\"model\":\"\"}"},
        {"{\"a\":\"x\\\"y\"}", "{\"a\":\"\"}"},
        {"{\"a\":\"x\\\\\",\"b\":\"y\\\\\\\"z\"}", "{\"a\":\"\",\"b\":\"\"}"},
        {"{\"a\":\"{\\\"model\\\":\\\"secret\\\"}\"}", "{\"a\":\"\"}"},
        {"{\"any secret at all\":1}", "{\"\":1}"},
        {"data: {\"content\":\"hey\"}\n\ndata: [DONE]\n\n", "data: {\"content\":\"\"}\n\ndata: [DONE]\n\n"},
        {"event: message_stop\r\ndata: {\"type\":\"message_stop\"}\r\n\r\n",
         "event: \ndata: {\"type\":\"message_stop\"}\n\n"},
        {"data: plain words of a model\n\n", "data:     \n\n"},
        {"data: \xc3\xa4h 42\n", "data:  42\n"},
    };
    char room[SL_PROBE_TAIL_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        CHECK_STR(keep(rows[i].body, room), rows[i].kept);
}

SL_TEST(a_missing_beginning_is_where_it_stops)
{
    char room[SL_PROBE_TAIL_MAX];
    CHECK_STR(keep("half a text\",\"id_slot\":2}", room), ",\"id_slot\":2}");
    CHECK_STR(keep("x\n a\"},{\"a\":1}", room), "},{\"a\":1}");
    CHECK_STR(keep("2345,\"a\":1}", room), "2345,\"a\":1}");
    CHECK_STR(keep("\"", room), "");
    CHECK_STR(keep("\\\"", room), "");
}

SL_TEST(a_value_whose_name_is_missing_is_not_kept)
{
    char room[SL_PROBE_TAIL_MAX];
    CHECK_STR(keep("odel\":\"tiny\",\"a\":1}", room), ":\"\",\"a\":1}");
    CHECK_STR(keep(":\"tiny\"", room), ":\"\"");
    CHECK_STR(keep("\"tiny\"", room), "\"\"");
}

SL_TEST(it_keeps_to_its_room)
{
    char room[16];
    static const char body[] = "{\"content\":\"secret\",\"timings\":{\"prompt_n\":12}}";
    for (size_t size = 0; size <= sizeof room; size++) {
        memset(room, '#', sizeof room);
        sl_str kept = sl_http_tail_keep(sl_str_c(body), room, size);
        CHECK(kept.len <= size);
        for (size_t i = size; i < sizeof room; i++)
            CHECK_EQ(room[i], '#');
        CHECK(sl_str_ends(sl_str_c(body), kept));
    }
}

SL_TEST(no_cut_of_the_front_lets_text_through)
{
    static const char body[] =
        "{\"index\":0,\"content\":\"SECRET \\\"SECRET\\\\\",\"m\":[\"SECRET\",{\"SECRET X\":\"SECRET\"}],"
        "\"model\":\"SE CRET\",\"timings\":{\"prompt_n\":4,\"predicted_n\":7}}";
    char room[SL_PROBE_TAIL_MAX];
    for (size_t from = 0; from <= sizeof body - 1; from++) {
        sl_str kept = keep(body + from, room);
        CHECK_EQ(sl_str_find(kept, SL_STR("SECRET")), SL_NPOS);
        CHECK_EQ(sl_str_find(kept, SL_STR("CRET")), SL_NPOS);
        if (strstr(body + from, "\"timings"))
            CHECK(sl_str_ends(kept, SL_STR("\"timings\":{\"prompt_n\":4,\"predicted_n\":7}}")));
    }
}
