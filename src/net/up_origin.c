/* The upstream client and its origins: made, found, closed. */
#include "src/net/up_conn.h"

#include "src/base/assert.h"
#include "src/base/mem.h"

/* ---- origins ---- */

int sl_upstream_new(sl_loop *loop, const sl_upstream_options *options, sl_upstream **ret_upstream)
{
    SL_ASSERT(loop && ret_upstream);
    sl_upstream *upstream = sl_calloc(1, sizeof *upstream);
    sl_http1_field *fields = sl_calloc(SL_MAX_HEAD_FIELDS, sizeof *fields);
    if (!upstream || !fields) {
        sl_free(upstream);
        sl_free(fields);
        return SL_ENOMEM;
    }
    upstream->loop = loop;
    upstream->fields = fields;
    if (options)
        upstream->options = *options;
    if (!upstream->options.max_idle)
        upstream->options.max_idle = 4096;
    if (!upstream->options.idle_timeout_ms)
        upstream->options.idle_timeout_ms = 55000;
    if (!upstream->options.dns_ttl_ms)
        upstream->options.dns_ttl_ms = 30000;
    *ret_upstream = upstream;
    return 0;
}

static void origin_free(sl_origin *origin)
{
    SL_ASSERT(origin);
    sl_up_tls_teardown(origin);
    sl_free(origin->host);
    sl_free(origin->ca_file);
    sl_free(origin);
}

void sl_upstream_close(sl_upstream *upstream)
{
    if (!upstream || upstream->closed)
        return;
    upstream->closed = true;
    for (sl_origin *origin = upstream->origins; origin; origin = origin->next) {
        while (origin->waiting)
            sl_call_fail(origin->waiting, SL_ECLOSED, "shutting down");
        while (origin->idle)
            sl_up_close(origin->idle);
        while (origin->used)
            sl_up_fail(origin->used, SL_ECLOSED, "shutting down");
        sl_timer_stop(upstream->loop, &origin->idle_timer);
        sl_up_cancel_resolving(origin);
    }
}

void sl_upstream_free(sl_upstream *upstream)
{
    if (!upstream)
        return;
    SL_ASSERT(upstream->closed);
    while (upstream->origins) {
        sl_origin *origin = upstream->origins;
        upstream->origins = origin->next;
        origin_free(origin);
    }
    sl_free(upstream->fields);
    sl_free(upstream);
}

static bool same_origin(const sl_origin *origin, const sl_origin_options *o)
{
    SL_ASSERT(origin && o);
    return origin->port == o->port && origin->tls == o->tls && origin->tls_insecure == o->tls_insecure &&
           origin->allow == o->allow && origin->passing == o->passing && sl_str_ieq(sl_str_c(origin->host), o->host) &&
           sl_str_eq(sl_str_c(origin->ca_file), o->ca_file);
}

/* The passing origin without calls that was asked for longest ago; NULL: none, or fewer than may stay. */
static sl_origin **find_spare(sl_upstream *upstream)
{
    SL_ASSERT(upstream);
    sl_origin **oldest = NULL;
    size_t count = 0;
    for (sl_origin **at = &upstream->origins; *at; at = &(*at)->next) {
        const sl_origin *origin = *at;
        count += origin->passing;
        if (origin->passing && !origin->calls && !origin->resolving && !origin->closing &&
            (!oldest || origin->used_ms < (*oldest)->used_ms))
            oldest = at;
    }
    return count > SL_UPSTREAM_MAX_PASSING ? oldest : NULL;
}

/* Drops what is too much. One that has idle connections goes when they have closed: at a later time. */
static void drop_spare(sl_upstream *upstream)
{
    sl_origin **at = find_spare(upstream);
    if (!at)
        return;
    sl_origin *origin = *at;
    while (origin->idle)
        sl_up_close(origin->idle);
    if (origin->closing)
        return;
    SL_ASSERT(!origin->used && !origin->waiting);
    sl_timer_stop(upstream->loop, &origin->idle_timer);
    *at = origin->next;
    origin_free(origin);
}

int sl_upstream_origin(sl_upstream *upstream, const sl_origin_options *options, sl_origin **ret_origin)
{
    SL_ASSERT(upstream && options && ret_origin);
    if (options->host.len == 0 || options->port == 0)
        return SL_EINVAL;
    for (sl_origin *origin = upstream->origins; origin; origin = origin->next) {
        if (same_origin(origin, options)) {
            origin->used_ms = uv_now(&upstream->loop->uv);
            *ret_origin = origin;
            return 0;
        }
    }
    for (int i = 0; i < 2 && options->passing; i++) /* one more than comes: what could not go at once is caught up */
        drop_spare(upstream);
    sl_origin *origin = sl_calloc(1, sizeof *origin);
    if (!origin)
        return SL_ENOMEM;
    origin->upstream = upstream;
    origin->passing = options->passing;
    origin->used_ms = uv_now(&upstream->loop->uv);
    origin->port = options->port;
    origin->tls = options->tls;
    origin->tls_insecure = options->tls_insecure;
    origin->allow = options->allow;
    origin->host = sl_strndup(options->host.ptr, options->host.len);
    int error = origin->host ? 0 : SL_ENOMEM;
    if (!error && options->ca_file.len) {
        origin->ca_file = sl_strndup(options->ca_file.ptr, options->ca_file.len);
        error = origin->ca_file ? 0 : SL_ENOMEM;
    }
    if (!error)
        sl_up_numeric(origin);
    if (!error && origin->numeric && origin->allow && !origin->allow((const struct sockaddr *)&origin->addresses[0]))
        error = SL_EREFUSED;
    if (!error && origin->tls)
        error = sl_up_tls_setup(origin);
    if (error) {
        origin_free(origin);
        return error;
    }
    origin->next = upstream->origins;
    upstream->origins = origin;
    *ret_origin = origin;
    return 0;
}

size_t sl_upstream_origin_count(const sl_upstream *upstream)
{
    size_t count = 0;
    for (const sl_origin *origin = upstream->origins; origin; origin = origin->next)
        count++;
    return count;
}

sl_str sl_origin_host(const sl_origin *origin)
{
    SL_ASSERT(origin);
    return sl_str_c(origin->host);
}

uint16_t sl_origin_port(const sl_origin *origin)
{
    SL_ASSERT(origin);
    return origin->port;
}

void sl_origin_get_stats(const sl_origin *origin, sl_origin_stats *ret_stats)
{
    SL_ASSERT(ret_stats && origin);
    *ret_stats = origin->stats;
}
