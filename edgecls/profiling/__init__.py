"""How fast a model file runs and what that takes: measured in a child process, kept in full."""

from edgecls.profiling.record import Condition, Device, Profile, Settings, Statistics, Subject, Timing
from edgecls.profiling.run import describe, precision, profile_file

__all__ = [
    "Condition",
    "Device",
    "Profile",
    "Settings",
    "Statistics",
    "Subject",
    "Timing",
    "describe",
    "precision",
    "profile_file",
]
