"""Measure base, student and teacher on the same held-out cases, and say whether it helped.

Every case is a live episode: the model is asked through its endpoint, its calls are executed, and
what it did is judged by `distill.matching`. `answers` keeps what was answered, `candidates` says
who is asked, `runner` asks, `metrics` and `stats` count, `summary` draws the conclusion. What this
does not do: start a server (the command line does), or call anything right that was not answered.
"""
