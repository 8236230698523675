/* test_plan.c: orders and plans. The plan is executed symbolically by a simulator of its own: a buffer holds the text of the steps
 * that were applied to it. */
#include "tests/test.h"

#include "engine/base/rng.h"
#include "engine/plan.h"

static void parse_ok(const char *text, int n_layers, const char *canonical)
{
    Arena arena = {0};
    Order o, again;
    Error e = {""};
    int status = order_parse(text, n_layers, &arena, &o, &e);
    CHECK_MSG(status == STATUS_OK, "%s: %s", text, e.text);
    if (!status) {
        CHECK_STR(o.spec, canonical);
        CHECK(order_parse(o.spec, n_layers, &arena, &again, &e) == STATUS_OK && order_equal(&o, &again));
    }
    arena_free(&arena);
}

static void orders_parse(void)
{
    parse_ok("0-31", 32, "0-31");
    parse_ok("0-11,13-31", 32, "0-11,13-31");
    parse_ok("0-11,13,12,14-31", 32, "0-11,13,12,14-31");
    parse_ok("31-0", 32, "31-0");
    parse_ok("0-5,6x3,7-31", 32, "0-5,6x3,7-31");
    parse_ok(" 0 - 2 , 3 * 2 ", 4, "0-2,3x2");
    parse_ok("0-9,10.attn,11-31", 32, "0-9,10.attn,11-31");
    parse_ok("0-9,10+11+12,13-31", 32, "0-9,10+11+12,13-31");
    parse_ok("(1|2.mlp)", 4, "1+2.mlp");
    parse_ok("", 4, "");
    parse_ok("2", 4, "2");
    parse_ok("1,2", 4, "1,2");
    parse_ok("3.mlpx2,3.mlp", 4, "3.mlpx3");
}

static void orders_refuse(void)
{
    static const char *const bad[] = {"0-4",
                                      "x",
                                      "0,,1",
                                      "0-",
                                      "1x0",
                                      "1x1001",
                                      "(1)",
                                      "1+",
                                      "0.foo",
                                      "0 1",
                                      "shuffle(0-3",
                                      "shuffle(3-0)",
                                      "99999999999999999999",
                                      "-1",
                                      "0,"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        Arena arena = {0};
        Order o;
        Error e = {""};
        CHECK_MSG(order_parse(bad[i], 4, &arena, &o, &e) == STATUS_USAGE, "%s", bad[i]);
        CHECK_MSG(strstr(e.text, "expected") != NULL, "%s: %s", bad[i], e.text);
        arena_free(&arena);
    }
}

/* shuffle(0-7,seed=1) against the same draws written with numpy's PCG64 (state as rng.h documents, seed 1, stream 0), by
 * i = 7..1: swap(i, below(i + 1)): the permutation must hold every layer once and differ from the identity. */
static void shuffles_are_permutations(void)
{
    Arena arena = {0};
    Order a, b;
    Error e;
    CHECK(order_parse("shuffle(0-7,seed=1)", 8, &arena, &a, &e) == STATUS_OK);
    CHECK(order_parse("shuffle(0-7,seed=2)", 8, &arena, &b, &e) == STATUS_OK);
    unsigned seen = 0;
    for (size_t i = 0; i < a.n_items; i++)
        seen |= 1u << a.items[i].layer;
    CHECK(a.n_items == 8 && seen == 255);
    CHECK(!order_equal(&a, &b));
    arena_free(&arena);
}

static Plan build(const OrderSet *s, PlanOptions options)
{
    Plan p;
    Error e = {""};
    CHECK_MSG(plan_build(s->orders, s->n_orders, &options, &p, &e) == STATUS_OK, "%s", e.text);
    return p;
}

static void count(const char *experiment, int n_layers, bool naive, int n_slots, PlanCounters *out)
{
    OrderSet s;
    Error e;
    CHECK(orders_generate(experiment, n_layers, 1, &s, &e) == STATUS_OK);
    Plan p = build(&s, (PlanOptions){.n_layers = n_layers, .naive = naive, .n_slots = n_slots});
    *out = p.counters;
    CHECK(naive || (size_t)p.counters.n_buffers <= s.n_orders + 1);
    plan_free(&p);
    order_set_free(&s);
}

