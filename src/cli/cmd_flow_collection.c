/* `sightline flow collection`: what vector_search steps search. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/cli/collection_embed.h"
#include "src/cli/collection_sink.h"
#include "src/cli/commands.h"
#include "src/cli/data_dir.h"
#include "src/llm/json_text.h"
#include "src/store/collection.h"
#include "src/store/collection_rows.h"

#define BATCH_ROWS 256

typedef struct collection_options {
    sl_str data_dir, to, metric, embed, space, filter, format;
    uint64_t top_k;
    bool vectors;
} collection_options;

#define OPT(member) offsetof(collection_options, member)

static const sl_option options[] = {
    {"data-dir", 0, SL_OPT_STR, OPT(data_dir), "DIR", "Folder of everything that lasts.", NULL, "SIGHTLINE_DATA_DIR"},
    {"to", 0, SL_OPT_STR, OPT(to), "DATABASE",
     "load: local; qdrant or pgvector, the servers of QDRANT_URL and PGVECTOR_URL; or a server's URL.", "local", NULL},
    {"metric", 0, SL_OPT_STR, OPT(metric), "NAME", "load: cosine, dot or euclid, when the collection is made.",
     "cosine", NULL},
    {"embed", 0, SL_OPT_STR, OPT(embed), "PROVIDER/MODEL", "load, search: makes vectors of texts by this model.", NULL,
     NULL},
    {"namespace", 0, SL_OPT_STR, OPT(space), "NAME", "load: of rows that name none. search: where.", NULL, NULL},
    {"top-k", 0, SL_OPT_U64, OPT(top_k), "N", "search: at most so many.", "5", NULL},
    {"filter", 0, SL_OPT_STR, OPT(filter), "JSON", "search: what the metadata must have.", NULL, NULL},
    {"vectors", 0, SL_OPT_FLAG, OPT(vectors), NULL, "search: prints the vectors too.", NULL, NULL},
    {"format", 0, SL_OPT_STR, OPT(format), "FORMAT", "text or json.", "text", NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

static bool as_json(const collection_options *o)
{
    return sl_str_eq(o->format, SL_STR("json"));
}

static void print_json(json_t *value)
{
    char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (text)
        (void)puts(text);
    free(text);
}

/* ---- load ---- */

typedef struct batch {
    sl_row_sink *sink;
    sl_str name;
    const char *path;
    const collection_options *options;
    sl_embedder *embedder; /* NULL: vectors stand in the file */
    bool progress;         /* is shown */
    size_t dims;           /* 0 until the first row is there */
    json_t *rows;
    unsigned lines[BATCH_ROWS];
    uint64_t loaded;
} batch;

/* The texts of rows without a vector are sent together, and their vectors put into the rows. */
static int embed_rows(batch *b)
{
    json_t *texts = json_array(), *vectors = NULL;
    char reason[SL_EMBED_REASON] = "out of memory";
    for (size_t i = 0; i < json_array_size(b->rows); i++) {
        json_t *row = json_array_get(b->rows, i);
        if (!json_object_get(row, "vector") && !b->embedder) {
            json_decref(texts);
            return sl_fail(SL_EXIT_FAILED, "%s:%u: the row has no vector; use --embed PROVIDER/MODEL", b->path,
                           b->lines[i]);
        }
        if (!json_object_get(row, "vector"))
            (void)json_array_append(texts, json_object_get(row, "text"));
    }
    int error = json_array_size(texts) ? sl_embedder_embed(b->embedder, texts, reason, &vectors) : 0;
    for (size_t i = 0, k = 0; !error && i < json_array_size(b->rows); i++)
        if (!json_object_get(json_array_get(b->rows, i), "vector"))
            (void)json_object_set(json_array_get(b->rows, i), "vector", json_array_get(vectors, k++));
    json_decref(texts);
    json_decref(vectors);
    return error ? sl_fail(SL_EXIT_FAILED, "--embed: %s", reason) : SL_EXIT_OK;
}

/* Numbers of a list as floats; false: one is none. */
static bool fill_vector(const json_t *list, float *vector, size_t dims)
{
    for (size_t i = 0; i < dims; i++) {
        if (!json_is_number(json_array_get(list, i)))
            return false;
        vector[i] = (float)json_number_value(json_array_get(list, i));
    }
    return true;
}

