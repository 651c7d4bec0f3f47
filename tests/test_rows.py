"""Every row of the zoo builds, and has the parameters and MACs that it declares and its source has."""

import dataclasses
import gc
import json
import re
import weakref
from pathlib import Path

import keras
import pytest

from edgecls import builder, layers, registry
from edgecls.errors import UsageError

#: Counted in each source's own implementation; written by scripts/reference_counts.
REFERENCE = json.loads((Path(__file__).parent / "reference_counts.json").read_text())

#: The cheapest row of each source that one function builds.
CHEAPEST = {
    (row.build, row.source): row for row in sorted(registry.rows(), key=lambda row: row.macs, reverse=True)
}


def shapes_only(row, **changed):
    """The model of `row` without a value in any variable: seconds for the whole zoo, not minutes."""
    with keras.StatelessScope(initialize_variables=False):
        model = builder.assemble(row, **changed)
    # Or Keras keeps the variables of every such model, and gives all of them values, 20 GB, when next
    # it traces a layer.
    keras.utils.clear_session(free_memory=False)
    return model


def check_counts(row):
    assert layers.count(shapes_only(row)) == (row.params, row.macs)
    reference = REFERENCE[row.key]
    assert (reference["params"], reference["macs"]) == (row.params, row.macs)


@pytest.mark.parametrize("row", registry.rows(), ids=lambda row: row.key)
def test_row_costs_what_it_declares_and_what_its_source_costs(row):
    check_counts(row)


@pytest.mark.parametrize("row", CHEAPEST.values(), ids=lambda row: row.key)
def test_row_builds_at_its_smallest_input_with_other_classes(row):
    model = shapes_only(row, input_size=row.min_input_size, classes=7)
    assert model.output_shape == (None, 7)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("resnet50", 31, "--input-size of resnet50.keras must be at least 32, got 31"),
        ("alexnet", 62, "--input-size of alexnet.torchvision must be at least 63 (the last max pool needs 3x3"),
        ("vit_tiny_patch16", 225, "--input-size of vit_tiny_patch16.timm must be a multiple of 16 (it is cut"),
        ("coatnet_0", 200, "--input-size of coatnet_0.timm must be a multiple of 32 (it is halved five times,"),
    ],
)
def test_sizes_that_cannot_work_are_refused_with_the_reason(name, size, reason):
    row = registry.get(name)
    with pytest.raises(UsageError, match=f"^{re.escape(reason)}"):
        builder.check_sizes(row, classes=7, input_size=size)


@pytest.mark.parametrize(("name", "size"), [("alexnet", 62), ("alexnet_2012", 66), ("coatnet_0", 33)])
def test_a_size_that_is_refused_for_its_shape_does_not_build(name, size):
    row = dataclasses.replace(registry.get(name), min_input_size=1, size_step=1)
    with pytest.raises(ValueError, match="(?i)negative|incompatible shapes"):
        shapes_only(row, input_size=size)


def test_every_reference_count_belongs_to_a_row():
    assert set(REFERENCE) == {row.key for row in registry.rows()}


def test_nothing_is_left_of_a_model_that_was_counted():
    variable = weakref.ref(shapes_only(registry.get("lenet5")).variables[0])
    gc.collect()
    assert variable() is None


@pytest.mark.parametrize("field", ["params", "macs"])
def test_a_wrong_count_is_noticed(field):
    row = registry.get("mobilenet_v2")
    with pytest.raises(AssertionError):
        check_counts(dataclasses.replace(row, **{field: getattr(row, field) + 1}))
