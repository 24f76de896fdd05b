"""Hypothesis profiles: few examples while working, more in `make test`, many in `make prove`."""

import os

from hypothesis import HealthCheck, settings

_common = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("check", _common, max_examples=20)
settings.register_profile("test", _common, max_examples=50)
settings.register_profile("prove", _common, max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
