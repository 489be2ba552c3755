from __future__ import annotations

import pytest
from train_world import byte_tokenizer, trl_template

from distill.errors import StudentError
from distill.student.families import LLAMA31, QWEN3, QWEN25, Family
from distill.student.template import check_template


@pytest.mark.parametrize(
    ("template", "family"),
    [("qwen2_5", QWEN25), ("qwen3", QWEN3), ("llama3_1", LLAMA31), ("llama3_2", LLAMA31)],
)
def test_templates_of_the_families_pass(template: str, family: Family) -> None:
    check_template(byte_tokenizer(template), family)


def test_a_template_without_tools_or_calls_or_with_a_date_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokenizer = byte_tokenizer()
    plain = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    with pytest.raises(StudentError, match=r"does not show the tools it is given; set student\.t"):
        monkeypatch.setattr(tokenizer, "chat_template", plain)
        check_template(tokenizer, QWEN25)
    with pytest.raises(StudentError, match=r"does not write the calls of a turn"):
        monkeypatch.setattr(tokenizer, "chat_template", "{{ tools }}" + plain)
        check_template(tokenizer, QWEN25)
    with pytest.raises(StudentError, match=r"writes today's date"):
        dated = "{{ strftime_now('%d') }}" + trl_template("qwen2_5")
        monkeypatch.setattr(tokenizer, "chat_template", dated)
        check_template(tokenizer, QWEN25)
