"""Debian 12's own kernel is 6.1: no MDWE, no Landlock TCP rules, perhaps Landlock not enabled. The gateway starts there,
with one line that names what is missing."""
import pytest

import sally
import socks5

WRAPPER = f"{sally.BUILD}/e2e/old_kernel"


@pytest.mark.parametrize("lacks", [["mdwe"], ["landlock"], ["mdwe", "landlock"]])
def test_it_starts_and_says_what_is_missing(gateway, echo, lacks):
    g = gateway(wrapper=[WRAPPER, *lacks, "--"])
    assert socks5.open_session(g.at, "127.0.0.1", echo.port)[1][0] == 0
    said = g.records("sandbox")
    assert len(said) == 1, said
    line = str(said[0])
    for layer in ("mdwe", "landlock"):
        assert (layer in line) == (layer in lacks), line
    assert "seccomp" not in line and "chroot" not in line


def test_with_all_of_it_nothing_is_missing(gateway, echo):
    """The control: the same start on this kernel names neither."""
    g = gateway()
    said = str(g.records("sandbox"))
    assert "mdwe" not in said and "seccomp" not in said


@pytest.mark.parametrize("layer,lack", [("mdwe", "mdwe"), ("landlock", "landlock")])
def test_a_required_layer_that_is_missing_stops_the_start(gateway, layer, lack):
    g = gateway(f"sandbox {layer} require\n" + sally.OPEN, wrapper=[WRAPPER, lack, "--"], ready=False)
    status, err = g.fails_to_start()
    assert status == 1 and layer in err, err
