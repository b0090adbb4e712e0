"""A llama.cpp server on a tiny random model, as a program of its own: `python llama_server.py DIRECTORY KEY KIND`.

KIND is what the server is for: "text", "embedding" or "rerank".

It writes the model into the directory, serves it on a free loopback port, prints `listening URL`, and ends when its
standard input does: so it never outlives the tests. What the model says is noise, in pieces of one character or word.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gguf
import numpy as np
import xllamacpp

CONTEXT = 65_536
SLOTS = 2

SPECIAL = ["<unk>", "<s>", "</s>"]
NEWLINE = "<0x0A>"
CHARACTERS = ["▁", *map(chr, range(33, 127)), *"äéß中文流式输出🙂"]
# By chance and letter by letter, no model would ever begin a tool call.
WORDS = ["▁the", "▁sky", "▁is", "▁blue", "▁and", "▁scatters", "<tool_call>"]
# The server works out from the template how the model calls tools.
TEMPLATE = (
    "{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>\n{% endif %}"
    "{% for m in messages %}{{ m.role }}: {{ m.content }}"
    "{% for call in m.tool_calls %}<tool_call>"
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)

WIDTH, INNER, HEADS = 48, 96, 2


def write_model(path: Path) -> None:
    """Write a llama of one block with random weights: about 140 KB in 10 ms."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_block_count(1)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = write_vocabulary(writer)

    random = np.random.default_rng(1)
    shapes = {
        "token_embd": (tokens, WIDTH),
        "output_norm": (WIDTH,),
        "output": (tokens, WIDTH),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.attn_q": (WIDTH, WIDTH),
        "blk.0.attn_k": (WIDTH // HEADS, WIDTH),
        "blk.0.attn_v": (WIDTH // HEADS, WIDTH),
        "blk.0.attn_output": (WIDTH, WIDTH),
        "blk.0.ffn_norm": (WIDTH,),
        "blk.0.ffn_gate": (INNER, WIDTH),
        "blk.0.ffn_up": (INNER, WIDTH),
        "blk.0.ffn_down": (WIDTH, INNER),
    }
    for name, shape in shapes.items():
        values = np.ones(shape) if name.endswith("norm") else random.normal(0, 0.1, shape)
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_vocabulary(writer: gguf.GGUFWriter) -> int:
    """Write the tokens and the chat template, and return how many tokens there are.

    The only byte token is the newline, so that no piece is ever half a character.
    """
    kinds = gguf.TokenType
    tokens = [*SPECIAL, NEWLINE, *CHARACTERS, *WORDS]
    types = [kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, kinds.BYTE]
    types += [kinds.NORMAL] * (len(tokens) - len(types))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    return len(tokens)


def serve(model: Path, key: str, kind: str) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.api_keys = [key]
    params.endpoint_metrics = True
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT * SLOTS
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.fit_params = False
    params.warmup = False
    if kind != "text":
        params.embedding = True
        pooling = xllamacpp.llama_pooling_type
        params.pooling_type = (
            pooling.LLAMA_POOLING_TYPE_MEAN if kind == "embedding" else pooling.LLAMA_POOLING_TYPE_RANK
        )
    return xllamacpp.Server(params)


def main() -> None:
    directory, key, kind = sys.argv[1:]
    model = Path(directory) / "tiny.gguf"
    write_model(model)
    server = serve(model, key, kind)
    print("listening", server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
