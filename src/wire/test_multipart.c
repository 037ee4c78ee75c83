/* Forms as clients send them, and what must be refused. */
#include "src/wire/multipart.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_test.h"

#define TYPE "multipart/form-data; boundary=XyZ"
#define HEAD                                                                                                           \
    "Content-Disposition: form-data; name=\"config_file\"; filename=\"upload\"\r\nContent-Type: "                      \
    "application/octet-stream\r\n\r\n"

static int parse(const char *type, sl_str body, sl_multipart_part *parts, size_t max, size_t *ret_count)
{
    sl_multipart form;
    size_t count = 0;
    int error = sl_multipart_init(&form, sl_str_c(type), body);
    while (!error) {
        sl_multipart_part part;
        error = sl_multipart_next(&form, &part);
        if (!error && count < max)
            parts[count++] = part;
    }
    *ret_count = count;
    CHECK_EQ(error == SL_ENOENT, form.reason == NULL);
    sl_multipart_part again;
    CHECK(sl_multipart_next(&form, &again) != 0);
    return error == SL_ENOENT ? 0 : error;
}

SL_TEST(a_file_as_a_client_sends_it)
{
    sl_multipart_part parts[4];
    size_t count;
    const char *body = "--XyZ\r\n" HEAD "name: QuickStart\nservices: {}\n\r\n--XyZ--\r\n";
    REQUIRE(parse(TYPE, sl_str_c(body), parts, 4, &count) == 0);
    REQUIRE(count == 1);
    CHECK_STR(parts[0].name, "config_file");
    CHECK_STR(parts[0].filename, "upload");
    CHECK_STR(parts[0].content_type, "application/octet-stream");
    CHECK_STR(parts[0].content, "name: QuickStart\nservices: {}\n");
}

SL_TEST(several_parts_empty_ones_and_contents_that_look_like_boundaries)
{
    sl_multipart_part parts[4];
    size_t count;
    const char *body = "--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n--XyZ\r\n"
                       "content-disposition: FORM-DATA; NAME=\"b\"\r\n\r\n--Xy\r\n--X\r\n\r\n--XyZ--";
    REQUIRE(parse(TYPE, sl_str_c(body), parts, 4, &count) == 0);
    REQUIRE(count == 2);
    CHECK_STR(parts[0].content, "");
    CHECK_STR(parts[0].name, "a");
    CHECK_STR(parts[1].content, "--Xy\r\n--X\r\n");
    CHECK_STR(parts[1].name, "b");
}

