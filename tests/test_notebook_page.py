"""docs/notebook.md, cell by cell; the runner of cells can fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.python_cells import cells_of, run_cells

DOCS = Path(__file__).parents[1] / "docs"
PAGE = """
```python
one = 1
```

```python
print("a")
one + 1
```

```text
a
2
```

```python title="not_a_cell.py"
fail
```
"""


def test_cells_share_their_names_and_what_they_show_is_compared() -> None:
    assert run_cells(PAGE, "page") == [None, 2]
    assert [cell.line for cell in cells_of(PAGE)] == [3, 7]
    with pytest.raises(AssertionError, match="page:7: does not show: 3"):
        run_cells(PAGE.replace("a\n2", "a\n3"), "page")


@pytest.mark.slow
def test_every_cell_of_the_page_runs(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRYOREG_CACHE", str(tmp_path / "cache"))
    values = run_cells((DOCS / "notebook.md").read_text("utf-8"), "notebook.md")
    shown = [value._repr_html_() for value in values if hasattr(value, "_repr_html_")]
    assert len(shown) == 3  # the data set, the run, the table of pandas
    assert all("</table>" in page for page in shown)
