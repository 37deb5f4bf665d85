"""Two runs side by side, for the terminal."""

from zelo.facts import Facts
from zelo.stages.compare import FILE

MOST = 20  # config keys that are shown
HEAD = ("first", "second", "difference", "95 % interval", "p", "")


def lines(found: Facts) -> list[str]:
    """What was set, which tables differ, and a table of tests for each split."""
    return [
        *(f"{name}: {folder}" for name, folder in zip(HEAD, found["runs"], strict=False)),
        "",
        *_config(found["config"]),
        "",
        *_stages(found["stages"]),
        *_tests(found["tests"]),
        *([""] * bool(found["notes"]) + found["notes"]),
        "",
        f"{len(found['metrics']):,} metrics differ: {FILE}",
    ]


def _config(rows: list[Facts]) -> list[str]:
    if not rows:
        return ["Both have the same config."]
    width = max(len(row["key"]) for row in rows[:MOST])
    text = [f"{len(rows):,} values of the config differ"]
    text += [f"  {row['key'].ljust(width)}  {row['first']} -> {row['second']}" for row in rows[:MOST]]
    return text + [f"  and {len(rows) - MOST:,} more: {FILE}"] * (len(rows) > MOST)


def _stages(rows: list[Facts]) -> list[str]:
    same = [row["stage"] for row in rows if row["same"]]
    other = [f"{row['stage']} ({_rows(row['first'])}, {_rows(row['second'])} rows)" for row in rows if not row["same"]]
    return [f"Same tables: {', '.join(same) or 'none'}", f"Other tables: {', '.join(other) or 'none'}"]


def _rows(count: int | None) -> str:
    return "no" if count is None else f"{count:,}"


def _tests(rows: list[Facts]) -> list[str]:
    text: list[str] = []
    for metric in dict.fromkeys(row["metric"] for row in rows):
        some = [row for row in rows if row["metric"] == metric]
        cells = [
            (
                f"{row['first']:.3f}",
                f"{row['second']:.3f}",
                f"{row['difference']:+.3f}",
                f"{row['ci_low']:+.3f} to {row['ci_high']:+.3f}",
                f"{row['p_value']:.2g}",
                row["verdict"],
            )
            for row in some
        ]
        names = max(len(row["system"]) for row in some) + 2
        widths = [max(len(head), *(len(line[n]) for line in cells)) + 2 for n, head in enumerate(HEAD)]
        count = f", p Holm-corrected for {len(some)} systems" * (len(some) > 1)
        alone = max(row["queries_of_one_run"] for row in some)
        left = f", {alone:,} that only one run has left out" * bool(alone)
        text += ["", f"{metric}, {some[0]['queries']:,} queries{left}{count}"]
        text.append(
            "".ljust(names) + "".join(head.rjust(width) for head, width in zip(HEAD, widths, strict=True)).rstrip()
        )
        for row, line in zip(some, cells, strict=True):
            text.append(row["system"].ljust(names) + "".join(c.rjust(w) for c, w in zip(line, widths, strict=True)))
    return text
