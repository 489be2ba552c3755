from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from peft import get_peft_model
from torch import nn
from torch._dynamo.utils import counters
from torch.nn.attention import flex_attention
from train_world import tiny_model

from distill.student.render import Sample
from distill.train import attention, cascade, model
from distill.train.lora import lora_config
from distill.train.model import compile_layers, prepare
from distill.train.preference import margins, pair_tensors
from distill.train.sft import edge_log_probs, row_tensors
from distill.train.trie import Row, pack, pack_pairs, padded, share, share_pairs


def sample(ids: list[int], first: int, weight: float = 1.0) -> Sample:
    weights = np.zeros(len(ids), np.float32)
    weights[first:] = weight
    return Sample(np.array(ids, np.int32), weights)


def random_samples(seed: int) -> list[Sample]:
    """Two prompts, many branches, a duplicate, a strict prefix, a one-token sample."""
    rng = np.random.default_rng(seed)
    heads = [rng.integers(0, 250, 160).tolist(), rng.integers(0, 250, 40).tolist()]
    samples = []
    for number in range(14):
        head = heads[number % 5 == 0]
        own = rng.integers(0, 250, rng.integers(1, 60)).tolist()
        samples.append(sample(head + own, len(head), float(rng.choice([0.5, 1.0, 2.0]))))
    samples.append(samples[3])
    samples.append(sample(samples[4].ids[:-1].tolist(), 100))
    samples.append(sample([heads[0][0]], 0))
    return samples


def visible(row: Row, position: int) -> list[int]:
    seen = [k for k in range(position + 1) if position < row.stop[k]]
    return row.ids[seen].tolist()


def test_every_sample_is_a_path_and_every_token_computed_once() -> None:
    samples = random_samples(0)
    (row,) = pack(samples, 100_000)
    paths = {tuple(visible(row, position)) for position in range(len(row.ids))}
    prefixes = {tuple(s.ids[: n + 1].tolist()) for s in samples for n in range(len(s.ids))}
    assert paths == prefixes
    assert len(row.ids) == len(prefixes)
    assert row.logical == sum(len(s.ids) for s in samples)
    assert [len(visible(row, p)) - 1 for p in range(len(row.ids))] == row.depth.tolist()


def test_an_edge_carries_the_weight_of_all_samples_that_use_it() -> None:
    shared = sample([1, 2, 3, 4], 2)
    (row,) = pack([shared, sample([1, 2, 3, 5], 3, 0.5), shared], 100)
    edges = {
        (int(row.ids[s]), int(label)): float(weight)
        for s, label, weight in zip(row.sources, row.labels, row.weights, strict=True)
    }
    assert edges == {(2, 3): 2.0, (3, 4): 2.0, (3, 5): 0.5}


def test_rows_are_cut_where_least_is_shared() -> None:
    left = [sample([1, 1, 1, n], 3) for n in range(3)]
    right = [sample([2, 2, 2, n], 3) for n in range(3)]
    rows = pack([left[0], right[0], left[1], right[1], left[2], right[2]], 8)
    assert [row.ids[0] for row in rows] == [1, 2]
    assert sum(len(row.ids) for row in rows) == 12


def test_ranks_share_a_batch_so_that_each_computes_about_as_much() -> None:
    samples = random_samples(5)
    parts = [share(samples, rank, 3) for rank in range(3)]
    assert sorted(s.ids.tobytes() for part in parts for s in part) == sorted(
        s.ids.tobytes() for s in samples
    )
    sizes = [sum(len(row.ids) for row in pack(part, 100_000)) for part in parts]
    even = [pack(samples[rank::3], 100_000)[0] for rank in range(3)]
    assert max(sizes) < max(len(row.ids) for row in even)
    assert max(sizes) - min(sizes) <= max(len(s.ids) for s in samples)


def test_ranks_without_a_sample_have_none() -> None:
    one = sample([1, 2, 3], 1)
    assert [len(share([one], rank, 3)) for rank in range(3)] == [1, 0, 0]
    pairs = [(one, sample([1, 2, 4], 2))] * 2
    assert sum(len(share_pairs(pairs, rank, 3)) for rank in range(3)) == 2


def test_a_sample_longer_than_a_row_gets_its_own() -> None:
    rows = pack([sample(list(range(20)), 1), sample([50, 51], 1)], 8)
    assert [len(row.ids) for row in rows] == [20, 2]


