/* Asks, claims, and how guesses become certain. */
#include "src/probe/correlate.h"

#include "src/probe/seq_memory.h"
#include "src/probe/token_times.h"

#define STRONG_TOKENS 4u    /* so many equal tokens are no accident */
#define TIMES_SEEN 4u       /* turns whose times are the server's, before these prove anything */
#define TIMES_POSSIBLE 16u  /* the same of guesses, where one of several turns' times were the server's */
#define PIECES_WITHIN 8192u /* tokens of a batch in which pieces are looked for */

/* ---- asks ---- */

static void unlink_ask(sl_probe_assembler *a, sl_track_ask *ask)
{
    SL_ASSERT(ask->posted);
    *(ask->prev ? &ask->prev->next : &a->first_ask) = ask->next;
    *(ask->next ? &ask->next->prev : &a->last_ask) = ask->prev;
    ask->next = ask->prev = NULL;
    ask->posted = false;
}

static void link_ask(sl_probe_assembler *a, sl_track_ask *ask, uint64_t now_ns)
{
    SL_ASSERT(!ask->posted && !ask->next && !ask->prev);
    ask->prev = a->last_ask;
    *(a->last_ask ? &a->last_ask->next : &a->first_ask) = ask;
    a->last_ask = ask;
    ask->posted = true;
    ask->post_ns = now_ns;
}

static sl_track_ask *new_ask(sl_probe_assembler *a, sl_track_request *request, uint32_t n_known)
{
    bool room = a->ask_count < SL_PROBE_MAX_ASKS && request->ask_count < SL_PROBE_MAX_ASKS_EACH &&
                n_known <= SL_PROBE_MAX_TOKENS - a->tokens_kept;
    sl_track_ask *ask = room ? sl_calloc(1, sizeof *ask) : NULL;
    if (ask && n_known && !(ask->tokens = sl_malloc(n_known * sizeof *ask->tokens))) {
        sl_free(ask);
        ask = NULL;
    }
    if (!ask) {
        a->stats.left_out++;
        request->partial = true;
        return NULL;
    }
    a->tokens_kept += n_known;
    ask->n_known = n_known;
    ask->serial = ++a->serial;
    ask->request = request;
    ask->sibling = request->asks;
    request->asks = ask;
    request->ask_count++;
    a->ask_count++;
    return ask;
}

static void free_ask(sl_probe_assembler *a, sl_track_ask *ask)
{
    SL_ASSERT(a->tokens_kept >= ask->n_known && a->ask_count > 0);
    if (ask->posted)
        unlink_ask(a, ask);
    if (ask->turn)
        ask->turn->ask = NULL;
    a->tokens_kept -= ask->n_known;
    a->ask_count--;
    sl_free(ask->tokens);
    sl_free(ask);
}

/* What was posted before a first prompt was tokenised was something else (a line for a log, say). */
static void forget_early_post(sl_probe_assembler *a, sl_track_request *request)
{
    sl_track_ask *ask = request->asks;
    if (!ask || ask->sibling || ask->n_known || ask->turn)
        return;
    request->asks = NULL;
    request->ask_count--;
    request->posted = false;
    free_ask(a, ask);
}

void sl_track_tokenize(sl_probe_assembler *a, const sl_probe_tokenize *event)
{
    SL_ASSERT(a && event);
    sl_track_request *request = sl_track_request_find(a, event->request);
    bool asks = request && (request->use == SL_TRACK_USE_GENERATE || request->use == SL_TRACK_USE_EMBED);
    if (!asks || !event->head.count)
        return;
    forget_early_post(a, request);
    sl_track_ask *ask = new_ask(a, request, event->head.count);
    if (!ask)
        return;
    memcpy(ask->tokens, event + 1, event->head.count * sizeof *ask->tokens);
    ask->n_tokens = event->n_tokens;
}