SL_TEST(content_types)
{
    static const struct {
        const char *type;
        bool good;
    } rows[] = {
        {TYPE, true},
        {"Multipart/Form-Data;boundary=\"XyZ\"", true},
        {"multipart/form-data; charset=utf-8; boundary=XyZ", true},
        {"multipart/form-data", false},
        {"multipart/form-data; boundary=", false},
        {"multipart/form-data; boundary=\"\"", false},
        {"multipart/form-data; boundary=\"Xy", false},
        {"multipart/form-data; boundary=XyZ; boundary=XyZ", false},
        {"multipart/form-data; boundary=\"a\\\"b\"", false},
        {"multipart/mixed; boundary=XyZ", false},
        {"application/json", false},
        {"", false},
        {"multipart/form-data; boundary=012345678901234567890123456789012345678901234567890123456789012345678901",
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_multipart form;
        CHECK_EQ(sl_multipart_init(&form, sl_str_c(rows[i].type), SL_STR("--XyZ--")) == 0, rows[i].good);
    }
}

SL_TEST(what_could_be_read_in_two_ways_is_refused)
{
    static const char *const bodies[] = {
        "",
        "--Xy",
        "preamble\r\n--XyZ\r\n" HEAD "a\r\n--XyZ--",
        "--XyZ\n" HEAD "a\r\n--XyZ--",                                                 /* bare line feed */
        "--XyZ\r\nContent-Disposition: form-data; name=\"a\"\n\r\n\r\nb\r\n--XyZ--",   /* in the head */
        "--XyZ\r\nContent-Disposition: form-data\r\n\r\nb\r\n--XyZ--",                 /* no name */
        "--XyZ\r\nContent-Disposition: form-data; name=\"\"\r\n\r\nb\r\n--XyZ--",      /* an empty one */
        "--XyZ\r\nContent-Disposition: form-data; name=a; name=b\r\n\r\nb\r\n--XyZ--", /* two */
        "--XyZ\r\nContent-Disposition: attachment; name=a\r\n\r\nb\r\n--XyZ--",        /* something else */
        "--XyZ\r\nContent-Type: a/b\r\n\r\nb\r\n--XyZ--",                              /* no disposition */
        "--XyZ\r\nContent-Disposition: form-data;\r\n name=a\r\n\r\nb\r\n--XyZ--",     /* folded */
        "--XyZ\r\nContent-Disposition : form-data; name=a\r\n\r\nb\r\n--XyZ--",        /* space before the colon */
        "--XyZ\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nb\r\n--XyZ--",
        "--XyZ\r\n" HEAD "a",               /* no last boundary */
        "--XyZ\r\n" HEAD "a\r\n--XyZ",      /* cut behind it */
        "--XyZ\r\n" HEAD "a\r\n--XyZ-",     /* in it */
        "--XyZ\r\n" HEAD "a\r\n--XyZ--more" /* something behind it */
        ,
        "--XyZ\r\n" HEAD "a\r\n--XyZ--\r\nepilogue",
        "--XyZ\r\n" HEAD "a\r\n--XyZabc--",
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        sl_multipart_part parts[4];
        size_t count;
        if (parse(TYPE, sl_str_c(bodies[i]), parts, 4, &count) != SL_EPARSE)
            sl_test_failed(__FILE__, __LINE__, "row %zu is accepted", i);
    }
}

SL_TEST(every_cut_of_a_good_body_is_refused)
{
    const char *body =
        "--XyZ\r\n" HEAD "one\r\n--XyZ\r\nContent-Disposition: form-data; name=b\r\n\r\ntwo\r\n--XyZ--\r\n";
    sl_multipart_part parts[4];
    size_t count, len = strlen(body);
    for (size_t cut = 0; cut < len; cut++) {
        char *copy = malloc(cut + 1); /* so that reading beyond it is seen */
        REQUIRE(copy != NULL);
        memcpy(copy, body, cut);
        int error = parse(TYPE, sl_str_of(copy, cut), parts, 4, &count);
        bool whole = cut == len - 2; /* the line end behind the last boundary may be missing */
        CHECK_EQ(error, whole ? 0 : SL_EPARSE);
        free(copy);
    }
    CHECK_EQ(parse(TYPE, sl_str_of(body, len), parts, 4, &count), 0);
    CHECK_EQ(count, 2);
}

SL_TEST(limits_at_and_one_above)
{
    sl_multipart_part parts[SL_MAX_MULTIPART_PARTS + 1];
    for (unsigned extra = 0; extra < 2; extra++) {
        size_t count;
        char body[(SL_MAX_MULTIPART_PARTS + 2) * 80];
        size_t len = 0;
        for (unsigned i = 0; i < SL_MAX_MULTIPART_PARTS + extra; i++)
            len += (size_t)snprintf(body + len, sizeof body - len,
                                    "%s--XyZ\r\nContent-Disposition: form-data; name=p%u\r\n\r\nv", i ? "\r\n" : "", i);
        len += (size_t)snprintf(body + len, sizeof body - len, "\r\n--XyZ--");
        CHECK_EQ(parse(TYPE, sl_str_of(body, len), parts, SL_MAX_MULTIPART_PARTS + 1, &count), extra ? SL_ETOOBIG : 0);
        CHECK_EQ(count, SL_MAX_MULTIPART_PARTS);
    }
    char *big = malloc(SL_MAX_MULTIPART_HEAD_BYTES + 200);
    REQUIRE(big != NULL);
    int head = sprintf(big, "--XyZ\r\nContent-Disposition: form-data; name=a; filename=");
    memset(big + head, 'x', SL_MAX_MULTIPART_HEAD_BYTES);
    strcpy(big + head + SL_MAX_MULTIPART_HEAD_BYTES, "\r\n\r\nv\r\n--XyZ--");
    size_t count;
    CHECK_EQ(parse(TYPE, sl_str_c(big), parts, 1, &count), SL_ETOOBIG);
    free(big);
}
