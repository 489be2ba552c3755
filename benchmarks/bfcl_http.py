"""BFCL from end to end over HTTP: does everything between suite and server leave answers alone?

    python benchmarks/bfcl_http.py                            # against a server that answers gold
    python benchmarks/bfcl_http.py --endpoint URL --model M   # against any server
    python benchmarks/bfcl_http.py --endpoint http://127.0.0.1:8791/v1 --model student --limit 8

A student with few positions, the embedded one say, does not hold most of these tools. Served with
`--vllm-arg=--max-model-len=32768 --vllm-arg='--hf-overrides={"max_position_embeddings": 32768}'` it
is asked everything; what it answers so far beyond its training is another matter.

The gold server speaks Chat Completions and answers with accepted values. Through the real SDK
client, the tool schemas, the live back ends and the judges, every entry must then be right but
those that cannot be: gold that its own schema refuses.

Against a real server it shows that every question reaches it and comes back to be judged. `--limit`
draws a sample of every category by `--seed`, and the shares of right ones come with their 95%
intervals. A question that the model's context does not hold is counted as too long, a dialogue that
grew beyond it as wrong (and as outgrown), every other refusal as unanswered: the columns add up to
the sample. Silent turns (no call can be right yet) are counted beside the score: in how many of
them the model called, and in how many it changed something.

The last line is JSON: {"questions": ..., "right": ..., "too_long": ..., "unanswered": ...,
"parts": {category: {"of", "sample", "answered", "right", "too_long", "outgrown", "unanswered",
"interval"}}, "silent": {category: {"turns", "called", "acted"}}, "wrong": [...]}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from distill.config import Config, TeacherConfig
from distill.evaluate.candidates import Candidate
from distill.evaluate.metrics import clustered_share
from distill.evaluate.suites import bfcl
from distill.evaluate.suites.base import Question
from distill.evaluate.suites.bfcl_data import AST, MULTI_TURN, RELEVANCE, right_calls, rows, version
from distill.evaluate.suites.bfcl_dialogue import OUTGREW, Dialogue
from distill.evaluate.suites.questions import Judged, QuestionRun
from distill.matching.bfcl import Call
from distill.types import Message, digest

CATEGORIES = (*AST, *RELEVANCE, *MULTI_TURN)
COLUMNS = ("of", "sample", "answered", "right", "too_long", "outgrown", "unanswered")


def main() -> None:
    arguments = parsed()
    gold = GoldServer() if arguments.endpoint is None else None
    endpoint = arguments.endpoint or gold.url
    parts: dict[str, dict[str, Any]] = {}
    silent: dict[str, dict[str, int]] = {}
    wrong: list[str] = []
    gaps: list[str] = []
    heads = "".join(f"{column:>11}" for column in COLUMNS)
    print(f"{'category':26}{heads}{'right, 95%':>14}  silent turns")
    for category in arguments.categories.split(","):
        # The gold server is told the category by the name of the model.
        model = arguments.model if arguments.endpoint else category
        sample = Sample(category, arguments.limit, arguments.seed)
        run = asked(sample, model, endpoint, arguments.max_tokens)
        judged = run._judge(run.models[0])
        parts[category] = counted(run, judged)
        gaps += [f"{category}: {why}" for why in run.gaps.values()]
        wrong += [f"{one.id}: {one.verdict.detail}" for one in judged if not one.verdict.ok]
        if turns := [turn for one in judged for turn in one.silent]:
            called, acted = sum(t.called for t in turns), sum(t.acted for t in turns)
            silent[category] = {"turns": len(turns), "called": called, "acted": acted}
        print(line(category, parts[category], silent.get(category)), flush=True)
    if gold is not None:
        print("\nnot right:", *wrong, sep="\n  ")
        gold.close()
    print(*(["\nnot answered:"] if gaps else []), *gaps, sep="\n  ")
    total = {column: sum(row[column] for row in parts.values()) for column in COLUMNS}
    print(
        json.dumps(
            {
                "questions": total["sample"],
                "right": total["right"],
                "too_long": total["too_long"],
                "outgrown": total["outgrown"],
                "unanswered": total["unanswered"],
                "parts": parts,
                "silent": silent,
                "wrong": [one.split(":")[0] for one in wrong] if gold else len(wrong),
                "limit": arguments.limit,
                "seed": arguments.seed,
                "max_tokens": arguments.max_tokens,
                "bfcl_eval": version(),
            }
        )
    )


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--endpoint", help="http://host:port/v1 of a server to measure")
    parser.add_argument("--model", default="student", help="model name at that endpoint")
    parser.add_argument("--limit", type=int, help="at most so many questions of a category")
    parser.add_argument("--seed", type=int, default=0, help="draws the sample")
    parser.add_argument("--max-tokens", type=int, default=512, help="most tokens of one turn")
    parser.add_argument("--categories", default=",".join(CATEGORIES))
    return parser.parse_args()


def line(category: str, row: dict[str, Any], silent: dict[str, int] | None) -> str:
    """Return a category's line of the table."""
    figures = "".join(f"{row[column]:11}" for column in COLUMNS)
    low, high = (100 * limit for limit in row["interval"])
    said = f"{category:26}{figures}{f'{low:.1f}-{high:.1f}%':>14}"
    if silent:
        did = f"called in {silent['called']}, changed something in {silent['acted']}"
        said += f"  {silent['turns']}: {did}"
    return said