void sl_track_post(sl_probe_assembler *a, const sl_probe_post *event)
{
    SL_ASSERT(a && event);
    sl_track_request *request = sl_track_request_find(a, event->request);
    if (!request || (request->use != SL_TRACK_USE_GENERATE && request->use != SL_TRACK_USE_EMBED))
        return;
    if (request->frame_ns || request->status)
        return; /* what is posted after the answer's begin is no prompt */
    request->posted = true;
    request->post_ns = event->head.time_ns;
    sl_track_ask *oldest_first = NULL;
    for (sl_track_ask *ask = request->asks; ask; ask = ask->sibling) {
        if (ask->turn)
            continue;
        if (ask->posted)
            unlink_ask(a, ask);
        ask->next = oldest_first;
        oldest_first = ask;
    }
    while (oldest_first) {
        sl_track_ask *ask = oldest_first;
        oldest_first = ask->next;
        ask->next = NULL;
        link_ask(a, ask, event->head.time_ns);
    }
    if (!request->asks) { /* a prompt given as numbers */
        sl_track_ask *ask = new_ask(a, request, 0);
        if (ask)
            link_ask(a, ask, event->head.time_ns);
    }
    sl_track_load(a);
}

void sl_track_asks_free(sl_probe_assembler *a, sl_track_request *request)
{
    SL_ASSERT(a && request);
    while (request->asks) {
        sl_track_ask *ask = request->asks;
        request->asks = ask->sibling;
        free_ask(a, ask);
    }
    request->ask_count = 0;
}

sl_track_ask *sl_track_ask_find(sl_probe_assembler *a, uint64_t serial)
{
    SL_ASSERT(a);
    for (sl_track_ask *ask = a->first_ask; ask; ask = ask->next) {
        if (ask->serial == serial)
            return ask;
    }
    return NULL;
}

/* ---- matching ---- */

/* Whether a batch's tokens are those of an ask. `*ret_compared`: how many say so. */
static bool matches(const sl_track_ask *ask, const sl_track_evidence *e, uint32_t *ret_compared)
{
    SL_ASSERT(ask && e->pos >= 0);
    uint64_t end = (uint64_t)e->pos + e->n;
    if (!ask->n_known || !e->tokens || !e->n_listed || end > ask->n_tokens)
        return false;
    if (e->ends && !e->partial && end != ask->n_tokens)
        return false;
    uint64_t known = (uint64_t)e->pos + e->n_listed < ask->n_known ? (uint64_t)e->pos + e->n_listed : ask->n_known;
    uint32_t count = known > (uint64_t)e->pos ? (uint32_t)(known - (uint64_t)e->pos) : 0, before;
    if (count && memcmp(ask->tokens + e->pos, e->tokens, count * sizeof *e->tokens) != 0)
        return false;
    if (!sl_seq_memory_is(e->seq, e->pos, ask->tokens, ask->n_known, &before)) {
        if (!e->anything_before)
            return false;
        before = 0;
    }
    *ret_compared = count + before;
    return *ret_compared > 0;
}

bool sl_track_ask_goes_on(const sl_track_turn *turn, const sl_track_evidence *evidence)
{
    SL_ASSERT(turn && evidence);
    uint32_t compared;
    if (!turn->ask || !turn->ask->n_known || !evidence->tokens)
        return true;
    if ((uint64_t)evidence->pos >= turn->ask->n_known)
        return (uint64_t)evidence->pos + evidence->n <= turn->ask->n_tokens;
    return matches(turn->ask, evidence, &compared);
}

static void add_tie(sl_track_claim *claim, const sl_track_ask *ask)
{
    SL_ASSERT(claim->tie_count <= SL_PROBE_MAX_TIES);
    if (claim->tie_count == SL_PROBE_MAX_TIES)
        claim->ties_cut = true;
    else
        claim->ties[claim->tie_count++] = ask->serial;
}

/* True when another context's turn is at work for this ask: the same prompt in a draft's context. */
static bool is_elsewhere(const sl_track_ask *ask, const sl_track_context *context)
{
    return ask->turn && ask->turn->context && ask->turn->context != context;
}

