#!/usr/bin/env python3
"""Writes the golden files of tests/test_reference.cpp: attention computed by PyTorch in float64.

    python3 tests/golden/make_golden.py [FOLDER]

Writes four NumPy files per case below to FOLDER (by default this script's own): <case>_q.npy, _k.npy and
_v.npy in float16, [batch, heads, seq, head_dim], and <case>_o.npy in float64. Inputs come from a seeded
generator on the CPU. The output is F.scaled_dot_product_attention on float64 copies of them, on a GPU if
there is one; it must agree with the formula written out before anything is written. provenance.txt says which
versions made the files.

Needs PyTorch 2.1 or newer and NumPy. The files take less than 300 KB.
"""

import math
import pathlib
import struct
import sys

import numpy
import torch
import torch.nn.functional as F

# name: batch, heads, kv_heads, seq_q, seq_kv, head_dim, causal, scale (None: 1/sqrt(head_dim)), a factor on
# Q and K. tests/test_reference.cpp lists the same names with causal and scale, which the files do not hold.
CASES = {
    "plain": (1, 1, 1, 32, 32, 64, False, None, 1),
    "ragged": (1, 2, 2, 17, 65, 32, False, None, 1),
    "gqa": (2, 4, 2, 9, 33, 32, False, None, 1),
    "causal": (1, 2, 2, 33, 33, 32, True, None, 1),
    "causal_more_keys": (1, 1, 1, 17, 31, 96, True, None, 1),
    "causal_more_queries": (1, 2, 2, 31, 17, 32, True, None, 1),
    "gqa_causal": (1, 4, 1, 19, 29, 32, True, None, 1),
    "one_query": (2, 2, 1, 1, 65, 64, True, None, 1),
    "scale": (1, 1, 1, 16, 48, 64, False, 0.5, 1),
    "large_logits": (1, 1, 1, 16, 33, 32, False, None, 8),
}


def as_float32(value):
    """A scale as the kernels get it: rounded to float32."""
    return struct.unpack("f", struct.pack("f", value))[0]


def visible_keys(seq_q, seq_kv, causal, device):
    """[seq_q, seq_kv] booleans: causal masks are aligned at the bottom right."""
    visible = torch.ones(seq_q, seq_kv, dtype=torch.bool, device=device)
    return visible.tril(diagonal=seq_kv - seq_q) if causal else visible


def by_formula(q, k, v, visible, scale):
    scores = (scale * (q @ k.transpose(-1, -2))).masked_fill(~visible, -math.inf)
    p = torch.softmax(scores, dim=-1)
    p = torch.where(visible.any(dim=-1, keepdim=True), p, torch.zeros_like(p))
    return p @ v


def by_pytorch(q, k, v, visible, scale):
    # PyTorch's answer for a row that sees no key depends on its version (NaN or 0). Ours is 0, so we ask
    # PyTorch for the other rows only.
    rows = visible.any(dim=-1)
    o = torch.zeros_like(q)
    o[:, :, rows] = F.scaled_dot_product_attention(q[:, :, rows], k, v, attn_mask=visible[rows], scale=scale)
    return o


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    total_bytes = 0
    for seed, (name, case) in enumerate(CASES.items()):
        batch, heads, kv_heads, seq_q, seq_kv, head_dim, causal, scale, factor = case
        scale = as_float32(1 / math.sqrt(head_dim) if scale is None else scale)
        generator = torch.Generator().manual_seed(seed)

        def normal(heads, rows, factor):
            return (factor * torch.randn(batch, heads, rows, head_dim, generator=generator)).half()

        q, k, v = normal(heads, seq_q, factor), normal(kv_heads, seq_kv, factor), normal(kv_heads, seq_kv, 1)

        # Query head h reads key/value head h // (heads // kv_heads).
        group = heads // kv_heads
        q64 = q.to(device, torch.float64)
        k64 = k.to(device, torch.float64).repeat_interleave(group, dim=1)
        v64 = v.to(device, torch.float64).repeat_interleave(group, dim=1)
        visible = visible_keys(seq_q, seq_kv, causal, device)
        o = by_pytorch(q64, k64, v64, visible, scale)
        torch.testing.assert_close(o, by_formula(q64, k64, v64, visible, scale), rtol=1e-11, atol=1e-12)

        for suffix, tensor in (("q", q), ("k", k), ("v", v), ("o", o)):
            path = folder / f"{name}_{suffix}.npy"
            numpy.save(path, numpy.ascontiguousarray(tensor.cpu().numpy()))
            total_bytes += path.stat().st_size
        print(f"{name}: q {list(q.shape)} k {list(k.shape)} scale {scale:g}{' causal' if causal else ''}")

    where = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    (folder / "provenance.txt").write_text(
        "Written by make_golden.py: F.scaled_dot_product_attention in float64,\n"
        f"PyTorch {torch.__version__}, NumPy {numpy.__version__}, on {where}.\n")
    print(f"{total_bytes} bytes in {folder}")


if __name__ == "__main__":
    main()
