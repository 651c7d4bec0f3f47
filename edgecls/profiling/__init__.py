"""How fast a model file runs and what that takes: measured in a child process, kept in full."""

from edgecls.profiling.record import Profile, Settings, Subject, Timing
from edgecls.profiling.run import describe, precision, profile_file

__all__ = ["Profile", "Settings", "Subject", "Timing", "describe", "precision", "profile_file"]
