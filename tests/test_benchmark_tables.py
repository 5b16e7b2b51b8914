import io
import math

import pandas as pd
import pytest
from scipy import stats

from cryoreg.benchmark.tables import (
    PaperFigure,
    Score,
    paired,
    per_class_markdown,
    summarise,
    text_of,
    text_rows,
    to_csv,
    to_latex,
    to_markdown,
    welch,
)

RANDOM = [0.50, 0.54, 0.52]
MOCO = [0.60, 0.61, 0.68]


def score(start, seed, accuracy, labels="25 %", setting="strong", data="a"):
    return Score(data, "rb3d", setting, start, labels, seed, {"accuracy": accuracy}, {"x": accuracy, "y": 0.0})


@pytest.fixture
def scores():
    runs = [score("random", seed, accuracy) for seed, accuracy in enumerate(RANDOM)]
    runs += [score("moco", seed, accuracy) for seed, accuracy in enumerate(MOCO)]
    return [*runs, score("moco", 0, 0.9, "100 %")]


def cell(table, start, labels="25 %"):
    return next(value for (row, column), value in table.cells.items() if (row.start, column) == (start, labels))


def test_mean_sd_gain_and_t_test_by_hand(scores):
    table = summarise(scores, paper=[PaperFigure("a", "strong", "moco", "25 %", 27.5)])
    moco, random = cell(table, "moco"), cell(table, "random")
    assert (moco.n, moco.mean, moco.difference, moco.paper) == (3, pytest.approx(63), pytest.approx(11), 27.5)
    assert moco.sd == pytest.approx(math.sqrt((9 + 4 + 25) / 2))
    assert random.sd == pytest.approx(2)
    assert (random.difference, random.p, random.paper) == (None, None, None)
    assert moco.p == pytest.approx(stats.ttest_ind(MOCO, RANDOM, equal_var=False).pvalue)
    single = cell(table, "moco", "100 %")
    assert (single.n, single.sd, single.difference, single.p) == (1, None, None, None)


def test_welch_from_its_formula():
    a, b = [1.0, 2.0, 4.0, 5.0], [6.0, 7.0, 9.0]
    means, variances = (3, 22 / 3), (10 / 3, 7 / 3)
    squared = variances[0] / 4 + variances[1] / 3
    freedom = squared**2 / ((variances[0] / 4) ** 2 / 3 + (variances[1] / 3) ** 2 / 2)
    expected = 2 * stats.t.sf(abs(means[0] - means[1]) / math.sqrt(squared), freedom)
    assert welch(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(("one", "other"), [([1.0], [2.0, 3.0]), ([1.0, 2.0], [3.0]), ([1.0, 1.0], [2.0, 2.0])])
def test_no_p_value_where_there_is_no_test(one, other):
    assert welch(one, other) is None


def test_paired_runs_are_matched_by_seed():
    moco = [(2, 68.0), (0, 60.0), (1, 61.0)]
    random = [(0, 50.0), (1, 54.0), (2, 52.0)]
    expected = stats.ttest_rel([60, 61, 68], [50, 54, 52]).pvalue
    assert paired(moco, random) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([(0, 1.0), (1, 2.0)], [(0, 3.0), (2, 5.0)]),
        ([(0, 1.0)], [(0, 3.0)]),
        ([(0, 1.0), (0, 2.0)], [(0, 3.0), (0, 5.0)]),
        ([(0, 1.0), (1, 2.0)], [(0, 3.0), (1, 4.0)]),
        ([(0, 1.0), (1, 2.0)], []),
    ],
    ids=["other seeds", "single", "a seed twice", "all differ alike", "no random"],
)
@pytest.mark.filterwarnings("error")
def test_no_paired_p_value_where_there_is_no_test(one, other):
    assert paired(one, other) is None


def test_runs_without_the_figure_leave_the_cell_empty(scores):
    extra = Score("a", "rb3d", "strong", "moco", "50 %", 0, {"accuracy": 0.7, "macro_f1": 0.6})
    table = summarise([*scores, extra], "macro_f1")
    assert text_rows(table) == [["start", "n", "50 %"], ["moco", "1", "60.0"]]


@pytest.mark.filterwarnings("error")
def test_equal_runs_on_one_side_do_not_warn():
    p = welch([0.1 + 0.2, 0.3, 0.3], [1.0, 2.0, 3.0])
    assert p == pytest.approx(stats.ttest_1samp([1.0, 2.0, 3.0], 0.3).pvalue)


