/* A host's life in the metrics: models, memory, what comes with time. */
#include "src/probe/metrics_host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/str.h"

#define RESIDENT_EVERY_NS 1000000000u

/* ---- life ---- */

static void take_number(sl_probe_metrics *m)
{
    sl_probe_body *body = m->body;
    while (m->slot < SL_PROBE_MAX_METRIC_HOSTS && body->host_taken[m->slot])
        m->slot++;
    if (m->slot < SL_PROBE_MAX_METRIC_HOSTS)
        body->host_taken[m->slot] = true;
    snprintf(m->number, sizeof m->number, "%zu", m->slot);
}

int sl_probe_metrics_new(sl_sdk *sdk, uint32_t pid, sl_probe_metrics **ret_metrics)
{
    if (!sdk || !ret_metrics)
        return SL_EINVAL;
    sl_probe_metrics *m = sl_calloc(1, sizeof *m);
    if (!m)
        return SL_ENOMEM;
    m->body = sl_probe_body_ref(sdk);
    if (!m->body) {
        sl_free(m);
        return SL_ENOMEM;
    }
    m->pid = pid;
    take_number(m);
    m->next = m->body->first;
    m->body->first = m;
    m->body->totals.hosts++;
    sl_updown_add(m->body->hosts, 1);
    *ret_metrics = m;
    return 0;
}

static void set_resident(sl_probe_metrics *m, uint64_t bytes)
{
    SL_ASSERT(m->body->totals.resident_bytes >= m->resident_bytes);
    sl_updown_add(m->body->resident, (int64_t)bytes - (int64_t)m->resident_bytes);
    m->body->totals.resident_bytes += bytes - m->resident_bytes;
    m->resident_bytes = bytes;
}

static void unlink_host(sl_probe_metrics *m)
{
    sl_probe_metrics **at = &m->body->first;
    while (*at != m) {
        SL_ASSERT(*at);
        at = &(*at)->next;
    }
    *at = m->next;
    if (m->slot < SL_PROBE_MAX_METRIC_HOSTS)
        m->body->host_taken[m->slot] = false;
    m->body->totals.hosts--;
    sl_updown_add(m->body->hosts, -1);
}

static void give_memory_back(sl_probe_metrics *m)
{
    for (size_t i = 0; i < m->memory_count; i++) {
        sl_updown_add(m->memory[i].plain, -m->memory[i].bytes);
        sl_updown_add(m->memory[i].llama, -m->memory[i].bytes);
    }
}

void sl_probe_metrics_free(sl_probe_metrics *metrics)
{
    if (!metrics)
        return;
    for (size_t i = 0; i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
        if (metrics->contexts[i].id)
            sl_probe_host_context_clear(metrics, &metrics->contexts[i]);
        if (metrics->models[i].id)
            sl_probe_metrics_model_freed(metrics, metrics->models[i].id);
    }
    sl_probe_metrics_load(metrics, 0, 0);
    sl_updown_add(metrics->body->active, -(int64_t)metrics->active);
    set_resident(metrics, 0);
    give_memory_back(metrics);
    unlink_host(metrics);
    if (!metrics->body->first)
        metrics->body->totals.context_use = 0;
    sl_probe_body_tick(metrics->body, metrics->body->now_ns);
    sl_probe_body_unref(metrics->body);
    sl_free(metrics);
}

/* ---- models ---- */

/* "/models/qwen-00001-of-00003.gguf": "qwen". */
static sl_str name_of_path(sl_str path)
{
    for (size_t at; (at = sl_str_chr(path, '/')) != SL_NPOS;)
        path = sl_str_sub(path, at + 1, SL_NPOS);
    if (sl_str_ends(path, SL_STR(".gguf")))
        path.len -= strlen(".gguf");
    static const char pattern[] = "-00000-of-00000";
    size_t tail = sizeof pattern - 1;
    if (path.len <= tail)
        return path;
    for (size_t i = 0; i < tail; i++) {
        char c = path.ptr[path.len - tail + i];
        if (pattern[i] == '0' ? c < '0' || c > '9' : c != pattern[i])
            return path;
    }
    return sl_str_sub(path, 0, path.len - tail);
}

