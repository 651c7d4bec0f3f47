"""Phones: found and written to through `adb`, and measured on by a benchmark tool that runs there."""
