/* Reading and merging of prometheus_client's files. */
#include "src/telemetry/python_db.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/arena.h"
#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/telemetry/prom_name.h"
#include "src/wire/json_scan.h"

typedef enum merge_mode { MODE_SUM, MODE_MIN, MODE_MAX, MODE_LAST, MODE_ALL } merge_mode;

/* One sample of the merge. Its key is family, sample name and labels; buckets carry `le` apart, to be cumulated. */
typedef struct sample {
    struct sample *next_in_table;
    uint64_t hash;
    sl_str family;
    sl_str name;
    sl_str labels; /* rendered, sorted, without braces and without le */
    sl_str help;
    const char *type;
    bool is_bucket;
    double le;
    double value;
    double time;
} sample;

#define TABLE_SIZE 16384
#define MAX_SAMPLE_BYTES (sizeof(sample) + 6 * (size_t)SL_MAX_PYTHON_KEY_BYTES)

struct sl_python_merge {
    sl_arena arena;   /* what samples are made of */
    sl_arena scratch; /* of the entry at hand; what its keys may need always fits */
    bool no_memory;   /* something of an entry could not be held */
    sample *table[TABLE_SIZE];
    sample **all;
    size_t count;
    size_t cap;
};

/* Type and merge mode of a file, by its name. */
typedef struct file_kind {
    const char *type;
    merge_mode mode;
    sl_str pid;
} file_kind;

static const struct {
    const char *prefix;
    const char *type;
    merge_mode mode;
} kinds[] = {
    {"counter_", "counter", MODE_SUM},
    {"histogram_", "histogram", MODE_SUM},
    {"summary_", "summary", MODE_SUM},
    {"gauge_all_", "gauge", MODE_ALL},
    {"gauge_liveall_", "gauge", MODE_ALL},
    {"gauge_min_", "gauge", MODE_MIN},
    {"gauge_livemin_", "gauge", MODE_MIN},
    {"gauge_max_", "gauge", MODE_MAX},
    {"gauge_livemax_", "gauge", MODE_MAX},
    {"gauge_sum_", "gauge", MODE_SUM},
    {"gauge_livesum_", "gauge", MODE_SUM},
    {"gauge_mostrecent_", "gauge", MODE_LAST},
    {"gauge_livemostrecent_", "gauge", MODE_LAST},
};

static bool kind_of(sl_str name, file_kind *ret_kind)
{
    SL_ASSERT(ret_kind);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sl_str prefix = sl_str_c(kinds[i].prefix);
        if (!sl_str_starts(name, prefix) || !sl_str_ends(name, SL_STR(".db")) || name.len <= prefix.len + 3)
            continue;
        ret_kind->type = kinds[i].type;
        ret_kind->mode = kinds[i].mode;
        ret_kind->pid = sl_str_sub(name, prefix.len, name.len - prefix.len - 3);
        return true;
    }
    return false;
}

sl_python_merge *sl_python_merge_new(void)
{
    sl_python_merge *merge = sl_calloc(1, sizeof *merge);
    if (!merge)
        return NULL;
    sl_arena_init(&merge->arena, 64 * 1024, SL_MAX_PYTHON_MERGE_BYTES);
    sl_arena_init(&merge->scratch, 64 * 1024, 16 * SL_MAX_PYTHON_KEY_BYTES);
    return merge;
}

void sl_python_merge_free(sl_python_merge *merge)
{
    if (!merge)
        return;
    sl_arena_done(&merge->arena);
    sl_arena_done(&merge->scratch);
    sl_free(merge->all);
    sl_free(merge);
}

/* ---- one entry ---- */

typedef struct label {
    sl_str name;
    sl_str value;
} label;

#define MAX_LABELS 64

