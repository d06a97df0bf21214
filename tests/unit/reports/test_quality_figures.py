"""Numbers, axes and pictures as pages show them."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from biomarkers.reports.figures import Drawing, density_picture, heat_colour, linear_axis, log_axis, number
from biomarkers.reports.page import Parameter, data, flat_parameters, interval_markup, quantity_markup
from biomarkers.results import Interval, Quantity


@given(st.floats(min_value=-1e300, max_value=1e300))
def test_a_printed_number_is_the_number_to_four_digits(value: float) -> None:
    # Half of the last digit; above 10 000 all digits before the point are printed.
    assert float(number(value)) == pytest.approx(value, rel=5.1e-4, abs=0)


@given(st.floats(min_value=-1e6, max_value=1e6), st.floats(min_value=1e-6, max_value=1e6))
def test_a_linear_axis_has_a_few_ticks_and_all_of_them_lie_on_it(low: float, span: float) -> None:
    high = low + span
    axis = linear_axis(low, high, "")
    assert 1 <= len(axis.ticks) <= 12
    slack = 1e-6 * (abs(axis.low) + abs(axis.high) + span)
    assert all(axis.low - slack <= tick.at <= axis.high + slack for tick in axis.ticks)
    assert 0 <= axis.share(low) <= axis.share(high) <= 1


@given(st.floats(min_value=1e-6, max_value=1e6), st.floats(min_value=1.01, max_value=1e6))
def test_a_logarithmic_axis_places_equal_ratios_equally_far_apart(low: float, ratio: float) -> None:
    axis = log_axis(low, low * ratio, "")
    middle = low * math.sqrt(ratio)
    assert axis.share(middle) == pytest.approx(0.5, abs=1e-6)
    assert axis.share(low / 10) == 0
    assert axis.share(0) == 0


def test_a_shown_number_keeps_every_digit_in_its_element_and_a_missing_one_is_a_dash() -> None:
    assert data(12.3456789) == '<data value="12.3456789">12.35</data>'
    assert data(46.875, plain=True) == '<data value="46.875">46.875</data>'
    assert data(None) == '<span class="none">\N{EN DASH}</span>'


def test_a_quantity_shows_comparator_and_unit_as_text_and_a_withheld_one_says_so() -> None:
    shown = quantity_markup(Quantity(value=3.1, unit="<i>pg</i>", comparator="<"))
    assert "&lt;" in shown
    assert "&lt;i&gt;pg&lt;/i&gt;" in shown
    assert "not reported" in quantity_markup(None)


def test_an_open_side_of_an_interval_says_so() -> None:
    assert interval_markup(Interval(lower=1.0, upper=None)).endswith("open")
    assert interval_markup(Interval(lower=None, upper=2.0)).startswith("below")


def test_parameters_are_spread_out_one_a_row_with_lists_named_where_they_have_names() -> None:
    told = flat_parameters('{"a":{"b":1,"c":null},"list":[{"name":"T","x":[1,2]}],"empty":{}}')
    assert told == (
        Parameter(name="a.b", value="1"),
        Parameter(name="a.c", value="null"),
        Parameter(name="list[T].name", value="T"),
        Parameter(name="list[T].x", value="[1, 2]"),
        Parameter(name="empty", value="{}"),
    )
    assert flat_parameters("no json") == (Parameter(name="parameters", value="no json"),)


def test_a_drawing_takes_no_picture_from_elsewhere() -> None:
    with pytest.raises(ValueError, match="holds its pictures itself"):
        Drawing(10, 10, "x").picture((0, 0), (1, 1), "https://example.org/x.png")


def test_texts_of_a_drawing_are_escaped_and_control_characters_replaced() -> None:
    drawing = Drawing(10, 10, "<b>\x00")
    drawing.text((1, 1), "a < b & c\x0b")
    drawing.circle((1, 1), 2, "mark", title='"><script>')
    markup = drawing.markup()
    assert "<b>" not in markup
    assert "<script>" not in markup
    assert "a &lt; b &amp; c\ufffd" in markup


def test_the_heat_scale_darkens_throughout_so_that_it_reads_in_grey() -> None:
    colours = [heat_colour(share) for share in np.linspace(0, 1, 50)]
    lightness = [
        0.2126 * int(colour[1:3], 16) + 0.7152 * int(colour[3:5], 16) + 0.0722 * int(colour[5:7], 16) for colour in colours
    ]
    assert np.all(np.diff(lightness) < 0)
    assert lightness[0] - lightness[-1] > 150


def test_a_density_stands_upright_with_empty_places_white_and_the_densest_darkest() -> None:
    counts = np.zeros((8, 4), dtype=np.int64)
    counts[6, 3] = 50
    counts[0, 0] = 1
    address = density_picture(counts)
    picture = PIL.Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB")
    assert picture.size == (8, 4)
    assert picture.getpixel((3, 2)) == (255, 255, 255)
    darkest = min((sum(picture.getpixel((x, y))), x, y) for x in range(8) for y in range(4))  # type: ignore[arg-type]  # three channels
    # The sixth bin of the first marker to the right, the last of the second at the top.
    assert darkest[1:] == (6, 0)
    assert picture.getpixel((0, 3)) != (255, 255, 255)
