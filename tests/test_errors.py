from deeplab.errors import UserError, did_you_mean


def test_the_line_is_subject_problem_remedy():
    error = UserError("file.png", "is cut off", "copy it again")
    assert str(error) == "file.png: is cut off; copy it again"
    assert str(UserError("key", "unknown")) == "key: unknown"


def test_separators_in_a_file_name_stay_in_the_subject():
    error = UserError("a; b: c.png", "no such file", "check the path")
    assert (error.subject, error.problem, error.remedy) == ("a; b: c.png", "no such file", "check the path")


def test_line_breaks_are_joined_and_spaces_in_names_are_kept():
    error = UserError("two  spaces.png", "first line\n   second line", "")
    assert str(error) == "two  spaces.png: first line second line"


def test_a_problem_can_be_reported_about_another_subject():
    error = UserError("the model", "damaged", "copy it again").about("m.tflite")
    assert str(error) == "m.tflite: damaged; copy it again"


def test_a_long_value_loses_its_middle():
    line = str(UserError("steps", f"expected an integer, got {'1' * 5000}.", "correct it"))
    assert line.startswith("steps: expected an integer, got 111")
    assert line.endswith("1.; correct it")
    assert len(line) < 800


def test_a_similar_name_is_suggested():
    assert did_you_mean("offical", ["imagenet", "official"], "use another") == "did you mean 'official'?"
    assert did_you_mean("weights", ["imagenet", "official"], "use another") == "use another"
    assert did_you_mean("offical", ["official"], "use another", shown=str.upper) == "did you mean OFFICIAL?"
    # 2 * 8 equal characters of 8 + 11: a similarity of 0.84.
    assert did_you_mean("my_official", ["official"], "use another", 0.85) == "use another"