def separate_loss(model: nn.Module, samples: list[Sample]) -> torch.Tensor:
    """The definition: every sample on its own, nothing shared."""
    total = torch.zeros(())
    for item in samples:
        if len(item.ids) < 2:
            continue
        ids = torch.from_numpy(item.ids.astype(np.int64))[None]
        logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
        losses = nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none")
        total = total + (losses * torch.from_numpy(item.weights[1:])).sum()
    return total / sum(float(s.weights[1:].sum()) for s in samples)


def packed_loss(model: nn.Module, rows: list[Row]) -> torch.Tensor:
    weight = sum(float(row.weights.sum()) for row in rows)
    losses = [edge_log_probs(model, row_tensors(row)) for row in rows]
    weighed = [x * torch.from_numpy(row.weights) for x, row in zip(losses, rows, strict=True)]
    return -torch.cat(weighed).sum() / weight


def student(trie: bool, backend: str | None = None) -> Any:
    """The tiny model with LoRA whose B is not zero, which would hide half of the gradient."""
    model, config = tiny_model(), lora_config(4, 8.0)
    if trie:
        prepare(model, compiled=False)
    else:
        config._custom_modules = None
    if backend:
        compile_layers(model, backend=backend)
    model = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    return model


def gradients(model: nn.Module, value: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    value.backward()  # type: ignore[no-untyped-call]
    found = {
        n.replace("_orig_mod.", ""): p.grad.clone()
        for n, p in model.named_parameters()
        if p.grad is not None
    }
    return {"loss": value.detach(), **found}


def check(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected) and len(found) == 1 + 2 * 2 * 7
    for key, value in expected.items():
        error = (found[key] - value).abs().max() / value.abs().max()
        assert error < 1e-5, key


uncompiled = pytest.mark.filterwarnings("ignore::UserWarning:torch")


@pytest.fixture
def flex_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The accelerator's path on the CPU, where FlexAttention has a gradient but refuses to say."""
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    monkeypatch.setattr(attention, "_compiled_flex", lambda: flex_attention.flex_attention)
    tiles = attention.TrieMask.tiles
    monkeypatch.setattr(
        attention.TrieMask, "arguments", lambda self: {"attention_mask": tiles(self)}
    )


@pytest.mark.parametrize("row_tokens", [100_000, 300])
def test_loss_and_gradient_are_those_of_the_separate_samples(row_tokens: int) -> None:
    samples = random_samples(1)
    rows = pack(samples, row_tokens)
    assert len(rows) > 1 or row_tokens > 1000
    plain, trie = student(False), student(True)
    expected = gradients(plain, separate_loss(plain, samples))
    check(gradients(trie, packed_loss(trie, rows)), expected)


@uncompiled
@pytest.mark.parametrize("row_tokens", [100_000, 300])
def test_the_path_of_accelerators_gives_the_same(flex_on_cpu: None, row_tokens: int) -> None:
    samples = random_samples(1)
    plain, trie = student(False), student(True)
    expected = gradients(plain, separate_loss(plain, samples))
    rows = [padded(row, attention.ALIGNMENT) for row in pack(samples, row_tokens)]
    check(gradients(trie, packed_loss(trie, rows)), expected)


Kernel = tuple[torch.Tensor, ...]


@pytest.fixture
def cascade_on_cpu(flex_on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small rectangles, attended by torch's kernel for the CPU; the list counts them."""
    aten, used = torch.ops.aten, []

    def repeated(query: torch.Tensor, *given: torch.Tensor) -> list[torch.Tensor]:
        return [x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in given]

    def attend(query: torch.Tensor, *given: Any) -> Kernel:
        *keys, scaling = given
        used.append(query.shape[2])
        found: Kernel = aten._scaled_dot_product_flash_attention_for_cpu(
            query, *repeated(query, *keys), scale=scaling
        )
        return found

    def backward(grad: torch.Tensor, query: torch.Tensor, *given: Any) -> Kernel:
        key, value, output, lse, scaling = given
        d_query, *slopes = aten._scaled_dot_product_flash_attention_for_cpu_backward(
            grad, query, *repeated(query, key, value), output, lse, 0.0, False, scale=scaling
        )
        return d_query, *(x.unflatten(1, (key.shape[1], -1)).sum(2) for x in slopes)

    monkeypatch.setattr(cascade, "_attend", attend)
    monkeypatch.setattr(cascade, "_attend_backward", backward)
    for name in ("LEAST_KEYS", "QUERIES_STEP", "LEAST_AREA"):
        monkeypatch.setattr(cascade, name, 1)

    monkeypatch.setattr(cascade, "_lengths", set(range(2000)))

    def arguments(mask: attention.TrieMask) -> dict[str, Any]:
        return {"parts": mask.parts(), "attention_mask": mask.tiles()}

    monkeypatch.setattr(attention.TrieMask, "arguments", arguments)
    return used


def tool_set_samples(sets: int) -> list[Sample]:
    """Prompts of three tiles and more that branch twice, a few answers each."""
    rng = np.random.default_rng(0)
    samples = []
    for _ in range(sets):
        tools = rng.integers(0, 250, 300 + 60 * sets).tolist()
        for _ in range(2):
            prompt = tools + rng.integers(0, 250, 150).tolist()
            answers = (rng.integers(0, 250, 40).tolist() for _ in range(6))
            samples += [sample(prompt + answer, len(prompt)) for answer in answers]
    return samples


@uncompiled
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_keys_seen_by_whole_ranges_give_the_same_without_a_mask(
    cascade_on_cpu: list[int], backend: str | None
) -> None:
    torch._dynamo.reset()
    plain, trie = student(False), student(True, backend)
    samples = tool_set_samples(2)
    expected = gradients(plain, separate_loss(plain, samples))
    rows = [padded(row, attention.ALIGNMENT) for row in pack(samples, 100_000)]
    check(gradients(trie, packed_loss(trie, rows)), expected)
    assert len(cascade_on_cpu) >= 2 * 2  # both tool sets in both layers


def test_rectangles_are_the_largest_pieces_that_have_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cascade, "_lengths", set())
    monkeypatch.setattr(cascade, "LEAST_AREA", 1)
    rng = np.random.default_rng(0)
    tools, other = rng.integers(0, 250, 400).tolist(), rng.integers(250, 500, 300).tolist()
    more = [tools + rng.integers(0, 250, 600).tolist() for _ in range(6)]
    more += [other + rng.integers(0, 250, 600).tolist() for _ in range(4)]
    (row,) = pack([sample(ids, len(ids) - 9) for ids in more], 100_000)
    assert not cascade.rectangles(row.stop).any()
    found = cascade.rectangles(row.stop)
    end = 400 + 6 * 600
    # Of 3,600 and 2,400 queries after the prompts, multiples of 2,048 at the end.
    assert found[:2].tolist() == [
        [0, 400, end - 2048, end],
        [end, end + 300, end + 652, end + 2700],
    ]
    assert not found[2:].any()
    dense = attention.TrieMask(torch.from_numpy(row.stop)).dense()[0, 0]
    for first, stop, start, last in found[:2]:
        assert dense[start:last, first:stop].all()


@uncompiled
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
def test_layers_compile_to_one_graph_and_one_more_for_any_length(flex_on_cpu: None) -> None:
    torch._dynamo.reset()
    plain, trie = student(False), student(True, "aot_eager")
    counters.clear()
    for number, graphs in ((14, 2), (5, 4), (9, 4), (3, 4)):
        samples = random_samples(3)[:number]
        expected = gradients(plain, separate_loss(plain, samples))
        rows = [padded(row, attention.ALIGNMENT) for row in pack(samples, 100_000)]
        check(gradients(trie, packed_loss(trie, rows)), expected)
        assert counters["stats"]["unique_graphs"] == graphs
    assert not counters["graph_break"]


def test_tiles_are_known_whole_or_empty_only_when_they_are() -> None:
    head = list(range(300))
    (row,) = pack([sample([*head, n, *head[: 20 * n]], 1) for n in range(9)], 100_000)
    stop = torch.from_numpy(padded(row, attention.ALIGNMENT).stop)
    mask = attention.TrieMask(stop)
    count = len(stop) // attention.ALIGNMENT
    by_tile = mask.dense()[0, 0].view(count, attention.ALIGNMENT, count, attention.ALIGNMENT)
    whole, some = by_tile.all(3).all(1), by_tile.any(3).any(1)
    tiles = mask.tiles()

    def listed(counts: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        found = torch.zeros(count, count, dtype=torch.bool)
        for row in range(count):
            found[row, columns[0, 0, row, : counts[0, 0, row]].long()] = True
        return found

    assert whole.any() and not some.tril().equal(torch.ones_like(some).tril())
    assert torch.equal(listed(tiles.full_kv_num_blocks, tiles.full_kv_indices), whole)
    assert torch.equal(listed(tiles.kv_num_blocks, tiles.kv_indices), some & ~whole)


def test_log_probs_in_chunks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "LOGITS_AT_ONCE", 3 * 50)
    torch.manual_seed(0)
    hidden, head = torch.randn(20, 8), torch.randn(50, 8)
    labels, factor = torch.randint(0, 50, (20,)), torch.randn(20)
    results = []
    for chunked in (True, False):
        given = [hidden.clone().requires_grad_(), head.clone().requires_grad_()]
        if chunked:
            found = model.log_probs(*given, labels)
        else:
            found = torch.log_softmax(given[0] @ given[1].T, -1)[torch.arange(20), labels]
        (found * factor).sum().backward()
        results.append([found.detach(), *(x.grad for x in given)])
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def plain_dpo(model: Any, pairs: list[tuple[Sample, Sample]]) -> torch.Tensor:
    """The definition: every answer on its own, the reference with the adapter off."""

    def margins() -> torch.Tensor:
        found = []
        for pair in pairs:
            sums = [-separate_loss(model, [item]) * item.weights[1:].sum() for item in pair]
            found.append(sums[0] - sums[1])
        return torch.stack(found)

    with torch.no_grad(), model.disable_adapter():
        reference = margins()
    return -nn.functional.logsigmoid(0.1 * (margins() - reference)).mean()


@pytest.mark.parametrize("row_tokens", [100_000, 200])
def test_preference_loss_and_gradient_are_those_of_the_separate_answers(row_tokens: int) -> None:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(0, 250, size).tolist() for size in (90, 30)]
    pairs = []
    for number in range(5):
        start = prompts[number % 2] + rng.integers(0, 250, number + 1).tolist()
        answers = [[*start, 7, 8, *rng.integers(0, 250, n).tolist()] for n in (3, 9)]
        pairs.append(tuple(sample(answer, len(start)) for answer in answers))
    pairs.append(pairs[1])
    rows = pack_pairs(pairs, row_tokens)
    assert sum(row.count for row in rows) == 6 and (len(rows) > 1) == (row_tokens == 200)
    plain, trie = student(False), student(True)
    losses = []
    for row in rows:
        tensors = pair_tensors(row)
        with torch.no_grad(), trie.disable_adapter():
            reference = margins(trie, tensors)
        gain = 0.1 * (margins(trie, tensors) - reference)
        losses.append(-nn.functional.logsigmoid(gain).sum() / len(pairs))
    check(gradients(trie, torch.stack(losses).sum()), gradients(plain, plain_dpo(plain, pairs)))