static int compare_labels(const void *a, const void *b)
{
    const label *x = a, *y = b;
    size_t len = x->name.len < y->name.len ? x->name.len : y->name.len;
    int order = len ? memcmp(x->name.ptr, y->name.ptr, len) : 0;
    return order ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* Decodes a JSON string; ptr NULL when it is none. The text lives as long as the scratch and the value's own bytes. */
static sl_str decode(sl_python_merge *merge, sl_json_value value)
{
    sl_str raw = sl_json_string_raw(value), text;
    char *buffer = value.type == SL_JSON_STRING ? sl_arena_alloc(&merge->scratch, raw.len * 3 + 1) : NULL;
    merge->no_memory |= value.type == SL_JSON_STRING && !buffer;
    if (!buffer || sl_json_string(value, buffer, raw.len * 3 + 1, &text) != 0)
        return sl_str_of(NULL, 0);
    return text.ptr ? text : sl_str_of("", 0);
}

/* Names stand in the text unescaped: one that is no name would make the whole page unreadable. */
static bool is_name(sl_str name, bool colons)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool good = (c && strchr(letters, c)) || (i > 0 && c >= '0' && c <= '9') || (colons && c == ':');
        if (!good)
            return false;
    }
    return name.len > 0;
}

/* `name="value",…` with the escapes of the text format. */
static sl_str render_labels(sl_python_merge *merge, label *labels, size_t count)
{
    SL_ASSERT(labels || !count);
    sl_buf out;
    sl_buf_init(&out, 2 * SL_MAX_PYTHON_KEY_BYTES);
    if (count)
        qsort(labels, count, sizeof *labels, compare_labels);
    for (size_t i = 0; i < count; i++) {
        if (i)
            (void)sl_buf_put_char(&out, ',');
        (void)sl_buf_put_str(&out, labels[i].name);
        (void)sl_buf_put_c(&out, "=\"");
        (void)sl_prom_escape_label(labels[i].value, &out);
        (void)sl_buf_put_char(&out, '"');
    }
    sl_str text = out.failed ? sl_str_of(NULL, 0) : sl_arena_dup(&merge->scratch, sl_buf_str(&out));
    merge->no_memory |= out.failed == SL_ENOMEM || (!out.failed && !text.ptr);
    sl_buf_done(&out);
    return text;
}

/* What an entry's key says; its texts are scratch. */
static bool read_key(sl_python_merge *merge, sl_str key, const file_kind *kind, sample *ret_sample)
{
    SL_ASSERT(ret_sample);
    sl_json_value root, name, part, labels = {SL_JSON_NONE, {NULL, 0}};
    label list[MAX_LABELS];
    size_t count = 0;
    sample s;
    memset(&s, 0, sizeof s);
    if (sl_json_parse(key, &root, NULL) != 0 || root.type != SL_JSON_ARRAY)
        return false;
    sl_json_iter iter;
    sl_json_iter_init(&iter, root);
    sl_str *const texts[] = {&s.family, &s.name, NULL, &s.help};
    for (size_t i = 0; i < 4 && sl_json_iter_next(&iter, &name, &part); i++) {
        if (texts[i])
            *texts[i] = decode(merge, part);
        else
            labels = part;
    }
    if (!is_name(s.family, true) || !is_name(s.name, true) || labels.type != SL_JSON_OBJECT)
        return false;
    sl_json_iter_init(&iter, labels);
    while (count < MAX_LABELS - 1 && sl_json_iter_next(&iter, &name, &part)) {
        label l = {decode(merge, name), decode(merge, part)};
        if (!is_name(l.name, false) || !l.value.ptr)
            return false;
        if (sl_str_eq_c(l.name, "le")) {
            s.is_bucket = true;
            s.le = sl_str_to_double(l.value, &s.le) == 0 ? s.le : INFINITY;
        } else {
            list[count++] = l;
        }
    }
    if (kind->mode == MODE_ALL) {
        list[count].name = SL_STR("pid");
        list[count++].value = kind->pid;
    }
    s.labels = render_labels(merge, list, count);
    s.type = kind->type;
    *ret_sample = s;
    return s.labels.ptr != NULL;
}

/* ---- the table ---- */

