/* main.c: the command line. It reads options, calls one function of the library, and turns its status into the exit status. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/strata.h"
#include "experiments/studies.h"
#include "tools/help.h"
#include "tools/options.h"

static volatile sig_atomic_t stop, only_prints;

/* The first signal asks for an orderly end; a second one ends at once, as does the first where nothing is written that could be left behind
 * half done. */
static void on_signal(int number)
{
    if (only_prints)
        _exit(130);
    if (stop)
        _exit(128 + number);
    stop = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is a write error like a full disk */
}

static const char *cpu; /* --cpu */

/* Entries of the common options, appended to a command's own. */
enum { N_COMMON = 14 };
static void common_options(StrataCommon *c, Option out[N_COMMON])
{
    const Option table[N_COMMON] = {
        {"--model_name", OPTION_STRING, &c->model_name},
        {"--revision", OPTION_STRING, &c->revision},
        {"--gpu_id", OPTION_STRING, &c->gpu_id},
        {"--dtype", OPTION_STRING, &c->dtype},
        {"--numerics", OPTION_STRING, &c->numerics},
        {"--threads", OPTION_INT, &c->threads},
        {"--memory", OPTION_BYTES, &c->memory_bytes},
        {"--cpu", OPTION_STRING, &cpu},
        {"--bos", OPTION_STRING, &c->bos},
        {"--context", OPTION_INT, &c->context},
        {"--rope", OPTION_STRING, &c->rope},
        {"--seed", OPTION_COUNT, &c->seed},
        {"--quiet", OPTION_FLAG, &c->quiet},
        {"--json", OPTION_FLAG, &c->json},
    };
    memcpy(out, table, sizeof table);
}

/* OpenBLAS chooses its kernels when it is loaded, before main: a limit takes effect in a process started anew. */
static int limit_cpu(char **argv, StrataError *e)
{
    const char *level = cpu ? cpu : getenv("STRATA_CPU");
    if (!level)
        return 0;
    int restart = 0, status = strata_cpu_select(level, &restart, e);
    if (status || !restart || getenv("STRATA_RESTARTED"))
        return status;
    setenv("STRATA_RESTARTED", "1", 1);
    execv("/proc/self/exe", argv);
    return 0; /* without /proc BLAS keeps its core; run.json says which */
}

/* rest: where words that are no options go; NULL: they are an error. */
static int parse_words(const Option *own, size_t n_own, StrataCommon *common, OptionList *rest, int argc, char **argv,
                       StrataError *e)
{
    Option all[32 + N_COMMON];
    for (size_t i = 0; i < n_own; i++)
        all[i] = own[i];
    common_options(common, all + n_own);
    common->out = stdout;
    common->stop = &stop;
    common->argc = argc;
    common->argv = argv;
    int status = options_parse(all, n_own + N_COMMON, argc, argv, 2, rest, e);
    return status ? status : limit_cpu(argv, e);
}

static int parse(const Option *own, size_t n_own, StrataCommon *common, int argc, char **argv, StrataError *e)
{
    return parse_words(own, n_own, common, NULL, argc, argv, e);
}

#define PARSE(own, common) parse(own, sizeof(own) / sizeof((own)[0]), common, argc, argv, e)

static int command_sweep(int argc, char **argv, StrataError *e)
{
    StrataSweepOptions o = {0};
    const Option own[] = {
        {"--dataset_type", OPTION_STRING, &o.dataset_type},
        {"--dataset_path", OPTION_STRING, &o.dataset_path},
        {"--split", OPTION_STRING, &o.split},
        {"--protocol", OPTION_STRING, &o.protocol},
        {"--experiment", OPTION_STRING, &o.experiment},
        {"--orders", OPTION_STRING, &o.orders},
        {"--schedule", OPTION_STRING, &o.schedule},
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--tag", OPTION_STRING, &o.tag},
        {"--shard", OPTION_STRING, &o.shard},
        {"--max_samples", OPTION_COUNT, &o.max_samples},
        {"--sample_size", OPTION_COUNT, &o.max_samples},
        {"--dry_run", OPTION_FLAG, &o.dry_run},
        {"--force", OPTION_FLAG, &o.force},
    };
    int status = PARSE(own, &o.common);
    return status ? status : strata_sweep(&o, e);
}

