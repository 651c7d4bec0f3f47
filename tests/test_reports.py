"""What reports say, figure by figure, about profiles written by hand."""

import csv
import io
import json

import pytest
from made_up import profile, timing

from edgecls import reports
from edgecls.errors import UnknownName
from edgecls.reports.render import light_to_heavy

LIGHT = profile("tinynet", ms=2.0, megabytes=14.0)
LIGHT_INT8 = profile("tinynet", precision="int8", ms=1.0, megabytes=3.5)
HEAVY = profile("bignet", ms=80.0, megabytes=100.0, macs=4_000_000_000, params=25_000_000, tier="heavy")
HEAVY_INT8 = profile(
    "bignet", precision="int8", ms=10.0, megabytes=25.0, macs=4_000_000_000, params=25_000_000, tier="heavy"
)


def test_the_table_groups_models_and_shows_every_figure():
    assert reports.render([HEAVY, LIGHT_INT8, LIGHT], "table") == (
        "model    tier   params M   MMACs  runtime  precision  size MB  median ms  p90 ms  GMAC/s  peak MB\n"
        "tinynet  light      3.50   300.0  litert   fp32         14.00       2.00    2.00   150.0       60\n"
        "                                  litert   int8          3.50       1.00    1.00   300.0       60\n"
        "bignet   heavy     25.00  4000.0  litert   fp32        100.00      80.00   80.00    50.0       60\n"
        "\n"
        "1 MAC = 2 FLOPs; peak MB is the whole process, Python and the runtime included\n"
        "int8 against fp32: 2.00x faster, files 4.00x smaller\n"
        "heavy against light: 13.3x the MACs take 40.0x the time "
        "(fastest 1.00 ms, tinynet int8 on litert; slowest 80.00 ms, bignet fp32 on litert)\n"
    )


def test_the_table_marks_what_is_untrained_noisy_failed_and_uncounted():
    profiles = [
        profile("tinynet", trained=False),
        profile("tinynet", runtime="ort", trained=False, error="ort refuses it"),
        profile("foreign", macs=None, tier=None, trained=None, busy_cores=3.5),
    ]
    assert reports.render(profiles, "table") == (
        "model       tier   params M  MMACs  runtime  precision  size MB  median ms     p90 ms  GMAC/s  peak MB\n"
        "tinynet  *  light      3.50  300.0  litert   fp32          4.00       2.00       2.00   150.0       60\n"
        "         *                          ort      fp32          4.00     failed          -       -        -\n"
        "foreign     -             -      -  litert   fp32          4.00       2.00  ~    2.00       -       60\n"
        "\n"
        "failed: tinynet fp32 on ort: ort refuses it\n"
        "* untrained: sizes and times are those of a trained model, answers are not\n"
        "~ the machine was not quiet: measure again before comparing\n"
        "1 MAC = 2 FLOPs; peak MB is the whole process, Python and the runtime included\n"
    )


def test_a_model_whose_files_are_counted_differently_shows_both_counts():
    table = reports.render([LIGHT, profile("tinynet", runtime="ort", macs=299_000_000)], "table")
    assert "300.0  litert" in table and "299.0  ort" in table


def test_styles_are_for_terminals_alone():
    assert "\x1b[1m" in reports.render([LIGHT], "table", styled=True)
    assert "\x1b" not in reports.render([LIGHT], "table")


def test_markdown():
    assert reports.render([profile("tiny|net", ms=2.0)], "md") == (
        "| model | tier | params M | MMACs | runtime | precision | size MB | median ms | p90 ms | GMAC/s | peak MB |\n"
        "| --- | --- | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| tiny\\|net | light | 3.50 | 300.0 | litert | fp32 | 4.00 | 2.00 | 2.00 | 150.0 | 60 |\n"
        "\n"
        "- 1 MAC = 2 FLOPs; peak MB is the whole process, Python and the runtime included\n"
    )


def test_csv_holds_every_figure_unrounded():
    busy = profile("tinynet", timing=timing([1.0, 2.0, 4.0]), busy_cores=3.5, notes=("first", "second"))
    lines = list(csv.DictReader(io.StringIO(reports.render([HEAVY, busy], "csv"))))
    assert [line["model"] for line in lines] == ["tinynet", "bignet"]
    assert (
        lines[0]["median_ms"] == "2.0"
        and lines[0]["p90_ms"] == "3.6"
        and lines[0]["mean_ms"] == "2.3333333333333335"
    )
    assert lines[0]["bytes"] == "4000000" and lines[0]["base_memory"] == "40000000"
    assert lines[0]["notes"] == "first; second" and lines[0]["untrained"] == "False"
    assert lines[0]["warnings"].startswith("other work kept 3.5 of 4 cores busy; ")
    assert lines[1]["warnings"] == lines[1]["error"] == lines[1]["nodes"] == ""
    assert "samples_ms" not in lines[0]


