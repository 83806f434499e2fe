# SPDX-License-Identifier: GPL-2.0-or-later
"""Draw a report of scripts/bench as an SVG.

There are two diagrams: the size of a recording and the time of a replay.
Each has two bars for each NIC: the unmodified QEMU's and ours.
"""

import html

PANELS = (
    ('size', 'Bytes of recording per byte received',
     'a download of incompressible data'),
    ('replay', 'Replay time ÷ record time', 'the same runs'),
)
BUILDS = (
    ('stock', 'unmodified QEMU', '#b6bcc6', '#59636e'),
    ('ours', 'ours', '#2563eb', '#1e40af'),
)

MARGIN = 24
NAME_WIDTH = 104
BARS_WIDTH = 258
VALUE_WIDTH = 48
PANEL_WIDTH = NAME_WIDTH + BARS_WIDTH + VALUE_WIDTH
PANEL_GAP = 28
WIDTH = 2 * MARGIN + 2 * PANEL_WIDTH + PANEL_GAP
PANEL_TOP = 104
BAR_HEIGHT = 11
GROUP_HEIGHT = 2 * BAR_HEIGHT + 14
AXIS_HEIGHT = 40

TEXT = '#1f2328'
QUIET = '#59636e'
GRID = '#e4e7eb'
GOAL = '#15803d'


def text(x, y, content, **style):
    attributes = ''.join(f' {name.replace("_", "-")}="{value}"'
                         for name, value in style.items())
    content = html.escape(content)
    return f'<text x="{x:g}" y="{y:g}"{attributes}>{content}</text>'


def rectangle(x, y, width, height, fill):
    return (f'<rect x="{x:g}" y="{y:g}" width="{width:g}" '
            f'height="{height:g}" fill="{fill}"/>')


def line(x, top, bottom, stroke, dashes='none'):
    return (f'<line x1="{x:g}" y1="{top:g}" x2="{x:g}" y2="{bottom:g}" '
            f'stroke="{stroke}" stroke-dasharray="{dashes}"/>')


def median(result, build):
    return result[build]['median'] if result.get(build) else None


def whole_steps(largest):
    """The ticks of an axis that is at least as long as @largest."""
    step = 1
    while largest / step > 5:
        step *= 2
    ticks = [0]
    while ticks[-1] < largest:
        ticks.append(ticks[-1] + step)
    return ticks


def panel(left, row, title, subtitle, order):
    """The SVG elements of one diagram, whose left edge is at @left."""
    results = {result['of']: result for result in row['results']}
    values = [median(result, build) or 0 for result in results.values()
              for build, *_ in BUILDS]
    ticks = whole_steps(max(values + [row['goal']['value']]))
    zero = left + NAME_WIDTH
    bottom = PANEL_TOP + len(order) * GROUP_HEIGHT
    scale = BARS_WIDTH / ticks[-1]
    parts = [text(left, PANEL_TOP - 32, title, font_size=14, font_weight=600),
             text(left, PANEL_TOP - 15, subtitle, fill=QUIET)]
    for tick in ticks:
        parts += [line(zero + tick * scale, PANEL_TOP, bottom, GRID),
                  text(zero + tick * scale, bottom + 16, str(tick),
                       fill=QUIET, text_anchor='middle')]
    goal = zero + row['goal']['value'] * scale
    parts += [line(goal, PANEL_TOP - 4, bottom + 4, GOAL, '3 3'),
              text(goal, bottom + 31, f'goal: {row["goal"]["text"]}',
                   fill=GOAL, text_anchor='middle', font_size=11)]
    for number, name in enumerate(order):
        top = PANEL_TOP + number * GROUP_HEIGHT + 7
        parts.append(text(zero - 8, top + BAR_HEIGHT + 4, name,
                          text_anchor='end'))
        for build, _, fill, ink in BUILDS:
            value = median(results.get(name, {}), build)
            label = '–' if value is None else f'{value:.3f}'
            if value is None and 'hangs' in results.get(name, {}).get(
                    'missing', {}).get(build, ''):
                label = 'hangs'
            length = (value or 0) * scale
            # the white stroke sets the figure off from a line behind it
            parts += [rectangle(zero, top, length, BAR_HEIGHT, fill),
                      text(zero + length + 5, top + BAR_HEIGHT - 2, label,
                           fill=ink, font_size=11, paint_order='stroke',
                           stroke='#ffffff', stroke_width=2)]
            top += BAR_HEIGHT
    return parts


def draw(report):
    """Return the SVG of a report, which is as scripts/bench --json writes
    it.
    """
    rows = {row['name']: row for row in report['rows']}
    panels = [(rows[name], title, subtitle)
              for name, title, subtitle in PANELS]
    sizes = {result['of']: median(result, 'stock') or 0
             for result in panels[0][0]['results']}
    order = sorted(sizes, key=sizes.get, reverse=True)
    height = PANEL_TOP + len(order) * GROUP_HEIGHT + AXIS_HEIGHT + MARGIN
    parts = [text(MARGIN, 34, 'Recording and replaying the network, nine NICs',
                  font_size=17, font_weight=600)]
    left = WIDTH - MARGIN - 230
    for _, name, fill, _ in BUILDS:
        parts += [rectangle(left, 24, BAR_HEIGHT, BAR_HEIGHT, fill),
                  text(left + 17, 34, name)]
        left += 150
    left = MARGIN
    for row, title, subtitle in panels:
        parts += panel(left, row, title, subtitle, order)
        left += PANEL_WIDTH + PANEL_GAP
    parts.append(text(MARGIN, height - 10, report['circumstances'],
                      fill=QUIET, font_size=11))
    body = '\n'.join(parts)
    return f'''<svg xmlns="http://www.w3.org/2000/svg" \
width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img" \
font-family="system-ui, 'Segoe UI', Helvetica, Arial, sans-serif" \
font-size="12" fill="{TEXT}">
<!-- SPDX-License-Identifier: GPL-2.0-or-later; made by scripts/bench -->
<title>Size and replay time of recordings, for nine NICs: the unmodified QEMU \
and ours</title>
<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>
{body}
</svg>
'''
