"""Tasks written by the teacher: we say what to ask for, it finds the words and the right answer.

    points     what of a tool set can be covered: tools, choices of parameters, optional parameters
    orders     what is asked for, seeded: kind, tools, values, who asks and how
    drafts     the form in which the teacher hands a task in
    bench      is a draft the task that was ordered, and does its answer execute
    requests   orders as episodes: the prompt, and the tool that takes drafts
    harvest    which of the drafts in the store become tasks; near-duplicates
    coverage   what a list of tasks covers, and what is missing
    run        rounds of requests until every order is filled, or three are over

A request for tasks is an episode like any other: leased, paced, paid for and stored by the same
code, in a store of its own, so that it is resumed and never paid for twice. What becomes a task is
decided from the stored traces alone, in the order of the orders, whoever answered first.
"""

from distill.collect.authoring.coverage import Coverage, cover
from distill.collect.authoring.harvest import Harvest
from distill.collect.authoring.run import Authoring, prepare, write

__all__ = ["Authoring", "Coverage", "Harvest", "cover", "prepare", "write"]
