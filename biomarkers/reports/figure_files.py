"""Study figures as files: one interactive page that needs no network, or SVG and PNG for papers.

Knows two drawing libraries. Must not know what a figure is about. The same figure always gives the same bytes of HTML and SVG.
"""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING, Literal

from biomarkers.reports.study_figures import FigurePanel, Grid, StudyFigure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from plotly.graph_objects import Figure as PlotlyFigure

_SYMBOLS = {"value": "circle", "below": "triangle-down", "above": "triangle-up"}
_MARKERS = {"value": "o", "below": "v", "above": "^"}


def figure_html(figure: StudyFigure) -> bytes:
    """Return one page with the figure, interactive, script and all within it; nothing is fetched from anywhere."""
    drawn = _grid_plotly(figure, figure.grid) if figure.grid is not None else _panels_plotly(figure)
    body = drawn.to_html(
        full_html=False,
        include_plotlyjs=True,
        include_mathjax=False,
        div_id="figure",
        config={"displaylogo": False, "responsive": True, "showSendToCloud": False},
    )
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(figure.title)}</title></head>'
        f'<body style="font-family:system-ui,sans-serif;margin:1.5rem"><h1 style="font-size:1.2rem">{html.escape(figure.title)}'
        f'</h1>{body}<p style="max-width:60rem;color:#445">{html.escape(figure.caption)}</p></body></html>\n'
    )
    return page.encode()


def _panels_plotly(figure: StudyFigure) -> PlotlyFigure:
    from plotly.subplots import make_subplots  # noqa: PLC0415  - heavy, and needed by figures alone

    drawn = make_subplots(
        rows=1,
        cols=max(1, len(figure.panels)),
        shared_yaxes=True,
        subplot_titles=[html.escape(panel.title) for panel in figure.panels],
    )
    for column, panel in enumerate(figure.panels, start=1):
        _panel_plotly(drawn, panel, column)
        told = "<br>".join(html.escape(line) for line in (figure.x_label, panel.n_words) if line)
        drawn.update_xaxes({"title": told}, row=1, col=column)
        if figure.x_ticks is not None:
            names = [html.escape(name) for name in figure.x_ticks.values()]
            drawn.update_xaxes({"tickvals": list(figure.x_ticks), "ticktext": names}, row=1, col=column)
    drawn.update_yaxes({"type": "log" if figure.is_log else "linear"})
    drawn.update_yaxes({"title": html.escape(figure.y_label)}, row=1, col=1)
    drawn.update_layout(template="plotly_white", showlegend=False, height=520)
    return drawn


def _panel_plotly(drawn: PlotlyFigure, panel: FigurePanel, column: int) -> None:
    for line in panel.lines:
        drawn.add_scatter(
            x=[point.x for point in line.points],
            y=[point.y for point in line.points],
            mode="lines+markers",
            name=html.escape(line.name),
            text=[html.escape(point.words) for point in line.points],
            hoverinfo="text",
            line={"color": panel.colour, "width": 1.2},
            marker={"symbol": [_SYMBOLS[point.mark] for point in line.points], "size": 8, "color": panel.colour},
            row=1,
            col=column,
        )
    low, high = _reach(panel)
    for bar in panel.bars:
        bottom, top = low if bar.low is None else bar.low, high if bar.high is None else bar.high
        drawn.add_bar(
            x=[bar.x],
            y=[top - bottom],
            base=[bottom],
            marker={"color": panel.colour, "opacity": 0.35 if bar.is_bound else 0.9},
            text=html.escape(bar.words),
            textposition="none",
            hoverinfo="text",
            row=1,
            col=column,
        )
    for level in panel.levels:
        drawn.add_hline(
            y=level.y, line={"dash": "dot", "color": "#889"}, annotation_text=html.escape(level.name), row=1, col=column
        )


def _reach(panel: FigurePanel) -> tuple[float, float]:
    """Return how far bars with an open end are drawn."""
    ends = [end for bar in panel.bars for end in (bar.low, bar.high) if end is not None] or [0.0]
    margin = 0.1 * ((max(ends) - min(ends)) or 1.0)
    return min(ends) - margin, max(ends) + margin


def _grid_plotly(figure: StudyFigure, grid: Grid) -> PlotlyFigure:
    from plotly.graph_objects import Figure  # noqa: PLC0415  - heavy, and needed by figures alone

    colours = sorted({colour for line in grid.colours for colour in line if colour})
    place = {colour: at for at, colour in enumerate(colours)}
    last = max(1, len(colours) - 1)
    drawn = Figure()
    drawn.add_heatmap(
        z=[[place[colour] if colour else None for colour in line] for line in grid.colours],
        x=[html.escape(name) for name in grid.columns],
        y=[html.escape(name) for name in grid.rows],
        text=[[html.escape(words) for words in line] for line in grid.words],
        hoverinfo="text",
        colorscale=[[at / last, colour] for at, colour in enumerate(colours)]
        if len(colours) > 1
        else [[0, "#ccc"], [1, "#ccc"]],
        zmin=0,
        zmax=last,
        xgap=1,
        ygap=1,
        showscale=False,
    )
    for name, colour in grid.legend.items():
        drawn.add_scatter(
            x=[None], y=[None], mode="markers", name=html.escape(name), marker={"color": colour, "symbol": "square", "size": 12}
        )
    drawn.update_yaxes({"autorange": "reversed"})
    height = 180 + 22 * len(grid.rows)
    drawn.update_layout(template="plotly_white", height=height, title=html.escape(figure.y_label))
    return drawn


