/*
 * Every maximum of the code, in one place. A buffer, queue or set that is not bounded by one of these is a defect.
 */
#ifndef SL_BASE_LIMITS_H
#define SL_BASE_LIMITS_H

/* Attributes and values. */
#define SL_MAX_KEY_BYTES 255
#define SL_MAX_VALUE_DEPTH 64    /* nesting of arrays and maps in a value (OpenTelemetry: AttributeValueDepthLimit) */
#define SL_MAX_VALUE_MESSAGES 90 /* protobuf messages within a value: with 10 around it, what decoders accept */
#define SL_MAX_SPAN_BYTES (256u * 1024) /* one span or log record as OTLP */
#define SL_DEFAULT_ATTR_COUNT 128
#define SL_MAX_NAME_BYTES 1024   /* name of a span or an event; the rest is cut */
#define SL_MAX_STATUS_BYTES 4096 /* message of a span's status; the rest is cut */
#define SL_MAX_POOLED_SPANS 64   /* idle span objects that a thread keeps */

/* Propagation. */
#define SL_MAX_TRACESTATE_MEMBERS 32
#define SL_MAX_TRACESTATE_BYTES 512
#define SL_MAX_BAGGAGE_MEMBERS 64
#define SL_MAX_BAGGAGE_BYTES 8192

/* Segment. */
#define SL_SEGMENT_BYTES (256u * 1024 * 1024) /* address space, not memory: pages are touched as they are used */
#define SL_SEGMENT_MIN_BYTES (16u * 1024 * 1024)
#define SL_SEGMENT_THREADS 64
#define SL_SPAN_RING_BYTES (1u * 1024 * 1024)
#define SL_LOG_RING_BYTES (512u * 1024)
#define SL_RING_WAKE_BYTES (512u * 1024)      /* waiting in a ring: its reader is woken, at half of a smaller one */
#define SL_MAX_RING_BYTES (32u * 1024 * 1024) /* of a ring that is sized for a queue */
#define SL_QUEUED_SPAN_BYTES 512              /* of a span in a ring, about */
#define SL_QUEUED_LOG_BYTES 256
#define SL_PROGRAM_QUEUE_ITEMS 16384   /* spans, log records that wait in our own programs, which serve bursts */
#define SL_SEGMENT_CELLS (256u * 1024) /* metric cells of 8 bytes for each thread */
#define SL_MAX_SEGMENTS 256            /* that one pipeline reads */

/* Metrics. */
#define SL_MAX_SERIES 2000
#define SL_MAX_INSTRUMENTS 4096
#define SL_MAX_BOUNDS 128
#define SL_MAX_VIEWS 1024
#define SL_MAX_CALLBACKS 1024

/* HTTP. */
#define SL_MAX_HEAD_BYTES (32u * 1024)
#define SL_MAX_HEAD_FIELDS 100
#define SL_MAX_BODY_BYTES (64u * 1024 * 1024)
#define SL_MAX_CHUNK_LINE 1024
#define SL_MAX_TRAILER_BYTES 8192
#define SL_MAX_JSON_DEPTH 128
#define SL_MAX_SSE_FRAME_BYTES (4u * 1024 * 1024)
#define SL_MAX_URL_BYTES 8192
#define SL_MAX_LOOKUPS 16 /* host names that are being looked up at once */

#define SL_MAX_MULTIPART_PARTS 16 /* of one form */
#define SL_MAX_MULTIPART_HEAD_BYTES 4096

/* OTLP transport (opentelemetry-proto, specification.md: 64 MiB requests, 4 MiB answers). */
#define SL_MAX_OTLP_REQUEST_BYTES (64u * 1024 * 1024)
#define SL_MAX_OTLP_RESPONSE_BYTES (4u * 1024 * 1024)
#define SL_MAX_OTLP_SCOPES 1024 /* instrumentation scopes in one request */

/* Health. */
#define SL_MAX_HEALTH_CHECKS 64

/* Processes behind the gateway's port. */
#define SL_MAX_WORKERS 64

/* Control server (metrics, health, admin). */
#define SL_MAX_CTL_CONNECTIONS 64
#define SL_MAX_CTL_RESPONSE_BYTES (256u * 1024 * 1024)

/* HTTP client. */
#define SL_UPSTREAM_MAX_PASSING 256u /* origins without calls that requests have named */

/* Live view. */
#define SL_LIVE_TRACES 2000
#define SL_LIVE_BYTES (16u * 1024 * 1024)
#define SL_LIVE_POST_BYTES (8u * 1024 * 1024) /* spans that another process sends at once */

/* Calls to LLM providers. */
#define SL_MAX_LLM_ANSWER_BYTES (16u * 1024 * 1024)  /* body, or text of a stream */
#define SL_MAX_LLM_REQUEST_BYTES (32u * 1024 * 1024) /* body */
#define SL_MAX_LLM_MESSAGE_BYTES 512                 /* of a failure */

