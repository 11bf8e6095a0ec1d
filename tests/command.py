"""The command line, called in this process."""

from cgdft.cli import main


def run(capsys, *arguments):
    code = main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def error(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("cgdft: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err
