/* Lengths of instructions. */
#include "src/probe/uprobe/x86_length.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "src/base/assert.h"

#define MOST 15u

/*
 * What follows an opcode, one letter for each: '.' nothing, 'm' ModRM, 'b' imm8, 'z' imm16 or imm32, 'B' ModRM and
 * imm8, 'Z' ModRM and imm16/32, 'w' imm16, 'e' imm16 and imm8, 'r' rel32, 'q' imm16/32/64, 'o' a full address,
 * 't' ModRM and, for its first two operations, imm8 ('T': imm16/32); ' ' not valid, or a prefix that was handled
 * before.
 */
static const char one_byte[] = "mmmmbz  mmmmbz  "   /* 00 */
                               "mmmmbz  mmmmbz  "   /* 10 */
                               "mmmmbz  mmmmbz  "   /* 20 */
                               "mmmmbz  mmmmbz  "   /* 30 */
                               "                "   /* 40: REX */
                               "................"   /* 50 */
                               "   m    zZbB...."   /* 60 */
                               "bbbbbbbbbbbbbbbb"   /* 70 */
                               "BZ Bmmmmmmmmmmmm"   /* 80 */
                               ".......... ....."   /* 90 */
                               "oooo....bz......"   /* a0 */
                               "bbbbbbbbqqqqqqqq"   /* b0 */
                               "BBw.  BZe.w..b ."   /* c0 */
                               "mmmm   .mmmmmmmm"   /* d0 */
                               "bbbbbbbbrr b...."   /* e0 */
                               " .  ..tT......mm";  /* f0 */
static const char two_bytes[] = "mmmm ..... . m. "  /* 00 */
                                "mmmmmmmmmmmmmmmm"  /* 10 */
                                "mmmm    mmmmmmmm"  /* 20 */
                                "...... .        "  /* 30: 38 and 3a lead on */
                                "mmmmmmmmmmmmmmmm"  /* 40 */
                                "mmmmmmmmmmmmmmmm"  /* 50 */
                                "mmmmmmmmmmmmmmmm"  /* 60 */
                                "BBBBmmm.  mmmmmm"  /* 70 */
                                "rrrrrrrrrrrrrrrr"  /* 80 */
                                "mmmmmmmmmmmmmmmm"  /* 90 */
                                "...mBm  ...mBmmm"  /* a0 */
                                "mmmmmmmmmmBmmmmm"  /* b0 */
                                "mmBmBBBm........"  /* c0 */
                                "mmmmmmmmmmmmmmmm"  /* d0 */
                                "mmmmmmmmmmmmmmmm"  /* e0 */
                                "mmmmmmmmmmmmmmmm"; /* f0 */
_Static_assert(sizeof one_byte == 257 && sizeof two_bytes == 257, "a letter for every opcode");

typedef struct walk {
    const unsigned char *code;
    size_t at, len;
    bool wide;   /* REX.W */
    bool narrow; /* 66 */
    bool near;   /* 67 */
    bool has_rex;
} walk;

static bool is_prefix(unsigned char byte)
{
    static const unsigned char prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
    return memchr(prefixes, byte, sizeof prefixes) != NULL;
}

static int next(walk *w)
{
    return w->at < w->len ? w->code[w->at++] : -1;
}

static int peek(const walk *w)
{
    return w->at < w->len ? w->code[w->at] : -1;
}

/* Bytes of ModRM and what belongs to it; -1: cut off. `*ret_operation`: its middle bits. */
static int modrm_bytes(const walk *w, unsigned *ret_operation)
{
    int modrm = peek(w);
    if (modrm < 0)
        return -1;
    unsigned mod = (unsigned)modrm >> 6, rm = (unsigned)modrm & 7, bytes = 1, base = rm;
    *ret_operation = ((unsigned)modrm >> 3) & 7;
    if (mod == 3)
        return 1;
    if (rm == 4) {
        if (w->at + 1 >= w->len)
            return -1;
        base = w->code[w->at + 1] & 7;
        bytes++;
    }
    if (mod == 1)
        bytes += 1;
    else if (mod == 2 || base == 5)
        bytes += 4;
    return (int)bytes;
}

/* The whole length when what follows is as `letter` says; 0: unknown. */
static size_t finish(const walk *w, char letter)
{
    unsigned operation = 0;
    bool has_modrm = strchr("mBZtT", letter) != NULL;
    int modrm = has_modrm && letter ? modrm_bytes(w, &operation) : 0;
    size_t z = w->narrow && !w->wide ? 2 : 4, more = 0;
    if (modrm < 0 || letter == ' ')
        return 0;
    switch (letter) {
    case 'b':
    case 'B':
        more = 1;
        break;
    case 'z':
    case 'Z':
        more = z;
        break;
    case 'w':
        more = 2;
        break;
    case 'e':
        more = 3;
        break;
    case 'r':
        more = 4;
        break;
    case 'q':
        more = w->wide ? 8 : z;
        break;
    case 'o':
        more = w->near ? 4 : 8;
        break;
    case 't':
        more = operation < 2 ? 1 : 0;
        break;
    case 'T':
        more = operation < 2 ? z : 0;
        break;
    default:
        break;
    }
    size_t total = w->at + (size_t)modrm + more;
    return total <= w->len && total <= MOST ? total : 0;
}

/* Behind 0f. */
static size_t escaped(walk *w)
{
    int op = next(w);
    if (op < 0)
        return 0;
    if (op == 0x38)
        return next(w) < 0 ? 0 : finish(w, 'm');
    if (op == 0x3a)
        return next(w) < 0 ? 0 : finish(w, 'B');
    return finish(w, two_bytes[op]);
}

/* VEX and EVEX: maps of opcodes by number. */
static size_t vector(walk *w, unsigned map)
{
    int op = next(w);
    if (op < 0 || map == 0 || map > 6 || map == 4)
        return 0;
    if (map == 1 && op == 0x77)
        return finish(w, '.');
    if (map == 1)
        return finish(w, (op >= 0x70 && op <= 0x73) || op == 0xc2 || (op >= 0xc4 && op <= 0xc6) ? 'B' : 'm');
    return finish(w, map == 3 ? 'B' : 'm');
}

static size_t vex(walk *w, unsigned bytes)
{
    int first = next(w);
    for (unsigned i = 1; i < bytes && first >= 0; i++)
        if (next(w) < 0)
            return 0;
    if (first < 0 || w->has_rex || w->narrow)
        return 0;
    return vector(w, bytes == 1 ? 1 : (unsigned)first & (bytes == 3 ? 7u : 31u));
}

size_t sl_x86_length(const unsigned char *code, size_t len)
{
    SL_ASSERT(code);
    walk w = {.code = code, .len = len};
    int op;
    while ((op = peek(&w)) >= 0 && is_prefix((unsigned char)op) && w.at < MOST) {
        w.narrow |= op == 0x66;
        w.near |= op == 0x67;
        w.at++;
    }
    if (op >= 0x40 && op <= 0x4f) {
        w.has_rex = true;
        w.wide = (op & 8) != 0;
        w.at++;
    }
    op = next(&w);
    if (op < 0)
        return 0;
    if (op == 0x0f)
        return escaped(&w);
    if (op == 0xc5)
        return vex(&w, 1);
    if (op == 0xc4)
        return vex(&w, 2);
    if (op == 0x62)
        return vex(&w, 3);
    if (op == 0x8f && (peek(&w) & 0x38)) /* XOP */
        return 0;
    return finish(&w, one_byte[op]);
}