static int command_pos(int argc, char **argv, StrataError *e)
{
    StrataPosOptions o = {0};
    OptionList dirs = {.values = calloc((size_t)argc, sizeof *dirs.values)};
    const Option own[] = {
        {"--dataset_type", OPTION_STRING, &o.dataset_type},
        {"--dataset_path", OPTION_STRING, &o.dataset_path},
        {"--experiment", OPTION_STRING, &o.experiment},
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--gold", OPTION_STRING, &o.gold},
        {"--lang", OPTION_STRING, &o.lang},
        {"--sample_size", OPTION_COUNT, &o.sample_size},
        {"--max_samples", OPTION_COUNT, &o.sample_size},
        {"--fine", OPTION_FLAG, &o.fine},
    };
    int status = dirs.values ? parse_words(own, sizeof own / sizeof *own, &o.common, &dirs, argc, argv, e) : 1;
    if (!status && dirs.n > (o.common.model_name ? 0 : 1)) {
        snprintf(e->text, sizeof e->text, "pos: expected one result, its folder or --model_name, found \"%s\" behind it",
                 dirs.values[dirs.n - 1]);
        status = 2;
    }
    if (dirs.n == 1)
        o.common.model_name = dirs.values[0];
    if (!status)
        status = strata_pos(&o, e);
    free(dirs.values);
    return status;
}

static int command_trace(int argc, char **argv, StrataError *e)
{
    StrataTraceOptions o = {0};
    const Option own[] = {
        {"--text", OPTION_TEXT, &o.text},
        {"--ids", OPTION_STRING, &o.ids},
        {"--order", OPTION_STRING, &o.order},
        {"--output", OPTION_STRING, &o.output},
    };
    int status = PARSE(own, &o.common);
    return status ? status : strata_trace(&o, e);
}

static int command_next(int argc, char **argv, StrataError *e)
{
    StrataNextOptions o = {0};
    const Option own[] = {
        {"--text", OPTION_TEXT, &o.text},
        {"--ids", OPTION_STRING, &o.ids},
        {"--order", OPTION_STRING, &o.order},
        {"--top", OPTION_INT, &o.top},
    };
    int status = PARSE(own, &o.common);
    return status ? status : strata_next(&o, e);
}

static int command_inspect(int argc, char **argv, StrataError *e)
{
    StrataCommon common = {0};
    int status = parse(NULL, 0, &common, argc, argv, e);
    return status ? status : strata_inspect(&common, e);
}

static int command_tokenize(int argc, char **argv, StrataError *e)
{
    StrataTokenizeOptions o = {0};
    const Option own[] = {
        {"--text", OPTION_TEXT, &o.text},
        {"--file", OPTION_STRING, &o.file},
        {"--jsonl", OPTION_FLAG, &o.jsonl},
        {"--add_special", OPTION_FLAG, &o.add_special},
    };
    int status = PARSE(own, &o.common);
    return status ? status : strata_tokenize_file(&o, e);
}

static int command_compare(int argc, char **argv, StrataError *e)
{
    StrataCompareOptions o = {0};
    OptionList files = {0};
    const Option own[] = {
        {"--json_files", OPTION_LIST, &files},
        {"--experiment", OPTION_STRING, &o.experiment},
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--depth", OPTION_STRING, &o.depth},
        {"--lang", OPTION_STRING, &o.lang},
    };
    int status = PARSE(own, &o.common);
    o.json_files = (const char *const *)files.values;
    o.n_json_files = (size_t)files.n;
    return status ? status : strata_compare(&o, e);
}

static int command_report(int argc, char **argv, StrataError *e)
{
    StrataReportOptions o = {0};
    OptionList dirs = {.values = calloc((size_t)argc, sizeof *dirs.values)};
    const Option own[] = {
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--lang", OPTION_STRING, &o.lang},
    };
    int status = dirs.values ? parse_words(own, sizeof own / sizeof *own, &o.common, &dirs, argc, argv, e) : 1;
    o.dirs = (const char *const *)dirs.values;
    o.n_dirs = (size_t)dirs.n;
    if (!status)
        status = strata_report(&o, e);
    free(dirs.values);
    return status;
}

static int command_merge(int argc, char **argv, StrataError *e)
{
    StrataMergeOptions o = {0};
    OptionList paths = {.values = calloc((size_t)argc, sizeof *paths.values)};
    const Option own[] = {{"--force", OPTION_FLAG, &o.force}};
    int status = paths.values ? parse_words(own, 1, &o.common, &paths, argc, argv, e) : 1;
    o.paths = (const char *const *)paths.values;
    o.n_paths = (size_t)paths.n;
    if (!status)
        status = strata_merge(&o, e);
    free(paths.values);
    return status;
}

static int command_status(int argc, char **argv, StrataError *e)
{
    StrataCommon common = {0};
    OptionList paths = {.values = calloc((size_t)argc, sizeof *paths.values)};
    int status = paths.values ? parse_words(NULL, 0, &common, &paths, argc, argv, e) : 1;
    StrataStatusOptions o = {.path = paths.n ? paths.values[0] : NULL, .json = common.json, .out = stdout};
    if (!status && paths.n > 1) {
        snprintf(e->text, sizeof e->text, "status: expected one folder, found \"%s\" behind it", paths.values[1]);
        status = 2;
    }
    if (!status)
        status = strata_status(&o, e);
    free(paths.values);
    return status;
}

