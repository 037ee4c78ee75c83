/* See collection_sink.h. */
#include "src/cli/collection_sink.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/cli/qdrant_load.h"
#include "src/store/pgvector_load.h"

struct sl_row_sink {
    sl_row_sink_options options; /* its name lives as long as the sink */
    sl_qdrant_loader *qdrant;
    sl_pg_loader *pg;
};

typedef enum sink_kind { SINK_LOCAL = 0, SINK_QDRANT, SINK_PG, SINK_UNKNOWN } sink_kind;

static bool starts(sl_str text, const char *const *prefixes)
{
    for (; *prefixes; prefixes++)
        if (sl_str_starts(text, sl_str_c(*prefixes)))
            return true;
    return false;
}

static bool is_one_of(sl_str text, const char *const *names)
{
    for (; *names; names++)
        if (sl_str_eq_c(text, *names))
            return true;
    return false;
}

/* As vector_search steps name databases, or by address. */
static sink_kind kind_of(sl_str to)
{
    static const char *const here[] = {"", "local", "memory", "sightline", NULL};
    static const char *const pg[] = {"pgvector", "postgres", "postgresql", NULL};
    static const char *const pg_urls[] = {"postgres://", "postgresql://", NULL};
    static const char *const qdrant_urls[] = {"qdrant://", "http://", "https://", NULL};
    if (is_one_of(to, here))
        return SINK_LOCAL;
    if (sl_str_eq_c(to, "qdrant") || starts(to, qdrant_urls))
        return SINK_QDRANT;
    bool conninfo = sl_str_chr(to, '=') != SL_NPOS && sl_str_find(to, SL_STR("://")) == SL_NPOS;
    return is_one_of(to, pg) || starts(to, pg_urls) || conninfo ? SINK_PG : SINK_UNKNOWN;
}

bool sl_row_sink_is_remote(sl_str to)
{
    return kind_of(to) != SINK_LOCAL;
}

static sl_str variable(const char *name)
{
    const char *value = getenv(name);
    return sl_str_c(value ? value : "");
}

static int open_qdrant(sl_row_sink *s, char *reason)
{
    sl_str to = s->options.to;
    bool named = sl_str_eq_c(to, "qdrant");
    char why[SL_QDRANT_REASON];
    sl_str url = named ? variable("QDRANT_URL") : to;
    if (!url.len) {
        (void)snprintf(reason, SL_ROW_SINK_REASON, "qdrant: QDRANT_URL is not set; give such as http://127.0.0.1:6333");
        return SL_EINVAL;
    }
    int error = sl_qdrant_loader_new(url, variable("QDRANT_API_KEY"), s->options.name, why, &s->qdrant);
    if (error)
        (void)snprintf(reason, SL_ROW_SINK_REASON, "%s%s", named ? "QDRANT_URL: " : "", why);
    return error;
}

static int open_pg(sl_row_sink *s, char *reason)
{
    sl_str to = s->options.to;
    bool by_text = sl_str_chr(to, ':') != SL_NPOS || sl_str_chr(to, '=') != SL_NPOS;
    sl_str conninfo = by_text ? to : variable("PGVECTOR_URL");
    if (!conninfo.len) {
        (void)snprintf(reason, SL_ROW_SINK_REASON,
                       "pgvector: PGVECTOR_URL is not set; give such as postgres://USER@HOST/DATABASE");
        return SL_EINVAL;
    }
    char *text = sl_strndup(conninfo.ptr, conninfo.len);
    (void)snprintf(reason, SL_ROW_SINK_REASON, "out of memory");
    int error = text ? sl_pg_loader_new(text, NULL, reason, &s->pg) : SL_ENOMEM;
    sl_free(text);
    return error;
}

int sl_row_sink_open(const sl_row_sink_options *options, char *reason, sl_row_sink **ret_sink)
{
    SL_ASSERT(options && reason && ret_sink);
    sink_kind kind = kind_of(options->to);
    SL_ASSERT(kind != SINK_LOCAL || options->collections);
    if (kind == SINK_UNKNOWN) {
        (void)snprintf(reason, SL_ROW_SINK_REASON,
                       "\"%.*s\" is not known; give local, qdrant, pgvector or a server's URL",
                       (int)sl_utf8_prefix(options->to, 60), options->to.ptr);
        return SL_EINVAL;
    }
    sl_row_sink *s = sl_calloc(1, sizeof *s);
    (void)snprintf(reason, SL_ROW_SINK_REASON, "out of memory");
    if (!s)
        return SL_ENOMEM;
    s->options = *options;
    int error = kind == SINK_QDRANT ? open_qdrant(s, reason) : kind == SINK_PG ? open_pg(s, reason) : 0;
    if (error)
        sl_row_sink_close(s);
    else
        *ret_sink = s;
    return error;
}

void sl_row_sink_close(sl_row_sink *sink)
{
    if (!sink)
        return;
    sl_qdrant_loader_free(sink->qdrant);
    sl_pg_loader_free(sink->pg);
    sl_free(sink);
}

int sl_row_sink_make(sl_row_sink *sink, size_t dims, char *reason)
{
    SL_ASSERT(sink && reason);
    const sl_row_sink_options *o = &sink->options;
    (void)snprintf(reason, SL_ROW_SINK_REASON, "the vector must have 1 to %d numbers", SL_MAX_VECTOR_DIMS);
    if (!dims)
        return SL_EINVAL;
    if (sink->qdrant)
        return sl_qdrant_loader_collection(sink->qdrant, dims, o->metric, !o->metric_given, reason);
    if (sink->pg)
        return sl_pg_loader_table(sink->pg, o->name, dims, o->metric_given ? o->metric : SL_PG_METRIC_AUTO, reason,
                                  NULL);
    return sl_collections_create(o->collections, o->name, dims, o->metric, reason);
}

int sl_row_sink_put(sl_row_sink *sink, const sl_vector_row *rows, size_t count, char *reason)
{
    SL_ASSERT(sink && reason);
    if (sink->qdrant)
        return sl_qdrant_loader_put(sink->qdrant, rows, count, reason);
    if (sink->pg)
        return sl_pg_loader_put(sink->pg, rows, count, reason);
    return sl_collections_put(sink->options.collections, sink->options.name, rows, count, reason);
}
