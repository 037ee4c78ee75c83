/*
 * The checks of doctor_program.h. What a program is linked to, the loader that it names is asked for (`--list`), which
 * maps the libraries and runs none of their code, nor the program's.
 */
#include "src/cli/doctor_program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/doctor_probe.h"
#include "src/cli/exec_attach.h"
#include "src/cli/exec_library.h"
#include "src/probe/uprobe/elf_file.h"

#define MAX_SCRIPTS 4u    /* one read by another */
#define LIST_BYTES 65536u /* of what the loader says */
#define WORD_BYTES 256u   /* of a script's first line */
#define HOOKS_LISTED 128u

static const char name[] = "program";

/* What the probe needs of libllama, by any of the names that releases have had for it. */
static const struct {
    const char *what;
    const char *names[3];
} needs[] = {
    {"loading of models", {"llama_model_load_from_file", "llama_load_model_from_file"}},
    {"contexts", {"llama_init_from_model", "llama_new_context_with_model"}},
    {"batches", {"llama_decode", "llama_process"}},
    {"tokens of prompts", {"llama_tokenize"}},
    {"samplers", {"llama_sampler_chain_init"}},
    {"memory of sequences", {"llama_memory_seq_rm", "llama_kv_self_seq_rm", "llama_kv_cache_seq_rm"}},
};

static const char *const hooks[] = {
#define OF_LLAMA(name) #name,
#define OF_GGML(name)
#define OF_OTHER(name)
#define OF_LIBC(name)
#define SL_HOOK(name, kind) OF_##kind(name)
#include "src/probe/host/hooks.def"
#undef SL_HOOK
};
#define HOOKS (sizeof hooks / sizeof *hooks)
_Static_assert(HOOKS <= HOOKS_LISTED, "they fit");

static bool has(const sl_elf_file *file, const char *function)
{
    sl_elf_function found;
    return sl_elf_file_find(file, &function, 1, &found) == 1;
}

/* ---- libllama ---- */

static void say_missing(sl_doctor *doctor, const sl_elf_file *file, const char *path)
{
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        bool found = false;
        for (size_t n = 0; n < 3 && needs[i].names[n]; n++)
            found |= has(file, needs[i].names[n]);
        if (!found)
            sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "use a release of llama.cpp since the end of 2024",
                          "%s has no %s: %s are not seen", path, needs[i].names[0], needs[i].what);
    }
}

static void check_llama(sl_doctor *doctor, const char *path)
{
    sl_elf_function found[HOOKS_LISTED];
    sl_elf_file *file;
    char real[SL_EXEC_PATH_MAX];
    if (sl_elf_file_open(path, &file) != 0) {
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, NULL, "%s cannot be read", path);
        return;
    }
    size_t count = sl_elf_file_find(file, hooks, HOOKS, found);
    ssize_t len = readlink(path, real, sizeof real - 1); /* its name may tell the version */
    real[len > 0 ? len : 0] = '\0';
    sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "%s%s%s: %zu of %zu functions that the probe knows; batches by %s",
                  path, *real ? " -> " : "", real, count, HOOKS,
                  has(file, "llama_process") ? "llama_process and llama_decode" : "llama_decode");
    say_missing(doctor, file, path);
    sl_elf_file_free(file);
}

/* ---- what the loader says ---- */

/* "\tlibx.so.1 => /lib/libx.so.1 (0x…)": name and path; the path is "not found" where it is not. */
static bool next_library(sl_str *rest, sl_str *ret_name, sl_str *ret_path)
{
    sl_str line;
    while (sl_str_split(rest, '\n', &line)) {
        size_t arrow = sl_str_find(line, SL_STR(" => "));
        if (arrow == SL_NPOS)
            continue;
        *ret_name = sl_str_trim(sl_str_sub(line, 0, arrow));
        sl_str path = sl_str_trim(sl_str_sub(line, arrow + 4, SL_NPOS));
        size_t address = sl_str_find(path, SL_STR(" (0x"));
        *ret_path = sl_str_sub(path, 0, address);
        return true;
    }
    return false;
}

static void check_tls(sl_doctor *doctor, const sl_elf_file *file, bool has_libssl)
{
    if (has_libssl)
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "TLS by OpenSSL's shared library: what is in it is seen");
    else if (has(file, "SSL_read"))
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "let a proxy end TLS, or link OpenSSL as a shared library",
                      "OpenSSL is linked in statically: requests within TLS are not seen");
}

/* Where nothing is listed but why it does not start. */
static bool is_refusal(sl_str text, sl_str *ret_why)
{
    static const char phrase[] = "error while loading shared libraries: ";
    size_t at = sl_str_find(text, sl_str_c(phrase));
    if (at == SL_NPOS)
        return false;
    *ret_why = sl_str_sub(text, at + strlen(phrase), SL_NPOS);
    *ret_why = sl_str_sub(*ret_why, 0, sl_str_chr(*ret_why, '\n'));
    return true;
}

