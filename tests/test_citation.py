"""CITATION.cff is what the format asks for, and agrees with the package."""

from __future__ import annotations

import re
import tomllib

import pytest
from support.building import ROOT

import cryoreg

yaml = pytest.importorskip("yaml", reason="needs PyYAML, which mkdocs brings")
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KEYS = {
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords"),
    *("license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact"),
    *("repository-code", "title", "type", "url", "version"),
}
"""All that version 1.2.0 of the format knows at the top level (Druskat et al. 2021, doi 10.5281/zenodo.5171937)."""
PERSON = {"family-names", "given-names", "name-particle", "name-suffix", "alias", "affiliation", "email", "orcid"}
ENTITY = {"name", "address", "alias", "city", "country", "email", "website"}


def test_the_keys_are_those_of_the_format():
    assert CITATION["cff-version"] == "1.2.0"
    assert {"authors", "cff-version", "message", "title"} <= CITATION.keys() <= KEYS
    assert CITATION["type"] in ("software", "dataset")


def test_it_agrees_with_the_package():
    assert CITATION["version"] == cryoreg.__version__
    assert CITATION["license"] == PROJECT["license"]
    assert CITATION["keywords"] == PROJECT["keywords"]
    assert [author["name"] for author in CITATION["authors"]] == [author["name"] for author in PROJECT["authors"]]


def test_references_are_whole():
    for reference in CITATION["references"]:
        assert {"authors", "title", "type"} <= reference.keys()
        for author in reference["authors"]:
            assert author.keys() <= PERSON or author.keys() <= ENTITY
        assert re.fullmatch(r"10\.\d{4,9}/\S+", reference["doi"])
    [paper] = CITATION["references"]
    assert (paper["doi"], paper["year"], paper["authors"][0]["family-names"]) == (
        "10.3389/fphys.2022.957484", 2022, "Gupta"
    )  # fmt: skip


def test_the_release_notes_know_the_version_or_are_unreleased():
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] in ("Unreleased", cryoreg.__version__)
