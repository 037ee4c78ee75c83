/* Tests of the environment, the configuration and the resource. */
#include "src/telemetry/otel_config.h"

#include <stdio.h>

#include "src/telemetry/resource.h"
#include "src/telemetry/test_env_fixture.h"
#include "src/wire/otlp_read.h"

SL_TEST(the_table_is_sound)
{
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    CHECK(count > 80);
    for (size_t i = 0; i < count; i++) {
        CHECK(defs[i].name[0] && defs[i].help[0] && defs[i].group[0]);
        CHECK(sl_env_type_name(defs[i].type)[0]);
        CHECK((defs[i].type == SL_ENV_ENUM) <= (defs[i].values[0] != 0));
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(defs[i].name, defs[k].name) != 0);
    }
}

SL_TEST(defaults)
{
    loaded l;
    load(&l, NULL, NULL, false);
    CHECK_EQ(l.error, 0);
    CHECK_EQ(l.f.errors, 0);
    CHECK_EQ(l.config.sampler.kind, SL_SAMPLER_PARENTBASED_ALWAYS_ON);
    CHECK_EQ(l.config.batch[SL_SIGNAL_TRACES].schedule_delay_ms, 5000);
    CHECK_EQ(l.config.batch[SL_SIGNAL_LOGS].schedule_delay_ms, 1000);
    CHECK_EQ(l.config.batch[SL_SIGNAL_TRACES].max_batch_items, 512);
    CHECK_EQ(l.config.batch[SL_SIGNAL_TRACES].max_queue_items, 2048);
    CHECK_EQ(l.config.batch[SL_SIGNAL_LOGS].export_timeout_ms, 30000);
    CHECK_EQ(l.config.metric_interval_ms, 60000);
    CHECK_EQ(l.config.propagators, SL_PROPAGATE_TRACECONTEXT | SL_PROPAGATE_BAGGAGE);
    CHECK_EQ(l.config.log_level, SL_INFO);
    CHECK_EQ(l.config.spec_count, 3);
    for (size_t i = 0; i < 3; i++) {
        CHECK(kind_is(&l.config.specs[i], "otlp"));
        CHECK_EQ(l.config.specs[i].protocol, SL_OTLP_HTTP_PROTOBUF);
        CHECK_EQ(l.config.specs[i].timeout_ms, 10000);
    }
    CHECK_STR(l.config.specs[0].peer.url, "http://localhost:4318/v1/traces");
    CHECK_STR(l.config.specs[1].peer.url, "http://localhost:4318/v1/metrics");
    CHECK_STR(l.config.specs[2].peer.url, "http://localhost:4318/v1/logs");
    unload(&l);
    load(&l, NULL, NULL, true);
    CHECK_EQ(l.config.spec_count, 0);
    unload(&l);
}

SL_TEST(endpoints)
{
    static const struct {
        const char *var;
        const char *protocol;
        const char *endpoint;
        sl_otlp_protocol is;
    } table[] = {
        {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", NULL, "http://c:4318/v1/traces", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/", NULL, "http://c:4318/v1/traces", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=https://c/base/", NULL, "https://c/base/v1/traces", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=https://c/base", NULL, "https://c/base/v1/traces", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318", NULL, "http://c:4318/", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:1/x", NULL, "http://c:1/x", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", NULL, "http://c:4317", SL_OTLP_GRPC},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317/v1/traces", NULL, "http://c:4317", SL_OTLP_GRPC},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
         "http://c:4317/v1/traces", SL_OTLP_HTTP_PROTOBUF},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=c:9000", "OTEL_EXPORTER_OTLP_PROTOCOL=GRPC", "https://c:9000", SL_OTLP_GRPC},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=c:9000", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/json",
         "http://c:9000/v1/traces", SL_OTLP_HTTP_JSON},
        {"X=", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "http://localhost:4317", SL_OTLP_GRPC},
        {"OTEL_EXPORTER_OTLP_ENDPOINT=http://[::1]:4317", NULL, "http://[::1]:4317", SL_OTLP_GRPC},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        loaded l;
        load(&l, VARS(table[i].var, table[i].protocol), NULL, false);
        CHECK_EQ(l.error, 0);
        CHECK_STR(l.config.specs[0].peer.url, table[i].endpoint);
        CHECK_EQ(l.config.specs[0].protocol, table[i].is);
        unload(&l);
    }
    loaded l;
    load(&l,
         VARS("OTEL_EXPORTER_OTLP_ENDPOINT=c:9000", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
              "OTEL_EXPORTER_OTLP_INSECURE=true"),
         NULL, false);
    CHECK_STR(l.config.specs[0].peer.url, "http://c:9000");
    unload(&l);
    load(&l, VARS("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317"), NULL, true);
    CHECK_EQ(l.f.notes, 1); /* said once */
    CHECK_EQ(l.config.spec_count, 3);
    unload(&l);
    load(&l, VARS("OTEL_EXPORTER_OTLP_ENDPOINT=ftp://c"), NULL, false);
    CHECK(l.f.errors > 0);
    CHECK_STR(l.config.specs[0].peer.url, "http://localhost:4318/v1/traces");
    unload(&l);
}