/* The probe. */
#define SL_PROBE_RING_BYTES (4u * 1024 * 1024) /* events of one host process on their way to the reader */
#define SL_PROBE_MAX_METRIC_HOSTS 256          /* that have a number of their own in labels; the rest share one */
#define SL_PROBE_MAX_METRIC_MODELS 64          /* names of models; the rest are "other" */
#define SL_PROBE_MAX_METRIC_CONTEXTS 32        /* of one host whose use is shown */
#define SL_PROBE_MAX_METRIC_SEQUENCES 256      /* of one context whose use is shown */
#define SL_PROBE_MAX_METRIC_DEVICES 32         /* pairs of use and device of one host's memory */
#define SL_PROBE_MAX_HOSTS 256                 /* instrumented processes under one `exec` at once */

#define SL_PROBE_MAX_FDS 65536u        /* descriptors of connections are below */
#define SL_PROBE_MAX_TLS 4096u         /* connections of TLS on memory, which have no descriptor of their own */
#define SL_PROBE_MAX_CONNECTIONS 2048u /* of one host's HTTP server at once, of those that are watched */

/* What the reader of one host's events remembers. */
#define SL_PROBE_MAX_MODELS 64
#define SL_PROBE_MAX_CONTEXTS 64
#define SL_PROBE_MAX_SEQUENCES 1024             /* of one context */
#define SL_PROBE_MAX_REQUESTS 4096              /* HTTP requests open at once */
#define SL_PROBE_MAX_ASKS 8192                  /* prompts that wait for, or have, a slot */
#define SL_PROBE_MAX_ASKS_EACH 1024             /* of one request */
#define SL_PROBE_MAX_TOKENS (8u * 1024 * 1024)  /* of prompts and of sequences' memory, kept for comparison */
#define SL_PROBE_MAX_PARTS 1024                 /* sequences in one batch */
#define SL_PROBE_MAX_BUFFERS 1024               /* pieces of backend memory */
#define SL_UPROBE_MAX_FILE (8ull << 30)         /* program or library whose symbols are read */
#define SL_UPROBE_MAX_CALLS 256                 /* threads within a call at once */
#define SL_UPROBE_MAX_SITES 256                 /* places that calls return to */
#define SL_UPROBE_MAX_FILES 8                   /* with llama.cpp in them, of one process */
#define SL_UPROBE_RING_BYTES (8u * 1024 * 1024) /* records on their way out of the kernel */
#define SL_PROBE_MAX_TIES 16                    /* requests among which one is sought */

/* Workflow files. */
#define SL_MAX_FLOW_BYTES (4u * 1024 * 1024)
#define SL_MAX_FLOW_VALUES 1000000u /* of a file, aliases written out */
#define SL_MAX_FLOW_STEPS 10000u    /* with those inside blocks */
#define SL_MAX_FLOW_BLOCK_DEPTH 16u /* of parallel, branch and loop steps in one another */
#define SL_MAX_FLOW_ID_BYTES 128u   /* id of a step, name of an output or a branch */
#define SL_MAX_FLOW_OUTPUTS 64u     /* names for the results of one step */
#define SL_MAX_FLOW_BRANCHES 256u   /* of one branch step */

/* Templates and expressions of workflows. */
#define SL_MAX_TEMPLATE_BYTES (1024u * 1024)             /* source */
#define SL_MAX_TEMPLATE_DEPTH 64                         /* blocks, and subexpressions, within one another */
#define SL_MAX_TEMPLATE_ROUNDS 1000000u                  /* of all loops of one rendering */
#define SL_MAX_TEMPLATE_STEPS 10000000u                  /* work of one rendering */
#define SL_MAX_TEMPLATE_OUTPUT_BYTES (16u * 1024 * 1024) /* one rendering */
#define SL_MAX_EXPR_BYTES (1024u * 1024)                 /* source */
#define SL_MAX_EXPR_DEPTH 64                             /* of an expression within itself */
#define SL_MAX_EXPR_STEPS 10000000u                      /* work of one evaluation */
#define SL_MAX_EXPR_TEXT_BYTES (16u * 1024 * 1024)       /* one text that is built */
#define SL_MAX_EXPR_BUILT_BYTES (64u * 1024 * 1024)      /* all that one evaluation builds */
#define SL_MAX_EXPR_ARGS 16                              /* of one call */
#define SL_MAX_REGEX_STATES 4096

