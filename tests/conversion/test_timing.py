"""The times of several files."""

from deeplab.conversion.timing import interleaved_milliseconds, median_milliseconds


def test_every_file_has_a_time_in_every_round(workshop):
    contents = {"a": workshop.bare("int8"), "b": workshop.bare("int8")}
    times = interleaved_milliseconds(contents, rounds=4)
    assert {name: values.shape for name, values in times.items()} == {"a": (4,), "b": (4,)}
    assert all((values > 0).all() for values in times.values())


def test_the_median_is_over_the_rounds_of_each_file(workshop, monkeypatch):
    ticks = iter([0.0, 1.0, 0.0, 1.0, 0.0, 0.002, 0.0, 0.004, 0.0, 0.006, 0.0, 0.008, 0.0, 0.001, 0.0, 0.001])
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    # The first pair of times is the warm-up; then a and b alternate: 2 and 4, 6 and 8, 1 and 1 ms.
    times = median_milliseconds({"a": workshop.bare("int8"), "b": workshop.bare("int8")}, rounds=3)
    assert {name: round(value, 6) for name, value in times.items()} == {"a": 2.0, "b": 4.0}


def test_a_clock_can_be_given(workshop):
    ticks = iter([0.0, 9.0, 0.0, 0.002, 0.0, 0.005])
    times = interleaved_milliseconds({"a": workshop.bare("int8")}, rounds=2, clock=lambda: next(ticks))
    assert times["a"].round(6).tolist() == [2.0, 5.0]
