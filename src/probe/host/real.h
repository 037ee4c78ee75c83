/*
 * Who has the functions behind the hooks: libraries found by scanning what is loaded, one record for each copy.
 *
 * RTLD_NEXT does not see what was opened with RTLD_LOCAL, and a base name says little: so symbols are looked up in the
 * hash tables of the loaded objects. With several copies of llama.cpp in a process, a call belongs to a copy by, in
 * this order: the pointer that dlsym gave out for it, the copy that made the object it is about, what its caller is
 * linked to. With one copy, all that is a load from a table.
 */
#ifndef SL_PROBE_HOST_REAL_H
#define SL_PROBE_HOST_REAL_H

#include "src/probe/host/probe_host.h"

#define SL_HOST_LIBS 8 /* objects that define functions of llama.cpp, at once */
#define SL_HOST_TAGS 8 /* of them have entries of their own */

/* Both in stubs.c, indexed by sl_hook_id. */
extern void *_Atomic sl_host_jumps[];
extern void *_Atomic sl_host_reals[];
/* Set by the entry of a copy: number of the library + 1; taken back by whoever reads it. */
extern _Thread_local uint32_t sl_host_tag __attribute__((tls_model("initial-exec")));
/* Not 0: several copies, or something was unloaded; then the table alone does not say it. */
extern _Atomic uint32_t sl_host_unsure;

const char *sl_host_name(sl_hook_id id);
sl_hook_kind sl_host_kind(sl_hook_id id);
/* Address that stands for `id` of library `lib`; NULL when there is none. */
const void *sl_host_entry(sl_hook_id id, unsigned lib);

/* Looks again when something was loaded or unloaded since: for functions that begin a life (loading, initialising). */
void sl_host_look(void);
/* Something was unloaded: addresses may be stale. */
void sl_host_unloaded(void);

/* As sl_host_real_from; `lib` is the library + 1 that made the object of the call, 0 when not known. */
void *sl_host_real_of(sl_hook_id id, unsigned lib, const void *caller);
/* Library + 1 that defines the function; 0: none. */
unsigned sl_host_lib_of(sl_hook_id id, const void *function);
/* A function without a hook, of a library as above (0: any); NULL when there is none. */
void *sl_host_find(unsigned lib, const char *name);
/* Path of a library; "" when not known. */
const char *sl_host_lib_path(unsigned lib);
/* True when the address lies in an object that defines a function of `kind`. */
bool sl_host_in_lib(const void *address, sl_hook_id id);
/* The definition in what `caller` is linked to, other than the probe; NULL when there is none. */
void *sl_host_linked(sl_hook_id id, const void *caller);
/*
 * The function of a library of kind OTHER that `caller` is linked to: of such libraries there may be several copies,
 * or versions, in one process. Remembered for each place in the code.
 */
void *sl_host_real_linked(sl_hook_id id, const void *caller);
/* A function of the object that holds the address; NULL when there is none. */
void *sl_host_beside(const void *address, const char *name);
/* True when the address belongs to the probe itself. */
bool sl_host_is_probe(const void *address);

/* What the global scope has behind the probe (RTLD_NEXT); NULL when there is nothing. */
void *sl_host_behind(const char *name);
/* Default definition of a symbol of libc or of what was loaded after the probe. For dlsym itself. */
void *sl_host_after(const char *name);

#endif
