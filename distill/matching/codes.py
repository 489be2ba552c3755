"""Why an answer is not right: one code per reason, the same words in filter and evaluation."""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The finding of a match; `ok` is the only one of a right answer."""

    OK = "ok"
    MISSING_CALL = "missing_call"
    """An expected call was not made."""
    EXTRA_CALL = "extra_call"
    """A call beyond the expected ones, even if it only reads: the user waits and pays for it."""
    WRONG_TOOL = "wrong_tool"
    """Another tool was called where one was expected."""
    WRONG_ARGUMENTS = "wrong_arguments"
    """The right tool with a wrong, missing or invented argument."""
    WRONG_ORDER = "wrong_order"
    """All calls are right, but one came before the results of the step it depends on."""
    UNKNOWN_TOOL = "unknown_tool"
    """The tool called does not exist."""
    MALFORMED_ARGUMENTS = "malformed_arguments"
    """The arguments are not a JSON object."""
    SCHEMA_VIOLATION = "schema_violation"
    """The arguments violate the tool's JSON Schema."""
    CALLED_INSTEAD_OF_ASKING = "called_instead_of_asking"
    CALLED_INSTEAD_OF_ABSTAINING = "called_instead_of_abstaining"
    CALLED_IN_CHAT = "called_in_chat"
    NO_QUESTION = "no_question"
    """A question back was expected; the answer asks nothing."""
    MISSING_MENTION = "missing_mention"
    """The final text does not say what it has to say."""
    EMPTY_ANSWER = "empty_answer"
    """The turn ended without a word to the user."""
    UNPARSED_CALL = "unparsed_call"
    """Call markup stands in the text: a call that was written but never made."""
    WRONG_END_STATE = "wrong_end_state"
    """The environment was not left as expected."""
    INCOMPLETE = "incomplete"
    """The user's turn was never answered."""