/* By tokens. Leaves the claim empty when nothing matches. */
static void find_by_tokens(sl_probe_assembler *a, const sl_track_evidence *e, sl_track_claim *claim)
{
    const sl_track_ask *elsewhere = NULL;
    bool several = false, strong = false;
    uint32_t compared, unknown = 0;
    for (sl_track_ask *ask = a->first_ask; ask; ask = ask->next) {
        unknown += !ask->turn && !ask->n_known;
        if (ask->request->held || !matches(ask, e, &compared))
            continue; /* what is answered asks for nothing more */
        if (ask->turn && is_elsewhere(ask, e->context)) {
            elsewhere = elsewhere ? elsewhere : ask;
            continue;
        }
        if (ask->proven)
            continue;
        if (!ask->turn && !claim->ask) {
            claim->ask = ask;
            strong = compared >= STRONG_TOKENS;
        }
        several |= claim->tie_count > 0 && claim->request != ask->request;
        claim->request = ask->request;
        add_tie(claim, ask);
    }
    if (claim->ask) {
        bool weak = !strong && unknown; /* few tokens, and they may be those of a prompt that is not known */
        claim->ties_cut |= weak;
        claim->request = claim->ask->request;
        claim->sure = several || weak ? SL_TRACK_AMBIGUOUS : SL_TRACK_EXACT;
        return;
    }
    if (claim->tie_count) { /* others have it, as guesses: which of them wrongly, their answers may tell */
        claim->request = NULL;
        claim->sure = SL_TRACK_AMBIGUOUS;
        return;
    }
    memset(claim, 0, sizeof *claim);
    if (elsewhere) {
        claim->request = elsewhere->request;
        claim->sure = SL_TRACK_EXACT;
        claim->shadow = true;
    }
}

/* Among asks whose tokens are not known, the oldest. */
static void find_unknown(sl_probe_assembler *a, sl_track_claim *claim)
{
    SL_ASSERT(!claim->ask);
    for (sl_track_ask *ask = a->first_ask; ask; ask = ask->next) {
        if (ask->n_known || ask->turn || ask->request->held)
            continue;
        if (!claim->ask) {
            claim->ask = ask;
            claim->request = ask->request;
        }
        add_tie(claim, ask);
    }
    if (claim->ask)
        claim->sure = claim->tie_count > 1 || claim->ties_cut ? SL_TRACK_AMBIGUOUS : SL_TRACK_SINGLE;
}

/* Whether a text's tokens stand somewhere among the batch's; cut where the batch ends. */
static bool holds(const sl_track_evidence *e, const sl_track_ask *piece)
{
    for (uint32_t at = 0; at < e->n_listed; at++) {
        uint32_t n = e->n_listed - at < piece->n_known ? e->n_listed - at : piece->n_known;
        if (n < piece->n_known && n < STRONG_TOKENS)
            return false;
        if (memcmp(e->tokens + at, piece->tokens, n * sizeof *e->tokens) == 0)
            return true;
    }
    return false;
}

/*
 * Prompts that are put together of several texts (infill, rerank, numbers and text mixed): the request most of whose
 * texts are in it. Only a guess when there are others like it.
 */
static void find_by_pieces(sl_probe_assembler *a, const sl_track_evidence *e, sl_track_claim *claim)
{
    uint32_t best = 0, same = 0, score = 0;
    if (!e->tokens || e->n_listed > PIECES_WITHIN)
        return;
    for (sl_track_ask *ask = a->first_ask; ask; ask = ask->next) {
        bool begins = !ask->prev || ask->prev->request != ask->request;
        score = begins ? 0 : score;
        if (!ask->turn && ask->n_known && !ask->request->held && holds(e, ask))
            score += ask->n_known;
        if (ask->next && ask->next->request == ask->request)
            continue;
        if (score >= STRONG_TOKENS && score >= best) {
            same = score == best ? same + 1 : 0;
            best = score;
            claim->request = ask->request;
        }
    }
    if (claim->request)
        claim->sure = same ? SL_TRACK_AMBIGUOUS : SL_TRACK_SINGLE;
    claim->ties_cut = same > 0;
}

