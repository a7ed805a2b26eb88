"""Ratios beside their targets as bars: one inline SVG that loads nothing.

A bar begins at 1, as fast or as cheap as the other, and ends at the ratio; the axis doubles at each line, so that twice and half are as far.
The black mark is the target: a bar is green that reaches it, red that does not, grey without one.
"""

import dataclasses
import html
import math

WIDTH, NAMES, FIGURES, ROW, HEAD, BAR = 1000, 330, 170, 24, 26, 14
# What the axis shows at least, in doublings.
LEAST = (-1, 1)
STYLE = """svg.bars{width:100%;max-width:70em;height:auto;font:12px system-ui,sans-serif}.bars line{stroke:#ddd}.bars .one{stroke:#888}
.bars .target{stroke:#000;stroke-width:2}.bars rect{fill:#9aa5ad}.bars rect.met{fill:#4a9a5f}.bars rect.missed{fill:#c9443b}.bars .axis{fill:#666}"""


@dataclasses.dataclass(frozen=True)
class Bar:
    """One ratio. `bound` is None where nothing is wanted; `wanted` and `verdict` are the words of the table."""

    name: str
    ratio: float
    bound: float | None = None
    wanted: str = ""
    verdict: str = ""


def chart(title, bars):
    """A heading and the picture; nothing where there is nothing to show."""
    if not bars:
        return ""
    doublings = [math.log2(value) for bar in bars for value in (bar.ratio, bar.bound) if value]
    low, high = (math.floor(min(*doublings, LEAST[0])), math.ceil(max(*doublings, LEAST[1])))
    height = HEAD + ROW * len(bars) + 4

    def x(value):
        return NAMES + (math.log2(value) - low) / (high - low) * (WIDTH - NAMES - FIGURES)

    parts = [f'<h2>{html.escape(title)}</h2>\n<svg class="bars" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">\n']
    for doubling in range(low, high + 1):
        at = x(2**doubling)
        label = f"{2**doubling}x" if doubling >= 0 else f"1/{2**-doubling}"
        parts.append(f'<text class="axis" x="{at:.1f}" y="14" text-anchor="middle">{label}</text>'
                     f'<line class="{"one" if doubling == 0 else ""}" x1="{at:.1f}" x2="{at:.1f}" y1="20" y2="{height}"/>\n')
    for number, bar in enumerate(bars):
        top, middle = HEAD + number * ROW, HEAD + number * ROW + BAR - 3
        left, right = sorted((x(1), x(bar.ratio)))
        wanted = f", wanted {bar.wanted}" if bar.wanted else ""
        said = html.escape(f"{bar.ratio:.2f}{wanted}")
        parts.append(f'<g><title>{html.escape(bar.name)}: {said} {bar.verdict}</title>'
                     f'<text x="{NAMES - 8}" y="{middle}" text-anchor="end">{html.escape(bar.name)}</text>'
                     f'<rect class="{bar.verdict.lower()}" x="{left:.1f}" y="{top}" width="{max(right - left, 1):.1f}" height="{BAR}"/>')
        if bar.bound:
            parts.append(f'<line class="target" x1="{x(bar.bound):.1f}" x2="{x(bar.bound):.1f}" y1="{top - 2}" y2="{top + BAR + 2}"/>')
        parts.append(f'<text x="{WIDTH - FIGURES + 12}" y="{middle}">{said}</text></g>\n')
    return "".join(parts) + "</svg>\n"
