"""Random configurations of every family, for make_family_fixtures.py --random: shapes, options and both dialects are drawn; what a class
of transformers refuses or computes otherwise than its own released models (see the fixtures) is left out."""


def base(rng, grouped=True):
    heads = rng.choice([1, 2, 3, 4, 6])
    kv = rng.choice([k for k in (1, 2, 3, 4, 6) if heads % k == 0]) if grouped else heads
    dh = rng.choice([4, 8, 12])
    return dict(vocab_size=rng.randint(20, 90), hidden_size=heads * dh, intermediate_size=rng.randint(5, 40),
                num_hidden_layers=rng.randint(2, 5), num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=64,
                bos_token_id=1, eos_token_id=2, pad_token_id=None, tie_word_embeddings=rng.random() < 0.5)


def rope(rng):
    theta = rng.choice([50.0, 10000.0, 1e6])
    return rng.choice([
        dict(rope_type="default", rope_theta=theta), dict(rope_type="default", rope_theta=theta),
        dict(rope_type="linear", rope_theta=theta, factor=rng.uniform(1, 4)),
        dict(rope_type="dynamic", rope_theta=theta, factor=rng.uniform(1, 4)),
        dict(rope_type="yarn", rope_theta=theta, factor=rng.uniform(2, 8), original_max_position_embeddings=16),
        dict(rope_type="llama3", rope_theta=theta, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
             original_max_position_embeddings=16)])


