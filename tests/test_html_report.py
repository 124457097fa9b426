"""The HTML report: one file, everything escaped, and quiet in a real browser."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from support.training_data import two_kinds

from advrec import native
from advrec.auditing.measure import AuditOptions, audit
from advrec.report.html import page
from advrec.report.html_chart import LINES, bracket
from advrec.runs.subject import Stale, Subject, model_of_vectors

U, I, D, K = 24, 40, 6, 5
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&amp;"
VOID = {"meta", "link", "br", "img"}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    native.set_threads(1)
    yield
    native.set_threads(before)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """An audit in which every name is hostile."""
    data = two_kinds(U, I, train=0.6, valid=0.1)
    data = replace(
        data,
        name=EVIL,
        item_names=[EVIL + str(n) for n in range(I)],
        user_ids=[EVIL + str(n) for n in range(U)],
    )
    g = torch.Generator().manual_seed(1)
    users, items = torch.randn(U, D, generator=g), torch.randn(I, D, generator=g)
    subjects = [Subject(EVIL, model_of_vectors(users, items), data)] * 2
    options = AuditOptions(rho=(0.01, 0.05, 0.2), eps=(0.05, 0.2), k=K, quick=True)
    older = Stale((users, items + 0.1), "items", EVIL)
    result = audit(subjects, options, stale=[older, older], commands=[f"advrec audit {EVIL}"])
    for subject in result["subjects"]:
        subject["flags"] = [{"name": EVIL, "raised": EVIL, "means": EVIL, "do": EVIL}]
        subject["origin"].append([EVIL, EVIL])
    return {**result, "json": "audit.json"}


class Page(HTMLParser):
    """Tags that are open, attributes, and what is wrong."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag


def test_everything_from_files_is_escaped_and_the_page_is_well_formed(document):
    parsed = Page(page(document))
    assert parsed.open == []
    tags = {tag for tag, _ in parsed.tags}
    assert not tags & {"script", "img", "iframe", "object", "form"}
    assert not any(name.startswith("on") for _, attrs in parsed.tags for name in attrs)


def test_the_page_names_nothing_outside_itself(document):
    text = page(document)
    parsed = Page(text)
    for tag, attributes in parsed.tags:
        for name in ("src", "href"):
            target = attributes.get(name) or "#"
            assert target.startswith("#") or (tag, target) == ("link", "data:,")
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_the_contents_lead_to_every_section_and_tables_take_the_keyboard(document):
    parsed = Page(page(document))
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [str(attrs["href"])[1:] for tag, attrs in parsed.tags if tag == "a"]
    sections = [attrs["id"] for tag, attrs in parsed.tags if tag == "section"]
    assert set(links) == set(sections)
    assert len(sections) == 9
    regions = [attrs for _, attrs in parsed.tags if attrs.get("role") == "region"]
    assert len(regions) == sum(tag == "table" for tag, _ in parsed.tags) >= 10
    assert all(attrs.get("tabindex") == "0" and attrs.get("aria-label") for attrs in regions)
    assert all(attrs.get("scope") for tag, attrs in parsed.tags if tag == "th")


def test_the_verdict_comes_first(document):
    text = page(document)
    body = text[text.index("<main>") :]
    assert body.index('class="verdict"') < body.index("<nav") < body.index("<figure")


def test_the_page_is_the_same_for_the_same_document(document):
    assert page(document) == page(json.loads(json.dumps(document)))


def test_what_was_not_measured_is_left_out(document):
    bare = copy.deepcopy(document)
    for subject in bare["subjects"]:
        empty = {"groups": [], "worst_items": [], "worst_users": [], "practical": [],
                 "practical_refused": "no vectors", "eps": [], "flags": [], "members": [],
                 "certificate": {"refused": "no certificate"}}  # fmt: skip
        subject.update(empty)
    text = page(bare)
    assert "no vectors" in text
    assert "no certificate" in text
    assert 'id="fairness"' not in text
    assert "No flag is raised" in text
    assert Page(text).open == []


def test_the_figure_shows_every_point_where_it_belongs():
    points = [
        {"budget": 0.01, "certified": 0.3, "oracle": 0.35, "label_free": 0.38, "random": 0.4},
        {"budget": 0.1, "certified": 0.1, "oracle": 0.2, "label_free": None, "random": 0.39},
    ]
    text = bracket(points, 0.4, metric="NDCG@20", axis="ρ", relative=True)
    root = ET.fromstring(text)
    names = {line: line.replace("_", "") for line in LINES}
    dots = {
        line: [(float(e.get("cx", "")), float(e.get("cy", "")), e.find("title").text)
               for e in root.iter("circle") if e.get("class") == f"dot {css}"]
        for line, css in names.items()
    }  # fmt: skip
    assert {line: len(found) for line, found in dots.items()} == {
        "certified": 3, "oracle": 3, "label_free": 2, "random": 3,
    }  # fmt: skip
    for found in dots.values():
        assert [x for x, _, _ in found] == sorted(x for x, _, _ in found)
    assert dots["certified"][2][2] == "certified: nothing goes below, 10 %: NDCG@20 0.1000"
    low, high = dots["certified"][2][1], dots["oracle"][2][1]
    assert low > high, "a smaller figure stands lower"
    assert "0.100 to 0.200 at 10 %" in root.get("aria-label", "")


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

CHROMIUMS_OWN = (".google.com", ".googleapis.com", ".gvt1.com")  # asked by an empty page, too


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize(
    "look", [[], ["--blink-settings=preferredColorScheme=0"]], ids=["light", "dark"]
)
def test_a_browser_has_nothing_to_complain_about_and_asks_for_nothing(document, look, tmp_path):
    assert CHROMIUM is not None
    report = tmp_path / "report.html"
    report.write_text(page(document), encoding="utf-8")
    log, shot = tmp_path / "net.json", tmp_path / "shot.png"
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync",
             "--no-first-run", "--no-default-browser-check", "--disable-extensions"]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *quiet,
         *look, f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--v=0",
         f"--log-net-log={log}", f"--screenshot={shot}", "--window-size=700,900",
         report.as_uri()],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if not shot.exists():
        pytest.skip(f"chromium does not run here: {done.stderr[-300:]}")
    assert "CONSOLE" not in done.stderr
    asked = set(re.findall(r'"url":"([a-z]+)://([^"/]*)', log.read_text(encoding="utf-8")))
    hosts = {host for scheme, host in asked if scheme != "file" and host}
    assert not {host for host in hosts if not host.endswith(CHROMIUMS_OWN)}
    assert shot.stat().st_size > 20_000


def test_the_report_is_small(document):
    assert len(page(document)) < 200_000
