"""Writes the address of the repository on GitHub wherever it is needed.

    python scripts/set_repository.py https://github.com/OWNER/NAME

It becomes `Repository` of `[project.urls]` in pyproject.toml, from which the package's
metadata and the docs take it; the README gets a Colab badge for each notebook, which
installs the package from there, and CITATION.cff names it. Run again with another
address, it replaces the old one.
"""

import argparse
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MARKS = ("<!-- badges -->", "<!-- /badges -->")
COLAB = "https://colab.research.google.com"


def main() -> None:
    """Writes all files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("repository")
    repository = parser.parse_args().repository.rstrip("/")
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+)", repository)
    if match is None:
        parser.error(f"{repository} is not https://github.com/OWNER/NAME.")
    _replace("pyproject.toml", "(# )?Repository = .*", f'Repository = "{repository}"')
    cited = f'repository-code: "{repository}"'
    _replace("CITATION.cff", "(# )?repository-code: .*", cited)
    badges = []
    for source in sorted((ROOT / "colabs").glob("*.py")):
        # The notebook is JSON, in which quotes have a backslash.
        for name, quote in ((source.name, '"'), (f"{source.stem}.ipynb", r"\"")):
            _replace(
                f"colabs/{name}",
                rf"PACKAGE = {re.escape(quote)}.*?{re.escape(quote)}",
                f"PACKAGE = {quote}git+{repository}{quote}",
            )
    for notebook in sorted((ROOT / "colabs").glob("*.ipynb")):
        picture = (
            f"![{notebook.stem.replace('_', ' ')}]({COLAB}/assets/colab-badge.svg)"
        )
        page = f"{COLAB}/github/{match[1]}/blob/main/colabs/{notebook.name}"
        badges.append(f"[{picture}]({page})")
    begin, end = MARKS
    lines = "\n".join([begin, *badges, end])
    _replace("README.md", f"(?s){begin}.*{end}", lines)


def _replace(name: str, pattern: str, text: str) -> None:
    """Replaces the one place in a file that matches a pattern."""
    path = ROOT / name
    content, count = re.subn(pattern, lambda _: text, path.read_text())
    if count != 1:
        raise SystemExit(f"{path}: {count} places match {pattern!r}, expected 1.")
    path.write_text(content)


if __name__ == "__main__":
    main()
