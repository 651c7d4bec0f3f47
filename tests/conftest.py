"""What more than one file of tests needs made: one export of a small net from its name, cold."""

import shutil

import command
import pytest


@pytest.fixture(scope="session")
def cold_export(tmp_path_factory):
    """(folder, finished command) of `edgecls export lenet5 --int8 --fp16 --out FOLDER`. Only to be read."""
    folder = tmp_path_factory.mktemp("cold") / "new" / "folder"
    return folder, command.edgecls("export", "lenet5", "--int8", "--fp16", "--out", folder)


@pytest.fixture
def exported(cold_export, tmp_path):
    """A copy of the folder of that export, to be changed."""
    return shutil.copytree(cold_export[0], tmp_path / "artifacts")