/* In a context of drafts: the request of the sequence of that number in another context. */
static void find_beside(sl_probe_assembler *a, const sl_track_evidence *e, sl_track_claim *claim)
{
    SL_ASSERT(e->context->beside);
    int32_t seq = (int32_t)(e->seq - e->context->seqs);
    claim->shadow = true;
    for (const sl_track_turn *turn = a->turns; turn; turn = turn->next) {
        bool same = turn->on_sequence && turn->seq == seq && turn->context != e->context && !turn->shadow;
        if (same && turn->request) {
            claim->request = turn->request;
            claim->sure = turn->sure;
            return;
        }
    }
}

static sl_track_ask *free_ask_of(sl_track_request *request)
{
    sl_track_ask *found = NULL;
    for (sl_track_ask *ask = request->asks; ask; ask = ask->sibling) {
        if (!ask->turn)
            found = ask; /* the oldest is the last */
    }
    return found;
}

void sl_track_claim_find(sl_probe_assembler *a, const sl_track_evidence *evidence, bool known_only,
                         sl_track_claim *ret_claim)
{
    SL_ASSERT(a && evidence && ret_claim);
    memset(ret_claim, 0, sizeof *ret_claim);
    find_by_tokens(a, evidence, ret_claim);
    if (ret_claim->request || ret_claim->sure == SL_TRACK_AMBIGUOUS || known_only)
        return;
    sl_track_evidence loose = *evidence;
    loose.anything_before = true;
    if (evidence->seq->len)
        find_by_tokens(a, &loose, ret_claim);
    if (ret_claim->sure == SL_TRACK_EXACT && !ret_claim->shadow)
        ret_claim->sure = SL_TRACK_SINGLE;
    if (ret_claim->request || ret_claim->sure == SL_TRACK_AMBIGUOUS)
        return;
    if (evidence->context->beside) {
        find_beside(a, evidence, ret_claim);
        return;
    }
    sl_track_request *request = sl_track_request_on_thread(a, evidence->thread);
    if (request) {
        ret_claim->request = request;
        ret_claim->ask = free_ask_of(request);
        ret_claim->sure = SL_TRACK_EXACT;
        return;
    }
    find_by_pieces(a, evidence, ret_claim);
    if (!ret_claim->request)
        find_unknown(a, ret_claim);
    if (ret_claim->request)
        return;
    request = sl_track_request_single(a);
    if (request) {
        ret_claim->request = request;
        ret_claim->ask = free_ask_of(request);
        ret_claim->sure = SL_TRACK_SINGLE;
    }
}

/* ---- claims ---- */

static void drop_tie(sl_track_turn *turn, uint64_t serial)
{
    SL_ASSERT(turn->tie_count <= SL_PROBE_MAX_TIES);
    for (uint32_t i = 0; i < turn->tie_count; i++) {
        if (turn->ties[i] == serial) {
            turn->ties[i] = turn->ties[--turn->tie_count];
            return;
        }
    }
}

/* An ask whose turn is certain is nobody else's possibility. */
static void prove(sl_probe_assembler *a, sl_track_ask *ask)
{
    SL_ASSERT(ask && ask->turn);
    ask->proven = true;
    for (sl_track_turn *turn = a->turns; turn; turn = turn->next) {
        if (turn != ask->turn)
            drop_tie(turn, ask->serial);
    }
}

void sl_track_claim_apply(sl_probe_assembler *a, sl_track_turn *turn, const sl_track_claim *claim)
{
    SL_ASSERT(a && turn && claim && !turn->request);
    turn->sure = claim->sure;
    turn->shadow = claim->shadow;
    turn->tie_count = claim->tie_count;
    turn->ties_cut = claim->ties_cut;
    memcpy(turn->ties, claim->ties, claim->tie_count * sizeof *claim->ties);
    if (claim->shadow) {
        turn->context->beside = true;
        if (claim->request)
            turn->of = claim->request->context;
        turn->of.tracestate = sl_str_of(NULL, 0);
        return;
    }
    if (!claim->request)
        return;
    sl_track_turn_give(turn, claim->request, claim->ask);
    if (claim->ask && claim->sure == SL_TRACK_EXACT)
        prove(a, claim->ask);
}

