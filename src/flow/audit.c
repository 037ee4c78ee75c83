/* The chain, its writer thread, its check. */
#include "src/flow/audit.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/wire/json_scan.h"
#include "src/wire/json_write.h"

#define MAX_TEXT 1024u /* of one member; JSON may make six bytes of each */
#define MAX_LINE (3 * 6 * MAX_TEXT + 1024u)
#define SYNC_NS 250000000u

typedef struct entry entry;
struct entry {
    entry *next;
    uint64_t time_ns;
    const char *action;
    sl_str object, by, detail; /* behind the struct */
};

struct sl_audit {
    /* The writer's. */
    FILE *file;
    uint64_t seq;
    char last[SL_AUDIT_HASH_LEN + 1];
    sl_buf line;
    /* Locked. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    entry *first, **end;
    size_t waiting;
    uint64_t lost;
    bool closing;
    pthread_t thread;
};

static const char zeros[] = "0000000000000000000000000000000000000000000000000000000000000000";

static bool hash_of(sl_str text, char ret_hex[SL_AUDIT_HASH_LEN + 1])
{
    uint8_t digest[32];
    unsigned size = sizeof digest;
    if (EVP_Digest(text.ptr, text.len, digest, &size, EVP_sha256(), NULL) != 1 || size != sizeof digest)
        return false;
    sl_hex_encode(digest, sizeof digest, ret_hex);
    ret_hex[SL_AUDIT_HASH_LEN] = 0;
    return true;
}

/* ---- writing ---- */

/* The line without its hash and the closing brace. */
static void build(sl_audit *audit, const entry *e)
{
    SL_ASSERT(audit && e);
    sl_jw w;
    char time[SL_RFC3339_MS_LEN + 1];
    sl_rfc3339_ms(e->time_ns, time);
    sl_buf_clear(&audit->line);
    sl_jw_init(&w, &audit->line);
    sl_jw_object(&w);
    sl_jw_member_u64(&w, "seq", audit->seq + 1);
    sl_jw_member_c(&w, "time", time);
    sl_jw_member_c(&w, "action", e->action);
    sl_jw_member_str(&w, "object", e->object);
    sl_jw_member_str(&w, "by", e->by);
    sl_jw_member_str(&w, "detail", e->detail);
    sl_jw_member_c(&w, "prev", audit->last);
    sl_jw_end(&w);
    if (sl_jw_finish(&w) == 0)
        audit->line.len--; /* the brace */
}

static void write_entry(sl_audit *audit, const entry *e)
{
    char hash[SL_AUDIT_HASH_LEN + 1];
    build(audit, e);
    if (audit->line.failed || !hash_of(sl_buf_str(&audit->line), hash))
        return;
    (void)sl_buf_printf(&audit->line, ",\"hash\":\"%s\"}\n", hash);
    if (audit->line.failed || fwrite(audit->line.data, 1, audit->line.len, audit->file) != audit->line.len)
        return;
    audit->seq++;
    memcpy(audit->last, hash, sizeof hash);
}

static void write_lost(sl_audit *audit, uint64_t lost)
{
    SL_ASSERT(lost);
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)lost);
    entry e = {.time_ns = sl_now_ns(), .action = "audit.lost", .detail = sl_str_c(text)};
    write_entry(audit, &e);
}

/* A burst shares its syncs: each is of the whole disk's time, which the work itself waits for. */
static void *run(void *user)
{
    sl_audit *audit = user;
    bool unsynced = false;
    uint64_t synced_ns = 0;
    pthread_mutex_lock(&audit->lock);
    for (;;) {
        uint64_t due_ns = unsynced ? synced_ns + SYNC_NS : SL_FOREVER;
        while (!audit->first && !audit->closing && sl_mono_ns() < due_ns)
            (void)sl_cond_wait_until(&audit->changed, &audit->lock, due_ns);
        entry *list = audit->first;
        uint64_t lost = audit->lost;
        bool closing = audit->closing;
        audit->first = NULL;
        audit->end = &audit->first;
        audit->waiting = 0;
        audit->lost = 0;
        pthread_mutex_unlock(&audit->lock);
        while (list) {
            entry *e = list;
            list = e->next;
            write_entry(audit, e);
            sl_free(e);
        }
        if (lost)
            write_lost(audit, lost);
        (void)fflush(audit->file);
        unsynced = true;
        if (closing || sl_mono_ns() >= synced_ns + SYNC_NS) {
            (void)fdatasync(fileno(audit->file));
            unsynced = false;
            synced_ns = sl_mono_ns();
        }
        pthread_mutex_lock(&audit->lock);
        if (closing && !audit->first)
            break;
    }
    pthread_mutex_unlock(&audit->lock);
    return NULL;
}

static char *put_text(char *at, sl_str text, sl_str *ret_copy)
{
    size_t len = sl_utf8_prefix(text, MAX_TEXT);
    if (len)
        memcpy(at, text.ptr, len);
    *ret_copy = sl_str_of(at, len);
    return at + len;
}

void sl_audit_add(sl_audit *audit, const char *action, sl_str object, sl_str by, sl_str detail)
{
    if (!audit)
        return;
    SL_ASSERT(action);
    entry *e = sl_malloc(sizeof *e + 3 * (size_t)MAX_TEXT);
    if (e) {
        e->next = NULL;
        e->time_ns = sl_now_ns();
        e->action = action;
        char *at = put_text((char *)(e + 1), object, &e->object);
        at = put_text(at, by, &e->by);
        (void)put_text(at, detail, &e->detail);
    }
    pthread_mutex_lock(&audit->lock);
    if (e && audit->waiting < SL_AUDIT_MAX_WAITING) {
        *audit->end = e;
        audit->end = &e->next;
        audit->waiting++;
        e = NULL;
    } else {
        audit->lost++;
    }
    pthread_cond_signal(&audit->changed);
    pthread_mutex_unlock(&audit->lock);
    sl_free(e);
}

