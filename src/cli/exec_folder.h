/*
 * The private folder of `sightline exec`: instrumented processes make their rings in it.
 *
 *     /dev/shm/sightline-exec-XXXXXX/        0711 as root, else 0700
 *                                   RANDOM/  01733 as root, else 0700; SIGHTLINE_PROBE_DIR
 *
 * Only root can start a program that then becomes another user and still has to make its ring here; so only then others
 * may make files in it, by a name that nobody but the program's own user can learn. Nobody else can list the folder,
 * open a ring (mode 0600) or remove one.
 *
 * The outer folder is locked while its owner lives. Who makes a folder removes those of this user that nobody holds any
 * more: of processes that were killed.
 */
#ifndef SL_CLI_EXEC_FOLDER_H
#define SL_CLI_EXEC_FOLDER_H

#include "src/base/str.h"

#define SL_EXEC_FOLDER_MAX 1024

typedef struct sl_exec_folder {
    char outer[SL_EXEC_FOLDER_MAX]; /* empty: not made */
    char path[SL_EXEC_FOLDER_MAX + 48];
    int lock_fd; /* close-on-exec; valid when it was made */
} sl_exec_folder;

/*
 * Makes it in /dev/shm, else $XDG_RUNTIME_DIR, else $TMPDIR, else /tmp. On failure errno says why. Errors: SL_EIO.
 */
SL_MUST_CHECK int sl_exec_folder_make(sl_exec_folder *folder);
/* Removes it with all that is in it. Idempotent. */
void sl_exec_folder_remove(sl_exec_folder *folder);

#endif