SL_TEST(otlp_details)
{
    loaded l;
    load(&l,
         VARS("OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20a%3Db, x = 1 ,bad,y=%zz,",
              "OTEL_EXPORTER_OTLP_TIMEOUT=77", "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT=0",
              "OTEL_EXPORTER_OTLP_COMPRESSION=GZIP", "OTEL_EXPORTER_OTLP_METRICS_COMPRESSION=none",
              "OTEL_EXPORTER_OTLP_CERTIFICATE=/ca", "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE=/tca",
              "OTEL_EXPORTER_OTLP_CLIENT_KEY=/k"),
         NULL, false);
    const sl_exporter_spec *s = l.config.specs;
    CHECK_EQ(s[0].peer.header_count, 2);
    CHECK_STR(s[0].peer.headers[0].name, "authorization");
    CHECK_STR(s[0].peer.headers[0].value, "Bearer a=b");
    CHECK_STR(s[0].peer.headers[1].name, "x");
    CHECK_STR(s[0].peer.headers[1].value, "1");
    CHECK(strstr(l.f.last, "zz") == NULL);
    CHECK(l.f.errors > 0);
    CHECK_EQ(s[0].timeout_ms, 77);
    CHECK_EQ(s[2].timeout_ms, 0);
    CHECK(s[0].peer.gzip && !s[1].peer.gzip && s[2].peer.gzip);
    CHECK_STR(s[0].peer.ca_file, "/tca");
    CHECK_STR(s[1].peer.ca_file, "/ca");
    CHECK_STR(s[1].peer.client_key_file, "/k");
    CHECK_EQ(s[1].peer.client_certificate_file.len, 0);
    unload(&l);
}

SL_TEST(lists_of_exporters)
{
    loaded l;
    load(&l,
         VARS("OTEL_TRACES_EXPORTER=console, OTLP,pigeon", "OTEL_METRICS_EXPORTER=none",
              "OTEL_LOGS_EXPORTER=otlp/stdout,file", "SIGHTLINE_EXPORTER_FILE=/tmp/x.jsonl"),
         NULL, true);
    CHECK_EQ(l.error, 0);
    REQUIRE(l.config.spec_count == 4);
    CHECK(kind_is(&l.config.specs[0], "console"));
    CHECK(kind_is(&l.config.specs[1], "otlp"));
    CHECK(kind_is(&l.config.specs[2], "otlp/stdout"));
    CHECK(kind_is(&l.config.specs[3], "file"));
    CHECK_STR(l.config.specs[3].path, "/tmp/x.jsonl");
    CHECK_EQ(l.f.errors, 1);
    CHECK(strstr(l.f.last, "pigeon") != NULL);
    unload(&l);
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.no_default_exporters = true;
    load(&l, VARS("OTEL_TRACES_EXPORTER=console"), &o, false);
    CHECK_EQ(l.config.spec_count, 0);
    unload(&l);
}