def act(rng):
    return rng.choice(["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "relu2"])


def types(rng, n):
    return [rng.choice(["sliding_attention", "full_attention"]) for _ in range(n)]


def coin(rng):
    return rng.random() < 0.5


def llama_like(rng, name):
    c = dict(base(rng), rope_parameters=rope(rng), hidden_act=act(rng))
    n = c["num_hidden_layers"]
    if name in ("qwen3", "qwen3_moe", "gemma", "gemma2", "gemma3_text", "nemotron", "seed_oss", "ernie4_5", "glm", "glm4", "arcee"):
        c["head_dim"] = rng.choice([4, 8, 10])
    if name in ("glm", "glm4", "nemotron"):
        c["head_dim"] = rng.choice([4, 8])
        c["rope_parameters"]["partial_rotary_factor"] = rng.choice([0.5, 1.0])
    if name in ("stablelm", "phi"):
        c["rope_parameters"]["partial_rotary_factor"] = rng.choice([0.5, 1.0])
    if name in ("qwen2", "qwen3"):
        c.update(use_sliding_window=coin(rng), sliding_window=rng.randint(2, 9), max_window_layers=rng.randint(0, n))
    if name == "ministral":
        c.update(sliding_window=rng.randint(2, 9), layer_types=types(rng, n), head_dim=c["hidden_size"] // c["num_attention_heads"])
    if name in ("starcoder2", "phi3"):
        c["sliding_window"] = rng.choice([None, 3, 7])
    if name == "phi3":
        c["rope_parameters"] = dict(rope_type="default", rope_theta=rng.choice([100.0, 10000.0]))
    if name in ("qwen3", "gemma", "olmo", "olmo2", "granite", "cohere", "smollm3", "nemotron", "arcee", "helium", "seed_oss", "glm",
                "glm4", "gemma2", "gemma3_text", "granitemoe", "granitemoeshared", "qwen3_moe", "olmoe", "cohere2", "llama"):
        c["attention_bias"] = coin(rng)
    if name in ("granite", "smollm3", "nemotron", "arcee", "seed_oss", "helium", "llama"):
        c["mlp_bias"] = coin(rng)
    if name == "seed_oss":
        c["attention_out_bias"] = coin(rng)
    if name in ("olmo", "olmoe"):
        c["clip_qkv"] = rng.choice([None, 0.5, 2.0])
    if name.startswith("granite"):
        c.update(embedding_multiplier=rng.uniform(0.5, 4), residual_multiplier=rng.uniform(0.2, 1), logits_scaling=rng.uniform(1, 4),
                 attention_multiplier=rng.uniform(0.1, 0.6))
    if name in ("qwen2_moe", "qwen3_moe"):
        e = rng.randint(2, 6)
        c.update(num_experts=e, num_experts_per_tok=rng.randint(1, e), moe_intermediate_size=rng.randint(3, 20),
                 norm_topk_prob=coin(rng), decoder_sparse_step=rng.randint(1, 2), mlp_only_layers=rng.choice([[], [1]]))
    if name == "qwen2_moe":
        c.update(shared_expert_intermediate_size=rng.randint(3, 30), qkv_bias=coin(rng), use_sliding_window=coin(rng), sliding_window=5,
                 max_window_layers=rng.randint(0, n))
    if name == "olmoe":
        e = rng.randint(2, 6)
        c.update(num_experts=e, num_experts_per_tok=rng.randint(1, e), norm_topk_prob=coin(rng))
    if name in ("granitemoe", "granitemoeshared", "mixtral"):
        e = rng.randint(2, 6)
        c.update(num_local_experts=e, num_experts_per_tok=rng.randint(1, e))
    if name == "granitemoeshared":
        c["shared_intermediate_size"] = rng.choice([0, 7, 25])
    if name == "stablelm":
        c.update(use_qkv_bias=coin(rng), qk_layernorm=coin(rng), use_parallel_residual=coin(rng))
    if name == "phi":
        c["qk_layernorm"] = coin(rng)
    if name == "starcoder2":
        c["use_bias"] = coin(rng)
    if name == "cohere":
        c.update(use_qk_norm=coin(rng), logit_scale=rng.uniform(0.1, 1))
    if name == "cohere2":
        c.update(logit_scale=rng.uniform(0.1, 1), sliding_window=rng.randint(2, 9), layer_types=types(rng, n))
    if name == "smollm3":
        c.update(no_rope_layers=[rng.randint(0, 1) for _ in range(n)])
        if coin(rng):
            c.update(use_sliding_window=True, sliding_window=4)
    if name == "exaone4":
        c.update(sliding_window=rng.choice([None, 4, 8]), sliding_window_pattern=rng.randint(1, 4))
    if name == "ernie4_5":
        c["use_bias"] = coin(rng)
    if name in ("gemma2", "gemma3_text"):
        del c["hidden_act"]
        c.update(hidden_activation=act(rng), query_pre_attn_scalar=rng.randint(4, 30), sliding_window=rng.randint(2, 9),
                 final_logit_softcapping=rng.choice([None, 5.0]))
    if name == "gemma2":
        c["attn_logit_softcapping"] = rng.choice([None, 3.0])
    if name in ("gemma3_text", "olmo3"):
        plain = dict(rope_type="default", rope_theta=500000.0 if name == "olmo3" else rng.choice([100.0, 10000.0]))
        scaled = rope(rng)
        while scaled["rope_type"] == "dynamic":
            scaled = rope(rng)
        c["rope_parameters"] = dict(sliding_attention=plain, full_attention=scaled)
    if name == "olmo3":
        c["sliding_window"] = rng.randint(2, 9)
    return c


LLAMA_LIKE = ("llama qwen2 qwen3 qwen2_moe qwen3_moe gemma gemma2 gemma3_text phi phi3 olmo olmo2 olmo3 olmoe stablelm starcoder2 granite "
              "granitemoe granitemoeshared cohere cohere2 smollm3 nemotron arcee exaone4 seed_oss ministral helium ernie4_5 glm glm4 "
              "mixtral").split()
OTHERS = "gpt_neox persimmon gptj opt bloom mpt falcon gpt_neo gpt_bigcode".split()


def other(rng, name):
    heads = rng.choice([1, 2, 3, 4, 5, 6, 8])
    dh, n, vocab = rng.choice([4, 8, 12]), rng.randint(2, 4), rng.randint(20, 90)
    width = heads * dh
    if name in ("gpt_neox", "persimmon"):
        c = dict(base(rng, grouped=False), rope_parameters=dict(rope(rng), partial_rotary_factor=rng.choice([0.5, 1.0])), hidden_act=act(rng))
        del c["num_key_value_heads"]
        c.update(dict(use_parallel_residual=coin(rng), attention_bias=coin(rng)) if name == "gpt_neox" else dict(qk_layernorm=coin(rng)))
        return c
    if name == "gptj":
        return dict(vocab_size=vocab, n_positions=64, n_embd=width, n_layer=n, n_head=heads, rotary_dim=rng.choice([2, 4]),
                    activation_function=act(rng), n_inner=rng.choice([None, 20]))
    if name == "opt":
        before = coin(rng)
        return dict(vocab_size=vocab, hidden_size=width, num_hidden_layers=n, num_attention_heads=heads, ffn_dim=rng.randint(5, 40),
                    max_position_embeddings=40, do_layer_norm_before=before, word_embed_proj_dim=rng.choice([width, 6, 40]),
                    enable_bias=coin(rng), layer_norm_elementwise_affine=coin(rng), activation_function=act(rng), pad_token_id=None)
    if name == "bloom":
        return dict(vocab_size=vocab, hidden_size=width, n_layer=n, n_head=heads)
    if name == "mpt":
        return dict(vocab_size=vocab, d_model=width, n_layers=n, n_heads=heads, max_seq_len=64,
                    attn_config=dict(clip_qkv=rng.choice([None, 0.7]), softmax_scale=rng.choice([None, 0.3])))
    if name == "falcon":
        new = coin(rng)
        c = dict(vocab_size=vocab, hidden_size=width, num_hidden_layers=n, num_attention_heads=heads, new_decoder_architecture=new,
                 bias=coin(rng), alibi=coin(rng), multi_query=coin(rng), parallel_attn=new or coin(rng), activation=act(rng))
        if new:
            c.update(num_kv_heads=rng.choice([k for k in (1, 2, 3, 4, 5) if heads % k == 0]), num_ln_in_parallel_attn=rng.choice([None, 1, 2]))
        if not c["alibi"]:
            c["rope_parameters"] = rope(rng)
        return c
    if name == "gpt_neo":
        return dict(vocab_size=vocab, max_position_embeddings=64, hidden_size=width, num_layers=2 * n, num_heads=heads,
                    attention_types=[[["global", "local"], n]], window_size=rng.randint(2, 9), activation_function=act(rng))
    return dict(vocab_size=vocab, n_positions=64, n_embd=width, n_layer=n, n_head=heads, multi_query=coin(rng),
                activation_function=act(rng), scale_attn_weights=coin(rng))


def random_configuration(rng, index):
    name = (LLAMA_LIKE + OTHERS)[index % len(LLAMA_LIKE + OTHERS)]
    return name, llama_like(rng, name) if name in LLAMA_LIKE else other(rng, name)
