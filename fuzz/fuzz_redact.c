/* Masking: no crash, and a secret on a line of its own does not come through, whatever stands before and behind it. */
#include "src/wire/redact.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRET "S3cret-S3cret-S3cret"

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Masks `front`, the line, `back`; what comes out does not hold the secret. */
static void check(sl_str front, const char *line, sl_str back)
{
    sl_buf in, out;
    sl_buf_init(&in, 1u << 24);
    sl_buf_init(&out, 1u << 26);
    (void)sl_buf_put_str(&in, front);
    (void)sl_buf_put_c(&in, line);
    (void)sl_buf_put_str(&in, back);
    require(sl_redact_text(sl_buf_str(&in), &out) == 0);
    require(sl_str_find(sl_buf_str(&out), SL_STR(SECRET)) == SL_NPOS);
    if (sl_utf8_valid(sl_buf_str(&in)))
        require(sl_utf8_valid(sl_buf_str(&out)));
    sl_buf_done(&in);
    sl_buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const lines[] = {
        "\nAuthorization: Bearer " SECRET "\n",
        "\nAuthorization: Token " SECRET "\n",
        "\nCookie: a=b; session=" SECRET "\n",
        "\n{\"api_key\": \"" SECRET "\"}\n",
        "\npassword=" SECRET "\n",
        "\nhttps://user:" SECRET "@host/\n",
        "\nsk-" SECRET "\n",
        "\n-----BEGIN RSA PRIVATE KEY-----\n" SECRET "\n",
    };
    sl_str text = sl_str_of((const char *)data, size);
    if (size == 0 || sl_str_find(text, SL_STR(SECRET)) != SL_NPOS)
        return 0;
    size_t cut = size * (data[0] >> 3) / 31;
    check(sl_str_sub(text, 0, cut), lines[data[0] & 7], sl_str_sub(text, cut, SL_NPOS));
    (void)sl_key_is_sensitive(text);
    return 0;
}