SL_TEST(samplers_in_order)
{
    static const struct {
        const char *vars[4];
        sl_sampler_kind kind;
        double ratio;
    } table[] = {
        {{"OTEL_TRACES_SAMPLER=Always_Off", "ROUTEIQ_OTEL_TRACES_SAMPLER=always_on"}, SL_SAMPLER_ALWAYS_OFF, 1},
        {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.25"}, SL_SAMPLER_TRACEIDRATIO, 0.25},
        {{"OTEL_TRACES_SAMPLER=traceidratio", "OTEL_TRACES_SAMPLER_ARG=2"}, SL_SAMPLER_TRACEIDRATIO, 1},
        {{"ROUTEIQ_OTEL_TRACES_SAMPLER=parentbased_traceidratio", "ROUTEIQ_OTEL_TRACES_SAMPLER_ARG=0.5",
          "LLMROUTER_OTEL_SAMPLE_RATE=0.1"},
         SL_SAMPLER_PARENTBASED_TRACEIDRATIO,
         0.5},
        {{"LLMROUTER_OTEL_SAMPLE_RATE=0.1"}, SL_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.1},
        {{"OTEL_TRACES_SAMPLER=xray", "LLMROUTER_OTEL_SAMPLE_RATE=0.1"}, SL_SAMPLER_PARENTBASED_TRACEIDRATIO, 0.1},
        {{"OTEL_TRACES_SAMPLER=", "LLMROUTER_OTEL_SAMPLE_RATE=x"}, SL_SAMPLER_PARENTBASED_ALWAYS_ON, 0},
        {{"LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=1", "LLAMA_DEPLOY_APISERVER_TRACING_SAMPLE_RATE=0.3"},
         SL_SAMPLER_PARENTBASED_TRACEIDRATIO,
         0.3},
        {{"LLAMA_DEPLOY_APISERVER_TRACING_SAMPLE_RATE=0.3"}, SL_SAMPLER_PARENTBASED_ALWAYS_ON, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        loaded l;
        load(&l, table[i].vars, NULL, true);
        CHECK_EQ(l.config.sampler.kind, table[i].kind);
        CHECK(l.config.sampler.ratio == table[i].ratio);
        unload(&l);
    }
    sl_sdk_options o;
    memset(&o, 0, sizeof o);
    o.sampler.kind = SL_SAMPLER_ALWAYS_ON;
    loaded l;
    load(&l, VARS("OTEL_TRACES_SAMPLER=always_off"), &o, true);
    CHECK_EQ(l.config.sampler.kind, SL_SAMPLER_ALWAYS_ON);
    unload(&l);
}

SL_TEST(llama_deploy)
{
    loaded l;
    load(&l, VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true"), NULL, true);
    REQUIRE(l.config.spec_count == 1);
    CHECK(kind_is(&l.config.specs[0], "console"));
    unload(&l);
    load(&l,
         VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=otlp",
              "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=http://j:4317/v1/traces",
              "LLAMA_DEPLOY_APISERVER_TRACING_TIMEOUT=1.5"),
         NULL, true);
    REQUIRE(l.config.spec_count == 1);
    CHECK_EQ(l.config.specs[0].protocol, SL_OTLP_GRPC);
    CHECK_STR(l.config.specs[0].peer.url, "http://j:4317");
    CHECK_EQ(l.config.specs[0].timeout_ms, 1500);
    unload(&l);
    load(&l,
         VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=otlp",
              "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=http://j:4318", "OTEL_METRICS_EXPORTER=console"),
         NULL, true);
    CHECK_EQ(l.config.spec_count, 2);
    CHECK_STR(l.config.specs[0].peer.url, "http://j:4318/v1/traces");
    unload(&l);
    static const char *const bad[] = {"zipkin", "otlp"}; /* no exporter of that guide; no endpoint */
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[80] = "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=";
        strcat(text, bad[i]);
        load(&l, VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true", text), NULL, true);
        CHECK_EQ(l.error, SL_ECONFIG);
        CHECK(strstr(l.config.why, "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER") != NULL);
        unload(&l);
    }
    load(&l,
         VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=zipkin",
              "OTEL_TRACES_EXPORTER=none"),
         NULL, true);
    CHECK_EQ(l.error, 0);
    CHECK_EQ(l.config.spec_count, 0);
    unload(&l);
}

