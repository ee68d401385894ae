"""Bar charts as SVG text: panels of horizontal bars, each with its own scale; readable on light and on dark."""

import dataclasses
import xml.sax.saxutils

WIDTH = 760
NAME_WIDTH = 90
VALUE_WIDTH = 190
BAR_HEIGHT = 20
BAR_STEP = 28
PANEL_HEAD = 34
PANEL_GAP = 18
FOOT = 34

# An image has no page around it to inherit colours from: it follows the reader's preference itself.
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24303a; }
.title { font-weight: 600; }
.note { fill: #5b6b78; font-size: 12px; }
.back { fill: #ffffff; }
.user { fill: #0a7fb5; } .system { fill: #9cc9e0; }
.theirs.user { fill: #6c7a86; } .theirs.system { fill: #c3ccd3; }
.range { stroke: #24303a; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #dbe4ec; } .note { fill: #93a4b3; } .back { fill: #12181e; }
  .user { fill: #3aa6d8; } .system { fill: #1f5a76; }
  .theirs.user { fill: #8896a2; } .theirs.system { fill: #475560; }
  .range { stroke: #dbe4ec; }
}
"""


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar of one or more parts after each other; `low` and `high` are drawn as a line over its end."""

    name: str
    parts: tuple
    low: float
    high: float
    label: str
    ours: bool


@dataclasses.dataclass(frozen=True)
class Panel:
    """Bars with one unit."""

    title: str
    bars: tuple


def chart(title, panels, note):
    """The SVG. `note` says under the panels how to read them."""
    height = sum(PANEL_HEAD + BAR_STEP * len(panel.bars) + PANEL_GAP for panel in panels) + FOOT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label={xml.sax.saxutils.quoteattr(title)}>',
        f"<title>{escaped(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>',
    ]
    top = 0
    for panel in panels:
        out.append(f'<text class="title" x="14" y="{top + 24}">{escaped(panel.title)}</text>')
        top += PANEL_HEAD
        longest = max((max(bar.high, sum(bar.parts)) for bar in panel.bars), default=0) or 1
        scale = (WIDTH - NAME_WIDTH - VALUE_WIDTH) / longest
        for bar in panel.bars:
            out.extend(drawn(bar, top, scale))
            top += BAR_STEP
        top += PANEL_GAP
    out.append(f'<text class="note" x="14" y="{height - 14}">{escaped(note)}</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def drawn(bar, top, scale):
    """The elements of one bar."""
    whose = "ours" if bar.ours else "theirs"
    middle = top + BAR_HEIGHT / 2
    yield f'<text x="14" y="{middle + 5:.0f}">{escaped(bar.name)}</text>'
    left = float(NAME_WIDTH)
    for kind, value in zip(("user", "system"), bar.parts):
        # Memory can come out below the base line; a bar cannot.
        width = max(value, 0.0) * scale
        yield f'<rect class="{whose} {kind}" x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}"/>'
        left += width
    if bar.high > bar.low:
        low, high = (NAME_WIDTH + max(value, 0.0) * scale for value in (bar.low, bar.high))
        yield f'<line class="range" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        left = max(left, high)
    yield f'<text x="{left + 8:.1f}" y="{middle + 5:.0f}">{escaped(bar.label)}</text>'


def escaped(text):
    return xml.sax.saxutils.escape(text)