static int command_pull(int argc, char **argv, StrataError *e)
{
    StrataPullOptions o = {.common = {.out = stdout, .stop = &stop, .argc = argc, .argv = argv}};
    const Option own[] = {
        {"--model", OPTION_STRING, &o.model},
        {"--model_name", OPTION_STRING, &o.model},
        {"--revision", OPTION_STRING, &o.revision},
        {"--file", OPTION_STRING, &o.file},
        {"--dataset", OPTION_STRING, &o.dataset},
        {"--dataset_type", OPTION_STRING, &o.dataset},
        {"--split", OPTION_STRING, &o.split},
        {"--config", OPTION_STRING, &o.config},
        {"--field", OPTION_STRING, &o.field},
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--max_samples", OPTION_COUNT, &o.max_samples},
        {"--jobs", OPTION_INT, &o.jobs},
        {"--part", OPTION_BYTES, &o.part_bytes},
        {"--dry_run", OPTION_FLAG, &o.dry_run},
        {"--force", OPTION_FLAG, &o.force},
        {"--quiet", OPTION_FLAG, &o.common.quiet},
        {"--json", OPTION_FLAG, &o.common.json},
    };
    int status = options_parse(own, sizeof own / sizeof *own, argc, argv, 2, NULL, e);
    return status ? status : strata_pull(&o, e);
}

static int command_tag(int argc, char **argv, StrataError *e)
{
    const char *text = argc > 2 && strncmp(argv[2], "--", 2) != 0 ? argv[2] : NULL, *treebank = NULL;
    const Option own[] = {{"--conllu", OPTION_STRING, &treebank}};
    int status = options_parse(own, 1, argc, argv, text ? 3 : 2, NULL, e);
    if (!status && !text == !treebank) {
        snprintf(e->text, sizeof e->text, "tag: expected either a text file or --conllu FILE, found %s",
                 text ? "both" : "neither");
        return 2;
    }
    StrataTagOptions o = {.path = text ? text : treebank, .is_conllu = treebank != NULL, .out = stdout, .stop = &stop};
    return status ? status : strata_tag(&o, e);
}

static int command_audit(int argc, char **argv, StrataError *e)
{
    StrataAuditOptions o = {0};
    OptionList orders = {0};
    const Option own[] = {
        {"--text", OPTION_TEXT, &o.text},
        {"--ids", OPTION_STRING, &o.ids},
        {"--against", OPTION_STRING, &o.against},
        {"--output", OPTION_STRING, &o.output},
        {"--html", OPTION_STRING, &o.html},
        {"--explain", OPTION_FLAG, &o.explain},
        {"--ledger", OPTION_STRING, &o.ledger},
        {"--sample", OPTION_COUNT, &o.sample},
        {"--orders", OPTION_LIST, &orders},
        {"--dataset_type", OPTION_STRING, &o.dataset_type},
        {"--dataset_path", OPTION_STRING, &o.dataset_path},
        {"--max_samples", OPTION_COUNT, &o.max_samples},
        {"--sample_size", OPTION_COUNT, &o.max_samples},
    };
    int status = PARSE(own, &o.common);
    o.orders = (const char *const *)orders.values;
    o.n_orders = (size_t)orders.n;
    return status ? status : strata_audit(&o, e);
}

static int command_serve(int argc, char **argv, StrataError *e)
{
    StrataServeOptions o = {.port = -1};
    const Option own[] = {
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--host", OPTION_STRING, &o.host},
        {"--port", OPTION_INT, &o.port},
        {"--token", OPTION_STRING, &o.token},
        {"--class", OPTION_INT, &o.class_size},
        {"--read_only", OPTION_FLAG, &o.read_only},
        {"--export", OPTION_STRING, &o.export_dir},
        {"--pairs", OPTION_STRING, &o.pairs},
    };
    int status = PARSE(own, &o.common);
    o.port_given = o.port >= 0;
    o.port = o.port_given ? o.port : 0;
    return status ? status : strata_serve(&o, e);
}

