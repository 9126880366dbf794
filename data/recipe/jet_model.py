"""A tiny Jet-Nemotron (arXiv 2508.15884) in plain PyTorch: jet blocks (dynamic convolution, gated delta rule), softmax
attention with RoPE and biases, full and with a sliding window, tensor names as in the published checkpoints. It has the
interface of model.py. "jet_model.py FOLDER" compares it with a fixture that was made of the authors' own jet block."""
import math, torch, torch.nn as nn, torch.nn.functional as F
from model import RMSNorm, MLP, rope

def lin(i, o, bias=False):
    return nn.Linear(i, o, bias=bias)

class Attention(nn.Module):
    def __init__(self, c, window):
        super().__init__()
        d = c["hidden_size"]
        self.nh, self.nkv, self.window = (c["num_attention_heads"], c["num_key_value_heads"], window)
        self.dh = d // self.nh
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (
            lin(d, self.nh * self.dh, True), lin(d, self.nkv * self.dh, True), lin(d, self.nkv * self.dh, True),
            lin(self.nh * self.dh, d))
    def heads(self, x, cos, sin):
        B, T, _ = x.shape
        v = lambda y, n: y.view(B, T, n, self.dh).transpose(1, 2)
        q, k, val = (v(self.q_proj(x), self.nh), v(self.k_proj(x), self.nkv), v(self.v_proj(x), self.nkv))
        q, k = (rope(q, cos, sin), rope(k, cos, sin))
        g = self.nh // self.nkv
        return (q, k.repeat_interleave(g, 1), val.repeat_interleave(g, 1))
    def mask(self, T, dev):
        d = torch.arange(T, device=dev)
        d = d[:, None] - d[None]
        return (d >= 0) & (d < (self.window or 1 << 30))
    def forward(self, x, cos, sin):
        B, T, _ = x.shape
        q, k, v = self.heads(x, cos, sin)
        if hasattr(F, "scaled_dot_product_attention"):
            o = (F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask(T, x.device)) if self.window else
                 F.scaled_dot_product_attention(q, k, v, is_causal=True))
        else:
            o = self.maps(q, k, T) @ v
        return self.o_proj(o.transpose(1, 2).reshape(B, T, -1))
    def maps(self, q, k, T):
        return (q @ k.transpose(-1, -2) * self.dh ** -0.5).masked_fill(
            ~self.mask(T, q.device), float("-inf")).softmax(-1)

class Kernel(nn.Module):
    def __init__(self, d, n):
        super().__init__()
        self.w1, self.w2 = (lin(d, n[0]), lin(n[0], n[1], True))

class Dynamic(nn.Module):
    def __init__(self, d, r, n, w):
        super().__init__()
        self.kernel_generator = Kernel(d, (r, n * w))
        self.n, self.w = (n, w)
    def forward(self, v, x):
        B, T, _ = v.shape
        g = self.kernel_generator
        k = g.w2(F.silu(g.w1(x))).view(B, T, self.n, self.w)
        p = F.pad(v, (0, 0, self.w - 1, 0))
        return F.silu(sum((p[:, i:i + T] * k[..., i] for i in range(self.w))))