/* The store's SQLite files. */
#define SL_DB_MAX_WAITING 65536u              /* jobs not yet begun */
#define SL_DB_MAX_GROUP 4096u                 /* jobs in one commit */
#define SL_DB_CACHE_BYTES (16u * 1024 * 1024) /* pages in memory, for each connection that writes */
#define SL_DB_LOG_PAGES 4096u                 /* of the write-ahead log before it is checkpointed */
#define SL_DB_BUSY_MS 10000                   /* wait for another process's lock */

/* Runs of workflows. */
#define SL_FLOW_DEFAULT_CONCURRENCY 4                /* tries of one run at once */
#define SL_FLOW_DEFAULT_TOTAL 4096                   /* tries of all runs at once */
#define SL_FLOW_DEFAULT_RUNS 4096                    /* under way; more are queued */
#define SL_FLOW_DEFAULT_QUEUED 65536                 /* runs that wait */
#define SL_FLOW_TURN_STEPS 512                       /* begun or ended in one turn of the loop */
#define SL_FLOW_MAX_RESULT_BYTES (16u * 1024 * 1024) /* results of one step, as JSON */
#define SL_FLOW_MAX_RUN_STEPS 1000000u               /* steps of one run, those of all rounds together */

/* Collections of vectors. */
#define SL_MAX_COLLECTIONS 1024
#define SL_MAX_COLLECTION_NAME_BYTES 128
#define SL_MAX_COLLECTION_ROWS 16000000u
#define SL_MAX_COLLECTION_SPACES 65536u /* namespaces of one collection */
#define SL_MAX_COLLECTION_COLUMNS 64    /* keys of metadata that filters have named, kept ready */
#define SL_MAX_VECTOR_DIMS 16384
#define SL_MAX_VECTOR_ID_BYTES 512
#define SL_MAX_VECTOR_SPACE_BYTES 255
#define SL_MAX_VECTOR_METADATA_BYTES (1024u * 1024) /* JSON of one row */
#define SL_MAX_VECTOR_TOP_K 10000
#define SL_MAX_VECTOR_HITS_BYTES (64u * 1024 * 1024) /* one answer */
#define SL_MAX_FILTER_TERMS 1024
#define SL_MAX_FILTER_DEPTH 16
#define SL_MAX_POOL_THREADS 64 /* that share one search */

/* Searches in a PostgreSQL server. */
#define SL_MAX_SQL_BYTES (1024u * 1024) /* a statement without its values */
#define SL_MAX_SQL_VALUES 4096
#define SL_MAX_PGVECTOR_CONNECTIONS 4
#define SL_MAX_PGVECTOR_WAITING 1024                     /* searches that wait for a connection */
#define SL_MAX_PGVECTOR_TABLES 8                         /* whose columns a connection remembers */
#define SL_MAX_PGVECTOR_COLUMNS 256                      /* of a table */
#define SL_MAX_PGVECTOR_ANSWER_BYTES (16u * 1024 * 1024) /* texts of one answer */

/* Steps of workflows that act on the world. */
#define SL_MAX_FLOW_HTTP_BODY_BYTES (16u * 1024 * 1024)  /* of an answer */
#define SL_MAX_FLOW_FILE_BYTES (16u * 1024 * 1024)       /* read or written at once */
#define SL_MAX_FLOW_FILE_ENTRIES 10000                   /* of a folder's list */
#define SL_MAX_FLOW_FILE_DEPTH 32                        /* folders within one another */
#define SL_MAX_FLOW_EXEC_OUTPUT_BYTES (4u * 1024 * 1024) /* each of stdout and stderr; the rest is thrown away */
#define SL_MAX_FLOW_EXEC_ARGS 256
#define SL_MAX_FLOW_EXEC_ENV 64

/* The message queue; sizes of a message stand in src/queue/queue.h. */
#define SL_QUEUE_MAX_WAITING 2000000u /* messages, dead ones too */
#define SL_QUEUE_MAX_TOPICS 1024u
#define SL_QUEUE_MAX_WATCHERS 4096u
#define SL_QUEUE_MAX_DELIVERIES 1000u              /* that a producer may ask for */
#define SL_QUEUE_CACHE_BYTES (64u * 1024 * 1024)   /* bodies of waiting messages in memory */
#define SL_QUEUE_FLIGHT_BYTES (256u * 1024 * 1024) /* bodies on their way to disk */
#define SL_QUEUE_HTTP_LEASED 100000u               /* deliveries to workers over HTTP at once */
#define SL_QUEUE_HTTP_WAITING 10000u               /* requests that are held open until something is ready */
#define SL_QUEUE_HTTP_BATCH 100u                   /* messages in one answer */
#define SL_QUEUE_MAX_REASON_BYTES 1024u            /* of a dead letter */
#define SL_QUEUE_MAX_TRACE_BYTES 64u
#define SL_QUEUE_MAX_DELAY_MS (366ull * 24 * 3600 * 1000) /* of a delay and of a lease */

#endif
