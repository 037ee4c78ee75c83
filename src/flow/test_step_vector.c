/* vector_search steps: params, the engine in this process, Qdrant's protocol, names that map to the engine. */
#include "src/flow/test_step_fixture.h"
#include "src/store/collection.h"

extern const sl_step_kind sl_step_vector_kind;
#define VECTOR &sl_step_vector_kind

static void fill(sl_collections *c)
{
    static const char *const metadata[] = {"{\"text\":\"alpha\",\"lang\":\"en\",\"year\":2019}",
                                           "{\"text\":\"beta\",\"lang\":\"de\",\"year\":2021}",
                                           "{\"text\":\"gamma\",\"lang\":\"en\",\"year\":2023}"};
    static const float vectors[3][2] = {{1, 0}, {0, 1}, {1, 1}};
    static const char *const names[] = {"a", "b", "c"};
    char reason[SL_COLLECTION_REASON];
    if (sl_collections_create(c, SL_STR("knowledge-base"), 2, SL_VECTOR_COSINE, reason))
        abort();
    for (int i = 0; i < 4; i++) {
        int k = i % 3;
        sl_vector_row row = {.space = i == 3 ? SL_STR("other") : SL_STR(""),
                             .id = sl_str_c(names[k]),
                             .vector = vectors[k],
                             .dims = 2,
                             .metadata = sl_str_c(metadata[k])};
        if (sl_collections_put(c, SL_STR("knowledge-base"), &row, 1, reason))
            abort();
    }
}

static void open_both(bench_step *b)
{
    char error[200];
    step_open(b);
    if (sl_collections_open(NULL, error, sizeof error, &b->services.collections))
        abort();
    fill(b->services.collections);
}

static void close_both(bench_step *b)
{
    step_close(b);
    sl_collections_close(b->services.collections);
}

typedef struct good_case {
    const char *params;
    const char *ids; /* of the results */
} good_case;

static const good_case good_cases[] = {
    {"{'database':'local','index':'knowledge-base','query':[1,0]}", "a c b"},
    {"{'index':'knowledge-base','query':[1,0]}", "a c b"},
    {"{'database':'memory','index':'knowledge-base','query':[0,1],'top_k':2}", "b c"},
    {"{'database':'sightline','index':'knowledge-base','query':[0,1],'top_k':'1'}", "b"},
    {"{'database':'pinecone','index':'knowledge-base','query':[1,0.5]}", "c a b"},
    {"{'database':'qdrant','index':'knowledge-base','query':[1,0.5]}", "c a b"},
    {"{'index':'knowledge-base','query':[[1,0]]}", "a c b"},
    {"{'index':'knowledge-base','query':{'vector':[1,0]}}", "a c b"},
    {"{'index':'knowledge-base','query':[1,0],'filter':{'lang':'en'}}", "a c"},
    {"{'index':'knowledge-base','query':[1,0],'filter':{'year':{'$gt':2019}}}", "c b"},
    {"{'index':'knowledge-base','query':[1,0],'filter':{}}", "a c b"},
    {"{'index':'knowledge-base','query':[1,0],'filter':null}", "a c b"},
    {"{'index':'knowledge-base','query':[1,0],'namespace':'other'}", "a"},
    {"{'index':'knowledge-base','query':[1,0],'namespace':'none'}", ""},
    {"{'database':'pinecone','index':'missing','query':[1,0]}", ""},
};

static void join_ids(const json_t *list, char *text, size_t size)
{
    text[0] = '\0';
    for (size_t i = 0; i < json_array_size(list); i++)
        (void)snprintf(text + strlen(text), size - strlen(text), "%s%s", i ? " " : "",
                       json_string_value(json_object_get(json_array_get(list, i), "id")));
}

SL_TEST(searches)
{
    bench_step b;
    open_both(&b);
    for (size_t i = 0; i < sizeof good_cases / sizeof *good_cases; i++) {
        char text[200];
        step_run(&b, VECTOR, good_cases[i].params);
        join_ids(json_array_get(b.results, 0), text, sizeof text);
        if (b.error || strcmp(text, good_cases[i].ids) != 0)
            sl_test_failed(__FILE__, __LINE__, "%s: \"%s\" %s", good_cases[i].params, text, b.reason);
        json_t *metadata = json_array_get(b.results, 1);
        CHECK_EQ(json_integer_value(json_object_get(metadata, "count")), json_array_size(json_array_get(b.results, 0)));
        bool mapped = strstr(good_cases[i].params, "pinecone") || strstr(good_cases[i].params, "qdrant");
        CHECK_EQ(json_is_string(json_object_get(metadata, "warning")), mapped);
        CHECK_EQ(json_is_string(json_object_get(b.extra, "warning")), mapped);
        CHECK(b.text == json_array_get(b.results, 0));
    }
    close_both(&b);
}

