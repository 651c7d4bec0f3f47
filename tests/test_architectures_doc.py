"""docs/architectures.md is what scripts/architectures_doc writes, and tells of every family."""

import re
import runpy
from pathlib import Path

import pytest

from edgecls import registry
from edgecls.errors import UnknownName

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "architectures_doc"))
DOCUMENT = (ROOT / "docs" / "architectures.md").read_text()
FAMILIES = registry.families()


def test_the_document_is_current():
    assert SCRIPT["document"]() == DOCUMENT, "run scripts/architectures_doc"


def test_every_text_belongs_to_a_family_and_every_family_has_one():
    texts = {path.stem for path in (ROOT / "edgecls" / "models").glob("*.md")}
    assert texts == {family.name for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_has_its_idea_its_block_and_a_line_for_each_row(family):
    section = SCRIPT["section"](family)
    assert section in DOCUMENT
    assert family.idea in section and section.count("```text\n") == 1
    about = section.split("```")[0].replace(family.idea, "")
    assert len(re.findall(r"[.:;](\s|$)", about)) >= 2
    for row in (row for row in registry.rows() if row.family == family):
        (line,) = [line for line in section.splitlines() if line.startswith(f"| `{row.key}` |")]
        assert SCRIPT["count"](row.macs) in line and SCRIPT["count"](row.params) in line
        assert (row.weights[0].url if row.weights else "none known") in line


def test_links_within_the_document_lead_somewhere():
    headings = re.findall(r"^#+ (.*)$", DOCUMENT, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    links = re.findall(r"\]\(#(.*?)\)", DOCUMENT)
    assert links and set(links) <= anchors


def test_links_to_modules_lead_to_files():
    links = re.findall(r"\]\(\.\./(.*?)\)", DOCUMENT)
    assert len(links) == len(FAMILIES) and all((ROOT / link).is_file() for link in links)


def test_a_text_names_figures_and_none_is_left_unnamed():
    text = "x {resnet50.torchvision MACs} y {resnet50.keras top-1}"
    assert SCRIPT["with_figures"](text) == "x 4.09 G y 74.9"
    assert not re.search(r"[{}]", DOCUMENT)


@pytest.mark.parametrize(
    ("text", "error"), [("{resnet51 MACs}", UnknownName), ("{resnet50 flops}", KeyError)]
)
def test_a_figure_that_is_not_known_is_refused(text, error):
    with pytest.raises(error):
        SCRIPT["with_figures"](text)
