/*
 * Configuration of the gateway: a LiteLLM config.yaml as it is, plus a `sightline:` section of our own.
 *
 * Reading never prints: every fault becomes a diagnostic with file, line and column, all of them at once. Errors make
 * the configuration unusable; warnings (keys that are not known yet) do not. Secrets given as `os.environ/NAME` are
 * resolved at load time.
 */
#ifndef SL_LLM_CONFIG_H
#define SL_LLM_CONFIG_H

#include "src/base/arena.h"
#include "src/base/buf.h"
#include "src/base/str.h"

#define SL_MAX_DEPLOYMENTS 4096
#define SL_MAX_CONFIG_BYTES (8u * 1024 * 1024)
#define SL_MAX_DIAGNOSTICS 1000 /* of errors, and of warnings, that are kept; all are counted */

/* One entry of model_list. All views are NUL-terminated and live as long as the configuration. */
typedef struct sl_deployment {
    sl_str model_name;     /* what clients ask for */
    sl_str provider;       /* `openai` of `openai/gpt-4o`; `openai` when there is no prefix and an api_base */
    sl_str upstream_model; /* what the upstream is asked for */
    bool tls;
    sl_str host; /* without brackets */
    uint16_t port;
    sl_str base_path; /* "/v1", no trailing slash; endpoint paths such as "/chat/completions" are appended */
    sl_str api_key;   /* sent as Bearer; empty: none */
    sl_str ca_file;   /* PEM; empty: the system's */
    bool tls_insecure;
    bool include_usage;          /* add stream_options.include_usage when missing (default true) */
    bool propagate_tracestate;   /* default true */
    bool propagate_baggage;      /* default true */
    uint32_t timeout_ms;         /* whole request without progress; default 600000 */
    uint32_t stream_timeout_ms;  /* between two reads of a stream; default: timeout_ms */
    uint32_t connect_timeout_ms; /* default 10000 */
    bool has_price;              /* USD for one token, of litellm_params or model_info */
    double input_cost;
    double output_cost;
    double cache_read_cost; /* these two: below 0 when not given */
    double cache_write_cost;
    unsigned line; /* where it stands in the file */
} sl_deployment;

/* A health check of the `sightline.health_checks` list. */
typedef struct sl_health_check_config {
    sl_str name;
    sl_str kind;   /* memory http tcp disk */
    sl_str target; /* url, address or path */
    uint64_t limit_bytes;
    uint32_t timeout_ms;
    uint32_t interval_ms;
    unsigned line;
} sl_health_check_config;

typedef enum sl_diag_level { SL_DIAG_WARNING = 0, SL_DIAG_ERROR = 1 } sl_diag_level;

typedef struct sl_diagnostic {
    sl_diag_level level;
    unsigned line; /* 1-based; 0: the file as a whole */
    unsigned column;
    sl_str text; /* "what: why; remedy" */
    struct sl_diagnostic *next;
} sl_diagnostic;

typedef struct sl_config {
    sl_arena arena;
    sl_str path;
    sl_deployment *deployments;
    size_t deployment_count;
    /* Those whose protocol the gateway does not speak, but workflows do: provider anthropic at its own address. */
    sl_deployment *others;
    size_t other_count;
    sl_str master_key; /* general_settings.master_key or LITELLM_MASTER_KEY; empty: none configured */
    sl_health_check_config *health_checks;
    size_t health_check_count;
    /* sightline.listen.<name>: as the options of the same name; empty: not given. */
    struct {
        sl_str gateway, metrics, health, admin, otlp_grpc, otlp_http, ui, api, control, queue;
    } listen;
    uint32_t workers;                                                             /* 0: not given */
    uint32_t drain_timeout_ms;                                                    /* 0: not given */
    uint64_t max_body_bytes;                                                      /* 0: default */
    uint32_t head_timeout_ms, body_timeout_ms, idle_timeout_ms, write_timeout_ms; /* of clients; 0: default */
    sl_diagnostic *diagnostics;                                                   /* in file order */
    size_t error_count;
    size_t warning_count;
    int failed; /* SL_ENOMEM: something is missing for want of memory; such a configuration is not given out */
} sl_config;

/*
 * Reads a file. `*ret_config` is set also when there are errors in it (error_count > 0), so that they can be printed.
 * Errors: SL_EIO (cannot be read), SL_ETOOBIG, SL_ENOMEM; SL_ECONFIG with `*ret_config` set.
 */
int sl_config_load(const char *path, sl_config **ret_config);
/* The same from memory; `path` is for messages. */
int sl_config_parse(sl_str text, const char *path, sl_config **ret_config);
/* A configuration without a file: empty model list, nothing set. NULL without memory. */
sl_config *sl_config_empty(void);
/*
 * Adds a deployment from code, such as the built-in mock: fields are copied into the arena.
 * Errors: SL_ENOMEM, SL_ELIMIT.
 */
SL_MUST_CHECK int sl_config_add(sl_config *config, const sl_deployment *deployment);
/* The diagnostics as text, one a line: `FILE:LINE:COLUMN: error|warning: what: why; remedy`. The buffer's errors. */
int sl_config_format_diagnostics(const sl_config *config, sl_buf *out);
/* NULL is accepted. */
void sl_config_free(sl_config *config);

#endif
