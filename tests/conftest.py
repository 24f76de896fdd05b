"""Hypothesis profiles: few examples while working, more in `make test`, many in `make prove`."""

import os

from hypothesis import HealthCheck, settings

_common = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("check", max_examples=50, **_common)
settings.register_profile("test", max_examples=200, **_common)
settings.register_profile("prove", max_examples=10_000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "check"))
