"""The embedded teacher: a scripted stand-in for a frontier model, behind real HTTP.

It speaks Anthropic Messages and OpenAI Chat Completions, so the real SDK clients and the whole
collector run against it on a machine with no key and no network. It is not a model: it knows the
tasks of one config, looks the conversation up among them and plays the expected answer, worded
differently each time, with the mistakes models make at a seeded rate.

    server.py      HTTP: routes, keep-alive, request ids
    busy.py        which requests are turned away with 429, 503 or 529 first
    wire.py        what a request asks for; anthropic_wire.py, openai_wire.py: the two shapes
    script.py      which task this is, where the episode stands, what to say next
    plan.py        what a right answer to one user turn consists of
    mistakes.py    how a plan goes wrong; one function a kind
    phrases.py     the wording
    author.py      tasks it writes itself, when it is asked to
    caller.py      the part of a simulated user
    backend.py     the results of simulated tools

Nothing outside `distill.demo` knows about it: it is reached by `teacher.base_url` like any other.
"""