class Jet(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, j = (c["hidden_size"], c["efficient_attention_config"]["jet"])
        self.nh, self.dk = (j["num_heads"], j["head_dim"])
        self.dv = int(self.dk * j["expand_v"] + 1e-06)
        self.eps = float(j["norm_eps"])
        K, V = (self.nh * self.dk, self.nh * self.dv)
        self.q_proj, self.k_proj, self.v_proj, self.g_proj, self.o_proj = (
            lin(d, K), lin(d, K), lin(d, V), lin(d, V), lin(V, d))
        self.a_proj, self.b_proj = (lin(d, self.nh), lin(d, self.nh))
        self.A_log = nn.Parameter(torch.log(torch.empty(self.nh).uniform_(1, 16)))
        dt = torch.exp(torch.rand(self.nh) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.dynamic_conv1d = Dynamic(d, d * 2 // j["dconv_generator_reduction"], V, j["conv_size"])
        self.o_norm = RMSNorm(self.dv, self.eps)
    def forward(self, x, cos, sin):
        B, T, _ = x.shape
        s = lambda y, n: y.view(B, T, self.nh, n).transpose(1, 2)
        l2 = lambda y: y * torch.rsqrt(y.pow(2).sum(-1, keepdim=True) + 1e-06)
        q, k, v = (l2(F.silu(s(self.q_proj(x), self.dk)).float()) * self.dk ** -0.5,
                   l2(F.silu(s(self.k_proj(x), self.dk)).float()),
                   s(self.dynamic_conv1d(self.v_proj(x), x), self.dv).float())
        b = torch.sigmoid(self.b_proj(x).float()).transpose(1, 2)
        g = (-self.A_log.float().exp() * F.softplus(self.a_proj(x).float() + self.dt_bias.float())).transpose(1, 2)
        o = delta(q, k, v, b, g).transpose(1, 2)
        o = self.o_norm(o) * F.silu(self.g_proj(x).view(B, T, self.nh, self.dv).float())
        return self.o_proj(o.reshape(B, T, -1).to(x.dtype))

def delta(q, k, v, b, g, C=64):
    """The gated delta rule in chunks (WY form, as Yang et al. 2024).

    q, k (B, h, T, dk), v (B, h, T, dv), b, g (B, h, T), all float32."""
    with torch.autocast(q.device.type, enabled=False):
        B, h, T, dk = q.shape
        dv = v.shape[-1]
        n = -T % C
        pad = lambda y: F.pad(y, (0, 0, 0, n))
        q, k, v = (pad(q), pad(k), pad(v))
        b, g = (F.pad(b, (0, n)), F.pad(g, (0, n)))
        c = lambda y: y.reshape(B, h, -1, C, *y.shape[3:])
        q, k, v, b, g = map(c, (q, k, v, b, g))
        G = g.cumsum(-1)
        D = G[..., :, None] - G[..., None, :]
        low = torch.ones(C, C, dtype=torch.bool, device=q.device).tril()
        D = torch.where(low, D, torch.zeros((), device=q.device)).exp() * low
        kb = k * b[..., None]
        L = (kb @ k.transpose(-1, -2) * D * ~torch.eye(C, dtype=torch.bool, device=q.device) +
             torch.eye(C, device=q.device))
        uw = torch.linalg.solve_triangular(L, torch.cat((v * b[..., None], kb * G.exp()[..., None]), -1),
                                           upper=False, unitriangular=True)
        u, w = (uw[..., :dv], uw[..., dv:])
        A = q @ k.transpose(-1, -2) * D
        qg = q * G.exp()[..., None]
        last = G[..., -1:]
        kd = k * (last - G).exp()[..., None]
        S = q.new_zeros(B, h, dk, dv)
        out = []
        for i in range(q.shape[2]):
            vn = u[:, :, i] - w[:, :, i] @ S
            out.append(qg[:, :, i] @ S + A[:, :, i] @ vn)
            S = S * last[:, :, i, :, None].exp() + kd[:, :, i].transpose(-1, -2) @ vn
        return torch.stack(out, 2).reshape(B, h, -1, dv)[:, :, :T]

class Layer(nn.Module):
    def __init__(self, c, kind):
        super().__init__()
        self.kind = kind
        self.self_attn = (Jet(c) if kind == "jet" else
                          Attention(c, c["efficient_attention_config"]["swa"]["window_size"] if kind == "swa" else 0))
        self.mlp = MLP(c["hidden_size"], c["intermediate_size"])
        self.input_layernorm, self.post_attention_layernorm = (RMSNorm(c["hidden_size"]), RMSNorm(c["hidden_size"]))
    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))

class Body(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList((Layer(c, k) for k in c["layer_types"]))
        self.norm = RMSNorm(c["hidden_size"])

class Jet_Nemotron(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.model = Body(c)
        for n, p in self.named_parameters():
            if p.dim() == 2:
                nn.init.normal_(p, std=0.02 if "embed" in n else
                                p.shape[1] ** -0.5 * (0.5 if "o_proj" in n or "down_proj" in n else 1.0))
            elif n.endswith("proj.bias"):
                nn.init.zeros_(p)
            elif n.endswith("w2.bias"):
                nn.init.zeros_(p)
                p.data.view(-1, c["efficient_attention_config"]["jet"]["conv_size"])[:, -1] = 1.0
        dh = c["hidden_size"] // c["num_attention_heads"]
        self.register_buffer("inv_freq", 1.0 / c["rope_theta"] ** (torch.arange(0, dh, 2).float() / dh),
                             persistent=False)
    def forward(self, ids, states=None):
        B, T = ids.shape
        f = torch.outer(torch.arange(T, device=ids.device).float(), self.inv_freq)
        f = torch.cat((f, f), -1)
        x = self.model.embed_tokens(ids)
        cos, sin = (f.cos().view(1, 1, T, -1).to(x.dtype), f.sin().view(1, 1, T, -1).to(x.dtype))
        for l in self.model.layers:
            if states is not None:
                states.append(x)
            x = l(x, cos, sin)
        if states is not None:
            states.append(x)
        return self.model.norm(x) @ self.model.embed_tokens.weight.t()

KINDS = ["jet", "attn", "jet", "swa", "jet", "jet", "attn", "jet", "swa", "jet", "attn", "jet"]

def config(**kw):
    c = dict(architectures=["JetNemotronForCausalLM"], model_type="jet_nemotron", attention_dropout=0.0,
             bos_token_id=256, eos_token_id=257, pad_token_id=258,
             auto_map={"AutoConfig": "configuration_jet_nemotron.JetNemotronConfig",
                       "AutoModelForCausalLM": "modeling_jet_nemotron.JetNemotronForCausalLM"},
             efficient_attention_config={"jet": {"conv_size": 4, "dconv_generator_reduction": 8,
                                                 "dconv_implementation": "triton", "expand_v": 2.0, "head_dim": 24,
                                                 "mode": "chunk", "norm_eps": "1e-5", "num_heads": 4},
                                         "swa": {"window_size": 64}},
             hidden_act="silu", hidden_size=128, initializer_range=0.02, intermediate_size=384, layer_types=KINDS,
             max_position_embeddings=4096, max_window_layers=12, num_attention_heads=4, num_hidden_layers=12,
             num_key_value_heads=2, rms_norm_eps=1e-06, rope_scaling=None, rope_theta=10000.0, tie_word_embeddings=True,
             torch_dtype="bfloat16", use_cache=True, use_mrope=False, vocab_size=260)
    c.update(kw)
    return c

if __name__ == "__main__":
    import sys, json, struct
    d = sys.argv[1]
    def load(p):
        f = open(p, "rb")
        n = struct.unpack("<Q", f.read(8))[0]
        h = json.loads(f.read(n))
        b = f.read()
        T = {"BF16": torch.bfloat16, "F32": torch.float32, "I32": torch.int32}
        return {k: torch.frombuffer(bytearray(b[v["data_offsets"][0]:v["data_offsets"][1]]), dtype=T[v["dtype"]])
                .view(v["shape"]).to(torch.int32 if v["dtype"] == "I32" else torch.float32)
                for k, v in h.items() if k != "__metadata__"}
    c = json.load(open(f"{d}/config.json"))
    m = Jet_Nemotron(c)
    print(m.load_state_dict(load(f"{d}/model.safetensors")))
    g = load(f"{d}/golden.safetensors")
    st = []
    with torch.no_grad():
        z = m(g["input_ids"].long()[None], st)[0]
    print("logits", float((z - g["logits"]).abs().max() / g["logits"].abs().max()),
          [float((s[0] - g[f"hidden_states.{i}"]).abs().max()) for i, s in enumerate(st[:-1])])