static sl_str text_member(const json_t *row, const char *name, sl_str fallback)
{
    const json_t *value = json_object_get(row, name);
    return json_is_string(value) ? sl_str_of(json_string_value(value), json_string_length(value)) : fallback;
}

/* Makes the collection as the first row is. */
static int make_collection(batch *b)
{
    char reason[SL_ROW_SINK_REASON];
    b->dims = json_array_size(json_object_get(json_array_get(b->rows, 0), "vector"));
    int error = sl_row_sink_make(b->sink, b->dims, reason);
    if (error)
        return sl_fail(error == SL_EINVAL || error == SL_EEXIST ? SL_EXIT_USAGE : SL_EXIT_FAILED, "%.*s: %s",
                       (int)b->name.len, b->name.ptr, reason);
    return SL_EXIT_OK;
}

/* One row in the shape of the store; `metadata` is freed by the caller. */
static int convert_row(batch *b, size_t i, float *vector, sl_vector_row *row, char **metadata)
{
    char reason[SL_FILTER_REASON];
    json_t *from = json_array_get(b->rows, i), *list = json_object_get(from, "vector");
    if (json_array_size(list) != b->dims)
        return sl_fail(SL_EXIT_FAILED, "%s:%u: the vector has %zu dimensions, the collection %zu", b->path, b->lines[i],
                       json_array_size(list), b->dims);
    if (!fill_vector(list, vector, b->dims))
        return sl_fail(SL_EXIT_FAILED, "%s:%u: the vector holds something that is no number", b->path, b->lines[i]);
    *metadata = sl_json_text(json_object_get(from, "metadata")); /* the shortest digits: PostgreSQL keeps all of them */
    *row = (sl_vector_row){.id = text_member(from, "id", SL_STR("")),
                           .space = text_member(from, "namespace", b->options->space),
                           .vector = vector,
                           .dims = b->dims,
                           .metadata = sl_str_c(*metadata)};
    if (!sl_vector_row_is_valid(row, reason))
        return sl_fail(SL_EXIT_FAILED, "%s:%u: %s", b->path, b->lines[i], reason);
    return SL_EXIT_OK;
}

static void show_progress(const batch *b)
{
    if (b->progress)
        (void)fprintf(stderr, "\033[K%.*s: %llu rows\r", (int)b->name.len, b->name.ptr, (unsigned long long)b->loaded);
}

static int put_batch(batch *b)
{
    size_t count = json_array_size(b->rows);
    char reason[SL_ROW_SINK_REASON], *metadata[BATCH_ROWS] = {0};
    sl_vector_row rows[BATCH_ROWS];
    if (count == 0)
        return SL_EXIT_OK;
    int status = embed_rows(b);
    if (!status && !b->dims)
        status = make_collection(b);
    float *vectors = status ? NULL : sl_malloc(count * b->dims * sizeof *vectors);
    if (!status && !vectors)
        status = sl_fail(SL_EXIT_FAILED, "out of memory");
    for (size_t i = 0; !status && i < count; i++)
        status = convert_row(b, i, vectors + i * b->dims, &rows[i], &metadata[i]);
    if (!status && sl_row_sink_put(b->sink, rows, count, reason))
        status = sl_fail(SL_EXIT_FAILED, "%s:%u: cannot be stored: %s", b->path, b->lines[0], reason);
    for (size_t i = 0; i < count; i++)
        free(metadata[i]);
    sl_free(vectors);
    if (!status)
        b->loaded += count;
    show_progress(b);
    (void)json_array_clear(b->rows);
    return status;
}

static int load_rows(batch *b, FILE *file, bool csv)
{
    sl_rows rows;
    json_t *row;
    int status = SL_EXIT_OK, error = 0;
    sl_rows_init(&rows, file, csv);
    while (!status && !(error = sl_rows_next(&rows, &row))) {
        b->lines[json_array_size(b->rows)] = rows.line;
        (void)json_array_append_new(b->rows, row);
        if (json_array_size(b->rows) == BATCH_ROWS)
            status = put_batch(b);
    }
    if (!status && error == SL_ENOENT)
        status = put_batch(b);
    else if (!status)
        status = sl_fail(SL_EXIT_FAILED, "%s:%u: %s", b->path, rows.line, rows.reason);
    sl_rows_done(&rows);
    return status;
}