SL_TEST(shape_of_results)
{
    bench_step b;
    open_both(&b);
    step_run(&b, VECTOR, "{'index':'knowledge-base','query':[1,0],'top_k':1}");
    CHECK_RESULT(&b, 0, "[{'id':'a','score':1.0,'metadata':{'text':'alpha','lang':'en','year':2019},'vector':null}]");
    CHECK_RESULT(&b, 1, "{'count':1,'top_k':1,'database':'local','index':'knowledge-base'}");
    step_run(&b, VECTOR,
             "{'index':'knowledge-base','query':[1,0],'top_k':1,'include_vectors':true,'include_metadata':'false'}");
    CHECK_RESULT(&b, 0, "[{'id':'a','score':1.0,'metadata':null,'vector':[1.0,0.0]}]");
    step_run(&b, VECTOR, "{'database':'weaviate','index':'nothing','query':[1,0]}");
    CHECK(strstr(json_string_value(json_object_get(b.extra, "warning")), "database \"weaviate\" is not configured"));
    CHECK(strstr(json_string_value(json_object_get(b.extra, "warning")), "there is no collection \"nothing\""));
    close_both(&b);
}

typedef struct bad_case {
    const char *params;
    sl_step_error error;
    const char *says;
} bad_case;

static const bad_case bad_cases[] = {
    {"{'index':'knowledge-base','query':'who?'}", SL_STEP_ERROR_INPUT, "query is a text, not a vector: embed it first"},
    {"{'index':'knowledge-base'}", SL_STEP_ERROR_INPUT, "query must be a list"},
    {"{'index':'knowledge-base','query':[]}", SL_STEP_ERROR_INPUT, "query must be a list"},
    {"{'index':'knowledge-base','query':[1,'x']}", SL_STEP_ERROR_INPUT, "item 1 is no number"},
    {"{'index':'knowledge-base','query':[1,1e300]}", SL_STEP_ERROR_INPUT, "item 1 is no number that float32"},
    {"{'index':'knowledge-base','query':[1,2,3]}", SL_STEP_ERROR_INPUT, "3 dimensions, the collection 2"},
    {"{'index':'knowledge-base','query':[1,2],'top_k':0}", SL_STEP_ERROR_INPUT, "top_k must be"},
    {"{'index':'knowledge-base','query':[1,2],'top_k':10001}", SL_STEP_ERROR_INPUT, "top_k must be"},
    {"{'index':'knowledge-base','query':[1,2],'filter':[1]}", SL_STEP_ERROR_INPUT, "filter"},
    {"{'index':'knowledge-base','query':[1,2],'filter':{'a':{'$x':1}}}", SL_STEP_ERROR_INPUT, "$x: is no operator"},
    {"{'index':'missing','query':[1,2]}", SL_STEP_ERROR_INPUT, "there is no collection \"missing\""},
    {"{'query':[1,2]}", SL_STEP_ERROR_INPUT, "there is no collection"},
    {"{'index':5,'query':[1,2]}", SL_STEP_ERROR_INPUT, "index must be a text"},
};

SL_TEST(what_is_refused)
{
    bench_step b;
    open_both(&b);
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        step_run(&b, VECTOR, bad_cases[i].params);
        if (b.error != bad_cases[i].error || !strstr(b.reason, bad_cases[i].says))
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s", bad_cases[i].params, b.error, b.reason);
    }
    close_both(&b);
    step_open(&b);
    step_run(&b, VECTOR, "{'index':'k','query':[1,2]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INTERNAL, "no collections are open");
    step_close(&b);
}

SL_TEST(search_is_cancelled)
{
    bench_step b;
    open_both(&b);
    for (int i = 0; i < 20; i++) {
        step_begin(&b, VECTOR, "{'index':'knowledge-base','query':[1,0]}", "{}");
        if (i % 2)
            nf_sleep_ms(1);
        sl_step_vector_kind.cancel(&b.attempt);
        CHECK_EQ(b.ends, 0);
    }
    close_both(&b);
}

/* ---- Qdrant ---- */

typedef struct qdrant {
    nf_server server;
    const char *answer;
    char last[4000];
} qdrant;