static uint64_t hash_sample(const sample *s)
{
    SL_ASSERT(s);
    uint64_t h = sl_hash_bytes(s->name.ptr, s->name.len, s->is_bucket ? 1 : 0);
    h = sl_hash_bytes(s->labels.ptr, s->labels.len, h);
    return s->is_bucket ? sl_hash_bytes(&s->le, sizeof s->le, h) : h;
}

static bool same_sample(const sample *a, const sample *b)
{
    SL_ASSERT(a && b);
    return a->hash == b->hash && a->is_bucket == b->is_bucket && sl_str_eq(a->name, b->name) &&
           sl_str_eq(a->labels, b->labels) && sl_str_eq(a->family, b->family) &&
           (!a->is_bucket || a->le == b->le || (isinf(a->le) && isinf(b->le)));
}

static void fold(sample *into, const sample *s, merge_mode mode)
{
    switch (mode) {
    case MODE_SUM:
        into->value += s->value;
        break;
    case MODE_MIN:
        into->value = fmin(into->value, s->value);
        break;
    case MODE_MAX:
        into->value = fmax(into->value, s->value);
        break;
    case MODE_LAST:
    case MODE_ALL:
        if (s->time >= into->time) {
            into->value = s->value;
            into->time = s->time;
        }
        break;
    }
}

/* A copy with texts of its own. NULL without memory or beyond the limit. */
static sample *keep_sample(sl_python_merge *merge, const sample *s)
{
    SL_ASSERT(s->family.ptr && s->name.ptr && s->labels.ptr);
    sample *copy = sl_arena_alloc(&merge->arena, sizeof *copy);
    if (!copy)
        return NULL;
    *copy = *s;
    copy->family = sl_arena_dup(&merge->arena, s->family);
    copy->name = sl_arena_dup(&merge->arena, s->name);
    copy->labels = sl_arena_dup(&merge->arena, s->labels);
    copy->help = sl_arena_dup(&merge->arena, s->help);
    return copy->family.ptr && copy->name.ptr && copy->labels.ptr && copy->help.ptr ? copy : NULL;
}

static int add_sample(sl_python_merge *merge, sample *s, merge_mode mode)
{
    SL_ASSERT(s && merge);
    s->hash = hash_sample(s);
    sample **slot = &merge->table[s->hash % TABLE_SIZE];
    for (sample *at = *slot; at; at = at->next_in_table) {
        if (same_sample(at, s)) {
            fold(at, s, mode);
            return 0;
        }
    }
    if (merge->count == SL_MAX_PYTHON_SAMPLES)
        return SL_ELIMIT;
    if (merge->count == merge->cap) {
        size_t cap = merge->cap ? merge->cap * 2 : 256;
        sample **all = sl_realloc(merge->all, cap * sizeof(sample *));
        if (!all)
            return SL_ENOMEM;
        merge->all = all;
        merge->cap = cap;
    }
    sample *copy = keep_sample(merge, s);
    if (!copy)
        return merge->arena.used + MAX_SAMPLE_BYTES > merge->arena.max ? SL_ELIMIT : SL_ENOMEM;
    copy->next_in_table = *slot;
    *slot = copy;
    merge->all[merge->count++] = copy;
    return 0;
}

/* ---- files ---- */

/* Length of the padded key of the entry at `at`, with `values` bytes behind it; 0: there is no such entry. */
static size_t padded_key(sl_str bytes, size_t at, size_t end, size_t values, size_t *ret_len)
{
    SL_ASSERT(end <= bytes.len);
    int32_t key_len;
    if (at + 4 > end)
        return 0;
    memcpy(&key_len, bytes.ptr + at, sizeof key_len);
    size_t padded = key_len > 0 ? 8 - ((size_t)key_len + 4) % 8 + (size_t)key_len : 0;
    if (key_len <= 0 || padded > end - at - 4 || end - at - 4 - padded < values)
        return 0;
    *ret_len = (size_t)key_len;
    return padded;
}

/* Bytes behind a key: a value and a time, or in files of versions before 0.17 the value alone. What goes up to the end
 * tells. */
