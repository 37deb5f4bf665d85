"""Small files of formats that are not text: a PDF page, a Word document, parquet and arrow tables."""

import io
import zipfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_OFFICE = "http://schemas.openxmlformats.org"
_TYPES = f"""<?xml version="1.0"?><Types xmlns="{_OFFICE}/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/word/document.xml"
 ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"""
_RELATIONS = f"""<?xml version="1.0"?><Relationships xmlns="{_OFFICE}/package/2006/relationships">
<Relationship Id="r1" Type="{_OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/>
</Relationships>"""


def pdf(text: str) -> bytes:
    """A page with this text; a page without any is what a scanner makes."""
    content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(content)}>>stream\n{content}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, made in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj{made}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"xref\n0 6\n0000000000 65535 f \n{table}trailer<</Size 6/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF"
    return (body + end).encode()


def docx(*paragraphs: str) -> bytes:
    """A Word document of these paragraphs."""
    inside = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    main = f'<w:document xmlns:w="{_OFFICE}/wordprocessingml/2006/main"><w:body>{inside}</w:body></w:document>'
    return zipped({"[Content_Types].xml": _TYPES, "_rels/.rels": _RELATIONS, "word/document.xml": main})


def zipped(files: dict[str, str]) -> bytes:
    """A zip archive of these files."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return out.getvalue()


def parquet(**columns: Any) -> bytes:
    """A parquet file."""
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def twice(*names: str) -> bytes:
    """A parquet file with columns of these names, which may be the same."""
    out = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array(["1", "2"])] * len(names), names=list(names)), out)
    return out.getvalue()


def arrow(**columns: Any) -> bytes:
    """An arrow stream, as `datasets` saves one to disk."""
    out, table = io.BytesIO(), pa.table(columns)
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    return out.getvalue()
