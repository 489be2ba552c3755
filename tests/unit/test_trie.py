from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import get_peft_model
from torch import nn
from train_world import tiny_model

from distill.student.render import Sample
from distill.train import attention
from distill.train.lora import lora_config
from distill.train.trie import Row, pack


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


def packed_loss(model: nn.Module, rows: list[Row], dense: bool) -> torch.Tensor:
    total, weight = torch.zeros(()), sum(float(row.weights.sum()) for row in rows)
    for row in rows:
        mask = attention.TrieMask(torch.from_numpy(row.stop))
        where = {"attention_mask": mask.dense()} if dense else {"trie": mask}
        logits = model(
            input_ids=torch.from_numpy(row.ids)[None],
            position_ids=torch.from_numpy(row.depth)[None],
            logits_to_keep=torch.from_numpy(row.sources),
            use_cache=False,
            **where,
        ).logits[0]
        losses = nn.functional.cross_entropy(logits, torch.from_numpy(row.labels), reduction="none")
        total = total + (losses * torch.from_numpy(row.weights)).sum()
    return total / weight


def gradients(implementation: str, plain_lora: bool, loss: object) -> dict[str, torch.Tensor]:
    attention.register()
    config = lora_config(4, 8.0)
    if plain_lora:
        config._custom_modules = None
    model = get_peft_model(tiny_model(), config)
    model.set_attn_implementation(implementation)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero at the start, which would hide half of the gradient
            nn.init.normal_(parameter, std=0.2)
    value = loss(model)  # type: ignore[operator]
    value.backward()
    found = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"loss": value.detach(), **found}


@pytest.mark.parametrize("row_tokens", [100_000, 300])
@pytest.mark.parametrize("dense", [False, True])
def test_loss_and_gradient_are_those_of_the_separate_samples(dense: bool, row_tokens: int) -> None:
    samples = random_samples(1)
    rows = pack(samples, row_tokens)
    assert len(rows) > 1 or row_tokens > 1000
    expected = gradients("sdpa", True, lambda model: separate_loss(model, samples))
    name = "sdpa" if dense else attention.NAME
    found = gradients(name, False, lambda model: packed_loss(model, rows, dense))
    assert len(found) == 1 + 2 * 2 * 7
    for key, value in expected.items():
        error = (found[key] - value).abs().max() / value.abs().max()
        assert error < 1e-5, key


def test_blocks_attend_as_the_dense_mask_does() -> None:
    (row,) = pack(random_samples(2), 100_000)
    mask = attention.TrieMask(torch.from_numpy(row.stop))
    shapes = [(1, heads, len(row.ids), 8) for heads in (6, 2, 2)]
    results = []
    for attend in (attention.dense, attention.blocks):
        torch.manual_seed(0)
        given = [torch.randn(shape, requires_grad=True) for shape in shapes]
        output = attend(*given, 0.3, mask)
        (output * torch.randn(output.shape)).sum().backward()
        results.append([output.detach(), *(x.grad for x in given)])
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)
