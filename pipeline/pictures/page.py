"""The demo's page of pictures, as HTML that stands by itself beside them."""

from collections.abc import Mapping
from html import escape
from string import Template

PICTURES = {
    "features.png": (
        "A held-out keyframe: camera image, the teacher's features, the same at the LiDAR points, "
        "and what the student predicts there from the points alone, trained and untrained. "
        "Colours: three principal directions of the teacher's features, the same in all panels, "
        "each around the mean and over the spread of its own panel."
    ),
    "cloud.png": "The same sweep from above in the same colours; grey: no camera sees it.",
    "iou.png": "IoU by class of a linear probe on the held-out drives.",
    "loss.png": "Losses of the distillation.",
}
"""Files beside the page, and what they show."""

PAGE = Template(
    "<!doctype html><html lang=en><meta charset=utf-8><title>clever demo</title><style>"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 "
    "1em;color:#222}"
    "img{max-width:100%}figure{margin:2em 0}figcaption{color:#555}td{padding:.2em 1.5em .2em "
    "0}</style>"
    "<h1>clever demo</h1><p>$facts</p><table>$rows</table>"
    "<p>mIoU, $protocol.</p>$figures</html>\n"
)
ROW = Template("<tr><td>$name</td><td>$score %</td></tr>")
FIGURE = Template('<figure><img src="$file" alt=""><figcaption>$text</figcaption></figure>')


def demo_page(
    *, teacher: str, student: str, training: str, scores: Mapping[str, float], protocol: str
) -> str:
    """The page; `PICTURES` lie beside it.

    Args:
        teacher, student, training: what was distilled into what, and how long, in words.
        scores: mIoU in [0, 1] by name of the run.
        protocol: what they were measured on, in one line.
    """
    facts = f"Teacher: {teacher}. Student: {student}, {training}."
    rows = (
        ROW.substitute(name=escape(name), score=f"{100 * score:.1f}")
        for name, score in scores.items()
    )
    figures = (
        FIGURE.substitute(file=file, text=escape(text, quote=False))
        for file, text in PICTURES.items()
    )
    return PAGE.substitute(
        facts=escape(facts), rows="".join(rows), protocol=escape(protocol), figures="".join(figures)
    )