def counted(run: QuestionRun, judged: Sequence[Judged]) -> dict[str, Any]:
    """Return what became of each question of a category's sample.

    The interval allows for questions on the same tools being alike.
    """
    too_long = sum(run.too_long.values())
    share = clustered_share((one.cluster, one.verdict.ok) for one in judged)
    return {
        "of": len(rows(run.questions[0].part)),
        "sample": len(run.questions),
        "answered": len(judged),
        "right": sum(one.verdict.ok for one in judged),
        "too_long": too_long,
        "outgrown": sum(one.verdict.detail == OUTGREW for one in judged),
        "unanswered": len(run.questions) - len(judged) - too_long,
        "interval": [round(share.low, 4), round(share.high, 4)],
    }


class Sample(bfcl.Bfcl):
    """The questions of one category, or so many of them drawn at random."""

    def __init__(self, category: str, limit: int | None, seed: int) -> None:
        self.category, self.limit, self.seed = category, limit, seed

    def questions(self, config: Config) -> list[Question]:
        """Return the same questions for the same seed, in the order of the data."""
        single = self.category not in MULTI_TURN
        every: list[Question] = [*(bfcl.single_turn if single else bfcl.multi_turn)(self.category)]
        if self.limit is None or self.limit >= len(every):
            return every
        rng = random.Random(f"{self.seed}/{self.category}")
        drawn = set(rng.sample(range(len(every)), self.limit))
        return [question for n, question in enumerate(every) if n in drawn]


def asked(sample: Sample, model: str, endpoint: str, max_tokens: int) -> QuestionRun:
    """Ask all questions of a sample and return the run."""
    request = TeacherConfig(
        provider="openai_chat", model=model, max_tokens=max_tokens, temperature=0
    )
    candidate = Candidate(model, model, digest([endpoint, model]), request, served=True)
    config = Config.model_validate(
        {
            "name": "bfcl",
            "toolset": "none",
            "teacher": request.model_dump(),
            "eval": {"concurrency": 32},
        }
    )
    config._workspace = Path(tempfile.mkdtemp())
    run = QuestionRun(sample, config, [candidate], [])
    asyncio.run(run.ask(endpoint, lambda *_: None))
    return run


class GoldServer:
    """A Chat Completions server that knows the answers."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], bfcl.Entry] = {}
        self.dialogues: dict[str, list[Dialogue]] = {}
        for category in (*AST, *RELEVANCE):
            for entry in bfcl.single_turn(category):
                self.entries[category, _asked(entry.messages, entry.tools)] = entry
        for category in MULTI_TURN:
            self.dialogues[category] = bfcl.multi_turn(category)
        knows = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = json.dumps(completion(knows.answer(body))).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"

    def answer(self, body: dict[str, Any]) -> Sequence[Call]:
        """Return the right calls; none where words are due."""
        messages, category = body["messages"], body["model"]
        if category not in MULTI_TURN:
            said = [(m["role"], m["content"]) for m in messages]
            tools = [tool["function"] for tool in body.get("tools", ())]
            entry = self.entries[category, digest([said, tools])]
            if category == "live_relevance":
                return [{entry.tools[0].name: {}}]
            return right_calls(entry.raw, entry.right, random.Random(0))
        if messages[-1]["role"] == "tool":
            return []
        said = [m["content"] for m in messages if m["role"] == "user"]
        dialogue = next(d for d in self.dialogues[category] if _begins(d, said))
        opening = len([m for m in dialogue.questions[0] if m.role == "user"])
        return dialogue.gold[len(said) - opening]

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()


def completion(calls: Sequence[Call]) -> dict[str, Any]:
    """Return a Chat Completions body."""
    made = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(given)},
        }
        for n, call in enumerate(calls)
        for name, given in call.items()
    ]
    message = {"role": "assistant", "content": None if made else "Nothing to call."}
    return {
        "id": "gold",
        "object": "chat.completion",
        "created": 0,
        "model": "gold",
        "choices": [
            {
                "index": 0,
                "message": message | ({"tool_calls": made} if made else {}),
                "finish_reason": "tool_calls" if made else "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _asked(messages: Sequence[Message], tools: Sequence[Any]) -> str:
    said = [(message.role, message.content) for message in messages]
    return digest([said, [tool.as_function()["function"] for tool in tools]])


def _begins(dialogue: Dialogue, said: Sequence[str]) -> bool:
    """Whether a dialogue's user begins with these words; turns that add tools have none."""
    words = [[m.content for m in turn if m.role == "user"] or [None] for turn in dialogue.questions]
    flat = [word for turn in words for word in turn]
    return all(word in (None, heard) for word, heard in zip(flat, said, strict=False))


if __name__ == "__main__":
    main()
