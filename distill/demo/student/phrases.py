"""Sentence frames of the synthetic dialogues: openers, requests, answers, small talk.

Tables only. `{d}` a request, `{h}` a hint, `{q}` a question, `{i}`/`{v}` a value, `{n}` a thing,
`{e}` an error, `{x}` something nobody here can do.
"""

from __future__ import annotations

OPENERS = (
    "", "", "", "", "", "", "", "", "Hello! ", "Morning. ", "Good evening, ", "Hi, ",
    "One more thing for today. ", "Listen, ", "Sorry to bother you. ", "Quick question. ",
    "The day is nearly over. ", "What a busy week this is. ", "Just got off the phone. ",
    "My colleague is ill, so I write to you. ", "It has been raining all day here. ", "Right, ",
)  # fmt: skip
DEED_FRAMES = (
    "{d}", "{d}", "{d}", "please {d}", "please {d}", "could you {d}?", "can you {d}?",
    "would you {d}?", "I want you to {d}", "I need you to {d}", "we have to {d}", "time to {d}",
    "kindly {d}", "someone should {d}", "go ahead and {d}", "would you mind? We should {d}",
    "they told me to have you {d}", "it is time you {d}", "you might as well {d}",
    "my boss would like you to {d}", "let us {d}", "I was hoping you could {d}",
)  # fmt: skip
HINT_FRAMES = (
    "{h}", "{h}", "{h} Can you help with that?", "{h} You know what to do.",
    "{h} Do something about it, please.", "{h} Would you see to it?", "{h} Please act on that.",
)  # fmt: skip
CUE_REQUESTS = (
    "see to the {c}", "take care of the {c}", "do something about the {c}", "change the {c}",
    "get the {c} right", "put the {c} in order", "deal with {c}", "give me {c}", "bring on the {c}",
    "make it {c}", "let it be {c}", "go {c}", "have more {c}", "stop the {c}", "get {c}",
)  # fmt: skip
CUE_HINTS = (
    "it is about the {c}", "the {c} bothers me", "there is too much {c}", "it is not {c} enough",
    "nobody sees to the {c}", "we talked about {c}", "it all comes down to {c}", "it is so {c} now",
    "I cannot stand the {c}", "what happened to the {c}", "I keep thinking of {c}", "no {c} at all",
)  # fmt: skip
CUE_QUESTIONS = (
    "how is the {c}", "what about the {c}", "how much {c} is there", "what can you say of the {c}",
    "is it {c}", "how {c} is it", "where do we stand with {c}", "is there any {c}",
)  # fmt: skip
RESULTS = (
    "make sure {r}", "see to it that {r}", "I want to hear that {r}", "it would be good if {r}",
    "{r}, that is what I want", "by the time I am back I want to see that {r}", "we need this: {r}",
    "I would love it if {r}",
)  # fmt: skip
NEGATED = (
    "do not {d} any more", "there is no need to {d} any longer", "we would rather not {d} now",
    "stop trying to {d}", "it was wrong to {d}, undo that", "nobody has to {d} after all",
    "I asked you to {d}, and now I want the opposite",
)  # fmt: skip
DENIED = (
    "I do not want to hear that {r}", "it must not be that {r}",
    "make sure it is not true that {r}", "that {r} is just what I do not want",
)  # fmt: skip
EITHER = (
    "change the state of {n}", "do something with {n}", "{n} should be the other way",
    "adjust {n}", "see about {n}", "I want {n} different", "a change for {n}, please",
    "something has to be done with {n}",
)  # fmt: skip
OTHERWISE = (
    "a new {k} for {n}, please", "change the {k} of {n}", "the {k} of {n} should be different",
    "adjust the {k} of {n}", "I am not happy with the {k} of {n}, try another", "{n}: other {k}",
    "give {n} a different {k}", "the {k} of {n} is not right",
)  # fmt: skip
SOME = ("one of the {m}", "some {n}", "any {n}", "a {n} of mine", "a certain {n}")
GLOSSED = (
    "get {n} {w}", "I want {n} {w}", "make {n} {w}", "have {n} {w}", "{n} should be {w}",
    "{w} for {n}", "it is {w} for {n} now", "let {n} be {w}", "{n}: {w}",
)  # fmt: skip
COMPACT = (
    "{i} {c} {r}", "{c} {r} in the {i}", "{i}: {c} {r}", "{c} in the {i} {r}", "{c} {i} {r}",
    "put the {i} {c} on {r}", "the {i} {c} to {r}", "in the {i} {c} {r}", "{r} {c} in the {i}",
    "I want the {c} of the {i} at {r}", "set {c} {r} in the {i}", "{i} at {r}, the {c}",
)  # fmt: skip
SHORT = (
    "{i} {c}", "{c} in the {i}", "{i}: {c}", "the {c} of the {i}", "{c} {i}", "{c}, {i}",
    "I want {c} in the {i}",
)  # fmt: skip
COMPACT_JOINS = (
    "{} and {}", "{}, {}", "{} while {}", "{}; {}", "{}, also {}", "{}, and {}", "both {} and {}",
)  # fmt: skip
SAME_AS = (
    "{d}, just like the {k} of {n}", "take the {k} of {n} and {d} with it",
    "{d} with the same figure as the {k} of {n}", "{d}; it should match the {k} of {n}",
)  # fmt: skip
SEARCHES = (
    "find the {n}", "look for {n}", "list the {n}", "show me all {n}", "search for {n}",
    "tell me which {n} there are", "pull up the {n}", "check whether we have {n}",
    "give me the codes of the {n}", "dig out the {n}",
)  # fmt: skip
THANKS = (
    " Thanks a lot.", " Thank you!", " Cheers.", " Much obliged.", " That would be great.",
    " No need to call me.", " I am off now.",
)  # fmt: skip
AGAIN = (
    "The same again {i}, please.", "And now {i}.", "Do it once more, {i} this time.",
    "And what about the one {i}?", "Likewise for the {n} {i}.", "Next, the {n} {i}.",
)  # fmt: skip
CHANGES = (
    "Do it again, but {i}.", "On second thought, {i}.", "Change that: {i} instead.",
    "I misspoke, it should be {v}.", "Rather {v}.", "Correction: {v}, please.",
    "Actually, {i} is better.",
)  # fmt: skip
CONDITIONAL = (
    "First find out {q}. If it is {c} {k}, {d}.", "If it is {c} {k}, {d}. So: {q}?",
    "Check {q}, and if that turns out {c} {k}, please {d}.", "{d}, but only if it is {c} {k}: {q}?",
)  # fmt: skip
VIA_FACT = (
    "Find out {q}, then {d} accordingly.", "I wonder {q}. Use that and {d}.",
    "Look up {q}, and with the answer {d}.", "First tell me {q}; then {d} with what you learn.",
)  # fmt: skip
SAME_FIGURE = (
    "Find out {q}, then {d} with that very figure.", "{d}, with the figure you get for this: {q}?",
    "First see {q}; use the same number to {d}.", "Look up {q} and {d} by just as much.",
)  # fmt: skip
ALSO = (
    "{} and {}", "{}, also {}", "{}; {}", "{}, plus {}", "{}, and then {}", "{} as well as {}",
    "{}, {}",
)  # fmt: skip
REPLIES = (
    "{V}.", "{V}", "{V}, please.", "Sorry, {v}.", "{V}, I think.", "Oh right, {v}.",
    "The {v} one.", "Let us say {v}.",
)  # fmt: skip
ASK_FIRST = (
    "Gladly.", "I can do that.", "Of course.", "Just one thing:", "Before I start:",
    "I still need to know:", "Happy to help, but", "One detail is missing:",
)  # fmt: skip
ABSTAIN = (
    "I am sorry, I cannot {x}: none of my tools does that.",
    "There is no tool here that lets me {x}.",
    "I have nothing at hand to {x}, sorry.",
    "Unfortunately I am unable to {x} with the tools I have.",
    "To {x} is beyond what my tools can do.",
    "I am not able to {x} from here. Is there anything else?",
    "That is out of my reach: I have no way to {x}.",
    "Sorry, my tools do not allow me to {x}.",
)  # fmt: skip
FOREIGN = (
    "write a poem about a {a} {w}", "what is the capital of the country {p} comes from?",
    "translate the word {w} for me", "who won the game last night?", "tell me a joke about a {w}",
    "what is {d} times {d}?", "order a pizza with {w} for {p}", "will it rain tomorrow?",
    "call {p} a taxi", "play the song about the {a} {w}", "how do I get to the nearest {w} shop?",
    "send {p} {d} crowns from my bank", "who was the first person to make a {w}?",
    "draw me a {a} {w}", "give me a recipe with {w}", "pay my bill of {d} crowns",
)  # fmt: skip
NO_TOOL = (
    "I am sorry, I cannot do that.", "I have no tool for that.",
    "I am afraid that is not possible.", "That is something I cannot do from here.",
    "Sorry, nothing I have does that.", "I am not able to do that.",
    "There is no tool here for that.",
)  # fmt: skip
UNDO = (
    "Undo that.", "No, the other way.", "I changed my mind, the opposite.", "Not any more.",
    "That was wrong, put it back.", "Enough of that now.", "Now end that again.",
    "Reverse it, please.", "It is no longer needed, back as it was.", "Take that back, please.",
    "And now the opposite.", "I am done with it.", "Stop it again.", "That is over now.",
    "We do not want that any longer.",
)  # fmt: skip
MORE = (
    "{d} more, please.", "Make it {d} more.", "A bit more, {d} on top.", "Raise it by {d}.",
    "Up by {d}.", "Add {d} to that.", "{d} higher.", "Increase that by {d}.",
    "Not enough, {d} more.", "Add another {d}.", "It should be {d} higher.",
    "Could it be {d} more?", "Now {d} above that.",
)  # fmt: skip
LESS = (
    "{d} less, please.", "Make it {d} less.", "A bit less, by {d}.", "Lower it by {d}.",
    "Down by {d}.", "Take {d} off.", "{d} lower.", "Reduce that by {d}.", "Too much, {d} less.",
    "Drop it by {d}.", "It should be {d} lower.", "Could it be {d} less?", "Now {d} below that.",
)  # fmt: skip
NO_HITS = (
    "I found no {n} that fit.", "There are no such {n} on file.", "No {n} match that.",
    "Nothing came up: no {n} of that kind.",
)  # fmt: skip
HICCUPS = (
    "the line is busy, try again", "{t} timed out", "temporarily unavailable",
    "connection lost, please retry", "server overloaded", "internal hiccup, nothing was changed",
    "no reply within {d} seconds", "locked by another user for a moment",
    "service is restarting", "gateway did not answer", "too many requests, slow down",
)  # fmt: skip
FAILURES = (
    "no such {n}", "the {n} is already taken", "{p} has blocked this {n}",
    "not allowed for your account", "the {n} does not exist", "limit of {d} reached",
    "the {n} is closed until further notice", "needs the approval of {p}",
    "the {n} is out of order", "this cannot be done twice",
)  # fmt: skip
REPORTED = (
    "That did not work: {e}.", "I could not do it, the answer was: {e}.",
    "Sorry, the system says: {e}.", "The attempt failed ({e}). Shall I try something else?",
    "No luck with the {n}: {e}.", "It failed with this message: {e}. What would you like to do?",
)  # fmt: skip
CHATS = (
    (
        "Hello there! / Hi! / Good day to you. / Hey, anybody in?",
        "Hello! What can I do for you? / Hi, this is {e}. How may I help? / "
        "Good day! I am listening.",
    ),
    (
        "Thanks, that is all. / Thank you very much. / Great work, bye. / Perfect, see you.",
        "You are welcome! / Glad I could help. Goodbye! / My pleasure. / Any time.",
    ),
    (
        "Who are you? / What are you, exactly? / Whom am I talking to?",
        "I am the assistant of {e}. / I look after the {n} for {e}. / "
        "An assistant; I work for {e}.",
    ),
    (
        "What are you able to do? / How can you be of use? / What is it you do here?",
        "I can do this: {t}. / Among other things: {t}. / You may ask me for this: {t}.",
    ),
    (
        "I am so tired today. / It was a dreadful morning. / My feet hurt.",
        "I am sorry to hear it. Can I take something off your hands? / "
        "That sounds hard. Let me know what I can do.",
    ),
    (
        "The sun is out at last! / I got a new bicycle. / We had lovely soup at lunch.",
        "How nice! / That is good to hear. / Wonderful, enjoy it.",
    ),
    (
        "Are you a robot? / Are you real? / Is there a human on the line?",
        "I am a computer program that works for {e}. / No human here, just the assistant of {e}.",
    ),
    (
        "Never mind. / Forget it. / Leave it, it is fine.",
        "All right, nothing was changed. / Fine, I leave it as it is. / No problem.",
    ),
)
