/*
 * Kubernetes manifests: for each guide a Deployment with the guide's probes, its Service, and what Prometheus needs to
 * find it.
 */
#include "src/cli/gen.h"

/* A probe; times in seconds, 0: the guide does not say. */
typedef struct probe {
    const char *path;
    int initial, period, timeout, failures;
} probe;

typedef struct workload {
    const char *name, *label, *container, *file;
    const char *command; /* what the container runs besides the listeners */
    probe live, ready;
    const char *monitor; /* name of the ServiceMonitor; NULL: the guide has none */
    const char *note;
} workload;

static const workload workloads[] = {
    {"llm-orchestrator",
     "llm-orchestrator",
     "orchestrator",
     "llm-orchestrator.yaml",
     "up",
     {"/health/live", 5, 10, 0, 0},
     {"/health/ready", 10, 5, 0, 0},
     NULL,
     "# Workflows, gateway and queue in one process. kubectl create secret generic llm-orchestrator \\\n"
     "#   --from-literal=LITELLM_MASTER_KEY=...\n"},
    {"llamastack",
     "llamastack",
     "llamastack",
     "llamastack.yaml",
     "gateway",
     {"/health", 30, 10, 5, 3},
     {"/ready", 5, 5, 3, 3},
     "llamastack-monitor",
     "# The gateway in front of a LlamaStack server, whose address stands in the ConfigMap. The ServiceMonitor needs "
     "the\n"
     "# Prometheus operator. kubectl create secret generic llamastack --from-literal=LITELLM_MASTER_KEY=...\n"},
};
#define WORKLOADS (sizeof workloads / sizeof workloads[0])

static size_t count(void)
{
    return WORKLOADS;
}

static const char *item(size_t index)
{
    SL_ASSERT(index < WORKLOADS);
    return workloads[index].name;
}

static const char *file(size_t index)
{
    SL_ASSERT(index < WORKLOADS);
    return workloads[index].file;
}

static void put_number(sl_buf *out, const char *name, int value)
{
    if (value)
        (void)sl_buf_printf(out, "          %s: %d\n", name, value);
}

static void put_probe(sl_buf *out, const char *name, const probe *p)
{
    SL_ASSERT(out && p->path);
    (void)sl_buf_printf(out, "        %s:\n          httpGet:\n            path: %s\n            port: 8080\n", name,
                        p->path);
    put_number(out, "initialDelaySeconds", p->initial);
    put_number(out, "periodSeconds", p->period);
    put_number(out, "timeoutSeconds", p->timeout);
    put_number(out, "failureThreshold", p->failures);
}

static void put_config(sl_buf *out, const workload *w)
{
    (void)sl_buf_printf(out,
                        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\n  labels:\n    app: %s\ndata:\n"
                        "  config.yaml: |\n    model_list:\n    - model_name: local\n      litellm_params:\n"
                        "        model: openai/local\n        api_base: http://llm-server:8321/v1\n"
                        "    general_settings:\n      master_key: os.environ/LITELLM_MASTER_KEY\n",
                        w->name, w->label);
}

static void put_container(sl_buf *out, const workload *w)
{
    SL_ASSERT(out && w);
    (void)sl_buf_printf(out,
                        "      - name: %s\n        image: sightline:" SL_VERSION_STRING "\n"
                        "        args:\n        - %s\n        - --config=/etc/sightline/config.yaml\n"
                        "        - --gateway-listen=0.0.0.0:4000\n        - --metrics-listen=0.0.0.0:9000\n"
                        "        - --health-listen=0.0.0.0:8080\n        - --data-dir=/var/lib/sightline\n"
                        "        envFrom:\n        - secretRef:\n            name: %s\n"
                        "        env:\n        - name: OTEL_SERVICE_NAME\n          value: %s\n"
                        "        - name: LOG_LEVEL\n          value: \"info\"\n"
                        "        - name: LOG_FORMAT\n          value: \"json\"\n"
                        "        ports:\n        - name: http\n          containerPort: 4000\n"
                        "        - name: metrics\n          containerPort: 9000\n"
                        "        - name: health\n          containerPort: 8080\n",
                        w->container, w->command, w->name, w->name);
    put_probe(out, "livenessProbe", &w->live);
    put_probe(out, "readinessProbe", &w->ready);
    (void)sl_buf_put_c(out,
                       "        securityContext:\n          allowPrivilegeEscalation: false\n"
                       "          readOnlyRootFilesystem: true\n          runAsNonRoot: true\n"
                       "          runAsUser: 65532\n          capabilities:\n            drop:\n            - ALL\n"
                       "        volumeMounts:\n        - name: config\n          mountPath: /etc/sightline\n"
                       "        - name: data\n          mountPath: /var/lib/sightline\n");
}

/* Longer than the program's own patience when it drains. */
#define GRACE_SECONDS 45

static void put_deployment(sl_buf *out, const workload *w)
{
    SL_ASSERT(out && w);
    (void)sl_buf_printf(out,
                        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: %s\n  labels:\n    app: %s\n"
                        "spec:\n  replicas: 1\n  selector:\n    matchLabels:\n      app: %s\n  template:\n"
                        "    metadata:\n      labels:\n        app: %s\n    spec:\n"
                        "      terminationGracePeriodSeconds: %d\n"
                        "      securityContext:\n        fsGroup: 65532\n      containers:\n",
                        w->name, w->label, w->label, w->label, GRACE_SECONDS);
    put_container(out, w);
    (void)sl_buf_printf(out,
                        "      volumes:\n      - name: config\n        configMap:\n          name: %s\n"
                        "      - name: data\n        emptyDir: {}\n",
                        w->name);
}

static void put_service(sl_buf *out, const workload *w)
{
    (void)sl_buf_printf(out,
                        "---\napiVersion: v1\nkind: Service\nmetadata:\n  name: %s\n  labels:\n    app: %s\nspec:\n"
                        "  selector:\n    app: %s\n  ports:\n  - name: http\n    port: 4000\n    targetPort: http\n"
                        "  - name: metrics\n    port: 9000\n    targetPort: metrics\n",
                        w->name, w->label, w->label);
}

static void put_monitor(sl_buf *out, const workload *w)
{
    if (w->monitor)
        (void)sl_buf_printf(out,
                            "---\napiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata:\n  name: %s\n"
                            "spec:\n  selector:\n    matchLabels:\n      app: %s\n  endpoints:\n  - port: metrics\n"
                            "    interval: 30s\n    path: /metrics\n",
                            w->monitor, w->label);
}

static int print(size_t index, sl_buf *out)
{
    SL_ASSERT(index < WORKLOADS);
    const workload *w = &workloads[index];
    (void)sl_buf_printf(out, "# Made by `sightline gen kubernetes %s`.\n%s", w->name, w->note);
    put_config(out, w);
    put_deployment(out, w);
    put_service(out, w);
    put_monitor(out, w);
    return out->failed;
}

static int print_all(sl_buf *out)
{
    for (size_t i = 0; i < WORKLOADS; i++) {
        if (i)
            (void)sl_buf_put_c(out, "---\n");
        (void)print(i, out);
    }
    return out->failed;
}

const sl_gen_kind sl_gen_kubernetes = {"kubernetes", "kubernetes", count, item, file, print, print_all};