def test_json_holds_the_samples_too():
    failed = profile("tinynet", runtime="ort", error="no")
    first, second = json.loads(reports.render([failed, profile(timing=timing([1.0, 2.0]))], "json"))
    assert first["samples_ms"] == [1.0, 2.0] and first["median_ms"] == 1.5
    assert (
        first["settings"]["runs"] == 50
        and first["machine"]["features"] == ["avx2"]
        and first["ops"] == {"CONV_2D": 1}
    )
    assert second["error"] == "no" and second["median_ms"] is None and second["samples_ms"] is None


def test_no_column_is_defined_twice_and_every_report_has_the_same_figures():
    names = [column.name for column in reports.COLUMNS]
    assert len(names) == len(set(names))
    (record,) = json.loads(reports.render([LIGHT], "json"))
    assert list(record) == names
    header = reports.render([LIGHT], "csv").splitlines()[0].split(",")
    assert header == [column.name for column in reports.COLUMNS if not column.nested]


def test_order_is_light_to_heavy_and_keeps_a_model_together():
    uncounted = profile("unknown", macs=None)
    half_counted = profile("tinynet", runtime="ort", macs=None)
    ordered = light_to_heavy([uncounted, HEAVY_INT8, HEAVY, half_counted, LIGHT_INT8, LIGHT])
    assert ordered == [LIGHT, LIGHT_INT8, half_counted, HEAVY, HEAVY_INT8, uncounted]


def test_an_unknown_format_is_named():
    with pytest.raises(UnknownName, match="unknown report format 'jsn'; did you mean json?"):
        reports.render([], "jsn")


def test_what_int8_bought_is_a_geometric_mean_with_its_ends_named():
    slower = profile("oddnet", precision="int8", ms=4.0, megabytes=2.0)
    (line, *_) = reports.summary_lines(
        [LIGHT, LIGHT_INT8, HEAVY, HEAVY_INT8, profile("oddnet", ms=2.0), slower]
    )
    # Speed-ups 2, 8 and 1/2: the cube root of 8. Sizes 4, 4 and 2: the cube root of 32.
    assert line == (
        "int8 against fp32: 2.00x faster, files 3.17x smaller "
        "(geometric mean of 3; best 8.00x faster, bignet on litert; worst 2.00x slower, oddnet on litert)"
    )


def test_light_against_heavy_compares_within_a_runtime_and_precision():
    only_light = profile("tinynet", runtime="ort", ms=1000.0)
    lines = reports.summary_lines([LIGHT, LIGHT_INT8, HEAVY, HEAVY_INT8, only_light])
    # fp32 40x, int8 10x: their geometric mean.
    assert lines[1] == (
        "heavy against light: 13.3x the MACs take 20.0x the time "
        "(fastest 1.00 ms, tinynet int8 on litert; slowest 1000.00 ms, tinynet fp32 on ort)"
    )


def test_which_runtime_won_per_precision_on_the_models_both_ran():
    profiles = [
        LIGHT,
        HEAVY,
        LIGHT_INT8,
        profile("tinynet", runtime="ort", ms=1.0),
        profile("bignet", runtime="ort", ms=160.0 / 9, tier="heavy"),
        profile("tinynet", runtime="ort", precision="int8", ms=1.01),
        profile("othernet", runtime="ort", precision="int8", ms=500.0),
    ]
    assert reports.summary_lines(profiles)[-1] == (
        "ort is 3.00x faster than litert at fp32 (ort ahead on 2 of 2); "
        "litert and ort are level at int8 (litert ahead on 1 of 1)"
    )


@pytest.mark.parametrize(
    "profiles",
    [
        [],
        [LIGHT],
        [LIGHT_INT8, HEAVY],
        [
            LIGHT,
            profile("tinynet", precision="int8", error="no"),
            profile("tinynet", runtime="ort", error="no"),
        ],
        [LIGHT, profile("othernet", runtime="ort")],
    ],
)
def test_nothing_to_compare_says_nothing(profiles):
    assert reports.summary_lines(profiles) == []
