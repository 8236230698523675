/* test_order.c: orders as text, beyond what test_plan.c checks on the way: random orders of the whole grammar against items that the
 * test builds itself, canonical text, hostile text, shuffles against numpy's (tools/make_shuffle_fixture.py), files of orders. */
#include "tests/test.h"

#include <unistd.h>

#include "engine/base/file.h"
#include "engine/base/rng.h"
#include "engine/base/sha256.h"
#include "engine/order.h"

enum { N_LAYERS = 9, MAX_TEXT = 4096, MAX_MADE = 600 };

/* Text and, beside it, the items it stands for by the grammar's words. */
typedef struct Made {
    char text[MAX_TEXT];
    size_t len, n_items;
    OrderItem items[MAX_MADE];
} Made;

static void put(Made *m, Rng *rng, const char *token)
{
    static const char *const spaces[] = {"", "", "", " ", "\t", "  \n"};
    m->len += (size_t)snprintf(m->text + m->len, MAX_TEXT - m->len, "%s%s", spaces[rng_below(rng, 6)], token);
}

static void put_number(Made *m, Rng *rng, int n)
{
    char text[16];
    snprintf(text, sizeof text, rng_below(rng, 8) ? "%d" : "0%d", n);
    put(m, rng, text);
}

static OrderItem put_member(Made *m, Rng *rng, bool joins)
{
    static const char *const names[] = {"", ".attn", ".mlp"};
    OrderItem item = {.layer = (int32_t)rng_below(rng, N_LAYERS), .part = (Part)rng_below(rng, 3), .joins = joins};
    put_number(m, rng, item.layer);
    if (item.part != PART_BOTH)
        put(m, rng, names[item.part]);
    m->items[m->n_items++] = item;
    return item;
}

static void put_group(Made *m, Rng *rng)
{
    bool bars = rng_below(rng, 2);
    size_t n = 2 + rng_below(rng, 4);
    if (bars)
        put(m, rng, "(");
    for (size_t i = 0; i < n; i++) {
        if (i)
            put(m, rng, bars ? "|" : "+");
        put_member(m, rng, i > 0);
    }
    if (bars)
        put(m, rng, ")");
}

static void put_term(Made *m, Rng *rng)
{
    uint64_t kind = rng_below(rng, 4);
    if (kind == 0) {
        int from = (int)rng_below(rng, N_LAYERS), to = (int)rng_below(rng, N_LAYERS);
        put_number(m, rng, from);
        put(m, rng, "-");
        put_number(m, rng, to);
        for (int l = from; l != to; l += to > from ? 1 : -1)
            m->items[m->n_items++] = (OrderItem){.layer = l};
        m->items[m->n_items++] = (OrderItem){.layer = to};
    } else if (kind == 1) {
        put_group(m, rng);
    } else {
        OrderItem item = put_member(m, rng, false);
        int count = 1 + (int)rng_below(rng, 4);
        if (kind == 2) {
            put(m, rng, rng_below(rng, 2) ? "x" : "*");
            put_number(m, rng, count);
            while (--count)
                m->items[m->n_items++] = item;
        }
    }
}

static void make(Made *m, Rng *rng)
{
    m->len = m->n_items = 0;
    m->text[0] = '\0';
    for (size_t i = 0, n = rng_below(rng, 9); i < n; i++) {
        if (i)
            put(m, rng, ",");
        put_term(m, rng);
    }
}

static void random_orders_parse_as_they_were_made(void)
{
    Rng rng;
    rng_seed(&rng, 42, 0);
    Made *m = malloc(sizeof *m);
    for (int round = 0; round < 20000; round++) {
        Arena arena = {0};
        Order o, again;
        Error e = {""};
        make(m, &rng);
        Order made = {.items = m->items, .n_items = m->n_items};
        CHECK_MSG(order_parse(m->text, N_LAYERS, &arena, &o, &e) == STATUS_OK, "%s: %s", m->text, e.text);
        CHECK_MSG(order_equal(&o, &made), "%s", m->text);
        CHECK_MSG(order_parse(o.spec, N_LAYERS, &arena, &again, &e) == STATUS_OK && order_equal(&again, &made), "%s became %s",
                  m->text, o.spec);
        CHECK_STR(again.spec, o.spec);
        bool plain = true;
        for (size_t i = 0; i < m->n_items; i++)
            plain = plain && m->items[i].part == PART_BOTH && !m->items[i].joins;
        CHECK(order_is_index_array(&o) == plain);
        arena_free(&arena);
    }
    free(m);
}