/* ---- settling ---- */

bool sl_track_figures_fit(const sl_track_turn *turn, const sl_answer_facts *facts)
{
    SL_ASSERT(turn && facts);
    if (facts->has_timings) {
        bool drafts = turn->last_n > 1;
        return facts->prompt_n == (int64_t)turn->prompt_tokens &&
               (facts->cache_n < 0 || facts->cache_n == (int64_t)turn->cached_tokens) &&
               (drafts || facts->predicted_n == (int64_t)sl_track_turn_tokens(turn));
    }
    int64_t prompt = (int64_t)turn->prompt_tokens + turn->cached_tokens;
    return (facts->input_tokens < 0 || facts->input_tokens == prompt) &&
           (facts->output_tokens < 0 || facts->output_tokens == (int64_t)sl_track_turn_tokens(turn));
}

static bool has_tie(const sl_track_turn *turn, uint64_t serial)
{
    for (uint32_t i = 0; i < turn->tie_count; i++) {
        if (turn->ties[i] == serial)
            return true;
    }
    return false;
}

/* True when all other possibilities of a turn have become certain elsewhere, and its own is left. */
static bool is_last_tie(const sl_track_turn *turn)
{
    return turn->ask && !turn->ties_cut && turn->tie_count == 1 && turn->ties[0] == turn->ask->serial;
}

/* Whether a turn may be for one of a request's asks: by its ties, and not certainly another's. */
static sl_track_ask *possible_ask(const sl_track_turn *turn, const sl_track_request *request)
{
    if (turn->sure != SL_TRACK_AMBIGUOUS || turn->copied || (turn->closed && !turn->ghost))
        return NULL;
    for (sl_track_ask *ask = request->asks; ask; ask = ask->sibling) {
        if (has_tie(turn, ask->serial) && !ask->proven)
            return ask;
    }
    return NULL;
}

bool sl_track_may_have_worked(sl_probe_assembler *a, const sl_track_request *request)
{
    SL_ASSERT(a && request);
    for (const sl_track_turn *turn = a->turns; turn; turn = turn->next) {
        if (possible_ask(turn, request))
            return true;
    }
    return false;
}

/*
 * No answer begins before its first token is there, nor ends before its last. One that says its length is complete
 * before it begins.
 */
static bool came_in_time(const sl_track_turn *turn, const sl_track_request *request)
{
    uint64_t begun = request->streaming ? request->frame_ns : request->answer_ns;
    uint64_t complete = request->whole && request->answer_ns ? request->answer_ns : request->end_ns;
    if (complete && turn->last_token.from_ns > complete)
        return false;
    return !begun || (turn->prompt_end_ns && turn->prompt_end_ns <= begun && turn->first_token.from_ns <= begun);
}

/*
 * Milliseconds by which the server's own times differ from those of a turn; 0 when it tells none. It makes a better
 * guess, but proves nothing: on a busy machine two measurements of the same differ by more than those of two twins.
 */
static double times_apart(const sl_track_turn *turn, const sl_answer_facts *facts)
{
    if (facts->prompt_ms < 0 || facts->predicted_ms < 0)
        return 0;
    double prompt = sl_track_ms(sl_track_span_of(turn->start_ns, turn->prompt_end_ns));
    double predicted = sl_track_ms(sl_track_span_of(turn->prompt_end_ns, turn->last_ns));
    double one = prompt - facts->prompt_ms, other = predicted - facts->predicted_ms;
    return (one < 0 ? -one : one) + (other < 0 ? -other : other);
}

