import pytest

from deeplab.training.csv_log import append_row, read_table, start_table


def test_table_keeps_rows_up_to_the_start_and_grows(tmp_path):
    path = tmp_path / "t.csv"
    start_table(path, ("step", "loss"), 0)
    for step in (1, 2, 3):
        append_row(path, [step, step / 2])
    start_table(path, ("step", "loss"), 2)
    append_row(path, [5, 7])
    assert read_table(path) == {"step": [1.0, 2.0, 5.0], "loss": [0.5, 1.0, 7.0]}


def test_incomplete_row_is_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("step,loss\n1,0.5\n2")
    assert read_table(tmp_path / "t.csv") == {"step": [1.0], "loss": [0.5]}
    start_table(tmp_path / "t.csv", ("step", "loss"), 9)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["step,loss", "1,0.5"]
    assert read_table(tmp_path / "missing.csv") == {}


@pytest.mark.parametrize("cut", ["2,", "2,1e-", "2,0.1"])
def test_row_that_was_cut_within_a_number_is_left_out(tmp_path, cut: str):
    (tmp_path / "t.csv").write_text(f"step,loss\n1,0.5\n{cut}")
    assert read_table(tmp_path / "t.csv") == {"step": [1.0], "loss": [0.5]}
    start_table(tmp_path / "t.csv", ("step", "loss"), 9)
    assert (tmp_path / "t.csv").read_text().splitlines() == ["step,loss", "1,0.5"]
