/*
 * Tables with a column of pgvector's types, and the statements that search them. No I/O.
 *
 * What a table's columns mean is found by their names, as those who make such tables call them, unless the query says:
 *
 *   LlamaIndex           node_id       text      metadata_           embedding
 *   LangChain            langchain_id  content   langchain_metadata  embedding
 *   LangChain, before    id            document  cmetadata           embedding   (langchain_pg_embedding)
 *   else                 id, or the primary key; content, text, document or body; metadata; embedding, or the only one
 *
 * Without a column of metadata all other columns together are the metadata.
 */
#ifndef SL_STORE_PGVECTOR_SQL_H
#define SL_STORE_PGVECTOR_SQL_H

#include "src/store/collection_filter.h"
#include "src/store/collection_scan.h"
#include "src/store/sql_text.h"

#define SL_PG_NAME_BYTES 64 /* PostgreSQL's limit, with the NUL */
#define SL_PG_INDEX_BYTES 160
#define SL_PG_METRIC_AUTO SL_VECTOR_METRICS /* that of the column's index; without one cosine */
#define SL_PG_SQL_REASON 300

typedef struct sl_pg_column {
    char name[SL_PG_NAME_BYTES];
    char type[SL_PG_NAME_BYTES];
    char type_schema[SL_PG_NAME_BYTES];
    char opclass[SL_PG_NAME_BYTES]; /* of an index of pgvector's on it, or its comment (pgvector_load.h); empty: none */
    int dims;                       /* of a vector; -1: any */
    bool key;                       /* is the primary key */
} sl_pg_column;

typedef struct sl_pg_table {
    char schema[SL_PG_NAME_BYTES], name[SL_PG_NAME_BYTES];
    sl_pg_column *columns;
    size_t count;
} sl_pg_table;

typedef struct sl_pg_names {
    sl_str id, content, metadata, embedding, space; /* empty: found by their usual names */
} sl_pg_names;

/* What the columns mean; NULL: there is none. */
typedef struct sl_pg_roles {
    const sl_pg_column *id, *content, *metadata, *embedding, *space;
} sl_pg_roles;

typedef struct sl_pg_query {
    sl_str table; /* NAME or SCHEMA.NAME, as it is: no case is changed */
    sl_pg_names names;
    sl_str space;    /* empty: all */
    unsigned metric; /* an sl_vector_metric, or SL_PG_METRIC_AUTO */
    const float *vector;
    size_t dims, top_k;
    const sl_vector_filter *filter; /* may be NULL */
    unsigned ef_search;             /* 0: the server's */
    bool with_metadata, with_vectors;
} sl_pg_query;

/* What the columns of a result are. */
enum { SL_PG_ID = 0, SL_PG_DISTANCE, SL_PG_METADATA, SL_PG_CONTENT, SL_PG_VECTOR, SL_PG_BYTES };

/* The statement that describes a table: a row for each column, of its members as texts in the order below. */
enum {
    SL_PG_COL_SCHEMA = 0,
    SL_PG_COL_TABLE,
    SL_PG_COL_NAME,
    SL_PG_COL_TYPE,
    SL_PG_COL_TYPE_SCHEMA,
    SL_PG_COL_DIMS,
    SL_PG_COL_OPCLASS,
    SL_PG_COL_KEY,
    SL_PG_COLS
};
void sl_pg_put_describe(sl_sql *sql, sl_str table);
/* Adds a row of it. Errors: SL_ELIMIT, SL_ENOMEM. */
SL_MUST_CHECK int sl_pg_table_add(sl_pg_table *table, const char *const *values);
void sl_pg_table_done(sl_pg_table *table);

/*
 * The search. `*ret_metric` is that which its distances are of. Errors: SL_EINVAL with `reason` (SL_PG_SQL_REASON
 * bytes); those of `sql` are left to sl_sql_error.
 */
SL_MUST_CHECK int sl_pg_put_search(sl_sql *sql, const sl_pg_table *table, const sl_pg_query *query, char *reason,
                                   sl_vector_metric *ret_metric);
/* What the columns of a table mean, by the names or else by the usual ones. Errors: SL_EINVAL with `reason`. */
SL_MUST_CHECK int sl_pg_find_roles(const sl_pg_table *table, const sl_pg_names *names, char *reason,
                                   sl_pg_roles *ret_roles);
/* That of its index, or its comment; without one cosine. */
sl_vector_metric sl_pg_metric_of_column(const sl_pg_column *embedding);
/* The score that the other engines give for this distance. */
double sl_pg_score(sl_vector_metric metric, double distance);
/* "cosine", "dot", "euclid" and pgvector's own words for them: "l2", "inner_product", "<=>", "<#>", "<->". */
SL_MUST_CHECK int sl_pg_metric_parse(sl_str text, unsigned *ret_metric);

#endif
