from bigsort.cli import field_key, main


def test_a_field_is_counted_from_one():
    assert field_key(2)("x  y z") == "y"
    assert field_key(2, ",")("x,,z") == ""
    assert field_key(9)("x") == ""
    assert field_key(None)("x y") == "x y"


def test_the_command_sorts_by_a_field(tmp_path):
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_text("1 c\n2 a\n3 b\n")
    assert main([str(source), str(target), "--field", "2", "--run-lines", "1"]) == 0
    assert target.read_text() == "2 a\n3 b\n1 c\n"


def test_a_missing_file_is_reported(tmp_path, capsys):
    assert main([str(tmp_path / "none"), str(tmp_path / "out")]) == 2
    assert "none" in capsys.readouterr().err
