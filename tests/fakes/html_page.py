"""An HTML page as a browser sees it, and texts that would do harm there."""

from html.parser import HTMLParser

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "</title></style></svg><iframe src='https://evil.example/'></iframe>",
    "\"><a href='javascript:alert(3)'>x</a>",
    "price $x^2 and $\\frac{1",
    "\u202egnp.exe שלום עולם مرحبا",
    "emoji 👩‍🔬🏳️‍🌈 and \x00\x0b\x1b control",
    "{{ data.config }} {% raw %} {# #}",
    "a" * 10_000,
    "]]> &lt;b&gt; &amp; <!-- --> #010203 var(--x) url(#a)",
    "",
]


class Page(HTMLParser):
    """Every element with its attributes, as a browser would see them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.comments: list[str] = []
        self.words = ""
        self.scripts: list[str] = []  # what is in script elements, and so is no word of the page
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts[-1] += data
        else:
            self.words += data

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}