/* A collection that is there keeps its metric, unless the option says another one. */
static void keep_metric(sl_collections *c, sl_str name, sl_vector_metric *metric)
{
    char reason[SL_COLLECTION_REASON];
    size_t count = 0;
    sl_collection_info *infos = sl_calloc(SL_MAX_COLLECTIONS, sizeof *infos);
    if (infos && !sl_option_given(&sl_cmd_flow_collection, "metric") &&
        sl_collections_list(c, infos, SL_MAX_COLLECTIONS, &count, reason) == 0)
        for (size_t i = 0; i < count; i++)
            if (sl_str_eq_c(name, infos[i].name))
                *metric = infos[i].metric;
    sl_free(infos);
}

/* Reads all of a file, - is standard input. */
static int load_file(batch *b)
{
    bool standard = strcmp(b->path, "-") == 0;
    FILE *file = standard ? stdin : fopen(b->path, "re");
    if (!file)
        return sl_fail(SL_EXIT_FAILED, "%s: cannot be opened; check the path and its permissions", b->path);
    b->rows = json_array();
    int status = load_rows(b, file, sl_str_ends(sl_str_c(b->path), SL_STR(".csv")));
    if (b->progress)
        (void)fputs("\033[K", stderr);
    json_decref(b->rows);
    if (!standard)
        (void)fclose(file);
    return status;
}

/* `c` is NULL when rows go elsewhere. */
static int run_load(sl_collections *c, const collection_options *o, char **args, size_t count)
{
    char reason[SL_ROW_SINK_REASON];
    if (count != 2)
        return sl_fail(SL_EXIT_USAGE, "flow collection load: give `sightline flow collection load NAME FILE`");
    batch b = {.name = sl_str_c(args[0]), .path = args[1], .options = o};
    sl_row_sink_options sink = {.to = o->to,
                                .name = b.name,
                                .metric_given = sl_option_given(&sl_cmd_flow_collection, "metric"),
                                .collections = c};
    if (sl_vector_metric_parse(o->metric, &sink.metric))
        return sl_fail(SL_EXIT_USAGE, "--metric: must be cosine, dot or euclid");
    if (c)
        keep_metric(c, b.name, &sink.metric);
    if (o->embed.len && sl_embedder_new(o->embed, reason, &b.embedder))
        return sl_fail(SL_EXIT_USAGE, "--embed: %s", reason);
    int error = sl_row_sink_open(&sink, reason, &b.sink);
    int status = error ? sl_fail(error == SL_EINVAL ? SL_EXIT_USAGE : SL_EXIT_FAILED, "--to: %s", reason) : SL_EXIT_OK;
    b.progress = isatty(STDERR_FILENO) != 0;
    if (!status)
        status = load_file(&b);
    sl_row_sink_close(b.sink);
    sl_embedder_free(b.embedder);
    if (!status && as_json(o))
        printf("{\"collection\":\"%s\",\"rows\":%llu}\n", args[0], (unsigned long long)b.loaded);
    else if (!status)
        printf("%s: %llu rows loaded\n", args[0], (unsigned long long)b.loaded);
    return status;
}

/* ---- list, drop ---- */

static int run_list(sl_collections *c, const collection_options *o)
{
    char reason[SL_COLLECTION_REASON];
    size_t count = 0;
    sl_collection_info *infos = sl_calloc(SL_MAX_COLLECTIONS, sizeof *infos);
    if (!infos)
        return sl_fail(SL_EXIT_FAILED, "out of memory");
    int error = sl_collections_list(c, infos, SL_MAX_COLLECTIONS, &count, reason);
    json_t *list = json_array();
    for (size_t i = 0; !error && i < count; i++) {
        const char *metric = sl_vector_metric_name(infos[i].metric);
        (void)json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:I}", "name", infos[i].name, "dimensions",
                                                    (json_int_t)infos[i].dims, "metric", metric, "rows",
                                                    (json_int_t)infos[i].rows));
        if (!as_json(o))
            printf("%-32s %8zu dimensions  %-8s %10llu rows\n", infos[i].name, infos[i].dims, metric,
                   (unsigned long long)infos[i].rows);
    }
    if (!error && as_json(o))
        print_json(list);
    else if (!error && count == 0)
        puts("no collections; load one with `sightline flow collection load NAME FILE`");
    json_decref(list);
    sl_free(infos);
    return error ? sl_fail(SL_EXIT_FAILED, "flow collection list: %s", reason) : SL_EXIT_OK;
}