/* What was found among the turns that a request's answer may mean. */
typedef struct meant {
    sl_track_turn *turn; /* the nearest that fits; NULL: none does */
    double apart;        /* of it */
    uint32_t fit, possible;
    uint32_t timed, in_time; /* that would fit, and whose times can be compared; of these, by their times too */
    bool clouded;
} meant;

static void take_meant(meant *found, sl_track_turn *turn, const sl_answer_facts *facts)
{
    found->fit++;
    if (turn->closed) /* given away as a guess: it may have been meant, but it is gone */
        return;
    double apart = times_apart(turn, facts);
    bool nearer = !found->turn || apart < found->apart ||
                  (apart <= found->apart && turn->start_ns < found->turn->start_ns); /* a slot answers in order */
    if (nearer) {
        found->turn = turn;
        found->apart = apart;
    }
}

/*
 * By times alone nothing is excluded before the server has been seen to measure as it is taken to: in all turns so far,
 * and some.
 */
static bool trusts_times(const sl_probe_assembler *a)
{
    return !a->times_differ && (a->times_agree >= TIMES_SEEN || a->times_possible >= TIMES_POSSIBLE);
}

/* Learns from a turn that is certain without its times. */
static void learn_times(sl_probe_assembler *a, const sl_track_turn *turn, const sl_track_request *request,
                        const sl_answer_facts *facts)
{
    bool known;
    if (turn->sure != SL_TRACK_EXACT || turn->by_time || turn->copied || request->partial)
        return;
    bool fits = sl_token_times_fit(turn, facts, request->end_ns, &known);
    a->times_agree += known && fits;
    a->times_differ += known && !fits;
}

/* Finds the turn that a request's answer means. `*ret_certain`: it can be no other. */
static meant find_meant(sl_probe_assembler *a, const sl_track_request *request, const sl_answer_facts *facts,
                        bool *ret_certain)
{
    SL_ASSERT(request && facts && ret_certain);
    meant found = {0};
    bool figures = facts->has_timings || facts->has_usage;
    for (sl_track_turn *turn = a->turns; turn; turn = turn->next) {
        const sl_track_ask *ask = possible_ask(turn, request);
        if (!ask || !came_in_time(turn, request))
            continue;
        found.possible++;
        found.clouded |= ask->clouded;
        bool fits =
            (facts->id_slot < 0 || facts->id_slot == turn->seq) && (!figures || sl_track_figures_fit(turn, facts));
        if (!fits)
            continue;
        bool timed, in_time = sl_token_times_fit(turn, facts, request->end_ns, &timed);
        found.timed += timed;
        found.in_time += timed && in_time;
        if (in_time || !trusts_times(a))
            take_meant(&found, turn, facts);
    }
    bool proves = facts->id_slot >= 0 || (!found.clouded && (figures || found.possible == 1));
    *ret_certain = found.turn && found.fit == 1 && proves && (!found.turn->ties_cut || facts->id_slot >= 0);
    return found;
}

/*
 * Makes `turn` the one for `ask`. Whoever had it gets the request's earlier turn in exchange, where that may be his, or
 * waits again; the earlier turn then waits for an answer that means it.
 */
static void exchange(sl_probe_assembler *a, sl_track_turn *turn, sl_track_request *request, sl_track_ask *ask)
{
    SL_ASSERT(turn && ask->request == request);
    sl_track_turn *earlier = ask->turn;
    sl_track_request *loser = turn->request;
    sl_track_ask *lost = turn->ask;
    if (earlier == turn)
        return;
    sl_track_turn_take(turn);
    if (earlier)
        sl_track_turn_take(earlier);
    sl_track_turn_give(turn, request, ask);
    if (earlier && loser && lost && has_tie(earlier, lost->serial))
        sl_track_turn_give(earlier, loser, lost);
    else if (earlier && !earlier->on_sequence)
        sl_track_turn_haunt(a, earlier);
}

