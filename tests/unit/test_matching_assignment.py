"""Assignment against brute force, alone and under the whole of `match_calls`."""

import itertools
import json
import random

from distill.matching import Code, assign, match_calls
from distill.matching.calls import made_calls
from distill.types import (
    AssistantMessage,
    ExpectedCall,
    Tool,
    ToolCall,
    ToolMessage,
    ToolSet,
    canonical_json,
)

OPEN = {"type": "object", "properties": {"n": {}, "m": {}}, "required": ["n"]}
TOOLS = ToolSet(name="t", tools=tuple(Tool(name=n, description="", parameters=OPEN) for n in "ab"))


def brute_force_size(edges, columns):
    """Largest number of rows that can have columns of their own, by trying everything."""
    slots = [*range(columns), *[None] * len(edges)]
    return max(
        sum(column in edges[row] for row, column in enumerate(choice))
        for choice in itertools.permutations(slots, len(edges))
    )


def test_assign_is_as_large_as_brute_force_and_valid():
    rng = random.Random(1)
    for _ in range(300):
        rows, columns = rng.randrange(0, 5), rng.randrange(0, 5)
        edges = [[c for c in range(columns) if rng.random() < 0.4] for _ in range(rows)]
        found = assign(edges)
        taken = [c for c in found if c is not None]
        assert len(taken) == len(set(taken)) == brute_force_size(edges, columns)
        assert all(c is None or c in edges[row] for row, c in enumerate(found))


def test_assign_keeps_earlier_rows_matched():
    assert assign([[0], [0]]) == [0, None]
    assert assign([[0, 1], [0]]) == [1, 0]


def conversation(groups, failed=()):
    """Assistant messages with these calls, each answered; `failed` numbers the calls that fail."""
    messages, number = [], 0
    for group in groups:
        calls = []
        for name, arguments in group:
            calls.append(ToolCall(id=f"c{number}", name=name, arguments=json.dumps(arguments)))
            number += 1
        messages.append(AssistantMessage(tool_calls=tuple(calls)))
        messages += [
            ToolMessage(
                tool_call_id=c.id, name=c.name, content="{}", is_error=int(c.id[1:]) in failed
            )
            for c in calls
        ]
    return messages


def match(groups, expected, failed=()):
    messages = conversation(groups, failed)
    return match_calls(made_calls(messages, 0, len(messages), TOOLS), expected, TOOLS)


def right_by_brute_force(groups, expected, failed):
    """Whether dropping some retried attempts leaves calls that stand, one to one and in order, for
    the expected ones."""
    flat = [(g, name, args) for g, group in enumerate(groups) for name, args in group]
    same = [(name, canonical_json(args)) for _, name, args in flat]
    attempts = [n for n in range(len(flat)) if n in failed and same[n] in same[n + 1 :]]
    for size in range(len(attempts) + 1):
        for dropped in itertools.combinations(attempts, size):
            kept = [call for n, call in enumerate(flat) if n not in dropped]
            if len(kept) == len(expected) and any(
                stands_for(order, expected, flat, dropped) for order in itertools.permutations(kept)
            ):
                return True
    return False


def stands_for(order, expected, flat, dropped):
    pairs = list(zip(order, expected, strict=True))
    for (_, name, args), right in pairs:
        accepted = {
            key: (value, *right.accept.get(key, ())) for key, value in right.arguments.items()
        }
        if name != right.name or args.keys() != accepted.keys():
            return False
        if any(args[key] not in accepted[key] for key in args):
            return False
    return all(early[0] < late[0] for early, a in pairs for late, b in pairs if a.step < b.step)


def test_whole_sets_agree_with_brute_force():
    """Random small conversations with overlapping alternatives, steps and failures."""
    rng = random.Random(3)
    outcomes = []
    for _ in range(3000):
        expected = [
            ExpectedCall(
                name=rng.choice("ab"),
                arguments={"n": rng.randrange(2)},
                accept={"n": tuple(rng.sample(range(3), rng.randrange(2)))},
                step=rng.randrange(2),
            )
            for _ in range(rng.randrange(1, 4))
        ]
        flat = [
            (e.name, {"n": rng.choice([*e.arguments.values(), *e.accept["n"]])}) for e in expected
        ]
        if rng.random() < 0.5:
            flat.sort(key=lambda call: rng.random())
        if rng.random() < 0.5:
            flat.insert(rng.randrange(len(flat) + 1), rng.choice(flat))
        cuts = sorted(rng.randrange(len(flat) + 1) for _ in range(rng.randrange(3)))
        bounds = [0, *cuts, len(flat)]
        groups = [flat[a:b] for a, b in itertools.pairwise(bounds) if a < b]
        failed = {n for n in range(len(flat)) if rng.random() < 0.4}
        found = match(groups, expected, failed)
        right = right_by_brute_force(groups, expected, failed)
        assert (found.code is Code.OK) == right, (groups, expected, failed, found)
        outcomes.append(right)
    assert 500 < sum(outcomes) < 2500


def test_overlapping_alternatives_are_not_taken_first_come_first_served():
    wide = ExpectedCall(name="a", arguments={"n": 1}, accept={"n": (2,)})
    narrow = ExpectedCall(name="a", arguments={"n": 1})
    assert match([[("a", {"n": 1}), ("a", {"n": 2})]], [wide, narrow]).code is Code.OK
    assert match([[("a", {"n": 2}), ("a", {"n": 2})]], [wide, narrow]).code is Code.WRONG_ARGUMENTS