SL_TEST(values_that_cannot_be_read)
{
    loaded l;
    load(&l,
         VARS("OTEL_BSP_SCHEDULE_DELAY=-5", "OTEL_BSP_EXPORT_TIMEOUT=fast", "OTEL_SDK_DISABLED=yes", "LOG_LEVEL=loud",
              "OTEL_PROPAGATORS=b3,ufo", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=9999", "OTEL_SPAN_EVENT_COUNT_LIMIT=x"),
         NULL, true);
    CHECK_EQ(l.error, 0);
    CHECK_EQ(l.f.errors, 7);
    CHECK(!l.config.disabled);
    CHECK_EQ(l.config.batch[SL_SIGNAL_TRACES].schedule_delay_ms, 5000);
    CHECK_EQ(l.config.batch[SL_SIGNAL_TRACES].export_timeout_ms, 30000);
    CHECK_EQ(l.config.batch[SL_SIGNAL_TRACES].max_batch_items, 2048);
    CHECK_EQ(l.config.log_level, SL_INFO);
    CHECK_EQ(l.config.propagators, SL_PROPAGATE_B3);
    CHECK_EQ(l.config.span_limits.event_count, 128);
    unload(&l);
    load(&l,
         VARS("OTEL_SDK_DISABLED=TRUE", "LOG_LEVEL=warning", "LOG_FORMAT=JSON", "OTEL_PROPAGATORS=none",
              "OTEL_ATTRIBUTE_COUNT_LIMIT=7", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT=9"),
         NULL, false);
    CHECK_EQ(l.f.errors, 0);
    CHECK(l.config.disabled);
    CHECK_EQ(l.config.log_level, SL_WARN);
    CHECK_EQ(l.config.log_format, SL_LOG_JSON);
    CHECK_EQ(l.config.propagators, 0);
    CHECK_EQ(l.config.span_limits.attr_count, 7);
    CHECK_EQ(l.config.log_limits.attr_count, 9);
    unload(&l);
}

/* ---- resource ---- */

static sl_str resource_attr(const sl_buf *resource, const char *key)
{
    sl_otlp_any any;
    if (sl_otlp_find_attr(sl_buf_str(resource), SL_OTLP_RESOURCE_ATTRS, sl_str_c(key), &any))
        return SL_STR("(none)");
    return any.str;
}

static void encode(sl_buf *out, const char *const *vars, const sl_resource_options *o, unsigned *errors)
{
    static const sl_resource_options none;
    fake f = {.vars = vars};
    sl_env env = {fake_get, &f, false, sl_reporter_new(fake_error, &f, false)};
    sl_buf_init(out, SL_MAX_RESOURCE_BYTES);
    CHECK_EQ(sl_resource_encode(&env, o ? o : &none, out), 0);
    sl_reporter_unref(env.reporter);
    *errors = f.errors;
}

SL_TEST(resource_precedence)
{
    sl_buf r;
    unsigned errors;
    encode(&r, NULL, NULL, &errors);
    CHECK(sl_str_starts(resource_attr(&r, "service.name"), SL_STR("unknown_service:")));
    CHECK_STR(resource_attr(&r, "telemetry.sdk.name"), "sightline");
    CHECK_STR(resource_attr(&r, "telemetry.sdk.language"), "c");
    CHECK_EQ(resource_attr(&r, "service.instance.id").len, 36);
    sl_buf_done(&r);
    sl_resource_options o = {.default_service_name = "fallback"};
    encode(&r, NULL, &o, &errors);
    CHECK_STR(resource_attr(&r, "service.name"), "fallback");
    sl_buf_done(&r);
    encode(&r, VARS("OTEL_RESOURCE_ATTRIBUTES=service.name=a,team%2Cx=b%20c, k = v "), &o, &errors);
    CHECK_STR(resource_attr(&r, "service.name"), "a");
    CHECK_STR(resource_attr(&r, "team,x"), "b c");
    CHECK_STR(resource_attr(&r, "k"), "v");
    CHECK_EQ(sl_otlp_count(sl_buf_str(&r), SL_OTLP_RESOURCE_ATTRS), 10);
    sl_buf_done(&r);
    sl_attr own[] = {sl_attr_str("k", "own"), sl_attr_int("n", 5)};
    o = (sl_resource_options){.service_name = "own", .attrs = own, .attr_count = 2};
    encode(&r, VARS("OTEL_RESOURCE_ATTRIBUTES=service.name=a,k=v", "OTEL_SERVICE_NAME=b"), &o, &errors);
    CHECK_STR(resource_attr(&r, "service.name"), "own");
    CHECK_STR(resource_attr(&r, "k"), "own");
    sl_buf_done(&r);
    encode(&r, VARS("OTEL_RESOURCE_ATTRIBUTES=service.name=a", "OTEL_SERVICE_NAME=b"), NULL, &errors);
    CHECK_STR(resource_attr(&r, "service.name"), "b");
    CHECK_EQ(errors, 0);
    sl_buf_done(&r);
}

SL_TEST(one_mistake_discards_all_resource_attributes)
{
    static const char *const bad[] = {"OTEL_RESOURCE_ATTRIBUTES=a=b,c",     "OTEL_RESOURCE_ATTRIBUTES=a=b,=c",
                                      "OTEL_RESOURCE_ATTRIBUTES=a=b,c=%g0", "OTEL_RESOURCE_ATTRIBUTES=a=b,c=%4",
                                      "OTEL_RESOURCE_ATTRIBUTES=a=b,,c=d",  "OTEL_RESOURCE_ATTRIBUTES=a=b,%ff=d"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sl_buf r;
        unsigned errors;
        encode(&r, VARS(bad[i]), NULL, &errors);
        CHECK_STR(resource_attr(&r, "a"), "(none)");
        CHECK_EQ(errors, 1);
        sl_buf_done(&r);
    }
}

/* ---- jaeger and zipkin ---- */

SL_TEST(jaeger_and_zipkin_endpoints)
{
    static const struct {
        const char *exporter, *var, *url;
        bool reported;
    } table[] = {
        {"jaeger", NULL, "http://localhost:14268/api/traces", false},
        {"Jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT=", "http://localhost:14268/api/traces", false},
        {"jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT=j:14268", "http://j:14268/api/traces", false},
        {"jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT=http://j:14268/", "http://j:14268/api/traces", false},
        {"jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT=https://j/x?format=jaeger.thrift", "https://j/x?format=jaeger.thrift",
         false},
        {"jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT=http://[::1]:14268", "http://[::1]:14268/api/traces", false},
        {"jaeger", "OTEL_EXPORTER_JAEGER_ENDPOINT=udp://j:6831", "http://localhost:14268/api/traces", true},
        {"zipkin", NULL, "http://localhost:9411/api/v2/spans", false},
        {"zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT=z:9411", "http://z:9411/api/v2/spans", false},
        {"zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT=http://z/other", "http://z/other", false},
        {"zipkin", "OTEL_EXPORTER_ZIPKIN_ENDPOINT=a b", "http://localhost:9411/api/v2/spans", true},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char exporter[64];
        loaded l;
        (void)snprintf(exporter, sizeof exporter, "OTEL_TRACES_EXPORTER=%s", table[i].exporter);
        load(&l, VARS(exporter, table[i].var), NULL, true);
        CHECK_EQ(l.error, 0);
        REQUIRE(l.config.spec_count == 1);
        CHECK_EQ(l.config.specs[0].signal, SL_SIGNAL_TRACES);
        CHECK_STR(l.config.specs[0].peer.url, table[i].url);
        CHECK_EQ(l.config.specs[0].timeout_ms, 10000);
        CHECK_EQ(l.config.specs[0].peer.header_count, 0);
        CHECK_EQ(l.f.errors > 0, table[i].reported);
        unload(&l);
    }
}

SL_TEST(jaeger_and_zipkin_details)
{
    loaded l;
    load(&l,
         VARS("OTEL_TRACES_EXPORTER=jaeger,zipkin,jaeger", "OTEL_EXPORTER_JAEGER_USER=Aladdin",
              "OTEL_EXPORTER_JAEGER_PASSWORD=open sesame", "OTEL_EXPORTER_JAEGER_TIMEOUT=5",
              "OTEL_EXPORTER_ZIPKIN_TIMEOUT=0"),
         NULL, true);
    CHECK_EQ(l.config.spec_count, 2);
    CHECK(kind_is(&l.config.specs[0], "jaeger") && kind_is(&l.config.specs[1], "zipkin"));
    REQUIRE(l.config.specs[0].peer.header_count == 1);
    CHECK_STR(l.config.specs[0].peer.headers[0].name, "authorization");
    CHECK_STR(l.config.specs[0].peer.headers[0].value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    CHECK_EQ(l.config.specs[0].timeout_ms, 5);
    CHECK_EQ(l.config.specs[1].timeout_ms, 0);
    CHECK_EQ(l.config.specs[1].peer.header_count, 0);
    unload(&l);
    /* A password that is too long is said without itself. */
    static char password[2000];
    (void)snprintf(password, sizeof password, "OTEL_EXPORTER_JAEGER_PASSWORD=%01500d", 7);
    load(&l, VARS("OTEL_TRACES_EXPORTER=jaeger", "OTEL_EXPORTER_JAEGER_USER=u", password), NULL, true);
    CHECK_EQ(l.error, 0);
    CHECK_EQ(l.f.errors, 1);
    CHECK(strstr(l.f.last, "OTEL_EXPORTER_JAEGER_USER") && !strstr(l.f.last, "0007"));
    CHECK_EQ(l.config.specs[0].peer.header_count, 0);
    unload(&l);
    /* Neither takes metrics or logs. */
    load(&l, VARS("OTEL_METRICS_EXPORTER=jaeger", "OTEL_LOGS_EXPORTER=zipkin"), NULL, true);
    CHECK_EQ(l.config.spec_count, 0);
    CHECK(l.f.errors > 0);
    unload(&l);
}

SL_TEST(the_guides_jaeger)
{
    static const struct {
        const char *endpoint, *insecure, *url;
    } table[] = {
        {"LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=localhost:14268", NULL, "http://localhost:14268/api/traces"},
        {NULL, NULL, "http://localhost:14268/api/traces"},
        {"LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=http://j:14268/api/traces", NULL, "http://j:14268/api/traces"},
        {"LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=j:14268", "LLAMA_DEPLOY_APISERVER_TRACING_INSECURE=false",
         "https://j:14268/api/traces"},
        {"LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=http://j:1", "LLAMA_DEPLOY_APISERVER_TRACING_INSECURE=false",
         "http://j:1/api/traces"},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        const char *endpoint = table[i].endpoint ? table[i].endpoint : "X=";
        loaded l;
        load(&l,
             VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=jaeger",
                  "LLAMA_DEPLOY_APISERVER_TRACING_TIMEOUT=2", endpoint, table[i].insecure),
             NULL, true);
        CHECK_EQ(l.error, 0);
        REQUIRE(l.config.spec_count == 1);
        CHECK(kind_is(&l.config.specs[0], "jaeger"));
        CHECK_STR(l.config.specs[0].peer.url, table[i].url);
        CHECK_EQ(l.config.specs[0].timeout_ms, 2000);
        unload(&l);
    }
    loaded l;
    load(&l,
         VARS("LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true", "LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER=jaeger",
              "LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT=udp://j:6831"),
         NULL, true);
    CHECK_EQ(l.error, SL_ECONFIG);
    CHECK(strstr(l.config.why, "localhost:14268") != NULL);
    unload(&l);
}