static int run_drop(sl_collections *c, char **args, size_t count)
{
    char reason[SL_COLLECTION_REASON];
    if (count != 1)
        return sl_fail(SL_EXIT_USAGE, "flow collection drop: give `sightline flow collection drop NAME`");
    if (sl_collections_drop(c, sl_str_c(args[0]), reason))
        return sl_fail(SL_EXIT_FAILED, "flow collection drop: %s", reason);
    printf("%s: dropped\n", args[0]);
    return SL_EXIT_OK;
}

/* ---- search ---- */

/* The vector that was given as JSON, or that of the text. A reference. */
static json_t *query_vector(const collection_options *o, const char *text, char *reason)
{
    json_t *value = json_loads(text, 0, NULL), *vectors = NULL, *texts;
    sl_embedder *embedder = NULL;
    if (json_is_array(value) || !o->embed.len) {
        (void)snprintf(reason, SL_EMBED_REASON, "the query is no JSON list of numbers; for a text use --embed");
        return value;
    }
    json_decref(value);
    texts = json_pack("[s]", text);
    if (!texts || sl_embedder_new(o->embed, reason, &embedder) || sl_embedder_embed(embedder, texts, reason, &vectors))
        vectors = NULL;
    value = json_incref(json_array_get(vectors, 0));
    json_decref(vectors);
    json_decref(texts);
    sl_embedder_free(embedder);
    return value;
}

static json_t *hit_object(const sl_vector_hits *hits, const sl_vector_hit *hit)
{
    json_t *one = json_pack("{s:s%, s:f}", "id", hit->id.ptr, hit->id.len, "score", hit->score);
    json_t *metadata = json_loadb(hit->metadata.len ? hit->metadata.ptr : "", hit->metadata.len, 0, NULL);
    (void)json_object_set_new(one, "metadata", metadata ? metadata : json_object());
    if (hit->vector) {
        json_t *vector = json_array();
        for (size_t i = 0; i < hits->dims; i++)
            (void)json_array_append_new(vector, json_real((double)hit->vector[i]));
        (void)json_object_set_new(one, "vector", vector);
    }
    return one;
}

static void print_hits(const collection_options *o, const sl_vector_hits *hits)
{
    json_t *list = json_array();
    for (size_t i = 0; i < hits->count; i++) {
        const sl_vector_hit *hit = &hits->items[i];
        if (as_json(o))
            (void)json_array_append_new(list, hit_object(hits, hit));
        else
            printf("%10.6f  %.*s  %.*s\n", hit->score, (int)hit->id.len, hit->id.ptr, (int)hit->metadata.len,
                   hit->metadata.len ? hit->metadata.ptr : "");
    }
    if (as_json(o))
        print_json(list);
    json_decref(list);
}

static int search(sl_collections *c, const collection_options *o, const char *name, const json_t *vector)
{
    char reason[SL_COLLECTION_REASON] = "the query holds something that is no number";
    sl_vector_hits *hits = NULL;
    sl_vector_filter *filter = NULL;
    size_t dims = json_array_size(vector);
    json_t *filter_json = o->filter.len ? json_loadb(o->filter.ptr, o->filter.len, 0, NULL) : NULL;
    if (o->filter.len && (!filter_json || sl_vector_filter_new(filter_json, reason, &filter))) {
        int status = sl_fail(SL_EXIT_USAGE, "--filter: %s", filter_json ? reason : "it is no JSON object");
        json_decref(filter_json);
        return status;
    }
    float *floats = sl_malloc((dims + 1) * sizeof *floats);
    int error = floats && fill_vector(vector, floats, dims) ? 0 : SL_EINVAL;
    sl_vector_query query = {.collection = sl_str_c(name),
                             .space = o->space,
                             .vector = floats,
                             .dims = dims,
                             .top_k = o->top_k,
                             .filter = filter,
                             .with_metadata = true,
                             .with_vectors = o->vectors};
    if (!error)
        error = sl_collections_search(c, &query, reason, &hits);
    if (!error)
        print_hits(o, hits);
    sl_vector_hits_free(hits);
    sl_vector_filter_free(filter);
    json_decref(filter_json);
    sl_free(floats);
    return error ? sl_fail(SL_EXIT_FAILED, "flow collection search: %s", reason) : SL_EXIT_OK;
}