/* Possibilities whose tokens are not those of the batch are none. The last that is left is certain. */
static void narrow(sl_probe_assembler *a, sl_track_turn *turn, const sl_track_evidence *e)
{
    SL_ASSERT(turn->sure == SL_TRACK_AMBIGUOUS);
    uint32_t compared;
    for (uint32_t i = turn->tie_count; i-- > 0;) {
        const sl_track_ask *ask = sl_track_ask_find(a, turn->ties[i]);
        if (ask && ask->n_known && !matches(ask, e, &compared))
            drop_tie(turn, ask->serial);
    }
}

/* Another ask that a turn may be for, as it goes on: one that nobody has, or one whose turn is in its prompt too. */
static sl_track_ask *other_ask(sl_probe_assembler *a, const sl_track_turn *turn, const sl_track_evidence *e)
{
    sl_track_ask *found = NULL;
    uint32_t compared;
    for (uint32_t i = 0; i < turn->tie_count; i++) {
        sl_track_ask *ask = sl_track_ask_find(a, turn->ties[i]);
        if (!ask || ask == turn->ask || ask->proven || !ask->n_known || !matches(ask, e, &compared))
            continue;
        if (!ask->turn)
            return ask;
        if (ask->turn->context == e->context && ask->turn->phase == SL_TRACK_PROMPT && !ask->turn->closed)
            found = ask;
    }
    return found;
}

bool sl_track_ask_follow(sl_probe_assembler *a, sl_track_turn *turn, const sl_track_evidence *evidence)
{
    SL_ASSERT(a && turn && evidence);
    bool guess = turn->sure == SL_TRACK_AMBIGUOUS && !turn->copied && evidence->tokens && evidence->n_listed;
    bool fits = sl_track_ask_goes_on(turn, evidence) && (turn->ask || !turn->parted);
    if (guess)
        narrow(a, turn, evidence);
    sl_track_ask *other = guess && !fits ? other_ask(a, turn, evidence) : NULL;
    if (other)
        exchange(a, turn, other->request, other);
    if (guess && (fits || other) && is_last_tie(turn)) {
        turn->sure = SL_TRACK_EXACT;
        prove(a, turn->ask);
    }
    return fits || other;
}

static void settle_ambiguous(sl_probe_assembler *a, sl_track_request *request, const sl_answer_facts *facts)
{
    bool certain;
    meant found = find_meant(a, request, facts, &certain);
    sl_track_turn *turn = found.turn;
    a->times_possible += found.in_time > 0;
    a->times_differ += found.timed > 0 && !found.in_time && !found.clouded && !request->partial;
    if (!turn)
        return;
    sl_track_ask *ask = possible_ask(turn, request);
    exchange(a, turn, request, ask);
    if (!certain)
        return;
    turn->sure = SL_TRACK_EXACT;
    turn->by_time = found.timed > found.in_time;
    prove(a, ask);
}

/* By elimination: all other possibilities have become certain elsewhere. */
static void settle_alone(sl_probe_assembler *a, sl_track_request *request)
{
    for (sl_track_turn *turn = request->turns; turn; turn = turn->next_in_request) {
        if (turn->sure == SL_TRACK_AMBIGUOUS && is_last_tie(turn)) {
            turn->sure = SL_TRACK_EXACT;
            prove(a, turn->ask);
        }
    }
}

/*
 * Of a host that shows no prompts (a server in Python): the turn whose counts are those of the answer, among those that
 * ran while the request was open and have found no request of their own.
 */
static void adopt_loose(sl_probe_assembler *a, sl_track_request *request, const sl_answer_facts *facts)
{
    SL_ASSERT(!request->turns);
    sl_track_turn *found = NULL;
    uint32_t fit = 0;
    bool figures = facts->has_timings || facts->has_usage;
    uint64_t from = request->body_ns ? request->body_ns : request->start_ns;
    for (sl_track_turn *turn = a->turns; turn; turn = turn->next) {
        bool possible = turn->loose && !turn->request && !turn->closed && turn->start_ns >= from &&
                        turn->prompt_end_ns && came_in_time(turn, request);
        if (!possible || (figures && !sl_track_figures_fit(turn, facts)))
            continue;
        if (!found || turn->start_ns < found->start_ns)
            found = turn;
        fit++;
    }
    if (!found || (!figures && fit > 1))
        return;
    found->loose = false;
    found->sure = fit == 1 && figures ? SL_TRACK_SINGLE : SL_TRACK_AMBIGUOUS;
    found->ties_cut = true;
    sl_track_turn_give(found, request, NULL);
}

