"""Findings as SVG, to stand within a page: text stays text, and takes the page's colour.

matplotlib is imported here alone, and only when something is drawn. The same findings give the
same bytes.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from eval.study.blocks import Confusion, Costs, Drawn, Forgetting, Intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, _FAINT = "#010203", "#040506"
_MARK, _SECOND = "#3b76af", "#c77429"
_WIDTH: Final = 7.6
_ROW: Final = 0.3
_SETTINGS: Final[dict[str, Any]] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _FAINT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def drawn(what: Drawn, number: int) -> str:
    """One SVG element; `number` keeps its names apart from those of others on the page."""
    if isinstance(what, Intervals):
        return _intervals(what, number)
    if isinstance(what, Costs):
        return _costs(what, number)
    if isinstance(what, Confusion):
        return _confusion(what, number)
    return _forgetting(what, number)


def _intervals(what: Intervals, number: int) -> str:
    with _figure(number, 0.9 + _ROW * len(what.spans)) as (figure, axes):
        for place, span in enumerate(reversed(what.spans)):
            axes.plot((span.low, span.high), (place, place), color=_MARK, linewidth=2)
            axes.plot(span.value, place, "o", color=_MARK, markersize=5)
            value = round(span.value, 2) + 0.0  # no "-0.00"
            told = f"{value:+.2f}" if what.zero else f"{value:.2f}"
            axes.annotate(
                told, (span.value, place), (0, 5), textcoords="offset points", ha="center"
            )
        _names(axes, [span.name for span in reversed(what.spans)])
        if what.zero:
            axes.axvline(0, color=_FAINT, linewidth=1)
        else:
            axes.set_xlim(-0.02, 1.02)
        axes.grid(axis="x", linewidth=0.4, alpha=0.4)
        axes.set_title(what.title)
        return _svg(figure, what.title)


def _costs(what: Costs, number: int) -> str:
    """Seconds to the left where there are any, tokens to the right."""
    rows = list(reversed(what.rows))
    timed = any(row[2] for row in rows)
    with _figure(number, 0.9 + _ROW * len(rows), columns=2 if timed else 1) as (figure, axes):
        places = range(len(rows))
        left = axes
        if timed:
            left, right = figure.axes
            left.barh(places, [row[2] for row in rows], color=_MARK, alpha=0.35, label="p95")
            left.barh(places, [row[1] for row in rows], color=_MARK, label="p50")
            left.set_title("seconds")
            left.legend(frameon=False, fontsize=8)
            right.tick_params(labelleft=False)
        tokens = figure.axes[-1]
        tokens.barh(places, [row[3] for row in rows], color=_MARK, label="in")
        after = [row[3] for row in rows]
        tokens.barh(places, [row[4] for row in rows], left=after, color=_SECOND, label="out")
        tokens.set_title("tokens")
        tokens.legend(frameon=False, fontsize=8)
        if timed:
            tokens.set_yticks([])
            tokens.set_ylim(-0.7, len(rows) - 0.3)
        _names(left, [row[0] for row in rows])
        return _svg(figure, what.title)


def _confusion(what: Confusion, number: int) -> str:
    """Shares of each row. Names stand only where there is room for them."""
    from matplotlib.patches import Rectangle

    count = len(what.classes)
    with _figure(number, min(7.6, 1.4 + 0.25 * count)) as (figure, axes):
        for down, row in enumerate(what.counts):
            for across, seen in enumerate(row):
                if seen:
                    strength = 0.12 + 0.88 * seen / sum(row)
                    place = (across, down)
                    axes.add_patch(Rectangle(place, 1, 1, color=_MARK, alpha=strength, linewidth=0))
        axes.set_xlim(0, count + 1)
        axes.set_ylim(0, count)
        axes.invert_yaxis()
        axes.set_title(f"{what.title}; full colour: all of the row")
        if count <= 25:
            axes.set_xticks(
                [at + 0.5 for at in range(count + 1)],
                [*what.classes, "none"],
                rotation=60,
                ha="right",
            )
            axes.set_yticks([at + 0.5 for at in range(count)], what.classes)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(f"answered: {count} classes in order, then none of them")
            axes.set_ylabel("expected")
        return _svg(figure, what.title)


def _forgetting(what: Forgetting, number: int) -> str:
    with _figure(number, 4.2) as (figure, axes):
        for gain, change in what.points:
            axes.plot((gain.low, gain.high), (change.value,) * 2, color=_MARK, alpha=0.5)
            axes.plot((gain.value,) * 2, (change.low, change.high), color=_MARK, alpha=0.5)
            axes.plot(gain.value, change.value, "o", color=_MARK)
            place = (gain.value, change.value)
            axes.annotate(gain.name, place, (5, 4), textcoords="offset points")
        axes.axhline(0, color=_FAINT, linewidth=1)
        axes.axvline(0, color=_FAINT, linewidth=1)
        axes.set_xlabel("gain on its own task")
        axes.set_ylabel("change on general tasks")
        axes.set_title(what.title)
        return _svg(figure, what.title)


def _names(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.tick_params(axis="y", length=0)


@contextmanager
def _figure(number: int, height: float, columns: int = 1) -> Iterator[tuple[Figure, Axes]]:
    """Without pyplot, which keeps figures and wants a display."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: Any = {**_SETTINGS, "svg.hashsalt": f"figure {number}"}
    with rc_context(settings):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = [figure.add_subplot(1, columns, at + 1) for at in range(columns)]
        yield figure, axes[0]


def _svg(figure: Figure, title: str) -> str:
    """The element alone, its ink the page's own, its names no other figure's."""
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The page scales it: a fixed width would leave a narrow screen.
    text = re.sub(r'(<svg[^>]*?) height="[^"]+"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]+"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
    text = text.replace(_INK, "currentColor")
    return text.replace(_FAINT, "var(--faint)")