static void record_load(sl_probe_metrics *m, const sl_probe_model_info *info, const sl_probe_model_series *series)
{
    SL_ASSERT(series);
    sl_probe_body *body = m->body;
    double seconds = (double)info->duration_ns / 1e9;
    const char *outcome = info->failed ? "failed" : info->dry_run ? "dry_run" : "ok";
    const sl_attr labels[] = {sl_attr_str("model", series->name), sl_attr_str("outcome", outcome)};
    const sl_attr model = sl_attr_str("gen_ai.request.model", series->name);
    sl_histogram_record_in(sl_instrument_bind(body->metrics[SL_METRIC_LLAMACPP_MODEL_LOAD], labels, 2), seconds,
                           info->span);
    if (info->failed || info->dry_run)
        return;
    sl_histogram_record_in(sl_instrument_bind(body->metrics[SL_METRIC_LLAMASTACK_MODEL_LOAD_TIME], labels, 1), seconds,
                           info->span);
    sl_histogram_record_in(sl_instrument_bind(body->metrics[SL_METRIC_LLAMA_MODEL_LOAD_TIME], &model, 1),
                           seconds * 1000, info->span);
}

static sl_probe_host_model *model_of(sl_probe_metrics *m, uint32_t id)
{
    for (size_t i = 0; i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
        if (m->models[i].id == id)
            return &m->models[i];
    }
    return NULL;
}

void sl_probe_metrics_model(sl_probe_metrics *metrics, const sl_probe_model_info *info)
{
    SL_ASSERT(info);
    sl_probe_model_series *series = metrics ? sl_probe_body_model(metrics->body, name_of_path(info->path)) : NULL;
    if (!series)
        return;
    if (!info->found)
        record_load(metrics, info, series);
    sl_probe_host_model *model = model_of(metrics, 0);
    if (info->failed || !info->model || !model)
        return;
    *model = (sl_probe_host_model){.id = info->model, .series = series};
    if (info->dry_run)
        return;
    const sl_attr labels[] = {sl_attr_str("model", series->name),
                              sl_attr_of("description", sl_value_str(info->description))};
    model->info = sl_instrument_bind(metrics->body->metrics[SL_METRIC_LLAMACPP_MODEL_INFO], labels, 2);
    model->size = sl_instrument_bind(metrics->body->metrics[SL_METRIC_LLAMACPP_MODEL_BYTES], labels, 1);
    sl_gauge_set(model->info, 1);
    sl_gauge_set(model->size, (int64_t)info->size_bytes);
}

/* Another copy of the model, of any host, is shown by the same series. */
static bool is_shown(const sl_probe_body *body, const sl_series *series, const sl_probe_host_model *besides)
{
    SL_ASSERT(body && besides);
    for (const sl_probe_metrics *host = body->first; host; host = host->next) {
        for (size_t i = 0; i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
            const sl_probe_host_model *model = &host->models[i];
            if (model != besides && model->id && (model->info == series || model->size == series))
                return true;
        }
    }
    return false;
}

void sl_probe_metrics_model_freed(sl_probe_metrics *metrics, uint32_t model)
{
    sl_probe_host_model *m = metrics && model ? model_of(metrics, model) : NULL;
    if (!m)
        return;
    if (m->info && !is_shown(metrics->body, m->info, m))
        sl_gauge_set(m->info, 0);
    if (m->size && !is_shown(metrics->body, m->size, m))
        sl_gauge_set(m->size, 0);
    *m = (sl_probe_host_model){.id = 0};
    if (metrics->main_model == model)
        metrics->main_model = 0; /* its series stay those of work whose context is not known */
}

sl_str sl_probe_metrics_model_name(const sl_probe_metrics *metrics, uint32_t model)
{
    const sl_probe_model_series *series = metrics && !model ? metrics->main_series : NULL;
    for (size_t i = 0; metrics && model && i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
        if (metrics->models[i].id == model)
            series = metrics->models[i].series;
    }
    return series ? sl_str_c(series->name) : SL_STR("");
}

/* ---- memory ---- */