/* A guess that the answer's own figures contradict is none: the turn waits for the answer that means it. */
static void part_from_wrong(sl_probe_assembler *a, const sl_track_request *request, const sl_answer_facts *facts)
{
    sl_track_turn *turn = request->turns;
    bool guess = turn && request->turn_count == 1 && turn->sure == SL_TRACK_AMBIGUOUS && !turn->copied && turn->ask;
    if (!guess || !(facts->has_timings || facts->has_usage) || sl_track_figures_fit(turn, facts))
        return;
    sl_track_turn_take(turn);
    if (!turn->on_sequence)
        sl_track_turn_haunt(a, turn);
}

/* An answer that ends before the prompt does: whose prompt it is will show as it goes on. */
static void part_from_begun(sl_track_request *request)
{
    for (sl_track_turn *turn = request->turns, *next; turn; turn = next) {
        next = turn->next_in_request;
        bool begun = turn->phase == SL_TRACK_PROMPT && turn->on_sequence && !turn->closed && turn->ask;
        if (turn->sure != SL_TRACK_AMBIGUOUS || turn->copied || !begun)
            continue;
        sl_track_turn_take(turn);
        turn->parted = true;
    }
}

/* What ends as a guess stays a possibility for all for whom it may have been. */
static void keep_ghosts(sl_probe_assembler *a, const sl_track_request *request)
{
    for (sl_track_turn *turn = request->turns; turn; turn = turn->next_in_request) {
        if (turn->sure == SL_TRACK_AMBIGUOUS && !turn->copied)
            sl_track_turn_haunt(a, turn);
    }
}

bool sl_track_is_undecided(sl_probe_assembler *a, sl_track_request *request, const sl_answer_facts *facts)
{
    SL_ASSERT(a && request && facts);
    bool certain;
    if (!(facts->has_timings || facts->has_usage) || request->turn_count > 1)
        return false;
    settle_alone(a, request);
    if (request->turns && request->turns->sure != SL_TRACK_AMBIGUOUS)
        return false;
    if (!sl_track_may_have_worked(a, request))
        return false;
    (void)find_meant(a, request, facts, &certain);
    return !certain;
}

void sl_track_settle(sl_probe_assembler *a, sl_track_request *request, const sl_answer_facts *facts, bool complete)
{
    SL_ASSERT(a && request && facts);
    settle_alone(a, request);
    bool certain = request->turns && request->turns->sure != SL_TRACK_AMBIGUOUS;
    bool answered = request->status || facts->id_slot >= 0 || facts->has_timings || facts->has_usage || complete;
    if (!certain && request->turn_count <= 1 && answered) /* who left may never have had a slot */
        settle_ambiguous(a, request, facts);
    if (!request->turns && (request->use == SL_TRACK_USE_GENERATE || request->use == SL_TRACK_USE_EMBED))
        adopt_loose(a, request, facts);
    part_from_wrong(a, request, facts);
    part_from_begun(request);
    keep_ghosts(a, request);
    if (request->turn_count != 1 || !(facts->has_timings || facts->has_usage))
        return;
    sl_track_turn *turn = request->turns;
    bool agrees = sl_track_figures_fit(turn, facts) && (facts->id_slot < 0 || facts->id_slot == turn->seq);
    a->stats.compared++;
    sl_probe_metrics_compared(a->metrics, agrees);
    if (agrees) {
        learn_times(a, turn, request, facts);
        return;
    }
    a->stats.mismatches++;
    request->doubted = true;
    if (turn->sure == SL_TRACK_SINGLE)
        turn->sure = SL_TRACK_AMBIGUOUS;
}
