/* See qdrant_load.h. */
#include "src/cli/qdrant_load.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/cli/fetch.h"
#include "src/flow/services.h"
#include "src/flow/worker_http.h"
#include "src/llm/json_text.h"
#include "src/wire/json_write.h"
#include "src/wire/redact.h"
#include "src/wire/url.h"

#define DEFAULT_PORT "6333"
#define TIMEOUT_MS 120000u
#define MAX_TRIES 3
#define PART_BYTES (16u << 20) /* of points in one request; servers take 32 MiB */
#define MAX_BODY_BYTES (256u << 20)
#define NUMBER_BYTES 14 /* of a vector's number as text, about */

struct sl_qdrant_loader {
    char *collection; /* its URL */
    char *header;     /* NULL: no key */
    char shown[256];  /* the server's URL without secrets */
    sl_str name;      /* behind the struct */
};

static const char *const distances[SL_VECTOR_METRICS] = {
    [SL_VECTOR_COSINE] = "Cosine", [SL_VECTOR_DOT] = "Dot", [SL_VECTOR_EUCLID] = "Euclid"};

/* ---- points ---- */

/* As a number is written: no sign, no zero in front. */
static bool is_number(sl_str id, uint64_t *ret_number)
{
    return (id.len == 1 || id.ptr[0] != '0') && id.ptr[0] != '+' && sl_str_to_u64(id, ret_number) == 0 &&
           *ret_number <= INT64_MAX;
}

/* 8-4-4-4-12, in small letters: others would come back changed. */
static bool is_uuid(sl_str id)
{
    for (size_t i = 0; id.len == 36 && i < id.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        char c = id.ptr[i];
        if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
    }
    return id.len == 36;
}

