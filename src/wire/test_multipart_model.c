/* Forms by chance: what was put in comes out, whatever the contents look like; and what is broken is refused. */
#include "src/wire/multipart.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define ROOM 16384

/* A part as it was put in. */
typedef struct put {
    char name[24], filename[24], type[24], content[400];
    size_t content_len;
} put;

typedef struct form {
    put parts[SL_MAX_MULTIPART_PARTS];
    size_t count, len;
    char type[128], body[ROOM], boundary[SL_MULTIPART_BOUNDARY_MAX + 1];
} form;

static void add(form *f, const char *text)
{
    f->len += (size_t)sprintf(f->body + f->len, "%s", text);
}

/* Contents that look like boundaries and heads; never the boundary itself at the beginning of a line. */
static void any_content(put *p, const char *boundary, uint64_t *chance)
{
    for (unsigned n = sl_chance(chance, 12); n > 0; n--) {
        char piece[96];
        size_t len;
        switch (sl_chance(chance, 7)) {
        case 0: /* without the line end in front */
            len = (size_t)snprintf(piece, sizeof piece, "x--%s", boundary);
            break;
        case 1: /* one letter short, and then another one */
            len = (size_t)snprintf(piece, sizeof piece, "\r\n--%.*s\x7f", (int)strlen(boundary) - 1, boundary);
            break;
        case 2:
            len = (size_t)snprintf(piece, sizeof piece, "\r\n\r\nContent-Type: a/b\r\n");
            break;
        case 3:
            len = (size_t)snprintf(piece, sizeof piece, "\n--%s", boundary);
            break;
        case 4:
            len = 1;
            piece[0] = 0;
            break;
        default:
            len = (size_t)snprintf(piece, sizeof piece, "text %u\n", sl_chance(chance, 1000));
        }
        if (p->content_len + len > sizeof p->content)
            return;
        memcpy(p->content + p->content_len, piece, len);
        p->content_len += len;
    }
}

static void make(form *f, uint64_t seed)
{
    static const char letters[] = "abcXYZ019'()+_,-./:=?";
    uint64_t chance = seed;
    memset(f, 0, sizeof *f);
    size_t len = 1 + sl_chance(&chance, SL_MULTIPART_BOUNDARY_MAX);
    for (size_t i = 0; i < len; i++)
        f->boundary[i] = letters[sl_chance(&chance, sizeof letters - 1)];
    (void)snprintf(f->type, sizeof f->type, "multipart/form-data; boundary=\"%s\"", f->boundary);
    f->count = 1 + sl_chance(&chance, SL_MAX_MULTIPART_PARTS);
    for (size_t i = 0; i < f->count; i++) {
        put *p = &f->parts[i];
        char line[160];
        (void)snprintf(p->name, sizeof p->name, "n %u", sl_chance(&chance, 1000));
        if (sl_chance(&chance, 2))
            (void)snprintf(p->filename, sizeof p->filename, "f;%u.gguf", sl_chance(&chance, 1000));
        if (sl_chance(&chance, 2))
            (void)snprintf(p->type, sizeof p->type, "%s", "text/plain");
        any_content(p, f->boundary, &chance);
        (void)snprintf(line, sizeof line, "%s--%s\r\nContent-Disposition: form-data; name=\"%s\"", i ? "\r\n" : "",
                       f->boundary, p->name);
        add(f, line);
        if (p->filename[0]) {
            (void)snprintf(line, sizeof line, "; filename=\"%s\"", p->filename);
            add(f, line);
        }
        add(f, "\r\n");
        if (p->type[0]) {
            (void)snprintf(line, sizeof line, "content-type: %s\r\n", p->type);
            add(f, line);
        }
        add(f, "\r\n");
        memcpy(f->body + f->len, p->content, p->content_len);
        f->len += p->content_len;
    }
    add(f, "\r\n--");
    add(f, f->boundary);
    add(f, sl_chance(&chance, 2) ? "--\r\n" : "--");
}

/* Parts that were read; `*ret_error` is what ended it: SL_ENOENT when all was well. */
static size_t read_all(const char *type, sl_str body, sl_multipart_part *parts, int *ret_error)
{
    sl_multipart reader;
    size_t count = 0;
    *ret_error = sl_multipart_init(&reader, sl_str_c(type), body);
    while (!*ret_error) {
        sl_multipart_part part;
        *ret_error = sl_multipart_next(&reader, &part);
        if (!*ret_error && count < SL_MAX_MULTIPART_PARTS)
            parts[count++] = part;
    }
    return count;
}

SL_TEST(what_was_put_in_comes_out)
{
    static form f;
    sl_multipart_part parts[SL_MAX_MULTIPART_PARTS];
    for (uint64_t seed = 1; seed <= 1500; seed++) {
        int error = 0;
        make(&f, seed);
        size_t count = read_all(f.type, sl_str_of(f.body, f.len), parts, &error);
        if (error != SL_ENOENT || count != f.count) {
            sl_test_failed(__FILE__, __LINE__, "seed %llu: %d, %zu parts of %zu: %s", (unsigned long long)seed, error,
                           count, f.count, f.type);
            return;
        }
        for (size_t i = 0; i < count; i++) {
            CHECK_STR(parts[i].name, f.parts[i].name);
            CHECK_STR(parts[i].filename, f.parts[i].filename);
            CHECK_STR(parts[i].content_type, f.parts[i].type);
            CHECK_STR_EQ(parts[i].content, sl_str_of(f.parts[i].content, f.parts[i].content_len));
        }
    }
}

/* A body that is cut is refused, wherever that is; one with a byte changed is refused or has other parts. */
SL_TEST(a_broken_form_is_never_taken_for_the_whole_one)
{
    static form f;
    sl_multipart_part parts[SL_MAX_MULTIPART_PARTS];
    size_t refused = 0, other = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t chance = seed;
        int error = 0;
        make(&f, seed);
        bool line_end = f.body[f.len - 1] == '\n'; /* behind the last boundary it may be missing */
        for (int i = 0; i < 20; i++) {
            size_t cut = sl_chance(&chance, (unsigned)f.len - (line_end ? 2 : 0));
            char *exact = malloc(cut + 1);
            memcpy(exact, f.body, cut);
            (void)read_all(f.type, sl_str_of(exact, cut), parts, &error);
            CHECK(error == SL_EPARSE || error == SL_ETOOBIG);
            free(exact);
            size_t at = sl_chance(&chance, (unsigned)f.len);
            char was = f.body[at];
            f.body[at] = (char)(was ^ 1);
            size_t count = read_all(f.type, sl_str_of(f.body, f.len), parts, &error);
            refused += error != SL_ENOENT;
            other += error == SL_ENOENT;
            for (size_t k = 0; k < count; k++)
                CHECK(parts[k].content.ptr >= f.body && parts[k].content.ptr + parts[k].content.len <= f.body + f.len);
            f.body[at] = was;
        }
    }
    CHECK(refused > 500 && other > 500);
}
