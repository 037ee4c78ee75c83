/*
 * Docker Compose for llama.cpp: llama-server under `sightline exec`, Jaeger, Prometheus and Grafana, on the ports that
 * the llama.cpp guide names. Prometheus takes the alert rules of set s2, Grafana the dashboards, from where they are.
 */
#include "src/cli/gen.h"

#define JOB "llama-cpp" /* as the rules of set s2 have it */
#define MADE(name) "# Made by `sightline gen compose " name "`.\n"

static const struct {
    const char *name, *file, *text;
} files[] = {
    {"compose", "compose.yaml",
     MADE("compose") "# MODEL=tiny.gguf MODELS=/folder/with/models docker compose -f deploy/compose/compose.yaml up "
                     "--build\n"
                     "name: sightline-llama\n"
                     "services:\n"
                     "  llama-server:\n"
                     "    build:\n"
                     "      context: ../..\n"
                     "      dockerfile: deploy/compose/Dockerfile\n"
                     "    command: [\"-m\", \"/models/${MODEL:-model.gguf}\", \"--host\", \"0.0.0.0\", \"--port\", "
                     "\"8080\"]\n"
                     "    environment:\n"
                     "      OTEL_SERVICE_NAME: \"llama-cpp\"\n"
                     "      OTEL_EXPORTER_OTLP_ENDPOINT: \"http://jaeger:4317\"\n"
                     "      OTEL_METRICS_EXPORTER: \"none\"\n"
                     "      OTEL_LOGS_EXPORTER: \"none\"\n"
                     "      SIGHTLINE_METRICS_LISTEN: \"0.0.0.0:9464\"\n"
                     "      SIGHTLINE_QUOTAS: \"${SIGHTLINE_QUOTAS:-}\"\n"
                     "    ports:\n"
                     "      - \"8080:8080\"\n"
                     "      - \"9464:9464\"\n"
                     "    volumes:\n"
                     "      - \"${MODELS:-./models}:/models:ro\"\n"
                     "    depends_on:\n"
                     "      - jaeger\n"
                     "    restart: unless-stopped\n"
                     "  jaeger:\n"
                     "    image: \"jaegertracing/jaeger:2.13.0\"\n"
                     "    ports:\n"
                     "      - \"16686:16686\"\n"
                     "    restart: unless-stopped\n"
                     "  prometheus:\n"
                     "    image: \"prom/prometheus:v3.5.0\"\n"
                     "    ports:\n"
                     "      - \"9090:9090\"\n"
                     "    volumes:\n"
                     "      - \"./prometheus.yml:/etc/prometheus/prometheus.yml:ro\"\n"
                     "      - \"../prometheus/llamacpp.rules.yml:/etc/prometheus/llamacpp.rules.yml:ro\"\n"
                     "      - \"prometheus-data:/prometheus\"\n"
                     "    depends_on:\n"
                     "      - llama-server\n"
                     "    restart: unless-stopped\n"
                     "  grafana:\n"
                     "    image: \"grafana/grafana:12.1.0\"\n"
                     "    environment:\n"
                     "      GF_SECURITY_ADMIN_PASSWORD: \"${GRAFANA_PASSWORD:-admin}\"\n"
                     "    ports:\n"
                     "      - \"3000:3000\"\n"
                     "    volumes:\n"
                     "      - \"./datasources.yaml:/etc/grafana/provisioning/datasources/sightline.yaml:ro\"\n"
                     "      - \"./dashboards.yaml:/etc/grafana/provisioning/dashboards/sightline.yaml:ro\"\n"
                     "      - \"../grafana/llama_cpp.json:/var/lib/grafana/dashboards/llama_cpp.json:ro\"\n"
                     "    depends_on:\n"
                     "      - prometheus\n"
                     "    restart: unless-stopped\n"
                     "volumes:\n"
                     "  prometheus-data: {}\n"},
    {"dockerfile", "Dockerfile",
     MADE("dockerfile") "# llama.cpp's own image, with Sightline in front of its server. The first stage is an older "
                        "system than that\n"
                        "# image's, so that what it builds runs there.\n"
                        "FROM ubuntu:22.04 AS build\n"
                        "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "
                        "--no-install-recommends \\\n"
                        "    gcc g++ cmake ninja-build pkg-config libuv1-dev libnghttp2-dev libssl-dev "
                        "libcurl4-openssl-dev \\\n"
                        "    zlib1g-dev libyaml-dev libjansson-dev libsqlite3-dev\n"
                        "COPY . /src\n"
                        "RUN cmake -G Ninja -S /src -B /build -DCMAKE_BUILD_TYPE=Release "
                        "-DCMAKE_INSTALL_PREFIX=/usr/local \\\n"
                        "    && ninja -C /build && DESTDIR=/out cmake --install /build --strip\n"
                        "FROM ghcr.io/ggml-org/llama.cpp:server\n"
                        "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "
                        "--no-install-recommends \\\n"
                        "    libuv1 libnghttp2-14 libssl3 libcurl4 zlib1g libyaml-0-2 libjansson4 libsqlite3-0 \\\n"
                        "    && rm -rf /var/lib/apt/lists/*\n"
                        "COPY --from=build /out/usr/local /usr/local\n"
                        "EXPOSE 8080 9464\n"
                        "ENTRYPOINT [\"/usr/local/bin/sightline\", \"exec\", \"--\", \"/app/llama-server\"]\n"},
    {"dockerignore", "Dockerfile.dockerignore",
     MADE("dockerignore") "# What the image is not made of: history, and what has been built outside.\n.git\nbuild*\n"},
    {"prometheus", "prometheus.yml",
     MADE("prometheus") "global:\n"
                        "  scrape_interval: 5s\n"
                        "  evaluation_interval: 5s\n"
                        "rule_files:\n"
                        "  - llamacpp.rules.yml\n"
                        "scrape_configs:\n"
                        "  - job_name: " JOB "\n"
                        "    static_configs:\n"
                        "      - targets: [\"llama-server:9464\"]\n"},
    {"datasources", "datasources.yaml",
     MADE("datasources") "apiVersion: 1\n"
                         "datasources:\n"
                         "  - name: Prometheus\n"
                         "    type: prometheus\n"
                         "    uid: prometheus\n"
                         "    url: \"http://prometheus:9090\"\n"
                         "    isDefault: true\n"
                         "    jsonData:\n"
                         "      exemplarTraceIdDestinations:\n"
                         "        - name: trace_id\n"
                         "          datasourceUid: jaeger\n"
                         "  - name: Jaeger\n"
                         "    type: jaeger\n"
                         "    uid: jaeger\n"
                         "    url: \"http://jaeger:16686\"\n"},
    {"dashboards", "dashboards.yaml",
     MADE("dashboards") "apiVersion: 1\n"
                        "providers:\n"
                        "  - name: sightline\n"
                        "    type: file\n"
                        "    options:\n"
                        "      path: /var/lib/grafana/dashboards\n"},
};
#define FILES (sizeof files / sizeof files[0])

static size_t count(void)
{
    return FILES;
}

static const char *item(size_t index)
{
    SL_ASSERT(index < FILES);
    return files[index].name;
}

static const char *file(size_t index)
{
    SL_ASSERT(index < FILES);
    return files[index].file;
}

static int print(size_t index, sl_buf *out)
{
    SL_ASSERT(index < FILES);
    return sl_buf_put_c(out, files[index].text);
}

/* Six files of several kinds are no one file: each is preceded by its name. */
static int print_all(sl_buf *out)
{
    for (size_t i = 0; i < FILES; i++)
        (void)sl_buf_printf(out, "%s# ---- %s ----\n%s", i ? "\n" : "", files[i].file, files[i].text);
    return out->failed;
}

const sl_gen_kind sl_gen_compose = {"compose", "compose", count, item, file, print, print_all};
