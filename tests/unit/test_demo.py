"""The demo's command line: what it refuses, and what it leaves alone."""

import pytest

from tools import demo


@pytest.fixture
def run(monkeypatch):
    """Runs the demo with arguments up to the point at which it would start the server."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["demo", *arguments])
        return demo.main()

    monkeypatch.setattr(demo.signal, "signal", lambda *_: None)
    return run


def test_a_missing_example_is_named(run, caplog, tmp_path):
    assert run("--example", str(tmp_path / "bird"), "--output", str(tmp_path / "out")) == 1
    assert f"{tmp_path / 'bird.glb'} is missing; choose an example with --example." in caplog.text
    assert not (tmp_path / "out").exists()


def test_an_unreadable_video_is_named(run, caplog, tmp_path):
    for name in ("bird.glb", "bird.mp4", "bird_truth.npz"):
        (tmp_path / name).write_text("nothing")
    assert run("--example", str(tmp_path / "bird"), "--output", str(tmp_path / "out")) == 1
    assert f"{tmp_path / 'bird.mp4'} is not a readable video" in caplog.text


def test_an_output_that_cannot_be_a_folder_is_named(run, caplog, tmp_path):
    (tmp_path / "out").write_text("a file")
    assert run("--output", str(tmp_path / "out")) == 1
    assert str(tmp_path / "out") in caplog.text


@pytest.mark.parametrize("size", ["0", "-5", "100000"])
def test_a_size_that_no_picture_has_is_refused(run, capsys, size):
    with pytest.raises(SystemExit):
        run("--size", size)
    assert "choose 64 to 2048" in capsys.readouterr().err


def test_only_what_an_earlier_run_wrote_is_removed(tmp_path):
    for name in (demo.LOG, "report.json", "demo.blend", "thesis.txt"):
        (tmp_path / name).write_text("...")
    demo.clear(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_looks_like_a_demo_but_is_none_stays(tmp_path):
    (tmp_path / "report.json").write_text("of gvf animate")
    with pytest.raises(demo.DemoError, match=r"holds report\.json, but not from a demo"):
        demo.clear(tmp_path)
    assert (tmp_path / "report.json").exists()
