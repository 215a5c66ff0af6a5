"""What all tests share: steady hypothesis runs, daemons that do not outlive the tests."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline: machines are noisy. Derandomised: a red run can be run again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

os.environ.setdefault("LUSIFER_DAEMON_IDLE_SECONDS", "5")
