"""A process of its own can have pages: its templates build on the shared ones, and it needs nothing of the service."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from policies.languages import PAGE_LANGUAGES
from trust.pages.render import Templates
from trust.pages.translations import load_language

ROOT = Path(__file__).parents[2]
DESK = """{% extends "base.html" %}
{% from "parts/words.html" import moment with context %}
{% block title %}{{ _("Language") }}{% endblock %}
{% block main %}<h1>{{ say({"ja": "窓口", "en": "Front desk"}) }}</h1><p>{{ _("Your files") }}</p><p>{{ moment(open_until) }}</p>{% endblock %}
"""


def test_another_processes_page_works_in_every_language_with_nothing_of_the_service_imported(tmp_path: Path) -> None:
    (tmp_path / "desk.html").write_text(DESK, encoding="utf-8")
    command = [sys.executable, "-m", "tests.pages.front_desk", str(tmp_path)]
    ran = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True, text=True
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert set(found["shown"]) == set(PAGE_LANGUAGES)
    for tag, answer in found["shown"].items():
        language = load_language(tag)
        assert f'<html lang="{tag}" dir="{language.direction}">' in answer["text"]
        assert f"{language.plain({'ja': '窓口', 'en': 'Front desk'})}</" in answer["text"]
        assert f"<p>{language.gettext('Your files')}</p>" in answer["text"]
        assert f">{language.moment(1_795_338_120)}</time>" in answer["text"]
        assert answer["text"].count('hreflang="') == len(PAGE_LANGUAGES)
        assert answer["headers"]["content-language"] == tag
        assert answer["headers"]["set-cookie"].startswith(f"lang={tag};")
        assert "script-src 'self'; style-src 'self'" in answer["headers"]["content-security-policy"]
        assert answer["headers"]["x-content-type-options"] == "nosniff"
    assert set(found["codes"].values()) == {200}
    others = ("service", "node", "partner", "resident", "town", "cli", "audit", "client")
    assert [name for name in found["modules"] if name.startswith(tuple(f"trust.{each}" for each in others))] == []
    assert "trust.pages.render" in found["modules"]


def test_a_process_cannot_replace_a_shared_template(tmp_path: Path) -> None:
    (tmp_path / "base.html").write_text("<p>mine</p>", encoding="utf-8")
    with pytest.raises(ValueError, match=r"one name: base\.html"):
        Templates(tmp_path)
