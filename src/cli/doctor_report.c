/* Rows and their two forms. */
#include "src/cli/doctor_report.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/wire/json_write.h"

static const char *const level_names[] = {"ok", "warn", "FAIL"};

void sl_doctor_init(sl_doctor *doctor)
{
    SL_ASSERT(doctor);
    memset(doctor, 0, sizeof *doctor);
    sl_arena_init(&doctor->arena, 16 * 1024, 4u << 20);
}

void sl_doctor_done(sl_doctor *doctor)
{
    SL_ASSERT(doctor);
    sl_arena_done(&doctor->arena);
}

/* Blots out user information in URLs: a password may stand there. It ends with
 * the last '@', as for who reads the URL; in a text that was cut, all of it may
 * be behind the end. */
static void mask_users(char *text, bool cut)
{
    for (char *at = strstr(text, "://"); at; at = strstr(at, "://")) {
        at += 3;
        size_t len = strcspn(at, "/ ;,\"");
        char *end = memrchr(at, '@', len);
        if (!end && cut && !at[len])
            end = at + len;
        if (end)
            memset(at, '*', (size_t)(end - at));
    }
}

/* Control characters would let a value of the environment draw on the terminal.
 */
static sl_str keep(sl_doctor *doctor, char *text, bool cut)
{
    SL_ASSERT(doctor);
    mask_users(text, cut);
    for (char *at = text; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = ' ';
    }
    sl_str whole = sl_str_c(text);
    if (cut)
        whole.len = sl_utf8_whole(whole);
    sl_str copy = sl_arena_dup(&doctor->arena, whole);
    return copy.ptr ? copy : SL_STR("");
}

void sl_doctor_say(sl_doctor *doctor, sl_doctor_level level, const char *name, const char *remedy, const char *format,
                   ...)
{
    SL_ASSERT(doctor && name && format && level <= SL_DOCTOR_FAIL);
    doctor->warnings += level == SL_DOCTOR_WARN;
    doctor->failures += level == SL_DOCTOR_FAIL;
    if (doctor->count == SL_DOCTOR_MAX_ROWS)
        return;
    char text[SL_DOCTOR_MAX_TEXT];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sl_doctor_row *row = &doctor->rows[doctor->count++];
    row->level = level;
    row->seen = keep(doctor, text, len >= (int)sizeof text);
    len = snprintf(text, sizeof text, "%s", name);
    row->name = keep(doctor, text, len >= (int)sizeof text);
    len = snprintf(text, sizeof text, "%s", remedy ? remedy : "");
    row->remedy = keep(doctor, text, len >= (int)sizeof text);
}

int sl_doctor_text(const sl_doctor *doctor, bool colour, sl_buf *out)
{
    SL_ASSERT(out);
    static const char *const colours[] = {"\033[32m", "\033[33m", "\033[1;31m"};
    for (size_t i = 0; i < doctor->count; i++) {
        const sl_doctor_row *row = &doctor->rows[i];
        (void)sl_buf_printf(out, "%s%-4s%s ", colour ? colours[row->level] : "", level_names[row->level],
                            colour ? "\033[0m" : "");
        (void)sl_buf_put_str(out, row->name);
        (void)sl_buf_put_c(out, ": ");
        (void)sl_buf_put_str(out, row->seen);
        if (row->remedy.len)
            (void)sl_buf_printf(out, "; %.*s", (int)row->remedy.len, row->remedy.ptr);
        (void)sl_buf_put_char(out, '\n');
    }
    return out->failed;
}

int sl_doctor_json(const sl_doctor *doctor, sl_buf *out)
{
    SL_ASSERT(doctor);
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    sl_jw_member_bool(&w, "ok", doctor->failures == 0);
    sl_jw_member_u64(&w, "failures", doctor->failures);
    sl_jw_member_u64(&w, "warnings", doctor->warnings);
    sl_jw_member_array(&w, "checks");
    for (size_t i = 0; i < doctor->count; i++) {
        const sl_doctor_row *row = &doctor->rows[i];
        sl_jw_object(&w);
        sl_jw_member_str(&w, "name", row->name);
        sl_jw_member_c(&w, "status", level_names[row->level]);
        sl_jw_member_str(&w, "seen", row->seen);
        sl_jw_member_str(&w, "remedy", row->remedy);
        sl_jw_end(&w);
    }
    sl_jw_end(&w);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    return error ? error : sl_buf_put_char(out, '\n');
}