/* RFC 9562, section 5.5. False: the library cannot. */
static bool name_uuid(sl_str space, sl_str id, char text[37])
{
    static const uint8_t oid[16] = {0x6b, 0xa7, 0xb8, 0x12, 0x9d, 0xad, 0x11, 0xd1,
                                    0x80, 0xb4, 0x00, 0xc0, 0x4f, 0xd4, 0x30, 0xc8};
    uint8_t digest[EVP_MAX_MD_SIZE];
    sl_buf name;
    sl_buf_init(&name, 4096);
    (void)sl_buf_put(&name, oid, sizeof oid);
    (void)sl_buf_put_str(&name, space);
    (void)sl_buf_put_char(&name, 0);
    (void)sl_buf_put_str(&name, id);
    bool good = !name.failed && EVP_Digest(name.data, name.len, digest, NULL, EVP_sha1(), NULL) == 1;
    sl_buf_done(&name);
    if (!good)
        return false;
    digest[6] = (uint8_t)((digest[6] & 0x0f) | 0x50);
    digest[8] = (uint8_t)((digest[8] & 0x3f) | 0x80);
    char hex[33];
    sl_hex_encode(digest, 16, hex);
    (void)snprintf(text, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
    return true;
}

json_t *sl_qdrant_id(sl_str space, sl_str id, bool *ret_own)
{
    SL_ASSERT(id.len && ret_own);
    uint64_t number;
    char text[37];
    *ret_own = !space.len;
    if (*ret_own && is_number(id, &number))
        return json_integer((json_int_t)number);
    if (*ret_own && is_uuid(id))
        return json_stringn(id.ptr, id.len);
    *ret_own = false;
    return name_uuid(space, id, text) ? json_string(text) : NULL;
}

/* Metadata with the members that are ours. NULL: no memory. */
static char *payload_of(const sl_vector_row *row, bool own_id)
{
    json_t *payload = row->metadata.len ? json_loadb(row->metadata.ptr, row->metadata.len, 0, NULL) : json_object();
    bool good = json_is_object(payload);
    if (good && row->space.len)
        good = json_object_set_new(payload, "namespace", json_stringn(row->space.ptr, row->space.len)) == 0;
    if (good && !own_id)
        good = json_object_set_new(payload, SL_QDRANT_ID, json_stringn(row->id.ptr, row->id.len)) == 0;
    char *text = good ? sl_json_text(payload) : NULL;
    json_decref(payload);
    return text;
}

static bool write_point(sl_jw *w, const sl_vector_row *row)
{
    bool own;
    json_t *id = sl_qdrant_id(row->space, row->id, &own);
    char *id_text = id ? sl_json_text(id) : NULL, *payload = payload_of(row, own);
    bool good = id_text && payload;
    if (good) {
        sl_jw_object(w);
        sl_jw_key(w, SL_STR("id"));
        sl_jw_raw(w, sl_str_c(id_text));
        sl_jw_key(w, SL_STR("vector"));
        sl_jw_array(w);
        for (size_t i = 0; i < row->dims; i++)
            sl_jw_double(w, (double)row->vector[i]);
        sl_jw_end(w);
        sl_jw_key(w, SL_STR("payload"));
        sl_jw_raw(w, sl_str_c(payload));
        sl_jw_end(w);
    }
    json_decref(id);
    free(id_text);
    free(payload);
    return good;
}

char *sl_qdrant_points(const sl_vector_row *rows, size_t count)
{
    SL_ASSERT(rows || !count);
    sl_buf out;
    sl_jw w;
    bool good = true;
    sl_buf_init(&out, MAX_BODY_BYTES);
    sl_jw_init(&w, &out);
    sl_jw_object(&w);
    sl_jw_key(&w, SL_STR("points"));
    sl_jw_array(&w);
    for (size_t i = 0; i < count && good; i++)
        good = write_point(&w, &rows[i]);
    sl_jw_end(&w);
    sl_jw_end(&w);
    good = sl_jw_finish(&w) == 0 && good && sl_buf_put_char(&out, 0) == 0;
    char *text = good ? strdup(out.data) : NULL;
    sl_buf_done(&out);
    return text;
}

/* ---- requests ---- */

static bool is_passing(int status)
{
    return status == 429 || status == 500 || (status >= 502 && status <= 504);
}

/* What the server says of a failure. */
static void explain(const sl_qdrant_loader *l, const char *what, const sl_fetch *fetch, char *reason)
{
    json_t *root = json_loadb(fetch->body.len ? fetch->body.data : "", fetch->body.len, 0, NULL);
    const json_t *status = json_object_get(root, "status");
    const char *told = json_string_value(json_is_object(status) ? json_object_get(status, "error") : status);
    (void)snprintf(reason, SL_QDRANT_REASON, "%s: %s answered %d%s%.*s", what, l->shown, fetch->status,
                   told ? ": " : "", told ? (int)sl_utf8_prefix(sl_str_c(told), 400) : 0, told ? told : "");
    json_decref(root);
}

/* Sends it until an answer comes that says something: 0, whatever its status. The answer is freed by sl_fetch_done. */
static int ask_for(const sl_qdrant_loader *l, const char *method, const char *path, const char *body, char *reason,
                   sl_fetch *fetch)
{
    sl_buf url;
    sl_fetch_options o = {
        .header = l->header, .method = method, .body = sl_str_c(body), .timeout_ms = TIMEOUT_MS, .max_bytes = 4u << 20};
    sl_buf_init(&url, SL_MAX_URL_BYTES);
    (void)sl_buf_put_c(&url, l->collection);
    (void)sl_buf_put_c(&url, path);
    (void)sl_buf_put_char(&url, 0);
    int error = url.failed ? SL_ETOOBIG : 0;
    (void)snprintf(reason, SL_QDRANT_REASON, "the URL is too long");
    for (int i = 0; !url.failed && i < MAX_TRIES; i++) {
        if (i) {
            sl_fetch_done(fetch);
            (void)usleep(250000u << i);
        }
        error = sl_fetch_get(url.data, &o, fetch);
        bool again = error == SL_ECONNECT || error == SL_ETIMEOUT || (!error && is_passing(fetch->status));
        if (!again)
            break;
    }
    if (error && !url.failed) {
        (void)snprintf(reason, SL_QDRANT_REASON, "%s", fetch->reason);
        sl_fetch_done(fetch);
        error = error == SL_EINVAL || error == SL_ETOOBIG ? SL_EIO : SL_ECONNECT;
    }
    sl_buf_done(&url);
    return error;
}

/* The same, where anything but 200 is a failure. */
static int demand(const sl_qdrant_loader *l, const char *method, const char *path, const char *body, const char *what,
                  char *reason)
{
    sl_fetch fetch;
    int error = ask_for(l, method, path, body, reason, &fetch);
    if (error)
        return error;
    if (fetch.status != 200) {
        explain(l, what, &fetch, reason);
        error = is_passing(fetch.status) ? SL_ECONNECT : fetch.status == 413 ? SL_ETOOBIG : SL_EIO;
    }
    sl_fetch_done(&fetch);
    return error;
}

/* ---- the collection ---- */

/* One that is there, {"result":{"config":{"params":{"vectors":{"size","distance"}}}}}. */
static int check(const sl_qdrant_loader *l, const sl_fetch *fetch, size_t dims, sl_vector_metric metric, bool any,
                 char *reason)
{
    json_int_t size = 0;
    const char *distance = NULL;
    json_t *root = json_loadb(fetch->body.len ? fetch->body.data : "", fetch->body.len, 0, NULL);
    int error = 0;
    if (json_unpack(root, "{s:{s:{s:{s:{s:I,s:s}}}}}", "result", "config", "params", "vectors", "size", &size,
                    "distance", &distance) != 0) {
        (void)snprintf(
            reason, SL_QDRANT_REASON,
            "collection %.*s has vectors with names, or none: rows go into one with a single, unnamed vector",
            (int)l->name.len, l->name.ptr);
        error = SL_EEXIST;
    } else if ((size_t)size != dims) {
        (void)snprintf(reason, SL_QDRANT_REASON, "collection %.*s has %lld dimensions, the rows %zu", (int)l->name.len,
                       l->name.ptr, (long long)size, dims);
        error = SL_EEXIST;
    } else if (!any && strcmp(distance, distances[metric]) != 0) {
        (void)snprintf(reason, SL_QDRANT_REASON, "collection %.*s has the distance %s, not %s", (int)l->name.len,
                       l->name.ptr, distance, distances[metric]);
        error = SL_EEXIST;
    }
    json_decref(root);
    return error;
}

int sl_qdrant_loader_collection(sl_qdrant_loader *loader, size_t dims, sl_vector_metric metric, bool any, char *reason)
{
    SL_ASSERT(loader && dims && metric < SL_VECTOR_METRICS && reason);
    sl_fetch fetch;
    char body[128];
    int error = ask_for(loader, NULL, "", NULL, reason, &fetch);
    if (error)
        return error;
    int status = fetch.status;
    if (status == 200)
        error = check(loader, &fetch, dims, metric, any, reason);
    else if (status != 404)
        explain(loader, "the collection cannot be looked at", &fetch, reason);
    sl_fetch_done(&fetch);
    if (status == 200)
        return error;
    if (status != 404)
        return is_passing(status) ? SL_ECONNECT : SL_EIO;
    (void)snprintf(body, sizeof body, "{\"vectors\":{\"size\":%zu,\"distance\":\"%s\"}}", dims, distances[metric]);
    return demand(loader, "PUT", "", body, "the collection cannot be made", reason);
}

int sl_qdrant_loader_put(sl_qdrant_loader *loader, const sl_vector_row *rows, size_t count, char *reason)
{
    SL_ASSERT(loader && (rows || !count) && reason);
    int error = 0;
    for (size_t from = 0, to; from < count && !error; from = to) {
        size_t bytes = 0;
        for (to = from; to < count && (to == from || bytes < PART_BYTES); to++)
            bytes += rows[to].metadata.len + rows[to].id.len + rows[to].dims * NUMBER_BYTES;
        char *body = sl_qdrant_points(rows + from, to - from);
        (void)snprintf(reason, SL_QDRANT_REASON, "out of memory");
        error = body ? demand(loader, "PUT", "/points?wait=true", body, "the rows are refused", reason) : SL_ENOMEM;
        free(body);
    }
    return error;
}

/* ---- life ---- */

/* http or https; qdrant://HOST is http at Qdrant's own port. False: it is none of them. */
static bool put_base(sl_str url, sl_buf *out)
{
    sl_url parsed;
    bool own = sl_str_starts(url, SL_STR("qdrant://"));
    sl_str rest = own ? sl_str_sub(url, 9, url.len) : url;
    while (rest.len && rest.ptr[rest.len - 1] == '/')
        rest.len--;
    size_t host_end = own ? sl_str_chr(rest, '/') : SL_NPOS, bracket = sl_str_chr(rest, ']');
    sl_str host = host_end == SL_NPOS ? rest : sl_str_sub(rest, 0, host_end);
    bool port = sl_str_chr(sl_str_sub(host, bracket == SL_NPOS ? 0 : bracket, host.len), ':') != SL_NPOS;
    (void)sl_buf_put_c(out, own ? "http://" : "");
    (void)sl_buf_put_str(out, own ? host : rest);
    if (own && !port)
        (void)sl_buf_put_c(out, ":" DEFAULT_PORT);
    if (own && host_end != SL_NPOS)
        (void)sl_buf_put_str(out, sl_str_sub(rest, host_end, rest.len));
    return !out->failed && sl_url_parse(sl_buf_str(out), &parsed, NULL) == 0 && !parsed.query.len;
}

int sl_qdrant_loader_new(sl_str url, sl_str key, sl_str collection, char *reason, sl_qdrant_loader **ret_loader)
{
    SL_ASSERT(reason && ret_loader);
    sl_buf base;
    sl_buf_init(&base, SL_MAX_URL_BYTES);
    sl_qdrant_loader *l = sl_calloc(1, sizeof *l + collection.len + 1);
    int error = l ? 0 : SL_ENOMEM;
    (void)snprintf(reason, SL_QDRANT_REASON, "out of memory");
    if (!error && (!collection.len || !put_base(url, &base))) {
        error = SL_EINVAL;
        (void)snprintf(reason, SL_QDRANT_REASON, "is no URL of a Qdrant server; give such as qdrant://127.0.0.1:6333");
    }
    if (!error) {
        memcpy(l + 1, collection.ptr, collection.len);
        l->name = sl_str_of((const char *)(l + 1), collection.len);
        sl_redact_url(sl_buf_str(&base), l->shown, sizeof l->shown);
        (void)sl_buf_put_c(&base, "/collections/");
        (void)sl_ask_put_segment(&base, collection);
        l->collection = base.failed ? NULL : sl_strndup(base.data, base.len);
        if (key.len && asprintf(&l->header, "api-key: %.*s", (int)key.len, key.ptr) < 0)
            l->header = NULL;
        error = l->collection && (!key.len || l->header) ? 0 : SL_ENOMEM;
    }
    sl_buf_done(&base);
    if (error)
        sl_qdrant_loader_free(l);
    else
        *ret_loader = l;
    return error;
}

void sl_qdrant_loader_free(sl_qdrant_loader *loader)
{
    if (!loader)
        return;
    sl_free(loader->collection);
    free(loader->header);
    sl_free(loader);
}
