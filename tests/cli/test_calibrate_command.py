"""What `swarm calibrate` refuses before it loads a server."""

import pytest

from swarm.cli.calibrate import calibrate
from swarm.errors import BackendError, UsageError


def test_a_target_goes_with_a_run_and_a_model_with_a_server():
    with pytest.raises(UsageError, match="--target: goes with a run"):
        calibrate("http://127.0.0.1:9", target="it")
    with pytest.raises(UsageError, match="go with a server's address"):
        calibrate("runs/mine", model="it")


def test_a_public_server_is_not_loaded_without_a_yes():
    with pytest.raises(UsageError, match=r"8\.8\.8\.8: not on this machine or network"):
        calibrate("http://8.8.8.8/v1", yes=False)


def test_a_server_that_is_not_there_is_told():
    with pytest.raises(BackendError, match=r"127\.0\.0\.1:9"):
        calibrate("http://127.0.0.1:9/v1")