static void check_libraries(sl_doctor *doctor, const sl_elf_file *file, const char *path, sl_str list)
{
    static const char remedy[] = "install it, or set LD_LIBRARY_PATH to its folder";
    char llama[SL_EXEC_PATH_MAX] = "";
    bool has_libssl = false;
    sl_str library, at;
    if (is_refusal(list, &at)) {
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, remedy, "%s does not start: %.*s", path, (int)at.len, at.ptr);
        return;
    }
    while (next_library(&list, &library, &at)) {
        has_libssl |= sl_str_starts(library, SL_STR("libssl.so"));
        if (sl_str_eq_c(at, "not found"))
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, remedy, "%s does not start: %.*s is not found", path,
                          (int)library.len, library.ptr);
        else if (sl_str_starts(library, SL_STR("libllama.")))
            (void)sl_str_to_c(at, llama, sizeof llama);
    }
    if (*llama)
        check_llama(doctor, llama);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL,
                      "%s is not linked to libllama: it is seen if it, or what it starts, opens one (as Python and "
                      "Node.js do)",
                      path);
    check_tls(doctor, file, has_libssl);
}

/* ---- the program ---- */

static void check_dynamic(sl_doctor *doctor, const sl_elf_file *file, const char *path, char *loader)
{
    struct stat st;
    char *text = malloc(LIST_BYTES);
    char *argv[] = {loader, (char *)(uintptr_t) "--list", (char *)(uintptr_t)path, NULL};
    if (stat(path, &st) == 0 && st.st_mode & (S_ISUID | S_ISGID))
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "start it as the user it becomes, without these bits",
                      "%s is set-user-ID or set-group-ID: the loader puts no library into it", path);
    if (strstr(loader, "ld-musl"))
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "use a build for glibc",
                      "%s is linked to musl: the probe's library is for glibc", path);
    else if (!text || sl_doctor_capture(argv, NULL, text, LIST_BYTES) == 0)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, NULL, "the loader of %s (%s) does not list its libraries", path,
                      loader);
    else
        check_libraries(doctor, file, path, sl_str_c(text));
    free(text);
}

static void check_static(sl_doctor *doctor, const sl_elf_file *file, const char *path, bool dynamic)
{
    if (has(file, "__wrap_llama_decode") || has(file, "__wrap_llama_process"))
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "%s has llama.cpp and the probe's hook library linked in",
                      path);
    else if (has(file, "llama_decode") || has(file, "llama_process"))
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name,
                      "build it with -DLLAMA_OTEL_ENABLE=ON (docs/llama.md), or run `sightline exec` with the right to "
                      "look into processes",
                      "%s has llama.cpp linked in: it can be looked at from outside alone", path);
    else if (!dynamic)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "if it contains llama.cpp, use a build whose symbols are kept",
                      "%s is linked statically, and no function of llama.cpp is found in it: nothing of it is seen",
                      path);
}

/* The program that reads a script, from its first line; false: it is none. */
static bool reader_of(const char *path, char ret_reader[WORD_BYTES])
{
    char line[WORD_BYTES + 2] = "";
    FILE *file = fopen(path, "re");
    size_t len = file ? fread(line, 1, sizeof line - 1, file) : 0;
    if (file)
        (void)fclose(file);
    sl_str text = sl_str_of(line, len);
    if (!sl_str_starts(text, SL_STR("#!")))
        return false;
    text = sl_str_trim(sl_str_sub(sl_str_sub(text, 0, sl_str_chr(text, '\n')), 2, SL_NPOS));
    sl_str word = sl_str_sub(text, 0, sl_str_chr(text, ' '));
    if (sl_str_ends(word, SL_STR("/env")) && word.len < text.len) { /* "#!/usr/bin/env python3" */
        text = sl_str_trim(sl_str_sub(text, word.len, SL_NPOS));
        word = sl_str_sub(text, 0, sl_str_chr(text, ' '));
    }
    return word.len > 0 && sl_str_to_c(word, ret_reader, WORD_BYTES);
}

static void check_file(sl_doctor *doctor, const char *path)
{
    char loader[SL_EXEC_PATH_MAX];
    sl_elf_file *file;
    int error = sl_elf_file_open(path, &file);
    if (error) {
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "give a program of this machine's kind, or a script", "%s: %s",
                      path, error == SL_EPARSE ? "is no program of this machine" : sl_strerror(error));
        return;
    }
    bool dynamic = sl_elf_file_loader(file, loader, sizeof loader);
    check_static(doctor, file, path, dynamic);
    if (dynamic && !has(file, "llama_decode") && !has(file, "llama_process"))
        check_dynamic(doctor, file, path, loader);
    sl_elf_file_free(file);
}

void sl_doctor_program(sl_doctor *doctor, const char *argv0)
{
    SL_ASSERT(doctor && argv0);
    char path[SL_EXEC_PATH_MAX], reader[WORD_BYTES];
    for (unsigned i = 0; i < MAX_SCRIPTS; i++) {
        if (!sl_exec_find_program(argv0, path) || access(path, X_OK) != 0) {
            sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "check its name, its permissions and PATH",
                          "%s: no such program", argv0);
            return;
        }
        if (!reader_of(path, reader)) {
            check_file(doctor, path);
            return;
        }
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "%s is a script for %s: what it starts is instrumented as well",
                      path, reader);
        argv0 = reader;
    }
}