static void closed_forms_hold(void)
{
    PlanCounters c;
    for (int n = 2; n <= 40; n++) {
        count("removal", n, false, 1, &c);
        CHECK_MSG(c.layer_evaluations == n * (n + 1) / 2 && c.visits == n && c.loads == n, "removal of %d: %lld %lld %lld", n,
                  (long long)c.layer_evaluations, (long long)c.visits, (long long)c.loads);
        count("exchange", n, false, 2, &c);
        CHECK_MSG(c.layer_evaluations == n * (n + 3) / 2 - 1 && c.visits == 2 * n - 1 && c.loads == n,
                  "exchange of %d: %lld %lld %lld", n, (long long)c.layer_evaluations, (long long)c.visits, (long long)c.loads);
        count("exchange", n, false, 1, &c);
        CHECK(c.loads == 2 * n - 1);
        count("repeat", n, false, 1, &c);
        CHECK_MSG(c.layer_evaluations == n + n * (n + 1) / 2 && c.visits == 2 * n && c.loads == n,
                  "repeat of %d: %lld %lld %lld", n, (long long)c.layer_evaluations, (long long)c.visits, (long long)c.loads);
        count("attn-removal", n, false, 1, &c);
        CHECK(c.attn_evaluations == n * (n + 1) / 2 && c.mlp_evaluations == n * (n + 3) / 2);
        count("mlp-removal", n, false, 1, &c);
        CHECK(c.attn_evaluations == n * (n + 1) / 2 && c.mlp_evaluations == n * (n + 1) / 2);
        count("removal", n, true, 1, &c);
        CHECK(c.layer_evaluations == n * n);
        count("exchange", n, true, 1, &c);
        CHECK(c.layer_evaluations == n * n);
        for (int k = 1; k <= n; k++) {
            char name[32];
            snprintf(name, sizeof name, "block:%d", k);
            count(name, n, false, 1, &c);
            CHECK_MSG(c.layer_evaluations == n + (n - k) * (n - k + 1) / 2 && c.loads == n, "%s of %d: %lld", name, n,
                      (long long)c.layer_evaluations);
        }
    }
    count("removal", 30, false, 1, &c);
    CHECK(c.layer_evaluations == 465);
    count("exchange", 30, false, 2, &c);
    CHECK(c.layer_evaluations == 494 && c.loads == 30);
}

/* What the residual of an order is, from scratch: "0a0m1a1m", groups as "(..|..)". */
static void describe(const Order *o, bool parallel, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; i < o->n_items; i++) {
        const OrderItem *x = &o->items[i];
        bool grouped = x->joins || (i + 1 < o->n_items && o->items[i + 1].joins);
        if (grouped)
            n += (size_t)snprintf(out + n, cap - n, x->joins ? "|" : "(");
        if (parallel && x->part == PART_BOTH) {
            n += (size_t)snprintf(out + n, cap - n, "%dw", x->layer);
        } else {
            if (x->part != PART_MLP)
                n += (size_t)snprintf(out + n, cap - n, "%da", x->layer);
            if (x->part != PART_ATTN)
                n += (size_t)snprintf(out + n, cap - n, "%dm", x->layer);
        }
        if (grouped && !(i + 1 < o->n_items && o->items[i + 1].joins))
            n += (size_t)snprintf(out + n, cap - n, ")");
    }
}

enum { TEXT = 4096 };

