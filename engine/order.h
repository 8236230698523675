/* order.h: the layer order as data, its text form, and the experiments that generate orders.
 *
 * An order is a sequence of items; an item names a layer and a part; items marked `joins` run on the same input as the item
 * before them (a parallel group: the mean of the members' outputs, summed in written order). Removal, exchange, repetition,
 * replacement and reversal are only different arrays. The intact order is every layer once, ascending, whole.
 *
 * Grammar (EBNF), white space allowed between tokens:
 *   order   = [ term { "," term } ] ;                      (* the empty order runs no layer at all: embedding to head *)
 *   term    = range | repeat | group | shuffle ;
 *   range   = number "-" number ;                          (* ascending or descending, both ends included *)
 *   repeat  = member [ ("x" | "*") number ] ;              (* one after another; count 1 to 1000 *)
 *   group   = member "+" member { "+" member } | "(" member { "|" member } ")" ;
 *   member  = number [ ".attn" | ".mlp" ] ;
 *   shuffle = "shuffle(" number "-" number ["," "seed=" number] ")" ;
 * shuffle(a-b,seed=s): the layers a..b ascending, permuted by rng_shuffle of an Rng seeded (s, stream 0); seed defaults to 0.
 *
 * Names and specs are NUL-terminated and owned by the OrderSet's arena. */
#ifndef STRATA_ENGINE_ORDER_H
#define STRATA_ENGINE_ORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/error.h"
#include "engine/base/strbuf.h"

typedef enum Part { PART_BOTH, PART_ATTN, PART_MLP } Part;

typedef struct OrderItem {
    int32_t layer;
    Part part;
    bool joins; /* same parallel group as the item before; never true for the first item */
} OrderItem;

typedef struct Order {
    const char *name; /* "intact", "removal_12", "exchange_12_13", an orders file's name, or the spec itself */
    const char *spec; /* canonical text: order_format of the items */
    OrderItem *items;
    size_t n_items;
} Order;

typedef struct OrderSet {
    Order *orders; /* orders[0] is always the intact order */
    size_t n_orders;
    char path_part[96]; /* folder of results: "removal", "block_2", "orders_STEM", "orders_1a2b3c4d" */
    Arena arena;
} OrderSet;

/* Parses text into items allocated from arena. Errors (STATUS_USAGE) give the column, what was expected and found, and for a
 * layer out of range how many layers the model has. At most 100,000 items. */
int order_parse(const char *text, int n_layers, Arena *arena, Order *out, Error *e);

/* Canonical text: runs of three or more whole layers ascending or descending become ranges ("0-11,13-31"), equal neighbours
 * "6x3", groups "10+11+12". Parsing it gives the same items. */
void order_format(const Order *o, StrBuf *out);

bool order_equal(const Order *a, const Order *b);
/* True when each item is one whole layer outside any group: then the order is an index array. */
bool order_is_index_array(const Order *o);

/* --experiment: removal, exchange, block:N, replace, repeat, reverse, shuffle:K, attn-removal, mlp-removal, parallel:N, for L
 * layers, named from layer indices counted from 0:
 *   removal      removal_i                    i = 0..L-1
 *   exchange     exchange_i_{i+1}             i = 0..L-2
 *   block:N      block_i_{i+N-1} (layers i..i+N-1 removed)   i = 0..L-N
 *   replace      replace_i_by_j for j = i-1 and i+1 where they exist (layer j's weights at i's place)
 *   repeat       repeat_i                     layer i twice
 *   reverse      reverse
 *   shuffle:K    shuffle_0 .. shuffle_{K-1}: all layers, by rng_shuffle of one Rng seeded (seed, stream k) each
 *   attn-removal, mlp-removal   attn_removal_i, mlp_removal_i (the other half stays)
 *   parallel:N   parallel_i_{i+N-1}: those layers as one group
 * greedy:N is not a set but stages: see orders_greedy. attn-removal and mlp-removal are allowed for parallel-residual models
 * too. N and K out of range are STATUS_USAGE. */
int orders_generate(const char *experiment, int n_layers, uint64_t seed, OrderSet *out, Error *e);

/* "greedy:N" -> true and N (1 <= N < n_layers checked by the caller). */
bool orders_is_greedy(const char *experiment, int *n_stages);
/* The candidates of one greedy stage: the intact order, then base without one of its remaining layers, each named
 * greedy_S_i (S stage counted from 0, i the layer removed). removed: layers already gone, in order of removal. path_part is left
 * empty. */
int orders_greedy_stage(int n_layers, const int32_t *removed, size_t n_removed, OrderSet *out, Error *e);
/* The intact order, then the candidates of stages 0 .. n_stages-1 one after another, where stage S has lost removed[0 .. S-1]
 * (removed[n_stages-1] is not read): the rows of a greedy sweep's ledger. path_part: greedy_N. */
int orders_greedy(int n_layers, const int32_t *removed, size_t n_stages, OrderSet *out, Error *e);

/* --orders: one spec, or the path of a file with one order a line: "spec" or "name: spec"; '#' starts a comment. A name repeated
 * is an error; an order without a name is named by its canonical spec. path_part: orders_STEM or orders_HASH8 (first 8 hex
 * digits of the sha256 of the canonical spec). */
int orders_read(const char *spec_or_file, int n_layers, OrderSet *out, Error *e);

void order_set_free(OrderSet *s); /* accepts zeroed */

#endif
