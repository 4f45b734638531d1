"""Files of every kind as bytes, built by hand: small, and wrong where a test wants them wrong."""

import io
import zipfile
from collections.abc import Mapping, Sequence

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_OFFICE = "http://schemas.openxmlformats.org"
_RELATIONS = f"{_OFFICE}/package/2006/relationships"
_DOC = f"{_OFFICE}/officeDocument/2006/relationships"
_CORE = (
    f'{_XML}<cp:coreProperties xmlns:cp="{_OFFICE}/package/2006/metadata/core-properties"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:dcterms="http://purl.org/dc/terms/">'
    "<dc:title>The kettle</dc:title><dc:creator>Ann Lee</dc:creator>"
    "<dcterms:created>2024-05-03T10:15:00Z</dcterms:created></cp:coreProperties>"
)


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in parts.items():
            file.writestr(name, content)
    return held.getvalue()


def _types(*parts: tuple[str, str]) -> str:
    overrides = "".join(
        f'<Override PartName="/{name}" ContentType="application/vnd.openxmlformats-officedocument.'
        f'{kind}+xml"/>'
        for name, kind in parts
    )
    return (
        f'{_XML}<Types xmlns="{_OFFICE}/package/2006/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>'
    )


def _relations(*targets: tuple[str, str]) -> str:
    items = "".join(
        f'<Relationship Id="rId{number}" Type="{_DOC}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets, start=1)
    )
    return f'{_XML}<Relationships xmlns="{_RELATIONS}">{items}</Relationships>'


def docx(body: str = "", before: str = "", more: Mapping[str, str] | None = None) -> bytes:
    """`body` is WordprocessingML; `before` stands before the root, where a DTD would."""
    inner = body or paragraph("The kettle holds 1.7 litres.")
    document = (
        f'{_XML}{before}<w:document xmlns:w="{_OFFICE}/wordprocessingml/2006/main"'
        f' xmlns:r="{_DOC}"><w:body>{inner}</w:body></w:document>'
    )
    return archive(
        {
            "[Content_Types].xml": _types(("word/document.xml", "wordprocessingml.document.main")),
            "_rels/.rels": _relations(("officeDocument", "word/document.xml")),
            "word/document.xml": document,
            "docProps/core.xml": _CORE,
            **(more or {}),
        }
    )


def paragraph(text: str, style: str = "") -> str:
    form = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{form}<w:r><w:t>{text}</w:t></w:r></w:p>"


def docx_table(rows: Sequence[Sequence[str]]) -> str:
    cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
    return "<w:tbl>" + "".join(f"<w:tr>{row}</w:tr>" for row in cells) + "</w:tbl>"


def pptx(slides: Sequence[tuple[str, Sequence[str]]], rels: str = "") -> bytes:
    """A title and bullets a slide; the parts' names are in the reverse order of the show."""
    a, p = f"{_OFFICE}/drawingml/2006/main", f"{_OFFICE}/presentationml/2006/main"
    names = [f"slides/slide{len(slides) - number}.xml" for number in range(len(slides))]
    ids = "".join(f'<p:sldId id="{256 + n}" r:id="rId{n + 1}"/>' for n in range(len(slides)))
    parts: dict[str, str | bytes] = {
        "[Content_Types].xml": _types(("ppt/presentation.xml", "presentationml.presentation.main")),
        "_rels/.rels": _relations(("officeDocument", "ppt/presentation.xml")),
        "ppt/_rels/presentation.xml.rels": _relations(*(("slide", name) for name in names)),
        "ppt/presentation.xml": f'{_XML}<p:presentation xmlns:p="{p}" xmlns:r="{_DOC}">'
        f"<p:sldIdLst>{ids}</p:sldIdLst></p:presentation>",
    }
    for name, (title, bullets) in zip(names, slides, strict=True):
        text = "".join(f"<a:p><a:r><a:t>{one}</a:t></a:r></a:p>" for one in bullets)
        parts[f"ppt/{name}"] = (
            f'{_XML}<p:sld xmlns:a="{a}" xmlns:p="{p}"><p:cSld><p:spTree>'
            '<p:sp><p:nvSpPr><p:nvPr><p:ph type="title"/></p:nvPr></p:nvSpPr>'
            f"<p:txBody><a:p><a:r><a:t>{title}</a:t></a:r></a:p></p:txBody></p:sp>"
            "<p:sp><p:nvSpPr><p:nvPr><p:ph/></p:nvPr></p:nvSpPr>"
            f"<p:txBody>{text}</p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
        )
        if rels:
            parts[f"ppt/slides/_rels/{name.rpartition('/')[2]}.rels"] = rels
    return archive(parts)


def xlsx(cells: str = "", before: str = "", more: Mapping[str, str] | None = None) -> bytes:
    """`cells` are the rows of the only sheet, in SpreadsheetML."""
    main = f"{_OFFICE}/spreadsheetml/2006/main"
    return archive(
        {
            "[Content_Types].xml": _types(
                ("xl/workbook.xml", "spreadsheetml.sheet.main"),
                ("xl/worksheets/sheet1.xml", "spreadsheetml.worksheet"),
            ),
            "_rels/.rels": _relations(("officeDocument", "xl/workbook.xml")),
            "xl/_rels/workbook.xml.rels": _relations(("worksheet", "worksheets/sheet1.xml")),
            "xl/workbook.xml": f'{_XML}<workbook xmlns="{main}" xmlns:r="{_DOC}"><sheets>'
            '<sheet name="Staff" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/worksheets/sheet1.xml": f'{_XML}{before}<worksheet xmlns="{main}"><sheetData>'
            f"{cells}</sheetData></worksheet>",
            **(more or {}),
        }
    )


def cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def pdf(pages: Sequence[Sequence[tuple[int, int, int, str]]], info: str = "") -> bytes:
    """Of each page its lines: size, left, bottom, text."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, lines in enumerate(pages):
        drawn = "".join(f"BT /F1 {s} Tf {x} {y} Td ({text}) Tj ET\n" for s, x, y, text in lines)
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources"
            f" << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(drawn)} >>\nstream\n{drawn}endstream",
        ]
    objects.append(f"<< {info} >>")
    held = bytearray(b"%PDF-1.4\n")
    places: list[int] = []
    for number, one in enumerate(objects, start=1):
        places.append(len(held))
        held += f"{number} 0 obj\n{one}\nendobj\n".encode("latin-1")
    start = len(held)
    held += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    held += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    held += (
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n".encode()
    )
    return bytes(held + f"startxref\n{start}\n%%EOF\n".encode())