def test_what_both_answers_share_is_not_supervised() -> None:
    chosen, rejected = sample([1, 2, 3, 4, 5], 2), sample([1, 2, 3, 6], 2)
    (row,) = pack_pairs([(chosen, rejected)], 100)
    assert sorted(row.labels.tolist()) == [4, 5, 6]
    signs = {int(row.labels[e]): int(s) for e, s in zip(row.edges, row.signs, strict=True)}
    assert signs == {4: 1, 5: 1, 6: -1}


def test_blocks_attend_as_the_dense_mask_does() -> None:
    (row,) = pack(random_samples(2), 100_000)
    mask = attention.TrieMask(torch.from_numpy(row.stop))
    shapes = [(1, heads, len(row.ids), 8) for heads in (6, 2, 2)]
    results = []
    for attend in (attention.dense, attention.blocks):
        torch.manual_seed(0)
        given = [torch.randn(shape, requires_grad=True) for shape in shapes]
        output = attend(*given, 0.3, mask if attend is attention.dense else mask.blocks())
        (output * torch.randn(output.shape)).sum().backward()
        results.append([output.detach(), *(x.grad for x in given)])
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


def test_the_last_layer_answers_those_who_asked_as_it_would_all() -> None:
    (row,) = pack(random_samples(4), 100_000)
    asked = torch.from_numpy(row.sources)
    mask = attention.TrieMask(torch.from_numpy(row.stop), asked)
    torch.manual_seed(0)
    given = [torch.randn(1, heads, len(row.ids), 8) for heads in (4, 2, 2)]
    whole = attention.blocks(*given, 0.3, mask.blocks())
    few = attention.blocks(*given, 0.3, mask.asked_blocks())
    torch.testing.assert_close(few[:, :, asked], whole[:, :, asked])
    others = torch.ones(len(row.ids), dtype=torch.bool).index_fill(0, asked, False)
    assert others.any() and not few[:, :, others].any()