static size_t value_bytes(sl_str bytes, size_t end)
{
    SL_ASSERT(end <= bytes.len);
    size_t len, padded, at = 8;
    while ((padded = padded_key(bytes, at, end, 8, &len)) > 0 && bytes.ptr[at + 4] == '[')
        at += 4 + padded + 8;
    return at == end && end > 8 ? 8 : 16;
}

int sl_python_merge_add(sl_python_merge *merge, sl_str name, sl_str bytes)
{
    SL_ASSERT((name.ptr || !name.len) && (bytes.ptr || !bytes.len));
    file_kind kind;
    int32_t used = 0;
    if (!kind_of(name, &kind))
        return SL_EINVAL;
    if (bytes.len >= 8)
        memcpy(&used, bytes.ptr, sizeof used);
    size_t end = used > 0 && (size_t)used <= bytes.len ? (size_t)used : 0;
    size_t values = value_bytes(bytes, end), key_len = 0;
    for (size_t at = 8; at + 4 <= end; at += values) {
        size_t padded = padded_key(bytes, at, end, values, &key_len);
        if (!padded)
            break;
        sample s;
        sl_arena_reset(&merge->scratch);
        bool ok =
            key_len <= SL_MAX_PYTHON_KEY_BYTES && read_key(merge, sl_str_of(bytes.ptr + at + 4, key_len), &kind, &s);
        at += 4 + padded;
        if (merge->no_memory)
            return SL_ENOMEM;
        if (!ok)
            continue;
        memcpy(&s.value, bytes.ptr + at, sizeof s.value);
        s.time = 0;
        if (values == 16)
            memcpy(&s.time, bytes.ptr + at + 8, sizeof s.time);
        int error = add_sample(merge, &s, kind.mode);
        if (error)
            return error;
    }
    return 0;
}