static int run_search(sl_collections *c, const collection_options *o, char **args, size_t count)
{
    char reason[SL_EMBED_REASON] = "";
    if (count != 2)
        return sl_fail(SL_EXIT_USAGE, "flow collection search: give `sightline flow collection search NAME QUERY`");
    json_t *vector = query_vector(o, args[1], reason);
    int status = json_is_array(vector) ? search(c, o, args[0], vector)
                                       : sl_fail(SL_EXIT_USAGE, "flow collection search: %s", reason);
    json_decref(vector);
    return status;
}

/* ---- the command ---- */

static int run_named(sl_collections *c, const collection_options *o, char **args, size_t count)
{
    if (strcmp(args[0], "load") == 0)
        return run_load(c, o, args + 1, count - 1);
    if (strcmp(args[0], "search") == 0)
        return run_search(c, o, args + 1, count - 1);
    if (strcmp(args[0], "drop") == 0)
        return run_drop(c, args + 1, count - 1);
    return run_list(c, o);
}

static int run_collection(const sl_command *command, void *given, char **args, size_t arg_count)
{
    static const char *const names[] = {"load", "list", "drop", "search"};
    const collection_options *o = given;
    char folder[SL_DATA_PATH_MAX], path[SL_DATA_PATH_MAX + 32], reason[512];
    bool known = false;
    (void)command;
    if (arg_count == 0)
        return sl_fail(SL_EXIT_USAGE, "flow collection: what to do is missing; give load, list, drop or search");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        known = known || strcmp(args[0], names[i]) == 0;
    if (!known)
        return sl_fail(SL_EXIT_USAGE, "flow collection: \"%s\" is not known; give load, list, drop or search", args[0]);
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    if (sl_row_sink_is_remote(o->to) && strcmp(args[0], "load") != 0)
        return sl_fail(SL_EXIT_USAGE, "--to: is for load; a server's collections are its own");
    if (sl_row_sink_is_remote(o->to))
        return run_load(NULL, o, args + 1, arg_count - 1);
    if (sl_data_dir_open(o->data_dir, folder, reason))
        return sl_fail(SL_EXIT_USAGE, "%s", reason);
    sl_collections *c = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, SL_COLLECTIONS_FILE);
    if (sl_collections_open(path, reason, sizeof reason, &c))
        return sl_fail(SL_EXIT_FAILED, "%s", reason);
    int status = run_named(c, o, args, arg_count);
    sl_collections_close(c);
    return status;
}

const sl_command sl_cmd_flow_collection = {
    "flow collection",
    "load, list, search and drop collections of vectors",
    "load NAME FILE | list | search NAME QUERY | drop NAME [options]",
    "Collections are what vector_search steps search: exactly, in memory, on all cores. FILE holds JSON lines {\"id\", "
    "\"vector\", \"metadata\", \"namespace\"} or, with --embed, {\"text\"}; or it is a .csv with such columns; - reads "
    "standard input. Rows of an id that is there are replaced. With --to they go to a Qdrant or PostgreSQL server; the "
    "collection, or table, is made when it is not there. QUERY is a JSON list of numbers or, with --embed, a text.",
    "  sightline flow collection load knowledge-base facts.jsonl --embed openai/text-embedding-3-small\n"
    "  sightline flow collection load docs facts.jsonl --to pgvector --metric euclid\n"
    "  sightline flow collection load docs facts.jsonl --to qdrant://10.0.0.5:6333\n"
    "  sightline flow collection list\n"
    "  sightline flow collection search knowledge-base \"who wrote it?\" --embed openai/text-embedding-3-small\n"
    "  sightline flow collection search points '[0.1, 0.7]' --filter '{\"year\": {\"$gte\": 2020}}' --format json\n",
    tables,
    sizeof(collection_options),
    3,
    run_collection};