static void serve(nf_server *server, int fd, int number)
{
    qdrant *q = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        (void)snprintf(q->last, sizeof q->last, "%.*s", (int)m.len, m.data);
        nf_message_free(&m);
        char answer[2000];
        (void)snprintf(answer, sizeof answer,
                       "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                       strncmp(q->answer, "!", 1) == 0 ? q->answer + 1 : "200 OK",
                       strncmp(q->answer, "!", 1) == 0 ? (size_t)0 : strlen(q->answer),
                       strncmp(q->answer, "!", 1) == 0 ? "" : q->answer);
        if (!nf_send_c(fd, answer))
            return;
    }
}

SL_TEST(qdrant_is_asked)
{
    bench_step b;
    static qdrant q;
    char url[64];
    step_open(&b);
    nf_server_start(&q.server, serve, &q);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", q.server.port);
    b.services.qdrant_url = url;
    b.services.qdrant_key = "qk";
    b.services.http_allowed[0] = "nobody.example"; /* the operator's server needs no leave */
    b.services.http_allowed_count = 1;
    q.answer =
        "{\"result\":{\"points\":[{\"id\":7,\"version\":1,\"score\":0.5,\"payload\":{\"t\":1},\"vector\":[1.0,2.0]},"
        "{\"id\":\"u\",\"score\":0.25,\"payload\":null}]},\"status\":\"ok\"}";
    step_run(&b, VECTOR,
             "{'database':'qdrant','index':'my docs/x','query':[1,0.5],'top_k':3,'namespace':'n',"
             "'filter':{'a':1},'include_vectors':true}");
    CHECK_RESULT(&b, 0,
                 "[{'id':'7','score':0.5,'metadata':{'t':1},'vector':[1.0,2.0]},{'id':'u','score':0.25,'metadata':{},'"
                 "vector':null}]");
    CHECK_RESULT(&b, 1, "{'count':2,'top_k':3,'database':'qdrant','index':'my docs/x'}");
    CHECK(strncmp(q.last, "POST /collections/my%20docs%2Fx/points/query HTTP/1.1\r\n", 55) == 0);
    CHECK(strstr(q.last, "api-key: qk\r\n") != NULL);
    json_t *body = json_loads(strstr(q.last, "\r\n\r\n") + 4, 0, NULL);
    json_t *wanted = quoted("{'query':[1,0.5],'limit':3,'with_payload':true,'with_vector':true,'filter':{'must':["
                            "{'must':[{'key':'a','match':{'value':1}}]},{'key':'namespace','match':{'value':'n'}}]}}");
    CHECK(json_equal(body, wanted));
    json_decref(body);
    json_decref(wanted);
    q.answer = "{\"result\":[{\"id\":1,\"score\":1}]}"; /* as older servers say it */
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}");
    CHECK_RESULT(&b, 0, "[{'id':'1','score':1,'metadata':null,'vector':null}]");
    q.answer = "{\"result\":{}}";
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_PROVIDER, "holds no points");
    q.answer = "!404 Not Found";
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_REFUSED, "the answer was 404");
    q.answer = "!503 Busy";
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_PROVIDER, "the answer was 503");
    q.answer =
        "{\"result\":{\"points\":[{\"id\":\"5d0c-u\",\"score\":1,\"payload\":{\"t\":1,\"sightline_id\":\"row 1\"}},"
        "{\"id\":9,\"score\":0.5,\"payload\":{\"sightline_id\":5}}]}}"; /* rows whose ids Qdrant does not take */
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}");
    CHECK_RESULT(&b, 0,
                 "[{'id':'row 1','score':1,'metadata':{'t':1},'vector':null},{'id':'9','score':0.5,'metadata':{},"
                 "'vector':null}]");
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1],'include_metadata':false}");
    CHECK_RESULT(&b, 0,
                 "[{'id':'row 1','score':1,'metadata':null,'vector':null},{'id':'9','score':0.5,'metadata':null,"
                 "'vector':null}]");
    CHECK(strstr(q.last, "\"with_payload\":[\"sightline_id\"]") != NULL);
    step_run(&b, VECTOR, "{'database':'qdrant','index':'','query':[1]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "index is missing");
    nf_server_stop(&q.server);
    step_run(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}");
    CHECK_EQ(b.error, SL_STEP_ERROR_PROVIDER);
    step_begin(&b, VECTOR, "{'database':'qdrant','index':'d','query':[1]}", "{}");
    sl_step_vector_kind.cancel(&b.attempt);
    CHECK_EQ(b.ends, 0);
    step_close(&b);
}
