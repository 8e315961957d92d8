"""The demo's page: figures and words are there, and nothing in them is taken for markup."""

from xml.etree import ElementTree

from clever.pipeline.pictures.page import PICTURES, demo_page


def test_the_page_holds_words_scores_and_pictures() -> None:
    text = demo_page(
        teacher="<b>ViT & co</b>",
        student="minkunet-tiny, 0.2 m voxels",
        training="16 epochs on 18 keyframes",
        scores={"distilled": 0.2345, "random <weights>": 0.1},
        protocol="linear probe -> val",
    )
    assert text.startswith("<!doctype html><html lang=en>")
    # As XML, once what HTML may leave open is closed: a stray < or & would not parse.
    body = "<html>" + text[text.index("<h1>") :].replace(' alt="">', ' alt=""/>')
    page = ElementTree.fromstring(body)
    facts, protocol = page.findall("p")
    assert facts.text == (
        "Teacher: <b>ViT & co</b>. Student: minkunet-tiny, 0.2 m voxels, 16 epochs on 18 keyframes."
    )
    assert protocol.text == "mIoU, linear probe -> val."
    cells = [[cell.text for cell in row] for row in page.iter("tr")]
    assert cells == [["distilled", "23.4 %"], ["random <weights>", "10.0 %"]]
    figures = {
        figure.find("img").get("src"): figure.findtext("figcaption")  # type: ignore[union-attr]
        for figure in page.iter("figure")
    }
    assert figures == PICTURES