def test_stars_stand_for_p():
    far = [score("random", seed, value) for seed, value in enumerate((0.1, 0.11, 0.12))]
    far += [score("moco", seed, value) for seed, value in enumerate((0.8, 0.81, 0.82))]
    assert "(+70.0**)" in text_of(cell(summarise(far), "moco"))


def test_only_the_same_setting_and_labels_are_compared(scores):
    other = [score("random", seed, 0.1, setting="paper") for seed in range(3)]
    assert cell(summarise([*scores, *other]), "moco").difference == pytest.approx(11)


def test_markdown(scores):
    text = to_markdown(summarise(scores, paper=[PaperFigure("a", "strong", "moco", "25 %", 27.5)]))
    lines = text.splitlines()
    assert lines[0] == "data: a, encoder: rb3d, setting: strong"
    rows = [[each.strip() for each in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert rows[0] == ["start", "n", "25 %", "100 %"]
    p = stats.ttest_ind(MOCO, RANDOM, equal_var=False).pvalue
    stars = "**" if p < 0.01 else "*" if p < 0.05 else ""
    assert rows[2:] == [
        ["random", "3", "52.0 ± 2.0", "–"],
        ["moco", "1–3", f"63.0 ± 4.4 (+11.0{stars}) [27.5, +35.5]", "90.0"],
    ]
    assert len({len(line) for line in lines if line.startswith("|")}) == 1
    assert "Welch" in lines[-1]
    assert "a single run has neither ± nor test" in lines[-1]


def test_csv_is_read_back(scores):
    table = summarise(scores, paper=[PaperFigure("a", "strong", "moco", "25 %", 27.5)])
    read = pd.read_csv(io.StringIO(to_csv([table])))
    row = read[(read.start == "moco") & (read.labels == "25 %")].iloc[0]
    assert (row["n"], row["mean"], row["figure"]) == (3, pytest.approx(63), "accuracy")
    assert row["p"] == pytest.approx(cell(table, "moco").p, rel=1e-5)
    assert (row["paper_mean"], row["paper_difference"]) == (27.5, pytest.approx(35.5))
    assert row["p_paired"] == pytest.approx(stats.ttest_rel(MOCO, RANDOM).pvalue, rel=1e-5)
    assert read[read.start == "random"][["p", "p_paired", "paper_mean"]].isna().all().all()
    assert len(read) == 3


def test_the_paper_s_spread_is_told_where_it_is_known(scores):
    rows = [("moco", 27.5, 1.3), ("random", 12.9, None)]
    figures = [PaperFigure("a", "strong", start, "25 %", *quoted) for start, *quoted in rows]
    table = summarise(scores, paper=figures)
    assert text_of(cell(table, "moco")).endswith("[27.5 ± 1.3, +35.5]")
    assert text_of(cell(table, "random")) == "52.0 ± 2.0 [12.9, +39.1]"
    assert "[the paper's accuracy ± its standard deviation, ours minus that]" in to_markdown(table)
    read = pd.read_csv(io.StringIO(to_csv([table])))
    assert read[read.labels == "25 %"].set_index("start")["paper_sd"]["moco"] == 1.3
    assert read[read.start == "random"]["paper_sd"].isna().all()


def test_latex_escapes():
    text = to_latex(summarise([Score("SNR_0.05 & 3%", "rb3d", "s", "random", "25 %", 0, {"accuracy": 0.5})]))
    assert r"SNR\_0.05 \& 3\% & rb3d & s & random & 1 & 50.0 \\" in text
    assert text.startswith(r"\begin{tabular}{llllrr}")
    assert r"\toprule" in text


def test_latex_rows_may_begin_with_a_bracket():
    text = to_latex(summarise([Score("[a]", "rb3d", "x < y", "random", "25 %", 0, {"accuracy": 0.5})]))
    assert r"{[}a] & rb3d & x \textless{} y &" in text


def test_per_class():
    rows = per_class_markdown([score("random", 0, 0.2), score("random", 1, 0.4)]).splitlines()
    assert [each.strip() for each in rows[2].strip("|").split("|")][-2:] == ["30", "0"]


def test_an_empty_table_is_no_error():
    assert "no runs" in to_markdown(summarise([]))


def test_runs_that_do_not_differ_are_not_said_to_be_certain():
    """Three runs of 100 % say no more of the next data than one: no ± 0.0."""
    table = summarise([score("random", seed, 1.0) for seed in range(3)])
    text = to_markdown(table)
    assert text_of(cell(table, "random")) == "100.0"
    assert "± 0.0" not in text
    assert "runs that do not differ have no ±" in text
    assert "runs that do not differ" not in to_markdown(summarise([score("random", 0, 1.0)]))
