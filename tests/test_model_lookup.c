/* test_model_lookup.c: from names to files, and to the names that readers see: the Hugging Face cache in its places, models/, directories and .gguf files; incomplete
 * and hostile snapshots. */
#include "loaders/model_lookup.h"
#include "experiments/model_name.h"
#include "loaders/tensor_file.h"
#include "tests/temp_folder.h"

#define MODELS "tests/data/models/"

static void expect_lookup(const char *name, const char *revision, const char *path_end, const char *slug, const char *says)
{
    Error e = {{0}};
    ModelPath p;
    int status = model_lookup(name, revision, &p, &e);
    CHECK_MSG((status == 0) == (says == NULL), "%s: %s", name, e.text);
    if (says) {
        CHECK_MSG(status == STATUS_USAGE || status == STATUS_FAILED, "%d", status);
        CHECK_MSG(strstr(e.text, says) != NULL, "%s: %s", name, e.text);
        return;
    }
    if (status)
        return;
    size_t n = strlen(p.path), m = strlen(path_end);
    CHECK_MSG(n >= m && strcmp(p.path + n - m, path_end) == 0, "%s: %s", name, p.path);
    CHECK_STR(p.slug, slug);
    CHECK_STR(p.name, name);
    model_path_free(&p);
}

static void lookup(void)
{
    static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
    char path[256], link[300], back[1024];
    const char *const variables[] = {"HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"};
    for (int i = 0; i < 3; i++)
        unsetenv(variables[i]);
    setenv("HOME", temp_dir, 1);

    /* ORG/NAME in the default place; weights are links into blobs, as the hub writes them */
    static const char repo[] = ".cache/huggingface/hub/models--meta-llama--Meta-Llama-3-8B";
    snprintf(path, sizeof path, "%s/blobs/b1", repo);
    copy_temp(MODELS "gpt2/model.safetensors", path);
    snprintf(path, sizeof path, "%s/snapshots/%s/config.json", repo, commit);
    write_temp(path, "{}", 2);
    snprintf(link, sizeof link, "%s/%s/snapshots/%s/model.safetensors", temp_dir, repo, commit);
    CHECK(symlink("../../blobs/b1", link) == 0);
    snprintf(path, sizeof path, "%s/refs/main", repo);
    write_temp(path, commit, strlen(commit));
    snprintf(path, sizeof path, "%s/refs/refs/pr/4", repo);
    write_temp(path, "0123\n", 5);
    static const char id[] = "meta-llama/Meta-Llama-3-8B", slug[] = "meta_llama_Meta_Llama_3_8B";
    expect_lookup(id, NULL, commit, slug, NULL);
    expect_lookup(id, "main", commit, slug, NULL);
    expect_lookup(id, commit, commit, slug, NULL);
    expect_lookup(id, "refs/pr/4", "", "", "no snapshot of revision \"refs/pr/4\"");
    expect_lookup(id, "v2", "", "", "strata pull --model meta-llama/Meta-Llama-3-8B");
    expect_lookup(id, "../../x", "", "", "expected a branch");
    expect_lookup("meta-llama/Meta-Llama-3-70B", NULL, "", "", "strata pull --model meta-llama/Meta-Llama-3-70B");
    ModelPath p;
    Error e = {{0}};
    TensorFile f;
    CHECK(model_lookup(id, NULL, &p, &e) == 0);
    CHECK_MSG(tensor_file_open(p.path, &f, &e) == 0, "%s", e.text);
    tensor_file_close(&f);
    unlink(link); /* a link whose blob is gone is a missing file */
    CHECK(symlink("../../blobs/b2", link) == 0);
    CHECK(tensor_file_open(p.path, &f, &e) != 0 && strstr(e.text, "strata pull"));
    unlink(link);
    snprintf(path, sizeof path, "%s/snapshots/%s/pytorch_model.bin", repo, commit);
    write_temp(path, "x", 1);
    CHECK(tensor_file_open(p.path, &f, &e) != 0 && strstr(e.text, "pytorch_model.bin"));
    snprintf(path, sizeof path, "%s/snapshots/%s/model.safetensors.index.json", repo, commit);
    copy_temp(MODELS "llama31/model.safetensors.index.json", path);
    CHECK(tensor_file_open(p.path, &f, &e) != 0 && strstr(e.text, "3 of 3 weight files are missing"));
    model_path_free(&p);

    /* a ref that would lead elsewhere */
    write_temp(".cache/huggingface/hub/models--evil/refs/main", "../../..", 8);
    write_temp(".cache/huggingface/hub/models--evil/snapshots/x/config.json", "{}", 2);
    expect_lookup("evil", NULL, "", "", "expected the name of a snapshot");

    /* the variables, weakest first */
    static const struct {
        int variable;
        const char *value, *cache;
    } places[] = {{2, "xdg", "xdg/huggingface/hub"}, {1, "home", "home/hub"}, {0, "cache", "cache"}};
    for (size_t i = 0; i < 3; i++) {
        char revision[16], value[200];
        snprintf(revision, sizeof revision, "abc%zu", i);
        snprintf(path, sizeof path, "%s/models--gpt2/snapshots/%s/config.json", places[i].cache, revision);
        write_temp(path, "{}", 2);
        snprintf(path, sizeof path, "%s/models--gpt2/refs/main", places[i].cache);
        write_temp(path, revision, 4);
        snprintf(value, sizeof value, "%s/%s", temp_dir, places[i].value);
        setenv(variables[places[i].variable], value, 1);
        expect_lookup("gpt2", NULL, revision, "gpt2", NULL);
    }
    for (int i = 0; i < 3; i++)
        unsetenv(variables[i]);

    /* paths and models/, relative to the working directory */
    write_temp("models/org/tiny-model/config.json", "{}", 2);
    write_temp("models/org/other.gguf", "x", 1);
    write_temp("here-is/my model.v1/config.json", "{}", 2);
    write_temp("file-1.gguf", "x", 1);
    CHECK(getcwd(back, sizeof back) != NULL && chdir(temp_dir) == 0);
    expect_lookup("org/tiny-model", NULL, "models/org/tiny-model", "org_tiny_model", NULL);
    expect_lookup("org/other", NULL, "models/org/other.gguf", "org_other", NULL);
    expect_lookup("here-is/my model.v1", NULL, "here-is/my model.v1", "my_model.v1", NULL);
    expect_lookup("./here-is//", NULL, "./here-is//", "here_is", NULL);
    expect_lookup("./file-1.gguf", NULL, "./file-1.gguf", "file_1.gguf", NULL);
    expect_lookup("./here-is", "main", "", "", "a path has no revisions");
    expect_lookup("../..bad id", NULL, "", "", "no such model");
    expect_lookup("a/b/c", NULL, "", "", "no such model");
    expect_lookup("", NULL, "", "", "found nothing");
    CHECK(chdir("here-is") == 0);
    expect_lookup(".", NULL, ".", "here_is", NULL);
    CHECK(chdir(back) == 0);
    model_path_free(NULL);
}