def figure_picture(figure: StudyFigure, picture_format: Literal["svg", "png"]) -> bytes:
    """Return the figure as SVG, with its words as text, or as PNG of 200 dots an inch."""
    import matplotlib as mpl  # noqa: PLC0415  - heavy, and needed by figures alone
    from matplotlib.figure import Figure  # noqa: PLC0415  - as above

    # A fixed salt and no date: the same figure gives the same bytes.
    with mpl.rc_context({"svg.hashsalt": "biomarkers", "svg.fonttype": "none", "font.size": 9}):
        grid = figure.grid
        columns = max(1, len(figure.panels))
        size = (5.2 * columns + 0.8, 4.6) if grid is None else (2.6 + 0.42 * len(grid.columns), 1.8 + 0.24 * len(grid.rows))
        drawn = Figure(figsize=(max(5.5, size[0]), max(3.5, size[1])), layout="constrained")
        axes = drawn.subplots(1, columns, sharey=True, squeeze=False)[0]
        if grid is not None:
            _grid_axes(axes[0], grid)
        for place, panel in zip(axes, figure.panels, strict=False):
            _panel_axes(place, panel, figure)
        if grid is None:
            axes[0].set_ylabel(_literal(figure.y_label))
        drawn.suptitle(_literal(figure.title))
        drawn.supxlabel(_literal(_wrapped(figure.caption, int(22 * max(5.5, size[0])))), fontsize=7)
        buffer = io.BytesIO()
        drawn.savefig(
            buffer, format=picture_format, dpi=200, metadata={"Date": None} if picture_format == "svg" else {"Software": None}
        )
    return buffer.getvalue()


def _panel_axes(axes: Axes, panel: FigurePanel, figure: StudyFigure) -> None:
    for line in panel.lines:
        axes.plot([point.x for point in line.points], [point.y for point in line.points], color=panel.colour, lw=0.8)
        for point in line.points:
            filled = panel.colour if point.mark == "value" else "white"
            axes.plot(point.x, point.y, _MARKERS[point.mark], color=panel.colour, markerfacecolor=filled, markersize=4)
    low, high = _reach(panel)
    for bar in panel.bars:
        bottom, top = low if bar.low is None else bar.low, high if bar.high is None else bar.high
        axes.bar(bar.x, top - bottom, bottom=bottom, color=panel.colour, alpha=0.35 if bar.is_bound else 0.9)
    for level in panel.levels:
        axes.axhline(level.y, color="#889", lw=0.8, ls=":")
        axes.annotate(
            _literal(level.name), (1.0, level.y), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7
        )
    if figure.is_log:
        axes.set_yscale("log")
    axes.set_title(_literal(panel.title))
    axes.set_xlabel(_literal("\n".join(line for line in (figure.x_label, panel.n_words) if line)))
    if figure.x_ticks is not None:
        axes.set_xticks(list(figure.x_ticks), [_literal(name) for name in figure.x_ticks.values()])
        axes.set_xlim(-0.3, len(figure.x_ticks) - 0.7)


def _grid_axes(axes: Axes, grid: Grid) -> None:
    from matplotlib.patches import Patch, Rectangle  # noqa: PLC0415  - heavy, and needed by figures alone

    for row, line in enumerate(grid.colours):
        for column, colour in enumerate(line):
            if colour:
                axes.add_patch(Rectangle((column - 0.5, row - 0.5), 0.94, 0.94, facecolor=colour, edgecolor="#d5dbe0", lw=0.3))
            if grid.shown[row][column]:
                axes.text(column, row, grid.shown[row][column], ha="center", va="center", fontsize=6)
    axes.set_xlim(-0.6, len(grid.columns) - 0.4)
    axes.set_ylim(len(grid.rows) - 0.4, -0.6)
    axes.set_xticks(range(len(grid.columns)), [_literal(name) for name in grid.columns], rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(grid.rows)), [_literal(name) for name in grid.rows], fontsize=7)
    legend = [Patch(facecolor=colour, edgecolor="#d5dbe0", label=_literal(name)) for name, colour in grid.legend.items()]
    axes.legend(handles=legend, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7, frameon=False)


def _literal(words: str) -> str:
    """Keep dollar signs from being taken for mathematics."""
    return words.replace("$", r"\$")


def _wrapped(words: str, width: int) -> str:
    lines, line = [], ""
    for word in words.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return "\n".join([*lines, line])
