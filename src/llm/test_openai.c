/* OpenAI request bodies: what is read, what is refused, what is edited. */
#include "src/llm/openai.h"

#include <stdlib.h>

#include "src/base/mem.h"
#include "src/llm/tables.h"
#include "tests/harness/sl_test.h"

static int read_body(const char *body, sl_openai_request *ret_request, sl_openai_fault *ret_fault)
{
    sl_llm_init();
    memset(ret_fault, 0, sizeof *ret_fault);
    return sl_openai_read_request(sl_str_c(body), ret_request, ret_fault);
}

SL_TEST(operations_of_paths)
{
    static const struct {
        const char *path;
        sl_llm_operation operation;
    } cases[] = {
        {"/v1/chat/completions", SL_LLM_CHAT},
        {"/chat/completions", SL_LLM_CHAT},
        {"/v1/completions", SL_LLM_COMPLETION},
        {"/completions", SL_LLM_COMPLETION},
        {"/v1/embeddings", SL_LLM_EMBEDDINGS},
        {"/embeddings", SL_LLM_EMBEDDINGS},
        {"/v1/chat/completions/", SL_LLM_NONE},
        {"/v2/chat/completions", SL_LLM_NONE},
        {"/v1", SL_LLM_NONE},
        {"/", SL_LLM_NONE},
        {"", SL_LLM_NONE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_EQ(sl_llm_operation_of(sl_str_c(cases[i].path)), cases[i].operation);
    CHECK_STR(sl_str_c(sl_llm_operation_name(SL_LLM_CHAT)), "chat");
    CHECK_STR(sl_str_c(sl_llm_operation_name(SL_LLM_COMPLETION)), "text_completion");
    CHECK_STR(sl_str_c(sl_llm_operation_name(SL_LLM_EMBEDDINGS)), "embeddings");
    CHECK_STR(sl_llm_operation_path(SL_LLM_CHAT), "/chat/completions");
    CHECK_STR(sl_llm_operation_path(SL_LLM_COMPLETION), "/completions");
    CHECK_STR(sl_llm_operation_path(SL_LLM_EMBEDDINGS), "/embeddings");
}

SL_TEST(settings_of_a_request)
{
    sl_openai_request r;
    sl_openai_fault f;
    REQUIRE(
        read_body(
            "{\"model\":\"gpt\\u002d4\",\"temperature\":0.7,\"top_p\":1,\"max_tokens\":10,\"max_completion_tokens\":20,"
            "\"seed\":-5,\"n\":3,\"user\":\"u-1\",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
            "\"frequency_penalty\":-0.5,\"presence_penalty\":2,\"service_tier\":\"flex\",\"top_k\":40,"
            "\"response_format\":{\"type\":\"json_object\"},\"encoding_format\":\"float\","
            "\"messages\":[{\"model\":\"no\",\"stream\":false}]}",
            &r, &f) == 0);
    CHECK_STR(r.model, "gpt-4");
    CHECK(r.temperature.present && !r.temperature.is_int && r.temperature.real == 0.7);
    CHECK(r.top_p.present && r.top_p.is_int && r.top_p.integer == 1);
    CHECK_EQ(r.max_tokens.integer, 20);
    CHECK_EQ(r.seed.integer, -5);
    CHECK_EQ(r.n.integer, 3);
    CHECK_EQ(r.top_k.integer, 40);
    CHECK(r.frequency_penalty.real == -0.5 && r.presence_penalty.real == 2);
    CHECK(r.stream && r.usage_asked && !sl_openai_usage_missing(&r));
    CHECK_STR(r.user, "u-1");
    CHECK_STR(r.service_tier, "flex");
    CHECK_STR(r.response_format, "json_object");
    CHECK_STR(r.encoding_format, "float");
}

SL_TEST(what_is_not_said_is_absent)
{
    sl_openai_request r;
    sl_openai_fault f;
    REQUIRE(
        read_body("{\"model\":\"m\",\"temperature\":null,\"top_p\":\"0.5\",\"stream\":1,\"user\":7,\"max_tokens\":{}}",
                  &r, &f) == 0);
    CHECK(!r.temperature.present && !r.top_p.present && !r.max_tokens.present && !r.seed.present);
    CHECK(!r.stream && !r.usage_asked);
    CHECK_EQ(r.user.len, 0);
    /* Text with escapes, or too long, is left out rather than shown wrong. */
    REQUIRE(read_body("{\"model\":\"m\",\"user\":\"a\\nb\"}", &r, &f) == 0);
    CHECK_EQ(r.user.len, 0);
    REQUIRE(read_body("{\"model\":\"m\",\"max_tokens\":5}", &r, &f) == 0);
    CHECK_EQ(r.max_tokens.integer, 5);
}

SL_TEST(bodies_that_are_refused)
{
    static const struct {
        const char *body, *code;
    } cases[] = {
        {"", "invalid_json"},
        {" ", "invalid_json"},
        {"nul", "invalid_json"},
        {"null", "invalid_json"},
        {"[]", "invalid_json"},
        {"\"model\"", "invalid_json"},
        {"{\"model\":\"m\",}", "invalid_json"},
        {"{\"model\":\"m\"}{}", "invalid_json"},
        {"{\"model\":\"\xff\"}", "invalid_json"},
        {"{}", "missing_model"},
        {"{\"Model\":\"m\"}", "missing_model"},
        {"{\"model\":null}", "invalid_model"},
        {"{\"model\":[\"m\"]}", "invalid_model"},
        {"{\"model\":\"\"}", "invalid_model"},
        {"{\"model\":\"a\",\"model\":\"b\"}", "duplicate_key"},
        {"{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", "duplicate_key"},
        {"{\"model\":\"a\",\"stream\":true,\"stream\":false}", "duplicate_key"},
        {"{\"model\":\"a\",\"stream_options\":{},\"stream_options\":{}}", "duplicate_key"},
        {"{\"model\":\"a\",\"stream_options\":{\"include_usage\":true,\"include_usage\":false}}", "duplicate_key"},
    };
    sl_openai_request r;
    sl_openai_fault f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(read_body(cases[i].body, &r, &f), SL_EPARSE);
        CHECK_EQ(f.status, 400);
        CHECK_STR(sl_str_c(f.code), cases[i].code);
        CHECK(f.message[0] != 0);
    }
    char deep[512] = "{\"model\":\"m\",\"x\":";
    memset(deep + strlen(deep), '[', 200);
    CHECK_EQ(read_body(deep, &r, &f), SL_EPARSE);
    CHECK_STR(sl_str_c(f.code), "json_too_deep");
    char lengthy[SL_OPENAI_MODEL_MAX + 32] = "{\"model\":\"";
    memset(lengthy + strlen(lengthy), 'm', SL_OPENAI_MODEL_MAX + 1);
    strcat(lengthy, "\"}");
    CHECK_EQ(read_body(lengthy, &r, &f), SL_EPARSE);
    CHECK_STR(sl_str_c(f.code), "invalid_model");
}

/* Puts the pieces together. */
static sl_str joined(const sl_openai_pieces *p, char *text, size_t size)
{
    size_t len = 0;
    for (unsigned i = 0; i < p->count; i++) {
        if (p->piece[i].len > size - len)
            break;
        memcpy(text + len, p->piece[i].ptr, p->piece[i].len);
        len += p->piece[i].len;
    }
    CHECK_EQ(len, p->total);
    return sl_str_of(text, len);
}

SL_TEST(edits_leave_all_other_bytes_alone)
{
    static const struct {
        const char *body, *model_json, *edited;
    } cases[] = {
        {"{\"model\":\"m\"}", "", "{\"model\":\"m\"}"},
        {"{\"model\":\"m\"}", "\"n\"", "{\"model\":\"n\"}"},
        {" {\n\t\"a\" : 1e5 , \"model\" : \"m\" , \"b\":{\"model\":\"m\"} }\n", "\"longer\"",
         " {\n\t\"a\" : 1e5 , \"model\" : \"longer\" , \"b\":{\"model\":\"m\"} }\n"},
        {"{\"stream\":true,\"model\":\"m\"}", "\"n\"",
         "{\"stream_options\":{\"include_usage\":true},\"stream\":true,\"model\":\"n\"}"},
        {"{\"model\":\"m\",\"stream\":true,\"stream_options\": { } }", "\"n\"",
         "{\"model\":\"n\",\"stream\":true,\"stream_options\": {\"include_usage\":true } }"},
        {"{\"stream_options\":{\"y\":[]},\"stream\":true,\"model\":\"m\"}", "\"n\"",
         "{\"stream_options\":{\"include_usage\":true,\"y\":[]},\"stream\":true,\"model\":\"n\"}"},
        {"{\"model\":\"m\",\"stream\":true,\"stream_options\":null}", "",
         "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":null}}", "",
         "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":false}}", "",
         "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":false}}"},
        {"{\"model\":\"m\",\"stream\":true,\"stream_options\":7}", "",
         "{\"model\":\"m\",\"stream\":true,\"stream_options\":7}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_openai_request r;
        sl_openai_fault f;
        sl_openai_pieces p;
        char text[512];
        REQUIRE(read_body(cases[i].body, &r, &f) == 0);
        sl_openai_edit(&r, sl_str_c(cases[i].body), sl_str_c(cases[i].model_json), sl_openai_usage_missing(&r), &p);
        CHECK_STR(joined(&p, text, sizeof text), cases[i].edited);
        /* What comes out is a body that asks for the same, and needs no second edit. */
        char again[512];
        sl_str edited = joined(&p, again, sizeof again - 1);
        again[edited.len] = 0;
        REQUIRE(read_body(again, &r, &f) == 0);
        CHECK(!sl_openai_usage_missing(&r));
    }
}