static void random_text_is_refused_in_one_line(void)
{
    static const char letters[] = "0123456789,,--xx*+|()..attnmlp shuffle(seed=)\t\xc3\xff";
    Rng rng;
    rng_seed(&rng, 43, 0);
    size_t n_accepted = 0;
    for (int round = 0; round < 50000; round++) {
        char text[24];
        size_t n = rng_below(&rng, sizeof text);
        for (size_t i = 0; i < n; i++)
            text[i] = letters[rng_below(&rng, sizeof letters - 1)];
        text[n] = '\0';
        Arena arena = {0};
        Order o;
        Error e = {""};
        int status = order_parse(text, N_LAYERS, &arena, &o, &e);
        n_accepted += status == STATUS_OK;
        if (status)
            CHECK_MSG(status == STATUS_USAGE && strstr(e.text, "column") && strstr(e.text, "expected") && !strchr(e.text, '\n'),
                      "%s", e.text);
        arena_free(&arena);
    }
    CHECK(n_accepted > 0);
}

static void errors_name_column_and_layers(void)
{
    static const struct {
        const char *text, *part;
    } cases[] = {{"0-3,12", "column 5: layer 12, expected 0 to 8: the model has 9 layers"},
                 {"0-3,,4", "column 5: expected a layer index, found \",4\""},
                 {"0-3,", "column 5: expected a layer index, found the end"},
                 {"1x0", "column 3: expected a count from 1 to 1000, found \"0\""},
                 {"1.foo", "column 3: expected \"attn\" or \"mlp\""},
                 {"(1|2", "column 5: expected \"|\" or \")\""},
                 {"1-2x3", "column 4: expected \",\" or the end"},
                 {"1.attn-2", "column 7: expected \",\" or the end"},
                 {"1+2x3", "column 4: expected \",\" or the end"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Arena arena = {0};
        Order o;
        Error e = {""};
        CHECK(order_parse(cases[i].text, N_LAYERS, &arena, &o, &e) == STATUS_USAGE);
        CHECK_MSG(strstr(e.text, cases[i].part) != NULL, "%s", e.text);
        arena_free(&arena);
    }
}

static void an_order_holds_100000_items(void)
{
    char text[1024] = "";
    for (int i = 0; i < 100; i++)
        strcat(text, i ? ",0x1000" : "0x1000");
    Arena arena = {0};
    Order o;
    Error e = {""};
    CHECK(order_parse(text, 1, &arena, &o, &e) == STATUS_OK && o.n_items == 100000);
    CHECK_STR(o.spec, text);
    strcat(text, ",0");
    CHECK(order_parse(text, 1, &arena, &o, &e) == STATUS_USAGE && strstr(e.text, "100000"));
    arena_free(&arena);
}

/* Both lists come from tools/make_shuffle_fixture.py (numpy 2.4's PCG64). */
static void shuffles_are_numpys(void)
{
    static const struct {
        const char *text, *items;
    } cases[] = {{"shuffle(0-7,seed=1)", "4,5,6,2,0,3,7,1"},
                 {" shuffle ( 8 - 23 , seed = 1 ) ", "21,16,13,23,19,20,10,22,18,17,11,14,8,15,12,9"},
                 {"shuffle(3-3,seed=5)", "3"},
                 {"shuffle(0-31,seed=18446744073709551615)",
                  "11,30,3,2,23,5,1,22,28,20,16,31,26,9,18,14,13,7,19,25,15,21,17,24,8,27,12,0,29,10,4,6"},
                 {"shuffle(2-11)", "8,11,9,6,4,2,10,3,5,7"},
                 {"0,shuffle(2-11,seed=0),1", "0,8,11,9,6,4,2,10,3,5,7,1"}};
    static const char *const experiment[] = {"11,2,8,1,0,6,5,10,9,3,4,7", "3,2,0,9,7,10,4,5,8,6,1,11",
                                             "11,4,3,0,5,6,9,2,7,8,10,1"};
    Arena arena = {0};
    Order got, expected;
    Error e = {""};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_MSG(order_parse(cases[i].text, 32, &arena, &got, &e) == STATUS_OK, "%s", e.text);
        CHECK(order_parse(cases[i].items, 32, &arena, &expected, &e) == STATUS_OK);
        CHECK_MSG(order_equal(&got, &expected), "%s is %s", cases[i].text, got.spec);
    }
    OrderSet s;
    CHECK(orders_generate("shuffle:3", 12, 5, &s, &e) == STATUS_OK && s.n_orders == 4);
    for (size_t i = 0; i < 3; i++) {
        CHECK(order_parse(experiment[i], 12, &arena, &expected, &e) == STATUS_OK);
        CHECK_MSG(order_equal(&s.orders[i + 1], &expected), "%s is %s", s.orders[i + 1].name, s.orders[i + 1].spec);
    }
    order_set_free(&s);
    arena_free(&arena);
}

static char dir[64], path[128];

static void write_orders(const char *text, size_t len)
{
    snprintf(path, sizeof path, "%s/my.set-1.txt", dir);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, len, f) == len);
    if (f)
        fclose(f);
}