/* The same cases as in test_page_modules.mjs: one rule. */
static void names_for_readers(void)
{
    static const char *const cases[][2] = {
        {"meta-llama/Meta-Llama-3-8B", "Meta-Llama-3-8B"},
        {"models/Meta-Llama-3-8B//", "Meta-Llama-3-8B"},
        {"gpt2", "gpt2"},
        {"/gpt2/", "gpt2"},
        {"/h/hub/models--meta-llama--Meta-Llama-3-8B/snapshots/0123abcd/", "Meta-Llama-3-8B"},
        {"hub/models--gpt2/snapshots/0123", "gpt2"},
        {"models--a--b--c/snapshots/0", "b--c"},
        {"snapshots/0123", "0123"},
        {"x/gguf/SmolLM2-135M.Q4_1.gguf", "SmolLM2-135M.Q4_1"},
        {"tools/demo/model", "demo/model"},
        {"tools/demo/model/", "demo/model"},
        {"a/b/model.gguf", "b/model"},
        {"model", "model"},
        {".gguf", ".gguf"},
        {"a_b&c%/d e", "d e"},
    };
    char out[MODEL_NAME_BYTES], longest[300];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_STR(model_name_short(cases[i][0], out), cases[i][1]);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CHECK(strlen(model_name_short(longest, out)) == MODEL_NAME_BYTES - 1);
    memcpy(longest + MODEL_NAME_BYTES - 2, "\xe5\xb1\xa4", 3); /* cut before a character that does not fit */
    CHECK(strlen(model_name_short(longest, out)) == MODEL_NAME_BYTES - 2);
    const char *const labels[] = {"a", "a #2", "b"};
    char text[16] = "a", full[16] = "123456789012345";
    model_name_tell_apart(labels, 3, text, sizeof text);
    CHECK_STR(text, "a #3");
    model_name_tell_apart((const char *const[]){"123456789012345"}, 1, full, sizeof full);
    CHECK_STR(full, "12345678 #2");
}

int main(void)
{
    if (!temp_begin())
        return 1;
    RUN(lookup);
    RUN(names_for_readers);
    temp_end();
    return test_finish();
}
