"""`edgecls export`."""
def export() -> None:
    pass