static void files_of_orders_are_read(void)
{
    static const char text[] = "# two kinds of lines\n\n 0 - 8 \r\nno middle : 0-3,5-8  # a comment\n8-0\n\t\nempty:\nlast: 1";
    OrderSet s;
    Error e = {""};
    snprintf(dir, sizeof dir, "/tmp/strata-order-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    write_orders(text, sizeof text - 1);
    CHECK_MSG(orders_read(path, N_LAYERS, &s, &e) == STATUS_OK, "%s", e.text);
    CHECK(s.n_orders == 6);
    static const char *const names[] = {"intact", "0-8", "no middle", "8-0", "empty", "last"};
    static const char *const specs[] = {"0-8", "0-8", "0-3,5-8", "8-0", "", "1"};
    for (size_t i = 0; i < s.n_orders && i < 6; i++) {
        CHECK_STR(s.orders[i].name, names[i]);
        CHECK_STR(s.orders[i].spec, specs[i]);
    }
    CHECK_STR(s.path_part, "orders_my.set-1");
    order_set_free(&s);
    static const struct {
        const char *text, *part;
    } bad[] = {{"a: 0\nb: 1\na: 2\n", "line 3: the name \"a\" is taken"},
               {"0-3\n0-9\n", "line 2: order \"0-9\": column 3: layer 9"},
               {"intact: 0\n", "line 1: the name \"intact\" is taken"},
               {"# nothing\n", "no order in it"},
               {"", "no order in it"},
               {": 0\n", "line 1: expected a name"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_orders(bad[i].text, strlen(bad[i].text));
        CHECK(orders_read(path, N_LAYERS, &s, &e) == STATUS_USAGE);
        CHECK_MSG(strstr(e.text, bad[i].part) && strstr(e.text, "my.set-1.txt"), "%s", e.text);
        CHECK(s.orders == NULL);
    }
    write_orders("a: 0\0,1\n", 8); /* a byte that text does not have must not end a line early */
    CHECK(orders_read(path, N_LAYERS, &s, &e) == STATUS_USAGE);
    CHECK_MSG(strstr(e.text, "line 1") != NULL, "%s", e.text);
    order_set_free(&s);
    unlink(path);
    rmdir(dir);
}

static void a_spec_names_itself(void)
{
    OrderSet s;
    Error e = {""};
    char hex[65], part[80];
    Sha256 hash;
    CHECK(orders_read(" 0-2 , 4-8", N_LAYERS, &s, &e) == STATUS_OK && s.n_orders == 2);
    CHECK_STR(s.orders[1].name, "0-2,4-8");
    sha256_begin(&hash);
    sha256_update(&hash, "0-2,4-8", 7);
    sha256_end(&hash, hex);
    snprintf(part, sizeof part, "orders_%.8s", hex);
    CHECK_STR(s.path_part, part);
    order_set_free(&s);
    CHECK(orders_read("no/such/file", N_LAYERS, &s, &e) == STATUS_USAGE && s.orders == NULL);
    CHECK(strstr(e.text, "\"no/such/file\" is no file") != NULL);
}

static void counts_of_experiments_are_checked(void)
{
    static const char *const bad[] = {"block",       "block:",     "block:0", "block:10",  "block:x",
                                      "block:2x",    "block:-1",   "shuffle", "shuffle:0", "parallel:1",
                                      "removal:2",   "exchange:1", "",        "parallel",  "shuffle:99999999999999999999",
                                      "attn_removal"};
    OrderSet s;
    Error e;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        e.text[0] = '\0';
        CHECK_MSG(orders_generate(bad[i], N_LAYERS, 0, &s, &e) == STATUS_USAGE, "%s", bad[i]);
        CHECK_MSG(strstr(e.text, "expected") && s.orders == NULL, "%s: %s", bad[i], e.text);
    }
    CHECK(orders_generate("block:9", N_LAYERS, 0, &s, &e) == STATUS_OK && s.n_orders == 2 && s.orders[1].n_items == 0);
    order_set_free(&s);
    int n = -1;
    CHECK(!orders_is_greedy("removal", &n) && !orders_is_greedy("greedyx", &n));
    CHECK(orders_is_greedy("greedy:3", &n) && n == 3);
    CHECK(orders_is_greedy("greedy:", &n) && n == 0);
    CHECK(orders_is_greedy("greedy:3x", &n) && n == 0);
}

int main(void)
{
    RUN(random_orders_parse_as_they_were_made);
    RUN(random_text_is_refused_in_one_line);
    RUN(errors_name_column_and_layers);
    RUN(an_order_holds_100000_items);
    RUN(shuffles_are_numpys);
    RUN(files_of_orders_are_read);
    RUN(a_spec_names_itself);
    RUN(counts_of_experiments_are_checked);
    return test_finish();
}