/* Every cut of a body is refused, and edits of the whole one are the same wherever they stand. */
SL_TEST(bodies_cut_anywhere)
{
    static const char whole[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a \\\"model\\\": \\u00e9\"}],\"stream\":true,"
        "\"stop\":[\"x\",\"y\"],\"model\":\"m\",\"stream_options\":{\"include_usage\":null}}";
    sl_llm_init();
    for (size_t len = 0; len < sizeof whole; len++) {
        char *copy = malloc(len + 1); /* of its own, so that a sanitizer sees a step beyond */
        REQUIRE(copy != NULL);
        memcpy(copy, whole, len);
        sl_openai_request r;
        sl_openai_fault f;
        memset(&f, 0, sizeof f);
        int error = sl_openai_read_request(sl_str_of(copy, len), &r, &f);
        CHECK_EQ(error, len == sizeof whole - 1 ? 0 : SL_EPARSE);
        if (error) {
            CHECK_STR(sl_str_c(f.code), "invalid_json");
        } else {
            CHECK(r.stream && sl_openai_usage_missing(&r));
            CHECK_EQ(r.stop.type, SL_JSON_ARRAY);
            CHECK_EQ(r.content_at.type, SL_JSON_ARRAY);
        }
        free(copy);
    }
}

/* Where the text of a request stands: messages before prompt before input. */
SL_TEST(content_of_each_operation)
{
    static const struct {
        const char *body;
        const char *content; /* NULL: none */
    } rows[] = {{"{\"model\":\"m\",\"messages\":[1]}", "[1]"},
                {"{\"model\":\"m\",\"prompt\":\"p\"}", "\"p\""},
                {"{\"model\":\"m\",\"input\":[\"i\"]}", "[\"i\"]"},
                {"{\"model\":\"m\",\"input\":\"i\",\"prompt\":\"p\",\"messages\":[]}", "[]"},
                {"{\"model\":\"m\"}", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_openai_request r;
        sl_openai_fault f;
        REQUIRE(read_body(rows[i].body, &r, &f) == 0);
        CHECK_STR(sl_json_at(sl_str_c(rows[i].body), &r.content_at).raw, rows[i].content ? rows[i].content : "");
    }
}