/* ---- reading ---- */

/* Checks one line against the one before; false: it does not fit. */
static bool line_fits(sl_str line, const char *last, uint64_t seq, char ret_hash[SL_AUDIT_HASH_LEN + 1])
{
    static const size_t tail = sizeof ",\"hash\":\"\"}" - 1 + SL_AUDIT_HASH_LEN;
    sl_json_value root;
    char want[SL_AUDIT_HASH_LEN + 1];
    int64_t number = 0;
    if (line.len <= tail || sl_json_parse(line, &root, NULL) != 0)
        return false;
    sl_str hash = sl_json_string_raw(sl_json_get(root, "hash")), prev = sl_json_string_raw(sl_json_get(root, "prev"));
    if (hash.len != SL_AUDIT_HASH_LEN || !sl_str_eq_c(prev, last) ||
        sl_json_i64(sl_json_get(root, "seq"), &number) != 0 || (uint64_t)number != seq)
        return false;
    if (!hash_of(sl_str_sub(line, 0, line.len - tail), want) || !sl_str_eq_c(hash, want))
        return false;
    return sl_str_to_c(hash, ret_hash, SL_AUDIT_HASH_LEN + 1);
}

/* Goes through a log. Ends at the first line that does not fit: SL_EPROTO. */
static int read_chain(FILE *file, uint64_t *ret_seq, char ret_last[SL_AUDIT_HASH_LEN + 1], long *ret_end)
{
    SL_ASSERT(file);
    char *line = sl_malloc(MAX_LINE);
    int error = line ? 0 : SL_ENOMEM;
    memcpy(ret_last, zeros, sizeof zeros);
    *ret_seq = 0;
    *ret_end = 0;
    while (!error && fgets(line, MAX_LINE, file)) {
        sl_str text = sl_str_c(line);
        if (!sl_str_ends(text, SL_STR("\n"))) {
            error = SL_EPROTO;
            break;
        }
        text.len--;
        if (!line_fits(text, ret_last, *ret_seq + 1, ret_last)) {
            error = SL_EPROTO;
            break;
        }
        (*ret_seq)++;
        *ret_end = ftell(file);
    }
    if (!error && ferror(file))
        error = SL_EIO;
    sl_free(line);
    return error;
}

int sl_audit_verify(const char *path, uint64_t *ret_lines)
{
    SL_ASSERT(path && ret_lines);
    char last[SL_AUDIT_HASH_LEN + 1];
    long end;
    FILE *file = fopen(path, "rbe");
    if (!file)
        return SL_EIO;
    int error = read_chain(file, ret_lines, last, &end);
    (void)fclose(file);
    return error;
}

/* A last line without its end was cut by a crash: it is taken away, and that is said in the chain. Any other line that
 * does not fit stays as it is, and the chain begins anew behind it, which the check will find. */
static int open_chain(sl_audit *audit, const char *path)
{
    SL_ASSERT(audit);
    long end = 0;
    audit->file = fopen(path, "a+be");
    if (!audit->file)
        return SL_EIO;
    rewind(audit->file);
    int error = read_chain(audit->file, &audit->seq, audit->last, &end);
    if (error == SL_ENOMEM || error == SL_EIO)
        return error;
    if (error == SL_EPROTO) {
        bool cut = fseek(audit->file, -1, SEEK_END) == 0 && fgetc(audit->file) != '\n';
        if (cut && ftruncate(fileno(audit->file), end) != 0)
            return SL_EIO;
        entry e = {.time_ns = sl_now_ns(),
                   .action = cut ? "audit.repaired" : "audit.broken",
                   .detail = cut ? SL_STR("the last line was cut by a crash") : SL_STR("a line does not fit")};
        (void)fseek(audit->file, 0, SEEK_END);
        write_entry(audit, &e);
    }
    return 0;
}

int sl_audit_open(const char *path, sl_audit **ret_audit)
{
    SL_ASSERT(path && ret_audit);
    sl_audit *audit = sl_calloc(1, sizeof *audit);
    if (!audit)
        return SL_ENOMEM;
    sl_buf_init(&audit->line, MAX_LINE);
    audit->end = &audit->first;
    int error = open_chain(audit, path);
    if (!error && pthread_mutex_init(&audit->lock, NULL) != 0)
        error = SL_ENOMEM;
    else if (!error && (error = sl_cond_init(&audit->changed)) != 0)
        pthread_mutex_destroy(&audit->lock);
    else if (!error && (error = sl_thread_start(&audit->thread, run, audit)) != 0) {
        pthread_cond_destroy(&audit->changed);
        pthread_mutex_destroy(&audit->lock);
    }
    if (error) {
        if (audit->file)
            (void)fclose(audit->file);
        sl_buf_done(&audit->line);
        sl_free(audit);
        return error;
    }
    *ret_audit = audit;
    return 0;
}

void sl_audit_close(sl_audit *audit)
{
    if (!audit)
        return;
    pthread_mutex_lock(&audit->lock);
    audit->closing = true;
    pthread_cond_signal(&audit->changed);
    pthread_mutex_unlock(&audit->lock);
    (void)pthread_join(audit->thread, NULL);
    (void)fclose(audit->file);
    pthread_cond_destroy(&audit->changed);
    pthread_mutex_destroy(&audit->lock);
    sl_buf_done(&audit->line);
    sl_free(audit);
}