static int command_pairs(int argc, char **argv, StrataError *e)
{
    StrataPairsOptions o = {0};
    const Option own[] = {
        {"--source", OPTION_STRING, &o.source},
        {"--output", OPTION_STRING, &o.output},
        {"--categories", OPTION_STRING, &o.categories},
        {"--category", OPTION_STRING, &o.category},
        {"--templates", OPTION_STRING, &o.templates},
        {"--review", OPTION_STRING, &o.review},
        {"--per_category", OPTION_COUNT, &o.per_category},
        {"--api_base", OPTION_STRING, &o.api_base},
        {"--api_model", OPTION_STRING, &o.api_model},
        {"--temperature", OPTION_STRING, &o.temperature},
        {"--first_token", OPTION_FLAG, &o.first_token},
        {"--dry_run", OPTION_FLAG, &o.dry_run},
        {"--force", OPTION_FLAG, &o.force},
    };
    int status = PARSE(own, &o.common);
    return status ? status : strata_pairs(&o, e);
}

static int command_diff(int argc, char **argv, StrataError *e)
{
    StrataDiffOptions o = {0};
    const Option own[] = {
        {"--pairs", OPTION_STRING, &o.pairs},
        {"--output_dir", OPTION_STRING, &o.output_dir},
        {"--dataset_type", OPTION_STRING, &o.dataset_type},
        {"--dataset_path", OPTION_STRING, &o.dataset_path},
        {"--order", OPTION_STRING, &o.order},
        {"--against", OPTION_STRING, &o.against},
        {"--tap", OPTION_STRING, &o.tap},
        {"--controls", OPTION_STRING, &o.controls},
        {"--categories", OPTION_STRING, &o.categories},
        {"--lang", OPTION_STRING, &o.lang},
        {"--per_category", OPTION_COUNT, &o.per_category},
        {"--save_pairs", OPTION_COUNT, &o.save_pairs},
        {"--sigma_windows", OPTION_COUNT, &o.sigma_windows},
        {"--lens_pairs", OPTION_COUNT, &o.lens_pairs},
        {"--ablation_pairs", OPTION_COUNT, &o.ablation_pairs},
        {"--floor_pairs", OPTION_COUNT, &o.floor_pairs},
        {"--no_figures", OPTION_FLAG, &o.no_figures},
        {"--force", OPTION_FLAG, &o.force},
    };
    int status = PARSE(own, &o.common);
    return status ? status : strata_diff(&o, e);
}

static int command_dim(int argc, char **argv, StrataError *e)
{
    StrataDimOptions o = {0};
    OptionList places = {.values = calloc((size_t)argc, sizeof *places.values)};
    const Option own[] = {
        {"--order", OPTION_STRING, &o.order},
        {"--dataset_type", OPTION_STRING, &o.dataset_type},
        {"--dataset_path", OPTION_STRING, &o.dataset_path},
    };
    int status = places.values ? parse_words(own, sizeof own / sizeof *own, &o.common, &places, argc, argv, e) : 1;
    o.place = places.n == 1 ? places.values[0] : NULL;
    if (!status)
        status = strata_dim(&o, e);
    free(places.values);
    return status;
}

typedef struct Command {
    const char *name;
    int (*run)(int argc, char **argv, StrataError *e);
    int only_prints; /* writes to standard output alone */
} Command;

static const Command commands[] = {
    {"sweep", command_sweep, 0},     {"pos", command_pos, 0},         {"trace", command_trace, 0},
    {"next", command_next, 1},       {"inspect", command_inspect, 1}, {"tokenize", command_tokenize, 1},
    {"compare", command_compare, 0}, {"report", command_report, 0},   {"merge", command_merge, 0},
    {"status", command_status, 0},   {"tag", command_tag, 0},         {"audit", command_audit, 0},
    {"serve", command_serve, 0},     {"pairs", command_pairs, 0},     {"pull", command_pull, 0},
    {"diff", command_diff, 0},       {"dim", command_dim, 0},
};

static int wants_help(int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return 1;
    return 0;
}

static int dispatch(int argc, char **argv, StrataError *e)
{
    const char *name = argc > 1 ? argv[1] : "help";
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        const char *topic = argc > 2 ? argv[2] : NULL;
        if (help_print(topic, stdout))
            return 0;
        snprintf(e->text, sizeof e->text, "help: no page \"%s\"; `strata help` lists the commands", topic);
        return 2;
    }
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("strata %s\n", strata_version());
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, name) != 0)
            continue;
        if (wants_help(argc, argv)) {
            help_print(name, stdout);
            return 0;
        }
        only_prints = commands[i].only_prints;
        return commands[i].run(argc, argv, e);
    }
    snprintf(e->text, sizeof e->text, "unknown command \"%s\"; `strata help` lists the commands", name);
    return 2;
}

int main(int argc, char **argv)
{
    StrataError e = {""};
    catch_signals();
    int status = dispatch(argc, argv, &e);
    if ((fflush(stdout) || ferror(stdout)) && !status) {
        snprintf(e.text, sizeof e.text, "standard output: cannot write: %s", strerror(errno));
        status = 1;
    }
    if (status)
        fprintf(stderr, "strata: %s\n", e.text);
    return status;
}