/* Runs the plan on strings; every input must hold the text its node had when it was computed. */
static void simulate(const OrderSet *s, PlanOptions options)
{
    Plan p = build(s, options);
    char(*buffer)[TEXT] = calloc((size_t)p.counters.n_buffers, TEXT), (*value)[TEXT] = calloc((size_t)p.n_nodes, TEXT),
    scratch[TEXT];
    int32_t held[64];
    CHECK(options.n_slots <= 64);
    for (int i = 0; i < options.n_slots; i++)
        held[i] = -1;
    int32_t visit = -1;
    int64_t n_loads = 0;
    for (int32_t b = 0; b < p.n_batches; b++) {
        const PlanBatch *batch = &p.batches[b];
        if (batch->layer >= 0 && batch->visit != visit) {
            visit = batch->visit;
            const PlanVisit *v = &p.visits[visit];
            n_loads += v->load;
            CHECK(v->load ? held[v->slot] != v->layer : held[v->slot] == v->layer);
            held[v->slot] = v->layer;
        }
        for (int32_t i = 0; i < batch->n_nodes; i++) {
            const PlanNode *n = &p.nodes[batch->nodes[i]];
            char *to = value[batch->nodes[i]];
            CHECK(n->kind == batch->kind && n->layer == batch->layer);
            CHECK(batch->layer < 0 || held[p.visits[visit].slot] == batch->layer);
            if (n->kind != STEP_COMBINE) {
                CHECK_MSG(strcmp(buffer[p.nodes[n->parent].buffer], value[n->parent]) == 0,
                          "a parent's buffer was overwritten");
                snprintf(scratch, TEXT, "%.4000s%d%c", value[n->parent], n->layer,
                         n->kind == STEP_ATTN  ? 'a'
                         : n->kind == STEP_MLP ? 'm'
                                               : 'w');
                memcpy(to, scratch, TEXT);
                continue;
            }
            size_t at = (size_t)snprintf(scratch, TEXT, "%.2000s(", value[n->parent]), prefix = strlen(value[n->parent]);
            for (int32_t j = 0; j < n->n_members; j++) {
                CHECK(strcmp(buffer[p.nodes[n->members[j]].buffer], value[n->members[j]]) == 0);
                at += (size_t)snprintf(scratch + at, TEXT - at, "%s%s", j ? "|" : "", value[n->members[j]] + prefix);
            }
            snprintf(scratch + at, TEXT - at, ")");
            memcpy(to, scratch, TEXT);
        }
        for (int32_t i = 0; i < batch->n_nodes; i++) /* after all inputs of the batch were read */
            memcpy(buffer[p.nodes[batch->nodes[i]].buffer], value[batch->nodes[i]], TEXT);
    }
    CHECK(n_loads == p.counters.loads);
    for (size_t o = 0; o < s->n_orders; o++) {
        char expected[TEXT];
        describe(&s->orders[o], options.parallel_residual, expected, sizeof expected);
        const PlanNode *end = &p.nodes[p.order_end[o]];
        CHECK_MSG(strcmp(buffer[end->buffer], expected) == 0, "order %s ends as %s", s->orders[o].spec, buffer[end->buffer]);
        if (s->orders[o].n_items) {
            size_t last = s->orders[o].n_items - 1;
            CHECK(plan_node_at(&p, o, &s->orders[o], last, POINT_POST) == p.order_end[o]);
            CHECK(plan_node_at(&p, o, &s->orders[o], 0, POINT_PRE) == 0);
        }
    }
    free(buffer);
    free(value);
    plan_free(&p);
}

static void random_order(Rng *rng, int n_layers, char *out, size_t cap)
{
    static const char *const parts[] = {"", "", "", ".attn", ".mlp"};
    size_t n = 0, terms = rng_below(rng, 7);
    out[0] = '\0';
    for (size_t i = 0; i < terms; i++) {
        int a = (int)rng_below(rng, (uint64_t)n_layers), b = (int)rng_below(rng, (uint64_t)n_layers);
        const char *p = parts[rng_below(rng, 5)], *q = parts[rng_below(rng, 5)];
        const char *comma = i ? "," : "";
        switch (rng_below(rng, 4)) {
        case 0:
            n += (size_t)snprintf(out + n, cap - n, "%s%d-%d", comma, a, b);
            break;
        case 1:
            n += (size_t)snprintf(out + n, cap - n, "%s%d%s+%d%s", comma, a, p, b, q);
            break;
        case 2:
            n += (size_t)snprintf(out + n, cap - n, "%s%d%sx2", comma, a, p);
            break;
        default:
            n += (size_t)snprintf(out + n, cap - n, "%s%d%s", comma, a, p);
        }
    }
}