static int compare_text(sl_str a, sl_str b)
{
    SL_ASSERT((a.ptr || !a.len) && (b.ptr || !b.len));
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* Families, then series, with the buckets of a series together and in order, before its sum. */
static int compare_samples(const void *a, const void *b)
{
    const sample *x = *(sample *const *)a, *y = *(sample *const *)b;
    int order = compare_text(x->family, y->family);
    if (!order && sl_str_eq_c(sl_str_c(x->type), "histogram")) {
        order = compare_text(x->labels, y->labels);
        if (!order && x->is_bucket != y->is_bucket)
            return x->is_bucket ? -1 : 1;
    }
    if (!order)
        order = compare_text(x->name, y->name);
    if (!order)
        order = compare_text(x->labels, y->labels);
    return order ? order : (x->le > y->le) - (x->le < y->le);
}

static void write_head(const sample *s, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(s);
    sl_str family = s->family;
    bool counter = sl_str_eq_c(sl_str_c(s->type), "counter"), total = sl_str_ends(family, SL_STR("_total"));
    if (format == SL_PROMETHEUS_OPENMETRICS && counter && total)
        family.len -= 6;
    const char *suffix = format == SL_PROMETHEUS_TEXT && counter && !total ? "_total" : "";
    (void)sl_buf_printf(out, "# HELP %.*s%s ", (int)family.len, family.ptr, suffix);
    (void)sl_prom_escape_help(s->help, format, out); /* a help text of several lines is usual in Python */
    (void)sl_buf_printf(out, "\n# TYPE %.*s%s %s\n", (int)family.len, family.ptr, suffix, s->type);
}

static void write_sample(const sample *s, double value, sl_str suffix, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(s);
    (void)sl_buf_put_str(out, suffix.len ? s->family : s->name);
    (void)sl_buf_put_str(out, suffix);
    if (s->labels.len || s->is_bucket) {
        (void)sl_buf_put_char(out, '{');
        (void)sl_buf_put_str(out, s->labels);
        if (s->is_bucket && suffix.len == 0) {
            (void)sl_buf_put_c(out, s->labels.len ? ",le=\"" : "le=\"");
            (void)sl_prom_bound(s->le, format, out);
            (void)sl_buf_put_char(out, '"');
        }
        (void)sl_buf_put_char(out, '}');
    }
    (void)sl_buf_put_char(out, ' ');
    (void)sl_prom_number(value, out);
    (void)sl_buf_put_char(out, '\n');
}

int sl_python_merge_write(sl_python_merge *merge, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(merge && out);
    double total = 0;
    if (merge->count)
        qsort(merge->all, merge->count, sizeof(sample *), compare_samples);
    for (size_t i = 0; i < merge->count; i++) {
        const sample *s = merge->all[i];
        const sample *before = i ? merge->all[i - 1] : NULL;
        const sample *after = i + 1 < merge->count ? merge->all[i + 1] : NULL;
        bool histogram = sl_str_eq_c(sl_str_c(s->type), "histogram");
        if (!before || !sl_str_eq(before->family, s->family))
            write_head(s, format, out);
        if (!s->is_bucket || !histogram) {
            write_sample(s, s->value, sl_str_of(NULL, 0), format, out);
            continue;
        }
        /* Files hold what fell into each bucket; text wants everything up to it. */
        bool first = !before || !before->is_bucket || !sl_str_eq(before->family, s->family) ||
                     !sl_str_eq(before->labels, s->labels);
        total = first ? s->value : total + s->value;
        write_sample(s, total, sl_str_of(NULL, 0), format, out);
        if (!after || !after->is_bucket || !sl_str_eq(after->family, s->family) ||
            !sl_str_eq(after->labels, s->labels)) {
            sample count = *s;
            count.is_bucket = false;
            write_sample(&count, total, SL_STR("_count"), format, out);
        }
    }
    return out->failed;
}

/*
 * Reads a file whole. SL_ENOENT when there is none to read: it went away meanwhile, or is not ours. SL_EIO when it
 * cannot be read now: without it the sums would go down, which looks as if the counters had begun anew.
 */
static int read_file(int folder, const char *name, sl_buf *out)
{
    SL_ASSERT(out);
    struct stat st;
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT || errno == ELOOP || errno == EACCES || errno == EPERM ? SL_ENOENT : SL_EIO;
    int error = fstat(fd, &st) != 0 ? SL_EIO : !S_ISREG(st.st_mode) ? SL_ENOENT : 0;
    sl_buf_clear(out);
    if (!error)
        error = sl_buf_reserve(out, (size_t)st.st_size + 1);
    while (!error && out->len < (size_t)st.st_size) {
        ssize_t got = read(fd, out->data + out->len, (size_t)st.st_size - out->len);
        if (got == 0)
            break;
        if (got > 0)
            out->len += (size_t)got;
        else if (errno != EINTR)
            error = SL_EIO;
    }
    close(fd);
    return error;
}

int sl_python_db_write(const char *folder, sl_prometheus_format format, sl_buf *out)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return SL_EIO;
    sl_python_merge *merge = sl_python_merge_new();
    sl_buf file;
    sl_buf_init(&file, SL_MAX_PYTHON_FILE_BYTES);
    int error = merge ? 0 : SL_ENOMEM;
    size_t files = 0;
    for (struct dirent *entry; !error && (entry = readdir(dir)) != NULL;) {
        file_kind kind;
        if (!kind_of(sl_str_c(entry->d_name), &kind))
            continue;
        if (++files > SL_MAX_PYTHON_FILES) {
            error = SL_ELIMIT;
            break;
        }
        error = read_file(dirfd(dir), entry->d_name, &file);
        if (!error)
            error = sl_python_merge_add(merge, sl_str_c(entry->d_name), sl_buf_str(&file));
        else if (error == SL_ENOENT || error == SL_ELIMIT) /* none, or one that is far too long to be one */
            error = 0;
    }
    closedir(dir);
    if (!error)
        error = sl_python_merge_write(merge, format, out);
    sl_buf_done(&file);
    sl_python_merge_free(merge);
    return error;
}
