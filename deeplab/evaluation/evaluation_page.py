"""The page of an evaluation: one HTML file that needs no network, for phones too, dark and light."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image

from deeplab.evaluation.bootstrap import LEVEL
from deeplab.evaluation.confusion import iou_of_counts, mean_of_occurring
from deeplab.evaluation.rows import Difference, Row
from deeplab.evaluation.table import COLUMNS, cells, difference_text, percent
from deeplab.rendering import charts
from deeplab.rendering import masks as picture

_THUMBNAIL = 300
_STYLE = """
:root{color-scheme:light dark;--ground:#fdfdfc;--card:#fff;--ink:#1d2125;--soft:#5d666f;--line:#dcdfe3;--right:#2f7d4f;
--wrong:#c0392b;--c0:#2f6fb3;--c1:#d9722e;--c2:#35935a;--c3:#b8406a;--c4:#7f5fc0;--c5:#9a8413;--c6:#2b96a3;--c7:#707880}
@media(prefers-color-scheme:dark){:root{--ground:#14171a;--card:#1c2024;--ink:#e6e8ea;--soft:#9aa4ad;--line:#343a40;
--right:#5fc48a;--wrong:#ef7f72;--c0:#6aa9ea;--c1:#f29d62;--c2:#66c48a;--c3:#e882a5;--c4:#b39cf0;--c5:#d3bd4a;
--c6:#5ccad6;--c7:#a9b2ba}}
*{box-sizing:border-box}
body{margin:0 auto;padding:16px;max-width:1080px;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1,h2{overflow-wrap:anywhere}h1{font-size:1.5rem;margin:.2em 0}
h2{font-size:1.15rem;margin:1.6em 0 .4em}h3{font-size:1rem;margin:.4em 0}
p,li,figcaption{color:var(--soft);font-size:.9rem}p{margin:.3em 0 .8em;max-width:70ch}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:8px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:6px 10px;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
tr:last-child td{border-bottom:0}th{color:var(--soft);font-weight:600}
th:first-child,td:first-child{position:sticky;left:0;background:var(--card);text-align:left;white-space:normal;
min-width:10em;max-width:19em;overflow-wrap:anywhere}
@media(min-width:800px){th:first-child,td:first-child{min-width:19em}}
.named{display:inline-flex;gap:.4em;align-items:baseline;max-width:100%}
.named>:last-child{min-width:0;overflow-wrap:anywhere}
.chip{flex:none;display:inline-block;min-width:1.5em;padding:0 .3em;border-radius:4px;color:var(--card);
text-align:center;font-weight:700;font-size:.8rem}
.settled{font-weight:700;color:var(--ink)}.open{color:var(--soft)}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:14px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px;min-width:0}
.key{list-style:none;padding:0;margin:.3em 0;display:flex;flex-wrap:wrap;gap:4px 14px}
svg{display:block;width:100%;max-width:520px;height:auto}
svg text{font-size:11px;fill:var(--soft)}svg .number{fill:var(--ink);font-weight:700}
svg .grid{stroke:var(--line)}svg .outline{fill:none;stroke:var(--line)}
svg .right{fill:var(--right)}svg .wrong{fill:var(--wrong)}
.triple{display:grid;grid-template-columns:repeat(3,1fr);gap:4px}.triple img{width:100%;height:auto;display:block}
figure{margin:0}figcaption{margin-top:4px;overflow-wrap:anywhere}
"""


@dataclass(frozen=True)
class Sample:
    """A picture with its truth and a prediction.

    Attributes:
        name: of the picture.
        image: `[h, w, 3]` uint8, RGB.
        label: `[h, w]` uint8, the truth; 255 = ignore.
        prediction: `[h, w]` uint8.
        miou: of this picture alone, 0..1.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    miou: float


def picture_mious(row: Row) -> np.ndarray:
    """The mIoU of each picture alone, `[pictures]`, over the classes that occur in it; NaN without a labeled pixel."""
    return mean_of_occurring(iou_of_counts(row.scores.counts))


def extremes(row: Row, count: int) -> tuple[list[int], list[int]]:
    """Numbers of the `count` worst and the `count` best pictures, the extremes first; no picture is in both."""
    mious = picture_mious(row)
    order = [int(i) for i in np.argsort(mious, kind="stable") if not np.isnan(mious[i])]
    count = min(count, len(order) // 2)
    return order[:count], order[::-1][:count]


def best_row(rows: Sequence[Row]) -> int:
    """Number (from 0) of the row with the highest mIoU among those measured on all pictures."""
    most = max(len(row.scores.names) for row in rows)
    return max((i for i, row in enumerate(rows) if len(row.scores.names) == most), key=lambda i: rows[i].scores.miou)


def page(
    title: str,
    rows: Sequence[Row],
    differences: Sequence[Difference],
    notes: Sequence[str],
    worst: Sequence[Sample] = (),
    best: Sequence[Sample] = (),
) -> str:
    """The whole page as HTML.

    Args:
        title: the data and how many pictures.
        rows: of the table.
        differences: between them.
        notes: sentences below the table.
        worst: pictures of the row `best_row(rows)`.
        best: likewise.
    """
    chosen = best_row(rows)
    sections = [
        f"<h1>Evaluation</h1><p>{escape(title)}</p>",
        _table(rows, differences),
        "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>",
        _costs(rows),
        _differences(rows, differences),
        _per_class(rows),
        _borders(rows),
        f"<h2>Confusion matrix of row {chosen + 1}, {escape(rows[chosen].name)}</h2><p>A line is a true class, shared "
        "out over the classes it was taken for. Green is right, red is wrong; colors grow with the square root of the "
        'share.</p><div class="card">'
        + charts.confusion_picture(rows[chosen].scores.matrix, rows[chosen].scores.classes)
        + "</div>",
        _samples(f"Worst pictures of row {chosen + 1}", worst),
        _samples(f"Best pictures of row {chosen + 1}", best),
    ]
    return document(f"Evaluation: {title}", sections)


def document(title: str, sections: Sequence[str], refresh: int | None = None) -> str:
    """A whole HTML file in the style of the toolkit's pages; a browser loads it anew every `refresh` seconds."""
    again = "" if refresh is None else f'<meta http-equiv="refresh" content="{refresh}">'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{again}'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def chip(number: int) -> str:
    """The number of a row, or of a line in a chart, in its color."""
    return f'<span class="chip" style="background:{charts.color(number)}">{number}</span>'


def _named(number: int, name: str) -> str:
    """The number of a row in its color, and its name."""
    return f'<span class="named">{chip(number)}<span>{escape(name)}</span></span>'


def _table(rows: Sequence[Row], differences: Sequence[Difference]) -> str:
    text = cells(rows, differences)
    filled = [i for i in range(len(COLUMNS)) if any(line[i] for line in text)]
    head = "".join(f"<th>{escape(COLUMNS[i])}</th>" for i in filled)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(line[i]) if i else _named(number, line[i])}</td>" for i in filled) + "</tr>"
        for number, line in enumerate(text, 1)
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _costs(rows: Sequence[Row]) -> str:
    plots = []
    for label, costs in (
        ("multiply-adds", [float(row.multiply_adds) for row in rows]),
        ("ms per picture", [row.milliseconds for row in rows]),
    ):
        points = [
            charts.Point(
                i + 1,
                costs[i],
                100 * row.scores.miou,
                100 * (row.interval.low if row.interval else row.scores.miou),
                100 * (row.interval.high if row.interval else row.scores.miou),
                f"{row.name}: {percent(row.scores.miou)}",
            )
            for i, row in enumerate(rows)
            if costs[i] > 0
        ]
        plots.append(f'<div class="card"><h3>mIoU against {label}</h3>{charts.scatter(points, label, "mIoU")}</div>')
    return (
        "<h2>Accuracy against cost</h2><p>Up and left is better. Numbers are the rows of the table, bars their "
        f'{LEVEL:.0%} intervals.</p>{_key(rows)}<div class="grid2">{"".join(plots)}</div>'
    )


def _key(rows: Sequence[Row]) -> str:
    return '<ul class="key">' + "".join(f"<li>{_named(i, row.name)}</li>" for i, row in enumerate(rows, 1)) + "</ul>"


def _differences(rows: Sequence[Row], differences: Sequence[Difference]) -> str:
    if not differences:
        return ""
    by_pair = {(d.row, d.minus): d for d in differences}
    head = "<tr><th>less</th>" + "".join(f"<th>{chip(i + 1)}</th>" for i in range(len(rows) - 1)) + "</tr>"
    body = ""
    for i in range(1, len(rows)):
        body += f"<tr><td>{_named(i + 1, rows[i].name)}</td>"
        for j in range(len(rows) - 1):
            found = by_pair.get((i, j))
            kind = "settled" if found and found.interval.settled else "open"
            body += f'<td class="{kind}">{difference_text(found) if found else ""}</td>'
        body += "</tr>"
    return (
        "<h2>Differences in mIoU</h2><p>The row on the left less the row above, in points, on the same pictures, with "
        f"the {LEVEL:.0%} interval of a bootstrap over pictures. Bold: the interval leaves out 0, so other pictures of "
        f'the kind would hardly turn it round.</p><div class="wide"><table>{head}{body}</table></div>'
    )


def _per_class(rows: Sequence[Row]) -> str:
    cards = []
    for run in dict.fromkeys(row.candidate.run for row in rows):
        own = [(i, row) for i, row in enumerate(rows, 1) if row.candidate.run == run]
        values = [(i, [float(x) for x in row.scores.iou]) for i, row in own]
        key = "".join(f"<li>{_named(i, row.name)}</li>" for i, row in own)
        cards.append(
            f'<div class="card"><ul class="key">{key}</ul>{charts.bars(own[0][1].scores.classes, values)}</div>'
        )
    return (
        "<h2>IoU of each class</h2><p>In percent; the number on the right is the best of the bars. A class without "
        f'bars occurs neither in the truth nor in the prediction.</p><div class="grid2">{"".join(cards)}</div>'
    )


def _borders(rows: Sequence[Row]) -> str:
    lines = [
        (i, [(float(w), 100 * miou) for w, miou in row.scores.borders.trimap_mious.items()])
        for i, row in enumerate(rows, 1)
        if row.scores.borders
    ]
    if not lines:
        return ""
    body = "".join(
        f"<tr><td>{_named(i, row.name)}</td><td>{percent(row.scores.borders.boundary_iou)}</td></tr>"
        for i, row in enumerate(rows, 1)
        if row.scores.borders
    )
    chart = charts.curves(lines, "pixels from a border", "mIoU")
    return (
        "<h2>Near borders</h2><p>mIoU of the pixels within some distance of a border (trimap_widths), and boundary IoU "
        f'within 2 % of the diagonal.</p><div class="grid2"><div class="card">{chart}</div>'
        f'<div class="wide"><table><tr><th>model</th><th>boundary IoU</th></tr>{body}</table></div></div>'
    )


def _samples(title: str, samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    figures = "".join(
        triple(sample.image, sample.label, sample.prediction, f"{sample.name}: mIoU {percent(sample.miou)}")
        for sample in samples
    )
    return f'<h2>{escape(title)}</h2><p>Picture, truth, prediction.</p><div class="grid2">{figures}</div>'


def triple(image: np.ndarray, label: np.ndarray, prediction: np.ndarray, caption: str) -> str:
    """Picture `[h, w, 3]`, truth and prediction `[h, w]` side by side, as a figure."""
    shown = (
        ("picture", image),
        ("truth", picture.overlay(image, label, 0.6)),
        ("prediction", picture.overlay(image, prediction, 0.6)),
    )
    images = "".join(f'<img alt="{what}" src="{_data_url(pixels)}">' for what, pixels in shown)
    return f'<figure class="card"><div class="triple">{images}</div><figcaption>{escape(caption)}</figcaption></figure>'


def _data_url(image: np.ndarray) -> str:
    small = Image.fromarray(image)
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