static void random_plans_compute_their_orders(void)
{
    Rng rng;
    rng_seed(&rng, 20261123, 0);
    for (int round = 0; round < 300; round++) {
        int n_layers = 1 + (int)rng_below(&rng, 6);
        size_t n_orders = 1 + rng_below(&rng, 12);
        Arena arena = {0};
        Order orders[16];
        for (size_t i = 0; i < n_orders; i++) {
            char text[512];
            Error e = {""};
            random_order(&rng, n_layers, text, sizeof text);
            CHECK_MSG(order_parse(text, n_layers, &arena, &orders[i], &e) == STATUS_OK, "%s: %s", text, e.text);
        }
        OrderSet s = {.orders = orders, .n_orders = n_orders};
        for (int kind = 0; kind < 8; kind++)
            simulate(&s, (PlanOptions){.n_layers = n_layers,
                                       .naive = kind & 1,
                                       .parallel_residual = (kind & 2) != 0,
                                       .keep_all = (kind & 4) != 0,
                                       .n_slots = 1 + (int)rng_below(&rng, 3)});
        arena_free(&arena);
    }
}

static void experiments_compute_their_orders(void)
{
    static const char *const names[] = {"removal", "exchange",  "block:2",      "replace",     "repeat",
                                        "reverse", "shuffle:5", "attn-removal", "mlp-removal", "parallel:3"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        OrderSet s;
        Error e;
        CHECK(orders_generate(names[i], 6, 3, &s, &e) == STATUS_OK);
        CHECK_STR(s.orders[0].spec, "0-5");
        for (int kind = 0; kind < 4; kind++)
            simulate(&s, (PlanOptions){.n_layers = 6, .naive = kind & 1, .parallel_residual = (kind & 2) != 0, .n_slots = 2});
        order_set_free(&s);
    }
}

static void experiments_are_named(void)
{
    static const struct {
        const char *experiment, *name, *spec, *folder;
        size_t index, n;
    } cases[] = {{"removal", "removal_2", "0,1,3,4", "removal", 3, 6},
                 {"exchange", "exchange_1_2", "0,2,1,3,4", "exchange", 2, 5},
                 {"block:2", "block_1_2", "0,3,4", "block_2", 2, 5},
                 {"replace", "replace_1_by_0", "0x2,2-4", "replace", 2, 9},
                 {"repeat", "repeat_4", "0-3,4x2", "repeat", 5, 6},
                 {"reverse", "reverse", "4-0", "reverse", 1, 2},
                 {"attn-removal", "attn_removal_0", "0.mlp,1-4", "attn-removal", 1, 6},
                 {"parallel:2", "parallel_3_4", "0-2,3+4", "parallel_2", 4, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        OrderSet s;
        Error e;
        CHECK(orders_generate(cases[i].experiment, 5, 0, &s, &e) == STATUS_OK);
        CHECK(s.n_orders == cases[i].n);
        CHECK_STR(s.orders[cases[i].index].name, cases[i].name);
        CHECK_STR(s.orders[cases[i].index].spec, cases[i].spec);
        CHECK_STR(s.path_part, cases[i].folder);
        order_set_free(&s);
    }
    OrderSet s;
    Error e;
    CHECK(orders_generate("block:9", 5, 0, &s, &e) == STATUS_USAGE);
    CHECK(orders_generate("nonsense", 5, 0, &s, &e) == STATUS_USAGE && strstr(e.text, "removal"));
    int32_t gone[] = {1};
    CHECK(orders_greedy_stage(4, gone, 1, &s, &e) == STATUS_OK && s.n_orders == 4);
    CHECK_STR(s.orders[1].name, "greedy_1_0");
    CHECK_STR(s.orders[1].spec, "2,3");
    order_set_free(&s);
}

int main(void)
{
    RUN(orders_parse);
    RUN(orders_refuse);
    RUN(shuffles_are_permutations);
    RUN(closed_forms_hold);
    RUN(experiments_are_named);
    RUN(experiments_compute_their_orders);
    RUN(random_plans_compute_their_orders);
    return test_finish();
}
