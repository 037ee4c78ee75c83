/*
 * What whoever runs a task tells the server that has it, beyond events: what each step gave, so that a run that goes on
 * begins behind it, whoever takes it up; and that a message has come again whose first taker is gone, so that the
 * server puts another in its place that says what it knows.
 *
 *     server A ──message of run R──▶ B runs R ──"task_stream" with "step"──▶ A: flow_steps
 *                     │              B dies
 *                     └─delivered again─▶ C ──"task_again"──▶ A ──message with "steps"──▶ whoever takes it
 */
#ifndef SL_FLOW_LETTERS_H
#define SL_FLOW_LETTERS_H

#include "src/flow/executor.h"
#include "src/store/run_store.h"

#define SL_LETTER_AGAIN "task_again"
#define SL_LETTER_MAX_STEP_BYTES                                                                                       \
    (256u * 1024) /* of what a step gave, as JSON: more is not told, and the step repeated */
#define SL_LETTER_KEY_BYTES 128

/* What a step that has ended gave, for the member "step" of its event's letter. NULL: it is no such event, what it gave
 * is too large, or there is no memory. The caller holds a reference. */
json_t *sl_letter_step(const sl_flow_event *event);
/* Reads it: views of `step`; `*ret_value` is the text that row->value points to, freed by free(). False: it is none. */
bool sl_letter_read_step(const json_t *step, sl_run_step_row *ret_row, char **ret_value);

/* A message in the place of one that has come again. */
typedef struct sl_letter_place {
    char key[SL_LETTER_KEY_BYTES]; /* always the same for the same message, so that two letters are one */
    unsigned max_deliveries;       /* that are left */
} sl_letter_place;
/* `key` and `delivery` of the message of `task` that has come again; `root` is its body. */
void sl_letter_place_of(sl_str task, sl_str key, unsigned delivery, const json_t *root, sl_letter_place *ret_place);
/* Data of the letter that asks for it, and the letter's own key, "TASK:...". NULL: no memory. */
json_t *sl_letter_again(const char *task, const sl_letter_place *place, char ret_key[SL_LETTER_KEY_BYTES]);
/* Reads it. False: it is none. */
bool sl_letter_read_again(const json_t *data, sl_letter_place *ret_place);

#endif