static sl_probe_host_memory *memory_of(sl_probe_metrics *m, sl_probe_memory use, sl_str device)
{
    static const char *const uses[SL_PROBE_MEMORY_COUNT] = {"weights", "kv", "compute", "output", "other"};
    SL_ASSERT((unsigned)use < SL_PROBE_MEMORY_COUNT);
    char name[sizeof m->memory[0].device];
    if (!sl_str_to_c(sl_str_sub(device, 0, sl_utf8_prefix(device, sizeof name - 1)), name, sizeof name) || !name[0])
        snprintf(name, sizeof name, "unknown");
    for (size_t i = 0; i < m->memory_count; i++) {
        if (m->memory[i].use == use && strcmp(m->memory[i].device, name) == 0)
            return &m->memory[i];
    }
    if (m->memory_count >= SL_PROBE_MAX_METRIC_DEVICES)
        return NULL;
    sl_probe_host_memory *memory = &m->memory[m->memory_count++];
    memory->use = use;
    memcpy(memory->device, name, sizeof name);
    const sl_attr plain[] = {sl_attr_str("type", uses[use]), sl_attr_str("device", name)};
    const sl_attr llama[] = {sl_attr_str("llama.memory.type", uses[use]), sl_attr_str("llama.memory.device", name)};
    memory->plain = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMACPP_MEMORY], plain, 2);
    memory->llama = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMA_MEMORY], llama, 2);
    return memory;
}

void sl_probe_metrics_memory(sl_probe_metrics *metrics, sl_probe_memory use, sl_str device, int64_t bytes)
{
    sl_probe_host_memory *memory =
        metrics && bytes && (unsigned)use < SL_PROBE_MEMORY_COUNT ? memory_of(metrics, use, device) : NULL;
    if (!memory)
        return;
    memory->bytes += bytes;
    sl_updown_add(memory->plain, bytes);
    sl_updown_add(memory->llama, bytes);
}

bool sl_probe_resident_bytes(uint32_t pid, uint64_t *ret_bytes)
{
    SL_ASSERT(ret_bytes);
    char path[40], text[128];
    snprintf(path, sizeof path, "/proc/%u/statm", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text);
    bool gone = errno == ENOENT || errno == ESRCH || errno == EACCES || errno == EPERM;
    if (fd >= 0)
        close(fd);
    if (len < 0 && !gone)
        return false;
    sl_str rest = sl_str_of(text, len > 0 ? (size_t)len : 0), part;
    uint64_t pages = 0;
    long page = sysconf(_SC_PAGESIZE);
    bool has = sl_str_split(&rest, ' ', &part); /* the size; what is resident comes next */
    if (!has || !sl_str_split(&rest, ' ', &part) || sl_str_to_u64(part, &pages))
        pages = 0;
    *ret_bytes = page > 0 ? pages * (uint64_t)page : 0;
    return true;
}

/* ---- now and then ---- */

void sl_probe_metrics_tick(sl_probe_metrics *metrics, uint64_t now_ns, uint64_t ring_dropped)
{
    if (!metrics)
        return;
    if (metrics->pid && (!metrics->resident_at_ns || now_ns - metrics->resident_at_ns >= RESIDENT_EVERY_NS)) {
        uint64_t bytes = 0;
        metrics->resident_at_ns = now_ns;
        if (sl_probe_resident_bytes(metrics->pid, &bytes))
            set_resident(metrics, bytes);
    }
    if (ring_dropped > metrics->ring_dropped) {
        sl_counter_add(metrics->body->dropped_full, ring_dropped - metrics->ring_dropped);
        metrics->ring_dropped = ring_dropped;
    }
    sl_probe_host_contexts_tick(metrics, now_ns);
    double fullest = 0;
    for (const sl_probe_metrics *host = metrics->body->first; host; host = host->next)
        fullest = host->context_use > fullest ? host->context_use : fullest;
    metrics->body->totals.context_use = fullest;
    sl_probe_body_tick(metrics->body, now_ns);
}

void sl_probe_metrics_events(sl_probe_metrics *metrics, uint64_t count, uint64_t bad)
{
    if (!metrics)
        return;
    metrics->body->gathered.events += count;
    if (bad)
        sl_counter_add(metrics->body->dropped_damaged, bad);
}
